//! `shmkit cp`: holes, growth and truncation under way, full file systems, regions and segments, and what is left behind.

#[path = "machine/mod.rs"]
mod room;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use room::{Key, Object, OddObjects, Ran, TOOL, noise, private, region, tool};

const PAGE: u64 = 4096;

/// A file of this length with bytes at these places, holes elsewhere.
fn sparse(path: &Path, length: u64, parts: &[(u64, usize)]) {
    let file = File::create(path).expect("it can be made");
    file.set_len(length).expect("it can be sized");
    for (number, (at, count)) in parts.iter().enumerate() {
        file.write_all_at(&noise(number as u64 + 1, *count), *at).expect("it can be written");
    }
}

fn sha256(path: &Path) -> String {
    let told = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    assert!(told.status.success());
    String::from_utf8_lossy(&told.stdout).split_whitespace().next().expect("a sum").to_string()
}

fn assert_same(one: &Path, other: &Path) {
    assert_eq!(fs::metadata(one).expect("there").len(), fs::metadata(other).expect("there").len());
    assert_eq!(sha256(one), sha256(other));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it can be listed");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("there").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn sparse_files_of_every_shape_keep_bytes_and_holes() {
    let folder = tempfile::tempdir().expect("a folder");
    let mib = 1 << 20;
    let shapes: &[(u64, &[(u64, usize)])] = &[
        (0, &[]),
        (1, &[(0, 1)]),
        (PAGE, &[]),
        (5000, &[(0, 5000)]),
        (10 * mib + 7, &[]),
        (10 * mib, &[(0, 100_000)]),
        (10 * mib, &[(10 * mib - 3, 3)]),
        (20 * mib, &[(mib, 5000), (3 * mib + 17, 1), (9 * mib, 9 << 20)]),
        (12 * mib + 1, &[(0, (12 << 20) + 1)]),
    ];
    // A disk and memory, which know their holes in different ways.
    for memory in [false, true] {
        for (number, (length, parts)) in shapes.iter().enumerate() {
            let object = Object::new();
            let source = if memory { object.path() } else { folder.path().join("source") };
            sparse(&source, *length, parts);
            // Before the copy: who touches a hole fills it.
            let had = fs::metadata(&source).expect("there").blocks();
            let target = Object::new();
            let ran = tool(&["cp", text(&source), &target.address(), "--json"]);
            assert_eq!(ran.code, Some(0), "{number}: {ran:?}");
            assert_same(&source, &target.path());
            let document = ran.json();
            assert_eq!(document["bytes"].as_u64(), Some(*length));
            let has = fs::metadata(target.path()).expect("there");
            if memory {
                assert_eq!(had, has.blocks(), "{number}");
                assert_eq!(had, fs::metadata(&source).expect("there").blocks(), "{number}");
                let holes = length.next_multiple_of(PAGE) - has.blocks() * 512;
                // The last page counts as far as the object reaches.
                assert!(document["hole_bytes"].as_u64().expect("a number").abs_diff(holes) < PAGE, "{number}");
            }
            // And back: from memory to the disk.
            let back = folder.path().join("back");
            assert_eq!(tool(&["cp", "-q", "--force", &target.address(), text(&back)]).code, Some(0));
            assert_same(&source, &back);
            // A block of a file system or two may be its own.
            assert!(fs::metadata(&back).expect("there").blocks() <= has.blocks() + 64, "{number}");
        }
    }
}

#[test]
fn what_exists_is_replaced_only_when_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::write(&one, "new").expect("it can be written");
    fs::write(&other, "old").expect("it can be written");
    let ran = tool(&["cp", text(&one), text(&other)]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("exists") && ran.err.contains("--force"), "{ran:?}");
    assert_eq!(fs::read(&other).expect("there"), b"old");
    assert_eq!(tool(&["cp", "--force", "--sync", text(&one), text(&other)]).code, Some(0));
    assert_eq!(fs::read(&other).expect("there"), b"new");
    assert_eq!(tool(&["cp", "--force", text(&one), text(&one)]).code, Some(2));
    assert_eq!(tool(&["cp", text(&one), text(folder.path())]).code, Some(2));
    assert_eq!(tool(&["cp", text(&folder.path().join("none")), "posix:/never"]).code, Some(3));
    assert_eq!(tool(&["cp", text(folder.path()), "posix:/never"]).code, Some(1));
    assert_eq!(tool(&["cp", "memfd:x", "posix:/never"]).code, Some(2));
    assert_eq!(names(folder.path()), ["one", "other"], "nothing is left over");
}

