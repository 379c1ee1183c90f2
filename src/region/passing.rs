//! Regions over a UNIX socket: one message with one descriptor and the address it had.
//! Never believes the message: the receiver checks seals, size and header as if it had opened the object itself.
//! Next: `object.rs`, whose `adopt` does that.

use super::address::{Address, Backend, Parsed};
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::handle::{self, Options, READ_ONLY, Region, get};
use super::{lease, object};
use crate::error::{Errno, Status};
use crate::sys::{file, socket};

const MAGIC: u64 = u64::from_le_bytes(*b"shmkitSP");
const FORMAT: u32 = 1;
const TEXT: usize = 304;
/// Magic, format, length of the address, the address.
const SIZE: usize = 16 + TEXT;

/// Sends a region. The receiver gets a description of its own to open; `read_only` gives it one for reading only.
pub fn send(token: u64, to: i32, read_only: bool) -> Outcome<()> {
    let region = get(token)?;
    if region.backend == Backend::Sysv {
        return Err(Failure::backend(
            "a System V segment has no descriptor that could be sent",
            "send its address string, and let the receiver open it",
        ));
    }
    if !read_only && region.hot.is(READ_ONLY) {
        return Err(Failure::new(
            Status::ErrAccess,
            "{name} is open for reading only, so the right to write cannot be passed on",
            "send it read-only",
        ));
    }
    let address = region.address();
    if address.len() > TEXT {
        return Err(Failure::new(
            Status::ErrNameTooLong,
            "the address has {length} bytes, and a message has room for {limit}",
            "use a shorter path",
        )
        .with(|figures| (figures.length, figures.limit) = (address.len() as u64, TEXT as u64)));
    }
    // A socket of another kind would take the bytes and drop the descriptor.
    if !socket::is_unix(to).map_err(cannot_pass)? {
        return Err(cannot_pass(Errno(libc::EINVAL)));
    }
    let mut message = [0u8; SIZE];
    message[..8].copy_from_slice(&MAGIC.to_ne_bytes());
    message[8..12].copy_from_slice(&FORMAT.to_ne_bytes());
    message[12..16].copy_from_slice(&(address.len() as u32).to_ne_bytes());
    message[16..16 + address.len()].copy_from_slice(address);
    // Another description: the lease stays with this process.
    let access = if read_only { libc::O_RDONLY } else { libc::O_RDWR };
    let fd = file::reopen(region.fd(), access).map_err(|errno| match errno.0 {
        libc::ENOENT | libc::ENOTDIR => object::no_proc(errno),
        _ => Failure::system(errno),
    })?;
    let sent = loop {
        match socket::send(to, &message, fd) {
            Err(Errno(libc::EINTR)) => {}
            other => break other.map_err(cannot_pass),
        }
    };
    let _ = file::close(fd);
    sent
}

fn cannot_pass(errno: Errno) -> Failure {
    let failure = match errno.0 {
        libc::EPIPE | libc::ECONNRESET | libc::ECONNREFUSED | libc::ENOTCONN => Failure::new(
            Status::ErrSystem,
            "nobody is at the other end of the socket",
            "connect it first; the peer may have gone",
        ),
        libc::ENOTSOCK | libc::EBADF | libc::EINVAL | libc::EOPNOTSUPP => Failure::new(
            Status::ErrBadDescriptor,
            "the descriptor is no UNIX socket",
            "use socketpair(AF_UNIX, ...) or a connected UNIX socket",
        ),
        _ => return Failure::system(errno),
    };
    Failure { errno: errno.0, ..failure }
}

/// Receives a region, as the next message of the socket.
pub fn receive(from: i32, options: &mut Options<'_>) -> Outcome<u64> {
    options.check()?;
    let mut message = [0u8; SIZE];
    let (count, fd) = loop {
        match socket::receive(from, &mut message) {
            Err(Errno(libc::EINTR)) => {}
            other => break other.map_err(cannot_pass)?,
        }
    };
    let bad = || {
        Failure::new(
            Status::ErrCorrupt,
            "what came over the socket is no region",
            "let the peer use shmkit_region_send, and nothing else on this socket at the same time",
        )
    };
    let Some(fd) = fd else {
        return Err(if count == 0 { cannot_pass(Errno(libc::EPIPE)) } else { bad() });
    };
    // From here on the region owns the descriptor, and closes it whatever happens.
    let mut deadline = Deadline::after(options.timeout_ns);
    let rest = complete(from, &mut message, count, &mut deadline);
    let length = u32::from_ne_bytes([message[12], message[13], message[14], message[15]]) as usize;
    let intact =
        rest && message[..8] == MAGIC.to_ne_bytes() && message[8..12] == FORMAT.to_ne_bytes() && length <= TEXT;
    let parsed = if intact { Parsed::new(&message[16..16 + length]).ok() } else { None };
    let Some(parsed) = parsed else {
        let _ = file::close(fd);
        return Err(bad());
    };
    let backend = match parsed.get() {
        Address::Path(backend, _) | Address::Label(backend, _) => backend,
        Address::Key(_) => Backend::Sysv,
    };
    let taken = core::cell::Cell::new(false);
    let result = handle::insert(|hot| {
        let mut region = Region::new(hot, parsed.text(), backend, options)?;
        region.set_fd(fd);
        taken.set(true);
        accept(&mut region, options, &mut deadline)?;
        Ok(region)
    });
    if !taken.get() {
        let _ = file::close(fd);
    }
    result
}

/// A stream may give a message in parts. Never waits for ever: the peer decides what it sends.
fn complete(from: i32, message: &mut [u8; SIZE], mut count: usize, deadline: &mut Deadline) -> bool {
    while count < message.len() {
        if !socket::is_stream(from) {
            return false;
        }
        match socket::wait(from, deadline.left()) {
            Ok(true) => {}
            Err(Errno(libc::EINTR)) => continue,
            _ => return false,
        }
        match socket::receive(from, &mut message[count..]) {
            Ok((more @ 1.., extra)) => {
                if let Some(extra) = extra {
                    let _ = file::close(extra);
                }
                count += more;
            }
            Err(Errno(libc::EINTR)) => {}
            _ => return false,
        }
    }
    true
}

fn accept(region: &mut Region, options: &mut Options<'_>, deadline: &mut Deadline) -> Outcome<()> {
    if region.backend == Backend::Sysv {
        return Err(Failure::of(Status::ErrCorrupt));
    }
    let fd = region.fd();
    let access = file::open_flags(fd).map_err(Failure::system)? & libc::O_ACCMODE;
    if access == libc::O_RDONLY && !options.read_only {
        options.read_only = true;
        region.set_flag(READ_ONLY);
    }
    let status = file::status(fd).map_err(Failure::system)?;
    let sealed = file::seals(fd).is_ok_and(|seals| seals & libc::F_SEAL_SHRINK != 0);
    if matches!(region.backend, Backend::Memfd | Backend::Anonymous) && !sealed {
        return Err(Failure::new(
            Status::ErrCorrupt,
            "the memfd that came is not sealed against shrinking: its sender could take the memory away",
            "let the sender create it with shmkit, or seal it with F_SEAL_SHRINK",
        ));
    }
    // The sender opened this description for the receiver, who alone has it now: the lease belongs to it.
    if !options.raw {
        region.set_lease(lease::take(fd, options.read_only, lease::hint(), deadline)?);
    }
    object::adopt(region, &status, options)
}
