//! What lies at the beginning of an object's data, if it is a ring, queue, broadcast or cell: read by a copy, judged by the
//! library. Next: `show.rs`, which prints it.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::discriminant;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use serde::Serialize;
use shmkit::containers::look::{HEAD, Seen, at_head};
use shmkit::containers::queue::{Delivery, Overflow};
use shmkit::containers::role::Judged;
use shmkit::region::survey::Content;

use crate::objects::Object;
use crate::output::Output;
use crate::who::Participant;

/// Who has an end.
#[derive(Serialize)]
pub struct End {
    /// Its id in its own pid namespace.
    pid: u32,
    /// Null when it cannot be told.
    alive: Option<bool>,
}

/// A member: by the number of its lease.
#[derive(Serialize)]
pub struct Member {
    lease: u32,
    pid: u32,
    /// Whether the process has the region open now; null when it cannot be told.
    present: Option<bool>,
}

/// One of the four.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Container {
    Ring {
        capacity: u64,
        used: u64,
        written: u64,
        read: u64,
        depth: u64,
        refused: u64,
        closed: bool,
        producer: Option<End>,
        consumer: Option<End>,
    },
    Queue {
        messages: u64,
        message_size: u64,
        depth: u64,
        sent: u64,
        taken: u64,
        dropped: u64,
        lost: u64,
        again: u64,
        overflow: &'static str,
        delivery: &'static str,
        closed: bool,
        members: Vec<Member>,
    },
    Broadcast {
        messages: u64,
        message_size: u64,
        written: u64,
        lost: u64,
        closed: bool,
        members: Vec<Member>,
    },
    Cell {
        value_size: u64,
        version: u64,
        writer: Option<End>,
    },
}

impl Container {
    /// The line that tells what was counted.
    pub fn counted(&self) -> &'static str {
        if matches!(self, Container::Cell { .. }) { "cell" } else { "traffic" }
    }

    /// What only grows while it is used.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        match self {
            Container::Ring { written, read, refused, .. } => {
                vec![("written", *written), ("read", *read), ("refused", *refused)]
            }
            Container::Queue { sent, taken, dropped, lost, .. } => {
                vec![("sent", *sent), ("taken", *taken), ("dropped", *dropped), ("lost", *lost)]
            }
            Container::Broadcast { written, lost, .. } => vec![("written", *written), ("lost", *lost)],
            Container::Cell { version, .. } => vec![("written", *version)],
        }
    }
}

/// How fast it goes, between two looks.
#[derive(Serialize)]
pub struct Rates {
    over_seconds: f64,
    /// By the names of the counters.
    per_second: BTreeMap<&'static str, f64>,
}

/// The rates between two looks at the same place. The error is why there are none.
pub fn rates(before: &Container, after: &Container, over: Duration) -> Result<Rates, String> {
    let anew = || "it was initialised anew meanwhile".to_string();
    if discriminant(before) != discriminant(after) {
        return Err(anew());
    }
    let over_seconds = over.as_secs_f64().max(1e-9);
    let both = before.counters().into_iter().zip(after.counters());
    let rate = |((name, before), (_, after)): ((_, u64), (_, u64))| {
        let more = after.checked_sub(before).ok_or_else(anew)?;
        Ok((name, more as f64 / over_seconds))
    };
    Ok(Rates { over_seconds, per_second: both.map(rate).collect::<Result<_, String>>()? })
}

/// The rates as a line of text, in the order of the line of what was counted.
pub fn rates_text(container: &Container, rates: &Rates) -> String {
    let one = |(name, _)| format!("{} {name}", count_text(rates.per_second[name]));
    let all: Vec<_> = container.counters().into_iter().map(one).collect();
    format!("{} a second, over {:.2} s", all.join(", "), rates.over_seconds)
}

fn count_text(count: f64) -> String {
    match count {
        ..9999.5 => format!("{count:.0}"),
        ..999_950.0 => format!("{:.1}k", count / 1e3),
        _ => format!("{:.1}M", count / 1e6),
    }
}

fn end(judged: Judged) -> Option<End> {
    match judged {
        Judged::Free => None,
        Judged::Alive(pid) => Some(End { pid, alive: Some(true) }),
        Judged::Dead(pid) => Some(End { pid, alive: Some(false) }),
        Judged::Unknown(pid) => Some(End { pid, alive: None }),
    }
}

/// What a lease proves of the processes that were members last.
fn members(all: &[(u32, u32)], leases: Option<&[Participant]>) -> Vec<Member> {
    let present = |pid: u32| {
        let leases = leases?;
        let mine: Vec<_> = leases.iter().filter(|one| one.pid == Some(pid)).collect();
        match mine.iter().any(|one| one.live) {
            true => Some(true),
            // A lease without a record may be anybody's.
            false if mine.is_empty() && leases.iter().all(|one| one.pid.is_some()) => Some(false),
            false => None,
        }
    };
    all.iter().map(|(lease, pid)| Member { lease: *lease, pid: *pid, present: present(*pid) }).collect()
}

