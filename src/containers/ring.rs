//! The ring: one producer, one consumer, messages of any size up to half of it, each in one piece. The hot paths are the
//! first screen of each side: no system call, no allocation, no lock. What each side knows of the other it keeps in private
//! memory, and looks again only when that is used up.
//!
//! | offset | bytes | what | who writes |
//! |---|---|---|---|
//! | 0 | 8 | stamp: "shmring" and the format | the maker, last |
//! | 8 | 8 | capacity in bytes, a power of two | the maker |
//! | 16 | 8 | fingerprint of the messages' layout, or 0 | the maker |
//! | 24, 28 | 4, 4 | state: `CLOSED`; the inode of the maker's pid namespace | the producer; the maker |
//! | 32, 40 | 8, 8 | who produces, who consumes (`role.rs`) | who attaches |
//! | 64, 72, 80 | 8 each | tail; messages written; times that there was no room | the producer |
//! | 128, 136 | 8, 8 | head; messages read | the consumer |
//! | 192, 196 | 4, 4 | events: there is a message; there is room | sleepers |
//! | 256 | capacity | messages | the producer |
//!
//! Head and tail count bytes and never wrap; modulo the capacity they are places. A message is a word (length in its lower
//! half, `MESSAGE` in its upper) and its bytes, filled up to a multiple of eight. What does not fit before the end is put at
//! the beginning, and a word `PAD` fills the rest. A message becomes visible by one store of the tail, and is gone by one
//! store of the head: whoever dies before it has done nothing. Next: `wait.rs`, for those who wait.

use super::memory::Memory;
use super::wait::{self, notify};
use crate::sync::futex::Futex;

/// "shmring" and the version of this format.
pub const STAMP: u64 = u64::from_le_bytes(*b"shmring\x01");
/// Bytes before the messages.
pub const DATA_AT: usize = 256;
/// The smallest capacity.
pub const LEAST: u64 = 64;
/// The largest.
pub const MOST: u64 = 1 << 40;

const STAMP_AT: usize = 0;
const CAPACITY_AT: usize = 8;
const FINGERPRINT_AT: usize = 16;
const STATE_AT: usize = 24;
/// The maker's namespace.
pub const SPACE_AT: usize = 28;
/// Who produces.
pub const PRODUCER_AT: usize = 32;
/// Who consumes.
pub const CONSUMER_AT: usize = 40;
const TAIL_AT: usize = 64;
const WRITTEN_AT: usize = 72;
const REFUSED_AT: usize = 80;
const HEAD_AT: usize = 128;
const READ_AT: usize = 136;
/// There is a message.
pub const READABLE_AT: usize = 192;
/// There is room.
pub const WRITABLE_AT: usize = 196;

const MESSAGE: u64 = 0x7368_6d31 << 32;
const PAD: u64 = 0x7368_6d32 << 32;
const LENGTH: u64 = 0xffff_ffff;

/// Nothing comes any more.
const CLOSED: u32 = 1;

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No message, or no room.
    NotNow,
    /// No message, and none will come; or the producer has closed it.
    Closed,
    /// It can never fit.
    TooBig,
    /// What stands in the memory cannot be.
    Corrupt,
    /// There is nothing to commit or release, or it is less.
    NotReserved,
}

/// The bytes that a message takes: its word, and its own bytes filled up.
#[inline(always)]
fn taken(length: u64) -> u64 {
    (length + 8 + 7) & !7
}

/// The longest message of a ring.
#[inline(always)]
pub fn longest(capacity: u64) -> u64 {
    (capacity / 2 - 8).min(LENGTH)
}

/// Prepares memory that nobody uses yet. The stamp is written last.
pub fn make<M: Memory>(memory: M, capacity: u64, fingerprint: u64, space: u32) {
    memory.put(STAMP_AT, 0);
    for at in (8..DATA_AT).step_by(8) {
        memory.put(at, 0);
    }
    memory.put(CAPACITY_AT, capacity);
    memory.put(FINGERPRINT_AT, fingerprint);
    memory.half(SPACE_AT).store(space);
    memory.store(STAMP_AT, STAMP);
}

/// Capacity and fingerprint; `None` when the memory holds no ring.
pub fn read<M: Memory>(memory: M) -> Option<(u64, u64)> {
    (memory.load(STAMP_AT) == STAMP).then(|| (memory.peek(CAPACITY_AT), memory.peek(FINGERPRINT_AT)))
}

/// What can be seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that are taken.
    pub used: u64,
    /// Messages written in all.
    pub written: u64,
    /// Messages read in all.
    pub read: u64,
    /// Times that there was no room for one.
    pub refused: u64,
    /// The producer has closed it.
    pub closed: bool,
}

