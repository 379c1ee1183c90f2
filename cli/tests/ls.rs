//! `shmkit ls`, `show` and `who` over objects that programs of the C library alone made, compared with what others say of
//! them: /proc/sysvipc, ipcs, lsipc, a walk of /dev/shm. Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::time::Instant;

use room::{addresses, child, err, hold, in_a_room, json, listed, one, out, text, tool, tool_as};
use serde_json::Value;

/// The rows of a table of numbers below one line of headings, by the first of these columns.
fn table(path: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(path).expect("System V is there");
    text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_string).collect()).collect()
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn segments_are_those_of_proc_and_ipcs_and_lsipc() {
    in_a_room("segments_are_those_of_proc_and_ipcs_and_lsipc", || {
        let holder =
            hold(&["segment", "0x1234", "attach", "0x7fffffff", "segment", "0", "removed", "0x99", "segment", "-5"]);
        let tool: BTreeMap<String, Value> =
            listed(&["-a", "--kind", "sysv"]).into_iter().map(|object| (object["id"].to_string(), object)).collect();
        let rows = table("/proc/sysvipc/shm");
        assert_eq!(rows.len(), 5);
        assert_eq!(tool.len(), rows.len());
        for row in &rows {
            let object = &tool[&row[1]];
            let key = row[0].parse::<i32>().expect("it is a number");
            let address = if key == 0 { format!("sysv:id={}", row[1]) } else { format!("sysv:{key:#x}") };
            assert_eq!(object["address"], address.as_str());
            let number = |at: usize| row[at].parse::<u64>().expect("it is a number");
            assert_eq!(object["size"], number(3));
            assert_eq!(object["users"], number(6));
            assert_eq!(object["users_at_least"], false);
            assert_eq!(object["creator_pid"], number(4));
            assert_eq!(number(4), holder.pid());
            assert_eq!(object["creator_alive"], true);
            assert_eq!((&object["uid"], &object["gid"]), (&number(7).into(), &number(8).into()));
            assert_eq!(object["changed_ns"], number(13) * 1_000_000_000);
            assert_eq!((&object["resident"], &object["swapped"]), (&number(14).into(), &number(15).into()));
            let mode = u32::from_str_radix(&row[2], 8).expect("it is octal");
            assert_eq!(object["mode"], format!("{:04o}", mode & 0o777));
            assert_eq!(object["unlinked"], mode & 0o1000 != 0);
            let state = match (mode & 0o1000 != 0, number(6)) {
                (true, _) => "unlinked",
                (false, 0) => "unknown",
                (false, _) => "live",
            };
            assert_eq!(object["state"], state);
            let shown: u64 = object["processes"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one["mappings"].as_u64().unwrap())
                .sum();
            assert_eq!(shown, number(6), "one mapping an attach: {object}");
        }
        let mut seen = 0;
        for line in run("ipcs", &["-m"]).lines().filter(|line| line.starts_with("0x")) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let object = &tool[fields[1]];
            assert_eq!(object["owner"], fields[2]);
            assert_eq!(object["size"].to_string(), fields[4]);
            assert_eq!(object["users"].to_string(), fields[5]);
            seen += 1;
        }
        assert_eq!(seen, 5, "ipcs lists the same number");
        let lsipc: Value = serde_json::from_str(&run("lsipc", &["-m", "-J", "-b", "-o", "ID,KEY,SIZE,NATTCH,CPID"]))
            .expect("lsipc prints JSON");
        let lists = lsipc.as_object().expect("an object").values().next().expect("one list");
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let lsipc: Vec<_> = lists.as_array().expect("a list").iter().collect();
        assert_eq!(lsipc.len(), 5);
        for row in lsipc {
            let object = &tool[&as_text(&row["id"])];
            assert_eq!(object["size"].to_string(), as_text(&row["size"]));
            assert_eq!(object["users"].to_string(), as_text(&row["nattch"]));
            assert_eq!(object["creator_pid"].to_string(), as_text(&row["cpid"]));
        }
        // Without -a, what has no name any more is left out.
        assert_eq!(listed(&["--kind", "sysv"]).len(), 4);
        let sorted = addresses(&listed(&["-a"]));
        assert!(sorted.is_sorted(), "{sorted:?}");
    });
}

