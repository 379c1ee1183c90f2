//! What is known of a container from a copy of its first bytes: for those who look at an object that is not mapped, as
//! `shmkit show`. The cores read the copy as they read shared memory. Changes nothing, and never reaches beyond the copy.
//! Next: `ring.rs` and the others, for what is where.

use super::memory::Memory;
use super::role::{self, Judged};
use super::{broadcast, cell, members, queue, ring};
use crate::sync::futex::Futex;

/// So many bytes are enough for each of them.
pub const HEAD: usize = 1024;

const WORDS: usize = HEAD / 8;

/// What lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A ring.
    Ring {
        /// Bytes for messages.
        capacity: u64,
        /// What went through it.
        counts: ring::Counts,
        /// Who has the ends.
        producer: Judged,
        /// As above.
        consumer: Judged,
    },
    /// A queue.
    Queue {
        /// What it was made as.
        shape: queue::Shape,
        /// What went through it.
        counts: queue::Counts,
        /// The processes that were members last, by the number of their lease: an id in the process's own namespace.
        members: Vec<(u32, u32)>,
    },
    /// A broadcast.
    Broadcast {
        /// What it was made as.
        shape: broadcast::Shape,
        /// Messages written.
        written: u64,
        /// Lost with their writer.
        lost: u64,
        /// Nothing comes any more.
        closed: bool,
        /// As of a queue.
        members: Vec<(u32, u32)>,
    },
    /// A cell.
    Cell {
        /// Bytes of the longest value.
        longest: u64,
        /// The number of the latest.
        version: u64,
        /// Who writes.
        writer: Judged,
    },
    /// It has the stamp of one, and what follows cannot be.
    Corrupt(&'static str),
}

/// A copy of the first bytes, as the cores see memory. What lies behind it reads as 0.
#[derive(Clone, Copy)]
struct Still<'a>(&'a [u64; WORDS]);

/// Half a word of the copy.
#[derive(Clone, Copy)]
struct StillHalf(u32);

impl Memory for Still<'_> {
    type Half = StillHalf;

    fn peek(self, at: usize) -> u64 {
        self.0.get(at / 8).copied().unwrap_or(0)
    }

    fn load(self, at: usize) -> u64 {
        self.peek(at)
    }

    fn put(self, _: usize, _: u64) {}

    fn store(self, _: usize, _: u64) {}

    fn exchange(self, at: usize, _: u64, _: u64) -> Result<u64, u64> {
        Err(self.peek(at))
    }

    fn half(self, at: usize) -> StillHalf {
        StillHalf((self.peek(at & !7) >> (8 * (at & 4))) as u32)
    }

    fn release_fence() {}

    fn acquire_fence() {}

    fn light_fence() {}

    fn heavy_fence() -> bool {
        false
    }
}

/// Nothing changes a copy, and nobody sleeps on it.
impl Futex for StillHalf {
    const SPINS: u32 = 0;

    fn load(self) -> u32 {
        self.0
    }

    fn store(self, _: u32) {}

    fn exchange(self, _: u32, _: u32) -> Result<u32, u32> {
        Err(self.0)
    }

    fn swap(self, _: u32) -> u32 {
        self.0
    }

    fn and(self, _: u32) -> u32 {
        self.0
    }

    fn or(self, _: u32) -> u32 {
        self.0
    }

    fn add(self, _: u32) -> u32 {
        self.0
    }

    fn fence() {}

    fn wait(self, _: u32, _: u64) {}

    fn wake(self, _: u32) -> u32 {
        0
    }

    fn now() -> u64 {
        u64::MAX
    }

    fn relax() {}

    fn exists(_: u32) -> bool {
        false
    }
}

fn members_at(memory: Still<'_>, table_at: usize) -> Vec<(u32, u32)> {
    let entry = |number: u32| memory.peek(table_at + 8 * number as usize);
    let all = (0..members::MEMBERS).filter(|number| entry(*number) != 0);
    all.map(|number| (number, (entry(number) >> 26 & 0x3f_ffff) as u32)).collect()
}

