//! The file in which the processes of one run keep counts and events, and which `shmkit run` reads: processes that are
//! killed have left theirs there. Byte for byte; shared with `cli/`. Numbers are the machine's own; the file never
//! leaves it.
//!
//! | at | what |
//! |---|---|
//! | 0 | `Head` |
//! | `SPOTS_AT` | `SPOTS` spots: how often a rule was broken at one place of a program |
//! | `PROCESSES_AT` | `PROCESSES` places for processes |
//! | `KEYS_AT` | `OBJECTS` keys of objects |
//! | `OBJECTS_AT` | the objects of these keys: what was made, and what became of it |
//! | `EVENTS_AT` | `EVENTS` places for events, taken in order |

use core::sync::atomic::{AtomicU32, AtomicU64};

/// "shmkrun" and the version of this layout.
pub const MAGIC: u64 = u64::from_le_bytes(*b"shmkrun\x05");
/// Most processes whose calls are counted; `Head::processes` says how many there were. What the others make, remove and
/// break is kept as everyone's.
pub const PROCESSES: usize = 1024;
/// Most events that are kept.
pub const EVENTS: usize = 4096;
/// Most objects. The place of one that was removed is given to another when there is no other left.
pub const OBJECTS: usize = 4096;
/// Most spots; a rule that is broken at one more is counted with the events that had no room.
pub const SPOTS: usize = 2048;
/// Kinds of calls that have counters.
pub const CALLS: usize = 48;

pub const SPOTS_AT: usize = 4096;
pub const PROCESSES_AT: usize = SPOTS_AT + SPOTS * size_of::<Spot>();
pub const KEYS_AT: usize = PROCESSES_AT + PROCESSES * size_of::<Process>();
pub const OBJECTS_AT: usize = KEYS_AT + OBJECTS * size_of::<u64>();
pub const EVENTS_AT: usize = OBJECTS_AT + OBJECTS * size_of::<Object>();
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
    /// Events and broken rules that had no room.
    pub lost_events: AtomicU32,
    /// Objects that had no room.
    pub lost_objects: AtomicU32,
    /// Objects that were removed again, and whose places others have now.
    pub ended: AtomicU64,
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

/// What has become of an object.
pub mod stage {
    /// The rest is being written.
    pub const CHANGES: u32 = 1;
    /// It was made, and no process of the run has removed it.
    pub const MADE: u32 = 2;
    /// A process of the run removed it.
    pub const REMOVED: u32 = 3;
}

/// Something that a process made and that can outlive it. Found by its key, a number made of its name or id, among the
/// keys: from `key % OBJECTS` on, up to the first that is 0.
#[repr(C)]
pub struct Object {
    /// A `stage`; 0 while nothing is written yet.
    pub stage: AtomicU32,
    /// The call that made it.
    pub call: AtomicU32,
    /// The process that made it, and the one that removed it.
    pub pid: AtomicU32,
    pub removed_by: AtomicU32,
    /// An id or device, and a key or number on the device; 0 and 0 where that was not asked for.
    pub a: AtomicU64,
    pub b: AtomicU64,
    /// The most bytes that it had.
    pub size: AtomicU64,
    /// Nanoseconds of the monotonic clock, when it was made.
    pub time: AtomicU64,
    /// How many times its process made and removed this before, and the bytes of all those.
    pub times: AtomicU64,
    pub bytes: AtomicU64,
    /// The name of the program that made it, as in `Process`.
    pub program: [AtomicU64; 2],
    /// What the call was given, terminated.
    pub subject: [u8; 288],
}

/// What an event tells; the fields that are meant are named.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A rule was broken: `rule`, `outcome`, `subject` (the call in words), `site`. `a` is the key of the spot that counts
    /// all that are like this first one; 0 when this is one alone.
    Broken = 4,
    /// A fault was injected: `call`, `errno`, `a` (which call of this kind), `b` (which part of the specification).
    Injected = 5,
    /// A crash: `errno` (the signal), `a` (the address), `subject` (words).
    Crashed = 6,
    /// The process cannot reach its ledger any more: what it made since is not kept.
    Lost = 7,
}

#[repr(C)]
pub struct Event {
    /// A `Kind`, written last; 0 while the rest is not whole.
    pub kind: AtomicU32,
    pub pid: u32,
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
const _: () =
    assert!(size_of::<Object>().is_multiple_of(8) && KEYS_AT.is_multiple_of(8) && EVENTS_AT.is_multiple_of(8));
