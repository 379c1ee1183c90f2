//! A peer that writes whatever it likes into the memory of a container while calls on it run, not only between them: no call
//! crashes, hangs, shows a span outside of the memory, writes past a buffer, or fails without words of its own. What a peer
//! leaves between calls is for `fuzz/checks/containers.rs`; what such bytes mean, for `hostile_bytes` of each container's test.
//! `SHMKIT_LONG=1` takes ten times as long.

mod support;

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use shmkit::capi::broadcast::*;
use shmkit::capi::cell::*;
use shmkit::capi::queue::*;
use shmkit::capi::ring::*;
use support::cast_room::region;
use support::containers::apart;
use support::message;
use support::queue_room::{AGAIN, BLOCK, DROP, ONCE, REFUSE, options};
use support::ring_room::{Memory, Random};
use support::sync_room::{kill, start};

/// Of the program, with bytes behind it that nobody may change.
const ROOM: usize = 128;
const CANARY: u8 = 0xa5;
const LONGEST: usize = 100;

/// Writes numbers that are near to what stands there, or to what could, and others.
fn write_whatever(memory: Memory, stride: usize, seed: u64) -> ! {
    let mut random = Random(seed);
    let words = memory.length / 8;
    loop {
        let place = match random.below(8) {
            0..3 => random.below(40),
            3..6 => (memory.length.min(832) / 8 + random.below(words) * (stride / 8) + random.below(2)) % words,
            _ => random.below(words),
        };
        let word = memory.word(8 * place);
        let (old, near) = (word.load(Relaxed), random.below(9) as u64);
        let new = match random.below(10) {
            0 => random.next(),
            1 => near,
            2 => !near,
            3 => old ^ 1 << random.below(64),
            4 => old.wrapping_add(near).wrapping_sub(4),
            5 => old.wrapping_add(near << 3).wrapping_sub(32),
            6 => old.wrapping_add(near << 18).wrapping_sub(4 << 18),
            7 => old & !0x3_ffff | (random.below(4) as u64) << 16 | near,
            8 => memory.word(8 * random.below(words)).load(Relaxed),
            _ => 0x7368_6d31 << 32 | near << 4,
        };
        word.store(new, Relaxed);
        // In bursts, so that calls come to something in between.
        if random.below(4) == 0 {
            (0..random.below(4000)).for_each(|_| std::hint::spin_loop());
        }
    }
}

/// What a call works with, beside the peer.
struct Beside {
    memory: Memory,
    random: Random,
    buffer: [u8; ROOM],
    /// Calls that did what they were asked for, and others.
    done: u64,
    refused: u64,
}

impl Beside {
    /// Whether the call did what it was asked for; otherwise it says why not, and names itself.
    #[track_caller]
    fn did(&mut self, name: &str, status: i32) -> bool {
        if status == 0 {
            self.done += 1;
            return true;
        }
        let words = message();
        assert!(status < 0 && words.contains(name), "{status}: {words}");
        self.refused += 1;
        false
    }

    /// Mostly none.
    fn timeout(&mut self) -> u64 {
        if self.random.below(16) == 0 { 50_000 } else { 0 }
    }

    fn length(&mut self) -> usize {
        self.random.below(LONGEST + 4)
    }

    /// A span to read, or to fill.
    #[track_caller]
    fn touch(&self, at: *const c_void, size: usize, fill: bool) {
        let offset = at.addr().wrapping_sub(self.memory.at);
        assert!(offset <= self.memory.length && size <= self.memory.length - offset, "{size} bytes at {offset}");
        for place in (offset..offset + size).step_by(8).filter(|place| place + 8 <= self.memory.length) {
            match fill {
                true => self.memory.word(place & !7).store(0x5a5a, Relaxed),
                false => drop(std::hint::black_box(self.memory.word(place & !7).load(Relaxed))),
            }
        }
    }

    /// The buffer, and room for so many bytes in it.
    fn into(&mut self) -> (*mut c_void, usize) {
        self.buffer.fill(CANARY);
        (self.buffer.as_mut_ptr().cast(), self.random.below(LONGEST + 4))
    }

