/* Sends telemetry from one process to another through a POSIX shared memory object.
 * Run:   14_dropin
 * Shows: a program of the standard calls alone; built once as it is and once with the options
 *        -include shmkit/dropin.h and -lshmkit, it prints the same. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOG_CAPACITY 12

struct sample {
    uint32_t second;
    int32_t millidegrees; /* Celsius */
    int32_t pascals;
};

/* The writer fills samples in order and raises count after each one. */
struct log {
    _Atomic uint32_t count;
    struct sample samples[LOG_CAPACITY];
};

static int report(const char *call)
{
    perror(call);
    return 1;
}

static void pause_ms(long milliseconds)
{
    struct timespec time = { .tv_nsec = milliseconds * 1000000 };
    nanosleep(&time, NULL);
}

/* Maps the log of that name.  Returns NULL after a failure. */
static struct log *open_log(const char *name, int flags, int protection)
{
    struct log *log = MAP_FAILED;
    struct stat info;

    int fd = shm_open(name, flags, 0);
    if (fd == -1) {
        report("shm_open");
        return NULL;
    }
    if (fstat(fd, &info) == -1)
        report("fstat");
    else if (info.st_size != sizeof *log)
        fprintf(stderr, "%s: not the size of a log\n", name);
    else if ((log = mmap(NULL, sizeof *log, protection, MAP_SHARED, fd, 0)) == MAP_FAILED)
        report("mmap");
    if (close(fd) == -1)
        report("close");
    return log == MAP_FAILED ? NULL : log;
}

/* Makes an empty log of that name, of its full size. */
static int create_log(const char *name)
{
    int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (fd == -1)
        return report("shm_open");
    int status = 0;
    if (ftruncate(fd, sizeof(struct log)) == -1)
        status = report("ftruncate");
    if (close(fd) == -1)
        status = report("close");
    if (status != 0)
        shm_unlink(name);
    return status;
}

/* One reading of the instruments: the first minute of a climb. */
static struct sample measure(uint32_t second)
{
    return (struct sample){
        .second = second,
        .millidegrees = 21500 - 33 * (int32_t)second,
        .pascals = 101325 - 60 * (int32_t)second,
    };
}

static int write_log(const char *name)
{
    struct log *log = open_log(name, O_RDWR, PROT_READ | PROT_WRITE);
    if (log == NULL)
        return 1;
    for (uint32_t i = 0; i < LOG_CAPACITY; i++) {
        log->samples[i] = measure(5 * i);
        atomic_store_explicit(&log->count, i + 1, memory_order_release);
        pause_ms(1);
    }
    return munmap(log, sizeof *log) == -1 ? report("munmap") : 0;
}

static void print_sample(const struct sample *sample)
{
    printf("%3u s  %6.3f C  %6d Pa\n", sample->second, sample->millidegrees / 1000.0,
           sample->pascals);
}

static void print_summary(const struct log *log)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < LOG_CAPACITY; i++)
        sum += log->samples[i].millidegrees;
    printf("%d samples, mean %.3f C\n", LOG_CAPACITY, (double)sum / LOG_CAPACITY / 1000.0);
}

/* Prints each sample once it is there, until the log is full or the writer has ended. */
static int follow(const struct log *log, pid_t writer)
{
    uint32_t printed = 0;
    int end = 0;
    pid_t ended = 0;

    for (;;) {
        uint32_t count = atomic_load_explicit(&log->count, memory_order_acquire);
        while (printed < count)
            print_sample(&log->samples[printed++]);
        if (ended != 0 || printed == LOG_CAPACITY)
            break;
        pause_ms(1);
        ended = waitpid(writer, &end, WNOHANG);
        if (ended == -1)
            return report("waitpid");
    }
    if (ended == 0 && waitpid(writer, &end, 0) == -1)
        return report("waitpid");
    if (printed < LOG_CAPACITY || !WIFEXITED(end) || WEXITSTATUS(end) != 0) {
        fprintf(stderr, "the writer failed\n");
        return 1;
    }
    print_summary(log);
    return 0;
}

static int run(const char *name)
{
    const struct log *log = open_log(name, O_RDONLY, PROT_READ);
    if (log == NULL)
        return 1;
    pid_t writer = fork();
    if (writer == -1)
        return report("fork");
    if (writer == 0)
        _exit(write_log(name));

    int status = follow(log, writer);
    if (munmap((void *)log, sizeof *log) == -1)
        status = report("munmap");
    return status;
}

int main(void)
{
    char name[64];
    snprintf(name, sizeof name, "/telemetry-%ld", (long)getpid());
    if (create_log(name) != 0)
        return 1;
    int status = run(name);
    if (shm_unlink(name) == -1)
        status = report("shm_unlink");
    return status;
}
