//! Address strings: see `checks::address`. Next: `checks/mod.rs`.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(init: checks::prepare(), |input: &[u8]| checks::address(input));
