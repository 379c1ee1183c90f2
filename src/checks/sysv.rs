//! Checks for System V segments and keys. Pure: see `mod.rs`. Next: `calls/sysv.rs`, which acts on them.

use super::rules::{Rule, RuleSet};
use crate::sys::sysv::{IPC_INFO, SHM_EXEC, SHM_HUGETLB, SHM_INFO, SHM_NORESERVE, SHM_STAT, SHM_STAT_ANY};

const HUGE_SIZE_BITS: i32 = (0x3fu32 << 26) as i32;
const CREATES_EXCLUSIVELY: i32 = libc::IPC_CREAT | libc::IPC_EXCL;

/// The flags of shmget that it does not know.
pub fn unknown_get_flags(flags: i32) -> i32 {
    let huge = if flags & SHM_HUGETLB != 0 { HUGE_SIZE_BITS } else { 0 };
    flags & !(0o777 | CREATES_EXCLUSIVELY | SHM_HUGETLB | SHM_NORESERVE | huge)
}

/// The flags of shmat that it does not know.
pub fn unknown_attach_flags(flags: i32) -> i32 {
    flags & !(libc::SHM_RDONLY | libc::SHM_RND | libc::SHM_REMAP | SHM_EXEC)
}

/// The rules that the arguments of shmget break.
#[inline]
pub fn get(key: i32, size: usize, flags: i32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let private = key == libc::IPC_PRIVATE;
    let creates = private || flags & libc::IPC_CREAT != 0;
    broken.put(private && flags & CREATES_EXCLUSIVELY != 0, Rule::KeyZero);
    // With a key, whether a size of 0 is wrong depends on whether the segment exists: the kernel decides.
    broken.put(private && size == 0, Rule::SegSizeZero);
    broken.put(!private && flags & CREATES_EXCLUSIVELY == libc::IPC_EXCL, Rule::SegExclNoCreat);
    broken.put(unknown_get_flags(flags) & !HUGE_SIZE_BITS != 0, Rule::SegFlags);
    broken.put(flags & SHM_HUGETLB == 0 && flags & HUGE_SIZE_BITS != 0, Rule::MapHugeIgnored);
    broken.put(creates && flags & 0o400 == 0, Rule::SegNoAccess);
    broken.put(creates && flags & 0o002 != 0, Rule::SegWorldWritable);
    broken
}

/// The rules that the arguments of shmat break; `boundary` is SHMLBA.
#[inline]
pub fn attach(id: i32, addr: usize, flags: i32, boundary: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(id < 0, Rule::SegId);
    broken.put(flags & libc::SHM_REMAP != 0 && addr == 0, Rule::AttachRemapNull);
    let aligned = addr & (boundary - 1) == 0;
    broken.put(!aligned && flags & libc::SHM_RND == 0, Rule::AttachAlign);
    let rounds_to_null = flags & libc::SHM_RND != 0 && flags & libc::SHM_REMAP != 0 && addr != 0 && addr < boundary;
    broken.put(rounds_to_null, Rule::AttachRemapNull);
    broken.put(unknown_attach_flags(flags) != 0, Rule::AttachFlags);
    broken.put(flags & SHM_EXEC != 0 && flags & libc::SHM_RDONLY == 0, Rule::MapWriteExec);
    broken
}

/// The rules that the arguments of shmdt break.
#[inline]
pub fn detach(addr: usize, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(addr & (page - 1) != 0, Rule::DetachNotAttached);
    broken
}

/// Whether shmctl's command reads or fills a buffer.
pub fn needs_buffer(command: i32) -> bool {
    matches!(command, libc::IPC_STAT | libc::IPC_SET | IPC_INFO | SHM_INFO | SHM_STAT | SHM_STAT_ANY)
}

/// The rules that the arguments of shmctl break.
#[inline]
pub fn control(id: i32, command: i32, buffer_is_null: bool) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let known = needs_buffer(command) || matches!(command, libc::IPC_RMID | libc::SHM_LOCK | libc::SHM_UNLOCK);
    broken.put(id < 0, Rule::SegId);
    broken.put(!known, Rule::ControlCommand);
    // IPC_STAT and the like look the segment up before they look at the buffer: a bad id is told first.
    broken.put(buffer_is_null && command == libc::IPC_SET, Rule::ControlNoBuffer);
    broken
}

