//! Machines on which something is missing: /proc, system calls that a filter forbids, locks, room for names. What can be
//! done without it is done; the rest is an error that says what is missing.

use std::ffi::CStr;
use std::ptr::null;

use crate::in_a_room;
use crate::no_tmpfile::{Denial, deny, error};
use crate::room::Kind::{File, Memfd, Posix, Sysv};
use crate::room::*;
use crate::support::in_good_child;

/// Puts an empty folder in the place of /proc, for this process and its children.
fn hide_proc() {
    // SAFETY: the strings are terminated; the mount namespace is this process's own.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let done = libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, null());
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
    assert!(!std::path::Path::new("/proc/self").exists());
}

/// Changes how /dev/shm is mounted; in a room it is the test's own.
fn remount(flags: libc::c_ulong, options: &CStr) {
    // SAFETY: the strings are terminated.
    let done = unsafe {
        let folder = c"/dev/shm".as_ptr();
        libc::mount(c"tmpfs".as_ptr(), folder, c"tmpfs".as_ptr(), libc::MS_REMOUNT | flags, options.as_ptr().cast())
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// What every kind of memory can do whatever is missing, in this process and in a child.
fn works(place: &Place) {
    let wide = if place.kind == Sysv { 0 } else { MIB as u64 };
    let wanted = RegionOptions { max_size: wide, ..options(5000) };
    let (region, created) = open_or_create(&place.address, &wanted).expect("there is room");
    assert!(created);
    region.copy_in(4990, b"0123456789").expect("it fits");
    if place.kind != Sysv {
        region.grow(9000).expect("max_size allows it");
        region.copy_in(8999, b"x").expect("it fits");
    }
    region.stat().expect("it is open");
    if place.kind.is_named() {
        refused(create(&place.address, &wanted), Status::ErrExists);
        let peer = open(&place.address, &options(5000)).expect("it is there");
        assert_eq!(peer.bytes(4990, 10), b"0123456789");
        peer.closed();
    }
    in_good_child(|| {
        assert_eq!(region.size(), if place.kind == Sysv { 5000 } else { 9000 });
        assert_eq!(region.bytes(4990, 10), b"0123456789");
        region.copy_in(0, b"child").expect("it fits");
        refused(region.copy_in(9000, b"x"), Status::ErrPastEnd);
        region.closed();
    });
    assert_eq!(region.bytes(0, 5), b"child");
    if place.kind.is_named() {
        region.unlink().expect("the name is its own");
    }
    region.closed();
}

#[test]
fn without_proc() {
    in_a_room!("without_proc", || over(&Kind::ALL, |place| in_good_child(|| {
        hide_proc();
        works(place);
        let region = create(&place.address, &options(10)).expect("there is room");
        if place.kind != Sysv {
            let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
            let refusal = region.send(ours, SHMKIT_SEND_READ_WRITE).expect_err("a description of its own needs /proc");
            assert_eq!(refusal.status, Status::ErrUnsupported, "{refusal:?}");
            refusal.names("/proc");
            close_all(&[ours, theirs]);
        }
        assert!(!region.participants().expect("leases need no /proc").is_empty());
        list(SHMKIT_LIST_ALL).expect("what can be seen is listed");
        gc(SHMKIT_GC_REMOVE).expect("gc needs no /proc");
        if place.kind.is_named() {
            region.unlink().expect("the name is its own");
        }
        region.closed();
    })));
}

/// As an ordinary user on an older kernel, who needs /proc to name what has none.
#[test]
fn without_an_empty_path() {
    const EMPTY: Denial =
        Denial { call: libc::SYS_linkat, bits: Some((4, libc::AT_EMPTY_PATH as u32)), answer: error(libc::ENOENT) };
    in_a_room!("without_an_empty_path", || over(&[Posix, File], |place| {
        in_good_child(|| {
            deny(&[EMPTY]);
            works(place);
        });
        in_good_child(|| {
            hide_proc();
            deny(&[EMPTY]);
            refused(create(&place.address, &options(10)), Status::ErrUnsupported).names("/proc");
            assert!(!place.is_taken());
        });
    }));
}

#[test]
fn without_copies_by_the_kernel() {
    const COPY: Denial = Denial { call: libc::SYS_process_vm_readv, bits: None, answer: error(libc::EPERM) };
    in_a_room!("without_copies_by_the_kernel", || over(&Kind::ALL, |place| in_good_child(|| {
        deny(&[COPY]);
        let region = create(&place.address, &options(100)).expect("there is room");
        if place.kind.is_fragile() {
            refused(region.copy_in(0, b"x"), Status::ErrUnsupported).names("process_vm_readv");
            refused(region.copy_out(0, &mut [0]), Status::ErrUnsupported).names("process_vm_readv");
            assert_eq!(shmkit_guard_enable(), 0);
        }
        region.copy_in(0, b"x").expect("nothing is in the way");
        assert_eq!(region.bytes(0, 1), b"x");
        region.closed();
    })));
}

#[test]
fn without_locks_of_descriptions() {
    // F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW: 36, 37, 38.
    const LOCKS: Denial = Denial { call: libc::SYS_fcntl, bits: Some((1, 36)), answer: error(libc::EINVAL) };
    in_a_room!("without_locks_of_descriptions", || over(&Kind::ALL, |place| in_good_child(|| {
        deny(&[LOCKS]);
        works(place);
        let region = create(&place.address, &options(100)).expect("there is room");
        if place.kind == Sysv {
            assert_eq!(region.participants().expect("semaphores are there").len(), 1);
        } else {
            refused(region.participants(), Status::ErrUnsupported).names("locks");
        }
        region.closed();
        if matches!(place.kind, Posix | File) {
            assert_eq!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_UNKNOWN);
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty(), "gc removed what it could not prove");
        }
        if place.kind.is_named() {
            unlink(&place.address).expect("the name is there");
        }
    })));
}

