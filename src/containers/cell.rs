//! The cell: the latest value, of any length up to a bound. One writes, and never waits for readers; any number read, never
//! wait for the writer, and never see half a value. The hot paths are `begin`, `publish` and `read`: no system call, no allocation, no
//! lock.
//!
//! | offset | bytes | what | who writes |
//! |---|---|---|---|
//! | 0 | 8 | stamp: "shmcell" and the format | the maker, last |
//! | 8 | 8 | bytes of the longest value | the maker |
//! | 16 | 8 | fingerprint of the value's layout, or 0 | the maker |
//! | 28 | 4 | the inode of the maker's pid namespace | the maker |
//! | 32 | 8 | who writes (`role.rs`) | who attaches to write |
//! | 64 | 8 | the number of the latest value; 0 before the first | the writer |
//! | 128 | 4 | event: there is a new value | sleepers |
//! | 192 | stride each | `SLOTS` slots: a sequence, the length, the bytes | the writer |
//!
//! Value n lies in slot n modulo `SLOTS`, with sequence 2n when it is whole and 2n - 1 while it is written. The writer never
//! touches the slot of the latest value; so it may die at any instruction, and readers go on. A reader copies the latest and
//! looks at its sequence again: only a writer that has written `SLOTS` more values meanwhile makes it copy once more.
//!
//! Why no torn value is taken for whole, on every architecture: bytes are copied in and out as relaxed atomic words. A copy
//! that has a word of value m behind value n reads a word that was stored after the release fence that follows the store
//! of sequence 2m - 1; the reader's acquire fence after the copy makes the second look at the sequence see 2m - 1 or later,
//! which differs. A copy that has an older word than the sequence 2n that it saw first cannot be: that load is an acquire
//! of the store that released the words. Modelled in `tests/cell_models.rs`. Next: `wait.rs`, for who waits for a newer one.

use super::layout::MOST_COPIES;
use super::memory::Memory;
use super::wait::{self, notify};
use crate::sync::futex::Futex;

/// "shmcell" and the version of this format.
pub const STAMP: u64 = u64::from_le_bytes(*b"shmcell\x01");
const STAMP_AT: usize = 0;
const LONGEST_AT: usize = 8;
const FINGERPRINT_AT: usize = 16;
/// The maker's namespace.
pub const SPACE_AT: usize = 28;
/// Who writes.
pub const WRITER_AT: usize = 32;
const LATEST_AT: usize = 64;
/// There is a new value.
pub const CHANGED_AT: usize = 128;
const SLOTS_AT: usize = 192;
/// How many values are kept: a reader has the time of so many less one to copy one.
pub const SLOTS: u64 = 4;
/// Before the bytes of a value.
const SLOT_HEAD: usize = 16;
/// The longest value that any cell has.
pub const MOST: u64 = 1 << 32;
/// So many values overtake a reader: then it gives up for this time.
const MOST_LOOKS: u32 = 1 << 20;
/// So often it finds the latest value not to be there: no writer leaves that, nor does the order in which its stores are seen.
const MOST_ABSENT: u32 = 1 << 10;
/// No cell comes to so many values: no sum of them is too large.
pub const MOST_VALUES: u64 = 1 << 62;

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing was written yet, or nothing newer.
    NotNow,
    /// It can never fit; or it does not fit into the reader's buffer.
    TooBig(u64),
    /// The writer came round in each of `MOST_COPIES` copies: the caller may look at the clock, and begin again.
    Overtaken,
    /// What stands in the memory cannot be.
    Corrupt,
}

fn stride(longest: u64) -> u64 {
    (longest.next_multiple_of(8) + SLOT_HEAD as u64).next_multiple_of(64)
}

/// Bytes of the whole.
pub fn size(longest: u64) -> u64 {
    SLOTS_AT as u64 + SLOTS * stride(longest)
}

