//! The one string that names a region everywhere: `posix:/name`, `sysv:0x344378`, `sysv:ftok(PATH,ID)`, `file:PATH`,
//! `memfd:LABEL`, `anon:`. Parses and writes it; never opens what it names. Next: `object.rs`, `segment.rs`.

use super::chars::Chars;
use super::failure::{Failure, Outcome};
use crate::error::Status;
use crate::sys;
use crate::sys::posix::OBJECT_FOLDER;
use crate::text::Text;

/// Longest path, with its terminator.
pub const PATH_MAX: usize = 4096;

/// The beginning of every name that the library makes for itself in a folder.
pub const OWN_PREFIX: &[u8] = b".shmkit-";

/// Kinds of memory.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A POSIX shared memory object.
    Posix = 1,
    /// A System V segment.
    Sysv = 2,
    /// A file on any file system.
    File = 3,
    /// Memory with a descriptor and a label, but no name.
    Memfd = 4,
    /// Memory that only this process and its children reach.
    Anonymous = 5,
}

/// What an address names.
#[derive(Clone, Copy)]
pub enum Address<'a> {
    /// A path and its kind: POSIX objects are files in a folder of the C library's.
    Path(Backend, &'a [u8]),
    /// A System V key.
    Key(i32),
    /// A label, and its kind: memfd or anonymous.
    Label(Backend, &'a [u8]),
}

/// An address that was read, in its canonical form.
pub struct Parsed {
    text: Chars,
    kind: Kind,
}

enum Kind {
    Posix,
    File,
    Memfd,
    Anonymous,
    Key(i32),
}

const FORMS: &str = "write posix:/name, sysv:0xKEY, sysv:ftok(PATH,ID), file:PATH, memfd:LABEL or anon:";

impl Parsed {
    /// Reads an address.
    pub fn new(address: &[u8]) -> Outcome<Parsed> {
        let (text, kind) = if let Some(name) = address.strip_prefix(b"posix:") {
            posix(name)?;
            (Chars::join(&[address])?, Kind::Posix)
        } else if let Some(key) = address.strip_prefix(b"sysv:") {
            let key = key_of(key)?;
            let mut digits = Text::<16>::new();
            digits.push_hex(u64::from(key as u32));
            (Chars::join(&[b"sysv:", digits.bytes()])?, Kind::Key(key))
        } else if let Some(path) = address.strip_prefix(b"file:") {
            (file(path)?, Kind::File)
        } else if let Some(label) = address.strip_prefix(b"memfd:") {
            label_of(label)?;
            (Chars::join(&[address])?, Kind::Memfd)
        } else if address == b"anon:" {
            (Chars::join(&[address])?, Kind::Anonymous)
        } else {
            return Err(Failure::argument("\"{name}\" is no address of a region", FORMS));
        };
        Ok(Parsed { text, kind })
    }

    /// The canonical form.
    pub fn text(&self) -> &[u8] {
        self.text.bytes()
    }

    /// What it names.
    pub fn get(&self) -> Address<'_> {
        let colon = self.text().iter().position(|byte| *byte == b':').map_or(0, |colon| colon + 1);
        let rest = self.text().get(colon..).unwrap_or_default();
        match self.kind {
            Kind::Posix => Address::Path(Backend::Posix, rest),
            Kind::File => Address::Path(Backend::File, rest),
            Kind::Memfd => Address::Label(Backend::Memfd, rest),
            Kind::Anonymous => Address::Label(Backend::Anonymous, b"anon"),
            Kind::Key(key) => Address::Key(key),
        }
    }
}

/// A file's path, made absolute.
fn file(path: &[u8]) -> Outcome<Chars> {
    if path.is_empty() || path.ends_with(b"/") {
        return Err(Failure::argument("\"{name}\" names no file", "write file: and the path of the file"));
    }
    let mut absolute = Text::<PATH_MAX>::new();
    if path.len() >= PATH_MAX || !sys::process::push_absolute(path, &mut absolute) {
        return Err(match absolute.is_empty() && path.len() < PATH_MAX {
            true => Failure::new(
                Status::ErrNotFound,
                "{name} is meant from the current folder, and that was removed or cannot be told",
                "write the whole path, from the root on",
            ),
            false => Failure::of(Status::ErrNameTooLong),
        });
    }
    Chars::join(&[b"file:", absolute.bytes()])
}

/// As shm_open: one slash, at the beginning, and up to 255 bytes after it (POSIX leaves other forms undefined).
fn posix(name: &[u8]) -> Outcome<()> {
    let Some(bare) = name.strip_prefix(b"/") else {
        return Err(Failure::argument("the name of a POSIX object begins with a slash", "write posix:/name"));
    };
    if bare.len() > 255 {
        return Err(Failure::new(
            Status::ErrNameTooLong,
            "the name has {length} bytes, and a POSIX object's has 255 at most",
            "use a shorter name",
        )
        .with(|figures| figures.length = bare.len() as u64));
    }
    if bare.is_empty() || matches!(bare, b"." | b"..") || bare.contains(&b'/') {
        return Err(Failure::argument(
            "the name of a POSIX object has one slash, at its beginning, and at least one byte after it",
            "write posix:/name; objects have no folders",
        ));
    }
    if bare.starts_with(OWN_PREFIX) {
        return Err(Failure::argument("names that begin with .shmkit- are the library's own", "use another name"));
    }
    Ok(())
}

