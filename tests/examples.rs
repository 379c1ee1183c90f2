//! Builds every program of c_examples against this build of the library and runs them as run.txt says.
//! Their output must be the expected one, and nothing of theirs may be left behind. Installed copies: tests/package.rs.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use support::{compiler, place_library, root, run};

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Programs of the standard calls alone, built once as they are and once over the drop-in.
const PLAIN: [&str; 2] = ["14_dropin", "28_guards"];

/// The language of a source, by its ending: C, C++, or none that is a program's.
fn is_cpp(source: &Path) -> Option<bool> {
    match source.extension()?.to_str()? {
        "c" => Some(false),
        "cpp" => Some(true),
        _ => None,
    }
}

fn compile(source: &Path, program: &Path, flags: &[&str], library: Option<&Path>) {
    let cpp = is_cpp(source).expect("it is a program");
    let mut command = compiler(cpp);
    command.args(if cpp { &["-std=c++17"][..] } else { &["-std=c11", "-D_GNU_SOURCE"] });
    command.args(STRICT).args(flags).arg("-I").arg(root().join("include")).arg(source).arg("-o").arg(program);
    if let Some(folder) = library {
        command.arg("-L").arg(folder).arg("-lshmkit").arg(format!("-Wl,-rpath,{}", folder.display()));
    }
    run(&mut command);
}

/// Compiles all programs into `bin`; gives their number.
fn build(bin: &Path) -> usize {
    place_library(bin);
    let mut count = 0;
    for entry in fs::read_dir(root().join("c_examples")).expect("c_examples/ is there") {
        let source = entry.expect("c_examples/ can be listed").path();
        if is_cpp(&source).is_none() {
            continue;
        }
        let name = source.file_stem().and_then(|name| name.to_str()).expect("names are ASCII");
        if PLAIN.contains(&name) {
            compile(&source, &bin.join(name), &["-pthread"], None);
            let checked = bin.join(format!("{name}_shmkit"));
            compile(&source, &checked, &["-include", "shmkit/dropin.h"], Some(bin));
        } else {
            compile(&source, &bin.join(name), &[], Some(bin));
        }
        count += 1;
    }
    count
}

/// A System V key that no segment has.
fn free_key() -> String {
    let table = fs::read_to_string("/proc/sysvipc/shm").expect("System V shared memory is there");
    let taken = |key: u32| table.lines().any(|line| line.split_whitespace().next() == Some(&(key as i32).to_string()));
    let first = 0x5300_0000 | (std::process::id() & 0xffff) << 4;
    let key = (first..).find(|key| !taken(*key)).expect("most keys are free");
    format!("{key:x}")
}

/// Whether a segment of this key is left, or the semaphores that stand beside a System V region.
fn is_left(key: &str) -> bool {
    const OTHER: u32 = 0x5348_4d4b;
    let key = u32::from_str_radix(key, 16).expect("free_key gives hex");
    // SAFETY: neither call takes a buffer.
    unsafe { libc::shmget(key as i32, 0, 0) != -1 || libc::semget((key ^ OTHER) as i32, 0, 0) != -1 }
}

/// One title of run.txt in its own folder.
struct Title<'a> {
    bin: &'a Path,
    folder: &'a Path,
    /// Standard output so far.
    output: String,
}

