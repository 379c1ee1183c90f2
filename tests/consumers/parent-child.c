/* A parent and a child over a POSIX object, in C11, with checked calls: size, fill, wait, read, remove.
 * Then a call that must fail, with words. Prints "parent-child: good" and leaves nothing behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { COUNT = 1000 };

static void need(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, shmkit_last_error_message());
    exit(1);
}

static long sum_of(const long *numbers)
{
    long sum = 0;
    for (int i = 0; i < COUNT; i++)
        sum += numbers[i];
    return sum;
}

static void fill_in_child(const char *name)
{
    int fd = shmkit_shm_open(name, O_RDWR, 0);
    long *numbers;

    need(fd >= 0, "child: shm_open");
    numbers = shmkit_mmap(NULL, COUNT * sizeof *numbers, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    need(numbers != MAP_FAILED, "child: mmap");
    for (int i = 0; i < COUNT; i++)
        numbers[i] = i;
    need(shmkit_munmap(numbers, COUNT * sizeof *numbers) == 0, "child: munmap");
    need(shmkit_close(fd) == 0, "child: close");
}

static void share(const char *name)
{
    int fd = shmkit_shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600), status = 0;
    long *numbers;
    pid_t child;

    need(fd >= 0, "shm_open");
    need(shmkit_ftruncate(fd, COUNT * sizeof *numbers) == 0, "ftruncate");
    numbers = shmkit_mmap(NULL, COUNT * sizeof *numbers, PROT_READ, MAP_SHARED, fd, 0);
    need(numbers != MAP_FAILED, "mmap");
    child = fork();
    if (child == 0) {
        fill_in_child(name);
        _exit(0);
    }
    need(waitpid(child, &status, 0) == child && status == 0, "the child's work");
    need(sum_of(numbers) == (long)COUNT * (COUNT - 1) / 2, "the sum");
    need(shmkit_munmap(numbers, COUNT * sizeof *numbers) == 0, "munmap");
    need(shmkit_close(fd) == 0, "close");
    need(shmkit_shm_unlink(name) == 0, "shm_unlink");
}

static void fail_with_words(const char *name)
{
    const shmkit_error_t *error;

    shmkit_clear_error();
    need(*shmkit_last_error_message() == '\0' && shmkit_last_error() == NULL, "no words before a failure");
    errno = 0;
    need(shmkit_shm_open(name, O_RDWR, 0) == -1 && errno == ENOENT, "opening a name that is gone");
    error = shmkit_last_error();
    need(error != NULL && error->errno_value == ENOENT && error->code == SHMKIT_ERR_NOT_FOUND, "the failure");
    need(strstr(shmkit_last_error_message(), name) != NULL, "the name in the words");
    need(strcmp(shmkit_version(), SHMKIT_VERSION) == 0, "one version in header and library");
}

int main(void)
{
    char name[64];

    snprintf(name, sizeof name, "/shmkit-consumer-%ld", (long)getpid());
    share(name);
    fail_with_words(name);
    puts("parent-child: good");
    return 0;
}
