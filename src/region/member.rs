//! Participants of a region as the containers in it know them: by the number of the lease, which the kernel gives to one at a
//! time and takes back at its death. Next: `lease.rs`, `containers/queue_end.rs`.

use super::failure::{Failure, Outcome};
use super::handle::{RAW, Region, find_other, get};
use super::header::{Process, RECORD_SIZE, RECORDS, Record};
use super::lease::{self, Lease};
use super::{address::Backend, segment};
use crate::error::Status;
use crate::sys::process;

/// Numbers are below this.
pub const MOST: u32 = RECORDS;

/// The number of this process's lease on an open region.
pub fn own(token: u64) -> Outcome<u32> {
    let region = get(token)?;
    if region.hot.is(RAW) {
        return Err(Failure::backend(
            "a raw region has no leases, by which the members of a queue know who is dead",
            "open it as a region, or use a ring, which needs none",
        ));
    }
    match region.lease() {
        Lease::Writer(number) if number < MOST => Ok(number),
        Lease::Writer(_) => Err(Failure::new(
            Status::ErrLimit,
            "{limit} processes have the region open already: a queue knows no more of them",
            "close handles that are not needed, or use a second region",
        )
        .with(|figures| figures.limit = u64::from(MOST))),
        Lease::Reader(_) => Err(Failure::new(
            Status::ErrAccess,
            "the region is open for reading only, and every member of a queue writes to it",
            "open it without read_only",
        )),
        Lease::None => Err(Failure::new(
            Status::ErrUnsupported,
            "this region has no leases: its file system has no locks, or its semaphores are not this user's",
            "use posix:, memfd: or another file system",
        )),
    }
}

/// Refuses memory of another region that is open here: its members hold leases of that one, and would be dead by those of
/// this one. Memory of no region is the program's own affair.
pub fn require_home(token: u64, address: usize) -> Outcome<()> {
    let region = get(token)?;
    if region.hot.covers(address) || !find_other(&region, address) {
        return Ok(());
    }
    Err(Failure::argument(
        "the memory is of another region, and its members know who is dead by the leases of that one",
        "pass the region whose data it is",
    ))
}

/// Whether a participant of this number is there; `None` when it cannot be told.
pub fn is_there(token: u64, number: u32) -> Option<bool> {
    let region = get(token).ok()?;
    if region.lease() == Lease::Writer(number) {
        return Some(true);
    }
    match region.backend {
        Backend::Sysv => segment::is_lease_held(region.set, number),
        _ => lease::is_number_held(region.fd(), number),
    }
}

/// Who took this number last, by what stands beside the lease.
pub fn recorded(token: u64, number: u32) -> Option<Process> {
    record(&*get(token).ok()?, number)
}

/// The same of this process, which has the number: where its own record could not be written, others would believe one of
/// somebody before it.
pub fn own_record(token: u64, number: u32) -> Outcome<Process> {
    // Who was made behind the fork handlers must not pass for its parent.
    recorded(token, number).filter(|found| found.pid == process::pid() as u32).ok_or(Failure::new(
        Status::ErrUnsupported,
        "the region could not note that this process has it open, and members of a queue know each other by that",
        "open the region in this process, with a file size limit (ulimit -f) that is larger than it",
    ))
}

fn record(region: &Region, number: u32) -> Option<Process> {
    let mut bytes = [0; RECORD_SIZE];
    let read = region.hot.window.read(Record::offset(number)?, &mut bytes);
    read.then(|| Record::decode(&bytes).process)
}
