//! `shmkit show` of rings, queues, broadcasts and cells: what it says is what the library's calls did, and what cannot be
//! is not believed.

#[path = "machine/mod.rs"]
mod room;

use std::ffi::{CString, c_void};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shmkit::capi::broadcast::*;
use shmkit::capi::cell::*;
use shmkit::capi::queue::*;
use shmkit::capi::region::*;
use shmkit::capi::ring::*;

use room::{Object, region, tool};

/// An end, where it may stay.
fn new<T>() -> Box<T> {
    // SAFETY: the types of the C API are bytes.
    Box::new(unsafe { std::mem::zeroed() })
}

/// An open region of the library's over an object.
struct Open {
    object: Object,
    handle: *mut shmkit_region_t,
    data: *mut c_void,
    size: usize,
}

impl Open {
    fn new(size: usize) -> Open {
        let object = Object::new();
        region(&object.address(), &vec![0; size], 0);
        let address = CString::new(object.address()).expect("no NUL");
        let mut handle = null_mut();
        // SAFETY: the address is a string, the handle a place.
        let data = unsafe {
            assert_eq!(shmkit_region_open(address.as_ptr(), null(), &mut handle), 0);
            shmkit_region_data(handle)
        };
        Open { object, handle, data, size }
    }

    fn shown(&self) -> Value {
        shown(&self.object.address())
    }

