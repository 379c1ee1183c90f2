//! Queues between threads and processes: order and completeness, deaths between any two calls, leases that others take, pid
//! namespaces, descriptors in an epoll loop, and a storm of SIGKILLs on producers and consumers. Each test runs alone and
//! ends by an alarm clock if something hangs. `SHMKIT_STORM_SECONDS` is the storm's length (2). Next:
//! `queue_kill_points.rs` for deaths at every instruction.

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shmkit::capi::region::*;
use shmkit::error::Status;
use support::queue_room::*;
use support::ring_room::{FOREVER, LONG, Memory, Random, is, letter, opened};
use support::sync_room::{STALLED, alarm, good, is_asleep, kill, reap_well, start, until};
use support::{alone, message};

/// Two beats, and then some for a machine that others use.
const BEATS: u64 = 1_500_000_000;

/// Runs the body in a process of its own, which ends if something hangs.
fn apart(test: &str, body: impl FnOnce()) {
    alone(test, &[], || {
        alarm(STALLED);
        body();
        alarm(0);
    });
}

#[track_caller]
fn refused<T>(result: Result<T, i32>, expected: Status) {
    assert_eq!(result.err(), Some(expected as i32), "{}", message());
}

/// Memory for signs between the processes of a test.
fn signs() -> Memory {
    Memory::new(1 << 16)
}

fn sign(signs: Memory, number: usize) {
    signs.word(8 * number).store(1, SeqCst);
}

fn until_sign(signs: Memory, number: usize) {
    until(|| signs.word(8 * number).load(SeqCst) != 0);
}

fn pause() {
    std::thread::sleep(Duration::from_secs(1_000));
}

/// Starts a process that attaches, does the work, and then waits to be killed; returns when the work is done.
fn ready(room: &Room, work: impl FnOnce(&Member)) -> i32 {
    let signs = Memory::new(64);
    let pid = start(|| {
        let member = room.member();
        work(&member);
        sign(signs, 0);
        pause();
    });
    until_sign(signs, 0);
    signs.unmap();
    pid
}

/// The name of a letter: who wrote it, and which of its letters it is.
fn name(producer: u64, number: u64) -> u64 {
    producer << 32 | number
}

// ------------------------------------------------------------------------------------------------------------------
// Order and completeness
// ------------------------------------------------------------------------------------------------------------------

/// What consumers write down: how often each letter came.
#[derive(Clone, Copy)]
struct Log {
    memory: Memory,
    letters: u64,
}

impl Log {
    fn new(producers: u64, letters: u64) -> Log {
        Log { memory: Memory::new((8 * (producers * letters) as usize).next_multiple_of(64)), letters }
    }

    fn came(self, name: u64) -> u64 {
        let (producer, number) = (name >> 32, name & 0xffff_ffff);
        self.memory.word(8 * (producer * self.letters + number) as usize).fetch_add(1, SeqCst)
    }

    #[track_caller]
    fn all_came_once(self, producers: u64) {
        for index in 0..producers * self.letters {
            assert_eq!(self.memory.word(8 * index as usize).load(SeqCst), 1, "letter {index}");
        }
        self.memory.unmap();
    }
}

fn produce(member: &Member, producer: u64, letters: u64, longest: usize) {
    let mut random = Random(producer);
    for number in 0..letters {
        let letter = letter(name(producer, number), longest);
        match random.below(3) {
            0 => good(member.send(&letter, FOREVER)),
            _ => {
                let at = member.reserve(letter.len(), FOREVER).expect("it waits for room");
                if random.below(8) == 0 {
                    good(member.abort());
                    good(member.send(&letter, LONG));
                } else {
                    member.fill(at, &letter);
                    good(member.commit(letter.len()));
                }
            }
        }
    }
}

/// Takes until it is closed. Each producer's letters come in order, as far as this consumer sees them.
fn consume(member: &Member, log: Log, seed: u64) {
    let mut random = Random(seed);
    let mut next = [0; 16];
    loop {
        let in_place = random.below(2) == 0;
        let found = match in_place {
            true => member.take(FOREVER).map(|(_, bytes)| bytes),
            false => member.receive(FOREVER),
        };
        match found {
            Ok(bytes) => {
                let name = opened(&bytes);
                assert_eq!(log.came(name), 0, "{name:#x} came twice");
                let (producer, number) = ((name >> 32) as usize, name & 0xffff_ffff);
                assert!(number >= next[producer], "{number} of {producer} came behind a later one");
                next[producer] = number + 1;
                if in_place {
                    good(member.release());
                }
            }
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{status}: {}", message());
                return;
            }
        }
    }
}

