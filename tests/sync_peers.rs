//! What processes and threads do to each other with locks and their kin: waiters, readers and holders that are killed,
//! stopped, replaced by other programs or forked; equal thread ids in two pid namespaces; robust mutexes of the C library
//! on the same list; and a storm in which eight processes use everything and one of them dies all the time.
//! Each test runs alone and ends by an alarm clock if something hangs. `SHMKIT_STORM_SECONDS` is the storm's length. The
//! memory is in `support/sync_room.rs`.

mod support;

use std::ffi::{CString, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use shmkit::capi::options::{RegionLayout, RegionOptions};
use shmkit::capi::region::*;
use shmkit::capi::sync::*;
use shmkit::error::Status;
use support::message;
use support::sync_room::*;

const MS: u64 = 1_000_000;
/// Longer than a sleeper sleeps before it looks for the dead, twice over.
const LONG: u64 = 600 * MS;
const LIMIT: i32 = Status::ErrLimit as i32;

fn room() -> Room {
    let room = Room::new();
    room.reset(2, 2);
    room
}

/// Runs a test in a process of its own, with an alarm clock.
fn apart(test: &str, body: impl FnOnce()) {
    support::alone(test, &[], || {
        alarm(STALLED);
        body();
        alarm(0);
    });
}

fn sign(room: Room, which: usize) {
    room.facts().signs[which].store(1, SeqCst);
}

fn until_sign(room: Room, which: usize) {
    until(|| room.facts().signs[which].load(SeqCst) != 0);
}

/// Waits for ever; somebody kills it.
fn stay() -> ! {
    loop {
        // SAFETY: takes no pointers.
        unsafe { libc::pause() };
    }
}

fn die() -> ! {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    stay();
}

/// A process that does `work`, says so with a sign, and stays until it is killed.
fn start_holder(room: Room, which: usize, work: impl FnOnce()) -> i32 {
    let pid = start(|| {
        work();
        sign(room, which);
        stay();
    });
    until_sign(room, which);
    pid
}

// ------------------------------------------------------------------------------------------------------------------
// Deaths
// ------------------------------------------------------------------------------------------------------------------

fn wait_for_flag(room: Room) {
    room.lock();
    while room.facts().flag.load(SeqCst) == 0 {
        room.after(shmkit_cond_wait(room.cond(), room.mutex()));
    }
    room.unlock();
}

/// Three wait; one is killed, whichever; two go on by one signal each, or by one broadcast, and so do two more that come later.
#[test]
fn a_condition_variable_whose_waiter_was_killed() {
    apart("a_condition_variable_whose_waiter_was_killed", || {
        for (broadcast, victim) in (0..6).map(|turn| (turn % 2 == 1, turn / 2)) {
            let room = room();
            let waiters: Vec<i32> = (0..3)
                .map(|_| {
                    let pid = start(|| wait_for_flag(room));
                    until(|| is_asleep(pid));
                    pid
                })
                .collect();
            kill(waiters[victim]);
            for round in 0..2 {
                let rest: Vec<i32> = match round {
                    0 => (0..3).filter(|index| *index != victim).map(|index| waiters[index]).collect(),
                    _ => (0..2).map(|_| start(|| wait_for_flag(room))).collect(),
                };
                rest.iter().for_each(|pid| until(|| is_asleep(*pid)));
                assert!(!room.lock(), "a waiter does not hold the mutex");
                room.facts().flag.store(1, SeqCst);
                for _ in 0..if broadcast { 1 } else { 2 } {
                    good(if broadcast { shmkit_cond_broadcast(room.cond()) } else { shmkit_cond_signal(room.cond()) });
                }
                room.unlock();
                rest.into_iter().for_each(reap_well);
                room.facts().flag.store(0, SeqCst);
            }
        }
    });
}

/// The holder of the mutex is killed while another one comes back from its wait: it is told.
#[test]
fn a_wait_tells_of_the_death_of_the_holder() {
    apart("a_wait_tells_of_the_death_of_the_holder", || {
        let room = room();
        let waiter = start(|| {
            assert!(!room.lock());
            let mut died = false;
            while room.facts().flag.load(SeqCst) == 0 {
                died |= room.after(shmkit_cond_wait(room.cond(), room.mutex()));
            }
            assert!(died, "nobody told it");
            room.unlock();
        });
        until(|| is_asleep(waiter));
        let holder = start_holder(room, 0, || {
            room.lock();
            room.facts().a.fetch_add(1, SeqCst);
            room.facts().flag.store(1, SeqCst);
            good(shmkit_cond_signal(room.cond()));
        });
        kill(holder);
        reap_well(waiter);
        assert!(!room.lock());
        room.unlock();
    });
}

/// Readers are killed, one of many and all of them; a writer that waits goes on, and nobody is told of anything.
#[test]
fn a_readers_writer_lock_whose_reader_was_killed() {
    apart("a_readers_writer_lock_whose_reader_was_killed", || {
        let room = room();
        for readers in [1, 2, 31] {
            let pids: Vec<i32> = (0..readers)
                .map(|_| {
                    room.facts().signs[0].store(0, SeqCst);
                    start_holder(room, 0, || good(shmkit_rwlock_read_lock(room.rwlock())))
                })
                .collect();
            assert_eq!(shmkit_rwlock_try_write_lock(room.rwlock()), BUSY);
            assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), 30 * MS), TIMEOUT);
            let writer = start(|| {
                assert!(!room.write_lock(), "no writer died");
                room.write();
                room.rwlock_unlock();
            });
            until(|| is_asleep(writer));
            pids.into_iter().for_each(kill);
            reap_well(writer);
            good(shmkit_rwlock_read_lock(room.rwlock()));
            room.rwlock_unlock();
        }
    });
}

/// A stream of processes that lock without a pause, and one that needs its turns meanwhile: nobody is passed over again and
/// again. Counted in turns of the others, so that a slow machine is as good as any.
#[test]
fn writers_and_readers_get_on_against_each_other() {
    apart("writers_and_readers_get_on_against_each_other", || {
        const TURNS: u64 = 20;
        // How many, whether they write; and how many of their turns one turn of the other one may cost, many times what it
        // should.
        for (stream, writes, most) in [(1, true, 50), (2, true, 100), (3, false, 300), (40, false, 2000)] {
            let room = room();
            // A writer that works while it holds the lock is back before one that sleeps has woken up.
            let hold = || {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_millis(1) {}
            };
            let rest = || std::thread::sleep(Duration::from_millis(1));
            let pids: Vec<i32> = (0..stream)
                .map(|_| {
                    start(|| {
                        while room.facts().signs[0].load(SeqCst) == 0 {
                            good(if writes {
                                shmkit_rwlock_write_lock(room.rwlock())
                            } else {
                                shmkit_rwlock_read_lock(room.rwlock())
                            });
                            room.facts().count.fetch_add(1, SeqCst);
                            if writes {
                                hold()
                            } else {
                                rest()
                            }
                            room.rwlock_unlock();
                        }
                    })
                })
                .collect();
            until(|| room.facts().count.load(SeqCst) > 3 * stream);
            let (begin, end) = (room.facts().count.load(SeqCst), most * TURNS);
            let cost = || room.facts().count.load(SeqCst) - begin;
            let one = start(|| {
                for turn in 0..TURNS {
                    good(if writes {
                        shmkit_rwlock_read_lock(room.rwlock())
                    } else {
                        shmkit_rwlock_write_lock(room.rwlock())
                    });
                    room.rwlock_unlock();
                    room.facts().flag.store(1 + turn as u32, SeqCst);
                    // So that each turn is had against the others.
                    rest();
                }
            });
            until(|| cost() > end || u64::from(room.facts().flag.load(SeqCst)) == TURNS);
            let (cost, turns) = (cost(), room.facts().flag.load(SeqCst));
            sign(room, 0);
            pids.into_iter().for_each(reap_well);
            reap_well(one);
            let (of, to) = if writes { ("writers", "a reader") } else { ("readers", "a writer") };
            println!("{turns} turns of {to} against {stream} {of} cost {cost} of theirs");
            assert!(cost <= end, "{turns} turns of {to} against {stream} {of} cost {cost} of theirs");
        }
    });
}

/// The 32nd reader has the mutex instead of a slot: its death is no writer's.
#[test]
fn a_reader_without_a_slot_was_killed() {
    apart("a_reader_without_a_slot_was_killed", || {
        let room = room();
        let mut pids: Vec<i32> = (0..32)
            .map(|_| {
                room.facts().signs[0].store(0, SeqCst);
                start_holder(room, 0, || good(shmkit_rwlock_read_lock(room.rwlock())))
            })
            .collect();
        kill(pids.pop().expect("there are 32"));
        assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), 30 * MS), TIMEOUT);
        kill(pids.pop().expect("there are 31"));
        good(shmkit_rwlock_read_lock(room.rwlock()));
        room.rwlock_unlock();
        pids.into_iter().for_each(kill);
        assert!(!room.write_lock());
        room.rwlock_unlock();
    });
}

