//! What a model of `tests/models.rs` is made of: words that are loom's atomics with a queue of sleepers each, threads
//! that keep a list of what they hold and can be made to die before any of their steps, and the part of Linux that
//! wakes sleepers and goes through the list of a dead one (`futex_wake`, `exit_robust_list`). Next: `models.rs`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed as Plain;
use std::sync::atomic::{AtomicU32 as PlainU32, AtomicUsize as PlainUsize};

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use shmkit::sync::claim::{DIED, ID, WAITERS};
use shmkit::sync::futex::{Futex, Holder, Taken};

/// The life of a thread that does not die.
pub const ALIVE: u32 = u32::MAX;
/// More steps than any mortal of the models takes.
const MOST_STEPS: u32 = 120;
/// A sleep up to so long ends without a wake when the others have come no further; until then it takes wakes as any other.
const NAP_NS: u64 = 5_000_000;

thread_local! {
    /// The clock. All threads of a model run on one thread of the system.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// Deaths in all executions of a model.
    static DEATHS: Cell<u32> = const { Cell::new(0) };
}

/// Runs a model in every order of its steps, with so many preemptions at most.
pub fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 10_000;
    builder.check(model);
}

/// Runs a model once for each step that its mortal takes, and it dies before that step; at last it lives.
pub fn deaths(preemptions: usize, model: impl Fn(u32) + Clone + Sync + Send + 'static) {
    some_deaths(preemptions, 1, model);
}

/// The same for each so many steps: where all of them take too long.
pub fn some_deaths(preemptions: usize, each: usize, model: impl Fn(u32) + Clone + Sync + Send + 'static) {
    for life in (0..MOST_STEPS).step_by(each) {
        DEATHS.set(0);
        let model = model.clone();
        explore(preemptions, move || model(life));
        if DEATHS.get() == 0 {
            assert!(life > 5, "the mortal did nothing");
            return;
        }
    }
    panic!("the mortal takes more than {MOST_STEPS} steps");
}

/// Only the first so many: where the others take too long, and have nothing to do with it. It must die before each.
pub fn first_deaths(preemptions: usize, lives: u32, model: impl Fn(u32) + Clone + Sync + Send + 'static) {
    for life in 0..lives {
        DEATHS.set(0);
        let model = model.clone();
        explore(preemptions, move || model(life));
        assert!(DEATHS.get() > 0, "it lived");
    }
}

/// A word and who sleeps on it, the first to sleep first.
struct Place {
    value: AtomicU32,
    sleepers: Mutex<VecDeque<(Rc<Cell<bool>>, loom::thread::Thread)>>,
}

// The queues are touched only between two steps, and all threads of a model run on one thread of the system.
// SAFETY: as said.
unsafe impl Sync for Place {}
// SAFETY: as said.
unsafe impl Send for Place {}

impl Place {
    /// An access that is ordered with every other of this kind, and orders nothing else.
    fn now(&self) -> u32 {
        self.value.fetch_or(0, Relaxed)
    }

    fn wake(&self, count: u32) -> u32 {
        self.now();
        let mut sleepers = self.sleepers.lock().expect("nobody panics with it");
        let woken = sleepers.len().min(count as usize);
        for (flag, thread) in sleepers.drain(..woken) {
            flag.set(true);
            thread.unpark();
        }
        woken as u32
    }

