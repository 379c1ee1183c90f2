//! The checked calls for semaphores and record locks against the C library's own, over products of boundary values.
//! Same return and same errno; where they differ, a rule must say so. Each side begins with the same state; what a call
//! would wait for is bounded by times that are past or short.

#[path = "support/comparison.rs"]
mod comparison;
mod support;

use std::ptr::null_mut;

use comparison::{Comparison, observe};
use shmkit::capi::semset;
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
