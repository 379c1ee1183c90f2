//! The checked calls for System V sets of semaphores: semget, semop, semtimedop, semctl.
//! Never removes, changes or waits for a set but as it was asked to. Next: `checks/semset.rs` for the rules.

use super::explain;
use super::judge::{figures, gate, judge};
use super::ledger;
use super::policy;
use crate::checks::semset as checks;
use crate::checks::words::{Call, Figures, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::{self, memory, semset as sys_semset};

/// semget(key, nsems, semflg)—finds or makes a set; returns its id.
pub fn semget(key: i32, count: i32, flags: i32) -> Result<i32, Errno> {
    let words = || Invocation::new(Call::Semget, [key as u32 as u64, count as u64, flags as u32 as u64, 0, 0, 0]);
    let broken = checks::get(key, count, flags);
    if !broken.is_empty() {
        judge_get(broken, &words())?;
    }
    let exclusive = flags & (libc::IPC_CREAT | libc::IPC_EXCL) == libc::IPC_CREAT | libc::IPC_EXCL;
    // Whether a plain IPC_CREAT makes the set matters only to reports. No field of a set tells who made it.
    let made_here = match key == libc::IPC_PRIVATE || exclusive {
        true => Some(true),
        false if flags & libc::IPC_CREAT == 0 => Some(false),
        false if policy::attentive() => Some(!exists(key)),
        false => None,
    };
    match sys_semset::get(key, count, flags) {
        Ok(id) => {
            ledger::got_set(id, made_here);
            Ok(id)
        }
        Err(errno) => Err(explain_get(key, count, errno, &words())),
    }
}

#[cold]
fn judge_get(broken: RuleSet, call: &Invocation) -> Result<(), Errno> {
    let mut figures = figures(call);
    figures.limit = sys::preserving_errno(sys_semset::limits).unwrap_or_default().of_set;
    judge(broken, call, &figures)
}

fn exists(key: i32) -> bool {
    let found = sys::preserving_errno(|| sys_semset::get(key, 0, 0));
    found != Err(Errno(libc::ENOENT))
}

/// Why the kernel refused a set.
#[cold]
fn explain_get(key: i32, count: i32, errno: Errno, call: &Invocation) -> Errno {
    let mut figures = figures(call);
    let rule = sys::preserving_errno(|| {
        let limits = sys_semset::limits().ok()?;
        match errno.0 {
            libc::EINVAL => {
                // With a count of 0 the kernel finds any existing set.
                let existing = if key == libc::IPC_PRIVATE { None } else { sys_semset::get(key, 0, 0).ok() };
                let existing = existing.and_then(|id| sys_semset::status(id).ok());
                match existing {
                    Some(status) if count > 0 && count as u64 > status.count => {
                        figures.size = status.count;
                        Some(Rule::SemsetCountExisting)
                    }
                    _ => {
                        figures.limit = limits.of_set;
                        Some(Rule::SemsetCount)
                    }
                }
            }
            libc::ENOSPC => {
                figures.used = limits.used_sets;
                figures.size = limits.used;
                figures.limit = limits.sets;
                figures.capacity = limits.semaphores;
                Some(Rule::SemsetLimit)
            }
            _ => None,
        }
    });
    match rule {
        Some(rule) => explain::by_rule(rule, errno, call, &figures),
        None => explain::by_errno(errno, call, &figures),
    }
}

/// What a failed call on the id of a set comes to, when the id itself is the reason.
fn gone(id: i32, errno: Errno) -> bool {
    let missing = matches!(errno.0, libc::EINVAL | libc::EIDRM);
    missing && matches!(sys::preserving_errno(|| sys_semset::status(id)), Err(Errno(libc::EINVAL | libc::EIDRM)))
}

/// What the caller of `semop` or `semtimedop` passed.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Which of the two.
    pub call: Call,
    /// The set.
    pub id: i32,
    /// Where the steps are.
    pub steps: usize,
    /// How many there are.
    pub count: usize,
    /// Where the time is; 0 for none.
    pub time: usize,
}

