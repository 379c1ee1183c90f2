/* A library whose constructor waits for a thread of its own, while the loader is locked. The thread makes calls for the
 * first time, or breaks a rule, as the environment says. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sem_t ready;

static void *work(void *unused)
{
    (void)unused;
    if (getenv("PLUGIN_BREAKS") != NULL)
        close(12345);
    sem_post(&ready);
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    pthread_t thread;
    sem_init(&ready, 0, 0);
    pthread_create(&thread, NULL, work, NULL);
    sem_wait(&ready);
    pthread_join(thread, NULL);
    puts("plugin ready");
}
