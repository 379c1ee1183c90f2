//! What a thread holds, as the kernel sees it: when the thread dies, however it dies, the kernel walks its list of
//! robust futexes and marks each word that bears its thread id (FUTEX_OWNER_DIED). glibc has registered the list's head
//! for its own robust mutexes; what is held here hangs on the same list, behind an anchor of this thread's own:
//!
//! ```text
//! head → nodes of glibc → anchor → latest → … → first → head
//! ```
//!
//! glibc adds and removes at the front and never looks behind the anchor. Where a plugin brings a copy of this library,
//! the copy that a thread uses later hangs what it holds before the anchor of the other one. The nodes behind it lie in
//! shared memory, where the kernel finds them by addresses; this side keeps the same addresses in private memory and
//! never reads a pointer from a node, so that no peer can lead it anywhere. Never waits. Next: `sync/claim.rs`.
//!
//! A word is held from the moment at which it bears the id. From before that until it hangs on the list, and from
//! before it leaves the list until the word is free, `pending` names it, and the kernel looks there as well. Between
//! the two it may go on naming it, until something else is taken or given up: that saves two writes, which a lock would
//! wait for.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use super::futex::Word;
use super::{Sys, check, memory, pages, process};
use crate::error::Errno;

/// From a word to its node, as glibc registered it: the distance in a pthread_mutex_t.
pub const NODE: usize = 32;
/// So many are kept in the seat itself.
const NEAR: u32 = 16;
/// So many in pages of their own, from the first time that there are more. The kernel follows a list no further than
/// 2048 nodes (ROBUST_LIST_LIMIT), and some may be glibc's: what lies behind would not be told.
const FAR: u32 = 2000;
/// Pages of which this thread knows that it may write to them.
const PAGES: usize = 4;
const PAGE_BITS: u32 = 12;

/// struct robust_list_head
#[repr(C)]
struct Head {
    first: Cell<usize>,
    /// From a node to its word.
    distance: isize,
    pending: Cell<usize>,
}

/// A thread's place. All zeros is a thread that has not sat down.
#[repr(C, align(64))]
pub struct Seat {
    id: Cell<u32>,
    count: Cell<u32>,
    hint: Cell<u32>,
    room: Cell<u32>,
    head: Cell<*const Head>,
    /// What is held, from index 1 on; before the first stands what follows it on the list: the head, or the anchor of
    /// another copy of this library.
    nodes: Cell<*const Cell<usize>>,
    /// From `NO_SPACE` to the pid namespace of the process in which this thread sat down: see `SPACE`.
    space: Cell<isize>,
    /// The lock that this thread has read last, and its slot: see `sync/object.rs`.
    read: Cell<usize>,
    slot: Cell<Word>,
    /// The kernel takes the anchor for a node, and looks for its word here: zero, which bears nobody's id. The last of
    /// these is where glibc writes its link to the node before.
    nobody: [Cell<u64>; 4],
    anchor: Cell<usize>,
    pages: [Cell<usize>; PAGES],
    near: [Cell<usize>; NEAR as usize + 1],
}

const _: () = assert!(core::mem::offset_of!(Seat, anchor) - core::mem::offset_of!(Seat, nobody) == NODE);

/// This thread's seat: a thread-local variable, reached by its TLS descriptor. The call of the general model costs as
/// much as a lock; the initial-exec model costs nothing, but a library that has it cannot be loaded by dlopen when its
/// variables are larger than the room that the loader keeps. A descriptor is two words, a function and its argument.
/// Where the variable has a fixed place in every thread's block, as in all that is linked at the start, the argument is
/// that place, a distance below the thread pointer, and negative; otherwise it is an address, and the function is
/// called. A linker that knows the place writes it itself instead of the descriptor's address: that is negative as
/// well.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[inline(always)]
pub fn seat() -> &'static Seat {
    let place: isize;
    // SAFETY: reads a descriptor of this library, which the loader has filled in: the library is linked to be bound at once.
    unsafe {
        core::arch::asm!(
            "lea rax, [rip + __shmkit_seat@TLSDESC]",
            "test rax, rax",
            "js 2f",
            "mov rax, qword ptr [rax + 8]",
            "2:",
            out("rax") place,
            options(pure, readonly, nostack)
        );
    }
    if place >= 0 {
        return far_seat();
    }
    let seat: *const Seat;
    // SAFETY: the thread pointer, and a variable at a fixed distance from it; see `far_seat`.
    unsafe {
        core::arch::asm!("mov {0}, qword ptr fs:[0]", out(reg) seat, options(pure, readonly, nostack, preserves_flags));
        &*seat.byte_offset(place)
    }
}

