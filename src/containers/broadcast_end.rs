//! A member of a broadcast, in the program's own memory: the core with its memory, its region and the words of its failures.
//! Next: `capi/broadcast.rs`.

use super::broadcast::{self, Broadcast, MEMBERS_AT, Refused, Shape};
use super::layout::{
    check_mapped, check_writable, corrupt, fingerprint, lies, overtaken, require_layout, require_room, uninitialised,
};
use super::members::Membership;
use super::queue;
use super::wait::{self, Ended, Patience};
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Outcome};
use crate::sync::futex::is_over;
use crate::sync::object::Wait;
use crate::sys::area::{self, Area};
use crate::sys::event_fd;
use crate::sys::futex::Word;

/// A member of a broadcast. In C it is a `shmkit_broadcast_t`.
#[repr(C)]
pub struct Member {
    /// Where the broadcast is.
    pub area: Area,
    /// By which it is told who is dead.
    pub others: Membership,
    patience: Patience,
    fd: i32,
    longest: u64,
    /// The core.
    pub core: Broadcast<Area>,
}

/// The shape for so many messages of up to so many bytes.
pub fn shape(cells: u64, longest: u64, layout: &Layout) -> Outcome<Shape> {
    if cells == 0 || cells > queue::MOST_CELLS || longest > queue::LONGEST {
        return Err(Failure::argument(
            "a broadcast keeps 1 to 16777216 messages of up to 1 GiB",
            "correct the number of messages, or the size of the longest",
        ));
    }
    let cells = cells.next_power_of_two().max(2);
    Ok(Shape { cells, stride: queue::Shape::stride_for(longest), fingerprint: fingerprint(layout) })
}

/// Makes a broadcast of memory that nobody uses yet.
pub fn make(area: Area, shape: &Shape) -> Outcome<()> {
    require_room(area, shape.size(), "broadcast")?;
    check_writable(area)?;
    broadcast::make(area, shape);
    Ok(())
}

/// The shape of the broadcast in this memory.
pub fn found(area: Area) -> Outcome<Shape> {
    check_mapped(area)?;
    let shape = if area.length() < MEMBERS_AT { None } else { broadcast::read(area) };
    let Some(shape) = shape else {
        return Err(uninitialised("broadcast"));
    };
    if shape.size() > area.length() as u64 {
        return Err(lies(area, shape.size(), "broadcast"));
    }
    Ok(shape)
}

impl Member {
    /// Becomes a member of the broadcast in this memory.
    pub fn new(region: u64, area: Area, layout: &Layout, rewinds: bool) -> Outcome<Member> {
        let shape = found(area)?;
        check_writable(area)?;
        require_layout(layout, shape.fingerprint)?;
        let others = Membership::new(area, MEMBERS_AT, region)?;
        area::begin_fences();
        let mut core = Broadcast::new(area, shape, others.owner).map_err(|_| corrupt("broadcast"))?;
        if rewinds {
            core.rewind();
        }
        let (patience, longest) = (Patience::default(), shape.longest());
        Ok(Member { area, others, patience, fd: -1, longest, core })
    }

    /// Gives up what is reserved.
    pub fn abort(&mut self) -> Result<(), Refused> {
        let slept = self.core.abort()?;
        self.tell(slept);
        Ok(())
    }

    /// Ends the membership: what is reserved is given up. A forked child only forgets it: it is its parent's.
    pub fn detach(&mut self) {
        if self.others.is_own() {
            let _ = self.abort();
        }
    }

    /// Claims a place for a message.
    #[inline(always)]
    pub fn claim(&mut self, length: u64) -> Result<usize, Refused> {
        if length > self.longest {
            return Err(Refused::TooBig(length));
        }
        let others = self.others;
        let claimed = self.core.claim(&mut |owner| others.is_dead(owner));
        if claimed.is_err() {
            // Where something was given up and nothing follows.
            let slept = self.core.take_slept();
            self.tell(slept);
        }
        claimed
    }

