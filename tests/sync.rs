//! The locks, semaphores, barriers, once and event counts as a C program calls them: what each function says of every
//! wrong use, what it makes of hostile bytes, and that threads lose no update. Deaths of processes are the kill points'
//! and the storm's; here only threads die. Next: `models.rs` for the cores in every order.

mod support;

use std::ffi::{c_int, c_void};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use shmkit::capi::sync::*;
use shmkit::error::Status;
use support::{alone, compiler, message, place_library, root, run};

const PAGE: usize = 4096;
const SHORT: u64 = 20_000;
const FOREVER: u64 = u64::MAX;
/// Where the stamp stands: the pid namespace; kind, C library, format, 'S'.
const STAMP_AT: usize = 24;

type Call = fn(*mut u8) -> i32;

/// A type of object: its functions, each with the rest of its arguments.
struct Kind {
    name: &'static str,
    size: usize,
    align: usize,
    init: Call,
    destroy: Call,
    /// All others.
    calls: Vec<(&'static str, Call)>,
    /// Those that end by themselves, whatever stands in the object.
    bounded: Vec<(&'static str, Call)>,
}

/// Functions as calls of an address.
macro_rules! calls {
    ($($name:ident $(($($rest:expr),*))?),* $(,)?) => {
        vec![$((stringify!($name), {
            #[allow(unused_unsafe, reason = "some of them are safe")]
            // SAFETY: the places of results are writable, and these are the documented answers to wrong objects.
            let call: Call = |at| unsafe { $name(at.cast() $(, $($rest),*)?) };
            call
        })),*]
    };
}

/// A place for a result of this thread.
fn out<T: Default + 'static>() -> *mut T {
    Box::leak(Box::default())
}

/// A mutex that is nobody's business.
fn some_mutex() -> *mut shmkit_mutex_t {
    thread_local! {
        static MUTEX: *mut shmkit_mutex_t = {
            let mutex = Memory::new().at::<shmkit_mutex_t>(0);
            assert_eq!(shmkit_mutex_init(mutex), OK);
            mutex
        };
    }
    MUTEX.with(|mutex| *mutex)
}

extern "C" fn good_work(_user: *mut c_void) -> c_int {
    0
}

fn kind<T>(name: &'static str, init: Call, destroy: Call, calls: Vec<(&'static str, Call)>) -> Kind {
    let blocking = |name: &str| {
        ["_lock", "_wait", "_run", "_begin", "_join", "_leave", "_reset", "read_lock", "write_lock"]
            .iter()
            .any(|end| name.ends_with(end))
            && !name.contains("try_")
            && !name.contains("timed")
    };
    let bounded = calls.iter().filter(|(name, _)| !blocking(name)).copied().collect();
    Kind { name, size: size_of::<T>(), align: align_of::<T>(), init, destroy, calls, bounded }
}

