//! The checked calls for mappings. Layers: checks, facts if somebody listens, `sys::memory`, then ledger or words.
//! Never reads or writes the memory that is mapped. Next: `checks/memory.rs` for the rules, `ledger.rs`.

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger::{self, Kind, Mapping, Taken};
use super::policy;
use crate::checks::memory::{self as checks, Map, Remap};
use crate::checks::words::{Call, Figures, Invocation, Subject};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::file::{self, FileSystem, Status};
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::{self, memory as sys_memory};
use crate::text::leading_number;

fn map_words(map: &Map) -> Invocation {
    let args =
        [map.addr as u64, map.length as u64, map.prot as u64, map.flags as u64, map.fd as u64, map.offset as u64];
    Invocation::new(Call::Mmap, args)
}

/// The address string of the object behind a descriptor: from /proc, which knows it, else from the ledger.
pub fn address_of(fd: i32, status: Option<&Status>) -> Subject {
    let mut subject = Subject::new();
    let mut buffer = [0u8; 280];
    let Ok(length) = sys::preserving_errno(|| file::link_of(fd, &mut buffer)) else {
        // Without /proc, what is remembered will do.
        if let Some(object) = ledger::object(fd, status).filter(|object| object.kind != Kind::File) {
            subject.push_str(match object.kind {
                Kind::Posix => "posix:/",
                Kind::Semaphore => "semaphore /",
                _ => "memfd:",
            });
            subject.push_printable(object.name.bytes());
        }
        return subject;
    };
    let path = &buffer[..length];
    if let Some(name) = path.strip_prefix(b"/dev/shm/") {
        subject.push_str("posix:/");
        subject.push_printable(name.strip_suffix(b" (deleted)").unwrap_or(name));
    } else if let Some(label) = path.strip_prefix(b"/memfd:") {
        subject.push_str("memfd:");
        subject.push_printable(label.strip_suffix(b" (deleted)").unwrap_or(label));
    } else if path.starts_with(b"/") {
        subject.push_str("file:");
        subject.push_printable(path);
    }
    subject
}

/// Whether a descriptor cannot be mapped at all: closed, or open as a path only.
fn is_closed(fd: i32) -> bool {
    sys::preserving_errno(|| file::open_flags(fd)).map_or(true, |flags| flags & libc::O_PATH != 0)
}

/// mmap(addr, length, prot, flags, fd, offset)—maps memory or a file; returns the address.
///
/// A peer that truncates the file later turns touches of the lost pages into SIGBUS; no check can see that ahead.
#[inline]
pub fn mmap(map: &Map) -> Result<usize, Errno> {
    let broken = checks::map(map, page_size());
    if !broken.is_empty() {
        judge_map(map, broken)?;
    }
    let (status, place) = if policy::attentive() { examine_map(map)? } else { (None, Place::Unknown) };
    match sys_memory::mmap(map.addr, map.length, map.prot, map.flags, map.fd, map.offset) {
        Ok(addr) => {
            let anonymous = map.is_anonymous();
            let mapping = Mapping {
                addr,
                length: map.length,
                offset: map.offset as u64,
                fd: if anonymous { None } else { Some(map.fd) },
                reservation: anonymous && map.prot == libc::PROT_NONE,
            };
            ledger::mapped(&mapping, status.as_ref());
            Ok(addr)
        }
        Err(errno) => {
            place.give_back(map.addr, map.length);
            Err(explain_map(map, errno))
        }
    }
}

#[cold]
fn judge_map(map: &Map, mut broken: RuleSet) -> Result<(), Errno> {
    // The kernel looks at the descriptor before it looks at most else; so does the refusal.
    broken.put(!map.is_anonymous() && map.fd >= 0 && is_closed(map.fd), Rule::FdClosed);
    // The largest offset is a property of regular files (POSIX mmap, EOVERFLOW); a device has its own idea of it.
    if broken.has(Rule::MapOffsetOverflow)
        && sys::preserving_errno(|| file::status(map.fd)).is_ok_and(|s| !s.is_regular())
    {
        broken = broken.without(Rule::MapOffsetOverflow);
        if broken.is_empty() {
            return Ok(());
        }
    }
    let call = map_words(map);
    judge(broken, &call, &figures(&call))
}

