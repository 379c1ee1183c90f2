//! Why a call on regions failed: status, errno, cause, remedy and live figures, before the C layer keeps it.
//! Never makes a system call but to ask for figures. Next: `object.rs` and `segment.rs`, which fail most.

use crate::checks::words::Figures;
use crate::error::{Errno, Status};
use crate::sys::file;
use crate::sys::limits::{Resource, page_size, soft_limit};

/// A failure on its way up. The words are templates, as in `checks/rules.rs`.
#[derive(Clone, Copy)]
pub struct Failure {
    /// The status code.
    pub status: Status,
    /// The errno that stands for it.
    pub errno: i32,
    /// Why.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// The live figures that the words name.
    pub figures: Figures,
}

/// What every function of this layer returns.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with words of its own.
    #[cold]
    pub fn new(status: Status, cause: &'static str, remedy: &'static str) -> Failure {
        let figures = Figures { page: page_size() as u64, ..Figures::default() };
        Failure { status, errno: status.words().errno, cause, remedy, figures }
    }

    /// A failure in the words of its status.
    #[cold]
    pub fn of(status: Status) -> Failure {
        let words = status.words();
        Failure::new(status, words.cause, words.remedy)
    }

    /// What the system refused, in the words that fit regions.
    #[cold]
    pub fn system(errno: Errno) -> Failure {
        let failure = match errno.0 {
            libc::EMFILE => Failure::new(
                Status::ErrLimit,
                "all {limit} descriptors that RLIMIT_NOFILE allows are open, and a region needs one",
                "close what is not needed, or raise the limit (ulimit -n)",
            )
            .with(|figures| figures.limit = soft_limit(Resource::Descriptors)),
            libc::ENFILE => Failure::new(
                Status::ErrLimit,
                "the whole system has reached its limit of open files (fs.file-max)",
                "close what is not needed, or raise fs.file-max",
            ),
            _ => Failure::of(Status::from_errno(errno.0)),
        };
        Failure { errno: errno.0, ..failure }
    }

    /// The same with figures.
    pub fn with(mut self, set: impl FnOnce(&mut Figures)) -> Failure {
        set(&mut self.figures);
        self
    }

    /// An argument that is not valid.
    #[cold]
    pub fn argument(cause: &'static str, remedy: &'static str) -> Failure {
        Failure::new(Status::ErrInvalidArgument, cause, remedy)
    }

    /// What this kind of memory cannot do.
    #[cold]
    pub fn backend(cause: &'static str, remedy: &'static str) -> Failure {
        Failure::new(Status::ErrBackend, cause, remedy)
    }

    /// A file system that cannot back what was asked for, with its figures.
    #[cold]
    pub fn no_space(fd: i32, needed: u64) -> Failure {
        let failure = Failure::new(
            Status::ErrNoSpace,
            "{name} needs {needed} more bytes; its file system has {free} free of {capacity}",
            "free space there, make it larger (for a container: its shm size), or ask for less",
        );
        failure.with(|figures| {
            figures.needed = needed;
            if let Ok(room) = file::room(fd) {
                (figures.free, figures.capacity) = (room.free, room.capacity);
            }
        })
    }

    /// Address space that cannot be had.
    #[cold]
    pub fn no_memory(errno: Errno, length: u64) -> Failure {
        if errno.0 != libc::ENOMEM {
            return Failure::system(errno);
        }
        Failure::new(
            Status::ErrNoMemory,
            "no address space for {length} bytes: RLIMIT_AS ({limit_bytes}) or vm.max_map_count is used up",
            "ask for less (max_size counts), close what is not needed, or raise the limit",
        )
        .with(|figures| {
            figures.length = length;
            figures.limit = soft_limit(Resource::AddressSpace);
        })
    }
}
