/* Compares MAP_SHARED and MAP_PRIVATE mappings of the same file.
 * Run:   04_private_shared
 * Shows: after each write, what is seen through the shared mapping, the private mapping and
 *        the file.  A private page follows the file until the first write to that page gives
 *        it a copy of its own (Linux; the standard leaves open what it shows before that). */
#include <stdio.h>
#include <unistd.h>

#include <shmkit.h>

#define FILE_SIZE 4

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int show(const char *event, int fd, const char *shared, const char *private)
{
    char file[FILE_SIZE];
    if (pread(fd, file, FILE_SIZE, 0) != FILE_SIZE) {
        perror("pread");
        return 1;
    }
    printf("%-24s %-8.*s %-8.*s %.*s\n", event, FILE_SIZE, shared, FILE_SIZE, private, FILE_SIZE,
           file);
    return 0;
}

static int compare(int fd, char *shared, char *private)
{
    printf("%-24s %-8s %-8s %s\n", "event", "shared", "private", "file");
    if (show("none", fd, shared, private) != 0)
        return 1;

    shared[0] = 'S';
    if (show("shared[0] = 'S'", fd, shared, private) != 0)
        return 1;

    private[1] = 'P';
    if (show("private[1] = 'P'", fd, shared, private) != 0)
        return 1;

    shared[2] = 'S';
    if (show("shared[2] = 'S'", fd, shared, private) != 0)
        return 1;

    if (pwrite(fd, "F", 1, 3) != 1) {
        perror("pwrite");
        return 1;
    }
    return show("write 'F' to file at 3", fd, shared, private);
}

static int map_both(int fd)
{
    if (pwrite(fd, "....", FILE_SIZE, 0) != FILE_SIZE) {
        perror("pwrite");
        return 1;
    }
    char *shared = shmkit_mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED)
        return failed();
    char *private = shmkit_mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (private == MAP_FAILED)
        return failed();

    int status = compare(fd, shared, private);
    if (shmkit_munmap(private, FILE_SIZE) == -1)
        status = failed();
    if (shmkit_munmap(shared, FILE_SIZE) == -1)
        status = failed();
    return status;
}

int main(void)
{
    FILE *file = tmpfile();
    if (file == NULL) {
        perror("tmpfile");
        return 1;
    }
    int status = map_both(fileno(file));
    if (fclose(file) != 0) {
        perror("fclose");
        status = 1;
    }
    return status;
}
