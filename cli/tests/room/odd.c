/* A machine that is odder than this one, put before the C library by LD_PRELOAD: ODD names what it lacks or does slowly. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether it is odd in this way; says so, for the test to see that it was asked. */
static int is(const char *what)
{
    const char *odd = getenv("ODD");
    if (odd == NULL || strcmp(odd, what) != 0)
        return 0;
    if (strcmp(what, "slow") != 0 && write(2, what, strlen(what)) < 0)
        abort();
    return 1;
}

/* File systems without O_TMPFILE. */
int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    if ((flags & O_TMPFILE) == O_TMPFILE && is("named")) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* A container that forbids it; a machine on which it takes long. */
ssize_t process_vm_readv(pid_t pid, const struct iovec *local, unsigned long count, const struct iovec *remote,
                         unsigned long others, unsigned long flags)
{
    if (is("forbidden")) {
        errno = EPERM;
        return -1;
    }
    if (is("slow"))
        usleep(250000);
    return syscall(SYS_process_vm_readv, pid, local, count, remote, others, flags);
}

/* A folder in which no name can be made, and one in which none can be changed; a death in the middle of that. */
int linkat(int from_folder, const char *from, int folder, const char *name, int flags)
{
    if (is("nolink")) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_linkat, from_folder, from, folder, name, flags);
}

static int renamed(int from_folder, const char *from, int folder, const char *name, unsigned flags)
{
    if (is("killed"))
        kill(getpid(), SIGKILL);
    if (is("norename")) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_renameat2, from_folder, from, folder, name, flags);
}

int rename(const char *from, const char *to)
{
    return renamed(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_folder, const char *from, int folder, const char *to)
{
    return renamed(from_folder, from, folder, to, 0);
}

int renameat2(int from_folder, const char *from, int folder, const char *to, unsigned flags)
{
    return renamed(from_folder, from, folder, to, flags);
}
