//! `shmkit rm` of many objects, and what happens to them while it works; and what a look leaves behind.
//! Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use room::{TOOL, child, err, hold, in_a_room, json, listed, text, tool_as};

/// The tool at work, which cannot print more than this pipe takes: it waits in the middle of what it does.
struct Slow {
    tool: Child,
    lines: BufReader<ChildStdout>,
}

impl Slow {
    /// Starts it, and waits until it has printed a line: it has seen everything, and is far from the end.
    fn start(args: &[String]) -> Slow {
        let mut command = Command::new(TOOL);
        let mut tool =
            command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the tool was built");
        let out = tool.stdout.take().expect("it is a pipe");
        // SAFETY: takes no pointers.
        assert_eq!(unsafe { libc::fcntl(out.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) }, 4096);
        let mut lines = BufReader::with_capacity(64, out);
        let mut first = String::new();
        lines.read_line(&mut first).expect("it prints text");
        assert!(first.starts_with("removed "), "{first}");
        Slow { tool, lines }
    }

    /// Lets it go on: its exit code, and the last of what it printed with all of standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("it prints text");
        let mut errors = String::new();
        self.tool.stderr.take().expect("it is a pipe").read_to_string(&mut errors).expect("it prints text");
        let status = self.tool.wait().expect("it ends");
        (status.code(), format!("{}\n{errors}", rest.lines().last().unwrap_or_default()))
    }
}

/// Longer than the tool believes one walk through /proc.
fn a_while() {
    std::thread::sleep(Duration::from_millis(500));
}

/// More lines than a pipe of one page takes.
const MANY: usize = 400;

fn segments() -> usize {
    std::fs::read_to_string("/proc/sysvipc/shm").expect("System V is there").lines().count() - 1
}

#[test]
fn a_segment_that_is_attached_meanwhile_stays() {
    in_a_room("a_segment_that_is_attached_meanwhile_stays", || {
        let keys: Vec<String> = (1..=MANY).map(|number| format!("{:#x}", 0x5a00_0000 + number)).collect();
        let words: Vec<&str> = keys.iter().flat_map(|key| ["segment", key]).collect();
        for (option, code, says) in [(Some("--if-unused"), 0, "left sysv:0x5a000190: in use"), (None, 1, "is in use")] {
            drop(hold(&words));
            let args = ["rm".to_string()].into_iter().chain(option.map(str::to_string));
            let slow = Slow::start(&args.chain(keys.iter().map(|key| format!("sysv:{key}"))).collect::<Vec<_>>());
            let holder = hold(&["attach", keys.last().expect("there are many")]);
            let (ended, printed) = slow.end();
            assert_eq!((ended, segments()), (Some(code), 1), "{printed}");
            assert!(printed.contains(says) && printed.contains("sysv:0x5a000190"), "{printed}");
            drop(holder);
            assert_eq!(text(&["rm", "sysv:0x5a000190"]), "removed sysv:0x5a000190\n");
        }
    });
}

#[test]
fn a_segment_or_set_that_is_made_again_meanwhile_stays() {
    in_a_room("a_segment_or_set_that_is_made_again_meanwhile_stays", || {
        let keys: Vec<String> = (1..=MANY).map(|number| format!("{:#x}", 0x5b00_0000 + number)).collect();
        for (kind, scheme) in [("segment", "sysv"), ("semset", "semset")] {
            let words: Vec<&str> = keys.iter().flat_map(|key| [kind, key]).collect();
            drop(hold(&words));
            let last = format!("{scheme}:{}", keys.last().expect("there are many"));
            let addresses = keys.iter().map(|key| format!("{scheme}:{key}"));
            let slow = Slow::start(&["rm".to_string()].into_iter().chain(addresses).collect::<Vec<_>>());
            assert_eq!(text(&["rm", &last]), format!("removed {last}\n"));
            drop(hold(&words[words.len() - 2..]));
            let (ended, printed) = slow.end();
            assert_eq!(ended, Some(1), "{printed}");
            assert!(printed.contains("was removed and made again"), "{printed}");
            assert_eq!(text(&["rm", &last]), format!("removed {last}\n"));
        }
    });
}

