/* Looks for five kinds of memory while their maker lives and after it has exited.
 * Run:   13_persistence       (in a directory where it may make a file)
 * Shows: a file, a POSIX object and a System V segment stay until they are removed; anonymous
 *        memory and a memfd end with the last process that has them. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

#define TEXT "left by the child"

enum kind { MAPPED_FILE, POSIX_OBJECT, SEGMENT, ANONYMOUS, MEMFD, KINDS };

static const char *const kind_names[KINDS] = {
    [MAPPED_FILE] = "mapped file",         [POSIX_OBJECT] = "POSIX object",
    [SEGMENT] = "System V segment",        [ANONYMOUS] = "anonymous memory",
    [MEMFD] = "memfd",
};

/* How each kind of memory is found: the parent chooses the names, the child reports the rest. */
struct places {
    char path[64];
    char object[64];
    int segment; /* -1 until it is made */
    char *anonymous;
    int memfd;
    bool file_made;
    bool object_made;
    bool complete; /* all five are made */
};

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Gives a new, empty file, object or memfd the text, through a mapping. */
static int fill(int fd)
{
    if (fd == -1 || shmkit_ftruncate(fd, sizeof TEXT) == -1)
        return failed();
    char *text = shmkit_mmap(NULL, sizeof TEXT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED)
        return failed();
    memcpy(text, TEXT, sizeof TEXT);
    return shmkit_munmap(text, sizeof TEXT) == -1 ? failed() : 0;
}

/* Makes one of each kind.  The child leaves it to its exit to close and detach. */
static int make(struct places *places)
{
    int file = open(places->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (file == -1) {
        perror(places->path);
        return 1;
    }
    places->file_made = true;
    if (fill(file) != 0)
        return 1;

    int object = shmkit_shm_open(places->object, O_CREAT | O_EXCL | O_RDWR, 0600);
    places->object_made = object != -1;
    if (fill(object) != 0)
        return 1;

    places->memfd = shmkit_memfd_create("persistence", MFD_CLOEXEC);
    if (fill(places->memfd) != 0)
        return 1;

    places->anonymous = shmkit_mmap(NULL, sizeof TEXT, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (places->anonymous == MAP_FAILED)
        return failed();
    memcpy(places->anonymous, TEXT, sizeof TEXT);

    places->segment = shmkit_shmget(IPC_PRIVATE, sizeof TEXT, IPC_CREAT | 0600);
    if (places->segment == -1)
        return failed();
    char *text = shmkit_shmat(places->segment, NULL, 0);
    if (text == (void *)-1)
        return failed();
    memcpy(text, TEXT, sizeof TEXT);
    places->complete = true;
    return 0;
}

/* The child: makes the memory, reports its places, and lives until the parent has looked. */
static int live(struct places *places, int parent)
{
    char end;
    int status = make(places);
    if (write(parent, places, sizeof *places) != sizeof *places || read(parent, &end, 1) != 0) {
        perror("child");
        return 1;
    }
    return status;
}

/* Not found is no failure if it is for the reason that the memory is gone. */
static bool not_found(const char *what, int reason)
{
    if (errno != reason)
        perror(what);
    return false;
}

static bool descriptor_has_text(const char *what, int fd)
{
    char text[sizeof TEXT];
    if (fd == -1)
        return not_found(what, ENOENT);
    bool found = pread(fd, text, sizeof text, 0) == sizeof text && strcmp(text, TEXT) == 0;
    return shmkit_close(fd) == 0 && found;
}

static bool segment_has_text(int id)
{
    const char *text = shmkit_shmat(id, NULL, SHM_RDONLY);
    if (text == (void *)-1)
        return not_found("shmat", EINVAL);
    bool found = strcmp(text, TEXT) == 0;
    return shmkit_shmdt(text) == 0 && found;
}

static bool process_has_text(pid_t process, char *address)
{
    char text[sizeof TEXT];
    struct iovec here = { .iov_base = text, .iov_len = sizeof text };
    struct iovec there = { .iov_base = address, .iov_len = sizeof text };
    if (process_vm_readv(process, &here, 1, &there, 1, 0) != sizeof text)
        return not_found("process_vm_readv", ESRCH);
    return strcmp(text, TEXT) == 0;
}

/* Looks for each kind from outside of the process that made it. */
static void look(const struct places *places, pid_t maker, bool found[KINDS])
{
    char memfd[64];
    snprintf(memfd, sizeof memfd, "/proc/%ld/fd/%d", (long)maker, places->memfd);

    found[MAPPED_FILE] = descriptor_has_text(places->path,
                                             open(places->path, O_RDONLY | O_CLOEXEC));
    found[POSIX_OBJECT] = descriptor_has_text(places->object,
                                              shmkit_shm_open(places->object, O_RDONLY, 0));
    found[SEGMENT] = segment_has_text(places->segment);
    found[ANONYMOUS] = process_has_text(maker, places->anonymous);
    found[MEMFD] = descriptor_has_text(memfd, open(memfd, O_RDONLY | O_CLOEXEC));
}

/* Looks before and after the exit of the child, and prints the table. */
static int watch(struct places *places, pid_t maker, int child)
{
    bool living[KINDS];
    bool exited[KINDS];
    int end;

    if (read(child, places, sizeof *places) != sizeof *places) {
        perror("read from the child");
        return 1;
    }
    if (places->complete)
        look(places, maker, living);
    if (shutdown(child, SHUT_WR) == -1 || waitpid(maker, &end, 0) == -1) {
        perror("end of the child");
        return 1;
    }
    if (!places->complete || !WIFEXITED(end) || WEXITSTATUS(end) != 0)
        return 1;
    look(places, maker, exited);

    int status = 0;
    printf("%-18s maker lives   maker has exited\n", "memory");
    for (int i = 0; i < KINDS; i++) {
        printf("%-18s %-13s %s\n", kind_names[i], living[i] ? "found" : "not found",
               exited[i] ? "found" : "not found");
        if (!living[i])
            status = 1;
    }
    return status;
}

/* Removes what was made and outlives its maker. */
static int clean_up(const struct places *places)
{
    int status = 0;
    if (places->file_made && unlink(places->path) == -1) {
        perror(places->path);
        status = 1;
    }
    if (places->object_made && shmkit_shm_unlink(places->object) == -1)
        status = failed();
    if (places->segment != -1 && shmkit_shmctl(places->segment, IPC_RMID, NULL) == -1)
        status = failed();
    return status;
}

int main(void)
{
    struct places places = { .segment = -1, .memfd = -1 };
    snprintf(places.path, sizeof places.path, "shmkit-13-%ld", (long)getpid());
    snprintf(places.object, sizeof places.object, "/shmkit-13-%ld", (long)getpid());

    int link[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) == -1) {
        perror("socketpair");
        return 1;
    }
    pid_t maker = fork();
    if (maker == -1) {
        perror("fork");
        return 1;
    }
    if (maker == 0) {
        /* Without this, the child could not notice that the parent has ended. */
        _exit(shmkit_close(link[0]) == -1 ? failed() : live(&places, link[1]));
    }
    int status = shmkit_close(link[1]) == -1 ? failed() : watch(&places, maker, link[0]);
    return clean_up(&places) != 0 ? 1 : status;
}
