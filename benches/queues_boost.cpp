// SPDX-License-Identifier: MIT OR Apache-2.0
// The side of Boost.Interprocess for queues.c: its message queue as it comes.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/version.hpp>

#include <cstdio>
#include <string>
#include <unistd.h>

#include "queues_boost.h"

namespace ipc = boost::interprocess;

void *boost_queue_make(size_t messages, size_t bytes)
{
    try {
        std::string name = "shmkit-bench-" + std::to_string(getpid());
        auto *queue = new ipc::message_queue(ipc::create_only, name.c_str(), messages, bytes);
        ipc::message_queue::remove(name.c_str());
        return queue;
    } catch (const std::exception &why) {
        std::fprintf(stderr, "boost::interprocess::message_queue: %s\n", why.what());
        return nullptr;
    }
}

void boost_queue_end(void *queue)
{
    delete static_cast<ipc::message_queue *>(queue);
}

int boost_queue_send(void *queue, const void *message, size_t bytes)
{
    try {
        static_cast<ipc::message_queue *>(queue)->send(message, bytes, 0);
        return 1;
    } catch (const std::exception &) {
        return 0;
    }
}

int boost_queue_receive(void *queue, void *message, size_t bytes)
{
    try {
        ipc::message_queue::size_type received;
        unsigned priority;
        static_cast<ipc::message_queue *>(queue)->receive(message, bytes, received, priority);
        return received == bytes;
    } catch (const std::exception &) {
        return 0;
    }
}

const char *boost_queue_version()
{
    static const std::string version = std::to_string(BOOST_VERSION / 100000) + '.' +
                                       std::to_string(BOOST_VERSION / 100 % 1000) + '.' +
                                       std::to_string(BOOST_VERSION % 100);
    return version.c_str();
}
