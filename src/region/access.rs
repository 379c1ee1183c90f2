//! What is done with an open region: its memory, size, growth, protection, and copies that no peer can turn into a signal.
//! The hot paths (`data`, `size`, `copy_in`, `copy_out`) make no system call, allocate nothing and take no lock when the
//! memory cannot go away or the guard stands; otherwise the kernel copies, which answers where a touch would fault.
//! Never forms a reference over the memory. Next: `guard.rs`, `object.rs`.

use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::address::{Address, Backend, Parsed, folder_of};
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::guard;
use super::handle::{
    FRAGILE, Hot, NOT_FORKED, POISONED, PROTECTED, RAW, READ_ONLY, Region, STARVED, Space, WITHHELD, get, header_of,
    hot,
};
use super::header::{GENERATION_AT, HUGE, Header, SIZE_AT};
use super::{lease, object, segment};
use crate::checks::memory::ADDRESS_LIMIT;
use crate::error::{Errno, Status};
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::process::uncancelled;
use crate::sys::{file, memory, sysv};

/// Below this nothing of a program lies, whatever the size of a page is.
const LOWEST_ADDRESS: usize = 4096;

/// The address of the data; `None` for a bad handle.
#[inline]
pub fn data(token: u64) -> Option<usize> {
    hot(token).map(Hot::data)
}

/// Whether a touch cannot end in a signal.
#[inline(always)]
fn is_safe(hot: &Hot) -> bool {
    !hot.is(FRAGILE) || guard::is_enabled()
}

/// Bytes of data, as large as any process has made it.
#[inline]
fn size_of_hot(token: u64, hot: &Hot) -> usize {
    let capacity = hot.capacity.load(Relaxed);
    if hot.is(RAW) {
        return capacity;
    }
    // Acquire, in `load`: whoever sees the new size may touch the space that was made before it was stored.
    let size = hot.window.load(SIZE_AT).map_or(0, |size| (size as usize).min(capacity));
    if size <= hot.confirmed.load(Relaxed) { size } else { size_confirmed(token, hot, size) }
}

/// A size that a peer wrote: that it has grown, or a lie, which no guard and no seal would keep from ending in a signal.
#[cold]
fn size_confirmed(token: u64, hot: &Hot, size: usize) -> usize {
    uncancelled(|| size_by_status(token, hot, size))
}

fn size_by_status(token: u64, hot: &Hot, size: usize) -> usize {
    let Ok(region) = get(token) else { return 0 };
    if region.backend == Backend::Sysv {
        // A segment never changes its size, and what is mapped was bounded by it.
        hot.confirmed.store(hot.capacity.load(Relaxed), Relaxed);
        return size;
    }
    if let Ok(status) = file::status(region.fd()) {
        region.confirm(status.size);
    }
    let confirmed = hot.confirmed.load(Relaxed);
    if size > confirmed {
        // Whoever grows a region makes the object longer first: this one was made shorter, or its header lies.
        region.set_flag(POISONED);
    }
    size.min(confirmed)
}

/// Bytes of data, none of a poisoned region; `None` for a bad handle.
#[inline]
pub fn size(token: u64) -> Option<usize> {
    let hot = hot(token)?;
    if hot.is(POISONED) {
        return Some(0);
    }
    if is_safe(hot) { Some(size_of_hot(token, hot)) } else { size_by_kernel(token, hot) }
}

#[cold]
fn size_by_kernel(token: u64, hot: &Hot) -> Option<usize> {
    uncancelled(|| size_by_read(token, hot))
}

