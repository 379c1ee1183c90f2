//! One user of a cell, in the program's own memory: the core with its memory, its role and the words of its failures.
//! Next: `capi/cell.rs`.

use super::cell::{self, Refused, SPACE_AT, WRITER_AT};
use super::layout::{
    check_mapped, check_writable, corrupt, fingerprint, lies, overtaken, require_layout, require_room, uninitialised,
};
use super::role::{self, Judged};
use super::wait::{Ended, Patience};
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Outcome, identity};
use crate::sync::futex::is_over;
use crate::sync::object::Wait;
use crate::sys::area::{self, Area};
use crate::sys::futex::Word;

/// A user of a cell. In C it is a `shmkit_cell_t`.
#[repr(C)]
pub struct User {
    /// Where the cell is.
    pub area: Area,
    /// The longest value, as it was checked.
    pub longest: u64,
    /// The role's word; 0 for a reader.
    own: u64,
    /// The value that was written last.
    number: u64,
    /// Whether the next value is begun.
    begun: bool,
    patience: Patience,
}

/// Makes a cell of memory that nobody uses yet.
pub fn make(area: Area, longest: u64, layout: &Layout) -> Outcome<()> {
    if longest == 0 || longest > cell::MOST {
        return Err(Failure::argument("a cell holds values of 1 byte to 4 GiB", "give the size of the longest value"));
    }
    require_room(area, cell::size(longest), "cell")?;
    check_writable(area)?;
    cell::make(area, longest, fingerprint(layout), identity::own().namespace as u32);
    Ok(())
}

/// The longest value of the cell in this memory.
pub fn found(area: Area, layout: Option<&Layout>) -> Outcome<u64> {
    check_mapped(area)?;
    let head = if area.length() < cell::size(1) as usize { None } else { cell::read_head(area) };
    let Some((longest, found)) = head else {
        return Err(uninitialised("cell"));
    };
    if longest == 0 || longest > cell::MOST || cell::size(longest) > area.length() as u64 {
        return Err(lies(area, cell::size(longest.min(cell::MOST)), "cell"));
    }
    layout.map_or(Ok(()), |wanted| require_layout(wanted, found))?;
    Ok(longest)
}

/// Who writes the cell in this memory, and the number of its latest value.
pub fn look(area: Area) -> Outcome<(u64, u64, Judged)> {
    let longest = found(area, None)?;
    Ok((longest, cell::latest(area), role::judge(area, WRITER_AT, SPACE_AT)))
}

impl User {
    /// Attaches to the cell in this memory: to read, or to write.
    pub fn new(area: Area, layout: &Layout, writes: bool, over: bool) -> Outcome<User> {
        let longest = found(area, Some(layout))?;
        let mut own = 0;
        if writes {
            check_writable(area)?;
            area::begin_fences();
            own = role::own(area, SPACE_AT);
            role::take(area, WRITER_AT, SPACE_AT, own, over).map_err(has_it)?;
        }
        let number = if writes { cell::latest(area) } else { 0 };
        if number > cell::MOST_VALUES {
            role::give(area, WRITER_AT, own);
            return Err(corrupt("cell"));
        }
        Ok(User { area, longest, own, number, begun: false, patience: Patience::default() })
    }

    /// Ends the use; a writer gives its place back. A forked child only forgets it: it is its parent's.
    pub fn detach(&mut self) {
        if self.own != 0 && role::own(self.area, SPACE_AT) == self.own {
            role::give(self.area, WRITER_AT, self.own);
        }
    }

    /// Begins the next value: where its bytes go. `None` for a reader, and for a value that is too long.
    #[inline(always)]
    pub fn begin(&mut self, length: u64) -> Option<usize> {
        if self.own == 0 || length > self.longest {
            return None;
        }
        self.begun = true;
        Some(cell::begin(self.area, self.longest, self.number + 1))
    }

    /// Publishes the value that was begun. False when none was.
    #[inline(always)]
    pub fn publish(&mut self, length: u64) -> bool {
        if !self.begun || length > self.longest {
            return false;
        }
        self.begun = false;
        self.number += 1;
        cell::publish(self.area, self.longest, self.number, length);
        true
    }

    /// Why `begin` or `publish` did nothing.
    pub fn cannot_write(&self, length: u64) -> Failure {
        if self.own == 0 {
            return Failure::argument("this user of the cell reads", "attach with SHMKIT_CELL_WRITE to write");
        }
        match length > self.longest {
            true => too_big(length, self.longest),
            false => Failure::argument("no value is begun", "reserve before commit; each once"),
        }
    }

    /// Copies the latest value, if it is another one than `after`; waits for that. Its number and length.
    pub fn read(&mut self, after: u64, room: u64, wait: Wait, copy: &mut dyn FnMut(usize, u64)) -> Outcome<(u64, u64)> {
        loop {
            match cell::read(self.area, self.longest, after, room, copy) {
                Ok(found) => return Ok(found),
                Err(Refused::NotNow) => {}
                Err(Refused::Overtaken) => match wait {
                    Wait::Until(until) if !is_over::<Word>(until) => continue,
                    _ => return Err(overtaken(wait)),
                },
                Err(Refused::TooBig(length)) => {
                    return Err(Failure::new(
                        Status::ErrTooBig,
                        "the value has {needed} bytes, and the buffer {length}",
                        "read it with a larger buffer",
                    )
                    .with(|figures| (figures.needed, figures.length) = (length, room)));
                }
                Err(Refused::Corrupt) => return Err(corrupt("cell")),
            }
            let Wait::Until(until) = wait else {
                return Err(Failure::new(
                    Status::ErrAgain,
                    "there is no newer value",
                    "wait with a timeout, or come back later",
                ));
            };
            let area = self.area;
            if self.patience.spin::<Word>(until, || cell::is_newer(area, after)) {
                continue;
            }
            check_writable(area)?;
            let mut alive = || !matches!(role::judge(area, WRITER_AT, SPACE_AT), Judged::Dead(_));
            let ended = cell::wait(area, after, until, &mut alive);
            match ended {
                Ended::There => {}
                Ended::TimedOut => {
                    return Err(Failure::new(
                        Status::ErrTimeout,
                        "the time ran out before a newer value came",
                        "see whether the writer is slow or stopped, or wait longer",
                    ));
                }
                Ended::PeerDied => {
                    return Err(Failure::new(
                        Status::ErrOwnerDied,
                        "there is no newer value, and the process that writes died",
                        "read the latest without a wait; wait again once another writer has attached",
                    ));
                }
            }
        }
    }
}

/// A value that no cell of this size holds.
pub fn too_big(length: u64, limit: u64) -> Failure {
    Failure::new(
        Status::ErrTooBig,
        "a value of {length} bytes does not fit into a cell for {limit}",
        "make the cell for longer values",
    )
    .with(|figures| (figures.length, figures.limit) = (length, limit))
}

fn has_it(judged: Judged) -> Failure {
    let (Judged::Alive(pid) | Judged::Unknown(pid) | Judged::Dead(pid)) = judged else {
        return Failure::of(Status::ErrBusy);
    };
    let cause = match judged {
        Judged::Alive(_) => "process {id} writes to this cell, and a cell has one writer",
        _ => "a process that cannot be looked at from here ({id} in its own pid namespace) writes to this cell",
    };
    Failure::new(
        Status::ErrBusy,
        cause,
        "let it detach or end; SHMKIT_CELL_TAKE_OVER takes its place where it is known not to write any more",
    )
    .with(|figures| figures.id = pid as i32)
}
