//! Exit codes, which scripts may rely on, and the one way in which a command fails.

use std::fmt;
use std::process::ExitCode;

/// Why a command ends. `docs/tool.md` lists the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Could not be done; standard error says why.
    Failed = 1,
    /// Wrong usage: clap's own number.
    Usage = 2,
    /// There is nothing of this name.
    NotFound = 3,
    /// This user may not.
    NotPermitted = 4,
    /// `doctor` found something that will fail sooner or later.
    Warning = 10,
    /// `doctor` found something that fails now.
    Error = 11,
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
        eprintln!("shmkit: {failure}");
        failure.exit
    });
    ExitCode::from(exit as u8)
}
