//! Owns the one table of rules: id, verdict, errno, code, cause, remedy and source of each.
//! Never decides whether a rule is broken (the other files of this folder do) nor what follows (`calls/judge.rs`).
//! `docs/rules.md` shows a failing and a mended example of each; `tests/rules.rs` runs them all.
//!
//! The order matters: when a call breaks several rules, the first one in the table gives the errno, and so the
//! table lists the rules of a call in the order in which Linux itself looks.

use crate::error::Status;

/// What a broken rule means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// POSIX or the manual page calls it an error or undefined.
    Wrong,
    /// Legal, and usually a bug.
    Hazard,
}

/// What Linux does with the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linux {
    /// It refuses it too, with the same errno.
    Refuses,
    /// It accepts it (or, for a pointer that leads nowhere, the C library crashes): here the checked call differs.
    Accepts,
}

/// One row of the table.
pub struct Row {
    /// The stable id.
    pub id: &'static str,
    /// Wrong or hazard.
    pub verdict: Verdict,
    /// What Linux does.
    pub linux: Linux,
    /// The errno when the call is refused for it.
    pub errno: i32,
    /// The status code when the call is refused for it.
    pub status: Status,
    /// Why, with `{figures}`.
    pub cause: &'static str,
    /// What to do, with `{figures}`.
    pub remedy: &'static str,
    /// Where this is written.
    pub source: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $verdict:ident, $linux:ident, $errno:ident, $status:ident,
        $cause:literal, $remedy:literal, $source:literal;)*) => {
        /// A rule, by name.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the table's cause is the documentation")]
        pub enum Rule { $($name),* }

        impl Rule {
            /// Every rule, in the order of the table.
            pub const ALL: &'static [Rule] = &[$(Rule::$name),*];

            /// The row of this rule.
            pub fn row(self) -> &'static Row {
                &TABLE[self as usize]
            }
        }

        static TABLE: [Row; Rule::ALL.len()] = [$(Row {
            id: $id,
            verdict: Verdict::$verdict,
            linux: Linux::$linux,
            errno: libc::$errno,
            status: Status::$status,
            cause: $cause,
            remedy: $remedy,
            source: $source,
        }),*];
    };
}

