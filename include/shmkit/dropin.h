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

#pragma redefine_extname shm_open shmkit_shm_open
#pragma redefine_extname shm_unlink shmkit_shm_unlink
#pragma redefine_extname memfd_create shmkit_memfd_create
#pragma redefine_extname mmap64 shmkit_mmap64
#pragma redefine_extname munmap shmkit_munmap
#pragma redefine_extname mremap shmkit_mremap
#pragma redefine_extname mprotect shmkit_mprotect
#pragma redefine_extname msync shmkit_msync
#pragma redefine_extname madvise shmkit_madvise
#pragma redefine_extname mlock shmkit_mlock
#pragma redefine_extname munlock shmkit_munlock
#pragma redefine_extname ftruncate64 shmkit_ftruncate64
#pragma redefine_extname posix_fallocate64 shmkit_posix_fallocate
#pragma redefine_extname fstat64 shmkit_fstat
#pragma redefine_extname close shmkit_close
#pragma redefine_extname shmget shmkit_shmget
#pragma redefine_extname shmat shmkit_shmat
#pragma redefine_extname shmdt shmkit_shmdt
#pragma redefine_extname shmctl shmkit_shmctl
#pragma redefine_extname ftok shmkit_ftok

/*
 * Four calls take an off_t or a struct that depends on it. With _FILE_OFFSET_BITS=64 the C library names their
 * symbols itself (mmap becomes mmap64), and the first name given to a function stays. So:
 *   - where the system headers come later, the calls are declared here first, under our names;
 *   - where they came before and named the symbols, only a macro is left.
 */
#if defined(__cplusplus) || (defined(__clang__) && defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#if defined(_FILE_OFFSET_BITS) && _FILE_OFFSET_BITS == 64
#define SHMKIT_DROPIN_NAMED_BY_LIBC 1
#else
#define SHMKIT_DROPIN_NAMED_BY_LIBC 0
#endif

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
#pragma redefine_extname mmap shmkit_mmap
#endif

#if !defined(_UNISTD_H)
extern int ftruncate(int, long) __asm__("shmkit_ftruncate");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_ftruncate(int, long);
#define ftruncate shmkit_ftruncate
#else
#pragma redefine_extname ftruncate shmkit_ftruncate
#endif

#if !defined(_FCNTL_H)
extern int posix_fallocate(int, long, long) __asm__("shmkit_posix_fallocate");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_posix_fallocate(int, long, long);
#define posix_fallocate shmkit_posix_fallocate
#else
#pragma redefine_extname posix_fallocate shmkit_posix_fallocate
#endif

#if !defined(_SYS_STAT_H)
extern int fstat(int, struct stat *) __asm__("shmkit_fstat");
#elif SHMKIT_DROPIN_NAMED_BY_LIBC
SHMKIT_DROPIN_C int shmkit_fstat(int, struct stat *);
#define fstat shmkit_fstat
#else
#pragma redefine_extname fstat shmkit_fstat
#endif

#undef SHMKIT_DROPIN_C
#undef SHMKIT_DROPIN_NAMED_BY_LIBC

#endif /* SHMKIT_DROPIN_H */
