//! Strings with a NUL at their end, on the heap: addresses and paths, as long as they are and no longer.
//! Never ends the process for want of memory. Next: `address.rs`.

use core::ffi::CStr;

use super::failure::{Failure, Outcome};
use crate::error::Status;

/// A string without a NUL inside.
#[derive(Default)]
pub struct Chars(Vec<u8>);

impl Chars {
    /// The parts, one after the other.
    pub fn join(parts: &[&[u8]]) -> Outcome<Chars> {
        let mut all = Vec::new();
        if all.try_reserve_exact(parts.iter().map(|part| part.len()).sum::<usize>() + 1).is_err() {
            return Err(Failure::of(Status::ErrNoMemory));
        }
        parts.iter().for_each(|part| all.extend_from_slice(part));
        if all.contains(&0) {
            return Err(Failure::argument("a name has no NUL inside", "pass the name alone"));
        }
        all.push(0);
        Ok(Chars(all))
    }

    /// The string without its NUL.
    pub fn bytes(&self) -> &[u8] {
        self.0.strip_suffix(b"\0").unwrap_or(&self.0)
    }

    /// The string for C.
    pub fn c(&self) -> &CStr {
        CStr::from_bytes_with_nul(&self.0).unwrap_or_default()
    }
}
