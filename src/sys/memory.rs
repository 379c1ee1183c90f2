//! Mappings: the system calls. Never checks and never explains. Addresses are plain numbers here: nothing in this file
//! reads or writes the memory they name. Next: `calls/memory.rs`.
//!
//! Each of these can take memory away from under a live reference. They are safe functions because no caller in
//! this crate forms a reference over memory that a program mapped; the program's own pointers are its own business.

use super::{Sys, check, check_address, real};

/// Advice since Linux 6.1: gathers pages into huge ones. Not every C library has a name for it.
pub const COLLAPSE: i32 = 25;

/// mmap(addr, length, prot, flags, fd, offset)—maps memory or a file.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/mmap.html),
/// [Linux](https://man7.org/linux/man-pages/man2/mmap.2.html)
#[inline]
pub fn mmap(addr: usize, length: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> Sys<usize> {
    // SAFETY: see the top of this file.
    check_address(unsafe { real::mmap(addr as *mut _, length, prot, flags, fd, offset) })
}

/// munmap(addr, length)—removes mappings.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/munmap.html)
#[inline]
pub fn munmap(addr: usize, length: usize) -> Sys<()> {
    // SAFETY: see the top of this file.
    check(unsafe { real::munmap(addr as *mut _, length) }).map(drop)
}

/// mremap(old_address, old_size, new_size, flags, new_address)—moves or resizes a mapping.
///
/// [Linux](https://man7.org/linux/man-pages/man2/mremap.2.html)
#[inline]
pub fn mremap(old: usize, old_size: usize, new_size: usize, flags: i32, new: usize) -> Sys<usize> {
    // SAFETY: see the top of this file.
    check_address(unsafe { real::mremap(old as *mut _, old_size, new_size, flags, new as *mut _) })
}

/// mprotect(addr, length, prot)—changes protection.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/mprotect.html)
#[inline]
pub fn mprotect(addr: usize, length: usize, prot: i32) -> Sys<()> {
    // SAFETY: see the top of this file.
    check(unsafe { real::mprotect(addr as *mut _, length, prot) }).map(drop)
}

/// msync(addr, length, flags)—writes a mapping back to its file.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/msync.html)
#[inline]
pub fn msync(addr: usize, length: usize, flags: i32) -> Sys<()> {
    // SAFETY: see the top of this file.
    check(unsafe { real::msync(addr as *mut _, length, flags) }).map(drop)
}

/// madvise(addr, length, advice)—tells the kernel how memory will be used.
///
/// [Linux](https://man7.org/linux/man-pages/man2/madvise.2.html)
#[inline]
pub fn madvise(addr: usize, length: usize, advice: i32) -> Sys<()> {
    // SAFETY: see the top of this file.
    check(unsafe { real::madvise(addr as *mut _, length, advice) }).map(drop)
}

/// mlock(addr, length)—keeps memory resident.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/mlock.html)
#[inline]
pub fn mlock(addr: usize, length: usize) -> Sys<()> {
    // SAFETY: the call only reads the process's own page tables.
    check(unsafe { real::mlock(addr as *const _, length) }).map(drop)
}

/// munlock(addr, length)—lets memory be paged out again.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/mlock.html)
#[inline]
pub fn munlock(addr: usize, length: usize) -> Sys<()> {
    // SAFETY: the call only reads the process's own page tables.
    check(unsafe { real::munlock(addr as *const _, length) }).map(drop)
}

/// Takes a range of addresses in which nothing is mapped, for memory that nobody may touch; a forked child does not get
/// it. EEXIST when something is mapped there: that stays.
pub fn occupy(addr: usize, length: usize) -> Sys<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let found = mmap(addr, length, libc::PROT_NONE, flags, -1, 0)?;
    if found != addr {
        // Before Linux 4.17 the address is a wish.
        munmap(found, length)?;
        return Err(crate::error::Errno(libc::EEXIST));
    }
    madvise(addr, length, libc::MADV_DONTFORK)
}

