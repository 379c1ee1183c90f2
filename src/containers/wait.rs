//! Waiting for a container: a thread spins as long as that has paid of late, then sleeps on an event (`sync/event.rs`).
//! Who changes something pays for the sleepers only when there are some: the fence between its change and its look is the
//! sleeper's to pay for. Next: `sys/area.rs`, for the two fences.

use super::memory::Memory;
use crate::sync::event;
use crate::sync::futex::{BEAT_NS, Futex, is_over};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was waited for is there, or may be.
    There,
    /// The time was over.
    TimedOut,
    /// The peer that could bring it is dead.
    PeerDied,
}

/// The most turns of a spin, and the fewest: some ten microseconds, and some hundred nanoseconds.
const MOST_SPINS: u32 = 400;
const LEAST_SPINS: u32 = 8;
/// Where the kernel cannot order notifiers with sleepers.
const SHORT_BEAT_NS: u64 = 1_000_000;

/// What a spin begins with.
pub const FIRST_SPINS: u32 = 200;

/// After a change: wakes who sleeps for it. Says whether there was anybody.
#[inline(always)]
pub fn notify<M: Memory>(memory: M, event_at: usize) -> bool {
    M::light_fence();
    let awaited = event::is_awaited(memory.half(event_at));
    if awaited {
        wake(memory, event_at);
    }
    awaited
}

#[cold]
#[inline(never)]
fn wake<M: Memory>(memory: M, event_at: usize) {
    event::notify(memory.half(event_at), u32::MAX);
}

/// Says that this thread is about to sleep on something else, as a descriptor, until a `notify`: what to look at follows.
/// False when a notifier may be missed.
pub fn arm<M: Memory>(memory: M, event_at: usize) -> bool {
    event::prepare(memory.half(event_at));
    M::heavy_fence()
}

/// Waits until `ready`. `spins` is how long spinning pays, which this learns. `alive` is asked at every beat.
pub fn until<M: Memory>(
    memory: M,
    event_at: usize,
    until: u64,
    spins: &mut u32,
    ready: &mut dyn FnMut() -> bool,
    alive: &mut dyn FnMut() -> bool,
) -> Ended {
    if ready() {
        return Ended::There;
    }
    let most = if M::Half::SPINS == 0 { 0 } else { *spins };
    for _ in 0..most {
        M::Half::relax();
        if ready() {
            *spins = (*spins + *spins / 4 + 1).min(MOST_SPINS);
            return Ended::There;
        }
    }
    *spins = (*spins / 2).max(LEAST_SPINS);
    loop {
        if is_over::<M::Half>(until) {
            return Ended::TimedOut;
        }
        let key = event::prepare(memory.half(event_at));
        let beat = if M::heavy_fence() { BEAT_NS } else { SHORT_BEAT_NS };
        if ready() {
            return Ended::There;
        }
        event::wait_for(memory.half(event_at), key, until, beat);
        if ready() {
            return Ended::There;
        }
        if !alive() {
            // What it did last is seen by now.
            return if ready() { Ended::There } else { Ended::PeerDied };
        }
    }
}
