//! `shmkit`: see, explain and check any program's shared memory. The commands, one file each; this file leads to them.
//! Never decides what is alive or left over: that is the library's (`shmkit::region::survey`). Next: `args.rs`.

mod args;
mod exit;
mod gather;
mod gc;
mod ls;
mod objects;
mod output;
mod picture;
mod printable;
mod proc;
mod refusal;
mod rm;
mod show;
mod users;
mod view;
mod who;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let output = output::Output::new(&args.global);
    let done: exit::Done = match &args.command {
        args::Command::Ls(args) => ls::run(args, &output),
        args::Command::Rm(args) => rm::run(args, &output),
        args::Command::Gc(args) => gc::run(args, &output),
        args::Command::Who(args) => who::run(args, &output),
        args::Command::Show(args) => show::run(args, &output),
    };
    exit::code(done)
}
