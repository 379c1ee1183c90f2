//! A member of a queue, in the program's own memory: the core with its memory, its region and the words of its failures; and
//! what it does about the dead. Next: `members.rs`, `capi/queue.rs`.

use super::layout::{
    check_mapped, check_writable, corrupt, fingerprint, lies, require_layout, require_room, uninitialised,
};
use super::members::Membership;
use super::queue::{self, Counts, Delivery, MEMBERS_AT, Overflow, Queue, Refused, Shape};
use super::wait::{self, Ended, Patience};
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Outcome};
use crate::sync::futex::BEAT_NS;
use crate::sync::object::Wait;
use crate::sys::area::{self, Area};
use crate::sys::futex::Word;
use crate::sys::{event_fd, process};

/// A member of a queue. In C it is a `shmkit_queue_t`.
#[repr(C)]
pub struct Member {
    /// Where the queue is.
    pub area: Area,
    /// By which it is told who is dead.
    others: Membership,
    /// What waiting has taught.
    patience: Patience,
    /// Where to write when somebody sleeps on a descriptor; -1 for nowhere.
    fd: i32,
    /// Times that somebody was found in the midst of the next message.
    busy: u32,
    /// When it looked last, before a sleep on a descriptor, at what the dead have.
    looked: u64,
    /// The shape, as it was checked.
    shape: Shape,
    /// The core.
    pub queue: Queue<Area>,
}

/// How often somebody is found in the midst of a message before it is asked whether it lives.
const PATIENCE: u32 = 256;

/// The shape for a number of messages of up to so many bytes.
pub fn shape(cells: u64, longest: u64, layout: &Layout, overflow: Overflow, delivery: Delivery) -> Outcome<Shape> {
    if cells == 0 || cells > queue::MOST_CELLS || longest > queue::LONGEST {
        return Err(Failure::argument(
            "a queue has 1 to 16777216 messages of up to 1 GiB",
            "set messages and message_size; begin with SHMKIT_QUEUE_OPTIONS_INIT",
        ));
    }
    let cells = cells.next_power_of_two();
    Ok(Shape { cells, stride: Shape::stride_for(longest), fingerprint: fingerprint(layout), delivery, overflow })
}

/// Makes a queue of memory that nobody uses yet.
pub fn make(area: Area, shape: &Shape) -> Outcome<()> {
    require_room(area, shape.size(), "queue")?;
    check_writable(area)?;
    queue::make(area, shape);
    Ok(())
}

/// The shape of the queue in this memory.
fn found(area: Area) -> Outcome<Shape> {
    let shape = if area.length() < queue::MEMBERS_AT { None } else { queue::read(area) };
    let Some(shape) = shape else {
        return Err(uninitialised("queue"));
    };
    if shape.size() > area.length() as u64 {
        return Err(lies(area, shape.size(), "queue"));
    }
    Ok(shape)
}

/// Looks at a queue without being a member; changes nothing.
pub fn look(area: Area) -> Outcome<(Shape, Counts)> {
    check_mapped(area)?;
    let shape = found(area)?;
    Ok((shape, queue::counts(area, &shape)))
}

impl Member {
    /// Becomes a member of the queue in this memory.
    pub fn new(region: u64, area: Area, layout: &Layout) -> Outcome<Member> {
        if area.length() >= queue::MEMBERS_AT {
            check_writable(area)?;
        }
        let shape = found(area)?;
        require_layout(layout, shape.fingerprint)?;
        let others = Membership::new(area, MEMBERS_AT, region)?;
        area::begin_fences();
        let queue = Queue::new(area, shape, others.owner);
        let patience = Patience::default();
        Ok(Member { area, others, patience, fd: -1, busy: 0, looked: 0, shape, queue })
    }

    /// Ends the membership: what was claimed is given up, what was taken is given back. A forked child only forgets it: it is
    /// its parent's; so does who has closed the region, and counts as dead since then.
    pub fn detach(&mut self) {
        if self.others.is_own() {
            let aborted = self.queue.abort().unwrap_or(false);
            let slept = self.queue.put_back();
            self.tell(aborted || slept);
        }
    }

    /// The longest message.
    #[inline(always)]
    pub fn longest(&self) -> u64 {
        self.shape.longest()
    }

