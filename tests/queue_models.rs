//! The core of the queue under loom, which runs each model in every order of its steps, up to a number of preemptions
//! (LOOM_MAX_PREEMPTIONS raises it). A sleep without a wake is a deadlock there, and bytes of a message that are read beside
//! a write are a race. The time that makes sleepers look again passes only after a death; who died is known from then on.
//! Next: `support/container_model.rs` for the memory, `support/model.rs` for threads and their deaths.
//!
//! Each was seen to fail with a mistake put into the core:
//!
//! | mistake | model that fails |
//! |---|---|
//! | `claim` does not look again at whether it is closed | `a_send_beside_a_close` |
//! | `claim` does not mark the cell before | `a_claim_that_is_overtaken` |
//! | `take` does not mark the cell before | `a_take_that_is_overtaken` |
//! | `pass_by` does not mark the cell before | `a_take_that_is_passed_by` |
//! | `mark` stores instead of exchanging | `two_producers_and_a_consumer`, and others |
//! | `take_from_the_dead` stores instead of exchanging | `one_takes_from_the_dead` |
//! | `free_of` stores instead of exchanging | `one_gives_a_claim_up` |

#[path = "support/container_model.rs"]
mod container_model;
#[path = "support/model.rs"]
#[allow(dead_code, reason = "it is for other models too")]
mod model;

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use container_model::{Shared, Store};
use model::{ALIVE, Thread, World, deaths, explore, go, here};
use shmkit::containers::memory::Memory;
use shmkit::containers::queue::{Delivery, NOBODY, Overflow, Queue, READABLE_AT, Refused, Shape, WRITABLE_AT};
use shmkit::containers::wait;

const FOREVER: u64 = u64::MAX;
/// As `containers/queue.rs` has them.
const STATE_AT: usize = 24;
const TAIL_AT: usize = 64;
const HEAD_AT: usize = 128;
const LOST_AT: usize = 264;
const AGAIN_AT: usize = 272;
const CELLS_AT: usize = 832;
const STRIDE: usize = 64;
const POSITION: u64 = 1 << 18;
const WRITING: u64 = 1 << 16;
const FULL: u64 = 2 << 16;
const TAKEN: u64 = 3 << 16;
const HALVES: [usize; 3] = [STATE_AT, READABLE_AT, WRITABLE_AT];
/// The number of whoever dies, in each model.
const MORTAL: u32 = 2;

/// A queue, its world, and what its consumers have had.
#[derive(Clone, Copy)]
struct Room {
    world: &'static World,
    store: &'static Store,
    shape: Shape,
    found: &'static Mutex<Vec<u64>>,
    /// Commits that have returned.
    sent: &'static AtomicUsize,
    /// One dies: that orders what it did before what others do who know of it, by the kernel, of which loom knows nothing. So
    /// bytes are words that nothing orders by themselves: who sees old ones is found, a race with the dead is not.
    mortal: bool,
    /// The mortal died before the model began.
    died_before: &'static AtomicBool,
}

impl Room {
    /// With nothing in it.
    fn new(cells: usize, delivery: Delivery) -> Room {
        let mut words = vec![TAIL_AT, HEAD_AT, LOST_AT, AGAIN_AT];
        // A word, the length, the bytes.
        words.extend((0..cells).flat_map(|cell| [0, 8, 16].map(|at| CELLS_AT + cell * STRIDE + at)));
        let store = Store::new(&words, 0, 0, &[], &HALVES);
        (0..cells).for_each(|cell| store.set(CELLS_AT + cell * STRIDE, cell as u64 * POSITION));
        [TAIL_AT, HEAD_AT].iter().for_each(|at| store.set(*at, u64::from(NOBODY)));
        Room {
            world: World::new(HALVES.len()),
            store,
            shape: Shape {
                cells: cells as u64,
                stride: STRIDE as u64,
                fingerprint: 0,
                delivery,
                overflow: Overflow::Block,
            },
            found: Box::leak(Box::default()),
            sent: Box::leak(Box::default()),
            mortal: false,
            died_before: Box::leak(Box::default()),
        }
    }

