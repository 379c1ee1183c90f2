/* A server and its clients over a POSIX object: the server creates it, the clients attach.
 * Run:   29_clients ADDRESS          (posix:/NAME)
 * Shows: clients find the object complete, send what they have, and are answered; a server that
 *        exits says so and removes the name; one that is killed says nothing, and its clients find
 *        out by the robust mutex that it holds all its life.  What it left is an orphan. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { CLIENTS = 6, SECOND = 1000000000 };

/* What server and clients share.  A client puts its number on the desk and waits for the answer. */
struct desk {
    shmkit_mutex_t alive;     /* held by the server for as long as it lives */
    shmkit_mutex_t lock;      /* guards what follows */
    shmkit_cond_t changed;
    uint32_t question;        /* 0: none */
    uint32_t answer;          /* 0: none */
    uint32_t watchers;        /* clients that stay until the server ends */
    enum { OPENING, OPEN, CLOSED } state;
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
    struct desk *desk = data;
    (void)size, (void)user;
    return !is_ok(shmkit_mutex_init(&desk->alive)) || !is_ok(shmkit_mutex_init(&desk->lock)) ||
           !is_ok(shmkit_cond_init(&desk->changed));
}

/* Who dies while it holds the lock may have left half a question or answer: both are withdrawn. */
static int lock(struct desk *desk)
{
    shmkit_status_t status = shmkit_mutex_lock(&desk->lock);
    if (status == SHMKIT_ERR_OWNER_DIED) {
        desk->question = desk->answer = 0;
        status = shmkit_mutex_consistent(&desk->lock);
    }
    return is_ok(status);
}

/* Waits a quarter of a second at most, so that a death of the other side is not slept over. */
static int wait_a_while(struct desk *desk)
{
    shmkit_status_t status = shmkit_cond_timedwait(&desk->changed, &desk->lock, SECOND / 4);
    if (status == SHMKIT_ERR_OWNER_DIED) {
        desk->question = desk->answer = 0;
        status = shmkit_mutex_consistent(&desk->lock);
    }
    return status == SHMKIT_ERR_TIMEOUT || is_ok(status);
}

/* With the lock held. */
static int give_way(struct desk *desk)
{
    return is_ok(shmkit_cond_broadcast(&desk->changed)) && is_ok(shmkit_mutex_unlock(&desk->lock));
}

static int open_desk(struct desk *desk)
{
    if (!is_ok(shmkit_mutex_lock(&desk->alive)) || !lock(desk))
        return 0;
    desk->state = OPEN;
    return give_way(desk);
}

static int serve(struct desk *desk)
{
    for (int served = 0; served < CLIENTS; served++) {
        if (!lock(desk))
            return 0;
        while (desk->question == 0 || desk->answer != 0)
            if (!wait_a_while(desk))
                return 0;
        desk->answer = desk->question * desk->question;
        if (!give_way(desk))
            return 0;
    }
    return 1;
}

static int run_server(const char *address, int killed)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = sizeof(struct desk);
    options.layout = SHMKIT_LAYOUT(struct desk, 1);
    options.init = fill;
    shmkit_region_t *region;
    if (!is_ok(shmkit_region_create(address, &options, &region)))
        return 1;
    struct desk *desk = shmkit_region_data(region);
    if (!open_desk(desk) || !serve(desk))
        return 1;
    if (killed)
        raise(SIGKILL);

    /* The last client has its answer when the desk is empty. */
    if (!lock(desk))
        return 1;
    while (desk->question != 0 || desk->watchers == 0)
        if (!wait_a_while(desk))
            return 1;
    desk->state = CLOSED;
    if (!give_way(desk) || !is_ok(shmkit_mutex_unlock(&desk->alive)))
        return 1;
    return is_ok(shmkit_region_unlink(region)) && is_ok(shmkit_region_close(region)) ? 0 : 1;
}

