/* Breaks a rule many times, while its standard error is not what it was.
 *
 *     noisy N         closes what is not open, N times
 *     noisy N FILE    the same after descriptor 2 became FILE, which then holds what this program wrote and no more
 *     noisy N wait    starts a child that does the first, reads nothing of its standard error, and waits for its end
 *     noisy N chroot FOLDER */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void make(int count)
{
    for (int i = 0; i < count; i++)
        close(12345);
}

static int in_file(int count, const char *path)
{
    struct stat status;
    close(2);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd != 2 || write(fd, "one\n", 4) != 4)
        return 1;
    make(count);
    return write(fd, "two\n", 4) == 4 && fstat(fd, &status) == 0 && status.st_size == 8 ? 0 : 2;
}

static int waiting(const char *self, char *count)
{
    int ends[2], status;
    if (pipe(ends) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        execl(self, self, count, (char *)NULL);
        _exit(9);
    }
    close(ends[1]);
    alarm(30);
    return waitpid(child, &status, 0) == child ? status : 3;
}

int main(int count, char **arguments)
{
    int number = atoi(arguments[1]);
    if (count == 4)
        return chroot(arguments[3]) != 0 || chdir("/") != 0 ? 3 : (make(number), 0);
    if (count == 3)
        return strcmp(arguments[2], "wait") == 0 ? waiting(arguments[0], arguments[1]) : in_file(number, arguments[2]);
    make(number);
    return 0;
}
