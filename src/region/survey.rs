//! Who is there, and what is left over: participants, orphans, the list of all objects, collection.
//! Decides by what the kernel proves (locks, semaphores, counts of attaches); where it proves nothing the answer is
//! "unknown", and the object is left alone. Never follows a name to another object. Next: `lease.rs`, `segment.rs`.

use core::ffi::CStr;

use super::address::{Address, Backend, OWN_PREFIX, PATH_MAX, Parsed, path_of};
use super::chars::Chars;
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::handle::{RAW, READ_ONLY, get};
use super::header::{self, Facts, Header, Process, RECORD_SIZE, Record};
use super::identity;
use super::lease::{self, BUILD, Lease};
use super::object;
use super::segment::{self, Collected};
use crate::error::{Errno, Status};
use crate::sys::file::{self, Lock};
use crate::sys::limits::page_size;
use crate::sys::pages::Array;
use crate::sys::posix::OBJECT_FOLDER;
use crate::sys::shared::Window;
use crate::sys::{process, semset, sysv};
use crate::text::{Text, leading_number};

const HERE: i32 = libc::AT_FDCWD;

/// An answer that may be missing.
#[repr(i32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It is not so.
    No = 0,
    /// It is so.
    Yes = 1,
    /// It cannot be proved.
    #[default]
    Unknown = 2,
}

impl Answer {
    fn of(fact: Option<bool>) -> Answer {
        match fact {
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
            None => Answer::Unknown,
        }
    }
}

/// The status of an object that carries a region's header; an error when it does not.
pub fn require_region(fd: i32) -> Outcome<file::Status> {
    let status = file::status(fd).map_err(Failure::system)?;
    if !status.is_regular() {
        return Err(object::not_an_object(status.mode));
    }
    let mut bytes = [0; header::SIZE];
    match file::read_at(fd, &mut bytes, 0).is_ok() && Header::is_claimed(&bytes) {
        true => Ok(status),
        false => Err(Failure::of(Status::ErrNotARegion)),
    }
}

/// One who has a region open.
#[derive(Clone, Copy, Default)]
pub struct Participant {
    /// Who, as far as it is recorded; the pid is 0 when it is not.
    pub process: Process,
    /// Whether it is certain that it is attached now.
    pub live: bool,
    /// Whether it is this handle.
    pub own: bool,
    /// Whether it reads only.
    pub read_only: bool,
}

/// Whether a record is of a process that lives; `None` when this process cannot look (another pid namespace, or /proc is).
fn is_living(record: &Process) -> Option<bool> {
    let own = identity::own();
    let unknown = [0; 2];
    if record.pid == 0 || record.namespace != own.namespace || own.namespace == 0 || own.boot == unknown {
        return None;
    }
    if record.boot != own.boot && record.boot != unknown {
        return Some(false);
    }
    if !identity::sees_peers() {
        return None;
    }
    match process::start_time(record.pid) {
        Some(start) if record.start_time != 0 => Some(start == record.start_time),
        // There may be no descriptor to look with, or /proc hides other users' processes.
        _ if process::exists(record.pid) => None,
        _ => Some(false),
    }
}

/// Whether a recorded process lives.
pub fn lives(record: &Process) -> Answer {
    Answer::of(is_living(record))
}

/// What a record may say beside a lease that is held: nothing, when it is of a holder before.
fn trusted(record: Process) -> Process {
    if is_living(&record) == Some(false) { Process::default() } else { record }
}

/// Shows who has a region open, this handle first, until `each` says to stop.
pub fn participants(token: u64, each: &mut dyn FnMut(&Participant) -> bool) -> Outcome<()> {
    let region = get(token)?;
    let read_only = region.hot.is(READ_ONLY);
    let own = Participant { process: identity::own(), live: true, own: true, read_only };
    if !each(&own) {
        return Ok(());
    }
    if region.backend == Backend::Sysv {
        return segment_participants(region.identity.1 as i32, region.set, &region.hot.window, region.lease(), each);
    }
    if region.hot.is(RAW) {
        return Err(Failure::new(
            Status::ErrBackend,
            "a raw region has no leases: who else has it open cannot be told",
            "see shmkit_list, which counts the processes of which /proc shows the mappings",
        ));
    }
    object_participants(region.fd(), &mut Deadline::after(region.timeout_ns), each)
}

