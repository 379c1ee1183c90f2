//! Signals of a run: the program inherits what the tool was given, and is sent what somebody sends to the tool. What the
//! kernel sends to the tool as a member of the terminal's group, the program is sent as well. Next: `mod.rs`.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32};

/// Set by the kernel for a fault of the program's own: nothing to send on.
const FAULTS: [c_int; 6] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS];
/// They stop the tool too, as the shell that began it waits for that.
const STOPS: [c_int; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
/// The kernel sends these to the tool alone: a timer that was set before the tool began.
const TIMERS: [c_int; 3] = [libc::SIGALRM, libc::SIGVTALRM, libc::SIGPROF];

/// Whether SIGPIPE was ignored when the tool began: the standard library ignores it before `main`.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
/// Who is sent on what this process is sent.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// Whether this process leads its session: SIGHUP of a terminal that is gone is then for it alone.
static LEADER: AtomicBool = AtomicBool::new(false);

fn is_ignored(signal: c_int) -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the place is writable, and zero is valid for all of it.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
            && now.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

extern "C" fn look() {
    PIPE_IGNORED.store(is_ignored(libc::SIGPIPE), Relaxed);
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// All that can be caught; the C library keeps two for itself, which have no names.
fn all() -> impl Iterator<Item = c_int> {
    (1..=libc::SIGRTMAX())
        .filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP) && !(32..libc::SIGRTMIN()).contains(signal))
}

/// What the tool was given by who began it.
#[derive(Clone, Copy)]
pub struct Inherited {
    mask: libc::sigset_t,
    child: libc::sighandler_t,
}

/// Holds signals back until there is a program to send them to.
pub fn take_over() -> Inherited {
    let (mut held, mut mask) = (MaybeUninit::<libc::sigset_t>::zeroed(), MaybeUninit::<libc::sigset_t>::zeroed());
    // SAFETY: both sets are writable; the signals are numbers of signals.
    unsafe {
        LEADER.store(libc::getsid(0) == libc::getpid(), Relaxed);
        for signal in all().filter(|signal| !FAULTS.contains(signal) && !STOPS.contains(signal)) {
            libc::sigaddset(held.as_mut_ptr(), signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, held.as_ptr(), mask.as_mut_ptr());
        // Where it is ignored nobody can be waited for.
        let child = libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        Inherited { mask: mask.assume_init(), child }
    }
}

impl Inherited {
    /// In the child, before it becomes the program. Async-signal-safe.
    pub fn give_back(&self) {
        // SAFETY: the dispositions are those that were there, without handlers; the set is readable.
        unsafe {
            libc::signal(libc::SIGCHLD, self.child);
            if PIPE_IGNORED.load(Relaxed) {
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut());
        }
    }
}

extern "C" fn pass_on(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    let child = CHILD.load(Relaxed);
    // SAFETY: the kernel's own information of a signal; all calls are async-signal-safe.
    unsafe {
        let errno = *libc::__errno_location();
        let is_sent = (*info).si_code <= 0;
        // What the program sends to its group or its parent it has had, or has not meant for itself. What this process does
        // wrong, as writing where nobody reads, is said to be sent by itself.
        let is_ours = is_sent && ((*info).si_pid() == child || (*info).si_pid() == libc::getpid());
        let for_us = TIMERS.contains(&signal) || signal == libc::SIGHUP && LEADER.load(Relaxed);
        if child > 0 && (is_sent && !is_ours || !is_sent && for_us) {
            if (*info).si_code == libc::SI_QUEUE {
                libc::sigqueue(child, signal, (*info).si_value());
            } else {
                libc::kill(child, signal);
            }
        }
        if FAULTS.contains(&signal) && !is_sent {
            // It happens again, and ends the tool.
            libc::signal(signal, libc::SIG_DFL);
        } else if STOPS.contains(&signal) {
            stop(signal);
        }
        *libc::__errno_location() = errno;
    }
}

/// Does what the signal does to whom it was not caught by, and comes back when this process is continued.
///
/// # Safety
/// In the handler of this signal.
unsafe fn stop(signal: c_int) {
    let (mut before, mut own) = (MaybeUninit::<libc::sigaction>::zeroed(), MaybeUninit::<libc::sigset_t>::zeroed());
    // SAFETY: all places are writable; the handler is put back as it was.
    unsafe {
        let mut default = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &default, before.as_mut_ptr());
        libc::sigaddset(own.as_mut_ptr(), signal);
        libc::raise(signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, own.as_ptr(), std::ptr::null_mut());
        libc::sigprocmask(libc::SIG_BLOCK, own.as_ptr(), std::ptr::null_mut());
        libc::sigaction(signal, before.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends on what comes from now on, and what was held back: also what this process was to hold back, which is for the
/// program to do.
pub fn pass_on_to(child: i32) {
    CHILD.store(child, Relaxed);
    let (mut action, mut none) = (MaybeUninit::<libc::sigaction>::zeroed(), MaybeUninit::<libc::sigset_t>::zeroed());
    // SAFETY: zero is valid for an action; the handler makes only async-signal-safe calls; the sets are writable.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = pass_on as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // One after the other.
        libc::sigfillset(&mut action.sa_mask);
        for signal in all() {
            // A tool that is not to be stopped is not stopped.
            if !(STOPS.contains(&signal) && is_ignored(signal)) {
                libc::sigaction(signal, action, std::ptr::null_mut());
            }
        }
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Sends on nothing more: there is no program.
pub fn keep() {
    CHILD.store(0, Relaxed);
}
