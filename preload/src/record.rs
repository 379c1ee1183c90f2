//! The file in which the processes of one run keep counts and events, and which `shmkit run` reads: processes that are
//! killed have left theirs there. Byte for byte; shared with `cli/`. Numbers are the machine's own; the file never
//! leaves it.
//!
//! | at | what |
//! |---|---|
//! | 0 | `Head` |
//! | `SPOTS_AT` | `SPOTS` spots: how often a rule was broken at one place of a program |
//! | `PROCESSES_AT` | `PROCESSES` places for processes |
//! | `EVENTS_AT` | `EVENTS` places for events, taken in order |

use core::sync::atomic::{AtomicU32, AtomicU64};

/// "shmkrun" and the version of this layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"shmkrun\x04");
/// Most processes that are counted; later ones go uncounted, and `Head::processes` says how many there were.
pub const PROCESSES: usize = 1024;
/// Most events that are kept.
pub const EVENTS: usize = 8192;
/// Most spots; a rule that is broken at one more is counted with the events that had no room.
pub const SPOTS: usize = 2048;
/// Kinds of calls that have counters.
pub const CALLS: usize = 48;

pub const SPOTS_AT: usize = 4096;
pub const PROCESSES_AT: usize = SPOTS_AT + SPOTS * size_of::<Spot>();
pub const EVENTS_AT: usize = PROCESSES_AT + PROCESSES * size_of::<Process>();
pub const SIZE: usize = EVENTS_AT + EVENTS * size_of::<Event>();

#[repr(C)]
pub struct Head {
    pub magic: u64,
    /// Places taken, and asked for beyond the last.
    pub processes: AtomicU32,
    pub events: AtomicU32,
    /// 1 when the times of counters are in ticks of the processor (`sys::process::ticks`), 0 when in nanoseconds.
    pub ticks: u32,
    /// How many reports one spot may make; 0 for all.
    pub repeats: u32,
    /// Reports and lines of a trace that could not be written.
    pub reports_lost: AtomicU32,
    pub unused: u32,
}

/// A rule, what became of the call, and where it was made: by all processes of the run together.
#[repr(C)]
pub struct Spot {
    /// A number made of them; 0 in a spot that is free. Found from `key % SPOTS` on, in order.
    pub key: AtomicU64,
    pub count: AtomicU64,
}

/// Calls of one kind.
#[repr(C)]
pub struct Counter {
    pub calls: AtomicU64,
    pub failed: AtomicU64,
    /// Nanoseconds or ticks, checks included.
    pub time: AtomicU64,
}

/// What has become of a process.
pub mod state {
    /// It runs, or ended without its exit handlers: by a signal or `_exit`.
    pub const RUNS: u32 = 1;
    /// It came to its end.
    pub const EXITED: u32 = 2;
    /// It became another program, which has a place of its own.
    pub const REPLACED: u32 = 3;
}

#[repr(C)]
pub struct Process {
    pub pid: AtomicU32,
    pub parent: AtomicU32,
    pub state: AtomicU32,
    pub unused: u32,
    /// The name of its program, as /proc/PID/comm has it; zeros behind it.
    pub program: [AtomicU64; 2],
    pub counters: [Counter; CALLS],
}

/// What an event tells; the fields that are meant are named.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object was made: `call`, `subject`; `a` an id or device, `b` a number on the device (0 and 0 where that was
    /// not asked for: the next `Sized` of this name tells), `c` a size.
    Made = 1,
    /// An object got a size: `subject` (its name without slashes), `a` its device, `b` its number, `c`.
    Sized = 2,
    /// A name or segment was removed: `call`, `subject`, `a`.
    Removed = 3,
    /// A rule was broken: `rule`, `outcome`, `subject` (the call in words), `site`. `a` is the key of the spot that counts
    /// all that are like this first one; 0 when this is one alone.
    Broken = 4,
    /// A fault was injected: `call`, `errno`, `a` (which call of this kind), `b` (which part of the specification).
    Injected = 5,
    /// A crash: `errno` (the signal), `a` (the address), `subject` (words).
    Crashed = 6,
}

#[repr(C)]
pub struct Event {
    /// A `Kind`, written last; 0 while the rest is not whole.
    pub kind: AtomicU32,
    /// The index of the process's place.
    pub process: u32,
    /// Nanoseconds of the monotonic clock.
    pub time: u64,
    pub call: u32,
    pub rule: u32,
    pub outcome: u32,
    pub errno: i32,
    pub a: u64,
    pub b: u64,
    pub c: u64,
    /// Terminated.
    pub subject: [u8; 288],
    pub site: [u8; 168],
}

const _: () = assert!(size_of::<Event>() == 512 && SPOTS_AT >= size_of::<Head>() && PROCESSES_AT.is_multiple_of(4096));
