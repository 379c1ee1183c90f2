//! C ABI of `region/`: regions by handle. Translation only; `options.rs` translates what a program asks for.

use core::ffi::{c_char, c_int, c_void};

use super::error::shmkit_status_t;
use super::options::{RegionOptions, with_options};
use super::outcome::{Subject, address, place, run, run_on};
use super::survey::{SHMKIT_ANSWER_UNKNOWN, SHMKIT_ANSWER_YES};
use crate::checks::words::Call;
use crate::error::Status;
use crate::region::access::{self, Durability, Way};
use crate::region::handle::{FRAGILE, RAW, READ_ONLY};
use crate::region::header::{self, Process};
use crate::region::survey::{self, Participant};
use crate::region::{self, Failure, guard, handle, passing};
use crate::sys;

/// An open region: a token, which is checked at every call and never points anywhere.
#[allow(non_camel_case_types)]
pub struct shmkit_region_t {
    _opaque: [u8; 0],
}

/// The `length` of shmkit_region_sync(), _protect(), _advise(), _lock_memory() and _unlock_memory(): from `offset` to
/// the end of the data. (Length 0 is an empty range, with which there is nothing to do.)
pub const SHMKIT_TO_END: usize = access::TO_END;
/// shmkit_region_sync(): writing to the device is started, and nothing is waited for (MS_ASYNC).
pub const SHMKIT_SYNC_START: i32 = 0;
/// shmkit_region_sync(): when it returns, the data is on the device (MS_SYNC).
pub const SHMKIT_SYNC_DATA: i32 = 1;
/// shmkit_region_sync(): the data and the file's metadata, as its size, are on the device (fsync).
pub const SHMKIT_SYNC_FILE: i32 = 2;
/// shmkit_region_sync(): and so is the file's name (fsync of its folder): needed once after the creation.
pub const SHMKIT_SYNC_NAME: i32 = 3;
/// shmkit_region_send(): the receiver may read and write.
pub const SHMKIT_SEND_READ_WRITE: i32 = 0;
/// shmkit_region_send(): the receiver gets a descriptor for reading only.
pub const SHMKIT_SEND_READ_ONLY: i32 = 1;
/// shmkit_region_seal(), shmkit_region_stat_t.seals: nobody may add seals any more (F_SEAL_SEAL).
pub const SHMKIT_SEAL_SEAL: u32 = 1;
/// shmkit_region_seal(), shmkit_region_stat_t.seals: nobody may make it larger (F_SEAL_GROW). That nobody can make it
/// smaller is sealed from the beginning.
pub const SHMKIT_SEAL_GROW: u32 = 4;
/// shmkit_region_seal(), shmkit_region_stat_t.seals: nobody may write (F_SEAL_WRITE); refused with SHMKIT_ERR_BUSY
/// while any process has it mapped for writing, as every handle that is not read-only has.
pub const SHMKIT_SEAL_WRITE: u32 = 8;
/// shmkit_region_seal(), shmkit_region_stat_t.seals: nobody may begin to write; who has it mapped for writing already
/// still may (F_SEAL_FUTURE_WRITE).
pub const SHMKIT_SEAL_FUTURE_WRITE: u32 = 16;
/// shmkit_region_stat_t.backend, shmkit_object_t.backend: a POSIX shared memory object (posix:/name).
pub const SHMKIT_BACKEND_POSIX: u32 = 1;
/// shmkit_region_stat_t.backend, shmkit_object_t.backend: a System V segment (sysv:).
pub const SHMKIT_BACKEND_SYSV: u32 = 2;
/// shmkit_region_stat_t.backend, shmkit_object_t.backend: a file (file:PATH).
pub const SHMKIT_BACKEND_FILE: u32 = 3;
/// shmkit_region_stat_t.backend, shmkit_object_t.backend: memory with a descriptor and without a name (memfd:).
pub const SHMKIT_BACKEND_MEMFD: u32 = 4;
/// shmkit_region_stat_t.backend, shmkit_object_t.backend: memory that a process shares with its children (anon:).
pub const SHMKIT_BACKEND_ANONYMOUS: u32 = 5;

/// A process, as it was recorded. Explains; never proves that it lives.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RecordedProcess {
    /// Its id in its own pid namespace; 0 when it is not known.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// When it started, in clock ticks since boot (/proc/PID/stat, field 22).
    pub start_time: u64,
    /// The boot that it ran under (/proc/sys/kernel/random/boot_id), as two halves.
    pub boot_id: [u64; 2],
    /// The inode of its pid namespace (/proc/PID/ns/pid).
    pub pid_namespace: u64,
}

