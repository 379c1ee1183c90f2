//! What /proc shows of other processes: who maps what, who has what open, who may not be looked at. One walk for all
//! objects. Never decides what is alive or left over. Next: `objects.rs`, which asks.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};

use crate::objects::NO_PERMISSION;
use crate::printable;

/// The inode of the first pid namespace, outside of which there are no processes: PROC_PID_INIT_INO, which is part of
/// the kernel's interface.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Clock ticks of a second in /proc/PID/stat: USER_HZ, which is part of the kernel's interface.
const TICKS: u64 = 100;

/// The end of a path whose name is gone.
const DELETED: &[u8] = b" (deleted)";

/// What a process can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A device and an inode, as /proc/PID/maps shows them.
    File(u64, u64),
    /// The id of a System V segment of this IPC namespace.
    Segment(i32),
}

/// One line of /proc/PID/maps.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<'a> {
    pub start: u64,
    pub end: u64,
    pub perms: [u8; 4],
    pub offset: u64,
    pub dev: u64,
    pub inode: u64,
    pub path: &'a [u8],
}

/// What one process has of one object.
#[derive(Clone, Debug, Default)]
pub struct Use {
    pub pid: u32,
    /// Parts of the address space that it maps.
    pub mappings: u32,
    /// Bytes that they have together.
    pub mapped: u64,
    /// Whether it may write through one of them.
    pub writable: bool,
    /// Whether one of them is shared.
    pub shared: bool,
    /// Descriptors by which it has the object open.
    pub descriptors: Vec<u32>,
}

/// What can be asked of an object through a process that has it.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    pub dev: u64,
    pub ino: u64,
    pub size: u64,
    pub reserved: u64,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub links: u64,
    pub regular: bool,
    /// Nanoseconds since the epoch; what the file system does not keep is missing.
    pub created_ns: Option<u64>,
    pub changed_ns: u64,
}

impl Status {
    pub fn of(found: &fs::Metadata) -> Status {
        let created = found.created().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        Status {
            dev: found.dev(),
            ino: found.ino(),
            size: found.size(),
            reserved: found.blocks().saturating_mul(512),
            uid: found.uid(),
            gid: found.gid(),
            mode: found.mode() & 0o7777,
            links: found.nlink(),
            regular: found.is_file(),
            created_ns: created.map(|time| time.as_nanos() as u64),
            changed_ns: (found.ctime().max(0) as u64) * 1_000_000_000 + found.ctime_nsec().max(0) as u64,
        }
    }

    /// The status of what a path leads to in the end.
    pub fn at_end_of(path: &[u8]) -> std::io::Result<Status> {
        fs::metadata(OsStr::from_bytes(path)).map(|found| Status::of(&found))
    }

    /// The status of what a path names, links not followed.
    pub fn at(path: &[u8]) -> std::io::Result<Status> {
        fs::symlink_metadata(OsStr::from_bytes(path)).map(|found| Status::of(&found))
    }
}

/// What processes have of one object.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its path, as /proc shows it.
    pub path: Vec<u8>,
    pub uses: Vec<Use>,
    /// The end of the furthest mapping: the object has, or had, no fewer bytes.
    pub end: u64,
    pub status: Option<Status>,
}

/// Why there may be processes of which not even the number is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// /proc leaves out processes of others (hidepid).
    Users,
    /// This is not the first pid namespace, or /proc is that of another one.
    Namespaces,
    /// There is no /proc.
    All,
}

impl Hidden {
    fn now() -> Option<Hidden> {
        let first = || fs::symlink_metadata("/proc/1").is_ok();
        if fs::symlink_metadata("/proc/self").is_err() && !first() {
            return Some(Hidden::All);
        }
        match shmkit::sys::process::pid_namespace() {
            Some(FIRST_PID_NAMESPACE) => (!first()).then_some(Hidden::Users),
            _ => Some(Hidden::Namespaces),
        }
    }

    /// Why something is not known.
    pub fn why(self) -> &'static str {
        match self {
            Hidden::Users => NO_PERMISSION,
            Hidden::Namespaces => "other pid namespaces",
            Hidden::All => "no /proc",
        }
    }
}

