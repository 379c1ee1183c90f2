//! The ring as a C program calls it, within one process: what each function says of every wrong use, messages of every
//! length through every wrap against a queue of the standard library, and hostile bytes. Next: `ring_peers.rs` for
//! several processes, `ring_kill_points.rs` for deaths at every instruction, `ring_models.rs` for the core in every order.

mod support;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use shmkit::capi::options::RegionLayout;
use shmkit::capi::ring::*;
use shmkit::error::Status;
use support::containers::*;
use support::ring_room::*;
use support::sync_room::{STALLED, alarm, good};
use support::{alone, message};

// ------------------------------------------------------------------------------------------------------------------
// Wrong uses
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn sizes() {
    for (capacity, room) in [(0, 64), (1, 64), (64, 64), (65, 128), (4096, 4096), (5000, 8192), (1 << 40, 1 << 40)] {
        assert_eq!(shmkit_ring_size(capacity), DATA_AT + room, "{capacity}");
    }
    for capacity in [(1 << 40) + 1, 1 << 41, 1 << 63, (1 << 63) + 1, usize::MAX] {
        assert_eq!(shmkit_ring_size(capacity), 0, "{capacity}");
    }
}

/// Each function that is given the memory, at an address and with a length.
fn all_of_memory(at: usize, length: usize) -> [Answer; 4] {
    let mut end = MaybeUninit::<shmkit_ring_t>::zeroed();
    let mut stat = MaybeUninit::<shmkit_ring_stat_t>::zeroed();
    let at: *mut c_void = without_provenance_mut(at);
    // SAFETY: these are the documented answers to wrong memory; the places are writable.
    unsafe {
        [
            answer("ring_init", shmkit_ring_init(at, length, null())),
            answer("ring_attach", shmkit_ring_attach(end.as_mut_ptr(), at, length, null(), PRODUCE)),
            answer("ring_attach", shmkit_ring_attach(end.as_mut_ptr(), at, length, null(), CONSUME)),
            answer("ring_stat", shmkit_ring_stat(at, length, stat.as_mut_ptr())),
        ]
    }
}

#[test]
fn wrong_memory() {
    alone("wrong_memory", &[], || {
        for wild in WILD {
            for one in &all_of_memory(wild, 4096) {
                said(one, Status::ErrBadPointer, "a wild pointer");
            }
        }
        let memory = Memory::new(8192);
        for one in &all_of_memory(memory.at, usize::MAX) {
            said(one, Status::ErrBadPointer, "around the end of the address space");
        }
        for aside in [1, 4, 8, 32] {
            for one in &all_of_memory(memory.at + aside, 4096) {
                said(one, Status::ErrInvalidArgument, "not aligned");
            }
        }
        for length in [0, 1, 3, 4, 255] {
            for one in &all_of_memory(memory.at, length) {
                said(one, Status::ErrInvalidArgument, "too short");
            }
        }
        // There is a head, but no room; and there is no ring.
        for length in [256, 319] {
            let results = all_of_memory(memory.at, length);
            said(&results[0], Status::ErrInvalidArgument, "too short");
            for one in &results[1..] {
                said(one, Status::ErrUninitialised, "zeros");
            }
        }
        for (name, result, words) in &all_of_memory(memory.at, 320)[1..2] {
            // The first of them has made it.
            assert_eq!(*result, 0, "{name}: {words}");
        }
        let read_only = Memory::ring(64);
        read_only.protect(libc::PROT_READ);
        let results = all_of_memory(read_only.at, read_only.length);
        for one in &results[..3] {
            said(one, Status::ErrAccess, "mapped read-only");
        }
        assert_eq!(results[3].1, 0, "looking needs no more");
        read_only.protect(libc::PROT_NONE);
        let results = all_of_memory(read_only.at, read_only.length);
        for one in &results[..3] {
            said(one, Status::ErrAccess, "mapped without access");
        }
        said(&results[3], Status::ErrBadPointer, "mapped without access");
        // Its last byte counts too.
        let half = Memory::ring(4096);
        let results = all_of_memory(half.at, half.length + 64);
        for one in &results[..3] {
            said(one, Status::ErrAccess, "part of it is not mapped");
        }
        said(&results[3], Status::ErrBadPointer, "part of it is not mapped");
    });
}

