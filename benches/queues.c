/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What messages between processes cost: shmkit's ring and queue against a bare ring and a bare queue that do nothing for
 * safety (queues_bare.h), against the kernel's ways, Boost.Interprocess (QUEUES_BOOST) and iceoryx2 (a program of its own).
 * Two processes on two processors; every word of every message is written and read, by the same code for all. All sides of a
 * size are measured in turn, round by round, in this one run; printed are medians, of ratios too, and the bars.
 *
 * Who waits does it as its kind does: shmkit and Boost as they come, the kernel's in the kernel, bare ones and iceoryx2 by
 * turns of a pause instruction, with sched_yield(2) after each thousand, so that more processes than processors stall nobody.
 *
 * Run by scripts/bench. "--strict" makes a missed bar an error; "--rounds=N", "--size=BYTES" and "--sides=KEY,KEY" (as in
 * `sides` below) measure less; "--table=FILE" writes figures for scripts/bench-chart; "--iceoryx2=PROGRAM" and
 * "--folder=FOLDER" are what that side needs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <sched.h>
#include <shmkit.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queues_bare.h"
#include "queues_boost.h"
#include "queues_payload.h"

enum { LONGEST = 65536, CHANNELS = 2, ARENA = 1 << 20, MOST_ROUNDS = 31, MOST_TRIPS = 20000, TRIES = 4 };
enum { MANY_BYTES = 64, MANY = 150000, SLEEPS = 200, STREAM_BYTES = 65536, STREAM = 16384 };
static const double SPAN_NS = 1e7, PAUSE_NS = 2e5;
static const uint64_t END = UINT64_MAX;

/* What the processes of a measurement tell each other. */
struct shared {
    ALIGNED atomic_int ready, go;
    ALIGNED uint64_t sum;
    long taken_away;
    ALIGNED uint64_t sums[4], ends[4];
    ALIGNED atomic_uint ping_word, pong_word;
    uint64_t ping_at, pong_at;
    ALIGNED uint64_t latencies[SLEEPS];
};

static struct shared *s;
static unsigned char *arena[CHANNELS];
static shmkit_region_t *region;
static int cpus[4], cpu_count, near_cpu = -1, far_cpu = -1;
static double ns_per_tick;
static int sysv[CHANNELS] = { -1, -1 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline uint64_t ticks(void)
{
    return __builtin_ia32_rdtsc();
}

static _Noreturn __attribute__((cold, noinline)) void fail(const char *what)
{
    fprintf(stderr, "%s: %s; %s\n", what, strerror(errno), shmkit_last_error_message());
    exit(1);
}

static inline void must(int good, const char *what)
{
    if (__builtin_expect(!good, 0))
        fail(what);
}

#define OURS(call) must((call) == SHMKIT_OK, #call)

/* ------------------------------------------------------------------------------------------------------------------
 * Processes, and nothing left of them
 * ------------------------------------------------------------------------------------------------------------------ */

/* What has a name that outlives us: System V queues alone. Children die with us (PR_SET_PDEATHSIG). */
static void remove_queues(void)
{
    for (int i = 0; i < CHANNELS; i++) {
        if (sysv[i] >= 0)
            msgctl(sysv[i], IPC_RMID, NULL);
    }
}

static void on_end(int signal)
{
    remove_queues();
    raise(signal);
}

/* A child that fails lets nobody wait for it. */
static void on_child(int signal)
{
    (void)signal;
    siginfo_t info = { 0 };
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid && info.si_status != 0) {
        static const char what[] = "queues: a process of a measurement failed\n";
        (void)!write(2, what, sizeof what - 1);
        remove_queues();
        _exit(1);
    }
}

static void on_signals(void (*end)(int), void (*child)(int))
{
    struct sigaction action = { .sa_handler = end, .sa_flags = (int)SA_RESETHAND | SA_NODEFER };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action = (struct sigaction){ .sa_handler = child, .sa_flags = SA_RESTART | SA_NOCLDSTOP };
    sigaction(SIGCHLD, &action, NULL);
}

static pid_t fork_on(int cpu)
{
    fflush(NULL);
    pid_t parent = getpid(), child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        on_signals(SIG_DFL, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        must(payload_pin(cpu) == 0, "sched_setaffinity");
    }
    return child;
}

/* Between a name's making and its end nobody ends us. */
static void hold_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(how, &set, NULL);
}

static void join(pid_t child)
{
    int status;
    must(waitpid(child, &status, 0) == child, "waitpid");
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed");
}

/* ------------------------------------------------------------------------------------------------------------------
 * The sides: each can make a channel, take an end of it, send a message of a number and receive one.
 * Messages lie in 64 KiB, or where that is more in eight times their size; each side has the same, where it lets us choose.
 * ------------------------------------------------------------------------------------------------------------------ */

static ALIGNED unsigned char sent[64 + LONGEST], got[64 + LONGEST];

static size_t capacity_for(size_t size)
{
    return 8 * size > 65536 ? 8 * size : 65536;
}

/* Of cells of whole cache lines, with 16 bytes before the message. */
static size_t cells_for(size_t size)
{
    size_t cells = 8;
    while (2 * cells * size <= capacity_for(size) && cells < 1024)
        cells *= 2;
    return cells;
}

static uint64_t number_in(const void *message)
{
    return *(const uint64_t *)message;
}

static void no_end(int which)
{
    (void)which;
}

static void no_join(int which, int produces, size_t size)
{
    (void)which;
    (void)produces;
    (void)size;
}

/* shmkit's ring. */
static shmkit_ring_t rings[CHANNELS];

static const char *ring_make(int which, size_t size)
{
    OURS(shmkit_ring_init(arena[which], shmkit_ring_size(capacity_for(size)), NULL));
    return NULL;
}

static void ring_join(int which, int produces, size_t size)
{
    OURS(shmkit_ring_attach(&rings[which], arena[which], shmkit_ring_size(capacity_for(size)), NULL,
                            produces ? SHMKIT_RING_PRODUCE : SHMKIT_RING_CONSUME));
}

static void ring_leave(int which)
{
    OURS(shmkit_ring_detach(&rings[which]));
}

static inline uint64_t ring_send(int which, size_t size, uint64_t number)
{
    void *at;
    OURS(shmkit_ring_reserve(&rings[which], size, &at, SHMKIT_TIMEOUT_FOREVER));
    uint64_t sum = payload_fill(at, size, number);
    OURS(shmkit_ring_commit(&rings[which], size));
    return sum;
}

static inline uint64_t ring_receive(int which, size_t size, uint64_t *number)
{
    const void *at;
    size_t bytes;
    OURS(shmkit_ring_peek(&rings[which], &at, &bytes, SHMKIT_TIMEOUT_FOREVER));
    must(bytes == size, "a message of another size");
    *number = number_in(at);
    uint64_t sum = payload_sum(at, size);
    OURS(shmkit_ring_release(&rings[which], 1));
    return sum;
}

