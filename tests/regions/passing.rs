//! Regions over UNIX sockets: what is sent arrives, and what should not arrive is refused and closed.

use std::os::fd::{AsRawFd, IntoRawFd};

use crate::in_a_room;
use crate::room::Kind::{Memfd, Posix};
use crate::room::*;

const SOCKETS: [i32; 3] = [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET];
/// Those that keep messages apart.
const PACKETS: [i32; 2] = [libc::SOCK_DGRAM, libc::SOCK_SEQPACKET];

/// Sends bytes and descriptors, as any program may.
fn plain_send(socket: i32, bytes: &[u8], fds: &[i32]) {
    let mut control = vec![0u64; 256];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the message refers to locals that outlive the call; there is room for as many descriptors as Linux allows.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            let length = size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(length) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length) as _;
            libc::CMSG_DATA(header).cast::<i32>().copy_from_nonoverlapping(fds.as_ptr(), fds.len());
        }
        let count = libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL);
        assert_eq!(count, bytes.len() as isize, "{}", std::io::Error::last_os_error());
    }
}

/// The bytes of the message with which the library sends this region.
fn message_of(region: Region) -> Vec<u8> {
    let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
    region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
    let mut bytes = vec![0u8; 4096];
    // Without room for control data the kernel drops the descriptor.
    // SAFETY: the buffer is writable.
    let count = unsafe { libc::recv(theirs, bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    bytes.truncate(usize::try_from(count).expect("a message came"));
    close_all(&[ours, theirs]);
    bytes
}

/// A receive that waits for what never comes is an error, not a test that hangs.
fn impatient(socket: i32) {
    let time = libc::timeval { tv_sec: 5, tv_usec: 0 };
    // SAFETY: the time is readable.
    let done = unsafe {
        libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const time).cast(), size_of_val(&time) as _)
    };
    assert_eq!(done, 0);
}

#[test]
fn what_is_sent_arrives() {
    in_a_room!("what_is_sent_arrives", || {
        let mut passed = 0;
        for socket in SOCKETS {
            for access in [SHMKIT_SEND_READ_WRITE, SHMKIT_SEND_READ_ONLY] {
                over(&Kind::WITH_FD, |place| arrives(place, socket, access));
                passed += Kind::WITH_FD.len();
            }
        }
        println!("{passed} ways to pass a region to another process");
        assert_eq!(passed, 24);
    });
}

