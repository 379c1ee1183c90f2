//! `shmkit dump` against hexdump -C; holes, truncation under way, headers.

#[path = "machine/mod.rs"]
mod room;
#[path = "run_support/mod.rs"]
mod runs;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use shmkit::region::header::Layout;

use room::{Key, Object, OddObjects, Ran, TOOL, noise, region, tool};

fn hexdump(path: &Path, more: &[&str]) -> String {
    let told =
        Command::new("hexdump").arg("-C").args(more).arg(path).env("LC_ALL", "C").output().expect("hexdump runs");
    assert!(told.status.success());
    String::from_utf8_lossy(&told.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn it_is_what_hexdump_shows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let mut repeated = noise(1, 16).repeat(5000);
    repeated.extend(noise(2, 40));
    let mut zeros = vec![0; 70_000];
    zeros[69_000] = 7;
    let all: Vec<u8> = (0..=255).collect();
    let contents = [
        vec![],
        vec![65],
        noise(3, 15),
        noise(4, 16),
        noise(5, 17),
        noise(6, 200_000),
        repeated,
        zeros,
        vec![0; 64],
        vec![0xff; 33],
        all,
    ];
    for (number, content) in contents.iter().enumerate() {
        fs::write(&path, content).expect("it can be written");
        let ran = tool(&["dump", text(&path)]);
        assert_eq!(ran.code, Some(0), "{number}: {}", ran.err);
        assert!(ran.out == hexdump(&path, &[]), "{number}");
        for (offset, length) in [(0, 5), (3, 16), (5, 40), (16, 16), (1000, 100_000)] {
            if offset > content.len() {
                continue;
            }
            let (offset, length) = (offset.to_string(), length.to_string());
            let ran = tool(&["dump", "-s", &offset, "-n", &length, text(&path)]);
            let expected = hexdump(&path, &["-s", &offset, "-n", &length]);
            // hexdump shows the end of nothing when it was asked to skip all of it.
            let nothing = offset == content.len().to_string();
            assert!(
                ran.out == expected || nothing && ran.out.is_empty(),
                "{number} {offset} {length}: {ran:?} {expected}"
            );
        }
        let raw = Command::new(TOOL).args(["dump", "--raw", text(&path)]).output().expect("the tool runs");
        assert!(raw.stdout == *content, "{number}");
    }
    assert_eq!(tool(&["dump", "-s", "999999999", text(&path)]).code, Some(1));
    assert_eq!(tool(&["dump", "-s", "lots", text(&path)]).code, Some(2));
    assert_eq!(tool(&["dump", text(&folder.path().join("none"))]).code, Some(3));
}

/// Lines of hexdump's for whole pages of zeros that are holes: replaced by what dump says of them.
#[test]
fn holes_are_told_apart_from_zeros() {
    let object = Object::new();
    let file = File::options().create_new(true).read(true).write(true).open(object.path()).expect("it is new");
    file.set_len(9 * 4096 + 10).expect("there is room");
    // A page of bytes, a hole, a page of zeros that were written, a hole to the end.
    file.write_all_at(&noise(1, 4096), 0).expect("there is room");
    file.write_all_at(&[0; 4096], 3 * 4096).expect("there is room");
    let ran = tool(&["dump", "-s", "0xff0", &object.address()]);
    let first: String = hexdump(&object.path(), &["-s", "4080", "-n", "16"]).lines().take(1).collect();
    let zeros = "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|";
    let expected = format!(
        "{first}\n00001000  hole of 8192 bytes\n00003000  {zeros}\n*\n00004000  hole of 20490 bytes\n0000900a\n"
    );
    assert_eq!(ran.out, expected);
    // Lines begin where the dump does: a hole that begins within one is shown from the next line on.
    let ran = tool(&["dump", "-s", "0xffb", "-n", "20", &object.address()]);
    assert_eq!(ran.out.lines().count(), 3, "{ran:?}");
    assert!(ran.out.contains("\n0000100b  hole of 4 bytes\n0000100f\n"), "{ran:?}");
    let document = tool(&["dump", "--json", &object.address()]).json();
    let parts = document["parts"].as_array().expect("a list");
    let shape: Vec<(u64, u64, bool)> = parts
        .iter()
        .map(|part| {
            let number = |name: &str| part[name].as_u64().expect("a number");
            (number("offset"), number("length"), part["hole"].as_bool().expect("told"))
        })
        .collect();
    assert_eq!(shape, [(0, 4096, false), (4096, 8192, true), (12_288, 4096, false), (16_384, 20_490, true)]);
    let hex: String = noise(1, 4096).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(parts[0]["hex"].as_str(), Some(hex.as_str()));
    // What is read is not made resident by it.
    let blocks = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).expect("there"));
    assert_eq!(blocks(&object.path()), 16);
    let raw = Command::new(TOOL).args(["dump", "--raw", &object.address()]).output().expect("the tool runs");
    assert!(raw.stdout == fs::read(object.path()).expect("there"));
}

