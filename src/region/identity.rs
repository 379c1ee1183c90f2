//! Who this process is, as it is written into records: asked of /proc once, and once more after a fork.
//! Never decides anything by it. Next: `header.rs`, which holds records.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::header::Process;
use crate::sys::process;

static PID: AtomicU32 = AtomicU32::new(0);
static UID: AtomicU32 = AtomicU32::new(0);
static START: AtomicU64 = AtomicU64::new(0);
static BOOT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static NAMESPACE: AtomicU64 = AtomicU64::new(0);

/// This process. What /proc does not tell is 0.
pub fn own() -> Process {
    // Threads that meet here at the first call all write the same.
    if PID.load(Acquire) == 0 {
        let pid = process::pid() as u32;
        let boot = process::boot_id().unwrap_or_default();
        START.store(process::start_time(pid).unwrap_or(0), Relaxed);
        UID.store(process::effective_user(), Relaxed);
        BOOT[0].store(boot[0], Relaxed);
        BOOT[1].store(boot[1], Relaxed);
        NAMESPACE.store(process::pid_namespace().unwrap_or(0), Relaxed);
        // Release: who sees the id sees the rest.
        PID.store(pid, Release);
    }
    Process {
        pid: PID.load(Relaxed),
        uid: UID.load(Relaxed),
        start_time: START.load(Relaxed),
        boot: [BOOT[0].load(Relaxed), BOOT[1].load(Relaxed)],
        namespace: NAMESPACE.load(Relaxed),
    }
}

/// After a fork: the child is another process.
pub fn forget() {
    PID.store(0, Relaxed);
}
