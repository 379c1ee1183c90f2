// Uses everything in shmkit.hpp, and shares typed regions with the C half in typed-in-c.c: the fingerprints are equal.
// Compiles with and without exceptions and RTTI. Prints "typed: good" and leaves nothing behind; with an argument it
// asks a failure for its value, which ends the program.
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include <shmkit.hpp>

#include "typed.h"

#define ROW(c, cpp, version) SHMKIT_REGION_TYPE(cpp, version);
ALL_TYPES(ROW)
#undef ROW

// Types that only C++ has.
namespace app {

struct counter {
    std::atomic<int> count{7};
    int zero;
};

struct telemetry {
    std::uint64_t samples;
    double speed;
    std::uint32_t history[8];
    char unit;
};

struct old_telemetry {
    std::uint64_t samples;
};

} // namespace app
SHMKIT_REGION_TYPE_AS(app::counter, "counter", 1);
SHMKIT_REGION_TYPE_AS(app::telemetry, "  struct   telemetry ", 3);
SHMKIT_REGION_TYPE_AS(app::old_telemetry, "telemetry", 2);

namespace {

using shmkit::region;

std::string address()
{
    return "posix:/shmkit-typed-" + std::to_string(getpid());
}

void need(bool good, const char *what)
{
    if (good)
        return;
    std::fprintf(stderr, "%s: %s\n", what, shmkit_last_error_message());
    static_cast<void>(shmkit::unlink(address()));
    std::exit(1);
}

#define NEED(...) need(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__)

template <class T> void share_with_c(int index)
{
    // Made in C, opened in C++.
    NEED(create_in_c(address().c_str(), index) == SHMKIT_OK);
    {
        auto opened = region::open<T>(address());
        NEED(opened && opened->get() != nullptr && !opened->created());
        NEED(opened->template as<T>().value() == opened->get());
    }
    NEED(shmkit::unlink(address()));
    // And the other way round.
    NEED(region::create<T>(address()));
    NEED(open_in_c(address().c_str(), index) == SHMKIT_OK);
    // Every other type is refused, on both sides.
    for (int other = 0; layout_in_c(other).name != nullptr; other++)
        NEED(open_in_c(address().c_str(), other) == (other == index ? SHMKIT_OK : SHMKIT_ERR_LAYOUT));
    auto refused = region::open<app::counter>(address());
    NEED(refused.status() == SHMKIT_ERR_LAYOUT);
    NEED(refused.error().code() == std::errc::invalid_argument);
    NEED(shmkit::unlink(address()));
}

void share_all_with_c()
{
    int index = 0;
#define ROW(c, cpp, version) share_with_c<cpp>(index++);
    ALL_TYPES(ROW)
#undef ROW
    NEED(layout_in_c(index).name == nullptr && index == 5);
}

void check_types()
{
    auto shared = region::open_or_create<telemetry>(address()).value();
    NEED(shared.created() && shared.size() == sizeof(telemetry) && shared.address() == address());
    shared->samples = 41;

    auto same = region::open<const app::telemetry>(address()).value();
    NEED(!same.created() && same->samples == 41 && (*same).samples == 41);
    NEED(same.as<const telemetry>().value()->samples == 41);
    NEED(same.as<const telemetry>().value()->samples == 41); // from memory
    NEED(same.as<telemetry>().status() == SHMKIT_ERR_ACCESS);
    NEED(same.copy_in(0, std::uint64_t{1}).status() == SHMKIT_ERR_ACCESS);

    NEED(shared.as<app::counter>().status() == SHMKIT_ERR_LAYOUT);
    NEED(shared.as<app::counter>().error().message().find("\"counter\"") != std::string::npos);
    const auto old = shared.as<app::old_telemetry>();
    NEED(old.error().message().find("version of \"telemetry\" is 3 in the region and 2") != std::string::npos);
    NEED(shared.as_unchecked<app::old_telemetry>().value()->samples == 41);
    NEED(shared.as_unchecked<std::array<char, 8192>>().status() == SHMKIT_ERR_PAST_END);

    // A typed region is a region; what is moved from has nothing.
    region base = std::move(shared);
    NEED(base.as<telemetry>().value()->samples == 41 && base.created());
    NEED(!shared && shared.get() == nullptr && shared.size() == 0 && shared.fd() == -1 && shared.address().empty());
    NEED(shared.grow(100).status() == SHMKIT_ERR_BAD_HANDLE);
    NEED(base.unlink());
    NEED(!base.unlink());
    NEED(shmkit::unlink(address()).error().code() == std::errc::no_such_file_or_directory);
    NEED(base.close() && !base && base.close());
    base = region(same.release());
    NEED(base && !same && base.as<const telemetry>());
}

void check_options()
{
    // The initialiser of C++ names members by their place. Without padding the bytes say it all.
    static_assert(std::has_unique_object_representations_v<shmkit_region_options_t>);
    const shmkit_region_options_t c = options_in_c(), cpp = SHMKIT_REGION_OPTIONS_INIT;
    NEED(std::memcmp(&c, &cpp, sizeof c) == 0);
    shmkit_region_options_t usual = shmkit::options().to_c();
    NEED(usual.timeout_ns == 10000000000 && usual.mode == 0600);
    usual.timeout_ns = 0;
    usual.mode = 0;
    NEED(std::memcmp(&c, &usual, sizeof c) == 0);
    shmkit::options wanted;
    wanted.timeout = std::chrono::nanoseconds::max();
    NEED(wanted.to_c().timeout_ns == UINT64_MAX);
    wanted.timeout = std::chrono::seconds(-1);
    NEED(wanted.to_c().timeout_ns == 1);
}

void check_creation()
{
    int ran = 0;
    shmkit::options wanted;
    wanted.size = 5000;
    wanted.max_size = 100000;
    const auto fill = [&ran](void *data, std::size_t size) {
        std::memset(data, 'x', size);
        ran++;
    };
    auto bytes = region::open_or_create(address(), wanted, fill).value();
    NEED(bytes.created() && ran == 1 && static_cast<char *>(bytes.data())[4999] == 'x');
    NEED(!region::open_or_create(address(), wanted, fill).value().created() && ran == 1);
    NEED(region::create(address(), wanted).status() == SHMKIT_ERR_EXISTS);
    NEED(bytes.as<telemetry>().error().message().find("without naming a type") != std::string::npos);
    NEED(bytes.grow(6000) && bytes.size() == 6000);
    NEED(bytes.grow(100001).status() == SHMKIT_ERR_TOO_BIG);
    NEED(bytes.unlink());

    // A type that has to be constructed is, before anybody sees it and before the callable.
    NEED(region::create<app::counter>("anon:").value()->count == 7);
    auto counter = region::create<app::counter>("anon:", {}, [](app::counter &fresh, std::size_t size) {
        fresh.count += static_cast<int>(size);
        return fresh.zero == 0;
    });
    NEED(counter && counter.value()->count == 7 + static_cast<int>(sizeof(app::counter)));

    auto refused = region::create<telemetry>(address(), {}, [](telemetry &) { return false; });
    NEED(refused.status() == SHMKIT_ERR_CALLBACK);
    NEED(region::open(address()).status() == SHMKIT_ERR_NOT_FOUND);
    wanted.raw = true;
    NEED(region::create<telemetry>(address(), wanted).status() == SHMKIT_ERR_INVALID_ARGUMENT);
    NEED(region::open(std::string("anon:\0x", 7)).status() == SHMKIT_ERR_INVALID_ARGUMENT);
    NEED(region::open(nullptr).status() == SHMKIT_ERR_BAD_POINTER);
}

void check_copies()
{
    shmkit::options wanted;
    wanted.size = 4096;
    region bytes = region::create("memfd:typed", wanted).value();
    NEED(bytes.copy_in(0, "text"));
    NEED(std::strcmp(static_cast<char *>(bytes.data()), "text") == 0);
    NEED(bytes.copy_in(8, std::vector<int>{1, 2, 3}) && bytes.copy_in(20, std::string_view("ab")));
    std::array<int, 3> numbers{};
    int plain[2] = {0, 0};
    NEED(bytes.copy_out(8, numbers) && numbers[2] == 3);
    NEED(bytes.copy_out(12, plain) && plain[0] == 2);
    NEED(bytes.copy_out<std::array<char, 2>>(20).value() == std::array<char, 2>{'a', 'b'});
    telemetry one{}, two{};
    one.speed = 2.5;
    NEED(bytes.copy_in(64, one) && bytes.copy_out(64, two) && two.speed == 2.5);
    NEED(bytes.copy_out<telemetry>(64)->speed == 2.5);
    NEED(bytes.copy_out<std::uint64_t>(4089).status() == SHMKIT_ERR_PAST_END);
    NEED(bytes.copy_out<int>(5000).value_or(9) == 9);

    auto scope = bytes.access().value();
    auto moved = std::move(scope);
    NEED(moved.size() == 4096 && moved.data() == bytes.data() && moved.finish() && moved.finish());
    NEED(bytes.protect(PROT_READ) && bytes.advise(MADV_NORMAL) && bytes.lock_memory() && bytes.unlock_memory());
    NEED(bytes.sync(shmkit::sync_level::data).status() == SHMKIT_ERR_BACKEND);
    NEED(bytes.stat()->backend == SHMKIT_BACKEND_MEMFD && bytes.fd() >= 0 && bytes.handle() != nullptr);
}

void check_passing()
{
    int ends[2];
    NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    auto sent = region::create<app::counter>("anon:").value();
    NEED(sent.send(ends[0], shmkit::send_access::read_write));
    NEED(++region::recv<app::counter>(ends[1]).value()->count == 8 && sent->count == 8);
    NEED(sent.seal(SHMKIT_SEAL_FUTURE_WRITE));
    NEED(sent.send(ends[0], shmkit::send_access::read_only));
    NEED(region::recv<app::counter>(ends[1]).status() == SHMKIT_ERR_ACCESS);
    NEED(sent.send(ends[0], shmkit::send_access::read_only));
    auto received = region::recv<const app::counter>(ends[1]).value();
    NEED(received->count == 8);

    int all = 0, some = 0;
    NEED(sent.participants([&](const shmkit_participant_t &) { all++; }) && all == 2);
    NEED(sent.participants([&](const shmkit_participant_t &who) { some++; return who.own == 0; }) && some == 1);
    close(ends[0]);
    close(ends[1]);
}

void check_housekeeping()
{
    auto shared = region::create<telemetry>(address()).value();
    NEED(shmkit::is_orphan(address()).value() == shmkit::answer::no);
    int found = 0;
    const auto look = [&](const shmkit_object_t &object) {
        found += address() == object.address;
        return found == 0;
    };
    NEED(shmkit::list(SHMKIT_LIST_POSIX, look) && found == 1);
    NEED(shared.close());
    NEED(shmkit::is_orphan(address()).value() == shmkit::answer::yes);
    found = 0;
    NEED(shmkit::gc(shmkit::gc_mode::dry_run, look).value() >= 1 && found == 1);
    NEED(shmkit::gc(shmkit::gc_mode::dry_run).value() >= 1);
    NEED(shmkit::unlink(address()));
    NEED(shmkit::is_orphan(address()).status() == SHMKIT_ERR_NOT_FOUND);
    NEED(shmkit::guard::enable() && shmkit::guard::disable());
    NEED(shmkit::limits().value().page_size != 0);
}

void check_errors()
{
    const auto failed = region::open(address());
    const std::string words = failed.error().message();
    NEED(!shmkit::unlink("posix:/") && words == failed.error().message() && words.find(address()) != words.npos);
    NEED(failed.error().errno_value() == ENOENT);
    NEED(std::strcmp(failed.error().name(), "SHMKIT_ERR_NOT_FOUND") == 0);
    NEED(failed.error().code().message() == shmkit_status_message(SHMKIT_ERR_NOT_FOUND));
    NEED(std::strcmp(failed.error().code().category().name(), "shmkit") == 0);
    NEED(shmkit::limits().error().status() == SHMKIT_OK);
    const shmkit::error thrown(failed.error());
    const shmkit::error copy(thrown);
    NEED(words == copy.what() && copy.status() == SHMKIT_ERR_NOT_FOUND && copy.code() == failed.error().code());
    NEED(std::error_code(SHMKIT_ERR_SYSTEM, shmkit::category()) != std::errc::io_error);
}

#if defined(__cpp_exceptions)

// Whether an exception of this type, and no other, comes out of the work.
template <class Exception, class Work> bool throws(Work &&work)
{
    try {
        work();
    } catch (const Exception &) {
        return true;
    }
    return false;
}

// Not derived from anything, as little as an exception can be.
struct odd {};

void check_exceptions()
{
    NEED(throws<shmkit::error>([] { region::open(address()).value(); }));
    NEED(throws<std::system_error>([] { shmkit::unlink(address()).value(); }));
    NEED(throws<std::system_error>([] { (void)region::open(address())->size(); }));

    // From a callable: out of the function that was called, with all undone.
    NEED(throws<odd>([] { (void)region::create<telemetry>(address(), {}, [](telemetry &) { throw odd(); }); }));
    NEED(throws<odd>([] { (void)region::open_or_create<telemetry>(address(), {}, [](telemetry &) { throw odd(); }); }));
    NEED(region::open(address()).status() == SHMKIT_ERR_NOT_FOUND);
    auto shared = region::create<telemetry>("anon:").value();
    NEED(throws<odd>([&] { (void)shared.participants([](const shmkit_participant_t &) { throw odd(); }); }));
    auto named = region::create<telemetry>(address()).value();
    NEED(throws<odd>([] { (void)shmkit::list([](const shmkit_object_t &) { throw odd(); }); }));
    NEED(named.close());
    const auto refuse = [](const shmkit_object_t &) { throw odd(); };
    NEED(throws<odd>([&] { (void)shmkit::gc(shmkit::gc_mode::dry_run, refuse); }));
    NEED(shmkit::unlink(address()));
    // What is owned by a result is closed on the way out.
    NEED(throws<odd>([] {
        auto kept = std::make_unique<shmkit::result<region>>(region::create<telemetry>("anon:").value());
        throw odd();
    }));
}

#else

void check_exceptions() {}

#endif

} // namespace

int main(int argc, char **)
{
    if (argc > 1) {
        region::open(address()).value();
        std::exit(0);
    }
    share_all_with_c();
    check_types();
    check_options();
    check_creation();
    check_copies();
    check_passing();
    check_housekeeping();
    check_errors();
    check_exceptions();
    std::puts("typed: good");
    return 0;
}
