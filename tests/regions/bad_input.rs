//! Wrong arguments of every kind, to every function: an error with words, nothing written, nothing made, no crash.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{null, null_mut};

use crate::in_a_room;
use crate::room::*;
use shmkit::capi::error::shmkit_clear_error;

/// Addresses at which nothing of a program can be: null, the first page, the kernel's half, the hole between.
const WILD: [usize; 6] = [0, 1, 8, 4095, 0x8000_0000_0000_0000, usize::MAX - 7];

type OpenFn = unsafe extern "C" fn(*const c_char, *const RegionOptions, *mut *mut shmkit_region_t) -> i32;

unsafe extern "C" fn either(
    address: *const c_char,
    options: *const RegionOptions,
    region: *mut *mut shmkit_region_t,
) -> i32 {
    // SAFETY: the caller's promises.
    unsafe { shmkit_region_open_or_create(address, options, region, null_mut()) }
}

const OPENERS: [(&str, OpenFn); 3] = [
    ("shmkit_region_create", shmkit_region_create),
    ("shmkit_region_open", shmkit_region_open),
    ("shmkit_region_open_or_create", either),
];

/// The call failed with this status and owes nothing; counts it.
#[track_caller]
fn bad(count: &mut usize, function: &str, status: Status, call: impl FnOnce() -> i32) -> Refusal {
    *count += 1;
    refused(called(function, call), status)
}

#[test]
fn pointers_that_lead_nowhere() {
    in_a_room!("pointers_that_lead_nowhere", || {
        let mut count = 0;
        let wanted = options(10);
        let place = Kind::Posix.fresh();
        let address = c(&place.address);
        let region = create(&place.address, &wanted).expect("there is room");
        let before = Traces::look();
        let mut handle = NO_REGION;
        let pointer = Status::ErrBadPointer;
        // SAFETY: these are the calls' documented answers to addresses that cannot be read or written.
        unsafe {
            for at in WILD {
                for (function, call) in OPENERS {
                    bad(&mut count, function, pointer, || call(at as *const c_char, &wanted, &mut handle));
                    bad(&mut count, function, pointer, || call(address.as_ptr(), &wanted, at as *mut _));
                    if at != 0 {
                        bad(&mut count, function, pointer, || call(address.as_ptr(), at as *const _, &mut handle));
                    }
                    let named = RegionOptions {
                        layout: RegionLayout { name: at as *const _, size: 1, version: 1, alignment: 1 },
                        ..wanted
                    };
                    if at != 0 {
                        bad(&mut count, function, pointer, || call(address.as_ptr(), &named, &mut handle));
                    }
                }
                if at != 0 {
                    let function = "shmkit_region_open_or_create";
                    bad(&mut count, function, pointer, || {
                        shmkit_region_open_or_create(address.as_ptr(), &wanted, &mut handle, at as *mut bool)
                    });
                    bad(&mut count, "shmkit_region_recv", pointer, || {
                        shmkit_region_recv(0, at as *const _, &mut handle)
                    });
                    bad(&mut count, "shmkit_gc", pointer, || {
                        shmkit_gc(SHMKIT_GC_DRY_RUN, None, null_mut(), at as *mut _)
                    });
                }
                bad(&mut count, "shmkit_region_recv", pointer, || shmkit_region_recv(0, null(), at as *mut _));
                bad(&mut count, "shmkit_unlink", pointer, || shmkit_unlink(at as *const c_char));
                let mut answer = 7;
                bad(&mut count, "shmkit_region_is_orphan", pointer, || {
                    shmkit_region_is_orphan(at as *const c_char, &mut answer)
                });
                bad(&mut count, "shmkit_region_is_orphan", pointer, || {
                    shmkit_region_is_orphan(address.as_ptr(), at as *mut _)
                });
                assert_eq!(answer, 7);
                bad(&mut count, "shmkit_region_stat", pointer, || shmkit_region_stat(region.0, at as *mut _));
                let (mut data, mut size) = (0x77 as *mut c_void, 0x77);
                let function = "shmkit_region_access_begin";
                bad(&mut count, function, pointer, || shmkit_region_access_begin(region.0, at as *mut _, &mut size));
                bad(&mut count, function, pointer, || shmkit_region_access_begin(region.0, &mut data, at as *mut _));
                assert_eq!((data.addr(), size), (0x77, 0x77));
            }
            // Between the bytes of what must be aligned.
            let mut room = [0u64; 64];
            for shift in [1usize, 2, 3, 4, 7] {
                let at = room.as_mut_ptr().cast::<u8>().add(shift);
                for (function, call) in OPENERS {
                    bad(&mut count, function, pointer, || call(address.as_ptr(), &wanted, at.cast()));
                    bad(&mut count, function, pointer, || call(address.as_ptr(), at.cast(), &mut handle));
                }
                bad(&mut count, "shmkit_region_stat", pointer, || shmkit_region_stat(region.0, at.cast()));
                bad(&mut count, "shmkit_gc", pointer, || shmkit_gc(SHMKIT_GC_DRY_RUN, None, null_mut(), at.cast()));
                bad(&mut count, "shmkit_region_recv", pointer, || shmkit_region_recv(0, null(), at.cast()));
                let mut size = 0;
                bad(&mut count, "shmkit_region_access_begin", pointer, || {
                    shmkit_region_access_begin(region.0, at.cast(), &mut size)
                });
                if shift < 4 {
                    bad(&mut count, "shmkit_region_is_orphan", pointer, || {
                        shmkit_region_is_orphan(address.as_ptr(), at.cast())
                    });
                }
            }
            assert_eq!(room, [0; 64]);
            bad(&mut count, "shmkit_list", pointer, || shmkit_list(SHMKIT_LIST_ALL, None, null_mut()));
            bad(&mut count, "shmkit_region_participants", pointer, || {
                shmkit_region_participants(region.0, None, null_mut())
            });
        }
        assert_eq!((handle, Traces::look()), (NO_REGION, before));
        region.closed();
        println!("{count} calls with pointers that lead nowhere");
        assert!(count > 150, "{count}");
    });
}

