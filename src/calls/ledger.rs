//! What this process opened, mapped and attached through the checked calls: names, owners, ranges, keys.
//! Never decides alone: it explains, and where a refusal hangs on it the kernel is asked too. Never allocates
//! with malloc, never blocks for long, and what it cannot take it leaves out. After a fork the child has its own copy.
//! Bounds: 65,536 descriptors, 16,384 objects, 16,384 segments, 4,096 sets of semaphores, 4,096 keys, 2^20 ranges.
//! Next: `ranges.rs`, `slab.rs`.

use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::ranges::{Content, Range, Ranges};
use super::report;
use super::slab::Slab;
use crate::checks::memory::pages_of;
use crate::sys::file::Status;
use crate::sys::limits::page_size;
use crate::sys::lock::Guarded;
use crate::sys::pages::Array;
use crate::sys::process;
use crate::text::Text;

const MOST_DESCRIPTORS: usize = 65_536;

/// What kind of thing an object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A POSIX shared memory object.
    #[default]
    Posix,
    /// A named semaphore.
    Semaphore,
    /// A memfd.
    Memfd,
    /// Any other file, known by device and number alone.
    File,
}

/// A file or object.
#[derive(Clone, Copy, Default)]
pub struct Object {
    /// Its name without slashes, or its label.
    pub name: Text<256>,
    /// What it is.
    pub kind: Kind,
    /// Device and number on it; 0 and 0 when they were not asked for.
    pub identity: (u64, u64),
    /// This process made it, and has not removed its name.
    pub left_by_us: bool,
    /// The process that made it, when `left_by_us`.
    pub creator: i32,
    /// Where it is filed.
    hash: u32,
    descriptors: u32,
    /// Bytes that this process maps of it.
    mapped: u64,
    /// Its size when it was last opened or mapped; 0 when that was not asked.
    pub size: u64,
}

/// A System V segment.
#[derive(Clone, Copy, Default)]
pub struct Segment {
    /// Its id.
    pub id: i32,
    /// Its key.
    pub key: i32,
    /// Bytes, as far as this process knows.
    pub size: u64,
    /// The process that made it, when that is this one; 0 otherwise.
    pub creator: i32,
}

/// A System V set of semaphores.
#[derive(Clone, Copy, Default)]
struct SemaphoreSet {
    id: i32,
    /// The process that made it, when that is this one or one that this one was forked from; 0 otherwise.
    creator: i32,
    /// Another process made it, for certain.
    found: bool,
}

#[derive(Clone, Copy, Default)]
struct KeyOrigin {
    key: i32,
    id: i32,
    file: (u64, u64),
}

type Objects = Slab<Object, 16_384>;

struct Ledger {
    /// By descriptor: index of its object plus one; 0 when it is not known.
    descriptors: Array<u32>,
    objects: Objects,
    segments: Slab<Segment, 16_384>,
    sets: Slab<SemaphoreSet, 4096>,
    keys: Slab<KeyOrigin, 4096>,
    ranges: Ranges,
}

static LEDGER: Guarded<Ledger> = Guarded::new(Ledger {
    descriptors: Array::new(),
    objects: Slab::new(),
    segments: Slab::new(),
    sets: Slab::new(),
    keys: Slab::new(),
    ranges: Ranges::new(),
});

/// This process's id as of the last fork, so that no call has to ask the kernel for it.
static PROCESS: AtomicI32 = AtomicI32::new(0);

/// Every lock of the library is taken, so that the child's copies are whole and free.
extern "C" fn before_fork() {
    report::before_fork();
    LEDGER.before_fork();
}

extern "C" fn after_fork_in_parent() {
    LEDGER.after_fork();
    report::after_fork();
}

extern "C" fn after_fork_in_child() {
    PROCESS.store(process::pid(), Ordering::Relaxed);
    after_fork_in_parent();
}

/// This process, for `Object::creator`. Asks the kernel once; afterwards the fork handler keeps it true.
#[inline]
pub fn process() -> i32 {
    // Relaxed: every thread that finds 0 learns the same number for itself.
    match PROCESS.load(Ordering::Relaxed) {
        0 => start(),
        process => process,
    }
}

