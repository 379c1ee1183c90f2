//! What the fuzz targets do with an input, and what must hold whatever the input is: no crash, no hang, no descriptor,
//! mapping or name left behind, and no region accepted whose header says more than its object has. A broken promise is
//! a panic. Used by the targets and by tests/fuzz_short.rs. Next: `attach`, then `object.rs` for the other side of it;
//! `containers.rs`.
#![allow(dead_code, reason = "each target uses a part")]

mod containers;
mod ends;
mod leaks;
mod object;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int, c_void};
use std::mem::{size_of, zeroed};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use shmkit::capi::options::{self, RegionLayout, RegionOptions};
use shmkit::capi::region::{self as api, RegionParticipant, RegionStat, shmkit_region_t};
use shmkit::capi::survey::{self, ListedObject};
use shmkit::error::Status;
use shmkit::region::address::{Address, Backend, Parsed};
use shmkit::region::header::{self, Facts, Header, Layout, Process, Record};

pub use containers::containers;
use leaks::without_leaks;
use object::{Kind, Object};

/// What is done with one input.
pub type Target = fn(&[u8]);

/// The targets, by the names of their corpora.
pub const TARGETS: [(&str, Target); 5] =
    [("attach", attach), ("message", message), ("address", address), ("decode", decode), ("containers", containers)];

const PAGE: u64 = 4096;
/// Growth beyond this is refused by RLIMIT_FSIZE: a header may ask for more memory than the machine has.
const LARGEST: u64 = 1 << 20;
/// Around every boundary of a header, of a page, and of the two together.
const SIZES: [u64; 24] = [
    0, 1, 7, 8, 48, 255, 256, 257, 320, 4095, 4096, 4097, 4100, 4352, 8191, 8192, 8193, 12_287, 12_288, 20_480, 65_536,
    69_632, 100_000, 131_072,
];

const MOST: usize = SIZES[SIZES.len() - 1] as usize;

const OK: i32 = Status::Ok as i32;

/// Regions that were accepted, addresses and headers that could be read: a target that gets none checks nothing.
static ACCEPTED: AtomicU32 = AtomicU32::new(0);

/// See `ACCEPTED`.
pub fn accepted_inputs() -> u32 {
    ACCEPTED.load(Relaxed)
}

/// Whether nothing that is done here can be seen by other programs: then gc may remove what it finds.
static ISOLATED: AtomicBool = AtomicBool::new(false);

/// Moves the process into mount and IPC namespaces of its own where it may, so that a finding leaves nothing behind.
/// For the targets: a test has `support::own_namespaces`, and then calls `isolated`.
pub fn prepare() {
    // SAFETY: the strings are terminated and outlive the calls.
    let moved = unsafe {
        let (none, tmpfs, options) = (c"none".as_ptr(), c"tmpfs".as_ptr(), c"size=16m,mode=1777".as_ptr());
        libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC) == 0
            && libc::mount(none, c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) == 0
            && libc::mount(tmpfs, c"/dev/shm".as_ptr(), tmpfs, 0, options.cast()) == 0
    };
    match moved {
        true => isolated(),
        false => eprintln!("no namespaces of its own: a finding may leave an object behind, and gc removes nothing"),
    }
}

/// Says that the process is in namespaces of its own.
pub fn isolated() {
    ISOLATED.store(true, Relaxed);
}

/// Bytes from the front of an input, as choices. An input that is too short goes on with zeros.
#[derive(Clone)]
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn half(&mut self) -> u16 {
        u16::from(self.byte()) | u16::from(self.byte()) << 8
    }

    fn word(&mut self) -> u64 {
        let mut word = [0; 8];
        let bytes = self.bytes(8);
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    }

    /// A number near something that matters; `room` is what an object has behind its first page.
    fn number(&mut self, room: u64) -> u64 {
        let class = self.byte() % 10;
        if class == 0 {
            return self.word();
        }
        let near = self.byte() as i8;
        let base = match class {
            1 => room,
            2 => room.wrapping_add(PAGE),
            3 => return 1u64.rotate_left(u32::from(near as u8)),
            4 => u64::MAX,
            5 => i64::MAX as u64 / 2,
            6 => i64::MAX as u64,
            7 => PAGE,
            8 => LARGEST,
            _ => 0,
        };
        base.wrapping_add(near as u64)
    }

    fn size(&mut self) -> u64 {
        SIZES[usize::from(self.byte()) % SIZES.len()]
    }
}

