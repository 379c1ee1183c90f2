//! The checked calls for semaphores and record locks against the C library's own, over products of boundary values.
//! Same return and same errno; where they differ, a rule must say so. Each side begins with the same state; what a call
//! would wait for is bounded by times that are past or short.

#[path = "support/comparison.rs"]
mod comparison;
mod support;

use std::ffi::{CString, c_char, c_void};
use std::ptr::null_mut;

use comparison::{Comparison, MARK, observe};
use shmkit::capi::{policy, record, sem, semset};
use support::alone;

unsafe extern "C" {
    fn semtimedop(id: i32, steps: *mut libc::sembuf, count: usize, time: *const libc::timespec) -> i32;
}

/// A set of three semaphores for one test, removed when it ends.
struct Set {
    key: i32,
    id: i32,
}

impl Set {
    fn new() -> Self {
        let key = 0x5349_0000 | (std::process::id() as i32 & 0xffff);
        // SAFETY: takes no pointers.
        let id = unsafe { libc::semget(key, 3, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
        assert!(id >= 0, "the key {key:#x} is taken");
        Set { key, id }
    }

    /// The id of a set that was removed.
    fn gone() -> i32 {
        // SAFETY: takes no pointers.
        unsafe {
            let id = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
            libc::semctl(id, 0, libc::IPC_RMID);
            id
        }
    }

    /// Values that every comparison begins with.
    fn reset(&self) {
        let values = [1u16, 0, 32_767];
        // SAFETY: the array is as long as the set.
        assert_eq!(unsafe { libc::semctl(self.id, 0, libc::SETALL, values.as_ptr()) }, 0);
    }

    fn values(&self) -> [u16; 3] {
        let mut values = [0u16; 3];
        // SAFETY: the array is as long as the set.
        assert_eq!(unsafe { libc::semctl(self.id, 0, libc::GETALL, values.as_mut_ptr()) }, 0);
        values
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        // SAFETY: the command takes no argument.
        unsafe { libc::semctl(self.id, 0, libc::IPC_RMID) };
    }
}

/// Addresses at which the kernel finds no memory.
const NOWHERE: [usize; 3] = [0, 24, usize::MAX];

#[test]
fn semget() {
    alone("semget", &[], || {
        let set = Set::new();
        let mut seen = Comparison::default();
        for key in [set.key, set.key ^ 0x0100_0000, libc::IPC_PRIVATE, -1] {
            for count in [i32::MIN, -1, 0, 1, 3, 4, 1 << 20, i32::MAX] {
                for flags in [0, 0o600, 0o1000, 0o1600, 0o1666, 0o2000, 0o3600, 0o4600, 0o1200, -1] {
                    let both: [fn(i32, i32, i32) -> i32; 2] = [
                        // SAFETY: takes no pointers; a set that was made is removed at once.
                        |key, count, flags| unsafe { libc::semget(key, count, flags) },
                        |key, count, flags| semset::shmkit_semget(key, count, flags),
                    ];
                    let [libc, ours] = both.map(|call| {
                        observe(|| call(key, count, flags).into()).map(|id| {
                            if id as i32 == set.id {
                                return 1;
                            }
                            // SAFETY: the command takes no argument.
                            unsafe { semset::shmkit_semctl(id as i32, 0, libc::IPC_RMID, 0) };
                            0
                        })
                    });
                    seen.compare(|| format!("semget({key:#x}, {count}, {flags:#o})"), libc, ours);
                }
            }
        }
        seen.finish("semget");
    });
}

#[test]
fn semop_semtimedop() {
    alone("semop_semtimedop", &[], || {
        let set = Set::new();
        let gone = Set::gone();
        let mut seen = Comparison::default();
        let nowait = libc::IPC_NOWAIT as i16;
        let undo = libc::SEM_UNDO as i16;
        let mut lists: Vec<Vec<libc::sembuf>> = Vec::new();
        for number in [0, 1, 2, 3, u16::MAX] {
            for change in [0, 1, -1, 2, -2, i16::MAX, i16::MIN] {
                for flags in [nowait, nowait | undo, -1] {
                    lists.push(vec![libc::sembuf { sem_num: number, sem_op: change, sem_flg: flags }]);
                    // The second step is in the way of the first, or not.
                    let second = libc::sembuf { sem_num: 1, sem_op: -1, sem_flg: nowait };
                    lists.push(vec![lists[lists.len() - 1][0], second]);
                }
            }
        }
        let times = [None, Some((0, 0)), Some((0, 1_000_000)), Some((-1, 0)), Some((0, -1)), Some((0, 1_000_000_000))];
        for id in [set.id, gone, -1, i32::MAX] {
            for list in &lists {
                for time in times {
                    let time = time.map(|(tv_sec, tv_nsec)| libc::timespec { tv_sec, tv_nsec });
                    let at = time.as_ref().map_or(std::ptr::null(), |time| &raw const *time);
                    type Call = unsafe extern "C" fn(i32, *mut libc::sembuf, usize, *const libc::timespec) -> i32;
                    let both: [Call; 2] = [semtimedop, semset::shmkit_semtimedop];
                    let [libc, ours] = both.map(|call| {
                        set.reset();
                        let mut steps = list.clone();
                        // SAFETY: the steps and the time are readable; no step waits, for all have IPC_NOWAIT.
                        let result = observe(|| unsafe { call(id, steps.as_mut_ptr(), steps.len(), at) }.into());
                        (result, set.values())
                    });
                    let what = || format!("semtimedop({id}, {:?}, {time:?})", list[0].sem_op);
                    assert_eq!(libc.1, ours.1, "{}", what());
                    seen.compare(what, libc.0, ours.0);
                }
            }
            for at in NOWHERE.into_iter().chain([lists[0].as_ptr() as usize]) {
                for count in [0, 1, 501, 1 << 20, u32::MAX as usize, 1 << 32, usize::MAX] {
                    if at == lists[0].as_ptr() as usize && count > 1 && count < 1 << 20 {
                        continue;
                    }
                    let steps = at as *mut libc::sembuf;
                    set.reset();
                    // SAFETY: the kernel answers EFAULT or E2BIG where the steps cannot be read.
                    let libc = observe(|| unsafe { libc::semop(id, steps, count) }.into());
                    set.reset();
                    // SAFETY: as above.
                    let ours = observe(|| unsafe { semset::shmkit_semop(id, steps, count) }.into());
                    let what = || format!("semop({id}, {at:#x}, {count:#x})");
                    // A bad id and bad steps are two faults.
                    match id < 0 || count as u32 == 0 {
                        true => seen.compare_faults(what, libc, ours),
                        false => seen.compare(what, libc, ours),
                    }
                }
            }
        }
        // Steps that wait until the time is over.
        for nanoseconds in [0, 2_000_000] {
            let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds };
            for step in [(1, -1), (0, 0), (0, -2)] {
                let mut step = libc::sembuf { sem_num: step.0, sem_op: step.1, sem_flg: 0 };
                set.reset();
                // SAFETY: the step and the time are readable.
                let libc = observe(|| unsafe { semtimedop(set.id, &mut step, 1, &time) }.into());
                // SAFETY: as above.
                let ours = observe(|| unsafe { semset::shmkit_semtimedop(set.id, &mut step, 1, &time) }.into());
                assert_eq!(libc, Err(libc::EAGAIN));
                seen.compare(|| format!("semtimedop({:?}, {nanoseconds} ns)", step.sem_op), libc, ours);
            }
        }
        seen.finish("semop, semtimedop");
    });
}

#[test]
fn semctl() {
    alone("semctl", &[], || {
        let set = Set::new();
        let gone = Set::gone();
        let mut seen = Comparison::default();
        let mut buffer = [0u64; 64];
        let too_large = [40_000u16; 3];
        let good = buffer.as_mut_ptr();
        let arguments = NOWHERE.into_iter().chain([
            good as usize,
            too_large.as_ptr() as usize,
            1,
            32_767,
            32_768,
            u32::MAX as usize,
        ]);
        let arguments: Vec<usize> = arguments.collect();
        // 0 is IPC_RMID, which comes at the end.
        for id in [set.id, gone, -1, i32::MAX] {
            for number in [-1, 0, 2, 3, i32::MAX] {
                for command in [-1, 1, 2, 3, 4, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 99, i32::MAX] {
                    for argument in &arguments {
                        // Only the array of too large values is read where it lies; nothing may be written there.
                        if *argument == too_large.as_ptr() as usize && command != libc::SETALL {
                            continue;
                        }
                        type Call = fn(i32, i32, i32, usize) -> i32;
                        let both: [Call; 2] = [
                            // SAFETY: the argument is large enough for every command, or an address that the kernel
                            // refuses, or a number.
                            |id, number, command, argument| unsafe { libc::semctl(id, number, command, argument) },
                            // SAFETY: as above.
                            |id, number, command, argument| unsafe {
                                semset::shmkit_semctl(id, number, command, argument)
                            },
                        ];
                        let [libc, ours] = both.map(|call| {
                            set.reset();
                            // SAFETY: the buffer is large enough for the status, with which IPC_SET changes nothing, and
                            // for what the two calls below write.
                            unsafe {
                                buffer.fill(0);
                                assert_eq!(libc::semctl(set.id, 0, libc::IPC_STAT, good), 0);
                                let result = observe(|| call(id, number, command, *argument).into());
                                (result, set.values())
                            }
                        });
                        let what = || format!("semctl({id}, {number}, {command}, {argument:#x})");
                        assert_eq!(libc.1, ours.1, "{}", what());
                        seen.compare(what, libc.0, ours.0);
                    }
                }
            }
        }
        // Removal, of a set of its own for each side.
        let both: [fn(i32, i32) -> i32; 2] = [
            // SAFETY: the command takes no argument.
            |id, number| unsafe { libc::semctl(id, number, libc::IPC_RMID) },
            // SAFETY: as above.
            |id, number| unsafe { semset::shmkit_semctl(id, number, libc::IPC_RMID, 0) },
        ];
        for number in [-1, 0, 7] {
            let [libc, ours] = both.map(|call| {
                // SAFETY: takes no pointers.
                let id = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
                (observe(|| call(id, number).into()), observe(|| call(id, number).into()))
            });
            seen.compare(|| format!("semctl(own, {number}, IPC_RMID)"), libc.0, ours.0);
            seen.compare(|| format!("semctl(own, {number}, IPC_RMID), twice"), libc.1, ours.1);
        }
        seen.finish("semctl");
    });
}

/// What an operation with SEM_UNDO did is taken back when its process ends, and a removal wakes who waits.
#[test]
fn the_kernel_undoes_and_wakes() {
    alone("the_kernel_undoes_and_wakes", &[], || {
        let set = Set::new();
        let undo = libc::SEM_UNDO as i16;
        let mut take = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: undo };
        set.reset();
        support::in_good_child(|| {
            // SAFETY: the step is readable.
            assert_eq!(unsafe { semset::shmkit_semop(set.id, &mut take, 1) }, 0);
            assert_eq!(set.values(), [0, 0, 32_767]);
        });
        assert_eq!(set.values(), [1, 0, 32_767]);
        let mut wait = libc::sembuf { sem_num: 1, sem_op: -1, sem_flg: 0 };
        // SAFETY: the step is readable; the child ends by itself.
        unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                let result = semset::shmkit_semop(set.id, &mut wait, 1);
                libc::_exit(i32::from(result != -1 || support::errno() != libc::EIDRM));
            }
            while semset::shmkit_semctl(set.id, 1, libc::GETNCNT, 0) == 0 {
                libc::usleep(1000);
            }
            assert_eq!(semset::shmkit_semctl(set.id, 0, libc::IPC_RMID, 0), 0);
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert_eq!(status, 0);
        }
        // SAFETY: the step is readable.
        assert_eq!(unsafe { semset::shmkit_semop(set.id, null_mut(), 0) }, -1);
    });
}

