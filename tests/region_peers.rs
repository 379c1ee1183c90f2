//! What processes do to each other with regions: races for a name, removal and collection beside live users, file systems
//! that run full, memory that a peer takes away, equal pids in two namespaces, and every way in which a process ends.
//! Each test runs alone, with a /dev/shm and an IPC namespace of its own, prints its counts, and fails when a process
//! hangs or anything is left behind. `SHMKIT_LONG=1` takes ten times as many rounds.

mod support;

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64};
use std::time::Instant;

use shmkit::capi::options::{
    RegionLayout, RegionOptions, SHMKIT_GROUP_SAME, SHMKIT_HUGE_NONE, SHMKIT_OWNER_SELF, SHMKIT_SPACE_LAZY,
    SHMKIT_SPACE_POPULATE, SHMKIT_SPACE_RESERVE,
};
use shmkit::capi::region::*;
use shmkit::capi::survey::*;
use shmkit::error::Status;
use shmkit::region::survey::participants_at;
use support::{errno, message};

type Handle = *mut shmkit_region_t;

const PAGE: usize = 4096;
/// A process that takes longer hangs: its alarm clock ends it. Generous, for other work may slow the machine down; ten times
/// as long in the long form.
const HANG: u32 = 400;
/// How long the library waits for a peer that lives.
const PATIENCE_NS: u64 = 120_000_000_000;

// ------------------------------------------------------------------------------------------------------------------
// Processes
// ------------------------------------------------------------------------------------------------------------------

/// So many rounds, or ten times as many in the long form.
fn rounds(short: u64) -> u64 {
    if std::env::var("SHMKIT_LONG").is_ok_and(|value| value == "1") { short * 10 } else { short }
}

/// Writes a line to standard error with one call and no lock: also from a forked child.
fn complain(words: &str) {
    let line = format!("[{}] {words}\n", std::process::id());
    // SAFETY: the bytes are readable for their length.
    unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
}

/// Runs `body` in a process of its own, in namespaces of its own, with `bytes` bytes of /dev/shm, and looks afterwards
/// whether anything is left behind.
fn apart(test: &str, bytes: u64, body: impl FnOnce()) {
    support::alone(test, &[], || {
        support::own_namespaces(bytes);
        std::panic::set_hook(Box::new(|panic| complain(&panic.to_string())));
        // SAFETY: take no pointers. Orphans of children come to this process, which ends them.
        unsafe {
            libc::alarm(rounds(HANG.into()) as u32);
            assert_eq!(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1), 0);
        }
        hold_leash();
        let start = Instant::now();
        body();
        assert_eq!(everything(), Vec::<String>::new(), "left behind");
        // Of the dead ones some came here with their parents' deaths; a living one must not be left.
        // SAFETY: takes no pointers.
        let left = unsafe {
            let mut reaped = 1;
            while reaped > 0 {
                reaped = libc::waitpid(-1, null_mut(), libc::WNOHANG);
            }
            reaped
        };
        assert_eq!((left, errno()), (-1, libc::ECHILD), "a process is left behind");
        println!("{test}: {:.1} s", start.elapsed().as_secs_f64());
    });
}

/// What stands in /dev/shm, the segments and the sets of semaphores of this namespace.
fn everything() -> Vec<String> {
    let mut all: Vec<String> =
        names_in(Path::new("/dev/shm")).into_iter().map(|name| format!("object {name}")).collect();
    for (kind, id_at) in [("shm", 1), ("sem", 1)] {
        let table = std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).expect("System V IPC is there");
        for line in table.lines().skip(1) {
            let mut fields = line.split_whitespace();
            let key: i32 = fields.next().and_then(|key| key.parse().ok()).expect("a key");
            let id = fields.nth(id_at - 1).expect("an id");
            all.push(format!("{kind} {key:#x} id {id}"));
        }
    }
    all.sort();
    all
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

/// A pipe that only the test itself writes to: who reads from it wakes when the test is over, however it ended.
static LEASH: [AtomicI32; 2] = [AtomicI32::new(-1), AtomicI32::new(-1)];

fn hold_leash() {
    let mut ends = [-1; 2];
    // SAFETY: the array has room for both.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) }, 0);
    LEASH[0].store(ends[0], SeqCst);
    LEASH[1].store(ends[1], SeqCst);
}

/// Waits until this process is killed, or the test is over.
fn idle() -> ! {
    let mut byte = 0u8;
    // SAFETY: the byte is writable.
    unsafe {
        while libc::read(LEASH[0].load(SeqCst), (&raw mut byte).cast(), 1) < 0 {}
        libc::_exit(0)
    }
}

/// A process, killed and reaped when it is dropped.
struct Child(i32);

impl Child {
    /// Sends a signal.
    fn signal(&self, signal: i32) {
        // SAFETY: takes no pointers; the process is ours and not reaped.
        assert_eq!(unsafe { libc::kill(self.0, signal) }, 0);
    }

    /// Waits for its end and gives its status.
    fn end(self) -> i32 {
        let mut status = 0;
        // SAFETY: the status is writable.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0, "{}", std::io::Error::last_os_error());
        std::mem::forget(self);
        status
    }

    /// Kills it, and gives how it ended.
    fn kill(self) -> i32 {
        self.signal(libc::SIGKILL);
        self.end()
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    fn finish(self) {
        let (pid, status) = (self.0, self.end());
        assert!(status == 0, "process {pid} {}", ending(status));
    }
}

/// Waits for the end of all of these, which must be good ones; the first bad one ends the others, which may wait for it.
#[track_caller]
fn finish_all(mut children: Vec<Child>) {
    while !children.is_empty() {
        let mut status = 0;
        // SAFETY: the status is writable.
        let pid = unsafe { libc::waitpid(-1, &mut status, 0) };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        if let Some(place) = children.iter().position(|child| child.0 == pid) {
            std::mem::forget(children.swap_remove(place));
            assert!(status == 0, "process {pid} {}", ending(status));
        } else {
            panic!("process {pid}, which is none of those waited for, {}", ending(status));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the process is ours and not reaped.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, null_mut(), 0);
        }
    }
}

fn ending(status: i32) -> String {
    match (libc::WIFSIGNALED(status), libc::WTERMSIG(status)) {
        (true, libc::SIGALRM) => "hung".to_string(),
        (true, signal) => format!("was killed by signal {signal}"),
        (false, _) => format!("ended with code {}: see its words", libc::WEXITSTATUS(status)),
    }
}

/// What a forked child does; returns in the parent.
fn fork(work: impl FnOnce(), dies_with_parent: bool) -> i32 {
    // SAFETY: the process has one thread (see `apart`), so that the child may do anything; it leaves by _exit.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            if dies_with_parent {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            }
            libc::alarm(rounds(HANG.into()) as u32);
            libc::close(LEASH[1].swap(-1, SeqCst));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            libc::_exit(if result.is_ok() { 0 } else { 101 });
        }
        pid
    }
}

/// A child that does not outlive this process.
fn start(work: impl FnOnce()) -> Child {
    Child(fork(work, true))
}

/// A child that does, until the test is over; it is the test's own when this process is gone.
fn start_loose(work: impl FnOnce()) -> i32 {
    fork(work, false)
}

/// Waits until it is so. The alarm clock ends a wait that never ends; one of another process ends with the test.
fn until(mut fact: impl FnMut() -> bool) {
    while !fact() {
        pause(100);
        let mut leash = libc::pollfd { fd: LEASH[0].load(SeqCst), events: 0, revents: 0 };
        // SAFETY: the struct is writable. The pipe hangs up when nobody can write to it any more.
        unsafe {
            if libc::poll(&mut leash, 1, 0) > 0 {
                libc::_exit(1);
            }
        }
    }
}

fn pause(microseconds: u32) {
    // SAFETY: takes no pointers.
    unsafe { libc::usleep(microseconds) };
}

/// Has the kernel kill this process after so much time, wherever it is then. Another process could not do it as exactly:
/// on a busy machine it would come too late.
fn die_after(nanoseconds: u64) {
    // SAFETY: zeros are valid for the structs; the places are writable.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = std::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        let mut time: libc::itimerspec = std::mem::zeroed();
        time.it_value.tv_sec = (nanoseconds / 1_000_000_000) as _;
        time.it_value.tv_nsec = (nanoseconds % 1_000_000_000).max(1) as _;
        assert_eq!(libc::timer_settime(timer, 0, &time, null_mut()), 0);
    }
}

/// When a process started, as /proc says it: field 22, of which the second may hold anything in parentheses.
fn start_time(path: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(path).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
}

fn pid() -> u64 {
    std::process::id().into()
}

/// Memory that this process shares with its children, all zeros. `T` is made of atomics; it is never given back.
fn shared<T>() -> &'static T {
    // SAFETY: a new mapping, zeros are valid for atomics, and nobody unmaps it.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let at = libc::mmap(null_mut(), size_of::<T>(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast::<T>()
    }
}

/// Numbers that processes tell each other.
struct Board([AtomicU64; 512]);

impl Board {
    fn set(&self, cell: usize, value: u64) {
        self.0[cell].store(value, SeqCst);
    }

    fn get(&self, cell: usize) -> u64 {
        self.0[cell].load(SeqCst)
    }

    fn add(&self, cell: usize, value: u64) -> u64 {
        self.0[cell].fetch_add(value, SeqCst)
    }

    /// Waits for a number other than 0, and gives it.
    fn wait(&self, cell: usize) -> u64 {
        until(|| self.get(cell) != 0);
        self.get(cell)
    }
}

/// Where processes wait for each other.
struct Barrier {
    arrived: AtomicU32,
    turn: AtomicU32,
}

impl Barrier {
    fn meet(&self, all: u32) {
        let turn = self.turn.load(SeqCst);
        if self.arrived.fetch_add(1, SeqCst) + 1 == all {
            self.arrived.store(0, SeqCst);
            self.turn.fetch_add(1, SeqCst);
            // SAFETY: the word is shared memory that stays.
            unsafe { libc::syscall(libc::SYS_futex, self.turn.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        }
        while self.turn.load(SeqCst) == turn {
            // SAFETY: as above.
            unsafe { libc::syscall(libc::SYS_futex, self.turn.as_ptr(), libc::FUTEX_WAIT, turn, null::<c_void>()) };
        }
    }
}

/// Numbers that look random and come again in the same order.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Stops between two system calls
// ------------------------------------------------------------------------------------------------------------------

/// A system call before which a process can be made to stop: the library calls the functions below, not the C library's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Call {
    Attach,
    Detach,
    Remove,
    /// The status of a segment, without which nothing is decided.
    Status,
    /// The value of one semaphore.
    Value,
    /// The values of all semaphores of a set.
    Values,
    /// Steps on semaphores.
    Operate,
}

/// Of each call the cell in which this process says that it has come there, plus 1; 0 where it does not stop. In the cell
/// after it it is told to go on.
static STOPS: [AtomicU32; Call::Operate as usize + 1] = [const { AtomicU32::new(0) }; Call::Operate as usize + 1];
static STOP_BOARD: AtomicPtr<Board> = AtomicPtr::new(null_mut());

/// Makes this process stop once before a call, with word in two cells of the board, which is the same for all calls.
fn stop_before(call: Call, board: &'static Board, cell: usize) {
    STOP_BOARD.store((&raw const *board).cast_mut(), SeqCst);
    STOPS[call as usize].store(cell as u32 + 1, SeqCst);
}

fn passes(call: Call) {
    let cell = STOPS[call as usize].swap(0, SeqCst) as usize;
    if cell != 0 {
        // SAFETY: `stop_before` stored a board that is never given back.
        let board = unsafe { &*STOP_BOARD.load(SeqCst) };
        board.set(cell - 1, 1);
        board.wait(cell);
    }
}

/// In the place of the C library's function.
///
/// # Safety
/// As shmat(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn shmat(id: c_int, address: *const c_void, flags: c_int) -> *mut c_void {
    passes(Call::Attach);
    // SAFETY: the caller's promise.
    let at = unsafe { libc::syscall(libc::SYS_shmat, id, address, flags) };
    std::ptr::with_exposed_provenance_mut(at as usize)
}

/// In the place of the C library's function.
///
/// # Safety
/// As shmctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn shmctl(id: c_int, command: c_int, buffer: *mut libc::shmid_ds) -> c_int {
    match command {
        libc::IPC_RMID => passes(Call::Remove),
        libc::IPC_STAT => passes(Call::Status),
        _ => {}
    }
    // SAFETY: the caller's promise. On 64-bit Linux the system call takes the same struct.
    unsafe { libc::syscall(libc::SYS_shmctl, id, command, buffer) as c_int }
}

/// In the place of the C library's function, which takes its last argument only where the command has one: it comes in
/// the same register.
///
/// # Safety
/// As semctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn semctl(set: c_int, number: c_int, command: c_int, argument: usize) -> c_int {
    match command {
        libc::GETVAL => passes(Call::Value),
        libc::GETALL => passes(Call::Values),
        _ => {}
    }
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_semctl, set, number, command, argument) as c_int }
}

/// In the place of the C library's function.
///
/// # Safety
/// As semtimedop(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn semtimedop(
    set: c_int,
    steps: *mut libc::sembuf,
    count: usize,
    time: *const libc::timespec,
) -> c_int {
    passes(Call::Operate);
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_semtimedop, set, steps, count, time) as c_int }
}

/// In the place of the C library's function.
///
/// # Safety
/// As shmdt(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn shmdt(address: *const c_void) -> c_int {
    passes(Call::Detach);
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_shmdt, address) as c_int }
}

// ------------------------------------------------------------------------------------------------------------------
// Regions
// ------------------------------------------------------------------------------------------------------------------

fn options(size: usize) -> RegionOptions {
    RegionOptions {
        struct_size: size_of::<RegionOptions>(),
        size: size as u64,
        max_size: 0,
        layout: RegionLayout { name: null(), size: 0, version: 0, alignment: 0 },
        timeout_ns: PATIENCE_NS,
        init: None,
        init_user: null_mut(),
        mode: 0,
        group: SHMKIT_GROUP_SAME,
        owner: SHMKIT_OWNER_SELF,
        space: SHMKIT_SPACE_RESERVE,
        huge_pages: SHMKIT_HUGE_NONE,
        read_only: 0,
        raw: 0,
        persistent: 0,
    }
}

/// The name of a status, for comparisons that say what went wrong.
fn named(status: i32) -> Status {
    const ALL: [Status; 19] = [
        Status::Ok,
        Status::ErrBadPointer,
        Status::ErrNotFound,
        Status::ErrExists,
        Status::ErrNoSpace,
        Status::ErrTooBig,
        Status::ErrRemoved,
        Status::ErrBusy,
        Status::ErrUnsupported,
        Status::ErrPastEnd,
        Status::ErrTruncated,
        Status::ErrLayout,
        Status::ErrCorrupt,
        Status::ErrNotARegion,
        Status::ErrBackend,
        Status::ErrUnfinished,
        Status::ErrTimeout,
        Status::ErrNoMemory,
        Status::ErrOwner,
    ];
    let found = ALL.into_iter().find(|known| *known as i32 == status);
    found.unwrap_or_else(|| panic!("status {status} is none that peers lead to: {}", message()))
}

#[track_caller]
fn good(status: i32) {
    assert_eq!(status, 0, "{}", message());
}

type Opened<T> = Result<T, Status>;

fn open(address: &CStr, options: &RegionOptions) -> Opened<Handle> {
    let mut handle = null_mut();
    // SAFETY: the address is terminated, the options are whole, the place is writable.
    match unsafe { shmkit_region_open(address.as_ptr(), options, &mut handle) } {
        0 => Ok(handle),
        status => Err(named(status)),
    }
}

fn create(address: &CStr, options: &RegionOptions) -> Opened<Handle> {
    let mut handle = null_mut();
    // SAFETY: as in `open`.
    match unsafe { shmkit_region_create(address.as_ptr(), options, &mut handle) } {
        0 => Ok(handle),
        status => Err(named(status)),
    }
}

fn open_or_create(address: &CStr, options: &RegionOptions) -> Opened<(Handle, bool)> {
    let (mut handle, mut created) = (null_mut(), false);
    // SAFETY: as in `open`.
    match unsafe { shmkit_region_open_or_create(address.as_ptr(), options, &mut handle, &mut created) } {
        0 => Ok((handle, created)),
        status => Err(named(status)),
    }
}

/// The value, or the words of the failure.
#[track_caller]
fn must<T>(opened: Opened<T>) -> T {
    opened.unwrap_or_else(|status| panic!("{status:?}: {}", message()))
}

fn stat(handle: Handle) -> RegionStat {
    // SAFETY: zeros are valid for the struct, which the call fills.
    unsafe {
        let mut stat: RegionStat = std::mem::zeroed();
        stat.struct_size = size_of::<RegionStat>();
        good(shmkit_region_stat(handle, &mut stat));
        stat
    }
}

fn copy_in(handle: Handle, offset: usize, from: &[u8]) -> Status {
    // SAFETY: a slice is readable.
    named(unsafe { shmkit_region_copy_in(handle, offset, from.as_ptr().cast(), from.len()) })
}

