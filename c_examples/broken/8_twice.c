/* A buffer that is unmapped twice: the second call may take away what another thread was given meanwhile. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *buffer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED)
        return perror("mmap"), 1;
    printf("first munmap: %d\n", munmap(buffer, page));
    printf("second munmap: %d\n", munmap(buffer, page));
    return 0;
}