/// Prepares memory that nobody uses yet. The stamp is written last.
pub fn make<M: Memory>(memory: M, longest: u64, fingerprint: u64, space: u32) {
    memory.put(STAMP_AT, 0);
    for at in (8..SLOTS_AT).step_by(8) {
        memory.put(at, 0);
    }
    memory.put(LONGEST_AT, longest);
    memory.put(FINGERPRINT_AT, fingerprint);
    memory.half(SPACE_AT).store(space);
    for slot in 0..SLOTS {
        memory.put(SLOTS_AT + (slot * stride(longest)) as usize, 0);
    }
    memory.store(STAMP_AT, STAMP);
}

/// Bytes of the longest value, and the fingerprint; `None` when the memory holds no cell.
pub fn read_head<M: Memory>(memory: M) -> Option<(u64, u64)> {
    (memory.load(STAMP_AT) == STAMP).then(|| (memory.peek(LONGEST_AT), memory.peek(FINGERPRINT_AT)))
}

/// The number of the latest value; 0 before the first.
#[inline(always)]
pub fn latest<M: Memory>(memory: M) -> u64 {
    memory.load(LATEST_AT)
}

fn slot(number: u64, longest: u64) -> usize {
    SLOTS_AT + (number % SLOTS * stride(longest)) as usize
}

/// Begins value `number`: where its bytes go.
#[inline(always)]
pub fn begin<M: Memory>(memory: M, longest: u64, number: u64) -> usize {
    let at = slot(number, longest);
    memory.put(at, 2 * number - 1);
    M::release_fence();
    at + SLOT_HEAD
}

/// Publishes value `number`, of so many bytes. Says whether somebody slept.
#[inline(always)]
pub fn publish<M: Memory>(memory: M, longest: u64, number: u64, length: u64) -> bool {
    let at = slot(number, longest);
    memory.put(at + 8, length);
    memory.store(at, 2 * number);
    memory.store(LATEST_AT, number);
    notify(memory, CHANGED_AT)
}

/// Copies the latest value where it is another one than `after`: its number and its length. `copy` is given where the bytes
/// are and how many, perhaps more than once; what it has copied at the end is whole.
#[inline(always)]
pub fn read<M: Memory>(
    memory: M,
    longest: u64,
    after: u64,
    room: u64,
    copy: &mut dyn FnMut(usize, u64),
) -> Result<(u64, u64), Refused> {
    let (mut last, mut absent, mut copies) = (0, 0, 0);
    for _ in 0..MOST_LOOKS {
        let number = latest(memory);
        if number == 0 || number == after {
            return Err(Refused::NotNow);
        }
        let at = slot(number, longest);
        let sequence = memory.load(at);
        if sequence != number.wrapping_mul(2) {
            absent = if number == last { absent + 1 } else { 0 };
            if absent == MOST_ABSENT {
                return Err(Refused::Corrupt);
            }
            last = number;
            M::Half::relax();
            continue;
        }
        let length = memory.peek(at + 8);
        if length <= longest.min(room) {
            copy(at + SLOT_HEAD, length);
        }
        M::acquire_fence();
        if memory.peek(at) == sequence {
            return match length {
                _ if length > longest => Err(Refused::Corrupt),
                _ if length > room => Err(Refused::TooBig(length)),
                _ => Ok((number, length)),
            };
        }
        copies += 1;
        if copies == MOST_COPIES {
            return Err(Refused::Overtaken);
        }
    }
    Err(Refused::Corrupt)
}

/// Waits until there is a value newer than `after`.
pub fn wait<M: Memory>(memory: M, after: u64, until: u64, alive: &mut dyn FnMut() -> bool) -> wait::Ended {
    wait::until(memory, CHANGED_AT, until, &mut || is_newer(memory, after), alive)
}

/// Whether the value is another one than that of this version.
pub fn is_newer<M: Memory>(memory: M, after: u64) -> bool {
    !matches!(latest(memory), 0) && latest(memory) != after
}
