/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * shmkit drop-in: after this line the standard shared-memory calls of this file are the checked ones.
 *
 *     #include <shmkit/dropin.h>              before or after the system headers, or
 *     cc -include shmkit/dropin.h ... -lshmkit
 *
 * Same names, same signatures, same return values and errno; the words are in shmkit_last_error_message()
 * (shmkit.h), reports go where SHMKIT_REPORT says. C11 and later, C++17 and later; GCC and Clang.
 *
 * The calls are redirected where the compiler names their symbols, not by macros: a struct member, a method or a
 * variable called `close` stays what it is, and `&mmap` is the checked call.
 */
#ifndef SHMKIT_DROPIN_H
#define SHMKIT_DROPIN_H

#if !defined(__GNUC__)
#error "shmkit/dropin.h needs GCC or Clang; call the shmkit_ functions by name instead"
#endif
#if !defined(__LP64__)
#error "shmkit supports 64-bit platforms only"
#endif

/*
 * Five calls take an off_t or a struct that depends on it. With _FILE_OFFSET_BITS=64 the C library names their
 * symbols itself (mmap becomes mmap64, fcntl becomes fcntl64), and the first name given to a function stays. So:
 *   - where the system headers come later, those calls are declared here first, under our names;
 *   - where they came before and named the symbols, only a macro is left, and code above the include (an inline
 *     function in an earlier header) keeps the C library's call.
 * C++ always includes the headers first: G++ defines _GNU_SOURCE, so that nothing is decided too early by that, and
 * a declaration here would have to know which calls the C library declares noexcept.
 */
#if defined(__cplusplus) || (defined(__clang__) && defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64)
#include <fcntl.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#if defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64
#define SHMKIT_DROPIN_NAMED_BY_LIBC 1
#else
#define SHMKIT_DROPIN_NAMED_BY_LIBC 0
#endif

/* SHMKIT_DROPIN(call, name): the symbol of `call` is `shmkit_name`. */
#if defined(__cplusplus) && !defined(__clang__)
/* G++ applies the pragma to no function that was declared before it; a second declaration carries the name. */
#if !defined(_GNU_SOURCE)
#error "shmkit/dropin.h needs _GNU_SOURCE, which G++ defines: do not undefine it"
#endif
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wredundant-decls"
#define SHMKIT_DROPIN(call, name) extern "C" decltype(call) call __asm__("shmkit_" #name);
#else
#define SHMKIT_DROPIN_PRAGMA(text) _Pragma(#text)
#define SHMKIT_DROPIN(call, name) SHMKIT_DROPIN_PRAGMA(redefine_extname call shmkit_##name)
#endif

SHMKIT_DROPIN(shm_open, shm_open)
SHMKIT_DROPIN(shm_unlink, shm_unlink)
SHMKIT_DROPIN(memfd_create, memfd_create)
SHMKIT_DROPIN(mmap64, mmap64)
SHMKIT_DROPIN(munmap, munmap)
SHMKIT_DROPIN(mremap, mremap)
SHMKIT_DROPIN(mprotect, mprotect)
SHMKIT_DROPIN(msync, msync)
SHMKIT_DROPIN(madvise, madvise)
SHMKIT_DROPIN(mlock, mlock)
SHMKIT_DROPIN(munlock, munlock)
SHMKIT_DROPIN(ftruncate64, ftruncate64)
SHMKIT_DROPIN(posix_fallocate64, posix_fallocate)
SHMKIT_DROPIN(fstat64, fstat)
SHMKIT_DROPIN(close, close)
SHMKIT_DROPIN(shmget, shmget)
SHMKIT_DROPIN(shmat, shmat)
SHMKIT_DROPIN(shmdt, shmdt)
SHMKIT_DROPIN(shmctl, shmctl)
SHMKIT_DROPIN(ftok, ftok)
SHMKIT_DROPIN(fcntl64, fcntl64)
SHMKIT_DROPIN(semget, semget)
SHMKIT_DROPIN(semop, semop)
SHMKIT_DROPIN(semtimedop, semtimedop)
SHMKIT_DROPIN(semctl, semctl)
SHMKIT_DROPIN(sem_open, sem_open)
SHMKIT_DROPIN(sem_close, sem_close)
SHMKIT_DROPIN(sem_unlink, sem_unlink)
SHMKIT_DROPIN(sem_init, sem_init)
SHMKIT_DROPIN(sem_destroy, sem_destroy)
SHMKIT_DROPIN(sem_wait, sem_wait)
SHMKIT_DROPIN(sem_trywait, sem_trywait)
SHMKIT_DROPIN(sem_timedwait, sem_timedwait)
SHMKIT_DROPIN(sem_clockwait, sem_clockwait)
SHMKIT_DROPIN(sem_post, sem_post)
SHMKIT_DROPIN(sem_getvalue, sem_getvalue)

#if defined(__cplusplus)
#define SHMKIT_DROPIN_C extern "C"
#else
#define SHMKIT_DROPIN_C extern
#endif

struct stat;

#if !defined(_SYS_MMAN_H)
extern void *mmap(void *, __SIZE_TYPE__, int, int, int, long) __asm__("shmkit_mmap");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C void *shmkit_mmap(void *, __SIZE_TYPE__, int, int, int, long);
#define mmap shmkit_mmap
#else
SHMKIT_DROPIN(mmap, mmap)
#endif

#if !defined(_UNISTD_H)
extern int ftruncate(int, long) __asm__("shmkit_ftruncate");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_ftruncate(int, long);
#define ftruncate shmkit_ftruncate
#else
SHMKIT_DROPIN(ftruncate, ftruncate)
#endif

#if !defined(_FCNTL_H)
extern int posix_fallocate(int, long, long) __asm__("shmkit_posix_fallocate");
extern int fcntl(int, int, ...) __asm__("shmkit_fcntl");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_posix_fallocate(int, long, long);
SHMKIT_DROPIN_C int shmkit_fcntl(int, int, ...);
#define posix_fallocate shmkit_posix_fallocate
#define fcntl shmkit_fcntl
#else
SHMKIT_DROPIN(posix_fallocate, posix_fallocate)
SHMKIT_DROPIN(fcntl, fcntl)
#endif

#if !defined(_SYS_STAT_H)
extern int fstat(int, struct stat *) __asm__("shmkit_fstat");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_fstat(int, struct stat *);
#define fstat shmkit_fstat
#else
SHMKIT_DROPIN(fstat, fstat)
#endif

#if defined(__cplusplus) && !defined(__clang__)
#pragma GCC diagnostic pop
#else
#undef SHMKIT_DROPIN_PRAGMA
#endif
#undef SHMKIT_DROPIN
#undef SHMKIT_DROPIN_C
#undef SHMKIT_DROPIN_NAMED_BY_LIBC

#endif /* SHMKIT_DROPIN_H */
