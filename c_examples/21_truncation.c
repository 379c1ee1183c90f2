/* Lets another process take the memory of a region away while it is in use.
 * Run:   21_truncation
 * Shows: shmkit_region_copy_out() gives an error where memcpy would be killed by SIGBUS; with the
 *        guard on, even a touch by pointer gives zeros, and the end of the scope says so. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

#define SIZE 8192

static char address[64];

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static void print_result(const char *what, shmkit_status_t status)
{
    printf("    %-18s %s\n", what, shmkit_status_name(status));
}

/* Another program that knows the object's name, and nothing of regions. */
static int truncate_in_child(void)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == -1) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        int fd = shm_open(strchr(address, '/'), O_RDWR, 0);
        _exit(fd != -1 && ftruncate(fd, 0) == 0 ? 0 : 1);
    }
    int end;
    if (waitpid(child, &end, 0) == -1 || end != 0) {
        fprintf(stderr, "the other program failed\n");
        return 1;
    }
    printf("    (another program makes the object shorter)\n");
    return 0;
}

static shmkit_region_t *create(void)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = SIZE;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return NULL;
    memset(shmkit_region_data(region), 'x', SIZE);
    return region;
}

static int destroy(shmkit_region_t *region)
{
    /* The object is this very one, whatever is left of it. */
    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return 0;
}

static int copy_without_guard(void)
{
    char copy[SIZE];
    void *data;
    size_t size;
    shmkit_region_t *region = create();
    if (region == NULL)
        return failed();

    printf("without the guard: copies\n");
    print_result("copy_out", shmkit_region_copy_out(region, 0, copy, SIZE));
    /* A touch by pointer would not be safe, and the library does not pretend that it is. */
    print_result("access_begin", shmkit_region_access_begin(region, &data, &size));
    int status = truncate_in_child();
    print_result("copy_out", shmkit_region_copy_out(region, 0, copy, SIZE));
    return destroy(region) | status;
}

static int touch_with_guard(void)
{
    void *data;
    size_t size;
    shmkit_region_t *region = create();
    if (region == NULL)
        return failed();

    printf("with the guard: pointers too\n");
    print_result("access_begin", shmkit_region_access_begin(region, &data, &size));
    const volatile char *byte = data;
    printf("    a touch reads '%c'\n", byte[SIZE - 1]);
    int status = truncate_in_child();
    printf("    a touch reads %d\n", byte[SIZE - 1]);
    print_result("access_end", shmkit_region_access_end(region));
    return destroy(region) | status;
}

int main(void)
{
    snprintf(address, sizeof address, "posix:/shmkit-21-%ld", (long)getpid());

    int status = copy_without_guard();
    if (shmkit_guard_enable() != SHMKIT_OK)
        return failed();
    status |= touch_with_guard();
    return shmkit_guard_disable() == SHMKIT_OK ? status : failed();
}