/// The counts now, without a stop of either side.
pub fn counts<M: Memory>(memory: M) -> Counts {
    // The head first: it can only be behind.
    let (head, read) = (memory.load(HEAD_AT), memory.peek(READ_AT));
    Counts {
        used: memory.load(TAIL_AT).saturating_sub(head),
        written: memory.peek(WRITTEN_AT),
        read,
        refused: memory.peek(REFUSED_AT),
        closed: is_closed(memory),
    }
}

fn is_closed<M: Memory>(memory: M) -> bool {
    memory.half(STATE_AT).load() & CLOSED != 0
}

/// Whether head and tail can be those of a ring: whole words, not more than there is room for, and less than a ring comes
/// to in a lifetime, so that no sum of them is too large.
fn fits(head: u64, tail: u64, capacity: u64) -> bool {
    (head | tail).is_multiple_of(8) && head <= tail && tail - head <= capacity && tail < 1 << 63
}

/// The writing side, in private memory.
pub struct Producer<M> {
    memory: M,
    capacity: u64,
    tail: u64,
    /// As it was seen last.
    head: u64,
    written: u64,
    refused: u64,
    /// Where the message ends that is reserved, as if nothing filled the end before it. When none is, before the tail, as after
    /// each commit: one store less for the hot path, which another process's cache waits for.
    reserved: u64,
    /// It was closed, by this one or by one before: nothing is written any more, and `head` says that there is no room.
    closed: bool,
}

impl<M: Memory> Producer<M> {
    /// Goes on where the last one stopped: what it had reserved is forgotten.
    pub fn new(memory: M, capacity: u64) -> Result<Producer<M>, Refused> {
        let (head, tail) = (memory.load(HEAD_AT), memory.load(TAIL_AT));
        if !fits(head, tail, capacity) {
            return Err(Refused::Corrupt);
        }
        let (written, refused) = (memory.peek(WRITTEN_AT), memory.peek(REFUSED_AT));
        let (reserved, closed) = (tail.wrapping_sub(1), is_closed(memory));
        let mut producer = Producer { memory, capacity, tail, head, written, refused, reserved, closed };
        if closed {
            producer.shut();
        }
        Ok(producer)
    }

    /// As `reserve`, in the room that is known of, and before the end.
    #[inline(always)]
    pub fn reserve_near(&mut self, length: u64) -> Option<usize> {
        let place = self.tail & (self.capacity - 1);
        let room = (self.capacity - place).min(self.capacity - self.tail.wrapping_sub(self.head));
        if length > longest(self.capacity) || taken(length) > room {
            return None;
        }
        self.reserved = self.tail + length;
        Some(DATA_AT + place as usize + 8)
    }

    /// Room for a message: where its bytes go. A reservation before this one is forgotten.
    pub fn reserve(&mut self, length: u64) -> Result<usize, Refused> {
        let skip = self.fit(length)?;
        self.reserved = self.tail + length;
        Ok(DATA_AT + (self.place(skip) + 8) as usize)
    }

    /// Whether there is room; the bytes to skip before the message.
    fn fit(&mut self, length: u64) -> Result<u64, Refused> {
        if length > longest(self.capacity) {
            return Err(Refused::TooBig);
        }
        let skip = self.skip(length);
        if skip + taken(length) > self.capacity - self.tail.wrapping_sub(self.head) {
            self.look(skip + taken(length))?;
        }
        Ok(skip)
    }

    /// Bytes to the end, if a message does not fit before it.
    #[inline(always)]
    fn skip(&self, length: u64) -> u64 {
        let before_end = self.capacity - (self.tail & (self.capacity - 1));
        if taken(length) > before_end { before_end } else { 0 }
    }

    /// The place of so many bytes behind the tail.
    #[inline(always)]
    fn place(&self, behind: u64) -> u64 {
        (self.tail + behind) & (self.capacity - 1)
    }

    /// As `commit`, of what was reserved before the end. Says whether somebody may sleep, who is for the caller to wake.
    #[inline(always)]
    pub fn commit_near(&mut self, length: u64) -> Option<bool> {
        let (memory, reserved) = (self.memory, self.reserved()?);
        let at = DATA_AT + self.place(0) as usize;
        if length > reserved || self.skip(reserved) > 0 || !memory.holds(at, 8) || !memory.holds(0, DATA_AT) {
            return None;
        }
        memory.put(at, MESSAGE | length);
        Self::show(memory, self.advance(taken(length)));
        Some(wait::is_awaited(memory, READABLE_AT))
    }

