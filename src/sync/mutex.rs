//! The mutex. Its first word is the lock of the pid namespace that it was made in, and is a `claim`. Thread ids of
//! other namespaces may be the same numbers, and the kernel would take one for the other: a thread of another namespace
//! first takes a gate, which is a claim of that namespace alone, and then writes a mark into the first word, which is
//! no thread's id: the gate's number and a turn, which no other taking of the last 16 million bore.
//!
//! While the first word bears a mark, the gate is held by who wrote it: it is taken before and given up after. So a
//! mark whose gate is free, or bears `DIED`, is a dead thread's, and whoever sees that frees the word, damaged: the
//! next of the same gate at once, others at their next look (`BEAT_NS`). The turn makes it certain that the mark which
//! is taken away is the one that was looked at. `DIED` in the gate is all that tells that a mark is a dead one's: the next
//! of the gate takes it away only when the mark is gone. Next: `object.rs` for how the pieces lie in memory.

use super::claim::{
    ABANDONED, DIED, ID, WAITERS, bury, bury_the_lost, give, hold, let_pass, release, take, try_hold, try_take,
};
use super::futex::{Futex, Holder, Refused, Taken};

/// Gates, so that as many other namespaces can take part.
pub const GATES: usize = 2;
/// Above every thread id: PID_MAX_LIMIT is 2^22.
const MARK: u32 = 0x2000_0000;
const GATE_SHIFT: u32 = 24;
const TURNS: u32 = 0x00ff_ffff;

/// By which way a thread comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It is of the namespace that the mutex was made in.
    Home,
    /// Through a gate.
    Gate(usize),
}

/// The words of a mutex.
#[derive(Clone, Copy)]
pub struct Mutex<F> {
    /// The lock.
    pub main: F,
    /// For other namespaces.
    pub gates: [F; GATES],
    /// Counts takings through gates.
    pub turns: F,
}

/// The gate that a mark in the first word names; none where that bears no mark.
pub fn gate_of(seen: u32) -> Option<usize> {
    let id = seen & ID;
    let gate = (id >> GATE_SHIFT & 3) as usize;
    (id & MARK != 0 && id != ABANDONED && gate < GATES).then_some(gate)
}

