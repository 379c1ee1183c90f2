/* Shares memory without a name between a parent and its child.
 * Run:   03_anonymous_fork
 * Shows: what the child writes to a shared mapping made before the fork is seen by the parent,
 *        by MAP_ANONYMOUS and by /dev/zero alike; an ordinary variable is not shared. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Lets a child add 41 to a shared and to an ordinary counter, and prints what the parent sees. */
static int count_in_child(const char *kind, int *shared)
{
    int ordinary = 1;
    *shared = 1;

    /* What is still in the buffer of stdout would belong to both processes after the fork. */
    if (fflush(stdout) == EOF) {
        perror("stdout");
        return 1;
    }
    pid_t child = fork();
    if (child == -1) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        *shared += 41;
        ordinary += 41;
        _exit(ordinary == 42 ? EXIT_SUCCESS : EXIT_FAILURE);
    }

    int end;
    if (waitpid(child, &end, 0) == -1) {
        perror("waitpid");
        return 1;
    }
    if (!WIFEXITED(end) || WEXITSTATUS(end) != EXIT_SUCCESS) {
        fprintf(stderr, "the child failed\n");
        return 1;
    }
    printf("%-13s  shared variable: 1 became %2d   ordinary variable: 1 stayed %d\n", kind, *shared,
           ordinary);
    return 0;
}

static int share(const char *kind, int flags, int fd)
{
    int *shared = shmkit_mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (shared == MAP_FAILED)
        return failed();
    int status = count_in_child(kind, shared);
    if (shmkit_munmap(shared, sizeof *shared) == -1)
        status = failed();
    return status;
}

int main(void)
{
    if (share("MAP_ANONYMOUS", MAP_SHARED | MAP_ANONYMOUS, -1) != 0)
        return 1;

    int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
    if (fd == -1) {
        perror("/dev/zero");
        return 1;
    }
    int status = share("/dev/zero", MAP_SHARED, fd);
    if (shmkit_close(fd) == -1)
        status = failed();
    return status;
}
