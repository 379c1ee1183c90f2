//! What a program has of a container, in its own memory: a C struct that holds one end or member, sealed by the struct's own
//! address, so that one that was copied, moved, or never attached is known. And what all containers ask of their memory.
//! Never looks into the shared memory. Next: `ring.rs`, `queue.rs`, `broadcast.rs`, `cell.rs`.

use core::ffi::{c_int, c_void};

use super::is_plausible;
use crate::checks::memory::ADDRESS_LIMIT;
use crate::containers::role::Judged;
use crate::error::Status;
use crate::region::{Failure, Outcome};
use crate::sys::area::Area;
use crate::sys::file;

/// What lies below is mapped nowhere.
const FIRST_ADDRESS: usize = 4096;

/// A C struct with room for something of the library's.
pub(super) trait Handle: Sized {
    /// What is in it.
    type Inner;
    /// A number of this kind.
    const SEAL: u64;
    /// Why it may be none, and what to do.
    const NONE: (&'static str, &'static str);
}

#[repr(C)]
struct Sealed<T> {
    seal: u64,
    inner: T,
}

fn seal_of<H: Handle>(at: *mut H) -> u64 {
    H::SEAL ^ at as u64
}

/// Whether a place is not one of those that programs pass by mistake; `place` says why. One comparison: neither in the first
/// page nor beyond what can be mapped.
#[inline(always)]
pub(super) fn can_hold<T>(at: *mut T) -> bool {
    (at as usize).wrapping_sub(FIRST_ADDRESS) < ADDRESS_LIMIT - FIRST_ADDRESS && at.is_aligned()
}

/// The same for a place that may be NULL, for nowhere.
#[inline(always)]
pub(super) fn can_hold_or_null<T>(at: *mut T) -> bool {
    at.is_null() || can_hold(at)
}

/// What is attached at a place, if something is.
///
/// # Safety
/// `at` cannot be an address, or leads to the bytes of an `H` that no other thread uses now.
#[inline(always)]
pub(super) unsafe fn near<'a, H: Handle>(at: *mut H) -> Option<&'a mut H::Inner> {
    const { assert!(size_of::<Sealed<H::Inner>>() <= size_of::<H>()) };
    const { assert!(align_of::<Sealed<H::Inner>>() <= align_of::<H>()) };
    if !can_hold(at) {
        return None;
    }
    // SAFETY: the bytes are there and nobody else's; those that are none are not read further than their seal.
    unsafe {
        let sealed = at.cast::<Sealed<H::Inner>>();
        if (&raw const (*sealed).seal).read() == seal_of(at) { Some(&mut (*sealed).inner) } else { None }
    }
}

/// The same for the slow ways.
///
/// # Safety
/// As for `near`.
pub(super) unsafe fn attached<'a, H: Handle>(at: *mut H) -> Outcome<&'a mut H::Inner> {
    if !is_plausible(at as usize) {
        return Err(Failure::of(Status::ErrBadPointer));
    }
    // SAFETY: the caller's promise.
    unsafe { near(at) }.ok_or(Failure::new(Status::ErrBadHandle, H::NONE.0, H::NONE.1))
}

/// Puts something into a struct that `place` has found good.
///
/// # Safety
/// `at` is writable.
pub(super) unsafe fn attach<H: Handle>(at: *mut H, inner: H::Inner) {
    // SAFETY: the caller's promise; large enough and aligned, see `near`.
    unsafe { at.cast::<Sealed<H::Inner>>().write(Sealed { seal: seal_of(at), inner }) };
}

/// Ends what is attached.
///
/// # Safety
/// As for `near`.
pub(super) unsafe fn detach<H: Handle>(at: *mut H, end: impl FnOnce(&mut H::Inner)) -> Outcome<()> {
    // SAFETY: the caller's promise; what is attached has a seal before it.
    unsafe {
        end(attached(at)?);
        at.cast::<u64>().write(0);
    }
    Ok(())
}

/// The memory of a container.
pub(super) fn area(memory: *const c_void, length: usize) -> Outcome<Area> {
    let start = memory as usize;
    if !is_plausible(start) || start.checked_add(length).is_none() {
        return Err(Failure::of(Status::ErrBadPointer));
    }
    if !start.is_multiple_of(64) {
        return Err(Failure::argument(
            "the memory is not aligned to 64 bytes",
            "begin it at a multiple of 64: the data of a region does",
        ));
    }
    // SAFETY: aligned; every function of a container asks that the memory is mapped while something is attached to it, and the
    // kernel is asked before it is touched for the first time.
    Ok(unsafe { Area::new(start, length) })
}

/// A descriptor to write to when somebody sleeps on it; -1 for none.
pub(super) fn notify_fd(fd: c_int) -> Outcome<c_int> {
    match file::open_flags(fd) {
        _ if fd == -1 => Ok(fd),
        Err(_) => Err(Failure::of(Status::ErrBadDescriptor)),
        // Whoever else writes to it could fill it, and who notifies never waits.
        Ok(flags) if flags & libc::O_NONBLOCK == 0 => Err(Failure::argument(
            "a write to this descriptor may wait",
            "make it by eventfd(0, EFD_NONBLOCK), or set O_NONBLOCK",
        )),
        // A pipe or a socket that nobody reads kills who writes to it, a file grows. An eventfd has no type.
        Ok(_) if file::status(fd).is_ok_and(|status| status.mode & libc::S_IFMT != 0) => Err(Failure::argument(
            "this descriptor is a pipe, a socket or a file",
            "make it by eventfd(0, EFD_NONBLOCK)",
        )),
        Ok(_) => Ok(fd),
    }
}

/// What a call says that is to sleep next, where there is something to do.
pub(super) fn slept(may: bool) -> Outcome<()> {
    match may {
        true => Ok(()),
        false => {
            Err(Failure::new(Status::ErrAgain, "there is something to do here already", "do it first, then arm again"))
        }
    }
}

/// A process id, and SHMKIT_ANSWER_YES, _NO or _UNKNOWN.
pub(super) fn who(judged: Judged) -> (u32, i32) {
    match judged {
        Judged::Free => (0, 0),
        Judged::Dead(pid) => (pid, 0),
        Judged::Alive(pid) => (pid, 1),
        Judged::Unknown(pid) => (pid, 2),
    }
}
