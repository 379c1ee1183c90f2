/* A server that consumes what producer clients put into a ring of fixed size in a POSIX object.
 * Run:   30_producers ADDRESS        (posix:/NAME)
 * Shows: a mutex and two condition variables; producers that do not wait and count what found no
 *        room, and producers that wait until there is some; nothing is lost without being counted. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { PRODUCERS = 3, EACH = 100, ROOM = 64 };

struct ring {
    shmkit_mutex_t lock;          /* guards what follows */
    shmkit_cond_t filled;         /* something was put in, or a producer is done */
    shmkit_cond_t emptied;        /* something was taken out */
    uint64_t taken, put;          /* so many ever */
    uint64_t overflow;            /* so many found no room */
    uint32_t done;                /* producers that are */
    uint32_t values[ROOM];
};

/* Returns whether a call went well, and says why it did not. */
static int is_ok(shmkit_status_t status)
{
    if (status != SHMKIT_OK)
        fprintf(stderr, "%s\n", shmkit_last_error_message());
    return status == SHMKIT_OK;
}

static int fill(void *data, size_t size, void *user)
{
    struct ring *ring = data;
    (void)size, (void)user;
    return !is_ok(shmkit_mutex_init(&ring->lock)) || !is_ok(shmkit_cond_init(&ring->filled)) ||
           !is_ok(shmkit_cond_init(&ring->emptied));
}

/* After SHMKIT_ERR_OWNER_DIED.  The counters are raised last, so whatever a dead one left is whole:
 * a value without its count was not put in, or not taken out. */
static int is_locked(struct ring *ring, shmkit_status_t status)
{
    return is_ok(status == SHMKIT_ERR_OWNER_DIED ? shmkit_mutex_consistent(&ring->lock) : status);
}

static int produce(struct ring *ring, uint32_t value, int patient)
{
    if (!is_locked(ring, shmkit_mutex_lock(&ring->lock)))
        return 0;
    while (patient && ring->put - ring->taken == ROOM)
        if (!is_locked(ring, shmkit_cond_wait(&ring->emptied, &ring->lock)))
            return 0;
    if (ring->put - ring->taken == ROOM) {
        ring->overflow++;
    } else {
        ring->values[ring->put % ROOM] = value;
        ring->put++;
    }
    return is_ok(shmkit_cond_signal(&ring->filled)) && is_ok(shmkit_mutex_unlock(&ring->lock));
}

/* A client. */
static int run_producer(const char *address, int patient)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.layout = SHMKIT_LAYOUT(struct ring, 1);
    shmkit_region_t *region;
    if (!is_ok(shmkit_region_open(address, &options, &region)))
        return 1;
    struct ring *ring = shmkit_region_data(region);
    for (uint32_t value = 1; value <= EACH; value++)
        if (!produce(ring, value, patient))
            return 1;
    if (!is_locked(ring, shmkit_mutex_lock(&ring->lock)))
        return 1;
    ring->done++;
    return is_ok(shmkit_cond_signal(&ring->filled)) && is_ok(shmkit_mutex_unlock(&ring->lock)) &&
           is_ok(shmkit_region_close(region)) ? 0 : 1;
}

/* Takes all there is until every producer is done; `late`: does not begin before. */
static int consume(struct ring *ring, int late, uint64_t *sum)
{
    *sum = 0;
    if (!is_locked(ring, shmkit_mutex_lock(&ring->lock)))
        return 0;
    for (;;) {
        if (ring->done == PRODUCERS && ring->put == ring->taken)
            return is_ok(shmkit_mutex_unlock(&ring->lock));
        if (ring->put == ring->taken || (late && ring->done < PRODUCERS)) {
            if (!is_locked(ring, shmkit_cond_wait(&ring->filled, &ring->lock)))
                return 0;
            continue;
        }
        *sum += ring->values[ring->taken % ROOM];
        ring->taken++;
        if (!is_ok(shmkit_cond_broadcast(&ring->emptied)))
            return 0;
    }
}

/* The server. */
static int show(const char *title, const char *address, int patient)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = sizeof(struct ring);
    options.layout = SHMKIT_LAYOUT(struct ring, 1);
    options.init = fill;
    shmkit_region_t *region;
    if (!is_ok(shmkit_region_create(address, &options, &region)))
        return 1;
    for (int i = 0; i < PRODUCERS; i++)
        if (fork() == 0)
            _exit(run_producer(address, patient));

    struct ring *ring = shmkit_region_data(region);
    uint64_t sum;
    int end, failed = !consume(ring, !patient, &sum);
    while (wait(&end) != -1)
        failed |= end != 0;
    printf("%s: %llu taken, %llu overflowed, of %d\n", title, (unsigned long long)ring->taken,
           (unsigned long long)ring->overflow, PRODUCERS * EACH);
    if (patient)
        printf("    their sum is %llu\n", (unsigned long long)sum);
    fflush(stdout);
    return failed | !is_ok(shmkit_region_unlink(region)) | !is_ok(shmkit_region_close(region));
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    int failed = show("producers that do not wait, and a server that comes late", argv[1], 0);
    return failed | show("producers that wait for room", argv[1], 1);
}
