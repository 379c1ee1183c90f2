//! What the tests of regions share: a room of their own, addresses, and every call of the interface as a function that
//! checks what each call owes: errno untouched by a success, words without gaps after a failure.
#![allow(dead_code, reason = "each module uses a part")]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use shmkit::capi::error;
pub use shmkit::capi::options::*;
pub use shmkit::capi::region::*;
pub use shmkit::capi::survey::*;
pub use shmkit::error::Status;

pub(crate) use crate::support::{self, errno, in_good_child, set_errno, set_limit, unique};

pub const PAGE: usize = 4096;
pub const MIB: usize = 1 << 20;

/// Bytes of the /dev/shm of a room.
const ROOM: u64 = 256 << 20;

/// Where a region keeps its semaphores: see what is left, and what another software may have there.
const OTHER_KEY: i32 = 0x5348_4d4b;

/// Runs a test in a process of its own, with an empty /dev/shm and no System V objects; it must leave both so, and no
/// descriptor and no mapping in its own process.
pub fn in_a_room(module: &str, test: &str, body: impl FnOnce()) {
    let name = module.split_once("::").map_or(test.to_string(), |(_, module)| format!("{module}::{test}"));
    support::alone(&name, &[], || {
        support::own_namespaces(ROOM);
        // A mistake with sizes ends this process, and no other one of the machine.
        std::fs::write("/proc/self/oom_score_adj", "1000").expect("a process may be made the first to go");
        let before = Traces::look();
        body();
        let after = Traces::look();
        assert_eq!(after, before, "{name} left something behind");
    });
}

/// As `in_a_room`, with the module's own name.
#[macro_export]
macro_rules! in_a_room {
    ($test:literal, $body:expr) => {
        $crate::room::in_a_room(module_path!(), $test, $body)
    };
}

/// What a test can leave behind.
#[derive(PartialEq, Eq, Debug)]
pub struct Traces {
    pub objects: BTreeSet<String>,
    pub segments: BTreeSet<i32>,
    pub semaphores: BTreeSet<i32>,
    pub descriptors: BTreeSet<String>,
    pub mappings: Vec<String>,
}

impl Traces {
    pub fn look() -> Traces {
        let names = |folder: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(folder).expect("it is mounted");
            entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned()).collect()
        };
        // The descriptor of the listing itself is not there any more when its link is read.
        let descriptors = names("/proc/self/fd")
            .into_iter()
            .filter_map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).ok().map(|to| (fd, to)))
            .filter(|(_, to)| !to.starts_with("/proc"))
            .map(|(fd, to)| format!("{fd} {}", to.display()))
            .collect();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is there");
        Traces {
            objects: names("/dev/shm"),
            segments: support::segments().into_iter().collect(),
            semaphores: sets().into_iter().collect(),
            descriptors,
            mappings: maps
                .lines()
                .filter(|line| line.split_whitespace().nth(1).is_some_and(|kind| kind.ends_with('s')))
                .map(str::to_string)
                .collect(),
        }
    }
}

/// How many semaphores a region has beside its segment.
pub fn semaphores_of_a_region() -> i32 {
    let place = Sysv.fresh();
    let region = create(&place.address, &options(1)).expect("there is room");
    let table = std::fs::read_to_string("/proc/sysvipc/sem").expect("System V semaphores are there");
    let id = place.set().expect("a region has them").to_string();
    let line = table.lines().find(|line| line.split_whitespace().nth(1) == Some(&id)).expect("it is listed");
    let count = line.split_whitespace().nth(3).and_then(|count| count.parse().ok()).expect("the fourth is the number");
    region.unlink().expect("the name is its own");
    region.closed();
    count
}

/// Huge pages are the whole machine's: who reserves some and who counts on there being none take turns.
pub fn huge_pages_alone() -> std::fs::File {
    let file = std::fs::File::open("/proc/sys/vm/nr_hugepages").expect("the kernel has such a setting");
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }, 0);
    file
}