#[test]
fn users_are_looked_for_at_the_last_moment() {
    in_a_room("users_are_looked_for_at_the_last_moment", || {
        let names: Vec<String> = (1..=MANY).map(|number| format!("late-{number:03}")).collect();
        let args = |option: &str| {
            let addresses = names.iter().map(|name| format!("posix:/{name}"));
            ["rm".to_string(), option.to_string()].into_iter().chain(addresses).collect::<Vec<_>>()
        };
        let make = || {
            for name in &names {
                std::fs::write(format!("/dev/shm/{name}"), "x").expect("there is room");
            }
        };
        let last = format!("/{}", names.last().expect("there are many"));
        let left = || std::fs::read_dir("/dev/shm").expect("it is there").count();
        // Who comes in time is a user, by a mapping or by a descriptor.
        for how in ["map", "open"] {
            make();
            let slow = Slow::start(&args("--"));
            let holder = hold(&[how, &last]);
            a_while();
            let (ended, printed) = slow.end();
            assert_eq!((ended, left()), (Some(1), 1), "{printed}");
            assert!(printed.contains("in use: 1 process"), "{printed}");
            drop(holder);
        }
        // Who was one at the beginning, and is no longer, does not count.
        make();
        let opener = hold(&["open", &last]);
        let slow = Slow::start(&args("--"));
        drop(opener);
        a_while();
        let (ended, printed) = slow.end();
        assert_eq!((ended, left()), (Some(0), 0), "{printed}");
    });
}

#[test]
fn a_region_that_is_opened_meanwhile_stays() {
    in_a_room("a_region_that_is_opened_meanwhile_stays", || {
        let mut creator = child(|| room::region("posix:/zz-region", false));
        creator.kill();
        let mut args = vec!["rm".to_string(), "--if-unused".to_string()];
        drop(hold(
            &(1..=MANY)
                .flat_map(|number| ["segment".to_string(), format!("{number}")])
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ));
        args.extend((1..=MANY).map(|number| format!("sysv:{number:#x}")));
        args.push("posix:/zz-region".to_string());
        let slow = Slow::start(&args);
        let opener = child(|| {
            let mut options = shmkit::region::Options::default();
            shmkit::region::open(b"posix:/zz-region", &mut options)
                .map_err(|failure| failure.cause)
                .expect("it is there");
        });
        let (ended, printed) = slow.end();
        assert_eq!(ended, Some(0), "{printed}");
        assert!(printed.contains("left posix:/zz-region: in use: 1 lease"), "{printed}");
        drop(opener);
    });
}

#[test]
fn to_look_moves_no_time_of_access() {
    in_a_room("to_look_moves_no_time_of_access", || {
        const OTHER: u32 = 54321;
        let _holder = hold(&["object", "/plain", "sem", "/five"]);
        let folder = tempfile::Builder::new().prefix("shmkit-late-").tempdir().expect("/tmp is writable");
        let file = folder.path().join("file");
        std::fs::write(&file, vec![1; 8192]).expect("it is writable");
        let all = ["/dev/shm/plain", "/dev/shm/sem.five", file.to_str().expect("it is UTF-8"), "/dev/shm"];
        let old = SystemTime::now() - Duration::from_secs(3 * 86_400);
        for path in all {
            let times = std::fs::FileTimes::new().set_accessed(old);
            File::open(path).expect("it is there").set_times(times).expect("it is ours");
        }
        let times = || all.map(|path| (path, std::fs::metadata(path).expect("it is there").atime()));
        let before = times();
        let address = format!("file:{}", all[2]);
        listed(&["-a"]);
        for address in ["posix:/plain", "posix:/sem.five", &address] {
            json(&["show", address]);
            json(&["who", address]);
        }
        json(&["gc", "-v"]);
        text(&["top", "--batch", "1"]);
        assert_eq!(times(), before);
        // Who may not ask for that can look all the same.
        std::fs::set_permissions(all[0], std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("it is ours");
        chown(all[0], Some(1), Some(1)).expect("root may");
        let shown = tool_as(OTHER, &["ls", "-k", "posix", "-o", "content", "--no-headings"]);
        assert_eq!(room::out(&shown), "foreign\n", "{}", err(&shown));
    });
}
