//! Regions on System V segments. A segment is visible as soon as it is made, so openers wait for its creator, and take
//! over from one that died: both by a set of semaphores beside the segment, whose changes the kernel takes back when
//! their process ends. Never removes a segment that anybody is attached to. Next: `survey.rs`, which collects.
//!
//! | semaphore | value |
//! |---|---|
//! | `LOCK` | 1 while a creator or a collector works (taken back at its death) |
//! | `TOTAL` | the number of leases (each taken back at its holder's death) |
//! | `BUILDING` | 1 from before a segment is made until it is ready; stays when the creator dies |
//! | `MARK` | a number that says whose set this is |
//! | `OPENING` | the number of openers that have a lease and no attach yet (taken back at their death) |
//! | `SLOTS` + n | 1 while participant n holds its lease (taken back at its death) |

use core::sync::atomic::Ordering::Relaxed;

use super::address::{Backend, Parsed};
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::handle::{Hot, Huge, Options, Region, Space, Wish};
use super::header::{self, Facts, Header, READY, RECORD_SIZE, Record};
use super::identity;
use super::lease::{COLLECTOR_NS, Lease};
use super::object::{LARGE, no_huge_pages, require_memory};
use crate::error::{Errno, Status};
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::semset::{self, Step, add, at_once, is_zero};
use crate::sys::shared::Window;
use crate::sys::{memory, process, sysv};

const LOCK: u16 = 0;
const TOTAL: u16 = 1;
const BUILDING: i32 = 2;
const MARK: i32 = 3;
const OPENING: u16 = 4;
const SLOTS: u16 = 5;
/// Semaphores of a set.
pub const COUNT: usize = SLOTS as usize + header::RECORDS as usize;
/// Steps of the longest operation.
const STEPS: usize = 5;
/// What MARK says.
const OURS: i32 = 0x5348;
/// The set of a key has this other key: programs often use one key for a segment and for semaphores of their own.
const KEY_BITS: i32 = 0x5348_4d4b;
/// A participant that found no free slot: counted, not described.
const NO_SLOT: u32 = header::RECORDS;

/// The key of the semaphores of a segment, and the other way round. One key is its own other key: 0 would be IPC_PRIVATE,
/// of which every get makes a new set.
pub fn other_key(key: i32) -> i32 {
    match key ^ KEY_BITS {
        0 => key,
        other => other,
    }
}

/// Opens or makes the region of a key.
pub fn by_key(
    hot: &'static Hot,
    parsed: &Parsed,
    key: i32,
    options: &mut Options<'_>,
    wish: Wish,
    deadline: &mut Deadline,
) -> Outcome<(Region, bool)> {
    if options.max_size > options.size {
        return Err(Failure::backend(
            "a System V segment cannot grow, so max_size cannot be larger than size",
            "create it as large as it will ever be, or use posix:, file: or memfd:",
        ));
    }
    if options.raw && options.init.is_some() && wish != Wish::Open {
        return Err(Failure::backend(
            "a raw System V segment is seen before an init callback has run, and nothing would say whether it has",
            "fill it after it was made, and tell the others yourself; or create it without raw",
        ));
    }
    loop {
        // One at a time: each that is dropped detaches what stands in the hot part, which they share.
        if wish != Wish::Create {
            let region = Region::new(hot, parsed.text(), Backend::Sysv, options)?;
            match open(region, key, options, deadline)? {
                Opened::Region(region) => return Ok((region, false)),
                Opened::Nothing if wish == Wish::Open => {
                    return Err(Failure::new(
                        Status::ErrNotFound,
                        "there is no {name}",
                        "start the program that creates it, use open_or_create, or check that both use the same key",
                    ));
                }
                Opened::Unfinished if wish == Wish::Open => return Err(Failure::of(Status::ErrUnfinished)),
                Opened::Again => {
                    deadline.pause("another process removed and made the segment again and again")?;
                    continue;
                }
                Opened::Nothing | Opened::Unfinished => {}
            }
        }
        let region = Region::new(hot, parsed.text(), Backend::Sysv, options)?;
        match create(region, key, options, deadline) {
            Err(failure) if failure.status == Status::ErrExists && wish == Wish::Either => {
                deadline.pause("another process made and removed the segment again and again")?;
            }
            Err(failure) if failure.status == Status::ErrRemoved => {
                deadline.pause("another process removed the semaphores of the segment again and again")?;
            }
            other => return other.map(|region| (region, true)),
        }
    }
}

enum Opened {
    Region(Region),
    Nothing,
    /// Its creator died.
    Unfinished,
    /// It changed while it was looked at.
    Again,
}

fn is_gone(errno: Errno) -> bool {
    matches!(errno.0, libc::EIDRM | libc::EINVAL)
}

