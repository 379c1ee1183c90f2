/* Compares the ways to a System V key: ftok, a fixed key and IPC_PRIVATE.
 * Run:   12_keys KEY         (KEY in hex, of no existing segment)
 * Shows: what makes two keys equal, where ftok collides, and what IPC_PRIVATE and IPC_EXCL do. */
#include <errno.h>
#include <stdio.h>

#include <shmkit.h>

#include "sysv_key.h"

#define SIZE 1

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Prints whether two ids give the same key for a path. */
static int compare_ids(const char *path, int id, int other)
{
    key_t key = shmkit_ftok(path, id);
    if (key == -1)
        return failed();
    key_t other_key = shmkit_ftok(path, other);
    if (other_key == -1)
        return failed();
    printf("ftok of %s, ids %d and %d: %s\n", path, id, other,
           key == other_key ? "the same key" : "different keys");
    return 0;
}

static int compare_ftok(void)
{
    if (compare_ids("/", 1, 1) != 0 || compare_ids("/", 1, 2) != 0)
        return 1;
    /* Only the low 8 bits of the id count: 257 is 0x101. */
    if (compare_ids("/", 1, 0x101) != 0)
        return 1;

    if (shmkit_ftok("/no such path", 1) != -1) {
        fprintf(stderr, "ftok gave a key for a missing path\n");
        return 1;
    }
    if (errno != ENOENT)
        return failed();
    printf("ftok of a missing path: ENOENT\n");
    return 0;
}

/* Asks for the fixed key of an existing segment twice: once for a new one, once for any. */
static int ask_again(key_t key, int segment)
{
    if (shmkit_shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600) != -1) {
        fprintf(stderr, "the key was given to a second segment\n");
        return 1;
    }
    if (errno != EEXIST)
        return failed();
    printf("fixed key, IPC_CREAT | IPC_EXCL again: EEXIST\n");

    int found = shmkit_shmget(key, SIZE, IPC_CREAT | 0600);
    if (found == -1)
        return failed();
    printf("fixed key, IPC_CREAT alone: %s\n",
           found == segment ? "the same segment" : "another segment");
    return 0;
}

static int use_fixed_key(key_t key)
{
    int segment = shmkit_shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600);
    if (segment == -1)
        return failed();
    printf("fixed key, IPC_CREAT | IPC_EXCL: a new segment\n");

    int status = ask_again(key, segment);
    if (shmkit_shmctl(segment, IPC_RMID, NULL) == -1)
        status = failed();
    return status;
}

static int use_no_key(void)
{
    int first = shmkit_shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
    if (first == -1)
        return failed();

    int status = 0;
    int second = shmkit_shmget(IPC_PRIVATE, SIZE, IPC_CREAT | 0600);
    if (second == -1) {
        status = failed();
    } else {
        printf("IPC_PRIVATE twice: %s\n", first == second ? "the same segment" : "two segments");
        if (shmkit_shmctl(second, IPC_RMID, NULL) == -1)
            status = failed();
    }
    if (shmkit_shmctl(first, IPC_RMID, NULL) == -1)
        status = failed();
    return status;
}

int main(int argc, char **argv)
{
    key_t key;
    if (argc != 2 || !read_key(argv[1], &key)) {
        fprintf(stderr, "usage: %s KEY    (hex, 1 to ffffffff)\n", argv[0]);
        return 2;
    }
    if (compare_ftok() != 0 || use_fixed_key(key) != 0)
        return 1;
    return use_no_key();
}