#[test]
fn wrong_heads() {
    let memory = Memory::ring(1024);
    let ends = |expected: Status, what: &str| {
        for how in [PRODUCE, CONSUME] {
            says("ring_attach", End::attach(memory, how).err().expect(what), expected, what);
            assert_eq!(memory.word(PRODUCER_AT).load(SeqCst), 0, "{what}: the end stays free");
            assert_eq!(memory.word(CONSUMER_AT).load(SeqCst), 0, "{what}: the end stays free");
        }
    };
    for stamp in [0, 1, u64::from_le_bytes(*b"shmring\x02")] {
        let before = memory.word(0).swap(stamp, SeqCst);
        ends(Status::ErrUninitialised, "another stamp");
        says("ring_stat", memory.stat().err().expect("refused"), Status::ErrUninitialised, "another stamp");
        memory.word(0).store(before, SeqCst);
    }
    for capacity in [0, 1, 32, 63, 1023, 1025, 2048, 1 << 40, 1 << 63, u64::MAX] {
        memory.word(CAPACITY_AT).store(capacity, SeqCst);
        ends(Status::ErrCorrupt, "another capacity");
        says("ring_stat", memory.stat().err().expect("refused"), Status::ErrCorrupt, "another capacity");
    }
    memory.word(CAPACITY_AT).store(1024, SeqCst);
    for (head, tail) in [
        (8, 0),
        (0, 1032),
        (0, 1),
        (4, 8),
        (8, 12),
        (u64::MAX - 7, 0),
        (u64::MAX - 7, 8),
        (u64::MAX - 7, u64::MAX - 7),
        (1 << 63, 1 << 63),
        (0, 1 << 63),
    ] {
        memory.word(HEAD_AT).store(head, SeqCst);
        memory.word(TAIL_AT).store(tail, SeqCst);
        ends(Status::ErrCorrupt, "head and tail that cannot be");
        assert!(memory.stat().expect("it can be looked at").used <= 1024);
    }
    // Less memory than it was made with.
    let part = Memory { length: memory.length - 64, ..memory };
    refused(End::attach(part, PRODUCE).map(|_| ()), Status::ErrCorrupt);
    // A ring is what fits: 1024 of 2000 bytes.
    let odd = Memory::new(256 + 1984);
    odd.init();
    assert_eq!(odd.stat().expect("it is a ring").capacity, 1024);
    // Made anew, it is empty.
    memory.init();
    refused(End::consumer(memory).read(0), Status::ErrAgain);
}

#[test]
fn wrong_arguments_of_attach() {
    let memory = Memory::ring(64);
    let mut end = MaybeUninit::<shmkit_ring_t>::zeroed();
    // SAFETY: these are the documented answers to wrong arguments.
    unsafe {
        for how in [0, 3, 4, 7, 8, -1, PRODUCE | 8, CONSUME | 16] {
            let result = shmkit_ring_attach(end.as_mut_ptr(), memory.start(), memory.length, null(), how);
            says("ring_attach", result, Status::ErrInvalidArgument, "neither end");
        }
        for wild in WILD.into_iter().chain([end.as_ptr() as usize + 8, end.as_ptr() as usize + 32]) {
            let result =
                shmkit_ring_attach(without_provenance_mut(wild), memory.start(), memory.length, null(), PRODUCE);
            says("ring_attach", result, Status::ErrBadPointer, "no place for the end");
        }
        for wild in [8, end.as_ptr() as usize + 1] {
            let layout = std::ptr::without_provenance(wild);
            let result = shmkit_ring_attach(end.as_mut_ptr(), memory.start(), memory.length, layout, PRODUCE);
            says("ring_attach", result, Status::ErrBadPointer, "no layout");
            says(
                "ring_init",
                shmkit_ring_init(memory.start(), memory.length, layout),
                Status::ErrBadPointer,
                "no layout",
            );
        }
        let stat: [usize; 3] = [0, 8, end.as_ptr() as usize + 4];
        for wild in stat {
            let result = shmkit_ring_stat(memory.start(), memory.length, without_provenance_mut(wild));
            says("ring_stat", result, Status::ErrBadPointer, "no place for the answer");
        }
    }
}

#[test]
fn layouts() {
    let layout = |name: &'static std::ffi::CStr, size, version, alignment| RegionLayout {
        name: name.as_ptr(),
        size,
        version,
        alignment,
    };
    let made = layout(c"struct sample", 24, 3, 8);
    let memory = Memory::new(320);
    // SAFETY: the memory is mapped, the layouts are good.
    unsafe {
        good(shmkit_ring_init(memory.start(), memory.length, &made));
        let mut end = MaybeUninit::<shmkit_ring_t>::zeroed();
        let mut attach = |layout: *const RegionLayout| {
            let result = shmkit_ring_attach(end.as_mut_ptr(), memory.start(), memory.length, layout, PRODUCE);
            if result == 0 {
                good(shmkit_ring_detach(end.as_mut_ptr()));
            }
            result
        };
        good(attach(null()));
        good(attach(&made));
        good(attach(&layout(c"sample", 24, 3, 8)));
        for other in [
            layout(c"samples", 24, 3, 8),
            layout(c"sample", 25, 3, 8),
            layout(c"sample", 24, 4, 8),
            layout(c"sample", 24, 3, 16),
        ] {
            says("ring_attach", attach(&other), Status::ErrLayout, "another layout");
        }
        says("ring_attach", attach(&layout(c"  ", 1, 1, 1)), Status::ErrInvalidArgument, "no name");
        // A ring for anything is not one for a certain type.
        good(shmkit_ring_init(memory.start(), memory.length, null()));
        says("ring_attach", attach(&made), Status::ErrLayout, "a ring for anything");
    }
}

