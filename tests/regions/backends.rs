//! One body for every kind of memory: life, sizes, growth, layouts, copies, protection, facts, lists, collection.
//! A table says of each call and each kind of memory what it answers.

use std::ptr::{null, null_mut};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::in_a_room;
use crate::room::Kind::{Anon, File, Memfd, Posix, Sysv};
use crate::room::*;

/// A pattern that differs from byte to byte and page to page.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ at >> 16 ^ seed.wrapping_mul(31)) as u8).collect()
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos() as u64
}

#[test]
fn a_region_lives_from_creation_to_unlink() {
    in_a_room!("a_region_lives_from_creation_to_unlink", || over(&Kind::ALL, |place| {
        let (kind, address) = (place.kind, place.address.as_str());
        let nothing = if kind.is_named() { Status::ErrNotFound } else { Status::ErrBackend };
        refused(open(address, &options(0)), nothing);
        refused(unlink(address), nothing);
        refused(is_orphan(address), nothing);
        let size = 100_000;

        let (first, created) = open_or_create(address, &options(size)).expect("there was nothing");
        assert!(created);
        assert_eq!((first.size(), first.address().as_str()), (size, address));
        assert!(first.bytes(0, size).iter().all(|byte| *byte == 0), "a new region is not zeros");
        first.copy_in(0, &pattern(size, 1)).expect("it fits");
        match kind {
            Sysv => assert_eq!(first.fd(), -1),
            _ => assert!(first.fd() > 2),
        }

        if kind.is_named() {
            refused(create(address, &options(size)), Status::ErrExists).names(address);
            assert_eq!(is_orphan(address).expect("it is there"), SHMKIT_ANSWER_NO);
            let second = open(address, &options(0)).expect("it is there");
            let (third, created) = open_or_create(address, &options(size)).expect("it is there");
            assert!(!created);
            assert_ne!(first.data(), second.data());
            assert_eq!(second.bytes(0, size), pattern(size, 1));
            second.copy_in(size - 1, b"x").expect("it fits");
            // SAFETY: the last byte of a mapped region that nobody truncates.
            assert_eq!(unsafe { third.data().add(size - 1).read_volatile() }, b'x');
            refused(open(address, &options(size + 1)), Status::ErrPastEnd).names(&(size + 1).to_string());
            first.closed();
            second.closed();
            assert_eq!(is_orphan(address).expect("it is there"), SHMKIT_ANSWER_NO);
            third.closed();
            assert_eq!(is_orphan(address).expect("it is there"), SHMKIT_ANSWER_YES);
            for stale in [first, second, third] {
                is_bad_handle(stale);
            }

            let again = open(address, &options(size)).expect("its name is still there");
            assert_eq!(again.bytes(size - 1, 1), b"x");
            again.unlink().expect("the name is its own");
            assert!(!place.is_taken());
            refused(open(address, &options(0)), Status::ErrNotFound);
            refused(again.unlink(), Status::ErrRemoved);
            again.copy_in(0, b"still").expect("the memory stays");
            assert_eq!(again.stat().expect("it is open").links, 0);
            let other = create(address, &options(1)).expect("the name is free");
            refused(again.unlink(), Status::ErrRemoved);
            assert!(place.is_taken(), "the name of another region was removed");
            assert_eq!(again.bytes(0, 5), b"still");
            again.closed();
            unlink(address).expect("the name is there");
            refused(unlink(address), Status::ErrNotFound);
            other.copy_in(0, b"y").expect("the memory stays");
            other.closed();
        } else {
            let twin = create(address, &options(size)).expect("a label is no name");
            assert_eq!(twin.bytes(0, 1), [0]);
            twin.closed();
            refused(first.unlink(), Status::ErrBackend);
            first.closed();
            is_bad_handle(first);
        }
        assert_eq!(shmkit_region_close(std::ptr::null_mut()), 0);
    }));
}

#[test]
fn sizes_from_one_byte_to_megabytes() {
    in_a_room!("sizes_from_one_byte_to_megabytes", || over(&Kind::ALL, |place| {
        for size in [1, 7, PAGE - 1, PAGE, PAGE + 1, 65_537, 3 * MIB, 5 * MIB + 123] {
            for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_LAZY, SHMKIT_SPACE_POPULATE] {
                let region = create(&place.address, &RegionOptions { space, ..options(size) }).expect("there is room");
                assert_eq!(region.size(), size);
                let stat = region.stat().expect("it is open");
                assert_eq!((stat.size, stat.max_size, stat.data_offset), (size as u64, size as u64, PAGE as u64));
                assert!(stat.object_size >= (size + PAGE) as u64, "{}", stat.object_size);
                if space != SHMKIT_SPACE_LAZY {
                    assert!(stat.reserved >= (size + PAGE) as u64, "{size}: {} reserved", stat.reserved);
                }
                // SAFETY: both bytes lie in the region, which nobody truncates.
                unsafe {
                    region.data().write_volatile(1);
                    region.data().add(size - 1).write_volatile(2);
                }
                refused(region.copy_out(size, &mut [0]), Status::ErrPastEnd).names(&size.to_string());
                if place.kind.is_named() {
                    let peer = open(&place.address, &options(size)).expect("it is there");
                    assert_eq!((peer.size(), peer.bytes(size - 1, 1)), (size, vec![2]));
                    peer.closed();
                    region.unlink().expect("the name is its own");
                }
                region.closed();
            }
        }
    }));
}

#[test]
fn growth_is_seen_by_all_and_moves_nothing() {
    in_a_room!("growth_is_seen_by_all_and_moves_nothing", || over(&Kind::ALL, |place| {
        let (kind, address) = (place.kind, place.address.as_str());
        let most = 3 * MIB + 1;
        let wide = |space| RegionOptions { max_size: most as u64, space, ..options(100) };
        if kind == Sysv {
            refused(create(address, &wide(SHMKIT_SPACE_RESERVE)), Status::ErrBackend);
            let region = create(address, &options(100)).expect("there is room");
            for size in [0, 100, 101, usize::MAX] {
                refused(region.grow(size), Status::ErrBackend);
            }
            region.unlink().expect("the name is its own");
            return region.closed();
        }
        for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_LAZY, SHMKIT_SPACE_POPULATE] {
            let region = create(address, &wide(space)).expect("there is room");
            let peer = if kind.is_named() { open(address, &options(0)).expect("it is there") } else { region };
            let reader = RegionOptions { read_only: 1, ..options(0) };
            let reader = kind.is_named().then(|| open(address, &reader).expect("it is there"));
            let (ours, theirs) = (region.data(), peer.data());
            let mut size = 100;
            region.copy_in(0, &pattern(100, 2)).expect("it fits");
            for (generation, next) in [101, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, MIB, most].into_iter().enumerate() {
                refused(peer.copy_in(size, b"x"), Status::ErrPastEnd);
                let grower = if generation % 2 == 0 { region } else { peer };
                grower.grow(next).expect("max_size allows it");
                // Smaller and equal sizes are nothing to do.
                for smaller in [0, 1, size, next] {
                    region.grow(smaller).expect("it is that large already");
                }
                assert_eq!((region.size(), peer.size()), (next, next));
                assert!(reader.is_none_or(|reader| reader.size() == next));
                assert_eq!((region.data(), peer.data()), (ours, theirs));
                assert!(peer.bytes(size, next - size).iter().all(|byte| *byte == 0), "new space is not zeros");
                peer.copy_in(next - 1, b"x").expect("it fits");
                assert_eq!(region.bytes(next - 1, 1), b"x");
                peer.copy_in(next - 1, b"\0").expect("it fits");
                let stat = region.stat().expect("it is open");
                assert_eq!((stat.size, stat.max_size), (next as u64, most as u64));
                assert_eq!(stat.generation, generation as u64 + 1);
                if space != SHMKIT_SPACE_LAZY {
                    assert!(stat.reserved >= (next + PAGE) as u64, "{} reserved for {next}", stat.reserved);
                }
                size = next;
            }
            for over in [most + 1, most + PAGE, 1 << 40, usize::MAX / 2, usize::MAX] {
                refused(region.grow(over), Status::ErrTooBig).names(&most.to_string()).names(&over.to_string());
                assert_eq!(region.size(), most);
            }
            assert_eq!(region.bytes(0, 100), pattern(100, 2));
            if let Some(reader) = reader {
                refused(reader.grow(most), Status::ErrAccess);
                reader.closed();
                peer.closed();
                region.unlink().expect("the name is its own");
            }
            region.closed();
        }
    }));
}

