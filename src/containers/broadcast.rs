//! The broadcast: every reader sees every message from where it joined; one that is too slow is told how many it missed, and
//! slows nobody. One or many write. The hot paths are `claim`, `commit` and `read`: no system call, no allocation, no lock.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | stamp: "shmcast" and the format, written last |
//! | 8, 16 | 8, 8 | cells, a power of two; bytes from one cell to the next |
//! | 24 | 4 | state: `CLOSED` |
//! | 32 | 8 | fingerprint of the messages' layout, or 0 |
//! | 64 | 8 | tail: the position that is claimed next |
//! | 128 | 4 | event: there is a message |
//! | 192 | 8 | lost with their writer |
//! | 200 | 8 | the position behind the last that was passed by |
//! | `MEMBERS_AT` | 8 each | who has the lease of this number, as in `queue.rs` |
//! | `CELLS_AT` | stride each | cells: a word, the length, the bytes |
//!
//! A position counts up; modulo the cells it is a cell, divided by them, plus one, a lap: a cell that was never used is in lap
//! 0. The word of a cell is the lap, the state (`FULL`, `WRITING`), and the owner as in `members.rs`. A writer claims the cell of the tail
//! from whatever message of the lap before is in it, then moves the tail on. Who was closed out meanwhile gives it up: readers
//! may have been told that nothing comes. A cell in which somebody of the lap before still
//! writes is passed by, unless that one is dead: that is said before the tail moves on, so that who claims such a position too
//! late, after readers have passed it by, finds out and gives it up. A reader looks at the tail first and at the word
//! then: behind the tail a word of the lap before is one that was passed by. A reader copies a message and looks at the word again: it is the same only
//! if nobody wrote there meanwhile (why: see `cell.rs`, which does the same). Next: `queue_end.rs`, for who is dead.

use super::layout::MOST_COPIES;
use super::members::MEMBERS;
use super::memory::Memory;
use super::wait::{self, notify};
use crate::sync::futex::Futex;

/// "shmcast" and the version of this format.
pub const STAMP: u64 = u64::from_le_bytes(*b"shmcast\x02");
const STAMP_AT: usize = 0;
const CELLS_NUMBER_AT: usize = 8;
const STRIDE_AT: usize = 16;
const STATE_AT: usize = 24;
const FINGERPRINT_AT: usize = 32;
const TAIL_AT: usize = 64;
/// There is a message.
pub const READABLE_AT: usize = 128;
const LOST_AT: usize = 192;
const PASSED_AT: usize = 200;
/// Who has which lease.
pub const MEMBERS_AT: usize = 256;
const CELLS_AT: usize = MEMBERS_AT + 8 * MEMBERS as usize;
const CELL_HEAD: usize = 16;

const CLOSED: u32 = 1;
const FULL: u64 = 0;
const WRITING: u64 = 1;
/// Of whom a cell is: see `members.rs`.
const OWNER: u32 = 0x0fff_ffff;
const MOST_LOOKS: u64 = 1 << 20;
/// So many are passed by beyond two laps before it is taken for certain that every cell is held.
const MOST_PASSED: u64 = 100;
/// No broadcast comes to so many positions: no sum of them is too large.
const MOST_POSITIONS: u64 = 1 << 62;

/// What a broadcast is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Cells, a power of two.
    pub cells: u64,
    /// Bytes from one cell to the next.
    pub stride: u64,
    /// Of the messages' layout, or 0.
    pub fingerprint: u64,
}

impl Shape {
    /// The longest message.
    pub fn longest(&self) -> u64 {
        self.stride - CELL_HEAD as u64
    }

    /// Bytes of the whole.
    pub fn size(&self) -> u64 {
        CELLS_AT as u64 + self.cells * self.stride
    }

    fn is_possible(&self) -> bool {
        use super::queue::{LONGEST, MOST_CELLS, Shape};
        self.cells.is_power_of_two()
            && self.cells >= 2
            && self.cells <= MOST_CELLS
            && self.stride.is_multiple_of(64)
            && self.stride >= 64
            && self.stride <= Shape::stride_for(LONGEST)
    }
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No message.
    NotNow,
    /// Somebody writes the message that is next.
    Busy(u32),
    /// No message, and none will come; or nothing is taken any more.
    Closed,
    /// It can never fit; or it does not fit into the reader's buffer, of so many bytes.
    TooBig(u64),
    /// What stands in the memory cannot be.
    Corrupt,
    /// There is nothing to commit.
    NotOwn,
    /// Writers came round in each of `MOST_COPIES` copies: the caller may look at the clock, and begin again.
    Overtaken,
    /// One is reserved here already.
    InHand,
    /// Somebody living still writes in every cell.
    AllWritten,
}