/// Options of a program that was built with another version.
#[repr(C)]
struct Larger {
    known: RegionOptions,
    unknown: [u64; 2],
}

#[test]
fn structs_of_other_versions() {
    in_a_room!("structs_of_other_versions", || {
        const SIZE: usize = size_of::<RegionOptions>();
        let mut count = 0;
        let mut larger = Larger { known: options(10), unknown: [0; 2] };
        for kind in Kind::ALL {
            let place = kind.fresh();
            let address = c(&place.address);
            let mut handle = NO_REGION;
            for size in [0, 1, 8, SIZE - 8, SIZE - 1, 4097, 1 << 32, usize::MAX] {
                larger.known.struct_size = size;
                for (function, call) in OPENERS {
                    // SAFETY: the struct is longer than what is read of it.
                    let refusal = bad(&mut count, function, Status::ErrInvalidArgument, || unsafe {
                        call(address.as_ptr(), (&raw const larger).cast(), &mut handle)
                    });
                    refusal.names("struct_size");
                }
            }
            // A newer program that sets what this version does not know, and some that do not. The last sets a byte
            // behind the end of its struct.
            let whole = size_of::<Larger>();
            for (size, tail, is_known) in [
                (whole, [0, 1 << 56], false),
                (whole, [1, 0], false),
                (SIZE + 4, [0xff00_0000, 0], false),
                (whole, [0, 0], true),
                (SIZE + 3, [0xff00_0000, 0], true),
            ] {
                larger.known.struct_size = size;
                larger.unknown = tail;
                // SAFETY: as above.
                let made = called("shmkit_region_open_or_create", || unsafe {
                    either(address.as_ptr(), (&raw const larger).cast(), &mut handle)
                });
                assert_eq!(made.is_ok(), is_known, "{size} {tail:?}: {made:?}");
                count += 1;
                if is_known {
                    Region(std::mem::replace(&mut handle, NO_REGION)).closed();
                }
                assert_eq!(handle, NO_REGION);
            }
            // A stat is written as far as this version knows it.
            let region = open_or_create(&place.address, &options(10)).expect("there is room").0;
            let known = size_of::<RegionStat>();
            let mut room = [0u64; 128];
            for size in [0, 8, known - 1, known, known + 8, 1024] {
                room.fill(0x5a5a_5a5a);
                room[0] = size as u64;
                // SAFETY: the room is long enough.
                let done =
                    called("shmkit_region_stat", || unsafe { shmkit_region_stat(region.0, room.as_mut_ptr().cast()) });
                count += 1;
                match size >= known {
                    true => done.expect("it is long enough"),
                    false => drop(refused(done, Status::ErrInvalidArgument).names("struct_size")),
                }
                assert!(room[known / 8..].iter().all(|word| *word == 0x5a5a_5a5a), "more was written than is known");
                assert_eq!((room[1] == 0x5a5a_5a5a, room[1] == 10), (size < known, size >= known));
            }
            region.closed();
        }
        println!("{count} calls with structs of other versions");
    });
}

