//! Unsafe room 2: the C ABI. Translates C arguments, results and errno, and nothing else.
//! Never decides: every function calls the one in `calls/` that its name says. Files here are one a noun.
//! Next: `calls/`; `cbindgen.toml` for how include/shmkit.h is made of these files.
#![allow(unsafe_code)]
#![allow(clippy::result_large_err, reason = "a failure carries its figures; a success writes one word")]

#[cfg(not(interposer))]
mod attached;
#[cfg(not(interposer))]
pub mod broadcast;
#[cfg(not(interposer))]
pub mod cell;
#[cfg(not(interposer))]
pub mod error;
pub mod file;
#[cfg(not(interposer))]
pub mod limits;
pub mod memory;
#[cfg(not(interposer))]
pub mod options;
#[cfg(not(interposer))]
mod outcome;
#[cfg(not(interposer))]
pub mod policy;
pub mod posix;
#[cfg(not(interposer))]
pub mod queue;
pub mod record;
#[cfg(not(interposer))]
pub mod region;
#[cfg(not(interposer))]
pub mod ring;
pub mod sem;
pub mod semset;
#[cfg(not(interposer))]
pub mod survey;
#[cfg(not(interposer))]
pub mod sync;
pub mod sysv;

use core::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::calls::detail::{self, Detail};
use crate::calls::posix::Name;
use crate::checks::memory::ADDRESS_LIMIT;
use crate::checks::posix::NAME_SCAN;
use crate::checks::words::{Call, Figures, Invocation};
use crate::error::{Errno, Status};
use crate::sys;
use crate::sys::limits::page_size;

/// Runs when the library is loaded: registers the fork handlers before the program registers its own, so that ours
/// lock last and unlock first, and keeps the words of a panic in the library's own code from standard error; every
/// other panic of the process goes on to the hook that was there. Not at the first call: that may be in a signal handler.
#[cfg(not(interposer))]
extern "C" fn at_load() {
    crate::calls::ledger::process();
    crate::region::handle::watch_forks();
    sys::robust::watch_forks();
    let own_sources = file!().trim_end_matches("capi/mod.rs");
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|place| place.file().starts_with(own_sources)) {
            before(info);
        }
    }));
}

#[cfg(not(interposer))]
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// Runs the work of an exported function. A panic ends here: it becomes EIO and SHMKIT_ERR_INTERNAL.
#[inline(always)]
fn guard<T>(call: Call, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked(call)))
}

/// As `guard`, for calls that POSIX makes cancellation points: a cancellation that waits takes effect after the call is
/// done and noted, in `process::cancellation_point`, because it must not unwind through the work.
#[inline(always)]
fn guard_uncancelled<T>(call: Call, work: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    guard(call, || sys::process::uncancelled(work))
}

#[cold]
fn panicked(call: Call) -> Errno {
    #[cfg(interposer)]
    crate::calls::judge::leave_to_real_call();
    let words = Status::ErrInternal.words();
    detail::keep(&Detail {
        call: Invocation::new(call, [0; 6]),
        figures: Figures::default(),
        status: Status::ErrInternal,
        errno: words.errno,
        rule: None,
        cause: words.cause,
        remedy: words.remedy,
    });
    Errno(words.errno)
}

/// The POSIX convention: -1 and errno, or the value with errno untouched.
#[inline(always)]
fn answer(result: Result<i32, Errno>) -> i32 {
    match result {
        Ok(value) => value,
        Err(errno) => {
            sys::set_errno(errno.0);
            -1
        }
    }
}

/// As `answer`, for calls whose success is 0.
#[inline(always)]
fn answer_unit(result: Result<(), Errno>) -> i32 {
    answer(result.map(|()| 0))
}

/// The convention of mmap and shmat: MAP_FAILED and errno, or an address.
#[inline(always)]
fn answer_address(result: Result<usize, Errno>) -> *mut libc::c_void {
    match result {
        Ok(addr) => addr as *mut libc::c_void,
        Err(errno) => {
            sys::set_errno(errno.0);
            libc::MAP_FAILED
        }
    }
}

/// Whether an address can be that of an object of this process at all.
fn is_plausible(addr: usize) -> bool {
    addr >= page_size() && addr < ADDRESS_LIMIT
}

/// A string from C, read no further than the bound of a name.
///
/// # Safety
/// `text` is null, or cannot be an address, or points to readable bytes up to a NUL or the bound.
unsafe fn name<'a>(text: *const c_char) -> Name<'a> {
    if !is_plausible(text as usize) {
        return Name::Nowhere(text as usize);
    }
    // SAFETY: the caller's promise; strnlen stops at the NUL or at the bound.
    unsafe {
        let length = libc::strnlen(text, NAME_SCAN);
        if length == NAME_SCAN {
            return Name::Unterminated(text as usize);
        }
        // The NUL stands at `length`, so the slice ends in the only one.
        let bytes = core::slice::from_raw_parts(text.cast::<u8>(), length + 1);
        Name::Text(CStr::from_bytes_with_nul_unchecked(bytes))
    }
}

/// As `name`, for calls whose string the kernel reads itself and answers EFAULT where there is none: the first byte
/// is asked for before it is read.
///
/// # Safety
/// As for `name`, but `text` may also lead to memory that is not mapped.
unsafe fn name_for_kernel<'a>(text: *const c_char) -> Name<'a> {
    let unreadable = || sys::memory::peek(text as usize, &mut [0]) == Err(Errno(libc::EFAULT));
    if is_plausible(text as usize) && sys::preserving_errno(unreadable) {
        return Name::Nowhere(text as usize);
    }
    // SAFETY: the caller's promise.
    unsafe { name(text) }
}

/// The mode in a buffer of IPC_SET that may lead nowhere: the kernel copies it, so that a bad address is an answer and
/// no fault.
fn mode_in(buffer: usize, at: usize) -> Option<u32> {
    if buffer == 0 {
        return None;
    }
    // Of a wider field the other half is zero: the kernel's field has 16 bits.
    let mut mode = [0u8; size_of::<libc::c_ushort>()];
    sys::preserving_errno(|| sys::memory::peek(buffer.checked_add(at)?, &mut mode).ok())?;
    Some(u32::from(libc::c_ushort::from_ne_bytes(mode)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_at_the_boundary_in_an_error_with_words() {
        let result: Result<i32, Errno> = guard(Call::Mmap, || panic!("on purpose"));
        assert_eq!(result, Err(Errno(libc::EIO)));
        let status = detail::read(|detail, _| detail.status);
        assert_eq!(status, Some(Status::ErrInternal));
    }

    #[test]
    fn names_that_are_none() {
        // SAFETY: null, an address in the first page, and literals.
        unsafe {
            assert!(matches!(name(core::ptr::null()), Name::Nowhere(0)));
            assert!(matches!(name(8 as *const c_char), Name::Nowhere(8)));
            assert!(matches!(name(c"/x".as_ptr()), Name::Text(text) if text == c"/x"));
            let endless = [b'x'; NAME_SCAN];
            assert!(matches!(name(endless.as_ptr().cast()), Name::Unterminated(_)));
        }
    }
}
