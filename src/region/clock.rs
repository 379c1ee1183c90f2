//! How long to wait for a peer: a deadline and a pause that grows. Next: `lease.rs`.

use super::failure::{Failure, Outcome};
use crate::error::Status;
use crate::sys::process::{monotonic_ns, sleep_ns};

/// What a timeout of 0 in the options means: 10 seconds.
pub const DEFAULT_TIMEOUT_NS: u64 = 10_000_000_000;

/// A moment until which to wait.
pub struct Deadline {
    end: u64,
    pause: i64,
}

impl Deadline {
    /// So many nanoseconds from now; u64::MAX for no end.
    pub fn after(nanoseconds: u64) -> Deadline {
        let nanoseconds = if nanoseconds == 0 { DEFAULT_TIMEOUT_NS } else { nanoseconds };
        Deadline { end: monotonic_ns().saturating_add(nanoseconds), pause: 20_000 }
    }

    /// Sleeps a little: 20 microseconds at first, up to a millisecond. An error when the time is over.
    pub fn pause(&mut self, what: &'static str) -> Outcome<()> {
        if monotonic_ns() >= self.end {
            return Err(Failure::new(
                Status::ErrTimeout,
                "the time ran out while {what}",
                "see whether that process is stopped (a dead one is noticed at once), or wait longer",
            )
            .with(|figures| figures.what = what));
        }
        sleep_ns(self.pause);
        self.pause = (self.pause * 3 / 2).min(1_000_000);
        Ok(())
    }

    /// Nanoseconds that are left.
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(monotonic_ns())
    }
}
