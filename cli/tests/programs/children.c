/* Begins another program in one of the ways there are; that one says how it was begun, and makes and removes an object.
 *
 *     children WAY NAME */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int leaf(const char *name)
{
    char object[256];
    const char *kept = getenv("KEPT");
    snprintf(object, sizeof object, "/%s", name);
    int fd = shm_open(object, O_RDWR | O_CREAT | O_EXCL, 0600);
    printf("leaf %d %s\n", fd != -1, kept ? kept : "-");
    shm_unlink(object);
    return 5;
}

static int ended(pid_t child)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child)
        return 90;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int count, char **arguments)
{
    const char *way = arguments[1], *name = arguments[2];
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *own[] = { self, "leaf", (char *)name, NULL };
    char *empty[] = { "KEPT=empty", NULL };
    char *preload[] = { "KEPT=preload", "LD_PRELOAD=libm.so.6", NULL };
    pid_t child = -1;

    if (count < 3 || length < 0)
        return 91;
    self[length] = 0;
    if (!strcmp(way, "leaf"))
        return leaf(name);
    if (!strcmp(way, "fork")) {
        if ((child = fork()) == 0)
            exit(leaf(name));
    } else if (!strcmp(way, "fork_exec")) {
        if ((child = fork()) == 0)
            execv(self, own);
    } else if (!strcmp(way, "vfork")) {
        if ((child = vfork()) == 0) {
            execv(self, own);
            _exit(92);
        }
    } else if (!strcmp(way, "vfork_fails")) {
        if ((child = vfork()) == 0) {
            execv("/nonexistent/program", own);
            _exit(5);
        }
        printf("leaf 1 -\n");
    } else if (!strcmp(way, "spawn")) {
        if (posix_spawn(&child, self, NULL, NULL, own, empty) != 0)
            return 93;
    } else if (!strcmp(way, "spawnp")) {
        if (posix_spawnp(&child, self, NULL, NULL, own, environ) != 0)
            return 93;
    } else if (!strcmp(way, "system")) {
        char line[9000];
        snprintf(line, sizeof line, "'%s' leaf %s", self, name);
        fflush(stdout);
        return WEXITSTATUS(system(line));
    } else if (!strcmp(way, "popen")) {
        char line[9000];
        snprintf(line, sizeof line, "'%s' leaf %s", self, name);
        FILE *out = popen(line, "r");
        while (fgets(line, sizeof line, out) != NULL)
            fputs(line, stdout);
        return WEXITSTATUS(pclose(out));
    } else if (!strcmp(way, "execve")) {
        if ((child = fork()) == 0)
            execve(self, own, empty);
    } else if (!strcmp(way, "execve_preload")) {
        if ((child = fork()) == 0)
            execve(self, own, preload);
    } else if (!strcmp(way, "execvpe")) {
        if ((child = fork()) == 0)
            execvpe(self, own, empty);
    } else if (!strcmp(way, "fexecve")) {
        if ((child = fork()) == 0)
            fexecve(open(self, O_RDONLY | O_CLOEXEC), own, empty);
    } else if (!strcmp(way, "execveat")) {
        if ((child = fork()) == 0)
            execveat(AT_FDCWD, self, own, empty, 0);
    } else if (!strcmp(way, "execle")) {
        if ((child = fork()) == 0)
            execle(self, self, "leaf", name, (char *)NULL, empty);
    } else if (!strcmp(way, "execl")) {
        if ((child = fork()) == 0)
            execl(self, self, "leaf", name, (char *)NULL);
    } else if (!strcmp(way, "execlp")) {
        if ((child = fork()) == 0)
            execlp(self, self, "leaf", name, (char *)NULL);
    } else if (!strcmp(way, "clearenv")) {
        if ((child = fork()) == 0) {
            clearenv();
            setenv("KEPT", "cleared", 1);
            execv(self, own);
        }
    } else if (!strcmp(way, "bad")) {
        /* What the kernel answers to environments that lead nowhere. */
        char *broken[] = { (char *)16, NULL };
        char **volatile nowhere = (char **)16;
        void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        execve(self, own, nowhere);
        printf("%s\n", strerrorname_np(errno));
        execve(self, own, none);
        printf("%s\n", strerrorname_np(errno));
        execve(self, own, broken);
        printf("%s\n", strerrorname_np(errno));
        execve(none, own, empty);
        printf("%s\n", strerrorname_np(errno));
        fexecve(open(self, O_RDONLY | O_CLOEXEC), own, NULL);
        printf("%s\n", strerrorname_np(errno));
        printf("%s\n", open(none, O_RDONLY) == -1 ? strerrorname_np(errno) : "opened");
        printf("%s\n", open(none, O_RDWR | O_CREAT, 0600) == -1 ? strerrorname_np(errno) : "opened");
        printf("%s\n", open((char *)-1L, O_RDWR) == -1 ? strerrorname_np(errno) : "opened");
        printf("%s\n", unlink(none) == -1 ? strerrorname_np(errno) : "unlinked");
        printf("%s\n", memfd_create(none, 0) == -1 ? strerrorname_np(errno) : "made");
        return leaf(name);
    } else {
        return 94;
    }
    if (child == 0)
        _exit(95);
    return ended(child);
}
