/* Raises a counter from several processes, guarded in turn by four classic locks and a robust mutex.
 * Run:   28_guards
 * Shows: without a guard raises are lost; a named semaphore, a semaphore in memory, a System V
 *        semaphore and a record lock lose none.  A program of the standard calls alone; built once
 *        as it is (with -pthread where the C library is old) and once with the options
 *        -include shmkit/dropin.h and -lshmkit, it prints the same, and there a shmkit_mutex_t
 *        takes its turn as well. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef SHMKIT_DROPIN_H
#include <shmkit.h>
#endif

enum { PROCESSES = 4, RAISES = 500 };

/* What the processes share. */
struct shared {
    volatile long count;
    sem_t semaphore;
#ifdef SHMKIT_DROPIN_H
    shmkit_mutex_t mutex;
#endif
};

/* What each of them uses; not every guard uses all of it. */
struct tools {
    struct shared *shared;
    sem_t *named;
    int set;
    int file;
};

struct guard {
    const char *name;
    int (*take)(const struct tools *tools);
    int (*give)(const struct tools *tools);
};

static int report(const char *call)
{
    perror(call);
    return 1;
}

static int nothing(const struct tools *tools)
{
    (void)tools;
    return 0;
}

/* Waits for a semaphore; a signal that comes meanwhile is no failure. */
static int wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) == -1)
        if (errno != EINTR)
            return report("sem_wait");
    return 0;
}

static int post(sem_t *semaphore)
{
    return sem_post(semaphore) == -1 ? report("sem_post") : 0;
}

static int take_named(const struct tools *tools)
{
    return wait_for(tools->named);
}

static int give_named(const struct tools *tools)
{
    return post(tools->named);
}

static int take_in_memory(const struct tools *tools)
{
    return wait_for(&tools->shared->semaphore);
}

static int give_in_memory(const struct tools *tools)
{
    return post(&tools->shared->semaphore);
}

/* With SEM_UNDO the kernel gives back what a process took that dies. */
static int change_set(const struct tools *tools, short change)
{
    struct sembuf step = { .sem_num = 0, .sem_op = change, .sem_flg = SEM_UNDO };
    return semop(tools->set, &step, 1) == -1 ? report("semop") : 0;
}

static int take_set(const struct tools *tools)
{
    return change_set(tools, -1);
}

static int give_set(const struct tools *tools)
{
    return change_set(tools, 1);
}

static int lock_byte(const struct tools *tools, short type)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
    return fcntl(tools->file, F_SETLKW, &lock) == -1 ? report("fcntl") : 0;
}

static int take_record(const struct tools *tools)
{
    return lock_byte(tools, F_WRLCK);
}

static int give_record(const struct tools *tools)
{
    return lock_byte(tools, F_UNLCK);
}

#ifdef SHMKIT_DROPIN_H
/* None of the processes dies here: SHMKIT_ERR_OWNER_DIED, which example 31 is about, would be a failure. */
static int take_robust(const struct tools *tools)
{
    if (shmkit_mutex_lock(&tools->shared->mutex) == SHMKIT_OK)
        return 0;
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int give_robust(const struct tools *tools)
{
    if (shmkit_mutex_unlock(&tools->shared->mutex) == SHMKIT_OK)
        return 0;
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}
#endif

/* Between the read and the write another process may run: that is what the guards are for. */
static int raise_count(const struct guard *guard, const struct tools *tools)
{
    for (int i = 0; i < RAISES; i++) {
        if (guard->take(tools) != 0)
            return 1;
        long count = tools->shared->count;
        if (i % 10 == 0)
            sched_yield();
        tools->shared->count = count + 1;
        if (guard->give(tools) != 0)
            return 1;
    }
    return 0;
}

static int run(const struct guard *guard, const struct tools *tools)
{
    int failed = 0, end;

    tools->shared->count = 0;
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        if (child == -1)
            failed = report("fork");
        if (child == 0)
            _exit(raise_count(guard, tools));
    }
    while (wait(&end) != -1)
        failed |= end != 0;
    printf("%-22s %4ld of %d\n", guard->name, tools->shared->count, PROCESSES * RAISES);
    fflush(stdout);
    return failed;
}

static int run_all(const struct tools *tools)
{
    static const struct guard guards[] = {
        { "no guard", nothing, nothing },
        { "named semaphore", take_named, give_named },
        { "semaphore in memory", take_in_memory, give_in_memory },
        { "System V semaphore", take_set, give_set },
        { "record lock", take_record, give_record },
#ifdef SHMKIT_DROPIN_H
        { "robust mutex", take_robust, give_robust },
#endif
    };
    int failed = 0;

    for (size_t i = 0; i < sizeof guards / sizeof *guards; i++)
        failed |= run(&guards[i], tools);
    return failed;
}

/* A set of one semaphore with the value 1, made for the forked processes alone. */
static int make_set(void)
{
    int set = semget(IPC_PRIVATE, 1, 0600);
    if (set == -1) {
        report("semget");
    } else if (semctl(set, 0, SETVAL, 1) == -1) {
        report("semctl");
        semctl(set, 0, IPC_RMID);
        set = -1;
    }
    return set;
}

/* A file to lock a byte of, without a name. */
static int make_file(void)
{
    char name[] = "/tmp/guards-XXXXXX";
    int file = mkstemp(name);
    if (file == -1)
        report("mkstemp");
    else
        unlink(name);
    return file;
}

/* The name is needed only until the semaphore is open: forked processes have it open too. */
static sem_t *make_named(void)
{
    char name[64];
    snprintf(name, sizeof name, "/guards-%ld", (long)getpid());
    sem_t *named = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    if (named == SEM_FAILED)
        report("sem_open");
    else if (sem_unlink(name) == -1)
        report("sem_unlink");
    return named;
}

int main(void)
{
    int failed = 1;
    struct tools tools = { .set = make_set(), .file = make_file(), .named = make_named() };

    tools.shared = mmap(NULL, sizeof *tools.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tools.shared == MAP_FAILED)
        report("mmap");
    else if (sem_init(&tools.shared->semaphore, 1, 1) == -1)
        report("sem_init");
#ifdef SHMKIT_DROPIN_H
    else if (shmkit_mutex_init(&tools.shared->mutex) != SHMKIT_OK)
        fprintf(stderr, "%s\n", shmkit_last_error_message());
#endif
    else if (tools.set != -1 && tools.file != -1 && tools.named != SEM_FAILED)
        failed = run_all(&tools);

    if (tools.shared != MAP_FAILED && sem_destroy(&tools.shared->semaphore) == -1)
        failed = report("sem_destroy");
    if (tools.named != SEM_FAILED && sem_close(tools.named) == -1)
        failed = report("sem_close");
    if (tools.set != -1 && semctl(tools.set, 0, IPC_RMID) == -1)
        failed = report("semctl");
    return failed;
}
