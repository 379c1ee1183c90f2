//! `shmkit gc`: what dead processes left. The library finds, decides and removes (`survey::collect_where`); this file says
//! why, what processes have all the same, and with -v what is left alone and why. Next: `last_look.rs`, `gather.rs`.

use std::collections::HashSet;

use serde::Serialize;
use shmkit::region::survey::{Answer, Content};

use crate::exit::{Done, Exit};
use crate::gather;
use crate::last_look;
use crate::objects::{Kind, Object, Objects, State};
use crate::output::{self, Align, Column, Output};
use crate::printable;
use crate::proc::Use;
use crate::view::{self, ObjectJson};

/// Remove what dead processes left behind
///
/// Only regions of the library, and what their creators had begun, can be proved to be left over, by locks and counts
/// that the kernel drops at a process's death. Everything else stays. Without --remove nothing is removed.
#[derive(clap::Args)]
pub struct Args {
    /// Remove what was found, with every opener locked out while it is decided
    #[arg(long)]
    remove: bool,
    /// Also say what is left alone, and why
    #[arg(short, long)]
    verbose: bool,
    /// Columns, separated by commas; + before the first adds to the usual ones
    ///
    /// Columns are action, size, address, why, kind, state, reserved, owner and id.
    #[arg(short = 'o', long, value_name = "COLUMNS")]
    columns: Option<String>,
}

struct Line {
    action: &'static str,
    object: Object,
    why: String,
}

#[derive(Serialize)]
struct LineJson {
    action: &'static str,
    why: String,
    object: ObjectJson,
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    found: Vec<LineJson>,
    /// What would be among these, but for processes that have it without a lease.
    mapped: Vec<LineJson>,
    /// Why POSIX objects could not be looked at; null when they were.
    posix_why: Option<&'static str>,
    /// What is left alone; null unless it was asked for.
    left: Option<Vec<LineJson>>,
}

fn columns() -> [Column<Line>; 9] {
    [
        Column { name: "action", align: Align::Left, default: true, text: |line, _| line.action.to_string() },
        Column {
            name: "size",
            align: Align::Right,
            default: true,
            text: |line, output| view::size_text(&line.object, output),
        },
        Column {
            name: "address",
            align: Align::Left,
            default: true,
            text: |line, _| printable::text(&line.object.address),
        },
        Column { name: "why", align: Align::Left, default: true, text: |line, _| line.why.clone() },
        Column {
            name: "kind",
            align: Align::Left,
            default: false,
            text: |line, _| line.object.kind.name().to_string(),
        },
        Column {
            name: "state",
            align: Align::Left,
            default: false,
            text: |line, _| line.object.state.name().to_string(),
        },
        Column {
            name: "reserved",
            align: Align::Right,
            default: false,
            text: |line, output| view::reserved_text(&line.object, output),
        },
        Column { name: "owner", align: Align::Left, default: false, text: |line, _| view::owner_text(line.object.uid) },
        Column {
            name: "id",
            align: Align::Right,
            default: false,
            text: |line, _| view::identity_text(line.object.identity),
        },
    ]
}

