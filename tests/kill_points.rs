//! The walker of `support/kill_points.rs` itself: it kills everywhere, it sees what is half made, and it never says that
//! it killed where it did not. Then one operation of the library, as others use it.

mod support;

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use shmkit::capi::{file, posix};
use support::kill_points::{Moment, Plan, Point, RECORDINGS, Scope, Walk, walk};
use support::{message, object_name, set_limit};

/// More than any of these walks takes.
const AMPLE: Duration = Duration::from_secs(300);

/// As `support::alone`, with no wish of the caller's about budgets.
fn alone(test: &str, body: impl FnOnce()) {
    support::alone(test, &[("SHMKIT_KILL_POINTS", "")], body);
}

/// What every walk says of itself must agree.
#[track_caller]
fn adds_up(walk: &Walk) {
    assert!(walk.boundaries > 0 && walk.killed > 0, "{walk:?}");
    assert_eq!(walk.killed + walk.missed + walk.left_out(), walk.boundaries, "{walk:?}");
    assert!(walk.boundaries > 2 * walk.system_calls, "{walk:?}");
    assert!(walk.stops > walk.killed as u64, "{walk:?}");
}

/// As `adds_up`, and a child was killed at every boundary.
#[track_caller]
fn is_complete(walk: &Walk) {
    adds_up(walk);
    assert!(walk.is_complete() && walk.steady && walk.missed == 0 && walk.left_out() == 0, "{walk:?}");
}

/// The words with which a walk fails, as it must. None: it did not run.
fn failure(walk: impl FnOnce() -> Option<Walk>) -> Option<String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(walk)) {
        Ok(walk) => {
            assert!(walk.is_none(), "it should have failed: {walk:?}");
            None
        }
        Err(panic) => Some(match panic.downcast::<String>() {
            Ok(words) => *words,
            Err(panic) => panic.downcast::<&str>().expect("panics have words").to_string(),
        }),
    }
}

/// A folder of its own, the name of a target in it that holds `old`, and of a file beside that.
struct Files {
    folder: tempfile::TempDir,
    target: CString,
    beside: CString,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let name = |name: &str| CString::new(folder.path().join(name).to_str().expect("plain names")).expect("no NUL");
        Files { target: name("target"), beside: name("beside"), folder }
    }

    fn fresh(&self) {
        std::fs::write(self.target(), "old").expect("the folder is ours");
        let _absent_at_first = std::fs::remove_file(self.folder.path().join("beside"));
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    fn content(&self) -> String {
        std::fs::read_to_string(self.target()).expect("the target is always there")
    }
}

/// Creates or truncates a file and writes pieces, each with one system call.
fn write_pieces(name: &CStr, pieces: &[&[u8]]) {
    // SAFETY: the name is terminated, and the pieces are readable.
    unsafe {
        let fd = libc::open(name.as_ptr(), libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC, 0o600);
        assert!(fd >= 0);
        for piece in pieces {
            assert_eq!(libc::write(fd, piece.as_ptr().cast(), piece.len()), piece.len() as isize);
        }
        assert_eq!(libc::close(fd), 0);
    }
}

fn replace_by_rename(files: &Files) {
    write_pieces(&files.beside, &[b"new"]);
    // SAFETY: both names are terminated.
    assert_eq!(unsafe { libc::rename(files.beside.as_ptr(), files.target.as_ptr()) }, 0);
}

#[test]
fn a_correct_operation_walks_clean() {
    alone("a_correct_operation_walks_clean", || {
        let files = Files::new();
        let (mut old, mut new, mut renames) = (0, 0, Vec::new());
        let walk = walk(
            "replace by rename",
            AMPLE,
            || files.fresh(),
            |()| replace_by_rename(&files),
            |(), point| {
                match files.content().as_str() {
                    "old" => old += 1,
                    "new" => new += 1,
                    other => panic!("half made: {other:?}"),
                }
                if matches!(point.moment, Moment::Entry(libc::SYS_rename) | Moment::Exit(libc::SYS_rename)) {
                    renames.push((matches!(point.moment, Moment::Exit(_)), files.content()));
                }
            },
        );
        let Some(walk) = walk else { return };
        is_complete(&walk);
        assert_eq!(walk.system_calls, 4, "open, write, close, rename");
        assert_eq!(walk.library, 0, "the library has no part in it");
        assert!(old > new && new > 10, "{old} kills before the rename, {new} after it");
        // At the entry of the rename nothing is done; at its exit all is.
        assert_eq!(renames, [(false, "old".to_string()), (true, "new".to_string())]);
    });
}

