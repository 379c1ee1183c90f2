//! Regions and threads: cancellation does not unwind through the library, and any thread may use and close any handle.
//! `SHMKIT_STORM_SECONDS` sets how long the storm lasts (5).

use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::in_a_room;
use crate::room::Kind::{File, Memfd, Posix, Sysv};
use crate::room::*;

unsafe extern "C" {
    fn pthread_cancel(thread: libc::pthread_t) -> c_int;
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
}

/// What a cancelled thread works on, and how far it came.
struct Work {
    address: std::ffi::CString,
    region: Region,
    socket: [i32; 2],
    /// Which call, from 0.
    call: usize,
    status: i32,
    returned: bool,
}

const CALLS: usize = 22;

/// Makes one call with a cancellation pending. It must return: a call of the library is no place to be cancelled.
extern "C" fn one_call(work: *mut c_void) -> *mut c_void {
    // SAFETY: the test waits for this thread before it looks at the work again.
    let work = unsafe { &mut *work.cast::<Work>() };
    let handle = work.region.0;
    let wanted = options(5000);
    let address = work.address.as_ptr();
    let mut other = null_mut();
    let mut bytes = [0u8; 64];
    // SAFETY: the arguments are good; the cancellation is this thread's own.
    unsafe {
        pthread_cancel(libc::pthread_self());
        work.status = match work.call {
            0 => shmkit_region_open(address, null(), &mut other),
            1 => shmkit_region_open_or_create(address, &wanted, &mut other, null_mut()),
            2 => -i32::from(shmkit_region_data(handle).is_null()),
            3 => -i32::from(shmkit_region_size(handle) == 0),
            4 => shmkit_region_copy_in(handle, 0, bytes.as_ptr().cast(), 64),
            5 => shmkit_region_copy_out(handle, 0, bytes.as_mut_ptr().cast(), 64),
            6 => shmkit_region_copy_out(handle, 1 << 30, bytes.as_mut_ptr().cast(), 64),
            7 => -i32::from(shmkit_region_address(handle).is_null()),
            8 => shmkit_region_fd(handle).min(0),
            9 => shmkit_region_grow(handle, 6000),
            10 => shmkit_region_sync(handle, 0, SHMKIT_TO_END, SHMKIT_SYNC_NAME),
            11 => shmkit_region_protect(handle, 0, SHMKIT_TO_END, 3),
            12 => shmkit_region_advise(handle, 0, SHMKIT_TO_END, libc::MADV_WILLNEED),
            13 => shmkit_region_stat(handle, null_mut()),
            14 => shmkit_region_access_begin(handle, null_mut(), null_mut()),
            15 => shmkit_region_access_end(handle),
            16 => shmkit_region_participants(handle, None, null_mut()),
            17 => shmkit_region_send(handle, work.socket[0], SHMKIT_SEND_READ_WRITE),
            18 => shmkit_region_recv(work.socket[1], null(), &mut other),
            19 => {
                let mut answer = 0;
                shmkit_region_is_orphan(address, &mut answer)
            }
            20 => shmkit_gc(SHMKIT_GC_DRY_RUN, None, null_mut(), null_mut()),
            _ => shmkit_region_close(handle),
        };
        if !other.is_null() {
            work.status |= shmkit_region_close(other);
        }
        work.returned = true;
        // Here the cancellation takes effect.
        pthread_testcancel();
    }
    null_mut()
}

/// As `one_call`, with a creation.
extern "C" fn one_creation(work: *mut c_void) -> *mut c_void {
    // SAFETY: as above.
    let work = unsafe { &mut *work.cast::<Work>() };
    unsafe extern "C" fn fill(data: *mut c_void, _: usize, _: *mut c_void) -> i32 {
        // A callback may come to a cancellation point; the creation is finished all the same.
        // SAFETY: the region's own memory.
        unsafe {
            libc::usleep(1000);
            data.cast::<u8>().write(9);
        }
        0
    }
    let wanted = RegionOptions { init: Some(fill), ..options(5000) };
    let mut region = null_mut();
    // SAFETY: as above.
    unsafe {
        pthread_cancel(libc::pthread_self());
        work.status = shmkit_region_create(work.address.as_ptr(), &wanted, &mut region);
        work.region = Region(region);
        work.returned = true;
        pthread_testcancel();
    }
    null_mut()
}

