//! `shmkit show` of locks and their kin: what it says is what the library's calls did in other processes, alive and killed;
//! and bytes that are no lock are none.

#[path = "machine/mod.rs"]
mod machine;
#[path = "room/mod.rs"]
mod room;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shmkit::capi::region::*;
use shmkit::capi::sync::*;
use shmkit::region::handle::Space;
use shmkit::sync::object::Kind;

use machine::{Object, noise, region};
use room::{Forked, child, json, text};

const OK: i32 = 0;
/// SHMKIT_ERR_OWNER_DIED
const OWNER_DIED: i32 = shmkit::error::Status::ErrOwnerDied as i32;

// Where the objects lie in the data.
const MUTEX: usize = 0;
const ONCE: usize = 64;
const COND: usize = 128;
const SEMAPHORE: usize = 160;
const EVENT: usize = 192;
const RWLOCK: usize = 256;
const PERMITS: usize = RWLOCK + 2048;
const BARRIER: usize = PERMITS + 1088;
const SIZE: usize = 8192;

/// Opens a region for as long as this process lives.
fn open(address: &str) -> usize {
    let address = CString::new(address).expect("no NUL");
    let mut handle = null_mut();
    // SAFETY: the address is a string, the handle a place.
    unsafe {
        assert_eq!(shmkit_region_open(address.as_ptr(), null(), &mut handle), OK);
        shmkit_region_data(handle) as usize
    }
}

fn place<T>(data: usize, at: usize) -> *mut T {
    (data + at) as *mut T
}

/// Makes one of each in memory.
fn init_all(data: usize) {
    assert_eq!(shmkit_mutex_init(place(data, MUTEX)), OK);
    assert_eq!(shmkit_once_init(place(data, ONCE)), OK);
    assert_eq!(shmkit_cond_init(place(data, COND)), OK);
    assert_eq!(shmkit_semaphore_init(place(data, SEMAPHORE), 3), OK);
    assert_eq!(shmkit_event_init(place(data, EVENT)), OK);
    assert_eq!(shmkit_rwlock_init(place(data, RWLOCK)), OK);
    assert_eq!(shmkit_robust_sem_init(place(data, PERMITS), 3), OK);
    assert_eq!(shmkit_barrier_init(place(data, BARRIER), 3), OK);
}

/// A region with one of each, made by a process that is no more; nobody has it open.
fn everything() -> Object {
    let object = Object::new();
    let address = object.address();
    region(&address, &[0; SIZE], 0);
    drop(child(|| init_all(open(&address))));
    object
}

fn shown(address: &str) -> Value {
    json(&["show", address])["objects"][0].clone()
}

/// The locks that are shown of an object.
fn locks(address: &str) -> Vec<Value> {
    let shown = shown(address);
    assert_eq!(shown["locks_why"], Value::Null);
    shown["locks"].as_array().unwrap_or_else(|| panic!("no locks: {shown}")).clone()
}

/// The one at an offset.
fn lock(address: &str, at: usize) -> Value {
    let all = locks(address);
    all.iter().find(|lock| lock["offset"] == at).unwrap_or_else(|| panic!("none at {at}: {all:?}")).clone()
}

/// The row of the one at an offset, in the table.
fn row(address: &str, at: usize) -> String {
    let all = text(&["show", address]);
    let table = all.split_once("\nOFFSET").unwrap_or_else(|| panic!("no table: {all}")).1;
    let found = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let found = found.into_iter().find(|line| line.starts_with(&format!("{at} ")));
    found.unwrap_or_else(|| panic!("no row {at}: {all}"))
}

/// Looks until something is so: until a thread sleeps, which nothing else tells.
#[track_caller]
fn until(address: &str, at: usize, mut is_so: impl FnMut(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let lock = lock(address, at);
        if is_so(&lock) {
            return lock;
        }
        assert!(Instant::now() < end, "it never came: {lock}");
    }
}

/// A process that does something with the data of a region, and stays.
fn does(address: &str, work: impl FnOnce(usize)) -> Forked {
    child(|| work(open(address)))
}

/// The same in a thread of its own, for what waits.
fn waits(address: &str, work: impl FnOnce(usize) + Send + 'static) -> Forked {
    let address = address.to_string();
    child(move || {
        let data = open(&address);
        std::thread::spawn(move || work(data));
    })
}

