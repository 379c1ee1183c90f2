//! Counts and events, in the file of the run. Never writes anything else; without a file nothing is kept.
//! Next: `record.rs`, the file byte for byte.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use crate::calls::ledger;
use crate::checks::words::Call;
use crate::record::{
    CALLS, EVENTS, EVENTS_AT, Event, Head, KEYS_AT, Kind, MAGIC, OBJECTS, OBJECTS_AT, Object, PROCESSES, PROCESSES_AT,
    Process, SIZE, SPOTS, SPOTS_AT, Spot, stage, state,
};
use crate::stage::own_pid;
use crate::sys::{self, file, memory, process};

/// Where the file is mapped; 0 without one.
static FILE: AtomicUsize = AtomicUsize::new(0);
/// Times are in ticks.
static TICKS: AtomicBool = AtomicBool::new(false);
/// The place of this process, plus one; 0 when it has none.
static PLACE: AtomicU32 = AtomicU32::new(0);
/// The name of this process's program, also of one without a place.
static PROGRAM: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

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

fn place() -> Option<&'static Process> {
    let index = PLACE.load(Relaxed).checked_sub(1)? as usize;
    let at = FILE.load(Acquire) + PROCESSES_AT + index * size_of::<Process>();
    // SAFETY: a place has an index below `PROCESSES`, and lies within the mapping; all that others read is atomic.
    Some(unsafe { &*(at as *const Process) })
}

/// Takes a place for this process: at its beginning, and in the child after a fork.
pub fn begin() {
    PLACE.store(0, Relaxed);
    let Some(head) = head() else { return };
    read_program();
    let index = head.processes.fetch_add(1, Relaxed) as usize;
    if index >= PROCESSES {
        return;
    }
    PLACE.store(index as u32 + 1, Relaxed);
    let Some(place) = place() else { return };
    // SAFETY: takes no pointers.
    place.parent.store(unsafe { libc::getppid() } as u32, Relaxed);
    program(&place.program);
    place.state.store(state::RUNS, Relaxed);
    place.pid.store(process::pid() as u32, Release);
}

fn read_program() {
    let mut name = [0u8; 16];
    let length = sys::preserving_errno(|| file::read_small(c"/proc/self/comm", &mut name)).unwrap_or(0);
    name[length.saturating_sub(1)..].fill(0);
    let (low, high) = name.split_at(8);
    for (word, bytes) in PROGRAM.iter().zip([low, high]) {
        word.store(u64::from_ne_bytes(bytes.try_into().unwrap_or_default()), Relaxed);
    }
}

fn program(to: &[AtomicU64; 2]) {
    for (word, own) in to.iter().zip(&PROGRAM) {
        word.store(own.load(Relaxed), Relaxed);
    }
}

/// Says what became of this process.
pub fn end(state: u32) {
    if let Some(place) = place() {
        place.state.store(state, Relaxed);
    }
}

/// Whether anything is kept. More processes than there are places for keep all but the counts of their calls.
#[inline(always)]
pub fn is_on() -> bool {
    FILE.load(Relaxed) != 0
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
    let Some(place) = place() else { return };
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
    head.lost_events.fetch_add(1, Relaxed);
    None
}

/// Counts a report that could not be written.
pub fn report_lost() {
    if let Some(head) = head() {
        head.reports_lost.fetch_add(1, Relaxed);
    }
}

/// A number for bytes: FNV-1a of 64 bits; never 0.
pub fn number<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)).max(1)
}

/// What an event or an object says beside its kind.
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
    let Some(head) = head() else { return };
    let is_full = || head.events.load(Relaxed) as usize >= EVENTS;
    let index = if is_full() { EVENTS } else { head.events.fetch_add(1, Relaxed) as usize };
    if index >= EVENTS {
        head.lost_events.fetch_add(1, Relaxed);
        return;
    }
    let at = (FILE.load(Acquire) + EVENTS_AT + index * size_of::<Event>()) as *mut Event;
    // SAFETY: the place is this call's alone since it took the index; it lies within the mapping.
    unsafe {
        (&raw mut (*at).pid).write(own_pid() as u32);
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

/// The key of an object, from a call that makes or removes it: of its file in /dev/shm, or of its numbers.
fn key(facts: &Facts<'_>) -> u64 {
    let numbers = |words: [u64; 3]| number(words.map(u64::to_ne_bytes).iter().flatten());
    let name = ledger::bare(facts.subject);
    match facts.call {
        Call::SemOpen | Call::SemUnlink => number(b"sem.".iter().chain(name)),
        Call::Open | Call::Remove => number(name.strip_prefix(b"dev/shm/").unwrap_or(name).iter()),
        Call::ShmOpen | Call::ShmUnlink => number(name.iter()),
        Call::Shmget | Call::Shmctl => numbers([1, facts.a, 0]),
        Call::Semget | Call::Semctl => numbers([2, facts.a, 0]),
        _ => numbers([3, facts.a, facts.b]),
    }
}

fn keys() -> &'static [AtomicU64] {
    // SAFETY: the keys lie within the mapping, and are atomic numbers; only asked for when there is a file.
    unsafe { core::slice::from_raw_parts((FILE.load(Acquire) + KEYS_AT) as *const AtomicU64, OBJECTS) }
}

fn object(index: usize) -> *mut Object {
    (FILE.load(Acquire) + OBJECTS_AT + index * size_of::<Object>()) as *mut Object
}

