//! Messages of any bytes and descriptors, received as regions: see `checks::message`. Next: `checks/mod.rs`.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(init: checks::prepare(), |input: &[u8]| checks::message(input));
