//! The tool's own standard error, which the processes of a run write reports to, whatever they made of theirs. Next: `mod.rs`.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// Standard error while it is shared.
pub struct Shared {
    /// Its flags before, when they were changed.
    flags: Option<i32>,
}

impl Shared {
    /// Others append to a file; so does this process from now on, and who has the description from it. Otherwise each
    /// would write over what the others wrote.
    pub fn new() -> Shared {
        let regular = fs::metadata("/proc/self/fd/2").is_ok_and(|facts| facts.is_file());
        // SAFETY: take no pointers.
        let flags = unsafe { libc::fcntl(2, libc::F_GETFL) };
        let changes = regular && flags != -1 && flags & libc::O_APPEND == 0;
        // SAFETY: as above.
        let changed = changes && unsafe { libc::fcntl(2, libc::F_SETFL, flags | libc::O_APPEND) } == 0;
        Shared { flags: changed.then_some(flags) }
    }

    /// `DEVICE:NUMBER:PATH`, as the interposer is told it; `None` where other processes cannot open it by its path, as a
    /// socket, or where there is none.
    pub fn place(&self) -> Option<String> {
        let path = format!("/proc/{}/fd/2", std::process::id());
        let facts = fs::metadata(&path).ok()?;
        let is_socket = facts.mode() & libc::S_IFMT == libc::S_IFSOCK;
        (!is_socket).then(|| format!("{}:{}:{path}", facts.dev(), facts.ino()))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(flags) = self.flags {
            // SAFETY: takes no pointers.
            unsafe { libc::fcntl(2, libc::F_SETFL, flags) };
        }
    }
}
