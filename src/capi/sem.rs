//! C ABI of `calls/sem.rs`: POSIX semaphores. Translation only. The three that wait are cancellation points while they
//! wait: their frames have nothing to drop around the C library's call (see ARCHITECTURE.md, the ledger's lock).

use core::ffi::{c_char, c_int, c_uint};

use super::{answer, answer_unit, guard, guard_uncancelled, name};
use crate::calls::sem::{self as calls, Making, Use};
use crate::checks::words::Call;
use crate::error::Errno;
use crate::sys::{self, sem as sys_sem};

/// sem_open. The header declares it with `...` as sem_open(3) has it.
///
/// Mode and value are only passed, and only looked at, with O_CREAT; a variadic call passes them in the same registers
/// as plain ones, as with shmkit_mremap.
///
/// # Safety
/// `name` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_open(
    name: *const c_char,
    oflag: c_int,
    mode: libc::mode_t,
    value: c_uint,
) -> *mut libc::sem_t {
    // SAFETY: the caller's promise.
    let name = unsafe { self::name(name) };
    match guard_uncancelled(Call::SemOpen, || calls::sem_open(name, oflag, mode, value)) {
        Ok(at) => at as *mut libc::sem_t,
        Err(errno) => {
            sys::set_errno(errno.0);
            libc::SEM_FAILED
        }
    }
}

/// Removes the name of a semaphore; it lives until its last user closes it.
///
/// As sem_unlink(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
///
/// # Safety
/// `name` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { self::name(name) };
    answer_unit(guard(Call::SemUnlink, || calls::sem_unlink(name)))
}

/// Lets go of a semaphore that shmkit_sem_open gave.
///
/// As sem_close(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_sem_close(sem: *mut libc::sem_t) -> c_int {
    answer_unit(guard(Call::SemClose, || calls::sem_close(sem as usize)))
}

/// Makes a semaphore in memory of the program; `pshared` is not 0 when other processes that map it are to use it.
///
/// As sem_init(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
///
/// # Safety
/// `sem` is null or points to writable memory for a semaphore.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_init(sem: *mut libc::sem_t, pshared: c_int, value: c_uint) -> c_int {
    answer_unit(guard(Call::SemInit, || {
        let making = Making { at: sem as usize, pshared, value };
        making.check()?;
        // SAFETY: the caller's promise; what can be no address was refused.
        unsafe { sys_sem::init(sem, pshared, value) }.map_err(|errno| making.explain(errno))
    }))
}

/// Does a call that cannot wait: check, call, words.
#[inline(always)]
fn at_once(used: Use, call: impl FnOnce() -> Result<(), Errno>) -> c_int {
    answer_unit(guard(used.call, || {
        if used.wants_check() {
            used.check()?;
        }
        call().map_err(|errno| used.explain(errno))
    }))
}

/// Ends a semaphore that shmkit_sem_init made.
///
/// As sem_destroy(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
///
/// # Safety
/// `sem` is null or points to a semaphore.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_destroy(sem: *mut libc::sem_t) -> c_int {
    // SAFETY: the caller's promise; what can be no address was refused.
    at_once(Use::of(Call::SemDestroy, sem as usize), || unsafe { sys_sem::destroy(sem) })
}

/// Raises a semaphore.
///
/// As sem_post(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe and async-signal-safe.
///
/// # Safety
/// `sem` is null or points to a semaphore.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_post(sem: *mut libc::sem_t) -> c_int {
    // SAFETY: the caller's promise; what can be no address was refused.
    at_once(Use::of(Call::SemPost, sem as usize), || unsafe { sys_sem::post(sem) })
}

/// Lowers a semaphore if it can be at once.
///
/// As sem_trywait(3) and POSIX, checked first. Returns 0, or -1 with errno: EAGAIN when the value is 0. Thread-safe.
///
/// # Safety
/// `sem` is null or points to a semaphore.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_trywait(sem: *mut libc::sem_t) -> c_int {
    // SAFETY: the caller's promise; what can be no address was refused.
    at_once(Use::of(Call::SemTrywait, sem as usize), || unsafe { sys_sem::try_wait(sem) })
}

/// Gives the value of a semaphore.
///
/// As sem_getvalue(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
///
/// # Safety
/// `sem` is null or points to a semaphore; `sval` is null or points to a writable int.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_sem_getvalue(sem: *mut libc::sem_t, sval: *mut c_int) -> c_int {
    let used = Use { other: sval as usize, ..Use::of(Call::SemGetvalue, sem as usize) };
    // SAFETY: the caller's promise; what can be no address was refused.
    at_once(used, || unsafe { sys_sem::value(sem, sval) })
}

/// What a check of a call that waits gave: nothing to say, or its answer.
#[inline(always)]
fn refused(used: &Use) -> Option<c_int> {
    if !used.wants_check() {
        return None;
    }
    guard_uncancelled(used.call, || used.check()).err().map(|errno| answer(Err(errno)))
}

/// The answer of a call that waited.
#[inline(always)]
fn waited(used: &Use, result: c_int) -> c_int {
    match result {
        0 => 0,
        _ => answer(guard_uncancelled(used.call, || Err(used.explain(Errno(sys::errno()))))),
    }
}

/// Lowers a semaphore, or waits until it can.
///
/// As sem_wait(3) and POSIX, checked first. Returns 0, or -1 with errno: EINTR after a signal. Thread-safe; a
/// cancellation point.
///
/// # Safety
/// `sem` is null or points to a semaphore.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn shmkit_sem_wait(sem: *mut libc::sem_t) -> c_int {
    let used = Use::of(Call::SemWait, sem as usize);
    if let Some(answer) = refused(&used) {
        return answer;
    }
    // SAFETY: the caller's promise; what can be no address was refused.
    waited(&used, unsafe { sys_sem::wait(sem) })
}

/// As shmkit_sem_wait, until a point in time of CLOCK_REALTIME.
///
/// As sem_timedwait(3) and POSIX, checked first. Returns 0, or -1 with errno: ETIMEDOUT, or EINTR after a signal.
/// Thread-safe; a cancellation point.
///
/// # Safety
/// `sem` is null or points to a semaphore; `abstime` is null or points to a time.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn shmkit_sem_timedwait(sem: *mut libc::sem_t, abstime: *const libc::timespec) -> c_int {
    let used = Use { other: abstime as usize, ..Use::of(Call::SemTimedwait, sem as usize) };
    if let Some(answer) = refused(&used) {
        return answer;
    }
    // SAFETY: the caller's promise; what can be no address was refused.
    waited(&used, unsafe { sys_sem::timed_wait(sem, abstime) })
}

/// As shmkit_sem_wait, until a point in time of `clockid`: CLOCK_REALTIME or CLOCK_MONOTONIC.
///
/// As POSIX has sem_clockwait, checked first. Returns 0, or -1 with errno: ETIMEDOUT, or EINTR after a signal.
/// Thread-safe; a cancellation point.
///
/// # Safety
/// `sem` is null or points to a semaphore; `abstime` is null or points to a time.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn shmkit_sem_clockwait(
    sem: *mut libc::sem_t,
    clockid: libc::clockid_t,
    abstime: *const libc::timespec,
) -> c_int {
    let used = Use { other: abstime as usize, clock: clockid, ..Use::of(Call::SemClockwait, sem as usize) };
    if let Some(answer) = refused(&used) {
        return answer;
    }
    // SAFETY: the caller's promise; what can be no address was refused.
    waited(&used, unsafe { sys_sem::clock_wait(sem, clockid, abstime) })
}
