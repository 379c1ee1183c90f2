/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What synchronisation costs: shmkit's objects against glibc's process-shared ones, robust where glibc has that, and
 * those of Boost.Interprocess when it was built with them (SYNC_BOOST). All sides are measured in turn, batch by batch,
 * in this one run; printed are medians, the ratio's quartiles, and the bar, the worst figure that is wanted.
 * What one thread does alone is measured in its processor time, everything else by the clock.
 * Run by scripts/bench. "--strict" makes a missed bar an error; other arguments choose the rows whose names have one of
 * them in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <shmkit.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sync_boost.h"

enum { ALONE = 201, TOGETHER = 61, DEATHS = 201, MOST = 201 };
enum { ALONE_ROUNDS = 10000, CHUNK = 64, TRIPS = 100, TRIES = 30 };
static const double SPAN_NS = 3e6;

/* Everything that two processes share. Each on cache lines of its own. */
struct shared {
    ALIGNED shmkit_mutex_t mutex;
    shmkit_rwlock_t rwlock;
    ALIGNED shmkit_cond_t cond;
    ALIGNED shmkit_sem_t sem;
    ALIGNED shmkit_sem_t ping;
    ALIGNED shmkit_sem_t pong;
    shmkit_robust_sem_t robust_sem;
    shmkit_barrier_t barrier;
    ALIGNED shmkit_once_t once;
    ALIGNED shmkit_event_t ping_event;
    ALIGNED shmkit_event_t pong_event;
    ALIGNED shmkit_mutex_t deadly;

    ALIGNED pthread_mutex_t pmutex;
    ALIGNED pthread_rwlock_t prwlock;
    ALIGNED pthread_cond_t pcond;
    ALIGNED pthread_barrier_t pbarrier;
    ALIGNED pthread_once_t ponce;
    ALIGNED sem_t psem;
    ALIGNED pthread_mutex_t pdeadly;
    ALIGNED atomic_uint ping_word;
    ALIGNED atomic_uint pong_word;
    ALIGNED volatile long counter;

    struct boost_objects boost;

    ALIGNED atomic_int ready, go, stop;
    ALIGNED long others;
    long others_taken_away;
    double had;
    ALIGNED sem_t turns[2];
    sem_t ends[2];
};

static struct shared *s;
static pid_t waiters[2];
static int near_cpu = -1, far_cpu = -1;

static double now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static _Noreturn __attribute__((cold, noinline)) void fail(const char *what)
{
    fprintf(stderr, "%s: %s; %s\n", what, strerror(errno), shmkit_last_error_message());
    exit(1);
}

