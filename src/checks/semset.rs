//! Checks for System V sets of semaphores. Pure: see `mod.rs`. Next: `calls/semset.rs`, which acts on them.

use super::rules::{Rule, RuleSet};

const CREATES_EXCLUSIVELY: i32 = libc::IPC_CREAT | libc::IPC_EXCL;
/// The largest value of a semaphore (SEMVMX), a constant of the kernel.
pub const VALUE_MAX: i32 = 32_767;

/// The flags of semget that it does not know.
pub fn unknown_get_flags(flags: i32) -> i32 {
    flags & !(0o777 | CREATES_EXCLUSIVELY)
}

/// The rules that the arguments of semget break.
#[inline]
pub fn get(key: i32, count: i32, flags: i32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let private = key == libc::IPC_PRIVATE;
    let creates = private || flags & libc::IPC_CREAT != 0;
    broken.put(private && flags & CREATES_EXCLUSIVELY != 0, Rule::KeyZero);
    // With a key, whether a count of 0 is wrong depends on whether the set exists: the kernel decides.
    broken.put(count < 0 || private && count == 0, Rule::SemsetCount);
    broken.put(!private && flags & CREATES_EXCLUSIVELY == libc::IPC_EXCL, Rule::SemsetExclNoCreat);
    broken.put(unknown_get_flags(flags) != 0, Rule::SemsetFlags);
    broken.put(creates && flags & 0o600 != 0o600, Rule::SemsetNoAccess);
    broken.put(creates && flags & 0o002 != 0, Rule::SemsetWorldWritable);
    broken
}

/// The rules that the arguments of semop and semtimedop break. Of the count, the kernel takes 32 bits.
#[inline]
pub fn operate(id: i32, count: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(count as u32 == 0, Rule::SemsetNoOperation);
    broken.put(id < 0, Rule::SemsetId);
    broken
}

/// The flags of a step that semop does not know.
pub fn unknown_step_flags(flags: i16) -> u16 {
    flags as u16 & !(libc::SEM_UNDO as u16 | libc::IPC_NOWAIT as u16)
}

/// Whether semctl's command takes a fourth argument.
pub fn takes_argument(command: i32) -> bool {
    command == libc::SETVAL || needs_buffer(command)
}

/// Whether semctl's command reads or fills a buffer.
pub fn needs_buffer(command: i32) -> bool {
    use libc::{GETALL, IPC_INFO, IPC_SET, IPC_STAT, SEM_INFO, SEM_STAT, SEM_STAT_ANY, SETALL};
    matches!(command, GETALL | SETALL | IPC_STAT | IPC_SET | IPC_INFO | SEM_INFO | SEM_STAT | SEM_STAT_ANY)
}

/// Whether semctl's command is about one semaphore of the set.
pub fn needs_number(command: i32) -> bool {
    matches!(command, libc::GETVAL | libc::SETVAL | libc::GETPID | libc::GETNCNT | libc::GETZCNT)
}

/// The rules that the arguments of semctl break.
#[inline]
pub fn control(id: i32, command: i32, argument: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let known = needs_buffer(command) || needs_number(command) || command == libc::IPC_RMID;
    broken.put(!known, Rule::ControlCommand);
    broken.put(id < 0, Rule::SemsetId);
    // The others look the set up before they look at the buffer: a bad id is told first.
    broken.put(argument == 0 && command == libc::IPC_SET && id >= 0, Rule::ControlNoBuffer);
    let value = argument as i32;
    broken.put(command == libc::SETVAL && !(0..=VALUE_MAX).contains(&value), Rule::SemsetValue);
    broken
}

/// The rules that the mode in the buffer of IPC_SET breaks.
pub fn control_mode(mode: u32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(mode & !0o777 != 0, Rule::ControlModeBits);
    broken.put(mode & 0o002 != 0, Rule::SemsetWorldWritable);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE};

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn getting() {
        let cases: [(i32, i32, i32, &[&str]); 11] = [
            (IPC_PRIVATE, 1, 0o600, &[]),
            (5, 3, IPC_CREAT | IPC_EXCL | 0o660, &[]),
            (5, 0, 0, &[]),
            (0, 1, IPC_CREAT | 0o600, &["SHM-KEY-ZERO"]),
            (0, 0, 0o600, &["SHM-SEMSET-COUNT"]),
            (5, -1, 0, &["SHM-SEMSET-COUNT"]),
            (5, 1, IPC_EXCL, &["SHM-SEMSET-EXCL-NO-CREAT"]),
            (5, 1, 0o4000, &["SHM-SEMSET-FLAGS"]),
            (5, 1, IPC_CREAT | 0o400, &["SHM-SEMSET-NO-ACCESS"]),
            (0, 1, 0, &["SHM-SEMSET-NO-ACCESS"]),
            (5, 1, IPC_CREAT | 0o666, &["SHM-SEMSET-WORLD-WRITABLE"]),
        ];
        for (key, count, flags, expected) in cases {
            assert_eq!(ids(get(key, count, flags)), expected, "{key} {count} {flags:#o}");
        }
    }

    #[test]
    fn operating() {
        assert!(operate(0, 1).is_empty());
        assert_eq!(ids(operate(-1, 0)), ["SHM-SEMSET-ID", "SHM-SEMSET-NO-OPERATION"]);
        assert_eq!(ids(operate(1, 1 << 32)), ["SHM-SEMSET-NO-OPERATION"]);
        assert_eq!(unknown_step_flags((libc::SEM_UNDO | libc::IPC_NOWAIT) as i16), 0);
        assert_eq!(unknown_step_flags(-1), !(0o4000 | libc::SEM_UNDO as u16));
    }

    #[test]
    fn controlling() {
        assert!(control(1, libc::IPC_RMID, 0).is_empty());
        assert!(control(1, libc::SETVAL, VALUE_MAX as usize).is_empty());
        // A union that holds an int has anything above it.
        assert!(control(1, libc::SETVAL, 0xffff_ffff_0000_0001_u64 as usize).is_empty());
        assert_eq!(ids(control(1, libc::SETVAL, VALUE_MAX as usize + 1)), ["SHM-SEMSET-VALUE"]);
        assert_eq!(ids(control(1, libc::SETVAL, usize::MAX)), ["SHM-SEMSET-VALUE"]);
        assert_eq!(ids(control(1, libc::IPC_SET, 0)), ["SHM-CONTROL-NO-BUFFER"]);
        assert_eq!(ids(control(-1, 99, 0)), ["SHM-CONTROL-COMMAND", "SHM-SEMSET-ID"]);
        assert!(control_mode(0o660).is_empty());
        assert_eq!(ids(control_mode(0o1602)), ["SHM-CONTROL-MODE-BITS", "SHM-SEMSET-WORLD-WRITABLE"]);
    }
}
