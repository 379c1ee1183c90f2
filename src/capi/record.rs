//! C ABI of `calls/record.rs`: fcntl. Translation only; what is no record lock passes straight through.

use core::ffi::c_int;

use super::{answer, guard_uncancelled};
use crate::calls::policy;
use crate::calls::record::Request;
use crate::checks::record::is_lock;
use crate::checks::words::Call;
use crate::error::Errno;
use crate::sys::{self, record as sys_record};

/// fcntl. The header declares it with `...` as fcntl(2) has it.
///
/// The third argument is a word or is not there; a variadic call passes it in the same register as a plain one, as with
/// shmkit_mremap, and the C library's fcntl takes it on as it is.
///
/// # Safety
/// `argument` is what the command needs.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn shmkit_fcntl(fd: c_int, cmd: c_int, argument: usize) -> c_int {
    if !is_lock(cmd) {
        // SAFETY: the caller's promise.
        return unsafe { sys_record::fcntl(fd, cmd, argument) };
    }
    let request = Request { fd, command: cmd, at: argument };
    if policy::attentive() {
        let examined = guard_uncancelled(Call::Fcntl, || request.examine());
        if let Err(errno) = examined {
            return answer(Err(errno));
        }
    }
    // Here F_SETLKW waits. A cancellation ends the wait and unwinds through this frame, which has nothing to drop.
    // SAFETY: the caller's promise; a pointer that leads nowhere makes the kernel answer EFAULT.
    match unsafe { sys_record::fcntl(fd, cmd, argument) } {
        -1 => answer(guard_uncancelled(Call::Fcntl, || Err(request.explain(Errno(sys::errno()))))),
        value => value,
    }
}

/// The same as shmkit_fcntl: file offsets have 64 bits on every supported platform.
///
/// # Safety
/// As for `shmkit_fcntl`.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn shmkit_fcntl64(fd: c_int, cmd: c_int, argument: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { shmkit_fcntl(fd, cmd, argument) }
}