/// Whether every page of the range is mapped.
///
/// `msync` with MS_ASYNC starts no input or output on Linux (since 2.6.19) and gives ENOMEM at the first hole.
pub fn is_mapped(addr: usize, length: usize) -> bool {
    super::kernel::msync(addr, length, libc::MS_ASYNC).is_ok()
}

/// mincore(addr, length, vec)—which pages are in memory: the lowest bit of one byte a page.
///
/// [Linux](https://man7.org/linux/man-pages/man2/mincore.2.html)
pub fn mincore(addr: usize, length: usize, pages: &mut [u8]) -> Sys<()> {
    if pages.len() < length.div_ceil(super::limits::page_size()) {
        return Err(crate::error::Errno(libc::EINVAL));
    }
    // SAFETY: the kernel writes one byte for each page of the range, and there is room for that many.
    check(unsafe { libc::mincore(addr as *mut _, length, pages.as_mut_ptr()) }).map(drop)
}

/// Whether writes at an address are seen by other processes that map the same: the mapping is shared, as /proc tells.
/// None where nothing is mapped, or /proc is not there.
pub fn is_shared(addr: usize) -> Option<bool> {
    /// What the next byte belongs to, in a line of the form `start-end rwxs ...`.
    enum Field {
        Start,
        End,
        Flags(usize),
        Rest,
    }
    let (mut field, mut start, mut end, mut shared) = (Field::Start, 0usize, 0usize, None);
    super::file::read_all(c"/proc/self/maps", |byte| {
        let digit = char::from(byte).to_digit(16).unwrap_or(0) as usize;
        match (&mut field, byte) {
            (_, b'\n') => (field, start, end) = (Field::Start, 0, 0),
            (Field::Start, b'-') => field = Field::End,
            (Field::Start, _) => start = start << 4 | digit,
            (Field::End, b' ') => field = Field::Flags(0),
            (Field::End, _) => end = end << 4 | digit,
            (Field::Flags(3), _) => {
                if (start..end).contains(&addr) {
                    shared = Some(byte == b's');
                    return false;
                }
                field = Field::Rest;
            }
            (Field::Flags(at), _) => *at += 1,
            (Field::Rest, _) => {}
        }
        true
    })
    .ok()?;
    shared
}

/// Copies bytes of this process from an address that may lead nowhere: then it is an error, not a fault.
pub fn peek(addr: usize, out: &mut [u8]) -> Sys<()> {
    let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let remote = libc::iovec { iov_base: addr as *mut _, iov_len: out.len() };
    // SAFETY: the kernel writes `out` for its length, and reads the other range as it reads any caller's.
    let count = unsafe { libc::process_vm_readv(super::process::pid(), &local, 1, &remote, 1, 0) };
    match usize::try_from(count) {
        Ok(count) if count == out.len() => Ok(()),
        Ok(_) => Err(crate::error::Errno(libc::EFAULT)),
        Err(_) => Err(crate::error::Errno(super::errno())),
    }
}

/// Copies bytes between two places of this process, of which either may lead nowhere: then the count is smaller, or
/// EFAULT, and no signal comes. The kernel copies, so neither place is touched by a reference.
pub fn copy_within_process(from: usize, to: usize, length: usize) -> Sys<usize> {
    let local = libc::iovec { iov_base: to as *mut _, iov_len: length };
    let remote = libc::iovec { iov_base: from as *mut _, iov_len: length };
    // SAFETY: the kernel treats both ranges as any caller's, and answers EFAULT where there is no memory. What lies at
    // `to` is the program's own buffer or a shared mapping, over which nobody in this crate holds a reference.
    let count = unsafe { libc::process_vm_readv(super::process::pid(), &local, 1, &remote, 1, 0) };
    usize::try_from(count).map_err(|_| crate::error::Errno(super::errno()))
}
