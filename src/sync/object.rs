//! How the objects lie in memory, and what is checked before they are touched: that the memory can be written, that it
//! was initialised as this kind of object, by this format and C library. The ways without contention are the first
//! screen: no system call, no allocation, no lock but the one that is asked for. Next: the cores beside this file.
//!
//! Everything with a holder begins with this block; the others have their word at 0 and their stamp at 24.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4, 4 | the lock; a counter of turns |
//! | 8, 16 | 4, 4 each | the gates of two other pid namespaces: a lock, and the inode of the namespace |
//! | 24 | 4, 4 | stamp: the inode of the pid namespace that it was initialised in; kind, C library, format, 'S' |
//! | 32, 40, 48 | 8 each | the lock's and the gates' nodes, for the kernel |
//! | 56 | 8 | of the kind: see `KIND_AT` |
//!
//! A claim elsewhere is a lock, an inode, and 32 bytes behind it a node; so four of them fill 64 bytes.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{compiler_fence, fence};

use super::barrier::{Barrier, Marked, Passed};
use super::claim::{DIED, ID, give, release};
use super::cond::{self, Woken};
use super::event;
use super::futex::{Futex, Holder, Refused, Taken};
use super::mutex::{GATES, Lane, Mutex};
use super::once::Once;
use super::permits::{Permits, Places};
use super::rwlock::{RwLock, Slots};
use super::semaphore;
use crate::error::Status;
use crate::region::identity;
use crate::region::{Failure, Outcome};
use crate::sys::futex::{Object, Word, writable};
use crate::sys::robust::{Seat, is_new_process, seat};
use crate::sys::{memory, process};

/// Bytes of the objects.
pub const MUTEX_SIZE: usize = 64;
/// A block, and a cache line for each reader: half a page.
pub const RWLOCK_SIZE: usize = 64 * (1 + READERS);
/// Of the small ones: condition variable, semaphore, event.
pub const SMALL_SIZE: usize = 32;
/// A block, and four permits in each further one.
pub const PERMITS_SIZE: usize = 64 * (1 + PERMITS / 4);
/// Two blocks, the places, their marks.
pub const BARRIER_SIZE: usize = MARKS_AT + 4 * PLACES;

/// Readers that have a slot; more share the mutex.
pub const READERS: usize = 31;
/// The most permits of a robust semaphore.
pub const PERMITS: usize = 64;
/// The most threads that a barrier waits for.
pub const PARTIES: usize = 64;
/// Who is not gone yet and who comes for the next phase.
pub const PLACES: usize = 2 * PARTIES;
/// Of a barrier: its places, and their marks.
pub const PLACES_AT: usize = 128;
/// As above.
pub const MARKS_AT: usize = PLACES_AT + 16 * PLACES;

/// What says that it is one.
pub const STAMP_AT: usize = 24;
/// Readers-writer lock: `writing`. Once: its state. Robust semaphore and barrier: the number, and behind it the event.
pub const KIND_AT: usize = 56;
/// As above.
pub const EVENT_AT: usize = 60;
/// Of a barrier: its words.
pub const PHASE_AT: usize = 64;
/// As above.
pub const BREAKS_AT: usize = 68;

const FORMAT: u32 = 1;
const C_LIBRARY: u32 = if cfg!(target_env = "musl") { 2 } else { 1 };
/// What `C_LIBRARY` can be.
const C_LIBRARIES: core::ops::RangeInclusive<u32> = 1..=2;
const MAGIC: u32 = 0x5300_0000 | FORMAT << 16 | C_LIBRARY << 8;

/// What an object is.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A mutex.
    Mutex = 1,
    /// A readers-writer lock.
    RwLock = 2,
    /// A condition variable.
    Cond = 3,
    /// A semaphore.
    Semaphore = 4,
    /// A robust semaphore.
    Permits = 5,
    /// A barrier.
    Barrier = 6,
    /// Work that is done once.
    Once = 7,
    /// An event count.
    Event = 8,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] =
        [Kind::Mutex, Kind::RwLock, Kind::Cond, Kind::Semaphore, Kind::Permits, Kind::Barrier, Kind::Once, Kind::Event];

    /// Bytes of one.
    pub fn size(self) -> usize {
        match self {
            Kind::Mutex | Kind::Once => MUTEX_SIZE,
            Kind::RwLock => RWLOCK_SIZE,
            Kind::Cond | Kind::Semaphore | Kind::Event => SMALL_SIZE,
            Kind::Permits => PERMITS_SIZE,
            Kind::Barrier => BARRIER_SIZE,
        }
    }

    /// Whether threads hold it, and it belongs to the pid namespace that it was made in.
    pub fn has_home(self) -> bool {
        !matches!(self, Kind::Cond | Kind::Semaphore | Kind::Event)
    }
}

#[inline(always)]
fn stamp(kind: Kind, space: u32) -> u64 {
    u64::from(MAGIC | kind as u32) << 32 | u64::from(space)
}

/// The kind and the namespace in a stamp of this format, whichever C library its maker had.
pub fn read_stamp(word: u64) -> Option<(Kind, u32)> {
    let (high, space) = ((word >> 32) as u32, word as u32);
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u32 == high & 0xff)?;
    let known = high & 0xffff_0000 == MAGIC & 0xffff_0000 && C_LIBRARIES.contains(&(high >> 8 & 0xff));
    (known && (space != 0) == kind.has_home()).then_some((kind, space))
}

