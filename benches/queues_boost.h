/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What queues.c measures of Boost.Interprocess, which is C++: its message queue. Defined in queues_boost.cpp; only there
 * when the headers were found (QUEUES_BOOST).
 */
#ifndef QUEUES_BOOST_H
#define QUEUES_BOOST_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A queue of so many messages of up to so many bytes, for this process and those that are forked from it; its name is gone
 * before this returns. NULL: it could not be made. */
void *boost_queue_make(size_t messages, size_t bytes);
void boost_queue_end(void *queue);
/* Both wait, and return 0 when they threw. */
int boost_queue_send(void *queue, const void *message, size_t bytes);
int boost_queue_receive(void *queue, void *message, size_t bytes);
/* As "1.74.0". */
const char *boost_queue_version(void);

#ifdef __cplusplus
}
#endif
#endif
