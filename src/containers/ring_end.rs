//! One end of a ring, in the program's own memory: the core with its memory, its role and the words of its failures. What a
//! call needs most often is in `ring.rs`; here is what it comes to when that does not do. Next: `capi/ring.rs`.

use super::layout::{
    check_mapped, check_writable, corrupt, fingerprint, lies, require_layout, require_room, uninitialised,
};
use super::ring::{
    self, CONSUMER_AT, Consumer, Counts, DATA_AT, LEAST, MOST, PRODUCER_AT, Producer, Refused, SPACE_AT,
};
use super::role::{self, Judged};
use super::wait::{self, Ended, Patience};
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Outcome, identity};
use crate::sync::object::Wait;
use crate::sys::area::{self, Area};
use crate::sys::event_fd;
use crate::sys::futex::Word;

/// Which end.
pub enum Side {
    /// The writing one.
    Producer(Producer<Area>),
    /// The reading one.
    Consumer(Consumer<Area>),
}

/// One end of a ring. In C it is a `shmkit_ring_t`.
#[repr(C)]
pub struct End {
    /// Where the ring is.
    pub area: Area,
    own: u64,
    /// What waiting has taught.
    /// What it has learnt of waiting.
    pub patience: Patience,
    /// Where to write when somebody sleeps on a descriptor; -1 for nowhere.
    fd: i32,
    /// The length of the message for which there was no room last.
    wanted: u64,
    /// The core.
    pub side: Side,
}

/// Bytes of memory for a ring of at least this capacity; `None` when it is too large.
pub fn size(capacity: u64) -> Option<u64> {
    let capacity = capacity.max(LEAST).checked_next_power_of_two()?;
    (capacity <= MOST).then_some(DATA_AT as u64 + capacity)
}

/// The largest capacity that fits into this memory.
fn room_of(area: Area) -> Outcome<u64> {
    require_room(area, DATA_AT as u64 + LEAST, "ring")?;
    Ok((1 << (area.length() - DATA_AT).ilog2()).min(MOST))
}

/// Makes a ring of memory that nobody uses yet.
pub fn make(area: Area, layout: &Layout) -> Outcome<()> {
    let capacity = room_of(area)?;
    check_writable(area)?;
    ring::make(area, capacity, fingerprint(layout), identity::own().namespace as u32);
    Ok(())
}

/// The capacity of the ring in this memory.
fn capacity(area: Area, layout: Option<&Layout>) -> Outcome<u64> {
    if area.length() < DATA_AT {
        room_of(area)?;
    }
    let Some((capacity, found)) = ring::read(area) else {
        return Err(uninitialised("ring"));
    };
    if !capacity.is_power_of_two() || capacity < LEAST || capacity > (area.length() - DATA_AT) as u64 {
        return Err(lies(area, capacity.saturating_add(DATA_AT as u64), "ring"));
    }
    layout.map_or(Ok(()), |wanted| require_layout(wanted, found))?;
    Ok(capacity)
}

/// What is known of a ring from outside.
pub struct Seen {
    /// Bytes for messages.
    pub capacity: u64,
    /// What went through it.
    pub counts: Counts,
    /// Who has the ends.
    pub producer: Judged,
    /// As above.
    pub consumer: Judged,
}

/// Looks at a ring without an end of it; changes nothing.
pub fn look(area: Area) -> Outcome<Seen> {
    check_mapped(area)?;
    let capacity = capacity(area, None)?;
    let counts = ring::counts(area);
    Ok(Seen {
        capacity,
        // Both sides may have gone on between the two looks.
        counts: Counts { used: counts.used.min(capacity), ..counts },
        producer: role::judge(area, PRODUCER_AT, SPACE_AT),
        consumer: role::judge(area, CONSUMER_AT, SPACE_AT),
    })
}

/// Whose end is meant, and how it is had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct How {
    /// The writing one; otherwise the reading one.
    pub produces: bool,
    /// Also from somebody who may live.
    pub over: bool,
}

