//! Waiting for a container: a thread spins while that pays, then sleeps on an event (`sync/event.rs`).
//! Who changes something pays for the sleepers only when there are some: the fence between its change and its look is the
//! sleeper's to pay for. Who sleeps on a descriptor is told by a second step, `tell`, of those who have one to write to.
//! Next: `sys/area.rs`, for the two fences.

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

/// A spin in hope lasts as long as it takes to wake somebody, in a virtual machine: who spins so long and sleeps then has lost
/// no more than by sleeping at once. Shorter, and two that answer each other and both sleep, as after something else had
/// their processors, would go on sleeping for every message: each waits for the other to wake.
const HOPE_NS: u64 = 50_000;
/// The turns of a spin without hope: some hundred nanoseconds, or a few. A spin in hope looks at the clock after as many.
const TURNS: u32 = 32;
/// After so many spins in vain hope is given up, but for one in `PROBE`.
const TRIES: u32 = 8;
const PROBE: u32 = 64;
/// The turns of a rest before a look: as long as some short messages take. Each look takes the cache line from who writes, so the
/// more come between two, the faster they come.
const REST: u32 = 16;
/// After a look that found more than one, so many that found one have a rest before them; and one in `TRIAL`, to find out.
const ROW: u8 = 8;
const TRIAL: u16 = 1023;
/// Where the kernel cannot order notifiers with sleepers.
const SHORT_BEAT_NS: u64 = 1_000_000;

/// What a waiter has learnt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// How often it spun in vain since it paid.
    vain: u32,
    /// Looks that have a rest before them still, since one that found more than one.
    row: u8,
    /// Looks since one was tried with a rest.
    looks: u16,
}

impl Patience {
    /// Spins until `ready`, as long as there is hope, and `until` at most. False when it is time to sleep.
    #[inline(always)]
    pub fn spin<F: Futex>(&mut self, until: u64, ready: impl FnMut() -> bool) -> bool {
        self.spin_with::<F>(until, ready, false)
    }

    /// As `spin`, for one of many that may come in a row: see `found`.
    #[inline(always)]
    pub fn spin_for_next<F: Futex>(&mut self, until: u64, ready: impl FnMut() -> bool) -> bool {
        self.spin_with::<F>(until, ready, true)
    }

    /// What `spin_for_next` found: more than one, or one. Two that answer each other find one, and never rest but for a trial.
    #[inline(always)]
    pub fn found(&mut self, several: bool) {
        self.row = if several { ROW } else { self.row.saturating_sub(1) };
    }

    fn rests(&mut self) -> bool {
        self.looks = if self.looks < TRIAL { self.looks + 1 } else { 0 };
        self.row > 0 || self.looks == 0
    }

    #[inline(always)]
    fn spin_with<F: Futex>(&mut self, until: u64, mut ready: impl FnMut() -> bool, rows: bool) -> bool {
        if ready() {
            return true;
        }
        if until == 0 || F::SPINS == 0 {
            return false;
        }
        if rows && self.rests() {
            (0..REST).for_each(|_| F::relax());
        }
        let hope = self.vain < TRIES || self.vain.is_multiple_of(PROBE);
        let mut end = 0;
        for turn in 1u32.. {
            F::relax();
            if ready() {
                self.vain = 0;
                return true;
            }
            if !turn.is_multiple_of(TURNS) {
                continue;
            }
            let now = if hope { F::now() } else { break };
            if end == 0 {
                end = now.saturating_add(HOPE_NS).min(until);
            } else if now >= end {
                break;
            }
        }
        self.vain = self.vain.wrapping_add(1);
        false
    }
}

/// After a change: wakes the threads that sleep for it. Says whether anybody may sleep for it, on a descriptor too: `tell`
/// is for the caller then, if it has one.
#[inline(always)]
pub fn notify<M: Memory>(memory: M, event_at: usize) -> bool {
    let awaited = is_awaited(memory, event_at);
    if awaited {
        wake(memory, event_at);
    }
    awaited
}

/// After a change: whether somebody may sleep for it, on a descriptor too.
#[inline(always)]
pub fn is_awaited<M: Memory>(memory: M, event_at: usize) -> bool {
    M::light_fence();
    event::is_awaited_anyhow(memory.half(event_at))
}

/// Wakes the threads that sleep.
#[cold]
#[inline(never)]
pub fn wake<M: Memory>(memory: M, event_at: usize) {
    event::notify(memory.half(event_at), u32::MAX);
}

/// After `notify` or `wake`: tells who sleeps on a descriptor, by `write`, which writes to it. Whoever dies in here has written,
/// or leaves that to the next one who has something to tell.
#[cold]
#[inline(never)]
pub fn tell<M: Memory>(memory: M, event_at: usize, write: impl FnOnce()) {
    event::tell(memory.half(event_at), write);
}