    /// A cell for a message, at once or after a spin that pays: it looks at what the other side writes only where there is
    /// something to do. What is in the way is for `claim` to find out.
    pub fn claim_soon(&mut self, length: u64, wait: Wait) -> Option<usize> {
        let until = match wait {
            Wait::Until(until) if self.shape.overflow == Overflow::Block => until,
            _ => 0,
        };
        let (queue, patience) = (&mut self.queue, &mut self.patience);
        if length > self.shape.longest() {
            return None;
        }
        if patience.spin::<Word>(until, || queue.has_room()) { queue.claim().ok() } else { None }
    }

    /// The oldest message, at once or after a spin that pays. As `claim_soon`.
    pub fn take_soon(&mut self, wait: Wait) -> Option<(usize, u64)> {
        let until = if let Wait::Until(until) = wait { until } else { 0 };
        let (queue, patience) = (&mut self.queue, &mut self.patience);
        if patience.spin::<Word>(until, || queue.has_message()) { queue.take().ok() } else { None }
    }

    /// A cell for a message; waits for it, by the queue's policy.
    pub fn claim(&mut self, length: u64, wait: Wait) -> Outcome<usize> {
        match self.claim_soon(length, wait) {
            Some(at) => Ok(at),
            None => self.claim_asleep(length, wait),
        }
    }

    /// A cell for a message, where to spin for it was in vain.
    pub fn claim_asleep(&mut self, length: u64, wait: Wait) -> Outcome<usize> {
        if length > self.longest() {
            return Err(self.refused(Refused::TooBig, length));
        }
        let wait = if self.shape.overflow == Overflow::Block { wait } else { Wait::No };
        let mut slept = false;
        loop {
            let refused = match self.queue.claim() {
                Ok(at) => return Ok(at),
                Err(refused @ (Refused::NotNow | Refused::Busy(_))) => refused,
                Err(other) => {
                    // What was claimed when it was closed was given up just now: consumers may sleep before it.
                    self.tell(other == Refused::Closed);
                    return Err(self.refused(other, length));
                }
            };
            // The cell that is next may be one that a dead consumer has, or a dead producer since the lap before.
            if let Refused::Busy(owner) = refused
                && self.is_dead(owner)
                && let Some(awaited) = self.queue.free_tail(owner).or_else(|| self.queue.give_up(owner))
            {
                self.tell(awaited);
                continue;
            }
            let Wait::Until(until) = wait else {
                if self.shape.overflow != Overflow::Block {
                    self.queue.count_dropped();
                }
                return Err(self.full());
            };
            let others = self.others;
            let (queue, patience) = (&mut self.queue, &mut self.patience);
            if slept && patience.spin::<Word>(until, || queue.has_room()) {
                continue;
            }
            slept = true;
            let ended = self.queue.wait_for_room(until, &mut |owner| others.is_dead(owner));
            if ended == Ended::TimedOut {
                return Err(Failure::new(
                    Status::ErrTimeout,
                    "the time ran out before there was room",
                    "see whether a consumer lives (shmkit show), make the queue larger, or wait longer",
                ));
            }
        }
    }

    /// The oldest message; waits for one.
    pub fn take(&mut self, wait: Wait) -> Outcome<(usize, u64)> {
        match self.take_soon(wait) {
            Some(found) => Ok(found),
            None => self.take_asleep(wait),
        }
    }

    /// The oldest message, where to spin for one was in vain. The dead are looked for where nothing comes: at each beat, and
    /// when the time is over; by who does not wait, now and then.
    pub fn take_asleep(&mut self, wait: Wait) -> Outcome<(usize, u64)> {
        // What the hot path has met just before, and given up, is not met again.
        if self.queue.take_spoilt() {
            return Err(self.refused(Refused::Corrupt, 0));
        }
        let taken = self.take_whole(wait);
        self.queue.take_spoilt();
        taken
    }

