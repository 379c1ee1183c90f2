//! The calls of each container, as a program makes them on memory that a peer has written to: with every answer one that is
//! documented, and every span and length one that can be. Next: `containers.rs`, which chooses.

use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};

use shmkit::capi::broadcast::*;
use shmkit::capi::cell::*;
use shmkit::capi::options::RegionLayout;
use shmkit::capi::queue::*;
use shmkit::capi::ring::*;
use shmkit::containers::look::Seen;
use shmkit::error::Status::{
    self, ErrAgain, ErrBusy, ErrClosed, ErrCorrupt, ErrInvalidArgument, ErrOwnerDied, ErrTimeout, ErrTooBig,
    ErrUninitialised,
};

use super::OK;
use super::containers::{
    Container, Made, Memory, ROOM, Turn, among, event, length, message, region, room, with_buffer,
};

const LAYOUT: RegionLayout = RegionLayout { name: c"struct letter".as_ptr(), size: 24, version: 3, alignment: 8 };

fn layout(typed: bool) -> *const RegionLayout {
    if typed { &LAYOUT } else { null() }
}

/// What the functions say that look at a container from outside.
#[track_caller]
fn looked<T>(status: i32, stat: MaybeUninit<T>, is_seen: bool, documented: &[Status]) -> Option<T> {
    let found = documented.iter().any(|one| *one as i32 == status);
    assert!(status == OK || found, "{status}: {}", message());
    assert_eq!(status == OK, is_seen, "whoever sees only its first bytes sees something else");
    // SAFETY: then it was written.
    (status == OK).then(|| unsafe { stat.assume_init() })
}

/// What is asked for is refused as too long when it is.
#[track_caller]
fn fits(status: i32, size: usize, turn: &Turn<'_, '_>) {
    let Some(longest) = turn.longest else { return };
    assert!(status != OK || size <= longest, "{size} bytes, where the longest message has {longest}");
    assert!(status != ErrTooBig as i32 || size > longest, "{size} bytes fit: the longest message has {longest}");
}

/// A message was written to a buffer, or did not fit into it.
#[track_caller]
fn fitted(status: i32, size: usize, room: usize, turn: &Turn<'_, '_>) {
    let Some(longest) = turn.longest else { return };
    let (fits, too_big) = (size <= room && size <= longest, size > room && size <= longest);
    assert!(status != OK || fits, "{size} bytes in {room}, the longest message has {longest}");
    assert!(status != ErrTooBig as i32 || too_big, "{size} bytes do not fit into {room}, the longest has {longest}");
}

pub(super) struct Rings;

