/* A log that is cut while it is still mapped: the reader's next look at the cut part dies of SIGBUS. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
    long page = sysconf(_SC_PAGESIZE);
    FILE *file = tmpfile();
    if (file == NULL)
        return perror("tmpfile"), 1;
    if (ftruncate(fileno(file), 4 * page) == -1)
        return perror("ftruncate"), 1;
    char *log = mmap(NULL, (size_t)(4 * page), PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    if (log == MAP_FAILED)
        return perror("mmap"), 1;
    strcpy(log + 3 * page, "the last entry");
    if (ftruncate(fileno(file), page) == -1)
        return perror("ftruncate"), 1;
    printf("%s\n", log + 3 * page);
    return 0;
}
