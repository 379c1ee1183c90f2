//! Puts a finding into words: the call with its arguments as strace prints them, the cause and the remedy.
//! Never allocates and never fails; formats into a `Text` of fixed size. Pure: see `mod.rs`.
//! Next: `calls/judge.rs`, which decides who hears the words.

use super::memory::{MAP_FIXED_NOREPLACE, MAP_SYNC, MAP_TYPE, MREMAP_DONTUNMAP};
use super::{memory, posix, sem, semset, sysv as segment};
use crate::sys::sysv;
use crate::text::{Text, Writer};

/// What kind of value an argument is, which decides how it is printed.
#[derive(Clone, Copy)]
enum Kind {
    Subject,
    Address,
    Count,
    /// A number of bytes of a region, or all that follow.
    Extent,
    Signed,
    OpenFlags,
    Mode,
    MemfdFlags,
    Prot,
    MapFlags,
    RemapFlags,
    SyncFlags,
    Advice,
    Key,
    GetFlags,
    AttachFlags,
    Command,
    SetGetFlags,
    SetCommand,
    SetArgument,
    SemFlags,
    LockCommand,
    Lock,
    Seals,
}

macro_rules! calls {
    ($($call:ident = $name:literal ($($kind:ident),*);)*) => {
        /// A checked call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
        #[allow(missing_docs, reason = "each is named after the C call in the same row")]
        pub enum Call { #[default] $($call),* }

        impl Call {
            /// Every call.
            pub const ALL: &'static [Call] = &[$(Call::$call),*];

            /// The C name, without the prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Call::$call => $name),* }
            }

            fn arguments(self) -> &'static [Kind] {
                match self { $(Call::$call => &[$(Kind::$kind),*]),* }
            }
        }
    };
}