#[test]
fn a_truncation_under_way_is_an_error() {
    for more in [&[][..], &["--raw"]] {
        let object = Object::new();
        fs::write(object.path(), noise(9, 8 << 20)).expect("there is room");
        let mut child = Command::new(TOOL)
            .args(["dump", &object.address()])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool runs");
        // It stands still as soon as the pipe is full: so it is under way now.
        let mut some = [0; 100];
        child.stdout.as_mut().expect("piped").read_exact(&mut some).expect("it writes");
        File::options().write(true).open(object.path()).and_then(|file| file.set_len(1 << 20)).expect("it is ours");
        let ran = Ran::of(child.wait_with_output().expect("it is ours"));
        assert_eq!(ran.code, Some(1), "no signal: {}", ran.err);
        assert!(
            ran.err.contains("was truncated during the dump: it had 8388608 bytes and has 1048576;"),
            "{}",
            ran.err
        );
    }
}

#[test]
fn who_reads_no_more_is_no_failure() {
    let object = Object::new();
    fs::write(object.path(), noise(9, 8 << 20)).expect("there is room");
    let script = format!("{TOOL} dump {} | head -n 1; exit ${{PIPESTATUS[0]}}", object.address());
    let ran = Ran::of(Command::new("bash").args(["-c", &script]).output().expect("bash runs"));
    assert_eq!((ran.code, ran.out.lines().count(), ran.err.as_str()), (Some(0), 1, ""));
}

/// FNV-1a of 64 bits, as its authors define it.
fn fnv(bytes: &[u8]) -> String {
    let hash = bytes
        .iter()
        .fold(14_695_981_039_346_656_037u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211));
    format!("{hash:016x}")
}

#[test]
fn a_header_is_decoded() {
    let (object, key) = (Object::new(), Key::new());
    region(&object.address(), &noise(1, 1000), 64 << 10);
    region(&key.address(), &noise(2, 2000), 0);
    let document = tool(&["dump", "--header", "--json", &object.address()]).json();
    assert_eq!(document["schema"], "shmkit.header");
    for (name, value) in [
        ("size", 1000),
        ("max_size", 64 << 10),
        ("data_offset", 4096),
        ("layout_size", 16),
        ("layout_alignment", 8),
        ("generation", 0),
    ] {
        assert_eq!(document[name].as_u64(), Some(value), "{name}");
    }
    assert_eq!(document["creator"]["pid"].as_u64(), Some(std::process::id().into()));
    assert_eq!(document["persistent"], false);
    let ran = tool(&["dump", "--header", &key.address()]);
    assert!(
        ran.out.contains("kind            sysv\n")
            && ran.out.contains("layout          frames, version 3, 16 bytes, aligned to 8\n"),
        "{}",
        ran.out
    );
    // One word for the type, the same wherever it is shown, and for every region of it.
    let print = document["layout_fingerprint"].as_str().expect("it is told").to_string();
    assert_eq!(
        print,
        fnv(&[&b"frames"[..], &[0; 42], &[3, 0, 0, 0], &[16, 0, 0, 0, 0, 0, 0, 0], &[8, 0, 0, 0]].concat())
    );
    assert!(ran.out.contains(&format!("fingerprint     {print}\n")), "{}", ran.out);
    let shown = tool(&["show", &object.address(), &key.address()]).out;
    let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words.matches(&format!("fingerprint {print}")).count(), 2, "{shown}");
    let shown = tool(&["show", "--json", &object.address()]).json();
    assert_eq!(shown["objects"][0]["header"]["layout_fingerprint"], print.as_str());
    // Any difference is another one; where no type is named there is none.
    for layout in [Layout::new(b"frames", 4, 16, 8), Layout::new(b"frame", 3, 16, 8), Layout::new(b"", 0, 0, 0)] {
        let other = Object::new();
        let mut options = shmkit::region::Options { size: 100, layout, ..Default::default() };
        let made = shmkit::region::create(other.address().as_bytes(), &mut options);
        let token = made.unwrap_or_else(|failure| panic!("{}", failure.cause));
        shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
        let document = tool(&["dump", "--header", "--json", &other.address()]).json();
        let found = &document["layout_fingerprint"];
        assert!(found.is_null() == layout.is_any() && *found != print.as_str(), "{document}");
    }
    // All of it, and the data alone.
    assert!(tool(&["dump", "-n", "16", &object.address()]).out.contains("|shmkitRG"));
    let data = Command::new(TOOL).args(["dump", "--raw", "--data", &object.address()]).output().expect("the tool runs");
    assert!(data.stdout == noise(1, 1000));
    let part =
        Command::new(TOOL).args(["dump", "--raw", "--data", "-s", "990", &key.address()]).output().expect("it runs");
    assert!(part.stdout == noise(2, 2000)[990..]);
    // A lie is said to be one.
    File::options().write(true).open(object.path()).and_then(|file| file.set_len(4097)).expect("it is ours");
    for more in [&["--header"][..], &["--data"]] {
        let ran = tool(&[&["dump", &object.address()], more].concat());
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("the header cannot be true"), "{ran:?}");
    }
    let plain = Object::new();
    fs::write(plain.path(), "plain").expect("there is room");
    let ran = tool(&["dump", "--header", &plain.address()]);
    assert!(ran.code == Some(1) && ran.err.contains("is no region of shmkit's"), "{ran:?}");
}

