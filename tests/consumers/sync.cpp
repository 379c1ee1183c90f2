// Uses every lock and its kin in shmkit.hpp, with the guards of the standard library, in a region that forked processes
// share and die in. Compiles with and without exceptions and RTTI. Prints "sync: good" and leaves nothing behind; with
// an argument it locks by a plain lock() what a dead process held, which without exceptions ends the program.
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.hpp>

namespace {

struct shared {
    shmkit::mutex lock;
    shmkit::mutex other;
    shmkit::shared_mutex table;
    shmkit::condition_variable changed;
    shmkit::counting_semaphore items{2};
    shmkit::robust_semaphore seats{2};
    shmkit::barrier meeting{2};
    shmkit::once_flag once;
    shmkit::event_count event;
    // Equal while nobody is between the two.
    int one, two;
    std::atomic<int> flag;
};

// What a C program has in its place.
struct shared_in_c {
    shmkit_mutex_t lock;
    shmkit_mutex_t other;
    shmkit_rwlock_t table;
    shmkit_cond_t changed;
    shmkit_sem_t items;
    shmkit_robust_sem_t seats;
    shmkit_barrier_t meeting;
    shmkit_once_t once;
    shmkit_event_t event;
    int one, two;
    int flag;
};

} // namespace
SHMKIT_REGION_TYPE_AS(shared, "shared", 1);
SHMKIT_REGION_TYPE_AS(shared_in_c, "struct shared", 1);

static_assert(std::is_standard_layout_v<shared> && sizeof(shared) == sizeof(shared_in_c));
static_assert(alignof(shared) == alignof(shared_in_c));
static_assert(offsetof(shared, table) == offsetof(shared_in_c, table));
static_assert(offsetof(shared, meeting) == offsetof(shared_in_c, meeting));
static_assert(offsetof(shared, flag) == offsetof(shared_in_c, flag));
static_assert(!std::is_copy_constructible_v<shared> && !std::is_move_constructible_v<shared>);