/// Objects whose users are looked for by device and inode, for they may have them by another path: a bind mount, a link to
/// the folder; or have an ordinary file open.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    files: HashSet<(u64, u64)>,
    /// Their inodes as /proc/PID/fdinfo shows them, which asks no file system.
    inodes: HashSet<u64>,
}

impl Wanted {
    /// What a folder has.
    pub fn in_folder(folder: &[u8]) -> Wanted {
        let mut wanted = Wanted::default();
        let Ok(status) = Status::at_end_of(folder) else { return wanted };
        for (_, ino) in entries(folder) {
            wanted.files.insert((status.dev, ino));
            wanted.inodes.insert(ino);
        }
        wanted
    }

    /// Also what a path names, if that is a file.
    pub fn add(&mut self, path: &[u8]) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty()).map(fs::File::from) else {
            return;
        };
        let Ok(status) = file.metadata().map(|found| Status::of(&found)) else { return };
        if !status.regular {
            return;
        }
        self.files.insert((status.dev, status.ino));
        // An overlay shows another number there than to who asks the file.
        let facts = fs::read(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap_or_default();
        self.inodes.extend([status.ino].into_iter().chain(inode_in(&facts)));
    }
}

/// The names in a folder with their inodes, without a change of its time of access where this user may; none when it
/// cannot be listed.
pub fn entries(folder: &[u8]) -> Vec<(Vec<u8>, u64)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |more| rustix::fs::open(OsStr::from_bytes(folder), flags | more, Mode::empty());
    let Ok(folder) = open(OFlags::NOATIME).or_else(|_| open(OFlags::empty())) else { return Vec::new() };
    let Ok(entries) = rustix::fs::Dir::new(folder) else { return Vec::new() };
    entries.flatten().map(|entry| (entry.file_name().to_bytes().to_vec(), entry.ino())).collect()
}

/// One walk through /proc.
#[derive(Debug, Default)]
pub struct Walk {
    pub seen: HashMap<Key, Seen>,
    /// Processes that this user may not look at, or not wholly.
    pub unseen: Vec<u32>,
    pub hidden: Option<Hidden>,
}

