//! The address ranges that this process mapped and attached, in order: sorted blocks under one sorted index.
//! Never overlaps within itself: an insertion cuts away what it covers, as the kernel does. Bounded by `MOST`.
//! Looking up, adding and removing cost two binary searches and one short move. Next: `ledger.rs`.

use crate::sys::pages::Array;

/// The most ranges that are kept; the kernel's own default bound, vm.max_map_count, is 65530.
const MOST: usize = 1 << 20;
const PER_BLOCK: usize = 31;

/// What lies in a range.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Memory without a file.
    #[default]
    Anonymous,
    /// Anonymous memory mapped PROT_NONE: address space set aside, meant to be mapped over.
    Reservation,
    /// A file or object; `owner` is the ledger's index of it plus one, 0 when it is not known.
    File,
    /// A System V segment; `owner` is its id.
    Segment,
}

/// One range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Its first address.
    pub start: u64,
    /// The address after its last.
    pub end: u64,
    /// Where in the file it starts.
    pub offset: u64,
    /// See `content`.
    pub owner: u32,
    /// What it is.
    pub content: Content,
}

#[derive(Clone, Copy, Default)]
struct Block {
    length: u32,
    next_free: u32,
    items: [Range; PER_BLOCK],
}

#[derive(Clone, Copy, Default)]
struct Top {
    first: u64,
    block: u32,
}

/// All ranges.
pub struct Ranges {
    blocks: Array<Block>,
    order: Array<Top>,
    /// Index plus one of the first unused block; 0 for none.
    free: u32,
    count: usize,
    /// The position of the block that was last changed: a hint, checked before it is used.
    last: usize,
}

impl Ranges {
    /// No ranges.
    pub const fn new() -> Self {
        Ranges { blocks: Array::new(), order: Array::new(), free: 0, count: 0, last: 0 }
    }

    /// How many ranges there are.
    pub fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn items(&self, position: usize) -> &[Range] {
        let block = self.order.as_slice().get(position).and_then(|top| self.blocks.as_slice().get(top.block as usize));
        block.and_then(|block| block.items.get(..block.length as usize)).unwrap_or_default()
    }

    #[inline(always)]
    fn block_mut(&mut self, position: usize) -> Option<&mut Block> {
        let block = self.order.as_slice().get(position)?.block;
        self.blocks.as_mut_slice().get_mut(block as usize)
    }

    /// The position of the last block that begins at or before `addr`. The block that was last changed is tried first:
    /// what is mapped is often unmapped next.
    #[inline(always)]
    fn position(&self, addr: u64) -> usize {
        let order = self.order.as_slice();
        let begins = |position: usize| order.get(position).is_none_or(|top| top.first > addr);
        if !begins(self.last) && begins(self.last + 1) {
            return self.last;
        }
        order.partition_point(|top| top.first <= addr).saturating_sub(1)
    }

    /// The place of the first range that ends after `addr`.
    #[inline]
    fn first_after(&self, addr: u64) -> Option<(usize, usize)> {
        let position = self.position(addr);
        let items = self.items(position);
        let index = items.partition_point(|range| range.end <= addr);
        if index < items.len() {
            return Some((position, index));
        }
        (position + 1 < self.order.as_slice().len()).then_some((position + 1, 0))
    }

    /// The first range that shares an address with `start..end`.
    #[inline]
    pub fn first_in(&self, start: u64, end: u64) -> Option<Range> {
        let (position, index) = self.first_after(start)?;
        self.items(position).get(index).copied().filter(|range| range.start < end)
    }

    /// Every range in order.
    pub fn iter(&self) -> impl Iterator<Item = &Range> {
        (0..self.order.as_slice().len()).flat_map(|position| self.items(position))
    }

    /// Puts a range in the place of whatever it covers; `gone` is told each piece that was there. False when the
    /// bound or memory is reached.
    #[inline]
    pub fn replace(&mut self, range: Range, gone: impl FnMut(Range)) -> bool {
        if self.count >= MOST || range.start >= range.end {
            return false;
        }
        let position = self.position(range.start);
        let items = self.items(position);
        let index = items.partition_point(|other| other.end <= range.start);
        let next = items.get(index).or_else(|| self.items(position + 1).first());
        if next.is_some_and(|next| next.start < range.end) {
            self.remove(range.start, range.end, gone);
            return self.insert(range);
        }
        self.insert_at(position, index, range)
    }

    /// Adds a range where there is none; false when the bound or memory is reached.
    fn insert(&mut self, range: Range) -> bool {
        let position = self.position(range.start);
        let index = self.items(position).partition_point(|other| other.start < range.start);
        self.insert_at(position, index, range)
    }

    /// Adds a range before the one at this place of this block.
    #[inline(always)]
    fn insert_at(&mut self, position: usize, index: usize, range: Range) -> bool {
        match self.block_mut(position) {
            Some(block) if (block.length as usize) < PER_BLOCK => {
                let length = block.length as usize;
                if index < length {
                    block.items.copy_within(index..length, index + 1);
                }
                block.items[index] = range;
                block.length += 1;
                self.last = position;
                if index == 0 {
                    self.order.as_mut_slice()[position].first = range.start;
                }
                self.count += 1;
                true
            }
            _ => self.make_room(position) && self.insert(range),
        }
    }

