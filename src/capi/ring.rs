//! Rings in shared memory: shmkit_ring_. Nothing but translation: the hot paths are in `containers/ring.rs`, and are tried
//! first; what they cannot do is a failure, or waits, in `containers/ring_end.rs`.

use core::ffi::{c_int, c_void};

use super::attached::{Handle, area, attach, attached, can_hold, detach, near, notify_fd, slept, who};
use super::error::shmkit_status_t;
use super::is_plausible;
use super::options::{RegionLayout, layout_of};
use super::outcome::{Subject, place, run};
use crate::checks::words::Call;
use crate::containers::ring::Refused;
use crate::containers::ring_end::{self, End, How, Side};
use crate::error::Status;
use crate::region::Failure;
use crate::sync::object::Wait;

/// shmkit_ring_attach(): the end that writes.
pub const SHMKIT_RING_PRODUCE: i32 = 1;
/// shmkit_ring_attach(): the end that reads.
pub const SHMKIT_RING_CONSUME: i32 = 2;
/// shmkit_ring_attach(): takes the end even from a process that may live. Only where the caller knows that it does not use
/// it any more: two that write, or read, at the same time damage what goes through.
pub const SHMKIT_RING_TAKE_OVER: i32 = 4;

/// One end of a ring, in the program's own memory, not in the shared one. Its bytes are the library's. One thread at a
/// time uses it; it is not to be copied or moved.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_ring_t {
    bytes: [u8; 128],
}

impl Handle for shmkit_ring_t {
    type Inner = End;
    const SEAL: u64 = 0x7269_6e67_5f65_6e64;
    const NONE: (&'static str, &'static str) = (
        "this is no end of a ring that is attached, or it was moved",
        "attach it with shmkit_ring_attach, and leave it where it is until shmkit_ring_detach",
    );
}

/// Bytes of a message that lie together, in batches.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_span_t {
    /// The first byte.
    pub data: *mut c_void,
    /// How many.
    pub size: usize,
}

/// What is known of a ring; a process id is 0 where nobody has that end.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_ring_stat_t {
    /// Bytes for messages; the longest has half of them less 8.
    pub capacity: u64,
    /// Bytes that are taken.
    pub used: u64,
    /// Messages written since it was initialised.
    pub written: u64,
    /// Messages read since then.
    pub read: u64,
    /// Times that there was no room for a message that was not to wait.
    pub refused: u64,
    /// The process that writes, in its own pid namespace.
    pub producer: u32,
    /// The process that reads, in its own pid namespace.
    pub consumer: u32,
    /// Whether the one that writes lives: SHMKIT_ANSWER_YES, _NO or _UNKNOWN.
    pub producer_lives: i32,
    /// Whether the one that reads lives.
    pub consumer_lives: i32,
    /// Whether it was closed.
    pub closed: c_int,
}

const OK: shmkit_status_t = Status::Ok as shmkit_status_t;

/// Bytes of memory for a ring in which messages of `capacity` bytes lie, with 8 bytes and less than 8 of filling for each;
/// the capacity is rounded up to a power of two. 0: it is too large.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_ring_size(capacity: usize) -> usize {
    ring_end::size(capacity as u64).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

/// Makes a ring of `length` bytes of shared memory that nobody uses yet, best in the init callback of a region: the data of
/// a region, or any other mapping that is shared. `memory` is aligned to 64 bytes. `layout` is that of the messages, or NULL.
///
/// The capacity is the largest power of two that fits (see shmkit_ring_size()). Errors: SHMKIT_ERR_INVALID_ARGUMENT (too
/// few bytes, not aligned), SHMKIT_ERR_ACCESS (mapped read-only), SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped; `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_init(
    memory: *mut c_void,
    length: usize,
    layout: *const RegionLayout,
) -> shmkit_status_t {
    run(Call::RingInit, Subject::None, [memory as u64, length as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        ring_end::make(area(memory, length)?, &layout)
    })
}

