/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the messages of queues.c are made of, and read with: one piece of machine code (queues_payload.c, never inlined) for
 * all that are measured, the programs in other languages too.
 */
#ifndef QUEUES_PAYLOAD_H
#define QUEUES_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Writes every word of a message, which is a multiple of 8 bytes; the first one is its number. Returns their sum. */
uint64_t payload_fill(void *message, size_t bytes, uint64_t number);
/* Reads every word of a message. Returns their sum; its first word is its number. */
uint64_t payload_sum(const void *message, size_t bytes);
/* This thread goes to a processor, and stays there. 0, or -1 with errno. */
int payload_pin(int cpu);
/* How often another thread took the processor from this process. */
long payload_taken_away(void);
/* Sorts durations, and chooses p50, p99 and p99.9. */
void payload_percentiles(uint64_t *ticks, size_t count, uint64_t chosen[3]);

#ifdef __cplusplus
}
#endif
#endif