/// Timed locks of what a dead one holds, with the death before and during the wait: they are held, and were not lost.
#[test]
fn a_timed_lock_taken_over_from_the_dead() {
    apart("a_timed_lock_taken_over_from_the_dead", || {
        for during in [false, true] {
            let room = room();
            let holder = start_holder(room, 0, || {
                room.lock();
                room.write_lock();
                room.facts().a.fetch_add(1, SeqCst);
                room.facts().writes.store(1, SeqCst);
            });
            if !during {
                kill(holder);
            }
            let take = |which: fn(Room)| {
                let pid = start(|| which(room));
                if during {
                    until(|| is_asleep(pid));
                }
                pid
            };
            let mutex = take(|room| {
                assert_eq!(shmkit_mutex_timedlock(room.mutex(), u64::MAX / 2), OWNER_DIED);
                assert_eq!(shmkit_mutex_lock(room.mutex()), Status::ErrDeadlock as i32, "it is held");
                sign(room, 1);
                until_sign(room, 3);
                good(shmkit_mutex_consistent(room.mutex()));
                room.unlock();
            });
            let rwlock = take(|room| {
                assert_eq!(shmkit_rwlock_timed_read_lock(room.rwlock(), u64::MAX / 2), OWNER_DIED);
                sign(room, 2);
                until_sign(room, 3);
                good(shmkit_rwlock_consistent(room.rwlock()));
                room.rwlock_unlock();
            });
            if during {
                kill(holder);
            }
            until_sign(room, 1);
            until_sign(room, 2);
            assert_eq!(shmkit_mutex_timedlock(room.mutex(), MS), TIMEOUT, "the guard was lost");
            assert_eq!(shmkit_rwlock_timed_read_lock(room.rwlock(), MS), TIMEOUT, "the guard was lost");
            assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), MS), TIMEOUT, "the guard was lost");
            room.repair();
            sign(room, 3);
            reap_well(mutex);
            reap_well(rwlock);
            assert!(!room.lock() && !room.write_lock());
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Ends of threads and programs
// ------------------------------------------------------------------------------------------------------------------

fn hold_everything(room: Room) {
    assert!(!room.lock());
    assert!(!room.write_lock());
    good(shmkit_robust_sem_wait(room.robust()));
    good(shmkit_robust_sem_wait(room.robust()));
    room.facts().a.fetch_add(1, SeqCst);
    room.facts().writes.store(1, SeqCst);
}

/// Whoever held everything is dead: that is told, and the permits are back.
#[track_caller]
fn everything_is_inherited(room: Room) {
    assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
    assert_eq!(shmkit_rwlock_write_lock(room.rwlock()), OWNER_DIED);
    room.repair();
    good(shmkit_mutex_consistent(room.mutex()));
    good(shmkit_rwlock_consistent(room.rwlock()));
    room.unlock();
    room.rwlock_unlock();
    good(shmkit_robust_sem_wait(room.robust()));
    good(shmkit_robust_sem_wait(room.robust()));
    good(shmkit_robust_sem_post(room.robust()));
    good(shmkit_robust_sem_post(room.robust()));
}

/// Its holder was of this namespace: the kernel itself has marked all that `hold_everything` took. Before anybody locks:
/// a lock also looks for the dead that no kernel told of.
#[track_caller]
fn everything_is_marked(room: Room) {
    // The first word is the lock; a permit is a lock and half of a namespace, in rows of four at the head of 64 bytes.
    let words = [room.mutex().addr(), room.rwlock().addr(), room.robust().addr() + 64, room.robust().addr() + 72];
    for (index, at) in words.into_iter().enumerate() {
        assert_eq!(word_of(at as *mut shmkit_mutex_t), DIED, "{index}: the kernel did not mark it");
    }
}

/// Somebody holds everything and lives, though nobody would think so.
#[track_caller]
fn everything_is_held(room: Room) {
    assert_eq!(shmkit_mutex_trylock(room.mutex()), BUSY);
    assert_eq!(shmkit_mutex_timedlock(room.mutex(), LONG), TIMEOUT);
    assert_eq!(shmkit_mutex_unlock(room.mutex()), NOT_OWNER);
    assert_eq!(shmkit_rwlock_try_read_lock(room.rwlock()), BUSY);
    assert_eq!(shmkit_rwlock_timed_read_lock(room.rwlock(), LONG), TIMEOUT);
    assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), LONG), TIMEOUT);
    assert_eq!(shmkit_rwlock_unlock(room.rwlock()), NOT_OWNER);
    assert_eq!(shmkit_robust_sem_trywait(room.robust()), BUSY);
    assert_eq!(shmkit_robust_sem_timedwait(room.robust(), LONG), TIMEOUT);
    assert_eq!(shmkit_robust_sem_post(room.robust()), NOT_OWNER);
}

#[track_caller]
fn let_everything_go(room: Room) {
    room.repair();
    room.unlock();
    room.rwlock_unlock();
    good(shmkit_robust_sem_post(room.robust()));
    good(shmkit_robust_sem_post(room.robust()));
}

#[test]
fn a_thread_ends_and_its_process_lives() {
    apart("a_thread_ends_and_its_process_lives", || {
        let room = room();
        for _ in 0..3 {
            let address = room.address();
            std::thread::spawn(move || hold_everything(Room::at(address))).join().expect("it ends well");
            everything_is_marked(room);
            everything_is_inherited(room);
            // And where somebody of the same process waits already.
            let waiter = std::thread::spawn(move || {
                let room = Room::at(address);
                until_sign(room, 0);
                assert!(room.lock(), "its death was not told of");
                room.unlock();
            });
            std::thread::spawn(move || {
                let room = Room::at(address);
                room.lock();
                sign(room, 0);
                std::thread::sleep(Duration::from_millis(20));
            })
            .join()
            .expect("it ends well");
            waiter.join().expect("it ends well");
            room.facts().signs[0].store(0, SeqCst);
        }
    });
}

/// The program that a holder becomes holds nothing; also when it was another thread than the first that held and
/// called execve(2), whose thread id is gone then.
#[test]
fn exec_while_holding() {
    apart("exec_while_holding", || {
        let sleep = || {
            let arguments = [c"sleep".as_ptr(), c"1000".as_ptr(), null()];
            // SAFETY: the strings are terminated, and so is the list.
            unsafe { libc::execv(c"/bin/sleep".as_ptr(), arguments.as_ptr()) };
            panic!("{}", std::io::Error::last_os_error());
        };
        for by_first_thread in [true, false] {
            let room = room();
            let holder = start(|| {
                // An alarm clock goes on after execve(2), and the handler does not.
                alarm(0);
                if by_first_thread {
                    hold_everything(room);
                    sign(room, 0);
                    sleep();
                }
                let address = room.address();
                let _ = std::thread::spawn(move || {
                    hold_everything(Room::at(address));
                    sign(Room::at(address), 0);
                    sleep();
                })
                .join();
            });
            until_sign(room, 0);
            everything_is_inherited(room);
            assert_ne!(state_of(holder), 'Z');
            kill(holder);
        }
    });
}

#[test]
fn fork_while_holding() {
    apart("fork_while_holding", || {
        let room = room();
        for _ in 0..2 {
            hold_everything(room);
            // The child does not hold it, and takes nothing with it when it ends, in whichever way.
            reap_well(start(|| {
                everything_is_held(room);
                good(shmkit_mutex_lock(room.other()));
                good(shmkit_mutex_unlock(room.other()));
            }));
            kill(start_holder(room, 0, || assert_eq!(shmkit_mutex_trylock(room.mutex()), BUSY)));
            room.facts().signs[0].store(0, SeqCst);
            reap_well(start(|| everything_is_held(room)));
            let_everything_go(room);
            reap_well(start(|| {
                hold_everything(room);
                let_everything_go(room);
            }));
        }
        // A child that holds something itself when its parent dies.
        let parent = start(|| {
            hold_everything(room);
            // SAFETY: the child does only what follows, and leaves by _exit.
            unsafe {
                if libc::fork() == 0 {
                    good(shmkit_mutex_lock(room.other()));
                    sign(room, 1);
                    until_sign(room, 2);
                    good(shmkit_mutex_unlock(room.other()));
                    sign(room, 3);
                    libc::_exit(0);
                }
            }
            sign(room, 0);
            stay();
        });
        until_sign(room, 0);
        until_sign(room, 1);
        kill(parent);
        everything_is_inherited(room);
        assert_eq!(shmkit_mutex_timedlock(room.other(), LONG), TIMEOUT, "the child holds it");
        sign(room, 2);
        until_sign(room, 3);
        good(shmkit_mutex_lock(room.other()));
    });
}