/// The semaphore sets of this IPC namespace, by id.
pub fn sets() -> Vec<i32> {
    let table = std::fs::read_to_string("/proc/sysvipc/sem").expect("System V semaphores are there");
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

/// Kinds of memory, in the order of the columns of every table here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Posix,
    Sysv,
    File,
    Memfd,
    Anon,
}

use Kind::{Anon, File, Memfd, Posix, Sysv};

impl Kind {
    pub const ALL: [Kind; 5] = [Posix, Sysv, File, Memfd, Anon];
    /// Those with a name that others can open.
    pub const NAMED: [Kind; 3] = [Posix, Sysv, File];
    /// Those with a descriptor.
    pub const WITH_FD: [Kind; 4] = [Posix, File, Memfd, Anon];

    pub fn is_named(self) -> bool {
        Kind::NAMED.contains(&self)
    }

    /// A peer may truncate it.
    pub fn is_fragile(self) -> bool {
        matches!(self, Posix | File)
    }

    pub fn number(self) -> u32 {
        match self {
            Posix => SHMKIT_BACKEND_POSIX,
            Sysv => SHMKIT_BACKEND_SYSV,
            File => SHMKIT_BACKEND_FILE,
            Memfd => SHMKIT_BACKEND_MEMFD,
            Anon => SHMKIT_BACKEND_ANONYMOUS,
        }
    }

    /// An address that nothing has yet.
    pub fn fresh(self) -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("shmkit-regions-{}", unique());
        let (address, folder) = match self {
            Posix => (format!("posix:/{name}"), None),
            Sysv => (format!("sysv:{:#x}", 0x5e00_0000 | number), None),
            File => {
                let folder = tempfile::Builder::new().prefix("shmkit-regions-").tempdir().expect("/tmp is writable");
                (format!("file:{}/{name}", folder.path().display()), Some(folder))
            }
            Memfd => (format!("memfd:{name}"), None),
            Anon => ("anon:".to_string(), None),
        };
        Place { kind: self, address, folder }
    }
}

/// An address; what has it is removed in the end.
pub struct Place {
    pub kind: Kind,
    pub address: String,
    folder: Option<tempfile::TempDir>,
}

impl Place {
    /// The path of an object with a path.
    pub fn path(&self) -> PathBuf {
        match self.address.split_once(':') {
            Some(("posix", name)) => PathBuf::from(format!("/dev/shm{name}")),
            Some(("file", path)) => PathBuf::from(path),
            _ => panic!("{} has no path", self.address),
        }
    }

    /// The folder in which the path stands.
    pub fn folder(&self) -> PathBuf {
        self.path().parent().expect("it is in a folder").to_path_buf()
    }

    pub fn key(&self) -> i32 {
        let digits = self.address.strip_prefix("sysv:0x").expect("it has a key");
        u32::from_str_radix(digits, 16).expect("it was written so") as i32
    }

    /// The segment of the key, if there is one.
    pub fn segment(&self) -> Option<i32> {
        // SAFETY: takes no pointers.
        Some(unsafe { libc::shmget(self.key(), 0, 0) }).filter(|id| *id >= 0)
    }

    /// The key of the semaphores beside the segment.
    pub fn other_key(&self) -> i32 {
        self.key() ^ OTHER_KEY
    }

    /// The semaphores beside the segment, if there are any.
    pub fn set(&self) -> Option<i32> {
        // SAFETY: takes no pointers.
        Some(unsafe { libc::semget(self.other_key(), 0, 0) }).filter(|id| *id >= 0)
    }

