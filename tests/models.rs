//! The cores of `src/sync` under loom, which runs each model in every order of its steps, up to a number of preemptions
//! (LOOM_MAX_PREEMPTIONS raises it). A sleep without a wake is a deadlock there: the wake-ups that time brings
//! (`BEAT_NS`) come only where a model lets time pass. A thread dies before every single step in turn, and a kernel of
//! this file's own then does with its list what Linux does. Next: `support/model.rs` for word, thread and kernel.

#[path = "support/model.rs"]
mod model;

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread::JoinHandle;
use model::{ALIVE, Thread, Word, World, deaths, explore, first_deaths, go, here, some_deaths};
use shmkit::sync::barrier::{Barrier, Marked, Passed};
use shmkit::sync::claim::{self, DIED, ID};
use shmkit::sync::cond;
use shmkit::sync::event;
use shmkit::sync::futex::{Futex, Holder, Refused, Taken};
use shmkit::sync::mutex::{Lane, Mutex};
use shmkit::sync::once::Once;
use shmkit::sync::permits::{Permits, Places};
use shmkit::sync::rwlock::{RwLock, Slots};
use shmkit::sync::semaphore;

const FOREVER: u64 = u64::MAX;

fn join<T>(thread: JoinHandle<Option<T>>) -> Option<T> {
    thread.join().expect("it ends")
}

// ------------------------------------------------------------------------------------------------------------------
// Claims
// ------------------------------------------------------------------------------------------------------------------

/// Takes the word at 0, touches what it guards, and gives it up.
fn claim_once(me: &Thread) {
    claim_as(me, false);
}

fn claim_as(me: &Thread, in_turn: bool) {
    let word = me.word(0);
    let taken = claim::hold(word, me, FOREVER, in_turn, &mut |_| ()).expect("nothing refuses it");
    if taken == Taken::Died {
        word.and(!DIED);
    }
    me.touch(taken);
    claim::release(word, me);
}

#[test]
fn claim_two_takers_exclude_each_other() {
    explore(4, || {
        let world = World::new(1);
        let other = go(world, 2, ALIVE, |me| (0..2).for_each(|_| claim_once(&me)));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| claim_once(&me)));
        join(other);
        assert_eq!((world.raw(0), world.touched()), (0, 4), "WAITERS is taken away by who finds nobody asleep");
        world.end();
    });
}

#[test]
fn claim_three_takers_lose_no_wake() {
    explore(2, || {
        let world = World::new(1);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| claim_once(&me)));
        here(world, 1, ALIVE, |me| claim_once(&me));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!((world.raw(0), world.touched()), (0, 3));
        world.end();
    });
}

#[test]
fn claim_of_a_holder_that_dies() {
    deaths(3, |life| {
        let world = World::new(1);
        let mortal = go(world, 2, life, |me| claim_once(&me));
        here(world, 1, ALIVE, |me| claim_once(&me));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| claim_once(&me));
        assert_eq!(world.raw(0), 0);
        world.end();
    });
}

#[test]
fn claim_of_a_holder_that_dies_between_two_takers() {
    deaths(1, |life| {
        let world = World::new(1);
        let mortal = go(world, 2, life, |me| claim_once(&me));
        let other = go(world, 3, ALIVE, |me| claim_once(&me));
        here(world, 1, ALIVE, |me| claim_once(&me));
        join(other);
        let _ = join(mortal);
        // WAITERS may have been left by the dead one: the next takes it away.
        assert_eq!(world.raw(0) & ID, 0);
        here(world, 1, ALIVE, |me| claim_once(&me));
        assert_eq!(world.raw(0), 0);
        world.end();
    });
}

