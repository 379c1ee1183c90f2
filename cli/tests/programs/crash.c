/* Touches shared memory where that is a crash, with a handler of its own or without.
 *
 *     crash CAUSE HANDLER NAME
 *
 * Says on standard output what its handler saw, and nothing that differs from run to run. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

static char *volatile at;
static volatile int wrote;
static sigjmp_buf out;
static volatile int leave_by_jump, times;

static void say(const char *text)
{
    if (write(1, text, strlen(text)) < 0)
        _exit(99);
}

/* Whether a local variable lies on the alternate stack. */
static char *alternate;
static size_t alternate_size;
static int is_alternate(const void *local)
{
    return (const char *)local >= alternate && (const char *)local < alternate + alternate_size;
}

/* Of this size, below pages that must not be touched. */
static void stand_on(size_t bytes)
{
    stack_t stack = { 0 };
    char *at = mmap(NULL, 65536 + bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    alternate = at + 65536;
    alternate_size = bytes;
    mprotect(alternate, bytes, PROT_READ | PROT_WRITE);
    stack.ss_sp = alternate;
    stack.ss_size = bytes;
    sigaltstack(&stack, NULL);
}

static void leave(int signal)
{
    if (leave_by_jump) {
        sigset_t now;
        sigprocmask(SIG_BLOCK, NULL, &now);
        say(sigismember(&now, signal) ? "blocked\n" : "not blocked\n");
        say(sigismember(&now, SIGUSR1) ? "USR1 blocked\n" : "USR1 not blocked\n");
        siglongjmp(out, 1);
    }
    _exit(7);
}

static void with_info(int signal, siginfo_t *info, void *context)
{
    int local;
    say(signal == SIGBUS ? "handler: SIGBUS" : "handler: SIGSEGV");
    say(info->si_addr == (void *)at ? ", address" : ", another address");
    say(info->si_code > 0 ? ", kernel" : ", sent");
    say(context ? ", context" : "");
    say(is_alternate(&local) ? ", alternate stack\n" : "\n");
    leave(signal);
}

static void without_info(int signal)
{
    int local;
    say(signal == SIGBUS ? "handler: SIGBUS" : "handler: SIGSEGV");
    say(is_alternate(&local) ? ", alternate stack\n" : "\n");
    leave(signal);
}

/* Returns once, so that the touch is done again; then the default action is in place. */
static void once(int signal)
{
    times++;
    say(signal == SIGBUS ? "once: SIGBUS\n" : "once: SIGSEGV\n");
    if (times > 1)
        _exit(8);
}

static void show(int signal)
{
    struct sigaction now;
    sigaction(signal, NULL, &now);
    printf("%s: flags %x, mask USR1 %d, %s\n", signal == SIGBUS ? "SIGBUS" : "SIGSEGV",
           (unsigned)now.sa_flags, sigismember(&now.sa_mask, SIGUSR1),
           now.sa_handler == SIG_DFL   ? "default"
           : now.sa_handler == SIG_IGN ? "ignored"
           : now.sa_sigaction == with_info ? "with_info"
           : now.sa_handler == without_info ? "without_info"
           : now.sa_handler == once ? "once" : "somebody else's");
    fflush(stdout);
}

static void put(int signal, const char *handler)
{
    struct sigaction new = { 0 }, old;
    sigemptyset(&new.sa_mask);
    sigaddset(&new.sa_mask, SIGUSR1);
    memset(&old, 0x55, sizeof old);
    if (!strcmp(handler, "none"))
        return;
    if (!strcmp(handler, "info") || !strcmp(handler, "jump") || !strcmp(handler, "alternate") ||
        !strcmp(handler, "small")) {
        new.sa_sigaction = with_info;
        new.sa_flags = SA_SIGINFO;
        leave_by_jump = !strcmp(handler, "jump");
        if (!strcmp(handler, "alternate") || !strcmp(handler, "small"))
            new.sa_flags |= SA_ONSTACK;
    } else if (!strcmp(handler, "plain")) {
        new.sa_handler = without_info;
    } else if (!strcmp(handler, "nodefer")) {
        new.sa_handler = without_info;
        new.sa_flags = SA_NODEFER;
        leave_by_jump = 1;
    } else if (!strcmp(handler, "once")) {
        new.sa_handler = once;
        new.sa_flags = SA_RESETHAND;
    } else if (!strcmp(handler, "ignored")) {
        new.sa_handler = SIG_IGN;
    } else {
        exit(98);
    }
    printf("sigaction %d\n", sigaction(signal, &new, &old));
    printf("before: %s\n", old.sa_handler == SIG_DFL ? "default" : "another");
}

static void put_by(int number, void (*(*how)(int, void (*)(int)))(int))
{
    void (*before)(int) = how(number, without_info);
    printf("before: %s\n", before == SIG_DFL ? "default" : before == without_info ? "without_info" : "another");
    before = how(number, without_info);
    printf("before: %s\n", before == SIG_DFL ? "default" : before == without_info ? "without_info" : "another");
}

static volatile int depth;
__attribute__((noinline)) static int overflow(int left)
{
    volatile char room[4096];
    room[0] = (char)left;
    depth++;
    return left == 0 ? 0 : overflow(left - 1) + room[0];
}

int main(int count, char **arguments)
{
    const char *cause = count > 1 ? arguments[1] : "", *handler = count > 2 ? arguments[2] : "none";
    char name[256];
    size_t size = 16384;
    int fd = -1, prot = PROT_READ | PROT_WRITE, touch_for_writing = 1;

    snprintf(name, sizeof name, "/%s", count > 3 ? arguments[3] : "shmkit-crash");
    if (!strcmp(handler, "alternate"))
        stand_on(64 << 10);
    if (!strcmp(handler, "small"))
        stand_on(8 << 10); /* SIGSTKSZ, as it was for thirty years */
    if (!strcmp(handler, "signal")) {
        put_by(SIGBUS, signal);
        put_by(SIGSEGV, signal);
    } else if (!strcmp(handler, "sysv")) {
        put_by(SIGBUS, sysv_signal);
        put_by(SIGSEGV, sysv_signal);
    } else if (!strcmp(handler, "sigset")) {
        put_by(SIGBUS, sigset);
        put_by(SIGSEGV, sigset);
    } else {
        put(SIGBUS, handler);
        put(SIGSEGV, handler);
    }
    show(SIGBUS);
    show(SIGSEGV);

    if (strcmp(cause, "detached") && strcmp(cause, "sent") && strcmp(cause, "overflow") && strcmp(cause, "null") &&
        strcmp(cause, "private")) {
        if (!strcmp(cause, "memfd"))
            fd = memfd_create(name + 1, MFD_CLOEXEC);
        else {
            fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            shm_unlink(name);
        }
        if (fd == -1)
            return 97;
    }
    if (!strcmp(cause, "never")) {
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
    } else if (!strcmp(cause, "truncated")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        at[0] = 1;
        if (fork() == 0) {
            _exit(ftruncate(fd, 0) ? 1 : 0);
        }
        wait(NULL);
    } else if (!strcmp(cause, "memfd")) {
        if (ftruncate(fd, 4096))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        at += 8192;
    } else if (!strcmp(cause, "full")) {
        size = 1 << 20;
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        for (size_t done = 0; done < size; done += 4096) {
            at = at + (done ? 4096 : 0);
            if (sigsetjmp(out, 1))
                break;
            at[0] = 1;
        }
    } else if (!strcmp(cause, "read_only")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    } else if (!strcmp(cause, "none")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, PROT_NONE, MAP_SHARED, fd, 0);
        touch_for_writing = 0;
    } else if (!strcmp(cause, "jumped")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        if (sigsetjmp(out, 1) == 0)
            ((void (*)(void))(void *)at)();
        say("left\n");
        return 0;
    } else if (!strcmp(cause, "cut")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        at = (char *)mremap(at, size, 4096, 0) + 8192;
    } else if (!strcmp(cause, "replaced")) {
        /* Shared memory was here, then private memory, which went in its turn. */
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        munmap(at, size);
        if (mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
            return 93;
        munmap(at, size);
    } else if (!strcmp(cause, "root")) {
        if (ftruncate(fd, 8192))
            return 96;
        at = mmap(NULL, 8192, prot, MAP_SHARED, fd, 0);
        if (ftruncate(fd, 4096) || chroot("/var/empty") ? chroot("/tmp") : 0)
            return 92;
        at += 5000;
    } else if (!strcmp(cause, "unmapped")) {
        if (ftruncate(fd, size))
            return 96;
        at = mmap(NULL, size, prot, MAP_SHARED, fd, 0);
        munmap(at, size);
        at += 100;
    } else if (!strcmp(cause, "detached")) {
        int id = shmget(IPC_PRIVATE, size, 0600);
        at = shmat(id, NULL, 0);
        shmctl(id, IPC_RMID, NULL);
        shmdt(at);
        at += 5000;
    } else if (!strcmp(cause, "sent")) {
        if (sigsetjmp(out, 1) == 0)
            kill(getpid(), SIGBUS);
        say("after\n");
        return 0;
    } else if (!strcmp(cause, "overflow")) {
        printf("%d\n", overflow(1 << 20));
    } else if (!strcmp(cause, "null")) {
        at = NULL;
    } else if (!strcmp(cause, "private")) {
        at = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    } else {
        return 95;
    }
    if (at == MAP_FAILED)
        return 94;
    if (sigsetjmp(out, 1) == 0) {
        if (touch_for_writing)
            at[0] = 1;
        else
            wrote = at[0];
        say("not reached\n");
    }
    say("left\n");
    show(SIGBUS);
    show(SIGSEGV);
    return 0;
}
