//! Queues in regions for tests: a region of any kind with one queue in it, members that call as a C program does, signs
//! between processes. Used by `queue.rs`, `queue_peers.rs` and `queue_kill_points.rs`; letters are those of `ring_room.rs`.

use std::cell::UnsafeCell;
use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};

use shmkit::capi::options::{RegionLayout, RegionOptions};
use shmkit::capi::queue::*;
use shmkit::capi::region::*;

use super::sync_room::good;
use super::{message, unique};

/// Where things stand in a queue (`containers/queue.rs`).
pub const CELLS_NUMBER_AT: usize = 8;
pub const STRIDE_AT: usize = 16;
pub const STATE_AT: usize = 24;
pub const POLICY_AT: usize = 28;
pub const TAIL_AT: usize = 64;
pub const HEAD_AT: usize = 128;
pub const READABLE_AT: usize = 192;
pub const WRITABLE_AT: usize = 196;
pub const MEMBERS_AT: usize = 320;
pub const CELLS_AT: usize = 320 + 8 * 64;
pub const CELL_HEAD: usize = 16;
pub const FREE: u64 = 0;
/// From this bit on a word is a position.
pub const POSITION: u32 = 18;
pub const WRITING: u64 = 1 << 16;
pub const FULL: u64 = 2 << 16;
pub const TAKEN: u64 = 3 << 16;

pub const BLOCK: i32 = SHMKIT_OVERFLOW_BLOCK;
pub const REFUSE: i32 = SHMKIT_OVERFLOW_REFUSE;
pub const DROP: i32 = SHMKIT_OVERFLOW_DROP;
pub const AGAIN: i32 = SHMKIT_DELIVERY_AT_LEAST_ONCE;
pub const ONCE: i32 = SHMKIT_DELIVERY_AT_MOST_ONCE;
pub const LAYOUT: RegionLayout = RegionLayout { name: null(), size: 0, version: 0, alignment: 0 };

pub fn options(messages: u64, message_size: u64, overflow: i32, delivery: i32) -> shmkit_queue_options_t {
    let struct_size = size_of::<shmkit_queue_options_t>();
    shmkit_queue_options_t { struct_size, messages, message_size, layout: LAYOUT, overflow, delivery }
}

pub fn region_options(size: usize) -> RegionOptions {
    // SAFETY: all zeros are the defaults, but for the size of the struct.
    let zeros: RegionOptions = unsafe { MaybeUninit::zeroed().assume_init() };
    RegionOptions { struct_size: size_of::<RegionOptions>(), size: size as u64, ..zeros }
}

/// What a region is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    Posix,
    Memfd,
    Sysv,
}

pub const BACKENDS: [Backend; 3] = [Backend::Posix, Backend::Memfd, Backend::Sysv];

/// A region with a queue, which this process has made; those that it forks have it too, each with a lease of its own. It
/// goes with this one.
pub struct Room {
    pub region: *mut shmkit_region_t,
    pub address: CString,
    pub at: usize,
    pub length: usize,
    pid: u32,
    named: bool,
}

// SAFETY: the handle may be used by any thread.
unsafe impl Sync for Room {}

impl Room {
    #[track_caller]
    pub fn new(backend: Backend, options: &shmkit_queue_options_t) -> Room {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, SeqCst) & 0xff;
        let address = match backend {
            Backend::Posix => format!("posix:/shmkit-queue-{}", unique()),
            Backend::Memfd => "memfd:shmkit-queue".to_string(),
            Backend::Sysv => format!("sysv:{:#x}", 0x5100_0000 | (std::process::id() & 0xffff) << 8 | number),
        };
        let address = CString::new(address).expect("no NUL inside");
        // SAFETY: the options are there, the place is writable, the memory is mapped.
        unsafe {
            let length = shmkit_queue_size(options);
            assert!(length > 0, "{}", message());
            let mut region = null_mut();
            good(shmkit_region_create(address.as_ptr(), &region_options(length), &mut region));
            let at = shmkit_region_data(region) as usize;
            let room = Room { region, address, at, length, pid: std::process::id(), named: backend != Backend::Memfd };
            room.init(options);
            room
        }
    }

    /// Makes the queue anew.
    #[track_caller]
    pub fn init(&self, options: &shmkit_queue_options_t) {
        // SAFETY: the memory is mapped.
        good(unsafe { shmkit_queue_init(self.start(), self.length, options) });
    }

    pub fn start(&self) -> *mut c_void {
        self.at as *mut c_void
    }

    pub fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset + 8 <= self.length);
        // SAFETY: aligned, inside memory that stays mapped while the room is there.
        unsafe { AtomicU64::from_ptr((self.at + offset) as *mut u64) }
    }

    /// The word of a cell.
    pub fn cell(&self, index: usize) -> &AtomicU64 {
        self.word(CELLS_AT + index * self.word(STRIDE_AT).load(SeqCst) as usize)
    }

    #[track_caller]
    pub fn stat(&self) -> shmkit_queue_stat_t {
        let mut stat = MaybeUninit::<shmkit_queue_stat_t>::uninit();
        // SAFETY: the memory is mapped, the place is writable; what is good has filled it.
        unsafe {
            good(shmkit_queue_stat(self.start(), self.length, stat.as_mut_ptr()));
            stat.assume_init()
        }
    }

    /// Dropped, lost, and given again.
    #[track_caller]
    pub fn losses(&self) -> (u64, u64, u64) {
        let stat = self.stat();
        (stat.dropped, stat.lost, stat.again)
    }

    #[track_caller]
    pub fn member(&self) -> Member {
        self.attach().unwrap_or_else(|status| panic!("{status}: {}", message()))
    }

    pub fn attach(&self) -> Result<Member, i32> {
        Member::attach(self.region, self.at, self.length, null())
    }

    /// Every byte; others change them meanwhile, and any mixture will do.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        // SAFETY: so many are mapped.
        unsafe { libc::memcpy(bytes.as_mut_ptr().cast(), self.start(), self.length) };
        bytes
    }

    /// Whether they are these.
    pub fn is_as(&self, bytes: &[u8]) -> bool {
        // SAFETY: as above.
        unsafe { libc::memcmp(bytes[..self.length].as_ptr().cast(), self.start(), self.length) == 0 }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if std::process::id() == self.pid {
            if self.named {
                good(shmkit_region_unlink(self.region));
            }
            good(shmkit_region_close(self.region));
        }
    }
}