/// The same by the descriptor's function.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[cold]
#[inline(never)]
fn far_seat() -> &'static Seat {
    let seat: *const Seat;
    // SAFETY: the call of a descriptor, in the two instructions that linkers know: it takes and gives its value in rax and
    // changes no other register. The variable is all zeros in a new thread, as large and aligned as a seat, and lives
    // as long as the thread, which alone has its address: a seat is not Sync.
    unsafe {
        core::arch::asm!(
            "lea rax, [rip + __shmkit_seat@TLSDESC]",
            "call qword ptr [rax + __shmkit_seat@TLSCALL]",
            "add rax, qword ptr fs:[0]",
            out("rax") seat,
        );
        &*seat
    }
}

#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
core::arch::global_asm!(
    ".pushsection .tbss,\"awT\",@nobits",
    ".balign 64",
    ".globl __shmkit_seat",
    ".hidden __shmkit_seat",
    ".type __shmkit_seat,@object",
    ".size __shmkit_seat,{size}",
    "__shmkit_seat:",
    ".zero {size}",
    ".popsection",
    size = const size_of::<Seat>(),
);

#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
pub fn seat() -> &'static Seat {
    std::thread_local! {
        static SEAT: Seat = const {
            Seat {
                id: Cell::new(0),
                count: Cell::new(0),
                hint: Cell::new(0),
                room: Cell::new(0),
                head: Cell::new(core::ptr::null()),
                nodes: Cell::new(core::ptr::null()),
                space: Cell::new(0),
                read: Cell::new(0),
                slot: Cell::new(Word::NOWHERE),
                nobody: [const { Cell::new(0) }; 4],
                anchor: Cell::new(0),
                pages: [const { Cell::new(0) }; PAGES],
                near: [const { Cell::new(0) }; NEAR as usize + 1],
            }
        };
    }
    // SAFETY: it has no destructor and lives as long as the thread, which alone has its address.
    SEAT.with(|seat| unsafe { &*core::ptr::from_ref(seat) })
}

impl Seat {
    /// This thread's id; 0 when it has not sat down.
    #[inline(always)]
    pub fn id(&self) -> u32 {
        self.id.get()
    }

    /// The pid namespace that the id is of, as `sit` was told; 0 when this process is another one than that.
    #[inline(always)]
    pub fn space(&self) -> u32 {
        let place = (&raw const NO_SPACE as isize).wrapping_add(self.space.get());
        // SAFETY: a place in a page of this process, or the zero that stands for none; neither is ever freed.
        unsafe { &*(place as *const AtomicU32) }.load(Ordering::Relaxed)
    }

    /// A number that differs between most threads.
    #[inline(always)]
    pub fn hint(&self) -> u32 {
        self.hint.get()
    }

    /// Chooses the number.
    pub fn set_hint(&self, hint: u32) {
        self.hint.set(hint);
    }

    /// Whether it is known that the page of an address can be written. NULL's is not.
    #[inline(always)]
    pub fn knows(&self, address: usize) -> bool {
        let page = address >> PAGE_BITS;
        self.pages[page % PAGES].get() == page + 1
    }

    /// Notes that the page of an address can be written.
    pub fn learn(&self, address: usize) {
        let page = address >> PAGE_BITS;
        self.pages[page % PAGES].set(page + 1);
    }

