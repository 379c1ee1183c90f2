/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Eight threads call everything for some seconds: storm [SECONDS]. Each thread works on objects of its own and checks
 * every result; at the end nothing is left behind. Meant to run under valgrind and the sanitizers (scripts/test).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <shmkit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8 };

static size_t page;
static time_t end;

#define MUST(condition)                                                                                   \
    do {                                                                                                  \
        if (!(condition)) {                                                                               \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, shmkit_last_error_message()); \
            exit(1);                                                                                      \
        }                                                                                                 \
    } while (0)

static void objects(const char *name)
{
    int fd = shmkit_shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    MUST(fd >= 0);
    MUST(shmkit_ftruncate(fd, (off_t)(4 * page)) == 0);
    MUST(shmkit_ftruncate64(fd, (off_t)(4 * page)) == 0);
    MUST(shmkit_posix_fallocate(fd, 0, (off_t)(2 * page)) == 0);
    char *at = shmkit_mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(at != MAP_FAILED);
    memset(at, 1, 4 * page);
    MUST(shmkit_mprotect(at, page, PROT_READ) == 0);
    MUST(shmkit_msync(at, page, MS_SYNC) == 0);
    MUST(shmkit_madvise(at, page, MADV_WILLNEED) == 0);
    MUST(shmkit_mlock(at, page) == 0 && shmkit_munlock(at, page) == 0);
    struct stat status;
    MUST(shmkit_fstat(fd, &status) == 0 && status.st_size == (off_t)(4 * page));
    MUST(shmkit_munmap(at + page, page) == 0);
    char *moved = shmkit_mremap(at + 2 * page, 2 * page, 3 * page, MREMAP_MAYMOVE);
    MUST(moved != MAP_FAILED && moved[0] == 1);
    MUST(shmkit_munmap(moved, 3 * page) == 0 && shmkit_munmap(at, page) == 0);
    void *private = shmkit_mmap64(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(private != MAP_FAILED && shmkit_munmap(private, page) == 0);
    MUST(shmkit_close(fd) == 0 && shmkit_shm_unlink(name) == 0);
    int memory = shmkit_memfd_create("storm", MFD_CLOEXEC);
    MUST(memory >= 0 && shmkit_close(memory) == 0);
}

static void segments(void)
{
    MUST(shmkit_ftok("/", 1) != -1);
    int id = shmkit_shmget(IPC_PRIVATE, page, 0600);
    MUST(id >= 0);
    char *at = shmkit_shmat(id, NULL, 0);
    MUST(at != (void *)-1);
    struct shmid_ds status;
    MUST(shmkit_shmctl(id, IPC_STAT, &status) == 0 && status.shm_nattch == 1);
    MUST(shmkit_shmctl(id, IPC_SET, &status) == 0);
    MUST(shmkit_shmctl(id, IPC_RMID, NULL) == 0);
    at[0] = 1;
    MUST(shmkit_shmdt(at) == 0);
    shmkit_limits_t limits = SHMKIT_LIMITS_INIT;
    MUST(shmkit_limits(&limits) == SHMKIT_OK && limits.page_size == page);
}

/* Each thread hears of its own failure and of no other's. */
static void failures(const char *name)
{
    MUST(shmkit_shm_unlink(name) == -1 && errno == ENOENT);
    MUST(strstr(shmkit_last_error_message(), name) != NULL);
    MUST(shmkit_last_error()->code == SHMKIT_ERR_NOT_FOUND && shmkit_last_error()->rule == NULL);
    MUST(shmkit_munmap(NULL, 0) == -1 && errno == EINVAL);
    MUST(strcmp(shmkit_last_error()->rule, "SHM-UNMAP-ZERO-LENGTH") == 0);
    shmkit_clear_error();
    MUST(shmkit_last_error() == NULL && shmkit_last_error_message()[0] == '\0');
}

static void *work(void *number)
{
    char name[64];
    long rounds = 0;
    snprintf(name, sizeof name, "/shmkit-storm-%ld-%ld", (long)getpid(), (long)number);
    do {
        objects(name);
        segments();
        failures(name);
        rounds++;
    } while (time(NULL) < end);
    return (void *)rounds;
}

static int heard;

static void hear(const shmkit_report_t *report, void *user)
{
    (void)report;
    __atomic_fetch_add((int *)user, 1, __ATOMIC_RELAXED);
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    long all = 0;
    page = (size_t)sysconf(_SC_PAGESIZE);
    end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
    /* Half of the time somebody listens, so that facts are asked for and reports are made. */
    for (long i = 0; i < THREADS; i++)
        MUST(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    while (time(NULL) < end) {
        MUST(shmkit_set_report_callback(hear, &heard) == SHMKIT_OK);
        usleep(100000);
        MUST(shmkit_set_report_callback(NULL, NULL) == SHMKIT_OK);
        usleep(100000);
    }
    for (int i = 0; i < THREADS; i++) {
        void *rounds;
        MUST(pthread_join(threads[i], &rounds) == 0);
        all += (long)rounds;
    }
    printf("%ld rounds of every call by %d threads, %d reports heard\n", all, THREADS, heard);
    return 0;
}