fn size_by_read(token: u64, hot: &Hot) -> Option<usize> {
    let region = get(token).ok()?;
    let (capacity, mut before) = (hot.capacity.load(Relaxed), None);
    loop {
        let mut word = [0; 8];
        let size = match hot.is(RAW) {
            true => capacity,
            false => match file::read_at(region.fd(), &mut word, SIZE_AT as i64) {
                Ok(8) => (u64::from_ne_bytes(word) as usize).min(capacity),
                _ => return Some(0),
            },
        };
        // The object second: whoever grows it makes it longer first.
        region.confirm(file::status(region.fd()).map_or(0, |status| status.size));
        if size <= hot.confirmed.load(Relaxed) {
            return Some(size);
        }
        // Half of a size that was just being written is another one at the next look. One that stays was made a lie.
        if before == Some(size) {
            region.set_flag(POISONED);
            return Some(0);
        }
        before = Some(size);
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Into the region.
    In,
    /// Out of it.
    Out,
}

/// The way of a copy that nothing hinders; false when something may, and then nothing or only bytes that `copy` would
/// copy again were copied: ask `copy`.
#[inline(always)]
pub fn copy_plain(
    token: u64,
    way: Way,
    offset: usize,
    theirs: usize,
    length: usize,
    copy: impl FnOnce(&Hot, usize) -> bool,
) -> bool {
    let Some(hot) = hot(token) else { return false };
    let flags = hot.flags.load(Relaxed);
    let hinders = POISONED | PROTECTED | WITHHELD | if way == Way::In { READ_ONLY } else { 0 };
    if flags & hinders != 0 || flags & FRAGILE != 0 && !guard::is_enabled() {
        return false;
    }
    // What was the size once is there still: the header, a line that peers may be writing, is not asked.
    let known = hot.known.load(Relaxed);
    if length > known
        || offset > known - length
        || theirs.wrapping_sub(LOWEST_ADDRESS) >= ADDRESS_LIMIT - LOWEST_ADDRESS
    {
        return false;
    }
    copy(hot, hot.offset.load(Relaxed) + offset) && (flags & FRAGILE == 0 || !hot.is(POISONED))
}

/// Copies `length` bytes between the program's memory and the region. `copy` does it within the window, and is called
/// only when the range lies in the data.
#[inline]
pub fn copy(
    token: u64,
    way: Way,
    offset: usize,
    theirs: usize,
    length: usize,
    copy: impl FnOnce(&Hot, usize) -> bool,
) -> Outcome<()> {
    let Some(hot) = hot(token) else { return Err(Failure::of(Status::ErrBadHandle)) };
    let flags = hot.flags.load(Relaxed);
    if flags & (POISONED | PROTECTED | WITHHELD) != 0
        || flags & FRAGILE != 0 && !guard::is_enabled()
        || flags & READ_ONLY != 0 && way == Way::In
    {
        return uncancelled(|| copy_by_kernel(token, way, offset, theirs, length));
    }
    let size = size_of_hot(token, hot);
    hot.known.store(size, Relaxed);
    if offset > size || length > size - offset {
        return Err(out_of_range(token, offset, length, size));
    }
    if length > 0 && !(LOWEST_ADDRESS..ADDRESS_LIMIT).contains(&theirs) {
        return Err(Failure::of(Status::ErrBadPointer));
    }
    let fits = copy(hot, hot.offset.load(Relaxed) + offset);
    // A fault on the way left its mark.
    if fits && !hot.is(POISONED) { Ok(()) } else { Err(gone(token)) }
}

#[cold]
fn copy_by_kernel(token: u64, way: Way, offset: usize, theirs: usize, length: usize) -> Outcome<()> {
    let region = get(token)?;
    if way == Way::In && region.hot.is(READ_ONLY) {
        return Err(Failure::new(Status::ErrAccess, "{name} is open for reading only", "open it without read_only"));
    }
    if region.hot.is(POISONED) {
        return Err(poisoned(&region));
    }
    let size = match region.hot.is(RAW) {
        true => region.hot.capacity.load(Relaxed),
        false => size(token).unwrap_or(0),
    };
    if offset > size || length > size - offset {
        // A size that cannot be read any more is a truncation, not the caller's mistake.
        check_whole(&region)?;
        return Err(out_of_range(token, offset, length, size));
    }
    let ours = region.hot.data() + offset;
    let result = match way {
        Way::In => copy_in_steps(theirs, ours, length),
        Way::Out => copy_in_steps(ours, theirs, length),
    };
    match result {
        Ok(()) => Ok(()),
        Err((done, Errno(libc::EFAULT))) => {
            check_whole(&region)?;
            // One of the two places is at fault, at the byte where the kernel stopped. A peer may have made the object
            // whole again meanwhile: so the program's place is tried, and if it is good, ours was not.
            let good = match way {
                Way::In => memory::peek(theirs + done, &mut [0]).is_ok(),
                Way::Out => memory::copy_within_process(theirs + done, theirs + done, 1).is_ok(),
            };
            Err(match good {
                false => Failure::of(Status::ErrBadPointer),
                true if region.hot.is(WITHHELD) && region.hot.withheld.meets(ours + done, 1) => withheld(),
                true if region.hot.is(PROTECTED) => Failure::new(
                    Status::ErrAccess,
                    "shmkit_region_protect forbade this range of {name}",
                    "allow it again first",
                ),
                true => {
                    region.set_flag(POISONED);
                    poisoned(&region)
                }
            })
        }
        Err((_, errno)) => Err(Failure {
            errno: errno.0,
            ..Failure::new(
                Status::ErrUnsupported,
                "the kernel may not copy for this process (process_vm_readv is forbidden here)",
                "call shmkit_guard_enable(), with which copies need no system call",
            )
        }),
    }
}

/// The data that MADV_DONTFORK kept from this process.
#[cold]
fn withheld() -> Failure {
    Failure::new(
        Status::ErrAccess,
        "this process is a forked child, and its parent kept this range of {name} from it (shmkit_region_advise)",
        "open the region again in the child, or leave MADV_DONTFORK out",
    )
}

/// The kernel moves no more than 2 GiB at once.
fn copy_in_steps(from: usize, to: usize, length: usize) -> Result<(), (usize, Errno)> {
    let mut done = 0;
    while done < length {
        match memory::copy_within_process(from + done, to + done, length - done) {
            Ok(0) => return Err((done, Errno(libc::EFAULT))),
            Ok(count) => done += count,
            Err(errno) => return Err((done, errno)),
        }
    }
    Ok(())
}

#[cold]
fn out_of_range(token: u64, offset: usize, length: usize, size: usize) -> Failure {
    // After a truncation the size reads as nothing, also when the object was made long again: that comes first.
    if let Some(hot) = hot(token) {
        if size == 0 && !hot.is(RAW) {
            hot.flags.fetch_or(POISONED, Relaxed);
        }
        if hot.is(POISONED) {
            return gone(token);
        }
    }
    let cause = match offset > size {
        true => "offset {offset} lies past the {size} bytes of {name}",
        false => "{length} bytes at offset {offset} do not lie within the {size} bytes of {name}",
    };
    Failure::new(Status::ErrPastEnd, cause, "stay within shmkit_region_size(), or grow the region first").with(
        |figures| {
            (figures.offset, figures.length, figures.size) = (offset as u64, length as u64, size as u64);
        },
    )
}

#[cold]
fn gone(token: u64) -> Failure {
    uncancelled(|| match get(token) {
        Ok(region) => poisoned(&region),
        Err(failure) => failure,
    })
}

#[cold]
fn poisoned(region: &Region) -> Failure {
    match check_whole(region) {
        Err(failure) => failure,
        // As long as it should be: then there was no space for it, or it was shortened and made long again.
        Ok(()) if region.space == Space::Lazy || region.hot.is(STARVED) || is_starved(region) => {
            region.set_flag(STARVED);
            let missing = file::status(region.fd()).map_or(0, |status| status.size.saturating_sub(status.reserved));
            Failure::no_space(region.fd(), missing)
        }
        Ok(()) => Failure::of(Status::ErrTruncated),
    }
}

/// Whether an object has less space than it is long, and its file system has none: whoever created it left that for later.
fn is_starved(region: &Region) -> bool {
    let status = file::status(region.fd());
    let room = file::room(region.fd());
    status.is_ok_and(|status| status.reserved < status.size) && room.is_ok_and(|room| room.free < page_size() as u64)
}

/// An error when the object is shorter than its header and its data.
fn check_whole(region: &Region) -> Outcome<()> {
    if region.fd() < 0 {
        return Ok(());
    }
    // The size first: a peer that grows it makes the object longer first.
    let needed = match region.hot.is(RAW) {
        true => region.hot.capacity.load(Relaxed) as u64,
        false => {
            let mut word = [0; 8];
            let size = match file::read_at(region.fd(), &mut word, SIZE_AT as i64) {
                Ok(8) => u64::from_ne_bytes(word),
                _ => 0,
            };
            // No region is empty: the header went, and zeros came when the object was made long again.
            if size == 0 { u64::MAX } else { size.saturating_add(page_size() as u64) }
        }
    };
    let status = file::status(region.fd()).map_err(Failure::system)?;
    if status.size >= needed {
        return Ok(());
    }
    region.set_flag(POISONED);
    if needed == u64::MAX {
        return Err(Failure::new(
            Status::ErrTruncated,
            "{name} has lost its header: another process made it shorter",
            "close it and create it anew; find out who truncates it (only its owner can)",
        ));
    }
    Err(Failure::new(
        Status::ErrTruncated,
        "{name} has {found} bytes and needs {expected}: another process made it shorter",
        "close it and open it again; find out who truncates it (only its owner can)",
    )
    .with(|figures| (figures.found, figures.expected) = (status.size, needed)))
}

/// Begins a scope in which the program touches the data itself: its address and size.
pub fn begin(token: u64) -> Outcome<(usize, usize)> {
    let region = get(token)?;
    if !is_safe(region.hot) {
        return Err(Failure::new(
            Status::ErrUnsupported,
            "a peer may truncate {name}, and nothing guards against the signal that a touch would then raise",
            "call shmkit_guard_enable() first, or use shmkit_region_copy_in and _out, or a memfd: region",
        ));
    }
    if region.hot.is(POISONED) {
        return Err(poisoned(&region));
    }
    if region.hot.is(FRAGILE) {
        check_whole(&region)?;
    }
    let size = size_of_hot(token, region.hot);
    // A fault while the size was read, or a size that is not there.
    if region.hot.is(POISONED) { Err(poisoned(&region)) } else { Ok((region.hot.data(), size)) }
}

/// Ends it: an error when the memory went away meanwhile.
pub fn end(token: u64) -> Outcome<()> {
    let region = get(token)?;
    if region.hot.is(POISONED) {
        return Err(poisoned(&region));
    }
    if region.hot.is(FRAGILE) { check_whole(&region) } else { Ok(()) }
}

/// Keeps other threads of this process from growing the same handle.
struct Growing<'a>(&'a Region);

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.0.growing.store(0, Release);
    }
}

