//! The program before it runs: where it is, and whether the loader will put the interposer into it. Next: `mod.rs`.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// Finds a program as a shell does.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let none = || Failure::new(Exit::NoProgram, format!("{name:?} cannot be found"), "");
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return if path.exists() { Ok(path) } else { Err(none()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let mut all = std::env::split_paths(&path).map(|folder| folder.join(name));
    let runs = |path: &PathBuf| fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.mode() & 0o111 != 0);
    all.find(runs).ok_or_else(none)
}

/// Refuses a program that the loader would not put the interposer into.
pub fn require_loadable(path: &Path) -> Result<(), Failure> {
    require(path, 0)
}

fn refuse(path: &Path, why: &str, remedy: &str) -> Failure {
    Failure::new(Exit::CannotRun, format!("{} {why}", path.display()), remedy)
}

fn require(path: &Path, depth: u32) -> Result<(), Failure> {
    let facts = fs::metadata(path).map_err(|error| refuse(path, &format!("cannot be looked at: {error}"), ""))?;
    if facts.mode() & 0o6000 != 0 && (facts.uid() != effective_user() || facts.mode() & 0o2000 != 0) {
        return Err(refuse(
            path,
            "runs with another user's rights (setuid or setgid): the loader ignores LD_PRELOAD there",
            "run a copy without those bits, as the user that it becomes",
        ));
    }
    if real_user() != 0 && has_capabilities(path) {
        return Err(refuse(
            path,
            "has capabilities of its own (setcap): the loader ignores LD_PRELOAD there",
            "run a copy without them, as a user that may do what it does",
        ));
    }
    let mut bytes = Vec::new();
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        // It can be run and not be read: then the kernel decides.
        Err(_) => return Ok(()),
    };
    let _ = file.by_ref().take(64 << 10).read_to_end(&mut bytes);
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let interpreter = line.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
        let interpreter = PathBuf::from(OsString::from_vec(interpreter.to_vec()));
        if !interpreter.exists() {
            let what = format!("{} needs {}, which cannot be found", path.display(), interpreter.display());
            return Err(Failure::new(Exit::NoProgram, what, ""));
        }
        return if depth < 4 { require(&interpreter, depth + 1) } else { Ok(()) };
    }
    match elf(&bytes) {
        Elf::Dynamic => Ok(()),
        Elf::Static => Err(refuse(
            path,
            "is statically linked: there is no loader to put the interposer into it",
            "link it dynamically, or build it with the drop-in (shmkit::dropin_static)",
        )),
        Elf::Foreign => Err(refuse(
            path,
            "is of another kind of machine than the interposer",
            "use a program of this machine's own kind",
        )),
        // A script without a first line: the shell runs it.
        Elf::None => Ok(()),
    }
}

/// Whether a file gives capabilities to who runs it: in `vfs_cap_data`, a word whose lowest bit makes them effective, then
/// those that are permitted and those that can be inherited, in two halves.
fn has_capabilities(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut data = [0u8; 24];
    // SAFETY: both strings are terminated; the place is writable for its length.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), data.as_mut_ptr().cast(), data.len()) };
    let word = |at: usize| u32::from_le_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]]);
    length >= 12 && (word(0) & 1 != 0 || word(4) != 0 || word(12) != 0)
}

fn real_user() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getuid() }
}

fn effective_user() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::geteuid() }
}

enum Elf {
    None,
    Dynamic,
    Static,
    Foreign,
}

/// The shared library of a sanitizer that a program is linked with: it must be the first of all.
pub fn sanitizer(path: &Path) -> Option<String> {
    const LIBRARIES: [&str; 6] =
        ["libasan.so", "liblsan.so", "libtsan.so", "libhwasan.so", "libclang_rt.asan", "libclang_rt.tsan"];
    let bytes = fs::read(path).ok()?;
    if !matches!(elf(&bytes), Elf::Dynamic) {
        return None;
    }
    let half = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?) as usize);
    let kind = |at: usize| bytes.get(at).copied();
    const LOAD: u8 = 1;
    const DYNAMIC: u8 = 2;
    let (start, size, count) = (word(32)?, half(54)? as usize, half(56)? as usize);
    let heads = || (0..count).map(|index| start + index * size);
    let dynamic = word(heads().find(|head| kind(*head) == Some(DYNAMIC))? + 8)?;
    // Tags with their values, to the one that is 0.
    let entries = || (0..).map_while(|index| Some((word(dynamic + index * 16)?, word(dynamic + index * 16 + 8)?)));
    let tagged = |tag: usize| {
        entries().take_while(|(found, _)| *found != 0).filter(move |(found, _)| *found == tag).map(|(_, value)| value)
    };
    const NEEDED: usize = 1;
    const STRINGS: usize = 5;
    let strings = tagged(STRINGS).next()?;
    // An address: where in the file that is.
    let strings = heads().filter(|head| kind(*head) == Some(LOAD)).find_map(|head| {
        let (offset, address, length) = (word(head + 8)?, word(head + 16)?, word(head + 32)?);
        strings.checked_sub(address).filter(|within| *within < length).map(|within| offset + within)
    })?;
    let names = tagged(NEEDED).filter_map(|at| bytes.get(strings.checked_add(at)?..)?.split(|byte| *byte == 0).next());
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    let mut found = names.filter(|name| LIBRARIES.iter().any(|library| name.starts_with(library)));
    found.next().map(str::to_owned)
}

/// What the header and the program headers of an ELF file say.
fn elf(bytes: &[u8]) -> Elf {
    if !bytes.starts_with(b"\x7fELF") {
        return Elf::None;
    }
    let half = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let machine = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    // 64 bits, little end first, this machine.
    if bytes.get(4) != Some(&2) || bytes.get(5) != Some(&1) || half(18) != Some(machine) {
        return Elf::Foreign;
    }
    let start = bytes.get(32..40).map_or(0, |eight| u64::from_le_bytes(eight.try_into().unwrap_or_default())) as usize;
    let (size, count) = (half(54).unwrap_or(0) as usize, half(56).unwrap_or(0) as usize);
    const INTERPRETER: [u8; 4] = [3, 0, 0, 0];
    let has = (0..count).any(|index| bytes.get(start + index * size..start + index * size + 4) == Some(&INTERPRETER));
    if has { Elf::Dynamic } else { Elf::Static }
}