/// Runs a thread to its end; it must have been cancelled.
fn cancelled(start: extern "C" fn(*mut c_void) -> *mut c_void, work: &mut Work) {
    // SAFETY: the work outlives the thread.
    unsafe {
        let mut thread: libc::pthread_t = 0;
        assert_eq!(libc::pthread_create(&mut thread, null(), start, std::ptr::from_mut(work).cast()), 0);
        let mut result = null_mut();
        assert_eq!(libc::pthread_join(thread, &mut result), 0);
        assert_eq!(result as isize, -1, "call {} ended by itself: the cancellation was lost", work.call);
    }
}

#[test]
fn cancellation_waits_for_the_end_of_a_call() {
    in_a_room!("cancellation_waits_for_the_end_of_a_call", || {
        let mut calls = 0;
        over(&Kind::NAMED, |place| {
            let mut work = Work {
                address: c(&place.address),
                region: Region(null_mut()),
                socket: socket_pair(libc::SOCK_SEQPACKET),
                call: 0,
                status: 0,
                returned: false,
            };
            cancelled(one_creation, &mut work);
            assert!(work.returned && work.status == 0, "{:?}: a creation was cancelled half way", place.kind);
            assert_eq!(work.region.bytes(0, 1), [9]);
            // Of a handle that is fragile, and once more with a good descriptor waiting in the socket.
            for call in 0..CALLS {
                if call == 18 && place.kind == Sysv {
                    continue; // Nothing was sent, and nothing comes.
                }
                (work.call, work.returned) = (call, false);
                cancelled(one_call, &mut work);
                assert!(work.returned, "{:?}: call {call} was cancelled half way", place.kind);
            }
            assert_eq!(work.status, 0, "the last call closes the region");
            refused(work.region.stat(), Status::ErrBadHandle);
            close_all(&work.socket);
            unlink(&place.address).expect("the name is there");
        });
        calls += CALLS * 3;
        println!("{calls} calls with a cancellation pending");
    });
}

fn storm_time() -> Duration {
    Duration::from_secs(
        std::env::var("SHMKIT_STORM_SECONDS").map_or(5, |text| text.parse().expect("a number of seconds")),
    )
}

/// Handles that threads share: each slot is replaced while others use what was in it.
struct Shared {
    handles: Vec<Mutex<Region>>,
    addresses: Vec<String>,
}

/// Every call on a handle that another thread may close at any moment: any answer but a crash and an odd status.
fn everything(region: Region, other: &str, rounds: &AtomicU64) {
    let gone = |status: i32, allowed: &[Status]| {
        let fine =
            status == 0 || status == Status::ErrBadHandle as i32 || allowed.iter().any(|one| *one as i32 == status);
        assert!(fine, "{}: {status}: {}", other, support::message());
    };
    let mut bytes = [0u8; 100];
    let handle = region.0;
    // SAFETY: the arguments are good. The data of a handle that others close is not touched, nor is it copied by a fast path.
    unsafe {
        let mut stat: RegionStat = std::mem::zeroed();
        stat.struct_size = size_of::<RegionStat>();
        gone(shmkit_region_stat(handle, &mut stat), &[]);
        gone(shmkit_region_grow(handle, 3000), &[Status::ErrBackend, Status::ErrNotPermitted]);
        gone(shmkit_region_advise(handle, 0, SHMKIT_TO_END, libc::MADV_NORMAL), &[]);
        gone(shmkit_region_sync(handle, 0, SHMKIT_TO_END, SHMKIT_SYNC_START), &[Status::ErrBackend]);
        gone(shmkit_region_lock_memory(handle, 0, SHMKIT_TO_END), &[]);
        gone(shmkit_region_unlock_memory(handle, 0, SHMKIT_TO_END), &[]);
        gone(shmkit_region_protect(handle, 0, SHMKIT_TO_END, 3), &[]);
        let (mut data, mut size) = (null_mut(), 0);
        gone(shmkit_region_access_begin(handle, &mut data, &mut size), &[Status::ErrUnsupported]);
        gone(shmkit_region_access_end(handle), &[]);
        unsafe extern "C" fn meet(_: *const RegionParticipant, _: *mut c_void) -> i32 {
            0
        }
        gone(shmkit_region_participants(handle, Some(meet), null_mut()), &[]);
        shmkit_region_fd(handle);
        shmkit_region_size(handle);
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        let sent = shmkit_region_send(handle, ours, SHMKIT_SEND_READ_WRITE);
        gone(sent, &[Status::ErrBackend]);
        if sent == 0 {
            let got = recv(theirs, &options(0)).expect("it was sent");
            got.copy_out(0, &mut bytes).expect("it fits");
            got.closed();
        }
        close_all(&[ours, theirs]);
        gone(shmkit_region_seal(handle, SHMKIT_SEAL_GROW), &[Status::ErrBackend]);
    }
    rounds.fetch_add(1, Ordering::Relaxed);
}