/// Makes a region larger, for all processes; nothing moves. Smaller sizes than it has are nothing to do.
pub fn grow(token: u64, new_size: u64) -> Outcome<()> {
    let region = get(token)?;
    if region.backend == Backend::Sysv {
        return Err(Failure::backend(
            "a System V segment cannot grow",
            "create it as large as it will ever be, or use another kind",
        ));
    }
    if region.hot.is(RAW) {
        return Err(Failure::backend(
            "a raw region has no header in which other processes would see its size",
            "use ftruncate, and open it again in every process",
        ));
    }
    if region.hot.is(READ_ONLY) {
        return Err(Failure::new(Status::ErrAccess, "{name} is open for reading only", "open it without read_only"));
    }
    let fd = region.fd();
    let mut deadline = Deadline::after(region.timeout_ns);
    while region.growing.compare_exchange(0, 1, Acquire, Relaxed).is_err() {
        deadline.pause("another thread grew the region")?;
    }
    let _mine = Growing(&region);
    let _alone = lease::hold(fd, lease::GROW, &mut deadline, "another process grew the region")?;
    // A truncation may have taken the header, or made its size a lie: that is said first.
    if region.hot.is(FRAGILE) {
        check_whole(&region)?;
    }
    let header = header_of(&region)?;
    if new_size <= header.size {
        return Ok(());
    }
    let most = header.max_size.min(region.hot.capacity.load(Relaxed) as u64);
    if new_size > most {
        return Err(Failure::new(
            Status::ErrTooBig,
            "{name} may grow to {limit} bytes (max_size), and {needed} are asked for",
            "create it with a larger max_size: address space alone is set aside for it",
        )
        .with(|figures| (figures.limit, figures.needed) = (most, new_size)));
    }
    let status = file::status(fd).map_err(Failure::system)?;
    let unit = if region.backend == Backend::Memfd || region.backend == Backend::Anonymous { status.block } else { 0 };
    let end = (header.data_offset + new_size).next_multiple_of(unit.max(page_size() as u64));
    // Also when nothing gets longer: the new size may be written as to any file.
    object::require_writable(end)?;
    // One that died here left the object longer than its size says: that space is there already, or is made now.
    let start = (header.data_offset + header.size).next_multiple_of(page_size() as u64).min(status.size);
    if end > start {
        reserve(fd, start, end, status.size, region.space).map_err(|failure| match failure.errno {
            libc::EPERM => Failure::new(
                Status::ErrNotPermitted,
                "{name} is sealed against growth (SHMKIT_SEAL_GROW)",
                "use it as large as it is, or create it anew",
            ),
            _ => failure,
        })?;
    }
    let window = &region.hot.window;
    if region.space == Space::Populate {
        let _ = memory::madvise(window.start() + start as usize, (end - start) as usize, libc::MADV_POPULATE_WRITE);
    }
    let generation = header.generation.wrapping_add(1);
    if is_safe(region.hot) {
        window.store(GENERATION_AT, generation);
        // Release: who sees this size finds space behind it.
        window.store(SIZE_AT, new_size);
    } else {
        // A touch could fault. The kernel writes; a reader that catches half of the size bounds it by what is there.
        for (at, word) in [(GENERATION_AT, generation), (SIZE_AT, new_size)] {
            file::write_at(fd, &word.to_ne_bytes(), at as i64).map_err(Failure::system)?;
        }
        check_whole(&region)?;
    }
    if region.hot.is(POISONED) { Err(poisoned(&region)) } else { Ok(()) }
}