/// Whether a segment has lost its key, or is gone altogether.
pub fn is_removed(id: i32) -> bool {
    match sysv::status(id) {
        Ok(status) => status.mode & sysv::SHM_DEST != 0,
        Err(errno) => is_gone(errno),
    }
}

fn open(mut region: Region, key: i32, options: &Options<'_>, deadline: &mut Deadline) -> Outcome<Opened> {
    let id = match sysv::shmget(key, 0, 0) {
        Ok(id) => id,
        Err(Errno(libc::ENOENT)) => return Ok(Opened::Nothing),
        Err(errno) => return Err(refused(errno, None)),
    };
    let mut status = match sysv::status(id) {
        Ok(status) => status,
        Err(errno) if is_gone(errno) => return Ok(Opened::Again),
        Err(errno) => {
            let status = look_from_outside(id);
            if errno.0 == libc::EACCES && status.is_some_and(|status| is_about_to_be_given(key, &status)) {
                deadline.pause("the creator of the segment had not given it to its group")?;
                return Ok(Opened::Again);
            }
            // It may have been given, and its creator done, between the two looks.
            if errno.0 == libc::EACCES && sysv::status(id).is_ok() {
                return Ok(Opened::Again);
            }
            return Err(refused(errno, status.as_ref()));
        }
    };
    options.check_owner(status.uid, status.mode)?;
    region.identity = (0, id as u64);
    let mut _until_attached = None;
    if !options.raw {
        // A creator makes the semaphores first. A segment without them is another software's, and is given none: beside
        // them it would pass for a region that may be removed.
        if !has_set(key) {
            match peek(id, &status, is_claimed) {
                Ok(true) => {}
                Ok(false) if !is_removed(id) => return Err(Failure::of(Status::ErrNotARegion)),
                Err(errno) if !is_gone(errno) => return Err(refused(errno, Some(&status))),
                _ => return Ok(Opened::Again),
            }
        }
        match join(&mut region, key, status.mode, options, deadline)? {
            true => {}
            false => return Ok(Opened::Again),
        }
        _until_attached = Some(Entering(if region.lease() == Lease::None { -1 } else { region.set }));
        // With the lease held no collector removes it; one may have done so before. Then the semaphores may be new ones
        // that nobody needs.
        status = match sysv::status(id) {
            Ok(now) if now.mode & sysv::SHM_DEST == 0 => now,
            Err(errno) if !is_gone(errno) => return Err(refused(errno, Some(&status))),
            _ => {
                tidy(key);
                return Ok(Opened::Again);
            }
        };
        // Its creator, who was waited for, has given it its mode meanwhile.
        options.check_owner(status.uid, status.mode)?;
    }
    let flags = if options.read_only { libc::SHM_RDONLY } else { 0 };
    match region.hot.window.attach(id, status.size as usize, flags) {
        Ok(()) => {}
        Err(errno) if is_gone(errno) => return Ok(Opened::Again),
        Err(errno) => return Err(refused(errno, Some(&status))),
    }
    if options.raw {
        options.require_size(status.size)?;
        region.set_capacity(status.size);
        return Ok(Opened::Region(region));
    }
    match read_header(&region.hot.window) {
        Ok(header) => {
            // Without semaphores the wait was for the header, which comes after the mode.
            if region.set < 0 {
                let now = sysv::status(id).map_err(|errno| refused(errno, Some(&status)))?;
                options.check_owner(now.uid, now.mode)?;
            }
            options.require(&header)?;
            region.set_capacity(header.max_size.min(status.size - header.data_offset));
            record(&region);
            Ok(Opened::Region(region))
        }
        // Without semaphores, which this user may not change, the wait is for the header.
        Err(failure) if is_unfinished(failure.status) && region.set < 0 && is_claimed(&region.hot.window) => {
            Ok(Opened::Again)
        }
        Err(failure) if is_unfinished(failure.status) => {
            match is_building(region.set, &status) && looks_unfinished(&region.hot.window) {
                true => Ok(Opened::Unfinished),
                // The semaphores may be those of the segment that came after it.
                false if is_removed(id) => Ok(Opened::Again),
                false => Err(Failure::of(Status::ErrNotARegion)),
            }
        }
        Err(failure) => Err(failure),
    }
}

/// Whether a segment's creator is at work and has not given it to a group yet (see `first_mode`). Its semaphores, which the
/// group was given first, tell.
fn is_about_to_be_given(key: i32, status: &sysv::Status) -> bool {
    status.mode & 0o070 == 0
        && status.attaches <= 1
        && find_set(key).is_some_and(|set| is_building(set, status) && semset::value(set, LOCK.into()) == Ok(1))
}

/// An opener on its way from its lease to its attach: a collector that counts attaches must wait for it.
struct Entering(i32);

impl Drop for Entering {
    fn drop(&mut self) {
        if self.0 >= 0 {
            let _ = semset::operate(self.0, &mut [at_once(add(OPENING, -1))], 0);
        }
    }
}

