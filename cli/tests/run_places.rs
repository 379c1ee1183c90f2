//! Hooks where little is allowed: in signal handlers, many threads, cancelled threads, small stacks, before constructors,
//! below allocators, without descriptors, without the file of the run, in children that the C library knows nothing of.

mod run_support;

use run_support::{Bench, Ran, object, plain, rooted, without};

fn both(bench: &Bench, options: &[&str], where_: &str, seconds: &str) -> (Ran, Ran) {
    let name = object();
    let bare = without(plain(bench.path("places")).args([where_, &name, seconds]));
    assert_eq!(bare.code, Some(0), "{where_}: {bare}");
    let ran = bench.run(options).arg(bench.path("places")).args(&[where_, &name, seconds]).done();
    assert_eq!(bare.behaviour(), ran.behaviour(), "{where_}\nwithout: {bare}\nwith: {ran}");
    (bare, ran)
}

#[test]
fn calls_answer_as_without_wherever_they_are_made() {
    let bench = Bench::new();
    bench.program("places");
    for place in ["signals", "cancellation", "clone", "small_stack", "closed_standard"] {
        for options in
            [&["-q"] as &[&str], &["-q", "--report", "off"], &["-q", "--report", "text"], &["-q", "--policy", "check"]]
        {
            both(&bench, options, place, "1");
        }
    }
}

/// Figures for a failure, reports, lines of trace, faults on purpose, a wait for the ledger: none is a cancellation point.
#[test]
fn no_call_becomes_a_cancellation_point() {
    let bench = Bench::new();
    bench.program("places");
    for place in ["cancelled_failures", "cancelled_contention", "cancelled_posts"] {
        for options in [&["-q", "--repeats", "0"] as &[&str], &["-q", "--report", "off"]] {
            both(&bench, options, place, "1");
        }
    }
    both(&bench, &["-q", "--inject", "sem_post:50us,sem_trywait:EAGAIN@/2"], "cancelled_posts", "1");
    let mut command = plain(bench.path("shmkit"));
    command.arg("trace").arg("-o").arg(bench.path("lines")).arg("--").arg(bench.path("places"));
    let ran = without(command.args(["cancelled_posts", &object(), "1"]));
    assert!(ran.code == Some(0) && ran.out.starts_with("cancelled 20, lost 0\n"), "{ran}");
}

#[test]
fn eight_threads_for_two_seconds_with_reports() {
    let bench = Bench::new();
    bench.program("places");
    let (_, ran) = both(&bench, &["-q"], "threads", "2");
    assert!(ran.rules().is_empty(), "{ran}");
    let lines = bench.path("lines");
    let mut command = plain(bench.path("shmkit"));
    command.arg("trace").arg("-o").arg(&lines).arg("--").arg(bench.path("places")).args(["threads", &object(), "1"]);
    let ran = without(&mut command);
    assert_eq!(ran.code, Some(0), "{ran}");
    // Lines of several threads do not mix.
    let text = std::fs::read_to_string(&lines).expect("the lines were written");
    let whole = regex::Regex::new(r"^\[pid \d+\] [a-z_0-9]+\(.*\) = \S.* <\d+\.\d{6}>$").expect("well-formed");
    let broken: Vec<&str> = text.lines().filter(|line| !whole.is_match(line)).collect();
    assert!(text.lines().count() > 1000 && broken.is_empty(), "{:?}", &broken[..broken.len().min(5)]);
}

#[test]
fn descriptors_that_the_program_closes_are_not_missed() {
    let bench = Bench::new();
    bench.program("places");
    // A thousand of them are not open: that is its own affair, and reported as such, once a row.
    let (_, ran) = both(&bench, &["-q"], "closed_from_3", "1");
    assert!(
        ran.rules().iter().all(|rule| *rule == "SHM-FD-CLOSED") && (1..=10).contains(&ran.rules().len()),
        "{}",
        ran.rules().len()
    );
    let ran = bench.run(&["--json"]).arg(bench.path("places")).args(&["closed_from_3", &object()]).done();
    let summary = ran.summary();
    let opened = summary["calls"].as_array().into_iter().flatten().find(|one| one["call"] == "shm_open").cloned();
    assert_eq!(opened.expect("it was called")["count"], 100, "{ran}");
    assert_eq!(summary["made"].as_array().map(Vec::len), Some(100), "{ran}");
}