/// Where the data of an object begins, and how long it is. The error is why it is not looked at.
pub fn data_of(object: &Object, file: &File) -> Result<(u64, u64), String> {
    match (&object.header, object.content) {
        (Some(header), _) => Ok((header.data_offset, header.size)),
        (None, Content::Foreign) => Ok((0, file.metadata().map_err(|error| error.to_string())?.len())),
        (None, _) => Err("its data was not looked at".to_string()),
    }
}

/// Looks at the data of an object. The error is why nothing is shown.
pub fn look(object: &Object, file: &File, leases: Option<&[Participant]>) -> Result<Container, String> {
    let (begin, length) = data_of(object, file)?;
    let mut head = [0; HEAD];
    let room = length.min(HEAD as u64) as usize;
    let mut done = 0;
    while done < room {
        match file.read_at(&mut head[done..room], begin + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) => return Err(error.to_string()),
        }
    }
    let Some(seen) = at_head(&head, length) else {
        return Err("its data begins with no ring, queue, broadcast or cell".to_string());
    };
    Ok(match seen {
        Seen::Ring { capacity, counts, producer, consumer } => Container::Ring {
            capacity,
            used: counts.used,
            written: counts.written,
            read: counts.read,
            depth: counts.written.saturating_sub(counts.read),
            refused: counts.refused,
            closed: counts.closed,
            producer: end(producer),
            consumer: end(consumer),
        },
        Seen::Queue { shape, counts, members: all } => Container::Queue {
            messages: shape.cells,
            message_size: shape.longest(),
            depth: counts.depth,
            sent: counts.sent,
            taken: counts.taken,
            dropped: counts.dropped,
            lost: counts.lost,
            again: counts.again,
            overflow: match shape.overflow {
                Overflow::Block => "block",
                Overflow::Refuse => "refuse",
                Overflow::Drop => "drop",
            },
            delivery: match shape.delivery {
                Delivery::Again => "at_least_once",
                Delivery::Once => "at_most_once",
            },
            closed: counts.closed,
            members: members(&all, leases),
        },
        Seen::Broadcast { shape, written, lost, closed, members: all } => Container::Broadcast {
            messages: shape.cells,
            message_size: shape.longest(),
            written,
            lost,
            closed,
            members: members(&all, leases),
        },
        Seen::Cell { longest, version, writer } => {
            Container::Cell { value_size: longest, version, writer: end(writer) }
        }
        Seen::Corrupt(kind) => return Err(format!("it has the stamp of a {kind}, and what follows cannot be")),
    })
}

fn end_text(end: &Option<End>) -> String {
    match end {
        None => "nobody".to_string(),
        Some(End { pid, alive: Some(true) }) => format!("{pid} (alive)"),
        Some(End { pid, alive: Some(false) }) => format!("{pid} (dead)"),
        Some(End { pid, alive: None }) => format!("{pid} (unknown whether it lives)"),
    }
}

fn members_text(all: &[Member]) -> String {
    let one = |member: &Member| match member.present {
        Some(true) => member.pid.to_string(),
        Some(false) => format!("{} (gone)", member.pid),
        None => format!("{} (perhaps)", member.pid),
    };
    if all.is_empty() { "none yet".to_string() } else { all.iter().map(one).collect::<Vec<_>>().join(", ") }
}

fn closed_text(closed: bool) -> &'static str {
    if closed { ", closed" } else { "" }
}

/// Lines of text: a name, and what it is.
pub fn lines(container: &Container, output: &Output) -> Vec<(&'static str, String)> {
    match container {
        Container::Ring { capacity, used, written, read, depth, refused, closed, producer, consumer } => vec![
            (
                "ring",
                format!(
                    "{depth} messages in {} of {}{}",
                    output.size(*used),
                    output.size(*capacity),
                    closed_text(*closed)
                ),
            ),
            ("traffic", format!("{written} written, {read} read, {refused} refused for want of room")),
            ("producer", end_text(producer)),
            ("consumer", end_text(consumer)),
        ],
        Container::Queue {
            messages,
            message_size,
            depth,
            sent,
            taken,
            dropped,
            lost,
            again,
            overflow,
            delivery,
            closed,
            members,
        } => vec![
            (
                "queue",
                format!(
                    "{depth} of {messages} messages of up to {}, {overflow}, {}{}",
                    output.size(*message_size),
                    delivery.replace('_', " "),
                    closed_text(*closed)
                ),
            ),
            ("traffic", format!("{sent} sent, {taken} taken, {dropped} dropped, {lost} lost, {again} given again")),
            ("members", members_text(members)),
        ],
        Container::Broadcast { messages, message_size, written, lost, closed, members } => vec![
            (
                "broadcast",
                format!("the last {messages} messages of up to {}{}", output.size(*message_size), closed_text(*closed)),
            ),
            ("traffic", format!("{written} written, {lost} lost")),
            ("members", members_text(members)),
        ],
        Container::Cell { value_size, version, writer } => vec![
            ("cell", format!("value {version}, of up to {}", output.size(*value_size))),
            ("writer", end_text(writer)),
        ],
    }
}
