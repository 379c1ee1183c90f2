//! A process that is killed at any instruction of any operation on regions: nothing half-made is visible, the next process
//! goes on, and what is left is named by the collector. Each test has /dev/shm and System V to itself.
//! Each operation is walked twice: over the library's own instructions, and over a sample of all, those of the C library
//! too. Walks have budgets and say what they left out; `SHMKIT_KILL_SECONDS=600` is enough for all of the library's
//! instructions, `SHMKIT_KILL_POINTS=all` leaves out nothing at all and takes half an hour.

mod support;

use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};
use std::time::Duration;

use shmkit::capi::options::{RegionLayout, RegionOptions, SHMKIT_GROUP_SAME, SHMKIT_OWNER_SELF};
use shmkit::capi::region::*;
use shmkit::capi::survey::*;
use shmkit::error::Status;
use support::kill_points::{Moment, Plan, Point, Scope, Walk};
use support::{message, own_namespaces, segments};

const SIZE: usize = 10_000;
const MOST: usize = 100_000;
const PATTERN: u8 = 0xa7;
const ADDRESSES: [&CStr; 3] = [c"posix:/walk", c"sysv:0x77616c6b", c"file:/dev/shm/folder/walk"];

/// What the walk over the library's own instructions may cost: 2 seconds, or SHMKIT_KILL_SECONDS.
fn budget() -> Duration {
    let seconds = std::env::var("SHMKIT_KILL_SECONDS").ok();
    Duration::from_secs(seconds.map_or(2, |seconds| seconds.parse().expect("a number of seconds")))
}

/// What the walk over all instructions, those of the C library too, may cost: it is a sample.
const SAMPLE: Duration = Duration::from_secs(1);

type Handle = *mut shmkit_region_t;

extern "C" fn fill(data: *mut c_void, size: usize, _user: *mut c_void) -> c_int {
    // SAFETY: the region is that long. In steps, so that a kill finds it half done.
    unsafe {
        for part in 0..4 {
            data.cast::<u8>().add(part * (size / 4)).write_bytes(PATTERN, size / 4);
        }
    }
    0
}

fn options(address: &CStr, init: bool) -> RegionOptions {
    let grows = !address.to_bytes().starts_with(b"sysv:");
    RegionOptions {
        struct_size: size_of::<RegionOptions>(),
        size: SIZE as u64,
        max_size: if grows { MOST as u64 } else { 0 },
        layout: RegionLayout { name: c"walk".as_ptr(), size: 8, version: 1, alignment: 8 },
        timeout_ns: 5_000_000_000,
        init: if init { Some(fill) } else { None },
        init_user: null_mut(),
        mode: 0,
        group: SHMKIT_GROUP_SAME,
        owner: SHMKIT_OWNER_SELF,
        space: 0,
        huge_pages: 0,
        read_only: 0,
        raw: 0,
        persistent: 0,
    }
}

#[track_caller]
fn good(status: i32) {
    assert_eq!(status, 0, "{}", message());
}

#[track_caller]
fn open_or_create(address: &CStr, init: bool) -> (Handle, bool) {
    let (mut handle, mut created) = (null_mut(), false);
    // SAFETY: all are valid for the call.
    good(unsafe { shmkit_region_open_or_create(address.as_ptr(), &options(address, init), &mut handle, &mut created) });
    (handle, created)
}

fn open(address: &CStr) -> Result<Handle, i32> {
    let mut handle = null_mut();
    // SAFETY: all are valid for the call.
    match unsafe { shmkit_region_open(address.as_ptr(), &options(address, false), &mut handle) } {
        0 => Ok(handle),
        status => Err(status),
    }
}

/// All bytes of the data, which must be as `init` left them or all zeros.
#[track_caller]
fn is_complete(handle: Handle, init: bool) {
    let size = shmkit_region_size(handle);
    assert!(size >= SIZE);
    let mut bytes = vec![1; size];
    // SAFETY: the buffer is that long.
    good(unsafe { shmkit_region_copy_out(handle, 0, bytes.as_mut_ptr().cast(), size) });
    let expected = if init { PATTERN } else { 0 };
    assert!(bytes[..SIZE].iter().all(|byte| *byte == expected), "half made");
    assert!(bytes[SIZE..].iter().all(|byte| *byte == 0));
}

