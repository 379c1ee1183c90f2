//! Every resource at its end: an error with figures, nothing left behind, no signal.

use std::ffi::c_void;
use std::os::fd::IntoRawFd;

use crate::in_a_room;
use crate::room::Kind::{Memfd, Posix, Sysv};
use crate::room::*;

unsafe extern "C" fn agree(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
    0
}

/// Takes all descriptors that the limit leaves but `free`.
fn use_up(free: usize) -> Vec<i32> {
    let mut all = Vec::new();
    loop {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::dup(0) };
        if fd < 0 {
            break;
        }
        all.push(fd);
    }
    close_all(&all.split_off(all.len() - free));
    all
}

#[test]
fn descriptors_used_up() {
    in_a_room!("descriptors_used_up", || {
        // Standard input may be closed by who runs the tests.
        let null = std::fs::File::open("/dev/null").expect("it is there").into_raw_fd();
        // SAFETY: takes no pointers; nobody else uses the number.
        assert_eq!(unsafe { libc::dup2(null, 0) }, 0);
        close_all(&[null]);
        set_limit(libc::RLIMIT_NOFILE, 64);
        let mut refusals = 0;
        over(&Kind::ALL, |place| {
            let before = Traces::look();
            for init in [None, Some(agree as unsafe extern "C" fn(*mut c_void, usize, *mut c_void) -> i32)] {
                let wanted = RegionOptions { init, ..options(100) };
                for free in 0..4 {
                    let taken = use_up(free);
                    let made = [
                        create(&place.address, &wanted),
                        open_or_create(&place.address, &wanted).map(|(region, _)| region),
                    ];
                    close_all(&taken);
                    for one in made {
                        match one {
                            Ok(region) => {
                                assert!(free > 0 || place.kind == Sysv);
                                if place.kind.is_named() && place.is_taken() {
                                    unlink(&place.address).expect("the name is there");
                                }
                                region.closed();
                            }
                            Err(refusal) if refusal.status == Status::ErrExists => {}
                            Err(refusal) => {
                                assert_eq!(
                                    (refusal.status, refusal.errno),
                                    (Status::ErrLimit, libc::EMFILE),
                                    "{refusal:?}"
                                );
                                refusal.names("64");
                            }
                        }
                    }
                    assert_eq!(Traces::look(), before, "{free} descriptors were free");
                }
            }
        });
        // What needs one for a moment.
        let place = Posix.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
        let taken = use_up(0);
        let mut limit = |outcome: Outcome<()>| {
            refused(outcome, Status::ErrLimit).names("64");
            refusals += 1;
        };
        limit(region.send(ours, SHMKIT_SEND_READ_WRITE));
        limit(open(&place.address, &options(0)).map(drop));
        limit(unlink(&place.address));
        limit(is_orphan(&place.address).map(drop));
        limit(list(SHMKIT_LIST_ALL).map(drop));
        limit(gc(SHMKIT_GC_DRY_RUN).map(drop));
        limit(recv(theirs, &options(0)).map(drop));
        // What does not need one.
        region.copy_in(0, b"x").expect("it fits");
        assert_eq!((region.size(), region.bytes(0, 1)), (100, b"x".to_vec()));
        region.stat().expect("it is open");
        region.participants().expect("it has leases");
        close_all(&taken);
        close_all(&[ours, theirs]);
        region.unlink().expect("the name is its own");
        region.closed();
        println!("{refusals} calls without a free descriptor");
    });
}