pub fn run(args: &Args, output: &Output) -> Done {
    let columns = columns();
    // Before anything is removed.
    let chosen = output::choose(&columns, args.columns.as_deref())?;
    // Before the collection, for what is removed cannot be described afterwards.
    let before = gather::tables()?;
    let left_over = last_look::left_over(&before)?;
    let mut lines = Vec::new();
    let mut put = |action, object: Object| {
        let why = why_left_over(&object);
        lines.push(Line { action, object, why });
    };
    match args.remove {
        true => last_look::remove_left_over(&left_over.free, &before, |object| put("removed", object))?,
        false => left_over.free.into_iter().for_each(|object| put("would remove", object)),
    }
    lines.sort_by(|one, other| one.object.address.cmp(&other.object.address));
    let found = lines.len();
    let bytes: u64 = lines.iter().filter_map(|line| line.object.reserved.known()).sum();
    lines.extend(left_over.mapped.into_iter().map(|object| Line { action: "left", why: why_mapped(&object), object }));
    let mapped = lines.len() - found;
    lines[found..].sort_by(|one, other| one.object.address.cmp(&other.object.address));
    let objects = if args.verbose { gather::everything()? } else { Objects::default() };
    if args.verbose {
        let known: HashSet<_> = lines.iter().map(|line| line.object.identity).collect();
        let left = objects.all.iter().filter(|object| object.is_named() && !known.contains(&object.identity));
        let left: Vec<_> = left
            .filter(|object| !object.is_only_read() && !object.is_part_of_region())
            .map(|object| Line { action: "left", object: object.clone(), why: why_left_alone(object) })
            .collect();
        lines.extend(left);
    }
    if output.json {
        let json = |line: &Line| LineJson {
            action: line.action,
            why: line.why.clone(),
            object: ObjectJson::new(&line.object, &objects),
        };
        let (first, rest) = lines.split_at(found);
        let (spared, rest) = rest.split_at(mapped);
        output.json(
            "gc",
            &Report {
                dry_run: !args.remove,
                found: first.iter().map(json).collect(),
                mapped: spared.iter().map(json).collect(),
                posix_why: left_over.unlisted,
                left: args.verbose.then(|| rest.iter().map(json).collect()),
            },
        )?;
        return Ok(Exit::Ok);
    }
    if !lines.is_empty() {
        output::table(output, &chosen, &lines)?;
    }
    let things = if found == 1 { "object" } else { "objects" };
    let done = match (args.remove, found) {
        (_, 0) => "nothing is left over".to_string(),
        (true, _) => format!("removed {found} {things}, {} of memory", output.size(bytes)),
        (false, _) => format!("{found} {things}, {} of memory; --remove removes them", output.size(bytes)),
    };
    if let Some(why) = left_over.unlisted {
        output::tell(format_args!("shmkit: {}\n", view::unlisted(why)));
    }
    output::tell(format_args!("shmkit: {done}\n"));
    Ok(Exit::Ok)
}

/// In what way the library proved it.
fn why_left_over(object: &Object) -> String {
    let proof = match (object.kind, object.content) {
        (Kind::Semset, _) => "semaphores of a region whose segment is gone",
        (_, Content::Leftover) => "begun by a creator that died before it was done",
        (Kind::Sysv, _) if object.header.is_none() => "begun by a creator that died before it was done",
        (Kind::Sysv, _) => "not attached",
        _ => "no lease is held",
    };
    match object.creator {
        crate::objects::Creator::Process { pid, alive } => {
            format!(
                "{proof}; creator {pid} {}",
                match alive {
                    Answer::Yes => "lives, and closed it",
                    Answer::No => "is dead",
                    Answer::Unknown => "cannot be looked at",
                }
            )
        }
        crate::objects::Creator::Unknown(_) => proof.to_string(),
    }
}

/// Who has what is left over but for them.
fn why_mapped(object: &Object) -> String {
    const NAMED: usize = 3;
    let named = |uses: &[&Use]| {
        let pids: Vec<_> = uses.iter().take(NAMED).map(|one| one.pid.to_string()).collect();
        let more = uses.len() - pids.len();
        format!("{}{}", pids.join(", "), if more > 0 { format!(" and {more} more") } else { String::new() })
    };
    let (mapped, open): (Vec<&Use>, Vec<&Use>) = object.uses.iter().partition(|one| one.mappings > 0);
    let how = match (mapped.is_empty(), open.is_empty()) {
        (false, true) => format!("mapped by {}", named(&mapped)),
        (true, _) => format!("open in {}", named(&open)),
        (false, false) => format!("mapped by {}, open in {}", named(&mapped), named(&open)),
    };
    format!("{how}, without a lease; shmkit rm --force removes it")
}

/// Another user's stays, unless root asks.
fn may_remove(object: &Object) -> bool {
    let user = shmkit::sys::process::effective_user();
    user == 0 || object.uid.known() == Some(user)
}

fn why_left_alone(object: &Object) -> String {
    if let Some((_, doubt)) = &object.doubt
        && object.state == State::Orphan
    {
        return format!("its header is not believed, so a person must decide: {doubt}");
    }
    match object.state {
        State::Orphan | State::Unknown if object.kind == Kind::File => "a file outlives its users".to_string(),
        State::Live => format!("in use: {}", object.why),
        State::Initialising => object.why.clone(),
        State::Poisoned => format!("not believed, so a person must decide: {}", object.why),
        State::Orphan if object.is_persistent() => "nobody uses it, and it was created as persistent".to_string(),
        State::Orphan if !may_remove(object) => {
            format!("nobody uses it, and it belongs to {}", view::owner_text(object.uid))
        }
        _ => object.why.clone(),
    }
}
