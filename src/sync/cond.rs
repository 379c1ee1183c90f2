//! The condition variable: an event count whose waiters give a mutex up meanwhile. Signals that nobody waits for cost a
//! look. Who changes what is waited for holds the mutex when it does, which orders it before the waiter's look.
//! Next: `event.rs`.

use super::event;
use super::futex::{Futex, Holder, Refused, Taken};
use super::mutex::{Lane, Mutex};

/// What a wait came to; the mutex is held, unless it is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// How the mutex was had again.
    pub taken: Taken,
    /// The time was over.
    pub timed_out: bool,
}

/// Gives the mutex up, waits for a signal, and takes the mutex again. May come back without a signal.
pub fn wait<F: Futex>(
    word: F,
    mutex: &Mutex<F>,
    holder: &impl Holder<F>,
    lane: Lane,
    until: u64,
) -> Result<Woken, Refused> {
    if !mutex.is_own(holder, lane) {
        return Err(Refused::NotOwn);
    }
    let key = event::prepare(word);
    mutex.unlock(holder, lane)?;
    let in_time = event::wait(word, key, until);
    let taken = mutex.lock(holder, lane, u64::MAX)?;
    Ok(Woken { taken, timed_out: !in_time })
}
