//! A table of values behind tokens: what a handle of the C interface leads to.
//! Never moves or frees a slot, so that a stale, foreign or invented token is an answer and not a crash; a value is
//! dropped by the last user after it was closed. Takes no lock: safe in signal handlers and across forks.
//!
//! The state word of a slot: generation (high 32 bits), OPEN (bit 31), number of users (low 31 bits).
//!
//! | OPEN | users | meaning | who may move it where |
//! |---|---|---|---|
//! | 0 | 0 | free | its owner by the free list: to OPEN, after the value is written (release) |
//! | 1 | n | open | anyone: users up (`get`) and down; `close`: OPEN off, generation up, users as they are |
//! | 0 | n | closing | users down; the one that reaches 0 drops the value and frees the slot |
//!
//! A stale token may add itself to the users of a slot for a moment and take itself off again: it never passes the
//! comparison of generations, so it never sees the value.

use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::limits::page_size;

const OPEN: u64 = 1 << 31;
const USERS: u64 = OPEN - 1;
/// High bits of every token: no address of a program has them on x86-64 or aarch64, so that a token which is taken
/// for a pointer faults, and a pointer is never taken for a token.
const TAG: u64 = 0x534d << 48;
const TAG_BITS: u64 = 0xffff << 48;
const INDEX_BITS: u32 = 24;
const CHUNKS: usize = 18;
const FIRST_CHUNK: usize = 64;

/// One slot: its hot part lives for ever, its value from `insert` to the last user after `close`.
#[repr(align(256))]
struct Slot<H, T> {
    state: AtomicU64,
    /// The token while it is open, 0 otherwise: what `hot` compares.
    name: AtomicU64,
    /// Index plus one of the next free slot.
    next: AtomicU32,
    hot: H,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// Slots in chunks, each twice as long as the one before.
pub struct Table<H, T> {
    chunks: [AtomicPtr<Slot<H, T>>; CHUNKS],
    /// Slots that were ever used.
    length: AtomicU32,
    /// Low half: index plus one of the first free slot; high half: a count that makes each value of the word new.
    free: AtomicU64,
}

// SAFETY: slots are reached by shared references to atomics and to H; values are written before they are published
// and dropped when nobody can reach them any more.
unsafe impl<H: Sync, T: Send + Sync> Sync for Table<H, T> {}

/// A value in use.
pub struct Used<'a, H, T> {
    table: &'a Table<H, T>,
    slot: &'a Slot<H, T>,
    index: u32,
}

std::thread_local! {
    /// How many values this thread uses, of all tables together.
    static USES: Cell<usize> = const { Cell::new(0) };
}

impl<'a, H, T> Used<'a, H, T> {
    /// One user more, who was counted in the state already.
    fn counted(table: &'a Table<H, T>, slot: &'a Slot<H, T>, index: u32) -> Self {
        let _ = USES.try_with(|uses| uses.set(uses.get() + 1));
        Used { table, slot, index }
    }

    /// The part that lives for ever.
    pub fn hot(&self) -> &H {
        &self.slot.hot
    }
}

impl<H, T> Deref for Used<'_, H, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this user was counted while the slot was open, so the value is there until it is counted off.
        unsafe { (*self.slot.value.get()).assume_init_ref() }
    }
}

impl<H, T> Drop for Used<'_, H, T> {
    fn drop(&mut self) {
        let _ = USES.try_with(|uses| uses.set(uses.get().saturating_sub(1)));
        self.table.leave(self.index, self.slot);
    }
}

impl<H: Default, T> Default for Table<H, T> {
    fn default() -> Self {
        Table::new()
    }
}

