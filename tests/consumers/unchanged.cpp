// A program whose source knows nothing of shmkit: built with the drop-in header forced on, its standard calls are
// checked ones. The words are asked for only here, to prove it. Prints "unchanged: good".
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

extern "C" int map_in_c(void);
extern "C" const char *shmkit_last_error_message(void);
extern "C" void shmkit_clear_error(void);

namespace {

bool words_name(const char *call)
{
    const bool named = std::strncmp(shmkit_last_error_message(), call, std::strlen(call)) == 0;
    if (!named)
        std::fprintf(stderr, "%s is not named by: %s\n", call, shmkit_last_error_message());
    shmkit_clear_error();
    return named;
}

struct Device {
    int closed = 0;
    void close() { closed++; }
    void mmap() { closed++; }
};

bool members_stay()
{
    std::ifstream file("/proc/self/status");
    std::string word;
    file >> word;
    file.close();
    Device device;
    device.close();
    device.mmap();
    return word == "Name:" && !file.is_open() && device.closed == 2;
}

} // namespace

int main()
{
    if (map_in_c() != EINVAL || !words_name("mmap("))
        return 1;
    if (::mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED || !words_name("mmap("))
        return 5;
    auto *detach = &shmdt;
    if (detach("not an attach") != -1 || !words_name("shmdt("))
        return 2;
    if (::close(-1) != -1 || errno != EBADF || !words_name("close("))
        return 3;
    if (!members_stay())
        return 4;
    std::puts("unchanged: good");
    return 0;
}