impl Walk {
    /// Why there may be users that this walk could not see.
    pub fn partial(&self) -> Option<&'static str> {
        self.hidden.map(Hidden::why).or((!self.unseen.is_empty()).then_some(NO_PERMISSION))
    }

    /// Looks at every process but this one.
    pub fn of_all(wanted: &Wanted) -> Walk {
        let mut walk = Walk { hidden: Hidden::now(), ..Walk::default() };
        let own = std::process::id();
        let own_ipc = fs::read_link("/proc/self/ns/ipc").ok();
        for pid in pids() {
            if pid != own {
                walk.look(pid, own_ipc.as_deref(), wanted);
            }
        }
        walk
    }

    /// Notes a process that could not be looked at, unless it has ended, or closed what was looked at.
    fn missed(&mut self, pid: u32, error: &std::io::Error) {
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) && self.unseen.last() != Some(&pid) {
            self.unseen.push(pid);
        }
    }

    fn look(&mut self, pid: u32, own_ipc: Option<&std::path::Path>, wanted: &Wanted) {
        let maps = match fs::read(format!("/proc/{pid}/maps")) {
            Ok(maps) => maps,
            Err(error) => return self.missed(pid, &error),
        };
        // Ids of segments are those of an IPC namespace: the same number is another segment elsewhere.
        let mut same_ipc = None;
        for mapping in maps.split(|byte| *byte == b'\n').filter_map(parse) {
            let is_wanted = || wanted.files.contains(&(mapping.dev, mapping.inode));
            let by_inode = || is_wanted().then_some(Key::File(mapping.dev, mapping.inode));
            let Some(key) = mapping.key().or_else(by_inode) else { continue };
            if matches!(key, Key::Segment(_))
                && !*same_ipc
                    .get_or_insert_with(|| fs::read_link(format!("/proc/{pid}/ns/ipc")).ok().as_deref() == own_ipc)
            {
                continue;
            }
            let seen = self.seen.entry(key).or_default();
            // The best path that anybody has: one that is still there.
            if seen.path.is_empty() || is_deleted(&seen.path) && !is_deleted(mapping.path) {
                seen.path = unescaped(mapping.path);
            }
            if seen.status.is_none() && matches!(key, Key::File(..)) {
                let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
                seen.status = fs::metadata(link).ok().map(|found| Status::of(&found));
            }
            seen.end = seen.end.max(mapping.offset + (mapping.end - mapping.start));
            let one = seen.of_process(pid);
            one.mappings += 1;
            one.mapped += mapping.end - mapping.start;
            one.writable |= mapping.perms[1] == b'w';
            one.shared |= mapping.perms[3] == b's';
        }
        self.look_at_descriptors(pid, wanted);
    }

    fn look_at_descriptors(&mut self, pid: u32, wanted: &Wanted) {
        // Who may read the mappings need not be allowed to look at the descriptors.
        let entries = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(entries) => entries,
            Err(error) => return self.missed(pid, &error),
        };
        for entry in entries {
            let told = entry.and_then(|entry| self.look_at_descriptor(pid, &entry, wanted));
            if let Err(error) = told {
                self.missed(pid, &error);
            }
        }
    }

    fn look_at_descriptor(&mut self, pid: u32, entry: &fs::DirEntry, wanted: &Wanted) -> std::io::Result<()> {
        let target = fs::read_link(entry.path())?;
        let target = target.as_os_str().as_bytes();
        let usual = target.starts_with(b"/memfd:") || target.starts_with(b"/dev/shm/");
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { return Ok(()) };
        let is_candidate = usual || target.starts_with(b"/") && may_be_wanted(pid, number, wanted)?;
        if !is_candidate {
            return Ok(());
        }
        // Who has only the place (O_PATH), as a look does, has nothing of the memory.
        if fs::symlink_metadata(entry.path())?.mode() & 0o600 == 0 {
            return Ok(());
        }
        let status = Status::of(&fs::metadata(entry.path())?);
        if !status.regular || !usual && !wanted.files.contains(&(status.dev, status.ino)) {
            return Ok(());
        }
        let seen = self.seen.entry(Key::File(status.dev, status.ino)).or_default();
        if seen.path.is_empty() || is_deleted(&seen.path) && !is_deleted(target) {
            seen.path = target.to_vec();
        }
        seen.status.get_or_insert(status);
        seen.of_process(pid).descriptors.push(number);
        Ok(())
    }
}

/// Whether a descriptor may be one of what is wanted, by its inode alone: to ask more may take for ever, where a file
/// system does not answer.
fn may_be_wanted(pid: u32, descriptor: u32, wanted: &Wanted) -> std::io::Result<bool> {
    if wanted.inodes.is_empty() {
        return Ok(false);
    }
    let facts = fs::read(format!("/proc/{pid}/fdinfo/{descriptor}"))?;
    // Before Linux 5.14 it is not there.
    Ok(inode_in(&facts).is_none_or(|inode| wanted.inodes.contains(&inode)))
}

fn inode_in(facts: &[u8]) -> Option<u64> {
    let line = facts.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"ino:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

impl Seen {
    /// The entry of a process; processes come one after the other.
    fn of_process(&mut self, pid: u32) -> &mut Use {
        if self.uses.last().is_none_or(|last| last.pid != pid) {
            self.uses.push(Use { pid, ..Use::default() });
        }
        let last = self.uses.len() - 1;
        &mut self.uses[last]
    }
}

/// The ids of all processes that /proc shows, in order.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

impl Mapping<'_> {
    /// What it is a mapping of, if that is memory that processes share: all shared mappings of files; of what lies in
    /// memory also the private ones, for they keep it.
    fn key(&self) -> Option<Key> {
        // The first segment of all has the id 0.
        if self.path.starts_with(b"/SYSV") && is_deleted(self.path) {
            return Some(Key::Segment(self.inode as i32));
        }
        if self.inode == 0 || !self.path.starts_with(b"/") {
            return None;
        }
        let memory = self.path.starts_with(b"/memfd:") || self.path.starts_with(b"/dev/shm/");
        // A ring of asynchronous input and output is the kernel's own.
        let own = self.path.starts_with(b"/[aio]");
        // Devices are no memory, but /dev has file systems in it.
        let device = self.path.starts_with(b"/dev/") && !memory && !is_memory_in_dev(self.path);
        (memory || self.perms[3] == b's' && !own && !device).then_some(Key::File(self.dev, self.inode))
    }
}