impl Container for Rings {
    type End = shmkit_ring_t;
    const ATTACHING: &'static [Status] = &[ErrBusy, ErrUninitialised, ErrCorrupt, ErrInvalidArgument];
    const FIELDS: &'static [(usize, usize)] = &[
        (0, 8),
        (8, 8),
        (16, 8),
        (24, 4),
        (28, 4),
        (32, 8),
        (40, 8),
        (64, 8),
        (64, 8),
        (72, 8),
        (80, 8),
        (128, 8),
        (128, 8),
        (136, 8),
        (192, 4),
        (196, 4),
    ];
    const CELLS_AT: usize = 256;

    fn stride(_: &Made) -> usize {
        16
    }

    fn size(made: &Made) -> usize {
        shmkit_ring_size(made.many)
    }

    fn make(memory: Memory, made: &Made) -> i32 {
        // SAFETY: the memory is mapped.
        unsafe { shmkit_ring_init(memory.start(), Self::size(made), layout(made.typed)) }
    }

    fn attach(end: *mut shmkit_ring_t, turn: &Turn<'_, '_>, typed: bool, how: u8) -> i32 {
        let side = [SHMKIT_RING_PRODUCE, SHMKIT_RING_CONSUME][turn.side];
        let over = if how & 3 == 3 { SHMKIT_RING_TAKE_OVER } else { 0 };
        // SAFETY: the place is writable, the memory is mapped.
        unsafe { shmkit_ring_attach(end, turn.memory.start(), turn.memory.length, layout(typed), side | over) }
    }

    fn detach(end: *mut shmkit_ring_t) -> i32 {
        // SAFETY: the place is ours.
        unsafe { shmkit_ring_detach(end) }
    }

    fn look(memory: Memory, seen: Option<&Seen>) -> Option<usize> {
        let mut stat = MaybeUninit::zeroed();
        // SAFETY: the place is writable, the memory is mapped.
        let status = unsafe { shmkit_ring_stat(memory.start(), memory.length, stat.as_mut_ptr()) };
        let is_seen = matches!(seen, Some(Seen::Ring { .. }));
        let stat = looked(status, stat, is_seen, &[ErrUninitialised, ErrCorrupt, ErrInvalidArgument])?;
        let capacity = stat.capacity as usize;
        assert!(capacity.is_power_of_two() && (64..=memory.length - 256).contains(&capacity));
        assert!(stat.used <= stat.capacity, "{} bytes are taken of {capacity}", stat.used);
        let Some(Seen::Ring { capacity: same, counts, .. }) = seen else { unreachable!("looked at above") };
        assert_eq!((*same, counts.used), (stat.capacity, stat.used));
        assert_eq!((counts.written, counts.read, counts.refused), (stat.written, stat.read, stat.refused));
        Some(capacity / 2 - 8)
    }

    fn call(end: *mut shmkit_ring_t, turn: &mut Turn<'_, '_>) {
        const WRITING: &[Status] = &[ErrAgain, ErrTimeout, ErrOwnerDied, ErrClosed, ErrTooBig, ErrCorrupt];
        const READING: &[Status] = &[ErrAgain, ErrTimeout, ErrOwnerDied, ErrClosed, ErrCorrupt];
        // Also what belongs to the other end.
        const WRONG: &[Status] = &[ErrInvalidArgument];
        let (longest, timeout) = (turn.longest.unwrap_or(8), turn.timeout);
        // The calls of this end, and now and then of the other.
        let call = turn.call % 12 + if turn.side == 0 { 0 } else { 6 };
        // SAFETY: the end is ours; the places are writable, and buffers have as many bytes as is said, or the call has to find
        // out before it touches them that no message is so long.
        unsafe {
            match call % 12 {
                0 => {
                    let (size, mut at) = (length(turn.input, longest), null_mut());
                    let status = shmkit_ring_reserve(end, size, &mut at, timeout);
                    fits(status, size, turn);
                    if among(status, turn, &[WRITING, WRONG]) {
                        turn.memory.shown(at, size, longest, true);
                    }
                }
                1 => drop(among(shmkit_ring_commit(end, length(turn.input, longest)), turn, &[WRONG])),
                2 | 3 => {
                    let size = length(turn.input, longest);
                    let status = with_buffer(size, |at| shmkit_ring_write(end, at, size, timeout));
                    fits(status, size, turn);
                    among(status, turn, &[WRITING, WRONG]);
                }
                4 => {
                    let sizes = [length(turn.input, longest), length(turn.input, longest), 8, 0];
                    let mut done = usize::MAX;
                    let count = usize::from(turn.input.byte() % 5);
                    let status = with_buffer(sizes[0].max(sizes[1]).max(8), |data| {
                        let messages = sizes.map(|size| shmkit_span_t { data, size });
                        shmkit_ring_write_batch(end, messages.as_ptr(), count, &mut done, timeout)
                    });
                    if among(status, turn, &[WRITING, WRONG]) {
                        assert!(done <= count && sizes[..done].iter().all(|size| *size <= longest));
                    }
                }
                5 => match turn.input.byte() % 4 {
                    0 => drop(among(shmkit_ring_close(end), turn, &[WRONG])),
                    1 => drop(among(shmkit_ring_abort(end), turn, &[WRONG])),
                    _ => drop(among(shmkit_ring_arm(end), turn, &[&[ErrAgain]])),
                },
                6 | 7 => {
                    let (mut at, mut size) = (null(), usize::MAX);
                    let status = shmkit_ring_peek(end, &mut at, &mut size, timeout);
                    if among(status, turn, &[READING, WRONG]) {
                        turn.memory.shown(at, size, longest, false);
                    }
                }
                8 => {
                    let mut messages = [shmkit_span_t { data: null_mut(), size: usize::MAX }; 6];
                    let (count, mut found) = (usize::from(turn.input.byte() % 7), usize::MAX);
                    let status = shmkit_ring_peek_batch(end, messages.as_mut_ptr(), count, &mut found, timeout);
                    if among(status, turn, &[READING, WRONG]) {
                        assert!(found <= count);
                        let shown = &messages[..found];
                        shown.iter().for_each(|one| turn.memory.shown(one.data, one.size, longest, false));
                        assert!(messages[found..].iter().all(|one| one.data.is_null()), "more than were found");
                    }
                }
                9 => {
                    let count = usize::from(turn.input.byte() % 8);
                    among(shmkit_ring_release(end, count), turn, &[WRONG, &[ErrCorrupt]]);
                }
                10 => {
                    let (room, mut size) = (room(turn.input), usize::MAX);
                    let status = with_buffer(room, |at| shmkit_ring_read(end, at, room, &mut size, timeout));
                    fitted(status, size, room, turn);
                    among(status, turn, &[READING, WRONG, &[ErrTooBig]]);
                }
                _ => {
                    let fd = event(turn.input.byte());
                    among(shmkit_ring_set_notify_fd(end, fd), turn, &[]);
                }
            }
        }
    }
}

