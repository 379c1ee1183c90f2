//! Shared memory with one of each synchronisation object, what they guard, and the processes that share it.
//! Every process ends with the one that started it, and by an alarm clock of its own. Used by `sync_kill_points.rs` and
//! `sync_peers.rs`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};
use std::time::Duration;

use shmkit::capi::sync::*;
use shmkit::error::Status;

use super::message;

pub const OK: i32 = Status::Ok as i32;
pub const OWNER_DIED: i32 = Status::ErrOwnerDied as i32;
pub const BUSY: i32 = Status::ErrBusy as i32;
pub const TIMEOUT: i32 = Status::ErrTimeout as i32;
pub const NOT_OWNER: i32 = Status::ErrNotOwner as i32;
pub const NOT_RECOVERABLE: i32 = Status::ErrNotRecoverable as i32;

/// After so many seconds something hangs; nothing here takes a hundredth of it on a machine with nothing else to do.
pub const STALLED: u32 = 300;

const PROCESSES: usize = 16;

#[repr(C)]
struct Layout {
    mutex: shmkit_mutex_t,
    other: shmkit_mutex_t,
    rwlock: shmkit_rwlock_t,
    cond: shmkit_cond_t,
    sem: shmkit_sem_t,
    robust: shmkit_robust_sem_t,
    barrier: shmkit_barrier_t,
    once: shmkit_once_t,
    event: shmkit_event_t,
    facts: Facts,
}

/// What is no object of the library's.
#[repr(C, align(64))]
pub struct Facts {
    /// The pair that a lock guards: equal, but while its holder changes it.
    pub a: AtomicU64,
    pub b: AtomicU64,
    /// A writer is inside.
    pub writes: AtomicU32,
    /// What waiters wait for.
    pub flag: AtomicU32,
    pub other_flag: AtomicU32,
    /// Counters and signs, for whatever a test needs.
    pub count: AtomicU64,
    pub ready: [AtomicU32; PROCESSES],
    pub pids: [AtomicI32; PROCESSES],
    pub signs: [AtomicU32; PROCESSES],
}

/// The memory, in this process and in those that it forks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Room(*mut Layout);

macro_rules! objects {
    ($($name:ident: $kind:ty),*) => {
        $(pub fn $name(self) -> *mut $kind {
            // SAFETY: inside the mapping; no reference is formed.
            unsafe { &raw mut (*self.0).$name }
        })*
    };
}

impl Room {
    pub const SIZE: usize = size_of::<Layout>();
    const LENGTH: usize = std::mem::offset_of!(Layout, facts) + std::mem::offset_of!(Facts, flag);

    /// New zeros, which stay mapped.
    pub fn new() -> Room {
        // SAFETY: a new mapping.
        let at = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), Room::SIZE, access, kind, -1, 0)
        };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Room(at.cast())
    }

    /// In memory that is mapped already, aligned to a page, large enough, and stays.
    pub fn at(address: usize) -> Room {
        Room(address as *mut Layout)
    }

    pub fn address(self) -> usize {
        self.0 as usize
    }

    objects!(
        mutex: shmkit_mutex_t,
        other: shmkit_mutex_t,
        rwlock: shmkit_rwlock_t,
        cond: shmkit_cond_t,
        sem: shmkit_sem_t,
        robust: shmkit_robust_sem_t,
        barrier: shmkit_barrier_t,
        once: shmkit_once_t,
        event: shmkit_event_t
    );

    pub fn facts(self) -> &'static Facts {
        // SAFETY: atomics alone, in memory that stays mapped.
        unsafe { &(*self.0).facts }
    }

    /// Everything as if nothing had happened: `permits` of each kind, `parties` at the barrier.
    #[track_caller]
    pub fn reset(self, permits: u32, parties: u32) {
        // SAFETY: nobody else uses it.
        unsafe { self.0.cast::<u8>().write_bytes(0, Room::SIZE) };
        good(shmkit_mutex_init(self.mutex()));
        good(shmkit_mutex_init(self.other()));
        good(shmkit_rwlock_init(self.rwlock()));
        good(shmkit_cond_init(self.cond()));
        good(shmkit_semaphore_init(self.sem(), permits));
        good(shmkit_robust_sem_init(self.robust(), permits.max(1)));
        good(shmkit_barrier_init(self.barrier(), parties));
        good(shmkit_event_init(self.event()));
    }

    /// The bytes of the objects and of the pair.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0; Room::LENGTH];
        // SAFETY: so many are mapped; others change them meanwhile, and any mixture will do.
        unsafe { libc::memcpy(bytes.as_mut_ptr().cast(), self.0.cast(), Room::LENGTH) };
        bytes
    }

    /// Whether they are these.
    pub fn is_as(self, bytes: &[u8]) -> bool {
        // SAFETY: as above.
        unsafe { libc::memcmp(bytes[..Room::LENGTH].as_ptr().cast(), self.0.cast(), Room::LENGTH) == 0 }
    }

    /// Changes the pair as a holder does: a death in the midst of it leaves it unequal.
    pub fn raise(self) {
        let facts = self.facts();
        facts.a.store(facts.a.load(SeqCst) + 1, SeqCst);
        facts.b.store(facts.b.load(SeqCst) + 1, SeqCst);
    }

    pub fn is_whole(self) -> bool {
        self.facts().a.load(SeqCst) == self.facts().b.load(SeqCst)
    }

    /// After OWNER_DIED.
    pub fn repair(self) {
        self.facts().b.store(self.facts().a.load(SeqCst), SeqCst);
        self.facts().writes.store(0, SeqCst);
    }

    /// Locks the mutex, waiting; after a death repairs and says so. True: somebody died.
    #[track_caller]
    pub fn lock(self) -> bool {
        self.after(shmkit_mutex_lock(self.mutex()))
    }

    /// What a lock of the mutex answered, made good.
    #[track_caller]
    pub fn after(self, status: i32) -> bool {
        let died = status == OWNER_DIED;
        if died {
            self.repair();
            good(shmkit_mutex_consistent(self.mutex()));
        } else {
            good(status);
        }
        assert!(self.is_whole(), "half done, and nobody was told");
        died
    }

    #[track_caller]
    pub fn unlock(self) {
        good(shmkit_mutex_unlock(self.mutex()));
    }

    /// Locks the readers-writer lock for writing; as `lock`.
    #[track_caller]
    pub fn write_lock(self) -> bool {
        self.after_write(shmkit_rwlock_write_lock(self.rwlock()))
    }

    #[track_caller]
    pub fn after_write(self, status: i32) -> bool {
        let died = status == OWNER_DIED;
        if died {
            self.repair();
            good(shmkit_rwlock_consistent(self.rwlock()));
        } else {
            good(status);
        }
        assert!(self.is_whole(), "half done, and nobody was told");
        assert_eq!(self.facts().writes.load(SeqCst), 0, "two writers, or one died and nobody was told");
        died
    }

    /// Changes the pair as a writer does.
    #[track_caller]
    pub fn write(self) {
        assert_eq!(self.facts().writes.swap(1, SeqCst), 0, "two writers");
        self.raise();
        assert_eq!(self.facts().writes.swap(0, SeqCst), 1, "two writers");
    }

    /// Looks at the pair as a reader does.
    #[track_caller]
    pub fn read(self) {
        let before = self.facts().a.load(SeqCst);
        assert_eq!(self.facts().writes.load(SeqCst), 0, "a reader and a writer");
        assert!(self.is_whole(), "a reader sees half of a change");
        assert_eq!(self.facts().a.load(SeqCst), before, "a reader sees a change");
    }

    #[track_caller]
    pub fn rwlock_unlock(self) {
        good(shmkit_rwlock_unlock(self.rwlock()));
    }
}