/// As `object::reserve`, but takes back no more than what it added.
fn reserve(fd: i32, start: u64, end: u64, size: u64, space: Space) -> Outcome<()> {
    if space == Space::Lazy && end <= size {
        return Ok(());
    }
    object::reserve(fd, start.max(size).min(end), end, space)?;
    // What lay between was made by one that died on the way.
    if start < size && space != Space::Lazy { object::reserve(fd, start, size.min(end), space) } else { Ok(()) }
}

/// A length that means "to the end of the data".
pub const TO_END: usize = usize::MAX;

/// The address and length of a range of the data; `None` for an empty one, with which there is nothing to do. That a peer
/// made the object shorter is said first: the kernel would have other words for it, or none.
fn range(region: &Region, token: u64, offset: usize, length: usize) -> Outcome<Option<(usize, usize)>> {
    if region.hot.is(POISONED) {
        return Err(poisoned(region));
    }
    if region.hot.is(FRAGILE) {
        check_whole(region)?;
    }
    let size = match region.hot.is(RAW) {
        true => region.hot.capacity.load(Relaxed),
        false => size(token).unwrap_or(0),
    };
    let length = if length == TO_END { size.saturating_sub(offset) } else { length };
    if offset > size || length > size - offset {
        return Err(out_of_range(token, offset, length, size));
    }
    let start = region.hot.data() + offset;
    if length > 0 && region.hot.is(WITHHELD) && region.hot.withheld.meets(start, length) {
        return Err(withheld());
    }
    Ok((length > 0).then_some((start, length)))
}