/// Each function of an end, with arguments that are good: what it answers.
fn all_of_end(end: *mut shmkit_ring_t) -> Vec<Answer> {
    let (mut to, mut from, mut size) = (null_mut(), null(), 0);
    let mut buffer = [0u8; 64];
    let mut span = shmkit_span_t { data: buffer.as_mut_ptr().cast(), size: 8 };
    // SAFETY: the places are writable; these are the documented answers to what is no end.
    unsafe {
        vec![
            answer("ring_reserve", shmkit_ring_reserve(end, 8, &mut to, 0)),
            answer("ring_commit", shmkit_ring_commit(end, 0)),
            answer("ring_abort", shmkit_ring_abort(end)),
            answer("ring_write", shmkit_ring_write(end, buffer.as_ptr().cast(), 8, 0)),
            answer("ring_write_batch", shmkit_ring_write_batch(end, &span, 1, &mut size, 0)),
            answer("ring_write_batch", shmkit_ring_write_batch(end, &span, 0, &mut size, 0)),
            answer("ring_close", shmkit_ring_close(end)),
            answer("ring_peek", shmkit_ring_peek(end, &mut from, &mut size, 0)),
            answer("ring_peek_batch", shmkit_ring_peek_batch(end, &mut span, 1, &mut size, 0)),
            answer("ring_peek_batch", shmkit_ring_peek_batch(end, &mut span, 0, &mut size, 0)),
            answer("ring_release", shmkit_ring_release(end, 1)),
            answer("ring_read", shmkit_ring_read(end, buffer.as_mut_ptr().cast(), 64, &mut size, 0)),
            answer("ring_arm", shmkit_ring_arm(end)),
            answer("ring_set_notify_fd", shmkit_ring_set_notify_fd(end, -1)),
            answer("ring_detach", shmkit_ring_detach(end)),
        ]
    }
}

const WRITING: std::ops::Range<usize> = 0..7;
const READING: std::ops::Range<usize> = 7..12;

#[test]
fn wrong_ends() {
    let memory = Memory::ring(256);
    let all_say = |end: *mut shmkit_ring_t, expected, what| {
        for one in &all_of_end(end) {
            said(one, expected, what);
        }
    };
    for wild in WILD {
        all_say(without_provenance_mut(wild), Status::ErrBadPointer, "a wild pointer");
    }
    let mut never = MaybeUninit::<shmkit_ring_t>::zeroed();
    all_say(never.as_mut_ptr(), Status::ErrBadHandle, "never attached");
    all_say(without_provenance_mut(never.as_ptr() as usize + 8), Status::ErrBadHandle, "not aligned");
    let end = End::producer(memory);
    // SAFETY: an end is bytes.
    let moved = Box::new(unsafe { end.raw().read() });
    all_say((&raw const *moved).cast_mut(), Status::ErrBadHandle, "moved");
    for one in &all_of_end(end.raw())[READING] {
        said(one, Status::ErrInvalidArgument, "the end that writes");
    }
    // The last one has detached it.
    all_say(end.raw(), Status::ErrBadHandle, "detached");
    let end = End::consumer(memory);
    for one in &all_of_end(end.raw())[WRITING] {
        said(one, Status::ErrInvalidArgument, "the end that reads");
    }
    all_say(end.raw(), Status::ErrBadHandle, "detached");
}

/// Twice: while there is nothing to do, and while there is.
#[test]
fn places_of_results_and_bytes_are_checked() {
    let memory = Memory::ring(256);
    let (producer, consumer) = (End::producer(memory), End::consumer(memory));
    let (to, from) = (producer.raw(), consumer.raw());
    let mut size = 0usize;
    let mut place: *const c_void = null();
    let bytes = [7u8; 64];
    let span = shmkit_span_t { data: bytes.as_ptr().cast_mut().cast(), size: 8 };
    for round in 0..2 {
        for wild in [0, (&raw const size) as usize + 4] {
            let bad = Status::ErrBadPointer;
            // SAFETY: these are the documented answers to such places.
            unsafe {
                says("ring_reserve", shmkit_ring_reserve(to, 8, without_provenance_mut(wild), 0), bad, "place");
                says(
                    "ring_write_batch",
                    shmkit_ring_write_batch(to, &span, 1, without_provenance_mut(wild), 0),
                    bad,
                    "place",
                );
                let spans: *mut shmkit_span_t = without_provenance_mut(wild);
                says("ring_write_batch", shmkit_ring_write_batch(to, spans, 1, &mut size, 0), bad, "spans");
                says("ring_peek", shmkit_ring_peek(from, without_provenance_mut(wild), &mut size, 0), bad, "place");
                says("ring_peek", shmkit_ring_peek(from, &mut place, without_provenance_mut(wild), 0), bad, "place");
                says("ring_peek_batch", shmkit_ring_peek_batch(from, spans, 1, &mut size, 0), bad, "spans");
                let mut good_span = span;
                let found = without_provenance_mut(wild);
                says("ring_peek_batch", shmkit_ring_peek_batch(from, &mut good_span, 1, found, 0), bad, "place");
                let mut buffer = [0u8; 64];
                let at = buffer.as_mut_ptr().cast();
                says("ring_read", shmkit_ring_read(from, at, 64, without_provenance_mut(wild), 0), bad, "place");
            }
        }
        for nowhere in NOWHERE {
            let nowhere: *mut c_void = without_provenance_mut(nowhere);
            // SAFETY: as above.
            unsafe {
                says("ring_write", shmkit_ring_write(to, nowhere, 1, 0), Status::ErrBadPointer, "no bytes");
                let none = shmkit_span_t { data: nowhere, size: 1 };
                let batch = shmkit_ring_write_batch(to, &none, 1, &mut size, 0);
                says("ring_write_batch", batch, Status::ErrBadPointer, "no bytes");
                let read = shmkit_ring_read(from, nowhere, 64, &mut size, 0);
                says("ring_read", read, Status::ErrBadPointer, "no buffer");
            }
        }
        if round == 0 {
            // Without bytes no place for them is needed.
            // SAFETY: as above.
            good(unsafe { shmkit_ring_write(to, null(), 0, 0) });
            good(producer.write(&bytes[..8], 0));
        }
    }
    // SAFETY: nothing is read to nowhere.
    good(unsafe { shmkit_ring_read(from, null_mut(), 0, &mut size, 0) });
    assert_eq!(size, 0);
    // In the midst of a batch it ends there.
    let none = shmkit_span_t { data: null_mut(), size: 1 };
    // SAFETY: the spans are readable.
    good(unsafe { shmkit_ring_write_batch(to, [span, none].as_ptr(), 2, &mut size, 0) });
    assert_eq!(size, 1);
    assert_eq!(consumer.read(0), Ok(vec![7; 8]));
    assert_eq!(consumer.read(0), Ok(vec![7; 8]));
    refused(consumer.read(0), Status::ErrAgain);
}

