//! Wrong arguments of every kind, and every resource at its end: an error that says why, never a crash.
//! Each test runs in a process of its own, so that a crash is one test's failure.

mod support;

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use shmkit::calls::limits::Limits;
use shmkit::capi::{error, file, limits, memory, policy, posix, record, sem, semset, sysv};
use shmkit::error::Status;
use support::{alone, errno, message, object_name, own_namespaces, set_limit};

/// Addresses at which nothing of a program can be: null, the first page, the kernel's half, the hole between.
const WILD: [usize; 5] = [0, 8, 4095, 0x8000_0000_0000_0000, usize::MAX];

/// The call failed with this errno, and its words name it, the call, and `figure`.
#[track_caller]
fn refused(result: i64, expected: i32, figure: &str) {
    assert_eq!((result, errno()), (-1, expected), "{}", message());
    let words = message();
    assert!(words.contains(figure), "the words do not say {figure:?}: {words}");
    assert!(words.contains(shmkit::error::errno_name(expected)), "{words}");
}

#[test]
fn pointers_that_lead_nowhere() {
    alone("pointers_that_lead_nowhere", &[], || {
        // SAFETY: these are the calls' documented answers to addresses that cannot be read.
        unsafe {
            for addr in WILD {
                let name = addr as *const c_char;
                refused(posix::shmkit_shm_open(name, libc::O_RDWR, 0).into(), libc::EFAULT, "SHM-ARG-POINTER");
                refused(posix::shmkit_shm_unlink(name).into(), libc::EFAULT, "shm_unlink");
                refused(posix::shmkit_memfd_create(name, 0).into(), libc::EFAULT, "memfd_create");
                refused(sysv::shmkit_ftok(name, 1).into(), libc::EFAULT, "ftok");
                assert_eq!(policy::shmkit_set_report(name), Status::ErrBadPointer as i32);
                assert_eq!(limits::shmkit_limits(addr as *mut Limits), Status::ErrBadPointer as i32);
                refused(file::shmkit_fstat(0, addr as *mut libc::stat).into(), libc::EFAULT, "fstat");
                let id = sysv::shmkit_shmget(libc::IPC_PRIVATE, 1, 0o600);
                for command in [libc::IPC_STAT, libc::IPC_SET] {
                    refused(
                        sysv::shmkit_shmctl(id, command, addr as *mut _).into(),
                        libc::EFAULT,
                        "SHM-CONTROL-NO-BUFFER",
                    );
                }
                assert_eq!(sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()), 0);
                assert!(sem::shmkit_sem_open(name, libc::O_CREAT, 0o600, 1).is_null());
                refused(-1, libc::EFAULT, "sem_open");
                refused(sem::shmkit_sem_unlink(name).into(), libc::EFAULT, "sem_unlink");
                let (at, now) = (addr as *mut libc::sem_t, libc::timespec { tv_sec: 0, tv_nsec: 0 });
                let mut good: libc::sem_t = std::mem::zeroed();
                assert_eq!(sem::shmkit_sem_init(&mut good, 0, 1), 0);
                for result in [
                    sem::shmkit_sem_init(at, 0, 1),
                    sem::shmkit_sem_destroy(at),
                    sem::shmkit_sem_wait(at),
                    sem::shmkit_sem_trywait(at),
                    sem::shmkit_sem_timedwait(at, &now),
                    sem::shmkit_sem_clockwait(at, libc::CLOCK_MONOTONIC, &now),
                    sem::shmkit_sem_post(at),
                    sem::shmkit_sem_getvalue(at, null_mut()),
                    sem::shmkit_sem_timedwait(&mut good, addr as *const libc::timespec),
                    sem::shmkit_sem_getvalue(&mut good, addr as *mut i32),
                ] {
                    refused(result.into(), libc::EFAULT, "SHM-ARG-POINTER");
                }
                refused(sem::shmkit_sem_close(at).into(), libc::EINVAL, "SHM-SEM-NOT-OPEN");
                for command in [libc::F_GETLK, libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK] {
                    refused(record::shmkit_fcntl(0, command, addr).into(), libc::EFAULT, "SHM-ARG-POINTER");
                }
                let set = semset::shmkit_semget(libc::IPC_PRIVATE, 1, 0o600);
                let (steps, time) = (addr as *mut libc::sembuf, addr as *const libc::timespec);
                refused(semset::shmkit_semop(set, steps, 1).into(), libc::EFAULT, "SHM-ARG-POINTER");
                let mut step = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
                if addr != 0 {
                    refused(semset::shmkit_semtimedop(set, &mut step, 1, time).into(), libc::EFAULT, "semtimedop");
                }
                for command in [libc::IPC_STAT, libc::IPC_SET, libc::GETALL, libc::SETALL, libc::SEM_INFO] {
                    refused(semset::shmkit_semctl(set, 0, command, addr).into(), libc::EFAULT, "SHM-CONTROL-NO-BUFFER");
                }
                assert_eq!(semset::shmkit_semctl(set, 0, libc::IPC_RMID, addr), 0);
            }
            let aside = (&raw mut *Box::new([0u64; 32])).cast::<u8>().wrapping_add(4).cast();
            refused(sem::shmkit_sem_wait(aside).into(), libc::EINVAL, "SHM-SEM-ALIGN");
            let misaligned = (&raw mut *Box::new([0u64; 32])).cast::<u8>().add(1);
            assert_eq!(limits::shmkit_limits(misaligned.cast()), Status::ErrBadPointer as i32);
            let mut too_small = Limits { struct_size: 4, ..Limits::default() };
            assert_eq!(limits::shmkit_limits(&mut too_small), Status::ErrBadPointer as i32);
            assert_eq!(too_small.page_size, 0, "an error wrote its output");
        }
    });
}