#[test]
fn a_holder_that_is_stopped() {
    apart("a_holder_that_is_stopped", || {
        let room = room();
        let holder = start(|| {
            hold_everything(room);
            sign(room, 0);
            until_sign(room, 1);
            let_everything_go(room);
        });
        until_sign(room, 0);
        // SAFETY: take no pointers; the process is not reaped.
        unsafe { libc::kill(holder, libc::SIGSTOP) };
        until(|| state_of(holder) == 'T');
        everything_is_held(room);
        // SAFETY: as above.
        unsafe { libc::kill(holder, libc::SIGCONT) };
        sign(room, 1);
        assert!(!room.lock() && !room.write_lock(), "nobody died");
        room.unlock();
        room.rwlock_unlock();
        reap_well(holder);
        // Killed while it is stopped.
        room.facts().signs[0].store(0, SeqCst);
        let holder = start_holder(room, 0, || hold_everything(room));
        // SAFETY: as above.
        unsafe { libc::kill(holder, libc::SIGSTOP) };
        kill(holder);
        everything_is_inherited(room);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The list of robust futexes
// ------------------------------------------------------------------------------------------------------------------

/// All orders of four things.
fn orders() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for code in 0..256 {
        let order = [code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6];
        if (0..4).all(|thing| order.contains(&thing)) {
            all.push(order);
        }
    }
    assert_eq!(all.len(), 24);
    all
}

/// Two robust mutexes of the C library and two of ours are locked in every order, unlocked in every order as far as one,
/// two, three of them or all, and then their holder dies.
#[test]
fn robust_mutexes_of_the_c_library_in_every_order() {
    apart("robust_mutexes_of_the_c_library_in_every_order", || {
        let theirs = Room::new().address() as *mut libc::pthread_mutex_t;
        let (orders, mut deaths) = (orders(), 0);
        for (turn, (locks, unlocks)) in
            orders.iter().flat_map(|locks| orders.iter().map(move |unlocks| (locks, unlocks))).enumerate()
        {
            let room = Room::at(fresh());
            room.reset(1, 1);
            let mine = [room.mutex(), room.other()];
            // SAFETY: in shared memory that stays, initialised before use.
            unsafe {
                let mut attributes = MaybeUninit::zeroed();
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
                libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
                (0..2).for_each(|index| {
                    theirs.add(index).write_bytes(0, 1);
                    libc::pthread_mutex_init(theirs.add(index), attributes.as_ptr());
                });
            }
            let given = turn % 5;
            let pid = start(|| {
                for thing in locks {
                    match thing {
                        // SAFETY: they are initialised.
                        0 | 1 => assert_eq!(unsafe { libc::pthread_mutex_lock(theirs.add(*thing)) }, 0),
                        _ => good(shmkit_mutex_lock(mine[thing - 2])),
                    }
                }
                for thing in &unlocks[..given] {
                    match thing {
                        // SAFETY: they are initialised.
                        0 | 1 => assert_eq!(unsafe { libc::pthread_mutex_unlock(theirs.add(*thing)) }, 0),
                        _ => good(shmkit_mutex_unlock(mine[thing - 2])),
                    }
                }
            });
            reap_well(pid);
            for (turn, thing) in unlocks.iter().enumerate() {
                let held = turn >= given;
                deaths += usize::from(held);
                let words = format!("locked in order {locks:?}, unlocked {:?}", &unlocks[..given]);
                match thing {
                    0 | 1 => {
                        // SAFETY: they are initialised.
                        let status = unsafe { libc::pthread_mutex_trylock(theirs.add(*thing)) };
                        assert_eq!(status, if held { libc::EOWNERDEAD } else { 0 }, "{words}");
                        // SAFETY: as above; this thread has it.
                        unsafe { libc::pthread_mutex_unlock(theirs.add(*thing)) };
                    }
                    _ => {
                        assert_eq!(word_of(mine[thing - 2]), if held { DIED } else { 0 }, "{words}");
                        let status = shmkit_mutex_trylock(mine[thing - 2]);
                        assert_eq!(status, if held { OWNER_DIED } else { OK }, "{words}");
                        good(shmkit_mutex_unlock(mine[thing - 2]));
                    }
                }
            }
        }
        println!("{deaths} deaths of holders told of");
    });
}

type Call = extern "C" fn(*mut shmkit_mutex_t) -> i32;

/// Another copy of the library in this process, as a plugin brings one: its functions to lock and to unlock.
fn another_copy(which: usize) -> [Call; 2] {
    let path = format!("{}/copy-{}-{which}.so", env!("CARGO_TARGET_TMPDIR"), support::unique());
    std::fs::copy(support::library(), &path).expect("there is room");
    let name = CString::new(path.as_str()).expect("no NUL inside");
    // SAFETY: the strings are terminated, the library stays loaded, and the functions are of this type.
    unsafe {
        let library = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        std::fs::remove_file(&path).expect("it is this test's");
        assert!(!library.is_null(), "{:?}", std::ffi::CStr::from_ptr(libc::dlerror()));
        [c"shmkit_mutex_lock", c"shmkit_mutex_unlock"].map(|name| {
            let function = libc::dlsym(library, name.as_ptr());
            assert!(!function.is_null() && function != shmkit_mutex_lock as Call as *mut c_void, "it is no copy");
            std::mem::transmute::<*mut c_void, Call>(function)
        })
    }
}

/// A robust mutex of the C library, one of this program's copy of the library, and one of each of two plugins' copies: a
/// thread locks them in every order, so that its lists come about in every order, unlocks them in every order as far as
/// one, two, three of them or all, lets each copy lock and unlock another one, and ends.
#[test]
fn copies_of_the_library_in_one_process() {
    apart("copies_of_the_library_in_one_process", || {
        let own: [Call; 2] = [shmkit_mutex_lock, shmkit_mutex_unlock];
        let copies = [own, another_copy(1), another_copy(2)];
        let theirs = map(4096);
        let at = map(4096);
        let (orders, mut deaths) = (orders(), 0);
        for (turn, (locks, unlocks)) in
            orders.iter().flat_map(|locks| orders.iter().map(move |unlocks| (*locks, *unlocks))).enumerate()
        {
            let their = theirs as *mut libc::pthread_mutex_t;
            let mine = move |index: usize| (at + 64 * index) as *mut shmkit_mutex_t;
            (0..6).for_each(|index| good(shmkit_mutex_init(mine(index))));
            // SAFETY: in shared memory that stays, initialised before use.
            unsafe {
                let mut attributes = MaybeUninit::zeroed();
                libc::pthread_mutexattr_init(attributes.as_mut_ptr());
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
                their.write_bytes(0, 1);
                libc::pthread_mutex_init(their, attributes.as_ptr());
            }
            let given = turn % 5;
            std::thread::spawn(move || {
                let their = theirs as *mut libc::pthread_mutex_t;
                for thing in locks {
                    match thing {
                        // SAFETY: it is initialised.
                        3 => assert_eq!(unsafe { libc::pthread_mutex_lock(their) }, 0),
                        _ => assert_eq!(copies[thing][0](mine(thing)), OK),
                    }
                }
                for thing in &unlocks[..given] {
                    match thing {
                        // SAFETY: it is initialised.
                        3 => assert_eq!(unsafe { libc::pthread_mutex_unlock(their) }, 0),
                        _ => assert_eq!(copies[*thing][1](mine(*thing)), OK),
                    }
                }
                for thing in unlocks.into_iter().filter(|thing| *thing != 3) {
                    assert_eq!(copies[thing][0](mine(3 + thing)), OK);
                    assert_eq!(copies[thing][1](mine(3 + thing)), OK);
                }
            })
            .join()
            .expect("it ends well");
            for (turn, thing) in unlocks.into_iter().enumerate() {
                let held = turn >= given;
                deaths += usize::from(held);
                let words = format!("locked in order {locks:?}, unlocked {:?}", &unlocks[..given]);
                match thing {
                    // SAFETY: it is initialised.
                    3 => unsafe {
                        let status = libc::pthread_mutex_trylock(their);
                        assert_eq!(status, if held { libc::EOWNERDEAD } else { 0 }, "{words}");
                        libc::pthread_mutex_unlock(their);
                    },
                    _ => assert_eq!(word_of(mine(thing)), if held { DIED } else { 0 }, "{words}: {thing}"),
                }
            }
        }
        println!("{deaths} deaths of holders told of");
    });
}

/// The same memory again, without what this process remembers of it.
fn fresh() -> usize {
    static AT: AtomicU64 = AtomicU64::new(0);
    if AT.load(SeqCst) == 0 {
        AT.store(Room::new().address() as u64, SeqCst);
    }
    AT.load(SeqCst) as usize
}

fn map(bytes: usize) -> usize {
    // SAFETY: a new mapping.
    let at = unsafe {
        let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0)
    };
    assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    at as usize
}

fn mutexes(count: usize) -> Vec<*mut shmkit_mutex_t> {
    let at = map(64 * count);
    let all: Vec<_> = (0..count).map(|index| (at + 64 * index) as *mut shmkit_mutex_t).collect();
    all.iter().for_each(|mutex| good(shmkit_mutex_init(*mutex)));
    all
}

/// More than fit into the thread's own place, and as many as the kernel follows: all are told of. One more is refused.
#[test]
fn many_locks_of_one_thread() {
    apart("many_locks_of_one_thread", || {
        for count in [15, 16, 17, 40, 1500, 2000] {
            let all = mutexes(count);
            let one_more = mutexes(1)[0];
            reap_well(start(|| {
                all.iter().for_each(|mutex| good(shmkit_mutex_lock(*mutex)));
                if count == 2000 {
                    assert_eq!(shmkit_mutex_lock(one_more), Status::ErrLimit as i32);
                }
            }));
            all_are_marked(&all, &format!("of {count}"));
            for (index, mutex) in all.iter().enumerate() {
                assert_eq!(shmkit_mutex_lock(*mutex), OWNER_DIED, "{index} of {count}");
                good(shmkit_mutex_consistent(*mutex));
            }
            all.iter().for_each(|mutex| good(shmkit_mutex_unlock(*mutex)));
            all.iter().for_each(|mutex| good(shmkit_mutex_trylock(*mutex)));
            // Every third one, from the front; the rest backwards.
            all.iter().step_by(3).for_each(|mutex| good(shmkit_mutex_unlock(*mutex)));
            let rest = || all.iter().enumerate().filter(|(index, _)| index % 3 != 0);
            rest().for_each(|(_, mutex)| assert_eq!(shmkit_mutex_trylock(*mutex), Status::ErrDeadlock as i32));
            rest().rev().for_each(|(_, mutex)| good(shmkit_mutex_unlock(*mutex)));
        }
    });
}

/// Calls that hold two things for a moment, by threads that hold as many locks as fit into their own place, as the pages
/// note, one or two fewer, and one more: what they take is told of at their death, or they are refused and take nothing.
#[test]
fn calls_that_hold_two_things_where_there_is_little_room() {
    apart("calls_that_hold_two_things_where_there_is_little_room", || {
        let all = mutexes(2000);
        for count in [13, 14, 15, 16, 17, 1997, 1998, 1999, 2000] {
            let room = room();
            good(shmkit_barrier_init(room.barrier(), 1));
            let hold = || all[..count].iter().for_each(|mutex| good(shmkit_mutex_lock(*mutex)));
            let check = |what: &str| {
                for (index, mutex) in all[..count].iter().enumerate() {
                    assert_eq!(word_of(*mutex) & !WAITERS, DIED, "{what}: {index} of {count}");
                    assert_eq!(shmkit_mutex_lock(*mutex), OWNER_DIED);
                    good(shmkit_mutex_consistent(*mutex));
                    good(shmkit_mutex_unlock(*mutex));
                }
            };
            let (two, one) = (if count <= 1998 { OK } else { LIMIT }, if count <= 1999 { OK } else { LIMIT });
            reap_well(start(|| {
                hold();
                assert_eq!(shmkit_robust_sem_wait(room.robust()), two, "{}", message());
            }));
            check("a permit");
            let mut value = 0;
            // SAFETY: the value is writable.
            good(unsafe { shmkit_robust_sem_value(room.robust(), &mut value) });
            assert_eq!(value, 2);
            for joined in [false, true] {
                reap_well(start(|| {
                    if joined {
                        good(shmkit_barrier_join(room.barrier()));
                        all[..count - 1].iter().for_each(|mutex| good(shmkit_mutex_lock(*mutex)));
                    } else {
                        hold();
                    }
                    // SAFETY: nothing is asked for.
                    let waits = || unsafe { shmkit_barrier_wait(room.barrier(), null_mut()) };
                    (0..2).for_each(|_| assert_eq!(waits(), if joined { one } else { two }, "{}", message()));
                    if joined {
                        assert_eq!(shmkit_barrier_leave(room.barrier()), one, "{}", message());
                        if one != OK {
                            good(shmkit_mutex_unlock(all[0]));
                            good(shmkit_barrier_leave(room.barrier()));
                            good(shmkit_mutex_lock(all[0]));
                        }
                        good(shmkit_mutex_lock(all[count - 1]));
                    }
                }));
                check("a barrier");
            }
            // And where it waits: the time runs out with a place in its hand.
            good(shmkit_barrier_init(room.barrier(), 2));
            reap_well(start(|| {
                hold();
                // SAFETY: nothing is asked for.
                let status = unsafe { shmkit_barrier_timedwait(room.barrier(), 120 * MS, null_mut()) };
                assert_eq!(status, if two == OK { TIMEOUT } else { two }, "{}", message());
                assert_eq!(shmkit_barrier_join(room.barrier()), two, "{}", message());
            }));
            check("a barrier with a time");
            // Who finds a writer queues, and has the writers' lock when it takes its slot.
            let writer = start_holder(room, 0, || assert!(!room.write_lock()));
            let reader = start(|| {
                hold();
                sign(room, 1);
                assert_eq!(shmkit_rwlock_read_lock(room.rwlock()), if one == OK { OWNER_DIED } else { one });
                if one == OK {
                    good(shmkit_rwlock_consistent(room.rwlock()));
                    room.rwlock_unlock();
                    sign(room, 2);
                    until_sign(room, 3);
                    good(shmkit_rwlock_read_lock(room.rwlock()));
                    sign(room, 4);
                    until_sign(room, 5);
                    room.rwlock_unlock();
                    good(shmkit_rwlock_read_lock(room.rwlock()));
                }
            });
            until_sign(room, 1);
            until(|| is_asleep(reader));
            kill(writer);
            if one == OK {
                until_sign(room, 2);
                assert!(!room.write_lock());
                sign(room, 3);
                until(|| is_asleep(reader));
                room.rwlock_unlock();
                until_sign(room, 4);
                assert_eq!(shmkit_rwlock_try_write_lock(room.rwlock()), BUSY, "it reads");
                sign(room, 5);
            }
            reap_well(reader);
            check("a reader");
            if one == OK {
                assert!(!room.write_lock());
                room.rwlock_unlock();
            }
        }
    });
}

/// What a thread does in the last of its destructors: those of its variables run after the library's own, which frees
/// what it needed to note more than 16 locks.
struct AtTheEnd(std::cell::Cell<Option<Box<dyn FnOnce()>>>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        self.0.take().expect("there is work")();
    }
}