pub(super) struct Queues;

/// As the C macro makes them.
fn queue_options(made: &Made) -> shmkit_queue_options_t {
    // SAFETY: numbers and a pointer, for which zero is valid.
    let zeros: shmkit_queue_options_t = unsafe { zeroed() };
    shmkit_queue_options_t {
        struct_size: size_of::<shmkit_queue_options_t>(),
        messages: made.many as u64,
        message_size: made.longest as u64,
        layout: if made.typed { RegionLayout { ..LAYOUT } } else { zeros.layout },
        overflow: made.overflow,
        delivery: made.delivery,
    }
}

/// Bytes from one cell to the next, of queues and broadcasts.
fn stride(made: &Made) -> usize {
    (made.longest + 16).next_multiple_of(64)
}

impl Container for Queues {
    type End = shmkit_queue_t;
    const ATTACHING: &'static [Status] = &[ErrUninitialised, ErrCorrupt];
    const FIELDS: &'static [(usize, usize)] = &[
        (0, 8),
        (8, 8),
        (16, 8),
        (24, 4),
        (28, 4),
        (32, 8),
        (64, 8),
        (64, 8),
        (128, 8),
        (128, 8),
        (192, 4),
        (196, 4),
        (256, 8),
        (264, 8),
        (320, 8),
        (328, 8),
        (336, 8),
    ];
    const CELLS_AT: usize = 832;

    fn stride(made: &Made) -> usize {
        stride(made)
    }

    fn size(made: &Made) -> usize {
        // SAFETY: the options are good.
        unsafe { shmkit_queue_size(&queue_options(made)) }
    }

    fn make(memory: Memory, made: &Made) -> i32 {
        // SAFETY: the memory is mapped, the options are good.
        unsafe { shmkit_queue_init(memory.start(), Self::size(made), &queue_options(made)) }
    }

    fn attach(end: *mut shmkit_queue_t, turn: &Turn<'_, '_>, typed: bool, _: u8) -> i32 {
        // SAFETY: the place is writable, the memory is mapped, the region is open.
        unsafe { shmkit_queue_attach(end, region(turn.side), turn.memory.start(), turn.memory.length, layout(typed)) }
    }

    fn detach(end: *mut shmkit_queue_t) -> i32 {
        // SAFETY: the place is ours.
        unsafe { shmkit_queue_detach(end) }
    }

    fn look(memory: Memory, seen: Option<&Seen>) -> Option<usize> {
        let mut stat = MaybeUninit::zeroed();
        // SAFETY: the place is writable, the memory is mapped.
        let status = unsafe { shmkit_queue_stat(memory.start(), memory.length, stat.as_mut_ptr()) };
        let is_seen = matches!(seen, Some(Seen::Queue { .. }));
        let stat = looked(status, stat, is_seen, &[ErrUninitialised, ErrCorrupt])?;
        let bytes = (stat.message_size + 16).checked_mul(stat.messages).expect("not so many");
        assert!(stat.messages.is_power_of_two() && bytes <= (memory.length - Self::CELLS_AT) as u64);
        assert!(stat.depth <= stat.messages, "{} messages in room for {}", stat.depth, stat.messages);
        let Some(Seen::Queue { shape, counts, members }) = seen else { unreachable!("looked at above") };
        assert_eq!((shape.cells, shape.longest()), (stat.messages, stat.message_size));
        assert_eq!((counts.sent, counts.taken, counts.lost), (stat.sent, stat.taken, stat.lost));
        assert!(members.iter().all(|(number, _)| *number < 64));
        Some(stat.message_size as usize)
    }

    fn call(end: *mut shmkit_queue_t, turn: &mut Turn<'_, '_>) {
        const SENDING: &[Status] = &[ErrAgain, ErrTimeout, ErrClosed, ErrTooBig, ErrCorrupt, ErrBusy];
        const TAKING: &[Status] = &[ErrAgain, ErrTimeout, ErrClosed, ErrBusy, ErrCorrupt];
        const WRONG: &[Status] = &[ErrInvalidArgument];
        let (longest, timeout) = (turn.longest.unwrap_or(8), turn.timeout);
        // SAFETY: as for rings.
        unsafe {
            match turn.call % 12 {
                0 => {
                    let (size, mut at) = (length(turn.input, longest), null_mut());
                    let status = shmkit_queue_reserve(end, size, &mut at, timeout);
                    fits(status, size, turn);
                    if among(status, turn, &[SENDING]) {
                        turn.memory.shown(at, size, longest, true);
                    }
                }
                1 => {
                    let size = length(turn.input, longest);
                    let status = shmkit_queue_commit(end, size);
                    fits(status, size, turn);
                    among(status, turn, &[WRONG, &[ErrTooBig]]);
                }
                2 => drop(among(shmkit_queue_abort(end), turn, &[WRONG])),
                3 | 4 => {
                    let size = length(turn.input, longest);
                    let status = with_buffer(size, |at| shmkit_queue_send(end, at, size, timeout));
                    fits(status, size, turn);
                    among(status, turn, &[SENDING]);
                }
                5 | 6 => {
                    let (mut at, mut size) = (null(), usize::MAX);
                    let status = shmkit_queue_take(end, &mut at, &mut size, timeout);
                    if among(status, turn, &[TAKING]) {
                        turn.memory.shown(at, size, longest, false);
                    }
                }
                7 => drop(among(shmkit_queue_release(end), turn, &[WRONG])),
                8 | 9 => {
                    let (room, mut size) = (room(turn.input), usize::MAX);
                    let status = with_buffer(room, |at| shmkit_queue_receive(end, at, room, &mut size, timeout));
                    fitted(status, size, room, turn);
                    among(status, turn, &[TAKING, &[ErrTooBig]]);
                }
                10 => drop(among(shmkit_queue_arm(end), turn, &[&[ErrAgain]])),
                _ => {
                    let choice = turn.input.byte();
                    match choice % 3 {
                        0 => among(shmkit_queue_close(end), turn, &[]),
                        _ => among(shmkit_queue_set_notify_fd(end, event(choice)), turn, &[]),
                    };
                }
            }
        }
    }
}