#[test]
fn numbers_out_of_their_range() {
    in_a_room!("numbers_out_of_their_range", || {
        let mut count = 0;
        for kind in Kind::ALL {
            let place = kind.fresh();
            let address = c(&place.address);
            let before = Traces::look();
            let mut check = |wanted: RegionOptions, status: Status, only_creation: bool| {
                let mut handle = NO_REGION;
                for (function, call) in OPENERS {
                    if only_creation && function == "shmkit_region_open" {
                        continue;
                    }
                    // SAFETY: the strings and structs are good.
                    bad(&mut count, function, status, || unsafe { call(address.as_ptr(), &wanted, &mut handle) });
                    assert_eq!(handle, NO_REGION);
                }
            };
            let wrong = Status::ErrInvalidArgument;
            for number in [-1, 3, 99, i32::MIN, i32::MAX] {
                check(RegionOptions { space: number, ..options(10) }, wrong, false);
                check(RegionOptions { huge_pages: number, ..options(10) }, wrong, false);
                for flag in [number, 2] {
                    check(RegionOptions { read_only: flag, ..options(10) }, wrong, false);
                    check(RegionOptions { raw: flag, ..options(10) }, wrong, false);
                    check(RegionOptions { persistent: flag, ..options(10) }, wrong, false);
                }
            }
            check(options(0), wrong, true);
            check(RegionOptions { max_size: 9, ..options(10) }, wrong, true);
            check(RegionOptions { read_only: 1, ..options(10) }, wrong, true);
            check(RegionOptions { raw: 1, max_size: 11, ..options(10) }, wrong, true);
            for size in [u64::MAX, i64::MAX as u64, 1 << 63, (i64::MAX / 2) as u64 + 1] {
                check(RegionOptions { size, ..options(10) }, Status::ErrTooBig, true);
                check(RegionOptions { max_size: size, ..options(10) }, Status::ErrTooBig, true);
            }
            // What fits a number and no machine: whichever limit comes first. Memory without a file system: limits.rs.
            for size in [1u64 << 62, (i64::MAX / 2) as u64, 1 << 57, 1 << 48] {
                for space in [SHMKIT_SPACE_LAZY, SHMKIT_SPACE_RESERVE] {
                    let wanted = RegionOptions { size, space, ..options(10) };
                    if space == SHMKIT_SPACE_RESERVE && matches!(kind, Kind::Memfd | Kind::Anon) {
                        continue;
                    }
                    let refusal = create(&place.address, &wanted).expect_err("no machine has so much");
                    count += 1;
                    let limits = [Status::ErrTooBig, Status::ErrNoMemory, Status::ErrNoSpace];
                    assert!(limits.contains(&refusal.status), "{refusal:?}");
                }
            }
            assert_eq!(Traces::look(), before, "{kind:?}");
            assert!(!place.is_taken());
        }
        unsafe extern "C" fn never(_: *const ListedObject, _: *mut c_void) -> c_int {
            panic!("called with arguments that were refused")
        }
        for what in [0, 8, 16, u32::MAX, 15] {
            // SAFETY: the callback is good.
            bad(&mut count, "shmkit_list", Status::ErrInvalidArgument, || unsafe {
                shmkit_list(what, Some(never), null_mut())
            });
        }
        for mode in [-1, 2, i32::MIN, i32::MAX] {
            let mut found = 77usize;
            // SAFETY: the callback and the place are good.
            bad(&mut count, "shmkit_gc", Status::ErrInvalidArgument, || unsafe {
                shmkit_gc(mode, Some(never), null_mut(), &mut found)
            });
            assert_eq!(found, 77);
        }
        println!("{count} calls with numbers out of their range");
    });
}

