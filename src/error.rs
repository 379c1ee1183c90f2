//! Owns the one list of status codes: variant, number, errno, words and remedy.
//! Never holds state and never makes a system call; numbers are never reused.
//! Next: `checks/rules.rs` for the rules whose codes these are, `calls/detail.rs` for where a failure is kept.

use core::fmt;

/// What a shmkit call came to. Zero is success; errors are negative and explicitly numbered.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant's words are in `Status::words`, the one place for them")]
pub enum Status {
    Ok = 0,
    ErrInternal = -1,
    ErrInvalidArgument = -2,
    ErrBadPointer = -3,
    ErrBadDescriptor = -4,
    ErrNotFound = -5,
    ErrExists = -6,
    ErrAccess = -7,
    ErrNotPermitted = -8,
    ErrNameTooLong = -9,
    ErrNoSpace = -10,
    ErrNoMemory = -11,
    ErrLimit = -12,
    ErrTooBig = -13,
    ErrOverflow = -14,
    ErrRemoved = -15,
    ErrBusy = -16,
    ErrAgain = -17,
    ErrInterrupted = -18,
    ErrUnsupported = -19,
    ErrPastEnd = -20,
    ErrNotMappable = -21,
    ErrIo = -22,
    ErrNotAnObject = -23,
    ErrSystem = -24,
    ErrTruncated = -25,
    ErrTimeout = -26,
    ErrLayout = -27,
    ErrCorrupt = -28,
    ErrNotARegion = -29,
    ErrOwner = -30,
    ErrBadHandle = -31,
    ErrBackend = -32,
    ErrCallback = -33,
    ErrUnfinished = -34,
    ErrOwnerDied = -35,
    ErrNotRecoverable = -36,
    ErrDeadlock = -37,
    ErrNotOwner = -38,
    ErrUninitialised = -39,
    ErrClosed = -40,
}

