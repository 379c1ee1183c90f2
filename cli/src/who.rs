//! `shmkit who`: the processes that have an object; the objects that a process has. Next: `gather.rs`, `objects.rs`.

use std::ffi::OsString;

use serde::Serialize;
use shmkit::region::header::Process;
use shmkit::region::survey;

use crate::exit::{Done, Exit, Failure};
use crate::gather;
use crate::objects::{Fact, Object, Objects};
use crate::output::{self, Align, Column, Output, UNKNOWN};
use crate::printable;
use crate::proc::{self, Use};
use crate::users;
use crate::view::{self, ObjectJson, ProcessJson};

/// Show who has an object, or what a process has
///
/// LEASE says whether a process holds a lease on a region; only the library's own users do.
#[derive(clap::Args)]
pub struct Args {
    /// An address, as shmkit ls prints it, or the id of a process
    #[arg(value_name = "ADDRESS|PID")]
    subject: OsString,
    /// Columns, separated by commas; + before the first adds to the usual ones
    ///
    /// Of an object columns are pid, owner, access, mapped, fds, lease, command and id; of a process state, size, access,
    /// mapped, address, kind, fds, id and why.
    #[arg(short = 'o', long, value_name = "COLUMNS")]
    columns: Option<String>,
}

/// One participant of a region, as its lease and the record beside it tell.
#[derive(Clone, Copy, Serialize)]
pub struct Participant {
    /// Null when the lease has no record that can be believed.
    pub pid: Option<u32>,
    pub uid: Option<u32>,
    /// Whether it is proved to be there now.
    pub live: bool,
    pub read_only: bool,
}

/// The leases of a region, whoever holds them; why they cannot be told otherwise.
pub fn participants(object: &Object) -> Result<Vec<Participant>, String> {
    let mut all = Vec::new();
    let seen = survey::participants_at(&object.address, &mut |one| {
        let known = one.process != Process::default();
        all.push(Participant {
            pid: known.then_some(one.process.pid),
            uid: known.then_some(one.process.uid),
            live: one.live,
            read_only: one.read_only,
        });
        true
    });
    match seen {
        Ok(()) => Ok(all),
        Err(failure) => Err(crate::refusal::cause(&failure, &object.address)),
    }
}

/// Whether an object is a region of which leases can be asked.
pub fn has_leases(object: &Object) -> bool {
    object.is_named() && object.content == survey::Content::Region
}

/// One process beside one object.
pub struct Row<'a> {
    object: &'a Object,
    /// What /proc shows of it.
    one: Option<&'a Use>,
    pid: Option<u32>,
    command: Option<String>,
    uid: Option<u32>,
    lease: Option<bool>,
}

/// The processes that have an object: those that /proc shows, and those that only a lease shows.
pub fn rows_of<'a>(object: &'a Object, objects: &'a Objects) -> Vec<Row<'a>> {
    let leases = if has_leases(object) { participants(object).ok() } else { None };
    let mut rest = leases.clone().unwrap_or_default();
    let mut rows: Vec<Row<'a>> = Vec::new();
    for one in &object.uses {
        let held = rest.iter().position(|participant| participant.pid == Some(one.pid));
        // A process may hold several.
        rest.retain(|participant| participant.pid != Some(one.pid));
        rows.push(Row {
            object,
            one: Some(one),
            pid: Some(one.pid),
            command: Some(objects.command(one.pid).to_string()),
            uid: objects.processes.get(&one.pid).and_then(|named| named.uid),
            lease: leases.as_ref().map(|_| held.is_some()),
        });
    }
    for participant in rest {
        let command = participant.pid.and_then(proc::command);
        let uid = participant.uid;
        rows.push(Row { object, one: None, pid: participant.pid, command, uid, lease: Some(true) });
    }
    rows
}