#[test]
fn addresses_that_are_none() {
    in_a_room!("addresses_that_are_none", || {
        let long = |scheme: &str, length: usize| format!("{scheme}{}", "x".repeat(length));
        let wrong = Status::ErrInvalidArgument;
        let mut cases: Vec<(String, Status)> = [
            "",
            " ",
            "t",
            "/t",
            ":",
            "posix",
            "posix:",
            "posix:t",
            "posix:/",
            "posix://",
            "posix://a",
            "posix:/a/",
            "posix:/a/b",
            "posix:/.",
            "posix:/..",
            "posix:/.shmkit-x",
            "Posix:/a",
            " posix:/a",
            "POSIX:/a",
            "sysv",
            "sysv:",
            "sysv:0",
            "sysv:0x0",
            "sysv:x",
            "sysv:0x",
            "sysv:-1",
            "sysv:+1",
            "sysv: 1",
            "sysv:1 ",
            "sysv:0x1g",
            "sysv:0x100000000",
            "sysv:4294967296",
            "sysv:99999999999999999999",
            "sysv:ftok",
            "sysv:ftok()",
            "sysv:ftok(/)",
            "sysv:ftok(/,)",
            "sysv:ftok(/,x)",
            "sysv:ftok(/,0)",
            "sysv:ftok(/,256)",
            "sysv:ftok(/,-1)",
            "sysv:ftok(/,1",
            "sysv:ftok(/,99999999999)",
            "file:",
            "file:/",
            "file:/tmp/",
            "file:x/",
            "memfd:/",
            "memfd:a/b",
            "anon",
            "anon:x",
            "anon: ",
            "shm:/t",
            "mem:x",
            "posix:\u{e9}",
            "{name}",
            "posix:{name}",
        ]
        .into_iter()
        .map(|address| (address.to_string(), wrong))
        .collect();
        for address in [long("posix:/", 256), long("posix:/", 4000), long("posix:/", 9000), long("file:/tmp/", 300)] {
            cases.push((address, Status::ErrNameTooLong));
        }
        for address in
            [long("file:/", 5000), long("memfd:", 250), long("memfd:", 5000), long("sysv:ftok(/", 5000), long("", 5000)]
        {
            cases.push((address, Status::ErrNameTooLong));
        }
        cases.push((long("sysv:ftok(/", 5000) + ",1)", Status::ErrNameTooLong));
        cases.push(("sysv:ftok(/no/such/file,1)".to_string(), Status::ErrNotFound));
        cases.push(("sysv:ftok(,1)".to_string(), Status::ErrNotFound));
        let before = Traces::look();
        let mut count = 0;
        for (address, status) in &cases {
            let text = c(address);
            let mut handle = NO_REGION;
            let mut answer = 7;
            for (function, call) in OPENERS {
                // SAFETY: the strings and structs are good.
                bad(&mut count, function, *status, || unsafe { call(text.as_ptr(), &options(10), &mut handle) });
            }
            // SAFETY: the strings and places are good.
            unsafe {
                bad(&mut count, "shmkit_unlink", *status, || shmkit_unlink(text.as_ptr()));
                bad(&mut count, "shmkit_region_is_orphan", *status, || {
                    shmkit_region_is_orphan(text.as_ptr(), &mut answer)
                });
            }
            assert_eq!((handle, answer), (NO_REGION, 7));
        }
        assert_eq!(Traces::look(), before);
        println!("{count} calls with {} addresses that are none", cases.len());
    });
}