const CREWS: [(u64, u64); 6] = [(1, 1), (2, 1), (1, 2), (3, 3), (8, 1), (8, 8)];

#[test]
fn threads() {
    apart("threads", || {
        for (producers, consumers) in CREWS {
            for (cells, letters) in [(1, 300), (2, 500), (64, 3000)] {
                let room = &Room::new(Backend::Memfd, &options(cells, 200, BLOCK, AGAIN));
                let log = Log::new(producers, letters);
                std::thread::scope(|scope| {
                    let writers: Vec<_> = (0..producers)
                        .map(|own| {
                            scope.spawn(move || {
                                let member = room.member();
                                produce(&member, own, letters, 200);
                                member.detach();
                            })
                        })
                        .collect();
                    for own in 0..consumers {
                        scope.spawn(move || {
                            let member = room.member();
                            consume(&member, log, own);
                            member.detach();
                        });
                    }
                    writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
                    good(room.member().close());
                });
                log.all_came_once(producers);
                let stat = room.stat();
                assert_eq!((stat.depth, stat.sent, stat.closed), (0, stat.taken, 1));
                assert_eq!(room.losses(), (0, 0, 0));
            }
        }
    });
}

#[test]
fn processes() {
    apart("processes", || {
        for backend in BACKENDS {
            for (producers, consumers) in CREWS {
                for (cells, letters) in [(1, 200), (16, 1000)] {
                    let room = &Room::new(backend, &options(cells, 200, BLOCK, ONCE));
                    let log = Log::new(producers, letters);
                    let readers: Vec<_> =
                        (0..consumers).map(|own| start(|| consume(&room.member(), log, own))).collect();
                    let writers: Vec<_> =
                        (0..producers).map(|own| start(|| produce(&room.member(), own, letters, 200))).collect();
                    writers.into_iter().for_each(reap_well);
                    good(room.member().close());
                    readers.into_iter().for_each(reap_well);
                    log.all_came_once(producers);
                    assert_eq!(room.losses(), (0, 0, 0));
                }
            }
        }
    });
}

/// Who was told that nothing comes any more has missed nothing: what is sent while somebody closes is refused, or comes.
#[test]
fn a_send_beside_a_close() {
    apart("a_send_beside_a_close", || {
        let room = &Room::new(Backend::Memfd, &options(4, 64, BLOCK, AGAIN));
        let (mut refusals, mut sent) = (0, 0);
        for round in 0..3000 {
            room.init(&options(4, 64, BLOCK, AGAIN));
            let (committed, came) = std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let member = room.member();
                    let mut committed = 0;
                    while member.send(&letter(committed, 64), LONG) == 0 {
                        committed += 1;
                    }
                    committed
                });
                let reader = scope.spawn(|| {
                    let member = room.member();
                    let mut came = 0;
                    while let Ok(bytes) = member.receive(LONG) {
                        assert_eq!(opened(&bytes), came);
                        came += 1;
                    }
                    came
                });
                let member = room.member();
                for _ in 0..round % 50 {
                    std::thread::yield_now();
                }
                good(member.close());
                (writer.join().expect("it ends"), reader.join().expect("it ends"))
            });
            assert_eq!(committed, came, "round {round}: a message that was sent did not come");
            refusals += 1;
            sent += committed;
        }
        assert!(refusals == 3000 && sent > 3000, "{sent}");
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Deaths
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn a_producer_that_dies_is_passed_by() {
    apart("a_producer_that_dies_is_passed_by", || {
        for backend in BACKENDS {
            for delivery in [AGAIN, ONCE] {
                let room = &Room::new(backend, &options(4, 64, BLOCK, delivery));
                let member = room.member();
                let pid = ready(room, |member| {
                    good(member.send(b"before", 0));
                    member.reserve(64, 0).expect("there is room");
                });
                good(member.send(b"behind", 0));
                assert_eq!(member.receive(0).as_deref(), Ok(b"before".as_slice()));
                // As long as it lives it is waited for.
                refused(member.receive(600_000_000), Status::ErrTimeout);
                assert_eq!(room.losses(), (0, 0, 0));
                kill(pid);
                assert_eq!(member.receive(BEATS).as_deref(), Ok(b"behind".as_slice()), "{backend:?}");
                assert_eq!(room.losses(), (0, 1, 0));
                // The same for one who sleeps already.
                let pid = ready(room, |member| drop(member.reserve(64, 0).expect("there is room")));
                good(member.send(b"behind", 0));
                let reader = start(|| {
                    assert_eq!(room.member().receive(FOREVER).as_deref(), Ok(b"behind".as_slice()));
                });
                until(|| is_asleep(reader));
                kill(pid);
                reap_well(reader);
                assert_eq!(room.losses(), (0, 2, 0));
                // And for one who only asks, again and again.
                let pid = ready(room, |member| drop(member.reserve(64, 0).expect("there is room")));
                good(member.send(b"behind", 0));
                kill(pid);
                let began = Instant::now();
                let mut found = member.receive(0);
                while found.is_err() {
                    assert!(began.elapsed() < Duration::from_nanos(LONG));
                    found = member.receive(0);
                }
                assert_eq!(found.as_deref(), Ok(b"behind".as_slice()));
                member.detach();
            }
        }
    });
}

