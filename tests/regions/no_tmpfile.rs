//! File systems and kernels without O_TMPFILE and renameat2, played by a filter of system calls: a region is built
//! under a temporary name, and a builder that dies is in nobody's way.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use crate::in_a_room;
use crate::room::Kind::{File, Posix};
use crate::room::*;
use crate::support::in_child;

/// What a filter does with one system call.
#[derive(Clone, Copy)]
pub struct Denial {
    pub call: libc::c_long,
    /// Only when this argument has all of these bits.
    pub bits: Option<(u32, u32)>,
    pub answer: u32,
}

const TMPFILE: Denial =
    Denial { call: libc::SYS_openat, bits: Some((2, libc::O_TMPFILE as u32)), answer: error(libc::EOPNOTSUPP) };
const RENAME: Denial = Denial { call: libc::SYS_renameat2, bits: None, answer: error(libc::EINVAL) };
pub const DIE: u32 = 0x8000_0000;

pub const fn error(errno: i32) -> u32 {
    0x0005_0000 | errno as u32
}

const fn die_at(call: libc::c_long) -> Denial {
    Denial { call, bits: None, answer: DIE }
}

/// Applies to this process from now on, and to its children.
pub fn deny(denials: &[Denial]) {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const AND: u16 = 0x54;
    const RETURN: u16 = 0x06;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = Vec::new();
    for denial in denials {
        match denial.bits {
            None => program.extend([
                step(LOAD, 0, 0, 0),
                step(EQUAL, denial.call as u32, 0, 1),
                step(RETURN, denial.answer, 0, 0),
            ]),
            // The low half of an argument stands first on every machine that is supported.
            Some((argument, bits)) => program.extend([
                step(LOAD, 0, 0, 0),
                step(EQUAL, denial.call as u32, 0, 4),
                step(LOAD, 16 + 8 * argument, 0, 0),
                step(AND, bits, 0, 0),
                step(EQUAL, bits, 0, 1),
                step(RETURN, denial.answer, 0, 0),
            ]),
        }
    }
    program.push(step(RETURN, 0x7fff_0000, 0, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program is readable; the kernel copies it.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let done = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// The filters that a machine may have, by name.
const MACHINES: [(&str, &[Denial]); 2] =
    [("no O_TMPFILE", &[TMPFILE]), ("no O_TMPFILE, no renameat2", &[TMPFILE, RENAME])];

/// Runs `body` in a child for each filter and kind.
fn on_each(body: impl Fn(&Place)) {
    for (name, denials) in MACHINES {
        over(&[Posix, File], |place| {
            let status = in_child(|| {
                deny(denials);
                // The filter works.
                let flags = libc::O_TMPFILE | libc::O_RDWR;
                // SAFETY: the path is terminated.
                assert_eq!(unsafe { libc::open(c"/dev/shm".as_ptr(), flags, 0o600) }, -1);
                assert_eq!(errno(), libc::EOPNOTSUPP);
                body(place);
                0
            });
            assert_eq!(status, 0, "{name}, {:?}: see the output of the child", place.kind);
        });
    }
}

/// Names that begin as those of the library do, in the folder of a region.
fn own_names(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.folder()).expect("the folder is there");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".shmkit-")).collect()
}