extern "C" fn count_one(_participant: *const RegionParticipant, user: *mut c_void) -> c_int {
    // SAFETY: the caller passes a counter.
    unsafe { *user.cast::<usize>() += 1 };
    0
}

fn participants(handle: Handle) -> usize {
    let mut count = 0usize;
    // SAFETY: the counter outlives the call.
    good(unsafe { shmkit_region_participants(handle, Some(count_one), (&raw mut count).cast()) });
    count
}

fn collect(mode: i32) -> usize {
    let mut count = 0;
    // SAFETY: the counter is valid.
    good(unsafe { shmkit_gc(mode, None, null_mut(), &mut count) });
    count
}

/// How many objects, segments and sets of semaphores without a segment there are.
fn left() -> usize {
    let files = std::fs::read_dir("/dev/shm").expect("it is ours").flatten();
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())).count();
    let segments = segments().len();
    let sets = std::fs::read_to_string("/proc/sysvipc/sem").expect("it is there").lines().count() - 1;
    files + segments + sets.saturating_sub(segments)
}

fn is_file(address: &CStr) -> bool {
    address.to_bytes().starts_with(b"file:")
}

/// What another process must find after any kill, when nobody else lives.
fn survives(address: &CStr, init: bool, point: &Point) {
    match open(address) {
        Ok(handle) => {
            is_complete(handle, init);
            assert_eq!(participants(handle), 1, "the dead are no participants");
            good(shmkit_region_close(handle));
        }
        Err(status) => {
            let expected = [Status::ErrNotFound as i32, Status::ErrUnfinished as i32];
            assert!(expected.contains(&status), "{}", message());
        }
    }
    // A file: region is not the collector's; everything else that is left is.
    assert_eq!(collect(SHMKIT_GC_DRY_RUN), left(), "the collector does not name all that is left");
    if point.index.is_multiple_of(2) {
        let named = left();
        assert_eq!(collect(SHMKIT_GC_REMOVE), named);
        assert_eq!(left(), 0, "the collector left something");
    }
    let (handle, _) = open_or_create(address, init);
    is_complete(handle, init);
    assert_eq!(participants(handle), 1);
    // SAFETY: the bytes are readable.
    good(unsafe { shmkit_region_copy_in(handle, SIZE - 8, 7u64.to_ne_bytes().as_ptr().cast(), 8) });
    good(shmkit_region_close(handle));
    if is_file(address) {
        remove(address);
    }
    collect(SHMKIT_GC_REMOVE);
    assert_eq!(left(), 0);
}

fn remove(address: &CStr) {
    // SAFETY: the address is terminated.
    good(unsafe { shmkit_unlink(address.as_ptr()) });
}

/// Runs `body` for each address that `chosen` picks, with nobody else's objects around.
fn with_own_world(test: &str, chosen: &[usize], body: impl Fn(&CStr)) {
    support::alone(test, &[], || {
        own_namespaces(16 << 20);
        std::fs::create_dir("/dev/shm/folder").expect("it is ours");
        for index in chosen {
            // What this process learns once, and its first slots, are there before the first recording.
            warm_up(ADDRESSES[*index]);
            body(ADDRESSES[*index]);
            assert_eq!(left(), 0);
        }
    });
}

fn say(walk: &Walk) {
    // What /proc says of a process is longer or shorter from run to run, and System V gives out other places of its tables:
    // the loops over them differ, and a run may be over before the boundary. Those are counted apart.
    assert!(walk.missed * 10 <= walk.killed + walk.missed, "{walk:?}");
    assert!(walk.library > 100 && walk.system_calls > 0, "{walk:?}");
}

fn warm_up(address: &CStr) {
    orphan(address, true);
    survives(address, true, &Point { index: 0, moment: Moment::End, reached: true, address: 0 });
}

