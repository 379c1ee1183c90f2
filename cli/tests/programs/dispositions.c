/* What the calls about dispositions of signals answer, printed line by line: the same whoever listens. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static void one(int signal)
{
    (void)signal;
}

static void two(int signal)
{
    (void)signal;
}

static const char *named(void (*handler)(int))
{
    return handler == SIG_DFL   ? "default"
           : handler == SIG_IGN ? "ignored"
           : handler == SIG_ERR ? "error"
           : handler == SIG_HOLD ? "held"
           : handler == one     ? "one"
           : handler == two     ? "two"
                                : "somebody else's";
}

static void show(const char *what, int signal)
{
    struct sigaction now;
    sigset_t blocked;
    memset(&now, 0x55, sizeof now);
    int result = sigaction(signal, NULL, &now);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    printf("%d %s: %d %s %x %d %d %d, blocked %d\n", signal, what, result, named(now.sa_handler), (unsigned)now.sa_flags,
           sigismember(&now.sa_mask, signal), sigismember(&now.sa_mask, SIGUSR1), sigismember(&now.sa_mask, SIGKILL), sigismember(&blocked, signal));
}

int main(void)
{
    int signals[] = { SIGBUS, SIGSEGV, SIGUSR2 };
    for (int i = 0; i < 3; i++) {
        int number = signals[i];
        struct sigaction action;
        show("at first", number);
        printf("%s\n", named(signal(number, one)));
        show("signal", number);
        siginterrupt(number, 1);
        show("siginterrupt", number);
        printf("%s\n", named(signal(number, two)));
        show("signal again", number);
        siginterrupt(number, 0);
        show("siginterrupt off", number);
        printf("%s\n", named(sysv_signal(number, one)));
        show("sysv_signal", number);
        printf("%s\n", named(ssignal(number, two)));
        show("ssignal", number);
        printf("%s\n", named(sigset(number, SIG_HOLD)));
        show("sigset, hold", number);
        printf("%s\n", named(sigset(number, one)));
        show("sigset", number);
        printf("%s\n", named(sigset(number, two)));
        show("sigset again", number);
        printf("%d\n", sigignore(number));
        show("sigignore", number);
        memset(&action, 0, sizeof action);
        sigfillset(&action.sa_mask);
        action.sa_handler = one;
        action.sa_flags = SA_NODEFER | SA_NOCLDSTOP | (int)0x40000000 | 0x00200000;
        /* The old one into the same struct. */
        printf("%d\n", sigaction(number, &action, &action));
        printf("%s\n", named(action.sa_handler));
        show("sigaction", number);
        action.sa_handler = SIG_DFL;
        action.sa_flags = SA_RESTART;
        printf("%d\n", sigaction(number, &action, NULL));
        show("default with flags", number);
        /* A handler for one signal, which comes, and is shown to be gone until there is another. */
        action.sa_handler = two;
        action.sa_flags = (int)SA_RESETHAND;
        sigemptyset(&action.sa_mask);
        sigaction(number, &action, NULL);
        show("once", number);
        raise(number);
        show("once, spent", number);
        show("once, still spent", number);
        sigaction(number, &action, NULL);
        show("once more", number);
        errno = 0;
        printf("%s %d\n", named(signal(number, SIG_ERR)), errno);
        signal(number, SIG_DFL);
    }
    printf("%d %d\n", sigaction(SIGKILL, &(struct sigaction){ .sa_handler = one }, NULL), errno);
    printf("%d %d\n", sigaction(99, NULL, NULL), errno);
    printf("%s %d\n", named(signal(99, one)), errno);
    return 0;
}