#[test]
fn reservations() {
    let memory = Memory::ring(128);
    let (producer, consumer) = (End::producer(memory), End::consumer(memory));
    let nothing = |result: i32, name| says(name, result, Status::ErrInvalidArgument, "nothing is reserved or shown");
    nothing(producer.commit(0), "ring_commit");
    good(producer.abort());
    let at = producer.reserve(10, 0).expect("there is room");
    assert!((at as usize).is_multiple_of(8));
    nothing(producer.commit(11), "ring_commit");
    nothing(producer.commit(usize::MAX), "ring_commit");
    producer.fill(at, b"0123456789");
    good(producer.commit(4));
    for again in [0, 1, 2, 10] {
        nothing(producer.commit(again), "ring_commit");
    }
    nothing(consumer.release(1), "ring_release");
    let (place, bytes) = consumer.peek(0).expect("there is one");
    assert_eq!((place, &bytes[..]), (at as usize, &b"0123"[..]));
    assert_eq!(consumer.peek(0), Ok((place, bytes)), "the same one until it is released");
    for wrong in [0, 2, usize::MAX] {
        nothing(consumer.release(wrong), "ring_release");
    }
    good(consumer.release(1));
    nothing(consumer.release(1), "ring_release");
    // However little of it was committed, also behind bytes that fill the end, the reservation is over.
    for _ in 0..8 {
        let at = producer.reserve(56, 0).expect("there is room");
        producer.fill(at, b"x");
        good(producer.commit(1));
        for again in [0, 1, 8, 40] {
            nothing(producer.commit(again), "ring_commit");
        }
        assert_eq!(consumer.read(0), Ok(b"x".to_vec()));
        refused(consumer.peek(0), Status::ErrAgain);
    }
    // A second reservation replaces the first; an abort takes it back; one that fails leaves it.
    let first = producer.reserve(8, 0).expect("there is room");
    assert_eq!(producer.reserve(16, 0), Ok(first));
    refused(producer.reserve(1000, 0), Status::ErrTooBig);
    good(producer.commit(16));
    assert_eq!(consumer.read(0).map(|bytes| bytes.len()), Ok(16));
    producer.reserve(8, 0).expect("there is room");
    good(producer.abort());
    nothing(producer.commit(8), "ring_commit");
    refused(consumer.peek(0), Status::ErrAgain);
    // What was reserved in place is forgotten by a write.
    producer.reserve(8, 0).expect("there is room");
    good(producer.write(b"w", 0));
    nothing(producer.commit(8), "ring_commit");
    assert_eq!(consumer.read(0), Ok(b"w".to_vec()));
}

