//! The core of the ring under loom, which runs each model in every order of its steps, up to a number of preemptions
//! (LOOM_MAX_PREEMPTIONS raises it). A sleep without a wake is a deadlock there, and bytes of a message that are read beside
//! a write are a race. The time that makes sleepers look again passes only after a death. Next: `support/container_model.rs`
//! for the memory, `support/model.rs` for threads and their deaths.
//!
//! Each was seen to fail with a mistake put into the core:
//!
//! | mistake | model that fails |
//! |---|---|
//! | `publish` stores the tail without release, or `look` loads it without acquire | `whole_and_in_order` |
//! | `release` stores the head without release | `whole_and_in_order` |
//! | `notify` without its fence | `whole_and_in_order` |
//! | `until` sleeps without a look after `prepare` | `whole_and_in_order` |
//! | the consumer's `look` asks for the end after the tail | `closed_behind_the_last_message` |
//! | `close` does not notify | `closed_while_the_reader_sleeps` |
//! | `stage` stores the tail before the message's word | `a_producer_that_dies` |
//! | `Producer::new` begins at the head | `a_producer_that_dies` |
//! | `Consumer::new` begins at the tail | `a_consumer_that_dies` |
//! | `stage` makes each message of a batch visible | `batches_come_whole` |
//! | `until` never asks whether the other side lives | `a_consumer_that_dies`, which does not end then |

#[path = "support/container_model.rs"]
mod container_model;
#[path = "support/model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod model;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use container_model::{Shared, Store};
use model::{ALIVE, Thread, World, explore, here, some_deaths};
use shmkit::containers::ring::{Consumer, DATA_AT, Producer, READABLE_AT, Refused, WRITABLE_AT};
use shmkit::containers::wait::{Ended, wake};

const FOREVER: u64 = u64::MAX;
/// As `containers/ring.rs` has them.
const STATE_AT: usize = 24;
const TAIL_AT: usize = 64;
const HEAD_AT: usize = 128;
const COUNTS: [usize; 3] = [72, 80, 136];
const HALVES: [usize; 3] = [STATE_AT, READABLE_AT, WRITABLE_AT];

/// Of the two models with deaths, whose steps are many.
const PREEMPTIONS_OF_DEATHS: usize = 1;
/// Two messages of eight bytes fit.
const CAPACITY: usize = 32;

/// A ring, its world, and what its reader has seen.
#[derive(Clone, Copy)]
struct Room {
    world: &'static World,
    store: &'static Store,
    found: &'static Mutex<Vec<u64>>,
    /// Commits, or releases, that have returned.
    done: &'static AtomicUsize,
}

impl Room {
    /// The next message goes to this place.
    fn new(place: u64) -> Room {
        let store = Store::new(&[TAIL_AT, HEAD_AT], DATA_AT, CAPACITY, &COUNTS, &HALVES);
        store.set(TAIL_AT, place);
        store.set(HEAD_AT, place);
        Room {
            world: World::new(HALVES.len()),
            store,
            found: Box::leak(Box::default()),
            done: Box::leak(Box::default()),
        }
    }

    fn found(self) -> Vec<u64> {
        self.found.lock().expect("nobody panics with it").clone()
    }

    fn end(self) {
        self.store.end();
        self.world.end();
        // SAFETY: they came from boxes, and the threads that knew them have ended.
        unsafe {
            drop(Box::from_raw(std::ptr::from_ref(self.found).cast_mut()));
            drop(Box::from_raw(std::ptr::from_ref(self.done).cast_mut()));
        }
    }

    /// Whether the other side lives: after a death somebody else comes, but the sleeper does not know that.
    fn alive(self) -> impl FnMut() -> bool {
        move || !self.world.somebody_died()
    }
}

/// Runs a thread to its end, beside the others. The first thread of a model must do nothing else: loom does not try what others
/// could do between two of its loads.
fn beside<T: 'static>(work: impl FnOnce() -> T + 'static) -> T {
    loom::thread::spawn(work).join().expect("it ends")
}

/// A new producer, which writes these messages of eight bytes, each alone, and waits for room.
fn write(room: Room, me: &Thread, messages: &[u64], close: bool) {
    let shared = Shared::of(me, room.store);
    let mut end = Producer::new(shared, CAPACITY as u64).expect("it is a ring");
    for message in messages {
        let at = reserve(room, &mut end);
        shared.write(at, *message);
        match end.commit_near(8) {
            Some(true) => wake(shared, READABLE_AT),
            Some(false) => {}
            None => {
                end.commit(8).expect("it was reserved");
            }
        }
        room.done.fetch_add(1, Relaxed);
    }
    if close {
        end.close();
    }
}