    /// Publishes the first `length` bytes of what was reserved. Says whether somebody slept.
    pub fn commit(&mut self, length: u64) -> Result<bool, Refused> {
        self.stage(length)?;
        Ok(self.publish())
    }

    /// The length of what is reserved.
    #[inline(always)]
    fn reserved(&self) -> Option<u64> {
        let length = self.reserved.wrapping_sub(self.tail);
        (length <= LENGTH).then_some(length)
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) -> (u64, u64) {
        let (tail, written) = (self.tail + bytes, self.written.wrapping_add(1));
        (self.tail, self.written) = (tail, written);
        // Much shorter than what was reserved: the end of that is not before the tail yet.
        if self.reserved().is_some() {
            self.abort();
        }
        (tail, written)
    }

    #[inline(always)]
    fn show(memory: M, (tail, written): (u64, u64)) {
        memory.put(WRITTEN_AT, written);
        memory.store(TAIL_AT, tail);
    }

    /// As `commit`, for the next `publish`.
    pub fn stage(&mut self, length: u64) -> Result<(), Refused> {
        let reserved = self.reserved().filter(|reserved| length <= *reserved).ok_or(Refused::NotReserved)?;
        let skip = self.skip(reserved);
        if skip > 0 {
            self.memory.put(DATA_AT + self.place(0) as usize, PAD | (skip - 8));
        }
        self.memory.put(DATA_AT + self.place(skip) as usize, MESSAGE | length);
        self.advance(skip + taken(length));
        Ok(())
    }

    /// Makes all that was staged visible, by one store. Says whether somebody slept.
    pub fn publish(&mut self) -> bool {
        Self::show(self.memory, (self.tail, self.written));
        notify(self.memory, READABLE_AT)
    }

    /// Forgets what was reserved.
    pub fn abort(&mut self) {
        self.reserved = self.tail.wrapping_sub(1);
    }

    /// Looks how far the consumer has come.
    #[cold]
    fn look(&mut self, needed: u64) -> Result<(), Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        let head = self.memory.load(HEAD_AT);
        if !fits(head, self.tail, self.capacity) {
            return Err(Refused::Corrupt);
        }
        self.head = head;
        if needed <= self.capacity - (self.tail - head) { Ok(()) } else { Err(Refused::NotNow) }
    }

    /// Counts a message for which there was no room, for those who look from outside.
    pub fn count_refused(&mut self) {
        self.refused = self.refused.wrapping_add(1);
        self.memory.put(REFUSED_AT, self.refused);
    }

    /// Whoever writes must look first, and finds it closed: the hot path asks for room alone.
    fn shut(&mut self) {
        self.closed = true;
        self.head = self.tail.wrapping_sub(self.capacity);
        self.abort();
    }

    /// Says that nothing comes any more, and sees to it. Says whether somebody slept.
    pub fn close(&mut self) -> bool {
        self.shut();
        self.memory.half(STATE_AT).or(CLOSED);
        notify(self.memory, READABLE_AT)
    }

    /// Waits until there is room for a message of this length.
    pub fn wait(&mut self, length: u64, until: u64, alive: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, WRITABLE_AT, until, &mut || self.has_room(length), alive)
    }

    /// Whether a message of this length is not to be waited for.
    pub fn has_room(&mut self, length: u64) -> bool {
        self.fit(length) != Err(Refused::NotNow)
    }
}

/// The reading side, in private memory.
pub struct Consumer<M> {
    memory: M,
    capacity: u64,
    head: u64,
    /// As it was seen last.
    tail: u64,
    read: u64,
    /// How many messages were shown last, and the position after the first of them.
    shown: u64,
    after: u64,
}

impl<M: Memory> Consumer<M> {
    /// Goes on where the last one stopped: what it had not released comes again.
    pub fn new(memory: M, capacity: u64) -> Result<Consumer<M>, Refused> {
        let (head, tail) = (memory.load(HEAD_AT), memory.load(TAIL_AT));
        if !fits(head, tail, capacity) {
            return Err(Refused::Corrupt);
        }
        Ok(Consumer { memory, capacity, head, tail, read: memory.peek(READ_AT), shown: 0, after: head })
    }

    /// As `peek`, of what was published by the last look.
    #[inline(always)]
    pub fn peek_near(&mut self) -> Option<(usize, u64)> {
        let (at, length, after) = if self.head == self.tail { None } else { self.message_near(self.head) }?;
        (self.shown, self.after) = (1, after);
        Some((at, length))
    }

