//! Names that anybody may have chosen, as text that is safe on a terminal and in JSON, and back.
//! Never loses a byte: what is not printable is written `\xNN`, and a backslash twice.

/// The bytes as printable text.
pub fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                letter if is_plain(letter) => out.push(letter),
                letter => letter.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_byte(&mut out, byte)),
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut out, *byte));
    }
    out
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
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
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
            &(0..=255).collect::<Vec<u8>>(),
        ] {
            let shown = text(name);
            assert!(shown.chars().all(|letter| letter == '\\' || is_plain(letter)), "{shown:?}");
            assert!(!shown.contains(['\u{202e}', '\u{200b}', '\u{9b}']), "{shown:?}");
            let back = bytes(shown.as_bytes()).unwrap_or_else(|| shown.clone().into_bytes());
            assert_eq!(back, name, "{shown}");
        }
        assert_eq!(bytes(b"wrong\\q"), None);
        assert_eq!(bytes(b"short\\x4"), None);
    }
}
