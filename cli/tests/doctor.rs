//! `shmkit doctor` over made-up machines: each finding fires on a machine that has the fault, alone, with its exit status,
//! and is silent on one that has not.

#[path = "machine/mod.rs"]
mod room;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use room::{Ran, private, region, tool_on};
use tempfile::TempDir;

/// A machine without a fault.
struct Machine(TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().expect("a folder"));
        std::fs::create_dir_all(machine.path("dev/shm")).expect("it can be made");
        machine.mode("dev/shm", 0o1777);
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n\
                      24 27 0:6 / /dev rw - devtmpfs devtmpfs rw\n\
                      25 24 0:23 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw\n\
                      31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        for (path, text) in [
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/uid_map", "         0          0 4294967295\n"),
            ("proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n"),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max file size             unlimited            unlimited            bytes\n\
                 Max open files            1024                 4096                 files\n\
                 Max locked memory         8388608              8388608              bytes\n\
                 Max address space         unlimited            unlimited            bytes\n",
            ),
            (
                "proc/meminfo",
                "MemTotal:       16777216 kB\nSwapTotal:             0 kB\nCommitLimit:  16000000 kB\n\
                 Committed_AS:  1000000 kB\nHugepagesize:       2048 kB\n",
            ),
            ("proc/1/comm", "systemd\n"),
            ("proc/cmdline", "root=/dev/vda\n"),
            ("proc/sys/kernel/shmmax", "18446744073692774399\n"),
            ("proc/sys/kernel/shmall", "18446744073692774399\n"),
            ("proc/sys/kernel/shmmni", "4096\n"),
            ("proc/sys/kernel/sem", "32000\t1024000000\t500\t32000\n"),
            ("proc/sys/kernel/shm_rmid_forced", "0\n"),
            ("proc/sys/vm/overcommit_memory", "0\n"),
            ("proc/sys/vm/memfd_noexec", "0\n"),
            ("proc/sysvipc/shm", SHM),
            ("proc/sysvipc/sem", SEM),
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n"),
            ("etc/nsswitch.conf", "passwd: files\n"),
            // 8 GiB, of which half is free; a million inodes.
            (".room", "8589934592 4294967296 1000000 900000\n"),
        ] {
            machine.write(path, text);
        }
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    }

    fn change(&self, path: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(path)).expect("it is there");
        assert!(text.contains(from), "{path} has no {from:?}");
        self.write(path, &text.replace(from, to));
    }

    fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.path(path), PermissionsExt::from_mode(mode)).expect("it is ours");
    }

    fn doctor(&self, more: &[&str]) -> Ran {
        tool_on(self.0.path(), &[&["doctor", "--json"], more].concat())
    }

    /// Ids with severities.
    fn found(&self, more: &[&str]) -> (Option<i32>, Vec<(String, String)>) {
        let ran = self.doctor(more);
        let document = ran.json();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_string();
        let findings = document["findings"].as_array().expect("a list").iter();
        let found = findings.map(|finding| {
            // Every finding has a cause, and all but those about which nothing can be done a remedy.
            assert!(!text(&finding["cause"]).is_empty(), "{finding}");
            assert!(!text(&finding["remedy"]).is_empty() || finding["id"] == "owner-unknown", "{finding}");
            (text(&finding["id"]), text(&finding["severity"]))
        });
        (ran.code, found.collect())
    }
}

const SHM: &str = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n";
const SEM: &str = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n";

fn segment(key: i32, id: u32, perms: &str, size: u64, uid: u32) -> String {
    format!(
        "{key:>10} {id:>10}  {perms} {size:>21}     1     1      0 {uid:>5}     0     0     0          0          0          0                     0                     0\n"
    )
}

fn set(key: i32, id: u32, perms: &str, count: u32, uid: u32) -> String {
    format!("{key:>10} {id:>10}  {perms} {count:>10} {uid:>5}     0     0     0          0          0\n")
}

/// A fault: its id, its severity, what more is asked, and how a machine gets it.
type Fault<'a> = (&'a str, &'a str, &'a [&'a str], &'a dyn Fn(&Machine));

