//! C ABI of `region/survey.rs`: orphans, the list of all objects, collection; and names. Translation only.

use core::ffi::{c_char, c_int, c_void};

use super::error::shmkit_status_t;
use super::outcome::{Subject, address, place, run};
use super::region::{RecordedProcess, layout_name, recorded};
use crate::checks::words::Call;
use crate::error::Status;
use crate::region::header::{self, Process};
use crate::region::survey::{self, Object, Which};
use crate::region::{Failure, access};

/// shmkit_object_t.orphan, shmkit_region_is_orphan(): somebody has it open.
pub const SHMKIT_ANSWER_NO: i32 = 0;
/// shmkit_object_t.orphan, shmkit_region_is_orphan(): it is proved that nobody has it open.
/// shmkit_participant_t.live: it is proved that the participant has it open now.
pub const SHMKIT_ANSWER_YES: i32 = 1;
/// shmkit_object_t.orphan, shmkit_region_is_orphan(), shmkit_participant_t.live: it cannot be proved either way: other
/// software made the object, its file system has no locks, or /proc is hidden.
pub const SHMKIT_ANSWER_UNKNOWN: i32 = 2;
/// shmkit_list(): POSIX shared memory objects, which are what is in /dev/shm (a file: region there is shown as one).
pub const SHMKIT_LIST_POSIX: u32 = 1;
/// shmkit_list(): System V segments.
pub const SHMKIT_LIST_SYSV: u32 = 2;
/// shmkit_list(): what processes have mapped, as far as /proc shows: memfds, files, anonymous shared memory, objects
/// whose name is gone.
pub const SHMKIT_LIST_MAPPED: u32 = 4;
/// shmkit_list(): all of these.
pub const SHMKIT_LIST_ALL: u32 = 7;
/// shmkit_gc(): shows and counts what would be removed, and removes nothing.
pub const SHMKIT_GC_DRY_RUN: i32 = 0;
/// shmkit_gc(): removes it.
pub const SHMKIT_GC_REMOVE: i32 = 1;
/// shmkit_object_t.content: no header of this library: other software made it, or it is a raw region.
pub const SHMKIT_CONTENT_FOREIGN: u32 = 0;
/// shmkit_object_t.content: a region.
pub const SHMKIT_CONTENT_REGION: u32 = 1;
/// shmkit_object_t.content: what a process that died while it created a region left behind; shmkit_gc() removes it.
pub const SHMKIT_CONTENT_LEFTOVER: u32 = 2;
/// shmkit_object_t.content: its bytes were not looked at: it is seen only as mapped by processes (a memfd, a file,
/// anonymous memory, an object whose name is gone), or this user may not open it.
pub const SHMKIT_CONTENT_UNKNOWN: u32 = 3;

/// One object of this machine, for the callback of shmkit_list() and shmkit_gc().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ListedObject {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Its address string; valid during the call.
    pub address: *const c_char,
    /// One of SHMKIT_BACKEND_; 0 for semaphores that were left without their segment.
    pub backend: u32,
    /// What it holds: one of SHMKIT_CONTENT_.
    pub content: u32,
    /// Bytes of the object; of the mapping, where only that can be seen.
    pub size: u64,
    /// Bytes of memory, or of the device, that it has reserved.
    pub reserved: u64,
    /// Its device; 0 for System V.
    pub device: u64,
    /// Its inode; the segment's id for System V.
    pub inode: u64,
    /// How many use it: leases of a region, attaches of a segment, processes that map another object. UINT64_MAX when
    /// it cannot be told.
    pub users: u64,
    /// Who created it, when its header says so; zeros otherwise.
    pub creator: RecordedProcess,
    /// When it was created, in nanoseconds since the epoch; 0 when it is not known.
    pub created_ns: u64,
    /// The type that it holds, terminated; empty when it is not known.
    pub layout_name: [c_char; 48],
    /// The version of the type that it holds.
    pub layout_version: u32,
    /// The user who owns it.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether nobody uses it: SHMKIT_ANSWER_YES (proved), SHMKIT_ANSWER_NO or SHMKIT_ANSWER_UNKNOWN.
    pub orphan: i32,
    /// 1: its name is gone, and its memory lives as long as its users.
    pub unlinked: i32,
    /// 1: it was created as persistent: shmkit_gc() leaves it alone.
    pub persistent: i32,
    /// One process that has it mapped, or that made it; 0 when none can be seen.
    pub pid: u32,
}

/// Gets one object; returns 0 to go on, anything else to stop. The struct is valid during the call.
pub type ListCallback = Option<unsafe extern "C" fn(object: *const ListedObject, user: *mut c_void) -> c_int>;

fn listed(object: &Object) -> ListedObject {
    let header = object.header.unwrap_or_default();
    ListedObject {
        struct_size: size_of::<ListedObject>(),
        address: object.address.c().as_ptr(),
        backend: object.backend.map_or(0, |backend| backend as u32),
        content: object.content as u32,
        size: object.size,
        reserved: object.reserved,
        device: object.dev,
        inode: object.ino,
        users: object.users.unwrap_or(u64::MAX),
        creator: recorded(&object.header.map_or(Process::default(), |header| header.creator)),
        created_ns: header.created,
        layout_name: layout_name(&header.layout),
        layout_version: header.layout.version,
        uid: object.uid,
        gid: object.gid,
        mode: object.mode,
        orphan: object.orphan as i32,
        unlinked: i32::from(object.unlinked),
        persistent: i32::from(header.flags & header::PERSISTENT != 0),
        pid: object.pid,
    }
}

