//! Queues in shared memory that survive the death of any process at any instruction. Never believes what peers wrote: what
//! a process must rely on, it keeps in its own memory. Next: `ring.rs`, the smallest; `memory.rs`, what the cores see.

#![allow(clippy::result_large_err, reason = "a failure carries its figures; a success writes one word")]

pub mod broadcast;
pub mod broadcast_end;
pub mod cell;
pub mod cell_end;
pub mod layout;
pub mod look;
pub mod members;
pub mod memory;
pub mod queue;
pub mod queue_end;
pub mod ring;
pub mod ring_end;
pub mod role;
pub mod wait;
