//! Checks for sizes: ftruncate, posix_fallocate. Pure: see `mod.rs`. Next: `calls/file.rs`, which acts on them.

use super::rules::{Rule, RuleSet};

/// The rules that the arguments of ftruncate break.
#[inline]
pub fn truncate(length: i64) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(length < 0, Rule::SizeNegative);
    broken
}

/// The rules that the arguments of posix_fallocate break.
#[inline]
pub fn reserve(offset: i64, length: i64) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(offset < 0 || length < 0, Rule::SizeNegative);
    broken.put(length == 0, Rule::SizeZeroReserve);
    broken.put(offset >= 0 && length > 0 && offset.checked_add(length).is_none(), Rule::SizeOverflow);
    broken
}

/// What is known of an object whose size is about to change.
#[derive(Clone, Copy)]
pub struct Growth {
    /// The size it shall have, in bytes.
    pub length: u64,
    /// The bytes that it has reserved.
    pub reserved: u64,
    /// The capacity of its file system; 0 when that has no bound.
    pub capacity: u64,
    /// What is free there.
    pub free: u64,
}

impl Growth {
    /// The bytes that the file system must still give before every page can be touched.
    pub fn needed(&self) -> u64 {
        self.length.saturating_sub(self.reserved)
    }
}

/// The rules that a new size breaks on its file system.
pub fn grow(growth: &Growth) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(growth.capacity != 0 && growth.needed() > growth.free, Rule::SizeNoSpace);
    broken
}

/// The rules that a new size breaks for an object that this process maps up to byte `mapped_end`.
pub fn shrink(length: u64, mapped_end: u64) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(length < mapped_end, Rule::SizeShrinkMapped);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn sizes() {
        assert!(truncate(0).is_empty());
        assert_eq!(ids(truncate(-1)), ["SHM-SIZE-NEGATIVE"]);
        assert!(reserve(0, 1).is_empty());
        assert_eq!(ids(reserve(0, 0)), ["SHM-SIZE-ZERO-RESERVE"]);
        assert_eq!(ids(reserve(-1, 1)), ["SHM-SIZE-NEGATIVE"]);
        assert_eq!(ids(reserve(i64::MAX, 1)), ["SHM-SIZE-OVERFLOW"]);
    }

    #[test]
    fn room() {
        let fits = Growth { length: 8192, reserved: 4096, capacity: 65536, free: 4096 };
        assert!(grow(&fits).is_empty());
        assert_eq!(ids(grow(&Growth { free: 4095, ..fits })), ["SHM-SIZE-NO-SPACE"]);
        assert!(grow(&Growth { free: 0, capacity: 0, ..fits }).is_empty(), "no bound is known");
        assert_eq!(ids(shrink(4095, 4096)), ["SHM-SIZE-SHRINK-MAPPED"]);
        assert!(shrink(4096, 4096).is_empty());
    }
}
