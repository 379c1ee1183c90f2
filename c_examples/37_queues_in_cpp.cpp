// Messages between processes in C++: objects of a type, by queue and by ring.
// Run:   37_queues_in_cpp
// Shows: queue<T> from several processes to one, written in place, read by a range-based for until
//        nothing comes any more; ring<T> from one to one, in batches; what is not committed is not
//        sent; another type is refused; bytes of any length as spans.
#include <array>
#include <cstring>
#include <iostream>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.hpp>

struct sample {
    std::uint32_t sensor, number;
    double value;
};
SHMKIT_REGION_TYPE(sample, 1);

struct summary {
    std::uint32_t sensor, samples;
    double mean;
};
SHMKIT_REGION_TYPE(summary, 1);

namespace {

constexpr std::uint32_t sensors = 3, each = 200;
using samples = shmkit::queue<sample>;
using summaries = shmkit::ring<summary>;
using lines = shmkit::ring<std::byte>;

/* Runs the work in a process of its own. */
template <class Work> pid_t start(Work &&work)
{
    std::cout.flush();
    const pid_t child = fork();
    if (child == -1)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (child != 0)
        return child;
    try {
        work();
        std::cout.flush();
        std::_Exit(0);
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        std::_Exit(1);
    }
}

void finish(pid_t child)
{
    int end = 0;
    if (waitpid(child, &end, 0) != child || end != 0)
        throw std::runtime_error("a process did not end as it should");
}

void measure(const shmkit::region &memory, std::uint32_t sensor)
{
    auto queue = samples::attach(memory).value();
    for (std::uint32_t number = 0; number < each; number++) {
        if (number % 50 == 49) {
            auto spoiled = queue.reserve().value();
            *spoiled = {sensor, number, -1};
            /* Thought better of: the destructor gives it up, and nobody sees it. */
        }
        auto room = queue.reserve().value();
        *room = {sensor, number, 0.5 * number + sensor};
        room.commit().value();
    }
}

/* Takes all samples, and says of each sensor what came. */
void collect(const shmkit::region &memory, const shmkit::region &out)
{
    std::array<summary, sensors> all{};
    auto queue = samples::attach(memory).value();
    for (const sample &one : queue.messages()) {
        summary &mine = all.at(one.sensor);
        if (one.number != mine.samples)
            throw std::runtime_error("a sample is not the one that was to come");
        mine.sensor = one.sensor;
        mine.samples++;
        mine.mean += one.value / each;
    }
    auto producer = summaries::produce(out).value();
    for (std::size_t sent = 0; sent < all.size();)
        sent += producer.write_batch(shmkit::span<const summary>(all.data() + sent, all.size() - sent)).value();
    producer.close().value();
}

void run()
{
    shmkit::options wanted;
    wanted.size = samples::size({});
    const auto memory = shmkit::region::create("anon:", wanted, samples::maker({})).value();
    wanted.size = summaries::size(16);
    const auto out = shmkit::region::create("anon:", wanted, summaries::maker()).value();

    const pid_t collector = start([&] { collect(memory, out); });
    std::array<pid_t, sensors> measuring{};
    for (std::uint32_t sensor = 0; sensor < sensors; sensor++)
        measuring[sensor] = start([&] { measure(memory, sensor); });
    for (pid_t process : measuring)
        finish(process);
    samples::attach(memory).value().close().value();

    auto consumer = summaries::consume(out).value();
    for (const summary &one : consumer.messages())
        std::cout << "sensor " << one.sensor << ": " << one.samples << " samples, mean " << one.mean << '\n';
    finish(collector);

    if (auto wrong = shmkit::ring<sample>::produce(out); !wrong)
        std::cout << "a ring of another type: " << wrong.error().name() << '\n';

    wanted.size = lines::size(4096);
    const auto text = shmkit::region::create("anon:", wanted, lines::maker()).value();
    const pid_t writer = start([&] {
        auto producer = lines::produce(text).value();
        for (const std::string line : {"bytes", "of any length", "in one piece"}) {
            auto room = producer.reserve(line.size()).value();
            std::memcpy((*room).data(), line.data(), line.size());
            room.commit().value();
        }
        producer.close().value();
    });
    auto reader = lines::consume(text).value();
    for (shmkit::span<const std::byte> line : reader.messages())
        std::cout << std::string(reinterpret_cast<const char *>(line.data()), line.size()) << '\n';
    finish(writer);
}

} // namespace

int main()
{
    try {
        run();
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