impl<H: Default, T> Table<H, T> {
    /// An empty table.
    pub const fn new() -> Self {
        Table {
            chunks: [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS],
            length: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// Takes a slot, lets `fill` set its hot part and make its value, and opens it. `None` when there is no slot.
    pub fn insert<'a, E>(&'a self, fill: impl FnOnce(&'a H) -> Result<T, E>) -> Option<Result<u64, E>> {
        let (index, slot) = self.take()?;
        let value = match fill(&slot.hot) {
            Ok(value) => value,
            Err(error) => {
                self.give(index, slot);
                return Some(Err(error));
            }
        };
        // SAFETY: a slot from the free list is this thread's alone until it is opened.
        unsafe { (*slot.value.get()).write(value) };
        // Release: whoever sees OPEN sees the value and the hot part.
        let before = slot.state.fetch_or(OPEN, Ordering::Release);
        let token = token(index, before);
        slot.name.store(token, Ordering::Release);
        Some(Ok(token))
    }

    /// The value of a token, counted as in use; `None` when the token is none, or its value was closed.
    pub fn get(&self, token: u64) -> Option<Used<'_, H, T>> {
        let (index, slot) = self.slot_of(token)?;
        // Acquire: pairs with the release in `insert`.
        let before = slot.state.fetch_add(1, Ordering::Acquire);
        let used = Used::counted(self, slot, index);
        if before & OPEN == 0 || self::token(index, before) != token { None } else { Some(used) }
    }

    /// The hot part of a token whose value is open, without counting: for paths that cannot pay for it. What is read
    /// there may be of a later value if the token is closed meanwhile.
    #[inline(always)]
    pub fn hot(&self, token: u64) -> Option<&H> {
        let (_, slot) = self.slot_of(token)?;
        if slot.name.load(Ordering::Acquire) == token { Some(&slot.hot) } else { None }
    }

    /// Closes a token; the value is dropped when its last user is done. False when it is none, or closed already.
    pub fn close(&self, token: u64) -> bool {
        let Some(used) = self.get(token) else { return false };
        let mut state = used.slot.state.load(Ordering::Relaxed);
        loop {
            if state & OPEN == 0 || self::token(used.index, state) != token {
                return false;
            }
            let closed = (state & !OPEN).wrapping_add(1 << 32);
            match used.slot.state.compare_exchange_weak(state, closed, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    used.slot.name.store(0, Ordering::Relaxed);
                    return true;
                }
                Err(now) => state = now,
            }
        }
    }

    /// Shows every open value to `each`.
    pub fn for_each(&self, mut each: impl FnMut(&H, &T)) {
        for index in 0..self.length.load(Ordering::Acquire) {
            let Some(slot) = self.slot(index) else { return };
            if slot.state.load(Ordering::Relaxed) & OPEN == 0 {
                continue;
            }
            let open = slot.state.fetch_add(1, Ordering::Acquire) & OPEN != 0;
            let used = Used::counted(self, slot, index);
            if open {
                each(used.hot(), &used);
            }
        }
    }

    /// In a forked child, where this thread alone goes on: the users that other threads were are gone, and what was
    /// closed and waited for them is dropped. A thread that forks in the middle of its own use cannot tell its count
    /// from theirs, and changes nothing.
    pub fn forget_other_threads(&self) {
        if USES.try_with(Cell::get).unwrap_or(1) != 0 {
            return;
        }
        for index in 0..self.length.load(Ordering::Acquire) {
            let Some(slot) = self.slot(index) else { return };
            let before = slot.state.fetch_and(!USERS, Ordering::AcqRel);
            if before & OPEN == 0 && before & USERS != 0 {
                slot.state.fetch_add(1, Ordering::Relaxed);
                self.leave(index, slot);
            }
        }
    }

    /// Shows the hot part of every slot that was ever used to `each`, with whether its value is open, until it says
    /// that it has found what it looks for. For signal handlers and forked children: counts nothing and changes
    /// nothing.
    pub fn find_hot(&self, mut each: impl FnMut(&H, bool) -> bool) -> bool {
        let slots = (0..self.length.load(Ordering::Acquire)).filter_map(|index| self.slot(index));
        slots.into_iter().any(|slot| each(&slot.hot, slot.state.load(Ordering::Acquire) & OPEN != 0))
    }

    #[inline(always)]
    fn slot_of(&self, token: u64) -> Option<(u32, &Slot<H, T>)> {
        if token & TAG_BITS != TAG {
            return None;
        }
        let index = token as u32 & ((1 << INDEX_BITS) - 1);
        if index >= self.length.load(Ordering::Acquire) {
            return None;
        }
        Some((index, self.slot(index)?))
    }

    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot<H, T>> {
        let (chunk, place) = place(index);
        let start = NonNull::new(self.chunks.get(chunk)?.load(Ordering::Acquire))?;
        // SAFETY: a chunk has room for every place of its number, all of its slots were made before it was published,
        // and it is never freed.
        Some(unsafe { start.add(place).as_ref() })
    }

