//! The queue: many producers, many consumers, a number of cells, a message in each. Who claims or takes a message moves a
//! position on, by one exchange of a word that names it: so the dead leave nothing of which nobody knows. The hot paths are
//! `claim_near`, `commit_near`, `take_near`, `release_near`: no system call, no allocation, no lock; one exchange for each
//! message and side.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | stamp: "shmqueue", written last |
//! | 8, 16 | 8, 8 | cells, a power of two; bytes from one cell to the next |
//! | 24, 28 | 4, 4 | state: `CLOSED`; format and policies |
//! | 32 | 8 | fingerprint of the messages' layout, or 0 |
//! | 64 | 8 | tail: the position that is claimed next, and who claimed the one before |
//! | 128 | 8 | head: the position that is taken next, and who took the one before |
//! | 192, 196 | 4, 4 | events: there is a message; there is room |
//! | 256, 264, 272 | 8 each | dropped for want of room; lost with their producer or consumer; given again |
//! | `MEMBERS_AT` | 8 each | who has the lease of this number: an epoch, and its identity |
//! | `CELLS_AT` | stride each | cells: a word, the length, the bytes |
//!
//! A position counts up; modulo the cells it is a cell. The tail, the head, and the word of each cell:
//!
//! | bits | meaning |
//! |---|---|
//! | 18 to 63 | a position; that of a cell is the one that it serves |
//! | 16, 17 | of a cell, its state: `FREE`, `WRITING`, `FULL`, `TAKEN` |
//! | 0 to 15 | whose |
//!
//! Where the cell of the tail is `FREE`, a producer moves the tail on in its own name: the cell is its own. It writes, and
//! stores `FULL`. Where the cell of the head is `FULL`, a consumer moves the head on in its own name. It reads, and stores
//! `FREE` for the position a lap later. So between an exchange and the store that follows only the tail, or the head, knows
//! whose the cell is, and only until it is moved on: whoever moves it on sees to it first that the cell says so itself
//! (`WRITING` or `TAKEN`, `mark`), unless that one is itself, which is done with it. Marks come by exchange, from exactly what
//! the claim found: so they never undo what its owner has stored since, and its owner need not know of them.
//!
//! A cell that serves a later position than the head's is one that was given up: what a dead producer was writing, or what was
//! aborted; it is passed by, in nobody's name. A dead consumer's message is another one's, or is given up, by policy.
//! Positions are counted modulo 2^46: an exchange that slept while so many went by, which takes weeks, could take the new one
//! for the old. Next: `queue_end.rs`, for who is dead.

use super::members::MEMBERS;
use super::memory::Memory;
use super::wait::{self, notify};
use crate::sync::futex::Futex;

/// "shmqueue".
pub const STAMP: u64 = u64::from_le_bytes(*b"shmqueue");
const FORMAT: u32 = 2;

const STAMP_AT: usize = 0;
const CELLS_NUMBER_AT: usize = 8;
const STRIDE_AT: usize = 16;
const STATE_AT: usize = 24;
const POLICY_AT: usize = 28;
const FINGERPRINT_AT: usize = 32;
const TAIL_AT: usize = 64;
const HEAD_AT: usize = 128;
/// There is a message.
pub const READABLE_AT: usize = 192;
/// There is room.
pub const WRITABLE_AT: usize = 196;
const DROPPED_AT: usize = 256;
const LOST_AT: usize = 264;
const AGAIN_AT: usize = 272;
/// Who has which lease.
pub const MEMBERS_AT: usize = 320;
const CELLS_AT: usize = MEMBERS_AT + 8 * MEMBERS as usize;
/// Before the bytes of a message.
const CELL_HEAD: usize = 16;

/// The most cells, and the longest message.
pub const MOST_CELLS: u64 = 1 << 24;
/// As said.
pub const LONGEST: u64 = 1 << 30;

/// Nothing comes any more.
const CLOSED: u32 = 1;

const FREE: u64 = 0;
const WRITING: u64 = 1;
const FULL: u64 = 2;
const TAKEN: u64 = 3;
/// Looks at one position after another before the memory counts as corrupt, beside those that were given up in two laps.
const MOST_LOOKS: u64 = 1 << 20;
/// Of whom a cell is.
pub const OWNER: u32 = 0xffff;
/// An owner that is nobody, and counts as dead.
pub const NOBODY: u32 = 0xffff;
const OWNER_BITS: u32 = 16;
const POSITION_SHIFT: u32 = 18;