std::thread_local! {
    static AT_THE_END: AtTheEnd = const { AtTheEnd(std::cell::Cell::new(None)) };
}

/// All bear the kernel's mark, and nobody has looked at them since.
#[track_caller]
fn all_are_marked(all: &[*mut shmkit_mutex_t], words: &str) {
    for (index, mutex) in all.iter().enumerate() {
        assert_eq!(word_of(*mutex), DIED, "{index} {words}: the kernel did not mark it");
    }
}

/// The lock, which is the first word.
fn word_of(mutex: *mut shmkit_mutex_t) -> u32 {
    // SAFETY: aligned, in memory that stays mapped.
    unsafe { AtomicU32::from_ptr(mutex.cast()) }.load(SeqCst)
}

/// The kernel has marked it at the death of its holder: no look of a later one.
const DIED: u32 = 0x4000_0000;
const WAITERS: u32 = 0x8000_0000;

/// A thread that held many locks keeps some of them for its last destructors: they unlock what is left, in any order, lock
/// others, and what they leave is told of.
#[test]
fn the_last_destructors_of_a_thread_that_held_much() {
    apart("the_last_destructors_of_a_thread_that_held_much", || {
        for (most, left) in [(10, 3), (17, 0), (17, 1), (20, 1), (20, 16), (20, 17), (20, 20), (300, 290)] {
            for given in [0, 1, left / 2, left].into_iter().filter(|given| *given <= left) {
                let words = format!("{most} held, {left} at the end, {given} of them unlocked there");
                // Two more than are held: one for a moment, and one to the end.
                let start = mutexes(most + 2)[0].addr();
                let at = move |index: usize| (start + 64 * index) as *mut shmkit_mutex_t;
                // Without the pages there is room for 16.
                let room = if left > 16 || left - given < 16 { OK } else { LIMIT };
                std::thread::spawn(move || {
                    let last = move || {
                        // The oldest first: most are not the latest.
                        (0..given).for_each(|index| good(shmkit_mutex_unlock(at(index))));
                        assert_eq!(shmkit_mutex_lock(at(most)), room, "{}", message());
                        if room == OK {
                            good(shmkit_mutex_unlock(at(most)));
                            good(shmkit_mutex_lock(at(most + 1)));
                        }
                    };
                    AT_THE_END.with(|end| end.0.set(Some(Box::new(last))));
                    (0..most).for_each(|index| good(shmkit_mutex_lock(at(index))));
                    (left..most).for_each(|index| good(shmkit_mutex_unlock(at(index))));
                })
                .join()
                .expect("it ends well");
                for index in 0..most + 2 {
                    let held = (given..left).contains(&index) || index == most + 1 && room == OK;
                    assert_eq!(word_of(at(index)), if held { DIED } else { 0 }, "{words}: {index}");
                }
            }
        }
    });
}

