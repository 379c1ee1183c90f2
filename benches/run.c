/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What `shmkit run` costs: ratios of a program's time within it to its time without, batch by batch in turn: two copies of
 * this program run all the while, one of them within, and each does a batch when it is told to. Prints the median ratio, the
 * quartiles, and the ratio of the fastest tenths, which says more on a machine that has other work. Never judges. Run by
 * scripts/bench: run SHMKIT, the path of the tool.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 201, STARTS = 101, PAGE = 4096 };

extern char **environ;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

/* --- The programs that are measured --------------------------------------------------------------------------------- */

static char name[64];

static void cycle(void)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    must(fd >= 0 && ftruncate(fd, PAGE) == 0, "shm_open");
    char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(at != MAP_FAILED, "mmap");
    *(volatile char *)at = 1;
    must(munmap(at, PAGE) == 0 && close(fd) == 0 && shm_unlink(name) == 0, "shm_unlink");
}

/* No shared memory: files, the heap, arithmetic. */
static volatile uint64_t kept;
static char file[128];

static void ordinary(void)
{
    static unsigned char buffer[65536];
    int fd = open(file, O_RDWR);
    struct stat status;
    must(fd >= 0 && fstat(fd, &status) == 0, "open");
    for (int i = 0; i < 4; i++)
        must(pread(fd, buffer, sizeof buffer, 0) == (ssize_t)sizeof buffer, "read");
    must(pwrite(fd, buffer, PAGE, 0) == PAGE && close(fd) == 0, "write");
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof buffer; i++)
        sum = sum * 31 + buffer[i];
    void *blocks[64];
    for (size_t i = 0; i < 64; i++) {
        blocks[i] = malloc(16 + (sum + i * 977) % 8192);
        must(blocks[i] != NULL, "malloc");
        *(volatile char *)blocks[i] = 1;
    }
    for (size_t i = 0; i < 64; i++)
        free(blocks[i]);
    kept = sum;
}

static int worker(void)
{
    snprintf(name, sizeof name, "/shmkit-bench-run-%ld", (long)getpid());
    const char *folder = getenv("TMPDIR");
    snprintf(file, sizeof file, "%.40s/shmkit-bench-%ld", folder ? folder : "/tmp", (long)getpid());
    int fd = open(file, O_RDWR | O_CREAT | O_EXCL, 0600);
    must(fd >= 0 && ftruncate(fd, 65536) == 0 && close(fd) == 0, file);
    char what;
    while (read(0, &what, 1) == 1) {
        void (*work)(void) = what == 'c' ? cycle : ordinary;
        int rounds = what == 'c' ? 100 : 20;
        double start = now_ns();
        for (int i = 0; i < rounds; i++)
            work();
        double time = (now_ns() - start) / rounds;
        must(write(1, &time, sizeof time) == (ssize_t)sizeof time, "write");
    }
    return unlink(file);
}

/* --- What measures them --------------------------------------------------------------------------------------------- */

struct copy {
    pid_t pid;
    int to, from;
};

