//! A run of shared memory in which a container lies: words that are changed by atomics, bytes that are copied, and the two
//! fences between a notifier and a sleeper. Never forms a reference that outlives one access, and never reaches beyond
//! the run, whatever stands in it. Next: `containers/memory.rs`, which the cores see.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence, fence};

use super::futex::Word;
use super::{Sys, check};

/// Bytes of shared memory, aligned to a cache line. What is in them is whatever peers wrote there; where they are and how
/// many, this process knows by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    start: usize,
    length: usize,
}

impl Area {
    /// # Safety
    /// `length` bytes from `start` on are mapped, for writing too, while this and what comes from it is in use. `start` is
    /// a multiple of eight.
    #[inline(always)]
    pub unsafe fn new(start: usize, length: usize) -> Area {
        Area { start, length }
    }

    /// Its address.
    #[inline(always)]
    pub fn start(self) -> usize {
        self.start
    }

    /// Its bytes.
    #[inline(always)]
    pub fn length(self) -> usize {
        self.length
    }

    /// Whether so many bytes at an offset that is a multiple of eight lie within: who asks first, and goes a slower way when
    /// they do not, has no panic on a hot path, and with it no frame.
    #[inline(always)]
    pub fn holds(self, at: usize, bytes: usize) -> bool {
        at.is_multiple_of(8) && at <= self.length && bytes <= self.length - at
    }

    /// The address of so many bytes at an offset.
    #[inline(always)]
    pub fn address(self, at: usize, bytes: usize) -> usize {
        assert!(at <= self.length && bytes <= self.length - at);
        self.start + at
    }

    /// The word at an offset that is a multiple of eight. Its lifetime is one access: it is never kept.
    #[inline(always)]
    pub fn atomic(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8));
        // SAFETY: aligned and inside the area, which is mapped; an atomic may be touched whatever peers do.
        unsafe { AtomicU64::from_ptr(self.address(at, 8) as *mut u64) }
    }

    /// The half word at an offset that is a multiple of four, to sleep on.
    #[inline(always)]
    pub fn half(self, at: usize) -> Word {
        assert!(at.is_multiple_of(4));
        // SAFETY: aligned and inside the area, which is mapped.
        unsafe { Word::at(self.address(at, 4)) }
    }

    /// Copies bytes of the program into the area.
    ///
    /// # Safety
    /// `from` is readable for `bytes`.
    #[inline(always)]
    pub unsafe fn copy_in(self, at: usize, from: *const c_void, bytes: usize) {
        // SAFETY: the range lies within the area; memmove, as the program may pass a pointer into the same memory.
        unsafe { libc::memmove(self.address(at, bytes) as *mut c_void, from, bytes) };
    }

    /// Copies bytes out of the area.
    ///
    /// # Safety
    /// `to` is writable for `bytes`.
    #[inline(always)]
    pub unsafe fn copy_out(self, at: usize, to: *mut c_void, bytes: usize) {
        // SAFETY: as in `copy_in`.
        unsafe { libc::memmove(to, self.address(at, bytes) as *const c_void, bytes) };
    }
}

/// Copies that others may write into at the same time, or read from: word by word, relaxed, so that what is torn is at least
/// defined, and a check afterwards can tell.
impl Area {
    /// Copies bytes of the program into the area, filled up to whole words.
    ///
    /// # Safety
    /// `from` is readable for `bytes`.
    #[inline]
    pub unsafe fn put_words(self, at: usize, from: *const c_void, bytes: usize) {
        let start = self.address(at, bytes.next_multiple_of(8)) as *mut u64;
        let from = from.cast::<u8>();
        for index in 0..bytes / 8 {
            // SAFETY: within what the caller promises, and within the area; the words of the area are aligned.
            unsafe {
                let word = from.add(8 * index).cast::<u64>().read_unaligned();
                AtomicU64::from_ptr(start.add(index)).store(word, Ordering::Relaxed);
            }
        }
        let rest = bytes % 8;
        if rest > 0 {
            let mut word = [0u8; 8];
            // SAFETY: as above; fewer bytes than the word has.
            unsafe {
                core::ptr::copy_nonoverlapping(from.add(bytes - rest), word.as_mut_ptr(), rest);
                AtomicU64::from_ptr(start.add(bytes / 8)).store(u64::from_ne_bytes(word), Ordering::Relaxed);
            }
        }
    }

    /// Copies bytes out of the area.
    ///
    /// # Safety
    /// `to` is writable for `bytes`.
    #[inline]
    pub unsafe fn get_words(self, at: usize, to: *mut c_void, bytes: usize) {
        let start = self.address(at, bytes.next_multiple_of(8)) as *mut u64;
        let to = to.cast::<u8>();
        for index in 0..bytes / 8 {
            // SAFETY: as in `put_words`.
            unsafe {
                let word = AtomicU64::from_ptr(start.add(index)).load(Ordering::Relaxed);
                to.add(8 * index).cast::<u64>().write_unaligned(word);
            }
        }
        let rest = bytes % 8;
        if rest > 0 {
            // SAFETY: as in `put_words`.
            unsafe {
                let word = AtomicU64::from_ptr(start.add(bytes / 8)).load(Ordering::Relaxed).to_ne_bytes();
                core::ptr::copy_nonoverlapping(word.as_ptr(), to.add(bytes - rest), rest);
            }
        }
    }
}

const MEMBARRIER_GLOBAL_EXPEDITED: i32 = 1 << 1;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

/// What this process knows of the kernel's barrier.
static BARRIER: AtomicU8 = AtomicU8::new(UNKNOWN);
const UNKNOWN: u8 = 0;
const THERE: u8 = 1;
const NOT_THERE: u8 = 2;

/// membarrier(2).
///
/// [Linux](https://man7.org/linux/man-pages/man2/membarrier.2.html)
fn membarrier(command: i32) -> Sys<()> {
    // SAFETY: takes numbers, changes no memory.
    check(unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) } as i32).map(drop)
}

/// Makes this process one that `heavy_fence` of others reaches; once in a process, before its first `light_fence`.
pub fn begin_fences() {
    if BARRIER.load(Ordering::Relaxed) == UNKNOWN {
        let there = membarrier(MEMBARRIER_REGISTER_GLOBAL_EXPEDITED).is_ok();
        BARRIER.store(if there { THERE } else { NOT_THERE }, Ordering::Relaxed);
    }
}

/// Between what this thread changed and what it loads next: together with a `heavy_fence` of another thread at least one of
/// the two sees what the other changed. Costs nothing where the kernel's barrier is to be had.
#[inline(always)]
pub fn light_fence() {
    match BARRIER.load(Ordering::Relaxed) {
        THERE => compiler_fence(Ordering::SeqCst),
        _ => fence(Ordering::SeqCst),
    }
}

/// The other side of `light_fence`, which pays for both. False when the kernel has no such barrier: then a notifier that
/// counts on it may be missed.
pub fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    membarrier(MEMBARRIER_GLOBAL_EXPEDITED).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fences_are_to_be_had() {
        begin_fences();
        light_fence();
        assert_eq!(heavy_fence(), BARRIER.load(Ordering::Relaxed) == THERE);
    }

    #[test]
    #[should_panic]
    fn nothing_beyond_the_area_is_reached() {
        let bytes = [0u64; 8];
        // SAFETY: the array is there to the end of the test.
        let area = unsafe { Area::new(bytes.as_ptr() as usize, 64) };
        area.atomic(64).load(Ordering::Relaxed);
    }
}
