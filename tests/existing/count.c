/*
 * Preloaded, and linked to libshmkit so that it finds it: counts the checked calls of all processes together in one
 * shared array of numbers, the file that EXISTING_COUNT names, and passes each call on. Compiled as a program
 * (-DPRINT), it prints the sum of such a file and, for each call, its number.
 *
 * Never changes what a call does or returns, nor errno.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* result, name, parameters, arguments */
#define CALLS(X) \
    X(int, shm_open, (const char *name, int oflag, mode_t mode), (name, oflag, mode)) \
    X(int, shm_unlink, (const char *name), (name)) \
    X(int, memfd_create, (const char *name, unsigned int flags), (name, flags)) \
    X(void *, mmap, (void *addr, size_t length, int prot, int flags, int fd, off_t offset), \
        (addr, length, prot, flags, fd, offset)) \
    X(void *, mmap64, (void *addr, size_t length, int prot, int flags, int fd, int64_t offset), \
        (addr, length, prot, flags, fd, offset)) \
    X(int, munmap, (void *addr, size_t length), (addr, length)) \
    X(int, mprotect, (void *addr, size_t length, int prot), (addr, length, prot)) \
    X(int, msync, (void *addr, size_t length, int flags), (addr, length, flags)) \
    X(int, madvise, (void *addr, size_t length, int advice), (addr, length, advice)) \
    X(int, mlock, (const void *addr, size_t length), (addr, length)) \
    X(int, munlock, (const void *addr, size_t length), (addr, length)) \
    X(int, ftruncate, (int fd, off_t length), (fd, length)) \
    X(int, ftruncate64, (int fd, int64_t length), (fd, length)) \
    X(int, posix_fallocate, (int fd, off_t offset, off_t length), (fd, offset, length)) \
    X(int, fstat, (int fd, struct stat *buffer), (fd, buffer)) \
    X(int, close, (int fd), (fd)) \
    X(int, shmget, (key_t key, size_t size, int flags), (key, size, flags)) \
    X(void *, shmat, (int id, const void *addr, int flags), (id, addr, flags)) \
    X(int, shmdt, (const void *addr), (addr)) \
    X(int, shmctl, (int id, int command, struct shmid_ds *buffer), (id, command, buffer)) \
    X(key_t, ftok, (const char *path, int project), (path, project))

enum {
#define X(result, name, parameters, arguments) COUNT_##name,
    CALLS(X)
#undef X
    COUNT_mremap,
    COUNTS
};

#ifndef PRINT

static uint64_t unwatched[COUNTS];
static uint64_t *counts = unwatched;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("EXISTING_COUNT");
    int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *shared = mmap(NULL, sizeof unwatched, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) {
        counts = shared;
    }
    close(fd);
}

static void *next(void **known, const char *name, int index)
{
    int saved = errno;
    __atomic_fetch_add(&counts[index], 1, __ATOMIC_RELAXED);
    void *found = __atomic_load_n(known, __ATOMIC_RELAXED);
    if (found == NULL) {
        found = dlsym(RTLD_NEXT, name);
        if (found == NULL) {
            abort();
        }
        __atomic_store_n(known, found, __ATOMIC_RELAXED);
    }
    errno = saved;
    return found;
}

#define X(result, name, parameters, arguments) \
    result shmkit_##name parameters; \
    result shmkit_##name parameters \
    { \
        static void *known; \
        return ((result(*) parameters)next(&known, "shmkit_" #name, COUNT_##name)) arguments; \
    }
CALLS(X)
#undef X

void *shmkit_mremap(void *old, size_t old_size, size_t new_size, int flags, ...);
void *shmkit_mremap(void *old, size_t old_size, size_t new_size, int flags, ...)
{
    static void *known;
    void *new_address = NULL;
    if (flags & (MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */)) {
        va_list rest;
        va_start(rest, flags);
        new_address = va_arg(rest, void *);
        va_end(rest);
    }
    void *(*call)(void *, size_t, size_t, int, ...) =
        (void *(*)(void *, size_t, size_t, int, ...))next(&known, "shmkit_mremap", COUNT_mremap);
    return call(old, old_size, new_size, flags, new_address);
}

#else

int main(int argc, char **argv)
{
    static const char *const names[] = {
#define X(result, name, parameters, arguments) #name,
        CALLS(X)
#undef X
        "mremap"
    };
    uint64_t counts[COUNTS] = {0}, sum = 0;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL || fread(counts, sizeof counts, 1, file) != 1) {
        fprintf(stderr, "count: no counts in %s\n", argc > 1 ? argv[1] : "nothing");
        return 1;
    }
    fclose(file);
    for (int index = 0; index < COUNTS; index++) {
        sum += counts[index];
    }
    printf("%llu", (unsigned long long)sum);
    for (int index = 0; index < COUNTS; index++) {
        if (counts[index] != 0) {
            printf(" %s=%llu", names[index], (unsigned long long)counts[index]);
        }
    }
    putchar('\n');
    return 0;
}

#endif
