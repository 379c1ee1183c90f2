/* Makes calls from places where little is allowed.
 *
 *     places WHERE NAME [SECONDS] */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *base;
static atomic_int failures, rounds, in_handler, stop;

/* One round: an object that is made, sized, mapped, touched and removed; and an anonymous one. */
static void round_of(int number)
{
    char name[300];
    int before = 4711;
    snprintf(name, sizeof name, "/%s-%d", base, number);
    errno = before;
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    if (fd == -1 || errno != before || ftruncate(fd, 8192) != 0) {
        failures++;
        return;
    }
    char *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *own = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || own == MAP_FAILED || errno != before) {
        failures++;
    } else {
        at[0] = 1;
        own[0] = 1;
        if (munmap(at, 8192) != 0 || munmap(own, 65536) != 0)
            failures++;
    }
    if (close(fd) != 0 || shm_unlink(name) != 0 || errno != before)
        failures++;
    rounds++;
}

static void on_alarm(int signal)
{
    int before = errno;
    (void)signal;
    round_of(1000);
    in_handler++;
    errno = before;
}

static void *work(void *number)
{
    while (!stop)
        round_of((int)(long)number);
    return NULL;
}

static sem_t never;
static atomic_int cleaned;

static void clean(void *unused)
{
    (void)unused;
    cleaned++;
}

static void *wait_for_ever(void *unused)
{
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    sem_wait(&never);
    pthread_cleanup_pop(0);
    return NULL;
}

/* Cancelled while it works: at close or msync, which are cancellation points. */
static void *work_until_cancelled(void *number)
{
    pthread_cleanup_push(clean, NULL);
    for (;;) {
        char name[300];
        snprintf(name, sizeof name, "/%s-c%d", base, (int)(long)number);
        int state;
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
        shm_unlink(name);
        pthread_setcancelstate(state, &state);
        close(fd);
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static int threads(int seconds)
{
    pthread_t all[8];
    for (long i = 0; i < 8; i++)
        pthread_create(&all[i], NULL, work, (void *)i);
    sleep((unsigned)seconds);
    stop = 1;
    for (int i = 0; i < 8; i++)
        pthread_join(all[i], NULL);
    return rounds > 0;
}

static int signals(void)
{
    struct itimerval often = { { 0, 500 }, { 0, 500 } }, none = { { 0, 0 }, { 0, 0 } };
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; in_handler < 200; i++)
        round_of(1);
    setitimer(ITIMER_REAL, &none, NULL);
    return in_handler >= 200;
}

static int cancellation(void)
{
    pthread_t all[20];
    void *result;
    int cancelled = 0;
    sem_init(&never, 0, 0);
    for (long i = 0; i < 20; i++)
        pthread_create(&all[i], NULL, i % 2 ? wait_for_ever : work_until_cancelled, (void *)i);
    usleep(100000);
    for (int i = 0; i < 20; i++)
        pthread_cancel(all[i]);
    for (int i = 0; i < 20; i++) {
        pthread_join(all[i], &result);
        cancelled += result == PTHREAD_CANCELED;
    }
    printf("cancelled %d, cleaned %d\n", cancelled, cleaned);
    return cancelled == 20;
}

/* A lock that is held over calls which are no cancellation points: it is free again when its thread is gone. */
struct holder {
    pthread_mutex_t lock;
    const char *kind;
    int fd;
};

static void *call_until_cancelled(void *data)
{
    struct holder *own = data;
    for (;;) {
        pthread_mutex_lock(&own->lock);
        if (!strcmp(own->kind, "failures")) {
            mmap(NULL, 1ul << 46, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        } else if (!strcmp(own->kind, "posts")) {
            sem_t one;
            sem_init(&one, 0, 0);
            sem_post(&one);
            sem_trywait(&one);
        } else {
            void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, own->fd, 0);
            if (ftruncate(own->fd, 4096) != 0 || munmap(at, 4096) != 0)
                failures++;
        }
        pthread_mutex_unlock(&own->lock);
        pthread_testcancel();
    }
    return NULL;
}

static int cancelled_within(const char *kind, int threads, int rounds_of_it)
{
    int lost = 0, cancelled = 0;
    for (int i = 0; i < rounds_of_it; i++) {
        pthread_t all[8];
        struct holder own[8];
        for (int k = 0; k < threads; k++) {
            pthread_mutex_init(&own[k].lock, NULL);
            own[k].kind = kind;
            own[k].fd = memfd_create("held", 0);
            if (ftruncate(own[k].fd, 4096) != 0)
                failures++;
            pthread_create(&all[k], NULL, call_until_cancelled, &own[k]);
        }
        usleep(10000);
        for (int k = 0; k < threads; k++)
            pthread_cancel(all[k]);
        for (int k = 0; k < threads; k++) {
            void *result;
            pthread_join(all[k], &result);
            cancelled += result == PTHREAD_CANCELED;
            lost += pthread_mutex_trylock(&own[k].lock) != 0;
            close(own[k].fd);
        }
    }
    printf("cancelled %d, lost %d\n", cancelled, lost);
    return cancelled == threads * rounds_of_it && lost == 0;
}

static int closed_from(int first)
{
    for (int fd = first; fd < 1024; fd++)
        close(fd);
    for (int i = 0; i < 100; i++)
        round_of(i);
    return 1;
}

/* Objects get the numbers 0, 1 and 2; nobody but this program may write into them. */
static int closed_standard(void)
{
    char name[300];
    int fds[3], out = fcntl(1, F_DUPFD_CLOEXEC, 10), good = 1;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "/%s-s%d", base, i);
        fds[i] = shm_open(name, O_RDWR | O_CREAT, 0600);
        if (fds[i] != i)
            good = 0;
        shm_unlink(name);
    }
    /* Breaks a rule: a report is due, and there is nowhere to write it to. */
    mmap(NULL, 0, PROT_READ, MAP_SHARED, fds[0], 0);
    mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[0], 0);
    for (int i = 0; i < 3; i++) {
        struct stat status;
        if (fstat(fds[i], &status) != 0 || status.st_size != 0)
            good = 0;
        close(fds[i]);
    }
    dup2(out, 1);
    return good;
}

