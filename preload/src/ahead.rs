//! A sanitizer's library that `shmkit run` put before this one, as it must come first: it is for the program alone, and
//! its children find LD_PRELOAD without it. Next: `follow.rs`, which keeps what children get.

use crate::sys::process;
use crate::text::Text;

/// Takes the library that SHMKIT_AHEAD names out of LD_PRELOAD, and the variable out of the environment.
pub fn begin() {
    let mut rest = Text::<4096>::new();
    let found = process::environment(c"SHMKIT_AHEAD", |ahead| {
        process::environment(c"LD_PRELOAD", |value| {
            let mut bytes = value.strip_prefix(ahead).unwrap_or(value);
            bytes = bytes.strip_prefix(b":").unwrap_or(bytes);
            rest.push_bytes(bytes);
        });
    });
    if found.is_none() {
        return;
    }
    rest.terminate();
    // SAFETY: all strings are terminated; nothing else runs yet.
    unsafe {
        libc::setenv(c"LD_PRELOAD".as_ptr(), rest.bytes().as_ptr().cast(), 1);
        libc::unsetenv(c"SHMKIT_AHEAD".as_ptr());
    }
}
