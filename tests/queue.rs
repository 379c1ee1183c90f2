//! The queue as a C program calls it, within one process: what each function says of every wrong use, policies and counts,
//! laps that wrap, and hostile bytes. Next: `queue_peers.rs` for several processes, `queue_kill_points.rs` for deaths at
//! every instruction, `queue_models.rs` for the core in every order.

mod support;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut, without_provenance, without_provenance_mut};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use shmkit::capi::options::RegionLayout;
use shmkit::capi::queue::*;
use shmkit::capi::region::*;
use shmkit::error::Status;
use support::containers::*;
use support::queue_room::*;
use support::ring_room::{FOREVER, LONG, Memory, Random, letter, opened};
use support::sync_room::{STALLED, alarm, good};
use support::{alone, message};

fn room(messages: u64, message_size: u64) -> Room {
    Room::new(Backend::Memfd, &options(messages, message_size, BLOCK, AGAIN))
}

// ------------------------------------------------------------------------------------------------------------------
// Wrong uses
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn options_and_sizes() {
    let size = |options: &shmkit_queue_options_t| {
        // SAFETY: the options are there.
        unsafe { shmkit_queue_size(options) }
    };
    for (messages, longest, cells, stride) in [
        (1, 0, 1, 64),
        (1, 48, 1, 64),
        (2, 49, 2, 128),
        (3, 64, 4, 128),
        (1 << 24, 0, 1 << 24, 64),
        (1, 1 << 30, 1, (1 << 30) + 64),
    ] {
        assert_eq!(
            size(&options(messages, longest, BLOCK, AGAIN)),
            CELLS_AT + cells * stride,
            "{messages} of {longest}"
        );
    }
    let memory = Memory::new(8192);
    let good_options = options(2, 64, BLOCK, AGAIN);
    let sample = RegionLayout { name: c"  ".as_ptr(), size: 1, version: 1, alignment: 1 };
    for (what, wrong) in [
        ("no messages", options(0, 64, BLOCK, AGAIN)),
        ("too many", options((1 << 24) + 1, 0, BLOCK, AGAIN)),
        ("far too many", options(u64::MAX, 0, BLOCK, AGAIN)),
        ("too long", options(1, (1 << 30) + 1, BLOCK, AGAIN)),
        ("far too long", options(1, u64::MAX, BLOCK, AGAIN)),
        ("overflow", options(1, 1, 3, AGAIN)),
        ("overflow", options(1, 1, -1, AGAIN)),
        ("delivery", options(1, 1, BLOCK, 2)),
        ("delivery", options(1, 1, BLOCK, -1)),
        ("no size", shmkit_queue_options_t { struct_size: 0, ..good_options }),
        ("another size", shmkit_queue_options_t { struct_size: good_options.struct_size + 8, ..good_options }),
        ("no name", shmkit_queue_options_t { layout: sample, ..good_options }),
    ] {
        assert_eq!(size(&wrong), 0, "{what}");
        assert!(message().contains("queue_size"), "{}", message());
        // SAFETY: the memory is mapped.
        let result = unsafe { shmkit_queue_init(memory.start(), memory.length, &wrong) };
        says("queue_init", result, Status::ErrInvalidArgument, what);
    }
    for wild in WILD {
        // SAFETY: these are the documented answers to wild pointers.
        unsafe {
            assert_eq!(shmkit_queue_size(without_provenance(wild)), 0);
            let result = shmkit_queue_init(memory.start(), memory.length, without_provenance(wild));
            says("queue_init", result, Status::ErrBadPointer, "no options");
        }
    }
    memory.unmap();
}

/// Each function that is given the memory, at an address and with a length.
fn all_of_memory(region: *const shmkit_region_t, at: usize, length: usize) -> [Answer; 3] {
    let mut member = MaybeUninit::<shmkit_queue_t>::zeroed();
    let mut stat = MaybeUninit::<shmkit_queue_stat_t>::zeroed();
    let at: *mut c_void = without_provenance_mut(at);
    let options = options(2, 48, BLOCK, AGAIN);
    // SAFETY: these are the documented answers to wrong memory; the places are writable.
    unsafe {
        [
            answer("queue_init", shmkit_queue_init(at, length, &options)),
            answer("queue_attach", shmkit_queue_attach(member.as_mut_ptr(), region, at, length, null())),
            answer("queue_stat", shmkit_queue_stat(at, length, stat.as_mut_ptr())),
        ]
    }
}