static pid_t start(const char *const *argv, int in, int out)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (in >= 0)
        posix_spawn_file_actions_adddup2(&actions, in, 0);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int errnum = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
    must(errnum == 0, argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static struct copy begin(const char *const *argv)
{
    int to[2], from[2];
    must(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0, "pipe");
    struct copy copy = { start(argv, to[0], from[1]), to[1], from[0] };
    close(to[0]);
    close(from[1]);
    return copy;
}

static void end(struct copy *copy)
{
    int status;
    close(copy->to);
    must(waitpid(copy->pid, &status, 0) == copy->pid && status == 0, "a copy failed");
    close(copy->from);
}

static double batch(struct copy *copy, char what)
{
    double time;
    must(write(copy->to, &what, 1) == 1 && read(copy->from, &time, sizeof time) == (ssize_t)sizeof time, "a copy");
    return time;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double ratio[BATCHES], plain_ns[BATCHES], within_ns[BATCHES];

static void measure(const char *title, struct copy *plain, struct copy *within, char what)
{
    batch(plain, what);
    batch(within, what);
    for (int i = 0; i < BATCHES; i++) {
        /* The side that goes first changes, so that a drift of the machine favours neither. */
        if (i % 2)
            within_ns[i] = batch(within, what);
        plain_ns[i] = batch(plain, what);
        if (i % 2 == 0)
            within_ns[i] = batch(within, what);
        ratio[i] = within_ns[i] / plain_ns[i];
    }
    qsort(ratio, BATCHES, sizeof *ratio, by_value);
    qsort(plain_ns, BATCHES, sizeof *plain_ns, by_value);
    qsort(within_ns, BATCHES, sizeof *within_ns, by_value);
    printf("%-40s %9.0f %9.0f %7.3f   %.3f to %.3f   %7.3f\n", title, plain_ns[BATCHES / 2], within_ns[BATCHES / 2],
           ratio[BATCHES / 2], ratio[BATCHES / 4], ratio[3 * BATCHES / 4], within_ns[BATCHES / 10] / plain_ns[BATCHES / 10]);
    fflush(stdout);
}

static double one_start(const char *const *argv)
{
    int status;
    double start_ns = now_ns();
    pid_t pid = start(argv, -1, -1);
    must(waitpid(pid, &status, 0) == pid && status == 0, argv[0]);
    return (now_ns() - start_ns) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--worker") == 0)
        return worker();
    if (argc > 1 && strcmp(argv[1], "--nothing") == 0)
        return 0;
    must(argc > 1, "run SHMKIT");
    const char *tool = argv[1], *own = realpath("/proc/self/exe", NULL);
    const char *plain_argv[] = { own, "--worker", NULL };
    const char *off_argv[] = { tool, "run", "--report", "off", "--", own, "--worker", NULL };
    const char *default_argv[] = { tool, "run", "--", own, "--worker", NULL };
    const char *trace_argv[] = { tool, "trace", "-o", "/dev/null", "--", own, "--worker", NULL };

    printf("%-40s %9s %9s %7s   %-14s   %7s\n", "", "plain ns", "within ns", "ratio", "quartiles", "fastest");
    const struct {
        const char *const *argv;
        const char *cycle, *ordinary;
    } ways[] = {
        { plain_argv, "object cycle, a second plain copy", "no shared memory, a second plain copy" },
        { off_argv, "object cycle, --report off", "no shared memory, --report off" },
        { default_argv, "object cycle, default report", "no shared memory, default report" },
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct copy plain = begin(plain_argv), within = begin(ways[i].argv);
        measure(ways[i].cycle, &plain, &within, 'c');
        measure(ways[i].ordinary, &plain, &within, 'o');
        end(&plain);
        end(&within);
    }
    struct copy plain = begin(plain_argv), within = begin(trace_argv);
    measure("object cycle, trace -o /dev/null", &plain, &within, 'c');
    printf("%-40s %9.0f\n", "one line of trace, ns", (within_ns[BATCHES / 2] - plain_ns[BATCHES / 2]) / 6);
    end(&plain);
    end(&within);

    const char *nothing[] = { own, "--nothing", NULL };
    const char *run_nothing[] = { tool, "run", "--", own, "--nothing", NULL };
    static double without_ms[STARTS], with_ms[STARTS];
    for (int i = 0; i < STARTS; i++) {
        without_ms[i] = one_start(nothing);
        with_ms[i] = one_start(run_nothing);
    }
    qsort(without_ms, STARTS, sizeof *without_ms, by_value);
    qsort(with_ms, STARTS, sizeof *with_ms, by_value);
    printf("start-up, ms: plain %.2f, within %.2f, extra %.2f   (quartiles of within: %.2f to %.2f)\n",
           without_ms[STARTS / 2], with_ms[STARTS / 2], with_ms[STARTS / 2] - without_ms[STARTS / 2],
           with_ms[STARTS / 4], with_ms[3 * STARTS / 4]);
    return 0;
}