/// A region of this thread alone, through its whole life.
fn own_life(kind: Kind) {
    let place = kind.fresh();
    let wide = if kind == Sysv { 0 } else { 100_000 };
    let (region, created) =
        open_or_create(&place.address, &RegionOptions { max_size: wide, ..options(1000) }).expect("room");
    assert!(created);
    region.copy_in(0, &[7; 1000]).expect("it fits");
    if kind != Sysv {
        region.grow(50_000).expect("max_size allows it");
        region.copy_in(49_999, b"x").expect("it fits");
    }
    assert_eq!(region.bytes(999, 1), [7]);
    let all = region.participants().expect("it has leases");
    // To list a segment another thread attaches it for a moment, which counts as a participant of whom nothing is known.
    let unknown = |one: &RegionParticipant| kind == Sysv && one.process.pid == 0;
    assert!(
        all[1..].iter().all(unknown),
        "{kind:?}: {} participants, one of them is {}",
        all.len(),
        all[1].process.pid
    );
    if kind.is_named() {
        let reader = open(&place.address, &RegionOptions { read_only: 1, ..options(0) }).expect("it is there");
        assert_eq!(reader.bytes(0, 1000), [7; 1000]);
        reader.closed();
        region.unlink().expect("the name is its own");
    }
    region.closed();
    refused(region.copy_in(0, b"x"), Status::ErrBadHandle);
}