fn kinds() -> Vec<Kind> {
    let one = |mut calls: Vec<(&'static str, Call)>| calls.remove(0).1;
    vec![
        kind::<shmkit_mutex_t>(
            "mutex",
            one(calls![shmkit_mutex_init]),
            one(calls![shmkit_mutex_destroy]),
            calls![
                shmkit_mutex_lock,
                shmkit_mutex_trylock,
                shmkit_mutex_timedlock(SHORT),
                shmkit_mutex_unlock,
                shmkit_mutex_consistent,
                shmkit_mutex_abandon,
            ],
        ),
        kind::<shmkit_rwlock_t>(
            "rwlock",
            one(calls![shmkit_rwlock_init]),
            one(calls![shmkit_rwlock_destroy]),
            calls![
                shmkit_rwlock_read_lock,
                shmkit_rwlock_try_read_lock,
                shmkit_rwlock_timed_read_lock(SHORT),
                shmkit_rwlock_write_lock,
                shmkit_rwlock_try_write_lock,
                shmkit_rwlock_timed_write_lock(SHORT),
                shmkit_rwlock_unlock,
                shmkit_rwlock_consistent,
                shmkit_rwlock_abandon,
            ],
        ),
        kind::<shmkit_cond_t>(
            "cond",
            one(calls![shmkit_cond_init]),
            one(calls![shmkit_cond_destroy]),
            calls![
                shmkit_cond_wait(some_mutex()),
                shmkit_cond_timedwait(some_mutex(), SHORT),
                shmkit_cond_signal,
                shmkit_cond_broadcast,
            ],
        ),
        kind::<shmkit_sem_t>(
            "sem",
            one(calls![shmkit_semaphore_init(1)]),
            one(calls![shmkit_semaphore_destroy]),
            calls![
                shmkit_semaphore_wait,
                shmkit_semaphore_trywait,
                shmkit_semaphore_timedwait(SHORT),
                shmkit_semaphore_post,
                shmkit_semaphore_value(out()),
            ],
        ),
        kind::<shmkit_robust_sem_t>(
            "robust_sem",
            one(calls![shmkit_robust_sem_init(2)]),
            one(calls![shmkit_robust_sem_destroy]),
            calls![
                shmkit_robust_sem_wait,
                shmkit_robust_sem_trywait,
                shmkit_robust_sem_timedwait(SHORT),
                shmkit_robust_sem_post,
                shmkit_robust_sem_value(out()),
            ],
        ),
        kind::<shmkit_barrier_t>(
            "barrier",
            one(calls![shmkit_barrier_init(2)]),
            one(calls![shmkit_barrier_destroy]),
            calls![
                shmkit_barrier_wait(out()),
                shmkit_barrier_timedwait(SHORT, null_mut()),
                shmkit_barrier_join,
                shmkit_barrier_leave,
                shmkit_barrier_reset,
            ],
        ),
        kind::<shmkit_once_t>(
            "once",
            one(calls![shmkit_once_init]),
            one(calls![shmkit_once_init]),
            calls![
                shmkit_once_run(Some(good_work), null_mut()),
                shmkit_once_begin(out()),
                shmkit_once_end(true),
                shmkit_once_end(false),
            ],
        ),
        kind::<shmkit_event_t>(
            "event",
            one(calls![shmkit_event_init]),
            one(calls![shmkit_event_destroy]),
            calls![
                shmkit_event_prepare(out()),
                shmkit_event_wait(1),
                shmkit_event_timedwait(1, SHORT),
                shmkit_event_notify(1),
                shmkit_event_notify(u32::MAX),
            ],
        ),
    ]
}

const OK: i32 = Status::Ok as i32;

/// Two pages of shared memory that stay mapped: a thread knows by address which pages it may write to.
#[derive(Clone, Copy)]
struct Memory(usize);

impl Memory {
    fn new() -> Memory {
        // SAFETY: maps pages at a free address.
        let at = unsafe { libc::mmap(null_mut(), 2 * PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Memory(at as usize)
    }

    fn at<T>(self, offset: usize) -> *mut T {
        (self.0 + offset) as *mut T
    }

    fn protect(self, protection: i32) {
        // SAFETY: the pages are this test's, and nobody else uses them.
        assert_eq!(unsafe { libc::mprotect(self.at(0), 2 * PAGE, protection) }, 0);
    }

    fn word(self, offset: usize) -> &'static AtomicU32 {
        // SAFETY: aligned, inside the pages, which stay mapped.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }
}

/// The call says this of the object, and its words name the call.
#[track_caller]
fn says(name: &str, result: i32, expected: Status, what: &str) {
    assert_eq!(result, expected as i32, "{name}, {what}: {}", message());
    let words = message();
    assert!(words.contains(name.trim_start_matches("shmkit_")), "{name}, {what}: {words}");
}

/// Each call on the object, by a thread of its own, to which no page is known.
#[track_caller]
fn all_say(kind: &Kind, at: usize, expected: Status, what: &str) {
    for (name, call) in &kind.calls {
        if kind.name == "once" && expected == Status::ErrUninitialised && what == "zeros" {
            continue;
        }
        thread::scope(|scope| {
            scope.spawn(|| says(name, call(without_provenance_mut(at)), expected, what)).join().expect(what);
        });
    }
}

#[test]
fn wrong_objects_are_errors_of_every_function() {
    alone("wrong_objects_are_errors_of_every_function", &[], || {
        for kind in kinds() {
            for wild in [0, 64, 4032, 0x8000_0000_0000_0000, usize::MAX & !63, 0x1000_0000_0000] {
                all_say(&kind, wild, Status::ErrBadPointer, "a wild pointer");
                let result = (kind.init)(without_provenance_mut(wild));
                assert_eq!(result, Status::ErrBadPointer as i32, "{}_init({wild:x})", kind.name);
            }
            let memory = Memory::new();
            all_say(&kind, memory.0, Status::ErrUninitialised, "zeros");
            for aside in [1, 4, 8, 16] {
                all_say(&kind, memory.0 + aside, Status::ErrInvalidArgument, "not aligned");
                assert_eq!((kind.init)(memory.at(aside)), Status::ErrInvalidArgument as i32);
            }
            assert_eq!((kind.init)(memory.at(0)), OK);
            let stamp = memory.word(STAMP_AT + 4).load(SeqCst);
            assert_eq!(stamp >> 24, u32::from(b'S'), "{}: the stamp is elsewhere", kind.name);
            for (what, forged, expected) in [
                ("another format", stamp + 0x1_0000, Status::ErrLayout),
                ("another C library", stamp ^ 0x300, Status::ErrLayout),
                ("another kind", stamp ^ 0x1f, Status::ErrLayout),
                ("other bytes", stamp ^ 0x8000_0000, Status::ErrUninitialised),
                ("a whole other stamp", 0xffff_ffff, Status::ErrUninitialised),
            ] {
                memory.word(STAMP_AT + 4).store(forged, SeqCst);
                all_say(&kind, memory.0, expected, what);
            }
            memory.word(STAMP_AT + 4).store(stamp, SeqCst);
            let mapped_again = Memory::new();
            assert_eq!((kind.init)(mapped_again.at(0)), OK);
            mapped_again.protect(libc::PROT_READ);
            all_say(&kind, mapped_again.0, Status::ErrAccess, "mapped read-only");
            let init = kind.init;
            let result = thread::spawn(move || init(mapped_again.at(0))).join().expect("it answers");
            assert_eq!(result, Status::ErrAccess as i32, "{}_init", kind.name);
            mapped_again.protect(libc::PROT_NONE);
            all_say(&kind, mapped_again.0, Status::ErrBadPointer, "mapped without access");
            // The last byte counts too.
            let half = Memory::new();
            // SAFETY: the page is this test's, and nobody else uses it.
            assert_eq!(unsafe { libc::munmap(half.at(PAGE), PAGE) }, 0);
            if kind.size > 64 {
                all_say(&kind, half.0 + PAGE - 64, Status::ErrBadPointer, "half of it is not mapped");
            }
            if kind.name != "once" {
                assert_eq!((kind.destroy)(memory.at(0)), OK);
                all_say(&kind, memory.0, Status::ErrUninitialised, "destroyed");
                assert_eq!((kind.destroy)(memory.at(0)), Status::ErrUninitialised as i32);
            }
        }
    });
}

#[test]
fn objects_of_one_kind_are_refused_as_another() {
    alone("objects_of_one_kind_are_refused_as_another", &[], || {
        let kinds = kinds();
        for made in &kinds {
            let memory = Memory::new();
            assert_eq!((made.init)(memory.at(0)), OK);
            for used in kinds.iter().filter(|used| used.name != made.name) {
                all_say(used, memory.0, Status::ErrLayout, made.name);
            }
        }
    });
}

#[test]
fn places_of_results_are_checked() {
    let memory = Memory::new();
    assert_eq!(shmkit_semaphore_init(memory.at(0), 1), OK);
    assert_eq!(shmkit_robust_sem_init(memory.at(64), 1), OK);
    assert_eq!(shmkit_barrier_init(memory.at(PAGE), 1), OK);
    assert_eq!(shmkit_event_init(memory.at(32),), OK);
    for wild in [0, 8, usize::MAX - 7, memory.0 + 4001] {
        let bad = Status::ErrBadPointer as i32;
        // SAFETY: these are the documented answers to such places; only that of the bool can be anywhere.
        unsafe {
            assert_eq!(shmkit_semaphore_value(memory.at(0), without_provenance_mut(wild)), bad);
            assert_eq!(shmkit_robust_sem_value(memory.at(64), without_provenance_mut(wild)), bad);
            assert_eq!(shmkit_event_prepare(memory.at(32), without_provenance_mut(wild)), bad);
            if wild & 1 == 0 && wild != 0 {
                assert_eq!(shmkit_barrier_wait(memory.at(PAGE), without_provenance_mut(wild)), bad);
                assert_eq!(shmkit_barrier_timedwait(memory.at(PAGE), SHORT, without_provenance_mut(wild)), bad);
                assert_eq!(shmkit_once_begin(memory.at(2048), without_provenance_mut(wild)), bad);
            }
        }
    }
    // SAFETY: no place, and no function.
    unsafe {
        assert_eq!(shmkit_barrier_wait(memory.at(PAGE), null_mut()), OK);
        assert_eq!(shmkit_once_run(memory.at(2048), None, null_mut()), Status::ErrBadPointer as i32);
    }
}

/// What another thread gets.
fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().expect("it ends"))
}

#[test]
fn a_mutex_and_who_has_it() {
    let memory = Memory::new();
    let mutex = move || memory.at::<shmkit_mutex_t>(0);
    assert_eq!(shmkit_mutex_init(mutex()), OK);
    says("shmkit_mutex_unlock", shmkit_mutex_unlock(mutex()), Status::ErrNotOwner, "free");
    says("shmkit_mutex_consistent", shmkit_mutex_consistent(mutex()), Status::ErrNotOwner, "free");
    says("shmkit_mutex_abandon", shmkit_mutex_abandon(mutex()), Status::ErrNotOwner, "free");
    let locks: [fn(*mut shmkit_mutex_t) -> i32; 3] =
        [|at| shmkit_mutex_lock(at), |at| shmkit_mutex_trylock(at), |at| shmkit_mutex_timedlock(at, SHORT)];
    for lock in locks {
        assert_eq!(lock(mutex()), OK);
        says("shmkit_mutex_lock", shmkit_mutex_lock(mutex()), Status::ErrDeadlock, "again");
        says("shmkit_mutex_trylock", shmkit_mutex_trylock(mutex()), Status::ErrDeadlock, "again");
        says("shmkit_mutex_timedlock", shmkit_mutex_timedlock(mutex(), 1), Status::ErrDeadlock, "again");
        says("shmkit_mutex_consistent", shmkit_mutex_consistent(mutex()), Status::ErrInvalidArgument, "nobody died");
        says("shmkit_mutex_destroy", shmkit_mutex_destroy(mutex()), Status::ErrBusy, "it is held");
        elsewhere(|| {
            says("shmkit_mutex_trylock", shmkit_mutex_trylock(mutex()), Status::ErrBusy, "held");
            says("shmkit_mutex_timedlock", shmkit_mutex_timedlock(mutex(), 0), Status::ErrBusy, "held, no wait");
            says("shmkit_mutex_timedlock", shmkit_mutex_timedlock(mutex(), SHORT), Status::ErrTimeout, "held");
            says("shmkit_mutex_unlock", shmkit_mutex_unlock(mutex()), Status::ErrNotOwner, "another's");
            says("shmkit_mutex_abandon", shmkit_mutex_abandon(mutex()), Status::ErrNotOwner, "another's");
        });
        assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    }
    // Its death is told to one after the other, until one says that all is well.
    let dies = || elsewhere(|| assert!([OK, Status::ErrOwnerDied as i32].contains(&shmkit_mutex_lock(mutex()))));
    dies();
    says("shmkit_mutex_lock", shmkit_mutex_lock(mutex()), Status::ErrOwnerDied, "a death");
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    says("shmkit_mutex_trylock", shmkit_mutex_trylock(mutex()), Status::ErrOwnerDied, "not mended");
    assert_eq!(shmkit_mutex_consistent(mutex()), OK);
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    assert_eq!(shmkit_mutex_lock(mutex()), OK);
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    dies();
    says("shmkit_mutex_timedlock", shmkit_mutex_timedlock(mutex(), FOREVER), Status::ErrOwnerDied, "a death");
    assert_eq!(shmkit_mutex_abandon(mutex()), OK);
    for _ in 0..2 {
        says("shmkit_mutex_lock", shmkit_mutex_lock(mutex()), Status::ErrNotRecoverable, "abandoned");
        says("shmkit_mutex_unlock", shmkit_mutex_unlock(mutex()), Status::ErrNotOwner, "abandoned");
    }
    assert_eq!(shmkit_mutex_destroy(mutex()), OK);
    assert_eq!(shmkit_mutex_init(mutex()), OK);
    assert_eq!(shmkit_mutex_lock(mutex()), OK);
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);
}