/// fcntl with a lock, by the C library and by us.
const RECORD: [unsafe extern "C-unwind" fn(i32, i32, usize) -> i32; 2] = [raw_fcntl, record::shmkit_fcntl];

unsafe extern "C-unwind" fn raw_fcntl(fd: i32, command: i32, argument: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { libc::fcntl(fd, command, argument) }
}

/// An object of 100 bytes without a name, opened three ways, and a closed descriptor.
fn record_descriptors() -> [(&'static str, i32); 6] {
    // SAFETY: the strings are terminated.
    unsafe {
        let both = libc::memfd_create(c"records".as_ptr(), 0);
        assert_eq!(libc::ftruncate(both, 100), 0);
        let path = std::ffi::CString::new(format!("/proc/self/fd/{both}")).expect("no NUL inside");
        let readable = libc::open(path.as_ptr(), libc::O_RDONLY);
        let writable = libc::open(path.as_ptr(), libc::O_WRONLY);
        assert!(readable >= 0 && writable >= 0);
        let path_only = libc::open(path.as_ptr(), libc::O_PATH);
        libc::lseek(both, 50, libc::SEEK_SET);
        let closed = libc::fcntl(both, libc::F_DUPFD, 500);
        libc::close(closed);
        let kinds = [("both", both), ("read-only", readable), ("write-only", writable), ("path only", path_only)];
        [kinds[0], kinds[1], kinds[2], kinds[3], ("closed", closed), ("-1", -1)]
    }
}

#[test]
fn fcntl_locks() {
    alone("fcntl_locks", &[], || {
        let fds = record_descriptors();
        let mut seen = Comparison::default();
        // Another process holds bytes 10 to 19 of the object: what is in the way of some.
        let (holder, hold) = hold_lock(fds[0].1, 10, 10);
        let commands =
            [libc::F_GETLK, libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_GETLK, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];
        for command in commands {
            for (name, fd) in fds {
                for kind in [libc::F_RDLCK, libc::F_WRLCK, libc::F_UNLCK, 4, -1] {
                    for whence in [0, 1, 2, 3, -1] {
                        for start in [0, 15, 60, -1, -60, -200, i64::MAX, i64::MAX - 60, i64::MIN] {
                            for length in [0, 1, 2, -1, -20, i64::MAX, i64::MIN] {
                                for pid in [0, 1] {
                                    let mut lock: libc::flock = zeroed();
                                    (lock.l_type, lock.l_whence) = (kind as i16, whence);
                                    (lock.l_start, lock.l_len, lock.l_pid) = (start, length, pid);
                                    // What would wait for the other process is for the test below.
                                    let waits = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
                                    fds[..3].iter().for_each(|(_, fd)| unlock_all(*fd));
                                    if waits && is_in_the_way(fd, &lock) {
                                        continue;
                                    }
                                    let [libc, ours] = RECORD.map(|call| {
                                        fds[..3].iter().for_each(|(_, fd)| unlock_all(*fd));
                                        let mut lock = lock;
                                        let at = (&raw mut lock) as usize;
                                        // SAFETY: the lock is writable.
                                        let result = observe(|| unsafe { call(fd, command, at) }.into());
                                        (result, (lock.l_type, lock.l_whence, lock.l_start, lock.l_len, lock.l_pid))
                                    });
                                    let what =
                                        || format!("fcntl({name}, {command}, {kind} {whence} {start} {length} {pid})");
                                    assert_eq!(libc.1, ours.1, "{}", what());
                                    seen.compare(what, libc.0, ours.0);
                                }
                            }
                        }
                    }
                }
                for at in NOWHERE {
                    // SAFETY: the kernel answers EFAULT.
                    let [libc, ours] = RECORD.map(|call| observe(|| unsafe { call(fd, command, at) }.into()));
                    seen.compare(|| format!("fcntl({name}, {command}, {at:#x})"), libc, ours);
                }
            }
        }
        end(holder, hold);
        seen.finish("fcntl with locks");
    });
}

#[test]
fn fcntl_passes_everything_else_through() {
    alone("fcntl_passes_everything_else_through", &[], || {
        let fds = record_descriptors();
        let mut seen = Comparison::default();
        let commands = [
            libc::F_GETFD,
            libc::F_SETFD,
            libc::F_GETFL,
            libc::F_SETFL,
            libc::F_GETOWN,
            libc::F_GETPIPE_SZ,
            libc::F_GET_SEALS,
            libc::F_GETLEASE,
            99,
            -1,
        ];
        for (name, fd) in fds {
            for command in commands {
                for argument in [0, 1, libc::O_NONBLOCK as usize] {
                    // SAFETY: none of the commands takes an address.
                    let [libc, ours] = RECORD.map(|call| observe(|| unsafe { call(fd, command, argument) }.into()));
                    seen.compare(|| format!("fcntl({name}, {command}, {argument})"), libc, ours);
                }
            }
            for command in [libc::F_DUPFD, libc::F_DUPFD_CLOEXEC] {
                for least in [0, 100, usize::MAX] {
                    // SAFETY: the descriptor that was made is closed again.
                    let [libc, ours] = RECORD.map(|call| unsafe {
                        observe(|| call(fd, command, least).into()).inspect(|new| {
                            libc::close(*new as i32);
                        })
                    });
                    seen.compare(|| format!("fcntl({name}, {command}, {least})"), libc, ours);
                }
            }
        }
        seen.finish("fcntl without locks");
    });
}

fn zeroed() -> libc::flock {
    // SAFETY: every field is a plain number.
    unsafe { std::mem::zeroed() }
}

fn unlock_all(fd: i32) {
    for command in [libc::F_SETLK, libc::F_OFD_SETLK] {
        let mut lock = zeroed();
        lock.l_type = libc::F_UNLCK as i16;
        // SAFETY: the lock is readable.
        assert_eq!(unsafe { libc::fcntl(fd, command, &lock) }, 0);
    }
}

/// Whether another process's lock would make this one wait.
fn is_in_the_way(fd: i32, lock: &libc::flock) -> bool {
    let mut asked = *lock;
    (asked.l_type, asked.l_pid) = (libc::F_WRLCK as i16, 0);
    // SAFETY: the lock is writable.
    unsafe { libc::fcntl(fd, libc::F_GETLK, &mut asked) == 0 && i32::from(asked.l_type) != libc::F_UNLCK }
}

/// A process that locks these bytes for writing until it is told to end; it holds them when this returns.
fn hold_lock(fd: i32, start: i64, length: i64) -> (i32, i32) {
    let (mut ready, mut leave) = ([0; 2], [0; 2]);
    // SAFETY: the pipes are written by the kernel; the child makes plain system calls alone.
    unsafe {
        assert_eq!(libc::pipe(ready.as_mut_ptr()), 0);
        assert_eq!(libc::pipe(leave.as_mut_ptr()), 0);
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let mut lock = zeroed();
            (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, start, length);
            libc::close(leave[1]);
            if libc::fcntl(fd, libc::F_SETLK, &lock) != 0 {
                libc::_exit(1);
            }
            libc::write(ready[1], c"".as_ptr().cast(), 1);
            libc::read(leave[0], ready.as_mut_ptr().cast(), 1);
            libc::_exit(0);
        }
        let mut byte = 0u8;
        assert_eq!(libc::read(ready[0], (&raw mut byte).cast(), 1), 1, "the child could not lock");
        for fd in [ready[0], ready[1], leave[0]] {
            libc::close(fd);
        }
        (child, leave[1])
    }
}