    /// Whether something has the name.
    pub fn is_taken(&self) -> bool {
        match self.kind {
            Posix | File => self.path().symlink_metadata().is_ok(),
            Sysv => self.segment().is_some(),
            Memfd | Anon => false,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.kind {
            Posix | File => drop(std::fs::remove_file(self.path())),
            Sysv => {
                // SAFETY: the commands take no buffer.
                unsafe {
                    if let Some(id) = self.segment() {
                        libc::shmctl(id, libc::IPC_RMID, null_mut());
                    }
                    if let Some(set) = self.set() {
                        libc::semctl(set, 0, libc::IPC_RMID);
                    }
                }
            }
            Memfd | Anon => {}
        }
    }
}

/// A failure, as a program sees it.
#[derive(Clone)]
pub struct Refusal {
    pub status: Status,
    pub errno: i32,
    pub call: String,
    pub cause: String,
    pub remedy: String,
}

impl fmt::Debug for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { status, errno, call, cause, remedy } = self;
        write!(out, "{status:?} ({}) {call}: {cause}; {remedy}", shmkit::error::errno_name(*errno))
    }
}

pub type Outcome<T> = Result<T, Refusal>;

fn text(from: *const c_char) -> String {
    assert!(!from.is_null());
    // SAFETY: the strings of an error are terminated.
    unsafe { CStr::from_ptr(from) }.to_str().expect("words are ASCII").to_string()
}

impl Refusal {
    /// This thread's last failure, which every failure owes to its caller: what failed, why, and what to do.
    #[track_caller]
    pub fn read(function: &str, number: i32, errno: i32) -> Refusal {
        let error = error::shmkit_last_error();
        assert!(!error.is_null(), "{function} failed with {number} and left no words");
        // SAFETY: not null, and valid until the next call.
        let error = unsafe { *error };
        let status = Status::from_number(number).expect("a status of the table");
        let refusal =
            Refusal { status, errno, call: text(error.call), cause: text(error.cause), remedy: text(error.remedy) };
        assert_eq!(error.code, number, "{refusal:?}");
        assert_eq!(error.errno_value, errno, "{refusal:?}");
        assert!(number < 0 && errno > 0, "{refusal:?}");
        assert!(refusal.call.starts_with(&format!("{function}(")), "{function} speaks of another call: {refusal:?}");
        for words in [&refusal.cause, &refusal.remedy] {
            assert!(!words.is_empty(), "no words: {refusal:?}");
            // An address may have braces of its own.
            assert!(refusal.call.contains('{') || !words.contains(['{', '}']), "a gap in the words: {refusal:?}");
            assert!(words.trim() == words && !words.contains("  "), "a figure is missing: {refusal:?}");
            assert!(!words.contains("(none)") && !words.ends_with(','), "words end before their sentence: {refusal:?}");
        }
        let line = text(error::shmkit_last_error_message());
        assert!(line.contains(&refusal.cause) && line.contains(&refusal.remedy), "{line}");
        refusal
    }

    /// Says that the words name this.
    #[track_caller]
    pub fn names(self, figure: &str) -> Refusal {
        assert!(self.cause.contains(figure), "the cause does not name {figure:?}: {self:?}");
        self
    }
}

/// Makes a call that returns a status, and checks what every call owes.
#[track_caller]
pub fn called(function: &str, call: impl FnOnce() -> i32) -> Outcome<()> {
    const UNTOUCHED: i32 = 4095;
    error::shmkit_clear_error();
    set_errno(UNTOUCHED);
    let status = call();
    let errno = errno();
    if status != 0 {
        return Err(Refusal::read(function, status, errno));
    }
    assert_eq!(errno, UNTOUCHED, "{function}: a success changed errno");
    Ok(())
}

/// The call failed with this status.
#[track_caller]
pub fn refused<T>(outcome: Outcome<T>, status: Status) -> Refusal {
    match outcome {
        Err(refusal) if refusal.status == status => refusal,
        Err(other) => panic!("{status:?} was expected: {other:?}"),
        Ok(_) => panic!("{status:?} was expected, and the call succeeded"),
    }
}

/// The status of a call, for tables.
pub fn status_of<T>(outcome: &Outcome<T>) -> Status {
    outcome.as_ref().map_or_else(|refusal| refusal.status, |_| Status::Ok)
}

