/* Eight threads crash a hundred times each, and their handler leaves by a jump. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static char *at;
static atomic_int crashes, handled;
static _Thread_local sigjmp_buf out;

static void handle(int signal)
{
    (void)signal;
    handled++;
    siglongjmp(out, 1);
}

static void *work(void *unused)
{
    for (int i = 0; i < 100; i++) {
        crashes++;
        if (sigsetjmp(out, 1) == 0)
            *(volatile char *)at = 1;
    }
    return unused;
}

int main(int count, char **arguments)
{
    struct sigaction action = { .sa_handler = handle };
    char name[300];
    pthread_t all[8];
    snprintf(name, sizeof name, "/%s", count > 1 ? arguments[1] : "shmkit-crash-threads");
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    shm_unlink(name);
    at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    sigaction(SIGBUS, &action, NULL);
    for (int i = 0; i < 8; i++)
        pthread_create(&all[i], NULL, work, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(all[i], NULL);
    printf("8 threads, %d crashes, %d handled\n", crashes, handled);
    return 0;
}
