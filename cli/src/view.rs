//! Objects as rows: the columns of text and the fields of JSON, which every command that shows objects shares.
//! Never asks the system for anything but the time. Next: `output.rs`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use shmkit::region::header::Layout;
use shmkit::region::survey::{Answer, Content};

use crate::objects::{Creator, Fact, Identity, Kind, Object, Objects, Time};
use crate::output::{Align, Column, Output, UNKNOWN};
use crate::printable;
use crate::proc::{Hidden, Use};
use crate::users;

/// One object, and what is known beside it.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub object: &'a Object,
    pub objects: &'a Objects,
    pub now_ns: u64,
}

pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

pub fn rows<'a>(objects: &'a Objects, chosen: &[&'a Object]) -> Vec<Row<'a>> {
    let now_ns = now_ns();
    chosen.iter().map(|object| Row { object, objects, now_ns }).collect()
}

pub fn unknown(why: &str) -> String {
    format!("{UNKNOWN} ({why})")
}

fn fact<T: Copy>(fact: Fact<T>, text: impl Fn(T) -> String) -> String {
    match fact {
        Fact::Known(value) => text(value),
        Fact::Unknown(why) => unknown(why),
    }
}

/// A span of time in one number and a unit.
pub fn age(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

pub fn age_of(time: Time, now_ns: u64) -> String {
    match time {
        Time::Created(at) | Time::Changed(at) => age(now_ns.saturating_sub(at)),
        Time::Unknown(why) => unknown(why),
    }
}

pub fn alive(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "alive",
        Answer::No => "dead",
        Answer::Unknown => UNKNOWN,
    }
}

/// Whether who made it lives: one word for a column.
pub fn creator_word(object: &Object) -> String {
    match object.creator {
        Creator::Process { alive: answer, .. } => alive(answer).to_string(),
        Creator::Unknown(_) => UNKNOWN.to_string(),
    }
}

pub fn creator_text(creator: Creator) -> String {
    match creator {
        Creator::Process { pid, alive: answer } => format!("{pid} ({})", alive(answer)),
        Creator::Unknown(why) => unknown(why),
    }
}

pub fn size_text(object: &Object, output: &Output) -> String {
    match object.semaphores {
        Some(count) => format!("{count} sems"),
        None => fact(object.size, |size| output.size(size)),
    }
}

pub fn reserved_text(object: &Object, output: &Output) -> String {
    match object.semaphores {
        Some(_) => "-".to_string(),
        None => fact(object.reserved, |size| output.size(size)),
    }
}

pub fn users_text(object: &Object) -> String {
    if object.kind == Kind::Semset {
        return "-".to_string();
    }
    let (count, more) = object.users();
    fact(count, |count| format!("{count}{}", if more { "+" } else { "" }))
}

pub fn mode_text(mode: Fact<u32>) -> String {
    fact(mode, |mode| format!("{mode:04o}"))
}

pub fn owner_text(uid: Fact<u32>) -> String {
    fact(uid, users::user_text)
}

pub fn group_text(gid: Fact<u32>) -> String {
    fact(gid, users::group_text)
}

pub fn content_text(object: &Object) -> &'static str {
    match object.content {
        Content::Foreign => "foreign",
        Content::Region => "region",
        Content::Leftover => "leftover",
        Content::Unknown => UNKNOWN,
    }
}

/// The name of the type that a region holds.
pub fn layout_name(object: &Object) -> Option<String> {
    let layout = object.header?.layout;
    let end = layout.name.iter().position(|byte| *byte == 0).unwrap_or(layout.name.len());
    (end > 0).then(|| printable::text(&layout.name[..end]))
}

/// One word for a type: two regions have the same one when their types agree in name, version, size and alignment, which
/// is what the library compares. FNV-1a of these, each number as little-endian bytes.
pub fn fingerprint(layout: &Layout) -> Option<String> {
    if layout.is_any() {
        return None;
    }
    let (version, size) = (layout.version.to_le_bytes(), layout.size.to_le_bytes());
    let bytes = [&layout.name[..], &version, &size, &layout.alignment.to_le_bytes()].concat();
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    Some(format!("{:016x}", bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, hash)))
}

fn layout_text(object: &Object) -> String {
    match (layout_name(object), object.header) {
        (Some(name), Some(header)) => format!("{name}/{}", header.layout.version),
        (None, Some(_)) => "unnamed".to_string(),
        _ => "-".to_string(),
    }
}

