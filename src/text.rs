//! Text in a buffer of fixed size: how the library makes words without allocating.
//! Never fails: what does not fit is left out, and the text then ends in "...". Next: `checks/words.rs`.

use core::ops::{Deref, DerefMut};

/// The decimal number that a text begins with; 0 when it begins with none.
pub fn leading_number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}

/// Text in its bytes: `Text<N>` where it lives, `Writer` where it is written, so that the code that writes exists once.
#[derive(Clone, Copy)]
pub struct Buffer<B: ?Sized> {
    length: usize,
    bytes: B,
}

/// Up to `N` bytes of text.
pub type Text<const N: usize> = Buffer<[u8; N]>;

/// A `Text` of any size.
pub type Writer = Buffer<[u8]>;

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Text<N> {
    /// No text.
    pub const fn new() -> Self {
        Buffer { length: 0, bytes: [0; N] }
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        self
    }
}

impl<const N: usize> DerefMut for Text<N> {
    fn deref_mut(&mut self) -> &mut Writer {
        self
    }
}

impl Writer {
    /// The text so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.length
    }

    /// Lets `fill` write into the room that is left; it says how many bytes it wrote, and so does this.
    pub fn fill(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let count = fill(room).min(room.len());
        self.length += count;
        count
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(self.length) {
            Some(place) => {
                *place = byte;
                self.length += 1;
            }
            None => {
                let end = self.bytes.len();
                self.bytes[end.saturating_sub(3)..].fill(b'.');
            }
        }
    }

    /// Appends bytes.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => bytes.iter().for_each(|byte| self.push(*byte)),
        }
    }

    /// Appends a string.
    pub fn push_str(&mut self, text: &str) {
        self.push_bytes(text.as_bytes());
    }

    /// Appends a number in a base from 2 to 16.
    fn push_digits(&mut self, mut number: u64, base: u64) {
        let mut digits = [0u8; 64];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 {
                break;
            }
        }
        self.push_bytes(&digits[first..]);
    }

    /// Appends a decimal number.
    pub fn push_number(&mut self, number: u64) {
        self.push_digits(number, 10);
    }

    /// Appends a signed decimal number.
    pub fn push_signed(&mut self, number: i64) {
        if number < 0 {
            self.push(b'-');
        }
        self.push_number(number.unsigned_abs());
    }

    /// Appends a hexadecimal number with its 0x.
    pub fn push_hex(&mut self, number: u64) {
        self.push_str("0x");
        self.push_digits(number, 16);
    }

    /// Appends an octal number with its leading 0.
    pub fn push_octal(&mut self, number: u64) {
        if number != 0 {
            self.push(b'0');
        }
        self.push_digits(number, 8);
    }

    /// Appends bytes of unknown origin; what is not printable ASCII becomes \xNN.
    pub fn push_printable(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\\' | b'"' => {
                    self.push(b'\\');
                    self.push(*byte);
                }
                b' '..=b'~' => self.push(*byte),
                _ => {
                    self.push_str("\\x");
                    self.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                    self.push(b"0123456789abcdef"[usize::from(byte & 15)]);
                }
            }
        }
    }

    /// Appends a JSON string with its quotes.
    pub fn push_json(&mut self, bytes: &[u8]) {
        self.push(b'"');
        for byte in bytes {
            match byte {
                b'"' | b'\\' => {
                    self.push(b'\\');
                    self.push(*byte);
                }
                b' '..=b'~' => self.push(*byte),
                _ => {
                    self.push_str("\\u00");
                    self.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                    self.push(b"0123456789abcdef"[usize::from(byte & 15)]);
                }
            }
        }
        self.push(b'"');
    }

    /// Ends the text with a NUL that is always there, cutting the text if it must; for handing it to C.
    pub fn terminate(&mut self) {
        self.length = self.length.min(self.bytes.len() - 1);
        self.bytes[self.length] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_form() {
        let mut text = Text::<100>::new();
        text.push_number(0);
        text.push(b' ');
        text.push_number(u64::MAX);
        text.push(b' ');
        text.push_signed(-7);
        text.push(b' ');
        text.push_hex(0xabc);
        text.push(b' ');
        text.push_octal(0o644);
        text.push(b' ');
        text.push_octal(0);
        assert_eq!(text.bytes(), b"0 18446744073709551615 -7 0xabc 0644 0");
    }

    #[test]
    fn too_much_is_cut_and_says_so() {
        let mut text = Text::<8>::new();
        text.push_str("0123456789");
        assert_eq!(text.bytes(), b"01234...");
    }

    #[test]
    fn hostile_bytes_are_escaped() {
        let mut text = Text::<40>::new();
        text.push_printable(b"a\n\x1b\"");
        assert_eq!(text.bytes(), b"a\\x0a\\x1b\\\"");
        text.clear();
        text.push_json(b"a\n\"\xff");
        assert_eq!(text.bytes(), b"\"a\\u000a\\\"\\u00ff\"");
    }
}
