//! The library inside a process: threads, forks, signal handlers, errno, the ledger's bounds and the end of the process.
//! `SHMKIT_STORM_SECONDS` sets how long the storm of threads lasts (10). scripts/test runs it under sanitizers too.

mod support;

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shmkit::calls::ledger;
use shmkit::calls::limits::Limits;
use shmkit::capi::{file, limits, memory, policy, posix, record, sem, semset, sysv};
use support::{alone, errno, in_good_child, message, object_name, set_errno};

const PAGE: usize = 4096;
const ANON: i32 = libc::MAP_SHARED | libc::MAP_ANONYMOUS;

fn map(pages: usize) -> *mut c_void {
    let at = memory::shmkit_mmap(null_mut(), pages * PAGE, 3, ANON, -1, 0);
    assert_ne!(at, libc::MAP_FAILED, "{}", message());
    at
}

/// One round of every call, on objects of this thread alone; nothing is left behind.
fn everything() {
    let name = object_name();
    // SAFETY: the strings and buffers are this function's own.
    unsafe {
        let fd = posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
        assert!(fd >= 0, "{}", message());
        assert_eq!(file::shmkit_ftruncate(fd, 4 * PAGE as i64), 0);
        assert_eq!(file::shmkit_posix_fallocate(fd, 0, 2 * PAGE as i64), 0);
        let at = memory::shmkit_mmap(null_mut(), 4 * PAGE, 3, libc::MAP_SHARED, fd, 0);
        assert_ne!(at, libc::MAP_FAILED);
        assert_eq!(memory::shmkit_mprotect(at, PAGE, 1), 0);
        assert_eq!(memory::shmkit_msync(at, PAGE, libc::MS_SYNC), 0);
        assert_eq!(memory::shmkit_madvise(at, PAGE, libc::MADV_WILLNEED), 0);
        assert_eq!(memory::shmkit_mlock(at, PAGE), 0);
        assert_eq!(memory::shmkit_munlock(at, PAGE), 0);
        let mut stat: libc::stat = std::mem::zeroed();
        assert_eq!(file::shmkit_fstat(fd, &mut stat), 0);
        assert_eq!(stat.st_size, 4 * PAGE as i64);
        // A hole in the middle, then the rest moved to a place of its own.
        assert_eq!(memory::shmkit_munmap(at.add(PAGE), PAGE), 0);
        let moved = memory::shmkit_mremap(at.add(2 * PAGE), 2 * PAGE, 3 * PAGE, libc::MREMAP_MAYMOVE, null_mut());
        assert_ne!(moved, libc::MAP_FAILED, "{}", message());
        assert_eq!(memory::shmkit_munmap(moved, 3 * PAGE), 0);
        assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
        assert_eq!(file::shmkit_close(fd), 0);
        assert_eq!(posix::shmkit_shm_unlink(name.as_ptr()), 0);

        let memfd = posix::shmkit_memfd_create(c"storm".as_ptr(), libc::MFD_CLOEXEC);
        assert_eq!(file::shmkit_close(memfd), 0);
        let key = sysv::shmkit_ftok(c"/proc/self/exe".as_ptr(), 1);
        assert_ne!(key, -1);
        let id = sysv::shmkit_shmget(libc::IPC_PRIVATE, PAGE, 0o600);
        assert!(id >= 0, "{}", message());
        let attached = sysv::shmkit_shmat(id, null(), 0);
        assert_ne!(attached, libc::MAP_FAILED);
        let mut status: libc::shmid_ds = std::mem::zeroed();
        assert_eq!(sysv::shmkit_shmctl(id, libc::IPC_STAT, &mut status), 0);
        assert_eq!(status.shm_nattch, 1);
        assert_eq!(sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()), 0);
        assert_eq!(sysv::shmkit_shmdt(attached), 0);
        semaphores_and_locks(&name);
        let mut all = Limits { struct_size: size_of::<Limits>(), ..Limits::default() };
        assert_eq!(limits::shmkit_limits(&mut all), 0);
        // Failures too: each leaves its words in this thread alone.
        assert_eq!(posix::shmkit_shm_unlink(name.as_ptr()), -1);
        assert!(message().contains(name.to_str().unwrap()), "{}", message());
    }
}