/// Numbers of a header and of the first records: where each stands and how many bytes it has.
const FIELDS: [(usize, usize); 28] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 4),
    (20, 4),
    (24, 4),
    (28, 4),
    (header::STATE_AT, 4),
    (36, 4),
    (40, 8),
    (header::SIZE_AT, 8),
    (LARGEST_AT, 8),
    (header::GENERATION_AT, 8),
    (72, 8),
    (80, 4),
    (84, 4),
    (88, 8),
    (128, 8),
    (136, 4),
    (140, 4),
    (144, 8),
    (152, 8),
    (168, 8),
    (176, 8),
    (184, 4),
    (256, 8),
    (264, 8),
    (288, 8),
];
const LARGEST_AT: usize = 56;

/// A number for a field: where it goes, its bytes, and how many of them count.
fn patch(input: &mut Input<'_>, room: u64) -> (usize, [u8; 8], usize) {
    let (at, width) = FIELDS[usize::from(input.byte()) % FIELDS.len()];
    (at, input.number(room).to_le_bytes(), width)
}

/// A header that is right for an object with `room` bytes behind its first page.
fn good_header(room: u64) -> [u8; header::SIZE] {
    let size = room.max(1);
    Header {
        state: header::READY,
        data_offset: PAGE,
        size,
        max_size: size + 2 * PAGE,
        generation: 1,
        layout: Layout::new(b"telemetry", 3, 24, 8),
        creator: Process { pid: 1, uid: 0, start_time: 2, boot: [3, 4], namespace: 5 },
        created: 6,
        backend: 1,
        ..Header::default()
    }
    .encode(PAGE as u32)
}

/// The first bytes of an object: as the input has them, or a good header in which some numbers are replaced.
fn first_page(input: &mut Input<'_>, literal: bool, object_size: u64) -> Vec<u8> {
    let mut page = if literal {
        let length = usize::from(input.half()) % (PAGE as usize + 1);
        input.bytes(length).to_vec()
    } else {
        let room = object_size.saturating_sub(PAGE);
        let mut page = vec![0; header::SIZE + 3 * header::RECORD_SIZE];
        page[..header::SIZE].copy_from_slice(&good_header(room));
        for _ in 0..input.byte() % 8 {
            let (at, value, width) = patch(input, room);
            page[at..at + width].copy_from_slice(&value[..width]);
        }
        page
    };
    page.truncate(object_size.min(PAGE) as usize);
    page
}

/// Options as the C macro makes them, but for a short patience.
fn usual() -> RegionOptions {
    RegionOptions {
        struct_size: size_of::<RegionOptions>(),
        size: 0,
        max_size: 0,
        layout: RegionLayout { name: null(), size: 0, version: 0, alignment: 0 },
        timeout_ns: 300_000,
        init: None,
        init_user: null_mut(),
        mode: 0,
        group: options::SHMKIT_GROUP_SAME,
        owner: options::SHMKIT_OWNER_SELF,
        space: options::SHMKIT_SPACE_RESERVE,
        huge_pages: options::SHMKIT_HUGE_NONE,
        read_only: 0,
        raw: 0,
        persistent: 0,
    }
}

/// Options of one byte for what they are, and one for the layout.
fn choose_options(input: &mut Input<'_>) -> RegionOptions {
    let (flags, layout) = (input.byte(), input.byte());
    let named =
        |name: &'static CStr, size, version, alignment| RegionLayout { name: name.as_ptr(), size, version, alignment };
    let layout = match layout % 12 {
        0..=5 => usual().layout,
        6 => named(c"struct telemetry", 24, 3, 8),
        7 => named(c"telemetry", 24, 4, 8),
        8 => named(c"telemetry", 25, 3, 8),
        9 => named(c"telemetry", 24, 3, 16),
        10 => named(c"another", 24, 3, 8),
        _ => named(c"a name that is longer than the forty-seven bytes that count", 1, 1, 8192),
    };
    RegionOptions {
        layout,
        raw: i32::from(flags & 3 == 3),
        read_only: i32::from(flags >> 2 & 3 == 3),
        space: i32::from(flags >> 4 & 3).min(2),
        huge_pages: i32::from(flags >> 6 & 1),
        size: if flags >> 7 == 1 { 4096 } else { 0 },
        ..usual()
    }
}