fn word(lap: u32, state: u64, owner: u32) -> u64 {
    u64::from(lap) << 32 | state << 28 | u64::from(owner)
}

fn lap(word: u64) -> u32 {
    (word >> 32) as u32
}

fn is_writing(word: u64) -> bool {
    word >> 28 & 0xf == WRITING
}

fn owner(word: u64) -> u32 {
    word as u32 & OWNER
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
    for cell in 0..shape.cells {
        memory.put(CELLS_AT + (cell * shape.stride) as usize, word(0, FULL, 0));
    }
    memory.store(STAMP_AT, STAMP);
}

/// What the head says: `None` when the memory holds no broadcast, or one that cannot be.
pub fn read<M: Memory>(memory: M) -> Option<Shape> {
    if memory.load(STAMP_AT) != STAMP {
        return None;
    }
    let (cells, stride) = (memory.peek(CELLS_NUMBER_AT), memory.peek(STRIDE_AT));
    let shape = Shape { cells, stride, fingerprint: memory.peek(FINGERPRINT_AT) };
    shape.is_possible().then_some(shape)
}

/// Messages written in all, those lost with their writer, and whether it was closed.
pub fn counts<M: Memory>(memory: M) -> (u64, u64, bool) {
    (memory.load(TAIL_AT), memory.peek(LOST_AT), memory.half(STATE_AT).load() & CLOSED != 0)
}

/// A broadcast as one member sees it, in private memory.
pub struct Broadcast<M> {
    memory: M,
    shape: Shape,
    shift: u32,
    me: u32,
    /// The cell that it writes, with its word.
    writes: Option<(usize, u64)>,
    /// The position that it reads next.
    next: u64,
    /// What it has missed since the last message that it was given.
    missed: u64,
    /// Somebody slept when it gave up a claim, and is not told by a descriptor yet.
    slept: bool,
    /// A message that cannot be was passed by, and the reader is not told yet.
    spoilt: bool,
}

impl<M: Memory> Broadcast<M> {
    /// For a member of this number; it sees what comes from now on.
    pub fn new(memory: M, shape: Shape, me: u32) -> Result<Broadcast<M>, Refused> {
        let next = memory.load(TAIL_AT);
        if next > MOST_POSITIONS {
            return Err(Refused::Corrupt);
        }
        let shift = shape.cells.trailing_zeros();
        let (writes, missed, slept, spoilt) = (None, 0, false, false);
        Ok(Broadcast { memory, shape, shift, me, writes, next, missed, slept, spoilt })
    }