    /// Puts a message into the first cells, of the bytes that are there: zeros.
    fn fill(self, messages: usize) {
        for cell in 0..messages {
            self.store.set(CELLS_AT + cell * STRIDE, (cell as u64 * POSITION) | FULL);
            self.store.set(CELLS_AT + cell * STRIDE + 8, 8);
        }
        self.store.set(TAIL_AT, (messages as u64 * POSITION) | u64::from(NOBODY));
    }

    fn queue(self, me: &Thread, number: u32) -> (Shared, Queue<Shared>) {
        let shared = Shared::of(me, self.store);
        (shared, Queue::new(shared, self.shape, number))
    }

    fn is_dead(self, owner: u32) -> bool {
        owner == MORTAL && (self.world.somebody_died() || self.died_before.load(Relaxed))
    }

    /// What came, in order of size.
    fn found(self) -> Vec<u64> {
        let mut found = self.found.lock().expect("nobody panics with it").clone();
        found.sort_unstable();
        found
    }

    fn end(self) {
        self.store.end();
        self.world.end();
        // SAFETY: they came from boxes, and the threads that knew them have ended.
        unsafe {
            drop(Box::from_raw(std::ptr::from_ref(self.found).cast_mut()));
            drop(Box::from_raw(std::ptr::from_ref(self.sent).cast_mut()));
            drop(Box::from_raw(std::ptr::from_ref(self.died_before).cast_mut()));
        }
    }

    fn count(self, me: &Thread, at: usize) -> u64 {
        Shared::of(me, self.store).load(at)
    }
}

/// Sends a message of eight bytes, waiting for room, as `containers/queue_end.rs` does. False when it is closed.
fn send(room: Room, shared: Shared, queue: &mut Queue<Shared>, message: u64) -> bool {
    loop {
        let refused = match queue.claim_near().map_or_else(|| queue.claim(), Ok) {
            Ok(at) => {
                match room.mortal {
                    true => shared.put(at, message),
                    false => shared.write(at, message),
                }
                if queue.commit_near(8).expect("it was claimed") {
                    wait::wake(shared, READABLE_AT);
                }
                room.sent.fetch_add(1, Relaxed);
                return true;
            }
            Err(Refused::Closed) => return false,
            Err(refused) => refused,
        };
        if let Refused::Busy(owner) = refused
            && room.is_dead(owner)
            && queue.free_tail(owner).or_else(|| queue.give_up(owner)).is_some()
        {
            continue;
        }
        assert!(matches!(refused, Refused::NotNow | Refused::Busy(_)), "{refused:?}");
        queue.wait_for_room(FOREVER, &mut |owner| room.is_dead(owner));
    }
}

/// Receives one, waiting for it, and notes it. False when it is closed.
fn receive(room: Room, shared: Shared, queue: &mut Queue<Shared>) -> bool {
    loop {
        let refused = match queue.take_near().map_or_else(|| queue.take(), Ok) {
            Ok((at, length)) => return had(room, shared, queue, at, length),
            Err(refused) => refused,
        };
        assert!(matches!(refused, Refused::NotNow | Refused::Busy(_) | Refused::Closed), "{refused:?}");
        if room.world.somebody_died() {
            if let Refused::Busy(owner) = refused
                && room.is_dead(owner)
                && queue.give_up(owner).is_some()
            {
                continue;
            }
            if let Ok((at, length)) = queue.take_from_the_dead(&mut |owner| room.is_dead(owner)) {
                return had(room, shared, queue, at, length);
            }
        }
        if refused == Refused::Closed {
            return false;
        }
        queue.wait_for_message(FOREVER, &mut || !room.world.somebody_died());
    }
}

fn had(room: Room, shared: Shared, queue: &mut Queue<Shared>, at: usize, length: u64) -> bool {
    assert_eq!(length, 8);
    let message = if room.mortal { shared.peek(at) } else { shared.read(at) };
    room.found.lock().expect("nobody panics with it").push(message);
    if queue.release_near().expect("it was taken") {
        wait::wake(shared, WRITABLE_AT);
    }
    true
}