#[test]
fn growth_in_a_child_is_seen_by_its_parent() {
    in_a_room!("growth_in_a_child_is_seen_by_its_parent", || over(&Kind::WITH_FD, |place| {
        let region =
            create(&place.address, &RegionOptions { max_size: MIB as u64, ..options(10) }).expect("there is room");
        in_good_child(|| {
            region.grow(PAGE * 3).expect("max_size allows it");
            region.copy_in(PAGE * 3 - 1, b"c").expect("it fits");
        });
        assert_eq!((region.size(), region.bytes(PAGE * 3 - 1, 1)), (PAGE * 3, b"c".to_vec()));
        region.grow(PAGE * 4).expect("max_size allows it");
        region.closed();
        if place.kind.is_named() {
            unlink(&place.address).expect("the name is there");
        }
    }));
}

#[test]
fn a_layout_that_differs_is_named_part_by_part() {
    in_a_room!("a_layout_that_differs_is_named_part_by_part", || over(&Kind::NAMED, |place| {
        let address = place.address.as_str();
        let with = |layout| RegionOptions { layout, ..options(64) };
        let made = layout(c"struct telemetry", 40, 3, 8);
        let region = create(address, &with(made)).expect("there is room");
        let stat = region.stat().expect("it is open");
        assert_eq!((stat.layout_size, stat.layout_version, stat.layout_alignment), (40, 3, 8));
        let name: Vec<u8> = stat.layout_name.iter().map(|letter| *letter as u8).take_while(|byte| *byte != 0).collect();
        assert_eq!(name, b"telemetry");
        for same in [c"telemetry", c"struct telemetry", c"class telemetry", c"  struct   telemetry "] {
            open(address, &with(layout(same, 40, 3, 8))).expect("it is the same type").closed();
        }
        open(address, &options(0)).expect("no type is asked for").closed();
        for (other, part, figures) in [
            (layout(c"struct telegram", 40, 4, 8), "\"telemetry\"", ["made for", "expects \"telegram\""]),
            (layout(c"telemetr", 40, 3, 8), "\"telemetry\"", ["made for", "expects \"telemetr\""]),
            (layout(c"telemetry", 40, 4, 8), "version of \"telemetry\"", ["3 in the region", "4 in this program"]),
            (
                layout(c"telemetry", 48, 3, 8),
                "size in bytes of \"telemetry\"",
                ["40 in the region", "48 in this program"],
            ),
            (
                layout(c"telemetry", 40, 3, 16),
                "alignment in bytes of \"telemetry\"",
                ["8 in the region", "16 in this program"],
            ),
        ] {
            let mut refusal = refused(open(address, &with(other)), Status::ErrLayout).names(part);
            for figure in figures {
                refusal = refusal.names(figure);
            }
            let (either, _) = (refused(open_or_create(address, &with(other)), Status::ErrLayout), refusal);
            assert!(either.cause.contains(part), "{either:?}");
        }
        region.unlink().expect("the name is its own");
        region.closed();

        // 47 bytes of a name count; a region without a type does not have this one.
        let long = c"a234567890b234567890c234567890d234567890e234567890f234567890";
        let region = create(address, &with(layout(long, 1, 1, 1))).expect("there is room");
        open(address, &with(layout(c"a234567890b234567890c234567890d234567890e234567", 1, 1, 1)))
            .expect("47 bytes")
            .closed();
        refused(
            open(address, &with(layout(c"a234567890b234567890c234567890d234567890e23456", 1, 1, 1))),
            Status::ErrLayout,
        )
        .names("made for \"a234567890b234567890c234567890d234567890e234567\"")
        .names("expects \"a234567890b234567890c234567890d234567890e23456\"");
        region.unlink().expect("the name is its own");
        region.closed();
        let region = create(address, &options(64)).expect("there is room");
        refused(open(address, &with(made)), Status::ErrLayout).names("without naming a type").names("\"telemetry\"");
        region.unlink().expect("the name is its own");
        region.closed();

        for (bad, why) in [
            (layout(c"", 1, 1, 1), "empty"),
            (layout(c"   ", 1, 1, 1), "empty"),
            (layout(c"t", 65, 1, 1), "smaller than the type"),
            (layout(c"t", 1, 1, 3), "SHMKIT_LAYOUT"),
            (layout(c"t", 1, 1, 0), "SHMKIT_LAYOUT"),
            (layout(c"t", 1, 1, 8192), "page"),
        ] {
            refused(create(address, &with(bad)), Status::ErrInvalidArgument).names(why);
        }
        refused(create(address, &RegionOptions { raw: 1, ..with(made) }), Status::ErrInvalidArgument);
    }));
}

#[test]
fn copies_at_every_boundary() {
    in_a_room!("copies_at_every_boundary", || {
        let mut copies = 0;
        for guarded in [false, true] {
            if guarded {
                assert_eq!(shmkit_guard_enable(), 0);
                assert_eq!(shmkit_guard_enable(), 0, "a second time is nothing to do");
            }
            for is_raw in [false, true] {
                over(&Kind::ALL, |place| copies_of(place, is_raw));
                copies += 1;
            }
        }
        assert_eq!((shmkit_guard_disable(), shmkit_guard_disable()), (0, 0));
        assert_eq!(copies, 4);
    });
}

fn copies_of(place: &Place, is_raw: bool) {
    let size = 3 * PAGE + 5;
    let wanted = if is_raw { raw(size) } else { options(size) };
    let region = create(&place.address, &wanted).expect("there is room");
    assert_eq!(region.size(), size, "{place:?}", place = place.address);
    let mut model = pattern(size, 3);
    region.copy_in(0, &model).expect("it fits");
    let edges = [0, 1, 7, 8, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, size - 1, size, size + 1, 4 * PAGE, usize::MAX];
    let buffer = vec![0u8; 5 * PAGE];
    for offset in edges {
        for length in edges {
            let fits = offset <= size && length <= size - offset;
            // A length that does not fit is refused before a byte is read.
            let from = buffer.as_ptr();
            // SAFETY: what fits is no longer than the buffer.
            let done = called("shmkit_region_copy_in", || unsafe {
                shmkit_region_copy_in(region.0, offset, from.cast(), length)
            });
            match done {
                Ok(()) => assert!(fits, "{offset} {length} was accepted"),
                Err(refusal) => {
                    assert!(!fits, "{refusal:?}");
                    assert_eq!(refusal.status, Status::ErrPastEnd);
                    refusal.names(&size.to_string());
                }
            }
            if fits {
                region.copy_in(offset, &pattern(length, offset)).expect("it fits");
                model[offset..offset + length].copy_from_slice(&pattern(length, offset));
                // A byte on either side tells whether a copy went too far.
                let mut out = vec![0xa5; length + 2];
                region.copy_out(offset, &mut out[1..=length]).expect("it fits");
                assert_eq!((out[0], out[length + 1]), (0xa5, 0xa5));
                assert_eq!(out[1..=length], model[offset..offset + length]);
            } else {
                let mut out = [0xa5; 8];
                // SAFETY: as above: nothing is written.
                let done = called("shmkit_region_copy_out", || unsafe {
                    shmkit_region_copy_out(region.0, offset, out.as_mut_ptr().cast(), length)
                });
                refused(done, Status::ErrPastEnd);
                assert_eq!(out, [0xa5; 8]);
            }
        }
    }
    assert_eq!(region.bytes(0, size), model);
    if place.kind.is_named() {
        let reader =
            open(&place.address, &RegionOptions { read_only: 1, raw: wanted.raw, ..options(0) }).expect("there");
        refused(reader.copy_in(0, b"x"), Status::ErrAccess);
        assert_eq!(reader.bytes(0, size), model);
        reader.closed();
    }
    // No memory at all, and memory in which no program lives: an error, whatever the kind of memory.
    for wild in [0usize, 8, 4095, 0x8000_0000_0000_0000, usize::MAX - 1] {
        // SAFETY: these are addresses of which the call says that it refuses them.
        unsafe {
            let done = called("shmkit_region_copy_in", || shmkit_region_copy_in(region.0, 0, wild as *const _, 1));
            refused(done, Status::ErrBadPointer);
            let done = called("shmkit_region_copy_out", || shmkit_region_copy_out(region.0, 0, wild as *mut _, 1));
            refused(done, Status::ErrBadPointer);
        }
    }
    // SAFETY: no byte is copied.
    assert_eq!(unsafe { shmkit_region_copy_in(region.0, size, null(), 0) }, 0);
    if place.kind.is_named() && !is_raw {
        region.unlink().expect("the name is its own");
    }
    region.closed();
}