    /// Also what is still there of before.
    pub fn rewind(&mut self) {
        self.next = self.next.saturating_sub(self.shape.cells);
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> (usize, u32) {
        let index = position & (self.shape.cells - 1);
        (CELLS_AT + (index * self.shape.stride) as usize, ((position >> self.shift) as u32).wrapping_add(1))
    }

    /// Claims the next cell: where the bytes of a message go.
    #[inline(always)]
    pub fn claim(&mut self, is_dead: &mut dyn FnMut(u32) -> bool) -> Result<usize, Refused> {
        if self.writes.is_some() {
            return Err(Refused::InHand);
        }
        if self.is_closed() {
            return Err(Refused::Closed);
        }
        let mut passed = 0;
        for _ in 0..MOST_LOOKS + self.shape.cells {
            let tail = self.memory.load(TAIL_AT);
            let (at, turn) = self.cell(tail);
            let seen = self.memory.load(at);
            match turn.wrapping_sub(lap(seen)) as i32 {
                // It was claimed in this lap, perhaps by somebody dead.
                0 => {
                    passed = 0;
                    self.move_on(tail);
                }
                1.. => {
                    let left = is_writing(seen) && is_dead(owner(seen));
                    if is_writing(seen) && !left {
                        if passed == MOST_PASSED + 2 * self.shape.cells {
                            return Err(Refused::AllWritten);
                        }
                        passed += 1;
                        self.pass_by(tail);
                        continue;
                    }
                    let mine = word(turn, WRITING, self.me);
                    if self.memory.exchange(at, seen, mine).is_err() {
                        continue;
                    }
                    if left {
                        self.count_lost();
                    }
                    let moved = self.memory.exchange(TAIL_AT, tail, tail.wrapping_add(1)).is_ok();
                    // Who reads what was here sees the word changed before it sees the bytes changed.
                    M::release_fence();
                    self.writes = Some((at, mine));
                    // Who moved the tail on instead has seen the claim, or has passed the position by before it.
                    if !moved && self.memory.peek(PASSED_AT) > tail {
                        self.give_up();
                        continue;
                    }
                    // Who closed it meanwhile may have told a reader already that nothing comes: see `nothing`.
                    M::light_fence();
                    if self.is_closed() {
                        self.give_up();
                        return Err(Refused::Closed);
                    }
                    return Ok(at + CELL_HEAD);
                }
                // Claimed for a lap that has not come: unless the tail is there by now, nobody did that.
                _ if self.memory.load(TAIL_AT) == tail => return Err(Refused::Corrupt),
                _ => {}
            }
        }
        Err(Refused::Corrupt)
    }

    #[inline(always)]
    fn is_closed(&self) -> bool {
        self.memory.half(STATE_AT).load() & CLOSED != 0
    }

    fn move_on(&self, tail: u64) {
        let _ = self.memory.exchange(TAIL_AT, tail, tail.wrapping_add(1));
    }

    /// Somebody living still writes there.
    #[cold]
    fn pass_by(&self, tail: u64) {
        let mut passed = self.memory.peek(PASSED_AT);
        while passed <= tail {
            match self.memory.exchange(PASSED_AT, passed, tail.wrapping_add(1)) {
                Ok(_) => break,
                Err(now) => passed = now,
            }
        }
        self.move_on(tail);
    }

    #[cold]
    fn give_up(&mut self) {
        self.slept = self.abort().unwrap_or(false);
    }

    /// Whether somebody slept when a claim was given up, and is not told yet.
    pub fn take_slept(&mut self) -> bool {
        core::mem::take(&mut self.slept)
    }

    #[cold]
    fn count_lost(&self) {
        let mut lost = self.memory.peek(LOST_AT);
        while let Err(now) = self.memory.exchange(LOST_AT, lost, lost.wrapping_add(1)) {
            lost = now;
        }
    }

    /// Publishes what was claimed, as a message of so many bytes. Says whether somebody slept.
    #[inline(always)]
    pub fn commit(&mut self, length: u64) -> Result<bool, Refused> {
        if length > self.shape.longest() {
            return Err(Refused::TooBig(length));
        }
        let Some((at, mine)) = self.writes.take() else { return Err(Refused::NotOwn) };
        self.memory.put(at + 8, length);
        self.memory.store(at, word(lap(mine), FULL, 0));
        Ok(notify(self.memory, READABLE_AT) | self.take_slept())
    }

    /// Gives up what was claimed: an empty message that nobody is shown. Says whether somebody slept, perhaps for a message
    /// behind it.
    pub fn abort(&mut self) -> Result<bool, Refused> {
        let Some((at, mine)) = self.writes.take() else { return Err(Refused::NotOwn) };
        self.memory.put(at + 8, u64::MAX);
        self.memory.store(at, word(lap(mine), FULL, 0));
        Ok(notify(self.memory, READABLE_AT) | self.take_slept())
    }

    /// Copies the next message: its length, and how many this member has missed before it. `copy` is given where the bytes are
    /// and how many, perhaps more than once; what it has copied at the end is whole.
    #[inline(always)]
    pub fn next(
        &mut self,
        room: u64,
        copy: &mut dyn FnMut(usize, u64),
        is_dead: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(u64, u64), Refused> {
        let mut copies = 0;
        for _ in 0..MOST_LOOKS + self.shape.cells {
            let (at, turn) = self.cell(self.next);
            let full = word(turn, FULL, 0);
            if self.memory.load(at) != full {
                let tail = self.memory.load(TAIL_AT);
                // Behind the tail: what is there now, it was there when the tail was moved on, or came later.
                let seen = self.memory.load(at);
                if seen != full {
                    self.pass(at, seen, tail, is_dead)?;
                    continue;
                }
            }
            let length = self.memory.peek(at + 8);
            if length <= self.shape.longest().min(room) {
                copy(at + CELL_HEAD, length);
            }
            M::acquire_fence();
            if self.memory.peek(at) != full {
                copies += 1;
                if copies == MOST_COPIES {
                    return Err(Refused::Overtaken);
                }
                continue;
            }
            if length == u64::MAX {
                self.next += 1;
                continue;
            }
            if length > self.shape.longest() {
                return Err(self.unreadable());
            }
            if length > room {
                return Err(Refused::TooBig(length));
            }
            self.next += 1;
            return Ok((length, core::mem::take(&mut self.missed)));
        }
        Err(Refused::Corrupt)
    }

    /// A message that nobody leaves so, and nobody will ever read: what is behind it is not held up.
    #[cold]
    fn unreadable(&mut self) -> Refused {
        self.next += 1;
        self.spoilt = true;
        Refused::Corrupt
    }

    /// Whether a message that cannot be was passed by, and the reader is not told yet.
    pub fn take_spoilt(&mut self) -> bool {
        core::mem::take(&mut self.spoilt)
    }

    /// The message that is next is not there: goes past it, or says why not.
    #[cold]
    fn pass(&mut self, at: usize, seen: u64, tail: u64, is_dead: &mut dyn FnMut(u32) -> bool) -> Result<(), Refused> {
        let turn = self.cell(self.next).1;
        let ahead = lap(seen).wrapping_sub(turn) as i32;
        if ahead == 0 {
            if !is_writing(seen) {
                return Err(self.unreadable());
            }
            // Not yet there, or never; what a dead one did last counts.
            if !is_dead(owner(seen)) {
                return Err(Refused::Busy(owner(seen)));
            }
            self.next += u64::from(self.memory.load(at) == seen);
            return Ok(());
        }
        if tail <= self.next {
            // Claimed for a lap that has not come: unless the tail is there by now, nobody did that.
            let corrupt = ahead > 0 && self.memory.load(TAIL_AT) <= self.next;
            return match ahead {
                1.. if corrupt => Err(Refused::Corrupt),
                1.. => Ok(()),
                _ => Err(self.nothing()),
            };
        }
        if tail > MOST_POSITIONS {
            return Err(Refused::Corrupt);
        }
        // A writer has come round; otherwise it was passed by, because somebody wrote there too long.
        self.missed += u64::from(ahead > 0);
        self.next += 1;
        // What is still there begins later.
        let oldest = tail.saturating_sub(self.shape.cells).max(self.next);
        self.missed += oldest - self.next;
        self.next = oldest;
        Ok(())
    }

    /// There is nothing. When it is closed, and the cell is not claimed even now, no cell behind it is either, and who claims
    /// it from now on sees that it is closed, and gives it up.
    #[cold]
    fn nothing(&self) -> Refused {
        if !self.is_closed() {
            return Refused::NotNow;
        }
        M::heavy_fence();
        let (at, turn) = self.cell(self.next);
        let unclaimed = (lap(self.memory.load(at)).wrapping_sub(turn) as i32) < 0;
        if unclaimed && self.memory.load(TAIL_AT) <= self.next { Refused::Closed } else { Refused::NotNow }
    }

    /// How many messages there are that it has not seen, those included that it has missed.
    pub fn behind(&self) -> u64 {
        self.memory.load(TAIL_AT).saturating_sub(self.next)
    }

    /// Says that nothing is written any more.
    pub fn close(&mut self) {
        self.memory.half(STATE_AT).or(CLOSED);
        notify(self.memory, READABLE_AT);
    }

    /// Waits until there may be a message.
    pub fn wait(&mut self, until: u64, look: &mut dyn FnMut() -> bool) -> wait::Ended {
        let memory = self.memory;
        wait::until(memory, READABLE_AT, until, &mut || self.has_next(), look)
    }

    /// Whether there is a message, or none will come.
    pub fn has_next(&self) -> bool {
        let (at, turn) = self.cell(self.next);
        let seen = self.memory.load(at);
        match lap(seen).wrapping_sub(turn) as i32 {
            0 => !is_writing(seen),
            1.. => true,
            _ => self.memory.load(TAIL_AT) > self.next || self.nothing() == Refused::Closed,
        }
    }
}
