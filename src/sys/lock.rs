//! A lock for state of this process that signal handlers, forks and dead threads cannot turn into a hang.
//! Never allocates, never sleeps for ever and never makes a system call while uncontended.
//! The one user is the ledger. Next: `calls/ledger.rs`.
//!
//! | `owner` | meaning | who may move it where |
//! |---|---|---|
//! | 0 | free | any thread, to its thread pointer (compare-exchange, acquire) |
//! | thread pointer | held by that thread | that thread alone, to 0 (store, release) |
//!
//! The acquire of the compare-exchange sees everything that the last holder wrote before its release.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::process;

/// A value behind the lock.
pub struct Guarded<T> {
    owner: AtomicUsize,
    /// The thread that took the lock for a fork, so that only it gives it back.
    forking: AtomicUsize,
    /// A holder that was waited for in vain.
    stuck: AtomicUsize,
    /// Set when the value can no longer be trusted; it is never touched again.
    broken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: the value is only reached by the thread whose pointer is in `owner`, one at a time.
unsafe impl<T: Send> Sync for Guarded<T> {}

/// Marks the value as broken unless the work on it came to its end.
struct Held<'a, T> {
    lock: &'a Guarded<T>,
    finished: bool,
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if !self.finished {
            self.lock.broken.store(true, Ordering::Relaxed);
        }
        self.lock.owner.store(0, Ordering::Release);
    }
}

impl<T> Guarded<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Guarded {
            owner: AtomicUsize::new(0),
            forking: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `work` on the value. `None` when the value cannot be had: a signal handler interrupted this very
    /// thread's work on it, its holder was lost in a fork that bypassed the C library, or earlier work panicked.
    #[inline]
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let me = process::thread_pointer();
        if self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_err() && !self.wait(me) {
            return None;
        }
        let mut held = Held { lock: self, finished: false };
        if self.broken.load(Ordering::Relaxed) {
            held.finished = true;
            return None;
        }
        // SAFETY: `owner` is this thread, so no other thread is here; a signal handler of this thread is turned
        // away by `wait`; `work` cannot reach the lock again without passing there too.
        let result = work(unsafe { &mut *self.value.get() });
        held.finished = true;
        Some(result)
    }

    /// Waits a bounded time for the holder, whose work takes well under a microsecond. A holder that does not come back
    /// (it jumped out of a signal handler, or was lost in a fork behind the C library) is waited for once: after that
    /// every thread goes away at once, until the lock is free again.
    #[cold]
    fn wait(&self, me: usize) -> bool {
        const SPINS: u32 = 100;
        const YIELDS: u32 = 100;
        const SLEEP_NS: i64 = 50_000;
        const PATIENCE_NS: u64 = 100_000_000;
        let start = process::monotonic_ns();
        for attempt in 0u32.. {
            let owner = self.owner.load(Ordering::Relaxed);
            if owner == me || owner != 0 && owner == self.stuck.load(Ordering::Relaxed) {
                return false;
            }
            if self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return true;
            }
            if attempt < SPINS {
                core::hint::spin_loop();
            } else if attempt < SPINS + YIELDS {
                process::yield_now();
            } else if process::monotonic_ns().saturating_sub(start) < PATIENCE_NS {
                // A yield alone could starve a holder of lower real-time priority; a sleep cannot.
                super::preserving_errno(|| process::sleep_ns(SLEEP_NS));
            } else {
                // A fork holds the lock for as long as it takes to copy the process, and gives it back.
                if self.forking.load(Ordering::Relaxed) == 0 {
                    self.stuck.store(owner, Ordering::Relaxed);
                }
                return false;
            }
        }
        false
    }

    /// Takes the lock before a fork, so that the child's copy of the value is whole.
    pub fn before_fork(&self) {
        let me = process::thread_pointer();
        if self.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok() || self.wait(me) {
            self.forking.store(me, Ordering::Relaxed);
        }
    }

    /// Gives the lock back after a fork, in the parent and in the child.
    pub fn after_fork(&self) {
        if self.forking.load(Ordering::Relaxed) == process::thread_pointer() {
            self.forking.store(0, Ordering::Relaxed);
            self.owner.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_within_work_is_turned_away_and_does_not_hang() {
        let lock = Guarded::new(1);
        let inner = lock.with(|value| {
            *value += 1;
            lock.with(|value| *value += 1)
        });
        assert_eq!(inner, Some(None));
        assert_eq!(lock.with(|value| *value), Some(2));
    }

    #[test]
    fn a_panic_in_the_work_closes_the_value_for_good() {
        let lock = Guarded::new(1);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lock.with(|_| panic!("on purpose"));
        }));
        assert!(caught.is_err());
        assert_eq!(lock.with(|value| *value), None);
    }

    #[test]
    fn eight_threads_lose_no_update() {
        let lock = Guarded::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| assert!(lock.with(|value| *value += 1).is_some())));
            }
        });
        assert_eq!(lock.with(|value| *value), Some(80_000));
    }
}