/// What is known of a region, from shmkit_region_stat(). Begin with SHMKIT_REGION_STAT_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionStat {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Bytes of data now.
    pub size: u64,
    /// Bytes that it may grow to at most.
    pub max_size: u64,
    /// How often it grew since it was created.
    pub generation: u64,
    /// Bytes of the object, header and all.
    pub object_size: u64,
    /// Bytes of memory, or of the device, that it has reserved.
    pub reserved: u64,
    /// Bytes of a page of its memory: larger than the system's when it has huge pages of its own.
    pub page_size: u64,
    /// Bytes in front of the data; 0 for a raw region.
    pub data_offset: u64,
    /// When it was created, in nanoseconds since the epoch; 0 for a raw region.
    pub created_ns: u64,
    /// Who created it; zeros for a raw region.
    pub creator: RecordedProcess,
    /// The type that it holds, terminated; empty when none was named.
    pub layout_name: [c_char; 48],
    /// sizeof the type that it holds.
    pub layout_size: u64,
    /// The version of the type that it holds, as its author gave it to SHMKIT_LAYOUT.
    pub layout_version: u32,
    /// alignof the type that it holds.
    pub layout_alignment: u32,
    /// The device of the object, as fstat(2) gives it; 0 for System V.
    pub device: u64,
    /// The inode of the object, as fstat(2) gives it; the segment's id for System V.
    pub inode: u64,
    /// How many names the object has; 0 when it was unlinked, or never had one.
    pub links: u64,
    /// One of SHMKIT_BACKEND_.
    pub backend: u32,
    /// Permission bits of the object.
    pub mode: u32,
    /// The user who owns the object.
    pub uid: u32,
    /// The group of the object.
    pub gid: u32,
    /// Seals of the object, as F_GET_SEALS gives them (SHMKIT_SEAL_ and F_SEAL_SHRINK); 0 where there are none.
    pub seals: u32,
    /// 1: this handle is open for reading only.
    pub read_only: i32,
    /// 1: opened as raw, without a header.
    pub raw: i32,
    /// 1: it was created as persistent: shmkit_gc() leaves it alone.
    pub persistent: i32,
    /// 1: the kernel does not rule out that a peer truncates it: see shmkit_guard_enable().
    pub fragile: i32,
}

/// One who has a region open, for the callback of shmkit_region_participants().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionParticipant {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Who; the pid is 0 when nothing is recorded (a reader, or other software).
    pub process: RecordedProcess,
    /// SHMKIT_ANSWER_YES: the kernel proves that it has the region open now. SHMKIT_ANSWER_UNKNOWN: it took a lease,
    /// and cannot be looked at.
    pub live: i32,
    /// 1: it is the very handle that was asked.
    pub own: i32,
    /// 1: it has the region open for reading only.
    pub read_only: i32,
}

/// Gets one participant; returns 0 to go on, anything else to stop. The struct is valid during the call.
pub type ParticipantCallback =
    Option<unsafe extern "C" fn(participant: *const RegionParticipant, user: *mut c_void) -> c_int>;

/// A process for C.
pub(super) fn recorded(process: &Process) -> RecordedProcess {
    RecordedProcess {
        pid: process.pid,
        uid: process.uid,
        start_time: process.start_time,
        boot_id: process.boot,
        pid_namespace: process.namespace,
    }
}

/// The name of a type for C, terminated.
pub(super) fn layout_name(layout: &header::Layout) -> [c_char; 48] {
    layout.name.map(|byte| byte as c_char)
}

fn handle_of(token: u64) -> *mut shmkit_region_t {
    core::ptr::without_provenance_mut(token as usize)
}

pub(super) fn token_of(region: *const shmkit_region_t) -> u64 {
    region.addr() as u64
}

/// Keeps the failure of a function that does not return a status.
#[cold]
fn keep(call: Call, region: *const shmkit_region_t, failure: Failure) {
    run_on(call, token_of(region), [0; 6], |_| Err(failure));
}

/// Looks at an open region, for a function that does not return a status. When another thread closes it meanwhile its
/// end is here, with its system calls: they change no errno and are no place to be cancelled.
fn look<T>(call: Call, region: *const shmkit_region_t, look: impl FnOnce(&handle::Region) -> T) -> Option<T> {
    let get = || handle::get(token_of(region)).map(|region| look(&region));
    sys::preserving_errno(|| sys::process::uncancelled(get)).map_err(|failure| keep(call, region, failure)).ok()
}