fn command(pid: u64) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives").trim_end().to_string()
}

/// As a living process is shown that holds something by its first thread.
fn holder(process: &Forked) -> Value {
    let pid = process.pid();
    json!({ "tid": pid, "pid": pid, "command": command(pid), "alive": true, "alive_why": null })
}

/// Whether a holder is a thread of a living process that is not its first one.
fn is_thread_of(holder: &Value, process: &Forked) -> bool {
    let tid = holder["tid"].as_u64();
    let known = tid.is_some_and(|tid| fs::metadata(format!("/proc/{}/task/{tid}", process.pid())).is_ok());
    known && tid != Some(process.pid()) && holder["pid"] == process.pid() && holder["alive"] == true
}

#[test]
fn all_kinds_free() {
    let object = everything();
    let address = object.address();
    let free = json!([
        { "offset": MUTEX, "kind": "mutex", "state": "free", "owner_died": false, "holder": null, "awaited": false },
        { "offset": ONCE, "kind": "once", "state": "not_run", "owner_died": false, "holder": null, "awaited": false },
        { "offset": COND, "kind": "cond", "awaited": false },
        { "offset": SEMAPHORE, "kind": "semaphore", "value": 3, "awaited": false },
        { "offset": EVENT, "kind": "event", "awaited": false },
        { "offset": RWLOCK, "kind": "rwlock", "state": "free", "owner_died": false, "holder": null, "readers": [],
          "awaited": false },
        { "offset": PERMITS, "kind": "robust_semaphore", "permits": 3, "free": 3, "holders": [], "awaited": false },
        { "offset": BARRIER, "kind": "barrier", "needed": 3, "arrived": 0, "owner_died": false, "broken": false,
          "waiting": [], "joined": [], "awaited": false },
    ]);
    assert_eq!(Value::Array(locks(&address)), free);
    let text = text(&["show", &address]);
    assert!(text.contains("\nlocks        8 (8.0K looked at, 0 are holes):\n"), "{text}");
    let rows: Vec<_> = text.split_once("\nOFFSET").expect("a table").1.lines().skip(1).collect();
    assert_eq!(rows.len(), 8, "{text}");
    for (at, expected) in [
        (MUTEX, "mutex free no -"),
        (ONCE, "once not run no -"),
        (COND, "cond - no -"),
        (SEMAPHORE, "semaphore value 3 no -"),
        (EVENT, "event - no -"),
        (RWLOCK, "rwlock free no -"),
        (PERMITS, "robust_semaphore 3 of 3 free no -"),
        (BARRIER, "barrier 0 of 3 have come no -"),
    ] {
        assert_eq!(row(&address, at), format!("{at} {expected}"));
    }
    // To look changed nothing: each is as it was, and can be used.
    let bytes = fs::read(object.path()).expect("it is there");
    assert_eq!(Value::Array(locks(&address)), free);
    assert_eq!(fs::read(object.path()).expect("it is there"), bytes);
}

#[test]
fn a_mutex_held_waited_for_and_left_by_the_dead() {
    let object = everything();
    let address = object.address();
    let mut first = does(&address, |data| assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OK));
    let held = lock(&address, MUTEX);
    assert_eq!(
        (&held["state"], &held["holder"], &held["owner_died"]),
        (&json!("held"), &holder(&first), &json!(false))
    );
    assert_eq!(held["awaited"], false);
    let pid = first.pid();
    assert_eq!(row(&address, MUTEX), format!("0 mutex held no {pid} ({})", command(pid)));

    let mut second = waits(&address, |data| {
        assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OWNER_DIED);
        loop {
            std::thread::park();
        }
    });
    let awaited = until(&address, MUTEX, |lock| lock["awaited"] == true);
    assert_eq!((&awaited["state"], &awaited["holder"]), (&json!("held"), &holder(&first)));
    assert!(row(&address, MUTEX).starts_with("0 mutex held perhaps "));

    // The one that waited has it now, and was told of the death.
    first.kill();
    let taken = until(&address, MUTEX, |lock| is_thread_of(&lock["holder"], &second));
    assert_eq!((&taken["state"], &taken["owner_died"]), (&json!("held"), &json!(true)));
    let expected = format!("{} of {} ({})", taken["holder"]["tid"], second.pid(), command(second.pid()));
    assert!(row(&address, MUTEX).starts_with("0 mutex held, a holder died "), "{}", row(&address, MUTEX));
    assert!(row(&address, MUTEX).ends_with(&expected), "{}", row(&address, MUTEX));

    // Nobody comes after the second one.
    second.kill();
    let left = lock(&address, MUTEX);
    assert_eq!((&left["state"], &left["owner_died"], &left["holder"]), (&json!("free"), &json!(true), &Value::Null));
    assert!(row(&address, MUTEX).starts_with("0 mutex free, a holder died "));

    drop(does(&address, |data| {
        assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OWNER_DIED);
        assert_eq!(shmkit_mutex_abandon(place(data, MUTEX)), OK);
    }));
    let lost = lock(&address, MUTEX);
    assert_eq!(
        (&lost["state"], &lost["owner_died"], &lost["holder"]),
        (&json!("abandoned"), &json!(false), &Value::Null)
    );
}