calls! {
    Exit = "exit" ();
    ShmOpen = "shm_open" (Subject, OpenFlags, Mode);
    ShmUnlink = "shm_unlink" (Subject);
    MemfdCreate = "memfd_create" (Subject, MemfdFlags);
    Mmap = "mmap" (Address, Count, Prot, MapFlags, Signed, Signed);
    Munmap = "munmap" (Address, Count);
    Mremap = "mremap" (Address, Count, Count, RemapFlags, Address);
    Mprotect = "mprotect" (Address, Count, Prot);
    Msync = "msync" (Address, Count, SyncFlags);
    Madvise = "madvise" (Address, Count, Advice);
    Mlock = "mlock" (Address, Count);
    Munlock = "munlock" (Address, Count);
    Ftruncate = "ftruncate" (Signed, Signed);
    PosixFallocate = "posix_fallocate" (Signed, Signed, Signed);
    Fstat = "fstat" (Signed, Address);
    Close = "close" (Signed);
    Shmget = "shmget" (Key, Count, GetFlags);
    Shmat = "shmat" (Signed, Address, AttachFlags);
    Shmdt = "shmdt" (Address);
    Shmctl = "shmctl" (Signed, Command, Address);
    Ftok = "ftok" (Subject, Signed);
    SemOpen = "sem_open" (Subject, SemFlags, Mode, Count);
    SemUnlink = "sem_unlink" (Subject);
    SemClose = "sem_close" (Address);
    SemInit = "sem_init" (Address, Signed, Count);
    SemDestroy = "sem_destroy" (Address);
    SemPost = "sem_post" (Address);
    SemWait = "sem_wait" (Address);
    SemTrywait = "sem_trywait" (Address);
    SemTimedwait = "sem_timedwait" (Address, Address);
    SemClockwait = "sem_clockwait" (Address, Signed, Address);
    SemGetvalue = "sem_getvalue" (Address, Address);
    Fcntl = "fcntl" (Signed, LockCommand, Lock);
    Semget = "semget" (Key, Signed, SetGetFlags);
    Semop = "semop" (Signed, Address, Count);
    Semtimedop = "semtimedop" (Signed, Address, Count, Address);
    Semctl = "semctl" (Signed, Signed, SetCommand, SetArgument);
    Open = "open" (Subject, OpenFlags, Mode);
    Remove = "unlink" (Subject);
    Limits = "shmkit_limits" (Address);
    Environment = "environment" (Subject);
    SetPolicy = "shmkit_set_policy" (Signed);
    SetReport = "shmkit_set_report" (Subject);
    RegionCreate = "shmkit_region_create" (Subject);
    RegionOpen = "shmkit_region_open" (Subject);
    RegionOpenOrCreate = "shmkit_region_open_or_create" (Subject);
    RegionClose = "shmkit_region_close" (Subject);
    RegionUnlink = "shmkit_region_unlink" (Subject);
    Unlink = "shmkit_unlink" (Subject);
    RegionData = "shmkit_region_data" (Subject);
    RegionSize = "shmkit_region_size" (Subject);
    RegionAddress = "shmkit_region_address" (Subject);
    RegionFd = "shmkit_region_fd" (Subject);
    RegionGrow = "shmkit_region_grow" (Subject, Count);
    RegionSync = "shmkit_region_sync" (Subject, Count, Extent, Signed);
    RegionProtect = "shmkit_region_protect" (Subject, Count, Extent, Prot);
    RegionAdvise = "shmkit_region_advise" (Subject, Count, Extent, Advice);
    RegionLock = "shmkit_region_lock_memory" (Subject, Count, Extent);
    RegionUnlock = "shmkit_region_unlock_memory" (Subject, Count, Extent);
    RegionStat = "shmkit_region_stat" (Subject);
    RegionCopyIn = "shmkit_region_copy_in" (Subject, Count, Address, Count);
    RegionCopyOut = "shmkit_region_copy_out" (Subject, Count, Address, Count);
    RegionAccessBegin = "shmkit_region_access_begin" (Subject);
    RegionAccessEnd = "shmkit_region_access_end" (Subject);
    RegionSend = "shmkit_region_send" (Subject, Signed, Signed);
    RegionRecv = "shmkit_region_recv" (Signed);
    RegionSeal = "shmkit_region_seal" (Subject, Seals);
    RegionParticipants = "shmkit_region_participants" (Subject);
    RegionIsOrphan = "shmkit_region_is_orphan" (Subject);
    GuardEnable = "shmkit_guard_enable" ();
    GuardDisable = "shmkit_guard_disable" ();
    MutexInit = "shmkit_mutex_init" (Address);
    MutexDestroy = "shmkit_mutex_destroy" (Address);
    MutexLock = "shmkit_mutex_lock" (Address);
    MutexTryLock = "shmkit_mutex_trylock" (Address);
    MutexTimedLock = "shmkit_mutex_timedlock" (Address, Count);
    MutexUnlock = "shmkit_mutex_unlock" (Address);
    MutexConsistent = "shmkit_mutex_consistent" (Address);
    MutexAbandon = "shmkit_mutex_abandon" (Address);
    RwlockInit = "shmkit_rwlock_init" (Address);
    RwlockDestroy = "shmkit_rwlock_destroy" (Address);
    RwlockReadLock = "shmkit_rwlock_read_lock" (Address);
    RwlockTryReadLock = "shmkit_rwlock_try_read_lock" (Address);
    RwlockTimedReadLock = "shmkit_rwlock_timed_read_lock" (Address, Count);
    RwlockWriteLock = "shmkit_rwlock_write_lock" (Address);
    RwlockTryWriteLock = "shmkit_rwlock_try_write_lock" (Address);
    RwlockTimedWriteLock = "shmkit_rwlock_timed_write_lock" (Address, Count);
    RwlockUnlock = "shmkit_rwlock_unlock" (Address);
    RwlockConsistent = "shmkit_rwlock_consistent" (Address);
    RwlockAbandon = "shmkit_rwlock_abandon" (Address);
    CondInit = "shmkit_cond_init" (Address);
    CondDestroy = "shmkit_cond_destroy" (Address);
    CondWait = "shmkit_cond_wait" (Address, Address);
    CondTimedWait = "shmkit_cond_timedwait" (Address, Address, Count);
    CondSignal = "shmkit_cond_signal" (Address);
    CondBroadcast = "shmkit_cond_broadcast" (Address);
    SemaphoreInit = "shmkit_semaphore_init" (Address, Count);
    SemaphoreDestroy = "shmkit_semaphore_destroy" (Address);
    SemaphoreWait = "shmkit_semaphore_wait" (Address);
    SemaphoreTryWait = "shmkit_semaphore_trywait" (Address);
    SemaphoreTimedWait = "shmkit_semaphore_timedwait" (Address, Count);
    SemaphorePost = "shmkit_semaphore_post" (Address);
    SemaphoreValue = "shmkit_semaphore_value" (Address, Address);
    RobustSemInit = "shmkit_robust_sem_init" (Address, Count);
    RobustSemDestroy = "shmkit_robust_sem_destroy" (Address);
    RobustSemWait = "shmkit_robust_sem_wait" (Address);
    RobustSemTryWait = "shmkit_robust_sem_trywait" (Address);
    RobustSemTimedWait = "shmkit_robust_sem_timedwait" (Address, Count);
    RobustSemPost = "shmkit_robust_sem_post" (Address);
    RobustSemValue = "shmkit_robust_sem_value" (Address, Address);
    BarrierInit = "shmkit_barrier_init" (Address, Count);
    BarrierDestroy = "shmkit_barrier_destroy" (Address);
    BarrierWait = "shmkit_barrier_wait" (Address, Address);
    BarrierTimedWait = "shmkit_barrier_timedwait" (Address, Count, Address);
    BarrierJoin = "shmkit_barrier_join" (Address);
    BarrierLeave = "shmkit_barrier_leave" (Address);
    BarrierReset = "shmkit_barrier_reset" (Address);
    OnceInit = "shmkit_once_init" (Address);
    OnceRun = "shmkit_once_run" (Address);
    OnceBegin = "shmkit_once_begin" (Address, Address);
    OnceEnd = "shmkit_once_end" (Address, Signed);
    EventInit = "shmkit_event_init" (Address);
    EventDestroy = "shmkit_event_destroy" (Address);
    EventPrepare = "shmkit_event_prepare" (Address, Address);
    EventWait = "shmkit_event_wait" (Address, Count);
    EventTimedWait = "shmkit_event_timedwait" (Address, Count, Count);
    EventNotify = "shmkit_event_notify" (Address, Count);
    CellInit = "shmkit_cell_init" (Address, Count, Count);
    CellAttach = "shmkit_cell_attach" (Address, Address, Count, Signed);
    CellDetach = "shmkit_cell_detach" (Address);
    CellReserve = "shmkit_cell_reserve" (Address, Count, Address);
    CellCommit = "shmkit_cell_commit" (Address, Count);
    CellWrite = "shmkit_cell_write" (Address, Address, Count);
    CellRead = "shmkit_cell_read" (Address, Address, Count, Address, Address);
    CellReadNewer = "shmkit_cell_read_newer" (Address, Count, Address, Count, Address, Count);
    CellStat = "shmkit_cell_stat" (Address, Count, Address);
    BroadcastInit = "shmkit_broadcast_init" (Address, Count, Count, Count);
    BroadcastAttach = "shmkit_broadcast_attach" (Address, Address, Address, Count, Signed);
    BroadcastDetach = "shmkit_broadcast_detach" (Address);
    BroadcastReserve = "shmkit_broadcast_reserve" (Address, Count, Address);
    BroadcastCommit = "shmkit_broadcast_commit" (Address, Count);
    BroadcastAbort = "shmkit_broadcast_abort" (Address);
    BroadcastWrite = "shmkit_broadcast_write" (Address, Address, Count);
    BroadcastRead = "shmkit_broadcast_read" (Address, Address, Count, Address, Count);
    BroadcastClose = "shmkit_broadcast_close" (Address);
    BroadcastArm = "shmkit_broadcast_arm" (Address);
    BroadcastNotifyFd = "shmkit_broadcast_set_notify_fd" (Address, Signed);
    BroadcastStat = "shmkit_broadcast_stat" (Address, Count, Address);
    QueueSize = "shmkit_queue_size" (Address);
    QueueInit = "shmkit_queue_init" (Address, Count, Address);
    QueueAttach = "shmkit_queue_attach" (Address, Address, Address, Count);
    QueueDetach = "shmkit_queue_detach" (Address);
    QueueReserve = "shmkit_queue_reserve" (Address, Count, Address, Count);
    QueueCommit = "shmkit_queue_commit" (Address, Count);
    QueueAbort = "shmkit_queue_abort" (Address);
    QueueSend = "shmkit_queue_send" (Address, Address, Count, Count);
    QueueTake = "shmkit_queue_take" (Address, Address, Address, Count);
    QueueRelease = "shmkit_queue_release" (Address);
    QueueReceive = "shmkit_queue_receive" (Address, Address, Count, Address, Count);
    QueueClose = "shmkit_queue_close" (Address);
    QueueArm = "shmkit_queue_arm" (Address);
    QueueNotifyFd = "shmkit_queue_set_notify_fd" (Address, Signed);
    QueueStat = "shmkit_queue_stat" (Address, Count, Address);
    RingInit = "shmkit_ring_init" (Address, Count);
    RingAttach = "shmkit_ring_attach" (Address, Address, Count, Signed);
    RingDetach = "shmkit_ring_detach" (Address);
    RingReserve = "shmkit_ring_reserve" (Address, Count, Address, Count);
    RingCommit = "shmkit_ring_commit" (Address, Count);
    RingAbort = "shmkit_ring_abort" (Address);
    RingWrite = "shmkit_ring_write" (Address, Address, Count, Count);
    RingWriteBatch = "shmkit_ring_write_batch" (Address, Address, Count, Address, Count);
    RingPeek = "shmkit_ring_peek" (Address, Address, Address, Count);
    RingPeekBatch = "shmkit_ring_peek_batch" (Address, Address, Count, Address, Count);
    RingRelease = "shmkit_ring_release" (Address, Count);
    RingRead = "shmkit_ring_read" (Address, Address, Count, Address, Count);
    RingClose = "shmkit_ring_close" (Address);
    RingArm = "shmkit_ring_arm" (Address);
    RingNotifyFd = "shmkit_ring_set_notify_fd" (Address, Signed);
    RingStat = "shmkit_ring_stat" (Address, Count, Address);
    List = "shmkit_list" (Signed);
    Gc = "shmkit_gc" (Signed);
}