// ------------------------------------------------------------------------------------------------------------------
// The ways without contention. Each says false when it did nothing, and then the slow way is asked. They call nothing
// that comes back: what is rare is a call at the end of the exported function, which then needs no frame of its own.
// ------------------------------------------------------------------------------------------------------------------

/// How far a fast way came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fast {
    /// It is done.
    Done,
    /// Nothing was done.
    No,
    /// The function that the fast way names must follow, with this.
    Rest(Word),
}

/// Whether an object is of this kind and namespace, and this thread may write to it.
#[inline(always)]
fn is_home<const SIZE: usize>(object: Object<SIZE>, kind: Kind, seat: &Seat) -> bool {
    seat.knows(object.start()) && object.load(STAMP_AT) == stamp(kind, seat.space())
}

/// Holds a word that is 0.
#[inline(always)]
fn take_word(word: Word, seat: &Seat) -> bool {
    seat.begin_new(word);
    let taken = word.atomic().compare_exchange(0, seat.id(), SeqCst, Relaxed).is_ok();
    if taken {
        seat.keep(word);
    } else {
        seat.end();
    }
    taken
}

/// Locks a mutex that is free.
#[inline(always)]
pub fn lock_fast(object: Object<MUTEX_SIZE>) -> bool {
    let seat = seat();
    is_home(object, Kind::Mutex, seat) && seat.has_room_now() && take_word(object.half(0), seat)
}

/// Unlocks a mutex of this thread's namespace. The rest: `give_up`.
#[inline(always)]
pub fn unlock_fast(object: Object<MUTEX_SIZE>) -> Fast {
    let (seat, word) = (seat(), object.half(0));
    // One that was not taken last is left to the slow way, which looks whether it was taken by this address at all.
    if !is_home(object, Kind::Mutex, seat) || word.atomic().load(Relaxed) & ID != seat.id() || !seat.is_latest(word) {
        return Fast::No;
    }
    give_word(word, seat)
}

/// Gives up a word that this thread took last, if nobody waits for it.
#[inline(always)]
fn give_word(word: Word, seat: &Seat) -> Fast {
    seat.begin(word);
    seat.forget_latest();
    if word.atomic().compare_exchange(seat.id(), 0, SeqCst, Relaxed).is_err() {
        return Fast::Rest(word);
    }
    seat.end();
    Fast::Done
}

/// Gives up a word that bears this thread's id and was taken off the list.
pub fn give_up(word: Word) {
    let seat = seat();
    give(word, seat.id());
    seat.end();
}

/// Locks a readers-writer lock for reading, where nobody writes, and the slot is free that this thread had there last.
/// The rest: `read_not`, and then the slow way.
#[inline(always)]
pub fn read_fast(object: Object<RWLOCK_SIZE>) -> Fast {
    let seat = seat();
    let Some(slot) = seat.slot_of(object.start()) else { return Fast::No };
    let space = seat.space();
    // Another lock may stand at this address by now: its slots are of other namespaces, or of none yet.
    if object.load(STAMP_AT) != stamp(Kind::RwLock, space)
        || slot.behind().atomic().load(Relaxed) != space
        || !seat.has_room_now()
        || !take_word(slot, seat)
    {
        return Fast::No;
    }
    // The exchange that took the slot comes before this load, for all threads.
    Word::fence();
    if object.half(KIND_AT).atomic().load(SeqCst) == 0 { Fast::Done } else { Fast::Rest(slot) }
}

/// Leaves a slot again that `read_fast` has just taken.
pub fn read_not(object: Object<RWLOCK_SIZE>, slot: Word) {
    if leave_slot(object, slot, seat()) {
        wake_writer(slot);
    }
}

/// Unlocks it where this thread reads, and that was the last lock that it took. The rest: `wake_writer`.
#[inline(always)]
pub fn read_unlock_fast(object: Object<RWLOCK_SIZE>) -> Fast {
    let seat = seat();
    let Some(slot) = seat.slot_of(object.start()) else { return Fast::No };
    // In a child that was made behind the fork handlers the seat is its parent's still, and only this tells. That it is this
    // thread's slot, of whatever namespace, its own list says.
    if seat.space() == 0 || !seat.is_latest(slot) {
        return Fast::No;
    }
    if leave_slot(object, slot, seat) { Fast::Rest(slot) } else { Fast::Done }
}

/// Gives up the slot that was taken last; says whether somebody waits to write.
#[inline(always)]
fn leave_slot(object: Object<RWLOCK_SIZE>, slot: Word, seat: &Seat) -> bool {
    seat.begin(slot);
    seat.forget_latest();
    // No exchange and no fence: see `rwlock.rs`.
    slot.atomic().store(0, Release);
    seat.end();
    object.half(KIND_AT).atomic().load(Relaxed) != 0
}

/// Wakes who waits for a slot.
pub fn wake_writer(slot: Word) {
    slot.wake(u32::MAX);
}

