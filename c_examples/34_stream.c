/* A file streamed from one process to another, by a ring and by everything that the system has.
 * Run:   34_stream FILE
 * Shows: a ring in memory of mmap, written and read in place, with processes that wait for each
 *        other; the same bytes by pipe, FIFO, UNIX socket, POSIX and System V message queue. The
 *        receiver compares every byte with the file. How fast each is depends on the machine, so
 *        what is printed is how many times as fast as the pipe. */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <shmkit.h>

enum {
    PIECE = 64 * 1024,      /* what is sent at once */
    LETTER = 8 * 1024,      /* the same for message queues: no more fits by default */
    RING = 512 * 1024,
    ROUNDS = 3              /* the fastest one counts */
};

/* The file, in both processes. */
struct file {
    const char *bytes;
    size_t size;
};

/* What is between the two, made before the fork. */
static struct {
    int ends[2];            /* to read, to write */
    mqd_t letters;
    int box;
    void *ring;
    size_t ring_size;
} between;

static int failed(const char *what)
{
    perror(what);
    return 0;
}

static int failed_here(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 0;
}

/* What the receiver has of the file so far: true while it is the file's beginning. */
static int is_next(const struct file *file, size_t *done, const void *bytes, size_t size)
{
    if (size > file->size - *done || memcmp(file->bytes + *done, bytes, size) != 0) {
        fprintf(stderr, "what came differs from the file\n");
        return 0;
    }
    *done += size;
    return 1;
}

/* -------------------------------------------------------------------- the ring */

static int make_ring(void)
{
    between.ring_size = shmkit_ring_size(RING);
    between.ring = mmap(NULL, between.ring_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (between.ring == MAP_FAILED)
        return failed("mmap");
    return shmkit_ring_init(between.ring, between.ring_size, NULL) == SHMKIT_OK || failed_here();
}

static int send_by_ring(const struct file *file)
{
    shmkit_ring_t ring;
    if (shmkit_ring_attach(&ring, between.ring, between.ring_size, NULL, SHMKIT_RING_PRODUCE) != SHMKIT_OK)
        return failed_here();
    for (size_t done = 0; done < file->size;) {
        size_t size = file->size - done < PIECE ? file->size - done : PIECE;
        if (shmkit_ring_write(&ring, file->bytes + done, size, SHMKIT_TIMEOUT_FOREVER) != SHMKIT_OK)
            return failed_here();
        done += size;
    }
    return (shmkit_ring_close(&ring) == SHMKIT_OK && shmkit_ring_detach(&ring) == SHMKIT_OK) || failed_here();
}

static int receive_by_ring(const struct file *file, size_t *done)
{
    shmkit_ring_t ring;
    shmkit_status_t status;
    const void *data;
    size_t size;
    if (shmkit_ring_attach(&ring, between.ring, between.ring_size, NULL, SHMKIT_RING_CONSUME) != SHMKIT_OK)
        return failed_here();
    while ((status = shmkit_ring_peek(&ring, &data, &size, SHMKIT_TIMEOUT_FOREVER)) == SHMKIT_OK)
        if (!is_next(file, done, data, size) || (shmkit_ring_release(&ring, 1) != SHMKIT_OK && !failed_here()))
            return 0;
    return (status == SHMKIT_ERR_CLOSED && shmkit_ring_detach(&ring) == SHMKIT_OK) || failed_here();
}

static int end_ring(void)
{
    return munmap(between.ring, between.ring_size) == 0 || failed("munmap");
}

/* -------------------------------------------------------------------- descriptors */

static int make_pipe(void)
{
    return pipe(between.ends) == 0 || failed("pipe");
}

static int make_fifo(void)
{
    char name[64];
    snprintf(name, sizeof name, "stream-%ld", (long)getpid());
    if (mkfifo(name, 0600) != 0)
        return failed("mkfifo");
    /* Open for both, it need not wait for a peer. */
    int both = open(name, O_RDWR | O_CLOEXEC);
    between.ends[0] = open(name, O_RDONLY | O_CLOEXEC);
    between.ends[1] = open(name, O_WRONLY | O_CLOEXEC);
    int opened = both != -1 && between.ends[0] != -1 && between.ends[1] != -1;
    if (!opened)
        perror("open");
    close(both);
    return unlink(name) == 0 && opened;
}

static int make_socket(void)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, between.ends) == 0 || failed("socketpair");
}

static int send_by_descriptor(const struct file *file)
{
    close(between.ends[0]);
    for (size_t done = 0; done < file->size;) {
        size_t size = file->size - done < PIECE ? file->size - done : PIECE;
        ssize_t written = write(between.ends[1], file->bytes + done, size);
        if (written == -1)
            return failed("write");
        done += (size_t)written;
    }
    return close(between.ends[1]) == 0 || failed("close");
}

static int receive_by_descriptor(const struct file *file, size_t *done)
{
    static char piece[PIECE];
    ssize_t got;
    close(between.ends[1]);
    while ((got = read(between.ends[0], piece, sizeof piece)) > 0)
        if (!is_next(file, done, piece, (size_t)got))
            return 0;
    return got == 0 || failed("read");
}

/* Both ends are closed, each by its process. */
static int end_nothing(void)
{
    return 1;
}

