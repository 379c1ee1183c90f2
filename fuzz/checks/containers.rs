//! Containers in memory whose every byte a peer may have written, and in which it writes between calls: no call may crash,
//! hang, reach outside of that memory or of the program's buffers, show a span that is longer than is documented, or answer
//! otherwise than is documented. Here is the memory and what the peer does; `ends.rs` has the calls of each container.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::Ordering::Relaxed;

use shmkit::capi::region::{self as api, shmkit_region_t};
use shmkit::containers::look::{self, HEAD, Seen};
use shmkit::error::Status;

use super::ends::{Broadcasts, Cells, Queues, Rings};
use super::{ACCEPTED, Input, OK, PAGE, sound, usual};

/// Bytes between two guard pages: more than any container here needs.
pub(super) const ROOM: usize = 2 * PAGE as usize;
/// What nobody may change.
const CANARY: u8 = 0xa5;
const CANARIES: u64 = u64::from_ne_bytes([CANARY; 8]);
/// Bytes before a buffer of the program.
const BEFORE: usize = 64;

/// What a container is made as: see `made`.
pub(super) struct Made {
    /// Bytes of a ring, messages of a queue or broadcast.
    pub many: usize,
    /// Bytes of a message or value.
    pub longest: usize,
    /// SHMKIT_OVERFLOW_ and SHMKIT_DELIVERY_.
    pub overflow: i32,
    pub delivery: i32,
    /// Its messages have a type.
    pub typed: bool,
}

/// What one end or member does next.
pub(super) struct Turn<'a, 'b> {
    pub memory: Memory,
    /// Which of the two it is: its number, and the longest message by what stood in the memory when it was attached;
    /// `None` when it is not attached.
    pub side: usize,
    pub longest: Option<usize>,
    /// Mostly none.
    pub timeout: u64,
    /// By which of the calls.
    pub call: u8,
    pub input: &'a mut Input<'b>,
}

/// One sort of container: its functions, and where in it something stands that calls believe, or must not.
pub(super) trait Container {
    /// Its C struct, for which zeros are valid.
    type End: Copy;
    /// What may be the answer of `attach`.
    const ATTACHING: &'static [Status];
    /// Offsets and widths.
    const FIELDS: &'static [(usize, usize)];
    /// Where messages begin.
    const CELLS_AT: usize;
    /// From one of them to the next.
    fn stride(made: &Made) -> usize;
    fn size(made: &Made) -> usize;
    fn make(memory: Memory, made: &Made) -> i32;
    /// Attaches, by the choices of two bits.
    fn attach(end: *mut Self::End, turn: &Turn<'_, '_>, typed: bool, how: u8) -> i32;
    fn detach(end: *mut Self::End) -> i32;
    /// The longest message by what stands in the memory, which was looked at and found good; `None` when it was not.
    fn look(memory: Memory, seen: Option<&Seen>) -> Option<usize>;
    fn call(end: *mut Self::End, turn: &mut Turn<'_, '_>);
}

/// The memory of a container, as the program has mapped it: it ends where a guard page begins, or begins where one ends.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    at: *mut u8,
    pub length: usize,
}

impl Memory {
    pub fn start(self) -> *mut c_void {
        self.at.cast()
    }

    /// What may be changed. Nothing of the library's is alive between calls.
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: it is mapped for good, by `arenas`, and nobody else uses it meanwhile.
        unsafe { slice::from_raw_parts_mut(self.at, self.length) }
    }

    /// A span that was shown: it lies in the memory, and is touched.
    pub fn shown(mut self, at: *const c_void, size: usize, longest: usize, may_write: bool) {
        assert!(size <= longest, "{size} bytes, where the longest message has {longest}");
        let offset = at.addr().wrapping_sub(self.at.addr());
        let inside = offset <= self.length && size <= self.length - offset;
        assert!(inside && offset.is_multiple_of(8), "{size} bytes at {offset} of {}", self.length);
        let span = &mut self.bytes()[offset..offset + size];
        match may_write {
            true => span.fill(0x5a),
            false => assert!(std::hint::black_box(span.iter().map(|byte| u64::from(*byte)).sum::<u64>()) < u64::MAX),
        }
    }

    /// What somebody who cannot map it finds in it, and what the library says of it: the same.
    fn look<C: Container>(mut self) -> Option<usize> {
        let mut head = [0; HEAD];
        let bytes = self.bytes();
        let known = bytes.len().min(HEAD);
        head[..known].copy_from_slice(&bytes[..known]);
        C::look(self, look::at_head(&head, self.length as u64).as_ref())
    }
}

/// Pages between guard pages.
#[derive(Clone, Copy)]
struct Arena(*mut u8);