/// The facts of a mapping, asked of the kernel: the size of the object, what lies at a fixed address.
fn examine_map(map: &Map) -> Result<(Option<Status>, Place), Errno> {
    let mut broken = RuleSet::EMPTY;
    let mut size = None;
    let status = match map.is_anonymous() || map.fd < 0 {
        true => None,
        false => sys::preserving_errno(|| file::status(map.fd)).ok(),
    };
    if let Some(status) = status.filter(|status| map.prot != libc::PROT_NONE && status.is_regular()) {
        let beyond = checks::map_of(map, status.size, page_size());
        // What /proc and its like say of sizes means nothing; asked only where it matters.
        let pseudo = || sys::preserving_errno(|| file::file_system(map.fd)) == Ok(FileSystem::Pseudo);
        if !beyond.is_empty() && !pseudo() {
            broken = broken.with(beyond);
            size = Some(status.size);
        }
    }
    let mut place = Place::Unknown;
    let replaces = map.flags & libc::MAP_FIXED != 0 && map.flags & checks::MAP_FIXED_NOREPLACE == 0;
    if replaces && map.length != 0 && map.addr & (page_size() - 1) == 0 {
        place = sys::preserving_errno(|| Place::take(map.addr, map.length));
        let reserved = place == Place::InUse && ledger::is_reservation(map.addr, map.length);
        broken.put(place == Place::InUse && !reserved, Rule::MapFixedOver);
    }
    if !broken.is_empty() {
        let mut call = map_words(map);
        let mut figures = figures(&call);
        figures.size = size.unwrap_or(figures.size);
        if map.fd >= 0 {
            call.subject = address_of(map.fd, status.as_ref());
        }
        judge(broken, &call, &figures).inspect_err(|_| place.give_back(map.addr, map.length))?;
    }
    Ok((status, place))
}

/// What lies where a fixed mapping shall go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nothing that is known; the kernel was not asked.
    Unknown,
    /// Something.
    InUse,
    /// Nothing; this call holds the place with a mapping of its own, so that nobody else gets it meanwhile.
    Held,
}

impl Place {
    /// Asks the kernel by a mapping that may not replace anything: its own answer, not the ledger's guess.
    pub fn take(addr: usize, length: usize) -> Place {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | checks::MAP_FIXED_NOREPLACE;
        match sys_memory::mmap(addr, length, libc::PROT_NONE, flags, -1, 0) {
            Ok(got) if got == addr => Place::Held,
            Ok(got) => {
                // Before Linux 4.17 the flag was unknown and the address a hint.
                let _freed = sys_memory::munmap(got, length);
                Place::InUse
            }
            Err(Errno(libc::EEXIST)) => Place::InUse,
            Err(_) => Place::Unknown,
        }
    }

    /// Gives a held place back, when the mapping that it was held for does not come.
    pub fn give_back(self, addr: usize, length: usize) {
        if self == Place::Held {
            sys::preserving_errno(|| sys_memory::munmap(addr, length)).unwrap_or_default();
        }
    }
}

/// Why the kernel refused a mapping.
#[cold]
fn explain_map(map: &Map, errno: Errno) -> Errno {
    let mut call = map_words(map);
    let mut figures = figures(&call);
    let file_mapping = !map.is_anonymous() && map.fd >= 0;
    let status = if file_mapping { sys::preserving_errno(|| file::status(map.fd)).ok() } else { None };
    if file_mapping {
        call.subject = address_of(map.fd, status.as_ref());
    }
    if let Some(status) = status {
        figures.mode = u64::from(status.mode);
        figures.size = status.size;
    }
    let rule = match errno.0 {
        libc::EBADF => Some(Rule::FdClosed),
        libc::EACCES if file_mapping => {
            figures.access = sys::preserving_errno(|| file::open_flags(map.fd)).unwrap_or(0) as u64;
            let regular = status.is_none_or(|status| status.is_regular());
            Some(if regular { Rule::MapProtFd } else { Rule::MapNotMappable })
        }
        libc::ENODEV if file_mapping => Some(Rule::MapNotMappable),
        libc::EPERM if file_mapping => match sys::preserving_errno(|| file::seals(map.fd)) {
            Ok(seals) if seals != 0 => {
                figures.seals = seals as u64;
                Some(Rule::MapSealed)
            }
            _ => None,
        },
        libc::EEXIST => Some(Rule::MapExists),
        libc::EOPNOTSUPP => {
            figures.flags = (map.flags & !checks::MAP_TYPE) as u32 as u64;
            Some(Rule::MapFlagsValidated)
        }
        libc::EOVERFLOW => Some(Rule::MapOffsetOverflow),
        libc::ENOMEM if map.flags & libc::MAP_HUGETLB != 0 => {
            huge_figures(map, &mut figures);
            Some(Rule::MapHuge)
        }
        libc::ENOMEM => {
            limit_figures(&mut figures);
            Some(Rule::MapLimit)
        }
        _ => None,
    };
    match rule {
        Some(rule) => explain::by_rule(rule, errno, &call, &figures),
        None => explain::by_errno(errno, &call, &figures),
    }
}

