/* A child that shares its parent's memory sets all dispositions to the default, as those that start programs do; the
 * parent's own handlers stay.
 *
 *     vforked vfork|clone bus|segv */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void handle(int signal)
{
    (void)signal;
    if (write(1, "the parent's handler\n", 21) != 21)
        _exit(8);
    _exit(7);
}

static int reset(void *unused)
{
    struct sigaction before, action = { .sa_handler = SIG_DFL };
    (void)unused;
    for (int number = 1; number < 32; number++) {
        sigaction(number, &action, &before);
        if ((number == SIGBUS || number == SIGSEGV) && before.sa_handler != handle)
            _exit(3);
        sigaction(number, NULL, &before);
        if (before.sa_handler != SIG_DFL && number != SIGKILL && number != SIGSTOP)
            _exit(4);
        signal(number, SIG_DFL);
    }
    execl("/bin/true", "true", (char *)NULL);
    _exit(1);
}

static char stack[65536] __attribute__((aligned(16)));

int main(int count, char **arguments)
{
    struct sigaction action = { .sa_handler = handle }, now;
    int status = -1, number = count > 2 && !strcmp(arguments[2], "bus") ? SIGBUS : SIGSEGV;
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGSEGV, &action, NULL);
    pid_t child;
    if (!strcmp(arguments[1], "vfork")) {
        child = vfork();
        if (child == 0)
            reset(NULL);
    } else {
        child = clone(reset, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    }
    waitpid(child, &status, 0);
    sigaction(number, NULL, &now);
    printf("child %d, %s\n", status, now.sa_handler == handle ? "its own handler" : "another handler");
    fflush(stdout);
    if (number == SIGBUS)
        raise(SIGBUS);
    else
        *(volatile int *)16 = 1;
    return 0;
}