/* Whether the server's mutex is still held: it is free after its exit, and marked after its death. */
static int server_lives(struct desk *desk)
{
    shmkit_status_t status = shmkit_mutex_trylock(&desk->alive);
    if (status == SHMKIT_ERR_OWNER_DIED || status == SHMKIT_OK)
        shmkit_mutex_unlock(&desk->alive);
    return status == SHMKIT_ERR_BUSY;
}

/* A client: asks once, and checks the answer. */
static int ask(struct desk *desk, uint32_t number)
{
    if (!lock(desk))
        return 1;
    while (desk->question != 0)
        if (!wait_a_while(desk))
            return 1;
    desk->question = number;
    if (!is_ok(shmkit_cond_broadcast(&desk->changed)))
        return 1;
    while (desk->answer == 0)
        if (!wait_a_while(desk))
            return 1;
    int right = desk->answer == number * number;
    desk->question = desk->answer = 0;
    return give_way(desk) && right ? 0 : 1;
}

/* Waits until the object is there. */
static struct desk *attach(const char *address, shmkit_region_t **region)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.layout = SHMKIT_LAYOUT(struct desk, 1);
    shmkit_status_t status;
    for (int tries = 0; tries < 6000; tries++) {
        status = shmkit_region_open(address, &options, region);
        if (status != SHMKIT_ERR_NOT_FOUND)
            break;
        usleep(10000);
    }
    return is_ok(status) ? shmkit_region_data(*region) : NULL;
}

static int run_client(const char *address, uint32_t number)
{
    shmkit_region_t *region;
    struct desk *desk = attach(address, &region);
    return desk != NULL && ask(desk, number) == 0 && is_ok(shmkit_region_close(region)) ? 0 : 1;
}

/* What a client that stays sees of the server's end. */
static int watch(const char *address)
{
    shmkit_region_t *region;
    struct desk *desk = attach(address, &region);
    if (desk == NULL || !lock(desk))
        return 1;
    while (desk->state == OPENING)
        if (!wait_a_while(desk))
            return 1;
    desk->watchers++;
    if (!give_way(desk))
        return 1;
    while (server_lives(desk))
        usleep(1000);
    if (!lock(desk))
        return 1;
    printf("    a client sees: the server %s\n", desk->state == CLOSED ? "has gone in peace" : "died");
    fflush(stdout);
    return is_ok(shmkit_mutex_unlock(&desk->lock)) && is_ok(shmkit_region_close(region)) ? 0 : 1;
}

static int show(const char *title, const char *address, int killed)
{
    int end, served = 0, failed = 0;
    printf("%s:\n", title);
    fflush(stdout);
    pid_t watcher = fork();
    if (watcher == 0)
        _exit(watch(address));
    pid_t clients[CLIENTS];
    for (uint32_t i = 0; i < CLIENTS; i++)
        if ((clients[i] = fork()) == 0)
            _exit(run_client(address, i + 1));
    pid_t server = fork();
    if (server == 0)
        _exit(run_server(address, killed));

    for (int i = 0; i < CLIENTS; i++)
        served += waitpid(clients[i], &end, 0) == clients[i] && end == 0;
    failed |= waitpid(server, &end, 0) != server;
    int was_killed = WIFSIGNALED(end) && WTERMSIG(end) == SIGKILL;
    failed |= killed ? !was_killed : end != 0;
    failed |= waitpid(watcher, &end, 0) != watcher || end != 0;
    printf("    %d clients were served\n", served);
    return failed || served != CLIENTS;
}

static int show_left(const char *address)
{
    int32_t orphan;
    shmkit_status_t status = shmkit_region_is_orphan(address, &orphan);
    if (status == SHMKIT_ERR_NOT_FOUND)
        printf("    nothing is left\n");
    else if (is_ok(status))
        printf("    the object is left%s\n", orphan == SHMKIT_ANSWER_YES ? ", and nobody has it open" : "");
    return status != SHMKIT_OK && status != SHMKIT_ERR_NOT_FOUND;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    int failed = show("a server that exits", argv[1], 0) | show_left(argv[1]);
    failed |= show("a server that is killed", argv[1], 1) | show_left(argv[1]);
    return is_ok(shmkit_unlink(argv[1])) ? failed : 1;
}