static inline void must(int good, const char *what)
{
    if (__builtin_expect(!good, 0))
        fail(what);
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    must(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

/* A child that ends with this process, on a processor. */
static pid_t fork_on(int cpu)
{
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        pin(cpu);
    }
    return child;
}

static void join(pid_t child)
{
    int status;
    must(waitpid(child, &status, 0) == child, "waitpid");
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
}

/* ------------------------------------------------------------------------------------------------------------------
 * The loops: so many rounds of each thing on each side
 * ------------------------------------------------------------------------------------------------------------------ */

#define LOOP(name, ...)                                                                                   \
    static void name(long rounds)                                                                         \
    {                                                                                                     \
        for (long i = 0; i < rounds; i++) {                                                               \
            __VA_ARGS__                                                                                   \
        }                                                                                                 \
    }
#define OURS(call) must((call) == SHMKIT_OK, #call)
#define THEIRS(call) must((call) == 0, #call)

LOOP(our_mutex, OURS(shmkit_mutex_lock(&s->mutex)); OURS(shmkit_mutex_unlock(&s->mutex));)
LOOP(glibc_mutex, THEIRS(pthread_mutex_lock(&s->pmutex)); THEIRS(pthread_mutex_unlock(&s->pmutex));)
LOOP(our_mutex_count, OURS(shmkit_mutex_lock(&s->mutex)); s->counter = s->counter + 1;
     OURS(shmkit_mutex_unlock(&s->mutex));)
LOOP(glibc_mutex_count, THEIRS(pthread_mutex_lock(&s->pmutex)); s->counter = s->counter + 1;
     THEIRS(pthread_mutex_unlock(&s->pmutex));)
LOOP(our_read, OURS(shmkit_rwlock_read_lock(&s->rwlock)); OURS(shmkit_rwlock_unlock(&s->rwlock));)
LOOP(glibc_read, THEIRS(pthread_rwlock_rdlock(&s->prwlock)); THEIRS(pthread_rwlock_unlock(&s->prwlock));)
LOOP(our_write, OURS(shmkit_rwlock_write_lock(&s->rwlock)); OURS(shmkit_rwlock_unlock(&s->rwlock));)
LOOP(glibc_write, THEIRS(pthread_rwlock_wrlock(&s->prwlock)); THEIRS(pthread_rwlock_unlock(&s->prwlock));)
LOOP(our_sem, OURS(shmkit_semaphore_post(&s->sem)); OURS(shmkit_semaphore_wait(&s->sem));)
LOOP(glibc_sem, THEIRS(sem_post(&s->psem)); THEIRS(sem_wait(&s->psem));)
LOOP(our_robust_sem, OURS(shmkit_robust_sem_wait(&s->robust_sem)); OURS(shmkit_robust_sem_post(&s->robust_sem));)
LOOP(our_signal, OURS(shmkit_cond_signal(&s->cond));)
LOOP(glibc_signal, THEIRS(pthread_cond_signal(&s->pcond));)
LOOP(our_barrier, shmkit_status_t x = shmkit_barrier_wait(&s->barrier, NULL); OURS(x);)
LOOP(glibc_barrier, int x = pthread_barrier_wait(&s->pbarrier);
     must(x == 0 || x == PTHREAD_BARRIER_SERIAL_THREAD, "pthread_barrier_wait");)
LOOP(our_ping, OURS(shmkit_semaphore_post(&s->ping)); OURS(shmkit_semaphore_wait(&s->pong));)
LOOP(our_pong, OURS(shmkit_semaphore_wait(&s->ping)); OURS(shmkit_semaphore_post(&s->pong));)

static int done(void *user)
{
    (void)user;
    return 0;
}

static void pdone(void)
{
}

LOOP(our_once, OURS(shmkit_once_run(&s->once, done, NULL));)
LOOP(glibc_once, THEIRS(pthread_once(&s->ponce, pdone));)

/* The least that two processes can wake each other with. */
static void post_bare(atomic_uint *word)
{
    atomic_store(word, 1);
    must(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0, "futex");
}

static void wait_bare(atomic_uint *word)
{
    while (atomic_exchange(word, 0) == 0)
        must(syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 || errno == EAGAIN, "futex");
}

LOOP(glibc_ping_bare, post_bare(&s->ping_word); wait_bare(&s->pong_word);)
LOOP(glibc_pong_bare, wait_bare(&s->ping_word); post_bare(&s->pong_word);)

static void post_event(atomic_uint *word, shmkit_event_t *event)
{
    atomic_store(word, 1);
    OURS(shmkit_event_notify(event, 1));
}

static void wait_event(atomic_uint *word, shmkit_event_t *event)
{
    while (atomic_exchange(word, 0) == 0) {
        uint32_t key;
        OURS(shmkit_event_prepare(event, &key));
        if (atomic_load(word) == 0)
            OURS(shmkit_event_wait(event, key));
    }
}

LOOP(our_ping_event, post_event(&s->ping_word, &s->ping_event); wait_event(&s->pong_word, &s->pong_event);)
LOOP(our_pong_event, wait_event(&s->ping_word, &s->ping_event); post_event(&s->pong_word, &s->pong_event);)

#ifdef SYNC_BOOST
#define BOOST(name) name
#define BOOST_LOOP(name)                                                                                  \
    static void of_boost_##name(long rounds)                                                              \
    {                                                                                                     \
        boost_##name(&s->boost, rounds);                                                                  \
    }
BOOST_LOOP(mutex)
BOOST_LOOP(mutex_count)
BOOST_LOOP(read)
BOOST_LOOP(write)
BOOST_LOOP(sem)
BOOST_LOOP(signal)
BOOST_LOOP(ping)
BOOST_LOOP(pong)
#else
#define BOOST(name) NULL
#endif

/* ------------------------------------------------------------------------------------------------------------------
 * The ways to measure one side once
 * ------------------------------------------------------------------------------------------------------------------ */

typedef void loop(long rounds);

/* What a round takes that one thread makes alone, in ns. */
static double alone(loop *mine, loop *unused)
{
    (void)unused;
    mine(CHUNK);
    double start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    mine(ALONE_ROUNDS);
    return (now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / ALONE_ROUNDS;
}

/* How often another program took the processor from this process: what was measured then is measured again. */
static long taken_away(void)
{
    struct rusage use;
    must(getrusage(RUSAGE_SELF, &use) == 0, "getrusage");
    return use.ru_nivcsw;
}

static void begin_two(void)
{
    atomic_store(&s->ready, 0);
    atomic_store(&s->go, 0);
    atomic_store(&s->stop, 0);
}

/* What two processes on two processors make together, in rounds per us. */
static double try_two(loop *mine)
{
    begin_two();
    pid_t child = fork_on(far_cpu);
    if (child == 0) {
        long rounds = 0;
        mine(CHUNK);
        long before = taken_away();
        atomic_store(&s->ready, 1);
        while (!atomic_load(&s->go)) {
        }
        for (; !atomic_load(&s->stop); rounds += CHUNK)
            mine(CHUNK);
        s->others = rounds;
        s->others_taken_away = taken_away() - before;
        _exit(0);
    }
    while (!atomic_load(&s->ready))
        sched_yield();
    mine(CHUNK);
    long rounds = 0, before = taken_away();
    double start = now_ns(CLOCK_MONOTONIC), end;
    atomic_store(&s->go, 1);
    do {
        mine(CHUNK);
        rounds += CHUNK;
    } while ((end = now_ns(CLOCK_MONOTONIC)) - start < SPAN_NS);
    atomic_store(&s->stop, 1);
    before = taken_away() - before;
    join(child);
    s->others_taken_away += before;
    return (double)(rounds + s->others) / (end - start) * 1e3;
}

static double two(loop *mine, loop *unused)
{
    (void)unused;
    double made = try_two(mine);
    for (int i = 1; i < TRIES && s->others_taken_away; i++)
        made = try_two(mine);
    return made;
}

/* What a round takes in which two processes wait for each other, in ns. */
static double try_trip(loop *mine, loop *others, int cpu)
{
    pid_t child = fork_on(cpu);
    if (child == 0) {
        others(CHUNK);
        long before = taken_away();
        others(TRIPS);
        s->others_taken_away = taken_away() - before;
        _exit(0);
    }
    mine(CHUNK);
    long before = taken_away();
    double start = now_ns(CLOCK_MONOTONIC);
    mine(TRIPS);
    double end = now_ns(CLOCK_MONOTONIC);
    before = taken_away() - before;
    join(child);
    s->others_taken_away += before;
    return (end - start) / TRIPS;
}

static double trip_far(loop *mine, loop *others)
{
    double took = try_trip(mine, others, far_cpu);
    for (int i = 1; i < TRIES && s->others_taken_away; i++)
        took = try_trip(mine, others, far_cpu);
    return took;
}

/* Here the two take the processor from each other. */
static double trip_near(loop *mine, loop *others)
{
    return try_trip(mine, others, near_cpu);
}

/* The state of a process, as /proc has it. */
static char state_of(pid_t pid)
{
    char path[64], line[512], state = '?';
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *file = fopen(path, "r");
    if (file) {
        const char *end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        state = end && end[1] ? end[2] : '?';
        fclose(file);
    }
    return state;
}

static void await_sleep(pid_t pid)
{
    while (state_of(pid) != 'S')
        usleep(100);
}

/* The two sides of a death: waits is 0 for who holds and dies, 1 for who waits and lives. */
static void our_death(long waits)
{
    shmkit_status_t x = shmkit_mutex_lock(&s->deadly);
    must(x == (waits ? SHMKIT_ERR_OWNER_DIED : SHMKIT_OK), "shmkit_mutex_lock");
    s->had = now_ns(CLOCK_MONOTONIC);
    if (waits) {
        OURS(shmkit_mutex_consistent(&s->deadly));
        OURS(shmkit_mutex_unlock(&s->deadly));
    }
}

static void glibc_death(long waits)
{
    must(pthread_mutex_lock(&s->pdeadly) == (waits ? EOWNERDEAD : 0), "pthread_mutex_lock");
    s->had = now_ns(CLOCK_MONOTONIC);
    if (waits) {
        THEIRS(pthread_mutex_consistent(&s->pdeadly));
        THEIRS(pthread_mutex_unlock(&s->pdeadly));
    }
}

/* From the SIGKILL of the holder to the lock in the hands of who waits, in ns. */
static double death(loop *mine, loop *unused)
{
    (void)unused;
    begin_two();
    pid_t holder = fork_on(far_cpu);
    if (holder == 0) {
        mine(0);
        atomic_store(&s->ready, 1);
        for (;;)
            pause();
    }
    while (!atomic_load(&s->ready))
        sched_yield();
    /* Who waits lives through all rounds: the first touches of a new process are not what is asked for. */
    int side = mine != our_death;
    if (waiters[side] == 0) {
        waiters[side] = fork_on(near_cpu);
        while (waiters[side] == 0) {
            THEIRS(sem_wait(&s->turns[side]));
            atomic_store(&s->go, 1);
            mine(1);
            THEIRS(sem_post(&s->ends[side]));
        }
    }
    THEIRS(sem_post(&s->turns[side]));
    while (!atomic_load(&s->go))
        sched_yield();
    await_sleep(waiters[side]);
    await_sleep(holder);
    /* So that its processor is as deep in sleep on either side: how long a lock spins before it sleeps must not tell. */
    usleep(2000);
    double start = now_ns(CLOCK_MONOTONIC);
    must(kill(holder, SIGKILL) == 0, "kill");
    while (sem_wait(&s->ends[side]) != 0)
        must(errno == EINTR, "sem_wait");
    must(waitpid(holder, NULL, 0) == holder, "waitpid");
    return s->had - start;
}

/* ------------------------------------------------------------------------------------------------------------------
 * The rows
 * ------------------------------------------------------------------------------------------------------------------ */

enum bar { NONE, AT_MOST, AT_LEAST, NS_AT_MOST };

struct row {
    const char *what;
    double (*measure)(loop *mine, loop *others);
    int batches;
    enum bar kind;
    double bar;
    /* Ours, glibc's, Boost's: what the measuring process does; and what the other one does. */
    loop *mine[3], *others[3];
};

static const struct row rows[] = {
    { "mutex lock+unlock, alone / pthread robust", alone, ALONE, AT_MOST, 1.0,
      { our_mutex, glibc_mutex, BOOST(of_boost_mutex) }, { 0 } },
    { "mutex, two processes, per us / pthread robust", two, TOGETHER, AT_LEAST, 1.0,
      { our_mutex_count, glibc_mutex_count, BOOST(of_boost_mutex_count) }, { 0 } },
    { "rwlock read+unlock, alone / pthread", alone, ALONE, AT_MOST, 1.0,
      { our_read, glibc_read, BOOST(of_boost_read) }, { 0 } },
    { "rwlock read, two processes, per us / pthread", two, TOGETHER, AT_LEAST, 3.0,
      { our_read, glibc_read, BOOST(of_boost_read) }, { 0 } },
    { "rwlock write+unlock, alone / pthread", alone, ALONE, NONE, 0,
      { our_write, glibc_write, BOOST(of_boost_write) }, { 0 } },
    { "semaphore post+wait, alone / sem_t", alone, ALONE, AT_MOST, 1.0,
      { our_sem, glibc_sem, BOOST(of_boost_sem) }, { 0 } },
    { "robust semaphore wait+post, alone / sem_t", alone, ALONE, NONE, 0,
      { our_robust_sem, glibc_sem, NULL }, { 0 } },
    { "cond signal without a waiter / pthread", alone, ALONE, NS_AT_MOST, 5.0,
      { our_signal, glibc_signal, BOOST(of_boost_signal) }, { 0 } },
    { "once that is done / pthread", alone, ALONE, NONE, 0,
      { our_once, glibc_once, NULL }, { 0 } },
    { "wake-up round trip, semaphore, two cores / futex", trip_far, TOGETHER, AT_MOST, 1.05,
      { our_ping, glibc_ping_bare, BOOST(of_boost_ping) }, { our_pong, glibc_pong_bare, BOOST(of_boost_pong) } },
    { "wake-up round trip, event, two cores / futex", trip_far, TOGETHER, AT_MOST, 1.05,
      { our_ping_event, glibc_ping_bare, NULL }, { our_pong_event, glibc_pong_bare, NULL } },
    /* No bar on one core, where nothing hides what a sleeper's timer costs, by which it looks again. */
    { "wake-up round trip, semaphore, one core / futex", trip_near, TOGETHER, NONE, 0,
      { our_ping, glibc_ping_bare, BOOST(of_boost_ping) }, { our_pong, glibc_pong_bare, BOOST(of_boost_pong) } },
    { "wake-up round trip, event, one core / futex", trip_near, TOGETHER, NONE, 0,
      { our_ping_event, glibc_ping_bare, NULL }, { our_pong_event, glibc_pong_bare, NULL } },
    { "barrier round of two processes / pthread", trip_far, TOGETHER, NONE, 0,
      { our_barrier, glibc_barrier, NULL }, { our_barrier, glibc_barrier, NULL } },
    { "holder killed to lock acquired / pthread robust", death, DEATHS, AT_MOST, 1.1,
      { our_death, glibc_death, NULL }, { 0 } },
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Measures a row and prints it; whether its bar is met. */
static int run(const struct row *row)
{
    static double ns[3][MOST], ratio[MOST];
    int n = row->batches;
    for (int i = -1; i < n; i++) {
        /* The side that goes first changes, so that a drift favours none. The first batch is for warmth. */
        for (int turn = 0; turn < 3; turn++) {
            int side = (turn + i + 1) % 3;
            if (row->mine[side])
                ns[side][i < 0 ? 0 : i] = row->measure(row->mine[side], row->others[side]);
        }
    }
    for (int i = 0; i < n; i++)
        ratio[i] = ns[0][i] / ns[1][i];
    for (int side = 0; side < 3; side++)
        qsort(ns[side], (size_t)n, sizeof **ns, by_value);
    qsort(ratio, (size_t)n, sizeof *ratio, by_value);
    double ours = ns[0][n / 2], middle = ratio[n / 2];
    char boost[32] = "-", bar[32] = "";
    if (row->mine[2])
        snprintf(boost, sizeof boost, "%.1f", ns[2][n / 2]);
    const char *sign = row->kind == AT_LEAST ? ">=" : "<=";
    if (row->kind != NONE)
        snprintf(bar, sizeof bar, "%s %.2f%s", sign, row->bar, row->kind == NS_AT_MOST ? " ns" : "");
    int good = row->kind == NONE || (row->kind == AT_MOST && middle <= row->bar) ||
               (row->kind == AT_LEAST && middle >= row->bar) || (row->kind == NS_AT_MOST && ours <= row->bar);
    printf("%-50s %9.1f %9.1f %9s %7.3f  %6.3f to %6.3f  %s%s\n", row->what, ours, ns[1][n / 2], boost, middle,
           ratio[n / 4], ratio[3 * n / 4], bar, good ? "" : "  MISSED");
    fflush(stdout);
    return good;
}

static void make(void)
{
    s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(s != MAP_FAILED, "mmap");
    OURS(shmkit_mutex_init(&s->mutex));
    OURS(shmkit_mutex_init(&s->deadly));
    OURS(shmkit_rwlock_init(&s->rwlock));
    OURS(shmkit_cond_init(&s->cond));
    OURS(shmkit_semaphore_init(&s->sem, 1));
    OURS(shmkit_semaphore_init(&s->ping, 0));
    OURS(shmkit_semaphore_init(&s->pong, 0));
    OURS(shmkit_robust_sem_init(&s->robust_sem, 4));
    OURS(shmkit_barrier_init(&s->barrier, 2));
    OURS(shmkit_once_init(&s->once));
    OURS(shmkit_event_init(&s->ping_event));
    OURS(shmkit_event_init(&s->pong_event));

    pthread_mutexattr_t mutexes;
    THEIRS(pthread_mutexattr_init(&mutexes));
    THEIRS(pthread_mutexattr_setpshared(&mutexes, PTHREAD_PROCESS_SHARED));
    THEIRS(pthread_mutexattr_setrobust(&mutexes, PTHREAD_MUTEX_ROBUST));
    THEIRS(pthread_mutex_init(&s->pmutex, &mutexes));
    THEIRS(pthread_mutex_init(&s->pdeadly, &mutexes));
    pthread_rwlockattr_t rwlocks;
    THEIRS(pthread_rwlockattr_init(&rwlocks));
    THEIRS(pthread_rwlockattr_setpshared(&rwlocks, PTHREAD_PROCESS_SHARED));
    THEIRS(pthread_rwlock_init(&s->prwlock, &rwlocks));
    pthread_condattr_t conds;
    THEIRS(pthread_condattr_init(&conds));
    THEIRS(pthread_condattr_setpshared(&conds, PTHREAD_PROCESS_SHARED));
    THEIRS(pthread_cond_init(&s->pcond, &conds));
    pthread_barrierattr_t barriers;
    THEIRS(pthread_barrierattr_init(&barriers));
    THEIRS(pthread_barrierattr_setpshared(&barriers, PTHREAD_PROCESS_SHARED));
    THEIRS(pthread_barrier_init(&s->pbarrier, &barriers, 2));
    THEIRS(sem_init(&s->psem, 1, 1));
    s->ponce = (pthread_once_t)PTHREAD_ONCE_INIT;
    for (int side = 0; side < 2; side++) {
        THEIRS(sem_init(&s->turns[side], 1, 0));
        THEIRS(sem_init(&s->ends[side], 1, 0));
    }
#ifdef SYNC_BOOST
    boost_make(&s->boost);
#endif
}

static int is_chosen(const struct row *row, int words, char **word)
{
    int chosen = words == 0;
    for (int i = 0; i < words; i++)
        chosen |= strstr(row->what, word[i]) != NULL;
    return chosen;
}

int main(int argc, char **argv)
{
    int strict = argc > 1 && strcmp(argv[1], "--strict") == 0;
    char **word = argv + 1 + strict;
    int words = argc - 1 - strict;
    cpu_set_t set;
    must(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &set) && near_cpu < 0)
            near_cpu = cpu;
        else if (CPU_ISSET(cpu, &set) && far_cpu < 0)
            far_cpu = cpu;
    }
    pin(near_cpu);
    make();
    printf("%-50s %9s %9s %9s %7s  %-16s  %s\n", "sync: ns, or rounds per us", "shmkit", "glibc", "Boost", "ratio",
           "quartiles", "bar");
    int missed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *row = &rows[i];
        if (!is_chosen(row, words, word))
            continue;
        if (far_cpu < 0 && row->measure != alone && row->measure != trip_near) {
            /* Under --strict what could not be measured is not met. */
            printf("%-50s not measured: it takes two processors\n", row->what);
            missed += row->kind != NONE;
            continue;
        }
        missed += !run(row);
    }
    for (int side = 0; side < 2; side++) {
        if (waiters[side] > 0 && kill(waiters[side], SIGKILL) == 0)
            waitpid(waiters[side], NULL, 0);
    }
    if (missed)
        printf("%d bars missed\n", missed);
    return strict && missed ? 1 : 0;
}