#[test]
fn address_space_used_up() {
    in_a_room!("address_space_used_up", || {
        set_limit(libc::RLIMIT_AS, 1 << 30);
        over(&Kind::ALL, |place| {
            let before = Traces::look();
            let two = 2usize << 30;
            let mut cases = vec![
                RegionOptions { space: SHMKIT_SPACE_LAZY, ..options(two) },
                RegionOptions { space: SHMKIT_SPACE_LAZY, ..raw(two) },
            ];
            if place.kind != Sysv {
                cases.push(RegionOptions { max_size: two as u64, ..options(100) });
                cases.push(RegionOptions { max_size: 1 << 46, ..options(100) });
            }
            for wanted in cases {
                let refusal =
                    refused(create(&place.address, &wanted), Status::ErrNoMemory).names(&(1u64 << 30).to_string());
                assert_eq!(refusal.errno, libc::ENOMEM);
                refused(open_or_create(&place.address, &wanted), Status::ErrNoMemory);
                assert_eq!(Traces::look(), before);
                assert!(!place.is_taken());
            }
            // One that another process made.
            if place.kind.is_named() {
                support::in_good_child(|| {
                    set_limit(libc::RLIMIT_AS, u64::MAX);
                    let wanted = RegionOptions { space: SHMKIT_SPACE_LAZY, ..options(two) };
                    create(&place.address, &wanted).expect("there is room").closed();
                });
                refused(open(&place.address, &options(0)), Status::ErrNoMemory).names(&(1u64 << 30).to_string());
                if place.kind == Sysv {
                    // Nothing is removed that was not looked into, and this kind is looked into as a whole.
                    refused(unlink(&place.address), Status::ErrNoMemory).names(&(1u64 << 30).to_string());
                    support::in_good_child(|| {
                        set_limit(libc::RLIMIT_AS, u64::MAX);
                        unlink(&place.address).expect("the name is there");
                    });
                } else {
                    unlink(&place.address).expect("the name is there");
                }
                assert_eq!(Traces::look(), before);
            }
        });
    });
}

#[test]
fn files_no_larger_than_the_limit() {
    in_a_room!("files_no_larger_than_the_limit", || {
        // SIGXFSZ does what it does in any program.
        // SAFETY: takes no pointers.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
        over(&Kind::WITH_FD, |place| {
            let wide = RegionOptions { max_size: MIB as u64, ..options(100) };
            let existing = place.kind.fresh();
            let grown = create(&existing.address, &wide).expect("there is room");
            // As much as the header needs, less than that, nothing.
            for limit in [64 << 10, 4096, 300, 100, 0u64] {
                set_limit(libc::RLIMIT_FSIZE, limit);
                let before = Traces::look();
                for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_LAZY, SHMKIT_SPACE_POPULATE] {
                    for base in [options(MIB), raw(MIB)] {
                        let refusal =
                            refused(create(&place.address, &RegionOptions { space, ..base }), Status::ErrTooBig);
                        refusal.names(&limit.to_string()).names("RLIMIT_FSIZE");
                    }
                }
                assert_eq!(Traces::look(), before);
                refused(grown.grow(MIB), Status::ErrTooBig).names(&limit.to_string());
                // This would make nothing longer; the new size is written all the same.
                if limit < 2 * PAGE as u64 {
                    refused(grown.grow(200), Status::ErrTooBig).names(&limit.to_string()).names("RLIMIT_FSIZE");
                }
                assert_eq!(grown.size(), 100);
                // What is there already is not made larger by opening it.
                if place.kind.is_named() {
                    let peer = open(&existing.address, &options(0)).expect("opening makes nothing larger");
                    peer.copy_in(0, b"x").expect("it fits");
                    assert_eq!(peer.participants().expect("it has leases").len(), 2);
                    support::in_good_child(|| assert_eq!(peer.bytes(0, 1), b"x"));
                    peer.closed();
                    assert!(left_over().is_empty());
                }
                let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
                grown.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
                recv(theirs, &options(0)).expect("receiving makes nothing larger").closed();
                close_all(&[ours, theirs]);
            }
            set_limit(libc::RLIMIT_FSIZE, u64::MAX);
            grown.grow(MIB).expect("max_size allows it");
            grown.closed();
        });
    });
}