#[test]
fn a_holder_that_does_not_exist() {
    let object = everything();
    // As where the kernel's list was cut: the word bears the id of a thread that is no more.
    let mut gone = child(|| ());
    let id = gone.pid();
    gone.kill();
    let file = OpenOptions::new().write(true).open(object.path()).expect("it is there");
    file.write_all_at(&(id as u32).to_le_bytes(), 4096 + MUTEX as u64).expect("it can be written");
    let held = lock(&object.address(), MUTEX);
    let dead = json!({ "tid": id, "pid": null, "command": null, "alive": false, "alive_why": null });
    assert_eq!((&held["holder"], &held["owner_died"]), (&dead, &json!(true)));
    assert!(row(&object.address(), MUTEX).ends_with(&format!("{id} (dead)")));
}

#[test]
fn readers_and_a_writer() {
    let object = everything();
    let address = object.address();
    let read = |data| assert_eq!(shmkit_rwlock_read_lock(place(data, RWLOCK)), OK);
    let (mut one, two) = (does(&address, read), does(&address, read));
    let reading = lock(&address, RWLOCK);
    assert_eq!(
        (&reading["state"], &reading["holder"], &reading["awaited"]),
        (&json!("reading"), &Value::Null, &json!(false))
    );
    let mut readers = reading["readers"].as_array().expect("a list").clone();
    readers.sort_by_key(|reader| reader["tid"].as_u64());
    let mut expected = [holder(&one), holder(&two)];
    expected.sort_by_key(|reader| reader["tid"].as_u64());
    assert_eq!(readers, expected);
    assert!(row(&address, RWLOCK).starts_with("256 rwlock 2 readers no "), "{}", row(&address, RWLOCK));

    // A dead reader reads no longer, and nobody is told.
    one.kill();
    let reading = lock(&address, RWLOCK);
    assert_eq!((&reading["readers"], &reading["owner_died"]), (&json!([holder(&two)]), &json!(false)));

    let mut writer = waits(&address, |data| {
        assert_eq!(shmkit_rwlock_write_lock(place(data, RWLOCK)), OK);
        loop {
            std::thread::park();
        }
    });
    let draining = until(&address, RWLOCK, |lock| lock["state"] == "draining" && lock["awaited"] == true);
    assert!(is_thread_of(&draining["holder"], &writer), "{draining}");
    assert_eq!(draining["readers"], json!([holder(&two)]));
    assert!(row(&address, RWLOCK).starts_with("256 rwlock 1 reader, a writer waits perhaps "));

    drop(two);
    let writing = until(&address, RWLOCK, |lock| lock["state"] == "writing");
    assert!(is_thread_of(&writing["holder"], &writer), "{writing}");
    assert_eq!((&writing["readers"], &writing["owner_died"]), (&json!([]), &json!(false)));
    writer.kill();
    let left = lock(&address, RWLOCK);
    assert_eq!((&left["state"], &left["owner_died"], &left["holder"]), (&json!("free"), &json!(true), &Value::Null));
    assert!(row(&address, RWLOCK).starts_with("256 rwlock free, a writer died "));
}

