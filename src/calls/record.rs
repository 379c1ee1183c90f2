//! The checked call for record locks: fcntl with F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ forms.
//! Every other command is none of its business. Never takes or drops a lock itself. Next: `checks/record.rs`.

use super::explain;
use super::judge::{figures, judge};
use super::ledger;
use super::memory::address_of;
use crate::checks::record::{self as checks, Lock};
use crate::checks::words::{Call, Figures, Invocation};
use crate::checks::{Rule, RuleSet};
use crate::error::Errno;
use crate::sys::{self, file, record as sys_record};

/// What the caller of `fcntl` passed.
#[derive(Clone, Copy)]
pub struct Request {
    /// The descriptor.
    pub fd: i32,
    /// The command, one of record locks.
    pub command: i32,
    /// Where the lock is.
    pub at: usize,
}

impl Request {
    fn words(&self, lock: Option<&Lock>) -> Invocation {
        let mut args = [self.fd as u64, self.command as u64, self.at as u64, 0, 0, 0];
        if let Some(lock) = lock {
            // Beside the address, so that the words can show the lock.
            args[3] = 1 << 32 | u64::from(lock.whence as u16) << 16 | u64::from(lock.kind as u16);
            (args[4], args[5]) = (lock.start as u64, lock.length as u64);
        }
        Invocation::new(Call::Fcntl, args)
    }

    fn lock(&self) -> Option<(libc::flock, Lock)> {
        let raw = sys::preserving_errno(|| sys_record::lock_at(self.at))?;
        let lock =
            Lock { kind: raw.l_type, whence: raw.l_whence, start: raw.l_start, length: raw.l_len, pid: raw.l_pid };
        Some((raw, lock))
    }

    /// What a lock that the kernel would take may come to: it is dropped by the close of another descriptor.
    #[cold]
    pub fn examine(&self) -> Result<(), Errno> {
        let Some((_, lock)) = self.lock() else { return Ok(()) };
        let locks = matches!(self.command, libc::F_SETLK | libc::F_SETLKW) && i32::from(lock.kind) != libc::F_UNLCK;
        if !locks {
            return Ok(());
        }
        let Ok(status) = sys::preserving_errno(|| file::status(self.fd)) else { return Ok(()) };
        let Some(other) = ledger::other_descriptor(self.fd, &status) else { return Ok(()) };
        let mut broken = RuleSet::EMPTY;
        broken.put(true, Rule::RecordCloseDrops);
        let mut call = self.words(Some(&lock));
        call.subject = address_of(self.fd, Some(&status));
        let mut figures = figures(&call);
        figures.count = other as u64;
        judge(broken, &call, &figures)
    }

    /// Why the kernel refused the lock.
    #[cold]
    pub fn explain(&self, errno: Errno) -> Errno {
        let access = sys::preserving_errno(|| file::open_flags(self.fd));
        let closed = access.is_err() || access.is_ok_and(|flags| flags & libc::O_PATH != 0);
        let Some((raw, lock)) = self.lock() else {
            let call = self.words(None);
            let rule = if errno.0 == libc::EBADF { Rule::FdClosed } else { Rule::ArgPointer };
            let mut figures = figures(&call);
            figures.addr = self.at as u64;
            return explain::by_rule(rule, errno, &call, &figures);
        };
        let mut call = self.words(Some(&lock));
        let mut figures = figures(&call);
        let status = sys::preserving_errno(|| file::status(self.fd)).ok();
        let rule = match errno.0 {
            libc::EBADF if closed => Some(Rule::FdClosed),
            libc::EFAULT => Some(Rule::ArgPointer),
            libc::EAGAIN | libc::EACCES => return self.explain_conflict(errno, &raw, &call, &mut figures),
            _ => {
                let base = match i32::from(lock.whence) {
                    libc::SEEK_CUR => sys::preserving_errno(|| sys_record::position(self.fd)).unwrap_or(0),
                    libc::SEEK_END => status.map_or(0, |status| status.size as i64),
                    _ => 0,
                };
                let broken = checks::lock(&lock, self.command, base, access.unwrap_or(libc::O_RDWR));
                broken.iter().find(|rule| rule.row().errno == errno.0)
            }
        };
        if let Some(rule) = rule {
            figures.addr = self.at as u64;
            figures.offset = lock.start as u64;
            figures.signed = match rule {
                Rule::RecordType => i64::from(lock.kind),
                Rule::RecordWhence => i64::from(lock.whence),
                Rule::RecordPid => i64::from(lock.pid),
                _ => lock.length,
            };
            figures.access = access.unwrap_or(0) as u64;
            figures.what = if i32::from(lock.kind) == libc::F_RDLCK { "F_RDLCK" } else { "F_WRLCK" };
            call.subject = address_of(self.fd, status.as_ref());
            return explain::by_rule(rule, errno, &call, &figures);
        }
        explain::by_errno(errno, &call, &figures)
    }

    /// Who holds a lock that is in the way; asked at once, and yet it may be gone by then.
    fn explain_conflict(&self, errno: Errno, raw: &libc::flock, call: &Invocation, figures: &mut Figures) -> Errno {
        let asking = checks::asking(self.command);
        let holder = sys::preserving_errno(|| sys_record::in_the_way(self.fd, asking, raw));
        figures.what = match holder {
            Ok(holder) if i32::from(holder.l_type) != libc::F_UNLCK => {
                figures.id = holder.l_pid;
                figures.offset = holder.l_start as u64;
                figures.signed = holder.l_len;
                "holds"
            }
            _ => "held a moment ago",
        };
        explain::by_errno(errno, call, figures)
    }
}
