//! How long to wait for a peer: a deadline and a pause that grows. Next: `lease.rs`.

use super::failure::{Failure, Outcome};
use crate::error::Status;
use crate::sys::process::{monotonic_ns, sleep_ns};

/// What a timeout of 0 in the options means: 10 seconds.
pub const DEFAULT_TIMEOUT_NS: u64 = 10_000_000_000;

/// A moment until which to wait. The clock starts with the first wait: who waits for nobody need not look at it.
pub struct Deadline {
    nanoseconds: u64,
    /// 0 before the first wait.
    end: u64,
    pause: i64,
}

impl Deadline {
    /// So many nanoseconds from the first wait on; u64::MAX for no end.
    pub fn after(nanoseconds: u64) -> Deadline {
        let nanoseconds = if nanoseconds == 0 { DEFAULT_TIMEOUT_NS } else { nanoseconds };
        Deadline { nanoseconds, end: 0, pause: 20_000 }
    }

    /// Sleeps a little: 20 microseconds at first, up to a millisecond. An error when the time is over.
    pub fn pause(&mut self, what: &'static str) -> Outcome<()> {
        if self.left() == 0 {
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
    pub fn left(&mut self) -> u64 {
        let now = monotonic_ns();
        if self.end == 0 {
            self.end = now.saturating_add(self.nanoseconds);
        }
        self.end.saturating_sub(now)
    }
}