#[test]
fn mode_and_owner_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    fs::write(&one, "x").expect("it can be written");
    for mode in [0o600, 0o640, 0o666, 0o755] {
        fs::set_permissions(&one, PermissionsExt::from_mode(mode)).expect("it is ours");
        assert_eq!(tool(&["cp", "-q", "-f", text(&one), text(&other)]).code, Some(0));
        assert_eq!(fs::metadata(&other).expect("there").mode() & 0o7777, mode);
    }
    let owned = std::os::unix::fs::chown(&one, Some(4711), Some(4712)).is_ok();
    let ran = tool(&["cp", "-q", "-f", "--owner", text(&one), text(&other)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (had, has) = (fs::metadata(&one).expect("there"), fs::metadata(&other).expect("there"));
    assert_eq!((had.uid(), had.gid()), (has.uid(), has.gid()));
    assert!(!owned || has.uid() == 4711);
}

/// Starts a copy of a large object and stops it in the middle: when it has the source mapped.
fn stopped_copy(source: &Object, target: &str) -> Child {
    stopped_copy_with(source, target, &[])
}

fn stopped_copy_with(source: &Object, target: &str, more: &[&str]) -> Child {
    let mut child = Command::new(TOOL)
        .args(["cp", "--json", &source.address(), target])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool runs");
    let started = Instant::now();
    loop {
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap_or_default();
        if maps.contains(&source.0) {
            break;
        }
        let ended = child.try_wait().expect("it is ours");
        assert!(ended.is_none() && started.elapsed() < Duration::from_secs(60), "it was never seen at work");
    }
    signal(&child, libc::SIGSTOP);
    child
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: takes no pointers; the child is ours and was not waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

fn ended(child: Child) -> Ran {
    signal(&child, libc::SIGCONT);
    Ran::of(child.wait_with_output().expect("it is ours"))
}

#[test]
fn a_source_that_grows_is_copied_to_its_new_end() {
    let (source, target) = (Object::new(), Object::new());
    fs::write(source.path(), noise(5, 48 << 20)).expect("there is room");
    let child = stopped_copy(&source, &target.address());
    let mut file = OpenOptions::new().append(true).open(source.path()).expect("there");
    file.write_all(&noise(6, (3 << 20) + 11)).expect("there is room");
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_same(&source.path(), &target.path());
    let document = ran.json();
    assert_eq!(document["bytes_at_start"].as_u64(), Some(48 << 20));
    assert_eq!(document["bytes"].as_u64(), Some((51 << 20) + 11));
    assert_eq!(document["still_growing"], false);
}

#[test]
fn a_source_that_is_truncated_is_an_error_and_leaves_nothing() {
    // The last of these leaves the last page: no touch of it would fault.
    for left in [0, 1 << 20, (47 << 20) + 5, (48 << 20) - 5] {
        let (source, target) = (Object::new(), Object::new());
        fs::write(source.path(), noise(7, 48 << 20)).expect("there is room");
        let child = stopped_copy(&source, &target.address());
        // By another process.
        let cut = Command::new("truncate").args(["-s", &left.to_string()]).arg(source.path()).status();
        assert!(cut.expect("truncate runs").success());
        let ran = ended(child);
        assert_eq!(ran.code, Some(1), "no signal: {ran:?}");
        let words = format!("was truncated during the copy: it had {} bytes and has {left};", 48 << 20);
        assert!(ran.err.contains(&words), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        assert!(!target.path().exists());
    }
}

#[test]
fn a_killed_copy_leaves_nothing() {
    let (source, target) = (Object::new(), Object::new());
    fs::write(source.path(), noise(8, 48 << 20)).expect("there is room");
    let mut child = stopped_copy(&source, &target.address());
    signal(&child, libc::SIGKILL);
    child.wait().expect("it is ours");
    assert!(!target.path().exists());
    let own = format!(".copy-{}-", child.id());
    assert!(!names(Path::new("/dev/shm")).iter().any(|name| name.starts_with(&own)));
}

#[test]
fn a_full_destination_is_an_error_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    fs::write(&source, noise(9, 128 << 10)).expect("there is room");
    // 64 KiB of room: the object does not fit, by mapping or by name with --force.
    let script = format!(
        "echo old >/dev/shm/there; r=0; $T cp {0} posix:/full || r=$?; f=0; $T cp -f {0} posix:/there || f=$?
         echo $r $f $(ls -A /dev/shm) $(cat /dev/shm/there) $(df --output=used /dev/shm | tail -1)",
        text(&source)
    );
    let ran = private(64 << 10, &script);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out, "1 1 there old 4\n", "{ran:?}");
    assert_eq!(ran.err.lines().filter(|line| line.contains("no space for posix:/")).count(), 2, "{ran:?}");
    assert!(ran.err.contains("free of 65536"), "{ran:?}");
    // A limit of this process, past which the kernel would send a signal.
    let target = folder.path().join("target");
    let script = format!("ulimit -f 100; {TOOL} cp {} {}", text(&source), text(&target));
    let ran = Ran::of(Command::new("bash").args(["-c", &script]).output().expect("bash runs"));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("RLIMIT_FSIZE is 102400"), "{ran:?}");
    assert_eq!(names(folder.path()), ["source"]);
}

