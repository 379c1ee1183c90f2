//! What every command has in common: standard output and error that cannot be written, man pages, completions.

#[path = "machine/mod.rs"]
mod room;
#[path = "run_support/mod.rs"]
mod runs;

use std::fs::{self, File};
use std::process::{Command, Stdio};

use room::{Object, Ran, TOOL, private, tool};

/// A stream that cannot be written, or one that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Fine,
    /// As on a full device.
    Full,
    /// A pipe that nobody reads any more.
    Closed,
}

impl Stream {
    fn open(self) -> Stdio {
        match self {
            Stream::Fine => Stdio::piped(),
            Stream::Full => File::options().write(true).open("/dev/full").expect("/dev/full is there").into(),
            Stream::Closed => {
                let (reader, writer) = std::io::pipe().expect("there are descriptors");
                drop(reader);
                writer.into()
            }
        }
    }
}

const BAD: [(Stream, Stream); 5] = [
    (Stream::Full, Stream::Fine),
    (Stream::Closed, Stream::Fine),
    (Stream::Fine, Stream::Full),
    (Stream::Fine, Stream::Closed),
    (Stream::Full, Stream::Full),
];

fn with_streams(args: &[&str], (out, err): (Stream, Stream)) -> Ran {
    let mut command = Command::new(TOOL);
    let child = command.args(args).stdin(Stdio::null()).stdout(out.open()).stderr(err.open()).spawn();
    Ran::of(child.and_then(|child| child.wait_with_output()).expect("the tool runs"))
}

/// What the help lists, but `help` itself.
fn commands() -> Vec<String> {
    let help = tool(&["--help"]).out;
    let list = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("it lists commands");
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(String::from));
    names.filter(|name| !name.is_empty() && name != "help").collect()
}

#[test]
fn no_command_panics_where_it_cannot_write() {
    runs::interposer();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_string();
    let (file, copy, pages) = (path("file"), path("copy"), path("pages"));
    fs::write(&file, "some bytes").expect("it can be written");
    let object = Object::new();
    fs::write(object.path(), "some bytes").expect("there is room");
    let (here, none) = (object.address(), Object::new().address());
    let own = std::process::id().to_string();
    // Each prints something on standard output, on standard error, or on both.
    let lines: &[&[&str]] = &[
        &["run", "--", "/bin/true"],
        &["run", "--json", "--", "/bin/true"],
        &["run", "--", "/nowhere/none"],
        &["trace", "-c", "--", "/bin/true"],
        &["ls"],
        &["ls", "--json"],
        &["ls", "-o", "none"],
        &["show", &here, &none],
        &["show", &here, "--json"],
        &["who", &here],
        &["who", &own],
        &["who", &none],
        &["rm", &none, &none],
        &["rm", "--json", &none],
        &["rm", "-i", &here],
        &["gc", "-v"],
        &["gc", "--json"],
        &["doctor", "--need", "1G"],
        &["doctor", "--json"],
        &["limits"],
        &["limits", "--json"],
        &["top", "--batch", "1"],
        &["top"],
        &["cp", "-f", &file, &copy],
        &["cp", "-f", &none, &copy],
        &["dump", &file],
        &["dump", "--raw", &file],
        &["dump", &none],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["completions", "none"],
        &["man", &pages],
        &["man", "/dev/null/none"],
        &["--help"],
        &["--version"],
        &["help", "rm"],
        &["nonsense"],
    ];
    for name in commands() {
        assert!(lines.iter().any(|line| line[0] == name), "{name} is not tried");
    }
    for line in lines {
        let usual = with_streams(line, (Stream::Fine, Stream::Fine));
        assert!(!matches!(usual.code, None | Some(101)), "{line:?}: {usual:?}");
        assert!(!usual.out.is_empty() || !usual.err.is_empty() || line[0] == "man", "{line:?} prints nothing");
        for streams in BAD {
            let ran = with_streams(line, streams);
            assert!(!matches!(ran.code, None | Some(101)), "{line:?} {streams:?}: {ran:?}");
            assert!(!ran.err.contains("panicked"), "{line:?} {streams:?}: {ran:?}");
            let own_words = !usual.out.is_empty() && !line[0].starts_with('-') && line[0] != "help";
            if streams.0 == Stream::Full && own_words {
                assert_eq!(ran.code, Some(1), "{line:?} {streams:?}: {ran:?}");
            } else if line[0] != "doctor" {
                // What others do meanwhile is another finding of doctor's.
                assert_eq!(ran.code, usual.code, "{line:?} {streams:?}: {ran:?}");
            }
            if streams == (Stream::Full, Stream::Fine) && own_words {
                assert!(ran.err.contains("standard output cannot be written"), "{line:?}: {ran:?}");
            }
        }
    }
    assert!(object.path().exists(), "nothing was removed");
}

#[test]
fn what_was_asked_for_is_done_where_standard_error_cannot_be_written() {
    for stream in [Stream::Full, Stream::Closed] {
        let (none, one) = (Object::new(), Object::new());
        fs::write(one.path(), "x").expect("there is room");
        let ran = with_streams(&["rm", &none.address(), &one.address()], (Stream::Fine, stream));
        assert_eq!(ran.code, Some(3), "{stream:?}: {ran:?}");
        assert_eq!(ran.out, format!("removed {}\n", one.address()));
        assert!(!one.path().exists());
    }
    // Its words come after the removal.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("region");
    let address = format!("file:{}", file.display());
    room::region(&address, &[7; 100], 0);
    let script = format!("$T cp -q {address} posix:/left; $T gc --remove 2>/dev/full; echo $?; ls -A /dev/shm");
    let ran = private(16 << 20, &script);
    assert!(ran.out.contains("removed") && ran.out.ends_with("\n0\n"), "{ran:?}");
}
