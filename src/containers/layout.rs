//! What every container checks before it is used, and what it says where that does not hold: memory that can be read and
//! written, room, bytes that can be its own, messages of the type that the program means. `what` is the container's name, as
//! in its functions. Next: `ring_end.rs`, `queue_end.rs`.

use crate::error::{Errno, Status};
use crate::region::header::Layout;
use crate::region::{Failure, Outcome};
use crate::sync::object::Wait;
use crate::sys::area::Area;
use crate::sys::{futex, memory};

/// So many copies in a row are begun again, as the bytes were overwritten meanwhile, before the clock is looked at.
pub const MOST_COPIES: u32 = 64;

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

/// Whether messages are of the type that the program means; one that means none takes any.
pub fn require_layout(wanted: &Layout, found: u64) -> Outcome<()> {
    match fingerprint(wanted) {
        0 => Ok(()),
        wanted if wanted == found => Ok(()),
        _ => Err(Failure::new(
            Status::ErrLayout,
            "it was made for messages of another type, version, size or alignment",
            "build both programs from the same definition",
        )),
    }
}

/// Whether there are enough bytes to make one.
pub fn require_room(area: Area, needed: u64, what: &'static str) -> Outcome<()> {
    if needed <= area.length() as u64 {
        return Ok(());
    }
    Err(Failure::new(
        Status::ErrInvalidArgument,
        "{length} bytes are too few for this {what}, which needs {needed}",
        "ask shmkit_{what}_size how many it needs",
    )
    .with(|figures| (figures.length, figures.needed, figures.what) = (area.length() as u64, needed, what)))
}

/// What is said of memory in which none was made.
#[cold]
pub fn uninitialised(what: &'static str) -> Failure {
    Failure::new(
        Status::ErrUninitialised,
        "there is no {what} in this memory",
        "initialise it with shmkit_{what}_init, once, before anybody attaches: best in the init callback of a region",
    )
    .with(|figures| figures.what = what)
}

/// What is said of one that names sizes which its memory does not have.
#[cold]
pub fn lies(area: Area, needed: u64, what: &'static str) -> Failure {
    Failure::new(
        Status::ErrCorrupt,
        "by what stands in it the {what} needs {needed} bytes, and its memory has {length}",
        "give all of the memory that it was initialised with; otherwise a peer has overwritten it",
    )
    .with(|figures| (figures.needed, figures.length, figures.what) = (needed, area.length() as u64, what))
}

/// What is said of one in which something stands that no call leaves there.
#[cold]
pub fn corrupt(what: &'static str) -> Failure {
    Failure::new(
        Status::ErrCorrupt,
        "what stands in the {what} cannot be: a peer wrote where it should not",
        "initialise it anew, when nobody uses it; look for a write past the end of a message",
    )
    .with(|figures| figures.what = what)
}

/// What is said to a reader that every copy was taken from: SHMKIT_ERR_AGAIN, or, when it had time, that this is over.
#[cold]
pub fn overtaken(wait: Wait) -> Failure {
    Failure::new(
        if wait == Wait::No { Status::ErrAgain } else { Status::ErrTimeout },
        "what was read was overwritten before its copy was whole, {limit} times in a row",
        "come back later; let who writes write less often, or less at a time",
    )
    .with(|figures| figures.limit = MOST_COPIES.into())
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