/// No input may make the library stop itself.
#[track_caller]
fn sound(status: i32) -> i32 {
    assert_ne!(status, Status::ErrInternal as i32, "the library met a fault of its own");
    assert!(status <= 0, "{status} is no status");
    status
}

type Handle = *mut shmkit_region_t;

/// Opens or receives what is in an object.
fn take(object: &Object, options: &RegionOptions) -> Result<Handle, i32> {
    let mut handle: Handle = null_mut();
    // SAFETY: the address is terminated; options and handle are good.
    let status = unsafe {
        match object.kind {
            Kind::Posix | Kind::Sysv => api::shmkit_region_open(object.address.as_ptr(), options, &mut handle),
            Kind::Memfd | Kind::Passed => {
                let sent = object.description();
                let from = deliver(libc::SOCK_SEQPACKET, &[&good_message(object.address.as_bytes())], &[sent]);
                libc::close(sent);
                let status = api::shmkit_region_recv(from, options, &mut handle);
                libc::close(from);
                status
            }
        }
    };
    assert_eq!(sound(status) == OK, !handle.is_null(), "a handle and a failure, or neither");
    if status == OK { Ok(handle) } else { Err(status) }
}

/// An object with any header, attached as a region; then its peer may change header and size, while all calls are used.
///
/// | byte | choice |
/// |---|---|
/// | 0 | kind (low 2 bits), guard, bytes as they are, list and gc, descriptor for reading only, patience (2 bits) |
/// | 1 | size of the object |
/// | 2, 3 | options |
/// | 4 | locks that the peer holds, or semaphores that it made |
/// | 5 | seals |
/// | then | the first page (see `first_page`), and up to 12 later steps (see `step`) |
pub fn attach(input: &[u8]) {
    let mut input = Input(input);
    let (flags, size) = (input.byte(), input.size());
    let options = choose_options(&mut input);
    let (obstacle, seals) = (input.byte(), input.byte());
    let page = first_page(&mut input, flags >> 3 & 1 == 1, size);
    let kind = [Kind::Memfd, Kind::Posix, Kind::Passed, Kind::Sysv][usize::from(flags & 3)];
    without_leaks(|| {
        let object = Object::new(kind, size);
        object.write(0, &page);
        object.obstruct(obstacle);
        object.seal(seals, flags >> 5 & 1 == 1);
        let guarded = flags >> 2 & 1 == 1;
        if guarded {
            assert_eq!(api::shmkit_guard_enable(), OK);
        }
        // Who asks whether it is an orphan waits for a collector, or what passes for one: not every time.
        let looks = flags >> 4 & 1 == 1 && (obstacle % 16 != 10 || flags >> 6 == 3);
        if looks {
            look_around(&object, None);
        }
        if let Ok(handle) = take(&object, &options) {
            ACCEPTED.fetch_add(1, Relaxed);
            let facts = stat(handle).expect("nobody truncated it yet");
            accepted(handle, &object, &facts);
            if looks {
                look_around(&object, Some(&facts));
            }
            let mut steps = input.clone();
            for _ in 0..steps.byte() % 13 {
                step(handle, &object, &facts, &mut steps);
            }
            assert_eq!(api::shmkit_region_close(handle), OK);
            assert_eq!(api::shmkit_region_size(handle), 0, "a closed handle has a size");
            assert!(!object.is_locked_by_another(), "a lease outlived its handle");
        }
        if guarded {
            assert_eq!(api::shmkit_guard_disable(), OK);
        }
    });
}

fn stat(handle: Handle) -> Result<RegionStat, i32> {
    // SAFETY: plain numbers, for which zero is valid; the struct is writable.
    unsafe {
        let mut facts = RegionStat { struct_size: size_of::<RegionStat>(), ..zeroed() };
        let status = sound(api::shmkit_region_stat(handle, &mut facts));
        if status == OK { Ok(facts) } else { Err(status) }
    }
}