fn copy_out(handle: Handle, offset: usize, to: &mut [u8]) -> Status {
    // SAFETY: a slice is writable.
    named(unsafe { shmkit_region_copy_out(handle, offset, to.as_mut_ptr().cast(), to.len()) })
}

fn unlink(address: &CStr) -> Status {
    // SAFETY: the address is terminated.
    named(unsafe { shmkit_unlink(address.as_ptr()) })
}

fn is_orphan(address: &CStr) -> Opened<i32> {
    let mut answer = -1;
    // SAFETY: the address is terminated and the place writable.
    match unsafe { shmkit_region_is_orphan(address.as_ptr(), &mut answer) } {
        0 => Ok(answer),
        status => Err(named(status)),
    }
}

/// Runs a collection and gives the addresses that it named, sorted.
fn gc(mode: i32) -> Vec<String> {
    unsafe extern "C" fn note(object: *const ListedObject, user: *mut c_void) -> c_int {
        // SAFETY: the library's object, and the vector below.
        unsafe {
            let address = CStr::from_ptr((*object).address).to_string_lossy().into_owned();
            (*user.cast::<Vec<String>>()).push(address);
        }
        0
    }
    let (mut found, mut count): (Vec<String>, usize) = (Vec::new(), usize::MAX);
    // SAFETY: the callback gets the vector, which outlives the call.
    good(unsafe { shmkit_gc(mode, Some(note), (&raw mut found).cast(), &mut count) });
    assert_eq!(found.len(), count, "{found:?}");
    found.sort();
    found
}

/// A participant, as far as the tests look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Peer {
    pid: u32,
    namespace: u64,
    start: u64,
    live: i32,
    own: bool,
    read_only: bool,
}

fn participants(handle: Handle) -> Vec<Peer> {
    unsafe extern "C" fn note(participant: *const RegionParticipant, user: *mut c_void) -> c_int {
        // SAFETY: the library's struct, and the vector below.
        unsafe {
            let RegionParticipant { process, live, own, read_only, .. } = *participant;
            (*user.cast::<Vec<Peer>>()).push(Peer {
                pid: process.pid,
                namespace: process.pid_namespace,
                start: process.start_time,
                live,
                own: own == 1,
                read_only: read_only == 1,
            });
        }
        0
    }
    let mut all: Vec<Peer> = Vec::new();
    // SAFETY: the callback gets the vector, which outlives the call.
    good(unsafe { shmkit_region_participants(handle, Some(note), (&raw mut all).cast()) });
    assert!(all.first().is_some_and(|first| first.own), "this handle comes first: {all:?}");
    assert_eq!(all.iter().filter(|peer| peer.own).count(), 1, "{all:?}");
    all
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Posix,
    File,
    Sysv,
    Memfd,
}

const NAMED: [Kind; 3] = [Kind::Posix, Kind::File, Kind::Sysv];

/// An address of a kind; files lie in `folder`.
fn address(kind: Kind, folder: &Path) -> CString {
    let text = match kind {
        Kind::Posix => b"posix:/peers".to_vec(),
        Kind::File => [b"file:", folder.as_os_str().as_bytes(), b"/peers"].concat(),
        Kind::Sysv => b"sysv:0x70656572".to_vec(),
        Kind::Memfd => b"memfd:peers".to_vec(),
    };
    CString::new(text).expect("no NUL inside")
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folders can be made")
}

/// What `fill` gets: whose calls it counts, and what it writes.
struct Init {
    calls: &'static AtomicU32,
    seed: u64,
}

impl Init {
    fn give(&self, options: &mut RegionOptions) {
        options.init = Some(fill);
        options.init_user = (&raw const *self).cast_mut().cast();
    }
}

