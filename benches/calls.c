/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the checked calls cost: ratios of shmkit's time to the C library's, each cycle measured on both sides in
 * turn, batch by batch, in this one run. Prints the median ratio of the batches and their quartiles. Never judges.
 * Run by scripts/bench; with "--listening" a report callback is set, so that hazards are looked for as well.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <shmkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 201, PAGE = 4096, LIVE = 10000 };

static char name[64];

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

/* Each cycle is written once; a macro gives it to both sides. */
#define CYCLES(side, P)                                                                                   \
    static void object_##side(void)                                                                       \
    {                                                                                                     \
        int fd = P##shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);                                      \
        must(fd >= 0 && P##ftruncate(fd, PAGE) == 0, "shm_open");                                         \
        void *at = P##mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);                        \
        must(at != MAP_FAILED && P##munmap(at, PAGE) == 0, "mmap");                                       \
        must(P##close(fd) == 0 && P##shm_unlink(name) == 0, "shm_unlink");                                \
    }                                                                                                     \
    static void segment_##side(void)                                                                      \
    {                                                                                                     \
        int id = P##shmget(IPC_PRIVATE, PAGE, 0600);                                                      \
        void *at = P##shmat(id, NULL, 0);                                                                 \
        must(at != (void *)-1 && P##shmdt(at) == 0 && P##shmctl(id, IPC_RMID, NULL) == 0, "shmat");       \
    }                                                                                                     \
    static void page_##side(void)                                                                         \
    {                                                                                                     \
        void *at = P##mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);       \
        must(at != MAP_FAILED && P##munmap(at, PAGE) == 0, "mmap");                                       \
    }                                                                                                     \
    static int file_fd_##side = -1;                                                                       \
    static void file_page_##side(void)                                                                    \
    {                                                                                                     \
        if (file_fd_##side < 0) {                                                                         \
            file_fd_##side = P##memfd_create("bench", MFD_CLOEXEC);                                       \
            must(P##ftruncate(file_fd_##side, PAGE) == 0, "memfd_create");                                \
        }                                                                                                 \
        void *at = P##mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file_fd_##side, 0);            \
        must(at != MAP_FAILED && P##munmap(at, PAGE) == 0, "mmap");                                       \
    }

CYCLES(libc, )
CYCLES(shmkit, shmkit_)

struct cycle {
    const char *what;
    void (*libc)(void);
    void (*shmkit)(void);
    int rounds;
};

static double batch(void (*cycle)(void), int rounds)
{
    double start = now_ns();
    for (int i = 0; i < rounds; i++)
        cycle();
    return (now_ns() - start) / rounds;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const struct cycle *c)
{
    static double ratio[BATCHES], libc_ns[BATCHES];
    batch(c->libc, c->rounds);
    batch(c->shmkit, c->rounds);
    for (int i = 0; i < BATCHES; i++) {
        double ours, theirs;
        /* The side that goes first changes, so that a drift of the machine favours neither. */
        if (i % 2) {
            ours = batch(c->shmkit, c->rounds);
            theirs = batch(c->libc, c->rounds);
        } else {
            theirs = batch(c->libc, c->rounds);
            ours = batch(c->shmkit, c->rounds);
        }
        ratio[i] = ours / theirs;
        libc_ns[i] = theirs;
    }
    qsort(ratio, BATCHES, sizeof *ratio, by_value);
    qsort(libc_ns, BATCHES, sizeof *libc_ns, by_value);
    printf("%-58s %8.0f %7.3f   %.3f to %.3f\n", c->what, libc_ns[BATCHES / 2], ratio[BATCHES / 2],
           ratio[BATCHES / 4], ratio[3 * BATCHES / 4]);
    fflush(stdout);
}

static void ignore(const shmkit_report_t *report, void *user)
{
    (void)report;
    (void)user;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--listening") == 0)
        shmkit_set_report_callback(ignore, NULL);
    snprintf(name, sizeof name, "/shmkit-bench-%ld", (long)getpid());
    static const struct cycle cycles[] = {
        { "shm_open+ftruncate+mmap+munmap+close+shm_unlink", object_libc, object_shmkit, 100 },
        { "shmget+shmat+shmdt+IPC_RMID", segment_libc, segment_shmkit, 100 },
        { "mmap+munmap of one page, anonymous", page_libc, page_shmkit, 400 },
        { "mmap+munmap of one page, memfd", file_page_libc, file_page_shmkit, 400 },
    };
    static const struct cycle crowded[] = {
        { "the same, anonymous, with 10,000 mappings live", page_libc, page_shmkit, 400 },
        { "the same, memfd, with 10,000 mappings live", file_page_libc, file_page_shmkit, 400 },
        { "shm_open cycle with 10,000 mappings live", object_libc, object_shmkit, 100 },
    };
    printf("%-58s %8s %7s   %s\n", "cycle", "libc ns", "ratio", "quartiles");
    for (size_t i = 0; i < sizeof cycles / sizeof *cycles; i++)
        measure(&cycles[i]);
    static void *live[LIVE];
    for (int i = 0; i < LIVE; i++) {
        /* Alternating protection, so that the kernel keeps them apart as the ledger does. */
        live[i] = shmkit_mmap(NULL, PAGE, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(live[i] != MAP_FAILED, "mmap");
    }
    for (size_t i = 0; i < sizeof crowded / sizeof *crowded; i++)
        measure(&crowded[i]);
    for (int i = 0; i < LIVE; i++)
        shmkit_munmap(live[i], PAGE);
    return 0;
}
