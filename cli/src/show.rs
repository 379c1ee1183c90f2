//! `shmkit show`: everything that can be found out about one object. Next: `gather.rs`, `picture.rs`, `who.rs`.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::time::{Duration, Instant};

use serde::Serialize;
use shmkit::region::header::{self, Header};

use crate::container::{self, Container};
use crate::exit::{Done, Exit, Failure};
use crate::gather;
use crate::locks;
use crate::objects::{Identity, Kind, Object, Objects, Time};
use crate::output::{self, Output};
use crate::picture::{self, Picture};
use crate::printable;
use crate::proc;
use crate::rm::path_of;
use crate::view::{self, ObjectJson};
use crate::who::{self, Participant};

/// Show everything that is known of an object
///
/// An address that several objects have (memfd:, anon:, names that were removed) shows each of them. In the map, "#"
/// are pages in memory, "+" partly, "-" pages that are swapped out or on the file's device, "." holes. Of a ring, queue,
/// broadcast or cell at the beginning of the data it shows what is in it, how fast it goes, what was lost, and who has it. Of mutexes,
/// semaphores and other locks of shmkit, anywhere in the data, it shows their state and the threads that hold them.
#[derive(clap::Args)]
pub struct Args {
    /// Addresses, as shmkit ls prints them
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<OsString>,
}

/// Between two looks at what is counted.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct HeaderJson {
    data_offset: u64,
    size: u64,
    max_size: u64,
    generation: u64,
    persistent: bool,
    layout_name: Option<String>,
    layout_version: u32,
    layout_size: u64,
    layout_alignment: u32,
    layout_fingerprint: Option<String>,
    creator_pid: u32,
    creator_uid: u32,
    creator_start_ticks: u64,
    creator_pid_namespace: u64,
    created_ns: u64,
}

#[derive(Clone, Copy, Serialize)]
struct Semaphore {
    value: u32,
    waiters: u32,
}

#[derive(Serialize)]
struct Shown {
    object: ObjectJson,
    header: Option<HeaderJson>,
    header_why: Option<String>,
    participants: Option<Vec<Participant>>,
    participants_why: Option<String>,
    seals: Option<Vec<&'static str>>,
    seals_why: Option<String>,
    semaphore: Option<Semaphore>,
    map: Option<Picture>,
    map_why: Option<String>,
    container: Option<Container>,
    container_why: Option<String>,
    /// From a second look.
    container_rates: Option<container::Rates>,
    container_rates_why: Option<String>,
    locks: Option<Vec<locks::Shown>>,
    locks_why: Option<String>,
    /// What was looked at for them.
    locks_looked: Option<locks::Looked>,
}

pub fn run(args: &Args, output: &Output) -> Done {
    let objects = gather::everything_and(&args.addresses)?;
    let mut found = Vec::new();
    let mut exit = Exit::Ok;
    for address in &args.addresses {
        match gather::select(&objects, address) {
            Ok(some) => found.extend(some),
            Err(failure) => {
                output::tell(format_args!("shmkit: {failure}\n"));
                exit = failure.exit;
            }
        }
    }
    let mut shown: Vec<_> = found.iter().map(|object| (Instant::now(), look(object, &objects))).collect();
    // All of them at once: one wait, however many there are.
    if let Some((last, _)) = shown.iter().rfind(|(_, shown)| shown.container.is_some()) {
        std::thread::sleep(BETWEEN_LOOKS.saturating_sub(last.elapsed()));
        found.iter().zip(&mut shown).for_each(|(object, (since, shown))| look_again(object, *since, shown));
    }
    if !output.json {
        for (index, (object, (_, shown))) in found.iter().zip(&shown).enumerate() {
            output.print(if index > 0 { "\n" } else { "" })?;
            output.print(&text(object, shown, &objects, output)?)?;
        }
    } else {
        #[derive(Serialize)]
        struct All {
            objects: Vec<Shown>,
        }
        output.json("show", &All { objects: shown.into_iter().map(|(_, shown)| shown).collect() })?;
    }
    Ok(exit)
}

/// How fast what lies in an object goes.
fn look_again(object: &Object, since: Instant, shown: &mut Shown) {
    let Some(before) = &shown.container else { return };
    let (after, over) = (open(object).and_then(|file| container::look(object, &file, None)), since.elapsed());
    match after.and_then(|after| container::rates(before, &after, over)) {
        Ok(rates) => shown.container_rates = Some(rates),
        Err(why) => shown.container_rates_why = Some(why),
    }
}

/// All that is printed of one object.
pub fn text_of(object: &Object, objects: &Objects, output: &Output) -> Result<String, Failure> {
    text(object, &look(object, objects), objects, output)
}