/// Room for a name or an address string: the longest name, its scheme and a terminator.
pub type Subject = Text<288>;

/// One call with its arguments, as it was made.
#[derive(Clone, Copy, Default)]
pub struct Invocation {
    /// Which call.
    pub call: Call,
    /// The arguments; a string stands in `subject` instead, and its place here is its address when it is no string.
    pub args: [u64; 6],
    /// The name that was passed, or the address string of the object that a descriptor or id leads to.
    pub subject: Subject,
    /// Whether `subject` holds a string that was passed, so that it can be printed among the arguments.
    pub named: bool,
}

impl Invocation {
    /// A call without a string among its arguments.
    pub fn new(call: Call, args: [u64; 6]) -> Self {
        Invocation { call, args, ..Invocation::default() }
    }

    /// A call whose first argument is a string.
    pub fn with_name(call: Call, name: &[u8], args: [u64; 6]) -> Self {
        let mut invocation = Invocation::new(call, args);
        invocation.subject.push_printable(name);
        invocation.named = true;
        invocation
    }
}

/// The name of a type in its place of fixed size: up to a NUL, or all of it.
#[derive(Clone, Copy)]
pub struct Label(pub [u8; 48]);

impl Default for Label {
    fn default() -> Self {
        Label([0; 48])
    }
}

/// The live figures of a finding; each is meaningful only to the rules whose words name it.
#[derive(Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names are those of the placeholders in the rules")]
pub struct Figures {
    pub addr: u64,
    pub start: u64,
    pub length: u64,
    pub limit: u64,
    pub flags: u64,
    pub access: u64,
    pub mode: u64,
    pub signed: i64,
    pub offset: u64,
    pub fd: i32,
    pub seals: u64,
    pub size: u64,
    pub needed: u64,
    pub free: u64,
    pub capacity: u64,
    pub end: u64,
    pub page: u64,
    pub prot: u64,
    pub used: u64,
    pub count: u64,
    pub id: i32,
    pub key: u32,
    pub command: i32,
    pub uid: u32,
    pub what: &'static str,
    pub expected: u64,
    pub found: u64,
    pub label: Label,
    pub expected_label: Label,
}

