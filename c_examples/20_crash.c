/* Kills a process that has a region open, and asks who is still there and what is left over.
 * Run:   20_crash ADDRESS            (posix:/NAME or sysv:0xKEY)
 * Shows: the kernel ends a process's lease with the process, however it dies; a region that nobody
 *        has open is an orphan, and shmkit_gc names it.  A dry run removes nothing. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

/* The process that will be killed. */
static pid_t victim;

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Creates the region and says so through the socket, which tells it when the watcher is gone. */
static int live(const char *address, int socket)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = 4096;
    shmkit_region_t *region;
    char byte = 0;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    return write(socket, &byte, 1) == 1 && read(socket, &byte, 1) == 0 ? 0 : 1;
}

/* Returns when the region is there.  The victim lives until it is killed, or this process ends. */
static int start_victim(const char *address)
{
    int ends[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == -1 || (victim = fork()) == -1) {
        perror("socketpair or fork");
        return 1;
    }
    if (victim == 0) {
        close(ends[0]);
        _exit(live(address, ends[1]));
    }
    close(ends[1]);
    return read(ends[0], &byte, 1) == 1 ? 0 : 1;
}

static int kill_victim(void)
{
    int end;
    if (kill(victim, SIGKILL) == -1 || waitpid(victim, &end, 0) == -1) {
        perror("kill or waitpid");
        return 1;
    }
    return WIFSIGNALED(end) ? 0 : 1;
}

static const char *name_of(pid_t process)
{
    if (process == getpid())
        return "this process";
    return process == victim ? "the other one" : "a third one";
}

static int print_participant(const shmkit_participant_t *participant, void *user)
{
    (void)user;
    printf("    %s%s\n", name_of((pid_t)participant->process.pid),
           participant->live == SHMKIT_ANSWER_YES ? "" : ", perhaps");
    return 0;
}

static int print_orphan(const char *address)
{
    static const char *const words[] = {
        [SHMKIT_ANSWER_NO] = "no",
        [SHMKIT_ANSWER_YES] = "yes",
        [SHMKIT_ANSWER_UNKNOWN] = "unknown",
    };
    int32_t answer;
    if (shmkit_region_is_orphan(address, &answer) != SHMKIT_OK)
        return failed();
    printf("an orphan: %s\n", words[answer]);
    return 0;
}

static int print_participants(const char *moment, const char *address, shmkit_region_t *region)
{
    printf("%s:\n", moment);
    if (shmkit_region_participants(region, print_participant, NULL) != SHMKIT_OK)
        return failed();
    return print_orphan(address);
}

/* gc shows all that dead processes left on this machine; this is about one of them. */
static int print_collected(const shmkit_object_t *object, void *address)
{
    if (strcmp(object->address, address) == 0)
        printf("gc would remove it: %llu users, created by %s\n", (unsigned long long)object->users,
               name_of((pid_t)object->creator.pid));
    return 0;
}

static int watch(char *address)
{
    shmkit_region_t *region;
    if (shmkit_region_open(address, NULL, &region) != SHMKIT_OK)
        return failed();
    int status = print_participants("both have it open", address, region);
    status |= kill_victim();
    status |= print_participants("the other one was killed", address, region);
    if (shmkit_region_close(region) != SHMKIT_OK)
        status = failed();

    printf("this one has closed it:\n");
    status |= print_orphan(address);
    if (shmkit_gc(SHMKIT_GC_DRY_RUN, print_collected, address, NULL) != SHMKIT_OK)
        status = failed();
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    if (start_victim(argv[1]) != 0)
        return 1;
    int status = watch(argv[1]);
    return shmkit_unlink(argv[1]) == SHMKIT_OK ? status : failed();
}