impl End {
    /// Takes an end of the ring in this memory.
    pub fn new(area: Area, layout: Option<&Layout>, how: How) -> Outcome<End> {
        if area.length() >= DATA_AT {
            check_writable(area)?;
        }
        let capacity = capacity(area, layout)?;
        area::begin_fences();
        let at = if how.produces { PRODUCER_AT } else { CONSUMER_AT };
        let own = role::own(area, SPACE_AT);
        role::take(area, at, SPACE_AT, own, how.over).map_err(|judged| has_it(judged, how.produces))?;
        let side = match how.produces {
            true => Producer::new(area, capacity).map(Side::Producer),
            false => Consumer::new(area, capacity).map(Side::Consumer),
        };
        let side = side.map_err(|_| {
            role::give(area, at, own);
            corrupt("ring")
        })?;
        Ok(End { area, own, patience: Patience::default(), fd: -1, wanted: 0, side })
    }

    /// Gives the end back. A forked child only forgets it: it is its parent's.
    pub fn detach(&mut self) {
        let at = if matches!(self.side, Side::Producer(_)) { PRODUCER_AT } else { CONSUMER_AT };
        if role::own(self.area, SPACE_AT) == self.own {
            role::give(self.area, at, self.own);
        }
    }

    /// The writing side.
    pub fn producer(&mut self) -> Outcome<&mut Producer<Area>> {
        match &mut self.side {
            Side::Producer(side) => Ok(side),
            Side::Consumer(_) => Err(other_end("reading")),
        }
    }

    /// The reading side.
    pub fn consumer(&mut self) -> Outcome<&mut Consumer<Area>> {
        match &mut self.side {
            Side::Consumer(side) => Ok(side),
            Side::Producer(_) => Err(other_end("writing")),
        }
    }

    /// Spins for a message, or for room for one of this length, while that pays. True when there is something to do or to say;
    /// otherwise to sleep is what is left.
    #[inline(always)]
    pub fn spin(&mut self, length: u64, wait: Wait) -> bool {
        let until = match wait {
            Wait::No => 0,
            Wait::Until(until) => until,
        };
        let patience = &mut self.patience;
        match &mut self.side {
            Side::Producer(side) => patience.spin::<Word>(until, || side.has_room(length)),
            Side::Consumer(side) => patience.spin_for_next::<Word>(until, || side.has_message()),
        }
    }

    /// Room for a message; sleeps for it.
    pub fn reserve(&mut self, length: u64, wait: Wait) -> Outcome<usize> {
        loop {
            let side = self.producer()?;
            match side.reserve(length) {
                Ok(at) => return Ok(at),
                Err(Refused::NotNow) if wait == Wait::No => {
                    side.count_refused();
                    self.wanted = length;
                    return Err(not_now(true));
                }
                Err(Refused::NotNow) => {}
                Err(other) => return Err(self.refused(other, length)),
            }
            self.wait(length, wait, true)?;
        }
    }

    /// The oldest message; sleeps for one.
    pub fn peek(&mut self, wait: Wait) -> Outcome<(usize, u64)> {
        loop {
            match self.consumer()?.peek() {
                Ok(found) => return Ok(found),
                Err(Refused::NotNow) if wait == Wait::No => return Err(not_now(false)),
                Err(Refused::NotNow) => {}
                Err(other) => return Err(self.refused(other, 0)),
            }
            self.wait(0, wait, false)?;
        }
    }

    fn wait(&mut self, length: u64, wait: Wait, produces: bool) -> Outcome<()> {
        let Wait::Until(until) = wait else { return Ok(()) };
        let area = self.area;
        let at = if produces { CONSUMER_AT } else { PRODUCER_AT };
        let mut alive = || !matches!(role::judge(area, at, SPACE_AT), Judged::Dead(_));
        let ended = match &mut self.side {
            Side::Producer(side) => side.wait(length, until, &mut alive),
            Side::Consumer(side) => side.wait(until, &mut alive),
        };
        match ended {
            Ended::There => Ok(()),
            Ended::TimedOut => {
                self.wanted = length;
                Err(Failure::new(
                    Status::ErrTimeout,
                    if produces {
                        "the time ran out before there was room"
                    } else {
                        "the time ran out before a message came"
                    },
                    "see whether the other end is slow or stopped, or wait longer",
                ))
            }
            Ended::PeerDied => Err(Failure::new(
                Status::ErrOwnerDied,
                if produces {
                    "the ring is full, and the process that reads it died"
                } else {
                    "the ring is empty, and the process that writes to it died"
                },
                "wait again once another one has attached, or end; nothing that was committed is lost",
            )),
        }
    }

