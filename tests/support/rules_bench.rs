//! Compiles the snippets of docs/rules.md into one program, and runs them one at a time in a fresh room.
//! Never judges what they report. Leaves nothing behind: all files are in one temporary folder.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tempfile::TempDir;

use super::page::Page;
use super::support;

/// What a program that uses shared memory includes; the page shows the same list.
pub const HEADERS: [&str; 17] = [
    "errno.h",
    "fcntl.h",
    "semaphore.h",
    "signal.h",
    "stdint.h",
    "stdio.h",
    "stdlib.h",
    "string.h",
    "sys/ipc.h",
    "sys/mman.h",
    "sys/resource.h",
    "sys/sem.h",
    "sys/shm.h",
    "sys/stat.h",
    "sys/wait.h",
    "time.h",
    "unistd.h",
];

/// Runs one snippet, then prints the errno and the words of the thread's last failure.
const MAIN: &str = r#"
int main(int count, char **arguments)
{
    for (unsigned i = 0; count == 3 && i < sizeof examples / sizeof *examples; i++) {
        if (strcmp(examples[i].name, arguments[1]) != 0 || strcmp(examples[i].which, arguments[2]) != 0)
            continue;
        examples[i].run();
        const shmkit_error_t *error = shmkit_last_error();
        printf("\nlast failure: %d %s\n", error ? error->errno_value : 0, shmkit_last_error_message());
        return 0;
    }
    return 2;
}
"#;

/// One line of a report file.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    pub rule: String,
    pub verdict: String,
    pub outcome: String,
    pub errno: String,
}

/// What came of one snippet.
pub struct Run {
    pub status: ExitStatus,
    pub reports: Vec<Report>,
    /// The errno of the last failure that the snippet met, 0 when it met none; none when it did not come to its end.
    pub last_errno: Option<i32>,
    /// The words of that failure, and what was written to standard error.
    pub words: String,
}

/// The compiled snippets and the folder that holds them.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// Compiles the snippets, and tries whether a room can be had.
    pub fn new(page: &Page) -> Bench {
        assert_eq!(shmkit::sys::limits::page_size(), 4096, "the examples count on pages of 4096 bytes");
        let bench = Bench { folder: TempDir::new().expect("a temporary folder can be made") };
        // The programs run as another user, and the library may lie where that user cannot go.
        open_to_all(bench.folder.path(), 0o755);
        let library = bench.path("libshmkit.so.0");
        std::fs::copy(support::library(), &library).expect("the library can be copied");
        std::fs::write(bench.path("examples.c"), source(page)).expect("the folder is writable");

        let room = support::root().join("tests/support/rules_room.c");
        support::run(compiler().arg(room).arg("-o").arg(bench.path("room")));
        let include = support::root().join("include");
        let mut compile = compiler();
        compile.arg("-I").arg(include).args(["-include", "shmkit/dropin.h", "-Wl,-rpath,$ORIGIN", "-o"]);
        support::run(compile.arg(bench.path("examples")).arg(bench.path("examples.c")).arg(library));
        bench.require_room();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A snippet that does not exist ends with 2, from within the room.
    fn require_room(&self) {
        let output = Command::new(self.path("room"))
            .arg(self.folder.path())
            .arg(self.path("examples"))
            .output()
            .expect("the program was just compiled");
        let reason = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(2),
            "the examples need namespaces of their own, which this machine does not give ({}): run the tests as root, \
             or allow user namespaces to ordinary users (user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns, Linux 5.19)",
            reason.trim()
        );
    }

    /// Runs one snippet, `fails` or `mended`, under a policy.
    pub fn run(&self, rule: &str, which: &str, policy: &str) -> Run {
        let folder = TempDir::new_in(self.folder.path()).expect("a folder can be made");
        open_to_all(folder.path(), 0o777);
        let file = folder.path().join("reports");
        let output = Command::new(self.path("room"))
            .arg(folder.path())
            .arg(self.path("examples"))
            .args([rule, which])
            .env_clear()
            .env("SHMKIT_REPORT", format!("json:{}", file.display()))
            .envs((policy != "check").then_some(("SHMKIT_POLICY", policy)))
            .output()
            .expect("the program was just compiled");
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().rev().find_map(|line| line.strip_prefix("last failure: ")).unwrap_or_default();
        Run {
            status: output.status,
            reports: reports(&file),
            last_errno: last.split(' ').next().and_then(|number| number.parse().ok()),
            words: format!("{last}\n{}", String::from_utf8_lossy(&output.stderr)).trim().to_string(),
        }
    }
}

fn open_to_all(folder: &Path, mode: u32) {
    std::fs::set_permissions(folder, PermissionsExt::from_mode(mode)).expect("the folder is ours");
}

fn compiler() -> Command {
    let mut command = support::compiler(false);
    // As a debug build: an optimiser may drop what an example never uses.
    command.args(["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Werror", "-O0", "-U_FORTIFY_SOURCE"]);
    command
}

/// All snippets as functions, a table of them, and the main program. Complaints of the compiler name the page.
fn source(page: &Page) -> String {
    let mut out: String = HEADERS.iter().map(|header| format!("#include <{header}>\n")).collect();
    let mut table = String::new();
    out.push_str("#include <shmkit.h>\n");
    for (index, section) in page.sections.iter().enumerate() {
        for (which, snippet) in [("fails", &section.fails), ("mended", &section.mended)] {
            let name = format!("example_{index}_{which}");
            write!(out, "\nstatic void {name}(void)\n{{\n#line {} \"docs/rules.md\"\n", snippet.line)
                .expect("a String takes all");
            out.extend([&snippet.code, "}\n"]);
            writeln!(table, "    {{ \"{}\", \"{which}\", {name} }},", section.id).expect("a String takes all");
        }
    }
    let row = "struct { const char *name, *which; void (*run)(void); }";
    out.extend(["\nstatic const ", row, " examples[] = {\n", &table, "};\n", MAIN]);
    out
}

/// The reports in a file of JSON lines; none when there is no file.
fn reports(file: &Path) -> Vec<Report> {
    let line = regex::Regex::new(concat!(
        r#"^\{"schema":1,"time_ns":\d+,"pid":\d+,"tid":\d+,"rule":"([^"]+)","verdict":"([^"]+)","#,
        r#""outcome":"([^"]+)","errno":"([^"]*)","function":"[^"]+","call":".+","cause":".+","remedy":".+"\}$"#
    ))
    .expect("the pattern is well-formed");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let read = |text: &str| {
        let parts = line.captures(text).unwrap_or_else(|| panic!("not a report: {text}"));
        let part = |index: usize| parts[index].to_string();
        Report { rule: part(1), verdict: part(2), outcome: part(3), errno: part(4) }
    };
    text.lines().map(read).collect()
}