impl Operation {
    fn words(&self) -> Invocation {
        let args = [self.id as u64, self.steps as u64, self.count as u64, self.time as u64, 0, 0];
        Invocation::new(self.call, args)
    }

    /// Checks the operation before it is done.
    #[inline]
    pub fn check(&self) -> Result<(), Errno> {
        gate(checks::operate(self.id, self.count), || self.words())?;
        if policy::attentive() { self.examine() } else { Ok(()) }
    }

    /// Flags that mean nothing, and a set that nobody has used yet.
    #[cold]
    fn examine(&self) -> Result<(), Errno> {
        let call = self.words();
        let mut figures = figures(&call);
        let mut broken = RuleSet::EMPTY;
        // More steps than there can be are the kernel's to refuse; what lies there is no step.
        let most = sys::preserving_errno(sys_semset::limits).unwrap_or_default().of_operation;
        if self.count as u64 > most {
            return Ok(());
        }
        if let Some(flags) =
            self.find_step(|step| Some(checks::unknown_step_flags(step.sem_flg)).filter(|bits| *bits != 0))
        {
            figures.flags = u64::from(flags);
            broken.put(true, Rule::SemsetStepFlags);
        }
        // Of a set that this process or the one it was forked from made, the values are known to be set.
        if ledger::is_found_set(self.id) {
            let status = sys::preserving_errno(|| sys_semset::status(self.id));
            broken.put(status.is_ok_and(|status| status.operated == 0), Rule::SemsetUnused);
        }
        if broken.is_empty() { Ok(()) } else { judge(broken, &call, &figures) }
    }

    /// The first step of which `wanted` finds something; the kernel copies the steps, so that a bad address is no fault.
    fn find_step<T>(&self, mut wanted: impl FnMut(&sys_semset::Step) -> Option<T>) -> Option<T> {
        // More than SEMOPM is in practice; what is beyond is not looked at.
        const MOST: usize = 1024;
        for index in 0..self.count.min(MOST) {
            let at = self.steps.checked_add(index * size_of::<sys_semset::Step>())?;
            let mut bytes = [0u8; size_of::<sys_semset::Step>()];
            sys::preserving_errno(|| memory::peek(at, &mut bytes)).ok()?;
            let half = |at: usize| [bytes[at], bytes[at + 1]];
            let step = sys_semset::Step {
                sem_num: u16::from_ne_bytes(half(0)),
                sem_op: i16::from_ne_bytes(half(2)),
                sem_flg: i16::from_ne_bytes(half(4)),
            };
            if let Some(found) = wanted(&step) {
                return Some(found);
            }
        }
        None
    }

    /// Why the kernel did not do the operation.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let call = self.words();
        let mut figures = figures(&call);
        let status = sys::preserving_errno(|| sys_semset::status(self.id));
        figures.size = status.map_or(0, |status| status.count);
        let rule = match errno.0 {
            libc::E2BIG => {
                figures.limit = sys::preserving_errno(sys_semset::limits).unwrap_or_default().of_operation;
                Some(Rule::SemsetOperations)
            }
            libc::EINVAL | libc::EIDRM if gone(self.id, errno) => Some(Rule::SemsetGone),
            libc::EIDRM => Some(Rule::SemsetGone),
            libc::EINVAL => time_at(self.time).map(|(seconds, nanoseconds)| {
                figures.offset = seconds as u64;
                figures.signed = nanoseconds;
                Rule::TimeInvalid
            }),
            libc::EFBIG => {
                let beyond =
                    |step: &sys_semset::Step| Some(step.sem_num).filter(|number| u64::from(*number) >= figures.size);
                figures.signed = self.find_step(beyond).map_or(0, i64::from);
                Some(Rule::SemsetNumber)
            }
            libc::ERANGE => {
                figures.limit = checks::VALUE_MAX as u64;
                figures.signed = self.find_step(|step| self.overflow(step)).unwrap_or(i64::from(checks::VALUE_MAX) + 1);
                Some(Rule::SemsetValue)
            }
            libc::EFAULT => Some(Rule::ArgPointer),
            _ => None,
        };
        match rule {
            Some(rule) => explain::by_rule(rule, errno, &call, &figures),
            None => explain::by_errno(errno, &call, &figures),
        }
    }

    /// The value that a step would lead to, when it is too large.
    fn overflow(&self, step: &sys_semset::Step) -> Option<i64> {
        let value = sys::preserving_errno(|| sys_semset::value(self.id, i32::from(step.sem_num))).ok()?;
        let sum = i64::from(value) + i64::from(step.sem_op);
        Some(sum).filter(|sum| *sum > i64::from(checks::VALUE_MAX))
    }
}