/// The word at an index of a region that `fill` filled.
fn pattern(seed: u64, index: usize) -> u64 {
    (seed + index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// An init callback that counts its calls and takes its time, so that others come while it works.
unsafe extern "C" fn fill(data: *mut c_void, size: usize, user: *mut c_void) -> c_int {
    // SAFETY: the user pointer leads to an `Init`, and the region is mapped for its size.
    unsafe {
        let init = &*user.cast::<Init>();
        init.calls.fetch_add(1, SeqCst);
        for index in 0..size / 8 {
            if index.is_multiple_of(128) {
                libc::sched_yield();
            }
            data.cast::<u64>().add(index).write_volatile(pattern(init.seed, index));
        }
    }
    0
}

/// Whether a region is as `fill` leaves it; with no seed, whether it is all zeros. Says where it is not.
fn check_filled(handle: Handle, size: usize, seed: Option<u64>) {
    let data = shmkit_region_data(handle).cast::<u64>();
    assert!(!data.is_null(), "{}", message());
    let length = shmkit_region_size(handle);
    assert_eq!(length, size, "it has not its size");
    for index in 0..size / 8 {
        // SAFETY: the region is mapped for its size.
        let found = unsafe { data.add(index).read_volatile() };
        assert_eq!(found, seed.map_or(0, |seed| pattern(seed, index)), "seen unfinished: word {index} of {}", size / 8);
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Races for a name
// ------------------------------------------------------------------------------------------------------------------

const CROWD: u32 = 8;
const MOST_ROUNDS: usize = 100_000;
/// Not a whole number of pages.
const RACE_SIZE: usize = 5000;

/// What the processes of a race tell each other, one number a round.
struct Arena {
    barrier: Barrier,
    created: [AtomicU32; MOST_ROUNDS],
    filled: [AtomicU32; MOST_ROUNDS],
    opened: AtomicU64,
    refused: AtomicU64,
}

/// What the system lacks in a race, as older kernels and other file systems do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Nothing,
    /// Files without a name.
    Unnamed,
    /// And renames that do not replace.
    Renames,
}

impl Lack {
    /// Takes it away from this process, by a filter of system calls.
    fn impose_blindly(self) {
        const LOAD: u16 = 0x20;
        const EQUAL: u16 = 0x15;
        const ANY_BIT: u16 = 0x45;
        const RETURN: u16 = 0x06;
        const ALLOW: u32 = 0x7fff_0000;
        const ERRNO: u32 = 0x0005_0000;
        if self == Lack::Nothing {
            return;
        }
        let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let rename = if self == Lack::Renames { libc::SYS_renameat2 as u32 } else { u32::MAX };
        // struct seccomp_data: the number at 0, the third argument at 32.
        let mut steps = [
            step(LOAD, 0, 0, 0),
            step(EQUAL, rename, 4, 0),
            step(EQUAL, libc::SYS_openat as u32, 0, 2),
            step(LOAD, 32, 0, 0),
            step(ANY_BIT, (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32, 2, 0),
            step(RETURN, ALLOW, 0, 0),
            step(RETURN, ERRNO | libc::EINVAL as u32, 0, 0),
            step(RETURN, ERRNO | libc::EOPNOTSUPP as u32, 0, 0),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the program outlives the call, which copies it.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program), 0, "{}", errno());
        }
    }

    /// As `impose_blindly`, and it works, or what follows proves nothing.
    fn impose(self) {
        if self == Lack::Nothing {
            return;
        }
        self.impose_blindly();
        // SAFETY: the path is terminated.
        let fd = unsafe { libc::openat(libc::AT_FDCWD, c"/dev/shm".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600) };
        assert_eq!((fd, errno()), (-1, libc::EOPNOTSUPP));
    }
}

/// Eight processes open-or-create one name, again and again.
fn race(kind: Kind, lack: Lack, rounds: u64) {
    let folder = temporary();
    let address = address(kind, folder.path());
    let arena: &'static Arena = shared();
    let start_time = Instant::now();
    let members: Vec<Child> = (0..CROWD)
        .map(|member| {
            start(|| {
                lack.impose();
                (0..rounds).for_each(|round| race_once(arena, &address, member, round));
            })
        })
        .collect();
    finish_all(members);
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    assert_eq!(everything(), Vec::<String>::new());
    println!(
        "race {kind:?}, lacking {lack:?}: {rounds} rounds of {CROWD} processes in {:.1} s: {rounds} creators, {} found it, \
         {} refused because it existed; every callback ran once, nobody saw it unfinished",
        start_time.elapsed().as_secs_f64(),
        arena.opened.load(SeqCst),
        arena.refused.load(SeqCst),
    );
    assert_eq!(arena.opened.load(SeqCst) + arena.refused.load(SeqCst), rounds * u64::from(CROWD - 1));
}

fn race_once(arena: &'static Arena, address: &CStr, member: u32, round: u64) {
    // Every seventh round has no callback; in every fifth half of them insist on creating.
    let init = Init { calls: &arena.filled[round as usize], seed: round };
    let mut options = options(RACE_SIZE);
    let with_init = round % 7 != 6;
    if with_init {
        init.give(&mut options);
    }
    let insists = round % 5 == 4 && member % 2 == 1;
    arena.barrier.meet(CROWD);
    let result = match insists {
        true => create(address, &options).map(|handle| (handle, true)),
        false => open_or_create(address, &options),
    };
    let handle = match result {
        Ok((handle, created)) => {
            check_filled(handle, RACE_SIZE, with_init.then_some(round));
            arena.created[round as usize].fetch_add(u32::from(created), SeqCst);
            arena.opened.fetch_add(u64::from(!created), SeqCst);
            handle
        }
        Err(Status::ErrExists) if insists => {
            arena.refused.fetch_add(1, SeqCst);
            null_mut()
        }
        Err(status) => panic!("round {round}: {status:?}: {}", message()),
    };
    arena.barrier.meet(CROWD);
    if u64::from(member) == round % u64::from(CROWD) {
        let created = arena.created[round as usize].load(SeqCst);
        let filled = arena.filled[round as usize].load(SeqCst);
        assert_eq!((created, filled), (1, u32::from(with_init)), "round {round}: creators, and calls of the callback");
        match handle.is_null() {
            true => assert_eq!(unlink(address), Status::Ok, "{}", message()),
            false => good(shmkit_region_unlink(handle)),
        }
    }
    good(shmkit_region_close(handle));
}

#[test]
fn eight_processes_race_for_a_name() {
    apart("eight_processes_race_for_a_name", 64 << 20, || {
        race(Kind::Posix, Lack::Nothing, rounds(10_000));
        race(Kind::Sysv, Lack::Nothing, rounds(10_000));
        race(Kind::File, Lack::Nothing, rounds(2500));
    });
}

#[test]
fn eight_processes_race_where_files_need_names() {
    apart("eight_processes_race_where_files_need_names", 64 << 20, || {
        for kind in [Kind::Posix, Kind::File] {
            race(kind, Lack::Unnamed, rounds(400));
            race(kind, Lack::Renames, rounds(400));
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Removal and collection beside live users
// ------------------------------------------------------------------------------------------------------------------

/// Who takes names away while others use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remover {
    /// Collections, which must leave alone what anybody has open.
    Gc,
    /// Unlinks, which take any name.
    Unlink,
    Both,
}

/// What the processes of such a storm count.
struct Storm {
    done: AtomicU32,
    calls: AtomicU32,
    created: AtomicU64,
    found: AtomicU64,
    absent: AtomicU64,
    collected: AtomicU64,
    collections: AtomicU64,
    unlinked: AtomicU64,
    missed: AtomicU64,
}

/// Eight processes use one name while others remove it.
fn storm(kind: Kind, remover: Remover, lack: Lack, rounds: u64) {
    let folder = temporary();
    let address = address(kind, folder.path());
    let storm: &'static Storm = shared();
    let start_time = Instant::now();
    let removers: Vec<Child> = (0..2)
        .map(|which| {
            start(|| {
                let collects = remover == Remover::Gc || remover == Remover::Both && which == 0;
                let mut random = Random::new(which + 100);
                while storm.done.load(SeqCst) < CROWD {
                    if collects { collect_once(storm) } else { unlink_once(storm, &address, &mut random) }
                }
            })
        })
        .collect();
    let users = (0..CROWD).map(|member| {
        start(|| {
            lack.impose();
            let mut random = Random::new(u64::from(member) + 1);
            for _ in 0..rounds {
                use_once(storm, &address, remover, member, &mut random);
            }
            storm.done.fetch_add(1, SeqCst);
        })
    });
    finish_all(removers.into_iter().chain(users).collect());
    // With everybody gone the last collection leaves nothing; where it does not look or does not run, an unlink.
    if remover != Remover::Unlink {
        gc(SHMKIT_GC_REMOVE);
    }
    let last = unlink(&address);
    let may_be_there = remover == Remover::Unlink || kind == Kind::File;
    assert!(last == Status::ErrNotFound || last == Status::Ok && may_be_there, "{last:?}");
    assert_eq!(everything(), Vec::<String>::new());
    assert_eq!(names_in(folder.path()), Vec::<String>::new());
    let [created, found, collected] = [&storm.created, &storm.found, &storm.collected].map(|count| count.load(SeqCst));
    println!(
        "storm {kind:?}, {remover:?}, lacking {lack:?}: {} uses by {CROWD} processes in {:.1} s: {created} created, {found} \
         found, {} not there; {} collections took {collected}, unlinks took {} and missed {}",
        rounds * u64::from(CROWD),
        start_time.elapsed().as_secs_f64(),
        storm.absent.load(SeqCst),
        storm.collections.load(SeqCst),
        storm.unlinked.load(SeqCst),
        storm.missed.load(SeqCst),
    );
    // Each creation's callback ran once, and only for a region that became one.
    assert_eq!(u64::from(storm.calls.load(SeqCst)), created);
    assert!(created > 1 || kind == Kind::File && remover == Remover::Gc, "nothing was ever removed: no storm at all");
    assert!(found > 0, "nobody ever met another one");
}

fn collect_once(storm: &Storm) {
    storm.collected.fetch_add(gc(SHMKIT_GC_REMOVE).len() as u64, SeqCst);
    storm.collections.fetch_add(1, SeqCst);
    // Where all have one processor, this one would else have most of it.
    std::thread::yield_now();
}

fn unlink_once(storm: &Storm, address: &CStr, random: &mut Random) {
    match unlink(address) {
        Status::Ok => storm.unlinked.fetch_add(1, SeqCst),
        Status::ErrNotFound | Status::ErrRemoved => storm.missed.fetch_add(1, SeqCst),
        other => panic!("unlink: {other:?}: {}", message()),
    };
    // Now and then so long that several users come meanwhile. Else, where all have one processor, it may happen that this one
    // waits for each creator before any user does, and nobody ever finds what another one made.
    let most = if random.below(16) == 0 { 8000 } else { 500 };
    pause(random.below(most) as u32);
}

fn use_once(storm: &'static Storm, address: &CStr, remover: Remover, member: u32, random: &mut Random) {
    const SEED: u64 = 77;
    let init = Init { calls: &storm.calls, seed: SEED };
    let mut options = options(RACE_SIZE);
    init.give(&mut options);
    // Two of them only read, and only open.
    let reads = member >= CROWD - 2;
    let result = match reads {
        true => {
            options.read_only = 1;
            open(address, &options).map(|handle| (handle, false))
        }
        false => open_or_create(address, &options),
    };
    let (handle, created) = match result {
        Ok(opened) => opened,
        Err(Status::ErrNotFound) if reads => {
            storm.absent.fetch_add(1, SeqCst);
            pause(random.below(1000) as u32);
            return;
        }
        Err(status) => panic!("{status:?}: {}", message()),
    };
    if created { &storm.created } else { &storm.found }.fetch_add(1, SeqCst);
    check_filled(handle, RACE_SIZE, Some(SEED));
    for _ in 0..random.below(4) {
        let stat = stat(handle);
        if remover == Remover::Gc {
            // Two while a rename is a link and an unlink.
            assert!(stat.links > 0, "a collection took the name of a region that is open");
            assert_eq!(is_orphan(address), Ok(SHMKIT_ANSWER_NO), "a region that is open");
        }
        participants(handle);
        pause(random.below(60) as u32);
    }
    // A name that was taken and made anew is another object's.
    if remover != Remover::Gc && random.below(8) == 0 {
        let status = named(shmkit_region_unlink(handle));
        assert!(matches!(status, Status::Ok | Status::ErrRemoved | Status::ErrNotFound), "{status:?}: {}", message());
    }
    good(shmkit_region_close(handle));
    // Long enough that now and then nobody has it open: then a collection takes it.
    pause(random.below(4000) as u32);
}

#[test]
fn collections_leave_live_regions_alone() {
    apart("collections_leave_live_regions_alone", 64 << 20, || {
        for kind in NAMED {
            storm(kind, Remover::Gc, Lack::Nothing, rounds(500));
        }
        storm(Kind::Posix, Remover::Gc, Lack::Renames, rounds(200));
    });
}

#[test]
fn unlinks_beside_users_disturb_nobody() {
    apart("unlinks_beside_users_disturb_nobody", 64 << 20, || {
        for kind in NAMED {
            storm(kind, Remover::Unlink, Lack::Nothing, rounds(400));
            storm(kind, Remover::Both, Lack::Nothing, rounds(200));
        }
        storm(Kind::File, Remover::Both, Lack::Unnamed, rounds(200));
    });
}

/// A removal that looks at a segment twice, and its creator who comes to the end between the two looks.
#[test]
fn a_region_that_becomes_ready_is_removed_as_one() {
    apart("a_region_that_becomes_ready_is_removed_as_one", 1 << 20, || {
        const CREATOR: usize = 0;
        const REMOVER: usize = 2;
        const READY: usize = 4;
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let creator = start(|| {
            stop_before(Call::Attach, board, CREATOR);
            let handle = must(create(&address, &options(PAGE)));
            board.set(READY, 1);
            good(shmkit_region_close(handle));
        });
        board.wait(CREATOR);
        let remover = start(|| {
            stop_before(Call::Value, board, REMOVER);
            assert_eq!(unlink(&address), Status::Ok, "{}", message());
        });
        board.wait(REMOVER);
        board.set(CREATOR + 1, 1);
        board.wait(READY);
        board.set(REMOVER + 1, 1);
        finish_all(vec![creator, remover]);
        assert_eq!(unlink(&address), Status::ErrNotFound);
    });
}

/// A collection that has decided, and an opener that has its lease and not yet its attach.
#[test]
fn a_collection_does_not_overtake_an_opener() {
    apart("a_collection_does_not_overtake_an_opener", 1 << 20, || {
        const OPENER: usize = 0;
        const COLLECTOR: usize = 2;
        const COLLECTED: usize = 4;
        let address = address(Kind::Sysv, Path::new("/"));
        good(shmkit_region_close(must(create(&address, &options(PAGE)))));
        let board: &'static Board = shared();
        let opener = start(|| {
            stop_before(Call::Attach, board, OPENER);
            let handle = must(open(&address, &options(PAGE)));
            board.set(COLLECTOR + 1, 1);
            board.wait(COLLECTED);
            assert_eq!(stat(handle).links, 1, "a collection took the name of a region that is open");
            good(shmkit_region_close(handle));
        });
        board.wait(OPENER);
        let collector = start(|| {
            stop_before(Call::Remove, board, COLLECTOR);
            let found = gc(SHMKIT_GC_REMOVE);
            board.set(COLLECTED, 1 + found.len() as u64);
        });
        // Either it is about to remove the segment, or it has seen that somebody comes.
        until(|| board.get(COLLECTOR) + board.get(COLLECTED) != 0);
        board.set(OPENER + 1, 1);
        finish_all(vec![opener, collector]);
        assert_eq!(board.get(COLLECTED), 1, "the collection took what was being opened");
        assert_eq!(unlink(&address), Status::Ok);
        println!("a collection saw an opener between its lease and its attach, and left the region alone");
    });
}

/// An init callback that says on a board that it has begun, and waits there for the word to go on.
unsafe extern "C" fn fill_when_told(_data: *mut c_void, _size: usize, user: *mut c_void) -> c_int {
    // SAFETY: the user pointer leads to a board.
    let board = unsafe { &*user.cast::<Board>() };
    board.set(INIT, 1);
    board.wait(INIT + 1);
    0
}

/// Where `fill_when_told` says that it has begun.
const INIT: usize = 100;

fn told_options(board: &'static Board) -> RegionOptions {
    RegionOptions { init: Some(fill_when_told), init_user: (&raw const *board).cast_mut().cast(), ..options(PAGE) }
}

/// A collection that looked at a region while it was being made, and decides after its creator, who called it
/// persistent, has come to the end and gone.
#[test]
fn a_collection_leaves_what_became_persistent() {
    apart("a_collection_leaves_what_became_persistent", 1 << 20, || {
        const CREATOR: usize = 0;
        const LOOKED: usize = 2;
        const DECIDES: usize = 4;
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let creator = start(|| {
            stop_before(Call::Attach, board, CREATOR);
            let options = RegionOptions { persistent: 1, ..told_options(board) };
            good(shmkit_region_close(must(create(&address, &options))));
        });
        board.wait(CREATOR);
        let collector = start(|| {
            stop_before(Call::Attach, board, LOOKED);
            stop_before(Call::Operate, board, DECIDES);
            assert_eq!(gc(SHMKIT_GC_REMOVE), Vec::<String>::new());
        });
        board.wait(LOOKED);
        board.set(CREATOR + 1, 1);
        board.wait(INIT);
        board.set(LOOKED + 1, 1);
        board.wait(DECIDES);
        board.set(INIT + 1, 1);
        creator.finish();
        board.set(DECIDES + 1, 1);
        collector.finish();
        assert_eq!(is_orphan(&address), Ok(SHMKIT_ANSWER_YES));
        assert_eq!(gc(SHMKIT_GC_DRY_RUN), Vec::<String>::new());
        assert_eq!(unlink(&address), Status::Ok);
    });
}

/// Makes what a creator leaves that dies over a segment, and a collection that stands still while it looks into it: it
/// goes on when cell `LOOKER` + 1 says so.
fn begun_and_looked_at(address: &CStr, board: &'static Board) -> Child {
    let creator = start(|| {
        stop_before(Call::Attach, board, CREATOR);
        let _ = create(address, &options(PAGE));
    });
    board.wait(CREATOR);
    creator.kill();
    let looker = start(|| {
        stop_before(Call::Detach, board, LOOKER);
        gc(SHMKIT_GC_DRY_RUN);
    });
    board.wait(LOOKER);
    looker
}

const CREATOR: usize = 0;
const LOOKER: usize = 2;

/// What a dead creator began can be made anew only when nobody is attached to it: who wants to waits, and no longer than
/// it was told to.
#[test]
fn creators_wait_for_who_looks_at_what_a_dead_one_began() {
    apart("creators_wait_for_who_looks_at_what_a_dead_one_began", 1 << 20, || {
        const ENDED: usize = 4;
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let looker = begun_and_looked_at(&address, board);
        let hasty = RegionOptions { timeout_ns: 50_000_000, ..options(PAGE) };
        assert_eq!(open_or_create(&address, &hasty).err(), Some(Status::ErrTimeout));
        assert_eq!(create(&address, &hasty).err(), Some(Status::ErrTimeout));
        let makers = [0, 1].map(|maker| {
            start(move || {
                let (handle, made) = must(open_or_create(c"sysv:0x70656572", &options(PAGE)));
                board.set(ENDED + maker, 1 + u64::from(made));
                board.wait(ENDED + 1 - maker);
                good(shmkit_region_close(handle));
            })
        });
        pause(20_000);
        assert_eq!(board.get(ENDED) + board.get(ENDED + 1), 0, "made while somebody was attached to what is there");
        board.set(LOOKER + 1, 1);
        looker.finish();
        finish_all(makers.into());
        assert_eq!(board.get(ENDED) + board.get(ENDED + 1), 3, "one makes it, one finds it");
        assert_eq!(unlink(&address), Status::Ok);
    });
}

/// Another software's segment beside the semaphores that a region left: for want of address space it cannot be looked into.
#[test]
fn what_cannot_be_looked_into_is_not_unlinked() {
    apart("what_cannot_be_looked_into_is_not_unlinked", 1 << 20, || {
        const HUGE: usize = 1 << 30;
        const KEY: c_int = 0x7065_6572;
        let address = address(Kind::Sysv, Path::new("/"));
        let handle = must(create(&address, &options(PAGE)));
        // SAFETY: take no pointers.
        let id = unsafe {
            assert_eq!(shmctl(libc::shmget(KEY, 0, 0), libc::IPC_RMID, null_mut()), 0);
            good(shmkit_region_close(handle));
            libc::shmget(KEY, HUGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600)
        };
        assert!(id >= 0, "{}", std::io::Error::last_os_error());
        start(|| {
            let pages = std::fs::read_to_string("/proc/self/statm").expect("it is there");
            let pages: usize = pages.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number");
            let most = (pages * PAGE + HUGE / 2) as u64;
            // SAFETY: the struct is readable.
            unsafe {
                let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
                assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
            }
            assert_eq!(unlink(&address), Status::ErrNoMemory);
            assert_eq!(is_orphan(&address), Ok(SHMKIT_ANSWER_UNKNOWN));
        })
        .finish();
        assert_eq!(unlink(&address), Status::ErrNotARegion);
        // SAFETY: take no pointers.
        unsafe {
            assert_eq!(libc::shmget(KEY, 0, 0), id, "another software's segment was removed");
            assert_eq!(shmctl(id, libc::IPC_RMID, null_mut()), 0);
        }
        assert_eq!(gc(SHMKIT_GC_REMOVE), ["sysv:0x70656572"]);
    });
}

/// A process without a free descriptor cannot look who lives, and takes nobody for dead; nor does it keep what it could
/// not find out about itself.
#[test]
fn without_a_descriptor_nobody_is_dead() {
    apart("without_a_descriptor_nobody_is_dead", 1 << 20, || {
        const OPEN: usize = 0;
        for first in [false, true] {
            let address = address(Kind::Posix, Path::new("/"));
            let board: &'static Board = shared();
            let handle = must(create(&address, &options(PAGE)));
            let peer = start(|| {
                let handle = must(open(&address, &options(PAGE)));
                board.set(OPEN, 1);
                board.wait(OPEN + 1);
                good(shmkit_region_close(handle));
            });
            board.wait(OPEN);
            start(|| {
                let handle = must(open(&address, &options(PAGE)));
                let all = participants(handle);
                assert!(all.len() > 2 && all.iter().all(|one| one.pid != 0), "{all:?}");
                // SAFETY: the struct is writable; the memory is new.
                unsafe {
                    let mut limit: libc::rlimit = std::mem::zeroed();
                    assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
                    let none = libc::rlimit { rlim_cur: 0, ..limit };
                    assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &none), 0);
                    if first {
                        // The first lock of a process asks anew who this is.
                        good(
                            shmkit::capi::sync::shmkit_mutex_init(std::ptr::from_ref(shared::<[AtomicU64; 8]>()) as _),
                        );
                    } else {
                        assert_eq!(participants(handle), all);
                    }
                    assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
                }
                assert_eq!(participants(handle), all);
                good(shmkit_region_close(handle));
            })
            .finish();
            board.set(OPEN + 1, 1);
            peer.finish();
            good(shmkit_region_close(handle));
            assert_eq!(unlink(&address), Status::Ok);
        }
    });
}

/// Who goes while the participants of a segment are counted is not shown as somebody of whom nothing is known.
#[test]
fn who_goes_during_the_count_is_no_participant() {
    apart("who_goes_during_the_count_is_no_participant", 1 << 20, || {
        const OPEN: usize = 0;
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let handle = must(create(&address, &options(PAGE)));
        let peer = start(|| {
            let handle = must(open(&address, &options(PAGE)));
            board.set(OPEN, 1);
            board.wait(OPEN + 1);
            good(shmkit_region_close(handle));
        });
        board.wait(OPEN);
        let looker = start(|| {
            let handle = must(open(&address, &options(PAGE)));
            stop_before(Call::Values, board, LOOKER);
            let all = participants(handle);
            assert_eq!(all, participants(handle));
            assert!(all.len() > 1 && all.iter().all(|one| one.pid != 0), "{all:?}");
            good(shmkit_region_close(handle));
        });
        board.wait(LOOKER);
        board.set(OPEN + 1, 1);
        peer.finish();
        board.set(LOOKER + 1, 1);
        looker.finish();
        good(shmkit_region_close(handle));
        assert_eq!(unlink(&address), Status::Ok);
    });
}

/// A segment that is removed between two looks at it is not there: no other answer is true.
#[test]
fn a_segment_that_goes_between_two_looks_is_not_there() {
    apart("a_segment_that_goes_between_two_looks_is_not_there", 1 << 20, || {
        let address = address(Kind::Sysv, Path::new("/"));
        let who = || {
            let seen = participants_at(address.to_bytes(), &mut |one| panic!("{} has it open", one.process.pid));
            seen.map_or_else(|failure| failure.status, |()| Status::Ok)
        };
        let orphan = || is_orphan(&address).err().unwrap_or(Status::Ok);
        let looks: [(&dyn Fn() -> Status, &[Call]); 2] = [
            (&who, &[Call::Status, Call::Values, Call::Attach]),
            (&orphan, &[Call::Status, Call::Values, Call::Operate]),
        ];
        for (look, calls) in looks {
            for call in calls {
                let board: &'static Board = shared();
                good(shmkit_region_close(must(create(&address, &options(PAGE)))));
                let looker = start(|| {
                    stop_before(*call, board, LOOKER);
                    assert_eq!(look(), Status::ErrNotFound, "removed before {call:?}: {}", message());
                });
                board.wait(LOOKER);
                assert_eq!(unlink(&address), Status::Ok);
                board.set(LOOKER + 1, 1);
                looker.finish();
            }
        }
    });
}

/// A creator who gives a segment to a group, with a mode that others' programs refuse: who came before looks again.
#[test]
fn an_opener_that_waited_looks_at_the_mode_again() {
    apart("an_opener_that_waited_looks_at_the_mode_again", 1 << 20, || {
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let creator = start(|| {
            stop_before(Call::Attach, board, CREATOR);
            // SAFETY: takes no pointers.
            let group = unsafe { libc::getegid() };
            let handle = must(create(&address, &RegionOptions { mode: 0o666, group, ..options(PAGE) }));
            board.wait(INIT);
            good(shmkit_region_close(handle));
        });
        board.wait(CREATOR);
        let opener = start(|| {
            stop_before(Call::Operate, board, LOOKER);
            assert_eq!(open(&address, &options(PAGE)).err(), Some(Status::ErrOwner));
        });
        board.wait(LOOKER);
        board.set(CREATOR + 1, 1);
        board.set(LOOKER + 1, 1);
        opener.finish();
        board.set(INIT, 1);
        creator.finish();
        assert_eq!(unlink(&address), Status::Ok);
    });
}

/// A member of the group to which a segment is about to be given waits for that, as for all else that a creator does.
#[test]
fn a_member_of_the_group_waits_for_the_creator() {
    apart("a_member_of_the_group_waits_for_the_creator", 1 << 20, || {
        const GROUP: u32 = 4242;
        const READY: usize = 4;
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::geteuid() }, 0, "this test needs root, who may give a segment to any group");
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let given = RegionOptions { mode: 0o660, group: GROUP, ..options(PAGE) };
        let creator = start(|| {
            stop_before(Call::Attach, board, CREATOR);
            let handle = must(create(&address, &given));
            board.set(READY, 1);
            board.wait(INIT);
            good(shmkit_region_close(handle));
        });
        board.wait(CREATOR);
        let member = |timeout_ns| {
            // SAFETY: take no pointers that are read.
            unsafe {
                assert_eq!(libc::setgroups(0, null()), 0);
                assert_eq!(libc::setresgid(GROUP, GROUP, GROUP), 0);
                assert_eq!(libc::setresuid(GROUP, GROUP, GROUP), 0);
            }
            open(&address, &RegionOptions { owner: 0, timeout_ns, ..options(PAGE) })
        };
        start(|| assert_eq!(member(20_000_000).err(), Some(Status::ErrTimeout), "{}", message())).finish();
        let patient = start(|| good(shmkit_region_close(must(member(PATIENCE_NS)))));
        // One that was refused before the creator was done, and asks only afterwards whether it is.
        let late = start(|| {
            stop_before(Call::Value, board, LOOKER);
            good(shmkit_region_close(must(member(PATIENCE_NS))));
        });
        board.wait(LOOKER);
        pause(20_000);
        board.set(CREATOR + 1, 1);
        board.wait(READY);
        board.set(LOOKER + 1, 1);
        finish_all(vec![patient, late]);
        board.set(INIT, 1);
        creator.finish();
        assert_eq!(unlink(&address), Status::Ok);
    });
}

/// An unlink does not wait for an `init` that takes long: its creator removes the semaphores then.
#[test]
fn an_unlink_during_a_long_init_leaves_nothing() {
    apart("an_unlink_during_a_long_init_leaves_nothing", 1 << 20, || {
        let address = address(Kind::Sysv, Path::new("/"));
        let board: &'static Board = shared();
        let creator = start(|| good(shmkit_region_close(must(create(&address, &told_options(board))))));
        board.wait(INIT);
        assert_eq!(unlink(&address), Status::Ok);
        board.set(INIT + 1, 1);
        creator.finish();
        assert_eq!(everything(), Vec::<String>::new());
    });
}

// ------------------------------------------------------------------------------------------------------------------
// File systems that are full
// ------------------------------------------------------------------------------------------------------------------

const SHM: &str = "/dev/shm";

/// Bytes that are free on /dev/shm.
fn free_space() -> u64 {
    // SAFETY: zeros are valid for the struct, which the call fills; the path is terminated.
    unsafe {
        let mut room: libc::statvfs = std::mem::zeroed();
        assert_eq!(libc::statvfs(c"/dev/shm".as_ptr(), &mut room), 0);
        room.f_bfree * room.f_frsize
    }
}

/// Every file below /dev/shm.
fn files_below() -> Vec<String> {
    let mut all = names_in(Path::new(SHM));
    all.extend(names_in(Path::new("/dev/shm/folder")));
    all
}

/// The library's failure names these numbers of bytes.
#[track_caller]
fn expect_figures(needed: u64, free: u64) {
    let words = message();
    let (needed, free) = (format!("needs {needed} more bytes"), format!("{free} free of"));
    assert!(words.contains(&needed) && words.contains(&free), "{words}\nnot: {needed}, {free}");
}

/// Touches every byte of a region by pointer: reads it, then writes another value.
fn touch(handle: Handle) {
    touch_each(handle, 1);
}

/// Touches every page of a region, and its last byte.
fn touch_pages(handle: Handle) {
    touch_each(handle, PAGE);
}

fn touch_each(handle: Handle, step: usize) {
    let (data, size) = (shmkit_region_data(handle).cast::<u8>(), shmkit_region_size(handle));
    assert!(!data.is_null() && size > 0);
    for offset in (0..size).step_by(step).chain([size - 1]) {
        // SAFETY: the region has so many bytes.
        unsafe {
            let at = data.add(offset);
            at.write_volatile(at.read_volatile().wrapping_add(offset as u8 | 1));
        }
    }
}

fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE as u64)
}