/// A thread that sends these.
fn producer(room: Room, number: u32, life: u32, messages: &'static [u64]) -> loom::thread::JoinHandle<Option<()>> {
    go(room.world, number, life, move |me| {
        let (shared, mut queue) = room.queue(&me, number);
        messages.iter().for_each(|message| assert!(send(room, shared, &mut queue, *message)));
    })
}

/// A thread that receives until it is closed, or so many.
fn consumer(room: Room, number: u32, life: u32, most: usize) -> loom::thread::JoinHandle<Option<()>> {
    go(room.world, number, life, move |me| {
        let (shared, mut queue) = room.queue(&me, number);
        for _ in 0..most {
            if !receive(room, shared, &mut queue) {
                break;
            }
        }
    })
}

fn join(thread: loom::thread::JoinHandle<Option<()>>) -> bool {
    thread.join().expect("it ends").is_some()
}

#[test]
fn two_producers_and_a_consumer() {
    for cells in [1, 2] {
        explore(1, move || {
            let room = Room::new(cells, Delivery::Again);
            let threads = [producer(room, 1, ALIVE, &[1]), producer(room, 2, ALIVE, &[2]), consumer(room, 3, ALIVE, 2)];
            assert!(threads.into_iter().all(join));
            assert_eq!(room.found(), [1, 2]);
            room.end();
        });
    }
}

#[test]
fn whole_and_in_order() {
    for cells in [1, 2] {
        explore(2, move || {
            let room = Room::new(cells, Delivery::Again);
            let threads = [producer(room, 1, ALIVE, &[1, 2, 3]), consumer(room, 3, ALIVE, 3)];
            assert!(threads.into_iter().all(join));
            assert_eq!(*room.found.lock().expect("nobody panics with it"), [1, 2, 3]);
            room.end();
        });
    }
}

#[test]
fn a_producer_and_two_consumers() {
    for cells in [1, 2] {
        explore(1, move || {
            let room = Room::new(cells, Delivery::Again);
            let threads = [producer(room, 1, ALIVE, &[1, 2]), consumer(room, 2, ALIVE, 1), consumer(room, 3, ALIVE, 1)];
            assert!(threads.into_iter().all(join));
            assert_eq!(room.found(), [1, 2]);
            room.end();
        });
    }
}

/// Consumers that sleep are told of the end, and of nothing before it.
#[test]
fn closed_behind_the_last_message() {
    explore(1, || {
        let room = Room::new(2, Delivery::Again);
        let consumers = [consumer(room, 2, ALIVE, 9), consumer(room, 3, ALIVE, 9)];
        let last = go(room.world, 1, ALIVE, move |me| {
            let (shared, mut queue) = room.queue(&me, 1);
            assert!(send(room, shared, &mut queue, 1));
            queue.close();
        });
        assert!(join(last) && consumers.into_iter().all(join));
        assert_eq!(room.found(), [1]);
        room.end();
    });
}

/// What is sent while another one closes is refused, or comes: nobody was told of the end before it.
#[test]
fn a_send_beside_a_close() {
    for cells in [1, 2] {
        explore(2, move || {
            let room = Room::new(cells, Delivery::Again);
            let sender = go(room.world, 1, ALIVE, move |me| {
                let (shared, mut queue) = room.queue(&me, 1);
                send(room, shared, &mut queue, 1);
            });
            let closer = go(room.world, 2, ALIVE, move |me| room.queue(&me, 2).1.close());
            let reader = consumer(room, 3, ALIVE, 9);
            assert!(join(sender) && join(closer) && join(reader));
            assert_eq!(room.found().len(), room.sent.load(Relaxed), "a message that was sent did not come");
            room.end();
        });
    }
}

/// A consumer sleeps before its claim; what another one sends is had.
#[test]
fn a_producer_that_dies() {
    for cells in [1, 2] {
        deaths(1, move |life| {
            let room = Room { mortal: true, ..Room::new(cells, Delivery::Again) };
            room.world.time_passes_after_deaths();
            let (mortal, reader) = (producer(room, MORTAL, life, &[2]), consumer(room, 3, ALIVE, 1));
            let lived = join(mortal);
            here(room.world, 4, ALIVE, |me| {
                let (shared, mut queue) = room.queue(&me, 4);
                assert!(send(room, shared, &mut queue, 1));
            });
            assert!(join(reader));
            empty(room);
            let found = room.found();
            assert!(found == [1, 2] || found == [1] && !lived, "{found:?}");
            // As far as the two know.
            assert!(found.len() >= room.sent.load(Relaxed));
            room.end();
        });
    }
}

