/* Makes shared memory with nothing but the C library: what each pair of words on the command line says, in this order.
 * Prints "ready" and stays until it is killed. Knows nothing of shmkit. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <unistd.h>

enum { SIZE = 3 * 4096 };

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static char *map(int fd)
{
    char *at = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static int object(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT, 0640);
    if (fd < 0 || ftruncate(fd, SIZE) != 0)
        fail(name);
    return fd;
}

static int segment(const char *key, int mode)
{
    int id = shmget((key_t)strtol(key, NULL, 0), 10000, IPC_CREAT | mode);
    if (id < 0)
        fail(key);
    return id;
}

int main(int count, char **words)
{
    for (int i = 1; i + 1 < count; i += 2) {
        const char *what = words[i], *name = words[i + 1];
        if (strcmp(what, "object") == 0) {                  /* made and closed */
            close(object(name));
        } else if (strcmp(what, "map") == 0) {              /* mapped, descriptor closed; one page touched */
            int fd = object(name);
            map(fd)[4096] = 1;
            close(fd);
        } else if (strcmp(what, "open") == 0) {             /* open, not mapped */
            object(name);
        } else if (strcmp(what, "gone") == 0) {             /* mapped, name removed */
            map(object(name));
            if (shm_unlink(name) != 0)
                fail(name);
        } else if (strcmp(what, "file") == 0) {
            int fd = open(name, O_RDWR | O_CREAT, 0600);
            if (fd < 0 || ftruncate(fd, SIZE) != 0)
                fail(name);
            map(fd)[0] = 1;
        } else if (strcmp(what, "memfd") == 0) {
            int fd = memfd_create(name, MFD_ALLOW_SEALING);
            if (fd < 0 || ftruncate(fd, SIZE) != 0)
                fail(name);
            map(fd)[0] = 1;
            if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
                fail("seal");
        } else if (strcmp(what, "anon") == 0) {
            if (mmap(NULL, (size_t)atol(name), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
                fail("anon");
        } else if (strcmp(what, "sem") == 0) {
            if (sem_open(name, O_CREAT, 0600, 5) == SEM_FAILED)
                fail(name);
        } else if (strcmp(what, "semset") == 0) {
            if (semget((key_t)strtol(name, NULL, 0), 3, IPC_CREAT | 0604) < 0)
                fail(name);
        } else if (strcmp(what, "segment") == 0) {          /* made, not attached */
            segment(name, 0640);
        } else if (strcmp(what, "attach") == 0) {           /* attached twice */
            int id = segment(name, 0600);
            if (shmat(id, NULL, 0) == (void *)-1 || shmat(id, NULL, SHM_RDONLY) == (void *)-1)
                fail("shmat");
        } else if (strcmp(what, "removed") == 0) {          /* attached, then removed */
            int id = segment(name, 0600);
            if (shmat(id, NULL, 0) == (void *)-1 || shmctl(id, IPC_RMID, NULL) != 0)
                fail("removed");
        } else {
            errno = EINVAL;
            fail(what);
        }
    }
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
