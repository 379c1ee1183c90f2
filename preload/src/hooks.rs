//! The functions that programs call. Each is the checked call of its name (`capi/`), within `stage::call`; the real one
//! stands beside it, for the day that ours panics. Nothing is decided here.
//!
//! Variadic functions are declared with the arguments that they may have: those are passed as fixed ones are (x86-64
//! psABI 3.5.7, AAPCS64 6.4.2), and only looked at where a flag says that they are there.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr::null;

use libc::{clockid_t, key_t, mode_t, off_t, sem_t, sembuf, shmid_ds, size_t, stat, timespec};

use crate::capi::{file, memory, posix, record, sem, semset, sysv};
use crate::checks::words::Call;
use crate::stage::{Direct, call};
use crate::sys::real;

/// What the layers have no use for: they make keys themselves.
pub mod behind {
    use super::{c_char, c_int, key_t};

    crate::sys::real::behind! {
        mod names;
        extern "C" fn ftok(path: *const c_char, id: c_int) -> key_t;
    }
}

/// `fn NAME(arguments) -> result: Call [name ARGUMENT] (words) => checked, real;` An argument of type `c_char` that is
/// the name of something is said to be it, so that words can have it.
macro_rules! hooks {
    ($(extern $abi:literal fn $function:ident($($arg:ident: $type:ty),*) -> $result:ty:
        $call:ident($($word:expr),*) $(named $name:ident)? => $checked:expr, $real:expr;)*) => {$(
        /// # Safety
        /// As the C library's function.
        #[unsafe(no_mangle)]
        pub unsafe extern $abi fn $function($($arg: $type),*) -> $result {
            let name: *const c_char = null();
            $(let name: *const c_char = { let _ = name; $name };)?
            let mut words = [0u64; 6];
            for (word, value) in words.iter_mut().zip([$($word as u64),*] as [u64; [$(stringify!($word)),*].len()]) {
                *word = value;
            }
            // SAFETY: the caller's promise, passed on.
            #[allow(unused_unsafe, reason = "some of the functions take no pointers")]
            call(Call::$call, name, words, || unsafe { $checked }, || unsafe { $real })
        }
    )*};
}