/// Creates a region. Fails with SHMKIT_ERR_EXISTS when the name is taken.
///
/// `address` is one of posix:/name, sysv:0xKEY, sysv:ftok(PATH,ID), file:PATH, memfd:LABEL, anon:. `options` needs a
/// `size`.
/// The region is born complete: nobody sees it before it has its size, its space, its mode and what `init` put there.
/// If this process dies on the way, nothing is visible, and whoever creates the same name next takes over.
/// Errors: SHMKIT_ERR_NO_SPACE (with needed and free bytes), SHMKIT_ERR_TOO_BIG (a limit: RLIMIT_FSIZE, SHMMAX),
/// SHMKIT_ERR_ACCESS and SHMKIT_ERR_NOT_FOUND (the folder), SHMKIT_ERR_NOT_PERMITTED (the group), SHMKIT_ERR_CALLBACK
/// (`init` did not return 0), SHMKIT_ERR_TIMEOUT (another creator is at work, or a process that is attached to what a
/// dead one began stands still), SHMKIT_ERR_BACKEND (this kind of memory cannot have huge pages, or cannot grow; `init`
/// for a raw System V segment, which is seen before it is filled),
/// SHMKIT_ERR_UNSUPPORTED (no huge pages, no /proc), SHMKIT_ERR_OWNER and SHMKIT_ERR_CORRUPT (what another user or other
/// software has in the place of the library's own files or semaphores).
/// As shm_open(3), memfd_create(2), open(2) O_TMPFILE, linkat(2), shmget(2), posix_fallocate(3).
///
/// # Safety
/// `address` is null or a terminated string; `options` as SHMKIT_REGION_OPTIONS_INIT made it; `region` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_create(
    address: *const c_char,
    options: *const RegionOptions,
    region: *mut *mut shmkit_region_t,
) -> shmkit_status_t {
    // SAFETY: the caller's promises.
    unsafe {
        let subject = self::address(address);
        run(Call::RegionCreate, subject, [0; 6], || {
            let out = place(region)?;
            let name = subject.get()?;
            let token = with_options(options, |options| region::create(name, options))?;
            out.write(handle_of(token));
            Ok(())
        })
    }
}

/// Opens an existing region. Never creates one.
///
/// Checks owner, mode, header, layout and size before anything is mapped. `options` may be NULL; its `size` is the
/// least that the region must have. Waits for a System V region's creator that is still at work.
/// Errors: SHMKIT_ERR_NOT_FOUND, SHMKIT_ERR_ACCESS (the permissions), SHMKIT_ERR_OWNER (another user's, or everybody
/// may write to it), SHMKIT_ERR_LAYOUT (made for another type or another machine), SHMKIT_ERR_PAST_END (smaller than
/// asked for), SHMKIT_ERR_NOT_A_REGION (other software's: open it raw), SHMKIT_ERR_NOT_AN_OBJECT (a symbolic link, a
/// folder, a pipe), SHMKIT_ERR_CORRUPT (the header is not true), SHMKIT_ERR_UNFINISHED (its creator died),
/// SHMKIT_ERR_TIMEOUT (a creator or collector is at work), SHMKIT_ERR_BACKEND (memfd: and anon: have no name to open).
/// As shm_open(3), open(2) O_NOFOLLOW, shmget(2), shmat(2), mmap(2).
///
/// # Safety
/// As for shmkit_region_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_open(
    address: *const c_char,
    options: *const RegionOptions,
    region: *mut *mut shmkit_region_t,
) -> shmkit_status_t {
    // SAFETY: the caller's promises.
    unsafe {
        let subject = self::address(address);
        run(Call::RegionOpen, subject, [0; 6], || {
            let out = place(region)?;
            let name = subject.get()?;
            let token = with_options(options, |options| region::open(name, options))?;
            out.write(handle_of(token));
            Ok(())
        })
    }
}

/// Opens a region, or creates it: however many processes do so at once, one creates it, and `init` runs once.
///
/// `created`, which may be NULL, tells whether this call made it. Takes over from a creator that died.
/// Errors: those of shmkit_region_create() without SHMKIT_ERR_EXISTS, and those of shmkit_region_open() without
/// SHMKIT_ERR_UNFINISHED; SHMKIT_ERR_NOT_FOUND is then about the folder.
///
/// # Safety
/// As for shmkit_region_create; `created` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_open_or_create(
    address: *const c_char,
    options: *const RegionOptions,
    region: *mut *mut shmkit_region_t,
    created: *mut bool,
) -> shmkit_status_t {
    // SAFETY: the caller's promises.
    unsafe {
        let subject = self::address(address);
        run(Call::RegionOpenOrCreate, subject, [0; 6], || {
            let out = place(region)?;
            if !created.is_null() {
                place(created)?;
            }
            let name = subject.get()?;
            let (token, new) = with_options(options, |options| region::open_or_create(name, options))?;
            out.write(handle_of(token));
            if !created.is_null() {
                created.write(new);
            }
            Ok(())
        })
    }
}

