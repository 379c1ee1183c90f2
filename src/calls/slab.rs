//! A table of records found by a hash, in memory of its own: what the ledger keeps objects, segments and keys in.
//! Never grows beyond the bound it was made with, and never moves a record: an index stays good until its removal.
//! Next: `ledger.rs`.

use crate::sys::pages::Array;

const BUCKETS: usize = 256;

/// Index plus one of a slot; 0 for none.
type Link = u32;

#[derive(Clone, Copy, Default)]
struct Slot<T> {
    next: Link,
    used: bool,
    value: T,
}

/// Up to `MOST` records.
pub struct Slab<T, const MOST: usize> {
    slots: Array<Slot<T>>,
    buckets: [Link; BUCKETS],
    free: Link,
    count: usize,
}

impl<T: Copy + Default, const MOST: usize> Slab<T, MOST> {
    /// An empty table.
    pub const fn new() -> Self {
        Slab { slots: Array::new(), buckets: [0; BUCKETS], free: 0, count: 0 }
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a record; `None` when the bound or memory is reached.
    pub fn insert(&mut self, hash: u32, value: T) -> Option<u32> {
        let index = match self.free {
            0 => {
                let index = self.slots.as_slice().len();
                if index >= MOST || !self.slots.push(Slot::default()) {
                    return None;
                }
                index as u32
            }
            link => link - 1,
        };
        let bucket = hash as usize % BUCKETS;
        let next = self.buckets[bucket];
        let slot = self.slots.as_mut_slice().get_mut(index as usize)?;
        if self.free != 0 {
            self.free = slot.next;
        }
        *slot = Slot { next, used: true, value };
        self.buckets[bucket] = index + 1;
        self.count += 1;
        Some(index)
    }

    /// The newest record with this hash that `wanted` accepts.
    #[inline]
    pub fn find(&self, hash: u32, mut wanted: impl FnMut(&T) -> bool) -> Option<u32> {
        let mut link = self.buckets[hash as usize % BUCKETS];
        while let Some(slot) = self.slots.as_slice().get((link as usize).wrapping_sub(1)) {
            if wanted(&slot.value) {
                return Some(link - 1);
            }
            link = slot.next;
        }
        None
    }

    /// A record by its index.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.as_slice().get(index as usize).filter(|slot| slot.used).map(|slot| &slot.value)
    }

    /// A record by its index, to be changed.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.as_mut_slice().get_mut(index as usize).filter(|slot| slot.used).map(|slot| &mut slot.value)
    }

    /// Removes a record that was added with this hash.
    pub fn remove(&mut self, hash: u32, index: u32) {
        let bucket = hash as usize % BUCKETS;
        let slots = self.slots.as_mut_slice();
        let mut before: Link = 0;
        let mut link = self.buckets[bucket];
        while link != 0 && link != index + 1 {
            before = link;
            link = slots.get(link as usize - 1).map_or(0, |slot| slot.next);
        }
        if link == 0 {
            return;
        }
        let Some(slot) = slots.get_mut(index as usize) else {
            return;
        };
        let next = slot.next;
        slot.used = false;
        slot.next = self.free;
        self.free = index + 1;
        self.count -= 1;
        match before {
            0 => self.buckets[bucket] = next,
            before => {
                if let Some(slot) = slots.get_mut(before as usize - 1) {
                    slot.next = next;
                }
            }
        }
    }

    /// Every record with its index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let slots = self.slots.as_slice().iter().enumerate();
        slots.filter(|(_, slot)| slot.used).map(|(index, slot)| (index as u32, &slot.value))
    }
}

impl<T: Copy + Default, const MOST: usize> Default for Slab<T, MOST> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_as_a_map() {
        let mut slab = Slab::<u64, 1000>::new();
        let mut model = std::collections::BTreeMap::new();
        for step in 0..4000u64 {
            let key = step.wrapping_mul(2654435761) % 700;
            let hash = (key % 97) as u32;
            match slab.find(hash, |value| *value == key) {
                Some(index) => {
                    assert!(model.remove(&key).is_some());
                    slab.remove(hash, index);
                }
                None => {
                    assert!(model.insert(key, ()).is_none());
                    assert!(slab.insert(hash, key).is_some());
                }
            }
            assert_eq!(slab.count(), model.len());
        }
        let mut left: Vec<_> = slab.iter().map(|(_, key)| *key).collect();
        left.sort_unstable();
        assert_eq!(left, model.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn the_bound_holds() {
        let mut slab = Slab::<u32, 3>::new();
        assert!((0..3).all(|value| slab.insert(value, value).is_some()));
        assert_eq!(slab.insert(3, 3), None);
        slab.remove(1, 1);
        assert_eq!(slab.insert(3, 3), Some(1));
    }
}