pub(super) struct Broadcasts;

impl Container for Broadcasts {
    type End = shmkit_broadcast_t;
    const ATTACHING: &'static [Status] = &[ErrUninitialised, ErrCorrupt];
    const FIELDS: &'static [(usize, usize)] = &[
        (0, 8),
        (8, 8),
        (16, 8),
        (24, 4),
        (32, 8),
        (64, 8),
        (64, 8),
        (64, 8),
        (128, 4),
        (192, 8),
        (200, 8),
        (200, 8),
        (256, 8),
        (264, 8),
        (272, 8),
    ];
    const CELLS_AT: usize = 768;

    fn stride(made: &Made) -> usize {
        stride(made)
    }

    fn size(made: &Made) -> usize {
        shmkit_broadcast_size(made.many, made.longest)
    }

    fn make(memory: Memory, made: &Made) -> i32 {
        // SAFETY: the memory is mapped.
        unsafe { shmkit_broadcast_init(memory.start(), Self::size(made), made.many, made.longest, layout(made.typed)) }
    }

    fn attach(end: *mut shmkit_broadcast_t, turn: &Turn<'_, '_>, typed: bool, how: u8) -> i32 {
        let (memory, from) = (turn.memory, i32::from(how & 1));
        // SAFETY: the place is writable, the memory is mapped, the region is open.
        unsafe { shmkit_broadcast_attach(end, region(turn.side), memory.start(), memory.length, layout(typed), from) }
    }

    fn detach(end: *mut shmkit_broadcast_t) -> i32 {
        // SAFETY: the place is ours.
        unsafe { shmkit_broadcast_detach(end) }
    }

    fn look(memory: Memory, seen: Option<&Seen>) -> Option<usize> {
        let mut stat = MaybeUninit::zeroed();
        // SAFETY: the place is writable, the memory is mapped.
        let status = unsafe { shmkit_broadcast_stat(memory.start(), memory.length, stat.as_mut_ptr()) };
        let is_seen = matches!(seen, Some(Seen::Broadcast { .. }));
        let stat = looked(status, stat, is_seen, &[ErrUninitialised, ErrCorrupt])?;
        let bytes = (stat.message_size + 16).checked_mul(stat.messages).expect("not so many");
        assert!(stat.messages.is_power_of_two() && bytes <= (memory.length - Self::CELLS_AT) as u64);
        let Some(Seen::Broadcast { shape, written, lost, members, .. }) = seen else { unreachable!("looked at above") };
        assert_eq!((shape.cells, shape.longest()), (stat.messages, stat.message_size));
        assert_eq!((*written, *lost), (stat.written, stat.lost));
        assert!(members.iter().all(|(number, _)| *number < 64));
        Some(stat.message_size as usize)
    }

    fn call(end: *mut shmkit_broadcast_t, turn: &mut Turn<'_, '_>) {
        const WRITING: &[Status] = &[ErrClosed, ErrTooBig, ErrBusy, ErrCorrupt];
        const READING: &[Status] = &[ErrAgain, ErrTimeout, ErrClosed, ErrTooBig, ErrCorrupt];
        const WRONG: &[Status] = &[ErrInvalidArgument];
        let (longest, timeout) = (turn.longest.unwrap_or(8), turn.timeout);
        // SAFETY: as for rings.
        unsafe {
            match turn.call % 12 {
                0 => {
                    let (size, mut at) = (length(turn.input, longest), null_mut());
                    let status = shmkit_broadcast_reserve(end, size, &mut at);
                    fits(status, size, turn);
                    if among(status, turn, &[WRITING]) {
                        turn.memory.shown(at, size, longest, true);
                    }
                }
                1 => {
                    let size = length(turn.input, longest);
                    let status = shmkit_broadcast_commit(end, size);
                    fits(status, size, turn);
                    among(status, turn, &[WRONG, &[ErrTooBig]]);
                }
                2 => drop(among(shmkit_broadcast_abort(end), turn, &[WRONG])),
                3..=5 => {
                    let size = length(turn.input, longest);
                    let status = with_buffer(size, |at| shmkit_broadcast_write(end, at, size));
                    fits(status, size, turn);
                    among(status, turn, &[WRITING]);
                }
                6..=8 => {
                    let (room, mut size, mut missed) = (room(turn.input), usize::MAX, 0);
                    let status =
                        with_buffer(room, |at| shmkit_broadcast_read(end, at, room, &mut size, &mut missed, timeout));
                    fitted(status, size, room, turn);
                    among(status, turn, &[READING]);
                }
                9 => {
                    let behind = shmkit_broadcast_behind(end);
                    assert!(turn.longest.is_some() || behind == 0, "no member has nothing to read");
                }
                10 => drop(among(shmkit_broadcast_arm(end), turn, &[&[ErrAgain]])),
                _ => {
                    let choice = turn.input.byte();
                    match choice % 3 {
                        0 => among(shmkit_broadcast_close(end), turn, &[]),
                        _ => among(shmkit_broadcast_set_notify_fd(end, event(choice)), turn, &[]),
                    };
                }
            }
        }
    }
}

