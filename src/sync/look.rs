//! What is known of an object of synchronisation from copies of its bytes: for those who look at memory that they have not
//! mapped, as `shmkit show`. Changes nothing, believes no byte, and reads no address. Who is alive is judged as those who
//! wait for a lock judge it. Next: `object.rs`, for what is where; `claim.rs`, for the word of a holder.

use super::barrier;
use super::claim::{ABANDONED, DIED, ID, WAITERS};
use super::event;
use super::mutex::{GATES, gate_of};
use super::object::{
    BARRIER_SIZE, BREAKS_AT, EVENT_AT, KIND_AT, Kind, MARKS_AT, PARTIES, PERMITS, PHASE_AT, PLACES, PLACES_AT, READERS,
    SMALL_SIZE, STAMP_AT, read_stamp,
};
use super::semaphore;
use crate::region::identity;
use crate::sys::process;

/// Objects begin at multiples of this: the smaller of the alignments that there are. A stamp lies within one such piece.
pub const PIECE: usize = SMALL_SIZE;
/// What is larger than `PIECE` is aligned so.
const LINE: u64 = 64;
/// No thread's id is as large: PID_MAX_LIMIT.
const IDS: u32 = 1 << 22;
/// How often an object is read that is another one each time.
const LOOKS: u32 = 8;

/// Whether a holder lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A thread of its id exists.
    Alive,
    /// It is no more.
    Dead,
    /// It is of another pid namespace, where its id means another thread than here.
    Elsewhere,
    /// It cannot be told: there is no /proc that shows this namespace, or the object changed with every look.
    Untold,
}

/// A thread that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id in its own pid namespace. None where its death took that away.
    pub id: Option<u32>,
    /// Whether it lives.
    pub life: Life,
}

/// The lock of what one thread at a time holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Who has it.
    pub owner: Option<Owner>,
    /// A holder died, and nobody has said since that what it guards is consistent.
    pub died: bool,
    /// Nobody gets it any more.
    pub abandoned: bool,
}

/// What an object is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A mutex.
    Mutex(Lock),
    /// A readers-writer lock.
    RwLock {
        /// Of the mutex in it: who writes, or waits for readers to go; without `writing`, who reads and found no slot.
        lock: Lock,
        /// Somebody writes, or waits for readers to go, or died when it did.
        writing: bool,
        /// Those who have a slot.
        readers: Vec<Owner>,
    },
    /// A condition variable.
    Cond,
    /// A semaphore.
    Semaphore {
        /// Permits that are there.
        value: u32,
    },
    /// A robust semaphore.
    Permits {
        /// How many permits there are.
        count: u32,
        /// Who has one, for each that is out.
        owners: Vec<Owner>,
    },
    /// A barrier.
    Barrier {
        /// So many must come.
        needed: u32,
        /// Those who have come, and wait for the others.
        arrived: Vec<Owner>,
        /// Those who have joined, on their way.
        joined: Vec<Owner>,
        /// One of them died, and nobody has noticed yet.
        died: bool,
        /// One of them died: nobody passes before a reset.
        broken: bool,
    },
    /// Work that is done once.
    Once {
        /// Of the mutex in it: who does the work.
        lock: Lock,
        /// It is done.
        done: bool,
    },
    /// An event count.
    Event,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is, and in which state.
    pub seen: Seen,
    /// Somebody sleeps there, or did since it was last given up or notified of.
    pub awaited: bool,
}

/// The places in a copy of memory where a stamp says that an object begins, with its kind; `at` is where the copy begins,
/// a multiple of `PIECE`. What lies there may still be anything: `at_place` tells.
pub fn stamps(bytes: &[u8], at: u64) -> impl Iterator<Item = (u64, Kind)> {
    bytes.chunks_exact(PIECE).zip((at..).step_by(PIECE)).filter_map(|(piece, place)| {
        let (kind, _) = read_stamp(word_in(piece, STAMP_AT))?;
        (kind.size() < LINE as usize || place.is_multiple_of(LINE)).then_some((place, kind))
    })
}