fn aligned(offset: usize) -> Outcome<()> {
    if offset.is_multiple_of(page_size()) {
        return Ok(());
    }
    Err(Failure::new(
        Status::ErrInvalidArgument,
        "offset {offset} is no multiple of the page size, {page}",
        "protect, advise and lock whole pages; the data begins on one",
    )
    .with(|figures| figures.offset = offset as u64))
}

/// How far a sync goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Writing is started.
    Start,
    /// The data is on the device.
    Data,
    /// And the file's metadata.
    File,
    /// And its name.
    Name,
}

/// Writes a range back to its file, as far as `level` says.
pub fn sync(token: u64, offset: usize, length: usize, level: Durability) -> Outcome<()> {
    let region = get(token)?;
    if region.backend != Backend::File {
        return Err(Failure::backend(
            "{name} is memory: there is no device that it could be written to",
            "use a file: region for what must outlive the machine's power",
        ));
    }
    let Some((start, length)) = range(&region, token, offset, length)? else { return Ok(()) };
    let first = start & !(page_size() - 1);
    let flags = if level == Durability::Start { libc::MS_ASYNC } else { libc::MS_SYNC };
    memory::msync(first, length + (start - first), flags).map_err(Failure::system)?;
    if matches!(level, Durability::File | Durability::Name) {
        file::sync(region.fd()).map_err(Failure::system)?;
    }
    if level == Durability::Name {
        sync_folder(&region)?;
    }
    Ok(())
}

