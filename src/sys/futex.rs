//! Words of shared memory that threads of several processes change and sleep on: atomics and the futex system call.
//! Never forms a reference that outlives one access. Next: `robust.rs` for what becomes of a word whose holder dies.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::{Sys, check, errno, set_errno};
use crate::error::Errno;

const FUTEX_WAKE: i32 = 1;
const FUTEX_WAKE_OP: i32 = 5;
const FUTEX_WAIT_BITSET: i32 = 9;
/// FUTEX_WAKE_OP: `*word |= 0`; compare it with 0 for equality.
const CHANGE_NOTHING: u32 = 2 << 28;

/// An object of the program's in shared memory: `SIZE` bytes, aligned to a cache line. What is in it is whatever peers
/// wrote there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Object<const SIZE: usize>(usize);

impl<const SIZE: usize> Object<SIZE> {
    /// # Safety
    /// `SIZE` bytes from `start` on are mapped, or nothing is, while this and what comes from it is in use. `start` is
    /// a multiple of eight.
    #[inline(always)]
    pub unsafe fn new(start: usize) -> Self {
        Object(start)
    }

    /// Its address.
    #[inline(always)]
    pub fn start(self) -> usize {
        self.0
    }

    /// The half word at `offset`, which is a multiple of four.
    #[inline(always)]
    pub fn half(self, offset: usize) -> Word {
        assert!(offset.is_multiple_of(4) && offset + 4 <= SIZE);
        Word(self.0 + offset)
    }

    /// Reads the word at `offset`, a multiple of eight, with everything that its writer wrote before it.
    #[inline(always)]
    pub fn load(self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= SIZE);
        // SAFETY: aligned and inside the object, which is mapped; an atomic may be read whatever peers do.
        unsafe { AtomicU64::from_ptr((self.0 + offset) as *mut u64) }.load(Ordering::Acquire)
    }

    /// Stores the word at `offset`, after everything that this thread wrote before.
    pub fn store(self, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8) && offset + 8 <= SIZE);
        // SAFETY: as in `load`.
        unsafe { AtomicU64::from_ptr((self.0 + offset) as *mut u64) }.store(value, Ordering::Release);
    }

    /// Exchanges the word at `offset` if it is `old`; says what it was.
    pub fn replace(self, offset: usize, old: u64, new: u64) -> u64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= SIZE);
        // SAFETY: as in `load`.
        let word = unsafe { AtomicU64::from_ptr((self.0 + offset) as *mut u64) };
        word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).unwrap_or_else(|found| found)
    }
}

/// Four bytes of an object.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word(usize);

impl Word {
    /// No word: nobody touches it. All zeros.
    pub const NOWHERE: Word = Word(0);

    /// # Safety
    /// Four bytes at a multiple of four, mapped while this is in use.
    #[inline(always)]
    pub unsafe fn at(address: usize) -> Word {
        Word(address)
    }

    /// Its address.
    #[inline(always)]
    pub fn address(self) -> usize {
        self.0
    }

    /// The atomic. Its lifetime is one access: it is never kept.
    #[inline(always)]
    pub fn atomic(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside an object that is mapped, by `Object::new`; an atomic may be touched whatever peers do.
        unsafe { AtomicU32::from_ptr(self.0 as *mut u32) }
    }

    /// The half word behind it.
    #[inline(always)]
    pub fn behind(&self) -> Word {
        Word(self.0 + 4)
    }

    /// futex(FUTEX_WAIT_BITSET): sleeps while the word is `expected`, until the moment `until` of the monotonic clock,
    /// in nanoseconds; u64::MAX for no end. ETIMEDOUT when the time is over, EAGAIN and EINTR as they come.
    ///
    /// [Linux](https://man7.org/linux/man-pages/man2/futex.2.html)
    pub fn wait(self, expected: u32, until: u64) -> Sys<()> {
        let time = libc::timespec { tv_sec: (until / 1_000_000_000) as _, tv_nsec: (until % 1_000_000_000) as _ };
        let end = if until == u64::MAX { core::ptr::null() } else { &raw const time };
        // SAFETY: the kernel reads the word, which is mapped, and the time, which is readable.
        let result = unsafe {
            libc::syscall(libc::SYS_futex, self.0, FUTEX_WAIT_BITSET, expected, end, core::ptr::null::<u32>(), !0u32)
        };
        check(result as i32).map(drop)
    }

    /// futex(FUTEX_WAKE): wakes so many who sleep on the word; says how many it woke. Leaves errno as it was.
    pub fn wake(self, count: u32) -> u32 {
        let before = errno();
        // SAFETY: the kernel looks the address up and touches nothing.
        let woken = unsafe { libc::syscall(libc::SYS_futex, self.0, FUTEX_WAKE, count.min(i32::MAX as u32)) };
        set_errno(before);
        woken.max(0) as u32
    }
}

/// Whether the four bytes at an address can be written: the kernel tries, and changes nothing.
pub fn writable(address: usize) -> Sys<()> {
    let private = AtomicU32::new(0);
    // SAFETY: the kernel wakes nobody on a word that only this function has, and reports what it cannot write.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, private.as_ptr(), FUTEX_WAKE_OP, 0, 0usize, address, CHANGE_NOTHING) };
    match check(result as i32) {
        Err(Errno(libc::EINTR | libc::EAGAIN)) => writable(address),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{memory, process};

    #[test]
    fn waiting_and_waking() {
        let page = memory::mmap(0, 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0).expect("there is room");
        // SAFETY: the page is mapped until the end of the test.
        let object = unsafe { Object::<64>::new(page) };
        let word = object.half(4);
        assert_eq!(word.wait(1, u64::MAX), Err(Errno(libc::EAGAIN)));
        assert_eq!(word.wait(0, process::monotonic_ns() + 1_000_000), Err(Errno(libc::ETIMEDOUT)));
        assert_eq!(word.wake(1), 0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while word.atomic().load(Ordering::Acquire) == 0 {
                    let _ = word.wait(0, u64::MAX);
                }
            });
            word.atomic().store(1, Ordering::Release);
            word.wake(9);
        });
        assert_eq!(object.load(0), 1 << 32);
        assert_eq!(writable(page), Ok(()));
        assert_eq!(object.load(0), 1 << 32);
        memory::mprotect(page, 4096, 1).expect("it is ours");
        assert_eq!(writable(page), Err(Errno(libc::EFAULT)));
        memory::munmap(page, 4096).expect("it is ours");
        assert_eq!(writable(page), Err(Errno(libc::EFAULT)));
    }
}
