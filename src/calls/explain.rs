//! Why the kernel refused a call: the words for each errno, where no rule with live figures says it better.
//! Never changes what the caller gets: value and errno are the kernel's. Next: `detail.rs`, where it is kept.

use super::detail::{self, Detail};
use super::report::{self, Outcome};
use crate::checks::Rule;
use crate::checks::words::{Call, Figures, Invocation};
use crate::error::{Errno, Status};
use crate::sys::limits::{Resource, soft_limit};

/// Keeps and reports a failure that a rule explains, and gives its errno back.
#[cold]
pub fn by_rule(rule: Rule, errno: Errno, call: &Invocation, figures: &Figures) -> Errno {
    let detail = Detail::of_rule(rule, errno.0, call, figures);
    // Last, because a callback's own failures are kept too.
    report::send(&detail, Outcome::Failed);
    detail::keep(&detail);
    errno
}

/// Keeps a failure in the words of its errno, and gives it back.
#[cold]
pub fn by_errno(errno: Errno, call: &Invocation, figures: &Figures) -> Errno {
    let status = Status::from_errno(errno.0);
    let general = status.words();
    let (cause, remedy) = words(call.call, errno.0).unwrap_or((general.cause, general.remedy));
    let mut figures = *figures;
    if let Some(resource) = limit_of(errno.0) {
        figures.limit = soft_limit(resource);
    }
    detail::keep(&Detail { call: *call, figures, status, errno: errno.0, rule: None, cause, remedy });
    errno
}

fn limit_of(errno: i32) -> Option<Resource> {
    (errno == libc::EMFILE).then_some(Resource::Descriptors)
}