/// Shows who has the region at an address open, without opening it: nobody sees a participant in who asks.
pub fn participants_at(address: &[u8], each: &mut dyn FnMut(&Participant) -> bool) -> Outcome<()> {
    let parsed = Parsed::new(address)?;
    match parsed.get() {
        Address::Path(backend, rest) => {
            let path = path_of(backend, rest)?;
            let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let fd = file::open_at(HERE, path.c(), flags, 0).map_err(not_found)?;
            let shown = require_region(fd)
                .and_then(|_| object_participants(fd, &mut Deadline::after(lease::COLLECTOR_NS), each));
            let _ = file::close(fd);
            shown
        }
        Address::Key(key) => {
            let id = sysv::shmget(key, 0, 0).map_err(segment_not_found)?;
            let status = sysv::status(id).map_err(segment_not_found)?;
            // A removal takes the segment first, and then its semaphores.
            let set = segment::find_set(key).ok_or_else(|| match segment::is_removed(id) {
                true => segment_not_found(Errno(libc::EIDRM)),
                false => Failure::of(Status::ErrNotARegion),
            })?;
            let window = Window::default();
            window.attach(id, status.size as usize, libc::SHM_RDONLY).map_err(segment_not_found)?;
            // The attach by which this process looks is counted, and is its first one there.
            let shown = segment_participants(id, set, &window, Lease::None, each);
            let _ = window.detach();
            shown
        }
        Address::Label(..) => Err(Failure::backend(
            "memfd: and anon: regions have no name to find them by",
            "ask a process that has it open: shmkit_region_participants",
        )),
    }
}

fn object_participants(fd: i32, deadline: &mut Deadline, each: &mut dyn FnMut(&Participant) -> bool) -> Outcome<()> {
    loop {
        let seen = lease::for_each(fd, &mut |lease| {
            let mut participant = Participant { live: true, read_only: true, ..Participant::default() };
            if let Lease::Writer(number) = lease {
                participant.read_only = false;
                participant.process = record_of(fd, number);
            }
            each(&participant)
        });
        match seen {
            Some(true) => return Ok(()),
            Some(false) => deadline.pause("a collector decided whether the region is left over")?,
            None => return Err(no_locks()),
        }
    }
}

fn no_locks() -> Failure {
    Failure::new(
        Status::ErrUnsupported,
        "the file system of {name} has no locks of open file descriptions: who has it open cannot be told",
        "keep the region on a local file system",
    )
}

fn record_of(fd: i32, number: u32) -> Process {
    let mut bytes = [0; RECORD_SIZE];
    match Record::offset(number).map(|offset| file::read_at(fd, &mut bytes, offset as i64)) {
        Some(Ok(RECORD_SIZE)) => trusted(Record::decode(&bytes).process),
        _ => Process::default(),
    }
}

/// Leases survive an exec and attaches do not: of a process no more leases count than it has attaches.
fn segment_participants(
    id: i32,
    set: i32,
    window: &Window,
    own: Lease,
    each: &mut dyn FnMut(&Participant) -> bool,
) -> Outcome<()> {
    let (mut shown, mut go_on) = (1, true);
    let mut before = [Process::default(); header::RECORDS as usize + 1];
    before[0] = identity::own();
    let mut known = 1;
    let mut one = |slot: u32| {
        if Lease::Writer(slot) == own || !go_on {
            return;
        }
        let mut bytes = [0; RECORD_SIZE];
        let read = Record::offset(slot).is_some_and(|offset| window.read(offset, &mut bytes));
        let record = if read { Record::decode(&bytes).process } else { Process::default() };
        let attached = match is_living(&record) {
            Some(true) => {
                let leases = before.iter().take(known).filter(|one| **one == record).count();
                attaches_of(record.pid, id).map(|attaches| leases < attaches)
            }
            Some(false) => Some(false),
            None => None,
        };
        if let Some(place) = before.get_mut(known) {
            (*place, known) = (record, known + 1);
        }
        if attached != Some(false) {
            shown += 1;
            let participant = Participant { process: record, live: attached == Some(true), ..Participant::default() };
            go_on = each(&participant);
        }
    };
    if set >= 0 {
        let _ = segment::for_each_lease(set, &mut one);
    }
    // Attaches that no lease explains: other software, or a process that may not change the semaphores. Counted after the
    // leases: who goes between the two looks is not there any more.
    let attaches = sysv::status(id).map_err(Failure::system)?.attaches;
    while go_on && shown < attaches {
        shown += 1;
        go_on = each(&Participant { live: true, ..Participant::default() });
    }
    Ok(())
}

/// How many times a process has a segment attached; `None` when it may not be looked at.
fn attaches_of(pid: u32, id: i32) -> Option<usize> {
    let mut count = 0;
    maps_of(pid, &mut |line| {
        // One line for each attach begins at the beginning, however it was divided by protections.
        count += usize::from(line.path.starts_with(b"/SYSV") && line.inode == id as u64 && line.offset == 0);
        true
    })
    .ok()?;
    Some(count)
}

