//! What the tests of limits, doctor, cp and dump share: running the tool, names of their own, private namespaces.
//! Never asserts by itself, but that a program ran.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

pub const TOOL: &str = env!("CARGO_BIN_EXE_shmkit");

/// A number that no other test of this or another process uses.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A System V key that is not in use.
pub fn unique_key() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("0x{:x}", 0x5a00_0000 + (std::process::id() & 0xffff) * 64 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a run of the tool gave.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub fn tool(args: &[&str]) -> Ran {
    Ran::of(Command::new(TOOL).args(args).output().expect("the tool runs"))
}

/// Runs the tool on a made-up machine that lies in a folder.
pub fn tool_on(machine: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(TOOL);
    Ran::of(command.args(args).env("SHMKIT_TEST_MACHINE", machine).output().expect("the tool runs"))
}

/// Runs a shell script in mount and IPC namespaces of its own, with /dev/shm a tmpfs of so many bytes. Root needs nothing
/// else; others go through a user namespace. `$T` is the tool.
pub fn private(bytes: u64, script: &str) -> Ran {
    // SAFETY: takes no pointers.
    let root = unsafe { libc::geteuid() } == 0;
    let mut command = Command::new("unshare");
    command.args(if root { &["-m", "-i"][..] } else { &["-U", "-r", "-m", "-i"][..] });
    let script = format!("set -e; mount -t tmpfs -o size={bytes},mode=1777 tmpfs /dev/shm; echo private >&2\n{script}");
    let mut ran = Ran::of(command.args(["sh", "-c", &script]).env("T", TOOL).output().expect("unshare runs"));
    let rest = ran.err.strip_prefix("private\n").map(String::from);
    ran.err = rest.unwrap_or_else(|| panic!("this test needs root or unprivileged user namespaces: {ran:?}"));
    ran
}

/// A POSIX object that is gone with this.
pub struct Object(pub String);

impl Object {
    pub fn new() -> Object {
        Object(format!("shmkit-room-{}", unique()))
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(&self.0)
    }

    pub fn address(&self) -> String {
        format!("posix:/{}", self.0)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

/// POSIX objects of odd names that are gone with this.
pub struct OddObjects(pub Vec<PathBuf>);

impl OddObjects {
    /// Makes one for each end of a name; each holds the number of its place.
    pub fn new(ends: &[&[u8]]) -> OddObjects {
        use std::os::unix::ffi::OsStrExt;
        let start = format!("/dev/shm/shmkit-room-{}-", unique());
        let path = |end: &&[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(&[start.as_bytes(), end].concat()));
        let all = OddObjects(ends.iter().map(path).collect());
        for (number, path) in all.0.iter().enumerate() {
            std::fs::write(path, format!("object {number}")).expect("there is room");
        }
        all
    }

    /// As `ls` prints the address of one.
    pub fn printed(&self, number: usize) -> String {
        use std::os::unix::fs::MetadataExt;
        let inode = self.0[number].symlink_metadata().expect("it was made").ino();
        let list = tool(&["ls", "-a", "-k", "posix", "-o", "id,address", "--no-headings"]);
        let line = list.out.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{inode}  ")));
        line.unwrap_or_else(|| panic!("{inode} is not listed: {list:?}")).to_string()
    }
}

impl Drop for OddObjects {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A System V key of which segment and semaphores are gone with this.
pub struct Key(pub String);

impl Key {
    pub fn new() -> Key {
        Key(unique_key())
    }

    pub fn address(&self) -> String {
        format!("sysv:{}", self.0)
    }

    pub fn number(&self) -> i32 {
        i32::from_str_radix(&self.0[2..], 16).expect("it is hexadecimal")
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let other = shmkit_other_key(self.number());
        // SAFETY: the commands take no pointers.
        unsafe {
            libc::shmctl(libc::shmget(self.number(), 0, 0), libc::IPC_RMID, std::ptr::null_mut());
            libc::semctl(libc::semget(other, 0, 0), 0, libc::IPC_RMID);
        }
    }
}

/// The key of the semaphores beside a region's segment (src/region/segment.rs).
fn shmkit_other_key(key: i32) -> i32 {
    key ^ 0x5348_4d4b
}

/// Bytes that do not repeat soon, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Makes a region of the library's that nobody has open, holding these bytes.
pub fn region(address: &str, data: &[u8], max_size: u64) {
    use shmkit::region::header::Layout;
    use shmkit::region::{Options, create, handle};
    let mut fill = |start: usize, size: usize| {
        let length = data.len().min(size);
        shmkit::sys::memory::copy_within_process(data.as_ptr() as usize, start, length).is_err().into()
    };
    let mut options = Options {
        size: data.len() as u64,
        max_size,
        layout: Layout::new(b"struct frames", 3, 16, 8),
        init: Some(&mut fill),
        mode: 0o640,
        ..Options::default()
    };
    let made = create(address.as_bytes(), &mut options);
    let token = made.unwrap_or_else(|failure| panic!("{address}: {}", failure.cause));
    handle::close(token).unwrap_or_else(|failure| panic!("{address}: {}", failure.cause));
}
