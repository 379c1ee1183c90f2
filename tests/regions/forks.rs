//! What a forked child has of a region: memory that was kept from it, leases of its own, advice that it inherits.
//! Next: `tests/region_peers.rs`, where processes fork and die in every way.

use crate::in_a_room;
use crate::no_tmpfile::{DIE, Denial, deny};
use crate::room::Kind::{File, Posix, Sysv};
use crate::room::*;

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Whether nothing is mapped on the page at an address.
fn is_free(address: *mut u8) -> bool {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: the flag replaces nothing; what it maps is unmapped at once.
    unsafe {
        let found = libc::mmap(address.cast(), PAGE, libc::PROT_NONE, flags, -1, 0);
        found != libc::MAP_FAILED && libc::munmap(found, PAGE) == 0
    }
}

#[test]
fn memory_kept_from_children() {
    in_a_room!("memory_kept_from_children", || over(&Kind::ALL, |place| {
        let region = create(&place.address, &options(8 * PAGE)).expect("there is room");
        for page in 0..8 {
            region.copy_in(page * PAGE, &[b'a' + page as u8]).expect("it fits");
        }
        for page in [2, 3, 6] {
            region.advise(page * PAGE, PAGE, libc::MADV_DONTFORK).expect("it is known");
        }
        let in_a_child = || {
            for page in [0, 1, 4, 5, 7] {
                assert_eq!(region.bytes(page * PAGE, 1), [b'a' + page as u8], "page {page} was not kept from it");
            }
            region.copy_in(PAGE, b"b").expect("that page is there");
            for page in [2, 3, 6] {
                refused(region.copy_out(page * PAGE, &mut [0]), Status::ErrAccess).names("kept");
                refused(region.copy_in(page * PAGE, b"x"), Status::ErrAccess).names("kept");
                // What lay there would pass for the region's, and go with it.
                // SAFETY: the page lies within what the region had in the parent.
                assert!(!is_free(unsafe { region.data().add(page * PAGE) }), "page {page}");
            }
            refused(region.copy_out(0, &mut [0; 3 * PAGE]), Status::ErrAccess).names("kept");
            refused(region.protect(2 * PAGE, PAGE, RW), Status::ErrAccess).names("kept");
            refused(region.advise(0, SHMKIT_TO_END, libc::MADV_WILLNEED), Status::ErrAccess).names("kept");
            refused(region.lock(3 * PAGE, 1), Status::ErrAccess).names("kept");
            region.lock(7 * PAGE, PAGE).expect("that page is there");
        };
        in_good_child(|| {
            in_a_child();
            // Nor do its own children have it.
            in_good_child(in_a_child);
            let data = region.data();
            region.closed();
            for page in 0..8 {
                // SAFETY: as above.
                assert!(is_free(unsafe { data.add(page * PAGE) }), "a close left page {page}");
            }
        });
        // The bytes are there, and so is the memory in the next child when that is wanted.
        region.advise(0, SHMKIT_TO_END, libc::MADV_DOFORK).expect("it is known");
        in_good_child(|| assert_eq!(region.bytes(2 * PAGE, 1), b"c"));
        region.closed();
    }));
}

#[test]
fn a_child_without_the_data_has_a_lease_of_its_own() {
    in_a_room!("a_child_without_the_data_has_a_lease_of_its_own", || over(&[Posix, File], |place| {
        let region = create(&place.address, &options(2 * PAGE)).expect("there is room");
        region.advise(0, SHMKIT_TO_END, libc::MADV_DONTFORK).expect("it is known");
        let mut children = Children::default();
        children.start(|| assert_eq!(region.participants().expect("it has leases").len(), 2));
        region.closed();
        let peer = open(&place.address, &options(0)).expect("it is there");
        let all = peer.participants().expect("it has leases");
        assert_eq!(all.len(), 2, "a lease that was given back is still held");
        children.kill();
        assert_eq!(peer.participants().expect("it has leases").len(), 1);
        peer.closed();
    }));
}

