//! Unsafe room 1: one system call a function, a `Result` out, no policy and no words.
//! Never checks an argument and never keeps state, but for the homes of raw memory: `lock`, `pages`, `table`, `shared`,
//! `futex` and `robust`.
//! Files here mirror `calls/` file by file. Next: `checks/` for what is validated before these are reached.
#![allow(unsafe_code)]

pub mod area;
pub mod event_fd;
pub mod file;
pub mod futex;
pub mod guard;
pub mod kernel;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod pages;
pub mod posix;
pub mod process;
pub mod real;
pub mod record;
pub mod robust;
pub mod sem;
pub mod semset;
pub mod shared;
pub mod socket;
pub mod sysv;
pub mod table;

use crate::error::Errno;

/// The result of a system call.
pub type Sys<T> = Result<T, Errno>;

/// This thread's errno.
pub fn errno() -> i32 {
    // SAFETY: the C library returns the address of this thread's own errno, valid while the thread lives.
    unsafe { *libc::__errno_location() }
}

/// Sets this thread's errno.
pub fn set_errno(errno: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = errno }
}

/// Runs `work` and gives errno back the value it had, for probes that a caller must not notice.
pub fn preserving_errno<T>(work: impl FnOnce() -> T) -> T {
    let before = errno();
    let result = work();
    set_errno(before);
    result
}

/// The usual convention: -1 means that errno holds the reason.
#[inline(always)]
fn check(result: libc::c_int) -> Sys<libc::c_int> {
    if result == -1 { Err(Errno(errno())) } else { Ok(result) }
}

/// The convention of `mmap` and `shmat`: all bits set means that errno holds the reason.
#[inline(always)]
fn check_address(result: *mut libc::c_void) -> Sys<usize> {
    if result == libc::MAP_FAILED { Err(Errno(errno())) } else { Ok(result as usize) }
}
