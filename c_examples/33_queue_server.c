/* A server that takes messages of any size which many clients put into one queue.
 * Run:   33_queue_server ADDRESS     (posix:/NAME)
 * Shows: clients that drop what finds no room, and it is counted; clients that wait for room, and
 *        nothing is lost; messages written in place; a client killed in the midst of a message, and
 *        a server killed with one in its hands, under both promises of delivery. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { CLIENTS = 3, EACH = 100, ROOM = 64, LONGEST = 200 };

/* A message: `size` bytes of text follow, all of them `fill`. */
struct note {
    uint32_t client, number, size;
    char fill;
    char text[];
};

/* The queue as one process has it. */
struct desk {
    shmkit_region_t *region;
    shmkit_queue_t queue;
};

/* Returns whether a call went well, and says why it did not. */
static int is_ok(shmkit_status_t status)
{
    if (status != SHMKIT_OK)
        fprintf(stderr, "%s\n", shmkit_last_error_message());
    return status == SHMKIT_OK;
}

static int make_queue(void *data, size_t size, void *user)
{
    return !is_ok(shmkit_queue_init(data, size, user));
}

static int attach(struct desk *desk)
{
    return is_ok(shmkit_queue_attach(&desk->queue, desk->region, shmkit_region_data(desk->region),
                                     shmkit_region_size(desk->region), NULL));
}

/* Every process opens the region: by its lease the others know whether it lives. */
static int enter(struct desk *desk, const char *address)
{
    return is_ok(shmkit_region_open(address, NULL, &desk->region)) && attach(desk);
}

static int leave(struct desk *desk)
{
    return is_ok(shmkit_queue_detach(&desk->queue)) && is_ok(shmkit_region_close(desk->region));
}

/* Writes a note where the server will read it. */
static int write_note(struct desk *desk, uint32_t client, uint32_t number, int patient)
{
    void *room;
    uint32_t size = (client * 31 + number * 7) % (LONGEST - sizeof(struct note));
    shmkit_status_t status = shmkit_queue_reserve(&desk->queue, sizeof(struct note) + size, &room,
                                                  patient ? SHMKIT_TIMEOUT_FOREVER : 0);
    if (status == SHMKIT_ERR_AGAIN)
        return 1; /* dropped: the queue counts it */
    if (!is_ok(status))
        return 0;
    struct note *note = room;
    *note = (struct note){ client, number, size, (char)('a' + number % 26) };
    memset(note->text, note->fill, size);
    return is_ok(shmkit_queue_commit(&desk->queue, sizeof *note + size));
}

static int run_client(const char *address, uint32_t client, int patient)
{
    struct desk desk;
    if (!enter(&desk, address))
        return 1;
    for (uint32_t number = 1; number <= EACH; number++)
        if (!write_note(&desk, client, number, patient))
            return 1;
    return !leave(&desk);
}

static int is_whole(const struct note *note, size_t size)
{
    if (size < sizeof *note || size != sizeof *note + note->size)
        return 0;
    for (uint32_t i = 0; i < note->size; i++)
        if (note->text[i] != note->fill)
            return 0;
    return 1;
}

/* The server: reads in place, until the queue is closed and empty. */
static int serve(const char *address)
{
    struct desk desk;
    uint32_t last[CLIENTS] = { 0 };
    if (!enter(&desk, address))
        return 1;
    for (;;) {
        const void *data;
        size_t size;
        shmkit_status_t status = shmkit_queue_take(&desk.queue, &data, &size, SHMKIT_TIMEOUT_FOREVER);
        if (status == SHMKIT_ERR_CLOSED)
            return !leave(&desk);
        if (!is_ok(status))
            return 1;
        const struct note *note = data;
        if (!is_whole(note, size) || note->client >= CLIENTS || note->number <= last[note->client]) {
            fprintf(stderr, "a message is torn, or came out of its order\n");
            return 1;
        }
        last[note->client] = note->number;
        if (!is_ok(shmkit_queue_release(&desk.queue)))
            return 1;
    }
}

static int wait_for(int count)
{
    int end, failed = 0;
    while (count-- > 0)
        failed |= wait(&end) == -1 || end != 0;
    return failed;
}