    /// handle_futex_death() of Linux.
    fn bury(&self, id: u32, pending: bool) {
        let mut seen = self.now();
        loop {
            if pending && seen & ID == 0 {
                self.wake(1);
                return;
            }
            if seen & ID != id {
                return;
            }
            match self.value.compare_exchange(seen, (seen & WAITERS) | DIED, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if seen & WAITERS != 0 {
            self.wake(1);
        }
    }
}

/// The memory that the threads of a model share.
pub struct World {
    places: Vec<Place>,
    /// So many steps remain to each thread.
    lives: [PlainU32; 8],
    threads: PlainUsize,
    /// What a lock guards: two numbers that are the same unless somebody is in the midst of it.
    pair: UnsafeCell<[u32; 2]>,
    /// Counters that order nothing.
    pub here: [PlainUsize; 2],
    /// 1 when time passes after a death, 2 when one has happened.
    clock: PlainU32,
    dead: PlainU32,
}

impl World {
    /// So many words, all 0.
    pub fn new(words: usize) -> &'static World {
        NOW.set(0);
        let place = || Place { value: AtomicU32::new(0), sleepers: Mutex::default() };
        Box::leak(Box::new(World {
            places: (0..words).map(|_| place()).collect(),
            lives: Default::default(),
            threads: PlainUsize::new(0),
            pair: UnsafeCell::new([0; 2]),
            here: Default::default(),
            clock: PlainU32::new(0),
            dead: PlainU32::new(0),
        }))
    }

    /// At the end of a model, when its threads have been joined.
    pub fn end(&'static self) {
        assert!(self.places.iter().all(|place| place.sleepers.lock().expect("nobody panics with it").is_empty()));
        // SAFETY: it came from a box, and the threads that knew it have ended.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(self).cast_mut()) });
    }

    /// After a death sleepers find that the time of their sleep is over, as in the end they do.
    pub fn time_passes_after_deaths(&self) {
        self.clock.store(1, Plain);
    }

    /// Whether a thread has died.
    pub fn somebody_died(&self) -> bool {
        self.dead.load(Plain) != 0
    }

    /// A word.
    pub fn raw(&self, at: usize) -> u32 {
        self.places[at].value.load(SeqCst)
    }

    /// Sets a word before there are threads.
    pub fn set(&self, at: usize, value: u32) {
        self.places[at].value.store(value, SeqCst);
    }

    /// How often the pair was touched; loom complains when somebody writes to it now.
    pub fn touched(&self) -> u32 {
        // SAFETY: loom would have panicked if another thread wrote.
        self.pair.with(|pair| unsafe { (*pair)[0] })
    }
}

// SAFETY: loom finds accesses to the pair that nothing orders; what else is in it is Sync.
unsafe impl Sync for World {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for World {}

/// A word as one thread sees it.
#[derive(Clone, Copy)]
pub struct Word {
    world: &'static World,
    at: usize,
    life: &'static PlainU32,
}

/// Why a thread unwinds that dies.
struct Dead;

fn step(life: &PlainU32) {
    match life.load(Plain) {
        ALIVE => {}
        0 => resume_unwind(Box::new(Dead)),
        left => life.store(left - 1, Plain),
    }
}

impl Word {
    /// A step of this thread that is no access to a word: it may die before it.
    #[allow(dead_code, reason = "the models of containers use it")]
    pub fn step(self) {
        step(self.life);
    }

    /// write(2) to an eventfd(2) that the word stands for: nobody dies in the midst of it. It orders nothing.
    #[allow(dead_code, reason = "the models of those who sleep on descriptors use it")]
    pub fn ring(self) {
        self.value().fetch_add(1, Relaxed);
        self.place().wake(u32::MAX);
    }

    /// Sleeps in epoll, without an end, until the eventfd(2) was written to, and empties it. It orders nothing.
    #[allow(dead_code, reason = "the models of those who sleep on descriptors use it")]
    pub fn until_rung(self) {
        while self.value().swap(0, Relaxed) == 0 {
            self.wait(0, u64::MAX);
        }
    }

    /// Before each access.
    fn value(&self) -> &'static AtomicU32 {
        step(self.life);
        &self.place().value
    }

    fn place(&self) -> &'static Place {
        &self.world.places[self.at]
    }
}

/// No stronger than the trait says that it is.
impl Futex for Word {
    const SPINS: u32 = 0;

    fn load(self) -> u32 {
        self.value().load(Acquire)
    }

    /// An exchange, because loom lets a plain store come before an exchange that it follows, and every later load and
    /// exchange of the other thread miss it. What the thread loads afterwards may be older still.
    fn store(self, value: u32) {
        self.value().swap(value, Release);
    }

    fn exchange(self, old: u32, new: u32) -> Result<u32, u32> {
        self.value().compare_exchange(old, new, AcqRel, Acquire)
    }

    fn swap(self, value: u32) -> u32 {
        self.value().swap(value, AcqRel)
    }

    fn and(self, bits: u32) -> u32 {
        self.value().fetch_and(bits, AcqRel)
    }

    fn or(self, bits: u32) -> u32 {
        self.value().fetch_or(bits, AcqRel)
    }

    fn add(self, value: u32) -> u32 {
        self.value().fetch_add(value, AcqRel)
    }

    fn fence() {
        fence(SeqCst);
    }

    fn wait(self, expected: u32, until: u64) {
        step(self.life);
        if self.place().now() != expected {
            return;
        }
        let passes = self.world.clock.load(Plain) == 2;
        if passes {
            NOW.set(NOW.get().max(until));
            loom::thread::yield_now();
        } else {
            let woken = Rc::new(Cell::new(false));
            let sleeper = (woken.clone(), loom::thread::current());
            let sleepers = || self.place().sleepers.lock().expect("nobody panics with it");
            sleepers().push_back(sleeper);
            if until.saturating_sub(NOW.get()) <= NAP_NS {
                loom::thread::yield_now();
                sleepers().retain(|one| !Rc::ptr_eq(&one.0, &woken));
                woken.set(true);
            }
            while !woken.get() {
                loom::thread::park();
            }
            if self.world.clock.load(Plain) == 2 {
                NOW.set(NOW.get().max(until));
            }
        }
        step(self.life);
    }

    fn wake(self, count: u32) -> u32 {
        step(self.life);
        self.place().wake(count)
    }

    fn now() -> u64 {
        NOW.get()
    }

    fn relax() {
        loom::thread::yield_now();
    }

