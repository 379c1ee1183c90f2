//! Cells as a C program calls them: every function, every error, every length, a writer as fast as it can beside readers, who
//! may write, deaths, pid namespaces, and hostile bytes between pages that nobody may touch. Deaths at every instruction
//! are in `cast_kill_points.rs`, every order of the core's steps in `cell_models.rs`.

mod support;

use std::ffi::c_void;
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shmkit::capi::cell::*;
use shmkit::capi::options::RegionLayout;
use shmkit::capi::survey::{SHMKIT_ANSWER_NO, SHMKIT_ANSWER_UNKNOWN, SHMKIT_ANSWER_YES};
use shmkit::containers::cell_end::User;
use shmkit::containers::layout::MOST_COPIES;
use shmkit::error::Status;
use shmkit::region::header::Layout;
use shmkit::sync::object::Wait;
use shmkit::sys::area::Area;
use support::cast_room::*;
use support::containers::*;
use support::message;
use support::ring_room::{FOREVER, LONG, Memory, Random, is, letter, opened};
use support::sync_room::{good, is_asleep, kill, reap, reap_well, start, until};

const TAKE_OVER: i32 = WRITE | SHMKIT_CELL_TAKE_OVER;

#[track_caller]
fn says(status: i32, expected: Status, call: &str) {
    assert_eq!(status, expected as i32, "{call}: {}", message());
    let words = message();
    assert!(words.contains(call.trim_start_matches("shmkit_")), "{call}: {words}");
}

#[track_caller]
fn refused(found: Found, expected: Status) {
    assert_eq!(found.map_err(|(status, _)| status), Err(expected as i32), "{}", message());
}

// ------------------------------------------------------------------------------------------------------------------
// Every function
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn sizes() {
    assert_eq!(shmkit_cell_size(1), 192 + 4 * 64);
    assert_eq!(shmkit_cell_size(48), 192 + 4 * 64);
    assert_eq!(shmkit_cell_size(49), 192 + 4 * 128);
    assert_eq!(shmkit_cell_size(1 << 32), 192 + 4 * ((1 << 32) + 64));
    assert_eq!(shmkit_cell_size((1 << 32) + 1), 0);
    assert_eq!(shmkit_cell_size(usize::MAX), 0);
}

#[test]
fn every_length_there_and_back() {
    apart("every_length_there_and_back", || {
        for longest in [1, 7, 8, 48, 49, 200, 65536] {
            let memory = cell_memory(longest);
            let (writer, reader) = (Cell::writer(memory), Cell::reader(memory));
            refused(reader.read(longest), Status::ErrAgain);
            refused(reader.read_newer(0, longest, 0), Status::ErrAgain);
            refused(reader.read_newer(0, longest, SHORT), Status::ErrTimeout);
            let lengths = (0..=200).chain([longest - 1, longest]).filter(|length| *length <= longest);
            let mut version = 0;
            for length in lengths.chain((0..9).map(|less| longest.saturating_sub(less))) {
                let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8 | 1).collect();
                for in_place in [false, true] {
                    version += 1;
                    if in_place {
                        let at = writer.reserve(length).expect("it fits");
                        assert!((at as usize).is_multiple_of(16));
                        // What is reserved is not seen, and may be reserved again.
                        assert_eq!(reader.read(longest).map(|found| found.0), Ok(version - 1));
                        assert_eq!(writer.reserve(length), Ok(at));
                        // SAFETY: so many bytes were reserved.
                        unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), length) };
                        good(writer.commit(length));
                    } else {
                        good(writer.write(&bytes));
                    }
                    // Into a buffer that is larger than the value: nothing behind it is written.
                    let mut buffer = vec![0; longest + 16];
                    assert_eq!(reader.read_into(&mut buffer), Ok((version, length)), "{}", message());
                    assert!(buffer[..length] == bytes && buffer[length..].iter().all(|byte| *byte == 0));
                    assert_eq!(reader.read(length), Ok((version, bytes.clone())));
                    assert_eq!(reader.read_newer(version - 1, length, FOREVER), Ok((version, bytes.clone())));
                    refused(reader.read_newer(version, longest, 0), Status::ErrAgain);
                    // Another number than the latest, also one that has not come yet.
                    assert_eq!(reader.read_newer(version + 9, longest, 0), Ok((version, bytes.clone())));
                    assert_eq!(writer.read(longest), Ok((version, bytes.clone())), "who writes may read");
                    if length > 0 {
                        let short = reader.read(length - 1);
                        assert_eq!(short, Err((Status::ErrTooBig as i32, length)), "{}", message());
                        let short = reader.read_newer(0, length - 1, FOREVER);
                        assert_eq!(short, Err((Status::ErrTooBig as i32, length)), "{}", message());
                    }
                    assert_eq!(cell_stat(memory).expect("it is a cell").version, version);
                }
            }
            for too_long in [longest + 1, longest + 100, usize::MAX] {
                // SAFETY: nothing of it is read.
                says(
                    unsafe { shmkit_cell_write(writer.0, null(), too_long) },
                    Status::ErrBadPointer,
                    "shmkit_cell_write",
                );
                assert_eq!(writer.reserve(too_long), Err(Status::ErrTooBig as i32));
                says(writer.commit(too_long), Status::ErrTooBig, "shmkit_cell_commit");
            }
            says(writer.write(&vec![0; longest + 1]), Status::ErrTooBig, "shmkit_cell_write");
            assert!(memory.is_untouched());
        }
    });
}

