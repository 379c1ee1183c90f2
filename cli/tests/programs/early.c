/* A library whose constructor makes calls before the interposer's has run: preloaded behind it, it is begun before it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

__attribute__((constructor)) static void begin(void)
{
    char name[300];
    const char *base = getenv("EARLY");
    snprintf(name, sizeof name, "/%s", base ? base : "shmkit-early");
    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
    int good = fd != -1 && ftruncate(fd, 4096) == 0;
    char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    good = good && at != MAP_FAILED;
    if (good)
        at[0] = 1;
    good = good && munmap(at, 4096) == 0 && close(fd) == 0 && shm_unlink(name) == 0;
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    good = good && id != -1 && shmctl(id, IPC_RMID, NULL) == 0;
    dprintf(1, "early %d\n", good);
}