/// The part of `everything` that is about semaphores and record locks.
fn semaphores_and_locks(name: &CStr) {
    // SAFETY: the strings and buffers are this function's own.
    unsafe {
        let set = semset::shmkit_semget(libc::IPC_PRIVATE, 2, 0o600);
        assert!(set >= 0, "{}", message());
        let mut step = libc::sembuf { sem_num: 1, sem_op: 2, sem_flg: 0 };
        assert_eq!(semset::shmkit_semop(set, &mut step, 1), 0);
        assert_eq!(semset::shmkit_semctl(set, 1, libc::GETVAL, 0), 2);
        assert_eq!(semset::shmkit_semctl(set, 0, libc::IPC_RMID, 0), 0);
        let named = sem::shmkit_sem_open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600, 1);
        assert!(!named.is_null(), "{}", message());
        assert_eq!(sem::shmkit_sem_wait(named), 0);
        assert_eq!(sem::shmkit_sem_trywait(named), -1);
        assert_eq!(sem::shmkit_sem_post(named), 0);
        assert_eq!(sem::shmkit_sem_close(named), 0);
        assert_eq!(sem::shmkit_sem_unlink(name.as_ptr()), 0);
        let memfd = posix::shmkit_memfd_create(c"locks".as_ptr(), libc::MFD_CLOEXEC);
        let mut lock = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 1, l_pid: 0 };
        assert_eq!(record::shmkit_fcntl(memfd, libc::F_OFD_SETLKW, (&raw mut lock) as usize), 0);
        assert_eq!(file::shmkit_close(memfd), 0);
    }
}

#[test]
fn only_a_set_that_another_process_made_is_a_hazard() {
    let test = "only_a_set_that_another_process_made_is_a_hazard";
    alone(test, &[("SHMKIT_POLICY", "enforce")], || {
        let key = 0x534a_0000 | (std::process::id() as i32 & 0xffff);
        let post = |id: i32| {
            let mut step = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
            // SAFETY: the step is readable.
            unsafe { semset::shmkit_semop(id, &mut step, 1) }
        };
        let get = |flags: i32| semset::shmkit_semget(key, 1, flags);
        // SAFETY: the command takes no argument.
        let remove = |id: i32| assert_eq!(unsafe { semset::shmkit_semctl(id, 0, libc::IPC_RMID, 0) }, 0);
        for flags in [libc::IPC_CREAT | 0o600, libc::IPC_CREAT | libc::IPC_EXCL | 0o600] {
            // Made by a parent, with the id inherited and with the id got by the key.
            for by_key in [false, true] {
                let id = get(flags);
                in_good_child(|| assert_eq!(post(if by_key { get(0) } else { id }), 0, "{}", message()));
                remove(id);
            }
            // Made by a child, which says nothing to its parent.
            in_good_child(|| assert!(get(flags) >= 0, "{}", message()));
            let id = get(libc::IPC_CREAT | 0o600);
            assert_eq!((post(id), errno()), (-1, libc::EAGAIN));
            assert!(message().contains("SHM-SEMSET-UNUSED"), "{}", message());
            // By its creator's operation it becomes good.
            let mut step = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
            // SAFETY: the step is readable.
            assert_eq!(unsafe { libc::semop(id, &mut step, 1) }, 0);
            assert_eq!(post(id), 0, "{}", message());
            remove(id);
        }
    });
}