    /// A refusal of the core in words.
    pub fn refused(&self, refused: Refused, length: u64) -> Failure {
        match refused {
            Refused::NotNow => not_now(matches!(self.side, Side::Producer(_))),
            Refused::Closed => Failure::of(Status::ErrClosed),
            Refused::Corrupt => corrupt("ring"),
            Refused::NotReserved => Failure::new(
                Status::ErrInvalidArgument,
                "nothing is reserved or shown, or less than that",
                "reserve before commit, peek before release; each once",
            ),
            Refused::TooBig => Failure::new(
                Status::ErrTooBig,
                "a message of {length} bytes never fits: the longest has half of the ring less 8 bytes, {limit}",
                "make the ring larger, or the message smaller",
            )
            .with(|figures| {
                figures.length = length;
                figures.limit = capacity(self.area, None).map_or(0, ring::longest);
            }),
        }
    }

    /// Where to write when the other end sleeps on a descriptor. It is told at once: one that had this end before may have
    /// died before it came to that.
    pub fn set_fd(&mut self, fd: i32) {
        self.fd = fd;
        if self.has_fd() {
            self.tell();
        }
    }

    /// Whether the other end may sleep on a descriptor.
    #[inline(always)]
    pub fn has_fd(&self) -> bool {
        self.fd >= 0
    }

    /// Wakes the other end, however it sleeps.
    pub fn wake(&self) {
        wait::wake(self.area, self.awaited_at());
        if self.has_fd() {
            self.tell();
        }
    }

    /// The event on which the other end sleeps.
    fn awaited_at(&self) -> usize {
        match &self.side {
            Side::Producer(_) => ring::READABLE_AT,
            Side::Consumer(_) => ring::WRITABLE_AT,
        }
    }

    /// Tells the other end by its descriptor, if it sleeps on that.
    #[cold]
    pub fn tell(&self) {
        wait::tell(self.area, self.awaited_at(), || event_fd::add(self.fd));
    }

    /// Before this end sleeps on a descriptor: true when there is nothing to do, and the other end will write to it.
    pub fn arm(&mut self) -> bool {
        let (area, wanted) = (self.area, self.wanted);
        match &mut self.side {
            Side::Producer(side) => {
                let ordered = wait::arm(area, ring::WRITABLE_AT);
                ordered && !side.has_room(wanted)
            }
            Side::Consumer(side) => {
                let ordered = wait::arm(area, ring::READABLE_AT);
                ordered && !side.has_message()
            }
        }
    }
}

fn other_end(which: &'static str) -> Failure {
    Failure::new(
        Status::ErrInvalidArgument,
        "this is the {what} end of the ring",
        "attach the other end for this call: SHMKIT_RING_PRODUCE writes, SHMKIT_RING_CONSUME reads",
    )
    .with(|figures| figures.what = which)
}

#[cold]
fn not_now(produces: bool) -> Failure {
    match produces {
        true => Failure::new(
            Status::ErrAgain,
            "the ring is full",
            "wait with a timeout, make the ring larger, or drop the message",
        ),
        false => Failure::new(Status::ErrAgain, "the ring is empty", "wait with a timeout, or come back later"),
    }
}

fn has_it(judged: Judged, produces: bool) -> Failure {
    let (pid, sure) = match judged {
        Judged::Alive(pid) => (pid, true),
        Judged::Unknown(pid) | Judged::Dead(pid) => (pid, false),
        Judged::Free => (0, false),
    };
    let cause = match (produces, sure) {
        (true, true) => "process {id} writes to this ring, and a ring has one producer",
        (false, true) => "process {id} reads this ring, and a ring has one consumer",
        (true, false) => {
            "a process that cannot be looked at from here ({id} in its own pid namespace) writes to this ring"
        }
        (false, false) => {
            "a process that cannot be looked at from here ({id} in its own pid namespace) reads this ring"
        }
    };
    Failure::new(
        Status::ErrBusy,
        cause,
        "let it detach or end; SHMKIT_RING_TAKE_OVER takes the end from a process that is known not to use it any more",
    )
    .with(|figures| figures.id = pid as i32)
}
