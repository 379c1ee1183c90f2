//! Descriptors and sizes: the system calls. Never checks and never explains. Next: `calls/file.rs`.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use super::{Sys, check, kernel, process, real};
use crate::error::Errno;

/// ftruncate(fd, length)—sets the size of a file or object.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/ftruncate.html)
#[inline]
pub fn ftruncate(fd: i32, length: i64) -> Sys<()> {
    // SAFETY: takes no pointers; what a shrink does to mappings is argued in `sys/memory.rs`.
    check(unsafe { real::ftruncate(fd, length) }).map(drop)
}

/// posix_fallocate(fd, offset, length)—reserves space. The error is the call's own result, not errno.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/posix_fallocate.html)
#[inline]
pub fn posix_fallocate(fd: i32, offset: i64, length: i64) -> Sys<()> {
    // SAFETY: takes no pointers.
    match unsafe { real::posix_fallocate(fd, offset, length) } {
        0 => Ok(()),
        errno => Err(Errno(errno)),
    }
}

/// fstat(fd, buffer)—the status of a file, written where the caller says.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/fstat.html)
///
/// # Safety
/// `buffer` is null, or points to writable memory for a `struct stat`, or is an address at which the kernel will
/// find no memory and answer EFAULT.
#[inline]
pub unsafe fn fstat_into(fd: i32, buffer: *mut libc::stat) -> Sys<()> {
    // SAFETY: the caller's promise; the kernel alone writes through the pointer.
    check(unsafe { real::fstat(fd, buffer) }).map(drop)
}

/// close(fd)—closes a descriptor of the program, which asked for it: a cancellation point.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/close.html)
#[inline]
pub fn close_for_program(fd: i32) -> Sys<()> {
    // SAFETY: the descriptor is the program's; it asked for this.
    check(unsafe { real::close(fd) }).map(drop)
}

/// Closes a descriptor of our own.
#[inline]
pub fn close(fd: i32) -> Sys<()> {
    kernel::close(fd)
}

/// What the checks need to know of an open file.
#[derive(Clone, Copy)]
pub struct Status {
    /// The device that holds it.
    pub dev: u64,
    /// Its number on that device.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes that it has reserved.
    pub reserved: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// The number of its names.
    pub links: u64,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The best size of input and output, in bytes; for memory, the size of a page.
    pub block: u64,
}

