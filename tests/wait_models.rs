//! How a container wakes who sleeps on a descriptor (`containers/wait.rs`, `sync/event.rs`), under loom, which runs each model
//! in every order of its steps, up to a number of preemptions (LOOM_MAX_PREEMPTIONS raises it). The container is as small as
//! one can be: a flag for each message. No time passes: who is not woken sleeps for ever, which is a deadlock there. A writer
//! dies before each of its steps in turn. Next: `support/container_model.rs` for the memory, `support/model.rs` for threads,
//! their deaths, and the descriptor.
//!
//! Each was seen to fail with a mistake put into the core:
//!
//! | mistake | model that fails |
//! |---|---|
//! | `tell` takes the sign away, and then writes | `a_writer_that_dies_and_the_next` |
//! | `arm` leaves a word as it is that has the sign | `armed_again_within_a_tell` |
//! | `tell` takes the sign away whatever the word is by then | `armed_again_within_a_tell` |
//! | `notify` takes away the sign of those on descriptors too | `a_writer_without_a_descriptor` |
//! | `notify_sleepers` leaves it at an exchange that fails | `a_thread_and_a_descriptor` |
//! | `arm` without its fences | `woken_and_armed_again` |

#[path = "support/container_model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod container_model;
#[path = "support/model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod model;

use container_model::{Shared, Store};
use model::{ALIVE, Thread, World, explore, go, here, some_deaths};
use shmkit::containers::memory::Memory;
use shmkit::containers::wait::{self, Ended, arm, is_awaited, notify, tell};

const FOREVER: u64 = u64::MAX;
/// Where the flags of the messages are, the event, and, in the world alone, the descriptor.
const MESSAGES: [usize; 2] = [0, 8];
const EVENT_AT: usize = 64;
const BELL: usize = 1;

/// What the threads of a model share.
#[derive(Clone, Copy)]
struct Room {
    world: &'static World,
    store: &'static Store,
}

impl Room {
    fn new() -> Room {
        Room { world: World::new(2), store: Store::new(&MESSAGES, 0, 0, &[], &[EVENT_AT]) }
    }

    fn end(self) {
        self.store.end();
        self.world.end();
    }
}

/// Commits a message, and wakes: by a descriptor too where the writer has one.
fn write(room: Room, me: &Thread, message: usize, has_fd: bool) {
    let shared = Shared::of(me, room.store);
    shared.store(MESSAGES[message], 1);
    if notify(shared, EVENT_AT) && has_fd {
        tell(shared, EVENT_AT, || me.word(BELL).ring());
    }
}

/// Sleeps on the descriptor alone until this message is there. Others that come first are looked at, and slept for no more.
fn read_to(room: Room, me: &Thread, last: usize) {
    let shared = Shared::of(me, room.store);
    let mut seen = [false; MESSAGES.len()];
    let mut look = || {
        let mut new = false;
        for (seen, at) in seen.iter_mut().zip(MESSAGES).take(last + 1) {
            new |= !*seen && shared.load(at) != 0;
            *seen |= new;
        }
        (new, seen[last])
    };
    loop {
        match look() {
            (_, true) => return,
            (true, _) => continue,
            _ => {}
        }
        let ordered = arm(shared, EVENT_AT);
        match look() {
            (_, true) => return,
            (false, _) if ordered => me.word(BELL).until_rung(),
            _ => {}
        }
    }
}

/// A reader beside the others. The first thread of a model must do nothing else: loom does not try what others could do between
/// two of its loads.
fn reads_to(room: Room, last: usize) {
    let reader = go(room.world, 1, ALIVE, move |me| read_to(room, &me, last));
    reader.join().expect("it ends");
}

/// One writer dies before each of its steps in turn, another one goes on beside it, or after it: who sleeps on the
/// descriptor has the second one's message, whatever the first has left.
#[test]
fn a_writer_that_dies_and_the_next() {
    some_deaths(2, 1, |life| {
        let room = Room::new();
        let first = go(room.world, 2, life, move |me| write(room, &me, 0, true));
        let second = go(room.world, 3, ALIVE, move |me| write(room, &me, 1, true));
        reads_to(room, 1);
        first.join().expect("it ends");
        second.join().expect("it ends");
        room.end();
    });
}

/// The same, the next one coming when the first is dead for certain.
#[test]
fn a_writer_that_dies_before_the_next_comes() {
    some_deaths(2, 1, |life| {
        let room = Room::new();
        let writers = loom::thread::spawn(move || {
            here(room.world, 2, life, |me| write(room, &me, 0, true));
            here(room.world, 3, ALIVE, |me| write(room, &me, 1, true));
        });
        reads_to(room, 1);
        writers.join().expect("it ends");
        room.end();
    });
}

/// A reader that is woken by the first write to the descriptor, and has armed again before that writer goes on, is woken by
/// the next. That each `arm` counts is not needed for this, but for `armed_again_within_a_tell`. Nobody dies, and no thread sleeps: what wakes those is left out, as it makes the word another one too.
#[test]
fn woken_and_armed_again() {
    explore(3, || {
        let room = Room::new();
        let write = move |me: &Thread, message: usize| {
            let shared = Shared::of(me, room.store);
            shared.store(MESSAGES[message], 1);
            if is_awaited(shared, EVENT_AT) {
                tell(shared, EVENT_AT, || me.word(BELL).ring());
            }
        };
        let writers = loom::thread::spawn(move || {
            here(room.world, 2, ALIVE, |me| write(&me, 0));
            here(room.world, 3, ALIVE, |me| write(&me, 1));
        });
        reads_to(room, 1);
        writers.join().expect("it ends");
        room.end();
    });
}

/// The same in the one order that matters: the reader arms between the write to the descriptor and the exchange.
#[test]
fn armed_again_within_a_tell() {
    explore(1, || {
        let room = Room::new();
        here(room.world, 1, ALIVE, |me| {
            let shared = Shared::of(&me, room.store);
            assert!(arm(shared, EVENT_AT));
            let mut rings = 0;
            tell(shared, EVENT_AT, || {
                rings += 1;
                assert!(arm(shared, EVENT_AT));
            });
            tell(shared, EVENT_AT, || rings += 1);
            tell(shared, EVENT_AT, || rings += 1);
            assert_eq!(rings, 2, "the second sign is told of, once");
        });
        room.end();
    });
}

/// Who has no descriptor leaves the sign to one who has, whether it comes before it or beside it, and also when it dies.
#[test]
fn a_writer_without_a_descriptor() {
    some_deaths(2, 1, |life| {
        let room = Room::new();
        let writers = loom::thread::spawn(move || {
            here(room.world, 2, life, |me| write(room, &me, 0, false));
            here(room.world, 3, ALIVE, |me| write(room, &me, 1, true));
        });
        reads_to(room, 1);
        writers.join().expect("it ends");
        room.end();
    });
}

/// A thread that sleeps by futex, and one that sleeps on the descriptor, share the word: one message wakes both.
#[test]
fn a_thread_and_a_descriptor() {
    explore(2, || {
        let room = Room::new();
        let sleeper = go(room.world, 2, ALIVE, move |me| {
            let shared = Shared::of(&me, room.store);
            // Nobody dies, and the time is not over.
            let ended = wait::until(shared, EVENT_AT, FOREVER, &mut || shared.load(MESSAGES[0]) != 0, &mut || true);
            assert_eq!(ended, Ended::There);
        });
        let writer = go(room.world, 3, ALIVE, move |me| write(room, &me, 0, true));
        reads_to(room, 0);
        sleeper.join().expect("it ends");
        writer.join().expect("it ends");
        room.end();
    });
}
