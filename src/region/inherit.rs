//! What a forked child has of its parent's mapping: the same memory under an open file description of its own, with the
//! advice that the remapping would lose, and nothing in the places that the parent kept from it.
//! Only calls that are async-signal-safe. Next: `object.rs` (`renew`), `access.rs` (`advise`).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::handle::{Hot, NOT_FORKED, POISONED, PROTECTED, READ_ONLY, Region, WITHHELD};
use crate::error::Errno;
use crate::sys::limits::page_size;
use crate::sys::memory;

/// The addresses from the first to the last of all ranges that were added.
pub struct Span {
    from: AtomicUsize,
    to: AtomicUsize,
}

impl Default for Span {
    fn default() -> Span {
        Span { from: AtomicUsize::new(usize::MAX), to: AtomicUsize::new(0) }
    }
}

impl Span {
    /// Adds a range.
    pub fn add(&self, start: usize, length: usize) {
        self.from.fetch_min(start, Relaxed);
        self.to.fetch_max(start.saturating_add(length), Relaxed);
    }

    /// Forgets all ranges.
    pub fn clear(&self) {
        self.from.store(usize::MAX, Relaxed);
        self.to.store(0, Relaxed);
    }

    /// Forgets all ranges, when this one covers them.
    pub fn clear_if_within(&self, start: usize, length: usize) {
        if start <= self.from.load(Relaxed) && self.to.load(Relaxed) <= start.saturating_add(length) {
            self.clear();
        }
    }

    /// Whether a range has an address of these.
    pub fn meets(&self, start: usize, length: usize) -> bool {
        start < self.to.load(Relaxed) && self.from.load(Relaxed) < start.saturating_add(length)
    }

    fn advise(&self, advice: i32) {
        let (from, to) = (self.from.load(Relaxed), self.to.load(Relaxed));
        if from < to {
            let _ = memory::madvise(from, to - from, advice);
        }
    }
}

/// Maps the region under another descriptor, in the places where the child has it.
pub fn remap(hot: &Hot, fd: i32) {
    // Zeros that the guard put there are this process's, and protections would be lost: then the mapping stays.
    if hot.is(POISONED) || hot.is(PROTECTED) {
        return;
    }
    let prot = if hot.is(READ_ONLY) { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let start = hot.window.start();
    let mut one = |from: usize, to: usize| {
        let _ = memory::mmap(from, to - from, prot, flags, fd, (from - start) as i64);
    };
    match hot.is(NOT_FORKED) {
        true => walk(hot, start, end_of(hot), &mut one),
        false => one(start, start + hot.window.length()),
    }
    hot.huge.advise(libc::MADV_HUGEPAGE);
    hot.undumped.advise(libc::MADV_DONTDUMP);
}

/// Takes the places that the parent kept from its children, so that nothing else comes to lie there: it would pass for
/// the region's data, and would go with it.
pub fn close_holes(region: &Region) {
    let hot = region.hot;
    if hot.is(NOT_FORKED) && hot.window.length() > 0 {
        walk(hot, hot.window.start(), end_of(hot), &mut |_, _| ());
    }
}

fn end_of(hot: &Hot) -> usize {
    hot.window.start() + hot.window.length().next_multiple_of(page_size())
}

/// Shows what is mapped to `mapped`, and fills what is not. Halves what is neither: few parts need few steps, however
/// large they are.
fn walk(hot: &Hot, from: usize, to: usize, mapped: &mut dyn FnMut(usize, usize)) {
    if memory::is_mapped(from, to - from) {
        return mapped(from, to);
    }
    let filled = memory::occupy(from, to - from);
    let half = (to - from) / page_size() / 2 * page_size();
    if filled == Err(Errno(libc::EEXIST)) && half > 0 {
        walk(hot, from, from + half, mapped);
        return walk(hot, from + half, to, mapped);
    }
    hot.flags.fetch_or(WITHHELD, Relaxed);
    hot.withheld.add(from, to - from);
}