fn reserve(room: Room, end: &mut Producer<Shared>) -> usize {
    loop {
        if let Some(at) = end.reserve_near(8) {
            return at;
        }
        match end.reserve(8) {
            Ok(at) => return at,
            Err(refused) => assert_eq!(refused, Refused::NotNow),
        }
        let ended = end.wait(8, FOREVER, &mut room.alive());
        assert!(ended == Ended::There || ended == Ended::PeerDied);
    }
}

/// A new consumer, which reads so many messages, or to the end.
fn read(room: Room, me: &Thread, most: usize) {
    let shared = Shared::of(me, room.store);
    let mut end = Consumer::new(shared, CAPACITY as u64).expect("it is a ring");
    for _ in 0..most {
        let (at, length) = loop {
            if let Some(found) = end.peek_near() {
                break found;
            }
            match end.peek() {
                Ok(found) => break found,
                Err(Refused::Closed) => return,
                Err(refused) => assert_eq!(refused, Refused::NotNow),
            }
            let ended = end.wait(FOREVER, &mut room.alive());
            assert!(ended == Ended::There || ended == Ended::PeerDied);
        };
        assert_eq!(length, 8);
        let message = shared.read(at);
        room.found.lock().expect("nobody panics with it").push(message);
        match end.release_near() {
            Some(true) => wake(shared, WRITABLE_AT),
            slept => assert_eq!(slept, Some(false), "it was shown"),
        }
        room.done.fetch_add(1, Relaxed);
    }
}

/// Three messages through room for two, with filling before the end: both sides wait.
#[test]
fn whole_and_in_order() {
    for place in [0, 24] {
        explore(3, move || {
            let room = Room::new(place);
            let other =
                loom::thread::spawn(move || here(room.world, 2, ALIVE, |me| write(room, &me, &[1, 2, 3], false)));
            beside(move || here(room.world, 1, ALIVE, |me| read(room, &me, 3)));
            other.join().expect("it ends");
            assert_eq!(room.found(), [1, 2, 3]);
            room.end();
        });
    }
}

/// Two in one batch: both are there, or none.
#[test]
fn batches_come_whole() {
    explore(3, || {
        let room = Room::new(8);
        let other = loom::thread::spawn(move || {
            here(room.world, 2, ALIVE, |me| {
                let shared = Shared::of(&me, room.store);
                let mut end = Producer::new(shared, CAPACITY as u64).expect("it is a ring");
                let at = end.reserve(8).expect("there is room");
                shared.write(at, 1);
                end.stage(8).expect("it was reserved");
                end.reserve(0).expect("there is room");
                end.stage(0).expect("it was reserved");
                end.publish();
            })
        });
        beside(move || {
            here(room.world, 1, ALIVE, |me| {
                let shared = Shared::of(&me, room.store);
                let mut end = Consumer::new(shared, CAPACITY as u64).expect("it is a ring");
                while end.peek() == Err(Refused::NotNow) {
                    // Nobody dies, and the time is not over.
                    assert_eq!(end.wait(FOREVER, &mut || true), Ended::There);
                }
                let mut lengths = Vec::new();
                end.each(9, &mut |_, length| lengths.push(length));
                assert_eq!(lengths, [8, 0]);
                assert_eq!(shared.read(DATA_AT + 16), 1);
                end.release(2).expect("both were shown");
            })
        });
        other.join().expect("it ends");
        room.end();
    });
}

/// The last message comes before the end, however the reader looks.
#[test]
fn closed_behind_the_last_message() {
    explore(4, || {
        let room = Room::new(0);
        let other = loom::thread::spawn(move || here(room.world, 2, ALIVE, |me| write(room, &me, &[1], true)));
        beside(move || here(room.world, 1, ALIVE, |me| read(room, &me, 9)));
        other.join().expect("it ends");
        assert_eq!(room.found(), [1]);
        room.end();
    });
}