fn end(child: i32, leave: i32) {
    let mut status = 0;
    // SAFETY: the child is ours and ends when the pipe does.
    unsafe {
        libc::close(leave);
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
    }
    assert_eq!(status, 0);
}

extern "C" fn nothing(_signal: i32) {}

/// A timer that sends SIGALRM again and again, to a handler that does nothing and restarts nothing.
fn interrupt(on: bool) {
    // SAFETY: the structs are initialised.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &action, null_mut()), 0);
        let every = libc::timeval { tv_sec: 0, tv_usec: if on { 20_000 } else { 0 } };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, null_mut()), 0);
    }
}

#[test]
fn a_wait_for_a_lock_ends_with_a_signal_or_the_lock() {
    alone("a_wait_for_a_lock_ends_with_a_signal_or_the_lock", &[], || {
        // In a process of one thread, so that the signals come to the one that waits.
        support::in_good_child(|| {
            let fd = record_descriptors()[0].1;
            let mut lock = zeroed();
            (lock.l_type, lock.l_start, lock.l_len) = (libc::F_WRLCK as i16, 15, 1);
            let at = (&raw mut lock) as usize;
            for command in [libc::F_SETLKW, libc::F_OFD_SETLKW] {
                let (holder, hold) = hold_lock(fd, 10, 10);
                interrupt(true);
                // SAFETY: the lock is readable.
                let results = RECORD.map(|call| observe(|| unsafe { call(fd, command, at) }.into()));
                interrupt(false);
                assert_eq!(results, [Err(libc::EINTR); 2]);
                assert!(support::message().contains("a signal came"), "{}", support::message());
                // SAFETY: as above.
                let busy = observe(|| unsafe { record::shmkit_fcntl(fd, command - 1, at) }.into());
                assert_eq!(busy, Err(libc::EAGAIN));
                let words = support::message();
                let shown = "{F_WRLCK, SEEK_SET, 15, 1}";
                assert!(words.contains(&format!("process {holder} ")) && words.contains(shown), "{words}");
                end(holder, hold);
                // SAFETY: as above.
                assert_eq!(observe(|| unsafe { record::shmkit_fcntl(fd, command, at) }.into()), Ok(0));
                unlock_all(fd);
            }
        });
    });
}

