//! Memory that other processes write: a window on it, through which numbers and bytes go in and out.
//! Never forms a reference over it: single words through atomics, the rest through the C library's memcpy, every access
//! within the bounds of the window. Next: `guard.rs`, for what happens when the memory goes away underneath.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::{Sys, memory, sysv};

/// One mapping of shared memory; empty before `map` and after `unmap`. Lives in a table that is never freed, so that a
/// stale look at it finds another mapping or none, and never memory that is not the library's.
#[derive(Default)]
pub struct Window {
    start: AtomicUsize,
    length: AtomicUsize,
}

impl Window {
    /// Maps `length` bytes of a descriptor from its beginning.
    pub fn map(&self, fd: i32, length: usize, prot: i32, flags: i32) -> Sys<()> {
        let start = memory::mmap(0, length, prot, libc::MAP_SHARED | flags, fd, 0)?;
        self.take(start, length);
        Ok(())
    }

    /// Attaches a System V segment of `length` bytes.
    pub fn attach(&self, id: i32, length: usize, flags: i32) -> Sys<()> {
        let start = sysv::shmat(id, 0, flags)?;
        self.take(start, length);
        Ok(())
    }

    fn take(&self, start: usize, length: usize) {
        self.start.store(start, Ordering::Relaxed);
        self.length.store(length, Ordering::Release);
    }

    /// Unmaps what `map` mapped.
    pub fn unmap(&self) -> Sys<()> {
        let (start, length) = self.forget();
        if start == 0 { Ok(()) } else { memory::munmap(start, length) }
    }

    /// Detaches what `attach` attached.
    pub fn detach(&self) -> Sys<()> {
        let (start, _) = self.forget();
        if start == 0 { Ok(()) } else { sysv::shmdt(start) }
    }

    fn forget(&self) -> (usize, usize) {
        let length = self.length.swap(0, Ordering::AcqRel);
        (self.start.swap(0, Ordering::Relaxed), length)
    }

    /// The address of the first byte; 0 when nothing is mapped.
    #[inline(always)]
    pub fn start(&self) -> usize {
        self.start.load(Ordering::Relaxed)
    }

    /// Bytes that are mapped.
    #[inline(always)]
    pub fn length(&self) -> usize {
        // Acquire: a length that is seen comes with the start that was stored before it.
        self.length.load(Ordering::Acquire)
    }

    /// The address of `length` bytes at `offset`; `None` when they do not lie within the window.
    #[inline(always)]
    fn at(&self, offset: usize, length: usize) -> Option<usize> {
        let room = self.length().checked_sub(offset)?;
        if length > room { None } else { Some(self.start() + offset) }
    }

    /// The word at `offset`, seen with everything that its writer wrote before it.
    #[inline(always)]
    pub fn load(&self, offset: usize) -> Option<u64> {
        let at = self.at(offset, 8).filter(|at| at % 8 == 0)?;
        // SAFETY: eight aligned bytes inside a live mapping; an atomic may be read whatever peers do.
        Some(unsafe { AtomicU64::from_ptr(at as *mut u64) }.load(Ordering::Acquire))
    }

    /// Stores a word, after everything that this thread wrote before.
    pub fn store(&self, offset: usize, value: u64) {
        if let Some(at) = self.at(offset, 8).filter(|at| at % 8 == 0) {
            // SAFETY: as in `load`.
            unsafe { AtomicU64::from_ptr(at as *mut u64) }.store(value, Ordering::Release);
        }
    }

    /// As `load`, for half a word.
    pub fn load_half(&self, offset: usize) -> Option<u32> {
        let at = self.at(offset, 4).filter(|at| at % 4 == 0)?;
        // SAFETY: as in `load`.
        Some(unsafe { AtomicU32::from_ptr(at as *mut u32) }.load(Ordering::Acquire))
    }

    /// As `store`, for half a word.
    pub fn store_half(&self, offset: usize, value: u32) {
        if let Some(at) = self.at(offset, 4).filter(|at| at % 4 == 0) {
            // SAFETY: as in `load`.
            unsafe { AtomicU32::from_ptr(at as *mut u32) }.store(value, Ordering::Release);
        }
    }

    /// Copies bytes into the window; false when they do not fit there.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> bool {
        // SAFETY: a slice is readable for its length.
        unsafe { self.copy_in(offset, from.as_ptr(), from.len()) }
    }

    /// Copies bytes out of the window; false when they do not lie there.
    #[inline]
    pub fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        // SAFETY: a slice is writable for its length.
        unsafe { self.copy_out(offset, to.as_mut_ptr(), to.len()) }
    }

    /// As `write`, from memory of the program.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    #[inline]
    pub unsafe fn copy_in(&self, offset: usize, from: *const u8, length: usize) -> bool {
        let Some(at) = self.at(offset, length) else { return false };
        // SAFETY: the range lies within the mapping. memmove: the program may pass a pointer into the same memory.
        unsafe { libc::memmove(at as *mut _, from.cast(), length) };
        true
    }

    /// As `read`, into memory of the program.
    ///
    /// # Safety
    /// `to` is writable for `length` bytes.
    #[inline]
    pub unsafe fn copy_out(&self, offset: usize, to: *mut u8, length: usize) -> bool {
        let Some(at) = self.at(offset, length) else { return false };
        // SAFETY: as in `copy_in`.
        unsafe { libc::memmove(to.cast(), at as *const _, length) };
        true
    }

    /// Fills bytes with zeros; false when they do not lie in the window.
    pub fn clear(&self, offset: usize, length: usize) -> bool {
        let Some(at) = self.at(offset, length) else { return false };
        // SAFETY: as in `copy_in`.
        unsafe { libc::memset(at as *mut _, 0, length) };
        true
    }
}
