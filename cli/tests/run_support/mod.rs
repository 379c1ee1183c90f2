//! What the tests of `shmkit run` and `shmkit trace` share: the interposer, built beside the tool; programs in C, compiled
//! without anything of shmkit; runs of them with and without it. Never judges.
#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli/ lies in the repository")
}

pub fn shmkit() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_shmkit"))
}

/// The interposer of this build, beside the tool: cargo builds it for nobody's tests, as nothing can depend on it.
pub fn interposer() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let folder = shmkit().parent().expect("a file has a folder");
        let target = folder.parent().expect("a profile's folder lies in the target folder");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--offline", "-p", "shmkit-preload"]).current_dir(root());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        run(build.env("CARGO_TARGET_DIR", target));
    });
    let library = shmkit().with_file_name("libshmkit_preload.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// A number that no other test of this or another process uses at the same time.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The name of an object of a test's own, without its slash.
pub fn object() -> String {
    format!("shmkit-run-test-{}", unique())
}

/// Runs a command to its end; panics with what it said when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A folder that every user can reach, with the tool and the interposer in it, and programs beside them.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new() -> Bench {
        // Who runs the tests may have been told to ignore it (nohup), and programs inherit that.
        // SAFETY: the default action is no function.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        let folder = TempDir::new().expect("a temporary folder can be made");
        open_to_all(folder.path(), 0o755);
        let bench = Bench { folder };
        fs::copy(interposer(), bench.path("libshmkit_preload.so")).expect("the folder is writable");
        fs::copy(shmkit(), bench.path("shmkit")).expect("the folder is writable");
        bench
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles `programs/NAME.c`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.program_with(name, name, &[])
    }

    /// Compiles `programs/SOURCE.c` under another name, with more options.
    pub fn program_with(&self, source: &str, name: &str, options: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/programs/{source}.c"));
        self.compile(&source, name, options)
    }

    /// Compiles any file.
    pub fn compile(&self, source: &Path, name: &str, options: &[&str]) -> PathBuf {
        let program = self.path(name);
        // As a debug build: an optimiser may drop what a program never uses.
        let mut compile = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        compile.args(["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-Wno-deprecated-declarations"]);
        compile.args(["-O0", "-g", "-U_FORTIFY_SOURCE"]);
        run(compile.arg("-o").arg(&program).arg(source).args(options).arg("-pthread"));
        program
    }

    /// `shmkit run OPTIONS -- ...` with JSON reports in a file.
    pub fn run(&self, options: &[&str]) -> Run<'_> {
        self.start(plain(self.path("shmkit")), "run", options)
    }

    /// The same with root's rights over namespaces of its own.
    pub fn run_rooted(&self, options: &[&str]) -> Run<'_> {
        self.start(rooted(self.path("shmkit")), "run", options)
    }

    /// `shmkit trace OPTIONS -- ...`.
    pub fn trace(&self, options: &[&str]) -> Run<'_> {
        self.start(plain(self.path("shmkit")), "trace", options)
    }

    fn start(&self, mut command: Command, what: &str, options: &[&str]) -> Run<'_> {
        command.arg(what).args(options);
        let reports = self.path(format!("reports-{}", unique()));
        if what == "run" && !options.contains(&"--report") {
            command.arg("--report").arg(format!("json:{}", reports.display()));
        }
        command.arg("--");
        Run { _bench: self, command, reports }
    }
}

pub fn open_to_all(folder: &Path, mode: u32) {
    fs::set_permissions(folder, PermissionsExt::from_mode(mode)).expect("the folder is ours");
}

/// A command without anything in its environment that asks something of shmkit.
pub fn plain(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in [
        "SHMKIT_POLICY",
        "SHMKIT_REPORT",
        "SHMKIT_INJECT",
        "SHMKIT_TRACE",
        "SHMKIT_FOLLOW",
        "SHMKIT_AHEAD",
        "LD_PRELOAD",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Whether this user is root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("/proc is there").uid() == 0
}

/// A command with root's rights over namespaces of its own: as root, or through a user namespace.
pub fn rooted(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return plain(program);
    }
    let mut command = plain("unshare");
    command.args(["--user", "--map-root-user"]).arg(program);
    command
}

/// A command as an ordinary user.
pub fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    if !is_root() {
        return plain(program);
    }
    let mut command = plain("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
    command
}

/// Says that a test, or a part of it, cannot run here: to the list that `scripts/test` shows at its end.
pub fn not_run(why: &str) {
    println!("NOT RUN: {why}");
    if let Some(list) = std::env::var_os("SHMKIT_NOT_RUN") {
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list).expect("the list can be made");
        std::io::Write::write_all(&mut list, format!("{why}\n").as_bytes()).expect("there is room");
    }
}

/// A run that is being put together.
pub struct Run<'a> {
    _bench: &'a Bench,
    pub command: Command,
    reports: PathBuf,
}

impl Run<'_> {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub fn done(mut self) -> Ran {
        Ran::new(output(&mut self.command), &self.reports)
    }
}

/// What came of a run.
pub struct Ran {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: String,
    pub err: String,
    /// The JSON lines of the report file.
    pub reports: Vec<Value>,
}

impl Ran {
    pub fn new(output: Output, reports: &Path) -> Ran {
        let text = fs::read_to_string(reports).unwrap_or_default();
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Ran {
            code: output.status.code(),
            signal: output.status.signal(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            reports: text.lines().map(read).collect(),
        }
    }

    /// The rules that were reported, in order.
    pub fn rules(&self) -> Vec<&str> {
        self.reports.iter().filter_map(|report| report["rule"].as_str()).collect()
    }

    /// The words of crashes that were explained.
    pub fn crashes(&self) -> Vec<&str> {
        let crashes = self.reports.iter().filter(|report| report["kind"] == "crash");
        crashes.filter_map(|report| report["cause"].as_str()).collect()
    }

    /// The JSON document on standard output after what the program wrote: `shmkit run --json`.
    pub fn summary(&self) -> Value {
        let at = self.out.find("{\n  \"schema\": \"shmkit.run\"").unwrap_or_else(|| panic!("{self}"));
        let summary: Value = serde_json::from_str(&self.out[at..]).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert_eq!(summary["version"], 1);
        summary
    }

    /// Status and standard output, for comparison.
    pub fn behaviour(&self) -> (Option<i32>, Option<i32>, &str) {
        (self.code, self.signal, &self.out)
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ran { code, signal, reports, .. } = self;
        write!(out, "code {code:?}, signal {signal:?}\n--- out\n{}\n--- err\n{}\n--- reports", self.out, self.err)?;
        reports.iter().try_for_each(|report| write!(out, "\n{report}"))
    }
}

/// What a command prints. A file that was just written may be open in a child that another test is beginning.
fn output(command: &mut Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.unwrap_or_else(|error| panic!("{command:?}: {error}")),
        }
    }
}

/// The same without the interposer.
pub fn without(command: &mut Command) -> Ran {
    Ran::new(output(command), Path::new("/nonexistent"))
}
