/* Inspects, changes and removes a System V segment with shmctl.
 * Run:   11_sysv_control
 * Shows: a segment removed while it is attached is only marked for destruction (SHM_DEST): its
 *        memory stays usable until the last detach, and then its identifier is gone. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <shmkit.h>

#define SEGMENT_SIZE 1000

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

static int inspect(const char *moment, int id)
{
    struct shmid_ds info;
    if (shmkit_shmctl(id, IPC_STAT, &info) == -1)
        return failed();
    printf("%-12s %4zu  %04o  %-11s  %8lu  %s\n", moment, info.shm_segsz,
           (unsigned)(info.shm_perm.mode & 0777), info.shm_perm.uid == geteuid() ? "yes" : "no",
           (unsigned long)info.shm_nattch, info.shm_perm.mode & SHM_DEST ? "SHM_DEST" : "none");
    return 0;
}

static int set_mode(int id, unsigned short mode)
{
    struct shmid_ds info;
    if (shmkit_shmctl(id, IPC_STAT, &info) == -1)
        return failed();
    info.shm_perm.mode = mode;
    return shmkit_shmctl(id, IPC_SET, &info) == -1 ? failed() : 0;
}

/* Attaches the segment and changes its mode.  Sets *text to the attached memory. */
static int use(int id, char **text)
{
    printf("%-12s size  mode  owner is me  attached  mark\n", "moment");
    if (inspect("created", id) != 0)
        return 1;

    void *memory = shmkit_shmat(id, NULL, 0);
    if (memory == (void *)-1)
        return failed();
    *text = memory;
    strcpy(*text, "written before the removal");
    if (inspect("attached", id) != 0)
        return 1;

    if (set_mode(id, 0640) != 0)
        return 1;
    return inspect("mode set", id);
}

/* Uses a removed segment up to its end. */
static int use_removed(int id, char *text)
{
    if (inspect("removed", id) != 0)
        return 1;
    printf("memory:      \"%s\"\n", text);
    strcpy(text, "written after the removal");
    printf("memory:      \"%s\"\n", text);

    if (shmkit_shmdt(text) == -1)
        return failed();
    struct shmid_ds info;
    if (shmkit_shmctl(id, IPC_STAT, &info) != -1) {
        fprintf(stderr, "segment %d outlived its last detach\n", id);
        return 1;
    }
    if (errno != EINVAL && errno != EIDRM)
        return failed();
    printf("detached:    the identifier is gone\n");
    return 0;
}

int main(void)
{
    int id = shmkit_shmget(IPC_PRIVATE, SEGMENT_SIZE, IPC_CREAT | 0600);
    if (id == -1)
        return failed();

    char *text = NULL;
    int status = use(id, &text);
    if (shmkit_shmctl(id, IPC_RMID, NULL) == -1)
        status = failed();
    return status != 0 ? status : use_removed(id, text);
}
