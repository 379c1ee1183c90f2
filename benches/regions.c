/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What regions cost: ratios of shmkit's time to the plain calls' that a program would make instead, each measured on
 * both sides in turn, batch by batch, in this one run. Prints medians beside the targets; never judges.
 * Run by scripts/bench.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <shmkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCHES = 101, PAGE = 4096, MANY = 10000, FEW = 1000, LARGEST = 1 << 20, VAST = 1 << 26 };

static char prefix[64], address[80], named[80];

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Removes the objects of this process, whatever it came to. */
static void clean(void)
{
    char name[96];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%s-%d", prefix, i);
        shm_unlink(name);
    }
    shm_unlink(prefix);
    shm_unlink(named);
}

static _Noreturn __attribute__((cold, noinline)) void fail(const char *what)
{
    fprintf(stderr, "%s: %s; %s\n", what, strerror(errno), shmkit_last_error_message());
    clean();
    exit(1);
}

static inline void must(int good, const char *what)
{
    if (__builtin_expect(!good, 0))
        fail(what);
}

static shmkit_region_options_t options_of(size_t size, size_t max_size)
{
    shmkit_region_options_t o = SHMKIT_REGION_OPTIONS_INIT;
    o.size = size;
    o.max_size = max_size;
    return o;
}

static shmkit_region_t *make(const char *where, size_t size, size_t max_size)
{
    shmkit_region_options_t o = options_of(size, max_size);
    shmkit_region_t *r = NULL;
    must(shmkit_region_create(where, &o, &r) == SHMKIT_OK, where);
    return r;
}

static void drop(shmkit_region_t *r)
{
    must(shmkit_region_close(r) == SHMKIT_OK, "close");
}

/* A life of an object, in three ways. */
static void life_plain(void)
{
    int fd = shm_open(prefix, O_RDWR | O_CREAT | O_EXCL, 0600);
    must(fd >= 0 && ftruncate(fd, PAGE) == 0, "shm_open");
    void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(at != MAP_FAILED && munmap(at, PAGE) == 0, "mmap");
    must(close(fd) == 0 && shm_unlink(prefix) == 0, "shm_unlink");
}

/* As careful as a region is: another name until it is complete, its space reserved, its first bytes written. */
static void life_careful(void)
{
    int fd = shm_open(named, O_RDWR | O_CREAT | O_EXCL, 0600);
    must(fd >= 0 && posix_fallocate(fd, 0, 2 * PAGE) == 0, "posix_fallocate");
    void *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(at != MAP_FAILED, "mmap");
    memset(at, 1, 320);
    char from[96], to[96];
    snprintf(from, sizeof from, "/dev/shm%s", named);
    snprintf(to, sizeof to, "/dev/shm%s", prefix);
    must(link(from, to) == 0 && unlink(from) == 0, "link");
    must(munmap(at, 2 * PAGE) == 0 && close(fd) == 0 && shm_unlink(prefix) == 0, "shm_unlink");
}

static void life_region(void)
{
    drop(make(address, PAGE, 0));
    must(shmkit_unlink(address) == SHMKIT_OK, "unlink");
}

static void life_region_handle(void)
{
    shmkit_region_t *r = make(address, PAGE, 0);
    must(shmkit_region_unlink(r) == SHMKIT_OK, "unlink");
    drop(r);
}

/* A visit to an object that exists. */
static void visit_plain(void)
{
    struct stat status;
    int fd = shm_open(prefix, O_RDWR, 0);
    must(fd >= 0 && fstat(fd, &status) == 0, "shm_open");
    void *at = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(at != MAP_FAILED && munmap(at, (size_t)status.st_size) == 0 && close(fd) == 0, "mmap");
}

static void visit_region(void)
{
    shmkit_region_t *r = NULL;
    must(shmkit_region_open(address, NULL, &r) == SHMKIT_OK, "open");
    drop(r);
}

static void visit_region_raw(void)
{
    shmkit_region_options_t o = SHMKIT_REGION_OPTIONS_INIT;
    shmkit_region_t *r = NULL;
    o.raw = 1;
    must(shmkit_region_open(address, &o, &r) == SHMKIT_OK, "open");
    drop(r);
}

/* Copies, and calls that cost little, on one region. */
static shmkit_region_t *region;
static char *region_data;
static char *own;
static size_t length, place, walk;
static size_t grown;
static int grown_fd = -1;
static volatile size_t sink;

/* The call stays a call, as the program's own would be: with a size that the compiler knows it would vanish. */
static void *(*volatile copy)(void *, const void *, size_t) = memcpy;

/* One place stays in the nearest cache; place after place, as messages are, in a farther one or in none. */
static void next_place(void)
{
    place += length;
    if (place >= walk)
        place = 0;
}

static void in_plain(void)
{
    next_place();
    copy(region_data + place, own, length);
}

static void in_region(void)
{
    next_place();
    must(shmkit_region_copy_in(region, place, own, length) == SHMKIT_OK, "copy_in");
}

static void out_plain(void)
{
    next_place();
    copy(own, region_data + place, length);
}