unsafe extern "C" {
    fn pthread_cancel(thread: libc::pthread_t) -> i32;
}

/// Runs `body` in a thread, cancels it while it waits, and joins it.
fn cancel_in(body: extern "C" fn(*mut c_void) -> *mut c_void, argument: *mut c_void) {
    // SAFETY: the thread is made, cancelled and joined here; it holds nothing.
    unsafe {
        let mut thread: libc::pthread_t = std::mem::zeroed();
        assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), body, argument), 0);
        // Whether it is cancelled before it waits or while it does, it ends here.
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert_eq!(pthread_cancel(thread), 0);
        let mut result = null_mut();
        assert_eq!(libc::pthread_join(thread, &mut result), 0);
        assert_eq!(result as isize, -1, "the thread did not end by its cancellation");
    }
}

/// The descriptor in the lower half of the argument, the command in the upper one.
extern "C" fn wait_for_lock(argument: *mut c_void) -> *mut c_void {
    let (fd, command) = (argument as usize as i32, (argument as usize >> 32) as i32);
    let mut lock = zeroed();
    lock.l_type = libc::F_WRLCK as i16;
    // SAFETY: the lock is readable.
    unsafe { record::shmkit_fcntl(fd, command, (&raw mut lock) as usize) };
    null_mut()
}