/// Fills the placeholders of a template; false when it names one that does not exist.
pub fn render(template: &str, call: &Invocation, figures: &Figures, out: &mut Writer) -> bool {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            return false;
        };
        out.push_str(before);
        if !fill(name, call, figures, out) {
            return false;
        }
        rest = after;
    }
    out.push_str(rest);
    true
}

fn fill(name: &str, call: &Invocation, figures: &Figures, out: &mut Writer) -> bool {
    match name {
        "addr" => push_address(figures.addr, out),
        "end_addr" => out.push_hex(figures.addr.saturating_add(figures.length)),
        "start" => out.push_hex(figures.start),
        "length" => out.push_number(figures.length),
        "limit" => out.push_number(figures.limit),
        "limit_bytes" => push_bytes_bound(figures.limit, out),
        "flags" => push_flags(call.call, figures.flags, out),
        "access" => push_access(figures.access, out),
        "mode" => out.push_octal(figures.mode),
        "signed" => out.push_signed(figures.signed),
        "offset" => out.push_signed(figures.offset as i64),
        "advice" => push_argument(Kind::Advice, figures.count, out),
        "fd" | "signed_fd" => out.push_signed(i64::from(figures.fd)),
        "seals" => push_set(figures.seals, SEALS, out),
        "size" => out.push_number(figures.size),
        "needed" => out.push_number(figures.needed),
        "free" => out.push_number(figures.free),
        "capacity" => out.push_number(figures.capacity),
        "end" => out.push_number(figures.end),
        "page" => out.push_number(figures.page),
        "prot" => push_argument(Kind::Prot, figures.prot, out),
        "used" => out.push_number(figures.used),
        "count" => out.push_signed(figures.count as i64),
        "id" | "signed_id" => out.push_signed(i64::from(figures.id)),
        "key" => out.push_hex(u64::from(figures.key)),
        "call" => out.push_str(call.call.name()),
        "command" => push_argument(command_kind(call.call), figures.command as u64, out),
        "kind" => out.push_str(file_kind(figures.mode as u32)),
        "uid" => out.push_number(u64::from(figures.uid)),
        "what" => out.push_str(figures.what),
        "expected" => out.push_number(figures.expected),
        "found" => out.push_number(figures.found),
        "label" => push_label(&figures.label, out),
        "expected_label" => push_label(&figures.expected_label, out),
        "name" if call.subject.is_empty() && !call.named => out.push_str("the region"),
        "name" => out.push_bytes(call.subject.bytes()),
        "object" if call.subject.is_empty() => {
            out.push_str("descriptor ");
            out.push_signed(i64::from(figures.fd));
        }
        "object" => out.push_bytes(call.subject.bytes()),
        "nearest" if figures.start != 0 => {
            out.push_str("(one is attached from ");
            out.push_hex(figures.start);
            out.push(b')');
        }
        "nearest" => out.push_str("(it may have been detached already)"),
        _ => return false,
    }
    true
}

/// Appends the call as `name(argument, ...)`.
pub fn push_call(call: &Invocation, out: &mut Writer) {
    out.push_str(call.call.name());
    out.push(b'(');
    push_arguments(call, out);
    out.push(b')');
}

/// Appends the arguments, separated by commas.
pub fn push_arguments(call: &Invocation, out: &mut Writer) {
    let kinds = passed(call);
    for (index, (kind, value)) in kinds.iter().zip(call.args).enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        match kind {
            Kind::Subject if call.named => {
                out.push(b'"');
                out.push_bytes(call.subject.bytes());
                out.push(b'"');
            }
            Kind::Subject => push_address(value, out),
            Kind::Lock if call.args[3] != 0 => push_lock(&call.args, out),
            Kind::SetArgument if call.args[2] as i32 == libc::SETVAL => out.push_signed(i64::from(value as i32)),
            kind => push_argument(*kind, value, out),
        }
    }
}

/// The arguments that were passed: the last ones of a variadic call only when another one asks for them.
fn passed(call: &Invocation) -> &'static [Kind] {
    let kinds = call.call.arguments();
    let most = match call.call {
        Call::Mremap if call.args[3] as i32 & (libc::MREMAP_FIXED | MREMAP_DONTUNMAP) == 0 => 4,
        Call::SemOpen | Call::Open if call.args[1] as i32 & libc::O_CREAT == 0 => 2,
        Call::Semctl if !semset::takes_argument(call.args[2] as i32) => 3,
        _ => kinds.len(),
    };
    kinds.get(..most).unwrap_or(kinds)
}

fn command_kind(call: Call) -> Kind {
    match call {
        Call::Semctl => Kind::SetCommand,
        Call::Fcntl => Kind::LockCommand,
        _ => Kind::Command,
    }
}

type Names = &'static [(&'static str, u64)];

