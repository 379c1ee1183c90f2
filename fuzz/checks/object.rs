//! An object that a hostile peer made: any size, any bytes, with the peer's own way to it beside the library's.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::zeroed;
use std::ptr::{null, null_mut};

use super::PAGE;

/// The kinds of objects that are attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A memfd that comes over a socket.
    Memfd,
    /// A POSIX object that is opened by its name.
    Posix,
    /// A POSIX object that comes over a socket.
    Passed,
    /// A System V segment.
    Sysv,
}

/// An object that a hostile peer made, with the peer's own way to it. Removed when dropped.
pub struct Object {
    /// What it is, and how the library gets it.
    pub kind: Kind,
    /// -1 for a segment.
    fd: c_int,
    /// The peer's own attach of a segment.
    at: *mut c_void,
    id: c_int,
    key: libc::key_t,
    /// Its address string.
    pub address: CString,
    /// Where the library gets a description for reading only.
    read_only: Cell<bool>,
}

/// Where the library's leases begin: see src/region/lease.rs.
const LEASES: i64 = 1 << 62;

fn key() -> libc::key_t {
    0x4655_0000 | (std::process::id() & 0xffff) as libc::key_t
}

/// The key of the semaphores that stand beside a segment.
fn other_key(key: libc::key_t) -> libc::key_t {
    key ^ 0x5348_4d4b
}

impl Object {
    pub fn new(kind: Kind, size: u64) -> Object {
        let pid = std::process::id();
        let address = match kind {
            Kind::Memfd => c"memfd:fuzzed".to_owned(),
            Kind::Posix | Kind::Passed => CString::new(format!("posix:/shmkit-fuzzed-{pid}")).expect("no NUL"),
            Kind::Sysv => CString::new(format!("sysv:{:#x}", key())).expect("no NUL"),
        };
        let mut object =
            Object { kind, fd: -1, at: null_mut(), id: -1, key: key(), address, read_only: Cell::new(false) };
        // SAFETY: strings are terminated; the results are checked.
        unsafe {
            match kind {
                Kind::Memfd => {
                    object.fd = libc::memfd_create(c"fuzzed".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
                    // The kernel lets everybody write, which the library refuses.
                    libc::fchmod(object.fd, 0o600);
                }
                Kind::Posix | Kind::Passed => {
                    libc::shm_unlink(object.name().as_ptr());
                    object.fd =
                        libc::shm_open(object.name().as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
                }
                Kind::Sysv => {
                    remove_semaphores(object.key);
                    let left = libc::shmget(object.key, 0, 0);
                    if left >= 0 {
                        libc::shmctl(left, libc::IPC_RMID, null_mut());
                    }
                    let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o600;
                    object.id = libc::shmget(object.key, size.max(1) as usize, flags);
                    assert!(object.id >= 0, "{}", std::io::Error::last_os_error());
                    object.at = libc::shmat(object.id, null(), 0);
                    assert!(object.at as isize != -1, "{}", std::io::Error::last_os_error());
                }
            }
            if kind != Kind::Sysv {
                assert!(object.fd >= 0, "{}", std::io::Error::last_os_error());
                assert_eq!(libc::ftruncate(object.fd, size as i64), 0);
            }
        }
        object
    }

    /// The name as shm_open takes it.
    fn name(&self) -> &CStr {
        let text = &self.address.as_bytes_with_nul()[self.address.as_bytes().len().min(6)..];
        CStr::from_bytes_with_nul(text).expect("it ends where the address ends")
    }

    /// What the kernel says of its size.
    pub fn size(&self) -> u64 {
        // SAFETY: zero is valid for the structs, which are writable.
        unsafe {
            if self.kind == Kind::Sysv {
                let mut status: libc::shmid_ds = zeroed();
                assert_eq!(libc::shmctl(self.id, libc::IPC_STAT, &mut status), 0);
                return status.shm_segsz as u64;
            }
            let mut status: libc::stat = zeroed();
            assert_eq!(libc::fstat(self.fd, &mut status), 0);
            status.st_size as u64
        }
    }

    /// The peer writes.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        // SAFETY: what is written lies in the segment's pages, or the kernel writes it to the object.
        unsafe {
            if self.kind == Kind::Sysv {
                let room = self.size().next_multiple_of(PAGE) as usize;
                let length = bytes.len().min(room.saturating_sub(at));
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.at.cast::<u8>().add(at.min(room)), length);
            } else {
                libc::pwrite(self.fd, bytes.as_ptr().cast(), bytes.len(), at as i64);
            }
        }
    }