impl Title<'_> {
    fn program(&mut self, words: &[&str]) -> Output {
        let mut command = Command::new(self.bin.join(words[0]));
        let output = command.args(&words[1..]).current_dir(self.folder).output();
        let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        self.output.push_str(&String::from_utf8_lossy(&output.stdout));
        output
    }

    fn step(&mut self, words: &[&str]) {
        let at = |name: &str| self.folder.join(name);
        match words {
            ["make", file, bytes] => {
                let bytes: usize = bytes.parse().expect("make takes a number of bytes");
                let mut seed = 88172645463325252u64;
                let content: Vec<u8> = (0..bytes)
                    .map(|_| {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        seed as u8
                    })
                    .collect();
                fs::write(at(file), content).expect("the folder is writable");
            }
            ["link", file, name] => fs::hard_link(at(file), at(name)).expect("the folder is writable"),
            ["symlink", text, name] => std::os::unix::fs::symlink(text, at(name)).expect("the folder is writable"),
            ["fifo", name] => drop(run(Command::new("mkfifo").arg(at(name)))),
            ["same", one, other] => {
                assert!(fs::read(at(one)).unwrap() == fs::read(at(other)).unwrap(), "{one} and {other} differ");
                let mode = |name: &str| fs::metadata(at(name)).unwrap().permissions().mode();
                assert_eq!(mode(one), mode(other), "{one} and {other} have different modes");
            }
            ["absent", name] => assert!(fs::symlink_metadata(at(name)).is_err(), "{name} is there"),
            ["expect-fail", program @ ..] => {
                let output = self.program(program);
                assert_eq!(output.status.code(), Some(1), "{program:?}");
                assert!(!output.stderr.is_empty(), "{program:?} failed without a word");
            }
            ["expect-usage", program @ ..] => {
                let output = self.program(program);
                assert_eq!(output.status.code(), Some(2), "{program:?}");
                assert!(output.stderr.starts_with(b"usage: "), "{program:?} did not say its usage");
            }
            program => {
                let output = self.program(program);
                let words = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success() && words.is_empty(), "{program:?}: {}\n{words}", output.status);
            }
        }
    }
}

fn compare(title: &str, output: &str) {
    let path = root().join("c_examples/expected").join(format!("{title}.txt"));
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (lines, expected): (Vec<_>, Vec<_>) = (output.lines().collect(), expected.lines().collect());
    assert_eq!(lines.len(), expected.len(), "{title} printed:\n{output}");
    for (line, expected) in lines.iter().zip(expected) {
        let same = match expected.strip_prefix('~') {
            Some(pattern) => {
                regex::Regex::new(&format!("^(?:{pattern})$")).expect("patterns are well-formed").is_match(line)
            }
            None => *line == expected,
        };
        assert!(same, "{title} printed:\n  {line}\nin place of:\n  {expected}");
    }
}

#[test]
fn every_example_prints_what_it_should() {
    let segments_before = support::segments();
    let bin = tempfile::tempdir().expect("a temporary folder");
    let built = build(bin.path());
    let manifest = fs::read_to_string(root().join("c_examples/run.txt")).expect("run.txt is there");
    let mut runs = BTreeMap::new();
    for line in manifest.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (title, commands) = line.split_once(':').expect("a line is TITLE: COMMANDS");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (unique, key) = (support::unique().replace('-', "x"), free_key());
        let mut run = Title { bin: bin.path(), folder: folder.path(), output: String::new() };
        for command in commands.split(';') {
            let command = command.replace("@UNIQUE@", &unique).replace("@KEY@", &key);
            let words: Vec<&str> = command.split_whitespace().collect();
            run.step(&words);
            words.iter().for_each(|word| drop(runs.insert(word.to_string(), title.to_string())));
        }
        compare(title, &run.output);
        let left: Vec<_> =
            fs::read_dir("/dev/shm").expect("/dev/shm is there").flatten().map(|entry| entry.file_name()).collect();
        assert!(
            !left.iter().any(|name| name.to_string_lossy().contains(&unique)),
            "{title} left an object behind: {left:?}"
        );
        assert!(!is_left(&key), "{title} left a segment or semaphores of key {key} behind");
    }
    // Every program is in the manifest.
    let sources = fs::read_dir(root().join("c_examples")).expect("c_examples/ is there").flatten();
    for path in sources.map(|entry| entry.path()).filter(|path| is_cpp(path).is_some()) {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("names are ASCII").to_string();
        assert!(runs.contains_key(&name), "{name} is not in run.txt");
    }
    assert_eq!(support::segments(), segments_before, "segments were left behind");
    println!(
        "{built} programs, {} titles",
        manifest.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
    );
}
