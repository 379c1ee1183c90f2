//! Cells in shared memory: shmkit_cell_. Nothing but translation: the hot paths are in `containers/cell.rs`.

use core::ffi::{c_int, c_void};

use super::attached::{Handle, area, attach, attached, can_hold, can_hold_or_null, detach, near, who};
use super::error::shmkit_status_t;
use super::is_plausible;
use super::options::{RegionLayout, layout_of};
use super::outcome::{Subject, place, run};
use crate::checks::words::Call;
use crate::containers::cell;
use crate::containers::cell_end::{self, User};
use crate::error::Status;
use crate::region::{Failure, Outcome};
use crate::sync::object::Wait;

/// shmkit_cell_attach(): reads.
pub const SHMKIT_CELL_READ: i32 = 0;
/// shmkit_cell_attach(): writes; one process at a time.
pub const SHMKIT_CELL_WRITE: i32 = 1;
/// shmkit_cell_attach(): takes the writer's place even from a process that may live. Only where the caller knows that it
/// does not write any more: two at the same time damage values.
pub const SHMKIT_CELL_TAKE_OVER: i32 = 4;

/// A user of a cell, in the program's own memory, not in the shared one. Its bytes are the library's. One thread at a time
/// uses it; it is not to be copied or moved.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_cell_t {
    bytes: [u8; 64],
}

impl Handle for shmkit_cell_t {
    type Inner = User;
    const SEAL: u64 = 0x6365_6c6c_5f65_6e64;
    const NONE: (&'static str, &'static str) = (
        "this is no user of a cell that is attached, or it was moved",
        "attach it with shmkit_cell_attach, and leave it where it is until shmkit_cell_detach",
    );
}

/// What is known of a cell.
#[repr(C)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_cell_stat_t {
    /// Bytes of the longest value.
    pub value_size: u64,
    /// The number of the latest value: how many were written.
    pub version: u64,
    /// The process that writes, in its own pid namespace; 0: none.
    pub writer: u32,
    /// Whether it lives: SHMKIT_ANSWER_YES, _NO or _UNKNOWN.
    pub writer_lives: i32,
}

const OK: shmkit_status_t = Status::Ok as shmkit_status_t;

/// Bytes of memory for a cell whose values have up to `value_size` bytes; 0: it is too large.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cell_size(value_size: usize) -> usize {
    if value_size as u64 <= cell::MOST { cell::size(value_size as u64) as usize } else { 0 }
}

/// Makes a cell of `length` bytes of shared memory that nobody uses yet, best in the init callback of a region: the data of a
/// region, or any other mapping that is shared. `memory` is aligned to 64 bytes. `layout` is that of the values, or NULL.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (too few bytes, not aligned), SHMKIT_ERR_ACCESS (mapped read-only),
/// SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped; `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_init(
    memory: *mut c_void,
    length: usize,
    value_size: usize,
    layout: *const RegionLayout,
) -> shmkit_status_t {
    run(Call::CellInit, Subject::None, [memory as u64, length as u64, value_size as u64, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        cell_end::make(area(memory, length)?, value_size as u64, &layout)
    })
}

/// Attaches to the cell in this memory: SHMKIT_CELL_READ, also where it is mapped read-only, or SHMKIT_CELL_WRITE.
///
/// A writer goes on where the last one stopped, also where that one died. Errors: SHMKIT_ERR_BUSY (a living process writes,
/// or one of another pid namespace, which cannot be looked at), SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_LAYOUT,
/// SHMKIT_ERR_CORRUPT, SHMKIT_ERR_ACCESS, SHMKIT_ERR_INVALID_ARGUMENT, SHMKIT_ERR_BAD_POINTER. The memory must stay mapped
/// until shmkit_cell_detach(). A forked child does not write in its parent's place.
///
/// # Safety
/// `cell` is writable, the memory is mapped, `layout` is NULL or leads to a layout.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_attach(
    cell: *mut shmkit_cell_t,
    memory: *mut c_void,
    length: usize,
    layout: *const RegionLayout,
    how: c_int,
) -> shmkit_status_t {
    let args = [cell as u64, memory as u64, length as u64, how as u64, 0, 0];
    run(Call::CellAttach, Subject::None, args, || {
        let cell = place(cell)?;
        let (writes, over) = match how {
            SHMKIT_CELL_READ => (false, false),
            _ if how & !SHMKIT_CELL_TAKE_OVER == SHMKIT_CELL_WRITE => (true, how & SHMKIT_CELL_TAKE_OVER != 0),
            _ => {
                return Err(Failure::argument(
                    "how is neither SHMKIT_CELL_READ nor SHMKIT_CELL_WRITE",
                    "one of them; SHMKIT_CELL_TAKE_OVER beside the latter where it is meant",
                ));
            }
        };
        // SAFETY: the caller's promise.
        let layout = unsafe { layout_of(layout)? };
        let user = User::new(area(memory, length)?, &layout, writes, over)?;
        // SAFETY: the place is writable, aligned, and large enough.
        unsafe { attach(cell, user) };
        Ok(())
    })
}