/// Whether nobody has the region at an address open.
pub fn is_orphan(address: &[u8]) -> Outcome<Answer> {
    let parsed = Parsed::new(address)?;
    match parsed.get() {
        Address::Path(backend, rest) => {
            let path = path_of(backend, rest)?;
            let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let fd = file::open_at(HERE, path.c(), flags, 0).map_err(|errno| match errno.0 {
                // What an open of a link and of a socket says.
                libc::ELOOP | libc::ENXIO => object::cannot_open(errno, path.c()),
                _ => not_found(errno),
            })?;
            let region = require_region(fd);
            let held = lease::is_held(fd);
            let _ = file::close(fd);
            match region {
                Ok(_) => Ok(Answer::of(held.map(|held| !held))),
                Err(failure) if failure.status == Status::ErrNotARegion => Ok(Answer::Unknown),
                Err(failure) => Err(failure),
            }
        }
        Address::Key(key) => {
            let id = sysv::shmget(key, 0, 0).map_err(segment_not_found)?;
            let mut deadline = Deadline::after(100_000_000);
            // Who looks into a segment is attached for a moment, without a lease: such a one is waited for.
            while sysv::status(id).map_err(segment_not_found)?.attaches > 0 {
                let leases = segment::find_set(key).and_then(|set| segment::for_each_lease(set, |_| ()));
                if leases != Some(0) || deadline.pause("somebody looked").is_err() {
                    return Ok(Answer::No);
                }
            }
            let found = segment::collect(id, key, false);
            if found != Collected::Orphan && segment::is_removed(id) {
                return Err(segment_not_found(Errno(libc::EIDRM)));
            }
            Ok(match found {
                Collected::Orphan if !segment::is_region(id, key).unwrap_or(false) => Answer::Unknown,
                Collected::Orphan | Collected::Kept => Answer::Yes,
                Collected::InUse => Answer::No,
                // Without our semaphores the count of attaches is all there is: nobody has it attached now.
                Collected::Unknown => Answer::Unknown,
            })
        }
        Address::Label(..) => Err(Failure::backend(
            "memfd: and anon: regions have no name, and end with their last user",
            "ask for a region with a name",
        )),
    }
}

fn not_found(errno: Errno) -> Failure {
    match errno.0 {
        libc::ENOENT | libc::EIDRM => Failure::new(Status::ErrNotFound, "there is no {name}", "correct the name"),
        _ => Failure::system(errno),
    }
}

/// EINVAL: it was removed since its id was asked for.
fn segment_not_found(errno: Errno) -> Failure {
    not_found(if errno.0 == libc::EINVAL { Errno(libc::EIDRM) } else { errno })
}

/// What an object holds.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// No header: made by other software, or raw.
    Foreign = 0,
    /// A region.
    Region = 1,
    /// What a dead creator left on the way to a region.
    Leftover = 2,
    /// Its bytes were not looked at.
    #[default]
    Unknown = 3,
}

/// One object of this machine.
#[derive(Default)]
pub struct Object {
    /// Its address string; empty when there was no memory for it.
    pub address: Chars,
    /// The kind of memory; `None` for semaphores that were left without their segment.
    pub backend: Option<Backend>,
    /// What it holds.
    pub content: Content,
    /// What its header says, when it is a region.
    pub header: Option<Header>,
    /// Why its header is not believed, when it is a region without one.
    pub doubt: Option<Failure>,
    /// Bytes of the object.
    pub size: u64,
    /// Bytes that it has reserved.
    pub reserved: u64,
    /// Device, or 0 for System V.
    pub dev: u64,
    /// Inode, or a segment's id.
    pub ino: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// Leases, attaches or mapping processes, whichever proves most; `None` when it cannot be told.
    pub users: Option<u64>,
    /// Whether nobody uses it.
    pub orphan: Answer,
    /// Whether its name is gone.
    pub unlinked: bool,
    /// One process that has it mapped, as far as /proc shows; 0 for none.
    pub pid: u32,
}

impl Object {
    /// Keeps what its header says, as far as the kernel does not contradict it.
    fn believe(&mut self, bytes: &[u8; header::SIZE]) {
        let facts = Facts { object_size: self.size, page_size: page_size() as u64 };
        match Header::decode(bytes, &facts) {
            Ok(header) => self.header = Some(header),
            Err(failure) => self.doubt = Some(failure),
        }
    }
}

