//! The core of the broadcast under loom, which runs each model in every order of its steps, up to a number of preemptions
//! (LOOM_MAX_PREEMPTIONS raises it), with every value that a relaxed load may see. A sleep without a wake is a deadlock
//! there. The time that makes sleepers look again passes only after a death. Next: `support/container_model.rs` for the
//! memory, `support/model.rs` for threads and their deaths.
//!
//! Each was seen to fail with a mistake put into the core, or into the memory:
//!
//! | mistake | model that fails |
//! |---|---|
//! | `acquire_fence` does nothing | `a_reader_that_is_lapped` |
//! | `next` judges the word by its look before that at the tail | `a_reader_that_waits` |

#[path = "support/container_model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod container_model;
#[path = "support/model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod model;

use container_model::{Shared, Store};
use model::{ALIVE, Thread, World, explore, here, some_deaths};
use shmkit::containers::broadcast::{Broadcast, MEMBERS_AT, READABLE_AT, Refused, Shape};
use shmkit::containers::memory::Memory;
use shmkit::containers::wait::Ended;

const FOREVER: u64 = u64::MAX;
/// As `containers/broadcast.rs` has them.
const STATE_AT: usize = 24;
const TAIL_AT: usize = 64;
const LOST_AT: usize = 192;
const PASSED_AT: usize = 200;
const CELLS_AT: usize = MEMBERS_AT + 8 * 64;
/// Two cells with messages of two words, so that one can be torn.
const SHAPE: Shape = Shape { cells: 2, stride: 64, fingerprint: 0 };
const LENGTH: u64 = 16;
/// The mortal.
const MORTAL: u32 = 2;

/// A broadcast and its world.
#[derive(Clone, Copy)]
struct Room {
    world: &'static World,
    store: &'static Store,
}

impl Room {
    fn new() -> Room {
        let mut words = vec![TAIL_AT, PASSED_AT];
        for cell in 0..SHAPE.cells as usize {
            words.extend((0..4).map(|word| CELLS_AT + cell * SHAPE.stride as usize + 8 * word));
        }
        Room { world: World::new(2), store: Store::new(&words, 0, 0, &[LOST_AT], &[STATE_AT, READABLE_AT]) }
    }

    /// A member of this number.
    fn member(self, me: &Thread, owner: u32) -> (Shared, Broadcast<Shared>) {
        let shared = Shared::of(me, self.store);
        (shared, Broadcast::new(shared, SHAPE, owner).expect("it is one"))
    }

    /// Whether the owner of a claim is dead: the mortal alone dies.
    fn is_dead(self) -> impl FnMut(u32) -> bool {
        move |owner| owner == MORTAL && self.world.somebody_died()
    }

    fn end(self) {
        self.store.end();
        self.world.end();
    }
}

/// Writes these numbers, as a member of this number.
fn write(room: Room, me: &Thread, owner: u32, numbers: &[u64]) {
    let (shared, mut member) = room.member(me, owner);
    for number in numbers {
        let at = member.claim(&mut room.is_dead()).expect("there are places enough");
        shared.put(at, *number);
        shared.put(at + 8, number + 100);
        member.commit(LENGTH).expect("it was claimed");
    }
}

/// The next message, which must be whole, and how many were missed before it.
fn look(room: Room, shared: Shared, member: &mut Broadcast<Shared>) -> Result<(u64, u64), Refused> {
    let mut words = [0; 2];
    let mut copy = |at, length| {
        assert_eq!(length, LENGTH);
        words = [shared.peek(at), shared.peek(at + 8)];
    };
    let (length, missed) = member.next(LENGTH, &mut copy, &mut room.is_dead())?;
    assert_eq!((words[1], length), (words[0] + 100, LENGTH), "message {} is torn", words[0]);
    Ok((words[0], missed))
}

/// The same, and waits for it.
fn read(room: Room, shared: Shared, member: &mut Broadcast<Shared>) -> Result<(u64, u64), Refused> {
    loop {
        match look(room, shared, member) {
            Err(Refused::NotNow | Refused::Busy(_)) => {}
            other => return other,
        }
        let ended = member.wait(FOREVER, &mut || !room.world.somebody_died());
        assert!(ended == Ended::There || ended == Ended::PeerDied);
    }
}

/// Two writers claim beside each other: a reader that comes then sees both messages, whoever came first.
#[test]
fn two_writers() {
    explore(2, || {
        let room = Room::new();
        let other = loom::thread::spawn(move || here(room.world, 4, ALIVE, |me| write(room, &me, 4, &[4])));
        here(room.world, 3, ALIVE, |me| write(room, &me, 3, &[3]));
        other.join().expect("it ends");
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let mut member = Broadcast::new(shared, SHAPE, 1).expect("it is one");
            member.rewind();
            let mut found: Vec<_> = (0..2).map(|_| look(room, shared, &mut member)).collect();
            found.sort_by_key(|found| found.map_or(0, |(number, _)| number));
            assert_eq!(found, [Ok((3, 0)), Ok((4, 0))]);
            assert_eq!(look(room, shared, &mut member), Err(Refused::NotNow));
        });
        room.end();
    });
}

