/* Lets five processes share one struct, whichever of them comes first.
 * Run:   16_telemetry ADDRESS        (posix:/NAME, sysv:0xKEY or file:PATH)
 * Shows: open_or_create by all at once: one of them creates it, init runs once, and nobody sees
 *        the struct before init is done.  The layout keeps programs with another struct out. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

#define PROCESSES 5
#define SAMPLES 1000

/* What all of them share.  Lock-free atomics work between processes as they do between threads. */
struct telemetry {
    _Atomic uint64_t samples;
    _Atomic uint32_t inits;
    double speed; /* m/s */
};

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return -1;
}

/* Runs in the creator alone, before anybody else can open the region; its memory is zeros. */
static int init(void *data, size_t size, void *user)
{
    struct telemetry *telemetry = data;
    (void)size, (void)user;
    telemetry->speed = 12.5;
    telemetry->inits++;
    return 0;
}

/* Returns 1 if this process created the region, 0 if it opened it, -1 if it failed. */
static int take_part(const char *address)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = sizeof(struct telemetry);
    options.layout = SHMKIT_LAYOUT(struct telemetry, 3);
    options.init = init;

    shmkit_region_t *region;
    bool created;
    if (shmkit_region_open_or_create(address, &options, &region, &created) != SHMKIT_OK)
        return failed();

    struct telemetry *telemetry = shmkit_region_data(region);
    int status = telemetry->inits == 1 && telemetry->speed == 12.5 ? created : -1;
    for (int i = 0; i < SAMPLES; i++)
        telemetry->samples++;
    return shmkit_region_close(region) == SHMKIT_OK ? status : failed();
}

/* Starts the processes; counts those that created the region and those that failed. */
static int run_all(const char *address, int *creators, int *failures)
{
    for (int i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        if (child == -1) {
            perror("fork");
            return -1;
        }
        if (child == 0)
            _exit(take_part(address) + 1);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int end;
        if (wait(&end) == -1) {
            perror("wait");
            return -1;
        }
        *creators += WIFEXITED(end) && WEXITSTATUS(end) == 2;
        *failures += !WIFEXITED(end) || WEXITSTATUS(end) == 0;
    }
    return 0;
}

static int print_and_unlink(const char *address)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.layout = SHMKIT_LAYOUT(struct telemetry, 3);
    shmkit_region_t *region;
    if (shmkit_region_open(address, &options, &region) != SHMKIT_OK)
        return failed();
    struct telemetry *telemetry = shmkit_region_data(region);
    printf("samples %" PRIu64 ", speed %.1f m/s, init ran %" PRIu32 " time\n", telemetry->samples,
           telemetry->speed, telemetry->inits);
    int status = shmkit_region_unlink(region) == SHMKIT_OK ? 0 : failed();
    return shmkit_region_close(region) == SHMKIT_OK ? status : failed();
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }

    int creators = 0, failures = 0;
    if (run_all(argv[1], &creators, &failures) == -1)
        return 1;
    printf("processes %d, creators %d, failures %d\n", PROCESSES, creators, failures);
    return print_and_unlink(argv[1]) == 0 ? 0 : 1;
}
