//! Leases on objects with a descriptor: locks of open file descriptions, which the kernel drops with the last descriptor
//! and mapping of the description: at death, exec and close. They lie on bytes far behind the end of any object. The lock decides; the record beside it explains.
//! Never waits for a participant. Next: `segment.rs`, which does the same with semaphores.
//!
//! | byte | who locks it |
//! |---|---|
//! | `NAME` | who removes or replaces the name |
//! | `GROW` | who grows the object |
//! | `BUILD` | who builds an object under a temporary name |
//! | `LEASES` + n | participant n, exclusively; a collector locks all of them at once, and so keeps others out |
//! | `READERS` + n | participant n, shared, whose descriptor is only for reading; it has no record |

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::handle::forks;
use super::header::{RECORD_SIZE, RECORDS, Record};
use super::identity;
use crate::error::Errno;
use crate::sys::file::{self, Lock};
use crate::sys::limits::{Resource, soft_limit};
use crate::sys::memory;

/// Locked by who removes the name.
pub const NAME: i64 = LEASES - 1;
/// Locked by who grows the object.
pub const GROW: i64 = LEASES - 2;
/// Locked by who builds the object.
pub const BUILD: i64 = LEASES - 3;

const LEASES: i64 = 1 << 62;
const READERS: i64 = LEASES + MOST;
const MOST: i64 = 1 << 20;

/// The lease of this process on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// None: a raw region, or a file system without such locks.
    None,
    /// Participant of this number.
    Writer(u32),
    /// Reader of this number.
    Reader(u32),
}

impl Lease {
    /// The byte that it locks.
    fn byte(self) -> Option<i64> {
        match self {
            Lease::None => None,
            Lease::Writer(number) => Some(LEASES + i64::from(number)),
            Lease::Reader(number) => Some(READERS + i64::from(number)),
        }
    }

    /// As a number, for an atomic.
    pub fn pack(self) -> u64 {
        match self {
            Lease::None => 0,
            Lease::Writer(number) => 1 << 32 | u64::from(number),
            Lease::Reader(number) => 2 << 32 | u64::from(number),
        }
    }

    /// From a number.
    pub fn unpack(word: u64) -> Lease {
        match word >> 32 {
            1 => Lease::Writer(word as u32),
            2 => Lease::Reader(word as u32),
            _ => Lease::None,
        }
    }
}

/// Where to look for a free lease first: elsewhere each time, so that participants seldom meet. Below `RECORDS`.
pub fn hint() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A step that shares no factor with RECORDS comes by all of them.
    let next = NEXT.fetch_add(7, Relaxed);
    identity::last_known_pid().wrapping_mul(13).wrapping_add(next) % RECORDS
}

/// Takes the first free lease from `hint` on. Waits only for a collector, which is quick.
pub fn take(fd: i32, read_only: bool, hint: u32, deadline: &mut Deadline) -> Outcome<Lease> {
    let first = if read_only { READERS } else { LEASES };
    let mut number = i64::from(hint);
    let mut again = hint > 0;
    loop {
        // Those that have a record first, all of them.
        if again && number >= i64::from(RECORDS) {
            (number, again) = (0, false);
        }
        let found = match read_only {
            false => exclusive(fd, number),
            true => shared(fd, number),
        };
        match found {
            Ok(lease) => return Ok(lease),
            Err(Errno(libc::EAGAIN | libc::EACCES)) => {}
            // A file system without these locks: nobody can tell who is there.
            Err(Errno(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS)) => return Ok(Lease::None),
            Err(errno) => return Err(Failure::system(errno)),
        }
        number = match file::lock_in_the_way(fd, first + number, 1) {
            Ok(Some(found)) if is_collector(found) => {
                deadline.pause("a collector decided whether the region is left over")?;
                number
            }
            // It was given back meanwhile.
            Ok(None) => number + 1,
            // Behind it, however much it covers; a lock to the end leaves nothing behind it.
            Ok(Some((start, length @ 1.., _))) => start.saturating_add(length).saturating_sub(first),
            _ => MOST,
        };
        // Only a peer that locks what it does not need gets us here: it must not keep us for ever.
        if number >= MOST {
            deadline.pause("other processes held every lease")?;
            number = 0;
        }
    }
}

fn exclusive(fd: i32, number: i64) -> Result<Lease, Errno> {
    file::lock(fd, Lock::Exclusive, LEASES + number, 1).map(|()| Lease::Writer(number as u32))
}

/// Two readers may share a byte if they come at the same moment; then they count as one, and as alive while either is.
fn shared(fd: i32, number: i64) -> Result<Lease, Errno> {
    if file::lock_in_the_way(fd, READERS + number, 1)?.is_some() {
        return Err(Errno(libc::EAGAIN));
    }
    file::lock(fd, Lock::Shared, READERS + number, 1).map(|()| Lease::Reader(number as u32))
}

/// Whether a lock is a collector's, who holds all leases at once. The kernel shows neighbouring locks of one description
/// as one: it may begin before the leases.
fn is_collector((first, length, lock): (i64, i64, Lock)) -> bool {
    first <= LEASES && length == 0 && lock == Lock::Exclusive
}

/// Writes who holds a lease beside it. A region that cannot be written, sealed or read-only, has no record of us. False where a
/// limit forbids to write to files: then it is for `record_mapped`.
pub fn record(fd: i32, lease: Lease) -> bool {
    let Some((offset, bytes)) = own_record(lease) else { return true };
    // Past this limit the kernel sends SIGXFSZ, which kills, even where nothing gets larger.
    if (offset + RECORD_SIZE) as u64 > soft_limit(Resource::FileSize) {
        return false;
    }
    let _ = file::write_at(fd, &bytes, offset as i64);
    true
}