const OPEN: Names = &[
    ("O_CREAT", libc::O_CREAT as u64),
    ("O_EXCL", libc::O_EXCL as u64),
    ("O_TRUNC", libc::O_TRUNC as u64),
    ("O_APPEND", libc::O_APPEND as u64),
    ("O_NONBLOCK", libc::O_NONBLOCK as u64),
    ("O_SYNC", libc::O_SYNC as u64),
    ("O_DSYNC", libc::O_DSYNC as u64),
    ("O_ASYNC", libc::O_ASYNC as u64),
    ("O_TMPFILE", libc::O_TMPFILE as u64),
    ("O_DIRECTORY", libc::O_DIRECTORY as u64),
    ("O_DIRECT", libc::O_DIRECT as u64),
    ("O_NOFOLLOW", libc::O_NOFOLLOW as u64),
    ("O_CLOEXEC", libc::O_CLOEXEC as u64),
    ("O_NOATIME", libc::O_NOATIME as u64),
    ("O_NOCTTY", libc::O_NOCTTY as u64),
    ("O_PATH", libc::O_PATH as u64),
];
const MEMFD: Names =
    &[("MFD_CLOEXEC", 1), ("MFD_ALLOW_SEALING", 2), ("MFD_HUGETLB", 4), ("MFD_NOEXEC_SEAL", 8), ("MFD_EXEC", 16)];
const PROT: Names = &[("PROT_READ", 1), ("PROT_WRITE", 2), ("PROT_EXEC", 4)];
const MAP: Names = &[
    ("MAP_FIXED", libc::MAP_FIXED as u64),
    ("MAP_ANONYMOUS", libc::MAP_ANONYMOUS as u64),
    ("MAP_GROWSDOWN", libc::MAP_GROWSDOWN as u64),
    ("MAP_DENYWRITE", libc::MAP_DENYWRITE as u64),
    ("MAP_EXECUTABLE", libc::MAP_EXECUTABLE as u64),
    ("MAP_LOCKED", libc::MAP_LOCKED as u64),
    ("MAP_NORESERVE", libc::MAP_NORESERVE as u64),
    ("MAP_POPULATE", libc::MAP_POPULATE as u64),
    ("MAP_NONBLOCK", libc::MAP_NONBLOCK as u64),
    ("MAP_STACK", libc::MAP_STACK as u64),
    ("MAP_HUGETLB", libc::MAP_HUGETLB as u64),
    ("MAP_SYNC", MAP_SYNC as u64),
    ("MAP_FIXED_NOREPLACE", MAP_FIXED_NOREPLACE as u64),
];
const REMAP: Names = &[("MREMAP_MAYMOVE", 1), ("MREMAP_FIXED", 2), ("MREMAP_DONTUNMAP", 4)];
const SYNC: Names = &[("MS_ASYNC", 1), ("MS_INVALIDATE", 2), ("MS_SYNC", 4)];
const GET: Names = &[
    ("IPC_CREAT", libc::IPC_CREAT as u64),
    ("IPC_EXCL", libc::IPC_EXCL as u64),
    ("SHM_HUGETLB", sysv::SHM_HUGETLB as u64),
    ("SHM_NORESERVE", sysv::SHM_NORESERVE as u64),
];
const ATTACH: Names = &[
    ("SHM_RDONLY", libc::SHM_RDONLY as u64),
    ("SHM_RND", libc::SHM_RND as u64),
    ("SHM_REMAP", libc::SHM_REMAP as u64),
    ("SHM_EXEC", sysv::SHM_EXEC as u64),
];
const SEALS: Names = &[
    ("F_SEAL_SEAL", 1),
    ("F_SEAL_SHRINK", 2),
    ("F_SEAL_GROW", 4),
    ("F_SEAL_WRITE", 8),
    ("F_SEAL_FUTURE_WRITE", 16),
    ("F_SEAL_EXEC", 32),
];
const COMMANDS: Names = &[
    ("IPC_RMID", libc::IPC_RMID as u64),
    ("IPC_SET", libc::IPC_SET as u64),
    ("IPC_STAT", libc::IPC_STAT as u64),
    ("IPC_INFO", sysv::IPC_INFO as u64),
    ("SHM_LOCK", libc::SHM_LOCK as u64),
    ("SHM_UNLOCK", libc::SHM_UNLOCK as u64),
    ("SHM_STAT", sysv::SHM_STAT as u64),
    ("SHM_INFO", sysv::SHM_INFO as u64),
    ("SHM_STAT_ANY", sysv::SHM_STAT_ANY as u64),
];
const SET_GET: Names = &[("IPC_CREAT", libc::IPC_CREAT as u64), ("IPC_EXCL", libc::IPC_EXCL as u64)];
const STEP: Names = &[("SEM_UNDO", libc::SEM_UNDO as u64), ("IPC_NOWAIT", libc::IPC_NOWAIT as u64)];
const SET_COMMANDS: Names = &[
    ("IPC_RMID", libc::IPC_RMID as u64),
    ("IPC_SET", libc::IPC_SET as u64),
    ("IPC_STAT", libc::IPC_STAT as u64),
    ("IPC_INFO", libc::IPC_INFO as u64),
    ("GETPID", libc::GETPID as u64),
    ("GETVAL", libc::GETVAL as u64),
    ("GETALL", libc::GETALL as u64),
    ("GETNCNT", libc::GETNCNT as u64),
    ("GETZCNT", libc::GETZCNT as u64),
    ("SETVAL", libc::SETVAL as u64),
    ("SETALL", libc::SETALL as u64),
    ("SEM_STAT", libc::SEM_STAT as u64),
    ("SEM_INFO", libc::SEM_INFO as u64),
    ("SEM_STAT_ANY", libc::SEM_STAT_ANY as u64),
];
const LOCK_COMMANDS: Names = &[
    ("F_GETLK", libc::F_GETLK as u64),
    ("F_SETLK", libc::F_SETLK as u64),
    ("F_SETLKW", libc::F_SETLKW as u64),
    ("F_OFD_GETLK", libc::F_OFD_GETLK as u64),
    ("F_OFD_SETLK", libc::F_OFD_SETLK as u64),
    ("F_OFD_SETLKW", libc::F_OFD_SETLKW as u64),
];
const LOCK_TYPES: Names =
    &[("F_RDLCK", libc::F_RDLCK as u64), ("F_WRLCK", libc::F_WRLCK as u64), ("F_UNLCK", libc::F_UNLCK as u64)];
