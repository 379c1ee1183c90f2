// Shares a struct between processes in C++: regions as objects, checked types, errors by choice.
// Run:   27_typed_region
// Shows: open<T>() gives a pointer only to what is a T, for reading only when T is const; an error
//        is a value to look at, or an exception; what is thrown while a region is filled undoes its
//        creation, and goes on.
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <shmkit.hpp>

struct telemetry {
    std::uint64_t samples;
    double speed; // m/s
    std::uint32_t history[8];
};
SHMKIT_REGION_TYPE(telemetry, 3); // a C program says SHMKIT_LAYOUT(struct telemetry, 3)

// What the next release will have: the same name, and so a version of its own.
namespace next {
struct telemetry {
    std::uint64_t samples;
    double speed, heading;
};
} // namespace next
SHMKIT_REGION_TYPE_AS(next::telemetry, "telemetry", 4);

namespace {

// Errors as values: there are no exceptions on this way.
void look_before(const std::string &address)
{
    auto opened = shmkit::region::open<telemetry>(address);
    std::printf("opened before it is there: %s\n", opened ? "yes" : opened.error().name());
}

// An exception in the callable undoes the creation, and comes out here.
void fail_to_create(const std::string &address)
{
    try {
        auto region = shmkit::region::create<telemetry>(address, {}, [](telemetry &) {
            throw std::runtime_error("the sensor does not answer");
        });
    } catch (const std::runtime_error &problem) {
        std::printf("creation undone: %s\n", problem.what());
    }
    std::printf("what is left of it: %s\n", shmkit::region::open(address).error().name());
}

// In another process: what this one created is a telemetry there, too.
int read_and_answer(const std::string &address)
{
    auto shared = shmkit::region::open<telemetry>(address).value();
    std::vector<std::uint32_t> history(8);
    shared.copy_out(offsetof(telemetry, history), history).value();
    shared->samples = std::accumulate(history.begin(), history.end(), std::uint64_t{0});
    return 0;
}

void ask_other_process(const std::string &address)
{
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0)
        _exit(read_and_answer(address));
    int end = 0;
    if (child == -1 || waitpid(child, &end, 0) == -1 || end != 0)
        throw std::runtime_error("the other process failed");
}

void share(const std::string &address)
{
    const auto fill = [](telemetry &fresh) { fresh.speed = 12.5; };
    auto shared = shmkit::region::open_or_create<telemetry>(address, {}, fill).value();
    std::printf("created: %s, speed %.1f\n", shared.created() ? "yes" : "no", shared->speed);

    const std::vector<std::uint32_t> history = {1, 2, 3, 4, 5, 6, 7, 8};
    shared.copy_in(offsetof(telemetry, history), history).value();
    ask_other_process(address);
    std::printf("samples, as the other process has it: %d\n", static_cast<int>(shared->samples));

    // For reading only: the compiler and the memory agree.
    auto reader = shmkit::region::open<const telemetry>(address).value();
    std::printf("a reader's copy_in: %s\n", reader.copy_in(0, 1).error().name());

    int count = 0;
    shared.participants([&](const shmkit_participant_t &) { ++count; }).value();
    std::printf("participants: %d\n", count);
}

// Errors as exceptions: value() throws when there is none.
void open_as_next_release(const std::string &address)
{
    try {
        auto shared = shmkit::region::open<next::telemetry>(address).value();
    } catch (const std::system_error &problem) {
        std::printf("the next release: %s\n", problem.code().message().c_str());
        std::printf("    %s\n", problem.what());
    }
}

} // namespace

int main()
try {
    const std::string address = "posix:/shmkit-27-" + std::to_string(getpid());
    look_before(address);
    fail_to_create(address);
    share(address);
    open_as_next_release(address);
    shmkit::unlink(address).value();
    std::printf("unlinked: %s\n", shmkit::unlink(address).error().name());
} catch (const std::exception &problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
}
