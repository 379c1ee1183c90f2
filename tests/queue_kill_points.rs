//! A process that is killed at any instruction of any operation on a queue: who survives goes on within a beat or two,
//! nothing that was committed is lost but by policy, nothing is torn, nothing comes twice beyond the policy. Each operation
//! is walked over the library's own instructions: alone, with others blocked in send and in receive, and just behind another
//! dead one's claim. Walks have budgets and say what they left out: `SHMKIT_KILL_SECONDS=60` is enough for all of them. The
//! machinery is in `support/kill_points.rs`, the memory in `support/queue_room.rs`.

mod support;

use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmkit::error::Status;
use support::kill_points::{Moment, Plan, Point, Scope};
use support::message;
use support::queue_room::*;
use support::ring_room::{FOREVER, LONG, Memory, is, letter, opened};
use support::sync_room::{STALLED, alarm, good, is_asleep, kill, reap_well, start, until};

/// What one walk may cost: SHMKIT_KILL_SECONDS, or a part of a second that makes a sample of the longer operations.
fn budget() -> Duration {
    let seconds = std::env::var("SHMKIT_KILL_SECONDS").ok();
    Duration::from_secs_f64(seconds.map_or(0.7, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Deaths in each walk, whatever its budget.
const LEAST: usize = 16;
/// No survivor may need longer: many times two beats, for a machine that others use.
const SURVIVORS: Duration = Duration::from_secs(10);
const LONGEST: usize = 100;

/// Letters: of before the child, of the child, of the crew, of one who died before, of after the death.
const FIRST: u64 = 1;
const SECOND: u64 = 2;
const MINE: u64 = 3;
const CREW: u64 = 4;
const DEAD: u64 = 5;
const BEHIND: u64 = 6;
const NAMES: usize = 8;
/// The crew is about to wait; that there has been a death.
const READY: usize = 16;
const GO: usize = 20;

/// What all saw of a death.
#[derive(Debug)]
struct Seen {
    came: [u64; NAMES],
    lost: u64,
    again: u64,
}

/// One operation and what surrounds it.
#[derive(Clone, Copy)]
struct Scene {
    operation: &'static str,
    cells: u64,
    delivery: i32,
    /// Before the crew comes.
    set: fn(&Room, &Member),
    /// Who else is there. Each says `ready` and then waits for something; all must end well once the child is dead.
    crew: &'static [fn(&Room, &Facts, usize)],
    /// The child attaches in what is walked.
    is_new: bool,
    /// The child's, not walked.
    before: fn(&Member),
    /// The child's, walked.
    work: fn(&Room, &Member),
    /// When the child is dead: before it is closed and emptied.
    check: fn(&Room, &Member, &Facts),
    /// When all is over.
    after: fn(&Seen, &Point),
}

const SCENE: Scene = Scene {
    operation: "",
    cells: 4,
    delivery: AGAIN,
    set: |_, _| (),
    crew: &[],
    is_new: false,
    before: |_| (),
    work: |_, _| (),
    check: |_, member, _| send(member, BEHIND),
    after: |_, _| (),
};

/// What is no queue.
#[derive(Clone, Copy)]
struct Facts(Memory);

impl Facts {
    fn reset(self) {
        (0..64).for_each(|number| self.0.word(8 * number).store(0, SeqCst));
    }

    fn is(self, number: usize) -> bool {
        self.0.word(8 * number).load(SeqCst) != 0
    }

    fn set(self, number: usize) {
        self.0.word(8 * number).store(1, SeqCst);
    }

    /// A letter came: it is whole.
    #[track_caller]
    fn came(self, bytes: &[u8]) -> u64 {
        let name = opened(bytes);
        self.0.word(8 * name as usize).fetch_add(1, SeqCst);
        name
    }
}

#[track_caller]
fn send(member: &Member, name: u64) {
    good(member.send(&letter(name, LONGEST), LONG));
}

/// Reserves room for the letter and writes it.
#[track_caller]
fn write(member: &Member, name: u64) {
    let letter = letter(name, LONGEST);
    let at = member.reserve(letter.len(), LONG).unwrap_or_else(|status| panic!("{status}: {}", message()));
    member.fill(at, &letter);
}

#[track_caller]
fn take(member: &Member) {
    member.take(LONG).unwrap_or_else(|status| panic!("{status}: {}", message()));
}

/// The operation was done when the child died.
fn ended(point: &Point) -> bool {
    !point.reached || point.moment == Moment::End
}

/// The operation had not begun.
fn not_begun(point: &Point) -> bool {
    point.reached && point.index == 0 && point.moment != Moment::End
}

/// Crew: takes what comes, to the end.
fn receiver(room: &Room, facts: &Facts, own: usize) {
    let member = room.member();
    facts.set(READY + own);
    loop {
        match member.receive(FOREVER) {
            Ok(bytes) => drop(facts.came(&bytes)),
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{status}: {}", message());
                return;
            }
        }
    }
}

/// Crew: sends into a full queue.
fn sender(room: &Room, facts: &Facts, own: usize) {
    let member = room.member();
    facts.set(READY + own);
    good(member.send(&letter(CREW, LONGEST), FOREVER));
}

/// After a death, with a sender in the crew: what it sends comes, and then it is over.
fn until_the_crew_has_sent(_room: &Room, member: &Member, facts: &Facts) {
    while facts.came(&member.receive(LONG).unwrap_or_else(|status| panic!("{status}: {}", message()))) != CREW {}
}

/// After a death: the room is the dead one's still, or taken by its letter.
fn make_room_and_send(_room: &Room, member: &Member, facts: &Facts) {
    while member.send(&letter(BEHIND, LONGEST), 0) != 0 {
        if let Ok(bytes) = member.receive(1) {
            facts.came(&bytes);
        }
    }
}

/// A process that does the work, and dies.
fn dies(room: &Room, work: impl FnOnce(&Member)) {
    let signs = Memory::new(64);
    let pid = start(|| {
        let member = room.member();
        work(&member);
        signs.word(0).store(1, SeqCst);
        std::thread::sleep(Duration::from_secs(1_000));
    });
    until(|| signs.word(0).load(SeqCst) != 0);
    kill(pid);
    signs.unmap();
}

struct State {
    member: Member,
    crew: Vec<i32>,
}

thread_local! {
    static CHILD: RefCell<Option<Member>> = const { RefCell::new(None) };
}

fn walk(backend: Backend, scene: Scene) {
    let options = options(scene.cells, LONGEST as u64, BLOCK, scene.delivery);
    let room = &Room::new(backend, &options);
    let facts = Facts(Memory::new(512));
    let prepare = || {
        room.init(&options);
        facts.reset();
        let member = room.member();
        (scene.set)(room, &member);
        let crew = scene.crew.iter().enumerate().map(|(own, work)| {
            let pid = start(|| work(room, &facts, own));
            until(|| facts.is(READY + own) && is_asleep(pid));
            pid
        });
        let crew = crew.collect();
        State { member, crew }
    };
    let before = |_: &State| {
        if !scene.is_new {
            let member = room.member();
            (scene.before)(&member);
            CHILD.set(Some(member));
        }
    };
    // Counts changes; a comparison is quicker than a hash, and is made before each instruction.
    let seen = RefCell::new((0, room.bytes()));
    let print = |_: &State| {
        let mut seen = seen.borrow_mut();
        if !room.is_as(&seen.1) {
            *seen = (seen.0 + 1, room.bytes());
        }
        seen.0
    };
    let plan = Plan::new(scene.operation, budget()).scope(Scope::Library).watching(&print).before(&before);
    let walk = plan.at_least(LEAST).walk(
        prepare,
        |state| CHILD.with_borrow(|member| (scene.work)(room, member.as_ref().unwrap_or(&state.member))),
        |State { member, crew }, point| {
            alarm(STALLED);
            facts.set(GO);
            (scene.check)(room, &member, &facts);
            good(member.close());
            loop {
                match member.receive(LONG) {
                    Ok(bytes) => drop(facts.came(&bytes)),
                    Err(status) => {
                        assert!(is(status, Status::ErrClosed), "{status}: {}: {point}", message());
                        break;
                    }
                }
            }
            crew.into_iter().for_each(reap_well);
            let stat = room.stat();
            let came = std::array::from_fn(|name| facts.0.word(8 * name).load(SeqCst));
            let seen = Seen { came, lost: stat.lost, again: stat.again };
            let judged = std::panic::catch_unwind(|| (scene.after)(&seen, point));
            assert!(judged.is_ok(), "{}: {seen:?}, {point}", scene.operation);
            member.detach();
            alarm(0);
        },
    );
    if let Some(walk) = walk {
        assert!(walk.killed >= LEAST && walk.library > LEAST, "{walk:?}");
        // Where others decide how the operation goes, no two runs need be the same.
        let alone = scene.crew.is_empty();
        assert!(!alone || walk.missed * 10 <= 30 + walk.killed + walk.missed, "{walk:?}");
        assert!(walk.slowest < SURVIVORS, "{walk:?}");
    }
}

/// Runs the walks of one test in a process of their own.
fn walks(test: &str, scenes: &[Scene]) {
    support::alone(test, &[], || {
        for (number, scene) in scenes.iter().enumerate() {
            walk(BACKENDS[number % 3], *scene);
        }
    });
}

/// Of a letter that the child was to send: it came once, or was lost, or had not been claimed; it was sent when the work was
/// done.
fn mine_came_or_not(seen: &Seen, point: &Point) {
    assert!(seen.came[MINE as usize] + seen.lost <= 1);
    assert!(seen.came[MINE as usize] == 1 || !ended(point));
    others_came(seen);
}

/// What others had sent came, once.
fn others_came(seen: &Seen) {
    assert_eq!(seen.came[BEHIND as usize], 1);
    assert_eq!(seen.again, 0);
}

/// Of the first letter, which the child was to take: by policy.
fn first_again(seen: &Seen, point: &Point) {
    // Between its release and its end nobody had it but the child.
    let first = seen.came[FIRST as usize];
    assert!(first <= 1 && seen.again <= first && seen.lost == 0);
    assert!(first == 1 || !not_begun(point));
    assert_eq!((seen.came[SECOND as usize], seen.came[BEHIND as usize]), (1, 1));
}

fn first_taken_again(seen: &Seen, point: &Point) {
    first_again(seen, point);
    assert_eq!(seen.came[FIRST as usize], 1, "it was taken, and not released");
    assert!(seen.again == 1 || !ended(point));
}

fn first_received_again(seen: &Seen, point: &Point) {
    first_again(seen, point);
    assert!(seen.came[FIRST as usize] == 0 || !ended(point), "it was released, and came again");
}

fn first_once(seen: &Seen, point: &Point) {
    let first = seen.came[FIRST as usize];
    assert!(first + seen.lost <= 1 && seen.again == 0);
    assert!(first == 1 || !not_begun(point));
    assert!(first == 0 || !ended(point));
    assert_eq!((seen.came[SECOND as usize], seen.came[BEHIND as usize]), (1, 1));
}

/// A receiver in the crew that has had nothing yet is there for the message.
const BLOCKED: &[fn(&Room, &Facts, usize)] = &[receiver, receiver];
const FULL_UP: &[fn(&Room, &Facts, usize)] = &[sender];

fn two_letters(_room: &Room, member: &Member) {
    send(member, FIRST);
    send(member, SECOND);
}

#[test]
fn producers() {
    let reserve = Scene {
        operation: "reserve",
        work: |_, member| write(member, MINE),
        after: |seen, point| {
            assert_eq!(seen.came[MINE as usize], 0);
            assert!(seen.lost == 1 || !ended(point));
            others_came(seen);
        },
        ..SCENE
    };
    let commit = Scene {
        operation: "commit",
        before: |member| write(member, MINE),
        work: |_, member| good(member.commit(letter(MINE, LONGEST).len())),
        after: |seen, point| {
            assert_eq!(seen.came[MINE as usize] + seen.lost, 1);
            mine_came_or_not(seen, point);
        },
        ..SCENE
    };
    let abort = Scene {
        operation: "abort",
        before: |member| write(member, MINE),
        work: |_, member| good(member.abort()),
        after: |seen, point| {
            assert_eq!(seen.came[MINE as usize], 0);
            assert!(seen.lost == 0 || !ended(point));
            others_came(seen);
        },
        ..SCENE
    };
    let send = Scene { operation: "send", work: |_, member| send(member, MINE), after: mine_came_or_not, ..SCENE };
    walks(
        "producers",
        &[
            reserve,
            commit,
            abort,
            send,
            Scene { operation: "send, one cell", cells: 1, check: make_room_and_send, ..send },
            Scene { operation: "send, at most once", delivery: ONCE, ..send },
            Scene { operation: "reserve, two receive", crew: BLOCKED, ..reserve },
            Scene { operation: "commit, two receive", crew: BLOCKED, ..commit },
            Scene { operation: "abort, two receive", crew: BLOCKED, ..abort },
            Scene { operation: "send, two receive", crew: BLOCKED, ..send },
            Scene { operation: "send, two receive, one cell", crew: BLOCKED, cells: 1, ..send },
        ],
    );
}

#[test]
fn consumers() {
    let take = Scene {
        operation: "take",
        set: two_letters,
        work: |_, member| self::take(member),
        after: first_taken_again,
        ..SCENE
    };
    let release = Scene {
        operation: "release",
        set: two_letters,
        before: self::take,
        work: |_, member| good(member.release()),
        after: |seen, point| {
            assert!(seen.came[FIRST as usize] == seen.again);
            assert!(seen.again == 1 || !not_begun(point));
            first_received_again(seen, point);
        },
        ..SCENE
    };
    let receive = Scene {
        operation: "receive",
        set: two_letters,
        work: |_, member| drop(member.receive(LONG).expect("it is there")),
        after: first_received_again,
        ..SCENE
    };
    let once = |operation: &'static str, scene: Scene| Scene { operation, delivery: ONCE, after: first_once, ..scene };
    let release_once = Scene {
        after: |seen, point| {
            assert_eq!(seen.came[FIRST as usize], 0);
            assert!(seen.lost == 1 || !not_begun(point));
            assert!(seen.lost == 0 || !ended(point));
        },
        ..once("release, at most once", release)
    };
    // Two cells are full, and one waits for room in them.
    let full = |operation: &'static str, scene: Scene| Scene {
        operation,
        cells: 2,
        crew: FULL_UP,
        check: |room, member, facts| {
            until_the_crew_has_sent(room, member, facts);
            send(member, BEHIND);
        },
        ..scene
    };
    walks(
        "consumers",
        &[
            take,
            release,
            receive,
            once("take, at most once", take),
            release_once,
            once("receive, at most once", receive),
            full("take, one sends", take),
            full("release, one sends", release),
            full("receive, one sends", receive),
            full("take, one sends, at most once", once("", take)),
            full("release, one sends, at most once", release_once),
            full("receive, one sends, at most once", once("", receive)),
        ],
    );
}

#[test]
fn members() {
    let attach = Scene {
        operation: "attach",
        is_new: true,
        work: |room, _| drop(room.member()),
        after: |seen, _| {
            others_came(seen);
            assert_eq!(seen.lost, 0);
        },
        ..SCENE
    };
    let detach = Scene {
        operation: "detach with both in hand",
        set: two_letters,
        before: |member| {
            take(member);
            write(member, MINE);
        },
        // SAFETY: it was attached.
        work: |_, member| good(unsafe { shmkit::capi::queue::shmkit_queue_detach(member.raw()) }),
        after: |seen, point| {
            assert_eq!((seen.came[MINE as usize], seen.came[FIRST as usize], seen.again), (0, 1, 1));
            assert!(seen.lost <= 1 && (seen.lost == 0 || !ended(point)));
            assert_eq!((seen.came[SECOND as usize], seen.came[BEHIND as usize]), (1, 1));
        },
        ..SCENE
    };
    let detach_once = Scene {
        operation: "detach with both in hand, at most once",
        delivery: ONCE,
        after: |seen, _| {
            assert_eq!((seen.came[MINE as usize], seen.came[FIRST as usize], seen.again), (0, 0, 0));
            // A death between its count and its word counts it twice.
            assert!((1..=3).contains(&seen.lost));
            assert_eq!((seen.came[SECOND as usize], seen.came[BEHIND as usize]), (1, 1));
        },
        ..detach
    };
    let close = Scene {
        operation: "close",
        set: two_letters,
        work: |_, member| good(member.close()),
        check: |_, member, facts| match member.send(&letter(BEHIND, LONGEST), 0) {
            0 => {}
            status => {
                assert!(is(status, Status::ErrClosed), "{status}: {}", message());
                facts.set(GO + 1);
            }
        },
        after: |seen, point| {
            assert_eq!((seen.came[FIRST as usize], seen.came[SECOND as usize], seen.lost), (1, 1, 0));
            assert!(seen.came[BEHIND as usize] == 1 || !not_begun(point));
            assert!(seen.came[BEHIND as usize] == 0 || !ended(point));
        },
        ..SCENE
    };
    walks(
        "members",
        &[
            attach,
            detach,
            detach_once,
            close,
            Scene {
                operation: "detach, two receive",
                crew: BLOCKED,
                set: |_, _| (),
                before: |member| write(member, MINE),
                after: |seen, _| {
                    assert_eq!(seen.came[MINE as usize], 0);
                    others_came(seen);
                },
                ..detach
            },
            Scene {
                operation: "close, two receive",
                set: |_, _| (),
                crew: BLOCKED,
                after: |seen, point| {
                    assert!(seen.came[BEHIND as usize] == 1 || !not_begun(point));
                    assert!(seen.came[BEHIND as usize] == 0 || !ended(point));
                },
                ..close
            },
        ],
    );
}

/// Behind another dead one's claim, or with what it had taken: who goes on in its place dies as well.
#[test]
fn behind_the_dead() {
    fn a_dead_producer(room: &Room, member: &Member) {
        dies(room, |member| write(member, DEAD));
        send(member, FIRST);
        send(member, SECOND);
    }
    fn a_dead_consumer(room: &Room, member: &Member) {
        send(member, FIRST);
        dies(room, take);
        send(member, SECOND);
    }
    fn a_dead_consumer_and_no_room(room: &Room, member: &Member) {
        send(member, FIRST);
        send(member, SECOND);
        dies(room, take);
    }
    let receive = Scene {
        operation: "receive behind a dead producer",
        set: a_dead_producer,
        // With so little time the look for the dead comes at once.
        work: |_, member| drop(member.receive(1).expect("it is there")),
        after: |seen, point| {
            assert_eq!((seen.came[DEAD as usize], seen.came[SECOND as usize], seen.came[BEHIND as usize]), (0, 1, 1));
            // A death between the word and its count leaves it uncounted.
            assert!(seen.came[FIRST as usize] <= 1 && seen.lost <= 1 && seen.again <= 1);
            assert!(seen.came[FIRST as usize] == 1 || !not_begun(point));
            assert!(seen.came[FIRST as usize] == 0 || !ended(point));
        },
        ..SCENE
    };
    let again = Scene {
        operation: "take over from a dead consumer",
        set: |room, member| {
            a_dead_consumer(room, member);
            member.receive(0).expect("it is the second");
        },
        work: |_, member| drop(member.take(1).expect("it is there")),
        after: |seen, _| {
            assert_eq!((seen.came[FIRST as usize], seen.came[BEHIND as usize], seen.lost), (1, 1, 0));
            assert!((1..=2).contains(&seen.again));
        },
        ..SCENE
    };
    let room_of_the_dead = Scene {
        operation: "send where a dead consumer has the room",
        cells: 2,
        delivery: ONCE,
        set: a_dead_consumer_and_no_room,
        work: |_, member| good(member.send(&letter(MINE, LONGEST), 0)),
        check: |_, member, facts| {
            facts.came(&member.receive(LONG).expect("it is the second"));
            send(member, BEHIND);
        },
        after: |seen, point| {
            assert_eq!((seen.came[FIRST as usize], seen.came[SECOND as usize], seen.came[BEHIND as usize]), (0, 1, 1));
            assert!(seen.came[MINE as usize] <= 1 && seen.lost <= 2);
            assert!(seen.came[MINE as usize] == 1 || !ended(point));
        },
        ..SCENE
    };
    let claim_of_the_dead = Scene {
        operation: "send where a dead producer has the room",
        cells: 1,
        set: |room, _| dies(room, |member| write(member, DEAD)),
        work: |_, member| good(member.send(&letter(MINE, LONGEST), 0)),
        check: make_room_and_send,
        after: |seen, point| {
            assert_eq!((seen.came[DEAD as usize], seen.came[BEHIND as usize]), (0, 1));
            assert!(seen.came[MINE as usize] <= 1 && seen.lost <= 2);
            assert!(seen.came[MINE as usize] == 1 || !ended(point));
        },
        ..SCENE
    };
    let send_behind = Scene {
        operation: "send behind a dead producer",
        set: |room, _| dies(room, |member| write(member, DEAD)),
        work: |_, member| send(member, MINE),
        after: |seen, point| {
            assert_eq!((seen.came[DEAD as usize], seen.came[BEHIND as usize]), (0, 1));
            assert!(seen.came[MINE as usize] == 1 || !ended(point));
            assert!((1..=2).contains(&seen.lost));
        },
        ..SCENE
    };
    walks(
        "behind_the_dead",
        &[
            receive,
            again,
            room_of_the_dead,
            claim_of_the_dead,
            send_behind,
            Scene { operation: "send behind a dead producer, two receive", crew: BLOCKED, ..send_behind },
        ],
    );
}
