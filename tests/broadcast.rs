//! Broadcasts as a C program calls them: every function and every error, every message to every reader, exact counts of what
//! was missed, several writers, writers that die between reserve and commit, descriptors in an epoll loop, and hostile
//! bytes between pages that nobody may touch. Deaths at every instruction are in `cast_kill_points.rs`, every order of the
//! core's steps in `broadcast_models.rs`.

mod support;

use std::cell::Cell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut, without_provenance, without_provenance_mut};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use shmkit::capi::broadcast::*;
use shmkit::capi::options::{RegionLayout, RegionOptions};
use shmkit::capi::region::*;
use shmkit::containers::broadcast::{self as core, Broadcast, Refused};
use shmkit::containers::layout::MOST_COPIES;
use shmkit::error::Status;
use shmkit::sys::area::Area;
use support::cast_room::*;
use support::containers::*;
use support::ring_room::{FOREVER, LONG, Memory, Random, is, letter, opened};
use support::sync_room::{good, is_asleep, kill, reap_well, start, until};
use support::{message, object_name};

#[track_caller]
fn says(status: i32, expected: Status, call: &str) {
    assert_eq!(status, expected as i32, "{call}: {}", message());
    let words = message();
    assert!(words.contains(call.trim_start_matches("shmkit_")), "{call}: {words}");
}

/// The number of the next letter, and how many were missed before it.
#[track_caller]
fn next(member: MemberAt, timeout: u64) -> Result<(u64, u64), i32> {
    member.read(timeout).map(|(bytes, missed)| (opened(&bytes), missed))
}

// ------------------------------------------------------------------------------------------------------------------
// Every function
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn sizes() {
    assert_eq!(shmkit_broadcast_size(1, 0), CELLS_AT + 2 * 64);
    assert_eq!(shmkit_broadcast_size(2, 48), CELLS_AT + 2 * 64);
    assert_eq!(shmkit_broadcast_size(3, 49), CELLS_AT + 4 * 128);
    for (messages, size) in [(0, 8), ((1 << 24) + 1, 8), (usize::MAX, 8), (8, (1 << 30) + 1), (8, usize::MAX)] {
        assert_eq!(shmkit_broadcast_size(messages, size), 0);
    }
    assert!(shmkit_broadcast_size(1 << 24, 1 << 30) > 1 << 54);
}

#[test]
fn every_length_there_and_back() {
    apart("every_length_there_and_back", || {
        let cast = Cast::new(8, 1000);
        let (writer, reader) = (cast.member(), cast.member());
        let longest = cast.stat().expect("it is one").message_size as usize;
        assert!(longest >= 1000);
        for length in (0..=200).chain(longest - 9..=longest) {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8 | 1).collect();
            refused(reader.read(0), Status::ErrAgain);
            assert_eq!(reader.behind(), 0);
            good(writer.write(&bytes));
            let at = writer.reserve(length).expect("it fits");
            assert!((at as usize).is_multiple_of(16));
            // SAFETY: so many bytes were reserved.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), length) };
            assert_eq!(reader.behind(), 2);
            if length > 0 {
                // Too small a buffer: it stays the next.
                for _ in 0..2 {
                    let short = reader.read_into(&mut vec![0; length - 1], FOREVER);
                    assert_eq!(short, Err((Status::ErrTooBig as i32, length)), "{}", message());
                }
            }
            let mut buffer = vec![0; length + 16];
            assert_eq!(reader.read_into(&mut buffer, FOREVER), Ok((length, 0)), "{}", message());
            assert!(buffer[..length] == bytes && buffer[length..].iter().all(|byte| *byte == 0));
            // What is reserved is waited for.
            refused(reader.read(0), Status::ErrAgain);
            refused(reader.read(SHORT / 100), Status::ErrTimeout);
            good(writer.commit(length));
            assert_eq!(reader.read(FOREVER), Ok((bytes.clone(), 0)));
            // A member reads what it has written itself.
            assert_eq!(writer.read(0), Ok((bytes.clone(), 0)));
            assert_eq!(writer.read(0), Ok((bytes, 0)));
        }
        assert!(cast.memory.is_untouched());
    });
}

#[test]
fn reserve_commit_abort() {
    apart("reserve_commit_abort", || {
        let cast = Cast::new(4, 100);
        let longest = cast.stat().expect("it is one").message_size as usize;
        let (writer, reader) = (cast.member(), cast.member());
        says(writer.commit(1), Status::ErrInvalidArgument, "shmkit_broadcast_commit");
        says(writer.abort(), Status::ErrInvalidArgument, "shmkit_broadcast_abort");
        writer.reserve(4).expect("it fits");
        refused(writer.reserve(4), Status::ErrBusy);
        says(writer.write(b"no"), Status::ErrBusy, "shmkit_broadcast_write");
        says(writer.commit(longest + 1), Status::ErrTooBig, "shmkit_broadcast_commit");
        good(writer.abort());
        says(writer.abort(), Status::ErrInvalidArgument, "shmkit_broadcast_abort");
        refused(reader.read(0), Status::ErrAgain);
        good(writer.write(b"one"));
        assert_eq!(reader.read(0), Ok((b"one".to_vec(), 0)), "what was given up is not missed");
        for too_long in [longest + 1, usize::MAX] {
            refused(writer.reserve(too_long), Status::ErrTooBig);
        }
        says(writer.write(&vec![0; longest + 1]), Status::ErrTooBig, "shmkit_broadcast_write");
        // With something reserved a member ends; it is passed by.
        writer.reserve(100).expect("it fits");
        let other = cast.member();
        good(other.write(b"two"));
        refused(reader.read(0), Status::ErrAgain);
        writer.detach();
        assert_eq!(reader.read(0), Ok((b"two".to_vec(), 0)));
        // A forked child has nothing of its parent's.
        other.reserve(5).expect("it fits");
        reap_well(start(|| other.detach()));
        refused(reader.read(0), Status::ErrAgain);
        good(other.commit(5));
        assert_eq!(reader.read(0).map(|found| found.0.len()), Ok(5));
        assert_eq!(cast.stat().expect("it is one").lost, 0);
    });
}