/// Closes a handle: unmaps the data, gives the lease back, closes the descriptor. The region and its name stay.
///
/// NULL is nothing to do. Afterwards the handle is stale, and every call with it, a second close too, is
/// SHMKIT_ERR_BAD_HANDLE; pointers to the data lead nowhere, as after munmap(2). No other error.
/// Other threads' calls on the handle come to their end first, except shmkit_region_copy_in(), _copy_out() and _size(),
/// which must be over, as must their touches of the data. Not async-signal-safe. In a forked child it ends the child's
/// handle alone.
/// A process that ends, however it does, closes all it has.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_close(region: *mut shmkit_region_t) -> shmkit_status_t {
    if region.is_null() {
        return Status::Ok as shmkit_status_t;
    }
    run_on(Call::RegionClose, token_of(region), [0; 6], handle::close)
}

/// Removes the region's name, if it still leads to this very region. Its memory lives until the last process closes it.
///
/// Errors: SHMKIT_ERR_REMOVED (the name was removed, or somebody removed it and made it again: the new one is left
/// alone), SHMKIT_ERR_NOT_PERMITTED (another user's), SHMKIT_ERR_TIMEOUT (another process is about to remove it and
/// stands still), SHMKIT_ERR_BACKEND (memfd: and anon: have no name).
/// If this process dies on the way, the name is there or gone. As shm_unlink(3), unlink(2), shmctl(2) IPC_RMID.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_unlink(region: *mut shmkit_region_t) -> shmkit_status_t {
    run_on(Call::RegionUnlink, token_of(region), [0; 6], access::unlink)
}

/// The address of the data, on a page boundary; NULL for a bad handle. It never moves while the handle is open.
///
/// A hot path: no system call. Async-signal-safe for a good handle. A forked child has the same data at the same
/// address.
/// Touching data that a peer truncated away is a SIGBUS, or zeros with shmkit_guard_enable().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_data(region: *const shmkit_region_t) -> *mut c_void {
    match access::data(token_of(region)) {
        Some(data) => data as *mut c_void,
        None => {
            keep(Call::RegionData, region, Failure::of(Status::ErrBadHandle));
            core::ptr::null_mut()
        }
    }
}

/// Bytes of data, as large as any process has made it; 0 for a bad handle, and once it is found that a peer made the
/// object shorter, or that a lazy region has no memory: here without the guard, with it at a touch or the end of a scope.
///
/// A hot path: no system call, unless the region is one that a peer may truncate and the guard is off.
/// Async-signal-safe for a good handle. Whoever sees a size may touch that much.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_size(region: *const shmkit_region_t) -> usize {
    match access::size(token_of(region)) {
        Some(size) => size,
        None => {
            keep(Call::RegionSize, region, Failure::of(Status::ErrBadHandle));
            0
        }
    }
}

/// Makes a region larger, for all processes at once, up to the max_size that it was created with. Nothing moves.
///
/// `new_size` is in bytes; one that is not larger than the size is nothing to do. The space is reserved first: after an
/// error, or when this process dies on the way, the size is what it was.
/// Errors: SHMKIT_ERR_TOO_BIG (more than max_size or RLIMIT_FSIZE), SHMKIT_ERR_NO_SPACE (with needed and free bytes),
/// SHMKIT_ERR_TIMEOUT (another process grows it and stands still), SHMKIT_ERR_ACCESS (the handle is read-only),
/// SHMKIT_ERR_NOT_PERMITTED (SHMKIT_SEAL_GROW), SHMKIT_ERR_TRUNCATED and SHMKIT_ERR_CORRUPT (a peer made it shorter, or
/// overwrote its header), SHMKIT_ERR_BACKEND (System V and raw regions). Not async-signal-safe. As posix_fallocate(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_grow(region: *mut shmkit_region_t, new_size: u64) -> shmkit_status_t {
    run_on(Call::RegionGrow, token_of(region), [0, new_size, 0, 0, 0, 0], |token| access::grow(token, new_size))
}

/// Writes a range of a file: region back to its device, as far as `level` (one of SHMKIT_SYNC_) says.
///
/// `offset` and `length` are in bytes; SHMKIT_TO_END is to the end, 0 is nothing to do.
/// Errors: SHMKIT_ERR_BACKEND (all other kinds are memory), SHMKIT_ERR_INVALID_ARGUMENT (`level`), SHMKIT_ERR_PAST_END,
/// SHMKIT_ERR_TRUNCATED, SHMKIT_ERR_IO and SHMKIT_ERR_NO_SPACE (from the device: the data may be lost).
/// The death of this or another process loses nothing; only the machine's end does. As msync(2), fsync(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_sync(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
    level: i32,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, level as u64, 0, 0];
    run_on(Call::RegionSync, token_of(region), args, |token| {
        let level = match level {
            SHMKIT_SYNC_START => Durability::Start,
            SHMKIT_SYNC_DATA => Durability::Data,
            SHMKIT_SYNC_FILE => Durability::File,
            SHMKIT_SYNC_NAME => Durability::Name,
            _ => return Err(Failure::argument("level is none of SHMKIT_SYNC_", "use one of those constants")),
        };
        access::sync(token, offset, length, level)
    })
}