pub fn processes_text(row: &Row<'_>) -> String {
    let shown: Vec<_> =
        row.object.uses.iter().map(|one| format!("{}/{}", one.pid, row.objects.command(one.pid))).collect();
    match (shown.is_empty(), row.object.uses_partial) {
        (true, Some(why)) => unknown(why),
        (true, None) => "-".to_string(),
        (false, more) => format!("{}{}", shown.join(","), if more.is_some() { ",+" } else { "" }),
    }
}

const fn column<'a>(
    name: &'static str,
    align: Align,
    default: bool,
    text: fn(&Row<'a>, &Output) -> String,
) -> Column<Row<'a>> {
    Column { name, align, default, text }
}

/// All columns of a list of objects.
pub fn columns<'a>() -> Vec<Column<Row<'a>>> {
    use Align::{Left, Right};
    vec![
        column("kind", Left, false, |row, _| row.object.kind.name().to_string()),
        column("state", Left, true, |row, _| row.object.state.name().to_string()),
        column("size", Right, true, |row, output| size_text(row.object, output)),
        column("reserved", Right, true, |row, output| reserved_text(row.object, output)),
        column("owner", Left, true, |row, _| owner_text(row.object.uid)),
        column("uid", Right, false, |row, _| fact(row.object.uid, |uid| uid.to_string())),
        column("group", Left, false, |row, _| group_text(row.object.gid)),
        column("mode", Left, true, |row, _| mode_text(row.object.mode)),
        column("users", Right, true, |row, _| users_text(row.object)),
        column("creator", Left, true, |row, _| creator_word(row.object)),
        column("creator-pid", Right, false, |row, _| match row.object.creator {
            Creator::Process { pid, .. } => pid.to_string(),
            Creator::Unknown(why) => unknown(why),
        }),
        column("age", Right, true, |row, _| age_of(row.object.time, row.now_ns)),
        column("id", Right, false, |row, _| identity_text(row.object.identity)),
        column("content", Left, false, |row, _| content_text(row.object).to_string()),
        column("layout", Left, false, |row, _| layout_text(row.object)),
        column("processes", Left, false, |row, _| processes_text(row)),
        column("address", Left, true, |row, _| printable::text(&row.object.address)),
        column("why", Left, false, |row, _| row.object.why.clone()),
    ]
}

/// What tells it from every other object: inode or id.
pub fn identity_text(identity: Identity) -> String {
    match identity {
        Identity::File(_, ino) => ino.to_string(),
        Identity::Segment(id, _) | Identity::Set(id) => id.to_string(),
    }
}

/// One process that has an object, as JSON.
#[derive(Serialize)]
pub struct ProcessJson {
    pub pid: u32,
    pub command: Option<String>,
    pub uid: Option<u32>,
    pub owner: Option<String>,
    pub mappings: u32,
    pub mapped_bytes: u64,
    pub writable: bool,
    pub shared: bool,
    pub descriptors: Vec<u32>,
}

impl ProcessJson {
    pub fn new(one: &Use, objects: &Objects) -> ProcessJson {
        let named = objects.processes.get(&one.pid);
        let uid = named.and_then(|named| named.uid);
        ProcessJson {
            pid: one.pid,
            command: named.and_then(|named| named.command.clone()),
            uid,
            owner: uid.map(users::user_text),
            mappings: one.mappings,
            mapped_bytes: one.mapped,
            writable: one.writable,
            shared: one.shared,
            descriptors: one.descriptors.clone(),
        }
    }
}

/// One object as JSON. A null of a field that the kind has is explained in `unknown`.
#[derive(Serialize)]
pub struct ObjectJson {
    pub address: String,
    /// The address byte for byte in hexadecimal, where `address` had to escape something.
    pub address_hex: Option<String>,
    pub kind: &'static str,
    pub state: &'static str,
    pub state_why: String,
    pub size: Option<u64>,
    pub reserved: Option<u64>,
    pub resident: Option<u64>,
    pub swapped: Option<u64>,
    pub semaphores: Option<u64>,
    pub uid: Option<u32>,
    pub owner: Option<String>,
    pub gid: Option<u32>,
    pub group: Option<String>,
    pub mode: Option<String>,
    pub users: Option<u64>,
    pub users_at_least: bool,
    pub counted: Option<u64>,
    pub processes: Vec<ProcessJson>,
    pub creator_pid: Option<u32>,
    pub creator_alive: Option<bool>,
    pub created_ns: Option<u64>,
    pub changed_ns: Option<u64>,
    pub content: &'static str,
    pub layout: Option<String>,
    pub layout_version: Option<u32>,
    pub persistent: bool,
    pub unlinked: bool,
    pub other_mount_namespace: bool,
    pub device: Option<u64>,
    pub inode: Option<u64>,
    pub id: Option<i32>,
    pub unknown: BTreeMap<&'static str, &'static str>,
}