#[test]
fn sets_of_semaphores_are_those_of_proc_and_ipcs() {
    in_a_room("sets_of_semaphores_are_those_of_proc_and_ipcs", || {
        let _holder = hold(&["semset", "0x77", "semset", "0"]);
        let tool = listed(&["--kind", "semset"]);
        let rows = table("/proc/sysvipc/sem");
        assert_eq!((tool.len(), rows.len()), (2, 2));
        for row in rows {
            let key = row[0].parse::<i32>().expect("it is a number");
            let address = if key == 0 { format!("semset:id={}", row[1]) } else { format!("semset:{key:#x}") };
            let object = one(&address);
            assert_eq!(object["id"].to_string(), row[1]);
            assert_eq!(object["semaphores"].to_string(), row[3]);
            assert_eq!(object["mode"], format!("0{}", row[2]));
            assert_eq!(object["size"], Value::Null);
            assert!(object["unknown"]["size"].is_string(), "{object}");
        }
        let ipcs = run("ipcs", &["-s"]);
        let ids: Vec<_> =
            ipcs.lines().filter(|line| line.starts_with("0x")).map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(ids.len(), 2);
        assert!(tool.iter().all(|object| ids.contains(&Some(&object["id"].to_string()))));
    });
}

#[test]
fn objects_are_those_of_a_walk_of_dev_shm() {
    in_a_room("objects_are_those_of_a_walk_of_dev_shm", || {
        let _holder = hold(&["object", "/made", "map", "/mapped", "open", "/opened", "sem", "/five"]);
        std::fs::write("/dev/shm/by-echo", "text").expect("it is writable");
        // Neither is an object.
        std::fs::create_dir("/dev/shm/folder").expect("it is writable");
        symlink("made", "/dev/shm/link").expect("it is writable");
        let tool = listed(&["--kind", "posix,sem"]);
        let mut walked = 0;
        for entry in std::fs::read_dir("/dev/shm").expect("it is there") {
            let entry = entry.expect("it can be read");
            let found = entry.path().symlink_metadata().expect("it is there");
            if !found.is_file() {
                continue;
            }
            walked += 1;
            let object = one(&format!("posix:/{}", entry.file_name().display()));
            assert_eq!(object["size"], found.size());
            assert_eq!(object["reserved"], found.blocks() * 512);
            assert_eq!((&object["device"], &object["inode"]), (&found.dev().into(), &found.ino().into()));
            assert_eq!((&object["uid"], &object["gid"]), (&found.uid().into(), &found.gid().into()));
            assert_eq!(object["mode"], format!("{:04o}", found.mode() & 0o777));
            assert_eq!(object["content"], "foreign");
        }
        assert_eq!((walked, tool.len()), (5, 5));
        let semaphore = &json(&["show", "posix:/sem.five"])["objects"][0]["semaphore"];
        assert_eq!((&semaphore["value"], &semaphore["waiters"]), (&5.into(), &0.into()));
        for (address, kind, state) in [
            ("posix:/made", "posix", "unknown"),
            ("posix:/mapped", "posix", "live"),
            ("posix:/opened", "posix", "live"),
            ("posix:/sem.five", "sem", "live"),
            ("posix:/by-echo", "posix", "unknown"),
        ] {
            let object = one(address);
            assert_eq!((&object["kind"], &object["state"]), (&kind.into(), &state.into()), "{object}");
            assert!(object["created_ns"].is_u64() || object["changed_ns"].is_u64(), "{object}");
        }
    });
}

