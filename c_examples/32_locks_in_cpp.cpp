/* Locks of C++ in a typed region, which several processes share and one dies with.
 * Run:   32_locks_in_cpp
 * Shows: std::lock_guard, std::shared_lock and std::unique_lock over shmkit's locks; a plain lock()
 *        after a death throws shmkit::owner_died, with nothing held; a guard with a repair makes
 *        whole what the dead one left. */
#include <csignal>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <shared_mutex>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.hpp>

/* An account whose total is the sum of its parts, while nobody changes it. */
struct account {
    shmkit::mutex lock;
    shmkit::condition_variable changed;
    shmkit::shared_mutex names_lock;
    char name[32] = "nobody";
    int parts[2];
    int total;
};
SHMKIT_REGION_TYPE(account, 1);

namespace {

/* Runs the work in a process of its own; gives whether it was killed. */
template <class Work> bool in_child(Work &&work)
{
    std::cout.flush();
    const pid_t child = fork();
    if (child == -1)
        throw std::system_error(errno, std::generic_category(), "fork");
    if (child == 0) {
        work();
        std::_Exit(0);
    }
    int end = 0;
    waitpid(child, &end, 0);
    return WIFSIGNALED(end);
}

void pay(account &shared, int part, int amount, bool die)
{
    std::lock_guard held(shared.lock);
    shared.parts[part] += amount;
    if (die)
        std::raise(SIGKILL);
    shared.total += amount;
    shared.changed.notify_all();
}

void run()
{
    /* The creator constructs the account; whoever opens the region finds it. */
    auto shared = shmkit::region::create<account>("anon:").value();
    for (int part : {0, 1})
        in_child([&] { pay(*shared, part, 10, false); });
    {
        std::unique_lock held(shared->lock);
        shared->changed.wait(held, [&] { return shared->total == 20; });
        std::cout << "two processes paid: " << shared->total << '\n';
    }
    in_child([&] {
        std::unique_lock writing(shared->names_lock);
        std::snprintf(shared->name, sizeof shared->name, "somebody");
    });
    {
        std::shared_lock reading(shared->names_lock);
        std::cout << "named by another one: " << shared->name << '\n';
    }

    const bool killed = in_child([&] { pay(*shared, 0, 5, true); });
    std::cout << "one was killed while it paid: " << (killed ? "yes" : "no") << '\n';
    try {
        std::lock_guard held(shared->lock);
        std::cout << "nobody told\n";
    } catch (const shmkit::owner_died &died) {
        std::cout << "a plain guard: " << died.why().name() << '\n';
    }
    auto held = shared->lock.guard([&] {
        std::cout << "repaired: " << shared->total;
        shared->total = shared->parts[0] + shared->parts[1];
        std::cout << " becomes " << shared->total << '\n';
    });
    std::cout << "and held: " << (held.owns_lock() ? "yes" : "no") << '\n';
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
