//! Raw regions: what plain calls made is opened, what is made is opened by plain calls, and neither is harmed.

use std::ffi::{CString, c_void};
use std::ptr::{null, null_mut};

use crate::in_a_room;
use crate::room::Kind::{File, Posix, Sysv};
use crate::room::*;

/// An object that plain calls made, mapped by them.
struct Plain {
    at: *mut u8,
    size: usize,
    /// The segment, or none.
    id: Option<i32>,
}

impl Plain {
    fn path(place: &Place) -> CString {
        c(place.path().to_str().expect("plain"))
    }

    /// shm_open, ftruncate, mmap; or open in its place; or shmget, shmat.
    fn make(place: &Place, size: usize) -> Plain {
        // SAFETY: the strings are terminated; the object is this test's own.
        unsafe {
            let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
            let fd = match place.kind {
                Posix => {
                    libc::shm_open(c(place.address.strip_prefix("posix:").expect("it is one")).as_ptr(), flags, 0o600)
                }
                File => libc::open(Plain::path(place).as_ptr(), flags | libc::O_CLOEXEC, 0o600),
                _ => {
                    let id = libc::shmget(place.key(), size, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
                    assert!(id >= 0);
                    return Plain { at: libc::shmat(id, null(), 0).cast(), size, id: Some(id) };
                }
            };
            assert!(fd >= 0);
            assert_eq!(libc::ftruncate(fd, size as i64), 0);
            Plain::map(fd, size)
        }
    }

    /// What has the name, and its size as the kernel knows it.
    fn find(place: &Place) -> Plain {
        // SAFETY: as above.
        unsafe {
            let fd = match place.kind {
                Posix => libc::shm_open(
                    c(place.address.strip_prefix("posix:").expect("it is one")).as_ptr(),
                    libc::O_RDWR,
                    0,
                ),
                File => libc::open(Plain::path(place).as_ptr(), libc::O_RDWR | libc::O_CLOEXEC),
                _ => {
                    let id = place.segment().expect("it is there");
                    let mut status: libc::shmid_ds = std::mem::zeroed();
                    assert_eq!(libc::shmctl(id, libc::IPC_STAT, &mut status), 0);
                    return Plain { at: libc::shmat(id, null(), 0).cast(), size: status.shm_segsz, id: Some(id) };
                }
            };
            assert!(fd >= 0);
            let mut status: libc::stat = std::mem::zeroed();
            assert_eq!(libc::fstat(fd, &mut status), 0);
            Plain::map(fd, status.st_size as usize)
        }
    }

    unsafe fn map(fd: i32, size: usize) -> Plain {
        // SAFETY: the descriptor is open, and a new mapping harms nobody.
        unsafe {
            let at = libc::mmap(null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0);
            assert_ne!(at, libc::MAP_FAILED);
            assert_eq!(libc::close(fd), 0);
            Plain { at: at.cast(), size, id: None }
        }
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.size);
        // SAFETY: within the mapping.
        unsafe { self.at.add(offset).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    fn read(&self, offset: usize, length: usize) -> Vec<u8> {
        assert!(offset + length <= self.size);
        let mut bytes = vec![0; length];
        // SAFETY: within the mapping.
        unsafe { bytes.as_mut_ptr().copy_from(self.at.add(offset), length) };
        bytes
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // SAFETY: the mapping is this struct's own.
        let done = unsafe {
            match self.id {
                None => libc::munmap(self.at.cast::<c_void>(), self.size),
                Some(_) => libc::shmdt(self.at.cast()),
            }
        };
        assert_eq!(done, 0);
    }
}

#[test]
fn a_raw_region_opens_what_plain_calls_made() {
    in_a_room!("a_raw_region_opens_what_plain_calls_made", || over(&Kind::NAMED, |place| {
        for size in [1, 100, 256, PAGE, 2 * PAGE + 7] {
            let plain = Plain::make(place, size);
            plain.write(size - 1, b"p");
            let region = open(&place.address, &raw(0)).expect("it is there");
            let sized = open(&place.address, &raw(size)).expect("it is that large");
            sized.closed();
            refused(open(&place.address, &raw(size + 1)), Status::ErrPastEnd).names(&size.to_string());
            assert_eq!((region.size(), region.bytes(size - 1, 1)), (size, b"p".to_vec()));
            region.copy_in(0, b"r").expect("it fits");
            assert_eq!(plain.read(0, 1), b"r");
            refused(region.copy_in(size, b"x"), Status::ErrPastEnd);
            let stat = region.stat().expect("it is open");
            assert_eq!((stat.raw, stat.data_offset, stat.size, stat.max_size), (1, 0, size as u64, size as u64));
            assert_eq!((stat.created_ns, stat.creator.pid, stat.generation), (0, 0, 0));
            let reader = open(&place.address, &RegionOptions { read_only: 1, ..raw(0) }).expect("it is there");
            refused(reader.copy_in(0, b"x"), Status::ErrAccess);
            reader.closed();
            let (same, created) = open_or_create(&place.address, &raw(size)).expect("it is there");
            assert!(!created);
            same.closed();
            refused(create(&place.address, &raw(size)), Status::ErrExists);
            region.unlink().expect("the name is its own");
            assert!(!place.is_taken());
            region.closed();
            assert_eq!(plain.read(0, 1), b"r");
        }
    }));
}

#[test]
fn plain_calls_open_what_a_raw_region_made() {
    in_a_room!("plain_calls_open_what_a_raw_region_made", || over(&Kind::NAMED, |place| {
        for size in [1, 100, PAGE, 2 * PAGE + 7] {
            for space in [SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_LAZY, SHMKIT_SPACE_POPULATE] {
                let region = create(&place.address, &RegionOptions { space, max_size: size as u64, ..raw(size) })
                    .expect("there is room");
                let plain = Plain::find(place);
                assert_eq!(plain.size, size, "plain code sees another size than was asked for");
                region.copy_in(0, b"r").expect("it fits");
                assert_eq!(plain.read(0, 1), b"r");
                plain.write(size - 1, b"p");
                assert_eq!(region.bytes(size - 1, 1), b"p");
                let again = open(&place.address, &raw(size)).expect("it is there");
                assert_eq!(again.size(), size, "opener and creator see different sizes");
                again.closed();
                drop(plain);
                refused(unlink(&place.address), Status::ErrNotARegion);
                assert_eq!(
                    is_orphan(&place.address).expect("it is there"),
                    if place.kind == Sysv { SHMKIT_ANSWER_NO } else { SHMKIT_ANSWER_UNKNOWN }
                );
                region.closed();
                assert_eq!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_UNKNOWN);
                assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
                let shown = if place.kind == File { None } else { listed(SHMKIT_LIST_ALL, &place.address) };
                assert!(shown.is_none_or(|shown| shown.object.content == SHMKIT_CONTENT_FOREIGN));
                let last = open(&place.address, &raw(0)).expect("gc leaves it alone");
                last.unlink().expect("the name is its own");
                last.closed();
            }
        }
    }));
}

#[test]
fn plain_calls_find_the_data_behind_the_header() {
    in_a_room!("plain_calls_find_the_data_behind_the_header", || over(&Kind::NAMED, |place| {
        let region = create(&place.address, &options(100)).expect("there is room");
        region.copy_in(0, b"data").expect("it fits");
        let plain = Plain::find(place);
        assert_eq!(plain.read(PAGE, 4), b"data");
        assert_eq!(plain.read(0, 8), b"shmkitRG");
        plain.write(PAGE, b"DATA");
        assert_eq!(region.bytes(0, 4), b"DATA");
        let whole = open(&place.address, &raw(0)).expect("a raw region has no header");
        assert_eq!(whole.bytes(PAGE, 4), b"DATA");
        assert!(whole.size() >= PAGE + 100);
        whole.closed();
        drop(plain);
        region.unlink().expect("the name is its own");
        region.closed();
    }));
}

#[test]
fn a_region_is_not_made_of_other_objects() {
    in_a_room!("a_region_is_not_made_of_other_objects", || over(&Kind::NAMED, |place| {
        let before = Traces::look();
        for size in [1, 255, 256, PAGE, 3 * PAGE] {
            let plain = Plain::make(place, size);
            for content in [&b"\0"[..], b"x"] {
                plain.write(0, content);
                refused(open(&place.address, &options(0)), Status::ErrNotARegion);
                refused(open_or_create(&place.address, &options(10)), Status::ErrNotARegion);
                refused(create(&place.address, &options(10)), Status::ErrExists);
                refused(unlink(&place.address), Status::ErrNotARegion);
                assert_ne!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_YES);
                assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
                // Once more: what the first tries leave must not change the answer.
                refused(unlink(&place.address), Status::ErrNotARegion);
            }
            drop(plain);
            // Nobody has it mapped now.
            refused(open(&place.address, &options(0)), Status::ErrNotARegion);
            refused(open_or_create(&place.address, &options(10)), Status::ErrNotARegion);
            refused(create(&place.address, &options(10)), Status::ErrExists);
            assert_ne!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_YES);
            refused(unlink(&place.address), Status::ErrNotARegion);
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
            let plain = Plain::find(place);
            assert_eq!((plain.size, plain.read(0, 1)), (size, b"x".to_vec()));
            drop(plain);
            let region = open(&place.address, &raw(0)).expect("it is still there");
            region.unlink().expect("the name is its own");
            region.closed();
            assert_eq!(Traces::look(), before, "the tries left something beside it");
        }
    }));
}

