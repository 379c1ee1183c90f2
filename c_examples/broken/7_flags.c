/* Three slips that Linux takes in silence: O_EXCL without O_CREAT, MAP_SYNC without its partner, msync without a flag. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

int main(void)
{
    int fd = shm_open("/journal", O_CREAT | O_RDWR, 0600);
    if (fd == -1 || ftruncate(fd, 4096) == -1)
        return perror("shm_open"), 1;
    int owner = shm_open("/journal", O_EXCL | O_RDWR, 0600);
    printf("exclusive: %s\n", owner == -1 ? "refused" : "granted, and it excludes nobody");
    shm_unlink("/journal");
    char *journal = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_SYNC, fd, 0);
    if (journal == MAP_FAILED)
        return perror("mmap"), 1;
    printf("durable: %s\n", msync(journal, 4096, 0) == 0 ? "claimed, and nothing was written" : "refused");
    return 0;
}
