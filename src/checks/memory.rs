//! Checks for mappings: mmap, munmap, mremap, mprotect, msync, madvise, mlock. Pure: see `mod.rs`.
//! Next: `calls/memory.rs`, which acts on them.

use super::rules::{Rule, RuleSet};

/// The type bits of mmap's flags.
pub const MAP_TYPE: i32 = 0x0f;
/// Map synchronously (persistent memory).
pub const MAP_SYNC: i32 = 0x80000;
/// Fail rather than replace what is mapped.
pub const MAP_FIXED_NOREPLACE: i32 = 0x100000;
const MAP_DROPPABLE: i32 = 0x08;
const MAP_UNINITIALIZED: i32 = 0x4000000;
/// Where the size of a huge page stands in the flags of mmap, shmget and memfd_create.
pub const HUGE_SHIFT: u32 = 26;
const HUGE_SIZE_BITS: i32 = (0x3fu32 << HUGE_SHIFT) as i32;

const KNOWN: i32 = MAP_TYPE
    | libc::MAP_FIXED
    | libc::MAP_ANONYMOUS
    | libc::MAP_GROWSDOWN
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_LOCKED
    | libc::MAP_NORESERVE
    | libc::MAP_POPULATE
    | libc::MAP_NONBLOCK
    | libc::MAP_STACK
    | libc::MAP_HUGETLB
    | MAP_SYNC
    | MAP_FIXED_NOREPLACE
    | MAP_UNINITIALIZED
    | HUGE_SIZE_BITS
    | ARCHITECTURE_FLAGS;
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE_FLAGS: i32 = 0x40 | 0x80; // MAP_32BIT, MAP_ABOVE4G
#[cfg(not(target_arch = "x86_64"))]
const ARCHITECTURE_FLAGS: i32 = 0;

/// The flags of mmap that it does not know.
pub fn unknown_map_flags(flags: i32) -> i32 {
    flags & !KNOWN
}

/// The protection bits that mmap takes; PROT_SEM and the architecture's own are among them.
const PROT_KNOWN: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC | 0x8 | ARCHITECTURE_PROT;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE_PROT: i32 = 0x10 | 0x20; // PROT_BTI, PROT_MTE
#[cfg(not(target_arch = "aarch64"))]
const ARCHITECTURE_PROT: i32 = 0;
const PROT_GROWS: i32 = 0x0100_0000 | 0x0200_0000;

/// The end of the largest address space that the architecture has (five-level paging on x86-64, 52 bits on arm64);
/// where this machine's is smaller, the kernel says so itself.
pub const ADDRESS_LIMIT: usize = if cfg!(target_arch = "x86_64") { 1 << 56 } else { 1 << 52 };

/// A length rounded up to whole pages; `None` when that is more than a number holds. Pages are powers of two, and a
/// mask costs a cycle where a division costs thirty.
#[inline(always)]
pub fn pages_of(length: usize, page: usize) -> Option<usize> {
    Some(length.checked_add(page - 1)? & !(page - 1))
}

/// The arguments of mmap.
#[derive(Clone, Copy)]
pub struct Map {
    /// The wished address.
    pub addr: usize,
    /// Bytes.
    pub length: usize,
    /// Protection.
    pub prot: i32,
    /// Flags.
    pub flags: i32,
    /// Descriptor.
    pub fd: i32,
    /// Where in the file.
    pub offset: i64,
}

impl Map {
    /// Whether no file is involved.
    #[inline(always)]
    pub fn is_anonymous(&self) -> bool {
        self.flags & libc::MAP_ANONYMOUS != 0
    }

    /// Whether others see what is written.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        matches!(self.flags & MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE)
    }

    /// The size of the huge pages that the flags name, 0 when they name none.
    pub fn huge_page_size(&self) -> u64 {
        1u64.checked_shl((self.flags as u32) >> HUGE_SHIFT & 0x3f).filter(|size| *size > 1).unwrap_or(0)
    }
}

