//! C ABI of `calls/memory.rs`: mmap, munmap, mremap, mprotect, msync, madvise, mlock, munlock. Translation only.

use core::ffi::{c_int, c_void};

use super::{answer_address, answer_unit, guard, guard_uncancelled};
use crate::calls::memory as calls;
use crate::checks::memory::{Map, Remap};
use crate::checks::words::Call;
use crate::sys::process::cancellation_point;

/// Maps memory, a file or a shared memory object.
///
/// As mmap(2) and POSIX, checked first. `length` and `offset` are bytes; `offset` is a multiple of the page size.
/// Returns the address, or MAP_FAILED with errno. Thread-safe. A forked child inherits the mapping; exec ends it.
/// A peer that truncates the object later turns touches of the lost pages into SIGBUS.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_mmap(
    addr: *mut c_void,
    length: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let map = Map { addr: addr as usize, length, prot, flags, fd, offset };
    answer_address(guard(Call::Mmap, || calls::mmap(&map)))
}

/// The same as shmkit_mmap: file offsets have 64 bits on every supported platform.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_mmap64(
    addr: *mut c_void,
    length: usize,
    prot: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    shmkit_mmap(addr, length, prot, flags, fd, offset)
}

/// Removes mappings.
///
/// As munmap(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe. Detach System V segments with
/// shmkit_shmdt instead.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_munmap(addr: *mut c_void, length: usize) -> c_int {
    answer_unit(guard(Call::Munmap, || calls::munmap(addr as usize, length)))
}

/// Moves or resizes a mapping. The header declares it with `...` as mremap(2) has it.
///
/// The fifth argument is only passed, and only looked at, when a flag asks for it. A variadic call passes it in the
/// same register as a plain one on both supported platforms (x86-64 psABI 3.5.7, AAPCS64 6.4.2), so this function
/// can be both.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_mremap(
    old_address: *mut c_void,
    old_size: usize,
    new_size: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    let needs_new = flags & (libc::MREMAP_FIXED | crate::checks::memory::MREMAP_DONTUNMAP) != 0;
    let new = if needs_new { new_address as usize } else { 0 };
    let remap = Remap { old: old_address as usize, old_size, new_size, flags, new };
    answer_address(guard(Call::Mremap, || calls::mremap(&remap)))
}

/// Changes the protection of mappings.
///
/// As mprotect(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_mprotect(addr: *mut c_void, length: usize, prot: c_int) -> c_int {
    answer_unit(guard(Call::Mprotect, || calls::mprotect(addr as usize, length, prot)))
}

/// Writes a shared file mapping back to its file.
///
/// As msync(2) and POSIX, checked first: exactly one of MS_SYNC and MS_ASYNC. Returns 0, or -1 with errno. Thread-safe;
/// a cancellation point, once the call is done.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C-unwind" fn shmkit_msync(addr: *mut c_void, length: usize, flags: c_int) -> c_int {
    let result = answer_unit(guard_uncancelled(Call::Msync, || calls::msync(addr as usize, length, flags)));
    cancellation_point();
    result
}

/// Tells the kernel how memory will be used.
///
/// As madvise(2), checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_madvise(addr: *mut c_void, length: usize, advice: c_int) -> c_int {
    answer_unit(guard(Call::Madvise, || calls::madvise(addr as usize, length, advice)))
}

/// Keeps memory resident. Locks are not inherited by a forked child and end at exec.
///
/// As mlock(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_mlock(addr: *const c_void, length: usize) -> c_int {
    answer_unit(guard(Call::Mlock, || calls::mlock(addr as usize, length)))
}

/// Lets memory be paged out again.
///
/// As munlock(2) and POSIX, checked first. Returns 0, or -1 with errno. Thread-safe.
#[cfg_attr(not(interposer), unsafe(no_mangle))]
pub extern "C" fn shmkit_munlock(addr: *const c_void, length: usize) -> c_int {
    answer_unit(guard(Call::Munlock, || calls::munlock(addr as usize, length)))
}