    /// The peer reads; zeros stand for what is not there.
    pub fn read(&self, at: usize, bytes: &mut [u8]) {
        bytes.fill(0);
        // SAFETY: as in `write`.
        unsafe {
            if self.kind == Kind::Sysv {
                let room = self.size() as usize;
                let length = bytes.len().min(room.saturating_sub(at));
                std::ptr::copy_nonoverlapping(self.at.cast::<u8>().add(at.min(room)), bytes.as_mut_ptr(), length);
            } else {
                libc::pread(self.fd, bytes.as_mut_ptr().cast(), bytes.len(), at as i64);
            }
        }
    }

    pub fn word(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.read(at, &mut word);
        u64::from_ne_bytes(word)
    }

    /// A description of its own, to be sent.
    pub fn description(&self) -> c_int {
        let path = CString::new(format!("/proc/self/fd/{}", self.fd)).expect("no NUL");
        let access = if self.read_only.get() { libc::O_RDONLY } else { libc::O_RDWR };
        // SAFETY: the path is terminated.
        let fd = unsafe { libc::open(path.as_ptr(), access | libc::O_CLOEXEC) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        fd
    }

    /// The peer makes it shorter or longer. A segment and a sealed memfd stay as they are.
    pub fn truncate(&self, size: u64) {
        // SAFETY: takes no pointers; the mappings behind the new end are the library's, which must cope.
        unsafe { libc::ftruncate(self.fd, size as i64) };
    }

    /// The peer seals a memfd; nearly always against shrinking, without which nothing is accepted.
    pub fn seal(&self, choice: u8, read_only: bool) {
        self.read_only.set(read_only);
        if self.kind != Kind::Memfd {
            return;
        }
        let shrink = if choice >> 4 == 15 { 0 } else { libc::F_SEAL_SHRINK };
        let other = [0, 0, libc::F_SEAL_GROW, libc::F_SEAL_WRITE, 16, libc::F_SEAL_SEAL][usize::from(choice & 15) % 6];
        // SAFETY: takes no pointers.
        unsafe { libc::fcntl(self.fd, libc::F_ADD_SEALS, shrink | other) };
    }

    /// Whether its name still leads to it; of a memfd, always.
    pub fn has_its_name(&self) -> bool {
        // SAFETY: zero is valid for the structs, which are writable.
        unsafe {
            match self.kind {
                Kind::Memfd => true,
                Kind::Sysv => libc::shmget(self.key, 0, 0) == self.id,
                Kind::Posix | Kind::Passed => {
                    let mut status: libc::stat = zeroed();
                    libc::fstat(self.fd, &mut status) == 0 && status.st_nlink == 1
                }
            }
        }
    }

    /// Whether another description than the peer's holds any of the library's locks.
    pub fn is_locked_by_another(&self) -> bool {
        // SAFETY: zero is valid for the struct, which is readable and writable.
        unsafe {
            let mut lock: libc::flock = zeroed();
            (lock.l_type, lock.l_start) = (libc::F_WRLCK as _, LEASES - 3);
            libc::fcntl(self.fd, libc::F_OFD_GETLK, &mut lock) == 0 && lock.l_type != libc::F_UNLCK as libc::c_short
        }
    }

    /// The peer locks a part of what the library locks, or makes the semaphores that the library expects.
    pub fn obstruct(&self, choice: u8) {
        if self.kind == Kind::Sysv {
            return obstruct_segment(self.key, choice);
        }
        let (kind, start, length) = match choice % 16 {
            9 => (libc::F_RDLCK, LEASES, 0),
            10 => (libc::F_WRLCK, LEASES, 0),
            11 => (libc::F_WRLCK, LEASES, 70),
            12 => (libc::F_WRLCK, LEASES, 1 << 20),
            13 => (libc::F_WRLCK, LEASES - 3, 3),
            14 => (libc::F_RDLCK, 0, 0),
            15 => (libc::F_UNLCK, 0, 0),
            _ => return,
        };
        // SAFETY: zero is valid for the struct, which is readable.
        unsafe {
            let mut lock: libc::flock = zeroed();
            (lock.l_type, lock.l_start, lock.l_len) = (kind as _, start, length);
            libc::fcntl(self.fd, libc::F_OFD_SETLK, &lock);
        }
    }
}

/// Numbers for the first four semaphores of a set: see src/region/segment.rs.
fn obstruct_segment(key: libc::key_t, choice: u8) {
    const OURS: c_int = 0x5348;
    let (count, values) = match choice % 16 {
        9 => (1, [0; 4]),
        10 => (64, [1, 0, 0, OURS]),
        11 => (64, [0, 0, 1, OURS]),
        12 => (64, [0, 32_767, 0, OURS]),
        13 => (64, [0, 0, 0, 1]),
        14 => (64, [0, 0, 1, 0]),
        15 => (65, [0, 0, 0, OURS]),
        _ => return,
    };
    // SAFETY: takes no pointers.
    unsafe {
        let set = libc::semget(other_key(key), count, libc::IPC_CREAT | 0o600);
        for (index, value) in values.iter().enumerate().filter(|(_, value)| **value != 0) {
            libc::semctl(set, index as c_int, libc::SETVAL, *value);
        }
    }
}

/// A descriptor of any sort, for a message: some are good regions.
pub fn descriptor(sort: u8) -> c_int {
    const RDWR: c_int = libc::O_RDWR | libc::O_CLOEXEC;
    let region = |seals: c_int, size: i64, filled: bool| {
        // SAFETY: the strings are terminated; the bytes are readable for their length.
        unsafe {
            let fd = libc::memfd_create(c"fuzzed".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            libc::fchmod(fd, 0o600);
            libc::ftruncate(fd, size);
            let header = super::good_header(size as u64 - PAGE);
            if filled {
                libc::pwrite(fd, header.as_ptr().cast(), header.len(), 0);
            }
            libc::fcntl(fd, libc::F_ADD_SEALS, seals);
            fd
        }
    };
    // The second of two descriptors that are made together is closed.
    let first = |ends: [c_int; 2]| {
        // SAFETY: it is ours.
        unsafe { libc::close(ends[1]) };
        ends[0]
    };
    let mut ends = [-1; 2];
    // SAFETY: strings are terminated, the array has room for two.
    let fd = unsafe {
        match sort % 16 {
            0..=3 => region(libc::F_SEAL_SHRINK, 8192, true),
            4 => region(libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE, 8192, true),
            5 => region(0, 8192, true),
            6 => region(libc::F_SEAL_SHRINK, 8192, false),
            7 => libc::open(c"/dev/null".as_ptr(), RDWR),
            8 => libc::open(c"/dev/shm".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC),
            9 => libc::open(c"/dev/shm".as_ptr(), libc::O_PATH | libc::O_CLOEXEC),
            10 => {
                libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC);
                first(ends)
            }
            11 => {
                libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr());
                first(ends)
            }
            12 => libc::eventfd(1, libc::EFD_CLOEXEC),
            13 => {
                let made = [region(libc::F_SEAL_SHRINK, 8192, true), -1];
                let path = CString::new(format!("/proc/self/fd/{}", made[0])).expect("no NUL");
                first([libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC), made[0]])
            }
            14 => {
                let made = region(libc::F_SEAL_SHRINK, 8192, true);
                let path = CString::new(format!("/proc/self/fd/{made}")).expect("no NUL");
                first([libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC), made])
            }
            _ => {
                let fd = libc::open(c"/dev/shm".as_ptr(), libc::O_TMPFILE | RDWR, 0o600);
                let header = super::good_header(100);
                libc::ftruncate(fd, PAGE as i64 + 100);
                libc::pwrite(fd, header.as_ptr().cast(), header.len(), 0);
                fd
            }
        }
    };
    assert!(fd >= 0, "descriptor of sort {sort}: {}", std::io::Error::last_os_error());
    fd
}

fn remove_semaphores(key: libc::key_t) {
    // SAFETY: takes no pointers.
    unsafe {
        let set = libc::semget(other_key(key), 0, 0);
        if set >= 0 {
            libc::semctl(set, 0, libc::IPC_RMID);
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: all of it is this object's own.
        unsafe {
            match self.kind {
                Kind::Memfd => {}
                Kind::Posix | Kind::Passed => drop(libc::shm_unlink(self.name().as_ptr())),
                Kind::Sysv => {
                    libc::shmdt(self.at);
                    libc::shmctl(self.id, libc::IPC_RMID, null_mut());
                    remove_semaphores(self.key);
                }
            }
            if self.fd >= 0 {
                libc::close(self.fd);
            }
        }
    }
}
