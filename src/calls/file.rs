//! The checked calls for sizes and descriptors: ftruncate, posix_fallocate, fstat, close.
//! Never closes or resizes anything but what it was asked to. Next: `checks/file.rs` for the rules.

use core::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger;
use super::memory::address_of;
use super::policy;
use crate::checks::file::{self as checks, Growth};
use crate::checks::memory::pages_of;
use crate::checks::words::{Call, Figures, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys;
use crate::sys::file::{self as sys_file, Room, Status};
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::process;

/// ftruncate(fd, length)—sets the size of a file or object, in bytes.
#[inline]
pub fn ftruncate(fd: i32, length: i64) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Ftruncate, [fd as u64, length as u64, 0, 0, 0, 0]);
    gate(checks::truncate(length), words)?;
    if policy::attentive() {
        examine_size(fd, length as u64, words)?;
    }
    sys_file::ftruncate(fd, length).map_err(|errno| explain_size(fd, errno, words()))
}

/// What a new size does to the mappings of this process, and whether the file system can back it.
fn examine_size(fd: i32, length: u64, words: impl FnOnce() -> Invocation) -> Result<(), Errno> {
    let Ok(status) = sys::preserving_errno(|| sys_file::status(fd)) else {
        return Ok(());
    };
    if !status.is_regular() {
        return Ok(());
    }
    ledger::confirm(fd, &status);
    let mut broken = RuleSet::EMPTY;
    let mut found = Figures { size: status.size, ..Figures::default() };
    if length > status.size {
        // On storage a sparse file may be larger than what is free, and often is.
        if !has_plenty(length, &status)
            && let Some(room) = sys::preserving_errno(|| sys_file::room_in_memory(fd))
        {
            note_room(&room, &status);
            let growth = growth_in(&room, length, &status);
            broken = broken.with(checks::grow(&growth));
            fill_room(&growth, &mut found);
        }
    } else if length < status.size {
        // The object's last page stays whole, so only pages beyond it are lost.
        let kept = pages_of(length as usize, page_size()).unwrap_or(usize::MAX) as u64;
        let whole = pages_of(status.size as usize, page_size()).unwrap_or(usize::MAX) as u64;
        found.end = ledger::mapped_end(fd, &status).min(whole);
        broken = broken.with(checks::shrink(kept, found.end));
    }
    if broken.is_empty() {
        return Ok(());
    }
    let mut call = words();
    let mut figures = figures(&call);
    (figures.size, figures.end) = (found.size, found.end);
    (figures.needed, figures.free, figures.capacity) = (found.needed, found.free, found.capacity);
    call.subject = address_of(fd, Some(&status));
    judge(broken, &call, &figures)
}

/// When a file system had plenty of room: its device, and the time as `coarse_ns` has it.
static PLENTY: (AtomicU64, AtomicU64) = (AtomicU64::new(0), AtomicU64::new(0));
const PLENTY_OF_ROOM: u64 = 256 << 20;

/// Whether so little is asked of a file system, which had plenty of room a moment ago, that it need not be asked again: that
/// much is not used up in that time.
fn has_plenty(length: u64, status: &Status) -> bool {
    const LITTLE: u64 = 1 << 20;
    const MOMENT_NS: u64 = 10_000_000;
    // Relaxed: of two file systems that have plenty it matters not which was seen when.
    length <= LITTLE
        && PLENTY.0.load(Relaxed) == status.dev
        && process::coarse_ns().saturating_sub(PLENTY.1.load(Relaxed)) < MOMENT_NS
}

fn note_room(room: &Room, status: &Status) {
    if room.free >= PLENTY_OF_ROOM {
        PLENTY.1.store(process::coarse_ns(), Relaxed);
        PLENTY.0.store(status.dev, Relaxed);
    }
}

/// What a growth asks of the file system.
fn growth_of(fd: i32, length: u64, status: &Status) -> Option<Growth> {
    let room = sys::preserving_errno(|| sys_file::room(fd)).ok()?;
    Some(growth_in(&room, length, status))
}

fn growth_in(room: &Room, length: u64, status: &Status) -> Growth {
    Growth { length, reserved: status.reserved, capacity: room.capacity, free: room.free }
}

fn fill_room(growth: &Growth, figures: &mut Figures) {
    figures.needed = growth.needed();
    figures.free = growth.free;
    figures.capacity = growth.capacity;
}