/// A call of a member, with everything else as it should be.
type Call = (&'static str, fn(*mut shmkit_broadcast_t) -> i32);

fn calls() -> Vec<Call> {
    // SAFETY: the places are writable and readable; these are the documented answers to wrong members.
    unsafe {
        vec![
            ("shmkit_broadcast_detach", |cast| shmkit_broadcast_detach(cast)),
            ("shmkit_broadcast_reserve", |cast| shmkit_broadcast_reserve(cast, 1, &mut null_mut())),
            ("shmkit_broadcast_commit", |cast| shmkit_broadcast_commit(cast, 1)),
            ("shmkit_broadcast_abort", |cast| shmkit_broadcast_abort(cast)),
            ("shmkit_broadcast_write", |cast| shmkit_broadcast_write(cast, (&raw const *b"1").cast(), 1)),
            ("shmkit_broadcast_read", |cast| {
                shmkit_broadcast_read(cast, [0u8; 8].as_mut_ptr().cast(), 8, &mut 0, null_mut(), 0)
            }),
            ("shmkit_broadcast_close", |cast| shmkit_broadcast_close(cast)),
            ("shmkit_broadcast_arm", |cast| shmkit_broadcast_arm(cast)),
            ("shmkit_broadcast_set_notify_fd", |cast| shmkit_broadcast_set_notify_fd(cast, -1)),
        ]
    }
}

#[test]
fn wrong_members() {
    apart("wrong_members", || {
        let cast = Cast::new(4, 8);
        let zeros = signs();
        // SAFETY: these are no members.
        unsafe {
            for wild in [0, 8, 64, 4032, 0x8000_0000_0000_0000, usize::MAX & !63, zeros.at, zeros.at + 8] {
                assert_eq!(shmkit_broadcast_behind(without_provenance_mut(wild)), 0);
            }
        }
        for (name, call) in calls() {
            for wild in [0, 8, 64, 4032, 0x8000_0000_0000_0000, usize::MAX & !63] {
                says(call(without_provenance_mut(wild)), Status::ErrBadPointer, name);
            }
            says(call(zeros.at as *mut shmkit_broadcast_t), Status::ErrBadHandle, name);
            says(call((zeros.at + 8) as *mut shmkit_broadcast_t), Status::ErrBadHandle, name);
            let member = cast.member();
            let size = size_of::<shmkit_broadcast_t>();
            // SAFETY: both are writable; that a copy is no member is what is tested.
            unsafe { zeros.start().cast::<u8>().copy_from_nonoverlapping(member.0.cast_const().cast(), size) };
            says(call(zeros.at as *mut shmkit_broadcast_t), Status::ErrBadHandle, name);
            member.detach();
            says(call(member.0), Status::ErrBadHandle, name);
            // SAFETY: they are this test's.
            unsafe { zeros.start().cast::<u8>().write_bytes(0, size) };
        }
        assert_eq!(cast.stat().expect("it is one").closed, 0);
    });
}

#[test]
fn wrong_arguments() {
    apart("wrong_arguments", || {
        let cast = Cast::new(4, 8);
        let (memory, member) = (cast.memory, cast.member());
        let own = member.0;
        // SAFETY: these are the documented answers to such arguments.
        unsafe {
            for wild in [0, 4, 12] {
                let data = without_provenance_mut::<*mut c_void>(wild);
                says(shmkit_broadcast_reserve(own, 1, data), Status::ErrBadPointer, "shmkit_broadcast_reserve");
                let size = without_provenance_mut::<usize>(wild);
                let read = shmkit_broadcast_read(own, null_mut(), 0, size, null_mut(), 0);
                says(read, Status::ErrBadPointer, "shmkit_broadcast_read");
            }
            for nowhere in NOWHERE {
                let nowhere: *mut c_void = without_provenance_mut(nowhere);
                says(shmkit_broadcast_write(own, nowhere, 1), Status::ErrBadPointer, "shmkit_broadcast_write");
                let read = shmkit_broadcast_read(own, nowhere, 8, &mut 0, null_mut(), 0);
                says(read, Status::ErrBadPointer, "shmkit_broadcast_read");
            }
            let mut bytes = [0u8; 8];
            let wild = without_provenance_mut(8);
            let read = shmkit_broadcast_read(own, bytes.as_mut_ptr().cast(), 8, &mut 0, wild, 0);
            says(read, Status::ErrBadPointer, "shmkit_broadcast_read");
            let read = shmkit_broadcast_read(own, null_mut(), 8, &mut 0, null_mut(), 0);
            says(read, Status::ErrBadPointer, "shmkit_broadcast_read");
            good(shmkit_broadcast_write(own, null(), 0));
            good(shmkit_broadcast_read(own, null_mut(), 0, &mut 0, null_mut(), 0));
            // Attaching.
            let place = cast.member();
            let attach = |place: *mut shmkit_broadcast_t, region, at: usize, length, from| {
                shmkit_broadcast_attach(place, region, without_provenance_mut(at), length, null(), from)
            };
            let name = "shmkit_broadcast_attach";
            for from in [-1, 2, i32::MIN, i32::MAX] {
                says(attach(place.0, cast.region, memory.at, memory.length, from), Status::ErrInvalidArgument, name);
            }
            for wild in [0, 8, usize::MAX & !63, place.0 as usize + 8] {
                let wild = without_provenance_mut(wild);
                says(attach(wild, cast.region, memory.at, memory.length, 0), Status::ErrBadPointer, name);
            }
            for wild in [0, 8, 4096, usize::MAX & !63] {
                let region = without_provenance(wild);
                says(attach(place.0, region, memory.at, memory.length, 0), Status::ErrBadHandle, name);
            }
            let mut stat = MaybeUninit::<shmkit_broadcast_stat_t>::uninit();
            for wild in [0, 64, 0x8000_0000_0000_0000, usize::MAX & !63, memory.at + memory.length] {
                says(attach(place.0, cast.region, wild, 4096, 0), Status::ErrBadPointer, name);
                let init = shmkit_broadcast_init(without_provenance_mut(wild), memory.length, 4, 8, null());
                assert!(is(init, Status::ErrBadPointer) || is(init, Status::ErrAccess), "{wild:x}: {}", message());
                let looked = shmkit_broadcast_stat(without_provenance(wild), 4096, stat.as_mut_ptr());
                says(looked, Status::ErrBadPointer, "shmkit_broadcast_stat");
            }
            for wild in [0usize, 4] {
                let stat = without_provenance_mut(wild);
                let looked = shmkit_broadcast_stat(memory.start(), memory.length, stat);
                says(looked, Status::ErrBadPointer, "shmkit_broadcast_stat");
            }
            for aside in [1, 8, 32] {
                says(attach(place.0, cast.region, memory.at + aside, 100, 0), Status::ErrInvalidArgument, name);
                let init = shmkit_broadcast_init((memory.at + aside) as *mut c_void, 100, 4, 8, null());
                says(init, Status::ErrInvalidArgument, "shmkit_broadcast_init");
            }
            for length in [0, 1, 64, MEMBERS_AT - 1] {
                says(attach(place.0, cast.region, memory.at, length, 0), Status::ErrUninitialised, name);
            }
            for length in [MEMBERS_AT, CELLS_AT, memory.length - 64] {
                says(attach(place.0, cast.region, memory.at, length, 0), Status::ErrCorrupt, name);
                let looked = shmkit_broadcast_stat(memory.start(), length, stat.as_mut_ptr());
                says(looked, Status::ErrCorrupt, "shmkit_broadcast_stat");
                let init = shmkit_broadcast_init(memory.start(), length, 4, 8, null());
                says(init, Status::ErrInvalidArgument, "shmkit_broadcast_init");
            }
            for (messages, size) in [(0, 8), ((1 << 24) + 1, 8), (4, (1 << 30) + 1), (5, 8), (4, 49)] {
                let init = shmkit_broadcast_init(memory.start(), memory.length, messages, size, null());
                says(init, Status::ErrInvalidArgument, "shmkit_broadcast_init");
            }
            let none = signs();
            says(attach(place.0, cast.region, none.at, 4096, 0), Status::ErrUninitialised, name);
            let looked = shmkit_broadcast_stat(none.start(), 4096, stat.as_mut_ptr());
            says(looked, Status::ErrUninitialised, "shmkit_broadcast_stat");
            // Descriptors.
            for wrong in [-2, i32::MIN, i32::MAX] {
                says(member.notify_fd(wrong), Status::ErrBadDescriptor, "shmkit_broadcast_set_notify_fd");
            }
            // Memory for reading only: its stat is to be had.
            memory.protect(libc::PROT_READ);
            says(attach(place.0, cast.region, memory.at, memory.length, 0), Status::ErrAccess, name);
            let init = shmkit_broadcast_init(memory.start(), memory.length, 4, 8, null());
            says(init, Status::ErrAccess, "shmkit_broadcast_init");
            assert_eq!(cast.stat().expect("it is one").written, 1);
            memory.protect(libc::PROT_READ | libc::PROT_WRITE);
        }
        good(member.write(b"whole"));
        assert_eq!(member.read(0), Ok((b"whole".to_vec(), 0)));
    });
}

/// Regions by which nobody can tell who is dead.
#[test]
fn wrong_regions() {
    apart("wrong_regions", || {
        let cast = Cast::new(4, 8);
        let attach = |region| {
            let member = cast.member();
            // SAFETY: the places are there.
            unsafe {
                shmkit_broadcast_attach(member.0, region, cast.memory.start(), cast.memory.length, null(), FROM_NOW)
            }
        };
        // SAFETY: all zeros are the defaults, but for the size of the struct; the places are there.
        unsafe {
            let zeros: RegionOptions = MaybeUninit::zeroed().assume_init();
            let options = RegionOptions { struct_size: size_of::<RegionOptions>(), size: 4096, ..zeros };
            let name = object_name();
            let address = std::ffi::CString::new(format!("posix:{}", name.to_str().expect("ASCII"))).expect("no NUL");
            let mut raw = null_mut();
            good(shmkit_region_create(address.as_ptr(), &RegionOptions { raw: 1, ..options }, &mut raw));
            says(attach(raw), Status::ErrBackend, "shmkit_broadcast_attach");
            good(shmkit_region_unlink(raw));
            good(shmkit_region_close(raw));
            let (mut made, mut looks) = (null_mut(), null_mut());
            good(shmkit_region_create(address.as_ptr(), &options, &mut made));
            let only = RegionOptions { read_only: 1, size: 0, ..options };
            good(shmkit_region_open(address.as_ptr(), &only, &mut looks));
            says(attach(looks), Status::ErrAccess, "shmkit_broadcast_attach");
            good(attach(made));
            // Memory of another region: by these leases its living members would be dead.
            let (at, size) = (shmkit_region_data(cast.region), shmkit_region_size(cast.region));
            good(shmkit_broadcast_init(at, size, 4, 8, null()));
            let member = cast.member();
            let result = shmkit_broadcast_attach(member.0, made, at, size, null(), FROM_NOW);
            says(result, Status::ErrInvalidArgument, "shmkit_broadcast_attach");
            good(shmkit_broadcast_attach(member.0, cast.region, at, size, null(), FROM_NOW));
            good(shmkit_region_unlink(made));
            good(shmkit_region_close(looks));
            good(shmkit_region_close(made));
            says(attach(made), Status::ErrBadHandle, "shmkit_broadcast_attach");
        }
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
        let cast = Cast::new(4, 24);
        let member = cast.member();
        let attach = |layout: *const RegionLayout| {
            let (start, length) = (cast.memory.start(), cast.memory.length);
            // SAFETY: the places are there.
            unsafe { shmkit_broadcast_attach(member.0, cast.region, start, length, layout, FROM_NOW) }
        };
        let own = layout(c"pose", 24, 1, 8);
        says(attach(&own), Status::ErrLayout, "shmkit_broadcast_attach");
        // SAFETY: the memory is mapped.
        good(unsafe { shmkit_broadcast_init(cast.memory.start(), cast.memory.length, 4, 24, &own) });
        good(attach(&own));
        good(attach(null()));
        for other in [
            layout(c"posf", 24, 1, 8),
            layout(c"pose", 25, 1, 8),
            layout(c"pose", 24, 2, 8),
            layout(c"pose", 24, 1, 16),
        ] {
            says(attach(&other), Status::ErrLayout, "shmkit_broadcast_attach");
        }
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Every message to every reader
// ------------------------------------------------------------------------------------------------------------------

/// One thread does everything, in an order drawn by lot: what each reader is given, and how many it has missed, is known.
#[test]
fn exactly_what_a_list_says() {
    apart("exactly_what_a_list_says", || {
        let mut random = Random(11);
        let mut missed_in_all = 0;
        for messages in [1, 2, 3, 4, 8, 64] {
            let cast = Cast::new(messages, 64);
            let kept = messages.next_power_of_two().max(2) as u64;
            let writers = [cast.member(), cast.member()];
            let (mut written, mut readers) = (0u64, Vec::new());
            for _ in 0..6000 {
                match random.below(24) {
                    // Joins: from now on, or with what is kept.
                    0 if readers.len() < 6 => readers.push((cast.member(), written)),
                    1 if readers.len() < 6 => readers.push((cast.oldest(), written.saturating_sub(kept))),
                    2 if !readers.is_empty() => {
                        let (reader, _) = readers.swap_remove(random.below(readers.len()));
                        reader.detach();
                    }
                    3..9 => {
                        // A run, so that some fall behind by more than is kept.
                        for _ in 0..1 + random.below(2 * messages) {
                            good(writers[random.below(2)].write(&letter(written, 64)));
                            written += 1;
                            // One that nobody reads changes nothing: a turn for each, and no more.
                            assert_eq!(cast.stat().expect("it is one").written, written);
                        }
                    }
                    _ if readers.is_empty() => {}
                    _ => {
                        let chosen = random.below(readers.len());
                        let (reader, expected) = &mut readers[chosen];
                        assert_eq!(reader.behind(), written - *expected);
                        if *expected == written {
                            refused(reader.read(0), Status::ErrAgain);
                            continue;
                        }
                        let number = (*expected).max(written.saturating_sub(kept));
                        assert_eq!(next(**reader, 0), Ok((number, number - *expected)));
                        missed_in_all += number - *expected;
                        *expected = number + 1;
                    }
                }
            }
            assert_eq!(cast.stat().expect("it is one").lost, 0);
            assert!(cast.memory.is_untouched());
            // SAFETY: nobody uses it any more.
            good(shmkit_region_close(cast.region));
        }
        assert!(missed_in_all > 1000);
    });
}

/// Two reserve in turn, and commit in the other order; a third goes round them.
#[test]
fn what_is_passed_by() {
    apart("what_is_passed_by", || {
        let cast = Cast::new(2, 64);
        let (slow, fast, reader) = (cast.member(), cast.member(), cast.member());
        let put = |member: MemberAt, number| {
            let bytes = letter(number, 64);
            let at = member.reserve(bytes.len()).expect("it fits");
            // SAFETY: so many bytes were reserved.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            bytes.len()
        };
        let length = put(*slow, 0);
        for number in 1..4 {
            good(fast.write(&letter(number, 64)));
            refused(reader.read(0), Status::ErrAgain);
        }
        // One place is held: the other was written to three times, and the held one passed by twice.
        assert_eq!(cast.stat().expect("it is one").written, 6);
        good(slow.commit(length));
        // It is behind by all that is kept, but what it waited for comes first.
        assert_eq!(next(*reader, 0), Ok((0, 0)));
        let (number, missed) = next(*reader, 0).expect("the last one is there");
        assert!(number == 3 && (2..=3).contains(&missed), "{number} after {missed}");
        refused(reader.read(0), Status::ErrAgain);
        // All places are held: who comes then is told, and it is over with them.
        let other = cast.member();
        slow.reserve(64).expect("it fits");
        other.reserve(64).expect("it fits");
        for _ in 0..3 {
            says(fast.write(b"no"), Status::ErrBusy, "shmkit_broadcast_write");
        }
        good(slow.abort());
        good(other.abort());
        refused(reader.read(0), Status::ErrAgain);
        good(fast.write(&letter(4, 64)));
        good(slow.write(&letter(5, 64)));
        assert_eq!(next(*reader, 0).map(|found| found.0), Ok(4));
        assert_eq!(next(*reader, 0), Ok((5, 0)));
    });
}

/// A writer as fast as it can, readers that dawdle: what they miss is exactly what the numbers say.
#[test]
fn slow_readers_know_what_they_missed() {
    apart("slow_readers_know_what_they_missed", || {
        let (cast, signs) = (Cast::new(16, 200), signs());
        let read = move |mine: usize, dawdles: bool, from: i32| {
            let reader = cast.attach(from).expect("there is room");
            signs.word(8).fetch_add(1, SeqCst);
            let (mut random, mut expected) = (Random(mine as u64), None);
            loop {
                match next(*reader, FOREVER) {
                    Ok((number, missed)) => {
                        if let Some(expected) = expected {
                            assert_eq!(number - expected, missed, "{number} after {expected}");
                        }
                        expected = Some(number + 1);
                        signs.word(mine).fetch_add(1, SeqCst);
                        signs.word(mine + 8).fetch_add(missed, SeqCst);
                        if dawdles && random.below(50) == 0 {
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                    Err(status) => {
                        assert!(is(status, Status::ErrClosed), "{}", message());
                        // The last one is never missed.
                        assert_eq!(expected, Some(signs.word(0).load(SeqCst)));
                        return;
                    }
                }
            }
        };
        let pids = [64, 128, 192].map(|mine| start(move || read(mine, mine == 128, FROM_NOW)));
        let thread = std::thread::spawn(move || read(256, true, FROM_OLDEST));
        until(|| signs.word(8).load(SeqCst) == 4);
        let writer = cast.member();
        let (began, mut number) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(1) {
            good(writer.write(&letter(number, 200)));
            number += 1;
            if number % 1000 == 0 {
                std::thread::yield_now();
            }
        }
        signs.word(0).store(number, SeqCst);
        assert_eq!(cast.stat().expect("it is one").written, number, "one turn for each");
        good(writer.close());
        pids.into_iter().for_each(reap_well);
        thread.join().expect("it found no fault");
        let counts = [64, 128, 192, 256].map(|at| (signs.word(at).load(SeqCst), signs.word(at + 8).load(SeqCst)));
        println!("{number} written; read and missed: {counts:?}");
        assert!(counts.iter().all(|(read, missed)| *read > 0 && read + missed <= number));
        assert!(counts.iter().any(|(_, missed)| *missed > 0));
    });
}

/// Message `number` of writer `writer`.
fn of_writer(writer: u64, number: u64, longest: usize) -> Vec<u8> {
    letter(writer << 48 | number, longest)
}

/// Several writers; all is kept, or little is.
#[test]
fn several_writers() {
    apart("several_writers", || {
        const EACH: u64 = 4000;
        for (messages, from) in [(4 * EACH as usize, FROM_OLDEST), (8, FROM_NOW), (4, FROM_NOW)] {
            let (cast, signs) = (Cast::new(messages, 100), signs());
            let all_kept = messages > EACH as usize;
            let readers = [0, 1].map(|mine| {
                start(move || {
                    let reader = cast.attach(from).expect("there is room");
                    signs.word(8).fetch_add(1, SeqCst);
                    let (mut expected, mut missed_in_all, mut gaps) = ([0u64; 3], 0, 0);
                    loop {
                        match reader.read(FOREVER) {
                            Ok((bytes, missed)) => {
                                let letter = opened(&bytes);
                                let (writer, number) = ((letter >> 48) as usize, letter & 0xffff_ffff);
                                assert!(number >= expected[writer], "{number} of {writer} after {expected:?}");
                                gaps += number - expected[writer];
                                expected[writer] = number + 1;
                                missed_in_all += missed;
                                assert!(!all_kept || missed == 0 && gaps == 0);
                            }
                            Err(status) => {
                                assert!(is(status, Status::ErrClosed), "{}", message());
                                break;
                            }
                        }
                    }
                    let voids = signs.word(16).load(SeqCst);
                    let tail = expected.iter().map(|expected| EACH - expected).sum::<u64>();
                    println!("reader {mine}: missed {missed_in_all}, gaps {gaps}, {voids} void, {tail} at the end");
                    // What was passed by is no message, and is counted as missed where it was overwritten.
                    assert!(gaps + tail <= missed_in_all + if all_kept { 0 } else { tail });
                    assert!(missed_in_all <= gaps + tail + voids, "more are missed than there were");
                    assert!(!all_kept || expected == [EACH; 3], "{expected:?}");
                })
            });
            until(|| signs.word(8).load(SeqCst) == 2);
            let writers = [0, 1, 2].map(|own| {
                start(move || {
                    let writer = cast.member();
                    for number in 0..EACH {
                        let bytes = of_writer(own, number, 100);
                        if number % 2 == 0 {
                            let at = writer.reserve(bytes.len()).expect("it fits");
                            // SAFETY: so many bytes were reserved.
                            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                            if number % 32 == 0 {
                                std::thread::yield_now();
                            }
                            good(writer.commit(bytes.len()));
                        } else {
                            good(writer.write(&bytes));
                        }
                    }
                    writer.detach();
                })
            });
            writers.into_iter().for_each(reap_well);
            let stat = cast.stat().expect("it is one");
            signs.word(16).store(stat.written - 3 * EACH, SeqCst);
            assert!(!all_kept || stat.written == 3 * EACH);
            assert_eq!(stat.lost, 0);
            good(cast.member().close());
            readers.into_iter().for_each(reap_well);
            assert!(cast.memory.is_untouched());
        }
    });
}

/// Writers lap readers all the time: nothing is torn.
#[test]
fn nothing_is_torn() {
    apart("nothing_is_torn", || {
        let (cast, signs) = (Cast::new(2, 1000), signs());
        let over = move || signs.word(0).load(SeqCst) != 0;
        let writers = [0, 1].map(|own| {
            start(move || {
                let writer = cast.member();
                let letters: Vec<_> = (0..64).map(|number| of_writer(own, number, 1000)).collect();
                while !over() {
                    letters.iter().for_each(|bytes| good(writer.write(bytes)));
                }
            })
        });
        let readers = [64, 128].map(|mine| {
            start(move || {
                let reader = cast.member();
                let mut buffer = vec![0u8; 1000];
                while !over() {
                    let (length, missed) = reader.read_into(&mut buffer, FOREVER).expect("they write on");
                    opened(&buffer[..length]);
                    signs.word(mine).fetch_add(1, SeqCst);
                    signs.word(mine + 8).fetch_add(missed, SeqCst);
                }
            })
        });
        std::thread::sleep(Duration::from_millis(1500));
        // Longer where others have the processors.
        let enough = |mine: usize| [mine, mine + 8].iter().all(|at| signs.word(*at).load(SeqCst) > 100);
        until(|| enough(64) && enough(128));
        signs.word(0).store(1, SeqCst);
        writers.into_iter().for_each(reap_well);
        // A reader may wait for one more.
        let last = cast.member();
        good(last.write(&letter(0, 1000)));
        readers.into_iter().for_each(reap_well);
        for mine in [64, 128] {
            let (read, missed) = (signs.word(mine).load(SeqCst), signs.word(mine + 8).load(SeqCst));
            println!("{read} read, {missed} missed");
            assert!(read > 100 && missed > 100);
        }
    });
}

#[test]
fn late_joins() {
    apart("late_joins", || {
        let cast = Cast::new(4, 64);
        assert!(is(next(*cast.oldest(), 0).expect_err("nothing was written"), Status::ErrAgain));
        let writer = cast.member();
        for number in 0..11 {
            let (now, oldest) = (cast.member(), cast.oldest());
            refused(now.read(0), Status::ErrAgain);
            for kept in number.max(4) - 4..number {
                assert_eq!(next(*oldest, 0), Ok((kept, 0)));
            }
            refused(oldest.read(0), Status::ErrAgain);
            good(writer.write(&letter(number, 64)));
            assert_eq!(next(*now, 0), Ok((number, 0)));
            assert_eq!(next(*oldest, 0), Ok((number, 0)));
        }
    });
}

/// Writers come round in every copy: the reader is told so after some of them, goes on where messages still are, and has
/// counted what it missed.
#[test]
fn overtaken_in_every_copy() {
    apart("overtaken_in_every_copy", || {
        let cast = Cast::new(4, 48);
        // SAFETY: it stays mapped to the end of the process.
        let area = unsafe { Area::new(cast.memory.at, cast.memory.length) };
        let shape = core::read(area).expect("it is one");
        let core = |owner| Broadcast::new(area, shape, owner).expect("it is one");
        let (mut writer, mut reader) = (core(1), core(2));
        let mut write = || {
            writer.claim(&mut |_| false).expect("nobody is in the way");
            writer.commit(8).expect("it was claimed");
        };
        write();
        let copies = Cell::new(0);
        let mut copy = |_, _| {
            copies.set(copies.get() + 1);
            (0..4).for_each(|_| write());
        };
        for round in 1..=3 {
            assert_eq!(reader.next(48, &mut copy, &mut |_| false), Err(Refused::Overtaken));
            assert_eq!(copies.get(), round * MOST_COPIES, "it gave up too late or too soon");
        }
        let (_, missed) = reader.next(48, &mut |_, _| {}, &mut |_| false).expect("some are there");
        assert_eq!(missed, 1 + 4 * u64::from(copies.get()) - 4);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// The end, and deaths
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn closed() {
    apart("closed", || {
        for timeout in [0, LONG, FOREVER] {
            let (cast, signs) = (Cast::new(4, 64), signs());
            let (writer, reader) = (cast.member(), cast.member());
            let pid = start(|| {
                let reader = cast.member();
                signs.word(0).store(1, SeqCst);
                assert_eq!(next(*reader, FOREVER), Ok((0, 0)));
                assert_eq!(next(*reader, FOREVER), Ok((1, 0)));
                signs.word(0).store(2, SeqCst);
                refused(reader.read(FOREVER), Status::ErrClosed);
                refused(reader.read(FOREVER), Status::ErrClosed);
            });
            until(|| signs.word(0).load(SeqCst) == 1 && is_asleep(pid));
            good(writer.write(&letter(0, 64)));
            let bytes = letter(1, 64);
            let at = writer.reserve(bytes.len()).expect("it fits");
            // SAFETY: so many bytes were reserved.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            let other = cast.member();
            good(other.close());
            good(other.close());
            refused(other.reserve(1), Status::ErrClosed);
            says(other.write(b"no"), Status::ErrClosed, "shmkit_broadcast_write");
            assert_eq!(next(*reader, 0), Ok((0, 0)));
            // What was reserved before still comes.
            refused(reader.read(0), Status::ErrAgain);
            good(writer.commit(bytes.len()));
            refused(writer.reserve(1), Status::ErrClosed);
            assert_eq!(next(*reader, timeout), Ok((1, 0)));
            refused(reader.read(timeout), Status::ErrClosed);
            let late = cast.oldest();
            assert_eq!(next(*late, timeout), Ok((0, 0)));
            assert_eq!(next(*late, timeout), Ok((1, 0)));
            refused(late.read(timeout), Status::ErrClosed);
            refused(cast.member().read(timeout), Status::ErrClosed);
            assert!(is(late.arm(), Status::ErrAgain), "it is the end");
            reap_well(pid);
            assert_eq!(cast.stat().expect("it is one").closed, 1);
        }
    });
}

/// Who closes while somebody reserves: either the message comes before the end, or the writer is refused.
#[test]
fn closed_beside_writers() {
    apart("closed_beside_writers", || {
        let (mut cut, mut waited) = (0, 0);
        for round in 0..300u32 {
            let (cast, signs) = (Cast::new(2048, 64), signs());
            let reader = cast.member();
            let pids = [64, 128].map(|mine| {
                start(move || {
                    let writer = cast.member();
                    let mut number = 0;
                    signs.word(0).fetch_add(1, SeqCst);
                    while writer.write(&letter(number, 64)) == 0 {
                        number += 1;
                        signs.word(mine).store(number, SeqCst);
                        if number == 1000 {
                            break;
                        }
                    }
                })
            });
            until(|| signs.word(0).load(SeqCst) == 2);
            for _ in 0..round {
                std::hint::spin_loop();
            }
            good(cast.member().close());
            let mut read = 0;
            while let Ok((_, missed)) = next(*reader, FOREVER) {
                assert_eq!(missed, 0);
                read += 1;
            }
            refused(reader.read(FOREVER), Status::ErrClosed);
            pids.into_iter().for_each(reap_well);
            // Nothing comes behind the end.
            refused(reader.read(0), Status::ErrClosed);
            let written = signs.word(64).load(SeqCst) + signs.word(128).load(SeqCst);
            assert_eq!(read, written);
            cut += u32::from(written < 2000);
            waited += u32::from(written > 0);
            good(shmkit_region_close(cast.region));
            cast.memory.unmap();
            signs.unmap();
        }
        println!("{cut} rounds were cut short, in {waited} something was written");
        assert!(cut > 20 && waited > 20);
    });
}

/// Writers die with a message reserved: readers, asleep or not, and writers pass it by; what was committed is there.
#[test]
fn writers_die_with_something_reserved() {
    apart("writers_die_with_something_reserved", || {
        for messages in [2, 8] {
            let (cast, signs) = (Cast::new(messages, 64), signs());
            let late = cast.member();
            let reader = start(|| {
                let reader = cast.member();
                signs.word(0).store(1, SeqCst);
                assert_eq!(next(*reader, FOREVER), Ok((0, 0)));
                signs.word(0).store(2, SeqCst);
                assert_eq!(next(*reader, FOREVER), Ok((7, 0)));
                signs.word(0).store(3, SeqCst);
                assert_eq!(next(*reader, LONG), Ok((8, 0)));
            });
            until(|| signs.word(0).load(SeqCst) == 1 && is_asleep(reader));
            let dead = start(|| {
                let writer = cast.member();
                good(writer.write(&letter(0, 64)));
                writer.reserve(64).expect("it fits");
                signs.word(8).store(1, SeqCst);
                pause();
            });
            until(|| signs.word(8).load(SeqCst) == 1 && signs.word(0).load(SeqCst) == 2 && is_asleep(reader));
            assert_eq!(next(*late, 0), Ok((0, 0)));
            refused(late.read(0), Status::ErrAgain);
            kill(dead);
            if messages == 2 {
                let writer = cast.member();
                // What is after it is written, then its own place is written anew.
                good(writer.write(&letter(7, 64)));
                until(|| signs.word(0).load(SeqCst) == 3);
                assert_eq!(next(*late, 0), Ok((7, 0)));
                good(writer.write(&letter(8, 64)));
                assert_eq!(cast.stat().expect("it is one").lost, 1);
            } else {
                let writer = cast.member();
                good(writer.write(&letter(7, 64)));
                until(|| signs.word(0).load(SeqCst) == 3);
                good(writer.write(&letter(8, 64)));
                assert_eq!(next(*late, 0), Ok((7, 0)));
            }
            assert_eq!(next(*late, 0), Ok((8, 0)));
            reap_well(reader);
            let writer = cast.member();
            (9..9 + messages as u64).for_each(|number| good(writer.write(&letter(number, 64))));
            assert_eq!(cast.stat().expect("it is one").lost, 1, "each is counted once");
            assert_eq!(next(*late, 0), Ok((9, 0)));
        }
    });
}

/// Writers are killed at any time, others come: every reader sees everything that was committed, in the order of each.
#[test]
fn a_storm_of_deaths() {
    apart("a_storm_of_deaths", || {
        const DEATHS: u64 = 120;
        const EACH: u64 = 100;
        let (cast, signs) = (Cast::new(((DEATHS + 1) * EACH) as usize, 100), Memory::new(16384));
        // How many each writer has committed.
        let committed = move |writer: u64| signs.word(1024 + 8 * writer as usize);
        let readers = [0, 1].map(|_| {
            start(move || {
                let reader = cast.oldest();
                let mut expected = vec![0u64; DEATHS as usize];
                loop {
                    match reader.read(FOREVER) {
                        Ok((bytes, missed)) => {
                            let letter = opened(&bytes);
                            let (writer, number) = ((letter >> 48) as usize, letter & 0xffff_ffff);
                            assert!(missed == 0 && number == expected[writer], "{number} of {writer}");
                            expected[writer] += 1;
                        }
                        Err(status) => {
                            assert!(is(status, Status::ErrClosed), "{}", message());
                            break;
                        }
                    }
                }
                for (writer, seen) in expected.iter().enumerate() {
                    let done = committed(writer as u64).load(SeqCst);
                    // One more may have been committed than its writer lived to tell.
                    assert!(*seen == done || *seen == done + 1, "{seen} of {done} of {writer}");
                }
            })
        });
        let mut random = Random(3);
        let mut living: Vec<(i32, u64)> = Vec::new();
        for own in 0..DEATHS {
            let pid = start(move || {
                let writer = cast.member();
                for number in 0..EACH {
                    let bytes = of_writer(own, number, 100);
                    let at = writer.reserve(bytes.len()).expect("it fits");
                    // SAFETY: so many bytes were reserved.
                    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
                    good(writer.commit(bytes.len()));
                    committed(own).store(number + 1, SeqCst);
                }
                pause();
            });
            living.push((pid, own));
            if living.len() == 3 {
                let (pid, victim) = living.remove(random.below(3));
                if random.below(3) > 0 {
                    let so_many = random.below(EACH as usize) as u64;
                    until(|| committed(victim).load(SeqCst) >= so_many);
                }
                kill(pid);
            }
        }
        living.into_iter().for_each(|(pid, _)| kill(pid));
        good(cast.member().close());
        readers.into_iter().for_each(reap_well);
        let total: u64 = (0..DEATHS).map(|own| committed(own).load(SeqCst)).sum();
        println!("{total} committed, {} turns", cast.stat().expect("it is one").written);
        assert!(total > DEATHS);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Descriptors
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn descriptors() {
    apart("descriptors", || {
        let cast = Cast::new(4, 64);
        let (writer, other, reader) = (cast.member(), cast.member(), cast.member());
        let fd = event_fd();
        good(writer.notify_fd(fd));
        good(other.notify_fd(fd));
        drain(fd);
        // Nobody sleeps: nobody pays.
        good(writer.write(b"one"));
        assert_eq!(drain(fd), 0);
        assert!(is(reader.arm(), Status::ErrAgain), "there is a message");
        assert_eq!(reader.read(0), Ok((b"one".to_vec(), 0)));
        // The first arm has left a sign, and so has this one: one wake for both, and none after it.
        good(reader.arm());
        good(writer.write(b"two"));
        good(writer.write(b"three"));
        assert_eq!(drain(fd), 1);
        while reader.read(0).is_ok() {}
        let ways: [&dyn Fn(); 4] = [
            &|| {
                writer.reserve(8).expect("it fits");
                good(writer.commit(8));
            },
            // What is behind something that is given up can be read.
            &|| {
                writer.reserve(8).expect("it fits");
                good(other.write(b"behind"));
                assert_eq!(drain(fd), 1);
                refused(reader.read(0), Status::ErrAgain);
                good(reader.arm());
                good(writer.abort());
            },
            // The same where its writer goes.
            &|| {
                let gone = cast.member();
                good(gone.notify_fd(fd));
                assert_eq!(drain(fd), 1, "one has armed already");
                good(reader.arm());
                gone.reserve(8).expect("it fits");
                good(other.write(b"behind"));
                assert_eq!(drain(fd), 1);
                refused(reader.read(0), Status::ErrAgain);
                good(reader.arm());
                gone.detach();
            },
            &|| good(writer.close()),
        ];
        for way in ways {
            while reader.read(0).is_ok() {}
            good(reader.arm());
            way();
            assert_eq!(drain(fd), 1);
            assert!(is(reader.arm(), Status::ErrAgain));
        }
        let cast = Cast::new(4, 64);
        let (writer, reader) = (cast.member(), cast.member());
        good(writer.notify_fd(fd));
        good(writer.notify_fd(-1));
        drain(fd);
        good(reader.arm());
        good(writer.write(b"none"));
        assert_eq!(drain(fd), 0, "no descriptor any more");
        let second = cast.member();
        good(second.notify_fd(fd));
        assert_eq!(drain(fd), 1, "who has one tells who has armed before");
        good(second.write(b"none"));
        assert_eq!(drain(fd), 0);
    });
}

/// The reader sleeps in epoll alone, and nothing looks again by itself: a wake that is lost hangs.
#[test]
fn messages_through_epoll() {
    apart("messages_through_epoll", || {
        const EACH: u64 = 6000;
        let (cast, signs) = (Cast::new(16, 64), signs());
        let (reader, fd) = (cast.member(), event_fd());
        let writers = [0, 1].map(|own| {
            start(move || {
                let writer = cast.member();
                good(writer.notify_fd(fd));
                for number in 0..EACH {
                    if number % 5 == 0 {
                        writer.reserve(8).expect("it fits");
                        good(writer.abort());
                    }
                    good(writer.write(&of_writer(own, number, 64)));
                    if number % 16 == own {
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
                // The second to end says so.
                if signs.word(0).fetch_add(1, SeqCst) == 1 {
                    good(writer.close());
                }
                writer.detach();
            })
        });
        let (epoll, mut expected, mut sleeps, mut read) = (epoll_of(fd), [0; 2], 0u64, 0u64);
        loop {
            match reader.read(0) {
                Ok((bytes, missed)) => {
                    let letter = opened(&bytes);
                    let (writer, number) = ((letter >> 48) as usize, letter & 0xffff_ffff);
                    assert!(number >= expected[writer], "{number} of {writer}");
                    expected[writer] = number + 1;
                    read += 1 + missed;
                }
                Err(status) if is(status, Status::ErrClosed) => break,
                Err(status) => {
                    assert!(is(status, Status::ErrAgain), "{}", message());
                    if reader.arm() == 0 {
                        sleep_on(epoll, fd);
                        sleeps += 1;
                    }
                }
            }
        }
        println!("{read} messages, {sleeps} sleeps");
        assert!(sleeps > 10 && read >= 2 * EACH && expected.contains(&EACH));
        writers.into_iter().for_each(reap_well);
    });
}

// ------------------------------------------------------------------------------------------------------------------
// Hostile bytes
// ------------------------------------------------------------------------------------------------------------------

/// A message of a length that cannot be, or in a cell whose state cannot be, is passed by, which every reader is told, once.
#[test]
fn messages_that_cannot_be() {
    for spoils in ["length", "state"] {
        let cast = Cast::new(4, 40);
        let (writer, reader) = (cast.member(), cast.member());
        good(writer.write(b"spoilt"));
        good(writer.write(b"whole"));
        match spoils {
            "length" => cast.memory.word(cast.word(0).as_ptr() as usize + 8 - cast.memory.at).store(49, SeqCst),
            _ => cast.word(0).store(1 << 32 | 5 << 28, SeqCst),
        }
        for member in [&writer, &reader] {
            refused(member.read(0).map(drop), Status::ErrCorrupt);
            assert_eq!(member.read(0), Ok((b"whole".to_vec(), 0)), "{spoils}");
            refused(member.read(0).map(drop), Status::ErrAgain);
        }
        writer.detach();
        reader.detach();
    }
}

/// Changes a few bytes, most often of what decides something.
fn spoil(cast: Cast, random: &mut Random) {
    let kept = cast.messages.next_power_of_two().max(2);
    for _ in 0..1 + random.below(4) {
        let word = match random.below(10) {
            0 => cast.memory.word(8 * random.below(cast.memory.length / 8)),
            1 | 2 => cast.memory.word(TAIL_AT),
            3 => cast.memory.word(MEMBERS_AT + 8 * random.below(64)),
            4..7 => cast.word(random.below(kept)),
            7 => cast.memory.word(cast.word(random.below(kept)).as_ptr() as usize + 8 - cast.memory.at),
            _ => cast.memory.word(8 * random.below(MEMBERS_AT / 8)),
        };
        let old = word.load(SeqCst);
        let new = match random.below(8) {
            0 => random.next(),
            1 => old ^ 1 << random.below(64),
            2 => old.wrapping_add(random.below(9) as u64).wrapping_sub(4),
            3 => u64::MAX - random.below(3) as u64,
            4 => 1 << random.below(64),
            // Laps, states and owners.
            5 => old.wrapping_add((random.below(5) as u64).wrapping_sub(2) << 32),
            6 => old & !0xffff_ffff | (random.below(3) as u64) << 28 | random.below(70) as u64 | 1 << 12,
            _ => random.below(70000) as u64,
        };
        word.store(new, SeqCst);
    }
}

#[test]
fn hostile_bytes() {
    apart("hostile_bytes", || {
        use Status::{ErrAgain, ErrBusy, ErrClosed, ErrCorrupt, ErrInvalidArgument, ErrTimeout, ErrTooBig};
        let region = region();
        let casts = [(1, 8), (2, 100), (4, 40), (64, 300)].map(|(messages, longest)| {
            let memory = Memory::new(shmkit_broadcast_size(messages, longest));
            Cast { memory, region, messages, longest }
        });
        let mut random = Random(4);
        let (mut refusals, mut fresh, mut good_ones) = (0u32, 0u32, 0u32);
        for round in 0..20_000 {
            let cast = casts[round % casts.len()];
            cast.init();
            let (first, second) = (cast.member(), cast.member());
            for number in 0..random.below(6) {
                good(first.write(&letter(number as u64, 40)[..8]));
            }
            if random.below(2) == 0 {
                second.reserve(8).expect("it fits");
            }
            spoil(cast, &mut random);
            let mut members = vec![first, second];
            if random.below(2) == 0 {
                for from in [FROM_NOW, FROM_OLDEST] {
                    match cast.attach(from) {
                        Ok(member) => members.push(member),
                        Err(status) => {
                            let expected = is(status, ErrCorrupt) || is(status, Status::ErrUninitialised);
                            assert!(expected, "attach: {status}, {}", message());
                            fresh += 1;
                        }
                    }
                }
            }
            for _ in 0..10 {
                let member = &members[random.below(members.len())];
                let mut buffer = vec![0u8; random.below(cast.longest + 1)];
                let (status, expected): (i32, &[Status]) = match random.below(10) {
                    0 | 1 => (member.write(&buffer), &[ErrClosed, ErrBusy, ErrCorrupt]),
                    2 => {
                        let reserved = member.reserve(buffer.len());
                        if let Ok(at) = reserved {
                            // SAFETY: so many bytes were reserved.
                            unsafe { at.write_bytes(7, buffer.len()) };
                        }
                        (reserved.map_or_else(|status| status, |_| 0), &[ErrClosed, ErrBusy, ErrCorrupt])
                    }
                    3 => (member.commit(buffer.len()), &[ErrInvalidArgument]),
                    4 => (member.abort(), &[ErrInvalidArgument]),
                    5 => (member.arm(), &[ErrAgain]),
                    6 => {
                        member.behind();
                        let stat = cast.stat().map_or_else(|status| status, |_| 0);
                        (stat, &[ErrCorrupt, Status::ErrUninitialised])
                    }
                    how => {
                        let timeout = if how == 7 { 1000 } else { 0 };
                        let read = member.read_into(&mut buffer, timeout);
                        let status = read.map_or_else(|error| error.0, |_| 0);
                        (status, &[ErrAgain, ErrTimeout, ErrClosed, ErrTooBig, ErrCorrupt])
                    }
                };
                let all = expected.iter().any(|one| is(status, *one));
                assert!(status == 0 || all, "{status}, {}", message());
                refusals += u32::from(is(status, ErrCorrupt));
                good_ones += u32::from(status == 0);
                if random.below(8) == 0 {
                    spoil(cast, &mut random);
                }
            }
            members.iter().for_each(|member| member.detach());
            assert!(cast.memory.is_untouched());
        }
        println!("{refusals} times corrupt, {fresh} times not attached, {good_ones} times good");
        assert!(refusals > 100 && fresh > 100 && good_ones > 1000);
    });
}
