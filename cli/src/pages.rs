//! Man pages and shell completions, made from the command line's own description. For packagers: `cmake --install`
//! calls it.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::args;
use crate::exit::{Done, Exit, Failure};
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
        let mut command = args::Args::command();
        command.build();
        page(&command, "shmkit", args)?;
        for one in command.get_subcommands().filter(|one| one.get_name() != "help") {
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
    // Page names must live as long as the program, and so do these few.
    let command = command.clone().name(&*name.to_owned().leak()).display_name(name);
    clap_mangen::Man::new(command).render(&mut bytes)?;
    fs::write(args.folder.join(format!("{name}.1")), bytes)
}