/// A dead producer's cell is in the way of producers a lap later, when nobody takes: with each policy, whether they wait or
/// not, they come back.
#[test]
fn a_dead_producer_in_a_full_queue() {
    apart("a_dead_producer_in_a_full_queue", || {
        for backend in BACKENDS {
            for (overflow, delivery) in [(BLOCK, AGAIN), (BLOCK, ONCE), (REFUSE, AGAIN), (REFUSE, ONCE), (DROP, ONCE)] {
                for (before, cells) in [(0, 1), (0, 4), (2, 4)] {
                    let room = &Room::new(backend, &options(cells, 64, overflow, delivery));
                    let member = room.member();
                    for _ in 0..before {
                        good(member.send(b"before", 0));
                    }
                    let pid = ready(room, |member| drop(member.reserve(64, 0).expect("there is room")));
                    for _ in before + 1..cells {
                        good(member.send(b"behind", 0));
                    }
                    refused(member.reserve(1, 0).map(drop), Status::ErrAgain);
                    kill(pid);
                    if before == 0 {
                        // Nothing is before it: a producer passes it by as well.
                        good(member.send(b"late", LONG));
                        assert_eq!(room.losses().1, 1);
                    } else {
                        refused(member.reserve(1, 0).map(drop), Status::ErrAgain);
                    }
                    let mut left = Vec::new();
                    while left.len() < cells as usize - usize::from(before > 0) {
                        left.push(member.receive(BEATS).expect("it comes"));
                    }
                    let oldest: &[u8] = match (before, cells) {
                        (0, 1) => b"late",
                        (0, _) => b"behind",
                        _ => b"before",
                    };
                    assert_eq!(left[0], oldest);
                    refused(member.receive(0), Status::ErrAgain);
                    assert_eq!(room.losses().1, 1);
                }
            }
        }
    });
}

#[test]
fn a_consumer_that_dies_by_policy() {
    apart("a_consumer_that_dies_by_policy", || {
        for backend in BACKENDS {
            for cells in [1, 4] {
                for asleep in [false, true] {
                    for delivery in [AGAIN, ONCE] {
                        let room = &Room::new(backend, &options(cells, 64, BLOCK, delivery));
                        let member = room.member();
                        good(member.send(b"first", 0));
                        let pid = ready(room, |member| drop(member.take(0).expect("it is there")));
                        // It lives, and reads: nobody else gets it.
                        refused(member.receive(600_000_000), Status::ErrTimeout);
                        let after = |work: &dyn Fn(&Member)| {
                            if asleep {
                                let other = start(|| work(&room.member()));
                                until(|| is_asleep(other));
                                kill(pid);
                                reap_well(other);
                            } else {
                                kill(pid);
                                work(&member);
                            }
                        };
                        if delivery == AGAIN {
                            after(&|member| {
                                assert_eq!(member.receive(LONG).as_deref(), Ok(b"first".as_slice()), "{backend:?}")
                            });
                            assert_eq!(room.losses(), (0, 0, 1));
                        } else {
                            // Its room is had by who sends.
                            after(&|member| {
                                for _ in 0..cells {
                                    good(member.send(b"second", LONG));
                                }
                            });
                            for _ in 0..cells {
                                assert_eq!(member.receive(LONG).as_deref(), Ok(b"second".as_slice()));
                            }
                            assert_eq!(room.losses(), (0, 1, 0));
                        }
                        refused(member.receive(BEATS), Status::ErrTimeout);
                        assert_eq!((room.losses().1, room.losses().2), if delivery == AGAIN { (0, 1) } else { (1, 0) });
                        member.detach();
                    }
                }
            }
        }
    });
}

