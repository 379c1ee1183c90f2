//! What the cores of this layer need of a word and of a thread. `object.rs` gives them shared memory, the kernel and the
//! list of robust futexes; `tests/models.rs` gives them loom's atomics and a kernel made of a mutex.
//! Never names an address. Next: `claim.rs`.

/// A word that threads change and sleep on.
pub trait Futex: Copy {
    /// How often a taker looks before it sleeps. Looking again adds nothing to what can happen: models take 0.
    const SPINS: u32;
    /// Acquire.
    fn load(self) -> u32;
    /// Release.
    fn store(self, value: u32);
    /// Acquire and release; the found value when it is not `old`.
    fn exchange(self, old: u32, new: u32) -> Result<u32, u32>;
    /// Acquire and release.
    fn swap(self, value: u32) -> u32;
    /// Acquire and release.
    fn and(self, bits: u32) -> u32;
    /// Acquire and release.
    fn or(self, bits: u32) -> u32;
    /// Acquire and release; wraps.
    fn add(self, value: u32) -> u32;
    /// What this thread changed before, by anything but `store`, comes before what it loads after, for all threads.
    fn fence();
    /// Sleeps while the word is `expected`, until the moment `until` at most. May return at any time.
    fn wait(self, expected: u32, until: u64);
    /// Wakes so many sleepers; says how many there were.
    fn wake(self, count: u32) -> u32;
    /// The clock of `until`, in nanoseconds.
    fn now() -> u64;
    /// Gives the processor to others for a moment.
    fn relax();
    /// Whether a thread of this id exists in this thread's pid namespace.
    fn exists(id: u32) -> bool;
}

/// A thread that holds words: what it does so that the kernel finds them when it dies.
pub trait Holder<F> {
    /// The id that the kernel knows it by.
    fn id(&self) -> u32;
    /// Whether it can hold so many more at a time.
    fn has_room(&self, more: u32) -> bool;
    /// Before the word may come to bear the id, and before it may lose it.
    fn begin(&self, word: F);
    /// The word bears the id.
    fn keep(&self, word: F);
    /// The word will lose it; false when it is not held.
    fn forget(&self, word: F) -> bool;
    /// The word was given up, or was not taken.
    fn end(&self);
}

/// Why something was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The time was over.
    TimedOut,
    /// It was abandoned: nobody gets it any more.
    Abandoned,
    /// This thread has it already.
    Own,
    /// This thread does not have it.
    NotOwn,
    /// This thread holds too much, or there is no memory to note it.
    NoRoom,
}

/// How something was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// As its last holder left it.
    Clean,
    /// Its last holder died.
    Died,
}

/// A sleeper looks again after so long, whoever woke it or did not: for the deaths that no kernel tells of (a waiter
/// that was woken and died, a holder in another pid namespace, a list of robust futexes that was cut).
pub const BEAT_NS: u64 = 250_000_000;

/// The next moment to look again.
pub fn beat<F: Futex>(until: u64, nanoseconds: u64) -> u64 {
    F::now().saturating_add(nanoseconds).min(until)
}

/// Whether the time is over.
pub fn is_over<F: Futex>(until: u64) -> bool {
    until != u64::MAX && F::now() >= until
}