#[test]
fn little_address_space_is_no_hindrance() {
    let (source, target) = (Object::new(), Object::new());
    fs::write(source.path(), noise(10, 20 << 20)).expect("there is room");
    // Not enough for two windows: then it is read and written.
    let script = format!("ulimit -v 14000; exec {TOOL} cp -q {} {}", source.address(), target.address());
    let ran = Ran::of(Command::new("bash").args(["-c", &script]).output().expect("bash runs"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_same(&source.path(), &target.path());
}

fn header(address: &str) -> serde_json::Value {
    let ran = tool(&["dump", "--header", "--json", address]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.json()
}

#[test]
fn a_region_becomes_a_region_again_and_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut data = noise(11, 300_001);
    data[100_000..250_000].fill(0);
    let (first, last, key) = (Object::new(), Object::new(), Key::new());
    region(&first.address(), &data, 1 << 20);
    let image = folder.path().join("image");
    let raw = folder.path().join("raw");
    // To a file, from there to a segment, from there to an object.
    assert_eq!(tool(&["cp", "-q", &first.address(), text(&image)]).code, Some(0));
    assert_eq!(tool(&["cp", "-q", text(&image), &key.address()]).code, Some(0));
    let ran = tool(&["cp", "-q", &key.address(), &last.address()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (address, kind) in [
        (first.address(), "posix"),
        (format!("file:{}", text(&image)), "file"),
        (key.address(), "sysv"),
        (last.address(), "posix"),
    ] {
        let header = header(&address);
        assert_eq!(header["backend"], kind, "{header}");
        assert_eq!(header["size"].as_u64(), Some(300_001), "{header}");
        assert_eq!(header["layout_name"], "frames", "{header}");
        assert_eq!(header["layout_version"], 3, "{header}");
        let ran = Command::new(TOOL).args(["dump", "--data", "--raw", &address]).output().expect("the tool runs");
        assert!(ran.stdout == data, "{address}");
        // The data alone.
        assert_eq!(tool(&["cp", "-q", "-f", "--data", &address, text(&raw)]).code, Some(0));
        assert!(fs::read(&raw).expect("there") == data, "{address}");
        // The library itself opens it, with its type.
        let mut options = shmkit::region::Options {
            layout: shmkit::region::header::Layout::new(b"frames", 3, 16, 8),
            ..Default::default()
        };
        let opened = shmkit::region::open(address.as_bytes(), &mut options);
        let token = opened.unwrap_or_else(|failure| panic!("{address}: {}", failure.cause));
        shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
    }
    assert_eq!(header(&first.address())["max_size"].as_u64(), Some(1 << 20));
    assert_eq!(header(&format!("file:{}", text(&image)))["max_size"].as_u64(), Some(1 << 20));
    // Space is reserved again, also what nothing was written to.
    for path in [image.clone(), last.path()] {
        let status = fs::metadata(&path).expect("there");
        assert!(status.blocks() * 512 >= status.len(), "{path:?}");
    }
    // Who made the copy is not who made the region.
    let pid = |address: &str| header(address)["creator"]["pid"].as_u64();
    assert_eq!(pid(&first.address()), Some(std::process::id().into()));
    assert_ne!(pid(&last.address()), Some(std::process::id().into()));
    assert_eq!(fs::metadata(last.path()).expect("there").mode() & 0o777, 0o640);
    // What is taken is not taken again.
    assert_eq!(tool(&["cp", text(&image), &key.address()]).code, Some(1));
    for more in ["--force", "--owner", "--sync"] {
        assert_eq!(tool(&["cp", more, text(&image), &key.address()]).code, Some(2));
    }
}

#[test]
fn a_region_in_use_is_not_replaced() {
    let (used, other) = (Object::new(), Object::new());
    region(&used.address(), &noise(1, 5000), 0);
    fs::write(other.path(), "plain").expect("there is room");
    let mut options = shmkit::region::Options::default();
    let opened = shmkit::region::open(used.address().as_bytes(), &mut options);
    let token = opened.unwrap_or_else(|failure| panic!("{}", failure.cause));
    let ran = tool(&["cp", "-f", &other.address(), &used.address()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("in use"), "{ran:?}");
    shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
    assert_eq!(tool(&["cp", "-q", "-f", &other.address(), &used.address()]).code, Some(0));
    assert_eq!(fs::read(used.path()).expect("there"), b"plain");
}

#[test]
fn a_region_is_replaced_only_if_it_is_still_there_and_unused() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Object::new();
    fs::write(source.path(), noise(18, 48 << 20)).expect("there is room");
    let target = folder.path().join("region");
    let address = format!("file:{}", text(&target));
    let begin = || {
        let _ = fs::remove_file(&target);
        region(&address, &noise(1, 5000), 0);
        stopped_copy_with(&source, &address, &["--force"])
    };
    // Somebody opens it meanwhile, and has it still.
    let child = begin();
    let inode = || fs::metadata(&target).expect("there").ino();
    let before = inode();
    let mut options = shmkit::region::Options::default();
    let opened = shmkit::region::open(address.as_bytes(), &mut options);
    let token = opened.unwrap_or_else(|failure| panic!("{}", failure.cause));
    let ran = ended(child);
    assert!(ran.code == Some(1) && ran.err.contains("is a region that is in use"), "{ran:?}");
    let leases = tool(&["who", "-o", "lease", &address]).out;
    assert!(leases.contains("yes"), "{leases}");
    shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
    assert_eq!((inode(), names(folder.path())), (before, vec!["region".to_string()]));
    // What was no region is one now, and somebody has it.
    fs::write(&target, "plain").expect("there is room");
    let child = stopped_copy_with(&source, &address, &["--force"]);
    fs::remove_file(&target).expect("it is ours");
    region(&address, &noise(1, 5000), 0);
    let opened = shmkit::region::open(address.as_bytes(), &mut options);
    let token = opened.unwrap_or_else(|failure| panic!("{}", failure.cause));
    let before = inode();
    let ran = ended(child);
    assert!(ran.code == Some(1) && ran.err.contains("is a region that is in use"), "{ran:?}");
    shmkit::region::handle::close(token).unwrap_or_else(|failure| panic!("{}", failure.cause));
    assert_eq!((inode(), names(folder.path())), (before, vec!["region".to_string()]));
    // It is removed meanwhile: its name is free.
    let child = begin();
    fs::remove_file(&target).expect("it is ours");
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_same(&source.path(), &target);
    // Another file has its name meanwhile: that is not what was to be replaced.
    let child = begin();
    fs::remove_file(&target).expect("it is ours");
    fs::write(&target, "another").expect("there is room");
    let ran = ended(child);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(fs::read(&target).expect("there"), b"another");
    assert_eq!(names(folder.path()), ["region"]);
}

#[test]
fn what_is_replaced_is_lost_only_to_a_whole_copy() {
    let (folder, room) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (one, plain, used) = (room.path().join("one"), room.path().join("plain"), room.path().join("region"));
    fs::write(&one, noise(17, 50_000)).expect("there is room");
    fs::write(&plain, "plain").expect("there is room");
    region(&format!("file:{}", text(&used)), &noise(1, 5000), 0);
    for target in [&plain, &used] {
        let before = sha256(target);
        let copy = || format!("exec $T cp -q -f {} {}", text(&one), text(target));
        for what in ["nolink", "norename"] {
            let ran = odd(folder.path(), what, &copy());
            assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
            assert!(ran.err.to_lowercase().contains("no space left"), "{what}: {ran:?}");
            assert_eq!(names(room.path()), ["one", "plain", "region"], "{what}");
            assert_eq!(sha256(target), before, "{what}");
        }
        let ran = odd(folder.path(), "killed", &copy());
        assert_eq!(ran.code, None, "{ran:?}");
        assert_eq!(sha256(target), before);
        // As the manual says: the draft, which is whole by then.
        let drafts: Vec<String> = names(room.path()).into_iter().filter(|name| name.starts_with(".copy-")).collect();
        assert_eq!(drafts.len(), 1);
        assert_same(&one, &room.path().join(&drafts[0]));
        fs::remove_file(room.path().join(&drafts[0])).expect("it is ours");
        assert_eq!(tool(&["cp", "-q", "-f", text(&one), text(target)]).code, Some(0));
        assert_same(&one, target);
        assert_eq!(names(room.path()), ["one", "plain", "region"]);
    }
}

#[test]
fn segments_are_copied_out_and_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, again) = (Key::new(), Key::new());
    let file = folder.path().join("file");
    // Made by a plain call, as any program's.
    let size = 70_000;
    // SAFETY: the segment has `size` bytes, of which some are written while it is attached.
    unsafe {
        let id = libc::shmget(key.number(), size, libc::IPC_CREAT | libc::IPC_EXCL | 0o640);
        assert!(id >= 0, "{}", std::io::Error::last_os_error());
        let at = libc::shmat(id, std::ptr::null(), 0);
        assert_ne!(at as isize, -1);
        let bytes = noise(12, 6000);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast::<u8>().add(40_000), bytes.len());
        libc::shmdt(at);
    }
    let ran = tool(&["cp", "-q", &key.address(), text(&file)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut expected = vec![0; size];
    expected[40_000..46_000].copy_from_slice(&noise(12, 6000));
    assert!(fs::read(&file).expect("there") == expected);
    let status = fs::metadata(&file).expect("there");
    assert_eq!(status.mode() & 0o777, 0o640);
    assert!(status.blocks() * 512 <= 16 << 10, "pages of zeros became holes: {}", status.blocks());
    let ran = tool(&["cp", "-q", text(&file), &again.address()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let table = fs::read_to_string("/proc/sysvipc/shm").expect("there");
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&again.number().to_string()));
    let words: Vec<&str> = line.expect("it is there").split_whitespace().collect();
    assert_eq!((words[2], words[3], words[6]), ("640", "70000", "0"));
    let told = Command::new(TOOL).args(["dump", "--raw", &again.address()]).output().expect("the tool runs");
    assert!(told.stdout == expected);
    // Nothing can be a segment of no bytes, and a key that is taken stays as it is.
    let empty = folder.path().join("empty");
    fs::write(&empty, "").expect("it can be written");
    assert_eq!(tool(&["cp", text(&empty), &Key::new().address()]).code, Some(1));
    assert_eq!(tool(&["cp", text(&file), &again.address()]).code, Some(1));
}

#[test]
fn no_progress_without_a_terminal() {
    let (source, target) = (Object::new(), Object::new());
    fs::write(source.path(), noise(13, 30 << 20)).expect("there is room");
    let ran = tool(&["cp", &source.address(), &target.address()]);
    assert_eq!(ran.err, "");
    assert_eq!(ran.out, format!("{} -> {}: 30.0M\n", source.address(), target.address()));
    assert_eq!(tool(&["cp", "-q", "-f", &source.address(), &target.address()]).out, "");
}

/// The tool on an odd machine (room/odd.c).
fn odd(folder: &Path, what: &str, command: &str) -> Ran {
    let library = folder.join("odd.so");
    if !library.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/room/odd.c");
        let mut cc = Command::new("cc");
        let made =
            cc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(made.status().expect("cc runs").success());
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("export LD_PRELOAD={}; {command}", text(&library))]).env("ODD", what).env("T", TOOL);
    Ran::of(bash.output().expect("bash runs"))
}

#[test]
fn file_systems_without_unnamed_files_are_served_too() {
    let (folder, room) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (one, other) = (room.path().join("one"), room.path().join("other"));
    fs::write(&one, noise(14, 100_000)).expect("there is room");
    let copy =
        |more: &str| odd(folder.path(), "named", &format!("exec $T cp -q {more} {} {}", text(&one), text(&other)));
    let ran = copy("");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "named"), "the other way was gone");
    assert_same(&one, &other);
    assert_eq!(copy("").code, Some(1), "it exists");
    fs::write(&one, "more").expect("there is room");
    assert_eq!(copy("--force").code, Some(0));
    assert_same(&one, &other);
    // What fails takes its draft away again.
    fs::write(&one, noise(15, 200_000)).expect("there is room");
    let ran = odd(folder.path(), "named", &format!("ulimit -f 100; exec $T cp {} {}x", text(&one), text(&other)));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(names(room.path()), ["one", "other"]);
}

