//! What surrounds the functions that return a status: regions, locks, the survey. Their failures are kept for
//! shmkit_last_error(), a panic becomes SHMKIT_ERR_INTERNAL, a cancellation waits.
//! Next: `region.rs`, which uses it most.

use core::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{is_plausible, name};
use crate::calls::detail::{self, Detail};
use crate::calls::posix::Name;
use crate::checks::words::{Call, Invocation};
use crate::error::Status;
use crate::region::{Failure, Outcome};
use crate::sys;

/// What a call on regions is about, for the words of its failure.
#[derive(Clone, Copy)]
pub(super) enum Subject<'a> {
    None,
    Address(Name<'a>),
}

impl<'a> Subject<'a> {
    /// The address string.
    pub(super) fn get(self) -> Outcome<&'a [u8]> {
        match self {
            Subject::Address(Name::Text(text)) => Ok(text.to_bytes()),
            Subject::Address(Name::Unterminated(_)) => Err(Failure::of(Status::ErrNameTooLong)),
            _ => Err(Failure::of(Status::ErrBadPointer)),
        }
    }
}

/// An address string from C, or another string that is handled like one.
///
/// # Safety
/// As for `name`.
pub(super) unsafe fn address<'a>(text: *const c_char) -> Subject<'a> {
    // SAFETY: the caller's promise.
    Subject::Address(unsafe { name(text) })
}

/// Refuses a place for a result that cannot be one.
pub(super) fn place<T>(at: *mut T) -> Outcome<*mut T> {
    match is_plausible(at as usize) && (at as usize).is_multiple_of(align_of::<T>()) {
        true => Ok(at),
        false => Err(Failure::of(Status::ErrBadPointer)),
    }
}

/// Runs the work of a function that returns a status. A failure is kept for shmkit_last_error() and its errno set; a
/// panic becomes SHMKIT_ERR_INTERNAL; a cancellation waits until the work is done.
pub(super) fn run(call: Call, subject: Subject<'_>, args: [u64; 6], work: impl FnOnce() -> Outcome<()>) -> i32 {
    let mut work = Some(work);
    run_one(call, subject, &args, &mut || work.take().map_or(Ok(()), |work| work()))
}

/// One for all of them: what surrounds a call is large.
#[inline(never)]
fn run_one(call: Call, subject: Subject<'_>, args: &[u64; 6], work: &mut dyn FnMut() -> Outcome<()>) -> i32 {
    let Err(failure) = contained(work) else { return Status::Ok as i32 };
    let args = *args;
    let invocation = match subject {
        Subject::Address(Name::Text(text)) => Invocation::with_name(call, text.to_bytes(), args),
        Subject::Address(Name::Nowhere(at) | Name::Unterminated(at)) => {
            Invocation::new(call, [at as u64, args[1], args[2], args[3], args[4], args[5]])
        }
        Subject::None => Invocation::new(call, args),
    };
    fail(&failure, &invocation)
}

/// As `run`, for a function on an open region: its address stands in the words.
pub(super) fn run_on(call: Call, token: u64, args: [u64; 6], work: impl FnOnce(u64) -> Outcome<()>) -> i32 {
    let mut work = Some(work);
    run_one_on(call, token, &args, &mut || work.take().map_or(Ok(()), |work| work(token)))
}

#[inline(never)]
fn run_one_on(call: Call, token: u64, args: &[u64; 6], work: &mut dyn FnMut() -> Outcome<()>) -> i32 {
    let Err(failure) = contained(work) else { return Status::Ok as i32 };
    let args = *args;
    // Another thread may close the region now, and its end is then here.
    let invocation = sys::process::uncancelled(|| match crate::region::handle::get(token) {
        Ok(region) => Invocation::with_name(call, region.address(), args),
        Err(_) => Invocation::new(call, [token, args[1], args[2], args[3], args[4], args[5]]),
    });
    fail(&failure, &invocation)
}

#[inline(never)]
fn contained(work: &mut dyn FnMut() -> Outcome<()>) -> Outcome<()> {
    sys::preserving_errno(|| {
        let work = || sys::process::uncancelled(work);
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Failure::of(Status::ErrInternal)))
    })
}

#[cold]
fn fail(failure: &Failure, call: &Invocation) -> i32 {
    detail::keep(&Detail {
        call: *call,
        figures: failure.figures,
        status: failure.status,
        errno: failure.errno,
        rule: None,
        cause: failure.cause,
        remedy: failure.remedy,
    });
    sys::set_errno(failure.errno);
    failure.status as i32
}