#[test]
fn a_machine_without_a_fault_is_left_in_peace() {
    let machine = Machine::new();
    assert_eq!(machine.found(&[]), (Some(0), vec![]));
    assert_eq!(machine.found(&["--need", "1G"]).0, Some(0));
    let ran = tool_on(machine.0.path(), &["doctor"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "nothing found\n"));
}

#[test]
fn every_fault_is_found_and_nothing_else() {
    let faults: &[Fault<'_>] = &[
        ("shm-missing", "error", &[], &|m| std::fs::remove_dir(m.path("dev/shm")).expect("it is empty")),
        ("shm-not-tmpfs", "warning", &[], &|m| m.change("proc/self/mountinfo", "- tmpfs tmpfs", "- ext4 /dev/vda")),
        ("shm-read-only", "error", &[], &|m| m.change("proc/self/mountinfo", "/dev/shm rw", "/dev/shm ro")),
        ("shm-noexec", "note", &[], &|m| m.change("proc/self/mountinfo", "nosuid,nodev", "nosuid,nodev,noexec")),
        ("shm-mode", "error", &[], &|m| m.mode("dev/shm", 0o755)),
        ("shm-mode", "warning", &[], &|m| m.mode("dev/shm", 0o777)),
        ("shm-small", "warning", &[], &|m| m.write(".room", "67108864 67000000 1000 900")),
        ("shm-small", "error", &["--need", "9G"], &|_| {}),
        ("memory-small", "error", &["--need", "17G"], &|_| {}),
        ("memory-small", "error", &["--need", "9999999T"], &|_| {}),
        ("memory-small", "error", &["--need", "17G", "--huge"], &|m| pool(m, 9000, 9000, 0)),
        ("memory-small", "error", &["--need", "17G", "--huge"], &|m| {
            m.change("proc/meminfo", "SwapTotal:             0 kB", "SwapTotal:       9000000 kB");
            pool(m, 9000, 9000, 0);
        }),
        ("memory-small", "warning", &["--need", "4G"], &|m| available(m, 4_000_000, 0)),
        ("memory-small", "warning", &["--need", "4G", "--huge"], &|m| {
            available(m, 4_000_000, 500_000);
            pool(m, 9000, 9000, 0);
        }),
        ("shm-full", "error", &["--need", "5G"], &|_| {}),
        ("shm-full", "error", &[], &|m| m.write(".room", "8589934592 0 1000 900")),
        ("shm-full", "warning", &[], &|m| m.write(".room", "8589934592 800000000 1000 900")),
        ("shm-inodes", "error", &[], &|m| m.write(".room", "8589934592 4294967296 1000 0")),
        ("shm-inodes", "warning", &[], &|m| m.write(".room", "8589934592 4294967296 1000 100")),
        ("shm-larger-than-memory", "warning", &[], &|m| m.change("proc/meminfo", "16777216 kB", "4194304 kB")),
        ("sysv-shmmax", "warning", &[], &|m| m.write("proc/sys/kernel/shmmax", "33554432")),
        ("sysv-shmmax", "error", &["--need", "2G"], &|m| m.write("proc/sys/kernel/shmmax", "1073741824")),
        ("sysv-shmall", "warning", &[], &|m| m.write("proc/sys/kernel/shmall", "8192")),
        ("sysv-shmall", "warning", &[], &|m| {
            m.write("proc/sys/kernel/shmall", "100000");
            m.write("proc/sysvipc/shm", &(SHM.to_string() + &segment(7, 1, "600", 90_000 << 12, 0)));
        }),
        ("sysv-shmall", "error", &[], &|m| {
            m.write("proc/sys/kernel/shmall", "100000");
            m.write("proc/sysvipc/shm", &(SHM.to_string() + &segment(7, 1, "600", 100_000 << 12, 0)));
        }),
        ("sysv-shmall", "error", &["--need", "1G"], &|m| m.write("proc/sys/kernel/shmall", "100000")),
        ("sysv-shmmni", "warning", &[], &|m| segments(m, 9)),
        ("sysv-shmmni", "error", &[], &|m| segments(m, 10)),
        ("sysv-semmni", "warning", &[], &|m| sets(m, "32000 1024000000 500 10", 9)),
        ("sysv-semmni", "error", &[], &|m| sets(m, "32000 1024000000 500 10", 10)),
        ("sysv-semmns", "warning", &[], &|m| sets(m, "32000 20 500 32000", 9)),
        ("sysv-semmns", "error", &[], &|m| sets(m, "32000 20 500 32000", 10)),
        ("sysv-sem", "warning", &[], &|m| m.write("proc/sys/kernel/sem", "64 32000 32 128")),
        ("sysv-sem", "warning", &[], &|m| m.write("proc/sys/kernel/sem", "250 32000 4 128")),
        ("remove-ipc", "warning", &[], &|m| m.write("proc/77/comm", "systemd-logind\n")),
        ("memlock", "note", &[], &|m| {
            m.change("proc/self/limits", "8388608              8388608", "65536                65536  ")
        }),
        ("memlock", "note", &["--need", "16M"], &|_| {}),
        ("fsize", "warning", &[], &|m| {
            m.change("proc/self/limits", "Max file size             unlimited", "Max file size             1048576  ")
        }),
        ("fsize", "error", &["--need", "2M"], &|m| {
            m.change("proc/self/limits", "Max file size             unlimited", "Max file size             1048576  ")
        }),
        ("address-space", "warning", &[], &|m| {
            m.change("proc/self/limits", "Max address space         unlimited", "Max address space         104857600")
        }),
        ("huge-pages", "error", &["--need", "8M", "--huge"], &|m| pool(m, 4, 4, 1)),
        ("huge-pages", "warning", &[], &|m| pool(m, 4, 2, 2)),
        ("huge-pages", "warning", &[], &|m| m.write("proc/cmdline", "quiet hugepages=8\n")),
        ("huge-pages", "warning", &[], &|m| m.write("etc/sysctl.d/80-huge.conf", "# x\nvm.nr_hugepages = 8\n")),
        ("cgroup-smaller", "warning", &[], &|m| group(m, "4294967296", "1000")),
        ("cgroup-full", "warning", &[], &|m| group(m, "10000000000", "9100000000")),
        ("overcommit", "warning", &[], &|m| {
            m.write("proc/sys/vm/overcommit_memory", "2");
            m.change("proc/meminfo", "1000000 kB", "15000000 kB");
        }),
        ("shm-rmid-forced", "warning", &[], &|m| m.write("proc/sys/kernel/shm_rmid_forced", "1")),
        ("memfd-noexec", "warning", &[], &|m| m.write("proc/sys/vm/memfd_noexec", "2")),
        ("world-writable", "warning", &[], &|m| object(m, "open", 0o666)),
        ("world-writable", "warning", &[], &|m| {
            m.write("proc/sysvipc/shm", &(SHM.to_string() + &segment(7, 1, "666", 4096, 0)))
        }),
        ("world-writable-semaphores", "warning", &[], &|m| object(m, "sem.open", 0o666)),
        ("world-writable-semaphores", "warning", &[], &|m| {
            m.write("proc/sysvipc/sem", &(SEM.to_string() + &set(7, 1, "666", 1, 0)))
        }),
        ("owner-gone", "warning", &[], &|m| {
            m.write("proc/sysvipc/shm", &(SHM.to_string() + &segment(7, 1, "600", 4096, 4711)))
        }),
        ("owner-gone", "warning", &[], &|m| {
            m.write("proc/sysvipc/sem", &(SEM.to_string() + &set(7, 1, "600", 1, 4711)))
        }),
        ("owner-unknown", "note", &[], &|m| {
            m.write("etc/nsswitch.conf", "passwd: files sss\n");
            m.write("proc/sysvipc/shm", &(SHM.to_string() + &segment(7, 1, "600", 4096, 4711)));
        }),
        ("proc-hidden", "note", &[], &|m| {
            m.change("proc/self/mountinfo", "proc proc rw", "proc proc rw,hidepid=invisible")
        }),
        ("unknown", "note", &[], &|m| std::fs::remove_file(m.path("proc/sys/kernel/sem")).expect("it is there")),
    ];
    for (number, (id, severity, more, break_it)) in faults.iter().enumerate() {
        let machine = Machine::new();
        break_it(&machine);
        let (code, mut found) = machine.found(more);
        // A need that is larger than what may be locked is said beside what it is really about.
        if *id != "memlock" && !more.is_empty() {
            found.retain(|finding| finding.0 != "memlock");
        }
        assert_eq!(found, [(id.to_string(), severity.to_string())], "fault {number}");
        let expected = match *severity {
            "error" => 11,
            "warning" => 10,
            _ => 0,
        };
        assert_eq!(code, Some(expected), "fault {number}: {id}");
    }
}