#[test]
fn wrong_memory() {
    alone("wrong_memory", &[], || {
        let region = room(1, 8);
        let all = |at, length| all_of_memory(region.region, at, length);
        for wild in WILD {
            all(wild, 4096).iter().for_each(|one| said(one, Status::ErrBadPointer, "a wild pointer"));
        }
        let size = CELLS_AT + 128;
        let memory = Memory::new(size);
        all(memory.at, usize::MAX).iter().for_each(|one| said(one, Status::ErrBadPointer, "around the end"));
        for aside in [1, 4, 8, 32] {
            all(memory.at + aside, size - 64)
                .iter()
                .for_each(|one| said(one, Status::ErrInvalidArgument, "not aligned"));
        }
        for length in [0, 1, 3, 4, 64, 319, 320, CELLS_AT, size - 1] {
            let results = all(memory.at, length);
            said(&results[0], Status::ErrInvalidArgument, "too short");
            results[1..].iter().for_each(|one| said(one, Status::ErrUninitialised, "zeros"));
        }
        for (name, result, words) in all(memory.at, size) {
            assert_eq!(result, 0, "{name}: {words}");
        }
        // Less than it was made with.
        all(memory.at, size - 64)[1..].iter().for_each(|one| said(one, Status::ErrCorrupt, "a part of it"));
        memory.protect(libc::PROT_READ);
        let results = all(memory.at, size);
        results[..2].iter().for_each(|one| said(one, Status::ErrAccess, "mapped read-only"));
        assert_eq!(results[2].1, 0, "looking needs no more");
        memory.protect(libc::PROT_NONE);
        let results = all(memory.at, size);
        results[..2].iter().for_each(|one| said(one, Status::ErrAccess, "mapped without access"));
        said(&results[2], Status::ErrBadPointer, "mapped without access");
        memory.protect(libc::PROT_READ | libc::PROT_WRITE);
        // Its last byte counts too.
        let results = all(memory.at, size + 64);
        results[..2].iter().for_each(|one| said(one, Status::ErrAccess, "part of it is not mapped"));
        said(&results[2], Status::ErrBadPointer, "part of it is not mapped");
        assert!(memory.is_untouched());
    });
}

#[test]
fn wrong_heads() {
    let room = room(4, 48);
    let both = |expected: Status, what: &str| {
        says("queue_attach", room.attach().err().expect(what), expected, what);
        let mut stat = MaybeUninit::<shmkit_queue_stat_t>::zeroed();
        // SAFETY: the memory is mapped, the place is writable.
        let result = unsafe { shmkit_queue_stat(room.start(), room.length, stat.as_mut_ptr()) };
        says("queue_stat", result, expected, what);
    };
    let with = |at: usize, value: u64, expected: Status, what: &str| {
        let before = room.word(at).swap(value, SeqCst);
        both(expected, what);
        room.word(at).store(before, SeqCst);
    };
    for stamp in [0, 1, u64::from_le_bytes(*b"shmqueux")] {
        with(0, stamp, Status::ErrUninitialised, "another stamp");
    }
    for cells in [0, 3, 5, 1 << 25, 1 << 63, u64::MAX] {
        with(CELLS_NUMBER_AT, cells, Status::ErrUninitialised, "cells that cannot be");
    }
    for cells in [8, 1 << 24] {
        with(CELLS_NUMBER_AT, cells, Status::ErrCorrupt, "more cells than there is room for");
    }
    for stride in [0, 1, 63, 65, (1 << 30) + 128, u64::MAX, !63] {
        with(STRIDE_AT, stride, Status::ErrUninitialised, "a stride that cannot be");
    }
    for stride in [128, (1 << 30) + 64] {
        with(STRIDE_AT, stride, Status::ErrCorrupt, "longer cells than there is room for");
    }
    with(STATE_AT, u64::MAX, Status::ErrUninitialised, "another format");
    let member = room.member();
    good(member.send(b"good again", 0));
    assert_eq!(member.receive(0).as_deref(), Ok(b"good again".as_slice()));
    member.detach();
}