fn sync_folder(region: &Region) -> Outcome<()> {
    let folder = folder_of(region.address().strip_prefix(b"file:").unwrap_or_default())?;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let fd = file::open_at(libc::AT_FDCWD, folder.c(), flags, 0).map_err(Failure::system)?;
    let result = file::sync(fd).map_err(Failure::system);
    let _ = file::close(fd);
    result
}

/// Changes the protection of whole pages of the data, for this process.
pub fn protect(token: u64, offset: usize, length: usize, prot: i32) -> Outcome<()> {
    let region = get(token)?;
    if prot & !(libc::PROT_READ | libc::PROT_WRITE) != 0 {
        return Err(Failure::argument("prot is not made of PROT_READ and PROT_WRITE", "regions hold data, not code"));
    }
    if prot & libc::PROT_WRITE != 0 && region.hot.is(READ_ONLY) {
        return Err(Failure::new(Status::ErrAccess, "{name} is open for reading only", "open it without read_only"));
    }
    aligned(offset)?;
    let Some((start, length)) = range(&region, token, offset, length)? else { return Ok(()) };
    // From now on the kernel copies: it answers where a touch would be a signal.
    if prot != libc::PROT_READ | libc::PROT_WRITE {
        region.set_flag(PROTECTED);
    }
    memory::mprotect(start, length, prot).map_err(Failure::system)
}

/// The advices that leave shared data as it is. (MADV_DONTNEED drops this process's pages; the object keeps them.)
const HARMLESS: [i32; 16] = [
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_DONTFORK,
    libc::MADV_DOFORK,
    libc::MADV_HUGEPAGE,
    libc::MADV_NOHUGEPAGE,
    libc::MADV_DONTDUMP,
    libc::MADV_DODUMP,
    libc::MADV_COLD,
    libc::MADV_PAGEOUT,
    libc::MADV_POPULATE_READ,
    libc::MADV_POPULATE_WRITE,
    memory::COLLAPSE,
];