static void out_region(void)
{
    next_place();
    must(shmkit_region_copy_out(region, place, own, length) == SHMKIT_OK, "copy_out");
}

static void size_region(void)
{
    sink = shmkit_region_size(region);
}

static void data_region(void)
{
    sink = (size_t)shmkit_region_data(region);
}

static void nothing(void)
{
}

static void grow_region(void)
{
    grown += PAGE;
    must(shmkit_region_grow(region, grown) == SHMKIT_OK, "grow");
}

static void grow_plain(void)
{
    static off_t size;
    must(posix_fallocate(grown_fd, size, PAGE) == 0, "posix_fallocate");
    size += PAGE;
}

static double batch(void (*work)(void), int rounds)
{
    double start = now_ns();
    for (int i = 0; i < rounds; i++)
        work();
    return (now_ns() - start) / rounds;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* What the last column compares. */
enum sort { RATIO, SPEED, EXTRA };

static void head(const char *title)
{
    printf("\n%-58s %12s %12s %9s   %s\n", title, "ours ns", "theirs ns", "", "target");
}

static void measure(const char *what, void (*plain)(void), void (*ours)(void), int rounds, int batches, enum sort sort,
                    const char *target)
{
    static double mine[BATCHES], theirs[BATCHES], result[BATCHES];
    /* Caches, tables and what is asked once a process. */
    batch(plain, 2);
    batch(ours, 2);
    for (int i = 0; i < batches; i++) {
        /* The side that goes first changes, so that a drift of the machine favours neither. */
        if (i % 2)
            mine[i] = batch(ours, rounds);
        theirs[i] = batch(plain, rounds);
        if (i % 2 == 0)
            mine[i] = batch(ours, rounds);
        result[i] = sort == RATIO ? mine[i] / theirs[i] : sort == SPEED ? theirs[i] / mine[i] : mine[i] - theirs[i];
    }
    double middle = median(result, batches);
    printf("%-58s %12.1f %12.1f %9.3f   %s\n", what, median(mine, batches), median(theirs, batches), middle, target);
    fflush(stdout);
}

static void copies(const char *where, const char *note, const char *small, const char *large)
{
    /* Length, how far the copies walk, and how many make a batch. */
    static const struct {
        size_t length, walk;
        const char *name;
        int rounds;
    } sizes[] = {
        { 64, 64, "64 B", 20000 },
        { 64, LARGEST, "64 B, on through 1 MiB", 20000 },
        { 4096, 4096, "4 KiB", 4000 },
        { 4096, LARGEST, "4 KiB, on through 1 MiB", 4000 },
        { 4096, VAST, "4 KiB, on through 64 MiB", 4000 },
        { 65536, 65536, "64 KiB", 200 },
        { 65536, LARGEST, "64 KiB, on through 1 MiB", 200 },
        { LARGEST, LARGEST, "1 MiB", 10 },
    };
    region = make(where, VAST, 0);
    region_data = shmkit_region_data(region);
    memset(region_data, 1, VAST);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char what[80];
        enum sort sort = sizes[i].length == 64 ? EXTRA : SPEED;
        const char *target = sizes[i].length == 64 ? small : large;
        length = sizes[i].length;
        walk = sizes[i].walk;
        place = 0;
        snprintf(what, sizeof what, "copy_in %s, %s", sizes[i].name, note);
        measure(what, in_plain, in_region, sizes[i].rounds, BATCHES, sort, target);
        snprintf(what, sizeof what, "copy_out %s, %s", sizes[i].name, note);
        measure(what, out_plain, out_region, sizes[i].rounds, BATCHES, sort, target);
    }
    if (strncmp(where, "posix:", 6) == 0)
        must(shmkit_region_unlink(region) == SHMKIT_OK, "unlink");
    drop(region);
}

static void small_calls(const char *where, const char *note)
{
    char what[80];
    region = make(where, PAGE, 0);
    snprintf(what, sizeof what, "size, %s", note);
    measure(what, nothing, size_region, 20000, BATCHES, EXTRA, "");
    snprintf(what, sizeof what, "data, %s", note);
    measure(what, nothing, data_region, 20000, BATCHES, EXTRA, "");
    if (strncmp(where, "posix:", 6) == 0)
        must(shmkit_region_unlink(region) == SHMKIT_OK, "unlink");
    drop(region);
}

static void growth(void)
{
    region = make("memfd:bench", PAGE, (size_t)1 << 30);
    grown = PAGE;
    grown_fd = memfd_create("bench", MFD_CLOEXEC);
    must(grown_fd >= 0, "memfd_create");
    measure("grow by a page, memfd: (theirs: posix_fallocate)", grow_plain, grow_region, 20, BATCHES, RATIO, "");
    close(grown_fd);
    drop(region);
}

