/* Three Rust libraries in one program: shmkit's, another that is prepared in the same way, and one as cargo leaves it.
 * A panic must be caught where it belongs in each. Prints "beside: good". */
#include <errno.h>
#include <stdio.h>

#include <shmkit.h>

int other_unwinds(void);
int third_unwinds(void);

int main(void)
{
    errno = 0;
    if (shmkit_munmap((void *)1, 4096) != -1 || errno != EINVAL || *shmkit_last_error_message() == '\0')
        return 1;
    if (other_unwinds() != 4 || third_unwinds() != 4)
        return 2;
    if (shmkit_munmap((void *)1, 4096) != -1 || errno != EINVAL)
        return 3;
    puts("beside: good");
    return 0;
}