fn is_unfinished(status: Status) -> bool {
    matches!(status, Status::ErrUnfinished | Status::ErrNotARegion)
}

/// Whether a segment's first bytes are what a creator leaves that does not come to its end: its header, or nothing. Any
/// others are other software's, whatever the semaphores say.
fn looks_unfinished(window: &Window) -> bool {
    let mut bytes = [0; header::SIZE];
    let facts = Facts { object_size: window.length() as u64, page_size: page_size() as u64 };
    window.read(0, &mut bytes)
        && match Header::decode(&bytes, &facts).map_err(|failure| failure.status) {
            Err(Status::ErrUnfinished) => true,
            Err(Status::ErrNotARegion) => bytes.iter().all(|byte| *byte == 0),
            _ => false,
        }
}

/// Whether the process that made this segment said that it was about to, and has not said that it is ready. Another
/// software's segment may have the key of one that was begun and never made.
fn is_building(set: i32, status: &sysv::Status) -> bool {
    semset::value(set, BUILDING) == Ok(1) && semset::last_process(set, BUILDING) == Ok(status.creator)
}

fn read_header(window: &Window) -> Outcome<Header> {
    let mut bytes = [0; header::SIZE];
    if !window.read(0, &mut bytes) {
        return Err(Failure::of(Status::ErrNotARegion));
    }
    // The state is read first by its own atomic: with READY come all bytes that were written before it.
    if window.load_half(header::STATE_AT) == Some(READY) {
        window.read(0, &mut bytes);
    }
    Header::decode(&bytes, &Facts { object_size: window.length() as u64, page_size: page_size() as u64 })
}

/// Everybody who may read or write the segment may change the semaphores: a lease is a change.
fn set_mode(mode: u32) -> i32 {
    let readers = mode & 0o444;
    (readers | readers >> 1) as i32
}

/// Finds or makes the semaphores of a key.
fn set_of(key: i32, mode: u32, options: &Options<'_>) -> Outcome<i32> {
    let found = semset::get(other_key(key), COUNT as i32, libc::IPC_CREAT | set_mode(mode));
    let set = found.map_err(|errno| match errno.0 {
        libc::ENOSPC | libc::EINVAL | libc::ENOMEM => no_set(errno),
        _ => Failure::system(errno),
    })?;
    let status = semset::status(set).map_err(gone)?;
    // Who may read the segment may change the semaphores, so their mode says nothing.
    if status.uid != process::effective_user() {
        options.check_owner(status.uid, 0)?;
    }
    match whose(set) {
        Ok(Whose::Ours) => Ok(set),
        Ok(Whose::New) => semset::set_value(set, MARK, OURS).map_err(gone).map(|()| set),
        Ok(Whose::Others) => Err(taken()),
        Err(errno) => Err(gone(errno)),
    }
}

/// Who made a set.
enum Whose {
    Ours,
    /// It has just been made, and not been marked yet.
    New,
    /// Other software did.
    Others,
}

fn whose(set: i32) -> Result<Whose, Errno> {
    let status = semset::status(set)?;
    if status.count != COUNT as u64 {
        return Ok(Whose::Others);
    }
    // All at once: between two looks its maker may mark it.
    let values = semset::values::<COUNT>(set)?;
    Ok(match i32::from(values[MARK as usize]) {
        OURS => Whose::Ours,
        0 if status.operated == 0 && values.iter().all(|value| *value == 0) => Whose::New,
        _ => Whose::Others,
    })
}

fn taken() -> Failure {
    Failure::new(
        Status::ErrCorrupt,
        "other software has a set of semaphores in the place where {name} keeps its own",
        "use another key",
    )
}

/// Why the kernel gives no set.
#[cold]
fn no_set(errno: Errno) -> Failure {
    let limits = semset::limits().unwrap_or_default();
    let failure = match errno.0 {
        libc::EINVAL if limits.of_set >= COUNT as u64 => taken(),
        libc::EINVAL => Failure::new(
            Status::ErrLimit,
            "{name} needs a set of {needed} semaphores, and a set may have {limit} (SEMMSL in kernel.sem)",
            "raise kernel.sem, or use posix: or memfd:",
        )
        .with(|figures| figures.limit = limits.of_set),
        libc::ENOSPC if limits.used_sets >= limits.sets => Failure::new(
            Status::ErrLimit,
            "{name} needs a set of semaphores, and {used} of the {limit} that may be exist (SEMMNI in kernel.sem)",
            "remove sets that nobody needs (ipcs -s), or raise kernel.sem",
        )
        .with(|figures| (figures.used, figures.limit) = (limits.used_sets, limits.sets)),
        libc::ENOSPC => Failure::new(
            Status::ErrLimit,
            "{name} needs {needed} semaphores, and {used} of the {limit} that may be exist (SEMMNS in kernel.sem)",
            "remove sets that nobody needs (ipcs -s), or raise kernel.sem",
        )
        .with(|figures| (figures.used, figures.limit) = (limits.used, limits.semaphores)),
        _ => return Failure::system(errno),
    };
    Failure { errno: errno.0, ..failure }.with(|figures| figures.needed = COUNT as u64)
}