/// One row of the table: the errno that stands for a status, what it means and what to do.
pub struct Words {
    /// The name of the constant in the C header.
    pub name: &'static str,
    /// The errno that a POSIX-shaped call reports for it.
    pub errno: i32,
    /// What happened, as half a sentence.
    pub cause: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Status {
    /// Every status, in order of its number.
    pub const ALL: [Status; 41] = [
        Status::Ok,
        Status::ErrInternal,
        Status::ErrInvalidArgument,
        Status::ErrBadPointer,
        Status::ErrBadDescriptor,
        Status::ErrNotFound,
        Status::ErrExists,
        Status::ErrAccess,
        Status::ErrNotPermitted,
        Status::ErrNameTooLong,
        Status::ErrNoSpace,
        Status::ErrNoMemory,
        Status::ErrLimit,
        Status::ErrTooBig,
        Status::ErrOverflow,
        Status::ErrRemoved,
        Status::ErrBusy,
        Status::ErrAgain,
        Status::ErrInterrupted,
        Status::ErrUnsupported,
        Status::ErrPastEnd,
        Status::ErrNotMappable,
        Status::ErrIo,
        Status::ErrNotAnObject,
        Status::ErrSystem,
        Status::ErrTruncated,
        Status::ErrTimeout,
        Status::ErrLayout,
        Status::ErrCorrupt,
        Status::ErrNotARegion,
        Status::ErrOwner,
        Status::ErrBadHandle,
        Status::ErrBackend,
        Status::ErrCallback,
        Status::ErrUnfinished,
        Status::ErrOwnerDied,
        Status::ErrNotRecoverable,
        Status::ErrDeadlock,
        Status::ErrNotOwner,
        Status::ErrUninitialised,
        Status::ErrClosed,
    ];

    /// The row of this status.
    pub const fn words(self) -> Words {
        let (name, errno, cause, remedy) = match self {
            Status::Ok => ("SHMKIT_OK", 0, "the call succeeded", "nothing to do"),
            Status::ErrInternal => (
                "SHMKIT_ERR_INTERNAL",
                libc::EIO,
                "shmkit met a fault of its own and stopped the call before it could do harm",
                "report it with this message; the call can be tried again",
            ),
            Status::ErrInvalidArgument => (
                "SHMKIT_ERR_INVALID_ARGUMENT",
                libc::EINVAL,
                "an argument, or a combination of them, is not valid for this call",
                "compare the arguments with the call's manual page",
            ),
            Status::ErrBadPointer => (
                "SHMKIT_ERR_BAD_POINTER",
                libc::EFAULT,
                "a pointer does not lead to memory of this process",
                "pass the address of a live object of the right type",
            ),
            Status::ErrBadDescriptor => (
                "SHMKIT_ERR_BAD_DESCRIPTOR",
                libc::EBADF,
                "the descriptor is not open, or not open for this",
                "check that the call that opened it succeeded and that nothing closed it since",
            ),
            Status::ErrNotFound => {
                ("SHMKIT_ERR_NOT_FOUND", libc::ENOENT, "nothing has this name", "create it first, or correct the name")
            }
            Status::ErrExists => (
                "SHMKIT_ERR_EXISTS",
                libc::EEXIST,
                "it exists already",
                "open the existing one without the exclusive flag, or remove it first",
            ),
            Status::ErrAccess => (
                "SHMKIT_ERR_ACCESS",
                libc::EACCES,
                "the permissions do not allow this",
                "ask for less access, or let the owner grant it",
            ),
            Status::ErrNotPermitted => (
                "SHMKIT_ERR_NOT_PERMITTED",
                libc::EPERM,
                "this process may not do this",
                "run it as the owner or with the capability that the manual page names",
            ),
            Status::ErrNameTooLong => {
                ("SHMKIT_ERR_NAME_TOO_LONG", libc::ENAMETOOLONG, "the name is too long", "use a shorter name")
            }
            Status::ErrNoSpace => (
                "SHMKIT_ERR_NO_SPACE",
                libc::ENOSPC,
                "there is no space left for it",
                "free space, make the file system larger or ask for less",
            ),
            Status::ErrNoMemory => (
                "SHMKIT_ERR_NO_MEMORY",
                libc::ENOMEM,
                "the kernel has no memory or address space for it, or the range is not mapped",
                "ask for less, or check the range",
            ),
            Status::ErrLimit => (
                "SHMKIT_ERR_LIMIT",
                libc::EMFILE,
                "a limit of the process or the system is reached",
                "release what is not needed or raise the limit",
            ),
            Status::ErrTooBig => (
                "SHMKIT_ERR_TOO_BIG",
                libc::EFBIG,
                "the size is larger than what there is or what a limit allows",
                "ask for less or raise the limit",
            ),
            Status::ErrOverflow => (
                "SHMKIT_ERR_OVERFLOW",
                libc::EOVERFLOW,
                "the numbers do not fit: offset plus length overflows",
                "check the arithmetic that made them",
            ),
            Status::ErrRemoved => (
                "SHMKIT_ERR_REMOVED",
                libc::EIDRM,
                "what had this name or id was removed, or replaced by another one",
                "open or get it again by its name or key, if the other one is meant",
            ),
            Status::ErrBusy => ("SHMKIT_ERR_BUSY", libc::EBUSY, "it is in use", "release it first"),
            Status::ErrAgain => (
                "SHMKIT_ERR_AGAIN",
                libc::EAGAIN,
                "the resource is not available at the moment, or a limit on locked memory is reached",
                "try again, or raise RLIMIT_MEMLOCK",
            ),
            Status::ErrInterrupted => {
                ("SHMKIT_ERR_INTERRUPTED", libc::EINTR, "a signal came before the call was done", "call again")
            }
            Status::ErrUnsupported => (
                "SHMKIT_ERR_UNSUPPORTED",
                libc::EOPNOTSUPP,
                "this kernel or file system does not support it",
                "use another flag or another file system",
            ),
            Status::ErrPastEnd => (
                "SHMKIT_ERR_PAST_END",
                libc::ENXIO,
                "the range lies past the end of the object",
                "size the object first, or ask for less",
            ),
            Status::ErrNotMappable => (
                "SHMKIT_ERR_NOT_MAPPABLE",
                libc::ENODEV,
                "what the descriptor refers to cannot be mapped",
                "map a regular file, a shared memory object or a device that supports it",
            ),
            Status::ErrIo => (
                "SHMKIT_ERR_IO",
                libc::EIO,
                "an input or output error came from below",
                "look at the kernel's log for the device",
            ),
            Status::ErrNotAnObject => (
                "SHMKIT_ERR_NOT_AN_OBJECT",
                libc::EISDIR,
                "what has this name is not a shared memory object",
                "use another name, and see what took this one",
            ),
            Status::ErrSystem => {
                ("SHMKIT_ERR_SYSTEM", 0, "the system refused the call", "see errno and the call's manual page")
            }
            Status::ErrTruncated => (
                "SHMKIT_ERR_TRUNCATED",
                libc::ENXIO,
                "a peer made the object shorter while it was in use",
                "close the region and open it again; what was behind the new end is lost",
            ),
            Status::ErrTimeout => (
                "SHMKIT_ERR_TIMEOUT",
                libc::ETIMEDOUT,
                "the time ran out before the peer that was waited for was done",
                "see whether that peer is stopped, or wait longer",
            ),
            Status::ErrLayout => (
                "SHMKIT_ERR_LAYOUT",
                libc::EINVAL,
                "the region was made for another type, version, size or alignment",
                "build both programs from the same definition, or change the version and the name together",
            ),
            Status::ErrCorrupt => (
                "SHMKIT_ERR_CORRUPT",
                libc::EUCLEAN,
                "what the header says cannot be true",
                "find out who writes there; remove the object and create it anew",
            ),
            Status::ErrNotARegion => (
                "SHMKIT_ERR_NOT_A_REGION",
                libc::EINVAL,
                "the object has no region header: other software made it",
                "open it as a raw region, or use another name",
            ),
            Status::ErrOwner => (
                "SHMKIT_ERR_OWNER",
                libc::EPERM,
                "the object belongs to a user who is not trusted, or everybody may write to it",
                "find out who made it; name its owner in the options if that is meant",
            ),
            Status::ErrBadHandle => (
                "SHMKIT_ERR_BAD_HANDLE",
                libc::EBADF,
                "this is no handle of an open region",
                "use what open or create gave, and not after it was closed",
            ),
            Status::ErrBackend => (
                "SHMKIT_ERR_BACKEND",
                libc::EOPNOTSUPP,
                "this kind of memory cannot do it",
                "use another kind of address; see the table in the manual",
            ),
            Status::ErrCallback => (
                "SHMKIT_ERR_CALLBACK",
                libc::ECANCELED,
                "the program's own callback refused",
                "see why it did; nothing was made",
            ),
            Status::ErrUnfinished => (
                "SHMKIT_ERR_UNFINISHED",
                libc::ENOENT,
                "its creator died before it was ready",
                "create it, which takes over, or let shmkit_gc remove it",
            ),
            Status::ErrOwnerDied => (
                "SHMKIT_ERR_OWNER_DIED",
                libc::EOWNERDEAD,
                "the last holder died while it held this; it is held by the caller now",
                "repair what it guards, call the _consistent function, go on and unlock; or call the _abandon function",
            ),
            Status::ErrNotRecoverable => (
                "SHMKIT_ERR_NOT_RECOVERABLE",
                libc::ENOTRECOVERABLE,
                "a holder found that what this guards cannot be repaired, and abandoned it",
                "initialise what it guards anew, and it as well, while nobody uses them",
            ),
            Status::ErrDeadlock => (
                "SHMKIT_ERR_DEADLOCK",
                libc::EDEADLK,
                "this thread holds it already, and would wait for itself",
                "lock it once, and pass on the fact that it is locked",
            ),
            Status::ErrNotOwner => (
                "SHMKIT_ERR_NOT_OWNER",
                libc::EPERM,
                "this thread does not hold it",
                "let the thread that locked it unlock it; a forked child does not hold what its parent holds",
            ),
            Status::ErrUninitialised => (
                "SHMKIT_ERR_UNINITIALISED",
                libc::EINVAL,
                "nothing was initialised here",
                "initialise it before it is used, best in the init callback of the region",
            ),
            Status::ErrClosed => (
                "SHMKIT_ERR_CLOSED",
                libc::EPIPE,
                "it was closed: nothing comes any more, or nothing is taken any more",
                "end the loop; whoever produces closes it when all is said",
            ),
        };
        Words { name, errno, cause, remedy }
    }

    /// The status with this number.
    pub fn from_number(number: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as i32 == number)
    }

