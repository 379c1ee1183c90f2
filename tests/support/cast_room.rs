//! Cells and broadcasts in shared memory for tests: users and members that call as a C program does, a region by whose leases
//! members know who is dead. Memory, letters and random numbers are those of `ring_room.rs`. Used by `cell.rs`,
//! `broadcast.rs` and `cast_kill_points.rs`.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use shmkit::capi::broadcast::*;
use shmkit::capi::cell::*;
use shmkit::capi::options::RegionOptions;
use shmkit::capi::region::*;

use super::message;
use super::ring_room::Memory;
use super::sync_room::good;

pub const READ: i32 = SHMKIT_CELL_READ;
pub const WRITE: i32 = SHMKIT_CELL_WRITE;
pub const FROM_NOW: i32 = SHMKIT_BROADCAST_FROM_NOW;
pub const FROM_OLDEST: i32 = SHMKIT_BROADCAST_FROM_OLDEST;

/// Where things stand in a cell (`containers/cell.rs`).
pub const WRITER_AT: usize = 32;
pub const LATEST_AT: usize = 64;
pub const SLOTS_AT: usize = 192;

/// Where things stand in a broadcast (`containers/broadcast.rs`).
pub const STRIDE_AT: usize = 16;
pub const TAIL_AT: usize = 64;
pub const MEMBERS_AT: usize = 256;
pub const CELLS_AT: usize = MEMBERS_AT + 8 * 64;

// ------------------------------------------------------------------------------------------------------------------
// Cells
// ------------------------------------------------------------------------------------------------------------------

/// Memory with a cell for values of up to so many bytes.
#[track_caller]
pub fn cell_memory(longest: usize) -> Memory {
    let memory = Memory::new(shmkit_cell_size(longest));
    cell_init(memory, longest);
    memory
}

#[track_caller]
pub fn cell_init(memory: Memory, longest: usize) {
    // SAFETY: the memory is mapped.
    good(unsafe { shmkit_cell_init(memory.start(), memory.length, longest, null()) });
}

pub fn cell_stat(memory: Memory) -> Result<shmkit_cell_stat_t, i32> {
    let mut stat = MaybeUninit::<shmkit_cell_stat_t>::uninit();
    // SAFETY: the memory is mapped, the place is writable; what is good has filled it.
    unsafe {
        match shmkit_cell_stat(memory.start(), memory.length, stat.as_mut_ptr()) {
            0 => Ok(stat.assume_init()),
            status => Err(status),
        }
    }
}

/// A value and its number, or a status and the size that was told.
pub type Found = Result<(u64, Vec<u8>), (i32, usize)>;

/// A user of a cell, wherever it lies. In a forked child it is its parent's.
#[derive(Clone, Copy)]
pub struct CellAt(pub *mut shmkit_cell_t);

/// A user, at an address of its own. Not detached by a drop.
pub struct Cell {
    at: CellAt,
    _place: Box<UnsafeCell<MaybeUninit<shmkit_cell_t>>>,
}

// SAFETY: one thread at a time uses it: it has no Sync.
unsafe impl Send for Cell {}

impl std::ops::Deref for Cell {
    type Target = CellAt;

    fn deref(&self) -> &CellAt {
        &self.at
    }
}

impl Cell {
    pub fn attach(memory: Memory, how: i32) -> Result<Cell, i32> {
        let place = Box::new(UnsafeCell::new(MaybeUninit::<shmkit_cell_t>::zeroed()));
        let at = CellAt(place.get().cast());
        match at.attach(memory, how) {
            0 => Ok(Cell { at, _place: place }),
            status => Err(status),
        }
    }

    #[track_caller]
    pub fn writer(memory: Memory) -> Cell {
        Cell::attach(memory, WRITE).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }

    #[track_caller]
    pub fn reader(memory: Memory) -> Cell {
        Cell::attach(memory, READ).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }
}

impl CellAt {
    pub fn attach(self, memory: Memory, how: i32) -> i32 {
        // SAFETY: the place is writable, the memory is mapped.
        unsafe { shmkit_cell_attach(self.0, memory.start(), memory.length, null(), how) }
    }

