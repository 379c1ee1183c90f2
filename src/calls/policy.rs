//! Which verdicts refuse a call, and whether anybody listens to reports: one word that every call loads once.
//! Never writes a report itself (that is `report.rs`). Next: `judge.rs`.
//!
//! | bits of `STATE` | meaning | who sets it |
//! |---|---|---|
//! | 0 | the environment was read | the first call |
//! | 1-2 | the policy | the first call, `set` |
//! | 3 | a callback listens | `report::set_callback` |
//! | 4 | a file or standard error listens | the first call, `report::set_target` |
//! | 5 | an observer listens | `report::set_observer` |
//!
//! All accesses are relaxed: the word publishes nothing but itself; what a listener needs is behind its own lock.

use core::sync::atomic::{AtomicU32, Ordering};

use super::report;
use crate::checks::Verdict;
use crate::sys::process;

/// What is refused.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: what is wrong or hazardous is reported and passed to the kernel.
    Observe = 0,
    /// What is wrong is refused; hazards are reported and passed.
    Check = 1,
    /// What is wrong or hazardous is refused.
    Enforce = 2,
}

const READ: u32 = 1;
const POLICY_SHIFT: u32 = 1;
const POLICY_BITS: u32 = 3 << POLICY_SHIFT;
/// A callback listens.
pub const CALLBACK: u32 = 1 << 3;
/// A file or standard error listens.
pub const TARGET: u32 = 1 << 4;
/// An observer listens.
pub const OBSERVER: u32 = 1 << 5;

/// Without a setting: what is wrong is refused, but in a program that was not written for it.
const DEFAULT: Policy = if cfg!(interposer) { Policy::Observe } else { Policy::Check };

static STATE: AtomicU32 = AtomicU32::new(0);

impl Policy {
    /// The policy with this number.
    pub fn from_number(number: i32) -> Option<Policy> {
        [Policy::Observe, Policy::Check, Policy::Enforce].into_iter().find(|policy| *policy as i32 == number)
    }

    fn from_name(name: &[u8]) -> Option<Policy> {
        let names: [(&[u8], Policy); 3] =
            [(b"observe", Policy::Observe), (b"check", Policy::Check), (b"enforce", Policy::Enforce)];
        names.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim_ascii())).map(|(_, policy)| policy)
    }

    /// Whether a call with this verdict is refused.
    pub fn refuses(self, verdict: Verdict) -> bool {
        match self {
            Policy::Observe => false,
            Policy::Check => verdict == Verdict::Wrong,
            Policy::Enforce => true,
        }
    }
}

#[inline(always)]
fn state() -> u32 {
    match STATE.load(Ordering::Relaxed) {
        0 => read_environment(),
        state => state,
    }
}

#[cold]
fn read_environment() -> u32 {
    let mut unknown = [None, None];
    let policy = process::environment(c"SHMKIT_POLICY", |name| {
        let policy = Policy::from_name(name);
        if policy.is_none() {
            unknown[0] = Some(report::setting("SHMKIT_POLICY=", name));
        }
        policy
    });
    let bits = READ | (policy.flatten().unwrap_or(DEFAULT) as u32) << POLICY_SHIFT;
    // Another thread may have come first; then its word stands, with whatever was set since.
    if STATE.compare_exchange(0, bits, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return STATE.load(Ordering::Relaxed);
    }
    process::environment(c"SHMKIT_REPORT", |target| {
        if !report::set_target(target) {
            // Reports were asked for: what cannot go to the file goes to standard error, beginning with that.
            unknown[1] = Some(report::setting("SHMKIT_REPORT=", target));
            report::set_target(b"stderr");
        }
    });
    unknown.iter().flatten().for_each(report::unknown_setting);
    STATE.load(Ordering::Relaxed)
}

/// The policy in force.
pub fn current() -> Policy {
    Policy::from_number(((state() & POLICY_BITS) >> POLICY_SHIFT) as i32).unwrap_or(DEFAULT)
}

/// Changes the policy of this process.
pub fn set(policy: Policy) {
    state();
    let change = |state: u32| Some(state & !POLICY_BITS | (policy as u32) << POLICY_SHIFT);
    let _unchanged = STATE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
}

/// Notes that a listener came or went.
pub fn set_listening(which: u32, listens: bool) {
    state();
    match listens {
        true => STATE.fetch_or(which, Ordering::Relaxed),
        false => STATE.fetch_and(!which, Ordering::Relaxed),
    };
}

/// Who listens: `CALLBACK`, `TARGET`, `OBSERVER`.
pub fn listening() -> u32 {
    state() & (CALLBACK | TARGET | OBSERVER)
}

/// Whether facts that cost a system call are worth asking for: somebody listens to hazards, or they are refused.
#[inline(always)]
pub fn attentive() -> bool {
    let state = state();
    state & (CALLBACK | TARGET | OBSERVER) != 0 || state & POLICY_BITS == (Policy::Enforce as u32) << POLICY_SHIFT
}