    /// The slot of the lock that this thread has read last, if it is this one.
    #[inline(always)]
    pub fn slot_of(&self, lock: usize) -> Option<Word> {
        let slot = self.slot.get();
        (self.read.get() == lock && slot != Word::NOWHERE).then_some(slot)
    }

    /// Notes it.
    pub fn note_slot(&self, lock: usize, slot: Word) {
        self.read.set(lock);
        self.slot.set(slot);
    }

    /// Sits down: finds the list and puts the anchor behind what is glibc's. Of a thread that sits nothing changes.
    #[cold]
    pub fn sit(&self, space: u32) -> Sys<()> {
        if self.is_seated() {
            return Ok(());
        }
        // A child that was made behind the fork handlers has its parent's seat.
        self.stand_up();
        watch_forks();
        let (mut head, mut length) = (core::ptr::null::<Head>(), 0usize);
        // SAFETY: both places are writable.
        check(unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut length) } as i32)?;
        // SAFETY: not null, it is the head that the C library registered for this thread, which keeps it until it ends.
        let Some(list) = (unsafe { head.as_ref() }) else { return Err(Errno(libc::ENOSYS)) };
        if list.distance != -(NODE as isize) {
            return Err(Errno(libc::ENOTSUP));
        }
        let place = place_of(space)?;
        let id = process::tid() as u32;
        let anchor = self.anchor.as_ptr() as usize;
        let mut last = &list.first;
        let end = loop {
            let next = last.get() & !1;
            if next == anchor {
                // It sat down before, and came no further.
                break self.node(0).get();
            }
            // Of glibc there are only mutexes that this very thread holds. The first node that is none is the anchor of
            // another copy of this library, which stays where it is and leads to the head: this one goes before it.
            if next == head as usize || !bears(next, id) {
                break next;
            }
            // SAFETY: a node on the list, which leads to the next one or to the head; bit 0 is a mark of glibc's.
            last = unsafe { &*(next as *const Cell<usize>) };
        };
        self.anchor.set(end);
        self.count.set(0);
        self.head.set(head);
        if self.room.get() == 0 {
            self.nodes.set(self.near.as_ptr());
            self.room.set(NEAR);
        }
        self.node(0).set(end);
        compiler_fence(Ordering::SeqCst);
        last.set(anchor);
        self.space.set((place as isize).wrapping_sub(&raw const NO_SPACE as isize));
        self.id.set(id);
        Ok(())
    }

    /// Whether this thread has sat down, in this process.
    pub fn is_seated(&self) -> bool {
        self.id.get() != 0 && self.space() != 0
    }

    /// Forgets everything: this is another thread than the one that sat down.
    fn stand_up(&self) {
        self.id.set(0);
        self.space.set(0);
        self.count.set(0);
        self.pages.iter().for_each(|page| page.set(0));
        // None, so that nothing is taken before this thread has sat down.
        self.room.set(0);
        self.note_slot(0, Word::NOWHERE);
        // SAFETY: the head of this thread's list, which in a forked child stands where it stood.
        if let Some(head) = unsafe { self.head.get().as_ref() } {
            // The C library gives the child an empty list, and leaves this as it was.
            head.pending.set(0);
        }
    }

    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: the head of this thread's list: callers have sat down.
        unsafe { &*self.head.get() }
    }

    /// What is held as the `index`th, from 1 on; before it what follows on the list. Only up to the count.
    #[inline(always)]
    fn node(&self, index: u32) -> &Cell<usize> {
        debug_assert!(index <= self.room.get(), "who keeps asks for room before");
        // SAFETY: callers have sat down, so there is an array; it has one more than `room`, and the count is no larger:
        // whoever keeps words has asked for room for as many as it keeps at a time.
        unsafe { &*self.nodes.get().add(index as usize) }
    }

    /// Whether so many more can be held at a time; asked before `begin`.
    pub fn has_room(&self, more: u32) -> bool {
        self.count.get() + more <= self.room.get() || self.make_room()
    }

    /// Whether one more can be held, in the room that there is.
    #[inline(always)]
    pub fn has_room_now(&self) -> bool {
        self.count.get() < self.room.get()
    }

    #[cold]
    fn make_room(&self) -> bool {
        if self.room.get() != NEAR {
            return false;
        }
        let Ok(Some(far)) = OWNED.try_with(Owned::get) else { return false };
        for (index, node) in self.near.iter().enumerate() {
            // SAFETY: the pages are this thread's, zeros are cells, and they are longer than what is near.
            unsafe { &*far.add(index) }.set(node.get());
        }
        self.nodes.set(far);
        self.room.set(FAR);
        true
    }

    /// Before a word may come to bear this thread's id, and before it may lose it.
    #[inline(always)]
    pub fn begin(&self, word: Word) {
        let (pending, node) = (&self.head().pending, word.address() + NODE);
        if pending.get() != node {
            pending.set(node);
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// As `begin`, for a word that is not held: seldom the one that is named already, so nobody looks.
    #[inline(always)]
    pub fn begin_new(&self, word: Word) {
        self.head().pending.set(word.address() + NODE);
        compiler_fence(Ordering::SeqCst);
    }

    /// After the word was given up, or was not taken.
    #[inline(always)]
    pub fn end(&self) {
        compiler_fence(Ordering::SeqCst);
        self.head().pending.set(0);
    }

    /// The word bears the id now: hangs it on the list.
    #[inline(always)]
    pub fn keep(&self, word: Word) {
        let node = word.address() + NODE;
        set_next(node, self.anchor.get());
        let count = self.count.get() + 1;
        self.node(count).set(node);
        self.count.set(count);
        compiler_fence(Ordering::SeqCst);
        self.anchor.set(node);
    }

    /// Whether a word was taken last of those that are held.
    #[inline(always)]
    pub fn is_latest(&self, word: Word) -> bool {
        let count = self.count.get();
        count > 0 && self.node(count).get() == word.address() + NODE
    }

    /// Takes a word off the list, before it is given up. False when it is not there.
    #[inline(always)]
    pub fn forget(&self, word: Word) -> bool {
        if !self.is_latest(word) {
            return self.forget_inner(word);
        }
        self.forget_latest();
        true
    }

    /// Takes off the list what was put there last; there is something.
    #[inline(always)]
    pub fn forget_latest(&self) {
        let count = self.count.get() - 1;
        self.anchor.set(self.node(count).get());
        self.count.set(count);
        compiler_fence(Ordering::SeqCst);
    }

    #[cold]
    fn forget_inner(&self, word: Word) -> bool {
        let count = self.count.get();
        let Some(index) = (1..=count).rev().find(|index| self.node(*index).get() == word.address() + NODE) else {
            return false;
        };
        // Not the latest, so there is one in front of it.
        set_next(self.node(index + 1).get(), self.node(index - 1).get());
        compiler_fence(Ordering::SeqCst);
        for later in index + 1..=count {
            self.node(later - 1).set(self.node(later).get());
        }
        self.count.set(count - 1);
        true
    }

    /// The address of the latest word that is held from `start` on within `length` bytes.
    pub fn latest_in(&self, start: usize, length: usize) -> Option<usize> {
        (1..=self.count.get())
            .rev()
            .map(|index| self.node(index).get().wrapping_sub(NODE))
            .find(|word| word.wrapping_sub(start) < length)
    }
}

/// Whether the word of a node bears an id. The word of an anchor is zero.
fn bears(node: usize, id: u32) -> bool {
    // SAFETY: a node on this thread's list: its word stands before it, as the kernel looks for it at the thread's death.
    let word = unsafe { AtomicU32::from_ptr((node - NODE) as *mut u32) }.load(Ordering::Relaxed);
    word & libc::FUTEX_TID_MASK == id
}

/// Writes the link of a node: for the kernel's eyes.
#[inline(always)]
fn set_next(node: usize, next: usize) {
    // SAFETY: the node belongs to a word that this thread holds, in an object that is mapped.
    unsafe { AtomicU64::from_ptr(node as *mut u64) }.store(next as u64, Ordering::Relaxed);
}

/// Registers what is done in a forked child. When the library is loaded, or else with the first thread that sits down.
pub fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::Relaxed) {
        process::at_fork(nothing, nothing, stand_up);
    }
}

