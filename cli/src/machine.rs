//! What the machine says of itself: /proc, /sys, /etc and the folder of POSIX objects, through one prefix, so that
//! tests can give a made-up machine. Reads and parses; never judges. Next: `limits.rs` and `doctor.rs`, which use it.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use shmkit::sys::limits::{Resource, page_size, soft_limit};
use shmkit::sys::{file, semset, sysv};

/// Where POSIX objects are.
pub const OBJECTS: &str = "/dev/shm";

/// What was found out, or why it could not be.
pub type Fact<T> = Result<T, String>;

/// Why a file could not be read, in a word or two.
pub fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission".into(),
        io::ErrorKind::NotFound => "not there".into(),
        _ => error.to_string(),
    }
}

fn why_errno(errno: shmkit::error::Errno) -> String {
    why(&io::Error::from_raw_os_error(errno.0))
}

/// A machine: this one, or one that lies in a folder.
pub struct Machine {
    root: Option<PathBuf>,
}

/// One line of /proc/self/mountinfo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What of the file system is mounted.
    pub top: String,
    /// Where.
    pub point: String,
    /// Its type.
    pub kind: String,
    /// The options of the mount and of the file system.
    pub options: Vec<String>,
}

impl Mount {
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

/// Room on a file system; a bound of 0 is none.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub bytes: u64,
    pub free: u64,
    pub inodes: u64,
    pub free_inodes: u64,
}

/// A pool of huge pages.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Bytes of a page.
    pub size: u64,
    pub pages: u64,
    pub free: u64,
    /// Promised and not yet used.
    pub reserved: u64,
}

/// The tightest limit of memory of the control groups that this process is in.
#[derive(Clone, Debug)]
pub struct Group {
    /// `None` for no limit.
    pub limit: Option<u64>,
    pub used: Fact<u64>,
    /// The file that sets it.
    pub file: String,
}

/// System V limits and use.
pub struct SystemV {
    pub shmmax: Fact<u64>,
    /// In pages.
    pub shmall: Fact<u64>,
    pub shmmni: Fact<u64>,
    pub segments: Fact<u64>,
    /// Of all segments.
    pub pages: Fact<u64>,
    pub semaphores: Fact<semset::Limits>,
}

/// A System V segment or set of semaphores, as /proc/sysvipc lists it for everybody.
pub struct Ipc {
    pub key: u32,
    pub id: u64,
    pub mode: u32,
    pub uid: u32,
    /// Bytes of a segment, semaphores of a set.
    pub size: u64,
}

impl Machine {
    /// This machine, or the made-up one of a test.
    pub fn new() -> Machine {
        Machine { root: std::env::var_os("SHMKIT_TEST_MACHINE").map(PathBuf::from) }
    }

    /// Whether the system may be asked by calls, too.
    pub fn is_real(&self) -> bool {
        self.root.is_none()
    }

    /// Where a file of this machine lies.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }

