/* Makes every call that the drop-in header redirects, as far as the language mode declares it, and uses the same names
 * for members. Compiled as C and as C++ and never run: tests/package.rs looks at the symbols that stay undefined.
 *
 *     -DOFFSET_BITS_HERE            defines _FILE_OFFSET_BITS here, not on the command line
 *     -DINCLUDE_BEFORE / _AFTER     includes the drop-in header before / after the system headers; else use -include */
#ifdef OFFSET_BITS_HERE
#define _FILE_OFFSET_BITS 64
#endif
#ifdef INCLUDE_BEFORE
#include <shmkit/dropin.h>
#endif
#ifdef __cplusplus
#include <fstream>
#endif
#include <fcntl.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#ifdef INCLUDE_AFTER
#include <shmkit/dropin.h>
#endif

/* Members of these names stay members. */
struct operations {
    int (*close)(int);
    int (*fstat)(int, struct stat *);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
    int (*fcntl)(int, int, ...);
    int ftruncate;
};

void *everywhere(struct operations *operations);
int memory(void *address);
int objects(const char *name, struct stat *status);
int segments(struct shmid_ds *status);
int sets(struct sembuf *steps);
int semaphores(sem_t *semaphore);
int where_declared(int fd, void *address);

void *everywhere(struct operations *operations)
{
    operations->close = &close;
    operations->fstat = &fstat;
    operations->mmap = &mmap;
    operations->fcntl = &fcntl;
    operations->ftruncate = operations->close(3);
    return operations->mmap(NULL, 1, PROT_READ, MAP_SHARED, operations->ftruncate, 0);
}

int memory(void *address)
{
    void *other = mmap(address, 1, PROT_READ, MAP_PRIVATE, 3, 0);
    return munmap(other, 1) + mprotect(other, 1, PROT_NONE) + msync(other, 1, MS_SYNC) + mlock(other, 1) +
           munlock(other, 1);
}

int objects(const char *name, struct stat *status)
{
    int fd = shm_open(name, O_RDWR, 0600);
    struct flock lock = { F_WRLCK, SEEK_SET, 0, 0, 0 };
    return fcntl(fd, F_GETFD) + fcntl(fd, F_SETLK, &lock) + shm_unlink(name) + fstat(fd, status) + close(fd);
}

int segments(struct shmid_ds *status)
{
    int id = shmget(ftok("/", 1), 1, 0600);
    return shmdt(shmat(id, NULL, 0)) + shmctl(id, IPC_STAT, status);
}

int sets(struct sembuf *steps)
{
    int id = semget(ftok("/", 1), 1, 0600);
    return semop(id, steps, 1) + semctl(id, 0, SETVAL, 1) + semctl(id, 0, IPC_RMID);
}

int semaphores(sem_t *semaphore)
{
    int value;
    sem_t *named = sem_open("/name", O_CREAT, 0600, 1);
    return sem_close(named) + sem_unlink("/name") + sem_init(semaphore, 0, 1) + sem_wait(semaphore) +
           sem_trywait(semaphore) + sem_post(semaphore) + sem_getvalue(semaphore, &value) + sem_destroy(semaphore);
}

/* The rest depends on the feature test macros, as the C library's headers have it. */
int where_declared(int fd, void *address)
{
    int sum = fd + (address != NULL);
#if defined __USE_POSIX199309 || defined __USE_XOPEN_EXTENDED || defined __USE_XOPEN2K8
    sum += ftruncate(fd, 1);
#endif
#ifdef __USE_XOPEN2K
    sum += posix_fallocate(fd, 0, 1);
    struct timespec until = { 0, 0 };
    sum += sem_timedwait((sem_t *)address, &until);
#endif
#ifdef __USE_MISC
    sum += madvise(address, 1, 0);
#endif
#ifdef __USE_LARGEFILE64
    struct stat64 status;
    void *(*map)(void *, size_t, int, int, int, off64_t) = &mmap64;
    sum += map(address, 1, 0, 0, fd, 0) == mmap64(address, 1, 0, 0, fd, 0);
    struct flock64 lock = { F_RDLCK, SEEK_SET, 0, 0, 0 };
    sum += fcntl64(fd, F_SETLK64, &lock);
    sum += fstat64(fd, &status) + ftruncate64(fd, 1) + posix_fallocate64(fd, 0, 1);
#endif
#ifdef __USE_GNU
    sum += semtimedop(0, NULL, 1, NULL) + sem_clockwait((sem_t *)address, 0, &until);
    sum += memfd_create("", 0) + (mremap(address, 1, 1, 0) == MAP_FAILED);
#endif
    return sum;
}

#ifdef __cplusplus
namespace {

struct device {
    void close() {}
    int fstat() { return 1; }
    int fcntl() { return 2; }
    int mmap(int length) { return length; }
};

} // namespace

int methods(std::fstream &file);

int methods(std::fstream &file)
{
    device device;
    device.close();
    file.close();
    ::close(0);
    return device.fstat() + device.fcntl() + device.mmap(2);
}
#endif