/// What becomes of a message whose consumer died before it had released it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Another consumer gets it: at least once.
    Again,
    /// Nobody: at most once.
    Once,
}

/// What becomes of a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The call waits, as long as it may.
    Block,
    /// The call refuses it at once.
    Refuse,
    /// It is dropped, and counted.
    Drop,
}

/// What a queue is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Cells, a power of two.
    pub cells: u64,
    /// Bytes from one cell to the next.
    pub stride: u64,
    /// Of the messages' layout, or 0.
    pub fingerprint: u64,
    /// For a dead consumer's message.
    pub delivery: Delivery,
    /// For a message too many.
    pub overflow: Overflow,
}

impl Shape {
    /// Cells of whole cache lines, so that neighbours disturb each other not.
    pub fn stride_for(longest: u64) -> u64 {
        (longest + CELL_HEAD as u64).next_multiple_of(64)
    }

    /// The longest message.
    pub fn longest(&self) -> u64 {
        self.stride - CELL_HEAD as u64
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        CELLS_AT as u64 + self.cells * self.stride
    }

    /// Whether numbers that somebody wrote can be those of a queue.
    fn is_possible(&self) -> bool {
        self.cells.is_power_of_two()
            && self.cells <= MOST_CELLS
            && self.stride.is_multiple_of(64)
            && self.stride >= 64
            && self.stride <= Shape::stride_for(LONGEST)
    }
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No message, or no room.
    NotNow,
    /// Somebody is in the midst of the message that is next.
    Busy(u32),
    /// No message, and none will come; or nothing is taken any more.
    Closed,
    /// It can never fit.
    TooBig,
    /// What stands in the memory cannot be.
    Corrupt,
    /// There is nothing to commit or release.
    NotOwn,
    /// One is reserved, or taken, here already.
    InHand,
}

/// Of a position only what has room is kept.
fn word(position: u64, state: u64, owner: u32) -> u64 {
    position << POSITION_SHIFT | state << OWNER_BITS | u64::from(owner)
}

/// A tail or head at a position, moved there by somebody.
fn moved_to(position: u64, owner: u32) -> u64 {
    word(position, 0, owner)
}

fn position(word: u64) -> u64 {
    word >> POSITION_SHIFT
}

fn state(word: u64) -> u64 {
    word >> OWNER_BITS & 3
}

fn owner(word: u64) -> u32 {
    word as u32 & OWNER
}

/// How many positions a word is ahead of another one.
fn ahead(word: u64, of: u64) -> i64 {
    (word >> POSITION_SHIFT << POSITION_SHIFT).wrapping_sub(of >> POSITION_SHIFT << POSITION_SHIFT) as i64
        >> POSITION_SHIFT
}

/// Prepares memory that nobody uses yet. The stamp is written last.
pub fn make<M: Memory>(memory: M, shape: &Shape) {
    memory.put(STAMP_AT, 0);
    for at in (8..CELLS_AT).step_by(8) {
        memory.put(at, 0);
    }
    memory.put(CELLS_NUMBER_AT, shape.cells);
    memory.put(STRIDE_AT, shape.stride);
    memory.put(FINGERPRINT_AT, shape.fingerprint);
    let overflow = match shape.overflow {
        Overflow::Block => 0,
        Overflow::Refuse => 1,
        Overflow::Drop => 2,
    };
    let delivery = if shape.delivery == Delivery::Once { 4 } else { 0 };
    memory.half(POLICY_AT).store(FORMAT << 8 | delivery | overflow);
    for cell in 0..shape.cells {
        memory.put(CELLS_AT + (cell * shape.stride) as usize, word(cell, FREE, 0));
    }
    memory.put(TAIL_AT, moved_to(0, NOBODY));
    memory.put(HEAD_AT, moved_to(0, NOBODY));
    memory.store(STAMP_AT, STAMP);
}

