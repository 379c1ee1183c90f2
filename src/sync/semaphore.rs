//! The counting semaphore. The word:
//!
//! | bits | meaning |
//! |---|---|
//! | `SLEEPERS` (bit 0) | somebody may sleep: a post wakes one |
//! | the others | the value |
//!
//! Sleepers sleep while the word is `SLEEPERS` alone: value 0. Who has slept sets the bit when it takes its permit, for
//! those who still sleep; a post that finds nobody asleep takes it away. One that is woken and dies takes the wake with
//! it, never the permit: others look again after `BEAT_NS`. Next: `permits.rs`, for permits that have holders.

use super::futex::{BEAT_NS, Futex, beat, is_over};

/// Somebody may sleep.
pub const SLEEPERS: u32 = 1;
const ONE: u32 = 2;
/// The most that a semaphore counts to, as SEM_VALUE_MAX of other systems: the rest of the word is a reserve for posts
/// that come at the same time and are refused.
pub const MOST: u32 = 0x3fff_ffff;

/// The word of a value.
pub fn of_value(value: u32) -> u32 {
    value * ONE
}

/// The value.
pub fn value<F: Futex>(word: F) -> u32 {
    value_in(word.load())
}

/// The value in what the word was.
pub fn value_in(seen: u32) -> u32 {
    seen / ONE
}

/// Takes a permit if there is one.
#[inline(always)]
pub fn try_wait<F: Futex>(word: F) -> bool {
    take(word, 0)
}

#[inline(always)]
fn take<F: Futex>(word: F, bit: u32) -> bool {
    let mut seen = word.load();
    while seen >= ONE {
        match word.exchange(seen, (seen - ONE) | bit) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// Takes a permit, waiting for one; false when the time is over.
pub fn wait<F: Futex>(word: F, until: u64) -> bool {
    let (mut spins, mut bit) = (0, 0);
    loop {
        if take(word, bit) {
            return true;
        }
        if is_over::<F>(until) {
            return false;
        }
        let seen = word.load();
        if spins < F::SPINS && seen == 0 {
            spins += 1;
            F::relax();
            continue;
        }
        if seen == SLEEPERS || seen == 0 && word.exchange(0, SLEEPERS).is_ok() {
            word.wait(SLEEPERS, beat::<F>(until, BEAT_NS));
            bit = SLEEPERS;
        }
    }
}

/// Gives a permit; false when there are too many.
pub fn post<F: Futex>(word: F) -> bool {
    match post_first(word) {
        Ok(()) => true,
        Err(before) => post_rest(word, before),
    }
}

/// Gives a permit. What the word was before, when that was not all: `post_rest` must follow.
#[inline(always)]
pub fn post_first<F: Futex>(word: F) -> Result<(), u32> {
    let before = word.add(ONE);
    if before & SLEEPERS == 0 && before < of_value(MOST) { Ok(()) } else { Err(before) }
}

/// Wakes who sleeps; false when there are too many.
pub fn post_rest<F: Futex>(word: F, before: u32) -> bool {
    if before >= of_value(MOST) {
        word.add(ONE.wrapping_neg());
        return false;
    }
    if word.wake(1) == 0 {
        let now = before.wrapping_add(ONE);
        if word.exchange(now, now & !SLEEPERS).is_ok() {
            // Two may have fallen asleep since then, and one post have woken one of them.
            word.wake(u32::MAX);
        }
    }
    true
}