#[test]
fn who_has_what_is_what_was_made() {
    in_a_room("who_has_what_is_what_was_made", || {
        let folder = tempfile::Builder::new().prefix("shmkit-ls-").tempdir().expect("/tmp is writable");
        let path = folder.path().join("log");
        let path = path.to_str().expect("it is UTF-8");
        let label = format!("frames-{}", std::process::id());
        let words =
            ["map", "/mapped", "open", "/opened", "gone", "/gone", "file", path, "memfd", &label, "anon", "8192"];
        let holder = hold(&[&words[..], &["attach", "0x55"]].concat());
        let pid = holder.pid();
        let has = json(&["who", &pid.to_string()]);
        assert_eq!((&has["schema"], &has["pid"]), (&"shmkit.who-process".into(), &pid.into()));
        assert_eq!(has["command"], "maker");
        let has: BTreeMap<String, Value> = has["objects"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|held| (held["object"]["address"].as_str().expect("a string").to_string(), held["use"].clone()))
            .collect();
        let (file, memfd) = (format!("file:{path}"), format!("memfd:{label}"));
        let expected =
            ["posix:/mapped", "posix:/opened", "posix:/gone", &file, &memfd, "anon:", "sysv:0x55"].map(str::to_string);
        assert_eq!(has.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expected.iter().cloned().collect());
        for (address, mappings, mapped, descriptors) in [
            ("posix:/mapped", 1, 12288, 0),
            ("posix:/opened", 0, 0, 1),
            ("posix:/gone", 1, 12288, 1),
            (&file, 1, 12288, 0),
            (&memfd, 1, 12288, 1),
            ("anon:", 1, 8192, 0),
            ("sysv:0x55", 2, 24576, 0),
        ] {
            let one = &has[address];
            assert_eq!((&one["mappings"], &one["mapped_bytes"]), (&mappings.into(), &mapped.into()), "{address}");
            assert_eq!(one["descriptors"].as_array().expect("a list").len(), descriptors, "{address}");
            let users = json(&["who", address]);
            let all = users["objects"].as_array().expect("a list").iter();
            let found = all.flat_map(|one| one["object"]["processes"].as_array().expect("a list"));
            assert!(found.into_iter().any(|process| process["pid"] == pid), "{address}: {users}");
        }
        let gone = one("posix:/gone");
        assert_eq!((&gone["state"], &gone["size"], &gone["reserved"]), (&"unlinked".into(), &12288.into(), &0.into()));
        assert!(!addresses(&listed(&[])).contains(&"posix:/gone".to_string()));
        assert!(addresses(&listed(&["--state", "unlinked"])).contains(&"posix:/gone".to_string()));
        let shown = text(&["show", &memfd]);
        assert!(shown.contains("seals     shrink"), "{shown}");
        assert!(shown.contains("map       |#..|"), "{shown}");
        let map = &json(&["show", "posix:/mapped"])["objects"][0]["map"];
        assert_eq!((&map["cells"], &map["resident"], &map["holes"]), (&".#.".into(), &4096.into(), &8192.into()));
        let map = &json(&["show", "sysv:0x55"])["objects"][0]["map"];
        assert_eq!(map["cells"], "...", "a segment is seen through who has it: {map}");
        let shown = text(&["who", "posix:/mapped"]);
        let row = shown.lines().nth(1).expect("one process has it");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            [&pid.to_string(), "root", "write", "12.0K", "-", "-", "maker"]
        );
        drop(holder);
        let ended = tool(&["who", &pid.to_string()]);
        assert_eq!(ended.status.code(), Some(3), "{ended:?}");
    });
}

#[test]
fn hostile_names_are_printed_safely_and_lead_back() {
    in_a_room("hostile_names_are_printed_safely_and_lead_back", || {
        let names: [&[u8]; 7] = [
            b"new\nline",
            b"\x1b[31mred\x1b]0;title\x07",
            b"\xff\xfe",
            b"back\\x41slash",
            b"sp ace (deleted)",
            "\u{202e}turned".as_bytes(),
            b"\"quoted\", {\"json\": 1}",
        ];
        for name in names {
            std::fs::write([b"/dev/shm/", name].concat().as_path(), "x").expect("any name will do");
        }
        let _holder = hold(&["map", "/held\n\x1b[2J", "memfd", "label\x1b[2J\nx", "gone", "/gone\n\x1b[2J"]);
        for args in [&["ls", "-a", "-o", "+processes,why"][..], &["gc", "-v"], &["who", "posix:/held\n\x1b[2J"]] {
            let printed = tool(args);
            assert!(printed.status.success(), "{printed:?}");
            for text in [out(&printed), err(&printed)] {
                assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control() && letter != '\u{202e}'));
            }
        }
        let rows = text(&["ls", "--no-headings", "--kind", "posix"]);
        assert_eq!(rows.lines().count(), 8, "a name takes one line: {rows}");
        let objects = listed(&["-a", "--kind", "posix"]);
        for name in names {
            let hex: String = [b"posix:/", name].concat().iter().map(|byte| format!("{byte:02x}")).collect();
            let plain = std::str::from_utf8(name)
                .is_ok_and(|text| objects.iter().any(|one| one["address"] == format!("posix:/{text}")));
            let object = objects
                .iter()
                .find(|object| {
                    object["address_hex"] == hex
                        || plain
                            && object["address"]
                                .as_str()
                                .is_some_and(|text| text.as_bytes() == [b"posix:/", name].concat())
                })
                .unwrap_or_else(|| panic!("{hex} is missing in {objects:?}"));
            // What it printed can be passed back.
            let shown = json(&["show", object["address"].as_str().expect("a string")]);
            assert_eq!(shown["objects"][0]["object"]["inode"], object["inode"]);
            assert_eq!(shown["objects"][0]["object"]["state"], "unknown");
        }
        let held = one("posix:/held\\x0a\\x1b[2J");
        assert_eq!(held["state"], "live");
        assert_eq!(held["processes"].as_array().expect("a list").len(), 1);
        assert_eq!(one("posix:/gone\\x0a\\x1b[2J")["state"], "unlinked");
        assert!(addresses(&listed(&["--kind", "memfd"])).contains(&"memfd:label\\x1b[2J\\x0ax".to_string()));
    });
}