/// The same through a mapping that begins at an address. Left as it was, the record would name who had the lease before. The
/// kernel copies: what a peer truncated is no fault.
pub fn record_mapped(start: usize, lease: Lease) {
    if let Some((offset, bytes)) = own_record(lease) {
        let _ = memory::copy_within_process(bytes.as_ptr() as usize, start + offset, bytes.len());
    }
}

/// Where the record of a lease stands, and what this process writes there; `None` for a reader's.
fn own_record(lease: Lease) -> Option<(usize, [u8; RECORD_SIZE])> {
    let Lease::Writer(number) = lease else { return None };
    Some((Record::offset(number)?, Record { process: identity::own() }.encode()))
}

/// Gives a lease back. The record stays: without the lock it says nothing.
pub fn give(fd: i32, lease: Lease) {
    if let Some(byte) = lease.byte() {
        let _ = file::lock(fd, Lock::Unlocked, byte, 1);
    }
}

/// How long a collector is waited for that looks at one region: it is quick, unless it is stopped.
pub const COLLECTOR_NS: u64 = 100_000_000;

/// Takes all leases at once, which succeeds only when nobody holds one; waits for another collector. `None` when it
/// cannot be told.
pub fn take_all(fd: i32) -> Option<bool> {
    let mut deadline = Deadline::after(COLLECTOR_NS);
    loop {
        match file::lock(fd, Lock::Exclusive, LEASES, 0) {
            Ok(()) => return Some(true),
            Err(Errno(libc::EAGAIN | libc::EACCES)) => {}
            Err(_) => return None,
        }
        // None in the way: it has just gone.
        let collector = file::lock_in_the_way(fd, LEASES, 0).ok()?.is_none_or(is_collector);
        if !collector || deadline.pause("another collector looked").is_err() {
            return Some(false);
        }
    }
}

/// Shows the leases that others hold to `each`, in order, readers after writers, until it says to stop. `None` when the
/// file system cannot tell; false when a collector is at work.
pub fn for_each(fd: i32, each: &mut dyn FnMut(Lease) -> bool) -> Option<bool> {
    match within(fd, LEASES, READERS + MOST, 0, &mut 10_000, each).ok()? {
        Found::Collector => Some(false),
        Found::All | Found::Enough => Some(true),
    }
}

enum Found {
    All,
    Enough,
    Collector,
}

/// The kernel shows any one lock of a range, not the first: what lies before it is asked for next, then what lies after.
/// Another user may take as many locks as it likes, so both depth and number are bounded: E2BIG beyond that.
fn within(
    fd: i32,
    mut start: i64,
    end: i64,
    depth: u32,
    left: &mut u32,
    each: &mut dyn FnMut(Lease) -> bool,
) -> Result<Found, Errno> {
    while start < end {
        *left = left.checked_sub(1).filter(|_| depth < 100).ok_or(Errno(libc::E2BIG))?;
        let Some(found) = file::lock_in_the_way(fd, start, end - start)? else { break };
        if is_collector(found) {
            return Ok(Found::Collector);
        }
        let first = found.0.max(start);
        let after = if found.1 <= 0 { end } else { found.0.saturating_add(found.1).min(end) };
        match within(fd, start, first, depth + 1, left, each)? {
            Found::All => {}
            other => return Ok(other),
        }
        // One description holds one lease: a longer lock is a peer's invention, and counts once.
        let lease = match first < READERS {
            true => Lease::Writer((first - LEASES) as u32),
            false => Lease::Reader((first - READERS) as u32),
        };
        if !each(lease) {
            return Ok(Found::Enough);
        }
        start = after;
    }
    Ok(Found::All)
}

/// Whether anybody else holds a lease; a collector, who looks for the same, is waited for. `None` when it cannot be told.
pub fn is_held(fd: i32) -> Option<bool> {
    let mut deadline = Deadline::after(COLLECTOR_NS);
    loop {
        match file::lock_in_the_way(fd, LEASES, 0) {
            Ok(Some(found)) if is_collector(found) => deadline.pause("a collector looked").ok()?,
            Ok(found) => return Some(found.is_some()),
            Err(_) => return None,
        }
    }
}

/// Whether another description holds the lease of this number. `None` when it cannot be told.
pub fn is_number_held(fd: i32, number: u32) -> Option<bool> {
    file::lock_in_the_way(fd, LEASES + i64::from(number), 1).ok().map(|found| found.is_some())
}

/// A lock on one byte, held until it is dropped, or until the descriptor is closed.
pub struct Held {
    fd: i32,
    byte: i64,
    forks: u32,
}

impl Held {
    /// Leaves the lock to the descriptor, which the caller closes next. A child that was forked meanwhile has it too: then
    /// the lock goes now.
    pub fn until_close(self) {
        if forks() == self.forks {
            core::mem::forget(self);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = file::lock(self.fd, Lock::Unlocked, self.byte, 1);
    }
}

/// Locks a byte, waiting for its holder until the deadline. A file system without locks is as if nobody else were there;
/// so is a descriptor for reading only, which cannot lock: `object.rs` takes another one where that matters.
pub fn hold(fd: i32, byte: i64, deadline: &mut Deadline, what: &'static str) -> Outcome<Held> {
    let forks = forks();
    loop {
        match file::lock(fd, Lock::Exclusive, byte, 1) {
            Err(Errno(libc::EAGAIN | libc::EACCES)) => deadline.pause(what)?,
            Ok(()) | Err(Errno(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EBADF)) => {
                return Ok(Held { fd, byte, forks });
            }
            Err(errno) => return Err(Failure::system(errno)),
        }
    }
}