#[test]
fn a_rwlock_and_who_has_it() {
    let memory = Memory::new();
    let lock = move || memory.at::<shmkit_rwlock_t>(0);
    assert_eq!(shmkit_rwlock_init(lock()), OK);
    says("shmkit_rwlock_unlock", shmkit_rwlock_unlock(lock()), Status::ErrNotOwner, "free");
    assert_eq!(shmkit_rwlock_write_lock(lock()), OK);
    says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(lock()), Status::ErrDeadlock, "it writes");
    says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(lock()), Status::ErrDeadlock, "it writes");
    says("shmkit_rwlock_consistent", shmkit_rwlock_consistent(lock()), Status::ErrInvalidArgument, "nobody died");
    says("shmkit_rwlock_destroy", shmkit_rwlock_destroy(lock()), Status::ErrBusy, "somebody writes");
    elsewhere(|| {
        says("try_read_lock", shmkit_rwlock_try_read_lock(lock()), Status::ErrBusy, "another writes");
        says("try_write_lock", shmkit_rwlock_try_write_lock(lock()), Status::ErrBusy, "another writes");
        says("timed_read_lock", shmkit_rwlock_timed_read_lock(lock(), SHORT), Status::ErrTimeout, "another writes");
        says("timed_write_lock", shmkit_rwlock_timed_write_lock(lock(), SHORT), Status::ErrTimeout, "another writes");
        says("shmkit_rwlock_unlock", shmkit_rwlock_unlock(lock()), Status::ErrNotOwner, "another's");
        says("shmkit_rwlock_abandon", shmkit_rwlock_abandon(lock()), Status::ErrNotOwner, "another's");
    });
    assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    let reads: [fn(*mut shmkit_rwlock_t) -> i32; 3] = [
        |at| shmkit_rwlock_read_lock(at),
        |at| shmkit_rwlock_try_read_lock(at),
        |at| shmkit_rwlock_timed_read_lock(at, SHORT),
    ];
    for read in reads {
        assert_eq!(read(lock()), OK);
        says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(lock()), Status::ErrDeadlock, "it reads");
        elsewhere(|| {
            assert_eq!(read(lock()), OK);
            assert_eq!(shmkit_rwlock_unlock(lock()), OK);
            says("try_write_lock", shmkit_rwlock_try_write_lock(lock()), Status::ErrBusy, "another reads");
            says(
                "timed_write_lock",
                shmkit_rwlock_timed_write_lock(lock(), SHORT),
                Status::ErrTimeout,
                "another reads",
            );
            says("shmkit_rwlock_unlock", shmkit_rwlock_unlock(lock()), Status::ErrNotOwner, "another's");
        });
        assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    }
    // A dead reader is nobody's concern; a dead writer is told to readers, who write then.
    elsewhere(|| assert_eq!(shmkit_rwlock_read_lock(lock()), OK));
    assert_eq!(shmkit_rwlock_write_lock(lock()), OK);
    assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    elsewhere(|| assert_eq!(shmkit_rwlock_write_lock(lock()), OK));
    says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(lock()), Status::ErrOwnerDied, "a dead writer");
    elsewhere(|| says("try_read_lock", shmkit_rwlock_try_read_lock(lock()), Status::ErrBusy, "it is for writing"));
    assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(lock()), Status::ErrOwnerDied, "not mended");
    assert_eq!(shmkit_rwlock_consistent(lock()), OK);
    assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    assert_eq!(shmkit_rwlock_read_lock(lock()), OK);
    assert_eq!(shmkit_rwlock_unlock(lock()), OK);
    assert_eq!(shmkit_rwlock_write_lock(lock()), OK);
    assert_eq!(shmkit_rwlock_abandon(lock()), OK);
    says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(lock()), Status::ErrNotRecoverable, "abandoned");
    says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(lock()), Status::ErrNotRecoverable, "abandoned");
}