/// Creates regions of all sizes. What does not fit fails with figures and leaves nothing.
fn create_all_sizes(address: &CStr, capacity: u64, counts: &mut [u64; 2]) {
    let header = PAGE as u64;
    let mut sizes: Vec<u64> =
        (0..).map(|step| 1 + step * (capacity / 24)).take_while(|size| *size < 2 * capacity).collect();
    for near in [capacity - 2 * header, capacity - header, capacity, free_space() - header] {
        sizes.extend([near - 1, near, near + 1, near + header]);
    }
    sizes.extend([20 << 20, 1 << 40, 1 << 61]);
    for size in sizes {
        for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_POPULATE] {
            for with_init in [false, true] {
                let calls: &'static AtomicU32 = shared();
                let init = Init { calls, seed: 5 };
                let mut options = options(size as usize);
                options.space = space;
                if with_init {
                    init.give(&mut options);
                }
                let (before, files) = (free_space(), files_below());
                let total = pages(size + header);
                match create(address, &options) {
                    Ok(handle) => {
                        assert!(total <= before, "{size} bytes cannot fit in {before}");
                        assert_eq!(free_space(), before - total);
                        if with_init {
                            check_filled(handle, size as usize, Some(5));
                        }
                        touch_pages(handle);
                        assert_eq!(free_space(), before - total, "it had not all of its space");
                        good(shmkit_region_unlink(handle));
                        good(shmkit_region_close(handle));
                        counts[0] += 1;
                    }
                    Err(status) => {
                        assert!(total > before, "{size} bytes fit in {before}: {}", message());
                        assert_eq!(status, Status::ErrNoSpace, "{size} bytes: {}", message());
                        // What is larger than the machine fails with the machine's figures.
                        if total < 64 << 20 {
                            expect_figures(total, before);
                        }
                        assert_eq!(calls.load(SeqCst), 0, "the callback saw memory that is not there");
                        assert_eq!(unlink(address), Status::ErrNotFound);
                        counts[1] += 1;
                    }
                }
                assert_eq!((free_space(), files_below()), (before, files), "left behind by {size} bytes");
            }
        }
    }
}

/// Grows regions by all sizes, from several sizes. What does not fit fails with figures, and the region stays as it was.
fn grow_all_sizes(address: &CStr, capacity: u64, counts: &mut [u64; 2]) {
    let header = PAGE as u64;
    for first in [1, header, 3 * header - 5] {
        let step = capacity / 16 + 3;
        let near = pages(free_space()) - header;
        let targets = (1..32).map(|turn| first + turn * step).chain([near - 1, near, near + 1, 30 << 20, 1 << 41]);
        for target in targets {
            let before_all = free_space();
            let mut options = options(first as usize);
            options.max_size = 1 << 42;
            let handle = must(create(address, &options));
            touch_pages(handle);
            let (before, was) = (free_space(), stat(handle));
            let needed = pages(target + header) - pages(first + header);
            match named(shmkit_region_grow(handle, target)) {
                Status::Ok => {
                    assert!(needed <= before, "{needed} bytes cannot fit in {before}");
                    assert_eq!(shmkit_region_size(handle) as u64, target.max(first));
                    touch_pages(handle);
                    assert_eq!(free_space(), before - needed);
                    counts[0] += 1;
                }
                status => {
                    assert!(needed > before, "{needed} bytes fit in {before}: {}", message());
                    assert_eq!(status, Status::ErrNoSpace, "{}", message());
                    if needed < 64 << 20 {
                        expect_figures(needed, before);
                    }
                    let now = stat(handle);
                    assert_eq!(
                        (now.size, now.object_size, now.generation),
                        (was.size, was.object_size, was.generation)
                    );
                    assert_eq!((now.reserved, free_space()), (was.reserved, before), "space that nobody has");
                    // It is as good as before, and grows by what is there.
                    touch_pages(handle);
                    let fits = pages(first + header) + before - header;
                    good(shmkit_region_grow(handle, fits));
                    assert_eq!(free_space(), 0);
                    touch_pages(handle);
                    counts[1] += 1;
                }
            }
            good(shmkit_region_unlink(handle));
            good(shmkit_region_close(handle));
            assert_eq!(free_space(), before_all);
        }
    }
}

/// Takes all space that is left.
fn fill_up() -> std::fs::File {
    use std::io::Write;
    let mut file = std::fs::File::create("/dev/shm/stranger").expect("the file system is ours");
    while file.write(&[7; PAGE]).is_ok_and(|count| count > 0) {}
    assert_eq!(free_space(), 0);
    file
}

fn make_room(file: std::fs::File) {
    drop(file);
    std::fs::remove_file("/dev/shm/stranger").expect("it was made just now");
}

/// A region that has its space, on a file system that a stranger then fills.
fn reserved_and_full(address: &CStr, size: usize) {
    let mut options = options(size);
    options.max_size = 1 << 30;
    let handle = must(create(address, &options));
    good(shmkit_region_grow(handle, size as u64 * 2));
    let stranger = fill_up();
    let peer = start(|| {
        let peer = must(open(address, &self::options(2 * size)));
        touch(peer);
        good(shmkit_region_close(peer));
    });
    peer.finish();
    touch(handle);
    let mut bytes = vec![3; 2 * size];
    assert_eq!(copy_in(handle, 0, &bytes), Status::Ok, "{}", message());
    bytes.fill(0);
    assert_eq!(copy_out(handle, 0, &mut bytes), Status::Ok, "{}", message());
    assert!(bytes.iter().all(|byte| *byte == 3));
    assert_eq!(named(shmkit_region_grow(handle, size as u64 * 2 + 2 * PAGE as u64)), Status::ErrNoSpace);
    assert!(message().contains(" 0 free of"), "{}", message());
    // A child has it too: it needs no space for that.
    start(|| touch(handle)).finish();
    make_room(stranger);
    good(shmkit_region_unlink(handle));
    good(shmkit_region_close(handle));
}

/// A region that finds its space at the first touch, on a file system that a stranger fills before that.
fn lazy_and_full(address: &CStr, size: usize, guard: bool) {
    if guard {
        good(shmkit_guard_enable());
    }
    let mut options = options(size);
    options.space = SHMKIT_SPACE_LAZY;
    let handle = must(create(address, &options));
    let peer = must(open(address, &self::options(size)));
    let mut bytes = vec![3; size];
    assert_eq!(copy_in(handle, 0, &bytes[..PAGE]), Status::Ok, "{}", message());
    let stranger = fill_up();
    // What has its space already is there.
    assert_eq!(copy_out(handle, 0, &mut bytes[..PAGE]), Status::Ok, "{}", message());
    for (who, region) in [("its creator", handle), ("a peer", peer)] {
        assert_eq!(copy_in(region, 0, &bytes), Status::ErrNoSpace, "{who}: {}", message());
        assert!(message().contains(" 0 free of"), "{who}: {}", message());
        assert_eq!(copy_out(region, size - 1, &mut bytes[..1]), Status::ErrNoSpace, "{who}: {}", message());
    }
    let full = named(shmkit_region_grow(handle, size as u64 + 1));
    assert!(matches!(full, Status::ErrTooBig | Status::ErrNoSpace), "{full:?}: {}", message());
    make_room(stranger);
    good(shmkit_region_close(handle));
    good(shmkit_region_close(peer));
    // Opened anew, with room, it works again, as far as there is room.
    let handle = must(open(address, &self::options(size)));
    let fits = size.min(free_space() as usize);
    assert_eq!(copy_in(handle, 0, &bytes[..fits]), Status::Ok, "{}", message());
    assert_eq!(copy_out(handle, 0, &mut bytes[..fits]), Status::Ok, "{}", message());
    good(shmkit_region_unlink(handle));
    good(shmkit_region_close(handle));
}

fn full_file_system(bytes: u64) {
    std::fs::create_dir("/dev/shm/folder").expect("the file system is ours");
    let capacity = free_space();
    let (mut created, mut grown) = ([0; 2], [0; 2]);
    let board: &'static Board = shared();
    for address in [c"posix:/space", c"file:/dev/shm/folder/space"] {
        // Each part in a child: a SIGBUS would end it.
        start(|| {
            create_all_sizes(address, capacity, &mut created);
            grow_all_sizes(address, capacity, &mut grown);
            for (cell, count) in created.iter().chain(&grown).enumerate() {
                board.add(cell, *count);
            }
        })
        .finish();
        start(|| reserved_and_full(address, (capacity / 5) as usize)).finish();
        for guard in [false, true] {
            start(|| lazy_and_full(address, (capacity / 2) as usize, guard)).finish();
        }
        // Larger than the whole file system: only what is touched counts.
        start(|| lazy_and_full(address, 3 * capacity as usize, true)).finish();
    }
    assert_eq!((names_in(Path::new("/dev/shm/folder")), free_space()), (vec![], capacity));
    std::fs::remove_dir("/dev/shm/folder").expect("it is empty");
    let [fit, refused, grew, stuck] = [0, 1, 2, 3].map(|cell| board.get(cell));
    assert!(fit > 20 && refused > 20 && grew > 20 && stuck > 20);
    println!(
        "space: {bytes} bytes of /dev/shm: {fit} creations that fit and {refused} that did not, {grew} growths that fit and \
         {stuck} that did not; every refusal had its figures and left nothing; filled up afterwards: no SIGBUS"
    );
}

#[test]
fn sixty_four_kibibytes_run_full() {
    apart("sixty_four_kibibytes_run_full", 64 << 10, || full_file_system(64 << 10));
}

#[test]
fn four_mebibytes_run_full() {
    apart("four_mebibytes_run_full", 4 << 20, || full_file_system(4 << 20));
}

/// Signals that come again and again while space is reserved: it is reserved in the end, or all of it is given back.
#[test]
fn signals_do_not_disturb_reservations() {
    apart("signals_do_not_disturb_reservations", 160 << 20, || {
        let signals: &'static AtomicU32 = shared();
        start(|| {
            install_for(libc::SIGPROF, plain as *const () as usize);
            let every = libc::timeval { tv_sec: 0, tv_usec: 1000 };
            let timer = libc::itimerval { it_interval: every, it_value: every };
            // SAFETY: the struct is readable. The timer of processor time sends SIGPROF, that of the clock SIGALRM.
            assert_eq!(unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, null_mut()) }, 0);
            install_for(libc::SIGALRM, plain as *const () as usize);
            // SAFETY: as above.
            assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()) }, 0);
            for turn in 0..rounds(8) {
                let mut options = options(PAGE);
                options.max_size = 1 << 40;
                let handle = must(create(c"posix:/signals", &options));
                good(shmkit_region_grow(handle, 90 << 20));
                touch_pages(handle);
                let (before, was) = (free_space(), stat(handle));
                assert_eq!(named(shmkit_region_grow(handle, (180 + turn) << 20)), Status::ErrNoSpace, "{}", message());
                let now = stat(handle);
                assert_eq!((now.size, now.object_size, now.reserved), (was.size, was.object_size, was.reserved));
                assert_eq!(free_space(), before, "space that nobody has");
                good(shmkit_region_unlink(handle));
                close(handle);
            }
            signals.store(HANDLED.load(SeqCst), SeqCst);
        })
        .finish();
        let signals = signals.load(SeqCst);
        println!("space: {} growths of 90 MiB and refusals of as much, under {signals} signals", rounds(8));
        assert!(signals > 0);
    });
}