    /// The oldest message: where its bytes are, and how many. The same one until it is released.
    pub fn peek(&mut self) -> Result<(usize, u64), Refused> {
        if self.head == self.tail {
            self.look()?;
        }
        let (at, length, after) = self.message(self.head)?;
        (self.shown, self.after) = (1, after);
        Ok((at, length))
    }

    /// The message at a position before the tail, if it begins there: where its bytes are, how many, and the position after
    /// it.
    #[inline(always)]
    fn message_near(&self, position: u64) -> Option<(usize, u64, u64)> {
        let place = position & (self.capacity - 1);
        if !self.memory.holds(DATA_AT + place as usize, 8) {
            return None;
        }
        let word = self.memory.peek(DATA_AT + place as usize);
        let length = word & LENGTH;
        // Within what was published, before the end, and no longer than the longest: whatever the producer wrote there.
        let most = (self.tail - position).min(self.capacity - place).min(self.capacity / 2);
        (word & !LENGTH == MESSAGE && taken(length) <= most)
            .then(|| (DATA_AT + place as usize + 8, length, position + taken(length)))
    }

    /// The same, or the one behind the bytes that fill the end.
    fn message(&self, position: u64) -> Result<(usize, u64, u64), Refused> {
        if let Some(found) = self.message_near(position) {
            return Ok(found);
        }
        let place = position & (self.capacity - 1);
        let (rest, word) = (self.capacity - place, self.memory.peek(DATA_AT + place as usize));
        // A message follows them at place 0.
        if place == 0 || word != PAD | (rest - 8) || rest >= self.tail - position {
            return Err(Refused::Corrupt);
        }
        self.message_near(position + rest).ok_or(Refused::Corrupt)
    }

    /// Shows up to `count` messages from the oldest on, as far as they were published by the last look.
    pub fn each(&mut self, count: usize, show: &mut dyn FnMut(usize, u64)) {
        let mut position = self.head;
        self.shown = 0;
        while self.shown < count as u64
            && position != self.tail
            && let Ok((at, length, after)) = self.message(position)
        {
            show(at, length);
            self.shown += 1;
            position = after;
            if self.shown == 1 {
                self.after = after;
            }
        }
    }

    /// Gives the oldest `count` messages of those that were shown last back to the producer, by one store. Says whether
    /// somebody slept.
    pub fn release(&mut self, count: usize) -> Result<bool, Refused> {
        if count as u64 > self.shown || count == 0 {
            return Err(Refused::NotReserved);
        }
        let mut after = self.after;
        for _ in 1..count {
            after = self.message(after)?.2;
        }
        self.give_back(self.memory, count as u64, after);
        Ok(notify(self.memory, WRITABLE_AT))
    }

    /// As `release`, of the first of those that were shown. Says whether somebody may sleep, who is for the caller to wake.
    #[inline(always)]
    pub fn release_near(&mut self) -> Option<bool> {
        let memory = self.memory;
        if self.shown == 0 || !memory.holds(0, DATA_AT) {
            return None;
        }
        self.give_back(memory, 1, self.after);
        Some(wait::is_awaited(memory, WRITABLE_AT))
    }

    #[inline(always)]
    fn give_back(&mut self, memory: M, count: u64, after: u64) {
        let read = self.read.wrapping_add(count);
        (self.head, self.read, self.shown) = (after, read, 0);
        memory.put(READ_AT, read);
        memory.store(HEAD_AT, after);
    }

    /// Looks whether something came.
    #[inline(always)]
    fn look(&mut self) -> Result<(), Refused> {
        // Before the tail: what was published before the ring was closed is seen with it.
        let closed = is_closed(self.memory);
        let tail = self.memory.load(TAIL_AT);
        if !fits(self.head, tail, self.capacity) {
            return Err(Refused::Corrupt);
        }
        self.tail = tail;
        match (tail == self.head, closed) {
            (false, _) => Ok(()),
            (true, true) => Err(Refused::Closed),
            (true, false) => Err(Refused::NotNow),
        }
    }

    /// Waits until there is a message, or none will come.
    pub fn wait(&mut self, until: u64, alive: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, READABLE_AT, until, &mut || self.has_message(), alive)
    }

    /// Whether more messages were published by the last look than the one that was shown.
    #[inline(always)]
    pub fn has_more(&self) -> bool {
        self.after != self.tail
    }

    /// Whether a message is not to be waited for.
    #[inline(always)]
    pub fn has_message(&mut self) -> bool {
        self.head != self.tail || self.look() != Err(Refused::NotNow)
    }
}