/// Locks a readers-writer lock of this thread's namespace for writing, when nobody has it.
#[inline(always)]
pub fn write_fast(object: Object<RWLOCK_SIZE>) -> bool {
    let seat = seat();
    if !is_home(object, Kind::RwLock, seat) || !seat.has_room_now() || !take_word(object.half(0), seat) {
        return false;
    }
    object.half(KIND_AT).atomic().swap(1, SeqCst);
    Word::fence();
    // Five at a time: so short a loop would depend on where in a cache line it lies.
    const { assert!(READERS % 5 == 1) };
    let slot = |line: usize| object.half(64 * line).atomic().load(SeqCst);
    let five = |line| slot(line) | slot(line + 1) | slot(line + 2) | slot(line + 3) | slot(line + 4);
    let free = (1..READERS).step_by(5).all(|line| five(line) == 0) && slot(READERS) == 0;
    free || unwrite_again(object, seat)
}

#[cold]
#[inline(never)]
fn unwrite_again(object: Object<RWLOCK_SIZE>, seat: &Seat) -> bool {
    object.half(KIND_AT).atomic().store(0, Release);
    release(object.half(0), seat);
    false
}

/// Unlocks it where this thread writes, and what it guards is whole. The rest: `give_up`.
#[inline(always)]
pub fn write_unlock_fast(object: Object<RWLOCK_SIZE>) -> Fast {
    let (seat, word) = (seat(), object.half(0));
    if !is_home(object, Kind::RwLock, seat)
        || word.atomic().load(Relaxed) & (ID | DIED) != seat.id()
        || !seat.is_latest(word)
    {
        return Fast::No;
    }
    object.half(KIND_AT).atomic().store(0, Release);
    give_word(word, seat)
}

/// Whether this is an object of this kind without a holder, that this thread may write to.
#[inline(always)]
fn is_plain(object: Object<SMALL_SIZE>, kind: Kind) -> bool {
    seat().knows(object.start()) && object.load(STAMP_AT) == stamp(kind, 0)
}

/// Takes a permit that is there.
#[inline(always)]
pub fn semaphore_wait_fast(object: Object<SMALL_SIZE>) -> bool {
    is_plain(object, Kind::Semaphore) && semaphore::try_wait(object.half(0))
}

/// Gives a permit. None when nothing was done; what the word was before, when `semaphore_post_rest` must follow.
#[inline(always)]
pub fn semaphore_post_fast(object: Object<SMALL_SIZE>) -> Option<Result<(), u32>> {
    is_plain(object, Kind::Semaphore).then(|| semaphore::post_first(object.half(0)))
}

/// Wakes who sleeps, or takes the permit back where there are too many.
pub fn semaphore_post_rest(object: Object<SMALL_SIZE>, before: u32) -> Outcome<()> {
    if semaphore::post_rest(object.half(0), before) { Ok(()) } else { Err(too_many()) }
}

/// Wakes those who wait on a condition variable, when nobody does.
#[inline(always)]
pub fn signal_fast(object: Object<SMALL_SIZE>) -> bool {
    is_plain(object, Kind::Cond) && !event::is_awaited(object.half(0))
}

/// Whether the work of a once is done.
#[inline(always)]
pub fn once_is_done(object: Object<MUTEX_SIZE>) -> bool {
    seat().knows(object.start())
        && object.load(STAMP_AT) >> 32 == u64::from(MAGIC | Kind::Once as u32)
        && object.half(KIND_AT).atomic().load(Acquire) == 1
}

// ------------------------------------------------------------------------------------------------------------------
// Shared memory, the kernel and the list of robust futexes, for the cores
// ------------------------------------------------------------------------------------------------------------------

impl Futex for Word {
    const SPINS: u32 = 100;

    #[inline(always)]
    fn load(self) -> u32 {
        self.atomic().load(SeqCst)
    }

    #[inline(always)]
    fn store(self, value: u32) {
        self.atomic().store(value, Release);
    }

    #[inline(always)]
    fn exchange(self, old: u32, new: u32) -> Result<u32, u32> {
        self.atomic().compare_exchange(old, new, SeqCst, Acquire)
    }

    fn swap(self, value: u32) -> u32 {
        self.atomic().swap(value, SeqCst)
    }

    fn and(self, bits: u32) -> u32 {
        self.atomic().fetch_and(bits, SeqCst)
    }

    #[inline(always)]
    fn or(self, bits: u32) -> u32 {
        self.atomic().fetch_or(bits, SeqCst)
    }

    #[inline(always)]
    fn add(self, value: u32) -> u32 {
        self.atomic().fetch_add(value, SeqCst)
    }

    /// On x86-64 every exchange is a full barrier already.
    #[inline(always)]
    fn fence() {
        match cfg!(target_arch = "x86_64") {
            true => compiler_fence(SeqCst),
            false => fence(SeqCst),
        }
    }

    fn wait(self, expected: u32, until: u64) {
        let _ = Word::wait(self, expected, until);
    }

    fn wake(self, count: u32) -> u32 {
        Word::wake(self, count)
    }

    fn now() -> u64 {
        process::monotonic_ns()
    }

    fn relax() {
        core::hint::spin_loop();
    }

    fn exists(id: u32) -> bool {
        process::exists(id)
    }
}

impl Holder<Word> for Seat {
    fn id(&self) -> u32 {
        Seat::id(self)
    }

    fn has_room(&self, more: u32) -> bool {
        Seat::has_room(self, more)
    }

    fn begin(&self, word: Word) {
        Seat::begin(self, word);
    }

