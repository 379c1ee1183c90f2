//! Objects of any size with any header, attached as regions: see `checks::attach`. Next: `checks/mod.rs`.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(init: checks::prepare(), |input: &[u8]| checks::attach(input));
