//! Man pages and shell completions, made from the command line's own description. For packagers: `cmake --install`
//! calls it.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use crate::args;
use crate::exit::{self, Done, Exit, Failure};
use crate::output::Output;

/// Print the completions of a shell
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Write the man pages into a folder
#[derive(clap::Args)]
pub struct ManArgs {
    /// Which folder; it is made when it is missing
    folder: PathBuf,
}

/// `shmkit completions`.
pub fn completions(args: &CompletionsArgs, output: &Output) -> Done {
    let (mut command, mut script) = (args::Args::command(), Vec::new());
    // Not to standard output at once: what makes it panics where it cannot write.
    clap_complete::generate(args.shell, &mut command, "shmkit", &mut script);
    output.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}

/// `shmkit man`.
pub fn man(args: &ManArgs) -> Done {
    let write = || -> io::Result<()> {
        fs::create_dir_all(&args.folder)?;
        // There is no page of `shmkit help`, and none is to be named.
        let mut command = args::Args::command().disable_help_subcommand(true);
        command.build();
        page(&command, "shmkit", args)?;
        for one in command.get_subcommands() {
            page(one, &format!("shmkit-{}", one.get_name()), args)?;
        }
        Ok(())
    };
    write().map_err(|error| {
        Failure::new(Exit::Failed, format!("no man pages can be written to {}: {error}", args.folder.display()), "")
    })?;
    Ok(Exit::Ok)
}

fn page(command: &Command, name: &str, args: &ManArgs) -> io::Result<()> {
    let mut bytes = Vec::new();
    let meanings = exit::meanings(command.get_name());
    let repeated: Vec<String> = command.get_positionals().filter(|one| is_repeated(one)).filter_map(shown).collect();
    // Page names must live as long as the program, and so do these few.
    let command = command.clone().name(&*name.to_owned().leak()).display_name(name);
    clap_mangen::Man::new(command).render(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    // What the generator leaves out: that an argument may be given again, and what the exit status says.
    for argument in repeated {
        text = text.replace(&argument, &format!("{argument}..."));
    }
    let mut section = String::from(".SH \"EXIT STATUS\"\n");
    for (code, means) in meanings {
        section += &format!(".TP\n\\fB{code}\\fR\n{means}\n");
    }
    let place = text.rfind(".SH VERSION\n").unwrap_or(text.len());
    text.insert_str(place, &section);
    fs::write(args.folder.join(format!("{name}.1")), text)
}

fn is_repeated(argument: &Arg) -> bool {
    argument.get_num_args().is_some_and(|count| count.max_values() > 1)
}

/// An argument as the generator writes it.
fn shown(argument: &Arg) -> Option<String> {
    let name = argument.get_value_names()?.join(" ");
    let (before, after) = if argument.is_required_set() { ('<', '>') } else { ('[', ']') };
    Some(format!("{before}\\fI{name}\\fR{after}"))
}