pub(super) struct Cells;

impl Container for Cells {
    type End = shmkit_cell_t;
    const ATTACHING: &'static [Status] = &[ErrBusy, ErrUninitialised, ErrCorrupt];
    const FIELDS: &'static [(usize, usize)] =
        &[(0, 8), (8, 8), (16, 8), (28, 4), (32, 8), (64, 8), (64, 8), (64, 8), (128, 4)];
    const CELLS_AT: usize = 192;

    fn stride(made: &Made) -> usize {
        stride(made)
    }

    fn size(made: &Made) -> usize {
        shmkit_cell_size(made.longest)
    }

    fn make(memory: Memory, made: &Made) -> i32 {
        // SAFETY: the memory is mapped.
        unsafe { shmkit_cell_init(memory.start(), Self::size(made), made.longest, layout(made.typed)) }
    }

    /// The first writes, the other reads; either may do the other.
    fn attach(end: *mut shmkit_cell_t, turn: &Turn<'_, '_>, typed: bool, how: u8) -> i32 {
        let how = match how & 3 {
            0 => SHMKIT_CELL_READ,
            1 => SHMKIT_CELL_WRITE,
            2 => [SHMKIT_CELL_WRITE, SHMKIT_CELL_READ][turn.side],
            _ => SHMKIT_CELL_WRITE | SHMKIT_CELL_TAKE_OVER,
        };
        // SAFETY: the place is writable, the memory is mapped.
        unsafe { shmkit_cell_attach(end, turn.memory.start(), turn.memory.length, layout(typed), how) }
    }

