//! The fuzz targets in short, on the stable toolchain: the committed inputs, then about ten seconds of random changes
//! of them, with the same checks. `scripts/fuzz` is the long form, which is led by coverage.
//!
//! SHMKIT_FUZZ_SEED and SHMKIT_FUZZ_SECONDS choose others. A finding prints the input that made it.

#[path = "../fuzz/checks/mod.rs"]
mod checks;
mod support;

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SEED: u64 = 0x7368_6d6b_6974_0001;
const SECONDS: u64 = 10;
const LONGEST: usize = 4600;
/// An execution takes a millisecond; one that takes so many seconds hangs.
const STALLED: u32 = 60;

/// What the process that runs the target tells the one that waits for it, in memory that both have.
struct Board {
    replayed: AtomicU32,
    mutated: AtomicU32,
    accepted: AtomicU32,
    length: AtomicUsize,
    input: [AtomicU8; LONGEST],
}

impl Board {
    fn new() -> &'static Board {
        let length = size_of::<Board>();
        // SAFETY: new memory, filled with zeros, which are valid for atomics; it is never unmapped.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let at = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
            &*at.cast::<Board>()
        }
    }

    /// Runs the target on an input that is on the board before anything can go wrong.
    fn run(&self, target: checks::Target, input: &[u8]) {
        for (place, byte) in self.input.iter().zip(input) {
            place.store(*byte, Relaxed);
        }
        self.length.store(input.len(), Relaxed);
        // SAFETY: takes no pointers.
        unsafe { libc::alarm(STALLED) };
        target(input);
        self.accepted.store(checks::accepted_inputs(), Relaxed);
    }

    fn input(&self) -> String {
        let bytes = self.input[..self.length.load(Relaxed)].iter();
        bytes.map(|byte| format!("{:02x}", byte.load(Relaxed))).collect()
    }
}

/// Numbers that look random and are the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 32) as usize) % end.max(1)
    }

    /// Changes an input in a few places.
    fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..1 + self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(8) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 | 2 if at < input.len() => input[at] = self.next() as u8,
                3 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
                4 => input.insert(at, self.next() as u8),
                5 if at < input.len() => drop(input.remove(at)),
                6 => {
                    let word = [0, 1, 4096, 8192, u64::MAX, i64::MAX as u64, self.next()][self.below(7)].to_le_bytes();
                    input.splice(at..at, word);
                }
                7 => {
                    let other = &others[self.below(others.len())];
                    input.truncate(at);
                    input.extend(&other[self.below(other.len() + 1)..]);
                }
                _ => input.push(self.next() as u8),
            }
        }
        input.truncate(LONGEST);
    }
}

/// The committed inputs of a target, in the order of their names, and one that is empty.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = support::root().join("fuzz/corpus").join(target);
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    names.sort();
    assert!(names.len() >= 5, "{} holds {} inputs", folder.display(), names.len());
    let read = |name: &std::path::PathBuf| std::fs::read(name).expect("the folder can be read");
    names.iter().map(read).chain([Vec::new()]).collect()
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| {
        let hex = text.strip_prefix("0x").map(|digits| u64::from_str_radix(digits, 16));
        hex.unwrap_or_else(|| text.parse()).unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

#[test]
fn fuzz_short() {
    support::alone("fuzz_short", &[], || {
        support::own_namespaces(16 << 20);
        checks::isolated();
        let seed = number("SHMKIT_FUZZ_SEED", SEED);
        let seconds = number("SHMKIT_FUZZ_SECONDS", SECONDS);
        println!("fuzz: seed {seed:#x}, {seconds} s for {} targets", checks::TARGETS.len());
        let share = Duration::from_millis(seconds * 1000 / checks::TARGETS.len() as u64);
        for (name, target) in checks::TARGETS {
            let corpus = corpus(name);
            let board = Board::new();
            let status = support::in_child(|| {
                corpus.iter().for_each(|input| {
                    board.run(target, input);
                    board.replayed.fetch_add(1, Relaxed);
                });
                let (mut random, start) = (Random(seed | 1), Instant::now());
                while start.elapsed() < share {
                    let mut input = corpus[random.below(corpus.len())].clone();
                    random.change(&mut input, &corpus);
                    board.run(target, &input);
                    board.mutated.fetch_add(1, Relaxed);
                }
                0
            });
            let (replayed, mutated) = (board.replayed.load(Relaxed), board.mutated.load(Relaxed));
            let accepted = board.accepted.load(Relaxed);
            println!("fuzz: {name}: {replayed} inputs replayed, {mutated} mutations executed, {accepted} accepted");
            assert!(
                libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
                "{name}: status {status:#x} (the low 7 bits: a signal) for the input {}",
                board.input()
            );
            assert!(replayed as usize == corpus.len() && mutated > 0 && accepted > 0);
        }
    });
}
