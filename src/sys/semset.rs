//! System V sets of semaphores: the system calls as they are, and the few that regions are made of.
//! Never checks and never explains. Next: `calls/semset.rs`; `region/segment.rs` for locks and leases that the kernel
//! undoes when their process ends.

use super::{Sys, check, real};

/// One step of an operation: semaphore, change, and whether the end of the process takes it back.
pub type Step = libc::sembuf;

/// Waits until a semaphore is zero.
pub fn is_zero(number: u16) -> Step {
    Step { sem_num: number, sem_op: 0, sem_flg: 0 }
}

/// Adds to a semaphore until the process ends.
pub fn add(number: u16, change: i16) -> Step {
    Step { sem_num: number, sem_op: change, sem_flg: libc::SEM_UNDO as i16 }
}

/// The same step, which fails with EAGAIN instead of waiting.
pub fn at_once(step: Step) -> Step {
    Step { sem_flg: step.sem_flg | libc::IPC_NOWAIT as i16, ..step }
}

/// semop(set, steps, count)—does all steps at once, or waits until it can.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/semop.html),
/// [Linux](https://man7.org/linux/man-pages/man2/semop.2.html)
///
/// # Safety
/// `steps` points to `count` readable steps, or is an address at which the kernel will answer EFAULT.
#[inline]
pub unsafe fn semop(set: i32, steps: *mut Step, count: usize) -> Sys<()> {
    // SAFETY: the caller's promise; the kernel alone reads through the pointer.
    check(unsafe { real::semop(set, steps, count) }).map(drop)
}

/// semtimedop(set, steps, count, time)—as semop, for no longer than a span of time; null for without an end.
///
/// # Safety
/// As for `semop`; and `time` is null, readable, or an address at which the kernel will answer EFAULT.
#[inline]
pub unsafe fn semtimedop(set: i32, steps: *mut Step, count: usize, time: *const libc::timespec) -> Sys<()> {
    // SAFETY: the caller's promise; the kernel alone reads through the pointers.
    check(unsafe { real::semtimedop(set, steps, count, time) }).map(drop)
}

/// semctl(set, number, command, argument)—controls a set. The C library passes the argument on only where the command
/// has one.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/semctl.html),
/// [Linux](https://man7.org/linux/man-pages/man2/semctl.2.html)
///
/// # Safety
/// `argument` is what `command` needs: a number, an address that holds enough, or one at which the kernel will answer
/// EFAULT.
#[inline]
pub unsafe fn semctl(set: i32, number: i32, command: i32, argument: usize) -> Sys<i32> {
    // SAFETY: the caller's promise; a union of an int and pointers is passed as a word.
    check(unsafe { real::semctl(set, number, command, argument) })
}

/// semget(key, count, flags)—finds or makes a set; on Linux a new one is all zeros.
pub fn get(key: i32, count: i32, flags: i32) -> Sys<i32> {
    // SAFETY: takes no pointers.
    check(unsafe { real::semget(key, count, flags) })
}

/// semtimedop(set, steps, nanoseconds)—does all steps at once, or waits until it can.
///
/// [POSIX](https://pubs.opengroup.org/onlinepubs/9799919799/functions/semop.html),
/// [Linux](https://man7.org/linux/man-pages/man2/semop.2.html)
pub fn operate(set: i32, steps: &mut [Step], nanoseconds: u64) -> Sys<()> {
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000).min(i64::MAX as u64 / 2) as _,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    // SAFETY: the steps and the time are readable for as long as the call takes.
    check(unsafe { real::semtimedop(set, steps.as_mut_ptr(), steps.len(), &time) }).map(drop)
}

/// The value of a semaphore.
pub fn value(set: i32, number: i32) -> Sys<i32> {
    // SAFETY: GETVAL takes no further argument.
    check(unsafe { real::semctl(set, number, libc::GETVAL, 0) })
}

/// The process that operated on a semaphore last, or set its value; 0 when it is of another pid namespace.
pub fn last_process(set: i32, number: i32) -> Sys<i32> {
    // SAFETY: GETPID takes no further argument.
    check(unsafe { real::semctl(set, number, libc::GETPID, 0) })
}

/// Removes a set; whoever waits on it gets EIDRM.
pub fn remove(set: i32) -> Sys<()> {
    // SAFETY: IPC_RMID takes no further argument.
    check(unsafe { real::semctl(set, 0, libc::IPC_RMID, 0) }).map(drop)
}

/// Sets the value of a semaphore, whoever dies.
pub fn set_value(set: i32, number: i32, value: i32) -> Sys<()> {
    // SAFETY: SETVAL takes an int.
    check(unsafe { real::semctl(set, number, libc::SETVAL, value as usize) }).map(drop)
}

