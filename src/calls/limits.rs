//! The limits of shared memory on this machine, in one struct.
//! Never guesses: what the system does not tell is 0. Next: `sys/limits.rs`.

use crate::sys::{self, file, limits, posix, sysv};

/// The boundary to which shmat rounds addresses, in bytes: a page on the architectures that are supported.
pub fn shmlba() -> usize {
    limits::page_size()
}

/// Limits of shared memory. Sizes are in bytes unless another unit is named.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// sizeof of this struct as the caller knows it; set it (SHMKIT_LIMITS_INIT does) so that the struct can grow.
    pub struct_size: usize,
    /// The largest System V segment.
    pub shmmax: u64,
    /// The smallest System V segment.
    pub shmmin: u64,
    /// The number of System V segments, all together.
    pub shmmni: u64,
    /// The size of all System V segments together, in pages.
    pub shmall: u64,
    /// The number of System V segments that one process can attach; equal to shmmni on Linux.
    pub shmseg: u64,
    /// The size of a page.
    pub page_size: u64,
    /// The boundary to which shmat rounds addresses.
    pub shmlba: u64,
    /// The huge page sizes that the kernel offers, ascending; the first huge_page_count are set.
    pub huge_page_sizes: [u64; 8],
    /// How many huge page sizes there are.
    pub huge_page_count: u64,
    /// The capacity of the file system of POSIX objects (/dev/shm); 0 when it has no bound.
    pub posix_capacity: u64,
    /// What is free on it.
    pub posix_free: u64,
}

/// Reads all limits. What cannot be read is 0.
pub fn limits() -> Limits {
    sys::preserving_errno(|| {
        let mut all = Limits {
            struct_size: size_of::<Limits>(),
            page_size: limits::page_size() as u64,
            shmlba: shmlba() as u64,
            ..Limits::default()
        };
        if let Ok(info) = sysv::info() {
            all.shmmax = info.shmmax;
            all.shmmin = info.shmmin;
            all.shmmni = info.shmmni;
            all.shmall = info.shmall;
            all.shmseg = info.shmseg;
        }
        if let Ok(room) = file::room_at(posix::OBJECT_FOLDER) {
            all.posix_capacity = room.capacity;
            all.posix_free = room.free;
        }
        let _none = limits::huge_page_sizes(|size| insert(&mut all, size));
        all
    })
}

/// Adds a huge page size where it belongs in the ascending list.
fn insert(all: &mut Limits, size: u64) {
    let count = all.huge_page_count as usize;
    if size == 0 || count >= all.huge_page_sizes.len() {
        return;
    }
    let place = all.huge_page_sizes[..count].iter().take_while(|other| **other < size).count();
    all.huge_page_sizes.copy_within(place..count, place + 1);
    all.huge_page_sizes[place] = size;
    all.huge_page_count += 1;
}
