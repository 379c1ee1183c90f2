//! Looks as plain text or JSON, for whoever has no terminal. Next: `looks.rs`, `columns.rs`.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::exit::{Done, Exit, Failure};
use crate::machine::Fact;
use crate::output::{self, Output};
use crate::view::{self, ObjectJson};

use super::Args;
use super::columns::{self, Column};
use super::looks::Look;
use super::marks::Item;

#[derive(Serialize)]
struct ItemJson {
    new: bool,
    gone: bool,
    size_before: Option<u64>,
    users_before: Option<u64>,
    state_before: Option<&'static str>,
    object: ObjectJson,
}

#[derive(Serialize)]
struct LookJson {
    look: u64,
    shm_size: Option<u64>,
    shm_used: Option<u64>,
    shm_why: Option<String>,
    segments: Option<u64>,
    segments_why: Option<String>,
    shmmni: Option<u64>,
    shmmni_why: Option<String>,
    shmem: Option<u64>,
    shmem_why: Option<String>,
    orphans: u64,
    orphan_bytes: u64,
    processes_unseen: usize,
    processes_hidden: bool,
    objects: Vec<ItemJson>,
}

/// A row, with the look that it is of.
struct Seen<'a> {
    item: &'a Item,
    look: &'a Look,
}

const fn column<'a>(column: Column, text: fn(&Seen<'a>, &Output) -> String) -> output::Column<Seen<'a>> {
    output::Column { name: column.name(), align: column.align(), default: true, text }
}

fn table<'a>() -> [output::Column<Seen<'a>>; 8] {
    fn text(column: Column, seen: &Seen<'_>, output: &Output) -> String {
        columns::cell(column, seen.item, seen.look, true, usize::MAX, output)
    }
    [
        column(Column::State, |seen, output| text(Column::State, seen, output)),
        column(Column::Size, |seen, output| text(Column::Size, seen, output)),
        column(Column::Reserved, |seen, output| text(Column::Reserved, seen, output)),
        column(Column::Users, |seen, output| text(Column::Users, seen, output)),
        column(Column::Owner, |seen, output| text(Column::Owner, seen, output)),
        column(Column::Age, |seen, output| text(Column::Age, seen, output)),
        column(Column::Change, |seen, output| match text(Column::Change, seen, output) {
            none if none.is_empty() => "-".to_string(),
            change => change,
        }),
        column(Column::Address, |seen, output| text(Column::Address, seen, output)),
    ]
}

pub fn run(args: &Args, count: u64, delay: Duration, output: &Output) -> Done {
    let mut look: Option<Look> = None;
    for number in 0..count {
        let next = Instant::now() + delay;
        let now = Look::now(look.as_ref())?;
        let mut rows: Vec<usize> =
            (0..now.items.len()).filter(|at| now.items[*at].is_wanted(args.all, &args.kind, &args.state)).collect();
        args.sorting().sort(&mut rows, &now);
        if output.json {
            output.json("top", &json(&now, &rows))?;
        } else {
            print(&now, &rows, number > 0, output)?;
        }
        look = Some(now);
        if number + 1 < count {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    Ok(Exit::Ok)
}

fn print(look: &Look, rows: &[usize], between: bool, output: &Output) -> Result<(), Failure> {
    let figures = &look.figures;
    let text = |fact: &Fact<u64>| fact.as_ref().map_or_else(|why| view::unknown(why), u64::to_string);
    let room = figures.room.as_ref().map_or_else(
        |why| view::unknown(why),
        |room| format!("{} of {} used", output.size(room.bytes.saturating_sub(room.free)), output.size(room.bytes)),
    );
    let shared = figures.shared.as_ref().map_or_else(|why| view::unknown(why), |bytes| output.size(*bytes));
    let (segments, shmmni) = (text(&figures.segments), text(&figures.shmmni));
    let head = format!(
        "/dev/shm {room}, {segments} of {shmmni} segments, Shmem {shared}, {} orphans ({})\n",
        figures.orphans,
        output.size(figures.orphan_bytes),
    );
    if output.headings {
        output.print(&format!("{}{head}", if between { "\n" } else { "" }))?;
    }
    let seen: Vec<Seen<'_>> = rows.iter().map(|at| Seen { item: &look.items[*at], look }).collect();
    let columns = table();
    output::table(output, &columns.iter().collect::<Vec<_>>(), &seen)?;
    if let Some(line) = view::partial(&look.objects) {
        output::tell(format_args!("shmkit: {line}\n"));
    }
    Ok(())
}

fn json(look: &Look, rows: &[usize]) -> LookJson {
    let figures = &look.figures;
    let room = figures.room.as_ref().ok();
    let why = |fact: &Fact<u64>| fact.as_ref().err().cloned();
    let item = |at: &usize| {
        let Item { object, marks, .. } = &look.items[*at];
        ItemJson {
            new: marks.new.is_some(),
            gone: marks.gone.is_some(),
            size_before: marks.size.map(|mark| mark.0),
            users_before: marks.users.map(|mark| mark.0),
            state_before: marks.state.map(|mark| mark.0.name()),
            object: ObjectJson::new(object, &look.objects),
        }
    };
    LookJson {
        look: look.number,
        shm_size: room.map(|room| room.bytes),
        shm_used: room.map(|room| room.bytes.saturating_sub(room.free)),
        shm_why: figures.room.as_ref().err().cloned(),
        segments: figures.segments.as_ref().ok().copied(),
        segments_why: why(&figures.segments),
        shmmni: figures.shmmni.as_ref().ok().copied(),
        shmmni_why: why(&figures.shmmni),
        shmem: figures.shared.as_ref().ok().copied(),
        shmem_why: why(&figures.shared),
        orphans: figures.orphans,
        orphan_bytes: figures.orphan_bytes,
        processes_unseen: look.objects.unseen,
        processes_hidden: look.objects.hidden.is_some(),
        objects: rows.iter().map(item).collect(),
    }
}