fn is_memory_in_dev(path: &[u8]) -> bool {
    path.starts_with(b"/dev/zero") || path.starts_with(b"/dev/hugepages/")
}

pub fn is_deleted(path: &[u8]) -> bool {
    path.ends_with(DELETED)
}

/// The path without the mark of a name that is gone.
pub fn bare(path: &[u8]) -> &[u8] {
    path.strip_suffix(DELETED).unwrap_or(path)
}

/// /proc/PID/maps writes a new line in a name as `\012`, and nothing else.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                out.push(b'\n');
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// `start-end perms offset major:minor inode path`
pub fn parse(line: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let (range, perms, offset, device) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (inode, path) = (fields.next()?, fields.next().unwrap_or_default());
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (hex(&device[..colon])?, hex(&device[colon + 1..])?);
    Some(Mapping {
        start: hex(&range[..dash])?,
        end: hex(&range[dash + 1..])?,
        perms: perms.try_into().ok()?,
        offset: hex(offset)?,
        dev: libc::makedev(major as u32, minor as u32),
        inode: std::str::from_utf8(inode).ok()?.parse().ok()?,
        path: path.trim_ascii_start(),
    })
}

/// The mappings of one process; an error when it has ended or may not be looked at.
pub fn mappings(pid: u32, mut each: impl FnMut(&Mapping<'_>, Option<Key>)) -> std::io::Result<()> {
    let maps = fs::read(format!("/proc/{pid}/maps"))?;
    maps.split(|byte| *byte == b'\n').filter_map(parse).for_each(|mapping| each(&mapping, mapping.key()));
    Ok(())
}

/// The name of a process's program, fit to be printed; `None` when it has ended.
pub fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(printable::text(name.strip_suffix(b"\n").unwrap_or(&name)))
}

/// The process that a thread belongs to; `None` when it has ended, or is not shown.
pub fn process_of(thread: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

/// The user whose rights a process has.
pub fn owner(pid: u32) -> Option<u32> {
    fs::metadata(format!("/proc/{pid}")).ok().map(|found| found.uid())
}

/// Whether a process of this id exists that is old enough to have made something at a time (seconds since the epoch).
/// A younger one has taken the number over. `None` when its age cannot be looked at.
pub fn may_have_made(pid: u32, at: u64) -> Option<bool> {
    let start = shmkit::sys::process::start_time(pid)?;
    Some(boot_time().is_none_or(|boot| boot + start / TICKS <= at + 1))
}

/// When the machine was started, in seconds since the epoch.
fn boot_time() -> Option<u64> {
    static BOOT: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read_whatever_the_name_is() {
        let line = b"7f10-7f20 rw-s 00001000 00:1a 77                         /dev/shm/a b\\012c (deleted)";
        let mapping = parse(line).expect("it is a line of maps");
        assert_eq!((mapping.start, mapping.end, mapping.offset, mapping.inode), (0x7f10, 0x7f20, 0x1000, 77));
        assert_eq!(mapping.key(), Some(Key::File(libc::makedev(0, 0x1a), 77)));
        assert_eq!(bare(&unescaped(mapping.path)), b"/dev/shm/a b\nc");
        for (line, key) in [
            (&b"1-2 rw-s 0 00:01 5 /SYSV00000007 (deleted)"[..], Some(Key::Segment(5))),
            (b"1-2 rw-s 0 00:01 0 /SYSV00000007 (deleted)", Some(Key::Segment(0))),
            (b"1-2 rw-p 0 00:01 5 /usr/lib/x.so", None),
            (b"1-2 rw-s 0 00:01 5 /dev/dri/card0", None),
            (b"1-2 rw-s 0 00:01 5 /dev/zero (deleted)", Some(Key::File(1, 5))),
            (b"1-2 r--p 0 00:01 5 /memfd:x (deleted)", Some(Key::File(1, 5))),
            (b"1-2 rw-p 0 00:00 0 ", None),
        ] {
            assert_eq!(parse(line).expect("it is a line of maps").key(), key);
        }
        assert!(parse(b"").is_none() && parse(b"no line").is_none());
    }
}