    fn take_whole(&mut self, wait: Wait) -> Outcome<(usize, u64)> {
        let (mut slept, mut looks, mut over) = (false, false, false);
        loop {
            let refused = match self.queue.take() {
                Ok(found) => return Ok(found),
                Err(refused @ (Refused::NotNow | Refused::Busy(_) | Refused::Closed)) => refused,
                Err(other) => return Err(self.refused(other, 0)),
            };
            self.busy = self.busy.wrapping_add(1);
            if looks || refused == Refused::Closed || wait == Wait::No && self.busy.is_multiple_of(PATIENCE) {
                if let Refused::Busy(owner) = refused
                    && self.is_dead(owner)
                    && let Some(awaited) = self.queue.give_up(owner)
                {
                    self.tell(awaited);
                    continue;
                }
                match self.recover_one() {
                    Ok(found) => return Ok(found),
                    Err(Refused::Corrupt) => return Err(self.refused(Refused::Corrupt, 0)),
                    Err(_) => {}
                }
            }
            if refused == Refused::Closed {
                return Err(self.refused(refused, 0));
            }
            let Wait::Until(until) = wait else { return Err(empty()) };
            if over {
                return Err(Failure::new(
                    Status::ErrTimeout,
                    "the time ran out before a message came",
                    "see whether a producer lives (shmkit show), or wait longer",
                ));
            }
            let (queue, patience) = (&mut self.queue, &mut self.patience);
            if slept && patience.spin::<Word>(until, || queue.has_message()) {
                looks = false;
                continue;
            }
            slept = true;
            // Each beat: back to the look for the dead above.
            let ended = self.queue.wait_for_message(until, &mut || false);
            looks = ended != Ended::There;
            over = ended == Ended::TimedOut;
        }
    }

    fn is_dead(&self, owner: u32) -> bool {
        self.others.is_dead(owner)
    }

    fn recover_one(&mut self) -> Result<(usize, u64), Refused> {
        let others = self.others;
        self.queue.take_from_the_dead(&mut |owner| others.is_dead(owner))
    }

    /// No room, in words.
    fn full(&self) -> Failure {
        let remedy = match self.shape.overflow {
            Overflow::Block => "wait with a timeout, come back later, or make it larger",
            _ => "come back later, or make it larger; one of SHMKIT_OVERFLOW_BLOCK waits",
        };
        Failure::new(Status::ErrAgain, "the queue is full", remedy)
    }

    /// A refusal of the core in words.
    pub fn refused(&self, refused: Refused, length: u64) -> Failure {
        match refused {
            Refused::NotNow | Refused::Busy(_) => empty(),
            Refused::Closed => Failure::of(Status::ErrClosed),
            Refused::Corrupt => corrupt("queue"),
            Refused::InHand => Failure::new(
                Status::ErrBusy,
                "this member has reserved, or taken, a message already",
                "commit or release it first, or attach another member",
            ),
            Refused::NotOwn => Failure::new(
                Status::ErrInvalidArgument,
                "nothing is reserved or taken here",
                "reserve before commit, take before release; each once",
            ),
            Refused::TooBig => Failure::new(
                Status::ErrTooBig,
                "a message of {length} bytes does not fit into a cell of {limit}",
                "make the queue with a larger message_size, or the message smaller",
            )
            .with(|figures| (figures.length, figures.limit) = (length, self.longest())),
        }
    }

    /// What becomes of a message too many.
    pub fn drops(&self) -> bool {
        self.shape.overflow == Overflow::Drop
    }

    /// Where to write when a consumer sleeps on a descriptor. It is told at once: one that died may not have come to that.
    pub fn set_fd(&mut self, fd: i32) {
        self.fd = fd;
        self.tell(true);
    }

    /// Wakes who sleeps for a message.
    pub fn wake_consumers(&self) {
        wait::wake(self.area, queue::READABLE_AT);
        self.tell(true);
    }

    /// Wakes who sleeps for room.
    pub fn wake_producers(&self) {
        wait::wake(self.area, queue::WRITABLE_AT);
    }

    /// Tells the others by their descriptor, if they may sleep on that.
    #[inline(always)]
    pub fn tell(&self, slept: bool) {
        if slept && self.fd >= 0 {
            wait::tell(self.area, queue::READABLE_AT, || event_fd::add(self.fd));
        }
    }

    /// Before this member sleeps on a descriptor for messages: true when there is none, and producers will write to it. Nobody
    /// writes to it for the dead: what they have is looked for here, once in a beat, and had by the next call.
    pub fn arm(&mut self) -> bool {
        if !wait::arm(self.area, queue::READABLE_AT) || self.queue.has_message() {
            return false;
        }
        let now = process::monotonic_ns();
        if now.saturating_sub(self.looked) < BEAT_NS {
            return true;
        }
        self.looked = now;
        let others = self.others;
        if self.queue.dead_have_something(&mut |owner| others.is_dead(owner)) {
            (self.busy, self.looked) = (u32::MAX, 0);
            return false;
        }
        true
    }
}

/// No message, in words.
fn empty() -> Failure {
    Failure::new(Status::ErrAgain, "the queue is empty", "wait with a timeout, or come back later")
}
