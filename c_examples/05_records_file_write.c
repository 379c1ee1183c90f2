/* Writes ten records to a new file through a mapping.
 * Run:   05_records_file_write FILE        (then 05_records_file_read FILE)
 * Shows: a structure stored to memory becomes the content of a file, with no call of write. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <shmkit.h>

#include "records.h"

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int store(int fd)
{
    /* Reserves the bytes: a full file system is an error here and not a SIGBUS below. */
    if (shmkit_posix_fallocate(fd, 0, sizeof(struct people)) != 0)
        return failed();
    struct people *people = shmkit_mmap(NULL, sizeof *people, PROT_READ | PROT_WRITE, MAP_SHARED,
                                        fd, 0);
    if (people == MAP_FAILED)
        return failed();

    store_people(people);

    int status = 0;
    if (shmkit_msync(people, sizeof *people, MS_SYNC) == -1)
        status = failed();
    if (shmkit_munmap(people, sizeof *people) == -1)
        status = failed();
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    const char *path = argv[1];

    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd == -1) {
        perror(path);
        return 1;
    }
    int status = store(fd);
    if (shmkit_close(fd) == -1)
        status = failed();
    if (status == 0)
        printf("wrote %d people\n", PEOPLE);
    else if (unlink(path) == -1)
        perror(path);
    return status;
}
