//! The checked calls for System V segments and keys.
//! Never removes or changes a segment but as it was asked to. Next: `checks/sysv.rs` for the rules.

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger;
use super::limits::shmlba;
use super::memory::{Place, limit_figures};
use super::policy;
use super::posix::{Name, require_name};
use super::ranges::Content;
use crate::checks::sysv as checks;
use crate::checks::words::{Call, Figures, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::{self, sysv as sys_sysv};

/// shmget(key, size, shmflg)—finds or makes a segment; returns its id.
pub fn shmget(key: i32, size: usize, flags: i32) -> Result<i32, Errno> {
    let words = || Invocation::new(Call::Shmget, [key as u32 as u64, size as u64, flags as u32 as u64, 0, 0, 0]);
    gate(checks::get(key, size, flags), words)?;
    match sys_sysv::shmget(key, size, flags) {
        Ok(id) => {
            let exclusive = flags & (libc::IPC_CREAT | libc::IPC_EXCL) == libc::IPC_CREAT | libc::IPC_EXCL;
            let certain = key == libc::IPC_PRIVATE || exclusive;
            let asked = !certain && flags & libc::IPC_CREAT != 0 && policy::attentive();
            // Whether a plain IPC_CREAT made the segment matters only to the report at exit.
            let created = certain || asked && was_made_here(id);
            ledger::got_segment(id, key, size as u64, created);
            Ok(id)
        }
        Err(errno) => Err(explain_get(key, size, errno, &words())),
    }
}

fn was_made_here(id: i32) -> bool {
    sys::preserving_errno(|| sys_sysv::status(id)).is_ok_and(|status| status.creator == ledger::process())
}

/// Why the kernel refused a segment.
#[cold]
fn explain_get(key: i32, size: usize, errno: Errno, call: &Invocation) -> Errno {
    let mut figures = figures(call);
    let rule = sys::preserving_errno(|| {
        let info = sys_sysv::info().ok()?;
        match errno.0 {
            libc::EINVAL => {
                // With a size of 0 the kernel finds any existing segment.
                let existing = if key == libc::IPC_PRIVATE { None } else { sys_sysv::shmget(key, 0, 0).ok() };
                let existing = existing.and_then(|id| sys_sysv::status(id).ok());
                match existing {
                    Some(status) if (size as u64) > status.size => {
                        figures.size = status.size;
                        Some(Rule::SegSizeExisting)
                    }
                    _ if size as u64 > info.shmmax => {
                        figures.limit = info.shmmax;
                        Some(Rule::SegSizeMax)
                    }
                    None if (size as u64) < info.shmmin => {
                        figures.limit = info.shmmin;
                        Some(Rule::SegSizeZero)
                    }
                    _ => None,
                }
            }
            libc::ENOSPC => {
                let usage = sys_sysv::usage().ok()?;
                figures.needed = (size as u64).div_ceil(page_size() as u64);
                figures.used = usage.segments as u64;
                figures.limit = info.shmmni;
                if (usage.segments as u64) < info.shmmni {
                    figures.used = usage.pages as u64;
                    figures.limit = info.shmall;
                    return Some(Rule::SegLimitPages);
                }
                Some(Rule::SegLimitCount)
            }
            _ => None,
        }
    });
    match rule {
        Some(rule) => explain::by_rule(rule, errno, call, &figures),
        None => explain::by_errno(errno, call, &figures),
    }
}

/// shmat(shmid, shmaddr, shmflg)—attaches a segment; returns the address.
pub fn shmat(id: i32, addr: usize, flags: i32) -> Result<usize, Errno> {
    let words = || Invocation::new(Call::Shmat, [id as u64, addr as u64, flags as u32 as u64, 0, 0, 0]);
    let broken = checks::attach(id, addr, flags, shmlba());
    if !broken.is_empty() {
        let call = words();
        let mut figures = figures(&call);
        figures.limit = shmlba() as u64;
        judge(broken, &call, &figures)?;
    }
    let attentive = policy::attentive();
    let (size, place) = if attentive { examine_attach(id, addr, flags, &words())? } else { (None, Place::Unknown) };
    match sys_sysv::shmat(id, addr, flags) {
        Ok(at) => {
            ledger::attached(at, id, size);
            Ok(at)
        }
        Err(errno) => {
            place.give_back(addr & !(shmlba() - 1), size.unwrap_or(0) as usize);
            Err(explain_attach(id, addr, errno, &words()))
        }
    }
}

#[cold]
fn examine_attach(id: i32, addr: usize, flags: i32, call: &Invocation) -> Result<(Option<u64>, Place), Errno> {
    let Ok(status) = sys::preserving_errno(|| sys_sysv::status(id)) else { return Ok((None, Place::Unknown)) };
    let mut broken = RuleSet::EMPTY;
    let mut figures = figures(call);
    let mut place = Place::Unknown;
    broken.put(status.mode & sys_sysv::SHM_DEST != 0, Rule::SegRemoved);
    if flags & libc::SHM_REMAP != 0 {
        let (at, size) = (addr & !(shmlba() - 1), status.size as usize);
        figures.addr = at as u64;
        figures.length = status.size;
        place = sys::preserving_errno(|| Place::take(at, size));
        broken.put(place == Place::InUse && !ledger::is_reservation(at, size), Rule::MapFixedOver);
    }
    if !broken.is_empty() {
        judge(broken, call, &figures).inspect_err(|_| place.give_back(figures.addr as usize, status.size as usize))?;
    }
    Ok((Some(status.size), place))
}

/// What a failed call on a segment id comes to, when the id itself is the reason.
fn gone(id: i32, errno: Errno) -> bool {
    let missing = matches!(errno.0, libc::EINVAL | libc::EIDRM);
    missing && matches!(sys::preserving_errno(|| sys_sysv::status(id)), Err(Errno(libc::EINVAL | libc::EIDRM)))
}

#[cold]
fn explain_attach(id: i32, addr: usize, errno: Errno, call: &Invocation) -> Errno {
    let mut figures = figures(call);
    if gone(id, errno) {
        return explain::by_rule(Rule::SegGone, errno, call, &figures);
    }
    match errno.0 {
        libc::EINVAL if addr != 0 => {
            figures.size = sys::preserving_errno(|| sys_sysv::status(id)).map_or(0, |status| status.size);
            explain::by_rule(Rule::AttachInUse, errno, call, &figures)
        }
        libc::ENOMEM => {
            figures.length = sys::preserving_errno(|| sys_sysv::status(id)).map_or(0, |status| status.size);
            limit_figures(&mut figures);
            explain::by_rule(Rule::MapLimit, errno, call, &figures)
        }
        _ => explain::by_errno(errno, call, &figures),
    }
}

/// shmdt(shmaddr)—detaches the segment that shmat attached at this address.
pub fn shmdt(addr: usize) -> Result<(), Errno> {
    let words = || Invocation::new(Call::Shmdt, [addr as u64, 0, 0, 0, 0, 0]);
    let broken = checks::detach(addr, page_size());
    if !broken.is_empty() {
        let call = words();
        judge(broken, &call, &detach_figures(addr, &call))?;
    }
    // Before the kernel frees the place, because afterwards another thread can be given it.
    let taken = ledger::detaching(addr);
    match sys_sysv::shmdt(addr) {
        Ok(()) => Ok(()),
        Err(errno) => {
            ledger::restore(&taken);
            let call = words();
            Err(explain::by_rule(Rule::DetachNotAttached, errno, &call, &detach_figures(addr, &call)))
        }
    }
}

/// The attach that covers an address which is not its start.
fn detach_figures(addr: usize, call: &Invocation) -> Figures {
    let mut figures = figures(call);
    if let Some(range) =
        ledger::range_in(addr & !(page_size() - 1), 1).filter(|range| range.content == Content::Segment)
    {
        figures.start = range.start;
    }
    figures
}

/// What the caller of `shmctl` passed, as far as the checks need it.
#[derive(Clone, Copy)]
pub struct Control {
    /// The segment, or the index for SHM_STAT and SHM_STAT_ANY.
    pub id: i32,
    /// The command.
    pub command: i32,
    /// Where the buffer is.
    pub buffer: usize,
}

impl Control {
    fn words(&self) -> Invocation {
        Invocation::new(Call::Shmctl, [self.id as u64, self.command as u64, self.buffer as u64, 0, 0, 0])
    }

    /// Checks the call before it is made. `mode` is read from the buffer of IPC_SET by the caller.
    pub fn check(&self, mode: Option<u32>) -> Result<(), Errno> {
        let broken = checks::control(self.id, self.command, self.buffer == 0);
        let broken = mode.map_or(broken, |mode| broken.with(checks::control_mode(mode)));
        if broken.is_empty() {
            return Ok(());
        }
        let call = self.words();
        let mut figures = figures(&call);
        figures.mode = u64::from(mode.unwrap_or(0));
        judge(broken, &call, &figures)
    }

    /// Notes what a call that succeeded did.
    pub fn succeeded(&self) {
        if self.command == libc::IPC_RMID {
            ledger::removed_segment(self.id);
        }
    }

    /// Why the kernel refused the call.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let call = self.words();
        let mut figures = figures(&call);
        let by_id = !matches!(
            self.command,
            sys_sysv::IPC_INFO | sys_sysv::SHM_INFO | sys_sysv::SHM_STAT | sys_sysv::SHM_STAT_ANY
        );
        if by_id && gone(self.id, errno) {
            return explain::by_rule(Rule::SegGone, errno, &call, &figures);
        }
        match errno.0 {
            libc::EFAULT => explain::by_rule(Rule::ControlNoBuffer, errno, &call, &figures),
            libc::ENOMEM if self.command == libc::SHM_LOCK => {
                figures.length = sys::preserving_errno(|| sys_sysv::status(self.id)).map_or(0, |status| status.size);
                figures.limit = soft_limit(Resource::LockedMemory);
                explain::by_rule(Rule::LockLimit, errno, &call, &figures)
            }
            _ => explain::by_errno(errno, &call, &figures),
        }
    }
}

/// ftok(path, id)—makes a key of a file and the low 8 bits of an id.
pub fn ftok(path: Name<'_>, id: i32) -> Result<i32, Errno> {
    let args = [0, id as u64, 0, 0, 0, 0];
    let path = require_name(path, Call::Ftok, args)?;
    let words = || Invocation::with_name(Call::Ftok, path.to_bytes(), args);
    gate(checks::key_id(id), words)?;
    match sys_sysv::file_identity(path) {
        Ok((dev, ino)) => {
            let key = checks::key_of(dev, ino, id);
            let mut broken = RuleSet::EMPTY;
            broken.put(ledger::key_collides(key, id, (dev, ino)), Rule::FtokCollision);
            if !broken.is_empty() {
                let call = words();
                let mut figures = figures(&call);
                figures.key = key as u32;
                judge(broken, &call, &figures)?;
            }
            Ok(key)
        }
        Err(errno) => {
            let call = words();
            Err(explain::by_errno(errno, &call, &figures(&call)))
        }
    }
}
