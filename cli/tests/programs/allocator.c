/* An allocator that takes every block from the kernel by mmap, as a real one would take its arenas: calls of the loader and
 * of everybody else lead from malloc into mmap and munmap. Counts by a lock of its own that is not recursive: whoever
 * allocates within mmap hangs or ends here. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct head {
    size_t length, size;
};

static atomic_flag busy = ATOMIC_FLAG_INIT;
static _Thread_local int within __attribute__((tls_model("initial-exec")));

static void enter(void)
{
    if (within) {
        static const char words[] = "the allocator was called from within itself\n";
        if (write(2, words, sizeof words - 1) < 0)
            _exit(88);
        _exit(88);
    }
    within = 1;
    while (atomic_flag_test_and_set(&busy))
        ;
}

static void leave(void)
{
    atomic_flag_clear(&busy);
    within = 0;
}

void *malloc(size_t size)
{
    size_t length = (size + sizeof(struct head) + 4095) & ~(size_t)4095;
    if (length < size) {
        errno = ENOMEM;
        return NULL;
    }
    enter();
    struct head *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    leave();
    if (at == MAP_FAILED)
        return NULL;
    at->length = length;
    at->size = size;
    return at + 1;
}

void free(void *block)
{
    if (block == NULL)
        return;
    struct head *at = (struct head *)block - 1;
    enter();
    munmap(at, at->length);
    leave();
}

void *calloc(size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc(count * size);
}

void *realloc(void *block, size_t size)
{
    void *other = malloc(size);
    if (other == NULL || block == NULL)
        return other;
    size_t before = ((struct head *)block - 1)->size;
    memcpy(other, block, before < size ? before : size);
    free(block);
    return other;
}

void *memalign(size_t to, size_t size)
{
    /* Within a page there is nothing aligned to more than 16 but for its beginning: enough for what is asked for here. */
    return to <= 16 ? malloc(size) : NULL;
}

int posix_memalign(void **block, size_t to, size_t size)
{
    *block = memalign(to, size);
    return *block == NULL ? ENOMEM : 0;
}

void *aligned_alloc(size_t to, size_t size)
{
    return memalign(to, size);
}
