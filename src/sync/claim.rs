//! One word that one thread at a time holds, and that the kernel takes from the dead: the piece that everything with an
//! owner is made of. The word:
//!
//! | bits | meaning |
//! |---|---|
//! | `ID` (low 30) | the holder's thread id; 0 when it is free; `ABANDONED` when it never will be again |
//! | `WAITERS` | somebody may sleep: who gives the word up wakes one |
//! | `DIED` | a holder died, and nobody has said since that what it guards is consistent |
//!
//! | from | to | by |
//! |---|---|---|
//! | free | held, other bits as they are | anyone, by exchange |
//! | held | the same with `WAITERS` | who is about to sleep, by exchange |
//! | held | free, other bits as they are | its holder; one sleeper is woken |
//! | held | free, `DIED`, `WAITERS` as it is | the kernel at the holder's death; one sleeper is woken |
//! | free with `WAITERS` | without | who gave it up and found nobody asleep, by exchange |
//! | held with `DIED` | without | its holder, when all is consistent |
//!
//! `WAITERS` stays when the word changes hands, and who has slept sets it with its id, so that a holder who came
//! between still wakes the others. A sleeper says which value it saw: with any other it does not fall asleep. Next:
//! `mutex.rs`.

use super::futex::{BEAT_NS, Futex, Holder, Refused, Taken, beat, is_over};

/// The bits of the holder.
pub const ID: u32 = 0x3fff_ffff;
/// Somebody may sleep. (FUTEX_WAITERS)
pub const WAITERS: u32 = 0x8000_0000;
/// A holder died. (FUTEX_OWNER_DIED)
pub const DIED: u32 = 0x4000_0000;
/// Nobody's id.
pub const ABANDONED: u32 = ID;
/// So long who takes the word in turn waits for one that was woken before it.
pub const TURN_NS: u64 = 5_000_000;

/// The longest pause between two looks of a spin, and how many pauses a spin has for each of `SPINS`.
const LONGEST_PAUSE: u32 = 16;
const MOST_PAUSES: u32 = 4;

/// Takes the word if it is free; what it is when it is not.
pub fn try_take<F: Futex>(word: F, id: u32) -> Result<Taken, u32> {
    take_free(word, id)
}

/// `claim`: the id, and `WAITERS` of one that has slept.
fn take_free<F: Futex>(word: F, claim: u32) -> Result<Taken, u32> {
    let mut seen = word.load();
    while seen & ID == 0 {
        match word.exchange(seen, claim | seen) {
            Ok(_) => return Ok(if seen & DIED == 0 { Taken::Clean } else { Taken::Died }),
            Err(now) => seen = now,
        }
    }
    Err(seen)
}

/// Why a word that is not free will not become free for this id by waiting.
pub fn hopeless(seen: u32, id: u32) -> Option<Refused> {
    match seen & ID {
        ABANDONED => Some(Refused::Abandoned),
        holder if holder == id => Some(Refused::Own),
        _ => None,
    }
}

/// Takes the word, waiting until it is free. `look` sees the word now and then, and may free one that nobody else will.
pub fn take<F: Futex>(word: F, id: u32, until: u64, look: &mut dyn FnMut(u32)) -> Result<Taken, Refused> {
    let (mut spins, mut pauses, mut claim, mut next_look) = (0, 0, id, 0);
    loop {
        let seen = match take_free(word, claim) {
            Ok(taken) => return Ok(taken),
            Err(seen) => seen,
        };
        if let Some(refused) = hopeless(seen, id) {
            return Err(refused);
        }
        if is_over::<F>(until) {
            return Err(Refused::TimedOut);
        }
        if spins < MOST_PAUSES * F::SPINS && seen & WAITERS == 0 {
            // Longer and longer, to a bound: each look takes the word's cache line away from its holder.
            pauses = (pauses + 1).min(LONGEST_PAUSE);
            spins += pauses;
            (0..pauses).for_each(|_| F::relax());
            continue;
        }
        if seen & WAITERS == 0 && word.exchange(seen, seen | WAITERS).is_err() {
            continue;
        }
        // However often it is woken, by signals too, a look comes in time.
        if next_look == 0 {
            next_look = beat::<F>(u64::MAX, BEAT_NS);
        }
        word.wait(seen | WAITERS, until.min(next_look));
        claim = id | WAITERS;
        if is_over::<F>(next_look) {
            look(word.load());
            next_look = 0;
        }
    }
}

