//! Regions: one handle over POSIX objects, System V segments, files, memfds and anonymous memory.
//! Born complete, reserved, checked before they are trusted, leased by the kernel, guarded. Never prints, never starts
//! a thread; a handler only when asked. `handle.rs` is the place to start reading: what an open region is.
//!
//! * `address`: the string that names a region (`chars`); `header`: its first page, and whether that can be true
//! * `object`: objects with a descriptor; `segment`: System V; `lease`: who is there
//! * `access`: what is done with an open region; `guard`: what happens when its memory goes away; `inherit`: what a
//!   forked child has of it
//! * `member`: participants as containers know them; `passing`: over a socket; `survey`: participants, orphans, lists, collection

#![allow(clippy::result_large_err, reason = "a failure carries its figures; a success writes one word")]

pub mod access;
pub mod address;
pub mod chars;
mod clock;
pub mod failure;
pub mod guard;
pub mod handle;
pub mod header;
pub mod identity;
mod inherit;
mod lease;
pub mod member;
mod object;
pub mod passing;
mod segment;
pub mod survey;

pub use failure::{Failure, Outcome};
pub use handle::{Huge, Options, Owner, Space, create, open, open_or_create};
