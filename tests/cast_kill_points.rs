//! A process that is killed at any instruction of any operation on a cell or a broadcast, with a reader beside that sleeps: the
//! reader goes on, another writer comes, nothing that was committed is lost, and nothing is torn. Each operation is walked
//! over the library's own instructions. Walks have budgets and say what they left out: `SHMKIT_KILL_SECONDS=600` is enough
//! for all of them. The machinery is in `support/kill_points.rs`, users and members in `support/cast_room.rs`.

mod support;

use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use shmkit::error::Status;
use support::cast_room::*;
use support::kill_points::{Moment, Plan, Point, Scope};
use support::message;
use support::ring_room::{FOREVER, Memory, is, letter, opened};
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
const LONGEST: usize = 64;

/// The child is dead.
const GO: usize = 0;
/// The reader beside has read what was there, and sleeps next.
const READY: usize = 8;
/// Length of the letter that lies at `LETTER_AT`.
const LENGTH: usize = 16;
/// Process of the child.
const CHILD: usize = 1032;
/// How many the reader has read, and their numbers.
const COUNT: usize = 24;
const NUMBERS: usize = 32;
const LETTER_AT: usize = 2048;
/// Others die before the child begins.
const DEAD: usize = 1024;

/// What a walk uses: shared with the child and the reader beside.
#[derive(Clone, Copy)]
struct Room {
    cell: Memory,
    cast: Cast,
    signs: Memory,
    handle: Memory,
}

impl Room {
    fn user(self) -> CellAt {
        CellAt(self.handle.start().cast())
    }

    fn member(self) -> MemberAt {
        MemberAt(self.handle.start().cast())
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

    /// The reader beside has seen this.
    fn found(self, number: u64) {
        let count = self.sign(COUNT);
        self.set(NUMBERS + 8 * count as usize, number);
        self.set(COUNT, count + 1);
    }

    fn all_found(self) -> Vec<u64> {
        (0..self.sign(COUNT) as usize).map(|at| self.sign(NUMBERS + 8 * at)).collect()
    }

    /// Everything anew: two values are there, written by nobody who writes now, or two messages.
    fn begin(self) {
        // SAFETY: nobody else uses them.
        unsafe {
            self.signs.start().cast::<u8>().write_bytes(0, self.signs.length);
            self.handle.start().cast::<u8>().write_bytes(0, self.handle.length);
        }
        cell_init(self.cell, LONGEST);
        let writer = Cell::writer(self.cell);
        (1..3).for_each(|number| good(writer.write(&letter(number, LONGEST))));
        writer.detach();
        self.cast.init();
        let writer = self.cast.member();
        (1..3).for_each(|number| good(writer.write(&letter(number, LONGEST))));
        writer.detach();
        // The third, without a walk through its making.
        let bytes = letter(3, LONGEST);
        self.set(LENGTH, bytes.len() as u64);
        // SAFETY: there is room.
        unsafe { self.letter_at().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn letter_at(self) -> *mut u8 {
        (self.signs.at + LETTER_AT) as *mut u8
    }

    fn third(self) -> &'static [u8] {
        // SAFETY: `begin` has put it there, and nobody changes it.
        unsafe { std::slice::from_raw_parts(self.letter_at(), self.sign(LENGTH) as usize) }
    }

    /// Puts the third into what was reserved.
    fn fill(self, at: *mut u8) {
        // SAFETY: so many bytes were reserved.
        unsafe { at.copy_from_nonoverlapping(self.letter_at(), self.sign(LENGTH) as usize) };
    }
}

/// One operation and what surrounds it.
#[derive(Clone, Copy)]
struct Scene {
    operation: &'static str,
    /// Before the reader comes.
    set: fn(Room),
    /// Who reads beside: says `READY`, then sleeps; ends well once the check has written the last.
    reader: fn(Room),
    /// The child's, not walked.
    before: fn(Room),
    /// The child's, walked.
    work: fn(Room),
    /// When the child is dead.
    check: fn(Room, &Point),
    /// When the reader is gone too.
    after: fn(Room, &Point),
}

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
        room.begin();
        (scene.set)(room);
        let pid = start(|| (scene.reader)(room));
        until(|| room.sign(READY) != 0 && is_asleep(pid));
        pid
    };
    let before = |_: &i32| {
        (scene.before)(room);
        room.set(CHILD, u64::from(std::process::id()));
    };
    let both = || [room.cell.bytes(), room.cast.memory.bytes()];
    let seen = RefCell::new((0, both()));
    let print = |_: &i32| {
        let mut seen = seen.borrow_mut();
        if !room.cell.is_as(&seen.1[0]) || !room.cast.memory.is_as(&seen.1[1]) {
            *seen = (seen.0 + 1, both());
        }
        seen.0
    };
    let plan = Plan::new(scene.operation, budget()).scope(Scope::Library).watching(&print).before(&before);
    let walk = plan.at_least(LEAST).walk(
        prepare,
        |_| (scene.work)(room),
        |reader, point| {
            alarm(STALLED);
            room.set(GO, 1);
            (scene.check)(room, point);
            reap_well(reader);
            (scene.after)(room, point);
            assert!(room.cell.is_untouched() && room.cast.memory.is_untouched());
            alarm(0);
        },
    );
    if let Some(walk) = walk {
        assert!(walk.killed >= LEAST.min(walk.boundaries) && walk.library > 4, "{walk:?}");
        assert!(walk.slowest < SURVIVORS, "{walk:?}");
    }
}