/// A set that was removed meanwhile: the caller begins again.
fn gone(errno: Errno) -> Failure {
    match errno.0 {
        _ if is_gone(errno) => Failure::of(Status::ErrRemoved),
        libc::E2BIG => {
            let failure = Failure::new(
                Status::ErrLimit,
                "a lease is {needed} steps of one operation, and an operation may have {limit} (SEMOPM in kernel.sem)",
                "raise kernel.sem, or use posix: or memfd:",
            );
            Failure { errno: errno.0, ..failure }.with(|figures| {
                figures.needed = STEPS as u64;
                figures.limit = semset::limits().unwrap_or_default().of_operation;
            })
        }
        _ => Failure::system(errno),
    }
}

/// Takes a lease; waits for a creator or collector. False when the set went away.
fn join(region: &mut Region, key: i32, mode: u32, options: &Options<'_>, deadline: &mut Deadline) -> Outcome<bool> {
    region.set = match set_of(key, mode, options) {
        Ok(set) => set,
        Err(failure) if failure.status == Status::ErrRemoved => return Ok(false),
        // Who may only read may not change semaphores: the segment's own count of attaches must do.
        Err(failure) if failure.errno == libc::EACCES => return Ok(true),
        Err(failure) => return Err(failure),
    };
    match lease(region.set, true, deadline) {
        Ok(lease) => {
            keep(region, lease);
            Ok(true)
        }
        Err(failure) if failure.status == Status::ErrRemoved => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// `opening`: the caller is not attached yet, and says when it is (see `Entering`).
fn lease(set: i32, opening: bool, deadline: &mut Deadline) -> Outcome<Lease> {
    let mut slot = 0;
    loop {
        let number = SLOTS + slot;
        let entry = if opening { add(OPENING, 1) } else { is_zero(LOCK) };
        let mut steps = [is_zero(LOCK), entry, add(TOTAL, 1), at_once(is_zero(number)), at_once(add(number, 1))];
        let count = if slot as u32 == NO_SLOT { 3 } else { 5 };
        match semset::operate(set, &mut steps[..count], deadline.left()) {
            Ok(()) => return Ok(Lease::Writer(u32::from(slot))),
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::EAGAIN)) => {
                if deadline.left() == 0 {
                    deadline.pause("another process created or collected the segment")?;
                }
                // The slot is taken, unless the time was over: waiting for LOCK gives EAGAIN only then.
                slot = (slot + 1).min(NO_SLOT as u16);
            }
            Err(errno) => return Err(gone(errno)),
        }
    }
}

/// Notes a lease that was taken.
fn keep(region: &Region, lease: Lease) {
    region.set_lease(lease);
    region.holder.store(process::pid(), Relaxed);
}

/// Gives a lease back, where it is this process's own.
pub fn give(region: &Region) {
    if let (true, Lease::Writer(slot)) = (region.set >= 0, region.lease())
        && region.holder.load(Relaxed) == process::pid()
    {
        let mut steps = [at_once(add(TOTAL, -1)), at_once(add(SLOTS + slot as u16, -1))];
        let count = if slot == NO_SLOT { 1 } else { 2 };
        let _ = semset::operate(region.set, &mut steps[..count], 0);
    }
}

/// Takes this process's record away before its lease goes: a reader who takes the lease next cannot write its own, and
/// must not pass for this process. Only what is known to be this process's own record is overwritten.
pub fn erase(region: &Region) {
    let mut bytes = [0; RECORD_SIZE];
    if let Lease::Writer(slot) = region.lease()
        && let Some(offset) = Record::offset(slot)
        && !region.hot.is(super::handle::READ_ONLY)
        && region.hot.window.read(offset, &mut bytes)
        && Record::decode(&bytes).process == identity::own()
    {
        region.hot.window.write(offset, &[0; RECORD_SIZE]);
    }
}

fn record(region: &Region) {
    if let Lease::Writer(slot) = region.lease()
        && let Some(offset) = Record::offset(slot)
        && !region.hot.is(super::handle::READ_ONLY)
    {
        region.hot.window.write(offset, &Record { process: identity::own() }.encode());
    }
}

/// In a forked child: the parent's changes of semaphores are not the child's to take back; it takes its own lease.
pub fn renew(region: &Region) {
    if region.lease() == Lease::None {
        return;
    }
    region.set_lease(Lease::None);
    if let Ok(lease) = lease(region.set, false, &mut Deadline::after(super::handle::RENEWAL_NS)) {
        keep(region, lease);
        record(region);
    }
}