/// A name for the line that a walk prints.
fn named(operation: &str, address: &CStr) -> &'static str {
    let kind = address.to_str().expect("plain").split(':').next().expect("it has a scheme");
    Box::leak(format!("{operation} {kind}:").into_boxed_str())
}

fn walk<S>(
    operation: &str,
    address: &CStr,
    mut prepare: impl FnMut() -> S,
    work: impl Fn(&S),
    mut check: impl FnMut(S, &Point),
) {
    let own = Plan::new(named(operation, address), budget()).scope(Scope::Library);
    let all = Plan::new(named(&format!("{operation}, C library too,"), address), SAMPLE).scope(Scope::Everything);
    for plan in [own, all] {
        if let Some(walk) = plan.walk(&mut prepare, &work, &mut check) {
            say(&walk);
        }
    }
}

/// Makes an orphan: complete, with nobody attached.
fn orphan(address: &CStr, init: bool) {
    let (handle, created) = open_or_create(address, init);
    assert!(created);
    good(shmkit_region_close(handle));
}

#[test]
fn create() {
    with_own_world("create", &[0, 1, 2], |address| {
        let work = |_: &()| {
            let mut handle = null_mut();
            // SAFETY: all are valid for the call.
            good(unsafe { shmkit_region_create(address.as_ptr(), &options(address, false), &mut handle) });
        };
        walk("create", address, || (), work, |(), point| survives(address, false, point));
    });
}

#[test]
fn create_with_init() {
    with_own_world("create_with_init", &[0, 1, 2], |address| {
        let work = |_: &()| {
            open_or_create(address, true);
        };
        walk("open_or_create with init", address, || (), work, |(), point| survives(address, true, point));
    });
}

#[test]
fn create_without_a_name() {
    support::alone("create_without_a_name", &[], || {
        own_namespaces(16 << 20);
        let address = c"memfd:walk";
        // Nobody else could see what the dead one made, or has anything of it; and the next is as good as the first.
        let again = || {
            let (handle, created) = open_or_create(address, true);
            assert!(created);
            is_complete(handle, true);
            assert_eq!(participants(handle), 1);
            good(shmkit_region_close(handle));
            assert_eq!((left(), collect(SHMKIT_GC_DRY_RUN)), (0, 0));
        };
        again();
        let work = |_: &()| {
            open_or_create(address, true);
        };
        walk("create", address, || (), work, |(), _| again());
    });
}

fn create_raw(address: &CStr) -> Result<Handle, i32> {
    let mut handle = null_mut();
    let nothing = RegionLayout { name: null(), size: 0, version: 0, alignment: 0 };
    let init = !address.to_bytes().starts_with(b"sysv:");
    let options = RegionOptions { raw: 1, max_size: 0, layout: nothing, ..options(address, init) };
    // SAFETY: all are valid for the call.
    match unsafe { shmkit_region_create(address.as_ptr(), &options, &mut handle) } {
        0 => Ok(handle),
        status => Err(status),
    }
}

/// Removes what has the name, as other software would; says whether there was anything.
fn remove_raw(address: &CStr) -> bool {
    let address = address.to_str().expect("plain");
    let path = match address.split_once(':').expect("it has a scheme") {
        ("posix", name) => format!("/dev/shm{name}"),
        ("file", path) => path.to_string(),
        _ => {
            let segments = segments();
            for id in &segments {
                // SAFETY: the command takes no buffer.
                assert_eq!(unsafe { libc::shmctl(*id, libc::IPC_RMID, null_mut()) }, 0);
            }
            return !segments.is_empty();
        }
    };
    std::fs::remove_file(path).is_ok()
}

