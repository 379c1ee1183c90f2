//! Descriptors that count, for who waits on many things at once. Next: `containers/ring_end.rs`, which writes to them.

use super::kernel;

/// Adds one to an eventfd(2). What cannot be written is no matter: its count is not 0 then, which is what the reader waits for.
/// Leaves errno as it was.
pub fn add(fd: i32) {
    super::preserving_errno(|| {
        let _ = kernel::write(fd, &1u64.to_ne_bytes());
    });
}
