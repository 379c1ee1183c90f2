/* What tests/sync.rs runs under valgrind: threads of a process and a child share one page of every object, and lose no
 * update. Prints the count at the end. */
#include <pthread.h>
#include <shmkit.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, ROUNDS = 50 };

struct shared {
    shmkit_mutex_t mutex;
    shmkit_rwlock_t rwlock;
    shmkit_robust_sem_t robust;
    shmkit_barrier_t barrier;
    shmkit_once_t once;
    shmkit_cond_t cond;
    shmkit_sem_t sem;
    shmkit_event_t event;
    uint64_t count;
    uint64_t works;
};

static struct shared *shared;

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        shmkit_status_t status = (call);                                                                               \
        if (status != SHMKIT_OK) {                                                                                     \
            printf("%s: %s\n", #call, shmkit_last_error_message());                                                    \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static int work(void *user)
{
    shared->works += 1;
    return user != NULL;
}

static void rounds(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        TRY(shmkit_mutex_lock(&shared->mutex));
        shared->count += 1;
        TRY(shmkit_cond_signal(&shared->cond));
        TRY(shmkit_mutex_unlock(&shared->mutex));
        TRY(shmkit_rwlock_write_lock(&shared->rwlock));
        TRY(shmkit_rwlock_unlock(&shared->rwlock));
        TRY(shmkit_rwlock_read_lock(&shared->rwlock));
        TRY(shmkit_rwlock_unlock(&shared->rwlock));
        TRY(shmkit_semaphore_wait(&shared->sem));
        TRY(shmkit_semaphore_post(&shared->sem));
        TRY(shmkit_robust_sem_wait(&shared->robust));
        TRY(shmkit_robust_sem_post(&shared->robust));
        TRY(shmkit_once_run(&shared->once, work, NULL));
        TRY(shmkit_event_notify(&shared->event, 1));
    }
}

static void *thread(void *user)
{
    bool serial;
    TRY(shmkit_barrier_wait(&shared->barrier, &serial));
    rounds();
    return user;
}

/* Ends with everything held: the kernel gives it back. */
static void *dying(void *user)
{
    TRY(shmkit_mutex_lock(&shared->mutex));
    TRY(shmkit_rwlock_write_lock(&shared->rwlock));
    TRY(shmkit_robust_sem_wait(&shared->robust));
    return user;
}

int main(void)
{
    pthread_t threads[THREADS];
    uint32_t key, value;
    int status;

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return 1;
    TRY(shmkit_mutex_init(&shared->mutex));
    TRY(shmkit_rwlock_init(&shared->rwlock));
    TRY(shmkit_robust_sem_init(&shared->robust, 2));
    TRY(shmkit_barrier_init(&shared->barrier, THREADS));
    TRY(shmkit_cond_init(&shared->cond));
    TRY(shmkit_semaphore_init(&shared->sem, 1));
    TRY(shmkit_event_init(&shared->event));
    for (int index = 0; index < THREADS; index++)
        pthread_create(&threads[index], NULL, thread, NULL);
    for (int index = 0; index < THREADS; index++)
        pthread_join(threads[index], NULL);
    pid_t child = fork();
    if (child == 0) {
        rounds();
        _exit(0);
    }
    rounds();
    if (waitpid(child, &status, 0) != child || status != 0)
        return 1;
    pthread_create(&threads[0], NULL, dying, NULL);
    pthread_join(threads[0], NULL);
    if (shmkit_mutex_lock(&shared->mutex) != SHMKIT_ERR_OWNER_DIED ||
        shmkit_rwlock_read_lock(&shared->rwlock) != SHMKIT_ERR_OWNER_DIED)
        return 2;
    TRY(shmkit_mutex_consistent(&shared->mutex));
    TRY(shmkit_rwlock_consistent(&shared->rwlock));
    TRY(shmkit_rwlock_unlock(&shared->rwlock));
    TRY(shmkit_robust_sem_value(&shared->robust, &value));
    if (value != 2)
        return 3;
    if (shmkit_cond_timedwait(&shared->cond, &shared->mutex, 1000000) != SHMKIT_ERR_TIMEOUT)
        return 4;
    TRY(shmkit_event_prepare(&shared->event, &key));
    if (shmkit_event_timedwait(&shared->event, key, 1000000) != SHMKIT_ERR_TIMEOUT)
        return 5;
    TRY(shmkit_mutex_unlock(&shared->mutex));
    TRY(shmkit_mutex_destroy(&shared->mutex));
    TRY(shmkit_rwlock_destroy(&shared->rwlock));
    printf("%d %d\n", (int)shared->count, (int)shared->works);
    return munmap(shared, sizeof *shared);
}
