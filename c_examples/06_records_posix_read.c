/* Reads the ten records that 06_records_posix_write left in a POSIX shared memory object.
 * Run:   06_records_posix_read /NAME [--unlink]
 * Shows: a second program finds the memory by its name; --unlink removes the name when done. */
#include <stdio.h>
#include <string.h>

#include <shmkit.h>

#include "records.h"

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int print_records(const char *name, int fd)
{
    struct stat info;
    if (shmkit_fstat(fd, &info) == -1)
        return failed();
    if (info.st_size != sizeof(struct people)) {
        fprintf(stderr, "%s: not an object of %d people\n", name, PEOPLE);
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
    if (argc != 2 && !(argc == 3 && strcmp(argv[2], "--unlink") == 0)) {
        fprintf(stderr, "usage: %s /NAME [--unlink]\n", argv[0]);
        return 2;
    }
    const char *name = argv[1];

    int fd = shmkit_shm_open(name, O_RDONLY, 0);
    if (fd == -1)
        return failed();
    int status = print_records(name, fd);
    if (shmkit_close(fd) == -1)
        status = failed();
    if (status == 0 && argc == 3 && shmkit_shm_unlink(name) == -1)
        status = failed();
    return status;
}