#[test]
fn numbers_that_mean_nothing() {
    alone("numbers_that_mean_nothing", &[], || {
        for fd in [-1, i32::MIN, i32::MAX, 19_999] {
            refused(file::shmkit_close(fd).into(), libc::EBADF, "SHM-FD-CLOSED");
            refused(file::shmkit_ftruncate(fd, 1).into(), libc::EBADF, "ftruncate");
            let mut lock = libc::flock { l_type: 0, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
            // SAFETY: the lock is writable.
            let result = unsafe { record::shmkit_fcntl(fd, libc::F_GETLK, (&raw mut lock) as usize) };
            refused(result.into(), libc::EBADF, "SHM-FD-CLOSED");
            // SAFETY: the buffer is null, which the call answers.
            refused(unsafe { file::shmkit_fstat(fd, null_mut()) }.into(), libc::EBADF, "SHM-FD-CLOSED");
            let at = memory::shmkit_mmap(null_mut(), 4096, 1, libc::MAP_SHARED, fd, 0);
            refused(at as i64, libc::EBADF, "mmap");
            assert_eq!(file::shmkit_posix_fallocate(fd, 0, 1), libc::EBADF);
        }
        for size in [usize::MAX, 1 << 62, 1 << 57] {
            refused(memory::shmkit_mmap(null_mut(), size, 3, 0x21, -1, 0) as i64, libc::ENOMEM, "address space");
            assert_eq!(sysv::shmkit_shmget(libc::IPC_PRIVATE, size, 0o600), -1);
            // Over SHMMAX, over SHMALL, or more than there is: which comes first depends on the machine's limits.
            let reasons = [libc::EINVAL, libc::ENOSPC, libc::ENOMEM];
            assert!(reasons.contains(&errno()) && message().starts_with("shmget("), "{}", message());
            refused(memory::shmkit_munmap(4096 as *mut c_void, size).into(), libc::EINVAL, "munmap");
            refused(memory::shmkit_mprotect(4096 as *mut c_void, size, 1).into(), libc::ENOMEM, "mprotect");
            refused(memory::shmkit_msync(4096 as *mut c_void, size, libc::MS_SYNC).into(), libc::ENOMEM, "msync");
        }
        for id in [-1, i32::MIN, i32::MAX] {
            refused(sysv::shmkit_shmat(id, null(), 0) as i64, libc::EINVAL, "shmat");
            // SAFETY: the command takes no buffer.
            refused(unsafe { sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()) }.into(), libc::EINVAL, "shmctl");
        }
        for id in [-1, i32::MIN] {
            // SAFETY: the commands take no buffer, and no step is read for an id that cannot be.
            unsafe {
                refused(semset::shmkit_semctl(id, 0, libc::GETVAL, 0).into(), libc::EINVAL, "SHM-SEMSET-ID");
                let mut step = libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 };
                refused(semset::shmkit_semop(id, &mut step, 1).into(), libc::EINVAL, "SHM-SEMSET-ID");
            }
        }
        refused(semset::shmkit_semget(5, -1, 0o600).into(), libc::EINVAL, "a set of -1 semaphores was asked");
        refused(sysv::shmkit_shmdt(null()).into(), libc::EINVAL, "SHM-DETACH-NOT-ATTACHED");
        assert_eq!(policy::shmkit_set_policy(99), Status::ErrInvalidArgument as i32);
        assert!(message().contains("SHM-CONFIG-UNKNOWN"), "{}", message());
        // SAFETY: the string is terminated.
        assert_ne!(unsafe { policy::shmkit_set_report(c"/no/such/folder/file".as_ptr()) }, 0);
        assert!(message().contains("/no/such/folder/file"), "{}", message());
    });
}