#[test]
fn eight_threads_use_and_close_everything() {
    in_a_room!("eight_threads_use_and_close_everything", || {
        let kinds = [Posix, Sysv, File, Memfd];
        let places: Vec<Place> = kinds.iter().map(|kind| kind.fresh()).collect();
        let wanted = |kind: Kind| RegionOptions { max_size: if kind == Sysv { 0 } else { 4000 }, ..options(2000) };
        // Memory without a name has no second handle by name: there each new handle is a new region.
        let again = |index: usize| -> Region {
            open_or_create(&places[index].address, &wanted(kinds[index])).expect("it is there, or is made").0
        };
        let keep: Vec<Region> = (0..kinds.len()).map(again).collect();
        let shared = Shared {
            handles: (0..kinds.len()).map(|index| Mutex::new(again(index))).collect(),
            addresses: places.iter().map(|place| place.address.clone()).collect(),
        };
        let (rounds, lives, closes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let start = Instant::now();
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        // Longer where others have the processors.
        let enough = || count(&rounds) > 10 && count(&closes) > 10 && count(&lives) > 10;
        std::thread::scope(|scope| {
            for thread in 0..8usize {
                let (shared, rounds, lives, closes, again) = (&shared, &rounds, &lives, &closes, &again);
                let enough = &enough;
                scope.spawn(move || {
                    let mut turn = thread;
                    while start.elapsed() < storm_time() * if enough() { 1 } else { 30 } {
                        turn += 1;
                        let index = turn % shared.handles.len();
                        let region = *shared.handles[index].lock().expect("nobody panics with it");
                        match thread {
                            0 | 1 => {
                                let fresh = again(index);
                                let old =
                                    std::mem::replace(&mut *shared.handles[index].lock().expect("as above"), fresh);
                                old.closed();
                                closes.fetch_add(1, Ordering::Relaxed);
                            }
                            2 | 3 => {
                                own_life(Kind::ALL[turn % 5]);
                                lives.fetch_add(1, Ordering::Relaxed);
                            }
                            4 => {
                                // SAFETY: no callback, no count.
                                let status = unsafe { shmkit_gc(SHMKIT_GC_REMOVE, None, null_mut(), null_mut()) };
                                assert_eq!(status, 0, "{}", support::message());
                                assert!(list(SHMKIT_LIST_ALL).expect("a list can be had").len() > 1);
                                everything(region, &shared.addresses[index], rounds);
                            }
                            _ => everything(region, &shared.addresses[index], rounds),
                        }
                    }
                });
            }
        });
        println!(
            "{} rounds of every call on handles that were closed {} times meanwhile, {} lives of other regions, in {:?}",
            count(&rounds),
            count(&closes),
            count(&lives),
            start.elapsed()
        );
        assert!(enough());
        for (index, region) in keep.into_iter().enumerate() {
            assert_eq!(region.bytes(0, 1), [0], "a region that was open all the time is not what it was");
            let last = *shared.handles[index].lock().expect("nobody panicked");
            last.closed();
            if kinds[index].is_named() {
                assert_eq!(region.participants().expect("it has leases").len(), 1, "a lease was lost or kept");
                region.unlink().expect("gc leaves what is in use");
            }
            region.closed();
        }
    });
}

/// Signals whose handler lets system calls end early come again and again: no call says that it was interrupted.
#[test]
fn signals_that_come_again_and_again() {
    static CAME: AtomicU64 = AtomicU64::new(0);
    extern "C" fn came(_: c_int) {
        CAME.fetch_add(1, Ordering::Relaxed);
    }
    in_a_room!("signals_that_come_again_and_again", || {
        // SAFETY: the structs are good; the handler only counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = came as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &action, null_mut()), 0);
            let every = libc::timeval { tv_sec: 0, tv_usec: 500 };
            let timer = libc::itimerval { it_interval: every, it_value: every };
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()), 0);
        }
        for round in 0..40 {
            for kind in Kind::ALL {
                own_life(kind);
                if round % 10 == 0 {
                    let place = kind.fresh();
                    let region = create(&place.address, &options(64 * MIB)).expect("there is room");
                    assert!(region.stat().expect("it is open").reserved >= 64 * MIB as u64);
                    if kind.is_named() {
                        region.unlink().expect("the name is its own");
                    }
                    region.closed();
                }
            }
            // A receiver that waits, and a sender that finds no room.
            let place = Memfd.fresh();
            let region = create(&place.address, &options(100)).expect("there is room");
            let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        recv(theirs, &options(0)).expect("it was sent").closed();
                    }
                });
                std::thread::sleep(Duration::from_millis(2));
                for _ in 0..20 {
                    region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
                }
            });
            close_all(&[ours, theirs]);
            region.closed();
        }
        // SAFETY: as above.
        unsafe {
            let timer: libc::itimerval = std::mem::zeroed();
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()), 0);
        }
        println!("{} signals", CAME.load(Ordering::Relaxed));
        assert!(CAME.load(Ordering::Relaxed) > 100);
    });
}