    /// Here the kernel marks whatever the dead held.
    fn exists(_id: u32) -> bool {
        true
    }
}

/// A thread of a model.
pub struct Thread {
    world: &'static World,
    id: u32,
    life: &'static PlainU32,
    /// Which words, by their number.
    held: RefCell<Vec<usize>>,
    pending: Cell<Option<usize>>,
}

impl Thread {
    /// What it shares with the others.
    pub fn world(&self) -> &'static World {
        self.world
    }

    /// A word.
    pub fn word(&self, at: usize) -> Word {
        Word { world: self.world, at, life: self.life }
    }

    /// Whether a word is on its list.
    pub fn holds(&self, at: usize) -> bool {
        self.held.borrow().contains(&at)
    }

    /// With the lock held, alone: touches what it guards, and mends it first when a holder died.
    pub fn touch(&self, taken: Taken) {
        self.change(|pair| {
            assert!(pair[0] == pair[1] || taken == Taken::Died, "damaged, and nobody is told");
            *pair = [pair[0].min(pair[1]) + 1, pair[0].min(pair[1])];
        });
        step(self.life);
        self.change(|pair| pair[1] += 1);
    }

    /// As if nobody had touched it.
    pub fn begin_again(&self) {
        self.change(|pair| *pair = [0; 2]);
    }

    fn change(&self, work: impl FnOnce(&mut [u32; 2])) {
        // SAFETY: loom has found out that no other thread has it.
        self.world.pair.with_mut(|pair| work(unsafe { &mut *pair }));
    }

    /// With the lock held, by others too: looks at what it guards.
    pub fn look(&self) {
        let look = |pair: *const [u32; 2]| {
            // SAFETY: loom has found out that no other thread writes to it.
            let pair = unsafe { *pair };
            assert_eq!(pair[0], pair[1], "a reader beside a writer, or behind a dead one");
        };
        self.world.pair.with(look);
        step(self.life);
        self.world.pair.with(look);
    }

    /// Together with so many at most.
    pub fn inside(&self, most: usize) {
        let here = &self.world.here[0];
        assert!(here.fetch_add(1, Plain) < most, "more are inside than there are permits");
        let end = catch_unwind(AssertUnwindSafe(|| step(self.life)));
        // A step which the others come before or after.
        self.world.places[0].now();
        here.fetch_sub(1, Plain);
        if let Err(cause) = end {
            resume_unwind(cause);
        }
    }

    /// exit_robust_list() of Linux, and the rest of a death.
    fn exit(&self) {
        DEATHS.set(DEATHS.get() + 1);
        let pending = self.pending.take();
        // The latest first, as on the list.
        for at in self.held.take().into_iter().rev().filter(|at| Some(*at) != pending) {
            self.world.places[at].bury(self.id, false);
        }
        if let Some(at) = pending {
            self.world.places[at].bury(self.id, true);
        }
        self.world.dead.store(1, Plain);
        if self.world.clock.load(Plain) != 0 {
            self.world.clock.store(2, Plain);
            for place in &self.world.places {
                place.wake(u32::MAX);
            }
        }
    }
}

impl Holder<Word> for Thread {
    fn id(&self) -> u32 {
        self.id
    }

    fn has_room(&self, _more: u32) -> bool {
        true
    }

    fn begin(&self, word: Word) {
        step(self.life);
        self.pending.set(Some(word.at));
    }

    fn keep(&self, word: Word) {
        step(self.life);
        self.held.borrow_mut().push(word.at);
    }

    fn forget(&self, word: Word) -> bool {
        step(self.life);
        let mut held = self.held.borrow_mut();
        let found = held.iter().rposition(|at| *at == word.at);
        found.map(|index| held.remove(index)).is_some()
    }

    fn end(&self) {
        step(self.life);
        self.pending.set(None);
    }
}

/// Does the work as a thread of this id: what it came to, or None when the thread died before.
pub fn here<T>(world: &'static World, id: u32, life: u32, work: impl FnOnce(Rc<Thread>) -> T) -> Option<T> {
    let slot = &world.lives[world.threads.fetch_add(1, Plain)];
    slot.store(life, Plain);
    let me = Rc::new(Thread { world, id, life: slot, held: RefCell::default(), pending: Cell::new(None) });
    match catch_unwind(AssertUnwindSafe(|| work(me.clone()))) {
        Ok(value) => {
            assert!(me.held.borrow().is_empty(), "it ends with something held");
            Some(value)
        }
        Err(cause) if cause.is::<Dead>() => {
            slot.store(ALIVE, Plain);
            me.exit();
            None
        }
        Err(cause) => resume_unwind(cause),
    }
}

/// The same beside the others.
pub fn go<T: 'static>(
    world: &'static World,
    id: u32,
    life: u32,
    work: impl FnOnce(Rc<Thread>) -> T + 'static,
) -> loom::thread::JoinHandle<Option<T>> {
    loom::thread::spawn(move || here(world, id, life, work))
}
