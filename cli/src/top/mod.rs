//! `shmkit top`: a live view of all objects. `looks.rs` looks in a thread of its own, `marks.rs` says what changed,
//! `columns.rs` has the columns and their order, `screen.rs` keys and drawing, `terminal.rs` the terminal, `batch.rs`
//! the same as text. Removes nothing.

mod batch;
mod columns;
mod looks;
mod marks;
mod screen;
mod terminal;

use std::io::{self, IsTerminal};
use std::time::Duration;

use crate::exit::{Done, Exit, Failure};
use crate::objects::{Kind, State};
use crate::output::Output;

use self::columns::{Column, Sorting};

/// Show all objects live, and what changes
///
/// Looks every second. What is new, gone, grown, or has other users is marked for two looks. The line at the bottom has
/// the keys, "?" explains them. No key removes anything. Without a terminal, --batch prints the same as text.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds between two looks, from 0.1 on
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    delay: f64,
    /// Also what is left out otherwise, as with shmkit ls -a
    #[arg(short, long)]
    all: bool,
    /// Only these kinds
    #[arg(short, long, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only these states
    #[arg(short, long, value_delimiter = ',', value_name = "STATE")]
    state: Vec<State>,
    /// Sort by this column
    #[arg(long, value_name = "COLUMN", default_value = "size", hide_possible_values = true)]
    sort: Column,
    /// Sort the other way
    #[arg(short, long)]
    reverse: bool,
    /// Print N looks as text, or as JSON documents with --json, and end
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
}

impl Args {
    fn sorting(&self) -> Sorting {
        let usual = Sorting::by(self.sort);
        Sorting { descending: usual.descending != self.reverse, ..usual }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "write a number of seconds".to_string())?;
    if (0.1..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("write 0.1 to 86400 seconds".to_string()) }
}

/// Whether the locale says that the terminal shows UTF-8: the first of these that is set decides.
fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_string_lossy().to_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

pub fn run(args: &Args, output: &Output) -> Done {
    let delay = Duration::from_secs_f64(args.delay);
    if let Some(count) = args.batch {
        return batch::run(args, count, delay, output);
    }
    let elsewhere = "shmkit ls lists once, shmkit top --batch N prints N looks";
    if output.json {
        return Err(Failure::new(Exit::Usage, "a live view is no JSON", elsewhere));
    }
    if !io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, "standard output is no terminal", elsewhere));
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(Failure::new(Exit::Usage, "this terminal (TERM=dumb) cannot show a live view", elsewhere));
    }
    let mut screen = screen::Screen::new(screen::Start {
        output: output.clone(),
        every: format!("{}s", args.delay),
        all: args.all,
        kinds: args.kind.clone(),
        states: args.state.clone(),
        sorting: args.sorting(),
        utf8: is_utf8(),
    });
    let looker = looks::start(delay, output.clone());
    terminal::run(&mut screen, &looker)
}
