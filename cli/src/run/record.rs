//! What the processes of a run kept, read from their file: a copy, taken once they have ended. Next: `summary.rs`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use shmkit::checks::words::Call;
use shmkit::sys::process;

use super::living;
use crate::printable;

#[allow(dead_code, reason = "the interposer uses the rest")]
#[path = "../../../preload/src/record.rs"]
mod layout;

use layout::{
    CALLS, EVENTS, EVENTS_AT, Event as Raw, Head, MAGIC, OBJECTS, OBJECTS_AT, Object as RawObject, PROCESSES,
    PROCESSES_AT, Process as RawProcess, SIZE, SPOTS, SPOTS_AT, Spot,
};
pub use layout::{Kind, stage, state};

/// Whether a call is one that the interposer sees.
pub fn is_counted(call: Call) -> bool {
    call as usize <= Call::Remove as usize && call != Call::Exit
}

/// Calls of one kind.
#[derive(Clone, Copy, Default)]
pub struct Counter {
    pub calls: u64,
    pub failed: u64,
    pub time_ns: u64,
}

/// One process, or what it was before it became another program.
pub struct Process {
    pub pid: u32,
    pub state: u32,
    /// Printable.
    pub program: String,
    pub counters: Vec<Counter>,
}

/// Something that happened.
pub struct Event {
    pub kind: u32,
    pub pid: u32,
    pub call: Call,
    pub rule: u32,
    pub outcome: u32,
    pub errno: i32,
    pub a: u64,
    /// As it was given: a name may be of any bytes.
    pub subject: Vec<u8>,
    pub site: String,
}

/// Something that was made.
pub struct Object {
    pub call: Call,
    pub pid: u32,
    /// Printable.
    pub program: String,
    /// The process that removed it, and none has made it again since.
    pub removed_by: Option<u32>,
    /// An id and a key, or a device and a number; 0 and 0 where that is not known.
    pub identity: (u64, u64),
    pub size: u64,
    /// How many times its process made it, and removed it in between; and the bytes of all.
    pub times: u64,
    pub bytes: u64,
    /// The name as it was given.
    pub subject: Vec<u8>,
}

/// All of it.
pub struct Record {
    pub processes: Vec<Process>,
    /// In the order in which they were made.
    pub objects: Vec<Object>,
    pub events: Vec<Event>,
    /// How often a rule was broken at one place, by the number of the place.
    pub spots: HashMap<u64, u64>,
    /// More than there was room for.
    pub lost_processes: usize,
    pub lost_events: usize,
    pub lost_objects: usize,
    /// Which of the processes have not ended yet.
    pub running: HashSet<u32>,
    /// Objects that were removed again, and whose places others got.
    pub ended: u64,
    /// Reports and lines of a trace that could not be written.
    pub lost_reports: u32,
}

/// Makes the file: without a name and in memory, so that no process meets a full file system in it, nothing has to be
/// written to a disk, and nothing is left whatever ends this process. `exact`: times are read before the end, and so
/// are nanoseconds. `repeats`: how many reports of one rule at one place are written; 0 for all.
pub fn create(exact: bool, repeats: u32) -> io::Result<Run> {
    // SAFETY: the name is terminated; the descriptor is nobody else's.
    let file = unsafe {
        match libc::memfd_create(c"shmkit-run".as_ptr(), libc::MFD_CLOEXEC) {
            -1 => return Err(io::Error::last_os_error()),
            fd => File::from_raw_fd(fd),
        }
    };
    file.set_len(SIZE as u64)?;
    file.write_all_at(&MAGIC.to_ne_bytes(), 0)?;
    let even = || fs::read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let begin = process::ticks().filter(|_| !exact && even().is_ok_and(|name| name.trim_ascii() == b"tsc"));
    file.write_all_at(&u32::from(begin.is_some()).to_ne_bytes(), offset_of!(Head, ticks) as u64)?;
    file.write_all_at(&repeats.to_ne_bytes(), offset_of!(Head, repeats) as u64)?;
    Ok(Run { file, begin: begin.map(|ticks| (ticks, process::monotonic_ns())) })
}

/// The file, and when it was made: in ticks and in nanoseconds, when times are counted in ticks.
pub struct Run {
    file: File,
    begin: Option<(u64, u64)>,
}

impl Run {
    /// How long a tick was, by all that have been since the beginning.
    fn tick_ns(&self) -> f64 {
        match (self.begin, process::ticks()) {
            (Some((ticks, time)), Some(now)) if now > ticks => {
                process::monotonic_ns().saturating_sub(time) as f64 / (now - ticks) as f64
            }
            _ => 1.0,
        }
    }
}

/// The path by which other processes of this user open it, as long as this one runs.
pub fn path(run: &Run) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), run.file.as_raw_fd()).into()
}