    /// Makes the first block, or two of a full one.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, position: usize) -> bool {
        if !self.order.as_slice().is_empty() {
            return self.split(position);
        }
        let Some(block) = self.new_block() else { return false };
        self.order.push(Top { first: 0, block })
    }

    /// Takes `start..end` out, cutting ranges that reach beyond it; `gone` is told each piece that was taken.
    #[inline]
    pub fn remove(&mut self, start: u64, end: u64, mut gone: impl FnMut(Range)) {
        while let Some((position, index)) = self.first_after(start) {
            let Some(range) = self.items(position).get(index).copied() else {
                return;
            };
            if range.start >= end {
                return;
            }
            self.take(position, index);
            let cut_start = range.start.max(start);
            let cut_end = range.end.min(end);
            gone(Range { start: cut_start, end: cut_end, offset: range.offset + (cut_start - range.start), ..range });
            if range.start < start {
                self.insert(Range { end: start, ..range });
            }
            if range.end > end {
                self.insert(Range { start: end, offset: range.offset + (end - range.start), ..range });
            }
            if range.end >= end {
                return;
            }
        }
    }

    fn take(&mut self, position: usize, index: usize) {
        let Some(block) = self.block_mut(position) else {
            return;
        };
        let length = block.length as usize;
        if index + 1 < length {
            block.items.copy_within(index + 1..length, index);
        }
        block.length -= 1;
        let first = block.items[0].start;
        self.count -= 1;
        self.last = position;
        // The last block stays, empty, so that one mapping that comes and goes does not make it anew each time.
        if length == 1 && self.order.as_slice().len() > 1 {
            let freed = self.order.as_slice()[position].block;
            self.order.remove(position);
            self.blocks.as_mut_slice()[freed as usize].next_free = self.free;
            self.free = freed + 1;
        } else if index == 0 {
            self.order.as_mut_slice()[position].first = first;
        }
    }

    fn new_block(&mut self) -> Option<u32> {
        if self.free != 0 {
            let block = self.free - 1;
            self.free = self.blocks.as_slice().get(block as usize)?.next_free;
            self.blocks.as_mut_slice()[block as usize].length = 0;
            return Some(block);
        }
        let block = self.blocks.as_slice().len() as u32;
        self.blocks.push(Block::default()).then_some(block)
    }

    /// Moves the upper half of a full block into a new one.
    fn split(&mut self, position: usize) -> bool {
        const HALF: usize = PER_BLOCK / 2;
        let Some(new) = self.new_block() else {
            return false;
        };
        let old = self.order.as_slice()[position].block as usize;
        let upper = self.blocks.as_slice()[old].items;
        if !self.order.insert(position + 1, Top { first: upper[HALF].start, block: new }) {
            self.blocks.as_mut_slice()[new as usize].next_free = self.free;
            self.free = new + 1;
            return false;
        }
        let blocks = self.blocks.as_mut_slice();
        blocks[new as usize].items[..PER_BLOCK - HALF].copy_from_slice(&upper[HALF..]);
        blocks[new as usize].length = (PER_BLOCK - HALF) as u32;
        blocks[old].length = HALF as u32;
        true
    }
}

impl Default for Ranges {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plainest model: one entry a page.
    fn model_of(ranges: &Ranges) -> Vec<(u64, u64, u32)> {
        let pages = ranges.iter().flat_map(|range| {
            (range.start..range.end).map(move |page| (page, range.offset + (page - range.start), range.owner))
        });
        pages.collect()
    }

    #[test]
    fn it_behaves_as_an_array_of_pages() {
        const PAGES: u64 = 3000;
        let mut ranges = Ranges::new();
        let mut model = vec![None; PAGES as usize];
        let mut seed = 1u64;
        let mut next = |bound: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % bound
        };
        for step in 0..20_000u32 {
            let start = next(PAGES);
            let end = (start + 1 + next(12)).min(PAGES);
            let mut gone = 0;
            let expected = (start..end).filter(|page| model[*page as usize].is_some()).count() as u64;
            ranges.remove(start, end, |piece| gone += piece.end - piece.start);
            assert_eq!(gone, expected);
            (start..end).for_each(|page| model[page as usize] = None);
            if next(3) != 0 && start < end {
                assert_eq!(ranges.first_in(start, end), None);
                let range = Range { start, end, offset: start * 7, owner: step, content: Content::File };
                assert!(ranges.replace(range, |_| panic!("there was something")));
                (start..end).for_each(|page| model[page as usize] = Some((page, start * 7 + (page - start), step)));
            }
            if step % 500 == 0 {
                assert_eq!(model_of(&ranges), model.iter().flatten().copied().collect::<Vec<_>>());
                assert_eq!(ranges.count(), ranges.iter().count());
            }
        }
        ranges.remove(0, PAGES, |_| {});
        assert_eq!((ranges.count(), ranges.iter().count()), (0, 0));
    }
}
