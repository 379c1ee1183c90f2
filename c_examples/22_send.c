/* Passes a region without a name to another process over a socket, for reading only.
 * Run:   22_send
 * Shows: the receiver reads what the sender writes, and cannot write: not by the library, and, as
 *        the region is sealed, not by opening the descriptor once more behind its back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmkit.h>

#define SIZE 4096

static int failed(void)
{
    fprintf(stderr, "%s\n", shmkit_last_error_message());
    return 1;
}

/* What a process of the same user could try: a new descriptor, open for writing. */
static void *map_for_writing(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDWR | O_CLOEXEC);
    if (again == -1)
        return MAP_FAILED;
    void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);
    int error = errno;
    close(again);
    errno = error;
    return memory;
}

static int receive(int socket)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.read_only = 1;
    shmkit_region_t *region;
    if (shmkit_region_recv(socket, &options, &region) != SHMKIT_OK)
        return failed();
    const char *text = shmkit_region_data(region);
    printf("receiver: %s, %zu bytes, \"%s\"\n", shmkit_region_address(region),
           shmkit_region_size(region), text);

    printf("receiver: copy_in             %s\n",
           shmkit_status_name(shmkit_region_copy_in(region, 0, "mine", 5)));
    printf("receiver: protect             %s\n",
           shmkit_status_name(shmkit_region_protect(region, 0, SHMKIT_TO_END, PROT_READ | PROT_WRITE)));
    void *memory = map_for_writing(shmkit_region_fd(region));
    printf("receiver: mmap for writing    %s\n", memory == MAP_FAILED ? strerror(errno) : "done");

    /* Asks for new text, and waits until it is there. */
    char byte = 0;
    if (write(socket, &byte, 1) != 1 || read(socket, &byte, 1) != 1)
        return 1;
    printf("receiver: \"%s\"\n", text);
    return shmkit_region_close(region) == SHMKIT_OK ? 0 : failed();
}

static int send_and_write(int socket)
{
    shmkit_region_options_t options = SHMKIT_REGION_OPTIONS_INIT;
    options.size = SIZE;
    shmkit_region_t *region;
    if (shmkit_region_create("memfd:letter", &options, &region) != SHMKIT_OK)
        return failed();
    char *text = shmkit_region_data(region);
    strcpy(text, "the first text");

    /* Who has it mapped for writing, this process, keeps that; nobody else gets it. */
    if (shmkit_region_seal(region, SHMKIT_SEAL_FUTURE_WRITE) != SHMKIT_OK ||
        shmkit_region_send(region, socket, SHMKIT_SEND_READ_ONLY) != SHMKIT_OK)
        return failed();

    char byte;
    if (read(socket, &byte, 1) != 1)
        return 1;
    strcpy(text, "the second text");
    if (write(socket, &byte, 1) != 1)
        return 1;
    return shmkit_region_close(region) == SHMKIT_OK ? 0 : failed();
}

int main(void)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == -1) {
        perror("socketpair");
        return 1;
    }
    /* Before the region is made: the child shall get it from the socket alone. */
    pid_t child = fork();
    if (child == -1) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        close(ends[0]);
        int status = receive(ends[1]);
        fflush(stdout);
        _exit(status);
    }
    close(ends[1]);
    int status = send_and_write(ends[0]), end;
    close(ends[0]);
    if (waitpid(child, &end, 0) == -1 || end != 0) {
        fprintf(stderr, "the receiver failed\n");
        return 1;
    }
    return status;
}