#[test]
fn programs_that_cannot_reach_the_file_of_the_run_go_on_without_it() {
    let bench = Bench::new();
    bench.program("places");
    // After chroot the file is still mapped, and a forked child's counts are there.
    let name = object();
    let ran = bench.run_rooted(&["--json"]).arg(bench.path("places")).args(&["chroot", &name]).done();
    assert!(ran.code == Some(0) && ran.out.starts_with("child 0\ngood, without failures\n"), "{ran}");
    let made = ran.summary()["made"].clone();
    assert_eq!((made.as_array().map(Vec::len), &made[0]["address"]), (Some(1), &"memfd:in-chroot".into()), "{ran}");
    assert_eq!(ran.summary()["processes"].as_array().map(Vec::len), Some(3), "{ran}");
    // Where not even the interposer can be reached, the loader says so and the program runs.
    let ran = bench.run_rooted(&["-q"]).arg(bench.path("places")).args(&["namespace", &name]).done();
    let bare = without(rooted(bench.path("places")).args(["namespace", &name]));
    assert!(bare.code == Some(0) && bare.behaviour() == ran.behaviour(), "without: {bare}\nwith: {ran}");
    assert!(ran.err.lines().all(|line| line.contains("cannot be preloaded")) && !ran.err.is_empty(), "{ran}");
    // With the interposer within reach and only the file of the run out of it, nothing is said at all.
    let mut command = plain(bench.path("places"));
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_RUN", "/nonexistent/run");
    let ran = without(command.args(["small_stack", &object()]));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    // Nor with a file there that is none of a run.
    let mut command = plain(bench.path("places"));
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_RUN", bench.path("shmkit"));
    let ran = without(command.args(["small_stack", &object()]));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
}

#[test]
fn allocators_that_lead_into_the_hooks_are_not_called_from_them() {
    let bench = Bench::new();
    bench.program("places");
    bench.program_with("allocator", "liballocator.so", &["-shared", "-fPIC", "-fno-builtin"]);
    bench.program_with("early", "libearly.so", &["-shared", "-fPIC"]);
    let allocator = bench.path("liballocator.so");
    for place in ["threads", "signals", "small_stack", "clone"] {
        for options in ["-q", "--quiet --report text", "-q --inject mmap:1us@1%"] {
            let options: Vec<&str> = options.split(' ').collect();
            let mut command = plain(bench.path("shmkit"));
            // In the program alone: the tool is a program as well.
            command.arg("run").args(&options).args(["--", "env"]);
            command.arg(format!("LD_PRELOAD={}:{}", bench.path("libshmkit_preload.so").display(), allocator.display()));
            let ran = without(command.arg(bench.path("places")).args([place, &object(), "1"]));
            assert_eq!(ran.code, Some(0), "{place} {options:?}: {ran}");
            assert!(ran.out.ends_with("good, without failures\n"), "{place} {options:?}: {ran}");
        }
    }
    // A rule broken under it: the report walks the stack and looks up names.
    bench.program("objects");
    let mut command = plain(bench.path("shmkit"));
    command.args(["run", "--json", "--report", "off", "--", "env"]);
    command.arg(format!("LD_PRELOAD={}:{}", bench.path("libshmkit_preload.so").display(), allocator.display()));
    let ran = without(command.arg(bench.path("objects")).args([&object(), "0", "again"]));
    let rules = ran.summary()["rules"].clone();
    assert!(rules[0]["rule"] == "SHM-MAP-NEVER-SIZED" && rules[0]["count"] == 2, "{ran}");
}

/// A filter of system calls, as containers have: the one that copies memory is not permitted.
#[test]
fn names_are_known_where_memory_cannot_be_asked_for() {
    let bench = Bench::new();
    let source = bench.path("filtered.c");
    let text = r#"
        #include <errno.h>
        #include <fcntl.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <stdio.h>
        #include <sys/mman.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            struct sock_filter steps[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = { sizeof steps / sizeof *steps, steps };
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
                return 2;
            int fd = shm_open(arguments[1], O_RDWR | O_CREAT, 0600);
            return fd != -1 && ftruncate(fd, 4096) == 0 && shm_unlink(arguments[1]) == 0 && count == 2 ? 0 : 1;
        }
    "#;
    std::fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "filtered", &[]);
    let name = object();
    let ran = bench.run(&["--json"]).arg(bench.path("filtered")).arg(format!("/{name}")).done();
    let made = ran.summary()["made"].clone();
    assert_eq!((ran.code, made.as_array().map(Vec::len)), (Some(0), Some(1)), "{ran}");
    assert_eq!(
        (&made[0]["address"], &made[0]["state"]),
        (&format!("posix:/{name}").into(), &"removed".into()),
        "{ran}"
    );
}