/// Nothing comes but the end.
#[test]
fn closed_while_the_reader_sleeps() {
    explore(4, || {
        let room = Room::new(0);
        let other = loom::thread::spawn(move || here(room.world, 2, ALIVE, |me| write(room, &me, &[], true)));
        beside(move || here(room.world, 1, ALIVE, |me| read(room, &me, 9)));
        other.join().expect("it ends");
        assert!(room.found().is_empty());
        room.end();
    });
}

/// The producer dies before each step in turn; then another one comes at its end. What was committed is there, nothing is
/// there in part, and the reader goes on.
#[test]
fn a_producer_that_dies() {
    for place in [0, 24] {
        some_deaths(PREEMPTIONS_OF_DEATHS, 1, move |life| {
            let room = Room::new(place);
            room.world.time_passes_after_deaths();
            let other = loom::thread::spawn(move || {
                let lived = here(room.world, 2, life, |me| write(room, &me, &[1], false)).is_some();
                let committed = room.done.load(Relaxed);
                here(room.world, 3, ALIVE, |me| write(room, &me, &[9], true));
                (lived, committed)
            });
            beside(move || {
                let (mut other, mut ended) = (Some(other), None);
                let mut found = Vec::new();
                here(room.world, 1, ALIVE, |me| {
                    let shared = Shared::of(&me, room.store);
                    let mut end = Consumer::new(shared, CAPACITY as u64).expect("it is a ring");
                    loop {
                        match end.peek() {
                            Ok((at, _)) => {
                                found.push(shared.read(at));
                                end.release(1).expect("it was shown");
                            }
                            Err(Refused::Closed) => return,
                            Err(refused) => assert_eq!(refused, Refused::NotNow),
                        }
                        // Who is told of the death waits until the next one has come and gone.
                        if end.wait(FOREVER, &mut room.alive()) == Ended::PeerDied
                            && let Some(other) = other.take()
                        {
                            ended = Some(other.join().expect("it ends"));
                        }
                    }
                });
                let (lived, committed) =
                    ended.unwrap_or_else(|| other.expect("it was not joined").join().expect("it ends"));
                assert_eq!(found.pop(), Some(9));
                assert!(found == [1] || !lived && found.is_empty(), "{found:?}");
                assert!(found.len() >= committed, "{found:?} of {committed}");
            });
            room.end();
        });
    }
}

/// The consumer dies before each step in turn; then another one comes at its end. What was not released comes again, what was
/// released does not, and the writer goes on, or is told.
#[test]
fn a_consumer_that_dies() {
    for place in [0, 24] {
        some_deaths(PREEMPTIONS_OF_DEATHS, 1, move |life| {
            let room = Room::new(place);
            room.world.time_passes_after_deaths();
            let other = loom::thread::spawn(move || {
                let mut written = 0;
                here(room.world, 2, ALIVE, |me| {
                    let shared = Shared::of(&me, room.store);
                    let mut end = Producer::new(shared, CAPACITY as u64).expect("it is a ring");
                    for message in [1, 2, 3] {
                        while end.reserve(8) == Err(Refused::NotNow) {
                            if end.wait(8, FOREVER, &mut room.alive()) == Ended::PeerDied {
                                return;
                            }
                        }
                        let at = end.reserve(8).expect("there is room");
                        shared.write(at, message);
                        end.commit(8).expect("it was reserved");
                        written = message;
                    }
                });
                written
            });
            beside(move || {
                let lived = here(room.world, 1, life, |me| read(room, &me, 2)).is_some();
                let released = room.done.load(Relaxed) as u64;
                let first = room.found();
                let mut rest = Vec::new();
                let mut written = 0;
                here(room.world, 3, ALIVE, |me| {
                    let shared = Shared::of(&me, room.store);
                    let mut end = Consumer::new(shared, CAPACITY as u64).expect("it is a ring");
                    let mut drain = || {
                        while let Ok((at, _)) = end.peek() {
                            rest.push(shared.read(at));
                            end.release(1).expect("it was shown");
                        }
                    };
                    // Beside the writer, and again when that has ended.
                    drain();
                    written = other.join().expect("it ends");
                    drain();
                });
                assert!([1, 2].starts_with(&first), "{first:?}");
                let next = written + 1 - rest.len() as u64;
                assert!(rest.iter().copied().eq(next..written + 1), "{rest:?}");
                // One whose release was done, but had not returned, is released too.
                assert!(next == released + 1 || !lived && next == released + 2, "{released} released, then {rest:?}");
                assert!(written == 3 || !lived, "nobody had died");
            });
            room.end();
        });
    }
}