/// Kernels before 5.14 (advice), 6.3 (memfds that are not executable).
#[test]
fn on_older_kernels() {
    const ADVICE: Denial = Denial { call: libc::SYS_madvise, bits: Some((2, 23)), answer: error(libc::EINVAL) };
    const NOEXEC: Denial = Denial { call: libc::SYS_memfd_create, bits: Some((1, 8)), answer: error(libc::EINVAL) };
    const EXEC: Denial = Denial { call: libc::SYS_memfd_create, bits: Some((1, 16)), answer: error(libc::EINVAL) };
    in_a_room!("on_older_kernels", || over(&Kind::ALL, |place| in_good_child(|| {
        deny(&[ADVICE, NOEXEC, EXEC]);
        works(place);
        for mode in [0o600, 0o755] {
            let wanted = RegionOptions { space: SHMKIT_SPACE_POPULATE, mode, ..options(3 * MIB) };
            let region = create(&place.address, &wanted).expect("there is room");
            assert_eq!(region.stat().expect("it is open").mode, mode);
            region.copy_in(3 * MIB - 1, b"x").expect("it fits");
            if place.kind.is_named() {
                region.unlink().expect("the name is its own");
            }
            region.closed();
        }
    })));
}

#[test]
fn without_memfds() {
    const NONE: Denial = Denial { call: libc::SYS_memfd_create, bits: None, answer: error(libc::ENOSYS) };
    in_a_room!("without_memfds", || over(&[Memfd, Kind::Anon], |place| in_good_child(|| {
        deny(&[NONE]);
        refused(create(&place.address, &options(10)), Status::ErrUnsupported);
    })));
}

#[test]
fn a_file_system_for_reading_only() {
    in_a_room!("a_file_system_for_reading_only", || {
        let place = Posix.fresh();
        let kept = create(&place.address, &options(100)).expect("there is room");
        kept.copy_in(0, b"kept").expect("it fits");
        kept.closed();
        remount(libc::MS_RDONLY, c"");
        let other = Posix.fresh();
        refused(create(&other.address, &options(10)), Status::ErrAccess).names(&other.address);
        refused(open(&other.address, &options(10)), Status::ErrNotFound);
        let refusal = open(&place.address, &options(0)).expect_err("nobody may write there");
        assert_eq!(refusal.status, Status::ErrAccess, "{refusal:?}");
        let reader = open(&place.address, &RegionOptions { read_only: 1, ..options(0) }).expect("reading is allowed");
        assert_eq!(reader.bytes(0, 4), b"kept");
        assert!(reader.unlink().is_err() && unlink(&place.address).is_err());
        assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
        reader.closed();
        remount(0, c"");
        unlink(&place.address).expect("the name is there");
    });
}

#[test]
fn a_file_system_without_room_for_names() {
    in_a_room!("a_file_system_without_room_for_names", || {
        unsafe extern "C" fn agree(_: *mut std::ffi::c_void, _: usize, _: *mut std::ffi::c_void) -> i32 {
            0
        }
        // The root folder is one.
        remount(0, c"nr_inodes=2");
        let (place, other) = (Posix.fresh(), Posix.fresh());
        let region = create(&place.address, &options(10)).expect("there is room for one");
        let before = Traces::look();
        for init in [None, Some(agree as unsafe extern "C" fn(_, _, _) -> _)] {
            let refusal = refused(create(&other.address, &RegionOptions { init, ..options(10) }), Status::ErrNoSpace);
            refusal.names("file").names(&other.address);
            assert_eq!(Traces::look(), before);
        }
        region.unlink().expect("the name is its own");
        region.closed();
        remount(0, c"nr_inodes=1000");
    });
}

#[test]
fn a_full_file_system_and_lazy_regions() {
    in_a_room!("a_full_file_system_and_lazy_regions", || {
        unsafe extern "C" fn agree(_: *mut std::ffi::c_void, _: usize, _: *mut std::ffi::c_void) -> i32 {
            0
        }
        remount(0, c"size=64k");
        let filling = std::path::Path::new("/dev/shm/filling");
        std::fs::write(filling, vec![1; 64 << 10]).expect("there is room for it, and for nothing else");
        let before = Traces::look();
        for init in [None, Some(agree as unsafe extern "C" fn(_, _, _) -> _)] {
            for space in [SHMKIT_SPACE_LAZY, SHMKIT_SPACE_RESERVE] {
                let place = Posix.fresh();
                let wanted = RegionOptions { init, space, ..options(10) };
                let refusal = refused(create(&place.address, &wanted), Status::ErrNoSpace);
                assert_eq!(refusal.errno, libc::ENOSPC);
                refusal.names("needs 8192 more bytes").names("0 free of 65536");
                assert_eq!(Traces::look(), before);
            }
        }
        std::fs::remove_file(filling).expect("it is ours");
        remount(0, c"size=256m");
    });
}