    #[track_caller]
    fn filled(&self, room: usize) {
        assert!(self.buffer[room..].iter().all(|byte| *byte == CANARY), "written past {room} bytes");
    }
}

/// Calls beside a peer, for a while; now and then all is made anew.
fn beside(memory: Memory, stride: usize, init: impl Fn(Memory) -> i32, mut call: impl FnMut(&mut Beside)) {
    let seconds = if std::env::var("SHMKIT_LONG").is_ok_and(|value| value == "1") { 20 } else { 2 };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut beside = Beside { memory, random: Random(7), buffer: [0; ROOM], done: 0, refused: 0 };
    for seed in 0.. {
        assert_eq!(init(memory), 0, "{}", message());
        let peer = start(|| write_whatever(memory, stride, seed));
        let turn = Instant::now();
        while turn.elapsed() < Duration::from_millis(50) {
            (0..50).for_each(|_| call(&mut beside));
            // A peer may have written to the stamp.
            assert_eq!(init(memory), 0, "{}", message());
        }
        kill(peer);
        assert!(memory.is_untouched());
        if Instant::now() > end {
            break;
        }
    }
    println!("{} calls did what they were asked for, {} refused", beside.done, beside.refused);
    assert!(beside.done > 1000 && beside.refused > 1000);
}

/// A C struct in which nothing is attached, where it may stay.
fn new<T>() -> Box<MaybeUninit<T>> {
    Box::new(MaybeUninit::zeroed())
}

#[test]
fn rings() {
    apart("rings", || {
        let memory = Memory::new(shmkit_ring_size(512));
        let mut ends = [new::<shmkit_ring_t>(), new::<shmkit_ring_t>()];
        let init = |memory: Memory| {
            // SAFETY: the memory is mapped.
            unsafe { shmkit_ring_init(memory.start(), memory.length, null()) }
        };
        // SAFETY: what is attached stays where it is, the memory is mapped, buffers and places are this frame's.
        beside(memory, 8, init, |the| unsafe {
            let [producer, consumer] = ends.each_mut().map(|end| end.as_mut_ptr());
            let (mut at, mut shown, mut size) = (null_mut(), null(), 0);
            let (length, timeout) = (the.length(), the.timeout());
            match the.random.below(16) {
                0 => {
                    for (end, role) in [(producer, SHMKIT_RING_PRODUCE), (consumer, SHMKIT_RING_CONSUME)] {
                        let how = role | SHMKIT_RING_TAKE_OVER;
                        the.did(
                            "shmkit_ring_attach",
                            shmkit_ring_attach(end, memory.start(), memory.length, null(), how),
                        );
                    }
                }
                1..4 => {
                    if the.did("shmkit_ring_reserve", shmkit_ring_reserve(producer, length, &mut at, timeout)) {
                        the.touch(at, length, true);
                        the.did("shmkit_ring_commit", shmkit_ring_commit(producer, length / 2));
                    }
                }
                4..6 => {
                    let bytes = the.buffer.as_ptr().cast();
                    the.did("shmkit_ring_write", shmkit_ring_write(producer, bytes, length, timeout));
                }
                6 => {
                    let spans = [shmkit_span_t { data: the.buffer.as_mut_ptr().cast(), size: length / 2 }; 3];
                    let status = shmkit_ring_write_batch(producer, spans.as_ptr(), 3, &mut size, timeout);
                    the.did("shmkit_ring_write_batch", status);
                }
                7..10 => {
                    if the.did("shmkit_ring_peek", shmkit_ring_peek(consumer, &mut shown, &mut size, timeout)) {
                        the.touch(shown, size, false);
                        the.did("shmkit_ring_release", shmkit_ring_release(consumer, 1));
                    }
                }
                10..12 => {
                    let (buffer, room) = the.into();
                    let status = shmkit_ring_read(consumer, buffer, room, &mut size, timeout);
                    the.filled(room);
                    the.did("shmkit_ring_read", status);
                }
                12 => {
                    let mut spans = [const { MaybeUninit::<shmkit_span_t>::uninit() }; 4];
                    let status = shmkit_ring_peek_batch(consumer, spans.as_mut_ptr().cast(), 4, &mut size, timeout);
                    if the.did("shmkit_ring_peek_batch", status) {
                        for span in &spans[..size] {
                            let span = span.assume_init_ref();
                            the.touch(span.data, span.size, false);
                        }
                        the.did("shmkit_ring_release", shmkit_ring_release(consumer, size));
                    }
                }
                13 => drop(the.did("shmkit_ring_arm", shmkit_ring_arm(consumer))),
                14 => drop(the.did("shmkit_ring_arm", shmkit_ring_arm(producer))),
                _ => {
                    let mut stat = MaybeUninit::uninit();
                    the.did("shmkit_ring_stat", shmkit_ring_stat(memory.start(), memory.length, stat.as_mut_ptr()));
                }
            }
        });
    });
}

