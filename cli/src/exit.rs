//! Exit codes, which scripts may rely on, and the one way in which a command fails.

use std::fmt;
use std::process::ExitCode;

use crate::output;

/// Why a command ends. `docs/tool.md` lists the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Could not be done; standard error says why.
    Failed,
    /// Wrong usage: clap's own number.
    Usage,
    /// There is nothing of this name.
    NotFound,
    /// This user may not.
    NotPermitted,
    /// `doctor` found something that will fail sooner or later.
    Warning,
    /// `doctor` found something that fails now.
    Error,
    /// `run` and `trace` could not begin, or nothing was checked.
    RunFailed,
    /// The program cannot be run, or not be checked.
    CannotRun,
    /// There is no such program.
    NoProgram,
    /// What the program ended with.
    Program(u8),
}

impl Exit {
    /// The number for the shell.
    fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::NotPermitted => 4,
            Exit::Warning => 10,
            Exit::Error => 11,
            Exit::RunFailed => 125,
            Exit::CannotRun => 126,
            Exit::NoProgram => 127,
            Exit::Program(code) => code,
        }
    }
}

/// A command that could not do what it was asked to: what happened, and what to do.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub cause: String,
    pub remedy: String,
}

impl Failure {
    pub fn new(exit: Exit, cause: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { exit, cause: cause.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.cause)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(out, "; {}", self.remedy) }
    }
}

/// What every command returns.
pub type Done = Result<Exit, Failure>;

/// The number for the shell; a failure is told on standard error first.
pub fn code(done: Done) -> ExitCode {
    let exit = done.unwrap_or_else(|failure| {
        output::tell(&format!("shmkit: {failure}\n"));
        failure.exit
    });
    ExitCode::from(exit.code())
}
