//! Who has an end of a container: one word, taken by one exchange, that says which process it is and when that began, so
//! that a dead one is known. Where it cannot be judged (another pid namespace, no /proc) nobody is taken for dead.
//! Next: `ring_end.rs`, which takes ends.
//!
//! | bits | meaning |
//! |---|---|
//! | 63 | `FOREIGN`: of another pid namespace than the container's maker |
//! | 32 to 62 | process id in its own namespace |
//! | 0 to 31 | when it began, as /proc/PID/stat has it; 0 when that could not be told |

use super::memory::Memory;
use crate::region::identity;
use crate::sync::futex::Futex;
use crate::sys::process;

const FOREIGN: u64 = 1 << 63;

/// What is known of who has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Nobody has it.
    Free,
    /// A living process.
    Alive(u32),
    /// A process that is no more.
    Dead(u32),
    /// It cannot be told.
    Unknown(u32),
}

/// This process, for a container whose maker was of the namespace that stands at an offset.
pub fn own<M: Memory>(memory: M, space_at: usize) -> u64 {
    // Who was made behind the fork handlers must not pass for its parent.
    identity::forget();
    let own = identity::own();
    let foreign = if memory.half(space_at).load() == own.namespace as u32 { 0 } else { FOREIGN };
    foreign | u64::from(own.pid & 0x7fff_ffff) << 32 | own.start_time & 0xffff_ffff
}

/// Who has the end at an offset.
pub fn judge<M: Memory>(memory: M, at: usize, space_at: usize) -> Judged {
    judge_word(memory.load(at), memory.half(space_at).load())
}

fn judge_word(word: u64, space: u32) -> Judged {
    let (pid, start) = ((word & !FOREIGN) >> 32, word & 0xffff_ffff);
    let pid = pid as u32;
    match word {
        0 => Judged::Free,
        _ if word & FOREIGN != 0 || identity::own().namespace as u32 != space => Judged::Unknown(pid),
        _ if !process::exists(pid) => Judged::Dead(pid),
        _ if start == 0 || !identity::sees_peers() => Judged::Unknown(pid),
        _ => match process::life(pid) {
            // One that has ended stays until its parent asks for it, and that may be who waits here.
            Some(life) if life.start & 0xffff_ffff == start && !life.has_ended => Judged::Alive(pid),
            Some(_) => Judged::Dead(pid),
            // It ended just now, or hides.
            None if process::exists(pid) => Judged::Unknown(pid),
            None => Judged::Dead(pid),
        },
    }
}

/// Takes the end at an offset for `own`; from somebody who may live only when `over` says so. The error is who has it.
pub fn take<M: Memory>(memory: M, at: usize, space_at: usize, own: u64, over: bool) -> Result<(), Judged> {
    loop {
        let seen = memory.load(at);
        match judge_word(seen, memory.half(space_at).load()) {
            Judged::Free | Judged::Dead(_) => {}
            _ if over => {}
            judged => return Err(judged),
        }
        if memory.exchange(at, seen, own).is_ok() {
            return Ok(());
        }
    }
}

/// Gives the end back, if it is still `own`.
pub fn give<M: Memory>(memory: M, at: usize, own: u64) {
    let _ = memory.exchange(at, own, 0);
}