/// The rules that the mode in the buffer of IPC_SET breaks.
pub fn control_mode(mode: u32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(mode & !0o777 & !(crate::sys::sysv::SHM_DEST | 0o2000) != 0, Rule::ControlModeBits);
    broken.put(mode & 0o002 != 0, Rule::SegWorldWritable);
    broken
}

/// The rules that the id of ftok breaks.
#[inline]
pub fn key_id(id: i32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(id & 0xff == 0, Rule::FtokId);
    broken
}

/// The key that `ftok` makes of a file and an id: 16 bits of the file number, 8 of the device, 8 of the id.
#[inline]
pub fn key_of(dev: u64, ino: u64, id: i32) -> i32 {
    (ino & 0xffff) as i32 | ((dev & 0xff) as i32) << 16 | (id & 0xff) << 24
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, SHM_RDONLY, SHM_REMAP, SHM_RND};

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn getting() {
        let cases: [(i32, usize, i32, &[&str]); 13] = [
            (IPC_PRIVATE, 1, 0o600, &[]),
            (5, 1, IPC_CREAT | IPC_EXCL | 0o600, &[]),
            (5, 0, 0, &[]),
            (5, 1, IPC_CREAT | SHM_HUGETLB | 21 << 26 | 0o600, &[]),
            (5, 1, IPC_CREAT | SHM_NORESERVE | 0o600, &[]),
            (0, 1, IPC_CREAT | 0o600, &["SHM-KEY-ZERO"]),
            (0, 0, 0o600, &["SHM-SEG-SIZE-ZERO"]),
            (5, 1, IPC_EXCL, &["SHM-SEG-EXCL-NO-CREAT"]),
            (5, 1, 0o100000, &["SHM-SEG-FLAGS"]),
            (5, 1, 21 << 26, &["SHM-MAP-HUGE-IGNORED"]),
            (5, 1, IPC_CREAT, &["SHM-SEG-NO-ACCESS"]),
            (0, 1, 0, &["SHM-SEG-NO-ACCESS"]),
            (5, 1, IPC_CREAT | 0o666, &["SHM-SEG-WORLD-WRITABLE"]),
        ];
        for (key, size, flags, expected) in cases {
            assert_eq!(ids(get(key, size, flags)), expected, "{key} {size} {flags:#o}");
        }
    }

    #[test]
    fn attaching() {
        let cases: [(i32, usize, i32, &[&str]); 9] = [
            (1, 0, 0, &[]),
            (1, 8192, SHM_REMAP | SHM_RDONLY, &[]),
            (1, 8193, SHM_RND, &[]),
            (-1, 0, 0, &["SHM-SEG-ID"]),
            (1, 0, SHM_REMAP, &["SHM-ATTACH-REMAP-NULL"]),
            (1, 8193, 0, &["SHM-ATTACH-ALIGN"]),
            (1, 1, SHM_RND | SHM_REMAP, &["SHM-ATTACH-REMAP-NULL"]),
            (1, 0, 1, &["SHM-ATTACH-FLAGS"]),
            (1, 0, SHM_EXEC, &["SHM-MAP-WRITE-EXEC"]),
        ];
        for (id, addr, flags, expected) in cases {
            assert_eq!(ids(attach(id, addr, flags, 4096)), expected, "{id} {addr} {flags:#o}");
        }
    }

    #[test]
    fn controlling() {
        assert!(control(1, libc::IPC_STAT, false).is_empty());
        assert!(control(1, libc::IPC_RMID, true).is_empty());
        assert_eq!(ids(control(1, libc::IPC_SET, true)), ["SHM-CONTROL-NO-BUFFER"]);
        assert_eq!(ids(control(-1, 99, true)), ["SHM-SEG-ID", "SHM-CONTROL-COMMAND"]);
        assert!(control_mode(0o640).is_empty());
        assert_eq!(ids(control_mode(0o10666)), ["SHM-SEG-WORLD-WRITABLE", "SHM-CONTROL-MODE-BITS"]);
    }

    #[test]
    fn keys() {
        assert!(key_id(1).is_empty());
        assert_eq!(ids(key_id(0x100)), ["SHM-FTOK-ID"]);
        assert_eq!(key_of(0x12_34, 0xabcd_ef01, 0x7f), 0x7f34_ef01);
    }
}
