//! C ABI of `region/`: regions by handle. Translation only; `options.rs` translates what a program asks for.

use core::ffi::{c_char, c_int, c_void};

use super::error::shmkit_status_t;
use super::options::{RegionOptions, with_options};
use super::survey::{SHMKIT_ANSWER_UNKNOWN, SHMKIT_ANSWER_YES};
use super::{Subject, address, place, run, run_on};
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

/// The `length` of shmkit_region_sync(), _protect(), _advise(), _lock_memory() and _unlock_memory(): from `offset` to the
/// end of the data. (Length 0 is an empty range, with which there is nothing to do.)
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
/// shmkit_region_seal(), shmkit_region_stat_t.seals: nobody may write (F_SEAL_WRITE); refused with SHMKIT_ERR_BUSY while
/// any process has it mapped for writing, as every handle that is not read-only has.
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

/// What is known of a region.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionStat {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Bytes of data now.
    pub size: u64,
    /// The most that it may grow to, in bytes.
    pub max_size: u64,
    /// How often it grew.
    pub generation: u64,
    /// Bytes of the object, header and all.
    pub object_size: u64,
    /// Bytes that it has reserved.
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
    /// sizeof that type.
    pub layout_size: u64,
    /// Its version.
    pub layout_version: u32,
    /// Its alignment.
    pub layout_alignment: u32,
    /// Device and inode; 0 and the segment's id for System V.
    pub device: u64,
    /// See device.
    pub inode: u64,
    /// Names of the object; 0 when it was unlinked, or never had one.
    pub links: u64,
    /// One of SHMKIT_BACKEND_.
    pub backend: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seals, as F_GET_SEALS gives them; 0 where there are none.
    pub seals: u32,
    /// 1: open for reading only.
    pub read_only: i32,
    /// 1: without a header.
    pub raw: i32,
    /// 1: shmkit_gc() leaves it alone.
    pub persistent: i32,
    /// 1: the kernel does not rule out that a peer truncates it: see shmkit_guard_enable().
    pub fragile: i32,
}

/// One who has a region open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionParticipant {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Who; the pid is 0 when nothing is recorded (a reader, or other software).
    pub process: RecordedProcess,
    /// SHMKIT_ANSWER_YES: the kernel proves that it has the region open now. SHMKIT_ANSWER_UNKNOWN: it took a lease, and
    /// cannot be looked at.
    pub live: i32,
    /// 1: it is this very handle.
    pub own: i32,
    /// 1: it reads only.
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

fn token_of(region: *const shmkit_region_t) -> u64 {
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
/// The region is born complete: nobody sees it before it has its size, its space, its mode and what `init` put there.
/// `address` is one of posix:/name, sysv:0xKEY, sysv:ftok(PATH,ID), file:PATH, memfd:LABEL, anon:. Sets `*region`
/// only on success. Errors: NO_SPACE (with needed and free bytes), EXISTS, ACCESS, CALLBACK, TIMEOUT, LIMIT and others.
/// Thread-safe; not async-signal-safe. If the process dies on the way, nothing is visible, and whoever creates the
/// same name next takes over. After a fork, parent and child each have a lease of their own.
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
/// Validates owner, mode, header, layout and size before anything is mapped; `options` may be NULL. Waits for a System V
/// region's creator that is still at work. Errors: NOT_FOUND, LAYOUT, CORRUPT, NOT_A_REGION (open it raw), OWNER,
/// NOT_AN_OBJECT (a symbolic link, a pipe), PAST_END (smaller than asked for), UNFINISHED, ACCESS. Sets `*region` only on
/// success. Thread-safe; not async-signal-safe. A peer's death changes nothing for this handle.
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
/// `created`, which may be NULL, tells whether this call made it. Otherwise as shmkit_region_create() and
/// shmkit_region_open(). Takes over from a creator that died.
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

/// Detaches from a region: unmaps it and gives the lease back. Never removes its name. NULL is nothing to do.
///
/// The handle is stale afterwards, and every call with it says so. Another thread must not touch the data any more, nor be
/// in shmkit_region_copy_in(), _copy_out() or _size(), as with munmap(); its other calls on the handle come to their end
/// first. In a forked child it ends the child's lease alone. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_close(region: *mut shmkit_region_t) -> shmkit_status_t {
    if region.is_null() {
        return Status::Ok as shmkit_status_t;
    }
    run_on(Call::RegionClose, token_of(region), [0; 6], handle::close)
}

/// Removes a region's name, if it still leads to this very object; otherwise fails with SHMKIT_ERR_REMOVED.
///
/// The memory lives until the last process closes it. memfd: and anon: have no name: SHMKIT_ERR_BACKEND. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_unlink(region: *mut shmkit_region_t) -> shmkit_status_t {
    run_on(Call::RegionUnlink, token_of(region), [0; 6], access::unlink)
}

/// The address of the data, on a page boundary; NULL for a bad handle. It never moves while the handle is open.
///
/// A hot path: no system call. Thread-safe; async-signal-safe.
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

/// Bytes of data, as large as any process has made it; 0 for a bad handle.
///
/// A hot path: no system call, unless the region is one that a peer may truncate and the guard is off. Thread-safe;
/// async-signal-safe.
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

/// Makes a region larger, up to max_size, for all processes at once. Nothing moves. A smaller size is nothing to do.
///
/// The space is reserved first: what does not fit is SHMKIT_ERR_NO_SPACE with needed and free bytes, and the region stays
/// as it was. If the process dies on the way, the size stays as it was. System V and raw regions: SHMKIT_ERR_BACKEND.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_grow(region: *mut shmkit_region_t, new_size: u64) -> shmkit_status_t {
    run_on(Call::RegionGrow, token_of(region), [0, new_size, 0, 0, 0, 0], |token| access::grow(token, new_size))
}