fn lock(set: i32, deadline: &mut Deadline) -> Outcome<()> {
    loop {
        match semset::operate(set, &mut [is_zero(LOCK), add(LOCK, 1)], deadline.left()) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::EAGAIN)) => deadline.pause("another process created or collected the segment")?,
            Err(errno) => return Err(gone(errno)),
        }
    }
}

fn unlock(set: i32) {
    let _ = semset::operate(set, &mut [at_once(add(LOCK, -1))], 0);
}

fn create(mut region: Region, key: i32, options: &mut Options<'_>, deadline: &mut Deadline) -> Outcome<Region> {
    if options.raw {
        let (id, _) = get_new(key, options, 0)?;
        region.identity = (0, id as u64);
        let made = finish_raw(&region, id, options);
        if made.is_err() {
            let _ = sysv::remove(id);
        }
        return made.map(|()| region);
    }
    // As in `open`: no semaphores beside another software's segment.
    if !has_set(key) && sysv::shmget(key, 0, 0).is_ok() {
        return Err(exists());
    }
    let set = set_of(key, first_mode(options), options)?;
    let locked = match semset::limits() {
        Ok(limits) if limits.of_operation < STEPS as u64 => Err(gone(Errno(libc::E2BIG))),
        _ => lock(set, deadline),
    };
    if let Err(failure) = locked {
        // With such limits nobody can work with the set.
        if failure.errno == libc::E2BIG && sysv::shmget(key, 0, 0) == Err(Errno(libc::ENOENT)) {
            let _ = semset::remove(set);
        }
        return Err(failure);
    }
    let made = create_locked(&mut region, set, key, options, deadline);
    if made.is_err() {
        // A set without a segment is of no use. Whoever waits for it begins again.
        if sysv::shmget(key, 0, 0) == Err(Errno(libc::ENOENT)) {
            let _ = semset::remove(set);
        } else {
            unlock(set);
        }
    }
    made.map(|()| region)
}

fn finish_raw(region: &Region, id: i32, options: &mut Options<'_>) -> Outcome<()> {
    region.hot.window.attach(id, options.size as usize, 0).map_err(|errno| refused(errno, None))?;
    region.set_capacity(options.size);
    adjust(id, options)?;
    populate(region, options, options.size as usize)
}

/// With LOCK held: no other creator lives. LOCK is given back by success alone.
fn create_locked(
    region: &mut Region,
    set: i32,
    key: i32,
    options: &mut Options<'_>,
    deadline: &mut Deadline,
) -> Outcome<()> {
    remove_unfinished(set, key, deadline)?;
    // A set that was left from a region before this one may have another mode and group.
    let _ = semset::set_access(set, set_mode(options.mode()) as u32, options.group);
    semset::set_value(set, BUILDING, 1).map_err(gone)?;
    let (id, huge) = get_new(key, options, page_size() as u64).inspect_err(|_| {
        // Another software's segment may have the key now: it was not begun by us.
        let _ = semset::set_value(set, BUILDING, 0);
    })?;
    region.identity = (0, id as u64);
    region.set = set;
    let made = fill(region, id, huge, options);
    if made.is_err() {
        let _ = region.hot.window.detach();
        let _ = sysv::remove(id);
        return made;
    }
    let _ = semset::set_value(set, BUILDING, 0);
    // The lease comes and the lock goes in one step: no collector gets between.
    let mut slot = 0;
    loop {
        let number = SLOTS + slot;
        let mut steps = [at_once(add(LOCK, -1)), add(TOTAL, 1), at_once(is_zero(number)), at_once(add(number, 1))];
        let count = if slot as u32 == NO_SLOT { 2 } else { 4 };
        match semset::operate(set, &mut steps[..count], 1_000_000_000) {
            Ok(()) => {
                keep(region, Lease::Writer(u32::from(slot)));
                record(region);
                // Who unlinked it while it was made did not wait for the lock for long, and left the semaphores.
                if is_removed(id) {
                    tidy(key);
                }
                return Ok(());
            }
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::EAGAIN)) if (slot as u32) < NO_SLOT => slot += 1,
            // Somebody removed the set: the region is good, and who is attached is counted by the segment alone.
            Err(_) => return Ok(()),
        }
    }
}

fn exists() -> Failure {
    Failure::new(
        Status::ErrExists,
        "{name} exists already",
        "open it, use open_or_create, or unlink it if shmkit_region_is_orphan says that it is left over",
    )
}

