//! Rings in shared memory for tests: memory between pages that nobody may touch, ends that call as a C program does, and
//! messages that show whether they are whole. Used by `ring.rs` and `ring_kill_points.rs`.

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64};

use shmkit::capi::ring::*;
use shmkit::error::Status;

use super::message;
use super::sync_room::good;

pub const FOREVER: u64 = u64::MAX;
/// Nothing takes so long where it goes on at all.
pub const LONG: u64 = 10_000_000_000;
pub const PRODUCE: i32 = SHMKIT_RING_PRODUCE;
pub const CONSUME: i32 = SHMKIT_RING_CONSUME;
pub const TAKE_OVER: i32 = SHMKIT_RING_TAKE_OVER;

/// Where things stand in a ring (`containers/ring.rs`).
pub const CAPACITY_AT: usize = 8;
pub const STATE_AT: usize = 24;
pub const SPACE_AT: usize = 28;
pub const PRODUCER_AT: usize = 32;
pub const CONSUMER_AT: usize = 40;
pub const TAIL_AT: usize = 64;
pub const WRITTEN_AT: usize = 72;
pub const HEAD_AT: usize = 128;
pub const READABLE_AT: usize = 192;
pub const WRITABLE_AT: usize = 196;
pub const DATA_AT: usize = 256;

const PAGE: usize = 4096;
const CANARY: u8 = 0xa5;

/// Shared memory that stays mapped. It ends where a page begins that nobody may touch, and the page before its first one is
/// such a page too; between that and its beginning are bytes that `is_untouched` knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    pub at: usize,
    pub length: usize,
    pub before: usize,
}

impl Memory {
    /// So many bytes, a multiple of 64, all 0.
    pub fn new(length: usize) -> Memory {
        assert!(length.is_multiple_of(64));
        let pages = length.next_multiple_of(PAGE);
        // SAFETY: maps pages at a free address, and protects two of them.
        unsafe {
            let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = libc::mmap(null_mut(), pages + 2 * PAGE, libc::PROT_NONE, kind, -1, 0);
            assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            let first = at as usize + PAGE;
            assert_eq!(libc::mprotect(first as *mut c_void, pages, libc::PROT_READ | libc::PROT_WRITE), 0);
            let before = pages - length;
            (first as *mut u8).write_bytes(CANARY, before);
            Memory { at: first + before, length, before }
        }
    }

    /// With a ring of this capacity.
    #[track_caller]
    pub fn ring(capacity: usize) -> Memory {
        let memory = Memory::new(shmkit_ring_size(capacity));
        memory.init();
        memory
    }

    #[track_caller]
    pub fn init(self) {
        // SAFETY: the memory is mapped.
        good(unsafe { shmkit_ring_init(self.start(), self.length, null()) });
    }

    /// Gives it back: nothing of it is in use.
    pub fn unmap(self) {
        let first = self.at - self.before - PAGE;
        // SAFETY: it was mapped so by `new`.
        assert_eq!(unsafe { libc::munmap(first as *mut c_void, self.before + self.length + 2 * PAGE) }, 0);
    }

    pub fn start(self) -> *mut c_void {
        self.at as *mut c_void
    }

    pub fn capacity(self) -> usize {
        self.length - DATA_AT
    }

    pub fn longest(self) -> usize {
        self.capacity() / 2 - 8
    }

    pub fn protect(self, protection: i32) {
        let first = self.at - self.before;
        // SAFETY: the pages are this test's.
        assert_eq!(unsafe { libc::mprotect(first as *mut c_void, self.before + self.length, protection) }, 0);
    }

    pub fn word(self, offset: usize) -> &'static AtomicU64 {
        assert!(offset + 8 <= self.length);
        // SAFETY: aligned, inside memory that stays mapped while the test uses it.
        unsafe { AtomicU64::from_ptr((self.at + offset) as *mut u64) }
    }

    pub fn half(self, offset: usize) -> &'static AtomicU32 {
        assert!(offset + 4 <= self.length);
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr((self.at + offset) as *mut u32) }
    }

    /// Nothing was written before its beginning.
    pub fn is_untouched(self) -> bool {
        // SAFETY: so many bytes are mapped before it.
        (1..=self.before).all(|back| unsafe { *((self.at - back) as *const u8) } == CANARY)
    }

    /// Every byte; others change them meanwhile, and any mixture will do.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        // SAFETY: so many are mapped.
        unsafe { libc::memcpy(bytes.as_mut_ptr().cast(), self.start(), self.length) };
        bytes
    }

    /// Whether they are these.
    pub fn is_as(self, bytes: &[u8]) -> bool {
        // SAFETY: as above.
        unsafe { libc::memcmp(bytes[..self.length].as_ptr().cast(), self.start(), self.length) == 0 }
    }

    pub fn stat(self) -> Result<shmkit_ring_stat_t, i32> {
        let mut stat = MaybeUninit::<shmkit_ring_stat_t>::uninit();
        // SAFETY: the memory is mapped, the place is writable; what is good has filled it.
        unsafe {
            match shmkit_ring_stat(self.start(), self.length, stat.as_mut_ptr()) {
                0 => Ok(stat.assume_init()),
                status => Err(status),
            }
        }
    }
}

/// One end of a ring, wherever it lies. In a forked child it is its parent's.
#[derive(Clone, Copy)]
pub struct At(pub *mut shmkit_ring_t);

/// One end, at an address of its own. Not detached by a drop.
pub struct End {
    at: At,
    _place: Box<UnsafeCell<MaybeUninit<shmkit_ring_t>>>,
}

impl Deref for End {
    type Target = At;