fn available(machine: &Machine, memory: u64, swap: u64) {
    machine.change(
        "proc/meminfo",
        "Hugepagesize",
        &format!("MemAvailable: {memory} kB\nSwapFree: {swap} kB\nHugepagesize"),
    );
}

fn segments(machine: &Machine, count: u32) {
    machine.write("proc/sys/kernel/shmmni", "10");
    let lines: String = (0..count).map(|id| segment(0, id, "600", 4096, 0)).collect();
    machine.write("proc/sysvipc/shm", &(SHM.to_string() + &lines));
}

fn sets(machine: &Machine, limits: &str, count: u32) {
    machine.write("proc/sys/kernel/sem", limits);
    let lines: String = (0..count).map(|id| set(0, id, "600", 2, 0)).collect();
    machine.write("proc/sysvipc/sem", &(SEM.to_string() + &lines));
}

fn pool(machine: &Machine, pages: u64, free: u64, reserved: u64) {
    for (name, number) in [("nr", pages), ("free", free), ("resv", reserved)] {
        machine.write(&format!("sys/kernel/mm/hugepages/hugepages-2048kB/{name}_hugepages"), &number.to_string());
    }
}

fn group(machine: &Machine, limit: &str, used: &str) {
    machine.write("sys/fs/cgroup/memory.max", limit);
    machine.write("sys/fs/cgroup/memory.current", used);
}