impl Status {
    /// Whether the object has a size that bounds a mapping: a regular file, a POSIX object or a memfd.
    pub fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn status_of(stat: &libc::stat) -> Status {
    Status {
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        size: stat.st_size as u64,
        reserved: (stat.st_blocks as u64).saturating_mul(512),
        mode: stat.st_mode,
        links: stat.st_nlink as u64,
        uid: stat.st_uid,
        gid: stat.st_gid,
        block: stat.st_blksize as u64,
    }
}

/// The status of an open file. Without its times: since Linux 6.13 a file whose times were asked for costs more to
/// change.
pub fn status(fd: i32) -> Sys<Status> {
    // Another error is of a kernel before 4.11, or of a filter of system calls that does not know this one.
    if let known @ (Ok(_) | Err(Errno(libc::EBADF))) = status_without_times(fd) {
        return known;
    }
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the buffer is writable and of the right type; the kernel fills it before it is read, and all of its
    // fields are plain numbers for which zero is valid.
    unsafe {
        fstat_into(fd, stat.as_mut_ptr())?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn status_without_times(fd: i32) -> Sys<Status> {
    const WANTED: u32 = libc::STATX_BASIC_STATS & !(libc::STATX_ATIME | libc::STATX_MTIME | libc::STATX_CTIME);
    let mut stat = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: as in `status`; the path is terminated.
    let stat = unsafe {
        let empty = c"".as_ptr();
        let flags = libc::AT_EMPTY_PATH;
        let result = libc::syscall(libc::SYS_statx, fd, empty, flags, WANTED, stat.as_mut_ptr());
        check(result as libc::c_int)?;
        stat.assume_init()
    };
    Ok(Status {
        dev: libc::makedev(stat.stx_dev_major, stat.stx_dev_minor) as u64,
        ino: stat.stx_ino,
        size: stat.stx_size,
        reserved: stat.stx_blocks.saturating_mul(512),
        mode: u32::from(stat.stx_mode),
        links: u64::from(stat.stx_nlink),
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        block: u64::from(stat.stx_blksize),
    })
}

/// The status of what a path leads to.
pub fn status_behind(path: &CStr) -> Sys<Status> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: as in `status`; the path is terminated and outlives the call.
    unsafe {
        check(libc::stat(path.as_ptr(), stat.as_mut_ptr()))?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

/// The status of what a path names, without following a symbolic link.
pub fn status_at(path: &CStr) -> Sys<Status> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: as in `status`; the path is terminated and outlives the call.
    unsafe {
        check(libc::lstat(path.as_ptr(), stat.as_mut_ptr()))?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

/// The access mode and status flags of a descriptor.
pub fn open_flags(fd: i32) -> Sys<i32> {
    // SAFETY: takes no pointers.
    check(unsafe { real::fcntl(fd, libc::F_GETFL, 0) })
}

/// The seals of a memfd; EINVAL where the file cannot be sealed.
pub fn seals(fd: i32) -> Sys<i32> {
    // SAFETY: takes no pointers.
    check(unsafe { real::fcntl(fd, libc::F_GET_SEALS, 0) })
}

/// What kind of file system holds an open file, as far as it matters to mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Memory: POSIX objects, memfds, tmpfs, hugetlbfs. What it cannot back is a SIGBUS.
    Memory,
    /// Files that the kernel makes up, whose size says nothing.
    Pseudo,
    /// Anything else.
    Storage,
}

/// The file system of an open file.
#[allow(clippy::unnecessary_cast, reason = "the width of the type differs between architectures")]
pub fn file_system(fd: i32) -> Sys<FileSystem> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the buffer is writable and of the right type, and zero is valid for each of its fields.
    unsafe {
        check(libc::fstatfs(fd, stat.as_mut_ptr()))?;
        Ok(kind_of(stat.assume_init_ref()))
    }
}

fn kind_of(stat: &libc::statfs) -> FileSystem {
    // linux/magic.h: tmpfs, hugetlbfs, ramfs; proc, sysfs, debugfs, tracefs, securityfs, cgroup, cgroup2, bpf.
    match stat.f_type as u64 & 0xffff_ffff {
        0x0102_1994 | 0x9584_58f6 | 0x8584_58f6 => FileSystem::Memory,
        0x9fa0 | 0x6265_6572 | 0x6462_6720 | 0x7472_6163 | 0x7363_6673 | 0x0027_e0eb | 0x6367_7270 | 0xcafe_4a11 => {
            FileSystem::Pseudo
        }
        _ => FileSystem::Storage,
    }
}

/// Whether an open file is memory that the machine shares among all: tmpfs, and no huge pages, which are set aside.
#[allow(clippy::unnecessary_cast, reason = "the width of the type differs between architectures")]
pub fn is_memory(fd: i32) -> bool {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: as in `file_system`.
    unsafe { libc::fstatfs(fd, stat.as_mut_ptr()) == 0 && stat.assume_init_ref().f_type as u64 == 0x0102_1994 }
}

/// Room on a file system, in bytes.
#[derive(Clone, Copy)]
pub struct Room {
    /// All of it; zero where the file system states no bound.
    pub capacity: u64,
    /// What an ordinary process can still use.
    pub free: u64,
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn room_of(stat: &libc::statvfs) -> Room {
    let unit = stat.f_frsize as u64;
    Room { capacity: (stat.f_blocks as u64).saturating_mul(unit), free: (stat.f_bavail as u64).saturating_mul(unit) }
}

/// The room on the file system of an open file, if that is memory (`FileSystem::Memory`): one question for both.
pub fn room_in_memory(fd: i32) -> Option<Room> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: as in `file_system`.
    let stat = unsafe {
        check(libc::fstatfs(fd, stat.as_mut_ptr())).ok()?;
        stat.assume_init()
    };
    if kind_of(&stat) != FileSystem::Memory {
        return None;
    }
    // As the C library makes fstatvfs of it.
    let unit = if stat.f_frsize != 0 { stat.f_frsize as u64 } else { stat.f_bsize as u64 };
    Some(Room { capacity: stat.f_blocks.saturating_mul(unit), free: stat.f_bavail.saturating_mul(unit) })
}

/// The room on the file system of an open file.
pub fn room(fd: i32) -> Sys<Room> {
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the buffer is writable and of the right type, and zero is valid for each of its fields.
    unsafe {
        check(libc::fstatvfs(fd, stat.as_mut_ptr()))?;
        Ok(room_of(stat.assume_init_ref()))
    }
}

/// The room on the file system of a path.
pub fn room_at(path: &CStr) -> Sys<Room> {
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: as in `room`; the path is terminated and outlives the call.
    unsafe {
        check(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()))?;
        Ok(room_of(stat.assume_init_ref()))
    }
}

/// Inodes of a file system: each object needs one.
#[derive(Clone, Copy)]
pub struct Inodes {
    /// All of them; zero where the file system states no bound.
    pub all: u64,
    /// What is left.
    pub free: u64,
}

/// The inodes of the file system of a path.
#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
pub fn inodes_at(path: &CStr) -> Sys<Inodes> {
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: as in `room_at`.
    unsafe {
        check(libc::statvfs(path.as_ptr(), stat.as_mut_ptr()))?;
        let stat = stat.assume_init_ref();
        Ok(Inodes { all: stat.f_files as u64, free: stat.f_favail as u64 })
    }
}

/// The first bytes at or after `from` that are no hole: where they begin and end; `None` when only a hole is left, or
/// nothing. Moves the position of the description. A file system that knows no holes says that all is data.
///
/// [Linux](https://man7.org/linux/man-pages/man2/lseek.2.html)
pub fn data_at(fd: i32, from: u64) -> Sys<Option<(u64, u64)>> {
    let seek = |at: i64, whence: i32| {
        // SAFETY: takes no pointers.
        let found = unsafe { libc::lseek(fd, at, whence) };
        u64::try_from(found).map_err(|_| Errno(super::errno()))
    };
    let past = i64::try_from(from).map_err(|_| Errno(libc::EOVERFLOW))?;
    match seek(past, libc::SEEK_DATA) {
        Ok(start) => Ok(Some((start, seek(start as i64, libc::SEEK_HOLE)?))),
        Err(Errno(libc::ENXIO)) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Reads from a path into `buffer`, returns how many bytes came. For the small files of /proc and /sys.
pub fn read_small(path: &CStr, buffer: &mut [u8]) -> Sys<usize> {
    let fd = kernel::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0)?;
    let result = kernel::read(fd, buffer);
    let _ = close(fd);
    result
}

/// Shows each byte of a file to `each`, until it answers false or the file ends. For the longer files of /proc.
pub fn read_all(path: &CStr, mut each: impl FnMut(u8) -> bool) -> Sys<()> {
    let fd = kernel::openat(libc::AT_FDCWD, path, libc::O_RDONLY, 0)?;
    let mut buffer = [0u8; 1024];
    let result = loop {
        match kernel::read(fd, &mut buffer) {
            Err(errno) => break Err(errno),
            Ok(0) => break Ok(()),
            Ok(count) if !buffer.iter().take(count).all(|byte| each(*byte)) => break Ok(()),
            Ok(_) => {}
        }
    };
    let _ = close(fd);
    result
}

/// What a descriptor of this process leads to, as /proc tells it; returns the length.
pub fn link_of(fd: i32, buffer: &mut [u8]) -> Sys<usize> {
    let mut path = crate::text::Text::<40>::new();
    path.push_str("/proc/self/fd/");
    path.push_number(fd.max(0) as u64);
    path.push(0);
    // SAFETY: the path was terminated just above; the buffer is writable for its length.
    let count = unsafe { libc::readlink(path.bytes().as_ptr().cast(), buffer.as_mut_ptr().cast(), buffer.len()) };
    if count < 0 { Err(Errno(super::errno())) } else { Ok(count as usize) }
}

/// Opens a file for one report, which is closed again after it: a descriptor kept open could be closed by the program and
/// its number given to one of the program's own files. Waits for nobody who would read it.
pub fn open_for_report(path: &CStr, create: bool) -> Sys<i32> {
    let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_NONBLOCK | if create { libc::O_CREAT } else { 0 };
    kernel::openat(libc::AT_FDCWD, path, flags, 0o600)
}

/// Writes one report. Whoever should read it may be slow, or gone, or the file too large: after so many nanoseconds it
/// is given up, and no signal of it reaches the program.
pub fn write_report(fd: i32, bytes: &[u8], patience: u64) -> Sys<()> {
    process::without_signals_of_writing(|| {
        let end = process::monotonic_ns().saturating_add(patience);
        let mut rest = bytes;
        while !rest.is_empty() {
            let left = end.saturating_sub(process::monotonic_ns());
            match kernel::poll(fd, libc::POLLOUT, left) {
                // A report is no longer than what a pipe that is ready takes at once (PIPE_BUF): no write waits.
                Ok(true) => {}
                Ok(false) => return Err(Errno(libc::EAGAIN)),
                Err(Errno(libc::EINTR)) => continue,
                // A filter of system calls may not know this one.
                Err(_) => {}
            }
            match kernel::write(fd, rest) {
                Ok(0) => return Err(Errno(libc::EIO)),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                // Another writer was faster.
                Err(Errno(libc::EAGAIN | libc::EINTR)) if left > 0 => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    })
}

/// open(path, flags, mode) relative to a folder; AT_FDCWD for the current one. Always close-on-exec, never a terminal.
pub fn open_at(folder: i32, path: &CStr, flags: i32, mode: u32) -> Sys<i32> {
    above_stdio(kernel::openat(folder, path, flags, mode)?)
}

/// Moves a descriptor above 2. Where a program closed its standard streams, the next printf would write into whatever
/// got their numbers.
#[inline]
pub fn above_stdio(fd: i32) -> Sys<i32> {
    if fd > 2 { Ok(fd) } else { move_up(fd) }
}

#[cold]
fn move_up(fd: i32) -> Sys<i32> {
    // SAFETY: takes no pointers.
    let moved = check(unsafe { real::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) });
    let _ = close(fd);
    moved
}

/// The status of what a path names in a folder, without following a symbolic link.
pub fn status_in(folder: i32, path: &CStr) -> Sys<Status> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: as in `status`; the path is terminated and outlives the call.
    unsafe {
        check(libc::fstatat(folder, path.as_ptr(), stat.as_mut_ptr(), libc::AT_SYMLINK_NOFOLLOW))?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

/// The path through which /proc leads to a descriptor of this process.
fn path_of(fd: i32) -> crate::text::Text<40> {
    let mut path = crate::text::Text::<40>::new();
    path.push_str("/proc/self/fd/");
    path.push_number(fd.max(0) as u64);
    path.push(0);
    path
}

/// Gives an unnamed file (O_TMPFILE) its first name; EEXIST when the name is taken.
pub fn link_unnamed(fd: i32, folder: i32, name: &CStr) -> Sys<()> {
    // SAFETY: both paths are terminated and outlive the calls. An empty path needs a capability on older kernels, and
    // then answers ENOENT; the way through /proc needs /proc.
    let direct = check(unsafe { libc::linkat(fd, c"".as_ptr(), folder, name.as_ptr(), libc::AT_EMPTY_PATH) });
    match direct {
        Err(Errno(libc::ENOENT | libc::EPERM)) => {
            let path = path_of(fd);
            let path = path.bytes().as_ptr().cast();
            // SAFETY: as above.
            check(unsafe { libc::linkat(libc::AT_FDCWD, path, folder, name.as_ptr(), libc::AT_SYMLINK_FOLLOW) })
                .map(drop)
        }
        other => other.map(drop),
    }
}

/// Renames within a folder; EEXIST when the new name is taken. By a link and an unlink where the file system has no
/// such rename.
pub fn rename_exclusively(folder: i32, from: &CStr, to: &CStr) -> Sys<()> {
    // SAFETY: both paths are terminated and outlive the calls.
    unsafe {
        match check(libc::renameat2(folder, from.as_ptr(), folder, to.as_ptr(), libc::RENAME_NOREPLACE)) {
            Err(Errno(libc::EINVAL | libc::ENOSYS)) => {
                check(libc::linkat(folder, from.as_ptr(), folder, to.as_ptr(), 0))?;
                // It has its name now, whatever becomes of the other one.
                let _ = unlink_at(folder, from);
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// renameat(folder, from, folder, to)—renames within a folder, in the place of what has the new name.
pub fn rename(folder: i32, from: &CStr, to: &CStr) -> Sys<()> {
    // SAFETY: both paths are terminated and outlive the call.
    check(unsafe { libc::renameat(folder, from.as_ptr(), folder, to.as_ptr()) }).map(drop)
}

/// unlinkat(folder, path)—removes a name.
pub fn unlink_at(folder: i32, path: &CStr) -> Sys<()> {
    // SAFETY: the path is terminated and outlives the call.
    check(unsafe { real::unlinkat(folder, path.as_ptr(), 0) }).map(drop)
}

/// fchmod(fd, mode)—sets the permission bits, whatever the umask is.
pub fn set_mode(fd: i32, mode: u32) -> Sys<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fchmod(fd, mode) }).map(drop)
}

/// chmod of what a descriptor refers to that was opened with O_PATH, which needs no permission on it.
pub fn set_mode_of_path(fd: i32, mode: u32) -> Sys<()> {
    let path = path_of(fd);
    // SAFETY: the path is terminated.
    check(unsafe { libc::chmod(path.bytes().as_ptr().cast(), mode) }).map(drop)
}

/// fchown(fd, -1, group)—sets the group.
pub fn set_group(fd: i32, group: u32) -> Sys<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fchown(fd, u32::MAX, group) }).map(drop)
}

/// fsync(fd)—writes a file and its metadata, or a folder, to its device.
pub fn sync(fd: i32) -> Sys<()> {
    kernel::fsync(fd)
}

/// Reads at an offset; returns how many bytes came.
pub fn read_at(fd: i32, buffer: &mut [u8], offset: i64) -> Sys<usize> {
    // SAFETY: the buffer is writable for its length.
    unsafe { kernel::pread(fd, buffer.as_mut_ptr(), buffer.len(), offset) }
}

/// Writes at an offset; returns how many bytes went.
pub fn write_at(fd: i32, bytes: &[u8], offset: i64) -> Sys<usize> {
    // SAFETY: the bytes are readable for their length.
    unsafe { kernel::pwrite(fd, bytes.as_ptr(), bytes.len(), offset) }
}

/// As `read_at`, into memory of the program; the kernel answers EFAULT where there is none.
///
/// # Safety
/// `to` is writable for `length` bytes, or is an address at which the kernel will find no memory.
pub unsafe fn read_into(fd: i32, to: *mut u8, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: the caller's promise.
    unsafe { kernel::pread(fd, to, length, offset) }
}

/// As `write_at`, from memory of the program; the kernel answers EFAULT where there is none.
///
/// # Safety
/// `from` is readable for `length` bytes, or is an address at which the kernel will find no memory.
pub unsafe fn write_from(fd: i32, from: *const u8, length: usize, offset: i64) -> Sys<usize> {
    // SAFETY: the caller's promise.
    unsafe { kernel::pwrite(fd, from, length, offset) }
}

/// Adds seals to a memfd.
pub fn add_seals(fd: i32, seals: i32) -> Sys<()> {
    // SAFETY: takes no pointers.
    check(unsafe { real::fcntl(fd, libc::F_ADD_SEALS, seals as usize) }).map(drop)
}

/// Opens what a descriptor leads to once more: a description of its own, with its own locks and access mode.
pub fn reopen(fd: i32, flags: i32) -> Sys<i32> {
    let path = path_of(fd);
    let path = CStr::from_bytes_until_nul(path.bytes()).map_err(|_| Errno(libc::EINVAL))?;
    above_stdio(kernel::openat(libc::AT_FDCWD, path, flags, 0)?)
}

/// Puts a descriptor in the place of another, closing that one, and closes the first.
pub fn replace(new: i32, old: i32) -> Sys<()> {
    // SAFETY: takes no pointers; both descriptors are the caller's.
    check(unsafe { libc::dup3(new, old, libc::O_CLOEXEC) })?;
    let _ = close(new);
    Ok(())
}

/// A lock on bytes of a file that belongs to an open file description: the kernel drops it with the last descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Together with other readers; a description for reading is enough.
    Shared,
    /// Alone; needs a description for writing.
    Exclusive,
    /// None.
    Unlocked,
}

fn flock_of(lock: Lock, start: i64, length: i64) -> libc::flock {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::Unlocked => libc::F_UNLCK,
    };
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: start, l_len: length, l_pid: 0 }
}

