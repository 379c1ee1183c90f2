//! Broadcasts in shared memory: shmkit_broadcast_. Nothing but translation: the hot paths are in `containers/broadcast.rs`.

use core::ffi::{c_int, c_void};

use super::attached::{Handle, area, attach, attached, can_hold, can_hold_or_null, detach, near, notify_fd, slept};
use super::error::shmkit_status_t;
use super::is_plausible;
use super::options::{RegionLayout, layout_of};
use super::outcome::{Subject, place, run};
use super::region::{shmkit_region_t, token_of};
use crate::checks::words::Call;
use crate::containers::broadcast;
use crate::containers::broadcast_end::{self, Member};
use crate::error::Status;
use crate::region::Failure;
use crate::sync::object::Wait;

/// shmkit_broadcast_attach(): sees what comes from now on.
pub const SHMKIT_BROADCAST_FROM_NOW: i32 = 0;
/// shmkit_broadcast_attach(): sees also what is still there of before.
pub const SHMKIT_BROADCAST_FROM_OLDEST: i32 = 1;

/// A member of a broadcast, in the program's own memory, not in the shared one. Its bytes are the library's. One thread at a
/// time uses it; it is not to be copied or moved. A thread of its own has a member of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_broadcast_t {
    bytes: [u8; 256],
}

impl Handle for shmkit_broadcast_t {
    type Inner = Member;
    const SEAL: u64 = 0x6361_7374_5f65_6e64;
    const NONE: (&'static str, &'static str) = (
        "this is no member of a broadcast that is attached, or it was moved",
        "attach it with shmkit_broadcast_attach, and leave it where it is until shmkit_broadcast_detach",
    );
}

/// What is known of a broadcast.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_broadcast_stat_t {
    /// Messages that are kept.
    pub messages: u64,
    /// Bytes of the longest, as it was rounded up.
    pub message_size: u64,
    /// Messages reserved since it was initialised: written, given up, or being written; and places that were passed by because
    /// somebody still wrote there.
    pub written: u64,
    /// Of these, those lost with a writer that died before it had committed them, as far as anybody came by.
    pub lost: u64,
    /// Whether it was closed.
    pub closed: c_int,
}

const OK: shmkit_status_t = Status::Ok as shmkit_status_t;

/// Bytes of memory for a broadcast that keeps the last `messages` messages, rounded up to a power of two, of up to
/// `message_size` bytes; 0: it is too large, or nothing.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_broadcast_size(messages: usize, message_size: usize) -> usize {
    broadcast_end::shape(messages as u64, message_size as u64, &Default::default())
        .map_or(0, |shape| shape.size() as usize)
}

/// Makes a broadcast of `length` bytes of shared memory that nobody uses yet, best in the init callback of a region. `memory` is
/// aligned to 64 bytes. `layout` is that of the messages, or NULL. A reader that falls further behind than `messages` misses
/// some.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (too few bytes, not aligned), SHMKIT_ERR_ACCESS (mapped read-only),
/// SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped; `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_init(
    memory: *mut c_void,
    length: usize,
    messages: usize,
    message_size: usize,
    layout: *const RegionLayout,
) -> shmkit_status_t {
    let args = [memory as u64, length as u64, messages as u64, message_size as u64, 0, 0];
    run(Call::BroadcastInit, Subject::None, args, || {
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        let shape = broadcast_end::shape(messages as u64, message_size as u64, &layout)?;
        broadcast_end::make(area(memory, length)?, &shape)
    })
}

/// Becomes a member of the broadcast in this memory, which is of an open region: by the region's leases the members know
/// which writer died. A member writes and reads. `from` is SHMKIT_BROADCAST_FROM_NOW or _FROM_OLDEST.
///
/// With a `layout` that is not NULL it must have been made for it. Errors: SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_LAYOUT,
/// SHMKIT_ERR_CORRUPT, SHMKIT_ERR_ACCESS, SHMKIT_ERR_LIMIT (60 processes have the region open), SHMKIT_ERR_BACKEND (a raw
/// region), SHMKIT_ERR_UNSUPPORTED (a region without leases), SHMKIT_ERR_INVALID_ARGUMENT (not aligned; the memory of
/// another region), SHMKIT_ERR_BAD_HANDLE, SHMKIT_ERR_BAD_POINTER. The region stays open until shmkit_broadcast_detach(). A
/// forked child is no member.
///
/// # Safety
/// `broadcast` is writable, the memory is mapped, `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_attach(
    broadcast: *mut shmkit_broadcast_t,
    region: *const shmkit_region_t,
    memory: *mut c_void,
    length: usize,
    layout: *const RegionLayout,
    from: c_int,
) -> shmkit_status_t {
    let args = [broadcast as u64, region as u64, memory as u64, length as u64, from as u64, 0];
    run(Call::BroadcastAttach, Subject::None, args, || {
        let broadcast = place(broadcast)?;
        let rewinds = match from {
            SHMKIT_BROADCAST_FROM_NOW => false,
            SHMKIT_BROADCAST_FROM_OLDEST => true,
            _ => {
                return Err(Failure::argument(
                    "from is neither SHMKIT_BROADCAST_FROM_NOW nor SHMKIT_BROADCAST_FROM_OLDEST",
                    "use one of them",
                ));
            }
        };
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        let member = Member::new(token_of(region), area(memory, length)?, &layout, rewinds)?;
        // SAFETY: the place is writable, aligned, and large enough.
        unsafe { attach(broadcast, member) };
        Ok(())
    })
}