    #[track_caller]
    pub fn detach(self) {
        // SAFETY: it was attached.
        good(unsafe { shmkit_cell_detach(self.0) });
    }

    pub fn write(self, bytes: &[u8]) -> i32 {
        // SAFETY: it was attached, the bytes are readable.
        unsafe { shmkit_cell_write(self.0, bytes.as_ptr().cast(), bytes.len()) }
    }

    pub fn reserve(self, size: usize) -> Result<*mut u8, i32> {
        let mut data = null_mut();
        // SAFETY: it was attached, the place is writable.
        match unsafe { shmkit_cell_reserve(self.0, size, &mut data) } {
            0 => Ok(data.cast()),
            status => Err(status),
        }
    }

    pub fn commit(self, size: usize) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_cell_commit(self.0, size) }
    }

    /// Into the buffer: its number and length.
    pub fn read_into(self, buffer: &mut [u8]) -> Result<(u64, usize), (i32, usize)> {
        let (mut size, mut version) = (usize::MAX, 0);
        // SAFETY: it was attached, the buffer is writable.
        match unsafe { shmkit_cell_read(self.0, buffer.as_mut_ptr().cast(), buffer.len(), &mut size, &mut version) } {
            0 => Ok((version, size)),
            status => Err((status, size)),
        }
    }

    pub fn read_newer_into(self, after: u64, buffer: &mut [u8], timeout: u64) -> Result<(u64, usize), (i32, usize)> {
        let (mut size, mut version) = (usize::MAX, 0);
        let (data, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: it was attached, the buffer is writable.
        match unsafe { shmkit_cell_read_newer(self.0, after, data, room, &mut size, &mut version, timeout) } {
            0 => Ok((version, size)),
            status => Err((status, size)),
        }
    }

    pub fn read(self, room: usize) -> Found {
        let mut bytes = vec![0; room];
        let (version, size) = self.read_into(&mut bytes)?;
        bytes.truncate(size);
        Ok((version, bytes))
    }

    pub fn read_newer(self, after: u64, room: usize, timeout: u64) -> Found {
        let mut bytes = vec![0; room];
        let (version, size) = self.read_newer_into(after, &mut bytes, timeout)?;
        bytes.truncate(size);
        Ok((version, bytes))
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Broadcasts
// ------------------------------------------------------------------------------------------------------------------

/// Memory with a broadcast, and a region whose leases its members have: those that this process forks too, each its own.
#[derive(Clone, Copy)]
pub struct Cast {
    pub memory: Memory,
    pub region: *mut shmkit_region_t,
    pub messages: usize,
    pub longest: usize,
}

// SAFETY: the handle may be used by any thread.
unsafe impl Send for Cast {}
// SAFETY: as above.
unsafe impl Sync for Cast {}

/// A region of this process, which goes with it.
#[track_caller]
pub fn region() -> *mut shmkit_region_t {
    // SAFETY: all zeros are the defaults, but for the size of the struct; the place is writable.
    unsafe {
        let zeros: RegionOptions = MaybeUninit::zeroed().assume_init();
        let options = RegionOptions { struct_size: size_of::<RegionOptions>(), size: 4096, ..zeros };
        let mut region = null_mut();
        good(shmkit_region_create(c"memfd:shmkit-cast".as_ptr(), &options, &mut region));
        region
    }
}

impl Cast {
    #[track_caller]
    pub fn new(messages: usize, longest: usize) -> Cast {
        let memory = Memory::new(shmkit_broadcast_size(messages, longest));
        let cast = Cast { memory, region: region(), messages, longest };
        cast.init();
        cast
    }

    /// Makes it anew.
    #[track_caller]
    pub fn init(self) {
        let (start, length) = (self.memory.start(), self.memory.length);
        // SAFETY: the memory is mapped.
        good(unsafe { shmkit_broadcast_init(start, length, self.messages, self.longest, null()) });
    }

    pub fn attach(self, from: i32) -> Result<Member, i32> {
        let place = Box::new(UnsafeCell::new(MaybeUninit::<shmkit_broadcast_t>::zeroed()));
        let at = MemberAt(place.get().cast());
        match at.attach(self, from) {
            0 => Ok(Member { at, _place: place }),
            status => Err(status),
        }
    }

    /// A member that sees what comes from now on.
    #[track_caller]
    pub fn member(self) -> Member {
        self.attach(FROM_NOW).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }

    /// A member that sees what is still there.
    #[track_caller]
    pub fn oldest(self) -> Member {
        self.attach(FROM_OLDEST).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }

    pub fn stat(self) -> Result<shmkit_broadcast_stat_t, i32> {
        let mut stat = MaybeUninit::<shmkit_broadcast_stat_t>::uninit();
        // SAFETY: the memory is mapped, the place is writable; what is good has filled it.
        unsafe {
            match shmkit_broadcast_stat(self.memory.start(), self.memory.length, stat.as_mut_ptr()) {
                0 => Ok(stat.assume_init()),
                status => Err(status),
            }
        }
    }

    /// The word of a cell.
    pub fn word(self, cell: usize) -> &'static std::sync::atomic::AtomicU64 {
        let stride = (self.memory.length - CELLS_AT) / self.messages.next_power_of_two().max(2);
        self.memory.word(CELLS_AT + cell * stride)
    }
}

/// A member, wherever it lies. In a forked child it is its parent's.
#[derive(Clone, Copy)]
pub struct MemberAt(pub *mut shmkit_broadcast_t);

/// A member, at an address of its own. Not detached by a drop.
pub struct Member {
    at: MemberAt,
    _place: Box<UnsafeCell<MaybeUninit<shmkit_broadcast_t>>>,
}

// SAFETY: one thread at a time uses it: it has no Sync.
unsafe impl Send for Member {}

impl std::ops::Deref for Member {
    type Target = MemberAt;

    fn deref(&self) -> &MemberAt {
        &self.at
    }
}

impl MemberAt {
    pub fn attach(self, cast: Cast, from: i32) -> i32 {
        let (start, length) = (cast.memory.start(), cast.memory.length);
        // SAFETY: the place is writable, the memory is mapped.
        unsafe { shmkit_broadcast_attach(self.0, cast.region, start, length, null(), from) }
    }

    #[track_caller]
    pub fn detach(self) {
        // SAFETY: it was attached.
        good(unsafe { shmkit_broadcast_detach(self.0) });
    }

    pub fn write(self, bytes: &[u8]) -> i32 {
        // SAFETY: it was attached, the bytes are readable.
        unsafe { shmkit_broadcast_write(self.0, bytes.as_ptr().cast(), bytes.len()) }
    }

    pub fn reserve(self, size: usize) -> Result<*mut u8, i32> {
        let mut data: *mut c_void = null_mut();
        // SAFETY: it was attached, the place is writable.
        match unsafe { shmkit_broadcast_reserve(self.0, size, &mut data) } {
            0 => Ok(data.cast()),
            status => Err(status),
        }
    }

    pub fn commit(self, size: usize) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_commit(self.0, size) }
    }

    pub fn abort(self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_abort(self.0) }
    }

    /// Into the buffer: its length, and how many were missed before it.
    pub fn read_into(self, buffer: &mut [u8], timeout: u64) -> Result<(usize, u64), (i32, usize)> {
        let (mut size, mut missed) = (usize::MAX, 0);
        let (data, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: it was attached, the buffer is writable.
        match unsafe { shmkit_broadcast_read(self.0, data, room, &mut size, &mut missed, timeout) } {
            0 => Ok((size, missed)),
            status => Err((status, size)),
        }
    }

    /// The next message, and how many were missed before it.
    pub fn read(self, timeout: u64) -> Result<(Vec<u8>, u64), i32> {
        let mut bytes = vec![0; 4096];
        let (size, missed) = self.read_into(&mut bytes, timeout).map_err(|(status, _)| status)?;
        bytes.truncate(size);
        Ok((bytes, missed))
    }

    pub fn behind(self) -> u64 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_behind(self.0) }
    }

    pub fn close(self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_close(self.0) }
    }

    pub fn arm(self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_arm(self.0) }
    }

    pub fn notify_fd(self, fd: i32) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_broadcast_set_notify_fd(self.0, fd) }
    }
}