#[test]
fn wrong_arguments_of_attach() {
    alone("wrong_arguments_of_attach", &[], || {
        let room = room(4, 48);
        let mut member = MaybeUninit::<shmkit_queue_t>::zeroed();
        // SAFETY: these are the documented answers to wrong arguments.
        unsafe {
            for wild in WILD.into_iter().chain([member.as_ptr() as usize + 8]) {
                let result =
                    shmkit_queue_attach(without_provenance_mut(wild), room.region, room.start(), room.length, null());
                says("queue_attach", result, Status::ErrBadPointer, "no place for the member");
            }
            for wild in [8, member.as_ptr() as usize + 1] {
                let layout = without_provenance(wild);
                let result = shmkit_queue_attach(member.as_mut_ptr(), room.region, room.start(), room.length, layout);
                says("queue_attach", result, Status::ErrBadPointer, "no layout");
                let result = shmkit_queue_stat(room.start(), room.length, without_provenance_mut(wild));
                says("queue_stat", result, Status::ErrBadPointer, "no place for the answer");
            }
            let mut attach = |region: *const shmkit_region_t| {
                shmkit_queue_attach(member.as_mut_ptr(), region, room.start(), room.length, null())
            };
            for wild in [null(), without_provenance(12345)] {
                says("queue_attach", attach(wild), Status::ErrBadHandle, "no region");
            }
            // A region that is closed, a raw one, and one that is open for reading only.
            let address = std::ffi::CString::new(format!("posix:/shmkit-queue-{}", support::unique())).expect("no NUL");
            let mut region = null_mut();
            good(shmkit_region_create(address.as_ptr(), &region_options(4096), &mut region));
            let mut other = null_mut();
            let read_only = shmkit::capi::options::RegionOptions { read_only: 1, ..region_options(0) };
            good(shmkit_region_open(address.as_ptr(), &read_only, &mut other));
            says("queue_attach", attach(other), Status::ErrAccess, "open for reading only");
            good(shmkit_region_close(other));
            says("queue_attach", attach(other), Status::ErrBadHandle, "closed");
            let raw = shmkit::capi::options::RegionOptions { raw: 1, ..region_options(0) };
            good(shmkit_region_open(address.as_ptr(), &raw, &mut other));
            says("queue_attach", attach(other), Status::ErrBackend, "a raw region");
            good(shmkit_region_close(other));
            // Of another region: by its leases the living members would be dead.
            good(shmkit_region_open(address.as_ptr(), null(), &mut other));
            says("queue_attach", attach(other), Status::ErrInvalidArgument, "another region's memory");
            good(shmkit_region_close(other));
            // As many as there are, and one more. Another handle's mapping of the same region is as good as the own.
            let made = shmkit_region_data(region);
            good(shmkit_queue_init(made, shmkit_region_size(region), &options(4, 48, BLOCK, AGAIN)));
            let mut all = Vec::new();
            let refusal = loop {
                let mut next = null_mut();
                good(shmkit_region_open(address.as_ptr(), null(), &mut next));
                all.push(next);
                let length = shmkit_region_size(region);
                let status = shmkit_queue_attach(member.as_mut_ptr(), next, made, length, null());
                if status != 0 {
                    break answer("queue_attach", status);
                }
                assert!(all.len() < 100);
            };
            said(&refusal, Status::ErrLimit, "one too many");
            assert_eq!(all.len(), 60, "with the creator, 60 are members");
            all.into_iter().for_each(|one| good(shmkit_region_close(one)));
            good(shmkit_region_unlink(region));
            good(shmkit_region_close(region));
        }
    });
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
    let with = shmkit_queue_options_t { layout: made, ..options(4, 48, BLOCK, AGAIN) };
    let room = Room::new(Backend::Memfd, &with);
    let attach = |layout: *const RegionLayout| match Member::attach(room.region, room.at, room.length, layout) {
        Ok(member) => {
            member.detach();
            0
        }
        Err(status) => status,
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
        says("queue_attach", attach(&other), Status::ErrLayout, "another layout");
    }
    says("queue_attach", attach(&layout(c"  ", 1, 1, 1)), Status::ErrInvalidArgument, "no name");
    room.init(&options(4, 48, BLOCK, AGAIN));
    says("queue_attach", attach(&made), Status::ErrLayout, "a queue for anything");
}

/// Each function of a member, with arguments that are good: what it answers.
fn all_of_member(member: *mut shmkit_queue_t) -> Vec<Answer> {
    let (mut to, mut from, mut size) = (null_mut(), null(), 0);
    let mut buffer = [0u8; 64];
    // SAFETY: the places are writable; these are the documented answers to what is no member.
    unsafe {
        vec![
            answer("queue_reserve", shmkit_queue_reserve(member, 8, &mut to, 0)),
            answer("queue_commit", shmkit_queue_commit(member, 0)),
            answer("queue_abort", shmkit_queue_abort(member)),
            answer("queue_send", shmkit_queue_send(member, buffer.as_ptr().cast(), 8, 0)),
            answer("queue_take", shmkit_queue_take(member, &mut from, &mut size, 0)),
            answer("queue_release", shmkit_queue_release(member)),
            answer("queue_receive", shmkit_queue_receive(member, buffer.as_mut_ptr().cast(), 64, &mut size, 0)),
            answer("queue_arm", shmkit_queue_arm(member)),
            answer("queue_set_notify_fd", shmkit_queue_set_notify_fd(member, -1)),
            answer("queue_close", shmkit_queue_close(member)),
            answer("queue_detach", shmkit_queue_detach(member)),
        ]
    }
}

