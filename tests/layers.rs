//! The shape of the source, held by reading it: layers depend downward only, checks stay pure, unsafe stays in its rooms.
//! Never runs the library.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A layer may use those before it.
const LAYERS: [&str; 9] = ["text", "error", "sys", "checks", "calls", "region", "sync", "containers", "capi"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src/ is there") {
        let path = entry.expect("src/ can be listed").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
}

/// Each source file: its path below src/, its layer, and its text without tests and comments.
fn files() -> Vec<(String, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    assert!(found.len() > 20, "the source was not found");
    let read = |path: PathBuf| {
        let below =
            path.strip_prefix(&root).expect("it was found there").to_str().expect("names are ASCII").to_string();
        let layer = below.split('/').next().expect("a path has a first part").trim_end_matches(".rs").to_string();
        let text = fs::read_to_string(&path).expect("sources are text");
        let code = text.split("#[cfg(test)]").next().expect("there is a part before");
        let code: String = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |all, line| all + line + "\n");
        (below, layer, code)
    };
    found.into_iter().map(read).collect()
}

#[test]
fn layers_depend_downward_only() {
    let mut used = 0;
    for (file, layer, code) in files() {
        let Some(height) = LAYERS.iter().position(|name| *name == layer) else {
            assert_eq!(file, "lib.rs", "a file outside all layers");
            continue;
        };
        for rest in code.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            let Some(other) = LAYERS.iter().position(|layer| **layer == name) else {
                panic!("{file} uses crate::{name}, which is no layer");
            };
            assert!(other <= height, "{file} uses crate::{name}, a layer above its own");
            used += 1;
        }
    }
    assert!(used > 50, "the uses were not found");
}

#[test]
fn checks_are_pure() {
    let mut seen = 0;
    for (file, layer, code) in files().into_iter().filter(|(_, layer, _)| layer == "checks") {
        seen += 1;
        for banned in [
            "unsafe",
            "panic!",
            "unwrap()",
            "expect(",
            "assert",
            "todo!",
            "unreachable!",
            "Box",
            "Vec",
            "String",
            "format!",
            "vec!",
            "to_string",
            "std::",
            "alloc::",
            "thread_local",
            "static mut",
            "Mutex<",
            "Mutex::",
            "println",
            "loop ",
        ] {
            let found = code.lines().find(|line| line.contains(banned) && !line.contains("const _: () = assert!"));
            assert!(found.is_none(), "{file} ({layer}) has `{banned}`: {}", found.unwrap_or_default());
        }
        // Of the system layer, only numbers: constants in capitals, of one file.
        for rest in code.split("sys::").skip(1) {
            assert!(
                rest.starts_with("sysv"),
                "{file} uses another part of sys: {}",
                rest.lines().next().unwrap_or_default()
            );
        }
        for rest in code.split("sysv::").skip(1) {
            let used = rest.split_once(['}', ';', ' ', '\n', ')', ',']).filter(|_| !rest.starts_with('{'));
            let used = used.map_or_else(|| rest.split('}').next().unwrap_or(rest), |(name, _)| name);
            let constant = |letter: char| letter.is_ascii_uppercase() || "_{, \n|".contains(letter);
            assert!(used.chars().all(constant), "{file} uses sys::sysv::{used}, which is no constant");
        }
    }
    assert!(seen > 5, "the checks were not found");
}

#[test]
fn unsafe_stays_in_its_rooms() {
    for (file, layer, code) in files() {
        if !matches!(layer.as_str(), "sys" | "capi") {
            let found = code.lines().find(|line| line.contains("unsafe ") || line.contains("allow(unsafe_code)"));
            assert!(found.is_none(), "{file} has unsafe code: {}", found.unwrap_or_default());
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, ..) in files() {
        let text = fs::read_to_string(root.join(&file)).expect("sources are text");
        assert!(text.starts_with("//! "), "{file} does not open with what it owns");
    }
}

#[test]
fn system_calls_mirror_checked_calls() {
    let has =
        |layer: &str, name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(layer).join(name).exists();
    for name in ["posix.rs", "memory.rs", "file.rs", "sysv.rs", "semset.rs", "record.rs", "sem.rs", "limits.rs"] {
        assert!(has("sys", name) && has("calls", name) && has("capi", name), "{name} is not in every layer");
    }
}

/// What a program may have put its own before is reached through `sys/real.rs`: otherwise the interposer's hooks would meet
/// themselves.
#[test]
fn hooked_functions_are_reached_through_one_file() {
    let files = files();
    let (_, _, real) = files.iter().find(|(file, _, _)| file == "sys/real.rs").expect("it is there");
    let names: Vec<&str> = real.split(" fn ").skip(1).filter_map(|rest| rest.split('(').next()).collect();
    let names: Vec<&str> =
        names.into_iter().filter(|name| name.chars().all(|letter| letter.is_lowercase() || letter == '_')).collect();
    assert!(names.len() > 30 && names.contains(&"shm_open") && names.contains(&"sem_wait"), "{names:?}");
    let mut reached = 0;
    for (file, _, code) in files.iter().filter(|(file, layer, _)| layer == "sys" && file != "sys/real.rs") {
        for name in &names {
            assert!(!code.contains(&format!("libc::{name}(")), "{file} calls libc::{name}");
            reached += code.matches(&format!("real::{name}(")).count();
        }
        assert!(!code.contains("libc::open(") && !code.contains("extern \"C-unwind\" {\n    fn sem_"), "{file}");
    }
    assert!(reached > 30, "the calls were not found");
}

/// The C library's functions that are cancellation points, or may be one, and that are not the program's own calls.
#[test]
fn no_system_call_of_ours_is_a_cancellation_point() {
    const POINTS: [&str; 27] = [
        "open",
        "openat",
        "creat",
        "close",
        "read",
        "write",
        "pread",
        "pwrite",
        "readv",
        "writev",
        "fsync",
        "fdatasync",
        "nanosleep",
        "clock_nanosleep",
        "usleep",
        "sleep",
        "poll",
        "ppoll",
        "select",
        "pselect",
        "sendmsg",
        "recvmsg",
        "send",
        "recv",
        "accept",
        "connect",
        "msync",
    ];
    let (mut own, mut of_program) = (0, Vec::new());
    for (file, _, code) in files() {
        for name in POINTS {
            assert!(!code.contains(&format!("libc::{name}(")), "{file} calls libc::{name}");
            let own_calls = code.matches(&format!("kernel::{name}(")).count();
            own += own_calls;
            if code.contains(&format!("real::{name}(")) {
                of_program.push((file.clone(), name));
            }
        }
    }
    assert!(own > 8, "our own calls were not found");
    assert_eq!(of_program, [("sys/file.rs".into(), "close"), ("sys/memory.rs".into(), "msync")]);
}