/// Who reads by one mapping of the memory and asks by another one would wait for itself: that is said, and nothing hangs.
#[test]
fn a_rwlock_by_two_mappings() {
    // SAFETY: the name is terminated; the mappings are new, and the file is as large.
    let [here, there] = unsafe {
        let file = libc::memfd_create(c"rwlock".as_ptr(), libc::MFD_CLOEXEC);
        assert!(file >= 0 && libc::ftruncate(file, PAGE as i64) == 0);
        let maps = [0; 2].map(|_| libc::mmap(null_mut(), PAGE, 3, libc::MAP_SHARED, file, 0));
        assert!(!maps.contains(&libc::MAP_FAILED) && libc::close(file) == 0);
        maps.map(|at| at as usize)
    };
    let (here, there) = (move || here as *mut shmkit_rwlock_t, move || there as *mut shmkit_rwlock_t);
    assert_eq!(shmkit_rwlock_init(here()), OK);
    // The short way and the long one: the first reader of a thread has no slot yet.
    for _ in 0..2 {
        assert_eq!(shmkit_rwlock_read_lock(here()), OK);
        says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(there()), Status::ErrDeadlock, "it reads");
        says("try_write_lock", shmkit_rwlock_try_write_lock(there()), Status::ErrDeadlock, "it reads");
        says("timed_write_lock", shmkit_rwlock_timed_write_lock(there(), FOREVER), Status::ErrDeadlock, "it reads");
        says("shmkit_rwlock_unlock", shmkit_rwlock_unlock(there()), Status::ErrNotOwner, "by the other address");
        // The writer that was refused has left nothing: others read, and so does this one once more.
        elsewhere(|| {
            assert_eq!(shmkit_rwlock_read_lock(here()), OK);
            assert_eq!(shmkit_rwlock_unlock(here()), OK);
        });
        assert_eq!(shmkit_rwlock_read_lock(there()), OK);
        assert_eq!(shmkit_rwlock_unlock(there()), OK);
        // A second time, while a writer waits for it to go.
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                assert_eq!(shmkit_rwlock_write_lock(here()), OK);
                assert_eq!(shmkit_rwlock_unlock(here()), OK);
            });
            while shmkit_rwlock_try_read_lock(there()) == OK {
                assert_eq!(shmkit_rwlock_unlock(there()), OK);
                thread::yield_now();
            }
            says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(there()), Status::ErrDeadlock, "a writer waits");
            let timed = shmkit_rwlock_timed_write_lock(there(), 1_000_000_000);
            says("timed_write_lock", timed, Status::ErrDeadlock, "a writer waits");
            says("shmkit_rwlock_write_lock", shmkit_rwlock_write_lock(there()), Status::ErrDeadlock, "a writer waits");
            says("try_write_lock", shmkit_rwlock_try_write_lock(there()), Status::ErrBusy, "a writer waits");
            assert_eq!(shmkit_rwlock_unlock(here()), OK);
            writer.join().expect("it ends");
        });
        assert_eq!(shmkit_rwlock_write_lock(here()), OK);
        says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(there()), Status::ErrDeadlock, "it writes");
        assert_eq!(shmkit_rwlock_unlock(here()), OK);
    }
}