fn look(object: &Object, objects: &Objects) -> Shown {
    let file = open(object);
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => crate::objects::NO_PERMISSION.to_string(),
        _ => error.to_string(),
    };
    let (map, map_why) = match &file {
        Ok(file) => match picture::of(file) {
            Ok(map) => (Some(map), None),
            Err(error) => (None, Some(failed(&error))),
        },
        Err(why) => (None, Some(why.clone())),
    };
    let (seals, seals_why) = match (&file, object.kind) {
        (Ok(file), Kind::Memfd | Kind::Anon) => match rustix::fs::fcntl_get_seals(file) {
            Ok(seals) => (Some(names_of(seals)), None),
            Err(error) => (None, Some(failed(&error.into()))),
        },
        (Err(why), Kind::Memfd | Kind::Anon) => (None, Some(why.clone())),
        _ => (None, Some("only memfds have seals".to_string())),
    };
    let semaphore = match (&file, object.kind) {
        (Ok(file), Kind::Sem) => semaphore(file),
        _ => None,
    };
    let (participants, participants_why) = match who::has_leases(object) {
        false => (None, Some("it has no leases".to_string())),
        true => match who::participants(object) {
            Ok(all) => (Some(all), None),
            Err(why) => (None, Some(why)),
        },
    };
    let (container, container_why) = match &file {
        Ok(file) => match container::look(object, file, participants.as_deref()) {
            Ok(container) => (Some(container), None),
            Err(why) => (None, Some(why)),
        },
        Err(why) => (None, Some(why.clone())),
    };
    let locks = match &file {
        Ok(file) => locks::look(object, file),
        Err(why) => Err(why.clone()),
    };
    let (locks, locks_looked, locks_why) = match locks {
        Ok(found) => (Some(found.all), Some(found.looked), None),
        Err(why) => (None, None, Some(why)),
    };
    let header_why = match (&object.header, &object.doubt) {
        (Some(_), _) => None,
        (None, Some((_, why))) => Some(why.clone()),
        (None, None) => Some(match object.content {
            shmkit::region::survey::Content::Foreign => "other software made it".to_string(),
            _ => "its bytes were not looked at".to_string(),
        }),
    };
    Shown {
        object: ObjectJson::new(object, objects),
        header: object.header.map(|header| header_json(object, &header)),
        header_why,
        participants,
        participants_why,
        seals,
        seals_why,
        semaphore,
        map,
        map_why,
        container,
        container_why,
        container_rates: None,
        container_rates_why: None,
        locks,
        locks_why,
        locks_looked,
    }
}

fn header_json(object: &Object, header: &Header) -> HeaderJson {
    HeaderJson {
        data_offset: header.data_offset,
        size: header.size,
        max_size: header.max_size,
        generation: header.generation,
        persistent: header.flags & header::PERSISTENT != 0,
        layout_name: view::layout_name(object),
        layout_version: header.layout.version,
        layout_size: header.layout.size,
        layout_alignment: header.layout.alignment,
        layout_fingerprint: view::fingerprint(&header.layout),
        creator_pid: header.creator.pid,
        creator_uid: header.creator.uid,
        creator_start_ticks: header.creator.start_time,
        creator_pid_namespace: header.creator.namespace,
        created_ns: header.created,
    }
}

/// Opens an object for reading: by its name, or through a process that has it.
fn open(object: &Object) -> Result<File, String> {
    let Identity::File(dev, ino) = object.identity else { return open_segment(object) };
    // To look is no access: its time stays, where this user may ask for that.
    let open = |path: &OsStr, flags: i32| {
        let with = |more: i32| OpenOptions::new().read(true).custom_flags(flags | more | libc::O_NONBLOCK).open(path);
        with(libc::O_NOATIME).or_else(|error| match error.raw_os_error() {
            Some(libc::EPERM) => with(0),
            _ => Err(error),
        })
    };
    let is_same = |file: &File| {
        file.metadata().is_ok_and(|found| found.ino() == ino && (found.dev() == dev || object.kind == Kind::File))
    };
    let mut why = "no process that has it can be looked at".to_string();
    if let Some(path) = path_of(object).filter(|_| object.is_named()) {
        match open(OsStr::from_bytes(&path), libc::O_NOFOLLOW) {
            Ok(file) if is_same(&file) => return Ok(file),
            Ok(_) => return Err("it was removed and made again meanwhile".to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(crate::objects::NO_PERMISSION.to_string());
            }
            Err(error) => why = error.to_string(),
        }
    }
    for link in links(object) {
        match open(OsStr::new(&link), 0) {
            Ok(file) if is_same(&file) => return Ok(file),
            Ok(_) => {}
            Err(_) => why = crate::objects::NO_PERMISSION.to_string(),
        }
    }
    Err(why)
}