extern "C" fn nothing() {}

/// In a forked child: it is another thread and holds nothing.
extern "C" fn stand_up() {
    seat().stand_up();
}

const FAR_BYTES: usize = (FAR as usize + 1) * size_of::<usize>();

/// The pages of a thread that has held much, which go when it ends, unless it still holds much then. The kernel finds
/// what it holds without them; its last destructors do not.
struct Owned(Cell<usize>);

impl Owned {
    fn get(&self) -> Option<*const Cell<usize>> {
        if self.0.get() == 0 {
            self.0.set(pages::reserve(FAR_BYTES)?.as_ptr() as usize);
        }
        Some(self.0.get() as *const Cell<usize>)
    }
}

impl Drop for Owned {
    /// Other destructors of this thread come later: they give up what it holds, and take more.
    fn drop(&mut self) {
        let seat = seat();
        let count = seat.count.get();
        if count > NEAR {
            // The pages stay as long as the process: one for each thread that dies as the holder of so much.
            return;
        }
        if seat.nodes.get() != seat.near.as_ptr() {
            for (index, node) in (0..=count).zip(&seat.near) {
                node.set(seat.node(index).get());
            }
            seat.nodes.set(seat.near.as_ptr());
            // None, where this is another thread than the one that sat down.
            seat.room.set(seat.room.get().min(NEAR));
        }
        if self.0.get() != 0 {
            let _ = memory::munmap(self.0.get(), FAR_BYTES);
        }
    }
}