#[test]
fn create_without_a_header() {
    with_own_world("create_without_a_header", &[0, 1, 2], |address| {
        let init = !address.to_bytes().starts_with(b"sysv:");
        let work = |_: &()| good(create_raw(address).map_or_else(|status| status, |_| 0));
        walk(
            "create raw",
            address,
            || (),
            work,
            |(), _| {
                let mut handle = null_mut();
                let nothing = RegionLayout { name: null(), size: 0, version: 0, alignment: 0 };
                let options = RegionOptions { raw: 1, max_size: 0, layout: nothing, ..options(address, false) };
                // SAFETY: all are valid for the call.
                let status = unsafe { shmkit_region_open(address.as_ptr(), &options, &mut handle) };
                match status {
                    0 => {
                        is_complete(handle, init);
                        assert_eq!(shmkit_region_size(handle), SIZE);
                        good(shmkit_region_close(handle));
                        assert!(remove_raw(address), "what was opened has a name");
                    }
                    _ => {
                        assert_eq!(status, Status::ErrNotFound as i32, "{}", message());
                        assert!(!remove_raw(address), "what cannot be opened has a name");
                    }
                }
                // A claim is the collector's, and there may be nothing else.
                assert_eq!(left(), collect(SHMKIT_GC_REMOVE));
                let handle = create_raw(address).expect("the name is free");
                is_complete(handle, init);
                good(shmkit_region_close(handle));
                assert!(remove_raw(address));
                assert_eq!(left(), 0);
            },
        );
    });
}

#[test]
fn open_existing() {
    with_own_world("open_existing", &[0, 1, 2], |address| {
        let work = |_: &()| {
            open(address).expect("it is there");
        };
        walk("open", address, || orphan(address, true), work, |(), point| survives(address, true, point));
    });
}

#[test]
fn close() {
    with_own_world("close", &[0, 1, 2], |address| {
        let prepare = || open_or_create(address, true).0;
        // The child closes its own handle, which it inherited; the parent's stays.
        let work = |handle: &Handle| good(shmkit_region_close(*handle));
        walk("close", address, prepare, work, |handle, point| {
            is_complete(handle, true);
            assert_eq!(participants(handle), 1);
            assert_eq!(collect(SHMKIT_GC_DRY_RUN), 0, "it is in use");
            good(shmkit_region_close(handle));
            survives(address, true, point);
        });
    });
}

#[test]
fn grow() {
    with_own_world("grow", &[0, 2], |address| {
        let prepare = || open_or_create(address, true).0;
        let work = |handle: &Handle| good(shmkit_region_grow(*handle, 50_000));
        walk("grow", address, prepare, work, |handle, point| {
            let size = shmkit_region_size(handle);
            assert!(size == SIZE || size == 50_000, "{size}");
            is_complete(handle, true);
            good(shmkit_region_grow(handle, 60_000));
            assert_eq!(shmkit_region_size(handle), 60_000);
            is_complete(handle, true);
            good(shmkit_region_close(handle));
            survives(address, true, point);
        });
    });
}

#[test]
fn grow_memory_without_a_name() {
    support::alone("grow_memory_without_a_name", &[], || {
        let address = c"memfd:walk";
        good(shmkit_region_close(open_or_create(address, true).0));
        let prepare = || open_or_create(address, true).0;
        let work = |handle: &Handle| good(shmkit_region_grow(*handle, 50_000));
        walk("grow", address, prepare, work, |handle, _| {
            let size = shmkit_region_size(handle);
            assert!(size == SIZE || size == 50_000, "{size}");
            good(shmkit_region_grow(handle, 60_000));
            is_complete(handle, true);
            assert_eq!(participants(handle), 1);
            good(shmkit_region_close(handle));
        });
    });
}

#[test]
fn unlink() {
    with_own_world("unlink", &[0, 1, 2], |address| {
        let prepare = || open_or_create(address, true).0;
        let by_handle = |handle: &Handle| good(shmkit_region_unlink(*handle));
        let check = |handle: Handle, point: &Point| {
            is_complete(handle, true);
            good(shmkit_region_close(handle));
            survives(address, true, point);
        };
        walk("unlink by handle", address, prepare, by_handle, check);
        let by_address = |_: &()| remove(address);
        walk(
            "unlink by address",
            address,
            || orphan(address, true),
            by_address,
            |(), point| {
                survives(address, true, point);
            },
        );
    });
}