static int show(const char *title, const char *address, int patient)
{
    shmkit_queue_options_t queue = SHMKIT_QUEUE_OPTIONS_INIT;
    queue.messages = ROOM;
    queue.message_size = LONGEST;
    queue.overflow = patient ? SHMKIT_OVERFLOW_BLOCK : SHMKIT_OVERFLOW_DROP;
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = shmkit_queue_size(&queue);
    options.init = make_queue;
    options.init_user = &queue;
    struct desk desk;
    if (!is_ok(shmkit_region_create(address, &options, &desk.region)) || !attach(&desk))
        return 1;

    if (patient && fork() == 0)
        _exit(serve(address));
    for (uint32_t client = 0; client < CLIENTS; client++)
        if (fork() == 0)
            _exit(run_client(address, client, patient));
    int failed = wait_for(CLIENTS);
    if (!patient && fork() == 0) /* comes late */
        _exit(serve(address));
    /* The server takes what is left, then learns that nothing comes any more. */
    if (!is_ok(shmkit_queue_close(&desk.queue)))
        return 1;
    failed |= wait_for(1);

    shmkit_queue_stat_t stat;
    failed |= !is_ok(shmkit_queue_stat(shmkit_region_data(desk.region), options.size, &stat));
    printf("%s: %llu taken, %llu overflowed, of %d\n", title, (unsigned long long)stat.taken,
           (unsigned long long)stat.dropped, CLIENTS * EACH);
    return failed | !is_ok(shmkit_region_unlink(desk.region)) | !leave(&desk);
}

/* Sends two notes, and dies in the midst of the one between them. */
static void die_sending(const char *address)
{
    struct desk desk;
    void *room;
    if (enter(&desk, address) && is_ok(shmkit_queue_send(&desk.queue, "one", 4, 0)) &&
        is_ok(shmkit_queue_reserve(&desk.queue, 4, &room, 0)))
        raise(SIGKILL);
}

static void die_taking(const char *address)
{
    struct desk desk;
    const void *data;
    size_t size;
    if (enter(&desk, address) && is_ok(shmkit_queue_take(&desk.queue, &data, &size, 0)))
        raise(SIGKILL);
}

static int kill_in(void (*work)(const char *), const char *address)
{
    int end;
    pid_t victim = fork();
    if (victim == 0) {
        work(address);
        _exit(1);
    }
    return waitpid(victim, &end, 0) == victim && WIFSIGNALED(end) && WTERMSIG(end) == SIGKILL;
}

static int show_deaths(const char *title, const char *address, int delivery)
{
    shmkit_queue_options_t queue = SHMKIT_QUEUE_OPTIONS_INIT;
    queue.messages = ROOM;
    queue.delivery = delivery;
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = shmkit_queue_size(&queue);
    options.init = make_queue;
    options.init_user = &queue;
    struct desk desk;
    if (!is_ok(shmkit_region_create(address, &options, &desk.region)) || !attach(&desk))
        return 1;
    if (!kill_in(die_sending, address) || !is_ok(shmkit_queue_send(&desk.queue, "two", 4, 0)) ||
        !kill_in(die_taking, address) || !is_ok(shmkit_queue_close(&desk.queue)))
        return 1;

    char text[256];
    size_t size;
    shmkit_status_t status;
    printf("%s:", title);
    while ((status = shmkit_queue_receive(&desk.queue, text, sizeof text, &size, SHMKIT_TIMEOUT_FOREVER)) == SHMKIT_OK)
        printf(" \"%s\"", text);
    shmkit_queue_stat_t stat;
    if (status != SHMKIT_ERR_CLOSED ||
        !is_ok(shmkit_queue_stat(shmkit_region_data(desk.region), options.size, &stat)))
        return 1;
    printf("; %llu lost, %llu given again\n", (unsigned long long)stat.lost, (unsigned long long)stat.again);
    return !is_ok(shmkit_region_unlink(desk.region)) | !leave(&desk);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* before a fork nothing is left in it */
    int failed = show("clients that drop, and a server that comes late", argv[1], 0);
    failed |= show("clients that wait for room", argv[1], 1);
    failed |= show_deaths("two killed, at least once", argv[1], SHMKIT_DELIVERY_AT_LEAST_ONCE);
    return failed | show_deaths("two killed, at most once", argv[1], SHMKIT_DELIVERY_AT_MOST_ONCE);
}