fn access(one: &Use) -> &'static str {
    match (one.mappings, one.writable, one.shared) {
        (0, _, _) => "open",
        (_, true, true) => "write",
        (_, true, false) => "private",
        (_, false, _) => "read",
    }
}

fn descriptors(one: &Use) -> String {
    match one.descriptors.is_empty() {
        true => "-".to_string(),
        false => one.descriptors.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
    }
}

/// The columns of processes beside an object.
pub fn columns<'a>() -> Vec<Column<Row<'a>>> {
    const SEEN: &str = "no permission";
    vec![
        Column {
            name: "pid",
            align: Align::Right,
            default: true,
            text: |row, _| row.pid.map_or(UNKNOWN.to_string(), |pid| pid.to_string()),
        },
        Column {
            name: "owner",
            align: Align::Left,
            default: true,
            text: |row, _| row.uid.map_or(UNKNOWN.to_string(), users::user_text),
        },
        Column {
            name: "access",
            align: Align::Left,
            default: true,
            text: |row, _| row.one.map_or_else(|| view::unknown(SEEN), |one| access(one).to_string()),
        },
        Column {
            name: "mapped",
            align: Align::Right,
            default: true,
            text: |row, output| row.one.map_or(UNKNOWN.to_string(), |one| output.size(one.mapped)),
        },
        Column {
            name: "fds",
            align: Align::Left,
            default: true,
            text: |row, _| match row.one {
                None => UNKNOWN.to_string(),
                Some(one) => descriptors(one),
            },
        },
        Column {
            name: "lease",
            align: Align::Left,
            default: true,
            text: |row, _| match row.lease {
                None => "-".to_string(),
                Some(true) => "yes".to_string(),
                Some(false) => "no".to_string(),
            },
        },
        Column {
            name: "command",
            align: Align::Left,
            default: true,
            text: |row, _| row.command.clone().unwrap_or_else(|| UNKNOWN.to_string()),
        },
        Column {
            name: "id",
            align: Align::Right,
            default: false,
            text: |row, _| view::identity_text(row.object.identity),
        },
    ]
}

pub fn run(args: &Args, output: &Output) -> Done {
    let subject =
        args.subject.to_str().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    match subject {
        Some(digits) => {
            let pid = digits.parse().map_err(|_| no_process(digits))?;
            of_process(pid, args, output)
        }
        None => of_object(args, output),
    }
}

fn no_process(pid: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no process {pid}"), "")
}

#[derive(Serialize)]
struct ObjectUsers {
    object: ObjectJson,
    /// Null when it is no region, or its leases cannot be looked at.
    participants: Option<Vec<Participant>>,
    participants_why: Option<String>,
}

fn of_object(args: &Args, output: &Output) -> Done {
    output::choose(&columns(), args.columns.as_deref())?;
    let objects = gather::everything_and(std::slice::from_ref(&args.subject))?;
    let found = gather::select(&objects, &args.subject)?;
    if output.json {
        #[derive(Serialize)]
        struct All {
            objects: Vec<ObjectUsers>,
            processes_unseen: usize,
            processes_hidden: bool,
        }
        let one = |object: &Object| {
            let (participants, participants_why) = match has_leases(object) {
                false => (None, Some("it has no leases".to_string())),
                true => match participants(object) {
                    Ok(all) => (Some(all), None),
                    Err(why) => (None, Some(why)),
                },
            };
            ObjectUsers { object: ObjectJson::new(object, &objects), participants, participants_why }
        };
        let all = All {
            objects: found.iter().map(one).collect(),
            processes_unseen: objects.unseen,
            processes_hidden: objects.hidden.is_some(),
        };
        output.json("who", &all)?;
        return Ok(Exit::Ok);
    }
    let columns = columns();
    let several = found.len() > 1;
    let names = args.columns.as_deref().or(several.then_some("+id"));
    let rows: Vec<_> = found.iter().flat_map(|object| rows_of(object, &objects)).collect();
    if rows.is_empty() {
        output::tell(format_args!("shmkit: nobody is seen to have {}\n", printable::text(&found[0].address)));
    } else {
        output::table(output, &output::choose(&columns, names)?, &rows)?;
    }
    // The kernel counts attaches of processes that /proc does not show here, too.
    for object in &found {
        let attached: u64 = object.uses.iter().map(|one| u64::from(one.mappings)).sum();
        if let (crate::objects::Kind::Sysv, Fact::Known(users)) = (object.kind, object.users().0)
            && users > attached
        {
            output::tell(format_args!(
                "shmkit: {} of its {users} attaches cannot be seen from here\n",
                users - attached
            ));
        }
    }
    if let Some(line) = view::partial(&objects) {
        output::tell(format_args!("shmkit: {line}\n"));
    }
    Ok(Exit::Ok)
}

