//! `shmkit`: see, explain and check any program's shared memory. The commands, one file each; this file leads to them.
//! Never decides what is alive or left over: that is the library's (`shmkit::region::survey`). Next: `args.rs`.

mod args;
mod copy;
mod doctor;
mod dump;
mod exit;
mod limits;
mod machine;
mod output;
mod source;
mod target;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let output = output::Output::new(&args.global);
    let done: exit::Done = match &args.command {
        args::Command::Limits(args) => limits::run(args, &output),
        args::Command::Doctor(args) => doctor::run(args, &output),
        args::Command::Cp(args) => copy::run(args, &output),
        args::Command::Dump(args) => dump::run(args, &output),
    };
    exit::code(done)
}