/// An attach shows in the counts that other software reads, so a segment is looked at through a process that has it.
fn open_segment(object: &Object) -> Result<File, String> {
    if object.kind != Kind::Sysv {
        return Err("a set of semaphores has no pages".to_string());
    }
    let file = links(object).into_iter().find_map(|link| File::open(link).ok());
    file.ok_or_else(|| match object.uses.is_empty() {
        true => "nobody has it attached, and only through an attach can its pages be seen".to_string(),
        false => crate::objects::NO_PERMISSION.to_string(),
    })
}

/// The ways to an object through the processes that have it.
fn links(object: &Object) -> Vec<String> {
    let mut links = Vec::new();
    for one in &object.uses {
        links.extend(one.descriptors.iter().map(|fd| format!("/proc/{}/fd/{fd}", one.pid)));
        let _ = proc::mappings(one.pid, |mapping, key| {
            let same = match (key, object.identity) {
                // Some file systems show another device in maps than stat gives.
                (Some(proc::Key::File(dev, ino)), Identity::File(own_dev, own_ino)) => {
                    ino == own_ino && (dev == own_dev || object.kind == Kind::File)
                }
                (Some(proc::Key::Segment(id)), Identity::Segment(own, _)) => id == own,
                _ => false,
            };
            if same {
                links.push(format!("/proc/{}/map_files/{:x}-{:x}", one.pid, mapping.start, mapping.end));
            }
        });
    }
    links
}

fn names_of(seals: rustix::fs::SealFlags) -> Vec<&'static str> {
    use rustix::fs::SealFlags;
    let all = [
        (SealFlags::SEAL, "seal"),
        (SealFlags::SHRINK, "shrink"),
        (SealFlags::GROW, "grow"),
        (SealFlags::WRITE, "write"),
        (SealFlags::FUTURE_WRITE, "future-write"),
        (SealFlags::from_bits_retain(0x20), "exec"),
    ];
    all.into_iter().filter(|(seal, _)| seals.contains(*seal)).map(|(_, name)| name).collect()
}

/// The value of a named semaphore, as the GNU C library lays it out on 64-bit machines: the value in the lower half of
/// the first word, the number of waiters in the upper half.
fn semaphore(file: &File) -> Option<Semaphore> {
    let mut bytes = [0; 8];
    let whole = file.metadata().ok()?.len() == 32;
    (whole && file.read_exact_at(&mut bytes, 0).is_ok()).then(|| {
        let word = u64::from_ne_bytes(bytes);
        Semaphore { value: word as u32, waiters: (word >> 32) as u32 }
    })
}

