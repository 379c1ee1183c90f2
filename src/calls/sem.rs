//! The checked calls for POSIX semaphores, named ones and those in memory.
//! Never posts to, waits for or removes a semaphore but as it was asked to. Next: `checks/sem.rs` for the rules.

use core::ffi::CStr;

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger;
use super::policy;
use super::posix::{Name, judge_named, require_name, with_umask};
use super::semset::time_at;
use crate::checks::sem as checks;
use crate::checks::words::{Call, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::file::{self, Status};
use crate::sys::limits::page_size;
use crate::sys::posix::OBJECT_FOLDER;
use crate::sys::{self, memory, sem as sys_sem};
use crate::text::Text;

/// What stands before the name of a semaphore in the folder of POSIX objects.
pub const PREFIX: &str = "sem.";

/// The status of the file of a named semaphore, if there is one.
pub fn status_of(name: &[u8]) -> Option<Status> {
    let mut path = Text::<280>::new();
    path.push_bytes(OBJECT_FOLDER.to_bytes());
    path.push(b'/');
    path.push_str(PREFIX);
    path.push_bytes(ledger::bare(name));
    path.push(0);
    let path = CStr::from_bytes_until_nul(path.bytes()).ok()?;
    sys::preserving_errno(|| file::status_at(path)).ok()
}

/// sem_open(name, oflag, mode, value)—opens or creates a named semaphore; returns its address.
pub fn sem_open(name: Name<'_>, oflag: i32, mode: u32, value: u32) -> Result<usize, Errno> {
    let creating = oflag & libc::O_CREAT != 0;
    // Without O_CREAT they were not passed.
    let (mode, value) = if creating { (mode, value) } else { (0, 0) };
    let args = [0, oflag as u32 as u64, u64::from(mode), u64::from(value), 0, 0];
    let name = require_name(name, Call::SemOpen, args)?;
    let bytes = name.to_bytes();
    let broken = checks::name(bytes).with(checks::open(oflag, mode, value));
    let broken = if broken.is_empty() { broken } else { with_umask(broken) };
    let words = || Invocation::with_name(Call::SemOpen, bytes, args);
    if !broken.is_empty() {
        judge_named(broken, &words(), ledger::bare(bytes).len(), checks::NAME_MAX)?;
    }
    let exclusive = creating && oflag & libc::O_EXCL != 0;
    // Whether a plain O_CREAT makes the semaphore matters only to the report at exit.
    let creates = exclusive || creating && policy::attentive() && status_of(bytes).is_none();
    match sys_sem::open(name, oflag, mode, value) {
        Ok(at) => {
            if creates {
                let status = if policy::attentive() { status_of(bytes) } else { None };
                ledger::made_semaphore(bytes, status.as_ref());
            }
            Ok(at)
        }
        Err(errno) => {
            let call = words();
            let mut figures = figures(&call);
            figures.length = ledger::bare(bytes).len() as u64;
            match errno.0 {
                libc::EINVAL if creating && value > checks::VALUE_MAX => {
                    Err(explain::by_rule(Rule::SemValue, errno, &call, &figures))
                }
                _ => Err(explain::by_errno(errno, &call, &figures)),
            }
        }
    }
}

/// sem_unlink(name)—removes the name of a semaphore; it lives on until its last user closes it.
pub fn sem_unlink(name: Name<'_>) -> Result<(), Errno> {
    let name = require_name(name, Call::SemUnlink, [0; 6])?;
    let bytes = name.to_bytes();
    let broken = checks::name(bytes);
    let words = || Invocation::with_name(Call::SemUnlink, bytes, [0; 6]);
    if !broken.is_empty() {
        judge_named(broken, &words(), ledger::bare(bytes).len(), checks::NAME_MAX)?;
    }
    match sys_sem::unlink(name) {
        Ok(()) => {
            ledger::unlinked_semaphore(bytes);
            Ok(())
        }
        Err(errno) => {
            let call = words();
            Err(explain::by_errno(errno, &call, &figures(&call)))
        }
    }
}

/// sem_close(semaphore)—lets go of a named semaphore.
pub fn sem_close(semaphore: usize) -> Result<(), Errno> {
    sys_sem::close(semaphore).map_err(|errno| {
        let call = Invocation::new(Call::SemClose, [semaphore as u64, 0, 0, 0, 0, 0]);
        match errno.0 {
            libc::EINVAL => explain::by_rule(Rule::SemNotOpen, errno, &call, &figures(&call)),
            _ => explain::by_errno(errno, &call, &figures(&call)),
        }
    })
}

/// What the caller of sem_init passed.
#[derive(Clone, Copy)]
pub struct Making {
    /// Where the semaphore goes.
    pub at: usize,
    /// Not 0 when other processes are to use it.
    pub pshared: i32,
    /// Its value.
    pub value: u32,
}

impl Making {
    fn words(&self) -> Invocation {
        Invocation::new(Call::SemInit, [self.at as u64, self.pshared as u64, u64::from(self.value), 0, 0, 0])
    }

    /// Checks the call before it is made.
    pub fn check(&self) -> Result<(), Errno> {
        gate(checks::pointer(self.at, page_size()).with(checks::value(self.value)), || self.words())?;
        if policy::attentive() { self.examine() } else { Ok(()) }
    }

    #[cold]
    fn examine(&self) -> Result<(), Errno> {
        let Some(shared) = sys::preserving_errno(|| memory::is_shared(self.at)) else { return Ok(()) };
        gate(checks::placed(self.pshared != 0, shared), || self.words())
    }

    /// Why the C library refused it.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let call = self.words();
        match errno.0 {
            libc::EINVAL => explain::by_rule(Rule::SemValue, errno, &call, &figures(&call)),
            _ => explain::by_errno(errno, &call, &figures(&call)),
        }
    }
}

