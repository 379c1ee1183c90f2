/* Reads the ten records that 07_records_sysv_write left in a System V segment.
 * Run:   07_records_sysv_read KEY [--remove]          (KEY in hex)
 * Shows: a second program finds the memory by its key; --remove ends the segment when done. */
#include <stdio.h>
#include <string.h>

#include <shmkit.h>

#include "records.h"
#include "sysv_key.h"

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int print_records(int id)
{
    struct shmid_ds info;
    if (shmkit_shmctl(id, IPC_STAT, &info) == -1)
        return failed();
    if (info.shm_segsz != sizeof(struct people)) {
        fprintf(stderr, "segment %d: not a segment of %d people\n", id, PEOPLE);
        return 1;
    }
    struct people *people = shmkit_shmat(id, NULL, SHM_RDONLY);
    if (people == (void *)-1)
        return failed();
    print_people(people);
    return shmkit_shmdt(people) == -1 ? failed() : 0;
}

int main(int argc, char **argv)
{
    key_t key;
    bool known = argc == 2 || (argc == 3 && strcmp(argv[2], "--remove") == 0);
    if (!known || !read_key(argv[1], &key)) {
        fprintf(stderr, "usage: %s KEY [--remove]    (hex, 1 to ffffffff)\n", argv[0]);
        return 2;
    }

    int id = shmkit_shmget(key, 0, 0);
    if (id == -1)
        return failed();
    int status = print_records(id);
    if (status == 0 && argc == 3 && shmkit_shmctl(id, IPC_RMID, NULL) == -1)
        status = failed();
    return status;
}
