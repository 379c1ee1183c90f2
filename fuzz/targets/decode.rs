//! Header bytes without an object: see `checks::decode`. Next: `checks/mod.rs`.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(init: checks::prepare(), |input: &[u8]| checks::decode(input));