#define ring_copy_make ring_make
#define ring_copy_join ring_join
#define ring_copy_leave ring_leave

static inline uint64_t ring_copy_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent, size, number);
    OURS(shmkit_ring_write(&rings[which], sent, size, SHMKIT_TIMEOUT_FOREVER));
    return sum;
}

static inline uint64_t ring_copy_receive(int which, size_t size, uint64_t *number)
{
    size_t bytes;
    OURS(shmkit_ring_read(&rings[which], got, sizeof got, &bytes, SHMKIT_TIMEOUT_FOREVER));
    must(bytes == size, "a message of another size");
    *number = number_in(got);
    return payload_sum(got, size);
}

/* shmkit's queue, in place. */
static shmkit_queue_t queues[CHANNELS];

static shmkit_queue_options_t queue_options(size_t size)
{
    shmkit_queue_options_t options = SHMKIT_QUEUE_OPTIONS_INIT;
    options.messages = cells_for(size);
    options.message_size = size;
    return options;
}

static unsigned char *queue_at(int which)
{
    return (unsigned char *)shmkit_region_data(region) + (size_t)which * ARENA;
}

static const char *queue_make(int which, size_t size)
{
    shmkit_queue_options_t options = queue_options(size);
    OURS(shmkit_queue_init(queue_at(which), ARENA, &options));
    return NULL;
}

static void queue_join(int which, int produces, size_t size)
{
    (void)produces;
    (void)size;
    OURS(shmkit_queue_attach(&queues[which], region, queue_at(which), ARENA, NULL));
}

static void queue_leave(int which)
{
    OURS(shmkit_queue_detach(&queues[which]));
}

static inline uint64_t queue_send(int which, size_t size, uint64_t number)
{
    void *at;
    OURS(shmkit_queue_reserve(&queues[which], size, &at, SHMKIT_TIMEOUT_FOREVER));
    uint64_t sum = payload_fill(at, size, number);
    OURS(shmkit_queue_commit(&queues[which], size));
    return sum;
}

static inline uint64_t queue_receive(int which, size_t size, uint64_t *number)
{
    const void *at;
    size_t bytes;
    OURS(shmkit_queue_take(&queues[which], &at, &bytes, SHMKIT_TIMEOUT_FOREVER));
    must(bytes == size, "a message of another size");
    *number = number_in(at);
    uint64_t sum = payload_sum(at, size);
    OURS(shmkit_queue_release(&queues[which]));
    return sum;
}

/* The bare ring. */
static struct bare_end bare_ends[CHANNELS];

static const char *bare_make(int which, size_t size)
{
    (void)size;
    memset(arena[which], 0, BARE_HEAD);
    return NULL;
}

static void bare_join(int which, int produces, size_t size)
{
    (void)produces;
    bare_attach(&bare_ends[which], arena[which], capacity_for(size));
}

#define bare_leave no_end

static inline uint64_t bare_send(int which, size_t size, uint64_t number)
{
    struct bare_end *end = &bare_ends[which];
    uint64_t sum = payload_fill(bare_reserve(end, size), size, number);
    bare_commit(end, size);
    return sum;
}

static inline uint64_t bare_receive(int which, size_t size, uint64_t *number)
{
    struct bare_end *end = &bare_ends[which];
    size_t bytes;
    const void *at = bare_peek(end, &bytes);
    must(bytes == size, "a message of another size");
    *number = number_in(at);
    uint64_t sum = payload_sum(at, size);
    bare_release(end, bytes);
    return sum;
}

/* The same behind calls that are not inlined, as those of any library are. */
#define CALLED static __attribute__((noipa))

CALLED int called_reserve(struct bare_end *end, size_t size, void **at)
{
    *at = bare_reserve(end, size);
    return 0;
}

CALLED int called_commit(struct bare_end *end, size_t size)
{
    bare_commit(end, size);
    return 0;
}

CALLED int called_peek(struct bare_end *end, const void **at, size_t *bytes)
{
    *at = bare_peek(end, bytes);
    return 0;
}

CALLED int called_release(struct bare_end *end, size_t bytes)
{
    bare_release(end, bytes);
    return 0;
}

#define called_make bare_make
#define called_join bare_join
#define called_leave no_end

static inline uint64_t called_send(int which, size_t size, uint64_t number)
{
    void *at;
    must(called_reserve(&bare_ends[which], size, &at) == 0, "called_reserve");
    uint64_t sum = payload_fill(at, size, number);
    must(called_commit(&bare_ends[which], size) == 0, "called_commit");
    return sum;
}

static inline uint64_t called_receive(int which, size_t size, uint64_t *number)
{
    const void *at;
    size_t bytes;
    must(called_peek(&bare_ends[which], &at, &bytes) == 0, "called_peek");
    must(bytes == size, "a message of another size");
    *number = number_in(at);
    uint64_t sum = payload_sum(at, size);
    must(called_release(&bare_ends[which], bytes) == 0, "called_release");
    return sum;
}

#define bare_copy_make bare_make
#define bare_copy_join bare_join
#define bare_copy_leave no_end

static inline uint64_t bare_copy_send(int which, size_t size, uint64_t number)
{
    struct bare_end *end = &bare_ends[which];
    uint64_t sum = payload_fill(sent, size, number);
    memcpy(bare_reserve(end, size), sent, size);
    bare_commit(end, size);
    return sum;
}

static inline uint64_t bare_copy_receive(int which, size_t size, uint64_t *number)
{
    struct bare_end *end = &bare_ends[which];
    size_t bytes;
    const void *at = bare_peek(end, &bytes);
    must(bytes == size, "a message of another size");
    memcpy(got, at, bytes);
    bare_release(end, bytes);
    *number = number_in(got);
    return payload_sum(got, size);
}

/* What a copy in and a copy out allow: slots of one size, without lengths and without an end to care for. */
static struct slots slots[CHANNELS];

#define slots_make bare_make
#define slots_leave no_end

static void slots_join(int which, int produces, size_t size)
{
    (void)produces;
    slots_attach(&slots[which], arena[which], size, capacity_for(size) / size);
}

static inline uint64_t slots_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent, size, number);
    memcpy(slots_to_fill(&slots[which]), sent, size);
    slots_filled(&slots[which]);
    return sum;
}

static inline uint64_t slots_receive(int which, size_t size, uint64_t *number)
{
    memcpy(got, slots_to_empty(&slots[which]), size);
    slots_emptied(&slots[which]);
    *number = number_in(got);
    return payload_sum(got, size);
}

/* The bare queue of many to many. */
static struct vyukov vyukovs[CHANNELS];

static const char *vyukov_make(int which, size_t size)
{
    vyukov_attach(&vyukovs[which], arena[which], cells_for(size), size);
    vyukov_init(&vyukovs[which]);
    return NULL;
}

static void vyukov_join(int which, int produces, size_t size)
{
    (void)produces;
    vyukov_attach(&vyukovs[which], arena[which], cells_for(size), size);
}

#define vyukov_leave no_end