#[test]
fn a_thread_that_waits_for_a_lock_may_be_cancelled() {
    // Once without a listener and once with one, whose look comes before the wait.
    alone("a_thread_that_waits_for_a_lock_may_be_cancelled", &[], || {
        let fd = record_descriptors()[0].1;
        let (holder, hold) = hold_lock(fd, 0, 0);
        for attentive in [false, true] {
            if attentive {
                // SAFETY: the string is terminated.
                assert_eq!(unsafe { policy::shmkit_set_report(c"/dev/null".as_ptr()) }, 0);
            }
            for command in [libc::F_SETLKW, libc::F_OFD_SETLKW] {
                cancel_in(wait_for_lock, (fd as usize | (command as usize) << 32) as *mut c_void);
            }
        }
        end(holder, hold);
    });
}

/// Two of each call: the C library's and ours.
type OnOne = unsafe extern "C-unwind" fn(*mut libc::sem_t) -> i32;
type Timed = unsafe extern "C-unwind" fn(*mut libc::sem_t, *const libc::timespec) -> i32;
type Clocked = unsafe extern "C-unwind" fn(*mut libc::sem_t, i32, *const libc::timespec) -> i32;
type Open = unsafe extern "C" fn(*const c_char, i32, libc::mode_t, u32) -> *mut libc::sem_t;
type Named = unsafe extern "C" fn(*const c_char) -> i32;

