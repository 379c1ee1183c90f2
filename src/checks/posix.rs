//! Checks for POSIX objects and memfd. Pure: see `mod.rs`. Next: `calls/posix.rs`, which acts on them.

use super::rules::{Rule, RuleSet};

/// The longest name, without its slashes (NAME_MAX).
pub const NAME_MAX: usize = 255;
/// The longest label of a memfd.
pub const MEMFD_NAME_MAX: usize = 249;
/// How far a name is read in search of its end.
pub const NAME_SCAN: usize = 4096;

/// The flags that POSIX gives shm_open.
const OPEN_DEFINED: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
/// Flags that the C library sets by itself, so that saying them again does no harm.
const OPEN_HARMLESS: i32 = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_LARGEFILE | 0o100000;

/// The flags of shm_open that it does not define.
pub fn unknown_open_flags(oflag: i32) -> i32 {
    oflag & !(OPEN_DEFINED | OPEN_HARMLESS)
}

/// The rules that a name of a POSIX object breaks.
#[inline]
pub fn name(name: &[u8]) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    let bare = name.get(slashes..).unwrap_or_default();
    broken.put(bare.is_empty(), Rule::NameEmpty);
    broken.put(bare.contains(&b'/'), Rule::NameInnerSlash);
    broken.put(bare.len() > NAME_MAX, Rule::NameTooLong);
    broken.put(bare == b"." || bare == b"..", Rule::NameDot);
    broken.put(slashes == 0 && !bare.is_empty(), Rule::NameNoSlash);
    broken.put(slashes > 1 && !bare.is_empty(), Rule::NameManySlashes);
    broken
}

/// The rules that the flags and mode of shm_open break.
#[inline]
pub fn open(oflag: i32, mode: u32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let access = oflag & libc::O_ACCMODE;
    let creates = oflag & libc::O_CREAT != 0;
    broken.put(access != libc::O_RDONLY && access != libc::O_RDWR, Rule::OpenAccessMode);
    broken.put(oflag & libc::O_EXCL != 0 && !creates, Rule::OpenExclNoCreat);
    broken.put(oflag & libc::O_TRUNC != 0 && access == libc::O_RDONLY, Rule::OpenTruncRdonly);
    broken.put(unknown_open_flags(oflag) != 0, Rule::OpenFlags);
    broken.put(creates && mode & !0o777 != 0, Rule::OpenModeBits);
    broken.put(creates && mode & 0o400 == 0, Rule::OpenNoAccess);
    broken.put(creates && mode & 0o002 != 0, Rule::OpenWorldWritable);
    broken
}

const MFD_CLOEXEC: u32 = 1;
const MFD_ALLOW_SEALING: u32 = 2;
const MFD_HUGETLB: u32 = 4;
const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 16;
const HUGE_SIZE_BITS: u32 = 0x3f << 26;

/// The rules that the arguments of memfd_create break.
#[inline]
pub fn memfd(name: &[u8], flags: u32) -> RuleSet {
    const KNOWN: u32 = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    let mut broken = RuleSet::EMPTY;
    let huge = flags & MFD_HUGETLB != 0;
    let known = if huge { KNOWN | MFD_HUGETLB | HUGE_SIZE_BITS } else { KNOWN };
    let excludes = flags & MFD_EXEC != 0 && flags & MFD_NOEXEC_SEAL != 0;
    broken.put(flags & !known != 0 || excludes, Rule::MemfdFlags);
    broken.put(name.len() > MEMFD_NAME_MAX, Rule::MemfdName);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn names() {
        let long = vec![b'x'; 256];
        let longest = [b"/".as_slice(), &[b'x'; 255]].concat();
        let cases: [(&[u8], &[&str]); 11] = [
            (b"/telemetry", &[]),
            (&longest, &[]),
            (b"telemetry", &["SHM-NAME-NO-SLASH"]),
            (b"//telemetry", &["SHM-NAME-MANY-SLASHES"]),
            (b"", &["SHM-NAME-EMPTY"]),
            (b"/", &["SHM-NAME-EMPTY"]),
            (b"/a/b", &["SHM-NAME-INNER-SLASH"]),
            (b"/a/", &["SHM-NAME-INNER-SLASH"]),
            (b"/.", &["SHM-NAME-DOT"]),
            (b"..", &["SHM-NAME-DOT", "SHM-NAME-NO-SLASH"]),
            (&long, &["SHM-NAME-TOO-LONG", "SHM-NAME-NO-SLASH"]),
        ];
        for (given, expected) in cases {
            assert_eq!(ids(name(given)), expected, "{:?}", String::from_utf8_lossy(given));
        }
    }

    #[test]
    fn opening() {
        use libc::{O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY};
        let cases: [(i32, u32, &[&str]); 12] = [
            (O_RDONLY, 0, &[]),
            (O_RDWR | O_CREAT | O_EXCL, 0o600, &[]),
            (O_RDWR | O_CREAT | O_TRUNC | libc::O_CLOEXEC, 0o660, &[]),
            (O_RDWR, 0o1777, &[]),
            (O_WRONLY, 0, &["SHM-OPEN-ACCESS-MODE"]),
            (3, 0, &["SHM-OPEN-ACCESS-MODE"]),
            (O_RDWR | O_EXCL, 0, &["SHM-OPEN-EXCL-NO-CREAT"]),
            (O_RDONLY | O_TRUNC, 0, &["SHM-OPEN-TRUNC-RDONLY"]),
            (O_RDWR | O_APPEND, 0, &["SHM-OPEN-FLAGS"]),
            (O_RDWR | O_CREAT, 666, &["SHM-OPEN-MODE-BITS", "SHM-OPEN-NO-ACCESS", "SHM-OPEN-WORLD-WRITABLE"]),
            (O_RDWR | O_CREAT, 0, &["SHM-OPEN-NO-ACCESS"]),
            (O_RDWR | O_CREAT, 0o666, &["SHM-OPEN-WORLD-WRITABLE"]),
        ];
        for (oflag, mode, expected) in cases {
            assert_eq!(ids(open(oflag, mode)), expected, "{oflag:#o} {mode:#o}");
        }
    }

    #[test]
    fn memfds() {
        assert!(memfd(b"label", MFD_CLOEXEC | MFD_ALLOW_SEALING).is_empty());
        assert!(memfd(b"", MFD_HUGETLB | 21 << 26).is_empty());
        assert_eq!(ids(memfd(b"", 21 << 26)), ["SHM-MEMFD-FLAGS"]);
        assert_eq!(ids(memfd(b"", MFD_EXEC | MFD_NOEXEC_SEAL)), ["SHM-MEMFD-FLAGS"]);
        assert_eq!(ids(memfd(&[b'x'; 250], 32)), ["SHM-MEMFD-NAME", "SHM-MEMFD-FLAGS"]);
    }
}