#[inline(always)]
fn writes_and_executes(prot: i32) -> bool {
    const BOTH: i32 = libc::PROT_WRITE | libc::PROT_EXEC;
    prot & BOTH == BOTH
}

/// Whether a call of mmap is one of the usual ones, which break no rule: a few comparisons in place of all of them.
/// The tests hold that this never accepts what `map` does not.
#[inline(always)]
fn is_usual(map: &Map, page: usize) -> bool {
    const PLAIN: i32 = libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_POPULATE | libc::MAP_STACK;
    const LARGE: usize = 1 << 46;
    let sharing = map.flags & !PLAIN;
    let of_file = map.fd >= 0 && map.offset as usize & (page - 1) == 0 && (map.offset as u64) < LARGE as u64;
    let of_none = map.fd == -1 && map.offset == 0;
    (sharing == libc::MAP_SHARED || sharing == libc::MAP_PRIVATE)
        && map.prot & !(libc::PROT_READ | libc::PROT_WRITE) == 0
        && map.length.wrapping_sub(1) < LARGE
        && if map.is_anonymous() { of_none } else { of_file }
}

/// The rules that the arguments of mmap break.
#[inline]
pub fn map(map: &Map, page: usize) -> RuleSet {
    if is_usual(map, page) { RuleSet::EMPTY } else { map_in_full(map, page) }
}