/// Opens what may be anybody's. To look is no access: its time stays, where this user may ask for that (its owner and root).
fn open_to_look(path: &CStr, access: i32) -> Result<i32, Errno> {
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match file::open_at(HERE, path, flags | libc::O_NOATIME, 0) {
        Err(Errno(libc::EPERM)) => file::open_at(HERE, path, flags, 0),
        other => other,
    }
}

/// Looks at one file as `list` looks at POSIX objects: status, header and leases.
pub fn look_at_file(path: &[u8]) -> Outcome<Object> {
    let chars = Chars::join(&[path])?;
    let status = file::status_in(HERE, chars.c()).map_err(not_found)?;
    if !status.is_regular() {
        return Err(object::not_an_object(status.mode));
    }
    let mut object = describe(Backend::File, &status);
    object.address = Chars::join(&[b"file:", path])?;
    if let Ok(fd) = open_to_look(chars.c(), libc::O_RDONLY) {
        if file::status(fd).is_ok_and(|now| (now.dev, now.ino) == (status.dev, status.ino)) {
            look_into(fd, path.rsplit(|byte| *byte == b'/').next().unwrap_or_default(), &mut object);
        }
        let _ = file::close(fd);
    }
    Ok(object)
}

/// The key of the region whose semaphores this set is; `None` when it is not one of ours.
pub fn region_of_set(key: i32, set: i32) -> Option<i32> {
    let key = segment::other_key(key);
    (key != 0 && segment::find_set(key) == Some(set)).then_some(key)
}

/// Gets one object; says whether to go on.
pub type Each<'a> = &'a mut dyn FnMut(&Object) -> bool;

/// Which objects to list.
#[derive(Clone, Copy)]
pub struct Which {
    /// POSIX objects.
    pub posix: bool,
    /// System V segments.
    pub sysv: bool,
    /// What processes have mapped: memfds, files, anonymous shared memory, objects whose name is gone.
    pub mapped: bool,
}

/// Shows every object to `each`. Takes time linear in their number.
pub fn list(which: Which, each: Each<'_>) -> Outcome<()> {
    let mut go_on = true;
    let mut each = |object: &Object| {
        go_on = go_on && each(object);
        go_on
    };
    if which.posix {
        list_posix(&mut each)?;
    }
    if which.sysv {
        list_segments(&mut each)?;
    }
    if which.mapped {
        list_mapped(&mut each)?;
    }
    Ok(())
}

/// The path of a name in the folder of POSIX objects.
fn object_path<'a>(name: &CStr, path: &'a mut Text<320>) -> &'a CStr {
    path.clear();
    path.push_bytes(OBJECT_FOLDER.to_bytes());
    path.push(b'/');
    path.push_bytes(name.to_bytes());
    path.terminate();
    path.push(0);
    CStr::from_bytes_until_nul(path.bytes()).unwrap_or_default()
}

fn list_posix(each: Each<'_>) -> Outcome<()> {
    let result = file::list(OBJECT_FOLDER, |name| {
        let mut path = Text::<320>::new();
        let path = object_path(name, &mut path);
        let Ok(status) = file::status_in(HERE, path) else { return true };
        if !status.is_regular() {
            return true;
        }
        let mut object = describe(Backend::Posix, &status);
        if let Ok(fd) = open_to_look(path, libc::O_RDONLY) {
            look_into(fd, name.to_bytes(), &mut object);
            let _ = file::close(fd);
        }
        name_in_folder(&mut object, name, path);
        each(&object)
    });
    match result {
        // No folder, no objects.
        Ok(()) | Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(Failure::system(errno)),
    }
}

/// The address of what lies in the folder of POSIX objects. A file: region may, and says so in its header.
fn name_in_folder(object: &mut Object, name: &CStr, path: &CStr) {
    let is_file = object.header.is_some_and(|header| header.backend == Backend::File as u32);
    let (backend, scheme, rest): (_, &[u8], _) = match is_file {
        true => (Backend::File, b"file:", path),
        false => (Backend::Posix, b"posix:/", name),
    };
    object.backend = Some(backend);
    object.address = Chars::join(&[scheme, rest.to_bytes()]).unwrap_or_default();
}

fn describe(backend: Backend, status: &file::Status) -> Object {
    Object {
        backend: Some(backend),
        size: status.size,
        reserved: status.reserved,
        dev: status.dev,
        ino: status.ino,
        uid: status.uid,
        gid: status.gid,
        mode: status.mode & 0o777,
        unlinked: status.links == 0,
        ..Object::default()
    }
}