trait AsPath {
    fn as_path(&self) -> &std::path::Path;
}

impl AsPath for Vec<u8> {
    fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(OsStr::from_bytes(self))
    }
}

#[test]
fn what_may_not_be_looked_at_is_said_to_be_unknown() {
    in_a_room("what_may_not_be_looked_at_is_said_to_be_unknown", || {
        const OTHER: u32 = 54321;
        let label = format!("secret-{}", std::process::id());
        let holder = hold(&["map", "/mapped", "attach", "0x55", "memfd", &label, "semset", "0x56"]);
        let printed = tool_as(OTHER, &["ls"]);
        assert!(printed.status.success(), "{printed:?}");
        let (text, notes) = (out(&printed), err(&printed));
        let line = text.lines().find(|line| line.contains("posix:/mapped")).expect("it can be seen from outside");
        assert!(line.starts_with("unknown") && line.contains("unknown (no permission)"), "{text}");
        assert!(notes.contains("may not be looked at (no permission)"), "{notes}");
        assert!(!text.contains(&label), "{text}");
        let printed = tool_as(OTHER, &["ls", "--json"]);
        let list: Value = serde_json::from_str(&out(&printed)).expect("it is JSON");
        assert!(list["processes_unseen"].as_u64() > Some(0));
        let find = |address: &str| {
            let all = list["objects"].as_array().expect("a list");
            all.iter().find(|object| object["address"] == address).expect("it is listed").clone()
        };
        let mapped = find("posix:/mapped");
        assert_eq!((&mapped["users"], &mapped["unknown"]["users"]), (&Value::Null, &"no permission".into()));
        assert_eq!((&mapped["content"], &mapped["size"]), (&"unknown".into(), &12288.into()));
        // The kernel counts attaches for everybody.
        let segment = find("sysv:0x55");
        assert_eq!((&segment["users"], &segment["state"]), (&2.into(), &"live".into()));
        assert_eq!(segment["creator_alive"], true);
        let refused = tool_as(OTHER, &["who", &holder.pid().to_string()]);
        assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        let shown = tool_as(OTHER, &["show", "posix:/mapped"]);
        assert!(out(&shown).contains("map       unknown (no permission)"), "{shown:?}");
        let who = tool_as(OTHER, &["who", "sysv:0x55"]);
        assert!(err(&who).contains("2 of its 2 attaches cannot be seen"), "{who:?}");
        for args in [&["rm", "posix:/mapped", "-f"][..], &["rm", "-f", "sysv:0x55"], &["rm", "-f", "semset:0x56"]] {
            let refused = tool_as(OTHER, args);
            assert_eq!(refused.status.code(), Some(4), "{refused:?}");
        }
        assert_eq!(one("posix:/mapped")["state"], "live");
        assert_eq!(table("/proc/sysvipc/shm").len() + table("/proc/sysvipc/sem").len(), 2);
    });
}

#[test]
fn processes_that_proc_hides_are_not_taken_for_none() {
    in_a_room("processes_that_proc_hides_are_not_taken_for_none", || {
        const OTHER: u32 = 54321;
        let _holder = hold(&["map", "/mapped"]);
        let (proc, at, options) = (c"proc".as_ptr(), c"/proc".as_ptr(), c"hidepid=2".as_ptr());
        // SAFETY: the strings are terminated and outlive the call.
        assert_eq!(unsafe { libc::mount(proc, at, proc, 0, options.cast()) }, 0);
        let printed = tool_as(OTHER, &["ls", "--json", "-k", "posix"]);
        let list: Value = serde_json::from_str(&out(&printed)).expect("it is JSON");
        assert_eq!((&list["processes_hidden"], &list["objects"][0]["users"]), (&true.into(), &Value::Null), "{list}");
        let left = tool_as(OTHER, &["rm", "--if-unused", "posix:/mapped"]);
        assert!(out(&left).contains("cannot be told whether it is in use"), "{left:?}");
        assert_eq!(one("posix:/mapped")["state"], "live", "root sees them all the same");
    });
}