#[test]
fn where_the_kernel_may_not_copy_between_mappings_it_reads_and_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, target) = (Object::new(), Object::new());
    sparse(&source.path(), 20 << 20, &[(5, 9 << 20), (15 << 20, 5000)]);
    let ran = odd(folder.path(), "forbidden", &format!("exec $T cp -q {} {}", source.address(), target.address()));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "forbidden"), "it was asked once");
    assert_same(&source.path(), &target.path());
    let blocks = |object: &Object| fs::metadata(object.path()).expect("there").blocks();
    assert_eq!(blocks(&source), blocks(&target));
}

#[test]
fn a_terminal_sees_progress() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, target) = (Object::new(), Object::new());
    fs::write(source.path(), noise(16, 24 << 20)).expect("there is room");
    // Three steps, slow ones, on a terminal of script's.
    let command = |more: &str| {
        format!("script -qec \"$T cp --force {more} {} {}\" /dev/null </dev/null", source.address(), target.address())
    };
    let ran = odd(folder.path(), "slow", &command(""));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("\r 33% [") && ran.out.contains("8M of 24M, ") && ran.out.contains(" s left"), "{ran:?}");
    assert!(ran.out.ends_with(&format!("{}: 24.0M\r\n", target.address())), "{ran:?}");
    let longest = ran.out.split(['\r', '\n']).map(|line| line.chars().count()).max();
    assert!(longest < Some(80), "{ran:?}");
    assert_eq!(odd(folder.path(), "slow", &command("--quiet")).out, "");
}