    /// A small text file, without blanks at its ends.
    pub fn read(&self, path: &str) -> Fact<String> {
        let bytes = fs::read(self.path(path)).map_err(|error| why(&error))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_string())
    }

    /// A file that holds one number.
    pub fn number(&self, path: &str) -> Fact<u64> {
        let text = self.read(path)?;
        text.parse().map_err(|_| format!("{path} holds {text:?}"))
    }

    /// The names in a folder, sorted.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// All mounts, in their order.
    pub fn mounts(&self) -> Fact<Vec<Mount>> {
        Ok(self.read("/proc/self/mountinfo")?.lines().filter_map(mount).collect())
    }

    /// The mount that a path lies on: the last one of the longest point.
    pub fn mount_of(&self, path: &str) -> Fact<Mount> {
        // A link, as /dev/shm to /run/shm, leads to where the mount is.
        let path = match self.is_real() {
            true => fs::canonicalize(path).map_or(path.to_string(), |real| real.to_string_lossy().into_owned()),
            false => path.to_string(),
        };
        let above =
            |point: &str| point == "/" || path.strip_prefix(point).is_some_and(|r| r.is_empty() || r.starts_with('/'));
        let mounts = self.mounts()?;
        let found = mounts.into_iter().filter(|mount| above(&mount.point)).max_by_key(|mount| mount.point.len());
        found.ok_or_else(|| "no mount".to_string())
    }

    /// The room at a path. A made-up machine has it in a file `.room`: bytes, free bytes, inodes, free inodes.
    pub fn room(&self, path: &str) -> Fact<Room> {
        if !self.is_real() {
            let text = self.read("/.room")?;
            let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let &[bytes, free, inodes, free_inodes] = &numbers[..] else { return Err("no four numbers".into()) };
            return Ok(Room { bytes, free, inodes, free_inodes });
        }
        let path = CString::new(path).map_err(|error| error.to_string())?;
        let room = file::room_at(&path).map_err(why_errno)?;
        let inodes = file::inodes_at(&path).map_err(why_errno)?;
        Ok(Room { bytes: room.capacity, free: room.free, inodes: inodes.all, free_inodes: inodes.free })
    }

    /// A soft limit of this process, by its words in /proc/self/limits; `None` for none.
    pub fn resource(&self, words: &str, resource: Resource) -> Fact<Option<u64>> {
        let soft = self.read("/proc/self/limits").and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(words)).ok_or("not listed")?;
            match line.split_whitespace().next() {
                Some("unlimited") => Ok(None),
                Some(number) => number.parse().map(Some).map_err(|_| format!("{number:?} is no number")),
                None => Err("not listed".to_string()),
            }
        });
        match soft {
            Err(_) if self.is_real() => Ok(Some(soft_limit(resource)).filter(|limit| *limit != u64::MAX)),
            soft => soft,
        }
    }

    /// A line of /proc/meminfo, in bytes.
    pub fn memory(&self, name: &str) -> Fact<u64> {
        let text = self.read("/proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).ok_or("not listed")?;
        let kilobytes = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        kilobytes.map(|number| number.saturating_mul(1024)).ok_or_else(|| format!("{line:?} holds no number"))
    }

    /// The pools of huge pages, the smallest pages first.
    pub fn pools(&self) -> Vec<Pool> {
        const FOLDER: &str = "/sys/kernel/mm/hugepages";
        let pool = |name: String| {
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let number = |what: &str| self.number(&format!("{FOLDER}/{name}/{what}_hugepages")).ok();
            let (pages, free, reserved) = (number("nr")?, number("free")?, number("resv")?);
            Some(Pool { size: kilobytes.saturating_mul(1024), pages, free, reserved })
        };
        let mut pools: Vec<Pool> = self.names(FOLDER).into_iter().filter_map(pool).collect();
        pools.sort_by_key(|pool| pool.size);
        pools
    }

    /// The limit of memory of this process's control groups, and what is used of it: version 2 where it has the memory
    /// controller, version 1 otherwise.
    pub fn group(&self) -> Fact<Group> {
        let own = self.read("/proc/self/cgroup")?;
        let mounts = self.mounts()?;
        let of = |wanted: &dyn Fn(&str, &str) -> bool| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                wanted(number, controllers).then(|| path.to_string())
            })
        };
        let second = of(&|number, controllers| number == "0" && controllers.is_empty())
            .zip(mounts.iter().find(|mount| mount.kind == "cgroup2"))
            .and_then(|(path, mount)| self.tightest(mount, &path, "memory.max", "memory.current"));
        let first = || {
            let path = of(&|_, controllers| controllers.split(',').any(|one| one == "memory"))?;
            let mount = mounts.iter().find(|mount| mount.kind == "cgroup" && mount.has("memory"))?;
            self.tightest(mount, &path, "memory.limit_in_bytes", "memory.usage_in_bytes")
        };
        second.or_else(first).ok_or_else(|| "no memory controller".to_string())
    }

    fn tightest(&self, mount: &Mount, path: &str, limit: &str, used: &str) -> Option<Group> {
        // Inside a container the mount shows a part of the tree only, or the path is another namespace's.
        let below = path.strip_prefix(mount.top.trim_end_matches('/')).unwrap_or("/");
        let mut folder = PathBuf::from(format!("{}/{}", mount.point, below.trim_matches('/')));
        if !self.path(&folder.to_string_lossy()).is_dir() {
            folder = PathBuf::from(&mount.point);
        }
        let mut found: Option<Group> = None;
        while folder.starts_with(&mount.point) {
            let file = folder.join(limit).to_string_lossy().into_owned();
            if let Ok(text) = self.read(&file) {
                // Version 1 writes no limit as the largest number of whole pages.
                let bound = text.parse::<u64>().ok().filter(|bound| *bound < i64::MAX as u64 - 65_536);
                let tighter = match (&found, bound) {
                    (None, _) => true,
                    (Some(before), Some(bound)) => before.limit.is_none_or(|limit| bound < limit),
                    (Some(_), None) => false,
                };
                if tighter {
                    let used = self.number(&folder.join(used).to_string_lossy());
                    found = Some(Group { limit: bound, used, file });
                }
            }
            if !folder.pop() {
                break;
            }
        }
        found
    }

    /// System V limits and use.
    pub fn system_v(&self) -> SystemV {
        if self.is_real() {
            let (info, usage) = (sysv::info().map_err(why_errno), sysv::usage().map_err(why_errno));
            return SystemV {
                shmmax: info.clone().map(|info| info.shmmax),
                shmall: info.clone().map(|info| info.shmall),
                shmmni: info.map(|info| info.shmmni),
                segments: usage.clone().map(|usage| usage.segments.max(0) as u64),
                pages: usage.map(|usage| usage.pages),
                semaphores: semset::limits().map_err(why_errno),
            };
        }
        let page = page_size() as u64;
        let segments = self.segments();
        SystemV {
            shmmax: self.number("/proc/sys/kernel/shmmax"),
            shmall: self.number("/proc/sys/kernel/shmall"),
            shmmni: self.number("/proc/sys/kernel/shmmni"),
            segments: segments.as_ref().map(|all| all.len() as u64).map_err(Clone::clone),
            pages: segments.map(|all| all.iter().map(|one| one.size.div_ceil(page)).sum()),
            semaphores: self.semaphores(),
        }
    }

    fn semaphores(&self) -> Fact<semset::Limits> {
        let text = self.read("/proc/sys/kernel/sem")?;
        let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let &[of_set, semaphores, of_operation, sets] = &numbers[..] else { return Err("no four numbers".into()) };
        let all = self.sets()?;
        let used = all.iter().map(|set| set.size).sum();
        Ok(semset::Limits { sets, used_sets: all.len() as u64, semaphores, used, of_set, of_operation })
    }

    /// All System V segments.
    pub fn segments(&self) -> Fact<Vec<Ipc>> {
        self.listed("/proc/sysvipc/shm", "size")
    }

    /// All System V sets of semaphores.
    pub fn sets(&self) -> Fact<Vec<Ipc>> {
        self.listed("/proc/sysvipc/sem", "nsems")
    }

    fn listed(&self, path: &str, size: &str) -> Fact<Vec<Ipc>> {
        let text = self.read(path)?;
        let mut lines = text.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
        // By their names: columns were added to these files more than once.
        let place = |name: &str| head.iter().position(|word| *word == name).ok_or(format!("no column {name}"));
        let id = head.iter().position(|word| *word == "shmid" || *word == "semid").ok_or("no column of ids")?;
        let (key, mode, uid, size) = (place("key")?, place("perms")?, place("uid")?, place(size)?);
        let one = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some(Ipc {
                key: words.get(key)?.parse::<i64>().ok()? as u32,
                id: words.get(id)?.parse().ok()?,
                mode: u32::from_str_radix(words.get(mode)?, 8).ok()?,
                uid: words.get(uid)?.parse().ok()?,
                size: words.get(size)?.parse().ok()?,
            })
        };
        Ok(lines.filter_map(one).collect())
    }

    /// What lies in the folder of POSIX objects: name, byte for byte, and status.
    pub fn objects(&self) -> Fact<Vec<(Vec<u8>, fs::Metadata)>> {
        let entries = fs::read_dir(self.path(OBJECTS)).map_err(|error| why(&error))?;
        let mut objects: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.file_name().into_vec(), entry.metadata().ok()?)))
            .filter(|(_, status)| status.is_file())
            .collect();
        objects.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(objects)
    }
}

