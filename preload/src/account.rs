//! Counts and events, in the file of the run. Never writes anything else; without a file nothing is kept.
//! Next: `record.rs`, the file byte for byte.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use crate::checks::words::Call;
use crate::record::{
    CALLS, EVENTS, EVENTS_AT, Event, Head, Kind, MAGIC, PROCESSES, PROCESSES_AT, Process, SIZE, SPOTS, SPOTS_AT, Spot,
    state,
};
use crate::sys::{self, file, memory, process};

/// Where the file is mapped; 0 without one.
static FILE: AtomicUsize = AtomicUsize::new(0);
/// Times are in ticks.
static TICKS: AtomicBool = AtomicBool::new(false);
/// The place of this process, plus one; 0 when it has none.
static PLACE: AtomicU32 = AtomicU32::new(0);

/// Maps the file at a path, if it is one of a run. The path is a link of /proc to a descriptor of `shmkit run`.
pub fn open(path: &core::ffi::CStr) {
    let Ok(fd) = file::open_at(libc::AT_FDCWD, path, libc::O_RDWR, 0) else { return };
    if file::status(fd).is_ok_and(|status| status.is_regular() && status.size == SIZE as u64)
        && let Ok(at) = memory::mmap(0, SIZE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0)
    {
        // SAFETY: the mapping is `SIZE` bytes long and of this process; a `Head` is made of plain numbers.
        if unsafe { (*(at as *const Head)).magic } == MAGIC {
            // SAFETY: as above.
            TICKS.store(unsafe { (*(at as *const Head)).ticks } == 1, Relaxed);
            FILE.store(at, Release);
        } else {
            let _ = memory::munmap(at, SIZE);
        }
    }
    let _ = file::close(fd);
}

fn head() -> Option<&'static Head> {
    match FILE.load(Acquire) {
        0 => None,
        // SAFETY: the mapping stays; what other processes write there is atomic.
        at => Some(unsafe { &*(at as *const Head) }),
    }
}

fn place() -> Option<(usize, &'static Process)> {
    let index = PLACE.load(Relaxed).checked_sub(1)? as usize;
    let at = FILE.load(Acquire) + PROCESSES_AT + index * size_of::<Process>();
    // SAFETY: a place has an index below `PROCESSES`, and lies within the mapping; all that others read is atomic.
    Some((index, unsafe { &*(at as *const Process) }))
}

/// Takes a place for this process: at its beginning, and in the child after a fork.
pub fn begin() {
    PLACE.store(0, Relaxed);
    let Some(head) = head() else { return };
    let index = head.processes.fetch_add(1, Relaxed) as usize;
    if index >= PROCESSES {
        return;
    }
    PLACE.store(index as u32 + 1, Relaxed);
    let Some((_, place)) = place() else { return };
    // SAFETY: takes no pointers.
    place.parent.store(unsafe { libc::getppid() } as u32, Relaxed);
    name(place);
    place.state.store(state::RUNS, Relaxed);
    place.pid.store(process::pid() as u32, Release);
}

fn name(place: &Process) {
    let mut name = [0u8; 16];
    let length = sys::preserving_errno(|| file::read_small(c"/proc/self/comm", &mut name)).unwrap_or(0);
    name[length.saturating_sub(1)..].fill(0);
    let (low, high) = name.split_at(8);
    for (word, bytes) in place.program.iter().zip([low, high]) {
        word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Relaxed);
    }
}

/// Says what became of this process.
pub fn end(state: u32) {
    if let Some((_, place)) = place() {
        place.state.store(state, Relaxed);
    }
}

/// Whether anything is counted.
#[inline(always)]
pub fn is_on() -> bool {
    PLACE.load(Relaxed) != 0
}

/// The time, as counters have it.
#[inline(always)]
pub fn now() -> u64 {
    if TICKS.load(Relaxed)
        && let Some(ticks) = process::ticks()
    {
        return ticks;
    }
    process::monotonic_ns()
}

/// Counts one call.
#[inline(always)]
pub fn count(call: Call, failed: bool, time: u64) {
    let Some((_, place)) = place() else { return };
    let Some(counter) = place.counters.get(call as usize) else { return };
    counter.calls.fetch_add(1, Relaxed);
    counter.time.fetch_add(time, Relaxed);
    if failed {
        counter.failed.fetch_add(1, Relaxed);
    }
}

/// Counts one more at the spot of this key: how many there were before, and how many may be reported. `None` without a
/// run, and when all spots are taken.
pub fn repeated(key: u64) -> Option<(u64, u64)> {
    let head = head()?;
    // SAFETY: the spots lie within the mapping, and are made of atomic numbers.
    let spots = unsafe { core::slice::from_raw_parts((FILE.load(Acquire) + SPOTS_AT) as *const Spot, SPOTS) };
    let first = (key % SPOTS as u64) as usize;
    for spot in spots.iter().cycle().skip(first).take(SPOTS) {
        let found = spot.key.load(Relaxed);
        if found == key
            || found == 0
                && spot.key.compare_exchange(0, key, Relaxed, Relaxed).map_or_else(|other| other == key, |_| true)
        {
            let most = if head.repeats == 0 { u64::MAX } else { u64::from(head.repeats) };
            return Some((spot.count.fetch_add(1, Relaxed), most));
        }
    }
    head.events.fetch_add(1, Relaxed);
    None
}

/// Counts a report that could not be written.
pub fn report_lost() {
    if let Some(head) = head() {
        head.reports_lost.fetch_add(1, Relaxed);
    }
}

/// What an event says beside its kind.
#[derive(Clone, Copy, Default)]
pub struct Facts<'a> {
    pub call: Call,
    pub rule: u32,
    pub outcome: u32,
    pub errno: i32,
    pub a: u64,
    pub b: u64,
    pub c: u64,
    pub subject: &'a [u8],
    pub site: &'a [u8],
}

/// Keeps an event, if there is room; how many there were is counted either way.
pub fn event(kind: Kind, facts: &Facts<'_>) {
    let (Some(head), Some((process, _))) = (head(), place()) else { return };
    let index = head.events.fetch_add(1, Relaxed) as usize;
    if index >= EVENTS {
        return;
    }
    let at = (FILE.load(Acquire) + EVENTS_AT + index * size_of::<Event>()) as *mut Event;
    // SAFETY: the place is this call's alone since it took the index; it lies within the mapping.
    unsafe {
        (&raw mut (*at).process).write(process as u32);
        (&raw mut (*at).time).write(process::monotonic_ns());
        (&raw mut (*at).call).write(facts.call as u32);
        (&raw mut (*at).rule).write(facts.rule);
        (&raw mut (*at).outcome).write(facts.outcome);
        (&raw mut (*at).errno).write(facts.errno);
        (&raw mut (*at).a).write(facts.a);
        (&raw mut (*at).b).write(facts.b);
        (&raw mut (*at).c).write(facts.c);
        copy(facts.subject, (&raw mut (*at).subject).cast(), 288);
        copy(facts.site, (&raw mut (*at).site).cast(), 168);
        (*at).kind.store(kind as u32, Release);
    }
}

/// # Safety
/// `to` is writable for `room` zeros.
unsafe fn copy(from: &[u8], to: *mut u8, room: usize) {
    // SAFETY: no more than there is room for, and a zero stays behind it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len().min(room - 1)) }
}

const _: () = assert!((Call::Remove as usize) < CALLS);