fn text(object: &Object, shown: &Shown, objects: &Objects, output: &Output) -> Result<String, Failure> {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut put = |name: &'static str, text: String| lines.push((name, text));
    put("address", printable::text(&object.address));
    put("kind", format!("{}, {}", object.kind.name(), what(object)));
    put("state", format!("{}: {}", object.state.name(), object.why));
    put(
        "identity",
        match object.identity {
            Identity::File(dev, ino) => format!("inode {ino} on device {}:{}", libc::major(dev), libc::minor(dev)),
            Identity::Segment(id, _) | Identity::Set(id) => format!("id {id}"),
        },
    );
    put("size", view::size_text(object, output));
    if object.kind != Kind::Semset {
        put("reserved", view::reserved_text(object, output));
    }
    if let Some((resident, swapped)) = object.resident {
        put("memory", format!("{} resident, {} swapped out", output.size(resident), output.size(swapped)));
    }
    let (owner, group) = (view::owner_text(object.uid), view::group_text(object.gid));
    let numbers = match (object.uid.known(), object.gid.known()) {
        (Some(uid), Some(gid)) => format!(" ({uid}:{gid})"),
        _ => String::new(),
    };
    put("owner", format!("{owner}, group {group}{numbers}"));
    put("mode", view::mode_text(object.mode));
    put("creator", view::creator_text(object.creator));
    let age = view::age_of(object.time, view::now_ns());
    put(
        "age",
        match object.time {
            Time::Created(_) => format!("{age} since it was created"),
            Time::Changed(_) => format!("{age} since it was created or changed"),
            Time::Unknown(_) => age,
        },
    );
    match (&object.header, &shown.header_why) {
        (Some(header), _) => put_header(&mut put, object, header, output),
        (None, Some(why)) if object.doubt.is_some() => put("header", format!("not believed: {why}")),
        (None, _) => {}
    }
    match (&shown.participants, &shown.participants_why) {
        (Some(all), _) if all.is_empty() => put("leases", "none".to_string()),
        (Some(all), _) => {
            let one = |one: &Participant| {
                let pid = one.pid.map_or("unknown".to_string(), |pid| pid.to_string());
                format!(
                    "{pid}{}{}",
                    if one.read_only { " (reads)" } else { "" },
                    if one.live { "" } else { " (perhaps)" }
                )
            };
            put("leases", all.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        (None, Some(why)) if who::has_leases(object) => put("leases", view::unknown(why)),
        _ => {}
    }
    match (&shown.container, &shown.container_why) {
        (Some(container), _) => {
            for (name, text) in container::lines(container, output) {
                put(name, text);
                match &shown.container_rates {
                    Some(rates) if name == container.counted() => put("rate", container::rates_text(container, rates)),
                    _ => {}
                }
            }
        }
        // Nothing is said of data that is something else.
        (None, Some(why)) if why.starts_with("it has the stamp") => put("container", format!("not believed: {why}")),
        _ => {}
    }
    if matches!(object.kind, Kind::Memfd | Kind::Anon) {
        put(
            "seals",
            match (&shown.seals, &shown.seals_why) {
                (Some(seals), _) if seals.is_empty() => "none".to_string(),
                (Some(seals), _) => seals.join(", "),
                (None, why) => view::unknown(why.as_deref().unwrap_or_default()),
            },
        );
    }
    if let Some(Semaphore { value, waiters }) = shown.semaphore {
        put("value", format!("{value}, {waiters} waiting (as the GNU C library lays it out)"));
    }
    match (&shown.map, &shown.map_why) {
        (Some(map), _) if map.cells.is_empty() => put("map", "no pages".to_string()),
        (Some(map), _) => {
            put("map", format!("|{}|", map.cells));
            // What was reserved and never written is a hole to whoever reads it.
            let reserved = object.reserved.known().unwrap_or(0).saturating_sub(map.resident + map.elsewhere);
            let reserved = match reserved.min(map.holes) {
                0 => String::new(),
                reserved => format!(" ({} reserved)", output.size(reserved)),
            };
            let counts = format!(
                "{} a cell: {} in memory #, {} elsewhere -, {} holes .{reserved}",
                output.size(map.bytes_per_cell),
                output.size(map.resident),
                output.size(map.elsewhere),
                output.size(map.holes),
            );
            put("", counts);
        }
        (None, Some(_)) if object.kind == Kind::Semset => {}
        (None, why) => put("map", view::unknown(why.as_deref().unwrap_or_default())),
    }
    let users = view::users_text(object);
    let rows = who::rows_of(object, objects);
    put("users", if rows.is_empty() { users } else { format!("{users}:") });
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text: String = lines.iter().map(|(name, text)| format!("{name:width$}  {text}\n")).collect();
    if !rows.is_empty() {
        let columns = who::columns();
        text.push_str(&output::table_text(output, &output::choose(&columns, None)?, &rows));
    }
    let is_region = object.content == shmkit::region::survey::Content::Region;
    match (&shown.locks, &shown.locks_looked) {
        // Nothing is said of data that is something else.
        (Some(all), Some(looked)) if is_region || !all.is_empty() || !looked.is_whole() => {
            let end = if all.is_empty() { "" } else { ":" };
            text.push_str(&format!("{:width$}  {}{end}\n", "locks", locks::summary(all, looked, output)));
            text.push_str(&locks::table(all, output));
        }
        (None, _) if is_region => {
            let why = view::unknown(shown.locks_why.as_deref().unwrap_or_default());
            text.push_str(&format!("{:width$}  {why}\n", "locks"));
        }
        _ => {}
    }
    Ok(text)
}

fn what(object: &Object) -> &'static str {
    use shmkit::region::survey::Content;
    match (object.kind, object.content) {
        (Kind::Sem, _) => "a named semaphore",
        (Kind::Semset, _) if object.set_of.is_some() => "the semaphores of a region",
        (Kind::Semset, _) => "a set of semaphores",
        (_, Content::Region) => "a region",
        (_, Content::Foreign) => "no region: other software made it",
        (_, Content::Leftover) => "begun as a region",
        (_, Content::Unknown) => "its bytes were not looked at",
    }
}

fn put_header(put: &mut impl FnMut(&'static str, String), object: &Object, header: &Header, output: &Output) {
    let layout = header.layout;
    put(
        "layout",
        match view::layout_name(object) {
            Some(name) => {
                format!("{name}, version {}, {} bytes, aligned to {}", layout.version, layout.size, layout.alignment)
            }
            None => "no type was named".to_string(),
        },
    );
    if let Some(fingerprint) = view::fingerprint(&layout) {
        put("fingerprint", fingerprint);
    }
    put(
        "data",
        format!(
            "{} from byte {} on, may grow to {}, grew {} times{}",
            output.size(header.size),
            header.data_offset,
            output.size(header.max_size),
            header.generation,
            if header.flags & header::PERSISTENT != 0 { ", persistent" } else { "" },
        ),
    );
}