/// A file system that has space, and no room for another file.
#[test]
fn a_file_system_without_another_file() {
    apart("a_file_system_without_another_file", 1 << 20, || {
        std::fs::write("/dev/shm/one", "").expect("the file system is ours");
        // SAFETY: the strings are terminated.
        let bounded = unsafe {
            let options = c"size=1m,nr_inodes=2";
            libc::mount(null(), c"/dev/shm".as_ptr(), null(), libc::MS_REMOUNT, options.as_ptr().cast())
        };
        assert_eq!(bounded, 0, "{}", std::io::Error::last_os_error());
        let mut refused = 0;
        for with_init in [false, true] {
            let calls: &'static AtomicU32 = shared();
            let init = Init { calls, seed: 1 };
            let mut options = options(100);
            if with_init {
                init.give(&mut options);
            }
            for lack in [Lack::Nothing, Lack::Unnamed] {
                start(|| {
                    lack.impose_blindly();
                    assert_eq!(create(c"posix:/more", &options), Err(Status::ErrNoSpace), "{}", message());
                    assert!(message().contains("no room for another file"), "{}", message());
                })
                .finish();
                assert_eq!(calls.load(SeqCst), 0);
                assert_eq!(everything(), ["object one"]);
                refused += 1;
            }
        }
        std::fs::remove_file("/dev/shm/one").expect("it is there");
        let handle = must(create(c"posix:/more", &options(100)));
        good(shmkit_region_unlink(handle));
        good(shmkit_region_close(handle));
        println!(
            "space: {refused} creations on a file system without another file: refused with figures, nothing left"
        );
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Memory that a peer takes away
// ------------------------------------------------------------------------------------------------------------------

/// What a truncating peer leaves of the object before it makes it long again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// The header and some of the data: the region can be opened again at once.
    Header,
    /// Nothing, and it writes the header anew.
    Nothing,
}

/// How often each thing happened.
struct Cuts {
    truncations: AtomicU64,
    enough: AtomicU32,
    good: AtomicU64,
    truncated: AtomicU64,
    reopened: AtomicU64,
    not_yet: AtomicU64,
}

const CUT_SIZE: usize = 8 * PAGE;

/// Copies into and out of a region while another process makes it shorter and longer again through a plain descriptor,
/// until there were `least` copies and as many truncations.
fn cut(kind: Kind, leaves: Leaves, guard: bool, least: u64) {
    let folder = temporary();
    let address = address(kind, folder.path());
    let path = match kind {
        Kind::Posix => Path::new("/dev/shm/peers").to_path_buf(),
        _ => folder.path().join("peers"),
    };
    let start_time = Instant::now();
    let owner = must(create(&address, &options(CUT_SIZE)));
    let cuts: &'static Cuts = shared();
    let peer = start(|| truncate_again_and_again(&path, leaves, cuts));
    let copier = start(|| {
        if guard {
            good(shmkit_guard_enable());
        }
        copy_again_and_again(&address, cuts, least);
    });
    copier.finish();
    cuts.enough.store(1, SeqCst);
    peer.finish();
    good(shmkit_region_unlink(owner));
    good(shmkit_region_close(owner));
    let [truncations, done, truncated] =
        [&cuts.truncations, &cuts.good, &cuts.truncated].map(|count| count.load(SeqCst));
    println!(
        "truncation {kind:?}, leaves {leaves:?}, guard {}: {} copies in {:.1} s while a peer truncated {truncations} times: \
         {done} succeeded, {truncated} were TRUNCATED, none was anything else, no signal; opened again {} times after {} \
         refusals",
        if guard { "on" } else { "off" },
        done + truncated,
        start_time.elapsed().as_secs_f64(),
        cuts.reopened.load(SeqCst),
        cuts.not_yet.load(SeqCst),
    );
    assert!(done > 0 && truncated >= least / 50 && done + truncated >= least && truncations >= least);
}

fn truncate_again_and_again(path: &Path, leaves: Leaves, cuts: &Cuts) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("the owner made it");
    let full = file.metadata().expect("it is open").len();
    let mut header = [0; PAGE];
    file.read_exact_at(&mut header, 0).expect("it is a page and more");
    let mut random = Random::new(9);
    while cuts.enough.load(SeqCst) == 0 {
        let length = match leaves {
            Leaves::Nothing => random.below(PAGE as u64),
            Leaves::Header => PAGE as u64 + random.below(full - PAGE as u64),
        };
        file.set_len(length).expect("the file is ours");
        // Where both have one processor, the other one sees only what is there at a hand-over.
        if random.below(8) == 0 {
            std::thread::yield_now();
        }
        (0..random.below(300)).for_each(|_| std::hint::spin_loop());
        file.set_len(full).expect("the file is ours");
        if leaves == Leaves::Nothing {
            file.write_all_at(&header, 0).expect("the file is ours");
        }
        cuts.truncations.fetch_add(1, SeqCst);
        match random.below(4) {
            0 => (0..random.below(3000)).for_each(|_| std::hint::spin_loop()),
            1 => std::thread::yield_now(),
            _ => {}
        }
    }
}

fn copy_again_and_again(address: &CStr, cuts: &Cuts, least: u64) {
    const LENGTHS: [usize; 9] = [1, 7, 64, 1000, PAGE, PAGE + 1, 3 * PAGE, 5 * PAGE + 13, CUT_SIZE];
    let mut random = Random::new(4);
    let mut bytes = vec![0; CUT_SIZE];
    let mut handle = open_whole(address, cuts);
    let mut copies = 0;
    let often = |count: &AtomicU64, least| count.load(Relaxed) >= least;
    while copies < least || !often(&cuts.truncations, least) || !often(&cuts.truncated, least / 50) {
        let length = LENGTHS[random.below(LENGTHS.len() as u64) as usize];
        let offset = random.below((CUT_SIZE - length + 1) as u64) as usize;
        let into = random.below(2) == 0;
        let status = match into {
            true => copy_in(handle, offset, &bytes[..length]),
            false => copy_out(handle, offset, &mut bytes[..length]),
        };
        copies += 1;
        // Where both have one processor, the peer goes on in the midst of its work, and not once in a time slice.
        if random.below(8) == 0 {
            std::thread::yield_now();
        }
        match status {
            Status::Ok => cuts.good.fetch_add(1, Relaxed),
            Status::ErrTruncated => cuts.truncated.fetch_add(1, Relaxed),
            other => panic!("{length} bytes at {offset}, in {into}: {other:?}: {}", message()),
        };
        if status == Status::ErrTruncated {
            // It stays so, whether the object is long again or not.
            for _ in 0..3 {
                assert_eq!(copy_in(handle, 0, &bytes[..1]), Status::ErrTruncated, "{}", message());
                assert_eq!(copy_out(handle, 0, &mut bytes[..1]), Status::ErrTruncated, "{}", message());
            }
            let (mut data, mut size) = (null_mut(), 0);
            // SAFETY: both places are writable.
            let begun = named(unsafe { shmkit_region_access_begin(handle, &mut data, &mut size) });
            assert!(matches!(begun, Status::ErrTruncated | Status::ErrUnsupported), "{begun:?}");
            good(shmkit_region_close(handle));
            handle = open_whole(address, cuts);
            cuts.reopened.fetch_add(1, Relaxed);
        }
    }
    good(shmkit_region_close(handle));
}

/// Opens a region that is whole now and then.
fn open_whole(address: &CStr, cuts: &Cuts) -> Handle {
    loop {
        match open(address, &options(CUT_SIZE)) {
            Ok(handle) => return handle,
            // What an object looks like that is too short, or whose header is not there yet, or in part.
            Err(
                Status::ErrCorrupt
                | Status::ErrLayout
                | Status::ErrNotARegion
                | Status::ErrTruncated
                | Status::ErrUnfinished
                | Status::ErrPastEnd,
            ) => {
                cuts.not_yet.fetch_add(1, Relaxed);
                std::thread::yield_now();
            }
            Err(other) => panic!("{other:?}: {}", message()),
        }
    }
}

#[test]
fn a_peer_truncates_during_copies() {
    apart("a_peer_truncates_during_copies", 64 << 20, || {
        for guard in [false, true] {
            cut(Kind::Posix, Leaves::Header, guard, rounds(30_000));
            cut(Kind::Posix, Leaves::Nothing, guard, rounds(30_000));
            cut(Kind::File, Leaves::Header, guard, rounds(5_000));
            cut(Kind::File, Leaves::Nothing, guard, rounds(5_000));
        }
    });
}

/// A mapping of two pages over a file of one: a touch of the second raises SIGBUS, and no region lies there.
struct Torn(*mut u8);

impl Torn {
    fn new() -> Torn {
        // SAFETY: a new object and a new mapping of it.
        unsafe {
            let fd = libc::memfd_create(c"torn".as_ptr(), 0);
            assert_eq!(libc::ftruncate(fd, PAGE as i64), 0);
            let at = libc::mmap(null_mut(), 2 * PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
            assert_ne!(at, libc::MAP_FAILED);
            libc::close(fd);
            Torn(at.cast())
        }
    }

    fn missing(&self) -> *mut u8 {
        // SAFETY: the mapping has two pages.
        unsafe { self.0.add(PAGE) }
    }

    fn touch(&self) {
        // SAFETY: it is mapped; what the touch raises is what is looked for.
        unsafe { self.missing().write_volatile(1) };
    }
}

static HANDLED: AtomicU32 = AtomicU32::new(0);
static HANDLED_AT: AtomicU64 = AtomicU64::new(0);
static MEND: AtomicU64 = AtomicU64::new(0);
/// The handler that was there before one that was installed on top, for it to pass on to.
static BELOW: AtomicU64 = AtomicU64::new(0);

/// Puts a page where one is missing, if the test says so: the touch goes on then.
fn mend() {
    let at = MEND.load(SeqCst) as usize;
    if at != 0 {
        let at = std::ptr::with_exposed_provenance_mut(at);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the page is the test's own.
        unsafe { libc::mmap(at, PAGE, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    }
}

extern "C" fn with_information(_: c_int, information: *mut libc::siginfo_t, _: *mut c_void) {
    HANDLED.fetch_add(1, SeqCst);
    // SAFETY: the kernel, or the guard, passes a valid one.
    HANDLED_AT.store(unsafe { (*information).si_addr() } as u64, SeqCst);
    mend();
}

extern "C" fn plain(_: c_int) {
    HANDLED.fetch_add(1, SeqCst);
    mend();
}

/// As programs do that chain handlers: what is not its own goes to the one before.
extern "C" fn on_top(signal: c_int, information: *mut libc::siginfo_t, context: *mut c_void) {
    HANDLED.fetch_add(1, SeqCst);
    // SAFETY: `install` stored the address of a handler with information, which gets what the kernel passed.
    unsafe {
        let below: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
            std::mem::transmute::<usize, _>(BELOW.load(SeqCst) as usize);
        below(signal, information, context);
    }
}

/// Installs a handler of another signal.
fn install_for(signal: i32, handler: usize) {
    // SAFETY: the handler is one of the above.
    unsafe { libc::signal(signal, handler) };
}

/// Installs a handler of SIGBUS and gives the address of the one before.
fn install(handler: usize, flags: i32) -> usize {
    // SAFETY: zeros are valid for both structs; the handler is one of the above, or a constant.
    unsafe {
        let (mut ours, mut before): (libc::sigaction, libc::sigaction) = (std::mem::zeroed(), std::mem::zeroed());
        ours.sa_sigaction = handler;
        ours.sa_flags = flags;
        assert_eq!(libc::sigaction(libc::SIGBUS, &ours, &mut before), 0);
        before.sa_sigaction
    }
}

fn installed() -> usize {
    // SAFETY: zeros are valid for the struct, which the call fills.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(libc::SIGBUS, null(), &mut now), 0);
        now.sa_sigaction
    }
}

fn send_to_myself() {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
}

/// How a child ended, as the signal that killed it or 0.
fn signal_of(work: impl FnOnce()) -> i32 {
    let status = start(work).end();
    assert!(status == 0 || libc::WIFSIGNALED(status), "{}", ending(status));
    libc::WTERMSIG(status)
}

/// A region that was cut to its header and of which the data can be touched under the guard alone.
fn cut_region() -> (CString, Handle) {
    let address = address(Kind::Posix, Path::new("/"));
    let handle = must(create(&address, &options(2 * PAGE)));
    // SAFETY: a descriptor of its own on the same object.
    unsafe {
        let fd = libc::shm_open(c"/peers".as_ptr(), libc::O_RDWR, 0);
        assert_eq!(libc::ftruncate(fd, PAGE as i64), 0);
        libc::close(fd);
    }
    (address, handle)
}

/// Touches a region whose data is gone: zeros are there, and the region says so.
fn touch_cut_region() {
    let (address, handle) = cut_region();
    let before = HANDLED.load(SeqCst);
    // SAFETY: the region is mapped, and the guard stands.
    assert_eq!(unsafe { shmkit_region_data(handle).cast::<u8>().add(PAGE).read_volatile() }, 0);
    assert!(HANDLED.load(SeqCst) - before <= 1, "a handler that lies below heard of a region's fault");
    assert_eq!(named(shmkit_region_access_end(handle)), Status::ErrTruncated);
    good(shmkit_region_close(handle));
    assert_eq!(unlink(&address), Status::Ok);
}

#[test]
fn a_foreign_fault_is_still_the_programs_own() {
    apart("a_foreign_fault_is_still_the_programs_own", 1 << 20, || {
        let mut cases = 0;
        let handlers = [
            ("with information", with_information as *const () as usize, libc::SA_SIGINFO),
            ("plain", plain as *const () as usize, 0),
        ];
        for (name, handler, flags) in handlers {
            let ended = signal_of(|| {
                install(handler, flags);
                good(shmkit_guard_enable());
                let torn = Torn::new();
                MEND.store(torn.missing() as u64, SeqCst);
                torn.touch();
                assert_eq!(HANDLED.load(SeqCst), 1, "{name}: a fault outside of regions");
                if flags != 0 {
                    assert_eq!(HANDLED_AT.load(SeqCst), torn.missing() as u64);
                }
                // A fault in a region is the guard's, and not the handler's.
                touch_cut_region();
                assert_eq!(HANDLED.load(SeqCst), 1, "{name}: a fault in a region");
                send_to_myself();
                assert_eq!(HANDLED.load(SeqCst), 2, "{name}: a signal that was sent");
                // A bad pointer that the program passes is the program's fault, also inside of the library.
                let torn = Torn::new();
                MEND.store(torn.missing() as u64, SeqCst);
                let handle = must(create(c"memfd:copy", &options(PAGE)));
                // SAFETY: what the touch of the missing page raises is what is looked for.
                good(unsafe { shmkit_region_copy_in(handle, 0, torn.missing().cast(), 100) });
                assert_eq!(HANDLED.load(SeqCst), 3, "{name}: a fault in the program's own buffer");
                good(shmkit_region_close(handle));
                // Taken out, the guard leaves what was there before.
                good(shmkit_guard_disable());
                assert_eq!(installed(), handler);
            });
            assert_eq!(ended, 0, "{name}");
            // One that is for one signal, as that of a program which reports its own crash: it is called, mends nothing,
            // and the second touch ends the process. The guard itself stays.
            let calls: &'static AtomicU32 = shared();
            let once = signal_of(|| {
                install(handler, flags | libc::SA_RESETHAND);
                good(shmkit_guard_enable());
                send_to_myself();
                calls.store(HANDLED.load(SeqCst), SeqCst);
                touch_cut_region();
                Torn::new().touch();
            });
            assert_eq!((once, calls.load(SeqCst)), (libc::SIGBUS, 1), "{name}: a handler for one signal");
            let unused = signal_of(|| {
                install(handler, flags | libc::SA_RESETHAND);
                good(shmkit_guard_enable());
                send_to_myself();
                good(shmkit_guard_disable());
                assert_eq!(installed(), libc::SIG_DFL);
            });
            assert_eq!(unused, 0);
            cases += 3;
        }
        // Where there is none, the process dies of it, as without the guard; the guard on or off again.
        let default = [
            ("fault", libc::SIG_DFL, Torn::touch as fn(&Torn), libc::SIGBUS),
            ("sent", libc::SIG_DFL, |_| send_to_myself(), libc::SIGBUS),
            ("fault, ignored", libc::SIG_IGN, Torn::touch, libc::SIGBUS),
            ("sent, ignored", libc::SIG_IGN, |_| send_to_myself(), 0),
        ];
        for (name, action, what, expected) in default {
            for again in [false, true] {
                let ended = signal_of(|| {
                    install(action, 0);
                    good(shmkit_guard_enable());
                    if again {
                        good(shmkit_guard_disable());
                        assert_eq!(installed(), action);
                    }
                    what(&Torn::new());
                });
                assert_eq!(ended, expected, "{name}, guard {}", !again);
                cases += 1;
            }
        }
        println!(
            "foreign SIGBUS: {cases} cases: with and without handlers, faults and signals sent: as without the guard"
        );
    });
}

#[test]
fn the_guard_goes_in_and_out() {
    apart("the_guard_goes_in_and_out", 1 << 20, || {
        let handler = with_information as *const () as usize;
        // In and out, twice each and again.
        let ended = signal_of(|| {
            install(handler, libc::SA_SIGINFO);
            for _ in 0..3 {
                good(shmkit_guard_enable());
                let guard = installed();
                assert_ne!(guard, handler);
                good(shmkit_guard_enable());
                assert_eq!(installed(), guard);
                touch_cut_region();
                good(shmkit_guard_disable());
                assert_eq!(installed(), handler);
                good(shmkit_guard_disable());
                assert_eq!(installed(), handler);
            }
            assert_eq!(HANDLED.load(SeqCst), 0);
        });
        assert_eq!(ended, 0);
        // Another handler on top, which passes on what is not its own.
        let ended = signal_of(|| {
            install(handler, libc::SA_SIGINFO);
            good(shmkit_guard_enable());
            let guard = install(on_top as *const () as usize, libc::SA_SIGINFO);
            BELOW.store(guard as u64, SeqCst);
            touch_cut_region();
            assert_eq!(HANDLED.load(SeqCst), 1, "the one on top alone");
            let torn = Torn::new();
            MEND.store(torn.missing() as u64, SeqCst);
            torn.touch();
            assert_eq!(HANDLED.load(SeqCst), 3, "the one on top, and through the guard the one below");
            assert_eq!(named(shmkit_guard_disable()), Status::ErrBusy);
            touch_cut_region();
            install(guard, libc::SA_SIGINFO);
            good(shmkit_guard_disable());
            assert_eq!(installed(), handler);
        });
        assert_eq!(ended, 0);
        // Without it a touch is refused where it could end in a signal; memory that nobody can take away needs none.
        let ended = signal_of(|| {
            let (mut data, mut size) = (null_mut(), 0);
            let (address, handle) = cut_region();
            // SAFETY: both places are writable.
            unsafe {
                assert_eq!(named(shmkit_region_access_begin(handle, &mut data, &mut size)), Status::ErrUnsupported);
                let sealed = must(create(c"memfd:sealed", &options(PAGE)));
                good(shmkit_region_access_begin(sealed, &mut data, &mut size));
                data.cast::<u8>().write_volatile(1);
                good(shmkit_region_access_end(sealed));
                good(shmkit_region_close(sealed));
            }
            good(shmkit_region_close(handle));
            assert_eq!(unlink(&address), Status::Ok);
        });
        assert_eq!(ended, 0);
        println!("guard: in and out again and again, with a handler below and on top: as it says");
    });
}

/// Scopes in which the program touches the data itself, while a peer truncates it.
#[test]
fn a_peer_truncates_during_direct_touches() {
    apart("a_peer_truncates_during_direct_touches", 64 << 20, || {
        let address = address(Kind::Posix, Path::new("/"));
        let owner = must(create(&address, &options(CUT_SIZE)));
        let cuts: &'static Cuts = shared();
        let least = rounds(3000);
        let peer = start(|| truncate_again_and_again(Path::new("/dev/shm/peers"), Leaves::Header, cuts));
        let toucher = start(|| {
            good(shmkit_guard_enable());
            let mut handle = open_whole(&address, cuts);
            let mut scopes = 0;
            while scopes < least || cuts.truncated.load(Relaxed) < least / 10 {
                scopes += 1;
                let (mut data, mut size) = (null_mut(), 0);
                // SAFETY: both places are writable.
                let begun = named(unsafe { shmkit_region_access_begin(handle, &mut data, &mut size) });
                if begun == Status::Ok {
                    assert_eq!(size, CUT_SIZE);
                    for offset in (0..size).step_by(512) {
                        // SAFETY: the scope gave so many bytes, and the guard stands.
                        unsafe {
                            let at = data.cast::<u8>().add(offset);
                            at.write_volatile(at.read_volatile() | 1);
                        }
                    }
                }
                match (begun, if begun == Status::Ok { named(shmkit_region_access_end(handle)) } else { begun }) {
                    (_, Status::Ok) => cuts.good.fetch_add(1, Relaxed),
                    (_, Status::ErrTruncated) => {
                        good(shmkit_region_close(handle));
                        handle = open_whole(&address, cuts);
                        cuts.truncated.fetch_add(1, Relaxed)
                    }
                    other => panic!("{other:?}: {}", message()),
                };
            }
            good(shmkit_region_close(handle));
        });
        toucher.finish();
        cuts.enough.store(1, SeqCst);
        peer.finish();
        good(shmkit_region_unlink(owner));
        good(shmkit_region_close(owner));
        let (whole, truncated) = (cuts.good.load(SeqCst), cuts.truncated.load(SeqCst));
        println!("direct touches: {whole} scopes were whole, {truncated} TRUNCATED, no signal");
        assert!(whole > 0 && truncated >= least / 10);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Ways for a process to end, to fork and to go on
// ------------------------------------------------------------------------------------------------------------------

const KINDS: [Kind; 4] = [Kind::Posix, Kind::File, Kind::Sysv, Kind::Memfd];
const SCENE_SIZE: usize = 3 * PAGE;

/// One region, a process that holds it, and whoever that process makes.
struct Scene {
    kind: Kind,
    address: CString,
    folder: tempfile::TempDir,
    board: &'static Board,
    /// Through which a region without a name comes to the observer.
    sockets: [i32; 2],
    observer: Cell<Handle>,
    looks: Cell<u32>,
}

impl Scene {
    fn new(kind: Kind) -> Scene {
        let folder = temporary();
        let mut sockets = [-1; 2];
        let kind_of_socket = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
        // SAFETY: there is room for both.
        assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind_of_socket, 0, sockets.as_mut_ptr()) }, 0);
        let address = address(kind, folder.path());
        Scene { kind, address, folder, board: shared(), sockets, observer: Cell::new(null_mut()), looks: Cell::new(0) }
    }

    /// In a child: creates the region and keeps it.
    fn hold(&self) -> Handle {
        let handle = must(create(&self.address, &options(SCENE_SIZE)));
        if self.kind == Kind::Memfd {
            good(shmkit_region_send(handle, self.sockets[1], SHMKIT_SEND_READ_WRITE));
        }
        handle
    }

    /// Starts a child that holds the region and then does this.
    fn holder(&self, then: impl FnOnce(Handle)) -> Child {
        const HELD: usize = 500;
        self.board.set(HELD, 0);
        let child = start(|| {
            let handle = self.hold();
            self.board.set(HELD, 1);
            then(handle);
        });
        self.board.wait(HELD);
        if self.kind == Kind::Memfd {
            let mut handle = null_mut();
            // SAFETY: the options may be null, and the place is writable.
            good(unsafe { shmkit_region_recv(self.sockets[0], null(), &mut handle) });
            self.observer.set(handle);
        }
        child
    }

    /// Who else has it open: the pids of the known ones, sorted, and how many are not known.
    fn look(&self) -> (Vec<u64>, usize) {
        let handle = match self.kind {
            Kind::Memfd => self.observer.get(),
            _ => must(open(&self.address, &options(SCENE_SIZE))),
        };
        let all: Vec<Peer> = participants(handle).into_iter().filter(|peer| !peer.own).collect();
        if self.kind != Kind::Memfd {
            good(shmkit_region_close(handle));
        }
        // Who is known is known to live; of a reader nothing is recorded.
        let is_right = |peer: &Peer| peer.pid == 0 || peer.live == SHMKIT_ANSWER_YES && !peer.read_only;
        assert!(all.iter().all(is_right), "{all:?}");
        for peer in all.iter().filter(|peer| peer.pid != 0) {
            assert_eq!(Some(peer.start), start_time(&format!("/proc/{}/stat", peer.pid)), "{peer:?}");
        }
        let mut pids: Vec<u64> = all.iter().map(|peer| peer.pid.into()).filter(|pid| *pid != 0).collect();
        pids.sort();
        let unknown = all.len() - pids.len();
        (pids, unknown)
    }

    /// These have the region open now, so many more that are not known, and nobody else; it is an orphan if nobody has.
    #[track_caller]
    fn expect(&self, pids: &[u64], unknown: usize) {
        let mut pids = pids.to_vec();
        pids.sort();
        let orphan = is_orphan(&self.address);
        let nobody = pids.is_empty() && unknown == 0;
        let expected = match self.kind {
            Kind::Memfd => Err(Status::ErrBackend),
            _ => Ok(if nobody { SHMKIT_ANSWER_YES } else { SHMKIT_ANSWER_NO }),
        };
        assert_eq!((self.look(), orphan), ((pids, unknown), expected), "{:?}: {}", self.kind, message());
        // A look of its own changes nothing.
        if self.kind != Kind::Memfd {
            assert_eq!(is_orphan(&self.address), expected);
        }
        self.looks.set(self.looks.get() + 1);
    }

    /// Removes what is left.
    fn clear(&self) -> u32 {
        match self.kind {
            Kind::Memfd => good(shmkit_region_close(self.observer.replace(null_mut()))),
            _ => assert_eq!(unlink(&self.address), Status::Ok, "{}", message()),
        }
        assert_eq!(everything(), Vec::<String>::new(), "{:?}", self.kind);
        assert_eq!(names_in(self.folder.path()), Vec::<String>::new());
        self.looks.get()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for socket in self.sockets {
            // SAFETY: the descriptors are the scene's.
            unsafe { libc::close(socket) };
        }
    }
}

/// Kills a process that is not this one's child, or only since its parent is gone, and waits until it is dead.
fn end_loose(pid: u64) {
    // SAFETY: takes no pointers; the test's own processes alone are named, and are not reaped before this.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    until_dead(pid);
}

fn until_dead(pid: u64) {
    until(|| {
        // SAFETY: the status is not wanted.
        let reaped = unsafe { libc::waitpid(pid as i32, null_mut(), libc::WNOHANG) };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        reaped == pid as i32 || matches!(state, None | Some('Z' | 'X'))
    });
    // One that has a parent is that one's to reap.
}

/// Runs another program in the place of this process: it says that it runs, by a byte in the pipe, and then waits.
fn exec(pipe: [i32; 2]) -> ! {
    // SAFETY: the strings are terminated, the arrays end with null, the descriptors are open.
    unsafe {
        libc::dup2(LEASH[0].load(SeqCst), 0);
        libc::dup2(pipe[1], 1);
        let script = c"echo; exec cat >/dev/null";
        let arguments = [c"sh".as_ptr(), c"-c".as_ptr(), script.as_ptr(), null()];
        libc::execv(c"/bin/sh".as_ptr(), arguments.as_ptr());
        libc::_exit(127)
    }
}

fn pipe() -> [i32; 2] {
    let mut ends = [-1; 2];
    // SAFETY: there is room for both.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    ends
}

/// Waits until another program runs (see `exec`).
fn until_exec(pipe: [i32; 2]) {
    let mut byte = 0u8;
    // SAFETY: the byte is writable, the descriptors are ours.
    unsafe {
        assert_eq!(libc::read(pipe[0], (&raw mut byte).cast(), 1), 1);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
}

/// A child by the system call alone: no fork handler of the library runs.
fn raw_clone(work: impl FnOnce()) -> u64 {
    // SAFETY: as fork; the child leaves by _exit.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        assert!(pid >= 0);
        if pid == 0 {
            libc::alarm(rounds(HANG.into()) as u32);
            work();
            libc::_exit(0);
        }
        pid as u64
    }
}

const CELL: usize = 10;

fn raise(signal: i32) {
    // SAFETY: takes no pointers.
    unsafe { libc::raise(signal) };
}

/// A holder ends in every way that there is.
fn endings(kind: Kind) -> u32 {
    let ways: [(&str, fn()); 7] = [
        // SAFETY: take no pointers.
        ("_exit", || unsafe { libc::_exit(3) }),
        ("exit", || std::process::exit(4)),
        ("abort", || std::process::abort()),
        // SAFETY: it is not: the process dies of it, on purpose.
        ("a fault", || unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(1) }),
        ("SIGTERM", || raise(libc::SIGTERM)),
        ("SIGUSR1", || raise(libc::SIGUSR1)),
        ("the return of its main function", || {}),
    ];
    let mut looks = 0;
    for (name, end) in ways {
        let scene = Scene::new(kind);
        let holder = scene.holder(|_| {
            scene.board.wait(CELL);
            end();
        });
        scene.expect(&[holder.0 as u64], 0);
        scene.board.set(CELL, 1);
        let status = holder.end();
        assert_eq!(status == 0, name.starts_with("the return"), "{name}: {}", ending(status));
        scene.expect(&[], 0);
        looks += scene.clear();
    }
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| idle());
    scene.expect(&[holder.0 as u64], 0);
    holder.kill();
    scene.expect(&[], 0);
    looks + scene.clear()
}

/// A holder is killed in the midst of calls.
fn killed_during_use(kind: Kind) -> u32 {
    let mut random = Random::new(3);
    let mut looks = 0;
    for _ in 0..rounds(50) {
        let scene = Scene::new(kind);
        let time = 100_000 + random.below(1_000_000);
        let holder = scene.holder(|handle| {
            let mut bytes = [0; 100];
            die_after(time);
            loop {
                copy_in(handle, 0, &bytes);
                copy_out(handle, 50, &mut bytes);
                participants(handle);
                stat(handle);
                if kind != Kind::Memfd {
                    must(is_orphan(&scene.address));
                    let again = must(open(&scene.address, &options(1)));
                    good(shmkit_region_close(again));
                }
            }
        });
        assert_eq!(libc::WTERMSIG(holder.end()), libc::SIGKILL);
        scene.expect(&[], 0);
        looks += scene.clear();
    }
    looks
}

/// A holder becomes another program: nothing of it is attached any more, though the process lives.
fn execs(kind: Kind) -> u32 {
    let scene = Scene::new(kind);
    let pipe = pipe();
    let holder = scene.holder(|_| {
        scene.board.wait(CELL);
        exec(pipe)
    });
    scene.expect(&[holder.0 as u64], 0);
    scene.board.set(CELL, 1);
    until_exec(pipe);
    scene.expect(&[], 0);
    // Whoever comes next is the only one, and is not mistaken for it.
    if kind != Kind::Memfd {
        let next = start(|| {
            must(open(&scene.address, &options(1)));
            scene.board.set(CELL + 1, 1);
            idle();
        });
        scene.board.wait(CELL + 1);
        scene.expect(&[next.0 as u64], 0);
        next.kill();
        scene.expect(&[], 0);
        // A collection may take it, while the other program still runs.
        if kind != Kind::File {
            assert_eq!(gc(SHMKIT_GC_REMOVE), [scene.address.to_str().expect("plain")]);
            good(shmkit_region_close(must(create(&scene.address, &options(1)))));
        }
    }
    holder.kill();
    scene.clear()
}

/// Tells a process that became this test anew which region to open.
const REOPEN: &str = "SHMKIT_TEST_REOPEN";
/// The descriptor by which it says that it did: the test's own words go to the others.
const REOPENED: c_int = 60;

/// A holder becomes another program that opens the region again: it is there once, whatever leases it left behind.
fn execs_and_opens(kind: Kind) -> u32 {
    if kind == Kind::Memfd {
        return 0;
    }
    let scene = Scene::new(kind);
    let pipe = pipe();
    let holder = scene.holder(|_| {
        let again = must(open(&scene.address, &options(1)));
        scene.board.set(CELL + 1, 1);
        scene.board.wait(CELL);
        // SAFETY: the descriptors are open.
        unsafe {
            libc::dup2(LEASH[0].load(SeqCst), 0);
            libc::dup2(pipe[1], REOPENED);
        }
        let test = std::env::current_exe().expect("the test knows its own path");
        let mut command = std::process::Command::new(test);
        command.args(["processes_end_in_every_way", "--exact", "--nocapture", "--test-threads=1"]);
        let error = command.env(REOPEN, scene.address.to_str().expect("plain")).exec();
        panic!("{error}: {again:?} was lost");
    });
    scene.board.wait(CELL + 1);
    scene.expect(&[holder.0 as u64; 2], 0);
    scene.board.set(CELL, 1);
    until_exec(pipe);
    scene.expect(&[holder.0 as u64], 0);
    holder.kill();
    scene.expect(&[], 0);
    scene.clear()
}

/// The other program.
fn reopen(address: &str) -> ! {
    let address = CString::new(address).expect("plain");
    must(open(&address, &options(1)));
    let mut byte = 0u8;
    // SAFETY: the byte is readable and writable.
    unsafe {
        assert_eq!(libc::write(REOPENED, (&raw const byte).cast(), 1), 1);
        while libc::read(0, (&raw mut byte).cast(), 1) < 0 {}
        libc::_exit(0)
    }
}

/// A forked child lives on when its parent is killed, execs or closes; the child closes; a grandchild lives on.
fn forks(kind: Kind) -> u32 {
    let mut looks = 0;
    for way in ["is killed", "execs", "closes"] {
        let scene = Scene::new(kind);
        let pipe = pipe();
        let holder = scene.holder(|handle| {
            start_loose(|| {
                scene.board.set(CELL, pid());
                idle();
            });
            scene.board.wait(CELL + 1);
            match way {
                "execs" => exec(pipe),
                _ => good(shmkit_region_close(handle)),
            }
            scene.board.set(CELL + 2, 1);
            idle()
        });
        let parent = holder.0 as u64;
        let child = scene.board.wait(CELL);
        scene.expect(&[parent, child], 0);
        match way {
            "is killed" => drop(holder.kill()),
            "execs" => {
                scene.board.set(CELL + 1, 1);
                until_exec(pipe);
                scene.expect(&[child], 0);
                holder.kill();
            }
            _ => {
                scene.board.set(CELL + 1, 1);
                scene.board.wait(CELL + 2);
                scene.expect(&[child], 0);
                holder.kill();
            }
        }
        scene.expect(&[child], 0);
        end_loose(child);
        scene.expect(&[], 0);
        looks += scene.clear();
    }

    // The child closes, execs or dies: the parent stays.
    for way in ["closes", "execs", "dies"] {
        let scene = Scene::new(kind);
        let pipe = pipe();
        let holder = scene.holder(|handle| {
            let child = start_loose(|| {
                scene.board.set(CELL + 2, pid());
                scene.board.wait(CELL);
                match way {
                    "closes" => good(shmkit_region_close(handle)),
                    "execs" => exec(pipe),
                    _ => return,
                }
                scene.board.set(CELL + 1, 1);
                idle();
            });
            if way == "dies" {
                until_dead(child as u64);
                scene.board.set(CELL + 1, 1);
            }
            idle()
        });
        let (parent, child) = (holder.0 as u64, scene.board.wait(CELL + 2));
        scene.expect(&[parent, child], 0);
        scene.board.set(CELL, 1);
        match way {
            "execs" => until_exec(pipe),
            _ => assert_eq!(scene.board.wait(CELL + 1), 1),
        }
        scene.expect(&[parent], 0);
        holder.kill();
        scene.expect(&[], 0);
        end_loose(child);
        scene.expect(&[], 0);
        looks += scene.clear();
    }

    // A grandchild, when both before it are gone; a daemon is made so.
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| {
        start_loose(|| {
            scene.board.set(CELL, pid());
            start_loose(|| {
                scene.board.set(CELL + 1, pid());
                idle();
            });
            idle();
        });
        idle();
    });
    let (child, grandchild) = (scene.board.wait(CELL), scene.board.wait(CELL + 1));
    scene.expect(&[holder.0 as u64, child, grandchild], 0);
    end_loose(child);
    scene.expect(&[holder.0 as u64, grandchild], 0);
    holder.kill();
    scene.expect(&[grandchild], 0);
    end_loose(grandchild);
    scene.expect(&[], 0);
    looks + scene.clear()
}

