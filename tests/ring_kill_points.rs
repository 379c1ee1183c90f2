//! A process that is killed at any instruction of any operation on a ring: who survives goes on, at the other end or as the
//! next one at the same end; nothing that was committed is lost, nothing is torn, and nothing comes twice that was released.
//! Each operation is walked over the library's own instructions: alone, and with a peer that sleeps at the other end.
//! Walks have budgets and say what they left out: `SHMKIT_KILL_SECONDS=600` is enough for all of them. The machinery is
//! in `support/kill_points.rs`, ends and messages in `support/ring_room.rs`.

mod support;

use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmkit::error::Status;
use support::kill_points::{Moment, Plan, Point, Scope};
use support::message;
use support::ring_room::*;
use support::sync_room::{STALLED, alarm, good, is_asleep, is_dead, reap_well, start, until};

/// What one walk may cost: SHMKIT_KILL_SECONDS, or a part of a second that makes a sample of the longer operations.
fn budget() -> Duration {
    let seconds = std::env::var("SHMKIT_KILL_SECONDS").ok();
    Duration::from_secs_f64(seconds.map_or(0.7, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Deaths in each walk, whatever its budget.
const LEAST: usize = 16;
/// No survivor may need longer.
const SURVIVORS: Duration = Duration::from_secs(10);

const CAPACITY: usize = 512;
/// Where the ring begins so that the third of its messages does not fit before the end.
const BEFORE_THE_END: u64 = u64::MAX;

/// The child is dead.
const GO: usize = 0;
/// The one at the other end has done what comes before its sleep.
const READY: usize = 8;
/// Process of the child.
const CHILD: usize = 16;
/// How many messages the one at the other end has read, and their numbers.
const COUNT: usize = 24;
const NUMBERS: usize = 32;

/// A ring, signs, and a place for the end of the child.
#[derive(Clone, Copy)]
struct Room {
    ring: Memory,
    signs: Memory,
    handle: Memory,
}

impl Room {
    fn end(self) -> At {
        At(self.handle.start().cast())
    }

    fn sign(self, at: usize) -> u64 {
        self.signs.word(at).load(SeqCst)
    }

    fn set(self, at: usize, value: u64) {
        self.signs.word(at).store(value, SeqCst);
    }

    /// The child is dead, whether it is known here yet or not.
    fn has_died(self) -> bool {
        self.sign(GO) == 1 || self.sign(CHILD) != 0 && is_dead(self.sign(CHILD) as i32)
    }

    fn letter(self, number: u64) -> Vec<u8> {
        letter(number, self.ring.longest())
    }

    /// A new ring in which messages have gone by already, up to a place.
    fn begin(self, begin: u64) {
        // SAFETY: nobody else uses it.
        unsafe { self.signs.start().write_bytes(0, self.signs.length) };
        self.ring.init();
        let taken = |number| ((self.letter(number).len() + 8).next_multiple_of(8)) as u64;
        let before_the_end = CAPACITY as u64 * 8 - taken(0) - taken(1) - 8;
        let begin = if begin == BEFORE_THE_END { before_the_end } else { begin };
        self.ring.word(HEAD_AT).store(begin, SeqCst);
        self.ring.word(TAIL_AT).store(begin, SeqCst);
    }

    /// Messages of another producer, which has ended.
    fn write(self, numbers: std::ops::Range<u64>) {
        let end = End::producer(self.ring);
        numbers.for_each(|number| good(end.write(&self.letter(number), 0)));
        end.detach();
    }

    /// So many as there is room for; the number of the next.
    fn fill(self) -> u64 {
        let end = End::producer(self.ring);
        let mut number = 0;
        while end.write(&self.letter(number), 0) == 0 {
            number += 1;
        }
        end.detach();
        assert!(number >= 3);
        number
    }

    /// Everything that a new consumer finds, and whether it is closed then.
    #[track_caller]
    fn drain(self) -> (Vec<u64>, bool) {
        let end = End::consumer(self.ring);
        let mut numbers = Vec::new();
        loop {
            match end.read(0) {
                Ok(bytes) => numbers.push(opened(&bytes)),
                Err(status) => {
                    let closed = is(status, Status::ErrClosed);
                    assert!(closed || is(status, Status::ErrAgain), "{}", message());
                    end.detach();
                    return (numbers, closed);
                }
            }
        }
    }
}

/// One operation and what surrounds it.
struct Scene {
    operation: &'static str,
    begin: u64,
    /// Before the one at the other end comes.
    set: fn(Room),
    /// Who is at the other end: says `READY` and then waits; must end well once the child is dead.
    peer: Option<fn(Room)>,
    /// The child's, not walked.
    before: fn(Room),
    /// The child's, walked.
    work: fn(Room),
    /// When the child is dead.
    check: fn(Room, &Point),
    /// When the other one is gone too.
    after: fn(Room, &Point),
}

const SCENE: Scene = Scene {
    operation: "",
    begin: BEFORE_THE_END,
    set: |_| (),
    peer: None,
    before: |_| (),
    work: |_| (),
    check: |_, _| (),
    after: |_, _| (),
};

/// The operation was done when the child died.
fn ended(point: &Point) -> bool {
    !point.reached || point.moment == Moment::End
}

/// The operation had not begun.
fn not_begun(point: &Point) -> bool {
    point.reached && point.index == 0 && point.moment != Moment::End
}

fn walk(room: Room, scene: Scene) {
    let prepare = || {
        room.begin(scene.begin);
        (scene.set)(room);
        scene.peer.map(|peer| {
            let pid = start(|| peer(room));
            until(|| room.sign(READY) != 0 && is_asleep(pid));
            pid
        })
    };
    let before = |_: &Option<i32>| {
        (scene.before)(room);
        room.set(CHILD, u64::from(std::process::id()));
    };
    let seen = RefCell::new((0, room.ring.bytes()));
    let print = |_: &Option<i32>| {
        let mut seen = seen.borrow_mut();
        if !room.ring.is_as(&seen.1) {
            *seen = (seen.0 + 1, room.ring.bytes());
        }
        seen.0
    };
    let plan = Plan::new(scene.operation, budget()).scope(Scope::Library).watching(&print).before(&before);
    let walk = plan.at_least(LEAST).walk(
        prepare,
        |_| (scene.work)(room),
        |peer, point| {
            alarm(STALLED);
            room.set(GO, 1);
            (scene.check)(room, point);
            peer.into_iter().for_each(reap_well);
            (scene.after)(room, point);
            assert!(room.ring.is_untouched());
            alarm(0);
        },
    );
    if let Some(walk) = walk {
        assert!(walk.killed >= LEAST.min(walk.boundaries) && walk.library > 4, "{walk:?}");
        assert!(walk.slowest < SURVIVORS, "{walk:?}");
        // Where another one decides how the operation goes, no two runs need be the same.
        let alone = scene.peer.is_none();
        assert!(!alone || walk.missed * 10 <= 30 + walk.killed + walk.missed, "{walk:?}");
    }
}

/// Runs the walks of one test in a process of their own.
fn walks(test: &str, scenes: impl FnOnce() -> Vec<Scene>) {
    support::alone(test, &[], || {
        let room = Room { ring: Memory::ring(CAPACITY), signs: Memory::new(4096), handle: Memory::new(4096) };
        for scene in scenes() {
            walk(room, scene);
        }
    });
}

fn attach_producer(room: Room) {
    good(room.end().attach(room.ring, PRODUCE));
}

fn attach_consumer(room: Room) {
    good(room.end().attach(room.ring, CONSUME));
}

// ------------------------------------------------------------------------------------------------------------------
// The end that writes
// ------------------------------------------------------------------------------------------------------------------

/// Two messages were there. The next producer writes two more, and a reader finds all of them; of those that the child
/// was to write, all or none: all when it was done, none when it had not begun.
#[track_caller]
fn next_producer(room: Room, point: &Point, written: &[u64]) {
    let end = End::producer(room.ring);
    let mut found = room.drain().0;
    for number in [100, 101] {
        // It is empty: there is room, whatever the dead one has left.
        good(end.write(&room.letter(number), 0));
        found.extend(room.drain().0);
    }
    good(end.close());
    end.detach();
    let closed = room.drain().1;
    judge(point, (found, closed), &[0, 1], written, &[100, 101]);
}

#[track_caller]
fn judge(point: &Point, (found, closed): (Vec<u64>, bool), first: &[u64], written: &[u64], last: &[u64]) {
    assert!(closed);
    let without = [first, last].concat();
    let with = [first, written, last].concat();
    assert!(found == with || found == without, "{found:?}");
    assert!(found == with || !ended(point), "what was committed is lost: {found:?}");
    assert!(found == without || !not_begun(point), "what was not written is there: {found:?}");
}

fn two(room: Room) {
    room.write(0..2);
}

fn reserve(room: Room) {
    let bytes = room.letter(2);
    let at = room.end().reserve(bytes.len(), FOREVER).expect("there is room");
    room.end().fill(at, &bytes);
}

fn commit(room: Room) {
    // Its length without a walk through its making.
    good(room.end().commit(room.sign(NUMBERS) as usize));
}

fn write_third(room: Room) {
    // SAFETY: `before` has put it there.
    let bytes = unsafe { std::slice::from_raw_parts((room.signs.at + 1024) as *const u8, room.sign(NUMBERS) as usize) };
    good(room.end().write(bytes, FOREVER));
}

/// Attached, with the third message ready and its length known.
fn ready_to_write(room: Room) {
    attach_producer(room);
    let bytes = room.letter(2);
    room.set(NUMBERS, bytes.len() as u64);
    // SAFETY: there is room behind the signs.
    unsafe { ((room.signs.at + 1024) as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

fn write_three(room: Room) {
    let batch = [vec![2; 8], vec![3; 8], vec![4; 8]];
    assert_eq!(room.end().write_batch(&batch, FOREVER), Ok(3));
}

/// Of three short messages in one batch all are there, or none.
#[track_caller]
fn after_batch(room: Room, point: &Point) {
    let end = End::consumer(room.ring);
    for number in 0..2 {
        assert_eq!(end.read(0).map(|bytes| opened(&bytes)), Ok(number));
    }
    let mut found = Vec::new();
    while let Ok(bytes) = end.read(0) {
        found.push(bytes);
    }
    end.detach();
    let all = vec![vec![2; 8], vec![3; 8], vec![4; 8]];
    assert!(found == all && !not_begun(point) || found.is_empty() && !ended(point), "{found:?}");
    room.write(0..2);
    assert_eq!(room.drain(), (vec![0, 1], false));
}

fn dead_producer(room: Room) {
    two(room);
    reap_well(start(|| {
        let end = End::producer(room.ring);
        end.reserve(20, 0).expect("there is room");
    }));
}

#[test]
fn producer_alone() {
    walks("producer_alone", || {
        let nothing: fn(Room, &Point) = |room, point| next_producer(room, point, &[]);
        let third: fn(Room, &Point) = |room, point| next_producer(room, point, &[2]);
        let alone = Scene { set: two, before: attach_producer, check: nothing, ..SCENE };
        vec![
            Scene { operation: "attach to write", before: |_| (), work: attach_producer, ..alone },
            Scene {
                operation: "attach to write after a death",
                set: dead_producer,
                before: |_| (),
                work: attach_producer,
                ..alone
            },
            Scene {
                operation: "attach to write, taken over",
                before: |room| std::mem::forget(End::producer(room.ring)),
                work: |room| good(room.end().attach(room.ring, PRODUCE | TAKE_OVER)),
                ..alone
            },
            Scene { operation: "detach", work: |room| room.end().detach(), ..alone },
            Scene { operation: "reserve", work: reserve, ..alone },
            Scene {
                operation: "commit",
                before: |room| {
                    ready_to_write(room);
                    reserve(room);
                },
                work: commit,
                check: third,
                ..alone
            },
            Scene {
                operation: "commit, not at the end of the ring",
                begin: 0,
                before: |room| {
                    ready_to_write(room);
                    reserve(room);
                },
                work: commit,
                check: third,
                ..alone
            },
            Scene {
                operation: "abort",
                before: |room| {
                    attach_producer(room);
                    reserve(room);
                },
                work: |room| good(room.end().abort()),
                ..alone
            },
            Scene { operation: "write", before: ready_to_write, work: write_third, check: third, ..alone },
            Scene { operation: "write_batch", work: write_three, check: after_batch, ..alone },
            Scene {
                operation: "write to a full ring",
                set: |room| {
                    room.fill();
                },
                work: |room| assert!(is(room.end().write(&[0; 200], 0), Status::ErrAgain)),
                check: |room, point| {
                    let (found, closed) = room.drain();
                    assert!(found.iter().copied().eq(0..found.len() as u64) && found.len() >= 3 && !closed);
                    assert!(!ended(point) || room.ring.stat().expect("it is a ring").refused == 2);
                    room.write(0..2);
                    assert_eq!(room.drain().0, [0, 1]);
                },
                ..alone
            },
            Scene {
                operation: "close",
                work: |room| good(room.end().close()),
                check: |room, point| {
                    let end = End::producer(room.ring);
                    let status = end.write(&room.letter(2), 0);
                    let closed = is(status, Status::ErrClosed);
                    assert!(closed && !not_begun(point) || status == 0 && !ended(point), "{status}");
                    end.detach();
                    assert_eq!(room.drain(), (if closed { vec![0, 1] } else { vec![0, 1, 2] }, closed));
                },
                ..alone
            },
        ]
    });
}

/// At the other end: reads what is there, then sleeps until more comes, whoever writes it, and ends when it is closed.
fn reader(room: Room) {
    let end = End::consumer(room.ring);
    loop {
        match end.read(FOREVER) {
            Ok(bytes) => {
                let count = room.sign(COUNT) as usize;
                room.set(NUMBERS + 8 + 8 * count, opened(&bytes));
                room.set(COUNT, count as u64 + 1);
                if count == 1 {
                    room.set(READY, 1);
                }
            }
            Err(status) if is(status, Status::ErrOwnerDied) => assert!(room.has_died(), "nobody has died"),
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{}", message());
                return;
            }
        }
    }
}

/// The next producer, while the reader lives on.
fn next_beside(room: Room, _: &Point) {
    let end = End::producer(room.ring);
    for number in [100, 101] {
        good(end.write(&room.letter(number), LONG));
    }
    good(end.close());
    end.detach();
}

#[track_caller]
fn read_by_the_reader(room: Room) -> (Vec<u64>, bool) {
    ((0..room.sign(COUNT) as usize).map(|at| room.sign(NUMBERS + 8 + 8 * at)).collect(), true)
}

#[test]
fn producer_against_a_reader_that_sleeps() {
    walks("producer_against_a_reader_that_sleeps", || {
        let nothing: fn(Room, &Point) = |room, point| judge(point, read_by_the_reader(room), &[0, 1], &[], &[100, 101]);
        let third: fn(Room, &Point) = |room, point| judge(point, read_by_the_reader(room), &[0, 1], &[2], &[100, 101]);
        let asleep = Scene {
            set: two,
            peer: Some(reader),
            before: attach_producer,
            check: next_beside,
            after: nothing,
            ..SCENE
        };
        vec![
            Scene { operation: "attach to write, a reader sleeps", before: |_| (), work: attach_producer, ..asleep },
            Scene { operation: "detach, a reader sleeps", work: |room| room.end().detach(), ..asleep },
            Scene { operation: "reserve, a reader sleeps", work: reserve, ..asleep },
            Scene {
                operation: "commit, a reader sleeps",
                before: |room| {
                    ready_to_write(room);
                    reserve(room);
                },
                work: commit,
                after: third,
                ..asleep
            },
            Scene {
                operation: "write, a reader sleeps",
                before: ready_to_write,
                work: write_third,
                after: third,
                ..asleep
            },
            Scene {
                operation: "write_batch, a reader sleeps",
                work: |room| {
                    let batch = [room.letter(2), room.letter(3)];
                    assert_eq!(room.end().write_batch(&batch, FOREVER), Ok(2));
                },
                after: |room, point| judge(point, read_by_the_reader(room), &[0, 1], &[2, 3], &[100, 101]),
                ..asleep
            },
            Scene {
                operation: "close, a reader sleeps",
                work: |room| good(room.end().close()),
                check: |room, point| {
                    // What is closed stays closed: then nobody writes any more.
                    let end = End::producer(room.ring);
                    let status = end.write(&room.letter(100), 0);
                    let closed = is(status, Status::ErrClosed);
                    assert!(closed && !not_begun(point) || status == 0 && !ended(point), "{status}");
                    good(end.close());
                    end.detach();
                },
                after: |room, point| {
                    let found = read_by_the_reader(room).0;
                    assert!(found == [0, 1] && !not_begun(point) || found == [0, 1, 100] && !ended(point), "{found:?}");
                },
                ..asleep
            },
        ]
    });
}

/// At the other end: reads one message once the child sleeps, or all when it is dead and closed by the check.
fn late_reader(room: Room) {
    let end = End::consumer(room.ring);
    room.set(READY, 1);
    until(|| room.sign(GO) != 0 || room.sign(CHILD) != 0 && is_asleep(room.sign(CHILD) as i32));
    reader_from(room, &end);
}

fn reader_from(room: Room, end: &At) {
    loop {
        match end.read(FOREVER) {
            Ok(bytes) => {
                let number = opened(&bytes);
                // In order, each once.
                assert_eq!(number, room.sign(COUNT));
                room.set(COUNT, number + 1);
            }
            Err(status) if is(status, Status::ErrOwnerDied) => assert!(room.has_died(), "nobody has died"),
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{}", message());
                return;
            }
        }
    }
}

/// The child has waited for room: what comes next is what was not committed.
fn next_after_waiting(room: Room, _: &Point) {
    let end = End::producer(room.ring);
    let next = room.ring.word(WRITTEN_AT).load(SeqCst);
    // The count is written before the message is there: a death between the two leaves it one too high.
    until(|| {
        let stat = room.ring.stat().expect("it is a ring");
        stat.used == 0
    });
    let there = room.sign(COUNT);
    until(|| room.sign(COUNT) == there);
    assert!(next == there || next == there + 1, "{next} were written, {there} read");
    good(end.write(&room.letter(settled(room)), LONG));
    good(end.close());
    end.detach();
}

/// How many the reader has read, when it sleeps.
fn settled(room: Room) -> u64 {
    let mut last = room.sign(COUNT);
    loop {
        std::thread::sleep(Duration::from_millis(2));
        let now = room.sign(COUNT);
        if now == last {
            return now;
        }
        last = now;
    }
}

#[test]
fn producer_that_waits_for_room() {
    walks("producer_that_waits_for_room", || {
        let waits = Scene {
            set: |room| {
                let next = room.fill();
                room.set(NUMBERS, next);
            },
            peer: Some(late_reader),
            before: attach_producer,
            check: next_after_waiting,
            ..SCENE
        };
        vec![
            Scene {
                operation: "write that waits",
                work: |room| good(room.end().write(&room.letter(room.sign(NUMBERS)), FOREVER)),
                after: |room, point| {
                    let (count, first) = (room.sign(COUNT), room.sign(NUMBERS));
                    assert!(count == first + 2 && !not_begun(point) || count == first + 1 && !ended(point), "{count}");
                },
                ..waits
            },
            Scene {
                operation: "reserve that waits",
                work: |room| {
                    let bytes = room.letter(room.sign(NUMBERS));
                    let at = room.end().reserve(bytes.len(), LONG * 6).expect("it is read");
                    room.end().fill(at, &bytes);
                },
                after: |room, _| assert_eq!(room.sign(COUNT), room.sign(NUMBERS) + 1),
                ..waits
            },
            Scene {
                operation: "write_batch that waits",
                work: |room| {
                    let batch = [room.letter(room.sign(NUMBERS))];
                    assert_eq!(room.end().write_batch(&batch, FOREVER), Ok(1));
                },
                after: |room, point| {
                    let (count, first) = (room.sign(COUNT), room.sign(NUMBERS));
                    assert!(count == first + 2 && !not_begun(point) || count == first + 1 && !ended(point), "{count}");
                },
                ..waits
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The end that reads
// ------------------------------------------------------------------------------------------------------------------

fn three(room: Room) {
    room.write(0..3);
}

/// Three messages were there. The next consumer finds them all, less those that the child was to release: those are gone
/// when it was done, and there when it had not begun.
#[track_caller]
fn next_consumer(room: Room, point: &Point, released: u64) {
    let (found, closed) = room.drain();
    assert!(!closed);
    let first = found.first().copied().unwrap_or(3);
    assert!(found.iter().copied().eq(first..3), "{found:?}");
    assert!(first == 0 && (!ended(point) || released == 0) || first == released && !not_begun(point), "{found:?}");
    room.write(0..3);
    assert_eq!(room.drain().0, [0, 1, 2]);
}

fn dead_consumer(room: Room) {
    three(room);
    reap_well(start(|| {
        let end = End::consumer(room.ring);
        end.peek(0).expect("there are three");
    }));
}

/// Attached, and it has seen so many.
fn shown(room: Room) {
    attach_consumer(room);
    assert_eq!(room.end().peek_batch(3, 0).map(|shown| shown.len()), Ok(3));
}

#[test]
fn consumer_alone() {
    walks("consumer_alone", || {
        let nothing: fn(Room, &Point) = |room, point| next_consumer(room, point, 0);
        let alone = Scene { set: three, before: attach_consumer, check: nothing, ..SCENE };
        vec![
            Scene { operation: "attach to read", before: |_| (), work: attach_consumer, ..alone },
            Scene {
                operation: "attach to read after a death",
                set: dead_consumer,
                before: |_| (),
                work: attach_consumer,
                ..alone
            },
            Scene { operation: "detach of a reader", work: |room| room.end().detach(), ..alone },
            Scene {
                operation: "peek",
                work: |room| {
                    room.end().peek(FOREVER).expect("there are three");
                },
                ..alone
            },
            Scene {
                operation: "peek_batch",
                work: |room| {
                    room.end().peek_batch(3, FOREVER).expect("there are three");
                },
                ..alone
            },
            Scene {
                operation: "read",
                work: |room| {
                    room.end().read(FOREVER).expect("there are three");
                },
                check: |room, point| next_consumer(room, point, 1),
                ..alone
            },
            Scene {
                operation: "release",
                before: shown,
                work: |room| good(room.end().release(1)),
                check: |room, point| next_consumer(room, point, 1),
                ..alone
            },
            Scene {
                operation: "release of three, through the wrap",
                before: shown,
                work: |room| good(room.end().release(3)),
                check: |room, point| next_consumer(room, point, 3),
                ..alone
            },
        ]
    });
}

/// At the other end: fills the ring, then sleeps until there is room, whoever makes it; ends after so many messages.
fn writer(room: Room) {
    let end = End::producer(room.ring);
    let mut number = 0;
    while end.write(&room.letter(number), 0) == 0 {
        number += 1;
    }
    room.set(COUNT, number);
    room.set(READY, 1);
    while number < 12 {
        match end.write(&room.letter(number), FOREVER) {
            0 => number += 1,
            status => {
                assert!(is(status, Status::ErrOwnerDied), "{}", message());
                assert!(room.has_died(), "nobody has died");
            }
        }
    }
    good(end.close());
    end.detach();
}

/// The next consumer, while the writer lives on: finds the twelve, less those that the child was to release.
#[track_caller]
fn next_reader(room: Room, point: &Point, released: u64) {
    let end = End::consumer(room.ring);
    let mut found = Vec::new();
    loop {
        match end.read(LONG) {
            Ok(bytes) => found.push(opened(&bytes)),
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{}", message());
                break;
            }
        }
    }
    end.detach();
    let first = 12 - found.len() as u64;
    assert!(found.iter().copied().eq(first..12), "{found:?}");
    assert!(first == 0 && (!ended(point) || released == 0) || first == released && !not_begun(point), "{found:?}");
}

#[test]
fn consumer_against_a_writer_that_sleeps() {
    walks("consumer_against_a_writer_that_sleeps", || {
        let nothing: fn(Room, &Point) = |room, point| next_reader(room, point, 0);
        let asleep = Scene { peer: Some(writer), before: attach_consumer, check: nothing, ..SCENE };
        vec![
            Scene { operation: "attach to read, a writer sleeps", before: |_| (), work: attach_consumer, ..asleep },
            Scene { operation: "detach of a reader, a writer sleeps", work: |room| room.end().detach(), ..asleep },
            Scene {
                operation: "peek, a writer sleeps",
                work: |room| {
                    room.end().peek(FOREVER).expect("it is full");
                },
                ..asleep
            },
            Scene {
                operation: "read, a writer sleeps",
                work: |room| {
                    room.end().read(FOREVER).expect("it is full");
                },
                check: |room, point| next_reader(room, point, 1),
                ..asleep
            },
            Scene {
                operation: "release of three, a writer sleeps",
                before: shown,
                work: |room| good(room.end().release(3)),
                check: |room, point| next_reader(room, point, 3),
                ..asleep
            },
        ]
    });
}

/// At the other end: writes three messages once the child sleeps, or is dead, and closes.
fn late_writer(room: Room) {
    let end = End::producer(room.ring);
    room.set(READY, 1);
    until(|| room.sign(GO) != 0 || room.sign(CHILD) != 0 && is_asleep(room.sign(CHILD) as i32));
    for number in 0..12 {
        loop {
            match end.write(&room.letter(number), FOREVER) {
                0 => break,
                status => assert!(is(status, Status::ErrOwnerDied), "{}", message()),
            }
        }
    }
    good(end.close());
    end.detach();
}

#[test]
fn consumer_that_waits_for_a_message() {
    walks("consumer_that_waits_for_a_message", || {
        let waits = Scene {
            peer: Some(late_writer),
            before: attach_consumer,
            check: |room, point| next_reader(room, point, 0),
            ..SCENE
        };
        vec![
            Scene {
                operation: "read that waits",
                work: |room| {
                    room.end().read(FOREVER).expect("it is written");
                },
                check: |room, point| next_reader(room, point, 1),
                ..waits
            },
            Scene {
                operation: "peek that waits",
                work: |room| {
                    room.end().peek(LONG * 6).expect("it is written");
                },
                ..waits
            },
            Scene {
                operation: "peek_batch that waits",
                work: |room| {
                    room.end().peek_batch(2, FOREVER).expect("it is written");
                },
                ..waits
            },
        ]
    });
}
