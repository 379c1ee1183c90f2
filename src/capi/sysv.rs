//! C ABI of `calls/sysv.rs`: shmget, shmat, shmdt, shmctl, ftok. Translation only.

use core::ffi::{c_char, c_int, c_void};

use super::{answer, answer_address, answer_unit, guard, mode_in, name_for_kernel};
use crate::calls::policy;
use crate::calls::sysv::{self as calls, Control};
use crate::checks::words::Call;
use crate::sys::sysv as sys_sysv;

/// Where the mode stands in the buffer of IPC_SET.
const MODE_AT: usize = core::mem::offset_of!(libc::shmid_ds, shm_perm) + core::mem::offset_of!(libc::ipc_perm, mode);

/// Finds or makes a System V segment of `size` bytes.
///
/// As shmget(2) and POSIX, checked first. Returns its id, or -1 with errno. Thread-safe. The segment outlives the
/// process until somebody removes it with IPC_RMID.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_shmget(key: libc::key_t, size: usize, shmflg: c_int) -> c_int {
    answer(guard(Call::Shmget, || calls::shmget(key, size, shmflg)))
}

/// Attaches a System V segment.
///
/// As shmat(2) and POSIX, checked first. Returns the address, or (void *)-1 with errno. Thread-safe. A forked child
/// inherits the attach; exec and exit end it.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_shmat(shmid: c_int, shmaddr: *const c_void, shmflg: c_int) -> *mut c_void {
    answer_address(guard(Call::Shmat, || calls::shmat(shmid, shmaddr as usize, shmflg)))
}

/// Detaches the segment that was attached at this address.
///
/// As shmdt(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_shmdt(shmaddr: *const c_void) -> c_int {
    answer_unit(guard(Call::Shmdt, || calls::shmdt(shmaddr as usize)))
}

/// Controls a System V segment: IPC_STAT, IPC_SET, IPC_RMID, SHM_LOCK, SHM_UNLOCK, IPC_INFO, SHM_INFO, SHM_STAT,
/// SHM_STAT_ANY.
///
/// As shmctl(2) and POSIX, checked first. Returns 0 (an id or index for the INFO and STAT commands of Linux), or -1
/// with errno. Thread-safe.
///
/// # Safety
/// `buffer` is null or points to what the command needs.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_shmctl(shmid: c_int, cmd: c_int, buffer: *mut libc::shmid_ds) -> c_int {
    answer(guard(Call::Shmctl, || {
        let control = Control { id: shmid, command: cmd, buffer: buffer as usize };
        let wants_mode = cmd == libc::IPC_SET && policy::attentive();
        control.check(if wants_mode { mode_in(buffer as usize, MODE_AT) } else { None })?;
        // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
        match unsafe { sys_sysv::shmctl(shmid, cmd, buffer) } {
            Ok(value) => {
                control.succeeded();
                Ok(value)
            }
            Err(errno) => Err(control.explain(errno)),
        }
    }))
}

/// Makes a System V key of a file and the low 8 bits of `proj_id`, which must not be 0.
///
/// As ftok(3) and POSIX, checked first. Returns the key, or -1 with errno. Thread-safe.
///
/// # Safety
/// `pathname` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_ftok(pathname: *const c_char, proj_id: c_int) -> libc::key_t {
    // SAFETY: the caller's promise.
    let path = unsafe { name_for_kernel(pathname) };
    answer(guard(Call::Ftok, || calls::ftok(path, proj_id)))
}