fn label_of(label: &[u8]) -> Outcome<()> {
    // memfd_create(2): 249 bytes without the NUL.
    if label.len() > 249 {
        return Err(Failure::of(Status::ErrNameTooLong));
    }
    if label.contains(&b'/') {
        return Err(Failure::argument("a label has no slash", "write memfd: and a word that /proc will show"));
    }
    Ok(())
}

fn key_of(text: &[u8]) -> Outcome<i32> {
    if let Some(inner) = text.strip_prefix(b"ftok(").and_then(|rest| rest.strip_suffix(b")")) {
        return ftok(inner);
    }
    let (digits, base) = match text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    let key = core::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
    match key.and_then(|digits| u32::from_str_radix(digits, base).ok()) {
        None => Err(Failure::argument("\"{name}\" has no System V key", "write sysv:0x344378 or sysv:ftok(PATH,ID)")),
        Some(0) => Err(Failure::argument(
            "key 0 is IPC_PRIVATE: every get makes another segment, and nobody can open it by name",
            "choose a key other than 0, or use memfd: or anon: for memory without a name",
        )),
        Some(key) => Ok(key as i32),
    }
}

/// ftok(3): the low 8 bits of the id, the low 8 bits of the device, the low 16 bits of the file's number.
fn ftok(inner: &[u8]) -> Outcome<i32> {
    let wrong = || {
        Failure::argument("\"{name}\" is not sysv:ftok(PATH,ID)", "write the path, a comma and a number from 1 to 255")
    };
    let comma = inner.iter().rposition(|byte| *byte == b',').ok_or_else(wrong)?;
    let (path, id) = (&inner[..comma], inner[comma + 1..].trim_ascii());
    let id: u32 = core::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).ok_or_else(wrong)?;
    if id & 0xff == 0 {
        return Err(Failure::argument(
            "ftok uses the low 8 bits of the id, and they are 0: the key is undefined (POSIX)",
            "use an id from 1 to 255",
        ));
    }
    let path = Chars::join(&[path])?;
    let (dev, ino) = sys::sysv::file_identity(path.c()).map_err(|errno| {
        Failure::new(
            Status::from_errno(errno.0),
            "the file of \"{name}\" cannot be looked at, and its key is made of the file's number",
            "create the file once, before any process uses it, and never replace it",
        )
    })?;
    let key = (id & 0xff) << 24 | ((dev & 0xff) as u32) << 16 | (ino & 0xffff) as u32;
    Ok(key as i32)
}

/// The path under which the file system knows what a path address names.
pub fn path_of(backend: Backend, rest: &[u8]) -> Outcome<Chars> {
    let folder: &[u8] = if backend == Backend::Posix { OBJECT_FOLDER.to_bytes() } else { b"" };
    Chars::join(&[folder, rest])
}

/// The folder that a path lies in.
pub fn folder_of(path: &[u8]) -> Outcome<Chars> {
    let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    Chars::join(&[&path[..slash.max(1).min(path.len())]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(address: &str) -> Result<String, Status> {
        let parsed = Parsed::new(address.as_bytes()).map_err(|failure| failure.status)?;
        Ok(String::from_utf8(parsed.text().to_vec()).expect("it was text"))
    }

    #[test]
    fn addresses_have_one_canonical_form() {
        for (address, expected) in [
            ("posix:/t", "posix:/t"),
            ("sysv:0x344378", "sysv:0x344378"),
            ("sysv:16", "sysv:0x10"),
            ("sysv:0XfF", "sysv:0xff"),
            ("file:/tmp/x", "file:/tmp/x"),
            ("memfd:frames", "memfd:frames"),
            ("memfd:", "memfd:"),
            ("anon:", "anon:"),
        ] {
            assert_eq!(canonical(address).as_deref(), Ok(expected));
        }
        let relative = canonical("file:x").expect("a relative path is made absolute");
        assert!(relative.starts_with("file:/") && relative.ends_with("/x"));
        let key = canonical("sysv:ftok(/,65)").expect("the root is there");
        assert!(key.starts_with("sysv:0x41"), "{key}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for address in [
            "",
            "t",
            "/t",
            "posix:",
            "posix:t",
            "posix:/",
            "posix:/.",
            "posix:/..",
            "posix:/a/b",
            "posix:/.shmkit-x",
            "sysv:",
            "sysv:0",
            "sysv:x",
            "sysv:0x",
            "sysv:+1",
            "sysv:0x1ffffffff",
            "sysv:ftok(/)",
            "sysv:ftok(/,256)",
            "sysv:ftok(/,x)",
            "file:",
            "file:/tmp/",
            "memfd:a/b",
            "anon:x",
            "shm:/t",
            "posix:/a\0b/",
        ] {
            assert_eq!(canonical(address), Err(Status::ErrInvalidArgument), "{address}");
        }
        assert_eq!(canonical(&format!("posix:/{}", "x".repeat(256))), Err(Status::ErrNameTooLong));
        assert_eq!(canonical(&format!("file:/{}", "x".repeat(5000))), Err(Status::ErrNameTooLong));
        assert_eq!(canonical("sysv:ftok(/no/such/file,1)"), Err(Status::ErrNotFound));
    }
}
