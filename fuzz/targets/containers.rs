//! Containers in memory that a peer writes to, used meanwhile: see `checks::containers`. Next: `checks/containers.rs`.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(init: checks::prepare(), |input: &[u8]| checks::containers(input));