#[test]
fn an_object_without_bytes() {
    in_a_room!("an_object_without_bytes", || over(&[Posix, File], |place| {
        std::fs::write(place.path(), b"").expect("the room is ours");
        refused(open(&place.address, &raw(0)), Status::ErrPastEnd).names(&place.address);
        refused(open_or_create(&place.address, &raw(10)), Status::ErrPastEnd);
        refused(open(&place.address, &options(0)), Status::ErrNotARegion);
        refused(create(&place.address, &options(10)), Status::ErrExists);
        refused(unlink(&place.address), Status::ErrNotARegion);
        assert!(place.is_taken());
    }));
}

/// Where other software has its data: where a header would be, or behind zeros.
const DATA: [usize; 2] = [0, 300];

/// A segment that other software made where the library still has semaphores.
#[test]
fn semaphores_that_outlived_their_segment() {
    in_a_room!("semaphores_that_outlived_their_segment", || {
        for at in DATA {
            let place = Sysv.fresh();
            create(&place.address, &options(10)).expect("there is room").closed();
            // SAFETY: the command takes no buffer.
            assert_eq!(unsafe { libc::shmctl(place.segment().expect("it is there"), libc::IPC_RMID, null_mut()) }, 0);
            assert!(place.set().is_some(), "the library's semaphores went with the segment");
            foreign_survives(&place, at);
        }
    });
}

