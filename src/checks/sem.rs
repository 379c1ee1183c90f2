//! Checks for POSIX semaphores. Pure: see `mod.rs`. Next: `calls/sem.rs`, which acts on them.

use super::memory::ADDRESS_LIMIT;
use super::rules::{Rule, RuleSet};

/// The longest name, without its slashes: the C library puts "sem." before it (sem_overview(7)).
pub const NAME_MAX: usize = super::posix::NAME_MAX - 4;
/// The largest value (SEM_VALUE_MAX).
pub const VALUE_MAX: u32 = i32::MAX as u32;

/// The flags of sem_open that it does not define. It opens for reading and writing whatever the access mode says, and
/// sets some flags by itself.
pub fn unknown_open_flags(oflag: i32) -> i32 {
    oflag & !(libc::O_CREAT | libc::O_EXCL | libc::O_ACCMODE | libc::O_CLOEXEC | libc::O_NOFOLLOW)
}

/// The rules that a name of a semaphore breaks.
#[inline]
pub fn name(name: &[u8]) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let slashes = name.iter().take_while(|byte| **byte == b'/').count();
    let bare = name.get(slashes..).unwrap_or_default();
    broken.put(bare.is_empty(), Rule::NameEmpty);
    broken.put(bare.contains(&b'/'), Rule::NameInnerSlash);
    broken.put(bare.len() > NAME_MAX, Rule::NameTooLong);
    broken.put(slashes == 0 && !bare.is_empty(), Rule::NameNoSlash);
    broken.put(slashes > 1 && !bare.is_empty(), Rule::NameManySlashes);
    broken
}

/// The rules that the flags, mode and value of sem_open break.
#[inline]
pub fn open(oflag: i32, mode: u32, value: u32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let creates = oflag & libc::O_CREAT != 0;
    let excludes = oflag & libc::O_EXCL != 0;
    broken.put(excludes && !creates, Rule::OpenExclNoCreat);
    broken.put(unknown_open_flags(oflag) != 0, Rule::SemFlags);
    broken.put(creates && mode & !0o777 != 0, Rule::OpenModeBits);
    broken.put(creates && mode & 0o600 != 0o600, Rule::OpenNoAccess);
    broken.put(creates && mode & 0o002 != 0, Rule::OpenWorldWritable);
    // Of a semaphore that exists the value is not looked at: then the C library decides.
    broken.put(creates && excludes && value > VALUE_MAX, Rule::SemValue);
    broken
}

/// The rules that the value of sem_init breaks.
#[inline(always)]
pub fn value(value: u32) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(value > VALUE_MAX, Rule::SemValue);
    broken
}

/// The rules that the address of a semaphore breaks.
#[inline]
pub fn pointer(addr: usize, page: usize) -> RuleSet {
    let mut broken = address(addr, page);
    broken.put(!addr.is_multiple_of(align_of::<libc::sem_t>()), Rule::SemAlign);
    broken
}

/// Whether the address of a semaphore breaks no rule: the short way, for calls that take a few nanoseconds.
#[inline(always)]
pub fn is_good_pointer(addr: usize, page: usize) -> bool {
    is_good_address(addr, page) && addr.is_multiple_of(align_of::<libc::sem_t>())
}

/// Whether another address that the C library follows breaks no rule.
#[inline(always)]
pub fn is_good_address(addr: usize, page: usize) -> bool {
    (page..ADDRESS_LIMIT).contains(&addr)
}

/// The rules that another address breaks which the C library follows.
#[inline]
pub fn address(addr: usize, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(!is_good_address(addr, page), Rule::ArgPointer);
    broken
}

/// The rules that a point in time breaks: one in the first year of a clock that began in 1970 was meant as a span. What
/// is at its very beginning, or before it, is a way to say "not at all".
pub fn time(clock: i32, seconds: i64) -> RuleSet {
    const YEAR: i64 = 365 * 86_400;
    let mut broken = RuleSet::EMPTY;
    broken.put(clock == libc::CLOCK_REALTIME && seconds > 0 && seconds < YEAR, Rule::TimeRelative);
    broken
}