fn map_in_full(map: &Map, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let anonymous = map.is_anonymous();
    let kind = map.flags & MAP_TYPE;
    let fixed = map.flags & (libc::MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
    let validated = kind == libc::MAP_SHARED_VALIDATE;

    broken.put(map.offset as usize & (page - 1) != 0, Rule::MapOffsetAlign);
    broken.put(!anonymous && map.fd < 0, Rule::MapNoFd);
    broken.put(map.length == 0, Rule::MapZeroLength);
    broken.put(map.length > ADDRESS_LIMIT, Rule::MapLength);
    // Whole pages are mapped, so the last one must lie below the largest offset.
    let rounded = pages_of(map.length, page).unwrap_or(map.length);
    let end = (map.offset as u64).checked_add(rounded as u64);
    broken.put(!anonymous && end.is_none_or(|end| end > i64::MAX as u64), Rule::MapOffsetOverflow);
    broken.put(fixed && map.addr & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(kind == 0 || kind > MAP_DROPPABLE || kind > 3 && kind < MAP_DROPPABLE, Rule::MapSharingNone);
    broken.put(validated && map.flags & MAP_SYNC == 0, Rule::MapSharingBoth);
    broken.put(!validated && map.flags & MAP_SYNC != 0, Rule::MapSyncIgnored);
    broken.put(!validated && unknown_map_flags(map.flags) != 0, Rule::MapFlags);
    broken.put(map.prot & !(PROT_KNOWN | PROT_GROWS) != 0, Rule::MapProtBits);
    broken.put(map.flags & libc::MAP_HUGETLB == 0 && map.flags & HUGE_SIZE_BITS != 0, Rule::MapHugeIgnored);
    broken.put(anonymous && map.fd != -1, Rule::MapAnonFd);
    broken.put(anonymous && map.offset != 0, Rule::MapAnonOffset);
    broken.put(writes_and_executes(map.prot), Rule::MapWriteExec);
    broken
}

/// The rules that a mapping of an object of `size` bytes breaks.
pub fn map_of(map: &Map, size: u64, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    let end = (map.offset as u64).saturating_add(map.length as u64);
    // The rest of the object's last page can be touched: it reads as zero.
    let backed = pages_of(size as usize, page).map_or(u64::MAX, |size| size as u64);
    broken.put(size == 0 && map.length != 0, Rule::MapNeverSized);
    broken.put(size != 0 && end > backed, Rule::MapPastEnd);
    broken
}

/// Whether an address can be the start of a range, and whether the range stays in the address space.
#[inline(always)]
fn range(broken: &mut RuleSet, addr: usize, length: usize, page: usize, outside: Rule) {
    broken.put(addr & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(addr.checked_add(length).is_none_or(|end| end > ADDRESS_LIMIT), outside);
}

/// Whether the pages of a range reach past the end of all addresses.
#[inline(always)]
fn wraps(addr: usize, length: usize, page: usize) -> bool {
    addr.checked_add(length).is_none_or(|end| pages_of(end, page).is_none())
}

/// The rules that the arguments of munmap break.
#[inline]
pub fn unmap(addr: usize, length: usize, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(length == 0, Rule::UnmapZeroLength);
    range(&mut broken, addr, length, page, Rule::UnmapRange);
    broken
}

/// The rules that the arguments of mprotect break.
#[inline]
pub fn protect(addr: usize, length: usize, prot: i32, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    // Linux accepts an empty range anywhere, before it looks at the bits.
    broken.put(length != 0 && prot & !(PROT_KNOWN | PROT_GROWS) != 0, Rule::ProtBits);
    broken.put(prot & PROT_GROWS == PROT_GROWS, Rule::ProtBits);
    broken.put(writes_and_executes(prot), Rule::MapWriteExec);
    broken.put(addr & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(wraps(addr, length, page), Rule::RangeWraps);
    broken
}

/// The rules that the arguments of msync break.
#[inline]
pub fn sync(addr: usize, length: usize, flags: i32, page: usize) -> RuleSet {
    const KNOWN: i32 = libc::MS_ASYNC | libc::MS_SYNC | libc::MS_INVALIDATE;
    const BOTH: i32 = libc::MS_ASYNC | libc::MS_SYNC;
    let mut broken = RuleSet::EMPTY;
    let bad_flags = flags & !KNOWN != 0 || flags & BOTH == BOTH;
    broken.put(bad_flags, Rule::SyncFlags);
    broken.put(flags & BOTH == 0, Rule::SyncNoFlag);
    broken.put(addr & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(wraps(addr, length, page), Rule::RangeWraps);
    broken
}

/// The rules that the arguments of madvise break.
#[inline]
pub fn advise(addr: usize, length: usize, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(addr & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(wraps(addr, length, page), Rule::RangeWraps);
    broken
}

/// The rules that the arguments of mlock and munlock break. Linux rounds the address down to a page.
#[inline]
pub fn lock(addr: usize, length: usize, page: usize) -> RuleSet {
    let mut broken = RuleSet::EMPTY;
    broken.put(wraps(addr, length, page), Rule::RangeWraps);
    broken
}

/// The arguments of mremap.
#[derive(Clone, Copy)]
pub struct Remap {
    /// Where the mapping is.
    pub old: usize,
    /// Its size, in bytes.
    pub old_size: usize,
    /// The size it should have.
    pub new_size: usize,
    /// MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP.
    pub flags: i32,
    /// Where it should be; meaningful with MREMAP_FIXED and MREMAP_DONTUNMAP only.
    pub new: usize,
}

/// Leave the old range mapped (Linux 5.7).
pub const MREMAP_DONTUNMAP: i32 = 4;

/// The rules that the arguments of mremap break.
#[inline]
pub fn remap(remap: &Remap, page: usize) -> RuleSet {
    const KNOWN: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | MREMAP_DONTUNMAP;
    let mut broken = RuleSet::EMPTY;
    let flags = remap.flags;
    let moves = flags & libc::MREMAP_MAYMOVE != 0;
    let needs_move = flags & (libc::MREMAP_FIXED | MREMAP_DONTUNMAP) != 0;
    let rounded = |size: usize| pages_of(size, page).unwrap_or(0);
    let resizes = flags & MREMAP_DONTUNMAP != 0 && rounded(remap.old_size) != rounded(remap.new_size);
    broken.put(flags & !KNOWN != 0 || needs_move && !moves || resizes, Rule::RemapFlags);
    broken.put(remap.old & (page - 1) != 0, Rule::MapAddressAlign);
    broken.put(rounded(remap.new_size) == 0, Rule::RemapZeroLength);
    broken.put(flags & libc::MREMAP_FIXED != 0 && remap.new & (page - 1) != 0, Rule::MapAddressAlign);
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::{MAP_ANONYMOUS, MAP_FIXED, MAP_HUGETLB, MAP_PRIVATE, MAP_SHARED, MAP_SHARED_VALIDATE};
    use libc::{MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_EXEC, PROT_READ, PROT_WRITE};

    const PAGE: usize = 4096;

    fn ids(broken: RuleSet) -> Vec<&'static str> {
        broken.iter().map(|rule| rule.row().id).collect()
    }

    #[test]
    fn mapping() {
        let base = Map { addr: 0, length: PAGE, prot: PROT_READ, flags: MAP_SHARED, fd: 3, offset: 0 };
        let anon = Map { flags: MAP_SHARED | MAP_ANONYMOUS, fd: -1, ..base };
        let cases: [(Map, &[&str]); 22] = [
            (base, &[]),
            (anon, &[]),
            (Map { flags: MAP_SHARED_VALIDATE | MAP_SYNC, ..base }, &[]),
            (Map { flags: MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 21 << 26, ..anon }, &[]),
            (Map { offset: 1, ..base }, &["SHM-MAP-OFFSET-ALIGN"]),
            (Map { fd: -1, ..base }, &["SHM-MAP-NO-FD"]),
            (Map { length: 0, ..base }, &["SHM-MAP-ZERO-LENGTH"]),
            (Map { length: usize::MAX, ..anon }, &["SHM-MAP-LENGTH"]),
            (Map { offset: i64::MAX & !4095, ..base }, &["SHM-MAP-OFFSET-OVERFLOW"]),
            (Map { offset: -4096, ..base }, &["SHM-MAP-OFFSET-OVERFLOW"]),
            (Map { addr: 1, flags: MAP_SHARED | MAP_FIXED, ..base }, &["SHM-MAP-ADDRESS-ALIGN"]),
            (Map { addr: 1, ..base }, &[]),
            (Map { flags: 0, ..base }, &["SHM-MAP-SHARING-NONE"]),
            (Map { flags: MAP_SHARED | MAP_PRIVATE, ..base }, &["SHM-MAP-SHARING-BOTH"]),
            (Map { flags: 5, ..base }, &["SHM-MAP-SHARING-NONE"]),
            (Map { flags: MAP_SHARED | MAP_SYNC, ..base }, &["SHM-MAP-SYNC-IGNORED"]),
            (Map { flags: MAP_SHARED | 0x200000, ..base }, &["SHM-MAP-FLAGS"]),
            (Map { prot: 0x40, ..base }, &["SHM-MAP-PROT-BITS"]),
            (Map { flags: MAP_SHARED | 21 << 26, ..base }, &["SHM-MAP-HUGE-IGNORED"]),
            (Map { fd: 3, ..anon }, &["SHM-MAP-ANON-FD"]),
            (Map { offset: 4096, ..anon }, &["SHM-MAP-ANON-OFFSET"]),
            (Map { prot: PROT_WRITE | PROT_EXEC, ..base }, &["SHM-MAP-WRITE-EXEC"]),
        ];
        for (index, (given, expected)) in cases.into_iter().enumerate() {
            assert_eq!(ids(map(&given, PAGE)), expected, "case {index}");
        }
    }

    #[test]
    fn what_is_usual_breaks_no_rule() {
        let numbers =
            [0, 1, PAGE, PAGE + 1, (1 << 46) - 1, 1 << 46, (1 << 46) + 1, 1 << 62, i64::MAX as usize, usize::MAX];
        let mut usual = 0;
        for length in numbers {
            for offset in numbers.map(|number| number as i64) {
                for fd in [-2, -1, 0, 3, i32::MAX, i32::MIN] {
                    for prot in -1..16 {
                        for flags in (0..64).map(|low| low | 0x4000).chain((0..32).map(|bit| 1 << bit | 1)).chain(0..64)
                        {
                            let given = Map { addr: 0, length, prot, flags, fd, offset };
                            if is_usual(&given, PAGE) {
                                usual += 1;
                                assert!(
                                    map_in_full(&given, PAGE).is_empty(),
                                    "{length:#x} {offset:#x} {fd} {prot} {flags:#x}"
                                );
                            }
                        }
                    }
                }
            }
        }
        assert!(usual > 100);
    }

    #[test]
    fn mapping_against_the_size_of_the_object() {
        let two = Map { addr: 0, length: 2 * PAGE, prot: PROT_READ, flags: MAP_SHARED, fd: 3, offset: 0 };
        assert_eq!(ids(map_of(&two, 0, PAGE)), ["SHM-MAP-NEVER-SIZED"]);
        assert_eq!(ids(map_of(&two, 1, PAGE)), ["SHM-MAP-PAST-END"]);
        assert_eq!(ids(map_of(&two, PAGE as u64, PAGE)), ["SHM-MAP-PAST-END"]);
        assert!(map_of(&two, PAGE as u64 + 1, PAGE).is_empty(), "the tail of the last page is there");
        let second = Map { length: PAGE, offset: PAGE as i64, ..two };
        assert_eq!(ids(map_of(&second, PAGE as u64, PAGE)), ["SHM-MAP-PAST-END"]);
    }

    #[test]
    fn ranges() {
        assert!(unmap(PAGE, 1, PAGE).is_empty());
        assert_eq!(ids(unmap(1, 0, PAGE)), ["SHM-MAP-ADDRESS-ALIGN", "SHM-UNMAP-ZERO-LENGTH"]);
        assert_eq!(ids(unmap(PAGE, usize::MAX, PAGE)), ["SHM-UNMAP-RANGE"]);
        assert!(protect(PAGE, 0, PROT_READ, PAGE).is_empty());
        assert_eq!(ids(protect(PAGE, 1, 0x40, PAGE)), ["SHM-PROT-BITS"]);
        assert_eq!(ids(protect(PAGE, 1, PROT_WRITE | PROT_EXEC, PAGE)), ["SHM-MAP-WRITE-EXEC"]);
        assert!(lock(1, 1, PAGE).is_empty());
        assert_eq!(ids(lock(PAGE, usize::MAX, PAGE)), ["SHM-RANGE-WRAPS"]);
    }

    #[test]
    fn syncing() {
        let cases: [(i32, &[&str]); 6] = [
            (MS_SYNC, &[]),
            (MS_ASYNC | MS_INVALIDATE, &[]),
            (MS_SYNC | MS_ASYNC, &["SHM-SYNC-FLAGS"]),
            (MS_SYNC | 64, &["SHM-SYNC-FLAGS"]),
            (MS_INVALIDATE, &["SHM-SYNC-NO-FLAG"]),
            (0, &["SHM-SYNC-NO-FLAG"]),
        ];
        for (flags, expected) in cases {
            assert_eq!(ids(sync(PAGE, PAGE, flags, PAGE)), expected, "{flags}");
        }
    }

    #[test]
    fn moving() {
        let base = Remap { old: PAGE, old_size: PAGE, new_size: 2 * PAGE, flags: libc::MREMAP_MAYMOVE, new: 0 };
        assert!(remap(&base, PAGE).is_empty());
        assert_eq!(ids(remap(&Remap { flags: libc::MREMAP_FIXED, ..base }, PAGE)), ["SHM-REMAP-FLAGS"]);
        assert_eq!(ids(remap(&Remap { flags: 8, ..base }, PAGE)), ["SHM-REMAP-FLAGS"]);
        assert_eq!(ids(remap(&Remap { new_size: 0, ..base }, PAGE)), ["SHM-REMAP-ZERO-LENGTH"]);
        let stays = Remap { flags: libc::MREMAP_MAYMOVE | MREMAP_DONTUNMAP, ..base };
        assert_eq!(ids(remap(&stays, PAGE)), ["SHM-REMAP-FLAGS"]);
        assert!(remap(&Remap { new_size: PAGE, ..stays }, PAGE).is_empty());
    }
}
