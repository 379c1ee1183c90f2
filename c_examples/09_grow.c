/* Grows an object step by step under a mapping that is larger than it.
 * Run:   09_grow
 * Shows: which pages of the mapping can be read at each size, with no new call of mmap: every
 *        page that holds at least one byte of the object.  A shrunk object takes them back. */
#include <stdio.h>
#include <unistd.h>

#include <shmkit.h>

#include "probe.h"

#define PAGES 4

/* The sizes, each as whole pages and bytes more. */
static const struct {
    const char *text;
    int pages;
    int bytes;
} steps[] = {
    { "empty", 0, 0 },           { "1 byte", 0, 1 },  { "1 page", 1, 0 },
    { "1 page + 1 byte", 1, 1 }, { "3 pages", 3, 0 }, { "4 pages", 4, 0 },
    { "back to 1 page", 1, 0 },
};
#define STEPS (sizeof steps / sizeof steps[0])

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Writes the last byte of the object through the mapping and reads it from the object. */
static int print_last_byte(int fd, unsigned char *memory, off_t size, char mark)
{
    char found;
    if (size == 0) {
        printf("none\n");
        return 0;
    }
    memory[size - 1] = (unsigned char)mark;
    if (pread(fd, &found, 1, size - 1) != 1) {
        perror("pread");
        return 1;
    }
    printf("wrote %c, read %c\n", mark, found);
    return 0;
}

static int grow(int fd, unsigned char *memory, off_t page)
{
    printf("%-16s page 1   page 2   page 3   page 4   last byte\n", "size");
    for (size_t i = 0; i < STEPS; i++) {
        off_t size = steps[i].pages * page + steps[i].bytes;
        if (shmkit_ftruncate(fd, size) == -1)
            return failed();

        printf("%-16s", steps[i].text);
        for (int p = 0; p < PAGES; p++)
            printf(" %-8s", probe(memory + p * page) >= 0 ? "reads" : "SIGBUS");
        printf(" ");
        if (print_last_byte(fd, memory, size, (char)('0' + i)) != 0)
            return 1;
    }
    return 0;
}

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    int fd = shmkit_memfd_create("grow", MFD_CLOEXEC);
    if (fd == -1)
        return failed();
    void *memory = shmkit_mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return failed();

    int status = grow(fd, memory, (off_t)page);
    if (shmkit_munmap(memory, PAGES * page) == -1)
        status = failed();
    if (shmkit_close(fd) == -1)
        status = failed();
    return status;
}
