//! The command line: every command, option and argument, with the words that `--help` and the man pages show.

use clap::{Parser, Subcommand};

use crate::{pages, run};

/// See, explain and check any program's shared memory.
#[derive(Parser)]
#[command(name = "shmkit", version, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// How every command prints.
#[derive(clap::Args)]
pub struct Global {
    /// Print JSON, with a schema name and version, instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Print sizes as numbers of bytes, not as 4.0K
    #[arg(long, global = true)]
    pub bytes: bool,
    /// Print no headings above columns
    #[arg(long, global = true)]
    pub no_headings: bool,
}

#[derive(Subcommand)]
pub enum Command {
    Run(run::Args),
    Trace(run::TraceArgs),
    Ls(crate::ls::Args),
    Show(crate::show::Args),
    Who(crate::who::Args),
    Rm(crate::rm::Args),
    Gc(crate::gc::Args),
    Doctor(crate::doctor::Args),
    Limits(crate::limits::Args),
    Top(crate::top::Args),
    Cp(crate::copy::Args),
    Dump(crate::dump::Args),
    Completions(pages::CompletionsArgs),
    Man(pages::ManArgs),
}