/// The flags that /proc shows for the mapping of an address.
fn flags_of(address: *mut u8) -> String {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("/proc is there");
    let mut within = false;
    for line in maps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        if let Some((Ok(from), Ok(to))) =
            range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)))
        {
            within = (from..to).contains(&address.addr());
        }
        if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| within) {
            return flags.to_string();
        }
    }
    panic!("{address:?} is not mapped");
}

#[test]
fn advice_that_children_inherit() {
    in_a_room!("advice_that_children_inherit", || over(&Kind::ALL, |place| {
        let region = create(&place.address, &options(4 * PAGE)).expect("there is room");
        // SAFETY: the page lies in the data.
        let at = |page: usize| flags_of(unsafe { region.data().add(page * PAGE) });
        let has = |page: usize, flag: &str| at(page).split_whitespace().any(|one| one == flag);
        region.advise(PAGE, PAGE, libc::MADV_DONTDUMP).expect("it is known");
        assert!(has(1, "dd") && !has(2, "dd"));
        in_good_child(|| {
            assert!(has(1, "dd"), "a core of the child would have the page: {}", at(1));
            assert!(!has(0, "dd") && !has(2, "dd"), "a core of the child would lack {} or {}", at(0), at(2));
            in_good_child(|| assert!(has(1, "dd"), "{}", at(1)));
        });
        region.advise(0, SHMKIT_TO_END, libc::MADV_DODUMP).expect("it is known");
        in_good_child(|| assert!(!has(1, "dd"), "{}", at(1)));
        // Not every kernel has huge pages.
        if region.advise(0, SHMKIT_TO_END, libc::MADV_HUGEPAGE).is_ok() {
            let before = has(1, "hg");
            in_good_child(|| assert_eq!(has(1, "hg"), before, "{}", at(1)));
        }
        region.closed();
    }));
}

/// A child that dies before it has leases of its own keeps nobody's alive, and takes nothing from its parent.
#[test]
fn a_child_dies_on_its_way_to_leases_of_its_own() {
    in_a_room!("a_child_dies_on_its_way_to_leases_of_its_own", || over(&Kind::ALL, |place| {
        // What the way leads through, and whether every kind goes there.
        let calls = match place.kind {
            Sysv => vec![("semtimedop", libc::SYS_semtimedop)],
            _ => vec![
                ("fcntl", libc::SYS_fcntl),
                ("openat", libc::SYS_openat),
                ("newfstatat", libc::SYS_newfstatat),
                ("pwrite64", libc::SYS_pwrite64),
                ("mmap", libc::SYS_mmap),
                ("dup3", libc::SYS_dup3),
            ],
        };
        let region = create(&place.address, &options(5000)).expect("there is room");
        region.copy_in(4000, b"kept").expect("it fits");
        for (name, call) in calls {
            let forker = support::in_child(|| {
                deny(&[Denial { call, bits: None, answer: DIE }]);
                // Only the renewal makes the call: what follows is the child's end, and its parent's.
                // SAFETY: the child leaves at once, if it gets so far; the status is writable.
                unsafe {
                    let child = libc::fork();
                    if child == 0 {
                        libc::_exit(0);
                    }
                    let mut status = 0;
                    libc::waitpid(child, &mut status, 0);
                    i32::from(!libc::WIFSIGNALED(status) || libc::WTERMSIG(status) != libc::SIGSYS)
                }
            });
            assert_eq!(forker, 0, "{name}: the child does not go there, or its parent does: {forker:#x}");
            assert_eq!(region.participants().expect("it has leases").len(), 1, "{name}");
            assert_eq!(region.bytes(4000, 4), b"kept", "{name}");
            region.copy_in(0, name.as_bytes()).expect("it fits");
        }
        region.closed();
        if place.kind.is_named() {
            assert_eq!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_YES);
        }
    }));
}