/// What a dead consumer had is not forgotten when the queue was closed meanwhile, and nobody is told of an end before it.
#[test]
fn deaths_in_a_closed_queue() {
    apart("deaths_in_a_closed_queue", || {
        for backend in BACKENDS {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let member = room.member();
            good(member.send(b"first", 0));
            let consumer = ready(room, |member| drop(member.take(0).expect("it is there")));
            let producer = ready(room, |member| drop(member.reserve(64, 0).expect("there is room")));
            good(member.close());
            refused(member.reserve(1, LONG).map(drop), Status::ErrClosed);
            refused(member.receive(0), Status::ErrAgain);
            kill(producer);
            kill(consumer);
            assert_eq!(member.receive(LONG).as_deref(), Ok(b"first".as_slice()));
            refused(member.receive(LONG), Status::ErrClosed);
            assert_eq!(room.losses(), (0, 1, 1));
            // A producer that had claimed and died before it had moved the tail.
            room.init(&options(4, 64, BLOCK, AGAIN));
            let member = room.member();
            let producer = ready(room, |member| drop(member.reserve(64, 0).expect("there is room")));
            room.word(TAIL_AT).store(0, SeqCst);
            good(member.close());
            kill(producer);
            refused(member.receive(LONG), Status::ErrClosed);
        }
    });
}

/// Another process gets the lease of the dead one: with the queue attached, or not.
#[test]
fn a_lease_that_another_one_takes() {
    apart("a_lease_that_another_one_takes", || {
        for backend in BACKENDS {
            for attaches in [false, true] {
                for delivery in [AGAIN, ONCE] {
                    for holds in [false, true] {
                        let room = &Room::new(backend, &options(4, 64, BLOCK, delivery));
                        let member = room.member();
                        good(member.send(b"first", 0));
                        let dead = ready(room, |member| {
                            if holds {
                                member.take(0).expect("it is there");
                            } else {
                                member.receive(0).expect("it is there");
                                member.reserve(64, 0).expect("there is room");
                            }
                        });
                        good(member.send(b"second", 0));
                        let number = owner_of(room, if holds { 0 } else { 1 });
                        // Leases are taken from anywhere on: as many come as there are, one of them has this one.
                        kill(dead);
                        let signs = signs();
                        let others: Vec<_> = (0..58)
                            .map(|own| {
                                let pid = start(|| {
                                    let member = attaches.then(|| room.member());
                                    sign(signs, own);
                                    pause();
                                    drop(member);
                                });
                                until_sign(signs, own);
                                pid
                            })
                            .collect();
                        assert!(number < 60);
                        match (holds, delivery) {
                            (true, AGAIN) => {
                                assert_eq!(member.receive(0).as_deref(), Ok(b"second".as_slice()));
                                assert_eq!(member.receive(LONG).as_deref(), Ok(b"first".as_slice()), "{backend:?}");
                                assert_eq!(room.losses(), (0, 0, 1));
                            }
                            (true, _) => {
                                assert_eq!(member.receive(0).as_deref(), Ok(b"second".as_slice()));
                                (0..4).for_each(|_| good(member.send(b"third", LONG)));
                                assert_eq!(room.losses(), (0, 1, 0));
                            }
                            (false, _) => {
                                assert_eq!(member.receive(LONG).as_deref(), Ok(b"second".as_slice()), "{backend:?}");
                                assert_eq!(room.losses(), (0, 1, 0));
                            }
                        }
                        others.into_iter().for_each(kill);
                        signs.unmap();
                    }
                }
            }
        }
    });
}

/// The number of the lease of who has a cell.
fn owner_of(room: &Room, cell: usize) -> u64 {
    room.cell(cell).load(SeqCst) & 0xfff
}

fn opened_anew(address: &std::ffi::CStr) -> *mut shmkit_region_t {
    let mut region = std::ptr::null_mut();
    // SAFETY: the place is writable.
    good(unsafe { shmkit_region_open(address.as_ptr(), std::ptr::null(), &mut region) });
    region
}

/// Attaches with every lease that is left: one of them is that of a member before.
fn attached_with_every_lease(address: &std::ffi::CStr, length: usize) -> Vec<(*mut shmkit_region_t, Member)> {
    let attach = |_| {
        let region = opened_anew(address);
        let member = Member::attach(region, shmkit_region_data(region) as usize, length, std::ptr::null());
        (region, member.expect("it is a queue"))
    };
    (0..59).map(attach).collect()
}