/// One member, at an address of its own. Not detached by a drop.
pub struct Member(Box<UnsafeCell<MaybeUninit<shmkit_queue_t>>>);

// SAFETY: one thread at a time uses it: it has no Sync.
unsafe impl Send for Member {}

impl Member {
    pub fn attach(
        region: *const shmkit_region_t,
        at: usize,
        length: usize,
        layout: *const RegionLayout,
    ) -> Result<Member, i32> {
        let member = Member(Box::new(UnsafeCell::new(MaybeUninit::zeroed())));
        // SAFETY: the place is writable, the memory is the caller's affair.
        match unsafe { shmkit_queue_attach(member.raw(), region, at as *mut c_void, length, layout) } {
            0 => Ok(member),
            status => Err(status),
        }
    }

    pub fn raw(&self) -> *mut shmkit_queue_t {
        self.0.get().cast()
    }

    #[track_caller]
    pub fn detach(self) {
        // SAFETY: it was attached.
        good(unsafe { shmkit_queue_detach(self.raw()) });
    }

    pub fn reserve(&self, size: usize, timeout: u64) -> Result<*mut u8, i32> {
        let mut data = null_mut();
        // SAFETY: it was attached, the place is writable.
        match unsafe { shmkit_queue_reserve(self.raw(), size, &mut data, timeout) } {
            0 => Ok(data.cast()),
            status => Err(status),
        }
    }

    /// Puts the bytes into what was reserved there.
    pub fn fill(&self, at: *mut u8, bytes: &[u8]) {
        // SAFETY: so many bytes were reserved.
        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    pub fn commit(&self, size: usize) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_commit(self.raw(), size) }
    }

    pub fn abort(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_abort(self.raw()) }
    }

    pub fn send(&self, bytes: &[u8], timeout: u64) -> i32 {
        // SAFETY: it was attached, the bytes are readable.
        unsafe { shmkit_queue_send(self.raw(), bytes.as_ptr().cast(), bytes.len(), timeout) }
    }

    /// Where the oldest message is, and a copy of it.
    pub fn take(&self, timeout: u64) -> Result<(usize, Vec<u8>), i32> {
        let (mut data, mut size) = (null(), 0);
        // SAFETY: it was attached, the places are writable, and what is shown is readable.
        unsafe {
            match shmkit_queue_take(self.raw(), &mut data, &mut size, timeout) {
                0 => Ok((data as usize, std::slice::from_raw_parts(data.cast::<u8>(), size).to_vec())),
                status => Err(status),
            }
        }
    }

    pub fn release(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_release(self.raw()) }
    }

    pub fn receive(&self, timeout: u64) -> Result<Vec<u8>, i32> {
        self.receive_into(1 << 16, timeout).map_err(|(status, _)| status)
    }

    /// Into a buffer with so much room; a refusal says what the size was then.
    pub fn receive_into(&self, room: usize, timeout: u64) -> Result<Vec<u8>, (i32, usize)> {
        let mut bytes = vec![0u8; room];
        let mut size = 0;
        // SAFETY: it was attached, the buffer is writable.
        match unsafe { shmkit_queue_receive(self.raw(), bytes.as_mut_ptr().cast(), room, &mut size, timeout) } {
            0 => {
                bytes.truncate(size);
                Ok(bytes)
            }
            status => Err((status, size)),
        }
    }

    pub fn close(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_close(self.raw()) }
    }

    pub fn arm(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_arm(self.raw()) }
    }

    pub fn notify_fd(&self, fd: i32) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_queue_set_notify_fd(self.raw(), fd) }
    }
}