impl ObjectJson {
    pub fn new(object: &Object, objects: &Objects) -> ObjectJson {
        let mut unknown = BTreeMap::new();
        fn keep<T: Copy>(name: &'static str, fact: Fact<T>, all: &mut BTreeMap<&str, &str>) -> Option<T> {
            if let Fact::Unknown(why) = fact {
                all.insert(name, why);
            }
            fact.known()
        }
        let address = printable::text(&object.address);
        let escaped = address.as_bytes() != object.address;
        let (users, users_at_least) = object.users();
        let uid = keep("uid", object.uid, &mut unknown);
        let gid = keep("gid", object.gid, &mut unknown);
        let (creator_pid, creator_alive) = match object.creator {
            Creator::Process { pid, alive } => {
                if alive == Answer::Unknown {
                    unknown.insert("creator_alive", "its process cannot be looked at");
                }
                (Some(pid), (alive != Answer::Unknown).then_some(alive == Answer::Yes))
            }
            Creator::Unknown(why) => {
                unknown.insert("creator_pid", why);
                unknown.insert("creator_alive", why);
                (None, None)
            }
        };
        let (created_ns, changed_ns) = match object.time {
            Time::Created(at) => (Some(at), None),
            Time::Changed(at) => {
                unknown.insert("created_ns", crate::objects::NOT_RECORDED);
                (None, Some(at))
            }
            Time::Unknown(why) => {
                unknown.insert("created_ns", why);
                unknown.insert("changed_ns", why);
                (None, None)
            }
        };
        if object.kind == Kind::Sysv && object.resident.is_none() {
            unknown.insert("resident", "no /proc");
            unknown.insert("swapped", "no /proc");
        }
        let (device, inode, id) = match object.identity {
            Identity::File(dev, ino) => (Some(dev), Some(ino), None),
            Identity::Segment(id, _) | Identity::Set(id) => (None, None, Some(id)),
        };
        ObjectJson {
            address_hex: escaped.then(|| object.address.iter().map(|byte| format!("{byte:02x}")).collect()),
            address,
            kind: object.kind.name(),
            state: object.state.name(),
            state_why: object.why.clone(),
            size: keep("size", object.size, &mut unknown),
            reserved: keep("reserved", object.reserved, &mut unknown),
            resident: object.resident.map(|both| both.0),
            swapped: object.resident.map(|both| both.1),
            semaphores: object.semaphores,
            uid,
            owner: uid.map(users::user_text),
            gid,
            group: gid.map(users::group_text),
            mode: keep("mode", object.mode, &mut unknown).map(|mode| format!("{mode:04o}")),
            users: keep("users", users, &mut unknown),
            users_at_least,
            counted: object.counted,
            processes: object.uses.iter().map(|one| ProcessJson::new(one, objects)).collect(),
            creator_pid,
            creator_alive,
            created_ns,
            changed_ns,
            content: content_text(object),
            layout: layout_name(object),
            layout_version: object.header.map(|header| header.layout.version),
            persistent: object.is_persistent(),
            unlinked: object.unlinked,
            other_mount_namespace: object.elsewhere,
            device,
            inode,
            id,
            unknown,
        }
    }
}

/// That POSIX objects could not be listed, as one line.
pub fn unlisted(why: &str) -> String {
    format!("posix: {}: /dev/shm cannot be listed; its objects are missing here unless they were named", unknown(why))
}

/// What could not be looked at, as one line; nothing when all could.
pub fn partial(objects: &Objects) -> Option<String> {
    let what = "what only they have is not shown";
    match (objects.hidden, objects.unseen) {
        (Some(Hidden::Users), _) => Some(format!("/proc hides the processes of other users (hidepid): {what}")),
        (Some(Hidden::Namespaces), _) => {
            Some(format!("processes outside of this pid namespace cannot be looked at: {what}"))
        }
        (Some(Hidden::All), _) => Some("there is no /proc: which processes have what is unknown".to_string()),
        (None, 0) => None,
        (None, 1) => Some(format!("1 process may not be looked at (no permission): {what}")),
        (None, count) => Some(format!("{count} processes may not be looked at (no permission): {what}")),
    }
}
