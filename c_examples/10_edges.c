/* Reads a mapping of three pages at and beyond the end of its file of 100 bytes.
 * Run:   10_edges
 * Shows: the rest of the last page of the file reads as zero, the pages after it raise SIGBUS,
 *        and the address after the mapping raises SIGSEGV; a byte written after the end of the
 *        file is not kept in the file. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmkit.h>

#include "probe.h"

#define FILE_SIZE 100

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static void print_row(const char *place, const unsigned char *address)
{
    int found = probe(address);
    const char *result = found == -SIGBUS    ? "SIGBUS"
                         : found == -SIGSEGV ? "SIGSEGV"
                         : found == 0        ? "zero"
                                             : "data";
    printf("%-36s %s\n", place, result);
}

static int print_edges(int fd, unsigned char *memory, size_t page)
{
    printf("%-36s %s\n", "byte", "reads as");
    print_row("page 1, byte 0", memory);
    print_row("page 1, byte 99: last of the file", memory + FILE_SIZE - 1);
    print_row("page 1, byte 100: after the file", memory + FILE_SIZE);
    print_row("page 1, last byte", memory + page - 1);
    print_row("page 2, byte 0", memory + page);
    print_row("page 3, last byte", memory + 3 * page - 1);
    print_row("page 4, byte 0: after the mapping", memory + 3 * page);

    memory[FILE_SIZE] = 'x';
    print_row("page 1, byte 100: now written", memory + FILE_SIZE);
    struct stat info;
    if (shmkit_fstat(fd, &info) == -1)
        return failed();
    printf("%-36s %jd bytes\n", "size of the file", (intmax_t)info.st_size);
    return 0;
}

static int map_file(int fd, size_t page)
{
    char content[FILE_SIZE];
    memset(content, 'x', sizeof content);
    if (write(fd, content, sizeof content) != sizeof content) {
        perror("write");
        return 1;
    }

    /* Page 4 is mapped and unmapped: so nothing else is at its address. */
    unsigned char *memory = shmkit_mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return failed();
    if (shmkit_munmap(memory + 3 * page, page) == -1)
        return failed();

    int status = print_edges(fd, memory, page);
    if (shmkit_munmap(memory, 3 * page) == -1)
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
    int status = map_file(fileno(file), (size_t)sysconf(_SC_PAGESIZE));
    if (fclose(file) != 0) {
        perror("fclose");
        status = 1;
    }
    return status;
}