mod of_libc {
    use super::c_char;

    unsafe extern "C-unwind" {
        pub fn sem_wait(semaphore: *mut libc::sem_t) -> i32;
        pub fn sem_timedwait(semaphore: *mut libc::sem_t, time: *const libc::timespec) -> i32;
        pub fn sem_clockwait(semaphore: *mut libc::sem_t, clock: i32, time: *const libc::timespec) -> i32;
    }

    pub unsafe extern "C-unwind" fn sem_trywait(semaphore: *mut libc::sem_t) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { libc::sem_trywait(semaphore) }
    }

    pub unsafe extern "C-unwind" fn sem_post(semaphore: *mut libc::sem_t) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { libc::sem_post(semaphore) }
    }

    pub unsafe extern "C" fn sem_open(name: *const c_char, oflag: i32, mode: u32, value: u32) -> *mut libc::sem_t {
        // SAFETY: the caller's promise.
        unsafe { libc::sem_open(name, oflag, mode, value) }
    }
}

unsafe extern "C-unwind" fn try_wait(semaphore: *mut libc::sem_t) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { sem::shmkit_sem_trywait(semaphore) }
}

unsafe extern "C-unwind" fn post(semaphore: *mut libc::sem_t) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { sem::shmkit_sem_post(semaphore) }
}

/// A semaphore of this value, and what it is after `work` on it.
fn on_semaphore(value: u32, work: impl FnOnce(*mut libc::sem_t) -> i64) -> (Result<i64, i32>, i32) {
    let mut after = 0;
    // SAFETY: the semaphore is this function's own.
    unsafe {
        let mut semaphore: libc::sem_t = std::mem::zeroed();
        assert_eq!(libc::sem_init(&mut semaphore, 0, value), 0);
        let result = observe(|| work(&mut semaphore));
        assert_eq!(libc::sem_getvalue(&mut semaphore, &mut after), 0);
        libc::sem_destroy(&mut semaphore);
        (result, after)
    }
}

