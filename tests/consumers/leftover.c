/* Leaves a segment behind on purpose, so that the library's destructor has something to report, after the program's
 * own exit handler. Prints the id of the segment, for whoever removes it; reports go where SHMKIT_REPORT says. */
#include <stdio.h>
#include <stdlib.h>

#include <shmkit.h>

static void last_words(void)
{
    fputs("the program's own exit handler\n", stderr);
}

int main(void)
{
    int id = shmkit_shmget(IPC_PRIVATE, 4096, 0600);

    if (id == -1) {
        fprintf(stderr, "%s\n", shmkit_last_error_message());
        return 1;
    }
    printf("%d\n", id);
    return atexit(last_words);
}