#[test]
fn scopes_need_the_guard_where_a_peer_may_truncate() {
    in_a_room!("scopes_need_the_guard_where_a_peer_may_truncate", || over(&Kind::ALL, |place| {
        let region = create(&place.address, &options(5000)).expect("there is room");
        assert_eq!(region.stat().expect("it is open").fragile, i32::from(place.kind.is_fragile()));
        if place.kind.is_fragile() {
            refused(region.begin(), Status::ErrUnsupported).names(&place.address);
            assert_eq!(shmkit_guard_enable(), 0);
        }
        let (data, size) = region.begin().expect("nothing can go wrong now");
        assert_eq!((data, size), (region.data(), 5000));
        let (again, _) = region.begin().expect("scopes nest");
        assert_eq!(again, data);
        // SAFETY: the data is mapped for its size.
        unsafe { data.add(size - 1).write_volatile(1) };
        region.end().expect("nothing happened");
        region.end().expect("nothing happened");
        assert_eq!(shmkit_guard_disable(), 0);
        region.closed();
    }));
}

#[test]
fn what_a_peer_cut_off_is_said_before_anything_else() {
    in_a_room!("what_a_peer_cut_off_is_said_before_anything_else", || over(&[Posix, File], |place| {
        type Use = (&'static str, fn(Region) -> Outcome<()>);
        let uses: [Use; 9] = [
            ("lock", |region| region.lock(0, SHMKIT_TO_END)),
            ("unlock", |region| region.unlock(0, SHMKIT_TO_END)),
            ("protect", |region| region.protect(0, SHMKIT_TO_END, libc::PROT_READ)),
            ("advise WILLNEED", |region| region.advise(0, SHMKIT_TO_END, libc::MADV_WILLNEED)),
            ("advise POPULATE_WRITE", |region| region.advise(0, SHMKIT_TO_END, libc::MADV_POPULATE_WRITE)),
            ("a part that is left", |region| region.advise(0, PAGE, libc::MADV_WILLNEED)),
            ("an empty range", |region| region.lock(0, 0)),
            ("copy", |region| region.copy_out(5 * PAGE, &mut [0])),
            ("sync", |region| region.sync(0, SHMKIT_TO_END, SHMKIT_SYNC_NAME)),
        ];
        let cut = || {
            let file = std::fs::File::options().write(true).open(place.path()).expect("it is there");
            let full = file.metadata().expect("it is open").len();
            file.set_len(2 * PAGE as u64).expect("it is ours");
            (file, full)
        };
        let guards: [fn() -> i32; 2] = [|| 0, || shmkit_guard_enable()];
        for (guarded, guard) in guards.into_iter().enumerate() {
            assert_eq!(guard(), 0);
            for wanted in [options(10 * PAGE), raw(10 * PAGE)] {
                for (what, work) in uses.iter().filter(|one| place.kind == File || one.0 != "sync") {
                    let region = create(&place.address, &wanted).expect("there is room");
                    assert_eq!(region.size(), 10 * PAGE);
                    let (file, full) = cut();
                    let refusal = work(region).expect_err(what);
                    assert_eq!(refusal.status, Status::ErrTruncated, "{what}, guard {guarded}: {refusal:?}");
                    assert_eq!(region.size(), 0, "{what}");
                    // It stays so: what was cut off is lost.
                    file.set_len(full).expect("it is ours");
                    refused(work(region), Status::ErrTruncated);
                    assert_eq!(region.size(), 0, "{what}");
                    region.unlink().expect("the name is its own");
                    region.closed();
                }
                if guarded == 0 {
                    let region = create(&place.address, &wanted).expect("there is room");
                    let (file, full) = cut();
                    assert_eq!(region.size(), 0, "a size of which a part is not there");
                    file.set_len(full).expect("it is ours");
                    refused(region.copy_out(0, &mut [0]), Status::ErrTruncated);
                    region.unlink().expect("the name is its own");
                    region.closed();
                }
            }
        }
        assert_eq!(shmkit_guard_disable(), 0);
    }));
}

#[test]
fn sync_levels() {
    in_a_room!("sync_levels", || over(&Kind::ALL, |place| {
        let size = 3 * PAGE + 1;
        let region = create(&place.address, &options(size)).expect("there is room");
        for level in [SHMKIT_SYNC_START, SHMKIT_SYNC_DATA, SHMKIT_SYNC_FILE, SHMKIT_SYNC_NAME] {
            for (offset, length) in
                [(0, SHMKIT_TO_END), (0, 0), (0, 1), (1, size - 1), (PAGE - 1, 2), (size, SHMKIT_TO_END), (size - 1, 1)]
            {
                let done = region.sync(offset, length, level);
                match place.kind {
                    File => done.expect("a file can be synced"),
                    _ => drop(refused(done, Status::ErrBackend)),
                }
            }
            if place.kind == File {
                for (offset, length) in
                    [(size + 1, 0), (size + 1, SHMKIT_TO_END), (0, size + 1), (1, usize::MAX - 1), (usize::MAX, 1)]
                {
                    refused(region.sync(offset, length, level), Status::ErrPastEnd).names(&size.to_string());
                }
            }
        }
        for level in [-1, 4, i32::MIN, i32::MAX] {
            refused(region.sync(0, SHMKIT_TO_END, level), Status::ErrInvalidArgument);
        }
        region.closed();
    }));
}

#[test]
fn protection_and_advice() {
    in_a_room!("protection_and_advice", || over(&Kind::ALL, |place| {
        const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
        let size = 3 * PAGE + 1;
        let region = create(&place.address, &options(size)).expect("there is room");
        region.copy_in(PAGE, b"kept").expect("it fits");
        for prot in [libc::PROT_NONE, libc::PROT_READ, RW] {
            for (offset, length) in [(0, SHMKIT_TO_END), (0, 1), (PAGE, PAGE), (3 * PAGE, 1), (3 * PAGE, SHMKIT_TO_END)]
            {
                region.protect(offset, length, prot).expect("whole pages can be protected");
            }
        }
        region.protect(0, SHMKIT_TO_END, RW).expect("whole pages can be protected");
        assert_eq!(region.bytes(PAGE, 4), b"kept");
        // An empty range is nothing to do: no page is protected, locked or advised, and copies are as fast as before.
        for offset in [0, PAGE, 3 * PAGE] {
            region.protect(offset, 0, libc::PROT_NONE).expect("nothing is to be done");
            region.advise(offset, 0, libc::MADV_PAGEOUT).expect("nothing is to be done");
            region.lock(offset, 0).expect("nothing is to be done");
            region.unlock(offset, 0).expect("nothing is to be done");
        }
        // SAFETY: the data is mapped for its size, and nothing was protected.
        let untouched = unsafe { std::slice::from_raw_parts(region.data().add(PAGE), 4) };
        assert_eq!(untouched, b"kept");
        // A touch of protected memory is a signal; a call that copies is not.
        region.protect(PAGE, PAGE, libc::PROT_NONE).expect("whole pages can be protected");
        let child = crate::support::in_child(|| {
            // SAFETY: the byte lies in the region; the touch ends this child, as it should.
            unsafe { region.data().add(PAGE).read_volatile() };
            0
        });
        assert!(libc::WIFSIGNALED(child) && libc::WTERMSIG(child) == libc::SIGSEGV, "{child:#x}");
        region.protect(0, SHMKIT_TO_END, RW).expect("whole pages can be protected");

        for (offset, length, prot, status) in [
            (1, SHMKIT_TO_END, RW, Status::ErrInvalidArgument),
            (1, 0, RW, Status::ErrInvalidArgument),
            (PAGE / 2, PAGE, RW, Status::ErrInvalidArgument),
            (0, SHMKIT_TO_END, libc::PROT_EXEC, Status::ErrInvalidArgument),
            (0, SHMKIT_TO_END, RW | libc::PROT_EXEC, Status::ErrInvalidArgument),
            (0, SHMKIT_TO_END, -1, Status::ErrInvalidArgument),
            (0, size + 1, RW, Status::ErrPastEnd),
            (4 * PAGE, 0, RW, Status::ErrPastEnd),
            (4 * PAGE, SHMKIT_TO_END, RW, Status::ErrPastEnd),
            (PAGE, usize::MAX - 1, RW, Status::ErrPastEnd),
            (usize::MAX - (PAGE - 1), PAGE, RW, Status::ErrPastEnd),
        ] {
            refused(region.protect(offset, length, prot), status);
        }
        refused(region.protect(4 * PAGE, SHMKIT_TO_END, RW), Status::ErrPastEnd)
            .names("offset 16384 lies past the 12289 bytes");
        for advice in [0, 1, 2, 3, 4, 10, 11, 14, 15, 16, 17, 20, 21, 22, 23, 25] {
            let done = region.advise(0, SHMKIT_TO_END, advice);
            // What a kernel or a kind of memory does not know is an error with words; the data stays in any case.
            let known = matches!(
                status_of(&done),
                Status::Ok | Status::ErrInvalidArgument | Status::ErrNoMemory | Status::ErrAgain
            );
            assert!(known && (done.is_ok() || matches!(advice, 14 | 15 | 25)), "{advice}: {done:?}");
            assert_eq!(region.bytes(PAGE, 4), b"kept", "advice {advice} lost data");
        }
        // MADV_FREE, REMOVE, MERGEABLE, UNMERGEABLE, WIPEONFORK, KEEPONFORK, HWPOISON, and none.
        for advice in [8, 9, 12, 13, 18, 19, 24, 100, 101, -1, i32::MAX, i32::MIN] {
            refused(region.advise(0, SHMKIT_TO_END, advice), Status::ErrInvalidArgument);
        }
        refused(region.advise(1, 0, 0), Status::ErrInvalidArgument);
        refused(region.advise(0, size + 1, 0), Status::ErrPastEnd);
        region.lock(0, SHMKIT_TO_END).expect("the limit is not reached");
        region.lock(PAGE, 1).expect("the limit is not reached");
        region.unlock(0, SHMKIT_TO_END).expect("it was locked");
        refused(region.lock(3, 0), Status::ErrInvalidArgument);
        refused(region.lock(0, size + 1), Status::ErrPastEnd);
        refused(region.unlock(3, 0), Status::ErrInvalidArgument);
        region.closed();

        if place.kind.is_named() {
            let reader = open(&place.address, &RegionOptions { read_only: 1, ..options(0) }).expect("it is there");
            reader.protect(0, SHMKIT_TO_END, libc::PROT_NONE).expect("whole pages can be protected");
            reader.protect(0, SHMKIT_TO_END, libc::PROT_READ).expect("whole pages can be protected");
            refused(reader.protect(0, SHMKIT_TO_END, RW), Status::ErrAccess);
            assert_eq!(reader.stat().expect("it is open").read_only, 1);
            reader.closed();
        }
    }));
}

#[test]
fn copies_of_protected_memory_end_in_an_error() {
    in_a_room!("copies_of_protected_memory_end_in_an_error", || over(&Kind::ALL, |place| {
        let region = create(&place.address, &options(3 * PAGE)).expect("there is room");
        region.copy_in(0, b"first").expect("it fits");
        region.protect(0, PAGE, libc::PROT_READ).expect("whole pages can be protected");
        // In children: what should be an error may be a signal.
        in_good_child(|| {
            assert_eq!(region.bytes(0, 5), b"first");
            assert_ne!(status_of(&region.copy_in(0, b"x")), Status::Ok);
            region.copy_in(PAGE, b"second").expect("that page can be written");
        });
        region.protect(0, PAGE, libc::PROT_NONE).expect("whole pages can be protected");
        in_good_child(|| {
            assert_ne!(status_of(&region.copy_out(0, &mut [0])), Status::Ok);
            assert_ne!(status_of(&region.copy_in(0, b"x")), Status::Ok);
            assert_eq!(region.bytes(PAGE, 6), b"second");
        });
        region.closed();
    }));
}

#[test]
fn locked_memory_has_a_limit_with_figures() {
    in_a_room!("locked_memory_has_a_limit_with_figures", || {
        set_limit(libc::RLIMIT_MEMLOCK, 64 << 10);
        over(&Kind::ALL, |place| {
            let region = create(&place.address, &options(MIB)).expect("there is room");
            // Root may lock what it likes.
            in_good_child(|| {
                as_user(12_345);
                region.lock(0, 32 << 10).expect("the limit allows it");
                let refusal = refused(region.lock(0, SHMKIT_TO_END), Status::ErrLimit);
                refusal.names("65536").names(&MIB.to_string());
                region.unlock(0, 32 << 10).expect("it was locked");
            });
            region.closed();
        });
    });
}

#[test]
fn stat_tells_what_is_known() {
    in_a_room!("stat_tells_what_is_known", || over(&Kind::ALL, |place| {
        let kind = place.kind;
        let before = now_ns();
        let wide = if kind == Sysv { 0 } else { 20_000 };
        let wanted = RegionOptions { max_size: wide, persistent: 1, mode: 0o640, ..options(10_000) };
        let region = create(&place.address, &wanted).expect("there is room");
        let stat = region.stat().expect("it is open");
        assert_eq!(stat.struct_size, size_of::<RegionStat>());
        assert_eq!((stat.size, stat.max_size, stat.generation), (10_000, wide.max(10_000), 0));
        assert_eq!((stat.page_size, stat.data_offset), (PAGE as u64, PAGE as u64));
        assert!((before..=now_ns()).contains(&stat.created_ns), "{}", stat.created_ns);
        assert_eq!((stat.backend, stat.mode), (kind.number(), 0o640));
        assert_eq!((stat.read_only, stat.raw, stat.persistent), (0, 0, 1));
        assert_eq!(stat.fragile, i32::from(kind.is_fragile()));
        assert_eq!(stat.links, u64::from(kind.is_named()));
        assert_eq!(stat.layout_name[0], 0);
        // SAFETY: take no pointers, or good ones.
        unsafe {
            assert_eq!((stat.uid, stat.gid), (libc::geteuid(), libc::getegid()));
            if kind == Sysv {
                assert_eq!((stat.device, stat.inode as i32), (0, place.segment().expect("it is there")));
            } else {
                let mut status: libc::stat = std::mem::zeroed();
                assert_eq!(libc::fstat(region.fd(), &mut status), 0);
                assert_eq!((stat.device, stat.inode), (status.st_dev, status.st_ino));
                assert_eq!(stat.object_size, status.st_size as u64);
                assert_eq!(stat.reserved, status.st_blocks as u64 * 512);
                let flags = libc::fcntl(region.fd(), libc::F_GETFD);
                assert_eq!(flags, libc::FD_CLOEXEC);
            }
        }
        let sealed = if matches!(kind, Memfd | Anon) { libc::F_SEAL_SHRINK } else { 0 };
        assert_eq!(stat.seals as i32 & libc::F_SEAL_SHRINK, sealed);
        let own = std::fs::read_to_string("/proc/self/stat").expect("/proc is there");
        let start: u64 =
            own.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok()).expect("22");
        let creator = stat.creator;
        assert_eq!((creator.pid, creator.uid, creator.start_time), (std::process::id(), stat.uid, start));
        let namespace = std::fs::read_link("/proc/self/ns/pid").expect("/proc is there");
        assert_eq!(namespace.to_str(), Some(format!("pid:[{}]", creator.pid_namespace).as_str()));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("/proc is there");
        let digits = format!("{:016x}{:016x}", creator.boot_id[0], creator.boot_id[1]);
        assert_eq!(boot.trim().replace('-', ""), digits);
        if kind.is_named() {
            // What another process sees is the same.
            let peer = open(&place.address, &options(0)).expect("it is there");
            in_good_child(|| {
                let theirs = peer.stat().expect("it is open");
                assert_eq!(
                    (theirs.inode, theirs.created_ns, theirs.creator.pid),
                    (stat.inode, stat.created_ns, creator.pid)
                );
            });
            peer.closed();
        }
        region.closed();
    }));
}