/// A filter that kills: after it a program has no other system calls than those that it makes.
#[test]
fn a_filter_that_kills_finds_nothing_at_the_end() {
    let bench = Bench::new();
    let source = bench.path("sandbox.c");
    let text = r#"
        #include <fcntl.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <stdlib.h>
        #include <sys/mman.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        #define ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
        int main(int count, char **arguments)
        {
            struct sock_filter steps[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                ALLOW(write), ALLOW(exit_group), ALLOW(close), ALLOW(munmap),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            };
            struct sock_fprog program = { sizeof steps / sizeof *steps, steps };
            int fd = shm_open(arguments[1], O_RDWR | O_CREAT, 0600);
            if (fd == -1 || ftruncate(fd, 4096) != 0 || shm_unlink(arguments[1]) != 0 || count != 2)
                return 1;
            void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
                return 2;
            if (munmap(at, 4096) != 0 || close(fd) != 0 || write(1, "in the sandbox\n", 15) != 15)
                return 3;
            exit(0);
        }
    "#;
    std::fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "sandbox", &[]);
    let bare = without(plain(bench.path("sandbox")).arg(format!("/{}", object())));
    assert_eq!((bare.code, bare.out.as_str()), (Some(0), "in the sandbox\n"), "{bare}");
    let ran = bench.run(&["--json"]).arg(bench.path("sandbox")).arg(format!("/{}", object())).done();
    assert!(ran.code == Some(0) && ran.out.starts_with("in the sandbox\n"), "{ran}");
    assert_eq!(ran.summary()["processes"][0]["end"], "exited", "{ran}");
}

/// The thread that loads a library holds the loader's lock, and may wait for another one meanwhile.
#[test]
fn calls_and_reports_do_not_wait_for_the_loader() {
    let bench = Bench::new();
    bench.program_with("plugin", "plugin.so", &["-shared", "-fPIC"]);
    let source = bench.path("loads.c");
    let text = r#"
        #include <dlfcn.h>
        #include <unistd.h>
        int main(int count, char **arguments)
        {
            alarm(20);
            return dlopen(arguments[1], RTLD_NOW) != NULL && count == 2 ? 0 : 1;
        }
    "#;
    std::fs::write(&source, text).expect("the folder is writable");
    bench.compile(&source, "loads", &["-ldl"]);
    for breaks in [false, true] {
        let mut run = bench.run(&["-q"]);
        if breaks {
            run = run.env("PLUGIN_BREAKS", "1");
        }
        let ran = run.arg(bench.path("loads")).arg(bench.path("plugin.so")).done();
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), "plugin ready\n"), "{ran}");
        assert_eq!(ran.rules(), vec!["SHM-FD-CLOSED"; usize::from(breaks)], "{ran}");
        assert!(!breaks || ran.reports[0]["site"].as_str().is_some_and(|site| site.contains("plugin.so+0x")), "{ran}");
    }
}

/// How often a rule was reported on a standard error.
fn told(err: &str) -> usize {
    err.matches("SHM-FD-CLOSED, failed").count()
}