/// Removes the segment of a creator that died; an error when there is a good one or another software's. LOCK must be held:
/// then nobody makes it. Who is attached to it looks into it, which is soon done, and is waited for.
fn remove_unfinished(set: i32, key: i32, deadline: &mut Deadline) -> Outcome<()> {
    loop {
        let id = match sysv::shmget(key, 0, 0) {
            Ok(id) => id,
            Err(Errno(libc::ENOENT)) => return Ok(()),
            Err(errno) => return Err(refused(errno, None)),
        };
        let Ok(status) = sysv::status(id) else { return Err(exists()) };
        if !is_building(set, &status) || peek(id, &status, looks_unfinished) != Ok(true) {
            return Err(exists());
        }
        if status.attaches == 0 {
            return sysv::remove(id).map_err(Failure::system);
        }
        deadline.pause("another process was attached to the segment, which its creator did not live to finish")?;
    }
}

/// shmget for a new segment: huge pages where they are asked for and to be had. Says whether it has them.
fn get_new(key: i32, options: &Options<'_>, offset: u64) -> Outcome<(i32, bool)> {
    let Some(total) = options.size.checked_add(offset).and_then(|total| usize::try_from(total).ok()) else {
        return Err(Failure::of(Status::ErrTooBig));
    };
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | first_mode(options) as i32;
    if options.huge != Huge::None {
        match sysv::shmget(key, total, flags | sysv::SHM_HUGETLB) {
            Ok(id) => return Ok((id, true)),
            Err(Errno(libc::EEXIST)) => return Err(cannot_get(Errno(libc::EEXIST), total as u64)),
            Err(errno) if options.huge == Huge::Require => return Err(no_huge_pages(errno.0, total as u64)),
            Err(_) => {}
        }
    }
    sysv::shmget(key, total, flags).map(|id| (id, false)).map_err(|errno| cannot_get(errno, total as u64))
}

fn cannot_get(errno: Errno, total: u64) -> Failure {
    let info = sysv::info().unwrap_or_default();
    let usage = sysv::usage().unwrap_or_default();
    let page = page_size() as u64;
    let failure = match errno.0 {
        libc::EEXIST => Failure::new(Status::ErrExists, "{name} exists already", "open it, or use open_or_create"),
        libc::EINVAL => Failure::new(
            Status::ErrTooBig,
            "{name} needs {needed} bytes, and the largest segment is {limit} (SHMMAX)",
            "ask for less, or raise kernel.shmmax",
        )
        .with(|figures| figures.limit = info.shmmax),
        libc::ENOSPC if usage.segments as u64 >= info.shmmni => Failure::new(
            Status::ErrLimit,
            "all {limit} segments that the system allows exist (SHMMNI)",
            "remove segments that nobody needs (ipcs -m), or raise kernel.shmmni",
        )
        .with(|figures| figures.limit = info.shmmni),
        libc::ENOSPC => Failure::new(
            Status::ErrNoSpace,
            "{name} needs {needed} more bytes; all segments may have {capacity}, of which {free} are free (SHMALL)",
            "remove segments that nobody needs (ipcs -m), raise kernel.shmall, or ask for less",
        )
        .with(|figures| {
            figures.capacity = info.shmall.saturating_mul(page);
            figures.free = info.shmall.saturating_sub(usage.pages).saturating_mul(page);
        }),
        libc::ENOMEM => Failure::of(Status::ErrNoMemory),
        _ => return refused(errno, None),
    };
    Failure { errno: errno.0, ..failure }.with(|figures| figures.needed = total)
}

/// The mode that a segment and its semaphores are made with. The creator's own group has the rights of the group until
/// another one is named: so it gets none before that.
fn first_mode(options: &Options<'_>) -> u32 {
    if options.group.is_some() { options.mode() & 0o700 } else { options.mode() }
}

/// Mode and group, before anybody is told that the segment is ready.
fn adjust(id: i32, options: &Options<'_>) -> Outcome<()> {
    let Some(group) = options.group else { return Ok(()) };
    sysv::set_access(id, options.mode(), group).map_err(Failure::system)
}

/// A System V segment takes its memory at the first touch. Touched here, what cannot be had is an error here.
fn populate(region: &Region, options: &Options<'_>, length: usize) -> Outcome<()> {
    if options.space == Space::Lazy {
        return Ok(());
    }
    if length as u64 >= LARGE {
        require_memory(length as u64)?;
    }
    match memory::madvise(region.hot.window.start(), length.next_multiple_of(page_size()), libc::MADV_POPULATE_WRITE) {
        // EINVAL: before Linux 5.14 there is no such advice.
        Ok(()) | Err(Errno(libc::EINVAL)) => Ok(()),
        Err(errno) => Err(Failure { errno: errno.0, ..Failure::of(Status::ErrNoMemory) }),
    }
}

