//! Who uses an object, where that is not plain to see: by another name or path, by a descriptor alone, outside of the pid
//! namespace, beyond what the rights of the tool show. Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Output};

use room::{TOOL, child, err, hold, in_a_room, json, one, out, text, tool};
use serde_json::Value;

fn exists(name: &str) -> bool {
    std::path::Path::new("/dev/shm").join(name).exists()
}

#[track_caller]
fn assert_left(output: &Output, why: &str) {
    assert!(output.status.success() && out(output).starts_with("left ") && out(output).contains(why), "{output:?}");
}

/// A process that has a file open, by this path, and not mapped.
fn opener(path: &str) -> room::Forked {
    child(|| std::mem::forget(File::open(path).expect("it is there")))
}

#[test]
fn users_outside_of_the_pid_namespace_are_not_taken_for_none() {
    in_a_room("users_outside_of_the_pid_namespace_are_not_taken_for_none", || {
        let holder = hold(&["map", "/mapped", "attach", "0x55"]);
        let inside = |args: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", TOOL]).args(args).output().expect("unshare is there")
        };
        let left = inside(&["rm", "--if-unused", "posix:/mapped"]);
        assert_left(&left, "it cannot be told whether it is in use: not every process can be looked at (other pid");
        assert!(exists("mapped"));
        let listed = inside(&["ls", "-a", "--json"]);
        let list: Value = serde_json::from_str(&out(&listed)).expect("it is JSON");
        assert_eq!(list["processes_hidden"], true);
        let find = |address: &str| {
            let all = list["objects"].as_array().expect("a list").iter();
            all.clone().find(|object| object["address"] == address).expect("it is listed").clone()
        };
        let mapped = find("posix:/mapped");
        assert_eq!((&mapped["users"], &mapped["unknown"]["users"]), (&Value::Null, &"other pid namespaces".into()));
        assert_eq!(find("sysv:0x55")["users"], 2, "attaches are counted for everybody");
        let notes = err(&inside(&["ls"]));
        assert!(notes.contains("outside of this pid namespace"), "{notes}");
        assert_eq!(one("posix:/mapped")["processes"][0]["pid"], holder.pid());
    });
}

/// The tool as another user, who may look into every process and has no other right.
fn tool_with_ptrace(user: u32, args: &[&str]) -> Output {
    let folder = tempfile::Builder::new().prefix("shmkit-users-").tempdir().expect("/tmp is writable");
    let copy = folder.path().join("shmkit");
    std::fs::copy(TOOL, &copy).expect("the tool was built");
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("they are ours");
    }
    let user = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    command.args(["--inh-caps", "-all,+sys_ptrace", "--ambient-caps", "-all,+sys_ptrace"]);
    command.arg(&copy).args(args).current_dir("/").output().expect("setpriv is there")
}

#[test]
fn descriptors_that_may_not_be_looked_at_are_not_taken_for_none() {
    in_a_room("descriptors_that_may_not_be_looked_at_are_not_taken_for_none", || {
        const OTHER: u32 = 54321;
        let _holder = hold(&["open", "/opened", "map", "/mapped"]);
        // Some processes have rights that not even root need have.
        let more: Vec<_> = (0..8).map(|_| hold(&[])).collect();
        for name in ["opened", "mapped"] {
            chown(format!("/dev/shm/{name}"), Some(OTHER), Some(OTHER)).expect("root may");
        }
        let listed = tool_with_ptrace(OTHER, &["ls", "-k", "posix", "--json"]);
        let list: Value = serde_json::from_str(&out(&listed)).unwrap_or_else(|_| panic!("{listed:?}"));
        assert_eq!(list["objects"][0]["users"], 1, "the mappings of others are seen: {list}");
        assert!(list["processes_unseen"].as_u64() > Some(more.len() as u64), "{list}");
        assert_eq!(list["objects"][1]["unknown"]["users"], "no permission", "{list}");
        let left = tool_with_ptrace(OTHER, &["rm", "--if-unused", "posix:/opened"]);
        assert_left(&left, "it cannot be told whether it is in use");
        assert!(exists("opened"));
    });
}

