//! The event count: the one piece on which threads block for a condition. A thread takes a key, looks once more at what
//! it waits for, and waits with the key; who makes the condition true notifies. The word:
//!
//! | bits | meaning |
//! |---|---|
//! | `SLEEPERS` (bit 0) | somebody may sleep, or is about to |
//! | `ARMED` (bit 1) | somebody may sleep on a descriptor (containers alone) |
//! | the others | counts notifications, and those who arm |
//!
//! A waiter sets the bit before its last look, and sleeps only while the word is as it was then. A notifier that sees
//! the bit counts up, which sends back everybody who is on the way to sleep, and wakes. Who takes the bit away wakes
//! all afterwards: nobody sleeps without it. There is no number of waiters that the dead could leave wrong. One that is
//! woken and dies takes a notification for one with it: others look again after `BEAT_NS`.
//!
//! Who sleeps on a descriptor never looks again by itself. So who tells it writes to the descriptor first, and takes `ARMED`
//! away then, by an exchange against the word that it saw before the write; and each `arm` makes the word another one. Whoever
//! dies on the way has left `ARMED`, and the next one tells, perhaps once too often; whoever was woken by the write, and
//! armed again before the exchange, makes it fail. Who has no descriptor to write to leaves `ARMED` as well, to one who
//! has. Next: `mutex.rs` and the others; `containers/wait.rs`, for those who arm.

use super::futex::{BEAT_NS, Futex, beat, is_over};

/// Somebody may sleep.
pub const SLEEPERS: u32 = 1;
/// Somebody may sleep on a descriptor.
pub const ARMED: u32 = 2;
/// One notification more.
const STEP: u32 = 4;

/// Before the last look: what to wait with.
pub fn prepare<F: Futex>(word: F) -> u32 {
    let key = word.or(SLEEPERS) | SLEEPERS;
    // The bit comes before the look, for all threads: either that sees what was notified of, or the notifier sees the bit.
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
    if is_awaited(word) {
        notify_sleepers(word, count);
    }
}

/// Whether somebody may sleep.
#[inline(always)]
pub fn is_awaited<F: Futex>(word: F) -> bool {
    word.load() & SLEEPERS != 0
}

/// Whether somebody may sleep, on a descriptor too.
#[inline(always)]
pub fn is_awaited_anyhow<F: Futex>(word: F) -> bool {
    word.load() & (SLEEPERS | ARMED) != 0
}

/// Before the last look of who is about to sleep on a descriptor. `SLEEPERS` is for notifiers that know of no descriptors:
/// in memory both may be met.
pub fn arm<F: Futex>(word: F) {
    let mut seen = word.load();
    while let Err(now) = word.exchange(seen, seen.wrapping_add(STEP) | ARMED | SLEEPERS) {
        seen = now;
    }
    // As in `prepare`.
    F::fence();
}

/// Tells who sleeps on a descriptor, if anybody may: `write` writes to it. Ordered as `notify` is.
pub fn tell<F: Futex>(word: F, write: impl FnOnce()) {
    let seen = word.load();
    if seen & ARMED == 0 {
        return;
    }
    write();
    // Another word: somebody has armed, or notified, since then. The sign stays; it costs one write at the most.
    let _ = word.exchange(seen, seen.wrapping_add(STEP) & !ARMED);
}

#[cold]
fn notify_sleepers<F: Futex>(word: F, count: u32) {
    let now = word.add(STEP).wrapping_add(STEP);
    if count < u32::MAX && word.wake(count) >= count {
        return;
    }
    // All who slept are awake, or are woken now; so is one who fell asleep since then.
    if word.exchange(now, now & !SLEEPERS).is_ok() || count == u32::MAX {
        word.wake(u32::MAX);
    }
}