/// A thread that reads and asks once more while a writer waits would wait for itself; the try form does not wait, and
/// says that somebody is before it.
#[test]
fn a_reader_that_reads_again_while_a_writer_waits() {
    let memory = Memory::new();
    let lock = move || memory.at::<shmkit_rwlock_t>(0);
    assert_eq!(shmkit_rwlock_init(lock()), OK);
    assert_eq!(shmkit_rwlock_read_lock(lock()), OK);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            assert_eq!(shmkit_rwlock_write_lock(lock()), OK);
            assert_eq!(shmkit_rwlock_unlock(lock()), OK);
        });
        let refused = loop {
            match shmkit_rwlock_try_read_lock(lock()) {
                OK => assert_eq!(shmkit_rwlock_unlock(lock()), OK),
                other => break other,
            }
            thread::yield_now();
        };
        says("try_read_lock", refused, Status::ErrBusy, "a writer waits");
        says("timed_read_lock", shmkit_rwlock_timed_read_lock(lock(), 0), Status::ErrBusy, "no wait");
        says("timed_read_lock", shmkit_rwlock_timed_read_lock(lock(), FOREVER), Status::ErrDeadlock, "a writer waits");
        says("shmkit_rwlock_read_lock", shmkit_rwlock_read_lock(lock()), Status::ErrDeadlock, "a writer waits");
        assert_eq!(shmkit_rwlock_unlock(lock()), OK);
        writer.join().expect("it ends");
    });
}

#[test]
fn conditions_and_events_say_when_the_time_is_over() {
    let memory = Memory::new();
    let (mutex, cond) = (move || memory.at::<shmkit_mutex_t>(0), move || memory.at::<shmkit_cond_t>(64));
    assert_eq!((shmkit_mutex_init(mutex()), shmkit_cond_init(cond())), (OK, OK));
    says("shmkit_cond_wait", shmkit_cond_wait(cond(), mutex()), Status::ErrNotOwner, "not locked");
    says("shmkit_cond_wait", shmkit_cond_wait(cond(), null_mut()), Status::ErrBadPointer, "no mutex");
    says("shmkit_cond_wait", shmkit_cond_wait(cond(), memory.at(128)), Status::ErrUninitialised, "no mutex there");
    says("shmkit_cond_wait", shmkit_cond_wait(cond(), memory.at(96)), Status::ErrInvalidArgument, "not aligned");
    assert_eq!(shmkit_mutex_lock(mutex()), OK);
    for time in [0, SHORT] {
        says("shmkit_cond_timedwait", shmkit_cond_timedwait(cond(), mutex(), time), Status::ErrTimeout, "no signal");
        says("shmkit_mutex_trylock", shmkit_mutex_trylock(mutex()), Status::ErrDeadlock, "locked again");
    }
    elsewhere(|| says("shmkit_cond_wait", shmkit_cond_wait(cond(), mutex()), Status::ErrNotOwner, "another's"));
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    // The death of the mutex's holder comes through the wait.
    assert_eq!(shmkit_mutex_lock(mutex()), OK);
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(shmkit_mutex_lock(mutex()), OK);
            assert_eq!(shmkit_cond_broadcast(cond()), OK);
        });
        while shmkit_cond_wait(cond(), mutex()) != Status::ErrOwnerDied as i32 {}
    });
    assert_eq!(shmkit_mutex_consistent(mutex()), OK);
    assert_eq!(shmkit_mutex_unlock(mutex()), OK);

    let event = memory.at::<shmkit_event_t>(192);
    let mut key = 0;
    assert_eq!(shmkit_event_init(event), OK);
    // SAFETY: the place is writable.
    unsafe {
        assert_eq!(shmkit_event_prepare(event, &mut key), OK);
        says("shmkit_event_timedwait", shmkit_event_timedwait(event, key, SHORT), Status::ErrTimeout, "silence");
        says("shmkit_event_timedwait", shmkit_event_timedwait(event, key, 0), Status::ErrTimeout, "silence");
        assert_eq!(shmkit_event_notify(event, 1), OK);
        assert_eq!(shmkit_event_wait(event, key), OK, "the key is an old one");
        assert_eq!(shmkit_event_timedwait(event, key, 0), OK);
    }
}