namespace {

using namespace std::chrono_literals;
using shmkit::acquired;
using shmkit::as_result;
using shmkit::region;

void need(bool good, const char *what)
{
    if (good)
        return;
    std::fprintf(stderr, "%s: %s\n", what, shmkit_last_error_message());
    std::_Exit(1);
}

#define NEED(...) need(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__)

// Runs the work in a process, which then ends by exit, or by SIGKILL in the midst of what it holds.
enum class end { by_exit, by_kill };

template <class Work> pid_t start(end how, Work &&work)
{
    const pid_t child = fork();
    NEED(child != -1);
    if (child != 0)
        return child;
    alarm(300);
    work();
    if (how == end::by_kill)
        std::raise(SIGKILL);
    std::_Exit(0);
}

void finish(end how, pid_t child)
{
    int status = 0;
    NEED(waitpid(child, &status, 0) == child);
    NEED(how == end::by_kill ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                             : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

template <class Work> void run(end how, Work &&work)
{
    finish(how, start(how, work));
}

// Changes one half of what the locks guard.
void damage(shared &all)
{
    all.one++;
}

void repair(shared &all)
{
    all.two = all.one;
}

void check_creation()
{
    const std::string address = "posix:/shmkit-sync-" + std::to_string(getpid());
    auto made = region::create<shared>(address, {}, [](shared &fresh) { fresh.one = fresh.two = 7; }).value();
    {
        std::lock_guard held(made->lock);
        // Opening constructs nothing: what is locked stays locked.
        auto opened = region::open<shared>(address).value();
        NEED(opened->one == 7 && opened->lock.try_lock(as_result).status() == SHMKIT_ERR_DEADLOCK);
        // In C it is the same object.
        auto in_c = region::open<shared_in_c>(address).value();
        NEED(shmkit_mutex_trylock(&in_c->lock) == SHMKIT_ERR_DEADLOCK);
        // But it is unlocked by the address that it was locked by, which is where the kernel looks for it.
        NEED(shmkit_mutex_unlock(&in_c->lock) == SHMKIT_ERR_NOT_OWNER);
        NEED(shmkit_mutex_abandon(&in_c->lock) == SHMKIT_ERR_NOT_OWNER);
        NEED(shmkit_cond_wait(&in_c->changed, &in_c->lock) == SHMKIT_ERR_NOT_OWNER);
        NEED(opened->table.try_lock() && shmkit_rwlock_unlock(&in_c->table) == SHMKIT_ERR_NOT_OWNER);
        NEED(opened->table.unlock(as_result));
        NEED(opened->once.begin().value() && shmkit_once_end(&in_c->once, true) == SHMKIT_ERR_NOT_OWNER);
        NEED(opened->once.end(false));
        NEED(shmkit_rwlock_try_write_lock(&in_c->table) == SHMKIT_OK);
        NEED(opened->table.try_lock_shared(as_result).status() < 0);
        NEED(shmkit_rwlock_unlock(&in_c->table) == SHMKIT_OK);
        NEED(shmkit_rwlock_try_write_lock(opened->table.native_handle()) == SHMKIT_OK);
        NEED(opened->table.unlock(as_result));
    }
    NEED(made->lock.destroy() && made->lock.lock(as_result).status() == SHMKIT_ERR_UNINITIALISED);
    NEED(made->lock.lock(as_result).error().code() == std::errc::invalid_argument);
    NEED(made->table.destroy() && made->changed.destroy() && made->items.destroy() && made->seats.destroy());
    NEED(made->meeting.destroy() && made->event.destroy() && made->event.notify(1, as_result).status() < 0);
    NEED(made.unlink());
}

void check_guards(shared &all)
{
    constexpr int PROCESSES = 3, RAISES = 300;
    pid_t children[PROCESSES];
    for (pid_t &child : children)
        child = start(end::by_exit, [&] {
            for (int i = 0; i < RAISES; i++) {
                switch (i % 3) {
                case 0: {
                    std::scoped_lock both(all.lock, all.other);
                    all.one++;
                    break;
                }
                case 1: {
                    std::scoped_lock both(all.other, all.lock);
                    all.one++;
                    break;
                }
                default: {
                    std::unique_lock first(all.other, std::defer_lock), second(all.lock, std::defer_lock);
                    std::lock(first, second);
                    all.one++;
                }
                }
            }
        });
    for (pid_t child : children)
        finish(end::by_exit, child);
    NEED(all.one == PROCESSES * RAISES);
    all.two = all.one;

    std::unique_lock held(all.lock, std::try_to_lock);
    NEED(held && held.mutex() == &all.lock);
    run(end::by_exit, [&] {
        NEED(!all.lock.try_lock() && !all.lock.try_lock_for(1ms) && !all.lock.try_lock_for(-1s));
        NEED(!all.lock.try_lock_until(std::chrono::steady_clock::now() + 1ms));
        NEED(!all.lock.try_lock_until(std::chrono::system_clock::now() + 1ms));
        NEED(!all.lock.try_lock_for(std::chrono::duration<double>(0.001)));
        NEED(!std::unique_lock(all.lock, 1ms).owns_lock());
        NEED(all.lock.try_lock(as_result).status() == SHMKIT_ERR_BUSY);
        NEED(all.lock.try_lock_for(1ms, as_result).status() == SHMKIT_ERR_TIMEOUT);
        NEED(all.lock.unlock(as_result).error().code() == std::errc::operation_not_permitted);
    });
    NEED(all.lock.lock(as_result).error().code() == std::errc::resource_deadlock_would_occur);
    NEED(all.lock.destroy().status() == SHMKIT_ERR_BUSY);
    NEED(all.lock.consistent().status() == SHMKIT_ERR_INVALID_ARGUMENT);
    held.unlock();
    NEED(all.lock.try_lock_for(std::chrono::hours::max()) && all.lock.unlock(as_result));
    NEED(all.lock.lock(as_result).value() == acquired::clean && all.lock.unlock(as_result));
    NEED(all.lock.try_lock() && all.lock.unlock(as_result));
}

void check_shared_mutex(shared &all)
{
    std::shared_lock reading(all.table);
    run(end::by_exit, [&] {
        std::shared_lock too(all.table, std::try_to_lock);
        NEED(too);
        too.unlock();
        NEED(!all.table.try_lock() && !all.table.try_lock_for(1ms));
        NEED(!all.table.try_lock_until(std::chrono::steady_clock::now() + 1ms));
        NEED(all.table.try_lock(as_result).status() == SHMKIT_ERR_BUSY);
        NEED(all.table.try_lock_for(1ms, as_result).status() == SHMKIT_ERR_TIMEOUT);
    });
    reading.unlock();
    std::unique_lock writing(all.table);
    run(end::by_exit, [&] {
        NEED(!all.table.try_lock_shared() && !all.table.try_lock_shared_for(1ms));
        NEED(!all.table.try_lock_shared_until(std::chrono::steady_clock::now() + 1ms));
        NEED(!std::shared_lock(all.table, 1ms).owns_lock());
        NEED(all.table.try_lock_shared(as_result).status() == SHMKIT_ERR_BUSY);
        NEED(all.table.try_lock_shared_for(1ms, as_result).status() == SHMKIT_ERR_TIMEOUT);
        NEED(all.table.unlock(as_result).status() == SHMKIT_ERR_NOT_OWNER);
    });
    writing.unlock();
    NEED(all.table.lock(as_result).value() == acquired::clean && all.table.unlock(as_result));
    NEED(all.table.lock_shared(as_result).value() == acquired::clean && all.table.unlock(as_result));
    std::scoped_lock both(all.lock, all.table);
}

// A holder dies, and the next one repairs, by each of the ways there are.
void check_repair(shared &all)
{
    const auto die = [&] {
        run(end::by_kill, [&] {
            all.lock.lock();
            damage(all);
        });
    };
    int repairs = 0;
    const auto mend = [&] {
        repair(all);
        repairs++;
    };
    die();
    {
        auto held = all.lock.guard(mend);
        NEED(held.owns_lock() && repairs == 1 && all.one == all.two);
    }
    {
        // Nobody died: nothing is repaired.
        auto held = all.lock.guard(mend);
        NEED(held.owns_lock() && repairs == 1);
    }
    die();
    NEED(all.lock.lock(as_result).value() == acquired::owner_died && all.one == all.two + 1);
    repair(all);
    NEED(all.lock.consistent() && all.lock.unlock(as_result));
    die();
    NEED(all.lock.try_lock(as_result).value() == acquired::owner_died && all.lock.unlock(as_result));
    // Unlocked as it was: the next one is told as well.
    NEED(all.lock.try_lock_for(1s, as_result).value() == acquired::owner_died);
    repair(all);
    NEED(all.lock.consistent() && all.lock.unlock(as_result));
    NEED(all.lock.lock(as_result).value() == acquired::clean && all.lock.unlock(as_result));

    // A dead writer, met by writers and readers; a dead reader, of whom nobody hears.
    const auto die_writing = [&] {
        run(end::by_kill, [&] {
            all.table.lock();
            damage(all);
        });
    };
    repairs = 0;
    die_writing();
    {
        auto held = all.table.guard(mend);
        NEED(held.owns_lock() && repairs == 1);
    }
    die_writing();
    {
        auto held = all.table.shared_guard(mend);
        NEED(held.owns_lock() && repairs == 2);
        // It reads now, as was asked.
        run(end::by_exit, [&] { NEED(all.table.try_lock_shared() && all.table.unlock(as_result)); });
    }
    die_writing();
    NEED(all.table.lock_shared(as_result).value() == acquired::owner_died);
    run(end::by_exit, [&] { NEED(!all.table.try_lock_shared()); });
    repair(all);
    NEED(all.table.consistent() && all.table.unlock(as_result));
    run(end::by_kill, [&] { all.table.lock_shared(); });
    NEED(all.table.lock(as_result).value() == acquired::clean && all.table.unlock(as_result));
}

void check_abandoned()
{
    auto memory = region::create<shared>("anon:").value();
    run(end::by_kill, [&] { memory->lock.lock(); });
    NEED(memory->lock.lock(as_result).value() == acquired::owner_died && memory->lock.abandon());
    NEED(memory->lock.lock(as_result).error().code() == std::errc::state_not_recoverable);
    run(end::by_kill, [&] { memory->table.lock(); });
    NEED(memory->table.lock(as_result).value() == acquired::owner_died && memory->table.abandon());
    NEED(memory->table.lock_shared(as_result).status() == SHMKIT_ERR_NOT_RECOVERABLE);

    // A wait that finds the mutex abandoned leaves its guard with nothing to unlock.
    auto more = region::create<shared>("anon:").value();
    std::unique_lock held(more->lock);
    const pid_t other = start(end::by_exit, [&] {
        more->lock.lock();
        NEED(more->lock.abandon());
        more->changed.notify_all();
    });
    auto waited = more->changed.wait(held, as_result);
    while (waited)
        waited = more->changed.wait(held, as_result);
    NEED(waited.status() == SHMKIT_ERR_NOT_RECOVERABLE && !held.owns_lock() && held.mutex() == nullptr);
    NEED(more->changed.wait(held, as_result).status() == SHMKIT_ERR_NOT_OWNER);
    finish(end::by_exit, other);
}

void check_condition(shared &all)
{
    std::unique_lock held(all.lock);
    const pid_t child = start(end::by_exit, [&] {
        std::lock_guard mine(all.lock);
        all.flag = 1;
        all.changed.notify_one();
    });
    all.changed.wait(held, [&] { return all.flag == 1; });
    NEED(held.owns_lock());
    finish(end::by_exit, child);
    NEED(all.changed.wait_for(held, 60s, [&] { return all.flag == 1; }));
    NEED(all.changed.wait_for(held, std::chrono::hours::max(), [&] { return all.flag == 1; }));
    NEED(!all.changed.wait_for(held, 1ms, [&] { return all.flag == 2; }));
    NEED(!all.changed.wait_until(held, std::chrono::steady_clock::now() + 1ms, [&] { return all.flag == 2; }));
    NEED(!all.changed.wait_until(held, std::chrono::system_clock::now() + 1ms, [&] { return all.flag == 2; }));
    const auto over = std::chrono::steady_clock::now();
    NEED(all.changed.wait_until(held, over) == std::cv_status::timeout && held.owns_lock());
    while (all.changed.wait_for(held, 1ms) != std::cv_status::timeout)
        continue;
    NEED(all.changed.wait_for(held, 0ms, as_result).value() == std::cv_status::timeout);

    // The death of who has the mutex meanwhile is told through the wait, and the guard holds it.
    const pid_t dying = start(end::by_kill, [&] {
        all.lock.lock();
        damage(all);
        all.changed.notify_all();
    });
    shmkit::result<void> waited;
    while (waited && all.one == all.two)
        waited = all.changed.wait(held, as_result);
    NEED(waited.status() == SHMKIT_ERR_OWNER_DIED && held.owns_lock());
    repair(all);
    NEED(held.mutex()->consistent());
    held.unlock();
    finish(end::by_kill, dying);
}

void check_semaphores(shared &all)
{
    all.items.acquire();
    NEED(all.items.value().value() == 1 && all.items.try_acquire() && !all.items.try_acquire());
    NEED(!all.items.try_acquire_for(1ms) && !all.items.try_acquire_until(std::chrono::steady_clock::now() + 1ms));
    all.items.release(2);
    NEED(all.items.value().value() == 2 && all.items.acquire(as_result) && all.items.release(as_result));
    NEED(all.items.try_acquire(as_result).value() && all.items.try_acquire_for(1ms, as_result).value());
    NEED(!all.items.try_acquire_for(1ms, as_result).value());
    const pid_t child = start(end::by_exit, [&] { all.items.release(); });
    all.items.acquire();
    finish(end::by_exit, child);
    NEED(shmkit::counting_semaphore::max() == SHMKIT_SEM_VALUE_MAX);

    // Permits come back from the dead.
    run(end::by_kill, [&] {
        all.seats.acquire();
        all.seats.acquire();
        NEED(!all.seats.try_acquire() && !all.seats.try_acquire_for(1ms));
        NEED(!all.seats.try_acquire_until(std::chrono::steady_clock::now() + 1ms));
        NEED(!all.seats.try_acquire(as_result).value());
    });
    all.seats.acquire();
    NEED(all.seats.try_acquire_for(60s) && all.seats.value().value() == 0);
    all.seats.release();
    NEED(all.seats.release(as_result) && all.seats.release(as_result).status() == SHMKIT_ERR_NOT_OWNER);
    NEED(all.seats.value().value() == 2);
}

void check_barrier(shared &all)
{
    const auto serial = [&] { return all.meeting.arrive_and_wait() ? 1 : 0; };
    all.flag = 0;
    const pid_t child = start(end::by_exit, [&] {
        for (int phase = 0; phase < 5; phase++)
            all.flag += serial();
    });
    int mine = 0;
    for (int phase = 0; phase < 5; phase++)
        mine += serial();
    finish(end::by_exit, child);
    NEED(all.flag + mine == 5);
    NEED(!all.meeting.arrive_and_wait_for(1ms) && !all.meeting.arrive_and_wait_for(1ms, as_result).value());

    // One that has joined dies before it comes.
    NEED(all.meeting.join() && all.meeting.join().status() == SHMKIT_ERR_EXISTS);
    run(end::by_kill, [&] { NEED(all.meeting.join()); });
    NEED(all.meeting.arrive_and_wait(as_result).error().code() == std::errc::owner_dead);
    NEED(all.meeting.reset() && all.meeting.leave() && all.meeting.leave().status() == SHMKIT_ERR_NOT_OWNER);
    NEED(!all.meeting.arrive_and_wait_for(1ms).has_value());
}

void check_once(shared &all)
{
    int ran = 0;
    // The first one dies in the midst of it.
    run(end::by_kill, [&] { shmkit::call_once(all.once, [] { std::raise(SIGKILL); }); });
    NEED(all.once.begin().value() && all.once.end(false));
    shmkit::call_once(all.once, [&](int more) { ran += more; }, 3);
    shmkit::call_once(all.once, [&] { ran++; });
    NEED(ran == 3 && !all.once.begin().value() && all.once.end(true).status() == SHMKIT_ERR_NOT_OWNER);
    static shmkit::once_flag fresh;
    shmkit::call_once(fresh, [&] { ran++; return true; });
    shmkit::call_once(fresh, [&] { ran++; return true; });
    NEED(ran == 4);
}

void check_event(shared &all)
{
    all.flag = 0;
    const pid_t child = start(end::by_exit, [&] {
        all.flag = 1;
        all.event.notify_all();
    });
    all.event.await([&] { return all.flag == 1; });
    finish(end::by_exit, child);
    std::uint32_t key = all.event.prepare();
    NEED(!all.event.wait_for(key, 1ms));
    NEED(!all.event.wait_until(key, std::chrono::steady_clock::now() + 1ms));
    all.event.notify_one();
    all.event.wait(key);
    key = all.event.prepare();
    NEED(all.event.notify(1, as_result) && all.event.wait(key, as_result).value());
    all.event.notify(2);
}

#if defined(__cpp_exceptions)

template <class Exception, class Work> bool throws(Work &&work)
{
    try {
        work();
    } catch (const Exception &) {
        return true;
    } catch (...) {
    }
    return false;
}

void check_exceptions(shared &all)
{
    // A plain lock() after a death throws, with the lock given back, and goes on throwing until it is repaired.
    run(end::by_kill, [&] {
        all.lock.lock();
        damage(all);
    });
    NEED(throws<shmkit::owner_died>([&] { std::lock_guard held(all.lock); }));
    NEED(throws<std::system_error>([&] { std::unique_lock held(all.lock); }));
    NEED(throws<shmkit::owner_died>([&] { all.lock.try_lock(); }));
    NEED(throws<shmkit::owner_died>([&] { all.lock.try_lock_for(1ms); }));
    run(end::by_exit, [&] { NEED(throws<shmkit::owner_died>([&] { all.lock.lock(); })); });
    // Both are given back when one is damaged.
    NEED(throws<shmkit::owner_died>([&] { std::scoped_lock both(all.other, all.lock); }));
    run(end::by_exit, [&] { NEED(all.other.try_lock() && all.other.unlock(as_result)); });
    // A repair that throws leaves it damaged, and free.
    NEED(throws<std::runtime_error>([&] { auto held = all.lock.guard([] { throw std::runtime_error("no"); }); }));
    try {
        all.lock.lock();
        NEED(!"it is damaged");
    } catch (const shmkit::owner_died &died) {
        NEED(died.code() == std::errc::owner_dead && died.status() == SHMKIT_ERR_OWNER_DIED);
        NEED(std::strstr(died.what(), "shmkit_mutex_lock(") != nullptr);
    }
    all.lock.lock([&] { repair(all); });
    all.lock.unlock();

    // The same for readers and writers.
    run(end::by_kill, [&] { all.table.lock(); });
    NEED(throws<shmkit::owner_died>([&] { std::shared_lock held(all.table); }));
    NEED(throws<shmkit::owner_died>([&] { std::lock_guard held(all.table); }));
    NEED(throws<shmkit::owner_died>([&] { all.table.try_lock_shared(); }));
    NEED(throws<std::runtime_error>([&] { all.table.lock_shared([] { throw std::runtime_error("no"); }); }));
    all.table.lock_shared([&] { return true; });
    all.table.unlock_shared();

    // A wait throws with the lock held by its guard.
    {
        std::unique_lock held(all.lock);
        const pid_t dying = start(end::by_kill, [&] {
            all.lock.lock();
            damage(all);
            all.changed.notify_all();
        });
        NEED(throws<shmkit::owner_died>([&] { all.changed.wait(held, [&] { return all.one != all.two; }); }));
        NEED(held.owns_lock());
        finish(end::by_kill, dying);
    }
    NEED(throws<shmkit::owner_died>([&] { all.lock.lock(); }));
    all.lock.lock([&] { repair(all); });
    NEED(throws<shmkit::error>([&] { all.lock.lock(); })); // this thread has it
    all.lock.unlock();
    NEED(throws<shmkit::error>([&] { all.lock.unlock(); }));
    NEED(throws<shmkit::error>([&] { all.seats.release(); }));
    NEED(throws<shmkit::error>([&] { shmkit::barrier none(0); }));
    NEED(throws<shmkit::error>([&] { shmkit::robust_semaphore many(65); }));

    // A repair that gives up.
    auto memory = region::create<shared>("anon:").value();
    run(end::by_kill, [&] { memory->lock.lock(); });
    NEED(throws<shmkit::error>([&] { memory->lock.lock([] { return false; }); }));
    NEED(memory->lock.lock(as_result).status() == SHMKIT_ERR_NOT_RECOVERABLE);

    // Work that throws, or says that it could not be done, is another one's to do.
    shmkit::once_flag &once = memory->once;
    NEED(throws<std::runtime_error>([&] { shmkit::call_once(once, [] { throw std::runtime_error("no"); }); }));
    NEED(throws<shmkit::error>([&] { shmkit::call_once(once, [] { return false; }); }));
    int ran = 0;
    shmkit::call_once(once, [&] { ran++; });
    NEED(ran == 1);

    // A type whose object cannot be made is no region.
    struct wrong {
        shmkit::barrier none{0};
    };
    static_assert(!std::is_trivially_default_constructible_v<wrong>);
    NEED(throws<shmkit::error>([&] { wrong object; }));
}

#else

void check_exceptions(shared &) {}

#endif

} // namespace

int main(int argc, char **)
{
    alarm(300);
    auto memory = region::create<shared>("anon:").value();
    shared &all = *memory;
    if (argc > 1) {
        run(end::by_kill, [&] { all.lock.lock(); });
        all.lock.lock();
        return 0;
    }
    check_creation();
    check_guards(all);
    check_shared_mutex(all);
    check_repair(all);
    check_abandoned();
    check_condition(all);
    check_semaphores(all);
    check_barrier(all);
    check_once(all);
    check_event(all);
    check_exceptions(all);
    std::puts("sync: good");
}
