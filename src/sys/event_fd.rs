//! Descriptors that count, for who waits on many things at once. Next: `containers/ring_end.rs`, which writes to them.

/// Adds one to an eventfd(2). What cannot be written is no matter: its count is not 0 then, which is what the reader waits for.
/// Leaves errno as it was; not a cancellation point.
pub fn add(fd: i32) {
    let one = 1u64;
    super::preserving_errno(|| {
        // SAFETY: eight bytes are readable.
        unsafe { libc::syscall(libc::SYS_write, fd, &raw const one, 8) };
    });
}
