//! `shmkit limits` against /proc/sys, ipcs, the shell's ulimit and df.

#[path = "machine/mod.rs"]
mod room;

use std::process::Command;

use room::{Ran, TOOL, private, tool, tool_on};
use serde_json::Value;

fn row<'a>(document: &'a Value, name: &str) -> &'a Value {
    let rows = document["limits"].as_array().expect("a list");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {document}"))
}

fn sysctl(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

#[test]
fn settings_are_those_of_proc_sys() {
    let ran = tool(&["limits", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let document = ran.json();
    assert_eq!(document["schema"], "shmkit.limits");
    assert_eq!(document["version"], 1);
    for (name, file) in [
        ("SHMMAX", "kernel/shmmax"),
        ("SHMALL", "kernel/shmall"),
        ("SHMMNI", "kernel/shmmni"),
        ("max_map_count", "vm/max_map_count"),
        ("overcommit", "vm/overcommit_memory"),
        ("memfd_noexec", "vm/memfd_noexec"),
        ("shm_rmid_forced", "kernel/shm_rmid_forced"),
        ("ptrace_scope", "kernel/yama/ptrace_scope"),
    ] {
        let row = row(&document, name);
        assert_eq!(row["value"].as_u64(), sysctl(file), "{name}");
        // What is not there is said, and never a blank.
        assert_eq!(row["value_why"].is_string(), sysctl(file).is_none(), "{name}");
    }
    let sem = std::fs::read_to_string("/proc/sys/kernel/sem").expect("there are semaphores");
    for (name, value) in ["SEMMSL", "SEMMNS", "SEMOPM", "SEMMNI"].into_iter().zip(sem.split_whitespace()) {
        assert_eq!(row(&document, name)["value"].to_string(), value, "{name}");
    }
}

#[test]
fn system_v_limits_are_those_of_ipcs() {
    let document = tool(&["limits", "--json"]).json();
    let told = Command::new("ipcs").arg("-l").env("LC_ALL", "C").output().expect("ipcs runs");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let number = |words: &str| -> u64 {
        let line = told.lines().find(|line| line.starts_with(words)).unwrap_or_else(|| panic!("{words}: {told}"));
        line.rsplit("= ").next().expect("a number").trim().parse().expect("a number")
    };
    let value = |name: &str| row(&document, name)["value"].as_u64().expect("a number");
    assert_eq!(value("SHMMNI"), number("max number of segments"));
    assert_eq!(value("SHMMAX") / 1024, number("max seg size (kbytes)"));
    // ipcs does not let the number of kilobytes overflow either.
    let kilobytes = document["page_size"].as_u64().expect("a number") / 1024;
    let most = u64::MAX - u64::MAX % kilobytes;
    assert_eq!(value("SHMALL").checked_mul(kilobytes).unwrap_or(most), number("max total shared memory (kbytes)"));
    assert_eq!(value("SEMMNI"), number("max number of arrays"));
    assert_eq!(value("SEMMSL"), number("max semaphores per array"));
    assert_eq!(value("SEMMNS"), number("max semaphores system wide"));
    assert_eq!(value("SEMOPM"), number("max ops per semop call"));
}

#[test]
fn use_is_counted() {
    let script = "ipcmk -M 10000 >/dev/null; ipcmk -M 4096 >/dev/null; ipcmk -S 7 >/dev/null
                  head -c 300000 /dev/zero >/dev/shm/one; : >/dev/shm/two
                  $T limits --json";
    let ran = private(4 << 20, script);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let document = ran.json();
    let used = |name: &str| row(&document, name)["used"].as_u64();
    assert_eq!(used("SHMMNI"), Some(2));
    assert_eq!(used("SHMALL"), Some(3 + 1));
    assert_eq!(used("SEMMNI"), Some(1));
    assert_eq!(used("SEMMNS"), Some(7));
    assert_eq!(used("/dev/shm size"), Some(74 * 4096));
    assert_eq!(row(&document, "/dev/shm size")["value"].as_u64(), Some(4 << 20));
    assert_eq!(row(&document, "/dev/shm free")["value"].as_u64(), Some((4 << 20) - 74 * 4096));
    // The folder itself has one.
    assert_eq!(used("/dev/shm inodes"), Some(3));
}

#[test]
fn limits_of_resources_are_the_shells() {
    let script =
        format!("ulimit -S -l 64; ulimit -S -n 77; ulimit -S -f 2048; ulimit -S -v 4000000; {TOOL} limits --json");
    // In bash the unit of -f is 1 KiB.
    let ran = Ran::of(Command::new("bash").args(["-c", &script]).output().expect("bash runs"));
    let document = ran.json();
    let value = |name: &str| row(&document, name)["value"].as_u64();
    assert_eq!(value("RLIMIT_MEMLOCK"), Some(64 << 10));
    assert_eq!(value("RLIMIT_NOFILE"), Some(77));
    assert_eq!(value("RLIMIT_FSIZE"), Some(2048 << 10));
    assert_eq!(value("RLIMIT_AS"), Some(4_000_000 << 10));
}

#[test]
fn control_groups_of_both_versions_are_read() {
    let root = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    };
    let limit = || {
        let ran = tool_on(root.path(), &["limits", "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let document = ran.json();
        let row = row(&document, "cgroup memory");
        (row["value"].as_u64(), row["unlimited"].as_bool(), row["used"].as_u64())
    };
    assert_eq!(limit(), (None, Some(false), None));
    // The tightest of the groups above counts.
    write("proc/self/cgroup", "0::/a/b\n");
    write("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write("sys/fs/cgroup/a/b/memory.max", "max\n");
    write("sys/fs/cgroup/a/b/memory.current", "5\n");
    assert_eq!(limit(), (None, Some(true), Some(5)));
    write("sys/fs/cgroup/a/memory.max", "1000\n");
    write("sys/fs/cgroup/a/memory.current", "600\n");
    assert_eq!(limit(), (Some(1000), Some(false), Some(600)));
    // Version 1, as a container sees it: the mount shows its own part of the tree.
    write("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n");
    write("proc/self/mountinfo", "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", "77\n");
    assert_eq!(limit(), (None, Some(true), Some(77)));
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
    assert_eq!(limit(), (Some(4096), Some(false), Some(77)));
}

#[test]
fn every_cell_says_something() {
    let ran = tool(&["limits"]);
    assert_eq!(ran.code, Some(0));
    let mut lines = ran.out.lines();
    assert_eq!(
        lines.next().map(|line| line.split_whitespace().collect::<Vec<_>>()).as_deref(),
        Some(&["NAME", "VALUE", "USED", "FROM", "CHANGE"][..])
    );
    for line in lines {
        let cells = line.split("  ").filter(|cell| !cell.trim().is_empty()).count();
        assert_eq!(cells, 5, "{line:?}");
    }
    let bare = tool(&["limits", "--no-headings", "-o", "name"]);
    let names: Vec<&str> = bare.out.lines().collect();
    assert_eq!(names.len(), ran.out.lines().count() - 1);
    assert!(names.contains(&"SHMMAX"));
    assert_eq!(tool(&["limits", "-o", "nonsense"]).code, Some(2));
}