/// A call on a semaphore: which one, where the semaphore is, and what it was passed beside it.
#[derive(Clone, Copy)]
pub struct Use {
    /// Which call.
    pub call: Call,
    /// Where the semaphore is.
    pub at: usize,
    /// The time of a timed wait, or the place for the value; 0 where the call has none.
    pub other: usize,
    /// The clock of a timed wait.
    pub clock: i32,
}

impl Use {
    /// A call on a semaphore alone.
    #[inline(always)]
    pub fn of(call: Call, at: usize) -> Use {
        Use { call, at, other: 0, clock: 0 }
    }

    #[inline(always)]
    fn is_timed(&self) -> bool {
        matches!(self.call, Call::SemTimedwait | Call::SemClockwait)
    }

    #[inline(always)]
    fn has_other(&self) -> bool {
        self.is_timed() || self.call == Call::SemGetvalue
    }

    fn broken(&self) -> RuleSet {
        let broken = checks::pointer(self.at, page_size());
        if self.has_other() { broken.with(checks::address(self.other, page_size())) } else { broken }
    }

    fn words(&self) -> Invocation {
        let args = match self.call {
            Call::SemClockwait => [self.at as u64, self.clock as u64, self.other as u64, 0, 0, 0],
            _ => [self.at as u64, self.other as u64, 0, 0, 0, 0],
        };
        Invocation::new(self.call, args)
    }

    /// Whether `check` has anything to do. Cannot panic, so that a call that waits needs no guard around it.
    #[inline(always)]
    pub fn wants_check(&self) -> bool {
        let page = page_size();
        let good =
            checks::is_good_pointer(self.at, page) && (!self.has_other() || checks::is_good_address(self.other, page));
        !good || self.is_timed() && policy::attentive()
    }

    /// Checks the call before it is made, when `wants_check` says so.
    #[cold]
    pub fn check(&self) -> Result<(), Errno> {
        let broken = self.broken();
        if !broken.is_empty() {
            let call = self.words();
            let mut figures = figures(&call);
            let semaphore = checks::pointer(self.at, page_size());
            figures.addr = if semaphore.is_empty() { self.other } else { self.at } as u64;
            judge(broken, &call, &figures)?;
        }
        if self.is_timed() && policy::attentive() { self.examine() } else { Ok(()) }
    }

    #[cold]
    fn examine(&self) -> Result<(), Errno> {
        let Some((seconds, _)) = time_at(self.other) else { return Ok(()) };
        let broken = checks::time(self.clock, seconds);
        if broken.is_empty() {
            return Ok(());
        }
        let call = self.words();
        let mut figures = figures(&call);
        figures.offset = seconds as u64;
        judge(broken, &call, &figures)
    }

    /// Why the C library did not do it.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let call = self.words();
        let mut figures = figures(&call);
        let rule = match (self.call, errno.0) {
            (Call::SemPost, libc::EOVERFLOW) => Some(Rule::SemOverflow),
            (Call::SemClockwait, libc::EINVAL)
                if self.clock != libc::CLOCK_REALTIME && self.clock != libc::CLOCK_MONOTONIC =>
            {
                figures.count = self.clock as u64;
                Some(Rule::SemClock)
            }
            (Call::SemTimedwait | Call::SemClockwait, libc::EINVAL) => time_at(self.other).map(|(seconds, rest)| {
                (figures.offset, figures.signed) = (seconds as u64, rest);
                Rule::TimeInvalid
            }),
            _ => None,
        };
        match rule {
            Some(rule) => explain::by_rule(rule, errno, &call, &figures),
            None => explain::by_errno(errno, &call, &figures),
        }
    }
}