/// Changes the protection of whole pages of the data, for this process: PROT_NONE, PROT_READ, PROT_READ|PROT_WRITE.
///
/// `offset`, a multiple of the page size, and `length` are in bytes; SHMKIT_TO_END is to the end, 0 is nothing to do. A
/// touch that is not allowed is a SIGSEGV; shmkit_region_copy_in() and _copy_out() give SHMKIT_ERR_ACCESS instead.
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (`prot`, or `offset` inside a page), SHMKIT_ERR_PAST_END, SHMKIT_ERR_ACCESS
/// (PROT_WRITE on a read-only handle), SHMKIT_ERR_TRUNCATED, SHMKIT_ERR_NO_MEMORY (too many mappings).
/// A forked child inherits it, and keeps its parent's lease alive then. Other processes see nothing of it. As
/// mprotect(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_protect(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
    prot: c_int,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, prot as u64, 0, 0];
    run_on(Call::RegionProtect, token_of(region), args, |token| access::protect(token, offset, length, prot))
}

/// Tells the kernel how the data will be used; no advice that loses data is taken.
///
/// `advice` is MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, DONTFORK, DOFORK, HUGEPAGE, NOHUGEPAGE, DONTDUMP,
/// DODUMP, COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE or COLLAPSE. `offset`, a multiple of the page size, and
/// `length` are in bytes; SHMKIT_TO_END is to the end, 0 is nothing to do.
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (other advice, advice that this kernel or memory does not know, `offset` inside
/// a page), SHMKIT_ERR_PAST_END, SHMKIT_ERR_TRUNCATED, SHMKIT_ERR_ACCESS (the parent of this child kept it),
/// SHMKIT_ERR_NO_MEMORY, SHMKIT_ERR_AGAIN.
/// After MADV_DONTFORK a forked child does not have that data: a touch is a SIGSEGV, and a call about it gives
/// SHMKIT_ERR_ACCESS. It inherits MADV_DONTDUMP and MADV_HUGEPAGE (of several ranges, from the first to the last), and
/// no other advice. As madvise(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_advise(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
    advice: c_int,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, advice as u64, 0, 0];
    run_on(Call::RegionAdvise, token_of(region), args, |token| access::advise(token, offset, length, advice))
}

/// Keeps data resident, so that touching it never waits for a device.
///
/// `offset`, a multiple of the page size, and `length` are in bytes; SHMKIT_TO_END is to the end, 0 is nothing to do.
/// Errors: SHMKIT_ERR_LIMIT (RLIMIT_MEMLOCK, with its figure), SHMKIT_ERR_INVALID_ARGUMENT (`offset` inside a page),
/// SHMKIT_ERR_PAST_END, SHMKIT_ERR_TRUNCATED. A forked child does not inherit it. As mlock(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_lock_memory(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, 0, 0, 0];
    run_on(Call::RegionLock, token_of(region), args, |token| access::lock_memory(token, offset, length, true))
}

/// Lets data be paged out again. Arguments and errors as for shmkit_region_lock_memory(). As munlock(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_unlock_memory(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, 0, 0, 0];
    run_on(Call::RegionUnlock, token_of(region), args, |token| access::lock_memory(token, offset, length, false))
}