/// One that lets pass who was woken may get the next wake, before one that sleeps behind it, and die: before its fifth step
/// it has come so far.
#[test]
fn claim_of_one_that_dies_while_it_lets_others_pass() {
    first_deaths(2, 5, |life| {
        let world = World::new(1);
        let mortal = go(world, 2, life, |me| claim_as(&me, true));
        let other = go(world, 3, ALIVE, |me| {
            claim::hold(me.word(0), &*me, FOREVER, false, &mut |_| ()).expect("nothing refuses it");
            claim::release(me.word(0), &*me);
        });
        // It does not wait for its turn: who was woken goes to sleep again.
        here(world, 1, ALIVE, |me| {
            for _ in 0..2 {
                claim::hold(me.word(0), &*me, FOREVER, false, &mut |_| ()).expect("nothing refuses it");
                Word::relax();
                claim::release(me.word(0), &*me);
            }
        });
        join(other);
        let _ = join(mortal);
        world.end();
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The mutex and its gates
// ------------------------------------------------------------------------------------------------------------------

const MUTEX: usize = 4;

fn mutex(me: &Thread) -> Mutex<Word> {
    Mutex { main: me.word(0), gates: [me.word(1), me.word(2)], turns: me.word(3) }
}

/// Locks it, mends what the dead left, touches what it guards, and unlocks it.
fn lock_once(me: &Thread, lane: Lane) {
    let mutex = mutex(me);
    let taken = mutex.lock(me, lane, FOREVER).expect("nothing refuses it");
    if taken == Taken::Died {
        mutex.consistent(me, lane).expect("it is this thread's");
    }
    me.touch(taken);
    mutex.unlock(me, lane).expect("it is this thread's");
}

#[test]
fn mutex_from_home_and_through_gates() {
    for lanes in [[Lane::Home, Lane::Gate(0)], [Lane::Gate(0), Lane::Gate(0)], [Lane::Gate(0), Lane::Gate(1)]] {
        explore(3, move || {
            let world = World::new(MUTEX);
            // Two pid namespaces: the same id in both, when one is not at home.
            let id = if lanes[0] == lanes[1] { 2 } else { 1 };
            let other = go(world, id, ALIVE, move |me| lock_once(&me, lanes[1]));
            here(world, 1, ALIVE, |me| lock_once(&me, lanes[0]));
            join(other);
            assert_eq!((world.raw(0), world.raw(1), world.raw(2), world.touched()), (0, 0, 0, 2));
            world.end();
        });
    }
}

#[test]
fn mutex_whose_holder_dies_at_home() {
    deaths(3, |life| {
        let world = World::new(MUTEX);
        let mortal = go(world, 2, life, |me| lock_once(&me, Lane::Home));
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Gate(0)));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Home));
        world.end();
    });
}

/// The next of the same gate frees the mark of a dead one at once.
#[test]
fn mutex_whose_holder_dies_behind_the_same_gate() {
    deaths(3, |life| {
        let world = World::new(MUTEX);
        let mortal = go(world, 2, life, |me| lock_once(&me, Lane::Gate(0)));
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Gate(0)));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Gate(0)));
        world.end();
    });
}

/// Others find the mark of a dead one when they look again: here time passes.
#[test]
fn mutex_whose_holder_dies_behind_a_gate() {
    deaths(2, |life| {
        let world = World::new(MUTEX);
        world.time_passes_after_deaths();
        let mortal = go(world, 1, life, |me| lock_once(&me, Lane::Gate(1)));
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Home));
        let _ = join(mortal);
        world.end();
    });
}

/// The next of the same gate frees the mark of a dead one while a thread from home comes and goes to sleep on it.
#[test]
fn mutex_whose_holder_dies_behind_a_gate_before_two_takers() {
    deaths(2, |life| {
        let world = World::new(MUTEX);
        world.time_passes_after_deaths();
        let _ = here(world, 2, life, |me| lock_once(&me, Lane::Gate(0)));
        let other = go(world, 3, ALIVE, |me| lock_once(&me, Lane::Gate(0)));
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Home));
        join(other);
        world.end();
    });
}

/// All three at once.
#[test]
fn mutex_whose_holder_dies_behind_a_gate_among_two_takers() {
    deaths(1, |life| {
        let world = World::new(MUTEX);
        world.time_passes_after_deaths();
        let mortal = go(world, 2, life, |me| lock_once(&me, Lane::Gate(0)));
        let other = go(world, 3, ALIVE, |me| lock_once(&me, Lane::Gate(0)));
        here(world, 1, ALIVE, |me| lock_once(&me, Lane::Home));
        join(other);
        let _ = join(mortal);
        world.end();
    });
}

