/* The key is 0, which is IPC_PRIVATE: the two "ends" never meet, and each leaves a segment behind. */
#include <stdio.h>
#include <string.h>
#include <sys/shm.h>

int main(void)
{
    key_t key = 0;
    int writer = shmget(key, 100, IPC_CREAT | 0600);
    int reader = shmget(key, 100, IPC_CREAT | 0600);
    if (writer == -1 || reader == -1)
        return perror("shmget"), 1;
    char *out = shmat(writer, NULL, 0);
    const char *in = shmat(reader, NULL, SHM_RDONLY);
    if (out == (void *)-1 || in == (const void *)-1)
        return perror("shmat"), 1;
    strcpy(out, "hello");
    printf("sent \"%s\", received \"%s\"\n", out, in);
    return 0;
}