#[test]
fn permits_and_values() {
    let object = everything();
    let address = object.address();
    let one = does(&address, |data| {
        assert_eq!(shmkit_robust_sem_wait(place(data, PERMITS)), OK);
        assert_eq!(shmkit_semaphore_wait(place(data, SEMAPHORE)), OK);
    });
    let mut two = does(&address, |data| {
        assert_eq!(shmkit_robust_sem_wait(place(data, PERMITS)), OK);
        assert_eq!(shmkit_robust_sem_wait(place(data, PERMITS)), OK);
    });
    let out = lock(&address, PERMITS);
    assert_eq!((&out["permits"], &out["free"], &out["awaited"]), (&json!(3), &json!(0), &json!(false)));
    assert_eq!(out["holders"], json!([holder(&one), holder(&two), holder(&two)]));
    assert_eq!(lock(&address, SEMAPHORE)["value"], 2);
    let third = waits(&address, |data| {
        assert_eq!(shmkit_robust_sem_wait(place(data, PERMITS)), OK);
        loop {
            std::thread::park();
        }
    });
    until(&address, PERMITS, |lock| lock["awaited"] == true);
    // What the dead one had is free, or goes to who waits.
    two.kill();
    let out = until(&address, PERMITS, |lock| lock["free"] == 1);
    let holders = out["holders"].as_array().expect("a list");
    assert!(holders.contains(&holder(&one)) && holders.iter().any(|holder| is_thread_of(holder, &third)), "{out}");
    assert!(row(&address, PERMITS).starts_with("2304 robust_semaphore 1 of 3 free "));
}

fn come(data: usize) -> i32 {
    // SAFETY: nothing is to be told.
    unsafe { shmkit_barrier_wait(place(data, BARRIER), null_mut()) }
}

#[test]
fn a_barrier_with_one_of_three() {
    let object = everything();
    let address = object.address();
    let mut waiter = waits(&address, |data| {
        come(data);
    });
    let waiting = until(&address, BARRIER, |lock| lock["arrived"] == 1 && lock["awaited"] == true);
    assert_eq!(
        (&waiting["needed"], &waiting["broken"], &waiting["owner_died"]),
        (&json!(3), &json!(false), &json!(false))
    );
    assert!(is_thread_of(&waiting["waiting"][0], &waiter), "{waiting}");
    let joined = does(&address, |data| assert_eq!(shmkit_barrier_join(place(data, BARRIER)), OK));
    let two = lock(&address, BARRIER);
    assert_eq!((&two["arrived"], &two["joined"]), (&json!(1), &json!([holder(&joined)])));
    assert!(row(&address, BARRIER).starts_with("3392 barrier 1 of 3 have come perhaps "));

    // Nobody has noticed the death yet: the next one who comes does.
    waiter.kill();
    let dead = lock(&address, BARRIER);
    assert_eq!((&dead["arrived"], &dead["owner_died"], &dead["broken"]), (&json!(0), &json!(true), &json!(false)));
    assert!(row(&address, BARRIER).starts_with("3392 barrier 0 of 3 have come, one died perhaps "));
    drop(does(&address, |data| assert_eq!(come(data), OWNER_DIED)));
    let broken = lock(&address, BARRIER);
    assert_eq!((&broken["broken"], &broken["owner_died"]), (&json!(true), &json!(false)));
    assert!(row(&address, BARRIER).starts_with("3392 barrier 0 of 3 have come, broken "));
}

#[test]
fn a_once_in_progress() {
    let object = everything();
    let address = object.address();
    let begin = |data| {
        let mut yours = false;
        // SAFETY: the answer has a place.
        assert_eq!(unsafe { shmkit_once_begin(place(data, ONCE), &mut yours) }, OK);
        assert!(yours);
    };
    let mut runner = does(&address, begin);
    let running = lock(&address, ONCE);
    assert_eq!((&running["state"], &running["holder"]), (&json!("running"), &holder(&runner)));
    assert_eq!(row(&address, ONCE), format!("64 once running no {0} ({1})", runner.pid(), command(runner.pid())));
    runner.kill();
    let left = lock(&address, ONCE);
    assert_eq!((&left["state"], &left["owner_died"], &left["holder"]), (&json!("not_run"), &json!(true), &Value::Null));
    drop(does(&address, |data| {
        begin(data);
        assert_eq!(shmkit_once_end(place(data, ONCE), true), OK);
    }));
    let done = lock(&address, ONCE);
    assert_eq!((&done["state"], &done["owner_died"]), (&json!("done"), &json!(false)));
    assert!(row(&address, ONCE).starts_with("64 once done "));
}

