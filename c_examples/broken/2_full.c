/* A frame buffer on a file system that cannot hold it: ftruncate says yes, and a later frame dies of SIGBUS. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FRAME = 1 << 20, FRAMES = 64 };

int main(void)
{
    int fd = shm_open("/frames", O_CREAT | O_RDWR, 0600);
    if (fd == -1)
        return perror("shm_open"), 1;
    shm_unlink("/frames");
    if (ftruncate(fd, (off_t)FRAME * FRAMES) == -1)
        return perror("ftruncate"), 1;
    char *frames = mmap(NULL, (size_t)FRAME * FRAMES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (frames == MAP_FAILED)
        return perror("mmap"), 1;
    for (int i = 0; i < FRAMES; i++)
        memset(frames + (size_t)i * FRAME, i, FRAME);
    printf("%d frames\n", FRAMES);
    return 0;
}