rules! {
// Pointers
ArgPointer = "SHM-ARG-POINTER", Wrong, Accepts, EFAULT, ErrBadPointer,
    "the pointer {addr} cannot lead to memory of this process",
    "pass the address of a live object", "POSIX XSH 2.1.1";

// Names of POSIX objects and memfds
NameUnterminated = "SHM-NAME-UNTERMINATED", Wrong, Accepts, ENAMETOOLONG, ErrNameTooLong,
    "the name has no terminating NUL within {limit} bytes",
    "end the string with a NUL byte", "POSIX shm_open, ENAMETOOLONG";
NameEmpty = "SHM-NAME-EMPTY", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the name has nothing after its slash",
    "name the object, as in \"/telemetry\"", "shm_open(3), EINVAL";
NameInnerSlash = "SHM-NAME-INNER-SLASH", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the name \"{name}\" has a slash after its first character: objects live in one flat folder",
    "use another separator, as in \"/app.telemetry\"", "POSIX shm_open (implementation-defined); shm_open(3), EINVAL";
NameTooLong = "SHM-NAME-TOO-LONG", Wrong, Refuses, ENAMETOOLONG, ErrNameTooLong,
    "the name is {length} bytes long; {limit} is the most",
    "use a shorter name", "POSIX shm_open, ENAMETOOLONG";
NameDot = "SHM-NAME-DOT", Wrong, Accepts, EINVAL, ErrInvalidArgument,
    "the name \"{name}\" means a folder, not an object",
    "name the object, as in \"/telemetry\"", "POSIX XBD 4.16, path name resolution";
NameNoSlash = "SHM-NAME-NO-SLASH", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the name \"{name}\" does not begin with a slash: what it means differs between systems",
    "write \"/{name}\"", "POSIX shm_open (implementation-defined)";
NameManySlashes = "SHM-NAME-MANY-SLASHES", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the name \"{name}\" begins with more than one slash: what it means differs between systems",
    "begin it with exactly one slash", "POSIX shm_open (implementation-defined)";
MemfdName = "SHM-MEMFD-NAME", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the label is {length} bytes long; {limit} is the most",
    "use a shorter label", "memfd_create(2), EINVAL";
MemfdFlags = "SHM-MEMFD-FLAGS", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the flags {flags} hold bits that memfd_create does not know, or two that exclude each other",
    "use MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_HUGETLB with a size, and MFD_EXEC or MFD_NOEXEC_SEAL", "memfd_create(2), EINVAL";

// Opening
OpenAccessMode = "SHM-OPEN-ACCESS-MODE", Wrong, Accepts, EINVAL, ErrInvalidArgument,
    "the access mode is {access}: shm_open takes O_RDONLY or O_RDWR, and what O_WRONLY opens cannot be mapped",
    "use O_RDWR", "POSIX shm_open: exactly one of O_RDONLY and O_RDWR";
OpenExclNoCreat = "SHM-OPEN-EXCL-NO-CREAT", Wrong, Accepts, EINVAL, ErrInvalidArgument,
    "O_EXCL without O_CREAT is undefined and excludes nobody",
    "add O_CREAT, or leave O_EXCL out", "POSIX shm_open: O_EXCL without O_CREAT is undefined";
OpenTruncRdonly = "SHM-OPEN-TRUNC-RDONLY", Wrong, Accepts, EINVAL, ErrInvalidArgument,
    "O_TRUNC with O_RDONLY is undefined; on Linux it empties the object under its other users",
    "open with O_RDWR to truncate, or leave O_TRUNC out", "POSIX shm_open: O_TRUNC with O_RDONLY is undefined";
OpenFlags = "SHM-OPEN-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which shm_open does not define and Linux takes in silence",
    "use O_RDONLY or O_RDWR with O_CREAT, O_EXCL and O_TRUNC", "POSIX shm_open, oflag";
OpenModeBits = "SHM-OPEN-MODE-BITS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the mode {mode} has bits beyond 0777 (a decimal number where octal was meant?)",
    "write the mode in octal, as in 0600", "POSIX shm_open, mode";
OpenNoAccess = "SHM-OPEN-NO-ACCESS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the mode {mode} does not let the owner open it again: the next open will fail",
    "use 0600, or 0660 to share with a group", "POSIX shm_open, sem_open: mode";
OpenWorldWritable = "SHM-OPEN-WORLD-WRITABLE", Hazard, Accepts, EACCES, ErrAccess,
    "the mode {mode} lets every user write, and the umask does not take that away",
    "use 0600, or 0660 to share with a group", "shm_open(3)";

// Sizes
SizeNegative = "SHM-SIZE-NEGATIVE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the size or offset {signed} is negative",
    "check the arithmetic that made it", "POSIX ftruncate, EINVAL";
SizeZeroReserve = "SHM-SIZE-ZERO-RESERVE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "posix_fallocate was asked to reserve nothing",
    "pass a length above zero", "POSIX posix_fallocate, EINVAL";
SizeOverflow = "SHM-SIZE-OVERFLOW", Wrong, Refuses, EFBIG, ErrTooBig,
    "offset {offset} plus length {length} is more than a file can be",
    "check the arithmetic that made them", "POSIX posix_fallocate, EFBIG";
SizeReadOnly = "SHM-SIZE-READ-ONLY", Wrong, Refuses, EINVAL, ErrBadDescriptor,
    "{object} was opened without write access, so its size cannot be set through descriptor {fd}",
    "open it with O_RDWR", "ftruncate(2), EINVAL and EBADF";
SizeSealed = "SHM-SIZE-SEALED", Wrong, Refuses, EPERM, ErrNotPermitted,
    "{object} is sealed ({seals}) and is {size} bytes; its size cannot become {length}",
    "size it before it is sealed, or make another", "fcntl(2), file sealing";
SizeLimit = "SHM-SIZE-LIMIT", Wrong, Refuses, EFBIG, ErrTooBig,
    "{length} bytes are more than the file system or RLIMIT_FSIZE ({limit_bytes}) allows",
    "ask for less, or raise the limit", "ftruncate(2), EFBIG";
SizeNoSpace = "SHM-SIZE-NO-SPACE", Hazard, Accepts, ENOSPC, ErrNoSpace,
    "{object} would need {needed} more bytes; its file system has {free} free of {capacity}: the first touch beyond them is a SIGBUS",
    "make the file system larger (for a container: its shm size) or ask for less; posix_fallocate reserves at once", "ftruncate(2); tmpfs(5)";
SizeShrinkMapped = "SHM-SIZE-SHRINK-MAPPED", Hazard, Accepts, EBUSY, ErrBusy,
    "{object} is mapped up to byte {end} in this process; at {length} bytes the mapped rest becomes SIGBUS",
    "unmap the tail before shrinking, and make sure that no other process maps it", "POSIX ftruncate; mmap(2), SIGBUS";

// Mapping
MapOffsetAlign = "SHM-MAP-OFFSET-ALIGN", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "offset {offset} is not a multiple of the page size, {page}",
    "round the offset down to a page and add the rest to the pointer", "POSIX mmap, EINVAL";
FdClosed = "SHM-FD-CLOSED", Wrong, Refuses, EBADF, ErrBadDescriptor,
    "descriptor {fd} is not open in this process, or only as a path (O_PATH)",
    "check the result of the call that should have opened it, and look for a second close", "POSIX XSH 2.3, EBADF";
MapNoFd = "SHM-MAP-NO-FD", Wrong, Refuses, EBADF, ErrBadDescriptor,
    "a file mapping needs a descriptor and got {signed_fd}",
    "check the result of the open; for memory without a file add MAP_ANONYMOUS", "POSIX mmap, EBADF";
MapZeroLength = "SHM-MAP-ZERO-LENGTH", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the length is 0",
    "pass the size of the object; a size of 0 often comes from an object that was never sized", "POSIX mmap, EINVAL";
MapLength = "SHM-MAP-LENGTH", Wrong, Refuses, ENOMEM, ErrNoMemory,
    "the length {length} is larger than the address space",
    "check the arithmetic that made it: a negative number turned into a size looks like this", "mmap(2), ENOMEM";
MapAddressAlign = "SHM-MAP-ADDRESS-ALIGN", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "address {addr} is not a multiple of the page size, {page}",
    "use an address that mmap gave, or round it to a page", "POSIX mmap, mprotect, msync, munmap: EINVAL";
MapOffsetOverflow = "SHM-MAP-OFFSET-OVERFLOW", Wrong, Refuses, EOVERFLOW, ErrOverflow,
    "offset {offset} plus length {length} is more than a file offset can be",
    "check the arithmetic that made them", "POSIX mmap, EOVERFLOW";
MapSharingNone = "SHM-MAP-SHARING-NONE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the flags {flags} say neither MAP_SHARED nor MAP_PRIVATE",
    "add MAP_SHARED to share the memory, MAP_PRIVATE for a copy of one's own", "POSIX mmap, EINVAL";
MapSharingBoth = "SHM-MAP-SHARING-BOTH", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "MAP_SHARED and MAP_PRIVATE together are the number of MAP_SHARED_VALIDATE: Linux shares the memory",
    "choose one of the two; MAP_SHARED_VALIDATE belongs with MAP_SYNC", "POSIX mmap, EINVAL; mmap(2)";
MapFlags = "SHM-MAP-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which mmap does not know and takes in silence",
    "leave them out; with MAP_SHARED_VALIDATE in place of MAP_SHARED the kernel refuses what it does not know", "mmap(2), MAP_SHARED_VALIDATE";
MapFlagsValidated = "SHM-MAP-FLAGS-VALIDATED", Wrong, Refuses, EOPNOTSUPP, ErrUnsupported,
    "MAP_SHARED_VALIDATE was asked with flags {flags} that this file or kernel does not support",
    "leave the flag out; MAP_SYNC needs a file on persistent memory (DAX)", "mmap(2), EOPNOTSUPP";
MapSyncIgnored = "SHM-MAP-SYNC-IGNORED", Hazard, Accepts, EOPNOTSUPP, ErrUnsupported,
    "MAP_SYNC without MAP_SHARED_VALIDATE is taken in silence and does nothing",
    "use MAP_SHARED_VALIDATE | MAP_SYNC, and be ready for EOPNOTSUPP", "mmap(2), MAP_SYNC";
MapProtBits = "SHM-MAP-PROT-BITS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the protection {prot} has bits that the call does not know",
    "use PROT_NONE, or PROT_READ, PROT_WRITE and PROT_EXEC combined", "POSIX mmap, prot";
MapHugeIgnored = "SHM-MAP-HUGE-IGNORED", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags name a huge page size without MAP_HUGETLB, so the size is taken in silence",
    "add MAP_HUGETLB (or SHM_HUGETLB, MFD_HUGETLB), or leave the size out", "mmap(2), MAP_HUGE_2MB";
MapHuge = "SHM-MAP-HUGE", Wrong, Refuses, ENOMEM, ErrNoMemory,
    "{length} bytes of huge pages of {size} bytes are not to be had: the pool has {free} bytes free",
    "raise vm.nr_hugepages, or do without huge pages", "mmap(2), MAP_HUGETLB";
MapAnonFd = "SHM-MAP-ANON-FD", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "an anonymous mapping was given descriptor {fd}, which is ignored: the memory is not the file's",
    "leave MAP_ANONYMOUS out to map the file, or pass -1", "mmap(2), MAP_ANONYMOUS";
MapAnonOffset = "SHM-MAP-ANON-OFFSET", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "an anonymous mapping was given offset {offset}, which means nothing",
    "pass 0", "mmap(2), MAP_ANONYMOUS";
MapWriteExec = "SHM-MAP-WRITE-EXEC", Hazard, Accepts, EACCES, ErrAccess,
    "the memory would be writable and executable at once: whoever can write it can run code in this process",
    "map it twice, once writable and once executable, or change the protection between the two", "mprotect(2); execmem";
MapProtFd = "SHM-MAP-PROT-FD", Wrong, Refuses, EACCES, ErrAccess,
    "{object} was opened {access}, which does not allow {prot} on this mapping",
    "open it with O_RDWR, or ask for less protection", "POSIX mmap, EACCES";
MapNotMappable = "SHM-MAP-NOT-MAPPABLE", Wrong, Refuses, ENODEV, ErrNotMappable,
    "{object} is {kind}, which cannot be mapped",
    "map a regular file or a shared memory object", "POSIX mmap, ENODEV";
MapSealed = "SHM-MAP-SEALED", Wrong, Refuses, EPERM, ErrNotPermitted,
    "{object} is sealed ({seals}) against a shared, writable mapping",
    "map it with PROT_READ (before Linux 6.7 with MAP_PRIVATE as well)", "fcntl(2), F_SEAL_WRITE";
MapNeverSized = "SHM-MAP-NEVER-SIZED", Hazard, Accepts, ENXIO, ErrPastEnd,
    "{object} is 0 bytes: it was never sized, and the first touch of the {length} mapped bytes is a SIGBUS",
    "call ftruncate before mmap; an opener waits until the creator has done so", "POSIX mmap, SIGBUS";
MapPastEnd = "SHM-MAP-PAST-END", Hazard, Accepts, ENXIO, ErrPastEnd,
    "bytes {offset} to {end} of {object} are mapped, and it is {size} bytes: touching a page past its end is a SIGBUS",
    "size the object first, or map no more than its size", "POSIX mmap, SIGBUS";
MapFixedOver = "SHM-MAP-FIXED-OVER", Hazard, Accepts, EEXIST, ErrExists,
    "{addr} to {end_addr} is in use, and the call replaces what is there without a word",
    "use MAP_FIXED_NOREPLACE, or let the kernel choose the address", "mmap(2), MAP_FIXED";
MapExists = "SHM-MAP-EXISTS", Wrong, Refuses, EEXIST, ErrExists,
    "{addr} to {end_addr} is in use, and MAP_FIXED_NOREPLACE forbids replacing it",
    "choose another address, or let the kernel choose", "mmap(2), EEXIST";
MapLimit = "SHM-MAP-LIMIT", Wrong, Refuses, ENOMEM, ErrNoMemory,
    "no address space for {length} bytes: RLIMIT_AS is {limit_bytes}, the process uses {used}, and vm.max_map_count is {count} mappings",
    "ask for less, unmap what is not needed, or raise the limit", "mmap(2), ENOMEM";

// Unmapping, protecting, moving
UnmapZeroLength = "SHM-UNMAP-ZERO-LENGTH", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the length is 0, so nothing would be unmapped",
    "pass the length that was mapped", "POSIX munmap, EINVAL";
UnmapRange = "SHM-UNMAP-RANGE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "{length} bytes from {addr} reach past the end of the address space",
    "pass the address and length that were mapped", "POSIX munmap, EINVAL";
UnmapNotMapped = "SHM-UNMAP-NOT-MAPPED", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "{addr} to {end_addr} is not mapped, or has holes: this may be a second munmap",
    "unmap once, with the address and length that were mapped", "POSIX munmap; munmap(2)";
UnmapSplitsAttach = "SHM-UNMAP-SPLITS-ATTACH", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "{addr} to {end_addr} is part of the System V segment attached at {start}: the rest stays attached",
    "detach it with shmdt({start})", "shmdt(2); shmat(2)";
RangeWraps = "SHM-RANGE-WRAPS", Wrong, Accepts, ENOMEM, ErrOverflow,
    "{length} bytes from {addr} wrap around the end of the address space; rounded to pages, Linux takes some of these for an empty range",
    "check the arithmetic that made the length: a negative number turned into a size looks like this", "POSIX mprotect, msync: ENOMEM; mlock(2), madvise(2), EINVAL";
RangeNotMapped = "SHM-RANGE-NOT-MAPPED", Wrong, Refuses, ENOMEM, ErrNoMemory,
    "{addr} to {end_addr} is not wholly mapped",
    "use the address and length that were mapped", "POSIX mprotect, msync, mlock: ENOMEM";
ProtBits = "SHM-PROT-BITS", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the protection {prot} has bits that mprotect does not know",
    "use PROT_NONE, or PROT_READ, PROT_WRITE and PROT_EXEC combined", "POSIX mprotect, EINVAL";
RemapFlags = "SHM-REMAP-FLAGS", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the flags {flags} are not valid for mremap: MREMAP_FIXED and MREMAP_DONTUNMAP need MREMAP_MAYMOVE, and MREMAP_DONTUNMAP an unchanged size",
    "combine them as mremap(2) says", "mremap(2), EINVAL";
RemapZeroLength = "SHM-REMAP-ZERO-LENGTH", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the new size is 0",
    "use munmap to remove a mapping", "mremap(2), EINVAL";
RemapNotMapped = "SHM-REMAP-NOT-MAPPED", Wrong, Refuses, EFAULT, ErrBadPointer,
    "{addr} to {end_addr} is not one mapping",
    "pass the address and size of one mapping", "mremap(2), EFAULT";
RemapNoRoom = "SHM-REMAP-NO-ROOM", Wrong, Refuses, ENOMEM, ErrNoMemory,
    "the mapping at {addr} cannot grow to {length} bytes where it is",
    "add MREMAP_MAYMOVE and use the address that comes back", "mremap(2), ENOMEM";

// Synchronising, advising, locking
SyncFlags = "SHM-SYNC-FLAGS", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the flags {flags} are not valid for msync: one of MS_ASYNC and MS_SYNC, never both, with MS_INVALIDATE if wanted",
    "choose MS_SYNC to wait for the write, MS_ASYNC not to", "POSIX msync, EINVAL";
SyncNoFlag = "SHM-SYNC-NO-FLAG", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "neither MS_ASYNC nor MS_SYNC is given: Linux then writes nothing and says that it went well",
    "choose MS_SYNC to wait for the write, MS_ASYNC not to", "POSIX msync; msync(2)";
SyncLocked = "SHM-SYNC-LOCKED", Wrong, Refuses, EBUSY, ErrBusy,
    "MS_INVALIDATE was asked for pages that mlock keeps in memory",
    "unlock them first, or leave MS_INVALIDATE out", "POSIX msync, EBUSY";
AdviseAdvice = "SHM-ADVISE-ADVICE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "{advice} is unknown to this kernel, or does not apply to this kind of memory",
    "see madvise(2) for what applies to shared memory", "madvise(2), EINVAL";
LockLimit = "SHM-LOCK-LIMIT", Wrong, Refuses, ENOMEM, ErrLimit,
    "locking {length} bytes would pass RLIMIT_MEMLOCK, {limit_bytes}",
    "raise the limit (ulimit -l, or LimitMEMLOCK= of the service), or lock less", "mlock(2), ENOMEM and EPERM";

// Keys
KeyZero = "SHM-KEY-ZERO", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the key is 0, which is IPC_PRIVATE: every call makes a new segment or set that no other process finds by key, and IPC_CREAT and IPC_EXCL mean nothing",
    "use a key from ftok, or IPC_PRIVATE with the permission bits alone", "POSIX shmget, semget; shmget(2)";
FtokId = "SHM-FTOK-ID", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the low 8 bits of the id {id} are 0, and ftok uses no others: what it gives is unspecified",
    "use an id from 1 to 255", "POSIX ftok: unspecified for an id of 0";
FtokCollision = "SHM-FTOK-COLLISION", Hazard, Accepts, EEXIST, ErrExists,
    "key {key} was already given for another file or id in this process: ftok keeps 8 bits of the id, 8 of the device and 16 of the file number",
    "use one file for one key, with ids from 1 to 255 that differ", "ftok(3), notes";

// Segments
SegId = "SHM-SEG-ID", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the segment id {signed_id} is negative",
    "check the result of shmget", "POSIX shmat, EINVAL";
SegSizeZero = "SHM-SEG-SIZE-ZERO", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "a new segment needs a size of at least {limit}; 0 was asked",
    "pass the size in bytes", "POSIX shmget, EINVAL";
SegSizeMax = "SHM-SEG-SIZE-MAX", Wrong, Refuses, EINVAL, ErrTooBig,
    "{length} bytes are more than SHMMAX, {limit} bytes",
    "ask for less or raise kernel.shmmax", "shmget(2), EINVAL";
SegSizeExisting = "SHM-SEG-SIZE-EXISTING", Wrong, Refuses, EINVAL, ErrTooBig,
    "{length} bytes were asked, and the segment with key {key} is {size} bytes",
    "ask for 0 or at most its size; to make it larger, remove it and make it again", "POSIX shmget, EINVAL";
SegLimitCount = "SHM-SEG-LIMIT-COUNT", Wrong, Refuses, ENOSPC, ErrLimit,
    "all {limit} segments that SHMMNI allows are in use ({used})",
    "remove segments that nobody needs (ipcs -m), or raise kernel.shmmni", "shmget(2), ENOSPC";
SegLimitPages = "SHM-SEG-LIMIT-PAGES", Wrong, Refuses, ENOSPC, ErrNoSpace,
    "{needed} pages are needed and the system's segments use {used} of the {limit} that SHMALL allows",
    "remove segments that nobody needs (ipcs -m), or raise kernel.shmall", "shmget(2), ENOSPC";
SegExclNoCreat = "SHM-SEG-EXCL-NO-CREAT", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "IPC_EXCL without IPC_CREAT excludes nobody",
    "add IPC_CREAT, or leave IPC_EXCL out", "shmget(2)";
SegFlags = "SHM-SEG-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which shmget does not know and takes in silence",
    "use permission bits with IPC_CREAT, IPC_EXCL, SHM_HUGETLB and SHM_NORESERVE", "shmget(2)";
SegNoAccess = "SHM-SEG-NO-ACCESS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the segment is created with mode {mode}, which does not let its owner read: the next shmget or shmat will fail",
    "add the permission bits to the flags, as in IPC_CREAT | 0600", "POSIX shmget, shmflg";
SegWorldWritable = "SHM-SEG-WORLD-WRITABLE", Hazard, Accepts, EACCES, ErrAccess,
    "the mode {mode} lets every user write the segment, and no umask applies",
    "use 0600, or 0660 to share with a group", "POSIX XSH 2.7.1, IPC permissions";
SegRemoved = "SHM-SEG-REMOVED", Hazard, Accepts, EIDRM, ErrRemoved,
    "segment {id} was removed and lives only until its last detach: no other process can find it by key",
    "make the segment again, and attach before it is removed", "POSIX shmctl, IPC_RMID; shmctl(2)";
SegGone = "SHM-SEG-GONE", Wrong, Refuses, EINVAL, ErrRemoved,
    "there is no segment {id}: it was removed, or the id is of another IPC namespace",
    "get the segment again by its key", "POSIX shmat, EINVAL; shmctl(2), EIDRM";
AttachRemapNull = "SHM-ATTACH-REMAP-NULL", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "SHM_REMAP needs an address to replace and got NULL",
    "pass the address, or leave SHM_REMAP out", "shmat(2), EINVAL";
AttachAlign = "SHM-ATTACH-ALIGN", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "address {addr} is not a multiple of SHMLBA, {limit}",
    "add SHM_RND to round it down, or pass NULL and let the kernel choose", "POSIX shmat, EINVAL";
AttachFlags = "SHM-ATTACH-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which shmat does not know and takes in silence",
    "use SHM_RDONLY, SHM_RND, SHM_REMAP and SHM_EXEC", "shmat(2)";
AttachInUse = "SHM-ATTACH-IN-USE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the segment is {size} bytes and cannot be attached at {addr}: something else is mapped there",
    "pass NULL and let the kernel choose", "shmat(2), EINVAL";
DetachNotAttached = "SHM-DETACH-NOT-ATTACHED", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "no segment is attached at {addr} {nearest}",
    "pass the address that shmat gave, once", "POSIX shmdt, EINVAL";
ControlNoBuffer = "SHM-CONTROL-NO-BUFFER", Wrong, Refuses, EFAULT, ErrBadPointer,
    "{command} needs a buffer and got {addr}",
    "pass the address of what {call}(2) names for it", "POSIX shmctl, semctl; shmctl(2), EFAULT";
ControlCommand = "SHM-CONTROL-COMMAND", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "{call} does not know command {count}",
    "use one of the commands that {call}(2) names", "POSIX shmctl, semctl: EINVAL";
ControlModeBits = "SHM-CONTROL-MODE-BITS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "IPC_SET with mode {mode}: only the low 9 bits are used",
    "pass permission bits alone, as in 0600", "POSIX shmctl, semctl: IPC_SET";

// Times
TimeInvalid = "SHM-TIME-INVALID", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "a time of {offset} s and {signed} ns: nanoseconds go from 0 to 999999999, and a span of time is not negative",
    "carry whole seconds over into tv_sec", "POSIX sem_timedwait, EINVAL; semop(2), EINVAL";

TimeRelative = "SHM-TIME-RELATIVE", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the time is {offset} s after the beginning of 1970, long past: the call takes a point in time, not a span",
    "add the span to what clock_gettime(CLOCK_REALTIME) gives", "POSIX sem_timedwait";

// Sets of semaphores (System V)
SemsetId = "SHM-SEMSET-ID", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the set's id {signed_id} is negative",
    "check the result of semget", "POSIX semop, semctl: EINVAL";
SemsetCount = "SHM-SEMSET-COUNT", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "a set of {signed} semaphores was asked: a new one has from 1 to SEMMSL, {limit}",
    "pass how many semaphores the set has; 0 is for one that exists", "POSIX semget, EINVAL";
SemsetCountExisting = "SHM-SEMSET-COUNT-EXISTING", Wrong, Refuses, EINVAL, ErrTooBig,
    "{signed} semaphores were asked, and the set with key {key} has {size}",
    "ask for 0 or at most its number; to make it larger, remove it and make it again", "POSIX semget, EINVAL";
SemsetLimit = "SHM-SEMSET-LIMIT", Wrong, Refuses, ENOSPC, ErrLimit,
    "there are {used} sets with {size} semaphores; SEMMNI allows {limit} sets, and SEMMNS {capacity} semaphores in all",
    "remove sets that nobody needs (ipcs -s), or raise kernel.sem", "POSIX semget, ENOSPC";
SemsetExclNoCreat = "SHM-SEMSET-EXCL-NO-CREAT", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "IPC_EXCL without IPC_CREAT excludes nobody",
    "add IPC_CREAT, or leave IPC_EXCL out", "semget(2)";
SemsetFlags = "SHM-SEMSET-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which semget does not know and takes in silence",
    "use permission bits with IPC_CREAT and IPC_EXCL", "semget(2)";
SemsetNoAccess = "SHM-SEMSET-NO-ACCESS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the set is created with mode {mode}, which does not let its owner both read and change it: the next semop will fail",
    "add the permission bits to the flags, as in IPC_CREAT | 0600", "POSIX semget, semflg";
SemsetWorldWritable = "SHM-SEMSET-WORLD-WRITABLE", Hazard, Accepts, EACCES, ErrAccess,
    "the mode {mode} lets every user change the semaphores, and no umask applies",
    "use 0600, or 0660 to share with a group", "POSIX XSH 2.7.1, IPC permissions";
SemsetOperations = "SHM-SEMSET-OPERATIONS", Wrong, Refuses, E2BIG, ErrTooBig,
    "{count} steps are more than SEMOPM, {limit}, which one operation can hold",
    "use several operations, or raise kernel.sem", "POSIX semop, E2BIG";
SemsetNoOperation = "SHM-SEMSET-NO-OPERATION", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the operation has no steps",
    "pass how many struct sembuf there are, not their size", "semop(2), EINVAL";
SemsetStepFlags = "SHM-SEMSET-STEP-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "a step of the operation on set {id} has flags {flags}, of which semop knows SEM_UNDO and IPC_NOWAIT alone",
    "set every member of each struct sembuf", "POSIX semop, sem_flg";
SemsetUnused = "SHM-SEMSET-UNUSED", Hazard, Accepts, EAGAIN, ErrAgain,
    "another process made set {id}, and nobody has operated on it yet: its values may not be what they should be",
    "let the creator end its work with a semop, and wait until sem_otime of IPC_STAT is not 0", "semget(2), notes; semop(2)";
SemsetGone = "SHM-SEMSET-GONE", Wrong, Refuses, EINVAL, ErrRemoved,
    "there is no set {id}: it was removed, or the id is of another IPC namespace",
    "get the set again by its key", "POSIX semop, EINVAL; semop(2), EIDRM";
SemsetNumber = "SHM-SEMSET-NUMBER", Wrong, Refuses, EFBIG, ErrInvalidArgument,
    "set {id} has {size} semaphores, and none with number {signed}",
    "numbers begin with 0", "POSIX semop, EFBIG; semctl, EINVAL";
SemsetValue = "SHM-SEMSET-VALUE", Wrong, Refuses, ERANGE, ErrInvalidArgument,
    "a semaphore of set {id} would get the value {signed}; it can be from 0 to SEMVMX, {limit}",
    "look for posts without waits, or an argument that is no int", "POSIX semctl, semop: ERANGE";

// Record locks
RecordWhence = "SHM-RECORD-WHENCE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "l_whence is {signed}, which is none of SEEK_SET, SEEK_CUR and SEEK_END",
    "set every member of the struct flock", "POSIX fcntl, EINVAL";
RecordRange = "SHM-RECORD-RANGE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "l_start {offset} and l_len {signed} reach to before the beginning of the file",
    "check the arithmetic that made them; a negative l_len is what lies before l_start", "POSIX fcntl, EINVAL";
RecordOverflow = "SHM-RECORD-OVERFLOW", Wrong, Refuses, EOVERFLOW, ErrOverflow,
    "l_start {offset} and l_len {signed} reach past the largest offset of a file",
    "for all that follows l_start, pass an l_len of 0", "POSIX fcntl, EOVERFLOW";
RecordType = "SHM-RECORD-TYPE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "l_type is {signed}: it can be F_RDLCK, F_WRLCK or F_UNLCK, and F_GETLK takes only the first two",
    "set every member of the struct flock", "POSIX fcntl, EINVAL";
RecordPid = "SHM-RECORD-PID", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "l_pid is {signed}: for a lock of an open file description it has to be 0",
    "begin with a struct flock that is all zeros", "fcntl(2), open file description locks";
RecordAccess = "SHM-RECORD-ACCESS", Wrong, Refuses, EBADF, ErrBadDescriptor,
    "{object} was opened {access}, which does not allow {what}",
    "open it with O_RDWR", "POSIX fcntl, EBADF";
RecordCloseDrops = "SHM-RECORD-CLOSE-DROPS", Hazard, Accepts, EBUSY, ErrBusy,
    "{object} is also open as descriptor {count}: the close of that one drops this lock too",
    "lock with F_OFD_SETLK, which belongs to the open file description, or open the file once", "POSIX fcntl, F_SETLK; fcntl(2), record locks";

// POSIX semaphores
SemFlags = "SHM-SEM-FLAGS", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the flags hold {flags}, which sem_open does not define; the C library passes them on to the file of the semaphore",
    "use O_CREAT and O_EXCL", "POSIX sem_open, oflag";
SemAlign = "SHM-SEM-ALIGN", Wrong, Accepts, EINVAL, ErrInvalidArgument,
    "no semaphore can be at {addr}, which is not a multiple of 8",
    "let the compiler place it, as a sem_t in a struct that is not packed", "C11 6.3.2.3; POSIX sem_init";
SemValue = "SHM-SEM-VALUE", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the value {count} is more than SEM_VALUE_MAX, {limit}",
    "check the arithmetic that made it: a negative number turned into an unsigned one looks like this", "POSIX sem_init, sem_open: EINVAL";
SemPrivateMemory = "SHM-SEM-PRIVATE-MEMORY", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the semaphore at {addr} is made for several processes and lies in memory that this one has for itself: after a fork each has its own",
    "put it into memory mapped MAP_SHARED, or pass a pshared of 0", "POSIX sem_init, pshared";
SemThreadsOnly = "SHM-SEM-THREADS-ONLY", Hazard, Accepts, EINVAL, ErrInvalidArgument,
    "the semaphore at {addr} lies in shared memory and is made for the threads of one process: a post by another process wakes nobody",
    "pass a pshared of 1", "POSIX sem_init, pshared; sem_init(3)";
SemNotOpen = "SHM-SEM-NOT-OPEN", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "{addr} is not the address of a semaphore that sem_open gave and that is still open",
    "close it once; end one that sem_init made with sem_destroy", "POSIX sem_close, EINVAL";
SemOverflow = "SHM-SEM-OVERFLOW", Wrong, Refuses, EOVERFLOW, ErrOverflow,
    "the value of the semaphore at {addr} is SEM_VALUE_MAX and cannot be raised",
    "look for posts without waits", "POSIX sem_post, EOVERFLOW";
SemClock = "SHM-SEM-CLOCK", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "clock {count} cannot be waited by",
    "use CLOCK_REALTIME or CLOCK_MONOTONIC", "POSIX sem_clockwait, EINVAL";

// The library's own settings
ConfigUnknown = "SHM-CONFIG-UNKNOWN", Wrong, Refuses, EINVAL, ErrInvalidArgument,
    "the setting \"{name}\" is not known, or its file cannot be written",
    "SHMKIT_POLICY is observe, check or enforce; SHMKIT_REPORT is stderr, a file or json: and a file", "docs/contract.md";

// At exit
ExitObject = "SHM-EXIT-OBJECT", Hazard, Accepts, EBUSY, ErrBusy,
    "this process made {object} ({size} bytes) and leaves it behind: it keeps its memory until it is unlinked or the machine restarts",
    "call shm_unlink when the last user is done; if others go on using it, this report is for them", "POSIX shm_unlink";
ExitSegment = "SHM-EXIT-SEGMENT", Hazard, Accepts, EBUSY, ErrBusy,
    "this process made segment {id} ({size} bytes, key {key}) and leaves it behind with {count} attached: it keeps its memory until it is removed or the machine restarts",
    "call shmctl(id, IPC_RMID, NULL) once all have attached; if others go on using it, this report is for them", "POSIX shmctl, IPC_RMID";
ExitSemaphore = "SHM-EXIT-SEMAPHORE", Hazard, Accepts, EBUSY, ErrBusy,
    "this process made the semaphore {object} and leaves it behind: it keeps its value until it is unlinked or the machine restarts",
    "call sem_unlink when the last user has opened it; if others go on using it, this report is for them", "POSIX sem_unlink";
ExitSemset = "SHM-EXIT-SEMSET", Hazard, Accepts, EBUSY, ErrBusy,
    "this process made the set of semaphores {id} (key {key}, {size} of them) and leaves it behind: it stays until it is removed or the machine restarts",
    "call semctl(id, 0, IPC_RMID) when the last user is done; if others go on using it, this report is for them", "POSIX semctl, IPC_RMID";
}