/// As SHMKIT_REGION_OPTIONS_INIT, with a size.
pub fn options(size: usize) -> RegionOptions {
    RegionOptions {
        struct_size: size_of::<RegionOptions>(),
        size: size as u64,
        max_size: 0,
        layout: RegionLayout { name: null(), size: 0, version: 0, alignment: 0 },
        timeout_ns: 0,
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

/// Options of a raw region.
pub fn raw(size: usize) -> RegionOptions {
    RegionOptions { raw: 1, ..options(size) }
}

pub fn layout(name: &'static CStr, size: u64, version: u32, alignment: u32) -> RegionLayout {
    RegionLayout { name: name.as_ptr(), size, version, alignment }
}

pub fn c(text: &str) -> CString {
    CString::new(text).expect("no NUL inside")
}

/// What a handle was before the call, to see that a failure leaves it alone.
pub const NO_REGION: *mut shmkit_region_t = 0x5a5a_0000 as *mut shmkit_region_t;

fn made(function: &str, call: impl FnOnce(*mut *mut shmkit_region_t) -> i32) -> Outcome<Region> {
    let mut handle = NO_REGION;
    let done = called(function, || call(&mut handle));
    match done {
        Ok(()) => {
            assert!(!handle.is_null() && handle != NO_REGION, "{function}: a success gave no handle");
            Ok(Region(handle))
        }
        Err(refusal) => {
            assert_eq!(handle, NO_REGION, "a failure wrote its output: {refusal:?}");
            Err(refusal)
        }
    }
}

pub fn create(address: &str, options: &RegionOptions) -> Outcome<Region> {
    let address = c(address);
    // SAFETY: the strings and structs are good.
    made("shmkit_region_create", |out| unsafe { shmkit_region_create(address.as_ptr(), options, out) })
}

pub fn open(address: &str, options: &RegionOptions) -> Outcome<Region> {
    let address = c(address);
    // SAFETY: the strings and structs are good.
    made("shmkit_region_open", |out| unsafe { shmkit_region_open(address.as_ptr(), options, out) })
}

pub fn open_or_create(address: &str, options: &RegionOptions) -> Outcome<(Region, bool)> {
    let address = c(address);
    let mut created = false;
    // SAFETY: the strings and structs are good.
    let region = made("shmkit_region_open_or_create", |out| unsafe {
        shmkit_region_open_or_create(address.as_ptr(), options, out, &mut created)
    })?;
    Ok((region, created))
}

pub fn recv(socket: i32, options: &RegionOptions) -> Outcome<Region> {
    // SAFETY: the structs are good.
    made("shmkit_region_recv", |out| unsafe { shmkit_region_recv(socket, options, out) })
}

pub fn unlink(address: &str) -> Outcome<()> {
    let address = c(address);
    // SAFETY: the string is good.
    called("shmkit_unlink", || unsafe { shmkit_unlink(address.as_ptr()) })
}

pub fn is_orphan(address: &str) -> Outcome<i32> {
    const UNTOUCHED: i32 = 77;
    let address = c(address);
    let mut answer = UNTOUCHED;
    // SAFETY: the string and the place are good.
    let done = called("shmkit_region_is_orphan", || unsafe { shmkit_region_is_orphan(address.as_ptr(), &mut answer) });
    assert_eq!(done.is_err(), answer == UNTOUCHED, "{done:?} {answer}");
    done.map(|()| answer)
}

impl fmt::Debug for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListedObject { backend, content, users, orphan, pid, .. } = self.object;
        write!(
            out,
            "{} (backend {backend}, content {content}, {users} users, orphan {orphan}, pid {pid})",
            self.address
        )
    }
}

/// One object as a callback was shown it.
#[derive(Clone)]
pub struct Shown {
    pub address: String,
    pub layout: String,
    pub object: ListedObject,
}