#[cold]
fn start() -> i32 {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        process::at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
    }
    let process = process::pid();
    PROCESS.store(process, Ordering::Relaxed);
    process
}

/// Runs `work` on the ledger, if it can be had: see `Guarded::with`. From the first time on, forks find it whole.
#[inline]
fn with<R>(work: impl FnOnce(&mut Ledger) -> R) -> Option<R> {
    process();
    LEDGER.with(work)
}

/// Whether the ledger cannot be had any more, as after a jump out of a signal handler that interrupted work on it.
pub fn is_lost() -> bool {
    with(|_| ()).is_none()
}

fn hash_name(name: &[u8]) -> u32 {
    // FNV-1a, 32 bits.
    name.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// A name as the C library files it: without its leading slashes.
pub fn bare(name: &[u8]) -> &[u8] {
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    name.get(slashes..).unwrap_or_default()
}

/// The object that a range maps, as an index.
#[inline]
fn owner(range: &Range) -> Option<u32> {
    if range.content == Content::File { range.owner.checked_sub(1) } else { None }
}

/// Counts a range, or a piece of one, on its object.
#[inline]
fn own(objects: &mut Objects, piece: &Range) {
    if let Some(object) = owner(piece).and_then(|index| objects.get_mut(index)) {
        object.mapped += piece.end - piece.start;
    }
}

/// Takes a range, or a piece of one, off its object, and drops the object if that was the last of it.
#[inline]
fn disown(objects: &mut Objects, piece: &Range) {
    let Some(index) = owner(piece) else { return };
    if let Some(object) = objects.get_mut(index) {
        object.mapped = object.mapped.saturating_sub(piece.end - piece.start);
        release(objects, index);
    }
}

/// Drops an object that nothing refers to any more.
fn release(objects: &mut Objects, index: u32) {
    let Some(object) = objects.get(index) else { return };
    if object.descriptors == 0 && object.mapped == 0 && !object.left_by_us {
        let hash = object.hash;
        objects.remove(hash, index);
    }
}

impl Ledger {
    fn object_of(&self, fd: i32) -> Option<u32> {
        let link = *self.descriptors.as_slice().get(usize::try_from(fd).ok()?)?;
        link.checked_sub(1)
    }

    /// Notes that a descriptor leads to an object. A record of the same number that was left over is dropped after the
    /// new one is counted: both may be of one object, which must not go in between.
    fn set_descriptor(&mut self, fd: i32, object: u32) {
        if let Some(object) = self.objects.get_mut(object) {
            object.descriptors += 1;
        }
        self.forget_descriptor(fd);
        let place = usize::try_from(fd).unwrap_or(MOST_DESCRIPTORS);
        if place < MOST_DESCRIPTORS && self.descriptors.extend_to(place + 1) {
            self.descriptors.as_mut_slice()[place] = object + 1;
        } else {
            self.uncount_descriptor(object);
        }
    }

    fn uncount_descriptor(&mut self, object: u32) {
        if let Some(object) = self.objects.get_mut(object) {
            object.descriptors = object.descriptors.saturating_sub(1);
        }
        release(&mut self.objects, object);
    }

    fn forget_descriptor(&mut self, fd: i32) {
        if let Some(object) = self.object_of(fd) {
            self.descriptors.as_mut_slice()[fd as usize] = 0;
            self.uncount_descriptor(object);
        }
    }

    fn by_identity(&self, identity: (u64, u64)) -> Option<u32> {
        let file = |object: &Object| object.kind == Kind::File && object.identity == identity;
        let named = || self.objects.iter().find(|(_, object)| object.identity == identity).map(|(index, _)| index);
        self.objects.find(identity.1 as u32, file).or_else(named)
    }

    /// The object behind a descriptor. What the kernel says of it, if it was asked, overrules what was written here.
    fn object_behind(&mut self, fd: i32, status: Option<&Status>) -> Option<u32> {
        let known = self.object_of(fd);
        let Some(status) = status else { return known };
        let identity = (status.dev, status.ino);
        let matches = known.and_then(|index| self.objects.get_mut(index)).map(|object| {
            if object.identity == (0, 0) {
                object.identity = identity;
            }
            object.identity == identity
        });
        match matches {
            Some(true) => known,
            Some(false) => {
                self.forget_descriptor(fd);
                self.by_identity(identity)
            }
            None => self.by_identity(identity),
        }
    }

    /// Puts a range, already counted on its object, in the place of what it covers.
    #[inline]
    fn put_range(&mut self, range: Range) {
        let Ledger { ranges, objects, .. } = self;
        if !ranges.replace(range, |piece| disown(objects, &piece)) {
            disown(objects, &range);
        }
    }
}

/// Notes a POSIX object that was opened as `fd`.
pub fn opened(fd: i32, name: &[u8], created: bool, status: Option<&Status>) {
    let process = process();
    let name = bare(name);
    let hash = hash_name(name);
    let identity = status.map_or((0, 0), |status| (status.dev, status.ino));
    with(|ledger| {
        let same = |object: &Object| {
            object.kind == Kind::Posix
                && object.name.bytes() == name
                && (identity == (0, 0) || object.identity == (0, 0) || object.identity == identity)
        };
        let found = if created { None } else { ledger.objects.find(hash, same) };
        let index = found.or_else(|| {
            let mut object = Object { kind: Kind::Posix, identity, hash, ..Object::default() };
            object.name.push_bytes(name);
            ledger.objects.insert(hash, object)
        });
        let Some(index) = index else { return };
        if let Some(object) = ledger.objects.get_mut(index).filter(|_| created) {
            object.left_by_us = true;
            object.creator = process;
        }
        ledger.set_descriptor(fd, index);
    });
}

/// Notes a memfd that was made as `fd`.
pub fn made_memfd(fd: i32, label: &[u8]) {
    with(|ledger| {
        // Labels are often all the same, and nothing looks a memfd up by its label: the descriptor spreads them.
        let mut object = Object { kind: Kind::Memfd, hash: fd as u32, ..Object::default() };
        object.name.push_bytes(label);
        if let Some(index) = ledger.objects.insert(object.hash, object) {
            ledger.set_descriptor(fd, index);
        }
    });
}

/// Forgets a descriptor; called before the kernel closes it, because afterwards its number can be another thread's.
#[inline]
pub fn closing(fd: i32) {
    with(|ledger| ledger.forget_descriptor(fd));
}

/// Notes a named semaphore that this process made.
pub fn made_semaphore(name: &[u8], status: Option<&Status>) {
    let creator = process();
    let name = bare(name);
    let (hash, identity) = (hash_name(name), status.map_or((0, 0), |status| (status.dev, status.ino)));
    with(|ledger| {
        let mut object =
            Object { kind: Kind::Semaphore, identity, left_by_us: true, creator, hash, ..Object::default() };
        object.name.push_bytes(name);
        ledger.objects.insert(hash, object)
    });
}

/// The named semaphore that this process made under a name, and has not removed.
pub fn own_semaphore(name: &[u8]) -> Option<Object> {
    let name = bare(name);
    let hash = hash_name(name);
    with(|ledger| {
        let ours = |object: &Object| object.kind == Kind::Semaphore && object.left_by_us && object.name.bytes() == name;
        let index = ledger.objects.find(hash, ours)?;
        ledger.objects.get(index).copied()
    })?
}

/// Notes that the name of a POSIX object was removed.
pub fn unlinked(name: &[u8]) {
    unlinked_name(name, Kind::Posix);
}

/// Notes that the name of a semaphore was removed.
pub fn unlinked_semaphore(name: &[u8]) {
    unlinked_name(name, Kind::Semaphore);
}

fn unlinked_name(name: &[u8], kind: Kind) {
    let name = bare(name);
    let hash = hash_name(name);
    with(|ledger| {
        let ours = |object: &Object| object.kind == kind && object.left_by_us && object.name.bytes() == name;
        while let Some(index) = ledger.objects.find(hash, ours) {
            if let Some(object) = ledger.objects.get_mut(index) {
                object.left_by_us = false;
            }
            release(&mut ledger.objects, index);
        }
    });
}

/// A new mapping of a file or of anonymous memory.
#[derive(Clone, Copy)]
pub struct Mapping {
    /// Where it is.
    pub addr: usize,
    /// Bytes, as asked.
    pub length: usize,
    /// Where in the file.
    pub offset: u64,
    /// The descriptor; `None` for anonymous memory.
    pub fd: Option<i32>,
    /// Anonymous memory that cannot be touched.
    pub reservation: bool,
}

fn end_of(addr: usize, length: usize) -> u64 {
    (addr as u64).saturating_add(pages_of(length, page_size()).unwrap_or(length) as u64)
}

/// Notes a mapping; whatever was mapped there before is gone, as with MAP_FIXED.
#[inline]
pub fn mapped(mapping: &Mapping, status: Option<&Status>) {
    let (start, end) = (mapping.addr as u64, end_of(mapping.addr, mapping.length));
    with(|ledger| {
        let mut range = Range { start, end, offset: mapping.offset, owner: 0, content: Content::Anonymous };
        match mapping.fd {
            None if mapping.reservation => range.content = Content::Reservation,
            None => {}
            Some(fd) => {
                range.content = Content::File;
                let object = ledger.object_behind(fd, status).or_else(|| {
                    let status = status?;
                    let identity = (status.dev, status.ino);
                    let hash = status.ino as u32;
                    let object = Object { kind: Kind::File, identity, hash, ..Object::default() };
                    ledger.objects.insert(hash, object)
                });
                range.owner = object.map_or(0, |index| index + 1);
                if let (Some(status), Some(object)) = (status, object.and_then(|index| ledger.objects.get_mut(index))) {
                    object.size = status.size;
                }
            }
        }
        own(&mut ledger.objects, &range);
        ledger.put_range(range);
    });
}

/// The range that was taken out before a call that might still fail. A failure concerns one range nearly always (the
/// kernel cannot split a mapping); of several, the first is remembered and the others are forgotten.
#[derive(Clone, Copy, Default)]
pub struct Taken(Option<Range>);

/// Takes a range out; called before the kernel unmaps it, because afterwards another thread can be given the place.
/// What was taken still counts on its object until `unmapped`, `moved` or `restore` says what became of it.
#[inline]
pub fn unmapping(addr: usize, length: usize) -> Taken {
    let mut taken = Taken(None);
    with(|ledger| {
        let Ledger { ranges, objects, .. } = ledger;
        ranges.remove(addr as u64, end_of(addr, length), |piece| match taken.0 {
            None => taken.0 = Some(piece),
            Some(_) => disown(objects, &piece),
        });
    });
    taken
}

/// Notes that the kernel unmapped what was taken out.
#[inline]
pub fn unmapped(taken: &Taken) {
    if let Some(piece) = taken.0.filter(|piece| piece.content == Content::File && piece.owner != 0) {
        with(|ledger| disown(&mut ledger.objects, &piece));
    }
}

/// Puts back what was taken out when the kernel would not unmap it.
#[cold]
pub fn restore(taken: &Taken) {
    if let Some(piece) = taken.0 {
        with(|ledger| ledger.put_range(piece));
    }
}

/// Notes that what was taken out now lies elsewhere, with another length.
pub fn moved(taken: &Taken, addr: usize, length: usize) {
    let Some(piece) = taken.0 else { return };
    let range = Range { start: addr as u64, end: end_of(addr, length), ..piece };
    with(|ledger| {
        own(&mut ledger.objects, &range);
        disown(&mut ledger.objects, &piece);
        ledger.put_range(range);
    });
}

/// Notes that mremap made a second view of what lies at `old`, and left that where it was.
pub fn copied(old: usize, addr: usize, length: usize) {
    with(|ledger| {
        let Some(first) = ledger.ranges.first_in(old as u64, old as u64 + 1) else { return };
        let offset = first.offset + (old as u64 - first.start);
        let range = Range { start: addr as u64, end: end_of(addr, length), offset, ..first };
        own(&mut ledger.objects, &range);
        ledger.put_range(range);
    });
}

/// Notes that address space which was only set aside can be touched from now on.
pub fn made_live(addr: usize, length: usize) {
    let (start, end) = (addr as u64, end_of(addr, length));
    with(|ledger| {
        let mut next = start;
        while next < end {
            let Some(range) = ledger.ranges.first_in(next, end) else { return };
            next = range.end.min(end);
            if range.content == Content::Reservation {
                let live = Range { start: range.start.max(start), end: next, content: Content::Anonymous, ..range };
                ledger.put_range(live);
            }
        }
    });
}

/// An attached segment of which these bytes are a part, but not the whole.
pub fn split_attach(addr: usize, length: usize) -> Option<Range> {
    let (start, end) = (addr as u64, end_of(addr, length));
    with(|ledger| {
        let mut next = start;
        while let Some(range) = ledger.ranges.first_in(next, end) {
            if range.content == Content::Segment && (range.start < start || range.end > end) {
                return Some(range);
            }
            next = range.end;
        }
        None
    })?
}

/// Notes a segment that shmget gave.
pub fn got_segment(id: i32, key: i32, size: u64, created: bool) {
    let creator = if created { process() } else { 0 };
    with(|ledger| match ledger.segments.find(id as u32, |segment| segment.id == id) {
        Some(index) => {
            if let Some(segment) = ledger.segments.get_mut(index) {
                segment.size = segment.size.max(size);
            }
        }
        None => {
            ledger.segments.insert(id as u32, Segment { id, key, size, creator });
        }
    });
}

/// Notes that a segment was removed.
pub fn removed_segment(id: i32) {
    with(|ledger| {
        if let Some(index) = ledger.segments.find(id as u32, |segment| segment.id == id) {
            ledger.segments.remove(id as u32, index);
        }
    });
}

/// What is known of a segment.
pub fn segment(id: i32) -> Option<Segment> {
    with(|ledger| {
        let index = ledger.segments.find(id as u32, |segment| segment.id == id)?;
        ledger.segments.get(index).copied()
    })?
}

/// Notes a set of semaphores that semget gave, and who made it: this process, another one, or either.
///
/// A record of the same id stays as it is, unless the set was made here now: the kernel does not give an id again soon,
/// but then the record is of a set that somebody else removed.
pub fn got_set(id: i32, made_here: Option<bool>) {
    let creator = if made_here == Some(true) { process() } else { 0 };
    let set = SemaphoreSet { id, creator, found: made_here == Some(false) };
    with(|ledger| match ledger.sets.find(id as u32, |set| set.id == id) {
        Some(index) => {
            if let Some(known) = ledger.sets.get_mut(index).filter(|_| made_here == Some(true)) {
                *known = set;
            }
        }
        None => drop(ledger.sets.insert(id as u32, set)),
    });
}

/// Notes that a set of semaphores was removed.
pub fn removed_set(id: i32) {
    with(|ledger| {
        if let Some(index) = ledger.sets.find(id as u32, |set| set.id == id) {
            ledger.sets.remove(id as u32, index);
        }
    });
}

/// Whether this process got a set of semaphores that another one had made.
pub fn is_found_set(id: i32) -> bool {
    with(|ledger| {
        let index = ledger.sets.find(id as u32, |set| set.id == id)?;
        Some(ledger.sets.get(index)?.found)
    })
    .flatten()
    .unwrap_or(false)
}

/// Notes an attached segment. `size` is what the kernel said, when it was asked.
pub fn attached(addr: usize, id: i32, size: Option<u64>) {
    with(|ledger| {
        let known = ledger.segments.find(id as u32, |segment| segment.id == id);
        let size = size.or_else(|| ledger.segments.get(known?).map(|segment| segment.size)).unwrap_or(1);
        let (start, end) = (addr as u64, end_of(addr, size.max(1) as usize));
        ledger.put_range(Range { start, end, offset: 0, owner: id as u32, content: Content::Segment });
    });
}

/// Takes the segment attached at `addr` out; called before the kernel detaches it.
pub fn detaching(addr: usize) -> Taken {
    let mut taken = Taken(None);
    with(|ledger| {
        let start = addr as u64;
        let here = ledger.ranges.first_in(start, start + 1);
        if let Some(range) = here.filter(|range| range.start == start && range.content == Content::Segment) {
            ledger.ranges.remove(range.start, range.end, |piece| taken.0 = Some(piece));
        }
    });
    taken
}

/// The first known range that shares an address with these bytes.
pub fn range_in(addr: usize, length: usize) -> Option<Range> {
    with(|ledger| ledger.ranges.first_in(addr as u64, end_of(addr, length)))?
}

/// Shows the range at an address, and the object or segment that it is of, to `look`, which must make no call that is noted
/// here.
pub fn at<R>(addr: usize, look: impl FnOnce(&Range, Option<&Object>, Option<&Segment>) -> R) -> Option<R> {
    with(|ledger| {
        let range = ledger.ranges.first_in(addr as u64, addr as u64 + 1)?;
        let object = owner(&range).and_then(|index| ledger.objects.get(index));
        let segment = match range.content {
            Content::Segment => {
                let index = ledger.segments.find(range.owner, |segment| segment.id == range.owner as i32);
                index.and_then(|index| ledger.segments.get(index))
            }
            _ => None,
        };
        Some(look(&range, object, segment))
    })?
}

/// Whether one known range holds all of these bytes.
pub fn covers(addr: usize, length: usize) -> bool {
    let (start, end) = (addr as u64, end_of(addr, length));
    let range = with(|ledger| ledger.ranges.first_in(start, end)).flatten();
    range.is_some_and(|range| range.start <= start && end <= range.end)
}

/// Whether every known range in these bytes is address space that was only set aside, and there is one.
pub fn is_reservation(addr: usize, length: usize) -> bool {
    let (start, end) = (addr as u64, end_of(addr, length));
    with(|ledger| {
        let mut next = start;
        while let Some(range) = ledger.ranges.first_in(next, end) {
            if range.content != Content::Reservation || range.start > next {
                return false;
            }
            next = range.end;
            if next >= end {
                return true;
            }
        }
        false
    })
    .unwrap_or(false)
}

/// How far into the object of this identity this process maps it, in bytes; 0 when it does not.
pub fn mapped_end_of(status: &Status) -> u64 {
    mapped_end(-1, status)
}

/// How far into the object behind `fd` this process maps it, in bytes; 0 when it does not. The kernel is asked whether
/// there is still a mapping where one was noted: other code may have removed it.
pub fn mapped_end(fd: i32, status: &Status) -> u64 {
    let mut farthest = noted_end(fd, status, u64::MAX);
    while let Some(range) = farthest {
        let last_page = range.end - page_size() as u64;
        if crate::sys::preserving_errno(|| crate::sys::memory::is_mapped(last_page as usize, 1)) {
            return range.offset + (range.end - range.start);
        }
        farthest = noted_end(fd, status, range.offset + (range.end - range.start));
    }
    0
}

/// The range that reaches farthest into an object, of those that end below `below`.
fn noted_end(fd: i32, status: &Status, below: u64) -> Option<Range> {
    let end_of = |range: &Range| range.offset + (range.end - range.start);
    with(|ledger| {
        let index = ledger.object_behind(fd, Some(status))?;
        let of_object = ledger.ranges.iter().filter(|range| owner(range) == Some(index) && end_of(range) < below);
        of_object.max_by_key(|range| end_of(range)).copied()
    })?
}

/// Another descriptor of this process that leads to the same object. The kernel is asked whether it still does: other
/// code may have closed it.
pub fn other_descriptor(fd: i32, status: &Status) -> Option<i32> {
    let mut from = 0;
    loop {
        let other = with(|ledger| {
            let link = ledger.object_behind(fd, Some(status))? + 1;
            let links = ledger.descriptors.as_slice().iter().enumerate().skip(from);
            links.filter(|(other, _)| *other != fd as usize).find(|(_, other)| **other == link).map(|(other, _)| other)
        })??;
        from = other + 1;
        let same = |found: Status| (found.dev, found.ino) == (status.dev, status.ino);
        if crate::sys::preserving_errno(|| crate::sys::file::status(other as i32)).is_ok_and(same) {
            return Some(other as i32);
        }
    }
}

/// What is known of the object behind a descriptor.
pub fn object(fd: i32, status: Option<&Status>) -> Option<Object> {
    with(|ledger| {
        let index = ledger.object_behind(fd, status)?;
        ledger.objects.get(index).copied()
    })?
}

/// Shows the object behind a descriptor, as far as it is known, to `look`, which must make no call that is noted here.
pub fn look_at<R>(fd: i32, look: impl FnOnce(&Object) -> R) -> Option<R> {
    with(|ledger| Some(look(ledger.objects.get(ledger.object_of(fd)?)?)))?
}

/// Notes what the kernel says of a descriptor: what was known of its number may be of another file.
pub fn confirm(fd: i32, status: &Status) {
    with(|ledger| ledger.object_behind(fd, Some(status)));
}

/// What there is to say of the object behind a descriptor, without its name: kind, identity, and whether this process made it
/// and left its name.
pub fn facts(fd: i32) -> Option<(Kind, (u64, u64), bool)> {
    with(|ledger| {
        let object = ledger.objects.get(ledger.object_of(fd)?)?;
        Some((object.kind, object.identity, object.left_by_us))
    })?
}

/// Notes the key that ftok made of a file and an id; true when it was made of others before.
pub fn key_collides(key: i32, id: i32, file: (u64, u64)) -> bool {
    with(|ledger| match ledger.keys.find(key as u32, |origin| origin.key == key) {
        Some(index) => ledger.keys.get(index).is_some_and(|origin| (origin.id, origin.file) != (id, file)),
        None => {
            ledger.keys.insert(key as u32, KeyOrigin { key, id, file });
            false
        }
    })
    .unwrap_or(false)
}

/// Calls `object` for each POSIX object and each named semaphore, `segment` for each segment, and `set` with the id of each set of semaphores that
/// this process made and did not remove.
pub fn left_behind(mut object: impl FnMut(&Object), mut segment: impl FnMut(&Segment), mut set: impl FnMut(i32)) {
    let process = process();
    // Copied out one at a time, so that nothing is called while the lock is held.
    let mut index = 0;
    while let Some(Some(next)) = with(|ledger| {
        let mut rest = ledger.objects.iter().skip_while(|(at, _)| *at < index);
        rest.find(|(_, object)| object.left_by_us && object.creator == process).map(|(at, object)| (at, *object))
    }) {
        index = next.0 + 1;
        object(&next.1);
    }
    index = 0;
    while let Some(Some(next)) = with(|ledger| {
        let mut rest = ledger.segments.iter().skip_while(|(at, _)| *at < index);
        rest.find(|(_, segment)| segment.creator == process).map(|(at, segment)| (at, *segment))
    }) {
        index = next.0 + 1;
        segment(&next.1);
    }
    index = 0;
    while let Some(Some(next)) = with(|ledger| {
        let mut rest = ledger.sets.iter().skip_while(|(at, _)| *at < index);
        rest.find(|(_, set)| set.creator == process).map(|(at, set)| (at, set.id))
    }) {
        index = next.0 + 1;
        set(next.1);
    }
}

/// How much the ledger holds, for tests: descriptors, objects, segments, ranges.
#[doc(hidden)]
pub fn counts() -> (usize, usize, usize, usize) {
    with(|ledger| {
        let descriptors = ledger.descriptors.as_slice().iter().filter(|link| **link != 0).count();
        (descriptors, ledger.objects.count(), ledger.segments.count(), ledger.ranges.count())
    })
    .unwrap_or_default()
}