/// Why the kernel refused a size.
#[cold]
fn explain_size(fd: i32, errno: Errno, mut call: Invocation) -> Errno {
    let mut figures = figures(&call);
    let status = sys::preserving_errno(|| sys_file::status(fd)).ok();
    call.subject = address_of(fd, status.as_ref());
    let end = match call.call {
        Call::PosixFallocate => figures.offset.saturating_add(figures.length),
        _ => figures.length,
    };
    if let Some(status) = status {
        figures.size = status.size;
        if let Some(growth) = growth_of(fd, end, &status) {
            fill_room(&growth, &mut figures);
        }
    }
    let access = sys::preserving_errno(|| sys_file::open_flags(fd));
    let read_only = access.is_ok_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY);
    let regular = status.is_some_and(|status| status.is_regular());
    let rule = match errno.0 {
        libc::EBADF if access.is_ok_and(|flags| flags & libc::O_PATH != 0) || access.is_err() => Some(Rule::FdClosed),
        libc::EINVAL | libc::EBADF if read_only && regular => Some(Rule::SizeReadOnly),
        libc::EPERM => match sys::preserving_errno(|| sys_file::seals(fd)) {
            Ok(seals) if seals != 0 => {
                figures.seals = seals as u64;
                figures.length = end;
                Some(Rule::SizeSealed)
            }
            _ => None,
        },
        libc::EFBIG => {
            figures.limit = soft_limit(Resource::FileSize);
            figures.length = end;
            Some(Rule::SizeLimit)
        }
        libc::ENOSPC => Some(Rule::SizeNoSpace),
        _ => None,
    };
    match rule {
        Some(rule) => explain::by_rule(rule, errno, &call, &figures),
        None => explain::by_errno(errno, &call, &figures),
    }
}

/// posix_fallocate(fd, offset, length)—reserves space, so that no later touch can find the file system full.
///
/// The error is the call's result; errno is not changed.
#[inline]
pub fn posix_fallocate(fd: i32, offset: i64, length: i64) -> Result<(), Errno> {
    let words = || Invocation::new(Call::PosixFallocate, [fd as u64, offset as u64, length as u64, 0, 0, 0]);
    let broken = checks::reserve(offset, length);
    if !broken.is_empty() {
        judge_reserve(fd, broken, &words())?;
    }
    sys_file::posix_fallocate(fd, offset, length).map_err(|errno| explain_size(fd, errno, words()))
}

#[cold]
fn judge_reserve(fd: i32, broken: RuleSet, call: &Invocation) -> Result<(), Errno> {
    // The kernel looks at the descriptor before the numbers, and at what it leads to before the sum of the two:
    // its answer comes first.
    let access = sys::preserving_errno(|| sys_file::open_flags(fd));
    let mut closed = RuleSet::EMPTY;
    closed.put(access.is_ok_and(|flags| flags & libc::O_PATH != 0) || access.is_err(), Rule::FdClosed);
    let writable = access.is_ok_and(|flags| flags & libc::O_ACCMODE != libc::O_RDONLY);
    let regular = sys::preserving_errno(|| sys_file::status(fd)).is_ok_and(|status| status.is_regular());
    match (closed.is_empty(), broken.has(Rule::SizeOverflow) && !(writable && regular)) {
        (false, _) => judge(closed, call, &figures(call)),
        (true, true) => Ok(()),
        (true, false) => judge(broken, call, &figures(call)),
    }
}

/// Why the kernel refused `fstat`.
#[cold]
pub fn explain_fstat(fd: i32, buffer: usize, errno: Errno) -> Errno {
    let call = Invocation::new(Call::Fstat, [fd as u64, buffer as u64, 0, 0, 0, 0]);
    let figures = figures(&call);
    match errno.0 {
        libc::EBADF => explain::by_rule(Rule::FdClosed, errno, &call, &figures),
        libc::EFAULT => explain::by_rule(Rule::ArgPointer, errno, &call, &figures),
        _ => explain::by_errno(errno, &call, &figures),
    }
}

/// close(fd)—closes a descriptor; mappings made through it stay.
///
/// After EINTR the descriptor is closed on Linux: closing it again could close another thread's.
#[inline]
pub fn close(fd: i32) -> Result<(), Errno> {
    // Before the kernel frees the number, because afterwards another thread can be given it.
    ledger::closing(fd);
    sys_file::close_for_program(fd).map_err(|errno| {
        let call = Invocation::new(Call::Close, [fd as u64, 0, 0, 0, 0, 0]);
        match errno.0 {
            libc::EBADF if cfg!(interposer) && is_sweep(fd) => errno,
            libc::EBADF => explain::by_rule(Rule::FdClosed, errno, &call, &figures(&call)),
            _ => explain::by_errno(errno, &call, &figures(&call)),
        }
    })
}

/// Whether the number before or after this one was the last that was not open when it was closed. Programs close a row of
/// numbers, open or not, to begin with none: the first miss of a row tells it all.
fn is_sweep(fd: i32) -> bool {
    static LAST: AtomicI32 = AtomicI32::new(i32::MIN);
    LAST.swap(fd, Relaxed).abs_diff(fd) == 1
}
