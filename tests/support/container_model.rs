//! The shared memory of a container as one thread of a model sees it: words of eight bytes that are loom's atomics, bytes of
//! messages whose every race loom reports, and half words with a kernel behind them (`model.rs`). The thread may die before
//! each access. Both fences are loom's own. Next: `../ring_models.rs`.

use std::sync::atomic::AtomicU64 as PlainU64;
use std::sync::atomic::Ordering::Relaxed as Plain;

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU64, fence};
use shmkit::containers::memory::Memory;

use super::model::{Thread, Word};

/// What stands at an offset.
struct Place {
    at: usize,
    value: AtomicU64,
    /// What the bytes of a message are there.
    bytes: UnsafeCell<u64>,
}

/// The memory that the threads of a model share.
pub struct Store {
    places: Vec<Place>,
    /// Counts for who looks from outside: nothing is decided by them, so they are no steps that others could come between.
    counts: Vec<(usize, PlainU64)>,
    halves: Vec<usize>,
}

impl Store {
    /// Words at some offsets and from `data_at` on, counts, and half words; these are the first words of the world.
    pub fn new(words: &[usize], data_at: usize, data: usize, counts: &[usize], halves: &[usize]) -> &'static Store {
        let data = (data_at..data_at + data).step_by(8);
        let place = |at| Place { at, value: AtomicU64::new(0), bytes: UnsafeCell::new(0) };
        Box::leak(Box::new(Store {
            places: words.iter().copied().chain(data).map(place).collect(),
            counts: counts.iter().map(|at| (*at, PlainU64::new(0))).collect(),
            halves: halves.to_vec(),
        }))
    }

    /// At the end of a model, when its threads have been joined.
    pub fn end(&'static self) {
        // SAFETY: it came from a box, and the threads that knew it have ended.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(self).cast_mut()) });
    }

    /// Sets a word before there are threads.
    pub fn set(&self, at: usize, value: u64) {
        self.place(at).value.store(value, SeqCst);
    }

    fn place(&self, at: usize) -> &Place {
        self.places.iter().find(|place| place.at == at).unwrap_or_else(|| panic!("nothing of the model is at {at}"))
    }

    fn count(&self, at: usize) -> Option<&PlainU64> {
        self.counts.iter().find(|(place, _)| *place == at).map(|(_, count)| count)
    }
}

// SAFETY: loom finds accesses to the bytes that nothing orders; what else is in it is Sync.
unsafe impl Sync for Store {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Store {}

/// It, as one thread sees it.
#[derive(Clone, Copy)]
pub struct Shared {
    store: &'static Store,
    first: Word,
    words: [Word; 4],
}

impl Shared {
    /// As this thread sees it; the half words are the first of its world.
    pub fn of(me: &Thread, store: &'static Store) -> Shared {
        assert!(store.halves.len() <= 4);
        let word = |at: usize| me.word(at.min(store.halves.len() - 1));
        Shared { store, first: me.word(0), words: [word(0), word(1), word(2), word(3)] }
    }

    /// Writes the bytes of a message, which are there alone now.
    pub fn write(self, at: usize, value: u64) {
        self.first.step();
        // SAFETY: loom has found out that no other thread has them.
        self.store.place(at).bytes.with_mut(|bytes| unsafe { *bytes = value });
    }

    /// Reads them, when nobody writes to them.
    pub fn read(self, at: usize) -> u64 {
        self.first.step();
        // SAFETY: loom has found out that no other thread writes.
        self.store.place(at).bytes.with(|bytes| unsafe { *bytes })
    }
}

/// No stronger than the trait says that it is.
impl Memory for Shared {
    type Half = Word;

    fn peek(self, at: usize) -> u64 {
        self.first.step();
        match self.store.count(at) {
            Some(count) => count.load(Plain),
            None => self.store.place(at).value.load(Relaxed),
        }
    }

    fn load(self, at: usize) -> u64 {
        self.first.step();
        self.store.place(at).value.load(Acquire)
    }

    fn put(self, at: usize, value: u64) {
        self.first.step();
        match self.store.count(at) {
            Some(count) => count.store(value, Plain),
            None => self.store.place(at).value.store(value, Relaxed),
        }
    }

    fn store(self, at: usize, value: u64) {
        self.first.step();
        self.store.place(at).value.store(value, Release);
    }

    fn settle(self, at: usize, value: u64) {
        self.first.step();
        self.store.place(at).value.swap(value, Release);
    }

    fn exchange(self, at: usize, old: u64, new: u64) -> Result<u64, u64> {
        self.first.step();
        self.store.place(at).value.compare_exchange(old, new, AcqRel, Acquire)
    }

    fn half(self, at: usize) -> Word {
        let index = self.store.halves.iter().position(|half| *half == at);
        self.words[index.unwrap_or_else(|| panic!("no half word of the model is at {at}"))]
    }

    fn release_fence() {
        fence(Release);
    }

    fn acquire_fence() {
        fence(Acquire);
    }

    fn light_fence() {
        fence(SeqCst);
    }

    fn heavy_fence() -> bool {
        fence(SeqCst);
        true
    }
}
