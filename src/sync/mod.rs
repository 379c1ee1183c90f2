//! Synchronisation that survives the death of its holder, in any shared memory.
//! Never trusts what stands there further than as a number, and forms no reference over it. Next: `object.rs` for how
//! the objects lie in memory and are reached, `claim.rs` for the word that they are made of, `look.rs` for looks from
//! outside.

#![allow(clippy::result_large_err, reason = "a failure carries its figures; a success writes one word")]

pub mod barrier;
pub mod claim;
pub mod cond;
pub mod event;
pub mod futex;
pub mod look;
pub mod mutex;
pub mod object;
pub mod once;
pub mod permits;
pub mod rwlock;
pub mod semaphore;