/// A producer sleeps before the room that it had; what it had is another one's, or lost, by policy.
#[test]
fn a_consumer_that_dies() {
    for delivery in [Delivery::Again, Delivery::Once] {
        deaths(0, move |life| {
            let room = Room { mortal: true, ..Room::new(1, delivery) };
            room.world.time_passes_after_deaths();
            room.fill(1);
            let (mortal, writer) = (consumer(room, MORTAL, life, 1), producer(room, 1, ALIVE, &[2]));
            let lived = join(mortal);
            let reader = consumer(room, 3, ALIVE, 1);
            assert!(join(writer) && join(reader));
            empty(room);
            // Of the first message the bytes are 0.
            let found = room.found();
            match delivery {
                _ if lived => assert_eq!(found, [0, 2]),
                Delivery::Again => assert!([&[0, 2][..], &[0, 0, 2], &[0, 2, 2]].contains(&&found[..]), "{found:?}"),
                Delivery::Once => assert!([&[0, 2][..], &[0], &[2]].contains(&&found[..]), "{found:?}"),
            }
            room.end();
        });
    }
}

/// Closes it and takes what is left.
fn empty(room: Room) {
    here(room.world, 5, ALIVE, |me| {
        let (shared, mut queue) = room.queue(&me, 5);
        queue.close();
        while receive(room, shared, &mut queue) {}
    });
}

/// Another producer claims behind one that dies: what is known of that one's claim is not lost.
#[test]
fn a_claim_that_is_overtaken() {
    deaths(1, |life| {
        let room = Room { mortal: true, ..Room::new(2, Delivery::Again) };
        room.world.time_passes_after_deaths();
        let (mortal, other) = (producer(room, MORTAL, life, &[2]), producer(room, 1, ALIVE, &[1]));
        let lived = join(mortal);
        assert!(join(other));
        empty(room);
        let found = room.found();
        assert!(found == [1, 2] || found == [1] && !lived, "{found:?}");
        room.end();
    });
}

/// The same of consumers: what the dead one took is had again, or lost, by policy.
#[test]
fn a_take_that_is_overtaken() {
    for delivery in [Delivery::Again, Delivery::Once] {
        deaths(1, move |life| {
            let room = Room { mortal: true, ..Room::new(2, delivery) };
            room.world.time_passes_after_deaths();
            room.fill(2);
            let (mortal, other) = (consumer(room, MORTAL, life, 1), consumer(room, 1, ALIVE, 1));
            let lived = join(mortal);
            assert!(join(other));
            empty(room);
            let found = room.found().len();
            let lost = here(room.world, 4, ALIVE, |me| room.count(&me, LOST_AT)).expect("it lives") as usize;
            match delivery {
                _ if lived => assert_eq!((found, lost), (2, 0)),
                // The dead one may have noted what it had not given back.
                Delivery::Again => assert!((2..=3).contains(&found) && lost == 0, "{found} {lost}"),
                Delivery::Once => assert!(found + lost == 2 || found + lost == 3 && lost == 1, "{found} {lost}"),
            }
            room.end();
        });
    }
}

/// The same where nothing but a cell that was given up comes behind what the dead one took.
#[test]
fn a_take_that_is_passed_by() {
    deaths(1, |life| {
        let room = Room { mortal: true, ..Room::new(2, Delivery::Again) };
        room.world.time_passes_after_deaths();
        room.fill(1);
        // Aborted, in the position behind.
        room.store.set(CELLS_AT + STRIDE, 3 * POSITION);
        room.store.set(TAIL_AT, (2 * POSITION) | u64::from(NOBODY));
        let [mortal, other] = [(MORTAL, life), (1, ALIVE)].map(|(number, life)| {
            go(room.world, number, life, move |me| {
                let (shared, mut queue) = room.queue(&me, number);
                if let Ok((at, length)) = queue.take() {
                    had(room, shared, &mut queue, at, length);
                }
            })
        });
        let lived = join(mortal);
        assert!(join(other));
        empty(room);
        let found = room.found().len();
        assert!(found == 1 || found == 2 && !lived, "{found}");
        room.end();
    });
}

