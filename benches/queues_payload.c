/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See queues_payload.h. */
#define _GNU_SOURCE
#include "queues_payload.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>

static const uint64_t STEP = 0x9e3779b97f4a7c15;

uint64_t payload_fill(void *message, size_t bytes, uint64_t number)
{
    uint64_t *word = message, sum = 0;
    for (size_t i = 0; i < bytes / 8; i++) {
        word[i] = number + i * STEP;
        sum += number + i * STEP;
    }
    return sum;
}

uint64_t payload_sum(const void *message, size_t bytes)
{
    const uint64_t *word = message;
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes / 8; i++)
        sum += word[i];
    return sum;
}

int payload_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

long payload_taken_away(void)
{
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? use.ru_nivcsw : 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void payload_percentiles(uint64_t *ticks, size_t count, uint64_t chosen[3])
{
    qsort(ticks, count, sizeof *ticks, by_value);
    chosen[0] = ticks[count / 2];
    chosen[1] = ticks[count - 1 - count / 100];
    chosen[2] = ticks[count - 1 - count / 1000];
}