#[test]
fn what_is_gone() {
    alone("what_is_gone", &[], || {
        // SAFETY: the commands take no buffer or a good one.
        unsafe {
            let id = sysv::shmkit_shmget(libc::IPC_PRIVATE, 100, 0o600);
            assert_eq!(sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()), 0);
            refused(sysv::shmkit_shmat(id, null(), 0) as i64, libc::EINVAL, "SHM-SEG-GONE");
            refused(sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()).into(), libc::EINVAL, "SHM-SEG-GONE");
            let mut status: libc::shmid_ds = std::mem::zeroed();
            refused(sysv::shmkit_shmctl(id, libc::IPC_STAT, &mut status).into(), libc::EINVAL, "SHM-SEG-GONE");
            let set = semset::shmkit_semget(libc::IPC_PRIVATE, 2, 0o600);
            refused(semset::shmkit_semctl(set, 2, libc::GETVAL, 0).into(), libc::EINVAL, "has 2 semaphores, and none");
            let mut step = libc::sembuf { sem_num: 7, sem_op: 1, sem_flg: 0 };
            refused(semset::shmkit_semop(set, &mut step, 1).into(), libc::EFBIG, "none with number 7");
            assert_eq!(semset::shmkit_semctl(set, 1, libc::SETVAL, 32_767), 0);
            step.sem_num = 1;
            refused(semset::shmkit_semop(set, &mut step, 1).into(), libc::ERANGE, "would get the value 32768");
            let values = [1u16, 40_000];
            refused(
                semset::shmkit_semctl(set, 0, libc::SETALL, values.as_ptr() as usize).into(),
                libc::ERANGE,
                "40000",
            );
            assert_eq!(semset::shmkit_semctl(set, 0, libc::IPC_RMID, 0), 0);
            refused(semset::shmkit_semctl(set, 0, libc::IPC_RMID, 0).into(), libc::EINVAL, "SHM-SEMSET-GONE");
            refused(semset::shmkit_semop(set, &mut step, 1).into(), libc::EINVAL, "SHM-SEMSET-GONE");
            let name = object_name();
            let fd = posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
            assert_eq!(posix::shmkit_shm_unlink(name.as_ptr()), 0);
            refused(posix::shmkit_shm_unlink(name.as_ptr()).into(), libc::ENOENT, "there is no object");
            refused(
                posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR, 0).into(),
                libc::ENOENT,
                name.to_str().unwrap(),
            );
            assert_eq!(file::shmkit_close(fd), 0);
            refused(file::shmkit_close(fd).into(), libc::EBADF, "second close");
            let at = memory::shmkit_mmap(null_mut(), 4096, 3, 0x21, -1, 0);
            assert_eq!(memory::shmkit_munmap(at, 4096), 0);
            refused(memory::shmkit_mprotect(at, 4096, 1).into(), libc::ENOMEM, "SHM-RANGE-NOT-MAPPED");
            refused(memory::shmkit_mremap(at, 4096, 8192, 1, null_mut()) as i64, libc::EFAULT, "SHM-REMAP-NOT-MAPPED");
        }
    });
}

#[test]
fn descriptors_used_up() {
    alone("descriptors_used_up", &[], || {
        set_limit(libc::RLIMIT_NOFILE, 40);
        let mut open = Vec::new();
        let name = object_name();
        // SAFETY: the strings are terminated.
        unsafe {
            loop {
                let fd = posix::shmkit_memfd_create(c"one".as_ptr(), libc::MFD_CLOEXEC);
                if fd < 0 {
                    break;
                }
                open.push(fd);
            }
            refused(-1, libc::EMFILE, "all 40 descriptors that RLIMIT_NOFILE allows");
            assert!(sem::shmkit_sem_open(name.as_ptr(), libc::O_CREAT, 0o600, 1).is_null());
            refused(-1, libc::EMFILE, "all 40 descriptors that RLIMIT_NOFILE allows");
            let fd = posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
            refused(fd.into(), libc::EMFILE, "all 40 descriptors that RLIMIT_NOFILE allows");
        }
        assert!(open.len() > 20);
        open.into_iter().for_each(|fd| assert_eq!(file::shmkit_close(fd), 0));
    });
}

