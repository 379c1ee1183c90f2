//! `shmkit rm` and `gc`, and regions as the tool shows them: what is removed is what was named, and what was left over.
//! Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use room::{TOOL, addresses, child, err, hold, in_a_room, json, listed, one, out, region, text, tool, tool_as};
use serde_json::Value;

fn exists(name: &str) -> bool {
    std::path::Path::new("/dev/shm").join(name).exists()
}

fn segments() -> usize {
    std::fs::read_to_string("/proc/sysvipc/shm").expect("System V is there").lines().count() - 1
}

fn sets() -> usize {
    std::fs::read_to_string("/proc/sysvipc/sem").expect("System V is there").lines().count() - 1
}

#[test]
fn what_somebody_uses_is_refused_unless_forced() {
    in_a_room("what_somebody_uses_is_refused_unless_forced", || {
        let _holder = hold(&["map", "/mapped", "open", "/opened", "attach", "0x55", "sem", "/five"]);
        for address in ["posix:/mapped", "posix:/opened", "sysv:0x55", "posix:/sem.five"] {
            let refused = tool(&["rm", address]);
            assert_eq!(refused.status.code(), Some(1), "{refused:?}");
            assert!(err(&refused).contains("is in use: "), "{refused:?}");
            let left = tool(&["rm", "--if-unused", address]);
            assert!(left.status.success() && out(&left).starts_with("left "), "{left:?}");
            assert_eq!(one(address)["state"], "live");
            assert_eq!(text(&["rm", "--force", address]), format!("removed {address}\n"));
        }
        assert_eq!(std::fs::read_dir("/dev/shm").expect("it is there").count(), 0);
        // Still attached, so it ends with its last attach.
        let segment = listed(&["-a", "-k", "sysv"]);
        assert_eq!((segment.len(), &segment[0]["state"]), (1, &"unlinked".into()));
        let refused = tool(&["rm", "-f", segment[0]["address"].as_str().expect("a string")]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(err(&refused).contains("was removed already"), "{refused:?}");
    });
}

#[test]
fn only_what_was_named_goes() {
    in_a_room("only_what_was_named_goes", || {
        drop(hold(&[
            "object", "/a", "object", "/b", "segment", "0x55", "segment", "0", "semset", "0x56", "semset", "0x57",
        ]));
        std::os::unix::fs::symlink("b", "/dev/shm/link").expect("it is writable");
        let private = listed(&["-k", "sysv"]).into_iter().find(|object| object["address"] != "sysv:0x55").expect("two");
        let private = private["address"].as_str().expect("a string");
        let removed = json(
            &["rm", "posix:/a", "sysv:ftok(/dev/null,1)", "sysv:0x55", "semset:0x56"]
                .map(|word| if word.contains("ftok") { private } else { word }),
        );
        assert_eq!(removed["schema"], "shmkit.rm");
        assert!(removed["objects"].as_array().expect("a list").iter().all(|one| one["removed"] == true), "{removed}");
        assert_eq!(addresses(&listed(&["-k", "posix,sysv,semset"])), ["posix:/b", "semset:0x57"]);
        assert_eq!((segments(), sets()), (0, 1));
        let link = tool(&["rm", "-f", "posix:/link"]);
        assert_eq!(link.status.code(), Some(3), "a link is no object: {link:?}");
        assert!(exists("b") && exists("link"));
        // What is left of one failure does not keep the others.
        let both = tool(&["rm", "posix:/none", "posix:/b"]);
        assert_eq!(both.status.code(), Some(3));
        assert!(!exists("b"));
        assert_eq!(std::fs::read_dir("/dev/shm").expect("it is there").count(), 1, "nothing of ours is left beside it");
    });
}

/// Asks to remove an object, changes something before the answer, and gives what the tool says to a yes.
fn answered(address: &str, meanwhile: impl FnOnce()) -> std::process::Output {
    let mut asked = Command::new(TOOL)
        .args(["rm", "-i", address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool was built");
    let mut prompt = Vec::new();
    let mut byte = [0];
    let stderr = asked.stderr.as_mut().expect("it is a pipe");
    while !prompt.ends_with(b"[y/N] ") {
        stderr.read_exact(&mut byte).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&prompt)));
        prompt.push(byte[0]);
    }
    meanwhile();
    asked.stdin.as_mut().expect("it is a pipe").write_all(b"y\n").expect("it waits");
    asked.wait_with_output().expect("it ends")
}