/// # Safety
/// As the library calls it: with an object, and the vector that was given to it.
unsafe extern "C" fn show(object: *const ListedObject, user: *mut c_void) -> c_int {
    // SAFETY: the library's promise, and this file's.
    unsafe {
        let object = *object;
        assert_eq!(object.struct_size, size_of::<ListedObject>());
        let address = CStr::from_ptr(object.address).to_string_lossy().into_owned();
        let layout = CStr::from_ptr(object.layout_name.as_ptr()).to_string_lossy().into_owned();
        (*user.cast::<Vec<Shown>>()).push(Shown { address, layout, object });
    }
    0
}

pub fn list(what: u32) -> Outcome<Vec<Shown>> {
    let mut all = Vec::<Shown>::new();
    // SAFETY: the callback gets the vector that it expects.
    called("shmkit_list", || unsafe { shmkit_list(what, Some(show), (&raw mut all).cast()) })?;
    Ok(all)
}

/// The one object of this address.
#[track_caller]
pub fn listed(what: u32, address: &str) -> Option<Shown> {
    let all = list(what).expect("a list can be had");
    let mut same: Vec<Shown> = all.into_iter().filter(|shown| shown.address == address).collect();
    assert!(same.len() <= 1, "{address} is listed twice: {same:?}");
    same.pop()
}

/// What was found; the number that the call gives must be the same.
pub fn gc(mode: i32) -> Outcome<Vec<Shown>> {
    let (mut all, mut count) = (Vec::<Shown>::new(), usize::MAX);
    // SAFETY: the callback gets the vector that it expects.
    called("shmkit_gc", || unsafe { shmkit_gc(mode, Some(show), (&raw mut all).cast(), &mut count) })?;
    assert_eq!(count, all.len(), "the count and the callback differ");
    Ok(all)
}

/// The addresses of what `gc` finds.
pub fn left_over() -> BTreeSet<String> {
    gc(SHMKIT_GC_DRY_RUN).expect("gc can look").into_iter().map(|shown| shown.address).collect()
}

/// # Safety
/// As the library calls it: with a participant, and the vector that was given to it.
unsafe extern "C" fn meet(participant: *const RegionParticipant, user: *mut c_void) -> c_int {
    // SAFETY: the library's promise, and this file's.
    unsafe {
        assert_eq!((*participant).struct_size, size_of::<RegionParticipant>());
        (*user.cast::<Vec<RegionParticipant>>()).push(*participant);
    }
    0
}

/// An open region. Closed by `close` alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region(pub *mut shmkit_region_t);

