//! `shmkit run`: what programs it takes, how it ends, children, faults on purpose, the summary.

mod run_support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use run_support::{Bench, Ran, is_root, object, open_to_all, plain, unique, unprivileged, without};
use serde_json::Value;

fn executable(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).expect("the folder is writable");
    open_to_all(path, 0o755);
}

/// A key that nobody else has.
fn key() -> u32 {
    let number: u32 = unique().split('-').map(|part| part.parse::<u32>().unwrap_or(0)).fold(0, |a, b| a * 64 + b);
    0x5a00_0000 | (number * 4) & 0x00ff_fffc
}

// What it takes, and how it ends.

#[test]
fn what_cannot_be_run_or_checked_is_refused_in_one_line() {
    let bench = Bench::new();
    let empty = bench.path("empty.c");
    fs::write(&empty, "int main(void) { return 0; }\n").expect("the folder is writable");
    bench.compile(&empty, "static", &["-static"]);
    bench.compile(&empty, "setuid", &[]);
    fs::set_permissions(bench.path("setuid"), PermissionsExt::from_mode(0o4755)).expect("the file is ours");
    executable(&bench.path("by_static"), format!("#!{}\n", bench.path("static").display()));
    executable(&bench.path("by_nothing"), "#!/nonexistent/interpreter\n");
    fs::write(bench.path("data"), "not a program\n").expect("the folder is writable");
    // The head of a program is all that the kernel and the tool look at: of 32 bits, and of another machine.
    let mut head = fs::read(bench.path("setuid")).expect("it was just compiled");
    head.truncate(4096);
    let mut other = head.clone();
    (head[4], other[18]) = (1, 0xb7);
    executable(&bench.path("narrow"), &head);
    executable(&bench.path("foreign"), &other);
    let cases: [(&str, i32, &str); 9] = [
        ("/nonexistent/program", 127, "cannot be found"),
        ("shmkit-no-such-program", 127, "cannot be found"),
        ("by_nothing", 127, "needs /nonexistent/interpreter, which cannot be found"),
        ("data", 126, "cannot be run"),
        ("/tmp", 126, "cannot be run"),
        ("static", 126, "is statically linked"),
        ("by_static", 126, "is statically linked"),
        ("narrow", 126, "is of another kind of machine"),
        ("foreign", 126, "is of another kind of machine"),
    ];
    for (name, code, words) in cases {
        let path = bench.path(name);
        let ran = bench.run(&[]).arg(if path.exists() { path.as_os_str() } else { name.as_ref() }).done();
        assert_eq!(ran.code, Some(code), "{name}: {ran}");
        assert!(ran.err.starts_with("shmkit: ") && ran.err.contains(words), "{name}: {ran}");
        assert_eq!((ran.err.lines().count(), ran.out.as_str()), (1, ""), "{name}: {ran}");
    }
    // One's own setuid program changes nothing; for another user the loader ignores what it is told.
    let ran = bench.run(&["-q"]).arg(bench.path("setuid")).done();
    assert_eq!(ran.code, Some(0), "{ran}");
    if !is_root() {
        // Nobody else's can be made; one that changes the group stands for it.
        fs::set_permissions(bench.path("setuid"), PermissionsExt::from_mode(0o2755)).expect("the file is ours");
    }
    let ran = without(unprivileged(bench.path("shmkit")).args(["run", "--"]).arg(bench.path("setuid")));
    assert!(ran.code == Some(126) && ran.err.contains("setuid or setgid"), "{ran}");
}

#[test]
fn a_program_with_capabilities_is_refused_before_it_runs() {
    let bench = Bench::new();
    let source = bench.path("capable.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { return puts(\"ran\") < 0; }\n").expect("it is writable");
    let program = bench.compile(&source, "capable", &[]);
    let path = std::ffi::CString::new(program.as_os_str().as_bytes()).expect("no zeros");
    // Version 2, effective: CAP_NET_RAW is permitted.
    let data: Vec<u8> = [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    // SAFETY: the strings are terminated, the data is as long as it is said to be.
    let set =
        unsafe { libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), data.as_ptr().cast(), data.len(), 0) };
    if set != 0 {
        return run_support::not_run("programs with capabilities: this user may not make one");
    }
    let ran = without(unprivileged(bench.path("shmkit")).args(["run", "--"]).arg(&program));
    assert_eq!((ran.code, ran.out.as_str()), (Some(126), ""), "{ran}");
    assert!(ran.err.contains("has capabilities of its own"), "{ran}");
    // They give root nothing.
    let ran = bench.run(&["-q"]).arg(&program).done();
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "ran\n"), "{ran}");
}

#[test]
fn wrong_usage_ends_with_2_and_what_cannot_be_written_with_125() {
    let bench = Bench::new();
    for options in [["--report", "xml"], ["--report", "text,json"], ["--policy", "strict"], ["--seed", "x"]] {
        let ran = without(plain(bench.path("shmkit")).arg("run").args(options).args(["--", "sh", "-c", "echo ran"]));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{options:?}: {ran}");
    }
    let ran = without(plain(bench.path("shmkit")).arg("run"));
    assert_eq!(ran.code, Some(2), "{ran}");
    for report in ["text:/nonexistent/reports", "json:/proc/reports"] {
        let ran = bench.run(&["--report", report]).arg("true").done();
        assert!(ran.code == Some(125) && ran.err.contains("cannot be written"), "{ran}");
    }
    // A FIFO that nobody reads must not be waited for.
    let fifo = bench.path("fifo");
    run_support::run(plain("mkfifo").arg(&fifo));
    let path = fifo.display().to_string();
    let report = format!("text:{path}");
    for options in [["run", "--report", &report], ["trace", "-o", &path]] {
        let ran = without(plain("timeout").arg("20").arg(bench.path("shmkit")).args(options).args(["--", "true"]));
        assert!(ran.code == Some(125) && ran.err.contains("nobody reads from it"), "{ran}");
    }
    let ran = without(plain(bench.path("shmkit")).args(["trace", "-o", "/nonexistent/lines", "--", "true"]));
    assert!(ran.code == Some(125) && ran.err.contains("cannot be written"), "{ran}");
}

#[test]
fn the_interposer_must_be_there_and_must_be_loaded() {
    let bench = Bench::new();
    // A program that takes the interposer out before it can count: the loader is run as a program, without it.
    let hidden = "unset LD_PRELOAD; exec /bin/true";
    let ran = bench.run(&[]).args(&["sh", "-c", hidden]).done();
    assert_eq!(ran.code, Some(0), "the shell itself had it: {ran}");
    fs::remove_file(bench.path("libshmkit_preload.so")).expect("it was put there");
    let ran = bench.run(&[]).arg("true").done();
    assert!(ran.code == Some(125) && ran.err.contains("libshmkit_preload.so is neither beside"), "{ran}");
    // One that the loader cannot use: it says so and goes on, and the tool notices that nothing was checked.
    fs::write(bench.path("libshmkit_preload.so"), "no library").expect("the folder is writable");
    let ran = bench.run(&[]).args(&["sh", "-c", "exit 3"]).done();
    assert!(ran.code == Some(125) && ran.err.contains("ran without the interposer"), "{ran}");
}

/// The loader may run a library's own code before it is done with the interposer.
#[test]
fn a_program_that_ends_before_the_interposer_begins_is_told_of() {
    let bench = Bench::new();
    let source = bench.path("resolves.c");
    let text = r#"
        #include <fcntl.h>
        #include <unistd.h>
        static int one(void) { return 1; }
        static void *resolve(void)
        {
            close(open("/proc/cpuinfo", O_RDONLY));
            return one;
        }
        static int chosen(void) __attribute__((ifunc("resolve")));
        int (*pointer)(void) = chosen;
        int number(void) { return pointer(); }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    let library = bench.compile(&source, "libresolves.so", &["-shared", "-fPIC", "-fno-plt", "-Wl,-z,now"]);
    fs::write(&source, "int number(void); int main(void) { return number() - 1; }\n").expect("the folder is writable");
    let folder = format!("-Wl,-rpath,{}", bench.folder.path().display());
    let library = library.to_str().expect("names are ASCII");
    bench.compile(&source, "resolves", &[library, "-Wl,-z,now", &folder]);
    let bare = without(&mut plain(bench.path("resolves")));
    assert_eq!(bare.code, Some(0), "{bare}");
    let ran = bench.run(&[]).arg(bench.path("resolves")).done();
    assert!(ran.code == Some(125) && ran.err.contains("was ended by signal 11 before the interposer"), "{ran}");
}

