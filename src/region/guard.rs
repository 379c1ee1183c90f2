//! The guard: what becomes of a touch of memory that a peer truncated away, or that no space was left for.
//! Opt-in. Zeros take the place of what is gone, the region is marked, and every later use of it is an error.
//! Runs inside a signal handler: reads atomics, and nothing else. Next: `sys/guard.rs`, the handler.

use core::sync::atomic::Ordering::Relaxed;

use super::failure::{Failure, Outcome};
use super::handle::{self, FRAGILE, POISONED, READ_ONLY};
use crate::error::{Errno, Status};
use crate::sys::guard::{self as sys, Mapping};

/// Installs the handler.
pub fn enable() -> Outcome<()> {
    sys::enable(find).map_err(|errno| match errno {
        Errno(libc::EBUSY) => Failure::new(
            Status::ErrBusy,
            "another SIGBUS handler was installed after the guard, and may call it",
            "enable the guard after the program's own handlers; it passes on what is not its own",
        ),
        _ => Failure::system(errno),
    })
}

/// Takes the handler out again; an error when another one was installed on top of it.
pub fn disable() -> Outcome<()> {
    if sys::disable() {
        return Ok(());
    }
    Err(Failure::new(
        Status::ErrBusy,
        "another SIGBUS handler was installed after the guard, and may call it",
        "take that one out first",
    ))
}

/// Whether a touch of any region is safe from signals.
#[inline(always)]
pub fn is_enabled() -> bool {
    sys::is_enabled()
}

/// Marks the region that an address lies in.
fn find(address: usize) -> Option<Mapping> {
    let mut found = None;
    handle::find_hot(|hot, _| {
        let (start, length) = (hot.window.start(), hot.window.length());
        if !hot.is(FRAGILE) || !(start..start.saturating_add(length)).contains(&address) {
            return false;
        }
        hot.flags.fetch_or(POISONED, Relaxed);
        found = Some(Mapping { start, length, writable: !hot.is(READ_ONLY) });
        true
    });
    found
}