/// A process that is stopped has what it had.
fn stopped(kind: Kind) -> u32 {
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| idle());
    holder.signal(libc::SIGSTOP);
    until(|| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", holder.0)).expect("it lives");
        stat.contains(") T ")
    });
    scene.expect(&[holder.0 as u64], 0);
    assert_eq!(gc(SHMKIT_GC_REMOVE), Vec::<String>::new());
    scene.expect(&[holder.0 as u64], 0);
    // It dies without ever going on.
    holder.kill();
    scene.expect(&[], 0);
    scene.clear()
}

/// A thread opens it and ends: the process has it.
fn thread_ends(kind: Kind) -> u32 {
    let scene = Scene::new(kind);
    let holder = start(|| {
        let address = std::thread::spawn({
            let scene = std::panic::AssertUnwindSafe(&raw const scene as usize);
            // SAFETY: the scene outlives the thread, which is joined at once.
            move || unsafe { (*std::ptr::with_exposed_provenance::<Scene>(*scene)).hold().expose_provenance() }
        });
        assert_ne!(address.join().expect("it does not panic"), 0);
        scene.board.set(CELL, 1);
        idle();
    });
    scene.board.wait(CELL);
    if kind == Kind::Memfd {
        let mut handle = null_mut();
        // SAFETY: the options may be null, and the place is writable.
        good(unsafe { shmkit_region_recv(scene.sockets[0], null(), &mut handle) });
        scene.observer.set(handle);
    }
    scene.expect(&[holder.0 as u64], 0);
    holder.kill();
    scene.expect(&[], 0);
    scene.clear()
}

