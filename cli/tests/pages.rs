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
            // The status of `run` is its program's.
            if streams.0 == Stream::Full && own_words && line[0] != "run" {
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

#[test]
fn man_pages_are_clean_and_say_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("pages");
    let ran = tool(&["man", pages.to_str().expect("text")]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let mut names: Vec<String> = commands().iter().map(|name| format!("shmkit-{name}")).collect();
    names.push("shmkit".to_string());
    let found = fs::read_dir(&pages).expect("it was made").count();
    assert_eq!(found, names.len(), "one page for each command");
    let Ok(_) = Command::new("groff").arg("--version").output() else {
        return runs::not_run("man pages are not linted: there is no groff");
    };
    for name in &names {
        let page = pages.join(format!("{name}.1"));
        let told = Command::new("groff").args(["-ww", "-Tutf8", "-man", "-rHY=0", "-P-cbou"]).arg(&page).output();
        let told = Ran::of(told.expect("groff runs"));
        assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{name}");
        let words = told.out.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"] {
            assert!(told.out.lines().any(|line| line == part), "{name} has no {part}:\n{}", told.out);
        }
        assert!(words.contains("101 A fault of shmkit itself."), "{name}:\n{}", told.out);
        // What another page is said to explain is there.
        for other in words.split(' ').filter_map(|word| word.strip_suffix("(1)")) {
            assert!(names.iter().any(|name| name == other), "{name} names {other}, of which there is no page");
        }
        for (of, text) in [
            ("rm", "<ADDRESS>... DESCRIPTION"),
            ("show", "<ADDRESS>... DESCRIPTION"),
            ("run", "<CMD>... DESCRIPTION"),
            ("run", "127 There is no such program."),
            ("doctor", "11 Errors: something fails now."),
            ("dump", "3 There is nothing of this name."),
        ] {
            assert!(name != &format!("shmkit-{of}") || words.contains(text), "{name} has no {text:?}:\n{}", told.out);
        }
    }
}

/// A shell, if it is installed.
fn shell(name: &str) -> Option<Command> {
    match Command::new(name).args(["-c", "exit 0"]).status() {
        Ok(_) => Some(Command::new(name)),
        Err(_) => {
            runs::not_run(&format!("completions are not loaded: there is no {name}"));
            None
        }
    }
}

/// The completions of a shell, in a file.
fn script(name: &str, folder: &tempfile::TempDir) -> String {
    let made = tool(&["completions", name]);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
    let file = folder.path().join(name);
    fs::write(&file, made.out).expect("it can be written");
    file.to_str().expect("text").to_string()
}

#[test]
fn completions_load_in_bash() {
    let Some(mut bash) = shell("bash") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // As readline calls it: the command, the word, the word before.
    let text = format!(
        "set -e; source {}; complete -p shmkit
         of() {{ COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _shmkit shmkit \"${{COMP_WORDS[COMP_CWORD]}}\" \
         \"${{COMP_WORDS[COMP_CWORD - 1]}}\"; echo \"${{COMPREPLY[@]}}\"; }}
         of shmkit l; of shmkit rm --if; of shmkit ''",
        script("bash", &folder)
    );
    let ran = Ran::of(bash.args(["--norc", "--noprofile", "-c", &text]).output().expect("bash runs"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let lines: Vec<&str> = ran.out.lines().collect();
    let &[defined, lists, options, all] = &lines[..] else { panic!("{ran:?}") };
    assert!(defined.contains("-F _shmkit") && defined.ends_with(" shmkit"), "{defined}");
    assert_eq!((lists, options), ("ls limits", "--if-unused"));
    for name in commands() {
        assert!(all.split(' ').any(|one| one == name), "{name} is not offered: {all}");
    }
}

#[test]
fn completions_load_in_zsh() {
    let Some(mut zsh) = shell("zsh") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "autoload -Uz compinit; compinit -D -u; source {}; print -r -- $_comps[shmkit]; \
         whence -w _shmkit _shmkit_commands",
        script("zsh", &folder)
    );
    let ran = Ran::of(zsh.args(["-f", "-c", &text]).env("HOME", folder.path()).output().expect("zsh runs"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.out, "_shmkit\n_shmkit: function\n_shmkit_commands: function\n");
}

#[test]
fn completions_load_in_fish() {
    let Some(mut fish) = shell("fish") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "source {}; complete -C 'shmkit l'; complete -C 'shmkit rm --if'; complete -C 'shmkit '",
        script("fish", &folder)
    );
    let ran = Ran::of(fish.args(["--no-config", "-c", &text]).env("HOME", folder.path()).output().expect("fish runs"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    // A word, and after a tab what it means.
    let words: Vec<&str> = ran.out.lines().filter_map(|line| line.split('\t').next()).collect();
    assert!(words.starts_with(&["limits", "ls", "--if-unused"]) || words.starts_with(&["ls", "limits", "--if-unused"]));
    for name in commands() {
        assert!(words.contains(&name.as_str()), "{name} is not offered: {ran:?}");
    }
}

#[test]
fn every_table_has_columns_to_choose() {
    let object = Object::new();
    fs::write(object.path(), "x").expect("there is room");
    let file = File::open(object.path()).expect("it is there");
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file).to_string();
    let (address, own) = (object.address(), std::process::id().to_string());
    let rows = |args: &[&str]| {
        let ran = tool(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(rows(&["who", &address, "-o", "fds,pid"]), ["FDS PID".to_string(), format!("{descriptor} {own}")]);
    let ids = rows(&["who", &address, "-o", "+id"]);
    assert_eq!(ids[0], "PID OWNER ACCESS MAPPED FDS LEASE COMMAND ID");
    let held = rows(&["who", &own, "-o", "fds,address,kind"]);
    assert!(held.contains(&format!("{descriptor} {address} posix")), "{held:?}");
    for args in [&["who", &address, "-o", "none"][..], &["who", &own, "-o", "none"], &["gc", "-o", "none"]] {
        let ran = tool(args);
        assert!(ran.code == Some(2) && ran.err.contains("there is no column \"none\""), "{ran:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let region = format!("file:{}", folder.path().join("region").display());
    room::region(&region, &[7; 100], 0);
    let script = format!(
        "$T cp -q {region} posix:/left; $T gc --remove -o none && exit 9; ls /dev/shm; $T gc -o address,action,kind"
    );
    let ran = private(16 << 20, &script);
    let lines: Vec<&str> = ran.out.lines().collect();
    let &[still, head, line] = &lines[..] else { panic!("{ran:?}") };
    assert_eq!((still, head), ("left", "ADDRESS      ACTION        KIND"), "{ran:?}");
    assert_eq!(line, "posix:/left  would remove  posix", "{ran:?}");
}