#[test]
fn a_broken_operation_is_caught() {
    alone("a_broken_operation_is_caught", || {
        let files = Files::new();
        let seen = |budget, scope| {
            let mut seen = HashSet::new();
            let work = |_: &()| write_pieces(&files.target, &[b"ne", b"w"]);
            let walk = Plan::new("write in place", budget).scope(scope).walk(
                || files.fresh(),
                work,
                |(), point| {
                    assert!(point.reached);
                    seen.insert(files.content());
                },
            );
            walk.map(|walk| (walk, seen))
        };
        let states = ["old", "", "ne", "new"].map(str::to_string).into();
        let Some((walk, all)) = seen(AMPLE, Scope::Everything) else { return };
        is_complete(&walk);
        assert_eq!(all, states);
        // Where nothing is left of the budget, and where no code is the library's, the system calls remain, and the end.
        let (walk, few) = seen(Duration::ZERO, Scope::Everything).expect("it ran before");
        adds_up(&walk);
        assert_eq!((walk.killed, few), (2 * walk.system_calls + 1, states.clone()));
        assert!(walk.left_out() > 0 && !walk.is_complete());
        let (walk, few) = seen(AMPLE, Scope::Library).expect("it ran before");
        is_complete(&walk);
        assert_eq!((walk.killed, few), (2 * walk.system_calls + 1, states));
    });
}

#[test]
fn a_check_that_fails_fails_the_walk() {
    alone("a_check_that_fails_fails_the_walk", || {
        let files = Files::new();
        let work = |_: &()| write_pieces(&files.target, &[b"ne", b"w"]);
        let check = |(), _: &Point| assert_ne!(files.content(), "ne");
        let Some(words) = failure(|| walk("fail", AMPLE, || files.fresh(), work, check)) else { return };
        assert!(words.contains("assertion `left != right` failed"), "{words}");
    });
}

/// Memory shared with the child.
struct Shared(*mut u8);

impl Shared {
    const LENGTH: usize = 16;

    fn new() -> Shared {
        // SAFETY: a new mapping.
        let at = unsafe {
            let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), Shared::LENGTH, libc::PROT_READ | libc::PROT_WRITE, shared, -1, 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        Shared(at.cast())
    }

    fn fresh(&self) {
        // SAFETY: the mapping is that long, and no child lives.
        unsafe { self.0.write_bytes(0, Shared::LENGTH) };
    }

    /// How many of the first bytes are set; the others must not be.
    fn filled(&self) -> usize {
        // SAFETY: the mapping is that long, and the child is gone or stopped.
        let bytes: [u8; Shared::LENGTH] = unsafe { self.0.cast::<[u8; Shared::LENGTH]>().read_volatile() };
        let filled = bytes.iter().take_while(|byte| **byte != 0).count();
        assert!(bytes[filled..].iter().all(|byte| *byte == 0), "{bytes:?}");
        filled
    }
}

