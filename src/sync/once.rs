//! Work that is done once, by whoever comes first; when that one dies in the midst of it, by the next. The mutex is
//! held while it is done. Next: `object.rs`.

use super::futex::{Futex, Holder, Refused};
use super::mutex::{Lane, Mutex};
use super::permits::lock_plain;

const DONE: u32 = 1;

/// The words of a once.
pub struct Once<F> {
    /// Held by who does it.
    pub mutex: Mutex<F>,
    /// `DONE` when it is done.
    pub state: F,
}

impl<F: Futex> Once<F> {
    /// Whether it is done: what was written for it is seen then.
    #[inline(always)]
    pub fn is_done(&self) -> bool {
        self.state.load() == DONE
    }

    /// Waits until it is done, or is this thread's to do: true, and then `end` must follow.
    pub fn begin(&self, holder: &impl Holder<F>, lane: Lane, until: u64) -> Result<bool, Refused> {
        if self.is_done() {
            return Ok(false);
        }
        lock_plain(&self.mutex, holder, lane, until)?;
        if self.is_done() {
            self.mutex.unlock(holder, lane)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// It is done, or could not be, and the next one may try.
    pub fn end(&self, holder: &impl Holder<F>, lane: Lane, done: bool) -> Result<(), Refused> {
        if !self.mutex.is_own(holder, lane) {
            return Err(Refused::NotOwn);
        }
        if done {
            self.state.store(DONE);
        }
        self.mutex.unlock(holder, lane)
    }
}
