/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What sync.c measures of Boost.Interprocess, which is C++: loops of so many rounds over an object in shared memory.
 * Defined in sync_boost.cpp; only there when the headers were found (SYNC_BOOST).
 */
#ifndef SYNC_BOOST_H
#define SYNC_BOOST_H

#ifdef __cplusplus
#define ALIGNED alignas(64)
#else
#define ALIGNED _Alignas(64)
#endif

enum { BOOST_ROOM = 512 };

/* One for each object: BOOST_ROOM bytes, aligned to 64, all zeros before. */
struct boost_objects {
    ALIGNED unsigned char mutex[BOOST_ROOM];
    ALIGNED unsigned char rwlock[BOOST_ROOM];
    ALIGNED unsigned char sem[BOOST_ROOM];
    ALIGNED unsigned char ping[BOOST_ROOM];
    ALIGNED unsigned char pong[BOOST_ROOM];
    ALIGNED unsigned char cond[BOOST_ROOM];
    ALIGNED volatile long counter;
};

#ifdef __cplusplus
extern "C" {
#endif

void boost_make(struct boost_objects *at);
void boost_mutex(struct boost_objects *at, long rounds);
void boost_mutex_count(struct boost_objects *at, long rounds);
void boost_read(struct boost_objects *at, long rounds);
void boost_write(struct boost_objects *at, long rounds);
void boost_sem(struct boost_objects *at, long rounds);
void boost_signal(struct boost_objects *at, long rounds);
void boost_ping(struct boost_objects *at, long rounds);
void boost_pong(struct boost_objects *at, long rounds);

#ifdef __cplusplus
}
#endif
#endif