    fn keep(&self, word: Word) {
        Seat::keep(self, word);
    }

    fn forget(&self, word: Word) -> bool {
        Seat::forget(self, word)
    }

    fn end(&self) {
        Seat::end(self);
    }
}

fn mutex_of<const SIZE: usize>(object: Object<SIZE>) -> Mutex<Word> {
    Mutex { main: object.half(0), gates: [object.half(8), object.half(16)], turns: object.half(4) }
}

/// Claims in rows of four, or one in each cache line, of one object, as this thread sees them.
#[derive(Clone, Copy)]
pub struct Claims<const SIZE: usize> {
    object: Object<SIZE>,
    seat: &'static Seat,
    start: usize,
    count: usize,
    /// Claims in 64 bytes: 1 or 4.
    row: usize,
    /// Where their marks begin, if they have any.
    marks: usize,
}

impl<const SIZE: usize> Claims<SIZE> {
    fn at(&self, index: usize) -> usize {
        self.start + index / self.row * 64 + index % self.row * 8
    }

    fn space(&self, index: usize) -> Word {
        self.object.half(self.at(index) + 4)
    }

    /// The latest one that this thread holds.
    fn latest(&self) -> Option<usize> {
        let start = self.object.start() + self.start;
        let offset = self.seat.latest_in(start, self.count.div_ceil(self.row) * 64)? - start;
        Some(offset / 64 * self.row + offset % 64 / 8)
    }
}

impl<const SIZE: usize> Places<Word> for Claims<SIZE> {
    fn count(&self) -> usize {
        self.count
    }

    fn word(&self, place: usize) -> Word {
        self.object.half(self.at(place))
    }

    fn is_near(&self, place: usize) -> bool {
        self.space(place).load() == self.seat.space()
    }

    fn bind(&self, place: usize) {
        self.space(place).store(self.seat.space());
    }

    fn own(&self) -> Option<usize> {
        self.latest()
    }
}

impl<const SIZE: usize> Marked<Word> for Claims<SIZE> {
    fn mark(&self, place: usize) -> Word {
        self.object.half(self.marks + 4 * place)
    }
}

impl Slots<Word> for Claims<RWLOCK_SIZE> {
    fn count(&self) -> usize {
        self.count
    }

    fn word(&self, slot: usize) -> Word {
        self.object.half(self.at(slot))
    }

    /// Readers take slots without a lock, so a slot is bound to the namespace of its first reader for good.
    fn is_usable(&self, slot: usize) -> bool {
        let space = self.space(slot);
        let seen = space.load();
        seen == self.seat.space() || seen == 0 && space.exchange(0, self.seat.space()).is_ok()
    }

    fn first(&self) -> usize {
        self.seat.hint() as usize % self.count
    }

    fn own(&self) -> Option<usize> {
        self.latest()
    }
}

fn rwlock_of(object: Object<RWLOCK_SIZE>, seat: &'static Seat) -> RwLock<Word, Claims<RWLOCK_SIZE>> {
    let slots = Claims { object, seat, start: 64, count: READERS, row: 1, marks: 0 };
    RwLock { mutex: mutex_of(object), writing: object.half(KIND_AT), slots }
}

// ------------------------------------------------------------------------------------------------------------------
// What is checked before an object is touched
// ------------------------------------------------------------------------------------------------------------------

/// This thread, ready to hold things.
fn sit() -> Outcome<&'static Seat> {
    let seat = seat();
    if !seat.is_seated() {
        if is_new_process() {
            // The first of this process. It may be a child that was made behind the fork handlers and has its parent's
            // number, in another namespace: what is remembered would be the parent's.
            identity::forget();
        }
        let space = identity::own().namespace;
        let Some(space) = u32::try_from(space).ok().filter(|space| *space != 0) else {
            return Err(Failure::new(
                Status::ErrUnsupported,
                "/proc is not mounted, so the pid namespace of this process cannot be told from others",
                "mount /proc: in two namespaces the same thread ids exist, and locks must not take one for the other",
            ));
        };
        seat.sit(space).map_err(|errno| {
            let failure = Failure::new(
                Status::ErrUnsupported,
                "this thread has no list of robust futexes, or one of another C library",
                "use the C library that shmkit was built for, and let the process call get_robust_list",
            );
            Failure { errno: errno.0, ..failure }
        })?;
        // Neighbouring ids, which are likely to meet, are given neighbouring slots.
        seat.set_hint(seat.id() % READERS as u32);
    }
    Ok(seat)
}

/// Sits down and asks the kernel whether the object can be written.
fn reach<const SIZE: usize>(object: Object<SIZE>) -> Outcome<&'static Seat> {
    let seat = sit()?;
    for at in [object.start(), object.start() + SIZE - 4] {
        if !seat.knows(at) {
            writable(at).map_err(|errno| match (errno.0, memory::peek(at, &mut [0]).is_ok()) {
                (libc::EFAULT, true) => Failure::new(
                    Status::ErrAccess,
                    "the memory is mapped for reading only, and whoever locks or counts must write",
                    "map it with PROT_WRITE too, or open the region without read_only",
                ),
                _ => Failure::of(Status::ErrBadPointer),
            })?;
            seat.learn(at);
        }
    }
    Ok(seat)
}

