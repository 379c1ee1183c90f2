//! Queues in shared memory: shmkit_queue_. Nothing but translation: the hot paths are in `containers/queue.rs`, and are tried
//! first; what they cannot do is a failure, or waits, in `containers/queue_end.rs`.

use core::ffi::{c_int, c_void};

use super::attached::{Handle, area, attach, attached, can_hold, detach, near, notify_fd, slept};
use super::error::shmkit_status_t;
use super::is_plausible;
use super::options::{RegionLayout, layout_of};
use super::outcome::{Subject, place, run};
use super::region::{shmkit_region_t, token_of};
use crate::checks::words::Call;
use crate::containers::queue::{Delivery, Overflow, Shape};
use crate::containers::queue_end::{self, Member};
use crate::error::Status;
use crate::region::{Failure, Outcome};
use crate::sync::object::Wait;

/// shmkit_queue_options_t.overflow: who sends waits for room, as long as the call may (the default).
pub const SHMKIT_OVERFLOW_BLOCK: i32 = 0;
/// shmkit_queue_options_t.overflow: a message for which there is no room is SHMKIT_ERR_AGAIN at once, and counted.
pub const SHMKIT_OVERFLOW_REFUSE: i32 = 1;
/// shmkit_queue_options_t.overflow: shmkit_queue_send() drops a message for which there is no room, counts it, and succeeds;
/// shmkit_queue_reserve() counts it, and is SHMKIT_ERR_AGAIN.
pub const SHMKIT_OVERFLOW_DROP: i32 = 2;
/// shmkit_queue_options_t.delivery: what a dead consumer had taken and not released is another one's (the default). It may
/// come after messages that were sent later.
pub const SHMKIT_DELIVERY_AT_LEAST_ONCE: i32 = 0;
/// shmkit_queue_options_t.delivery: it is lost, and counted.
pub const SHMKIT_DELIVERY_AT_MOST_ONCE: i32 = 1;

/// A member of a queue, in the program's own memory, not in the shared one. Its bytes are the library's. One thread at a
/// time uses it; it is not to be copied or moved. A thread of its own has a member of its own.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_queue_t {
    bytes: [u8; 256],
}

impl Handle for shmkit_queue_t {
    type Inner = Member;
    const SEAL: u64 = 0x7175_6575_655f_656e;
    const NONE: (&'static str, &'static str) = (
        "this is no member of a queue that is attached, or it was moved",
        "attach it with shmkit_queue_attach, and leave it where it is until shmkit_queue_detach",
    );
}

/// What a queue is made as: SHMKIT_QUEUE_OPTIONS_INIT first, then what differs.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_queue_options_t {
    /// sizeof of this struct, so that it can grow.
    pub struct_size: usize,
    /// How many messages it holds; rounded up to a power of two.
    pub messages: u64,
    /// Bytes of the longest message. Rounded up: a cell, which has 16 bytes besides, is a multiple of 64.
    pub message_size: u64,
    /// The type of the messages; without a name any.
    pub layout: RegionLayout,
    /// What becomes of a message too many: SHMKIT_OVERFLOW_BLOCK, _REFUSE or _DROP.
    pub overflow: c_int,
    /// What becomes of a message whose consumer died: SHMKIT_DELIVERY_AT_LEAST_ONCE or _AT_MOST_ONCE.
    pub delivery: c_int,
}

/// What is known of a queue.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_queue_stat_t {
    /// Messages that it can hold.
    pub messages: u64,
    /// Bytes of the longest, as it was rounded up.
    pub message_size: u64,
    /// Messages that are in it, those included that are being written.
    pub depth: u64,
    /// Messages reserved since it was initialised: sent, given up, or being written.
    pub sent: u64,
    /// Of these, those that consumers have come by: taken, or passed by because they were given up.
    pub taken: u64,
    /// Messages for which there was no room, where the policy does not wait.
    pub dropped: u64,
    /// Messages lost with a dead producer that had not committed them, or by policy with a dead consumer.
    pub lost: u64,
    /// Messages of dead consumers that were given to others.
    pub again: u64,
    /// SHMKIT_OVERFLOW_.
    pub overflow: c_int,
    /// SHMKIT_DELIVERY_.
    pub delivery: c_int,
    /// Whether it was closed.
    pub closed: c_int,
}