/// Advice to the kernel on how the data will be used; none that loses data.
pub fn advise(token: u64, offset: usize, length: usize, advice: i32) -> Outcome<()> {
    let region = get(token)?;
    if !HARMLESS.contains(&advice) {
        return Err(Failure::argument(
            "the advice is none of those that leave shared data as it is",
            "see the list at shmkit_region_advise in shmkit.h",
        ));
    }
    aligned(offset)?;
    let Some((start, length)) = range(&region, token, offset, length)? else { return Ok(()) };
    // What a child does about them when it maps the region anew.
    match advice {
        libc::MADV_DONTFORK => region.set_flag(NOT_FORKED),
        libc::MADV_DONTDUMP => region.hot.undumped.add(start, length),
        libc::MADV_DODUMP => region.hot.undumped.clear_if_within(start, length),
        libc::MADV_HUGEPAGE => region.hot.huge.add(start, length),
        libc::MADV_NOHUGEPAGE => region.hot.huge.clear_if_within(start, length),
        _ => {}
    }
    memory::madvise(start, length, advice).map_err(Failure::system)
}

/// Keeps the data resident, or lets it go again.
pub fn lock_memory(token: u64, offset: usize, length: usize, lock: bool) -> Outcome<()> {
    let region = get(token)?;
    aligned(offset)?;
    let Some((start, length)) = range(&region, token, offset, length)? else { return Ok(()) };
    let result = if lock { memory::mlock(start, length) } else { memory::munlock(start, length) };
    result.map_err(|errno| match errno.0 {
        libc::ENOMEM | libc::EPERM | libc::EAGAIN => {
            let failure = Failure::new(
                Status::ErrLimit,
                "{length} bytes cannot be locked: RLIMIT_MEMLOCK is {limit_bytes}",
                "raise the limit (ulimit -l), or lock less",
            );
            Failure { errno: errno.0, ..failure }.with(|figures| {
                figures.length = length as u64;
                figures.limit = soft_limit(Resource::LockedMemory);
            })
        }
        _ => Failure::system(errno),
    })
}

/// Seals a memfd: what nobody may do any more.
pub fn seal(token: u64, seals: i32) -> Outcome<()> {
    const F_SEAL_FUTURE_WRITE: i32 = 16;
    let region = get(token)?;
    if !matches!(region.backend, Backend::Memfd | Backend::Anonymous) {
        return Err(Failure::backend("only memory without a name can be sealed", "use a memfd: region"));
    }
    let known = libc::F_SEAL_SEAL | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    if seals == 0 || seals & !known != 0 {
        return Err(Failure::argument("these are no seals", "combine SHMKIT_SEAL_ constants"));
    }
    file::add_seals(region.fd(), seals).map_err(|errno| match errno.0 {
        libc::EBUSY => Failure::new(
            Status::ErrBusy,
            "a region that is mapped for writing cannot be sealed against all writing",
            "use SHMKIT_SEAL_FUTURE_WRITE, which lets those write who already may",
        ),
        libc::EPERM => Failure::new(
            Status::ErrNotPermitted,
            "{name} is sealed against more seals, or open for reading only",
            "seal before SHMKIT_SEAL_SEAL, from a writable handle",
        ),
        _ => Failure::system(errno),
    })
}

/// What is known of an open region.
#[derive(Default)]
pub struct Facts {
    /// What the header says; zeros for a raw region.
    pub header: Header,
    /// Bytes of data now.
    pub size: u64,
    /// Bytes of the object, header and all.
    pub object_size: u64,
    /// Bytes that it has reserved.
    pub reserved: u64,
    /// Bytes of a page of its memory.
    pub page_size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names, or 0 when it has none (any more).
    pub links: u64,
    /// Seals, or 0.
    pub seals: i32,
}