/// `id parent major:minor root point options optional... - type source super-options`
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let before: Vec<&str> = before.split(' ').collect();
    let after: Vec<&str> = after.split(' ').collect();
    let options = [before.get(5).copied(), after.get(2).copied()];
    Some(Mount {
        top: before.get(3)?.replace("\\040", " "),
        point: before.get(4)?.replace("\\040", " "),
        kind: after.first()?.to_string(),
        options: options.iter().flatten().flat_map(|words| words.split(',')).map(String::from).collect(),
    })
}

/// A size as people write it: 4096, 0x1000, 64M, 1G.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write bytes, or a number with K, M, G or T");
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).map_err(|_| wrong());
    }
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let power = match unit.to_ascii_uppercase().trim_end_matches("IB").trim_end_matches('B') {
        "" if unit.is_empty() || unit.eq_ignore_ascii_case("b") => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("0x1000", 4096), ("64M", 64 << 20), ("1g", 1 << 30), ("2KiB", 2048), ("7b", 7)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "1X", "99999999999T", "0xg"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mount_is_read() {
        let line = "25 24 0:23 / /dev/shm rw,nosuid,noexec shared:4 - tmpfs shm rw,size=65536k";
        let mount = mount(line).expect("it is one");
        assert_eq!((mount.point.as_str(), mount.kind.as_str()), ("/dev/shm", "tmpfs"));
        assert!(mount.has("noexec") && mount.has("size=65536k") && !mount.has("ro"));
    }
}