#[test]
fn every_name_of_an_object_has_its_users() {
    in_a_room("every_name_of_an_object_has_its_users", || {
        let mut holder = hold(&["map", "/b", "open", "/y"]);
        for (name, more) in [("b", ["a", "c"]), ("y", ["x", "z"])] {
            for more in more {
                std::fs::hard_link(format!("/dev/shm/{name}"), format!("/dev/shm/{more}")).expect("root may link");
            }
        }
        for name in ["a", "b", "c", "x", "y", "z"] {
            let address = format!("posix:/{name}");
            assert_eq!((&one(&address)["users"], &one(&address)["state"]), (&1.into(), &"live".into()), "{address}");
            assert_left(&tool(&["rm", "--if-unused", &address]), "in use: 1 process");
        }
        let has = json(&["who", &holder.pid().to_string()]);
        assert_eq!(has["objects"].as_array().expect("a list").len(), 6, "{has}");
        holder.kill();
        assert_eq!(text(&["rm", "posix:/a"]), "removed posix:/a\n");
    });
}

#[test]
fn users_by_another_path_are_seen() {
    in_a_room("users_by_another_path_are_seen", || {
        let folder = tempfile::Builder::new().prefix("shmkit-users-").tempdir().expect("/tmp is writable");
        let at = folder.path().to_str().expect("it is UTF-8").to_string();
        for name in ["opened", "private", "free"] {
            std::fs::write(format!("/dev/shm/{name}"), vec![1; 4096]).expect("it is writable");
        }
        let mount = |args: &[&str]| Command::new("mount").args(args).status().expect("mount is there");
        assert!(mount(&["--bind", "/dev/shm", &at]).success());
        let opener = opener(&format!("{at}/opened"));
        let mapper = child(|| {
            use std::os::fd::AsRawFd;
            let file = File::open(format!("{at}/private")).expect("it is there");
            let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE);
            // SAFETY: a new mapping, at an address that the kernel chooses.
            let made = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, file.as_raw_fd(), 0) };
            assert_ne!(made, libc::MAP_FAILED);
        });
        for (name, pid) in [("opened", opener.pid()), ("private", mapper.pid())] {
            let address = format!("posix:/{name}");
            assert_eq!(one(&address)["processes"][0]["pid"], pid, "{address}");
            assert_left(&tool(&["rm", "--if-unused", &address]), "in use: 1 process");
        }
        assert_eq!(one("posix:/free")["processes"].as_array().expect("a list").len(), 0);
        assert!(Command::new("umount").arg("--lazy").arg(&at).status().expect("umount is there").success());
        assert_eq!(one("posix:/opened")["users"], 1, "also when that path is gone");
        drop((opener, mapper));
        assert_eq!(text(&["rm", "posix:/opened"]), "removed posix:/opened\n");
    });
}

#[test]
fn a_file_that_is_open_and_not_mapped_is_in_use() {
    in_a_room("a_file_that_is_open_and_not_mapped_is_in_use", || {
        let folder = tempfile::Builder::new().prefix("shmkit-users-").tempdir().expect("/tmp is writable");
        let path = folder.path().join("back\\slash");
        let path = path.to_str().expect("it is UTF-8");
        std::fs::write(path, "text").expect("it is writable");
        let address = format!("file:{}", path.replace('\\', "\\\\"));
        let mut opener = opener(path);
        for args in [&["rm", "--if-unused", &address][..], &["rm", "--if-unused", &format!("file:{path}")]] {
            assert_left(&tool(args), "in use: 1 process has it mapped or open");
        }
        let refused = tool(&["rm", &address]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let who = json(&["who", &address]);
        assert_eq!(who["objects"][0]["object"]["processes"][0]["pid"], opener.pid(), "{who}");
        let shown = json(&["show", &address]);
        assert_eq!(shown["objects"][0]["object"]["users"], 1);
        opener.kill();
        assert_eq!(text(&["rm", &address]), format!("removed {address}\n"));
        assert!(!std::path::Path::new(path).exists());
    });
}