/// Tells whether nobody has the region of this address open: one of SHMKIT_ANSWER_.
///
/// The kernel proves it, by locks and counts that it drops at a process's death; where nothing proves it (an object of
/// other software, a file system without locks) the answer is SHMKIT_ANSWER_UNKNOWN. It may change as soon as it is
/// given: shmkit_gc() decides and removes in one.
/// Errors: SHMKIT_ERR_NOT_FOUND, SHMKIT_ERR_ACCESS, SHMKIT_ERR_NOT_AN_OBJECT, SHMKIT_ERR_BACKEND (memfd: and anon: have
/// no name).
/// Not async-signal-safe.
///
/// # Safety
/// `address` is null or a terminated string; `answer` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_region_is_orphan(address: *const c_char, answer: *mut i32) -> shmkit_status_t {
    // SAFETY: the caller's promises.
    unsafe {
        let subject = self::address(address);
        run(Call::RegionIsOrphan, subject, [0; 6], || {
            let answer = place(answer)?;
            answer.write(survey::is_orphan(subject.get()?)? as i32);
            Ok(())
        })
    }
}

/// Removes the name of the region that an address leads to now. Its memory lives until the last process closes it.
///
/// Errors: SHMKIT_ERR_NOT_FOUND, SHMKIT_ERR_NOT_A_REGION (an object without a region's header is left alone:
/// shmkit_shm_unlink() and shmctl() remove those), SHMKIT_ERR_NOT_AN_OBJECT, SHMKIT_ERR_ACCESS and
/// SHMKIT_ERR_NOT_PERMITTED (another user's), SHMKIT_ERR_REMOVED (another process removed it meanwhile),
/// SHMKIT_ERR_TIMEOUT (one is about to, and stands still), SHMKIT_ERR_NO_MEMORY (a System V segment cannot be looked
/// into), SHMKIT_ERR_BACKEND (memfd: and anon: have no name). Not async-signal-safe. As shm_unlink(3), unlink(2),
/// shmctl(2) IPC_RMID.
///
/// # Safety
/// `address` is null or a terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_unlink(address: *const c_char) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    unsafe {
        let subject = self::address(address);
        run(Call::Unlink, subject, [0; 6], || access::unlink_address(subject.get()?))
    }
}

/// Shows every shared memory object of this machine to `callback`, in time linear in their number.
///
/// `what` combines SHMKIT_LIST_ constants. What this user may not look at is shown with what can be seen from outside.
/// Objects come and go meanwhile. `callback` may call the library, but must return: no exception, no longjmp.
/// Errors: SHMKIT_ERR_BAD_POINTER (no callback), SHMKIT_ERR_INVALID_ARGUMENT (`what`), SHMKIT_ERR_NO_MEMORY,
/// SHMKIT_ERR_ACCESS (to /dev/shm). Not async-signal-safe. As shm_overview(7), shmctl(2) SHM_STAT_ANY, proc(5)
/// /proc/PID/maps.
///
/// # Safety
/// `callback` is a function that returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_list(what: u32, callback: ListCallback, user: *mut c_void) -> shmkit_status_t {
    run(Call::List, Subject::None, [u64::from(what), 0, 0, 0, 0, 0], || {
        let Some(callback) = callback else { return Err(Failure::of(Status::ErrBadPointer)) };
        if what == 0 || what & !SHMKIT_LIST_ALL != 0 {
            return Err(Failure::argument("what is no combination of SHMKIT_LIST_", "use SHMKIT_LIST_ALL"));
        }
        let which = Which {
            posix: what & SHMKIT_LIST_POSIX != 0,
            sysv: what & SHMKIT_LIST_SYSV != 0,
            mapped: what & SHMKIT_LIST_MAPPED != 0,
        };
        // SAFETY: the caller's promise on the callback.
        survey::list(which, &mut |object| unsafe { callback(&listed(object), user) == 0 })
    })
}

/// Finds what dead processes left: regions that nobody has open, and what creators that died had begun; removes it, if
/// asked.
///
/// `mode` is SHMKIT_GC_DRY_RUN or SHMKIT_GC_REMOVE. `callback`, which may be NULL, is shown each; `count`, which may be
/// NULL, gets the number. Only what the kernel proves to be unused goes, with every opener locked out while it is
/// decided. Regions that were created as persistent, file: regions, objects of other software and of other users
/// (unless root asks) stay.
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (`mode`), SHMKIT_ERR_ACCESS (to /dev/shm). What cannot be removed is passed
/// over.
/// Not async-signal-safe. Several processes may collect at once. If this one dies on the way, what it had decided is
/// removed, and the rest is not.
///
/// # Safety
/// `callback` is null or a function that returns; `count` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_gc(
    mode: i32,
    callback: ListCallback,
    user: *mut c_void,
    count: *mut usize,
) -> shmkit_status_t {
    run(Call::Gc, Subject::None, [mode as u64, 0, 0, 0, 0, 0], || {
        let remove = match mode {
            SHMKIT_GC_DRY_RUN => false,
            SHMKIT_GC_REMOVE => true,
            _ => return Err(Failure::argument("mode is none of SHMKIT_GC_", "begin with SHMKIT_GC_DRY_RUN")),
        };
        if !count.is_null() {
            place(count)?;
        }
        // SAFETY: the caller's promise on the callback.
        let mut each = |object: &Object| callback.is_none_or(|call| unsafe { call(&listed(object), user) == 0 });
        let found = survey::collect(remove, &mut each)?;
        if !count.is_null() {
            // SAFETY: the caller's promise.
            unsafe { count.write(found as usize) };
        }
        Ok(())
    })
}