fn arrives(place: &Place, socket: i32, access: i32) {
    let writes = access == SHMKIT_SEND_READ_WRITE;
    let wanted = RegionOptions { max_size: MIB as u64, layout: layout(c"t", 8, 2, 8), ..options(5000) };
    let region = create(&place.address, &wanted).expect("there is room");
    region.copy_in(0, b"from the sender").expect("it fits");
    let [ours, theirs] = socket_pair(socket);
    let mut children = Children::default();
    let (inode, before) = (region.stat().expect("it is open").inode, region.participants().expect("leases").len());
    region.send(ours, access).expect("it can be sent");
    region.send(ours, access).expect("it can be sent twice");
    children.start(|| {
        // What a fork gave is given up: only what came over the socket is left.
        region.closed();
        let expected = RegionOptions { layout: layout(c"struct t", 8, 2, 8), ..options(5000) };
        let other = recv(theirs, &expected).expect("it was sent");
        let again = recv(theirs, &expected).expect("it was sent twice");
        again.closed();
        let stat = other.stat().expect("it is open");
        assert_eq!((stat.inode, stat.read_only, stat.raw), (inode, i32::from(!writes), 0));
        assert_eq!((other.address(), other.size()), (place.address.clone(), 5000));
        assert_eq!(other.bytes(0, 15), b"from the sender");
        // SAFETY: takes no pointers.
        let flags = unsafe { libc::fcntl(other.fd(), libc::F_GETFL) } & libc::O_ACCMODE;
        assert_eq!(flags, if writes { libc::O_RDWR } else { libc::O_RDONLY });
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::fcntl(other.fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
        if writes {
            other.copy_in(0, b"from the child!").expect("it fits");
            other.grow(9000).expect("max_size allows it");
        } else {
            refused(other.copy_in(0, b"x"), Status::ErrAccess);
            refused(other.grow(9000), Status::ErrAccess);
            refused(other.protect(0, SHMKIT_TO_END, 3), Status::ErrAccess);
            refused(other.send(ours, SHMKIT_SEND_READ_WRITE), Status::ErrAccess);
            other.send(ours, SHMKIT_SEND_READ_ONLY).expect("reading can be passed on");
            recv(theirs, &options(0)).expect("it was sent").closed();
        }
    });
    let all = region.participants().expect("it has leases");
    assert_eq!(all.len(), before + 1, "the receiver has a lease of its own");
    assert_eq!(all[1].read_only, i32::from(!writes));
    if writes {
        assert_eq!(all[1].process.pid, children.pids().next().expect("there is one"));
        assert_eq!((region.size(), region.bytes(0, 15)), (9000, b"from the child!".to_vec()));
    }
    children.kill();
    assert_eq!(region.participants().expect("it has leases").len(), before);
    close_all(&[ours, theirs]);
    region.closed();
}

#[test]
fn a_region_outlives_its_sender() {
    in_a_room!("a_region_outlives_its_sender", || {
        for kind in Kind::WITH_FD {
            let [ours, theirs] = socket_pair(libc::SOCK_STREAM);
            let place = kind.fresh();
            support::in_good_child(|| {
                let region = create(&place.address, &options(100)).expect("there is room");
                region.copy_in(0, b"kept").expect("it fits");
                region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
                // Leaves without closing anything.
            });
            let region = recv(theirs, &options(0)).expect("it was sent");
            assert_eq!(region.bytes(0, 4), b"kept");
            assert_eq!(region.participants().expect("it has leases").len(), 1, "{kind:?}");
            if kind.is_named() {
                region.unlink().expect("the name is its own");
            }
            region.closed();
            close_all(&[ours, theirs]);
        }
    });
}

#[test]
fn a_received_region_is_checked_as_an_opened_one() {
    in_a_room!("a_received_region_is_checked_as_an_opened_one", || over(&Kind::WITH_FD, |place| {
        let wanted = RegionOptions { layout: layout(c"t", 8, 2, 8), ..options(100) };
        let region = create(&place.address, &wanted).expect("there is room");
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        impatient(theirs);
        let before = Traces::look();
        let send = || region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
        for (expected, status, words) in [
            (RegionOptions { layout: layout(c"t", 8, 3, 8), ..options(0) }, Status::ErrLayout, "version"),
            (
                RegionOptions { layout: layout(c"u", 8, 2, 8), ..options(0) },
                Status::ErrLayout,
                "\"t\", and this program expects \"u\"",
            ),
            (options(101), Status::ErrPastEnd, "101"),
        ] {
            send();
            refused(recv(theirs, &expected), status).names(words);
            assert_eq!(Traces::look(), before, "a refused region was kept");
        }
        // Options that are refused leave the message where it is.
        send();
        refused(recv(theirs, &RegionOptions { space: 9, ..options(0) }), Status::ErrInvalidArgument);
        let reader = recv(theirs, &RegionOptions { read_only: 1, ..options(0) }).expect("it is still there");
        refused(reader.copy_in(0, b"x"), Status::ErrAccess);
        reader.closed();

        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::fchown(region.fd(), 12_345, u32::MAX) }, 0);
        send();
        refused(recv(theirs, &options(0)), Status::ErrOwner).names("12345");
        send();
        recv(theirs, &RegionOptions { owner: SHMKIT_OWNER_ANY, ..options(0) }).expect("anybody is trusted").closed();
        send();
        recv(theirs, &RegionOptions { owner: 12_345, ..options(0) }).expect("that user is trusted").closed();
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::fchown(region.fd(), 0, u32::MAX) + libc::fchmod(region.fd(), 0o666) }, 0);
        send();
        refused(recv(theirs, &options(0)), Status::ErrOwner).names("everybody");
        assert_eq!(Traces::look(), before);
        close_all(&[ours, theirs]);
        region.closed();
    }));
}

#[test]
fn raw_regions_are_sent_too() {
    in_a_room!("raw_regions_are_sent_too", || over(&Kind::WITH_FD, |place| {
        let region = create(&place.address, &raw(5000)).expect("there is room");
        region.copy_in(0, b"raw").expect("it fits");
        let [ours, theirs] = socket_pair(libc::SOCK_DGRAM);
        impatient(theirs);
        region.send(ours, SHMKIT_SEND_READ_ONLY).expect("it can be sent");
        refused(recv(theirs, &options(0)), Status::ErrNotARegion);
        region.send(ours, SHMKIT_SEND_READ_ONLY).expect("it can be sent");
        let other = recv(theirs, &raw(0)).expect("it was sent");
        assert_eq!((other.size(), other.bytes(0, 3)), (5000, b"raw".to_vec()));
        other.closed();
        close_all(&[ours, theirs]);
        region.closed();
    }));
}

