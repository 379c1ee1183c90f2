//! The core of the cell under loom, which runs each model in every order of its steps, up to a number of preemptions
//! (LOOM_MAX_PREEMPTIONS raises it), with every value that a relaxed load may see. A sleep without a wake is a deadlock
//! there. The time that makes sleepers look again passes only after a death. Next: `support/container_model.rs` for the
//! memory, `support/model.rs` for threads and their deaths.
//!
//! Each was seen to fail with a mistake put into the memory:
//!
//! | mistake | model that fails |
//! |---|---|
//! | `release_fence` does nothing | `no_torn_value` |
//! | `acquire_fence` does nothing | `no_torn_value` |

#[path = "support/container_model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod container_model;
#[path = "support/model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod model;

use container_model::{Shared, Store};
use model::{ALIVE, Thread, World, explore, here, some_deaths};
use shmkit::containers::cell::{self, CHANGED_AT, Refused};
use shmkit::containers::memory::Memory;
use shmkit::containers::wait::Ended;

const FOREVER: u64 = u64::MAX;
/// As `containers/cell.rs` has them.
const LATEST_AT: usize = 64;
const SLOTS_AT: usize = 192;
/// Two words, so that a value can be torn.
const LONGEST: u64 = 16;
const STRIDE: usize = 64;

/// A cell and its world.
#[derive(Clone, Copy)]
struct Room {
    world: &'static World,
    store: &'static Store,
}

impl Room {
    fn new() -> Room {
        let mut words = vec![LATEST_AT];
        for slot in 0..cell::SLOTS as usize {
            words.extend((0..4).map(|word| SLOTS_AT + slot * STRIDE + 8 * word));
        }
        Room { world: World::new(1), store: Store::new(&words, 0, 0, &[], &[CHANGED_AT]) }
    }

    /// Values up to this one have been written, and were seen by everybody.
    fn after(last: u64) -> Room {
        let room = Room::new();
        for number in last.saturating_sub(cell::SLOTS - 1).max(1)..=last {
            let at = SLOTS_AT + (number % cell::SLOTS) as usize * STRIDE;
            room.store.set(at, 2 * number);
            room.store.set(at + 8, LONGEST);
            room.store.set(at + 16, number);
            room.store.set(at + 24, number + 100);
        }
        room.store.set(LATEST_AT, last);
        room
    }

    fn end(self) {
        self.store.end();
        self.world.end();
    }
}

/// A new writer, which writes up to this number.
fn write(room: Room, me: &Thread, to: u64) {
    let shared = Shared::of(me, room.store);
    for number in cell::latest(shared) + 1..=to {
        let at = cell::begin(shared, LONGEST, number);
        shared.put(at, number);
        shared.put(at + 8, number + 100);
        cell::publish(shared, LONGEST, number, LONGEST);
    }
}

/// The latest value that is another one than `after`: it must be whole.
fn read(shared: Shared, after: u64) -> Result<u64, Refused> {
    let mut words = [0; 2];
    let found = cell::read(shared, LONGEST, after, LONGEST, &mut |at, length| {
        assert_eq!(length, LONGEST);
        words = [shared.peek(at), shared.peek(at + 8)];
    });
    found.map(|(number, length)| {
        assert_eq!((words, length), ([number, number + 100], LONGEST), "value {number} is torn");
        number
    })
}

/// The writer goes round all slots while a reader reads twice: it comes to the slot in which the reader is.
#[test]
fn no_torn_value() {
    explore(3, || {
        let room = Room::after(1);
        let other = loom::thread::spawn(move || {
            here(room.world, 2, ALIVE, |me| write(room, &me, 1 + cell::SLOTS));
        });
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let first = read(shared, 0).expect("there is one");
            let second = read(shared, 0).expect("there is one");
            assert!(second >= first, "{second} after {first}");
        });
        other.join().expect("it ends");
        room.end();
    });
}

/// A reader sleeps until there is something newer, up to the last.
#[test]
fn newer_values_are_waited_for() {
    explore(3, || {
        let room = Room::new();
        let other = loom::thread::spawn(move || {
            here(room.world, 2, ALIVE, |me| write(room, &me, 2));
        });
        here(room.world, 1, ALIVE, |me| wait_for(room, &me, 2));
        other.join().expect("it ends");
        room.end();
    });
}

/// Reads what is newer until it is this one.
fn wait_for(room: Room, me: &Thread, last: u64) {
    let shared = Shared::of(me, room.store);
    let mut number = 0;
    while number < last {
        match read(shared, number) {
            Ok(newer) => {
                assert!(newer > number, "{newer} after {number}");
                number = newer;
            }
            Err(refused) => {
                assert_eq!(refused, Refused::NotNow);
                let ended = cell::wait(shared, number, FOREVER, &mut || !room.world.somebody_died());
                assert!(ended == Ended::There || ended == Ended::PeerDied);
            }
        }
    }
}

/// The writer dies before each step in turn; then another one comes. No value is torn, the latest stays, and who waits goes on.
#[test]
fn a_writer_that_dies() {
    some_deaths(2, 1, |life| {
        let room = Room::after(1);
        room.world.time_passes_after_deaths();
        let other = loom::thread::spawn(move || {
            let lived = here(room.world, 2, life, |me| write(room, &me, 2)).is_some();
            here(room.world, 3, ALIVE, |me| {
                let latest = cell::latest(Shared::of(&me, room.store));
                assert!((1..=2).contains(&latest) && (!lived || latest == 2));
                write(room, &me, 3);
            });
        });
        here(room.world, 1, ALIVE, |me| wait_for(room, &me, 3));
        other.join().expect("it ends");
        room.end();
    });
}