const WHENCE: Names = &[("SEEK_SET", 0), ("SEEK_CUR", 1), ("SEEK_END", 2)];
const ADVICE: Names = &[
    ("MADV_NORMAL", 0),
    ("MADV_RANDOM", 1),
    ("MADV_SEQUENTIAL", 2),
    ("MADV_WILLNEED", 3),
    ("MADV_DONTNEED", 4),
    ("MADV_FREE", 8),
    ("MADV_REMOVE", 9),
    ("MADV_DONTFORK", 10),
    ("MADV_DOFORK", 11),
    ("MADV_MERGEABLE", 12),
    ("MADV_UNMERGEABLE", 13),
    ("MADV_HUGEPAGE", 14),
    ("MADV_NOHUGEPAGE", 15),
    ("MADV_DONTDUMP", 16),
    ("MADV_DODUMP", 17),
    ("MADV_WIPEONFORK", 18),
    ("MADV_KEEPONFORK", 19),
    ("MADV_COLD", 20),
    ("MADV_PAGEOUT", 21),
    ("MADV_POPULATE_READ", 22),
    ("MADV_POPULATE_WRITE", 23),
];

/// Appends the names of the bits that are set, the rest as a number, `0` for none.
fn push_set(bits: u64, names: Names, out: &mut Writer) {
    push_set_after(bits, names, true, out);
}

fn push_set_after(mut bits: u64, names: Names, mut first: bool, out: &mut Writer) {
    let alone = first;
    for (name, value) in names {
        if bits & value == *value {
            bits &= !value;
            if !first {
                out.push(b'|');
            }
            first = false;
            out.push_str(name);
        }
    }
    if bits != 0 || alone && first {
        if !first {
            out.push(b'|');
        }
        if bits == 0 { out.push(b'0') } else { out.push_hex(bits) }
    }
}

fn push_named(value: u64, names: Names, out: &mut Writer) {
    match names.iter().find(|(_, number)| *number == value) {
        Some((name, _)) => out.push_str(name),
        None => out.push_signed(i64::from(value as i32)),
    }
}

fn push_address(address: u64, out: &mut Writer) {
    if address == 0 { out.push_str("NULL") } else { out.push_hex(address) }
}

/// A limit in bytes; the kernel's "no limit" is said so.
fn push_bytes_bound(limit: u64, out: &mut Writer) {
    if limit == u64::MAX {
        out.push_str("unlimited");
    } else {
        out.push_number(limit);
        out.push_str(" bytes");
    }
}

fn push_access(flags: u64, out: &mut Writer) {
    out.push_str(match flags as i32 & libc::O_ACCMODE {
        libc::O_RDONLY => "O_RDONLY",
        libc::O_WRONLY => "O_WRONLY",
        libc::O_RDWR => "O_RDWR",
        _ => "O_RDWR|O_WRONLY",
    });
}

fn push_argument(kind: Kind, value: u64, out: &mut Writer) {
    // Flags and the like come as C ints: only their 32 bits count.
    let bits = u64::from(value as u32);
    match kind {
        Kind::Subject | Kind::Address | Kind::SetArgument | Kind::Lock => push_address(value, out),
        Kind::Extent if value == u64::MAX => out.push_str("SHMKIT_TO_END"),
        Kind::Count | Kind::Extent => out.push_number(value),
        Kind::Signed => out.push_signed(value as i64),
        Kind::OpenFlags => {
            push_access(bits, out);
            push_set_after(bits & !(libc::O_ACCMODE as u64), OPEN, false, out);
        }
        Kind::Mode => out.push_octal(bits),
        Kind::MemfdFlags => push_set(bits, MEMFD, out),
        Kind::Prot if bits == 0 => out.push_str("PROT_NONE"),
        Kind::Prot => push_set(bits, PROT, out),
        Kind::MapFlags => {
            let sharing = bits & MAP_TYPE as u64;
            out.push_str(match sharing as i32 {
                libc::MAP_SHARED => "MAP_SHARED",
                libc::MAP_PRIVATE => "MAP_PRIVATE",
                libc::MAP_SHARED_VALIDATE => "MAP_SHARED_VALIDATE",
                _ => "",
            });
            let rest = if matches!(sharing, 1..=3) { bits & !(MAP_TYPE as u64) } else { bits };
            push_set_after(rest, MAP, !matches!(sharing, 1..=3), out);
        }
        Kind::RemapFlags => push_set(bits, REMAP, out),
        Kind::SyncFlags => push_set(bits, SYNC, out),
        Kind::Advice => push_named(bits, ADVICE, out),
        Kind::Key if bits == 0 => out.push_str("IPC_PRIVATE"),
        Kind::Key => out.push_hex(bits),
        Kind::GetFlags => push_get_flags(bits, GET, out),
        Kind::SetGetFlags => push_get_flags(bits, SET_GET, out),
        Kind::SemFlags => push_set(bits, OPEN, out),
        Kind::LockCommand => push_named(bits, LOCK_COMMANDS, out),
        Kind::SetCommand => push_named(bits, SET_COMMANDS, out),
        Kind::AttachFlags => push_set(bits, ATTACH, out),
        Kind::Command => push_named(bits, COMMANDS, out),
        Kind::Seals => push_set(bits, SEALS, out),
    }
}

