//! Crashes in shared memory are explained, and then everything goes on as without the interposer: the same signal, the
//! program's own handler with its flags, mask and stack, and what sigaction says of it.

mod run_support;

use std::collections::BTreeMap;

use run_support::{Bench, Ran, object, plain, rooted, unprivileged, without};

/// Causes, the signal of each, and words that its explanation must have.
const CAUSES: [(&str, i32, &[&str]); 9] = [
    ("never", libc::SIGBUS, &["byte 0 of posix:/", "it was never sized"]),
    ("truncated", libc::SIGBUS, &["is 0 bytes long now and was 16384 when it was mapped", "truncated"]),
    ("memfd", libc::SIGBUS, &["byte 8192 of memfd:", "is 4096 bytes long", "the mapping is longer"]),
    ("read_only", libc::SIGSEGV, &["mapped for reading only"]),
    ("none", libc::SIGSEGV, &["PROT_NONE"]),
    ("jumped", libc::SIGSEGV, &["byte 0 of posix:/", "not mapped to be executed"]),
    ("cut", libc::SIGSEGV, &["moved or cut (mremap)", "8192 bytes into it"]),
    ("unmapped", libc::SIGSEGV, &["unmapped (munmap)", "100 bytes into it"]),
    ("detached", libc::SIGSEGV, &["segment was mapped here, and detached (shmdt)", "5000 bytes into it"]),
];

/// Crashes that have nothing to do with shared memory: nothing is said of them.
const NOT_OURS: [(&str, i32); 5] = [
    ("overflow", libc::SIGSEGV),
    ("null", libc::SIGSEGV),
    ("private", libc::SIGSEGV),
    ("replaced", libc::SIGSEGV),
    ("sent", libc::SIGBUS),
];

const HANDLERS: [&str; 12] =
    ["none", "info", "plain", "once", "alternate", "small", "jump", "nodefer", "signal", "sigset", "sysv", "ignored"];

fn both(bench: &Bench, cause: &str, handler: &str) -> (Ran, Ran) {
    let name = object();
    let bare = without(plain(bench.path("crash")).args([cause, handler, &name]));
    let ran = bench.run(&["--quiet"]).arg(bench.path("crash")).args(&[cause, handler, &name]).done();
    assert_eq!(bare.behaviour(), ran.behaviour(), "{cause} with {handler}\nwithout: {bare}\nwith: {ran}");
    (bare, ran)
}

#[test]
fn every_cause_is_explained_and_every_handler_runs_as_without() {
    let bench = Bench::new();
    bench.program("crash");
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for (cause, signal, words) in CAUSES {
        for handler in HANDLERS {
            let (bare, ran) = both(&bench, cause, handler);
            let end = match (bare.code, bare.signal) {
                (None, Some(by)) if by == signal => "signal",
                (Some(7), None) => "handler",
                (Some(0), None) => "jump",
                _ => panic!("{cause} with {handler}: {bare}"),
            };
            *ends.entry(end).or_default() += 1;
            if handler == "ignored" {
                // The kernel ends it at once, whatever handler there is: an ignored fault cannot go on.
                assert_eq!(ran.crashes(), [""; 0], "{cause}");
                continue;
            }
            let said = ran.crashes();
            assert_eq!(said.len(), 1, "{cause} with {handler}: {ran}");
            assert!(words.iter().all(|word| said[0].contains(word)), "{cause} with {handler}: {said:?}");
            let name = if signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
            assert!(
                ran.reports.iter().any(|report| report["signal"] == name && report["pid"].as_u64() > Some(1)),
                "{ran}"
            );
        }
    }
    // Of twelve ways three end by the signal (none, once, ignored) and two by a jump.
    assert_eq!(ends, BTreeMap::from([("signal", 3 * 9), ("handler", 7 * 9), ("jump", 2 * 9)]));
}

#[test]
fn of_other_crashes_nothing_is_said_and_nothing_changes() {
    let bench = Bench::new();
    bench.program("crash");
    for (cause, signal) in NOT_OURS {
        for handler in HANDLERS {
            let (bare, ran) = both(&bench, cause, handler);
            assert_eq!(ran.crashes(), [""; 0], "{cause} with {handler}: {ran}");
            if handler == "none" {
                assert_eq!(bare.signal, Some(signal), "{cause}: {bare}");
            }
        }
    }
    // Where the stack is full, only a handler with a stack of its own runs.
    let (bare, _) = both(&bench, "overflow", "alternate");
    assert!(bare.code == Some(7) && bare.out.contains("alternate stack"), "{bare}");
    let (bare, _) = both(&bench, "overflow", "info");
    assert_eq!(bare.signal, Some(libc::SIGSEGV), "{bare}");
}

#[test]
fn a_full_file_system_is_named_with_its_figures() {
    let bench = Bench::new();
    bench.program("crash");
    for handler in ["none", "info", "jump"] {
        let script = |with: &str| {
            format!(
                "mount -t tmpfs -o size=64k none /dev/shm && exec {with} '{}' full {handler} {}",
                bench.path("crash").display(),
                object()
            )
        };
        let report = bench.path(format!("full-{handler}"));
        let with = format!("'{}' run -q --report 'json:{}' --", bench.path("shmkit").display(), report.display());
        let room = |with: &str| {
            let mut command = rooted("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-c", &script(with)]);
            command.output().expect("unshare is there")
        };
        let bare = Ran::new(room(""), std::path::Path::new("/nonexistent"));
        let ran = Ran::new(room(&with), &report);
        assert_eq!(bare.behaviour(), ran.behaviour(), "without: {bare}\nwith: {ran}");
        let said = ran.crashes();
        // With `jump` the program goes on, touches the next page, and ends there.
        assert!(!said.is_empty(), "{ran}");
        let words = ["byte 65536 of posix:/", "1048576 bytes long", "0 bytes free of 65536", "posix_fallocate"];
        assert!(words.iter().all(|word| said[0].contains(word)), "{said:?}");
    }
}