    /// A slot of the free list, or a new one.
    fn take(&self) -> Option<(u32, &Slot<H, T>)> {
        let mut head = self.free.load(Ordering::Acquire);
        while head as u32 != 0 {
            let index = head as u32 - 1;
            let slot = self.slot(index)?;
            // The count in the high half changes with every move, so that a slot which left and came back is noticed.
            let next = (head >> 32).wrapping_add(1) << 32 | u64::from(slot.next.load(Ordering::Relaxed));
            match self.free.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((index, slot)),
                Err(now) => head = now,
            }
        }
        let mut index = self.length.load(Ordering::Relaxed);
        loop {
            self.make_chunk(place(index).0)?;
            match self.length.compare_exchange_weak(index, index + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some((index, self.slot(index)?)),
                Err(now) => index = now,
            }
        }
    }

    fn make_chunk(&self, chunk: usize) -> Option<()> {
        let place = self.chunks.get(chunk)?;
        if !place.load(Ordering::Acquire).is_null() {
            return Some(());
        }
        let slots = FIRST_CHUNK << chunk;
        let bytes = (slots * size_of::<Slot<H, T>>()).next_multiple_of(page_size());
        let start = super::pages::reserve(bytes)?.cast::<Slot<H, T>>();
        for index in 0..slots {
            // SAFETY: the pages are new, ours and long enough.
            unsafe {
                start.add(index).write(Slot {
                    state: AtomicU64::new(0),
                    name: AtomicU64::new(0),
                    next: AtomicU32::new(0),
                    hot: H::default(),
                    value: UnsafeCell::new(MaybeUninit::uninit()),
                });
            }
        }
        if place.compare_exchange(core::ptr::null_mut(), start.as_ptr(), Ordering::AcqRel, Ordering::Acquire).is_err() {
            // Another thread was first.
            let _ = super::memory::munmap(start.as_ptr() as usize, bytes);
        }
        Some(())
    }
}

impl<H, T> Table<H, T> {
    /// Counts a user off. The last one of a closed slot drops the value.
    fn leave(&self, index: u32, slot: &Slot<H, T>) {
        // Acquire and release: the one that drops the value does so after all others are done with it.
        let before = slot.state.fetch_sub(1, Ordering::AcqRel);
        if before & OPEN != 0 || before & USERS != 1 {
            return;
        }
        // A stale token may come and go on a closed slot: the generation tells whether the value is still there, and
        // only one can move the slot on.
        let closed = before - 1;
        if closed >> 32 & 1 == 0
            || slot
                .state
                .compare_exchange(closed, closed.wrapping_add(1 << 32), Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        // SAFETY: closed and without users, so nobody reaches the value, and this thread alone moved the slot on.
        unsafe { (*slot.value.get()).assume_init_drop() };
        self.give(index, slot);
    }

    fn give(&self, index: u32, slot: &Slot<H, T>) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            let first = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
            // Release: whoever takes the slot sees the end of its last use.
            match self.free.compare_exchange_weak(head, first, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The token of a slot in this state. Generations are even while a value is open or none is there, and odd from its
/// closing to its end.
#[inline(always)]
fn token(index: u32, state: u64) -> u64 {
    TAG | (state >> 33 & 0xff_ffff) << INDEX_BITS | u64::from(index)
}

/// The chunk of an index and the place in it.
#[inline(always)]
fn place(index: u32) -> (usize, usize) {
    if (index as usize) < FIRST_CHUNK {
        return (0, index as usize);
    }
    let number = index as usize / FIRST_CHUNK + 1;
    let chunk = number.ilog2() as usize;
    (chunk, index as usize - ((1 << chunk) - 1) * FIRST_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    type Values = Table<AtomicU64, Arc<u32>>;

    #[test]
    fn places_follow_each_other() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn a_token_leads_to_its_value_until_it_is_closed() {
        let table = Values::new();
        let value = Arc::new(7);
        let add = || table.insert(|_| Ok::<_, ()>(value.clone())).expect("there is room").expect("it was made");
        let tokens: Vec<u64> = (0..1000).map(|_| add()).collect();
        assert_eq!(Arc::strong_count(&value), 1001);
        let used = table.get(tokens[5]).expect("it is open");
        assert!(table.close(tokens[5]) && !table.close(tokens[5]));
        assert!(table.get(tokens[5]).is_none() && table.hot(tokens[5]).is_none());
        assert_eq!((**used, Arc::strong_count(&value)), (7, 1001));
        drop(used);
        assert_eq!(Arc::strong_count(&value), 1000);
        let again = add();
        assert_ne!(again, tokens[5]);
        assert!(table.get(tokens[5]).is_none() && table.get(again).is_some());
        for foreign in [0, 1, u64::MAX, TAG, TAG | 0xff_ffff, 0x7fff_0000_1000] {
            assert!(foreign == tokens[0] || table.get(foreign).is_none(), "{foreign:#x}");
        }
        let failed = table.insert(|_| Err(3));
        assert!(matches!(failed, Some(Err(3))));
    }

    #[test]
    fn threads_that_come_and_go_drop_each_value_once() {
        let table = Values::new();
        let value = Arc::new(7);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut old = Vec::new();
                    for _ in 0..20_000 {
                        let token = table.insert(|_| Ok::<_, ()>(value.clone())).expect("room").expect("made");
                        let used = table.get(token).expect("it is open");
                        old.push(token);
                        let stale = old[old.len() / 2];
                        assert!(stale == token || table.get(stale).is_none());
                        assert!(table.close(token));
                        assert_eq!(**used, 7);
                    }
                });
            }
        });
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