#[test]
fn status_and_signals_of_the_program_are_returned() {
    let bench = Bench::new();
    for code in [0, 1, 2, 77, 125, 126, 127, 255] {
        let ran = bench.run(&["-q"]).args(&["sh", "-c", &format!("exit {code}")]).done();
        assert_eq!((ran.code, ran.signal), (Some(code), None), "{ran}");
    }
    for signal in
        [libc::SIGTERM, libc::SIGKILL, libc::SIGSEGV, libc::SIGABRT, libc::SIGINT, libc::SIGPIPE, libc::SIGHUP]
    {
        let ran = bench.run(&["-q"]).args(&["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$; sleep 5")]).done();
        assert_eq!((ran.code, ran.signal), (None, Some(signal)), "{ran}");
    }
    // Standard streams are the program's own.
    let mut command = plain(bench.path("shmkit"));
    command.args(["run", "-q", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the tool can be run");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"through").expect("it reads");
    let mut out = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("it is text");
    assert!(child.wait().expect("a child").success() && out == "through", "{out}");
}

#[test]
fn the_end_is_the_programs_where_nothing_can_be_told() {
    let bench = Bench::new();
    let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").expect("the device is there"));
    // Nobody reads from this pipe.
    let gone = || Stdio::from(std::io::pipe().expect("a pipe").1);
    let run = || {
        let mut command = plain(bench.path("shmkit"));
        command.arg("run").stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let ends = |command: &mut Command| command.status().expect("the tool can be run").code();
    for stderr in [full(), gone()] {
        assert_eq!(ends(run().args(["--", "sh", "-c", "exit 3"]).stderr(stderr)), Some(3));
    }
    for stdout in [full(), gone()] {
        assert_eq!(ends(run().args(["--json", "--", "sh", "-c", "exit 3"]).stdout(stdout)), Some(3));
    }
    for stderr in [full(), gone()] {
        assert_eq!(ends(run().args(["--", "/nonexistent/program"]).stderr(stderr)), Some(127));
    }
}

#[test]
fn standard_streams_that_are_closed_are_closed_for_the_program() {
    let bench = Bench::new();
    let source = bench.path("streams.c");
    let text = r#"
        #include <fcntl.h>
        int main(void)
        {
            int open = 0;
            for (int fd = 0; fd < 3; fd++)
                open |= (fcntl(fd, F_GETFD) != -1) << fd;
            return open;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "streams", &[]);
    for (closed, open) in [("", 7), ("<&-", 6), (">&-", 5), ("2>&-", 3), ("<&- >&-", 4), ("<&- >&- 2>&-", 0)] {
        let shell = |command: &str| without(plain("sh").args(["-c", &format!("{command} {closed}")])).code;
        let program = bench.path("streams").display().to_string();
        assert_eq!(shell(&program), Some(open), "{closed}");
        for options in ["-q", "-q --report off", "-q --json"] {
            let within = shell(&format!("'{}' run {options} -- {program}", bench.path("shmkit").display()));
            assert_eq!(within, Some(open), "{closed} {options}");
        }
    }
}

#[test]
fn a_signal_that_the_tool_was_given_blocked_is_the_end_of_both() {
    let bench = Bench::new();
    let source = bench.path("unblocks.c");
    let text = r#"
        #include <signal.h>
        #include <stdlib.h>
        #include <sys/resource.h>
        int main(int count, char **arguments)
        {
            sigset_t none;
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            sigemptyset(&none);
            sigprocmask(SIG_SETMASK, &none, NULL);
            raise(atoi(arguments[1]));
            return 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "unblocks", &[]);
    for signal in [libc::SIGSEGV, libc::SIGABRT, libc::SIGTERM] {
        let mut run = bench.run(&["-q"]).arg(bench.path("unblocks")).arg(signal.to_string());
        // SAFETY: the set is writable, and only the child's mask changes.
        unsafe {
            run.command.pre_exec(move || {
                let mut all: libc::sigset_t = std::mem::zeroed();
                libc::sigaddset(&mut all, signal);
                libc::sigprocmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
                Ok(())
            });
        }
        let ran = run.done();
        assert_eq!((ran.code, ran.signal), (None, Some(signal)), "{ran}");
    }
}

#[test]
fn signals_to_the_tool_reach_the_program() {
    let bench = Bench::new();
    bench.program("objects");
    for (signal, code) in [(libc::SIGTERM, Some(42)), (libc::SIGHUP, None), (libc::SIGUSR1, None)] {
        let mut command = plain(bench.path("shmkit"));
        command.args(["run", "-q", "--"]).arg(bench.path("objects")).args([&object(), "0", "loop"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the tool can be run");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it is text");
        assert_eq!(line, "ready\n");
        // SAFETY: takes no pointers; the child is not waited for yet.
        unsafe { libc::kill(child.id() as i32, signal) };
        let status = child.wait().expect("a child");
        assert_eq!((status.code(), status.signal()), (code, code.is_none().then_some(signal)));
    }
}

#[test]
fn every_signal_that_somebody_sends_to_the_tool_reaches_the_program_once() {
    let bench = Bench::new();
    let source = bench.path("signals.c");
    let text = r#"
        #include <signal.h>
        #include <stdio.h>
        #include <unistd.h>
        int main(void)
        {
            sigset_t all;
            int alarms = 0;
            sigfillset(&all);
            sigprocmask(SIG_BLOCK, &all, NULL);
            alarm(60);
            puts("ready");
            for (;;) {
                siginfo_t info;
                fflush(stdout);
                int signal = sigwaitinfo(&all, &info);
                printf("%d %d\n", signal, info.si_code == SI_QUEUE ? info.si_value.sival_int : 0);
                if (signal == SIGHUP) /* what it sends to its parent is not for itself */
                    kill(getppid(), SIGUSR1);
                alarms += signal == SIGALRM;
                if (signal == SIGUSR2 || alarms > 1)
                    return 0;
            }
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "signals", &[]);
    let mut command = plain(bench.path("shmkit"));
    command.args(["run", "-q", "--"]).arg(bench.path("signals")).stdout(Stdio::piped());
    // SAFETY: the set is writable, and only the child's mask changes.
    unsafe {
        command.pre_exec(|| {
            let mut some: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut some, libc::SIGTERM);
            libc::sigprocmask(libc::SIG_BLOCK, &some, std::ptr::null_mut());
            Ok(())
        });
    }
    let mut child = command.spawn().expect("the tool can be run");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("it still runs").expect("it is text");
    assert_eq!(line(), "ready");
    let pid = child.id() as i32;
    let last = libc::SIGUSR2;
    let plain = (1..=libc::SIGRTMAX()).filter(|signal| {
        // One that stops the tool takes back a SIGCONT that comes before it has.
        let kept = [libc::SIGKILL, libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, last];
        !kept.contains(signal) && !(32..libc::SIGRTMIN()).contains(signal)
    });
    for signal in plain {
        // SAFETY: takes no pointers; the child is not waited for yet.
        unsafe { libc::kill(pid, signal) };
        assert_eq!(line(), format!("{signal} 0"));
    }
    // SAFETY: as above; a number is a valid value.
    unsafe { libc::sigqueue(pid, libc::SIGRTMIN(), libc::sigval { sival_ptr: 77 as *mut libc::c_void }) };
    assert_eq!(line(), format!("{} 77", libc::SIGRTMIN()));
    // SAFETY: as above.
    unsafe { libc::kill(pid, last) };
    assert_eq!(line(), format!("{last} 0"));
    assert_eq!(child.wait().expect("a child").code(), Some(0));
}

#[test]
fn a_timer_that_was_set_before_the_tool_began_is_the_programs() {
    let bench = Bench::new();
    let script = "trap 'kill $!; exit 9' ALRM; sleep 60 & wait";
    for within in [false, true] {
        let mut command = plain(if within { bench.path("shmkit") } else { "bash".into() });
        command.args(if within { &["run", "-q", "--", "bash"][..] } else { &[] }).args(["-c", script]);
        // SAFETY: takes no pointers.
        unsafe {
            command.pre_exec(|| {
                libc::alarm(2);
                Ok(())
            });
        }
        let status = command.status().expect("it can be run");
        assert_eq!(status.code(), Some(9), "{within}: {status}");
    }
}

#[test]
fn the_program_inherits_the_dispositions_that_the_tool_was_given() {
    let bench = Bench::new();
    let shown = "grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status";
    for ignored in ["PIPE", "INT QUIT", "HUP TERM USR1 USR2", "CHLD ALRM"] {
        let script = |with: &str| format!("trap '' {ignored}; exec {with} {shown}");
        let with = format!("'{}' run -q --report off --", bench.path("shmkit").display());
        let bare = without(plain("sh").args(["-c", &script("")]));
        let ran = without(plain("sh").args(["-c", &script(&with)]));
        // The handlers that explain crashes are the only ones more.
        let lines = |ran: &Ran| {
            ran.out.lines().filter(|line| !line.starts_with("SigCgt")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((bare.code, ran.code, lines(&bare).len()), (Some(0), Some(0), 2), "{bare}{ran}");
        assert_eq!(lines(&bare), lines(&ran), "{ignored}: {ran}");
    }
}

// Children.

const FOLLOWED: [&str; 17] = [
    "execveat",
    "fork",
    "fork_exec",
    "vfork",
    "spawn",
    "spawnp",
    "system",
    "popen",
    "execve",
    "execve_preload",
    "execvpe",
    "fexecve",
    "execle",
    "execl",
    "execlp",
    "clearenv",
    "bad",
];

#[test]
fn children_of_every_kind_are_followed_and_behave_as_without() {
    let bench = Bench::new();
    bench.program("children");
    for way in FOLLOWED.iter().chain(&["vfork_fails"]) {
        let name = object();
        let bare = without(plain(bench.path("children")).args([way, name.as_str()]));
        let ran = bench.run(&["--json"]).arg(bench.path("children")).args(&[way, &name]).done();
        assert_eq!(bare.code, Some(5), "{way}: {bare}");
        let summary = ran.summary();
        let out = ran.out.split("{\n").next().unwrap_or_default();
        assert_eq!((ran.code, out), (bare.code, bare.out.as_str()), "{way}: {ran}");
        let made: Vec<&str> =
            summary["made"].as_array().into_iter().flatten().filter_map(|one| one["address"].as_str()).collect();
        let expected = if *way == "vfork_fails" { vec![] } else { vec![format!("posix:/{name}")] };
        assert_eq!(made, expected, "{way}: {ran}");
        let ends: Vec<&str> =
            summary["processes"].as_array().into_iter().flatten().filter_map(|one| one["end"].as_str()).collect();
        assert!(!ends.contains(&"not followed"), "{way}: {ran}");
    }
}

/// A child by vfork that becomes another program leaves in its parent's memory what it was begun with.
#[test]
fn children_by_vfork_leave_no_memory_behind() {
    let bench = Bench::new();
    let source = bench.path("spawns.c");
    let text = r#"
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static int mappings(void)
        {
            int lines = 0, letter;
            FILE *file = fopen("/proc/self/maps", "r");
            while ((letter = getc(file)) != EOF)
                lines += letter == '\n';
            fclose(file);
            return lines;
        }
        int main(void)
        {
            char *own[] = { "true", NULL }, *others[2000] = { NULL };
            int before = 0, failed = 0;
            for (int i = 0; i < 1999; i++)
                others[i] = i % 2 ? "A=b" : "LD_PRELOAD=libm.so.6";
            for (int i = 0; i < 60; i++) {
                int status = -1;
                pid_t child = vfork();
                if (child == 0) {
                    execve("/bin/true", own, i % 3 ? others + 1990 : others);
                    _exit(1);
                }
                waitpid(child, &status, 0);
                failed += status != 0;
                if (i == 5)
                    before = mappings();
            }
            printf("%d failed, %s\n", failed, mappings() - before < 10 ? "no more memory" : "more memory");
            return failed;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "spawns", &[]);
    let bare = without(&mut plain(bench.path("spawns")));
    let ran = bench.run(&["-q"]).arg(bench.path("spawns")).done();
    assert_eq!(bare.out, "0 failed, no more memory\n", "{bare}");
    assert_eq!(bare.behaviour(), ran.behaviour(), "{ran}");
}

#[test]
fn without_following_children_are_left_alone() {
    let bench = Bench::new();
    bench.program("children");
    for way in FOLLOWED.iter().filter(|way| !matches!(**way, "fork" | "bad")) {
        let name = object();
        let bare = without(plain(bench.path("children")).args([way, name.as_str()]));
        let ran = bench.run(&["--no-follow", "--json"]).arg(bench.path("children")).args(&[way, &name]).done();
        let out = ran.out.split("{\n").next().unwrap_or_default();
        assert_eq!((ran.code, out), (bare.code, bare.out.as_str()), "{way}: {ran}");
        assert_eq!(ran.summary()["made"], Value::Array(vec![]), "{way}: {ran}");
    }
    // And their environment is what they would have had, LD_PRELOAD included.
    for (before, after) in [(None, "none"), (Some("libm.so.6"), "libm.so.6")] {
        let mut run = bench.run(&["--no-follow", "-q"]);
        if let Some(before) = before {
            run = run.env("LD_PRELOAD", before);
        }
        let ran = run.args(&["sh", "-c", "exec sh -c 'echo ${LD_PRELOAD-none}'"]).done();
        assert_eq!(ran.out.trim(), after, "{ran}");
    }
}

#[test]
fn a_program_that_cannot_be_followed_is_named() {
    let bench = Bench::new();
    let empty = bench.path("empty.c");
    fs::write(&empty, "int main(void) { return 4; }\n").expect("the folder is writable");
    bench.compile(&empty, "static", &["-static"]);
    let script = format!("exec '{}'", bench.path("static").display());
    let ran = bench.run(&["--report", "off"]).args(&["sh", "-c", &script]).done();
    assert!(ran.code == Some(4) && ran.err.contains("not followed: sh["), "{ran}");
    let ran = bench.run(&["--json"]).args(&["sh", "-c", &script]).done();
    assert_eq!(ran.summary()["processes"][0]["end"], "not followed", "{ran}");
    let ran = bench.run(&["--json"]).args(&["sh", "-c", "exec true"]).done();
    assert_eq!(ran.summary()["processes"][0]["end"], "replaced", "{ran}");
    assert_eq!(ran.summary()["processes"][1]["end"], "exited", "{ran}");
}

#[test]
fn libraries_that_were_preloaded_already_are_kept_behind_ours() {
    let bench = Bench::new();
    bench.program("children");
    bench.program_with("early", "libearly.so", &["-shared", "-fPIC"]);
    let early = bench.path("libearly.so");
    let name = object();
    let ran = bench.run(&["-q"]).env("LD_PRELOAD", &early).env("EARLY", &name);
    let ran = ran.args(&["sh", "-c", "echo $LD_PRELOAD"]).done();
    let expected = format!("{}:{}", bench.path("libshmkit_preload.so").display(), early.display());
    // Its constructor runs before ours, and its calls answer: in the tool itself, and then in the shell.
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), ["early 1", "early 1", &expected], "{ran}");
    // A child that brings a preload of its own has both.
    let ran = bench.run(&["-q", "--json"]).arg(bench.path("children")).args(&["execve_preload", &name]).done();
    assert!(ran.code == Some(5) && ran.out.contains("leaf 1 preload"), "{ran}");
}

#[test]
fn a_sanitizers_library_stays_the_first_and_is_not_for_children() {
    let bench = Bench::new();
    let source = bench.path("sanitized.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            int fd = shm_open(arguments[1], O_RDWR | O_CREAT | O_EXCL, 0600);
            return fd == -1 || shm_unlink(arguments[1]) != 0 || system("echo $LD_PRELOAD") != 0 ? 1 : 5;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    let tried = bench.path("tried");
    let compile = |kind: &str| plain("cc").arg(kind).arg(&source).arg("-o").arg(&tried).output();
    for kind in ["-fsanitize=address", "-fsanitize=thread"] {
        if !compile(kind).is_ok_and(|output| output.status.success()) {
            run_support::not_run(&format!("cc {kind}: there is no library for it"));
            continue;
        }
        let bare = without(plain(&tried).arg(format!("/{}", object())));
        if bare.code != Some(5) {
            run_support::not_run(&format!("cc {kind}: its programs do not run here"));
            continue;
        }
        let ran = bench.run(&["--json"]).arg(&tried).arg(format!("/{}", object())).done();
        assert_eq!(ran.code, Some(5), "{kind}: {ran}");
        let preload = bench.path("libshmkit_preload.so").display().to_string();
        assert_eq!(ran.out.lines().next(), Some(preload.as_str()), "{kind}: {ran}");
        assert_eq!(states(&ran.summary()).len(), 1, "{kind}: {ran}");
    }
}

#[test]
fn reports_go_to_one_file_wherever_a_child_is() {
    let bench = Bench::new();
    bench.program("objects");
    let mut command = plain(bench.path("shmkit"));
    command.current_dir(bench.folder.path()).args(["run", "-q", "--report", "json:relative", "--", "sh", "-c"]);
    let program = bench.path("objects");
    let script = format!("cd / && '{0}' {1} 0 rule && cd /tmp && '{0}' {1} 0 rule", program.display(), object());
    let ran = Ran::new(command.arg(script).output().expect("the tool can be run"), &bench.path("relative"));
    assert_eq!(ran.rules(), ["SHM-MAP-NEVER-SIZED"; 2], "{ran}");
    let pids: BTreeSet<u64> = ran.reports.iter().filter_map(|report| report["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 2, "{ran}");
    assert!(!Path::new("/relative").exists() && !Path::new("/tmp/relative").exists());
}

// Faults on purpose.

/// The numbers of the rounds in which a call answered with an error.
fn struck(ran: &Ran, call: &str, error: &str) -> Vec<u64> {
    let wanted = format!(" {call} {error}");
    let lines = ran.out.lines().filter(|line| line.split(',').any(|part| part.contains(&wanted)));
    lines.filter_map(|line| line.split(':').next()?.parse().ok()).collect()
}

fn injected(ran: &Ran) -> Vec<(String, u64)> {
    let events = ran.reports.iter().filter(|report| report["kind"] == "injected");
    events.map(|event| (event["fault"].to_string(), event["number"].as_u64().unwrap_or(0))).collect()
}

fn with_fault(bench: &Bench, options: &[&str]) -> Ran {
    let ran = bench.run(options).arg(bench.path("inject")).arg(object()).done();
    assert_eq!(ran.code, Some(0), "{ran}");
    ran
}

#[test]
fn faults_strike_the_calls_that_were_named_and_each_is_told() {
    let bench = Bench::new();
    bench.program("inject");
    let cases: [(&str, &str, &str, &[u64]); 9] = [
        ("shm_open:ENOSPC@3", "shm_open", "ENOSPC", &[3]),
        ("shm_open:EMFILE@8+", "shm_open", "EMFILE", &[8, 9, 10]),
        ("mmap:ENOMEM@/4", "mmap", "ENOMEM", &[4, 8]),
        ("sem_open:EACCES", "sem_open", "EACCES", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("shmget:ENOMEM@100%", "shmget", "ENOMEM", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("shmget:ENOMEM@0%", "shmget", "ENOMEM", &[]),
        ("shmat:EACCES@10", "shmat", "EACCES", &[10]),
        ("shmat:EACCES@11", "shmat", "EACCES", &[]),
        ("posix_fallocate:EINTR@2", "posix_fallocate", "EINTR", &[2]),
    ];
    for (what, call, error, rounds) in cases {
        let ran = with_fault(&bench, &["-q", "--inject", what]);
        assert_eq!(struck(&ran, call, error), rounds, "{what}: {ran}");
        let told: Vec<u64> = injected(&ran).into_iter().map(|(_, number)| number).collect();
        assert_eq!(told, rounds, "{what}: {ran}");
        assert!(!ran.out.contains("errno changed"), "posix_fallocate answers and leaves errno alone: {ran}");
        let ran = with_fault(&bench, &["--json", "--inject", what]);
        let events = ran.summary()["injected"].clone();
        let events = events.as_array().expect("a list");
        assert_eq!(events.len(), rounds.len(), "{what}: {ran}");
        assert!(events.iter().all(|event| event["call"] == call && event["errno"] == error), "{what}: {ran}");
    }
    let ran = with_fault(&bench, &["--report", "text", "--inject", "shm_open:ENOSPC@3"]);
    assert!(ran.err.contains("] injected: shm_open number 3: ENOSPC\n"), "{ran}");
    assert!(ran.err.contains("injected: 1 fault\n"), "{ran}");
}

/// Each process counts its calls by itself, whether it was begun by fork or by exec; what was injected is a call like others.
#[test]
fn faults_are_counted_by_each_process_and_as_calls() {
    let bench = Bench::new();
    let source = bench.path("forks.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static void three(const char *who, const char *name)
        {
            for (int i = 1; i <= 3; i++)
                printf("%s %d: %d\n", who, i, shm_open(name, O_RDWR | O_CREAT, 0600) >= 0);
            fflush(stdout);
        }
        int main(int count, char **arguments)
        {
            three("parent", arguments[1]);
            if (fork() == 0) {
                three("child", arguments[1]);
                _exit(0);
            }
            wait(0);
            return shm_unlink(arguments[1]) == 0 && count == 2 ? 0 : 1;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "forks", &[]);
    let expected = "parent 1: 1\nparent 2: 0\nparent 3: 1\nchild 1: 1\nchild 2: 0\nchild 3: 1\n";
    let options = ["--json", "--inject", "shm_open:EMFILE@2"];
    let ran = bench.run(&options).arg(bench.path("forks")).arg(format!("/{}", object())).done();
    assert!(ran.code == Some(0) && ran.out.starts_with(expected), "{ran}");
    let calls = ran.summary()["calls"].clone();
    let opened = calls.as_array().into_iter().flatten().find(|one| one["call"] == "shm_open").cloned();
    let opened = opened.expect("it was called");
    assert_eq!((&opened["count"], &opened["failed"]), (&6.into(), &2.into()), "{ran}");
    let lines = bench.path("lines");
    let mut command = plain(bench.path("forks"));
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_TRACE", "shared");
    command.env("SHMKIT_REPORT", &lines).env("SHMKIT_INJECT", "shm_open:EMFILE@2").arg(format!("/{}", object()));
    let ran = without(&mut command);
    let text = fs::read_to_string(&lines).expect("the lines were written");
    assert_eq!(text.matches("] shm_open(\"").count(), 6, "{ran}\n{text}");
    assert_eq!(text.matches(" = -1 EMFILE (").count(), 2, "{text}");
}

#[test]
fn shares_follow_the_seed() {
    let bench = Bench::new();
    bench.program("inject");
    let of = |seed: &str| {
        let ran = with_fault(&bench, &["-q", "--seed", seed, "--inject", "mmap:ENOMEM@50%,shmget:ENOSPC@50%"]);
        let all = (struck(&ran, "mmap", "ENOMEM"), struck(&ran, "shmget", "ENOSPC"));
        assert_eq!(injected(&ran).len(), all.0.len() + all.1.len(), "{ran}");
        all
    };
    let seeds: Vec<_> = (0..6).map(|seed| of(&seed.to_string())).collect();
    for (seed, first) in seeds.iter().enumerate() {
        assert_eq!(*first, of(&seed.to_string()), "the same seed strikes the same calls");
    }
    let different: BTreeSet<_> = seeds.iter().collect();
    assert!(different.len() >= 5, "other seeds strike others: {seeds:?}");
    let all: usize = seeds.iter().map(|(one, other)| one.len() + other.len()).sum();
    assert!((30..=90).contains(&all), "about half of 120: {seeds:?}");
    assert!(seeds.iter().any(|(one, other)| one != other), "each call has a sequence of its own: {seeds:?}");
}

#[test]
fn delays_and_short_reservations() {
    let bench = Bench::new();
    bench.program("inject");
    let ran = with_fault(&bench, &["-q", "--inject", "shmat:20ms@/2"]);
    let took: u64 =
        ran.err.split("took ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a time");
    assert!(took >= 5 * 20_000_000, "five delays of 20 ms in {took} ns");
    assert_eq!(struck(&ran, "shmat", "0").len(), 10, "a delayed call succeeds: {ran}");
    assert_eq!(injected(&ran).len(), 5);
    // Half is done, as by a file system that fills up meanwhile.
    let ran = with_fault(&bench, &["-q", "--inject", "posix_fallocate:short@1,ftruncate:short@3"]);
    let line = |number: usize| ran.out.lines().nth(number - 1).unwrap_or_default();
    assert!(line(1).contains("ftruncate 0 8192, posix_fallocate ENOSPC 32768,"), "{ran}");
    assert!(line(2).contains("ftruncate 0 8192, posix_fallocate 0 65536,"), "{ran}");
    assert!(line(3).contains("ftruncate ENOSPC 4096, posix_fallocate 0 65536,"), "{ran}");
    assert_eq!(injected(&ran).len(), 2);
    // Several parts, and the option given again; of two that strike the same call the first one counts.
    let ran = with_fault(&bench, &["-q", "--inject", "mmap:ENOMEM@2,mmap:EAGAIN@2+", "--inject", "shmget:EINVAL@1"]);
    assert_eq!((struck(&ran, "mmap", "ENOMEM"), struck(&ran, "mmap", "EAGAIN").len()), (vec![2], 8), "{ran}");
    assert_eq!(struck(&ran, "shmget", "EINVAL"), [1], "{ran}");
}

#[test]
fn what_is_no_fault_is_refused_before_anything_runs() {
    let bench = Bench::new();
    let cases = [
        ("nothing:EIO", "there is no such call; calls are shm_open,"),
        ("exit:EIO", "there is no such call"),
        ("shm_open:EBLAH", "the fault is no errno"),
        ("shm_open", "a call and a fault belong together"),
        ("shm_open:", "the fault is no errno"),
        ("shm_open:ENOSPC@0", "after @ stands"),
        ("shm_open:ENOSPC@", "after @ stands"),
        ("shm_open:ENOSPC@-1", "after @ stands"),
        ("shm_open:ENOSPC@/0", "after @ stands"),
        ("shm_open:ENOSPC@101%", "after @ stands"),
        ("shm_open:ENOSPC@NaN%", "after @ stands"),
        ("shm_open:short", "only ftruncate and posix_fallocate can fall short"),
        ("mmap:99999999999999999999s", "the fault is no errno"),
        ("mmap:ENOMEM,shm_open:EBLAH", "\"shm_open:EBLAH\""),
    ];
    for (what, words) in cases {
        let ran = bench.run(&["--inject", what]).args(&["sh", "-c", "echo ran"]).done();
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{what}: {ran}");
        assert!(ran.err.starts_with("shmkit: --inject ") && ran.err.contains(words), "{what}: {ran}");
    }
}

// The summary.

/// What the program made, by the ends of the addresses.
fn states(summary: &Value) -> Vec<(String, String, u64)> {
    let made = summary["made"].as_array().expect("a list").iter();
    made.map(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        (text("address"), text("state"), one["size"].as_u64().unwrap_or(u64::MAX))
    })
    .collect()
}

/// What `objects` printed of an id.
fn id(ran: &Ran, what: &str) -> String {
    let line = ran.out.lines().find(|line| line.starts_with(&format!("{what} "))).unwrap_or_else(|| panic!("{ran}"));
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn clean_up(base: &str, key: u32) {
    for name in ["posix", "sized", "file", "semaphore"] {
        let prefix = if name == "semaphore" { "sem." } else { "" };
        let _ = fs::remove_file(format!("/dev/shm/{prefix}{base}-{name}"));
    }
    // SAFETY: take no pointers; the key is this test's own.
    unsafe {
        libc::shmctl(libc::shmget(key as i32, 0, 0), libc::IPC_RMID, std::ptr::null_mut());
        libc::semctl(libc::semget(key as i32, 0, 0), 0, libc::IPC_RMID);
    }
}

const EVERYTHING: [&str; 13] = [
    "posix",
    "sized",
    "removed",
    "memfd",
    "segment",
    "segment_removed",
    "private",
    "set",
    "set_removed",
    "semaphore",
    "semaphore_removed",
    "file",
    "file_removed",
];

#[test]
fn the_summary_says_what_was_made_and_left_however_the_process_ends() {
    let bench = Bench::new();
    bench.program("objects");
    for (end, code, signal) in [
        ("", Some(0), None),
        ("status", Some(3), None),
        ("_exit", Some(0), None),
        ("kill", None, Some(9)),
        ("abort", None, Some(6)),
    ] {
        let (base, key) = (object(), key());
        let mut run =
            bench.run(&["--json"]).arg(bench.path("objects")).args(&[&base, &key.to_string()]).args(&EVERYTHING);
        if !end.is_empty() {
            run = run.arg(end);
        }
        let ran = run.done();
        clean_up(&base, key);
        assert_eq!((ran.code, ran.signal), (code, signal), "{end}: {ran}");
        let summary = ran.summary();
        let expected_code = code.map_or(Value::Null, Value::from);
        assert_eq!(
            (&summary["exit_code"], &summary["signal"]),
            (&expected_code, &signal.map_or(Value::Null, Value::from))
        );
        let (segment, set) = (id(&ran, "segment"), id(&ran, "set"));
        let expected = [
            (format!("posix:/{base}-posix"), "left_behind", 0),
            (format!("posix:/{base}-sized"), "left_behind", 12345),
            (format!("posix:/{base}-removed"), "removed", 12345),
            (format!("memfd:{base}-memfd"), "gone", 4096),
            (format!("sysv:0x{key:x} (segment {segment})"), "left_behind", 8000),
            (format!("sysv:0x{:x} (segment {})", key + 1, id(&ran, "segment_removed")), "removed", 8000),
            (format!("sysv:0x0 (segment {})", id(&ran, "private")), "removed", 8000),
            (format!("sysv:0x{key:x} (semaphore set {set})"), "left_behind", 0),
            (format!("sysv:0x{:x} (semaphore set {})", key + 1, id(&ran, "set_removed")), "removed", 0),
            (format!("semaphore:/{base}-semaphore"), "left_behind", 32),
            (format!("semaphore:/{base}-semaphore_removed"), "removed", 32),
            (format!("posix:/{base}-file"), "left_behind", 777),
            (format!("posix:/{base}-file_removed"), "removed", 777),
        ];
        let expected: Vec<_> = expected.map(|(address, state, size)| (address, state.to_owned(), size)).into();
        assert_eq!(states(&summary), expected, "{end}: {ran}");
        let process = &summary["processes"][0];
        assert_eq!(process["program"], "objects");
        let how = if code.is_some() && end != "_exit" { "exited" } else { "ended without exit handlers" };
        assert_eq!(process["end"], how, "{end}: {ran}");
        assert!(summary["made"].as_array().into_iter().flatten().all(|one| one["pid"] == process["pid"]), "{ran}");
        let call =
            |name: &str| summary["calls"].as_array().into_iter().flatten().find(|one| one["call"] == name).cloned();
        assert_eq!(call("shmget").expect("it was called")["count"], 3, "{ran}");
        assert_eq!(call("shm_open").expect("it was called")["count"], 3, "{ran}");
        assert!(call("shm_open").expect("it was called")["time_ns"].as_u64() > Some(0), "{ran}");
    }
}

#[test]
fn the_summary_in_words() {
    let bench = Bench::new();
    bench.program("objects");
    let (base, key) = (object(), key());
    let run = bench.run(&["--report", "off"]).arg(bench.path("objects")).args(&[&base, &key.to_string()]);
    let ran = run.args(&["sized", "segment", "removed", "rule", "again", "fork", "again", "kill"]).done();
    clean_up(&base, key);
    assert!(ran.err.starts_with("shmkit: 2 processes, "), "{ran}");
    assert!(ran.err.contains("2 objects left behind\n"), "{ran}");
    let pid = "by objects[".to_owned();
    for words in [
        format!("    posix:/{base}-sized "),
        format!("12.1K  LEFT BEHIND  {pid}"),
        format!("sysv:0x{key:x} (segment {})     7.8K  LEFT BEHIND", id(&ran, "segment")),
        format!("    posix:/{base}-* (6) "),
        "12.1K  removed  by objects (2 processes)".to_owned(),
    ] {
        assert!(ran.err.contains(&words), "{words}: {ran}");
    }
    // Five times at one place, which has debug information: the function and its line.
    let source = include_str!("programs/objects.c");
    let line = 1 + source.lines().position(|line| line.contains("the line that breaks the rule")).expect("it is there");
    let words = format!("    5 x SHM-MAP-NEVER-SIZED      hazard passed  map_unsized (objects.c:{line})\n");
    assert!(ran.err.contains(&words), "{words}: {ran}");
    let ran = bench.run(&["--report", "off", "--bytes"]).arg(bench.path("objects")).args(&[&base, "0", "memfd"]).done();
    assert!(ran.err.contains(" 4096  gone  "), "{ran}");
    let ran = bench.run(&["--report", "off", "-q"]).arg(bench.path("objects")).args(&[&base, "0", "memfd"]).done();
    assert_eq!(ran.err, "", "{ran}");
}

#[test]
fn call_sites_are_module_and_offset_and_lines_where_there_are_any() {
    let bench = Bench::new();
    bench.program("objects");
    bench.program_with("objects", "fixed", &["-no-pie"]);
    bench.program_with("objects", "bare", &["-s"]);
    let source = include_str!("programs/objects.c");
    let line = 1 + source.lines().position(|line| line.contains("the line that breaks the rule")).expect("it is there");
    for (program, expected) in [
        ("objects", Value::from(format!("map_unsized (objects.c:{line})"))),
        ("fixed", Value::from(format!("map_unsized (objects.c:{line})"))),
        ("bare", Value::Null),
    ] {
        let ran = bench.run(&["--json"]).arg(bench.path(program)).args(&[&object(), "0", "rule"]).done();
        let summary = ran.summary();
        let rule = &summary["rules"][0];
        assert_eq!((&rule["rule"], &rule["count"]), (&Value::from("SHM-MAP-NEVER-SIZED"), &Value::from(1)), "{ran}");
        let site = rule["site"].as_str().expect("a text");
        let prefix = format!("{}+0x", bench.path(program).display());
        assert!(site.starts_with(&prefix), "{site}");
        assert_eq!(ran.reports[0]["site"], site, "the report says the same");
        assert_eq!(rule["source"], expected, "{program}: {ran}");
        assert!(rule["call"].as_str().is_some_and(|call| call.starts_with("mmap(NULL, 4096,")), "{ran}");
    }
}

#[test]
fn only_what_a_process_made_itself_is_said_to_be_made() {
    let bench = Bench::new();
    bench.program("objects");
    let (base, key) = (object(), key());
    // Made by another program; then found by the one that is looked at, which does not insist on making it.
    let made =
        without(plain(bench.path("objects")).args([&base, &key.to_string(), "sized", "segment", "set", "semaphore"]));
    assert_eq!(made.code, Some(0), "{made}");
    let source = bench.path("find.c");
    let text = r#"
        #include <fcntl.h>
        #include <semaphore.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/sem.h>
        #include <sys/shm.h>
        int main(int count, char **arguments)
        {
            char name[300];
            key_t key = (key_t)strtoul(arguments[2], NULL, 0);
            snprintf(name, sizeof name, "/%s-sized", arguments[1]);
            int good = shm_open(name, O_RDWR | O_CREAT, 0600) != -1;
            snprintf(name, sizeof name, "/dev/shm/%s-sized", arguments[1]);
            good = good && open(name, O_RDWR | O_CREAT, 0600) != -1;
            snprintf(name, sizeof name, "/%s-semaphore", arguments[1]);
            good = good && sem_open(name, O_CREAT, 0600, 1) != SEM_FAILED;
            good = good && shmget(key, 8000, IPC_CREAT | 0600) != -1 && semget(key, 3, IPC_CREAT | 0600) != -1;
            return good ? 0 : 1;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "find", &[]);
    let ran = bench.run(&["--json"]).arg(bench.path("find")).args(&[&base, &key.to_string()]).done();
    clean_up(&base, key);
    assert_eq!((ran.code, states(&ran.summary())), (Some(0), vec![]), "{ran}");
}

/// Paths that lead to the same, and the names that a program has for opening when it is compiled with _FORTIFY_SOURCE.
#[test]
fn objects_are_known_by_every_spelling_of_their_path() {
    let bench = Bench::new();
    let source = bench.path("spelled.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <unistd.h>
        int __openat_2(int folder, const char *path, int flags);
        int __openat64_2(int folder, const char *path, int flags);
        int main(int count, char **arguments)
        {
            const char *folders[] = { "//dev/shm/", "/dev//shm/", "/./dev/././shm//./", "/dev/shm/./" };
            char path[4][300];
            for (int i = 0; i < 4; i++) {
                snprintf(path[i], sizeof path[i], "%s%s-%d", folders[i], arguments[1], i);
                if (open(path[i], O_RDWR | O_CREAT | O_EXCL, 0600) == -1)
                    return 1;
            }
            if (__openat_2(AT_FDCWD, path[1], O_RDWR) == -1 || __openat64_2(AT_FDCWD, path[2], O_RDWR) == -1)
                return 2;
            if (open("/dev/./null", O_RDWR) == -1 || open("/dev/", O_RDONLY) == -1 || open("/", O_RDONLY) == -1)
                return 3;
            return unlink(path[0]) != 0 || unlink(path[1]) != 0 || count != 2;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "spelled", &[]);
    let base = object();
    let ran = bench.run(&["--json"]).arg(bench.path("spelled")).arg(&base).done();
    let left = [2, 3].map(|number| fs::remove_file(format!("/dev/shm/{base}-{number}")).is_ok());
    let ends = ["removed", "removed", "left_behind", "left_behind"];
    let expected = (0..4).map(|number| (format!("posix:/{base}-{number}"), ends[number].to_owned(), 0)).collect();
    assert_eq!((ran.code, states(&ran.summary()), left), (Some(0), expected, [true; 2]), "{ran}");
    let calls = ran.summary()["calls"].clone();
    let opened = calls.as_array().into_iter().flatten().find(|one| one["call"] == "open").cloned();
    assert_eq!(opened.expect("it was called")["count"], 6, "{ran}");
}

#[test]
fn a_name_that_begins_like_another_is_not_taken_for_it() {
    let bench = Bench::new();
    bench.program("objects");
    let base = object();
    let script = format!(
        "'{0}' {base} 0 sized removed && mv /dev/shm/{base}-sized /dev/shm/{base}-removed2; rm /dev/shm/{base}-removed2",
        bench.path("objects").display()
    );
    // Renamed and then removed under its new name: nobody removed it under its own.
    let ran = bench.run(&["--json"]).args(&["sh", "-c", &script]).done();
    let states: Vec<_> = states(&ran.summary()).into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, ["gone", "removed"], "{ran}");
}

#[test]
fn who_removed_it_is_told() {
    let bench = Bench::new();
    bench.program("objects");
    let base = object();
    let script = format!("'{0}' {base} 0 sized; rm /dev/shm/{base}-sized; true", bench.path("objects").display());
    let ran = bench.run(&["--json"]).args(&["sh", "-c", &script]).done();
    let summary = ran.summary();
    let one = &summary["made"][0];
    assert_eq!((&one["state"], &one["program"]), (&Value::from("removed"), &Value::from("objects")), "{ran}");
    let by = summary["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|process| process["pid"] == one["removed_by"] && process["program"] == "rm");
    assert!(by.is_some(), "{ran}");
}

#[test]
fn what_was_renamed_is_found_under_its_last_name() {
    let bench = Bench::new();
    let source = bench.path("rename.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            char from[300], to[300];
            for (int i = 0; i < 2; i++) {
                /* The same temporary name each time. */
                snprintf(from, sizeof from, "/dev/shm/%s.tmp", arguments[1]);
                snprintf(to, sizeof to, "/dev/shm/%s-%d", arguments[1], i);
                int fd = i == 0 ? open(from, O_RDWR | O_CREAT | O_EXCL, 0600) : shm_open(from + 8, O_RDWR | O_CREAT, 0600);
                if (fd == -1 || ftruncate(fd, 4096) != 0 || rename(from, to) != 0 || close(fd) != 0)
                    return 1;
            }
            return 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "rename", &[]);
    for options in [&["--report", "off"][..], &["--json"]] {
        let base = object();
        let ran = bench.run(options).arg(bench.path("rename")).arg(&base).done();
        (0..2).for_each(|i| fs::remove_file(format!("/dev/shm/{base}-{i}")).expect("it was left behind"));
        if options == ["--json"] {
            let expected = |i: u32| (format!("posix:/{base}-{i}"), "left_behind".to_owned(), 4096);
            assert_eq!(states(&ran.summary()), [expected(0), expected(1)], "{ran}");
            assert_eq!(ran.summary()["made"][0]["made_as"], format!("posix:/{base}.tmp"), "{ran}");
            continue;
        }
        assert!(ran.err.contains(", 2 objects left behind\n"), "{ran}");
        for i in 0..2 {
            let line = ran.err.lines().find(|line| line.contains(&format!("    posix:/{base}-{i} ")));
            let line = line.unwrap_or_else(|| panic!("{ran}"));
            assert!(line.contains("LEFT BEHIND") && line.ends_with(&format!(", made as posix:/{base}.tmp")), "{ran}");
        }
    }
}

#[test]
fn what_a_running_process_made_is_in_use_and_the_process_is_named() {
    let bench = Bench::new();
    let source = bench.path("daemon.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            char name[300], byte;
            int ready[2];
            if (pipe(ready) != 0)
                return 1;
            snprintf(name, sizeof name, "/%s-parent", arguments[1]);
            close(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
            if (fork() != 0) {
                close(ready[1]);
                return read(ready[0], &byte, 1) != 1;
            }
            int null = open("/dev/null", O_RDWR);
            for (int fd = 0; fd < 3; fd++)
                dup2(null, fd);
            snprintf(name, sizeof name, "/%s-child", arguments[1]);
            int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            if (ftruncate(fd, 4096) != 0 || write(ready[1], "", 1) != 1)
                return 1;
            for (int i = 0; i < 60000 && access(arguments[2], F_OK) != 0; i++)
                usleep(1000);
            return shm_unlink(name) != 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "daemon", &[]);
    for options in [&["--report", "off"][..], &["--json"]] {
        let (base, go) = (object(), bench.path(unique()));
        let ran = bench.run(options).arg(bench.path("daemon")).arg(&base).arg(&go).done();
        fs::write(&go, "").expect("the folder is writable");
        fs::remove_file(format!("/dev/shm/{base}-parent")).expect("it was left behind");
        // It removes its object itself.
        while Path::new(&format!("/dev/shm/{base}-child")).exists() {
            std::thread::yield_now();
        }
        if options == ["--json"] {
            let summary = ran.summary();
            let expected = [("parent", "left_behind", 0), ("child", "in_use", 4096)];
            let expected =
                expected.map(|(name, state, size)| (format!("posix:/{base}-{name}"), state.to_owned(), size));
            assert_eq!(states(&summary), expected, "{ran}");
            let ends = [0, 1].map(|index| summary["processes"][index]["end"].clone());
            assert_eq!(ends, ["exited", "still running"], "{ran}");
            assert_eq!(summary["made"][1]["pid"], summary["processes"][1]["pid"], "{ran}");
            continue;
        }
        let mut lines = ran.err.lines();
        assert!(lines.next().is_some_and(|line| line.ends_with(", 1 object left behind, 1 in use")), "{ran}");
        assert!(lines.next().is_some_and(|line| line.starts_with("  still running: daemon[")), "{ran}");
        let line = ran.err.lines().find(|line| line.contains(&format!("    posix:/{base}-child ")));
        assert!(line.is_some_and(|line| line.contains("4.0K  in use  by daemon[")), "{ran}");
    }
}

#[test]
fn a_ledger_that_was_lost_is_told() {
    let bench = Bench::new();
    let source = bench.path("jumps.c");
    let text = r#"
        #include <fcntl.h>
        #include <setjmp.h>
        #include <signal.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <sys/resource.h>
        #include <sys/time.h>
        #include <unistd.h>
        static sigjmp_buf back;
        static volatile int jumps;
        static void jump(int signal)
        {
            jumps += 1;
            siglongjmp(back, signal);
        }
        int main(int count, char **arguments)
        {
            struct rlimit files;
            getrlimit(RLIMIT_NOFILE, &files);
            files.rlim_cur = files.rlim_max;
            setrlimit(RLIMIT_NOFILE, &files);
            sigaction(SIGALRM, &(struct sigaction){.sa_handler = jump}, NULL);
            setitimer(ITIMER_REAL, &(struct itimerval){{0, 300}, {0, 300}}, NULL);
            sigsetjmp(back, 1);
            while (count > 1 && jumps < 900) {
                int fd = shm_open(arguments[1], O_RDWR | O_CREAT, 0600);
                if (fd == -1 || ftruncate(fd, 4096) != 0)
                    return 1;
                munmap(mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0), 4096);
                close(fd);
            }
            setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
            shm_unlink(arguments[1]);
            return 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "jumps", &[]);
    let ran = bench.run(&["--report", "off"]).arg(bench.path("jumps")).arg(format!("/{}", object())).done();
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(ran.err.matches("  the ledger was lost in jumps[").count(), 1, "{ran}");
    let ran = bench.run(&["--report", "off"]).args(&["true"]).done();
    assert!(!ran.err.contains("ledger"), "{ran}");
}

#[test]
fn a_name_cannot_write_into_the_summary_and_is_looked_up_as_it_is() {
    let bench = Bench::new();
    let source = bench.path("evil.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            static const char *const ends[] = {"\n  rules broken: none\033[31m", "\377 no text"};
            char name[300];
            for (int i = 0; i < 2; i++) {
                snprintf(name, sizeof name, "/%s%s", arguments[1], ends[i]);
                int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
                if (fd == -1 || ftruncate(fd, 4096) != 0 || (i == 0 && shm_unlink(name) != 0))
                    return 1;
            }
            snprintf(name, sizeof name, "/memfd%s", ends[0]);
            return memfd_create(name, 0) == -1;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "evil", &[]);
    // A process of the program's name: it is read when a process begins.
    let evil = bench.path("evil\u{1b}[2J\nb");
    fs::rename(bench.path("evil"), &evil).expect("the folder is ours");
    for json in [false, true] {
        let base = object();
        let options: &[&str] = if json { &["--json"] } else { &["--report", "off"] };
        let ran = bench.run(options).arg(&evil).arg(&base).done();
        let mut left = Path::new("/dev/shm").join(&base).into_os_string();
        left.push(std::ffi::OsStr::from_bytes(b"\xff no text"));
        fs::remove_file(left).expect("it was left behind");
        assert_eq!(ran.code, Some(0), "{ran}");
        let names = [
            (format!("posix:/{base}\\x0a  rules broken: none\\x1b[31m"), "removed"),
            (format!("posix:/{base}\\xff no text"), "left_behind"),
            ("memfd:/memfd\\x0a  rules broken: none\\x1b[31m".to_owned(), "gone"),
        ];
        if json {
            let found = states(&ran.summary());
            let found: Vec<_> = found.iter().map(|(address, state, _)| (address.clone(), state.as_str())).collect();
            assert_eq!(found, names, "{ran}");
            assert_eq!(ran.summary()["processes"][0]["program"], "evil\\x1b[2J\\x0ab", "{ran}");
            continue;
        }
        assert!(!ran.err.contains('\u{1b}') && !ran.err.contains("\n  rules broken: none"), "{ran}");
        for (name, state) in names {
            let line = ran.err.lines().find(|line| line.contains(&name));
            let state = state.replace("left_behind", "LEFT BEHIND");
            assert!(
                line.is_some_and(|line| line.contains(&format!("  {state}  by evil\\x1b[2J\\x0ab["))),
                "{name}: {ran}"
            );
        }
    }
}

#[test]
fn many_of_a_kind_are_one_line_and_what_is_left_behind_is_never_among_them() {
    let bench = Bench::new();
    let source = bench.path("many.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            for (int i = 0; i < 25; i++) {
                char name[300];
                snprintf(name, sizeof name, "/%s-%d", arguments[1], i);
                int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
                if (fd == -1 || ftruncate(fd, 4096) != 0 || close(fd) != 0)
                    return 1;
                if (i % 5 != 4 && shm_unlink(name) != 0)
                    return 1;
            }
            return 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "many", &[]);
    let base = object();
    let ran = bench.run(&[]).arg(bench.path("many")).arg(&base).done();
    for number in (4..25).step_by(5) {
        fs::remove_file(format!("/dev/shm/{base}-{number}")).expect("it was left behind");
        let line = ran.err.lines().find(|line| line.contains(&format!("posix:/{base}-{number} ")));
        assert!(line.is_some_and(|line| line.contains("4.0K  LEFT BEHIND  by many[")), "{number}: {ran}");
    }
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.contains(&base)).collect();
    assert_eq!(lines.len(), 6, "{ran}");
    assert!(lines[0].contains(&format!("posix:/{base}-* (20)")), "{ran}");
    assert!(lines[0].contains("80.0K  removed  by many["), "{ran}");
}

#[test]
fn what_was_made_and_removed_again_takes_no_room_from_what_is_left() {
    let bench = Bench::new();
    let source = bench.path("cycles.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        static int make(const char *name, int bytes)
        {
            int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
            return fd == -1 || ftruncate(fd, bytes) != 0 || close(fd) != 0;
        }
        int main(int count, char **arguments)
        {
            char name[300];
            int same = !strcmp(arguments[2], "same"), cycles = atoi(arguments[3]);
            for (int i = 0; i < cycles; i++) {
                snprintf(name, sizeof name, "/%s-%d", arguments[1], same ? 0 : i);
                if (make(name, 4096) || shm_unlink(name) != 0)
                    return 1;
                if (!same)
                    close(memfd_create("filler", 0));
            }
            snprintf(name, sizeof name, "/%s-left", arguments[1]);
            return make(name, 1 << 20);
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "cycles", &[]);
    for (how, cycles) in [("same", "9000"), ("other", "5000")] {
        let base = object();
        for options in [&["--report", "off"][..], &["--json"]] {
            let ran = bench.run(options).arg(bench.path("cycles")).args(&[&base, how, cycles]).done();
            fs::remove_file(format!("/dev/shm/{base}-left")).expect("it was left behind");
            if options == ["--json"] {
                let summary = ran.summary();
                let made = summary["made"].as_array().expect("a list");
                let times = |one: &&Value| one["state"] == "removed" && one["times"].is_u64();
                let listed: u64 = made.iter().filter(times).filter_map(|one| one["times"].as_u64()).sum();
                let gone = made.iter().filter(|one| one["state"] == "gone").count() as u64;
                let all = listed + gone + summary["removed_not_listed"].as_u64().expect("a number");
                assert_eq!(all, if how == "same" { 9000 } else { 10_000 }, "{how}");
                assert_eq!((&summary["events_not_kept"], &summary["objects_not_kept"]), (&0.into(), &0.into()));
                let left: Vec<_> = made.iter().filter(|one| one["state"] == "left_behind").collect();
                assert_eq!(left.len(), 1, "{how}");
                assert_eq!((&left[0]["size"], &left[0]["times"]), (&(1 << 20).into(), &1.into()), "{how}");
                continue;
            }
            assert!(ran.err.lines().next().is_some_and(|line| line.ends_with(" 1 object left behind")), "{ran}");
            let left = ran.err.lines().find(|line| line.contains(&format!("posix:/{base}-left ")));
            assert!(left.is_some_and(|line| line.contains(" 1.0M  LEFT BEHIND  by cycles[")), "{ran}");
            let words = format!("posix:/{base}-0 (9000) ");
            assert!(
                how != "same" || ran.err.contains(&words) && ran.err.contains(" 35.2M  removed  by cycles["),
                "{ran}"
            );
        }
    }
}

#[test]
fn more_processes_than_are_counted_are_told_and_what_they_leave_is_found() {
    let bench = Bench::new();
    let source = bench.path("crowd.c");
    let text = r#"
        #include <fcntl.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            char name[300];
            for (int i = 0; i < 1100; i++) {
                snprintf(name, sizeof name, "/%s-%d", arguments[1], i);
                pid_t child = fork();
                if (child == 0) {
                    int fd = shm_open(name, O_RDWR | O_CREAT, 0600);
                    _exit(fd == -1 || ftruncate(fd, 4096) != 0 || (i != 1090 && shm_unlink(name) != 0));
                }
                int status = 1;
                if (waitpid(child, &status, 0) != child || status != 0)
                    return 1;
            }
            return 0;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "crowd", &[]);
    let base = object();
    let ran = bench.run(&["--report", "off"]).arg(bench.path("crowd")).arg(&base).done();
    fs::remove_file(format!("/dev/shm/{base}-1090")).expect("it was left behind");
    let first = ran.err.lines().next().unwrap_or_default();
    assert!(first.starts_with("shmkit: 1101 processes, "), "{ran}");
    assert!(first.ends_with(" 1 object left behind; NOT COUNTED: calls of 77 processes"), "{ran}");
    let left = ran.err.lines().find(|line| line.contains(&format!("posix:/{base}-1090 ")));
    assert!(left.is_some_and(|line| line.contains("4.0K  LEFT BEHIND  by crowd[")), "{ran}");
}

#[test]
fn what_is_repeated_is_reported_some_times_and_counted_always() {
    let bench = Bench::new();
    let source = bench.path("repeats.c");
    let text = r#"
        #include <sys/mman.h>
        #include <sys/wait.h>
        #include <unistd.h>
        static void sync_pages(char *at)
        {
            for (int i = 0; i < 20000; i++)
                msync(at, 4096, 0);
        }
        int main(void)
        {
            char *at = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            msync(at, 4096, 0);
            int child = fork();
            sync_pages(at);
            if (child == 0)
                _exit(0);
            // Before the end of this process, which is that of the summary.
            waitpid(child, 0, 0);
            for (int fd = 600; fd < 1000; fd++)
                close(fd);
            for (int fd = 2000; fd > 1000; fd--)
                close(fd);
            return wait(0) == child ? 0 : 1;
        }
    "#;
    fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "repeats", &["-g"]);
    let reports = |ran: &Ran, rule: &str| ran.reports.iter().filter(|report| report["rule"] == rule).count();
    for (options, once, many) in [(&["--json"][..], 1, 10), (&["--json", "--repeats", "3"], 1, 3)] {
        let ran = bench.run(options).arg(bench.path("repeats")).done();
        assert_eq!(reports(&ran, "SHM-SYNC-NO-FLAG"), once + many, "{ran}");
        // The first of each row.
        assert_eq!(reports(&ran, "SHM-FD-CLOSED"), 2, "{ran}");
        let summary = ran.summary();
        let counts = summary["rules"].as_array().into_iter().flatten();
        let mut counts: Vec<_> =
            counts.filter(|one| one["rule"] == "SHM-SYNC-NO-FLAG").map(|one| one["count"].clone()).collect();
        counts.sort_by_key(|count| count.as_u64());
        assert_eq!(counts, [1, 40_000], "{ran}");
        assert_eq!(summary["events_not_kept"], 0, "{ran}");
    }
    let ran = bench.run(&["--repeats", "0"]).arg(bench.path("repeats")).done();
    assert_eq!(reports(&ran, "SHM-SYNC-NO-FLAG"), 40_001, "{}", ran.reports.len());
    let ran = without(plain(bench.path("shmkit")).args(["run", "-q", "--"]).arg(bench.path("repeats")));
    assert_eq!(ran.err.matches("    more of this rule at this place are only counted\n").count(), 1, "{ran}");
    assert_eq!(ran.err.matches("SHM-SYNC-NO-FLAG").count(), 11, "{ran}");
}

#[test]
fn settings_that_are_not_known_are_reported_by_the_interposer_itself() {
    let bench = Bench::new();
    let report = bench.path("setting");
    let mut command = plain("true");
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_POLICY", "strict");
    let output = command.env("SHMKIT_REPORT", format!("json:{}", report.display())).output().expect("true is there");
    let ran = Ran::new(output, &report);
    assert_eq!((ran.code, ran.rules()), (Some(0), vec!["SHM-CONFIG-UNKNOWN"]), "{ran}");
}

// What the interposer has for the loader.

fn symbols(library: &Path) -> Vec<String> {
    let text = run_support::run(plain("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library));
    let mut names: Vec<String> =
        text.lines().filter_map(|line| Some(line.split(' ').next()?.split('@').next()?.to_owned())).collect();
    names.sort();
    names
}

#[test]
fn the_interposer_exports_its_hooks_and_nothing_else() {
    let found = symbols(&run_support::interposer());
    let list = fs::read_to_string(run_support::root().join("preload/exports.txt")).expect("the list is there");
    let listed: Vec<&str> = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(found, listed, "preload/exports.txt and the library");
    assert!(!found.iter().any(|name| name.contains("shmkit") || name.contains("rust")), "{found:?}");
}

#[test]
fn whatever_the_layers_call_behind_the_program_has_a_hook() {
    let text = fs::read_to_string(run_support::root().join("src/sys/real.rs")).expect("the file is there");
    let declared = regex::Regex::new(r#"(?m)^    extern "C(?:-unwind)?" fn (\w+)\("#).expect("well-formed");
    let names: BTreeSet<&str> =
        declared.captures_iter(&text).map(|found| found.get(1).expect("a group").as_str()).collect();
    assert!(names.len() > 30 && names.contains("shm_open") && names.contains("sem_clockwait"), "{names:?}");
    let hooks: BTreeSet<String> = symbols(&run_support::interposer()).into_iter().collect();
    let missing: Vec<_> = names.iter().filter(|name| !hooks.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // Of calls with a wide variant both are there.
    for name in ["mmap", "ftruncate", "fstat", "posix_fallocate", "fcntl", "open", "openat", "creat"] {
        assert!(hooks.contains(name) && hooks.contains(&format!("{name}64")), "{name}");
    }
}
