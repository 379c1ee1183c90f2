//! The queue: many producers, many consumers, a number of cells, a message in each. Every step that others must know of is one
//! exchange of one word, which says whose it is: so the dead leave nothing of which nobody knows. The hot paths are the
//! first two screens: no system call, no allocation, no lock.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | stamp: "shmqueue", written last |
//! | 8, 16 | 8, 8 | cells, a power of two; bytes from one cell to the next |
//! | 24, 28 | 4, 4 | state: `CLOSED`; format and policies |
//! | 32 | 8 | fingerprint of the messages' layout, or 0 |
//! | 64 | 8 | tail: the position that is claimed next |
//! | 128 | 8 | head: the position that is taken next |
//! | 192, 196 | 4, 4 | events: there is a message; there is room |
//! | 256, 264, 272 | 8 each | dropped for want of room; lost with their producer or consumer; given again |
//! | `MEMBERS_AT` | 8 each | who has the lease of this number: an epoch, and its identity |
//! | `CELLS_AT` | stride each | cells: a word, the length, the bytes |
//!
//! A position counts up; modulo the cells it is a cell, divided by them a lap. The word of a cell:
//!
//! | bits | meaning |
//! |---|---|
//! | 32 to 63 | the lap that it is in |
//! | 28 to 31 | state: `FREE`, `WRITING`, `FULL`, `TAKEN` |
//! | 0 to 27 | whose, in `WRITING` and `TAKEN`: epoch (16), lease (12) |
//!
//! A producer claims the cell of the tail (`FREE` to `WRITING`), then moves the tail on; a consumer takes the cell of the head
//! (`FULL` to `TAKEN`), then moves the head on, and gives the cell back (`FREE` in the next lap). Who meets a cell that was
//! claimed or taken already moves tail or head on for whoever did it: it may be dead. A cell that is ahead of its position is
//! one that was given up there: what a dead producer was writing, or what was aborted; it is passed by. A dead consumer's
//! message is another one's, or is given up, by policy. Next: `queue_end.rs`, for who is dead.

use super::members::MEMBERS;
use super::memory::Memory;
use super::wait::{self, notify};
use crate::sync::futex::Futex;

/// "shmqueue".
pub const STAMP: u64 = u64::from_le_bytes(*b"shmqueue");
const FORMAT: u32 = 1;

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
/// Looks at one position after another before the memory counts as corrupt, beside one for each cell.
const MOST_LOOKS: u64 = 1 << 20;
/// Of whom a cell is.
pub const OWNER: u32 = 0x0fff_ffff;

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

fn word(lap: u32, state: u64, owner: u32) -> u64 {
    u64::from(lap) << 32 | state << 28 | u64::from(owner)
}

fn lap(word: u64) -> u32 {
    (word >> 32) as u32
}

fn state(word: u64) -> u64 {
    word >> 28 & 0xf
}

fn owner(word: u64) -> u32 {
    word as u32 & OWNER
}

/// Whether somebody has claimed the cell in this lap, and the tail need not have been moved since: it may have been given up.
fn is_claimed(word: u64, turn: u32) -> bool {
    match lap(word).wrapping_sub(turn) {
        0 => true,
        1 => state(word) == FREE,
        _ => false,
    }
}