#[test]
fn wrong_members() {
    let room = room(4, 48);
    let all_say = |member: *mut shmkit_queue_t, expected, what| {
        all_of_member(member).iter().for_each(|one| said(one, expected, what));
    };
    for wild in WILD {
        all_say(without_provenance_mut(wild), Status::ErrBadPointer, "a wild pointer");
    }
    let mut never = MaybeUninit::<shmkit_queue_t>::zeroed();
    all_say(never.as_mut_ptr(), Status::ErrBadHandle, "never attached");
    all_say(without_provenance_mut(never.as_ptr() as usize + 8), Status::ErrBadHandle, "not aligned");
    let member = room.member();
    // SAFETY: a member is bytes.
    let moved = Box::new(unsafe { member.raw().read() });
    all_say((&raw const *moved).cast_mut(), Status::ErrBadHandle, "moved");
    // SAFETY: it is attached.
    good(unsafe { shmkit_queue_detach(member.raw()) });
    all_say(member.raw(), Status::ErrBadHandle, "detached");
}

/// Twice: while there is nothing to do, and while there is.
#[test]
fn places_of_results_and_bytes_are_checked() {
    let room = room(4, 48);
    let owner = room.member();
    let member = owner.raw();
    let mut size = 0usize;
    let mut place: *const c_void = null();
    let mut buffer = [7u8; 64];
    for full in [false, true] {
        if full {
            good(owner.send(b"full", 0));
        }
        // SAFETY: these are the documented answers to wrong places.
        unsafe {
            for wild in [0, 8, &raw const place as usize + 1] {
                let result = shmkit_queue_reserve(member, 8, without_provenance_mut(wild), 0);
                says("queue_reserve", result, Status::ErrBadPointer, "no place for the room");
                let result = shmkit_queue_take(member, without_provenance_mut(wild), &mut size, 0);
                says("queue_take", result, Status::ErrBadPointer, "no place for the message");
                let result = shmkit_queue_take(member, &mut place, without_provenance_mut(wild), 0);
                says("queue_take", result, Status::ErrBadPointer, "no place for the length");
                let result =
                    shmkit_queue_receive(member, buffer.as_mut_ptr().cast(), 8, without_provenance_mut(wild), 0);
                says("queue_receive", result, Status::ErrBadPointer, "no place for the length");
            }
            for nowhere in NOWHERE {
                let nowhere: *mut c_void = without_provenance_mut(nowhere);
                says("queue_send", shmkit_queue_send(member, nowhere, 8, 0), Status::ErrBadPointer, "no bytes");
                let result = shmkit_queue_receive(member, nowhere, 8, &mut size, 0);
                says("queue_receive", result, Status::ErrBadPointer, "no buffer");
            }
        }
    }
    assert_eq!(room.stat().depth, 1, "nothing was claimed, nothing taken");
    assert_eq!(owner.receive(0).as_deref(), Ok(b"full".as_slice()));
    // SAFETY: no bytes need no place.
    unsafe {
        good(shmkit_queue_send(member, null(), 0, 0));
        good(shmkit_queue_receive(member, null_mut(), 0, &mut size, 0));
    }
    assert_eq!(size, 0);
    for fd in [-2, 999_999, i32::MIN] {
        says("queue_set_notify_fd", owner.notify_fd(fd), Status::ErrBadDescriptor, "no descriptor");
    }
    // SAFETY: takes no pointers.
    let waits = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    says("queue_set_notify_fd", owner.notify_fd(waits), Status::ErrInvalidArgument, "writes to it may wait");
    // SAFETY: nobody else has it.
    unsafe { libc::close(waits) };
    owner.detach();
}

// ------------------------------------------------------------------------------------------------------------------
// What it does
// ------------------------------------------------------------------------------------------------------------------