/// The rules that the place of a new semaphore breaks; `shared` says whether other processes can see that memory.
pub fn placed(for_processes: bool, shared: bool) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(for_processes && !shared, Rule::SemPrivateMemory);
    broken.put(!for_processes && shared, Rule::SemThreadsOnly);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{O_CREAT, O_EXCL, O_RDWR, O_TRUNC};

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn names() {
        let (longest, long) = ([b"/".as_slice(), &[b'x'; 251]].concat(), [b"/".as_slice(), &[b'x'; 252]].concat());
        let cases: [(&[u8], &[&str]); 7] = [
            (b"/ready", &[]),
            (&longest, &[]),
            (&long, &["SHM-NAME-TOO-LONG"]),
            (b"ready", &["SHM-NAME-NO-SLASH"]),
            (b"//ready", &["SHM-NAME-MANY-SLASHES"]),
            (b"/", &["SHM-NAME-EMPTY"]),
            (b"/a/b", &["SHM-NAME-INNER-SLASH"]),
        ];
        for (given, expected) in cases {
            assert_eq!(ids(name(given)), expected, "{:?}", String::from_utf8_lossy(given));
        }
    }

    #[test]
    fn opening() {
        let cases: [(i32, u32, u32, &[&str]); 9] = [
            (0, 0, u32::MAX, &[]),
            (O_CREAT | O_RDWR, 0o600, 1, &[]),
            (O_CREAT, 0o660, u32::MAX, &[]),
            (O_EXCL, 0, 0, &["SHM-OPEN-EXCL-NO-CREAT"]),
            (O_TRUNC, 0, 0, &["SHM-SEM-FLAGS"]),
            (O_CREAT, 0o1600, 0, &["SHM-OPEN-MODE-BITS"]),
            (O_CREAT, 0o400, 0, &["SHM-OPEN-NO-ACCESS"]),
            (O_CREAT, 0o666, 0, &["SHM-OPEN-WORLD-WRITABLE"]),
            (O_CREAT | O_EXCL, 0o600, VALUE_MAX + 1, &["SHM-SEM-VALUE"]),
        ];
        for (oflag, mode, value, expected) in cases {
            assert_eq!(ids(open(oflag, mode, value)), expected, "{oflag:#o} {mode:#o} {value}");
        }
        assert!(value(VALUE_MAX).is_empty());
        assert_eq!(ids(value(VALUE_MAX + 1)), ["SHM-SEM-VALUE"]);
    }

    #[test]
    fn places_and_times() {
        assert!(pointer(4096, 4096).is_empty());
        for addr in [0, 8, 4095, 4096, 4100, 4104, ADDRESS_LIMIT - 8, ADDRESS_LIMIT, usize::MAX - 7] {
            assert_eq!(is_good_pointer(addr, 4096), pointer(addr, 4096).is_empty(), "{addr:#x}");
        }
        assert_eq!(ids(pointer(0, 4096)), ["SHM-ARG-POINTER"]);
        assert_eq!(ids(pointer(4100, 4096)), ["SHM-SEM-ALIGN"]);
        assert_eq!(ids(address(ADDRESS_LIMIT, 4096)), ["SHM-ARG-POINTER"]);
        assert!(placed(true, true).is_empty() && placed(false, false).is_empty());
        assert_eq!(ids(placed(true, false)), ["SHM-SEM-PRIVATE-MEMORY"]);
        assert_eq!(ids(placed(false, true)), ["SHM-SEM-THREADS-ONLY"]);
        assert_eq!(ids(time(libc::CLOCK_REALTIME, 2)), ["SHM-TIME-RELATIVE"]);
        for (clock, seconds) in [(0, 0), (0, -1), (0, 1_700_000_000), (libc::CLOCK_MONOTONIC, 2)] {
            assert!(time(clock, seconds).is_empty(), "{clock} {seconds}");
        }
    }
}
