//! Checks for record locks (fcntl). Pure: see `mod.rs`. The kernel reads the lock itself, so that these say why it
//! refused one. Next: `calls/record.rs`, which acts on them.

use super::rules::{Rule, RuleSet};

/// A record lock, as a `struct flock` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// F_RDLCK, F_WRLCK or F_UNLCK.
    pub kind: i16,
    /// SEEK_SET, SEEK_CUR or SEEK_END.
    pub whence: i16,
    /// From there, in bytes.
    pub start: i64,
    /// Bytes; 0 is to the end, whatever that becomes, and less than 0 is what lies before.
    pub length: i64,
    /// Who holds it, as F_GETLK tells.
    pub pid: i32,
}

/// Whether fcntl's command is about record locks.
#[inline(always)]
pub fn is_lock(command: i32) -> bool {
    matches!(command, libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW) || is_of_description(command)
}

/// Whether the command is about locks of open file descriptions.
#[inline(always)]
pub fn is_of_description(command: i32) -> bool {
    matches!(command, libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW)
}

/// Whether the command only asks.
pub fn asks(command: i32) -> bool {
    matches!(command, libc::F_GETLK | libc::F_OFD_GETLK)
}

/// The command that asks where this one locks.
pub fn asking(command: i32) -> i32 {
    if is_of_description(command) { libc::F_OFD_GETLK } else { libc::F_GETLK }
}

/// The rules that a lock breaks. `base` is where its start counts from, `access` how the descriptor was opened.
pub fn lock(lock: &Lock, command: i32, base: i64, access: i32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let known = matches!(i32::from(lock.whence), libc::SEEK_SET | libc::SEEK_CUR | libc::SEEK_END);
    broken.put(!known, Rule::RecordWhence);
    let (start, length) = (i128::from(base) + i128::from(lock.start), i128::from(lock.length));
    let (first, last) = if length < 0 { (start + length, start - 1) } else { (start, start + (length - 1).max(0)) };
    let most = i128::from(i64::MAX);
    broken.put(known && first < 0, Rule::RecordRange);
    broken.put(known && (start > most || last > most), Rule::RecordOverflow);
    let kind = i32::from(lock.kind);
    let unlocks = kind == libc::F_UNLCK;
    let (reads, writes) = (kind == libc::F_RDLCK, kind == libc::F_WRLCK);
    broken.put(!(reads || writes || unlocks) || unlocks && command == libc::F_GETLK, Rule::RecordType);
    broken.put(is_of_description(command) && lock.pid != 0, Rule::RecordPid);
    let mode = access & libc::O_ACCMODE;
    let allowed = asks(command) || !(reads && mode == libc::O_WRONLY || writes && mode == libc::O_RDONLY);
    broken.put(!allowed, Rule::RecordAccess);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{F_GETLK, F_OFD_SETLK, F_SETLK, O_RDONLY, O_RDWR, O_WRONLY};

    #[test]
    fn locks() {
        let good = Lock { kind: libc::F_WRLCK as i16, whence: 0, start: 10, length: 5, pid: 0 };
        let reads = Lock { kind: libc::F_RDLCK as i16, ..good };
        let cases: [(Lock, i32, i32, &[&str]); 14] = [
            (good, F_SETLK, O_RDWR, &[]),
            (Lock { length: -10, ..good }, F_SETLK, O_RDWR, &[]),
            (Lock { start: i64::MAX, length: 1, ..good }, F_SETLK, O_RDWR, &[]),
            (Lock { pid: 7, ..good }, F_SETLK, O_RDWR, &[]),
            (good, F_GETLK, O_RDONLY, &[]),
            (Lock { whence: 9, start: -1, ..good }, F_SETLK, O_RDWR, &["SHM-RECORD-WHENCE"]),
            (Lock { start: -1, ..good }, F_SETLK, O_RDWR, &["SHM-RECORD-RANGE"]),
            (Lock { length: -11, ..good }, F_SETLK, O_RDWR, &["SHM-RECORD-RANGE"]),
            (Lock { start: i64::MAX, length: 2, ..good }, F_SETLK, O_RDWR, &["SHM-RECORD-OVERFLOW"]),
            (Lock { kind: 9, ..good }, F_SETLK, O_RDWR, &["SHM-RECORD-TYPE"]),
            (Lock { kind: libc::F_UNLCK as i16, ..good }, F_GETLK, O_RDWR, &["SHM-RECORD-TYPE"]),
            (Lock { pid: 7, ..good }, F_OFD_SETLK, O_RDWR, &["SHM-RECORD-PID"]),
            (good, F_SETLK, O_RDONLY, &["SHM-RECORD-ACCESS"]),
            (reads, F_OFD_SETLK, O_WRONLY, &["SHM-RECORD-ACCESS"]),
        ];
        for (given, command, access, expected) in cases {
            let ids: Vec<_> = lock(&given, command, 0, access).iter().map(|rule| rule.row().id).collect();
            assert_eq!(ids, expected, "{given:?} {command} {access}");
        }
        assert!(lock(&Lock { start: -5, ..good }, F_SETLK, 5, O_RDWR).is_empty());
    }
}
