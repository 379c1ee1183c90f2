//! Huge pages: asked for, required, and told. Where the machine has none, the way back is tested, and that is said.

use crate::in_a_room;
use crate::room::Kind::{Anon, File, Memfd, Posix, Sysv};
use crate::room::*;

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

fn number(path: &str) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// The size of a huge page in bytes; none where the kernel has none.
fn huge_page() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").expect("/proc is there");
    let line = info.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Huge pages that this test reserved; given back in the end.
struct Reserved {
    before: u64,
}

impl Reserved {
    /// At least so many that are free; `None` where the machine does not let us.
    fn new(count: u64) -> Option<Reserved> {
        let before = number(RESERVED);
        std::fs::write(RESERVED, (before + count).to_string()).ok()?;
        let reserved = Reserved { before };
        (number(RESERVED) >= before + count).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        std::fs::write(RESERVED, self.before.to_string()).expect("it could be written before");
    }
}

fn with(huge_pages: i32, size: usize) -> RegionOptions {
    RegionOptions { huge_pages, ..options(size) }
}

#[test]
fn where_there_are_none() {
    in_a_room!("where_there_are_none", || {
        let _turn = huge_pages_alone();
        if number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") > 0 {
            return support::not_run("regions without huge pages: this machine has free huge pages");
        }
        over(&Kind::ALL, |place| {
            let before = Traces::look();
            let refusal = create(&place.address, &with(SHMKIT_HUGE_REQUIRE, 5000)).expect_err("there are none");
            let expected = if matches!(place.kind, Posix | File) { Status::ErrBackend } else { Status::ErrNoMemory };
            assert_eq!(refusal.status, expected, "{refusal:?}");
            assert!(refusal.cause.contains("huge pages"), "{refusal:?}");
            assert_eq!(Traces::look(), before);
            let region = create(&place.address, &with(SHMKIT_HUGE_TRY, 5000)).expect("usual pages will do");
            let stat = region.stat().expect("it is open");
            assert_eq!((stat.page_size, stat.size), (PAGE as u64, 5000));
            region.copy_in(4999, b"x").expect("it fits");
            assert_eq!(region.bytes(4999, 1), b"x");
            region.closed();
        });
    });
}

#[test]
fn where_there_are_some() {
    in_a_room!("where_there_are_some", || {
        let _turn = huge_pages_alone();
        let Some(huge) = huge_page() else { return support::not_run("huge pages: this kernel has none") };
        let Some(_reserved) = Reserved::new(8) else {
            return support::not_run("huge pages: none can be reserved here");
        };
        let size = (huge + 5000) as usize;
        for kind in [Sysv, Memfd, Anon] {
            for huge_pages in [SHMKIT_HUGE_REQUIRE, SHMKIT_HUGE_TRY] {
                over(&[kind], |place| {
                    let before = Traces::look();
                    let region = create(&place.address, &with(huge_pages, size)).expect("there are enough");
                    let stat = region.stat().expect("it is open");
                    assert_eq!((stat.page_size, stat.size), (huge, size as u64), "{kind:?}");
                    assert!(stat.object_size >= (size + PAGE) as u64);
                    region.copy_in(size - 1, b"x").expect("it fits");
                    let mut children = Children::default();
                    children.start(|| {
                        assert_eq!(region.bytes(size - 1, 1), b"x");
                        region.copy_in(0, b"child").expect("it fits");
                        assert_eq!(region.participants().expect("it has leases").len(), 2);
                    });
                    assert_eq!(region.bytes(0, 5), b"child");
                    children.kill();
                    if kind == Sysv {
                        let peer = open(&place.address, &options(size)).expect("it is there");
                        assert_eq!(
                            (peer.bytes(0, 5), peer.stat().expect("it is open").page_size),
                            (b"child".to_vec(), huge)
                        );
                        peer.closed();
                        region.unlink().expect("the name is its own");
                    } else {
                        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
                        region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
                        let peer = recv(theirs, &options(size)).expect("it was sent");
                        assert_eq!(
                            (peer.bytes(0, 5), peer.stat().expect("it is open").page_size),
                            (b"child".to_vec(), huge)
                        );
                        peer.copy_in(size - 1, b"y").expect("it fits");
                        assert_eq!(region.bytes(size - 1, 1), b"y");
                        peer.closed();
                        close_all(&[ours, theirs]);
                    }
                    region.closed();
                    assert_eq!(Traces::look(), before, "{kind:?}: a mapping of huge pages was kept");
                });
            }
        }
        // Growth, by whole pages and within one.
        for kind in [Memfd, Anon] {
            over(&[kind], |place| {
                let wanted = RegionOptions { max_size: 3 * huge, ..with(SHMKIT_HUGE_REQUIRE, 100) };
                let region = create(&place.address, &wanted).expect("there are enough");
                for next in [200, huge as usize - PAGE, huge as usize, 2 * huge as usize + 1] {
                    region.grow(next).expect("there are enough");
                    region.copy_in(next - 1, b"x").expect("it fits");
                    assert_eq!((region.size(), region.bytes(next - 1, 1)), (next, b"x".to_vec()));
                }
                region.closed();
            });
        }
        // More than there are.
        for kind in [Sysv, Memfd, Anon] {
            over(&[kind], |place| {
                let wanted = with(SHMKIT_HUGE_REQUIRE, (huge * 500_000) as usize);
                let refusal = create(&place.address, &wanted).expect_err("there are not so many");
                assert!(matches!(refusal.status, Status::ErrNoMemory | Status::ErrNoSpace), "{refusal:?}");
                assert!(!place.is_taken());
            });
        }
        println!("huge pages of {huge} bytes were reserved and used");
    });
}
