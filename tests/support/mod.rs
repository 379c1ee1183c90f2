//! What the integration tests share: names that do not collide, children, the C compiler, leftovers.
//! Never asserts by itself.
#![allow(dead_code, reason = "each test uses a part")]

pub mod cast_room;
pub mod containers;
pub mod kill_points;
pub mod queue_room;
pub mod ring_room;
pub mod sync_room;

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

pub fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

pub fn set_errno(errno: i32) {
    // SAFETY: the address of this thread's errno is always valid.
    unsafe { *libc::__errno_location() = errno }
}

/// A number that no other test of this or another process uses at the same time.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The name of a POSIX object of its own.
pub fn object_name() -> CString {
    CString::new(format!("/shmkit-test-{}", unique())).expect("no NUL inside")
}

/// Runs `work` in a forked child and gives its exit status, as `waitpid` reports it.
pub fn in_child(work: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs only `work` and leaves by _exit; the parent only waits.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0, "fork failed: {}", std::io::Error::last_os_error());
        if child == 0 {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
            libc::_exit(code);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    }
}

/// As `in_child`, and the child must end with code 0.
pub fn in_good_child(work: impl FnOnce()) {
    let status = in_child(|| {
        work();
        0
    });
    assert!(libc::WIFEXITED(status), "the child was killed by signal {}", libc::WTERMSIG(status));
    assert_eq!(libc::WEXITSTATUS(status), 0, "the child failed: see its output");
}

/// Runs the body of the test called `test` in a process of its own, without the other tests' threads beside it.
/// A test that changes address space, limits, signals or policy, or that forks, must be alone.
pub fn alone(test: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    const MARK: &str = "SHMKIT_TEST_ALONE";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        return body();
    }
    let program = std::env::current_exe().expect("the test knows its own path");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, test);
    command.env_remove("SHMKIT_POLICY").env_remove("SHMKIT_REPORT").envs(environment.iter().copied());
    let output = command.output().expect("the test can run itself");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "{test}: {}", output.status);
    assert!(out.contains("1 passed"), "{test}: the process of its own ran no test");
}

/// Says that a test, or a part of it, cannot run here: to the list that `scripts/test` shows at its end.
pub fn not_run(why: &str) {
    println!("NOT RUN: {why}");
    if let Some(list) = std::env::var_os("SHMKIT_NOT_RUN") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).expect("the list can be made");
        std::io::Write::write_all(&mut list, format!("{why}\n").as_bytes()).expect("there is room");
    }
}

/// The words of this thread's last failure.
pub fn message() -> String {
    // SAFETY: the function gives a terminated string that stays until the next call.
    let text = unsafe { std::ffi::CStr::from_ptr(shmkit::capi::error::shmkit_last_error_message()) };
    text.to_str().expect("messages are ASCII").to_string()
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A compiler for C, or for C++ when `cpp`.
pub fn compiler(cpp: bool) -> Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    cc::Build::new()
        .target(&target)
        .host(&target)
        .opt_level(1)
        .debug(false)
        .cpp(cpp)
        .cargo_metadata(false)
        .get_compiler()
        .to_command()
}

/// Makes `folder` hold the shared library of this build under its soname and its link name.
pub fn place_library(folder: &Path) {
    let library = library();
    for name in ["libshmkit.so", "libshmkit.so.0"] {
        std::os::unix::fs::symlink(&library, folder.join(name)).expect("the folder is new and writable");
    }
}

/// The shared library that cargo built beside this test.
pub fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let deps = test.parent().expect("a file has a folder");
    let library = deps.join("libshmkit.so");
    assert!(library.exists(), "{} is missing: cargo builds it with the tests", library.display());
    library
}

/// Runs a command to its end and gives its output; panics with that output when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// The segments of this IPC namespace, by id.
pub fn segments() -> Vec<i32> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").expect("System V shared memory is there");
    table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)?.parse().ok()).collect()
}

/// Moves this process into mount and IPC namespaces of its own, with `/dev/shm` a file system of `bytes` bytes.
/// Root needs nothing else; others go through a user namespace. Must be called alone (see `alone`).
pub fn own_namespaces(bytes: u64) {
    let (uid, gid) = user_and_group();
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWIPC | if uid == 0 { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: takes no pointers.
    let moved = unsafe { libc::unshare(flags) };
    assert_eq!(moved, 0, "this test needs root or unprivileged user namespaces: {}", std::io::Error::last_os_error());
    if uid != 0 {
        std::fs::write("/proc/self/setgroups", "deny").expect("the user namespace is ours");
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("the user namespace is ours");
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("the user namespace is ours");
    }
    let options = CString::new(format!("size={bytes},mode=1777")).expect("no NUL inside");
    // SAFETY: the strings are terminated and outlive the calls.
    unsafe {
        let private = libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        );
        assert_eq!(private, 0, "{}", std::io::Error::last_os_error());
        let mounted =
            libc::mount(c"tmpfs".as_ptr(), c"/dev/shm".as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast());
        assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
    }
}

fn user_and_group() -> (u32, u32) {
    // SAFETY: take no pointers.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Sets the soft limit of a resource of this process. Must be called alone (see `alone`).
pub fn set_limit(resource: u32, value: u64) {
    // SAFETY: the struct is initialised by getrlimit before it is passed back.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(resource as _, &mut limit), 0);
        limit.rlim_cur = value;
        assert_eq!(libc::setrlimit(resource as _, &limit), 0);
    }
}