/// Gives the word up: it bears `id`. A holder who calls it damaged leaves `DIED` as it is.
#[inline(always)]
pub fn give<F: Futex>(word: F, id: u32) {
    if word.exchange(id, 0).is_err() {
        give_slowly(word);
    }
}

#[cold]
fn give_slowly<F: Futex>(word: F) {
    let before = word.and(WAITERS | DIED);
    let left = before & (WAITERS | DIED);
    if left & WAITERS != 0 && word.wake(1) == 0 {
        // Nobody slept: who comes next need not wake anybody. One that is about to sleep saw another value, and looks
        // again.
        if word.exchange(left, left & DIED).is_ok() {
            // One that fell asleep since then may have counted on the bit.
            word.wake(u32::MAX);
        }
    }
}

/// `try_take` by a holder, whom the kernel finds when it dies.
pub fn try_hold<F: Futex>(word: F, holder: &impl Holder<F>) -> Result<Taken, Refused> {
    if !holder.has_room(1) {
        return Err(Refused::NoRoom);
    }
    holder.begin(word);
    let result = try_take(word, holder.id());
    finish(word, holder, result.map_err(|seen| hopeless(seen, holder.id()).unwrap_or(Refused::TimedOut)))
}

/// Lets one go first who slept, was woken, and has not come yet: who comes just now would be faster, every time. Not for
/// longer than `TURN_NS`: it may be stopped.
pub fn let_pass<F: Futex>(word: F, until: u64) {
    let seen = word.load();
    if seen & ID == 0 && seen & WAITERS != 0 {
        word.wait(seen, beat::<F>(until, TURN_NS));
    }
}

/// `take` by a holder; `in_turn`: after those who have slept.
pub fn hold<F: Futex>(
    word: F,
    holder: &impl Holder<F>,
    until: u64,
    in_turn: bool,
    look: &mut dyn FnMut(u32),
) -> Result<Taken, Refused> {
    if !holder.has_room(1) {
        return Err(Refused::NoRoom);
    }
    // Pending all the while: a sleeper that is woken and dies before it has the word passes the wake on.
    holder.begin(word);
    if in_turn {
        let_pass(word, until);
    }
    let result = take(word, holder.id(), until, look);
    finish(word, holder, result)
}

fn finish<F: Futex>(word: F, holder: &impl Holder<F>, result: Result<Taken, Refused>) -> Result<Taken, Refused> {
    match result {
        Ok(_) => holder.keep(word),
        Err(_) => holder.end(),
    }
    result
}

/// `give` by a holder.
///
/// False, and nothing, when the holder does not know it by this address: the list would go on leading the kernel there.
pub fn release<F: Futex>(word: F, holder: &impl Holder<F>) -> bool {
    holder.begin(word);
    let known = holder.forget(word);
    if known {
        give(word, holder.id());
    }
    holder.end();
    known
}

/// Frees a word whose holder is gone and that the kernel did not mark; `seen` is what it was when that was found out.
///
/// True when it was that still.
pub fn bury<F: Futex>(word: F, seen: u32) -> bool {
    let buried = word.exchange(seen, (seen & WAITERS) | DIED).is_ok();
    if buried && seen & WAITERS != 0 {
        word.wake(1);
    }
    buried
}

/// For `look`: frees a word whose holder does not exist, which happens when its list of robust futexes was cut. An id
/// that another thread has by now is waited for.
pub fn bury_the_lost<F: Futex>(word: F, seen: u32) -> bool {
    let id = seen & ID;
    id != 0 && id != ABANDONED && !F::exists(id) && bury(word, seen)
}