impl<F: Futex> Mutex<F> {
    /// Locks it, waiting for its holder. Who comes while it is free takes it, though others were woken for it.
    pub fn lock(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<Taken, Refused> {
        self.lock_as(holder, lane, until, false)
    }

    /// Locks it after those who have slept for it.
    pub fn lock_in_turn(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<Taken, Refused> {
        self.lock_as(holder, lane, until, true)
    }

    fn lock_as(&self, holder: &impl Holder<F>, lane: Lane, until: u64, in_turn: bool) -> Result<Taken, Refused> {
        match lane {
            Lane::Home => hold(self.main, holder, until, in_turn, &mut |seen| self.look_again(seen, true)),
            Lane::Gate(gate) => {
                hold(self.gates[gate], holder, until, in_turn, &mut |seen| {
                    bury_the_lost(self.gates[gate], seen);
                })?;
                self.pass(gate, holder, |mark| {
                    if in_turn {
                        let_pass(self.main, until);
                    }
                    take(self.main, mark, until, &mut |seen| self.look_again(seen, false))
                })
            }
        }
    }

    /// Locks it if it is free.
    pub fn try_lock(&self, holder: &impl Holder<F>, lane: Lane) -> Result<Taken, Refused> {
        match lane {
            Lane::Home => match try_hold(self.main, holder) {
                // Who never waits must find the dead as well, of whom no kernel told.
                Err(Refused::TimedOut) if self.look(self.main.load(), true) => try_hold(self.main, holder),
                result => result,
            },
            Lane::Gate(gate) => {
                try_hold(self.gates[gate], holder)?;
                self.pass(gate, holder, |mark| {
                    let mut taken = try_take(self.main, mark);
                    if let Err(seen) = taken
                        && self.look(seen, false)
                    {
                        taken = try_take(self.main, mark);
                    }
                    taken.map_err(|seen| match seen & ID {
                        ABANDONED => Refused::Abandoned,
                        _ => Refused::TimedOut,
                    })
                })
            }
        }
    }

    /// With the gate held: marks the first word.
    fn pass(
        &self,
        gate: usize,
        holder: &impl Holder<F>,
        take: impl FnOnce(u32) -> Result<Taken, Refused>,
    ) -> Result<Taken, Refused> {
        // A mark of this gate is of one who died holding it. Others may set `WAITERS` in it or free it meanwhile; none
        // writes it anew while this thread has the gate.
        let mut seen = self.main.load();
        while gate_of(seen) == Some(gate) && !bury(self.main, seen) {
            seen = self.main.load();
        }
        // From here on the gate's word says whether this holder dies, and no longer that the one before did.
        self.gates[gate].and(!DIED);
        let mark = MARK | (gate as u32) << GATE_SHIFT | self.turns.add(1) & TURNS;
        let result = take(mark);
        if result.is_err() {
            release(self.gates[gate], holder);
        }
        result
    }

    /// A look at a word that is held: is there still somebody? True when there was nobody.
    fn look(&self, seen: u32, home: bool) -> bool {
        match gate_of(seen) {
            Some(gate) => {
                let gate = self.gates[gate].load();
                (gate & ID == 0 || gate & DIED != 0) && bury(self.main, seen)
            }
            None => home && bury_the_lost(self.main, seen),
        }
    }

    fn look_again(&self, seen: u32, home: bool) {
        self.look(seen, home);
    }

    /// Whether somebody holds it who lives, as far as that can be told from the namespace that it was made in, or not.
    pub fn is_held(&self, home: bool) -> bool {
        let seen = self.main.load();
        !matches!(seen & ID, 0 | ABANDONED) && !self.look(seen, home)
    }

    /// Whether this thread holds it.
    pub fn is_own(&self, holder: &impl Holder<F>, lane: Lane) -> bool {
        let seen = self.main.load();
        match lane {
            Lane::Home => seen & ID == holder.id(),
            Lane::Gate(gate) => gate_of(seen) == Some(gate) && self.gates[gate].load() & ID == holder.id(),
        }
    }

    /// Whether a holder died, and nobody has called it consistent since.
    pub fn is_damaged(&self) -> bool {
        self.main.load() & DIED != 0
    }

    /// Unlocks it. What is damaged stays so, and the next one is told.
    pub fn unlock(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        let known = match lane {
            // Its mark was taken from it, wrongly or after a stop: the gate must not stay closed.
            Lane::Gate(gate) if !self.is_own(holder, lane) => {
                if self.gates[gate].load() & ID == holder.id() {
                    release(self.gates[gate], holder);
                }
                false
            }
            Lane::Home if !self.is_own(holder, lane) => false,
            Lane::Home => release(self.main, holder),
            Lane::Gate(gate) => {
                give(self.main, self.main.load() & ID);
                release(self.gates[gate], holder)
            }
        };
        if known { Ok(()) } else { Err(Refused::NotOwn) }
    }

    /// Its holder says that what it guards is consistent again.
    pub fn consistent(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        if !self.is_own(holder, lane) {
            return Err(Refused::NotOwn);
        }
        self.main.and(!DIED);
        Ok(())
    }

    /// Its holder says that what it guards is lost: nobody gets it any more.
    pub fn abandon(&self, holder: &impl Holder<F>, lane: Lane) -> Result<(), Refused> {
        if !self.is_own(holder, lane) {
            return Err(Refused::NotOwn);
        }
        if lane == Lane::Home {
            holder.begin(self.main);
            holder.forget(self.main);
        }
        let before = self.main.swap(ABANDONED);
        if before & WAITERS != 0 {
            self.main.wake(u32::MAX);
        }
        match lane {
            Lane::Home => holder.end(),
            Lane::Gate(gate) => {
                release(self.gates[gate], holder);
            }
        }
        Ok(())
    }
}