fn terminated(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// What the interposer wrote as words: it is printable already, but the file is open to the programs.
fn words(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(terminated(bytes));
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

impl Event {
    pub fn words(&self) -> String {
        words(&self.subject)
    }
}

impl Record {
    /// Reads the file; of it only what was written.
    pub fn read(run: &Run) -> io::Result<Record> {
        let (file, tick_ns) = (&run.file, run.tick_ns());
        // In words, so that the structs can be looked at where they lie.
        let mut words = vec![0u64; SIZE.div_ceil(8)];
        // SAFETY: the words are writable as bytes, and any bytes are words.
        let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), SIZE) };
        file.read_exact_at(&mut bytes[..PROCESSES_AT], 0)?;
        // SAFETY: the head lies at the beginning, aligned, and is made of numbers.
        let head = unsafe { &*bytes.as_ptr().cast::<Head>() };
        let used = |taken: &AtomicU32, most: usize, size: usize| (taken.load(Relaxed) as usize).min(most) * size;
        let processes = used(&head.processes, PROCESSES, size_of::<RawProcess>());
        let events = used(&head.events, EVENTS, size_of::<Raw>());
        let objects = OBJECTS * size_of::<RawObject>();
        for (at, length) in [(PROCESSES_AT, processes), (OBJECTS_AT, objects), (EVENTS_AT, events)] {
            file.read_exact_at(&mut bytes[at..at + length], at as u64)?;
        }
        let at = words.as_ptr().cast::<u8>();
        // SAFETY: the structs are made of numbers and lie within the words, aligned; nobody else has them.
        let (head, spots, processes, objects, events) = unsafe {
            (
                &*at.cast::<Head>(),
                std::slice::from_raw_parts(at.add(SPOTS_AT).cast::<Spot>(), SPOTS),
                std::slice::from_raw_parts(at.add(PROCESSES_AT).cast::<RawProcess>(), PROCESSES),
                std::slice::from_raw_parts(at.add(OBJECTS_AT).cast::<RawObject>(), OBJECTS),
                std::slice::from_raw_parts(at.add(EVENTS_AT).cast::<Raw>(), EVENTS),
            )
        };
        let (taken, kept) = (head.processes.load(Relaxed) as usize, head.events.load(Relaxed) as usize);
        let processes: Vec<_> = processes.iter().take(taken).map(|raw| process_of(raw, tick_ns)).collect();
        let inode = file.metadata()?.ino();
        let is_running = |one: &&Process| one.state == state::RUNS && living::is_running(one, inode);
        let running = processes.iter().filter(is_running).map(|one| one.pid).collect();
        let events = events.iter().take(kept).filter(|event| event.kind.load(Relaxed) != 0).map(event).collect();
        let is_whole = |one: &&RawObject| matches!(one.stage.load(Relaxed), stage::MADE | stage::REMOVED);
        let mut objects: Vec<&RawObject> = objects.iter().filter(is_whole).collect();
        objects.sort_by_key(|one| one.time.load(Relaxed));
        let spots = spots.iter().map(|spot| (spot.key.load(Relaxed), spot.count.load(Relaxed)));
        let spots = spots.filter(|(key, _)| *key != 0).collect();
        Ok(Record {
            processes,
            running,
            objects: objects.into_iter().map(object).collect(),
            events,
            spots,
            lost_processes: taken.saturating_sub(PROCESSES),
            lost_events: head.lost_events.load(Relaxed) as usize,
            lost_objects: head.lost_objects.load(Relaxed) as usize,
            ended: head.ended.load(Relaxed),
            lost_reports: head.reports_lost.load(Relaxed),
        })
    }
}

fn program(words: &[AtomicU64; 2]) -> String {
    let name: Vec<u8> = words.iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
    printable::text(terminated(&name))
}

fn call(number: u32) -> Call {
    Call::ALL.get(number as usize).copied().unwrap_or_default()
}

fn object(raw: &RawObject) -> Object {
    let size = raw.size.load(Relaxed);
    let is_removed = raw.stage.load(Relaxed) == stage::REMOVED;
    Object {
        call: call(raw.call.load(Relaxed)),
        pid: raw.pid.load(Relaxed),
        program: program(&raw.program),
        removed_by: is_removed.then(|| raw.removed_by.load(Relaxed)),
        identity: (raw.a.load(Relaxed), raw.b.load(Relaxed)),
        size,
        times: 1 + raw.times.load(Relaxed),
        bytes: size + raw.bytes.load(Relaxed),
        subject: terminated(&raw.subject).to_vec(),
    }
}

fn process_of(raw: &RawProcess, tick_ns: f64) -> Process {
    let counter = |raw: &layout::Counter| Counter {
        calls: raw.calls.load(Relaxed),
        failed: raw.failed.load(Relaxed),
        time_ns: (raw.time.load(Relaxed) as f64 * tick_ns) as u64,
    };
    Process {
        pid: raw.pid.load(Relaxed),
        state: raw.state.load(Relaxed),
        program: program(&raw.program),
        counters: raw.counters.iter().take(CALLS).map(counter).collect(),
    }
}

fn event(raw: &Raw) -> Event {
    Event {
        kind: raw.kind.load(Relaxed),
        pid: raw.pid,
        call: call(raw.call),
        rule: raw.rule,
        outcome: raw.outcome,
        errno: raw.errno,
        a: raw.a,
        subject: terminated(&raw.subject).to_vec(),
        site: words(&raw.site),
    }
}