/// Tells what is known of a region: sizes, layout, creator, owner, seals. Begin with SHMKIT_REGION_STAT_INIT.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (struct_size is too small), SHMKIT_ERR_TRUNCATED and SHMKIT_ERR_CORRUPT (a peer
/// made it shorter, or overwrote its header), SHMKIT_ERR_NO_SPACE (a touch of a lazy region found no memory).
/// Asks the kernel each time; not async-signal-safe. As fstat(2), fcntl(2) F_GET_SEALS, shmctl(2) IPC_STAT.
///
/// # Safety
/// `out` leads to a struct whose struct_size is right.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_stat(region: *mut shmkit_region_t, out: *mut RegionStat) -> shmkit_status_t {
    run_on(Call::RegionStat, token_of(region), [0; 6], |token| {
        place(out)?;
        // SAFETY: the caller's promise.
        if unsafe { out.cast::<usize>().read() } < size_of::<RegionStat>() {
            return Err(Failure::argument("struct_size is too small", "begin with SHMKIT_REGION_STAT_INIT"));
        }
        let facts = access::stat(token)?;
        let region = handle::get(token)?;
        let header = &facts.header;
        let flag = |flag| i32::from(region.hot.is(flag));
        let stat = RegionStat {
            struct_size: size_of::<RegionStat>(),
            size: facts.size,
            max_size: header.max_size.max(facts.size),
            generation: header.generation,
            object_size: facts.object_size,
            reserved: facts.reserved,
            page_size: facts.page_size,
            data_offset: header.data_offset,
            created_ns: header.created,
            creator: recorded(&header.creator),
            layout_name: layout_name(&header.layout),
            layout_size: header.layout.size,
            layout_version: header.layout.version,
            layout_alignment: header.layout.alignment,
            device: region.identity.0,
            inode: region.identity.1,
            links: facts.links,
            backend: region.backend as u32,
            mode: facts.mode,
            uid: facts.uid,
            gid: facts.gid,
            seals: facts.seals as u32,
            read_only: flag(READ_ONLY),
            raw: flag(RAW),
            persistent: i32::from(header.flags & header::PERSISTENT != 0),
            fragile: flag(FRAGILE),
        };
        // SAFETY: the caller's promise.
        unsafe { out.write(stat) };
        Ok(())
    })
}

/// Copies `length` bytes into a region at `offset`, as memcpy(3) does, but never into a signal.
///
/// Errors: SHMKIT_ERR_PAST_END (not within the data; nothing was copied), SHMKIT_ERR_ACCESS (read-only, or protected),
/// SHMKIT_ERR_BAD_POINTER (of `from`, as far as the kernel tells), SHMKIT_ERR_TRUNCATED (a peer made the object
/// shorter: part of the bytes may have gone, and every later copy says so), SHMKIT_ERR_NO_SPACE (a lazy region found no
/// memory), SHMKIT_ERR_UNSUPPORTED (the kernel may not copy here: enable the guard).
/// A hot path: no system call when the kernel rules truncation out (memfd:, anon:, sysv:) or the guard is on; otherwise
/// the kernel copies, as process_vm_readv(2). Gives no order to other threads and processes: use atomics or a lock for
/// that.
/// Async-signal-safe. A process that dies in it leaves part of the bytes.
///
/// # Safety
/// `from` is readable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_copy_in(
    region: *mut shmkit_region_t,
    offset: usize,
    from: *const c_void,
    length: usize,
) -> shmkit_status_t {
    let plain = access::copy_plain(token_of(region), Way::In, offset, from as usize, length, |hot, at| {
        // SAFETY: the caller's promise.
        unsafe { hot.window.copy_in(at, from.cast(), length) }
    });
    if plain {
        return Status::Ok as shmkit_status_t;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_in_hindered(region, offset, from, length) }
}

/// Copies `length` bytes out of a region from `offset`. Otherwise, and its errors, as shmkit_region_copy_in().
///
/// It works on a read-only handle. After an error part of `to` may have been written.
///
/// # Safety
/// `to` is writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_copy_out(
    region: *const shmkit_region_t,
    offset: usize,
    to: *mut c_void,
    length: usize,
) -> shmkit_status_t {
    let plain = access::copy_plain(token_of(region), Way::Out, offset, to as usize, length, |hot, at| {
        // SAFETY: the caller's promise.
        unsafe { hot.window.copy_out(at, to.cast(), length) }
    });
    if plain {
        return Status::Ok as shmkit_status_t;
    }
    // SAFETY: the caller's promise.
    unsafe { copy_out_hindered(region, offset, to, length) }
}

/// Begins a scope in which the program touches the data by pointer: gives its address and its size in bytes.
///
/// Errors: SHMKIT_ERR_UNSUPPORTED (a peer may truncate the region, and shmkit_guard_enable() was not called),
/// SHMKIT_ERR_TRUNCATED (one did), SHMKIT_ERR_NO_SPACE (a touch of a lazy region found no memory).
/// Scopes may overlap, nest, and be given up without an end: nothing is held. Not async-signal-safe. A forked child may
/// end a scope that its parent began.
///
/// # Safety
/// `data` and `size` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_access_begin(
    region: *mut shmkit_region_t,
    data: *mut *mut c_void,
    size: *mut usize,
) -> shmkit_status_t {
    run_on(Call::RegionAccessBegin, token_of(region), [0; 6], |token| {
        let (data, size) = (place(data)?, place(size)?);
        let (start, length) = access::begin(token)?;
        // SAFETY: the caller's promise.
        unsafe {
            data.write(start as *mut c_void);
            size.write(length);
        }
        Ok(())
    })
}

