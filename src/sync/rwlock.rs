//! The readers-writer lock. Each reader holds a slot of its own, a claim on a cache line of its own; a writer holds the
//! mutex, says so in `writing`, and waits until every slot is free.
//!
//! | who | does | and then looks at |
//! |---|---|---|
//! | reader | takes a slot | `writing`: if it is set, gives the slot back and queues for the mutex |
//! | writer | takes the mutex, sets `writing` | each slot, until it is free |
//!
//! Between the two columns stands a fence on both sides, so that one of them sees the other. A reader gives its slot up
//! with a plain store and then looks at `writing`: without a fence there, for a reader must cost no more than it has
//! to. So a writer may fall asleep on a slot that has just become free; it looks again after `NAP_NS`.
//!
//! A reader that had to queue takes its slot while it has the mutex. Who comes lets those pass who sleep for the mutex and
//! were woken: so writers and readers that wait are let in as they came, and no stream of either starves the other. One
//! that was woken and does not come within `TURN_NS` is overtaken, and goes to sleep again behind the others; so does one
//! that slept for `BEAT_NS` and looked: where somebody holds it for longer than that, the order is any. A reader that
//! finds all slots taken keeps the mutex: it reads alone.
//!
//! A dead reader's slot is marked by the kernel, and means nothing. A dead writer's mutex is marked; if `writing` was
//! set, it may have written, and whoever gets the mutex next, reader or writer, is told, and has it for writing.
//! Without `writing` nothing was touched. Next: `object.rs`, which has the way without contention.

use super::claim::{DIED, ID, WAITERS, bury_the_lost};
use super::futex::{Futex, Holder, Refused, Taken, beat, is_over};
use super::mutex::{Lane, Mutex};

/// A writer looks again at a reader's slot after so long.
pub const NAP_NS: u64 = 5_000_000;

/// The words of a readers-writer lock.
#[derive(Clone, Copy)]
pub struct RwLock<F, S> {
    /// Who writes, or waits to.
    pub mutex: Mutex<F>,
    /// 1 while somebody writes, or waits for readers to go.
    pub writing: F,
    /// The slots of readers.
    pub slots: S,
}

/// The slots, as one thread sees them.
pub trait Slots<F> {
    /// How many there are.
    fn count(&self) -> usize;
    /// The word of one.
    fn word(&self, slot: usize) -> F;
    /// Whether this thread may take it: ids of its pid namespace are what is in it. May make it so.
    fn is_usable(&self, slot: usize) -> bool;
    /// Where to look first.
    fn first(&self) -> usize;
    /// The latest one that this thread holds.
    fn own(&self) -> Option<usize>;
}

/// What came of trying a slot.
enum Entered {
    In,
    Taken,
    Writing,
}

impl<F: Futex, S: Slots<F>> RwLock<F, S> {
    fn enter(&self, slot: usize, holder: &impl Holder<F>) -> Entered {
        let word = self.slots.word(slot);
        // What a dead reader left means nothing.
        let seen = word.load();
        if seen & ID != 0 {
            return Entered::Taken;
        }
        holder.begin(word);
        if word.exchange(seen, holder.id()).is_err() {
            holder.end();
            return Entered::Taken;
        }
        holder.keep(word);
        F::fence();
        if self.writing.load() == 0 {
            return Entered::In;
        }
        self.leave(slot, holder);
        Entered::Writing
    }

    /// Whether this thread holds a slot, also one that it took by another address of the same memory.
    fn has_slot(&self, holder: &impl Holder<F>) -> bool {
        (0..self.slots.count()).any(|slot| self.is_own_slot(slot, self.slots.word(slot).load(), holder))
    }

    fn is_own_slot(&self, slot: usize, seen: u32, holder: &impl Holder<F>) -> bool {
        seen & ID == holder.id() && self.slots.is_usable(slot)
    }

    fn leave(&self, slot: usize, holder: &impl Holder<F>) {
        let word = self.slots.word(slot);
        holder.begin(word);
        holder.forget(word);
        word.store(0);
        holder.end();
        if self.writing.load() != 0 {
            word.wake(u32::MAX);
        }
    }

    fn enter_any(&self, holder: &impl Holder<F>) -> Entered {
        let count = self.slots.count();
        for slot in (0..count).map(|step| (self.slots.first() + step) % count) {
            if self.slots.is_usable(slot) {
                match self.enter(slot, holder) {
                    Entered::Taken => {}
                    other => return other,
                }
            }
        }
        Entered::Taken
    }