#[test]
fn too_big_full_empty_and_closed() {
    let memory = Memory::ring(64);
    let (producer, consumer) = (End::producer(memory), End::consumer(memory));
    let refusals = |producer: &End, length: usize, timeout, expected| {
        let bytes = vec![1; length.min(4096)];
        refused(producer.reserve(length, timeout), expected);
        if length <= 4096 {
            says("ring_write", producer.write(&bytes, timeout), expected, "write");
            refused(producer.write_batch(&[bytes], timeout), expected);
        }
    };
    assert_eq!(memory.longest(), 24);
    for length in [25, 64, 4096, 1 << 32, usize::MAX] {
        for timeout in [0, SHORT, FOREVER] {
            refusals(&producer, length, timeout, Status::ErrTooBig);
        }
    }
    assert!(message().contains("24"), "{}", message());
    assert_eq!(memory.stat().expect("it is a ring").refused, 0);
    for timeout in [0, SHORT] {
        let expected = if timeout == 0 { Status::ErrAgain } else { Status::ErrTimeout };
        refused(consumer.peek(timeout), expected);
        refused(consumer.read(timeout), expected);
        refused(consumer.peek_batch(3, timeout), expected);
    }
    // The longest fits twice, wherever it begins.
    good(producer.write(&[1; 24], 0));
    good(producer.write(&[2; 24], 0));
    refusals(&producer, 0, 0, Status::ErrAgain);
    assert_eq!(memory.stat().expect("it is a ring").refused, 3);
    refusals(&producer, 24, SHORT, Status::ErrTimeout);
    assert_eq!(memory.stat().expect("it is a ring").refused, 3, "they waited");
    // A buffer that is too small: told how much is needed, and nothing is lost.
    let mut size = 0;
    let mut small = [0u8; 8];
    for room in [0, 8] {
        // SAFETY: the buffer is writable for so many.
        let result = unsafe { shmkit_ring_read(consumer.raw(), small.as_mut_ptr().cast(), room, &mut size, 0) };
        says("ring_read", result, Status::ErrTooBig, "a small buffer");
        assert_eq!((size, small), (24, [0; 8]));
    }
    // What is left comes, then the end; the producer writes no more, nor does the next one.
    good(producer.close());
    good(producer.close());
    assert_eq!(memory.stat().expect("it is a ring").closed, 1);
    assert_eq!(consumer.read(0), Ok(vec![1; 24]));
    let closed = |producer: &End| {
        for timeout in [0, SHORT, FOREVER] {
            refusals(producer, 8, timeout, Status::ErrClosed);
        }
        refusals(producer, 25, 0, Status::ErrTooBig);
        says("ring_commit", producer.commit(0), Status::ErrInvalidArgument, "nothing is reserved");
        assert!(is(producer.arm(), Status::ErrAgain));
    };
    closed(&producer);
    producer.detach();
    let producer = End::producer(memory);
    closed(&producer);
    assert_eq!(consumer.read(FOREVER), Ok(vec![2; 24]));
    for timeout in [0, SHORT, FOREVER] {
        refused(consumer.peek(timeout), Status::ErrClosed);
        refused(consumer.read(timeout), Status::ErrClosed);
        refused(consumer.peek_batch(1, timeout), Status::ErrClosed);
    }
    assert!(is(consumer.arm(), Status::ErrAgain));
    consumer.detach();
    refused(End::consumer(memory).read(FOREVER), Status::ErrClosed);
}

#[test]
fn a_reservation_that_is_closed_is_forgotten() {
    let memory = Memory::ring(64);
    let (producer, consumer) = (End::producer(memory), End::consumer(memory));
    producer.reserve(8, 0).expect("there is room");
    good(producer.close());
    says("ring_commit", producer.commit(8), Status::ErrInvalidArgument, "it was closed");
    refused(consumer.read(FOREVER), Status::ErrClosed);
}

// ------------------------------------------------------------------------------------------------------------------
// Messages
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn every_length_at_every_place() {
    let mut seen = 0;
    for capacity in [64usize, 128, 256] {
        let memory = Memory::ring(capacity);
        let (producer, consumer) = (End::producer(memory), End::consumer(memory));
        let pattern = |length: usize, salt: usize| -> Vec<u8> { (0..length).map(|at| (at * 7 + salt) as u8).collect() };
        for place in (0..capacity).step_by(8) {
            for length in 0..=memory.longest() {
                for second in [0, 1, length, memory.longest()] {
                    // An empty message takes eight bytes.
                    while memory.word(HEAD_AT).load(SeqCst) as usize % capacity != place {
                        good(producer.write(&[], 0));
                        assert_eq!(consumer.read(0), Ok(vec![]));
                    }
                    let (one, two) = (pattern(length, place), pattern(second, length));
                    good(producer.write(&one, 0));
                    let there = producer.write(&two, 0);
                    let (at, found) = consumer.peek(0).expect("it was written");
                    assert_eq!(found, one, "capacity {capacity}, place {place}, length {length}");
                    assert!(at >= memory.at + DATA_AT && at + length <= memory.at + memory.length);
                    good(consumer.release(1));
                    if there == 0 {
                        assert_eq!(consumer.read(0), Ok(two));
                    } else {
                        assert!(is(there, Status::ErrAgain));
                    }
                    refused(consumer.peek(0), Status::ErrAgain);
                    seen += 1;
                }
            }
        }
        assert!(memory.is_untouched());
        memory.unmap();
    }
    println!("{seen} pairs of messages");
    assert!(seen > 10_000);
}

