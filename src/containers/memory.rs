//! What the cores of this layer need of memory. `sys/area.rs` gives them shared memory; the models give them loom's atomics.
//! Never names an address: offsets alone. Next: `ring.rs`, the smallest core.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::fence;

use crate::sync::futex::Futex;
use crate::sys::area::{self, Area};
use crate::sys::futex::Word;

/// Words of eight bytes at offsets that are multiples of eight, and half words to sleep on.
pub trait Memory: Copy {
    /// A half word.
    type Half: Futex;
    /// Whether so many bytes at an offset lie within, and may be asked for.
    #[inline(always)]
    fn holds(self, _at: usize, _bytes: usize) -> bool {
        true
    }
    /// Relaxed.
    fn peek(self, at: usize) -> u64;
    /// Acquire: with everything that its writer wrote before it.
    fn load(self, at: usize) -> u64;
    /// Relaxed.
    fn put(self, at: usize, value: u64);
    /// Release: after everything that this thread wrote before.
    fn store(self, at: usize, value: u64);
    /// As `store`, of a word that others may exchange at this moment: their exchange comes before it and is overwritten, or
    /// after it and fails. A model must say so by an exchange of its own: loom lets later loads find either of the two.
    #[inline(always)]
    fn settle(self, at: usize, value: u64) {
        self.store(at, value);
    }
    /// Acquire and release; the found value when it is not `old`.
    fn exchange(self, at: usize, old: u64, new: u64) -> Result<u64, u64>;
    /// The half word at an offset that is a multiple of four.
    fn half(self, at: usize) -> Self::Half;
    /// What was put before comes before what is put after, for who loads the latter and has an `acquire_fence` behind it.
    fn release_fence();
    /// What was peeked before comes before what is peeked after.
    fn acquire_fence();
    /// Between a change and a look at whether somebody sleeps. Pairs with `heavy_fence`.
    fn light_fence();
    /// Between saying that one is about to sleep and the last look. False when notifiers may be missed: sleep shortly.
    fn heavy_fence() -> bool;
}

impl Memory for Area {
    type Half = Word;

    #[inline(always)]
    fn holds(self, at: usize, bytes: usize) -> bool {
        Area::holds(self, at, bytes)
    }

    #[inline(always)]
    fn peek(self, at: usize) -> u64 {
        self.atomic(at).load(Relaxed)
    }

    #[inline(always)]
    fn load(self, at: usize) -> u64 {
        self.atomic(at).load(Acquire)
    }

    #[inline(always)]
    fn put(self, at: usize, value: u64) {
        self.atomic(at).store(value, Relaxed);
    }

    #[inline(always)]
    fn store(self, at: usize, value: u64) {
        self.atomic(at).store(value, Release);
    }

    #[inline(always)]
    fn exchange(self, at: usize, old: u64, new: u64) -> Result<u64, u64> {
        self.atomic(at).compare_exchange(old, new, AcqRel, Acquire)
    }

    #[inline(always)]
    fn half(self, at: usize) -> Word {
        Area::half(self, at)
    }

    #[inline(always)]
    fn release_fence() {
        fence(Release);
    }

    #[inline(always)]
    fn acquire_fence() {
        fence(Acquire);
    }

    #[inline(always)]
    fn light_fence() {
        area::light_fence();
    }

    fn heavy_fence() -> bool {
        area::heavy_fence()
    }
}