#[test]
fn one_of_each_at_a_time() {
    let room = room(4, 48);
    let member = room.member();
    says("queue_commit", member.commit(0), Status::ErrInvalidArgument, "nothing is reserved");
    says("queue_abort", member.abort(), Status::ErrInvalidArgument, "nothing is reserved");
    says("queue_release", member.release(), Status::ErrInvalidArgument, "nothing is taken");
    refused(member.reserve(49, 0), Status::ErrTooBig);
    says("queue_send", member.send(&[0; 49], 0), Status::ErrTooBig, "too long");
    assert_eq!(member.reserve(48, 0).expect("there is room") as usize % 16, 0);
    refused(member.reserve(8, LONG), Status::ErrBusy);
    says("queue_send", member.send(b"", LONG), Status::ErrBusy, "one is reserved");
    says("queue_commit", member.commit(49), Status::ErrTooBig, "too long");
    good(member.commit(48));
    says("queue_commit", member.commit(48), Status::ErrInvalidArgument, "it was committed");
    good(member.send(b"second", 0));
    let (at, bytes) = member.take(0).expect("it is there");
    assert_eq!((at % 16, bytes.len()), (0, 48));
    refused(member.take(LONG), Status::ErrBusy);
    // A receive is of what is in hand.
    assert_eq!(member.receive(0).map(|bytes| bytes.len()), Ok(48));
    // Both at once: one is written while one is read.
    member.take(0).expect("it is there");
    member.reserve(8, 0).expect("there is room");
    good(member.abort());
    says("queue_abort", member.abort(), Status::ErrInvalidArgument, "it was given up");
    good(member.release());
    says("queue_release", member.release(), Status::ErrInvalidArgument, "it was released");
    refused(member.take(0), Status::ErrAgain);
    refused(member.receive(SHORT), Status::ErrTimeout);
    refused(member.take(1), Status::ErrTimeout);
    member.detach();
}

#[test]
fn a_buffer_that_is_too_small() {
    let room = room(4, 48);
    let (member, other) = (room.member(), room.member());
    good(member.send(&[7; 40], 0));
    good(member.send(&[8; 8], 0));
    assert_eq!(member.receive_into(39, 0), Err((Status::ErrTooBig as i32, 40)));
    assert!(message().contains("40") && message().contains("39"), "{}", message());
    // It stays this member's; another one has the next.
    assert_eq!(other.receive(0), Ok(vec![8; 8]));
    assert_eq!(member.receive_into(0, 0), Err((Status::ErrTooBig as i32, 40)));
    assert_eq!(member.receive_into(40, 0), Ok(vec![7; 40]));
    good(member.send(&[9; 40], 0));
    assert_eq!(member.receive_into(8, LONG).map_err(|(status, _)| status), Err(Status::ErrTooBig as i32));
    good(member.release());
    refused(member.receive(0), Status::ErrAgain);
    member.detach();
    other.detach();
}

#[test]
fn overflow_by_policy() {
    for (overflow, dropped) in [(BLOCK, 0), (REFUSE, 4), (DROP, 4)] {
        for cells in [1, 2, 8] {
            let room = Room::new(Backend::Memfd, &options(cells, 48, overflow, AGAIN));
            let member = room.member();
            for number in 0..cells {
                good(member.send(&[number as u8], 0));
            }
            assert_eq!(room.stat().depth, cells);
            match overflow {
                BLOCK => {
                    says("queue_send", member.send(b"more", 0), Status::ErrAgain, "full");
                    says("queue_send", member.send(b"more", SHORT), Status::ErrTimeout, "full");
                    refused(member.reserve(1, 0), Status::ErrAgain);
                    refused(member.reserve(1, SHORT), Status::ErrTimeout);
                }
                // Neither waits.
                REFUSE => {
                    says("queue_send", member.send(b"more", 0), Status::ErrAgain, "full");
                    says("queue_send", member.send(b"more", FOREVER), Status::ErrAgain, "full");
                    refused(member.reserve(1, 0), Status::ErrAgain);
                    refused(member.reserve(1, FOREVER), Status::ErrAgain);
                }
                _ => {
                    good(member.send(b"more", 0));
                    good(member.send(b"more", FOREVER));
                    refused(member.reserve(1, 0), Status::ErrAgain);
                    refused(member.reserve(1, FOREVER), Status::ErrAgain);
                    says("queue_send", member.send(&[0; 49], 0), Status::ErrTooBig, "it is not dropped");
                }
            }
            assert_eq!(room.losses(), (dropped, 0, 0));
            for number in 0..cells {
                assert_eq!(member.receive(0), Ok(vec![number as u8]));
            }
            refused(member.receive(0), Status::ErrAgain);
            good(member.send(b"again", 0));
            assert_eq!(room.losses(), (dropped, 0, 0));
            member.detach();
        }
    }
}

