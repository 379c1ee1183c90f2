/* Copies a file of any size through two mappings.
 * Run:   08_copy SOURCE DESTINATION
 * Shows: how to check, reserve and copy in windows, so that no input ends in a crash.
 *
 * Only regular files are copied.  An existing destination is overwritten in place and gets the
 * permission bits of the source; set-user-ID, set-group-ID and sticky bits are not passed on.
 *
 * After a failure a new destination is removed.  An existing one keeps its content and length
 * if the failure came before the first byte was copied, for example on a full file system;
 * after that it keeps its length, but holds part of the source.
 *
 * Covered: a file cut short by another program during the copy, whether that raises SIGBUS (it is
 * caught) or not (sizes are compared at the end), and a source whose time of modification differs
 * after the copy.  All of these are failures.
 * Not covered: a destination cut short and grown again; a source changed in a way that its time
 * does not show (within one tick of the clock, with the old time restored, or through a mapping);
 * a copy ended by a signal, whose destination stays as it is at that moment. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmkit.h>

/* Bytes mapped at a time: a multiple of every page size. */
#define WINDOW ((off_t)64 * 1024 * 1024)

struct file {
    const char *path;
    int fd;
    struct stat info; /* as it was when the file was opened */
};

static bool failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return false;
}

static bool refuse(const char *path, const char *reason)
{
    fprintf(stderr, "%s: %s\n", path, reason);
    return false;
}

static bool check_regular(const struct file *file)
{
    switch (file->info.st_mode & S_IFMT) {
    case S_IFREG:
        return true;
    case S_IFDIR:
        return refuse(file->path, "is a directory");
    case S_IFIFO:
        return refuse(file->path, "is a pipe");
    case S_IFSOCK:
        return refuse(file->path, "is a socket");
    default:
        return refuse(file->path, "is a device");
    }
}

/* Opens a file that is to be regular.  It looks at the name first, because to open a device can
 * have effects, and at the open file again, because the name can have passed to another file. */
static bool open_regular(struct file *file, int flags)
{
    if (stat(file->path, &file->info) == 0 && !check_regular(file))
        return false;
    file->fd = open(file->path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (file->fd == -1)
        return refuse(file->path, strerror(errno));
    if (shmkit_fstat(file->fd, &file->info) == -1)
        return failed();
    return check_regular(file);
}

/* Opens the source and finds out, before the destination is touched, that it can be mapped. */
static bool open_source(struct file *source)
{
    if (!open_regular(source, O_RDONLY))
        return false;
    if (source->info.st_size > 0) {
        void *probe = shmkit_mmap(NULL, 1, PROT_READ, MAP_SHARED, source->fd, 0);
        if (probe == MAP_FAILED || shmkit_munmap(probe, 1) == -1)
            return failed();
        return true;
    }
    char byte;
    switch (read(source->fd, &byte, 1)) {
    case 0:
        return true;
    case -1:
        return refuse(source->path, strerror(errno));
    default:
        return refuse(source->path, "holds more than its size says, as files of /proc do");
    }
}

/* Leaves a failed destination as it was, as far as that can be done. */
static void undo(const struct file *destination, bool created)
{
    if (created) {
        if (unlink(destination->path) == -1)
            refuse(destination->path, strerror(errno));
    } else if (shmkit_ftruncate(destination->fd, destination->info.st_size) == -1) {
        failed();
    }
}

static bool open_destination(struct file *destination, const struct file *source, bool *created)
{
    *created = lstat(destination->path, &destination->info) == -1 && errno == ENOENT;
    if (!open_regular(destination, *created ? O_RDWR | O_CREAT | O_EXCL : O_RDWR)) {
        if (*created && destination->fd != -1)
            undo(destination, true);
        return false;
    }
    if (destination->info.st_dev == source->info.st_dev &&
        destination->info.st_ino == source->info.st_ino)
        return refuse(destination->path, "is the same file as the source");
    return true;
}

static sigjmp_buf no_page;

static void on_sigbus(int number)
{
    (void)number;
    siglongjmp(no_page, 1);
}

/* Copies memory.  Returns false if a page of either mapping cannot be had. */
static bool copy_memory(void *to, const void *from, size_t length)
{
    struct sigaction action = { .sa_handler = on_sigbus };
    struct sigaction before;
    volatile bool complete = false;

    if (sigaction(SIGBUS, &action, &before) == -1)
        return false;
    if (sigsetjmp(no_page, 1) == 0) {
        memcpy(to, from, length);
        complete = true;
    }
    return sigaction(SIGBUS, &before, NULL) == 0 && complete;
}

static bool copy_window(const struct file *source, const struct file *destination, off_t offset,
                        size_t length)
{
    void *from = shmkit_mmap(NULL, length, PROT_READ, MAP_SHARED, source->fd, offset);
    if (from == MAP_FAILED)
        return failed();
    void *to = shmkit_mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, destination->fd,
                           offset);
    if (to == MAP_FAILED)
        return failed();

    if (!copy_memory(to, from, length))
        return refuse(source->path, "a page was lost: a file was cut short or a disk failed");
    if (shmkit_msync(to, length, MS_SYNC) == -1 || shmkit_munmap(to, length) == -1 ||
        shmkit_munmap(from, length) == -1)
        return failed();
    return true;
}

/* Reserves the whole destination, so that a full file system is an error and not a SIGBUS. */
static bool reserve(const struct file *destination, off_t size)
{
    int error;
    if (size == 0)
        return true;
    do
        error = shmkit_posix_fallocate(destination->fd, 0, size);
    while (error == EINTR);
    return error == 0 || failed();
}

static bool copy(const struct file *source, const struct file *destination)
{
    off_t size = source->info.st_size;

    if (!reserve(destination, size))
        return false;
    /* The permissions come before the content: nobody reads through the old ones. */
    if (fchmod(destination->fd, source->info.st_mode & 0777) == -1)
        return refuse(destination->path, strerror(errno));
    for (off_t offset = 0; offset < size; offset += WINDOW) {
        off_t rest = size - offset;
        if (!copy_window(source, destination, offset, (size_t)(rest < WINDOW ? rest : WINDOW)))
            return false;
    }

    struct stat now;
    if (shmkit_fstat(source->fd, &now) == -1)
        return failed();
    if (now.st_size != size || now.st_mtim.tv_sec != source->info.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != source->info.st_mtim.tv_nsec)
        return refuse(source->path, "changed while it was copied");
    if (shmkit_fstat(destination->fd, &now) == -1)
        return failed();
    if (now.st_size < size)
        return refuse(destination->path, "was cut short while it was written");
    return shmkit_ftruncate(destination->fd, size) == 0 || failed();
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s SOURCE DESTINATION\n", argv[0]);
        return 2;
    }
    struct file source = { .path = argv[1], .fd = -1 };
    struct file destination = { .path = argv[2], .fd = -1 };
    bool created;

    /* A file over the limit on sizes is an error and not the end of the program. */
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        perror("signal");
        return 1;
    }
    if (!open_source(&source) || !open_destination(&destination, &source, &created))
        return 1;
    bool copied = copy(&source, &destination);
    if (!copied)
        undo(&destination, created);
    if (shmkit_close(destination.fd) == -1 || shmkit_close(source.fd) == -1)
        copied = failed();
    if (!copied)
        return 1;
    printf("copied %jd bytes\n", (intmax_t)source.info.st_size);
    return 0;
}
