//! What the tests of objects share: a room of their own (mount and IPC namespaces, an empty /dev/shm), programs that make
//! shared memory with the C library alone, children with regions, and the tool's output as text and JSON.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

pub const TOOL: &str = env!("CARGO_BIN_EXE_shmkit");

/// Runs a test in a process of its own with an empty /dev/shm and no System V objects. `test` is its path in the binary.
pub fn in_a_room(test: &str, body: impl FnOnce()) {
    const MARK: &str = "SHMKIT_TEST_ALONE";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        own_namespaces();
        return body();
    }
    let program = std::env::current_exe().expect("the test knows its own path");
    let output = Command::new(program)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, test)
        .env_remove("SHMKIT_POLICY")
        .env_remove("SHMKIT_REPORT")
        .output()
        .expect("the test can run itself");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "{test}: {}", output.status);
    assert!(out.contains("1 passed"), "{test}: the process of its own ran no test");
}

fn own_namespaces() {
    // SAFETY: takes no pointers.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWIPC) };
    assert_eq!(moved, 0, "these tests need root: {}", std::io::Error::last_os_error());
    let options = c"size=256m,mode=1777";
    // SAFETY: the strings are terminated and outlive the calls.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        assert_eq!(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()), 0);
        let (tmpfs, at) = (c"tmpfs".as_ptr(), c"/dev/shm".as_ptr());
        assert_eq!(libc::mount(tmpfs, at, tmpfs, 0, options.as_ptr().cast()), 0);
    }
}

/// The program of maker.c. Whoever builds it at the same time builds the same.
fn maker() -> &'static PathBuf {
    static MAKER: OnceLock<PathBuf> = OnceLock::new();
    MAKER.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (program, own) = (folder.join("maker"), folder.join(format!("maker-{}", std::process::id())));
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/room/maker.c");
        let built = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"])
            .arg(&own)
            .arg(source)
            .arg("-pthread")
            .status();
        assert!(built.expect("there is a C compiler").success());
        std::fs::rename(own, &program).expect("the folder is ours");
        program
    })
}

/// A process with shared memory; killed when it is dropped.
pub struct Holder(Child);

impl Holder {
    pub fn pid(&self) -> u64 {
        u64::from(self.0.id())
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a program of the C library alone that has made these: see maker.c.
pub fn hold(words: &[&str]) -> Holder {
    let mut child =
        Command::new(maker()).args(words).stdout(Stdio::piped()).spawn().expect("the program was just built");
    let mut ready = [0; 6];
    let told = child.stdout.as_mut().expect("it is a pipe").read_exact(&mut ready);
    let holder = Holder(child);
    told.expect("the program made everything");
    assert_eq!(&ready, b"ready\n");
    holder
}

/// Runs the tool.
pub fn tool(args: &[&str]) -> Output {
    Command::new(TOOL).args(args).output().expect("the tool was built")
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the tool prints UTF-8")
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("the tool prints UTF-8")
}

/// Runs the tool, which must succeed, and gives what it prints.
#[track_caller]
pub fn text(args: &[&str]) -> String {
    let output = tool(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    out(&output)
}

/// As `text`, as JSON.
#[track_caller]
pub fn json(args: &[&str]) -> Value {
    let text = text(&[args, &["--json"]].concat());
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(value["version"], 1);
    value
}

/// The objects of `ls` with these arguments.
#[track_caller]
pub fn listed(args: &[&str]) -> Vec<Value> {
    let value = json(&[&["ls"], args].concat());
    assert_eq!(value["schema"], "shmkit.ls");
    value["objects"].as_array().expect("it is a list").clone()
}

/// The one object of this address in `ls -a`.
#[track_caller]
pub fn one(address: &str) -> Value {
    let mut all = listed(&["-a"]);
    // Other tests have rooms of their own, and may have the same names there.
    all.retain(|object| object["address"] == address && object["other_mount_namespace"] == false);
    assert_eq!(all.len(), 1, "{address} is listed once");
    all.remove(0)
}

#[track_caller]
pub fn addresses(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| object["address"].as_str().expect("it is a string").to_string()).collect()
}

/// Forks a child that makes something, stays, and is killed at the end.
pub fn child(work: impl FnOnce()) -> Forked {
    let mut ends = [0; 2];
    // SAFETY: the ends are writable; the child leaves by a signal or _exit.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok() {
                libc::write(ends[1], b"+".as_ptr().cast(), 1);
                loop {
                    libc::pause();
                }
            }
            libc::_exit(1);
        }
        libc::close(ends[1]);
        let mut answer = 0u8;
        let count = libc::read(ends[0], (&raw mut answer).cast(), 1);
        libc::close(ends[0]);
        let forked = Forked(pid);
        assert_eq!((count, answer), (1, b'+'), "the child failed: see its output");
        forked
    }
}

/// A forked child; killed when it is dropped.
pub struct Forked(i32);

impl Forked {
    pub fn pid(&self) -> u64 {
        self.0 as u64
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if self.0 > 0 {
            // SAFETY: the child is ours and not yet waited for.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
            self.0 = 0;
        }
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes a region and keeps it open.
pub fn region(address: &str, persistent: bool) {
    use shmkit::region::header::Layout;
    let mut options = shmkit::region::Options { size: 20_000, persistent, ..shmkit::region::Options::default() };
    options.layout = Layout::new(b"telemetry", 3, 24, 8);
    shmkit::region::create(address.as_bytes(), &mut options)
        .unwrap_or_else(|failure| panic!("{address}: {}", failure.cause));
}

/// The tool as another user, without any right of root's.
pub fn tool_as(user: u32, args: &[&str]) -> Output {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    // The folder of the build may be root's alone.
    let folder = tempfile::Builder::new().prefix("shmkit-tool-").tempdir().expect("/tmp is writable");
    let copy = folder.path().join("shmkit");
    std::fs::copy(TOOL, &copy).expect("the tool was built");
    for path in [folder.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("they are ours");
    }
    let mut command = Command::new(&copy);
    command.args(args).current_dir("/");
    // SAFETY: the functions are async-signal-safe and take no pointers but a null one.
    unsafe {
        command.pre_exec(move || {
            let done = libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(user, user, user) == 0
                && libc::setresuid(user, user, user) == 0;
            if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    command.output().expect("the tool was built")
}