/// An object of this kind, initialised by this format.
fn open<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<(&'static Seat, u32)> {
    let seat = reach(object)?;
    let found = object.load(STAMP_AT);
    let (high, space) = ((found >> 32) as u32, found as u32);
    if high == MAGIC | kind as u32 {
        return Ok((seat, space));
    }
    Err(match high {
        _ if found == 0 => Failure::new(
            Status::ErrUninitialised,
            "nothing was initialised here: these bytes are zero",
            "let one process call the _init function before others use it, best in the init callback of the region",
        ),
        other if other & 0xff00_ff00 == MAGIC & 0xff00_ff00 && other >> 16 & 0xff != FORMAT => Failure::new(
            Status::ErrLayout,
            "another version of shmkit initialised it: its format is {found}, and this one's is {expected}",
            "build all programs that share it against one version",
        )
        .with(|figures| (figures.found, figures.expected) = (u64::from(other >> 16 & 0xff), u64::from(FORMAT))),
        other if other & 0xffff_0000 == MAGIC & 0xffff_0000 && other >> 8 & 0xff != C_LIBRARY => Failure::new(
            Status::ErrLayout,
            "a program with another C library initialised it",
            "build all programs that share it against one C library",
        ),
        other if other & 0xffff_ff00 == MAGIC => Failure::new(
            Status::ErrLayout,
            "it is another kind of object",
            "compare the definitions of the struct in all programs that share it",
        ),
        _ => Failure::new(
            Status::ErrUninitialised,
            "these bytes are no object of shmkit: it was not initialised, was destroyed, or was overwritten",
            "initialise it before it is used; compare the definitions of the struct in all programs",
        ),
    })
}

/// The way of this thread into something that was initialised in the namespace `space`.
fn lane<const SIZE: usize>(object: Object<SIZE>, seat: &Seat, space: u32) -> Outcome<Lane> {
    let own = seat.space();
    if space == own {
        return Ok(Lane::Home);
    }
    for gate in 0..GATES {
        let bound = object.half(12 + 8 * gate);
        let seen = bound.load();
        if seen == own || seen == 0 && bound.exchange(0, own).is_ok() {
            return Ok(Lane::Gate(gate));
        }
    }
    Err(Failure::new(
        Status::ErrLimit,
        "processes of three pid namespaces have used it, which is the most",
        "initialise it in one of the namespaces that share it",
    ))
}

/// Prepares memory that nobody else uses yet.
fn initialise<const SIZE: usize>(object: Object<SIZE>, kind: Kind, fill: impl FnOnce(Object<SIZE>)) -> Outcome<()> {
    let seat = reach(object)?;
    object.store(STAMP_AT, 0);
    for at in (0..SIZE).step_by(8).filter(|at| *at != STAMP_AT) {
        object.store(at, 0);
    }
    fill(object);
    // Release: who sees the stamp sees the rest.
    object.store(STAMP_AT, stamp(kind, if kind.has_home() { seat.space() } else { 0 }));
    Ok(())
}

/// Takes the stamp away, so that every later use is an error. Nobody may hold it. Not for a once: zeros are a fresh one.
pub fn destroy<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<()> {
    let (seat, space) = open(object, kind)?;
    let held = matches!(kind, Kind::Mutex | Kind::RwLock | Kind::Barrier | Kind::Permits)
        && mutex_of(object).is_held(seat.space() == space);
    if held {
        return Err(Failure::of(Status::ErrBusy));
    }
    object.store(STAMP_AT, 0);
    Ok(())
}

/// How long a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until then.
    Until(u64),
}

impl Wait {
    /// So many nanoseconds from now; u64::MAX for ever.
    pub fn of(nanoseconds: u64) -> Wait {
        match nanoseconds {
            0 => Wait::No,
            u64::MAX => Wait::Until(u64::MAX),
            _ => Wait::Until(process::monotonic_ns().saturating_add(nanoseconds).min(u64::MAX - 1)),
        }
    }

    fn moment(self) -> u64 {
        match self {
            Wait::No => 0,
            Wait::Until(moment) => moment,
        }
    }

    fn refused(self, refused: Refused) -> Failure {
        match refused {
            Refused::TimedOut if self == Wait::No => Failure::new(
                Status::ErrBusy,
                "another thread holds it",
                "try again later, or wait for it with the timed or the blocking call",
            ),
            Refused::TimedOut => Failure::new(
                Status::ErrTimeout,
                "the time ran out before it could be had",
                "see what the thread does that has it, or wait longer",
            ),
            Refused::Abandoned => Failure::of(Status::ErrNotRecoverable),
            Refused::Own => Failure::of(Status::ErrDeadlock),
            Refused::NotOwn => Failure::of(Status::ErrNotOwner),
            Refused::NoRoom => {
                let failure = Failure::new(
                    Status::ErrLimit,
                    "this thread holds 2000 locks, or 1999 where two are needed, or there is no memory to note another one",
                    "hold fewer at once: the kernel tells of no more than 2048 when a thread dies",
                );
                Failure { errno: libc::ENOLCK, ..failure }
            }
        }
    }

    fn taken(self, result: Result<Taken, Refused>) -> Outcome<()> {
        match result {
            Ok(Taken::Clean) => Ok(()),
            Ok(Taken::Died) => Err(Failure::of(Status::ErrOwnerDied)),
            Err(refused) => Err(self.refused(refused)),
        }
    }
}