#[track_caller]
pub fn good(status: i32) {
    assert_eq!(status, OK, "{}", message());
}

/// Ends this process when what it does next hangs; 0 takes that back.
pub fn alarm(seconds: u32) {
    extern "C" fn rings(_signal: i32) {
        let words = "HANGS: an alarm clock rang\n";
        // SAFETY: the bytes are readable; both calls are async-signal-safe.
        unsafe {
            libc::write(2, words.as_ptr().cast(), words.len());
            libc::_exit(103);
        }
    }
    // SAFETY: the handler does only what a handler may.
    unsafe {
        libc::signal(libc::SIGALRM, rings as *const () as libc::sighandler_t);
        libc::alarm(seconds);
    }
}

/// Starts a process that does `work`, ends with code 0 if it ends well, and dies with this one.
pub fn start(work: impl FnOnce()) -> i32 {
    // SAFETY: the child does only `work` and leaves by _exit.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "fork failed: {}", std::io::Error::last_os_error());
        if pid == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            alarm(STALLED);
            let ended = catch_unwind(AssertUnwindSafe(work));
            libc::_exit(if ended.is_ok() { 0 } else { 101 });
        }
        pid
    }
}

/// Waits until a process is gone and gives its status.
#[track_caller]
pub fn reap(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status is writable.
    while unsafe { libc::waitpid(pid, &mut status, 0) } != pid {
        assert_eq!(super::errno(), libc::EINTR, "process {pid} is no child");
    }
    status
}

/// The same, and it must have ended well.
#[track_caller]
pub fn reap_well(pid: i32) {
    let status = reap(pid);
    assert_eq!(status, 0, "process {pid} ended with status {status:#x}: see its output");
}

/// Kills a process and waits until nothing is left of it.
#[track_caller]
pub fn kill(pid: i32) {
    // SAFETY: takes no pointers; the process is not reaped yet, so the number is its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let status = reap(pid);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "it ended by itself: {status:#x}");
}

/// The letter by which the kernel tells what a process does; Z when it is no more.
pub fn state_of(pid: i32) -> char {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).unwrap_or('Z')
}

/// Whether a process sleeps, or is gone: one that has said that it goes to wait, and does nothing else, waits then.
pub fn is_asleep(pid: i32) -> bool {
    matches!(state_of(pid), 'S' | 'Z')
}

/// Whether nothing is left of a process but its number. Who is to reap it may not know yet.
#[allow(dead_code, reason = "not every test has peers that tell of deaths")]
pub fn is_dead(pid: i32) -> bool {
    matches!(state_of(pid), 'Z' | 'X')
}

/// Looks every now and then until it is so; the alarm clock is the caller's.
pub fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::sleep(Duration::from_micros(200));
    }
}