/// A lock that stands among the arguments: type, whence, start and length.
fn push_lock(args: &[u64; 6], out: &mut Writer) {
    out.push(b'{');
    push_named(u64::from(args[3] as i16 as u32), LOCK_TYPES, out);
    out.push_str(", ");
    push_named(u64::from((args[3] >> 16) as i16 as u32), WHENCE, out);
    out.push_str(", ");
    out.push_signed(args[4] as i64);
    out.push_str(", ");
    out.push_signed(args[5] as i64);
    out.push(b'}');
}

/// The flags of shmget and semget, which hold permission bits.
fn push_get_flags(bits: u64, names: Names, out: &mut Writer) {
    if bits & !0o777 != 0 {
        push_set(bits & !0o777, names, out);
        out.push(b'|');
    }
    out.push_octal(bits & 0o777);
}

fn push_label(label: &Label, out: &mut Writer) {
    out.push_printable(label.0.split(|byte| *byte == 0).next().unwrap_or_default());
}

/// The flags of a finding, in the words of the call that they were given to.
fn push_flags(call: Call, flags: u64, out: &mut Writer) {
    match call.arguments().iter().find(|kind| {
        matches!(kind, Kind::MemfdFlags | Kind::MapFlags | Kind::RemapFlags | Kind::SyncFlags | Kind::AttachFlags)
    }) {
        Some(kind) => push_argument(*kind, flags, out),
        None if matches!(call, Call::ShmOpen | Call::SemOpen) => push_set(flags, OPEN, out),
        None if matches!(call, Call::Semop | Call::Semtimedop) => push_set(flags, STEP, out),
        None if call == Call::Semget => push_set(flags, SET_GET, out),
        None => push_set(flags, GET, out),
    }
}

fn file_kind(mode: u32) -> &'static str {
    match mode & libc::S_IFMT {
        libc::S_IFREG => "a regular file on a file system without mappings",
        libc::S_IFDIR => "a directory",
        libc::S_IFLNK => "a symbolic link",
        libc::S_IFCHR => "a character device",
        libc::S_IFBLK => "a block device",
        libc::S_IFIFO => "a pipe",
        libc::S_IFSOCK => "a socket",
        _ => "not a file",
    }
}

