/* The C half of a program that knows nothing of shmkit: standard calls, a failing one, a member called close.
 * Built with the drop-in header forced on; see unchanged.cpp. */
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct stream {
    int (*close)(int);
    int fd;
};

/* Maps a page of a memory file, lets it go, then asks for a mapping of no bytes. Gives the errno of that. */
int map_in_c(void);

int map_in_c(void)
{
    struct stream stream = { .close = close, .fd = memfd_create("unchanged", MFD_CLOEXEC) };
    struct stat status;
    char *bytes;

    if (stream.fd == -1 || ftruncate(stream.fd, 4096) != 0 || fstat(stream.fd, &status) != 0 || status.st_size != 4096)
        return -1;
    bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, stream.fd, 0);
    if (bytes == MAP_FAILED)
        return -2;
    bytes[4095] = 1;
    if (munmap(bytes, 4096) != 0)
        return -3;
    errno = 0;
    if (mmap(NULL, 0, PROT_READ, MAP_SHARED, stream.fd, 0) != MAP_FAILED)
        return -4;
    int failure = errno;
    return stream.close(stream.fd) == 0 ? failure : -5;
}