/// What lies in memory of so many bytes that begins with these; `None` when it is none of the four.
pub fn at_head(bytes: &[u8; HEAD], length: u64) -> Option<Seen> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let memory = Still(&words);
    match memory.peek(0) {
        ring::STAMP => Some(ring_at(memory, length)),
        queue::STAMP => Some(match queue::read(memory).filter(|shape| shape.size() <= length) {
            Some(shape) => {
                let members = members_at(memory, queue::MEMBERS_AT);
                Seen::Queue { shape, counts: queue::counts(memory, &shape), members }
            }
            None => Seen::Corrupt("queue"),
        }),
        broadcast::STAMP => Some(match broadcast::read(memory).filter(|shape| shape.size() <= length) {
            Some(shape) => {
                let (written, lost, closed) = broadcast::counts(memory);
                let members = members_at(memory, broadcast::MEMBERS_AT);
                Seen::Broadcast { shape, written, lost, closed, members }
            }
            None => Seen::Corrupt("broadcast"),
        }),
        cell::STAMP => Some(cell_at(memory, length)),
        _ => None,
    }
}

fn ring_at(memory: Still<'_>, length: u64) -> Seen {
    let capacity = ring::read(memory).map_or(0, |(capacity, _)| capacity);
    let room = length.saturating_sub(ring::DATA_AT as u64);
    if !capacity.is_power_of_two() || capacity < ring::LEAST || capacity > room {
        return Seen::Corrupt("ring");
    }
    let counts = ring::counts(memory);
    Seen::Ring {
        capacity,
        // As in `ring_end.rs`: what peers wrote may be more.
        counts: ring::Counts { used: counts.used.min(capacity), ..counts },
        producer: role::judge(memory, ring::PRODUCER_AT, ring::SPACE_AT),
        consumer: role::judge(memory, ring::CONSUMER_AT, ring::SPACE_AT),
    }
}

fn cell_at(memory: Still<'_>, length: u64) -> Seen {
    let longest = cell::read_head(memory).map_or(0, |(longest, _)| longest);
    if longest == 0 || longest > cell::MOST || cell::size(longest) > length {
        return Seen::Corrupt("cell");
    }
    let writer = role::judge(memory, cell::WRITER_AT, cell::SPACE_AT);
    Seen::Cell { longest, version: cell::latest(memory), writer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(words: &[(usize, u64)]) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        for (at, word) in words {
            bytes[*at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert_eq!(at_head(&[0; HEAD], u64::MAX), None);
        for (words, kind) in [
            (&[(0, ring::STAMP), (8, 1 << 20)][..], "ring"),
            (&[(0, ring::STAMP), (8, 100)], "ring"),
            (&[(0, queue::STAMP)], "queue"),
            (&[(0, queue::STAMP), (8, 1 << 20), (16, 64), (24, 1 << 40)], "queue"),
            (&[(0, broadcast::STAMP), (8, 3), (16, 64)], "broadcast"),
            (&[(0, cell::STAMP), (8, u64::MAX)], "cell"),
            (&[(0, cell::STAMP), (8, 4000)], "cell"),
        ] {
            assert_eq!(at_head(&head(words), 8192), Some(Seen::Corrupt(kind)), "{words:?}");
        }
    }

    #[test]
    fn halves_are_halves() {
        let Some(Seen::Ring { capacity: 4096, counts, producer, .. }) =
            at_head(&head(&[(0, ring::STAMP), (8, 4096), (24, 1), (64, 32), (128, 16)]), 8192)
        else {
            panic!("it is a ring");
        };
        assert!(counts.closed && counts.used == 16 && producer == Judged::Free);
        let full = head(&[(0, ring::STAMP), (8, 4096), (64, 1 << 40)]);
        let Some(Seen::Ring { counts, .. }) = at_head(&full, 8192) else { panic!("it is a ring") };
        assert_eq!(counts.used, 4096, "no more than there is room for");
        let queue = head(&[
            (0, queue::STAMP),
            (8, 8),
            (16, 64),
            (24, 0x206 << 32),
            (64, 5 << 18),
            (128, 3 << 18),
            (328, 7 << 26),
        ]);
        let Some(Seen::Queue { shape, counts, members }) = at_head(&queue, 8192) else { panic!("it is a queue") };
        assert_eq!((shape.delivery, shape.overflow), (queue::Delivery::Once, queue::Overflow::Drop));
        assert_eq!((counts.sent, counts.taken, counts.depth), (5, 3, 2));
        assert_eq!((counts.closed, members), (false, vec![(1, 7)]));
    }
}
