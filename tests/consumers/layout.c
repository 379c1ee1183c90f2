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

    STRUCT(shmkit_layout_t);
    FIELD(shmkit_layout_t, name);
    FIELD(shmkit_layout_t, size);
    FIELD(shmkit_layout_t, version);
    FIELD(shmkit_layout_t, alignment);

    STRUCT(shmkit_region_options_t);
    FIELD(shmkit_region_options_t, struct_size);
    FIELD(shmkit_region_options_t, size);
    FIELD(shmkit_region_options_t, max_size);
    FIELD(shmkit_region_options_t, layout);
    FIELD(shmkit_region_options_t, timeout_ns);
    FIELD(shmkit_region_options_t, init);
    FIELD(shmkit_region_options_t, init_user);
    FIELD(shmkit_region_options_t, mode);
    FIELD(shmkit_region_options_t, group);
    FIELD(shmkit_region_options_t, owner);
    FIELD(shmkit_region_options_t, space);
    FIELD(shmkit_region_options_t, huge_pages);
    FIELD(shmkit_region_options_t, read_only);
    FIELD(shmkit_region_options_t, raw);
    FIELD(shmkit_region_options_t, persistent);

    STRUCT(shmkit_process_t);
    FIELD(shmkit_process_t, pid);
    FIELD(shmkit_process_t, uid);
    FIELD(shmkit_process_t, start_time);
    FIELD(shmkit_process_t, boot_id);
    FIELD(shmkit_process_t, pid_namespace);

    STRUCT(shmkit_region_stat_t);
    FIELD(shmkit_region_stat_t, struct_size);
    FIELD(shmkit_region_stat_t, size);
    FIELD(shmkit_region_stat_t, max_size);
    FIELD(shmkit_region_stat_t, generation);
    FIELD(shmkit_region_stat_t, object_size);
    FIELD(shmkit_region_stat_t, reserved);
    FIELD(shmkit_region_stat_t, page_size);
    FIELD(shmkit_region_stat_t, data_offset);
    FIELD(shmkit_region_stat_t, created_ns);
    FIELD(shmkit_region_stat_t, creator);
    FIELD(shmkit_region_stat_t, layout_name);
    FIELD(shmkit_region_stat_t, layout_size);
    FIELD(shmkit_region_stat_t, layout_version);
    FIELD(shmkit_region_stat_t, layout_alignment);
    FIELD(shmkit_region_stat_t, device);
    FIELD(shmkit_region_stat_t, inode);
    FIELD(shmkit_region_stat_t, links);
    FIELD(shmkit_region_stat_t, backend);
    FIELD(shmkit_region_stat_t, mode);
    FIELD(shmkit_region_stat_t, uid);
    FIELD(shmkit_region_stat_t, gid);
    FIELD(shmkit_region_stat_t, seals);
    FIELD(shmkit_region_stat_t, read_only);
    FIELD(shmkit_region_stat_t, raw);
    FIELD(shmkit_region_stat_t, persistent);
    FIELD(shmkit_region_stat_t, fragile);

    STRUCT(shmkit_participant_t);
    FIELD(shmkit_participant_t, struct_size);
    FIELD(shmkit_participant_t, process);
    FIELD(shmkit_participant_t, live);
    FIELD(shmkit_participant_t, own);
    FIELD(shmkit_participant_t, read_only);

    STRUCT(shmkit_object_t);
    FIELD(shmkit_object_t, struct_size);
    FIELD(shmkit_object_t, address);
    FIELD(shmkit_object_t, backend);
    FIELD(shmkit_object_t, content);
    FIELD(shmkit_object_t, size);
    FIELD(shmkit_object_t, reserved);
    FIELD(shmkit_object_t, device);
    FIELD(shmkit_object_t, inode);
    FIELD(shmkit_object_t, users);
    FIELD(shmkit_object_t, creator);
    FIELD(shmkit_object_t, created_ns);
    FIELD(shmkit_object_t, layout_name);
    FIELD(shmkit_object_t, layout_version);
    FIELD(shmkit_object_t, uid);
    FIELD(shmkit_object_t, gid);
    FIELD(shmkit_object_t, mode);
    FIELD(shmkit_object_t, orphan);
    FIELD(shmkit_object_t, unlinked);
    FIELD(shmkit_object_t, persistent);
    FIELD(shmkit_object_t, pid);

    STRUCT(shmkit_status_t);
    return 0;
}
