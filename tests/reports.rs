//! Where reports go: callback, standard error, files, JSON lines; what the environment sets; what is said at exit.
//! The rules themselves are in tests/rules.rs.

mod support;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use shmkit::calls::report::Report;
use shmkit::capi::{file, memory, policy, posix, sysv};
use support::{alone, errno, in_good_child, object_name, set_errno};

/// Rule, verdict, outcome, errno.
type Heard = (String, i32, i32, i32);

thread_local! {
    static HEARD: RefCell<Vec<Heard>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn listen(report: *const Report, user: *mut c_void) {
    assert_eq!(user as usize, 7);
    // SAFETY: the report and its strings are valid until this function returns.
    unsafe {
        let report = &*report;
        let text = |text| CStr::from_ptr(text).to_str().expect("reports are ASCII").to_string();
        assert!(report.struct_size >= size_of::<Report>());
        assert!(!text(report.cause).is_empty() && !text(report.remedy).is_empty());
        assert!(text(report.call).ends_with(')'), "{}", text(report.call));
        let line = (text(report.rule), report.verdict, report.outcome, report.errno_value);
        HEARD.with_borrow_mut(|heard| heard.push(line));
    }
    // A callback may make checked calls, wrong ones too, and may spoil errno.
    assert_eq!(memory::shmkit_munmap(null_mut(), 0), -1);
    set_errno(1);
}

#[test]
fn a_callback_hears_what_was_passed_refused_and_failed() {
    alone("a_callback_hears_what_was_passed_refused_and_failed", &[], || {
        let name = object_name();
        // SAFETY: takes no pointers; this process is the test's own.
        unsafe { libc::umask(0) };
        assert_eq!(policy::shmkit_set_report_callback(Some(listen), 7 as *mut c_void), 0);
        // SAFETY: the name is terminated.
        let fd = unsafe { posix::shmkit_shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o602) };
        set_errno(4095);
        assert_ne!(memory::shmkit_mmap(null_mut(), 4096, 1, libc::MAP_SHARED, fd, 0), libc::MAP_FAILED);
        assert_eq!(errno(), 4095, "a report changed errno");
        assert_eq!(memory::shmkit_mmap(null_mut(), 0, 1, libc::MAP_SHARED, fd, 0), libc::MAP_FAILED);
        assert_eq!(file::shmkit_close(fd), 0);
        assert_eq!(file::shmkit_close(fd), -1);
        assert_eq!(policy::shmkit_set_report_callback(None, null_mut()), 0);
        assert_eq!(file::shmkit_close(fd), -1);
        // SAFETY: the name is terminated.
        assert_eq!(unsafe { posix::shmkit_shm_unlink(name.as_ptr()) }, 0);
        let heard = HEARD.take();
        let expected = [
            ("SHM-OPEN-WORLD-WRITABLE", 1, 0, 0),
            ("SHM-MAP-NEVER-SIZED", 1, 0, 0),
            ("SHM-MAP-ZERO-LENGTH", 0, 1, libc::EINVAL),
            ("SHM-FD-CLOSED", 0, 2, libc::EBADF),
        ];
        assert_eq!(heard, expected.map(|(rule, verdict, outcome, errno)| (rule.to_string(), verdict, outcome, errno)));
    });
}

/// A value of a JSON object on one line; enough for lines that hold no nested ones.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let rest = line.split_once(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name} in {line}")).1;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next().unwrap_or_default(),
        None => rest.split([',', '}']).next().unwrap_or_default(),
    }
}

#[test]
fn two_processes_append_whole_lines_to_one_file() {
    alone("two_processes_append_whole_lines_to_one_file", &[], || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("reports.jsonl");
        let target = CString::new(format!("json:{}", path.display())).expect("no NUL inside");
        // SAFETY: the string is terminated.
        assert_eq!(unsafe { policy::shmkit_set_report(target.as_ptr()) }, 0);
        let wrong = || (0..500).for_each(|_| assert_eq!(memory::shmkit_munmap(8 as *mut c_void, 1), -1));
        in_good_child(|| {
            in_good_child(wrong);
            wrong();
        });
        let text = std::fs::read_to_string(&path).expect("the file was written");
        assert_eq!(text.lines().count(), 1000);
        for line in text.lines() {
            assert!(line.starts_with("{\"schema\":1,") && line.ends_with('}'), "{line}");
            assert_eq!((field(line, "rule"), field(line, "verdict")), ("SHM-MAP-ADDRESS-ALIGN", "wrong"));
            assert_eq!((field(line, "outcome"), field(line, "errno")), ("refused", "EINVAL"));
            assert_eq!((field(line, "function"), field(line, "call")), ("munmap", "munmap(0x8, 1)"));
            assert!(field(line, "pid").parse::<u32>().is_ok() && field(line, "time_ns").parse::<u64>().is_ok());
        }
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("it is there"));
        assert_eq!(mode & 0o777, 0o600);
    });
}