/// What an open object itself tells.
fn look_into(fd: i32, name: &[u8], object: &mut Object) {
    if name.starts_with(OWN_PREFIX) {
        object.content = Content::Leftover;
        object.orphan = Answer::of(file::lock_in_the_way(fd, BUILD, 1).ok().map(|lock| lock.is_none()));
        return;
    }
    let mut bytes = [0; header::SIZE];
    let Ok(count) = file::read_at(fd, &mut bytes, 0) else { return };
    if count < bytes.len() || !Header::is_claimed(&bytes) {
        object.content = Content::Foreign;
        return;
    }
    object.content = Content::Region;
    object.believe(&bytes);
    let mut users;
    let mut deadline = Deadline::after(lease::COLLECTOR_NS);
    let told = loop {
        users = 0;
        let told = lease::for_each(fd, &mut |_| {
            users += 1;
            true
        });
        // Another collector holds all leases for a moment, and that says nothing of the region.
        if told != Some(false) || deadline.pause("another collector looked").is_err() {
            break told;
        }
    };
    if told == Some(true) {
        object.users = Some(users);
        object.orphan = Answer::of(Some(users == 0));
    }
}

fn list_segments(each: Each<'_>) -> Outcome<()> {
    let last = sysv::last_index().map_err(Failure::system)?;
    for index in 0..=last {
        let Ok((id, status)) = sysv::at_index(index) else { continue };
        if !each(&segment(id, &status)) {
            break;
        }
    }
    Ok(())
}

fn key_address(key: i32) -> Chars {
    let mut digits = Text::<16>::new();
    digits.push_hex(u64::from(key as u32));
    Chars::join(&[b"sysv:", digits.bytes()]).unwrap_or_default()
}

fn segment(id: i32, status: &sysv::Status) -> Object {
    let mut object = Object {
        backend: Some(Backend::Sysv),
        size: status.size,
        reserved: status.size,
        ino: id as u64,
        uid: status.uid,
        gid: status.gid,
        mode: status.mode & 0o777,
        users: Some(status.attaches),
        orphan: if status.attaches > 0 { Answer::No } else { Answer::Unknown },
        unlinked: status.mode & sysv::SHM_DEST != 0,
        pid: status.creator.max(0) as u32,
        ..Object::default()
    };
    object.address = key_address(status.key);
    // Only beside our semaphores is it looked into: an attach shows in the counts of other software.
    if status.key == 0 || segment::find_set(status.key).is_none() {
        // A region has semaphores. Another user's cannot be looked at, and a removed segment has lost its key.
        let is_foreign = if status.key == 0 { !object.unlinked } else { !segment::has_set(status.key) };
        object.content = if is_foreign { Content::Foreign } else { Content::Unknown };
        return object;
    }
    let window = Window::default();
    if window.attach(id, status.size as usize, libc::SHM_RDONLY).is_ok() {
        let mut bytes = [0; header::SIZE];
        object.content = Content::Foreign;
        if window.read(0, &mut bytes) && Header::is_claimed(&bytes) {
            object.content = Content::Region;
            object.believe(&bytes);
        }
        let _ = window.detach();
    }
    if status.attaches == 0 && (object.content == Content::Region || segment::was_begun(id, status)) {
        object.orphan = match segment::collect(id, status.key, false) {
            Collected::Orphan | Collected::Kept => Answer::Yes,
            Collected::InUse => Answer::No,
            Collected::Unknown => Answer::Unknown,
        };
    }
    object
}

/// One line of /proc/PID/maps.
struct Line<'a> {
    shared: bool,
    length: u64,
    offset: u64,
    dev: u64,
    inode: u64,
    path: &'a [u8],
}

/// Shows the mappings of a process to `each`, until it says to stop.
fn maps_of(pid: u32, each: &mut dyn FnMut(&Line<'_>) -> bool) -> Result<(), Errno> {
    let mut path = Text::<32>::new();
    path.push_str("/proc/");
    path.push_number(u64::from(pid));
    path.push_str("/maps\0");
    let path = CStr::from_bytes_with_nul(path.bytes()).unwrap_or_default();
    let fd = file::open_at(HERE, path, libc::O_RDONLY, 0)?;
    let mut buffer = [0u8; 2 * PATH_MAX];
    let (mut kept, mut at) = (0, 0);
    let result = 'all: loop {
        let count = match file::read_at(fd, &mut buffer[kept..], at) {
            Ok(0) => break Ok(()),
            Ok(count) => count,
            Err(errno) => break Err(errno),
        };
        at += count as i64;
        let filled = kept + count;
        let mut start = 0;
        while let Some(length) = buffer[start..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(line) = parse(&buffer[start..start + length])
                && !each(&line)
            {
                break 'all Ok(());
            }
            start += length + 1;
        }
        buffer.copy_within(start..filled, 0);
        kept = filled - start;
        // A line longer than the buffer cannot be: a path has 4096 bytes at most. Escapes may make it longer: cut it.
        if kept == buffer.len() {
            kept = 0;
        }
    };
    let _ = file::close(fd);
    result
}