/// What the head says: `None` when the memory holds no queue, or one that cannot be.
pub fn read<M: Memory>(memory: M) -> Option<Shape> {
    if memory.load(STAMP_AT) != STAMP {
        return None;
    }
    let policy = memory.half(POLICY_AT).load();
    let shape = Shape {
        cells: memory.peek(CELLS_NUMBER_AT),
        stride: memory.peek(STRIDE_AT),
        fingerprint: memory.peek(FINGERPRINT_AT),
        delivery: if policy & 4 != 0 { Delivery::Once } else { Delivery::Again },
        overflow: match policy & 3 {
            0 => Overflow::Block,
            1 => Overflow::Refuse,
            _ => Overflow::Drop,
        },
    };
    (shape.is_possible() && policy >> 8 == FORMAT).then_some(shape)
}

/// What can be seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that are in it, those included that are being written.
    pub depth: u64,
    /// Messages claimed in all.
    pub sent: u64,
    /// Messages taken in all.
    pub taken: u64,
    /// Dropped for want of room.
    pub dropped: u64,
    /// Lost with a producer, or with a consumer.
    pub lost: u64,
    /// Given to another consumer.
    pub again: u64,
    /// Nothing comes any more.
    pub closed: bool,
}

/// The counts now, without a stop of anybody.
pub fn counts<M: Memory>(memory: M, shape: &Shape) -> Counts {
    let head = memory.load(HEAD_AT);
    let tail = memory.load(TAIL_AT);
    Counts {
        depth: (ahead(tail, head).max(0) as u64).min(shape.cells),
        sent: position(tail),
        taken: position(head),
        dropped: memory.peek(DROPPED_AT),
        lost: memory.peek(LOST_AT),
        again: memory.peek(AGAIN_AT),
        closed: memory.half(STATE_AT).load() & CLOSED != 0,
    }
}

fn add<M: Memory>(memory: M, at: usize) {
    let mut seen = memory.peek(at);
    while let Err(now) = memory.exchange(at, seen, seen.wrapping_add(1)) {
        seen = now;
    }
}

/// A queue as one member sees it, in private memory.
pub struct Queue<M> {
    memory: M,
    shape: Shape,
    /// This member.
    me: u32,
    /// The tail and the head as this member moved them last: who finds them so is done with the cell before.
    claimed: u64,
    had: u64,
    /// The cells that it writes and reads now, for the position before `claimed` and `had`; 0 for none.
    writes: usize,
    reads: usize,
    /// Bytes of the message that it reads.
    length: u64,
    /// A message that cannot be was given up, and nobody is told yet.
    spoilt: bool,
}

