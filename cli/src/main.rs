//! `shmkit`: see, explain and check any program's shared memory. The commands, one file each; this file leads to them.
//! Never decides what is alive or left over: that is the library's (`shmkit::region::survey`). Next: `args.rs`.

mod args;
mod container;
mod copy;
mod doctor;
mod dump;
mod exit;
mod gather;
mod gc;
mod last_look;
mod limits;
mod locks;
mod ls;
mod machine;
mod objects;
mod output;
mod pages;
mod picture;
mod printable;
mod proc;
mod refusal;
mod rm;
mod run;
mod show;
mod source;
mod target;
mod top;
mod users;
mod view;
mod who;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Command;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let output = output::Output::new(&args.global);
    exit::code(match &args.command {
        Command::Run(args) => run::run(args, &output),
        Command::Trace(args) => run::trace(args, &output),
        Command::Ls(args) => ls::run(args, &output),
        Command::Show(args) => show::run(args, &output),
        Command::Who(args) => who::run(args, &output),
        Command::Rm(args) => rm::run(args, &output),
        Command::Gc(args) => gc::run(args, &output),
        Command::Doctor(args) => doctor::run(args, &output),
        Command::Limits(args) => limits::run(args, &output),
        Command::Top(args) => top::run(args, &output),
        Command::Cp(args) => copy::run(args, &output),
        Command::Dump(args) => dump::run(args, &output),
        Command::Completions(args) => pages::completions(args, &output),
        Command::Man(args) => pages::man(args),
    })
}
