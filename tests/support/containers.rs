//! What the tests of containers have in common: what calls say, processes that end if something hangs, memory for signs,
//! descriptors to sleep on. Used by `ring.rs`, `queue.rs`, `cell.rs`, `broadcast.rs`, `ring_peers.rs`, `queue_peers.rs`.

use std::time::Duration;

use shmkit::error::Status;

use super::ring_room::Memory;
use super::sync_room::{STALLED, alarm};
use super::{alone, message};

/// Nanoseconds for a wait that is in vain.
pub const SHORT: u64 = 2_000_000;
/// Addresses at which nothing can be.
pub const WILD: [usize; 4] = [0, 8, 0x8000_0000_0000_0000, usize::MAX & !63];

/// What a call answered, with its words.
pub type Answer = (&'static str, i32, String);

pub fn answer(name: &'static str, result: i32) -> Answer {
    (name, result, message())
}

/// The answer is this, and its words name the call.
#[track_caller]
pub fn said((name, result, words): &Answer, expected: Status, what: &str) {
    assert_eq!(*result, expected as i32, "{name}, {what}: {words}");
    assert!(words.contains(name), "{name}, {what}: {words}");
}

/// The call says this, and its words name the call.
#[track_caller]
pub fn says(name: &str, result: i32, expected: Status, what: &str) {
    assert_eq!(result, expected as i32, "{name}, {what}: {}", message());
    let words = message();
    assert!(words.contains(name), "{name}, {what}: {words}");
}

#[track_caller]
pub fn refused<T>(result: Result<T, i32>, expected: Status) {
    assert_eq!(result.err(), Some(expected as i32), "{}", message());
}

/// Runs the body in a process of its own, which ends if something hangs.
pub fn apart(test: &str, body: impl FnOnce()) {
    alone(test, &[], || {
        alarm(STALLED);
        body();
        alarm(0);
    });
}

/// Memory for signs between the processes of a test.
pub fn signs() -> Memory {
    Memory::new(4096)
}

pub fn pause() {
    std::thread::sleep(Duration::from_secs(1_000));
}

/// Addresses at which nothing ever is.
pub const NOWHERE: [usize; 4] = [0, 8, 4095, usize::MAX - 4095];

pub fn event_fd() -> i32 {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    assert!(fd >= 0);
    fd
}

/// Takes what the descriptor counts; 0 when there was nothing.
pub fn drain(fd: i32) -> u64 {
    let mut count = 0u64;
    // SAFETY: eight bytes are writable.
    if unsafe { libc::read(fd, (&raw mut count).cast(), 8) } == 8 { count } else { 0 }
}

/// Sleeps in epoll until the descriptor counts, without an end: who is not woken hangs.
pub fn sleep_on(epoll: i32, fd: i32) {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: the event is writable.
    while unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) } != 1 {}
    assert!(event.u64 == fd as u64 && drain(fd) > 0);
}

pub fn epoll_of(fd: i32) -> i32 {
    // SAFETY: the event is readable.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: fd as u64 };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event), 0);
        epoll
    }
}