impl<M: Memory> Queue<M> {
    /// For a member of this number (see `OWNER`).
    pub fn new(memory: M, shape: Shape, me: u32) -> Queue<M> {
        // Nobody's: the cell before is looked at.
        let nobodys = moved_to(0, NOBODY);
        Queue { memory, shape, me, claimed: nobodys, had: nobodys, writes: 0, reads: 0, length: 0, spoilt: false }
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> usize {
        CELLS_AT + ((position & (self.shape.cells - 1)) * self.shape.stride) as usize
    }

    /// As `claim`, where this member claimed the one before.
    #[inline(always)]
    pub fn claim_near(&mut self) -> Option<usize> {
        let memory = self.memory;
        if self.writes != 0 || !memory.holds(0, CELLS_AT) || self.is_closed() {
            return None;
        }
        let tail = memory.load(TAIL_AT);
        let at = self.cell(position(tail));
        if tail != self.claimed || !memory.holds(at, CELL_HEAD) || memory.load(at) != word(position(tail), FREE, 0) {
            return None;
        }
        if self.claim_it(tail, at) { Some(at + CELL_HEAD) } else { None }
    }

    /// As `commit`. Says whether somebody may sleep, who is for the caller to wake.
    #[inline(always)]
    pub fn commit_near(&mut self, length: u64) -> Option<bool> {
        let (memory, at) = (self.memory, self.writes);
        if at == 0 || length > self.shape.longest() || !memory.holds(at, CELL_HEAD) || !memory.holds(0, CELLS_AT) {
            return None;
        }
        self.publish(length);
        Some(wait::is_awaited(memory, READABLE_AT))
    }

    /// As `take`, where this member took the one before.
    #[inline(always)]
    pub fn take_near(&mut self) -> Option<(usize, u64)> {
        let memory = self.memory;
        if self.reads != 0 || !memory.holds(0, CELLS_AT) {
            return None;
        }
        let head = memory.load(HEAD_AT);
        let at = self.cell(position(head));
        if head != self.had || !memory.holds(at, CELL_HEAD) || memory.load(at) != word(position(head), FULL, 0) {
            return None;
        }
        let length = memory.peek(at + 8);
        if length > self.shape.longest() || !self.take_it(head, at) {
            return None;
        }
        self.length = length;
        Some((at + CELL_HEAD, length))
    }

    /// As `release`. Says whether somebody may sleep, who is for the caller to wake.
    #[inline(always)]
    pub fn release_near(&mut self) -> Option<bool> {
        let memory = self.memory;
        if self.reads == 0 || !memory.holds(self.reads, CELL_HEAD) || !memory.holds(0, CELLS_AT) {
            return None;
        }
        self.free_read();
        Some(wait::is_awaited(memory, WRITABLE_AT))
    }

    /// Moves the tail on, whose cell is free and the one before known of. False when another one did, or it was closed.
    #[inline(always)]
    fn claim_it(&mut self, tail: u64, at: usize) -> bool {
        let moved = moved_to(position(tail).wrapping_add(1), self.me);
        if self.memory.exchange(TAIL_AT, tail, moved).is_err() {
            return false;
        }
        (self.claimed, self.writes) = (moved, at);
        // Who closed it meanwhile may have told a consumer already that nothing comes: see `nothing`.
        M::light_fence();
        !self.is_closed() || self.too_late()
    }

    /// Moves the head on, whose cell is full and the one before known of. False when another one did.
    #[inline(always)]
    fn take_it(&mut self, head: u64, at: usize) -> bool {
        let moved = moved_to(position(head).wrapping_add(1), self.me);
        if self.memory.exchange(HEAD_AT, head, moved).is_err() {
            return false;
        }
        (self.had, self.reads) = (moved, at);
        true
    }

    #[inline(always)]
    fn publish(&mut self, length: u64) {
        let at = core::mem::take(&mut self.writes);
        self.memory.put(at + 8, length);
        self.memory.settle(at, word(before(self.claimed), FULL, 0));
    }

    /// Claims the next cell: where the bytes of a message go.
    pub fn claim(&mut self) -> Result<usize, Refused> {
        if self.writes != 0 {
            return Err(Refused::InHand);
        }
        for _ in 0..MOST_LOOKS + 2 * self.shape.cells {
            if self.is_closed() {
                return Err(Refused::Closed);
            }
            let tail = self.memory.load(TAIL_AT);
            let at = self.cell(position(tail));
            let seen = self.memory.load(at);
            if seen == word(position(tail), FREE, 0) {
                if tail != self.claimed {
                    self.mark_claimed(tail);
                }
                if self.claim_it(tail, at) {
                    return Ok(at + CELL_HEAD);
                }
            } else if self.memory.load(TAIL_AT) == tail {
                return Err(self.full(tail, seen));
            }
        }
        Err(Refused::Corrupt)
    }

    /// Publishes what was claimed, as a message of so many bytes. Says whether somebody slept.
    pub fn commit(&mut self, length: u64) -> Result<bool, Refused> {
        if length > self.shape.longest() {
            return Err(Refused::TooBig);
        }
        if self.writes == 0 {
            return Err(Refused::NotOwn);
        }
        self.publish(length);
        Ok(notify(self.memory, READABLE_AT))
    }

    /// Takes the oldest message: where its bytes are, and how many.
    pub fn take(&mut self) -> Result<(usize, u64), Refused> {
        if self.reads != 0 {
            return Err(Refused::InHand);
        }
        for _ in 0..MOST_LOOKS + 2 * self.shape.cells {
            let head = self.memory.load(HEAD_AT);
            let at = self.cell(position(head));
            let seen = self.memory.load(at);
            if seen == word(position(head), FULL, 0) {
                if head != self.had {
                    self.mark_taken(head);
                }
                if self.take_it(head, at) {
                    return self.show();
                }
            } else if let Some(refused) = self.not_full(head, seen) {
                return Err(refused);
            }
        }
        Err(Refused::Corrupt)
    }

    /// The message that was taken.
    fn show(&mut self) -> Result<(usize, u64), Refused> {
        let length = self.memory.peek(self.reads + 8);
        if length > self.shape.longest() {
            return Err(self.unreadable());
        }
        self.length = length;
        Ok((self.reads + CELL_HEAD, length))
    }

    /// Gives back the cell of the message that was taken. Says whether somebody slept.
    pub fn release(&mut self) -> Result<bool, Refused> {
        if self.reads == 0 {
            return Err(Refused::NotOwn);
        }
        self.free_read();
        Ok(notify(self.memory, WRITABLE_AT))
    }

    #[inline(always)]
    fn free_read(&mut self) {
        let at = core::mem::take(&mut self.reads);
        self.memory.settle(at, self.freed(before(self.had)));
    }

    /// The word of a cell that is free again, for who comes a lap after this position.
    #[inline(always)]
    fn freed(&self, position: u64) -> u64 {
        word(position.wrapping_add(self.shape.cells), FREE, 0)
    }

    #[inline(always)]
    fn is_closed(&self) -> bool {
        self.memory.half(STATE_AT).load() & CLOSED != 0
    }

    /// Sees to it that the cell before this tail says whose it is, if nobody has written it yet. The tail may be an old one.
    #[cold]
    #[inline(never)]
    fn mark_claimed(&self, tail: u64) {
        self.mark(before(tail), FREE, WRITING, owner(tail));
    }

    /// The same for the cell before this head, if nobody has given it back.
    #[cold]
    #[inline(never)]
    fn mark_taken(&self, head: u64) {
        self.mark(before(head), FULL, TAKEN, owner(head));
    }

    fn mark(&self, position: u64, from: u64, to: u64, owner: u32) {
        let (at, found) = (self.cell(position), word(position, from, 0));
        if self.memory.load(at) == found {
            let _ = self.memory.exchange(at, found, word(position, to, owner));
        }
    }

    /// What was claimed just now is given up.
    #[cold]
    #[inline(never)]
    fn too_late(&mut self) -> bool {
        let _ = self.abort();
        false
    }

    /// Why the cell of the tail is not free: it serves the position of a lap before.
    #[cold]
    fn full(&self, tail: u64, seen: u64) -> Refused {
        let before_it = position(tail).wrapping_sub(self.shape.cells);
        if ahead(seen, moved_to(before_it, 0)) != 0 {
            return Refused::Corrupt;
        }
        match state(seen) {
            TAKEN | WRITING => Refused::Busy(owner(seen)),
            FULL => {
                let head = self.memory.load(HEAD_AT);
                if ahead(head, seen) == 1 { Refused::Busy(owner(head)) } else { Refused::NotNow }
            }
            // Claimed, and not written yet: of one cell alone the tail says by whom.
            _ if self.shape.cells == 1 => Refused::Busy(owner(tail)),
            _ => Refused::Corrupt,
        }
    }

    /// The message that was taken and is not released: where its bytes are, and how many.
    pub fn taken(&self) -> Option<(usize, u64)> {
        (self.reads != 0).then_some((self.reads + CELL_HEAD, self.length))
    }

    /// Gives up what was claimed: consumers pass it by. Says whether a consumer slept.
    pub fn abort(&mut self) -> Result<bool, Refused> {
        let at = core::mem::take(&mut self.writes);
        if at == 0 {
            return Err(Refused::NotOwn);
        }
        self.memory.settle(at, self.freed(before(self.claimed)));
        Ok(self.notify_all())
    }

    /// A cell was given up. Consumers may sleep before it, with messages behind it; producers, with room in it. Says whether
    /// a consumer slept.
    fn notify_all(&self) -> bool {
        notify(self.memory, WRITABLE_AT);
        notify(self.memory, READABLE_AT)
    }

    /// Why the cell of the head holds no message; `None` to look again.
    #[inline(never)]
    fn not_full(&self, head: u64, seen: u64) -> Option<Refused> {
        let (ahead, lap) = (ahead(seen, head), self.shape.cells as i64);
        match state(seen) {
            _ if ahead > 0 => {
                self.pass_by(head, ahead);
                None
            }
            _ if self.memory.load(HEAD_AT) != head => None,
            WRITING if ahead == 0 => Some(Refused::Busy(owner(seen))),
            FREE if ahead == 0 => self.unwritten(head, seen),
            // Somebody still reads what was there a lap before: nothing has come since. Of one cell alone the head says so.
            TAKEN if ahead == -lap => self.unwritten(head, seen),
            FULL if ahead == -lap && lap == 1 => self.unwritten(head, seen),
            _ => Some(Refused::Corrupt),
        }
    }

    /// The cell of the head was given up. Where every claim is, producers go on alone for many laps: nothing is left of those
    /// but the last two.
    fn pass_by(&self, head: u64, ahead: i64) {
        let past = ahead.saturating_sub(2 * self.shape.cells as i64).max(1) as u64;
        self.mark_taken(head);
        let _ = self.memory.exchange(HEAD_AT, head, moved_to(position(head).wrapping_add(past), NOBODY));
    }

    /// Nobody has claimed the cell of the head, or somebody has and not written it yet. `None` to look again.
    fn unwritten(&self, head: u64, seen: u64) -> Option<Refused> {
        let tail = self.memory.load(TAIL_AT);
        match ahead(tail, head) {
            0 => Some(self.nothing(head)),
            _ if self.memory.load(self.cell(position(head))) != seen => None,
            1 if state(seen) == FREE => Some(Refused::Busy(owner(tail))),
            // The tail is further: who moved it there has marked the cell before.
            _ => Some(Refused::Corrupt),
        }
    }

    /// Nothing is at the head. When it is closed, and the tail is not further even now, nothing comes: who moves it on from now
    /// on sees that it is closed, and gives the cell up.
    fn nothing(&self, head: u64) -> Refused {
        let is_last = || ahead(self.memory.load(TAIL_AT), head) == 0;
        // Who spins looks here again and again: the fence, which is dear, comes once.
        if !self.is_closed() || !is_last() {
            return Refused::NotNow;
        }
        M::heavy_fence();
        if is_last() { Refused::Closed } else { Refused::NotNow }
    }

    /// A message that is longer than its cell is none: what is behind it is not held up.
    #[cold]
    fn unreadable(&mut self) -> Refused {
        self.spoilt = true;
        add(self.memory, LOST_AT);
        self.free_read();
        notify(self.memory, WRITABLE_AT);
        Refused::Corrupt
    }

    /// Whether a message that cannot be was given up, and nobody is told yet.
    pub fn take_spoilt(&mut self) -> bool {
        core::mem::take(&mut self.spoilt)
    }

    /// Puts a message back that was taken and is not released: by policy another one's, or lost. Says whether a consumer
    /// slept.
    pub fn put_back(&mut self) -> bool {
        if self.reads == 0 {
            return false;
        }
        match self.shape.delivery {
            // The next one who looks for the dead takes it.
            Delivery::Again => {
                let at = core::mem::take(&mut self.reads);
                self.memory.settle(at, word(before(self.had), TAKEN, NOBODY));
                notify(self.memory, READABLE_AT)
            }
            // It is room and no more.
            Delivery::Once => {
                add(self.memory, LOST_AT);
                self.free_read();
                notify(self.memory, WRITABLE_AT);
                false
            }
        }
    }

    /// Says that nothing comes any more. Messages that are claimed already still come.
    pub fn close(&mut self) {
        self.memory.half(STATE_AT).or(CLOSED);
        self.notify_all();
    }

    /// Counts a message that was dropped.
    pub fn count_dropped(&self) {
        add(self.memory, DROPPED_AT);
    }

    /// The cell of the head is being written by somebody dead: it is given up. `None` when it is not so; otherwise whether a
    /// consumer slept.
    pub fn give_up(&self, dead: u32) -> Option<bool> {
        self.mark_claimed(self.memory.load(TAIL_AT));
        let next = position(self.memory.load(HEAD_AT));
        self.free_of(self.cell(next), word(next, WRITING, dead))
    }

    /// The cell of the tail is in the hands of a consumer that is dead: it is given up where policy is so. As `give_up`.
    pub fn free_tail(&self, dead: u32) -> Option<bool> {
        if self.shape.delivery == Delivery::Again {
            return None;
        }
        self.mark_taken(self.memory.load(HEAD_AT));
        let before_it = position(self.memory.load(TAIL_AT)).wrapping_sub(self.shape.cells);
        self.free_of(self.cell(before_it), word(before_it, TAKEN, dead))
    }

    /// Gives up a cell whose word is still this one. Of one that was taken nothing is left but room.
    fn free_of(&self, at: usize, of_dead: u64) -> Option<bool> {
        if self.memory.load(at) != of_dead {
            return None;
        }
        self.memory.exchange(at, of_dead, self.freed(position(of_dead))).ok()?;
        add(self.memory, LOST_AT);
        if state(of_dead) == TAKEN {
            notify(self.memory, WRITABLE_AT);
            return Some(false);
        }
        Some(self.notify_all())
    }

    /// Whether somebody dead has a message in hand, or is the one who writes the next.
    pub fn dead_have_something(&self, is_dead: &mut dyn FnMut(u32) -> bool) -> bool {
        let head = self.memory.load(HEAD_AT);
        self.mark_claimed(self.memory.load(TAIL_AT));
        self.mark_taken(head);
        let next = self.memory.load(self.cell(position(head)));
        if next == word(position(head), WRITING, owner(next)) && is_dead(owner(next)) {
            return true;
        }
        (0..self.shape.cells).any(|index| {
            let seen = self.memory.load(self.cell(index));
            state(seen) == TAKEN && owner(seen) != self.me && is_dead(owner(seen))
        })
    }

    /// Looks for a message that was taken by somebody dead. `Ok` gives it to this consumer (at least once); where policy is
    /// at most once, all such cells are given up.
    pub fn take_from_the_dead(&mut self, is_dead: &mut dyn FnMut(u32) -> bool) -> Result<(usize, u64), Refused> {
        self.mark_taken(self.memory.load(HEAD_AT));
        for index in 0..self.shape.cells {
            let at = self.cell(index);
            let seen = self.memory.load(at);
            if state(seen) != TAKEN || owner(seen) == self.me || !is_dead(owner(seen)) {
                continue;
            }
            match self.shape.delivery {
                Delivery::Again => {
                    let mine = word(position(seen), TAKEN, self.me);
                    if self.memory.exchange(at, seen, mine).is_ok() {
                        add(self.memory, AGAIN_AT);
                        (self.had, self.reads) = (moved_to(position(seen).wrapping_add(1), self.me), at);
                        return self.show();
                    }
                }
                Delivery::Once => {
                    let _ = self.free_of(at, seen);
                }
            }
        }
        Err(Refused::NotNow)
    }

    /// Waits until there may be room. Who is in the way is found out at each look: it may have come, and died, since this one
    /// sleeps.
    pub fn wait_for_room(&mut self, until: u64, is_dead: &mut dyn FnMut(u32) -> bool) -> wait::Ended {
        let memory = self.memory;
        let mut look = || !self.in_the_way().is_some_and(&mut *is_dead);
        wait::until(memory, WRITABLE_AT, until, &mut || self.has_room(), &mut look)
    }

    /// In whose hands the cell of the tail is.
    fn in_the_way(&self) -> Option<u32> {
        let tail = self.memory.load(TAIL_AT);
        match self.full(tail, self.memory.load(self.cell(position(tail)))) {
            Refused::Busy(owner) => Some(owner),
            _ => None,
        }
    }

    /// Whether the cell of the tail can be claimed, or nothing will ever change that.
    pub fn has_room(&self) -> bool {
        let tail = self.memory.load(TAIL_AT);
        let seen = self.memory.load(self.cell(position(tail)));
        self.is_closed() || ahead(seen, tail) != -(self.shape.cells as i64)
    }

    /// Waits until there may be a message.
    pub fn wait_for_message(&mut self, until: u64, look: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, READABLE_AT, until, &mut || self.has_message(), look)
    }

    /// Whether there is something to take at the head, or nothing will come. False wherever `take` would wait.
    pub fn has_message(&self) -> bool {
        let head = self.memory.load(HEAD_AT);
        let seen = self.memory.load(self.cell(position(head)));
        match (ahead(seen, head), state(seen)) {
            (0, WRITING) => false,
            (0, FULL | TAKEN) => true,
            (ahead, _) => ahead > 0 || self.nothing(head) == Refused::Closed,
        }
    }
}

/// The position before a place of the tail or head.
fn before(moved: u64) -> u64 {
    position(moved).wrapping_sub(1)
}