/// Ends the membership. What is reserved is given up.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_detach(broadcast: *mut shmkit_broadcast_t) -> shmkit_status_t {
    run(Call::BroadcastDetach, Subject::None, [broadcast as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        unsafe { detach(broadcast, Member::detach) }
    })
}

/// A place for a message of up to `size` bytes: `*data` is where they go, aligned to 16 bytes. Its turn is taken: readers wait
/// for it until shmkit_broadcast_commit() or shmkit_broadcast_abort(), or until this process dies.
///
/// Never waits for readers. Errors: SHMKIT_ERR_CLOSED, SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_BUSY (another one is reserved here, or
/// others have every place of the broadcast reserved), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `broadcast` was attached, `data` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_reserve(
    broadcast: *mut shmkit_broadcast_t,
    size: usize,
    data: *mut *mut c_void,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(broadcast) }
        && can_hold(data)
        && let Ok(at) = member.claim(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(member.area.address(at, size) as *mut c_void) };
        return OK;
    }
    run(Call::BroadcastReserve, Subject::None, [broadcast as u64, size as u64, data as u64, 0, 0, 0], || {
        let data = place(data)?;
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        let at = member.claim(size as u64).map_err(|refused| member.refused(refused, 0))?;
        // SAFETY: the caller's promise.
        unsafe { data.write(member.area.address(at, size) as *mut c_void) };
        Ok(())
    })
}

/// Publishes the first `size` bytes of the reserved message: every reader sees it as a whole, or not at all.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (nothing is reserved), SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_commit(broadcast: *mut shmkit_broadcast_t, size: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(broadcast) }
        && let Ok(slept) = member.core.commit(size as u64)
    {
        member.tell(slept);
        return OK;
    }
    run(Call::BroadcastCommit, Subject::None, [broadcast as u64, size as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        let slept = member.core.commit(size as u64).map_err(|refused| member.refused(refused, 0))?;
        member.tell(slept);
        Ok(())
    })
}

/// Gives up what is reserved: readers pass it by.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_abort(broadcast: *mut shmkit_broadcast_t) -> shmkit_status_t {
    run(Call::BroadcastAbort, Subject::None, [broadcast as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        member.abort().map_err(|refused| member.refused(refused, 0))
    })
}

/// Writes a message of `size` bytes: reserve, copy and commit in one. Never waits; errors as shmkit_broadcast_reserve(). A hot
/// path.
///
/// # Safety
/// `broadcast` was attached, `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_write(
    broadcast: *mut shmkit_broadcast_t,
    data: *const c_void,
    size: usize,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(broadcast) }
        && (can_hold(data.cast::<u8>().cast_mut()) || size == 0)
        && let Ok(at) = member.claim(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { member.area.put_words(at, data, size) };
        // It was claimed just now.
        let slept = member.core.commit(size as u64).unwrap_or(false);
        member.tell(slept);
        return OK;
    }
    run(Call::BroadcastWrite, Subject::None, [broadcast as u64, data as u64, size as u64, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        if size > 0 && !is_plausible(data as usize) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        let at = member.claim(size as u64).map_err(|refused| member.refused(refused, 0))?;
        // SAFETY: the caller's promise.
        unsafe { member.area.put_words(at, data, size) };
        let slept = member.core.commit(size as u64).map_err(|refused| member.refused(refused, 0))?;
        member.tell(slept);
        Ok(())
    })
}