/// The process is the same after an exec, and so may its lease be: what it had in hand before is a dead one's. The lease of
/// a System V region is a semaphore's, which outlives an exec.
#[test]
fn an_exec_is_a_death() {
    if let (Ok(address), Ok(length)) = (std::env::var("SHMKIT_TEST_EXEC"), std::env::var("SHMKIT_TEST_LENGTH")) {
        let address = std::ffi::CString::new(address).expect("no NUL inside");
        let members = attached_with_every_lease(&address, length.parse().expect("it is a number"));
        assert_eq!(members[30].1.receive(LONG).as_deref(), Ok(b"behind".as_slice()), "{}", message());
        return;
    }
    apart("an_exec_is_a_death", || {
        let room = &Room::new(Backend::Posix, &options(4, 64, BLOCK, AGAIN));
        let member = room.member();
        let signs = signs();
        let pid = start(|| {
            let region = opened_anew(&room.address);
            // The region that it has by the fork would take a lease of its own.
            let own = Member::attach(region, shmkit_region_data(region) as usize, room.length, std::ptr::null());
            own.expect("it is a queue").reserve(8, 0).expect("there is room");
            sign(signs, 0);
            until_sign(signs, 1);
            use std::os::unix::process::CommandExt;
            let mut again = std::process::Command::new(std::env::current_exe().expect("it knows its path"));
            again.args(["an_exec_is_a_death", "--exact", "--nocapture", "--test-threads=1"]);
            again.env("SHMKIT_TEST_EXEC", room.address.to_str().expect("it is ASCII"));
            again.env("SHMKIT_TEST_LENGTH", room.length.to_string());
            panic!("{}", again.exec());
        });
        until_sign(signs, 0);
        good(member.send(b"behind", 0));
        sign(signs, 1);
        reap_well(pid);
        assert_eq!(room.losses(), (0, 1, 0));
    });
}

/// The member of before a close of the region is none of a later opening, and gives nothing back.
#[test]
fn an_opening_anew_is_another_member() {
    apart("an_opening_anew_is_another_member", || {
        for backend in [Backend::Posix, Backend::Sysv] {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let region = opened_anew(&room.address);
            let stale = Member::attach(region, room.at, room.length, std::ptr::null()).expect("it is a queue");
            stale.reserve(8, 0).expect("there is room");
            good(room.member().send(b"behind", 0));
            good(shmkit_region_close(region));
            let members = attached_with_every_lease(&room.address, room.length);
            assert_eq!(members[30].1.receive(LONG).as_deref(), Ok(b"behind".as_slice()), "{backend:?}");
            let before = room.bytes();
            stale.detach();
            assert!(room.is_as(&before) && room.losses() == (0, 1, 0));
            for (region, member) in members {
                member.detach();
                good(shmkit_region_close(region));
            }
        }
    });
}

/// A forked child is no member: its end, and its detach, take nothing from its parent.
#[test]
fn a_forked_child_gives_nothing_back() {
    apart("a_forked_child_gives_nothing_back", || {
        for backend in BACKENDS {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let member = room.member();
            good(member.send(b"first", 0));
            let (at, _) = member.take(0).expect("it is there");
            let reserved = member.reserve(6, 0).expect("there is room");
            reap_well(start(|| {
                // SAFETY: it was attached, in the parent.
                good(unsafe { shmkit::capi::queue::shmkit_queue_detach(member.raw()) });
                // The parent lives: nothing of it is anybody's.
                refused(room.member().receive(600_000_000), Status::ErrTimeout);
            }));
            assert!(at > room.at);
            member.fill(reserved, b"second");
            good(member.commit(6));
            good(member.release());
            assert_eq!(member.receive(0).as_deref(), Ok(b"second".as_slice()));
            assert_eq!(room.losses(), (0, 0, 0));
        }
    });
}

#[test]
fn detach_with_something_in_hand() {
    apart("detach_with_something_in_hand", || {
        for delivery in [AGAIN, ONCE] {
            let room = &Room::new(Backend::Memfd, &options(4, 64, BLOCK, delivery));
            let (leaver, member) = (room.member(), room.member());
            good(member.send(b"first", 0));
            leaver.take(0).expect("it is there");
            leaver.reserve(10, 0).expect("there is room");
            good(member.send(b"second", 0));
            refused(member.receive(0), Status::ErrAgain);
            let reader = start(|| {
                let member = room.member();
                let mut found = vec![member.receive(FOREVER).expect("it comes")];
                if delivery == AGAIN {
                    found.push(member.receive(FOREVER).expect("it comes"));
                }
                found.sort();
                let expected: &[&[u8]] = if delivery == AGAIN { &[b"first", b"second"] } else { &[b"second"] };
                assert_eq!(found, expected);
            });
            until(|| is_asleep(reader));
            leaver.detach();
            reap_well(reader);
            assert_eq!(room.losses(), if delivery == AGAIN { (0, 0, 1) } else { (0, 1, 0) });
            refused(member.receive(BEATS), Status::ErrTimeout);
        }
    });
}
