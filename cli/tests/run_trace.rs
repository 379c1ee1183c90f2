//! `shmkit trace`: one line a call, in the words of strace; JSON; files; what is left out.

mod run_support;

use std::fs;

use regex::Regex;
use run_support::{Bench, Ran, not_run, object, plain, without};
use serde_json::Value;

/// What programs/calls.c does, as patterns; NAME is its object's, HEX an address, N a number.
const CALLS: [&str; 46] = [
    r#"shm_open("/NAME", O_RDWR|O_CREAT|O_EXCL, 0640) = 3"#,
    "ftruncate(3, 8192) = 0",
    "posix_fallocate(3, 0, 8192) = 0",
    "fstat(3, HEX) = 0",
    "fcntl(3, F_SETLK, HEX) = 0",
    "mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = HEX",
    "mprotect(HEX, 4096, PROT_READ) = 0",
    "mprotect(HEX, 4096, PROT_READ|PROT_WRITE) = 0",
    "msync(HEX, 8192, MS_SYNC) = 0",
    "madvise(HEX, 8192, MADV_WILLNEED) = 0",
    "mlock(HEX, 4096) = 0",
    "munlock(HEX, 4096) = 0",
    "mremap(HEX, 8192, 4096, MREMAP_MAYMOVE) = HEX",
    "munmap(HEX, 4096) = 0",
    "close(3) = 0",
    r#"open("/dev/shm/NAME", O_RDONLY|O_CLOEXEC) = 3"#,
    "close(3) = 0",
    r#"shm_unlink("/NAME") = 0"#,
    r#"shm_unlink("/NAME") = -1 ENOENT (No such file or directory)"#,
    r#"memfd_create("label", MFD_CLOEXEC|MFD_ALLOW_SEALING) = 3"#,
    "close(3) = 0",
    "shmget(IPC_PRIVATE, 4096, IPC_CREAT|0600) = N",
    "shmat(N, NULL, SHM_RDONLY) = HEX",
    "shmctl(N, IPC_STAT, HEX) = 0",
    "shmctl(N, IPC_RMID, NULL) = 0",
    "shmdt(HEX) = 0",
    "semget(IPC_PRIVATE, 2, 0600) = N",
    "semop(N, HEX, 1) = 0",
    "semtimedop(N, HEX, 1, HEX) = 0",
    "semctl(N, 1, GETVAL) = 0",
    "semctl(N, 0, IPC_RMID) = 0",
    r#"ftok("/", 120) = N"#,
    r#"sem_open("/NAME", O_CREAT|O_EXCL, 0600, 1) = HEX"#,
    "sem_post(HEX) = 0",
    "sem_getvalue(HEX, HEX) = 0",
    "sem_wait(HEX) = 0",
    "sem_trywait(HEX) = 0",
    "sem_timedwait(HEX, HEX) = -1 ETIMEDOUT (Connection timed out)",
    "sem_clockwait(HEX, 1, HEX) = -1 ETIMEDOUT (Connection timed out)",
    "sem_close(HEX) = 0",
    r#"sem_unlink("/NAME") = 0"#,
    "sem_init(HEX, 0, 1) = 0",
    "sem_destroy(HEX) = 0",
    // With --all alone.
    "mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = HEX",
    "munmap(HEX, 4096) = 0",
    "close(3) = 0",
];
const ALONE_WITH_ALL: usize = 3;

fn pattern(text: &str, name: &str) -> Regex {
    let text = regex::escape(text).replace("HEX", "0x[0-9a-f]+").replace("NAME", &regex::escape(name));
    Regex::new(&format!("^{}$", Regex::new(r"\bN\b").expect("well-formed").replace_all(&text, r"\d+")))
        .expect("well-formed")
}