#[test]
fn semaphores_count_within_their_bounds() {
    let memory = Memory::new();
    let (sem, robust) = (memory.at::<shmkit_sem_t>(0), memory.at::<shmkit_robust_sem_t>(64));
    let value = |expected: u32| {
        let mut value = 0;
        // SAFETY: the place is writable.
        assert_eq!(unsafe { shmkit_semaphore_value(sem, &mut value) }, OK);
        assert_eq!(value, expected);
    };
    let bad = Status::ErrInvalidArgument;
    says("semaphore_init", shmkit_semaphore_init(sem, SHMKIT_SEM_VALUE_MAX + 1), bad, "too large");
    says("semaphore_init", shmkit_semaphore_init(sem, u32::MAX), bad, "too large");
    assert_eq!(shmkit_semaphore_init(sem, SHMKIT_SEM_VALUE_MAX), OK);
    for _ in 0..3 {
        says("semaphore_post", shmkit_semaphore_post(sem), Status::ErrOverflow, "full");
        value(SHMKIT_SEM_VALUE_MAX);
    }
    assert_eq!((shmkit_semaphore_wait(sem), shmkit_semaphore_post(sem)), (OK, OK));
    assert_eq!(shmkit_semaphore_init(sem, 1), OK);
    assert_eq!(shmkit_semaphore_trywait(sem), OK);
    value(0);
    says("semaphore_trywait", shmkit_semaphore_trywait(sem), Status::ErrBusy, "0");
    says("semaphore_timedwait", shmkit_semaphore_timedwait(sem, 0), Status::ErrBusy, "0, no wait");
    says("semaphore_timedwait", shmkit_semaphore_timedwait(sem, SHORT), Status::ErrTimeout, "0");
    assert_eq!((shmkit_semaphore_post(sem), shmkit_semaphore_timedwait(sem, SHORT)), (OK, OK));

    for count in [0, SHMKIT_ROBUST_SEM_MAX + 1, u32::MAX] {
        says("robust_sem_init", shmkit_robust_sem_init(robust, count), bad, "of so many");
    }
    for count in [1, 5, SHMKIT_ROBUST_SEM_MAX] {
        assert_eq!(shmkit_robust_sem_init(robust, count), OK);
        says("robust_sem_post", shmkit_robust_sem_post(robust), Status::ErrNotOwner, "it has none");
        for _ in 0..count {
            assert_eq!(shmkit_robust_sem_trywait(robust), OK);
        }
        says("robust_sem_trywait", shmkit_robust_sem_trywait(robust), Status::ErrBusy, "none left");
        says("robust_sem_timedwait", shmkit_robust_sem_timedwait(robust, SHORT), Status::ErrTimeout, "none left");
        let robust = memory;
        elsewhere(|| says("robust_sem_post", shmkit_robust_sem_post(robust.at(64)), Status::ErrNotOwner, "another's"));
        for _ in 0..count {
            assert_eq!(shmkit_robust_sem_post(robust.at(64)), OK);
        }
        says("robust_sem_post", shmkit_robust_sem_post(robust.at(64)), Status::ErrNotOwner, "it has none any more");
        // Permits of a dead thread come back.
        elsewhere(|| (0..count).for_each(|_| assert_eq!(shmkit_robust_sem_wait(robust.at(64)), OK)));
        let mut left = 0;
        // SAFETY: the place is writable.
        assert_eq!(unsafe { shmkit_robust_sem_value(robust.at(64), &mut left) }, OK);
        assert_eq!(left, count);
    }
}

#[test]
fn a_barrier_and_who_takes_part() {
    let memory = Memory::new();
    let barrier = move || memory.at::<shmkit_barrier_t>(0);
    let wait = move |time| {
        let mut serial = false;
        // SAFETY: the place is writable.
        (unsafe { shmkit_barrier_timedwait(barrier(), time, &mut serial) }, serial)
    };
    for count in [0, SHMKIT_BARRIER_MAX + 1, u32::MAX] {
        says("barrier_init", shmkit_barrier_init(barrier(), count), Status::ErrInvalidArgument, "for so many");
    }
    assert_eq!(shmkit_barrier_init(barrier(), 1), OK);
    assert_eq!((wait(FOREVER), wait(0)), ((OK, true), (OK, true)));
    assert_eq!(shmkit_barrier_init(barrier(), 2), OK);
    says("barrier_timedwait", wait(SHORT).0, Status::ErrTimeout, "nobody comes");
    says("barrier_leave", shmkit_barrier_leave(barrier()), Status::ErrNotOwner, "it has not joined");
    assert_eq!(shmkit_barrier_join(barrier()), OK);
    says("barrier_join", shmkit_barrier_join(barrier()), Status::ErrExists, "it has joined");
    let serials = thread::scope(|scope| {
        let other = scope.spawn(|| wait(FOREVER));
        let own = wait(FOREVER);
        let other = other.join().expect("it ends");
        assert_eq!((own.0, other.0), (OK, OK));
        (own.1, other.1)
    });
    assert!(serials.0 != serials.1, "one of the two is the serial one: {serials:?}");
    assert_eq!(shmkit_barrier_leave(barrier()), OK);
    says("barrier_leave", shmkit_barrier_leave(barrier()), Status::ErrNotOwner, "it has left");
    elsewhere(|| assert_eq!(shmkit_barrier_join(barrier()), OK));
    for _ in 0..2 {
        says("barrier_timedwait", wait(FOREVER).0, Status::ErrOwnerDied, "one that had joined died");
    }
    assert_eq!(shmkit_barrier_reset(barrier()), OK);
    says("barrier_timedwait", wait(SHORT).0, Status::ErrTimeout, "whole, and nobody comes");
    assert_eq!(shmkit_barrier_reset(barrier()), OK, "of one that is whole");

    // Twice as many places as parties, and not one more.
    assert_eq!(shmkit_barrier_init(barrier(), SHMKIT_BARRIER_MAX), OK);
    let gate = Arc::new(Barrier::new(2 * SHMKIT_BARRIER_MAX as usize + 1));
    thread::scope(|scope| {
        for _ in 0..2 * SHMKIT_BARRIER_MAX {
            let gate = gate.clone();
            scope.spawn(move || {
                let joined = shmkit_barrier_join(barrier());
                gate.wait();
                gate.wait();
                assert_eq!((joined, shmkit_barrier_leave(barrier())), (OK, OK));
            });
        }
        gate.wait();
        let results = (shmkit_barrier_join(barrier()), wait(SHORT).0);
        let words = message();
        gate.wait();
        assert_eq!(results, (Status::ErrLimit as i32, Status::ErrLimit as i32), "{words}");
    });
    assert_eq!(shmkit_barrier_join(barrier()), OK);
    assert_eq!(shmkit_barrier_leave(barrier()), OK);
}

