//! The checked calls for POSIX objects and memfd. Layers: checks, then `sys::posix`, then ledger or words.
//! Never opens, creates or unlinks anything but what it was asked to. Next: `checks/posix.rs` for the rules.

use core::ffi::CStr;

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger;
use super::policy;
use crate::checks::posix as checks;
use crate::checks::words::{Call, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::file::Status;
use crate::sys::{self, file, posix as sys_posix, process};
use crate::text::Text;

/// A string as it came from C.
#[derive(Clone, Copy)]
pub enum Name<'a> {
    /// A terminated string.
    Text(&'a CStr),
    /// Null, or an address at which no string can be.
    Nowhere(usize),
    /// Bytes that do not end within the bound.
    Unterminated(usize),
}

/// The string, or the refusal of what is none.
pub fn require_name(name: Name<'_>, call: Call, args: [u64; 6]) -> Result<&CStr, Errno> {
    let mut broken = RuleSet::EMPTY;
    let addr = match name {
        Name::Text(text) => return Ok(text),
        Name::Nowhere(addr) => {
            broken.put(true, Rule::ArgPointer);
            addr
        }
        Name::Unterminated(addr) => {
            broken.put(true, Rule::NameUnterminated);
            addr
        }
    };
    let mut invocation = Invocation::new(call, args);
    invocation.args[0] = addr as u64;
    let mut figures = figures(&invocation);
    figures.addr = addr as u64;
    figures.limit = checks::NAME_SCAN as u64;
    judge(broken, &invocation, &figures)?;
    #[cfg(interposer)]
    super::judge::leave_to_real_call();
    Err(Errno(libc::EFAULT))
}

/// Judges a call with a name, whose words need the length of the name beside the arguments.
#[cold]
pub fn judge_named(broken: RuleSet, call: &Invocation, length: usize, limit: usize) -> Result<(), Errno> {
    let mut figures = figures(call);
    figures.length = length as u64;
    figures.limit = limit as u64;
    judge(broken, call, &figures)
}

/// shm_open(name, oflag, mode)—opens or creates a POSIX shared memory object.
///
/// The descriptor has FD_CLOEXEC, as POSIX demands. Errors: POSIX's, and those of the rules.
pub fn shm_open(name: Name<'_>, oflag: i32, mode: u32) -> Result<i32, Errno> {
    let args = [0, oflag as u32 as u64, u64::from(mode), 0, 0, 0];
    let name = require_name(name, Call::ShmOpen, args)?;
    let bytes = name.to_bytes();
    let broken = checks::name(bytes).with(checks::open(oflag, mode));
    let broken = if broken.is_empty() { broken } else { with_umask(broken) };
    let words = || Invocation::with_name(Call::ShmOpen, bytes, args);
    if !broken.is_empty() {
        judge_named(broken, &words(), ledger::bare(bytes).len(), checks::NAME_MAX)?;
    }
    if oflag & libc::O_TRUNC != 0 && policy::attentive() {
        examine_truncation(bytes, &words())?;
    }
    let exclusive = oflag & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    // Whether a plain O_CREAT made the object matters only to the report at exit.
    let creates = exclusive || oflag & libc::O_CREAT != 0 && policy::attentive() && !exists(bytes);
    match sys_posix::shm_open(name, oflag, mode) {
        Ok(fd) => {
            // Which object it is, is known of a new one as soon as it is sized or mapped.
            let asks = !exclusive && policy::attentive();
            let status = if asks { sys::preserving_errno(|| file::status(fd)).ok() } else { None };
            ledger::opened(fd, bytes, creates, status.as_ref());
            Ok(fd)
        }
        Err(errno) => {
            let call = words();
            Err(explain::by_errno(errno, &call, &figures(&call)))
        }
    }
}

#[cold]
#[inline(never)]
fn exists(name: &[u8]) -> bool {
    status_of(name).is_some()
}

/// The status of the object of this name, if there is one.
fn status_of(name: &[u8]) -> Option<Status> {
    let mut path = Text::<280>::new();
    path.push_bytes(sys_posix::OBJECT_FOLDER.to_bytes());
    path.push(b'/');
    path.push_bytes(ledger::bare(name));
    path.push(0);
    let path = CStr::from_bytes_until_nul(path.bytes()).ok()?;
    sys::preserving_errno(|| file::status_at(path)).ok()
}

/// Drops the rule on world-writable modes where the umask takes the bit away, which only matters to somebody who hears
/// of it: the mask is read from /proc, because the call that tells it changes it.
#[cold]
#[inline(never)]
pub fn with_umask(broken: RuleSet) -> RuleSet {
    let masked = broken.has(Rule::OpenWorldWritable)
        && (!policy::attentive() || sys::preserving_errno(process::umask).is_some_and(|mask| mask & 0o002 != 0));
    if masked { broken.without(Rule::OpenWorldWritable) } else { broken }
}

/// Refuses or reports O_TRUNC on an object that this process maps, as ftruncate to nothing would be.
#[cold]
#[inline(never)]
fn examine_truncation(name: &[u8], call: &Invocation) -> Result<(), Errno> {
    let Some(status) = status_of(name) else { return Ok(()) };
    let mut figures = figures(call);
    figures.end = ledger::mapped_end_of(&status);
    judge(crate::checks::file::shrink(0, figures.end), call, &figures)
}

/// shm_unlink(name)—removes the name of an object; it lives on until its last mapping and descriptor are gone.
pub fn shm_unlink(name: Name<'_>) -> Result<(), Errno> {
    let name = require_name(name, Call::ShmUnlink, [0; 6])?;
    let bytes = name.to_bytes();
    let broken = checks::name(bytes);
    let words = || Invocation::with_name(Call::ShmUnlink, bytes, [0; 6]);
    if !broken.is_empty() {
        judge_named(broken, &words(), ledger::bare(bytes).len(), checks::NAME_MAX)?;
    }
    match sys_posix::shm_unlink(name) {
        Ok(()) => {
            ledger::unlinked(bytes);
            Ok(())
        }
        Err(errno) => {
            let call = words();
            Err(explain::by_errno(errno, &call, &figures(&call)))
        }
    }
}

/// memfd_create(name, flags)—makes a memory file without a name in any folder; `name` is a label for /proc.
pub fn memfd_create(name: Name<'_>, flags: u32) -> Result<i32, Errno> {
    let args = [0, u64::from(flags), 0, 0, 0, 0];
    let name = require_name(name, Call::MemfdCreate, args)?;
    let bytes = name.to_bytes();
    let broken = checks::memfd(bytes, flags);
    let words = || Invocation::with_name(Call::MemfdCreate, bytes, args);
    if !broken.is_empty() {
        judge_named(broken, &words(), bytes.len(), checks::MEMFD_NAME_MAX)?;
    }
    match sys_posix::memfd_create(name, flags) {
        Ok(fd) => {
            ledger::made_memfd(fd, bytes);
            Ok(fd)
        }
        Err(errno) => {
            let call = words();
            let mut figures = figures(&call);
            figures.size = 1u64.checked_shl(flags >> 26 & 0x3f).unwrap_or(0);
            Err(explain::by_errno(errno, &call, &figures))
        }
    }
}

/// Refuses a pointer at which the C library would crash.
pub fn require_pointer(addr: usize, valid: bool, call: impl FnOnce() -> Invocation) -> Result<(), Errno> {
    let mut broken = RuleSet::EMPTY;
    broken.put(!valid, Rule::ArgPointer);
    gate(broken, || {
        let mut call = call();
        call.args[0] = addr as u64;
        call
    })
}