fn storm_time() -> Duration {
    let seconds = std::env::var("SHMKIT_STORM_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds)
}

/// Eight threads call everything; at the end the ledger holds what it held before.
fn storm() {
    everything();
    let before = ledger::counts();
    let rounds = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while start.elapsed() < storm_time() {
                    everything();
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} rounds of every call by 8 threads in {:?}", rounds.load(Ordering::Relaxed), start.elapsed());
    assert!(rounds.load(Ordering::Relaxed) > 8);
    assert_eq!(ledger::counts(), before, "the ledger lost or kept something");
}

#[test]
fn eight_threads_call_everything() {
    alone("eight_threads_call_everything", &[], storm);
}

#[test]
fn eight_threads_call_everything_while_somebody_listens() {
    let report = std::env::temp_dir().join(format!("shmkit-storm-{}", support::unique()));
    let name = report.to_str().expect("temporary folders have plain names");
    alone("eight_threads_call_everything_while_somebody_listens", &[("SHMKIT_REPORT", name)], storm);
    let _absent_when_alone = std::fs::remove_file(&report);
}

#[test]
fn a_success_leaves_errno_and_the_last_failure_alone() {
    alone("a_success_leaves_errno_and_the_last_failure_alone", &[], || {
        assert_eq!(file::shmkit_close(-1), -1);
        let words = message();
        for policy in [0, 1, 2] {
            assert_eq!(policy::shmkit_set_policy(policy), 0);
            set_errno(4095);
            let at = map(2);
            assert_eq!(memory::shmkit_munmap(at, 2 * PAGE), 0);
            assert_eq!((errno(), message()), (4095, words.clone()));
        }
    });
}

/// How often this thread has gone to sleep; not how long, which a busy machine decides. Pages that come from a disk are
/// slept for too, and do not count.
fn sleeps() -> i64 {
    // SAFETY: zero is valid for the struct, which is writable.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage.ru_nvcsw - usage.ru_majflt
    }
}

/// Does something when it goes out of scope, by a panic too.
struct AtTheEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtTheEnd<F> {
    fn drop(&mut self) {
        self.0();
    }
}

#[test]
fn forks_beside_busy_threads_give_children_that_work() {
    alone("forks_beside_busy_threads_give_children_that_work", &[], || {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Also when a child failed: the scope waits for its threads.
            let _end = AtTheEnd(|| done.store(true, Ordering::Relaxed));
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let at = map(1);
                        assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
                    }
                });
            }
            for _ in 0..300 {
                in_good_child(|| {
                    let before = sleeps();
                    let at = map(1);
                    let known = ledger::range_in(at as usize, PAGE).map(|range| range.start);
                    assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
                    // Who waits for a holder that is not there sleeps again and again.
                    let slept = sleeps() - before;
                    assert!(slept < 20, "the child waited for a lock: it slept {slept} times");
                    assert_eq!(known, Some(at as u64));
                });
            }
        });
    });
}

#[test]
fn a_child_made_behind_the_c_library_does_not_hang() {
    alone("a_child_made_behind_the_c_library_does_not_hang", &[], || {
        // SAFETY: fork by system call: no fork handler runs. The child only maps, unmaps and leaves.
        unsafe {
            for _ in 0..50 {
                let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
                assert!(child >= 0);
                if child == 0 {
                    let at = memory::shmkit_mmap(null_mut(), PAGE, 3, ANON, -1, 0);
                    let good = at != libc::MAP_FAILED && memory::shmkit_munmap(at, PAGE) == 0;
                    libc::_exit(i32::from(!good));
                }
                let mut status = 0;
                assert_eq!(libc::waitpid(child, &mut status, 0), child);
                assert_eq!(status, 0);
            }
        }
    });
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_signal: i32) {
    let before = errno();
    let at = memory::shmkit_mmap(null_mut(), PAGE, 3, ANON, -1, 0);
    if at != libc::MAP_FAILED && memory::shmkit_munmap(at, PAGE) == 0 {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    }
    // A failure in the handler must not harm the words of the thread that it interrupted.
    assert_eq!(file::shmkit_close(-1), -1);
    set_errno(before);
}

#[test]
fn a_signal_handler_may_interrupt_any_call() {
    alone("a_signal_handler_may_interrupt_any_call", &[], || {
        // SAFETY: the handler is async-signal-safe as far as the calls in it are, which is what is tested.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(libc::SIGALRM, &action, null_mut()), 0);
            let every = libc::timeval { tv_sec: 0, tv_usec: 100 };
            let timer = libc::itimerval { it_interval: every, it_value: every };
            assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()), 0);
            let start = Instant::now();
            // Longer where others have the processor most of the time.
            let enough = || HANDLED.load(Ordering::Relaxed) > 1000;
            while start.elapsed() < Duration::from_secs(if enough() { 3 } else { 120 }) {
                let at = map(1);
                assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
                // Its own failure, or the handler's: never a mixture, never a hang.
                assert_eq!(memory::shmkit_munmap(null_mut(), 0), -1);
                assert!(message().starts_with("munmap(") || message().starts_with("close("), "{}", message());
            }
            let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
            libc::setitimer(libc::ITIMER_REAL, &libc::itimerval { it_interval: never, it_value: never }, null_mut());
        }
        println!("{} signals handled in the middle of calls", HANDLED.load(Ordering::Relaxed));
        assert!(HANDLED.load(Ordering::Relaxed) > 1000);
    });
}