#[test]
fn what_is_no_unix_socket() {
    in_a_room!("what_is_no_unix_socket", || {
        let place = Memfd.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        let file = std::fs::File::open("/dev/null").expect("it is there");
        // Connected sockets of another kind swallow the descriptor without a word.
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let tcp = listener.as_ref().ok().map(|listener| {
            let address = listener.local_addr().expect("it is bound");
            let ours = std::net::TcpStream::connect(address).expect("it listens");
            (ours, listener.accept().expect("it was connected").0)
        });
        println!("TCP sockets are {}", if tcp.is_some() { "tried" } else { "NOT TRIED: there is no loopback here" });
        let before = Traces::look();
        let mut wrong = vec![-1, 9999, i32::MIN, i32::MAX, file.as_raw_fd(), region.fd()];
        wrong.extend(tcp.as_ref().map(|(ours, _)| ours.as_raw_fd()));
        for fd in wrong {
            refused(region.send(fd, SHMKIT_SEND_READ_WRITE), Status::ErrBadDescriptor);
        }
        for fd in [-1, 9999, i32::MIN, i32::MAX, file.as_raw_fd(), region.fd()] {
            refused(recv(fd, &options(0)), Status::ErrBadDescriptor);
        }
        // SAFETY: takes no pointers.
        let lonely = unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0) };
        refused(region.send(lonely, SHMKIT_SEND_READ_WRITE), Status::ErrSystem).names("other end");
        close_all(&[lonely]);
        let [ours, theirs] = socket_pair(libc::SOCK_STREAM);
        for access in [-1, 2, i32::MAX, i32::MIN] {
            refused(region.send(ours, access), Status::ErrInvalidArgument);
        }
        close_all(&[ours, theirs]);
        assert_eq!(Traces::look(), before);
        drop((listener, tcp));
        region.closed();
    });
}

#[test]
fn a_peer_that_is_gone() {
    in_a_room!("a_peer_that_is_gone", || {
        // The harness ignores SIGPIPE; a program does not.
        // SAFETY: takes no pointers.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let place = Posix.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        for socket in SOCKETS {
            let [ours, theirs] = socket_pair(socket);
            impatient(ours);
            close_all(&[theirs]);
            refused(region.send(ours, SHMKIT_SEND_READ_WRITE), Status::ErrSystem).names("other end");
            if socket != libc::SOCK_DGRAM {
                refused(recv(ours, &options(0)), Status::ErrSystem).names("other end");
            }
            close_all(&[ours]);
        }
        // It left in the middle of its message.
        let bytes = message_of(region);
        for cut in [1, 8, 16, 100, bytes.len() - 1] {
            let [ours, theirs] = socket_pair(libc::SOCK_STREAM);
            impatient(theirs);
            plain_send(ours, &bytes[..cut], &[region.fd()]);
            close_all(&[ours]);
            let before = Traces::look();
            refused(recv(theirs, &options(0)), Status::ErrCorrupt);
            assert_eq!(Traces::look(), before);
            close_all(&[theirs]);
        }
        region.closed();
    });
}

#[test]
fn a_stream_in_pieces() {
    in_a_room!("a_stream_in_pieces", || {
        let place = Memfd.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        let bytes = message_of(region);
        for cut in [1, 12, 200] {
            let [ours, theirs] = socket_pair(libc::SOCK_STREAM);
            impatient(theirs);
            plain_send(ours, &bytes[..cut], &[region.fd()]);
            // A descriptor with a later piece is one too many, and is closed.
            plain_send(ours, &bytes[cut..cut + 50], &[region.fd()]);
            plain_send(ours, &bytes[cut + 50..], &[]);
            let before = Traces::look();
            recv(theirs, &options(0)).expect("all of it came").closed();
            assert_eq!(Traces::look(), before);
            close_all(&[ours, theirs]);
        }
        region.closed();
    });
}