#[test]
fn mutex_that_is_abandoned_refuses_everybody() {
    for lane in [Lane::Home, Lane::Gate(0)] {
        explore(3, move || {
            let world = World::new(MUTEX);
            let other = go(world, 2, ALIVE, |me| match mutex(&me).lock(&*me, Lane::Home, FOREVER) {
                Ok(_) => mutex(&me).unlock(&*me, Lane::Home).expect("it is this thread's"),
                Err(refused) => assert_eq!(refused, Refused::Abandoned),
            });
            here(world, 1, ALIVE, |me| {
                mutex(&me).lock(&*me, lane, FOREVER).expect("nothing refuses it");
                mutex(&me).abandon(&*me, lane).expect("it is this thread's");
                assert_eq!(mutex(&me).lock(&*me, lane, FOREVER), Err(Refused::Abandoned));
            });
            join(other);
            world.end();
        });
    }
}

// ------------------------------------------------------------------------------------------------------------------
// The readers-writer lock
// ------------------------------------------------------------------------------------------------------------------

/// Words that each bear a holder, as one thread sees them, from `at` on; marks behind them. The slots of readers are all of
/// the home namespace, or the odd ones are of another.
struct Claims {
    me: Rc<Thread>,
    at: usize,
    count: usize,
    usable: fn(usize) -> bool,
}

impl Claims {
    fn latest(&self) -> Option<usize> {
        (0..self.count).find(|place| self.me.holds(self.at + place))
    }
}

impl Slots<Word> for Claims {
    fn count(&self) -> usize {
        self.count
    }

    fn word(&self, slot: usize) -> Word {
        self.me.word(self.at + slot)
    }

    fn is_usable(&self, slot: usize) -> bool {
        (self.usable)(slot)
    }

    fn first(&self) -> usize {
        self.me.id() as usize % self.count
    }

    fn own(&self) -> Option<usize> {
        self.latest()
    }
}

impl Places<Word> for Claims {
    fn count(&self) -> usize {
        self.count
    }

    fn word(&self, place: usize) -> Word {
        self.me.word(self.at + place)
    }

    fn is_near(&self, _place: usize) -> bool {
        true
    }

    fn bind(&self, _place: usize) {}

    fn own(&self) -> Option<usize> {
        self.latest()
    }
}

impl Marked<Word> for Claims {
    fn mark(&self, place: usize) -> Word {
        self.me.word(self.at + self.count + place)
    }
}

const RWLOCK: usize = MUTEX + 1;

fn rwlock(me: &Rc<Thread>, slots: usize, lanes: Lanes) -> RwLock<Word, Claims> {
    let slots = Claims { me: me.clone(), at: RWLOCK, count: slots, usable: lanes.slots };
    RwLock { mutex: mutex(me), writing: me.word(MUTEX), slots }
}

/// By which way a reader or writer comes, and which slots are of its namespace.
#[derive(Clone, Copy)]
struct Lanes {
    lane: Lane,
    slots: fn(usize) -> bool,
}

/// All are of one namespace.
const HOME: Lanes = Lanes { lane: Lane::Home, slots: |_| true };
/// There are two.
const NEAR: Lanes = Lanes { lane: Lane::Home, slots: |slot| slot % 2 == 0 };
const FAR: Lanes = Lanes { lane: Lane::Gate(0), slots: |slot| slot % 2 == 1 };

fn write_once(me: &Rc<Thread>, slots: usize) {
    write_by(me, slots, HOME);
}

fn write_by(me: &Rc<Thread>, slots: usize, lanes: Lanes) {
    let (lock, lane) = (rwlock(me, slots, lanes), lanes.lane);
    let taken = lock.write(&**me, lane, FOREVER).expect("nothing refuses it");
    if taken == Taken::Died {
        lock.mutex.consistent(&**me, lane).expect("it is this thread's");
    }
    me.touch(taken);
    lock.unlock(&**me, lane).expect("it is this thread's");
}

fn read_once(me: &Rc<Thread>, slots: usize) {
    read_by(me, slots, HOME);
}

fn read_by(me: &Rc<Thread>, slots: usize, lanes: Lanes) {
    let (lock, lane) = (rwlock(me, slots, lanes), lanes.lane);
    let taken = lock.read(&**me, lane, FOREVER).expect("nothing refuses it");
    if taken == Taken::Died {
        lock.mutex.consistent(&**me, lane).expect("it is this thread's");
        me.touch(taken);
    } else {
        me.look();
    }
    lock.unlock(&**me, lane).expect("it is this thread's");
}