#[test]
fn the_ledger_knows_what_is_mapped_split_and_moved() {
    alone("the_ledger_knows_what_is_mapped_split_and_moved", &[], || {
        let (_, _, _, before) = ledger::counts();
        let ranges = || ledger::counts().3 - before;
        let at = map(5);
        assert_eq!(ranges(), 1);
        // SAFETY: within the five pages.
        let page = |index: usize| unsafe { at.add(index * PAGE) };
        assert_eq!(memory::shmkit_munmap(page(2), PAGE), 0);
        assert_eq!(ranges(), 2);
        assert!(ledger::range_in(page(2) as usize, PAGE).is_none());
        let over = memory::shmkit_mmap(page(1), 3 * PAGE, 1, ANON | libc::MAP_FIXED, -1, 0);
        assert_eq!(over, page(1));
        assert_eq!(ranges(), 3);
        let moved = memory::shmkit_mremap(page(1), 3 * PAGE, 8 * PAGE, libc::MREMAP_MAYMOVE, null_mut());
        assert_ne!(moved, libc::MAP_FAILED);
        assert_eq!(ledger::range_in(moved as usize, 1).map(|range| range.end - range.start), Some(8 * PAGE as u64));
        // A call that fails changes nothing.
        assert_eq!(memory::shmkit_mremap(moved, 8 * PAGE, 1 << 46, 0, null_mut()), libc::MAP_FAILED);
        assert_eq!(ranges(), 3);
        for (start, pages) in [(page(0), 5), (moved, 8)] {
            assert_eq!(memory::shmkit_munmap(start, pages * PAGE), 0);
        }
        assert_eq!(ranges(), 0);
    });
}

#[test]
fn an_object_is_forgotten_with_its_last_mapping() {
    alone("an_object_is_forgotten_with_its_last_mapping", &[("SHMKIT_POLICY", "enforce")], || {
        let before = ledger::counts();
        // More rounds than the ledger has room for objects.
        for round in 0..20_000 {
            let name = object_name();
            // SAFETY: the name is terminated.
            unsafe {
                let fd = posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
                assert_eq!(file::shmkit_ftruncate(fd, 2 * PAGE as i64), 0, "{}", message());
                let at = memory::shmkit_mmap(null_mut(), 2 * PAGE, 3, libc::MAP_SHARED, fd, 0);
                // Half of it is mapped: the object is still known, and shrinking it is still a hazard.
                assert_eq!(memory::shmkit_munmap(at.add(PAGE), PAGE), 0);
                assert_eq!((file::shmkit_ftruncate(fd, 0), errno()), (-1, libc::EBUSY));
                assert_eq!(file::shmkit_ftruncate(fd, PAGE as i64), 0, "{}", message());
                assert_eq!(file::shmkit_close(fd), 0);
                assert_eq!(posix::shmkit_shm_unlink(name.as_ptr()), 0);
                if round % 2 == 0 {
                    assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
                } else {
                    // Replaced, then unmapped as what replaced it.
                    assert_eq!(memory::shmkit_mprotect(at, PAGE, 0), 0);
                    assert_eq!(libc::munmap(at, PAGE), 0);
                    let again = memory::shmkit_mmap(at, PAGE, 0, ANON | libc::MAP_FIXED, -1, 0);
                    assert_eq!(again, at, "{}", message());
                    assert_eq!(memory::shmkit_munmap(at, PAGE), 0);
                }
            }
        }
        assert_eq!(ledger::counts(), before);
    });
}

#[test]
fn thirty_thousand_mappings_come_and_go() {
    alone("thirty_thousand_mappings_come_and_go", &[], || {
        let (_, _, _, before) = ledger::counts();
        // Alternating protection keeps the kernel from merging neighbours.
        let all: Vec<_> =
            (0..30_000).map(|index| memory::shmkit_mmap(null_mut(), PAGE, 1 + index % 2, ANON, -1, 0)).collect();
        assert!(all.iter().all(|at| *at != libc::MAP_FAILED), "{}", message());
        assert_eq!(ledger::counts().3 - before, 30_000);
        all.iter()
            .step_by(2)
            .chain(all.iter().skip(1).step_by(2))
            .for_each(|at| assert_eq!(memory::shmkit_munmap(*at, PAGE), 0));
        assert_eq!(ledger::counts().3, before);
    });
}

