//! The regions of the C interface, called as a C program calls them: every backend, every wrong argument, every limit.
//! Each test runs in a process, a mount and an IPC namespace of its own, and must leave nothing there.
//! `regions/room.rs` has what they share: calls that check their own errors, and what counts as left behind.

#[path = "regions/backends.rs"]
mod backends;
#[path = "regions/bad_input.rs"]
mod bad_input;
#[path = "regions/forks.rs"]
mod forks;
#[path = "regions/huge.rs"]
mod huge;
#[path = "regions/limits.rs"]
mod limits;
#[path = "regions/no_tmpfile.rs"]
mod no_tmpfile;
#[path = "regions/odd_machines.rs"]
mod odd_machines;
#[path = "regions/passing.rs"]
mod passing;
#[path = "regions/raw.rs"]
mod raw;
#[path = "regions/room.rs"]
mod room;
mod support;
#[path = "regions/threads.rs"]
mod threads;
#[path = "regions/trust.rs"]
mod trust;