#[test]
fn what_stat_says() {
    let room = Room::new(Backend::Memfd, &options(3, 100, DROP, ONCE));
    let member = room.member();
    let facts = |room: &Room| {
        let stat = room.stat();
        (stat.depth, stat.sent, stat.taken, stat.dropped, stat.closed)
    };
    let stat = room.stat();
    assert_eq!((stat.messages, stat.message_size), (4, 112));
    assert_eq!((stat.overflow, stat.delivery), (DROP, ONCE));
    assert_eq!(facts(&room), (0, 0, 0, 0, 0));
    member.reserve(8, 0).expect("there is room");
    assert_eq!(facts(&room), (1, 1, 0, 0, 0));
    good(member.commit(8));
    assert_eq!(facts(&room), (1, 1, 0, 0, 0));
    member.take(0).expect("it is there");
    assert_eq!(facts(&room), (0, 1, 1, 0, 0));
    for _ in 0..4 {
        good(member.send(b"more", 0));
    }
    assert_eq!(facts(&room), (3, 4, 1, 1, 0));
    good(member.close());
    assert_eq!(facts(&room), (3, 4, 1, 1, 1));
    member.detach();
    assert_eq!(room.losses(), (1, 1, 0));
}

#[test]
fn close_and_drain() {
    for cells in [1, 4] {
        let room = room(cells, 48);
        let (member, other) = (room.member(), room.member());
        for _ in 1..cells {
            good(member.send(b"before", 0));
        }
        let at = other.reserve(6, 0).expect("there is room");
        good(member.close());
        good(member.close());
        says("queue_send", member.send(b"after", FOREVER), Status::ErrClosed, "closed");
        refused(member.reserve(1, 0), Status::ErrClosed);
        for _ in 1..cells {
            assert_eq!(member.receive(FOREVER).as_deref(), Ok(b"before".as_slice()));
        }
        // What was reserved before still comes.
        refused(member.receive(0), Status::ErrAgain);
        refused(member.receive(SHORT), Status::ErrTimeout);
        other.fill(at, b"behind");
        good(other.commit(6));
        assert_eq!(member.receive(FOREVER).as_deref(), Ok(b"behind".as_slice()));
        for _ in 0..3 {
            refused(member.receive(FOREVER), Status::ErrClosed);
            refused(other.take(0), Status::ErrClosed);
        }
        member.detach();
        // Who attaches later finds it so.
        let late = room.member();
        refused(late.receive(0), Status::ErrClosed);
        refused(late.reserve(1, 0), Status::ErrClosed);
        late.detach();
        other.detach();
    }
}

/// Positions are of 46 bits: at their end they begin again.
#[test]
fn positions_that_wrap() {
    for cells in [1u64, 2, 8] {
        for before in 0..4 {
            let room = room(cells, 48);
            let position = (1 << 46) - (before + 1) * cells;
            room.word(TAIL_AT).store(position << POSITION, SeqCst);
            room.word(HEAD_AT).store(position << POSITION, SeqCst);
            for cell in 0..cells {
                room.cell(cell as usize).store((position + cell) << POSITION | FREE, SeqCst);
            }
            let (member, other) = (room.member(), room.member());
            let mut waiting = VecDeque::new();
            let mut random = Random(before);
            let (mut number, mut aborted) = (0, 0);
            for _ in 0..200 {
                match random.below(4) {
                    0 if waiting.len() < cells as usize => {
                        member.reserve(8, 0).expect("there is room");
                        good(member.abort());
                        aborted += 1;
                        // Its cell is free for producers of the next lap when consumers have passed it by.
                        while let Ok(bytes) = other.receive(0) {
                            assert_eq!(Some(opened(&bytes)), waiting.pop_front());
                        }
                        assert!(waiting.is_empty());
                    }
                    1 | 2 if waiting.len() < cells as usize => {
                        good(member.send(&letter(number, 48), 0));
                        waiting.push_back(number);
                        number += 1;
                    }
                    _ if waiting.is_empty() => refused(other.take(0), Status::ErrAgain),
                    _ => {
                        assert_eq!(
                            opened(&other.take(0).expect("it is there").1),
                            waiting.pop_front().expect("it waits")
                        );
                        good(other.release());
                    }
                }
                if waiting.len() == cells as usize {
                    refused(member.reserve(1, 0), Status::ErrAgain);
                }
            }
            let tail = room.word(TAIL_AT).load(SeqCst) >> POSITION;
            assert!((position + number + aborted) % (1 << 46) == tail && number > 4 * cells && aborted > 0);
            assert!(tail < position, "the positions have wrapped");
            assert_eq!(room.losses(), (0, 0, 0));
        }
    }
}