/// The limits on address space: RLIMIT_AS, what is used of it, vm.max_map_count.
pub fn limit_figures(figures: &mut Figures) {
    sys::preserving_errno(|| {
        figures.limit = soft_limit(Resource::AddressSpace);
        // The first number of statm is the address space in use, in pages (proc(5)).
        figures.used = first_number(c"/proc/self/statm").saturating_mul(page_size() as u64);
        figures.count = first_number(c"/proc/sys/vm/max_map_count");
    });
}

fn huge_figures(map: &Map, figures: &mut Figures) {
    sys::preserving_errno(|| {
        let mut default = 0;
        let _unknown =
            sys::limits::huge_page_sizes(|size| default = if default == 0 { size } else { default.min(size) });
        figures.size = if map.huge_page_size() != 0 { map.huge_page_size() } else { default };
        let mut path = crate::text::Text::<96>::new();
        path.push_str("/sys/kernel/mm/hugepages/hugepages-");
        path.push_number(figures.size / 1024);
        path.push_str("kB/free_hugepages\0");
        if let Ok(path) = core::ffi::CStr::from_bytes_until_nul(path.bytes()) {
            figures.free = first_number(path).saturating_mul(figures.size);
        }
    });
}

/// The first number in a small file; 0 when there is none.
fn first_number(path: &core::ffi::CStr) -> u64 {
    let mut buffer = [0u8; 64];
    let length = file::read_small(path, &mut buffer).unwrap_or(0);
    leading_number(&buffer[..length])
}

/// munmap(addr, length)—removes mappings.
#[inline]
pub fn munmap(addr: usize, length: usize) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Munmap, [addr as u64, length as u64, 0, 0, 0, 0]);
    gate(checks::unmap(addr, length, page_size()), words)?;
    if policy::attentive() {
        examine_unmap(addr, length, words)?;
    }
    let taken = ledger::unmapping(addr, length);
    match sys_memory::munmap(addr, length) {
        Ok(()) => {
            ledger::unmapped(&taken);
            Ok(())
        }
        Err(errno) => {
            ledger::restore(&taken);
            let call = words();
            let figures = figures(&call);
            Err(match errno.0 {
                libc::EINVAL => explain::by_rule(Rule::UnmapRange, errno, &call, &figures),
                _ => explain::by_errno(errno, &call, &figures),
            })
        }
    }
}

fn examine_unmap(addr: usize, length: usize, words: impl FnOnce() -> Invocation) -> Result<(), Errno> {
    let mut broken = RuleSet::EMPTY;
    // Under the interposer no other code maps behind the ledger's back but by raw system calls: there it is believed, because
    // a program that unmaps all the time would pay for the question all the time.
    let mapped = || {
        cfg!(interposer) && ledger::covers(addr, length)
            || sys::preserving_errno(|| sys_memory::is_mapped(addr, length))
    };
    broken.put(!mapped(), Rule::UnmapNotMapped);
    let split = ledger::split_attach(addr, length);
    broken.put(split.is_some(), Rule::UnmapSplitsAttach);
    if broken.is_empty() {
        return Ok(());
    }
    let call = words();
    let mut figures = figures(&call);
    figures.start = split.map_or(figures.start, |range| range.start);
    judge(broken, &call, &figures)
}

/// mremap(old_address, old_size, new_size, flags, new_address)—moves or resizes a mapping.
pub fn mremap(remap: &Remap) -> Result<usize, Errno> {
    let args =
        [remap.old as u64, remap.old_size as u64, remap.new_size as u64, remap.flags as u64, remap.new as u64, 0];
    let words = || Invocation::new(Call::Mremap, args);
    gate(checks::remap(remap, page_size()), words)?;
    let place = if policy::attentive() { examine_remap(remap, &words())? } else { Place::Unknown };
    let keeps_old = remap.flags & checks::MREMAP_DONTUNMAP != 0 || remap.old_size == 0;
    // The old place is another thread's as soon as the kernel has moved the mapping: see `ledger::unmapping`.
    let taken = match keeps_old {
        true => Taken::default(),
        false => ledger::unmapping(remap.old, remap.old_size),
    };
    match sys_memory::mremap(remap.old, remap.old_size, remap.new_size, remap.flags, remap.new) {
        Ok(addr) => {
            ledger::moved(&taken, addr, remap.new_size);
            if keeps_old {
                ledger::copied(remap.old, addr, remap.new_size);
            }
            Ok(addr)
        }
        Err(errno) => {
            place.give_back(remap.new, remap.new_size);
            ledger::restore(&taken);
            let call = words();
            let mut figures = figures(&call);
            Err(match errno.0 {
                libc::EFAULT => {
                    figures.length = remap.old_size as u64;
                    explain::by_rule(Rule::RemapNotMapped, errno, &call, &figures)
                }
                libc::ENOMEM if remap.flags & libc::MREMAP_MAYMOVE == 0 => {
                    explain::by_rule(Rule::RemapNoRoom, errno, &call, &figures)
                }
                libc::ENOMEM => {
                    limit_figures(&mut figures);
                    explain::by_rule(Rule::MapLimit, errno, &call, &figures)
                }
                _ => explain::by_errno(errno, &call, &figures),
            })
        }
    }
}