#[test]
fn rwlock_readers_and_writers_exclude_each_other() {
    for slots in [1, 2] {
        explore(2, move || {
            let world = World::new(RWLOCK + slots);
            let writer = go(world, 2, ALIVE, move |me| write_once(&me, slots));
            here(world, 1, ALIVE, |me| (0..2).for_each(|_| read_once(&me, slots)));
            join(writer);
            assert_eq!((0..RWLOCK + slots).map(|at| world.raw(at)).max(), Some(0));
            assert_eq!(world.touched(), 1);
            world.end();
        });
    }
}

/// With one slot the second reader shares the mutex.
#[test]
fn rwlock_two_readers_and_a_writer() {
    for slots in [1, 2] {
        explore(1, move || {
            let world = World::new(RWLOCK + slots);
            let writer = go(world, 3, ALIVE, move |me| write_once(&me, slots));
            let reader = go(world, 2, ALIVE, move |me| read_once(&me, slots));
            here(world, 1, ALIVE, |me| read_once(&me, slots));
            join(writer);
            join(reader);
            assert_eq!((0..RWLOCK + slots).map(|at| world.raw(at)).max(), Some(0));
            world.end();
        });
    }
}

#[test]
fn rwlock_whose_writer_dies_tells_the_next_reader() {
    deaths(2, |life| {
        let world = World::new(RWLOCK + 1);
        let mortal = go(world, 2, life, |me| write_once(&me, 1));
        here(world, 1, ALIVE, |me| read_once(&me, 1));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| read_once(&me, 1));
        world.end();
    });
}

#[test]
fn rwlock_whose_writer_dies_tells_the_next_writer() {
    deaths(2, |life| {
        let world = World::new(RWLOCK + 1);
        let mortal = go(world, 2, life, |me| write_once(&me, 1));
        here(world, 1, ALIVE, |me| write_once(&me, 1));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| write_once(&me, 1));
        world.end();
    });
}

#[test]
fn rwlock_whose_reader_dies_lets_writers_in() {
    deaths(1, |life| {
        let world = World::new(RWLOCK + 1);
        let mortal = go(world, 2, life, |me| read_once(&me, 1));
        here(world, 1, ALIVE, |me| write_once(&me, 1));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| write_once(&me, 1));
        assert_eq!(world.touched(), 2);
        world.end();
    });
}

/// Of two pid namespaces, with the same id in both.
#[test]
fn rwlock_from_home_and_through_a_gate() {
    for (writes, reads) in [(NEAR, FAR), (FAR, NEAR), (FAR, FAR)] {
        explore(3, move || {
            let world = World::new(RWLOCK + 2);
            let id = if writes.lane == reads.lane { 2 } else { 1 };
            let writer = go(world, id, ALIVE, move |me| write_by(&me, 2, writes));
            here(world, 1, ALIVE, |me| (0..2).for_each(|_| read_by(&me, 2, reads)));
            join(writer);
            assert_eq!((0..3).chain(MUTEX..RWLOCK + 2).map(|at| world.raw(at)).max(), Some(0));
            assert_eq!(world.touched(), 1);
            world.end();
        });
    }
}

#[test]
fn rwlock_two_writers_of_two_namespaces_and_a_reader() {
    explore(1, || {
        let world = World::new(RWLOCK + 2);
        let far = go(world, 1, ALIVE, |me| write_by(&me, 2, FAR));
        let near = go(world, 1, ALIVE, |me| write_by(&me, 2, NEAR));
        here(world, 2, ALIVE, |me| read_by(&me, 2, FAR));
        join(far);
        join(near);
        assert_eq!(world.touched(), 2);
        world.end();
    });
}

/// Of another namespace the mark is found when somebody looks again, and a reader's slot by the kernel.
#[test]
fn rwlock_whose_holder_dies_in_the_other_namespace() {
    type Once = fn(&Rc<Thread>, usize, Lanes);
    let pairs: [(Once, Once); 3] = [(write_by, read_by), (write_by, write_by), (read_by, write_by)];
    for (dies, lives) in pairs {
        for (of, to) in [(FAR, NEAR), (NEAR, FAR)] {
            deaths(1, move |life| {
                let world = World::new(RWLOCK + 2);
                world.time_passes_after_deaths();
                let mortal = go(world, 1, life, move |me| dies(&me, 2, of));
                here(world, 1, ALIVE, |me| lives(&me, 2, to));
                let _ = join(mortal);
                here(world, 1, ALIVE, |me| lives(&me, 2, to));
                world.end();
            });
        }
    }
}

