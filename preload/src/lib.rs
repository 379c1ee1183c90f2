//! The interposer, `libshmkit_preload.so`: loaded into a program before the C library, it has functions of the same
//! names, which check each call, count it, and pass it on. Without the library's C ABI: a program may use that beside
//! it.
//!
//! The layers below are the library's own sources, compiled once more with `cfg(interposer)`: there `sys/real.rs`
//! reaches the C library behind this one. On top of them:
//!
//! * `hooks`: the functions that programs call; one line each
//! * `stage`: whether all is ready, what was asked for; the constructor, forks, the end
//! * `account`: counts and events, in a file that `shmkit run` reads (`record`)
//! * `opens`: files on the file system of objects
//! * `inject`, `trace`, `fault`, `follow`, `ahead`, `site`: faults on purpose, one line a call, crashes explained, children,
//!   sanitizers, callers
//!
//! In a hook: no allocation, no lock of the standard library, no storage of the thread's own, errno as the call left
//! it. A program must not be able to tell that this is here but by what it asks for: see `docs/run.md`.
#![allow(dead_code, reason = "the layers have more than is needed here")]
#![allow(missing_docs)]

#[path = "../../src/error.rs"]
pub mod error;
#[path = "../../src/text.rs"]
pub mod text;

#[path = "../../src/sys/mod.rs"]
pub mod sys;

#[path = "../../src/checks/mod.rs"]
pub mod checks;

#[path = "../../src/calls/mod.rs"]
pub mod calls;

#[path = "../../src/capi/mod.rs"]
pub mod capi;

mod account;
mod ahead;
mod fault;
mod follow;
mod hooks;
mod inject;
mod opens;
mod record;
mod site;
mod spec;
mod stage;
mod trace;