#[test]
fn what_ls_prints_is_taken() {
    let odd = OddObjects::new(&[b"\xff\xfe", b"\\", b"semi\x07", b"new\nline", b"\xc3\xa9", b"wrong\\xg", b"plain"]);
    for number in 0..odd.0.len() {
        let printed = odd.printed(number);
        assert!(printed.bytes().all(|byte| byte >= b' '), "{printed}");
        let ran = tool(&["dump", "--raw", &printed]);
        assert_eq!((ran.code, ran.out), (Some(0), format!("object {number}")), "{printed}");
        let document = tool(&["dump", "--json", &printed]).json();
        assert_eq!(document["address"], printed, "and prints it again");
    }
    // Backslashes that begin no escape are what they are.
    let plain = format!("posix:/{}", odd.0[5].file_name().and_then(|name| name.to_str()).expect("text"));
    assert_eq!(tool(&["dump", "--raw", &plain]).out, "object 5");
}

#[test]
fn what_may_be_two_objects_is_refused() {
    let odd = OddObjects::new(&[b"x\n", b"x\\x0a", b"only\\x41"]);
    let (first, second) = (odd.printed(0), odd.printed(1));
    assert!(first.ends_with("x\\x0a") && second.ends_with("x\\\\x0a"), "{first} {second}");
    let target = Object::new();
    for args in [&["dump", &first][..], &["cp", &first, &target.address()], &["cp", "-f", &target.address(), &first]] {
        let ran = tool(args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("both exist") && ran.err.contains(&second), "{ran:?}");
    }
    assert_eq!(tool(&["dump", "--raw", &second]).out, "object 1");
    // Without a doubt each can be named.
    fs::remove_file(&odd.0[1]).expect("it is ours");
    assert_eq!(tool(&["dump", "--raw", &first]).out, "object 0");
    let literal = format!("posix:/{}", odd.0[2].file_name().and_then(|name| name.to_str()).expect("text"));
    assert_eq!(tool(&["dump", "--raw", &literal]).out, "object 2");
    // A path has no escapes.
    assert_eq!(tool(&["dump", "--raw", odd.0[2].to_str().expect("text")]).out, "object 2");
}

#[test]
fn segments_without_a_key_are_taken_by_id() {
    // SAFETY: the segment has 5000 bytes, of which some are written while it is attached.
    let (id, at) = unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, 5000, 0o600);
        assert!(id >= 0);
        let at = libc::shmat(id, std::ptr::null(), 0);
        assert_ne!(at as isize, -1);
        std::ptr::copy_nonoverlapping(noise(3, 5000).as_ptr(), at.cast(), 5000);
        (id, at)
    };
    let address = format!("sysv:id={id}");
    let target = Object::new();
    let raw = || Command::new(TOOL).args(["dump", "--raw", &address]).output().expect("the tool runs");
    let (dumped, copied) = (raw(), tool(&["cp", &address, &target.address()]));
    // Also when it is removed and still attached.
    // SAFETY: the command takes no pointer; the segment is attached at `at`.
    let removed = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    let again = raw();
    // SAFETY: as above.
    unsafe { libc::shmdt(at) };
    assert_eq!(removed, 0);
    assert!(dumped.stdout == noise(3, 5000) && again.stdout == noise(3, 5000), "{dumped:?} {again:?}");
    assert_eq!(copied.code, Some(0), "{copied:?}");
    assert_eq!(fs::read(target.path()).expect("there"), noise(3, 5000));
    assert_eq!(tool(&["dump", &address]).code, Some(3), "it is gone");
    assert_eq!(tool(&["dump", "sysv:id=x"]).code, Some(2));
    assert_eq!(tool(&["dump", "sysv:id=-1"]).code, Some(2));
}

#[test]
fn a_file_that_tells_a_wrong_size_is_not_called_truncated() {
    let file = Path::new("/sys/devices/system/cpu/online");
    let Ok(status) = fs::metadata(file) else {
        return runs::not_run("files of a wrong size are not dumped: there is no /sys");
    };
    let content = fs::read(file).expect("everybody may read it");
    assert!(status.len() > content.len() as u64, "it tells more than it has");
    let target = Object::new();
    for args in [&["dump", text(file)][..], &["dump", "--raw", text(file)], &["cp", text(file), &target.address()]] {
        let ran = tool(args);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let words = format!("has {} bytes by its size, and fewer could be read", status.len());
        assert!(ran.err.contains(&words) && !ran.err.contains("truncated"), "{ran:?}");
    }
    assert!(!target.path().exists());
}