/// Copies the next message into `buffer`, which has room for `room` bytes. `*size` is its length; `*missed` is how many came
/// since the last one and were overwritten before this member read them, those included that were given up; it may be NULL.
///
/// Waits for one for `timeout_ns` nanoseconds: 0 not at all (SHMKIT_ERR_AGAIN, also where writers came round in each of 64
/// copies), SHMKIT_TIMEOUT_FOREVER without end. Errors:
/// SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_CLOSED (nothing is left, and nothing comes), SHMKIT_ERR_TOO_BIG (the buffer is too small,
/// `*size` says what it needs; the message stays next), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path: no system call
/// while there are messages.
///
/// # Safety
/// `broadcast` was attached, `buffer` is writable for `room` bytes, `size` is writable, `missed` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_read(
    broadcast: *mut shmkit_broadcast_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    missed: *mut u64,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(broadcast) }
        && can_hold(size)
        && can_hold_or_null(missed)
        && (can_hold(buffer.cast::<u8>()) || room == 0)
    {
        let area = member.area;
        // SAFETY: the caller's promise; no more than there is room for.
        let mut copy = |at, length: u64| unsafe { area.get_words(at, buffer, length as usize) };
        if let Ok((length, skipped)) = member.core.next(room as u64, &mut copy, &mut |_| false) {
            // SAFETY: the caller's promise.
            unsafe {
                size.write(length as usize);
                if !missed.is_null() {
                    missed.write(skipped);
                }
            }
            return OK;
        }
    }
    let args = [broadcast as u64, buffer as u64, room as u64, size as u64, timeout_ns, 0];
    run(Call::BroadcastRead, Subject::None, args, || {
        let size = place(size)?;
        if room > 0 && !is_plausible(buffer as usize) || !can_hold_or_null(missed) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        let area = member.area;
        // SAFETY: the caller's promise; no more than there is room for.
        let mut copy = |at, length: u64| unsafe { area.get_words(at, buffer, length as usize) };
        let (length, skipped) = member.next(room as u64, Wait::of(timeout_ns), &mut copy).inspect_err(|failure| {
            if failure.status == Status::ErrTooBig {
                // SAFETY: the caller's promise.
                unsafe { size.write(failure.figures.needed as usize) };
            }
        })?;
        // SAFETY: the caller's promise.
        unsafe {
            size.write(length as usize);
            if !missed.is_null() {
                missed.write(skipped);
            }
        }
        Ok(())
    })
}

/// How many messages were written that this member has not read, those included that it has missed by now. 0 for what is no
/// member.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_behind(broadcast: *mut shmkit_broadcast_t) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { near(broadcast) }.map_or(0, |member| member.core.behind())
}

/// Says that nothing is written any more: writers get SHMKIT_ERR_CLOSED, readers what is left, then SHMKIT_ERR_CLOSED.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_close(broadcast: *mut shmkit_broadcast_t) -> shmkit_status_t {
    run(Call::BroadcastClose, Subject::None, [broadcast as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        member.core.close();
        member.tell(true);
        Ok(())
    })
}

/// For an epoll loop, as shmkit_queue_arm().
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_arm(broadcast: *mut shmkit_broadcast_t) -> shmkit_status_t {
    run(Call::BroadcastArm, Subject::None, [broadcast as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        slept(unsafe { attached(broadcast)? }.arm())
    })
}

/// The eventfd(2) on which readers sleep: this member writes to it when it writes and one has armed, and now if one has armed
/// already. Each reader that sleeps
/// so has its own, so a writer for several uses the futex, or one descriptor that all of them read. -1: none (any more).
/// It must have EFD_NONBLOCK (SHMKIT_ERR_INVALID_ARGUMENT): who notifies never waits.
///
/// # Safety
/// `broadcast` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_set_notify_fd(
    broadcast: *mut shmkit_broadcast_t,
    fd: c_int,
) -> shmkit_status_t {
    run(Call::BroadcastNotifyFd, Subject::None, [broadcast as u64, fd as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(broadcast)? };
        member.set_fd(notify_fd(fd)?);
        Ok(())
    })
}

/// What is known of the broadcast in this memory, for members and others. Changes nothing.
///
/// Errors: SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_INVALID_ARGUMENT, SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped, `stat` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_broadcast_stat(
    memory: *const c_void,
    length: usize,
    stat: *mut shmkit_broadcast_stat_t,
) -> shmkit_status_t {
    run(Call::BroadcastStat, Subject::None, [memory as u64, length as u64, stat as u64, 0, 0, 0], || {
        let stat = place(stat)?;
        let area = area(memory, length)?;
        let shape = broadcast_end::found(area)?;
        let (written, lost, closed) = broadcast::counts(area);
        // SAFETY: the caller's promise.
        unsafe {
            stat.write(shmkit_broadcast_stat_t {
                messages: shape.cells,
                message_size: shape.longest(),
                written,
                lost,
                closed: closed.into(),
            });
        }
        Ok(())
    })
}