/// What the work of a once is told: the once, what to answer, and how often it was called.
struct Work {
    once: *mut shmkit_once_t,
    answer: c_int,
    calls: u32,
    inner: i32,
}

extern "C" fn recursive_work(user: *mut c_void) -> c_int {
    // SAFETY: the test passes a `Work` that nobody else uses meanwhile.
    unsafe {
        let work = user.cast::<Work>();
        (*work).calls += 1;
        (*work).inner = shmkit_once_run((*work).once, Some(recursive_work), user);
        (*work).answer
    }
}

#[test]
fn once_is_done_once_and_refused_as_often_as_it_likes() {
    let memory = Memory::new();
    let once = memory.at::<shmkit_once_t>(0);
    let mut work = Work { once, answer: 7, calls: 0, inner: OK };
    let user = (&raw mut work).cast::<c_void>();
    // SAFETY: `work` outlives the calls, and the other places are writable.
    unsafe {
        for calls in 1..=3 {
            says("once_run", shmkit_once_run(once, Some(recursive_work), user), Status::ErrCallback, "refused");
            assert!(message().contains('7'), "{}", message());
            assert_eq!((work.calls, work.inner), (calls, Status::ErrDeadlock as i32));
        }
        work.answer = 0;
        for _ in 0..2 {
            assert_eq!(shmkit_once_run(once, Some(recursive_work), user), OK);
            assert_eq!(work.calls, 4);
        }
        let mut yours = true;
        assert_eq!((shmkit_once_begin(once, &mut yours), yours), (OK, false));
        says("once_end", shmkit_once_end(once, true), Status::ErrNotOwner, "it is done");
        assert_eq!(shmkit_once_init(once), OK);
        says("once_end", shmkit_once_end(once, true), Status::ErrNotOwner, "not begun");
        assert_eq!((shmkit_once_begin(once, &mut yours), yours), (OK, true));
        says("once_begin", shmkit_once_begin(once, &mut yours), Status::ErrDeadlock, "begun");
        elsewhere(|| says("once_end", shmkit_once_end(memory.at(0), true), Status::ErrNotOwner, "another's"));
        assert_eq!(shmkit_once_end(once, false), OK);
        // One that dies in the midst of it is followed by the next.
        elsewhere(|| {
            let mut yours = false;
            assert_eq!((shmkit_once_begin(memory.at(0), &mut yours), yours), (OK, true));
        });
        assert_eq!((shmkit_once_begin(once, &mut yours), yours), (OK, true));
        assert_eq!(shmkit_once_end(once, true), OK);
        assert_eq!((shmkit_once_begin(once, &mut yours), yours), (OK, false));
    }
}

/// The header declares the types with the sizes and alignments that the library has.
#[test]
fn objects_are_as_large_as_the_header_says() {
    let header = std::fs::read_to_string(root().join("include/shmkit.h")).expect("the header is there");
    for kind in kinds() {
        let declared = format!(
            "typedef struct SHMKIT_ALIGNED({}) shmkit_{}_t {{\n    uint8_t bytes[{}];\n}}",
            kind.align, kind.name, kind.size
        );
        assert!(header.contains(&declared), "the header does not say:\n{declared}");
        assert_eq!(kind.size % kind.align, 0);
    }
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Bytes of one object: random ones, or a good stamp over random ones, or a good object with some words that mean
/// something.
fn spoil(kind: &Kind, memory: Memory, random: &mut Random) {
    // SAFETY: takes nothing.
    let own = unsafe { libc::gettid() } as u32;
    let chosen = [0, 1, 2, 3, own, own | 1 << 31, own | 1 << 30, !0, !0 >> 2, 1 << 30, 1 << 31, 3 << 30, 0x2000_0000];
    let word = |random: &mut Random| match random.next() % 3 {
        0 => random.next() as u32,
        1 => 0x2000_0000 | (random.next() as u32 & 0x03ff_ffff),
        _ => chosen[random.next() as usize % chosen.len()],
    };
    assert_eq!((kind.init)(memory.at(0)), OK);
    let stamp = [STAMP_AT, STAMP_AT + 4].map(|at| memory.word(at).load(SeqCst));
    match random.next() % 4 {
        0 => (0..kind.size).step_by(4).for_each(|at| memory.word(at).store(random.next() as u32, SeqCst)),
        1 => (0..kind.size).step_by(4).for_each(|at| memory.word(at).store(word(random), SeqCst)),
        _ => (0..1 + random.next() % 12).for_each(|_| {
            // The words of the lock, or any.
            let all = if random.next().is_multiple_of(2) { 64.min(kind.size) } else { kind.size } as u64;
            memory.word((random.next() % all / 4 * 4) as usize).store(word(random), SeqCst);
        }),
    }
    if !random.next().is_multiple_of(8) {
        // Sometimes of another pid namespace.
        let space = if random.next().is_multiple_of(4) { random.next() as u32 } else { stamp[0] };
        memory.word(STAMP_AT).store(space, SeqCst);
        memory.word(STAMP_AT + 4).store(stamp[1], SeqCst);
    }
}

#[test]
fn hostile_bytes_lead_to_an_answer() {
    alone("hostile_bytes_lead_to_an_answer", &[], || {
        let answers = AtomicUsize::new(0);
        let (mut good, mut bad) = (0, 0);
        for (number, kind) in kinds().iter().enumerate() {
            // A robust semaphore waits ten milliseconds for its own lock.
            let rounds = if kind.name == "robust_sem" { 240 } else { 3000 };
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number as u64);
            for _ in 0..rounds / 30 {
                // A thread of its own, which ends with a list that hostile bytes have run through.
                let (answers, random) = (&answers, &mut random);
                let counts = elsewhere(move || {
                    let memory = Memory::new();
                    let mut counts = [0, 0];
                    for _ in 0..30 {
                        spoil(kind, memory, random);
                        for _ in 0..2 * kind.bounded.len() {
                            let (name, call) = kind.bounded[random.next() as usize % kind.bounded.len()];
                            if name.contains("cond_timedwait") {
                                let _ = shmkit_mutex_lock(some_mutex());
                            }
                            let result = call(memory.at(0));
                            assert!(result != Status::ErrInternal as i32, "{name}: {}", message());
                            assert!(result <= 0, "{name} answers {result}");
                            counts[usize::from(result != OK)] += 1;
                            answers.fetch_add(1, SeqCst);
                        }
                        let _ = (kind.destroy)(memory.at(0));
                    }
                    // SAFETY: the pages are this thread's, which uses nothing of shmkit any more.
                    assert_eq!(unsafe { libc::munmap(memory.at(0), 2 * PAGE) }, 0);
                    counts
                });
                good += counts[0];
                bad += counts[1];
            }
        }
        println!("{} answers, {good} good", answers.load(SeqCst));
        assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
    });
}