#[test]
fn reports_go_to_the_tools_standard_error_whatever_the_programs_is() {
    let bench = Bench::new();
    let noisy = bench.program("noisy");
    let text = ["-q", "--repeats", "0", "--report", "text"];
    let ran = bench.run(&text).arg(&noisy).args(&["3"]).arg(bench.path("data")).done();
    assert_eq!((ran.code, told(&ran.err)), (Some(0), 3), "{ran}");
    assert_eq!(std::fs::read_to_string(bench.path("data")).expect("it was written"), "one\ntwo\n");
    // Without the tool there is only the program's own, and that is another file now.
    let mut command = plain(&noisy);
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_REPORT", "stderr");
    let ran = without(command.arg("3").arg(bench.path("data")));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran}");
    let mut command = plain(&noisy);
    command.env("LD_PRELOAD", bench.path("libshmkit_preload.so")).env("SHMKIT_REPORT", "stderr");
    let ran = without(command.arg("3"));
    assert_eq!((ran.code, told(&ran.err)), (Some(0), 3), "{ran}");
    // A child's is a pipe that nobody reads.
    let ran = bench.run(&text).arg(&noisy).args(&["1000", "wait"]).done();
    assert_eq!((ran.code, told(&ran.err)), (Some(0), 1000), "{}", ran.err.len());
    // A file that is not opened for appending: the tool, the program and its child write over nothing.
    let both = "'$0' 2 2>/dev/null; echo middle >&2; '$0' 2".replace("'$0'", &noisy.display().to_string());
    let file = bench.path("errors");
    let mut run = bench.run(&["--report", "text"]);
    run = run.args(&["sh", "-c", &both]);
    run.command.stderr(std::fs::File::create(&file).expect("the folder is writable"));
    let ran = run.done();
    let written = std::fs::read_to_string(&file).expect("it was written");
    assert_eq!((ran.code, told(&written)), (Some(0), 4), "{written}");
    assert!(written.contains("\nmiddle\n") && written.contains("\nshmkit: 3 processes"), "{written}");
}

#[test]
fn reports_that_nobody_takes_neither_end_the_program_nor_hold_it_up() {
    let bench = Bench::new();
    let noisy = bench.program("noisy");
    let tool = bench.path("shmkit");
    let shell = |script: &str| {
        let script = script.replace("RUN", &format!("'{}' run --json --repeats 0 --", tool.display()));
        let script = script.replace("NOISY", &format!("'{}'", noisy.display()));
        without(plain("bash").arg("-c").arg(script).current_dir(bench.folder.path()))
    };
    let lost = |ran: &Ran| ran.summary()["reports_not_written"].as_u64();
    // Files may not grow so far: SIGXFSZ. The tool's own standard output is a pipe.
    let ran = shell("(ulimit -S -f 8; RUN NOISY 500 2> limited); echo $?");
    assert!(ran.out.ends_with("\n0\n") && ran.out.contains("\"reports_not_written\": 4"), "{ran}");
    let ran = shell("(ulimit -f 8; RUN true); echo $?");
    assert!(ran.out.ends_with("125\n") && ran.err.contains("File too large"), "{ran}");
    // Nobody reads: SIGPIPE.
    let ran = shell("RUN NOISY 50 2> >(exec true) ; echo $?");
    assert!(ran.out.ends_with("\n0\n"), "{ran}");
    // Somebody may read, and does not.
    let mut run = bench.run(&["--json", "--repeats", "0", "--report", "text"]).arg(&noisy).args(&["1000"]);
    run.command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = run.command.spawn().expect("the tool can be run");
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().expect("a pipe"), &mut out).expect("it is text");
    let mut err = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("a pipe"), &mut err).expect("it is text");
    let status = child.wait().expect("a child");
    let ran = Ran { code: status.code(), signal: None, out, err, reports: Vec::new() };
    let lost = lost(&ran).unwrap_or(0);
    assert!(ran.code == Some(0) && lost > 0 && told(&ran.err) as u64 + lost == 1000, "{} {lost}", told(&ran.err));
}

#[test]
fn after_a_change_of_root_no_file_of_reports_is_made_there() {
    let bench = Bench::new();
    let noisy = bench.program("noisy");
    let reports = bench.path("reports");
    let root = bench.path("root");
    let there = root.join(reports.strip_prefix("/").expect("it is absolute"));
    std::fs::create_dir_all(there.parent().expect("it has a folder")).expect("the folder is writable");
    let target = format!("text:{}", reports.display());
    for there_is_one in [false, true] {
        if there_is_one {
            std::fs::write(&there, "another's\n").expect("the folder is writable");
        }
        let mut run = bench.run_rooted(&["--json", "--report", &target]).arg(&noisy).args(&["3", "chroot"]).arg(&root);
        run.command.stdin(std::process::Stdio::null());
        let ran = run.done();
        assert_eq!((ran.code, ran.summary()["reports_not_written"].as_u64()), (Some(0), Some(3)), "{ran}");
        assert_eq!(std::fs::read_to_string(&there).ok(), there_is_one.then(|| "another's\n".into()), "{ran}");
    }
}