impl Arena {
    fn new() -> Arena {
        let (page, none) = (PAGE as usize, libc::PROT_NONE);
        // SAFETY: new memory, never unmapped.
        let at = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let at = libc::mmap(null_mut(), ROOM + 2 * page, none, flags, -1, 0).cast::<u8>();
            assert_ne!(at.cast(), libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            let at = at.add(page);
            assert_eq!(libc::mprotect(at.cast(), ROOM, libc::PROT_READ | libc::PROT_WRITE), 0);
            at
        };
        Arena(at)
    }

    /// All of it. One thread has it, and no two at a time.
    fn bytes<'a>(self) -> &'a mut [u8] {
        // SAFETY: as in `Memory::bytes`.
        unsafe { slice::from_raw_parts_mut(self.0, ROOM) }
    }

    /// Whether nothing but `length` bytes at an offset was changed.
    fn is_untouched_outside(self, at: usize, length: usize) -> bool {
        let bytes = self.bytes();
        let whole = |bytes: &[u8]| {
            // SAFETY: every bit pattern is a number.
            let (front, words, back) = unsafe { bytes.align_to::<u64>() };
            words.iter().all(|word| *word == CANARIES) && front.iter().chain(back).all(|byte| *byte == CANARY)
        };
        whole(&bytes[..at]) && whole(&bytes[at + length..])
    }
}

/// What a process makes once: the memory of the container, the program's buffer, and a region of which two participants are
/// the members.
struct Arenas {
    memory: Arena,
    buffer: Arena,
    regions: [*mut shmkit_region_t; 2],
    event: i32,
}

/// Nothing of the library's is left at the end of a fuzzer, which would call it a leak.
impl Drop for Arenas {
    fn drop(&mut self) {
        for region in self.regions {
            assert_eq!(api::shmkit_region_close(region), OK);
        }
    }
}

thread_local! {
    static ARENAS: OnceCell<Arenas> = const { OnceCell::new() };
}

fn arenas<T>(work: impl FnOnce(&Arenas) -> T) -> T {
    let make = || {
        // SAFETY: takes no pointers.
        let event = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Arenas { memory: Arena::new(), buffer: Arena::new(), regions: regions(), event }
    };
    ARENAS.with(|arenas| work(arenas.get_or_init(make)))
}

/// One region, opened twice: two leases.
fn regions() -> [*mut shmkit_region_t; 2] {
    let mut regions = [null_mut(); 2];
    let mut ends = [-1; 2];
    let options = super::RegionOptions { size: 4096, ..usual() };
    // SAFETY: the string is terminated, the places are writable, the sockets are closed here.
    unsafe {
        assert_eq!(api::shmkit_region_create(c"memfd:fuzzed".as_ptr(), &options, &mut regions[0]), OK);
        assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()), 0);
        assert_eq!(api::shmkit_region_send(regions[0], ends[0], api::SHMKIT_SEND_READ_WRITE), OK);
        assert_eq!(api::shmkit_region_recv(ends[1], &usual(), &mut regions[1]), OK);
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
    regions
}

/// The region of a member.
pub(super) fn region(side: usize) -> *mut shmkit_region_t {
    arenas(|arenas| arenas.regions[side])
}

/// A descriptor to tell somebody by, or none.
pub(super) fn event(choice: u8) -> i32 {
    arenas(|arenas| if choice & 1 == 0 { arenas.event } else { -1 })
}

/// A buffer of the program with so many bytes, or with as many as can be: it ends where a guard page begins, and what is before
/// it must stay as it is.
pub(super) fn with_buffer<T>(bytes: usize, work: impl FnOnce(*mut c_void) -> T) -> T {
    arenas(|arenas| {
        let at = ROOM - bytes.min(ROOM);
        let before = at.saturating_sub(BEFORE);
        arenas.buffer.bytes()[before..at].fill(CANARY);
        // SAFETY: within the arena, or just behind it.
        let result = work(unsafe { arenas.buffer.0.add(at) }.cast());
        assert!(arenas.buffer.bytes()[before..at].iter().all(|byte| *byte == CANARY), "changed before the buffer");
        result
    })
}

/// The status is OK or one of these, unless the end is not attached: then that is said.
#[track_caller]
pub(super) fn among(status: i32, turn: &Turn<'_, '_>, documented: &[&[Status]]) -> bool {
    if turn.longest.is_none() {
        assert_eq!(sound(status), Status::ErrBadHandle as i32, "nothing is attached");
        return false;
    }
    let found = documented.iter().copied().flatten().any(|one| *one as i32 == sound(status));
    assert!(status == OK || found, "{status}: {}", message());
    assert!(status != Status::ErrTimeout as i32 || turn.timeout > 0, "a timeout of what did not wait");
    status == OK
}