/// Producers that abort go on without consumers for as many laps as they like.
#[test]
fn aborts_without_a_consumer() {
    for cells in [1u64, 4] {
        let room = room(cells, 48);
        let member = room.member();
        // As after many laps more; a lap by hand is too slow.
        let position = (1 << 30) * cells;
        room.word(TAIL_AT).store(position << POSITION, SeqCst);
        (0..cells).for_each(|cell| room.cell(cell as usize).store((position + cell) << POSITION | FREE, SeqCst));
        for _ in 0..3 * cells + 1 {
            member.reserve(8, 0).expect("there is room");
            good(member.abort());
        }
        for number in 0..cells {
            good(member.send(&letter(number, 48), 0));
        }
        refused(member.reserve(8, 0), Status::ErrAgain);
        for number in 0..cells {
            assert_eq!(opened(&member.receive(0).expect("it is there")), number);
        }
        refused(member.receive(0), Status::ErrAgain);
        good(member.send(b"more", 0));
        assert_eq!(member.receive(0).as_deref(), Ok(b"more".as_slice()));
        member.detach();
    }
}

#[test]
fn lengths_of_all_sizes() {
    let room = room(8, 200);
    let member = room.member();
    let mut queue = VecDeque::new();
    let mut random = Random(5);
    for number in 0..5000u64 {
        if random.below(2) == 0 && queue.len() < 8 {
            let bytes: Vec<u8> =
                (0..random.below(room.stat().message_size as usize + 1)).map(|at| (at as u64 ^ number) as u8).collect();
            good(member.send(&bytes, 0));
            queue.push_back(bytes);
        } else {
            assert_eq!(member.receive(0).ok(), queue.pop_front());
        }
    }
}

// ------------------------------------------------------------------------------------------------------------------
// Hostile bytes
// ------------------------------------------------------------------------------------------------------------------

/// A message of a length that cannot be is lost, which is said to who would have had it, once; what is behind it comes.
#[test]
fn lengths_that_cannot_be() {
    let room = room(2, 40);
    for calls in [["take", "receive"], ["receive", "take"]] {
        let member = room.member();
        let lost = room.stat().lost;
        for (cell, call) in calls.iter().enumerate() {
            good(member.send(b"spoilt", 0));
            room.word(room.cell(cell).as_ptr() as usize + 8 - room.start() as usize).store(49, SeqCst);
            good(member.send(b"whole", 0));
            let get = || match *call {
                "take" => member.take(0).map(|(_, bytes)| {
                    good(member.release());
                    bytes
                }),
                _ => member.receive(0),
            };
            refused(get(), Status::ErrCorrupt);
            assert_eq!(get().as_deref(), Ok(b"whole".as_slice()), "{call}");
            refused(get(), Status::ErrAgain);
            assert_eq!(room.stat().lost, lost + 1 + cell as u64, "{call}");
            // The next one begins in the other cell.
            good(member.send(b"one", 0));
            assert_eq!(member.receive(0).as_deref(), Ok(b"one".as_slice()));
        }
        member.detach();
    }
}

fn mutate(memory: Memory, cells: usize, stride: usize, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let value = match random.below(8) {
            0 => random.next(),
            1 => 0,
            2 => u64::MAX,
            3 => u64::MAX - random.next() % 64,
            4 => 1 << random.below(64),
            // A word of a cell that may be.
            _ => {
                let near = memory.word([TAIL_AT, HEAD_AT][random.below(2)]).load(SeqCst) >> POSITION;
                let around = random.next() % (4 * cells as u64 + 1);
                let position = near.wrapping_add(around).wrapping_sub(2 * cells as u64);
                position << POSITION
                    | (random.next() % 4) << 16
                    | [0, random.next() & 0xffff, random.next() & 0x7f][random.below(3)]
            }
        };
        match random.below(5) {
            0 => memory.word(8 * random.below(MEMBERS_AT / 8)).store(value, SeqCst),
            1 => {
                let near = memory.word([TAIL_AT, HEAD_AT][random.below(2)]).load(SeqCst);
                let offset = ((random.next() % 9).wrapping_sub(4) << POSITION).wrapping_add(random.next() % 3);
                memory.word([TAIL_AT, HEAD_AT][random.below(2)]).store(near.wrapping_add(offset), SeqCst);
            }
            2 => memory.word(MEMBERS_AT + 8 * random.below(64)).store(value, SeqCst),
            3 => memory.word(CELLS_AT + stride * random.below(cells)).store(value, SeqCst),
            _ => memory.word(CELLS_AT + stride * random.below(cells) + 8).store(value, SeqCst),
        }
    }
}

/// What a call may say of a queue in which anything stands.
const ALLOWED: [Status; 9] = [
    Status::Ok,
    Status::ErrAgain,
    Status::ErrTimeout,
    Status::ErrClosed,
    Status::ErrCorrupt,
    Status::ErrBusy,
    Status::ErrTooBig,
    Status::ErrInvalidArgument,
    Status::ErrUninitialised,
];