    fn detach(end: *mut shmkit_cell_t) -> i32 {
        // SAFETY: the place is ours.
        unsafe { shmkit_cell_detach(end) }
    }

    fn look(memory: Memory, seen: Option<&Seen>) -> Option<usize> {
        let mut stat = MaybeUninit::zeroed();
        // SAFETY: the place is writable, the memory is mapped.
        let status = unsafe { shmkit_cell_stat(memory.start(), memory.length, stat.as_mut_ptr()) };
        let is_seen = matches!(seen, Some(Seen::Cell { .. }));
        let stat = looked(status, stat, is_seen, &[ErrUninitialised, ErrCorrupt])?;
        let (longest, room) = (stat.value_size as usize, memory.length - Self::CELLS_AT);
        assert!(longest > 0 && longest < ROOM && 4 * (longest + 16) <= room, "{longest} bytes in each of four");
        let Some(Seen::Cell { longest: same, version, .. }) = seen else { unreachable!("looked at above") };
        assert_eq!((*same, *version), (stat.value_size, stat.version));
        Some(longest)
    }

    fn call(end: *mut shmkit_cell_t, turn: &mut Turn<'_, '_>) {
        // Also what a reader cannot do.
        const WRITING: &[Status] = &[ErrTooBig, ErrInvalidArgument];
        const READING: &[Status] = &[ErrAgain, ErrTooBig, ErrCorrupt];
        let (longest, timeout) = (turn.longest.unwrap_or(8), turn.timeout);
        // SAFETY: as for rings.
        unsafe {
            match turn.call % 8 {
                0 => {
                    let (size, mut at) = (length(turn.input, longest), null_mut());
                    let status = shmkit_cell_reserve(end, size, &mut at);
                    fits(status, size, turn);
                    if among(status, turn, &[WRITING]) {
                        turn.memory.shown(at, size, longest, true);
                    }
                }
                1 => {
                    let size = length(turn.input, longest);
                    let status = shmkit_cell_commit(end, size);
                    fits(status, size, turn);
                    among(status, turn, &[WRITING]);
                }
                2 | 3 => {
                    let size = length(turn.input, longest);
                    let status = with_buffer(size, |at| shmkit_cell_write(end, at, size));
                    fits(status, size, turn);
                    among(status, turn, &[WRITING]);
                }
                4 | 5 => {
                    let (room, mut size, mut version) = (room(turn.input), usize::MAX, 0);
                    let status = with_buffer(room, |at| shmkit_cell_read(end, at, room, &mut size, &mut version));
                    fitted(status, size, room, turn);
                    assert!(!among(status, turn, &[READING]) || version > 0, "a value without a number");
                }
                _ => {
                    let (after, room) = (u64::from(turn.input.byte()), room(turn.input));
                    let (mut size, mut version) = (usize::MAX, after);
                    let status = with_buffer(room, |at| {
                        shmkit_cell_read_newer(end, after, at, room, &mut size, &mut version, timeout)
                    });
                    fitted(status, size, room, turn);
                    let read = among(status, turn, &[READING, &[ErrTimeout, ErrOwnerDied]]);
                    assert!(!read || version != after, "the value that was known");
                }
            }
        }
    }
}