const OK: shmkit_status_t = Status::Ok as shmkit_status_t;

/// The shape that options ask for.
///
/// # Safety
/// `options` is null, or cannot be an address, or leads to options whose layout is good.
unsafe fn shape(options: *const shmkit_queue_options_t) -> Outcome<Shape> {
    // SAFETY: the caller's promise.
    let options = unsafe { place(options.cast_mut())?.read() };
    if options.struct_size != size_of::<shmkit_queue_options_t>() {
        return Err(Failure::argument("the options have another size", "begin with SHMKIT_QUEUE_OPTIONS_INIT"));
    }
    let overflow = match options.overflow {
        SHMKIT_OVERFLOW_BLOCK => Overflow::Block,
        SHMKIT_OVERFLOW_REFUSE => Overflow::Refuse,
        SHMKIT_OVERFLOW_DROP => Overflow::Drop,
        _ => return Err(Failure::argument("overflow is none of SHMKIT_OVERFLOW_", "use one of them")),
    };
    let delivery = match options.delivery {
        SHMKIT_DELIVERY_AT_LEAST_ONCE => Delivery::Again,
        SHMKIT_DELIVERY_AT_MOST_ONCE => Delivery::Once,
        _ => return Err(Failure::argument("delivery is none of SHMKIT_DELIVERY_", "use one of them")),
    };
    // SAFETY: the caller's promise.
    let layout = unsafe { layout_of(&options.layout)? };
    queue_end::shape(options.messages, options.message_size, &layout, overflow, delivery)
}

/// Bytes of memory for a queue of these options; 0 when they are not valid (shmkit_last_error() says why).
///
/// # Safety
/// `options` leads to options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_size(options: *const shmkit_queue_options_t) -> usize {
    let mut size = 0;
    run(Call::QueueSize, Subject::None, [options as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        size = unsafe { shape(options)? }.size() as usize;
        Ok(())
    });
    size
}

/// Makes a queue of `length` bytes of shared memory that nobody uses yet, best in the init callback of a region. `memory` is
/// aligned to 64 bytes.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (too few bytes, not aligned, options), SHMKIT_ERR_ACCESS (mapped read-only),
/// SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped, `options` leads to options.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_init(
    memory: *mut c_void,
    length: usize,
    options: *const shmkit_queue_options_t,
) -> shmkit_status_t {
    run(Call::QueueInit, Subject::None, [memory as u64, length as u64, options as u64, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let shape = unsafe { shape(options)? };
        queue_end::make(area(memory, length)?, &shape)
    })
}

/// Becomes a member of the queue in this memory, which is of an open region: by the region's leases the members know who of
/// them died. A member sends and takes, one message of each at a time.
///
/// With a `layout` that is not NULL the queue must have been made for it. Errors: SHMKIT_ERR_UNINITIALISED,
/// SHMKIT_ERR_LAYOUT, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_ACCESS, SHMKIT_ERR_LIMIT (60 processes have the region open),
/// SHMKIT_ERR_BACKEND (a raw region), SHMKIT_ERR_UNSUPPORTED (a region without leases), SHMKIT_ERR_INVALID_ARGUMENT (not
/// aligned; the memory of another region), SHMKIT_ERR_BAD_HANDLE, SHMKIT_ERR_BAD_POINTER. The region stays open until
/// shmkit_queue_detach(). A forked child is no member; nor is the program after an exec(3), before which one detaches: what
/// it had in hand is a dead one's, but in a System V region not before the process ends, and in any other not while the new
/// program has the region open and is no member.
///
/// # Safety
/// `queue` is writable, the memory is mapped, `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_attach(
    queue: *mut shmkit_queue_t,
    region: *const shmkit_region_t,
    memory: *mut c_void,
    length: usize,
    layout: *const RegionLayout,
) -> shmkit_status_t {
    let args = [queue as u64, region as u64, memory as u64, length as u64, 0, 0];
    run(Call::QueueAttach, Subject::None, args, || {
        let queue = place(queue)?;
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        let member = Member::new(token_of(region), area(memory, length)?, &layout)?;
        // SAFETY: the place is writable, aligned, and large enough.
        unsafe { attach(queue, member) };
        Ok(())
    })
}