/// Children that the library never hears of: by the system call alone, by vfork, by posix_spawn.
fn unheard_of(kind: Kind) -> u32 {
    let mut looks = 0;
    // By the system call: it has the memory, and is there when its parent is not, without a name.
    let scene = Scene::new(kind);
    let holder = scene.holder(|handle| {
        // So that the two do not start at the same tick of the clock by which they are told apart.
        pause(30_000);
        raw_clone(|| {
            scene.board.set(CELL, pid());
            scene.board.wait(CELL + 1);
            // Its close is its own affair.
            shmkit_region_close(handle);
            scene.board.set(CELL + 2, 1);
            scene.board.wait(CELL + 3);
            if kind != Kind::Memfd {
                must(open(&scene.address, &options(1)));
            }
            scene.board.set(CELL + 4, 1);
            idle();
        });
        idle();
    });
    let child = scene.board.wait(CELL);
    // With a count of attaches the kernel tells of both; with locks, which they share, they are one.
    scene.expect(&[holder.0 as u64], usize::from(kind == Kind::Sysv));
    scene.board.set(CELL + 1, 1);
    scene.board.wait(CELL + 2);
    scene.expect(&[holder.0 as u64], 0);
    // What it opens itself is its own, under its own name.
    scene.board.set(CELL + 3, 1);
    scene.board.wait(CELL + 4);
    if kind != Kind::Memfd {
        scene.expect(&[holder.0 as u64, child], 0);
    }
    end_loose(child);
    scene.expect(&[holder.0 as u64], 0);
    holder.kill();
    scene.expect(&[], 0);
    looks += scene.clear();

    let scene = Scene::new(kind);
    let holder = scene.holder(|_| {
        raw_clone(|| {
            scene.board.set(CELL, pid());
            idle();
        });
        idle();
    });
    let child = scene.board.wait(CELL);
    holder.kill();
    scene.expect(&[], 1);
    end_loose(child);
    scene.expect(&[], 0);
    looks += scene.clear();

    // By vfork: it shares the memory itself until it execs; its parent may be killed before that.
    for killed in [false, true] {
        let scene = Scene::new(kind);
        let holder = scene.holder(|_| {
            extern "C" fn work(scene: *mut c_void) -> c_int {
                // SAFETY: the scene lives in the parent's memory, which is this process's too.
                let scene = unsafe { &*scene.cast::<Scene>() };
                scene.board.set(CELL, pid());
                scene.board.wait(CELL + 1);
                // SAFETY: the strings are terminated, the array ends with null.
                unsafe {
                    libc::dup2(LEASH[0].load(SeqCst), 0);
                    let arguments = [c"cat".as_ptr(), null()];
                    libc::execv(c"/bin/cat".as_ptr(), arguments.as_ptr());
                    libc::_exit(127)
                }
            }
            let mut stack = vec![0u128; 1 << 14];
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            // SAFETY: the stack is the child's alone; this thread sleeps until the child execs.
            let child = unsafe {
                let top = stack.as_mut_ptr().add(stack.len()).cast();
                libc::clone(work, top, flags, (&raw const scene).cast_mut().cast())
            };
            assert!(child > 0);
            scene.board.set(CELL + 2, 1);
            idle();
        });
        let child = scene.board.wait(CELL);
        scene.expect(&[holder.0 as u64], 0);
        if killed {
            holder.kill();
            // The memory is there as long as the child is, and it has the descriptors.
            scene.expect(&[], 1);
            end_loose(child);
        } else {
            scene.board.set(CELL + 1, 1);
            scene.board.wait(CELL + 2);
            scene.expect(&[holder.0 as u64], 0);
            holder.kill();
            scene.expect(&[], 0);
            end_loose(child);
        }
        scene.expect(&[], 0);
        looks += scene.clear();
    }

    // By posix_spawn: another program from the beginning.
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| {
        let mut child = 0;
        // SAFETY: the strings are terminated, the arrays end with null, the place is writable.
        let spawned = unsafe {
            let arguments = [c"cat".as_ptr().cast_mut(), null_mut()];
            let environment = [null_mut()];
            let mut actions = std::mem::zeroed();
            libc::posix_spawn_file_actions_init(&mut actions);
            libc::posix_spawn_file_actions_adddup2(&mut actions, LEASH[0].load(SeqCst), 0);
            let path = c"/bin/cat".as_ptr();
            libc::posix_spawn(&mut child, path, &actions, null(), arguments.as_ptr(), environment.as_ptr())
        };
        assert_eq!(spawned, 0);
        scene.board.set(CELL, child as u64);
        idle();
    });
    let child = scene.board.wait(CELL);
    scene.expect(&[holder.0 as u64], 0);
    holder.kill();
    scene.expect(&[], 0);
    end_loose(child);
    looks + scene.clear()
}

/// A reader, of whom nothing is recorded, takes a lease that a process had which still lives, and is not taken for it.
fn readers(kind: Kind) -> u32 {
    if kind == Kind::Memfd {
        return 0;
    }
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| idle());
    let other = start(|| {
        let first = must(open(&scene.address, &options(1)));
        must(open(&scene.address, &options(1)));
        good(shmkit_region_close(first));
        scene.board.set(CELL, 1);
        idle();
    });
    scene.board.wait(CELL);
    scene.expect(&[holder.0 as u64, other.0 as u64], 0);
    let reader = start(|| {
        let mut options = options(1);
        options.read_only = 1;
        must(open(&scene.address, &options));
        scene.board.set(CELL + 1, 1);
        idle();
    });
    scene.board.wait(CELL + 1);
    scene.expect(&[holder.0 as u64, other.0 as u64], 1);
    other.kill();
    scene.expect(&[holder.0 as u64], 1);
    holder.kill();
    scene.expect(&[], 1);
    reader.kill();
    scene.expect(&[], 0);
    scene.clear()
}

/// More processes than there is room for records: all are counted, and so many described.
fn crowd(kind: Kind) -> u32 {
    const CHILDREN: usize = 70;
    const DESCRIBED: usize = 60;
    let scene = Scene::new(kind);
    let holder = scene.holder(|_| {
        for index in 0..CHILDREN {
            start_loose(|| {
                scene.board.set(CELL + index, pid());
                idle();
            });
            scene.board.wait(CELL + index);
        }
        scene.board.set(CELL - 1, 1);
        idle();
    });
    scene.board.wait(CELL - 1);
    let children: Vec<u64> = (0..CHILDREN).map(|index| scene.board.get(CELL + index)).collect();
    let (known, unknown) = scene.look();
    assert!(known.contains(&(holder.0 as u64)) && known.iter().skip(1).all(|pid| children.contains(pid)), "{known:?}");
    // The observer has a lease too, which may be one of those with a record.
    let most = DESCRIBED - usize::from(kind == Kind::Memfd);
    assert!((most - 1..=DESCRIBED).contains(&known.len()), "{kind:?}: {} are described", known.len());
    assert_eq!(known.len() + unknown, CHILDREN + 1, "{kind:?}");
    holder.kill();
    let (known, unknown) = scene.look();
    assert_eq!(known.len() + unknown, CHILDREN, "{kind:?}");
    assert!(known.iter().all(|pid| children.contains(pid)), "{kind:?}: {known:?}");
    for child in children {
        end_loose(child);
    }
    scene.expect(&[], 0);
    scene.clear()
}

/// A parent that has seen its descriptors forks and closes, beside collections: the child has the regions open, from the
/// moment of the fork on. So has the parent whose child cannot get leases of its own, and closes.
#[test]
fn forks_of_seen_descriptors_keep_their_leases() {
    const COUNT: usize = 300;
    apart("forks_of_seen_descriptors_keep_their_leases", 64 << 20, || {
        let done: &'static AtomicU32 = shared();
        let collections: &'static AtomicU64 = shared();
        let collector = start(|| {
            while done.load(SeqCst) == 0 {
                gc(SHMKIT_GC_REMOVE);
                collections.fetch_add(1, Relaxed);
            }
        });
        let address = |index: usize| CString::new(format!("posix:/seen{index}")).expect("plain");
        for child_closes in [false, true] {
            for _ in 0..rounds(4) {
                let all: Vec<Handle> = (0..COUNT).map(|index| must(create(&address(index), &options(100)))).collect();
                all.iter().for_each(|handle| assert!(shmkit_region_fd(*handle) >= 0));
                let unlink_all = || all.iter().for_each(|handle| good(shmkit_region_unlink(*handle)));
                let close_all = || all.iter().for_each(|handle| good(shmkit_region_close(*handle)));
                // Not one more descriptor: the child cannot open the objects anew.
                let highest = all.iter().map(|handle| shmkit_region_fd(*handle)).max().expect("there are some");
                let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                // SAFETY: the struct is writable and readable.
                unsafe {
                    assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
                    if child_closes {
                        let few = libc::rlimit { rlim_cur: highest as u64 + 1, ..limit };
                        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &few), 0);
                    }
                }
                let child = start(|| {
                    if child_closes {
                        return close_all();
                    }
                    pause(30_000);
                    unlink_all();
                });
                // SAFETY: as above.
                assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
                if child_closes {
                    child.finish();
                    pause(10_000);
                    unlink_all();
                    close_all();
                } else {
                    close_all();
                    child.finish();
                }
            }
        }
        done.store(1, SeqCst);
        collector.finish();
        let collections = collections.load(SeqCst);
        println!(
            "forks: {} of {COUNT} regions whose descriptors were seen, the parent or the child closed, beside {collections} \
             collections: no name was lost",
            2 * rounds(4)
        );
        assert!(collections > 10);
    });
}

#[test]
fn processes_end_in_every_way() {
    if let Ok(address) = std::env::var(REOPEN) {
        reopen(&address);
    }
    apart("processes_end_in_every_way", 64 << 20, || {
        type Way = (&'static str, fn(Kind) -> u32);
        let ways: [Way; 10] = [
            ("ends by itself or by a signal", endings),
            ("is killed in the midst of calls", killed_during_use),
            ("execs", execs),
            ("execs and opens it again", execs_and_opens),
            ("forks", forks),
            ("is stopped", stopped),
            ("ends a thread", thread_ends),
            ("makes children without fork", unheard_of),
            ("is beside readers", readers),
            ("makes a crowd", crowd),
        ];
        for (name, way) in ways {
            let looks: Vec<u32> = KINDS.into_iter().map(way).collect();
            println!("a holder {name}: participants and orphans right in {looks:?} looks of {KINDS:?}");
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Two pid namespaces with equal pids
// ------------------------------------------------------------------------------------------------------------------

/// One of four processes: pids 1 and 2 of one pid namespace, pids 1 and 2 of another.
struct Post<'a> {
    board: &'a Board,
    /// Where its numbers begin on the board.
    base: usize,
}

/// What it says of itself first.
const NAMESPACE: usize = 0;
const START: usize = 1;
const PID: usize = 2;
const READY: usize = 3;
/// The pid of the first process of a namespace, as the test knows it.
const OUTER_PID: usize = 4;
/// It is told to die; its parent has seen that it did.
const DIE: usize = 5;
const DEAD: usize = 6;
/// It is told to look for the so-manieth time; it has.
const LOOK: usize = 7;
const LOOKED: usize = 8;
/// What it saw: the number of others, then of each four numbers.
const SEEN: usize = 9;

impl Post<'_> {
    fn of(board: &Board, index: usize) -> Post<'_> {
        Post { board, base: 64 * index }
    }

    fn set(&self, cell: usize, value: u64) {
        self.board.set(self.base + cell, value);
    }

    fn get(&self, cell: usize) -> u64 {
        self.board.get(self.base + cell)
    }

    /// Who it is, as others should see it.
    fn who(&self) -> (u64, u64, u64) {
        (self.get(PID), self.get(NAMESPACE), self.get(START))
    }

    /// In the process: opens the region, and looks when it is told to, until it is told to die.
    fn work(&self, address: &CStr, reap: Option<&Post<'_>>) {
        self.set(START, start_time("/proc/self/stat").expect("/proc is there"));
        self.set(
            NAMESPACE,
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/pid").expect("there")),
        );
        // SAFETY: takes no pointers.
        self.set(PID, unsafe { libc::getpid() } as u64);
        let (handle, _) = must(open_or_create(address, &options(SCENE_SIZE)));
        self.set(READY, 1);
        let mut looked = 0;
        loop {
            if self.get(DIE) != 0 {
                // SAFETY: takes no pointers. The first process of a namespace cannot be killed from inside it.
                unsafe {
                    libc::kill(libc::getpid(), libc::SIGKILL);
                    libc::_exit(0);
                }
            }
            if let Some(child) = reap {
                // SAFETY: the status is not wanted.
                if unsafe { libc::waitpid(-1, null_mut(), libc::WNOHANG) } > 0 {
                    child.set(DEAD, 1);
                }
            }
            if self.get(LOOK) > looked {
                looked = self.get(LOOK);
                let all = participants(handle);
                let own = all[0];
                assert_eq!((own.pid.into(), own.namespace, own.start), self.who(), "what is said of oneself");
                assert_eq!(is_orphan(address), Ok(SHMKIT_ANSWER_NO));
                assert_eq!(gc(SHMKIT_GC_REMOVE), Vec::<String>::new());
                self.set(SEEN, all.len() as u64 - 1);
                for (index, peer) in all[1..].iter().enumerate() {
                    let numbers = [peer.pid.into(), peer.namespace, peer.start, peer.live as u64];
                    (0..4).for_each(|which| self.set(SEEN + 1 + 4 * index + which, numbers[which]));
                }
                self.set(LOOKED, looked);
            }
            pause(200);
        }
    }

    /// In the test: makes it look, and gives who it saw.
    fn look(&self) -> Vec<((u64, u64, u64), i32)> {
        self.set(LOOK, self.get(LOOK) + 1);
        until(|| self.get(LOOKED) == self.get(LOOK));
        let cell = |index: u64, which: usize| self.get(SEEN + 1 + 4 * index as usize + which);
        let one = |index| ((cell(index, 0), cell(index, 1), cell(index, 2)), cell(index, 3) as i32);
        let mut seen: Vec<_> = (0..self.get(SEEN)).map(one).collect();
        seen.sort();
        seen
    }
}

/// Starts a pid namespace: a process that only waits, whose child is pid 1, whose child is pid 2.
fn start_namespace(address: &CStr, board: &'static Board, first: usize, own_proc: bool) -> Child {
    let (one, two) = (Post::of(board, first), Post::of(board, first + 1));
    let waits = start(|| {
        let flags = libc::CLONE_NEWPID | if own_proc { libc::CLONE_NEWNS } else { 0 };
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::unshare(flags) }, 0, "{}", std::io::Error::last_os_error());
        let init = start(|| {
            if own_proc {
                let (kind, place) = (c"proc".as_ptr(), c"/proc".as_ptr());
                // SAFETY: the strings are terminated.
                let mounted = unsafe { libc::mount(kind, place, kind, 0, null()) };
                assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
            }
            // Dies with its namespace. Its pid is 2: nothing was forked here before.
            let child = start_loose(|| two.work(address, None));
            assert_eq!(child, 2);
            one.work(address, Some(&two));
        });
        one.set(OUTER_PID, init.0 as u64);
        // The words of its end are its own; how it ends is asked for by the test.
        init.end();
    });
    until(|| one.get(READY) + two.get(READY) == 2);
    assert_eq!((one.get(PID), two.get(PID)), (1, 2));
    assert_eq!(one.get(NAMESPACE), two.get(NAMESPACE));
    waits
}

/// The living posts see each other and nobody else, and the test sees all of them.
fn expect_posts(kind: Kind, address: &CStr, board: &Board, living: &[usize], own_proc: bool) -> usize {
    let handle = must(open(address, &options(1)));
    let mut seen: Vec<_> = participants(handle)[1..]
        .iter()
        .map(|peer| ((u64::from(peer.pid), peer.namespace, peer.start), peer.live))
        .collect();
    seen.sort();
    // Semaphores do not tell of the dead and of execs; only who can look at a process knows that it is attached.
    let live = |looks: bool| if kind == Kind::Posix || looks { SHMKIT_ANSWER_YES } else { SHMKIT_ANSWER_UNKNOWN };
    let mut all: Vec<_> = living.iter().map(|index| (Post::of(board, *index).who(), live(false))).collect();
    all.sort();
    assert_eq!(seen, all, "{kind:?}: seen from outside");
    good(shmkit_region_close(handle));
    for index in living {
        let (post, namespace) = (Post::of(board, *index), index / 2);
        let mut others: Vec<_> = living
            .iter()
            .filter(|other| *other != index)
            .map(|other| (Post::of(board, *other).who(), live(own_proc && other / 2 == namespace)))
            .collect();
        others.sort();
        assert_eq!(post.look(), others, "{kind:?}: seen by {:?}, with its own /proc {own_proc}", post.who());
    }
    assert_eq!(is_orphan(address), Ok(SHMKIT_ANSWER_NO));
    living.len() + 1
}

