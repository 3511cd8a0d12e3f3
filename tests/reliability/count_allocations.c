/* Preloaded before the C library: counts how often memory is asked for. */
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_memalign(size_t, size_t);
static atomic_long calls;

long allocations(void) { return calls; }

void *malloc(size_t size) { return calls++, __libc_malloc(size); }
void *memalign(size_t alignment, size_t size) { return calls++, __libc_memalign(alignment, size); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void **where, size_t alignment, size_t size) {
    *where = memalign(alignment, size);
    return *where ? 0 : 12; /* ENOMEM */
}