fn hex(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, byte| Some(value.checked_mul(16)? + u64::from(char::from(*byte).to_digit(16)?)))
}

/// `start-end perms offset major:minor inode path`
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = line;
    let mut field = || {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        field
    };
    let (range, perms, offset, device, inode) = (field(), field(), field(), field(), field());
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (hex(&device[..colon])?, hex(&device[colon + 1..])?);
    Some(Line {
        shared: perms.get(3) == Some(&b's'),
        length: hex(&range[dash + 1..])?.checked_sub(hex(&range[..dash])?)?,
        offset: hex(offset)?,
        dev: libc::makedev(major as u32, minor as u32),
        inode: leading_number(inode),
        path: rest.trim_ascii_start(),
    })
}

/// What one process has mapped of one object; `path` is a place in the pool of paths.
#[derive(Clone, Copy, Default)]
struct Seen {
    dev: u64,
    inode: u64,
    pid: u32,
    length: u64,
    path: (u32, u32),
}

fn list_mapped(each: Each<'_>) -> Outcome<()> {
    let mut seen = Array::<Seen>::new();
    let mut paths = Array::<u8>::new();
    let mut full = false;
    let _ = file::list(c"/proc", |name| {
        let name = name.to_bytes();
        if !name.iter().all(u8::is_ascii_digit) {
            return true;
        }
        let pid = leading_number(name) as u32;
        let mut last = (0, 0);
        let _ = maps_of(pid, &mut |line| {
            if !line.shared || line.inode == 0 || !is_listed(line.path) || (line.dev, line.inode) == last {
                return true;
            }
            last = (line.dev, line.inode);
            let begin = paths.as_slice().len();
            full |= !line.path.iter().all(|byte| paths.push(*byte));
            let path = (begin as u32, line.path.len() as u32);
            full |= !seen.push(Seen { dev: line.dev, inode: line.inode, pid, length: line.length, path });
            !full
        });
        !full
    });
    if full {
        return Err(Failure::of(Status::ErrNoMemory));
    }
    let seen = seen.as_mut_slice();
    seen.sort_unstable_by_key(|one| (one.dev, one.inode, one.pid));
    let mut names = Array::<Seen>::new();
    if !find_names(seen, &mut paths, &mut names) {
        return Err(Failure::of(Status::ErrNoMemory));
    }
    let (names, paths) = (names.as_mut_slice(), paths.as_slice());
    names.sort_unstable_by_key(|one| (one.dev, one.inode));
    for same in seen.chunk_by(|one, other| (one.dev, one.inode) == (other.dev, other.inode)) {
        let Some(first) = same.first() else { continue };
        let name = names.binary_search_by_key(&(first.dev, first.inode), |one| (one.dev, one.inode)).ok();
        // The best path that anybody has: one that is still there, one that was, a number.
        let rank = |one: &&Seen| (is_deleted(one.text(paths)), folder_if_numbered(one.text(paths)).is_some());
        let best = name.and_then(|index| names.get(index)).or(same.iter().min_by_key(rank)).unwrap_or(first);
        let path = best.text(paths);
        // A POSIX object that has a name is in the list of those.
        if path.starts_with(b"/dev/shm/") && !is_deleted(path) {
            continue;
        }
        let users = same.chunk_by(|one, other| one.pid == other.pid).count() as u64;
        if !each(&mapped(first, path, users)) {
            break;
        }
    }
    Ok(())
}

impl Seen {
    fn text<'a>(&self, paths: &'a [u8]) -> &'a [u8] {
        let begin = self.path.0 as usize;
        paths.get(begin..begin + self.path.1 as usize).unwrap_or_default()
    }
}

fn is_deleted(path: &[u8]) -> bool {
    path.ends_with(DELETED)
}

/// The folder of a file that was made without a name. /proc shows it as deleted, under its number, in who made it; also
/// when it was given a name afterwards.
fn folder_if_numbered(path: &[u8]) -> Option<&[u8]> {
    let bare = path.strip_suffix(DELETED)?;
    let slash = bare.iter().rposition(|byte| *byte == b'/')?;
    let digits = bare.get(slash + 1..)?.strip_prefix(b"#")?;
    digits.iter().all(u8::is_ascii_digit).then_some(&bare[..slash])
}