fn equal_pids(kind: Kind, own_proc: bool) -> usize {
    let address = address(kind, Path::new("/"));
    let board: &'static Board = shared();
    let first = start_namespace(&address, board, 0, own_proc);
    let second = start_namespace(&address, board, 2, own_proc);
    assert_ne!(board.get(NAMESPACE), board.get(128 + NAMESPACE), "two namespaces");
    let expect = |living: &[usize]| expect_posts(kind, &address, board, living, own_proc);
    let mut looks = expect(&[0, 1, 2, 3]);
    // One of the two whose pid is 2.
    Post::of(board, 1).set(DIE, 1);
    until(|| Post::of(board, 1).get(DEAD) == 1);
    looks += expect(&[0, 2, 3]);
    // A whole namespace.
    // SAFETY: takes no pointers; the process is the first of the namespace that was just made.
    unsafe { libc::kill(Post::of(board, 2).get(OUTER_PID) as i32, libc::SIGKILL) };
    second.finish();
    looks += expect(&[0]);
    Post::of(board, 0).set(DIE, 1);
    first.finish();
    assert_eq!(is_orphan(&address), Ok(SHMKIT_ANSWER_YES));
    assert_eq!(gc(SHMKIT_GC_REMOVE), [address.to_str().expect("plain")]);
    looks
}

#[test]
fn two_pid_namespaces_have_equal_pids() {
    apart("two_pid_namespaces_have_equal_pids", 64 << 20, || {
        for kind in [Kind::Posix, Kind::Sysv] {
            for own_proc in [true, false] {
                let looks = equal_pids(kind, own_proc);
                println!(
                    "pid namespaces, {kind:?}, /proc {}: four processes with pids 1, 2, 1, 2: right in {looks} looks",
                    if own_proc { "of their own" } else { "of the outer one" }
                );
            }
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Growth
// ------------------------------------------------------------------------------------------------------------------

struct Growth {
    grown: AtomicU64,
    looks: AtomicU64,
    done: AtomicU32,
}

/// Processes grow a region together in small steps while others touch its last byte. Without a guard: a signal kills.
fn grow_together(kind: Kind) {
    const GROWERS: u32 = 4;
    const MOST: u64 = 24 << 20;
    let scene = Scene::new(kind);
    let growth: &'static Growth = shared();
    let start_time = Instant::now();
    let mut options = options(1);
    options.max_size = MOST;
    // The observer of a memfd is what the others are forked with; names are opened by each.
    let first = must(create(&scene.address, &options));
    let mine = |first: Handle| match kind {
        Kind::Memfd => first,
        _ => must(open(&scene.address, &self::options(1))),
    };
    let steps = rounds(1500);
    let growers = (0..GROWERS).map(|member| {
        start(|| {
            let handle = mine(first);
            let mut random = Random::new(u64::from(member) + 50);
            for _ in 0..steps {
                let size = shmkit_region_size(handle) as u64;
                let target = (size + 1 + random.below(6000)).min(MOST);
                good(shmkit_region_grow(handle, target));
                assert!(touch_last(handle, size) >= target, "it grew and is smaller than that");
                growth.grown.fetch_add(1, Relaxed);
            }
            growth.done.fetch_add(1, SeqCst);
        })
    });
    let readers = (0..2).map(|_| {
        start(|| {
            let handle = mine(first);
            let mut size = 0;
            while growth.done.load(SeqCst) < GROWERS {
                size = touch_last(handle, size);
                growth.looks.fetch_add(1, Relaxed);
            }
        })
    });
    // Every call that looks whether the object is as long as it says.
    let lookers = (0..2).map(|_| {
        start(|| {
            let handle = mine(first);
            let (mut data, mut size) = (null_mut(), 0);
            let mut byte = [0];
            while growth.done.load(SeqCst) < GROWERS {
                stat(handle);
                if kind == Kind::Memfd {
                    // SAFETY: both places are writable.
                    good(unsafe { shmkit_region_access_begin(handle, &mut data, &mut size) });
                }
                good(shmkit_region_access_end(handle));
                assert_eq!(copy_out(handle, MOST as usize - 1, &mut byte), Status::ErrPastEnd, "{}", message());
                assert_eq!(copy_out(handle, 0, &mut byte), Status::Ok, "{}", message());
            }
        })
    });
    finish_all(growers.chain(readers).chain(lookers).collect());
    let (size, generation) = (shmkit_region_size(first), stat(first).generation);
    println!(
        "growth {kind:?}: {} growths by {GROWERS} processes to {size} bytes in {:.1} s ({generation} changed the size), the \
         last byte touched {} times by others; never smaller, no signal",
        growth.grown.load(SeqCst),
        start_time.elapsed().as_secs_f64(),
        growth.looks.load(SeqCst),
    );
    assert!(growth.looks.load(SeqCst) > 0 && generation > steps && size > 1 << 20);
    touch_pages(first);
    if kind != Kind::Memfd {
        good(shmkit_region_unlink(first));
    }
    good(shmkit_region_close(first));
}

/// Touches the last byte that the region says it has; it has no fewer than before. Gives its size.
fn touch_last(handle: Handle, before: u64) -> u64 {
    let size = shmkit_region_size(handle);
    assert!(size as u64 >= before, "from {before} to {size} bytes");
    // SAFETY: the region has so many bytes.
    unsafe {
        let at = shmkit_region_data(handle).cast::<u8>().add(size - 1);
        at.write_volatile(at.read_volatile().wrapping_add(1));
    }
    size as u64
}

/// Growers are killed at any moment: what is left is a region of the size that it says, and grows on.
fn growers_die(kind: Kind, kills: u64) {
    let scene = Scene::new(kind);
    let mut options = options(1);
    options.max_size = 1 << 30;
    let first = must(create(&scene.address, &options));
    let mut random = Random::new(8);
    let (mut size, mut longer, mut moved) = (1, 0, 0);
    for _ in 0..kills {
        let time = random.below(400_000);
        let grower = start(|| {
            let handle = match kind {
                Kind::Memfd => first,
                _ => must(open(&scene.address, &self::options(1))),
            };
            let mut random = Random::new(pid());
            die_after(time);
            loop {
                let now = shmkit_region_size(handle) as u64;
                good(shmkit_region_grow(handle, now + 1 + random.below(20_000)));
            }
        });
        assert_eq!(libc::WTERMSIG(grower.end()), libc::SIGKILL);
        let before = size;
        size = touch_last(first, before);
        moved += u64::from(size > before);
        // One that died on the way leaves the object longer than its size says; the next growth uses that.
        let stat = stat(first);
        longer += u64::from(stat.object_size > pages(size) + PAGE as u64);
        let target = size + 1 + random.below(30_000);
        good(shmkit_region_grow(first, target));
        size = touch_last(first, size);
        assert_eq!(size, target);
    }
    touch_pages(first);
    println!(
        "growth {kind:?}: {kills} growers killed, {moved} of them after they grew it, {longer} on the way: {size} bytes in the \
         end, all of them good"
    );
    assert!(moved > 0 && longer > 0);
    if kind != Kind::Memfd {
        good(shmkit_region_unlink(first));
    }
    good(shmkit_region_close(first));
}

#[test]
fn processes_grow_a_region_together() {
    apart("processes_grow_a_region_together", 1 << 30, || {
        for kind in [Kind::Posix, Kind::File, Kind::Memfd] {
            grow_together(kind);
        }
        for kind in [Kind::Posix, Kind::File, Kind::Memfd] {
            growers_die(kind, rounds(110));
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// What dead creators leave
// ------------------------------------------------------------------------------------------------------------------

/// What must survive every collection: live, persistent and raw regions, and what other software made.
struct Bystanders {
    all: Vec<String>,
    live: Child,
    foreign: [i32; 2],
}

const BYSTANDER_KEY: i32 = 0x6279_0001;

impl Bystanders {
    fn new() -> Bystanders {
        let board: &'static Board = shared();
        let live = start(|| {
            must(create(c"posix:/live", &options(10)));
            must(create(c"sysv:0x62790010", &options(10)));
            board.set(0, 1);
            idle();
        });
        board.wait(0);
        for (posix, sysv, raw, persistent) in
            [(c"posix:/persistent", c"sysv:0x62790011", 0, 1), (c"posix:/raw", c"sysv:0x62790012", 1, 0)]
        {
            for address in [posix, sysv] {
                let mut options = options(10);
                (options.raw, options.persistent) = (raw, persistent);
                good(shmkit_region_close(must(create(address, &options))));
            }
        }
        std::fs::write("/dev/shm/foreign", "somebody else's").expect("the file system is ours");
        // SAFETY: take no pointers.
        let foreign = unsafe {
            [
                libc::shmget(BYSTANDER_KEY, PAGE, libc::IPC_CREAT | 0o600),
                libc::semget(BYSTANDER_KEY, 64, libc::IPC_CREAT | 0o600),
            ]
        };
        assert!(foreign.iter().all(|id| *id >= 0));
        Bystanders { all: everything(), live, foreign }
    }

    fn remove(self) {
        assert_eq!(everything(), self.all);
        self.live.kill();
        // SAFETY: no further arguments are read.
        unsafe {
            assert_eq!(libc::semctl(self.foreign[1], 0, libc::IPC_RMID), 0);
            for key in [BYSTANDER_KEY, 0x6279_0012] {
                assert_eq!(libc::shmctl(libc::shmget(key, 0, 0), libc::IPC_RMID, null_mut()), 0);
            }
        }
        for name in ["foreign", "raw"] {
            std::fs::remove_file(Path::new(SHM).join(name)).expect("it is there");
        }
        for address in [c"posix:/persistent", c"sysv:0x62790011"] {
            assert_eq!(is_orphan(address), Ok(SHMKIT_ANSWER_YES));
            assert_eq!(unlink(address), Status::Ok);
        }
        // What was live is an orphan now.
        assert_eq!(gc(SHMKIT_GC_REMOVE), ["posix:/live", "sysv:0x62790010"]);
    }
}

/// How a process that is to die creates regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Plain,
    /// With a callback, in which it spends most of its time.
    Init,
    /// And what else one does with a region, again and again.
    Busy,
    /// It collects what others left.
    Collects,
}

/// What a process that is to die asks for.
fn life_options(kind: Kind, life: Life, init: &Init) -> RegionOptions {
    let mut options = options(4 * PAGE);
    options.max_size = if kind == Kind::Sysv { 0 } else { 1 << 20 };
    if matches!(life, Life::Init | Life::Busy) {
        init.give(&mut options);
    }
    options
}

/// Lives once: what is to be interrupted.
fn live(kind: Kind, life: Life) {
    let address = address(kind, Path::new("/"));
    let init = Init { calls: shared(), seed: 3 };
    let options = life_options(kind, life, &init);
    if life == Life::Collects {
        gc(SHMKIT_GC_REMOVE);
        return;
    }
    let (handle, _) = must(open_or_create(&address, &options));
    check_filled(handle, 4 * PAGE, options.init.map(|_| 3));
    if life == Life::Busy {
        let again = must(open(&address, &self::options(1)));
        if kind != Kind::Sysv {
            good(shmkit_region_grow(handle, 5 * PAGE as u64));
        }
        close(again);
        good(shmkit_region_unlink(handle));
        close(handle);
    }
}

/// What there is beside the bystanders.
fn beside(bystanders: &Bystanders) -> Vec<String> {
    everything().into_iter().filter(|one| !bystanders.all.contains(one)).collect()
}

fn creators_die(kind: Kind, life: Life, lack: Lack, kills: u64, bystanders: &Bystanders) {
    let address = address(kind, Path::new("/"));
    let something = || {
        start(|| {
            must(create(&address, &options(1)));
        })
        .finish();
    };
    // How long a life takes, in a process that is as new as those that die: the middle one of several.
    let board: &'static Board = shared();
    let mut times: Vec<u64> = (0..15)
        .map(|_| {
            if life == Life::Collects {
                something();
            }
            start(|| {
                lack.impose();
                let start = Instant::now();
                live(kind, life);
                board.set(CELL, start.elapsed().as_nanos() as u64);
            })
            .finish();
            gc(SHMKIT_GC_REMOVE);
            board.get(CELL)
        })
        .collect();
    times.sort();
    let most = times[7] * 4 / 3;
    let mut random = Random::new(kills + life as u64);
    let (mut nothing, mut half, mut whole) = (0, 0, 0);
    for _ in 0..kills {
        if life == Life::Collects {
            something();
        }
        let time = random.below(most);
        let child = start(|| {
            lack.impose();
            die_after(time);
            live(kind, life);
            idle();
        });
        assert_eq!(libc::WTERMSIG(child.end()), libc::SIGKILL);
        let left = beside(bystanders);
        // The dry run names all of it, and takes nothing. A segment and its semaphores have one name.
        let named = gc(SHMKIT_GC_DRY_RUN);
        assert_eq!(beside(bystanders), left, "a dry run took or made something");
        let count = |kind: &str| left.iter().filter(|one| one.starts_with(kind)).count();
        assert_eq!(named.len(), count("object ") + count("shm ").max(count("sem ")), "{named:?} of {left:?}");
        let complete = match kind {
            Kind::Sysv => open(&address, &options(1)).map(close).is_ok(),
            _ => left.iter().any(|one| one == "object peers"),
        };
        match (left.is_empty(), complete) {
            (true, _) => nothing += 1,
            (false, false) => half += 1,
            (false, true) => whole += 1,
        }
        // In every other round the next creator takes over from what is left; a collection takes the rest.
        if random.below(2) == 0 {
            let init = Init { calls: shared(), seed: 3 };
            let options = life_options(kind, Life::Init, &init);
            start(|| {
                lack.impose();
                let wished = if complete { self::options(1) } else { options };
                let (handle, created) = must(open_or_create(&address, &wished));
                assert_eq!(created, !complete, "{left:?}");
                if created {
                    check_filled(handle, 4 * PAGE, Some(3));
                }
            })
            .finish();
            assert_eq!(init.calls.load(SeqCst), u32::from(!complete));
        }
        gc(SHMKIT_GC_REMOVE);
        assert_eq!(everything(), bystanders.all, "left behind after {left:?}");
    }
    println!(
        "gc {kind:?}, {life:?}, lacking {lack:?}: {kills} killed within {} us: {nothing} left nothing, {half} something half \
         made, {whole} a region; all of it named and taken, bystanders untouched",
        most / 1000,
    );
    // The kills came while there was something to interrupt.
    assert!(half > 0 || life == Life::Collects || (kind, life) == (Kind::Posix, Life::Plain));
    assert!(whole + nothing > 0);
}

fn close(handle: Handle) {
    good(shmkit_region_close(handle));
}

/// Processes create, use and remove one segment, and are killed at any moment: nobody is told that it is something else.
#[test]
fn segments_come_and_go_beside_deaths() {
    unsafe extern "C" fn fill(data: *mut c_void, size: usize, _: *mut c_void) -> c_int {
        // SAFETY: the library gives so many bytes.
        unsafe { data.cast::<u8>().write_bytes(0x5a, size) };
        0
    }
    apart("segments_come_and_go_beside_deaths", 64 << 20, || {
        let address = c"sysv:0x7e5350";
        let opened: &'static AtomicU64 = shared();
        let user = || {
            let mut wanted = options(8192);
            wanted.init = Some(fill);
            let mut bytes = [0u8; 8192];
            for turn in 0.. {
                let (handle, _) = must(open_or_create(address, &wanted));
                assert_eq!(copy_out(handle, 0, &mut bytes), Status::Ok, "{}", message());
                assert!(bytes.iter().all(|byte| *byte == 0x5a), "half made");
                opened.fetch_add(1, Relaxed);
                match turn % 4 {
                    0 => drop(named(shmkit_region_unlink(handle))),
                    1 => drop(unlink(address)),
                    _ => {}
                }
                good(shmkit_region_close(handle));
            }
        };
        let mut random = Random::new(3);
        let mut users: Vec<Child> = (0..5).map(|_| start(user)).collect();
        let kills = rounds(3000);
        for _ in 0..kills {
            pause(random.below(1500) as u32);
            let index = random.below(5) as usize;
            let killed = std::mem::replace(&mut users[index], start(user));
            let status = killed.kill();
            assert_eq!(status, libc::SIGKILL, "it had ended before: {}", ending(status));
        }
        // Where others have the processors, many were killed before they had done anything: the last ones have time.
        until(|| opened.load(SeqCst) > kills);
        users.into_iter().for_each(|user| assert_eq!(user.kill(), libc::SIGKILL));
        gc(SHMKIT_GC_REMOVE);
        let opened = opened.load(SeqCst);
        println!(
            "segments: opened or created {opened} times beside {kills} deaths and as many removals as there were time for"
        );
        assert!(opened > kills);
    });
}

#[test]
fn collections_take_what_dead_creators_left() {
    apart("collections_take_what_dead_creators_left", 64 << 20, || {
        let bystanders = Bystanders::new();
        for kind in [Kind::Posix, Kind::Sysv] {
            creators_die(kind, Life::Plain, Lack::Nothing, rounds(120), &bystanders);
            creators_die(kind, Life::Init, Lack::Nothing, rounds(120), &bystanders);
            creators_die(kind, Life::Busy, Lack::Nothing, rounds(120), &bystanders);
            creators_die(kind, Life::Collects, Lack::Nothing, rounds(60), &bystanders);
        }
        creators_die(Kind::Posix, Life::Init, Lack::Renames, rounds(60), &bystanders);
        creators_die(Kind::Posix, Life::Busy, Lack::Renames, rounds(60), &bystanders);
        bystanders.remove();
    });
}
