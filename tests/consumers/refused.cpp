// What shmkit.hpp must not let a program do. With -DCASE=0 all is well; every other case must not compile, for the
// reason that stands beside it, a regular expression. Never run: tests/package.rs reads the cases and the compiler's
// words.
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include <shmkit.hpp>

struct good {
    int value;
};
SHMKIT_REGION_TYPE(good, 1);

struct unnamed {
    int value;
};

struct aligned_to_a_line {
    alignas(64) int value;
};
SHMKIT_REGION_TYPE(aligned_to_a_line, 1);

struct dynamic {
    virtual int value() { return 0; }
};
SHMKIT_REGION_TYPE(dynamic, 1);

struct owner {
    std::string text;
};
SHMKIT_REGION_TYPE(owner, 1);

// As a type of the program would be that cleans up after a lock.
struct destroys {
    ~destroys() { static_cast<void>(lock.destroy()); }
    shmkit::mutex lock;
};
SHMKIT_REGION_TYPE(destroys, 1);

struct locked {
    shmkit::mutex lock;
    shmkit::shared_mutex table;
    shmkit::condition_variable changed;
    shmkit::counting_semaphore items{0};
    shmkit::barrier meeting{2};
    shmkit::once_flag once;
};
SHMKIT_REGION_TYPE(locked, 1);

using shmkit::region;

int use([[maybe_unused]] region &shared)
{
    [[maybe_unused]] int number = 0;
    [[maybe_unused]] const int constant = 0;
    [[maybe_unused]] const std::vector<std::string> texts;
#if CASE == 0
    auto made = region::create<good>("anon:", {}, [](good &fresh) { fresh.value = 1; });
    auto objects = region::create<locked>("anon:").value();
    auto held = objects->lock.guard([] { return true; });
    std::shared_lock reading(objects->table);
    std::mutex alien;
    std::scoped_lock both(alien);
    objects->changed.wait(held, [] { return true; });
    for (const good &one : shmkit::ring<good>::consume(shared).value().messages())
        number += one.value;
    return made && shared.copy_in(0, number) && shared.copy_in(0, constant) && texts.empty();
#elif CASE == 1 // SHMKIT_REGION_TYPE
    return bool(region::open<unnamed>("anon:"));
#elif CASE == 2 // standard layout
    return bool(region::open<dynamic>("anon:"));
#elif CASE == 3 // must need no destructor
    return bool(shared.as<owner>());
#elif CASE == 4 // deleted
    region copy = shared;
    return bool(copy);
#elif CASE == 5 // nodiscard
    shared.grow(2);
    return 0;
#elif CASE == 6 // a pointer means nothing
    return bool(shared.copy_in(0, &number));
#elif CASE == 7 // trivially copyable
    return bool(shared.copy_in(0, texts));
#elif CASE == 8 // trivially copyable
    return bool(shared.copy_out<std::string>(0));
#elif CASE == 9 // cannot be const
    return bool(shared.copy_out(0, "constant"));
#elif CASE == 10 // is not const
    return bool(shared.copy_out(0, constant));
#elif CASE == 11 // stay empty for ever
    return bool(region::create<const good>("anon:"));
#elif CASE == 12 // returns nothing, or a bool
    return bool(region::create<good>("anon:", {}, [](good &) { return 0; }));
#elif CASE == 13 // read-only|const value
    region::open<const good>("anon:").value()->value = 1;
    return 0;
#elif CASE == 14 // no matching function
    return bool(region::create("anon:"));
#elif CASE == 15 // deleted
    shmkit::mutex one;
    shmkit::mutex copy(one);
    return 0;
#elif CASE == 16 // deleted
    shmkit::shared_mutex one;
    shmkit::shared_mutex moved(std::move(one));
    return 0;
#elif CASE == 17 // deleted
    shmkit::condition_variable one, other;
    one = other;
    return 0;
#elif CASE == 18 // deleted
    locked one;
    locked copy(one);
    return 0;
#elif CASE == 19 // deleted
    shmkit::once_flag one, other;
    one = std::move(other);
    return 0;
#elif CASE == 20 // must need no destructor
    return bool(region::create<destroys>("anon:"));
#elif CASE == 21 // deleted|trivially copyable
    return bool(shared.copy_out<shmkit::mutex>(0));
#elif CASE == 22 // no matching
    std::mutex own;
    std::unique_lock held(own);
    shmkit::condition_variable().wait(held);
    return 0;
#elif CASE == 23 // lock_shared
    shmkit::mutex one;
    std::shared_lock reading(one);
    return 0;
#elif CASE == 24 // nodiscard
    shmkit::mutex one;
    one.lock(shmkit::as_result);
    return 0;
#elif CASE == 25 // nodiscard
    shmkit::mutex one;
    one.guard([] {});
    return 0;
#elif CASE == 26 // a repair returns nothing, or a bool
    shmkit::mutex one;
    one.lock([] { return 1; });
    return 0;
#elif CASE == 27 // no matching
    shmkit::counting_semaphore items;
    return 0;
#elif CASE == 28 // returns nothing, or a bool
    shmkit::once_flag once;
    shmkit::call_once(once, [] { return 1; });
    return 0;
#elif CASE == 29 // SHMKIT_REGION_TYPE
    return bool(shmkit::queue<unnamed>::attach(shared));
#elif CASE == 30 // trivially copyable
    return bool(shmkit::queue<owner>::attach(shared));
#elif CASE == 31 // trivially copyable, and not const
    return bool(shmkit::queue<const good>::attach(shared));
#elif CASE == 32 // aligned
    return bool(shmkit::ring<aligned_to_a_line>::produce(shared));
#elif CASE == 33 // deleted
    auto one = shmkit::queue<good>::attach(shared).value();
    auto copy = one;
    return 0;
#elif CASE == 34 // nodiscard
    shmkit::queue<good>().write({1});
    return 0;
#elif CASE == 35 // read-only|const-qualified
    for (auto &one : shmkit::ring_consumer<good>().drain())
        one.value = 1;
    return 0;
#elif CASE == 36 // no matching
    return bool(shmkit::queue<good>().reserve(4));
#endif
}
