/* Leaves a greeting in a region of shared memory.
 * Run:   15_hello_write ADDRESS      (then 15_hello_read ADDRESS --unlink)
 *        ADDRESS is posix:/NAME, sysv:0xKEY or file:PATH
 * Shows: one call makes a region, of any kind, with its size and its space; what is written there
 *        stays after this program has ended, until somebody unlinks it. */
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
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }

    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = 64;
    shmkit_region_t *region;
    if (shmkit_region_create(argv[1], &options, &region) != SHMKIT_OK)
        return failed();

    strcpy(shmkit_region_data(region), "hello from another process");
    printf("wrote \"%s\"\n", (const char *)shmkit_region_data(region));
    return shmkit_region_close(region) == SHMKIT_OK ? 0 : failed();
}
