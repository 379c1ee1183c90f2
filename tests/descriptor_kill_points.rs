//! A writer that is killed at any instruction while a reader sleeps on a descriptor, in epoll and without an end: the next
//! writer's message wakes the reader, which gets it, and what was committed before it. Nothing looks again by itself here: a
//! sign that a dead writer took away, without having written to the descriptor, is a reader that sleeps for ever. Walks have
//! budgets, and kill at each system call and each change of the memory whatever the budget. The machinery is in
//! `support/kill_points.rs`; the same in every order of two writers' steps is in `wait_models.rs`.

mod support;

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmkit::error::Status;
use support::cast_room::{Cast, FROM_NOW, MemberAt};
use support::containers::{drain, epoll_of, event_fd};
use support::kill_points::{Moment, Plan, Point, Scope};
use support::message;
use support::queue_room::{AGAIN, BLOCK, Backend, Room, options};
use support::ring_room::{At, CONSUME, End, LONG, Memory, PRODUCE, is, letter, opened};
use support::sync_room::{STALLED, alarm, good, is_asleep, reap_well, start, until};

/// What one walk may cost: SHMKIT_KILL_SECONDS, or a part of a second that makes a sample of the longer operations.
fn budget() -> Duration {
    let seconds = std::env::var("SHMKIT_KILL_SECONDS").ok();
    Duration::from_secs_f64(seconds.map_or(0.7, |seconds| seconds.parse().expect("a number of seconds")))
}

/// Deaths in each walk, whatever its budget.
const LEAST: usize = 16;
const LONGEST: usize = 64;

/// The child's message, and the next writer's.
const MINE: u64 = 1;
const NEXT: u64 = 2;

/// The reader is about to sleep, or sleeps; how often it was woken; how often it has had the child's message.
const ASLEEP: usize = 0;
const WAKES: usize = 8;
const CAME: usize = 16;

/// The descriptor, and the reader that sleeps on it.
#[derive(Clone, Copy)]
struct Bell {
    fd: i32,
    signs: Memory,
}

impl Bell {
    fn new() -> Bell {
        Bell { fd: event_fd(), signs: Memory::new(64) }
    }

    fn sign(self, at: usize) -> u64 {
        self.signs.word(at).load(SeqCst)
    }

    /// Whether it was written to, and not emptied since.
    fn is_rung(self) -> bool {
        let mut poll = libc::pollfd { fd: self.fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: the place is writable.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    /// The reader's whole life. `read` gives the next message, when there is one; it is told whether this is the first look
    /// after a sleep. `arm` says whether to sleep.
    fn serve(self, read: impl Fn(bool) -> Result<Vec<u8>, i32>, arm: impl Fn() -> i32) {
        let epoll = epoll_of(self.fd);
        let woken = Cell::new(false);
        loop {
            match read(woken.take()) {
                Ok(bytes) => match opened(&bytes) {
                    NEXT => return,
                    name => {
                        assert_eq!(name, MINE);
                        self.signs.word(CAME).fetch_add(1, SeqCst);
                    }
                },
                Err(status) => {
                    assert!(is(status, Status::ErrAgain) || is(status, Status::ErrTimeout), "{}", message());
                    if arm() != 0 {
                        continue;
                    }
                    self.signs.word(ASLEEP).store(1, SeqCst);
                    let mut event = libc::epoll_event { events: 0, u64: 0 };
                    // SAFETY: the event is writable.
                    while unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) } != 1 {}
                    self.signs.word(ASLEEP).store(0, SeqCst);
                    self.signs.word(WAKES).fetch_add(1, SeqCst);
                    assert!(drain(self.fd) > 0);
                    woken.set(true);
                }
            }
        }
    }

    /// Waits until the reader sleeps, with nothing on the way that would wake it.
    fn until_asleep(self, reader: i32) {
        until(|| !self.is_rung() && self.sign(ASLEEP) == 1 && is_asleep(reader) && !self.is_rung());
    }

    /// What is done here wakes the reader, if it sleeps.
    #[track_caller]
    fn wakes(self, point: &Point, work: impl FnOnce()) {
        let before = self.sign(WAKES);
        work();
        // It counts the wake before it empties the descriptor.
        assert!(self.is_rung() || self.sign(WAKES) != before, "nobody is woken: {point}");
    }
}

/// One operation of the child, and what surrounds it.
struct Scene<'a> {
    operation: &'static str,
    /// Everything anew.
    begin: &'a dyn Fn(),
    reader: &'a dyn Fn(),
    /// The child's, not walked; the walked.
    before: &'a dyn Fn(),
    work: &'a dyn Fn(),
    /// The next writer sends `NEXT`.
    next: &'a dyn Fn(),
    bytes: &'a dyn Fn() -> Vec<u8>,
}