#[test]
fn sem_init_wait_post() {
    alone("sem_init_wait_post", &[], || {
        let mut seen = Comparison::default();
        let most = i32::MAX as u32;
        for value in [0, 1, 2, most - 1, most, most + 1, u32::MAX] {
            for pshared in [0, 1, -1] {
                // SAFETY: the semaphores are this test's own.
                let [libc, ours] = [libc::sem_init, sem::shmkit_sem_init].map(|call| unsafe {
                    let mut semaphore: libc::sem_t = std::mem::zeroed();
                    let result = observe(|| call(&mut semaphore, pshared, value).into());
                    result.map(|_| {
                        let mut now = 0;
                        assert_eq!(sem::shmkit_sem_getvalue(&mut semaphore, &mut now), 0);
                        assert_eq!(sem::shmkit_sem_destroy(&mut semaphore), 0);
                        i64::from(now)
                    })
                });
                seen.compare(|| format!("sem_init({pshared}, {value})"), libc, ours);
            }
            if value > most {
                continue;
            }
            let calls: [(&str, [OnOne; 2]); 3] = [
                ("sem_post", [of_libc::sem_post, post]),
                ("sem_trywait", [of_libc::sem_trywait, try_wait]),
                ("sem_wait", [of_libc::sem_wait, sem::shmkit_sem_wait]),
            ];
            for (name, both) in calls {
                if name == "sem_wait" && value == 0 {
                    continue;
                }
                // SAFETY: the semaphore is good, and nobody waits without an end.
                let [libc, ours] = both.map(|call| on_semaphore(value, |at| unsafe { call(at) }.into()));
                assert_eq!(libc.1, ours.1, "{name}({value})");
                seen.compare(|| format!("{name}({value})"), libc.0, ours.0);
            }
            let mut soon = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the time is writable.
            unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut soon) };
            // Past for CLOCK_REALTIME, which began long before.
            let times = [(0, 0), (-1, 0), (i64::MIN, 5), (1, 999_999_999), (0, -1), (0, 1_000_000_000), (1, i64::MAX)];
            let times = times.into_iter().chain([(soon.tv_sec, soon.tv_nsec)]);
            for (tv_sec, tv_nsec) in times {
                let time = libc::timespec { tv_sec, tv_nsec };
                let both: [Timed; 2] = [of_libc::sem_timedwait, sem::shmkit_sem_timedwait];
                // SAFETY: the semaphore is good and the time is past.
                let [libc, ours] = both.map(|call| on_semaphore(value, |at| unsafe { call(at, &time) }.into()));
                assert_eq!(libc.1, ours.1);
                seen.compare(|| format!("sem_timedwait({value}, {tv_sec} {tv_nsec})"), libc.0, ours.0);
                for clock in [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME, 2, -1, i32::MAX] {
                    let both: [Clocked; 2] = [of_libc::sem_clockwait, sem::shmkit_sem_clockwait];
                    // SAFETY: as above.
                    let [libc, ours] =
                        both.map(|call| on_semaphore(value, |at| unsafe { call(at, clock, &time) }.into()));
                    assert_eq!(libc.1, ours.1);
                    seen.compare(|| format!("sem_clockwait({value}, {clock}, {tv_sec} {tv_nsec})"), libc.0, ours.0);
                }
            }
        }
        seen.finish("sem_init, sem_wait, sem_trywait, sem_timedwait, sem_clockwait, sem_post");
    });
}

#[test]
fn sem_open_unlink_close() {
    alone("sem_open_unlink_close", &[], || {
        let mut seen = Comparison::default();
        let existing = support::object_name();
        let tag = support::unique();
        let fresh = |text: &str| CString::new(format!("{text}{tag}")).expect("no NUL inside");
        let long = |length: usize| CString::new(format!("/{}", "x".repeat(length))).expect("no NUL inside");
        let names = [
            existing.clone(),
            fresh("/shmkit-new-"),
            fresh("shmkit-bare-"),
            fresh("///shmkit-many-"),
            fresh("/shmkit/inner-"),
            fresh("/shmkit-trailing/"),
            c"".into(),
            c"/".into(),
            c"//".into(),
            long(251),
            long(252),
            long(255),
            long(256),
            long(1000),
        ];
        let flags = [
            0,
            libc::O_RDWR,
            libc::O_CREAT,
            libc::O_CREAT | libc::O_RDWR,
            libc::O_CREAT | libc::O_EXCL,
            libc::O_EXCL,
            libc::O_CREAT | libc::O_APPEND,
        ];
        // SAFETY: the strings are terminated; every semaphore is closed again and its name removed.
        unsafe {
            let make = || {
                let made = libc::sem_open(existing.as_ptr(), libc::O_CREAT | libc::O_EXCL, 0o600, 3);
                assert_ne!(made, libc::SEM_FAILED);
                libc::sem_close(made);
            };
            for name in &names {
                for oflag in flags {
                    for mode in [0, 0o600, 0o666, 0o7777] {
                        for value in [0, 1, i32::MAX as u32, 1 << 31, u32::MAX] {
                            // The C library's own leaves another errno behind when it succeeds; ours does not.
                            let both: [(Open, bool); 2] = [(of_libc::sem_open, true), (sem::shmkit_sem_open, false)];
                            let [libc, ours] = both.map(|(call, marks)| {
                                make();
                                let result = observe(|| match call(name.as_ptr(), oflag, mode, value) {
                                    at if at == libc::SEM_FAILED => -1,
                                    at => {
                                        if marks {
                                            support::set_errno(MARK);
                                        }
                                        at as i64
                                    }
                                });
                                let result = result.map(|at| {
                                    let mut value = 0;
                                    assert_eq!(libc::sem_getvalue(at as *mut _, &mut value), 0);
                                    assert_eq!(sem::shmkit_sem_close(at as *mut _), 0);
                                    i64::from(value)
                                });
                                libc::sem_unlink(name.as_ptr());
                                libc::sem_unlink(existing.as_ptr());
                                result
                            });
                            let what = || format!("sem_open({name:?}, {oflag:#o}, {mode:#o}, {value})");
                            // A bad name and a bad value are two faults.
                            match value > i32::MAX as u32 {
                                true => seen.compare_faults(what, libc, ours),
                                false => seen.compare(what, libc, ours),
                            }
                        }
                    }
                }
                let both: [Named; 2] = [libc::sem_unlink, sem::shmkit_sem_unlink];
                let [libc, ours] = both.map(|call| {
                    make();
                    let result = observe(|| call(name.as_ptr()).into());
                    libc::sem_unlink(existing.as_ptr());
                    result
                });
                seen.compare(|| format!("sem_unlink({name:?})"), libc, ours);
            }
            // What was never opened, or is closed.
            let mut own: libc::sem_t = std::mem::zeroed();
            for at in [std::ptr::null_mut(), &raw mut own, 24 as *mut libc::sem_t, usize::MAX as *mut libc::sem_t] {
                let libc = observe(|| libc::sem_close(at).into());
                let ours = observe(|| sem::shmkit_sem_close(at).into());
                seen.compare(|| format!("sem_close({at:?})"), libc, ours);
            }
        }
        seen.finish("sem_open, sem_unlink, sem_close");
    });
}