/// Finds the names that such files have now, with one look into each of their folders. `seen` is sorted. False when
/// there is no memory for it.
fn find_names(seen: &[Seen], paths: &mut Array<u8>, names: &mut Array<Seen>) -> bool {
    let mut folders = Array::<(u32, u32)>::new();
    for one in seen {
        if let Some(folder) = folder_if_numbered(one.text(paths.as_slice()))
            && !folders.push((one.path.0, folder.len() as u32))
        {
            return false;
        }
    }
    let text = |paths: &Array<u8>, at: (u32, u32)| -> Outcome<Chars> {
        Chars::join(&[paths.as_slice().get(at.0 as usize..(at.0 + at.1) as usize).unwrap_or_default()])
    };
    let folders = folders.as_mut_slice();
    let bytes = paths.as_slice();
    folders.sort_unstable_by(|one, other| {
        let text = |at: &(u32, u32)| bytes.get(at.0 as usize..(at.0 + at.1) as usize);
        text(one).cmp(&text(other))
    });
    let (mut last, mut full) = (Chars::default(), false);
    for folder in folders {
        let Ok(folder) = text(paths, *folder) else { return false };
        if folder.bytes() == last.bytes() {
            continue;
        }
        let _ = file::list(folder.c(), |name| {
            let Ok(path) = Chars::join(&[folder.bytes(), b"/", name.to_bytes()]) else { return true };
            let Ok(status) = file::status_in(HERE, path.c()) else { return true };
            let Ok(index) = seen.binary_search_by_key(&(status.dev, status.ino), |one| (one.dev, one.inode)) else {
                return true;
            };
            let begin = paths.as_slice().len() as u32;
            full |= !path.bytes().iter().all(|byte| paths.push(*byte));
            full |= !names.push(Seen { path: (begin, path.bytes().len() as u32), ..seen[index] });
            !full
        });
        last = folder;
    }
    !full
}

/// Segments have a list of their own, and so have POSIX objects while they have a name; devices are no memory.
fn is_listed(path: &[u8]) -> bool {
    let device = path.starts_with(b"/dev/") && !path.starts_with(b"/dev/shm/") && !path.starts_with(b"/dev/zero");
    let named = path.starts_with(b"/dev/shm/") && !path.ends_with(DELETED);
    !(path.starts_with(b"/SYSV") || device || named || !path.starts_with(b"/"))
}

const DELETED: &[u8] = b" (deleted)";

fn mapped(seen: &Seen, path: &[u8], users: u64) -> Object {
    let bare = path.strip_suffix(DELETED).unwrap_or(path);
    let (backend, scheme, rest): (_, &str, &[u8]) = if let Some(label) = bare.strip_prefix(b"/memfd:") {
        match label.starts_with(b"shmkit-anon") {
            true => (Backend::Anonymous, "anon:", b""),
            false => (Backend::Memfd, "memfd:", label),
        }
    } else if bare.starts_with(b"/dev/zero") {
        (Backend::Anonymous, "anon:", b"")
    } else if let Some(name) = bare.strip_prefix(b"/dev/shm") {
        (Backend::Posix, "posix:", name)
    } else {
        (Backend::File, "file:", bare)
    };
    let mut object = Object {
        backend: Some(backend),
        size: seen.length,
        dev: seen.dev,
        ino: seen.inode,
        users: Some(users),
        orphan: Answer::No,
        unlinked: bare.len() < path.len(),
        pid: seen.pid,
        ..Object::default()
    };
    object.address = Chars::join(&[scheme.as_bytes(), rest]).unwrap_or_default();
    if backend == Backend::File
        && !object.unlinked
        && let Ok(path) = Chars::join(&[rest])
        && let Ok(status) = file::status_in(HERE, path.c())
        && status.ino == seen.inode
    {
        (object.size, object.reserved) = (status.size, status.reserved);
        (object.uid, object.gid, object.mode) = (status.uid, status.gid, status.mode & 0o777);
    }
    object
}

/// Shows what is left over to `each`, and removes it if that is wanted; returns how much there was. Regions whose
/// creator called them persistent, objects of other software, and what cannot be proved to be unused, stay.
pub fn collect(remove: bool, each: Each<'_>) -> Outcome<u64> {
    let all = Which { posix: true, sysv: true, mapped: false };
    collect_where(all, remove, &mut |_| true, each)
}

/// As `collect`, of these kinds of memory and of what `wanted` agrees to: it is asked at the last moment, with every
/// opener of a POSIX region locked out, so it may not open what it is shown.
pub fn collect_where(which: Which, remove: bool, wanted: Each<'_>, each: Each<'_>) -> Outcome<u64> {
    let mut count = 0;
    let mut report = |object: &Object| {
        count += 1;
        each(object)
    };
    let mut go_on = true;
    if which.posix {
        collect_posix(remove, wanted, &mut |object| {
            go_on = report(object);
            go_on
        })?;
    }
    if which.sysv && go_on {
        collect_segments(remove, wanted, &mut |object| {
            go_on = report(object);
            go_on
        })?;
    }
    Ok(count)
}

