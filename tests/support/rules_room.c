/* Runs a program in a fresh room: its own small /dev/shm, its own System V segments and semaphores with small limits, little memory
 * to lock, an ordinary user. Never changes a setting outside of it: all of it goes when the program ends.
 *
 *     room FOLDER PROGRAM [ARGUMENT...]
 *
 * Exits with 125 and a line on standard error when the room cannot be had; otherwise the program decides. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 65534, SECONDS = 60, NO_ROOM = 125 };

static void need(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(NO_ROOM);
}

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    need(fd != -1 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    close(fd);
}

static void lower(int resource, rlim_t most, const char *what)
{
    struct rlimit limit = { most, most };
    need(setrlimit(resource, &limit) == 0, what);
}

/* Becomes `user` in a new user namespace, with every right over the namespaces made from there until exec. */
static void enter_user_namespace(unsigned user)
{
    unsigned uid = geteuid(), gid = getegid();
    char map[64];

    need(unshare(CLONE_NEWUSER) == 0, "a user namespace");
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", user, uid);
    put("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1", user, gid);
    put("/proc/self/gid_map", map);
}

static void become_nobody(void)
{
    need(setgroups(0, NULL) == 0, "setgroups");
    need(setresgid(NOBODY, NOBODY, NOBODY) == 0, "setresgid");
    need(setresuid(NOBODY, NOBODY, NOBODY) == 0, "setresuid");
}

int main(int count, char **arguments)
{
    int privileged;

    errno = EINVAL;
    need(count > 2, "room FOLDER PROGRAM [ARGUMENT...]");
    alarm(SECONDS); /* outlives exec: whatever hangs is ended */
    privileged = unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0;
    if (!privileged) {
        enter_user_namespace(0);
        need(unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0, "mount and IPC namespaces");
    }
    need(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "a private mount namespace");
    need(mount("room", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=1777") == 0, "a tmpfs on /dev/shm");
    put("/proc/sys/kernel/shmmni", "16");
    put("/proc/sys/kernel/shmall", "2048");
    put("/proc/sys/kernel/shmmax", "4194304");
    put("/proc/sys/kernel/sem", "8 32 10 4"); /* SEMMSL, SEMMNS, SEMOPM, SEMMNI */
    lower(RLIMIT_MEMLOCK, 64 << 10, "RLIMIT_MEMLOCK");
    lower(RLIMIT_CORE, 0, "RLIMIT_CORE");
    umask(022);
    need(chdir(arguments[1]) == 0, arguments[1]);
    if (privileged)
        become_nobody();
    else
        enter_user_namespace(NOBODY);
    execv(arguments[2], arguments + 2);
    need(0, arguments[2]);
}
