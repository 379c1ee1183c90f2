//! C ABI of `calls/semset.rs`: semget, semop, semtimedop, semctl. Translation only.

use core::ffi::c_int;

use super::{answer, answer_unit, guard, mode_in};
use crate::calls::policy;
use crate::calls::semset::{self as calls, Control, Operation};
use crate::checks::words::Call;
use crate::sys::semset as sys_semset;

/// Finds or makes a set of `nsems` System V semaphores.
///
/// As semget(2) and POSIX, checked first. Returns its id, or -1 with errno. Thread-safe. On Linux the semaphores of a
/// new set are 0. It outlives the process until somebody removes it with IPC_RMID.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_semget(key: libc::key_t, nsems: c_int, semflg: c_int) -> c_int {
    answer(guard(Call::Semget, || calls::semget(key, nsems, semflg)))
}

/// Does all steps of an operation on a set at once, or waits until it can.
///
/// As semop(2) and POSIX, checked first. Returns 0, or -1 with errno: EINTR after a signal, EIDRM when the set was
/// removed meanwhile. Thread-safe. With SEM_UNDO the kernel takes a step back when this process ends, however it does.
///
/// # Safety
/// `sops` points to `nsops` steps.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_semop(semid: c_int, sops: *mut libc::sembuf, nsops: usize) -> c_int {
    answer_unit(guard(Call::Semop, || {
        let operation = Operation { call: Call::Semop, id: semid, steps: sops as usize, count: nsops, time: 0 };
        operation.check()?;
        // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
        unsafe { sys_semset::semop(semid, sops, nsops) }.map_err(|errno| operation.explain(errno))
    }))
}

/// As shmkit_semop, for no longer than `timeout`, a span of time; NULL for without an end.
///
/// As semtimedop(2), checked first. Returns 0, or -1 with errno: EAGAIN when the time ran out. Thread-safe.
///
/// # Safety
/// `sops` points to `nsops` steps; `timeout` is null or points to a time.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_semtimedop(
    semid: c_int,
    sops: *mut libc::sembuf,
    nsops: usize,
    timeout: *const libc::timespec,
) -> c_int {
    answer_unit(guard(Call::Semtimedop, || {
        let (steps, time) = (sops as usize, timeout as usize);
        let operation = Operation { call: Call::Semtimedop, id: semid, steps, count: nsops, time };
        operation.check()?;
        // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
        unsafe { sys_semset::semtimedop(semid, sops, nsops, timeout) }.map_err(|errno| operation.explain(errno))
    }))
}

/// Controls a set. The header declares it with `...` as semctl(2) has it.
///
/// The fourth argument, a union of a word, is only passed, and only looked at, when the command asks for it. A variadic
/// call passes it in the same register as a plain one, as with shmkit_mremap.
///
/// # Safety
/// `argument` is what the command needs.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_semctl(semid: c_int, semnum: c_int, cmd: c_int, argument: usize) -> c_int {
    answer(guard(Call::Semctl, || {
        let control = Control { id: semid, number: semnum, command: cmd, argument };
        let wants_mode = cmd == libc::IPC_SET && policy::attentive();
        const AT: usize = core::mem::offset_of!(libc::semid_ds, sem_perm) + core::mem::offset_of!(libc::ipc_perm, mode);
        control.check(if wants_mode { mode_in(argument, AT) } else { None })?;
        // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
        match unsafe { sys_semset::semctl(semid, semnum, cmd, argument) } {
            Ok(value) => {
                control.succeeded();
                Ok(value)
            }
            Err(errno) => Err(control.explain(errno)),
        }
    }))
}