    /// The status that stands for an errno of the system.
    pub fn from_errno(errno: i32) -> Status {
        match errno {
            libc::ENOTDIR | libc::ELOOP => Status::ErrNotAnObject,
            libc::ENFILE => Status::ErrLimit,
            libc::ENOSYS | libc::ENOTTY => Status::ErrUnsupported,
            0 => Status::Ok,
            // ErrIo and ErrInternal share an errno; the system's own EIO is the former.
            libc::EIO => Status::ErrIo,
            _ => Status::ALL.into_iter().find(|status| status.words().errno == errno).unwrap_or(Status::ErrSystem),
        }
    }
}

/// An errno as the C library reports it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

macro_rules! errno_names {
    ($($name:ident)*) => {
        /// The C name of an errno that these calls can give, or `errno` for another one.
        pub const fn errno_name(errno: i32) -> &'static str {
            match errno {
                0 => "0",
                $(libc::$name => stringify!($name),)*
                _ => "errno",
            }
        }

        /// The number of an errno that `errno_name` knows.
        pub fn errno_number(name: &str) -> Option<i32> {
            match name {
                $(stringify!($name) => Some(libc::$name),)*
                _ => None,
            }
        }
    };
}

errno_names! {
    EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR
    EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS ENAMETOOLONG ENOSYS ELOOP EIDRM EOVERFLOW
    EOPNOTSUPP EDEADLK ERANGE ETIMEDOUT EUCLEAN ECANCELED ENOLCK EMSGSIZE EPIPE ECONNRESET ENOTSOCK ESRCH ENOTEMPTY
    ECONNREFUSED ENOTCONN EDQUOT EOWNERDEAD ENOTRECOVERABLE
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({})", errno_name(self.0), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_number_name_and_words() {
        for (index, status) in Status::ALL.iter().enumerate() {
            assert_eq!(*status as i32, -(index as i32), "{status:?} is out of place");
            let words = status.words();
            assert!(words.name.starts_with("SHMKIT_"));
            assert!(!words.cause.is_empty() && !words.remedy.is_empty());
            assert_eq!(Status::from_number(*status as i32), Some(*status));
            let same = Status::ALL.iter().filter(|other| other.words().name == words.name);
            assert_eq!(same.count(), 1, "{} is used twice", words.name);
        }
    }

    #[test]
    fn an_errno_leads_to_the_status_that_reports_it() {
        for status in Status::ALL {
            let errno = status.words().errno;
            // Those of regions share their errno with a status that was there before them.
            if !matches!(status, Status::ErrInternal | Status::ErrSystem) && (status as i32) > Status::ErrSystem as i32
            {
                assert_eq!(Status::from_errno(errno), status);
            }
        }
        assert_eq!(Status::from_errno(libc::EXDEV), Status::ErrSystem);
    }
}