/// What must hold of a region when it was just accepted.
fn accepted(handle: Handle, object: &Object, facts: &RegionStat) {
    let (raw, read_only) = (facts.raw == 1, facts.read_only == 1);
    let size = api::shmkit_region_size(handle);
    let data = api::shmkit_region_data(handle).cast::<u8>();
    let offset = if raw { 0 } else { PAGE };
    assert!(size > 0 && !data.is_null() && data.addr().is_multiple_of(PAGE as usize));
    assert!(offset + size as u64 <= object.size(), "{size} bytes in an object of {}", object.size());
    assert_eq!((facts.size, facts.object_size), (size as u64, object.size()));
    assert!(facts.max_size >= facts.size && facts.layout_name[47] == 0);
    assert_eq!(facts.fragile, i32::from(matches!(object.kind, Kind::Posix | Kind::Passed)));
    assert!(object.kind != Kind::Memfd || facts.seals as c_int & libc::F_SEAL_SHRINK != 0, "its peer can shorten it");
    if !raw {
        assert_eq!((object.word(header::SIZE_AT), object.word(LARGEST_AT)), (facts.size, facts.max_size));
        assert_eq!(object.word(40), PAGE);
    }
    // SAFETY: what is accepted can be touched: that is the claim. Nobody truncates it meanwhile.
    unsafe {
        for at in (0..size).step_by(PAGE as usize).chain([size - 1]) {
            let byte = data.add(at).read_volatile();
            if !read_only {
                data.add(at).write_volatile(byte);
            }
        }
    }
    BUFFERS.with_borrow_mut(|[bytes, expected]| {
        let (bytes, expected) = (&mut bytes[..size], &mut expected[..size]);
        object.read(offset as usize, expected);
        copied(handle, object, bytes, expected, read_only);
    });
    participants(handle);
    grow_to_the_most(handle, object, facts);
}

thread_local! {
    /// Made once: what an allocator keeps back would look like a leak.
    static BUFFERS: RefCell<[Vec<u8>; 2]> = RefCell::new([MOST; 2].map(|size| vec![0; size]));
}

/// What must hold of copies of all of it.
fn copied(handle: Handle, object: &Object, bytes: &mut [u8], expected: &[u8], read_only: bool) {
    let size = bytes.len();
    // SAFETY: the buffer has as many bytes.
    unsafe {
        let to = bytes.as_mut_ptr().cast();
        assert_eq!(api::shmkit_region_copy_out(handle, 0, to, size), OK);
        assert_eq!(bytes, expected);
        assert_eq!(api::shmkit_region_copy_out(handle, 1, to, size), Status::ErrPastEnd as i32);
        let status = api::shmkit_region_copy_in(handle, 0, to, size);
        assert_eq!(status, if read_only { Status::ErrAccess as i32 } else { OK });
        let address = CStr::from_ptr(api::shmkit_region_address(handle));
        assert_eq!(address, object.address.as_c_str());
    }
}

fn participants(handle: Handle) -> i32 {
    unsafe extern "C" fn count(_: *const RegionParticipant, user: *mut c_void) -> c_int {
        // SAFETY: it leads to the number below.
        unsafe { *user.cast::<u32>() += 1 };
        0
    }
    let mut seen = 0u32;
    // SAFETY: the callback returns, and its argument outlives the call.
    let status = unsafe { api::shmkit_region_participants(handle, Some(count), (&raw mut seen).cast()) };
    assert!(seen >= 1, "not even this handle takes part");
    sound(status)
}

/// Grows with RLIMIT_FSIZE in the way of what the machine might not have.
fn grow(handle: Handle, size: u64) -> i32 {
    // SAFETY: zero is valid for the struct, which is readable and writable.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit);
        let before = limit.rlim_cur;
        limit.rlim_cur = LARGEST.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
        let status = api::shmkit_region_grow(handle, size);
        limit.rlim_cur = before;
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
        sound(status)
    }
}

fn grow_to_the_most(handle: Handle, object: &Object, facts: &RegionStat) {
    let status = grow(handle, facts.max_size);
    let size = api::shmkit_region_size(handle) as u64;
    if facts.raw == 1 || facts.backend == api::SHMKIT_BACKEND_SYSV {
        assert_eq!(status, Status::ErrBackend as i32);
    }
    if status != OK {
        assert_eq!(size, facts.size, "a growth that failed changed the size");
        return;
    }
    assert_eq!(size, facts.max_size);
    assert!(PAGE + size <= object.size(), "grown to {size} bytes in an object of {}", object.size());
    let data = api::shmkit_region_data(handle).cast::<u8>();
    // SAFETY: as in `accepted`.
    unsafe { data.add(size as usize - 1).write_volatile(1) };
    let mut last = 0u8;
    // SAFETY: the byte is writable.
    let status = unsafe { api::shmkit_region_copy_out(handle, size as usize - 1, (&raw mut last).cast(), 1) };
    assert_eq!((status, last), (OK, 1));
}

