/* Loads the library by dlopen while 200 threads run, each of which then locks: what is a thread's own must have room. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>

enum { THREADS = 200, MUTEX_SIZE = 64 };

static int (*lock)(void *);
static int (*unlock)(void *);
static sem_t loaded;
static char *page;

static void *use(void *number)
{
    char *mutex = page + MUTEX_SIZE * ((size_t)number % 8);
    while (sem_wait(&loaded) != 0)
        continue;
    for (int turn = 0; turn < 100; turn++)
        if (lock(mutex) != 0 || unlock(mutex) != 0)
            return page;
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc != 2 || page == MAP_FAILED || sem_init(&loaded, 0, 0) != 0)
        return 2;
    for (size_t number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, use, (void *)number) != 0)
            return 2;
    void *library = dlopen(argv[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    int (*init)(void *);
    *(void **)&init = dlsym(library, "shmkit_mutex_init");
    *(void **)&lock = dlsym(library, "shmkit_mutex_lock");
    *(void **)&unlock = dlsym(library, "shmkit_mutex_unlock");
    for (int number = 0; number < 8; number++)
        if (init(page + MUTEX_SIZE * number) != 0)
            return 1;
    for (int number = 0; number < THREADS; number++)
        sem_post(&loaded);
    int failed = 0;
    for (int number = 0; number < THREADS; number++) {
        void *result;
        if (pthread_join(threads[number], &result) != 0 || result != NULL)
            failed = 1;
    }
    return failed;
}
