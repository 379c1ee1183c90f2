/* Makes the same calls ten times over and prints what each answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

static const char *error(int failed)
{
    return failed ? strerrorname_np(errno) : "0";
}

int main(int count, char **arguments)
{
    char name[256];
    struct timespec before, after;
    struct stat status;

    snprintf(name, sizeof name, "/%s", count > 1 ? arguments[1] : "shmkit-inject");
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 1; i <= 10; i++) {
        errno = 0;
        int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
        printf("%d: shm_open %s", i, error(fd == -1));
        printf(", ftruncate %s", error(ftruncate(fd, 8192) != 0));
        if (fstat(fd, &status) == 0)
            printf(" %lld", (long long)status.st_size);
        int errno_before = errno, allocated = posix_fallocate(fd, 0, 65536);
        printf(", posix_fallocate %s", allocated ? strerrorname_np(allocated) : "0");
        if (errno != errno_before)
            printf(" and errno changed");
        if (fstat(fd, &status) == 0)
            printf(" %lld", (long long)status.st_size);
        void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        printf(", mmap %s", error(at == MAP_FAILED));
        if (at != MAP_FAILED)
            munmap(at, 4096);
        sem_t *sem = sem_open(name, O_RDWR);
        printf(", sem_open %s", error(sem == SEM_FAILED));
        int id = shmget(IPC_PRIVATE, 4096, 0600);
        printf(", shmget %s", error(id == -1));
        void *where = shmat(id, NULL, 0);
        printf(", shmat %s\n", error(where == (void *)-1));
        if (where != (void *)-1)
            shmdt(where);
        shmctl(id, IPC_RMID, NULL);
        if (fd != -1)
            close(fd);
    }
    shm_unlink(name);
    clock_gettime(CLOCK_MONOTONIC, &after);
    fprintf(stderr, "took %lld ns\n",
            (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec);
    return 0;
}
