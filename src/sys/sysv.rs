//! System V segments and keys: the system calls. Never checks and never explains. Next: `calls/sysv.rs`.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use super::{Sys, check, check_address, real};

/// Attach the segment executable; absent from the `libc` crate on some targets.
pub const SHM_EXEC: i32 = 0o100000;
/// The segment was marked for removal; set in the mode that IPC_STAT gives.
pub const SHM_DEST: u32 = 0o1000;
/// Use huge pages.
pub const SHM_HUGETLB: i32 = 0o4000;
/// Reserve no swap space.
pub const SHM_NORESERVE: i32 = 0o10000;
/// Information on the system's limits (shmctl).
pub const IPC_INFO: i32 = 3;
/// Statistics of a segment by its index (shmctl).
pub const SHM_STAT: i32 = 13;
/// What the system's segments use (shmctl).
pub const SHM_INFO: i32 = 14;
/// As SHM_STAT, without the permission check (shmctl).
pub const SHM_STAT_ANY: i32 = 15;

/// shmget(key, size, shmflg)—finds or makes a segment.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shmget.html),
/// [Linux](https://man7.org/linux/man-pages/man2/shmget.2.html)
#[inline]
pub fn shmget(key: i32, size: usize, flags: i32) -> Sys<i32> {
    // SAFETY: takes no pointers.
    check(unsafe { real::shmget(key, size, flags) })
}

/// shmat(shmid, shmaddr, shmflg)—attaches a segment.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shmat.html),
/// [Linux](https://man7.org/linux/man-pages/man2/shmat.2.html)
#[inline]
pub fn shmat(id: i32, addr: usize, flags: i32) -> Sys<usize> {
    // SAFETY: see the top of `sys/memory.rs`.
    check_address(unsafe { real::shmat(id, addr as *const _, flags) })
}

/// shmdt(shmaddr)—detaches a segment.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shmdt.html)
#[inline]
pub fn shmdt(addr: usize) -> Sys<()> {
    // SAFETY: see the top of `sys/memory.rs`.
    check(unsafe { real::shmdt(addr as *const _) }).map(drop)
}

/// shmctl(shmid, cmd, buf)—controls a segment.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/shmctl.html),
/// [Linux](https://man7.org/linux/man-pages/man2/shmctl.2.html)
///
/// # Safety
/// `buffer` points to what `command` needs, or is an address at which the kernel will answer EFAULT.
#[inline]
pub unsafe fn shmctl(id: i32, command: i32, buffer: *mut libc::shmid_ds) -> Sys<i32> {
    // SAFETY: the caller's promise; the kernel alone reads and writes through the pointer.
    check(unsafe { real::shmctl(id, command, buffer) })
}

/// IPC_RMID—marks a segment for removal.
#[inline]
pub fn remove(id: i32) -> Sys<()> {
    // SAFETY: the command takes no buffer.
    unsafe { shmctl(id, libc::IPC_RMID, core::ptr::null_mut()) }.map(drop)
}

/// shmctl(id, IPC_SET)—gives a segment this mode and group, in one.
pub fn set_access(id: i32, mode: u32, group: u32) -> Sys<()> {
    let mut stat = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the buffer is of the right type; the first call fills it.
    unsafe {
        shmctl(id, libc::IPC_STAT, stat.as_mut_ptr())?;
        let perm = &mut stat.assume_init_mut().shm_perm;
        (perm.mode, perm.gid) = (mode as _, group);
        shmctl(id, libc::IPC_SET, stat.as_mut_ptr()).map(drop)
    }
}

/// What the checks need to know of a segment.
#[derive(Clone, Copy)]
pub struct Status {
    /// Its key; zero for a private or removed one.
    pub key: i32,
    /// Bytes.
    pub size: u64,
    /// Permission bits, and SHM_DEST.
    pub mode: u32,
    /// How many times it is attached, by all processes.
    pub attaches: u64,
    /// The process that made it.
    pub creator: i32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When it was made, or its owner, group or mode was set, in seconds since the epoch.
    pub changed: i64,
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn status_of(stat: &libc::shmid_ds) -> Status {
    Status {
        key: stat.shm_perm.__key,
        size: stat.shm_segsz as u64,
        mode: stat.shm_perm.mode as u32,
        attaches: stat.shm_nattch as u64,
        creator: stat.shm_cpid,
        uid: stat.shm_perm.uid,
        gid: stat.shm_perm.gid,
        changed: stat.shm_ctime as i64,
    }
}

/// IPC_STAT—the status of a segment.
pub fn status(id: i32) -> Sys<Status> {
    let mut stat = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the buffer is writable and of the right type, and zero is valid for each of its fields.
    unsafe {
        shmctl(id, libc::IPC_STAT, stat.as_mut_ptr())?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

/// The limits that IPC_INFO gives.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Info {
    /// The largest segment, in bytes.
    pub shmmax: u64,
    /// The smallest segment, in bytes.
    pub shmmin: u64,
    /// The number of segments.
    pub shmmni: u64,
    /// Segments that one process can attach (unused by the kernel).
    pub shmseg: u64,
    /// Pages of all segments together.
    pub shmall: u64,
    unused: [u64; 4],
}

/// IPC_INFO—the System V limits of this IPC namespace.
pub fn info() -> Sys<Info> {
    let mut info = Info::default();
    // SAFETY: for IPC_INFO the kernel writes a `struct shminfo`, of which `Info` has the layout.
    unsafe { shmctl(0, IPC_INFO, (&raw mut info).cast())? };
    Ok(info)
}

/// What all segments of this IPC namespace use, from SHM_INFO.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// The number of segments.
    pub segments: libc::c_int,
    /// Pages of all of them.
    pub pages: u64,
    resident: u64,
    swapped: u64,
    swap_attempts: u64,
    swap_successes: u64,
}

/// SHM_INFO—what all segments use.
pub fn usage() -> Sys<Usage> {
    let mut usage = Usage::default();
    // SAFETY: for SHM_INFO the kernel writes a `struct shm_info`, of which `Usage` has the layout.
    unsafe { shmctl(0, SHM_INFO, (&raw mut usage).cast())? };
    Ok(usage)
}

/// The highest index of a segment in the kernel's table.
pub fn last_index() -> Sys<i32> {
    let mut usage = Usage::default();
    // SAFETY: as in `usage`.
    unsafe { shmctl(0, SHM_INFO, (&raw mut usage).cast()) }
}

/// The segment at an index of the kernel's table: its id and status, whoever may read it (Linux 4.17). Of an id the kernel
/// takes the index that is a part of it.
pub fn at_index(index: i32) -> Sys<(i32, Status)> {
    let mut stat = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: as in `status`.
    unsafe {
        let id = shmctl(index, SHM_STAT_ANY, stat.as_mut_ptr())?;
        Ok((id, status_of(stat.assume_init_ref())))
    }
}

/// What `ftok` is made of: the device and number of a file, symbolic links followed.
#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
pub fn file_identity(path: &CStr) -> Sys<(u64, u64)> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the buffer is writable and of the right type, zero is valid for each field, and the path is terminated.
    unsafe {
        check(libc::stat(path.as_ptr(), stat.as_mut_ptr()))?;
        let stat = stat.assume_init_ref();
        Ok((stat.st_dev as u64, stat.st_ino as u64))
    }
}
