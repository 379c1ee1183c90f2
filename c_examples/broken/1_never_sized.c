/* A telemetry writer that forgot ftruncate: the object has 0 bytes, and the first store dies of SIGBUS. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct telemetry {
    double speed, heading;
};

int main(void)
{
    int fd = shm_open("/telemetry", O_CREAT | O_RDWR, 0600);
    if (fd == -1)
        return perror("shm_open"), 1;
    shm_unlink("/telemetry");
    struct telemetry *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (t == MAP_FAILED)
        return perror("mmap"), 1;
    t->speed = 12.5;
    printf("speed %.1f\n", t->speed);
    return 0;
}