#[test]
fn garbage_is_refused_and_closed() {
    in_a_room!("garbage_is_refused_and_closed", || {
        let (posix, memfd) = (Posix.fresh(), Memfd.fresh());
        let object = create(&posix.address, &options(5000)).expect("there is room");
        let region = create(&memfd.address, &options(5000)).expect("there is room");
        let (as_posix, as_memfd) = (message_of(object), message_of(region));
        let length = as_posix.len();

        // SAFETY: the labels are terminated; the ends are writable.
        let (unsealed, short, pipe) = unsafe {
            let unsealed = libc::memfd_create(c"unsealed".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            let short = libc::memfd_create(c"short".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            let mut pipe = [0; 2];
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
            (unsealed, short, pipe)
        };
        // Both have the region's own header; the second is shorter than that says.
        let mut header = vec![0u8; 2 * PAGE];
        // SAFETY: the buffers are readable and writable for their lengths.
        unsafe {
            assert_eq!(libc::pread(region.fd(), header.as_mut_ptr().cast(), header.len(), 0), header.len() as isize);
            for (fd, size) in [(unsealed, 3 * PAGE), (short, 5000)] {
                assert_eq!(
                    libc::pwrite(fd, header.as_ptr().cast(), size.min(header.len()), 0),
                    size.min(header.len()) as isize
                );
                assert_eq!(libc::ftruncate(fd, size as i64), 0);
                assert_eq!(libc::fchmod(fd, 0o600), 0);
            }
            assert_eq!(libc::fcntl(short, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK), 0);
        }
        let null = std::fs::File::open("/dev/null").expect("it is there").into_raw_fd();
        let folder = std::fs::File::open("/dev/shm").expect("it is there").into_raw_fd();
        let path = c(posix.path().to_str().expect("plain"));
        // SAFETY: the path is terminated.
        let (by_path, write_only) = unsafe {
            (
                libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC),
                libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC),
            )
        };
        assert!(by_path >= 0 && write_only >= 0);

        let changed = |at: usize, to: &[u8]| {
            let mut bytes = as_memfd.clone();
            bytes[at..at + to.len()].copy_from_slice(to);
            bytes
        };
        let named = |address: &[u8]| {
            let mut bytes = changed(12, &(address.len() as u32).to_ne_bytes());
            bytes[16..16 + address.len()].copy_from_slice(address);
            bytes
        };
        let (fd, random) = (region.fd(), (0..length).map(|at| (at * 37 + 11) as u8).collect::<Vec<_>>());
        let bad = Status::ErrCorrupt;
        let cases: Vec<(&str, Vec<u8>, Vec<i32>, Status)> = vec![
            ("a few bytes", b"hello".to_vec(), vec![], bad),
            ("a few bytes and a descriptor", b"hello".to_vec(), vec![fd], bad),
            ("nothing but a descriptor", vec![], vec![fd], bad),
            ("random bytes", random.clone(), vec![], bad),
            ("random bytes and a descriptor", random, vec![fd], bad),
            ("no descriptor", as_memfd.clone(), vec![], bad),
            ("another magic", changed(0, b"X"), vec![fd], bad),
            ("another format", changed(8, &[2]), vec![fd], bad),
            ("a long length", changed(12, &305u32.to_ne_bytes()), vec![fd], bad),
            ("an endless length", changed(12, &u32::MAX.to_ne_bytes()), vec![fd], bad),
            ("no address", changed(12, &[0; 4]), vec![fd], bad),
            ("a wrong address", named(b"nonsense"), vec![fd], bad),
            ("a NUL in the address", named(b"posix:/a\0b"), vec![fd], bad),
            ("a System V address", named(b"sysv:0x1"), vec![fd], bad),
            ("half a message", as_memfd[..length / 2].to_vec(), vec![fd], bad),
            ("a pipe", as_posix.clone(), vec![pipe[0]], Status::ErrNotAnObject),
            ("a pipe as a memfd", as_memfd.clone(), vec![pipe[1]], bad),
            ("a device", as_posix.clone(), vec![null], Status::ErrNotAnObject),
            ("a folder", as_posix.clone(), vec![folder], Status::ErrNotAnObject),
            ("a path", as_posix.clone(), vec![by_path], Status::ErrBadDescriptor),
            ("for writing only", as_posix.clone(), vec![write_only], Status::ErrBadDescriptor),
            ("a memfd without a seal", as_memfd.clone(), vec![unsealed], bad),
            ("shorter than its header says", as_memfd.clone(), vec![short], bad),
            ("shorter than its header says, as an object", as_posix.clone(), vec![short], bad),
        ];
        for socket in PACKETS {
            for (what, bytes, fds, answer) in &cases {
                if socket == libc::SOCK_SEQPACKET && bytes.is_empty() {
                    continue; // There an empty message is the end.
                }
                let [ours, theirs] = socket_pair(socket);
                impatient(theirs);
                let before = Traces::look();
                plain_send(ours, bytes, fds);
                region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
                match recv(theirs, &options(0)) {
                    Ok(_) => panic!("{what} was accepted"),
                    Err(refusal) => assert_eq!(refusal.status, *answer, "{what}: {refusal:?}"),
                }
                assert_eq!(Traces::look(), before, "{what}: a descriptor was kept");
                // The next message is whole.
                recv(theirs, &options(0)).unwrap_or_else(|refusal| panic!("after {what}: {refusal:?}")).closed();
                close_all(&[ours, theirs]);
            }
        }
        for (what, bytes, fds, answer) in cases.iter().filter(|(_, bytes, ..)| bytes.len() == length) {
            let [ours, theirs] = socket_pair(libc::SOCK_STREAM);
            impatient(theirs);
            let before = Traces::look();
            plain_send(ours, bytes, fds);
            match recv(theirs, &options(0)) {
                Ok(_) => panic!("{what} was accepted"),
                Err(refusal) => assert_eq!(refusal.status, *answer, "{what}: {refusal:?}"),
            }
            assert_eq!(Traces::look(), before, "{what}: a descriptor was kept");
            close_all(&[ours, theirs]);
        }
        println!("{} kinds of garbage", cases.len());
        close_all(&[unsealed, short, pipe[0], pipe[1], null, folder, by_path, write_only]);
        region.closed();
        object.closed();
    });
}

