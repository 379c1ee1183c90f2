//! Standard streams that the tool was given closed: the program finds them so. Next: `mod.rs`.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

/// The standard library opens /dev/null in the place of what is closed, before `main`.
static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

extern "C" fn look() {
    for (fd, closed) in (0..).zip(&CLOSED) {
        // SAFETY: takes no pointers.
        closed.store(unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1, Relaxed);
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// In the child, before it becomes the program. Async-signal-safe.
pub fn give_back() {
    for (fd, closed) in (0..).zip(&CLOSED) {
        if closed.load(Relaxed) {
            // SAFETY: takes no pointers; what is closed here is the standard library's /dev/null.
            unsafe { libc::close(fd) };
        }
    }
}