// SAFETY: a handle is a number, which any thread may use.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    #[track_caller]
    pub fn data(self) -> *mut u8 {
        let data = shmkit_region_data(self.0);
        assert!(!data.is_null() && data.addr().is_multiple_of(PAGE), "{data:?}");
        data.cast()
    }

    pub fn size(self) -> usize {
        shmkit_region_size(self.0)
    }

    pub fn grow(self, size: usize) -> Outcome<()> {
        called("shmkit_region_grow", || shmkit_region_grow(self.0, size as u64))
    }

    pub fn sync(self, offset: usize, length: usize, level: i32) -> Outcome<()> {
        called("shmkit_region_sync", || shmkit_region_sync(self.0, offset, length, level))
    }

    pub fn protect(self, offset: usize, length: usize, prot: i32) -> Outcome<()> {
        called("shmkit_region_protect", || shmkit_region_protect(self.0, offset, length, prot))
    }

    pub fn advise(self, offset: usize, length: usize, advice: i32) -> Outcome<()> {
        called("shmkit_region_advise", || shmkit_region_advise(self.0, offset, length, advice))
    }

    pub fn lock(self, offset: usize, length: usize) -> Outcome<()> {
        called("shmkit_region_lock_memory", || shmkit_region_lock_memory(self.0, offset, length))
    }

    pub fn unlock(self, offset: usize, length: usize) -> Outcome<()> {
        called("shmkit_region_unlock_memory", || shmkit_region_unlock_memory(self.0, offset, length))
    }

    pub fn stat(self) -> Outcome<RegionStat> {
        // SAFETY: all fields are plain numbers, for which zero is valid.
        let mut stat: RegionStat = unsafe { std::mem::zeroed() };
        stat.struct_size = size_of::<RegionStat>();
        // SAFETY: the struct is good.
        let done = called("shmkit_region_stat", || unsafe { shmkit_region_stat(self.0, &mut stat) });
        assert_eq!(done.is_err(), stat.backend == 0, "{done:?}");
        done.map(|()| stat)
    }

    pub fn copy_in(self, offset: usize, from: &[u8]) -> Outcome<()> {
        // SAFETY: the slice is readable.
        called("shmkit_region_copy_in", || unsafe {
            shmkit_region_copy_in(self.0, offset, from.as_ptr().cast(), from.len())
        })
    }

    pub fn copy_out(self, offset: usize, to: &mut [u8]) -> Outcome<()> {
        // SAFETY: the slice is writable.
        called("shmkit_region_copy_out", || unsafe {
            shmkit_region_copy_out(self.0, offset, to.as_mut_ptr().cast(), to.len())
        })
    }

    /// Bytes of the region, as a copy.
    #[track_caller]
    pub fn bytes(self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        self.copy_out(offset, &mut bytes).expect("they are there");
        bytes
    }

    pub fn begin(self) -> Outcome<(*mut u8, usize)> {
        let (mut data, mut size) = (0x77 as *mut c_void, 0x77);
        // SAFETY: the places are good.
        let done = called("shmkit_region_access_begin", || unsafe {
            shmkit_region_access_begin(self.0, &mut data, &mut size)
        });
        assert_eq!(done.is_err(), data.addr() == 0x77 && size == 0x77, "{done:?}");
        done.map(|()| (data.cast(), size))
    }

    pub fn end(self) -> Outcome<()> {
        called("shmkit_region_access_end", || shmkit_region_access_end(self.0))
    }

    #[track_caller]
    pub fn address(self) -> String {
        text(shmkit_region_address(self.0))
    }

    pub fn fd(self) -> i32 {
        shmkit_region_fd(self.0)
    }

    pub fn send(self, socket: i32, access: i32) -> Outcome<()> {
        called("shmkit_region_send", || shmkit_region_send(self.0, socket, access))
    }

    pub fn seal(self, seals: u32) -> Outcome<()> {
        called("shmkit_region_seal", || shmkit_region_seal(self.0, seals))
    }

    pub fn participants(self) -> Outcome<Vec<RegionParticipant>> {
        let mut all = Vec::<RegionParticipant>::new();
        // SAFETY: the callback gets the vector that it expects.
        called("shmkit_region_participants", || unsafe {
            shmkit_region_participants(self.0, Some(meet), (&raw mut all).cast())
        })?;
        Ok(all)
    }

    pub fn unlink(self) -> Outcome<()> {
        called("shmkit_region_unlink", || shmkit_region_unlink(self.0))
    }

    pub fn close(self) -> Outcome<()> {
        called("shmkit_region_close", || shmkit_region_close(self.0))
    }

    #[track_caller]
    pub fn closed(self) {
        self.close().expect("an open region can be closed");
    }
}

/// Runs `body` over these kinds of memory, each at a fresh address.
pub fn over(kinds: &[Kind], body: impl Fn(&Place)) {
    for kind in kinds {
        let before = Traces::look();
        let place = kind.fresh();
        body(&place);
        if place.kind == File {
            let left: Vec<_> = std::fs::read_dir(place.folder()).expect("the folder is ours").collect();
            let own =
                |entry: &std::io::Result<std::fs::DirEntry>| entry.as_ref().is_ok_and(|one| one.path() == place.path());
            assert!(left.iter().all(own), "left beside the file: {left:?}");
        }
        drop(place);
        assert_eq!(Traces::look(), before, "{kind:?} left something behind");
    }
}

