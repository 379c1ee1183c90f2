//! POSIX shared memory objects and memfd: the system calls. Never checks and never explains.
//! Next: `calls/posix.rs`.

use core::ffi::CStr;

use super::{Sys, check, real};

/// The folder in which the C library keeps POSIX objects.
pub const OBJECT_FOLDER: &CStr = c"/dev/shm";

/// shm_open(name, oflag, mode)—opens or creates a POSIX shared memory object.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shm_open.html),
/// [Linux](https://man7.org/linux/man-pages/man3/shm_open.3.html)
#[inline]
pub fn shm_open(name: &CStr, oflag: i32, mode: u32) -> Sys<i32> {
    // SAFETY: the name is a terminated string that outlives the call.
    check(unsafe { real::shm_open(name.as_ptr(), oflag, mode) })
}

/// shm_unlink(name)—removes the name of a POSIX shared memory object.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shm_unlink.html)
#[inline]
pub fn shm_unlink(name: &CStr) -> Sys<()> {
    // SAFETY: the name is a terminated string that outlives the call.
    check(unsafe { real::shm_unlink(name.as_ptr()) }).map(drop)
}

/// memfd_create(name, flags)—makes an unnamed memory file.
///
/// [Linux](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
#[inline]
pub fn memfd_create(name: &CStr, flags: u32) -> Sys<i32> {
    // SAFETY: the name is a terminated string that outlives the call.
    check(unsafe { real::memfd_create(name.as_ptr(), flags) })
}
