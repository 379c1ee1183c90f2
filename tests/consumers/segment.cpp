// A System V segment between threads and processes, in C++17, with checked calls held by RAII.
// Then a call that must fail, with words and a report. Prints "segment: good" and leaves nothing behind.
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <shmkit.h>

namespace {

void need(bool good, const char *what)
{
    if (good)
        return;
    std::fprintf(stderr, "%s: %s\n", what, shmkit_last_error_message());
    std::exit(1);
}

class Segment {
public:
    explicit Segment(std::size_t size) : id_(shmkit_shmget(IPC_PRIVATE, size, 0600))
    {
        need(id_ != -1, "shmget");
    }
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;
    ~Segment() { shmkit_shmctl(id_, IPC_RMID, nullptr); }
    int id() const { return id_; }

private:
    int id_;
};

class Attached {
public:
    explicit Attached(const Segment &segment) : address_(shmkit_shmat(segment.id(), nullptr, 0))
    {
        need(address_ != reinterpret_cast<void *>(-1), "shmat");
    }
    Attached(const Attached &) = delete;
    Attached &operator=(const Attached &) = delete;
    ~Attached() { shmkit_shmdt(address_); }
    void *address() const { return address_; }

private:
    void *address_;
};

void count_together(const Segment &segment)
{
    constexpr int EACH = 10000;
    Attached here(segment);
    auto *count = new (here.address()) std::atomic<int>(0);
    const pid_t child = fork();
    if (child == 0) {
        Attached again(segment);
        auto *same = static_cast<std::atomic<int> *>(again.address());
        for (int i = 0; i < EACH; i++)
            ++*same;
        _exit(0);
    }
    std::thread other([count] {
        for (int i = 0; i < EACH; i++)
            ++*count;
    });
    other.join();
    int status = 0;
    need(waitpid(child, &status, 0) == child && status == 0, "the child's work");
    need(*count == 2 * EACH, "the count");
}

void hear(const shmkit_report_t *report, void *user)
{
    if (report->struct_size == sizeof *report)
        *static_cast<std::string *>(user) = report->rule;
}

void fail_with_words()
{
    std::string rule;
    need(shmkit_set_report_callback(hear, &rule) == SHMKIT_OK, "set_report_callback");
    errno = 0;
    need(shmkit_shmget(IPC_PRIVATE, 0, 0600) == -1 && errno == EINVAL, "a segment of no bytes");
    need(shmkit_set_report_callback(nullptr, nullptr) == SHMKIT_OK, "set_report_callback");
    const shmkit_error_t *error = shmkit_last_error();
    need(error && error->rule && rule == error->rule, "the rule of the report and of the failure");
    std::string words;
    std::thread([&words] { words = shmkit_last_error_message(); }).join();
    need(words.empty(), "another thread has no failure");
    need(std::strstr(shmkit_last_error_message(), rule.c_str()) != nullptr, "the rule in the words");
}

} // namespace

int main()
{
    shmkit_limits_t limits = SHMKIT_LIMITS_INIT;
    need(shmkit_limits(&limits) == SHMKIT_OK && limits.page_size != 0, "limits");
    {
        Segment segment(static_cast<std::size_t>(limits.page_size));
        count_together(segment);
    }
    fail_with_words();
    std::puts("segment: good");
    return 0;
}