/// Runs the walks of one test in a process of their own.
fn walks(test: &str, scenes: impl FnOnce() -> Vec<Scene>) {
    support::alone(test, &[], || {
        let (signs, handle) = (Memory::new(4096), Memory::new(4096));
        // Two places alone: each message goes where another one was.
        let room = Room { cell: cell_memory(LONGEST), cast: Cast::new(2, LONGEST), signs, handle };
        for scene in scenes() {
            walk(room, scene);
        }
    });
}

/// Of what the child was to write: nothing when it had not begun, all when it was done.
#[track_caller]
fn judge(point: &Point, found: &[u64], first: &[u64], written: &[u64], last: &[u64]) {
    let without = [first, last].concat();
    let with = [first, written, last].concat();
    assert!(found == with || found == without, "{found:?}");
    assert!(found == with || !ended(point), "what was committed is lost: {found:?}");
    assert!(found == without || !not_begun(point), "what was not written is there: {found:?}");
}

// ------------------------------------------------------------------------------------------------------------------
// Cells
// ------------------------------------------------------------------------------------------------------------------

/// Beside: every value that is newer, until the hundredth.
fn cell_reader(room: Room) {
    let reader = Cell::reader(room.cell);
    let mut last = 0;
    loop {
        match reader.read_newer(last, LONGEST, FOREVER) {
            Ok((version, bytes)) => {
                assert!(version > last, "{version} after {last}");
                last = version;
                let number = opened(&bytes);
                room.found(number);
                room.set(READY, 1);
                if number == 100 {
                    return;
                }
            }
            Err((status, _)) => {
                let died = room.has_died() || room.sign(DEAD) == 1;
                assert!(is(status, Status::ErrOwnerDied) && died, "nobody has died: {}", message());
            }
        }
    }
}

/// The latest is there, for a reader that comes now; then another one writes.
#[track_caller]
fn next_writer(room: Room, point: &Point, may_be: u64) {
    let (version, bytes) = Cell::reader(room.cell).read(LONGEST).expect("there were values");
    let latest = opened(&bytes);
    assert!(version == latest && (latest == 2 || latest == may_be), "{latest}");
    assert!(latest == may_be || !ended(point), "what was committed is lost");
    assert!(latest == 2 || !not_begun(point), "what was not written is there");
    let writer = Cell::writer(room.cell);
    good(writer.write(&letter(latest + 1, LONGEST)));
    assert_eq!(Cell::reader(room.cell).read(LONGEST), Ok((latest + 1, letter(latest + 1, LONGEST))));
    good(writer.write(&letter(100, LONGEST)));
    assert_eq!(cell_stat(room.cell).expect("it is a cell").version, latest + 2);
    writer.detach();
}