#[test]
fn creation_is_the_same() {
    in_a_room!("creation_is_the_same", || on_each(|place| {
        let address = place.address.as_str();
        for is_raw in [0, 1] {
            for user in [0, 12_345] {
                let wanted = RegionOptions { raw: is_raw, mode: 0o640, ..options(5000) };
                let folder = place.folder();
                use std::os::unix::fs::PermissionsExt;
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o1777)).expect("the folder is ours");
                let status = in_child(|| {
                    if user != 0 {
                        as_user(user);
                    }
                    for mask in [0o777, 0] {
                        // SAFETY: takes no pointers.
                        unsafe { libc::umask(mask) };
                        refused(open(address, &options(0)), Status::ErrNotFound);
                        let region = create(address, &wanted).expect("there is room");
                        assert!(own_names(place).is_empty());
                        let stat = region.stat().expect("it is open");
                        assert_eq!((stat.mode, stat.links, stat.size), (0o640, 1, 5000));
                        refused(create(address, &wanted), Status::ErrExists);
                        assert!(own_names(place).is_empty());
                        let (peer, created) = open_or_create(address, &wanted).expect("it is there");
                        assert!(!created);
                        region.copy_in(0, b"x").expect("it fits");
                        assert_eq!(peer.bytes(0, 1), b"x");
                        if is_raw == 0 {
                            assert_eq!(region.participants().expect("it has leases").len(), 2);
                        }
                        peer.closed();
                        region.unlink().expect("the name is its own");
                        region.closed();
                        assert!(own_names(place).is_empty());
                    }
                    0
                });
                assert_eq!(status, 0, "see the output of the child");
            }
        }
        // What fails on the way leaves no temporary file.
        unsafe extern "C" fn refuse(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
            1
        }
        refused(create(address, &RegionOptions { init: Some(refuse), ..options(10) }), Status::ErrCallback);
        assert!(own_names(place).is_empty());
        if place.kind == Posix {
            refused(create(address, &options(300 << 20)), Status::ErrNoSpace);
            assert!(own_names(place).is_empty());
        }
    }));
}

const ROUNDS: usize = 200;

/// Children that do the same at the same time, in rounds.
struct Race {
    children: Vec<libc::pid_t>,
    /// Who has come to the first and to the second gate of a round, and who has failed.
    gates: &'static [AtomicUsize; 3],
}

/// Begins a race of four children: `round` is what each does, and is given a function that waits for the others.
fn start_race(round: impl Fn(&dyn Fn())) -> Race {
    const CHILDREN: usize = 4;
    // SAFETY: a new mapping of zeros is what an atomic needs; `end` unmaps it.
    let gates = unsafe {
        let at = libc::mmap(null_mut(), PAGE, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast::<[AtomicUsize; 3]>()
    };
    let wait = |number: usize, gate: usize| {
        gates[gate].fetch_add(1, SeqCst);
        while gates[gate].load(SeqCst) < (number + 1) * CHILDREN {
            assert_eq!(gates[2].load(SeqCst), 0, "another child failed");
            // SAFETY: takes no pointers.
            unsafe { libc::usleep(50) };
        }
    };
    let children = (0..CHILDREN).map(|_| {
        // SAFETY: the child leaves by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for number in 0..ROUNDS {
                    wait(number, 0);
                    round(&|| wait(number, 1));
                }
            }));
            // Who fails frees the others.
            gates[2].fetch_add(usize::from(done.is_err()), SeqCst);
            // SAFETY: takes no pointers.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
        child
    });
    Race { children: children.collect(), gates }
}

impl Race {
    /// Waits until all have come to their end, and well.
    fn end(self) {
        for child in self.children {
            let mut status = 0;
            // SAFETY: the child is ours.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(status, 0);
        }
        // SAFETY: the mapping is this race's own, and all children are gone.
        unsafe { libc::munmap(std::ptr::from_ref(self.gates).cast_mut().cast(), PAGE) };
    }
}

/// A region has its mode, whoever else wants to build it at the same time and finds a file without permissions, which a
/// umask left, under the temporary name.
#[test]
fn the_mode_is_kept_in_every_race() {
    in_a_room!("the_mode_is_kept_in_every_race", || on_each(|place| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(place.folder(), std::fs::Permissions::from_mode(0o1777)).expect("the folder is ours");
        for user in [0, 12_345] {
            let race = start_race(|wait| {
                if user != 0 {
                    // SAFETY: takes no pointers.
                    unsafe { libc::setresuid(user, user, user) };
                }
                // SAFETY: takes no pointers.
                unsafe { libc::umask(0o777) };
                let made = create(&place.address, &RegionOptions { mode: 0o664, ..options(64) });
                wait();
                match made {
                    Ok(region) => {
                        assert_eq!(region.stat().expect("it is open").mode, 0o664);
                        region.unlink().expect("the name is its own");
                        region.closed();
                    }
                    Err(refusal) => assert_eq!(refusal.status, Status::ErrExists, "{refusal:?}"),
                }
            });
            race.end();
            assert!(own_names(place).is_empty());
        }
    }));
}