/// A set of rules that a call breaks.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleSet([u128; 2]);

const _: () = assert!(Rule::ALL.len() <= 256, "RuleSet needs more bits");

impl RuleSet {
    /// No rule.
    pub const EMPTY: RuleSet = RuleSet([0; 2]);

    /// Adds the rule when it is broken. Nearly none ever is, so that a branch is cheaper than the arithmetic.
    #[inline(always)]
    pub fn put(&mut self, broken: bool, rule: Rule) {
        if broken {
            self.add(rule);
        }
    }

    #[cold]
    #[inline(never)]
    fn add(&mut self, rule: Rule) {
        *self = self.with(RuleSet::of(rule));
    }

    fn of(rule: Rule) -> RuleSet {
        let bit = rule as u32;
        if bit < 128 { RuleSet([1 << bit, 0]) } else { RuleSet([0, 1 << (bit - 128)]) }
    }

    /// Whether no rule is broken.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.0[0] | self.0[1] == 0
    }

    /// Whether this rule is among them.
    pub fn has(self, rule: Rule) -> bool {
        let [low, high] = RuleSet::of(rule).0;
        self.0[0] & low | self.0[1] & high != 0
    }

    /// The set without this rule.
    #[must_use]
    pub fn without(self, rule: Rule) -> RuleSet {
        let [low, high] = RuleSet::of(rule).0;
        RuleSet([self.0[0] & !low, self.0[1] & !high])
    }

    /// The rules of both sets.
    #[must_use]
    pub fn with(self, other: RuleSet) -> RuleSet {
        RuleSet([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// The rules, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Rule> {
        Rule::ALL.iter().copied().filter(move |rule| self.has(*rule))
    }
}

impl Rule {
    /// The rule with this id.
    pub fn from_id(id: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.row().id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::words::{Figures, Invocation, render};
    use crate::text::Text;

    #[test]
    fn ids_are_well_formed_and_unique() {
        for rule in Rule::ALL {
            let id = rule.row().id;
            assert!(id.starts_with("SHM-") && id.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'), "{id}");
            assert_eq!(Rule::ALL.iter().filter(|other| other.row().id == id).count(), 1, "{id} is used twice");
            assert_eq!(Rule::from_id(id), Some(*rule));
        }
    }

    #[test]
    fn every_placeholder_is_known_and_every_sentence_stops_short() {
        for rule in Rule::ALL {
            let row = rule.row();
            for template in [row.cause, row.remedy] {
                let mut out = Text::<1000>::new();
                assert!(
                    render(template, &Invocation::default(), &Figures::default(), &mut out),
                    "{}: {template}",
                    row.id
                );
                assert!(!template.ends_with('.'), "{}", row.id);
            }
            assert!(row.errno != 0 && !row.source.is_empty());
        }
    }
}
