/* Every kind of call once, in a known order. */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    char name[256], path[300];
    struct stat status;
    struct timespec now = { 0, 0 };
    struct sembuf step = { 0, 1, IPC_NOWAIT };
    struct shmid_ds facts;
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    sem_t own, *sem;
    int value;

    snprintf(name, sizeof name, "/%s", count > 1 ? arguments[1] : "shmkit-calls");
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0640);
    ftruncate(fd, 8192);
    posix_fallocate(fd, 0, 8192);
    fstat(fd, &status);
    fcntl(fd, F_SETLK, &lock);
    char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    mprotect(at, 4096, PROT_READ);
    mprotect(at, 4096, PROT_READ | PROT_WRITE);
    msync(at, 8192, MS_SYNC);
    madvise(at, 8192, MADV_WILLNEED);
    mlock(at, 4096);
    munlock(at, 4096);
    at = mremap(at, 8192, 4096, MREMAP_MAYMOVE);
    munmap(at, 4096);
    close(fd);
    snprintf(path, sizeof path, "/dev/shm%s", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    close(fd);
    shm_unlink(name);
    shm_unlink(name);
    fd = memfd_create("label", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    close(fd);
    int id = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    at = shmat(id, NULL, SHM_RDONLY);
    shmctl(id, IPC_STAT, &facts);
    shmctl(id, IPC_RMID, NULL);
    shmdt(at);
    id = semget(IPC_PRIVATE, 2, 0600);
    semop(id, &step, 1);
    semtimedop(id, &step, 1, &now);
    semctl(id, 1, GETVAL);
    semctl(id, 0, IPC_RMID);
    ftok("/", 'x');
    sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    sem_post(sem);
    sem_getvalue(sem, &value);
    sem_wait(sem);
    sem_trywait(sem);
    sem_timedwait(sem, &now);
    sem_clockwait(sem, CLOCK_MONOTONIC, &now);
    sem_close(sem);
    sem_unlink(name);
    sem_init(&own, 0, 1);
    sem_destroy(&own);
    /* What concerns no shared memory: only with --all. */
    at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(at, 4096);
    fd = open("/dev/null", O_RDONLY);
    fstat(fd, &status);
    close(fd);
    return 0;
}
