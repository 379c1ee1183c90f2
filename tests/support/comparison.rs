//! Compares a checked call with the C library's: same value, same errno, or a rule that says why not.
//! Never makes a call itself.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeSet;

use shmkit::calls::detail;
use shmkit::checks::{Linux, Rule, Verdict};

use super::support::{errno, set_errno};

/// A number that no call sets, to see that success leaves errno alone.
pub const MARK: i32 = 4095;

/// What a call came to: a value to compare, or an errno.
pub type Outcome = Result<i64, i32>;

pub fn observe(call: impl FnOnce() -> i64) -> Outcome {
    set_errno(MARK);
    match call() {
        -1 => Err(errno()),
        value => {
            assert_eq!(errno(), MARK, "a success changed errno");
            Ok(value)
        }
    }
}

/// Where both refuse and only the errno differs: rule, the C library's errno, ours. Listed in docs/rules.md.
const OTHER_ERRNO: [(Rule, i32, i32); 2] = [
    // glibc gives EINVAL (ENOENT from shm_unlink) for names past 259 bytes; POSIX says ENAMETOOLONG for all.
    (Rule::NameTooLong, libc::EINVAL, libc::ENAMETOOLONG),
    (Rule::NameTooLong, libc::ENOENT, libc::ENAMETOOLONG),
];

/// Compares call by call and counts; at the end it says how much was compared and which rules differed.
#[derive(Default)]
pub struct Comparison {
    calls: u64,
    succeeded: u64,
    /// Calls with several faults, of which the two sides told different ones.
    other_fault: u64,
    differed: BTreeSet<&'static str>,
    complaints: Vec<String>,
}

impl Comparison {
    /// As `compare`, for calls with several faults at once: which of them is told is not defined (POSIX XSH 2.3), so
    /// both sides must refuse, each with an errno of its choice.
    pub fn compare_faults(&mut self, what: impl Fn() -> String, libc: Outcome, ours: Outcome) {
        match (libc, ours) {
            (Err(theirs), Err(own)) if theirs != own => {
                self.calls += 1;
                self.other_fault += 1;
            }
            _ => self.compare(what, libc, ours),
        }
    }

    pub fn compare(&mut self, what: impl Fn() -> String, libc: Outcome, ours: Outcome) {
        self.calls += 1;
        self.succeeded += u64::from(ours.is_ok());
        if libc == ours {
            return;
        }
        // The rule that refused; only one that says that Linux accepts the call may make a difference.
        let rule = detail::read(|detail, _| detail.rule).flatten();
        let allowed = |rule: Rule| rule.row().linux == Linux::Accepts && rule.row().verdict == Verdict::Wrong;
        match rule {
            Some(rule) if ours.is_err() && (allowed(rule) || self.noted(rule, libc, ours)) => {
                self.differed.insert(rule.row().id);
            }
            _ => self.complaints.push(format!(
                "{}: libc {libc:?}, shmkit {ours:?}, rule {:?}",
                what(),
                rule.map(|r| r.row().id)
            )),
        }
    }

    fn noted(&self, rule: Rule, libc: Outcome, ours: Outcome) -> bool {
        OTHER_ERRNO.iter().any(|(noted, theirs, own)| rule == *noted && libc == Err(*theirs) && ours == Err(*own))
    }

    pub fn finish(self, name: &str) {
        println!(
            "{name}: {} calls compared, {} of them succeeded, {} told another of several faults; differing by rule: {:?}",
            self.calls, self.succeeded, self.other_fault, self.differed
        );
        assert!(self.succeeded > 0 && self.calls > self.succeeded, "{name}: the arguments show only one side");
        let step = (self.complaints.len() / 20).max(1);
        let shown: Vec<_> = self.complaints.iter().step_by(step).map(String::as_str).collect();
        assert!(self.complaints.is_empty(), "{} differences:\n{}", self.complaints.len(), shown.join("\n"));
    }
}
