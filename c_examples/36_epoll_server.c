/* A server that waits in one epoll loop for sockets and for a queue.
 * Run:   36_epoll_server SOCKET
 * Shows: a client needs only the path of a UNIX socket: over it it gets the region with the queue
 *        and an eventfd; questions go by the socket, bulk by the queue; the server sleeps on the
 *        eventfd, which clients write to only when it does. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { CLIENTS = 3, EACH = 500, BURST = 50 };

struct sample {
    uint32_t client, number;
};

struct server {
    shmkit_region_t *region;
    shmkit_queue_t queue;
    int listener, bell, epoll;
    int clients, gone;                  /* that came, and that left */
    uint64_t questions, samples, wakes;
    uint32_t last[CLIENTS];
};

#define SAMPLE (&SHMKIT_LAYOUT(struct sample, 1))

static int failed(const char *what)
{
    perror(what);
    return 0;
}

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

static int attach(shmkit_queue_t *queue, const shmkit_region_t *region)
{
    return is_ok(shmkit_queue_attach(queue, region, shmkit_region_data(region), shmkit_region_size(region), SAMPLE));
}

/* -------------------------------------------------------------------- a descriptor over a socket */

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static int send_fd(int socket, int fd)
{
    union control control = { 0 };
    struct iovec data = { .iov_base = "!", .iov_len = 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof control };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) == 1 || failed("sendmsg");
}

static int receive_fd(int socket, int *fd)
{
    union control control = { 0 };
    char byte;
    struct iovec data = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof control };
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
        return failed("recvmsg");
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(sizeof *fd)) {
        fprintf(stderr, "no descriptor came\n");
        return 0;
    }
    memcpy(fd, CMSG_DATA(header), sizeof *fd);
    return 1;
}

/* -------------------------------------------------------------------- the client */

static int ask(int socket, uint64_t *samples)
{
    char byte = '?';
    return (send(socket, &byte, 1, MSG_NOSIGNAL) == 1 && recv(socket, samples, sizeof *samples, 0) == sizeof *samples)
           || failed("the socket");
}

static int run_client(const struct sockaddr_un *address, uint32_t client)
{
    int socket_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), bell;
    if (socket_ == -1 || connect(socket_, (const struct sockaddr *)address, sizeof *address) != 0)
        return failed("connect");
    shmkit_region_t *region;
    shmkit_queue_t queue;
    uint64_t samples = 0;
    if (!is_ok(shmkit_region_recv(socket_, NULL, &region)) || !receive_fd(socket_, &bell) || !attach(&queue, region) ||
        !is_ok(shmkit_queue_set_notify_fd(&queue, bell)))
        return 0;
    for (uint32_t number = 1; number <= EACH; number++) {
        struct sample sample = { client, number };
        if (!is_ok(shmkit_queue_send(&queue, &sample, sizeof sample, SHMKIT_TIMEOUT_FOREVER)))
            return 0;
        if (number % BURST == 0 && !ask(socket_, &samples)) /* leaves the server the time to sleep */
            return 0;
    }
    return is_ok(shmkit_queue_detach(&queue)) && is_ok(shmkit_region_close(region)) && close(bell) == 0 &&
           close(socket_) == 0;
}

/* -------------------------------------------------------------------- the server */

static int watch(const struct server *server, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data = { .fd = fd } };
    return epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) == 0 || failed("epoll_ctl");
}

static int welcome(struct server *server)
{
    int client = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client == -1)
        return failed("accept");
    server->clients++;
    return is_ok(shmkit_region_send(server->region, client, SHMKIT_SEND_READ_WRITE)) && send_fd(client, server->bell) &&
           watch(server, client);
}

static int answer(struct server *server, int client)
{
    char byte;
    ssize_t size = recv(client, &byte, 1, 0);
    if (size == 0) {
        server->gone++;
        return close(client) == 0 || failed("close");
    }
    server->questions++;
    return (size == 1 && send(client, &server->samples, sizeof server->samples, MSG_NOSIGNAL) != -1) ||
           failed("the socket");
}

/* Takes what there is, until the queue is empty and the next one who sends will ring. */
static int drain(struct server *server)
{
    struct sample sample;
    size_t size;
    for (;;) {
        shmkit_status_t status = shmkit_queue_receive(&server->queue, &sample, sizeof sample, &size, 0);
        if (status == SHMKIT_ERR_AGAIN) {
            status = shmkit_queue_arm(&server->queue);
            if (status == SHMKIT_OK)
                return 1;
            if (status == SHMKIT_ERR_AGAIN)
                continue;
        }
        if (!is_ok(status))
            return 0;
        if (size != sizeof sample || sample.client >= CLIENTS || sample.number != server->last[sample.client] + 1) {
            fprintf(stderr, "a sample is not the one that was to come\n");
            return 0;
        }
        server->last[sample.client] = sample.number;
        server->samples++;
    }
}

static int rung(struct server *server)
{
    uint64_t times;
    server->wakes++;
    if (read(server->bell, &times, sizeof times) != sizeof times && errno != EAGAIN)
        return failed("eventfd");
    return drain(server);
}

static int serve(struct server *server)
{
    if (!drain(server))
        return 0;
    while (server->gone < CLIENTS) {
        struct epoll_event events[8];
        int count = epoll_wait(server->epoll, events, 8, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (!(fd == server->listener ? welcome(server) : fd == server->bell ? rung(server) : answer(server, fd)))
                return 0;
        }
        if (count == -1 && errno != EINTR)
            return failed("epoll_wait");
    }
    return drain(server);
}

static int begin(struct server *server, const struct sockaddr_un *address)
{
    shmkit_queue_options_t queue = SHMKIT_QUEUE_OPTIONS_INIT;
    queue.message_size = sizeof(struct sample);
    queue.layout = *SAMPLE;
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = shmkit_queue_size(&queue);
    options.init = make_queue;
    options.init_user = &queue;
    if (!is_ok(shmkit_region_create("memfd:queue", &options, &server->region)) ||
        !attach(&server->queue, server->region))
        return 0;
    server->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    server->epoll = epoll_create1(EPOLL_CLOEXEC);
    server->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (server->bell == -1 || server->epoll == -1 || server->listener == -1 ||
        bind(server->listener, (const struct sockaddr *)address, sizeof *address) != 0 ||
        listen(server->listener, CLIENTS) != 0)
        return failed("the server");
    return watch(server, server->bell) && watch(server, server->listener);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) {
        fprintf(stderr, "usage: %s SOCKET\n", argv[0]);
        return 2;
    }
    strcpy(address.sun_path, argv[1]);
    struct server server = { 0 };
    if (!begin(&server, &address))
        return 1;
    for (uint32_t client = 0; client < CLIENTS; client++)
        if (fork() == 0)
            _exit(!run_client(&address, client));
    int failed = !serve(&server), end;
    while (wait(&end) != -1)
        failed |= end != 0;
    printf("%d clients, %llu questions answered by socket, %llu samples taken from the queue\n", server.clients,
           (unsigned long long)server.questions, (unsigned long long)server.samples);
    printf("the bell rang at least once, and less often than samples came: %s\n",
           server.wakes > 0 && server.wakes < server.samples ? "yes" : "no");
    return failed | (unlink(address.sun_path) != 0) | !is_ok(shmkit_queue_detach(&server.queue)) |
           !is_ok(shmkit_region_close(server.region));
}