    /// Locks it for reading. `Died`: a writer died, and this thread has it for writing.
    pub fn read(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<Taken, Refused> {
        self.read_with(holder, until, || self.mutex.lock_in_turn(holder, lane, until), lane)
    }

    /// The same without waiting.
    pub fn try_read(&self, holder: &impl Holder<F>, lane: Lane) -> Result<Taken, Refused> {
        self.read_with(holder, 0, || self.mutex.try_lock(holder, lane), lane)
    }

    fn read_with(
        &self,
        holder: &impl Holder<F>,
        until: u64,
        lock: impl FnOnce() -> Result<Taken, Refused>,
        lane: Lane,
    ) -> Result<Taken, Refused> {
        if self.mutex.is_own(holder, lane) {
            return Err(Refused::Own);
        }
        if !holder.has_room(1) {
            return Err(Refused::NoRoom);
        }
        if matches!(self.enter_any(holder), Entered::In) {
            return Ok(Taken::Clean);
        }
        // A writer waits for the slot that this thread has already, or another one will. Who does not wait has lost nothing.
        let waits = !is_over::<F>(until);
        if self.slots.own().is_some() || waits && self.has_slot(holder) {
            return Err(if waits { Refused::Own } else { Refused::TimedOut });
        }
        if self.settle(lock()?, holder, lane) == Taken::Died {
            return self.drain(holder, lane, until, true);
        }
        // With the mutex held nobody writes. Who has no room for a slot beside it reads alone.
        if holder.has_room(1) && matches!(self.enter_any(holder), Entered::In) {
            let _ = self.mutex.unlock(holder, lane);
        }
        Ok(Taken::Clean)
    }

    /// A dead holder of the mutex who did not write has damaged nothing.
    fn settle(&self, taken: Taken, holder: &impl Holder<F>, lane: Lane) -> Taken {
        if taken == Taken::Died && self.writing.load() == 0 {
            let _ = self.mutex.consistent(holder, lane);
            return Taken::Clean;
        }
        taken
    }

    /// Locks it for writing.
    pub fn write(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<Taken, Refused> {
        self.write_with(holder, lane, until, || self.mutex.lock_in_turn(holder, lane, until))
    }

    /// The same without waiting.
    pub fn try_write(&self, holder: &impl Holder<F>, lane: Lane) -> Result<Taken, Refused> {
        self.write_with(holder, lane, 0, || self.mutex.try_lock(holder, lane))
    }

    fn write_with(
        &self,
        holder: &impl Holder<F>,
        lane: Lane,
        until: u64,
        lock: impl FnOnce() -> Result<Taken, Refused>,
    ) -> Result<Taken, Refused> {
        // As in `read_with`: who waits behind another writer, which waits for the slot of this thread, waits for itself.
        if self.slots.own().is_some() || !is_over::<F>(until) && self.has_slot(holder) {
            return Err(Refused::Own);
        }
        let died = self.settle(lock()?, holder, lane) == Taken::Died;
        self.drain(holder, lane, until, died)
    }

    /// With the mutex held: keeps readers out and waits for those who are in.
    fn drain(&self, holder: &impl Holder<F>, lane: Lane, until: u64, died: bool) -> Result<Taken, Refused> {
        self.writing.swap(1);
        F::fence();
        for slot in 0..self.slots.count() {
            if let Err(refused) = self.drain_one(slot, holder, until) {
                self.unwrite(holder, lane);
                return Err(refused);
            }
        }
        Ok(if died { Taken::Died } else { Taken::Clean })
    }

    fn drain_one(&self, slot: usize, holder: &impl Holder<F>, until: u64) -> Result<(), Refused> {
        let word = self.slots.word(slot);
        let (mut spins, mut next_look) = (0, 0);
        loop {
            let seen = word.load();
            if seen & ID == 0 {
                // What a dead reader left.
                if seen == 0 || word.exchange(seen, 0).is_ok() {
                    return Ok(());
                }
                continue;
            }
            // Taken by another address, or `own` would have said so.
            if self.is_own_slot(slot, seen, holder) {
                return Err(Refused::Own);
            }
            if is_over::<F>(until) {
                return Err(Refused::TimedOut);
            }
            if spins < 2 * F::SPINS {
                spins += 1;
                F::relax();
                continue;
            }
            // For the kernel, which wakes at a death only where it sees this bit.
            if seen & WAITERS == 0 && word.exchange(seen, seen | WAITERS).is_err() {
                continue;
            }
            if next_look == 0 {
                next_look = beat::<F>(u64::MAX, NAP_NS);
            }
            word.wait(seen | WAITERS, until.min(next_look));
            if is_over::<F>(next_look) {
                next_look = 0;
                if self.slots.is_usable(slot) {
                    bury_the_lost(word, word.load());
                }
            }
        }
    }

    /// Lets readers in again, unless what was written is damaged, and gives the mutex up.
    fn unwrite(&self, holder: &impl Holder<F>, lane: Lane) {
        if self.mutex.main.load() & DIED == 0 {
            self.writing.store(0);
        }
        let _ = self.mutex.unlock(holder, lane);
    }

    /// Unlocks it, whichever way this thread has it.
    pub fn unlock(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        if self.mutex.is_own(holder, lane) {
            self.unwrite(holder, lane);
            return Ok(());
        }
        let slot = self.slots.own().ok_or(Refused::NotOwn)?;
        self.leave(slot, holder);
        Ok(())
    }
}