const THREADS: usize = 8;
const ROUNDS: usize = 3000;

/// Eight threads raise a number that only a lock keeps whole.
fn raise(memory: Memory, lock: impl Fn() + Sync, unlock: impl Fn() + Sync) {
    let count = || memory.at::<u64>(PAGE + 2048);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    lock();
                    // SAFETY: inside the pages; the lock is what is tested.
                    unsafe { count().write_volatile(count().read_volatile() + 1) };
                    unlock();
                }
            });
        }
    });
    // SAFETY: all threads have ended.
    assert_eq!(unsafe { count().read_volatile() }, (THREADS * ROUNDS) as u64);
}

#[test]
fn eight_threads_lose_no_update() {
    let memory = Memory::new();
    assert_eq!(shmkit_mutex_init(memory.at(0)), OK);
    raise(
        memory,
        || assert_eq!(shmkit_mutex_lock(memory.at(0)), OK),
        || assert_eq!(shmkit_mutex_unlock(memory.at(0)), OK),
    );
    let memory = Memory::new();
    assert_eq!(shmkit_semaphore_init(memory.at(0), 1), OK);
    raise(
        memory,
        || assert_eq!(shmkit_semaphore_wait(memory.at(0)), OK),
        || assert_eq!(shmkit_semaphore_post(memory.at(0)), OK),
    );
    let memory = Memory::new();
    assert_eq!(shmkit_robust_sem_init(memory.at(0), 1), OK);
    raise(
        memory,
        || assert_eq!(shmkit_robust_sem_wait(memory.at(0)), OK),
        || assert_eq!(shmkit_robust_sem_post(memory.at(0)), OK),
    );
    let memory = Memory::new();
    assert_eq!(shmkit_rwlock_init(memory.at(0)), OK);
    raise(
        memory,
        || {
            // A reader between two writers sees both halves of nothing.
            assert_eq!(shmkit_rwlock_read_lock(memory.at(0)), OK);
            assert_eq!(shmkit_rwlock_unlock(memory.at(0)), OK);
            assert_eq!(shmkit_rwlock_write_lock(memory.at(0)), OK);
        },
        || assert_eq!(shmkit_rwlock_unlock(memory.at(0)), OK),
    );
}

/// Four threads bring and four fetch through a place for three things.
#[test]
fn conditions_lose_no_thing() {
    let memory = Memory::new();
    let (mutex, full, empty) = (move || memory.at(0), move || memory.at(64), move || memory.at(96));
    let things = memory.word(2048);
    assert_eq!((shmkit_mutex_init(mutex()), shmkit_cond_init(full()), shmkit_cond_init(empty())), (OK, OK, OK));
    let change = |wait_on: &dyn Fn() -> *mut shmkit_cond_t, barred: u32, tell: *mut shmkit_cond_t, by: u32| {
        assert_eq!(shmkit_mutex_lock(mutex()), OK);
        while things.load(SeqCst) == barred {
            assert_eq!(shmkit_cond_wait(wait_on(), mutex()), OK);
        }
        things.store(things.load(SeqCst).wrapping_add(by), SeqCst);
        assert_eq!(shmkit_cond_signal(tell), OK);
        assert_eq!(shmkit_mutex_unlock(mutex()), OK);
    };
    thread::scope(|scope| {
        for _ in 0..THREADS / 2 {
            scope.spawn(|| (0..ROUNDS / 3).for_each(|_| change(&empty, 3, full(), 1)));
            scope.spawn(|| (0..ROUNDS / 3).for_each(|_| change(&full, 0, empty(), u32::MAX)));
        }
    });
    assert_eq!(things.load(SeqCst), 0);
}

/// A C program over every object, plain and under valgrind.
#[test]
fn a_c_program_is_clean_under_valgrind() {
    let folder = tempfile::tempdir().expect("there is room");
    place_library(folder.path());
    let program = folder.path().join("sync");
    let mut command = compiler(false);
    command.args(["-std=c11", "-D_GNU_SOURCE", "-pthread", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    command.arg("-I").arg(root().join("include")).arg(root().join("tests/sync.c")).arg("-o").arg(&program);
    command.arg("-L").arg(folder.path()).arg("-lshmkit").arg(format!("-Wl,-rpath,{}", folder.path().display()));
    run(&mut command);
    // Four threads and two processes, of fifty rounds each; the work is done once.
    assert_eq!(run(&mut std::process::Command::new(&program)), "300 1\n");
    let mut valgrind = std::process::Command::new("valgrind");
    valgrind.args(["--error-exitcode=9", "--leak-check=full", "-q", "--trace-children=yes"]);
    valgrind.arg("--errors-for-leak-kinds=definite").arg(&program);
    assert_eq!(run(&mut valgrind), "300 1\n");
}
