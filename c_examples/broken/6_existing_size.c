/* The second version of a program wants a larger segment than the first one left: EINVAL, and perror explains nothing. */
#include <stdio.h>
#include <sys/shm.h>

int main(void)
{
    int old = shmget(0x53484d, 4096, IPC_CREAT | IPC_EXCL | 0600);
    if (old == -1)
        return perror("shmget"), 1;
    if (shmget(0x53484d, 65536, IPC_CREAT | 0600) == -1)
        perror("shmget of the new version");
    shmctl(old, IPC_RMID, NULL);
    return 0;
}
