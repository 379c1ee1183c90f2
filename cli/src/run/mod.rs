//! `shmkit run` and `shmkit trace`: a program with the interposer in it, and what came of it. Never changes what the
//! program does unless faults or a stricter policy were asked for. Next: `record.rs` reads what the processes kept,
//! `summary.rs` prints it, `program.rs` looks at the program before it runs.

mod limit;
mod living;
mod program;
mod record;
mod signals;
mod source;
mod stderr;
mod streams;
mod summary;

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use clap::ValueEnum;
use shmkit::checks::words::Call;
use shmkit::error::errno_number;

use crate::exit::{Done, Exit, Failure};
use crate::output::{self, Output};

#[allow(dead_code, reason = "the interposer uses the rest")]
#[path = "../../../preload/src/spec.rs"]
mod spec;

/// What is refused.
#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// Nothing: what is wrong or hazardous is reported and passed on
    Observe,
    /// What is wrong by POSIX or the manual pages is refused
    Check,
    /// What is hazardous is refused too
    Enforce,
}

/// Run a program with its shared-memory calls checked, its children's included
///
/// Any dynamically linked program will do, unchanged. Reports go to standard error while it runs, a summary comes at
/// its end, and its exit status or signal is returned. Exits with 125 when shmkit itself cannot do it, 126 when the
/// program cannot be run or checked, 127 when there is no such program.
#[derive(clap::Args)]
pub struct Args {
    /// What is refused
    #[arg(long, value_enum, default_value = "observe")]
    policy: Policy,
    /// Where reports go: text or json, and :FILE instead of standard error; or off
    #[arg(long, value_name = "text|json[:FILE]", default_value = "text")]
    report: String,
    /// How many reports of one rule at one place of the program are written, by all processes together; 0 for all.
    /// The summary counts every one
    #[arg(long, value_name = "N", default_value_t = 10)]
    repeats: u32,
    /// Make calls fail on purpose, as shm_open:ENOSPC@3 (the third), mmap:ENOMEM@5% (five of a hundred),
    /// shmget:EINVAL@/2 (every second), ftruncate:10ms (a delay), posix_fallocate:short (half, then ENOSPC); may be
    /// given again
    #[arg(long, value_name = "CALL:WHAT[@WHEN]")]
    inject: Vec<String>,
    /// The seed of shares in a hundred
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Leave the program's children alone
    #[arg(long)]
    no_follow: bool,
    /// Print no summary
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    what: What,
}

/// Print one line for each shared-memory call of a program, as strace does
///
/// Flags are decoded, and calls that concern no shared memory (private mappings, other files) are left out. With --json
/// each line is a JSON document.
#[derive(clap::Args)]
pub struct TraceArgs {
    /// Write the lines to a file, not to standard error
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Every call of a kind that is looked at, also those that concern no shared memory
    #[arg(short, long)]
    all: bool,
    /// A summary at the end, as `shmkit run` has it
    #[arg(short = 'c', long)]
    summary: bool,
    /// Leave the program's children alone
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    what: What,
}

#[derive(clap::Args)]
struct What {
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What the interposer is told, by its environment.
struct Plan<'a> {
    command: &'a [OsString],
    policy: Policy,
    report: String,
    repeats: u32,
    inject: String,
    seed: u64,
    follow: bool,
    trace: Option<&'static str>,
    summary: bool,
}

/// `shmkit run`.
pub fn run(args: &Args, output: &Output) -> Done {
    let report = match args.report.split_once(':').unwrap_or((&args.report, "")) {
        ("text", "") => "stderr".to_owned(),
        ("text", file) => writable(Path::new(file), false)?,
        ("json", "") => "json:stderr".to_owned(),
        ("json", file) => format!("json:{}", writable(Path::new(file), false)?),
        ("off", "") => String::new(),
        _ => {
            return Err(Failure::new(
                Exit::Usage,
                format!("--report {:?} is not known", args.report),
                "text, json, text:FILE, json:FILE or off",
            ));
        }
    };
    let inject = args.inject.join(",");
    for part in spec::parts(&inject, errno_number) {
        let part = part.map_err(|(text, why)| Failure::new(Exit::Usage, format!("--inject {text:?}: {why}"), ""))?;
        if !Call::ALL.iter().any(|call| call.name() == part.call && record::is_counted(*call)) {
            let known: Vec<_> =
                Call::ALL.iter().filter(|call| record::is_counted(**call)).map(|call| call.name()).collect();
            return Err(Failure::new(
                Exit::Usage,
                format!("--inject {:?}: there is no such call", part.call),
                format!("calls are {}", known.join(", ")),
            ));
        }
    }
    let plan = Plan {
        command: &args.what.command,
        policy: args.policy,
        report,
        repeats: args.repeats,
        inject,
        seed: args.seed,
        follow: !args.no_follow,
        trace: None,
        summary: !args.quiet,
    };
    carry_out(&plan, output)
}

