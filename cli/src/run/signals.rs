//! Signals of a run: the program inherits what the tool was given, and is sent what the tool is sent. Next: `mod.rs`.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI32};

/// The terminal sends these to the program as well; it decides what becomes of the run.
const FROM_TERMINAL: [libc::c_int; 2] = [libc::SIGINT, libc::SIGQUIT];
/// These are sent on.
const SENT_ON: [libc::c_int; 4] = [libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2];

/// Whether SIGPIPE was ignored when the tool began: the standard library ignores it before `main`.
static PIPE_IGNORED: AtomicBool = AtomicBool::new(false);
/// Who is sent on what this process is sent.
static CHILD: AtomicI32 = AtomicI32::new(0);

fn is_ignored(signal: libc::c_int) -> bool {
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

/// What the tool was given by who began it.
#[derive(Clone, Copy)]
pub struct Inherited {
    mask: libc::sigset_t,
    from_terminal: [libc::sighandler_t; 2],
    child: libc::sighandler_t,
}

/// Ignores what the terminal sends, and holds the others back until there is a program to send them to.
pub fn take_over() -> Inherited {
    let (mut held, mut mask) = (MaybeUninit::<libc::sigset_t>::zeroed(), MaybeUninit::<libc::sigset_t>::zeroed());
    // SAFETY: both sets are writable; the signals are numbers of signals.
    unsafe {
        for signal in SENT_ON {
            libc::sigaddset(held.as_mut_ptr(), signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, held.as_ptr(), mask.as_mut_ptr());
        let from_terminal = FROM_TERMINAL.map(|signal| libc::signal(signal, libc::SIG_IGN));
        // Where it is ignored nobody can be waited for.
        let child = libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        Inherited { mask: mask.assume_init(), from_terminal, child }
    }
}

impl Inherited {
    /// In the child, before it becomes the program. Async-signal-safe.
    pub fn give_back(&self) {
        // SAFETY: the dispositions are those that were there, without handlers; the set is readable.
        unsafe {
            for (signal, before) in FROM_TERMINAL.into_iter().zip(self.from_terminal) {
                libc::signal(signal, before);
            }
            libc::signal(libc::SIGCHLD, self.child);
            if PIPE_IGNORED.load(Relaxed) {
                libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &self.mask, std::ptr::null_mut());
        }
    }
}

extern "C" fn pass_on(signal: libc::c_int) {
    let child = CHILD.load(Relaxed);
    if child > 0 {
        // SAFETY: takes no pointers.
        unsafe { libc::kill(child, signal) };
    }
}

/// Sends on what comes from now on, and what was held back; to nobody with 0. What the tool was to ignore stays
/// ignored.
pub fn pass_on_to(child: i32, inherited: &Inherited) {
    CHILD.store(child, Relaxed);
    // SAFETY: the handler is a function that only loads an atomic and calls kill; the set is readable.
    unsafe {
        for signal in SENT_ON.into_iter().filter(|signal| !is_ignored(*signal)) {
            libc::signal(signal, pass_on as *const () as libc::sighandler_t);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &inherited.mask, std::ptr::null_mut());
    }
}