/// One call, of any kind. Whether it was done.
fn something(
    region: *const shmkit_region_t,
    memory: Memory,
    longest: usize,
    member: &mut Option<Member>,
    random: &mut Random,
) -> bool {
    let Some(own) = member else {
        return match Member::attach(region, memory.at, memory.length, null()) {
            Ok(attached) => {
                *member = Some(attached);
                true
            }
            Err(status) => judged(status),
        };
    };
    let timeout = if random.below(16) == 0 { 20_000 } else { 0 };
    let inside = |at: usize, length: usize| {
        assert!(at >= memory.at + CELLS_AT && length <= longest && at + length <= memory.at + memory.length);
    };
    let status = match random.below(12) {
        0 | 1 => own.send(&vec![1; random.below(longest + 1)], timeout),
        2 => match own.reserve(longest, timeout) {
            Ok(at) => {
                inside(at as usize, longest);
                own.fill(at, &vec![2; longest]);
                0
            }
            Err(status) => status,
        },
        3 => own.commit(random.below(longest + 1)),
        4 => own.abort(),
        5 | 6 => own.receive_into(longest, timeout).map_or_else(
            |(status, _)| status,
            |bytes| {
                assert!(bytes.len() <= longest);
                0
            },
        ),
        7 => own.take(timeout).map_or_else(
            |status| status,
            |(at, bytes)| {
                inside(at, bytes.len());
                0
            },
        ),
        8 => own.release(),
        9 => own.arm(),
        10 => {
            let mut stat = MaybeUninit::<shmkit_queue_stat_t>::zeroed();
            // SAFETY: the memory is mapped, the place is writable.
            unsafe { shmkit_queue_stat(memory.start(), memory.length, stat.as_mut_ptr()) }
        }
        _ => {
            if random.below(4) == 0 {
                own.close();
            }
            member.take().expect("it is there").detach();
            0
        }
    };
    judged(status)
}

#[track_caller]
fn judged(status: i32) -> bool {
    assert!(ALLOWED.iter().any(|one| *one as i32 == status), "{status}: {}", message());
    status == 0
}

/// Members that stay attached, and others that attach to what stands there; between calls, and beside them.
#[test]
fn hostile_bytes() {
    alone("hostile_bytes", &[], || {
        alarm(STALLED);
        let region = room(1, 8);
        let shapes = [(1, 48, BLOCK, AGAIN), (4, 112, REFUSE, ONCE), (16, 48, DROP, AGAIN)];
        for (seed, beside) in [(1, false), (2, true)] {
            let made = shapes.map(|(cells, longest, overflow, delivery)| {
                let options = options(cells, longest, overflow, delivery);
                let stride = longest as usize + CELL_HEAD;
                (Memory::new(CELLS_AT + cells as usize * stride), options, stride)
            });
            let init = |one: usize| {
                let (memory, options, _) = &made[one];
                // SAFETY: the memory is mapped.
                good(unsafe { shmkit_queue_init(memory.start(), memory.length, options) });
            };
            (0..3).for_each(init);
            let places = made.map(|(memory, options, stride)| (memory, options.messages as usize, stride));
            let stop = AtomicBool::new(false);
            let (mut done, mut refused) = (0, 0);
            std::thread::scope(|scope| {
                let stop = &stop;
                if beside {
                    scope.spawn(move || {
                        let mut random = Random(99);
                        while !stop.load(SeqCst) {
                            let (memory, cells, stride) = places[random.below(3)];
                            mutate(memory, cells, stride, &mut random);
                            // One processor is enough for both.
                            if random.below(8) == 0 {
                                std::thread::yield_now();
                            }
                        }
                    });
                }
                let mut random = Random(seed);
                let mut members: [[Option<Member>; 2]; 3] = Default::default();
                for round in 0..20_000 {
                    let one = random.below(3);
                    let (memory, cells, stride) = places[one];
                    if round % 8 < 3 {
                        // Good again: otherwise nothing gets far.
                        members[one] = Default::default();
                        init(one);
                    }
                    mutate(memory, cells, stride, &mut random);
                    for _ in 0..4 {
                        let member = &mut members[one][random.below(2)];
                        match something(region.region, memory, stride - CELL_HEAD, member, &mut random) {
                            true => done += 1,
                            false => refused += 1,
                        }
                    }
                }
                stop.store(true, SeqCst);
            });
            assert!(places.iter().all(|(memory, ..)| memory.is_untouched()));
            println!(
                "hostile bytes, {}: {done} calls done, {refused} refused",
                if beside { "beside" } else { "between" }
            );
            assert!(done > 1000 && refused > 1000);
        }
        alarm(0);
    });
}