#[test]
fn queues() {
    apart("queues", || {
        for (overflow, delivery) in [(BLOCK, AGAIN), (REFUSE, ONCE), (DROP, AGAIN)] {
            let options = options(4, LONGEST as u64, overflow, delivery);
            // SAFETY: the struct is whole.
            let memory = Memory::new(unsafe { shmkit_queue_size(&options) });
            let region = region();
            let mut members = [new::<shmkit_queue_t>(), new::<shmkit_queue_t>()];
            let init = |memory: Memory| {
                // SAFETY: the memory is mapped.
                unsafe { shmkit_queue_init(memory.start(), memory.length, &options) }
            };
            // SAFETY: as in `rings`.
            beside(memory, 128, init, |the| unsafe {
                let which = the.random.below(2);
                let member = members[which].as_mut_ptr();
                let (mut at, mut shown, mut size) = (null_mut(), null(), 0);
                let (length, timeout) = (the.length(), the.timeout());
                match the.random.below(16) {
                    0 => {
                        shmkit_queue_detach(member);
                        let status = shmkit_queue_attach(member, region, memory.start(), memory.length, null());
                        the.did("shmkit_queue_attach", status);
                    }
                    1..4 => {
                        if the.did("shmkit_queue_reserve", shmkit_queue_reserve(member, length, &mut at, timeout)) {
                            the.touch(at, length, true);
                            match the.random.below(4) {
                                0 => the.did("shmkit_queue_abort", shmkit_queue_abort(member)),
                                _ => the.did("shmkit_queue_commit", shmkit_queue_commit(member, length)),
                            };
                        }
                    }
                    4..7 => {
                        let bytes = the.buffer.as_ptr().cast();
                        the.did("shmkit_queue_send", shmkit_queue_send(member, bytes, length, timeout));
                    }
                    7..10 => {
                        if the.did("shmkit_queue_take", shmkit_queue_take(member, &mut shown, &mut size, timeout)) {
                            the.touch(shown, size, false);
                            the.did("shmkit_queue_release", shmkit_queue_release(member));
                        }
                    }
                    10..13 => {
                        let (buffer, room) = the.into();
                        let status = shmkit_queue_receive(member, buffer, room, &mut size, timeout);
                        the.filled(room);
                        the.did("shmkit_queue_receive", status);
                    }
                    13 => drop(the.did("shmkit_queue_arm", shmkit_queue_arm(member))),
                    14 => drop(the.did("shmkit_queue_close", shmkit_queue_close(member))),
                    _ => {
                        let mut stat = MaybeUninit::uninit();
                        let status = shmkit_queue_stat(memory.start(), memory.length, stat.as_mut_ptr());
                        the.did("shmkit_queue_stat", status);
                    }
                }
            });
        }
    });
}

