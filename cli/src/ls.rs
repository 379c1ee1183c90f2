//! `shmkit ls`: the list of all objects. Next: `gather.rs`, which finds them, `view.rs`, which has the columns.

use serde::Serialize;

use crate::exit::{Done, Exit};
use crate::gather;
use crate::objects::{Kind, Object, State};
use crate::output::{self, Output};
use crate::view::{self, ObjectJson};

/// List shared memory objects and semaphores of every kind
///
/// USERS counts leases of a region, attaches of a System V segment, processes that have another object mapped or open;
/// a "+" says that there may be more, which this user may not look at. CREATOR says whether the process that made it
/// lives. AGE is counted from the creation or, where the kind of memory keeps no such time, from the last change.
#[derive(clap::Args)]
pub struct Args {
    /// Also what is left out otherwise: objects whose name is gone or in another mount namespace, files that are mapped
    /// for reading only, the semaphores of regions
    #[arg(short, long)]
    all: bool,
    /// Only these kinds
    #[arg(short, long, value_delimiter = ',', value_name = "KIND")]
    kind: Vec<Kind>,
    /// Only these states
    #[arg(short, long, value_delimiter = ',', value_name = "STATE")]
    state: Vec<State>,
    /// Columns, separated by commas; + before the first adds to the usual ones
    ///
    /// Columns are kind, state, size, reserved, owner, uid, group, mode, users, creator, creator-pid, age, id, content,
    /// layout, processes, address and why.
    #[arg(short = 'o', long, value_name = "COLUMNS")]
    columns: Option<String>,
}

/// Whether a list shows an object: with `-a` or without, of these kinds and states (empty: of all).
pub fn wants(object: &Object, all: bool, kinds: &[Kind], states: &[State]) -> bool {
    let asked = states.contains(&object.state);
    let part = object.is_part_of_region() && !kinds.contains(&Kind::Semset);
    let usual = !(object.unlinked || object.elsewhere || object.is_only_read() || part);
    (usual || all || asked) && (kinds.is_empty() || kinds.contains(&object.kind)) && (states.is_empty() || asked)
}

#[derive(Serialize)]
struct List {
    objects: Vec<ObjectJson>,
    processes_unseen: usize,
    processes_hidden: bool,
    /// Why POSIX objects are missing; null when they were listed.
    posix_why: Option<&'static str>,
}

pub fn run(args: &Args, output: &Output) -> Done {
    let columns = view::columns();
    let chosen = output::choose(&columns, args.columns.as_deref())?;
    let objects = gather::everything()?;
    let wanted: Vec<&Object> =
        objects.all.iter().filter(|object| wants(object, args.all, &args.kind, &args.state)).collect();
    if output.json {
        let list = List {
            objects: wanted.iter().map(|object| ObjectJson::new(object, &objects)).collect(),
            processes_unseen: objects.unseen,
            processes_hidden: objects.hidden.is_some(),
            posix_why: objects.unlisted,
        };
        output.json("ls", &list)?;
        return Ok(Exit::Ok);
    }
    output::table(output, &chosen, &view::rows(&objects, &wanted))?;
    let posix = args.kind.is_empty() || args.kind.iter().any(|kind| matches!(kind, Kind::Posix | Kind::Sem));
    if let Some(why) = objects.unlisted.filter(|_| posix) {
        output::tell(format_args!("shmkit: {}\n", view::unlisted(why)));
    }
    if let Some(line) = view::partial(&objects) {
        output::tell(format_args!("shmkit: {line}\n"));
    }
    Ok(Exit::Ok)
}
