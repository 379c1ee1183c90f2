//! What the machine lacks or forbids: no /proc, a /dev/shm that may not be listed. What is left is shown and removed all
//! the same, and the rest is said to be unknown. Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use room::{child, err, hold, in_a_room, json, listed, out, region, text, tool, tool_as};
use serde_json::Value;

const OTHER: u32 = 54321;

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn without_proc_system_v_is_listed_and_removed() {
    in_a_room("without_proc_system_v_is_listed_and_removed", || {
        let words = ["segment", "0x77", "segment", "0", "semset", "0x78", "semset", "0", "object", "/plain"];
        drop(hold(&words));
        let _holder = hold(&["attach", "0x55"]);
        let before = listed(&["-k", "sysv,semset"]);
        assert_eq!(before.len(), 5);
        assert!(Command::new("umount").args(["--lazy", "/proc"]).status().expect("umount is there").success());
        assert!(!std::path::Path::new("/proc/self").exists());
        let after = listed(&["-k", "sysv,semset"]);
        assert_eq!(after.len(), 5);
        for (before, after) in before.iter().zip(&after) {
            for field in ["address", "id", "kind", "size", "semaphores", "uid", "gid", "mode", "users", "changed_ns"] {
                assert_eq!(before[field], after[field], "{field}: {before} {after}");
            }
            assert_eq!(before["creator_pid"], after["creator_pid"]);
            // Whether a process that exists is old enough, only /proc tells.
            let alive = if before["creator_alive"] == true { Value::Null } else { before["creator_alive"].clone() };
            assert_eq!(after["creator_alive"], alive);
            if after["kind"] == "sysv" {
                assert_eq!((&after["resident"], &after["unknown"]["resident"]), (&Value::Null, &"no /proc".into()));
            }
        }
        let printed = tool(&["ls"]);
        assert!(err(&printed).contains("there is no /proc"), "{printed:?}");
        let plain = listed(&["-k", "posix"]).remove(0);
        assert_eq!((&plain["users"], &plain["unknown"]["users"]), (&Value::Null, &"no /proc".into()));
        let left = tool(&["rm", "--if-unused", "posix:/plain"]);
        assert!(
            out(&left).contains("cannot be told whether it is in use") && out(&left).contains("no /proc"),
            "{left:?}"
        );
        let refused = tool(&["rm", "sysv:0x55"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(err(&refused).contains("in use: 2 attaches"), "{refused:?}");
        for address in ["sysv:0x77", "semset:0x78"] {
            assert_eq!(text(&["rm", address]), format!("removed {address}\n"));
        }
        assert_eq!(listed(&["-k", "sysv,semset"]).len(), 3);
    });
}

#[test]
fn a_folder_that_may_not_be_listed_stops_nothing_else() {
    in_a_room("a_folder_that_may_not_be_listed_stops_nothing_else", || {
        drop(hold(&["segment", "0x99", "object", "/plain", "object", "/own"]));
        chown("/dev/shm/own", Some(OTHER), Some(OTHER)).expect("root may");
        std::fs::set_permissions("/dev/shm", std::fs::Permissions::from_mode(0o1711)).expect("it is ours");
        let list = tool_as(OTHER, &["ls", "-k", "sysv"]);
        assert!(list.status.success() && out(&list).contains("sysv:0x99"), "{list:?}");
        assert!(!err(&list).contains("/dev/shm"), "nothing is missing in what was asked for: {list:?}");
        let list = tool_as(OTHER, &["ls"]);
        assert!(err(&list).contains("posix: unknown (no permission): /dev/shm cannot be listed"), "{list:?}");
        let list = parsed(&tool_as(OTHER, &["ls", "--json"]));
        assert_eq!(list["posix_why"], "no permission", "{list}");
        assert_eq!(json(&["ls"])["posix_why"], Value::Null);
        let refused = tool_as(OTHER, &["rm", "sysv:0x99"]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert!(err(&refused).contains("sysv:0x99 belongs to root"), "{refused:?}");
        let collected = tool_as(OTHER, &["gc"]);
        assert!(collected.status.success(), "{collected:?}");
        assert!(err(&collected).contains("posix: unknown (no permission)"), "{collected:?}");
        // What is named is found: a name may be looked at where the list of names may not.
        let shown = parsed(&tool_as(OTHER, &["show", "posix:/plain", "--json"]));
        assert_eq!(shown["objects"][0]["object"]["size"], 12288, "{shown}");
        let none = tool_as(OTHER, &["show", "posix:/none"]);
        assert_eq!(none.status.code(), Some(3), "{none:?}");
        let refused = tool_as(OTHER, &["rm", "posix:/plain"]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        assert!(std::path::Path::new("/dev/shm/plain").exists());
    });
}

#[test]
fn what_a_process_maps_without_a_lease_is_not_collected() {
    in_a_room("what_a_process_maps_without_a_lease_is_not_collected", || {
        let mut creator = child(|| {
            for name in ["mapped", "opened", "dead"] {
                region(&format!("posix:/{name}"), false);
            }
        });
        creator.kill();
        std::fs::write("/dev/shm/.shmkit-foreign", vec![1; 4096]).expect("it is writable");
        let map = |name: &str| {
            use std::os::fd::AsRawFd;
            let path = format!("/dev/shm/{name}");
            child(|| {
                let file = std::fs::File::open(path).expect("it is there");
                let (protection, flags) = (libc::PROT_READ, libc::MAP_SHARED);
                // SAFETY: a new mapping, at an address that the kernel chooses.
                let made = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, file.as_raw_fd(), 0) };
                assert_ne!(made, libc::MAP_FAILED);
            })
        };
        let mappers = [map("mapped"), map(".shmkit-foreign")];
        let opener = child(|| std::mem::forget(std::fs::File::open("/dev/shm/opened").expect("it is there")));
        let found = |report: &Value, list: &str| -> Vec<String> {
            let rows = report[list].as_array().unwrap_or_else(|| panic!("{report}")).iter();
            rows.map(|row| row["object"]["address"].as_str().expect("a string").to_string()).collect()
        };
        let spared = ["posix:/.shmkit-foreign", "posix:/mapped", "posix:/opened"];
        let doctor: Value = serde_json::from_str(&out(&tool(&["doctor", "--json"]))).expect("it is JSON");
        let orphans = doctor["findings"].as_array().expect("a list").iter().find(|finding| finding["id"] == "orphans");
        assert_eq!(orphans.expect("one is left over")["objects"], serde_json::json!(["posix:/dead"]));
        let lines = text(&["gc", "--no-headings"]);
        for (address, says) in [
            ("posix:/mapped", format!("mapped by {}", mappers[0].pid())),
            ("posix:/.shmkit-foreign", format!("mapped by {}", mappers[1].pid())),
            ("posix:/opened", format!("open in {}", opener.pid())),
        ] {
            let line = lines.lines().find(|line| line.contains(address)).unwrap_or_else(|| panic!("{lines}"));
            assert!(line.starts_with("left") && line.contains(&says), "{line}");
            assert_eq!(tool(&["rm", address]).status.code(), Some(1), "rm says the same of {address}");
        }
        for verbose in [&["gc"][..], &["gc", "-v"], &["gc", "--remove"], &["gc", "--remove", "-v"]] {
            let report = json(verbose);
            let gone: &[&str] = if verbose == ["gc", "--remove", "-v"] { &[] } else { &["posix:/dead"] };
            assert_eq!(
                (found(&report, "found"), found(&report, "mapped")),
                (gone.iter().map(|one| one.to_string()).collect(), spared.map(str::to_string).to_vec())
            );
            for address in spared {
                assert!(std::path::Path::new("/dev/shm").join(&address[7..]).exists(), "{address}");
                let left = report["left"].as_array().map(|_| found(&report, "left")).unwrap_or_default();
                assert!(!left.contains(&address.to_string()), "it is shown once: {report}");
            }
        }
        assert!(!std::path::Path::new("/dev/shm/dead").exists());
        drop((mappers, opener));
        assert_eq!(found(&json(&["gc", "--remove"]), "found"), spared);
        assert_eq!(std::fs::read_dir("/dev/shm").expect("it is there").count(), 0);
    });
}
