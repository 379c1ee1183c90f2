//! The robust semaphore: a fixed number of permits, each a claim, so that a permit and its holder are one word, and the
//! kernel gives back what the dead held. The mutex is held to take one, and thereby a permit may be of another pid
//! namespace each time: ids of two namespaces never compete for it. Next: `object.rs`.

use super::claim::{DIED, ID, bury_the_lost};
use super::event;
use super::futex::{Futex, Holder, Refused, Taken, is_over};
use super::mutex::{Lane, Mutex};

/// Who waits for a permit looks again after so long whether its holder died.
pub const BEAT_NS: u64 = 50_000_000;
const PATIENCE_NS: u64 = 10_000_000;

/// The words of the permits, as one thread sees them.
pub trait Places<F> {
    /// How many there are.
    fn count(&self) -> usize;
    /// The word of one.
    fn word(&self, place: usize) -> F;
    /// Whether the id in it is of this thread's pid namespace.
    fn is_near(&self, place: usize) -> bool;
    /// Makes it one of this thread's namespace. With the mutex held, and the place free.
    fn bind(&self, place: usize);
    /// The latest one that this thread holds.
    fn own(&self) -> Option<usize>;
}

/// The words of a robust semaphore.
pub struct Permits<F, P> {
    /// Held to take a permit.
    pub mutex: Mutex<F>,
    /// A permit was given.
    pub event: F,
    /// The permits.
    pub places: P,
}

/// Locks a mutex that guards nothing which a death could leave in two minds.
pub fn lock_plain<F: Futex>(mutex: &Mutex<F>, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<(), Refused> {
    if mutex.lock(holder, lane, until)? == Taken::Died {
        mutex.consistent(holder, lane)?;
    }
    Ok(())
}

/// Takes a free place, with the mutex held; one of the dead only where their deaths mean nothing.
pub fn occupy<F: Futex, P: Places<F>>(places: &P, holder: &impl Holder<F>, from_the_dead: bool) -> Option<usize> {
    for place in 0..places.count() {
        let word = places.word(place);
        let seen = word.load();
        if seen & ID != 0 || seen & DIED != 0 && !from_the_dead {
            continue;
        }
        places.bind(place);
        holder.begin(word);
        let taken = word.exchange(seen, holder.id()).is_ok();
        if taken {
            holder.keep(word);
            return Some(place);
        }
        holder.end();
    }
    None
}

/// Gives a place up that this thread holds.
pub fn vacate<F: Futex, P: Places<F>>(places: &P, place: usize, holder: &impl Holder<F>) {
    let word = places.word(place);
    holder.begin(word);
    holder.forget(word);
    // Only what is this thread's: it may have been taken for lost.
    let mut seen = word.load();
    while seen & ID == holder.id() {
        match word.exchange(seen, 0) {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    holder.end();
}

/// Marks places whose holders the kernel did not mark. With the mutex held.
pub fn look<F: Futex, P: Places<F>>(places: &P) {
    for place in (0..places.count()).filter(|place| places.is_near(*place)) {
        bury_the_lost(places.word(place), places.word(place).load());
    }
}

impl<F: Futex, P: Places<F>> Permits<F, P> {
    /// Takes a permit, waiting for one.
    pub fn wait(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<(), Refused> {
        // For the mutex and a permit.
        if !holder.has_room(2) {
            return Err(Refused::NoRoom);
        }
        // The mutex is held for a moment by each: also who waits for no permit waits for that.
        let patience = until.max(F::now().saturating_add(PATIENCE_NS));
        let mut waited = false;
        loop {
            lock_plain(&self.mutex, holder, lane, patience)?;
            if waited {
                // With the mutex: without it a place may change its holder and its namespace under the look.
                look(&self.places);
            }
            let mut taken = occupy(&self.places, holder, true);
            let mut key = 0;
            if taken.is_none() {
                // The key before the last look; and only now, because with it the next post makes a system call.
                key = event::prepare(self.event);
                taken = occupy(&self.places, holder, true);
            }
            self.mutex.unlock(holder, lane)?;
            if taken.is_some() {
                return Ok(());
            }
            if is_over::<F>(until) {
                return Err(Refused::TimedOut);
            }
            event::wait_for(self.event, key, until, BEAT_NS);
            waited = true;
        }
    }

    /// Gives the latest one back that this thread took.
    pub fn post(&self, holder: &impl Holder<F>) -> Result<(), Refused> {
        let place = self.places.own().ok_or(Refused::NotOwn)?;
        vacate(&self.places, place, holder);
        F::fence();
        event::notify(self.event, 1);
        Ok(())
    }

    /// How many are free.
    pub fn value(&self) -> usize {
        (0..self.places.count()).filter(|place| self.places.word(*place).load() & ID == 0).count()
    }
}
