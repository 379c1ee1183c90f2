/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Eight threads that allocate, free each other's blocks, and make, map, grow and remove objects and segments all the while,
 * with a timer's signal coming in. Prints a sum that depends on all of it. Knows nothing of shmkit.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 400, BLOCKS = 64 };

static _Atomic(unsigned char *) shelf[THREADS][BLOCKS];
static uint64_t sums[THREADS];
static volatile sig_atomic_t ticks;

/* A call that the interposer surrounds, within a handler. */
static void tick(int signal)
{
    (void)signal;
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED)
        munmap(at, 4096);
    ticks++;
}

static void must(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void *work(void *argument)
{
    size_t me = (size_t)argument;
    uint64_t sum = 0, random = me + 1;
    char name[64];
    snprintf(name, sizeof name, "/shmkit-threads-%ld-%zu", (long)getpid(), me);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t size = 1 + (random >> 33) % (i % 16 ? 2000 : 200000);
            unsigned char *block = malloc(size);
            must(block != NULL, "malloc");
            memset(block, (int)i, size);
            sum += size + block[size - 1];
            free(atomic_exchange_explicit(&shelf[(me + i) % THREADS][i], block, memory_order_acq_rel));
        }
        int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        must(fd >= 0 && ftruncate(fd, 8192) == 0, "shm_open");
        unsigned char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        must(at != MAP_FAILED, "mmap");
        at[8191] = (unsigned char)round;
        sum += at[8191];
        must(munmap(at, 8192) == 0 && close(fd) == 0 && shm_unlink(name) == 0, "munmap");
        if (round % 8 == 0) {
            int id = shmget(IPC_PRIVATE, 4096, 0600);
            must(id >= 0, "shmget");
            unsigned char *segment = shmat(id, NULL, 0);
            must(segment != (void *)-1 && shmctl(id, IPC_RMID, NULL) == 0, "shmat");
            segment[7] = 3;
            sum += segment[7];
            must(shmdt(segment) == 0, "shmdt");
        }
    }
    sums[me] = sum;
    return NULL;
}

int main(void)
{
    struct sigaction action = { .sa_handler = tick, .sa_flags = SA_RESTART };
    struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0, 0 }, { 0, 0 } };
    must(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0, "setitimer");
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_create(&threads[i], NULL, work, (void *)i) == 0, "pthread_create");
    /* Forks while the others allocate. */
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        must(child >= 0, "fork");
        if (child == 0) {
            free(malloc(5000));
            void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            _exit(at == MAP_FAILED || munmap(at, 4096) != 0);
        }
        int status;
        must(waitpid(child, &status, 0) == child && status == 0, "a child");
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < THREADS; i++) {
        must(pthread_join(threads[i], NULL) == 0, "pthread_join");
        sum += sums[i];
    }
    must(setitimer(ITIMER_REAL, &never, NULL) == 0, "setitimer");
    for (size_t i = 0; i < THREADS; i++)
        for (size_t j = 0; j < BLOCKS; j++)
            free(shelf[i][j]);
    printf("%llu %s\n", (unsigned long long)sum, ticks > 0 ? "with signals" : "without signals");
    return 0;
}