/// All values of a set, as far as there is room for them; the set must not be larger than the room.
pub fn values<const N: usize>(set: i32) -> Sys<[u16; N]> {
    let status = status(set)?;
    if status.count > N as u64 {
        return Err(crate::error::Errno(libc::E2BIG));
    }
    let mut values = [0u16; N];
    // SAFETY: GETALL writes one value for each semaphore, and there is room for as many as the set has; a set of
    // another size cannot take its id.
    check(unsafe { real::semctl(set, 0, libc::GETALL, values.as_mut_ptr() as usize) })?;
    Ok(values)
}

/// What is known of a set.
#[derive(Clone, Copy)]
pub struct Status {
    /// Its owner.
    pub uid: u32,
    /// Permission bits.
    pub mode: u32,
    /// How many semaphores it has.
    pub count: u64,
    /// Its key; zero for a private one.
    pub key: i32,
    /// When somebody operated on it last, in seconds since the epoch; 0 for never.
    pub operated: i64,
    /// Its group.
    pub gid: u32,
    /// When it was made, or its owner, group, mode or values were set, in seconds since the epoch.
    pub changed: i64,
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
fn status_of(stat: &libc::semid_ds) -> Status {
    Status {
        uid: stat.sem_perm.uid,
        mode: stat.sem_perm.mode as u32,
        count: stat.sem_nsems as u64,
        key: stat.sem_perm.__key,
        operated: stat.sem_otime as i64,
        gid: stat.sem_perm.gid,
        changed: stat.sem_ctime as i64,
    }
}

/// IPC_STAT—the status of a set.
pub fn status(set: i32) -> Sys<Status> {
    let mut stat = core::mem::MaybeUninit::<libc::semid_ds>::zeroed();
    // SAFETY: the buffer is writable and of the right type, and zero is valid for each of its fields.
    unsafe {
        check(real::semctl(set, 0, libc::IPC_STAT, stat.as_mut_ptr() as usize))?;
        Ok(status_of(stat.assume_init_ref()))
    }
}

/// IPC_SET—gives a set permission bits, and a group when one is named.
#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between architectures")]
pub fn set_access(set: i32, mode: u32, group: Option<u32>) -> Sys<()> {
    let mut stat = core::mem::MaybeUninit::<libc::semid_ds>::zeroed();
    // SAFETY: the buffer is of the right type; the first call fills it.
    unsafe {
        check(real::semctl(set, 0, libc::IPC_STAT, stat.as_mut_ptr() as usize))?;
        let perm = &mut stat.assume_init_mut().sem_perm;
        let group = group.unwrap_or(perm.gid);
        if (perm.mode as u32 & 0o777, perm.gid) == (mode, group) {
            return Ok(());
        }
        (perm.mode, perm.gid) = (mode as _, group);
        check(real::semctl(set, 0, libc::IPC_SET, stat.as_mut_ptr() as usize)).map(drop)
    }
}

/// The limits of semaphores in this IPC namespace, and what is used of them.
#[derive(Clone, Copy, Default)]
pub struct Limits {
    /// Sets (SEMMNI).
    pub sets: u64,
    /// Sets that exist.
    pub used_sets: u64,
    /// Semaphores of all sets (SEMMNS).
    pub semaphores: u64,
    /// Semaphores that exist.
    pub used: u64,
    /// Semaphores of one set (SEMMSL).
    pub of_set: u64,
    /// Steps of one operation (SEMOPM).
    pub of_operation: u64,
}

/// SEM_INFO—the limits.
pub fn limits() -> Sys<Limits> {
    let mut info = [0i32; 16];
    // SAFETY: for SEM_INFO the kernel writes a `struct seminfo`, which is ten ints: semmap, semmni, semmns, semmnu,
    // semmsl, semopm, semume, the number of sets, semvmx, the number of semaphores.
    check(unsafe { real::semctl(0, 0, libc::SEM_INFO, info.as_mut_ptr() as usize) })?;
    let number = |index: usize| info[index].max(0) as u64;
    Ok(Limits {
        sets: number(1),
        used_sets: number(7),
        semaphores: number(2),
        used: number(9),
        of_set: number(4),
        of_operation: number(5),
    })
}

/// The highest index of a set in the kernel's table.
pub fn last_index() -> Sys<i32> {
    let mut info = [0i32; 16];
    // SAFETY: for SEM_INFO the kernel writes a `struct seminfo`, which is ten ints.
    check(unsafe { real::semctl(0, 0, libc::SEM_INFO, info.as_mut_ptr() as usize) })
}

/// The key of the set at an index of the kernel's table (Linux 4.17).
pub fn key_at_index(index: i32) -> Sys<i32> {
    at_index(index).map(|(_, status)| status.key)
}

/// The set at an index of the kernel's table: its id and status, whoever may read it (Linux 4.17). Of an id the kernel
/// takes the index that is a part of it.
pub fn at_index(index: i32) -> Sys<(i32, Status)> {
    let mut stat = core::mem::MaybeUninit::<libc::semid_ds>::zeroed();
    // SAFETY: as in `status`.
    unsafe {
        let id = check(real::semctl(index, 0, libc::SEM_STAT_ANY, stat.as_mut_ptr() as usize))?;
        Ok((id, status_of(stat.assume_init_ref())))
    }
}