/// Whether nobody has claimed the cell in this lap yet.
fn is_unclaimed(word: u64, turn: u32) -> bool {
    let ahead = lap(word).wrapping_sub(turn) as i32;
    ahead < 0 || ahead == 0 && state(word) == FREE
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
        memory.put(CELLS_AT + (cell * shape.stride) as usize, word(0, FREE, 0));
    }
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
pub fn counts<M: Memory>(memory: M) -> Counts {
    let taken = memory.load(HEAD_AT);
    Counts {
        sent: memory.load(TAIL_AT),
        taken,
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
    /// log2 of the cells.
    shift: u32,
    /// This member.
    me: u32,
    /// The cell that it writes, and the one that it reads; with their words.
    writes: Option<(usize, u64)>,
    reads: Option<(usize, u64)>,
    /// Bytes of the message that it reads.
    length: u64,
    /// A message that cannot be was given up, and nobody is told yet.
    spoilt: bool,
}

impl<M: Memory> Queue<M> {
    /// For a member of this number (see `OWNER`).
    pub fn new(memory: M, shape: Shape, me: u32) -> Queue<M> {
        let shift = shape.cells.trailing_zeros();
        Queue { memory, shape, shift, me, writes: None, reads: None, length: 0, spoilt: false }
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> (usize, u32) {
        let index = position & (self.shape.cells - 1);
        (CELLS_AT + (index * self.shape.stride) as usize, (position >> self.shift) as u32)
    }

    /// Claims the next cell: where the bytes of a message go.
    #[inline(always)]
    pub fn claim(&mut self) -> Result<usize, Refused> {
        if self.writes.is_some() {
            return Err(Refused::InHand);
        }
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        for _ in 0..MOST_LOOKS + self.shape.cells {
            let tail = self.memory.load(TAIL_AT);
            let (at, turn) = self.cell(tail);
            let seen = self.memory.load(at);
            if seen == word(turn, FREE, 0) {
                let mine = word(turn, WRITING, self.me);
                if self.memory.exchange(at, seen, mine).is_ok() {
                    let _ = self.memory.exchange(TAIL_AT, tail, tail.wrapping_add(1));
                    self.writes = Some((at, mine));
                    // Who closed it meanwhile may have told a consumer already that nothing comes: see `nothing`.
                    M::light_fence();
                    return if self.is_closed() { Err(self.too_late()) } else { Ok(at + CELL_HEAD) };
                }
            } else if is_claimed(seen, turn) {
                // In this lap. Whoever did it may be dead.
                let _ = self.memory.exchange(TAIL_AT, tail, tail.wrapping_add(1));
            } else if self.memory.load(TAIL_AT) == tail {
                return Err(self.full(seen, turn));
            }
        }
        Err(Refused::Corrupt)
    }

    #[inline(always)]
    fn is_closed(&self) -> bool {
        self.memory.half(STATE_AT).load() & CLOSED != 0
    }

    #[cold]
    fn too_late(&mut self) -> Refused {
        let _ = self.abort();
        Refused::Closed
    }

    /// The cell of the tail is still in the lap before, or further ahead than a claim that did not move the tail leaves it.
    #[cold]
    fn full(&self, seen: u64, turn: u32) -> Refused {
        match state(seen) {
            _ if lap(seen) != turn.wrapping_sub(1) => Refused::Corrupt,
            TAKEN | WRITING => Refused::Busy(owner(seen)),
            FULL => Refused::NotNow,
            _ => Refused::Corrupt,
        }
    }

    /// The message that was taken and is not released: where its bytes are, and how many.
    pub fn taken(&self) -> Option<(usize, u64)> {
        let (at, _) = self.reads?;
        Some((at + CELL_HEAD, self.length))
    }

    /// Publishes what was claimed, as a message of so many bytes. Says whether somebody slept.
    #[inline(always)]
    pub fn commit(&mut self, length: u64) -> Result<bool, Refused> {
        if length > self.shape.longest() {
            return Err(Refused::TooBig);
        }
        let Some((at, mine)) = self.writes.take() else { return Err(Refused::NotOwn) };
        self.memory.put(at + 8, length);
        self.memory.store(at, word(lap(mine), FULL, 0));
        Ok(notify(self.memory, READABLE_AT))
    }

    /// Gives up what was claimed: consumers pass it by. Says whether a consumer slept.
    pub fn abort(&mut self) -> Result<bool, Refused> {
        let Some((at, mine)) = self.writes.take() else { return Err(Refused::NotOwn) };
        self.memory.store(at, word(lap(mine).wrapping_add(1), FREE, 0));
        Ok(self.notify_all())
    }

    /// A cell was given up. Consumers may sleep before it, with messages behind it; producers, with room in it. Says whether
    /// a consumer slept.
    fn notify_all(&self) -> bool {
        notify(self.memory, WRITABLE_AT);
        notify(self.memory, READABLE_AT)
    }

    /// Takes the oldest message: where its bytes are, and how many.
    #[inline(always)]
    pub fn take(&mut self) -> Result<(usize, u64), Refused> {
        if self.reads.is_some() {
            return Err(Refused::InHand);
        }
        for _ in 0..MOST_LOOKS + self.shape.cells {
            let head = self.memory.load(HEAD_AT);
            let (at, turn) = self.cell(head);
            let seen = self.memory.load(at);
            if seen == word(turn, FULL, 0) {
                let mine = word(turn, TAKEN, self.me);
                if self.memory.exchange(at, seen, mine).is_ok() {
                    let _ = self.memory.exchange(HEAD_AT, head, head.wrapping_add(1));
                    return self.show(at, mine);
                }
            } else if let Some(refused) = self.not_full(head, seen, turn) {
                return Err(refused);
            }
        }
        Err(Refused::Corrupt)
    }

    /// Why the cell of the head holds no message; `None` to look again.
    #[inline(never)]
    fn not_full(&self, head: u64, seen: u64, turn: u32) -> Option<Refused> {
        let ahead = lap(seen).wrapping_sub(turn) as i32;
        match state(seen) {
            // It was taken already, or given up. Whoever did it may be dead.
            _ if ahead > 0 || ahead == 0 && state(seen) == TAKEN => {
                // Where every claim is aborted, producers go on alone for many laps. Nothing is left of those but the last two.
                let past = (ahead - 2).max(0) as u64 * self.shape.cells;
                let _ = self.memory.exchange(HEAD_AT, head, head.wrapping_add(past.max(1)));
                None
            }
            _ if self.memory.load(HEAD_AT) != head => None,
            WRITING if ahead == 0 => Some(Refused::Busy(owner(seen))),
            FREE if ahead == 0 => Some(self.nothing(head)),
            // Somebody still reads what was there a lap before: nothing has come since.
            TAKEN if ahead == -1 => Some(self.nothing(head)),
            _ => Some(Refused::Corrupt),
        }
    }

    /// Nothing is at the head. When it is closed, and its cell is not claimed even now, no cell behind it is either, and who
    /// claims it from now on sees that it is closed, and gives it up. Where the tail is says nothing: a dead producer may
    /// not have moved it.
    fn nothing(&self, head: u64) -> Refused {
        if !self.is_closed() {
            return Refused::NotNow;
        }
        M::heavy_fence();
        let (at, turn) = self.cell(head);
        if is_unclaimed(self.memory.load(at), turn) { Refused::Closed } else { Refused::NotNow }
    }

    #[inline(always)]
    fn show(&mut self, at: usize, mine: u64) -> Result<(usize, u64), Refused> {
        let length = self.memory.peek(at + 8);
        if length > self.shape.longest() {
            return Err(self.unreadable(at, mine));
        }
        (self.reads, self.length) = (Some((at, mine)), length);
        Ok((at + CELL_HEAD, length))
    }

    /// A message that is longer than its cell is none: what is behind it is not held up.
    #[cold]
    fn unreadable(&mut self, at: usize, mine: u64) -> Refused {
        self.spoilt = true;
        add(self.memory, LOST_AT);
        self.memory.store(at, word(lap(mine).wrapping_add(1), FREE, 0));
        notify(self.memory, WRITABLE_AT);
        Refused::Corrupt
    }

    /// Whether a message that cannot be was given up, and nobody is told yet.
    pub fn take_spoilt(&mut self) -> bool {
        core::mem::take(&mut self.spoilt)
    }

    /// Gives back the cell of the message that was taken. Says whether somebody slept.
    #[inline(always)]
    pub fn release(&mut self) -> Result<bool, Refused> {
        let Some((at, mine)) = self.reads.take() else { return Err(Refused::NotOwn) };
        self.memory.store(at, word(lap(mine).wrapping_add(1), FREE, 0));
        Ok(notify(self.memory, WRITABLE_AT))
    }

    /// Puts a message back that was taken and is not released: by policy another one's, or lost. Says whether a consumer
    /// slept.
    pub fn put_back(&mut self) -> bool {
        let Some((at, mine)) = self.reads.take() else { return false };
        match self.shape.delivery {
            // Of an owner that is nobody: the next one who looks for the dead takes it.
            Delivery::Again => self.memory.store(at, word(lap(mine), TAKEN, OWNER)),
            Delivery::Once => {
                add(self.memory, LOST_AT);
                self.memory.store(at, word(lap(mine).wrapping_add(1), FREE, 0));
            }
        }
        self.notify_all()
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
        let (at, turn) = self.cell(self.memory.load(HEAD_AT));
        self.free_of(at, word(turn, WRITING, dead))
    }

    /// The cell of the tail is in the hands of a consumer that is dead: it is given up where policy is so. As `give_up`.
    pub fn free_tail(&self, dead: u32) -> Option<bool> {
        let (at, turn) = self.cell(self.memory.load(TAIL_AT));
        match self.shape.delivery {
            Delivery::Again => None,
            Delivery::Once => self.free_of(at, word(turn.wrapping_sub(1), TAKEN, dead)),
        }
    }

    /// Gives up a cell whose word is still this one.
    fn free_of(&self, at: usize, of_dead: u64) -> Option<bool> {
        if self.memory.load(at) != of_dead {
            return None;
        }
        self.memory.exchange(at, of_dead, word(lap(of_dead).wrapping_add(1), FREE, 0)).ok()?;
        add(self.memory, LOST_AT);
        Some(self.notify_all())
    }

    /// Whether somebody dead has a message in hand, or is the one who writes the next.
    pub fn dead_have_something(&self, is_dead: &mut dyn FnMut(u32) -> bool) -> bool {
        let (at, turn) = self.cell(self.memory.load(HEAD_AT));
        let next = self.memory.load(at);
        if next == word(turn, WRITING, owner(next)) && is_dead(owner(next)) {
            return true;
        }
        (0..self.shape.cells).any(|index| {
            let seen = self.memory.load(self.cell(index).0);
            state(seen) == TAKEN && owner(seen) != self.me && is_dead(owner(seen))
        })
    }

    /// Looks for a message that was taken by somebody dead. `Ok` gives it to this consumer (at least once); where policy is
    /// at most once, all such cells are given up.
    pub fn take_from_the_dead(&mut self, is_dead: &mut dyn FnMut(u32) -> bool) -> Result<(usize, u64), Refused> {
        for index in 0..self.shape.cells {
            let (at, _) = self.cell(index);
            let seen = self.memory.load(at);
            if state(seen) != TAKEN || owner(seen) == self.me || !is_dead(owner(seen)) {
                continue;
            }
            match self.shape.delivery {
                Delivery::Again => {
                    let mine = word(lap(seen), TAKEN, self.me);
                    if self.memory.exchange(at, seen, mine).is_ok() {
                        add(self.memory, AGAIN_AT);
                        return self.show(at, mine);
                    }
                }
                Delivery::Once => {
                    let _ = self.free_of(at, seen);
                }
            }
        }
        Err(Refused::NotNow)
    }

    /// Waits until there may be room.
    pub fn wait_for_room(&mut self, until: u64, look: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, WRITABLE_AT, until, &mut || self.has_room(), look)
    }

    /// Whether the cell of the tail can be claimed, or nothing will ever change that.
    pub fn has_room(&self) -> bool {
        let (at, turn) = self.cell(self.memory.load(TAIL_AT));
        let seen = self.memory.load(at);
        self.is_closed() || is_claimed(seen, turn) || lap(seen) != turn.wrapping_sub(1)
    }

    /// Waits until there may be a message.
    pub fn wait_for_message(&mut self, until: u64, look: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, READABLE_AT, until, &mut || self.has_message(), look)
    }

    /// Whether there is something to take at the head, or nothing will come.
    pub fn has_message(&self) -> bool {
        let head = self.memory.load(HEAD_AT);
        let (at, turn) = self.cell(head);
        let seen = self.memory.load(at);
        let ahead = lap(seen).wrapping_sub(turn) as i32;
        ahead > 0
            || ahead == 0 && matches!(state(seen), FULL | TAKEN)
            || is_unclaimed(seen, turn) && self.nothing(head) == Refused::Closed
    }
}
