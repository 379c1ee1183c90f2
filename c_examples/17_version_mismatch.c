/* Opens a region with definitions of its struct that are not the one it was made with.
 * Run:   17_version_mismatch
 * Shows: a program that was built with another struct is refused before it touches anything, and
 *        the words say what differs: name, version, size or alignment. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <shmkit.h>

/* The definition that the creator was built with. */
struct telemetry {
    uint64_t samples;
    float speed;
    float heading;
};

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Tries to open the region with a layout, and prints what comes of it. */
static int try_open(const char *address, const char *who, shmkit_layout_t layout)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.layout = layout;
    shmkit_region_t *region;
    shmkit_status_t status = shmkit_region_open(address, &options, &region);

    printf("%s\n    %s\n", who, shmkit_status_name(status));
    if (status == SHMKIT_OK)
        return shmkit_region_close(region) == SHMKIT_OK ? 0 : failed();
    const shmkit_error_t *error = shmkit_last_error();
    printf("    why: %s\n    fix: %s\n", error->cause, error->remedy);
    return status == SHMKIT_ERR_LAYOUT ? 0 : 1;
}

static int same_definition(const char *address)
{
    return try_open(address, "the same definition", SHMKIT_LAYOUT(struct telemetry, 3));
}

static int next_version(const char *address)
{
    struct telemetry {
        uint64_t samples;
        double speed;
        double heading;
    };
    return try_open(address, "changed, with a new version", SHMKIT_LAYOUT(struct telemetry, 4));
}

static int forgotten_version(const char *address)
{
    struct telemetry {
        uint64_t samples;
        double speed;
        double heading;
    };
    return try_open(address, "changed, version forgotten", SHMKIT_LAYOUT(struct telemetry, 3));
}

static int other_type(const char *address)
{
    struct settings {
        char text[16];
    };
    return try_open(address, "another type", SHMKIT_LAYOUT(struct settings, 3));
}

static int no_type(const char *address)
{
    shmkit_layout_t none = { 0 };
    return try_open(address, "no type named: it fits every region", none);
}

int main(void)
{
    char address[64];
    snprintf(address, sizeof address, "posix:/shmkit-17-%ld", (long)getpid());

    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = sizeof(struct telemetry);
    options.layout = SHMKIT_LAYOUT(struct telemetry, 3);
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();

    int status = same_definition(address) | next_version(address) | forgotten_version(address) |
                 other_type(address) | no_type(address);
    if (shmkit_region_unlink(region) != SHMKIT_OK)
        status = failed();
    if (shmkit_region_close(region) != SHMKIT_OK)
        status = failed();
    return status;
}
