//! Another Rust static library, to stand beside shmkit's in one program: it panics, catches, and uses threads.
//! Compiled by tests/package.rs; the names that begin with `other_` are replaced for a second such library.

use std::cell::RefCell;
use std::panic::catch_unwind;

struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.with_borrow_mut(|dropped| *dropped += 1);
    }
}

thread_local! {
    static DROPPED: RefCell<i32> = const { RefCell::new(0) };
}

/// Panics three frames deep, in this thread and in another; gives how many values were dropped on the way out.
#[unsafe(no_mangle)]
pub extern "C" fn other_unwinds() -> i32 {
    std::panic::set_hook(Box::new(|_| {}));
    let unwind = || {
        let result = catch_unwind(|| {
            let _value = Counted;
            deeper(&std::env::args().map(|text| text.len()).collect::<Vec<_>>());
        });
        assert!(result.is_err());
        DROPPED.take()
    };
    let there = std::thread::spawn(unwind).join().unwrap_or(-100);
    unwind() + there
}

#[inline(never)]
fn deeper(lengths: &[usize]) {
    let _value = Counted;
    panic!("on purpose: {}", lengths[lengths.len()]);
}