#[test]
fn a_wait_for_a_semaphore_ends_with_a_signal() {
    alone("a_wait_for_a_semaphore_ends_with_a_signal", &[], || {
        // In a process of one thread, so that the signals come to the one that waits.
        support::in_good_child(|| {
            let never = libc::timespec { tv_sec: i64::MAX, tv_nsec: 0 };
            interrupt(true);
            // SAFETY: the semaphore is good.
            let results = unsafe {
                [
                    on_semaphore(0, |at| of_libc::sem_wait(at).into()),
                    on_semaphore(0, |at| sem::shmkit_sem_wait(at).into()),
                    on_semaphore(0, |at| sem::shmkit_sem_timedwait(at, &never).into()),
                    on_semaphore(0, |at| sem::shmkit_sem_clockwait(at, libc::CLOCK_MONOTONIC, &never).into()),
                ]
            };
            interrupt(false);
            assert_eq!(results, [(Err(libc::EINTR), 0); 4]);
            assert!(support::message().starts_with("sem_clockwait("), "{}", support::message());
        });
    });
}

extern "C" fn wait_for_semaphore(semaphore: *mut c_void) -> *mut c_void {
    // SAFETY: the semaphore outlives the thread.
    unsafe { sem::shmkit_sem_wait(semaphore.cast()) };
    null_mut()
}

extern "C" fn wait_for_semaphore_until(semaphore: *mut c_void) -> *mut c_void {
    let never = libc::timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    // SAFETY: the semaphore outlives the thread.
    unsafe { sem::shmkit_sem_timedwait(semaphore.cast(), &never) };
    null_mut()
}

extern "C" fn wait_for_semaphore_by_clock(semaphore: *mut c_void) -> *mut c_void {
    let never = libc::timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    // SAFETY: the semaphore outlives the thread.
    unsafe { sem::shmkit_sem_clockwait(semaphore.cast(), libc::CLOCK_MONOTONIC, &never) };
    null_mut()
}

#[test]
fn a_thread_that_waits_for_a_semaphore_may_be_cancelled() {
    alone("a_thread_that_waits_for_a_semaphore_may_be_cancelled", &[], || {
        for attentive in [false, true] {
            if attentive {
                // SAFETY: the string is terminated.
                assert_eq!(unsafe { policy::shmkit_set_report(c"/dev/null".as_ptr()) }, 0);
            }
            for body in [wait_for_semaphore, wait_for_semaphore_until, wait_for_semaphore_by_clock] {
                let (result, value) = on_semaphore(0, |at| {
                    cancel_in(body, at.cast());
                    0
                });
                assert_eq!((result, value), (Ok(0), 0));
            }
        }
    });
}

static POSTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

extern "C" fn post_in_handler(_signal: i32) {
    let at = POSTED.load(std::sync::atomic::Ordering::Relaxed) as *mut libc::sem_t;
    // SAFETY: the semaphore outlives the handler.
    unsafe { sem::shmkit_sem_post(at) };
}

#[test]
fn a_signal_handler_may_post() {
    alone("a_signal_handler_may_post", &[], || {
        let (result, value) = on_semaphore(0, |at| {
            POSTED.store(at as usize, std::sync::atomic::Ordering::Relaxed);
            // SAFETY: the handler makes one call on a good semaphore.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = post_in_handler as *const () as usize;
                assert_eq!(libc::sigaction(libc::SIGUSR1, &action, null_mut()), 0);
                assert_eq!(libc::raise(libc::SIGUSR1), 0);
                sem::shmkit_sem_wait(at).into()
            }
        });
        assert_eq!((result, value), (Ok(0), 0));
    });
}