#[test]
fn a_name_that_was_made_again_stays() {
    in_a_room("a_name_that_was_made_again_stays", || {
        let make = |name: &str, what: &str| std::fs::write(format!("/dev/shm/{name}"), what).expect("it is writable");
        make("plain", "first");
        assert!(answered("posix:/plain", || ()).status.success());
        assert!(!exists("plain"));

        make("plain", "first");
        let again = answered("posix:/plain", || {
            std::fs::remove_file("/dev/shm/plain").expect("it is there");
            make("plain", "second");
        });
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(err(&again).contains("was removed and made again"), "{again:?}");
        assert_eq!(std::fs::read("/dev/shm/plain").expect("it stays"), b"second");

        // Also when the new one has the bytes and the place of the old one: a rename brings another inode.
        make("other", "first");
        let again =
            answered("posix:/plain", || std::fs::rename("/dev/shm/other", "/dev/shm/plain").expect("both are there"));
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        assert!(exists("plain"));

        let gone = answered("posix:/plain", || std::fs::remove_file("/dev/shm/plain").expect("it is there"));
        assert_eq!(gone.status.code(), Some(3), "{gone:?}");

        for (address, kind) in [("sysv:0x55", "segment"), ("semset:0x55", "semset")] {
            drop(hold(&[kind, "0x55"]));
            let again = answered(address, || {
                assert_eq!(text(&["rm", address]), format!("removed {address}\n"));
                drop(hold(&[kind, "0x55"]));
            });
            assert_eq!(again.status.code(), Some(1), "{again:?}");
            assert!(err(&again).contains("was removed and made again"), "{again:?}");
            assert_eq!(one(address)["state"], "unknown");
        }

        for address in ["posix:/region", "sysv:0x66"] {
            let mut first = child(|| region(address, false));
            first.kill();
            let mut second = None;
            let again = answered(address, || {
                assert_eq!(text(&["rm", address]), format!("removed {address}\n"));
                second = Some(child(|| region(address, false)));
            });
            assert_eq!(again.status.code(), Some(1), "{again:?}");
            assert_eq!(one(address)["state"], "live");
            second.expect("it was made").kill();
            assert_eq!(text(&["rm", address]), format!("removed {address}\n"));
        }
        // Somebody begins to use it before the answer.
        make("plain", "first");
        let mut holder = None;
        let used = answered("posix:/plain", || holder = Some(hold(&["map", "/plain"])));
        assert_eq!(used.status.code(), Some(1), "{used:?}");
        assert!(err(&used).contains("is in use"), "{used:?}");
    });
}

