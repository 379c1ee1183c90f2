//! The checked calls: check the arguments, ask the kernel, keep the ledger, explain what failed.
//! Never translates C (that is `capi/`) and never touches memory that a program mapped. The files mirror `sys/`.
//! Next: `judge.rs` for what a broken rule leads to, `ledger.rs` for what is remembered.

pub mod detail;
pub mod exit;
pub mod explain;
pub mod file;
pub mod judge;
pub mod ledger;
pub mod limits;
pub mod memory;
pub mod policy;
pub mod posix;
pub mod ranges;
pub mod record;
pub mod report;
pub mod sem;
pub mod semset;
pub mod slab;
pub mod sysv;
