//! C ABI of `calls/posix.rs`: shm_open, shm_unlink, memfd_create. Translation only.

use core::ffi::{c_char, c_int, c_uint};

use super::{answer, answer_unit, guard, name, name_for_kernel};
use crate::calls::posix as calls;
use crate::checks::words::Call;

/// Opens or creates a POSIX shared memory object.
///
/// As shm_open(3) and POSIX, checked first. Returns a descriptor (close-on-exec), or -1 with errno; the words are in
/// shmkit_last_error_message(). Thread-safe; async-signal-safe as far as shm_open is.
/// After a fork the child's descriptor is its own; a peer's death changes nothing.
///
/// # Safety
/// `name` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_shm_open(name: *const c_char, oflag: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { self::name(name) };
    answer(guard(Call::ShmOpen, || calls::shm_open(name, oflag, mode)))
}

/// Removes the name of a POSIX shared memory object; its memory lives until its last mapping and descriptor are gone.
///
/// As shm_unlink(3) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
///
/// # Safety
/// `name` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_shm_unlink(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { self::name(name) };
    answer_unit(guard(Call::ShmUnlink, || calls::shm_unlink(name)))
}

/// Makes a memory file without a name; `name` is a label that /proc shows.
///
/// As memfd_create(2), checked first. Returns a descriptor, or -1 with errno. Pass MFD_CLOEXEC: the kernel's default
/// lets the descriptor through exec. Thread-safe.
///
/// # Safety
/// `name` is null or a terminated string.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub unsafe extern "C" fn shmkit_memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    let name = unsafe { name_for_kernel(name) };
    answer(guard(Call::MemfdCreate, || calls::memfd_create(name, flags)))
}