/// Against a queue of the standard library and the rules of the format: the same answers to everything.
#[test]
fn as_a_queue_does() {
    let (mut full, mut partly, mut wraps) = (0, 0, 0);
    for (seed, capacity) in (0..40).flat_map(|seed| [64usize, 128, 512, 4096].map(|capacity| (seed, capacity))) {
        let mut random = Random(seed * 1000 + capacity as u64);
        let memory = Memory::ring(capacity);
        let longest = memory.longest();
        let (mut producer, mut consumer) = (End::producer(memory), End::consumer(memory));
        // What was committed and not released, each with the bytes that it takes; head and tail are sums of those.
        let mut queue: VecDeque<(Vec<u8>, usize)> = VecDeque::new();
        let (mut tail, mut written, mut read, mut refusals) = (0usize, 0u64, 0u64, 0u64);
        let taken = |length: usize| (length + 8).next_multiple_of(8);
        for _ in 0..400 {
            let used: usize = queue.iter().map(|(_, taken)| taken).sum();
            let needs = |tail: usize, length: usize| {
                let rest = capacity - tail % capacity;
                if taken(length) > rest { (rest + taken(length), rest) } else { (taken(length), 0) }
            };
            let some = |random: &mut Random| -> Vec<u8> {
                let length =
                    if random.below(3) == 0 { random.below(longest + 1) } else { random.below(longest / 4 + 1) };
                (0..length).map(|_| random.next() as u8).collect()
            };
            match random.below(8) {
                0 | 1 => {
                    let bytes = some(&mut random);
                    let (need, skip) = needs(tail, bytes.len());
                    let result = producer.write(&bytes, 0);
                    if used + need <= capacity {
                        good(result);
                        queue.push_back((bytes, need));
                        (tail, written) = (tail + need, written + 1);
                        wraps += u64::from(skip > 0);
                    } else {
                        assert!(is(result, Status::ErrAgain));
                        (refusals, full) = (refusals + 1, full + 1);
                    }
                }
                2 => {
                    // In place, and then perhaps less of it, or none.
                    let bytes = some(&mut random);
                    let (need, skip) = needs(tail, bytes.len());
                    match producer.reserve(bytes.len(), 0) {
                        Ok(at) => {
                            assert!(used + need <= capacity);
                            producer.fill(at, &bytes);
                            if random.below(4) == 0 {
                                good(producer.abort());
                            } else {
                                let kept = bytes.len() - random.below(bytes.len() + 1);
                                good(producer.commit(kept));
                                queue.push_back((bytes[..kept].to_vec(), skip + taken(kept)));
                                (tail, written) = (tail + skip + taken(kept), written + 1);
                            }
                        }
                        Err(status) => {
                            assert!(is(status, Status::ErrAgain) && used + need > capacity);
                            refusals += 1;
                        }
                    }
                }
                3 => {
                    let batch: Vec<_> = (0..random.below(6)).map(|_| some(&mut random)).collect();
                    let (mut expected, mut end, mut all) = (Vec::new(), tail, used);
                    for bytes in &batch {
                        let (need, _) = needs(end, bytes.len());
                        if all + need > capacity {
                            break;
                        }
                        expected.push((bytes.clone(), need));
                        (end, all) = (end + need, all + need);
                    }
                    let result = producer.write_batch(&batch, 0);
                    if expected.is_empty() && !batch.is_empty() {
                        refused(result, Status::ErrAgain);
                        refusals += 1;
                    } else {
                        assert_eq!(result, Ok(expected.len()));
                        partly += u64::from(expected.len() < batch.len());
                        written += expected.len() as u64;
                        tail = end;
                        queue.extend(expected);
                    }
                }
                4 | 5 => match queue.pop_front() {
                    Some((bytes, _)) => {
                        assert_eq!(consumer.read(0), Ok(bytes));
                        read += 1;
                    }
                    None => refused(consumer.read(0), Status::ErrAgain),
                },
                6 => {
                    let count = random.below(5);
                    match consumer.peek_batch(count, 0) {
                        Ok(shown) => {
                            // As far as it has looked: at least one, if there is one.
                            assert!(shown.len() <= count && (count == 0 || !shown.is_empty()));
                            assert!(shown.iter().eq(queue.iter().take(shown.len()).map(|(bytes, _)| bytes)));
                            let released = random.below(shown.len() + 1);
                            if released > 0 {
                                good(consumer.release(released));
                                queue.drain(..released);
                                read += released as u64;
                            }
                        }
                        Err(status) => assert!(is(status, Status::ErrAgain) && queue.is_empty() && count > 0),
                    }
                }
                _ => {
                    // What is not released comes again, what is reserved is forgotten.
                    if random.below(2) == 0 {
                        let _ = producer.reserve(8.min(longest), 0).map_err(|_| refusals += 1);
                        producer.detach();
                        producer = End::producer(memory);
                    } else {
                        let _ = consumer.peek(0);
                        consumer.detach();
                        consumer = End::consumer(memory);
                    }
                }
            }
            let used: usize = queue.iter().map(|(_, taken)| taken).sum();
            let stat = memory.stat().expect("it is a ring");
            assert_eq!((stat.used, stat.written, stat.read), (used as u64, written, read));
            assert_eq!((stat.refused, stat.closed, stat.capacity), (refusals, 0, capacity as u64));
        }
        assert!(memory.is_untouched());
        memory.unmap();
    }
    println!("{full} times full, {partly} batches in part, {wraps} wraps");
    assert!(full > 100 && partly > 100 && wraps > 100);
}

