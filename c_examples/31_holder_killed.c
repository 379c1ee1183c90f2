/* Kills a process while it holds each kind of lock, and goes on.
 * Run:   31_holder_killed
 * Shows: the next one is told that a mutex's holder or a writer died, has the lock, and repairs
 *        what it guards; a dead reader, and a permit of a dead one, disturb nobody; those who wait
 *        at a barrier are told that not all will come; work that is done once is done by the next.
 *        The objects lie in plain shared memory of mmap. */
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

struct shared {
    shmkit_mutex_t mutex;
    shmkit_rwlock_t rwlock;
    shmkit_robust_sem_t permits;
    shmkit_barrier_t barrier;
    shmkit_once_t once;
    int one, two;             /* equal, while nobody changes them */
    int pieces;               /* what the work that is done once makes */
};

/* Returns whether a call went well, and says why it did not. */
static int is_ok(shmkit_status_t status)
{
    if (status != SHMKIT_OK)
        fprintf(stderr, "%s\n", shmkit_last_error_message());
    return status == SHMKIT_OK;
}

static void die(void)
{
    raise(SIGKILL);
}

/* Changes the one half, and dies before the other. */
static void change_and_die(struct shared *shared)
{
    shared->one++;
    die();
}

static void die_with_mutex(struct shared *shared)
{
    if (is_ok(shmkit_mutex_lock(&shared->mutex)))
        change_and_die(shared);
}

static void die_writing(struct shared *shared)
{
    if (is_ok(shmkit_rwlock_write_lock(&shared->rwlock)))
        change_and_die(shared);
}

static void die_reading(struct shared *shared)
{
    if (is_ok(shmkit_rwlock_read_lock(&shared->rwlock)))
        die();
}

static void die_with_permits(struct shared *shared)
{
    if (is_ok(shmkit_robust_sem_wait(&shared->permits)) && is_ok(shmkit_robust_sem_wait(&shared->permits)))
        die();
}

static void die_before_barrier(struct shared *shared)
{
    if (is_ok(shmkit_barrier_join(&shared->barrier)))
        die();
}

static int work_and_die(void *user)
{
    ((struct shared *)user)->pieces = 1;
    die();
    return 0;
}

static void die_in_once(struct shared *shared)
{
    is_ok(shmkit_once_run(&shared->once, work_and_die, shared));
}

static void repair(struct shared *shared)
{
    printf("    one is %d and two is %d: repaired\n", shared->one, shared->two);
    shared->two = shared->one;
}

static int go_on_with_mutex(struct shared *shared)
{
    shmkit_status_t status = shmkit_mutex_lock(&shared->mutex);
    printf("    lock: %s\n", shmkit_status_name(status));
    if (status != SHMKIT_ERR_OWNER_DIED)
        return 0;
    repair(shared);
    return is_ok(shmkit_mutex_consistent(&shared->mutex)) && is_ok(shmkit_mutex_unlock(&shared->mutex)) &&
           is_ok(shmkit_mutex_lock(&shared->mutex)) && is_ok(shmkit_mutex_unlock(&shared->mutex));
}

/* A reader that finds a dead writer has the lock for writing, and may repair. */
static int go_on_after_writer(struct shared *shared)
{
    shmkit_status_t status = shmkit_rwlock_read_lock(&shared->rwlock);
    printf("    read lock: %s\n", shmkit_status_name(status));
    if (status != SHMKIT_ERR_OWNER_DIED)
        return 0;
    repair(shared);
    return is_ok(shmkit_rwlock_consistent(&shared->rwlock)) && is_ok(shmkit_rwlock_unlock(&shared->rwlock));
}

static int go_on_after_reader(struct shared *shared)
{
    shmkit_status_t status = shmkit_rwlock_write_lock(&shared->rwlock);
    printf("    write lock: %s\n", shmkit_status_name(status));
    return is_ok(status) && is_ok(shmkit_rwlock_unlock(&shared->rwlock));
}

static int go_on_with_permits(struct shared *shared)
{
    uint32_t free;
    for (int i = 0; i < 2; i++)
        if (!is_ok(shmkit_robust_sem_wait(&shared->permits)))
            return 0;
    printf("    wait, wait: both permits came back\n");
    return is_ok(shmkit_robust_sem_post(&shared->permits)) && is_ok(shmkit_robust_sem_post(&shared->permits)) &&
           is_ok(shmkit_robust_sem_value(&shared->permits, &free)) && free == 2;
}

static int go_on_at_barrier(struct shared *shared)
{
    shmkit_status_t status = shmkit_barrier_wait(&shared->barrier, NULL);
    printf("    wait: %s\n", shmkit_status_name(status));
    return status == SHMKIT_ERR_OWNER_DIED && is_ok(shmkit_barrier_reset(&shared->barrier));
}

static int work(void *user)
{
    struct shared *shared = user;
    printf("    run: begun before, %d piece is there; done from the beginning\n", shared->pieces);
    shared->pieces = 3;
    return 0;
}

static int go_on_with_once(struct shared *shared)
{
    return is_ok(shmkit_once_run(&shared->once, work, shared)) &&
           is_ok(shmkit_once_run(&shared->once, work, shared)) && shared->pieces == 3;
}

static int show(const char *title, struct shared *shared, void (*hold)(struct shared *), int (*go_on)(struct shared *))
{
    int end;
    printf("%s\n", title);
    fflush(stdout);
    pid_t victim = fork();
    if (victim == 0) {
        hold(shared);
        _exit(1);
    }
    if (waitpid(victim, &end, 0) == -1 || !WIFSIGNALED(end) || WTERMSIG(end) != SIGKILL) {
        fprintf(stderr, "the process was not killed\n");
        return 1;
    }
    int went_on = go_on(shared);
    fflush(stdout);
    return !went_on;
}

/* A shmkit_once_t that is all zeros needs nothing. */
static int make(struct shared *shared)
{
    return is_ok(shmkit_mutex_init(&shared->mutex)) && is_ok(shmkit_rwlock_init(&shared->rwlock)) &&
           is_ok(shmkit_robust_sem_init(&shared->permits, 2)) && is_ok(shmkit_barrier_init(&shared->barrier, 2));
}

int main(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    if (!make(shared))
        return 1;
    int failed = show("killed with the mutex", shared, die_with_mutex, go_on_with_mutex);
    failed |= show("killed while it wrote", shared, die_writing, go_on_after_writer);
    failed |= show("killed while it read", shared, die_reading, go_on_after_reader);
    failed |= show("killed with all permits of a robust semaphore", shared, die_with_permits, go_on_with_permits);
    failed |= show("killed before it came to the barrier", shared, die_before_barrier, go_on_at_barrier);
    failed |= show("killed in the midst of work that is done once", shared, die_in_once, go_on_with_once);
    return failed;
}