#[test]
fn a_file_system_that_is_full() {
    in_a_room!("a_file_system_that_is_full", || {
        let place = Posix.fresh();
        let wide = RegionOptions { max_size: 1 << 40, ..options(100) };
        let region = create(&place.address, &wide).expect("there is room");
        let before = Traces::look();
        let other = Posix.fresh();
        for wanted in [options(300 << 20), raw(300 << 20)] {
            let refusal = refused(create(&other.address, &wanted), Status::ErrNoSpace);
            refusal.names("free").names(&(256u64 << 20).to_string());
            assert_eq!(Traces::look(), before);
        }
        let reserved = region.stat().expect("it is open").reserved;
        refused(region.grow(300 << 20), Status::ErrNoSpace).names("free");
        let stat = region.stat().expect("it is open");
        assert_eq!((stat.size, stat.reserved, stat.generation), (100, reserved, 0), "a failed growth kept space");
        region.grow(1 << 20).expect("that fits");
        region.closed();
    });
}

fn tune(file: &str, value: &str) {
    std::fs::write(format!("/proc/sys/kernel/{file}"), value).expect("the IPC namespace is ours");
}

#[test]
fn segments_used_up() {
    in_a_room!("segments_used_up", || {
        let place = Sysv.fresh();
        let before = Traces::look();
        let refuse = |wanted: &RegionOptions, status, figures: [&str; 2]| {
            for _ in 0..2 {
                let mut refusal = refused(create(&place.address, wanted), status);
                for figure in figures {
                    refusal = refusal.names(figure);
                }
                refused(open_or_create(&place.address, wanted), status);
                assert_eq!(Traces::look(), before, "a refused creation left something");
            }
        };
        tune("shmmni", "0");
        refuse(&options(100), Status::ErrLimit, ["0", "SHMMNI"]);
        refuse(&raw(100), Status::ErrLimit, ["0", "SHMMNI"]);
        tune("shmmni", "1");
        create(&place.address, &options(100))
            .map(|region| (region.unlink(), region.closed()))
            .expect("one is allowed")
            .0
            .expect("own");
        tune("shmmni", "4096");
        tune("shmall", "10");
        refuse(&options(10 * PAGE), Status::ErrNoSpace, [&(11 * PAGE).to_string(), "SHMALL"]);
        refuse(&raw(11 * PAGE), Status::ErrNoSpace, [&(10 * PAGE).to_string(), &(11 * PAGE).to_string()]);
        tune("shmall", "1000000");
        tune("shmmax", "8192");
        refuse(&options(8192), Status::ErrTooBig, ["8192", "SHMMAX"]);
        refuse(&raw(8193), Status::ErrTooBig, ["8192", "8193"]);
        let region = create(&place.address, &options(4096)).expect("that is allowed");
        region.unlink().expect("the name is its own");
        region.closed();
    });
}

#[test]
fn semaphores_used_up() {
    in_a_room!("semaphores_used_up", || {
        let place = Sysv.fresh();
        let count = semaphores_of_a_region();
        let (before, less) = (Traces::look(), count - 1);
        // The most of a set, of all, of an operation, of sets.
        for (limits, figures) in [
            ("32000 1024000000 500 0".to_string(), ["0 of the 0", "SEMMNI"]),
            (format!("32000 {less} 500 32000"), [&*format!("0 of the {less}"), "SEMMNS"]),
            (format!("{less} 1024000000 500 32000"), [&*format!("may have {less}"), "SEMMSL"]),
            ("32000 1024000000 1 32000".to_string(), ["may have 1", "SEMOPM"]),
            ("32000 1024000000 4 32000".to_string(), ["may have 4", "SEMOPM"]),
        ] {
            tune("sem", &limits);
            for _ in 0..2 {
                let mut refusal = refused(create(&place.address, &options(100)), Status::ErrLimit);
                for figure in figures {
                    refusal = refusal.names(figure);
                }
                refused(open_or_create(&place.address, &options(100)), Status::ErrLimit);
                assert_eq!(Traces::look(), before, "{limits}: a refused creation left something");
            }
            let plain = create(&place.address, &raw(100)).expect("a raw region has no semaphores");
            plain.unlink().expect("the name is its own");
            plain.closed();
        }
        // One set is enough for one region, and a second region needs another.
        tune("sem", &format!("{count} {count} 8 1"));
        let region = create(&place.address, &options(100)).expect("that is enough");
        let peer = open(&place.address, &options(0)).expect("it is there");
        assert_eq!(region.participants().expect("it has leases").len(), 2);
        peer.closed();
        let other = Sysv.fresh();
        refused(create(&other.address, &options(100)), Status::ErrLimit).names("1");
        assert!(!other.is_taken());
        region.unlink().expect("the name is its own");
        region.closed();
    });
}