/// A line without what differs: `[pid N]` before, `<seconds>` behind.
fn bare_call(line: &str) -> Option<&str> {
    let inside = line.strip_prefix("[pid ")?.split_once("] ")?.1;
    let (call, time) = inside.rsplit_once(" <")?;
    let (seconds, rest) = time.strip_suffix('>')?.split_once('.')?;
    (seconds.parse::<u64>().is_ok() && rest.len() == 6 && rest.parse::<u64>().is_ok()).then_some(call)
}

fn expect_calls(found: &[&str], expected: &[&str], name: &str) {
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(pattern(expected, name).is_match(found), "line {index}: {found}\nexpected: {expected}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

/// The lines of calls; reports of rules stand between them.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| line.starts_with("[pid "))
        .map(|line| bare_call(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

#[test]
fn one_line_a_call_with_decoded_flags() {
    let bench = Bench::new();
    bench.program_with("calls", "calls", &["-Wno-unused-result"]);
    let name = object();
    let ran = bench.trace(&[]).arg(bench.path("calls")).arg(&name).done();
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{ran}");
    expect_calls(&lines(&ran.err), &CALLS[..CALLS.len() - ALONE_WITH_ALL], &name);
    assert!(!ran.err.contains("shmkit: "), "no summary unless it is asked for: {ran}");
    let ran = bench.trace(&["-c"]).arg(bench.path("calls")).arg(&name).done();
    // All are counted: also the four that no line is about.
    assert!(ran.err.contains("shmkit: 1 process, 47 calls"), "{ran}");
}

#[test]
fn with_all_the_calls_that_concern_no_shared_memory_too() {
    let bench = Bench::new();
    bench.program_with("calls", "calls", &["-Wno-unused-result"]);
    let name = object();
    let ran = bench.trace(&["--all"]).arg(bench.path("calls")).arg(&name).done();
    // fstat of a file that is no object comes between.
    let found: Vec<_> = lines(&ran.err);
    let begin = found.iter().position(|line| line.starts_with("shm_open(")).unwrap_or_else(|| panic!("{ran}"));
    let found: Vec<_> = found[begin..].to_vec();
    assert_eq!(found.iter().filter(|line| line.starts_with("fstat(3,")).count(), 2, "{ran}");
    let last = found.iter().rposition(|line| line.starts_with("fstat(3,")).expect("just counted");
    let found: Vec<_> = found.iter().enumerate().filter(|(index, _)| *index != last).map(|(_, line)| *line).collect();
    expect_calls(&found, &CALLS, &name);
}

#[test]
fn a_file_takes_the_lines_and_json_lines_parse() {
    let bench = Bench::new();
    bench.program_with("calls", "calls", &["-Wno-unused-result"]);
    let (name, file) = (object(), bench.path("lines"));
    fs::write(&file, "what was there before\n").expect("the folder is writable");
    let path = file.display().to_string();
    let ran = bench.trace(&["-o", &path]).arg(bench.path("calls")).arg(&name).done();
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    let text = fs::read_to_string(&file).expect("it was written");
    assert!(!text.contains("what was there before"), "{text}");
    expect_calls(&lines(&text), &CALLS[..CALLS.len() - ALONE_WITH_ALL], &name);

    let ran = without(
        plain(bench.path("shmkit")).args(["--json", "trace", "-o", &path, "--"]).arg(bench.path("calls")).arg(&name),
    );
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (Some(0), "", ""), "{ran}");
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let all: Vec<Value> = fs::read_to_string(&file).expect("it was written").lines().map(read).collect();
    let calls: Vec<&Value> = all.iter().filter(|line| line["kind"] == "trace").collect();
    let text: Vec<String> = calls
        .iter()
        .map(|line| {
            assert!(
                line["schema"] == 1 && line["pid"].is_u64() && line["tid"].is_u64() && line["time_ns"].is_u64(),
                "{line}"
            );
            assert!(line["duration_ns"].is_u64(), "{line}");
            let part = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            format!("{}({}) = {}", part("function"), part("arguments"), part("result"))
        })
        .collect();
    let text: Vec<&str> = text.iter().map(String::as_str).collect();
    expect_calls(&text, &CALLS[..CALLS.len() - ALONE_WITH_ALL], &name);
    // What is no call is a report of a rule.
    assert!(all.iter().all(|line| line["kind"] == "trace" || line["rule"].is_string()), "{all:?}");
}

/// The calls that are system calls of the same name and arguments must stand there in the very words of strace.
#[test]
fn the_words_are_those_of_strace() {
    let bench = Bench::new();
    bench.program_with("calls", "calls", &["-Wno-unused-result"]);
    let name = object();
    let file = bench.path("strace");
    let mut command = plain("strace");
    command.arg("-o").arg(&file).arg(bench.path("calls")).arg(&name);
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return not_run("the words of strace: there is no strace here; those it had stand in CALLS");
        }
        output => assert!(output.expect("strace runs").status.success()),
    }
    let digits = Regex::new(r"0x[0-9a-f]+|\b\d{4,}\b").expect("well-formed");
    let space = Regex::new(r" += ").expect("well-formed");
    // Addresses and ids differ from run to run; strace looks into what some pointers lead to, and knows no glibc.
    let same = |line: &str| digits.replace_all(&space.replace(line, " = "), "X").into_owned();
    let alike = |line: &&str| {
        let name = line.split('(').next().unwrap_or_default();
        const ALIKE: [&str; 15] = [
            "ftruncate",
            "mmap",
            "mprotect",
            "msync",
            "madvise",
            "mlock",
            "munlock",
            "mremap",
            "munmap",
            "memfd_create",
            "shmget",
            "shmat",
            "shmdt",
            "semget",
            "close",
        ];
        ALIKE.contains(&name)
    };
    let text = fs::read_to_string(&file).expect("it was written");
    let begin = text.find("/dev/shm/").expect("the object is opened");
    let theirs = text[begin..].lines().skip(1).filter(alike).map(same);
    // What the C library does itself within sem_open and sem_close is not the program's.
    let theirs: Vec<String> = theirs.filter(|line| !line.contains(", 32")).collect();
    let ran = bench.trace(&["--all"]).arg(bench.path("calls")).arg(&name).done();
    let all = lines(&ran.err);
    let begin = all.iter().position(|line| line.starts_with("shm_open(")).expect("the object is opened");
    let ours: Vec<String> = all[begin..].iter().copied().filter(|line| alike(line)).map(same).collect();
    // One close more: of the file behind the semaphore.
    let closes = |lines: &[String]| lines.iter().filter(|line| line.starts_with("close(")).count();
    assert_eq!(closes(&theirs), closes(&ours) + 1, "{theirs:#?}\n{ours:#?}");
    let without_closes =
        |lines: Vec<String>| lines.into_iter().filter(|line| !line.starts_with("close(")).collect::<Vec<_>>();
    assert_eq!(without_closes(theirs), without_closes(ours));
}

#[test]
fn children_are_traced_with_their_own_ids_unless_told_not_to() {
    let bench = Bench::new();
    bench.program("children");
    let ids = |ran: &Ran| {
        let ids = ran.err.lines().filter_map(|line| line.strip_prefix("[pid ")?.split(']').next()?.parse::<u32>().ok());
        ids.collect::<std::collections::BTreeSet<_>>().len()
    };
    let ran = bench.trace(&[]).arg(bench.path("children")).args(&["execve", &object()]).done();
    assert!(ran.code == Some(5) && ids(&ran) == 1 && ran.err.contains("shm_open("), "{ran}");
    let ran = bench.trace(&["--no-follow"]).arg(bench.path("children")).args(&["execve", &object()]).done();
    assert!(ran.code == Some(5) && ids(&ran) == 0, "{ran}");
    // Status and refusals are those of run.
    assert_eq!(bench.trace(&[]).args(&["sh", "-c", "exit 9"]).done().code, Some(9));
    assert_eq!(bench.trace(&[]).arg("/nonexistent/program").done().code, Some(127));
}