/// `shmkit trace`.
pub fn trace(args: &TraceArgs, output: &Output) -> Done {
    let json = if output.json { "json:" } else { "" };
    let report = match &args.output {
        // The interposer appends.
        Some(path) => format!("{json}{}", writable(path, true)?),
        None => format!("{json}stderr"),
    };
    let plan = Plan {
        command: &args.what.command,
        policy: Policy::Observe,
        report,
        repeats: 0,
        inject: String::new(),
        seed: 0,
        follow: !args.no_follow,
        trace: Some(if args.all { "all" } else { "shared" }),
        summary: args.summary,
    };
    carry_out(&plan, output)
}

/// The path of a file for reports, as programs of the run in any folder can use it; tried now, while it can be told. It
/// stays open, so that who reads a FIFO sees no end before the run's.
fn writable(path: &Path, from_begin: bool) -> Result<String, Failure> {
    let tried = std::path::absolute(path).and_then(|path| {
        let mut options = std::fs::File::options();
        options.create(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = if from_begin { options.write(true).truncate(true) } else { options.append(true) }.open(&path)?;
        std::mem::forget(file);
        Ok(path)
    });
    let path = tried.map_err(|error| match error.raw_os_error() {
        Some(libc::ENXIO) => Failure::new(
            Exit::RunFailed,
            format!("{} cannot be written: nobody reads from it", path.display()),
            "begin its reader first",
        ),
        _ => cannot(&format!("{} cannot be written", path.display()), &error),
    })?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::new(Exit::RunFailed, format!("{path:?} is no text in UTF-8"), "write reports to another file")
    })
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::RunFailed, format!("{what}: {error}"), "")
}

/// The interposer: beside this program as cargo leaves it, or below the prefix that both were installed to.
fn interposer() -> Result<PathBuf, Failure> {
    const NAME: &str = "libshmkit_preload.so";
    let own = std::env::current_exe().map_err(|error| cannot("this program cannot be found", &error))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let folders =
        [folder.to_owned(), folder.join("../lib"), folder.join(option_env!("SHMKIT_LIBDIR").unwrap_or("../lib64"))];
    let multiarch = std::fs::read_dir(folder.join("../lib")).into_iter().flatten().flatten().map(|entry| entry.path());
    let found = folders.into_iter().chain(multiarch).map(|folder| folder.join(NAME)).find(|path| path.is_file());
    let found = found.ok_or_else(|| {
        Failure::new(
            Exit::RunFailed,
            format!("{NAME} is neither beside {} nor in ../lib", own.display()),
            "install shmkit with `cmake --install`, or build it with `cargo build --release`",
        )
    })?;
    let found = found.canonicalize().map_err(|error| cannot("the interposer cannot be found", &error))?;
    // The loader takes LD_PRELOAD apart at these.
    match found.to_str() {
        Some(text) if !text.contains([' ', ':']) => Ok(found),
        _ => Err(Failure::new(
            Exit::RunFailed,
            format!("the loader cannot be given {}", found.display()),
            "install shmkit where no part of the path has a space or a colon",
        )),
    }
}