/// The next segment and set get the first places of System V's tables, and not the next ones in a circle: a collection
/// looks at all places up to the last that is taken, and is as long each time. Of this IPC namespace alone.
fn first_places() {
    for kind in ["shm", "sem"] {
        // Root alone may, and only where the kernel can restore processes; elsewhere more boundaries are missed.
        let _ = std::fs::write(format!("/proc/sys/kernel/{kind}_next_id"), "0");
    }
}

#[test]
fn gc() {
    with_own_world("gc", &[0, 1], |address| {
        let work = |_: &()| {
            collect(SHMKIT_GC_REMOVE);
        };
        let prepare = || {
            first_places();
            orphan(address, true);
        };
        walk("gc", address, prepare, work, |(), point| survives(address, true, point));
    });
}

#[test]
fn send() {
    support::alone("send", &[], || {
        own_namespaces(16 << 20);
        warm_up(c"posix:/walk");
        for address in [c"memfd:walk", c"posix:/walk"] {
            let prepare = || {
                let mut sockets = [0; 2];
                let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
                // SAFETY: there is room for two.
                assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, sockets.as_mut_ptr()) }, 0);
                (open_or_create(address, true).0, sockets)
            };
            let work = |(handle, sockets): &(Handle, [c_int; 2])| {
                good(shmkit_region_send(*handle, sockets[0], SHMKIT_SEND_READ_WRITE));
            };
            walk("send", address, prepare, work, |(handle, sockets), _| {
                assert_eq!(participants(handle), 1);
                // SAFETY: the descriptors are this test's; the outputs are valid.
                unsafe {
                    libc::close(sockets[0]);
                    let mut received = null_mut();
                    match shmkit_region_recv(sockets[1], null(), &mut received) {
                        0 => {
                            is_complete(received, true);
                            assert_eq!(participants(handle), 2);
                            good(shmkit_region_close(received));
                        }
                        // Nothing came, as from a peer that closed the socket.
                        status => assert_eq!(status, Status::ErrSystem as i32, "{}", message()),
                    }
                    libc::close(sockets[1]);
                }
                assert_eq!(participants(handle), 1);
                if address == c"posix:/walk" {
                    good(shmkit_region_unlink(handle));
                }
                good(shmkit_region_close(handle));
            });
        }
        assert_eq!(left(), 0);
    });
}

#[test]
fn receive() {
    support::alone("receive", &[], || {
        own_namespaces(16 << 20);
        warm_up(c"posix:/walk");
        for address in [c"memfd:walk", c"posix:/walk"] {
            let prepare = || {
                let mut sockets = [0; 2];
                let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
                // SAFETY: there is room for two.
                assert_eq!(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, sockets.as_mut_ptr()) }, 0);
                let (handle, _) = open_or_create(address, true);
                good(shmkit_region_send(handle, sockets[0], SHMKIT_SEND_READ_WRITE));
                (handle, sockets)
            };
            let work = |(_, sockets): &(Handle, [c_int; 2])| {
                let mut received = null_mut();
                // SAFETY: the output is valid.
                good(unsafe { shmkit_region_recv(sockets[1], null(), &mut received) });
            };
            walk("receive", address, prepare, work, |(handle, sockets), _| {
                is_complete(handle, true);
                assert_eq!(participants(handle), 1, "the dead are no participants");
                // SAFETY: the descriptors are this test's; the outputs are valid.
                unsafe {
                    libc::close(sockets[0]);
                    let mut received = null_mut();
                    match shmkit_region_recv(sockets[1], null(), &mut received) {
                        // The dead one had not taken it.
                        0 => {
                            is_complete(received, true);
                            assert_eq!(participants(handle), 2);
                            good(shmkit_region_close(received));
                        }
                        // It had, or a part of it.
                        status => {
                            let expected = [Status::ErrSystem as i32, Status::ErrCorrupt as i32];
                            assert!(expected.contains(&status), "{}", message());
                        }
                    }
                    libc::close(sockets[1]);
                }
                assert_eq!(participants(handle), 1);
                if address == c"posix:/walk" {
                    good(shmkit_region_unlink(handle));
                }
                good(shmkit_region_close(handle));
            });
        }
        assert_eq!(left(), 0);
    });
}