/// Ends such a scope: says whether what was read in it can be believed, and what was written has arrived.
///
/// Errors: SHMKIT_ERR_TRUNCATED (a peer made the object shorter meanwhile: close the region and open it again),
/// SHMKIT_ERR_NO_SPACE (a touch of a lazy region found no memory). A peer's death is no error. Not async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_access_end(region: *mut shmkit_region_t) -> shmkit_status_t {
    run_on(Call::RegionAccessEnd, token_of(region), [0; 6], access::end)
}

/// The address string of a region, in its canonical form; NULL for a bad handle. Valid until the handle is closed.
///
/// Not async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_address(region: *const shmkit_region_t) -> *const c_char {
    look(Call::RegionAddress, region, |region| region.address.c().as_ptr()).unwrap_or(core::ptr::null())
}

/// The descriptor of a region, which stays the library's: do not close it. -1 for System V and a bad handle.
///
/// To pass the region on use shmkit_region_send(): a copy of this descriptor would carry this process's lease with it.
/// It is closed by exec, and a forked child's is another one of the same number.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_fd(region: *const shmkit_region_t) -> c_int {
    look(Call::RegionFd, region, handle::Region::shared_fd).unwrap_or(-1)
}

/// Sends a region over a UNIX socket, as one message; the peer takes it with shmkit_region_recv().
///
/// `access` is SHMKIT_SEND_READ_WRITE or SHMKIT_SEND_READ_ONLY. A process of the same user can open a read-only
/// descriptor again for writing: seal the region (SHMKIT_SEAL_FUTURE_WRITE) where that matters.
/// Errors: SHMKIT_ERR_BAD_DESCRIPTOR (no UNIX socket), SHMKIT_ERR_SYSTEM (errno EPIPE, ECONNRESET, ENOTCONN: nobody is
/// at the other end, or its process died), SHMKIT_ERR_AGAIN (a non-blocking socket is full), SHMKIT_ERR_ACCESS (to
/// write, from a read-only handle), SHMKIT_ERR_INVALID_ARGUMENT (`access`), SHMKIT_ERR_NAME_TOO_LONG (an address of
/// more than 304 bytes), SHMKIT_ERR_UNSUPPORTED (/proc is not mounted), SHMKIT_ERR_BACKEND (System V: send its
/// address).
/// Waits as sendmsg(2) does; never raises SIGPIPE. Not async-signal-safe. As unix(7) SCM_RIGHTS.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_send(region: *mut shmkit_region_t, socket: c_int, access: i32) -> shmkit_status_t {
    let args = [0, socket as u64, access as u64, 0, 0, 0];
    run_on(Call::RegionSend, token_of(region), args, |token| match access {
        SHMKIT_SEND_READ_WRITE => passing::send(token, socket, false),
        SHMKIT_SEND_READ_ONLY => passing::send(token, socket, true),
        _ => Err(Failure::argument("access is none of SHMKIT_SEND_", "use one of those constants")),
    })
}

/// Receives a region that a peer sent. Checks seals, size, header, layout and owner as if it had been opened by name.
///
/// `options` may be NULL. A region that was sent read-only is opened so. On failure the descriptor that came is closed.
/// Errors: SHMKIT_ERR_BAD_DESCRIPTOR (no UNIX socket), SHMKIT_ERR_SYSTEM (errno EPIPE: the peer closed it or died),
/// SHMKIT_ERR_AGAIN (nothing is there, and the socket does not block), SHMKIT_ERR_CORRUPT (what came is no region, came
/// only in part, or is not sealed against shrinking), SHMKIT_ERR_NOT_PERMITTED (sealed: set read_only), and as from
/// shmkit_region_open() SHMKIT_ERR_OWNER, SHMKIT_ERR_LAYOUT, SHMKIT_ERR_PAST_END, SHMKIT_ERR_NOT_A_REGION,
/// SHMKIT_ERR_NOT_AN_OBJECT, SHMKIT_ERR_TIMEOUT.
/// Waits as recvmsg(2) does for the message, and timeout_ns for the rest of one that began. One thread at a time on one
/// socket; not async-signal-safe. The sender's death afterwards changes nothing. As unix(7) SCM_RIGHTS.
///
/// # Safety
/// As for shmkit_region_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_recv(
    socket: c_int,
    options: *const RegionOptions,
    region: *mut *mut shmkit_region_t,
) -> shmkit_status_t {
    run(Call::RegionRecv, Subject::None, [socket as u64, 0, 0, 0, 0, 0], || {
        let out = place(region)?;
        // SAFETY: the caller's promises.
        unsafe {
            let token = with_options(options, |options| passing::receive(socket, options))?;
            out.write(handle_of(token));
        }
        Ok(())
    })
}