fn object(machine: &Machine, name: &str, mode: u32) {
    machine.write("etc/passwd", &format!("root:x:0:0\nme:x:{}:0\n", own_user()));
    let path = format!("dev/shm/{name}");
    machine.write(&path, "x");
    machine.mode(&path, mode);
}

fn own_user() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::geteuid() }
}

#[test]
fn what_mends_a_fault_silences_it() {
    let machine = Machine::new();
    // Memory may be locked by who has the capability, and processes seen.
    machine.change("proc/self/limits", "8388608              8388608", "65536                65536  ");
    machine.change("proc/self/mountinfo", "proc proc rw", "proc proc rw,hidepid=2");
    assert_eq!(machine.found(&[]).1.len(), 2);
    machine.write("proc/self/status", "CapEff:\t000001ffffffffff\n");
    assert_eq!(machine.found(&[]), (Some(0), vec![]));
    // Enough huge pages.
    pool(&machine, 4, 4, 0);
    assert_eq!(machine.found(&["--need", "8M", "--huge"]), (Some(0), vec![]));
    // An object that only its user may write.
    object(&machine, "closed", 0o644);
    assert_eq!(machine.found(&[]), (Some(0), vec![]));
    // A file system without bounds.
    machine.write(".room", "0 0 0 0");
    assert_eq!(machine.found(&["--need", "1G"]), (Some(0), vec![]));
}

#[test]
fn remove_ipc_is_what_the_last_setting_says() {
    let machine = Machine::new();
    machine.write("proc/77/comm", "systemd-logind\n");
    let fires = |machine: &Machine| machine.found(&[]).1.iter().any(|finding| finding.0 == "remove-ipc");
    assert!(fires(&machine), "yes is the default");
    // A distribution's own default, as its file names it.
    machine.write("usr/lib/systemd/logind.conf", "[Login]\n#RemoveIPC=no\n");
    assert!(!fires(&machine));
    machine.write("etc/systemd/logind.conf", "[Login]\n#RemoveIPC=yes\n");
    assert!(fires(&machine), "the file in /etc takes the place of the other");
    machine.write("usr/lib/systemd/logind.conf.d/50-ipc.conf", "[Login]\nRemoveIPC=no\n");
    assert!(!fires(&machine));
    machine.write("etc/systemd/logind.conf.d/60-ipc.conf", "[Login]\nRemoveIPC = on\n");
    assert!(fires(&machine), "the last name counts");
    machine.write("etc/systemd/logind.conf.d/60-ipc.conf", "[Other]\nRemoveIPC=yes\n");
    assert!(!fires(&machine), "another section is not logind's");
    machine.write("etc/systemd/logind.conf.d/50-ipc.conf", "");
    assert!(fires(&machine), "an empty file in /etc hides the other of this name");
    std::fs::remove_dir_all(machine.path("proc/77")).expect("it is there");
    assert!(!fires(&machine), "without logind nothing removes");
}