fn plain<T>(result: Result<T, Refused>) -> Outcome<T> {
    result.map_err(|refused| Wait::No.refused(refused))
}

// ------------------------------------------------------------------------------------------------------------------
// The objects
// ------------------------------------------------------------------------------------------------------------------

fn mutex_parts<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<(Mutex<Word>, &'static Seat, Lane)> {
    let (seat, space) = open(object, kind)?;
    Ok((mutex_of(object), seat, lane(object, seat, space)?))
}

/// For what gives a lock up: held, it is held through these addresses, which the kernel knows it by.
fn check_address<const SIZE: usize>(object: Object<SIZE>, seat: &Seat, lane: Lane) -> Outcome<()> {
    let mutex = mutex_of(object);
    let at = match lane {
        Lane::Home => 0,
        Lane::Gate(gate) => 8 + 8 * gate,
    };
    if mutex.is_own(seat, lane) && seat.latest_in(object.start() + at, 1).is_none() {
        return Err(Failure::new(
            Status::ErrNotOwner,
            "this thread locked it through another mapping of the same memory",
            "unlock it by the address that it was locked by",
        ));
    }
    Ok(())
}

/// The parts of one that may be given up.
fn given_parts<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<(Mutex<Word>, &'static Seat, Lane)> {
    let (mutex, seat, lane) = mutex_parts(object, kind)?;
    check_address(object, seat, lane)?;
    Ok((mutex, seat, lane))
}

/// Makes a mutex.
pub fn mutex_init(object: Object<MUTEX_SIZE>) -> Outcome<()> {
    initialise(object, Kind::Mutex, |_| ())
}

/// Locks a mutex.
pub fn mutex_lock(object: Object<MUTEX_SIZE>, wait: Wait) -> Outcome<()> {
    let (mutex, seat, lane) = mutex_parts(object, Kind::Mutex)?;
    wait.taken(match wait {
        Wait::No => mutex.try_lock(seat, lane),
        Wait::Until(moment) => mutex.lock(seat, lane, moment),
    })
}

/// Unlocks a mutex.
pub fn mutex_unlock(object: Object<MUTEX_SIZE>) -> Outcome<()> {
    let (mutex, seat, lane) = given_parts(object, Kind::Mutex)?;
    plain(mutex.unlock(seat, lane))
}

/// Says that what a mutex, or a readers-writer lock, guards is consistent again.
pub fn consistent<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<()> {
    let (mutex, seat, lane) = mutex_parts(object, kind)?;
    if mutex.is_own(seat, lane) && !mutex.is_damaged() {
        return Err(Failure::argument(
            "no holder of it died: there is nothing to make consistent",
            "call this only after SHMKIT_ERR_OWNER_DIED",
        ));
    }
    plain(mutex.consistent(seat, lane))
}

/// Says that what it guards is lost.
pub fn abandon<const SIZE: usize>(object: Object<SIZE>, kind: Kind) -> Outcome<()> {
    let (mutex, seat, lane) = given_parts(object, kind)?;
    if kind == Kind::RwLock && mutex.is_own(seat, lane) {
        // It may be a reader's, who found no slot: from now on readers must come by the mutex, and are told.
        object.half(KIND_AT).store(1);
    }
    plain(mutex.abandon(seat, lane))
}

/// Makes a readers-writer lock.
pub fn rwlock_init(object: Object<RWLOCK_SIZE>) -> Outcome<()> {
    initialise(object, Kind::RwLock, |_| ())
}

/// Locks it for reading.
pub fn read_lock(object: Object<RWLOCK_SIZE>, wait: Wait) -> Outcome<()> {
    let (seat, space) = open(object, Kind::RwLock)?;
    let (lock, lane) = (rwlock_of(object, seat), lane(object, seat, space)?);
    wait.taken(match wait {
        Wait::No => lock.try_read(seat, lane),
        Wait::Until(moment) => lock.read(seat, lane, moment),
    })?;
    // The slot that it has now is where it looks first the next time.
    if let Some(slot) = lock.slots.latest() {
        seat.note_slot(object.start(), object.half(64 * (1 + slot)));
    }
    Ok(())
}

/// Locks it for writing.
pub fn write_lock(object: Object<RWLOCK_SIZE>, wait: Wait) -> Outcome<()> {
    let (seat, space) = open(object, Kind::RwLock)?;
    let (lock, lane) = (rwlock_of(object, seat), lane(object, seat, space)?);
    wait.taken(match wait {
        Wait::No => lock.try_write(seat, lane),
        Wait::Until(moment) => lock.write(seat, lane, moment),
    })
}

/// Unlocks it, whichever way this thread has it.
pub fn rwlock_unlock(object: Object<RWLOCK_SIZE>) -> Outcome<()> {
    let (_, seat, lane) = given_parts(object, Kind::RwLock)?;
    plain(rwlock_of(object, seat).unlock(seat, lane))
}

/// Makes a condition variable, or an event count.
pub fn small_init(object: Object<SMALL_SIZE>, kind: Kind) -> Outcome<()> {
    initialise(object, kind, |_| ())
}