    fn text(&self) -> String {
        let ran = tool(&["show", &self.object.address()]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.out
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        assert_eq!(shmkit_region_close(self.handle), 0);
    }
}

fn shown(address: &str) -> Value {
    let ran = tool(&["show", "--json", address]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.json()["objects"][0].clone()
}

/// The line of a name, without the name.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim()
}

#[test]
fn a_ring() {
    let open = Open::new(8192);
    let (mut producer, mut consumer) = (new::<shmkit_ring_t>(), new::<shmkit_ring_t>());
    let own = std::process::id();
    let (mut data, mut size) = (null(), 0);
    // SAFETY: the memory is the region's, the ends stay where they are.
    unsafe {
        assert_eq!(shmkit_ring_init(open.data, open.size, null()), 0);
        let nobody = open.shown()["container"].clone();
        assert_eq!((&nobody["producer"], &nobody["consumer"]), (&Value::Null, &Value::Null));
        assert_eq!(shmkit_ring_attach(&mut *producer, open.data, open.size, null(), SHMKIT_RING_PRODUCE), 0);
        assert_eq!(shmkit_ring_attach(&mut *consumer, open.data, open.size, null(), SHMKIT_RING_CONSUME), 0);
        for _ in 0..3 {
            assert_eq!(shmkit_ring_write(&mut *producer, b"0123456789".as_ptr().cast(), 10, 0), 0);
        }
        assert_eq!(shmkit_ring_peek(&mut *consumer, &mut data, &mut size, 0), 0);
        assert_eq!(shmkit_ring_release(&mut *consumer, 1), 0);
        assert_eq!(shmkit_ring_detach(&mut *consumer), 0);
        // Three of 1000 bytes, and no room for a fourth.
        while shmkit_ring_write(&mut *producer, [0u8; 1000].as_ptr().cast(), 1000, 0) == 0 {}
    }
    let expected = json!({
        "kind": "ring", "capacity": 4096, "used": 2 * 24 + 3 * 1008, "written": 6, "read": 1, "depth": 5, "refused": 1,
        "closed": false, "producer": { "pid": own, "alive": true }, "consumer": null,
    });
    let found = open.shown();
    assert_eq!((&found["container"], &found["container_why"]), (&expected, &Value::Null));
    let text = open.text();
    assert!(line(&text, "ring").starts_with("5 messages in "), "{text}");
    assert_eq!(line(&text, "traffic"), "6 written, 1 read, 1 refused for want of room");
    assert_eq!(line(&text, "producer"), format!("{own} (alive)"));
    assert_eq!(line(&text, "consumer"), "nobody");

    // A process that is no more, as its role says; whose start time was another one's.
    let mut gone = Command::new("true").spawn().expect("true is there");
    let pid = gone.id();
    gone.wait().expect("it ends");
    let role = u64::from(pid) << 32 | 1;
    let file = OpenOptions::new().write(true).open(open.object.path()).expect("it is there");
    file.write_all_at(&role.to_le_bytes(), 4096 + 32).expect("it can be written");
    // SAFETY: the producer is attached.
    unsafe { assert_eq!(shmkit_ring_close(&mut *producer), 0) };
    let found = open.shown();
    assert_eq!(found["container"]["producer"], json!({ "pid": pid, "alive": false }));
    assert_eq!(found["container"]["closed"], true);
    assert!(line(&open.text(), "ring").ends_with(", closed"));

    // What cannot be.
    file.write_all_at(&u64::MAX.to_le_bytes(), 4096 + 8).expect("it can be written");
    let found = open.shown();
    assert_eq!(found["container"], Value::Null);
    assert_eq!(found["container_why"], "it has the stamp of a ring, and what follows cannot be");
    assert!(line(&open.text(), "container").starts_with("not believed: it has the stamp of a ring"));
}

/// For another thread.
struct Ends(*mut shmkit_ring_t, *mut shmkit_ring_t);

// SAFETY: one thread at a time uses them.
unsafe impl Send for Ends {}

/// How fast messages come and go, while they do.
#[test]
fn rates() {
    let open = Open::new(8192);
    let mut ends = [new::<shmkit_ring_t>(), new::<shmkit_ring_t>()];
    // SAFETY: the memory is the region's, the ends stay where they are.
    unsafe {
        assert_eq!(shmkit_ring_init(open.data, 1024, null()), 0);
        for (end, role) in ends.iter_mut().zip([SHMKIT_RING_PRODUCE, SHMKIT_RING_CONSUME]) {
            assert_eq!(shmkit_ring_attach(&mut **end, open.data, 1024, null(), role), 0);
        }
    }
    let shown = |open: &Open| shown(&open.object.address());
    let still = shown(&open);
    assert_eq!(still["container_rates"]["per_second"], json!({ "written": 0.0, "read": 0.0, "refused": 0.0 }));
    assert_eq!(still["container_rates_why"], Value::Null);
    assert!(line(&open.text(), "rate").starts_with("0 written, 0 read, 0 refused a second, over 0."));
    let done = &AtomicBool::new(false);
    let both = Ends(&mut *ends[0], &mut *ends[1]);
    let (moving, text) = std::thread::scope(|scope| {
        scope.spawn(move || {
            let Ends(producer, consumer) = { both };
            let (mut buffer, mut size) = ([0u8; 8], 0);
            while !done.load(SeqCst) {
                // SAFETY: both ends are this thread's meanwhile.
                unsafe {
                    assert_eq!(shmkit_ring_write(producer, buffer.as_ptr().cast(), 8, 0), 0);
                    assert_eq!(shmkit_ring_read(consumer, buffer.as_mut_ptr().cast(), 8, &mut size, 0), 0);
                }
            }
        });
        let ran = std::panic::catch_unwind(|| (shown(&open), open.text()));
        done.store(true, SeqCst);
        ran.expect("the tool shows it")
    });
    let rates = &moving["container_rates"];
    let over = rates["over_seconds"].as_f64().expect("a number");
    assert!(over >= 0.1, "{over}");
    for name in ["written", "read"] {
        let rate = rates["per_second"][name].as_f64().expect("a number");
        assert!(rate * over >= 1.0, "{name}: {rate}");
    }
    assert_eq!(rates["per_second"]["refused"], 0.0);
    assert!(!line(&text, "rate").starts_with("0 written"), "{text}");
    // SAFETY: they are attached.
    ends.iter_mut().for_each(|end| unsafe { assert_eq!(shmkit_ring_detach(&mut **end), 0) });
}

#[test]
fn a_queue() {
    let open = Open::new(8192);
    let options = shmkit_queue_options_t {
        struct_size: size_of::<shmkit_queue_options_t>(),
        messages: 4,
        message_size: 48,
        // SAFETY: all zeros is a layout without a name.
        layout: unsafe { std::mem::zeroed() },
        overflow: SHMKIT_OVERFLOW_DROP,
        delivery: SHMKIT_DELIVERY_AT_MOST_ONCE,
    };
    let mut member = new::<shmkit_queue_t>();
    let (mut data, mut size) = (null(), 0);
    // SAFETY: the memory is the region's, the member stays where it is.
    unsafe {
        assert_eq!(shmkit_queue_init(open.data, open.size, &options), 0);
        assert_eq!(line(&open.text(), "members"), "none yet");
        assert_eq!(shmkit_queue_attach(&mut *member, open.handle, open.data, open.size, null()), 0);
        for _ in 0..6 {
            assert_eq!(shmkit_queue_send(&mut *member, b"abc".as_ptr().cast(), 3, 0), 0);
        }
        assert_eq!(shmkit_queue_take(&mut *member, &mut data, &mut size, 0), 0);
        assert_eq!(shmkit_queue_release(&mut *member), 0);
    }
    let own = std::process::id();
    let found = open.shown()["container"].clone();
    let lease = found["members"][0]["lease"].as_u64().expect("a number");
    let expected = json!({
        "kind": "queue", "messages": 4, "message_size": 48, "depth": 3, "sent": 4, "taken": 1, "dropped": 2, "lost": 0,
        "again": 0, "overflow": "drop", "delivery": "at_most_once", "closed": false,
        "members": [{ "lease": lease, "pid": own, "present": true }],
    });
    assert_eq!(found, expected);
    let text = open.text();
    assert!(line(&text, "queue").starts_with("3 of 4 messages of up to "), "{text}");
    assert!(line(&text, "queue").ends_with(", drop, at most once"), "{text}");
    assert_eq!(line(&text, "traffic"), "4 sent, 1 taken, 2 dropped, 0 lost, 0 given again");
    assert_eq!(line(&text, "members"), own.to_string());

    // It leaves, and nobody has the region open any more.
    let object = open.object.address();
    // SAFETY: as above.
    unsafe { assert_eq!(shmkit_queue_detach(&mut *member), 0) };
    // Closed once: nothing below closes it again.
    let open = std::mem::ManuallyDrop::new(open);
    assert_eq!(shmkit_region_close(open.handle), 0);
    // A child of another test, between its fork and its exec, has the lease for as long.
    let end = Instant::now() + Duration::from_secs(20);
    while shown(&object)["container"]["members"][0]["present"] != false {
        assert!(Instant::now() < end, "the lease is still there");
    }
    fs::remove_file(open.object.path()).expect("it is there");
}

#[test]
fn a_broadcast_and_a_cell() {
    let open = Open::new(8192);
    let mut member = new::<shmkit_broadcast_t>();
    // SAFETY: the memory is the region's, the member stays where it is.
    unsafe {
        assert_eq!(shmkit_broadcast_init(open.data, open.size, 4, 48, null()), 0);
        let attached =
            shmkit_broadcast_attach(&mut *member, open.handle, open.data, open.size, null(), SHMKIT_BROADCAST_FROM_NOW);
        assert_eq!(attached, 0);
        for _ in 0..9 {
            assert_eq!(shmkit_broadcast_write(&mut *member, b"abc".as_ptr().cast(), 3), 0);
        }
        assert_eq!(shmkit_broadcast_close(&mut *member), 0);
    }
    let found = open.shown()["container"].clone();
    let members = found["members"].clone();
    assert_eq!(members[0]["pid"], std::process::id());
    let expected = json!({
        "kind": "broadcast", "messages": 4, "message_size": 48, "written": 9, "lost": 0, "closed": true, "members": members,
    });
    assert_eq!(found, expected);
    assert_eq!(line(&open.text(), "traffic"), "9 written, 0 lost");
    // SAFETY: as above.
    unsafe { assert_eq!(shmkit_broadcast_detach(&mut *member), 0) };

    let mut writer = new::<shmkit_cell_t>();
    // SAFETY: as above.
    unsafe {
        assert_eq!(shmkit_cell_init(open.data, open.size, 100, null()), 0);
        assert_eq!(shmkit_cell_attach(&mut *writer, open.data, open.size, null(), SHMKIT_CELL_WRITE), 0);
        for _ in 0..5 {
            assert_eq!(shmkit_cell_write(&mut *writer, b"abc".as_ptr().cast(), 3), 0);
        }
    }
    let own = std::process::id();
    let expected = json!({ "kind": "cell", "value_size": 100, "version": 5, "writer": { "pid": own, "alive": true } });
    assert_eq!(open.shown()["container"], expected);
    assert_eq!(line(&open.text(), "writer"), format!("{own} (alive)"));
    assert!(line(&open.text(), "cell").starts_with("value 5, of up to "));
    // SAFETY: as above.
    unsafe { assert_eq!(shmkit_cell_detach(&mut *writer), 0) };
    assert_eq!(open.shown()["container"]["writer"], Value::Null);
}

#[test]
fn what_is_something_else() {
    // A region of something else.
    let open = Open::new(100);
    let found = open.shown();
    assert_eq!(found["container"], Value::Null);
    assert_eq!(found["container_why"], "its data begins with no ring, queue, broadcast or cell");
    assert!(!open.text().lines().any(|line| line.starts_with("container")));

    // An object of other software, with a ring at its beginning.
    #[repr(C, align(64))]
    struct Memory([u8; 1280]);
    let mut memory = Box::new(Memory([0; 1280]));
    // SAFETY: the memory is there.
    unsafe { assert_eq!(shmkit_ring_init(memory.0.as_mut_ptr().cast(), 1280, null()), 0) };
    let object = Object::new();
    fs::write(object.path(), memory.0).expect("there is room");
    let found = shown(&object.address());
    assert_eq!((&found["container"]["kind"], &found["container"]["capacity"]), (&json!("ring"), &json!(1024)));
    // Cut off: the ring would be larger than its object.
    fs::write(object.path(), &memory.0[..1000]).expect("there is room");
    let found = shown(&object.address());
    assert_eq!(found["container_why"], "it has the stamp of a ring, and what follows cannot be");
    fs::write(object.path(), &memory.0[..9]).expect("there is room");
    assert_eq!(shown(&object.address())["container"], Value::Null);
}
