/* Shares a System V segment with a program that uses plain shmget, in both directions.
 * Run:   24_raw_sysv KEY             (in hex, as ipcs shows it)
 * Shows: as 23, by key: a raw region has no header and no semaphores beside it, so that it is a
 *        segment like any other; the kernel's count of attaches still says whether it is in use. */
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

#include <shmkit.h>

#include "sysv_key.h"

#define SIZE 4096

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int failed_plainly(const char *what)
{
    perror(what);
    return 1;
}

/* The other program: makes a segment, of the standard calls alone. */
static int make_plainly(key_t key)
{
    int id = shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0600);
    if (id == -1)
        return failed_plainly("shmget");
    char *text = shmat(id, NULL, 0);
    if (text == (void *)-1)
        return failed_plainly("shmat");
    strcpy(text, "written by plain calls");
    return shmdt(text) == -1 ? failed_plainly("shmdt") : 0;
}

/* The other program: reads a segment of which it knows the key alone. */
static int read_plainly(key_t key)
{
    struct shmid_ds info;
    int id = shmget(key, 0, 0);
    if (id == -1 || shmctl(id, IPC_STAT, &info) == -1)
        return failed_plainly("shmget or shmctl");
    char *text = shmat(id, NULL, SHM_RDONLY);
    if (text == (void *)-1)
        return failed_plainly("shmat");
    printf("plain calls see %zu bytes: \"%s\"\n", info.shm_segsz, text);
    return shmdt(text) == -1 ? failed_plainly("shmdt") : 0;
}

/* Without leases nothing proves that a segment is left over: nobody is attached, and somebody may
 * be about to attach it. */
static int print_orphan(const char *address)
{
    static const char *const words[] = {
        [SHMKIT_ANSWER_NO] = "no",
        [SHMKIT_ANSWER_YES] = "yes",
        [SHMKIT_ANSWER_UNKNOWN] = "unknown",
    };
    int32_t answer;
    if (shmkit_region_is_orphan(address, &answer) != SHMKIT_OK)
        return failed();
    printf("an orphan: %s\n", words[answer]);
    return 0;
}

static int open_what_they_made(const char *address)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    shmkit_region_t *region;

    /* Without asking for it nothing is believed to be a region that does not say so. */
    shmkit_status_t status = shmkit_region_open(address, &options, &region);
    printf("opened as a region: %s\n", shmkit_status_name(status));
    if (status == SHMKIT_OK || print_orphan(address) != 0)
        return 1;

    options.raw = 1;
    if (shmkit_region_open(address, &options, &region) != SHMKIT_OK)
        return failed();
    printf("opened raw: %zu bytes, \"%s\"\n", shmkit_region_size(region),
           (const char *)shmkit_region_data(region));
    if (print_orphan(address) != 0)
        return 1;

    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return 0;
}

static int make_for_them(const char *address, key_t key)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = SIZE;
    options.raw = 1;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    strcpy(shmkit_region_data(region), "written in a raw region");

    int status = read_plainly(key);
    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return status;
}

int main(int argc, char **argv)
{
    key_t key;
    if (argc != 2 || !read_key(argv[1], &key)) {
        fprintf(stderr, "usage: %s KEY, 1 to ffffffff in hex\n", argv[0]);
        return 2;
    }
    char address[32];
    snprintf(address, sizeof address, "sysv:0x%x", (unsigned)key);

    int status = make_plainly(key);
    if (status == 0)
        status = open_what_they_made(address);
    if (status == 0)
        status = make_for_them(address, key);
    return status;
}