/// What is known of an open region.
pub fn stat(token: u64) -> Outcome<Facts> {
    let region = get(token)?;
    let raw = region.hot.is(RAW);
    let mut facts = Facts { size: region.hot.capacity.load(Relaxed) as u64, ..Facts::default() };
    if region.hot.is(POISONED) {
        return Err(poisoned(&region));
    }
    if region.backend == Backend::Sysv {
        let status = sysv::status(region.identity.1 as i32).map_err(Failure::system)?;
        (facts.mode, facts.uid, facts.gid) = (status.mode & 0o777, status.uid, status.gid);
        (facts.object_size, facts.reserved) = (status.size, status.size);
        facts.page_size = page_size() as u64;
        facts.links = u64::from(status.mode & sysv::SHM_DEST == 0);
    } else {
        let status = file::status(region.fd()).map_err(Failure::system)?;
        (facts.mode, facts.uid, facts.gid) = (status.mode & 0o777, status.uid, status.gid);
        (facts.object_size, facts.reserved) = (status.size, status.reserved);
        facts.page_size = status.block.max(page_size() as u64);
        facts.links = status.links;
        if matches!(region.backend, Backend::Memfd | Backend::Anonymous) {
            facts.links = 0;
        } else {
            // A file's block says nothing of memory.
            facts.page_size = page_size() as u64;
        }
        facts.seals = file::seals(region.fd()).unwrap_or(0);
        check_whole(&region)?;
    }
    if !raw {
        facts.header = header_of(&region)?;
        facts.size = facts.header.size;
        if region.backend == Backend::Sysv && facts.header.flags & HUGE != 0 {
            facts.page_size = crate::sys::limits::huge_page_size().unwrap_or(page_size()) as u64;
        }
    }
    Ok(facts)
}

/// Removes the region's name, if it still leads to this very object.
pub fn unlink(token: u64) -> Outcome<()> {
    let region = get(token)?;
    let parsed = Parsed::new(region.address())?;
    match parsed.get() {
        Address::Path(backend, rest) => {
            let mut deadline = Deadline::after(region.timeout_ns);
            object::unlink_same(region.fd(), backend, rest, region.identity, &mut deadline).map(drop)
        }
        Address::Key(key) => segment::unlink(region.identity.1 as i32, key),
        Address::Label(..) => Err(nameless()),
    }
}

/// Removes the name of whatever region it leads to.
pub fn unlink_address(address: &[u8]) -> Outcome<()> {
    let parsed = Parsed::new(address)?;
    match parsed.get() {
        Address::Path(backend, rest) => object::unlink(backend, rest, None, &mut Deadline::after(0)),
        Address::Key(key) => {
            let id = sysv::shmget(key, 0, 0).map_err(|errno| match errno.0 {
                libc::ENOENT => Failure::new(Status::ErrNotFound, "there is no {name}", "it was unlinked already"),
                _ => Failure::system(errno),
            })?;
            if !segment::is_region(id, key)? {
                let removed = segment::is_removed(id);
                return Err(if removed { segment::removed() } else { Failure::of(Status::ErrNotARegion) });
            }
            segment::unlink(id, key)
        }
        Address::Label(..) => Err(nameless()),
    }
}

/// Gives the name of a region to a draft, a file that has a name already in the same folder, unless somebody has the region
/// open: whether it did. The name leads to the one or to the other all the time.
pub fn replace(address: &[u8], draft: &CStr) -> Outcome<bool> {
    let parsed = Parsed::new(address)?;
    match parsed.get() {
        Address::Path(backend, rest) => object::replace(backend, rest, draft, &mut Deadline::after(0)),
        Address::Key(_) => Err(Failure::backend(
            "a System V segment cannot be replaced: its key leads to nothing for a while",
            "unlink it, and create it again",
        )),
        Address::Label(..) => Err(nameless()),
    }
}

/// Removes the name of a region if it still leads to the object of this identity: device and inode, or 0 and a segment's
/// id.
pub fn unlink_same(address: &[u8], identity: (u64, u64)) -> Outcome<()> {
    let parsed = Parsed::new(address)?;
    match parsed.get() {
        Address::Path(backend, rest) => object::unlink(backend, rest, Some(identity), &mut Deadline::after(0)),
        Address::Key(key) => match segment::is_region(identity.1 as i32, key)? {
            true => segment::unlink(identity.1 as i32, key),
            false if segment::is_removed(identity.1 as i32) => Err(segment::removed()),
            false => Err(Failure::of(Status::ErrNotARegion)),
        },
        Address::Label(..) => Err(nameless()),
    }
}

fn nameless() -> Failure {
    Failure::backend("memfd: and anon: regions have no name to remove", "close them: the last one frees the memory")
}