/// One object beside the process that has it.
struct Held<'a> {
    object: &'a Object,
    one: &'a Use,
}

/// The columns of objects beside a process.
fn held_columns<'a>() -> Vec<Column<Held<'a>>> {
    vec![
        Column {
            name: "state",
            align: Align::Left,
            default: true,
            text: |held, _| held.object.state.name().to_string(),
        },
        Column {
            name: "size",
            align: Align::Right,
            default: true,
            text: |held, output| view::size_text(held.object, output),
        },
        Column { name: "access", align: Align::Left, default: true, text: |held, _| access(held.one).to_string() },
        Column {
            name: "mapped",
            align: Align::Right,
            default: true,
            text: |held, output| output.size(held.one.mapped),
        },
        Column {
            name: "address",
            align: Align::Left,
            default: true,
            text: |held, _| printable::text(&held.object.address),
        },
        Column {
            name: "kind",
            align: Align::Left,
            default: false,
            text: |held, _| held.object.kind.name().to_string(),
        },
        Column { name: "fds", align: Align::Left, default: false, text: |held, _| descriptors(held.one) },
        Column {
            name: "id",
            align: Align::Right,
            default: false,
            text: |held, _| view::identity_text(held.object.identity),
        },
        Column { name: "why", align: Align::Left, default: false, text: |held, _| held.object.why.clone() },
    ]
}

fn of_process(pid: u32, args: &Args, output: &Output) -> Done {
    let columns = held_columns();
    let chosen = output::choose(&columns, args.columns.as_deref())?;
    let command = proc::command(pid).ok_or_else(|| no_process(pid))?;
    if let Err(error) = proc::mappings(pid, |_, _| ()) {
        return Err(match error.kind() {
            std::io::ErrorKind::PermissionDenied => Failure::new(
                Exit::NotPermitted,
                format!("process {pid} ({command}) may not be looked at by this user"),
                "ask as its owner or as root",
            ),
            _ => no_process(pid),
        });
    }
    let objects = gather::everything()?;
    let held: Vec<Held<'_>> = objects
        .all
        .iter()
        .filter_map(|object| Some(Held { object, one: object.uses.iter().find(|one| one.pid == pid)? }))
        .collect();
    if output.json {
        #[derive(Serialize)]
        struct HeldJson {
            object: ObjectJson,
            r#use: ProcessJson,
        }
        #[derive(Serialize)]
        struct All {
            pid: u32,
            command: String,
            objects: Vec<HeldJson>,
        }
        let one = |held: &Held<'_>| HeldJson {
            object: ObjectJson::new(held.object, &objects),
            r#use: ProcessJson::new(held.one, &objects),
        };
        output.json("who-process", &All { pid, command, objects: held.iter().map(one).collect() })?;
        return Ok(Exit::Ok);
    }
    if held.is_empty() {
        output::tell(format_args!("shmkit: process {pid} ({command}) has no shared memory\n"));
        return Ok(Exit::Ok);
    }
    output::table(output, &chosen, &held)?;
    Ok(Exit::Ok)
}
