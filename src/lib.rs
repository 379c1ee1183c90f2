//! Shared memory for C and C++ that fails at the call, not at the touch.
//!
//! This file is the table of contents. The layers, each of which uses only those above it in this list:
//!
//! * [`error`] and [`text`]: status codes, and words without allocation
//! * [`sys`]: one system call a function (unsafe room 1)
//! * [`checks`]: pure checks of arguments, and the one table of rules
//! * [`calls`]: the checked calls: checks, system call, ledger, words
//! * [`region`]: one handle over every kind of shared memory
//! * [`sync`]: locks, semaphores, barriers in shared memory that survive the death of their holders
//! * [`containers`]: queues in shared memory that survive the death of any process
//! * [`capi`]: the C ABI (unsafe room 2)
//!
//! C programs include `shmkit.h` and read `README.md`; ARCHITECTURE.md is the map for those who change the library.

// Allowed by name in the unsafe rooms: sys and capi.
#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("shmkit supports 64-bit Linux; a port is a new src/sys");

pub mod error;
pub mod text;

pub mod sys;

pub mod checks;

pub mod calls;

pub mod region;

pub mod sync;

pub mod containers;

pub mod capi;