    /// Copies the next message; waits for it. Its length, and how many were missed before it.
    pub fn next(&mut self, room: u64, wait: Wait, copy: &mut dyn FnMut(usize, u64)) -> Outcome<(u64, u64)> {
        // What the hot path has met just before, and passed by, is not met again.
        if self.core.take_spoilt() {
            return Err(self.refused(Refused::Corrupt, room));
        }
        let found = self.next_whole(room, wait, copy);
        self.core.take_spoilt();
        found
    }

    fn next_whole(&mut self, room: u64, wait: Wait, copy: &mut dyn FnMut(usize, u64)) -> Outcome<(u64, u64)> {
        let others = self.others;
        loop {
            match self.core.next(room, copy, &mut |_| false) {
                Ok(found) => return Ok(found),
                Err(Refused::NotNow) => {}
                Err(Refused::Overtaken) => match wait {
                    Wait::Until(until) if !is_over::<Word>(until) => continue,
                    _ => return Err(overtaken(wait)),
                },
                Err(Refused::Busy(owner)) if others.is_dead(owner) => {
                    // It is passed by, unless it is whole by now.
                    match self.core.next(room, copy, &mut |owner| others.is_dead(owner)) {
                        Ok(found) => return Ok(found),
                        Err(Refused::NotNow | Refused::Busy(_)) => {}
                        Err(Refused::Overtaken) => continue,
                        Err(other) => return Err(self.refused(other, room)),
                    }
                }
                Err(Refused::Busy(_)) => {}
                Err(other) => return Err(self.refused(other, room)),
            }
            let Wait::Until(until) = wait else { return Err(self.refused(Refused::NotNow, 0)) };
            let (core, patience) = (&mut self.core, &mut self.patience);
            if patience.spin::<Word>(until, || core.has_next()) {
                continue;
            }
            let ended = self.core.wait(until, &mut || false);
            if ended == Ended::TimedOut {
                return Err(Failure::new(
                    Status::ErrTimeout,
                    "the time ran out before a message came",
                    "see whether a writer lives, or wait longer",
                ));
            }
        }
    }

    /// A refusal of the core in words.
    pub fn refused(&self, refused: Refused, room: u64) -> Failure {
        match refused {
            Refused::NotNow | Refused::Busy(_) => {
                Failure::new(Status::ErrAgain, "there is no message", "wait with a timeout, or come back later")
            }
            Refused::Overtaken => overtaken(Wait::No),
            Refused::Closed => Failure::of(Status::ErrClosed),
            Refused::Corrupt => corrupt("broadcast"),
            Refused::NotOwn => Failure::argument("nothing is reserved here", "reserve before commit; each once"),
            Refused::InHand => Failure::new(
                Status::ErrBusy,
                "this member has reserved a message already",
                "commit or abort it first, or attach another member",
            ),
            Refused::AllWritten => Failure::new(
                Status::ErrBusy,
                "in every place somebody is in the midst of a message",
                "make the broadcast for more messages than there are writers",
            ),
            Refused::TooBig(length) if length > self.longest => Failure::new(
                Status::ErrTooBig,
                "a message of {length} bytes does not fit into a place of {limit}",
                "make the broadcast for longer messages",
            )
            .with(|figures| (figures.length, figures.limit) = (length, self.longest)),
            Refused::TooBig(length) => Failure::new(
                Status::ErrTooBig,
                "the message has {needed} bytes, and the buffer {length}",
                "read it with a larger buffer",
            )
            .with(|figures| (figures.needed, figures.length) = (length, room)),
        }
    }

    /// Where to write when a reader sleeps on a descriptor. It is told at once: one that died may not have come to that.
    pub fn set_fd(&mut self, fd: i32) {
        self.fd = fd;
        self.tell(true);
    }

    /// Tells the others by their descriptor, if they may sleep on that.
    #[inline(always)]
    pub fn tell(&self, slept: bool) {
        if slept && self.fd >= 0 {
            wait::tell(self.area, broadcast::READABLE_AT, || event_fd::add(self.fd));
        }
    }

    /// Before this member sleeps on a descriptor: true when there is no message, and writers will write to it.
    pub fn arm(&mut self) -> bool {
        wait::arm(self.area, broadcast::READABLE_AT) && !self.core.has_next()
    }
}
