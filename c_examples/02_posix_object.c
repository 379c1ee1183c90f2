/* Makes, sizes, inspects and unlinks a POSIX shared memory object.
 * Run:   02_posix_object
 * Shows: a new object is empty; ftruncate gives it its size; its memory outlives its name. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmkit.h>

#define OBJECT_SIZE 4096

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int inspect(const char *moment, int fd)
{
    struct stat info;
    if (shmkit_fstat(fd, &info) == -1)
        return failed();
    printf("%-10s size %4jd, mode %04o, owner is me: %s\n", moment, (intmax_t)info.st_size,
           (unsigned)(info.st_mode & 07777), info.st_uid == geteuid() ? "yes" : "no");
    return 0;
}

/* Sizes the object, maps it and writes a text into it.  Sets *text to the mapping. */
static int fill(int fd, char **text)
{
    if (inspect("created:", fd) != 0)
        return 1;
    if (shmkit_ftruncate(fd, OBJECT_SIZE) == -1)
        return failed();
    if (inspect("sized:", fd) != 0)
        return 1;

    void *memory = shmkit_mmap(NULL, OBJECT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return failed();
    *text = memory;
    strcpy(*text, "written before the unlink");
    return 0;
}

/* Uses the mapping of an object that has neither a name nor an open descriptor. */
static int use_nameless(const char *name, char *text)
{
    if (shmkit_shm_open(name, O_RDWR, 0) != -1) {
        fprintf(stderr, "%s can still be opened\n", name);
        return 1;
    }
    if (errno != ENOENT)
        return failed();
    printf("unlinked:  an open by name fails with ENOENT\n");

    printf("mapping:   \"%s\"\n", text);
    strcpy(text, "written after the unlink");
    printf("mapping:   \"%s\"\n", text);
    return shmkit_munmap(text, OBJECT_SIZE) == -1 ? failed() : 0;
}

int main(void)
{
    char name[64];
    snprintf(name, sizeof name, "/shmkit-02-%ld", (long)getpid());

    int fd = shmkit_shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd == -1)
        return failed();

    char *text = NULL;
    int status = fill(fd, &text);
    if (shmkit_close(fd) == -1)
        status = failed();
    if (shmkit_shm_unlink(name) == -1)
        status = failed();
    return status != 0 ? status : use_nameless(name, text);
}