/// Words for an errno of one call: cause and remedy, as templates.
fn words(call: Call, errno: i32) -> Option<(&'static str, &'static str)> {
    Some(match (call, errno) {
        (Call::ShmOpen, libc::ENOENT) => (
            "there is no object \"{name}\"",
            "create it with O_CREAT, start the program that does, or correct the name",
        ),
        (Call::ShmOpen, libc::EEXIST) => (
            "the object \"{name}\" exists already, and O_EXCL asks for a new one",
            "open it without O_EXCL, or unlink it if it is left over",
        ),
        (Call::ShmOpen, libc::EACCES) => (
            "the mode or the owner of \"{name}\" does not allow {access} to this user (a sticky folder also forbids O_CREAT on another user's object)",
            "let its owner grant access, open it O_RDONLY, or leave O_CREAT out",
        ),
        (Call::ShmOpen, libc::ENOSPC) => (
            "the file system of POSIX objects has no room for another name",
            "unlink objects that nobody needs, or make /dev/shm larger",
        ),
        (Call::ShmOpen, libc::ELOOP | libc::ENXIO | libc::EISDIR) => (
            "what is called \"{name}\" is not a shared memory object but a link, a pipe or a folder",
            "use another name, and see what took this one in /dev/shm",
        ),
        (Call::ShmUnlink, libc::ENOENT) => {
            ("there is no object \"{name}\"", "it may have been unlinked already; one process should own the unlink")
        }
        (Call::ShmUnlink, libc::EACCES | libc::EPERM) => {
            ("\"{name}\" belongs to another user, and /dev/shm lets only the owner unlink", "unlink it as its owner")
        }
        (Call::ShmOpen | Call::MemfdCreate, libc::EMFILE) => (
            "all {limit} descriptors that RLIMIT_NOFILE allows are open",
            "close what is not needed, or raise the limit (ulimit -n)",
        ),
        (Call::ShmOpen | Call::MemfdCreate, libc::ENFILE) => (
            "the whole system has reached its limit of open files (fs.file-max)",
            "close what is not needed, or raise fs.file-max",
        ),
        (Call::MemfdCreate, libc::EPERM | libc::EACCES) => (
            "the kernel's settings (vm.memfd_noexec, or the huge page group) forbid this memfd",
            "add MFD_NOEXEC_SEAL, or leave MFD_HUGETLB out",
        ),
        (Call::MemfdCreate, libc::ENODEV) => {
            ("this kernel has no huge pages of {size} bytes", "see shmkit_limits() for the sizes that it has")
        }
        (Call::Mmap, libc::EAGAIN) => (
            "MAP_LOCKED asked for more than RLIMIT_MEMLOCK allows, or the file is locked",
            "raise the limit (ulimit -l), or leave MAP_LOCKED out",
        ),
        (Call::Mmap, libc::EPERM) => (
            "the address is below vm.mmap_min_addr, the file system forbids execution, or huge pages are not allowed",
            "let the kernel choose the address; see mmap(2), EPERM",
        ),
        (Call::Mmap, libc::EINVAL) => (
            "the kernel does not accept this combination of address, length, flags {flags} and offset",
            "compare them with mmap(2); MAP_SHARED_VALIDATE does not go with MAP_ANONYMOUS",
        ),
        (Call::Mprotect | Call::Mremap, libc::ENOMEM) => (
            "part of the range is not mapped, or the process has too many mappings (vm.max_map_count)",
            "use the range that was mapped",
        ),
        (Call::Munmap, libc::ENOMEM) => (
            "unmapping the middle of a mapping makes two of it, and the process has too many (vm.max_map_count)",
            "unmap whole mappings, or raise vm.max_map_count",
        ),
        (Call::Mprotect, libc::EACCES) => (
            "the mapping's file was not opened for this protection, or the security policy forbids it",
            "open the file with O_RDWR before mapping it",
        ),
        (Call::Ftruncate, libc::EINVAL) => (
            "descriptor {fd} was not opened for writing, or what it leads to has no size",
            "open it with O_RDWR; only files and shared memory objects have a size",
        ),
        (Call::Ftruncate, libc::EPERM) => ("the file is sealed or append-only", "size it before sealing it"),
        (Call::PosixFallocate, libc::ESPIPE | libc::ENODEV) => (
            "descriptor {fd} leads to something that has no space to reserve",
            "reserve space for files and shared memory objects only",
        ),
        (Call::Shmget, libc::ENOENT) => (
            "there is no segment with key {key}",
            "create it with IPC_CREAT, start the program that does, or check that both use the same key",
        ),
        (Call::Shmget, libc::EEXIST) => (
            "a segment with key {key} exists already, and IPC_EXCL asks for a new one",
            "get it without IPC_EXCL, or remove it if it is left over (ipcs -m)",
        ),
        (Call::Shmget, libc::EACCES) => (
            "the segment with key {key} belongs to another user, whose mode does not allow this",
            "ask for less in the permission bits, or let its owner grant access with IPC_SET",
        ),
        (Call::Shmget, libc::ENOMEM | libc::EPERM) => (
            "the kernel has no memory or no huge pages for a segment of {length} bytes, or forbids them to this user",
            "ask for less, leave SHM_HUGETLB out, or raise vm.nr_hugepages",
        ),
        (Call::Shmat, libc::EACCES) => (
            "the mode of segment {id} does not allow this user to attach it so",
            "attach it with SHM_RDONLY, or let its owner grant access with IPC_SET",
        ),
        (Call::Shmat, libc::ENOMEM) => (
            "no address space for segment {id}: RLIMIT_AS or the number of mappings is used up",
            "detach or unmap what is not needed, or raise the limit",
        ),
        (Call::Shmctl, libc::EPERM) => ("only the owner or creator of segment {id} may do this", "run it as that user"),
        (Call::Shmctl, libc::EACCES) => (
            "the mode of segment {id} does not let this user read its status",
            "let its owner grant read access with IPC_SET",
        ),
        (Call::SemOpen, libc::ENOENT) => (
            "there is no semaphore \"{name}\"",
            "create it with O_CREAT, start the program that does, or correct the name",
        ),
        (Call::SemOpen, libc::EEXIST) => (
            "the semaphore \"{name}\" exists already, and O_EXCL asks for a new one",
            "open it without O_EXCL, or unlink it if it is left over",
        ),
        (Call::SemOpen, libc::EACCES) => (
            "the mode or the owner of \"{name}\" does not let this user read and write it",
            "let its owner grant access: the mode given at its creation counts, less the umask",
        ),
        (Call::SemOpen, libc::EINVAL) => (
            "what is called \"{name}\" is no semaphore: /dev/shm has a file of its name that is too small",
            "see what made /dev/shm/sem.NAME, and unlink it",
        ),
        (Call::SemOpen, libc::EMFILE) => (
            "all {limit} descriptors that RLIMIT_NOFILE allows are open, and sem_open needs one for a moment",
            "close what is not needed, or raise the limit (ulimit -n)",
        ),
        (Call::SemUnlink, libc::ENOENT) => {
            ("there is no semaphore \"{name}\"", "it may have been unlinked already; one process should own the unlink")
        }
        (Call::SemUnlink, libc::EACCES | libc::EPERM) => {
            ("\"{name}\" belongs to another user, and /dev/shm lets only the owner unlink", "unlink it as its owner")
        }
        (Call::SemTrywait, libc::EAGAIN) => ("the semaphore is 0", "try again later, or wait"),
        (Call::SemTimedwait | Call::SemClockwait, libc::ETIMEDOUT) => (
            "the semaphore was 0 until the time that was given",
            "wait longer, and see whether who should post is still there",
        ),
        (Call::Semget, libc::ENOENT) => (
            "there is no set of semaphores with key {key}",
            "create it with IPC_CREAT, start the program that does, or check that both use the same key",
        ),
        (Call::Semget, libc::EEXIST) => (
            "a set of semaphores with key {key} exists already, and IPC_EXCL asks for a new one",
            "get it without IPC_EXCL, or remove it if it is left over (ipcs -s)",
        ),
        (Call::Semget, libc::EACCES) => (
            "the set with key {key} belongs to another user, whose mode does not allow this",
            "ask for less in the permission bits, or let its owner grant access with IPC_SET",
        ),
        (Call::Semop | Call::Semtimedop, libc::EAGAIN) => (
            "the operation on set {id} could not be done at once (IPC_NOWAIT) or in the time that was given",
            "try again later, or wait longer",
        ),
        (Call::Semop | Call::Semtimedop, libc::EACCES) => {
            ("the mode of set {id} does not let this user do the operation", "let its owner grant access with IPC_SET")
        }
        (Call::Semop | Call::Semtimedop, libc::ENOSPC | libc::ENOMEM) => (
            "the kernel has no room to remember what SEM_UNDO has to take back",
            "use SEM_UNDO for fewer semaphores, or free memory",
        ),
        (Call::Semctl, libc::EPERM) => ("only the owner or creator of set {id} may do this", "run it as that user"),
        (Call::Semctl, libc::EACCES) => {
            ("the mode of set {id} does not allow this user {command}", "let its owner grant access with IPC_SET")
        }
        (Call::Fcntl, libc::EAGAIN | libc::EACCES) => (
            "process {id} (-1: an open file description) {what} a lock from byte {offset} on, of {signed} bytes (0: to the end)",
            "try again later, or wait for it with F_SETLKW or F_OFD_SETLKW",
        ),
        (Call::Fcntl, libc::EDEADLK) => (
            "this wait would never end: who holds the lock waits for a lock that this process holds",
            "take locks in the same order everywhere, from the first byte to the last",
        ),
        (Call::Fcntl, libc::ENOLCK) => (
            "the system, or the server of the file, has no room for another lock",
            "drop locks that nobody needs, or lock larger ranges at once",
        ),
        (Call::Fcntl, libc::EINTR) => {
            ("a signal came while the call waited for the lock", "call again if it is still wanted")
        }
        (Call::Ftok, libc::ENOENT) => (
            "there is no file \"{name}\" to make a key of",
            "create the file once, before any process calls ftok, and never replace it: a new file gives a new key",
        ),
        (Call::Mlock, libc::EPERM) => {
            ("RLIMIT_MEMLOCK is 0, so this process may lock nothing", "raise the limit (ulimit -l)")
        }
        (Call::Mlock | Call::Munlock, libc::EINVAL) => {
            ("the range wraps around the end of the address space", "pass the address and length that were mapped")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::words::render;
    use crate::text::Text;

    #[test]
    fn every_template_has_known_placeholders() {
        for call in Call::ALL {
            for errno in 1..134 {
                let Some((cause, remedy)) = words(*call, errno) else {
                    continue;
                };
                for template in [cause, remedy] {
                    let mut out = Text::<600>::new();
                    assert!(render(template, &Invocation::default(), &Figures::default(), &mut out), "{template}");
                }
            }
        }
    }
}