#[test]
fn seals_are_for_memory_without_a_name() {
    in_a_room!("seals_are_for_memory_without_a_name", || over(&Kind::ALL, |place| {
        let wide = if place.kind == Sysv { 0 } else { MIB as u64 };
        let region = create(&place.address, &RegionOptions { max_size: wide, ..options(100) }).expect("there is room");
        if place.kind.is_named() {
            for seal in [SHMKIT_SEAL_GROW, SHMKIT_SEAL_WRITE, SHMKIT_SEAL_FUTURE_WRITE, SHMKIT_SEAL_SEAL, 0, 999] {
                refused(region.seal(seal), Status::ErrBackend);
            }
            return region.closed();
        }
        for none in [0, 2, 32, 64, 1 << 31, u32::MAX] {
            refused(region.seal(none), Status::ErrInvalidArgument);
        }
        refused(region.seal(SHMKIT_SEAL_WRITE), Status::ErrBusy);
        region.grow(200).expect("it is not sealed yet");
        region.seal(SHMKIT_SEAL_GROW).expect("it can be sealed");
        // Within the page that is there already nothing has to grow; beyond it the seal is the cause.
        let refusal = refused(region.grow(MIB), Status::ErrNotPermitted);
        assert!(refusal.cause.contains("seal"), "{refusal:?}");
        assert_eq!(region.size(), 200);
        region.seal(SHMKIT_SEAL_FUTURE_WRITE).expect("it can be sealed");
        region.copy_in(0, b"x").expect("who may write still may");
        region.seal(SHMKIT_SEAL_SEAL).expect("it can be sealed");
        refused(region.seal(SHMKIT_SEAL_GROW | SHMKIT_SEAL_FUTURE_WRITE), Status::ErrNotPermitted);
        assert_eq!(region.stat().expect("it is open").seals & 0x1f, 1 | 2 | 4 | 16);
        region.closed();
    }));
}