#[test]
fn batches() {
    let memory = Memory::ring(256);
    let (producer, consumer) = (End::producer(memory), End::consumer(memory));
    assert_eq!(producer.write_batch(&[], 0), Ok(0));
    assert_eq!(consumer.peek_batch(0, 0), Ok(vec![]));
    // 24 bytes each: ten fit.
    let batch: Vec<Vec<u8>> = (0..12).map(|number| vec![number; 16]).collect();
    assert_eq!(producer.write_batch(&batch, FOREVER), Ok(10), "it waits for the first alone");
    refused(producer.write_batch(&batch, SHORT), Status::ErrTimeout);
    // One that is too long ends a batch, and is an error when it comes first.
    assert_eq!(consumer.peek_batch(3, 0), Ok(batch[..3].to_vec()));
    good(consumer.release(3));
    assert_eq!(producer.write_batch(&[vec![9; 1], vec![9; 1000], vec![9; 1]], 0), Ok(1));
    refused(producer.write_batch(&[vec![9; 1000], vec![9; 1]], 0), Status::ErrTooBig);
    // The wrap is inside: what is shown lies in two parts of the ring.
    let shown = consumer.peek_batch(100, 0).expect("there are some");
    assert_eq!(shown[..7], batch[3..10]);
    assert!(is(consumer.release(shown.len() + 1), Status::ErrInvalidArgument));
    good(consumer.release(shown.len()));
    while let Ok(bytes) = consumer.read(0) {
        assert_eq!(bytes, [9]);
    }
    let stat = memory.stat().expect("it is a ring");
    assert_eq!((stat.used, stat.written, stat.read), (0, 11, 11));
}

// ------------------------------------------------------------------------------------------------------------------
// Hostile bytes
// ------------------------------------------------------------------------------------------------------------------

/// Changes a few words as an enemy does: to anything, or to what almost fits.
fn mutate(memory: Memory, random: &mut Random) {
    let capacity = memory.capacity() as u64;
    for _ in 0..1 + random.below(4) {
        let value = match random.below(8) {
            0 => random.next(),
            1 => 0,
            2 => u64::MAX,
            3 => u64::MAX - random.next() % 64,
            4 => (random.next() % 9).wrapping_sub(4).wrapping_mul(capacity).wrapping_add(random.next() % 64),
            5 => 1 << random.below(64),
            // A word of a message or of filling (`containers/ring.rs`), of a length that may be.
            6 => (0x7368_6d31 << 32) | (random.next() % (capacity + 16)),
            _ => (0x7368_6d32 << 32) | (random.next() % (capacity + 16)),
        };
        match random.below(4) {
            0 => memory.word(8 * random.below(DATA_AT / 8)).store(value, SeqCst),
            1 => {
                let at = [CAPACITY_AT, TAIL_AT, HEAD_AT, TAIL_AT, HEAD_AT, WRITTEN_AT, PRODUCER_AT, CONSUMER_AT];
                let near = memory.word([TAIL_AT, HEAD_AT][random.below(2)]).load(SeqCst);
                let offset = (random.next() % 33).wrapping_sub(16).wrapping_mul(8);
                memory.word(at[random.below(8)]).store(near.wrapping_add(offset), SeqCst);
            }
            _ => memory.word(DATA_AT + 8 * random.below(memory.capacity() / 8)).store(value, SeqCst),
        }
    }
}

const OK: i32 = Status::Ok as i32;

/// The answer is one of these.
#[track_caller]
fn among(result: i32, documented: &[Status]) {
    let found = result == OK || documented.iter().any(|status| is(result, *status));
    assert!(found, "{result}: {}", message());
}