/// Becomes another user, for good; in a child.
pub fn as_user(user: u32) {
    // SAFETY: takes no pointers.
    unsafe {
        assert_eq!(libc::setresgid(user, user, user), 0);
        assert_eq!(libc::setresuid(user, user, user), 0, "{}", std::io::Error::last_os_error());
    }
}

/// Children that have done their work and stay until they are killed.
#[derive(Default)]
pub struct Children {
    all: Vec<i32>,
}

impl Children {
    /// Forks a child, and waits until its work is done.
    pub fn start(&mut self, work: impl FnOnce()) {
        let mut ends = [0; 2];
        // SAFETY: the ends are writable; the child leaves by a signal or _exit.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                libc::close(ends[0]);
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                if done.is_ok() {
                    libc::write(ends[1], b"+".as_ptr().cast(), 1);
                    loop {
                        libc::pause();
                    }
                }
                libc::_exit(1);
            }
            libc::close(ends[1]);
            let mut answer = 0u8;
            let count = libc::read(ends[0], (&raw mut answer).cast(), 1);
            libc::close(ends[0]);
            self.all.push(child);
            assert_eq!((count, answer), (1, b'+'), "the child failed: see its output");
        }
    }

    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.all.iter().map(|pid| *pid as u32)
    }

    pub fn kill(&mut self) {
        for child in self.all.drain(..) {
            // SAFETY: the child is ours and not yet waited for.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two connected UNIX sockets.
pub fn socket_pair(kind: i32) -> [i32; 2] {
    let mut ends = [-1; 2];
    // SAFETY: the ends are writable.
    assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) }, 0);
    ends
}

pub fn close_all(fds: &[i32]) {
    for fd in fds {
        // SAFETY: the descriptors are the test's own.
        assert_eq!(unsafe { libc::close(*fd) }, 0);
    }
}

/// Every call on a handle that is none, or none any more.
#[track_caller]
pub fn is_bad_handle(region: Region) {
    let mut byte = [9];
    for refusal in [
        region.grow(1).err(),
        region.sync(0, SHMKIT_TO_END, SHMKIT_SYNC_DATA).err(),
        region.protect(0, SHMKIT_TO_END, libc::PROT_READ).err(),
        region.advise(0, SHMKIT_TO_END, libc::MADV_NORMAL).err(),
        region.lock(0, SHMKIT_TO_END).err(),
        region.unlock(0, SHMKIT_TO_END).err(),
        region.stat().err(),
        region.copy_in(0, &byte).err(),
        region.copy_out(0, &mut byte).err(),
        region.begin().err(),
        region.end().err(),
        region.send(0, SHMKIT_SEND_READ_WRITE).err(),
        region.seal(SHMKIT_SEAL_GROW).err(),
        region.participants().err(),
        region.unlink().err(),
        region.close().err(),
    ] {
        let refusal = refusal.expect("a bad handle is refused");
        assert_eq!(refusal.status, Status::ErrBadHandle, "{refusal:?}");
    }
    assert_eq!(byte, [9]);
    for (function, is_none) in [
        ("shmkit_region_data", (|region| shmkit_region_data(region).is_null()) as fn(*const shmkit_region_t) -> bool),
        ("shmkit_region_size", |region| shmkit_region_size(region) == 0),
        ("shmkit_region_address", |region| shmkit_region_address(region).is_null()),
        ("shmkit_region_fd", |region| shmkit_region_fd(region) == -1),
    ] {
        shmkit::capi::error::shmkit_clear_error();
        assert!(is_none(region.0), "{function} answered a bad handle");
        let refusal = Refusal::read(function, Status::ErrBadHandle as i32, errno());
        assert_eq!(refusal.errno, libc::EBADF);
    }
}