/// A call of a user, with everything else as it should be.
type Call = (&'static str, fn(*mut shmkit_cell_t) -> i32);

fn calls() -> Vec<Call> {
    // SAFETY: the places are writable and readable; these are the documented answers to wrong users.
    unsafe {
        vec![
            ("shmkit_cell_detach", |cell| shmkit_cell_detach(cell)),
            ("shmkit_cell_reserve", |cell| shmkit_cell_reserve(cell, 1, &mut null_mut())),
            ("shmkit_cell_commit", |cell| shmkit_cell_commit(cell, 1)),
            ("shmkit_cell_write", |cell| shmkit_cell_write(cell, (&raw const *b"1").cast(), 1)),
            ("shmkit_cell_read", |cell| {
                shmkit_cell_read(cell, [0u8; 8].as_mut_ptr().cast(), 8, null_mut(), null_mut())
            }),
            ("shmkit_cell_read_newer", |cell| {
                shmkit_cell_read_newer(cell, 0, [0u8; 8].as_mut_ptr().cast(), 8, null_mut(), null_mut(), 0)
            }),
        ]
    }
}

#[test]
fn wrong_users() {
    apart("wrong_users", || {
        let memory = cell_memory(8);
        for (name, call) in calls() {
            for wild in [0, 8, 64, 4032, 0x8000_0000_0000_0000, usize::MAX & !63] {
                says(call(without_provenance_mut(wild)), Status::ErrBadPointer, name);
            }
            // Never attached, not aligned, detached, moved.
            let zeros = signs();
            says(call(zeros.at as *mut shmkit_cell_t), Status::ErrBadHandle, name);
            says(call((zeros.at + 8) as *mut shmkit_cell_t), Status::ErrBadHandle, name);
            let user = Cell::writer(memory);
            user.detach();
            says(call(user.0), Status::ErrBadHandle, name);
            let user = Cell::writer(memory);
            // SAFETY: both are writable; that a copy is no user is what is tested.
            unsafe { zeros.start().copy_from_nonoverlapping(user.0.cast_const().cast(), size_of::<shmkit_cell_t>()) };
            says(call(zeros.at as *mut shmkit_cell_t), Status::ErrBadHandle, name);
            user.detach();
        }
    });
}

#[test]
fn wrong_arguments() {
    apart("wrong_arguments", || {
        let memory = cell_memory(8);
        let (writer, reader) = (Cell::writer(memory), Cell::reader(memory));
        // SAFETY: these are the documented answers to such arguments.
        unsafe {
            // A reader does not write.
            says(reader.write(b"1"), Status::ErrInvalidArgument, "shmkit_cell_write");
            assert_eq!(reader.reserve(1), Err(Status::ErrInvalidArgument as i32));
            says(reader.commit(1), Status::ErrInvalidArgument, "shmkit_cell_commit");
            // Nothing is reserved, or no more.
            says(writer.commit(1), Status::ErrInvalidArgument, "shmkit_cell_commit");
            writer.reserve(8).expect("it fits");
            good(writer.commit(1));
            says(writer.commit(1), Status::ErrInvalidArgument, "shmkit_cell_commit");
            // Places of results and bytes.
            for wild in [0, 4, 12] {
                let data = without_provenance_mut::<*mut c_void>(wild);
                says(shmkit_cell_reserve(writer.0, 1, data), Status::ErrBadPointer, "shmkit_cell_reserve");
            }
            for nowhere in NOWHERE {
                let nowhere: *mut c_void = without_provenance_mut(nowhere);
                says(shmkit_cell_write(writer.0, nowhere, 1), Status::ErrBadPointer, "shmkit_cell_write");
            }
            good(shmkit_cell_write(writer.0, null(), 0));
            let read = shmkit_cell_read(reader.0, null_mut(), 8, null_mut(), null_mut());
            says(read, Status::ErrBadPointer, "shmkit_cell_read");
            let read = shmkit_cell_read_newer(reader.0, 0, null_mut(), 8, null_mut(), null_mut(), 0);
            says(read, Status::ErrBadPointer, "shmkit_cell_read_newer");
            good(shmkit_cell_read(reader.0, null_mut(), 0, null_mut(), null_mut()));
            // Attaching.
            let user = Cell::reader(memory);
            for how in [-1, 2, 3, 4, 6, 8, i32::MIN, i32::MAX] {
                says(user.attach(memory, how), Status::ErrInvalidArgument, "shmkit_cell_attach");
            }
            let attach = |cell: usize, at: usize, length: usize| {
                let memory: *mut c_void = without_provenance_mut(at);
                shmkit_cell_attach(without_provenance_mut(cell), memory, length, null(), READ)
            };
            for wild in [0, 8, usize::MAX & !63, user.0 as usize + 8] {
                says(attach(wild, memory.at, memory.length), Status::ErrBadPointer, "shmkit_cell_attach");
            }
            let own = user.0 as usize;
            for wild in [0, 64, 0x8000_0000_0000_0000, usize::MAX & !63, memory.at + memory.length] {
                says(attach(own, wild, 4096), Status::ErrBadPointer, "shmkit_cell_attach");
                let init = shmkit_cell_init(without_provenance_mut(wild), memory.length, 8, null());
                assert!(is(init, Status::ErrBadPointer) || is(init, Status::ErrAccess), "{wild:x}: {}", message());
                let mut stat = std::mem::zeroed();
                let looked = shmkit_cell_stat(without_provenance_mut(wild), memory.length, &mut stat);
                says(looked, Status::ErrBadPointer, "shmkit_cell_stat");
            }
            for aside in [1, 8, 32] {
                says(attach(own, memory.at + aside, 100), Status::ErrInvalidArgument, "shmkit_cell_attach");
                let init = shmkit_cell_init((memory.at + aside) as *mut c_void, 100, 8, null());
                says(init, Status::ErrInvalidArgument, "shmkit_cell_init");
            }
            for length in [0, 1, 63, 64, 192] {
                says(attach(own, memory.at, length), Status::ErrUninitialised, "shmkit_cell_attach");
                let init = shmkit_cell_init(memory.start(), length, 8, null());
                says(init, Status::ErrInvalidArgument, "shmkit_cell_init");
            }
            let larger = cell_memory(100);
            says(attach(own, larger.at, larger.length - 64), Status::ErrCorrupt, "shmkit_cell_attach");
            says(attach(own, larger.at, usize::MAX), Status::ErrBadPointer, "shmkit_cell_attach");
            for value_size in [0, (1 << 32) + 1, usize::MAX] {
                let init = shmkit_cell_init(memory.start(), memory.length, value_size, null());
                says(init, Status::ErrInvalidArgument, "shmkit_cell_init");
            }
            let init = shmkit_cell_init(memory.start(), memory.length, 49, null());
            says(init, Status::ErrInvalidArgument, "shmkit_cell_init");
            // No cell.
            says(attach(own, signs().at, 4096), Status::ErrUninitialised, "shmkit_cell_attach");
            let mut stat = std::mem::zeroed();
            says(shmkit_cell_stat(signs().start(), 4096, &mut stat), Status::ErrUninitialised, "shmkit_cell_stat");
            for wild in [0usize, 4] {
                let stat = without_provenance_mut(wild);
                says(shmkit_cell_stat(memory.start(), memory.length, stat), Status::ErrBadPointer, "shmkit_cell_stat");
            }
        }
        // None of that has harmed the cell.
        assert_eq!(reader.read(8), Ok((2, Vec::new())));
        good(writer.write(b"whole"));
        assert_eq!(reader.read(8), Ok((3, b"whole".to_vec())));
    });
}

#[test]
fn layouts() {
    apart("layouts", || {
        let layout = |name: &'static std::ffi::CStr, size, version, alignment| RegionLayout {
            name: name.as_ptr(),
            size,
            version,
            alignment,
        };
        let memory = Memory::new(shmkit_cell_size(24));
        let user = Cell::reader(cell_memory(8));
        let attach = |layout: *const RegionLayout| {
            // SAFETY: the places are there.
            unsafe { shmkit_cell_attach(user.0, memory.start(), memory.length, layout, READ) }
        };
        let own = layout(c"pose", 24, 1, 8);
        // SAFETY: the memory is mapped.
        good(unsafe { shmkit_cell_init(memory.start(), memory.length, 24, &own) });
        good(attach(&own));
        good(attach(null()));
        for other in [
            layout(c"posf", 24, 1, 8),
            layout(c"pose", 25, 1, 8),
            layout(c"pose", 24, 2, 8),
            layout(c"pose", 24, 1, 16),
        ] {
            says(attach(&other), Status::ErrLayout, "shmkit_cell_attach");
        }
        cell_init(memory, 24);
        good(attach(null()));
        says(attach(&own), Status::ErrLayout, "shmkit_cell_attach");
    });
}