fn collect_posix(remove: bool, wanted: Each<'_>, each: Each<'_>) -> Outcome<()> {
    let result = file::list(OBJECT_FOLDER, |name| {
        let mut path = Text::<320>::new();
        let path = object_path(name, &mut path);
        // A lock on all leases needs a descriptor for writing.
        let Ok(fd) = open_to_look(path, libc::O_RDWR) else { return true };
        let found = collect_one(fd, name, path, remove, wanted);
        // By name, not only by close: a child that was forked meanwhile may have the same description. And before the
        // callback, which may open what it is shown.
        let _ = file::lock(fd, Lock::Unlocked, 0, 0);
        let _ = file::close(fd);
        found.is_none_or(|object| each(&object))
    });
    match result {
        Ok(()) | Err(Errno(libc::ENOENT)) => Ok(()),
        Err(errno) => Err(Failure::system(errno)),
    }
}

/// Whether this user may remove what that one owns: the folder of POSIX objects is sticky, and so are segments.
fn may_remove(owner: u32) -> bool {
    let user = process::effective_user();
    user == 0 || user == owner
}

/// The object, when it is left over; removed if that is wanted.
fn collect_one(fd: i32, name: &CStr, path: &CStr, remove: bool, wanted: Each<'_>) -> Option<Object> {
    let status = file::status(fd).ok().filter(|status| status.is_regular() && may_remove(status.uid))?;
    let mut object = describe(Backend::Posix, &status);
    look_into(fd, name.to_bytes(), &mut object);
    name_in_folder(&mut object, name, path);
    // A file outlives its users, wherever it lies.
    if object.orphan != Answer::Yes || object.backend == Some(Backend::File) {
        return None;
    }
    let proved = match object.content {
        Content::Leftover => file::lock(fd, Lock::Exclusive, BUILD, 1).is_ok(),
        // Only a whole header is believed: what lies about itself is left for a person to look at.
        Content::Region => {
            object.header.is_some_and(|header| header.flags & header::PERSISTENT == 0)
                && lease::take_all(fd) == Some(true)
                && file::lock(fd, Lock::Exclusive, lease::NAME, 1).is_ok()
        }
        Content::Foreign | Content::Unknown => false,
    };
    // Proved unused, and nobody can begin to use it now. The name must still be its own.
    let same = file::status_in(HERE, path).is_ok_and(|now| (now.dev, now.ino) == (status.dev, status.ino));
    if !proved || !same || !wanted(&object) || remove && file::unlink_at(HERE, path).is_err() {
        return None;
    }
    Some(object)
}

fn collect_segments(remove: bool, wanted: Each<'_>, each: Each<'_>) -> Outcome<()> {
    let last = sysv::last_index().map_err(Failure::system)?;
    for index in 0..=last {
        let Ok((id, status)) = sysv::at_index(index) else { continue };
        if status.key == 0 || status.attaches > 0 || !may_remove(status.uid) || segment::find_set(status.key).is_none()
        {
            continue;
        }
        let object = segment(id, &status);
        let persistent = object.header.is_some_and(|header| header.flags & header::PERSISTENT != 0);
        // Without a header that can be read it is ours only if its creator died over it.
        let unfinished = object.header.is_none() && object.content == Content::Region;
        let other = matches!(object.content, Content::Foreign | Content::Unknown);
        if persistent || other && !segment::was_begun(id, &status) || unfinished && object.orphan != Answer::Yes {
            continue;
        }
        if wanted(&object) && segment::collect(id, status.key, remove) == Collected::Orphan && !each(&object) {
            return Ok(());
        }
    }
    let last = semset::last_index().map_err(Failure::system)?;
    for index in 0..=last {
        // A set without a key is nobody's second one.
        let Some(key) = semset::key_at_index(index).ok().filter(|key| *key != 0) else { continue };
        let key = segment::other_key(key);
        if key == 0 || sysv::shmget(key, 0, 0) != Err(Errno(libc::ENOENT)) {
            continue;
        }
        let mut object = Object { content: Content::Leftover, orphan: Answer::Yes, ..Object::default() };
        object.address = key_address(key);
        if wanted(&object) && segment::collect_set(key, remove) == Collected::Orphan && !each(&object) {
            return Ok(());
        }
    }
    Ok(())
}
