//! Names of users and groups, from /etc/passwd and /etc/group; a number stays a number when they do not have it.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::printable;

/// `name:password:number:...`
fn table(path: &str) -> HashMap<u32, String> {
    let text = std::fs::read(path).unwrap_or_default();
    let mut names = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number) = (fields.next(), fields.nth(1));
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        if let (Some(name), Some(number)) = (name, number) {
            // The first of several names, as the C library has it.
            names.entry(number).or_insert_with(|| printable::text(name));
        }
    }
    names
}

/// The name of a user.
pub fn user(uid: u32) -> Option<&'static str> {
    static NAMES: OnceLock<HashMap<u32, String>> = OnceLock::new();
    NAMES.get_or_init(|| table("/etc/passwd")).get(&uid).map(String::as_str)
}

/// The name of a group.
pub fn group(gid: u32) -> Option<&'static str> {
    static NAMES: OnceLock<HashMap<u32, String>> = OnceLock::new();
    NAMES.get_or_init(|| table("/etc/group")).get(&gid).map(String::as_str)
}

/// The name of a user, or the number.
pub fn user_text(uid: u32) -> String {
    user(uid).map_or_else(|| uid.to_string(), str::to_string)
}

/// The name of a group, or the number.
pub fn group_text(gid: u32) -> String {
    group(gid).map_or_else(|| gid.to_string(), str::to_string)
}
