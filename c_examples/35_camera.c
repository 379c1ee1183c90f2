/* A camera whose pictures several programs watch, each at its own pace.
 * Run:   35_camera ADDRESS           (posix:/NAME)
 * Shows: a broadcast: who keeps up sees every picture, who is slow is told how many it missed, who
 *        comes late begins with what is still there, and the camera waits for nobody; a cell: a
 *        dashboard has the latest figures, whole and never held up. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

enum { PICTURES = 300, KEPT = 64, WIDTH = 64, HEIGHT = 48 };

struct picture {
    uint64_t number;                    /* from 1 on */
    uint8_t pixels[HEIGHT][WIDTH];      /* all of them the number, cut to a byte */
};

struct figures {
    uint64_t number, brightness;        /* of the latest picture: the brightness follows from the number */
    char words[48];
};

/* Who was built with another definition is refused. */
#define PICTURE (&SHMKIT_LAYOUT(struct picture, 1))
#define FIGURES (&SHMKIT_LAYOUT(struct figures, 1))

/* Where the participants meet, so that this program shows the same every time. */
struct stage {
    shmkit_barrier_t begin;             /* all are there */
    shmkit_barrier_t end;               /* the last picture is taken */
};

/* All in one region: the broadcast, the cell and the stage, each aligned to a cache line. */
struct studio {
    shmkit_region_t *region;
    char *pictures, *figures;
    struct stage *stage;
};

static size_t aligned(size_t size)
{
    return (size + 63) / 64 * 64;
}

static size_t pictures_size(void)
{
    return aligned(shmkit_broadcast_size(KEPT, sizeof(struct picture)));
}

static size_t figures_size(void)
{
    return aligned(shmkit_cell_size(sizeof(struct figures)));
}

/* Returns whether a call went well, and says why it did not. */
static int is_ok(shmkit_status_t status)
{
    if (status != SHMKIT_OK)
        fprintf(stderr, "%s\n", shmkit_last_error_message());
    return status == SHMKIT_OK;
}

static int make(void *data, size_t size, void *user)
{
    char *pictures = data, *figures = pictures + pictures_size();
    struct stage *stage = (struct stage *)(figures + figures_size());
    (void)size, (void)user;
    return !is_ok(shmkit_broadcast_init(pictures, pictures_size(), KEPT, sizeof(struct picture), PICTURE)) ||
           !is_ok(shmkit_cell_init(figures, figures_size(), sizeof(struct figures), FIGURES)) ||
           !is_ok(shmkit_barrier_init(&stage->begin, 4)) || !is_ok(shmkit_barrier_init(&stage->end, 2));
}

static int enter(struct studio *studio, const char *address, int creates)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = pictures_size() + figures_size() + sizeof(struct stage);
    options.init = make;
    if (!is_ok(creates ? shmkit_region_create(address, &options, &studio->region)
                       : shmkit_region_open(address, NULL, &studio->region)))
        return 0;
    studio->pictures = shmkit_region_data(studio->region);
    studio->figures = studio->pictures + pictures_size();
    studio->stage = (struct stage *)(studio->figures + figures_size());
    return 1;
}

static int watch(shmkit_broadcast_t *reader, const struct studio *studio, int from)
{
    return is_ok(shmkit_broadcast_attach(reader, studio->region, studio->pictures, pictures_size(), PICTURE,
                                         from));
}

static int is_whole(const struct picture *picture, size_t size)
{
    struct picture right = { .number = picture->number };
    memset(right.pixels, (int)(picture->number & 0xff), sizeof right.pixels);
    return size == sizeof right && memcmp(picture, &right, sizeof right) == 0;
}

/* Sees what comes, until the camera is off; `exact`: says how much that was. */
static int see_all(shmkit_broadcast_t *reader, const char *who, int exact)
{
    struct picture picture;
    uint64_t last = 0, first = 0, seen = 0, missed = 0, just_missed;
    size_t size;
    shmkit_status_t status;
    while ((status = shmkit_broadcast_read(reader, &picture, sizeof picture, &size, &just_missed,
                                           SHMKIT_TIMEOUT_FOREVER)) == SHMKIT_OK) {
        if (!is_whole(&picture, size) || (last != 0 && picture.number != last + just_missed + 1)) {
            fprintf(stderr, "%s: picture %llu is torn, or in the wrong place\n", who,
                    (unsigned long long)picture.number);
            return 0;
        }
        first = seen == 0 ? picture.number : first;
        last = picture.number;
        missed += just_missed;
        seen++;
    }
    if (status != SHMKIT_ERR_CLOSED)
        return is_ok(status);
    if (!exact)
        printf("%s: %llu seen or known to be missed\n", who, (unsigned long long)(seen + missed));
    else if (seen == 0)
        printf("%s: nothing\n", who);
    else
        printf("%s: %llu missed, %llu seen, number %llu to %llu\n", who, (unsigned long long)missed,
               (unsigned long long)seen, (unsigned long long)first, (unsigned long long)last);
    return is_ok(shmkit_broadcast_detach(reader));
}

static int run_keen(struct studio *studio)
{
    shmkit_broadcast_t reader;
    return watch(&reader, studio, SHMKIT_BROADCAST_FROM_NOW) &&
           is_ok(shmkit_barrier_wait(&studio->stage->begin, NULL)) && see_all(&reader, "a reader at work", 0);
}