// ------------------------------------------------------------------------------------------------------------------
// The event count and the condition variable
// ------------------------------------------------------------------------------------------------------------------

/// Takes one of the things that the word at 1 counts, waiting with the event at 0.
fn fetch(me: &Thread) {
    let (event, things) = (me.word(0), me.word(1));
    loop {
        let key = event::prepare(event);
        let seen = things.load();
        match seen {
            0 => assert!(event::wait(event, key, FOREVER)),
            _ if things.exchange(seen, seen - 1).is_ok() => return,
            _ => {}
        }
    }
}

/// Makes one and notifies so many.
fn bring(me: &Thread, number: u32, count: u32) {
    me.word(1).add(number);
    Word::fence();
    event::notify(me.word(0), count);
}

#[test]
fn event_loses_no_notification() {
    explore(4, || {
        let world = World::new(2);
        let other = go(world, 2, ALIVE, |me| (0..2).for_each(|_| fetch(&me)));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| bring(&me, 1, 1)));
        join(other);
        assert_eq!(world.raw(1), 0);
        world.end();
    });
}

#[test]
fn event_wakes_two_waiters_one_by_one_or_together() {
    for (rounds, number, count) in [(2, 1, 1), (1, 2, 2), (1, 2, FOREVER as u32)] {
        explore(2, move || {
            let world = World::new(2);
            let others = [2, 3].map(|id| go(world, id, ALIVE, |me| fetch(&me)));
            here(world, 1, ALIVE, |me| (0..rounds).for_each(|_| bring(&me, number, count)));
            others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
            assert_eq!(world.raw(1), 0);
            world.end();
        });
    }
}

#[test]
fn event_with_two_notifiers() {
    explore(2, || {
        let world = World::new(2);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| bring(&me, 1, 1)));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| fetch(&me)));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!(world.raw(1), 0);
        world.end();
    });
}

/// A waiter that dies leaves nothing: who notifies all wakes the other one.
#[test]
fn event_with_a_waiter_that_dies() {
    deaths(2, |life| {
        let world = World::new(2);
        let mortal = go(world, 2, life, |me| fetch(&me));
        let other = go(world, 3, ALIVE, |me| fetch(&me));
        here(world, 1, ALIVE, |me| bring(&me, 2, u32::MAX));
        join(other);
        let _ = join(mortal);
        world.end();
    });
}

/// Waits with the condition at `MUTEX` until the thing at `MUTEX + 1` is there, and takes it.
fn await_thing(me: &Thread) {
    let mutex = mutex(me);
    let mut taken = mutex.lock(me, Lane::Home, FOREVER).expect("nothing refuses it");
    loop {
        if taken == Taken::Died {
            mutex.consistent(me, Lane::Home).expect("it is this thread's");
        }
        me.touch(taken);
        let seen = me.word(MUTEX + 1).load();
        if seen != 0 {
            me.word(MUTEX + 1).store(seen - 1);
            break;
        }
        let woken = cond::wait(me.word(MUTEX), &mutex, me, Lane::Home, FOREVER).expect("the mutex is this thread's");
        assert!(!woken.timed_out);
        taken = woken.taken;
    }
    mutex.unlock(me, Lane::Home).expect("it is this thread's");
}

/// Adds things and signals, with the mutex held or after it.
fn add_things(me: &Thread, number: u32, count: u32, held: bool) {
    let mutex = mutex(me);
    let taken = mutex.lock(me, Lane::Home, FOREVER).expect("nothing refuses it");
    if taken == Taken::Died {
        mutex.consistent(me, Lane::Home).expect("it is this thread's");
    }
    me.touch(taken);
    let things = me.word(MUTEX + 1);
    things.store(things.load() + number);
    if held {
        event::notify(me.word(MUTEX), count);
    }
    mutex.unlock(me, Lane::Home).expect("it is this thread's");
    if !held {
        event::notify(me.word(MUTEX), count);
    }
}

#[test]
fn cond_loses_no_signal() {
    for held in [false, true] {
        explore(3, move || {
            let world = World::new(MUTEX + 2);
            let other = go(world, 2, ALIVE, |me| await_thing(&me));
            here(world, 1, ALIVE, |me| add_things(&me, 1, 1, held));
            join(other);
            assert_eq!(world.raw(MUTEX + 1), 0);
            world.end();
        });
    }
}