#[test]
fn one_creator_in_every_race() {
    in_a_room!("one_creator_in_every_race", || on_each(|place| {
        unsafe extern "C" fn count(data: *mut c_void, _: usize, user: *mut c_void) -> i32 {
            // SAFETY: the region's own memory; the descriptor that was given below.
            unsafe {
                data.cast::<u64>().write_volatile(7);
                libc::write(user as i32, b"i".as_ptr().cast(), 1);
                libc::sched_yield();
                data.cast::<u64>().write_volatile(42);
            }
            0
        }
        for init in [false, true] {
            let mut ends = [0; 2];
            // SAFETY: the ends are writable.
            assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
            let user = ends[1] as usize as *mut c_void;
            let children = start_race(|wait| {
                let mut wanted = RegionOptions { init_user: user, ..options(64) };
                if init {
                    wanted.init = Some(count);
                }
                let (region, created) = open_or_create(&place.address, &wanted).expect("one makes it");
                if init {
                    assert_eq!(region.bytes(0, 8), 42u64.to_ne_bytes(), "it was seen unfinished");
                }
                if created {
                    // SAFETY: the byte is readable.
                    unsafe { libc::write(ends[1], b"c".as_ptr().cast(), 1) };
                }
                wait();
                if created {
                    region.unlink().expect("the name is its own");
                }
                region.closed();
            });
            close_all(&[ends[1]]);
            let (mut creations, mut callbacks) = (0, 0);
            loop {
                let mut bytes = [0u8; 4096];
                // SAFETY: the buffer is writable.
                let got = unsafe { libc::read(ends[0], bytes.as_mut_ptr().cast(), bytes.len()) };
                if got <= 0 {
                    break;
                }
                let got = &bytes[..got as usize];
                creations += got.iter().filter(|byte| **byte == b'c').count();
                callbacks += got.iter().filter(|byte| **byte == b'i').count();
            }
            children.end();
            close_all(&[ends[0]]);
            assert_eq!((creations, callbacks), (ROUNDS, if init { ROUNDS } else { 0 }));
            assert!(own_names(place).is_empty());
        }
    }));
}

/// Kills a creator at its first system call of this number, with a filter under which it needs a temporary name.
fn killed_builder(place: &Place, denials: &[Denial], call: libc::c_long, init: RegionInit) {
    let status = in_child(|| {
        // SAFETY: takes no pointers.
        unsafe { libc::umask(0o777) };
        deny(&[denials, &[die_at(call)]].concat());
        let _never_ends = create(&place.address, &RegionOptions { init, ..options(5000) });
        0
    });
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
}

