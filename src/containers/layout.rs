//! What every container checks before it is used: that its memory can be written, and that its messages are of the type that
//! the program means. Next: `ring_end.rs`, `queue_end.rs`.

use crate::error::{Errno, Status};
use crate::region::header::Layout;
use crate::region::{Failure, Outcome};
use crate::sys::area::Area;
use crate::sys::{futex, memory};

/// A number for a layout: FNV-1a of 64 bits. 0 for none.
pub fn fingerprint(layout: &Layout) -> u64 {
    if layout.is_any() {
        return 0;
    }
    let numbers = [layout.size, u64::from(layout.version), u64::from(layout.alignment)];
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    let bytes = layout.name.iter().copied().chain(numbers);
    bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)).max(1)
}

/// What a program that means another type is told.
pub fn other_layout() -> Failure {
    Failure::new(
        Status::ErrLayout,
        "it was made for messages of another type, version, size or alignment",
        "build both programs from the same definition",
    )
}

/// Whether the memory can be read at both of its ends.
pub fn check_mapped(area: Area) -> Outcome<()> {
    for at in [0, area.length().saturating_sub(1)] {
        if memory::peek(area.start() + at, &mut [0]) == Err(Errno(libc::EFAULT)) {
            return Err(Failure::of(Status::ErrBadPointer));
        }
    }
    Ok(())
}

/// Whether the memory can be written at both of its ends.
pub fn check_writable(area: Area) -> Outcome<()> {
    for at in [0, (area.length() - 4) & !3] {
        futex::writable(area.start() + at).map_err(|_| {
            Failure::new(
                Status::ErrAccess,
                "the memory is not mapped for writing, and everybody who uses a ring or queue writes to it",
                "map it with PROT_WRITE, or open the region without read_only",
            )
        })?;
    }
    Ok(())
}