static int within_chroot(const char *folder)
{
    int good, status = -1;
    if (chroot(folder) != 0 || chdir("/") != 0)
        return 0;
    /* Without /dev/shm there: a failure that is the program's own. */
    good = shm_open("/x", O_RDWR | O_CREAT, 0600) == -1 && errno == ENOENT;
    if (fork() == 0) {
        int fd = memfd_create("in-chroot", MFD_CLOEXEC);
        _exit(fd != -1 && ftruncate(fd, 4096) == 0 ? 0 : 1);
    }
    wait(&status);
    return good && status == 0;
}

static int in_chroot(void)
{
    char folder[] = "/tmp/shmkit-run-chroot-XXXXXX";
    int status = -1;
    if (mkdtemp(folder) == NULL)
        return 0;
    if (fork() == 0)
        _exit(within_chroot(folder) ? 0 : 1);
    wait(&status);
    rmdir(folder);
    printf("child %d\n", status);
    return status == 0;
}

/* Everything below /tmp is another's: a program that begins there cannot reach the file of the run. */
static int in_namespace(void)
{
    char folder[] = "/var/tmp/shmkit-run-space-XXXXXX";
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    int status = -1;
    if (length < 0 || unshare(CLONE_NEWNS) != 0 || mkdtemp(folder) == NULL)
        return 0;
    self[length] = 0;
    int fd = open(self, O_RDONLY);
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (mount("space", "/tmp", "tmpfs", 0, "size=1m") != 0)
        return 0;
    if (fork() == 0) {
        char *own[] = { "places", "closed_from_9", (char *)base, NULL };
        fexecve(fd, own, (char *[]){ NULL });
        _exit(9);
    }
    wait(&status);
    rmdir(folder);
    printf("child %d\n", status);
    return status == 0;
}

static int behind_the_library(void)
{
    int status = -1;
    fflush(stdout);
    long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        for (int i = 0; i < 50; i++)
            round_of(2000 + i);
        exit(failures ? 1 : 0);
    }
    round_of(3);
    waitpid((pid_t)child, &status, 0);
    printf("child %d\n", status);
    return status == 0;
}

static int small_stack_work(void *unused)
{
    (void)unused;
    round_of(4);
    return 0;
}

/* A thread with the smallest stack that the C library allows. */
static int small_stack(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16384);
    if (pthread_create(&thread, &attributes, (void *(*)(void *))(void *)small_stack_work, NULL) != 0)
        return 0;
    pthread_join(thread, NULL);
    return 1;
}

int main(int count, char **arguments)
{
    const char *where = arguments[1];
    int good = 0;
    base = count > 2 ? arguments[2] : "places";
    if (!strcmp(where, "threads"))
        good = threads(count > 3 ? atoi(arguments[3]) : 1);
    else if (!strcmp(where, "signals"))
        good = signals();
    else if (!strcmp(where, "cancellation"))
        good = cancellation();
    else if (!strcmp(where, "cancelled_failures"))
        good = cancelled_within("failures", 1, 20);
    else if (!strcmp(where, "cancelled_posts"))
        good = cancelled_within("posts", 1, 20);
    else if (!strcmp(where, "cancelled_contention"))
        good = cancelled_within("contention", 8, 30);
    else if (!strcmp(where, "closed_from_3"))
        good = closed_from(3);
    else if (!strcmp(where, "closed_from_9"))
        good = closed_from(9);
    else if (!strcmp(where, "closed_standard"))
        good = closed_standard();
    else if (!strcmp(where, "chroot"))
        good = in_chroot();
    else if (!strcmp(where, "namespace"))
        good = in_namespace();
    else if (!strcmp(where, "clone"))
        good = behind_the_library();
    else if (!strcmp(where, "small_stack"))
        good = small_stack();
    printf("%s, %s\n", good ? "good" : "bad", failures ? "with failures" : "without failures");
    fflush(stdout);
    return good && !failures ? 0 : 1;
}