/// The figures that the arguments alone give, so that every finding starts with them.
pub fn figures_of(call: &Invocation, page: usize) -> Figures {
    let args = &call.args;
    let mut figures = Figures { page: page as u64, ..Figures::default() };
    match call.call {
        Call::ShmOpen => {
            figures.flags = posix::unknown_open_flags(args[1] as i32) as u32 as u64;
            figures.access = args[1];
            figures.mode = args[2];
        }
        Call::MemfdCreate => figures.flags = args[1],
        Call::Mmap => {
            figures.addr = args[0];
            figures.length = args[1];
            figures.prot = args[2];
            let unknown = memory::unknown_map_flags(args[3] as i32) as u32 as u64;
            figures.flags = if unknown != 0 { unknown } else { args[3] };
            figures.fd = args[4] as i32;
            figures.offset = args[5];
            figures.end = args[5].saturating_add(args[1]);
        }
        Call::Munmap | Call::Mprotect | Call::Msync | Call::Madvise | Call::Mlock | Call::Munlock => {
            figures.addr = args[0];
            figures.length = args[1];
            figures.prot = args[2];
            figures.flags = args[2];
            figures.count = args[2];
        }
        Call::Mremap => {
            figures.addr = args[0];
            figures.length = args[2];
            figures.flags = args[3];
        }
        Call::Ftruncate => {
            figures.fd = args[0] as i32;
            figures.length = args[1];
            figures.signed = args[1] as i64;
        }
        Call::PosixFallocate => {
            figures.fd = args[0] as i32;
            figures.offset = args[1];
            figures.length = args[2];
            figures.signed = (args[1] as i64).min(args[2] as i64);
        }
        Call::Fstat | Call::Close => {
            figures.fd = args[0] as i32;
            figures.addr = args[1];
        }
        Call::Shmget => {
            figures.key = args[0] as u32;
            figures.length = args[1];
            figures.flags = segment::unknown_get_flags(args[2] as i32) as u32 as u64;
            figures.mode = args[2] & 0o777;
            figures.limit = 1;
        }
        Call::Shmat => {
            figures.id = args[0] as i32;
            figures.addr = args[1];
            figures.flags = segment::unknown_attach_flags(args[2] as i32) as u32 as u64;
        }
        Call::Shmdt => figures.addr = args[0],
        Call::Shmctl => {
            figures.id = args[0] as i32;
            figures.command = args[1] as i32;
            figures.count = args[1];
            figures.addr = args[2];
        }
        Call::Ftok => figures.id = args[1] as i32,
        Call::SemOpen => {
            figures.flags = sem::unknown_open_flags(args[1] as i32) as u32 as u64;
            figures.mode = args[2];
            figures.count = args[3];
            figures.limit = u64::from(sem::VALUE_MAX);
        }
        Call::SemInit => {
            figures.addr = args[0];
            figures.count = args[2];
            figures.limit = u64::from(sem::VALUE_MAX);
        }
        Call::SemClose
        | Call::SemDestroy
        | Call::SemPost
        | Call::SemWait
        | Call::SemTrywait
        | Call::SemTimedwait
        | Call::SemClockwait
        | Call::SemGetvalue => figures.addr = args[0],
        Call::Fcntl => {
            figures.fd = args[0] as i32;
            figures.command = args[1] as i32;
        }
        Call::Semget => {
            figures.key = args[0] as u32;
            figures.signed = i64::from(args[1] as i32);
            figures.flags = semset::unknown_get_flags(args[2] as i32) as u32 as u64;
            figures.mode = args[2] & 0o777;
        }
        Call::Semop | Call::Semtimedop => {
            figures.id = args[0] as i32;
            figures.addr = args[1];
            figures.count = args[2];
        }
        Call::Semctl => {
            figures.id = args[0] as i32;
            figures.command = args[2] as i32;
            figures.count = args[2];
            figures.addr = args[3];
            let number = if args[2] as i32 == libc::SETVAL { args[3] } else { args[1] };
            figures.signed = i64::from(number as i32);
            figures.limit = semset::VALUE_MAX as u64;
        }
        _ => {}
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(call: &Invocation) -> String {
        let mut out = Text::<600>::new();
        push_call(call, &mut out);
        String::from_utf8(out.bytes().to_vec()).expect("the words are ASCII")
    }

    #[test]
    fn calls_read_as_strace_prints_them() {
        let cases = [
            (
                Invocation::with_name(Call::ShmOpen, b"/t", [0, (libc::O_RDWR | libc::O_CREAT) as u64, 0o600, 0, 0, 0]),
                r#"shm_open("/t", O_RDWR|O_CREAT, 0600)"#,
            ),
            (Invocation::new(Call::ShmUnlink, [0; 6]), "shm_unlink(NULL)"),
            (
                Invocation::new(Call::Mmap, [0, 4096, 3, 1 | libc::MAP_FIXED as u64, -1i64 as u64, 0]),
                "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_FIXED, -1, 0)",
            ),
            (Invocation::new(Call::Mmap, [0, 1, 0, 0, 3, 0]), "mmap(NULL, 1, PROT_NONE, 0, 3, 0)"),
            (Invocation::new(Call::Mmap, [0, 1, 64, 5, 3, 0]), "mmap(NULL, 1, 0x40, 0x5, 3, 0)"),
            (Invocation::new(Call::Mremap, [4096, 1, 2, 1, 99, 0]), "mremap(0x1000, 1, 2, MREMAP_MAYMOVE)"),
            (
                Invocation::new(Call::Mremap, [4096, 1, 2, 3, 8192, 0]),
                "mremap(0x1000, 1, 2, MREMAP_MAYMOVE|MREMAP_FIXED, 0x2000)",
            ),
            (Invocation::new(Call::Shmget, [0, 1, 0o1600, 0, 0, 0]), "shmget(IPC_PRIVATE, 1, IPC_CREAT|0600)"),
            (Invocation::new(Call::Shmget, [7, 1, 0, 0, 0, 0]), "shmget(0x7, 1, 0)"),
            (Invocation::new(Call::Shmctl, [3, 1, 0, 0, 0, 0]), "shmctl(3, IPC_SET, NULL)"),
            (
                Invocation::new(Call::Fcntl, [3, 6, 4096, 1 << 32 | 1 << 16 | 1, 10, -5i64 as u64]),
                "fcntl(3, F_SETLK, {F_WRLCK, SEEK_CUR, 10, -5})",
            ),
            (
                Invocation::with_name(Call::SemOpen, b"/s", [0, (libc::O_CREAT | libc::O_EXCL) as u64, 0o600, 1, 0, 0]),
                r#"sem_open("/s", O_CREAT|O_EXCL, 0600, 1)"#,
            ),
            (Invocation::with_name(Call::SemOpen, b"/s", [0; 6]), r#"sem_open("/s", 0)"#),
            (Invocation::new(Call::Fcntl, [3, 38, 0, 0, 0, 0]), "fcntl(3, F_OFD_SETLKW, NULL)"),
            (Invocation::new(Call::Semget, [7, 3, 0o1600, 0, 0, 0]), "semget(0x7, 3, IPC_CREAT|0600)"),
            (Invocation::new(Call::Semctl, [3, 0, 12, 77, 0, 0]), "semctl(3, 0, GETVAL)"),
            (Invocation::new(Call::Semctl, [3, 0, 16, u64::MAX, 0, 0]), "semctl(3, 0, SETVAL, -1)"),
            (Invocation::new(Call::Semctl, [3, 0, 2, 0, 0, 0]), "semctl(3, 0, IPC_STAT, NULL)"),
            (Invocation::new(Call::Msync, [4096, 1, 0, 0, 0, 0]), "msync(0x1000, 1, 0)"),
            (
                Invocation::with_name(Call::RegionProtect, b"anon:", [0, 4096, u64::MAX, 1, 0, 0]),
                r#"shmkit_region_protect("anon:", 4096, SHMKIT_TO_END, PROT_READ)"#,
            ),
            (
                Invocation::with_name(Call::RegionLock, b"anon:", [0, 0, 5, 0, 0, 0]),
                r#"shmkit_region_lock_memory("anon:", 0, 5)"#,
            ),
        ];
        for (call, expected) in cases {
            assert_eq!(words(&call), expected);
        }
    }
}