std::thread_local! {
    static OWNED: Owned = const { Owned(Cell::new(0)) };
}

/// Where the pid namespace of this process stands, in a page that the kernel gives to no child: whatever way a child is
/// made, it finds zero there, and its threads sit down anew. Its namespace gets the next place, not the same one, of
/// which a thread that has its parent's seat would take its parent's for its own.
static SPACE: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const NO_SPACE).cast_mut());
static NO_SPACE: AtomicU32 = AtomicU32::new(0);
const MADV_WIPEONFORK: i32 = 18;

/// Whether no thread of this process has sat down yet.
pub fn is_new_process() -> bool {
    // SAFETY: a place in a page, or the zero that stands for none; neither is ever freed.
    unsafe { &*SPACE.load(Ordering::Acquire) }.load(Ordering::Acquire) == 0
}

/// The place in which this process's namespace stands.
fn place_of(space: u32) -> Sys<*mut AtomicU32> {
    let bytes = super::limits::page_size();
    loop {
        let last = SPACE.load(Ordering::Acquire);
        // SAFETY: as in `is_new_process`.
        if unsafe { &*last }.load(Ordering::Acquire) == space {
            return Ok(last);
        }
        let behind = last.wrapping_add(1);
        // Behind the last place of a page there is none; beside `NO_SPACE` neither.
        let made = last == (&raw const NO_SPACE).cast_mut() || (behind as usize).is_multiple_of(bytes);
        let next = match made {
            true => pages::reserve(bytes).ok_or(Errno(libc::ENOMEM))?.as_ptr().cast::<AtomicU32>(),
            false => behind,
        };
        if made {
            // Before Linux 4.14 there is no such advice, and only the fork handlers tell.
            let _ = memory::madvise(next as usize, bytes, MADV_WIPEONFORK);
        }
        // First, so that nobody finds zero in the place; of the threads that meet here all write the same.
        // SAFETY: in a page that is never freed once others know it.
        unsafe { &*next }.store(space, Ordering::Release);
        if SPACE.compare_exchange(last, next, Ordering::AcqRel, Ordering::Acquire).is_err() && made {
            // Another thread was first.
            let _ = memory::munmap(next as usize, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::futex::Object;
    use crate::sys::memory;
    use core::mem::MaybeUninit;

    const DIED: u32 = 0x4000_0000;

    fn page() -> Object<4096> {
        let page = memory::mmap(0, 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0).expect("there is room");
        // SAFETY: the page stays mapped.
        unsafe { Object::new(page) }
    }

    fn hold(word: Word) {
        let seat = seat();
        assert!(seat.has_room(1));
        seat.begin(word);
        word.atomic().store(seat.id(), Ordering::SeqCst);
        seat.keep(word);
        seat.end();
    }

    fn give(word: Word) {
        let seat = seat();
        seat.begin(word);
        assert!(seat.forget(word));
        word.atomic().store(0, Ordering::SeqCst);
        seat.end();
    }

    /// Robust mutexes of glibc come and go between ours, in every order; a thread ends with some of both.
    #[test]
    fn on_one_list_with_the_mutexes_of_glibc() {
        (0..3).for_each(on_one_list);
    }

    /// Of the words from 3 on those are given that leave this rest when they are divided by three: so of each two
    /// neighbours both stay once, and what links them is what `keep` wrote.
    fn on_one_list(rest: usize) {
        let page = page();
        let words: Vec<Word> = (0..60).map(|index| page.half(64 * index)).collect();
        let mut mutexes: Vec<MaybeUninit<libc::pthread_mutex_t>> = (0..8).map(|_| MaybeUninit::zeroed()).collect();
        // SAFETY: the mutexes are initialised before they are used, stay where they are, and outlive the thread.
        unsafe {
            let mut attributes = MaybeUninit::zeroed();
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            for mutex in &mut mutexes {
                libc::pthread_mutex_init(mutex.as_mut_ptr(), attributes.as_ptr());
            }
        }
        let at = mutexes.as_mut_ptr() as usize;
        let theirs = move |index: usize| (at as *mut libc::pthread_mutex_t).wrapping_add(index);
        std::thread::spawn({
            let words = words.clone();
            move || {
                // SAFETY: as above.
                let (lock, unlock) = unsafe {
                    (
                        |index| assert_eq!(libc::pthread_mutex_lock(theirs(index)), 0),
                        |index| assert_eq!(libc::pthread_mutex_unlock(theirs(index)), 0),
                    )
                };
                lock(0);
                lock(1);
                seat().sit(7).expect("glibc has a list");
                seat().sit(7).expect("once is enough");
                assert_eq!(seat().space(), 7);
                hold(words[0]);
                lock(2);
                hold(words[1]);
                unlock(0);
                hold(words[2]);
                give(words[1]);
                unlock(2);
                lock(3);
                words[3..50].iter().for_each(|word| hold(*word));
                for index in (3..50).filter(|index| index % 3 == rest) {
                    give(words[index]);
                }
                unlock(1);
                lock(4);
                assert!(!seat().forget(words[1]) && !seat().forget(words[55]));
                let start = words[0].address();
                assert_eq!(seat().latest_in(start, 4096), Some(words[if rest == 1 { 48 } else { 49 }].address()));
                assert_eq!(seat().latest_in(start + 64, 64), None);
            }
        })
        .join()
        .expect("it ends well");
        for (index, word) in words.iter().enumerate() {
            let held = [0, 2].contains(&index) || (3..50).contains(&index) && index % 3 != rest;
            assert_eq!(word.atomic().load(Ordering::SeqCst), if held { DIED } else { 0 }, "{index}");
        }
        for index in 0..8 {
            // SAFETY: as above.
            let result = unsafe { libc::pthread_mutex_trylock(theirs(index)) };
            assert_eq!(result, if [3, 4].contains(&index) { libc::EOWNERDEAD } else { 0 }, "{index}");
        }
    }

    #[test]
    fn a_death_between_the_word_and_the_list() {
        let page = page();
        let (taken, given) = (page.half(0), page.half(64));
        std::thread::spawn(move || {
            seat().sit(7).expect("glibc has a list");
            hold(given);
            seat().begin(taken);
            taken.atomic().store(seat().id(), Ordering::SeqCst);
        })
        .join()
        .expect("it ends well");
        assert_eq!(taken.atomic().load(Ordering::SeqCst), DIED);
        assert_eq!(given.atomic().load(Ordering::SeqCst), DIED);
    }
}
