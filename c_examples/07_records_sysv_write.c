/* Writes ten records to a new System V segment.
 * Run:   07_records_sysv_write KEY         (KEY in hex; then 07_records_sysv_read KEY --remove)
 * Shows: the segment keeps the records after this program has ended, until it is removed. */
#include <stdio.h>

#include <shmkit.h>

#include "records.h"
#include "sysv_key.h"

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int store(int id)
{
    struct people *people = shmkit_shmat(id, NULL, 0);
    if (people == (void *)-1)
        return failed();

    store_people(people);

    return shmkit_shmdt(people) == -1 ? failed() : 0;
}

int main(int argc, char **argv)
{
    key_t key;
    if (argc != 2 || !read_key(argv[1], &key)) {
        fprintf(stderr, "usage: %s KEY    (hex, 1 to ffffffff)\n", argv[0]);
        return 2;
    }

    int id = shmkit_shmget(key, sizeof(struct people), IPC_CREAT | IPC_EXCL | 0600);
    if (id == -1)
        return failed();
    int status = store(id);
    if (status == 0)
        printf("wrote %d people\n", PEOPLE);
    else if (shmkit_shmctl(id, IPC_RMID, NULL) == -1)
        failed();
    return status;
}
