//! Who this process is, as it is written into records: asked of /proc once, and once more in another process: after
//! `forget`, or where the process id is another. A child that was made behind the C library's fork handlers may have its
//! parent's id, as the first process of another pid namespace: who must be certain of the namespace forgets first, as
//! `sync/object.rs` does. Never decides anything by it. Next: `header.rs`, which holds records.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::header::Process;
use crate::sys::process;

static PID: AtomicU32 = AtomicU32::new(0);
static UID: AtomicU32 = AtomicU32::new(0);
static START: AtomicU64 = AtomicU64::new(0);
static BOOT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static NAMESPACE: AtomicU64 = AtomicU64::new(0);
static SEES_PEERS: AtomicBool = AtomicBool::new(false);

/// This process. What /proc does not tell is 0.
pub fn own() -> Process {
    // Threads that meet here at the first call all write the same.
    let pid = process::pid() as u32;
    if PID.load(Acquire) != pid {
        let (Some(boot), Some(entry)) = (process::boot_id(), process::own_entry()) else {
            // There may be no descriptor to look with, for now: nothing is kept, and the next call asks again.
            let namespace = process::pid_namespace().unwrap_or(0);
            return Process { pid, uid: process::effective_user(), namespace, ..Process::default() };
        };
        START.store(entry.1, Relaxed);
        SEES_PEERS.store(entry.0 == pid, Relaxed);
        UID.store(process::effective_user(), Relaxed);
        BOOT[0].store(boot[0], Relaxed);
        BOOT[1].store(boot[1], Relaxed);
        NAMESPACE.store(process::pid_namespace().unwrap_or(0), Relaxed);
        // Release: who sees the id sees the rest.
        PID.store(pid, Release);
    }
    Process {
        pid,
        uid: UID.load(Relaxed),
        start_time: START.load(Relaxed),
        boot: [BOOT[0].load(Relaxed), BOOT[1].load(Relaxed)],
        namespace: NAMESPACE.load(Relaxed),
    }
}

/// The pid that was asked for last, without asking: a number that differs between most processes, and no more.
pub fn last_known_pid() -> u32 {
    PID.load(Relaxed)
}

/// Whether /proc shows the processes of this pid namespace by their ids in it. One of another namespace shows others.
pub fn sees_peers() -> bool {
    own();
    PID.load(Acquire) == process::pid() as u32 && SEES_PEERS.load(Relaxed)
}

/// After a fork, or where there may have been one: the child is another process.
pub fn forget() {
    PID.store(0, Relaxed);
}
