//! Limits of the process and the machine: the system calls. Never decides what a limit means. Next: `calls/limits.rs`.

use core::mem::MaybeUninit;

use super::{Sys, check};

/// A resource of which a process has a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of address space.
    AddressSpace,
    /// Open descriptors.
    Descriptors,
    /// The size of a file, in bytes.
    FileSize,
    /// Bytes of locked memory.
    LockedMemory,
}

/// The soft limit of a resource of this process; `u64::MAX` for no limit, and where it cannot be told.
pub fn soft_limit(resource: Resource) -> u64 {
    super::preserving_errno(|| ask_limit(resource)).unwrap_or(u64::MAX)
}

fn ask_limit(resource: Resource) -> Sys<u64> {
    let resource = match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
    };
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: the buffer is writable and of the right type, and zero is valid for each of its fields.
    unsafe {
        check(libc::getrlimit(resource, limit.as_mut_ptr()))?;
        Ok(limit.assume_init_ref().rlim_cur)
    }
}

/// The size of a page, in bytes.
pub fn page_size() -> usize {
    use core::sync::atomic::{AtomicUsize, Ordering};
    static SIZE: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: the value is a constant of the machine, so it makes no difference which thread's store is seen.
    match SIZE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: takes no pointers.
            let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
            SIZE.store(size, Ordering::Relaxed);
            size
        }
        size => size,
    }
}

/// Calls `found` with each huge page size in bytes that the kernel offers, in the order that it lists them.
pub fn huge_page_sizes(mut found: impl FnMut(u64)) -> Sys<()> {
    // SAFETY: the folder is open from opendir to closedir; each entry is read before the next readdir; its name is
    // terminated by the C library.
    unsafe {
        let folder = libc::opendir(c"/sys/kernel/mm/hugepages".as_ptr());
        if folder.is_null() {
            return Err(crate::error::Errno(super::errno()));
        }
        loop {
            let entry = libc::readdir(folder);
            if entry.is_null() {
                break;
            }
            let name = core::ffi::CStr::from_ptr((*entry).d_name.as_ptr()).to_bytes();
            if let Some(digits) = name.strip_prefix(b"hugepages-") {
                found(crate::text::leading_number(digits).saturating_mul(1024));
            }
        }
        libc::closedir(folder);
    }
    Ok(())
}

/// What the machine's memory can still give, and all of it, swap included, as /proc tells it.
pub fn memory() -> Option<super::file::Room> {
    let mut buffer = [0u8; 4096];
    let length = super::file::read_small(c"/proc/meminfo", &mut buffer).ok()?;
    let text = buffer.get(..length)?;
    let bytes = |name: &[u8]| {
        let at = text.windows(name.len()).position(|window| window == name)? + name.len();
        Some(crate::text::leading_number(text.get(at..)?.trim_ascii_start()).saturating_mul(1024))
    };
    Some(super::file::Room {
        capacity: bytes(b"MemTotal:")?.saturating_add(bytes(b"SwapTotal:")?),
        free: bytes(b"MemAvailable:")?.saturating_add(bytes(b"SwapFree:")?),
    })
}

/// The size of a huge page where none is named, in bytes.
pub fn huge_page_size() -> Option<usize> {
    let mut buffer = [0u8; 4096];
    let length = super::file::read_small(c"/proc/meminfo", &mut buffer).ok()?;
    let text = buffer.get(..length)?;
    let at = text.windows(13).position(|window| window == b"Hugepagesize:")? + 13;
    let kilobytes = crate::text::leading_number(text.get(at..)?.trim_ascii_start());
    usize::try_from(kilobytes * 1024).ok().filter(|size| *size > 0)
}
