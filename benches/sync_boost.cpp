// SPDX-License-Identifier: MIT OR Apache-2.0
// The side of Boost.Interprocess for sync.c: its objects as they come, in memory that sync.c gives. None of its mutexes
// is robust: they are measured beside those that are.
#include <new>

#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>

#include "sync_boost.h"

namespace ipc = boost::interprocess;

namespace {

template <class T> T &in(unsigned char *room)
{
    static_assert(sizeof(T) <= BOOST_ROOM && alignof(T) <= 64, "an object has room");
    return *reinterpret_cast<T *>(room);
}

} // namespace

void boost_make(boost_objects *at)
{
    new (at->mutex) ipc::interprocess_mutex;
    new (at->rwlock) ipc::interprocess_sharable_mutex;
    new (at->sem) ipc::interprocess_semaphore(1);
    new (at->ping) ipc::interprocess_semaphore(0);
    new (at->pong) ipc::interprocess_semaphore(0);
    new (at->cond) ipc::interprocess_condition;
}

void boost_mutex(boost_objects *at, long rounds)
{
    auto &mutex = in<ipc::interprocess_mutex>(at->mutex);
    for (long i = 0; i < rounds; i++) {
        mutex.lock();
        mutex.unlock();
    }
}

void boost_mutex_count(boost_objects *at, long rounds)
{
    auto &mutex = in<ipc::interprocess_mutex>(at->mutex);
    for (long i = 0; i < rounds; i++) {
        mutex.lock();
        at->counter = at->counter + 1;
        mutex.unlock();
    }
}

void boost_read(boost_objects *at, long rounds)
{
    auto &rwlock = in<ipc::interprocess_sharable_mutex>(at->rwlock);
    for (long i = 0; i < rounds; i++) {
        rwlock.lock_sharable();
        rwlock.unlock_sharable();
    }
}

void boost_write(boost_objects *at, long rounds)
{
    auto &rwlock = in<ipc::interprocess_sharable_mutex>(at->rwlock);
    for (long i = 0; i < rounds; i++) {
        rwlock.lock();
        rwlock.unlock();
    }
}

void boost_sem(boost_objects *at, long rounds)
{
    auto &sem = in<ipc::interprocess_semaphore>(at->sem);
    for (long i = 0; i < rounds; i++) {
        sem.post();
        sem.wait();
    }
}

void boost_signal(boost_objects *at, long rounds)
{
    auto &cond = in<ipc::interprocess_condition>(at->cond);
    for (long i = 0; i < rounds; i++)
        cond.notify_one();
}

void boost_ping(boost_objects *at, long rounds)
{
    auto &ping = in<ipc::interprocess_semaphore>(at->ping);
    auto &pong = in<ipc::interprocess_semaphore>(at->pong);
    for (long i = 0; i < rounds; i++) {
        ping.post();
        pong.wait();
    }
}

void boost_pong(boost_objects *at, long rounds)
{
    auto &ping = in<ipc::interprocess_semaphore>(at->ping);
    auto &pong = in<ipc::interprocess_semaphore>(at->pong);
    for (long i = 0; i < rounds; i++) {
        ping.wait();
        pong.post();
    }
}