/// Takes an end of the ring in this memory: SHMKIT_RING_PRODUCE to write, SHMKIT_RING_CONSUME to read.
///
/// It goes on where the last one stopped, also where that one died: what it had reserved is forgotten, what it had not
/// released comes again (at least once). With a `layout` that is not NULL the ring must have been made for it. Errors:
/// SHMKIT_ERR_BUSY (a living process has this end, or one of another pid namespace, which cannot be looked at),
/// SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_LAYOUT, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_ACCESS, SHMKIT_ERR_INVALID_ARGUMENT,
/// SHMKIT_ERR_BAD_POINTER. The memory must stay mapped until shmkit_ring_detach(). A forked child has no end.
///
/// # Safety
/// `ring` is writable, the memory is mapped, `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_attach(
    ring: *mut shmkit_ring_t,
    memory: *mut c_void,
    length: usize,
    layout: *const RegionLayout,
    how: c_int,
) -> shmkit_status_t {
    let args = [ring as u64, memory as u64, length as u64, how as u64, 0, 0];
    run(Call::RingAttach, Subject::None, args, || {
        let ring = place(ring)?;
        let produces = match how & !SHMKIT_RING_TAKE_OVER {
            SHMKIT_RING_PRODUCE => true,
            SHMKIT_RING_CONSUME => false,
            _ => {
                return Err(Failure::argument(
                    "the end is neither SHMKIT_RING_PRODUCE nor SHMKIT_RING_CONSUME",
                    "one of them, and SHMKIT_RING_TAKE_OVER besides where it is meant",
                ));
            }
        };
        let how = How { produces, over: how & SHMKIT_RING_TAKE_OVER != 0 };
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        let end = End::new(area(memory, length)?, Some(&layout), how)?;
        // SAFETY: the place is writable, aligned, and large enough.
        unsafe { attach(ring, end) };
        Ok(())
    })
}

/// Gives the end back: another process may take it. What was committed stays.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_detach(ring: *mut shmkit_ring_t) -> shmkit_status_t {
    run(Call::RingDetach, Subject::None, [ring as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        unsafe { detach(ring, End::detach) }
    })
}

/// Room for a message of up to `size` bytes, in place: `*data` is where they go, aligned to 8 bytes. shmkit_ring_commit()
/// publishes it; a second reservation replaces it.
///
/// Waits for room for `timeout_ns` nanoseconds: 0 not at all (SHMKIT_ERR_AGAIN when there is none, which is counted),
/// SHMKIT_TIMEOUT_FOREVER without end. Errors: SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_OWNER_DIED (the ring is full and the
/// process that reads it died; another may attach), SHMKIT_ERR_CLOSED (by this end, or by one before it),
/// SHMKIT_ERR_TOO_BIG (it can never fit), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path: no system call while there is room.
///
/// # Safety
/// `ring` was attached, `data` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_reserve(
    ring: *mut shmkit_ring_t,
    size: usize,
    data: *mut *mut c_void,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Producer(side) = &mut end.side
        && can_hold(data)
        && let Some(at) = side.reserve_near(size as u64)
        && end.area.holds(at, size)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(end.area.address(at, size) as *mut c_void) };
        return OK;
    }
    // SAFETY: the caller's promise.
    unsafe { reserve_slowly(ring, size, data, timeout_ns) }
}

/// # Safety
/// As for shmkit_ring_reserve().
#[cold]
#[inline(never)]
unsafe extern "C" fn reserve_slowly(
    ring: *mut shmkit_ring_t,
    size: usize,
    data: *mut *mut c_void,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && can_hold(data)
        && end.spin(size as u64, wait)
        && let Side::Producer(side) = &mut end.side
        && let Ok(at) = side.reserve(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(end.area.address(at, size) as *mut c_void) };
        return OK;
    }
    run(Call::RingReserve, Subject::None, [ring as u64, size as u64, data as u64, timeout_ns, 0, 0], || {
        let data = place(data)?;
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        let at = end.reserve(size as u64, wait)?;
        // SAFETY: the caller's promise.
        unsafe { data.write(end.area.address(at, size) as *mut c_void) };
        Ok(())
    })
}

