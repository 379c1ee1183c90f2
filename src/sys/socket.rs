//! Descriptors over UNIX sockets: one message with one descriptor. Never waits longer than the socket does.
//! Next: `region/passing.rs`, the one user.

use core::mem::MaybeUninit;

use super::{Sys, check, kernel};
use crate::error::Errno;

/// Room for one control message with one descriptor, aligned as the kernel wants it.
#[repr(C)]
union Control {
    _align: MaybeUninit<libc::cmsghdr>,
    bytes: [u8; 64],
}

/// Sends `bytes` and a descriptor as one message; EMSGSIZE when the socket takes less. Never raises SIGPIPE.
pub fn send(socket: i32, bytes: &[u8], fd: i32) -> Sys<()> {
    let mut control = Control { bytes: [0; 64] };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the message refers to the locals above, which outlive the call; the kernel only reads them. The control
    // room is large enough for one descriptor: CMSG_SPACE(4) is 24.
    let count = unsafe {
        let mut message: libc::msghdr = core::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(fd);
        kernel::sendmsg(socket, &message, libc::MSG_NOSIGNAL)?
    };
    if count == bytes.len() { Ok(()) } else { Err(Errno(libc::EMSGSIZE)) }
}

/// Receives one message into `bytes`: how many came, and the descriptor that came with them. More descriptors than
/// one are closed.
pub fn receive(socket: i32, bytes: &mut [u8]) -> Sys<(usize, Option<i32>)> {
    let mut control = Control { bytes: [0; 64] };
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut found = None;
    // SAFETY: the message refers to the locals above, which outlive the call; the kernel writes within their lengths,
    // and says in each header how long it is. Descriptors are read one by one within that length.
    let count = unsafe {
        let mut message: libc::msghdr = core::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        let count = kernel::recvmsg(socket, &mut message, libc::MSG_CMSG_CLOEXEC)?;
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let length = ((*header).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for index in 0..length / 4 {
                    let fd = libc::CMSG_DATA(header).cast::<i32>().add(index).read_unaligned();
                    match found {
                        None => found = super::file::above_stdio(fd).ok(),
                        Some(_) => drop(kernel::close(fd)),
                    }
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        // There is room for some: the kernel gives none when the process may not have another one.
        if found.is_none() && message.msg_flags & libc::MSG_CTRUNC != 0 {
            return Err(Errno(libc::EMFILE));
        }
        count
    };
    Ok((count, found))
}

/// A number that the kernel knows of a socket.
fn option(socket: i32, name: i32) -> Sys<i32> {
    let (mut value, mut length) = (0, size_of::<i32>() as libc::socklen_t);
    // SAFETY: both places are writable, and the length is that of the first.
    unsafe {
        let value = (&raw mut value).cast();
        check(libc::getsockopt(socket, libc::SOL_SOCKET, name, value, &mut length))?;
    }
    Ok(value)
}

/// Whether a socket gives bytes one after the other, and not messages.
pub fn is_stream(socket: i32) -> bool {
    option(socket, libc::SO_TYPE) == Ok(libc::SOCK_STREAM)
}

/// Whether a socket can carry descriptors.
pub fn is_unix(socket: i32) -> Sys<bool> {
    option(socket, libc::SO_DOMAIN).map(|domain| domain == libc::AF_UNIX)
}

/// Waits until there is something to receive, or the other end is gone; false when the time is over first.
pub fn wait(socket: i32, nanoseconds: u64) -> Sys<bool> {
    kernel::poll(socket, libc::POLLIN, nanoseconds)
}
