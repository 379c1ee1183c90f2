//! The barrier. Who arrives holds a place, a claim, until it goes on: a death among those who wait is seen in the
//! places, and so is a death of one who has joined and is on its way. Then nobody can wait for all any more: the
//! barrier is broken, and says so to everybody until it is reset. All words change with the mutex held, but a place is
//! given up without.
//!
//! The mark of a place: `JOINED`; the phase that its holder arrived in last; and `BROKEN`, when that phase broke. So who
//! waited knows what became of its own phase, however late it looks: it broke, or it is not the current one any more.
//! Next: `object.rs`.

use super::claim::{DIED, ID};
use super::event;
use super::futex::{Futex, Holder, Refused, is_over};
use super::mutex::{Lane, Mutex};
use super::permits::{BEAT_NS, Places, lock_plain, look, occupy, vacate};

const JOINED: u32 = 1;
const BROKEN: u32 = 2;
const PHASE_SHIFT: u32 = 2;

/// The phase in a mark: one more than its number, so that 0 is none.
fn in_mark(phase: u32) -> u32 {
    phase.wrapping_add(1) << PHASE_SHIFT
}

/// Whether the mark of a place says that its holder has joined.
pub fn has_joined(mark: u32) -> bool {
    mark & JOINED != 0
}

/// Whether it says that its holder arrived in this phase, and the phase did not break.
pub fn waits_in(mark: u32, phase: u32) -> bool {
    mark & !JOINED == in_mark(phase)
}

/// The places of a barrier have marks.
pub trait Marked<F>: Places<F> {
    /// The mark of a place.
    fn mark(&self, place: usize) -> F;
}

/// The words of a barrier.
pub struct Barrier<F, P> {
    /// Held to change anything.
    pub mutex: Mutex<F>,
    /// The phase is over, or the barrier broke.
    pub event: F,
    /// Counts phases.
    pub phase: F,
    /// Counts breaks and resets: odd while it is broken.
    pub breaks: F,
    /// So many must arrive.
    pub needed: usize,
    /// Who is there.
    pub places: P,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// All arrived; this thread was the last.
    Last,
    /// All arrived.
    Other,
    /// One who was waited for died.
    Broken,
}

impl<F: Futex, P: Marked<F>> Barrier<F, P> {
    /// Arrives, and waits for the others.
    pub fn wait(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<Passed, Refused> {
        // For the mutex and a place.
        let own = self.places.own();
        if !holder.has_room(if own.is_some() { 1 } else { 2 }) {
            return Err(Refused::NoRoom);
        }
        lock_plain(&self.mutex, holder, lane, until)?;
        self.sweep();
        let breaks = self.breaks.load();
        if breaks & 1 != 0 {
            self.mutex.unlock(holder, lane)?;
            return Ok(Passed::Broken);
        }
        let phase = self.phase.load();
        let Some(place) = own.or_else(|| self.enter(holder, 0)) else {
            self.mutex.unlock(holder, lane)?;
            return Err(Refused::NoRoom);
        };
        let mark = self.places.mark(place);
        mark.store(mark.load() & JOINED | in_mark(phase));
        let arrived = (0..self.places.count()).filter(|place| self.has_arrived(*place, phase)).count();
        if arrived >= self.needed {
            self.phase.store(phase.wrapping_add(1));
            event::notify(self.event, u32::MAX);
            self.mutex.unlock(holder, lane)?;
            self.go_on(place, holder);
            return Ok(Passed::Last);
        }
        let mut key = event::prepare(self.event);
        self.mutex.unlock(holder, lane)?;
        loop {
            event::wait_for(self.event, key, until, BEAT_NS);
            key = event::prepare(self.event);
            let passed = match mark.load() {
                told if told & BROKEN != 0 => Passed::Broken,
                _ if self.phase.load() != phase => Passed::Other,
                _ => {
                    lock_plain(&self.mutex, holder, lane, u64::MAX)?;
                    self.sweep();
                    let waits = mark.load() & BROKEN == 0 && self.phase.load() == phase;
                    let over = waits && is_over::<F>(until);
                    if over {
                        mark.store(mark.load() & JOINED);
                        self.go_on(place, holder);
                    }
                    self.mutex.unlock(holder, lane)?;
                    if over {
                        return Err(Refused::TimedOut);
                    }
                    continue;
                }
            };
            self.go_on(place, holder);
            return Ok(passed);
        }
    }

    fn enter(&self, holder: &impl Holder<F>, mark: u32) -> Option<usize> {
        let place = occupy(&self.places, holder, false)?;
        self.places.mark(place).store(mark);
        Some(place)
    }

    /// Whether somebody who lives, or lived until just now, arrived in this phase.
    fn has_arrived(&self, place: usize, phase: u32) -> bool {
        self.places.word(place).load() & ID != 0 && self.waits_in(place, phase)
    }

    fn waits_in(&self, place: usize, phase: u32) -> bool {
        waits_in(self.places.mark(place).load(), phase)
    }

    /// Gives the place up, unless this thread has joined.
    fn go_on(&self, place: usize, holder: &impl Holder<F>) {
        let mark = self.places.mark(place);
        if mark.load() & JOINED == 0 {
            mark.store(0);
            vacate(&self.places, place, holder);
        }
    }

    /// Looks for the dead, with the mutex held: one who was waited for, or who waited, breaks the barrier. The dead are
    /// there until all is said: if this thread dies before that, the next one finds them.
    fn sweep(&self) {
        look(&self.places);
        let phase = self.phase.load();
        let is_dead = |place: &usize| {
            let seen = self.places.word(*place).load();
            seen & DIED != 0 && seen & ID == 0
        };
        let waited_for = |place: usize| has_joined(self.places.mark(place).load()) || self.waits_in(place, phase);
        let breaks = self.breaks.load();
        if breaks & 1 == 0 && (0..self.places.count()).filter(is_dead).any(waited_for) {
            for place in (0..self.places.count()).filter(|place| self.waits_in(*place, phase)) {
                self.places.mark(place).or(BROKEN);
            }
            self.breaks.store(breaks.wrapping_add(1));
            event::notify(self.event, u32::MAX);
        }
        for place in (0..self.places.count()).filter(is_dead) {
            let word = self.places.word(place);
            self.places.mark(place).store(0);
            let _ = word.exchange(word.load(), 0);
        }
    }

    /// Takes part from now on: a death before it arrives is noticed too.
    pub fn join(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        if !holder.has_room(2) {
            return Err(Refused::NoRoom);
        }
        lock_plain(&self.mutex, holder, lane, u64::MAX)?;
        self.sweep();
        let result = match self.places.own() {
            Some(_) => Err(Refused::Own),
            None => self.enter(holder, JOINED).map(drop).ok_or(Refused::NoRoom),
        };
        self.mutex.unlock(holder, lane)?;
        result
    }

    /// Takes part no longer.
    pub fn leave(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        let place = self.places.own().ok_or(Refused::NotOwn)?;
        lock_plain(&self.mutex, holder, lane, u64::MAX)?;
        self.places.mark(place).store(0);
        vacate(&self.places, place, holder);
        self.mutex.unlock(holder, lane)
    }

    /// Makes a broken barrier whole. Those who waited have been told, or will be.
    pub fn reset(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        lock_plain(&self.mutex, holder, lane, u64::MAX)?;
        self.sweep();
        let breaks = self.breaks.load();
        if breaks & 1 != 0 {
            self.phase.store(self.phase.load().wrapping_add(1));
            self.breaks.store(breaks.wrapping_add(1));
        }
        self.mutex.unlock(holder, lane)
    }
}