/// Publishes the first `size` bytes of the reserved message. It is there for the reader as a whole, or not at all.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (nothing is reserved, or less), SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_commit(ring: *mut shmkit_ring_t, size: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Producer(side) = &mut end.side
        && let Some(awaited) = side.commit_near(size as u64)
    {
        return if awaited { wake(end) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { commit_slowly(ring, size) }
}

/// Wakes the other end; what it waited for was done.
#[cold]
#[inline(never)]
extern "C" fn wake(end: &mut End) -> shmkit_status_t {
    end.wake();
    OK
}

/// # Safety
/// As for shmkit_ring_commit().
#[cold]
#[inline(never)]
unsafe extern "C" fn commit_slowly(ring: *mut shmkit_ring_t, size: usize) -> shmkit_status_t {
    run(Call::RingCommit, Subject::None, [ring as u64, size as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        let committed = end.producer()?.commit(size as u64);
        let slept = committed.map_err(|refused| end.refused(refused, size as u64))?;
        if slept && end.has_fd() {
            end.tell();
        }
        Ok(())
    })
}

/// Forgets what is reserved.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_abort(ring: *mut shmkit_ring_t) -> shmkit_status_t {
    run(Call::RingAbort, Subject::None, [ring as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        unsafe { attached(ring)? }.producer()?.abort();
        Ok(())
    })
}