#[test]
fn who_is_there() {
    in_a_room!("who_is_there", || over(&Kind::ALL, |place| {
        let region = create(&place.address, &options(100)).expect("there is room");
        let alone = region.participants().expect("it has leases");
        assert_eq!(alone.len(), 1);
        let first = alone[0];
        assert_eq!((first.own, first.live, first.read_only), (1, SHMKIT_ANSWER_YES, 0));
        assert_eq!(first.process.pid, std::process::id());
        let mut children = Children::default();
        for _ in 0..2 {
            children.start(|| {
                let all = region.participants().expect("it has leases");
                assert_eq!((all[0].own, all[0].process.pid), (1, std::process::id()));
            });
        }
        let mut seen = region.participants().expect("it has leases");
        assert_eq!((seen.len(), seen.remove(0).own), (3, 1));
        seen.sort_by_key(|one| one.process.pid);
        let mut expected: Vec<u32> = children.pids().collect();
        expected.sort_unstable();
        assert_eq!(seen.iter().map(|one| one.process.pid).collect::<Vec<_>>(), expected);
        assert!(seen.iter().all(|one| (one.own, one.live, one.read_only) == (0, SHMKIT_ANSWER_YES, 0)));
        children.kill();
        assert_eq!(region.participants().expect("it has leases").len(), 1);

        // A callback may stop, and may call the library.
        unsafe extern "C" fn stop(_: *const RegionParticipant, user: *mut std::ffi::c_void) -> i32 {
            // SAFETY: the count that was given below.
            unsafe { *user.cast::<u32>() += 1 };
            1
        }
        let mut met = 0u32;
        // SAFETY: the callback gets the count that it expects.
        assert_eq!(unsafe { shmkit_region_participants(region.0, Some(stop), (&raw mut met).cast()) }, 0);
        assert_eq!(met, 1);

        if place.kind.is_named() {
            let reader = open(&place.address, &RegionOptions { read_only: 1, ..options(0) }).expect("it is there");
            let writer = open(&place.address, &options(0)).expect("it is there");
            let all = region.participants().expect("it has leases");
            assert_eq!(all.len(), 3);
            assert!(all[1..].iter().all(|one| one.live == SHMKIT_ANSWER_YES && one.own == 0));
            let readers = all[1..].iter().filter(|one| one.read_only == 1).count();
            assert_eq!(readers, if place.kind == Sysv { 0 } else { 1 }, "a lease by semaphore does not tell readers");
            assert_eq!(reader.participants().expect("it has leases")[0].read_only, 1);
            writer.closed();
            reader.closed();
            assert_eq!(region.participants().expect("it has leases").len(), 1);
            assert_eq!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_NO);
            region.closed();
            assert_eq!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_YES);
        } else {
            region.closed();
        }
    }));
}

#[test]
fn the_list_shows_every_kind() {
    in_a_room!("the_list_shows_every_kind", || over(&Kind::ALL, |place| {
        let kind = place.kind;
        let what = match kind {
            Posix => SHMKIT_LIST_POSIX,
            Sysv => SHMKIT_LIST_SYSV,
            File | Memfd | Anon => SHMKIT_LIST_MAPPED,
        };
        let named = RegionOptions { layout: layout(c"struct t", 8, 5, 8), mode: 0o640, ..options(100_000) };
        let find = |what| -> Option<Shown> {
            let all = list(what).expect("a list can be had");
            all.into_iter().find(|shown| {
                shown.address == place.address && (kind != Anon || shown.object.pid == std::process::id())
            })
        };
        assert!(find(SHMKIT_LIST_ALL).is_none());
        let region = create(&place.address, &named).expect("there is room");
        let stat = region.stat().expect("it is open");
        // Its creator alone has it mapped now, and then another handle as well.
        for (what, again) in [(what, false), (SHMKIT_LIST_ALL, false), (what, true), (SHMKIT_LIST_ALL, true)] {
            let second = (again && kind.is_named()).then(|| open(&place.address, &options(0)).expect("it is there"));
            let shown = find(what).expect("it is listed");
            let object = shown.object;
            assert_eq!((object.backend, object.inode), (kind.number(), stat.inode));
            assert_eq!(object.orphan, SHMKIT_ANSWER_NO);
            match kind {
                Posix | Sysv => {
                    assert_eq!(
                        (object.content, shown.layout.as_str(), object.layout_version),
                        (SHMKIT_CONTENT_REGION, "t", 5)
                    );
                    assert_eq!(
                        (object.users, object.size, object.device),
                        (1 + u64::from(again), stat.object_size, stat.device)
                    );
                    assert_eq!((object.mode, object.uid, object.gid), (0o640, stat.uid, stat.gid));
                    assert_eq!((object.creator.pid, object.created_ns), (std::process::id(), stat.created_ns));
                    assert_eq!((object.unlinked, object.persistent), (0, 0));
                }
                // What is only seen as mapped was not looked into.
                File => assert_eq!(
                    (object.mode, object.uid, object.users, object.content),
                    (0o640, stat.uid, 1, SHMKIT_CONTENT_UNKNOWN)
                ),
                Memfd | Anon => {
                    assert_eq!((object.users, object.unlinked, object.content), (1, 1, SHMKIT_CONTENT_UNKNOWN))
                }
            }
            second.into_iter().for_each(Region::closed);
        }
        for other in [SHMKIT_LIST_POSIX, SHMKIT_LIST_SYSV, SHMKIT_LIST_MAPPED] {
            assert_eq!(find(other).is_some(), other == what, "{other}");
        }
        let all = list(SHMKIT_LIST_ALL).expect("a list can be had");
        // With the device: other tests have objects of the same number in rooms of their own.
        let is_same = |shown: &&Shown| (shown.object.device, shown.object.inode) == (stat.device, stat.inode);
        let same: Vec<_> = all.iter().filter(is_same).collect();
        assert_eq!(same.len(), 1, "one object is listed more than once: {same:?}");
        if kind.is_named() {
            region.unlink().expect("the name is its own");
            if kind == Posix {
                // What its name was may be forgotten.
                let all = list(SHMKIT_LIST_MAPPED).expect("a list can be had");
                let gone: Vec<_> = all.iter().filter(is_same).collect();
                assert_eq!(gone.len(), 1, "its memory is still mapped");
                assert_eq!(gone[0].object.content, SHMKIT_CONTENT_UNKNOWN);
                assert_eq!((gone[0].object.unlinked, gone[0].object.backend), (1, SHMKIT_BACKEND_POSIX));
            }
            if kind == Sysv {
                // It has lost its key, and with it the semaphores that say what it is.
                let all = list(SHMKIT_LIST_SYSV).expect("a list can be had");
                let gone: Vec<_> = all.iter().filter(is_same).collect();
                assert_eq!(gone.len(), 1, "its memory is still attached");
                assert_eq!((gone[0].object.unlinked, gone[0].object.content), (1, SHMKIT_CONTENT_UNKNOWN));
            }
        }
        region.closed();
        assert!(find(SHMKIT_LIST_ALL).is_none());
    }));
}

