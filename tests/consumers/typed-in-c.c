/* The C half of `typed`: makes and opens regions of the types in typed.h with SHMKIT_LAYOUT. */
#include "typed.h"

shmkit_layout_t layout_in_c(int index)
{
#define ROW(c, cpp, version) SHMKIT_LAYOUT(c, version),
    const shmkit_layout_t layouts[] = { ALL_TYPES(ROW){ 0 } };
    return layouts[index];
}

shmkit_status_t create_in_c(const char *address, int index)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    shmkit_region_t *region;
    shmkit_status_t status;

    options.layout = layout_in_c(index);
    options.size = options.layout.size;
    status = shmkit_region_create(address, &options, &region);
    return status == SHMKIT_OK ? shmkit_region_close(region) : status;
}

shmkit_status_t open_in_c(const char *address, int index)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    shmkit_region_t *region;
    shmkit_status_t status;

    options.layout = layout_in_c(index);
    status = shmkit_region_open(address, &options, &region);
    return status == SHMKIT_OK ? shmkit_region_close(region) : status;
}

shmkit_region_options_t options_in_c(void)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    return options;
}