#[test]
fn a_killed_owner_leaves_orphans_and_gc_removes_them() {
    in_a_room("a_killed_owner_leaves_orphans_and_gc_removes_them", || {
        let mut dead = child(|| {
            region("posix:/dead", false);
            region("sysv:0x77", false);
            region("posix:/kept", true);
        });
        let live = child(|| {
            region("posix:/live", false);
            region("sysv:0x78", false);
        });
        let _plain = hold(&["object", "/foreign", "segment", "0x79"]);
        for address in ["posix:/dead", "sysv:0x77", "posix:/kept", "posix:/live", "sysv:0x78"] {
            let object = one(address);
            assert_eq!((&object["state"], &object["content"]), (&"live".into(), &"region".into()), "{object}");
            assert_eq!((&object["layout"], &object["layout_version"]), (&"telemetry".into(), &3.into()));
            assert_eq!(object["creator_alive"], true);
        }
        let pid = dead.pid();
        dead.kill();
        for address in ["posix:/dead", "sysv:0x77", "posix:/kept"] {
            let object = one(address);
            assert_eq!((&object["state"], &object["creator_alive"]), (&"orphan".into(), &false.into()), "{object}");
            assert_eq!(object["creator_pid"], pid);
        }
        let found = |report: &Value, list: &str| -> Vec<String> {
            let rows = report[list].as_array().unwrap_or_else(|| panic!("{report}")).iter();
            rows.map(|row| row["object"]["address"].as_str().expect("a string").to_string()).collect()
        };
        let dry = json(&["gc"]);
        assert_eq!((&dry["schema"], &dry["dry_run"], &dry["left"]), (&"shmkit.gc".into(), &true.into(), &Value::Null));
        assert_eq!(found(&dry, "found"), ["posix:/dead", "sysv:0x77"]);
        assert!(exists("dead") && segments() == 3);
        let printed = text(&["gc", "-v", "--no-headings"]);
        for (action, address, why) in [
            ("would remove", "posix:/dead", "no lease is held; creator"),
            ("would remove", "sysv:0x77", "not attached; creator"),
            ("left", "posix:/kept", "created as persistent"),
            ("left", "posix:/live", "in use: 1 lease"),
            ("left", "sysv:0x78", "in use: 1 attach"),
            ("left", "sysv:0x79", "no region: nothing proves"),
            ("left", "posix:/foreign", ""),
        ] {
            let line = printed.lines().find(|line| line.split_whitespace().any(|word| word == address));
            let line = line.unwrap_or_else(|| panic!("{address}: {printed}"));
            assert!(line.starts_with(action) && line.contains(why), "{line}");
        }
        // Another user may not remove what is root's, nor can it be proved to be left over from there.
        let other = tool_as(54321, &["gc", "--remove", "-v"]);
        assert!(other.status.success() && err(&other).contains("nothing is left over"), "{other:?}");
        assert!(exists("dead") && segments() == 3);
        let done = json(&["gc", "--remove", "-v"]);
        assert_eq!(found(&done, "found"), ["posix:/dead", "sysv:0x77"]);
        assert!(found(&done, "left").contains(&"posix:/kept".to_string()));
        assert!(!exists("dead") && exists("kept") && exists("live") && exists("foreign"));
        // The region's semaphores went with it; those of the live one stay.
        assert_eq!((segments(), sets()), (2, 1));
        assert_eq!(one("sysv:0x78")["state"], "live");
        assert!(err(&tool(&["gc", "--remove"])).contains("nothing is left over"));
        drop(live);
    });
}