fn fill(region: &Region, id: i32, huge: bool, options: &mut Options<'_>) -> Outcome<()> {
    let length = options.size as usize + page_size();
    // Before its maker attaches it a segment can be unlinked, and is gone then: the caller begins again.
    region.hot.window.attach(id, length, 0).map_err(|errno| match is_gone(errno) {
        true => gone(errno),
        false => refused(errno, None),
    })?;
    region.set_capacity(options.size);
    adjust(id, options)?;
    // Huge pages are set aside already.
    if !huge {
        populate(region, options, length)?;
    }
    let persistent = if options.persistent { header::PERSISTENT } else { 0 };
    let header = Header {
        state: header::BUILDING,
        flags: persistent | if huge { header::HUGE } else { 0 },
        data_offset: page_size() as u64,
        size: options.size,
        max_size: options.size,
        generation: 0,
        layout: options.layout,
        creator: identity::own(),
        created: process::wall_clock_ns(),
        backend: Backend::Sysv as u32,
    };
    region.hot.window.write(0, &header.encode(page_size() as u32));
    region.initialise(options)?;
    // Release: who sees READY sees the header and what the callback wrote.
    region.hot.window.store_half(header::STATE_AT, READY);
    Ok(())
}

fn refused(errno: Errno, status: Option<&sysv::Status>) -> Failure {
    let failure = match errno.0 {
        libc::EACCES | libc::EPERM => Failure::new(
            Status::ErrAccess,
            "{name} has mode {mode} and belongs to user {uid}, who does not let this user attach it so",
            "open it read-only, or let its owner grant access (mode and group in the options)",
        )
        .with(|figures| {
            if let Some(status) = status {
                (figures.uid, figures.mode) = (status.uid, u64::from(status.mode & 0o777));
            }
        }),
        libc::ENOMEM => Failure::new(
            Status::ErrNoMemory,
            "no address space for {name}: RLIMIT_AS ({limit_bytes}) or the number of mappings is used up",
            "close what is not needed, or raise the limit",
        )
        .with(|figures| figures.limit = soft_limit(Resource::AddressSpace)),
        _ => return Failure::system(errno),
    };
    Failure { errno: errno.0, ..failure }
}

/// The status of a segment that this user may not ask for: everybody may see the kernel's table.
#[cold]
fn look_from_outside(id: i32) -> Option<sysv::Status> {
    (0..=sysv::last_index().ok()?)
        .filter_map(|index| sysv::at_index(index).ok())
        .find(|one| one.0 == id)
        .map(|one| one.1)
}

/// Removes the segment and its semaphores.
pub fn unlink(id: i32, key: i32) -> Outcome<()> {
    if is_removed(id) {
        return Err(removed());
    }
    sysv::remove(id).map_err(|errno| match errno.0 {
        libc::EPERM => Failure::new(
            Status::ErrNotPermitted,
            "only the owner and the creator of {name} may remove it",
            "unlink it as that user",
        ),
        libc::EIDRM | libc::EINVAL => removed(),
        _ => Failure::system(errno),
    })?;
    // Another segment may have taken the key already, and its makers may use the set: then it stays.
    tidy(key);
    Ok(())
}

/// What an unlink of it says.
pub fn removed() -> Failure {
    Failure::new(Status::ErrRemoved, "{name} was removed already", "one process should own the unlink")
}

/// The set of a key, when it is one of ours.
pub fn find_set(key: i32) -> Option<i32> {
    let set = semset::get(other_key(key), 0, 0).ok()?;
    matches!(whose(set), Ok(Whose::Ours | Whose::New)).then_some(set)
}

/// Whether there are semaphores in the place of a key's, whoever made them.
pub fn has_set(key: i32) -> bool {
    semset::get(other_key(key), 0, 0) != Err(Errno(libc::ENOENT))
}

/// Looks into a segment.
fn peek(id: i32, status: &sysv::Status, look: impl FnOnce(&Window) -> bool) -> Result<bool, Errno> {
    let window = Window::default();
    window.attach(id, status.size as usize, libc::SHM_RDONLY)?;
    let answer = look(&window);
    let _ = window.detach();
    Ok(answer)
}

/// Whether a segment's first bytes are those of a region.
fn is_claimed(window: &Window) -> bool {
    let mut bytes = [0; header::SIZE];
    window.read(0, &mut bytes) && Header::is_claimed(&bytes)
}

/// Whether a segment is a region, or was begun as one. Semaphores alone do not say so: they may have been left by a
/// region that another software's segment followed. An error where it cannot be looked into, and was not begun by a
/// process that died.
pub fn is_region(id: i32, key: i32) -> Outcome<bool> {
    let Ok(status) = sysv::status(id) else { return Ok(false) };
    // Somebody may have removed the semaphores.
    let Some(set) = find_set(key) else { return Ok(peek(id, &status, is_claimed) == Ok(true)) };
    // The header last: its creator may come to the end between two looks.
    match peek(id, &status, |window| is_building(set, &status) && looks_unfinished(window) || is_claimed(window)) {
        Ok(answer) => Ok(answer),
        Err(_) if is_building(set, &status) => Ok(true),
        Err(errno) if is_gone(errno) => Ok(false),
        Err(errno) => Err(refused(errno, Some(&status))),
    }
}