/// Who only may read reads, and cannot wait; who cannot read at all is told.
#[test]
fn mapped_read_only() {
    apart("mapped_read_only", || {
        let memory = cell_memory(100);
        let writer = Cell::writer(memory);
        good(writer.write(&letter(1, 100)));
        writer.detach();
        memory.protect(libc::PROT_READ);
        let reader = Cell::reader(memory);
        let (version, bytes) = reader.read(100).expect("it is there");
        assert_eq!((version, opened(&bytes)), (1, 1));
        assert_eq!(reader.read_newer(0, 100, FOREVER).map(|found| found.0), Ok(1));
        refused(reader.read_newer(1, 100, 0), Status::ErrAgain);
        refused(reader.read_newer(1, 100, SHORT), Status::ErrAccess);
        assert_eq!(cell_stat(memory).expect("it is a cell").version, 1);
        for how in [WRITE, TAKE_OVER] {
            let refused = Cell::attach(memory, how).map(drop);
            assert_eq!(refused, Err(Status::ErrAccess as i32), "{}", message());
        }
        // SAFETY: nothing is written.
        let init = unsafe { shmkit_cell_init(memory.start(), memory.length, 100, null()) };
        says(init, Status::ErrAccess, "shmkit_cell_init");
        reader.detach();
        memory.protect(libc::PROT_NONE);
        assert_eq!(Cell::attach(memory, READ).map(drop), Err(Status::ErrBadPointer as i32));
    });
}