#[test]
fn without_proc_it_says_what_is_unknown() {
    let machine = Machine::new();
    std::fs::remove_dir_all(machine.path("proc")).expect("it is there");
    let (code, found) = machine.found(&[]);
    assert_eq!(code, Some(10));
    assert_eq!(found.first(), Some(&("proc-missing".to_string(), "warning".to_string())));
    assert!(found.iter().filter(|finding| finding.0 == "unknown").count() > 5, "{found:?}");
    assert_eq!(machine.found(&["--quiet"]).1.len(), 1);
}

#[test]
fn objects_are_named_and_counted() {
    let machine = Machine::new();
    for number in 0..7 {
        object(&machine, &format!("open{number}"), 0o666);
    }
    let document = machine.doctor(&[]).json();
    let finding = &document["findings"][0];
    assert_eq!(finding["objects"].as_array().map(Vec::len), Some(7));
    assert_eq!(finding["figures"]["count"], 7);
    let ran = tool_on(machine.0.path(), &["doctor"]);
    let words = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("/dev/shm/open3 and 3 more: may be written"), "{}", ran.out);
    assert!(ran.out.contains("fix: chmod o-w '/dev/shm/open0'"), "{}", ran.out);
    assert!(ran.out.ends_with("0 errors, 1 warning, 0 notes\n"), "{}", ran.out);
    let longest = ran.out.lines().filter(|line| !line.contains("fix:")).map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "{}", ran.out);
}

#[test]
fn what_is_left_over_on_this_machine_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("region");
    let address = format!("file:{}", file.display());
    region(&address, &[7; 100], 0);
    // A copy of a region that nobody opened is an orphan to the library.
    let ran = private(64 << 20, &format!("$T cp -q {address} posix:/left; $T doctor --json || echo; ls /dev/shm"));
    let text = ran.out.split("\n}\n").next().map(|text| format!("{text}\n}}")).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let orphans = document["findings"].as_array().and_then(|all| all.iter().find(|finding| finding["id"] == "orphans"));
    let orphans = orphans.unwrap_or_else(|| panic!("no orphans in {document}"));
    assert_eq!(orphans["objects"][0], "posix:/left");
    assert_eq!(orphans["figures"]["bytes"], 8192);
    assert!(ran.out.ends_with("\nleft\n"), "doctor removes nothing: {}", ran.out);
    let script = format!("$T cp -q --persistent {address} posix:/kept; $T doctor --json && echo 0 || echo $?");
    let ran = private(64 << 20, &script);
    let (text, code) = ran.out.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("{ran:?}"));
    let document: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let findings = document["findings"].as_array().unwrap_or_else(|| panic!("no findings in {document}"));
    assert!(findings.iter().all(|finding| finding["id"] != "orphans"), "{document}");
    // Whatever else it finds on this machine, it ends as its worst finding says.
    let has = |severity: &str| findings.iter().any(|finding| finding["severity"] == severity);
    let expected = if has("error") {
        "11"
    } else if has("warning") {
        "10"
    } else {
        "0"
    };
    assert_eq!(code, expected, "{document}");
}

