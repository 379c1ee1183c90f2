//! That a piece of work leaves no descriptor and no mapping behind, cheaply enough to be asked every time.

use std::ffi::c_int;
use std::mem::zeroed;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// How often work was looked after.
static EXECUTIONS: AtomicU32 = AtomicU32::new(0);

/// What is open: a bit for each descriptor below 128. One system call.
fn descriptors() -> u128 {
    // SAFETY: zero is valid for the struct; the array is as long as is said.
    unsafe {
        let mut all: [libc::pollfd; 128] = zeroed();
        for (fd, one) in all.iter_mut().enumerate() {
            one.fd = fd as c_int;
        }
        libc::poll(all.as_mut_ptr(), all.len() as _, 0);
        let open = |one: &libc::pollfd| one.revents & libc::POLLNVAL == 0;
        all.iter().enumerate().fold(0, |bits, (fd, one)| bits | u128::from(open(one)) << fd)
    }
}

/// Pages of address space of this process.
fn address_space() -> u64 {
    let mut text = [0u8; 64];
    // SAFETY: the path is terminated; the descriptor is closed here; the buffer is writable for its length.
    unsafe {
        let fd = libc::open(c"/proc/self/statm".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let count = libc::read(fd, text.as_mut_ptr().cast(), text.len());
        libc::close(fd);
        assert!(count > 0, "/proc/self/statm cannot be read");
    }
    shmkit::text::leading_number(&text)
}

/// The mappings of objects that this file makes.
fn mappings() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is there");
    let own = |line: &&str| ["/memfd:", "/dev/shm/", "/SYSV"].iter().any(|mark| line.contains(mark));
    maps.lines().filter(own).map(String::from).collect()
}

/// Runs `work`, which must leave no descriptor and no mapping behind.
pub fn without_leaks(mut work: impl FnMut()) {
    /// Growth by the allocator comes to an end; growth by a leak does not.
    const REPEATS: usize = 8;
    let open = descriptors();
    for round in 0..REPEATS {
        let before = address_space();
        work();
        assert_eq!(descriptors(), open, "descriptors were left open");
        let number = EXECUTIONS.fetch_add(1, Relaxed);
        let grew = address_space() > before;
        if grew || number.is_multiple_of(1024) {
            assert_eq!(mappings(), Vec::<String>::new(), "mappings were left");
        }
        if !grew {
            return;
        }
        assert!(round + 1 < REPEATS, "address space grows with every attach");
    }
}
