/* The mode is written in decimal: 666 is 01232, and nobody but root can open the object again. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    int fd = shm_open("/settings", O_CREAT | O_EXCL | O_RDWR, 666);
    if (fd == -1)
        return perror("shm_open"), 1;
    int again = shm_open("/settings", O_RDWR, 0);
    if (again == -1)
        perror("shm_open again");
    else
        close(again);
    close(fd);
    shm_unlink("/settings");
    return 0;
}
