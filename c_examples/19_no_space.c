/* Asks for more shared memory than there is.
 * Run:   19_no_space
 * Shows: plain calls succeed, and the bill comes later, as a SIGBUS at some touch; a region is
 *        refused at creation or growth, with the figures, and nothing changes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmkit.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static void print_failure(const char *what, shmkit_status_t status)
{
    printf("%s: %s\n", what, shmkit_status_name(status));
    if (status != SHMKIT_OK) {
        const shmkit_error_t *error = shmkit_last_error();
        printf("    why: %s\n    fix: %s\n", error->cause, error->remedy);
    }
}

/* ftruncate gives a length and promises no memory: it does not look at what is free. */
static int ask_plainly(const char *name, off_t size)
{
    int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd == -1) {
        perror(name);
        return 1;
    }
    int status = 0;
    if (ftruncate(fd, size) == 0) {
        printf("shm_open and ftruncate: done\n");
    } else {
        perror("ftruncate");
        status = 1;
    }
    close(fd);
    shm_unlink(name);
    return status;
}

static int ask_at_creation(const char *address, uint64_t size)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = size;
    shmkit_region_t *region;
    shmkit_status_t status = shmkit_region_create(address, &options, &region);
    print_failure("shmkit_region_create", status);
    if (status != SHMKIT_ERR_NO_SPACE)
        return 1;

    status = shmkit_region_open(address, NULL, &region);
    printf("what is left of it: %s\n", status == SHMKIT_ERR_NOT_FOUND ? "nothing" : "something");
    return status == SHMKIT_ERR_NOT_FOUND ? 0 : 1;
}

static int ask_at_growth(const char *address, uint64_t size)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = 4096;
    options.max_size = size;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    strcpy(shmkit_region_data(region), "still here");

    shmkit_status_t status = shmkit_region_grow(region, size);
    print_failure("shmkit_region_grow", status);
    printf("what it has: %zu bytes, \"%s\"\n", shmkit_region_size(region),
           (const char *)shmkit_region_data(region));

    int result = status == SHMKIT_ERR_NO_SPACE ? 0 : 1;
    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        result = failed();
    return result;
}

int main(void)
{
    shmkit_limits_t limits = SHMKIT_LIMITS_INIT;
    if (shmkit_limits(&limits) != SHMKIT_OK)
        return failed();
    if (limits.posix_capacity == 0) {
        fprintf(stderr, "the file system of POSIX objects has no bound here: nothing to show\n");
        return 1;
    }

    /* Twice what the file system has in all: that is refused before anything is allocated. */
    uint64_t size = 2 * limits.posix_capacity;
    char address[64];
    snprintf(address, sizeof address, "posix:/shmkit-19-%ld", (long)getpid());

    int status = ask_plainly(strchr(address, '/'), (off_t)size);
    if (status == 0)
        status = ask_at_creation(address, size);
    if (status == 0)
        status = ask_at_growth(address, size);
    return status;
}