/// More than the machine has. The kernel would go on reserving until it has to kill processes: this one first.
#[test]
fn more_memory_than_there_is() {
    in_a_room!("more_memory_than_there_is", || {
        let info = std::fs::read_to_string("/proc/meminfo").expect("/proc is there");
        let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("it is told");
        let total =
            line.trim().strip_suffix(" kB").and_then(|text| text.parse::<usize>().ok()).expect("a number") * 1024;
        over(&[Sysv, Memfd, Kind::Anon], |place| {
            let before = Traces::look();
            for size in [total, 4 * total, 1 << 46] {
                for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_POPULATE] {
                    for base in [options(size), raw(size)] {
                        let refusal = create(&place.address, &RegionOptions { space, ..base }).expect_err("too much");
                        // System V accounts for it before the library does.
                        let early = [Status::ErrNoMemory, Status::ErrNoSpace];
                        let expected = if place.kind == Sysv { &early[..] } else { &early[1..] };
                        assert!(expected.contains(&refusal.status), "{refusal:?}");
                        if refusal.status == Status::ErrNoSpace {
                            let header = if base.raw == 1 { 0 } else { PAGE };
                            refusal.names("available").names(&(size + header).to_string());
                        }
                        assert_eq!(Traces::look(), before);
                    }
                }
            }
            if place.kind != Sysv {
                let region =
                    create(&place.address, &RegionOptions { max_size: 1 << 46, ..options(100) }).expect("room");
                refused(region.grow(4 * total), Status::ErrNoSpace).names("available");
                assert_eq!((region.size(), region.stat().expect("it is open").generation), (100, 0));
                region.grow(MIB).expect("that there is");
                region.closed();
            }
        });
    });
}

/// More than 2 GiB in one copy: the kernel moves no more at once.
#[test]
fn a_copy_of_more_than_the_kernel_moves_at_once() {
    in_a_room!("a_copy_of_more_than_the_kernel_moves_at_once", || {
        let size = (2usize << 30) + 2 * PAGE;
        let wanted = RegionOptions { space: SHMKIT_SPACE_LAZY, ..options(size) };
        // A file, which needs no memory; and a buffer that is one small object, mapped again and again.
        let place = Kind::File.fresh();
        let region = create(&place.address, &wanted).expect("it is sparse");
        let step = 64 * MIB;
        // SAFETY: new mappings, over a range that was reserved for them.
        unsafe {
            let fd = libc::memfd_create(c"buffer".as_ptr(), libc::MFD_CLOEXEC);
            assert_eq!(libc::ftruncate(fd, step as i64), 0);
            let room = size.next_multiple_of(step);
            let at = libc::mmap(
                std::ptr::null_mut(),
                room,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            for offset in (0..room).step_by(step) {
                let to = libc::mmap(at.add(offset), step, 3, libc::MAP_SHARED | libc::MAP_FIXED, fd, 0);
                assert_ne!(to, libc::MAP_FAILED);
            }
            assert_eq!(libc::close(fd), 0);
            region.copy_in(size - 4, b"last").expect("it fits");
            let done = called("shmkit_region_copy_out", || shmkit_region_copy_out(region.0, 0, at, size));
            done.expect("a large copy is a copy");
            let end = std::slice::from_raw_parts(at.cast::<u8>().add(size - 4), 4);
            assert_eq!(end, b"last");
            assert_eq!(libc::munmap(at, room), 0);
        }
        region.closed();
        let _small = Memfd.fresh();
    });
}
