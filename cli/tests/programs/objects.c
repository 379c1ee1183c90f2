/* Makes objects of every kind, and leaves or removes them.
 *
 *     objects NAME KEY WHAT...
 *
 * WHAT: posix, sized, removed, memfd, segment, segment_removed, private, set, set_removed, semaphore, semaphore_removed,
 * file (by open below /dev/shm), file_removed, rule (an object mapped before it has a size), again (rule, two times more),
 * kill (by SIGKILL), abort, _exit, status (exits with 3), fork (the rest of WHAT is a child's), loop (waits for a signal). */
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static void need(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(99);
    }
}

static void map_unsized(const char *name)
{
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0); /* the line that breaks the rule */
    need(at != MAP_FAILED, "mmap");
    munmap(at, 4096);
    close(fd);
    shm_unlink(name);
}

static void on_term(int signal)
{
    (void)signal;
    _exit(42);
}

int main(int count, char **arguments)
{
    const char *base = arguments[1];
    key_t key = (key_t)strtoul(arguments[2], NULL, 0);
    char name[300];

    for (int i = 3; i < count; i++) {
        const char *what = arguments[i];
        int is_removed = strstr(what, "removed") != NULL;
        snprintf(name, sizeof name, "/%s-%s", base, what);
        if (!strcmp(what, "posix") || !strcmp(what, "sized") || !strcmp(what, "removed")) {
            int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            need(fd != -1, name);
            if (strcmp(what, "posix"))
                need(ftruncate(fd, 12345) == 0, "ftruncate");
            close(fd);
            if (is_removed)
                need(shm_unlink(name) == 0, name);
        } else if (!strncmp(what, "file", 4)) {
            snprintf(name, sizeof name, "/dev/shm/%s-%s", base, what);
            int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            need(fd != -1 && ftruncate(fd, 777) == 0, name);
            close(fd);
            if (is_removed)
                need(unlink(name) == 0, name);
        } else if (!strcmp(what, "memfd")) {
            int fd = memfd_create(name + 1, MFD_CLOEXEC);
            need(fd != -1 && ftruncate(fd, 4096) == 0, name);
        } else if (!strncmp(what, "segment", 7) || !strcmp(what, "private")) {
            key_t own = !strcmp(what, "private") ? IPC_PRIVATE : key + is_removed;
            int id = shmget(own, 8000, IPC_CREAT | IPC_EXCL | 0600);
            need(id != -1, what);
            printf("%s %d\n", what, id);
            if (is_removed || own == IPC_PRIVATE)
                shmctl(id, IPC_RMID, NULL);
        } else if (!strncmp(what, "set", 3)) {
            int id = semget(key + is_removed, 3, IPC_CREAT | IPC_EXCL | 0600);
            need(id != -1, what);
            printf("%s %d\n", what, id);
            if (is_removed)
                semctl(id, 0, IPC_RMID);
        } else if (!strncmp(what, "semaphore", 9)) {
            sem_t *sem = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
            need(sem != SEM_FAILED, name);
            sem_close(sem);
            if (is_removed)
                sem_unlink(name);
        } else if (!strcmp(what, "rule")) {
            map_unsized(name);
        } else if (!strcmp(what, "again")) {
            map_unsized(name);
            map_unsized(name);
        } else if (!strcmp(what, "fork")) {
            fflush(stdout);
            if (fork() != 0) {
                wait(NULL);
                return 0;
            }
        } else if (!strcmp(what, "loop")) {
            alarm(60); /* whoever forgets it is not haunted by it */
            signal(SIGTERM, on_term);
            puts("ready");
            fflush(stdout);
            for (;;)
                pause();
        } else if (!strcmp(what, "kill")) {
            fflush(stdout);
            raise(SIGKILL);
        } else if (!strcmp(what, "abort")) {
            fflush(stdout);
            abort();
        } else if (!strcmp(what, "_exit")) {
            fflush(stdout);
            _exit(0);
        } else if (!strcmp(what, "status")) {
            return 3;
        } else {
            return 98;
        }
    }
    return 0;
}
