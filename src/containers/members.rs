//! Who is dead, among the members of a container in a region. A claim names its owner by the number of its region's lease and
//! an epoch. The table of members has, for each lease, the epoch and who had it last; who attaches with a lease that was
//! another's before, or its own before an exec or a close, counts the epoch up. So a claim is a dead one's when its epoch is
//! past, or nobody has the lease, or the record beside the lease is of another process: whoever has a lease writes its record
//! before it attaches, and nobody else writes there. Next: `region/member.rs`, which asks the kernel.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::memory::Memory;
use crate::region::header::Process;
use crate::region::{Outcome, member};
use crate::sys::area::Area;
use crate::sys::process;

/// Entries of a table: leases that members may have.
pub const MEMBERS: u32 = 64;

/// Bits of an owner that are the lease's number, and its epoch.
const NUMBER_BITS: u32 = 6;
const EPOCH: u64 = (1 << (16 - NUMBER_BITS)) - 1;
/// The last number is nobody's: see `queue::NOBODY`.
const _: () = assert!(member::MOST < MEMBERS && MEMBERS == 1 << NUMBER_BITS);
/// Bits of a member's entry that are its identity; the others are the epoch. Of those the lower tell one run of a program,
/// and one opening of a region in it, from others of the same process.
const IDENTITY_BITS: u32 = 48;
const IDENTITY: u64 = (1 << IDENTITY_BITS) - 1;
const RUN_BITS: u32 = 13;
const START_BITS: u32 = 13;

/// A member: where the table is, and how to ask about others.
#[derive(Clone, Copy)]
pub struct Membership {
    area: Area,
    table_at: usize,
    region: u64,
    number: u32,
    /// What this member's claims name.
    pub owner: u32,
}

/// A process by its record: the upper bits of an identity.
fn identity_of(process: &Process) -> u64 {
    let start = process.start_time & ((1 << START_BITS) - 1);
    (u64::from(process.pid) << (START_BITS + RUN_BITS) | start << RUN_BITS) & IDENTITY
}

/// This run of the program, and this opening of the region: the lower bits.
fn run_of(region: u64) -> u64 {
    static BEGAN: AtomicU64 = AtomicU64::new(0);
    let _ = BEGAN.compare_exchange(0, process::monotonic_ns() | 1, Relaxed, Relaxed);
    let mixed = (BEGAN.load(Relaxed) ^ region.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> (u64::BITS - RUN_BITS)
}

/// Enters this process as the one that has a lease: the owner that its claims name.
fn enter<M: Memory>(memory: M, table_at: usize, number: u32, own: u64) -> u32 {
    let at = table_at + 8 * number as usize;
    loop {
        let seen = memory.load(at);
        let epoch = seen >> IDENTITY_BITS & EPOCH;
        if seen & IDENTITY == own && seen != 0 {
            return owner_of(number, epoch);
        }
        let epoch = (epoch + 1) & EPOCH;
        if memory.exchange(at, seen, epoch << IDENTITY_BITS | own).is_ok() {
            return owner_of(number, epoch);
        }
    }
}

fn owner_of(number: u32, epoch: u64) -> u32 {
    (epoch as u32) << NUMBER_BITS | number
}

impl Membership {
    /// Enters this process into the table at an offset, by its lease on an open region.
    pub fn new(area: Area, table_at: usize, region: u64) -> Outcome<Membership> {
        let number = member::own(region)?;
        member::require_home(region, area.start())?;
        let process = member::own_record(region, number)?;
        let owner = enter(area, table_at, number, identity_of(&process) | run_of(region));
        Ok(Membership { area, table_at, region, number, owner })
    }

    /// Whether it is this process's still: not that of the one which forked it, nor of a region that was closed since.
    pub fn is_own(&self) -> bool {
        member::own(self.region).is_ok_and(|number| number == self.number)
    }

    /// Whether the owner of a claim is dead; who cannot be judged is not.
    pub fn is_dead(&self, owner: u32) -> bool {
        let (number, epoch) = (owner & ((1 << NUMBER_BITS) - 1), u64::from(owner >> NUMBER_BITS));
        if number >= member::MOST {
            return true;
        }
        let entry = self.area.load(self.table_at + 8 * number as usize);
        if entry >> IDENTITY_BITS != epoch {
            return true;
        }
        if number == self.number {
            return false;
        }
        match member::is_there(self.region, number) {
            Some(false) => true,
            None => false,
            // Another process may have the lease by now, and have nothing to do with this container.
            Some(true) => member::recorded(self.region, number)
                .is_some_and(|process| identity_of(&process) >> RUN_BITS != (entry & IDENTITY) >> RUN_BITS),
        }
    }
}