/// Says that this thread is about to sleep on a descriptor, until a `tell`: the last look follows. False when a notifier may
/// be missed.
pub fn arm<M: Memory>(memory: M, event_at: usize) -> bool {
    event::arm(memory.half(event_at));
    M::heavy_fence()
}

/// Sleeps until `ready`; for who has spun. `alive` is asked at every beat.
pub fn until<M: Memory>(
    memory: M,
    event_at: usize,
    until: u64,
    ready: &mut dyn FnMut() -> bool,
    alive: &mut dyn FnMut() -> bool,
) -> Ended {
    if ready() {
        return Ended::There;
    }
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

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    std::thread_local! {
        /// Turns so far; each takes ten nanoseconds.
        static TURNED: Cell<u64> = const { Cell::new(0) };
    }

    /// A word of which only the clock is used.
    #[derive(Clone, Copy)]
    struct Clock;

    impl Futex for Clock {
        const SPINS: u32 = 1;
        fn load(self) -> u32 {
            0
        }
        fn store(self, _: u32) {}
        fn exchange(self, _: u32, _: u32) -> Result<u32, u32> {
            Ok(0)
        }
        fn swap(self, _: u32) -> u32 {
            0
        }
        fn and(self, _: u32) -> u32 {
            0
        }
        fn or(self, _: u32) -> u32 {
            0
        }
        fn add(self, _: u32) -> u32 {
            0
        }
        fn fence() {}
        fn wait(self, _: u32, _: u64) {}
        fn wake(self, _: u32) -> u32 {
            0
        }
        fn now() -> u64 {
            TURNED.get() * 10
        }
        fn relax() {
            TURNED.set(TURNED.get() + 1);
        }
        fn exists(_: u32) -> bool {
            true
        }
    }

    /// How many nanoseconds a spin took that was in vain.
    fn in_vain(patience: &mut Patience, until: u64) -> u64 {
        let begin = Clock::now();
        assert!(!patience.spin::<Clock>(until, || false));
        Clock::now() - begin
    }

    #[test]
    fn hope_lasts_as_long_as_a_wake_up_and_is_given_up() {
        let mut patience = Patience::default();
        let short = 10 * u64::from(TURNS);
        for round in 0..3 {
            for time in 0..u64::from(PROBE) {
                let took = in_vain(&mut patience, u64::MAX);
                let hope = time == 0 || round == 0 && time < u64::from(TRIES);
                let expected = if hope { HOPE_NS..=HOPE_NS + 2 * short } else { short..=short };
                assert!(expected.contains(&took), "round {round}, spin {time}: {took}");
            }
        }
        let mut left = 5;
        let comes = || {
            left -= 1;
            left == 0
        };
        assert!(patience.spin::<Clock>(u64::MAX, comes));
        assert!(in_vain(&mut patience, u64::MAX) >= HOPE_NS, "what came gives hope again");
    }

    /// How many turns a spin took that found something at its second look.
    fn turns(patience: &mut Patience, spin: fn(&mut Patience, &mut dyn FnMut() -> bool) -> bool) -> u64 {
        let (begin, mut looks) = (TURNED.get(), 0);
        assert!(spin(patience, &mut || {
            looks += 1;
            looks == 2
        }));
        TURNED.get() - begin
    }

    #[test]
    fn who_finds_several_rests_before_it_looks_again() {
        let next: fn(&mut Patience, &mut dyn FnMut() -> bool) -> bool =
            |patience, ready| patience.spin_for_next::<Clock>(u64::MAX, ready);
        let (long, mut patience) = (u64::from(REST) + 1, Patience::default());
        // Two that answer each other: one trial in all.
        let rested = (0..=TRIAL).filter(|_| turns(&mut patience, next) == long).count();
        assert_eq!(rested, 1);
        patience.found(true);
        for _ in 0..ROW {
            assert_eq!(turns(&mut patience, next), long);
            patience.found(false);
        }
        assert_eq!(turns(&mut patience, next), 1, "one at a time");
        patience.found(true);
        assert_eq!(turns(&mut patience, |patience, ready| patience.spin::<Clock>(u64::MAX, ready)), 1);
        // Neither who finds something at once, nor who does not wait.
        let begin = TURNED.get();
        assert!(patience.spin_for_next::<Clock>(u64::MAX, || true) && !patience.spin_for_next::<Clock>(0, || false));
        assert_eq!(TURNED.get(), begin);
    }

    #[test]
    fn no_spin_lasts_longer_than_the_wait() {
        let mut patience = Patience::default();
        assert_eq!(in_vain(&mut patience, 0), 0);
        let soon = Clock::now() + 3000;
        assert!(in_vain(&mut patience, soon) <= 3000 + 10 * u64::from(TURNS));
        assert!(Patience::default().spin::<Clock>(0, || true));
    }
}
