/* Grows a region in one process while another one has it open.
 * Run:   18_growth ADDRESS           (posix:/NAME or file:PATH)
 * Shows: the reader's pointer never moves and it maps nothing anew: its size follows, and what
 *        lies behind the old end can be read at once.  max_size bounds it: address space alone. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

#define FIRST 4096
#define MOST (1 << 20)

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* The other process: opens the region by its address, makes it larger, writes up to its new end. */
static int write_more(const char *address, size_t size, char mark)
{
    shmkit_region_t *region;
    if (shmkit_region_open(address, NULL, &region) != SHMKIT_OK)
        return failed();
    size_t before = shmkit_region_size(region);
    if (shmkit_region_grow(region, size) != SHMKIT_OK)
        return failed();
    memset((char *)shmkit_region_data(region) + before, mark, size - before);
    return shmkit_region_close(region) == SHMKIT_OK ? 0 : failed();
}

static int write_in_child(const char *address, size_t size, char mark)
{
    pid_t child = fork();
    if (child == -1) {
        perror("fork");
        return 1;
    }
    if (child == 0)
        _exit(write_more(address, size, mark));
    int end;
    if (waitpid(child, &end, 0) == -1 || !WIFEXITED(end) || WEXITSTATUS(end) != 0) {
        fprintf(stderr, "the writer failed\n");
        return 1;
    }
    return 0;
}

/* Keeps one pointer, and prints what it leads to each time the other process has written. */
static int follow(const char *address, shmkit_region_t *region)
{
    static const size_t sizes[] = { 5000, 100000, MOST };
    const char *data = shmkit_region_data(region);

    printf("%8s  %4s  %s\n", "size", "last", "pointer");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (write_in_child(address, sizes[i], (char)('a' + i)) != 0)
            return 1;
        size_t size = shmkit_region_size(region);
        printf("%8zu  %4c  %s\n", size, data[size - 1],
               data == shmkit_region_data(region) ? "the same" : "moved");
    }

    shmkit_status_t status = shmkit_region_grow(region, MOST + 1);
    printf("one byte more than max_size: %s\n", shmkit_status_name(status));
    return status == SHMKIT_ERR_TOO_BIG ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }

    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = FIRST;
    options.max_size = MOST;
    shmkit_region_t *region;
    if (shmkit_region_create(argv[1], &options, &region) != SHMKIT_OK)
        return failed();
    /* What is still in the buffer of stdout would belong to both processes after a fork. */
    setvbuf(stdout, NULL, _IOLBF, 0);

    int status = follow(argv[1], region);
    if (shmkit_region_unlink(region) != SHMKIT_OK)
        status = failed();
    if (shmkit_region_close(region) != SHMKIT_OK)
        status = failed();
    return status;
}
