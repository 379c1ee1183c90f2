/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What shmkit's ring and queue are measured against in queues.c: the same in shape, as fast as they can be made, with nothing
 * for safety. They believe what stands in shared memory, know of no death, never sleep, and count nothing.
 */
#ifndef QUEUES_BARE_H
#define QUEUES_BARE_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ALIGNED _Alignas(64)

/* One turn of a wait that others must be let into: they may be more than processors. */
static inline void bare_turn(unsigned *turns)
{
    __builtin_ia32_pause();
    if (++*turns % 1000 == 0)
        sched_yield();
}

/* ------------------------------------------------------------------------------------------------------------------
 * The ring: one sends, one receives; messages of any size, each in one piece after a word that is its length
 * ------------------------------------------------------------------------------------------------------------------ */

struct bare_ring {
    ALIGNED uint64_t tail;
    ALIGNED uint64_t head;
    ALIGNED unsigned char bytes[];
};

enum { BARE_HEAD = 128 };
static const uint64_t BARE_PAD = UINT64_MAX;

/* One end: what it has done, and what it saw of the other end last. */
struct bare_end {
    struct bare_ring *ring;
    uint64_t mask, own, other;
};

static inline void bare_attach(struct bare_end *end, void *memory, size_t capacity)
{
    *end = (struct bare_end){ .ring = memory, .mask = capacity - 1 };
}

static inline uint64_t bare_taken(size_t bytes)
{
    return (bytes + 15) & ~(uint64_t)7;
}

static inline void *bare_reserve(struct bare_end *end, size_t bytes)
{
    struct bare_ring *ring = end->ring;
    uint64_t place = end->own & end->mask, before_end = end->mask + 1 - place, taken = bare_taken(bytes);
    uint64_t skip = taken > before_end ? before_end : 0;
    for (unsigned turns = 0; skip + taken > end->mask + 1 - (end->own - end->other); bare_turn(&turns))
        end->other = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    if (skip) {
        *(uint64_t *)(ring->bytes + place) = BARE_PAD;
        end->own += skip;
        place = 0;
    }
    *(uint64_t *)(ring->bytes + place) = bytes;
    return ring->bytes + place + 8;
}

static inline void bare_commit(struct bare_end *end, size_t bytes)
{
    end->own += bare_taken(bytes);
    __atomic_store_n(&end->ring->tail, end->own, __ATOMIC_RELEASE);
}

static inline const void *bare_peek(struct bare_end *end, size_t *bytes)
{
    struct bare_ring *ring = end->ring;
    for (unsigned turns = 0; end->own == end->other; bare_turn(&turns)) {
        end->other = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
        if (end->own != end->other)
            break;
    }
    uint64_t place = end->own & end->mask;
    *bytes = *(uint64_t *)(ring->bytes + place);
    if (*bytes == BARE_PAD) {
        end->own += end->mask + 1 - place;
        place = 0;
        *bytes = *(uint64_t *)ring->bytes;
    }
    return ring->bytes + place + 8;
}

static inline void bare_release(struct bare_end *end, size_t bytes)
{
    end->own += bare_taken(bytes);
    __atomic_store_n(&end->ring->head, end->own, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------------------------------------------------
 * The slots: one sends, one receives, all of one size
 * ------------------------------------------------------------------------------------------------------------------ */

struct slots {
    struct bare_ring *ring;
    uint64_t count, size, own, other, place;
};

static inline void slots_attach(struct slots *slots, void *memory, size_t size, size_t count)
{
    *slots = (struct slots){ .ring = memory, .count = count, .size = size };
}

static inline void *slots_to_fill(struct slots *slots)
{
    for (unsigned turns = 0; slots->own - slots->other == slots->count; bare_turn(&turns))
        slots->other = __atomic_load_n(&slots->ring->head, __ATOMIC_ACQUIRE);
    return slots->ring->bytes + slots->place * slots->size;
}

static inline void slots_next(struct slots *slots, uint64_t *counter)
{
    slots->place = slots->place + 1 == slots->count ? 0 : slots->place + 1;
    __atomic_store_n(counter, ++slots->own, __ATOMIC_RELEASE);
}

static inline void slots_filled(struct slots *slots)
{
    slots_next(slots, &slots->ring->tail);
}

static inline const void *slots_to_empty(struct slots *slots)
{
    for (unsigned turns = 0; slots->own == slots->other; bare_turn(&turns)) {
        slots->other = __atomic_load_n(&slots->ring->tail, __ATOMIC_ACQUIRE);
        if (slots->own != slots->other)
            break;
    }
    return slots->ring->bytes + slots->place * slots->size;
}

static inline void slots_emptied(struct slots *slots)
{
    slots_next(slots, &slots->ring->head);
}

/* ------------------------------------------------------------------------------------------------------------------
 * The queue of many to many, after Dmitry Vyukov's bounded one: a turn in each cell says whose it is
 * ------------------------------------------------------------------------------------------------------------------ */

struct vyukov_cell {
    uint64_t turn, length;
    unsigned char bytes[];
};

struct vyukov {
    struct bare_ring *ring;
    uint64_t mask, stride;
};

static inline void vyukov_attach(struct vyukov *queue, void *memory, size_t cells, size_t longest)
{
    *queue = (struct vyukov){ memory, cells - 1, (longest + sizeof(struct vyukov_cell) + 63) & ~(uint64_t)63 };
}

static inline struct vyukov_cell *vyukov_cell(struct vyukov *queue, uint64_t position)
{
    return (struct vyukov_cell *)(queue->ring->bytes + (position & queue->mask) * queue->stride);
}

static inline void vyukov_init(struct vyukov *queue)
{
    queue->ring->tail = queue->ring->head = 0;
    for (uint64_t i = 0; i <= queue->mask; i++)
        vyukov_cell(queue, i)->turn = i;
}

/* The next cell whose turn is `ahead` of its position, by one step of a counter. */
static inline struct vyukov_cell *vyukov_next(struct vyukov *queue, uint64_t *counter, uint64_t ahead, uint64_t *position)
{
    uint64_t at = __atomic_load_n(counter, __ATOMIC_RELAXED);
    for (unsigned turns = 0;;) {
        struct vyukov_cell *cell = vyukov_cell(queue, at);
        int64_t off = (int64_t)(__atomic_load_n(&cell->turn, __ATOMIC_ACQUIRE) - at - ahead);
        if (off == 0) {
            if (__atomic_compare_exchange_n(counter, &at, at + 1, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
                *position = at;
                return cell;
            }
            continue;
        }
        if (off < 0)
            bare_turn(&turns);
        at = __atomic_load_n(counter, __ATOMIC_RELAXED);
    }
}

static inline struct vyukov_cell *vyukov_claim(struct vyukov *queue, uint64_t *position)
{
    return vyukov_next(queue, &queue->ring->tail, 0, position);
}

static inline void vyukov_commit(struct vyukov_cell *cell, uint64_t position)
{
    __atomic_store_n(&cell->turn, position + 1, __ATOMIC_RELEASE);
}

static inline struct vyukov_cell *vyukov_take(struct vyukov *queue, uint64_t *position)
{
    return vyukov_next(queue, &queue->ring->head, 1, position);
}

static inline void vyukov_release(struct vyukov *queue, struct vyukov_cell *cell, uint64_t position)
{
    __atomic_store_n(&cell->turn, position + queue->mask + 1, __ATOMIC_RELEASE);
}

#endif
