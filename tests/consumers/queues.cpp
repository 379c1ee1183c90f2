// Uses rings, queues, broadcasts and cells of shmkit.hpp, of a type and of bytes, in every way that the header has.
// Compiles with and without exceptions and RTTI, in C++17 with the header's own span and later with std::span. Prints
// "queues: good" and leaves nothing behind; with an argument it takes value() of what failed, which without exceptions
// ends the program.
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>
#if __cplusplus >= 202002L && __has_include(<ranges>)
#include <ranges>
#endif

#include <shmkit.hpp>

struct message {
    std::uint64_t number;
    double value;
};
SHMKIT_REGION_TYPE(message, 1);

namespace other {
struct message {
    std::uint64_t number;
    float values[2];
};
} // namespace other
SHMKIT_REGION_TYPE_AS(other::message, "message", 2);

namespace {

using namespace std::chrono_literals;
using shmkit::region;
using bytes = std::byte;

void need(bool good, const char *what)
{
    if (good)
        return;
    std::fprintf(stderr, "%s: %s\n", what, shmkit_last_error_message());
    std::_Exit(1);
}

#define NEED(...) need(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__)

template <class T> constexpr bool is_move_only()
{
    return std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
           std::is_nothrow_default_constructible_v<T> && !std::is_copy_constructible_v<T> &&
           !std::is_copy_assignable_v<T>;
}
static_assert(is_move_only<shmkit::ring_producer<message>>() && is_move_only<shmkit::ring_consumer<bytes>>());
static_assert(is_move_only<shmkit::queue<message>>() && is_move_only<shmkit::queue<bytes>>());
static_assert(is_move_only<shmkit::broadcast<message>>() && is_move_only<shmkit::cell_writer<message>>());
static_assert(is_move_only<shmkit::cell_reader<bytes>>());
static_assert(!std::is_default_constructible_v<shmkit::ring<message>>);
#if defined(__cpp_lib_span)
static_assert(std::is_same_v<shmkit::span<const bytes>, std::span<const bytes>>);
#endif
#if defined(__cpp_lib_ranges)
static_assert(std::ranges::input_range<decltype(std::declval<shmkit::queue<message> &>().drain())>);
#endif

shmkit::span<const bytes> bytes_of(const std::string &text)
{
    return shmkit::span<const bytes>(reinterpret_cast<const bytes *>(text.data()), text.size());
}

template <class Span> std::string text_of(Span from)
{
    return std::string(reinterpret_cast<const char *>(from.data()), from.size());
}

template <class Maker> region make(std::size_t size, Maker &&maker)
{
    NEED(size > 0);
    shmkit::options wanted;
    wanted.size = size;
    return region::create("anon:", wanted, maker).value();
}

template <class Work> int run(Work &&work)
{
    const pid_t child = fork();
    NEED(child != -1);
    if (child == 0) {
        alarm(300);
        work();
        std::_Exit(0);
    }
    int status = 0;
    NEED(waitpid(child, &status, 0) == child);
    return status;
}

// What the writing and reading halves of a ring and of a queue have in common, of a type.
template <class Writer, class Reader> void check_typed(Writer &writer, Reader &reader)
{
    NEED(!reader.try_read().value() && !reader.try_take().value() && !reader.read_for(1ms).value());
    NEED(reader.try_take());
    writer.write({1, 0.5}).value();
    NEED(writer.try_write({2, 1.5}).value() && writer.write_for({3, 2.5}, 1s).value());
    NEED(reader.read().value().number == 1);
    {
        auto first = reader.take().value();
        NEED(first->number == 2 && (*first).value == 1.5 && first.bytes().size() == sizeof(message));
        auto moved = std::move(first);
        NEED(moved->number == 2);
    } // released here, once
    NEED(reader.take_for(1s).value().value()->number == 3);
    NEED(!reader.try_take().value());

    {
        auto given_up = writer.reserve().value();
        given_up->number = 99;
    }
    auto room = writer.try_reserve().value().value();
    *room = {4, 3.5};
    auto moved = std::move(room);
    moved->value = 4.5;
    NEED(moved.commit());
    NEED(writer.reserve_for(1s).value()->commit());
    auto aborted = writer.reserve().value();
    NEED(aborted.abort());
    const message fourth = reader.read().value();
    NEED(fourth.number == 4 && fourth.value == 4.5);
    NEED(reader.read());

    for (std::uint64_t i = 0; i < 5; i++)
        writer.write({i, 0}).value();
    std::uint64_t next = 0;
    for (const message &one : reader.drain()) {
        NEED(one.number == next++);
        if (next == 3)
            break; // the third one is released by the end of the range
    }
    for (const message &one : reader.drain())
        NEED(one.number == next++);
    NEED(next == 5);
    for (const message &none : reader.drain())
        NEED(none.number == 0 && false);

    // What was not looked at stays.
    for (std::uint64_t i = 0; i < 5; i++)
        writer.write({i, 0}).value();
    {
        auto some = reader.drain();
        auto at = some.begin();
        NEED((*at).number == 0 && (*at).number == 0 && at != some.end());
        ++at; // to the second one, which nobody looks at
        ++at;
        NEED((*at).number == 2);
        ++at;
    }
    next = 3;
// Before its version 16 clang does not understand the views of GNU's library.
#if defined(__cpp_lib_ranges) && (!defined(__clang__) || __clang_major__ >= 16)
    for (const message &one : reader.drain() | std::views::take(1))
        NEED(one.number == next++);
#endif
    for (const message &one : reader.drain())
        NEED(one.number == next++);
    NEED(next == 5);

    // Ends may move while they are attached.
    Writer elsewhere = std::move(writer);
    NEED(elsewhere && !writer);
    NEED(!writer.write({1, 1}));
    writer = std::move(elsewhere);
    writer.write({5, 5}).value();
    NEED(reader.read().value().number == 5);
}

template <class Writer, class Reader> void check_bytes(Writer &writer, Reader &reader)
{
    std::array<bytes, 64> buffer;
    NEED(!reader.try_read(buffer).value() && !reader.read_for(buffer, 1ms).value());
    writer.write(bytes_of("one")).value();
    NEED(writer.try_write(bytes_of("")).value() && writer.write_for(bytes_of("three"), 1s).value());
    NEED(text_of(reader.read(buffer).value()) == "one");
    NEED(reader.read(buffer).value().empty());
    NEED(reader.read(shmkit::span<bytes>(buffer.data(), 2)).status() == SHMKIT_ERR_TOO_BIG);
    NEED(text_of(reader.read(buffer).value()) == "three");

    auto room = writer.reserve(40).value();
    NEED((*room).size() == 40);
    std::memcpy((*room).data(), "four", 4);
    NEED(room.commit(4));
    NEED(writer.try_reserve(8).value().value().abort() && writer.reserve_for(8, 1s).value()->abort());
    NEED(text_of(*reader.take().value()) == "four");
    writer.write(bytes_of("a")).value();
    writer.write(bytes_of("bc")).value();
    std::string all;
    for (shmkit::span<const bytes> one : reader.drain())
        all += text_of(one) + ";";
    NEED(all == "a;bc;");
}

void check_ring()
{
    using ring = shmkit::ring<message>;
    const auto memory = make(ring::size(16), ring::maker());
    auto producer = ring::produce(memory).value();
    auto consumer = ring::consume(memory).value();
    check_typed(producer, consumer);

    NEED(ring::produce(memory).status() == SHMKIT_ERR_BUSY);
    NEED(shmkit::ring<other::message>::produce(memory, shmkit::take_over::yes).status() == SHMKIT_ERR_LAYOUT);

    // More than there is room for: as many as fit.
    std::vector<message> many(1000);
    for (std::size_t i = 0; i < many.size(); i++)
        many[i].number = i;
    const std::size_t fitted = producer.write_batch(shmkit::span<const message>(many)).value();
    NEED(fitted >= 16 && fitted < many.size());
    NEED(!producer.try_write({1, 1}).value() && !producer.try_reserve().value());
    NEED(ring::stat(memory).value().refused == 2 || ring::stat(memory).value().refused == 3);
    std::size_t next = 0;
    for (const message &one : consumer.drain())
        NEED(one.number == next++);
    NEED(next == fitted);

    const int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    // It rings at once for who sleeps already: who produced before may have died on the way to the bell.
    std::uint64_t rung = 0;
    NEED(producer.notify_by(bell) && read(bell, &rung, sizeof rung) == -1);
    NEED(consumer.arm().value() && producer.notify_by(bell) && read(bell, &rung, sizeof rung) == sizeof rung);
    NEED(consumer.arm().value() && read(bell, &rung, sizeof rung) == -1);
    producer.write({6, 6}).value();
    NEED(read(bell, &rung, sizeof rung) == sizeof rung && !consumer.arm().value());
    NEED(producer.notify_by(-1));
    close(bell);

    // A message of another size than the type, from a peer that does not keep its word.
    NEED(shmkit_ring_write(producer.native_handle(), "short", 5, 0) == SHMKIT_OK);
    NEED(consumer.read().value().number == 6 && consumer.read().status() == SHMKIT_ERR_LAYOUT);

    producer.write({7, 7}).value();
    NEED(producer.close());
    std::size_t count = 0;
    for (const message &one : consumer.messages())
        count += one.number == 7 ? 1 : 100;
    NEED(count == 1);
    const auto ended = consumer.try_read();
    NEED(ended.status() == SHMKIT_ERR_CLOSED && ended.error().code() == std::errc::broken_pipe);

    // In any shared mapping, of bytes.
    using plain = shmkit::ring<bytes>;
    const std::size_t size = plain::size(4096);
    void *mapping = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(mapping != MAP_FAILED && plain::make(shmkit::place(mapping, size)));
    {
        auto writer = plain::produce(shmkit::place(mapping, size)).value();
        auto reader = plain::consume(shmkit::place(mapping, size)).value();
        check_bytes(writer, reader);
    }
    // Both were given back.
    NEED(plain::stat(shmkit::place(mapping, size)).value().producer == 0);
    NEED(plain::produce(shmkit::place(mapping, size)) && plain::consume(shmkit::place(mapping, size)));
    NEED(munmap(mapping, size) == 0);
}

void check_queue()
{
    using queue = shmkit::queue<message>;
    shmkit::queue_options wanted;
    wanted.messages = 8;
    wanted.overflow = shmkit::overflow::refuse;
    const auto memory = make(queue::size(wanted), queue::maker(wanted));
    auto writer = queue::attach(memory).value();
    auto reader = queue::attach(memory).value();
    check_typed(writer, reader);
    NEED(shmkit::queue<other::message>::attach(memory).status() == SHMKIT_ERR_LAYOUT);
    NEED(queue::attach(shmkit::place(memory.data(), memory.size())).status() != SHMKIT_OK);
    NEED(queue::attach(shmkit::place(memory, 64, memory.size())).status() != SHMKIT_OK);

    while (writer.try_write({1, 1}).value()) {
    }
    NEED(queue::stat(memory).value().depth == 8 && queue::stat(memory).value().dropped == 1);
    NEED(writer.write({1, 1}).status() == SHMKIT_ERR_AGAIN && writer.reserve().status() == SHMKIT_ERR_AGAIN);
    for (const message &one : reader.drain())
        NEED(one.number == 1);
    NEED(reader.arm().value() && reader.notify_by(-1));

    // One that is killed with a message in its hands gives it back.
    writer.write({77, 0}).value();
    const int status = run([&] {
        auto mine = queue::attach(memory).value();
        auto one = mine.take().value();
        NEED(one->number == 77);
        std::raise(SIGKILL);
    });
    NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    NEED(reader.read_for(60s).value().value().number == 77);

    NEED(writer.close() && writer.write({1, 1}).status() == SHMKIT_ERR_CLOSED);
    for (const message &none : reader.messages())
        NEED(none.number == 0 && false);

    using plain = shmkit::queue<bytes>;
    shmkit::queue_options small;
    small.messages = 8;
    small.message_size = 48;
    const auto other = make(plain::size(small), plain::maker(small));
    auto plain_writer = plain::attach(other).value(), plain_reader = plain::attach(other).value();
    check_bytes(plain_writer, plain_reader);
    small.messages = 0;
    NEED(plain::size(small) == 0);
}

void check_broadcast()
{
    using broadcast = shmkit::broadcast<message>;
    const auto memory = make(broadcast::size(4), broadcast::maker(4));
    auto writer = broadcast::attach(memory).value();
    auto reader = broadcast::attach(memory).value();
    NEED(!reader.try_read().value() && !reader.read_for(1ms).value());
    for (std::uint64_t i = 1; i <= 10; i++)
        NEED(writer.write({i, 0}));
    NEED(reader.behind() == 10);
    const auto first = reader.read().value();
    NEED(first.message.number == first.missed + 1 && first.missed >= 6);
    auto late = broadcast::attach(memory, shmkit::broadcast_from::oldest).value();
    NEED(late.read().value().message.number >= 7);
    auto room = writer.reserve().value();
    room->number = 11;
    NEED(room.commit());
    static_cast<void>(writer.reserve().value()); // given up
    NEED(writer.close());
    std::uint64_t last = 0;
    for (;;) {
        auto one = reader.read();
        if (one.status() == SHMKIT_ERR_CLOSED)
            break;
        last = one.value().message.number;
    }
    NEED(last == 11 && broadcast::stat(memory).value().closed);
    NEED(shmkit::broadcast<other::message>::attach(memory).status() == SHMKIT_ERR_LAYOUT);
    NEED(reader.arm() && reader.notify_by(-1));

    using plain = shmkit::broadcast<bytes>;
    const auto other = make(plain::size(8, 48), plain::maker(8, 48));
    auto one = plain::attach(other).value(), two = plain::attach(other).value();
    std::array<bytes, 64> buffer;
    NEED(!two.try_read(buffer).value() && !two.read_for(buffer, 1ms).value());
    NEED(one.write(bytes_of("hello")) && one.reserve(3).value().commit(2));
    const auto got = two.read(buffer).value();
    NEED(text_of(got.message) == "hello" && got.missed == 0 && two.read(buffer).value().message.size() == 2);
}

void check_cell()
{
    using cell = shmkit::cell<message>;
    const auto memory = make(cell::size(), cell::maker());
    auto reader = cell::reader_of(memory).value();
    NEED(!reader.latest().value() && !reader.try_next().value());
    auto writer = cell::writer_of(memory).value();
    NEED(cell::writer_of(memory).status() == SHMKIT_ERR_BUSY);
    NEED(writer.write({1, 1}) && writer.write({2, 2}));
    NEED(reader.latest().value()->number == 2 && reader.version() == 2);
    NEED(reader.latest().value()->number == 2 && !reader.next_for(1ms).value());
    {
        auto unseen = writer.reserve().value();
        unseen->number = 3;
    }
    NEED(!reader.try_next().value());
    auto room = writer.reserve().value();
    *room = {4, 4};
    NEED(room.commit() && reader.next().value().number == 4 && reader.version() == 3);
    NEED(cell::stat(memory).value().version == 3);
    NEED(shmkit::cell<other::message>::reader_of(memory).status() == SHMKIT_ERR_LAYOUT);
    writer = {};
    NEED(cell::writer_of(memory));

    using plain = shmkit::cell<bytes>;
    const auto other = make(plain::size(48), plain::maker(48));
    auto plain_writer = plain::writer_of(other).value();
    auto plain_reader = plain::reader_of(other).value();
    std::array<bytes, 64> buffer;
    NEED(!plain_reader.latest(buffer).value() && plain_writer.write(bytes_of("value")));
    NEED(text_of(plain_reader.next(buffer).value()) == "value" && !plain_reader.try_next(buffer).value());
    NEED(!plain_reader.next_for(buffer, 1ms).value() && plain_reader.latest(buffer).value()->size() == 5);
}

} // namespace

int main(int argc, char **)
{
    alarm(300);
    if (argc > 1) {
        std::array<bytes, 4096> none{};
        static_cast<void>(shmkit::ring<message>::consume(shmkit::place(none.data(), 1)).value());
        return 0;
    }
    check_ring();
    check_queue();
    check_broadcast();
    check_cell();
    std::puts("queues: good");
}
