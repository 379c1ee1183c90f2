/* Reads the greeting that 15_hello_write left in a region of shared memory.
 * Run:   15_hello_read ADDRESS [--unlink]
 * Shows: a second program opens the region by its address, for reading only, and learns its size
 *        from it; --unlink removes the name when done. */
#include <stdio.h>
#include <string.h>

#include <shmkit.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc != 2 && !(argc == 3 && strcmp(argv[2], "--unlink") == 0)) {
        fprintf(stderr, "usage: %s ADDRESS [--unlink]\n", argv[0]);
        return 2;
    }

    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.read_only = 1;
    shmkit_region_t *region;
    if (shmkit_region_open(argv[1], &options, &region) != SHMKIT_OK)
        return failed();

    /* At most so many bytes: another program wrote them. */
    int size = (int)shmkit_region_size(region);
    printf("read  \"%.*s\" in %d bytes\n", size, (const char *)shmkit_region_data(region), size);

    int status = 0;
    if (argc == 3 && shmkit_region_unlink(region) != SHMKIT_OK)
        status = failed();
    if (shmkit_region_close(region) != SHMKIT_OK)
        status = failed();
    return status;
}