#[test]
fn who_waits_for_a_signal() {
    let object = everything();
    let address = object.address();
    let _on_cond = waits(&address, |data| {
        assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OK);
        shmkit_cond_wait(place(data, COND), place(data, MUTEX));
    });
    let _on_event = waits(&address, |data| {
        let mut key = 0;
        // SAFETY: the key has a place.
        assert_eq!(unsafe { shmkit_event_prepare(place(data, EVENT), &mut key) }, OK);
        shmkit_event_wait(place(data, EVENT), key);
    });
    let _on_semaphore = waits(&address, |data| {
        (0..4).for_each(|_| {
            shmkit_semaphore_wait(place(data, SEMAPHORE));
        });
    });
    for at in [COND, EVENT, SEMAPHORE] {
        until(&address, at, |lock| lock["awaited"] == true);
        assert!(row(&address, at).contains(" perhaps "));
    }
    assert_eq!(lock(&address, SEMAPHORE)["value"], 0);
    let free = until(&address, MUTEX, |lock| lock["state"] == "free");
    assert_eq!(free["holder"], Value::Null);
}

/// Threads that take a lock, give it up and end, one after the other: none of them died holding it.
#[test]
fn who_gives_it_up_and_ends_is_not_dead() {
    let object = everything();
    let address = object.address();
    let _busy = waits(&address, |data| {
        loop {
            let turn = std::thread::spawn(move || {
                assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OK);
                std::thread::sleep(Duration::from_micros(100));
                assert_eq!(shmkit_mutex_unlock(place(data, MUTEX)), OK);
            });
            turn.join().expect("it ends");
        }
    });
    let mut held = 0;
    until(&address, MUTEX, |lock| {
        assert_eq!(lock["owner_died"], false, "{lock}");
        assert_ne!(lock["holder"]["alive"], false, "{lock}");
        held += usize::from(lock["state"] == "held");
        held == 20
    });
}

#[test]
fn who_may_not_look_is_told() {
    let object = everything();
    let address = object.address();
    let ran = room::tool_as(65534, &["show", "--json", &address]);
    let shown: Value = serde_json::from_str(&room::out(&ran)).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let shown = &shown["objects"][0];
    assert_eq!((&shown["locks"], &shown["locks_looked"]), (&Value::Null, &Value::Null));
    assert_eq!(shown["locks_why"], "no permission");
}

/// Whoever is of another pid namespace has an id that says nothing here.
#[test]
fn a_holder_in_another_pid_namespace() {
    let object = everything();
    let address = object.address();
    let outer = child(|| {
        // SAFETY: takes no pointers; the child leaves by a signal alone, also when this process is killed.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWPID), 0, "this test needs root");
            let pid = libc::fork();
            assert!(pid >= 0);
            if pid == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                assert_eq!(libc::getpid(), 1);
                let data = open(&address);
                assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OK);
                assert_eq!(shmkit_rwlock_read_lock(place(data, RWLOCK)), OK);
                loop {
                    libc::pause();
                }
            }
        }
    });
    let there = json!({ "tid": 1, "pid": null, "command": null, "alive": null, "alive_why": "another pid namespace" });
    until(&address, RWLOCK, |lock| lock["readers"] == json!([there]));
    let held = lock(&address, MUTEX);
    assert_eq!((&held["state"], &held["holder"], &held["owner_died"]), (&json!("held"), &there, &json!(false)));
    assert_eq!(row(&address, MUTEX), "0 mutex held no 1: unknown (another pid namespace)");
    // Its death is seen, whatever its id was: the kernel took it from the gate.
    drop(outer);
    let dead = json!({ "tid": null, "pid": null, "command": null, "alive": false, "alive_why": null });
    let held = until(&address, MUTEX, |lock| lock["owner_died"] == true);
    assert_eq!((&held["state"], &held["holder"]), (&json!("held"), &dead));
    assert!(row(&address, MUTEX).ends_with("unknown (dead)"));
}