// ------------------------------------------------------------------------------------------------------------------
// A writer as fast as it can
// ------------------------------------------------------------------------------------------------------------------

/// The writer comes round in every copy: who has no time is told so after some, who has when it is over; and neither is told
/// that what stands there cannot be.
#[test]
fn overtaken_in_every_copy() {
    apart("overtaken_in_every_copy", || {
        let memory = cell_memory(8);
        // SAFETY: it stays mapped to the end of the process.
        let area = unsafe { Area::new(memory.at, memory.length) };
        let any = Layout::default();
        let mut writer = User::new(area, &any, true, false).ok().expect("nobody writes");
        let mut reader = User::new(area, &any, false, false).ok().expect("anybody may read");
        let mut write = || {
            writer.begin(8).expect("it fits");
            assert!(writer.publish(8));
        };
        write();
        let mut copies = 0;
        let mut copy = |_, _| {
            copies += 1;
            (0..4).for_each(|_| write());
        };
        let failed = reader.read(0, 8, Wait::No, &mut copy).expect_err("it is overtaken");
        assert_eq!((failed.status, failed.figures.limit), (Status::ErrAgain, MOST_COPIES.into()));
        let failed = reader.read(0, 8, Wait::of(1_000_000), &mut copy).expect_err("it is overtaken");
        assert_eq!(failed.status, Status::ErrTimeout);
        assert!(copies >= 2 * MOST_COPIES && copies.is_multiple_of(MOST_COPIES), "{copies}");
        // At last it gets through.
        let mut left = MOST_COPIES;
        let copy = &mut |_, _| {
            left -= 1;
            (0..if left > 0 { 4 } else { 0 }).for_each(|_| write());
        };
        assert!(reader.read(0, 8, Wait::No, copy).is_ok());
    });
}

/// Values in eight-byte words: the number, then words that follow from it, over a length that does too.
fn fill(words: &mut [u64], number: u64) -> usize {
    let length = 8 * (1 + (number as usize * 37) % words.len());
    for (at, word) in words[..length / 8].iter_mut().enumerate() {
        *word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at as u64);
    }
    words[0] = number;
    length
}

/// The number of a value, which must be whole.
fn number_of(words: &[u64], length: usize) -> u64 {
    let number = words[0];
    let whole = length == 8 * (1 + (number as usize * 37) % words.len());
    let torn = words[1..length / 8].iter().zip(1u64..);
    let right = |(word, at): (&u64, u64)| *word == number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(at);
    assert!(whole && torn.into_iter().all(right), "value {number} of {length} bytes is torn");
    number
}

fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: the same bytes; every mixture of them is good.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// Reads until the sign, and one value at least, however late this one has a processor: numbers and versions go up together;
/// how many values and how many new ones it has seen.
fn read_until(memory: Memory, words: usize, newer: bool, over: impl Fn() -> bool) -> (u64, u64) {
    let reader = Cell::reader(memory);
    let mut buffer = vec![0u64; words];
    let (mut last, mut reads, mut news) = (0, 0, 0);
    while !over() || news == 0 {
        let found = match newer {
            true => reader.read_newer_into(last, bytes_of(&mut buffer), 50_000_000),
            false => reader.read_into(bytes_of(&mut buffer)),
        };
        match found {
            Ok((version, length)) => {
                assert_eq!(number_of(&buffer, length), version, "a value of another number");
                assert!(version > last || !newer && version == last, "{version} after {last}");
                news += u64::from(version > last);
                reads += 1;
                last = version;
            }
            Err((status, _)) => {
                assert!(is(status, Status::ErrAgain) || is(status, Status::ErrTimeout), "{}", message());
                assert!(last == 0 || newer, "the latest value is gone");
            }
        }
    }
    reader.detach();
    (reads, news)
}

#[test]
fn no_torn_value() {
    apart("no_torn_value", || {
        for words in [3, 64, 8192] {
            let (memory, signs) = (cell_memory(8 * words), signs());
            let over = move || signs.word(0).load(SeqCst) != 0;
            let readers = [false, true].map(|newer| {
                let mine = if newer { 64 } else { 128 };
                let pid = start(move || {
                    let (reads, news) = read_until(memory, words, newer, over);
                    signs.word(mine).store(reads, SeqCst);
                    signs.word(mine + 8).store(news, SeqCst);
                });
                (pid, mine)
            });
            let thread = std::thread::spawn(move || read_until(memory, words, false, over));
            let writer = Cell::writer(memory);
            let (began, mut number, mut value) = (Instant::now(), 0, vec![0u64; words]);
            while began.elapsed() < Duration::from_millis(700) || number <= 8 {
                number += 1;
                let length = fill(&mut value, number);
                if number % 3 == 0 {
                    let at = writer.reserve(length).expect("it fits");
                    // SAFETY: so many bytes were reserved.
                    unsafe { at.copy_from_nonoverlapping(value.as_ptr().cast(), length) };
                    good(writer.commit(length));
                } else {
                    good(writer.write(&bytes_of(&mut value)[..length]));
                }
            }
            signs.word(0).store(1, SeqCst);
            let (reads, news) = thread.join().expect("it found no fault");
            assert!(reads > 0 && news > 0, "a thread read {reads} values, {news} new ones");
            for (pid, mine) in readers {
                reap_well(pid);
                let (reads, news) = (signs.word(mine).load(SeqCst), signs.word(mine + 8).load(SeqCst));
                println!("{words} words: {number} written, {reads} read, {news} new");
                assert!(reads > 0 && news > 0 && number > 8);
            }
            assert_eq!(cell_stat(memory).expect("it is a cell").version, number);
            assert!(memory.is_untouched());
        }
    });
}