/// Takes or drops a lock without waiting; EAGAIN when another description has one in its way. Length 0 means to the
/// end.
///
/// [Linux](https://man7.org/linux/man-pages/man2/F_OFD_SETLK.2const.html)
pub fn lock(fd: i32, lock: Lock, start: i64, length: i64) -> Sys<()> {
    let request = flock_of(lock, start, length);
    // SAFETY: the struct is readable.
    check(unsafe { real::fcntl(fd, libc::F_OFD_SETLK, &raw const request as usize) }).map(drop)
}

/// The first lock of another description in the way of an exclusive one: its first byte and its length (0: to the end).
pub fn lock_in_the_way(fd: i32, start: i64, length: i64) -> Sys<Option<(i64, i64, Lock)>> {
    let mut request = flock_of(Lock::Exclusive, start, length);
    // SAFETY: the struct is readable and writable.
    check(unsafe { real::fcntl(fd, libc::F_OFD_GETLK, &raw mut request as usize) })?;
    Ok(match i32::from(request.l_type) {
        libc::F_UNLCK => None,
        libc::F_RDLCK => Some((request.l_start, request.l_len, Lock::Shared)),
        _ => Some((request.l_start, request.l_len, Lock::Exclusive)),
    })
}

/// Shows the names in a folder to `each`, without `.` and `..`, until it says to stop. The folder's time of access stays,
/// where this user may ask for that.
pub fn list(path: &CStr, mut each: impl FnMut(&CStr) -> bool) -> Sys<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let folder = match open_at(libc::AT_FDCWD, path, flags | libc::O_NOATIME, 0) {
        Err(Errno(libc::EPERM)) => open_at(libc::AT_FDCWD, path, flags, 0)?,
        other => other?,
    };
    let mut room = [0u64; 512];
    let result = loop {
        // SAFETY: the room is writable for its length.
        let count =
            unsafe { libc::syscall(libc::SYS_getdents64, folder, room.as_mut_ptr(), core::mem::size_of_val(&room)) };
        if count <= 0 {
            break if count < 0 { Err(Errno(super::errno())) } else { Ok(()) };
        }
        // SAFETY: the kernel wrote `count` bytes, all of which are initialised.
        let mut entries =
            unsafe { core::slice::from_raw_parts(room.as_ptr().cast::<u8>(), (count as usize).min(room.len() * 8)) };
        // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name.
        let mut go_on = true;
        while let (true, Some(&[low, high])) = (go_on, entries.get(16..18)) {
            let length = usize::from(u16::from_ne_bytes([low, high]));
            let Some(entry) = entries.get(..length).filter(|_| length > 19) else { break };
            if let Ok(name) = CStr::from_bytes_until_nul(&entry[19..]) {
                go_on = matches!(name.to_bytes(), b"." | b"..") || each(name);
            }
            entries = &entries[length..];
        }
        if !go_on {
            break Ok(());
        }
    };
    let _ = close(folder);
    result
}