#[test]
fn addresses_with_odd_bytes() {
    in_a_room!("addresses_with_odd_bytes", || {
        for name in [
            &b"posix:/ "[..],
            b"posix:/\n\x01\x7f",
            b"posix:/\xff\xfe",
            b"posix:/a\"b\\c{cause}",
            b"posix:/...",
            b"posix:/-rf",
            b"memfd:",
            b"memfd:\xff \n",
        ] {
            let address = std::ffi::CString::new(name).expect("no NUL inside");
            let mut handle = NO_REGION;
            // SAFETY: the strings and structs are good.
            unsafe {
                assert_eq!(
                    shmkit_region_create(address.as_ptr(), &options(10), &mut handle),
                    0,
                    "{}",
                    support::message()
                );
                let own = std::ffi::CStr::from_ptr(shmkit_region_address(handle));
                assert_eq!(own, address.as_c_str());
                if name.starts_with(b"posix:") {
                    let mut again = NO_REGION;
                    assert_eq!(
                        shmkit_region_create(address.as_ptr(), &options(10), &mut again),
                        Status::ErrExists as i32
                    );
                    assert!(support::message().is_ascii());
                    assert_eq!(shmkit_region_unlink(handle), 0);
                }
                assert_eq!(shmkit_region_close(handle), 0);
            }
        }
        // The longest that there may be.
        for address in [format!("posix:/{}", "x".repeat(255)), format!("memfd:{}", "x".repeat(249))] {
            let region = create(&address, &options(10)).expect("it is not too long");
            assert_eq!(region.address(), address);
            if address.starts_with("posix") {
                refused(create(&address, &options(10)), Status::ErrExists);
                open(&address, &options(10)).expect("it is there").closed();
                assert!(left_over().is_empty());
                region.closed();
                assert_eq!(left_over().len(), 1);
                unlink(&address).expect("the name is there");
            } else {
                region.closed();
            }
        }
        // A path of many folders, close to what Linux allows.
        let folder = tempfile::Builder::new().prefix("shmkit-regions-").tempdir().expect("/tmp is writable");
        let base = folder.path().to_str().expect("plain").to_string();
        for length in [1000, 3000, 4000, 4080] {
            let dots = "./".repeat((length - base.len() - 10) / 2);
            let address = format!("file:{base}/{dots}x");
            match create(&address, &options(10)) {
                Ok(region) => {
                    assert_eq!(region.address(), address);
                    open(&address, &options(10)).expect("it is there").closed();
                    region.unlink().expect("the name is its own");
                    region.closed();
                }
                Err(refusal) => {
                    assert!(length > 4000 && refusal.status == Status::ErrNameTooLong, "{length}: {refusal:?}")
                }
            }
        }
    });
}

#[test]
fn handles_that_are_none() {
    in_a_room!("handles_that_are_none", || {
        let place = Kind::Memfd.fresh();
        let open = create(&place.address, &options(10)).expect("there is room");
        let token = open.0.addr();
        let closed = create(&place.address, &options(10)).expect("there is room");
        closed.closed();
        let local = 0u64;
        let mut invented = vec![
            1,
            8,
            4095,
            usize::MAX,
            1 << 63,
            0x534d << 48 | 0xff_ffff,
            0x534d << 48 | 0xffff_ffff_ffff,
            (&raw const local).addr(),
            open.data().addr(),
            closed.0.addr(),
            0,
        ];
        // Every number that differs from a good handle in one bit.
        invented.extend((0..64).map(|bit| token ^ 1 << bit));
        let mut count = 0;
        for number in invented {
            if number == token {
                continue;
            }
            let region = Region(std::ptr::without_provenance_mut(number));
            // NULL may be closed, and is no handle for anything else.
            if number != 0 {
                crate::room::is_bad_handle(region);
            } else {
                refused(region.stat(), Status::ErrBadHandle);
                refused(region.copy_in(0, b"x"), Status::ErrBadHandle);
                refused(region.unlink(), Status::ErrBadHandle);
                region.close().expect("NULL is nothing to do");
            }
            count += 1;
        }
        assert_eq!(open.bytes(0, 1), [0], "an invented handle did something to a good one");
        // A slot that is used again has another number each time.
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let region = create(&place.address, &options(10)).expect("there is room");
            region.closed();
            assert!(seen.insert(region.0.addr()), "a number came again");
            refused(region.stat(), Status::ErrBadHandle);
        }
        open.closed();
        println!("{count} handles that are none, 1000 numbers of one slot");
        shmkit_clear_error();
    });
}

#[test]
fn ten_thousand_regions_in_one_process() {
    in_a_room!("ten_thousand_regions_in_one_process", || {
        set_limit(libc::RLIMIT_NOFILE, 11_000);
        let all: Vec<Region> = (0..10_000)
            .map(|index: u32| {
                let region = create("memfd:many", &options(8)).expect("there is room");
                region.copy_in(0, &index.to_ne_bytes()).expect("it fits");
                region
            })
            .collect();
        for (index, region) in all.iter().enumerate() {
            assert_eq!(region.bytes(0, 4), (index as u32).to_ne_bytes());
        }
        all.into_iter().for_each(Region::closed);
    });
}