/// What stress-ng's mmap stressor does: a program may map over the hole that its own munmap left, so nothing of the
/// library's may have moved in.
#[test]
fn a_hole_that_the_program_made_stays_the_programs() {
    alone("a_hole_that_the_program_made_stays_the_programs", &[], || {
        const PAGES: usize = 20_000;
        let all = map(PAGES);
        // No gap is left above these pages, so that the highest free place is a hole in them.
        while map(1) > all {}
        let (_, _, _, others) = ledger::counts();
        let page = |index: usize| all.wrapping_byte_add(index * PAGE);
        // Holes of 1000 pages: there is room in them for what the ledger needs as it grows.
        let hole = |index: usize| index % 2000 < 1000;
        for index in (0..PAGES).filter(|index| hole(*index)) {
            assert_eq!(memory::shmkit_munmap(page(index), PAGE), 0);
        }
        for index in (0..PAGES).step_by(2) {
            assert_eq!(memory::shmkit_munmap(page(index), PAGE), 0);
        }
        for index in (0..PAGES).rev() {
            let at = memory::shmkit_mmap(page(index), PAGE, 3, ANON | libc::MAP_FIXED, -1, 0);
            assert_eq!(at, page(index), "{}", message());
            // SAFETY: mapped just now, writable.
            unsafe { libc::memset(at, 0xff, PAGE) };
        }
        assert_eq!(memory::shmkit_munmap(all, PAGES * PAGE), 0);
        assert_eq!(ledger::counts().3, others - 1);
    });
}

extern "C" fn close_nothing(_signal: i32) {
    let before = errno();
    assert_eq!(file::shmkit_close(-1), -1);
    set_errno(before);
}

#[test]
fn the_first_call_of_all_may_be_in_a_signal_handler_inside_malloc() {
    alone("the_first_call_of_all_may_be_in_a_signal_handler_inside_malloc", &[], || {
        for _ in 0..40 {
            in_good_child(|| {
                // SAFETY: the handler makes one call, the first of this process.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = close_nothing as *const () as usize;
                    assert_eq!(libc::sigaction(libc::SIGALRM, &action, null_mut()), 0);
                    let once = libc::timeval { tv_sec: 0, tv_usec: 300 };
                    let timer = libc::itimerval { it_interval: once, it_value: once };
                    assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()), 0);
                    let mut kept: Vec<Box<[u8]>> = Vec::new();
                    for round in 0..20_000usize {
                        kept.push(vec![1; 16 + round % 700].into_boxed_slice());
                        if round % 3 == 0 {
                            kept.swap_remove(round % kept.len());
                        }
                    }
                }
            });
        }
    });
}

extern "C" fn cancelled_in_close(_nothing: *mut c_void) -> *mut c_void {
    loop {
        file::shmkit_close(-1);
    }
}

extern "C" fn cancelled_in_msync(_nothing: *mut c_void) -> *mut c_void {
    let at = map(1);
    loop {
        memory::shmkit_msync(at, PAGE, libc::MS_SYNC);
    }
}

unsafe extern "C" {
    fn pthread_cancel(thread: libc::pthread_t) -> i32;
}

#[test]
fn a_thread_may_be_cancelled_in_close_and_msync() {
    alone("a_thread_may_be_cancelled_in_close_and_msync", &[], || {
        for body in [cancelled_in_close, cancelled_in_msync] as [extern "C" fn(*mut c_void) -> *mut c_void; 2] {
            // SAFETY: the thread is made, cancelled and joined here; it holds nothing.
            unsafe {
                let mut thread: libc::pthread_t = std::mem::zeroed();
                assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), body, null_mut()), 0);
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!(pthread_cancel(thread), 0);
                let mut result = null_mut();
                assert_eq!(libc::pthread_join(thread, &mut result), 0);
                assert_eq!(result as isize, -1, "the thread did not end by its cancellation");
            }
        }
    });
}