#[test]
fn segments_used_up() {
    alone("segments_used_up", &[], || {
        own_namespaces(1 << 20);
        std::fs::write("/proc/sys/kernel/shmmni", "5").expect("the IPC namespace is ours");
        let get = |size: usize| sysv::shmkit_shmget(libc::IPC_PRIVATE, size, 0o600);
        let ids: Vec<_> = (0..5).map(|_| get(1)).collect();
        assert!(ids.iter().all(|id| *id >= 0));
        refused(get(1).into(), libc::ENOSPC, "all 5 segments that SHMMNI allows are in use (5)");
        // SAFETY: the command takes no buffer.
        ids.into_iter().for_each(|id| assert_eq!(unsafe { sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()) }, 0));
        std::fs::write("/proc/sys/kernel/shmall", "10").expect("the IPC namespace is ours");
        refused(get(11 * 4096).into(), libc::ENOSPC, "11 pages are needed and the system's segments use 0 of the 10");
        std::fs::write("/proc/sys/kernel/shmmax", "4096").expect("the IPC namespace is ours");
        refused(get(4097).into(), libc::EINVAL, "4097 bytes are more than SHMMAX, 4096 bytes");
    });
}

#[test]
fn sets_of_semaphores_used_up() {
    alone("sets_of_semaphores_used_up", &[], || {
        own_namespaces(1 << 20);
        std::fs::write("/proc/sys/kernel/sem", "8 20 10 3").expect("the IPC namespace is ours");
        let get = |count: i32| semset::shmkit_semget(libc::IPC_PRIVATE, count, 0o600);
        refused(get(9).into(), libc::EINVAL, "a new one has from 1 to SEMMSL, 8");
        let ids = [get(8), get(8)];
        refused(
            get(8).into(),
            libc::ENOSPC,
            "there are 2 sets with 16 semaphores; SEMMNI allows 3 sets, and SEMMNS 20",
        );
        let last = get(1);
        refused(get(1).into(), libc::ENOSPC, "there are 3 sets with 17 semaphores");
        let mut steps = [libc::sembuf { sem_num: 0, sem_op: 1, sem_flg: 0 }; 11];
        // SAFETY: the steps are readable; the command takes no argument.
        unsafe {
            let result = semset::shmkit_semop(last, steps.as_mut_ptr(), steps.len());
            refused(result.into(), libc::E2BIG, "11 steps are more than SEMOPM, 10");
            for id in ids.into_iter().chain([last]) {
                assert_eq!(semset::shmkit_semctl(id, 0, libc::IPC_RMID, 0), 0);
            }
        }
    });
}

#[test]
fn a_full_file_system() {
    alone("a_full_file_system", &[], || {
        own_namespaces(64 << 10);
        // SAFETY: the strings are terminated.
        unsafe {
            let fd = posix::shmkit_shm_open(c"/full".as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
            assert_eq!(file::shmkit_posix_fallocate(fd, 0, 1 << 20), libc::ENOSPC);
            let words = message();
            assert!(words.contains("posix:/full would need 1048576 more bytes"), "{words}");
            assert!(words.contains("has 65536 free of 65536"), "{words}");
            // Sparse growth is legal; who asks for enforcement is told before the first SIGBUS.
            assert_eq!(file::shmkit_ftruncate(fd, 1 << 20), 0);
            assert_eq!(file::shmkit_ftruncate(fd, 0), 0);
            assert_eq!(policy::shmkit_set_policy(2), 0);
            refused(file::shmkit_ftruncate(fd, 1 << 20).into(), libc::ENOSPC, "would need 1048576 more bytes");
        }
    });
}

#[test]
fn address_space_used_up() {
    alone("address_space_used_up", &[], || {
        set_limit(libc::RLIMIT_AS, 512 << 20);
        let at = memory::shmkit_mmap(null_mut(), 1 << 30, 3, 0x21, -1, 0);
        refused(at as i64, libc::ENOMEM, "RLIMIT_AS is 536870912 bytes");
        let id = sysv::shmkit_shmget(libc::IPC_PRIVATE, 1 << 30, 0o600);
        assert!(id >= 0, "{}", message());
        refused(sysv::shmkit_shmat(id, null(), 0) as i64, libc::ENOMEM, "RLIMIT_AS is 536870912 bytes");
        // SAFETY: the command takes no buffer.
        assert_eq!(unsafe { sysv::shmkit_shmctl(id, libc::IPC_RMID, null_mut()) }, 0);
    });
}

#[test]
fn a_status_in_words_whatever_the_number() {
    for number in [0, -1, -24, -25, 1, i32::MIN, i32::MAX] {
        // SAFETY: both give static, terminated strings.
        unsafe {
            let name = std::ffi::CStr::from_ptr(error::shmkit_status_name(number));
            let words = std::ffi::CStr::from_ptr(error::shmkit_status_message(number));
            assert_eq!(Status::from_number(number).is_none(), name == c"unknown");
            assert!(!words.is_empty());
        }
    }
}