/// Does something at one of both ends, or at a new one, and looks only at what must hold whatever stands in the memory. Says
/// whether it was done.
fn something(memory: Memory, ends: &mut [Option<End>; 2], random: &mut Random) -> bool {
    use Status::{
        ErrAgain, ErrBusy, ErrClosed, ErrCorrupt, ErrInvalidArgument, ErrOwnerDied, ErrTimeout, ErrTooBig,
        ErrUninitialised,
    };
    let writing = [ErrAgain, ErrTimeout, ErrOwnerDied, ErrTooBig, ErrCorrupt, ErrClosed];
    let reading = [ErrAgain, ErrTimeout, ErrOwnerDied, ErrCorrupt, ErrClosed];
    let timeout = [0, 0, 0, 0, 0, 0, 0, 20_000][random.below(8)];
    let length = random.below(memory.longest() + 20);
    let inside = |at: usize, length: usize| {
        assert!(at >= memory.at + DATA_AT && at + length <= memory.at + memory.length);
    };
    let status = |result: Result<(), i32>| result.err().unwrap_or(OK);
    let [Some(producer), Some(consumer)] = ends else {
        let side = if ends[0].is_none() { 0 } else { 1 };
        let over = if random.below(2) == 0 { TAKE_OVER } else { 0 };
        let end = End::attach(memory, [PRODUCE, CONSUME][side] | over);
        let result = status(end.map(|end| ends[side] = Some(end)));
        among(result, &[ErrBusy, ErrUninitialised, ErrCorrupt]);
        return result == OK;
    };
    let result = match random.below(12) {
        0 | 1 => {
            let result = producer.write(&vec![0xee; length], timeout);
            among(result, &writing);
            result
        }
        2 => match producer.reserve(length, timeout) {
            Ok(at) => {
                inside(at as usize, length);
                producer.fill(at, &vec![0xdd; length]);
                if random.below(2) == 0 {
                    mutate(memory, random);
                }
                let result = producer.commit(random.below(length + 2));
                among(result, &[ErrInvalidArgument]);
                result
            }
            Err(result) => {
                among(result, &writing);
                result
            }
        },
        3 => {
            let result = producer.write_batch(&vec![vec![1; random.below(40)]; 5], timeout);
            let result = status(result.map(|done| assert!(done <= 5)));
            among(result, &writing);
            result
        }
        4 | 5 => {
            let result = status(consumer.read(timeout).map(|bytes| assert!(bytes.len() <= memory.capacity())));
            among(result, &reading);
            result
        }
        6 => match consumer.peek(timeout) {
            Ok((at, bytes)) => {
                inside(at, bytes.len());
                mutate(memory, random);
                let result = consumer.release(1);
                among(result, &[ErrInvalidArgument, ErrCorrupt]);
                result
            }
            Err(result) => {
                among(result, &reading);
                result
            }
        },
        7 => match consumer.peek_batch(6, timeout) {
            Ok(shown) => {
                if random.below(2) == 0 {
                    mutate(memory, random);
                }
                let result = consumer.release(random.below(shown.len() + 2));
                among(result, &[ErrInvalidArgument, ErrCorrupt]);
                result
            }
            Err(result) => {
                among(result, &reading);
                result
            }
        },
        8 => {
            let result = status(memory.stat().map(|stat| assert!(stat.used <= stat.capacity)));
            among(result, &[ErrUninitialised, ErrCorrupt]);
            result
        }
        9 => {
            let results = [producer.arm(), consumer.arm()];
            results.iter().for_each(|result| among(*result, &[ErrAgain]));
            results[0]
        }
        10 => {
            let side = random.below(2);
            ends[side].take().expect("both are there").detach();
            OK
        }
        _ => {
            if random.below(8) == 0 {
                good(producer.close());
            }
            producer.abort()
        }
    };
    result == OK
}

/// Whoever reads in place counts on the documented bound: a message that is longer is none, though it lies before tail and end.
#[test]
fn longer_than_the_longest() {
    let memory = Memory::ring(64);
    let longest = memory.longest();
    for length in [longest, longest + 1, longest + 8, 64 - 8] {
        memory.init();
        memory.word(DATA_AT).store(0x7368_6d31 << 32 | length as u64, SeqCst);
        memory.word(TAIL_AT).store(64, SeqCst);
        let consumer = End::consumer(memory);
        if length == longest {
            assert_eq!(consumer.peek(0).map(|(_, bytes)| bytes.len()), Ok(longest));
            good(consumer.release(1));
            continue;
        }
        refused(consumer.peek(0), Status::ErrCorrupt);
        refused(consumer.peek_batch(2, 0), Status::ErrCorrupt);
        refused(consumer.read(0), Status::ErrCorrupt);
    }
}

/// A ring whose bytes are changed at random, between calls and, by another thread, in the midst of them: every call ends, with
/// a documented answer, and nothing outside of the memory is touched.
#[test]
fn hostile_bytes() {
    alone("hostile_bytes", &[], || {
        alarm(STALLED);
        for (seed, beside) in [(1, false), (2, true)] {
            let stop = AtomicBool::new(false);
            let memories = [64, 256, 4096].map(Memory::ring);
            let (mut done, mut refused) = (0, 0);
            std::thread::scope(|scope| {
                let stop = &stop;
                if beside {
                    scope.spawn(move || {
                        let mut random = Random(99);
                        while !stop.load(SeqCst) {
                            mutate(memories[random.below(3)], &mut random);
                            // One processor is enough for both.
                            if random.below(8) == 0 {
                                std::thread::yield_now();
                            }
                        }
                    });
                }
                let mut random = Random(seed);
                let mut ends = memories.map(|_| [None, None]);
                for round in 0..20_000 {
                    let one = random.below(3);
                    let (memory, ends) = (memories[one], &mut ends[one]);
                    if round % 8 < 3 {
                        // Good again: otherwise nothing gets far.
                        *ends = [None, None];
                        memory.init();
                    }
                    mutate(memory, &mut random);
                    for _ in 0..4 {
                        match something(memory, ends, &mut random) {
                            true => done += 1,
                            false => refused += 1,
                        }
                    }
                }
                stop.store(true, SeqCst);
            });
            assert!(memories.iter().all(|memory| memory.is_untouched()));
            println!(
                "hostile bytes, {}: {done} calls done, {refused} refused",
                if beside { "beside" } else { "between" }
            );
            assert!(done > 1000 && refused > 1000);
        }
        alarm(0);
    });
}