/// Writes a message of `size` bytes: reserve, copy and commit in one. Waits as shmkit_ring_reserve() does, and has its
/// errors. A hot path.
///
/// # Safety
/// `ring` was attached, `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_write(
    ring: *mut shmkit_ring_t,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Producer(side) = &mut end.side
        && (can_hold(data.cast::<u8>().cast_mut()) || size == 0)
        && let Some(at) = side.reserve_near(size as u64)
        && end.area.holds(at, size)
    {
        // SAFETY: the caller's promise.
        unsafe { end.area.copy_in(at, data, size) };
        if let Some(awaited) = side.commit_near(size as u64) {
            return if awaited { wake(end) } else { OK };
        }
    }
    // SAFETY: the caller's promise.
    unsafe { write_slowly(ring, data, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_ring_write().
#[cold]
#[inline(never)]
unsafe extern "C" fn write_slowly(
    ring: *mut shmkit_ring_t,
    data: *const c_void,
    size: usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && (is_plausible(data as usize) || size == 0)
        && end.spin(size as u64, wait)
        && let Side::Producer(side) = &mut end.side
        && let Ok(at) = side.reserve(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { end.area.copy_in(at, data, size) };
        // It was reserved just now, in this length.
        if let Ok(slept) = side.commit(size as u64) {
            if slept && end.has_fd() {
                end.tell();
            }
            return OK;
        }
    }
    run(Call::RingWrite, Subject::None, [ring as u64, data as u64, size as u64, timeout_ns, 0, 0], || {
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        if size > 0 && !is_plausible(data as usize) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        let at = end.reserve(size as u64, wait)?;
        // SAFETY: the caller's promise.
        unsafe { end.area.copy_in(at, data, size) };
        let committed = end.producer()?.commit(size as u64);
        let slept = committed.map_err(|refused| end.refused(refused, size as u64))?;
        if slept && end.has_fd() {
            end.tell();
        }
        Ok(())
    })
}

/// Writes `count` messages and publishes them together; `*done` is how many there was room for.
///
/// Waits, as shmkit_ring_reserve() does, only while there is no room for the first. Errors as there.
///
/// # Safety
/// `ring` was attached, `messages` leads to `count` spans that are readable, `done` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_write_batch(
    ring: *mut shmkit_ring_t,
    messages: *const shmkit_span_t,
    count: usize,
    done: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let args = [ring as u64, messages as u64, count as u64, done as u64, timeout_ns, 0];
    run(Call::RingWriteBatch, Subject::None, args, || {
        let done = place(done)?;
        if count > 0 {
            place(messages.cast_mut())?;
        }
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        end.producer()?;
        let mut written = 0;
        while written < count {
            // SAFETY: the caller's promise.
            let message = unsafe { messages.add(written).read() };
            let length = message.size as u64;
            if message.size > 0 && !is_plausible(message.data as usize) {
                if written > 0 {
                    break;
                }
                return Err(Failure::of(Status::ErrBadPointer));
            }
            let at = match end.producer()?.reserve(length) {
                Ok(at) => at,
                Err(Refused::NotNow) if written > 0 => break,
                Err(Refused::NotNow) => {
                    let wait = Wait::of(timeout_ns);
                    end.spin(length, wait);
                    end.reserve(length, wait)?
                }
                // Those before it are written.
                Err(_) if written > 0 => break,
                Err(refused) => return Err(end.refused(refused, length)),
            };
            // SAFETY: the caller's promise.
            unsafe { end.area.copy_in(at, message.data, message.size) };
            end.producer()?.stage(length).map_err(internal)?;
            written += 1;
        }
        if written > 0 && end.producer()?.publish() && end.has_fd() {
            end.tell();
        }
        // SAFETY: the caller's promise.
        unsafe { done.write(written) };
        Ok(())
    })
}

/// What was reserved, or shown, just now cannot be refused.
fn internal(_: Refused) -> Failure {
    Failure::of(Status::ErrInternal)
}

/// Shows the oldest message in place: `*data` and `*size`. It stays until shmkit_ring_release(); the producer can change it
/// no more, if it is no enemy.
///
/// Waits for one for `timeout_ns` nanoseconds: 0 not at all (SHMKIT_ERR_AGAIN), SHMKIT_TIMEOUT_FOREVER without end. Errors:
/// SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_CLOSED (nothing is left, and nothing comes), SHMKIT_ERR_OWNER_DIED (nothing is left, and
/// the process that writes died; another may attach), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path: no system call
/// while there are messages.
///
/// # Safety
/// `ring` was attached, `data` and `size` are writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_peek(
    ring: *mut shmkit_ring_t,
    data: *mut *const c_void,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Consumer(side) = &mut end.side
        && can_hold(data)
        && can_hold(size)
        && let Some((at, length)) = side.peek_near()
        && end.area.holds(at, length as usize)
    {
        // SAFETY: the caller's promise.
        unsafe {
            data.write(end.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        return OK;
    }
    // SAFETY: the caller's promise.
    unsafe { peek_slowly(ring, data, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_ring_peek().
#[cold]
#[inline(never)]
unsafe extern "C" fn peek_slowly(
    ring: *mut shmkit_ring_t,
    data: *mut *const c_void,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && can_hold(data)
        && can_hold(size)
        && end.spin(0, wait)
        && let Side::Consumer(side) = &mut end.side
        && let Some((at, length)) = side.peek_near()
        && end.area.holds(at, length as usize)
    {
        end.patience.found(side.has_more());
        // SAFETY: the caller's promise.
        unsafe {
            data.write(end.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        return OK;
    }
    run(Call::RingPeek, Subject::None, [ring as u64, data as u64, size as u64, timeout_ns, 0, 0], || {
        let (data, size) = (place(data)?, place(size)?);
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        let (at, length) = end.peek(wait)?;
        // SAFETY: the caller's promise.
        unsafe {
            data.write(end.area.address(at, length as usize) as *const c_void);
            size.write(length as usize);
        }
        Ok(())
    })
}

/// Shows up to `count` messages in place, the oldest first; `*found` is how many. shmkit_ring_release() gives them back.
///
/// Waits as shmkit_ring_peek() does, only while there is none; errors as there.
///
/// # Safety
/// `ring` was attached, `messages` is writable for `count` spans, `found` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_peek_batch(
    ring: *mut shmkit_ring_t,
    messages: *mut shmkit_span_t,
    count: usize,
    found: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let args = [ring as u64, messages as u64, count as u64, found as u64, timeout_ns, 0];
    run(Call::RingPeekBatch, Subject::None, args, || {
        let found = place(found)?;
        if count > 0 {
            place(messages)?;
        }
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        if count > 0 {
            let wait = Wait::of(timeout_ns);
            end.spin(0, wait);
            end.peek(wait)?;
        }
        let area = end.area;
        let mut shown = 0;
        end.consumer()?.each(count, &mut |at, length| {
            let data = area.address(at, length as usize) as *mut c_void;
            // SAFETY: the caller's promise; fewer than `count` were shown.
            unsafe { messages.add(shown).write(shmkit_span_t { data, size: length as usize }) };
            shown += 1;
        });
        end.patience.found(shown > 1);
        // SAFETY: the caller's promise.
        unsafe { found.write(shown) };
        Ok(())
    })
}

/// Gives back the oldest `count` messages of those that were shown last. Whoever dies before it has given nothing back: the
/// next consumer sees them again.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (fewer were shown), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_release(ring: *mut shmkit_ring_t, count: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Consumer(side) = &mut end.side
        && count == 1
        && let Some(awaited) = side.release_near()
    {
        return if awaited { wake(end) } else { OK };
    }
    // SAFETY: the caller's promise.
    unsafe { release_slowly(ring, count) }
}

/// # Safety
/// As for shmkit_ring_release().
#[cold]
#[inline(never)]
unsafe extern "C" fn release_slowly(ring: *mut shmkit_ring_t, count: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Consumer(side) = &mut end.side
        && let Ok(slept) = side.release(count)
    {
        if slept && end.has_fd() {
            end.tell();
        }
        return OK;
    }
    run(Call::RingRelease, Subject::None, [ring as u64, count as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        let released = end.consumer()?.release(count);
        released.map(drop).map_err(|refused| end.refused(refused, 0))
    })
}

/// Reads the oldest message into `buffer`, which has room for `room` bytes: peek, copy and release in one. `*size` is its
/// length.
///
/// Waits as shmkit_ring_peek() does, and has its errors; SHMKIT_ERR_TOO_BIG: the buffer is too small for it, `*size` says
/// what it needs, and it stays. A hot path.
///
/// # Safety
/// `ring` was attached, `buffer` is writable for `room` bytes, `size` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_read(
    ring: *mut shmkit_ring_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && let Side::Consumer(side) = &mut end.side
        && can_hold(size)
        && (can_hold(buffer.cast::<u8>()) || room == 0)
        && let Some((at, length)) = side.peek_near()
        && length as usize <= room
        && end.area.holds(at, length as usize)
    {
        // SAFETY: the caller's promise.
        unsafe {
            end.area.copy_out(at, buffer, length as usize);
            size.write(length as usize);
        }
        if let Some(awaited) = side.release_near() {
            return if awaited { wake(end) } else { OK };
        }
    }
    // SAFETY: the caller's promise.
    unsafe { read_slowly(ring, buffer, room, size, timeout_ns) }
}

/// # Safety
/// As for shmkit_ring_read().
#[cold]
#[inline(never)]
unsafe extern "C" fn read_slowly(
    ring: *mut shmkit_ring_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    timeout_ns: u64,
) -> shmkit_status_t {
    let wait = Wait::of(timeout_ns);
    // SAFETY: the caller's promise.
    if let Some(end) = unsafe { near(ring) }
        && can_hold(size)
        && (is_plausible(buffer as usize) || room == 0)
        && end.spin(0, wait)
        && let Side::Consumer(side) = &mut end.side
        && let Some((at, length)) = side.peek_near()
        && end.area.holds(at, length as usize)
        && length as usize <= room
    {
        end.patience.found(side.has_more());
        // SAFETY: the caller's promise.
        unsafe {
            end.area.copy_out(at, buffer, length as usize);
            size.write(length as usize);
        }
        if let Some(awaited) = side.release_near() {
            return if awaited { wake(end) } else { OK };
        }
    }
    let args = [ring as u64, buffer as u64, room as u64, size as u64, timeout_ns, 0];
    run(Call::RingRead, Subject::None, args, || {
        let size = place(size)?;
        if room > 0 && !is_plausible(buffer as usize) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        let (at, length) = end.peek(wait)?;
        // SAFETY: the caller's promise.
        unsafe { size.write(length as usize) };
        if length as usize > room {
            return Err(Failure::new(
                Status::ErrTooBig,
                "the message has {needed} bytes, and the buffer {length}",
                "read it with a larger buffer, or in place with shmkit_ring_peek",
            )
            .with(|figures| (figures.needed, figures.length) = (length, room as u64)));
        }
        // SAFETY: the caller's promise.
        unsafe { end.area.copy_out(at, buffer, length as usize) };
        let slept = end.consumer()?.release(1).map_err(internal)?;
        if slept && end.has_fd() {
            end.tell();
        }
        Ok(())
    })
}

/// Says that nothing comes any more: who reads gets what is left, then SHMKIT_ERR_CLOSED. For the end that writes, which
/// then writes no more, nor does one that attaches later; what is reserved is forgotten.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_close(ring: *mut shmkit_ring_t) -> shmkit_status_t {
    run(Call::RingClose, Subject::None, [ring as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        if end.producer()?.close() && end.has_fd() {
            end.tell();
        }
        Ok(())
    })
}

/// For an epoll loop: says that this end is about to sleep on an eventfd(2), to which the other end writes (see
/// shmkit_ring_set_notify_fd()). SHMKIT_OK: there is nothing to do, sleep. SHMKIT_ERR_AGAIN: there is something to do
/// already (a message, room, the end), do it first.
///
/// Needed before every sleep: who writes pays for a wake-up only when somebody sleeps. One that dies on the way leaves the
/// wake-up to the next that has its end, whatever it was doing. The end that writes sleeps until
/// there is room for a message like the one for which there was none last.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_arm(ring: *mut shmkit_ring_t) -> shmkit_status_t {
    run(Call::RingArm, Subject::None, [ring as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        slept(unsafe { attached(ring)? }.arm())
    })
}

/// The eventfd(2) on which the other end sleeps: this end writes to it when the other has armed, and now if it has armed
/// already, as one that died may not have come to it. -1: none (any more). The descriptor stays the program's: it made it,
/// or got it over a UNIX socket or by fork. It must have EFD_NONBLOCK (SHMKIT_ERR_INVALID_ARGUMENT): who notifies never waits.
///
/// # Safety
/// `ring` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_set_notify_fd(ring: *mut shmkit_ring_t, fd: c_int) -> shmkit_status_t {
    run(Call::RingNotifyFd, Subject::None, [ring as u64, fd as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let end = unsafe { attached(ring)? };
        end.set_fd(notify_fd(fd)?);
        Ok(())
    })
}

/// What is known of the ring in this memory, without an end of it: bytes taken, messages, who has the ends. Changes nothing.
///
/// Errors: SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_INVALID_ARGUMENT, SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped, `stat` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_ring_stat(
    memory: *const c_void,
    length: usize,
    stat: *mut shmkit_ring_stat_t,
) -> shmkit_status_t {
    run(Call::RingStat, Subject::None, [memory as u64, length as u64, stat as u64, 0, 0, 0], || {
        let stat = place(stat)?;
        let seen = ring_end::look(area(memory, length)?)?;
        let ((producer, producer_lives), (consumer, consumer_lives)) = (who(seen.producer), who(seen.consumer));
        let counts = seen.counts;
        // SAFETY: the caller's promise.
        unsafe {
            stat.write(shmkit_ring_stat_t {
                capacity: seen.capacity,
                used: counts.used,
                written: counts.written,
                read: counts.read,
                refused: counts.refused,
                producer,
                consumer,
                producer_lives,
                consumer_lives,
                closed: counts.closed.into(),
            });
        }
        Ok(())
    })
}