/// An object that other software made, by its own calls.
fn plain(size: u64) -> (Object, File) {
    let object = Object::new();
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(object.path()).expect("it is new");
    file.set_len(size).expect("it can grow");
    (object, file)
}

fn stamp(kind: u8) -> [u8; 8] {
    [1, 0, 0, 0xf0, kind, 1, 1, b'S']
}

/// The bytes of an object that the library made in private memory.
fn made(init: impl Fn(usize) -> i32, kind: Kind) -> Vec<u8> {
    let mut memory = vec![0u64; 1024];
    let start = (memory.as_mut_ptr() as usize).next_multiple_of(64);
    let skip = start - memory.as_ptr() as usize;
    assert_eq!(init(start), OK);
    memory.iter().flat_map(|word| word.to_ne_bytes()).skip(skip).take(kind.size()).collect()
}

#[test]
fn a_plain_object() {
    let (object, file) = plain(3 * 4096);
    let address = object.address();
    assert_eq!(locks(&address), Vec::<Value>::new());
    assert!(!text(&["show", &address]).contains("\nlocks "), "nothing is said of data that is something else");
    let mutex = made(|at| shmkit_mutex_init(at as *mut _), Kind::Mutex);
    file.write_all_at(&mutex, 4096 + 192).expect("there is room");
    let all = locks(&address);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&all[0]["offset"], &all[0]["kind"], &all[0]["state"]),
        (&json!(4096 + 192), &json!("mutex"), &json!("free"))
    );
    assert_eq!(row(&address, 4096 + 192), "4288 mutex free no -");
    // A region without locks says so.
    let none = Object::new();
    region(&none.address(), &[0; SIZE], 0);
    let text = text(&["show", &none.address()]);
    assert!(text.ends_with("\nlocks        none (8.0K looked at, 0 are holes)\n"), "{text}");
}

#[test]
fn a_segment() {
    let key = machine::Key::new();
    region(&key.address(), &[0; SIZE], 0);
    assert!(shown(&key.address())["locks_why"].is_string(), "nobody has it attached, so it is not looked at");
    let holder_of = does(&key.address(), |data| {
        init_all(data);
        assert_eq!(shmkit_mutex_lock(place(data, MUTEX)), OK);
    });
    assert_eq!(lock(&key.address(), MUTEX)["holder"], holder(&holder_of));
    assert_eq!(locks(&key.address()).len(), 8);
}

#[test]
fn random_bytes_are_no_lock() {
    let (object, file) = plain(0);
    file.write_all_at(&noise(7, 4 << 20), 0).expect("there is room");
    let shown = shown(&object.address());
    assert_eq!((&shown["locks"], &shown["locks_looked"]["read"]), (&json!([]), &json!(4 << 20)));
}

#[test]
fn hostile_stamps_give_nothing() {
    let (object, file) = plain(64 << 10);
    let put = |at: u64, bytes: &[u8]| file.write_all_at(bytes, at).expect("there is room");
    let mut at = 0;
    // Kinds that there are not, formats, C libraries, magics; stamps where no object can begin.
    for kind in (0..=255).filter(|kind| !(1..=8).contains(kind)) {
        put(at + 24, &stamp(kind));
        at += 64;
    }
    for (byte, value) in [(5, 0), (5, 3), (6, 0), (6, 2), (7, b's'), (7, 0)] {
        let mut bytes = stamp(1);
        bytes[byte] = value;
        put(at + 24, &bytes);
        at += 64;
    }
    // A namespace where there is none, and none where there is one.
    for kind in 1..=8u8 {
        let small = matches!(kind, 3 | 4 | 8);
        let mut bytes = stamp(kind);
        if !small {
            bytes[..4].fill(0);
        }
        put(at + 24, &bytes);
        at += 64;
    }
    // Not at its alignment.
    put(at + 24 + 8, &stamp(1));
    put(at + 64 + 32 + 24, &stamp(1));
    at += 4096;
    // All ones around a stamp.
    for kind in [1u8, 2, 5, 6, 7] {
        put(at, &[0xff; 2688]);
        put(at + 24, &stamp(kind));
        at += 4096;
    }
    assert!(at < 64 << 10);
    // Cut off by the end of the data: of each kind all bytes but the last.
    assert_eq!(locks(&object.address()), Vec::<Value>::new());
    for (kind, size) in [(1, 64), (2, 2048), (5, 1088), (6, 2688), (7, 64)] {
        let (object, file) = plain(8192);
        let start = 8192u64 - size;
        let number = if matches!(kind, 5 | 6) { 1u8 } else { 0 };
        file.write_all_at(&stamp(kind), start + 24).expect("there is room");
        file.write_all_at(&[number], start + 56).expect("there is room");
        assert_eq!(locks(&object.address()).len(), 1, "kind {kind} is one as long as it is whole");
        file.set_len(8191).expect("it can be cut");
        assert_eq!(locks(&object.address()), Vec::<Value>::new(), "kind {kind}");
    }
    // In a region the data ends before the object does.
    let object = Object::new();
    region(&object.address(), &[0; 4160], 0);
    let file = OpenOptions::new().write(true).open(object.path()).expect("it is there");
    file.write_all_at(&stamp(2), 4096 + 4096 + 24).expect("it can be written");
    assert_eq!(locks(&object.address()), Vec::<Value>::new());
    file.write_all_at(&stamp(1), 4096 + 4096 + 24).expect("it can be written");
    assert_eq!(locks(&object.address()).len(), 1);
}

