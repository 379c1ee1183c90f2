/* Lists the shared memory objects of this machine, whoever made them.
 * Run:   26_list [TEXT...]           (all, or those whose address contains one of the texts)
 * Shows: one list over POSIX objects, System V segments and what processes have mapped: files,
 *        memfds, anonymous memory; what each is, how large, who uses it, and whether anybody does.
 *        With a TEXT this program holds a memfd of that label meanwhile, a kind without a name. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <shmkit.h>

struct search {
    char **texts; /* NULL at the end; none: all objects */
    size_t found;
};

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static bool is_wanted(const char *address, char **texts)
{
    if (*texts == NULL)
        return true;
    while (*texts != NULL && strstr(address, *texts) == NULL)
        texts++;
    return *texts != NULL;
}

static const char *content_of(const shmkit_object_t *object)
{
    switch (object->content) {
    case SHMKIT_CONTENT_REGION:
        return "region";
    case SHMKIT_CONTENT_LEFTOVER:
        return "leftover";
    case SHMKIT_CONTENT_FOREIGN:
        return "foreign";
    default:
        return "unknown";
    }
}

static const char *orphan_of(const shmkit_object_t *object)
{
    switch (object->orphan) {
    case SHMKIT_ANSWER_NO:
        return "no";
    case SHMKIT_ANSWER_YES:
        return "yes";
    default:
        return "unknown";
    }
}

static int print_object(const shmkit_object_t *object, void *user)
{
    struct search *search = user;
    if (!is_wanted(object->address, search->texts))
        return 0;
    search->found++;

    char users[24] = "unknown", layout[64] = "-";
    if (object->users != UINT64_MAX)
        snprintf(users, sizeof users, "%" PRIu64, object->users);
    if (object->layout_name[0] != '\0')
        snprintf(layout, sizeof layout, "%s v%" PRIu32, object->layout_name,
                 object->layout_version);
    printf("%-8s %10" PRIu64 "  %04" PRIo32 "  %7s  %-7s  %-16s %s\n", content_of(object),
           object->size, object->mode, users, orphan_of(object), layout, object->address);
    return 0;
}

static int list(char **texts)
{
    struct search search = { .texts = texts };
    printf("%-8s %10s  %4s  %7s  %-7s  %-16s %s\n", "content", "bytes", "mode", "users", "orphan",
           "layout", "address");
    if (shmkit_list(SHMKIT_LIST_ALL, print_object, &search) != SHMKIT_OK)
        return failed();
    printf("%zu objects\n", search.found);
    return 0;
}

static int list_with_memfd(char **texts)
{
    char address[128];
    snprintf(address, sizeof address, "memfd:list-%.100s", texts[0]);
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = 4096;
    shmkit_region_t *region;
    if (shmkit_region_create(address, &options, &region) != SHMKIT_OK)
        return failed();
    int status = list(texts);
    return shmkit_region_close(region) == SHMKIT_OK ? status : failed();
}

int main(int argc, char **argv)
{
    return argc < 2 ? list(argv + argc) : list_with_memfd(argv + 1);
}
