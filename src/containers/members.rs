//! Who is dead, among the members of a container in a region. A claim names its owner by the number of its region's lease and
//! an epoch. The table of members has, for each lease, the epoch and the process that had it last; who attaches with a lease
//! that was another's before counts the epoch up. So a claim is a dead one's when its epoch is past, or nobody has the lease,
//! or another living process has it. Next: `region/member.rs`, which asks the kernel.

use super::memory::Memory;
use crate::region::header::Process;
use crate::region::{Outcome, identity, member};
use crate::sys::area::Area;

/// Entries of a table: leases that members may have.
pub const MEMBERS: u32 = 64;
const _: () = assert!(member::MOST <= MEMBERS);

/// Bits of an owner that are the lease's number; the others are the epoch.
const NUMBER_BITS: u32 = 12;
/// Bits of an entry that are its identity; the others are the epoch.
const IDENTITY_BITS: u32 = 48;
const IDENTITY: u64 = (1 << IDENTITY_BITS) - 1;

/// A member: where the table is, and how to ask about others.
#[derive(Clone, Copy)]
pub struct Membership {
    area: Area,
    table_at: usize,
    region: u64,
    number: u32,
    /// As it stands in the table.
    identity: u64,
    /// What this member's claims name.
    pub owner: u32,
}

fn identity_of(process: &Process) -> u64 {
    (u64::from(process.pid) << 26 | process.start_time & 0x3ff_ffff) & IDENTITY
}

fn owner_of(number: u32, epoch: u64) -> u32 {
    (epoch as u32) << NUMBER_BITS | number
}

impl Membership {
    /// Enters this process into the table at an offset, by its lease on an open region.
    pub fn new(area: Area, table_at: usize, region: u64) -> Outcome<Membership> {
        let number = member::own(region)?;
        let owner = enter(area, table_at, number);
        Ok(Membership { area, table_at, region, number, identity: identity_of(&identity::own()), owner })
    }

    /// Whether it is this process's, and not that of the one which forked it.
    pub fn is_own(&self) -> bool {
        identity::forget();
        self.identity == identity_of(&identity::own())
    }

    /// Whether the owner of a claim is dead; who cannot be judged is not.
    pub fn is_dead(&self, owner: u32) -> bool {
        let (number, epoch) = (owner & ((1 << NUMBER_BITS) - 1), u64::from(owner >> NUMBER_BITS));
        if number >= MEMBERS {
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
            Some(true) => {
                let holder = member::living(self.region, number);
                holder.is_some_and(|process| identity_of(&process) != entry & IDENTITY)
            }
        }
    }
}

fn enter<M: Memory>(memory: M, table_at: usize, number: u32) -> u32 {
    // Who was made behind the fork handlers must not pass for its parent.
    identity::forget();
    let (at, own) = (table_at + 8 * number as usize, identity_of(&identity::own()));
    loop {
        let seen = memory.load(at);
        let epoch = seen >> IDENTITY_BITS;
        if seen & IDENTITY == own && seen != 0 {
            return owner_of(number, epoch);
        }
        let epoch = (epoch + 1) & 0xffff;
        if memory.exchange(at, seen, epoch << IDENTITY_BITS | own).is_ok() {
            return owner_of(number, epoch);
        }
    }
}