#[test]
fn cond_broadcast_wakes_all() {
    explore(2, || {
        let world = World::new(MUTEX + 2);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| await_thing(&me)));
        here(world, 1, ALIVE, |me| add_things(&me, 2, u32::MAX, false));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!(world.raw(MUTEX + 1), 0);
        world.end();
    });
}

/// The waiter dies, wherever; signals and the mutex go on.
#[test]
fn cond_with_a_waiter_that_dies() {
    deaths(2, |life| {
        let world = World::new(MUTEX + 2);
        let mortal = go(world, 2, life, |me| await_thing(&me));
        here(world, 1, ALIVE, |me| add_things(&me, 1, 1, true));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| add_things(&me, 1, u32::MAX, false));
        here(world, 1, ALIVE, |me| await_thing(&me));
        world.end();
    });
}

/// A dead holder of the mutex is reported through the wait: that is for who looks again, because nobody signals.
#[test]
fn cond_whose_signaller_dies() {
    deaths(2, |life| {
        let world = World::new(MUTEX + 2);
        world.time_passes_after_deaths();
        let mortal = go(world, 2, life, |me| add_things(&me, 1, 1, true));
        here(world, 1, ALIVE, |me| {
            let mutex = mutex(&me);
            let mut taken = mutex.lock(&*me, Lane::Home, FOREVER).expect("nothing refuses it");
            while taken == Taken::Clean && me.word(MUTEX + 1).load() == 0 && !world.somebody_died() {
                let woken = cond::wait(me.word(MUTEX), &mutex, &*me, Lane::Home, FOREVER);
                taken = woken.expect("the mutex is this thread's").taken;
            }
            me.touch(taken);
            if taken == Taken::Died {
                mutex.consistent(&*me, Lane::Home).expect("it is this thread's");
            }
            mutex.unlock(&*me, Lane::Home).expect("it is this thread's");
        });
        let _ = join(mortal);
        world.end();
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Semaphores
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn semaphore_conserves_permits_and_wakes() {
    explore(2, || {
        let world = World::new(1);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| assert!(semaphore::wait(me.word(0), FOREVER))));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| assert!(semaphore::post(me.word(0)))));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!(world.raw(0) / 2, 0);
        world.end();
    });
}

#[test]
fn semaphore_two_posters_and_a_waiter() {
    explore(2, || {
        let world = World::new(1);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| assert!(semaphore::post(me.word(0)))));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| assert!(semaphore::wait(me.word(0), FOREVER))));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!(world.raw(0) / 2, 0);
        world.end();
    });
}

/// One permit as a lock.
#[test]
fn semaphore_of_one_excludes() {
    explore(3, || {
        let world = World::new(1);
        world.set(0, semaphore::of_value(1));
        let work = |me: Rc<Thread>| {
            assert!(semaphore::wait(me.word(0), FOREVER));
            me.touch(Taken::Clean);
            assert!(semaphore::post(me.word(0)));
        };
        let other = go(world, 2, ALIVE, work);
        here(world, 1, ALIVE, work);
        join(other);
        assert_eq!((world.raw(0), world.touched()), (semaphore::of_value(1), 2));
        world.end();
    });
}

/// Posts beyond the most are refused, and those that are not are counted.
#[test]
fn semaphore_at_its_most() {
    explore(3, || {
        let world = World::new(1);
        world.set(0, semaphore::of_value(semaphore::MOST));
        let other = go(world, 2, ALIVE, |me| (0..2).filter(|_| semaphore::post(me.word(0))).count());
        here(world, 1, ALIVE, |me| assert!(semaphore::try_wait(me.word(0))));
        let posts = join(other).expect("it lives") as u32;
        assert!(posts <= 1);
        assert_eq!(world.raw(0), semaphore::of_value(semaphore::MOST - 1 + posts));
        world.end();
    });
}

fn permits(me: &Rc<Thread>, count: usize) -> Permits<Word, Claims> {
    let places = Claims { me: me.clone(), at: MUTEX + 1, count, usable: |_| true };
    Permits { mutex: mutex(me), event: me.word(MUTEX), places }
}