/// The object of a kind at one place. `read` fills a buffer with the bytes from there on, and says false where so many are
/// not there: then, and where the bytes cannot be such an object, there is none.
///
/// Read again after it was judged: a holder that gave the lock up and ended between the copy and the question whether it
/// lives is not a dead holder.
pub fn at_place(kind: Kind, read: &mut dyn FnMut(&mut [u8]) -> bool) -> Option<Found> {
    let (mut first, mut second) = ([0; BARRIER_SIZE], [0; BARRIER_SIZE]);
    let (mut before, mut after) = (first.get_mut(..kind.size())?, second.get_mut(..kind.size())?);
    if !read(before) {
        return None;
    }
    for _ in 0..LOOKS {
        let found = Still { bytes: before, stands: true }.object(kind);
        if !read(after) {
            return None;
        }
        if before == after {
            return found;
        }
        (before, after) = (after, before);
    }
    Still { bytes: before, stands: false }.object(kind)
}

fn word_in(bytes: &[u8], at: usize) -> u64 {
    let found = bytes.get(at..at + 8).unwrap_or_default();
    found.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Whether a word is a claim that somebody can have made: by a thread of a namespace that is known.
fn is_claim(word: u32, space: u32) -> bool {
    word & ID < IDS && (word & ID == 0 || space != 0)
}

/// The bytes of one object.
#[derive(Clone, Copy)]
struct Still<'a> {
    bytes: &'a [u8],
    /// Whether it is taken for what was there at one time: who does not exist is dead only then.
    stands: bool,
}