static int run_slow(struct studio *studio)
{
    shmkit_broadcast_t reader;
    return watch(&reader, studio, SHMKIT_BROADCAST_FROM_NOW) &&
           is_ok(shmkit_barrier_wait(&studio->stage->begin, NULL)) &&
           is_ok(shmkit_barrier_wait(&studio->stage->end, NULL)) && see_all(&reader, "a reader that slept", 1);
}

static int run_dashboard(struct studio *studio)
{
    shmkit_cell_t cell;
    struct figures figures = { 0 };
    uint64_t version = 0, last = 0;
    char words[sizeof figures.words];
    if (!is_ok(shmkit_cell_attach(&cell, studio->figures, figures_size(), FIGURES, SHMKIT_CELL_READ)) ||
        !is_ok(shmkit_barrier_wait(&studio->stage->begin, NULL)))
        return 0;
    while (version < PICTURES) {
        if (!is_ok(shmkit_cell_read_newer(&cell, version, &figures, sizeof figures, NULL, &version,
                                          SHMKIT_TIMEOUT_FOREVER)))
            return 0;
        snprintf(words, sizeof words, "picture %llu", (unsigned long long)figures.number);
        if (figures.number != version || version <= last || figures.brightness != (version & 0xff) * WIDTH * HEIGHT ||
            strcmp(words, figures.words) != 0) {
            fprintf(stderr, "the dashboard saw figures that do not belong together\n");
            return 0;
        }
        last = version;
    }
    printf("the dashboard: ends with %s\n", figures.words);
    return is_ok(shmkit_cell_detach(&cell));
}

static int take_picture(shmkit_broadcast_t *camera, shmkit_cell_t *cell, uint64_t number)
{
    void *room;
    if (!is_ok(shmkit_broadcast_reserve(camera, sizeof(struct picture), &room)))
        return 0;
    struct picture *picture = room;     /* the picture is made where the readers find it */
    picture->number = number;
    memset(picture->pixels, (int)(number & 0xff), sizeof picture->pixels);
    struct figures figures = { .number = number, .brightness = (number & 0xff) * WIDTH * HEIGHT };
    snprintf(figures.words, sizeof figures.words, "picture %llu", (unsigned long long)number);
    return is_ok(shmkit_broadcast_commit(camera, sizeof *picture)) &&
           is_ok(shmkit_cell_write(cell, &figures, sizeof figures));
}

static int run_camera(struct studio *studio)
{
    shmkit_broadcast_t camera;
    shmkit_cell_t cell;
    if (!watch(&camera, studio, SHMKIT_BROADCAST_FROM_NOW) ||
        !is_ok(shmkit_cell_attach(&cell, studio->figures, figures_size(), FIGURES, SHMKIT_CELL_WRITE)) ||
        !is_ok(shmkit_barrier_wait(&studio->stage->begin, NULL)))
        return 0;
    for (uint64_t number = 1; number <= PICTURES; number++)
        if (!take_picture(&camera, &cell, number))
            return 0;
    return is_ok(shmkit_broadcast_close(&camera)) && is_ok(shmkit_broadcast_detach(&camera)) &&
           is_ok(shmkit_cell_detach(&cell)) && is_ok(shmkit_barrier_wait(&studio->stage->end, NULL));
}

/* A process, and what it says, which is shown when it is asked for. */
struct player {
    pid_t process;
    int words;
};

static struct player start(const char *address, int (*run)(struct studio *))
{
    int ends[2];
    if (pipe(ends) != 0)
        return (struct player){ -1, -1 };
    pid_t process = fork();
    if (process == 0) {
        struct studio studio;
        int done = dup2(ends[1], STDOUT_FILENO) != -1 && enter(&studio, address, 0) && run(&studio) &&
                   is_ok(shmkit_region_close(studio.region));
        fflush(stdout);
        _exit(!done);
    }
    close(ends[1]);
    return (struct player){ process, ends[0] };
}

static int ended_well(struct player player)
{
    char words[256];
    ssize_t size;
    int end;
    while ((size = read(player.words, words, sizeof words)) > 0)
        fwrite(words, 1, (size_t)size, stdout);
    close(player.words);
    return player.process != -1 && waitpid(player.process, &end, 0) == player.process && end == 0;
}

int main(int argc, char **argv)
{
    struct studio studio;
    shmkit_broadcast_t late;
    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    if (!enter(&studio, argv[1], 1))
        return 1;
    struct player keen = start(argv[1], run_keen), slow = start(argv[1], run_slow);
    struct player dashboard = start(argv[1], run_dashboard), camera = start(argv[1], run_camera);
    int failed = !ended_well(camera) | !ended_well(keen) | !ended_well(slow) | !ended_well(dashboard);

    failed |= !watch(&late, &studio, SHMKIT_BROADCAST_FROM_OLDEST) ||
              !see_all(&late, "a late reader, from the oldest", 1);
    failed |= !watch(&late, &studio, SHMKIT_BROADCAST_FROM_NOW) || !see_all(&late, "a late reader, from now on", 1);
    return failed | !is_ok(shmkit_region_unlink(studio.region)) | !is_ok(shmkit_region_close(studio.region));
}