/// Set while a call is made that is no cancellation point.
static WITHIN: AtomicBool = AtomicBool::new(false);

/// Failures that ask the kernel for figures, and unmapping of what may not be mapped.
extern "C" fn cancelled_between_failures(_nothing: *mut c_void) -> *mut c_void {
    loop {
        WITHIN.store(true, Ordering::SeqCst);
        // The first fails, as no address space is that large; the second leads nowhere.
        memory::shmkit_mmap(null_mut(), 1 << 46, 3, ANON, -1, 0);
        memory::shmkit_munmap((1usize << 45) as *mut c_void, PAGE);
        WITHIN.store(false, Ordering::SeqCst);
        file::shmkit_close(-1);
    }
}

#[test]
fn no_other_call_is_a_cancellation_point() {
    alone("no_other_call_is_a_cancellation_point", &[("SHMKIT_REPORT", "/dev/null")], || {
        for _ in 0..50 {
            // SAFETY: the thread is made, cancelled and joined here; it holds nothing.
            unsafe {
                let mut thread: libc::pthread_t = std::mem::zeroed();
                let body = cancelled_between_failures;
                assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), body, null_mut()), 0);
                std::thread::sleep(Duration::from_millis(2));
                assert_eq!(pthread_cancel(thread), 0);
                assert_eq!(libc::pthread_join(thread, &mut null_mut()), 0);
            }
            assert!(!WITHIN.swap(false, Ordering::SeqCst), "cancelled in a call that is no cancellation point");
        }
    });
}

extern "C" fn on_a_small_stack(_nothing: *mut c_void) -> *mut c_void {
    let name = c"/shmkit-small-stack";
    // SAFETY: the name is terminated.
    unsafe {
        let fd = posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o602);
        file::shmkit_ftruncate(fd, 100);
        let at = memory::shmkit_mmap(null_mut(), 2 * PAGE, 3, libc::MAP_SHARED, fd, 0);
        file::shmkit_ftruncate(fd, 0);
        memory::shmkit_munmap(at, 2 * PAGE);
        file::shmkit_close(fd);
        file::shmkit_close(fd);
        posix::shmkit_shm_unlink(name.as_ptr());
        posix::shmkit_shm_unlink(name.as_ptr());
        // Hazards and failures of semaphores and locks, of which some ask /proc.
        let named = sem::shmkit_sem_open(name.as_ptr(), libc::O_CREAT | libc::O_APPEND, 0o600, 0);
        sem::shmkit_sem_trywait(named);
        sem::shmkit_sem_timedwait(named, &libc::timespec { tv_sec: 1, tv_nsec: 0 });
        sem::shmkit_sem_close(named);
        sem::shmkit_sem_close(named);
        sem::shmkit_sem_unlink(name.as_ptr());
        let mut own: libc::sem_t = std::mem::zeroed();
        sem::shmkit_sem_init(&mut own, 1, 0);
        let mut step = libc::sembuf { sem_num: 9, sem_op: 1, sem_flg: 1 };
        let set = semset::shmkit_semget(libc::IPC_PRIVATE, 1, 0o600);
        semset::shmkit_semop(set, &mut step, 1);
        semset::shmkit_semctl(set, 0, libc::IPC_RMID, 0);
        record::shmkit_fcntl(-1, libc::F_SETLK, 0);
    }
    null_mut()
}

#[test]
fn the_smallest_thread_is_large_enough() {
    let run = || {
        // SAFETY: the thread is made and joined here.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_attr_init(&mut attributes), 0);
            // The smallest stack, and what an unoptimised build and its test harness need beside it.
            let spare = if cfg!(debug_assertions) { 48 << 10 } else { 0 };
            assert_eq!(libc::pthread_attr_setstacksize(&mut attributes, libc::PTHREAD_STACK_MIN + spare), 0);
            let mut thread: libc::pthread_t = std::mem::zeroed();
            assert_eq!(libc::pthread_create(&mut thread, &attributes, on_a_small_stack, null_mut()), 0);
            assert_eq!(libc::pthread_join(thread, null_mut()), 0);
        }
    };
    alone("the_smallest_thread_is_large_enough", &[("SHMKIT_REPORT", "/dev/null")], run);
}
