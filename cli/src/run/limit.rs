//! The limit on the size of files, which holds for files in memory too. Next: `record.rs`, which makes one.

use std::mem::MaybeUninit;

/// Runs `work` under the hard limit in the place of the soft one; a file that is too large all the same is an error, and no
/// SIGXFSZ.
pub fn lifted<T>(work: impl FnOnce() -> T) -> T {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: the place is writable, and zero is valid for it; the disposition is no function of ours.
    unsafe {
        let known = libc::getrlimit(libc::RLIMIT_FSIZE, limit.as_mut_ptr()) == 0;
        let limit = limit.assume_init();
        if known {
            libc::setrlimit(libc::RLIMIT_FSIZE, &libc::rlimit { rlim_cur: limit.rlim_max, ..limit });
        }
        let before = libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let result = work();
        libc::signal(libc::SIGXFSZ, before);
        if known {
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
        }
        result
    }
}
