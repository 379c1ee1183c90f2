/* Prints the limits of shared memory on this system as a table.
 * Run:   01_limits
 * Shows: what one call of shmkit_limits() tells, with the unit of each figure. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include <shmkit.h>

static void print_row(const char *limit, uint64_t value, const char *unit)
{
    printf("%-46s %20" PRIu64 " %s\n", limit, value, unit);
}

int main(void)
{
    shmkit_limits_t limits = { .struct_size = sizeof limits };
    if (shmkit_limits(&limits) != SHMKIT_OK) {
        fprintf(stderr, "%s\n", shmkit_last_error_message());
        return 1;
    }

    print_row("System V: largest segment (SHMMAX)", limits.shmmax, "bytes");
    print_row("System V: smallest segment (SHMMIN)", limits.shmmin, "bytes");
    print_row("System V: segments in the system (SHMMNI)", limits.shmmni, "segments");
    print_row("System V: segments in a process (SHMSEG)", limits.shmseg, "segments");
    print_row("System V: memory in all segments (SHMALL)", limits.shmall, "pages");
    print_row("System V: alignment of an address (SHMLBA)", limits.shmlba, "bytes");
    print_row("POSIX: capacity of the file system of objects", limits.posix_capacity, "bytes");
    print_row("POSIX: free in the file system of objects", limits.posix_free, "bytes");
    print_row("Memory: page size", limits.page_size, "bytes");

    printf("%-46s", "Memory: huge page sizes");
    for (uint64_t i = 0; i < limits.huge_page_count; i++)
        printf(" %" PRIu64, limits.huge_page_sizes[i]);
    printf(limits.huge_page_count == 0 ? " none\n" : " bytes\n");
    return 0;
}
