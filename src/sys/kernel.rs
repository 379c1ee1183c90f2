//! System calls of our own that the C library makes cancellation points. Made of the kernel itself they are none: no
//! thread is cancelled within a call that POSIX does not name, and no cancellation unwinds through our frames. Nor does
//! another library's function of the name come between. Never checks. Next: `real.rs`, for what the program asked for.

use core::ffi::{CStr, c_int, c_long};

use super::{Sys, errno};
use crate::error::Errno;

fn answer(result: c_long) -> Sys<usize> {
    usize::try_from(result).map_err(|_| Errno(errno()))
}

/// openat(folder, path, flags, mode); always close-on-exec, never a terminal.
pub fn openat(folder: c_int, path: &CStr, flags: c_int, mode: u32) -> Sys<c_int> {
    let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: the path is terminated and outlives the call.
    answer(unsafe { libc::syscall(libc::SYS_openat, folder, path.as_ptr(), flags, mode) }).map(|fd| fd as c_int)
}

/// close(fd).
pub fn close(fd: c_int) -> Sys<()> {
    // SAFETY: the descriptor is ours: nobody else uses its number.
    answer(unsafe { libc::syscall(libc::SYS_close, fd) }).map(drop)
}

/// read(fd, buffer, length): how many bytes came.
pub fn read(fd: c_int, buffer: &mut [u8]) -> Sys<usize> {
    // SAFETY: the buffer is writable for its length.
    answer(unsafe { libc::syscall(libc::SYS_read, fd, buffer.as_mut_ptr(), buffer.len()) })
}

/// write(fd, bytes, length): how many bytes went.
pub fn write(fd: c_int, bytes: &[u8]) -> Sys<usize> {
    // SAFETY: the bytes are readable for their length.
    answer(unsafe { libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len()) })
}

/// pread(fd, to, length, offset): how many bytes came.
///
/// # Safety
/// `to` is writable for `length` bytes, or is an address at which the kernel will find no memory.
pub unsafe fn pread(fd: c_int, to: *mut u8, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_pread64, fd, to, length, offset) })
}

/// pwrite(fd, from, length, offset): how many bytes went.
///
/// # Safety
/// `from` is readable for `length` bytes, or is an address at which the kernel will find no memory.
pub unsafe fn pwrite(fd: c_int, from: *const u8, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, length, offset) })
}

/// fsync(fd).
pub fn fsync(fd: c_int) -> Sys<()> {
    // SAFETY: takes no pointers.
    answer(unsafe { libc::syscall(libc::SYS_fsync, fd) }).map(drop)
}

/// msync(addr, length, flags).
pub fn msync(addr: usize, length: usize, flags: c_int) -> Sys<()> {
    // SAFETY: the address is a number to the kernel; it changes nothing that a program could see in memory.
    answer(unsafe { libc::syscall(libc::SYS_msync, addr, length, flags) }).map(drop)
}

/// Sleeps for this long; less when a signal comes.
pub fn sleep(nanoseconds: u64) {
    let span =
        libc::timespec { tv_sec: (nanoseconds / 1_000_000_000) as _, tv_nsec: (nanoseconds % 1_000_000_000) as _ };
    let rest: *mut libc::timespec = core::ptr::null_mut();
    // SAFETY: the span is readable; null means that the rest is not wanted.
    unsafe { libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, &raw const span, rest) };
}

/// Waits until one of these events is there, no longer than this; false when the time is over first.
pub fn poll(fd: c_int, events: i16, nanoseconds: u64) -> Sys<bool> {
    let seconds = (nanoseconds / 1_000_000_000).min(i32::MAX as u64);
    let mut time = libc::timespec { tv_sec: seconds as _, tv_nsec: (nanoseconds % 1_000_000_000) as _ };
    let mut one = libc::pollfd { fd, events, revents: 0 };
    let mask: *const u64 = core::ptr::null();
    // SAFETY: one entry and the time, both writable; no mask.
    let count = unsafe { libc::syscall(libc::SYS_ppoll, &raw mut one, 1, &raw mut time, mask, size_of::<u64>()) };
    answer(count).map(|count| count > 0)
}

/// sendmsg(socket, message, flags): how many bytes went.
///
/// # Safety
/// All that the message refers to is readable.
pub unsafe fn sendmsg(socket: c_int, message: &libc::msghdr, flags: c_int) -> Sys<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_sendmsg, socket, core::ptr::from_ref(message), flags) })
}

/// recvmsg(socket, message, flags): how many bytes came.
///
/// # Safety
/// All that the message refers to is writable.
pub unsafe fn recvmsg(socket: c_int, message: &mut libc::msghdr, flags: c_int) -> Sys<usize> {
    // SAFETY: the caller's promise.
    answer(unsafe { libc::syscall(libc::SYS_recvmsg, socket, core::ptr::from_mut(message), flags) })
}
