//! C ABI of `calls/policy.rs` and `calls/report.rs`, and the library's one destructor. Translation only.

use core::ffi::{c_char, c_int, c_void};

use super::error::shmkit_status_t;
use super::{guard, name};
use crate::calls::judge::{figures, judge};
use crate::calls::posix::require_name;
use crate::calls::{exit, explain, policy, report};
use crate::checks::words::{Call, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::{Errno, Status};

fn status(result: Result<(), Errno>) -> shmkit_status_t {
    match result {
        Ok(()) => Status::Ok as shmkit_status_t,
        Err(errno) => Status::from_errno(errno.0) as shmkit_status_t,
    }
}

/// The policy in force: SHMKIT_POLICY_OBSERVE, SHMKIT_POLICY_CHECK (the default) or SHMKIT_POLICY_ENFORCE.
///
/// The environment variable SHMKIT_POLICY (observe, check, enforce) sets it before the first call. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_get_policy() -> c_int {
    policy::current() as c_int
}

/// Changes the policy of this process, for all its threads, from the next call on. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_set_policy(policy: c_int) -> shmkit_status_t {
    status(guard(Call::SetPolicy, || match policy::Policy::from_number(policy) {
        Some(policy) => {
            policy::set(policy);
            Ok(())
        }
        None => {
            let mut call = Invocation::new(Call::SetPolicy, [policy as u64, 0, 0, 0, 0, 0]);
            let mut digits = crate::text::Text::<24>::new();
            digits.push_signed(i64::from(policy));
            call.subject.push_bytes(digits.bytes());
            let mut broken = RuleSet::EMPTY;
            broken.put(true, Rule::ConfigUnknown);
            judge(broken, &call, &figures(&call))
        }
    }))
}

/// Hears reports; `report` and its strings are valid until the function returns.
///
/// Called on the thread that made the call, with no lock held, and may be called by several threads at once. It may
/// make checked calls, for which it is not called again; it must not unwind or longjmp out.
#[allow(non_camel_case_types)]
pub type shmkit_report_fn = Option<extern "C" fn(report: *const report::Report, user: *mut c_void)>;

/// Sets the function that hears of every broken rule, or clears it with NULL. One a process. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_set_report_callback(callback: shmkit_report_fn, user: *mut c_void) -> shmkit_status_t {
    status(guard(Call::SetReport, || {
        report::set_callback(callback, user);
        Ok(())
    }))
}

/// Sets where reports are written: "stderr", a file, "json:stderr", or "json:" and a file; "off" for nowhere.
///
/// A file is made with mode 0600 and appended to, one line a report. The environment variable SHMKIT_REPORT sets it
/// before the first call. Returns an error, and changes nothing, when the file cannot be written. Thread-safe.
///
/// # Safety
/// `target` is null or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_set_report(target: *const c_char) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    let target = unsafe { name(target) };
    status(guard(Call::SetReport, || {
        let target = require_name(target, Call::SetReport, [0; 6])?.to_bytes();
        // The environment is read first, so that it cannot overwrite what is set here.
        policy::current();
        if report::set_target(target) {
            return Ok(());
        }
        let call = Invocation::with_name(Call::SetReport, target, [0; 6]);
        Err(explain::by_errno(Errno(libc::EACCES), &call, &figures(&call)))
    }))
}

extern "C" fn at_exit() {
    let _nothing = guard(Call::Exit, || {
        exit::report_leftovers();
        Ok(())
    });
}

/// Runs after the program's own exit handlers and destructors, and does nothing unless somebody listens to reports.
/// The number makes it the last of a statically linked program's destructors (101 is the first that C leaves to users).
#[used]
#[unsafe(link_section = ".fini_array.00101")]
static AT_EXIT: extern "C" fn() = at_exit;