#[test]
fn gc_finds_what_nobody_has_open() {
    in_a_room!("gc_finds_what_nobody_has_open", || over(&Kind::ALL, |place| {
        let (kind, address) = (place.kind, place.address.as_str());
        let collected = matches!(kind, Posix | Sysv);
        let region = create(address, &options(5000)).expect("there is room");
        assert!(left_over().is_empty(), "it is in use");
        // A child that dies leaves nothing that keeps the region alive.
        let mut children = Children::default();
        children.start(|| drop(region.bytes(0, 1)));
        region.closed();
        assert!(left_over().is_empty(), "a child has it open");
        if kind.is_named() {
            assert_eq!(is_orphan(address).expect("it is there"), SHMKIT_ANSWER_NO);
        }
        children.kill();
        if !collected {
            assert!(left_over().is_empty(), "gc found what is not its own");
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
            assert_eq!(place.is_taken(), kind == File);
            return;
        }
        for _ in 0..2 {
            let found = gc(SHMKIT_GC_DRY_RUN).expect("gc can look");
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].address.as_str(), found[0].object.content), (address, SHMKIT_CONTENT_REGION));
            assert_eq!((found[0].object.orphan, found[0].object.backend), (SHMKIT_ANSWER_YES, kind.number()));
        }
        // A dry run changed nothing; an opener takes it out of the list again.
        let region = open(address, &options(5000)).expect("a dry run removes nothing");
        assert!(left_over().is_empty() && gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
        region.copy_in(0, b"alive").expect("it fits");
        region.closed();
        let found = gc(SHMKIT_GC_REMOVE).expect("gc can remove");
        assert_eq!((found.len(), place.is_taken()), (1, false));
        refused(open(address, &options(0)), Status::ErrNotFound);
        assert!(left_over().is_empty());

        let kept = create(address, &RegionOptions { persistent: 1, ..options(10) }).expect("the name is free");
        kept.closed();
        assert!(left_over().is_empty() && gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
        let shown = listed(SHMKIT_LIST_ALL, address).expect("it is there").object;
        assert_eq!((shown.persistent, shown.orphan), (1, SHMKIT_ANSWER_YES));
        open(address, &options(10)).expect("gc leaves it alone").closed();
        unlink(address).expect("the name is there");
    }));
}

#[test]
fn a_file_stays_wherever_it_lies() {
    in_a_room!("a_file_stays_wherever_it_lies", || {
        let (address, path) = ("file:/dev/shm/kept", std::path::Path::new("/dev/shm/kept"));
        create(address, &options(5000)).expect("there is room").closed();
        let object = create("posix:/gone", &options(5000)).expect("there is room");
        object.closed();
        assert_eq!(left_over().into_iter().collect::<Vec<_>>(), ["posix:/gone"]);
        assert_eq!(gc(SHMKIT_GC_REMOVE).expect("gc can remove").len(), 1);
        assert!(path.exists(), "gc removed a file");
        let shown = listed(SHMKIT_LIST_ALL, address).expect("it is there").object;
        assert_eq!((shown.backend, shown.content), (SHMKIT_BACKEND_FILE, SHMKIT_CONTENT_REGION));
        assert_eq!(listed(SHMKIT_LIST_ALL, "posix:/kept").map(|shown| shown.address), None);
        open(address, &options(5000)).expect("it is what the list says").closed();
        unlink(address).expect("the name is there");
    });
}

#[test]
fn a_callback_of_gc_may_open_what_it_is_shown() {
    in_a_room!("a_callback_of_gc_may_open_what_it_is_shown", || {
        unsafe extern "C" fn look(object: *const ListedObject, user: *mut std::ffi::c_void) -> i32 {
            let mut region = NO_REGION;
            let wanted = RegionOptions { timeout_ns: 200_000_000, ..options(0) };
            // SAFETY: the library gives a good object; the status goes where the test wants it.
            unsafe {
                *user.cast::<i32>() = shmkit_region_open((*object).address, &wanted, &mut region);
            }
            if region != NO_REGION { shmkit_region_close(region) } else { 0 }
        }
        over(&[Posix, Sysv], |place| {
            create(&place.address, &options(10)).expect("there is room").closed();
            let (mut status, mut count) = (99, 0);
            // SAFETY: the callback gets the status that it expects.
            let done = unsafe { shmkit_gc(SHMKIT_GC_DRY_RUN, Some(look), (&raw mut status).cast(), &mut count) };
            assert_eq!((done, count, status), (0, 1, 0), "{}", support::message());
            unlink(&place.address).expect("the name is there");
        });
    });
}

#[test]
fn gc_leaves_what_other_software_made() {
    in_a_room!("gc_leaves_what_other_software_made", || {
        std::fs::write("/dev/shm/plain", b"data of other software").expect("the room is ours");
        std::fs::write("/dev/shm/empty", b"").expect("the room is ours");
        // SAFETY: takes no pointers; IPC_RMID takes no buffer.
        unsafe {
            let segment = libc::shmget(0x1234, 100, libc::IPC_CREAT | 0o600);
            let private = libc::shmget(libc::IPC_PRIVATE, 100, 0o600);
            let mut sets =
                vec![libc::semget(libc::IPC_PRIVATE, 64, 0o600), libc::semget(0x4321, 1, libc::IPC_CREAT | 0o600)];
            // Of the size of the library's own, and used: by a value, or by an operation.
            for (key, value) in [(0x5001, Some(1)), (0x5002, None)] {
                let set = libc::semget(key, 64, libc::IPC_CREAT | 0o600);
                if let Some(value) = value {
                    assert_eq!(libc::semctl(set, 0, libc::SETVAL, value), 0);
                } else {
                    let mut step = libc::sembuf { sem_num: 5, sem_op: 1, sem_flg: 0 };
                    assert_eq!(libc::semop(set, &mut step, 1), 0);
                }
                sets.push(set);
            }
            assert!(segment >= 0 && private >= 0 && sets.iter().all(|set| *set >= 0));
            let found = gc(SHMKIT_GC_REMOVE).expect("gc can look");
            assert!(found.is_empty(), "{found:?}");
            assert!(support::segments().contains(&segment) && support::segments().contains(&private));
            for set in sets {
                assert_eq!(libc::semctl(set, 0, libc::IPC_RMID), 0, "gc removed a set of other software");
            }
            assert_eq!(libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut()), 0);
            assert_eq!(libc::shmctl(private, libc::IPC_RMID, std::ptr::null_mut()), 0);
        }
        for name in ["plain", "empty"] {
            refused(unlink(&format!("posix:/{name}")), Status::ErrNotARegion);
            std::fs::remove_file(format!("/dev/shm/{name}")).expect("gc leaves it alone");
        }
    });
}

/// What one call answers for each kind of memory.
struct Row {
    call: &'static str,
    answers: [Status; 5],
    make: fn(&Region, &Place) -> Status,
}