/* Regions that are all open at once. */
static void crowd(const char *scheme)
{
    static shmkit_region_t *all[MANY];
    char where[96], what[80];
    double start = now_ns();
    for (int i = 0; i < MANY; i++) {
        snprintf(where, sizeof where, *scheme == 'p' ? "posix:%s-%d" : "memfd:%s-%d", prefix + (*scheme == 'm'), i);
        all[i] = make(where, PAGE, 0);
    }
    double made = now_ns();
    for (int i = 0; i < MANY; i++)
        *(int *)shmkit_region_data(all[i]) = i;
    for (int i = 0; i < MANY; i++)
        must(*(int *)shmkit_region_data(all[i]) == i, "data");
    double used = now_ns();
    for (int i = 0; i < MANY; i++) {
        if (*scheme == 'p')
            must(shmkit_region_unlink(all[i]) == SHMKIT_OK, "unlink");
        drop(all[i]);
    }
    double closed = now_ns();
    snprintf(what, sizeof what, "%d regions open at once, %s create each", MANY, scheme);
    printf("%-58s %12.1f\n", what, (made - start) / MANY);
    snprintf(what, sizeof what, "%d regions open at once, %s close each", MANY, scheme);
    printf("%-58s %12.1f\n", what, (closed - used) / MANY);
    fflush(stdout);
}

static int counted(const shmkit_object_t *object, void *user)
{
    *(int *)user += strstr(object->address, prefix) != NULL;
    return 0;
}

/* Time an object of a survey over so many of them. */
static double survey(int count, int collect)
{
    double best = 1e18;
    for (int i = 0; i < 5; i++) {
        int seen = 0;
        double start = now_ns();
        shmkit_status_t status = collect ? shmkit_gc(SHMKIT_GC_DRY_RUN, counted, &seen, NULL)
                                         : shmkit_list(SHMKIT_LIST_POSIX, counted, &seen);
        double time = (now_ns() - start) / count;
        must(status == SHMKIT_OK && seen == count, collect ? "gc" : "list");
        best = time < best ? time : best;
    }
    return best;
}

static void surveys(void)
{
    static double each[2][2];
    char where[96];
    int made = 0;
    for (int more = 0; more < 2; more++) {
        int count = more ? MANY : FEW;
        for (; made < count; made++) {
            snprintf(where, sizeof where, "posix:%s-%d", prefix, made);
            drop(make(where, 64, 0));
        }
        for (int collect = 0; collect < 2; collect++)
            each[collect][more] = survey(count, collect);
    }
    printf("\n%-58s %12s %12s %9s   %s\n", "time an object, the best of 5", "10,000 ns", "1,000 ns", "", "target");
    for (int collect = 0; collect < 2; collect++)
        printf("%-58s %12.1f %12.1f %9.3f   about 1\n", collect ? "gc, dry run" : "list, POSIX objects",
               each[collect][1], each[collect][0], each[collect][1] / each[collect][0]);
    clean();
}

/* A signal that ends the benchmark leaves nothing behind either: unlink is all that is called. */
static void ended(int signal)
{
    clean();
    _exit(128 + signal);
}

int main(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= MANY + 100, "10,000 descriptors (ulimit -Hn)");
    snprintf(prefix, sizeof prefix, "/shmkit-bench-%ld", (long)getpid());
    snprintf(address, sizeof address, "posix:%s", prefix);
    snprintf(named, sizeof named, "%s.new", prefix);
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        signal(ends[i], ended);
    own = malloc(LARGEST);
    must(own != NULL, "malloc");
    memset(own, 2, LARGEST);

    head("cycles (ours / theirs)");
    measure("create, close, unlink by address: six plain calls", life_plain, life_region, 50, BATCHES, RATIO,
            "<= 2.0");
    measure("create, unlink by handle, close: six plain calls", life_plain, life_region_handle, 50, BATCHES, RATIO,
            "<= 2.0");
    measure("the same: plain calls that reserve, and publish at the end", life_careful, life_region_handle, 50, BATCHES,
            RATIO, "");
    drop(make(address, PAGE, 0));
    measure("open, close: shm_open, fstat, mmap, munmap, close", visit_plain, visit_region, 100, BATCHES, RATIO,
            "<= 1.5");
    must(shmkit_region_open(address, NULL, &region) == SHMKIT_OK, "open");
    measure("open, close, while another handle is open: the same", visit_plain, visit_region, 100, BATCHES, RATIO,
            "<= 1.5");
    measure("open raw, close: the same", visit_plain, visit_region_raw, 100, BATCHES, RATIO, "");
    must(shmkit_region_unlink(region) == SHMKIT_OK, "unlink");
    drop(region);

    head("copies (64 B: ours - theirs in ns; else speed, theirs / ours)");
    copies("memfd:bench", "memfd:", "<= 8", ">= 0.95");
    must(shmkit_guard_enable() == SHMKIT_OK, "guard");
    copies(address, "posix: with the guard", "<= 8", ">= 0.95");
    must(shmkit_guard_disable() == SHMKIT_OK, "guard");
    copies(address, "posix: without", "", "");

    head("small calls (ours - an empty function in ns; growth: ours / theirs)");
    small_calls("memfd:bench", "memfd:");
    small_calls(address, "posix: without the guard");
    growth();

    printf("\n%-58s %12s\n", "many", "ns");
    crowd("posix:");
    crowd("memfd:");
    surveys();
    return 0;
}
