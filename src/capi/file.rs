//! C ABI of `calls/file.rs`: ftruncate, posix_fallocate, fstat, close. Translation only.

use core::ffi::c_int;

use super::{answer_unit, guard, guard_uncancelled};
use crate::calls::file as calls;
use crate::checks::words::Call;
use crate::sys::file as sys_file;
use crate::sys::process::cancellation_point;

/// Sets the size of a file or shared memory object, in bytes.
///
/// As ftruncate(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe. The space is not reserved: on a
/// full file system the first touch is a SIGBUS (see shmkit_posix_fallocate).
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_ftruncate(fd: c_int, length: libc::off_t) -> c_int {
    answer_unit(guard(Call::Ftruncate, || calls::ftruncate(fd, length)))
}

/// The same as shmkit_ftruncate: file offsets have 64 bits on every supported platform.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_ftruncate64(fd: c_int, length: i64) -> c_int {
    shmkit_ftruncate(fd, length)
}

/// Reserves space for a file or shared memory object, so that no later touch finds the file system full.
///
/// As posix_fallocate(3) and POSIX, checked first. Returns 0 or an error number; errno is not changed. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_posix_fallocate(fd: c_int, offset: libc::off_t, length: libc::off_t) -> c_int {
    // Where a file system cannot do it, the C library writes instead, which is a cancellation point.
    match guard_uncancelled(Call::PosixFallocate, || calls::posix_fallocate(fd, offset, length)) {
        Ok(()) => 0,
        Err(errno) => errno.0,
    }
}

/// Gives the status of a file or shared memory object.
///
/// As fstat(2) and POSIX. Returns 0, or -1 with errno. Thread-safe and async-signal-safe.
///
/// # Safety
/// `buffer` is null or points to a writable `struct stat`.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_fstat(fd: c_int, buffer: *mut libc::stat) -> c_int {
    answer_unit(guard(Call::Fstat, || {
        // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
        unsafe { sys_file::fstat_into(fd, buffer) }.map_err(|errno| calls::explain_fstat(fd, buffer as usize, errno))
    }))
}

/// Closes a descriptor; mappings made through it stay.
///
/// As close(2) and POSIX. Returns 0, or -1 with errno. Thread-safe; a cancellation point, once the descriptor is closed.
/// After EINTR the descriptor is closed: do not close
/// it again.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C-unwind" fn shmkit_close(fd: c_int) -> c_int {
    let result = answer_unit(guard_uncancelled(Call::Close, || calls::close(fd)));
    cancellation_point();
    result
}