#[test]
fn what_each_kind_of_memory_can_do() {
    use Status::{ErrBackend as Cannot, ErrExists as Exists, ErrNoMemory, ErrUnsupported as Unguarded, Ok as Can};
    in_a_room!("what_each_kind_of_memory_can_do", || {
        let closed = |made: Outcome<Region>| {
            let status = status_of(&made);
            made.into_iter().for_each(Region::closed);
            status
        };
        // Made anew for each: a fn pointer keeps nothing.
        fn close(made: Outcome<Region>) -> Status {
            let status = status_of(&made);
            made.into_iter().for_each(Region::closed);
            status
        }
        let row = |call, answers, make| Row { call, answers, make };
        let table = [
            row("create", [Exists, Exists, Exists, Can, Can], |_, at| close(create(&at.address, &options(9)))),
            row("open", [Can, Can, Can, Cannot, Cannot], |_, at| close(open(&at.address, &options(0)))),
            row("open_or_create", [Can; 5], |_, at| {
                close(open_or_create(&at.address, &options(9)).map(|(region, _)| region))
            }),
            row("open with max_size", [Can; 5], |_, at| {
                let made = open_or_create(&at.address, &RegionOptions { max_size: 9, ..options(9) });
                close(made.map(|(region, _)| region))
            }),
            row("is_orphan", [Can, Can, Can, Cannot, Cannot], |_, at| status_of(&is_orphan(&at.address))),
            row("grow", [Can, Cannot, Can, Can, Can], |region, _| status_of(&region.grow(10))),
            row("sync", [Cannot, Cannot, Can, Cannot, Cannot], |region, _| {
                status_of(&region.sync(0, SHMKIT_TO_END, SHMKIT_SYNC_NAME))
            }),
            row("protect", [Can; 5], |region, _| status_of(&region.protect(0, SHMKIT_TO_END, 3))),
            row("advise", [Can; 5], |region, _| status_of(&region.advise(0, SHMKIT_TO_END, libc::MADV_WILLNEED))),
            row("lock_memory", [Can; 5], |region, _| status_of(&region.lock(0, SHMKIT_TO_END))),
            row("unlock_memory", [Can; 5], |region, _| status_of(&region.unlock(0, SHMKIT_TO_END))),
            row("stat", [Can; 5], |region, _| status_of(&region.stat())),
            row("copy_in", [Can; 5], |region, _| status_of(&region.copy_in(0, b"x"))),
            row("copy_out", [Can; 5], |region, _| status_of(&region.copy_out(0, &mut [0]))),
            row("access_begin", [Unguarded, Can, Unguarded, Can, Can], |region, _| status_of(&region.begin())),
            row("access_end", [Can; 5], |region, _| status_of(&region.end())),
            row("fd", [Can, Cannot, Can, Can, Can], |region, _| if region.fd() < 0 { Cannot } else { Can }),
            row("send", [Can, Cannot, Can, Can, Can], |region, _| {
                let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
                let sent = region.send(ours, SHMKIT_SEND_READ_WRITE);
                let status = status_of(&sent);
                if sent.is_ok() {
                    recv(theirs, &options(0)).expect("it was sent").closed();
                }
                close_all(&[ours, theirs]);
                status
            }),
            row("seal", [Cannot, Cannot, Cannot, Can, Can], |region, _| status_of(&region.seal(SHMKIT_SEAL_GROW))),
            row("participants", [Can; 5], |region, _| status_of(&region.participants())),
            row("create raw", [Exists, Exists, Exists, Can, Can], |_, at| close(create(&at.address, &raw(9)))),
            row("require huge pages", [Cannot, ErrNoMemory, Cannot, ErrNoMemory, ErrNoMemory], |_, at| {
                // In a machine that has some another test may use them: more than any machine has.
                let (_turn, fresh) = (huge_pages_alone(), at.kind.fresh());
                close(create(&fresh.address, &RegionOptions { huge_pages: SHMKIT_HUGE_REQUIRE, ..options(1 << 44) }))
            }),
            row("create with max_size", [Can, Cannot, Can, Can, Can], |_, at| {
                let fresh = at.kind.fresh();
                close(create(&fresh.address, &RegionOptions { max_size: 100, ..options(9) }))
            }),
            row("unlink", [Can, Can, Can, Cannot, Cannot], |region, _| status_of(&region.unlink())),
            row("unlink by address", [Can, Can, Can, Cannot, Cannot], |_, at| {
                let fresh = at.kind.fresh();
                create(&fresh.address, &options(9)).expect("there is room").closed();
                status_of(&unlink(&fresh.address))
            }),
        ];
        let of_raw = [
            row("raw grow", [Cannot; 5], |region, _| status_of(&region.grow(10))),
            row("raw participants", [Cannot, Can, Cannot, Cannot, Cannot], |region, _| {
                status_of(&region.participants())
            }),
            row("raw stat", [Can; 5], |region, _| status_of(&region.stat())),
            row("raw seal", [Cannot, Cannot, Cannot, Can, Can], |region, _| {
                status_of(&region.seal(SHMKIT_SEAL_FUTURE_WRITE))
            }),
            row("raw copy_in", [Can; 5], |region, _| status_of(&region.copy_in(0, b"x"))),
            row("raw unlink", [Can, Can, Can, Cannot, Cannot], |region, _| status_of(&region.unlink())),
        ];
        let mut answers = 0;
        for (column, kind) in Kind::ALL.into_iter().enumerate() {
            for (rows, is_raw) in [(&table[..], 0), (&of_raw[..], 1)] {
                let place = kind.fresh();
                let wide = if kind == Sysv || is_raw == 1 { 0 } else { 100 };
                let wanted = RegionOptions { max_size: wide, raw: is_raw, ..options(9) };
                let region = create(&place.address, &wanted).expect("there is room");
                for row in rows {
                    let answer = (row.make)(&region, &place);
                    assert_eq!(answer, row.answers[column], "{} on {kind:?}: {}", row.call, support::message());
                    answers += 1;
                }
                region.closed();
            }
        }
        assert_eq!(closed(open("posix:/nothing", &options(0))), Status::ErrNotFound);
        println!("{answers} answers of {} calls over {} kinds of memory", table.len() + of_raw.len(), Kind::ALL.len());
    });
}

#[test]
fn the_callback_of_a_creator() {
    use std::ffi::c_void;
    unsafe extern "C" fn fill(data: *mut c_void, size: usize, user: *mut c_void) -> i32 {
        // SAFETY: the region's own memory, and the test's number.
        unsafe {
            data.cast::<u8>().write_bytes(7, size);
            let answer = user.cast::<i32>();
            if *answer >= 0 {
                *answer += 1;
                return 0;
            }
            *answer
        }
    }
    in_a_room!("the_callback_of_a_creator", || over(&Kind::ALL, |place| {
        for is_raw in [0, 1] {
            let mut answer = -5i32;
            let with = |answer: *mut i32| RegionOptions {
                init: Some(fill),
                init_user: answer.cast(),
                raw: is_raw,
                ..options(5000)
            };
            let before = Traces::look();
            // Nothing would say whether it has run.
            if place.kind == Sysv && is_raw == 1 {
                refused(create(&place.address, &with(&mut answer)), Status::ErrBackend).names("callback");
                refused(open_or_create(&place.address, &with(&mut answer)), Status::ErrBackend);
                assert_eq!((answer, Traces::look()), (-5, before), "the callback ran, or something was made");
                create(&place.address, &raw(5000)).expect("it needs no callback").closed();
                open(&place.address, &with(&mut answer)).expect("opening runs none").closed();
                continue;
            }
            refused(create(&place.address, &with(&mut answer)), Status::ErrCallback).names("-5");
            refused(open_or_create(&place.address, &with(&mut answer)), Status::ErrCallback);
            assert_eq!(Traces::look(), before, "a refused creation left something");
            assert!(!place.is_taken());
            let mut runs = 0;
            let (region, created) = open_or_create(&place.address, &with(&mut runs)).expect("the callback agrees");
            assert!(created);
            assert_eq!((runs, region.bytes(0, 5000)), (1, vec![7; 5000]));
            if place.kind.is_named() {
                let (again, created) = open_or_create(&place.address, &with(&mut runs)).expect("it is there");
                assert!(!created);
                refused(create(&place.address, &with(&mut runs)), Status::ErrExists);
                assert_eq!(runs, 1, "the callback ran for a region that was there");
                again.closed();
                region.unlink().expect("the name is its own");
            }
            region.closed();
        }
    }));
}

/// What says that a callback runs lies where all creators see it: containers that share a folder have a /dev/shm each.
#[test]
fn the_callback_runs_once_wherever_dev_shm_is() {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    unsafe extern "C" fn slow(_: *mut c_void, _: usize, user: *mut c_void) -> i32 {
        // SAFETY: the counter that was given below; the call takes no pointers.
        unsafe {
            (*user.cast::<AtomicU32>()).fetch_add(1, SeqCst);
            libc::usleep(20_000);
        }
        0
    }
    unsafe extern "C" fn die(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
        // SAFETY: takes no pointers.
        unsafe { libc::raise(libc::SIGKILL) }
    }
    in_a_room!("the_callback_runs_once_wherever_dev_shm_is", || over(&[File], |place| {
        let before = || std::fs::read_dir(place.folder()).expect("the folder is ours").count();
        assert_eq!(before(), 0);
        // SAFETY: a new mapping of zeros is what an atomic needs.
        let runs = unsafe {
            let at = libc::mmap(null_mut(), PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0);
            assert_ne!(at, libc::MAP_FAILED);
            &*at.cast::<AtomicU32>()
        };
        let wanted =
            RegionOptions { init: Some(slow), init_user: std::ptr::from_ref(runs).cast_mut().cast(), ..options(100) };
        // One that dies in its callback, first: what it leaves is taken over.
        let killed = support::in_child(|| {
            let _never_ends = create(&place.address, &RegionOptions { init: Some(die), ..wanted });
            0
        });
        assert!(libc::WIFSIGNALED(killed) && !place.is_taken(), "{killed:#x}");
        assert_eq!(before(), 1, "the claim of a dead creator");
        let [mut ready, mut begin] = [[0; 2]; 2];
        for ends in [&mut ready, &mut begin] {
            // SAFETY: the ends are writable.
            assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
        }
        let mut byte = 0u8;
        let children = [0; 3].map(|_| {
            // SAFETY: the child leaves by _exit; the byte is readable and writable.
            unsafe {
                let child = libc::fork();
                if child == 0 {
                    let made = std::panic::catch_unwind(|| {
                        support::own_namespaces(1 << 20);
                        libc::close(begin[1]);
                        libc::write(ready[1], b"+".as_ptr().cast(), 1);
                        // Until there is nobody who could write.
                        let mut byte = 0u8;
                        libc::read(begin[0], (&raw mut byte).cast(), 1);
                        let (region, _) = open_or_create(&place.address, &wanted).expect("one makes it");
                        region.closed();
                    });
                    libc::_exit(i32::from(made.is_err()));
                }
                child
            }
        });
        close_all(&[ready[1]]);
        // SAFETY: the byte is writable.
        let prepared = (0..3).filter(|_| unsafe { libc::read(ready[0], (&raw mut byte).cast(), 1) } == 1).count();
        close_all(&[ready[0], begin[0], begin[1]]);
        for child in children {
            let mut status = 0;
            // SAFETY: the child is ours.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(status, 0, "see the output of the child");
        }
        assert_eq!((prepared, runs.load(SeqCst)), (3, 1), "the callback ran more than once");
        let region = open(&place.address, &options(100)).expect("they made it");
        assert_eq!(before(), 1, "the region, and nothing beside it");
        region.unlink().expect("the name is its own");
        region.closed();
        // SAFETY: the mapping is this test's own, and nobody uses it any more.
        unsafe { libc::munmap(std::ptr::from_ref(runs).cast_mut().cast(), PAGE) };
    }));
}