/* -------------------------------------------------------------------- message queues */

static int make_letters(void)
{
    char name[64];
    struct mq_attr attributes = { .mq_maxmsg = 10, .mq_msgsize = LETTER };
    snprintf(name, sizeof name, "/stream-%ld", (long)getpid());
    between.letters = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &attributes);
    if (between.letters == (mqd_t)-1)
        return failed("mq_open");
    return mq_unlink(name) == 0 || failed("mq_unlink");
}

/* An empty letter says that nothing comes any more. */
static int send_by_letters(const struct file *file)
{
    size_t size, done = 0;
    do {
        size = file->size - done < LETTER ? file->size - done : LETTER;
        if (mq_send(between.letters, file->bytes + done, size, 0) != 0)
            return failed("mq_send");
        done += size;
    } while (size > 0);
    return mq_close(between.letters) == 0 || failed("mq_close");
}

static int receive_by_letters(const struct file *file, size_t *done)
{
    static char letter[LETTER];
    ssize_t got;
    while ((got = mq_receive(between.letters, letter, sizeof letter, NULL)) > 0)
        if (!is_next(file, done, letter, (size_t)got))
            return 0;
    return got == 0 || failed("mq_receive");
}

struct parcel {
    long type;
    char bytes[LETTER];
};

static int make_box(void)
{
    between.box = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    return between.box != -1 || failed("msgget");
}

static int send_by_box(const struct file *file)
{
    static struct parcel parcel = { .type = 1 };
    size_t size, done = 0;
    do {
        size = file->size - done < LETTER ? file->size - done : LETTER;
        memcpy(parcel.bytes, file->bytes + done, size);
        if (msgsnd(between.box, &parcel, size, 0) != 0)
            return failed("msgsnd");
        done += size;
    } while (size > 0);
    return 1;
}

static int receive_by_box(const struct file *file, size_t *done)
{
    static struct parcel parcel;
    ssize_t got;
    while ((got = msgrcv(between.box, &parcel, sizeof parcel.bytes, 1, 0)) > 0)
        if (!is_next(file, done, parcel.bytes, (size_t)got))
            return 0;
    return got == 0 || failed("msgrcv");
}

static int end_box(void)
{
    return msgctl(between.box, IPC_RMID, NULL) == 0 || failed("msgctl");
}

/* -------------------------------------------------------------------- all of them */

static const struct way {
    const char *name;
    int (*make)(void);
    int (*send)(const struct file *);
    int (*receive)(const struct file *, size_t *done);
    int (*end)(void);
} ways[] = {
    { "pipe", make_pipe, send_by_descriptor, receive_by_descriptor, end_nothing },
    { "FIFO", make_fifo, send_by_descriptor, receive_by_descriptor, end_nothing },
    { "UNIX socket", make_socket, send_by_descriptor, receive_by_descriptor, end_nothing },
    { "POSIX message queue", make_letters, send_by_letters, receive_by_letters, end_nothing },
    { "System V message queue", make_box, send_by_box, receive_by_box, end_box },
    { "ring", make_ring, send_by_ring, receive_by_ring, end_ring },
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Has every page of the file looked at, so that no way pays for that. */
static void touch(const struct file *file)
{
    volatile char last = 0;
    for (size_t i = 0; i < file->size; i += 4096)
        last = file->bytes[i];
    (void)last;
}

static int run_receiver(const struct way *way, const struct file *file, int ready)
{
    size_t done = 0;
    touch(file);
    if (write(ready, "", 1) != 1 || !way->receive(file, &done))
        return 1;
    if (done != file->size)
        fprintf(stderr, "%s: %zu bytes came, of %zu\n", way->name, done, file->size);
    return done != file->size;
}

/* Seconds that it took; 0: it did not work. */
static double stream(const struct way *way, const struct file *file)
{
    int ready[2], end;
    char byte;
    if (pipe(ready) != 0 || !way->make())
        return 0;
    pid_t receiver = fork();
    if (receiver == 0)
        _exit(run_receiver(way, file, ready[1]));
    close(ready[1]);
    double begin = read(ready[0], &byte, 1) == 1 ? now() : 0;
    close(ready[0]);
    int sent = begin != 0 && way->send(file);
    if (waitpid(receiver, &end, 0) != receiver || end != 0)
        sent = 0;
    double took = now() - begin;
    return way->end() && sent ? took : 0;
}

static int open_file(const char *path, struct file *file)
{
    struct stat stat;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &stat) != 0)
        return failed(path);
    file->size = (size_t)stat.st_size;
    file->bytes = "";
    if (file->size > 0) /* no mapping is empty */
        file->bytes = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    return file->bytes != MAP_FAILED || failed(path);
}

int main(int argc, char **argv)
{
    struct file file;
    double pipe_took = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!open_file(argv[1], &file))
        return 1;
    touch(&file);
    printf("%zu bytes, whole by each way:\n", file.size);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        double best = 0;
        for (int round = 0; round < ROUNDS; round++) {
            double took = stream(&ways[i], &file);
            if (took == 0)
                return 1;
            if (best == 0 || took < best)
                best = took;
        }
        if (i == 0)
            pipe_took = best;
        printf("    %-24s%6.2f times the pipe\n", ways[i].name, pipe_took / best);
    }
    return 0;
}
