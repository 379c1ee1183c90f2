//! A growing array in pages of its own: memory for the ledger that never goes through malloc.
//! Never moves what callers hold (they hold indices) and never shrinks. Next: `calls/ledger.rs`.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::limits::page_size;
use super::real;

/// An array of plain values, empty and without memory until something is pushed.
pub struct Array<T> {
    /// `None` without memory, so that an empty array is all zeros and takes no room in the library's file.
    start: Option<NonNull<T>>,
    length: usize,
    capacity: usize,
}

// SAFETY: the array owns its pages as a `Vec` owns its buffer.
unsafe impl<T: Send> Send for Array<T> {}

impl<T: Copy + Default> Array<T> {
    /// An empty array.
    pub const fn new() -> Self {
        Array { start: None, length: 0, capacity: 0 }
    }

    /// The values.
    #[inline]
    pub fn as_slice(&self) -> &[T] {
        let Some(start) = self.start else { return &[] };
        // SAFETY: the first `length` values were written, and the pages are ours alone.
        unsafe { core::slice::from_raw_parts(start.as_ptr(), self.length) }
    }

    /// The values, to be changed.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let Some(start) = self.start else { return &mut [] };
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { core::slice::from_raw_parts_mut(start.as_ptr(), self.length) }
    }

    /// Appends a value; false when there is no memory for it.
    pub fn push(&mut self, value: T) -> bool {
        if self.length == self.capacity && !self.grow(self.length + 1) {
            return false;
        }
        let Some(start) = self.start else { return false };
        // SAFETY: `length` is below `capacity`, so the place lies within our pages.
        unsafe { start.as_ptr().add(self.length).write(value) };
        self.length += 1;
        true
    }

    /// Inserts a value before the one at `index`; false when there is no memory for it.
    pub fn insert(&mut self, index: usize, value: T) -> bool {
        if index > self.length || !self.push(value) {
            return false;
        }
        let last = self.length - 1;
        self.as_mut_slice().copy_within(index..last, index + 1);
        self.as_mut_slice()[index] = value;
        true
    }

    /// Removes all values; their room stays.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Removes the value at `index`.
    pub fn remove(&mut self, index: usize) {
        if index < self.length {
            self.as_mut_slice().copy_within(index + 1.., index);
            self.length -= 1;
        }
    }

    /// Makes the array at least `length` long, with default values; false when there is no memory for it.
    pub fn extend_to(&mut self, length: usize) -> bool {
        if length > self.capacity && !self.grow(length) {
            return false;
        }
        while self.length < length {
            if !self.push(T::default()) {
                return false;
            }
        }
        true
    }

    #[cold]
    fn grow(&mut self, wanted: usize) -> bool {
        let each = size_of::<T>().max(1);
        let Some(bytes) = wanted.max(self.capacity.saturating_mul(2)).checked_mul(each) else {
            return false;
        };
        let Some(bytes) = bytes.checked_next_multiple_of(page_size()) else {
            return false;
        };
        let old_bytes = (self.capacity * each).next_multiple_of(page_size());
        let Some(start) = super::preserving_errno(|| match self.start {
            Some(old) => lengthen(old.cast(), old_bytes, bytes),
            None => reserve(bytes),
        }) else {
            return false;
        };
        let start = start.cast();
        self.start = Some(start);
        self.capacity = bytes / each;
        true
    }
}

/// How far below the addresses that the kernel hands out our pages lie, and how far apart from each other.
const AWAY: usize = 1 << 40;
const APART: usize = 1 << 30;

/// Where the last reservation was asked for; 0 before the first.
static PLACE: AtomicUsize = AtomicUsize::new(0);

/// New pages, far from where the kernel puts a program's mappings. A program may take the hole that its own munmap left
/// to be its own, and map over it with MAP_FIXED: nothing of ours may have moved in meanwhile.
pub fn reserve(bytes: usize) -> Option<NonNull<u8>> {
    // MAP_NORESERVE keeps the kernel from merging these pages with the program's own mappings beside them, which would
    // make every later munmap there split and shrink the merged one.
    let map = |hint: usize| {
        // SAFETY: a new private mapping; the hint displaces nothing.
        let start = unsafe {
            real::mmap(
                core::ptr::without_provenance_mut(hint),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        (start != libc::MAP_FAILED).then(|| NonNull::new(start.cast())).flatten()
    };
    if PLACE.load(Relaxed) == 0 {
        let usual: NonNull<u8> = map(0)?;
        // SAFETY: mapped just now, and nobody else knows of it.
        unsafe { real::munmap(usual.as_ptr().cast(), bytes) };
        PLACE.store(usual.as_ptr().addr().saturating_sub(AWAY), Relaxed);
    }
    map(PLACE.fetch_sub(APART, Relaxed))
}

/// Makes our own pages longer: where they are, or in a new place. The old ones stay when there is no memory.
fn lengthen(old: NonNull<u8>, old_bytes: usize, bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: the pages are ours and stay where they are.
    if unsafe { real::mremap(old.as_ptr().cast(), old_bytes, bytes, 0, core::ptr::null_mut()) } != libc::MAP_FAILED {
        return Some(old);
    }
    let new = reserve(bytes)?;
    // SAFETY: both are ours, apart, and at least `old_bytes` long; nobody refers to the old one after this.
    unsafe {
        core::ptr::copy_nonoverlapping(old.as_ptr(), new.as_ptr(), old_bytes);
        real::munmap(old.as_ptr().cast(), old_bytes);
    }
    Some(new)
}

impl<T: Copy + Default> Default for Array<T> {
    fn default() -> Self {
        Array::new()
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            let bytes = (self.capacity * size_of::<T>().max(1)).next_multiple_of(page_size());
            // SAFETY: these pages are ours and nobody refers to them any more.
            unsafe { real::munmap(start.as_ptr().cast(), bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_as_a_vector() {
        let mut array = Array::new();
        let mut model = Vec::new();
        for step in 0..5000u64 {
            let index = (step as usize * 7919) % (model.len() + 1);
            assert!(array.insert(index, step));
            model.insert(index, step);
            if step % 3 == 0 {
                let index = (step as usize * 31) % model.len();
                array.remove(index);
                model.remove(index);
            }
        }
        assert_eq!(array.as_slice(), model);
        assert!(array.extend_to(9000));
        assert_eq!(array.as_slice()[model.len()..].iter().sum::<u64>(), 0);
        assert_eq!(array.as_slice().len(), 9000);
    }
}
