//! Record locks, and fcntl as it is. Never checks and never explains. Next: `calls/record.rs`.

use core::mem::MaybeUninit;

use super::{Sys, check, memory, real};

/// fcntl(fd, command, argument)—as it is, -1 and errno included. With F_SETLKW and F_OFD_SETLKW it is a cancellation
/// point: it may unwind, so that no caller may have anything to drop.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/fcntl.html),
/// [Linux](https://man7.org/linux/man-pages/man2/fcntl.2.html)
///
/// # Safety
/// `argument` is what `command` needs: a number, the address of enough memory, or one at which the kernel will answer
/// EFAULT.
#[inline(always)]
pub unsafe fn fcntl(fd: i32, command: i32, argument: usize) -> i32 {
    // SAFETY: the caller's promise; an int and a pointer are both passed as a word.
    unsafe { real::fcntl(fd, command, argument) }
}

/// The lock at an address that may lead nowhere.
pub fn lock_at(at: usize) -> Option<libc::flock> {
    let mut bytes = [0u8; size_of::<libc::flock>()];
    memory::peek(at, &mut bytes).ok()?;
    // SAFETY: every field is a plain number, for which any bytes are valid; the sizes are the same.
    Some(unsafe { core::mem::transmute::<[u8; size_of::<libc::flock>()], libc::flock>(bytes) })
}

/// F_GETLK and F_OFD_GETLK—a lock that is in the way of this one, or F_UNLCK.
pub fn in_the_way(fd: i32, command: i32, lock: &libc::flock) -> Sys<libc::flock> {
    let mut lock = MaybeUninit::new(*lock);
    // SAFETY: the lock is initialised and writable; neither command waits.
    unsafe {
        check(real::fcntl(fd, command, lock.as_mut_ptr() as usize))?;
        Ok(lock.assume_init())
    }
}

/// Where a descriptor reads and writes next.
pub fn position(fd: i32) -> Option<i64> {
    // SAFETY: takes no pointers, and moves by nothing.
    let at = unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) };
    (at >= 0).then_some(at)
}