fn permit_once(me: &Rc<Thread>, count: usize) {
    permit_by(me, count, Lane::Home);
}

fn permit_by(me: &Rc<Thread>, count: usize, lane: Lane) {
    let permits = permits(me, count);
    permits.wait(&**me, lane, FOREVER).expect("nothing refuses it");
    // A permit of the dead is a clean one: what it guards is not the library's. Here it is nothing.
    me.inside(count);
    permits.post(&**me).expect("this thread has one");
}

#[test]
fn permits_are_conserved_and_no_wake_is_lost() {
    explore(2, || {
        let world = World::new(MUTEX + 2);
        let other = go(world, 2, ALIVE, |me| (0..2).for_each(|_| permit_once(&me, 1)));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| permit_once(&me, 1)));
        join(other);
        assert_eq!((world.raw(0), world.raw(MUTEX + 1)), (0, 0));
        world.end();
    });
}

#[test]
fn permits_for_three() {
    explore(1, || {
        let world = World::new(MUTEX + 3);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| permit_once(&me, 2)));
        here(world, 1, ALIVE, |me| permit_once(&me, 2));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        assert_eq!((world.raw(0), world.raw(MUTEX + 1), world.raw(MUTEX + 2)), (0, 0, 0));
        world.end();
    });
}

#[test]
fn permits_of_the_dead_come_back() {
    deaths(1, |life| {
        let world = World::new(MUTEX + 2);
        world.time_passes_after_deaths();
        let mortal = go(world, 2, life, |me| permit_once(&me, 1));
        here(world, 1, ALIVE, |me| permit_once(&me, 1));
        let _ = join(mortal);
        here(world, 1, ALIVE, |me| {
            assert_eq!(permits(&me, 1).value(), 1);
            permit_once(&me, 1);
        });
        world.end();
    });
}

/// The same id in two namespaces: the permit is of the one and of the other in turn.
#[test]
fn permits_at_home_and_through_a_gate() {
    explore(1, || {
        let world = World::new(MUTEX + 2);
        let other = go(world, 1, ALIVE, |me| (0..2).for_each(|_| permit_by(&me, 1, Lane::Gate(0))));
        here(world, 1, ALIVE, |me| (0..2).for_each(|_| permit_once(&me, 1)));
        join(other);
        assert_eq!((world.raw(0), world.raw(1), world.raw(MUTEX + 1)), (0, 0, 0));
        world.end();
    });
}