impl Still<'_> {
    fn half(self, at: usize) -> u32 {
        (word_in(self.bytes, at & !7) >> (8 * (at & 4))) as u32
    }

    fn life(self, id: u32, space: u32) -> Life {
        match identity::own().namespace as u32 {
            0 => Life::Untold,
            own if own != space => Life::Elsewhere,
            _ if process::exists(id) => Life::Alive,
            _ => self.death(),
        }
    }

    fn death(self) -> Life {
        if self.stands { Life::Dead } else { Life::Untold }
    }

    /// Who has the claim whose word and namespace stand at an offset.
    fn owner(self, at: usize) -> Option<Owner> {
        let id = self.half(at) & ID;
        (id != 0).then(|| Owner { id: Some(id), life: self.life(id, self.half(at + 4)) })
    }

    /// Claims in rows of so many to 64 bytes; none when one of them cannot be.
    fn claims(self, start: usize, count: usize, row: usize) -> Option<impl Iterator<Item = usize>> {
        let places = (0..count).map(move |index| start + index / row * 64 + index % row * 8);
        places.clone().all(|at| is_claim(self.half(at), self.half(at + 4))).then_some(places)
    }

    fn gate(self, gate: usize) -> (u32, u32) {
        (self.half(8 + 8 * gate), self.half(12 + 8 * gate))
    }

    /// The lock at the beginning, of an object that was made in this namespace; none when its words cannot be.
    fn lock(self, space: u32) -> Option<Lock> {
        if !(0..GATES).map(|gate| self.gate(gate)).all(|(word, space)| is_claim(word, space)) {
            return None;
        }
        let main = self.half(0);
        let owner = match (main & ID, gate_of(main)) {
            (0 | ABANDONED, _) => None,
            (_, Some(gate)) => {
                let (word, space) = self.gate(gate);
                match word & ID {
                    // The mark of somebody whose gate bears its name no longer: as `Mutex::look` has it.
                    0 => Some(Owner { id: None, life: self.death() }),
                    _ if word & DIED != 0 => Some(Owner { id: None, life: self.death() }),
                    _ if space == 0 => return None,
                    id => Some(Owner { id: Some(id), life: self.life(id, space) }),
                }
            }
            (id, None) if id < IDS => Some(Owner { id: Some(id), life: self.life(id, space) }),
            _ => return None,
        };
        let is_dead = owner.is_some_and(|owner| owner.life == Life::Dead);
        let abandoned = main & ID == ABANDONED;
        Some(Lock { owner, died: !abandoned && (main & DIED != 0 || is_dead), abandoned })
    }

    fn awaits_lock(self) -> bool {
        [0, 8, 16].iter().any(|at| self.half(*at) & WAITERS != 0)
    }

    fn awaits_event(self, at: usize) -> bool {
        self.half(at) & event::SLEEPERS != 0
    }

    fn object(self, kind: Kind) -> Option<Found> {
        let (found, space) = read_stamp(word_in(self.bytes, STAMP_AT))?;
        if found != kind {
            return None;
        }
        let number = self.half(KIND_AT);
        let is_flag = number <= 1;
        match kind {
            Kind::Mutex => Some(Found { seen: Seen::Mutex(self.lock(space)?), awaited: self.awaits_lock() }),
            Kind::RwLock if is_flag => self.rwlock(space, number == 1),
            Kind::Cond => Some(Found { seen: Seen::Cond, awaited: self.awaits_event(0) }),
            Kind::Semaphore => {
                let word = self.half(0);
                let seen = Seen::Semaphore { value: semaphore::value_in(word) };
                Some(Found { seen, awaited: word & semaphore::SLEEPERS != 0 })
            }
            Kind::Permits if (1..=PERMITS as u32).contains(&number) => {
                self.lock(space)?;
                let owners = self.claims(64, number as usize, 4)?.filter_map(|at| self.owner(at)).collect();
                let awaited = self.awaits_event(EVENT_AT) || self.awaits_lock();
                Some(Found { seen: Seen::Permits { count: number, owners }, awaited })
            }
            Kind::Barrier if (1..=PARTIES as u32).contains(&number) => self.barrier(space, number),
            Kind::Once if is_flag => {
                let (lock, done) = (self.lock(space)?, number == 1);
                // What is done stays done, whoever died after that.
                let lock = Lock { died: lock.died && !done, ..lock };
                Some(Found { seen: Seen::Once { lock, done }, awaited: self.awaits_lock() })
            }
            Kind::Event => Some(Found { seen: Seen::Event, awaited: self.awaits_event(0) }),
            Kind::RwLock | Kind::Permits | Kind::Barrier | Kind::Once => None,
        }
    }

    fn rwlock(self, space: u32, writing: bool) -> Option<Found> {
        let lock = self.lock(space)?;
        // Who died without writing has damaged nothing: see `RwLock::settle`.
        let lock = Lock { died: lock.died && writing, ..lock };
        let slots = self.claims(64, READERS, 1)?;
        let awaited = self.awaits_lock() || (1..=READERS).any(|line| self.half(64 * line) & WAITERS != 0);
        let readers = slots.filter_map(|at| self.owner(at)).collect();
        Some(Found { seen: Seen::RwLock { lock, writing, readers }, awaited })
    }

    fn barrier(self, space: u32, needed: u32) -> Option<Found> {
        self.lock(space)?;
        let phase = self.half(PHASE_AT);
        let broken = self.half(BREAKS_AT) & 1 != 0;
        let (mut arrived, mut joined, mut died) = (Vec::new(), Vec::new(), false);
        for (place, at) in self.claims(PLACES_AT, PLACES, 4)?.enumerate() {
            let mark = self.half(MARKS_AT + 4 * place);
            let waits = barrier::waits_in(mark, phase);
            let is_awaited = waits || barrier::has_joined(mark);
            match self.owner(at) {
                Some(owner) => {
                    died |= is_awaited && owner.life == Life::Dead;
                    match waits {
                        true => arrived.push(owner),
                        false if is_awaited => joined.push(owner),
                        false => {}
                    }
                }
                None => died |= is_awaited && self.half(at) & DIED != 0,
            }
        }
        let seen = Seen::Barrier { needed, arrived, joined, died: died && !broken, broken };
        Some(Found { seen, awaited: self.awaits_event(EVENT_AT) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: u64 = 0xf000_0001;

    fn own_space() -> u64 {
        identity::own().namespace
    }

    fn stamp_of(kind: Kind, space: u64) -> u64 {
        0x5301_0100 << 32 | (kind as u64) << 32 | if kind.has_home() { space } else { 0 }
    }

    /// An object with these words, and its stamp.
    fn bytes(kind: Kind, space: u64, words: &[(usize, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; kind.size()];
        for (at, word) in words.iter().chain(&[(STAMP_AT, stamp_of(kind, space))]) {
            bytes[*at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Copies of these, one after the other, the last one again and again.
    fn look(kind: Kind, copies: &[Vec<u8>]) -> Option<Found> {
        let mut copies = copies.iter().chain(std::iter::repeat(copies.last()?));
        at_place(kind, &mut |room| match copies.next().and_then(|copy| copy.get(..room.len())) {
            Some(copy) => {
                room.copy_from_slice(copy);
                true
            }
            None => false,
        })
    }

    fn still(kind: Kind, space: u64, words: &[(usize, u64)]) -> Option<Found> {
        look(kind, &[bytes(kind, space, words)])
    }

    fn lock_in(found: Option<Found>) -> Lock {
        match found.expect("it is one").seen {
            Seen::Mutex(lock) | Seen::RwLock { lock, .. } | Seen::Once { lock, .. } => lock,
            seen => panic!("{seen:?} has no lock"),
        }
    }

    /// No thread has this id: the kernel gives none above its own bound.
    const NOBODY: u64 = IDS as u64 - 1;

    fn own_id() -> u64 {
        process::tid() as u64
    }

    #[test]
    fn a_stamp_is_found_at_its_alignment_alone() {
        let mut memory = vec![0; 4096];
        for kind in Kind::ALL {
            let object = bytes(kind, HOME, &[]);
            for place in (0..256).step_by(8) {
                memory.fill(0);
                memory[place..place + 32].copy_from_slice(&object[..32]);
                let found: Vec<_> = stamps(&memory, 8192).collect();
                let fits = place.is_multiple_of(if kind.size() == 32 { 32 } else { 64 });
                assert_eq!(found, if fits { vec![(8192 + place as u64, kind)] } else { vec![] }, "{kind:?} at {place}");
            }
        }
    }

    #[test]
    fn what_is_no_stamp_is_nothing() {
        let whole = stamp_of(Kind::Mutex, HOME);
        for bit in 0..64 {
            let other = read_stamp(whole ^ 1 << bit);
            match bit {
                0..32 => assert_eq!(other, Some((Kind::Mutex, HOME as u32 ^ 1 << bit)), "another namespace"),
                32..40 => assert_ne!(other.map(|(kind, _)| kind), Some(Kind::Mutex), "bit {bit}"),
                // 1 or 2 is a C library, 0 and 3 is none.
                _ => assert_eq!(other, None, "bit {bit}"),
            }
        }
        for (word, is_one) in [
            (0x5301_0101 << 32, false),
            (0x5301_0201 << 32 | HOME, true),
            (0x5301_0301 << 32 | HOME, false),
            (0x5301_0100 << 32 | HOME, false),
            (0x5301_0109 << 32 | HOME, false),
            (0x5301_0103 << 32 | HOME, false),
            (0x5301_0103 << 32, true),
        ] {
            assert_eq!(read_stamp(word).is_some(), is_one, "{word:x}");
        }
    }

    #[test]
    fn every_kind_is_read_free_and_refused_short() {
        for kind in Kind::ALL {
            let number: &[_] = if matches!(kind, Kind::Permits | Kind::Barrier) { &[(KIND_AT, 3)] } else { &[] };
            let free = bytes(kind, HOME, number);
            let found = look(kind, std::slice::from_ref(&free)).unwrap_or_else(|| panic!("{kind:?}"));
            assert!(!found.awaited, "{found:?}");
            assert_eq!(look(kind, &[free[..free.len() - 1].to_vec()]), None, "{kind:?} is cut off");
            let others = Kind::ALL.into_iter().filter(|other| *other != kind && other.size() <= kind.size());
            others.for_each(|other| assert_eq!(look(other, std::slice::from_ref(&free)), None, "{kind:?}"));
        }
    }

    #[test]
    fn words_that_cannot_be_are_no_object() {
        let none = |kind, words: &[(usize, u64)]| assert_eq!(still(kind, HOME, words), None, "{kind:?} {words:?}");
        none(Kind::Mutex, &[(0, u64::from(IDS))]);
        none(Kind::Mutex, &[(0, 0x2300_0000)]);
        none(Kind::Mutex, &[(8, 5)]);
        none(Kind::Mutex, &[(16, HOME << 32 | u64::from(IDS))]);
        none(Kind::RwLock, &[(56, 2)]);
        none(Kind::RwLock, &[(64, 5)]);
        none(Kind::RwLock, &[(64 * READERS, HOME << 32 | u64::from(ID))]);
        none(Kind::Permits, &[]);
        none(Kind::Permits, &[(56, 65)]);
        none(Kind::Permits, &[(56, 2), (72, 5)]);
        none(Kind::Barrier, &[(56, 0)]);
        none(Kind::Barrier, &[(56, 65)]);
        none(Kind::Barrier, &[(56, 3), (PLACES_AT, 7)]);
        none(Kind::Once, &[(56, 2)]);
    }

    #[test]
    fn a_holder_is_judged_as_those_who_wait_judge() {
        let space = own_space();
        let owner = |words: &[(usize, u64)]| lock_in(still(Kind::Mutex, space, words));
        let lock = owner(&[(0, own_id())]);
        assert_eq!(lock.owner, Some(Owner { id: Some(own_id() as u32), life: Life::Alive }));
        assert!(!lock.died && !lock.abandoned);
        let lock = owner(&[(0, NOBODY)]);
        assert_eq!((lock.owner.map(|owner| owner.life), lock.died), (Some(Life::Dead), true));
        let lock = owner(&[(0, u64::from(DIED))]);
        assert_eq!((lock.owner, lock.died), (None, true));
        let lock = owner(&[(0, u64::from(DIED) | own_id())]);
        assert!(lock.owner.is_some() && lock.died);
        let lock = owner(&[(0, u64::from(ABANDONED))]);
        assert_eq!(lock, Lock { owner: None, died: false, abandoned: true });
        let lock = lock_in(still(Kind::Mutex, space ^ 1, &[(0, own_id())]));
        assert_eq!(lock.owner.map(|owner| owner.life), Some(Life::Elsewhere));
        // Through a gate: its holder's id is of the gate's namespace.
        let mark = 0x2000_0005;
        let gated = |word: u64| owner(&[(0, mark), (8, (space ^ 1) << 32 | word)]).owner;
        assert_eq!(gated(77), Some(Owner { id: Some(77), life: Life::Elsewhere }));
        assert_eq!(gated(0), Some(Owner { id: None, life: Life::Dead }));
        assert_eq!(gated(u64::from(DIED) | 77), Some(Owner { id: None, life: Life::Dead }));
        let lock = lock_in(still(Kind::Mutex, HOME, &[(0, mark), (8, space << 32 | own_id())]));
        assert_eq!(lock.owner.map(|owner| owner.life), Some(Life::Alive));
    }

    #[test]
    fn who_gave_it_up_meanwhile_is_not_dead() {
        let (held, free) = (bytes(Kind::Mutex, own_space(), &[(0, NOBODY)]), bytes(Kind::Mutex, own_space(), &[]));
        assert_eq!(lock_in(look(Kind::Mutex, &[held.clone(), free])).owner, None);
        // Another one each time: nothing is said of its life.
        let restless: Vec<_> =
            (0..20).map(|turn| bytes(Kind::Mutex, own_space(), &[(0, turn << 32 | NOBODY)])).collect();
        let lock = lock_in(look(Kind::Mutex, &restless[..usize::try_from(LOOKS).expect("it is small") + 1]));
        assert_eq!((lock.owner.map(|owner| owner.life), lock.died), (Some(Life::Untold), false));
        // Gone between two looks.
        let gone = vec![0; 64];
        assert_eq!(look(Kind::Mutex, &[held, gone]), None);
    }

    #[test]
    fn a_dead_writer_counts_where_it_wrote() {
        let space = own_space();
        assert!(!lock_in(still(Kind::RwLock, space, &[(0, u64::from(DIED))])).died);
        assert!(lock_in(still(Kind::RwLock, space, &[(0, u64::from(DIED)), (56, 1)])).died);
        // A reader's death means nothing, and leaves a mark in its slot.
        let slots = &[(64, space << 32 | u64::from(DIED)), (128, space << 32 | own_id())];
        let Some(Found { seen: Seen::RwLock { readers, .. }, awaited: false }) = still(Kind::RwLock, space, slots)
        else {
            panic!("it is a readers-writer lock");
        };
        assert_eq!(readers, [Owner { id: Some(own_id() as u32), life: Life::Alive }]);
        assert!(!lock_in(still(Kind::Once, space, &[(0, u64::from(DIED)), (56, 1)])).died);
        assert!(lock_in(still(Kind::Once, space, &[(0, u64::from(DIED))])).died);
    }

    #[test]
    fn a_barrier_tells_who_has_come_and_who_is_on_the_way() {
        let space = own_space();
        let claim = space << 32 | own_id();
        // Phase 4; marks of place 0 (waits), 1 (joined, on its way) and 2 (of an earlier phase).
        let (waits, earlier) = (5 << 2, 4 << 2);
        let words =
            [(56, 3), (64, 4), (128, claim), (136, claim), (144, claim), (2176, 1 << 32 | waits), (2184, earlier)];
        let barrier =
            |more: &[(usize, u64)]| still(Kind::Barrier, space, &[&words, more].concat()).expect("it is one").seen;
        let Seen::Barrier { needed: 3, arrived, joined, died: false, broken: false } = barrier(&[]) else {
            panic!("{:?}", barrier(&[]));
        };
        assert_eq!((arrived.len(), joined.len()), (1, 1));
        let dead = [(136, space << 32 | u64::from(DIED))];
        assert!(matches!(barrier(&dead), Seen::Barrier { died: true, broken: false, .. }));
        assert!(matches!(barrier(&[(64, 1 << 32 | 4)]), Seen::Barrier { died: false, broken: true, .. }));
    }

    #[test]
    fn random_bytes_are_nothing() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut memory = vec![0; 1 << 20];
        for word in memory.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        assert_eq!(stamps(&memory, 0).count(), 0);
        // With a stamp, what follows decides; nothing of it is a reason to fall over.
        for kind in Kind::ALL {
            let mut found = 0;
            for at in (0..memory.len() - kind.size()).step_by(4096) {
                let mut object = memory[at..at + kind.size()].to_vec();
                object[STAMP_AT..STAMP_AT + 8].copy_from_slice(&stamp_of(kind, HOME).to_le_bytes());
                found += usize::from(look(kind, &[object]).is_some());
            }
            let anything = matches!(kind, Kind::Cond | Kind::Semaphore | Kind::Event);
            assert_eq!(found > 0, anything, "{kind:?}");
        }
    }
}