#[test]
fn objects_and_processes_that_vanish_on_the_way_are_left_out() {
    in_a_room("objects_and_processes_that_vanish_on_the_way_are_left_out", || {
        std::fs::write("/dev/shm/stays", "x").expect("it is writable");
        let _storm = child(|| {
            // SAFETY: the grandchild works and never returns.
            if unsafe { libc::fork() } == 0 {
                // SAFETY: takes no pointers.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    for number in 0..200 {
                        let _ = std::fs::write(format!("/dev/shm/storm-{number}"), "x");
                        // SAFETY: takes no pointers.
                        unsafe {
                            libc::shmctl(
                                libc::shmget(number + 1, 100, libc::IPC_CREAT | 0o600),
                                libc::IPC_RMID,
                                std::ptr::null_mut(),
                            )
                        };
                    }
                    let _ = Command::new("/bin/true").status();
                    for number in 0..200 {
                        let _ = std::fs::remove_file(format!("/dev/shm/storm-{number}"));
                    }
                }
            }
        });
        let mut seen = 0;
        for _ in 0..30 {
            let names = addresses(&listed(&["-a"]));
            assert!(names.contains(&"posix:/stays".to_string()));
            seen += names.iter().filter(|name| name.starts_with("posix:/storm-")).count();
        }
        assert!(seen > 0, "nothing came and went while the tool looked");
    });
}

#[test]
fn an_empty_machine_has_an_empty_list() {
    in_a_room("an_empty_machine_has_an_empty_list", || {
        let named = ["ls", "--kind", "posix,sem,sysv,semset"];
        assert_eq!(text(&named).lines().count(), 1);
        assert_eq!(text(&[&named[..], &["--no-headings"]].concat()), "");
        assert!(listed(&named[1..]).is_empty());
        let nothing = tool(&["gc"]);
        assert!(nothing.status.success() && nothing.stdout.is_empty(), "{nothing:?}");
        assert!(err(&nothing).contains("nothing is left over"));
    });
}

#[test]
fn columns_and_exit_codes() {
    in_a_room("columns_and_exit_codes", || {
        std::fs::write("/dev/shm/one", vec![0; 5000]).expect("it is writable");
        assert_eq!(
            text(&["ls", "-k", "posix", "-o", "address,size,kind", "--bytes"]).lines().collect::<Vec<_>>(),
            ["ADDRESS     SIZE  KIND", "posix:/one  5000  posix"]
        );
        assert!(
            text(&["ls", "-k", "posix", "-o", "+inode,id"].map(|word| if word == "+inode,id" { "+id" } else { word }))
                .contains("  ID")
        );
        for (args, code) in [
            (&["ls", "-o", "nothing"][..], 2),
            (&["ls", "--kind", "nothing"], 2),
            (&["show", "posix:/none"], 3),
            (&["show", "nonsense"], 2),
            (&["show", "sysv:id=x"], 2),
            (&["who", "posix:/none"], 3),
            (&["who", "4194999"], 3),
            (&["rm", "posix:/none"], 3),
            (&["rm", "file:/dev/shm"], 3),
            (&["show", "posix:/one"], 0),
            (&["show", "file:/dev/shm/one"], 0),
            (&["rm", "file:/dev/shm/one"], 0),
        ] {
            let done = tool(args);
            assert_eq!(done.status.code(), Some(code), "{args:?}: {done:?}");
            assert_eq!(
                done.stderr.iter().filter(|byte| **byte == b'\n').count() > 0 && code != 0,
                code != 0,
                "{done:?}"
            );
        }
    });
}

#[test]
fn ten_thousand_objects_take_no_second() {
    in_a_room("ten_thousand_objects_take_no_second", || {
        for number in 0..10_000 {
            std::fs::write(format!("/dev/shm/object-{number}"), "x").expect("there is room");
        }
        let _holder = child(|| {
            for number in 0..1000 {
                let file = std::fs::File::open(format!("/dev/shm/object-{number}")).expect("it is there");
                std::mem::forget(file);
            }
        });
        let start = Instant::now();
        run("ls", &["-l", "/dev/shm"]);
        let (ls, start) = (start.elapsed(), Instant::now());
        let lines = text(&["ls", "-k", "posix", "--no-headings"]);
        println!("10,000 objects: shmkit ls {:?}, ls -l {ls:?}", start.elapsed());
        assert_eq!(lines.lines().count(), 10_000);
        assert_eq!(lines.lines().filter(|line| line.starts_with("live")).count(), 1000);
    });
}