static inline uint64_t vyukov_send(int which, size_t size, uint64_t number)
{
    uint64_t position;
    struct vyukov_cell *cell = vyukov_claim(&vyukovs[which], &position);
    cell->length = size;
    uint64_t sum = payload_fill(cell->bytes, size, number);
    vyukov_commit(cell, position);
    return sum;
}

static inline uint64_t vyukov_receive(int which, size_t size, uint64_t *number)
{
    uint64_t position;
    struct vyukov_cell *cell = vyukov_take(&vyukovs[which], &position);
    must(cell->length == size, "a message of another size");
    *number = number_in(cell->bytes);
    uint64_t sum = payload_sum(cell->bytes, size);
    vyukov_release(&vyukovs[which], cell, position);
    return sum;
}

/* The same behind calls that are not inlined. */
CALLED int vyukov_called_claim(struct vyukov *queue, size_t size, struct vyukov_cell **cell, uint64_t *position)
{
    *cell = vyukov_claim(queue, position);
    (*cell)->length = size;
    return 0;
}

CALLED int vyukov_called_commit(struct vyukov_cell *cell, uint64_t position)
{
    vyukov_commit(cell, position);
    return 0;
}

CALLED int vyukov_called_take(struct vyukov *queue, struct vyukov_cell **cell, uint64_t *position)
{
    *cell = vyukov_take(queue, position);
    return 0;
}

CALLED int vyukov_called_release(struct vyukov *queue, struct vyukov_cell *cell, uint64_t position)
{
    vyukov_release(queue, cell, position);
    return 0;
}

#define vyukov_called_make vyukov_make
#define vyukov_called_join vyukov_join
#define vyukov_called_leave no_end

static inline uint64_t vyukov_called_send(int which, size_t size, uint64_t number)
{
    uint64_t position;
    struct vyukov_cell *cell;
    must(vyukov_called_claim(&vyukovs[which], size, &cell, &position) == 0, "vyukov_called_claim");
    uint64_t sum = payload_fill(cell->bytes, size, number);
    must(vyukov_called_commit(cell, position) == 0, "vyukov_called_commit");
    return sum;
}

static inline uint64_t vyukov_called_receive(int which, size_t size, uint64_t *number)
{
    uint64_t position;
    struct vyukov_cell *cell;
    must(vyukov_called_take(&vyukovs[which], &cell, &position) == 0, "vyukov_called_take");
    must(cell->length == size, "a message of another size");
    *number = number_in(cell->bytes);
    uint64_t sum = payload_sum(cell->bytes, size);
    must(vyukov_called_release(&vyukovs[which], cell, position) == 0, "vyukov_called_release");
    return sum;
}

/* Descriptors: [0] reads, [1] writes. */
static int fds[CHANNELS][2];

static void fd_leave(int which)
{
    close(fds[which][0]);
    close(fds[which][1]);
}

static const char *pipe_make(int which, size_t size)
{
    must(pipe2(fds[which], O_CLOEXEC) == 0, "pipe2");
    /* Beyond a limit it stays as it is. */
    (void)fcntl(fds[which][1], F_SETPIPE_SZ, (int)capacity_for(size));
    return NULL;
}

static inline void write_all(int fd, const unsigned char *from, size_t bytes)
{
    for (ssize_t n; bytes > 0; from += n, bytes -= (size_t)n) {
        n = write(fd, from, bytes);
        must(n > 0, "write");
    }
}

static inline void read_all(int fd, unsigned char *to, size_t bytes)
{
    for (ssize_t n; bytes > 0; to += n, bytes -= (size_t)n) {
        n = read(fd, to, bytes);
        must(n > 0, "read");
    }
}

#define pipe_join no_join
#define pipe_leave fd_leave

static inline uint64_t pipe_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent, size, number);
    write_all(fds[which][1], sent, size);
    return sum;
}

static inline uint64_t pipe_receive(int which, size_t size, uint64_t *number)
{
    read_all(fds[which][0], got, size);
    *number = number_in(got);
    return payload_sum(got, size);
}

static const char *sockets_make(int which, int type, size_t size)
{
    must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds[which]) == 0, "socketpair");
    int bytes = (int)capacity_for(size) * 2;
    (void)setsockopt(fds[which][1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return NULL;
}

#define SOCKETS(name, type)                                                                               \
    static const char *name##_make(int which, size_t size)                                                \
    {                                                                                                     \
        return sockets_make(which, type, size);                                                           \
    }

SOCKETS(stream, SOCK_STREAM)
SOCKETS(datagram, SOCK_DGRAM)
SOCKETS(seqpacket, SOCK_SEQPACKET)
#define stream_join no_join
#define stream_leave fd_leave
#define stream_send pipe_send
#define stream_receive pipe_receive
#define datagram_join no_join
#define datagram_leave fd_leave
#define datagram_send pipe_send
#define datagram_receive pipe_receive
#define seqpacket_join no_join
#define seqpacket_leave fd_leave
#define seqpacket_send pipe_send
#define seqpacket_receive pipe_receive

/* POSIX message queues: ten messages, as many as anybody may have. */
static mqd_t mqs[CHANNELS];

static const char *mq_make(int which, size_t size)
{
    char name[64];
    snprintf(name, sizeof name, "/shmkit-bench-%ld", (long)getpid());
    struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = (long)size };
    mqs[which] = mq_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600, &attr);
    if (mqs[which] == (mqd_t)-1)
        return errno == EINVAL || errno == EMFILE ? "above the limit" : "not on this machine";
    mq_unlink(name);
    return NULL;
}

#define mq_join no_join

static void mq_leave(int which)
{
    mq_close(mqs[which]);
}

static inline uint64_t mq_one_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent, size, number);
    must(mq_send(mqs[which], (const char *)sent, size, 0) == 0, "mq_send");
    return sum;
}

static inline uint64_t mq_one_receive(int which, size_t size, uint64_t *number)
{
    must(mq_receive(mqs[which], (char *)got, sizeof got, NULL) == (ssize_t)size, "mq_receive");
    *number = number_in(got);
    return payload_sum(got, size);
}

#define mq_one_make mq_make
#define mq_one_join mq_join
#define mq_one_leave mq_leave

/* System V message queues. The type is the word before the message. */
static const char *sysv_make(int which, size_t size)
{
    sysv[which] = msgget(IPC_PRIVATE, 0600);
    if (sysv[which] < 0)
        return "not on this machine";
    memcpy(sent + 56, &(long){ 1 }, sizeof(long));
    /* Try it: the limits are system-wide numbers. */
    if (msgsnd(sysv[which], sent + 56, size, IPC_NOWAIT) != 0 ||
        msgrcv(sysv[which], got + 56, size, 0, IPC_NOWAIT) < 0) {
        msgctl(sysv[which], IPC_RMID, NULL);
        sysv[which] = -1;
        return "above the limit";
    }
    return NULL;
}

#define sysv_join no_join