/// Ends the use. What was written stays.
///
/// # Safety
/// `cell` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_detach(cell: *mut shmkit_cell_t) -> shmkit_status_t {
    run(Call::CellDetach, Subject::None, [cell as u64, 0, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        unsafe { detach(cell, User::detach) }
    })
}

/// Room for the next value, of up to `size` bytes, in place: `*data` is where they go, aligned to 16 bytes. Readers see the
/// value before it until shmkit_cell_commit(). What is in the room is an older value.
///
/// Never waits. Errors: SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_INVALID_ARGUMENT (a reader), SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `cell` was attached, `data` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_reserve(
    cell: *mut shmkit_cell_t,
    size: usize,
    data: *mut *mut c_void,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(user) = unsafe { near(cell) }
        && can_hold(data)
        && let Some(at) = user.begin(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { data.write(user.area.address(at, size) as *mut c_void) };
        return OK;
    }
    run(Call::CellReserve, Subject::None, [cell as u64, size as u64, data as u64, 0, 0, 0], || {
        place(data)?;
        // SAFETY: the caller's promise.
        Err(unsafe { attached(cell)? }.cannot_write(size as u64))
    })
}

/// Publishes the value that was reserved, as its first `size` bytes: it is the latest from now on.
///
/// Errors: SHMKIT_ERR_INVALID_ARGUMENT (nothing is reserved), SHMKIT_ERR_TOO_BIG, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `cell` was attached.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_commit(cell: *mut shmkit_cell_t, size: usize) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(user) = unsafe { near(cell) }
        && user.publish(size as u64)
    {
        return OK;
    }
    run(Call::CellCommit, Subject::None, [cell as u64, size as u64, 0, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        Err(unsafe { attached(cell)? }.cannot_write(size as u64))
    })
}

/// Writes a value of `size` bytes: reserve, copy and commit in one. Never waits; errors as shmkit_cell_reserve(). A hot path.
///
/// # Safety
/// `cell` was attached, `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_write(
    cell: *mut shmkit_cell_t,
    data: *const c_void,
    size: usize,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(user) = unsafe { near(cell) }
        && (can_hold(data.cast::<u8>().cast_mut()) || size == 0)
        && let Some(at) = user.begin(size as u64)
    {
        // SAFETY: the caller's promise.
        unsafe { user.area.put_words(at, data, size) };
        user.publish(size as u64);
        return OK;
    }
    run(Call::CellWrite, Subject::None, [cell as u64, data as u64, size as u64, 0, 0, 0], || {
        // SAFETY: the caller's promise.
        let user = unsafe { attached(cell)? };
        match is_plausible(data as usize) || size == 0 {
            true => Err(user.cannot_write(size as u64)),
            false => Err(Failure::of(Status::ErrBadPointer)),
        }
    })
}

/// Copies the latest value into `buffer`, which has room for `room` bytes. `*size` is its length, `*version` its number, from 1
/// on; each may be NULL. Never half a value, and never held up by the writer.
///
/// SHMKIT_ERR_AGAIN: nothing was written yet, or the writer came round in each of 64 copies. Other errors: SHMKIT_ERR_TOO_BIG (the buffer is too small, `*size` says what it
/// needs), SHMKIT_ERR_CORRUPT, SHMKIT_ERR_BAD_HANDLE. A hot path.
///
/// # Safety
/// `cell` was attached, `buffer` is writable for `room` bytes, `size` and `version` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_read(
    cell: *mut shmkit_cell_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    version: *mut u64,
) -> shmkit_status_t {
    // SAFETY: the caller's promise.
    if let Some(user) = unsafe { near(cell) }
        && (can_hold(buffer.cast::<u8>()) || room == 0)
        && can_hold_or_null(size)
        && can_hold_or_null(version)
    {
        let area = user.area;
        // SAFETY: the caller's promise; no more than there is room for.
        let mut copy = |at, length: u64| unsafe { area.get_words(at, buffer, length as usize) };
        if let Ok((number, length)) = cell::read(area, user.longest, 0, room as u64, &mut copy) {
            // SAFETY: the caller's promise.
            unsafe { tell(size, length, version, number) };
            return OK;
        }
    }
    let args = [cell as u64, buffer as u64, room as u64, size as u64, version as u64, 0];
    // SAFETY: the caller's promise.
    run(Call::CellRead, Subject::None, args, || unsafe { read(cell, buffer, room, size, version, 0, Wait::No) })
}