#[test]
fn a_killed_builder_is_in_nobodys_way() {
    in_a_room!("a_killed_builder_is_in_nobodys_way", || {
        let mut left = 0;
        for (_, denials) in MACHINES {
            for kind in [Posix, File] {
                // After the temporary file was made: while it gets its mode, its space, its header, its mapping.
                for call in [libc::SYS_fchmod, libc::SYS_fallocate, libc::SYS_pwrite64, libc::SYS_renameat2] {
                    if call == libc::SYS_renameat2 && denials.len() > 1 {
                        continue;
                    }
                    let place = kind.fresh();
                    killed_builder(&place, denials, call, None);
                    assert!(!place.is_taken(), "something half-made has the name");
                    let names = own_names(&place);
                    assert_eq!(names.len(), 1, "{names:?}");
                    left += 1;
                    if kind == Posix {
                        let found = gc(SHMKIT_GC_DRY_RUN).expect("gc can look");
                        assert_eq!((found.len(), found[0].object.content), (1, SHMKIT_CONTENT_LEFTOVER), "{found:?}");
                        assert_eq!(found[0].address, format!("posix:/{}", names[0]));
                    }
                    // On such a machine the next creator takes the file over.
                    let status = in_child(|| {
                        deny(denials);
                        let region = create(&place.address, &options(100)).expect("a dead builder is in nobody's way");
                        assert_eq!((region.size(), region.bytes(0, 100)), (100, vec![0; 100]));
                        assert_eq!(region.stat().expect("it is open").mode, 0o600);
                        assert!(own_names(&place).is_empty(), "the leftover is still there");
                        region.closed();
                        unlink(&place.address).expect("the name is there");
                        0
                    });
                    assert_eq!(status, 0, "see the output of the child");
                    // And gc removes it.
                    killed_builder(&place, denials, call, None);
                    if kind == Posix {
                        assert_eq!(gc(SHMKIT_GC_REMOVE).expect("gc can look").len(), 1);
                        assert!(own_names(&place).is_empty() && left_over().is_empty());
                    } else {
                        let name = own_names(&place).pop().expect("it is there");
                        std::fs::remove_file(place.folder().join(name)).expect("the folder is ours");
                    }
                }
            }
        }
        println!("{left} builders killed with a temporary file");
    });
}

/// The same for a user who is stopped by permissions, as root is not.
#[test]
fn a_killed_builder_of_an_ordinary_user() {
    in_a_room!("a_killed_builder_of_an_ordinary_user", || {
        unsafe extern "C" fn agree(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
            0
        }
        for init in [None, Some(agree as unsafe extern "C" fn(*mut c_void, usize, *mut c_void) -> i32)] {
            let place = Posix.fresh();
            let status = in_child(|| {
                as_user(12_345);
                killed_builder(&place, &[TMPFILE], libc::SYS_fchmod, init);
                assert!(!own_names(&place).is_empty());
                deny(&[TMPFILE]);
                let region =
                    create(&place.address, &RegionOptions { init, ..options(100) }).expect("it is one's own leftover");
                region.unlink().expect("the name is its own");
                region.closed();
                assert!(own_names(&place).is_empty());
                0
            });
            assert_eq!(status, 0, "see the output of the child");
        }
    });
}

/// Without renameat2 the object has both names for a moment. Who dies there leaves a temporary name of a living region.
#[test]
fn a_builder_killed_between_two_names() {
    in_a_room!("a_builder_killed_between_two_names", || {
        for kind in [Posix, File] {
            for by_gc in [false, true] {
                let place = kind.fresh();
                killed_builder(&place, &[TMPFILE, RENAME], libc::SYS_unlinkat, None);
                assert!(place.is_taken() && own_names(&place).len() == 1);
                let region = open(&place.address, &options(5000)).expect("it was complete");
                region.copy_in(0, b"precious").expect("it fits");
                if by_gc {
                    gc(SHMKIT_GC_REMOVE).expect("gc can look");
                    assert!(place.is_taken(), "gc removed the name of a living region");
                    assert_eq!(region.bytes(0, 8), b"precious");
                }
                let status = in_child(|| {
                    deny(&[TMPFILE, RENAME]);
                    refused(create(&place.address, &options(100)), Status::ErrExists);
                    0
                });
                assert_eq!(status, 0, "see the output of the child");
                assert_eq!(region.bytes(0, 8), b"precious", "a creator truncated a living region");
                assert_eq!(region.stat().expect("it is whole").size, 5000);
                region.unlink().expect("the name is its own");
                let status = in_child(|| {
                    deny(&[TMPFILE, RENAME]);
                    let next = create(&place.address, &options(100)).expect("the name is free");
                    assert_eq!(next.bytes(0, 8), [0; 8]);
                    next.unlink().expect("the name is its own");
                    next.closed();
                    0
                });
                assert_eq!(status, 0, "see the output of the child");
                assert_eq!(region.bytes(0, 8), b"precious", "a creator truncated a living region");
                region.closed();
                assert!(own_names(&place).is_empty(), "{:?}", own_names(&place));
            }
        }
    });
}
