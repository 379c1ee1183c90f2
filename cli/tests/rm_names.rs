//! `shmkit rm` and names: what an address means where names have spaces at an end, bytes that are not printable and
//! backslashes, or where another object had the name before. Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use room::{TOOL, err, hold, in_a_room, json, listed, out, text, tool};

fn path(name: &[u8]) -> PathBuf {
    PathBuf::from("/dev/shm").join(OsStr::from_bytes(name))
}

fn make(name: &[u8]) {
    std::fs::write(path(name), "x").expect("it is writable");
}

fn exists(name: &[u8]) -> bool {
    path(name).symlink_metadata().is_ok()
}

/// Runs `rm` with an address that need not be text.
fn rm(address: &[u8]) -> Output {
    Command::new(TOOL).arg("rm").arg(OsStr::from_bytes(address)).output().expect("the tool was built")
}

#[test]
fn spaces_at_the_ends_of_a_name_are_told_apart() {
    in_a_room("spaces_at_the_ends_of_a_name_are_told_apart", || {
        for name in [&b"log"[..], b"log ", b"log  ", b" log"] {
            make(name);
        }
        let rows = text(&["ls", "--no-headings", "-k", "posix", "-o", "address"]);
        let rows: Vec<&str> = rows.lines().collect();
        assert_eq!(rows, ["posix:/ log", "posix:/log", "posix:/log\\x20", "posix:/log\\x20\\x20"]);
        let batch = text(&["top", "--batch", "1"]);
        for row in &rows[1..] {
            assert_eq!(batch.lines().filter(|line| line.trim_end().ends_with(row)).count(), 1, "{row}: {batch}");
        }
        let spaced = listed(&["-k", "posix"]).into_iter().find(|object| object["address"] == "posix:/log\\x20");
        assert_eq!(spaced.expect("it is listed")["address_hex"], "706f7369783a2f6c6f6720");
        assert_eq!(text(&["rm", rows[2]]), "removed posix:/log\\x20\n");
        assert!(exists(b"log") && !exists(b"log ") && exists(b"log  "));
        assert_eq!(text(&["rm", "posix:/log  "]), "removed posix:/log\\x20\\x20\n");
        assert!(exists(b"log") && exists(b" log"));
    });
}

#[test]
fn an_address_is_first_what_ls_prints() {
    in_a_room("an_address_is_first_what_ls_prints", || {
        // With what the other reading names, too, nothing goes; without it, what was printed does.
        for (printed, meant, literal) in [
            ("posix:/x\\x0a", &b"x\n"[..], &b"x\\x0a"[..]),
            ("posix:/a\\\\b", b"a\\b", b"a\\\\b"),
            ("posix:/\\xff", b"\xff", b"\\xff"),
        ] {
            make(meant);
            make(literal);
            for options in [&[][..], &["--force"], &["--if-unused"]] {
                let refused = tool(&[&["rm"], options, &[printed]].concat());
                assert_eq!(refused.status.code(), Some(2), "{refused:?}");
                assert!(err(&refused).contains("both exist"), "{refused:?}");
                assert!(exists(meant) && exists(literal));
            }
            // Each of the two has a spelling that means it alone.
            let own = format!("posix:/{}", String::from_utf8_lossy(literal).replace('\\', "\\\\"));
            assert_eq!(text(&["rm", &own]), format!("removed {own}\n"));
            assert!(exists(meant) && !exists(literal));
            make(literal);
            let done = rm(&[b"posix:/", meant].concat());
            assert_eq!(out(&done), format!("removed {printed}\n"), "{done:?}");
            assert!(!exists(meant) && exists(literal));
            std::fs::remove_file(path(literal)).expect("it is there");
            make(meant);
            assert_eq!(text(&["rm", printed]), format!("removed {printed}\n"));
            assert!(!exists(meant));
        }
    });
}

#[test]
fn rm_names_what_it_removed_as_ls_does() {
    in_a_room("rm_names_what_it_removed_as_ls_does", || {
        make(b"\xff");
        let listed = listed(&["-k", "posix"])[0]["address"].clone();
        let removed = json(&["rm", listed.as_str().expect("a string")]);
        assert_eq!((&removed["objects"][0]["address"], &removed["objects"][0]["removed"]), (&listed, &true.into()));
        // What is not there is named as it was asked for.
        let none = tool(&["rm", "posix:/\\xfe"]);
        assert_eq!(none.status.code(), Some(3));
        assert!(err(&none).contains("there is no posix:/\\xfe;"), "{none:?}");
        let shown = tool(&["show", "posix:/\\xfe"]);
        assert!(err(&shown).contains("there is no posix:/\\xfe;"), "{shown:?}");
    });
}

#[test]
fn a_new_file_is_found_behind_a_removed_one_that_is_mapped() {
    in_a_room("a_new_file_is_found_behind_a_removed_one_that_is_mapped", || {
        let folder = tempfile::Builder::new().prefix("shmkit-names-").tempdir().expect("/tmp is writable");
        let path = folder.path().join("state");
        let address = format!("file:{}", path.display());
        let _holder = hold(&["file", path.to_str().expect("it is UTF-8")]);
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "new").expect("it is writable");
        let shown = json(&["show", &address]);
        let shown = shown["objects"].as_array().expect("a list");
        let sizes: Vec<_> = shown.iter().map(|one| one["object"]["size"].as_u64()).collect();
        assert_eq!(sizes, [Some(3), Some(12288)], "the file first, then what is only mapped: {shown:?}");
        assert_eq!(text(&["rm", &address]), format!("removed {address}\n"));
        assert!(!path.exists());
        let gone = tool(&["rm", &address]);
        assert_eq!(gone.status.code(), Some(1), "{gone:?}");
        assert!(err(&gone).contains("was removed already"), "{gone:?}");
    });
}