/// Lists and collects with the object there; what is in use must stay.
fn look_around(object: &Object, used: Option<&RegionStat>) {
    unsafe extern "C" fn count(shown: *const ListedObject, user: *mut c_void) -> c_int {
        // SAFETY: the struct and its string are valid during the call; `user` leads to the search below.
        unsafe {
            let (address, seen) = &mut *user.cast::<(CString, u32)>();
            *seen += u32::from(CStr::from_ptr((*shown).address) == address.as_c_str());
            assert_eq!((*shown).layout_name[47], 0);
        }
        0
    }
    let mut search = (object.address.clone(), 0u32);
    let user = (&raw mut search).cast();
    // SAFETY: the callback returns, and its argument outlives the call; the other pointers are good.
    unsafe {
        let what = survey::SHMKIT_LIST_POSIX | survey::SHMKIT_LIST_SYSV;
        assert_eq!(survey::shmkit_list(what, Some(count), user), OK);
        assert_eq!(search.1, u32::from(object.kind != Kind::Memfd), "listed another number of times");
        let mut answer = -1;
        sound(survey::shmkit_region_is_orphan(object.address.as_ptr(), &mut answer));
        let leased = used.is_some_and(|facts| facts.raw == 0);
        assert!(!leased || answer != survey::SHMKIT_ANSWER_YES, "an orphan in use");
        assert_eq!(survey::shmkit_gc(survey::SHMKIT_GC_DRY_RUN, Some(count), user, null_mut()), OK);
        if leased && ISOLATED.load(Relaxed) {
            assert_eq!(survey::shmkit_gc(survey::SHMKIT_GC_REMOVE, None, null_mut(), null_mut()), OK);
            assert!(object.has_its_name(), "gc removed a region that is in use");
        }
    }
}

/// One thing that the peer or the program does. The region may be gone afterwards; nothing may crash.
fn step(handle: Handle, object: &Object, facts: &RegionStat, input: &mut Input<'_>) {
    let room = object.size().saturating_sub(PAGE);
    let mut buffer = [0u8; 1024];
    match input.byte() % 14 {
        0 | 1 => {
            let (at, value, width) = patch(input, room);
            object.write(at, &value[..width]);
        }
        2 => object.truncate(input.size()),
        // SAFETY: the buffer has as many bytes as are ever asked for.
        3 | 4 => unsafe {
            let (offset, length) = (input.number(room) as usize, usize::from(input.half()) % buffer.len());
            let (at, copies) = (buffer.as_mut_ptr().cast::<c_void>(), facts.fragile == 0);
            let out = sound(api::shmkit_region_copy_out(handle, offset, at, length)) == OK;
            let end = offset.saturating_add(length) as u64;
            let fits = end.saturating_add(facts.data_offset) <= object.size().next_multiple_of(PAGE);
            assert!(!out || !copies || fits, "a copy from behind the end of the object");
            sound(api::shmkit_region_copy_in(handle, offset, at, length));
        },
        5 => {
            let size = api::shmkit_region_size(handle);
            assert!(size as u64 <= facts.max_size, "larger than its largest size");
            assert!(
                facts.fragile == 1 || facts.data_offset + size as u64 <= object.size(),
                "{size} bytes in an object of {} that nobody can make shorter",
                object.size()
            );
            // SAFETY: the buffer has one byte. The last byte of what there is said to be.
            unsafe { sound(api::shmkit_region_copy_out(handle, size.wrapping_sub(1), buffer.as_mut_ptr().cast(), 1)) };
        }
        6 => drop(grow(handle, input.number(room))),
        // SAFETY: a scope that began is safe to touch, whatever the peer did before.
        7 => unsafe {
            let (mut data, mut size) = (null_mut(), 0);
            if sound(api::shmkit_region_access_begin(handle, &mut data, &mut size)) == OK {
                if size > 0 {
                    data.cast::<u8>().add(size - 1).read_volatile();
                }
                sound(api::shmkit_region_access_end(handle));
            }
        },
        8 => drop(stat(handle)),
        9 => drop(participants(handle)),
        10 => {
            let (offset, length) = (input.number(room) as usize, input.number(room) as usize);
            sound(api::shmkit_region_advise(handle, offset, length, c_int::from(input.byte())));
            sound(api::shmkit_region_sync(handle, offset, length, i32::from(input.byte() % 5)));
        }
        11 => drop(sound(api::shmkit_region_seal(handle, u32::from(input.byte())))),
        12 => object.obstruct(input.byte()),
        _ => pass_on(handle, input.byte()),
    }
}