#[test]
fn text_and_summary_say_the_same() {
    let bench = Bench::new();
    bench.program("crash");
    let name = object();
    let ran = bench.run(&["--report", "text"]).arg(bench.path("crash")).args(&["never", "none", &name]).done();
    assert_eq!(ran.signal, Some(libc::SIGBUS), "{ran}");
    let words = format!("byte 0 of posix:/{name}: the object is 0 bytes long now: it was never sized");
    assert_eq!(ran.err.matches(&words).count(), 2, "once as it happens and once in the summary: {ran}");
    assert!(ran.err.contains("crashed: ["), "{ran}");
    let ran = bench.run(&["--json"]).arg(bench.path("crash")).args(&["never", "none", &name]).done();
    let summary = ran.summary();
    assert_eq!((summary["signal"].as_i64(), &summary["exit_code"]), (Some(7), &serde_json::Value::Null));
    assert_eq!(summary["crashes"].as_array().map(Vec::len), Some(1));
    assert_eq!(summary["crashes"][0]["signal"], libc::SIGBUS);
    assert!(summary["crashes"][0]["cause"].as_str().is_some_and(|cause| cause.contains(&words)), "{summary}");
}

#[test]
fn without_privileges_the_size_is_still_told() {
    let bench = Bench::new();
    bench.program("crash");
    for (cause, words) in [("memfd", "is 4096 bytes long"), ("never", "never sized"), ("truncated", "truncated")] {
        let report = bench.path(format!("unprivileged-{cause}"));
        std::fs::write(&report, "").expect("the folder is writable");
        run_support::open_to_all(&report, 0o666);
        let mut command = unprivileged(bench.path("shmkit"));
        command.args(["run", "-q", "--report"]).arg(format!("json:{}", report.display()));
        command.arg("--").arg(bench.path("crash")).args([cause, "none", &object()]);
        let ran = Ran::new(command.output().expect("setpriv is there"), &report);
        assert_eq!(ran.signal, Some(libc::SIGBUS), "{ran}");
        assert!(ran.crashes().len() == 1 && ran.crashes()[0].contains(words), "{cause}: {ran}");
    }
}

/// Without /proc, what is remembered is said.
#[test]
fn after_a_change_of_root_the_object_is_still_named() {
    let bench = Bench::new();
    bench.program("crash");
    let bare = without(rooted(bench.path("crash")).args(["root", "none", &object()]));
    let ran = bench.run_rooted(&["--json"]).arg(bench.path("crash")).args(&["root", "none", &object()]).done();
    assert_eq!((bare.signal, ran.signal), (Some(libc::SIGBUS), Some(libc::SIGBUS)), "{bare}{ran}");
    let said = ran.summary()["crashes"][0]["cause"].to_string();
    let words = ["byte 5000 of posix:/", "is 4096 bytes long now and was 8192 when it was mapped"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

/// Every handler runs, and crashes are explained one after the other, when several threads crash at once.
#[test]
fn threads_that_crash_at_once() {
    let bench = Bench::new();
    bench.program("crash_threads");
    let name = object();
    for _ in 0..5 {
        let bare = without(plain(bench.path("crash_threads")).arg(&name));
        let ran = bench.run(&["-q"]).arg(bench.path("crash_threads")).arg(&name).done();
        assert_eq!((bare.code, bare.out.as_str()), (Some(0), "8 threads, 800 crashes, 800 handled\n"), "{bare}");
        assert_eq!(bare.behaviour(), ran.behaviour(), "{ran}");
        // One that would have to wait too long for its turn goes on without words.
        assert!((100..=800).contains(&ran.crashes().len()), "{}", ran.crashes().len());
    }
}

/// Every way to ask for a disposition or to set one answers as without.
#[test]
fn dispositions_are_shown_as_the_program_set_them() {
    let bench = Bench::new();
    bench.program_with("dispositions", "dispositions", &["-Wno-restrict"]);
    let bare = without(&mut plain(bench.path("dispositions")));
    let ran = bench.run(&["-q"]).arg(bench.path("dispositions")).done();
    assert!(bare.code == Some(0) && bare.out.lines().count() > 60, "{bare}");
    assert_eq!(bare.behaviour(), ran.behaviour(), "{ran}");
}

#[test]
fn what_a_child_sets_in_its_parents_memory_is_not_the_parents() {
    let bench = Bench::new();
    bench.program("vforked");
    for way in ["vfork", "clone"] {
        for signal in ["bus", "segv"] {
            let bare = without(plain(bench.path("vforked")).args([way, signal]));
            let ran = bench.run(&["-q"]).arg(bench.path("vforked")).args(&[way, signal]).done();
            assert_eq!((bare.code, bare.out.lines().count()), (Some(7), 2), "{bare}");
            assert_eq!(bare.behaviour(), ran.behaviour(), "{way} {signal}: {ran}");
        }
    }
}