/// Who waits for a lock that another process holds, while signals come, waits as long as it was told to.
/// A thread is in the midst of a call on a handle while another one forks: in the child, where that thread is not, the
/// handle can be closed, and nothing of the region stays there.
#[test]
fn a_child_closes_what_a_thread_was_using() {
    /// Says that it was called, and waits until it is told to go on.
    unsafe extern "C" fn stay(_: *const RegionParticipant, user: *mut c_void) -> i32 {
        // SAFETY: the test passes two descriptors; the byte is readable and writable.
        unsafe {
            let [says, hears] = *user.cast::<[c_int; 2]>();
            let mut byte = 0u8;
            libc::write(says, b"+".as_ptr().cast(), 1);
            libc::read(hears, (&raw mut byte).cast(), 1);
        }
        1
    }
    in_a_room!("a_child_closes_what_a_thread_was_using", || over(&Kind::ALL, |place| {
        let nothing = Traces::look();
        for closes_first in [false, true] {
            let region = create(&place.address, &options(5000)).expect("there is room");
            let (mut ends, mut others) = ([0; 2], [0; 2]);
            // SAFETY: the ends are writable.
            unsafe {
                assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
                assert_eq!(libc::pipe2(others.as_mut_ptr(), libc::O_CLOEXEC), 0);
            }
            let mut both = [ends[1], others[0]];
            let user = &raw mut both as usize;
            let thread = std::thread::spawn(move || {
                let Region(handle) = { region };
                // SAFETY: the descriptors stay until the thread was joined.
                unsafe { shmkit_region_participants(handle, Some(stay), user as *mut c_void) }
            });
            let mut byte = 0u8;
            // SAFETY: the byte is writable.
            assert_eq!(unsafe { libc::read(ends[0], (&raw mut byte).cast(), 1) }, 1);
            if place.kind.is_named() {
                region.unlink().expect("the name is its own");
            }
            if closes_first {
                region.close().expect("it is open");
            }
            support::in_good_child(|| {
                if !closes_first {
                    region.close().expect("it is open in the child");
                }
                let now = Traces::look();
                assert_eq!(now.mappings, nothing.mappings, "mapped in the child");
                let of_region = |one: &&String| one.contains("#") || one.contains("memfd") || one.contains("shm");
                assert_eq!(now.descriptors.iter().find(of_region), None, "open in the child");
            });
            // SAFETY: the byte is readable.
            assert_eq!(unsafe { libc::write(others[1], b"+".as_ptr().cast(), 1) }, 1);
            assert_eq!(thread.join().ok(), Some(0));
            close_all(&[ends, others].concat());
            if !closes_first {
                region.closed();
            }
        }
    }));
}

#[test]
fn a_wait_is_as_long_as_it_was_told() {
    extern "C" fn came(_: c_int) {}
    /// Says that it is there, and stays until it is told to come to its end.
    unsafe extern "C" fn stay(_: *mut c_void, _: usize, user: *mut c_void) -> i32 {
        // SAFETY: the descriptors that were given below: one to write to and one to read from.
        unsafe {
            let [says, hears] = *user.cast::<[i32; 2]>();
            libc::write(says, b"+".as_ptr().cast(), 1);
            let mut byte = 0u8;
            -i32::from(libc::read(hears, (&raw mut byte).cast(), 1) != 1)
        }
    }
    in_a_room!("a_wait_is_as_long_as_it_was_told", || over(&Kind::NAMED, |place| {
        let (mut ends, mut others) = ([0; 2], [0; 2]);
        // SAFETY: the ends are writable; the child leaves by _exit.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            assert_eq!(libc::pipe2(others.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let child = libc::fork();
            if child == 0 {
                let mut both = [ends[1], others[0]];
                let user = (&raw mut both).cast();
                let made = create(&place.address, &RegionOptions { init: Some(stay), init_user: user, ..options(10) });
                libc::_exit(i32::from(made.is_err()));
            }
            let mut byte = 0u8;
            assert_eq!(libc::read(ends[0], (&raw mut byte).cast(), 1), 1);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = came as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGALRM, &action, null_mut()), 0);
            let every = libc::timeval { tv_sec: 0, tv_usec: 1000 };
            assert_eq!(
                libc::setitimer(
                    libc::ITIMER_REAL,
                    &libc::itimerval { it_interval: every, it_value: every },
                    null_mut()
                ),
                0
            );
            let start = Instant::now();
            let wanted = |timeout_ns| RegionOptions { timeout_ns, init: Some(stay), ..options(10) };
            refused(open_or_create(&place.address, &wanted(50_000_000)), Status::ErrTimeout);
            assert!(start.elapsed() >= Duration::from_millis(50), "it gave up early: {:?}", start.elapsed());
            // For ever: until the creator is done, which a thread tells it to be while this one waits.
            let hears = others[1];
            let teller = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                libc::write(hears, b"+".as_ptr().cast(), 1)
            });
            let (region, created) =
                open_or_create(&place.address, &wanted(u64::MAX)).expect("the creator comes to its end");
            assert!(!created);
            assert_eq!(teller.join().ok(), Some(1));
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &std::mem::zeroed(), null_mut()), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0);
            region.unlink().expect("the name is its own");
            region.closed();
        }
        close_all(&[ends, others].concat());
    }));
}