/// Seconds and nanoseconds at an address, if they can be read.
pub fn time_at(at: usize) -> Option<(i64, i64)> {
    let mut halves = [[0u8; 8]; 2];
    sys::preserving_errno(|| memory::peek(at, halves.as_flattened_mut())).ok()?;
    let [seconds, nanoseconds] = halves.map(i64::from_ne_bytes);
    Some((seconds, nanoseconds))
}

/// What the caller of `semctl` passed, as far as the checks need it.
#[derive(Clone, Copy)]
pub struct Control {
    /// The set, or the index for SEM_STAT and SEM_STAT_ANY.
    pub id: i32,
    /// The semaphore.
    pub number: i32,
    /// The command.
    pub command: i32,
    /// The fourth argument; it means something only where the command takes one.
    pub argument: usize,
}

impl Control {
    fn words(&self) -> Invocation {
        let args = [self.id as u64, self.number as u64, self.command as u64, self.argument as u64, 0, 0];
        Invocation::new(Call::Semctl, args)
    }

    /// Checks the call before it is made. `mode` is read from the buffer of IPC_SET by the caller.
    #[inline]
    pub fn check(&self, mode: Option<u32>) -> Result<(), Errno> {
        let broken = checks::control(self.id, self.command, self.argument);
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
    #[inline]
    pub fn succeeded(&self) {
        if self.command == libc::IPC_RMID {
            ledger::removed_set(self.id);
        }
    }

    /// Why the kernel refused the call.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let call = self.words();
        let mut figures = figures(&call);
        let by_index = matches!(self.command, libc::SEM_STAT | libc::SEM_STAT_ANY | libc::IPC_INFO | libc::SEM_INFO);
        let rule = match errno.0 {
            libc::EINVAL | libc::EIDRM if !by_index && gone(self.id, errno) => Some(Rule::SemsetGone),
            libc::EINVAL if checks::needs_number(self.command) => {
                figures.size = sys::preserving_errno(|| sys_semset::status(self.id)).map_or(0, |status| status.count);
                figures.signed = i64::from(self.number);
                Some(Rule::SemsetNumber)
            }
            libc::EFAULT => Some(Rule::ControlNoBuffer),
            libc::ERANGE => {
                if self.command == libc::SETALL {
                    figures.signed = self.first_too_large().map_or(0, i64::from);
                }
                Some(Rule::SemsetValue)
            }
            _ => None,
        };
        match rule {
            Some(rule) => explain::by_rule(rule, errno, &call, &figures),
            None => explain::by_errno(errno, &call, &figures),
        }
    }

    /// The first value in the array of SETALL that no semaphore can have.
    fn first_too_large(&self) -> Option<u16> {
        let count = sys::preserving_errno(|| sys_semset::status(self.id)).ok()?.count;
        (0..count as usize).find_map(|index| {
            let mut bytes = [0u8; 2];
            let at = self.argument.checked_add(2 * index)?;
            sys::preserving_errno(|| memory::peek(at, &mut bytes)).ok()?;
            Some(u16::from_ne_bytes(bytes)).filter(|value| i32::from(*value) > checks::VALUE_MAX)
        })
    }
}

/// The figures of a set that was left behind, if it is still there.
pub fn left(id: i32, call: &Invocation) -> Option<Figures> {
    let status = sys_semset::status(id).ok()?;
    let mut figures = figures(call);
    figures.id = id;
    figures.key = status.key as u32;
    figures.size = status.count;
    Some(figures)
}