#[test]
fn broadcasts() {
    apart("broadcasts", || {
        let memory = Memory::new(shmkit_broadcast_size(4, LONGEST));
        let region = region();
        let mut members = [new::<shmkit_broadcast_t>(), new::<shmkit_broadcast_t>()];
        let init = |memory: Memory| {
            // SAFETY: the memory is mapped.
            unsafe { shmkit_broadcast_init(memory.start(), memory.length, 4, LONGEST, null()) }
        };
        // SAFETY: as in `rings`.
        beside(memory, 128, init, |the| unsafe {
            let which = the.random.below(2);
            let member = members[which].as_mut_ptr();
            let (mut at, mut size, mut missed) = (null_mut(), 0, 0);
            let (length, timeout) = (the.length(), the.timeout());
            match the.random.below(16) {
                0 => {
                    shmkit_broadcast_detach(member);
                    let from = [SHMKIT_BROADCAST_FROM_NOW, SHMKIT_BROADCAST_FROM_OLDEST][the.random.below(2)];
                    let (start, length) = (memory.start(), memory.length);
                    let status = shmkit_broadcast_attach(member, region, start, length, null(), from);
                    the.did("shmkit_broadcast_attach", status);
                }
                1..5 => {
                    if the.did("shmkit_broadcast_reserve", shmkit_broadcast_reserve(member, length, &mut at)) {
                        the.touch(at, length, true);
                        match the.random.below(4) {
                            0 => the.did("shmkit_broadcast_abort", shmkit_broadcast_abort(member)),
                            _ => the.did("shmkit_broadcast_commit", shmkit_broadcast_commit(member, length)),
                        };
                    }
                }
                5..8 => {
                    let bytes = the.buffer.as_ptr().cast();
                    the.did("shmkit_broadcast_write", shmkit_broadcast_write(member, bytes, length));
                }
                8..14 => {
                    let (buffer, room) = the.into();
                    let status = shmkit_broadcast_read(member, buffer, room, &mut size, &mut missed, timeout);
                    the.filled(room);
                    the.did("shmkit_broadcast_read", status);
                }
                14 => drop(the.did("shmkit_broadcast_arm", shmkit_broadcast_arm(member))),
                _ => {
                    let mut stat = MaybeUninit::uninit();
                    let status = shmkit_broadcast_stat(memory.start(), memory.length, stat.as_mut_ptr());
                    the.did("shmkit_broadcast_stat", status);
                }
            }
        });
    });
}

#[test]
fn cells() {
    apart("cells", || {
        let memory = Memory::new(shmkit_cell_size(LONGEST));
        let mut users = [new::<shmkit_cell_t>(), new::<shmkit_cell_t>()];
        let init = |memory: Memory| {
            // SAFETY: the memory is mapped.
            unsafe { shmkit_cell_init(memory.start(), memory.length, LONGEST, null()) }
        };
        // SAFETY: as in `rings`.
        beside(memory, 128, init, |the| unsafe {
            let [writer, reader] = users.each_mut().map(|user| user.as_mut_ptr());
            let (mut at, mut size, mut version) = (null_mut(), 0, 0);
            let (length, timeout) = (the.length(), the.timeout());
            match the.random.below(16) {
                0 => {
                    for (user, how) in [(writer, SHMKIT_CELL_WRITE | SHMKIT_CELL_TAKE_OVER), (reader, SHMKIT_CELL_READ)]
                    {
                        shmkit_cell_detach(user);
                        let status = shmkit_cell_attach(user, memory.start(), memory.length, null(), how);
                        the.did("shmkit_cell_attach", status);
                    }
                }
                1..4 => {
                    if the.did("shmkit_cell_reserve", shmkit_cell_reserve(writer, length, &mut at)) {
                        the.touch(at, length, true);
                        the.did("shmkit_cell_commit", shmkit_cell_commit(writer, length));
                    }
                }
                4..7 => {
                    let bytes = the.buffer.as_ptr().cast();
                    the.did("shmkit_cell_write", shmkit_cell_write(writer, bytes, length));
                }
                7..11 => {
                    let (buffer, room) = the.into();
                    let status = shmkit_cell_read(reader, buffer, room, &mut size, &mut version);
                    the.filled(room);
                    the.did("shmkit_cell_read", status);
                }
                11..15 => {
                    let ((buffer, room), after) = (the.into(), the.random.below(4) as u64);
                    let status = shmkit_cell_read_newer(reader, after, buffer, room, &mut size, &mut version, timeout);
                    the.filled(room);
                    the.did("shmkit_cell_read_newer", status);
                }
                _ => {
                    let mut stat = MaybeUninit::uninit();
                    the.did("shmkit_cell_stat", shmkit_cell_stat(memory.start(), memory.length, stat.as_mut_ptr()));
                }
            }
        });
    });
}
