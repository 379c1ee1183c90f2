/* Reads the ten records that 05_records_file_write left in a file.
 * Run:   05_records_file_read FILE
 * Shows: a read-only mapping of a file that another program wrote, checked before it is used. */
#include <fcntl.h>
#include <stdio.h>

#include <shmkit.h>

#include "records.h"

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int print_records(const char *path, int fd)
{
    struct stat info;
    if (shmkit_fstat(fd, &info) == -1)
        return failed();
    if (info.st_size != sizeof(struct people)) {
        fprintf(stderr, "%s: not a file of %d people\n", path, PEOPLE);
        return 1;
    }
    struct people *people = shmkit_mmap(NULL, sizeof *people, PROT_READ, MAP_SHARED, fd, 0);
    if (people == MAP_FAILED)
        return failed();
    print_people(people);
    return shmkit_munmap(people, sizeof *people) == -1 ? failed() : 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    const char *path = argv[1];

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        perror(path);
        return 1;
    }
    int status = print_records(path, fd);
    if (shmkit_close(fd) == -1)
        status = failed();
    return status;
}