#[test]
fn many_descriptors() {
    in_a_room!("many_descriptors", || {
        let place = Memfd.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        let bytes = message_of(region);
        for socket in SOCKETS {
            // 253 is what Linux allows.
            for count in [2, 3, 12, 13, 50, 253] {
                let [ours, theirs] = socket_pair(socket);
                impatient(theirs);
                let before = Traces::look();
                plain_send(ours, &bytes, &vec![region.fd(); count]);
                let other = recv(theirs, &options(0)).expect("the first is good");
                other.closed();
                assert_eq!(Traces::look(), before, "{count} descriptors, and some were kept");
                close_all(&[ours, theirs]);
            }
        }
        region.closed();
    });
}

#[test]
fn a_message_cannot_name_what_it_is_not() {
    in_a_room!("a_message_cannot_name_what_it_is_not", || {
        let (victim, other) = (Posix.fresh(), Posix.fresh());
        let region = create(&victim.address, &options(100)).expect("there is room");
        let bytes = message_of(region);
        let impostor = create(&other.address, &options(100)).expect("there is room");
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        plain_send(ours, &bytes, &[impostor.fd()]);
        let got = recv(theirs, &options(0)).expect("it is a region");
        assert_eq!(got.address(), victim.address);
        refused(got.unlink(), Status::ErrRemoved);
        assert!(victim.is_taken(), "a message led to the removal of another object");
        got.closed();
        close_all(&[ours, theirs]);
        impostor.closed();
        region.closed();
    });
}

#[test]
fn sealed_regions_are_sent() {
    in_a_room!("sealed_regions_are_sent", || {
        let place = Memfd.fresh();
        let region = create(&place.address, &options(100)).expect("there is room");
        region.copy_in(0, b"once").expect("it fits");
        region.seal(SHMKIT_SEAL_FUTURE_WRITE).expect("it can be sealed");
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        impatient(theirs);
        region.send(ours, SHMKIT_SEND_READ_ONLY).expect("it can be sent");
        let reader = recv(theirs, &options(0)).expect("it was sent");
        assert_eq!(reader.bytes(0, 4), b"once");
        reader.closed();
        region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it can be sent");
        let refusal = refused(recv(theirs, &options(0)), Status::ErrNotPermitted);
        assert!(refusal.cause.contains("seal"), "{refusal:?}");
        close_all(&[ours, theirs]);
        region.closed();
    });
}

/// A message has room for 304 bytes of an address.
#[test]
fn a_path_too_long_to_be_sent() {
    in_a_room!("a_path_too_long_to_be_sent", || {
        let place = Kind::File.fresh();
        let folder = place.folder();
        let [ours, theirs] = socket_pair(libc::SOCK_SEQPACKET);
        impatient(theirs);
        for (length, fits) in [(304, true), (305, false), (2000, false)] {
            let base = format!("file:{}/", folder.display());
            let rest = length - base.len();
            let address = format!("{base}{}{}", "./".repeat((rest - 1) / 2), &"xx"[..1 + (rest - 1) % 2]);
            assert_eq!(address.len(), length);
            let region = create(&address, &options(10)).expect("there is room");
            let before = Traces::look();
            if fits {
                region.send(ours, SHMKIT_SEND_READ_WRITE).expect("it fits");
                let other = recv(theirs, &options(0)).expect("it was sent");
                assert_eq!(other.address(), address);
                other.closed();
            } else {
                refused(region.send(ours, SHMKIT_SEND_READ_WRITE), Status::ErrNameTooLong).names("304");
            }
            assert_eq!(Traces::look(), before);
            region.unlink().expect("the name is its own");
            region.closed();
        }
        close_all(&[ours, theirs]);
    });
}
