//! A process that is killed at any instruction of any operation on a lock, a condition variable, a semaphore, a barrier,
//! a once or an event count: who survives goes on, is told where something may be half done, and no permit is lost.
//! Each operation is walked over the library's own instructions: alone, and against others that hold or wait (the crew).
//! Walks have budgets and say what they left out: `SHMKIT_KILL_SECONDS=600` is enough for all of them. The machinery is
//! in `support/kill_points.rs`, the memory in `support/sync_room.rs`.

mod support;

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmkit::capi::sync::*;
use support::kill_points::{Moment, Plan, Point, Scope};
use support::sync_room::*;

/// What one walk may cost: SHMKIT_KILL_SECONDS, or a part of a second that makes a sample of the longer operations.
fn budget() -> Duration {
    let seconds = std::env::var("SHMKIT_KILL_SECONDS").ok();
    Duration::from_secs_f64(seconds.map_or(0.7, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Deaths in each walk, whatever its budget.
const LEAST: usize = 16;

/// The sign of the child that is walked, and that the check has begun.
const CHILD: usize = 15;
const GO: usize = 14;
/// The child holds what the crew shall wait for.
const HOLDS: usize = 13;

/// One operation and what surrounds it.
struct Scene {
    operation: &'static str,
    /// Permits of both semaphores, parties of the barrier.
    permits: u32,
    parties: u32,
    /// Before the crew comes.
    set: fn(Room),
    /// Who else is there. Each says `ready` and then waits for something; all must end well once the child is dead.
    crew: &'static [fn(Room, usize)],
    /// The child's, not walked.
    before: fn(Room),
    /// The child's, walked.
    work: fn(Room),
    /// When the child is dead.
    check: fn(Room, &Point),
    /// When the crew is gone too.
    after: fn(Room, &Point),
    /// So many times the budget of others: many of its deaths are seen by those only who look again by themselves.
    share: u32,
}

const SCENE: Scene = Scene {
    operation: "",
    permits: 2,
    parties: 2,
    set: |_| (),
    crew: &[],
    before: |_| (),
    work: |_| (),
    check: |_, _| (),
    after: |_, _| (),
    share: 1,
};

/// The operation was done when the child died.
fn ended(point: &Point) -> bool {
    !point.reached || point.moment == Moment::End
}

/// The operation had not begun.
fn not_begun(point: &Point) -> bool {
    point.reached && point.index == 0 && point.moment != Moment::End
}

/// Of the crew: waits until the child sleeps, or is dead.
fn until_the_child_sleeps(room: Room) {
    let facts = room.facts();
    until(|| {
        let child = facts.pids[CHILD].load(SeqCst);
        facts.signs[GO].load(SeqCst) != 0 || child != 0 && is_asleep(child)
    });
}

/// Of the crew: waits until the child holds what it shall hold, or is dead; next is the call that waits for it.
fn until_the_child_holds(room: Room, own: usize) {
    ready(room, own);
    let facts = room.facts();
    until(|| facts.signs[HOLDS].load(SeqCst) != 0 || facts.signs[GO].load(SeqCst) != 0);
    facts.signs[own].store(1, SeqCst);
}

/// Of the child, in `before`: it holds what it shall, and so many of the crew sleep.
fn holds_against(room: Room, crew: usize) {
    let facts = room.facts();
    facts.signs[HOLDS].store(1, SeqCst);
    for own in 0..crew {
        until(|| facts.signs[own].load(SeqCst) != 0 && is_asleep(facts.pids[own].load(SeqCst)));
    }
}

fn ready(room: Room, own: usize) {
    room.facts().ready[own].store(1, SeqCst);
}

fn walk(room: Room, scene: Scene) {
    let facts = room.facts();
    let prepare = || {
        room.reset(scene.permits, scene.parties);
        (scene.set)(room);
        let crew: Vec<i32> = scene
            .crew
            .iter()
            .enumerate()
            .map(|(own, work)| {
                let pid = start(|| {
                    facts.pids[own].store(std::process::id() as i32, SeqCst);
                    work(room, own);
                });
                // One after the other, and each asleep: so they queue in this order.
                until(|| facts.ready[own].load(SeqCst) != 0 && is_asleep(pid));
                pid
            })
            .collect();
        crew
    };
    let before = |_: &Vec<i32>| {
        (scene.before)(room);
        facts.pids[CHILD].store(std::process::id() as i32, SeqCst);
    };
    // Counts changes; a comparison is quicker than a hash, and is made before each instruction.
    let seen = RefCell::new((0, room.bytes()));
    let print = |_: &Vec<i32>| {
        let mut seen = seen.borrow_mut();
        if !room.is_as(&seen.1) {
            *seen = (seen.0 + 1, room.bytes());
        }
        seen.0
    };
    let plan =
        Plan::new(scene.operation, budget() * scene.share).scope(Scope::Library).watching(&print).before(&before);
    let plan = plan.at_least(LEAST);
    let walk = plan.walk(
        prepare,
        |_| (scene.work)(room),
        |crew, point| {
            alarm(STALLED);
            facts.signs[GO].store(1, SeqCst);
            (scene.check)(room, point);
            crew.into_iter().for_each(reap_well);
            (scene.after)(room, point);
            alarm(0);
        },
    );
    if let Some(walk) = walk {
        assert!(walk.killed >= LEAST && walk.library > LEAST, "{walk:?}");
        // Where others decide how the operation goes, no two runs need be the same.
        let alone = scene.crew.is_empty();
        assert!(!alone || walk.missed * 10 <= 30 + walk.killed + walk.missed, "{walk:?}");
    }
}

/// Runs the walks of one test in a process of their own.
fn walks(test: &str, scenes: impl FnOnce() -> Vec<Scene>) {
    support::alone(test, &[], || {
        let room = Room::new();
        for scene in scenes() {
            walk(room, scene);
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The mutex
// ------------------------------------------------------------------------------------------------------------------

/// Locks, changes the pair, unlocks.
fn pass(room: Room) {
    room.lock();
    room.raise();
    room.unlock();
}

/// Makes this thread, and the pages, known to the library, so that the short ways are walked.
fn warm(room: Room) {
    good(shmkit_mutex_lock(room.other()));
    good(shmkit_mutex_unlock(room.other()));
    pass(room);
}

/// After a death: the mutex goes on, and no damage is left. True: the death was told.
fn mutex_goes_on(room: Room) -> bool {
    let died = room.lock();
    room.raise();
    room.unlock();
    good(shmkit_mutex_trylock(room.mutex()));
    assert!(room.is_whole());
    room.unlock();
    died
}

/// The child was to lock: before, nobody is dead with it; afterwards somebody is.
fn after_lock(room: Room, point: &Point) {
    let died = mutex_goes_on(room);
    assert!(died || !ended(point), "who died with the lock was not told of");
    assert!(!died || !not_begun(point), "somebody died with the lock, says the library, and nobody did");
}

/// The child was to unlock.
fn after_unlock(room: Room, point: &Point) {
    let died = mutex_goes_on(room);
    assert!(!died || !ended(point), "somebody died with the lock, says the library, and nobody did");
    assert!(died || !not_begun(point), "who died with the lock was not told of");
}

/// The child was to lock and unlock.
fn after_pass(room: Room, point: &Point) {
    let died = mutex_goes_on(room);
    assert!(
        !died || !ended(point) && !not_begun(point),
        "somebody died with the lock, says the library, and nobody did"
    );
}

/// Crew: holds the mutex until the child sleeps for it.
fn holder(room: Room, own: usize) {
    room.lock();
    ready(room, own);
    until_the_child_sleeps(room);
    room.raise();
    room.unlock();
    pass(room);
}

/// Crew: waits for the mutex that the child holds.
fn waiter(room: Room, own: usize) {
    until_the_child_holds(room, own);
    pass(room);
}

/// Crew: waits for the mutex that another one of the crew holds.
fn sleeper(room: Room, own: usize) {
    ready(room, own);
    pass(room);
}

/// Somebody dies with the mutex, in the midst of a change.
fn corpse(room: Room) {
    reap_well(start(|| {
        room.lock();
        room.facts().a.fetch_add(1, SeqCst);
    }));
}

/// The mutex is one of another pid namespace: this one comes through a gate.
fn foreign(at: *mut c_void) {
    // SAFETY: the namespace is at byte 24 of a block (`sync/object.rs`).
    unsafe { at.cast::<u32>().add(6).write(7) };
}

#[test]
fn mutex_alone() {
    walks("mutex_alone", || {
        let alone = Scene { before: warm, check: after_lock, ..SCENE };
        vec![
            Scene { operation: "mutex first lock and unlock", work: pass, check: after_pass, ..SCENE },
            Scene { operation: "mutex lock", work: |room| good(shmkit_mutex_lock(room.mutex())), ..alone },
            Scene { operation: "mutex trylock", work: |room| good(shmkit_mutex_trylock(room.mutex())), ..alone },
            Scene {
                operation: "mutex timedlock",
                work: |room| good(shmkit_mutex_timedlock(room.mutex(), 60_000_000_000)),
                ..alone
            },
            Scene { operation: "mutex lock, change, unlock", before: warm, work: pass, check: after_pass, ..SCENE },
            Scene {
                operation: "mutex unlock",
                before: |room| {
                    warm(room);
                    room.lock();
                },
                work: Room::unlock,
                check: after_unlock,
                ..SCENE
            },
            Scene {
                operation: "mutex unlock below another",
                before: |room| {
                    warm(room);
                    room.lock();
                    good(shmkit_mutex_lock(room.other()));
                },
                work: Room::unlock,
                check: |room, point| {
                    after_unlock(room, point);
                    assert_eq!(shmkit_mutex_lock(room.other()), OWNER_DIED);
                    good(shmkit_mutex_consistent(room.other()));
                    good(shmkit_mutex_unlock(room.other()));
                },
                ..SCENE
            },
        ]
    });
}

#[test]
fn mutex_after_a_death() {
    walks("mutex_after_a_death", || {
        let taken_over = |room: Room| {
            warm_beside(room);
            assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
            room.repair();
        };
        // Whoever dies before it has said that all is well leaves the damage to the next one.
        vec![
            Scene {
                operation: "mutex lock after a death",
                set: corpse,
                before: warm_beside,
                work: |room| assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED),
                check: |room, _| assert!(mutex_goes_on(room), "the damage was not told of"),
                ..SCENE
            },
            Scene {
                operation: "mutex consistent",
                set: corpse,
                before: taken_over,
                work: |room| good(shmkit_mutex_consistent(room.mutex())),
                check: |room, _| assert!(mutex_goes_on(room), "it was held"),
                ..SCENE
            },
            Scene {
                operation: "mutex consistent and unlock",
                set: corpse,
                before: taken_over,
                work: |room| {
                    good(shmkit_mutex_consistent(room.mutex()));
                    room.unlock();
                },
                check: after_unlock,
                ..SCENE
            },
            Scene {
                operation: "mutex unlock of what is damaged",
                set: corpse,
                before: taken_over,
                work: Room::unlock,
                check: |room, _| assert!(mutex_goes_on(room), "the damage was not told of"),
                ..SCENE
            },
            Scene {
                operation: "mutex abandon",
                set: corpse,
                before: taken_over,
                work: |room| good(shmkit_mutex_abandon(room.mutex())),
                check: after_abandon,
                ..SCENE
            },
            Scene {
                operation: "mutex abandon, two wait",
                share: 3,
                set: corpse,
                crew: &[until_abandoned, until_abandoned],
                before: |room| {
                    warm_beside(room);
                    assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
                    room.repair();
                    holds_against(room, 2);
                },
                work: |room| good(shmkit_mutex_abandon(room.mutex())),
                after: |room, point| {
                    let status = shmkit_mutex_lock(room.mutex());
                    if status != NOT_RECOVERABLE {
                        room.after(status);
                        assert!(!ended(point), "it was abandoned");
                        room.unlock();
                    }
                },
                ..SCENE
            },
        ]
    });
}

fn warm_beside(room: Room) {
    good(shmkit_mutex_lock(room.other()));
    good(shmkit_mutex_unlock(room.other()));
}

fn after_abandon(room: Room, point: &Point) {
    match shmkit_mutex_lock(room.mutex()) {
        NOT_RECOVERABLE => assert!(!not_begun(point)),
        status => {
            assert!(room.after(status), "the damage was not told of");
            assert!(!ended(point), "it was abandoned");
            room.unlock();
        }
    }
}

/// Crew: waits for a mutex that is abandoned, or whose holder dies before it is.
fn until_abandoned(room: Room, own: usize) {
    until_the_child_holds(room, own);
    let status = shmkit_mutex_lock(room.mutex());
    if status != NOT_RECOVERABLE {
        room.after(status);
        room.unlock();
    }
}

#[test]
fn mutex_contended() {
    walks("mutex_contended", || {
        let held = Scene { crew: &[holder], before: warm_beside, after: after_pass_of_crew, ..SCENE };
        vec![
            Scene { operation: "mutex lock, change, unlock, held", work: pass, ..held },
            Scene {
                operation: "mutex lock, change, unlock, held, another one waits",
                crew: &[holder, sleeper],
                work: pass,
                ..held
            },
            Scene {
                operation: "mutex trylock, held",
                work: |room| assert_eq!(shmkit_mutex_trylock(room.mutex()), BUSY),
                ..held
            },
            Scene {
                operation: "mutex timedlock, held",
                crew: &[holder, sleeper],
                work: |room| good(shmkit_mutex_timedlock(room.mutex(), 60_000_000_000)),
                ..held
            },
            Scene {
                operation: "mutex timedlock, held to the end",
                // The second one is why the child does not look a hundred times before it sleeps.
                crew: &[long_holder, sleeper],
                work: |room| assert_eq!(shmkit_mutex_timedlock(room.mutex(), 60_000_000), TIMEOUT),
                ..held
            },
            Scene {
                operation: "mutex unlock, one waits",
                crew: &[waiter],
                before: |room| {
                    warm(room);
                    room.lock();
                    holds_against(room, 1);
                },
                work: Room::unlock,
                ..held
            },
            Scene {
                operation: "mutex unlock, two wait",
                crew: &[waiter, waiter],
                before: |room| {
                    warm(room);
                    room.lock();
                    holds_against(room, 2);
                },
                work: Room::unlock,
                ..held
            },
        ]
    });
}

/// The mutex is free; the child's death may not have been told yet, if it was the last to hold it.
fn after_pass_of_crew(room: Room, _: &Point) {
    mutex_goes_on(room);
}

/// Crew: holds the mutex until the child is dead.
fn long_holder(room: Room, own: usize) {
    room.lock();
    ready(room, own);
    until(|| room.facts().signs[GO].load(SeqCst) != 0);
    room.raise();
    room.unlock();
}

#[test]
fn mutex_through_a_gate() {
    walks("mutex_through_a_gate", || {
        let gate = Scene { set: |room| foreign(room.mutex().cast()), before: warm, ..SCENE };
        let lock = |room: Room| good(shmkit_mutex_lock(room.mutex()));
        vec![
            Scene { operation: "mutex lock through a gate", work: lock, check: after_lock, ..gate },
            Scene {
                operation: "mutex trylock through a gate",
                work: |room| good(shmkit_mutex_trylock(room.mutex())),
                check: after_lock,
                ..gate
            },
            Scene {
                operation: "mutex unlock through a gate",
                before: |room| {
                    warm(room);
                    room.lock();
                },
                work: Room::unlock,
                check: after_unlock,
                ..gate
            },
            Scene {
                operation: "mutex lock, change, unlock through a gate, held",
                crew: &[holder],
                work: pass,
                before: warm_beside,
                after: after_pass_of_crew,
                ..gate
            },
            Scene {
                operation: "mutex unlock through a gate, two wait",
                crew: &[waiter, waiter],
                before: |room| {
                    warm(room);
                    room.lock();
                    holds_against(room, 2);
                },
                work: Room::unlock,
                after: after_pass_of_crew,
                ..gate
            },
            Scene {
                operation: "mutex lock through a gate after a death",
                set: |room| {
                    foreign(room.mutex().cast());
                    corpse(room);
                },
                before: warm_beside,
                work: |room| assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED),
                check: |room, _| assert!(mutex_goes_on(room), "the damage was not told of"),
                ..gate
            },
            Scene {
                operation: "mutex abandon through a gate",
                set: |room| {
                    foreign(room.mutex().cast());
                    corpse(room);
                },
                before: |room| {
                    warm_beside(room);
                    assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
                    room.repair();
                },
                work: |room| good(shmkit_mutex_abandon(room.mutex())),
                check: after_abandon,
                ..gate
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The readers-writer lock
// ------------------------------------------------------------------------------------------------------------------

fn read_lock(room: Room) {
    good(shmkit_rwlock_read_lock(room.rwlock()));
}

/// Locks for reading, and looks; after a death it has the lock for writing, and repairs.
fn read_pass(room: Room) {
    match shmkit_rwlock_read_lock(room.rwlock()) {
        OK => room.read(),
        status => assert!(room.after_write(status)),
    }
    room.rwlock_unlock();
}

fn write_pass(room: Room) {
    room.write_lock();
    room.write();
    room.rwlock_unlock();
}

fn rwlock_warm(room: Room) {
    write_pass(room);
    read_pass(room);
}

/// After a death: it goes on both ways, nobody is inside, and no slot is lost. True: a writer's death was told.
fn rwlock_goes_on(room: Room) -> bool {
    let died = room.write_lock();
    room.write();
    room.rwlock_unlock();
    read_lock(room);
    room.read();
    room.rwlock_unlock();
    good(shmkit_rwlock_try_write_lock(room.rwlock()));
    room.rwlock_unlock();
    died
}

fn nobody_wrote(room: Room, _: &Point) {
    assert!(!rwlock_goes_on(room), "a reader died, and a writer's death was told of");
}

fn after_write_lock(room: Room, point: &Point) {
    let died = rwlock_goes_on(room);
    assert!(died || !ended(point), "who died with the lock was not told of");
    assert!(!died || !not_begun(point), "a writer died, says the library, and none did");
}

fn after_write_unlock(room: Room, point: &Point) {
    let died = rwlock_goes_on(room);
    assert!(!died || !ended(point), "a writer died, says the library, and none did");
    assert!(died || !not_begun(point), "who died with the lock was not told of");
}

fn rwlock_after_crew(room: Room, _: &Point) {
    rwlock_goes_on(room);
}

/// Crew: writes until the child sleeps.
fn writer(room: Room, own: usize) {
    room.write_lock();
    room.facts().writes.store(1, SeqCst);
    ready(room, own);
    until_the_child_sleeps(room);
    room.raise();
    assert_eq!(room.facts().writes.swap(0, SeqCst), 1, "two writers");
    room.rwlock_unlock();
    read_pass(room);
}

/// Crew: reads until the child is about to wait for that. A writer sleeps for a few milliseconds at a time, and one that
/// is stepped may be too slow to sleep at all.
fn reader(room: Room, own: usize) {
    read_lock(room);
    ready(room, own);
    until(|| room.facts().signs[GO].load(SeqCst) != 0 || has_waiters(room));
    room.read();
    room.rwlock_unlock();
    write_pass(room);
}

/// Whether a writer waits for the reader in some slot.
fn has_waiters(room: Room) -> bool {
    // SAFETY: the slots begin every 64 bytes of the lock (`sync/object.rs`).
    (1..size_of::<shmkit_rwlock_t>() / 64)
        .any(|line| unsafe { room.rwlock().cast::<u32>().add(16 * line).read_volatile() } & 0x8000_0000 != 0)
}

/// Crew: wants to write what the child has.
fn waiting_writer(room: Room, own: usize) {
    until_the_child_holds(room, own);
    write_pass(room);
}

/// Crew: wants to read what the child writes.
fn waiting_reader(room: Room, own: usize) {
    until_the_child_holds(room, own);
    read_pass(room);
}

fn dead_writer(room: Room) {
    reap_well(start(|| {
        room.write_lock();
        room.facts().writes.store(1, SeqCst);
        room.facts().a.fetch_add(1, SeqCst);
    }));
}

fn dead_reader(room: Room) {
    reap_well(start(|| read_lock(room)));
}

#[test]
fn rwlock_alone() {
    walks("rwlock_alone", || {
        let read = Scene { before: rwlock_warm, check: nobody_wrote, ..SCENE };
        let write = Scene { before: rwlock_warm, check: after_write_lock, ..SCENE };
        vec![
            Scene { operation: "rwlock first read_lock and unlock", before: |_| (), work: read_pass, ..read },
            Scene { operation: "rwlock read_lock", work: read_lock, ..read },
            Scene {
                operation: "rwlock try_read_lock",
                work: |room| good(shmkit_rwlock_try_read_lock(room.rwlock())),
                ..read
            },
            Scene {
                operation: "rwlock timed_read_lock",
                work: |room| good(shmkit_rwlock_timed_read_lock(room.rwlock(), 60_000_000_000)),
                ..read
            },
            Scene {
                operation: "rwlock unlock of a reader",
                before: |room| {
                    rwlock_warm(room);
                    read_lock(room);
                },
                work: Room::rwlock_unlock,
                ..read
            },
            Scene {
                operation: "rwlock write_lock",
                work: |room| good(shmkit_rwlock_write_lock(room.rwlock())),
                ..write
            },
            Scene {
                operation: "rwlock try_write_lock",
                work: |room| good(shmkit_rwlock_try_write_lock(room.rwlock())),
                ..write
            },
            Scene {
                operation: "rwlock timed_write_lock",
                work: |room| good(shmkit_rwlock_timed_write_lock(room.rwlock(), 60_000_000_000)),
                ..write
            },
            Scene {
                operation: "rwlock unlock of a writer",
                before: |room| {
                    rwlock_warm(room);
                    good(shmkit_rwlock_write_lock(room.rwlock()));
                },
                work: Room::rwlock_unlock,
                check: after_write_unlock,
                ..write
            },
        ]
    });
}

#[test]
fn rwlock_after_a_death() {
    walks("rwlock_after_a_death", || {
        let dead = Scene {
            set: dead_writer,
            before: warm_beside,
            check: |room, _| assert!(rwlock_goes_on(room), "the damage was not told of"),
            ..SCENE
        };
        let taken_over = |room: Room| {
            warm_beside(room);
            assert_eq!(shmkit_rwlock_write_lock(room.rwlock()), OWNER_DIED);
            room.repair();
        };
        vec![
            Scene {
                operation: "rwlock read_lock after a writer's death",
                work: |room| assert_eq!(shmkit_rwlock_read_lock(room.rwlock()), OWNER_DIED),
                ..dead
            },
            Scene {
                operation: "rwlock write_lock after a writer's death",
                work: |room| assert_eq!(shmkit_rwlock_write_lock(room.rwlock()), OWNER_DIED),
                ..dead
            },
            Scene {
                operation: "rwlock write_lock after a reader's death",
                set: dead_reader,
                work: |room| good(shmkit_rwlock_write_lock(room.rwlock())),
                check: after_write_lock,
                ..dead
            },
            Scene {
                operation: "rwlock consistent and unlock",
                before: taken_over,
                work: |room| {
                    good(shmkit_rwlock_consistent(room.rwlock()));
                    room.rwlock_unlock();
                },
                check: after_write_unlock,
                ..dead
            },
            Scene {
                operation: "rwlock unlock of what is damaged",
                before: taken_over,
                work: Room::rwlock_unlock,
                ..dead
            },
            Scene {
                operation: "rwlock abandon",
                before: taken_over,
                work: |room| good(shmkit_rwlock_abandon(room.rwlock())),
                check: |room, point| match shmkit_rwlock_read_lock(room.rwlock()) {
                    NOT_RECOVERABLE => {
                        assert!(!not_begun(point));
                        assert_eq!(shmkit_rwlock_write_lock(room.rwlock()), NOT_RECOVERABLE);
                    }
                    status => {
                        assert!(room.after_write(status), "the damage was not told of");
                        assert!(!ended(point), "it was abandoned");
                        room.rwlock_unlock();
                    }
                },
                ..dead
            },
        ]
    });
}

#[test]
fn rwlock_contended() {
    walks("rwlock_contended", || {
        let crowd = Scene { before: warm_beside, after: rwlock_after_crew, ..SCENE };
        vec![
            Scene {
                operation: "rwlock read_lock and unlock, a writer writes",
                crew: &[writer],
                work: read_pass,
                ..crowd
            },
            Scene {
                operation: "rwlock write_lock and unlock, a writer writes",
                crew: &[writer],
                work: write_pass,
                ..crowd
            },
            Scene {
                operation: "rwlock write_lock and unlock, a reader reads",
                crew: &[reader],
                work: write_pass,
                ..crowd
            },
            Scene {
                operation: "rwlock read_lock and unlock, a reader reads",
                crew: &[reader],
                work: |room| {
                    read_lock(room);
                    room.rwlock_unlock();
                },
                ..crowd
            },
            Scene {
                operation: "rwlock try_read_lock, a writer writes",
                crew: &[writer],
                work: |room| assert_eq!(shmkit_rwlock_try_read_lock(room.rwlock()), BUSY),
                ..crowd
            },
            Scene {
                // The slot of a reader depends on its thread id, and so how many slots the child looks at.
                operation: "rwlock try_write_lock, a reader reads",
                crew: &[reader],
                work: |room| assert_eq!(shmkit_rwlock_try_write_lock(room.rwlock()), BUSY),
                ..crowd
            },
            Scene {
                operation: "rwlock unlock of a reader, a writer waits",
                crew: &[waiting_writer],
                before: |room| {
                    rwlock_warm(room);
                    read_lock(room);
                    holds_against(room, 1);
                },
                work: Room::rwlock_unlock,
                ..crowd
            },
            Scene {
                operation: "rwlock unlock of a writer, a reader and a writer wait",
                crew: &[waiting_reader, waiting_writer],
                before: |room| {
                    rwlock_warm(room);
                    good(shmkit_rwlock_write_lock(room.rwlock()));
                    holds_against(room, 2);
                },
                work: Room::rwlock_unlock,
                ..crowd
            },
        ]
    });
}

#[test]
fn rwlock_through_a_gate() {
    walks("rwlock_through_a_gate", || {
        let gate = Scene { set: |room| foreign(room.rwlock().cast()), before: rwlock_warm, ..SCENE };
        vec![
            Scene { operation: "rwlock read_lock through a gate", work: read_lock, check: nobody_wrote, ..gate },
            Scene {
                operation: "rwlock write_lock through a gate",
                work: |room| good(shmkit_rwlock_write_lock(room.rwlock())),
                check: after_write_lock,
                ..gate
            },
            Scene {
                operation: "rwlock unlock of a writer through a gate",
                before: |room| {
                    rwlock_warm(room);
                    good(shmkit_rwlock_write_lock(room.rwlock()));
                },
                work: Room::rwlock_unlock,
                check: after_write_unlock,
                ..gate
            },
            Scene {
                operation: "rwlock read_lock through a gate after a writer's death",
                set: |room| {
                    foreign(room.rwlock().cast());
                    dead_writer(room);
                },
                before: warm_beside,
                work: |room| assert_eq!(shmkit_rwlock_read_lock(room.rwlock()), OWNER_DIED),
                check: |room, _| assert!(rwlock_goes_on(room), "the damage was not told of"),
                ..gate
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The condition variable and the event count
// ------------------------------------------------------------------------------------------------------------------

/// Waits on the condition variable until `so`, with the mutex; whoever died with it meanwhile is seen to.
fn wait_for(room: Room, so: impl Fn(&Facts) -> bool) {
    room.lock();
    while !so(room.facts()) {
        room.after(shmkit_cond_wait(room.cond(), room.mutex()));
    }
    room.unlock();
}

/// Crew: waits for the flag.
fn cond_waiter(room: Room, own: usize) {
    ready(room, own);
    wait_for(room, |facts| facts.flag.load(SeqCst) != 0);
}

/// Crew: makes true what the child waits for, once it sleeps.
fn cond_helper(room: Room, own: usize) {
    ready(room, own);
    until_the_child_sleeps(room);
    room.lock();
    room.facts().other_flag.store(1, SeqCst);
    good(shmkit_cond_broadcast(room.cond()));
    room.unlock();
}

/// Whether the crew is left to look again by itself: it takes a quarter of a second, so not each time.
fn is_left_alone(point: &Point) -> bool {
    ended(point) || point.index.is_multiple_of(32)
}

/// The others go on by one signal for each; or by none, if what they wait for was said before the child died.
fn signal_the_rest(room: Room, point: &Point) {
    room.lock();
    if room.facts().flag.load(SeqCst) == 0 || !is_left_alone(point) {
        room.facts().flag.store(1, SeqCst);
        good(shmkit_cond_signal(room.cond()));
        good(shmkit_cond_signal(room.cond()));
    }
    room.unlock();
}

fn broadcast_to_the_rest(room: Room, _: &Point) {
    room.lock();
    room.facts().flag.store(1, SeqCst);
    good(shmkit_cond_broadcast(room.cond()));
    room.unlock();
}

fn cond_goes_on(room: Room, _: &Point) {
    mutex_goes_on(room);
    good(shmkit_cond_signal(room.cond()));
    good(shmkit_cond_broadcast(room.cond()));
}

#[test]
fn cond() {
    walks("cond", || {
        let crowd = Scene {
            before: |room| {
                warm_beside(room);
                good(shmkit_cond_signal(room.cond()));
            },
            after: cond_goes_on,
            ..SCENE
        };
        let waits = |room: Room| wait_for(room, |facts| facts.other_flag.load(SeqCst) != 0);
        vec![
            Scene {
                operation: "cond signal, nobody waits",
                work: |room| good(shmkit_cond_signal(room.cond())),
                ..crowd
            },
            Scene {
                operation: "cond wait, one signals, another one waits",
                crew: &[cond_waiter, cond_helper],
                work: waits,
                check: signal_the_rest,
                ..crowd
            },
            Scene {
                operation: "cond wait, one broadcasts",
                crew: &[cond_helper],
                work: waits,
                check: broadcast_to_the_rest,
                ..crowd
            },
            Scene {
                operation: "cond timedwait to the end, another one waits",
                crew: &[cond_waiter],
                work: |room| {
                    room.lock();
                    assert_eq!(shmkit_cond_timedwait(room.cond(), room.mutex(), 30_000_000), TIMEOUT);
                    room.unlock();
                },
                check: broadcast_to_the_rest,
                ..crowd
            },
            Scene {
                operation: "cond signal with the mutex, one waits",
                crew: &[cond_waiter],
                work: |room| {
                    room.lock();
                    room.facts().flag.store(1, SeqCst);
                    good(shmkit_cond_signal(room.cond()));
                    room.unlock();
                },
                check: signal_the_rest,
                ..crowd
            },
            Scene {
                operation: "cond broadcast, two wait",
                crew: &[cond_waiter, cond_waiter],
                before: |room| {
                    room.lock();
                    room.facts().flag.store(1, SeqCst);
                    room.unlock();
                },
                work: |room| good(shmkit_cond_broadcast(room.cond())),
                check: signal_the_rest,
                ..crowd
            },
        ]
    });
}

fn await_event(room: Room, so: impl Fn(&Facts) -> bool) {
    loop {
        let mut key = 0;
        // SAFETY: the key is writable.
        good(unsafe { shmkit_event_prepare(room.event(), &mut key) });
        if so(room.facts()) {
            return;
        }
        good(shmkit_event_wait(room.event(), key));
    }
}

fn event_waiter(room: Room, own: usize) {
    ready(room, own);
    await_event(room, |facts| facts.flag.load(SeqCst) != 0);
}

#[test]
fn event() {
    walks("event", || {
        let crowd = Scene {
            before: |room| good(shmkit_event_notify(room.event(), 1)),
            check: |room, _| {
                room.facts().flag.store(1, SeqCst);
                good(shmkit_event_notify(room.event(), u32::MAX));
            },
            ..SCENE
        };
        vec![
            Scene {
                operation: "event wait, another one waits",
                crew: &[event_waiter, |room, own| {
                    ready(room, own);
                    until_the_child_sleeps(room);
                    room.facts().other_flag.store(1, SeqCst);
                    good(shmkit_event_notify(room.event(), u32::MAX));
                }],
                work: |room| await_event(room, |facts| facts.other_flag.load(SeqCst) != 0),
                ..crowd
            },
            Scene {
                operation: "event timedwait to the end, another one waits",
                crew: &[event_waiter],
                work: |room| {
                    let mut key = 0;
                    // SAFETY: the key is writable.
                    good(unsafe { shmkit_event_prepare(room.event(), &mut key) });
                    assert_eq!(shmkit_event_timedwait(room.event(), key, 30_000_000), TIMEOUT);
                },
                ..crowd
            },
            Scene {
                operation: "event notify one, two wait",
                crew: &[event_waiter, event_waiter],
                work: |room| good(shmkit_event_notify(room.event(), 1)),
                ..crowd
            },
            Scene {
                // Nobody need notify after the child: what is true is seen all the same.
                operation: "event notify all, two wait",
                crew: &[event_waiter, event_waiter],
                before: |room| {
                    good(shmkit_event_notify(room.event(), 0));
                    room.facts().flag.store(1, SeqCst);
                },
                work: |room| good(shmkit_event_notify(room.event(), u32::MAX)),
                check: |room, point| {
                    if !is_left_alone(point) {
                        good(shmkit_event_notify(room.event(), u32::MAX));
                    }
                },
                ..crowd
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Semaphores
// ------------------------------------------------------------------------------------------------------------------

fn value(room: Room) -> u32 {
    let mut value = 0;
    // SAFETY: the value is writable.
    good(unsafe { shmkit_semaphore_value(room.sem(), &mut value) });
    value
}

fn take(room: Room) {
    good(shmkit_semaphore_wait(room.sem()));
}

fn post(room: Room) {
    good(shmkit_semaphore_post(room.sem()));
}

/// Crew: takes a permit, whoever gives it.
fn taker(room: Room, own: usize) {
    ready(room, own);
    take(room);
}

/// Crew: gives a permit when the child sleeps for one.
fn giver(room: Room, own: usize) {
    ready(room, own);
    until_the_child_sleeps(room);
    post(room);
}

/// The child was to take one of so many: it did, or did not, and nothing else is gone or has come.
fn one_taken(room: Room, point: &Point, of: u32) {
    let left = value(room);
    assert!(left == of - 1 && !not_begun(point) || left == of && !ended(point), "{left} of {of}");
    (0..left).for_each(|_| take(room));
    assert_eq!(shmkit_semaphore_trywait(room.sem()), BUSY);
    post(room);
    take(room);
}

/// The child was to give one, and the check gave so many as the crew needs.
fn one_given(room: Room, point: &Point) {
    let left = value(room);
    assert!(left == 1 && !not_begun(point) || left == 0 && !ended(point), "{left} left");
}

#[test]
fn semaphore() {
    walks("semaphore", || {
        let alone = Scene {
            before: |room| {
                take(room);
                post(room);
            },
            ..SCENE
        };
        let takes = Scene { check: |room, point| one_taken(room, point, 2), ..alone };
        vec![
            Scene { operation: "semaphore first wait", before: |_| (), work: take, ..takes },
            Scene { operation: "semaphore wait", work: take, ..takes },
            Scene { operation: "semaphore trywait", work: |room| good(shmkit_semaphore_trywait(room.sem())), ..takes },
            Scene {
                operation: "semaphore timedwait",
                work: |room| good(shmkit_semaphore_timedwait(room.sem(), 60_000_000_000)),
                ..takes
            },
            Scene {
                operation: "semaphore post",
                work: post,
                check: |room, point| {
                    let now = value(room);
                    assert!(now == 3 && !not_begun(point) || now == 2 && !ended(point), "{now}");
                },
                ..alone
            },
            Scene {
                operation: "semaphore wait for a post",
                permits: 0,
                crew: &[giver],
                before: |_| (),
                work: take,
                after: |room, point| one_taken(room, point, 1),
                ..SCENE
            },
            Scene {
                operation: "semaphore wait for a post, another one waits",
                permits: 0,
                crew: &[taker, giver, giver],
                before: |_| (),
                work: take,
                after: |room, point| {
                    // Two were given, one of the crew has one; the other is there or died with the child.
                    let left = value(room);
                    assert!(left == 0 && !not_begun(point) || left == 1 && !ended(point), "{left} left");
                },
                share: 2,
                ..SCENE
            },
            Scene {
                operation: "semaphore timedwait to the end, another one waits",
                permits: 0,
                crew: &[taker],
                before: |_| (),
                work: |room| assert_eq!(shmkit_semaphore_timedwait(room.sem(), 30_000_000), TIMEOUT),
                check: |room, _| post(room),
                after: |room, _| assert_eq!(value(room), 0, "who timed out took nothing"),
                ..SCENE
            },
            Scene {
                operation: "semaphore post, two wait",
                permits: 0,
                crew: &[taker, taker],
                before: |_| (),
                work: post,
                check: |room, _| {
                    post(room);
                    post(room);
                },
                after: one_given,
                share: 2,
                ..SCENE
            },
        ]
    });
}

fn take_robust(room: Room) {
    good(shmkit_robust_sem_wait(room.robust()));
}

fn post_robust(room: Room) {
    good(shmkit_robust_sem_post(room.robust()));
}

/// When nobody has one, all permits are there, can be had, and no more than those.
fn all_are_back(room: Room, _: &Point) {
    let mut free = 0;
    // SAFETY: the value is writable.
    good(unsafe { shmkit_robust_sem_value(room.robust(), &mut free) });
    assert_eq!(free, 2, "permits are lost, or more than there were");
    (0..free).for_each(|_| take_robust(room));
    assert_eq!(shmkit_robust_sem_trywait(room.robust()), BUSY);
    (0..free).for_each(|_| post_robust(room));
    assert_eq!(shmkit_robust_sem_post(room.robust()), NOT_OWNER);
}

/// Crew: has a permit until the child sleeps for one.
fn permit_holder(room: Room, own: usize) {
    take_robust(room);
    ready(room, own);
    until_the_child_sleeps(room);
    post_robust(room);
}

/// Crew: wants a permit, and the child has it.
fn permit_waiter(room: Room, own: usize) {
    until_the_child_holds(room, own);
    take_robust(room);
    post_robust(room);
}

#[test]
fn robust_semaphore() {
    walks("robust_semaphore", || {
        let alone = Scene { before: warm_beside, after: all_are_back, ..SCENE };
        vec![
            Scene { operation: "robust_sem first wait", before: |_| (), work: take_robust, ..alone },
            Scene { operation: "robust_sem wait", work: take_robust, ..alone },
            Scene {
                operation: "robust_sem trywait",
                work: |room| good(shmkit_robust_sem_trywait(room.robust())),
                ..alone
            },
            Scene {
                operation: "robust_sem timedwait",
                work: |room| good(shmkit_robust_sem_timedwait(room.robust(), 60_000_000_000)),
                ..alone
            },
            Scene {
                operation: "robust_sem wait for a permit of the dead",
                set: |room| {
                    reap_well(start(|| {
                        take_robust(room);
                        take_robust(room);
                    }));
                },
                work: take_robust,
                ..alone
            },
            Scene {
                operation: "robust_sem post",
                before: |room| {
                    take_robust(room);
                    take_robust(room);
                },
                work: post_robust,
                ..alone
            },
            Scene {
                operation: "robust_sem trywait, none is free",
                crew: &[permit_holder, permit_holder],
                work: |room| assert_eq!(shmkit_robust_sem_trywait(room.robust()), BUSY),
                ..alone
            },
            Scene {
                operation: "robust_sem wait, none is free",
                crew: &[permit_holder, permit_holder],
                work: take_robust,
                ..alone
            },
            Scene {
                operation: "robust_sem post, two wait",
                crew: &[permit_waiter, permit_waiter],
                before: |room| {
                    take_robust(room);
                    take_robust(room);
                    let facts = room.facts();
                    facts.signs[HOLDS].store(1, SeqCst);
                    until(|| facts.signs[0].load(SeqCst) != 0 && facts.signs[1].load(SeqCst) != 0);
                },
                work: post_robust,
                ..alone
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The barrier
// ------------------------------------------------------------------------------------------------------------------

fn barrier_wait(room: Room) -> i32 {
    // SAFETY: nothing is asked for.
    unsafe { shmkit_barrier_wait(room.barrier(), null_mut()) }
}

/// The barrier's own sign: the first phase is over for the crew.
const OVER: usize = 12;
/// A new phase begins.
const ANEW: usize = 11;

/// Crew: arrives, passes or is told of a death, and comes again when the barrier was made whole.
fn party(room: Room, own: usize) {
    ready(room, own);
    let status = barrier_wait(room);
    assert!(status == OK || status == OWNER_DIED, "{status}");
    come_again(room);
}

/// The same, but only once the child waits.
fn late_party(room: Room, own: usize) {
    ready(room, own);
    until_the_child_sleeps(room);
    let status = barrier_wait(room);
    assert!(status == OK || status == OWNER_DIED, "{status}");
    come_again(room);
}

fn come_again(room: Room) {
    let facts = room.facts();
    facts.signs[OVER].store(1, SeqCst);
    until(|| facts.signs[ANEW].load(SeqCst) != 0);
    good(barrier_wait(room));
}

/// Who waits is told, or passes; where the child died before it arrived, and had not joined, the check comes in its
/// place. Then a whole phase goes well.
fn barrier_goes_on(room: Room, point: &Point) {
    let facts = room.facts();
    while facts.signs[OVER].load(SeqCst) == 0 {
        // SAFETY: nothing is asked for.
        let status = unsafe { shmkit_barrier_timedwait(room.barrier(), 2_000_000, null_mut()) };
        assert!([OK, TIMEOUT, OWNER_DIED].contains(&status), "{status}");
        assert!(status != OK || !ended(point), "the child had arrived already");
        if status != TIMEOUT {
            until(|| facts.signs[OVER].load(SeqCst) != 0);
        }
    }
    begin_anew(room);
}

fn begin_anew(room: Room) {
    good(shmkit_barrier_reset(room.barrier()));
    room.facts().signs[ANEW].store(1, SeqCst);
    good(barrier_wait(room));
}

/// Crew: waits for one who had joined.
fn waits_for_the_joined(room: Room, own: usize) {
    until_the_child_holds(room, own);
    let status = barrier_wait(room);
    assert!(status == OK || status == OWNER_DIED, "{status}");
    come_again(room);
}

#[test]
fn barrier() {
    walks("barrier", || {
        let two = Scene { before: warm_beside, check: barrier_goes_on, ..SCENE };
        let mut scenes = vec![
            Scene {
                operation: "barrier wait, the other one is late",
                crew: &[late_party],
                work: |room| good(barrier_wait(room)),
                ..two
            },
            Scene {
                operation: "barrier wait, the other one is here",
                crew: &[party],
                work: |room| good(barrier_wait(room)),
                ..two
            },
            Scene {
                operation: "barrier wait of one who has joined",
                crew: &[waits_for_the_joined],
                before: |room| {
                    good(shmkit_barrier_join(room.barrier()));
                    holds_against(room, 1);
                },
                work: |room| good(barrier_wait(room)),
                // Nobody comes in its place: its death is noticed wherever it happens.
                check: |room, _| {
                    until(|| room.facts().signs[OVER].load(SeqCst) != 0);
                    begin_anew(room);
                },
                ..two
            },
            Scene {
                operation: "barrier join",
                parties: 1,
                work: |room| good(shmkit_barrier_join(room.barrier())),
                check: |room, point| {
                    let status = barrier_wait(room);
                    assert!(status == OWNER_DIED && !not_begun(point) || status == OK && !ended(point), "{status}");
                    good(shmkit_barrier_reset(room.barrier()));
                    good(barrier_wait(room));
                },
                ..two
            },
            Scene {
                operation: "barrier leave",
                parties: 1,
                before: |room| good(shmkit_barrier_join(room.barrier())),
                work: |room| good(shmkit_barrier_leave(room.barrier())),
                check: |room, point| {
                    let status = barrier_wait(room);
                    assert!(status == OK && !not_begun(point) || status == OWNER_DIED && !ended(point), "{status}");
                    good(shmkit_barrier_reset(room.barrier()));
                    good(barrier_wait(room));
                },
                ..two
            },
            Scene {
                operation: "barrier reset",
                parties: 1,
                set: |room| {
                    reap_well(start(|| good(shmkit_barrier_join(room.barrier()))));
                },
                before: |room| assert_eq!(barrier_wait(room), OWNER_DIED),
                work: |room| good(shmkit_barrier_reset(room.barrier())),
                check: |room, point| {
                    let status = barrier_wait(room);
                    assert!(status == OK && !not_begun(point) || status == OWNER_DIED && !ended(point), "{status}");
                    good(shmkit_barrier_reset(room.barrier()));
                    good(barrier_wait(room));
                },
                ..two
            },
        ];
        if cfg!(debug_assertions) {
            // Without optimisation they take a million instructions, which a walk over the others has for the most part.
            let slow = |scene: &Scene| {
                let slow = ["barrier wait, the other one is here", "barrier join", "barrier reset"];
                let slow = slow.contains(&scene.operation);
                if slow {
                    println!("kill points: {}: left to an optimised build (--profile walk)", scene.operation);
                }
                slow
            };
            scenes.retain(|scene| !slow(scene));
        }
        scenes
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The once
// ------------------------------------------------------------------------------------------------------------------

/// The work: changes the pair, which a death may leave half done; it repairs that first.
extern "C" fn work_of_once(user: *mut c_void) -> c_int {
    let room = Room::at(user as usize);
    room.repair();
    room.raise();
    room.facts().count.fetch_add(1, SeqCst);
    0
}

fn once_run(room: Room) {
    // SAFETY: the work returns.
    good(unsafe { shmkit_once_run(room.once(), Some(work_of_once), room.address() as *mut c_void) });
}

/// It is done, and done anew only if the child had not done it.
fn once_is_done(room: Room, point: &Point) {
    let before = room.facts().count.load(SeqCst);
    once_run(room);
    let after = room.facts().count.load(SeqCst);
    assert!(room.is_whole() && after > 0);
    assert!(after == before || !ended(point), "it was done, and was done again");
    once_run(room);
    assert_eq!(room.facts().count.load(SeqCst), after, "it was done twice");
}

/// Crew: has begun, and is done once the child waits for that.
fn doer(room: Room, own: usize) {
    let mut yours = false;
    // SAFETY: the output is writable.
    good(unsafe { shmkit_once_begin(room.once(), &mut yours) });
    assert!(yours);
    ready(room, own);
    until_the_child_sleeps(room);
    work_of_once(room.address() as *mut c_void);
    good(shmkit_once_end(room.once(), true));
}

/// The same, but it cannot do it.
fn failing_doer(room: Room, own: usize) {
    let mut yours = false;
    // SAFETY: the output is writable.
    good(unsafe { shmkit_once_begin(room.once(), &mut yours) });
    assert!(yours);
    ready(room, own);
    until_the_child_sleeps(room);
    good(shmkit_once_end(room.once(), false));
}

/// Crew: waits until the child is done, or does it in its place.
fn once_waiter(room: Room, own: usize) {
    until_the_child_holds(room, own);
    once_run(room);
    assert!(room.is_whole() && room.facts().count.load(SeqCst) > 0);
}

#[test]
fn once() {
    walks("once", || {
        let one = Scene { before: warm_beside, after: once_is_done, ..SCENE };
        vec![
            Scene { operation: "once run", work: once_run, ..one },
            Scene { operation: "once run of what is done", set: once_run, work: once_run, ..one },
            Scene {
                operation: "once run after a death",
                set: |room| {
                    reap_well(start(|| {
                        let mut yours = false;
                        // SAFETY: the output is writable.
                        good(unsafe { shmkit_once_begin(room.once(), &mut yours) });
                        room.facts().a.fetch_add(1, SeqCst);
                    }));
                },
                work: once_run,
                ..one
            },
            Scene { operation: "once run, another one does it", crew: &[doer], work: once_run, ..one },
            Scene { operation: "once run, another one cannot do it", crew: &[failing_doer], work: once_run, ..one },
            Scene {
                operation: "once end, two wait",
                crew: &[once_waiter, once_waiter],
                before: |room| {
                    let mut yours = false;
                    // SAFETY: the output is writable.
                    good(unsafe { shmkit_once_begin(room.once(), &mut yours) });
                    work_of_once(room.address() as *mut c_void);
                    holds_against(room, 2);
                },
                work: |room| good(shmkit_once_end(room.once(), true)),
                ..one
            },
        ]
    });
}
