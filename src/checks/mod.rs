//! Pure checks: arguments and known facts in, the set of broken rules out.
//! Never makes a system call, allocates, locks or panics, so that an interposer can run it inside a hook; a test
//! reads these files and holds it. Next: `rules.rs` for the table, `words.rs` for how a finding is put into words.

pub mod file;
pub mod memory;
pub mod posix;
pub mod record;
pub mod rules;
pub mod sem;
pub mod semset;
pub mod sysv;
pub mod words;

pub use rules::{Linux, Rule, RuleSet, Verdict};