#[test]
fn holes_are_passed_by() {
    const GIB: u64 = 1 << 30;
    let object = Object::new();
    let address = object.address();
    let mut options = shmkit::region::Options { size: GIB, space: Space::Lazy, ..Default::default() };
    let token =
        shmkit::region::create(address.as_bytes(), &mut options).unwrap_or_else(|failure| panic!("{}", failure.cause));
    shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
    let holds = does(&address, |data| {
        for at in [GIB / 2, GIB - 64] {
            assert_eq!(shmkit_mutex_init(place(data, at as usize)), OK);
        }
        assert_eq!(shmkit_mutex_lock(place(data, (GIB - 64) as usize)), OK);
    });
    let shown = shown(&address);
    let offsets: Vec<_> =
        shown["locks"].as_array().expect("a list").iter().map(|lock| lock["offset"].clone()).collect();
    assert_eq!(offsets, [json!(GIB / 2), json!(GIB - 64)]);
    assert_eq!(shown["locks"][1]["holder"], holder(&holds));
    assert_eq!(shown["locks_looked"], json!({ "read": 8192, "holes": GIB - 8192, "left": 0, "left_why": null }));
    let text = text(&["show", &address]);
    assert!(text.contains("\nlocks     2 (8.0K looked at, 1.0G are holes):\n"), "{text}");
}

#[test]
fn the_look_says_where_it_stopped() {
    // More bytes than are read.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room");
    let path = folder.path().join("dense");
    let file = File::create(&path).expect("there is room");
    let mut block = vec![1; 1 << 20];
    block[..64].fill(0);
    block[24..32].copy_from_slice(&stamp(1));
    for number in 0..65 {
        file.write_all_at(&block, number << 20).expect("there is room");
    }
    let address = format!("file:{}", path.to_str().expect("it is ASCII"));
    let dense = shown(&address);
    assert_eq!(dense["locks"].as_array().map(Vec::len), Some(64));
    let looked = &dense["locks_looked"];
    assert_eq!((&looked["read"], &looked["holes"], &looked["left"]), (&json!(64 << 20), &json!(0), &json!(1 << 20)));
    assert_eq!(looked["left_why"], "no more than 67108864 bytes are read");
    let all = text(&["show", &address]);
    assert!(all.contains("1.0M not looked at: no more than 67108864 bytes are read):\n"), "{all}");

    // More locks than are shown.
    let (object, file) = plain(0);
    let mutex: Vec<u8> = [[0; 24].as_slice(), &stamp(1), &[0; 32]].concat();
    file.write_all_at(&mutex.repeat(1024), 0).expect("there is room");
    let many = shown(&object.address());
    assert_eq!(many["locks"].as_array().map(Vec::len), Some(1000));
    assert_eq!(
        (&many["locks_looked"]["left"], &many["locks_looked"]["left_why"]),
        (&json!(24 * 64), &json!("no more than 1000 locks are shown"))
    );
}