/// Sends a region to ourselves and looks at what comes.
fn pass_on(handle: Handle, access: u8) {
    let mut ends = [-1; 2];
    let mut other: Handle = null_mut();
    // SAFETY: the array has room for two; the sockets are closed here.
    unsafe {
        let made = libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr());
        assert_eq!(made, 0);
        if sound(api::shmkit_region_send(handle, ends[0], i32::from(access % 3))) == OK
            && sound(api::shmkit_region_recv(ends[1], &usual(), &mut other)) == OK
        {
            assert_eq!(api::shmkit_region_close(other), OK);
        }
        libc::close(ends[0]);
        libc::close(ends[1]);
    }
}

/// The message that carries a region with this address.
fn good_message(address: &[u8]) -> Vec<u8> {
    let mut message = vec![0; MESSAGE];
    message[..8].copy_from_slice(b"shmkitSP");
    message[8..12].copy_from_slice(&1u32.to_ne_bytes());
    message[12..16].copy_from_slice(&(address.len() as u32).to_ne_bytes());
    let length = address.len().min(MESSAGE - 16);
    message[16..16 + length].copy_from_slice(&address[..length]);
    message
}

/// Bytes of a message.
const MESSAGE: usize = 320;

/// Puts parts into a new socket, the descriptors with the first, and closes the writing end. The reading end.
fn deliver(kind: c_int, parts: &[&[u8]], fds: &[c_int]) -> c_int {
    let mut ends = [-1; 2];
    // SAFETY: the arrays have room for what is said; the control room holds eight descriptors: CMSG_SPACE(32) is 48.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()), 0);
        for (index, part) in parts.iter().enumerate() {
            let mut control = [0u64; 8];
            let mut bytes = libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
            let mut message: libc::msghdr = zeroed();
            (message.msg_iov, message.msg_iovlen) = (&mut bytes, 1);
            if index == 0 && !fds.is_empty() {
                let length = size_of_val(fds) as u32;
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(length) as _;
                let header = libc::CMSG_FIRSTHDR(&message);
                ((*header).cmsg_level, (*header).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
                (*header).cmsg_len = libc::CMSG_LEN(length) as _;
                std::ptr::copy_nonoverlapping(fds.as_ptr().cast(), libc::CMSG_DATA(header), length as usize);
            }
            // A part without bytes is no message of a stream, and then carries nothing.
            libc::sendmsg(ends[0], &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
        }
        libc::close(ends[0]);
    }
    ends[1]
}

/// Messages of any bytes, in parts, with any descriptors.
///
/// | byte | choice |
/// |---|---|
/// | 0 | sort of socket (low 2 bits), bytes as they are, where it is cut |
/// | 1, 2 | options |
/// | 3 | number of descriptors (low 3 bits) |
/// | then | a byte a descriptor: its sort; then the message, or an address and bytes to replace |
pub fn message(input: &[u8]) {
    let mut input = Input(input);
    let flags = input.byte();
    let options = choose_options(&mut input);
    let sorts: Vec<u8> = (0..input.byte() & 7).map(|_| input.byte()).collect();
    let bytes = if flags >> 2 & 1 == 1 {
        input.bytes(MESSAGE + 16).to_vec()
    } else {
        let replaced: Vec<(usize, u8)> =
            (0..input.byte() % 8).map(|_| (usize::from(input.half()) % MESSAGE, input.byte())).collect();
        let mut message = good_message(input.bytes(MESSAGE));
        replaced.iter().for_each(|(at, byte)| message[*at] = *byte);
        message
    };
    let kind = [libc::SOCK_SEQPACKET, libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_STREAM][usize::from(flags & 3)];
    let cut = bytes.len() * usize::from(flags >> 3) / 31;
    without_leaks(|| {
        let fds: Vec<c_int> = sorts.iter().map(|sort| object::descriptor(*sort)).collect();
        let parts = [&bytes[..cut], &bytes[cut..]];
        let from = match cut {
            0 => deliver(kind, &parts[1..], &fds),
            _ => deliver(kind, &parts, &fds),
        };
        let mut handle: Handle = null_mut();
        // SAFETY: options and handle are good; the descriptors are ours.
        let status = unsafe {
            for fd in &fds {
                libc::close(*fd);
            }
            let status = sound(api::shmkit_region_recv(from, &options, &mut handle));
            libc::close(from);
            status
        };
        assert_eq!(status == OK, !handle.is_null(), "a handle and a failure, or neither");
        if status == OK {
            received(handle, &bytes);
        }
    });
}

fn received(handle: Handle, message: &[u8]) {
    ACCEPTED.fetch_add(1, Relaxed);
    let facts = stat(handle).expect("nobody truncates it");
    // SAFETY: the address is terminated. What is accepted can be touched.
    unsafe {
        let address = CStr::from_ptr(api::shmkit_region_address(handle)).to_bytes();
        let parsed = Parsed::new(address).map_err(|failure| failure.cause).expect("an address that can be read");
        assert_eq!(parsed.text(), address, "its address is not in the canonical form");
        let sent = &message[16..];
        assert!(!address.starts_with(b"posix:") || sent.starts_with(address), "another address than was sent");
        let size = api::shmkit_region_size(handle);
        assert!(size > 0 && facts.data_offset + size as u64 <= facts.object_size);
        let named = matches!(facts.backend, api::SHMKIT_BACKEND_POSIX | api::SHMKIT_BACKEND_FILE);
        assert!(named || facts.seals as c_int & libc::F_SEAL_SHRINK != 0, "its sender can shorten it");
        api::shmkit_region_data(handle).cast::<u8>().add(size - 1).read_volatile();
    }
    participants(handle);
    // The name was not checked, and need not be: but removing it must not remove another object.
    assert_ne!(sound(api::shmkit_region_unlink(handle)), OK, "removed the name of an object that has none");
    assert_eq!(api::shmkit_region_close(handle), OK);
}

/// Address strings: what can be read has one canonical form, which reads the same again; then it is opened, and its
/// orphan and its removal are asked for, where that can do no harm.
pub fn address(input: &[u8]) {
    let text = input;
    let Ok(parsed) = Parsed::new(text).map_err(|failure| assert!(!failure.cause.is_empty())) else {
        return open_text(text);
    };
    ACCEPTED.fetch_add(1, Relaxed);
    let canonical = parsed.text();
    assert!(!canonical.contains(&0), "a NUL inside");
    assert!(canonical.len() <= 4096 + 8);
    let again = Parsed::new(canonical).map_err(|failure| failure.cause).expect("the canonical form is an address");
    assert_eq!(again.text(), canonical, "the canonical form has another");
    let scheme: &[u8] = match (parsed.get(), again.get()) {
        (Address::Path(backend, rest), Address::Path(same, other)) => {
            assert_eq!((backend, rest), (same, other));
            assert!(rest.starts_with(b"/"));
            match backend {
                Backend::Posix => {
                    assert!(rest.len() > 1 && rest.len() <= 256 && !rest[1..].contains(&b'/'));
                    b"posix:"
                }
                _ => b"file:",
            }
        }
        (Address::Key(key), Address::Key(same)) => {
            assert_eq!(key, same);
            assert_ne!(key, libc::IPC_PRIVATE);
            b"sysv:"
        }
        (Address::Label(Backend::Memfd, label), Address::Label(Backend::Memfd, same)) => {
            assert_eq!(label, same);
            assert!(label.len() <= 249);
            b"memfd:"
        }
        (Address::Label(Backend::Anonymous, _), Address::Label(Backend::Anonymous, _)) => b"anon:",
        _ => panic!("the canonical form names something else"),
    };
    assert!(canonical.starts_with(scheme));
    // Files and keys of others stay untouched.
    let harmless = match parsed.get() {
        Address::Path(Backend::Posix, _) | Address::Key(_) => ISOLATED.load(Relaxed),
        Address::Path(..) => false,
        Address::Label(..) => true,
    };
    if harmless {
        open_text(text);
    }
}

/// Calls that take an address, on an address that leads to nothing.
fn open_text(text: &[u8]) {
    let Ok(text) = CString::new(text) else { return };
    if Parsed::new(text.as_bytes()).is_ok_and(|parsed| matches!(parsed.get(), Address::Path(Backend::File, _))) {
        return;
    }
    without_leaks(|| {
        let mut handle: Handle = null_mut();
        let mut answer = -1;
        // SAFETY: the text is terminated; the other pointers are good.
        unsafe {
            assert_ne!(sound(api::shmkit_region_open(text.as_ptr(), null(), &mut handle)), OK);
            assert_ne!(sound(survey::shmkit_region_is_orphan(text.as_ptr(), &mut answer)), OK);
            assert_ne!(sound(survey::shmkit_unlink(text.as_ptr())), OK);
            let options = RegionOptions { size: 8, ..usual() };
            if ISOLATED.load(Relaxed) && api::shmkit_region_create(text.as_ptr(), &options, &mut handle) == OK {
                let canonical = CStr::from_ptr(api::shmkit_region_address(handle)).to_owned();
                let named = !canonical.as_bytes().starts_with(b"memfd:") && canonical.as_bytes() != b"anon:";
                let mut other: Handle = null_mut();
                if named {
                    assert_eq!(api::shmkit_region_open(canonical.as_ptr(), null(), &mut other), OK, "{canonical:?}");
                    assert_eq!(api::shmkit_region_close(other), OK);
                    assert_eq!(survey::shmkit_unlink(text.as_ptr()), OK, "{text:?}");
                }
                assert_eq!(api::shmkit_region_close(handle), OK);
            }
        }
    });
}

/// Header and record bytes without an object: what is accepted cannot be a lie, and reads the same when it is written.
///
/// | byte | choice |
/// |---|---|
/// | 0 | bytes as they are; page size |
/// | then | the object's size, and the bytes (see `first_page`) |
pub fn decode(input: &[u8]) {
    let mut input = Input(input);
    let flags = input.byte();
    let object_size = match flags >> 1 & 1 {
        0 => input.size(),
        _ => input.number(2 * PAGE),
    };
    let page_size = [PAGE, PAGE, PAGE, 16_384, 65_536, 0, 1, u64::MAX][usize::from(flags >> 2 & 7)];
    let page = first_page(&mut input, flags & 1 == 1, object_size.clamp(header::SIZE as u64, 1 << 30));
    let mut bytes = [0; header::SIZE];
    let length = page.len().min(bytes.len());
    bytes[..length].copy_from_slice(&page[..length]);
    let facts = Facts { object_size, page_size };
    let claimed = Header::is_claimed(&bytes);
    assert!(!Header::is_claimed(&bytes[..7]));
    let record: [u8; header::RECORD_SIZE] = std::array::from_fn(|index| bytes[index]);
    assert_eq!(Record::decode(&Record::decode(&record).encode()), Record::decode(&record));
    match Header::decode(&bytes, &facts) {
        Ok(found) => {
            ACCEPTED.fetch_add(1, Relaxed);
            assert!(claimed && found.state == header::READY);
            assert_eq!(found.data_offset, page_size);
            assert!(found.size > 0 && found.size <= object_size && object_size - found.size >= found.data_offset);
            assert!(found.max_size >= found.size && found.max_size <= i64::MAX as u64);
            assert_eq!(found.layout.name[47], 0);
            let again = Header::decode(&found.encode(page_size as u32), &facts);
            assert_eq!(again.map_err(|failure| failure.cause), Ok(found), "written, it reads otherwise");
            assert!(found.layout.require(&found.layout).is_ok());
            let named = Layout::new(&found.layout.name[..47], found.layout.version, found.layout.size, 1);
            let _ = named.require(&found.layout).is_ok();
        }
        Err(failure) => {
            assert!(!failure.cause.is_empty() && failure.status != Status::Ok);
            assert_eq!(failure.status == Status::ErrNotARegion, !claimed);
        }
    }
}