/// Runs `work` in a child whose reports go to a file, and gives what was written after its normal exit.
fn reports_of(work: impl FnOnce()) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("reports");
    let target = CString::new(path.to_str().expect("plain names")).expect("no NUL inside");
    // SAFETY: the child leaves through `exit`, so that destructors run; the parent waits for it.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            assert_eq!(policy::shmkit_set_report(target.as_ptr()), 0);
            work();
            libc::exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn what_is_left_behind_is_said_at_exit_by_the_process_that_made_it() {
    alone("what_is_left_behind_is_said_at_exit_by_the_process_that_made_it", &[], || {
        let (kept, removed, plain) = (object_name(), object_name(), object_name());
        let mut made = [0; 2];
        // SAFETY: the names are terminated, the pipe is this test's, and the commands take no buffer.
        unsafe {
            let mut pipe = [0; 2];
            assert_eq!(libc::pipe(pipe.as_mut_ptr()), 0);
            let text = reports_of(|| {
                let exclusive = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
                let fd = posix::shmkit_shm_open(kept.as_ptr(), exclusive, 0o600);
                assert_eq!(file::shmkit_ftruncate(fd, 100), 0);
                posix::shmkit_shm_open(removed.as_ptr(), exclusive, 0o600);
                assert_eq!(posix::shmkit_shm_unlink(removed.as_ptr()), 0);
                posix::shmkit_shm_open(plain.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
                // Opening it again makes nothing; so does a child, which leaves nothing of its own behind.
                posix::shmkit_shm_open(plain.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
                let segments = [50, 60].map(|size| sysv::shmkit_shmget(libc::IPC_PRIVATE, size, 0o600));
                sysv::shmkit_shmctl(segments[1], libc::IPC_RMID, null_mut());
                libc::write(pipe[1], (&raw const segments).cast(), 8);
                let child = libc::fork();
                if child == 0 {
                    libc::exit(0);
                }
                libc::waitpid(child, null_mut(), 0);
            });
            assert_eq!(libc::read(pipe[0], (&raw mut made).cast(), 8), 8);
            let name = |name: &CString| name.to_str().expect("ASCII").to_string();
            let lines: Vec<_> = text.split("shmkit[").filter(|report| report.contains("SHM-EXIT-")).collect();
            assert_eq!(lines.len(), 3, "{text}");
            let said = |what: String| {
                assert_eq!(lines.iter().filter(|line| line.contains(&what)).count(), 1, "{what}: {text}")
            };
            said(format!("posix:{} (100 bytes)", name(&kept)));
            said(format!("posix:{} (0 bytes)", name(&plain)));
            said(format!("segment {} (50 bytes, key 0x0) and leaves it behind with 0 attached", made[0]));
            assert_eq!(posix::shmkit_shm_unlink(kept.as_ptr()) + posix::shmkit_shm_unlink(plain.as_ptr()), 0);
            assert_eq!(sysv::shmkit_shmctl(made[0], libc::IPC_RMID, null_mut()), 0);
        }
    });
}

/// Runs this very test again with an environment, in which `work` happens, and gives what went to standard error.
fn said_with(test: &str, environment: &[(&str, &str)], work: fn()) -> Option<String> {
    if std::env::var_os("SHMKIT_TEST_INNER").is_some() {
        work();
        return None;
    }
    let mut command = std::process::Command::new(std::env::current_exe().expect("the test knows its own path"));
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("SHMKIT_TEST_INNER", "1");
    command.env_remove("SHMKIT_POLICY").env_remove("SHMKIT_REPORT").envs(environment.iter().copied());
    let output = command.output().expect("the test can run itself");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stderr).expect("reports are ASCII"))
}

#[test]
fn the_environment_is_read_and_a_wrong_setting_is_said() {
    let test = "the_environment_is_read_and_a_wrong_setting_is_said";
    let wrong_call = || assert_eq!(memory::shmkit_munmap(null_mut(), 0), -1);
    let say = |environment: &[(&str, &str)]| said_with(test, environment, wrong_call);
    let Some(silent) = say(&[]) else { return };
    assert_eq!(silent, "", "the library printed without being asked");
    let text = say(&[("SHMKIT_REPORT", "stderr")]).expect("this is the outer test");
    assert!(
        text.contains("] wrong SHM-UNMAP-ZERO-LENGTH, refused: munmap(NULL, 0) = EINVAL\n    why: the length is 0"),
        "{text}"
    );
    let text = say(&[("SHMKIT_REPORT", "stderr"), ("SHMKIT_POLICY", "observe")]).expect("this is the outer test");
    assert!(text.contains("SHM-UNMAP-ZERO-LENGTH, passed: munmap(NULL, 0)\n    why: the length is 0"), "{text}");
    let text = say(&[("SHMKIT_REPORT", "stderr"), ("SHMKIT_POLICY", "strict")]).expect("this is the outer test");
    assert!(text.contains("SHM-CONFIG-UNKNOWN") && text.contains("SHMKIT_POLICY=strict"), "{text}");
    let text = say(&[("SHMKIT_REPORT", "/no/such/folder/file")]).expect("this is the outer test");
    assert!(text.contains("SHM-CONFIG-UNKNOWN") && text.contains("SHMKIT_REPORT=/no/such/folder/file"), "{text}");
    assert!(text.contains("SHM-UNMAP-ZERO-LENGTH"), "{text}");
}