#[test]
fn lines_to_be_pasted_name_what_they_are_about() {
    use std::os::unix::ffi::OsStrExt;
    let names: &[&[u8]] = &[
        b"plain",
        b"two words",
        b"a'b",
        b"b\xff",
        b"x\ny",
        b"tab\t'\\x41",
        b"back\\slash",
        b"\xc3\xa9",
        b"$HOME`id`!",
        b" end ",
    ];
    for name in names {
        let machine = Machine::new();
        let path = [b"/dev/shm/", *name].concat();
        let own = machine.path("dev/shm").join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(&own, "x").expect("it can be written");
        std::fs::set_permissions(&own, PermissionsExt::from_mode(0o666)).expect("it is ours");
        machine.write("etc/passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n");
        if own_user() == 1000 {
            machine.write("etc/passwd", "root:x:0:0::/root:/bin/sh\n");
        }
        let ran = tool_on(machine.0.path(), &["doctor"]);
        assert!(ran.out.bytes().all(|byte| byte >= b' ' || byte == b'\n'), "{ran:?}");
        let line = |start: &str| {
            let found =
                ran.out.lines().find_map(|line| line.trim_start_matches("fix:").trim_start().strip_prefix(start));
            found.or_else(|| ran.out.lines().find_map(|line| line.split_once(start).map(|parts| parts.1)))
        };
        // What the shell makes of the words after the command.
        let words = |start: &str| {
            let words = line(start).unwrap_or_else(|| panic!("no {start} in {}", ran.out));
            let told = std::process::Command::new("bash").args(["-c", &format!("printf '%s|' {words}")]).output();
            told.expect("bash runs").stdout
        };
        assert_eq!(words("chmod o-w "), [&path[..], b"|"].concat(), "{}", ran.out);
        assert_eq!(words(" rm "), [&path[..], b"|"].concat(), "{}", ran.out);
        // The tool takes an address as it prints it.
        let address = String::from_utf8(words("shmkit who ")).expect("it is printable");
        assert!(address.starts_with("posix:/") && address.ends_with('|'), "{address}");
        let escaped = |bytes: &[u8]| bytes.iter().any(|byte| !(b' '..0x7f).contains(byte) || *byte == b'\\');
        if !escaped(name) && name.trim_ascii() == *name {
            assert_eq!(address.as_bytes(), [b"posix:/", *name, b"|"].concat());
        }
    }
}

#[test]
fn what_there_is_no_memory_for_is_no_matter_of_settings() {
    // A tmpfs of 1 TiB, 16 GiB of memory and 8 GiB of swap.
    let machine = Machine::new();
    machine.write(".room", "1099511627776 1099511000000 1000000 900000");
    machine.change("proc/meminfo", "SwapTotal:             0 kB", "SwapTotal:       8388608 kB");
    let need = |size: &str| tool_on(machine.0.path(), &["doctor", "--need", size]);
    for size in ["25G", "500G", "9999999T"] {
        let ran = need(size);
        assert_eq!(ran.code, Some(11), "{ran:?}");
        assert!(
            ran.out.starts_with("error    memory-small\n") && ran.out.contains("has 24.0G of memory and"),
            "{ran:?}"
        );
        // But for the tmpfs, which is too large whatever is asked for.
        let lines: Vec<&str> = ran.out.lines().filter(|line| line.contains("remount")).collect();
        assert_eq!(lines, ["         fix: mount -o remount,size=12288M /dev/shm"], "{ran:?}");
    }
    let ran = need("20G");
    assert_eq!(ran.code, Some(10), "{ran:?}");
    assert!(ran.out.contains("remount,size=20480M"), "what is asked for fits: {ran:?}");
    // Swap helps.
    assert!(!need("23G").out.contains("memory-small"));
    // With swap free, what is available now is enough.
    let machine = Machine::new();
    available(&machine, 4_000_000, 500_000);
    machine.change("proc/meminfo", "SwapTotal:             0 kB", "SwapTotal:       500000 kB");
    assert_eq!(machine.found(&["--need", "4G"]), (Some(0), vec![("memlock".to_string(), "note".to_string())]));
    // A full tmpfs that cannot be made large enough: nothing but to free some.
    let machine = Machine::new();
    machine.write(".room", "8589934592 1000 1000000 900000");
    let ran = tool_on(machine.0.path(), &["doctor", "--need", "12G"]);
    assert!(ran.code == Some(11) && ran.out.contains("--shm-size") && !ran.out.contains("remount,size"), "{ran:?}");
}