pub(super) fn message() -> String {
    // SAFETY: a terminated string that stays until the next call.
    let text = unsafe { std::ffi::CStr::from_ptr(shmkit::capi::error::shmkit_last_error_message()) };
    text.to_string_lossy().into_owned()
}

/// A length for a message: a small one, or near the longest, or one that nobody has.
pub(super) fn length(input: &mut Input<'_>, longest: usize) -> usize {
    match input.byte() {
        small @ 0..192 => usize::from(small),
        255 => usize::MAX - usize::from(input.byte()),
        near => longest.wrapping_add(usize::from(near)).wrapping_sub(223),
    }
}

/// Room in a buffer: little, or enough for whatever there may be.
pub(super) fn room(input: &mut Input<'_>) -> usize {
    match input.byte() {
        little @ 0..96 => usize::from(little),
        _ => ROOM,
    }
}

/// A number that a peer writes where `now` stands.
fn value(input: &mut Input<'_>, now: u64, bytes: &[u8]) -> u64 {
    let class = input.byte() % 16;
    if class == 0 {
        return input.word();
    }
    let choice = input.byte();
    let near = choice as i8 as u64;
    match class {
        1 => u64::from(choice),
        2 => !u64::from(choice),
        3 => 1u64.rotate_left(choice.into()),
        4 => now.wrapping_add(near),
        5 => now.wrapping_add(near << 3),
        // Versions in a broadcast, states, and owners: an epoch and the number of a lease.
        6 => now.wrapping_add(near << 32),
        7 => {
            let owner = input.byte();
            now & !0xffff_ffff | u64::from(choice & 15) << 28 | u64::from(choice >> 4 & 3) << 6 | u64::from(owner % 70)
        }
        // Positions in a queue; the state of a cell, and who moved it.
        14 => now.wrapping_add(near << 18),
        15 => {
            let owner = u64::from(choice >> 2 & 3) << 6 | u64::from(input.byte() % 70);
            now & !0x3_ffff | u64::from(choice & 3) << 16 | owner
        }
        // The word of a message in a ring, and that of filling.
        8 => 0x7368_6d31 << 32 | u64::from(choice) << (input.byte() % 9),
        9 => 0x7368_6d32 << 32 | (u64::from(choice) << 3),
        // What stands somewhere else.
        10 => {
            let at = 8 * usize::from(choice);
            bytes.get(at..at + 8).map_or(0, |word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
        }
        // Who is dead, and who cannot be looked at.
        11 => u64::from(choice >> 1) << 55 | 0x3f_ffff << 32 | u64::from(choice & 1) << 63 | 1,
        12 => (bytes.len() as u64).wrapping_add(near),
        _ => (1 << 62 | u64::from(choice & 1) << 63).wrapping_add(near >> 1),
    }
}

/// A peer writes a number somewhere.
fn spoil<C: Container>(input: &mut Input<'_>, memory: &mut Memory, stride: usize) {
    let place = usize::from(input.byte());
    let (at, width) = match place {
        0..96 => C::FIELDS[place % C::FIELDS.len()],
        // The words of the cells, and their lengths.
        96..192 => (C::CELLS_AT + (place - 96) / 2 * stride + 8 * (place % 2), 8),
        _ => (usize::from(input.half()), 1 + place % 8),
    };
    let bytes = memory.bytes();
    let mut now = [0; 8];
    if at + width > bytes.len() {
        return;
    }
    now[..width].copy_from_slice(&bytes[at..at + width]);
    let value = value(input, u64::from_le_bytes(now), bytes);
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

/// Whichever of few shapes: the fuzzer is to find its way through the numbers in the memory, not through large memory.
fn made(input: &mut Input<'_>) -> Made {
    let (sizes, policy) = (input.byte(), input.byte());
    Made {
        many: [1, 2, 4, 16, 64, 128, 1024, 4096][usize::from(sizes & 7)],
        longest: [1, 8, 40, 48, 100, 112, 240, 1000][usize::from(sizes >> 3 & 7)],
        overflow: i32::from(policy & 3).min(2),
        delivery: i32::from(policy >> 2 & 1),
        typed: policy >> 3 & 1 == 1,
    }
}

/// Bytes that the program says it has mapped, of a container that has `size`.
fn mapped(input: &mut Input<'_>, size: usize) -> usize {
    let choice = usize::from(input.byte());
    match choice {
        0..160 => size,
        160..192 => size.saturating_sub(choice - 159).max(1),
        192..224 => 64 * (choice - 191),
        _ => size + choice - 223,
    }
}

/// A container that was made well and then written to by a peer; then its ends use it while the peer goes on.
///
/// | byte | choice |
/// |---|---|
/// | 0 | which container (low 2 bits); at the end of the pages (bit 2); bytes as they are (bit 3) |
/// | 1, 2 | what it is made as (see `made`) |
/// | 3 | bytes that are mapped |
/// | then | with bit 3, a length and bytes for the front; then up to 40 steps (see `steps`) |
pub fn containers(input: &[u8]) {
    let mut input = Input(input);
    let flags = input.byte();
    match flags & 3 {
        0 => run::<Rings>(&mut input, flags),
        1 => run::<Queues>(&mut input, flags),
        2 => run::<Broadcasts>(&mut input, flags),
        _ => run::<Cells>(&mut input, flags),
    }
}

fn run<C: Container>(input: &mut Input<'_>, flags: u8) {
    let mut made = made(input);
    // Memory for the largest of them.
    while C::size(&made) > ROOM - 64 {
        made.many /= 2;
    }
    let (size, arena) = (C::size(&made), arenas(|arenas| arenas.memory.0));
    let length = mapped(input, size).min(ROOM);
    let at = if flags >> 2 & 1 == 1 { ROOM - length.next_multiple_of(64) } else { 0 };
    arenas(|arenas| {
        let bytes = arenas.memory.bytes();
        bytes.fill(0);
        assert_eq!(C::make(Memory { at: arena, length: size }, &made), OK, "{}", message());
        bytes.copy_within(..length, at);
        bytes[..at].fill(CANARY);
        bytes[at + length..].fill(CANARY);
    });
    // SAFETY: within the arena.
    let mut memory = Memory { at: unsafe { arena.add(at) }, length };
    if flags >> 3 & 1 == 1 {
        let count = usize::from(input.half()).min(length);
        let written = input.bytes(count);
        memory.bytes()[..written.len()].copy_from_slice(written);
    }
    steps::<C>(input, memory, &made);
    assert!(arenas(|arenas| arenas.memory.is_untouched_outside(at, length)), "changed outside of the memory");
}

/// Steps of a byte each, and what follows it: the peer writes, or one of the two ends is attached, detached, or does something.
///
/// | bits | choice |
/// |---|---|
/// | 0 to 4 | what: 0 to 6 the peer writes, makes it anew, somebody looks, ends come and go; the others are calls |
/// | 5, 6 | both: it waits, shortly |
/// | 7 | which end |
fn steps<C: Container>(input: &mut Input<'_>, mut memory: Memory, made: &Made) {
    // SAFETY: zeros are valid for the C structs, and mean that nothing is attached.
    let mut ends: [C::End; 2] = unsafe { std::mem::zeroed() };
    let mut longest = [None; 2];
    for _ in 0..40 {
        if input.0.is_empty() {
            break;
        }
        let byte = input.byte();
        let (side, timeout) = (usize::from(byte >> 7), if byte >> 5 & 3 == 3 { 20_000 } else { 0 });
        let end = &raw mut ends[side];
        match byte & 31 {
            0..=2 => spoil::<C>(input, &mut memory, C::stride(made)),
            3 => drop(memory.look::<C>()),
            4 if C::size(made) <= memory.length => assert_eq!(C::make(memory, made), OK, "{}", message()),
            5 if longest[side].take().is_some() => {
                assert_eq!(C::detach(end), OK, "{}", message());
                assert_eq!(C::detach(end), Status::ErrBadHandle as i32, "detached twice");
            }
            call => {
                if call < 7 && longest[side].is_none() {
                    let turn = Turn { memory, side, longest: Some(0), timeout, call, input };
                    let choices = turn.input.byte();
                    let (known, typed) = (memory.look::<C>(), choices >> 2 & 1 == 1);
                    let status = C::attach(end, &turn, typed, choices);
                    let of_type: &[Status] = if typed { &[Status::ErrLayout] } else { &[] };
                    if among(status, &turn, &[C::ATTACHING, of_type]) {
                        longest[side] = Some(known.expect("what can be attached can be looked at"));
                        ACCEPTED.fetch_add(1, Relaxed);
                    }
                    continue;
                }
                let call = call.wrapping_sub(7);
                let mut turn = Turn { memory, side, longest: longest[side], timeout, call, input };
                C::call(end, &mut turn);
            }
        }
    }
    for side in 0..2 {
        let expected = if longest[side].is_some() { OK } else { Status::ErrBadHandle as i32 };
        assert_eq!(C::detach(&raw mut ends[side]), expected, "{}", message());
    }
}