/// Waits on a condition variable.
pub fn cond_wait(object: Object<SMALL_SIZE>, mutex: Object<MUTEX_SIZE>, wait: Wait) -> Outcome<()> {
    open(object, Kind::Cond)?;
    let (mutex, seat, lane) = given_parts(mutex, Kind::Mutex)?;
    let woken = plain(cond::wait(object.half(0), &mutex, seat, lane, wait.moment()))?;
    match woken {
        Woken { taken: Taken::Died, .. } => Err(Failure::of(Status::ErrOwnerDied)),
        Woken { timed_out: true, .. } => Err(Failure::new(
            Status::ErrTimeout,
            "the time ran out before a signal came; the mutex is locked again",
            "see whether the condition holds nevertheless, or wait longer",
        )),
        _ => Ok(()),
    }
}

/// Wakes so many waiters of a condition variable.
pub fn signal(object: Object<SMALL_SIZE>, count: u32) -> Outcome<()> {
    open(object, Kind::Cond)?;
    event::notify(object.half(0), count);
    Ok(())
}

/// Makes a semaphore.
pub fn semaphore_init(object: Object<SMALL_SIZE>, value: u32) -> Outcome<()> {
    if value > semaphore::MOST {
        return Err(Failure::argument("a semaphore counts to SHMKIT_SEM_VALUE_MAX", "begin with a smaller value"));
    }
    initialise(object, Kind::Semaphore, |object| object.half(0).store(semaphore::of_value(value)))
}

/// Takes a permit.
pub fn semaphore_wait(object: Object<SMALL_SIZE>, wait: Wait) -> Outcome<()> {
    open(object, Kind::Semaphore)?;
    match semaphore::wait(object.half(0), wait.moment()) {
        true => Ok(()),
        false => Err(none_left(wait)),
    }
}

fn none_left(wait: Wait) -> Failure {
    match wait {
        Wait::No => Failure::new(
            Status::ErrBusy,
            "no permit is free",
            "try again later, or wait with the timed or the blocking call",
        ),
        Wait::Until(_) => Failure::new(
            Status::ErrTimeout,
            "the time ran out before a permit was free",
            "see who should post, or wait longer",
        ),
    }
}

/// Gives a permit.
pub fn semaphore_post(object: Object<SMALL_SIZE>) -> Outcome<()> {
    open(object, Kind::Semaphore)?;
    if semaphore::post(object.half(0)) { Ok(()) } else { Err(too_many()) }
}

/// What a post says beyond the largest value.
#[cold]
fn too_many() -> Failure {
    Failure::new(
        Status::ErrOverflow,
        "the semaphore is at SHMKIT_SEM_VALUE_MAX",
        "see who posts more often than others wait",
    )
}

/// The value of a semaphore.
pub fn semaphore_value(object: Object<SMALL_SIZE>) -> Outcome<u32> {
    open(object, Kind::Semaphore)?;
    Ok(semaphore::value(object.half(0)))
}

fn permits_of(object: Object<PERMITS_SIZE>, seat: &'static Seat) -> Permits<Word, Claims<PERMITS_SIZE>> {
    let count = (object.half(KIND_AT).load() as usize).min(PERMITS);
    let places = Claims { object, seat, start: 64, count, row: 4, marks: 0 };
    Permits { mutex: mutex_of(object), event: object.half(EVENT_AT), places }
}

/// Makes a robust semaphore.
pub fn permits_init(object: Object<PERMITS_SIZE>, count: u32) -> Outcome<()> {
    if count == 0 || count as usize > PERMITS {
        return Err(Failure::argument(
            "a robust semaphore has at least one permit and at most SHMKIT_ROBUST_SEM_MAX",
            "ask for so many, or use shmkit_sem_t, which does not know who holds its permits",
        ));
    }
    initialise(object, Kind::Permits, |object| object.half(KIND_AT).store(count))
}

/// Takes a permit, which comes back when this thread dies.
pub fn permits_wait(object: Object<PERMITS_SIZE>, wait: Wait) -> Outcome<()> {
    let (seat, space) = open(object, Kind::Permits)?;
    let permits = permits_of(object, seat);
    permits.wait(seat, lane(object, seat, space)?, wait.moment()).map_err(|refused| match refused {
        Refused::TimedOut => none_left(wait),
        other => wait.refused(other),
    })
}

/// Gives a permit back.
pub fn permits_post(object: Object<PERMITS_SIZE>) -> Outcome<()> {
    let (seat, _) = open(object, Kind::Permits)?;
    permits_of(object, seat).post(seat).map_err(|_| {
        Failure::new(
            Status::ErrNotOwner,
            "this thread has no permit of it",
            "let the thread that took a permit give it back",
        )
    })
}

/// How many permits are free.
pub fn permits_value(object: Object<PERMITS_SIZE>) -> Outcome<u32> {
    let (seat, _) = open(object, Kind::Permits)?;
    Ok(permits_of(object, seat).value() as u32)
}

fn barrier_of(object: Object<BARRIER_SIZE>, seat: &'static Seat) -> Barrier<Word, Claims<BARRIER_SIZE>> {
    let places = Claims { object, seat, start: PLACES_AT, count: PLACES, row: 4, marks: MARKS_AT };
    Barrier {
        mutex: mutex_of(object),
        event: object.half(EVENT_AT),
        phase: object.half(PHASE_AT),
        breaks: object.half(BREAKS_AT),
        needed: (object.half(KIND_AT).load() as usize).clamp(1, PARTIES),
        places,
    }
}