/// Three stores, then five in one instruction with a `rep` prefix.
#[cfg(target_arch = "x86_64")]
fn eight_stores(shared: &Shared) {
    // SAFETY: eight bytes are written, and the mapping is longer.
    unsafe {
        std::arch::asm!(
            "mov byte ptr [rdi], 1",
            "mov byte ptr [rdi + 1], 1",
            "mov byte ptr [rdi + 2], 1",
            "add rdi, 3",
            "rep stosb",
            inout("rdi") shared.0 => _,
            inout("ecx") 5 => _,
            in("al") 1u8,
            options(nostack),
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_instruction_is_a_boundary() {
    alone("every_instruction_is_a_boundary", || {
        let shared = Shared::new();
        let mut kills = [0; 9];
        let walk = walk(
            "eight stores",
            AMPLE,
            || shared.fresh(),
            |()| eight_stores(&shared),
            |(), _| {
                kills[shared.filled()] += 1;
            },
        );
        is_complete(&walk.expect("this is x86-64"));
        // After the third store come two boundaries, because of the addition; the rounds of the `rep` have one each.
        assert_eq!(kills[1..8], [1, 1, 2, 1, 1, 1, 1], "{kills:?}");

        // The same without a budget: who watches the memory sees each change all the same.
        let mut kills = [0; 9];
        let print = |_: &()| shared.filled() as u64;
        let walk = Plan::new("eight stores, watched", Duration::ZERO).watching(&print).walk(
            || shared.fresh(),
            |()| eight_stores(&shared),
            |(), _| kills[shared.filled()] += 1,
        );
        let walk = walk.expect("this is x86-64");
        adds_up(&walk);
        assert_eq!((walk.changes, walk.killed), (8, 9), "eight changes and the end: {walk:?}");
        assert_eq!(kills[1..8], [1; 7], "{kills:?}");
    });
}

/// Adds up, then sets the first byte.
fn sum_and_store(rounds: u64, shared: &Shared) {
    let mut sum = 0;
    for round in 0..rounds {
        sum = std::hint::black_box(sum + round);
    }
    // SAFETY: the mapping is that long.
    unsafe { shared.0.write_volatile(1) };
}

#[test]
fn what_differs_from_run_to_run_is_missed_and_never_counted() {
    alone("what_differs_from_run_to_run_is_missed_and_never_counted", || {
        let shared = Shared::new();
        let (mut runs, mut reached, mut elsewhere) = (0, 0, 0);
        // Each recording adds up more, and the children that are killed less: they come to the end too soon.
        let prepare = || {
            shared.fresh();
            runs += 1;
            if runs <= 1 + RECORDINGS as u64 { 20 + runs } else { 10 }
        };
        let walk = walk(
            "shorter",
            AMPLE,
            prepare,
            |rounds| sum_and_store(*rounds, &shared),
            |_, point| {
                reached += usize::from(point.reached);
                elsewhere += usize::from(!point.reached);
                assert!(point.reached || shared.filled() == 1, "{point}, and not the end");
            },
        );
        let Some(walk) = walk else { return };
        adds_up(&walk);
        assert_eq!((walk.steady, walk.left_out()), (false, 0), "{walk:?}");
        assert!(walk.missed > 16 && walk.killed > 16, "sixteen rounds are too many: {walk:?}");
        // Each missed boundary was tried three times; the first run and the recordings reached the end.
        assert_eq!((reached, elsewhere), (walk.killed + 1 + RECORDINGS, 3 * walk.missed));
    });
}

#[test]
fn the_budget_holds_and_the_sample_lies_evenly() {
    alone("the_budget_holds_and_the_sample_lies_evenly", || {
        let shared = Shared::new();
        let budget = Duration::from_secs(2);
        let mut indices = Vec::with_capacity(10_000);
        let walk = walk(
            "long",
            budget,
            || shared.fresh(),
            |()| sum_and_store(500, &shared),
            |(), point| {
                indices.push(point.index);
            },
        );
        let Some(walk) = walk else { return };
        adds_up(&walk);
        assert!(walk.killed > 1 && walk.left_out() > 0 && walk.missed == 0 && walk.took >= budget, "{walk:?}");
        let mut fifths = [0; 5];
        indices.iter().for_each(|index| fifths[index * 5 / walk.boundaries] += 1);
        assert!(walk.killed < 20 || fifths.iter().all(|part| *part >= walk.killed / 10), "{fifths:?}, {walk:?}");
    });
}

/// A walk without a budget, under a wish of the caller's; the last boundary killed at, too.
fn chosen(test: &str, choice: &str, judge: impl FnOnce(Walk, usize)) {
    support::alone(test, &[("SHMKIT_KILL_POINTS", choice)], || {
        let (shared, mut last) = (Shared::new(), 0);
        let work = |_: &()| sum_and_store(2, &shared);
        let walk = walk("choice", Duration::ZERO, || shared.fresh(), work, |(), point| last = point.index);
        let Some(walk) = walk else { return };
        adds_up(&walk);
        judge(walk, last);
    });
}

#[test]
fn the_environment_lifts_the_budget() {
    chosen("the_environment_lifts_the_budget", "all", |walk, _| assert!(walk.is_complete(), "{walk:?}"));
}

#[test]
fn the_environment_repeats_one_boundary() {
    chosen("the_environment_repeats_one_boundary", "7", |walk, last| {
        assert_eq!((walk.killed, last), (1, 7), "{walk:?}");
    });
}

#[test]
fn an_operation_that_fails_by_itself_fails_the_walk() {
    alone("an_operation_that_fails_by_itself_fails_the_walk", || {
        set_limit(libc::RLIMIT_CORE, 0);
        let failure = |name, work: &dyn Fn()| failure(|| walk(name, AMPLE, || (), |()| work(), |(), _| ()));
        let fault = || {
            // SAFETY: it is not: the child dies of it, on purpose.
            unsafe { std::ptr::without_provenance_mut::<u8>(4096).write_volatile(1) }
        };
        let Some(words) = failure("fault", &fault) else { return };
        assert!(words.contains("signal 11 at kill_points::an_operation"), "{words}");
        // SAFETY: takes no pointers.
        let words = failure("exit", &|| unsafe { libc::_exit(3) }).expect("an early end is a failure");
        assert!(words.contains("exits with code 3"), "{words}");
        let words = failure("panic", &|| panic!("on purpose")).expect("a panic is a failure");
        assert!(words.contains("panicked"), "{words}");
        // SAFETY: the new child does nothing.
        let words = failure("fork", &|| unsafe { assert!(libc::fork() >= 0) }).expect("nobody follows a fork");
        assert!(words.contains("starts a process"), "{words}");
    });
}

#[test]
fn a_failure_in_a_later_run_fails_the_walk() {
    alone("a_failure_in_a_later_run_fails_the_walk", || {
        set_limit(libc::RLIMIT_CORE, 0);
        let mut runs = 0;
        let prepare = || {
            runs += 1;
            runs > 4
        };
        let work = |late: &bool| {
            let address = if *late { 4096 } else { &raw const *late as usize };
            // SAFETY: it is not, in later runs: the child dies of it, on purpose.
            std::hint::black_box(unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() });
        };
        let Some(words) = failure(|| walk("late", AMPLE, prepare, work, |_, _| ())) else { return };
        assert!(words.contains("died of signal 11 at"), "{words}");
    });
}

static SIGNALS: AtomicI32 = AtomicI32::new(0);

extern "C" fn on_signal(_signal: i32) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn signals_reach_their_handlers() {
    alone("signals_reach_their_handlers", || {
        // SAFETY: the handler only counts.
        unsafe { libc::signal(libc::SIGUSR1, on_signal as *const () as usize) };
        let shared = Shared::new();
        let mut kills = [0; 2];
        let work = |_: &()| {
            // SAFETY: takes no pointers; then the mapping is that long.
            unsafe {
                assert_eq!(libc::raise(libc::SIGUSR1), 0);
                assert_eq!(SIGNALS.load(Ordering::Relaxed), 1, "the handler ran");
                shared.0.write_volatile(1);
            }
        };
        let walk = walk("signal", AMPLE, || shared.fresh(), work, |(), _| kills[shared.filled()] += 1);
        let Some(walk) = walk else { return };
        is_complete(&walk);
        assert!(kills[0] > 10 && kills[1] > 1, "{kills:?}");
    });
}

#[test]
fn the_heap_is_the_same_for_every_child() {
    alone("the_heap_is_the_same_for_every_child", || {
        let work = |words: &String| {
            let mut list: Vec<String> = Vec::new();
            for number in 0..5 {
                list.push(format!("{words} {number}"));
            }
            std::hint::black_box(list);
        };
        let walk = walk("heap", AMPLE, || "word".to_string(), work, |_, _| ());
        let Some(walk) = walk else { return };
        is_complete(&walk);
    });
}

/// The object's size, if there is one.
fn size_of_object(name: &CStr) -> Option<i64> {
    let path = Path::new("/dev/shm").join(name.to_str().expect("plain names").trim_start_matches('/'));
    std::fs::metadata(path).ok().map(|facts| facts.len() as i64)
}

/// Removes the object of a check that failed.
struct Leftover<'a>(&'a CStr);

impl Drop for Leftover<'_> {
    fn drop(&mut self) {
        // SAFETY: the name is terminated. That there is no object is the rule.
        unsafe { libc::shm_unlink(self.0.as_ptr()) };
    }
}