#[test]
fn odd_names_are_copied_from_and_to() {
    use std::os::unix::ffi::OsStrExt;
    let odd = OddObjects::new(&[b"from\xff\x1b[1m\n\\", b"to\xfe\x07"]);
    let (from, to) = (odd.printed(0), odd.printed(1));
    fs::remove_file(&odd.0[1]).expect("it is ours");
    let ran = tool(&["cp", &from, &to]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    assert_eq!(ran.out, format!("{from} -> {to}: 8\n"));
    assert_eq!(fs::read(&odd.0[1]).expect("it has the name that is meant"), b"object 0");
    let ran = tool(&["cp", &from, &to]);
    assert!(ran.code == Some(1) && ran.err.contains(&format!("{to} exists")), "{ran:?}");
    assert_eq!(tool(&["cp", "-q", "--force", &from, &to]).code, Some(0));
    // Names as they are, and what cannot be one.
    let bytes = [b"posix:/", odd.0[0].file_name().expect("it has one").as_bytes()].concat();
    let dumped = Command::new(TOOL).args(["dump", "--raw"]).arg(std::ffi::OsStr::from_bytes(&bytes)).output();
    assert_eq!(dumped.expect("the tool runs").stdout, b"object 0");
    let ran = tool(&["cp", &from, "posix:/none\\xff/none\\xfe"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.is_ascii() && !ran.err.contains("\\\\x"), "{ran:?}");
}

#[test]
fn what_has_no_bytes_is_no_file_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("it can be written");
    for address in ["semset:0x5", "semset:id=5", "semaphore:x", "sysv:id=5"] {
        let mut command = Command::new(TOOL);
        let ran = command.current_dir(folder.path()).args(["cp", "-f", text(&file), address]).output();
        let ran = Ran::of(ran.expect("the tool runs"));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        if address.starts_with("sem") {
            assert_eq!(tool(&["dump", address]).code, Some(2), "{address}");
        }
    }
    assert_eq!(names(folder.path()), ["file"]);
    // A file may have such a name.
    let mut command = Command::new(TOOL);
    let ran = command.current_dir(folder.path()).args(["cp", "-q", "file", "./semset:0x5"]).output();
    assert_eq!(ran.expect("the tool runs").status.code(), Some(0));
    assert_eq!(names(folder.path()), ["file", "semset:0x5"]);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for source in [text(&pipe), "/dev/zero"] {
        let ran = tool(&["cp", source, text(&folder.path().join("x"))]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.err.contains("is no regular file"), "{ran:?}");
    }
    let ran = tool(&["cp", "/proc/self/limits", text(&folder.path().join("x"))]);
    assert!(ran.code == Some(1) && ran.err.contains("does not tell its size"), "{ran:?}");
    // Nor is one replaced.
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("it can be written");
    assert_eq!(tool(&["cp", "-f", text(&file), text(&pipe)]).code, Some(1));
    assert_eq!(names(folder.path()), ["file", "pipe"]);
}