/// The callback of a creator may use the library, also on the very name that it is about to get.
#[test]
fn a_callback_may_use_the_library() {
    use std::ffi::{CStr, c_char, c_void};
    unsafe extern "C" fn busy(data: *mut c_void, size: usize, user: *mut c_void) -> i32 {
        // SAFETY: the address string that was given below.
        let own = unsafe { CStr::from_ptr(user.cast::<c_char>()) }.to_str().expect("plain");
        for kind in Kind::ALL {
            let place = kind.fresh();
            let region = create(&place.address, &options(size)).expect("there is room");
            region.copy_in(0, b"inner").expect("it fits");
            if kind.is_named() {
                region.unlink().expect("the name is its own");
            }
            region.closed();
        }
        assert!(list(SHMKIT_LIST_ALL).is_ok());
        assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty(), "gc found what is being made");
        let short = RegionOptions { timeout_ns: 20_000_000, ..options(0) };
        let opened = status_of(&open(own, &short));
        let expected = if own.starts_with("sysv:") { Status::ErrTimeout } else { Status::ErrNotFound };
        assert_eq!(opened, if own.contains('/') || own.starts_with("sysv:") { expected } else { Status::ErrBackend });
        // SAFETY: the region's own memory.
        unsafe { data.cast::<u8>().write(7) };
        0
    }
    in_a_room!("a_callback_may_use_the_library", || over(&Kind::ALL, |place| {
        let address = c(&place.address);
        let user = address.as_ptr().cast_mut().cast();
        let wanted = RegionOptions { init: Some(busy), init_user: user, ..options(5000) };
        // Not by `create`: what fails in the callback is the last failure of this thread.
        let mut handle = NO_REGION;
        // SAFETY: the strings and structs are good.
        let status = unsafe { shmkit_region_create(address.as_ptr(), &wanted, &mut handle) };
        assert_eq!(status, 0, "{}", support::message());
        let region = Region(handle);
        assert_eq!(region.bytes(0, 1), [7]);
        // A callback that is shown a participant may close the region under its feet.
        unsafe extern "C" fn shut(_: *const RegionParticipant, user: *mut c_void) -> i32 {
            shmkit_region_close(user.cast())
        }
        if place.kind.is_named() {
            region.unlink().expect("the name is its own");
        }
        // SAFETY: the callback gets the handle that it expects.
        assert_eq!(unsafe { shmkit_region_participants(region.0, Some(shut), region.0.cast()) }, 0);
        refused(region.stat(), Status::ErrBadHandle);
    }));
}

/// Offsets and sizes beyond 4 GiB.
#[test]
fn sizes_beyond_four_gigabytes() {
    in_a_room!("sizes_beyond_four_gigabytes", || over(&[File, Memfd, Anon], |place| {
        const GIB: usize = 1 << 30;
        let large = if place.kind == File { 5 * GIB + 3 } else { 1024 * GIB + 3 };
        let most = large + GIB;
        let wanted = RegionOptions { max_size: most as u64, space: SHMKIT_SPACE_LAZY, ..options(large) };
        let region = create(&place.address, &wanted).expect("it takes no space");
        for at in [0, 4 * GIB - PAGE - 4, 4 * GIB - 4, 4 * GIB, large - 8] {
            region.copy_in(at, &at.to_ne_bytes()).expect("it fits");
        }
        for at in [0, 4 * GIB - PAGE - 4, 4 * GIB, large - 8] {
            assert_eq!(region.bytes(at, 8), at.to_ne_bytes());
        }
        refused(region.copy_in(large - 7, &[0; 8]), Status::ErrPastEnd).names(&large.to_string());
        region.grow(most).expect("max_size allows it");
        region.copy_in(most - 1, b"x").expect("it fits");
        assert_eq!((region.size(), region.bytes(large - 8, 8)), (most, (large - 8).to_ne_bytes().to_vec()));
        let stat = region.stat().expect("it is open");
        assert!(stat.object_size > most as u64 && stat.reserved < GIB as u64, "{} {}", stat.object_size, stat.reserved);
        region.protect(4 * GIB, PAGE, libc::PROT_READ).expect("whole pages can be protected");
        region.advise(large & !(PAGE - 1), SHMKIT_TO_END, libc::MADV_DONTNEED).expect("it loses nothing");
        assert_eq!(region.bytes(most - 1, 1), b"x");
        region.closed();
    }));
}

#[test]
fn a_creator_at_work_is_waited_for() {
    use std::ffi::c_void;
    unsafe extern "C" fn stay(_: *mut c_void, _: usize, user: *mut c_void) -> i32 {
        // SAFETY: the descriptor that was given below.
        unsafe { libc::write(user as i32, b"+".as_ptr().cast(), 1) };
        loop {
            // SAFETY: takes no pointers.
            unsafe { libc::pause() };
        }
    }
    in_a_room!("a_creator_at_work_is_waited_for", || over(&Kind::NAMED, |place| {
        let mut ends = [0; 2];
        // SAFETY: the ends are writable; the child is killed and waited for below.
        unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let child = libc::fork();
            if child == 0 {
                let wanted =
                    RegionOptions { init: Some(stay), init_user: ends[1] as usize as *mut c_void, ..options(100) };
                let _never_ends = create(&place.address, &wanted);
                libc::_exit(1);
            }
            let mut byte = 0u8;
            assert_eq!(libc::read(ends[0], (&raw mut byte).cast(), 1), 1);
            // The creator is in its callback: it is not there yet, and nobody else may begin.
            unsafe extern "C" fn never(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
                panic!("a second callback ran")
            }
            let short = RegionOptions { timeout_ns: 50_000_000, init: Some(never), ..options(100) };
            let opened = open(&place.address, &short);
            let expected = if place.kind == Sysv { Status::ErrTimeout } else { Status::ErrNotFound };
            refused(opened, expected);
            refused(open_or_create(&place.address, &short), Status::ErrTimeout).names("process");
            refused(create(&place.address, &short), Status::ErrTimeout);
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty(), "gc took it from under its creator");
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
            close_all(&ends);
        }
        // It died: whoever wants it next takes over, and what it left can be named until then.
        let left = left_over();
        println!("{:?}: a creator that died in its callback left {left:?}", place.kind);
        let named = if place.kind == Sysv {
            refused(open(&place.address, &options(0)), Status::ErrUnfinished)
        } else {
            refused(open(&place.address, &options(0)), Status::ErrNotFound)
        };
        named.names(if place.kind == Sysv { "died" } else { &place.address });
        unsafe extern "C" fn fill(data: *mut c_void, _: usize, _: *mut c_void) -> i32 {
            // SAFETY: the region's own memory.
            unsafe { data.cast::<u8>().write(3) };
            0
        }
        let wanted = RegionOptions { init: Some(fill), ..options(100) };
        let (region, created) = open_or_create(&place.address, &wanted).expect("a dead creator is in nobody's way");
        assert!(created);
        assert_eq!(region.bytes(0, 2), [3, 0]);
        region.unlink().expect("the name is its own");
        region.closed();
        assert!(left_over().is_empty());
    }));
}