/// Four of six unlocked in every order; what is left is told of.
#[test]
fn unlocked_in_another_order() {
    apart("unlocked_in_another_order", || {
        for order in orders() {
            for given in 0..=4 {
                let all = mutexes(6);
                reap_well(start(|| {
                    // One of those that stay is the first, and one is the fifth.
                    [4, 0, 1, 2, 5, 3].iter().for_each(|index| good(shmkit_mutex_lock(all[*index])));
                    order[..given].iter().for_each(|index| good(shmkit_mutex_unlock(all[*index])));
                }));
                for (turn, index) in order.iter().chain(&[4, 5]).enumerate() {
                    let held = turn >= given;
                    let words = format!("{order:?}, {given} unlocked: {index}");
                    assert_eq!(word_of(all[*index]), if held { DIED } else { 0 }, "{words}");
                    let expected = if held { OWNER_DIED } else { OK };
                    assert_eq!(shmkit_mutex_trylock(all[*index]), expected, "{order:?}, {given} unlocked");
                    good(shmkit_mutex_unlock(all[*index]));
                }
            }
        }
    });
}

/// Memory that goes when nothing in it is held takes nothing else with it.
#[test]
fn memory_unmapped_after_unlock() {
    apart("memory_unmapped_after_unlock", || {
        let room = room();
        let holder = start(|| {
            good(shmkit_mutex_lock(room.other()));
            let gone = map(4096) as *mut shmkit_mutex_t;
            for turn in 0..3 {
                good(shmkit_mutex_init(gone));
                good(shmkit_mutex_lock(gone));
                if turn == 1 {
                    good(shmkit_mutex_lock(room.mutex()));
                }
                good(shmkit_mutex_unlock(gone));
            }
            // SAFETY: it is this test's.
            assert_eq!(unsafe { libc::munmap(gone.cast(), 4096) }, 0);
            assert!(!room.write_lock());
            die();
        });
        assert!(libc::WIFSIGNALED(reap(holder)));
        assert_eq!(shmkit_mutex_lock(room.other()), OWNER_DIED);
        assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
        assert_eq!(shmkit_rwlock_read_lock(room.rwlock()), OWNER_DIED);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Kinds of memory
// ------------------------------------------------------------------------------------------------------------------

fn holders_die_in(room: Room) {
    room.reset(2, 2);
    reap_well(start(|| {
        hold_everything(room);
        let_everything_go(room);
    }));
    assert!(!room.lock() && !room.write_lock());
    room.unlock();
    room.rwlock_unlock();
    kill(start_holder(room, 0, || hold_everything(room)));
    everything_is_inherited(room);
}

#[test]
fn a_mapping_a_segment_and_a_region() {
    apart("a_mapping_a_segment_and_a_region", || {
        let size = Room::SIZE.next_multiple_of(4096);
        holders_die_in(Room::new());
        // A file that each process maps for itself, at another address.
        // SAFETY: the name is terminated; the descriptor is new; the mappings are new.
        unsafe {
            let file = libc::memfd_create(c"sync".as_ptr(), libc::MFD_CLOEXEC);
            assert!(file >= 0);
            let file = std::fs::File::from_raw_fd(file);
            file.set_len(size as u64).expect("there is room");
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let again = || libc::mmap(null_mut(), size, access, libc::MAP_SHARED, file.as_raw_fd(), 0) as usize;
            let (here, there) = (Room::at(again()), Room::at(again()));
            assert_ne!(here.address(), there.address());
            holders_die_in(here);
            kill(start_holder(here, 1, || hold_everything(there)));
            everything_is_inherited(here);
        }
        // SAFETY: the segment is new and goes with its last user.
        unsafe {
            let segment = libc::shmget(libc::IPC_PRIVATE, size, 0o600);
            assert!(segment >= 0, "{}", std::io::Error::last_os_error());
            let at = libc::shmat(segment, null(), 0);
            assert_eq!(libc::shmctl(segment, libc::IPC_RMID, null_mut()), 0);
            assert_ne!(at as isize, -1);
            holders_die_in(Room::at(at as usize));
            assert_eq!(libc::shmdt(at), 0);
        }
        for kind in ["memfd", "posix"] {
            let address = CString::new(format!("{kind}:/shmkit-sync-{}", support::unique())).expect("no NUL inside");
            let address = if kind == "memfd" { CString::new("memfd:sync").expect("no NUL inside") } else { address };
            // SAFETY: zeros are the defaults.
            let mut options: RegionOptions = unsafe { std::mem::zeroed() };
            options.struct_size = size_of::<RegionOptions>();
            options.size = size as u64;
            options.layout = RegionLayout { name: c"sync".as_ptr(), size: 8, version: 1, alignment: 64 };
            let mut handle = null_mut();
            // SAFETY: all are valid for the call.
            good(unsafe { shmkit_region_create(address.as_ptr(), &options, &mut handle) });
            if kind == "posix" {
                good(shmkit_region_unlink(handle));
            }
            let at = shmkit_region_data(handle) as usize;
            assert!(at != 0 && at.is_multiple_of(64));
            holders_die_in(Room::at(at));
            good(shmkit_region_close(handle));
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Pid namespaces
// ------------------------------------------------------------------------------------------------------------------

/// Runs `work` as process 2 of a pid namespace of its own. `killed`: it dies by SIGKILL.
fn start_namespace(killed: bool, work: impl FnOnce()) -> i32 {
    start(|| {
        // SAFETY: take no pointers.
        unsafe {
            let own = if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
            let error = || std::io::Error::last_os_error();
            let words = "this test needs root or unprivileged user namespaces";
            assert_eq!(libc::unshare(libc::CLONE_NEWPID | own), 0, "{words}: {}", error());
        }
        let first = start(|| {
            let pid = start(|| {
                assert_eq!(std::process::id(), 2);
                work();
            });
            let status = reap(pid);
            assert_eq!(libc::WIFSIGNALED(status), killed, "{status:#x}");
            assert!(killed || status == 0, "{status:#x}");
        });
        reap_well(first);
    })
}

/// Waits for its turn in a story.
fn turn(room: Room, number: u64) {
    until(|| room.facts().count.load(SeqCst) == number);
}

fn next(room: Room) {
    room.facts().count.fetch_add(1, SeqCst);
}

/// What one does whose own id is the same as that of the holder in the other namespace: it holds nothing, and nobody died.
#[track_caller]
fn the_other_one_holds(room: Room) {
    everything_is_held(room);
    // SAFETY: nothing is asked for.
    assert_eq!(unsafe { shmkit_barrier_timedwait(room.barrier(), LONG, null_mut()) }, TIMEOUT);
}

/// The objects are made in the namespace that is started first, or in the other one.
fn equal_ids(home_first: bool, home_dies: bool) {
    let room = Room::new();
    let home = move || {
        room.reset(2, 2);
        actor(room, true, home_dies);
    };
    let gate = move || actor(room, false, !home_dies);
    let pids = match home_first {
        true => [start_namespace(home_dies, home), start_namespace(!home_dies, gate)],
        false => [start_namespace(!home_dies, gate), start_namespace(home_dies, home)],
    };
    pids.into_iter().for_each(reap_well);
    // This namespace is the third that uses it.
    hold_everything(room);
    let_everything_go(room);
}

/// One of the two. They hold everything in turn, and each looks at what the other one holds; then they read together;
/// then one of them dies.
fn actor(room: Room, home: bool, dies: bool) {
    if home {
        next(room);
    }
    for round in 0..4 {
        let start = 1 + 3 * round;
        if home == (round % 2 == 0) {
            turn(room, start);
            hold_everything(room);
            next(room);
            turn(room, start + 2);
            let_everything_go(room);
            next(room);
        } else {
            turn(room, start + 1);
            the_other_one_holds(room);
            next(room);
        }
    }
    // Both read, and neither takes the other for dead: who waits to write waits in vain.
    let begin = if home { 13 } else { 14 };
    turn(room, begin);
    good(shmkit_rwlock_read_lock(room.rwlock()));
    next(room);
    if home {
        turn(room, 15);
        room.rwlock_unlock();
        assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), LONG), TIMEOUT, "a writer beside a reader");
        good(shmkit_rwlock_read_lock(room.rwlock()));
        next(room);
        turn(room, 17);
        room.rwlock_unlock();
    } else {
        turn(room, 16);
        room.rwlock_unlock();
        assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), LONG), TIMEOUT, "a writer beside a reader");
        next(room);
    }
    // One waits on the condition variable for the other one.
    if home {
        room.lock();
        while room.facts().flag.load(SeqCst) == 0 {
            room.after(shmkit_cond_wait(room.cond(), room.mutex()));
        }
        room.unlock();
        next(room);
    } else {
        room.lock();
        room.facts().flag.store(1, SeqCst);
        good(shmkit_cond_signal(room.cond()));
        room.unlock();
    }
    if dies {
        turn(room, 18);
        hold_everything(room);
        next(room);
        die();
    }
    turn(room, 19);
    everything_is_inherited(room);
}

#[test]
fn equal_thread_ids_in_two_pid_namespaces() {
    apart("equal_thread_ids_in_two_pid_namespaces", || {
        let stories = [(true, true), (true, false), (false, true), (false, false)];
        let pids = stories.map(|(home_first, home_dies)| start(|| equal_ids(home_first, home_dies)));
        pids.into_iter().for_each(reap_well);
    });
}

/// A namespace uses everything once, and stays: the number of one that is gone is given to another.
fn use_from_a_namespace(room: Room, which: usize, expected: i32) -> i32 {
    let pid = start_namespace(false, || {
        assert_eq!(shmkit_mutex_lock(room.mutex()), expected, "{}", message());
        assert_eq!(shmkit_rwlock_write_lock(room.rwlock()), expected, "{}", message());
        assert_eq!(shmkit_robust_sem_wait(room.robust()), expected, "{}", message());
        assert_eq!(shmkit_barrier_join(room.barrier()), expected, "{}", message());
        if expected == OK {
            room.unlock();
            room.rwlock_unlock();
            good(shmkit_robust_sem_post(room.robust()));
            good(shmkit_barrier_leave(room.barrier()));
        }
        // What has no holder has no namespace.
        good(shmkit_semaphore_wait(room.sem()));
        good(shmkit_semaphore_post(room.sem()));
        good(shmkit_event_notify(room.event(), 1));
        good(shmkit_cond_signal(room.cond()));
        sign(room, which);
        until_sign(room, 9);
    });
    until(|| room.facts().signs[which].load(SeqCst) != 0 || state_of(pid) == 'Z');
    pid
}

#[test]
fn three_and_four_pid_namespaces() {
    apart("three_and_four_pid_namespaces", || {
        let room = room();
        let pids = [OK, OK, LIMIT, LIMIT].into_iter().enumerate().map(|(which, expected)| {
            let pid = use_from_a_namespace(room, which, expected);
            hold_everything(room);
            let_everything_go(room);
            pid
        });
        let pids: Vec<i32> = pids.collect();
        sign(room, 9);
        pids.into_iter().for_each(reap_well);
    });
}

/// The first who dies behind a gate is told of; the next one who holds it lives, however long it holds it.
#[test]
fn a_holder_behind_a_gate_after_a_death_there() {
    apart("a_holder_behind_a_gate_after_a_death_there", || {
        let room = room();
        let pid = start_namespace(false, || {
            let dead = start(|| {
                room.lock();
                die();
            });
            reap(dead);
            assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
            good(shmkit_mutex_consistent(room.mutex()));
            room.unlock();
            room.lock();
            sign(room, 0);
            until_sign(room, 1);
            room.unlock();
        });
        until_sign(room, 0);
        assert_eq!(shmkit_mutex_timedlock(room.mutex(), LONG), TIMEOUT, "two hold it: {}", message());
        assert_eq!(shmkit_mutex_trylock(room.mutex()), BUSY);
        sign(room, 1);
        assert!(!room.lock(), "nobody died");
        room.unlock();
        reap_well(pid);
    });
}

/// Who never waits is told of a death in another namespace, too.
#[test]
fn a_try_finds_the_dead_of_another_namespace() {
    apart("a_try_finds_the_dead_of_another_namespace", || {
        let room = room();
        let pid = start_namespace(true, || {
            room.lock();
            assert!(!room.write_lock());
            die();
        });
        reap_well(pid);
        assert_eq!(shmkit_mutex_trylock(room.mutex()), OWNER_DIED);
        assert_eq!(shmkit_rwlock_try_write_lock(room.rwlock()), OWNER_DIED);
        let destroyed = [shmkit_mutex_destroy(room.mutex()), shmkit_rwlock_destroy(room.rwlock())];
        assert_eq!(destroyed, [BUSY; 2], "this thread holds them");
    });
}

/// A signal that comes more often than sleepers look does not keep them from looking.
#[test]
fn signals_do_not_hide_a_death() {
    extern "C" fn came(_: i32) {}
    apart("signals_do_not_hide_a_death", || {
        let room = room();
        let pid = start_namespace(true, || {
            room.lock();
            die();
        });
        reap_well(pid);
        let waiter = start(|| {
            let every = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
            // SAFETY: the handler does nothing; the struct is readable.
            unsafe {
                libc::signal(libc::SIGPROF, came as *const () as usize);
                libc::signal(libc::SIGVTALRM, came as *const () as usize);
                let mut event: libc::sigevent = std::mem::zeroed();
                (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGVTALRM);
                let mut timer = null_mut();
                assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
                let step = libc::timespec { tv_sec: 0, tv_nsec: every.tv_usec * 1000 };
                let often = libc::itimerspec { it_interval: step, it_value: step };
                assert_eq!(libc::timer_settime(timer, 0, &often, null_mut()), 0);
            }
            assert_eq!(shmkit_mutex_lock(room.mutex()), OWNER_DIED);
        });
        reap_well(waiter);
    });
}

unsafe extern "C" {
    /// A fork that runs no handlers.
    fn _Fork() -> libc::pid_t;
}

/// A child that was made behind the fork handlers holds nothing of its parent's, of whatever kind, by no way into the
/// object: each call is the first that the child's first thread makes, alone and after another one. Its death is told.
#[test]
fn a_child_behind_the_fork_handlers() {
    apart("a_child_behind_the_fork_handlers", || {
        let room = room();
        // One that was read last, so that the short way knows its slot; one that was not taken last.
        let (read, inner) = (Room::new(), Room::new());
        read.reset(1, 1);
        inner.reset(1, 1);
        let mine = std::cell::Cell::new(false);
        let again = || {
            // SAFETY: the place is writable.
            unsafe { shmkit_once_begin(room.once(), mine.as_ptr()) }
        };
        room.lock();
        assert!(!room.write_lock());
        good(shmkit_rwlock_read_lock(inner.rwlock()));
        good(shmkit_robust_sem_wait(room.robust()));
        good(shmkit_robust_sem_wait(room.robust()));
        good(shmkit_barrier_join(room.barrier()));
        good(again());
        assert!(mine.get());
        good(shmkit_rwlock_read_lock(read.rwlock()));
        let calls: [(&str, i32, &dyn Fn() -> i32); 20] = [
            ("mutex_trylock", BUSY, &|| shmkit_mutex_trylock(room.mutex())),
            ("mutex_timedlock", TIMEOUT, &|| shmkit_mutex_timedlock(room.mutex(), MS)),
            ("mutex_unlock", NOT_OWNER, &|| shmkit_mutex_unlock(room.mutex())),
            ("mutex_consistent", NOT_OWNER, &|| shmkit_mutex_consistent(room.mutex())),
            ("mutex_abandon", NOT_OWNER, &|| shmkit_mutex_abandon(room.mutex())),
            ("cond_timedwait", NOT_OWNER, &|| shmkit_cond_timedwait(room.cond(), room.mutex(), MS)),
            ("rwlock_unlock of a writer", NOT_OWNER, &|| shmkit_rwlock_unlock(room.rwlock())),
            ("rwlock_try_read_lock", BUSY, &|| shmkit_rwlock_try_read_lock(room.rwlock())),
            ("rwlock_timed_write_lock", TIMEOUT, &|| shmkit_rwlock_timed_write_lock(room.rwlock(), MS)),
            ("rwlock_consistent", NOT_OWNER, &|| shmkit_rwlock_consistent(room.rwlock())),
            ("rwlock_abandon", NOT_OWNER, &|| shmkit_rwlock_abandon(room.rwlock())),
            ("rwlock_unlock of the last reader", NOT_OWNER, &|| shmkit_rwlock_unlock(read.rwlock())),
            ("rwlock_unlock of a reader", NOT_OWNER, &|| shmkit_rwlock_unlock(inner.rwlock())),
            ("rwlock_try_write_lock over a reader", BUSY, &|| shmkit_rwlock_try_write_lock(read.rwlock())),
            ("rwlock_try_write_lock over the other", BUSY, &|| shmkit_rwlock_try_write_lock(inner.rwlock())),
            ("robust_sem_post", NOT_OWNER, &|| shmkit_robust_sem_post(room.robust())),
            ("robust_sem_trywait", BUSY, &|| shmkit_robust_sem_trywait(room.robust())),
            ("barrier_leave", NOT_OWNER, &|| shmkit_barrier_leave(room.barrier())),
            ("once_end", NOT_OWNER, &|| shmkit_once_end(room.once(), true)),
            // It takes a slot and a place of its own, as any other thread.
            ("barrier_join", OK, &|| shmkit_barrier_join(room.barrier())),
        ];
        for (index, (name, expected, call)) in calls.iter().chain(&calls).enumerate() {
            // SAFETY: the child makes some calls and leaves by SIGKILL, and this process has one thread.
            let child = unsafe { _Fork() };
            if child == 0 {
                // The second time another thread of the child is the first one that uses anything.
                if index >= calls.len() {
                    let address = room.address();
                    let first = std::thread::spawn(move || {
                        let room = Room::at(address);
                        good(shmkit_mutex_lock(room.other()));
                        good(shmkit_mutex_unlock(room.other()));
                    });
                    assert!(first.join().is_ok());
                }
                let seen = call();
                room.facts().signs[0].store(seen as u32, SeqCst);
                good(shmkit_mutex_lock(room.other()));
                die();
            }
            assert!(libc::WIFSIGNALED(reap(child)));
            let seen = room.facts().signs[0].load(SeqCst) as i32;
            assert_eq!(seen, *expected, "{name} ({index}): it took itself for its parent");
            assert_eq!(shmkit_mutex_trylock(room.other()), OWNER_DIED, "its death was not told");
            good(shmkit_mutex_consistent(room.other()));
            good(shmkit_mutex_unlock(room.other()));
        }
        good(shmkit_rwlock_unlock(read.rwlock()));
        good(shmkit_once_end(room.once(), true));
        good(shmkit_robust_sem_post(room.robust()));
        good(shmkit_robust_sem_post(room.robust()));
        good(shmkit_rwlock_unlock(inner.rwlock()));
        room.rwlock_unlock();
        room.unlock();
    });
}

/// The first process of a pid namespace makes a child in another one, behind the fork handlers: a child that has the
/// number of its parent, 1, and is of another namespace all the same. What its threads hold is theirs.
#[test]
fn a_first_process_behind_the_fork_handlers_of_a_first_process() {
    apart("a_first_process_behind_the_fork_handlers_of_a_first_process", || {
        let room = Room::new();
        let leave = || {
            let words = "this test needs root or unprivileged user namespaces";
            // SAFETY: take no pointers.
            unsafe {
                let own = if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
                let left = libc::unshare(libc::CLONE_NEWPID | own);
                assert_eq!(left, 0, "{words}: {}", std::io::Error::last_os_error());
            }
        };
        reap_well(start(|| {
            leave();
            reap_well(start(|| {
                assert_eq!(std::process::id(), 1);
                room.reset(2, 2);
                hold_everything(room);
                let_everything_go(room);
                leave();
                // SAFETY: the child leaves by _exit, and this process has one thread.
                let child = unsafe { _Fork() };
                if child == 0 {
                    assert_eq!(std::process::id(), 1);
                    alarm(STALLED);
                    let address = room.address();
                    let by_thread = |work: fn(Room)| std::thread::spawn(move || work(Room::at(address))).join();
                    // One sits down first; another holds, whose id its parent's namespace does not know.
                    let sat = by_thread(|room| good(shmkit_mutex_init(room.other())));
                    let held = by_thread(|room| {
                        hold_everything(room);
                        sign(room, 0);
                        until_sign(room, 1);
                        let_everything_go(room);
                    });
                    // SAFETY: takes no pointers.
                    unsafe { libc::_exit(if sat.is_ok() && held.is_ok() { 0 } else { 101 }) };
                }
                until_sign(room, 0);
                everything_is_held(room);
                sign(room, 1);
                reap_well(child);
            }));
        }));
    });
}

/// What was pending in a parent when it forked is nothing to the child: another namespace's thread of the same number may
/// hold it by the time that the child ends.
#[test]
fn a_child_has_nothing_pending() {
    apart("a_child_has_nothing_pending", || {
        let room = room();
        room.lock();
        let child = start(|| {
            // SAFETY: reads this thread's own list of robust futexes, as the kernel would.
            unsafe {
                let (mut head, mut length) = (std::ptr::null::<[usize; 3]>(), 0usize);
                assert_eq!(libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length), 0);
                assert_eq!((*head)[2], 0, "a word of the parent's is pending");
                assert_eq!((*head)[0], head.addr(), "a node of the parent's is on the list");
            }
        });
        reap_well(child);
        room.unlock();
    });
}

