/* Writes ten records to a new POSIX shared memory object.
 * Run:   06_records_posix_write /NAME      (then 06_records_posix_read /NAME --unlink)
 * Shows: the object keeps the records after this program has ended, until it is unlinked. */
#include <stdio.h>

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

    return shmkit_munmap(people, sizeof *people) == -1 ? failed() : 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s /NAME\n", argv[0]);
        return 2;
    }
    const char *name = argv[1];

    int fd = shmkit_shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd == -1)
        return failed();
    int status = store(fd);
    if (shmkit_close(fd) == -1)
        status = failed();
    if (status == 0)
        printf("wrote %d people\n", PEOPLE);
    else if (shmkit_shm_unlink(name) == -1)
        failed();
    return status;
}
