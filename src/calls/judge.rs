//! What broken rules lead to: reports, and under the policy in force a refusal with errno and words.
//! Never runs when nothing is broken: the calls test that inline. Next: `explain.rs` for what the kernel refused.

use super::detail::{self, Detail};
use super::policy;
use super::report::{self, Outcome};
use crate::checks::words::{Call, Figures, Invocation, figures_of};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::limits::page_size;

/// The thread whose checked call the interposer is to follow by the real one: it panicked, or was given a pointer that
/// is only passed on.
#[cfg(interposer)]
pub static TROUBLE: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

/// Says that the real call must answer this thread.
#[cfg(interposer)]
pub fn leave_to_real_call() {
    TROUBLE.store(crate::sys::process::thread_pointer(), core::sync::atomic::Ordering::Relaxed);
}

/// The errno of a refusal: the rule's own, but where a call has another name for the same thing.
fn errno_of(rule: Rule, call: Call) -> i32 {
    match (call, rule) {
        // POSIX gives shm_unlink and sem_unlink no EINVAL: a name that cannot exist does not exist.
        (Call::ShmUnlink | Call::SemUnlink, Rule::NameEmpty | Rule::NameInnerSlash) => libc::ENOENT,
        (Call::ShmUnlink, Rule::NameDot) => libc::EISDIR,
        // mlock(2) and madvise(2) name EINVAL for what the others call ENOMEM.
        (Call::Mlock | Call::Munlock | Call::Madvise, Rule::RangeWraps) => libc::EINVAL,
        _ => rule.row().errno,
    }
}

/// The figures of a call, from its arguments.
pub fn figures(call: &Invocation) -> Figures {
    figures_of(call, page_size())
}

/// Reports every broken rule and refuses the call if the policy says so.
#[cold]
#[inline(never)]
pub fn judge(broken: RuleSet, call: &Invocation, figures: &Figures) -> Result<(), Errno> {
    let policy = policy::current();
    // A pointer that leads nowhere cannot be passed on, whatever the policy: the C library would crash on it. A
    // setting that is not known has nothing to be passed on to. In a program that was not written for this, the crash
    // is what it does.
    let refused = broken.iter().find(|rule| {
        policy.refuses(rule.row().verdict)
            || !cfg!(interposer) && matches!(rule, Rule::ArgPointer | Rule::NameUnterminated | Rule::ConfigUnknown)
    });
    let outcome = if refused.is_some() { Outcome::Refused } else { Outcome::Passed };
    for rule in broken.iter() {
        report::send(&Detail::of_rule(rule, errno_of(rule, call.call), call, figures), outcome);
    }
    match refused {
        None => Ok(()),
        Some(rule) => {
            let errno = errno_of(rule, call.call);
            detail::keep(&Detail::of_rule(rule, errno, call, figures));
            Err(Errno(errno))
        }
    }
}

/// Passes when nothing is broken; otherwise `words` says what the call was, and `judge` decides.
#[inline(always)]
pub fn gate(broken: RuleSet, words: impl FnOnce() -> Invocation) -> Result<(), Errno> {
    if broken.is_empty() {
        return Ok(());
    }
    let call = words();
    judge(broken, &call, &figures(&call))
}
