//! POSIX semaphores: the C library's calls. Never checks and never explains. Next: `calls/sem.rs`.
//! The three that wait are cancellation points: they may unwind, so that no caller may have anything to drop.

use core::ffi::CStr;

use super::{Sys, check, real};
use crate::error::Errno;

/// sem_open(name, oflag, mode, value)—opens or creates a named semaphore; returns its address.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_open.html),
/// [Linux](https://man7.org/linux/man-pages/man3/sem_open.3.html)
#[inline]
pub fn open(name: &CStr, oflag: i32, mode: u32, value: u32) -> Sys<usize> {
    let before = super::errno();
    // SAFETY: the name is a terminated string that outlives the call; the last two arguments are read only as these.
    let at = unsafe { real::sem_open(name.as_ptr(), oflag, mode, value) };
    if at == libc::SEM_FAILED {
        return Err(Errno(super::errno()));
    }
    // The C library looks for the semaphore before it makes one, and leaves the errno of that look behind.
    super::set_errno(before);
    Ok(at as usize)
}

/// sem_unlink(name)—removes the name of a semaphore.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_unlink.html)
#[inline]
pub fn unlink(name: &CStr) -> Sys<()> {
    // SAFETY: the name is a terminated string that outlives the call.
    check(unsafe { real::sem_unlink(name.as_ptr()) }).map(drop)
}

/// sem_close(semaphore)—lets go of a named semaphore. The C library only compares the address with those that it gave.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_close.html)
#[inline]
pub fn close(semaphore: usize) -> Sys<()> {
    // SAFETY: an address that is none of an open semaphore is answered with EINVAL and not followed.
    check(unsafe { real::sem_close(semaphore as *mut _) }).map(drop)
}

/// sem_init(semaphore, pshared, value)—makes a semaphore in memory of the program.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_init.html)
///
/// # Safety
/// `semaphore` points to writable memory for a `sem_t`.
#[inline]
pub unsafe fn init(semaphore: *mut libc::sem_t, pshared: i32, value: u32) -> Sys<()> {
    // SAFETY: the caller's promise.
    check(unsafe { real::sem_init(semaphore, pshared, value) }).map(drop)
}

/// sem_destroy(semaphore)—ends a semaphore that `init` made.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_destroy.html)
///
/// # Safety
/// `semaphore` points to a semaphore that nobody waits for.
#[inline]
pub unsafe fn destroy(semaphore: *mut libc::sem_t) -> Sys<()> {
    // SAFETY: the caller's promise.
    check(unsafe { real::sem_destroy(semaphore) }).map(drop)
}

/// sem_post(semaphore)—raises a semaphore. Async-signal-safe.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_post.html)
///
/// # Safety
/// `semaphore` points to a semaphore.
#[inline(always)]
pub unsafe fn post(semaphore: *mut libc::sem_t) -> Sys<()> {
    // SAFETY: the caller's promise.
    check(unsafe { real::sem_post(semaphore) }).map(drop)
}

/// sem_trywait(semaphore)—lowers a semaphore if it can be at once.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_trywait.html)
///
/// # Safety
/// `semaphore` points to a semaphore.
#[inline(always)]
pub unsafe fn try_wait(semaphore: *mut libc::sem_t) -> Sys<()> {
    // SAFETY: the caller's promise.
    check(unsafe { real::sem_trywait(semaphore) }).map(drop)
}

/// sem_getvalue(semaphore, value)—the value of a semaphore.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_getvalue.html)
///
/// # Safety
/// `semaphore` points to a semaphore, `value` to a writable int.
#[inline(always)]
pub unsafe fn value(semaphore: *mut libc::sem_t, value: *mut libc::c_int) -> Sys<()> {
    // SAFETY: the caller's promise.
    check(unsafe { real::sem_getvalue(semaphore, value) }).map(drop)
}

/// sem_wait(semaphore)—lowers a semaphore, or waits until it can; as it is, -1 and errno included.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_wait.html)
///
/// # Safety
/// `semaphore` points to a semaphore.
#[inline(always)]
pub unsafe fn wait(semaphore: *mut libc::sem_t) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { real::sem_wait(semaphore) }
}

/// sem_timedwait(semaphore, time)—as `wait`, until a point in time.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_timedwait.html)
///
/// # Safety
/// `semaphore` points to a semaphore, `time` to a time.
#[inline(always)]
pub unsafe fn timed_wait(semaphore: *mut libc::sem_t, time: *const libc::timespec) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { real::sem_timedwait(semaphore, time) }
}

/// sem_clockwait(semaphore, clock, time)—as `timed_wait`, by a clock. Without the call (musl), by the system's clock
/// alone.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/sem_clockwait.html)
///
/// # Safety
/// As for `timed_wait`.
#[inline(always)]
pub unsafe fn clock_wait(semaphore: *mut libc::sem_t, clock: i32, time: *const libc::timespec) -> i32 {
    #[cfg(target_env = "gnu")]
    // SAFETY: the caller's promise.
    unsafe {
        real::sem_clockwait(semaphore, clock, time)
    }
    #[cfg(not(target_env = "gnu"))]
    if clock == libc::CLOCK_REALTIME {
        // SAFETY: the caller's promise.
        unsafe { real::sem_timedwait(semaphore, time) }
    } else {
        super::set_errno(libc::EINVAL);
        -1
    }
}
