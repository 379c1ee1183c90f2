//! Queues between threads and processes: order and completeness, deaths between any two calls, leases that others take, pid
//! namespaces, descriptors in an epoll loop, and a storm of SIGKILLs on producers and consumers. Each test runs alone and
//! ends by an alarm clock if something hangs. `SHMKIT_STORM_SECONDS` is the storm's length (2). Next:
//! `queue_kill_points.rs` for deaths at every instruction.

mod support;

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shmkit::capi::region::*;
use shmkit::error::Status;
use support::containers::*;
use support::message;
use support::queue_room::*;
use support::ring_room::{FOREVER, LONG, Memory, Random, is, letter, opened};
use support::sync_room::{STALLED, alarm, good, is_asleep, kill, reap, reap_well, start, until};

/// Two beats, and then some for a machine that others use.
const BEATS: u64 = 1_500_000_000;

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
                // Where all have one processor, a yield lasts as long as the turns of the others: one is enough there.
                let began = Instant::now();
                for _ in 0..round % 50 {
                    if began.elapsed() > Duration::from_micros(500) {
                        break;
                    }
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
                let pid = ready(room, |member| {
                    member.reserve(64, 0).expect("there is room");
                });
                good(member.send(b"behind", 0));
                let reader = start(|| {
                    assert_eq!(room.member().receive(FOREVER).as_deref(), Ok(b"behind".as_slice()));
                });
                until(|| is_asleep(reader));
                kill(pid);
                reap_well(reader);
                assert_eq!(room.losses(), (0, 2, 0));
                // And for one who only asks, again and again.
                let pid = ready(room, |member| {
                    member.reserve(64, 0).expect("there is room");
                });
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
                    let pid = ready(room, |member| {
                        member.reserve(64, 0).expect("there is room");
                    });
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

/// A consumer that comes when a producer sleeps already, takes, and dies: nobody else is there who could give its room back.
#[test]
fn a_consumer_that_comes_and_dies_while_a_producer_sleeps() {
    apart("a_consumer_that_comes_and_dies_while_a_producer_sleeps", || {
        for backend in BACKENDS {
            for cells in [1, 4] {
                let room = &Room::new(backend, &options(cells, 64, BLOCK, ONCE));
                let member = room.member();
                for _ in 0..cells {
                    good(member.send(b"first", 0));
                }
                let producer = start(|| good(room.member().send(b"second", LONG)));
                until(|| is_asleep(producer));
                kill(ready(room, |member| drop(member.take(0).expect("it is there"))));
                reap_well(producer);
                assert_eq!(room.losses(), (0, 1, 0));
                for _ in 1..cells {
                    assert_eq!(member.receive(0).as_deref(), Ok(b"first".as_slice()));
                }
                assert_eq!(member.receive(0).as_deref(), Ok(b"second".as_slice()));
                member.detach();
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
            let producer = ready(room, |member| {
                member.reserve(64, 0).expect("there is room");
            });
            good(member.close());
            refused(member.reserve(1, LONG).map(drop), Status::ErrClosed);
            refused(member.receive(0), Status::ErrAgain);
            kill(producer);
            kill(consumer);
            assert_eq!(member.receive(LONG).as_deref(), Ok(b"first".as_slice()));
            refused(member.receive(LONG), Status::ErrClosed);
            assert_eq!(room.losses(), (0, 1, 1));
            // A producer whose claim only the tail knows of.
            room.init(&options(4, 64, BLOCK, AGAIN));
            let member = room.member();
            let producer = ready(room, |member| {
                member.reserve(64, 0).expect("there is room");
            });
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
                        // Who took the message before the head, where nobody has taken one since; or has the marked cell.
                        let number = if holds { room.word(HEAD_AT) } else { room.cell(1) }.load(SeqCst) & 0x3f;
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

/// One that may not write to files gets the dead one's lease, as a child or by opening: its record says so all the same.
#[test]
fn a_lease_that_a_limited_one_takes() {
    apart("a_lease_that_a_limited_one_takes", || {
        for (backend, opens) in [(Backend::Posix, false), (Backend::Posix, true), (Backend::Memfd, false)] {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let member = room.member();
            let dead = ready(room, |member| {
                member.reserve(64, 0).expect("there is room");
            });
            let signs = signs();
            let limit = || support::set_limit(libc::RLIMIT_FSIZE, 0);
            let park = || {
                sign(signs, 2);
                std::thread::sleep(Duration::from_nanos(FOREVER));
            };
            let other = if opens {
                // The lease that it has by the fork is another one, while the other lives.
                let other = start(|| {
                    good(shmkit_region_close(room.region));
                    sign(signs, 0);
                    until_sign(signs, 1);
                    limit();
                    // With every lease that is left: one of them is the dead one's.
                    for _ in 0..59 {
                        opened_anew(&room.address);
                    }
                    park();
                });
                until_sign(signs, 0);
                kill(dead);
                sign(signs, 1);
                other
            } else {
                kill(dead);
                limit();
                let other = start(park);
                support::set_limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);
                other
            };
            until_sign(signs, 2);
            good(member.send(b"behind", 0));
            assert_eq!(
                member.receive(LONG).as_deref(),
                Ok(b"behind".as_slice()),
                "{backend:?}, {opens}: {}",
                message()
            );
            kill(other);
            member.detach();
        }
    });
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

// ------------------------------------------------------------------------------------------------------------------
// Pid namespaces
// ------------------------------------------------------------------------------------------------------------------

/// Runs `work` as process 2 of a pid namespace of its own; its pid here is given to nobody.
fn start_namespace(work: impl FnOnce()) -> i32 {
    start(|| {
        // SAFETY: take no pointers.
        unsafe {
            let own = if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
            let words = "this test needs root or unprivileged user namespaces";
            assert_eq!(libc::unshare(libc::CLONE_NEWPID | own), 0, "{words}: {}", std::io::Error::last_os_error());
        }
        reap_well(start(|| {
            let pid = start(|| {
                assert_eq!(std::process::id(), 2);
                work();
            });
            // The work ends by itself, or kills itself.
            let status = reap(pid);
            assert!(status == 0 || libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "{status:#x}");
        }));
    })
}

fn die() {
    // SAFETY: this process alone.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

/// The same pid in two namespaces: who lives is waited for, who died is passed by, also where another one of a third
/// namespace has its lease.
#[test]
fn two_pid_namespaces() {
    apart("two_pid_namespaces", || {
        for backend in BACKENDS {
            for delivery in [AGAIN, ONCE] {
                let room = &Room::new(backend, &options(4, 64, BLOCK, delivery));
                let member = room.member();
                let signs = signs();
                good(member.send(b"first", 0));
                let pids: Vec<_> = (0..2)
                    .map(|own| {
                        let pid = start_namespace(|| {
                            let member = room.member();
                            match own {
                                0 => drop(member.take(0).expect("it is there")),
                                _ => {
                                    member.reserve(64, 0).expect("there is room");
                                }
                            }
                            sign(signs, own);
                            until_sign(signs, 2 + own);
                            die();
                        });
                        until_sign(signs, own);
                        pid
                    })
                    .collect();
                good(member.send(b"behind", 0));
                refused(member.receive(600_000_000), Status::ErrTimeout);
                sign(signs, 2);
                reap_well(pids[0]);
                // The producer lives; the consumer is dead, and what it had is had by policy.
                match delivery {
                    AGAIN => assert_eq!(member.receive(LONG).as_deref(), Ok(b"first".as_slice()), "{backend:?}"),
                    _ => refused(member.receive(BEATS), Status::ErrTimeout),
                }
                sign(signs, 3);
                reap_well(pids[1]);
                // All leases are others' now, who are process 2 as well and have not attached.
                let others: Vec<_> = (0..57)
                    .map(|own| {
                        let pid = start_namespace(|| {
                            sign(signs, 10 + own);
                            until_sign(signs, 8);
                        });
                        until_sign(signs, 10 + own);
                        pid
                    })
                    .take(if delivery == AGAIN { 18 } else { 0 })
                    .collect();
                assert_eq!(member.receive(LONG).as_deref(), Ok(b"behind".as_slice()), "{backend:?}");
                sign(signs, 8);
                others.into_iter().for_each(reap_well);
                refused(member.receive(0), Status::ErrAgain);
                assert_eq!(room.losses(), if delivery == AGAIN { (0, 1, 1) } else { (0, 2, 0) });
                member.detach();
                signs.unmap();
            }
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Descriptors
// ------------------------------------------------------------------------------------------------------------------

fn event_fd() -> i32 {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    fd
}

/// An epoll set with this descriptor in it.
fn epoll(fd: i32) -> i32 {
    // SAFETY: the event is readable.
    unsafe {
        let set = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        assert_eq!(libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &mut event), 0);
        set
    }
}

/// Sleeps in the epoll set until the descriptor is written to, and empties it. False when it was not.
fn slept(set: i32, fd: i32, milliseconds: i32) -> bool {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    let mut count = 0u64;
    // SAFETY: the places are writable.
    unsafe {
        let woken = libc::epoll_wait(set, &mut event, 1, milliseconds) == 1;
        libc::read(fd, (&raw mut count).cast(), 8);
        woken
    }
}

/// Receives in an epoll loop without a time, until it is closed: who misses one wake-up sleeps for ever.
fn serve(member: &Member, fd: i32, mut each: impl FnMut(&[u8])) {
    let set = epoll(fd);
    loop {
        match member.receive(0) {
            Ok(bytes) => each(&bytes),
            Err(status) if is(status, Status::ErrClosed) => return,
            Err(status) => {
                assert!(is(status, Status::ErrAgain), "{status}: {}", message());
                if member.arm() == 0 {
                    assert!(slept(set, fd, -1));
                }
            }
        }
    }
}

#[test]
fn an_epoll_loop_misses_no_wake() {
    apart("an_epoll_loop_misses_no_wake", || {
        const EACH: u64 = 10_000;
        for cells in [1, 16] {
            let room = &Room::new(Backend::Memfd, &options(cells, 64, BLOCK, AGAIN));
            let fd = event_fd();
            let log = Log::new(2, EACH);
            let reader = start(|| serve(&room.member(), fd, |bytes| assert_eq!(log.came(opened(bytes)), 0)));
            let writers = [0, 1].map(|own| {
                start(|| {
                    let member = room.member();
                    good(member.notify_fd(fd));
                    let mut random = Random(own);
                    for number in 0..EACH {
                        if random.below(8) == 0 {
                            member.reserve(64, LONG).expect("it waits for room");
                            good(member.abort());
                        }
                        good(member.send(&letter(name(own, number), 64), LONG));
                        // Often enough, so that the other side sleeps.
                        if random.below(4) == 0 {
                            std::thread::yield_now();
                        }
                    }
                })
            });
            writers.into_iter().for_each(reap_well);
            let member = room.member();
            good(member.notify_fd(fd));
            good(member.close());
            reap_well(reader);
            log.all_came_once(2);
        }
    });
}

/// Who sleeps on a descriptor before a claim is woken when the claim is given up, and finds the message behind it; of a
/// death it learns when it arms again.
#[test]
fn a_descriptor_and_what_is_given_up() {
    apart("a_descriptor_and_what_is_given_up", || {
        for backend in BACKENDS {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let (reader, first, second) = (room.member(), room.member(), room.member());
            let fd = event_fd();
            let set = epoll(fd);
            good(first.notify_fd(fd));
            good(second.notify_fd(fd));
            type GiveUp = fn(Member, &Room) -> Option<Member>;
            let ways: [GiveUp; 2] = [
                |member, _| {
                    good(member.abort());
                    Some(member)
                },
                |member, _| {
                    member.detach();
                    None
                },
            ];
            let mut first = Some(first);
            for way in ways {
                let own = first.take().expect("it is there");
                good(reader.arm());
                own.reserve(8, 0).expect("there is room");
                assert!(!slept(set, fd, 0), "a claim wakes nobody");
                good(second.send(b"behind", 0));
                assert!(slept(set, fd, 1000), "a message wakes who has armed");
                refused(reader.receive(0), Status::ErrAgain);
                good(reader.arm());
                first = way(own, room);
                assert!(slept(set, fd, 1000), "what is given up wakes who has armed");
                assert_eq!(reader.receive(0).as_deref(), Ok(b"behind".as_slice()));
                assert!(!is(reader.arm(), Status::ErrAgain));
            }
            // A dead producer at the head, and a dead consumer's message: arming again says that there is something to do.
            let producer = ready(room, |member| {
                member.reserve(8, 0).expect("there is room");
            });
            good(second.send(b"behind", 0));
            slept(set, fd, 0);
            refused(reader.receive(0), Status::ErrAgain);
            kill(producer);
            let served = |expected: &[u8]| {
                let began = Instant::now();
                loop {
                    assert!(began.elapsed() < Duration::from_nanos(LONG), "{backend:?}");
                    match reader.receive(0) {
                        Ok(bytes) => return assert_eq!(bytes, expected),
                        Err(status) => assert!(is(status, Status::ErrAgain), "{}", message()),
                    }
                    if reader.arm() == 0 {
                        slept(set, fd, 250);
                    }
                }
            };
            served(b"behind");
            good(second.send(b"first", 0));
            let consumer = ready(room, |member| drop(member.take(0).expect("it is there")));
            kill(consumer);
            served(b"first");
            assert_eq!(room.losses(), (0, 1, 1));
        }
    });
}

/// A consumer names no descriptor, and what it gives up at most once is room: others that have armed stay so.
#[test]
fn room_given_back_silences_nobody() {
    apart("room_given_back_silences_nobody", || {
        for backend in BACKENDS {
            let room = &Room::new(backend, &options(4, 64, BLOCK, ONCE));
            let (reader, producer) = (room.member(), room.member());
            let fd = event_fd();
            let set = epoll(fd);
            good(producer.notify_fd(fd));
            let detaches = || {
                let other = room.member();
                other.take(0).expect("it is there");
                good(reader.arm());
                other.detach();
            };
            let dies = || {
                let other = ready(room, |member| drop(member.take(0).expect("it is there")));
                good(reader.arm());
                kill(other);
                // It looks for the dead when its time is over.
                let third = room.member();
                refused(third.receive(1), Status::ErrTimeout);
                third.detach();
            };
            for (lost, gives_up) in [(1, &detaches as &dyn Fn()), (2, &dies)] {
                good(producer.send(b"first", 0));
                assert!(!slept(set, fd, 0), "nobody has armed");
                gives_up();
                assert_eq!(room.losses(), (0, lost, 0));
                good(producer.send(b"second", 0));
                assert!(slept(set, fd, 1000), "{backend:?}: who has armed is told of a message");
                assert_eq!(reader.receive(0).as_deref(), Ok(b"second".as_slice()));
            }
        }
    });
}

/// Nor does a consumer that detaches with a message which comes again.
#[test]
fn a_message_given_back_silences_nobody() {
    apart("a_message_given_back_silences_nobody", || {
        for backend in BACKENDS {
            let room = &Room::new(backend, &options(4, 64, BLOCK, AGAIN));
            let (reader, producer, other) = (room.member(), room.member(), room.member());
            let fd = event_fd();
            let set = epoll(fd);
            good(producer.notify_fd(fd));
            good(producer.send(b"first", 0));
            other.take(0).expect("it is there");
            good(reader.arm());
            other.detach();
            good(producer.send(b"second", 0));
            assert!(slept(set, fd, 1000), "{backend:?}: who has armed is told of a message");
            assert_eq!(reader.receive(0).as_deref(), Ok(b"second".as_slice()));
            assert_eq!(reader.receive(LONG).as_deref(), Ok(b"first".as_slice()));
            assert_eq!(room.losses(), (0, 0, 1));
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The storm
// ------------------------------------------------------------------------------------------------------------------

/// Producers, and as many consumers, at a time; and bytes to note what became of each letter.
const SLOTS: usize = 4;
const NOTED: usize = 64 << 20;

/// Producers and consumers are killed again and again, at any moment, and others come in their place. A producer notes each
/// letter before it sends it, and again when that is done; a consumer counts each that it takes.
fn storm(backend: Backend, delivery: i32, seconds: f64) {
    let room = &Room::new(backend, &options(8, 256, BLOCK, delivery));
    let notes = Memory::new(NOTED);
    // Words: how many letters each slot has begun, and done; then one for each letter: how often it came, and above that whether
    // it was committed for certain.
    let (begun, done) = (|slot: usize| notes.word(8 * slot), |slot: usize| notes.word(64 + 8 * slot));
    let most = ((NOTED - 4096) / 8 / SLOTS) as u64;
    let taken = |slot: usize, number: u64| notes.word(4096 + 8 * (slot + SLOTS * number as usize));
    let producer = |slot: usize| {
        let member = room.member();
        let mut random = Random(begun(slot).load(SeqCst) + slot as u64);
        loop {
            let number = begun(slot).load(SeqCst);
            if number + 1 >= most {
                std::thread::sleep(Duration::from_secs(1));
                continue;
            }
            begun(slot).store(number + 1, SeqCst);
            let letter = letter(name(slot as u64, number), 256);
            if random.below(2) == 0 {
                good(member.send(&letter, FOREVER));
            } else {
                let at = member.reserve(256, FOREVER).expect("it waits for room");
                member.fill(at, &letter);
                good(member.commit(letter.len()));
            }
            done(slot).fetch_add(1, SeqCst);
            // This letter was committed for certain.
            taken(slot, number).fetch_or(1 << 32, SeqCst);
        }
    };
    let count = |bytes: &[u8], amount: u64| {
        let name = opened(bytes);
        taken((name >> 32) as usize, name & 0xffff_ffff).fetch_add(amount, SeqCst);
    };
    let consumer = |seed: u64| {
        let member = room.member();
        let mut random = Random(seed);
        loop {
            // At least once: who is killed before it has released gives it to another one.
            if delivery == ONCE && random.below(2) == 0 {
                count(&member.receive(FOREVER).unwrap_or_else(|status| panic!("{status}: {}", message())), 1);
            } else {
                let (_, bytes) = member.take(FOREVER).unwrap_or_else(|status| panic!("{status}: {}", message()));
                count(&bytes, 1);
                good(member.release());
            }
        }
    };
    let begin = |slot: usize, seed: u64| match slot < SLOTS {
        true => start(|| producer(slot)),
        false => start(|| consumer(seed)),
    };
    let mut random = Random(seconds.to_bits() ^ delivery as u64);
    let mut pids: Vec<i32> = (0..2 * SLOTS).map(|slot| begin(slot, slot as u64)).collect();
    let began = Instant::now();
    let (mut killed, mut consumers_killed) = (0u64, 0u64);
    while began.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(Duration::from_micros(random.next() % 8000));
        let slot = random.below(2 * SLOTS);
        kill(pids[slot]);
        killed += 1;
        consumers_killed += u64::from(slot >= SLOTS);
        pids[slot] = begin(slot, random.next());
    }
    // Where others have the processors, many were killed before they had done anything. More is done than the deaths cost.
    let sent = || (0..SLOTS).map(|slot| done(slot).load(SeqCst)).sum::<u64>();
    alarm(STALLED);
    until(|| sent() > 2 * killed + 100);
    alarm(0);
    pids.into_iter().for_each(kill);
    killed += 2 * SLOTS as u64;
    consumers_killed += SLOTS as u64;
    // What is left: the dead's as well.
    let member = room.member();
    good(member.close());
    loop {
        match member.receive(LONG) {
            Ok(bytes) => count(&bytes, 1),
            Err(status) => {
                assert!(is(status, Status::ErrClosed), "{status}: {}", message());
                break;
            }
        }
    }
    let (_, lost, again) = room.losses();
    let (mut through, mut doubled, mut missing, mut uncertain) = (0, 0, 0, 0);
    for slot in 0..SLOTS {
        for number in 0..begun(slot).load(SeqCst) {
            let word = taken(slot, number).load(SeqCst);
            let (times, certain) = (word & 0xffff_ffff, word >> 32 != 0);
            through += u64::from(times > 0);
            doubled += times.saturating_sub(1);
            missing += u64::from(times == 0 && certain);
            uncertain += u64::from(times == 0 && !certain);
        }
    }
    println!(
        "storm, {backend:?}, {}: {killed} killed ({consumers_killed} consumers), {through} letters came, {doubled} came twice, \
         {missing} committed ones did not, {uncertain} were not committed; lost {lost}, again {again}",
        if delivery == AGAIN { "at least once" } else { "at most once" }
    );
    assert!(through > killed && killed > 10);
    // At most once each death of a consumer costs one, which it had in hand, or had received and not counted yet.
    assert!(missing <= if delivery == AGAIN { 0 } else { consumers_killed }, "committed letters did not come");
    // Not more than the deaths of consumers explain.
    assert!(again <= consumers_killed && (delivery == AGAIN || again == 0));
    assert!(doubled <= again, "more came twice than were given again");
    assert!(lost <= killed);
}

#[test]
fn a_storm_of_deaths() {
    apart("a_storm_of_deaths", || {
        alarm(0);
        let seconds = std::env::var("SHMKIT_STORM_SECONDS").ok();
        let seconds: f64 = seconds.map_or(2.0, |seconds| seconds.parse().expect("a number of seconds"));
        for backend in BACKENDS {
            for delivery in [AGAIN, ONCE] {
                storm(backend, delivery, seconds / 6.0);
            }
        }
    });
}