/// One writes, and a reader that waits sees each, in order.
#[test]
fn a_reader_that_waits() {
    explore(2, || {
        let room = Room::new();
        let other = loom::thread::spawn(move || here(room.world, 3, ALIVE, |me| write(room, &me, 3, &[1, 2])));
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let mut member = Broadcast::new(shared, SHAPE, 1).expect("it is one");
            member.rewind();
            while read(room, shared, &mut member).expect("it comes").0 != 2 {}
        });
        other.join().expect("it ends");
        room.end();
    });
}

/// A writer laps the reader: what it sees is whole and in order, and it knows how many it has missed.
#[test]
fn a_reader_that_is_lapped() {
    explore(3, || {
        let room = Room::new();
        // Two are there, which the reader has not read.
        here(room.world, 4, ALIVE, |me| write(room, &me, 4, &[0, 1]));
        let other = loom::thread::spawn(move || {
            here(room.world, 3, ALIVE, |me| write(room, &me, 3, &[2, 3]));
        });
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let mut member = Broadcast::new(shared, SHAPE, 1).expect("it is one");
            member.rewind();
            let mut expected = None;
            for _ in 0..2 {
                let found = look(room, shared, &mut member);
                let Ok((number, missed)) = found else {
                    assert!(matches!(found, Err(Refused::NotNow | Refused::Busy(_))), "{found:?}");
                    continue;
                };
                assert!(expected.is_none_or(|expected| number == expected + missed), "{number}, {missed} missed");
                expected = Some(number + 1);
            }
        });
        other.join().expect("it ends");
        room.end();
    });
}

/// One holds a place while another goes round: nothing that it wrote is passed by by a reader that has come to the end, and
/// nobody is in a place that was passed by.
#[test]
fn places_that_are_passed_by() {
    explore(2, || {
        let room = Room::new();
        let slow = loom::thread::spawn(move || here(room.world, 3, ALIVE, |me| write(room, &me, 3, &[30, 31])));
        let fast = loom::thread::spawn(move || here(room.world, 4, ALIVE, |me| write(room, &me, 4, &[40, 41])));
        slow.join().expect("it ends");
        fast.join().expect("it ends");
        here(room.world, 1, ALIVE, |me| {
            let (shared, mut member) = room.member(&me, 1);
            assert_eq!(look(room, shared, &mut member), Err(Refused::NotNow), "it is at the end");
            // What comes next is seen, whatever was passed by.
            write(room, &me, 1, &[50]);
            assert_eq!(look(room, shared, &mut member), Ok((50, 0)));
        });
        room.end();
    });
}

/// Who closes beside a writer: either the message is there before the end, or the writer is refused.
#[test]
fn closed_beside_a_writer() {
    explore(1, || {
        let room = Room::new();
        let writer = loom::thread::spawn(move || {
            here(room.world, 3, ALIVE, |me| {
                let (shared, mut member) = room.member(&me, 3);
                let Ok(at) = member.claim(&mut room.is_dead()) else { return 0 };
                shared.put(at, 7);
                shared.put(at + 8, 107);
                member.commit(LENGTH).expect("it was claimed");
                1
            })
        });
        let closer = loom::thread::spawn(move || here(room.world, 4, ALIVE, |me| room.member(&me, 4).1.close()));
        let mut seen = 0;
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let mut member = Broadcast::new(shared, SHAPE, 1).expect("it is one");
            member.rewind();
            loop {
                match read(room, shared, &mut member) {
                    Ok(found) => {
                        assert_eq!(found, (7, 0));
                        seen += 1;
                    }
                    Err(refused) => {
                        assert_eq!(refused, Refused::Closed);
                        break;
                    }
                }
            }
        });
        assert_eq!(writer.join().expect("it ends"), Some(seen));
        closer.join().expect("it ends");
        room.end();
    });
}

/// A writer dies before each step in turn; another one comes behind it. What was committed is there, in order and whole.
#[test]
fn a_writer_that_dies() {
    some_deaths(2, 1, |life| {
        let room = Room::new();
        room.world.time_passes_after_deaths();
        let other = loom::thread::spawn(move || {
            let lived = here(room.world, MORTAL, life, |me| write(room, &me, MORTAL, &[1])).is_some();
            here(room.world, 3, ALIVE, |me| write(room, &me, 3, &[9]));
            lived
        });
        let mut found = Vec::new();
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            let mut member = Broadcast::new(shared, SHAPE, 1).expect("it is one");
            member.rewind();
            while found.last() != Some(&9) {
                let (number, missed) = read(room, shared, &mut member).expect("it comes");
                assert_eq!(missed, 0);
                found.push(number);
            }
        });
        let lived = other.join().expect("it ends");
        assert!(found == [1, 9] || !lived && found == [9], "{found:?}");
        room.end();
    });
}
