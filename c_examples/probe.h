/* Reads a byte that may not be there, for examples 09 and 10. */
#ifndef PROBE_H
#define PROBE_H

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static sigjmp_buf probe_end;

static inline void probe_caught(int number)
{
    siglongjmp(probe_end, number);
}

/* Returns the byte at the address, or -SIGBUS or -SIGSEGV if the read raises that signal. */
static inline int probe(const volatile unsigned char *address)
{
    struct sigaction action = { .sa_handler = probe_caught };
    struct sigaction old_bus, old_segv;
    volatile int result;

    if (sigaction(SIGBUS, &action, &old_bus) == -1 ||
        sigaction(SIGSEGV, &action, &old_segv) == -1) {
        perror("sigaction");
        exit(1);
    }
    switch (sigsetjmp(probe_end, 1)) {
    case 0:
        result = *address;
        break;
    case SIGBUS:
        result = -SIGBUS;
        break;
    default:
        result = -SIGSEGV;
        break;
    }
    if (sigaction(SIGBUS, &old_bus, NULL) == -1 || sigaction(SIGSEGV, &old_segv, NULL) == -1) {
        perror("sigaction");
        exit(1);
    }
    return result;
}

#endif