/// Writes a range of a file: region back to its device, as far as `level` says. Length 0 means to the end.
///
/// Other kinds are memory: SHMKIT_ERR_BACKEND. As msync(2) and fsync(2). Thread-safe.
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

/// Changes the protection of whole pages of the data for this process: PROT_NONE, PROT_READ, PROT_READ|PROT_WRITE.
///
/// `offset` is a multiple of the page size; length 0 means to the end. As mprotect(2). Thread-safe.
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

/// Tells the kernel how the data will be used: MADV_NORMAL, RANDOM, SEQUENTIAL, WILLNEED, DONTNEED, DONTFORK, DOFORK,
/// HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP, COLD, PAGEOUT, POPULATE_READ, POPULATE_WRITE, COLLAPSE. None that loses data.
///
/// `offset` is a multiple of the page size; length 0 means to the end. As madvise(2). Thread-safe.
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
/// `offset` is a multiple of the page size; length 0 means to the end. Not inherited by a fork. As mlock(2). Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_lock_memory(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, 0, 0, 0];
    run_on(Call::RegionLock, token_of(region), args, |token| access::lock_memory(token, offset, length, true))
}

/// Lets data be paged out again. As munlock(2). Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_unlock_memory(
    region: *mut shmkit_region_t,
    offset: usize,
    length: usize,
) -> shmkit_status_t {
    let args = [0, offset as u64, length as u64, 0, 0, 0];
    run_on(Call::RegionUnlock, token_of(region), args, |token| access::lock_memory(token, offset, length, false))
}

/// What is known of a region: sizes, layout, creator, owner, seals. Begin with SHMKIT_REGION_STAT_INIT. Thread-safe.
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

/// Copies `length` bytes into a region at `offset`, as memcpy does, but never into a signal.
///
/// A range outside the data is SHMKIT_ERR_PAST_END; a truncation by a peer is SHMKIT_ERR_TRUNCATED, and the region stays
/// poisoned: part of the bytes may have gone. A hot path: no system call when the kernel rules truncation out (memfd:,
/// anon:, sysv:) or the guard is on; otherwise the kernel copies. Gives no order to other threads and processes.
/// Thread-safe; async-signal-safe.
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

/// Copies `length` bytes out of a region from `offset`; otherwise as shmkit_region_copy_in().
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

/// Begins a scope in which the program touches the data by pointer: gives its address and size.
///
/// Where a peer may truncate the region this needs shmkit_guard_enable(), and says so otherwise. Scopes may overlap
/// and nest. Thread-safe.
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

/// Ends such a scope: SHMKIT_ERR_TRUNCATED when the memory went away meanwhile, and what was read is not to be believed.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_access_end(region: *mut shmkit_region_t) -> shmkit_status_t {
    run_on(Call::RegionAccessEnd, token_of(region), [0; 6], access::end)
}

/// The address string of a region, in its canonical form; NULL for a bad handle. Valid until the handle is closed.
///
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_address(region: *const shmkit_region_t) -> *const c_char {
    look(Call::RegionAddress, region, |region| region.address.c().as_ptr()).unwrap_or(core::ptr::null())
}

/// The descriptor of a region, which stays the library's: do not close it. -1 for System V and a bad handle.
///
/// To pass the region on use shmkit_region_send(): a copy of this descriptor would carry this process's lease with it.
/// Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_fd(region: *const shmkit_region_t) -> c_int {
    look(Call::RegionFd, region, handle::Region::shared_fd).unwrap_or(-1)
}

/// Sends a region over a UNIX socket, as one message; the peer takes it with shmkit_region_recv().
///
/// `access` is SHMKIT_SEND_READ_WRITE or SHMKIT_SEND_READ_ONLY. A process of the same user can open a read-only descriptor
/// again for writing: seal the region (SHMKIT_SEAL_FUTURE_WRITE) where that matters. System V: SHMKIT_ERR_BACKEND. Waits
/// as sendmsg(2) does; never raises SIGPIPE. Thread-safe.
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
/// `options` may be NULL. Sets `*region` only on success; on failure the descriptor that came is closed. Waits as
/// recvmsg(2) does. Thread-safe; one thread at a time on one socket.
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

/// Seals a memfd: or anon: region, for ever: a combination of SHMKIT_SEAL_ constants. As F_ADD_SEALS. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_region_seal(region: *mut shmkit_region_t, seals: u32) -> shmkit_status_t {
    let args = [0, u64::from(seals), 0, 0, 0, 0];
    run_on(Call::RegionSeal, token_of(region), args, |token| access::seal(token, seals as i32))
}

/// Shows who has a region open to `callback`: this handle first. The kernel decides who is there, not a pid.
///
/// A raw region with a descriptor has no leases: SHMKIT_ERR_BACKEND after this handle was shown. Thread-safe.
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

/// Asks that a touch of memory which a peer truncated away gives zeros and an error later, instead of SIGBUS now.
///
/// Installs a handler of SIGBUS that takes only faults inside regions and passes all others to the handler that was there.
/// For the whole process; call it once, before threads rely on it. A handler that the program installs later replaces it.
/// Thread-safe; not async-signal-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_guard_enable() -> shmkit_status_t {
    run(Call::GuardEnable, Subject::None, [0; 6], guard::enable)
}

/// Takes the handler out again; SHMKIT_ERR_BUSY when another one was installed on top of it, which may call it. Thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_guard_disable() -> shmkit_status_t {
    run(Call::GuardDisable, Subject::None, [0; 6], guard::disable)
}