static void sysv_leave(int which)
{
    msgctl(sysv[which], IPC_RMID, NULL);
    sysv[which] = -1;
}

static inline uint64_t sysv_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent + 64, size, number);
    must(msgsnd(sysv[which], sent + 56, size, 0) == 0, "msgsnd");
    return sum;
}

static inline uint64_t sysv_receive(int which, size_t size, uint64_t *number)
{
    must(msgrcv(sysv[which], got + 56, LONGEST, 0, 0) == (ssize_t)size, "msgrcv");
    *number = number_in(got + 64);
    return payload_sum(got + 64, size);
}

#ifdef QUEUES_BOOST
static void *boosts[CHANNELS];

static const char *boost_make(int which, size_t size)
{
    boosts[which] = boost_queue_make(cells_for(size), size);
    return boosts[which] ? NULL : "it could not be made";
}

#define boost_join no_join

static void boost_leave(int which)
{
    boost_queue_end(boosts[which]);
}

static inline uint64_t boost_send(int which, size_t size, uint64_t number)
{
    uint64_t sum = payload_fill(sent, size, number);
    must(boost_queue_send(boosts[which], sent, size), "boost send");
    return sum;
}

static inline uint64_t boost_receive(int which, size_t size, uint64_t *number)
{
    must(boost_queue_receive(boosts[which], got, size), "boost receive");
    *number = number_in(got);
    return payload_sum(got, size);
}
#endif

/* ------------------------------------------------------------------------------------------------------------------
 * The loops, one machine code for each side
 * ------------------------------------------------------------------------------------------------------------------ */

struct side {
    /* NULL, or why it cannot be. Before the fork. */
    const char *(*make)(int which, size_t size);
    /* After it, in both processes. */
    void (*join)(int which, int produces, size_t size);
    void (*leave)(int which);
    uint64_t (*produce)(uint64_t from, uint64_t to, size_t size);
    uint64_t (*consume)(uint64_t from, uint64_t to, size_t size);
    uint64_t (*ping)(uint64_t from, uint64_t to, size_t size, uint64_t *times);
    uint64_t (*pong)(uint64_t from, uint64_t to, size_t size);
    uint64_t (*finish)(size_t size);
    uint64_t (*drain)(size_t size);
    uint64_t (*sleepy_ping)(uint64_t *latencies);
    uint64_t (*sleepy_pong)(uint64_t *latencies);
};

static void pause_a_while(void)
{
    uint64_t end = ticks() + (uint64_t)(PAUSE_NS / ns_per_tick);
    while (ticks() < end)
        __builtin_ia32_pause();
}