/// In order, without doubles, from the second to the hundredth.
fn in_order(room: Room, _: &Point) {
    let found = room.all_found();
    assert!(found.is_sorted_by(|one, next| one < next), "{found:?}");
    assert!(found.first() == Some(&2) && found.last() == Some(&100), "{found:?}");
}

fn attach_writer(room: Room) {
    good(room.user().attach(room.cell, WRITE));
}

fn attach_reader(room: Room) {
    good(room.user().attach(room.cell, READ));
}

const CELL: Scene = Scene {
    operation: "",
    set: |_| (),
    reader: cell_reader,
    before: attach_writer,
    work: |_| (),
    check: |room, point| next_writer(room, point, 2),
    after: in_order,
};

#[test]
fn cells() {
    walks("cells", || {
        let third: fn(Room, &Point) = |room, point| next_writer(room, point, 3);
        vec![
            Scene { operation: "cell: attach to write", before: |_| (), work: attach_writer, ..CELL },
            Scene {
                operation: "cell: attach to write after a death",
                set: |room| {
                    room.set(DEAD, 1);
                    reap_well(start(|| {
                        Cell::writer(room.cell).reserve(8).expect("it fits");
                    }));
                },
                before: |_| (),
                work: attach_writer,
                ..CELL
            },
            Scene {
                operation: "cell: take over",
                before: |room| std::mem::forget(Cell::writer(room.cell)),
                work: |room| good(room.user().attach(room.cell, WRITE | 4)),
                ..CELL
            },
            Scene { operation: "cell: attach to read", before: |_| (), work: attach_reader, ..CELL },
            Scene { operation: "cell: detach", work: |room| room.user().detach(), ..CELL },
            Scene {
                operation: "cell: reserve",
                work: |room| room.fill(room.user().reserve(LONGEST).expect("it fits")),
                ..CELL
            },
            Scene {
                operation: "cell: commit",
                before: |room| {
                    attach_writer(room);
                    room.fill(room.user().reserve(LONGEST).expect("it fits"));
                },
                work: |room| good(room.user().commit(room.sign(LENGTH) as usize)),
                check: third,
                ..CELL
            },
            Scene {
                operation: "cell: write",
                work: |room| good(room.user().write(room.third())),
                check: third,
                ..CELL
            },
            Scene {
                operation: "cell: read",
                before: attach_reader,
                work: |room| assert_eq!(room.user().read(LONGEST).map(|found| found.0), Ok(2)),
                ..CELL
            },
            Scene {
                operation: "cell: read_newer that waits",
                before: attach_reader,
                work: |room| {
                    let found = room.user().read_newer(2, LONGEST, 1_000_000);
                    assert_eq!(found.map_err(|(status, _)| status), Err(Status::ErrTimeout as i32));
                },
                ..CELL
            },
        ]
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Broadcasts
// ------------------------------------------------------------------------------------------------------------------

/// Beside: every message, until it is closed; nothing is missed.
fn cast_reader(room: Room) {
    let reader = room.cast.oldest();
    loop {
        match reader.read(FOREVER) {
            Ok((bytes, missed)) => {
                assert_eq!(missed, 0);
                room.found(opened(&bytes));
                if room.sign(COUNT) == 2 {
                    if room.sign(DEAD) == 1 {
                        two_dead(room);
                    }
                    room.set(READY, 1);
                }
            }
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{}", message());
                return;
            }
        }
    }
}

/// Another one writes, so that each place is written to once more, always when the reader has read what was before; then it
/// closes.
#[track_caller]
fn next_members(room: Room, _: &Point) {
    let (writer, late) = (room.cast.member(), room.cast.member());
    for number in 100..104 {
        good(writer.write(&letter(number, LONGEST)));
        // What is before it may have been a dead one's: within a beat or two it is passed by.
        until(|| room.sign(NUMBERS + 8 * (room.sign(COUNT) as usize - 1)) == number);
        assert_eq!(late.read(10_000_000_000).map(|found| opened(&found.0)), Ok(number));
    }
    good(writer.close());
    assert!(late.read(FOREVER).is_err_and(|status| is(status, Status::ErrClosed)));
    assert!(room.cast.stat().expect("it is one").lost <= 3);
}

fn attach_member(room: Room) {
    good(room.member().attach(room.cast, FROM_OLDEST));
}

fn reserve(room: Room) {
    room.fill(room.member().reserve(LONGEST).expect("it fits"));
}

fn nothing(room: Room, point: &Point) {
    judge(point, &room.all_found(), &[1, 2], &[], &[100, 101, 102, 103]);
}

fn third(room: Room, point: &Point) {
    judge(point, &room.all_found(), &[1, 2], &[3], &[100, 101, 102, 103]);
}

const CAST: Scene = Scene {
    operation: "",
    set: |_| (),
    reader: cast_reader,
    before: attach_member,
    work: |_| (),
    check: next_members,
    after: nothing,
};

/// Two died with both places reserved: the next message goes where the first of them was.
fn two_dead(room: Room) {
    reap_well(start(|| {
        for _ in 0..2 {
            room.cast.member().reserve(8).expect("it fits");
        }
    }));
}

#[test]
fn broadcasts() {
    walks("broadcasts", || {
        vec![
            Scene { operation: "broadcast: attach", before: |_| (), work: attach_member, ..CAST },
            Scene { operation: "broadcast: detach", work: |room| room.member().detach(), ..CAST },
            Scene {
                operation: "broadcast: detach with something reserved",
                before: |room| {
                    attach_member(room);
                    reserve(room);
                },
                work: |room| room.member().detach(),
                ..CAST
            },
            Scene { operation: "broadcast: reserve", work: reserve, ..CAST },
            Scene {
                operation: "broadcast: commit",
                before: |room| {
                    attach_member(room);
                    reserve(room);
                },
                work: |room| good(room.member().commit(room.sign(LENGTH) as usize)),
                after: third,
                ..CAST
            },
            Scene {
                operation: "broadcast: abort",
                before: |room| {
                    attach_member(room);
                    reserve(room);
                },
                work: |room| good(room.member().abort()),
                ..CAST
            },
            Scene {
                operation: "broadcast: write",
                work: |room| good(room.member().write(room.third())),
                after: third,
                ..CAST
            },
            Scene {
                operation: "broadcast: write over two dead ones",
                set: |room| room.set(DEAD, 1),
                work: |room| good(room.member().write(room.third())),
                after: third,
                ..CAST
            },
            Scene {
                operation: "broadcast: read",
                work: |room| assert_eq!(room.member().read(0).map(|found| opened(&found.0)), Ok(1)),
                ..CAST
            },
            Scene {
                operation: "broadcast: read that waits",
                before: |room| {
                    attach_member(room);
                    (1..3).for_each(|number| assert_eq!(room.member().read(0).map(|f| opened(&f.0)), Ok(number)));
                },
                work: |room| assert!(room.member().read(1_000_000).is_err_and(|error| is(error, Status::ErrTimeout))),
                ..CAST
            },
            Scene {
                operation: "broadcast: close",
                work: |room| good(room.member().close()),
                check: |room, point| {
                    let writer = room.cast.member();
                    let status = writer.write(&letter(100, LONGEST));
                    let closed = is(status, Status::ErrClosed);
                    assert!(closed && !not_begun(point) || status == 0 && !ended(point), "{status}");
                    good(writer.close());
                },
                after: |room, point| {
                    let found = room.all_found();
                    assert!(found == [1, 2] && !not_begun(point) || found == [1, 2, 100] && !ended(point), "{found:?}");
                },
                ..CAST
            },
        ]
    });
}