fn walk(bell: Bell, scene: &Scene) {
    let prepare = || {
        drain(bell.fd);
        [ASLEEP, WAKES, CAME].iter().for_each(|at| bell.signs.word(*at).store(0, SeqCst));
        (scene.begin)();
        let reader = start(scene.reader);
        bell.until_asleep(reader);
        reader
    };
    let before = |reader: &i32| {
        (scene.before)();
        // Who names a descriptor tells who has armed before: once, and not in what is walked.
        bell.until_asleep(*reader);
        bell.signs.word(WAKES).store(0, SeqCst);
    };
    let seen = RefCell::new((0, Vec::new()));
    let print = |_: &i32| {
        let (mut seen, now) = (seen.borrow_mut(), (scene.bytes)());
        if seen.1 != now {
            *seen = (seen.0 + 1, now);
        }
        seen.0
    };
    let told = Cell::new([0; 2]);
    let plan = Plan::new(scene.operation, budget()).scope(Scope::Library).watching(&print).before(&before);
    let walk = plan.at_least(LEAST).walk(
        prepare,
        |_| (scene.work)(),
        |reader, point| {
            alarm(STALLED);
            bell.until_asleep(reader);
            let was_told = bell.sign(WAKES) > 0;
            let mut counts = told.get();
            counts[usize::from(was_told)] += 1;
            told.set(counts);
            bell.wakes(point, scene.next);
            reap_well(reader);
            let ended = !point.reached || point.moment == Moment::End;
            assert!(was_told || !ended, "the child has told nobody: {point}");
            assert!(bell.sign(CAME) == 1 || bell.sign(CAME) == 0 && !ended, "what was committed is lost: {point}");
            alarm(0);
        },
    );
    if let Some(walk) = walk {
        let [untold, told] = told.get();
        assert!(walk.killed >= LEAST && walk.system_calls > 0 && untold > 0 && told > 0, "{walk:?}, {untold}, {told}");
    }
}

/// The one end is given to the next writer by the death: it learns of the descriptor first, and may be told by that.
#[test]
fn ring_writer() {
    support::alone("ring_writer", &[], || {
        let (ring, handle, bell) = (Memory::ring(512), Memory::new(4096), Bell::new());
        let (mine, next) = (letter(MINE, LONGEST), letter(NEXT, LONGEST));
        let child = At(handle.start().cast());
        let scene = Scene {
            operation: "ring: write, one sleeps on a descriptor",
            begin: &|| ring.init(),
            reader: &|| {
                let end = End::attach(ring, CONSUME).expect("it is free");
                bell.serve(|_| end.read(0), || end.arm());
            },
            before: &|| {
                good(child.attach(ring, PRODUCE));
                good(child.notify_fd(bell.fd));
            },
            work: &|| good(child.write(&mine, LONG)),
            next: &|| {
                let end = End::producer(ring);
                good(end.notify_fd(bell.fd));
                good(end.write(&next, LONG));
                end.detach();
            },
            bytes: &|| ring.bytes(),
        };
        walk(bell, &scene);
        // It wrote a batch, or the message did not fit before the end: the calls' slow way.
        let batch = Scene {
            operation: "ring: write_batch, one sleeps on a descriptor",
            work: &|| assert_eq!(child.write_batch(std::slice::from_ref(&mine), LONG), Ok(1)),
            ..scene
        };
        walk(bell, &batch);
    });
}

/// The other writer has named its descriptor before: its commit alone must wake.
#[test]
fn queue_sender() {
    support::alone("queue_sender", &[], || {
        let bell = Bell::new();
        let (mine, next) = (letter(MINE, LONGEST), letter(NEXT, LONGEST));
        let options = options(4, LONGEST as u64, BLOCK, AGAIN);
        let room = &Room::new(Backend::Memfd, &options);
        let (other, child) = (RefCell::new(None), RefCell::new(None));
        let scene = Scene {
            operation: "queue: send, one sleeps on a descriptor",
            begin: &|| {
                room.init(&options);
                let member = room.member();
                good(member.notify_fd(bell.fd));
                other.replace(Some(member));
            },
            reader: &|| {
                let member = room.member();
                // A claim of the dead is passed by only by who waits for a beat, or arms after one.
                let wait = |woken| if woken { 400_000_000 } else { 0 };
                bell.serve(|woken| member.receive(wait(woken)), || member.arm());
            },
            before: &|| {
                let member = room.member();
                good(member.notify_fd(bell.fd));
                child.replace(Some(member));
            },
            work: &|| good(child.borrow().as_ref().expect("it is attached").send(&mine, LONG)),
            next: &|| good(other.borrow().as_ref().expect("it is attached").send(&next, LONG)),
            bytes: &|| room.bytes(),
        };
        walk(bell, &scene);
    });
}

/// As in a queue.
#[test]
fn broadcast_writer() {
    support::alone("broadcast_writer", &[], || {
        let (cast, handle, bell) = (Cast::new(4, LONGEST), Memory::new(4096), Bell::new());
        let (mine, next) = (letter(MINE, LONGEST), letter(NEXT, LONGEST));
        let (child, other) = (MemberAt(handle.start().cast()), RefCell::new(None));
        let scene = Scene {
            operation: "broadcast: write, one sleeps on a descriptor",
            begin: &|| {
                cast.init();
                let member = cast.member();
                good(member.notify_fd(bell.fd));
                other.replace(Some(member));
            },
            reader: &|| {
                let member = cast.member();
                bell.serve(|_| member.read(0).map(|(bytes, _)| bytes), || member.arm());
            },
            before: &|| {
                good(child.attach(cast, FROM_NOW));
                good(child.notify_fd(bell.fd));
            },
            work: &|| good(child.write(&mine)),
            next: &|| good(other.borrow().as_ref().expect("it is attached").write(&next)),
            bytes: &|| cast.memory.bytes(),
        };
        walk(bell, &scene);
    });
}