/// Who waits for a newer value sleeps until there is one, and passes over those between.
#[test]
fn newer_values_are_waited_for() {
    apart("newer_values_are_waited_for", || {
        const ROUNDS: u64 = 3;
        for timeout in [FOREVER, LONG] {
            let (memory, signs) = (cell_memory(64), signs());
            let pid = start(|| {
                let reader = Cell::reader(memory);
                let mut last = 0;
                for round in 1..=ROUNDS {
                    signs.word(0).store(round, SeqCst);
                    let (version, bytes) = reader.read_newer(last, 64, timeout).expect("it comes");
                    assert!(version > last && opened(&bytes) == version);
                    until(|| signs.word(8).load(SeqCst) == round);
                    if version < 3 * round {
                        // Of those that came meanwhile, the latest alone.
                        assert_eq!(reader.read_newer(version, 64, 0).map(|found| found.0), Ok(3 * round));
                    }
                    last = 3 * round;
                    refused(reader.read_newer(last, 64, 0), Status::ErrAgain);
                }
            });
            let writer = Cell::writer(memory);
            for round in 1..=ROUNDS {
                until(|| signs.word(0).load(SeqCst) == round && is_asleep(pid));
                (3 * round - 2..=3 * round).for_each(|number| good(writer.write(&letter(number, 64))));
                signs.word(8).store(round, SeqCst);
            }
            reap_well(pid);
            refused(Cell::reader(memory).read_newer(3 * ROUNDS, 64, SHORT), Status::ErrTimeout);
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Who writes
// ------------------------------------------------------------------------------------------------------------------

fn writer_of(memory: Memory) -> (u32, i32) {
    let stat = cell_stat(memory).expect("it is a cell");
    (stat.writer, stat.writer_lives)
}

fn attached(memory: Memory, then: impl FnOnce(Cell)) -> i32 {
    let before = memory.word(WRITER_AT).load(SeqCst);
    let pid = start(|| then(Cell::writer(memory)));
    until(|| memory.word(WRITER_AT).load(SeqCst) != before);
    pid
}

#[track_caller]
fn is_busy(memory: Memory) {
    assert_eq!(Cell::attach(memory, WRITE).map(drop), Err(Status::ErrBusy as i32), "{}", message());
}

#[test]
fn one_writes_at_a_time() {
    apart("one_writes_at_a_time", || {
        let (memory, signs) = (cell_memory(64), signs());
        let own = std::process::id();
        assert_eq!(writer_of(memory), (0, SHMKIT_ANSWER_NO));
        let writer = Cell::writer(memory);
        assert_eq!(writer_of(memory), (own, SHMKIT_ANSWER_YES));
        is_busy(memory);
        assert!(message().contains(&own.to_string()), "{}", message());
        reap_well(start(|| {
            is_busy(memory);
            // What a forked child has is no writer: it does not give its parent's place back.
            writer.detach();
        }));
        assert_eq!(writer_of(memory), (own, SHMKIT_ANSWER_YES));
        good(writer.write(&letter(1, 64)));
        // What is reserved is given up, and seen by nobody.
        writer.reserve(64).expect("it fits");
        writer.detach();
        assert_eq!(writer_of(memory), (0, SHMKIT_ANSWER_NO));
        // Another process writes, and dies.
        let pid = attached(memory, |writer| {
            good(writer.write(&letter(2, 64)));
            writer.reserve(64).expect("it fits");
            signs.word(0).store(1, SeqCst);
            pause();
        });
        until(|| signs.word(0).load(SeqCst) == 1);
        assert_eq!(writer_of(memory), (pid as u32, SHMKIT_ANSWER_YES));
        is_busy(memory);
        kill(pid);
        assert_eq!(writer_of(memory), (pid as u32, SHMKIT_ANSWER_NO));
        let reader = Cell::reader(memory);
        assert_eq!(reader.read(64), Ok((2, letter(2, 64))));
        refused(reader.read_newer(2, 64, FOREVER), Status::ErrOwnerDied);
        refused(reader.read_newer(2, 64, LONG), Status::ErrOwnerDied);
        let writer = Cell::writer(memory);
        good(writer.write(&letter(3, 64)));
        assert_eq!(reader.read_newer(2, 64, FOREVER), Ok((3, letter(3, 64))));
        writer.detach();
        // Nobody writes, and nobody has died.
        refused(reader.read_newer(3, 64, 600_000_000), Status::ErrTimeout);
        // Taken over from one that lives: that one gives nothing back.
        let pid = attached(memory, |writer| {
            until(|| signs.word(0).load(SeqCst) == 2);
            writer.detach();
        });
        let writer = Cell::attach(memory, TAKE_OVER).expect("it is taken over");
        signs.word(0).store(2, SeqCst);
        reap_well(pid);
        assert_eq!(writer_of(memory), (own, SHMKIT_ANSWER_YES));
        is_busy(memory);
        good(writer.write(&letter(4, 64)));
        assert_eq!(reader.read(64), Ok((4, letter(4, 64))));
    });
}

/// Writers are killed at any time, others go on where they stopped; readers see whole values, and versions that go up.
#[test]
fn writers_are_killed() {
    apart("writers_are_killed", || {
        const WORDS: usize = 512;
        let (memory, signs) = (cell_memory(8 * WORDS), signs());
        let over = move || signs.word(0).load(SeqCst) != 0;
        let readers = [false, true].map(|newer| {
            start(move || {
                let reader = Cell::reader(memory);
                let (mut last, mut buffer) = (0, vec![0u64; WORDS]);
                while !over() {
                    let found = match newer {
                        true => reader.read_newer_into(last, bytes_of(&mut buffer), LONG),
                        false => reader.read_into(bytes_of(&mut buffer)),
                    };
                    match found {
                        Ok((version, length)) => {
                            assert_eq!(number_of(&buffer, length), version);
                            assert!(version >= last, "{version} after {last}");
                            last = version;
                        }
                        Err((status, _)) if is(status, Status::ErrOwnerDied) && newer => {}
                        Err((status, _)) => {
                            assert!(is(status, Status::ErrAgain) && last == 0, "{}", message());
                        }
                    }
                    signs.word(if newer { 64 } else { 128 }).fetch_add(1, SeqCst);
                }
                assert!(last > 0);
            })
        });
        let (began, mut random, mut deaths, mut before) = (Instant::now(), Random(5), 0, 0);
        // Longer where others have the processors.
        let enough = |deaths: u64, values: u64| deaths > 10 && values > 10 && signs.word(64).load(SeqCst) > 10;
        while began.elapsed() < Duration::from_secs(2) || !enough(deaths, before) {
            let pid = attached(memory, |writer| {
                let mut value = vec![0u64; WORDS];
                for number in cell_stat(memory).expect("it is a cell").version + 1.. {
                    let length = fill(&mut value, number);
                    good(writer.write(&bytes_of(&mut value)[..length]));
                }
            });
            let begun = cell_stat(memory).expect("it is a cell").version;
            assert!(begun >= before, "{begun} after {before}");
            std::thread::sleep(Duration::from_micros(random.below(4000) as u64));
            kill(pid);
            before = cell_stat(memory).expect("it is a cell").version;
            deaths += 1;
            // A reader is held up by no death.
            let reads = signs.word(128).load(SeqCst);
            until(|| signs.word(128).load(SeqCst) > reads);
        }
        signs.word(0).store(1, SeqCst);
        readers.into_iter().for_each(reap_well);
        println!(
            "{deaths} deaths, {before} values, {} read, {} waited for",
            signs.word(128).load(SeqCst),
            signs.word(64).load(SeqCst)
        );
        assert!(enough(deaths, before));
    });
}

/// Runs `work` as process 2 of a pid namespace of its own.
fn start_namespace(work: impl FnOnce()) -> i32 {
    start(|| {
        // SAFETY: take no pointers.
        unsafe {
            let own = if libc::geteuid() == 0 { 0 } else { libc::CLONE_NEWUSER };
            let words = "this test needs root or unprivileged user namespaces";
            assert_eq!(libc::unshare(libc::CLONE_NEWPID | own), 0, "{words}: {}", std::io::Error::last_os_error());
        }
        reap_well(start(|| {
            let pid = start(|| {
                assert_eq!(std::process::id(), 2);
                work();
            });
            // The work ends by itself, or kills itself.
            let status = reap(pid);
            assert!(status == 0 || libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "{status:#x}");
        }));
    })
}

/// Who cannot be looked at is not taken for dead.
#[test]
fn two_pid_namespaces() {
    apart("two_pid_namespaces", || {
        let (memory, signs) = (cell_memory(64), signs());
        let pid = start_namespace(|| {
            let writer = Cell::writer(memory);
            assert_eq!(writer_of(memory), (2, SHMKIT_ANSWER_UNKNOWN));
            good(writer.write(&letter(1, 64)));
            signs.word(0).store(1, SeqCst);
            until(|| signs.word(0).load(SeqCst) == 2);
            // SAFETY: this process alone.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
        until(|| signs.word(0).load(SeqCst) == 1);
        let reader = Cell::reader(memory);
        assert_eq!(reader.read(64), Ok((1, letter(1, 64))));
        for dead in [false, true] {
            assert_eq!(writer_of(memory), (2, SHMKIT_ANSWER_UNKNOWN));
            is_busy(memory);
            assert!(message().contains("cannot be looked at"), "{}", message());
            refused(reader.read_newer(1, 64, 600_000_000), Status::ErrTimeout);
            if !dead {
                signs.word(0).store(2, SeqCst);
                reap_well(pid);
            }
        }
        let writer = Cell::attach(memory, TAKE_OVER).expect("it is taken over");
        assert_eq!(writer_of(memory), (std::process::id(), SHMKIT_ANSWER_YES));
        good(writer.write(&letter(2, 64)));
        // From within, the one outside.
        reap_well(start_namespace(|| {
            assert_eq!(writer_of(memory).1, SHMKIT_ANSWER_UNKNOWN);
            is_busy(memory);
            let reader = Cell::reader(memory);
            assert_eq!(reader.read_newer(1, 64, FOREVER), Ok((2, letter(2, 64))));
            refused(reader.read_newer(2, 64, 600_000_000), Status::ErrTimeout);
        }));
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Hostile bytes
// ------------------------------------------------------------------------------------------------------------------

#[track_caller]
fn allowed(status: i32, expected: &[Status], call: &str) {
    let all = expected.iter().any(|one| is(status, *one));
    assert!(status == 0 || all, "{call}: {status}, {}", message());
}

/// Changes a few bytes, most often of what decides something.
fn spoil(memory: Memory, random: &mut Random, longest: usize) {
    let stride = (longest.next_multiple_of(8) + 16).next_multiple_of(64);
    for _ in 0..1 + random.below(4) {
        let at = match random.below(8) {
            0 => random.below(memory.length / 8),
            1 => LATEST_AT / 8,
            2 => WRITER_AT / 8,
            3 => 16,
            4 | 5 => (SLOTS_AT + random.below(4) * stride) / 8 + random.below(2),
            _ => random.below(SLOTS_AT / 8),
        };
        let word = memory.word(8 * at);
        let old = word.load(SeqCst);
        let new = match random.below(6) {
            0 => random.next(),
            1 => old ^ 1 << random.below(64),
            2 => old.wrapping_add(random.below(9) as u64).wrapping_sub(4),
            3 => u64::MAX - random.below(3) as u64,
            4 => 1 << random.below(64),
            _ => random.below(70000) as u64,
        };
        word.store(new, SeqCst);
    }
}

#[test]
fn hostile_bytes() {
    apart("hostile_bytes", || {
        use Status::{
            ErrAgain, ErrBusy, ErrCorrupt, ErrInvalidArgument, ErrOwnerDied, ErrTimeout, ErrTooBig, ErrUninitialised,
        };
        let mut random = Random(2);
        let (mut refusals, mut fresh) = (0u32, 0u32);
        for round in 0..20_000 {
            // The memory of a cell, exactly, between pages that nobody may touch.
            let longest = [1, 40, 200, 4000][round % 4];
            let memory = MEMORIES.with(|all| all[round % 4]);
            cell_init(memory, longest);
            let (writer, reader) = (Cell::writer(memory), Cell::reader(memory));
            good(writer.write(&letter(1, 40)[..longest.min(16)]));
            if random.below(2) == 0 {
                writer.reserve(longest).expect("it fits");
            }
            spoil(memory, &mut random, longest);
            let users = match random.below(3) {
                0 => vec![Ok(writer), Ok(reader)],
                1 => vec![Ok(reader), Cell::attach(memory, TAKE_OVER)],
                _ => vec![Cell::attach(memory, READ), Cell::attach(memory, WRITE)],
            };
            for user in users {
                let user = match user {
                    Ok(user) => user,
                    Err(status) => {
                        fresh += 1;
                        allowed(status, &[ErrUninitialised, ErrCorrupt, ErrBusy], "attach");
                        continue;
                    }
                };
                for _ in 0..4 {
                    let mut buffer = vec![0u8; random.below(longest + 1)];
                    let (status, call) = match random.below(6) {
                        0 => (user.write(&buffer), "write"),
                        1 => (user.reserve(buffer.len()).map_or_else(|status| status, |_| 0), "reserve"),
                        2 => (user.commit(buffer.len()), "commit"),
                        3 => {
                            let after = random.below(3) as u64;
                            let found = user.read_newer_into(after, &mut buffer, 1000);
                            (found.map_or_else(|error| error.0, |_| 0), "read_newer")
                        }
                        4 => (cell_stat(memory).map_or_else(|status| status, |_| 0), "stat"),
                        _ => (user.read_into(&mut buffer).map_or_else(|error| error.0, |_| 0), "read"),
                    };
                    let expected: &[Status] = match call {
                        "write" | "reserve" | "commit" => &[ErrInvalidArgument, ErrTooBig],
                        "stat" => &[ErrUninitialised, ErrCorrupt],
                        "read" => &[ErrAgain, ErrTooBig, ErrCorrupt],
                        _ => &[ErrAgain, ErrTooBig, ErrCorrupt, ErrTimeout, ErrOwnerDied],
                    };
                    allowed(status, expected, call);
                    refusals += u32::from(is(status, ErrCorrupt));
                    if random.below(8) == 0 {
                        spoil(memory, &mut random, longest);
                    }
                }
                user.detach();
            }
            assert!(memory.is_untouched());
        }
        println!("{refusals} times corrupt, {fresh} times not attached");
        assert!(refusals > 100 && fresh > 100);
    });
}

thread_local! {
    /// One for each length.
    static MEMORIES: [Memory; 4] = [1, 40, 200, 4000].map(cell_memory);
}
