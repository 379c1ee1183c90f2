//! The SIGBUS handler: turns the touch of memory that a peer truncated away into zeros and a mark on the region.
//! Installed only when asked; takes only faults inside regions, and passes every other one to the handler that was
//! there before. Async-signal-safe: no lock, no allocation, two system calls. Next: `region/guard.rs`, which finds
//! the region of an address.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::limits::page_size;
use super::{Sys, check, real};
use crate::error::Errno;

/// Marks the region that an address lies in as truncated and says where it is mapped.
pub type Finder = fn(usize) -> Option<Mapping>;

/// The mapping of a region.
#[derive(Clone, Copy)]
pub struct Mapping {
    /// Its first address.
    pub start: usize,
    /// Bytes.
    pub length: usize,
    /// Whether the program may write to it.
    pub writable: bool,
}

struct Before(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written while STATE is CHANGING, by one thread; read when it is ON.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::zeroed()));
static FINDER: AtomicUsize = AtomicUsize::new(0);
static STATE: AtomicU32 = AtomicU32::new(OFF);
/// Whether the handler that was there before was for one signal (SA_RESETHAND), and has had it.
static SPENT: AtomicBool = AtomicBool::new(false);
const OFF: u32 = 0;
const CHANGING: u32 = 1;
const ON: u32 = 2;

/// Whether the handler was installed.
#[inline(always)]
pub fn is_enabled() -> bool {
    STATE.load(Ordering::Acquire) == ON
}

/// Whether the handler is the process's now.
fn is_installed() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the buffer is of the right type, and zero is valid for it.
    unsafe {
        real::sigaction(libc::SIGBUS, core::ptr::null(), now.as_mut_ptr());
        now.assume_init_ref().sa_sigaction == handle as *const () as usize
    }
}

/// Installs the handler; does nothing when it is there, and answers EBUSY when another one has taken its place: that
/// one may call ours, so ours cannot be put on top of it.
pub fn enable(finder: Finder) -> Sys<()> {
    while let Err(state) = STATE.compare_exchange(OFF, CHANGING, Ordering::AcqRel, Ordering::Acquire) {
        if state == ON {
            return if is_installed() { Ok(()) } else { Err(Errno(libc::EBUSY)) };
        }
        super::process::yield_now();
    }
    FINDER.store(finder as usize, Ordering::Relaxed);
    SPENT.store(false, Ordering::Relaxed);
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero is valid for the struct; the handler is async-signal-safe; BEFORE is this thread's alone now.
    let result = unsafe {
        let ours = action.assume_init_mut();
        ours.sa_sigaction = handle as *const () as usize;
        // On the alternative stack where the program has one: a fault may come from anywhere.
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&mut ours.sa_mask);
        // Asked for first: a fault of another thread may come before the second call has given back the old one.
        real::sigaction(libc::SIGBUS, core::ptr::null(), (*BEFORE.0.get()).as_mut_ptr());
        check(real::sigaction(libc::SIGBUS, ours, core::ptr::null_mut()))
    };
    STATE.store(if result.is_ok() { ON } else { OFF }, Ordering::Release);
    result.map(drop)
}

/// Puts the handler back that was there before; leaves another one that was installed meanwhile alone, and answers
/// false: then ours may be in its chain and stays.
pub fn disable() -> bool {
    if STATE.compare_exchange(ON, CHANGING, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return true;
    }
    let ours = is_installed();
    if ours {
        // SAFETY: BEFORE was written by `enable`.
        unsafe {
            let before = if SPENT.load(Ordering::Relaxed) { default() } else { (*BEFORE.0.get()).assume_init_read() };
            real::sigaction(libc::SIGBUS, &before, core::ptr::null_mut());
        }
    }
    STATE.store(if ours { OFF } else { ON }, Ordering::Release);
    ours
}

/// What is done without a handler.
fn default() -> libc::sigaction {
    // SAFETY: zero is valid for the struct, and SIG_DFL is zero.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let errno = super::errno();
    // SAFETY: the kernel passes a valid siginfo to a handler with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Only a touch past the end of an object; not a signal that somebody sent, nor bad alignment.
    if code != libc::BUS_ADRERR || !heal(address) {
        pass_on(signal, info, context);
    }
    super::set_errno(errno);
}

/// Puts zeros where the memory went away, so that the access can go on; false when it is not in a region.
fn heal(address: usize) -> bool {
    let finder = FINDER.load(Ordering::Relaxed);
    if finder == 0 {
        return false;
    }
    // SAFETY: only `enable` stores here, and only a Finder.
    let finder: Finder = unsafe { core::mem::transmute::<usize, Finder>(finder) };
    let Some(Mapping { start, length, writable }) = finder(address) else {
        return false;
    };
    let page = address & !(page_size() - 1);
    let zeros = |start: usize, length: usize| {
        super::memory::mmap(
            start,
            length,
            if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ },
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
        .is_ok()
    };
    // Part of a huge page cannot be replaced: then all of the mapping is.
    zeros(page, page_size()) || zeros(start, length)
}

/// Does what would have happened without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `enable` filled BEFORE before it installed this handler. The old handler gets what the kernel gave us.
    unsafe {
        let before = (*BEFORE.0.get()).assume_init_ref();
        // The kernel puts the default in the place of a handler for one signal before it calls it. A program's crash
        // handler counts on that: the second touch ends the process.
        let spent = before.sa_flags & libc::SA_RESETHAND != 0 && SPENT.swap(true, Ordering::AcqRel);
        match if spent { libc::SIG_DFL } else { before.sa_sigaction } {
            libc::SIG_DFL | libc::SIG_IGN => {
                // Back to the default; the touch is done again on return and ends the process as it would have. The
                // kernel does not let a fault be ignored either. A signal that somebody sent is sent again.
                let ignored = before.sa_sigaction == libc::SIG_IGN && (*info).si_code <= 0;
                if !ignored {
                    real::sigaction(signal, &default(), core::ptr::null_mut());
                    if (*info).si_code <= 0 {
                        libc::raise(signal);
                    }
                }
            }
            handler => {
                let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, &before.sa_mask, old.as_mut_ptr());
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C-unwind" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        core::mem::transmute(handler);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C-unwind" fn(libc::c_int) = core::mem::transmute(handler);
                    handler(signal);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), core::ptr::null_mut());
            }
        }
    }
}