/// Makes a barrier.
pub fn barrier_init(object: Object<BARRIER_SIZE>, count: u32) -> Outcome<()> {
    if count == 0 || count as usize > PARTIES {
        return Err(Failure::argument(
            "a barrier is for at least one thread and at most SHMKIT_BARRIER_MAX",
            "ask for so many",
        ));
    }
    initialise(object, Kind::Barrier, |object| object.half(KIND_AT).store(count))
}

/// Waits for all; says whether this thread was the last.
pub fn barrier_wait(object: Object<BARRIER_SIZE>, wait: Wait) -> Outcome<bool> {
    let (seat, space) = open(object, Kind::Barrier)?;
    let passed = barrier_of(object, seat).wait(seat, lane(object, seat, space)?, wait.moment());
    match passed.map_err(|refused| match refused {
        Refused::NoRoom if seat.has_room(2) => crowded(),
        Refused::TimedOut => Failure::new(
            Status::ErrTimeout,
            "the time ran out before all had arrived",
            "see who is missing, or wait longer",
        ),
        other => wait.refused(other),
    })? {
        Passed::Last => Ok(true),
        Passed::Other => Ok(false),
        Passed::Broken => Err(Failure::new(
            Status::ErrOwnerDied,
            "a thread that this barrier waited for died: not all will come",
            "find out what the dead one left undone, call shmkit_barrier_reset() once, and begin the phase again",
        )),
    }
}

fn crowded() -> Failure {
    Failure::new(
        Status::ErrLimit,
        "more threads wait at the barrier, or have joined it, than it has places for",
        "initialise it for as many threads as use it",
    )
}

/// Joins a barrier.
pub fn barrier_join(object: Object<BARRIER_SIZE>) -> Outcome<()> {
    let (seat, space) = open(object, Kind::Barrier)?;
    barrier_of(object, seat).join(seat, lane(object, seat, space)?).map_err(|refused| match refused {
        Refused::NoRoom if seat.has_room(2) => crowded(),
        Refused::Own => Failure::of(Status::ErrExists),
        other => Wait::No.refused(other),
    })
}

/// Leaves a barrier.
pub fn barrier_leave(object: Object<BARRIER_SIZE>) -> Outcome<()> {
    let (seat, space) = open(object, Kind::Barrier)?;
    barrier_of(object, seat).leave(seat, lane(object, seat, space)?).map_err(|refused| match refused {
        Refused::NotOwn => {
            Failure::new(Status::ErrNotOwner, "this thread has not joined the barrier", "call this once for each join")
        }
        other => Wait::No.refused(other),
    })
}

/// Makes a broken barrier whole.
pub fn barrier_reset(object: Object<BARRIER_SIZE>) -> Outcome<()> {
    let (seat, space) = open(object, Kind::Barrier)?;
    plain(barrier_of(object, seat).reset(seat, lane(object, seat, space)?))
}

fn once_parts(object: Object<MUTEX_SIZE>) -> Outcome<(Once<Word>, &'static Seat, Lane)> {
    let seat = reach(object)?;
    // Zeros are a once that nobody began: the memory of a new object is that.
    object.replace(STAMP_AT, 0, stamp(Kind::Once, seat.space()));
    let (seat, space) = open(object, Kind::Once)?;
    let once = Once { mutex: mutex_of(object), state: object.half(KIND_AT) };
    Ok((once, seat, lane(object, seat, space)?))
}

/// Makes it as if nothing had been done.
pub fn once_init(object: Object<MUTEX_SIZE>) -> Outcome<()> {
    initialise(object, Kind::Once, |_| ())
}

/// Waits until the work is done, or is this thread's to do: true.
pub fn once_begin(object: Object<MUTEX_SIZE>) -> Outcome<bool> {
    let (once, seat, lane) = once_parts(object)?;
    plain(once.begin(seat, lane, u64::MAX))
}

/// The work is done, or could not be.
pub fn once_end(object: Object<MUTEX_SIZE>, done: bool) -> Outcome<()> {
    let (once, seat, lane) = once_parts(object)?;
    check_address(object, seat, lane)?;
    plain(once.end(seat, lane, done))
}

/// What to wait with.
pub fn event_prepare(object: Object<SMALL_SIZE>) -> Outcome<u32> {
    open(object, Kind::Event)?;
    Ok(event::prepare(object.half(0)))
}

/// Waits for a notification.
pub fn event_wait(object: Object<SMALL_SIZE>, key: u32, wait: Wait) -> Outcome<()> {
    open(object, Kind::Event)?;
    match event::wait(object.half(0), key, wait.moment()) {
        true => Ok(()),
        false => Err(Failure::new(
            Status::ErrTimeout,
            "the time ran out before a notification came",
            "see whether the condition holds nevertheless, or wait longer",
        )),
    }
}

/// Notifies so many waiters.
pub fn event_notify(object: Object<SMALL_SIZE>, count: u32) -> Outcome<()> {
    open(object, Kind::Event)?;
    // What the caller changed before comes before the look at who sleeps, whatever it was changed with.
    fence(SeqCst);
    event::notify(object.half(0), count);
    Ok(())
}