#[test]
fn an_operation_of_the_library() {
    support::alone("an_operation_of_the_library", &[], || {
        const SIZE: i64 = 8192;
        let name = object_name();
        let _leftover = Leftover(&name);
        let open_or_create = || {
            // SAFETY: the name is terminated.
            let fd = unsafe { posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) };
            assert!(fd >= 0, "{}", message());
            assert_eq!(file::shmkit_ftruncate(fd, SIZE), 0, "{}", message());
            assert_eq!(file::shmkit_close(fd), 0, "{}", message());
        };
        let unlink = || {
            // SAFETY: the name is terminated.
            assert_eq!(unsafe { posix::shmkit_shm_unlink(name.as_ptr()) }, 0, "{}", message());
        };
        let mut sizes = HashSet::new();
        let walk = walk(
            "create, size, unlink",
            AMPLE,
            || assert_eq!(size_of_object(&name), None, "the check left the object"),
            |()| {
                open_or_create();
                unlink();
            },
            |(), _| {
                sizes.insert(size_of_object(&name));
                open_or_create();
                assert_eq!(size_of_object(&name), Some(SIZE));
                unlink();
            },
        );
        let Some(walk) = walk else { return };
        is_complete(&walk);
        assert!(walk.library > 100, "{walk:?}");
        assert_eq!(sizes, [None, Some(0), Some(SIZE)].into());
    });
}