/// The same, and the semaphores say that a creator never came to its end.
#[test]
fn semaphores_of_a_creator_that_died() {
    unsafe extern "C" fn die(_: *mut c_void, _: usize, _: *mut c_void) -> i32 {
        // SAFETY: takes no pointers.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }
    }
    in_a_room!("semaphores_of_a_creator_that_died", || {
        for at in DATA {
            let place = Sysv.fresh();
            let killed = support::in_child(|| {
                let _never_ends = create(&place.address, &RegionOptions { init: Some(die), ..options(10) });
                0
            });
            assert!(libc::WIFSIGNALED(killed));
            assert_eq!(left_over().len(), 1, "a dead creator's segment is not found");
            // SAFETY: the command takes no buffer.
            assert_eq!(unsafe { libc::shmctl(place.segment().expect("it is there"), libc::IPC_RMID, null_mut()) }, 0);
            foreign_survives(&place, at);
        }
    });
}

fn foreign_survives(place: &Place, at: usize) {
    drop({
        let plain = Plain::make(place, 2 * PAGE);
        plain.write(at, b"data of other software");
        plain
    });
    let id = place.segment();
    let mut tried = 0;
    let mut survives = |what: &str, status: Status, expected: &[Status]| {
        tried += 1;
        assert_eq!(place.segment(), id, "{what} removed a segment of other software");
        let plain = Plain::find(place);
        assert_eq!(plain.read(at, 22), b"data of other software", "{what}");
        assert!(expected.contains(&status), "{what}: {status:?}");
    };
    for _ in 0..2 {
        let not = [Status::ErrNotARegion];
        survives("open", status_of(&open(&place.address, &options(0))), &not);
        survives("create", status_of(&create(&place.address, &options(10))), &[Status::ErrExists]);
        survives("open_or_create", status_of(&open_or_create(&place.address, &options(10))), &not);
        survives("unlink", status_of(&unlink(&place.address)), &not);
        survives("is_orphan", status_of(&is_orphan(&place.address)), &[Status::Ok]);
        survives("list", status_of(&list(SHMKIT_LIST_ALL)), &[Status::Ok]);
        assert_ne!(is_orphan(&place.address).expect("it is there"), SHMKIT_ANSWER_YES);
        for mode in [SHMKIT_GC_DRY_RUN, SHMKIT_GC_REMOVE] {
            let found = gc(mode).expect("gc can look");
            assert!(found.iter().all(|shown| shown.object.backend == 0), "{found:?}");
            survives("gc", Status::Ok, &[Status::Ok]);
        }
    }
    assert_eq!(tried, 16);
    // SAFETY: the command takes no buffer.
    assert_eq!(unsafe { libc::shmctl(place.segment().expect("it is there"), libc::IPC_RMID, null_mut()) }, 0);
    let (region, created) = open_or_create(&place.address, &options(10)).expect("the key is free");
    assert!(created);
    region.unlink().expect("the name is its own");
    region.closed();
}

/// Every key must lead to semaphores of its own, and never to IPC_PRIVATE, which makes new ones each time.
#[test]
fn keys_that_might_collide() {
    in_a_room!("keys_that_might_collide", || {
        for key in ["0x53484d4b", "0x1", "0xffffffff", "0x80000000", "0x7fffffff", "0xacb7b2b4"] {
            let address = format!("sysv:{key}");
            let before = Traces::look();
            let region = create(&address, &options(10)).expect("there is room");
            let one = Traces::look();
            assert_eq!(one.semaphores.len(), before.semaphores.len() + 1);
            let mut children = Children::default();
            children.start(|| {
                let other = open(&address, &options(0)).expect("it is there");
                other.copy_in(0, b"c").expect("it fits");
            });
            assert_eq!(Traces::look().semaphores, one.semaphores, "an opener made semaphores of its own");
            // The inherited handle and the child's own.
            assert_eq!(region.participants().expect("it has leases").len(), 3);
            assert_eq!(region.bytes(0, 1), b"c");
            children.kill();
            region.unlink().expect("the name is its own");
            region.closed();
            assert_eq!(Traces::look(), before);
        }
    });
}