hooks! {
    extern "C" fn shm_open(name: *const c_char, oflag: c_int, mode: mode_t) -> c_int: ShmOpen(0u64, oflag, mode) named name =>
        posix::shmkit_shm_open(name, oflag, mode), real::shm_open(name, oflag, mode);
    extern "C" fn shm_unlink(name: *const c_char) -> c_int: ShmUnlink(0u64) named name =>
        posix::shmkit_shm_unlink(name), real::shm_unlink(name);
    extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int: MemfdCreate(0u64, flags) named name =>
        posix::shmkit_memfd_create(name, flags), real::memfd_create(name, flags);

    extern "C" fn mmap(addr: *mut c_void, length: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void:
        Mmap(addr, length, prot, flags, fd, offset) =>
        memory::shmkit_mmap(addr, length, prot, flags, fd, offset), real::mmap(addr, length, prot, flags, fd, offset);
    extern "C" fn mmap64(addr: *mut c_void, length: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void:
        Mmap(addr, length, prot, flags, fd, offset) =>
        memory::shmkit_mmap(addr, length, prot, flags, fd, offset), real::mmap(addr, length, prot, flags, fd, offset);
    extern "C" fn munmap(addr: *mut c_void, length: size_t) -> c_int: Munmap(addr, length) =>
        memory::shmkit_munmap(addr, length), real::munmap(addr, length);
    extern "C" fn mremap(addr: *mut c_void, old: size_t, new: size_t, flags: c_int, to: *mut c_void) -> *mut c_void:
        Mremap(addr, old, new, flags, to) =>
        memory::shmkit_mremap(addr, old, new, flags, to), real::mremap(addr, old, new, flags, to);
    extern "C" fn mprotect(addr: *mut c_void, length: size_t, prot: c_int) -> c_int: Mprotect(addr, length, prot) =>
        memory::shmkit_mprotect(addr, length, prot), real::mprotect(addr, length, prot);
    extern "C-unwind" fn msync(addr: *mut c_void, length: size_t, flags: c_int) -> c_int: Msync(addr, length, flags) =>
        memory::shmkit_msync(addr, length, flags), real::msync(addr, length, flags);
    extern "C" fn madvise(addr: *mut c_void, length: size_t, advice: c_int) -> c_int: Madvise(addr, length, advice) =>
        memory::shmkit_madvise(addr, length, advice), real::madvise(addr, length, advice);
    extern "C" fn mlock(addr: *const c_void, length: size_t) -> c_int: Mlock(addr, length) =>
        memory::shmkit_mlock(addr, length), real::mlock(addr, length);
    extern "C" fn munlock(addr: *const c_void, length: size_t) -> c_int: Munlock(addr, length) =>
        memory::shmkit_munlock(addr, length), real::munlock(addr, length);

    extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int: Ftruncate(fd, length) =>
        file::shmkit_ftruncate(fd, length), real::ftruncate(fd, length);
    extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int: Ftruncate(fd, length) =>
        file::shmkit_ftruncate(fd, length), real::ftruncate(fd, length);
    extern "C" fn fstat(fd: c_int, buffer: *mut stat) -> c_int: Fstat(fd, buffer) =>
        file::shmkit_fstat(fd, buffer), real::fstat(fd, buffer);
    extern "C" fn fstat64(fd: c_int, buffer: *mut stat) -> c_int: Fstat(fd, buffer) =>
        file::shmkit_fstat(fd, buffer), real::fstat(fd, buffer);
    extern "C-unwind" fn close(fd: c_int) -> c_int: Close(fd) =>
        file::shmkit_close(fd), real::close(fd);

    extern "C" fn shmget(key: key_t, size: size_t, flags: c_int) -> c_int: Shmget(key, size, flags) =>
        sysv::shmkit_shmget(key, size, flags), real::shmget(key, size, flags);
    extern "C" fn shmat(id: c_int, addr: *const c_void, flags: c_int) -> *mut c_void: Shmat(id, addr, flags) =>
        sysv::shmkit_shmat(id, addr, flags), real::shmat(id, addr, flags);
    extern "C" fn shmdt(addr: *const c_void) -> c_int: Shmdt(addr) =>
        sysv::shmkit_shmdt(addr), real::shmdt(addr);
    extern "C" fn shmctl(id: c_int, command: c_int, buffer: *mut shmid_ds) -> c_int: Shmctl(id, command, buffer) =>
        sysv::shmkit_shmctl(id, command, buffer), real::shmctl(id, command, buffer);
    extern "C" fn ftok(path: *const c_char, id: c_int) -> key_t: Ftok(0u64, id) named path =>
        sysv::shmkit_ftok(path, id), behind::ftok(path, id);

    extern "C" fn semget(key: key_t, count: c_int, flags: c_int) -> c_int: Semget(key, count, flags) =>
        semset::shmkit_semget(key, count, flags), real::semget(key, count, flags);
    extern "C" fn semop(id: c_int, steps: *mut sembuf, count: size_t) -> c_int: Semop(id, steps, count) =>
        semset::shmkit_semop(id, steps, count), real::semop(id, steps, count);
    extern "C" fn semtimedop(id: c_int, steps: *mut sembuf, count: size_t, time: *const timespec) -> c_int:
        Semtimedop(id, steps, count, time) =>
        semset::shmkit_semtimedop(id, steps, count, time), real::semtimedop(id, steps, count, time);
    extern "C" fn semctl(id: c_int, number: c_int, command: c_int, argument: usize) -> c_int: Semctl(id, number, command, argument) =>
        semset::shmkit_semctl(id, number, command, argument), real::semctl(id, number, command, argument);

    extern "C" fn sem_open(name: *const c_char, oflag: c_int, mode: mode_t, value: c_uint) -> *mut sem_t:
        SemOpen(0u64, oflag, mode, value) named name =>
        sem::shmkit_sem_open(name, oflag, mode, value), real::sem_open(name, oflag, mode, value);
    extern "C" fn sem_unlink(name: *const c_char) -> c_int: SemUnlink(0u64) named name =>
        sem::shmkit_sem_unlink(name), real::sem_unlink(name);
    extern "C" fn sem_close(sem: *mut sem_t) -> c_int: SemClose(sem) =>
        sem::shmkit_sem_close(sem), real::sem_close(sem);
    extern "C" fn sem_init(sem: *mut sem_t, shared: c_int, value: c_uint) -> c_int: SemInit(sem, shared, value) =>
        sem::shmkit_sem_init(sem, shared, value), real::sem_init(sem, shared, value);
    extern "C" fn sem_destroy(sem: *mut sem_t) -> c_int: SemDestroy(sem) =>
        sem::shmkit_sem_destroy(sem), real::sem_destroy(sem);
    extern "C" fn sem_post(sem: *mut sem_t) -> c_int: SemPost(sem) =>
        sem::shmkit_sem_post(sem), real::sem_post(sem);
    extern "C" fn sem_trywait(sem: *mut sem_t) -> c_int: SemTrywait(sem) =>
        sem::shmkit_sem_trywait(sem), real::sem_trywait(sem);
    extern "C" fn sem_getvalue(sem: *mut sem_t, value: *mut c_int) -> c_int: SemGetvalue(sem, value) =>
        sem::shmkit_sem_getvalue(sem, value), real::sem_getvalue(sem, value);
    extern "C-unwind" fn sem_wait(sem: *mut sem_t) -> c_int: SemWait(sem) =>
        sem::shmkit_sem_wait(sem), real::sem_wait(sem);
    extern "C-unwind" fn sem_timedwait(sem: *mut sem_t, time: *const timespec) -> c_int: SemTimedwait(sem, time) =>
        sem::shmkit_sem_timedwait(sem, time), real::sem_timedwait(sem, time);
    extern "C-unwind" fn sem_clockwait(sem: *mut sem_t, clock: clockid_t, time: *const timespec) -> c_int:
        SemClockwait(sem, clock, time) =>
        sem::shmkit_sem_clockwait(sem, clock, time), real::sem_clockwait(sem, clock, time);
}

/// # Safety
/// As the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate(fd: c_int, offset: off_t, length: off_t) -> c_int {
    let words = [fd as u64, offset as u64, length as u64, 0, 0, 0];
    let checked = || Direct(file::shmkit_posix_fallocate(fd, offset, length));
    // SAFETY: takes no pointers.
    let real = || Direct(unsafe { real::posix_fallocate(fd, offset, length) });
    call(Call::PosixFallocate, null(), words, checked, real).0
}

/// # Safety
/// As the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_fallocate64(fd: c_int, offset: off_t, length: off_t) -> c_int {
    // SAFETY: takes no pointers.
    unsafe { posix_fallocate(fd, offset, length) }
}

/// Only record locks are looked at: everything else passes as it is.
///
/// # Safety
/// As the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        if !crate::checks::record::is_lock(command) {
            return real::fcntl(fd, command, argument);
        }
        let words = [fd as u64, command as u64, argument as u64, 0, 0, 0];
        call(
            Call::Fcntl,
            null(),
            words,
            || record::shmkit_fcntl(fd, command, argument),
            || real::fcntl(fd, command, argument),
        )
    }
}

/// # Safety
/// As the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fcntl64(fd: c_int, command: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's promise, passed on.
    unsafe { fcntl(fd, command, argument) }
}