    fn deref(&self) -> &At {
        &self.at
    }
}

impl End {
    pub fn attach(memory: Memory, how: i32) -> Result<End, i32> {
        let place = Box::new(UnsafeCell::new(MaybeUninit::<shmkit_ring_t>::zeroed()));
        let at = At(place.get().cast());
        match at.attach(memory, how) {
            0 => Ok(End { at, _place: place }),
            status => Err(status),
        }
    }

    #[track_caller]
    pub fn producer(memory: Memory) -> End {
        End::attach(memory, PRODUCE).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }

    #[track_caller]
    pub fn consumer(memory: Memory) -> End {
        End::attach(memory, CONSUME).unwrap_or_else(|status| panic!("{status}: {}", message()))
    }
}

impl At {
    pub fn attach(self, memory: Memory, how: i32) -> i32 {
        // SAFETY: the place is writable, the memory is mapped.
        unsafe { shmkit_ring_attach(self.0, memory.start(), memory.length, null(), how) }
    }

    pub fn raw(&self) -> *mut shmkit_ring_t {
        self.0
    }

    #[track_caller]
    pub fn detach(&self) {
        // SAFETY: it was attached.
        good(unsafe { shmkit_ring_detach(self.raw()) });
    }

    pub fn write(&self, bytes: &[u8], timeout: u64) -> i32 {
        // SAFETY: it was attached, the bytes are readable.
        unsafe { shmkit_ring_write(self.raw(), bytes.as_ptr().cast(), bytes.len(), timeout) }
    }

    pub fn read(&self, timeout: u64) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0u8; 1 << 16];
        let mut size = 0;
        // SAFETY: it was attached, the buffer is writable.
        match unsafe { shmkit_ring_read(self.raw(), bytes.as_mut_ptr().cast(), bytes.len(), &mut size, timeout) } {
            0 => {
                bytes.truncate(size);
                Ok(bytes)
            }
            status => Err(status),
        }
    }

    pub fn reserve(&self, size: usize, timeout: u64) -> Result<*mut u8, i32> {
        let mut data = null_mut();
        // SAFETY: it was attached, the place is writable.
        match unsafe { shmkit_ring_reserve(self.raw(), size, &mut data, timeout) } {
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
        unsafe { shmkit_ring_commit(self.raw(), size) }
    }

    pub fn abort(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_ring_abort(self.raw()) }
    }

    pub fn close(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_ring_close(self.raw()) }
    }

    pub fn arm(&self) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_ring_arm(self.raw()) }
    }

    pub fn notify_fd(&self, fd: i32) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_ring_set_notify_fd(self.raw(), fd) }
    }

    /// Where the oldest message is, and a copy of it.
    pub fn peek(&self, timeout: u64) -> Result<(usize, Vec<u8>), i32> {
        let (mut data, mut size) = (null(), 0);
        // SAFETY: it was attached, the places are writable, and what is shown is readable.
        unsafe {
            match shmkit_ring_peek(self.raw(), &mut data, &mut size, timeout) {
                0 => Ok((data as usize, std::slice::from_raw_parts(data.cast::<u8>(), size).to_vec())),
                status => Err(status),
            }
        }
    }

    pub fn release(&self, count: usize) -> i32 {
        // SAFETY: it was attached.
        unsafe { shmkit_ring_release(self.raw(), count) }
    }

    pub fn write_batch(&self, messages: &[Vec<u8>], timeout: u64) -> Result<usize, i32> {
        let span = |bytes: &Vec<u8>| shmkit_span_t { data: bytes.as_ptr() as *mut c_void, size: bytes.len() };
        let spans: Vec<_> = messages.iter().map(span).collect();
        let mut done = 0;
        // SAFETY: it was attached, the spans lead to readable bytes.
        match unsafe { shmkit_ring_write_batch(self.raw(), spans.as_ptr(), spans.len(), &mut done, timeout) } {
            0 => Ok(done),
            status => Err(status),
        }
    }

    pub fn peek_batch(&self, count: usize, timeout: u64) -> Result<Vec<Vec<u8>>, i32> {
        let mut spans = vec![shmkit_span_t { data: null_mut(), size: 0 }; count];
        let mut found = 0;
        // SAFETY: it was attached, the spans are writable, and what is shown is readable.
        unsafe {
            match shmkit_ring_peek_batch(self.raw(), spans.as_mut_ptr(), count, &mut found, timeout) {
                0 => {
                    let copy = |span: &shmkit_span_t| {
                        std::slice::from_raw_parts(span.data.cast::<u8>().cast_const(), span.size).to_vec()
                    };
                    Ok(spans[..found].iter().map(copy).collect())
                }
                status => Err(status),
            }
        }
    }
}

pub fn is(result: i32, expected: Status) -> bool {
    result == expected as i32
}

/// Numbers that look random, the same in every run (splitmix64).
#[derive(Clone, Copy)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// Message `number`: the number, bytes that follow from it, and a sum over all that; `longest` bytes at most.
pub fn letter(number: u64, longest: usize) -> Vec<u8> {
    let mut random = Random(number ^ 0x5eed);
    let length = 16 + random.below(longest - 15);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.len() < length - 8 {
        bytes.push(random.next() as u8);
    }
    let sum = sum(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The number of a message, which must be whole.
#[track_caller]
pub fn opened(bytes: &[u8]) -> u64 {
    let (body, end) = bytes.split_last_chunk::<8>().expect("it is longer");
    assert_eq!(u64::from_le_bytes(*end), sum(body), "a message is torn");
    u64::from_le_bytes(*body.first_chunk().expect("it is longer"))
}