/// The objects of a key, at one stage, as places of the table.
fn of_key(key: u64, wanted: u32) -> impl Iterator<Item = (usize, &'static Object)> {
    let first = (key % OBJECTS as u64) as usize;
    let order = (first..OBJECTS).chain(0..first).map(|index| (index, keys()[index].load(Relaxed)));
    order.take_while(|(_, found)| *found != 0).filter(move |(_, found)| *found == key).filter_map(move |(index, _)| {
        // SAFETY: within the mapping; all that is read of an object that another process may change is atomic.
        let object = unsafe { &*object(index) };
        (object.stage.load(Acquire) == wanted).then_some((index, object))
    })
}

fn identity(object: &Object) -> (u64, u64) {
    (object.a.load(Relaxed), object.b.load(Relaxed))
}

fn identify(object: &Object, (a, b): (u64, u64)) {
    object.a.store(a, Relaxed);
    object.b.store(b, Relaxed);
}

/// Keeps what was made. `ask` asks the kernel for the identity of a file, where it is not known and must be: when there is
/// one of the name already, which can be the same one.
pub fn made(facts: &Facts<'_>, ask: impl FnOnce() -> (u64, u64)) {
    let Some(head) = head() else { return };
    let key = key(facts);
    let mut own = (facts.a, facts.b);
    if of_key(key, stage::MADE).next().is_some() {
        if own == (0, 0) {
            own = ask();
        }
        let is_same =
            |found: &Object| matches!(identity(found), found if found == own || found == (0, 0) || own == (0, 0));
        if let Some((_, found)) = of_key(key, stage::MADE).find(|(_, found)| is_same(found)) {
            if identity(found) == (0, 0) {
                identify(found, own);
            }
            return;
        }
    }
    let pid = own_pid() as u32;
    let take = |index: usize, from: u32| {
        // SAFETY: within the mapping; the stage is atomic.
        let place = unsafe { &(*object(index)).stage };
        place.compare_exchange(from, stage::CHANGES, Acquire, Relaxed).is_ok()
    };
    let again = of_key(key, stage::REMOVED)
        .find(|(index, found)| found.pid.load(Relaxed) == pid && take(*index, stage::REMOVED));
    let (mut times, mut bytes) = (0, 0);
    let index = match again {
        Some((index, found)) => {
            times = found.times.load(Relaxed) + 1;
            bytes = found.bytes.load(Relaxed) + found.size.load(Relaxed);
            index
        }
        None => match free(key, head, take) {
            Some(index) => index,
            None => {
                head.lost_objects.fetch_add(1, Relaxed);
                return;
            }
        },
    };
    let at = object(index);
    // SAFETY: the place is this call's alone while its stage is CHANGES; it lies within the mapping.
    unsafe {
        let subject = (&raw mut (*at).subject).cast::<u8>();
        subject.write_bytes(0, 288);
        copy(facts.subject, subject, 288);
        let new = &*at;
        new.call.store(facts.call as u32, Relaxed);
        new.pid.store(pid, Relaxed);
        new.removed_by.store(0, Relaxed);
        identify(new, own);
        new.size.store(facts.c, Relaxed);
        new.time.store(process::monotonic_ns(), Relaxed);
        new.times.store(times, Relaxed);
        new.bytes.store(bytes, Relaxed);
        program(&new.program);
        new.stage.store(stage::MADE, Release);
    }
}

/// A place for a new object of a key: one that nobody had, else that of one which was removed, or of a memfd, which leaves
/// nothing behind.
fn free(key: u64, head: &Head, take: impl Fn(usize, u32) -> bool) -> Option<usize> {
    let first = (key % OBJECTS as u64) as usize;
    let mut order = (first..OBJECTS).chain(0..first);
    let never_taken = |index: &usize| {
        let place = &keys()[*index];
        place.load(Relaxed) == 0 && place.compare_exchange(0, key, Relaxed, Relaxed).is_ok()
    };
    if let Some(index) = order.clone().find(never_taken) {
        return take(index, 0).then_some(index);
    }
    let index = order.find(|index| {
        // SAFETY: within the mapping; what is read is atomic.
        let found = unsafe { &*object(*index) };
        let is_memfd = found.call.load(Relaxed) == Call::MemfdCreate as u32;
        match found.stage.load(Acquire) {
            stage::REMOVED => take(*index, stage::REMOVED),
            stage::MADE if is_memfd => take(*index, stage::MADE),
            _ => false,
        }
    })?;
    // SAFETY: as above.
    head.ended.fetch_add(1 + unsafe { (*object(index)).times.load(Relaxed) }, Relaxed);
    keys()[index].store(key, Relaxed);
    Some(index)
}

/// Keeps the size of a file in /dev/shm (`call` is `ShmOpen`, `subject` its name) or of a memfd, and its identity.
pub fn sized(facts: &Facts<'_>) {
    if !is_on() {
        return;
    }
    let own = (facts.a, facts.b);
    let of = |wanted: (u64, u64)| of_key(key(facts), stage::MADE).find(|(_, found)| identity(found) == wanted);
    if let Some((_, found)) = of(own).or_else(|| of((0, 0))) {
        identify(found, own);
        found.size.fetch_max(facts.c, Relaxed);
    }
}

/// Keeps that what was made last under a name or id is removed.
pub fn removed(facts: &Facts<'_>) {
    if !is_on() {
        return;
    }
    let last = of_key(key(facts), stage::MADE).max_by_key(|(_, found)| found.time.load(Relaxed));
    if let Some((_, found)) = last {
        found.removed_by.store(own_pid() as u32, Relaxed);
        let _another_was_first = found.stage.compare_exchange(stage::MADE, stage::REMOVED, Release, Relaxed);
    }
}

/// # Safety
/// `to` is writable for `room` zeros.
unsafe fn copy(from: &[u8], to: *mut u8, room: usize) {
    // SAFETY: no more than there is room for, and a zero stays behind it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len().min(room - 1)) }
}

const _: () = assert!((Call::Remove as usize) < CALLS);