/// Readers that died leave their slots to readers: no writer needs to come by first.
#[test]
fn readers_follow_dead_readers() {
    apart("readers_follow_dead_readers", || {
        let room = room();
        for _ in 0..31 {
            room.facts().signs[0].store(0, SeqCst);
            kill(start_holder(room, 0, || good(shmkit_rwlock_read_lock(room.rwlock()))));
        }
        good(shmkit_rwlock_read_lock(room.rwlock()));
        reap_well(start(|| {
            good(shmkit_rwlock_try_read_lock(room.rwlock()));
            room.rwlock_unlock();
        }));
        room.rwlock_unlock();
    });
}

/// A lock for readers that is made anew, or another one at the same address, is not read by what this thread remembers of
/// the one before: its slots may be of another namespace.
#[test]
fn a_readers_writer_lock_at_the_address_of_another() {
    apart("a_readers_writer_lock_at_the_address_of_another", || {
        let room = room();
        // Its first slot is the one that a process 2 takes first, by its thread id.
        let reader = loop {
            let pid = start(|| {
                let slot = std::process::id() % 31;
                if slot != 2 {
                    // SAFETY: takes no pointers.
                    unsafe { libc::_exit(1) };
                }
                for _ in 0..2 {
                    good(shmkit_rwlock_read_lock(room.rwlock()));
                    good(shmkit_rwlock_unlock(room.rwlock()));
                }
                sign(room, 0);
                until_sign(room, 1);
                good(shmkit_rwlock_read_lock(room.rwlock()));
                sign(room, 2);
                until_sign(room, 3);
                good(shmkit_rwlock_unlock(room.rwlock()));
            });
            until(|| room.facts().signs[0].load(SeqCst) != 0 || state_of(pid) == 'Z');
            if room.facts().signs[0].load(SeqCst) != 0 {
                break pid;
            }
            reap(pid);
        };
        good(shmkit_rwlock_destroy(room.rwlock()));
        good(shmkit_rwlock_init(room.rwlock()));
        sign(room, 1);
        until_sign(room, 2);
        reap_well(start_namespace(false, || {
            good(shmkit_rwlock_read_lock(room.rwlock()));
            good(shmkit_rwlock_unlock(room.rwlock()));
            // An id of another namespace than the slot's would be looked up here, not found, and taken for dead.
            let looks = start(|| {
                assert_eq!(shmkit_rwlock_timed_write_lock(room.rwlock(), LONG), TIMEOUT, "a writer beside a reader");
            });
            reap_well(looks);
        }));
        sign(room, 3);
        reap_well(reader);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The storm
// ------------------------------------------------------------------------------------------------------------------

const STORMERS: usize = 8;
const ONCES: usize = 4096;
const PERMITS: u32 = 3;

/// What the storm shares beside two rooms, one for the mutex and one for the readers-writer lock.
#[repr(C)]
struct Sky {
    stop: AtomicU64,
    /// Which once is next.
    next: AtomicU64,
    /// What came into the queue and out of it, with the mutex held.
    tokens: AtomicU64,
    /// What was brought and what was fetched, with no lock, by those who wait with the event count.
    brought: AtomicU64,
    fetched: AtomicU64,
    /// Of each process: what it did, of each kind.
    done: [[AtomicU64; KINDS.len()]; STORMERS],
    /// How often the work of each once was done to its end.
    works: [AtomicU64; ONCES],
    onces: [MaybeUninit<shmkit_once_t>; ONCES],
}

const KINDS: [&str; 9] = ["mutex", "write", "read", "condition", "semaphore", "robust", "barrier", "once", "event"];

extern "C" fn count_one(user: *mut c_void) -> c_int {
    // SAFETY: one of the counters of the sky.
    unsafe { AtomicU64::from_ptr(user.cast()) }.fetch_add(1, SeqCst);
    0
}

/// Fetches one of the things that were brought, waiting for it with the event count. False: none came in time.
fn fetch(sky: &'static Sky, room: Room, patience: u64) -> bool {
    loop {
        let mut key = 0;
        // SAFETY: the key is writable.
        good(unsafe { shmkit_event_prepare(room.event(), &mut key) });
        let fetched = sky.fetched.load(SeqCst);
        assert!(fetched <= sky.brought.load(SeqCst), "more was fetched than brought");
        if fetched < sky.brought.load(SeqCst) {
            if sky.fetched.compare_exchange(fetched, fetched + 1, SeqCst, SeqCst).is_ok() {
                return true;
            }
            continue;
        }
        match shmkit_event_timedwait(room.event(), key, patience) {
            TIMEOUT => return false,
            status => good(status),
        }
    }
}

/// One of eight: does whatever comes until it is told to stop, or is killed.
fn storm(sky: &'static Sky, first: Room, second: Room, own: usize, seed: u64) {
    let mut random = seed | 1;
    while sky.stop.load(SeqCst) == 0 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let kind = (random >> 20) as usize % KINDS.len();
        // Waits, waits for some time, does not wait at all.
        let way = random >> 60 & 3;
        let patience = (random >> 40) % (3 * MS);
        match kind {
            0 => {
                match if way == 0 {
                    shmkit_mutex_trylock(first.mutex())
                } else {
                    shmkit_mutex_timedlock(first.mutex(), 1000 * patience)
                } {
                    TIMEOUT | BUSY => continue,
                    status => first.after(status),
                };
                first.raise();
                // Counted with the lock held, so that a death in between is one count at most.
                sky.done[own][0].fetch_add(1, SeqCst);
                first.unlock();
                continue;
            }
            1 => {
                match match way {
                    0 => shmkit_rwlock_try_write_lock(second.rwlock()),
                    1 => shmkit_rwlock_timed_write_lock(second.rwlock(), patience),
                    _ => shmkit_rwlock_write_lock(second.rwlock()),
                } {
                    TIMEOUT | BUSY => continue,
                    status => second.after_write(status),
                };
                second.write();
                sky.done[own][1].fetch_add(1, SeqCst);
                second.rwlock_unlock();
                continue;
            }
            2 => {
                match match way {
                    0 => shmkit_rwlock_try_read_lock(second.rwlock()),
                    1 => shmkit_rwlock_timed_read_lock(second.rwlock(), patience),
                    _ => shmkit_rwlock_read_lock(second.rwlock()),
                } {
                    TIMEOUT | BUSY => continue,
                    OK => (0..20).for_each(|_| second.read()),
                    status => assert!(second.after_write(status)),
                }
                second.rwlock_unlock();
            }
            3 => {
                first.lock();
                if random & 1 << 60 == 0 {
                    sky.tokens.fetch_add(1, SeqCst);
                    let all = random & 1 << 61 == 0;
                    good(if all { shmkit_cond_broadcast(first.cond()) } else { shmkit_cond_signal(first.cond()) });
                } else if sky.tokens.load(SeqCst) == 0 {
                    match shmkit_cond_timedwait(first.cond(), first.mutex(), patience) {
                        TIMEOUT => {}
                        status => drop(first.after(status)),
                    }
                } else {
                    sky.tokens.fetch_sub(1, SeqCst);
                }
                assert!(sky.tokens.load(SeqCst) < u64::MAX / 2, "more came out than went in");
                first.unlock();
            }
            4 => {
                // Who gives before it takes leaves one more when it dies, and never too few.
                good(shmkit_semaphore_post(first.sem()));
                // Who finds none must wait: another one has taken what it gave.
                let taken = match way {
                    0 => shmkit_semaphore_trywait(first.sem()),
                    1 => shmkit_semaphore_timedwait(first.sem(), patience),
                    _ => BUSY,
                };
                match taken {
                    TIMEOUT | BUSY => good(shmkit_semaphore_wait(first.sem())),
                    status => good(status),
                }
            }
            5 => {
                let more = random & 1 << 60 != 0;
                match shmkit_robust_sem_timedwait(first.robust(), 1000 * patience) {
                    TIMEOUT | BUSY => continue,
                    status => good(status),
                }
                let second = more.then(|| shmkit_robust_sem_trywait(first.robust()));
                if second == Some(OK) {
                    good(shmkit_robust_sem_post(first.robust()));
                }
                good(shmkit_robust_sem_post(first.robust()));
            }
            6 => {
                // SAFETY: nothing is asked for.
                match unsafe { shmkit_barrier_timedwait(first.barrier(), patience, null_mut()) } {
                    OWNER_DIED => good(shmkit_barrier_reset(first.barrier())),
                    TIMEOUT | BUSY => continue,
                    status => good(status),
                }
            }
            7 => {
                let index = sky.next.load(SeqCst) as usize % ONCES;
                let (once, works) = (sky.onces[index].as_ptr().cast_mut(), sky.works[index].as_ptr());
                // SAFETY: the work returns.
                good(unsafe { shmkit_once_run(once, Some(count_one), works.cast()) });
                assert!(sky.works[index].load(SeqCst) > 0, "it is done, and nobody did it");
                let _ = sky.next.compare_exchange(index as u64, index as u64 + 1, SeqCst, SeqCst);
            }
            _ => {
                if way < 2 {
                    sky.brought.fetch_add(1, SeqCst);
                    good(shmkit_event_notify(first.event(), if way == 0 { 1 } else { u32::MAX }));
                } else if !fetch(sky, first, patience) {
                    continue;
                }
            }
        }
        sky.done[own][kind].fetch_add(1, SeqCst);
    }
}

#[test]
fn eight_processes_use_everything_and_one_dies_all_the_time() {
    let seconds = std::env::var("SHMKIT_STORM_SECONDS").map_or(8, |text| text.parse().expect("a number of seconds"));
    support::alone("eight_processes_use_everything_and_one_dies_all_the_time", &[], || {
        let (first, second) = (Room::new(), Room::new());
        first.reset(0, 3);
        good(shmkit_robust_sem_init(first.robust(), PERMITS));
        second.reset(1, 1);
        // SAFETY: the mapping is new, larger than it, all zeros, and stays.
        let sky: &'static Sky = unsafe { &*(map(size_of::<Sky>()) as *const Sky) };
        let start_one = |own: usize, seed: u64| {
            start(|| {
                alarm(seconds as u32 + STALLED);
                storm(sky, first, second, own, seed);
            })
        };
        let seed = 0x9e37_79b9_7f4a_7c15 ^ u64::from(std::process::id()) << 32;
        let begin = Instant::now();
        let mut pids: Vec<i32> = (0..STORMERS).map(|own| start_one(own, seed.rotate_left(own as u32))).collect();
        let mut kills = 0u64;
        let sum = |kind: usize| sky.done.iter().map(|one| one[kind].load(SeqCst)).sum::<u64>();
        // Longer where others have the processors, and something of a kind was not done yet.
        let enough = || (0..KINDS.len()).all(|kind| sum(kind) > 0);
        while begin.elapsed().as_secs() < if enough() { seconds } else { seconds + u64::from(STALLED) } {
            std::thread::sleep(Duration::from_millis(20));
            let victim = (kills.wrapping_mul(5) ^ kills >> 3) as usize % STORMERS;
            kill(pids[victim]);
            kills += 1;
            pids[victim] = start_one(victim, seed.wrapping_mul(2 * kills + 1));
        }
        sky.stop.store(1, SeqCst);
        alarm(STALLED);
        pids.into_iter().for_each(reap_well);

        // The last death may not have been told of yet.
        first.lock();
        second.write_lock();
        for (room, kind) in [(first, 0), (second, 1)] {
            let (raised, counted) = (room.facts().a.load(SeqCst), sum(kind));
            assert!(counted <= raised && raised <= counted + kills, "{}: {raised} for {counted}", KINDS[kind]);
        }
        first.unlock();
        second.rwlock_unlock();
        for _ in 0..PERMITS {
            good(shmkit_robust_sem_trywait(first.robust()));
        }
        assert_eq!(shmkit_robust_sem_trywait(first.robust()), BUSY, "more permits than there were");
        let mut value = 0;
        // SAFETY: the value is writable.
        good(unsafe { shmkit_semaphore_value(first.sem(), &mut value) });
        assert!(u64::from(value) <= kills, "{value} permits after {kills} deaths");
        for index in 0..(sky.next.load(SeqCst) as usize).min(ONCES) {
            assert!(sky.works[index].load(SeqCst) > 0, "nobody did the work of {index}");
        }
        let works: u64 = sky.works.iter().map(|works| works.load(SeqCst)).sum();
        assert!(works <= sky.next.load(SeqCst) + 1 + kills, "work was done twice, and nobody died");
        let counts: Vec<String> =
            KINDS.iter().enumerate().map(|(kind, name)| format!("{} {name}", sum(kind))).collect();
        assert!(enough(), "{counts:?}");
        let (brought, fetched) = (sky.brought.load(SeqCst), sky.fetched.load(SeqCst));
        let counted = sum(8);
        assert!(
            fetched <= brought && counted <= brought + fetched,
            "{fetched} of {brought} fetched, {counted} counted"
        );
        assert!(brought + fetched <= counted + kills, "{fetched} of {brought} fetched, {counted} counted");
        println!("storm: {seconds} s, {kills} killed, {}; {value} permits left of the dead", counts.join(", "));
        alarm(0);
    });
}