fn carry_out(plan: &Plan<'_>, output: &Output) -> Done {
    let interposer = interposer()?;
    let program = program::find(&plan.command[0])?;
    program::require_loadable(&program)?;
    let file = limit::lifted(|| record::create(plan.trace.is_some(), plan.repeats))
        .map_err(|error| cannot("there is no memory for what the processes count", &error))?;

    let stderr = stderr::Shared::new();
    let mut child = start(plan, &program, &interposer, &record::path(&file), &stderr)?;
    let status = wait(&mut child)?;
    let record =
        record::Record::read(&file).map_err(|error| cannot("what the processes counted cannot be read", &error))?;
    if record.processes.is_empty() {
        match status.signal() {
            None => output::tell(format_args!(
                "shmkit: {} ran without the interposer: it was not loaded, so nothing was checked; \
                 is it linked with another C library, or made to ignore LD_PRELOAD?\n",
                program.display()
            )),
            // The loader is not done then, nor is the interposer.
            Some(signal) => output::tell(format_args!(
                "shmkit: {} was ended by signal {signal} before the interposer in it began, so nothing was checked; \
                 does it run without, and has it a library whose IFUNC resolver calls what is checked (open, mmap)?\n",
                program.display()
            )),
        }
        return Ok(Exit::RunFailed);
    }
    // A summary that cannot be written is told, and the program's end stays what it was.
    if plan.summary {
        if let Err(failure) = summary::print(&record, status, output) {
            output::tell(format_args!("shmkit: {failure}\n"));
        }
    } else if plan.trace.is_some() && record.lost_reports > 0 {
        output::tell(format_args!("shmkit: {} lines could not be written\n", record.lost_reports));
    }
    drop(stderr);
    end_as(status)
}

fn start(
    plan: &Plan<'_>,
    program: &Path,
    interposer: &Path,
    record: &Path,
    stderr: &stderr::Shared,
) -> Result<Child, Failure> {
    // A sanitizer's library refuses to be loaded behind another.
    let ahead = program::sanitizer(program);
    let mut preload = OsString::from(ahead.iter().map(|name| format!("{name}:")).collect::<String>());
    preload.push(interposer);
    if let Some(before) = std::env::var_os("LD_PRELOAD").filter(|before| !before.is_empty()) {
        preload.push(":");
        preload.push(before);
    }
    let mut command = Command::new(&plan.command[0]);
    command.args(&plan.command[1..]);
    command.env("LD_PRELOAD", preload).env("SHMKIT_RUN", record);
    command.env(
        "SHMKIT_POLICY",
        match plan.policy {
            Policy::Observe => "observe",
            Policy::Check => "check",
            Policy::Enforce => "enforce",
        },
    );
    let seed = plan.seed.to_string();
    let stderr = stderr.place().filter(|_| plan.report.is_empty() || plan.report.ends_with("stderr"));
    for (name, value) in [
        ("SHMKIT_REPORT", Some(plan.report.as_str()).filter(|report| !report.is_empty())),
        ("SHMKIT_STDERR", stderr.as_deref()),
        ("SHMKIT_INJECT", Some(plan.inject.as_str()).filter(|inject| !inject.is_empty())),
        ("SHMKIT_SEED", Some(seed.as_str())),
        ("SHMKIT_TRACE", plan.trace),
        ("SHMKIT_AHEAD", ahead.as_deref()),
        ("SHMKIT_FOLLOW", if plan.follow { None } else { Some("off") }),
    ] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let inherited = signals::take_over();
    // SAFETY: between fork and exec only dispositions and the mask of signals are set and descriptors closed, which is
    // async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            inherited.give_back();
            streams::give_back();
            Ok(())
        });
    }
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Exit::NoProgram, format!("{:?} cannot be found", plan.command[0]), ""),
        _ => Failure::new(Exit::CannotRun, format!("{:?} cannot be run: {error}", plan.command[0]), ""),
    })
}

fn wait(child: &mut Child) -> Result<ExitStatus, Failure> {
    signals::pass_on_to(child.id() as i32);
    // Its number is its own until it is waited for.
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the place is writable.
    let mut ended =
        || unsafe { libc::waitid(libc::P_PID, child.id(), info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
    while ended() == -1 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {}
    signals::keep();
    child.wait().map_err(|error| cannot("the program cannot be waited for", &error))
}

/// Ends as the program did: with its exit status, or by its signal.
fn end_as(status: ExitStatus) -> Done {
    if let Some(signal) = status.signal() {
        // SAFETY: the set is writable; without a core file of its own, with the default action, and not held back by the
        // mask that this process was given, so that it ends here.
        unsafe {
            let mut own = MaybeUninit::<libc::sigset_t>::zeroed();
            libc::sigaddset(own.as_mut_ptr(), signal);
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_CORE, &none);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, own.as_ptr(), std::ptr::null_mut());
        }
    }
    Ok(Exit::Program(status.code().unwrap_or(125) as u8))
}