/// Whether a creator began this segment and did not come to the end.
pub fn was_begun(id: i32, status: &sysv::Status) -> bool {
    find_set(status.key).is_some_and(|set| is_building(set, status)) && peek(id, status, looks_unfinished) == Ok(true)
}

/// The slots that are held, shown to `each`; returns the number of all leases. `None` when it cannot be told.
pub fn for_each_lease(set: i32, mut each: impl FnMut(u32)) -> Option<u32> {
    let values = semset::values::<COUNT>(set).ok()?;
    for (slot, value) in values[SLOTS as usize..].iter().enumerate() {
        if *value > 0 {
            each(slot as u32);
        }
    }
    Some(u32::from(values[TOTAL as usize]))
}

/// Whether the lease of this number is held. `None` when it cannot be told.
pub fn is_lease_held(set: i32, number: u32) -> Option<bool> {
    semset::value(set, i32::from(SLOTS) + number as i32).ok().map(|value| value > 0)
}

/// What became of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collected {
    /// Nobody uses it, and it was removed if that was asked for.
    Orphan,
    /// Nobody uses it, its removal was asked for, and its creator called it persistent: it stays.
    Kept,
    /// Somebody does, or it is not finished and its creator lives.
    InUse,
    /// It cannot be told.
    Unknown,
}

/// Locks out openers and creators, decides whether anybody uses the segment, and removes it if that is wanted and its
/// creator did not call it persistent: what the caller saw of the header may be from before the creator came to the end.
pub fn collect(id: i32, key: i32, remove: bool) -> Collected {
    let Some(set) = find_set(key).filter(|set| is_marked(*set)) else { return Collected::Unknown };
    let free = [at_once(is_zero(LOCK)), at_once(is_zero(OPENING)), at_once(add(LOCK, 1))];
    // With somebody attached it is in use, and whoever holds the lock need not be waited for.
    if let Err(answer) = lock_out(set, free, || sysv::status(id).is_ok_and(|status| status.attaches == 0)) {
        return answer;
    }
    // Leases do not decide: one that was taken before an exec outlives its attach. The segment's own count does.
    let unused = sysv::status(id)
        .ok()
        .filter(|status| status.attaches == 0 && status.mode & sysv::SHM_DEST == 0 && status.key == key);
    let answer = match unused {
        None => Collected::InUse,
        Some(_) if !remove => Collected::Orphan,
        Some(status) => match peek(id, &status, is_persistent) {
            Ok(true) => Collected::Kept,
            Ok(false) if sysv::remove(id).is_ok() => {
                let _ = semset::remove(set);
                return Collected::Orphan;
            }
            _ => Collected::Unknown,
        },
    };
    unlock(set);
    answer
}

fn is_persistent(window: &Window) -> bool {
    read_header(window).is_ok_and(|header| header.flags & header::PERSISTENT != 0)
}

/// Marks a set that its maker did not live to mark: once it was operated upon, it could not be told from another software's.
fn is_marked(set: i32) -> bool {
    match whose(set) {
        Ok(Whose::New) => semset::set_value(set, MARK, OURS).is_ok(),
        found => found.is_ok(),
    }
}

/// Takes LOCK. Another collector, or an opener on its way, is soon done: it is waited for as long as it may matter.
fn lock_out<const N: usize>(set: i32, mut steps: [Step; N], matters: impl Fn() -> bool) -> Result<(), Collected> {
    let mut deadline = Deadline::after(COLLECTOR_NS);
    loop {
        match semset::operate(set, &mut steps, 0) {
            Ok(()) => return Ok(()),
            Err(Errno(libc::EINTR)) => {}
            Err(Errno(libc::EAGAIN)) if matters() && deadline.pause("another collector looked").is_ok() => {}
            Err(Errno(libc::EAGAIN)) => return Err(Collected::InUse),
            Err(_) => return Err(Collected::Unknown),
        }
    }
}

/// Removes a set whose segment was just removed.
fn tidy(key: i32) {
    let _ = collect_set(key, true);
}

/// Removes a set whose segment is gone. Decides with LOCK held, as `collect` does.
pub fn collect_set(key: i32, remove: bool) -> Collected {
    let Some(set) = find_set(key).filter(|set| is_marked(*set)) else { return Collected::Unknown };
    let is_gone = || sysv::shmget(key, 0, 0) == Err(Errno(libc::ENOENT));
    if let Err(answer) = lock_out(set, [at_once(is_zero(LOCK)), at_once(add(LOCK, 1))], is_gone) {
        return answer;
    }
    let user = process::effective_user();
    let may = semset::status(set).is_ok_and(|status| user == 0 || status.uid == user);
    let orphan = may && is_gone();
    if !(orphan && remove && semset::remove(set).is_ok()) {
        unlock(set);
    }
    if orphan { Collected::Orphan } else { Collected::InUse }
}
