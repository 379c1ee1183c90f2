/* Keeps records in a file region, and says how far each of them is safe.
 * Run:   25_file_sync PATH           (a file that does not exist)
 * Shows: a file region is shared memory that outlives the machine's power, as far as it is synced:
 *        started, the data, the file's metadata too, its name too.  Other kinds say that they are
 *        memory. */
#include <stdio.h>

#include <shmkit.h>

#define RECORD 4096
#define RECORDS 4

static const struct {
    int32_t level;
    const char *name;
    const char *promise;
} levels[RECORDS] = {
    { SHMKIT_SYNC_START, "START", "on its way to the device" },
    { SHMKIT_SYNC_DATA, "DATA", "on the device" },
    { SHMKIT_SYNC_FILE, "FILE", "on the device, and the file's size and times" },
    { SHMKIT_SYNC_NAME, "NAME", "on the device, and a restart finds the file" },
};

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* Writes each record, and syncs it alone to its own level. */
static int write_records(shmkit_region_t *region)
{
    for (size_t i = 0; i < RECORDS; i++) {
        char *record = (char *)shmkit_region_data(region) + i * RECORD;
        snprintf(record, RECORD, "record %zu", i + 1);
        if (shmkit_region_sync(region, i * RECORD, RECORD, levels[i].level) != SHMKIT_OK)
            return failed();
        printf("%s: %-5s %s\n", record, levels[i].name, levels[i].promise);
    }
    return 0;
}

static int create_and_write(const char *address)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = RECORDS * RECORD;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    int status = write_records(region);
    return shmkit_region_close(region) == SHMKIT_OK ? status : failed();
}

/* As another process would, after a restart. */
static int open_and_unlink(const char *address)
{
    char record[32];
    shmkit_region_t *region;
    if (shmkit_region_open(address, NULL, &region) != SHMKIT_OK)
        return failed();
    int status = 0;
    if (shmkit_region_copy_out(region, (RECORDS - 1) * RECORD, record, sizeof record) == SHMKIT_OK)
        printf("opened again: %zu bytes, the last is %s\n", shmkit_region_size(region), record);
    else
        status = failed();
    if (shmkit_region_unlink(region) != SHMKIT_OK || shmkit_region_close(region) != SHMKIT_OK)
        status = failed();
    return status;
}

static int sync_memory(void)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = RECORD;
    shmkit_region_t *region;
    if (shmkit_region_create("memfd:records", &options, &region) != SHMKIT_OK)
        return failed();
    shmkit_status_t status = shmkit_region_sync(region, 0, SHMKIT_TO_END, SHMKIT_SYNC_DATA);
    printf("memory: %s\n    %s\n", shmkit_status_name(status),
           status == SHMKIT_OK ? "" : shmkit_last_error()->cause);
    if (shmkit_region_close(region) != SHMKIT_OK)
        return failed();
    return status == SHMKIT_ERR_BACKEND ? 0 : 1;
}

int main(int argc, char **argv)
{
    char address[4096];
    const int room = sizeof address;
    if (argc != 2 || snprintf(address, sizeof address, "file:%s", argv[1]) >= room) {
        fprintf(stderr, "usage: %s PATH\n", argv[0]);
        return 2;
    }
    int status = create_and_write(address);
    if (status == 0)
        status = open_and_unlink(address);
    return status == 0 ? sync_memory() : status;
}