/// Seals a memfd: or anon: region, for ever and for all processes: a combination of SHMKIT_SEAL_ constants.
///
/// Errors: SHMKIT_ERR_BUSY (SHMKIT_SEAL_WRITE while anybody has it mapped for writing), SHMKIT_ERR_NOT_PERMITTED
/// (SHMKIT_SEAL_SEAL is set, or the handle is read-only), SHMKIT_ERR_INVALID_ARGUMENT (no seals, or unknown ones),
/// SHMKIT_ERR_BACKEND (other kinds). As fcntl(2) F_ADD_SEALS, memfd_create(2).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_seal(region: *mut shmkit_region_t, seals: u32) -> shmkit_status_t {
    let args = [0, u64::from(seals), 0, 0, 0, 0];
    run_on(Call::RegionSeal, token_of(region), args, |token| access::seal(token, seals as i32))
}

/// Shows who has a region open to `callback`, this handle first. The kernel decides who is there, not a pid.
///
/// A forked child is shown on its own; a peer that died, however it did, is not shown. `callback` may call the library,
/// but must return: no exception, no longjmp. 60 are described by name, more are shown without.
/// Errors: SHMKIT_ERR_BAD_POINTER (no callback), SHMKIT_ERR_BACKEND (a raw region with a descriptor has no leases:
/// after this handle was shown), SHMKIT_ERR_UNSUPPORTED (the file system has no locks), SHMKIT_ERR_TIMEOUT (a collector
/// stands still).
/// Not async-signal-safe. As fcntl(2) F_OFD_GETLK, semctl(2) GETALL.
///
/// # Safety
/// `callback` is a function that returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_participants(
    region: *mut shmkit_region_t,
    callback: ParticipantCallback,
    user: *mut c_void,
) -> shmkit_status_t {
    run_on(Call::RegionParticipants, token_of(region), [0; 6], |token| {
        let Some(callback) = callback else { return Err(Failure::of(Status::ErrBadPointer)) };
        survey::participants(token, &mut |participant: &Participant| {
            let participant = RegionParticipant {
                struct_size: size_of::<RegionParticipant>(),
                process: recorded(&participant.process),
                live: if participant.live { SHMKIT_ANSWER_YES } else { SHMKIT_ANSWER_UNKNOWN },
                own: i32::from(participant.own),
                read_only: i32::from(participant.read_only),
            };
            // SAFETY: the caller's promise on the callback.
            unsafe { callback(&participant, user) == 0 }
        })
    })
}

/// Makes a touch of memory that a peer truncated away give zeros, and an error later, instead of a SIGBUS now.
///
/// Installs a handler of SIGBUS that takes only faults inside regions and passes all others to the handler that was
/// there.
/// For the whole process, and once: call it before threads rely on it. A handler that the program installs later
/// replaces it.
/// Errors: SHMKIT_ERR_BUSY (it was enabled before, and another handler was installed on top of it).
/// Not async-signal-safe. A forked child inherits it; exec ends it. As sigaction(2) SA_SIGINFO, mmap(2) SIGBUS.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_guard_enable() -> shmkit_status_t {
    run(Call::GuardEnable, Subject::None, [0; 6], guard::enable)
}

/// Takes the guard's handler out again; the one that was there before is back.
///
/// Errors: SHMKIT_ERR_BUSY (another handler was installed on top of it, which may call it: take that one out first).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_guard_disable() -> shmkit_status_t {
    run(Call::GuardDisable, Subject::None, [0; 6], guard::disable)
}

#[cold]
#[inline(never)]
unsafe fn copy_in_hindered(
    region: *mut shmkit_region_t,
    offset: usize,
    from: *const c_void,
    length: usize,
) -> shmkit_status_t {
    let done = access::copy(token_of(region), Way::In, offset, from as usize, length, |hot, at| {
        // SAFETY: the caller's promise.
        unsafe { hot.window.copy_in(at, from.cast(), length) }
    });
    match done {
        Ok(()) => Status::Ok as shmkit_status_t,
        Err(failure) => {
            let args = [0, offset as u64, from as u64, length as u64, 0, 0];
            run_on(Call::RegionCopyIn, token_of(region), args, |_| Err(failure))
        }
    }
}

#[cold]
#[inline(never)]
unsafe fn copy_out_hindered(
    region: *const shmkit_region_t,
    offset: usize,
    to: *mut c_void,
    length: usize,
) -> shmkit_status_t {
    let done = access::copy(token_of(region), Way::Out, offset, to as usize, length, |hot, at| {
        // SAFETY: the caller's promise.
        unsafe { hot.window.copy_out(at, to.cast(), length) }
    });
    match done {
        Ok(()) => Status::Ok as shmkit_status_t,
        Err(failure) => {
            let args = [0, offset as u64, to as u64, length as u64, 0, 0];
            run_on(Call::RegionCopyOut, token_of(region), args, |_| Err(failure))
        }
    }
}
