//! Names that anybody may have chosen, as text that is safe on a terminal and in JSON, and back.
//! Never loses a byte: what is not printable is written `\xNN`, so are spaces at either end, and a backslash twice.

/// The bytes as printable text. Spaces at its ends could not be told from those of a table.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    let first = bytes.iter().position(|byte| *byte != b' ').unwrap_or(bytes.len());
    let (leading, rest) = bytes.split_at(first);
    let end = rest.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    let (middle, trailing) = rest.split_at(end);
    leading.iter().for_each(|byte| push_byte(&mut out, *byte));
    push_middle(&mut out, middle);
    trailing.iter().for_each(|byte| push_byte(&mut out, *byte));
    out
}

fn push_middle(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                letter if is_plain(letter) => out.push(letter),
                letter => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_byte(out, byte)),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(out, *byte));
    }
}

fn push_byte(out: &mut String, byte: u8) {
    out.push_str(&format!("\\x{byte:02x}"));
}

/// Whether a letter moves nothing on a terminal but the cursor by its own width: no control, no change of direction,
/// nothing that cannot be seen. Rust's debug form leaves exactly those (and quotes) as they are.
fn is_plain(letter: char) -> bool {
    matches!(letter, '\'' | '"') || letter.escape_debug().count() == 1
}

/// The bytes of printable text; `None` when it has no escapes, or wrong ones.
pub fn bytes(text: &[u8]) -> Option<Vec<u8>> {
    if !text.contains(&b'\\') {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'\\' {
            out.push(*first);
            rest = after;
        } else if let Some(after) = after.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
        } else {
            let digits = after.strip_prefix(b"x")?.get(..2)?;
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            out.push((digit(0)? * 16 + digit(1)?) as u8);
            rest = &after[3..];
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_and_none_moves_a_terminal() {
        for name in [
            &b"plain name"[..],
            b"new\nline",
            b"\x1b[31mred\x1b[0m",
            b"back\\slash\\x41",
            b"\xff\xfe not UTF-8 \xc3",
            "\u{202e}turned \u{200b}hidden \u{9b}csi".as_bytes(),
            "gr\u{fc}n \u{65e5}\u{672c}".as_bytes(),
            b"quote\"'",
            b"  spaces at both ends ",
            b" ",
            b"   ",
            b" \xff ",
            b"",
            &(0..=255).collect::<Vec<u8>>(),
        ] {
            let shown = text(name);
            assert!(shown.chars().all(|letter| letter == '\\' || is_plain(letter)), "{shown:?}");
            assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{9b}']), "{shown:?}");
            let back = bytes(shown.as_bytes()).unwrap_or_else(|| shown.clone().into_bytes());
            assert_eq!(back, name, "{shown}");
            assert_eq!(shown.trim(), shown, "nothing that a table or a shell takes away is at an end");
        }
        assert_eq!(bytes(b"wrong\\q"), None);
        assert_eq!(bytes(b"short\\x4"), None);
        assert_eq!(bytes(b"signed\\x+4"), None);
    }
}
