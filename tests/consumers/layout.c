/* Prints the layout of the public structs, a line each: name, then size and alignment, or offset and size.
 * tests/package.rs compares it with the layout that Rust has. */
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>

#include <shmkit.h>

#define STRUCT(type) printf("%s %zu %zu\n", #type, sizeof(type), alignof(type))
#define FIELD(type, field) printf("%s.%s %zu %zu\n", #type, #field, offsetof(type, field), sizeof(((type *)0)->field))

int main(void)
{
    STRUCT(shmkit_error_t);
    FIELD(shmkit_error_t, struct_size);
    FIELD(shmkit_error_t, call);
    FIELD(shmkit_error_t, rule);
    FIELD(shmkit_error_t, cause);
    FIELD(shmkit_error_t, remedy);
    FIELD(shmkit_error_t, code);
    FIELD(shmkit_error_t, errno_value);

    STRUCT(shmkit_report_t);
    FIELD(shmkit_report_t, struct_size);
    FIELD(shmkit_report_t, rule);
    FIELD(shmkit_report_t, call);
    FIELD(shmkit_report_t, cause);
    FIELD(shmkit_report_t, remedy);
    FIELD(shmkit_report_t, verdict);
    FIELD(shmkit_report_t, outcome);
    FIELD(shmkit_report_t, code);
    FIELD(shmkit_report_t, errno_value);

    STRUCT(shmkit_limits_t);
    FIELD(shmkit_limits_t, struct_size);
    FIELD(shmkit_limits_t, shmmax);
    FIELD(shmkit_limits_t, shmmin);
    FIELD(shmkit_limits_t, shmmni);
    FIELD(shmkit_limits_t, shmall);
    FIELD(shmkit_limits_t, shmseg);
    FIELD(shmkit_limits_t, page_size);
    FIELD(shmkit_limits_t, shmlba);
    FIELD(shmkit_limits_t, huge_page_sizes);
    FIELD(shmkit_limits_t, huge_page_count);
    FIELD(shmkit_limits_t, posix_capacity);
    FIELD(shmkit_limits_t, posix_free);

    STRUCT(shmkit_status_t);
    return 0;
}