/// Ends the membership. What is reserved is given up; what is taken and not released is as a dead consumer's.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_detach(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    run(Call::QueueDetach, Subject::None, [queue as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        unsafe { detach(queue, Member::detach) }
    })
}

/// Room for a message of up to `size` bytes, in place: `*data` is where they go, aligned to 16 bytes. Its turn is taken: who
/// takes messages waits for it until shmkit_queue_commit() or shmkit_queue_abort(), or until this process dies.
///
/// Waits for room for `timeout_ns` nanoseconds where the queue's policy is to wait: 0 not at all (SHMKIT_ERR_AGAIN),
/// SHMKIT_TIMEOUT_FOREVER without end. Errors: SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_CLOSED, SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_CORRUPT,
/// SHMKIT_ERR_BUSY (another one is reserved here), SHMKIT_ERR_BAD_HANDLE. A hot path: no system call while there is room.
///
/// # Safety
/// `queue` was attached, `data` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_reserve(
    queue: *mut shmkit_queue_t,
    size: usize,
    data: *mut *mut c_void,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && can_hold(data)
        && size as u64 <= member.longest()
        && let Some(at) = member.queue.claim_near()
        && member.area.holds(at, size)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(member.area.address(at, size) as *mut c_void) };
        return OK;
    }
    // SAFETY: the caller's promise.
    unsafe { reserve_slowly(queue, size, data, timeout_ns) }
}

/// # Safety
/// As for shmkit_queue_reserve().
#[cold]
#[inline(never)]
unsafe extern "C" fn reserve_slowly(
    queue: *mut shmkit_queue_t,
    size: usize,
    data: *mut *mut c_void,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && can_hold(data)
        && let Some(at) = member.claim_soon(size as u64, wait)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(member.area.address(at, size) as *mut c_void) };
        return OK;
    }
    run(Call::QueueReserve, Subject::None, [queue as u64, size as u64, data as u64, timeout_ns, 0, 0], || {
        let data = place(data)?;
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        let at = member.claim_asleep(size as u64, wait)?;
        // SAFETY: the caller's promise.
        unsafe { data.write(member.area.address(at, size) as *mut c_void) };
        Ok(())
    })
}

/// Publishes the first `size` bytes of the reserved message. It is there for a consumer as a whole, or not at all.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (nothing is reserved), SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_commit(queue: *mut shmkit_queue_t, size: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && let Some(awaited) = member.queue.commit_near(size as u64)
    {
        return if awaited { wake_consumers(member) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { commit_slowly(queue, size) }
}

#[cold]
#[inline(never)]
extern "C" fn wake_consumers(member: &Member) -> shmkit_status_t {
    member.wake_consumers();
    OK
}

#[cold]
#[inline(never)]
extern "C" fn wake_producers(member: &Member) -> shmkit_status_t {
    member.wake_producers();
    OK
}

/// # Safety
/// As for shmkit_queue_commit().
#[cold]
#[inline(never)]
unsafe extern "C" fn commit_slowly(queue: *mut shmkit_queue_t, size: usize) -> shmkit_status_t {
    run(Call::QueueCommit, Subject::None, [queue as u64, size as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        let slept = member.queue.commit(size as u64).map_err(|refused| member.refused(refused, size as u64))?;
        member.tell(slept);
        Ok(())
    })
}

/// Gives up what is reserved: consumers pass it by.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_abort(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    run(Call::QueueAbort, Subject::None, [queue as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        let slept = member.queue.abort().map_err(|refused| member.refused(refused, 0))?;
        member.tell(slept);
        Ok(())
    })
}

