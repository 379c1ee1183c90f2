/* Shares a POSIX object with a program that uses plain shm_open, in both directions.
 * Run:   23_raw_posix
 * Shows: a raw region has no header, so that what other software made can be opened, and what is
 *        made here can be opened by it.  What the header gave is then up to the two programs. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <shmkit.h>

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

/* The other program: makes an object, of the standard calls alone. */
static int make_plainly(const char *name)
{
    int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd == -1)
        return failed_plainly(name);
    if (ftruncate(fd, SIZE) == -1)
        return failed_plainly("ftruncate");
    char *text = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED)
        return failed_plainly("mmap");
    strcpy(text, "written by plain calls");
    munmap(text, SIZE);
    close(fd);
    return 0;
}

/* The other program: reads an object of which it knows the name alone. */
static int read_plainly(const char *name)
{
    struct stat info;
    int fd = shm_open(name, O_RDONLY, 0);
    if (fd == -1 || fstat(fd, &info) == -1)
        return failed_plainly(name);
    char *text = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED)
        return failed_plainly("mmap");
    printf("plain calls see %jd bytes: \"%s\"\n", (intmax_t)info.st_size, text);
    munmap(text, (size_t)info.st_size);
    close(fd);
    return 0;
}

static int open_what_they_made(const char *address)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    shmkit_region_t *region;

    /* Without asking for it nothing is believed to be a region that does not say so. */
    shmkit_status_t status = shmkit_region_open(address, &options, &region);
    printf("opened as a region: %s\n", shmkit_status_name(status));
    if (status == SHMKIT_OK)
        return 1;

    options.raw = 1;
    if (shmkit_region_open(address, &options, &region) != SHMKIT_OK)
        return failed();
    printf("opened raw: %zu bytes, \"%s\"\n", shmkit_region_size(region),
           (const char *)shmkit_region_data(region));

    /* What needs a header or leases says so. */
    printf("grow: %s\n", shmkit_status_name(shmkit_region_grow(region, 2 * SIZE)));

    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return 0;
}

static int make_for_them(const char *address, const char *name)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = SIZE;
    options.raw = 1;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    strcpy(shmkit_region_data(region), "written in a raw region");

    int status = read_plainly(name);
    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return status;
}

int main(void)
{
    char address[64];
    snprintf(address, sizeof address, "posix:/shmkit-23-%ld", (long)getpid());
    /* The same name, as shm_open wants it. */
    const char *name = strchr(address, '/');

    int status = make_plainly(name);
    if (status == 0)
        status = open_what_they_made(address);
    if (status == 0)
        status = make_for_them(address, name);
    return status;
}