/// A dead one's claim at the head: two give it up, while another one claims its cell in the next lap.
#[test]
fn one_gives_a_claim_up() {
    for (cells, marked) in [(1, WRITING | MORTAL as u64), (1, 0), (2, WRITING | MORTAL as u64), (2, 0)] {
        explore(2, move || {
            let room = Room::new(cells, Delivery::Again);
            room.died_before.store(true, Relaxed);
            room.store.set(CELLS_AT, marked);
            room.store.set(TAIL_AT, POSITION | u64::from(MORTAL));
            let given: Vec<_> = [1, 3]
                .map(|number| {
                    go(room.world, number, ALIVE, move |me| room.queue(&me, number).1.give_up(MORTAL).is_some())
                })
                .into_iter()
                .collect();
            let other = producer(room, 4, ALIVE, &[4]);
            let given = given.into_iter().map(|one| one.join().expect("it ends").expect("it lives"));
            // The producer may have given it up itself, where it needs that cell.
            let given = given.filter(|given| *given).count();
            assert!(join(other));
            assert!(given <= 1 && (given == 1 || cells == 1), "{given}");
            let lost = here(room.world, 5, ALIVE, |me| {
                let (shared, mut queue) = room.queue(&me, 5);
                assert!(receive(room, shared, &mut queue));
                room.count(&me, LOST_AT)
            });
            assert_eq!((lost, room.found()), (Some(1), vec![4]));
            room.end();
        });
    }
}

/// A dead one's message: of two who look for it one gets it.
#[test]
fn one_takes_from_the_dead() {
    let marked = TAKEN | u64::from(MORTAL);
    let all = [(Delivery::Again, marked), (Delivery::Again, FULL), (Delivery::Once, marked), (Delivery::Once, FULL)];
    for (delivery, cell) in all {
        explore(3, move || {
            let room = Room::new(1, delivery);
            room.died_before.store(true, Relaxed);
            room.fill(1);
            room.store.set(CELLS_AT, cell);
            room.store.set(HEAD_AT, POSITION | u64::from(MORTAL));
            let takers = [1, 3].map(|number| {
                go(room.world, number, ALIVE, move |me| {
                    let (_, mut queue) = room.queue(&me, number);
                    let found = queue.take_from_the_dead(&mut |owner| room.is_dead(owner));
                    found.is_ok() && queue.release().is_ok()
                })
            });
            let had = takers.into_iter().map(|one| one.join().expect("it ends").expect("it lives"));
            let had = had.filter(|had| *had).count();
            let counts = here(room.world, 5, ALIVE, |me| {
                let cell = room.count(&me, CELLS_AT);
                assert_eq!(cell, POSITION, "the cell is free, in the next lap");
                (room.count(&me, LOST_AT), room.count(&me, AGAIN_AT))
            });
            match delivery {
                Delivery::Again => assert_eq!((had, counts), (1, Some((0, 1)))),
                Delivery::Once => assert_eq!((had, counts), (0, Some((1, 0)))),
            }
            room.end();
        });
    }
}

/// A death beside a message that waits: who takes it and who sends the next go on at once.
#[test]
fn a_full_cell_is_taken_once() {
    explore(3, || {
        let room = Room::new(1, Delivery::Again);
        room.fill(1);
        let takers = [1, 3].map(|number| {
            go(room.world, number, ALIVE, move |me| {
                let (_, mut queue) = room.queue(&me, number);
                match queue.take() {
                    Ok(_) => queue.release().is_ok(),
                    Err(refused) => {
                        assert_eq!(refused, Refused::NotNow);
                        false
                    }
                }
            })
        });
        let had = takers.into_iter().map(|one| one.join().expect("it ends").expect("it lives")).filter(|had| *had);
        assert_eq!(had.count(), 1);
        room.end();
    });
}