/// Sends a message of `size` bytes: reserve, copy and commit in one. Waits as shmkit_queue_reserve() does, and has its
/// errors. A hot path.
///
/// # Safety
/// `queue` was attached, `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_send(
    queue: *mut shmkit_queue_t,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && (can_hold(data.cast::<u8>().cast_mut()) || size == 0)
        && size as u64 <= member.longest()
        && let Some(at) = member.queue.claim_near()
        && member.area.holds(at, size)
    {
        // SAFETY: the caller's promise.
        unsafe { member.area.copy_in(at, data, size) };
        // It was claimed just now.
        let awaited = member.queue.commit_near(size as u64).unwrap_or(false);
        return if awaited { wake_consumers(member) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { send_slowly(queue, data, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_queue_send().
#[cold]
#[inline(never)]
unsafe extern "C" fn send_slowly(
    queue: *mut shmkit_queue_t,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    run(Call::QueueSend, Subject::None, [queue as u64, data as u64, size as u64, timeout_ns, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        if size > 0 && !is_plausible(data as usize) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        let at = match member.claim(size as u64, Wait::of(timeout_ns)) {
            Err(failure) if failure.status == Status::ErrAgain && member.drops() => return Ok(()),
            claimed => claimed?,
        };
        // SAFETY: the caller's promise.
        unsafe { member.area.copy_in(at, data, size) };
        let slept = member.queue.commit(size as u64).map_err(|refused| member.refused(refused, size as u64))?;
        member.tell(slept);
        Ok(())
    })
}

/// Takes the oldest message in place: `*data` and `*size`. It is this member's until shmkit_queue_release(); when this process
/// dies before that, the queue's policy says what becomes of it.
///
/// Waits for one for `timeout_ns` nanoseconds: 0 not at all (SHMKIT_ERR_AGAIN), SHMKIT_TIMEOUT_FOREVER without end. Errors:
/// SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_CLOSED (nothing is left, and nothing comes), SHMKIT_ERR_BUSY (another one is taken here),
/// SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path: no system call while there are messages.
///
/// # Safety
/// `queue` was attached, `data` and `size` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_take(
    queue: *mut shmkit_queue_t,
    data: *mut *const c_void,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && can_hold(data)
        && can_hold(size)
        && let Some((at, length)) = member.queue.take_near()
        && member.area.holds(at, length as usize)
    {
        // SAFETY: the caller's promise.
        unsafe {
            data.write(member.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        return OK;
    }
    // SAFETY: the caller's promise.
    unsafe { take_slowly(queue, data, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_queue_take().
#[cold]
#[inline(never)]
unsafe extern "C" fn take_slowly(
    queue: *mut shmkit_queue_t,
    data: *mut *const c_void,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && can_hold(data)
        && can_hold(size)
        && let Some((at, length)) = member.take_soon(wait)
    {
        // SAFETY: the caller's promise.
        unsafe {
            data.write(member.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        return OK;
    }
    run(Call::QueueTake, Subject::None, [queue as u64, data as u64, size as u64, timeout_ns, 0, 0], || {
        let (data, size) = (place(data)?, place(size)?);
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        let (at, length) = member.take_asleep(wait)?;
        // SAFETY: the caller's promise.
        unsafe {
            data.write(member.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        Ok(())
    })
}

/// Gives back the message that was taken: its room is free.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (none is taken), SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_release(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && let Some(awaited) = member.queue.release_near()
    {
        return if awaited { wake_producers(member) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { release_slowly(queue) }
}

/// # Safety
/// As for shmkit_queue_release().
#[cold]
#[inline(never)]
unsafe extern "C" fn release_slowly(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    run(Call::QueueRelease, Subject::None, [queue as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        member.queue.release().map(drop).map_err(|refused| member.refused(refused, 0))
    })
}

/// Receives the oldest message into `buffer`, which has room for `room` bytes: take, copy and release in one. `*size` is its
/// length.
///
/// Waits as shmkit_queue_take() does, and has its errors; SHMKIT_ERR_TOO_BIG: the buffer is too small for it, `*size` says
/// what it needs, and it stays the oldest one for this member: call again with more room, or shmkit_queue_release() it. A hot
/// path.
///
/// # Safety
/// `queue` was attached, `buffer` is writable for `room` bytes, `size` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_receive(
    queue: *mut shmkit_queue_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(member) = unsafe { near(queue) }
        && can_hold(size)
        && (can_hold(buffer.cast::<u8>()) || room == 0)
        // What does not fit stays taken, and is found by the slow way.
        && let Some((at, length)) = member.queue.take_near()
        && member.area.holds(at, length as usize)
        && length as usize <= room
    {
        // SAFETY: the caller's promise.
        unsafe {
            member.area.copy_out(at, buffer, length as usize);
            size.write(length as usize);
        }
        // It was taken just now.
        let awaited = member.queue.release_near().unwrap_or(false);
        return if awaited { wake_producers(member) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { receive_slowly(queue, buffer, room, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_queue_receive().
#[cold]
#[inline(never)]
unsafe extern "C" fn receive_slowly(
    queue: *mut shmkit_queue_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let args = [queue as u64, buffer as u64, room as u64, size as u64, timeout_ns, 0];
    run(Call::QueueReceive, Subject::None, args, || {
        let size = place(size)?;
        if room > 0 && !is_plausible(buffer as usize) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        let (at, length) = match member.queue.taken() {
            Some(found) => found,
            None => member.take(Wait::of(timeout_ns))?,
        };
        // SAFETY: the caller's promise.
        unsafe { size.write(length as usize) };
        if length as usize > room {
            return Err(Failure::new(
                Status::ErrTooBig,
                "the message has {needed} bytes, and the buffer {length}",
                "receive it with a larger buffer, or in place with shmkit_queue_take",
            )
            .with(|figures| (figures.needed, figures.length) = (length, room as u64)));
        }
        // SAFETY: the caller's promise.
        unsafe { member.area.copy_out(at, buffer, length as usize) };
        member.queue.release().map(drop).map_err(|refused| member.refused(refused, 0))
    })
}

/// Says that nothing is taken in any more: who sends gets SHMKIT_ERR_CLOSED, who takes gets what is left, then
/// SHMKIT_ERR_CLOSED.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_close(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    run(Call::QueueClose, Subject::None, [queue as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        member.queue.close();
        member.tell(true);
        Ok(())
    })
}

/// For an epoll loop: says that this member is about to sleep on an eventfd(2), to which producers write (see
/// shmkit_queue_set_notify_fd()). SHMKIT_OK: there is no message, sleep. SHMKIT_ERR_AGAIN: there is one already, or the end:
/// take it before arming again. A producer that dies before it has written leaves that to the next one that sends. Where none may
/// come, and for what the dead had reserved or taken, nobody writes: sleep no longer than a quarter of a second at a time, and
/// arm again.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_arm(queue: *mut shmkit_queue_t) -> shmkit_status_t {
    run(Call::QueueArm, Subject::None, [queue as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        slept(unsafe { attached(queue)? }.arm())
    })
}

/// The eventfd(2) on which consumers sleep: this member writes to it when it sends and one has armed, and now if one has armed
/// already. -1: none (any more): what it sends wakes nobody on a descriptor then, until one that has it sends. The
/// descriptor stays the program's. It must have EFD_NONBLOCK (SHMKIT_ERR_INVALID_ARGUMENT): who notifies never waits.
///
/// # Safety
/// `queue` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_set_notify_fd(queue: *mut shmkit_queue_t, fd: c_int) -> shmkit_status_t {
    run(Call::QueueNotifyFd, Subject::None, [queue as u64, fd as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let member = unsafe { attached(queue)? };
        member.set_fd(notify_fd(fd)?);
        Ok(())
    })
}

/// What is known of the queue in this memory, for members and others. Changes nothing.
///
/// Errors: SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_INVALID_ARGUMENT, SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped, `stat` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_queue_stat(
    memory: *const c_void,
    length: usize,
    stat: *mut shmkit_queue_stat_t,
) -> shmkit_status_t {
    run(Call::QueueStat, Subject::None, [memory as u64, length as u64, stat as u64, 0, 0, 0], || {
        let stat = place(stat)?;
        let (shape, counts) = queue_end::look(area(memory, length)?)?;
        let overflow = match shape.overflow {
            Overflow::Block => SHMKIT_OVERFLOW_BLOCK,
            Overflow::Refuse => SHMKIT_OVERFLOW_REFUSE,
            Overflow::Drop => SHMKIT_OVERFLOW_DROP,
        };
        let delivery = match shape.delivery {
            Delivery::Again => SHMKIT_DELIVERY_AT_LEAST_ONCE,
            Delivery::Once => SHMKIT_DELIVERY_AT_MOST_ONCE,
        };
        // SAFETY: the caller's promise.
        unsafe {
            stat.write(shmkit_queue_stat_t {
                messages: shape.cells,
                message_size: shape.longest(),
                depth: counts.depth,
                sent: counts.sent,
                taken: counts.taken,
                dropped: counts.dropped,
                lost: counts.lost,
                again: counts.again,
                overflow,
                delivery,
                closed: counts.closed.into(),
            });
        }
        Ok(())
    })
}