#define LOOPS(of)                                                                                         \
    static uint64_t of##_produce(uint64_t from, uint64_t to, size_t size)                                 \
    {                                                                                                     \
        uint64_t sum = 0;                                                                                 \
        for (uint64_t i = from; i < to; i++)                                                              \
            sum += of##_send(0, size, i);                                                                 \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_consume(uint64_t from, uint64_t to, size_t size)                                 \
    {                                                                                                     \
        uint64_t sum = 0, wrong = 0, number;                                                              \
        for (uint64_t i = from; i < to; i++) {                                                            \
            sum += of##_receive(0, size, &number);                                                        \
            wrong |= number ^ i;                                                                          \
        }                                                                                                 \
        must(wrong == 0, "messages out of order");                                                        \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_ping(uint64_t from, uint64_t to, size_t size, uint64_t *times)                   \
    {                                                                                                     \
        uint64_t sum = 0, wrong = 0, number, last = ticks(), now;                                         \
        for (uint64_t i = from; i < to; i++, last = now) {                                                \
            sum += of##_send(0, size, i);                                                                 \
            sum += of##_receive(1, size, &number);                                                        \
            wrong |= number ^ i;                                                                          \
            now = ticks();                                                                                \
            times[i - from] = now - last;                                                                 \
        }                                                                                                 \
        must(wrong == 0, "messages out of order");                                                        \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_pong(uint64_t from, uint64_t to, size_t size)                                    \
    {                                                                                                     \
        uint64_t sum = 0, number;                                                                         \
        for (uint64_t i = from; i < to; i++) {                                                            \
            sum += of##_receive(0, size, &number);                                                        \
            sum += of##_send(1, size, number);                                                            \
        }                                                                                                 \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_finish(size_t size)                                                              \
    {                                                                                                     \
        return of##_send(0, size, END);                                                                   \
    }                                                                                                     \
    static uint64_t of##_drain(size_t size)                                                               \
    {                                                                                                     \
        uint64_t sum = 0, number;                                                                         \
        do                                                                                                \
            sum += of##_receive(0, size, &number);                                                        \
        while (number != END);                                                                            \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_sleepy_ping(uint64_t *latencies)                                                 \
    {                                                                                                     \
        uint64_t sum = 0, number;                                                                         \
        for (int i = 0; i < SLEEPS; i++) {                                                                \
            pause_a_while();                                                                              \
            sum += of##_send(0, MANY_BYTES, ticks());                                                     \
            sum += of##_receive(1, MANY_BYTES, &number);                                                  \
            latencies[i] = ticks() - number;                                                              \
        }                                                                                                 \
        return sum;                                                                                       \
    }                                                                                                     \
    static uint64_t of##_sleepy_pong(uint64_t *latencies)                                                 \
    {                                                                                                     \
        uint64_t sum = 0, number;                                                                         \
        for (int i = 0; i < SLEEPS; i++) {                                                                \
            sum += of##_receive(0, MANY_BYTES, &number);                                                  \
            latencies[i] = ticks() - number;                                                              \
            pause_a_while();                                                                              \
            sum += of##_send(1, MANY_BYTES, ticks());                                                     \
        }                                                                                                 \
        return sum;                                                                                       \
    }                                                                                                     \
    static const struct side of##_side = { of##_make,        of##_join,       of##_leave,                 \
                                             of##_produce,     of##_consume,    of##_ping,                \
                                             of##_pong,        of##_finish,     of##_drain,               \
                                             of##_sleepy_ping, of##_sleepy_pong };

LOOPS(ring)
LOOPS(ring_copy)
LOOPS(queue)
LOOPS(bare)
LOOPS(called)
LOOPS(bare_copy)
LOOPS(slots)
LOOPS(vyukov)
LOOPS(vyukov_called)
LOOPS(pipe)
LOOPS(stream)
LOOPS(datagram)
LOOPS(seqpacket)
LOOPS(mq_one)
LOOPS(sysv)
#ifdef QUEUES_BOOST
LOOPS(boost)
#endif

/* The least that two sleeping processes can wake each other with. */
static void post_bare(atomic_uint *word)
{
    atomic_store(word, 1);
    must(syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) >= 0, "futex");
}

static void wait_bare(atomic_uint *word)
{
    while (atomic_exchange(word, 0) == 0)
        must(syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 || errno == EAGAIN, "futex");
}

static const char *futex_make(int which, size_t size)
{
    (void)which;
    (void)size;
    atomic_store(&s->ping_word, 0);
    atomic_store(&s->pong_word, 0);
    return NULL;
}

static inline uint64_t futex_send(int which, size_t size, uint64_t number)
{
    (void)size;
    *(which ? &s->pong_at : &s->ping_at) = number;
    post_bare(which ? &s->pong_word : &s->ping_word);
    return 0;
}

static inline uint64_t futex_receive(int which, size_t size, uint64_t *number)
{
    (void)size;
    wait_bare(which ? &s->pong_word : &s->ping_word);
    *number = which ? s->pong_at : s->ping_at;
    return 0;
}

#define futex_join no_join
#define futex_leave no_end
LOOPS(futex)

/* ------------------------------------------------------------------------------------------------------------------
 * The ways to measure one side once
 * ------------------------------------------------------------------------------------------------------------------ */

static const char *make(const struct side *side, int which, size_t size)
{
    hold_signals(SIG_BLOCK);
    const char *why = side ? side->make(which, size) : "not measured";
    hold_signals(SIG_UNBLOCK);
    return why;
}

enum { OF_RING, OF_RING_COPY, OF_QUEUE, OF_BARE, OF_CALLED, OF_BARE_COPY, OF_COPIES, OF_VYUKOV, OF_VYUKOV_CALLED, OF_ICEORYX2,
       OF_BOOST, OF_PIPE, OF_STREAM, OF_DATAGRAM, OF_SEQPACKET, OF_MQ, OF_SYSV, SIDES };

static const struct {
    const char *name, *key;
    const struct side *side;
} sides[SIDES] = {
    [OF_RING] = { "shmkit ring, in place", "ring", &ring_side },
    [OF_RING_COPY] = { "shmkit ring, by copy", "ring-copy", &ring_copy_side },
    [OF_QUEUE] = { "shmkit queue, in place", "queue", &queue_side },
    [OF_BARE] = { "bare ring, in place", "bare", &bare_side },
    [OF_CALLED] = { "bare ring, in place, behind calls", "called", &called_side },
    [OF_BARE_COPY] = { "bare ring, by copy", "bare-copy", &bare_copy_side },
    [OF_COPIES] = { "bare slots, memcpy in and out", "copies", &slots_side },
    [OF_VYUKOV] = { "bare Vyukov queue, in place", "vyukov", &vyukov_side },
    [OF_VYUKOV_CALLED] = { "bare Vyukov queue, behind calls", "vyukov-called", &vyukov_called_side },
    [OF_ICEORYX2] = { "iceoryx2 publish/subscribe, in place", "iceoryx2", NULL },
#ifdef QUEUES_BOOST
    [OF_BOOST] = { "Boost message_queue", "boost", &boost_side },
#else
    [OF_BOOST] = { "Boost message_queue", "boost", NULL },
#endif
    [OF_PIPE] = { "pipe", "pipe", &pipe_side },
    [OF_STREAM] = { "UNIX socket, stream", "stream", &stream_side },
    [OF_DATAGRAM] = { "UNIX socket, datagram", "datagram", &datagram_side },
    [OF_SEQPACKET] = { "UNIX socket, seqpacket", "seqpacket", &seqpacket_side },
    [OF_MQ] = { "POSIX message queue", "mq", &mq_one_side },
    [OF_SYSV] = { "System V message queue", "sysv", &sysv_side },
};

static const char *iceoryx2, *folder, *chosen;
static uint64_t times[MOST_TRIPS];

/* What was had: figures (messages a second; or p50, p99, p99.9 in ns), or why nothing was. */
struct had {
    const char *why;
    double figure[3];
    long taken_away;
};

static uint64_t warm_for(size_t size, uint64_t count)
{
    return count / 8 + 4 * cells_for(size);
}

/* The program of iceoryx2: its one line. Each time it has a name of its own, so that none that ended badly is in its way. */
static struct had ask_iceoryx2(int trips, size_t size, uint64_t count)
{
    static unsigned run;
    struct had had = { 0 };
    int out[2];
    if (!iceoryx2)
        return (struct had){ .why = "not measured" };
    must(pipe2(out, O_CLOEXEC) == 0, "pipe2");
    char words[6][32], prefix[64];
    /* scripts/bench removes what begins with the folder's name. */
    snprintf(prefix, sizeof prefix, "%.40s-%u_", strrchr(folder, '/') + 1, run++);
    uint64_t warm = trips ? count / 8 + 100 : warm_for(size, count);
    unsigned long numbers[6] = { size, count, warm, cells_for(size), (unsigned long)near_cpu, (unsigned long)far_cpu };
    for (int i = 0; i < 6; i++)
        snprintf(words[i], sizeof words[i], "%lu", numbers[i]);
    pid_t child = fork_on(near_cpu);
    if (child == 0) {
        dup2(out[1], 1);
        execl(iceoryx2, iceoryx2, trips ? "roundtrip" : "throughput", words[0], words[1], words[2], words[3], words[4],
              words[5], folder, prefix, (char *)NULL);
        fail(iceoryx2);
    }
    close(out[1]);
    char said[256];
    size_t length = 0;
    for (ssize_t n; (n = read(out[0], said + length, sizeof said - 1 - length)) > 0;)
        length += (size_t)n;
    said[length] = 0;
    close(out[0]);
    join(child);
    double took[3];
    if (trips) {
        must(sscanf(said, "%lf %lf %lf %ld", &took[0], &took[1], &took[2], &had.taken_away) == 4, "iceoryx2 said nothing");
        for (int i = 0; i < 3; i++)
            had.figure[i] = took[i] * ns_per_tick;
    } else {
        must(sscanf(said, "%lf %ld", &took[0], &had.taken_away) == 2, "iceoryx2 said nothing");
        had.figure[0] = (double)count / (took[0] * ns_per_tick) * 1e9;
    }
    return had;
}

/* Whether --sides, if it was given, has this one. */
static int is_chosen(int of)
{
    size_t length = strlen(sides[of].key);
    for (const char *at = chosen; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        if (strncmp(at, sides[of].key, length) == 0 && (at[length] == ',' || at[length] == 0))
            return 1;
    }
    return chosen == NULL;
}

static struct had try_throughput(int of, size_t size, uint64_t count)
{
    const struct side *side = sides[of].side;
    if (!is_chosen(of))
        return (struct had){ .why = "not measured" };
    if (of == OF_ICEORYX2)
        return ask_iceoryx2(0, size, count);
    struct had had = { make(side, 0, size), { 0 }, 0 };
    if (had.why)
        return had;
    uint64_t warm = warm_for(size, count);
    pid_t child = fork_on(far_cpu);
    if (child == 0) {
        side->join(0, 1, size);
        long before = payload_taken_away();
        s->sum = side->produce(0, warm + count, size);
        s->taken_away = payload_taken_away() - before;
        _exit(0);
    }
    side->join(0, 0, size);
    uint64_t sum = side->consume(0, warm, size);
    long before = payload_taken_away();
    double start = now_ns();
    sum += side->consume(warm, warm + count, size);
    had.figure[0] = (double)count / (now_ns() - start) * 1e9;
    had.taken_away = payload_taken_away() - before;
    join(child);
    had.taken_away += s->taken_away;
    side->leave(0);
    must(sum == s->sum, "the sums of both sides differ");
    return had;
}

static struct had try_trips(int of, size_t size, uint64_t count)
{
    const struct side *side = sides[of].side;
    if (!is_chosen(of))
        return (struct had){ .why = "not measured" };
    if (of == OF_ICEORYX2)
        return ask_iceoryx2(1, size, count);
    struct had had = { make(side, 0, size), { 0 }, 0 };
    if (had.why)
        return had;
    must(!make(side, 1, size), "a second channel");
    uint64_t warm = count / 8 + 100;
    warm = warm < MOST_TRIPS ? warm : MOST_TRIPS;
    pid_t child = fork_on(far_cpu);
    if (child == 0) {
        side->join(0, 0, size);
        side->join(1, 1, size);
        long before = payload_taken_away();
        s->sum = side->pong(0, warm + count, size);
        s->taken_away = payload_taken_away() - before;
        _exit(0);
    }
    side->join(0, 1, size);
    side->join(1, 0, size);
    uint64_t sum = side->ping(0, warm, size, times);
    long before = payload_taken_away();
    sum += side->ping(warm, warm + count, size, times);
    had.taken_away = payload_taken_away() - before;
    join(child);
    had.taken_away += s->taken_away;
    side->leave(0);
    side->leave(1);
    must(sum == s->sum, "the sums of both sides differ");
    uint64_t chosen[3];
    payload_percentiles(times, count, chosen);
    for (int i = 0; i < 3; i++)
        had.figure[i] = (double)chosen[i] * ns_per_tick;
    return had;
}

/* Both sides sleep before each message: the sum of the two ways, p50 in ns. */
static struct had try_sleepy(const struct side *side)
{
    struct had had = { make(side, 0, MANY_BYTES), { 0 }, 0 };
    had.why = had.why ? had.why : make(side, 1, MANY_BYTES);
    if (had.why)
        return had;
    pid_t child = fork_on(far_cpu);
    if (child == 0) {
        side->join(0, 0, MANY_BYTES);
        side->join(1, 1, MANY_BYTES);
        long before = payload_taken_away();
        s->sum = side->sleepy_pong(s->latencies);
        s->taken_away = payload_taken_away() - before;
        _exit(0);
    }
    side->join(0, 1, MANY_BYTES);
    side->join(1, 0, MANY_BYTES);
    long before = payload_taken_away();
    uint64_t sum = side->sleepy_ping(times);
    had.taken_away = payload_taken_away() - before;
    join(child);
    had.taken_away += s->taken_away;
    side->leave(0);
    side->leave(1);
    must(sum == s->sum, "the sums of both sides differ");
    uint64_t chosen[3];
    for (int i = 0; i < SLEEPS; i++)
        times[i] += s->latencies[i];
    payload_percentiles(times, SLEEPS, chosen);
    had.figure[0] = (double)chosen[0] * ns_per_tick;
    return had;
}

/* Two that send and two that receive: messages a second, all together. */
static struct had try_many(int of)
{
    const struct side *side = sides[of].side;
    if (!is_chosen(of))
        return (struct had){ .why = "not measured" };
    struct had had = { make(side, 0, MANY_BYTES), { 0 }, 0 };
    if (had.why)
        return had;
    atomic_store(&s->ready, 0);
    atomic_store(&s->go, 0);
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork_on(cpus[i % cpu_count]);
        if (children[i] == 0) {
            int produces = i % 2 == 0;
            side->join(0, produces, MANY_BYTES);
            atomic_fetch_add(&s->ready, 1);
            while (!atomic_load(&s->go))
                sched_yield();
            uint64_t first = (uint64_t)i << 32;
            s->sums[i] = produces ? side->produce(first, first + MANY, MANY_BYTES) + side->finish(MANY_BYTES)
                                  : side->drain(MANY_BYTES);
            s->ends[i] = ticks();
            _exit(0);
        }
    }
    while (atomic_load(&s->ready) < 4)
        sched_yield();
    uint64_t start = ticks(), end = 0;
    atomic_store(&s->go, 1);
    for (int i = 0; i < 4; i++) {
        join(children[i]);
        end = s->ends[i] > end ? s->ends[i] : end;
    }
    side->join(0, 0, MANY_BYTES);
    side->leave(0);
    must(s->sums[0] + s->sums[2] == s->sums[1] + s->sums[3], "the sums of both sides differ");
    had.figure[0] = 2.0 * MANY / ((double)(end - start) * ns_per_tick) * 1e9;
    return had;
}

/* ------------------------------------------------------------------------------------------------------------------
 * The rounds, and what is printed
 * ------------------------------------------------------------------------------------------------------------------ */

static const size_t sizes[] = { 8, 64, 256, 1024, 4096, 65536 };
enum { SIZES = sizeof sizes / sizeof *sizes, AT_64 = 1, AT_64K = 5 };

struct figures {
    const char *why;
    double round[3][MOST_ROUNDS];
};

static struct figures rates[SIZES][SIDES], trips[SIZES][SIDES], many[SIDES], streams[SIDES], sleepy[2];
static int rounds = 9, missed, not_measured;
static FILE *table;

static void keep(struct figures *figures, int round, struct had had)
{
    figures->why = had.why;
    for (int i = 0; i < 3; i++)
        figures->round[i][round] = had.figure[i];
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *all)
{
    double sorted[MOST_ROUNDS];
    memcpy(sorted, all, (size_t)rounds * sizeof *all);
    qsort(sorted, (size_t)rounds, sizeof *sorted, by_value);
    return sorted[rounds / 2];
}

/* The median of the rounds' ratios, not the ratio of medians: what disturbs a round disturbs both. */
static double ratio(const struct figures *ours, const struct figures *theirs, int which)
{
    double all[MOST_ROUNDS];
    for (int i = 0; i < rounds; i++)
        all[i] = ours->round[which][i] / theirs->round[which][i];
    return median(all);
}

/* What another program disturbed is measured again, a few times. */
static struct had undisturbed(struct had (*try)(int, size_t, uint64_t), int of, size_t size, uint64_t count)
{
    struct had had = try(of, size, count);
    for (int i = 1; i < TRIES && !had.why && had.taken_away; i++)
        had = try(of, size, count);
    return had;
}

static uint64_t between(uint64_t least, double wanted, uint64_t most)
{
    return wanted < (double)least ? least : wanted > (double)most ? most : (uint64_t)wanted;
}

static void measure_size(int at)
{
    size_t size = sizes[at];
    uint64_t counts[SIDES], trip_counts[SIDES];
    /* The first round tells how many messages take long enough, and is for warmth. */
    for (int of = 0; of < SIDES; of++) {
        struct had had = try_throughput(of, size, 2000);
        counts[of] = between(2000, had.figure[0] * SPAN_NS / 1e9, 4000000);
        had = try_trips(of, size, 500);
        trip_counts[of] = between(2000, SPAN_NS / (had.figure[0] > 0 ? had.figure[0] : 1), MOST_TRIPS);
    }
    for (int round = 0; round < rounds; round++) {
        for (int turn = 0; turn < SIDES; turn++) {
            int of = (turn + round) % SIDES;
            keep(&rates[at][of], round, undisturbed(try_throughput, of, size, counts[of]));
            keep(&trips[at][of], round, undisturbed(try_trips, of, size, trip_counts[of]));
        }
    }
}

/* A figure with three digits that count, in so many columns. */
static void put(double value, int columns)
{
    printf(" %*.*f", columns, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
}

static void print_size(int at)
{
    printf("\n%zu bytes%*s million/s   ratio    p50 ns   p99 ns p99.9 ns   ratio\n", sizes[at], sizes[at] < 10 ? 31 :
           sizes[at] < 100 ? 30 : sizes[at] < 1000 ? 29 : sizes[at] < 10000 ? 28 : 27, "");
    for (int of = 0; of < SIDES; of++) {
        const struct figures *rate = &rates[at][of], *trip = &trips[at][of];
        printf("%-38s", sides[of].name);
        if (rate->why) {
            printf(" %s\n", rate->why);
            if (table)
                fprintf(table, "why\t%zu\t%s\t%s\n", sizes[at], sides[of].key, rate->why);
            continue;
        }
        double figure[] = { median(rate->round[0]) / 1e6, ratio(&rates[at][OF_RING], rate, 0), median(trip->round[0]),
                            median(trip->round[1]), median(trip->round[2]), ratio(&trips[at][OF_RING], trip, 0) };
        static const int columns[] = { 9, 7, 9, 8, 8, 7 };
        for (int i = 0; i < 6; i++)
            put(figure[i], columns[i]);
        printf("\n");
        if (table) {
            fprintf(table, "rate\t%zu\t%s\t%.9g\t%.4g\n", sizes[at], sides[of].key, figure[0] * 1e6, figure[1]);
            fprintf(table, "trip\t%zu\t%s\t%.6g\t%.6g\t%.6g\t%.4g\n", sizes[at], sides[of].key, figure[2], figure[3],
                    figure[4], figure[5]);
        }
    }
    fflush(stdout);
}

enum bound { AT_MOST, AT_LEAST };

static void bar(const char *what, const struct figures *ours, const struct figures *theirs, enum bound bound, double bar)
{
    const char *sign = bound == AT_LEAST ? ">=" : "<=";
    if (ours->why || theirs->why) {
        printf("%-74s %7s  %s %5.2f  not measured\n", what, "-", sign, bar);
        not_measured++;
        return;
    }
    double had = ratio(ours, theirs, 0);
    int good = bound == AT_LEAST ? had >= bar : had <= bar;
    printf("%-74s %7.2f  %s %5.2f  %s\n", what, had, sign, bar, good ? "kept" : "MISSED");
    if (table)
        fprintf(table, "bar\t%s\t%.4g\t%s\t%.4g\t%s\n", what, had, sign, bar, good ? "kept" : "missed");
    missed += !good;
}

static void print_machine(void)
{
    char line[256], name[128] = "a processor without a name";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "model name : %127[^\n]", name) == 1)
            break;
    }
    if (file)
        fclose(file);
    struct utsname kernel;
    must(uname(&kernel) == 0, "uname");
    char version[2][64] = { "not measured", "not measured" };
#ifdef QUEUES_BOOST
    snprintf(version[0], sizeof version[0], "%s", boost_queue_version());
#endif
#ifdef ICEORYX2_VERSION
    if (iceoryx2)
        snprintf(version[1], sizeof version[1], "%s", ICEORYX2_VERSION);
#endif
    char machine[512];
    snprintf(machine, sizeof machine, "%s, %ld processors, Linux %.*s, glibc %s", name, sysconf(_SC_NPROCESSORS_ONLN),
             (int)strcspn(kernel.release, "-"), kernel.release, gnu_get_libc_version());
    printf("queues: %s\nBoost %s; iceoryx2 %s; medians of %d rounds, ratios are shmkit's ring in place to each\n", machine,
           version[0], version[1], rounds);
    if (table) {
        time_t now = time(NULL);
        char day[32];
        strftime(day, sizeof day, "%Y-%m-%d", gmtime(&now));
        fprintf(table, "machine\t%s\nversions\t%s\t%s\nrounds\t%d\nday\t%s\n", machine, version[0], version[1], rounds, day);
    }
    fflush(stdout);
}

static void measure_many(void)
{
    static const int which[] = { OF_QUEUE, OF_VYUKOV, OF_VYUKOV_CALLED, OF_BOOST };
    enum { COUNT = sizeof which / sizeof *which };
    for (int round = -1; round < rounds; round++) {
        for (int turn = 0; turn < COUNT; turn++) {
            int of = which[(turn + round + 1) % COUNT];
            keep(&many[of], round < 0 ? 0 : round, try_many(of));
        }
    }
    printf("\ntwo send, two receive, %d bytes         million/s   ratio (shmkit's queue to each)\n", MANY_BYTES);
    for (int i = 0; i < COUNT; i++) {
        const struct figures *one = &many[which[i]];
        printf("%-38s", sides[which[i]].name);
        if (one->why) {
            printf(" %s\n", one->why);
            continue;
        }
        double figure[] = { median(one->round[0]), ratio(&many[OF_QUEUE], one, 0) };
        put(figure[0] / 1e6, 9);
        put(figure[1], 7);
        printf("\n");
        if (table)
            fprintf(table, "many\t%s\t%.9g\t%.4g\n", sides[which[i]].key, figure[0], figure[1]);
    }
    fflush(stdout);
}

static struct had try_sleepy_of(int of, size_t size, uint64_t count)
{
    (void)size;
    (void)count;
    return try_sleepy(of == 0 ? &ring_side : &futex_side);
}

static void measure_sleepy(void)
{
    for (int round = -1; round < rounds; round++) {
        for (int turn = 0; turn < 2; turn++) {
            int of = (turn + round + 1) % 2;
            keep(&sleepy[of], round < 0 ? 0 : round, undisturbed(try_sleepy_of, of, 0, 0));
        }
    }
    printf("\nround trip of two that sleep             p50 us   ratio\n");
    for (int of = 0; of < 2; of++) {
        printf("%-38s", of == 0 ? sides[OF_RING].name : "bare futex");
        double figure[] = { median(sleepy[of].round[0]), ratio(&sleepy[0], &sleepy[of], 0) };
        put(figure[0] / 1e3, 9);
        put(figure[1], 7);
        printf("\n");
        if (table)
            fprintf(table, "sleepy\t%s\t%.6g\t%.4g\n", of == 0 ? "ring" : "futex", figure[0], figure[1]);
    }
    fflush(stdout);
}

static void measure_streams(void)
{
    static const int which[] = { OF_RING, OF_RING_COPY, OF_PIPE, OF_STREAM };
    for (int round = -1; round < rounds; round++) {
        for (int turn = 0; turn < 4; turn++) {
            int of = which[(turn + round + 1) % 4];
            /* A gibibyte takes long enough to be disturbed: ratios of rounds are what counts. */
            keep(&streams[of], round < 0 ? 0 : round, try_throughput(of, STREAM_BYTES, round < 0 ? STREAM / 16 : STREAM));
        }
    }
    printf("\na stream of 1 GiB, 64 KiB at a time         GB/s   ratio\n");
    for (int i = 0; i < 4; i++) {
        const struct figures *one = &streams[which[i]];
        if (one->why)
            continue;
        double figure[] = { median(one->round[0]) * STREAM_BYTES / 1e9, ratio(&streams[OF_RING], one, 0) };
        printf("%-38s", sides[which[i]].name);
        put(figure[0], 9);
        put(figure[1], 7);
        printf("\n");
        if (table)
            fprintf(table, "stream\t%s\t%.6g\t%.4g\n", sides[which[i]].key, figure[0], figure[1]);
    }
    fflush(stdout);
}

static void print_bars(void)
{
    const struct figures *rate = rates[AT_64], *trip = trips[AT_64], *rate_64k = rates[AT_64K];
    printf("\nbars%*s measured      bar\n", 69, "");
    bar("throughput, 64 bytes, ring in place / bare ring in place", &rate[OF_RING], &rate[OF_BARE], AT_LEAST, 0.9);
    bar("throughput, 64 bytes, ring in place / bare ring behind calls", &rate[OF_RING], &rate[OF_CALLED], AT_LEAST, 0.9);
    bar("throughput, 64 bytes, ring by copy / bare ring by copy", &rate[OF_RING_COPY], &rate[OF_BARE_COPY], AT_LEAST, 0.9);
    bar("throughput, 64 bytes, ring in place / iceoryx2 in place", &rate[OF_RING], &rate[OF_ICEORYX2], AT_LEAST, 20);
    bar("throughput, 64 bytes, ring by copy / Boost message_queue", &rate[OF_RING_COPY], &rate[OF_BOOST], AT_LEAST, 12);
    bar("round trip p50, 64 bytes, ring in place / bare ring in place", &trip[OF_RING], &trip[OF_BARE], AT_MOST, 1.1);
    bar("round trip p50, 64 bytes, ring in place / bare ring behind calls", &trip[OF_RING], &trip[OF_CALLED], AT_MOST, 1.1);
    bar("round trip p50, 64 bytes, ring in place / iceoryx2 in place", &trip[OF_RING], &trip[OF_ICEORYX2], AT_MOST, 0.35);
    bar("two send, two receive, 64 bytes, queue / Boost message_queue", &many[OF_QUEUE], &many[OF_BOOST], AT_LEAST, 3);
    bar("two send, two receive, 64 bytes, queue / bare Vyukov queue", &many[OF_QUEUE], &many[OF_VYUKOV], AT_LEAST, 0.9);
    bar("two send, two receive, 64 bytes, queue / bare Vyukov queue behind calls", &many[OF_QUEUE], &many[OF_VYUKOV_CALLED],
        AT_LEAST, 0.9);
    bar("throughput, 64 KiB, ring by copy / memcpy in and out", &rate_64k[OF_RING_COPY], &rate_64k[OF_COPIES], AT_LEAST, 0.9);
    bar("round trip of two that sleep, ring / bare futex", &sleepy[0], &sleepy[1], AT_MOST, 1.1);
    bar("stream of 1 GiB, ring by copy / pipe", &streams[OF_RING_COPY], &streams[OF_PIPE], AT_LEAST, 3);
    if (missed)
        printf("%d bars missed\n", missed);
    if (not_measured)
        printf("%d bars not measured\n", not_measured);
}

static void prepare(void)
{
    double start = now_ns();
    uint64_t first = ticks();
    while (now_ns() - start < 5e7) {
    }
    ns_per_tick = (now_ns() - start) / (double)(ticks() - first);
    s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(s != MAP_FAILED, "mmap");
    for (int i = 0; i < CHANNELS; i++) {
        arena[i] = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        must(arena[i] != MAP_FAILED, "mmap");
    }
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = CHANNELS * ARENA;
    options.space = SHMKIT_SPACE_POPULATE;
    OURS(shmkit_region_create("anon:", &options, &region));
}

int main(int argc, char **argv)
{
    int strict = 0;
    size_t only = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--strict") == 0)
            strict = 1;
        else if (strncmp(argv[i], "--rounds=", 9) == 0)
            rounds = atoi(argv[i] + 9);
        else if (strncmp(argv[i], "--size=", 7) == 0)
            only = (size_t)atol(argv[i] + 7);
        else if (strncmp(argv[i], "--sides=", 8) == 0)
            chosen = argv[i] + 8;
        else if (strncmp(argv[i], "--iceoryx2=", 11) == 0)
            iceoryx2 = argv[i] + 11;
        else if (strncmp(argv[i], "--folder=", 9) == 0)
            folder = argv[i] + 9;
        else if (strncmp(argv[i], "--table=", 8) == 0)
            must((table = fopen(argv[i] + 8, "we")) != NULL, argv[i] + 8);
        else {
            fprintf(stderr, "queues: %s is no option: --strict --rounds=N --size=BYTES --sides=KEY,KEY\n", argv[i]);
            return 2;
        }
    }
    if (rounds < 1 || rounds > MOST_ROUNDS || (iceoryx2 && !(folder && strchr(folder, '/')))) {
        fprintf(stderr, "queues: 1 to %d rounds; and iceoryx2 needs the path of a --folder\n", MOST_ROUNDS);
        return 2;
    }
    cpu_set_t set;
    must(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE && cpu_count < 4; cpu++) {
        if (CPU_ISSET(cpu, &set))
            cpus[cpu_count++] = cpu;
    }
    if (cpu_count < 2) {
        /* Under --strict what could not be measured is not met. */
        printf("queues: not measured: it takes two processors\n");
        return strict;
    }
    near_cpu = cpus[0];
    far_cpu = cpus[1];
    must(payload_pin(near_cpu) == 0, "sched_setaffinity");
    on_signals(on_end, on_child);
    prepare();
    print_machine();
    for (int at = 0; at < SIZES; at++) {
        if (only && sizes[at] != only) {
            for (int of = 0; of < SIDES; of++)
                rates[at][of].why = trips[at][of].why = "not measured";
            continue;
        }
        measure_size(at);
        print_size(at);
    }
    measure_many();
    measure_sleepy();
    measure_streams();
    print_bars();
    if (table)
        must(fclose(table) == 0, "the table");
    OURS(shmkit_region_close(region));
    return strict && (missed || not_measured) ? 1 : 0;
}
