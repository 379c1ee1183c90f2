//! The event count: the one piece on which threads block for a condition. A thread takes a key, looks once more at what
//! it waits for, and waits with the key; who makes the condition true notifies. The word:
//!
//! | bits | meaning |
//! |---|---|
//! | `SLEEPERS` (bit 0) | somebody may sleep, or is about to |
//! | the others | counts notifications |
//!
//! A waiter sets the bit before its last look, and sleeps only while the word is as it was then. A notifier that sees
//! the bit counts up, which sends back everybody who is on the way to sleep, and wakes. Who takes the bit away wakes
//! all afterwards: nobody sleeps without it. There is no number of waiters that the dead could leave wrong. One that is
//! woken and dies takes a notification for one with it: others look again after `BEAT_NS`. Next: `mutex.rs` and the
//! others.

use super::futex::{BEAT_NS, Futex, beat, is_over};

/// Somebody may sleep.
pub const SLEEPERS: u32 = 1;

/// Before the last look: what to wait with.
pub fn prepare<F: Futex>(word: F) -> u32 {
    let key = word.or(SLEEPERS) | SLEEPERS;
    // The bit comes before the look, as the notifier's change comes before its look at the bit: one sees the other.
    F::fence();
    key
}

/// Waits for a notification after `prepare` gave the key; also returns without one, now and then. False when the time
/// is over.
pub fn wait<F: Futex>(word: F, key: u32, until: u64) -> bool {
    wait_for(word, key, until, BEAT_NS)
}

/// As `wait`, looking again after so many nanoseconds.
pub fn wait_for<F: Futex>(word: F, key: u32, until: u64, beat_ns: u64) -> bool {
    if word.load() == key {
        word.wait(key, beat::<F>(until, beat_ns));
    }
    word.load() != key || !is_over::<F>(until)
}

/// Notifies so many waiters; u32::MAX for all. What the caller changed before must be ordered before this by a lock
/// that waiters take too, or by `Futex::fence`.
#[inline(always)]
pub fn notify<F: Futex>(word: F, count: u32) {
    if word.load() & SLEEPERS != 0 {
        notify_sleepers(word, count);
    }
}

#[cold]
fn notify_sleepers<F: Futex>(word: F, count: u32) {
    let now = word.add(2).wrapping_add(2);
    if count < u32::MAX && word.wake(count) >= count {
        return;
    }
    // All who slept are awake, or are woken now; so is one who fell asleep since then.
    if word.exchange(now, now & !SLEEPERS).is_ok() || count == u32::MAX {
        word.wake(u32::MAX);
    }
}