/// As shmkit_cell_read(), for a value that is another one than number `after`, for which it waits up to `timeout_ns`
/// nanoseconds: 0 not at all (SHMKIT_ERR_AGAIN), SHMKIT_TIMEOUT_FOREVER without end. The time counts for copies too that the
/// writer overtakes. Pass the `*version` of the last one, at first 0; values between are passed over.
///
/// Further errors: SHMKIT_ERR_TIMEOUT, SHMKIT_ERR_OWNER_DIED (there is no newer one, and the writer died; another may attach),
/// SHMKIT_ERR_ACCESS (the memory is mapped read-only: who waits must write to it).
///
/// # Safety
/// As shmkit_cell_read().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_read_newer(
    cell: *mut shmkit_cell_t,
    after: u64,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    version: *mut u64,
    timeout_ns: u64,
) -> shmkit_status_t {
    let args = [cell as u64, after, buffer as u64, room as u64, size as u64, timeout_ns];
    run(Call::CellReadNewer, Subject::None, args, || {
        // SAFETY: the caller's promise.
        unsafe { read(cell, buffer, room, size, version, after, Wait::of(timeout_ns)) }
    })
}

/// # Safety
/// As shmkit_cell_read().
unsafe fn read(
    cell: *mut shmkit_cell_t,
    buffer: *mut c_void,
    room: usize,
    size: *mut usize,
    version: *mut u64,
    after: u64,
    wait: Wait,
) -> Outcome<()> {
    if room > 0 && !is_plausible(buffer as usize) || !can_hold_or_null(size) || !can_hold_or_null(version) {
        return Err(Failure::of(Status::ErrBadPointer));
    }
    // SAFETY: the caller's promise.
    let user = unsafe { attached(cell)? };
    let area = user.area;
    // SAFETY: the caller's promise; no more than there is room for.
    let mut copy = |at, length: u64| unsafe { area.get_words(at, buffer, length as usize) };
    match user.read(after, room as u64, wait, &mut copy) {
        Ok((number, length)) => {
            // SAFETY: the caller's promise.
            unsafe { tell(size, length, version, number) };
            Ok(())
        }
        Err(failure) => {
            if failure.status == Status::ErrTooBig && !size.is_null() {
                // SAFETY: the caller's promise.
                unsafe { size.write(failure.figures.needed as usize) };
            }
            Err(failure)
        }
    }
}

/// # Safety
/// Each is null or writable.
#[inline(always)]
unsafe fn tell(size: *mut usize, length: u64, version: *mut u64, number: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        if !size.is_null() {
            size.write(length as usize);
        }
        if !version.is_null() {
            version.write(number);
        }
    }
}

/// What is known of the cell in this memory, for its users and others. Changes nothing.
///
/// Errors: SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_CORRUPT, SHMKIT_ERR_INVALID_ARGUMENT, SHMKIT_ERR_BAD_POINTER.
///
/// # Safety
/// The memory is mapped, `stat` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_cell_stat(
    memory: *const c_void,
    length: usize,
    stat: *mut shmkit_cell_stat_t,
) -> shmkit_status_t {
    run(Call::CellStat, Subject::None, [memory as u64, length as u64, stat as u64, 0, 0, 0], || {
        let stat = place(stat)?;
        let (value_size, version, judged) = cell_end::look(area(memory, length)?)?;
        let (writer, writer_lives) = who(judged);
        // SAFETY: the caller's promise.
        unsafe { stat.write(shmkit_cell_stat_t { value_size, version, writer, writer_lives }) };
        Ok(())
    })
}
