//! C ABI of `calls/limits.rs`. Translation only.

use super::error::shmkit_status_t;
use super::{guard, is_plausible};
use crate::calls::limits::{Limits, limits};
use crate::calls::posix::require_pointer;
use crate::checks::words::{Call, Invocation};
use crate::error::Status;

/// Reads the limits of shared memory: System V's, page sizes, and the room for POSIX objects.
///
/// Set `struct_size` first (SHMKIT_LIMITS_INIT does); no more than that many bytes are written. Returns SHMKIT_OK, or
/// an error and writes nothing. What the system does not tell is 0. Thread-safe.
///
/// # Safety
/// `limits` is null or points to a writable struct of the size that it states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_limits(limits: *mut Limits) -> shmkit_status_t {
    let out = limits;
    let result = guard(Call::Limits, || {
        let valid = is_plausible(out as usize) && (out as usize).is_multiple_of(align_of::<Limits>());
        require_pointer(out as usize, valid, || Invocation::new(Call::Limits, [0; 6]))?;
        // SAFETY: the caller's promise, and the alignment was checked.
        let stated = unsafe { (*out).struct_size };
        let smallest = size_of::<usize>();
        require_pointer(out as usize, stated >= smallest, || Invocation::new(Call::Limits, [0; 6]))?;
        let mut all = self::limits();
        all.struct_size = stated;
        let count = stated.min(size_of::<Limits>());
        // SAFETY: `out` has room for `stated` bytes, `all` for its own size, and the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping((&raw const all).cast::<u8>(), out.cast::<u8>(), count) };
        Ok(())
    });
    match result {
        Ok(()) => Status::Ok as shmkit_status_t,
        Err(errno) => Status::from_errno(errno.0) as shmkit_status_t,
    }
}