/// What lies where MREMAP_FIXED shall go.
#[cold]
fn examine_remap(remap: &Remap, call: &Invocation) -> Result<Place, Errno> {
    if remap.flags & libc::MREMAP_FIXED == 0 {
        return Ok(Place::Unknown);
    }
    let place = sys::preserving_errno(|| Place::take(remap.new, remap.new_size));
    let mut broken = RuleSet::EMPTY;
    broken.put(place == Place::InUse && !ledger::is_reservation(remap.new, remap.new_size), Rule::MapFixedOver);
    if !broken.is_empty() {
        let mut figures = figures(call);
        figures.addr = remap.new as u64;
        judge(broken, call, &figures)?;
    }
    Ok(place)
}

/// What a failed call on a range comes to: ENOMEM with a hole in the range has a rule of its own.
#[cold]
fn explain_range(call: &Invocation, errno: Errno) -> Errno {
    let figures = figures(call);
    let (addr, length) = (call.args[0] as usize, call.args[1] as usize);
    let page = addr & !(page_size() - 1);
    let hole = || !sys::preserving_errno(|| sys_memory::is_mapped(page, length + (addr - page)));
    if errno.0 == libc::ENOMEM && length.checked_add(addr).is_some() && hole() {
        return explain::by_rule(Rule::RangeNotMapped, errno, call, &figures);
    }
    explain::by_errno(errno, call, &figures)
}

/// mprotect(addr, length, prot)—changes the protection of mappings.
#[inline]
pub fn mprotect(addr: usize, length: usize, prot: i32) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Mprotect, [addr as u64, length as u64, prot as u64, 0, 0, 0]);
    gate(checks::protect(addr, length, prot, page_size()), words)?;
    match sys_memory::mprotect(addr, length, prot) {
        Ok(()) => {
            if prot != libc::PROT_NONE {
                ledger::made_live(addr, length);
            }
            Ok(())
        }
        Err(errno) => Err(explain_range(&words(), errno)),
    }
}

/// msync(addr, length, flags)—writes a shared file mapping back to its file.
#[inline]
pub fn msync(addr: usize, length: usize, flags: i32) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Msync, [addr as u64, length as u64, flags as u64, 0, 0, 0]);
    gate(checks::sync(addr, length, flags, page_size()), words)?;
    sys_memory::msync(addr, length, flags).map_err(|errno| match errno.0 {
        libc::EBUSY => explain::by_rule(Rule::SyncLocked, errno, &words(), &figures(&words())),
        _ => explain_range(&words(), errno),
    })
}

/// madvise(addr, length, advice)—tells the kernel how memory will be used.
#[inline]
pub fn madvise(addr: usize, length: usize, advice: i32) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Madvise, [addr as u64, length as u64, advice as u64, 0, 0, 0]);
    gate(checks::advise(addr, length, page_size()), words)?;
    sys_memory::madvise(addr, length, advice).map_err(|errno| match errno.0 {
        libc::EINVAL => explain::by_rule(Rule::AdviseAdvice, errno, &words(), &figures(&words())),
        _ => explain_range(&words(), errno),
    })
}

/// mlock(addr, length)—keeps memory resident.
#[inline]
pub fn mlock(addr: usize, length: usize) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Mlock, [addr as u64, length as u64, 0, 0, 0, 0]);
    gate(checks::lock(addr, length, page_size()), words)?;
    sys_memory::mlock(addr, length).map_err(|errno| {
        let call = words();
        let mut figures = figures(&call);
        figures.limit = soft_limit(Resource::LockedMemory);
        let page = addr & !(page_size() - 1);
        let mapped = || sys::preserving_errno(|| sys_memory::is_mapped(page, length + (addr - page)));
        match errno.0 {
            libc::ENOMEM | libc::EPERM | libc::EAGAIN if mapped() => {
                explain::by_rule(Rule::LockLimit, errno, &call, &figures)
            }
            _ => explain_range(&call, errno),
        }
    })
}

/// munlock(addr, length)—lets memory be paged out again.
#[inline]
pub fn munlock(addr: usize, length: usize) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Munlock, [addr as u64, length as u64, 0, 0, 0, 0]);
    gate(checks::lock(addr, length, page_size()), words)?;
    sys_memory::munlock(addr, length).map_err(|errno| explain_range(&words(), errno))
}