#[test]
fn permits_of_the_dead_of_another_namespace_come_back() {
    for lanes in [[Lane::Gate(0), Lane::Home], [Lane::Home, Lane::Gate(0)]] {
        deaths(1, move |life| {
            let world = World::new(MUTEX + 2);
            world.time_passes_after_deaths();
            let mortal = go(world, 1, life, move |me| permit_by(&me, 1, lanes[0]));
            here(world, 1, ALIVE, |me| permit_by(&me, 1, lanes[1]));
            let _ = join(mortal);
            here(world, 1, ALIVE, |me| permit_by(&me, 1, lanes[1]));
            world.end();
        });
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Once and the barrier
// ------------------------------------------------------------------------------------------------------------------

/// Does the work, or sees it done.
fn once(me: &Thread) {
    let once = Once { mutex: mutex(me), state: me.word(MUTEX) };
    if once.begin(me, Lane::Home, FOREVER).expect("nothing refuses it") {
        me.begin_again();
        me.touch(Taken::Clean);
        once.end(me, Lane::Home, true).expect("it is this thread's to do");
    }
    assert!(once.is_done());
    me.look();
    assert_eq!(me.world().touched(), 1, "done once, and seen by all");
}

#[test]
fn once_is_done_once() {
    explore(2, || {
        let world = World::new(MUTEX + 1);
        let others = [2, 3].map(|id| go(world, id, ALIVE, |me| once(&me)));
        here(world, 1, ALIVE, |me| once(&me));
        others.into_iter().for_each(|other| assert_eq!(join(other), Some(())));
        world.end();
    });
}

#[test]
fn once_whose_first_dies_is_done_by_the_next() {
    deaths(3, |life| {
        let world = World::new(MUTEX + 1);
        let mortal = go(world, 2, life, |me| once(&me));
        here(world, 1, ALIVE, |me| once(&me));
        let _ = join(mortal);
        world.end();
    });
}

const PARTIES: usize = 2;
const PLACES: usize = 2 * PARTIES;
const BARRIER: usize = MUTEX + 3 + 2 * PLACES;

fn barrier(me: &Rc<Thread>, places: usize) -> Barrier<Word, Claims> {
    Barrier {
        mutex: mutex(me),
        event: me.word(MUTEX),
        phase: me.word(MUTEX + 1),
        breaks: me.word(MUTEX + 2),
        needed: PARTIES,
        places: Claims { me: me.clone(), at: MUTEX + 3, count: places, usable: |_| true },
    }
}

#[test]
fn barrier_of_two_for_two_phases() {
    two_phases(1, [Lane::Home; 2]);
}

#[test]
fn barrier_of_two_namespaces_for_two_phases() {
    two_phases(1, [Lane::Home, Lane::Gate(0)]);
}

fn two_phases(preemptions: usize, lanes: [Lane; 2]) {
    explore(preemptions, move || {
        let world = World::new(BARRIER);
        let work = move |me: Rc<Thread>, lane: Lane| {
            let barrier = barrier(&me, PLACES);
            let phases = [0, 1].map(|phase| {
                me.world().here[phase].fetch_add(1, Relaxed);
                let passed = barrier.wait(&*me, lane, FOREVER).expect("nothing refuses it");
                assert_eq!(me.world().here[phase].load(Relaxed), 2, "nobody goes on before all are there");
                passed
            });
            phases.map(|passed| match passed {
                Passed::Last => 1,
                Passed::Other => 0,
                Passed::Broken => panic!("nobody died"),
            })
        };
        let id = if lanes[0] == lanes[1] { 2 } else { 1 };
        let other = go(world, id, ALIVE, move |me| work(me, lanes[1]));
        let [one, two] = here(world, 1, ALIVE, |me| work(me, lanes[0])).expect("it lives");
        let others = join(other).expect("it lives");
        assert_eq!((one + others[0], two + others[1]), (1, 1), "one of them is the last");
        assert_eq!((0..PLACES).map(|place| world.raw(MUTEX + 3 + place)).max(), Some(0), "no place is left taken");
        world.end();
    });
}

/// One of two dies. The other passes, because both arrived, or is told; after a reset all is as at first.
#[test]
fn barrier_that_a_death_breaks() {
    a_death_breaks([Lane::Home; 2], 1);
}

#[test]
fn barrier_that_a_death_in_another_namespace_breaks() {
    a_death_breaks([Lane::Home, Lane::Gate(0)], 3);
}

/// The first of them dies, before each so many of its steps.
fn a_death_breaks(lanes: [Lane; 2], each: usize) {
    some_deaths(0, each, move |life| {
        let world = World::new(BARRIER);
        world.time_passes_after_deaths();
        let mortal = go(world, if lanes[0] == lanes[1] { 2 } else { 1 }, life, move |me| {
            let barrier = barrier(&me, PARTIES);
            barrier.join(&*me, lanes[0]).expect("there is a place");
            me.world().here[0].store(1, Relaxed);
            let passed = barrier.wait(&*me, lanes[0], FOREVER).expect("nothing refuses it");
            assert_ne!(passed, Passed::Broken);
            barrier.leave(&*me, lanes[0]).expect("it has joined");
            me.world().here[0].store(2, Relaxed);
        });
        // Who died before it had joined is not missed: the other waits until its time is over.
        here(world, 1, ALIVE, |me| {
            let barrier = barrier(&me, PARTIES);
            // A time-out may come while it waits for the mutex, before it has looked for the dead.
            for time in 1..=4 {
                match barrier.wait(&*me, lanes[1], time * 60_000_000) {
                    Ok(Passed::Broken) => {
                        assert!(world.somebody_died());
                        barrier.reset(&*me, lanes[1]).expect("nothing refuses it");
                        assert_eq!(barrier.breaks.load() % 2, 0);
                        return;
                    }
                    Ok(_) => return assert_ne!(world.here[0].load(Relaxed), 0),
                    Err(refused) => assert_eq!(refused, Refused::TimedOut),
                }
                if world.here[0].load(Relaxed) == 0 {
                    return;
                }
            }
            panic!("it had joined, and nobody is told");
        });
        let _ = join(mortal);
        world.end();
    });
}