#[test]
fn regions_are_shown_with_header_and_participants() {
    in_a_room("regions_are_shown_with_header_and_participants", || {
        let owner = child(|| {
            region("posix:/region", false);
            region("sysv:0x66", false);
        });
        let reader = child(|| {
            let mut options = shmkit::region::Options::default();
            shmkit::region::open(b"posix:/region", &mut options).map_err(|failure| failure.cause).expect("it is there");
        });
        for address in ["posix:/region", "sysv:0x66"] {
            let shown = &json(&["show", address])["objects"][0];
            let header = &shown["header"];
            assert_eq!((&header["size"], &header["data_offset"]), (&20_000.into(), &4096.into()), "{shown}");
            assert_eq!((&header["layout_name"], &header["layout_size"]), (&"telemetry".into(), &24.into()));
            assert_eq!(header["creator_pid"], owner.pid());
            let pids: Vec<u64> = shown["participants"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|one| one["pid"].as_u64())
                .collect();
            assert!(pids.contains(&owner.pid()), "{shown}");
            assert_eq!(pids.contains(&reader.pid()), address == "posix:/region", "{shown}");
            assert_eq!(shown["object"]["users"], pids.len());
            assert_eq!((&shown["locks"], &shown["locks_why"]), (&Value::Array(Vec::new()), &Value::Null));
            let who = text(&["who", address]);
            assert!(
                who.lines()
                    .any(|line| line.contains(" yes ") && line.trim_start().starts_with(&owner.pid().to_string())),
                "{who}"
            );
        }
        // To look is not to take part.
        assert_eq!(one("posix:/region")["counted"], 2);
        // The semaphores of a region are no object of their own to remove.
        let set = listed(&["-k", "semset"]);
        assert_eq!((set.len(), &set[0]["state"]), (1, &"live".into()));
        let refused = tool(&["rm", set[0]["address"].as_str().expect("a string")]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert_eq!(sets(), 1);
        // A header that cannot be true: a size that the object does not have.
        let file = std::fs::OpenOptions::new().write(true).open("/dev/shm/region").expect("it is there");
        file.write_all_at(&(1u64 << 40).to_ne_bytes(), 48).expect("it is writable");
        let object = one("posix:/region");
        assert_eq!(object["state"], "poisoned", "{object}");
        assert!(text(&["show", "posix:/region"]).contains("header    not believed: "));
        drop((owner, reader));
        assert!(
            json(&["gc"])["found"]
                .as_array()
                .expect("a list")
                .iter()
                .all(|row| row["object"]["address"] != "posix:/region")
        );
    });
}

#[test]
fn a_region_in_a_file_is_found_by_the_name_that_it_got() {
    in_a_room("a_region_in_a_file_is_found_by_the_name_that_it_got", || {
        let folder = tempfile::Builder::new().prefix("shmkit-rm-").tempdir().expect("/tmp is writable");
        let address = format!("file:{}/region", folder.path().display());
        let mut owner = child(|| region(&address, false));
        let object = one(&address);
        assert_eq!(
            (&object["kind"], &object["state"], &object["unlinked"]),
            (&"file".into(), &"live".into(), &false.into())
        );
        assert_eq!(object["processes"][0]["pid"], owner.pid());
        assert_eq!(tool(&["rm", &address]).status.code(), Some(1));
        owner.kill();
        // No process has it, so only who names it finds it.
        assert!(!addresses(&listed(&["-a"])).contains(&address));
        let shown = &json(&["show", &address])["objects"][0];
        assert_eq!(
            (&shown["object"]["state"], &shown["header"]["size"]),
            (&"orphan".into(), &20_000.into()),
            "{shown}"
        );
        assert_eq!(text(&["rm", &address]), format!("removed {address}\n"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
    });
}

#[test]
fn a_region_that_is_not_done_is_initialising() {
    in_a_room("a_region_that_is_not_done_is_initialising", || {
        let mut builder = child(|| {
            // The creator stays in its own work for good; another process sees the segment meanwhile.
            std::thread::spawn(|| {
                let mut init = |_: usize, _: usize| -> i32 {
                    loop {
                        std::thread::park();
                    }
                };
                let mut options =
                    shmkit::region::Options { size: 5000, init: Some(&mut init), ..shmkit::region::Options::default() };
                let _ = shmkit::region::create(b"sysv:0x88", &mut options);
            });
            while sets() == 0 || segments() == 0 {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        });
        let object = one("sysv:0x88");
        assert_eq!(object["state"], "initialising", "{object}");
        assert_eq!(tool(&["rm", "sysv:0x88"]).status.code(), Some(1));
        builder.kill();
        assert_eq!(one("sysv:0x88")["state"], "orphan");
        assert!(text(&["gc", "--remove", "--no-headings"]).contains("sysv:0x88"));
        assert_eq!((segments(), sets()), (0, 0));
    });
}

#[test]
fn a_file_on_an_overlay_is_one_object_with_its_name() {
    in_a_room("a_file_on_an_overlay_is_one_object_with_its_name", || {
        let root = std::path::Path::new("/dev/shm/overlay");
        let folder = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(&path).expect("there is room");
            path.display().to_string()
        };
        let (lower, upper, work, merged) = (folder("lower"), folder("upper"), folder("work"), folder("merged"));
        std::fs::write(format!("{lower}/old"), vec![1; 12288]).expect("there is room");
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let mounted = Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay", &merged]).status();
        assert!(mounted.expect("mount is there").success());
        for name in ["old", "new"] {
            let path = format!("{merged}/{name}");
            let address = format!("file:{path}");
            let mut holder = hold(&["file", &path]);
            let object = one(&address);
            assert_eq!((&object["state"], &object["size"]), (&"live".into(), &12288.into()), "{object}");
            assert_eq!(object["processes"][0]["pid"], holder.pid());
            assert_eq!(tool(&["rm", &address]).status.code(), Some(1));
            assert_eq!(
                json(&["show", &address])["objects"][0]["map"]["holes"].as_u64().map(|holes| holes > 0),
                Some(name == "new")
            );
            holder.kill();
            assert_eq!(text(&["rm", &address]), format!("removed {address}\n"));
            assert!(!std::path::Path::new(&path).exists());
        }
        assert!(Command::new("umount").arg(&merged).status().expect("umount is there").success());
    });
}
