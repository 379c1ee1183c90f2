//! Finds every object of this machine: the library's survey, the tables of System V, one walk through /proc; and the
//! objects that an address means. Takes time linear in their number. Never prints. Next: `objects.rs`, `proc.rs`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;

use shmkit::region::address::{OWN_PREFIX, Parsed};
use shmkit::region::survey::{self, Answer, Which};
use shmkit::sys::{process, semset, sysv};

use crate::exit::{Exit, Failure};
use crate::objects::{Creator, Fact, Identity, Kind, NO_PERMISSION, Named, Object, Objects, State, Time};
use crate::printable;
use crate::proc::{self, Key, Seen, Status, Use, Walk, Wanted};
use crate::refusal;

/// Where POSIX objects lie.
pub const FOLDER: &str = "/dev/shm";

const SECOND: u64 = 1_000_000_000;
const OTHER_NAMESPACE: &str = "made in another pid namespace";

/// One segment, as /proc/sysvipc/shm has it.
struct Row {
    key: i32,
    id: i32,
    creator: u32,
    changed: u64,
    /// Bytes in memory, and swapped out: what only /proc tells.
    resident: Option<(u64, u64)>,
}

fn numbers(line: &str) -> Vec<i64> {
    line.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect()
}

/// `key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap`
fn segments() -> HashMap<i32, Row> {
    let Ok(table) = fs::read_to_string("/proc/sysvipc/shm") else { return segments_without_proc() };
    let rows = table.lines().skip(1).map(numbers).filter(|row| row.len() >= 16).map(|row| {
        let row = Row {
            key: row[0] as i32,
            id: row[1] as i32,
            creator: row[4].max(0) as u32,
            changed: row[13].max(0) as u64,
            resident: Some((row[14].max(0) as u64, row[15].max(0) as u64)),
        };
        (row.id, row)
    });
    rows.collect()
}

fn segments_without_proc() -> HashMap<i32, Row> {
    let last = sysv::last_index().unwrap_or(-1);
    let found = (0..=last).filter_map(|index| sysv::at_index(index).ok());
    let rows = found.map(|(id, status)| {
        let (creator, changed) = (status.creator.max(0) as u32, status.changed.max(0) as u64);
        (id, Row { key: status.key, id, creator, changed, resident: None })
    });
    rows.collect()
}

/// The address of a segment.
pub fn segment_address(key: i32, id: i32) -> Vec<u8> {
    if key == 0 { format!("sysv:id={id}").into_bytes() } else { format!("sysv:{key:#x}").into_bytes() }
}

/// The address of a set of semaphores.
pub fn set_address(key: i32, id: i32) -> Vec<u8> {
    if key == 0 { format!("semset:id={id}").into_bytes() } else { format!("semset:{key:#x}").into_bytes() }
}

/// When a set was made or changed, as its object has it.
pub fn set_time(changed: i64) -> Time {
    Time::Changed(changed.max(0) as u64 * SECOND)
}

/// `key semid perms nsems uid gid cuid cgid otime ctime`; perms are octal.
fn set_in(line: &str) -> Option<(i32, semset::Status)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
    let status = semset::Status {
        uid: number(4)? as u32,
        mode: u32::from_str_radix(fields[2], 8).ok()?,
        count: number(3)? as u64,
        key: number(0)? as i32,
        operated: number(8)?,
        gid: number(5)? as u32,
        changed: number(9)?,
    };
    Some((number(1)? as i32, status))
}

fn sets(all: &mut Vec<Object>) {
    let sets: Vec<(i32, semset::Status)> = match fs::read_to_string("/proc/sysvipc/sem") {
        Ok(table) => table.lines().skip(1).filter_map(set_in).collect(),
        Err(_) => (0..=semset::last_index().unwrap_or(-1)).filter_map(|index| semset::at_index(index).ok()).collect(),
    };
    for (id, status) in sets {
        let mut object = Object::new(Kind::Semset, set_address(status.key, id), Identity::Set(id));
        object.size = Fact::Unknown("a set has no bytes");
        object.reserved = Fact::Unknown("a set has no bytes");
        object.semaphores = Some(status.count);
        object.mode = Fact::Known(status.mode & 0o777);
        (object.uid, object.gid) = (Fact::Known(status.uid), Fact::Known(status.gid));
        object.time = set_time(status.changed);
        object.set_of = if status.key == 0 { None } else { survey::region_of_set(status.key, id) };
        all.push(object);
    }
}

/// Who made something, by the pid that the kernel kept and the time at which it was made or changed.
fn creator_by_pid(pid: u32, at: u64) -> Creator {
    match pid {
        0 => Creator::Unknown(OTHER_NAMESPACE),
        pid => {
            let alive = match process::exists(pid).then(|| proc::may_have_made(pid, at)) {
                None | Some(Some(false)) => Answer::No,
                Some(Some(true)) => Answer::Yes,
                Some(None) => Answer::Unknown,
            };
            Creator::Process { pid, alive }
        }
    }
}

fn creator_by_header(object: &Object) -> Option<Creator> {
    let creator = object.header?.creator;
    (creator.pid != 0).then(|| Creator::Process { pid: creator.pid, alive: survey::lives(&creator) })
}

/// The paths of files that arguments name.
pub fn files_named(arguments: &[OsString]) -> Vec<Vec<u8>> {
    let readings = arguments.iter().flat_map(|argument| {
        let bytes = argument.as_bytes();
        [Some(bytes.to_vec()), printable::bytes(bytes)]
    });
    let addresses = readings.flatten().filter_map(|reading| canonical(&reading).ok());
    addresses.filter_map(|address| Some(address.strip_prefix(b"file:")?.to_vec())).collect()
}

/// Whose users are looked for by whatever path they have them: POSIX objects, and these files.
pub fn wanted(files: &[Vec<u8>]) -> Wanted {
    let mut wanted = Wanted::in_folder(FOLDER.as_bytes());
    files.iter().for_each(|path| wanted.add(path));
    wanted
}

/// Finds everything.
pub fn everything() -> Result<Objects, Failure> {
    everything_and(&[])
}

/// Finds everything, and who has the files open that arguments name; of others only mappings make them shared memory.
pub fn everything_and(named: &[OsString]) -> Result<Objects, Failure> {
    let mut walk = Walk::of_all(&wanted(&files_named(named)));
    let table = segments();
    let mut all = Vec::new();
    let mut listed = Vec::new();
    let mut unlisted = None;
    let which = |posix, sysv| Which { posix, sysv, mapped: false };
    // A machine may have one and not the other.
    for which in [which(true, false), which(false, true)] {
        let done = survey::list(which, &mut |found| {
            listed.extend(listed_object(found, &table));
            true
        });
        if let Err(failure) = done {
            use shmkit::error::Status::{ErrNotFound, ErrUnsupported};
            if may_not_list(which, &failure) {
                unlisted = Some(NO_PERMISSION);
            } else if !(matches!(failure.status, ErrNotFound | ErrUnsupported) || failure.errno == libc::ENOSYS) {
                return Err(refusal::failure(&failure, FOLDER.as_bytes()));
            }
        }
    }
    for object in listed.iter_mut() {
        object.uses = uses_in(&walk, object);
    }
    // An object may have several names, each of which is listed.
    for object in &listed {
        key_of(object).and_then(|key| walk.seen.remove(&key));
    }
    all.append(&mut listed);
    sets(&mut all);
    let folder = Status::at_end_of(FOLDER.as_bytes()).ok().map(|status| status.dev);
    find_names(&mut walk);
    all.extend(walk.seen.drain().filter_map(|(key, seen)| mapped_object(key, seen, folder)));
    for object in all.iter_mut() {
        object.uses_partial = walk.partial();
        object.decide();
    }
    let regions: HashMap<Vec<u8>, (State, String)> = all
        .iter()
        .filter(|object| object.kind == Kind::Sysv)
        .map(|object| (object.address.clone(), (object.state, object.why.clone())))
        .collect();
    // Semaphores of a region are what the region is.
    for object in all.iter_mut() {
        let Some(key) = object.set_of else { continue };
        if let Some((state, why)) = regions.get(format!("sysv:{key:#x}").as_bytes()) {
            (object.state, object.why) = (*state, format!("semaphores of the region sysv:{key:#x}: {why}"));
        }
    }
    all.sort_by(|one, other| one.address.cmp(&other.address).then(one.identity.cmp(&other.identity)));
    let mut processes = BTreeMap::new();
    for one in all.iter().flat_map(|object| &object.uses) {
        processes
            .entry(one.pid)
            .or_insert_with(|| Named { command: proc::command(one.pid), uid: proc::owner(one.pid) });
    }
    Ok(Objects { all, unseen: walk.unseen.len(), hidden: walk.hidden, unlisted, processes })
}

/// Whether this user may not list POSIX objects: then nothing of these is known, and all else is.
pub fn may_not_list(which: Which, failure: &shmkit::region::Failure) -> bool {
    which.posix && failure.errno == libc::EACCES
}

fn key_of(object: &Object) -> Option<Key> {
    match object.identity {
        Identity::File(dev, ino) => Some(Key::File(dev, ino)),
        Identity::Segment(id, _) => Some(Key::Segment(id)),
        Identity::Set(_) => None,
    }
}

/// Who has an object, as a walk saw it.
pub fn uses_in(walk: &Walk, object: &Object) -> Vec<Use> {
    key_of(object).and_then(|key| walk.seen.get(&key)).map(|seen| seen.uses.clone()).unwrap_or_default()
}

/// What the library's survey lists, with what only the tool asks: times and creators.
fn listed_object(found: &survey::Object, table: &HashMap<i32, Row>) -> Option<Object> {
    use shmkit::region::address::Backend;
    let address = found.address.bytes();
    if found.backend == Some(Backend::Sysv) {
        let id = found.ino as i32;
        let row = table.get(&id);
        let key = row.map_or(address != b"sysv:0x0", |row| row.key != 0);
        let address =
            if key && address != b"sysv:0x0" { address.to_vec() } else { format!("sysv:id={id}").into_bytes() };
        // It ended after one look and before the other: what it was does not matter any more.
        let row = row?;
        let mut object = Object::found(Kind::Sysv, address, Identity::Segment(id, row.changed), found);
        object.resident = row.resident;
        let header = object.header.map(|header| header.created).filter(|created| *created != 0);
        object.time = header.map_or(Time::Changed(row.changed * SECOND), Time::Created);
        object.creator = creator_by_header(&object).unwrap_or_else(|| creator_by_pid(row.creator, row.changed));
        return Some(object);
    }
    let name = address.strip_prefix(b"posix:/");
    let path = match name {
        Some(name) => [FOLDER.as_bytes(), b"/", name].concat(),
        None => address.strip_prefix(b"file:")?.to_vec(),
    };
    let kind = match name {
        Some(name) if name.starts_with(b"sem.") && found.size <= 64 => Kind::Sem,
        Some(_) => Kind::Posix,
        None => Kind::File,
    };
    let mut object = Object::found(kind, address.to_vec(), Identity::File(found.dev, found.ino), found);
    add_file_facts(&mut object, &path);
    Some(object)
}

/// Times and creator of what a path leads to, if it is still the same object.
fn add_file_facts(object: &mut Object, path: &[u8]) {
    object.time = match Status::at(path) {
        Ok(status) if Identity::File(status.dev, status.ino) == object.identity => {
            status.created_ns.map_or(Time::Changed(status.changed_ns), Time::Created)
        }
        _ => Time::Unknown("its name vanished"),
    };
    if let Some(creator) = creator_by_header(object) {
        object.creator = creator;
    }
}

/// The folder of a file that was made without a name. /proc shows it as deleted, under its number, in who made it; also
/// when it was given a name afterwards.
fn folder_if_numbered(path: &[u8]) -> Option<&[u8]> {
    let bare = path.strip_suffix(b" (deleted)")?;
    let slash = bare.iter().rposition(|byte| *byte == b'/')?;
    let digits = bare[slash + 1..].strip_prefix(b"#")?;
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(&bare[..slash.max(1)])
}

/// Gives such files the names that they have now, with one look into each of their folders.
fn find_names(walk: &mut Walk) {
    let mut folders: BTreeMap<Vec<u8>, HashMap<u64, Key>> = BTreeMap::new();
    for (key, seen) in &walk.seen {
        if let (Key::File(_, ino), Some(folder)) = (key, folder_if_numbered(&seen.path)) {
            folders.entry(folder.to_vec()).or_default().insert(*ino, *key);
        }
    }
    for (folder, wanted) in folders {
        for (name, ino) in proc::entries(&folder) {
            let Some(key) = wanted.get(&ino) else { continue };
            let path = [&folder[..], if folder.ends_with(b"/") { b"" } else { b"/" }, &name].concat();
            let same = Status::at(&path).is_ok_and(|status| Key::File(status.dev, status.ino) == *key);
            if let Some(seen) = walk.seen.get_mut(key).filter(|_| same) {
                seen.path = path;
            }
        }
    }
}

/// The same object with what a look into the file itself shows, which a list of everything does not ask: a file system
/// that does not answer would stop it.
pub fn looked_into(object: &Object) -> Object {
    let mut object = object.clone();
    let path = object.address.strip_prefix(b"file:").map(<[u8]>::to_vec);
    let Some(path) = path.filter(|_| object.kind == Kind::File && object.is_named()) else { return object };
    if let Ok(found) = survey::look_at_file(&path)
        && Identity::File(found.dev, found.ino) == object.identity
    {
        let looked = Object::found(Kind::File, object.address.clone(), object.identity, &found);
        object = Object { uses: object.uses, uses_partial: object.uses_partial, time: object.time, ..looked };
        if let Some(creator) = creator_by_header(&object) {
            object.creator = creator;
        }
        object.decide();
    }
    object
}

/// What only processes show: memfds, files, anonymous memory, objects whose name is gone, or is in another namespace.
fn mapped_object(key: Key, seen: Seen, folder: Option<u64>) -> Option<Object> {
    // A segment that ended after the look at the table, or one of another IPC namespace.
    let Key::File(dev, ino) = key else { return None };
    let path = &seen.path[..];
    // What a path leads to here, if that is this object. Some file systems (btrfs, overlay) show another device or
    // inode in maps than stat gives; then the object itself says which, as far as it may be looked at.
    let named = |path: &[u8]| {
        let same = |found: &Status| match seen.status {
            Some(status) => (status.dev, status.ino) == (found.dev, found.ino),
            None => found.ino == ino && (found.dev == dev || folder != Some(dev)),
        };
        Status::at(path).ok().filter(same)
    };
    // A name may end as the mark of a deleted one does.
    let (mut deleted, mut bare) = (proc::is_deleted(path), proc::bare(path));
    if deleted && !path.starts_with(b"/memfd:") && named(path).is_some() {
        (deleted, bare) = (false, path);
    }
    let join = |scheme: &str, rest: &[u8]| [scheme.as_bytes(), rest].concat();
    let (kind, address) = if let Some(label) = bare.strip_prefix(b"/memfd:") {
        match label.starts_with(b"shmkit-anon") {
            true => (Kind::Anon, b"anon:".to_vec()),
            false => (Kind::Memfd, join("memfd:", label)),
        }
    } else if deleted && [&b"/dev/zero"[..], b"/anon_hugepage", b"/secretmem"].contains(&bare) {
        (Kind::Anon, b"anon:".to_vec())
    } else if let Some(name) = bare.strip_prefix(b"/dev/shm/").filter(|name| !name.contains(&b'/')) {
        let own = name.starts_with(OWN_PREFIX) || name.starts_with(b"#") && deleted;
        match name.starts_with(b"sem.") && !own {
            true => (Kind::Sem, join("posix:/", name)),
            false => (Kind::Posix, join("posix:/", name)),
        }
    } else {
        // Also what lies in a folder below that of the objects: they have none.
        (Kind::File, join("file:", bare))
    };
    let mut object = Object::new(kind, address, Identity::File(dev, ino));
    let by_name = if deleted || kind != Kind::File { None } else { named(bare) };
    match by_name.or(seen.status) {
        Some(status) => {
            if !status.regular {
                return None;
            }
            object.take_status(&status);
        }
        // Nobody can map more of it than there is, and who made it mapped all.
        None if kind == Kind::Anon => object.size = Fact::Known(seen.end),
        None => {}
    }
    if let (Kind::File, Some(status)) = (kind, by_name.or(seen.status)) {
        object.identity = Identity::File(status.dev, status.ino);
    }
    object.unlinked = deleted && !matches!(kind, Kind::Memfd | Kind::Anon);
    if matches!(kind, Kind::Posix | Kind::Sem) {
        // One that is named here was listed with the others; or it was removed or made since.
        object.elsewhere = folder.is_some_and(|folder| folder != dev);
        if !object.elsewhere && !deleted {
            object.unlinked = true;
        }
    }
    if kind == Kind::File && !deleted && by_name.is_none() {
        object.elsewhere = seen.status.is_some() || Status::at(bare).is_err();
    }
    object.uses = seen.uses;
    Some(object)
}

/// The objects that an argument means: what the tool itself printed for them, their address string, its canonical form.
pub fn select(objects: &Objects, wanted: &OsStr) -> Result<Vec<Object>, Failure> {
    let of = |address: &[u8]| objects.all.iter().filter(|object| object.address == address).collect::<Vec<_>>();
    let all_of = |address: &[u8]| {
        let found = of(address);
        if found.is_empty() { canonical(address).map(|address| of(&address)).unwrap_or_default() } else { found }
    };
    let address =
        meant(wanted.as_bytes(), |address| !all_of(address).is_empty() || unlisted(objects, address).is_some())?;
    let mut found = all_of(&address);
    // A container may have its own of the same name, which is meant only where there is none here.
    if found.iter().any(|object| !object.elsewhere) {
        found.retain(|object| !object.elsewhere);
    }
    // What has its name first.
    found.sort_by_key(|object| !object.is_named());
    let mut found: Vec<Object> = found.into_iter().map(looked_into).collect();
    // Of a file that was removed the mappings may remain, and another one have the name.
    if !found.first().is_some_and(Object::is_named)
        && let Some(object) = unlisted(objects, &address)
    {
        found.insert(0, object);
    }
    if found.is_empty() {
        canonical(&address)?;
        return Err(Failure::new(
            Exit::NotFound,
            format!("there is no {}", printable::text(&address)),
            "shmkit ls -a shows what there is",
        ));
    }
    Ok(found)
}

/// The address that an argument means, byte for byte: with its escapes undone where it has any, for so the tool prints
/// what is not printable; as it stands where only that leads to something. What may mean two that exist is refused.
pub fn meant(argument: &[u8], exists: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Failure> {
    let Some(unescaped) = printable::bytes(argument) else { return Ok(argument.to_vec()) };
    match (exists(&unescaped), exists(argument)) {
        (true, true) => Err(Failure::new(
            Exit::Usage,
            format!(
                "what is named may be {} or {}, and both exist",
                printable::text(&unescaped),
                printable::text(argument)
            ),
            "write the second as it is shown here, or the bytes of the first",
        )),
        (false, true) => Ok(argument.to_vec()),
        (_, false) => Ok(unescaped),
    }
}

/// What a list of everything does not have: a file that no process maps; a POSIX object, where these may not be listed.
fn unlisted(objects: &Objects, address: &[u8]) -> Option<Object> {
    let address = canonical(address).ok()?;
    let (kind, path) = match address.strip_prefix(b"posix:") {
        Some(name) if objects.unlisted.is_some() => (Kind::Posix, [FOLDER.as_bytes(), name].concat()),
        Some(_) => return None,
        None => (Kind::File, address.strip_prefix(b"file:")?.to_vec()),
    };
    let found = survey::look_at_file(&path).ok()?;
    let is_semaphore = kind == Kind::Posix && address.starts_with(b"posix:/sem.") && found.size <= 64;
    let kind = if is_semaphore { Kind::Sem } else { kind };
    let mut object = Object::found(kind, address.clone(), Identity::File(found.dev, found.ino), &found);
    add_file_facts(&mut object, &path);
    object.uses_partial = objects.partial();
    object.decide();
    Some(object)
}

/// The canonical form of an address: the library's, and the tool's own `sysv:id=N`, `semset:0xKEY`, `semset:id=N`.
pub fn canonical(address: &[u8]) -> Result<Vec<u8>, Failure> {
    let own = [&b"sysv:id="[..], b"semset:id="];
    let own = own.into_iter().find_map(|scheme| Some((scheme, address.strip_prefix(scheme)?)));
    if let Some((scheme, digits)) = own {
        let id: Option<i32> = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let id = id.ok_or_else(|| wrong(address, "write a number after id="))?;
        return Ok([scheme, id.to_string().as_bytes()].concat());
    }
    let as_segment = address.strip_prefix(b"semset:").map(|key| [b"sysv:", key].concat());
    let parsed = Parsed::new(as_segment.as_deref().unwrap_or(address));
    let text = parsed.map_err(|failure| refusal::failure(&failure, address))?.text().to_vec();
    Ok(match as_segment {
        Some(_) => [b"semset", &text["sysv".len()..]].concat(),
        None => text,
    })
}

fn wrong(address: &[u8], remedy: &str) -> Failure {
    Failure::new(Exit::Usage, format!("{} is no address", printable::text(address)), remedy)
}

/// What the tables of System V have, without processes and without a look inside.
pub fn tables() -> Result<Vec<Object>, Failure> {
    let mut all = Vec::new();
    for row in segments().into_values() {
        all.push(Object::new(Kind::Sysv, segment_address(row.key, row.id), Identity::Segment(row.id, row.changed)));
    }
    sets(&mut all);
    Ok(all)
}

/// What a collection found, described by what the tables had before it.
pub fn collected(found: &survey::Object, before: &[Object]) -> Option<Object> {
    use shmkit::region::address::Backend;
    let address = found.address.bytes();
    let mut object = match found.backend {
        // Semaphores without their segment are named by its key.
        None => {
            let key = std::str::from_utf8(address.strip_prefix(b"sysv:0x")?).ok()?;
            let key = u32::from_str_radix(key, 16).ok()? as i32;
            let mut set = before.iter().find(|object| object.set_of == Some(key))?.clone();
            (set.content, set.orphan) = (found.content, found.orphan);
            set
        }
        Some(Backend::Sysv) => {
            let id = found.ino as i32;
            let same = |object: &&Object| matches!(object.identity, Identity::Segment(other, _) if other == id);
            let identity = before.iter().find(same).map_or(Identity::Segment(id, 0), |object| object.identity);
            Object::found(Kind::Sysv, address.to_vec(), identity, found)
        }
        Some(_) => Object::found(Kind::Posix, address.to_vec(), Identity::File(found.dev, found.ino), found),
    };
    if let Some(creator) = creator_by_header(&object) {
        object.creator = creator;
    }
    if let Some(header) = object.header.filter(|header| header.created != 0) {
        object.time = Time::Created(header.created);
    }
    object.decide();
    if object.kind == Kind::Semset {
        (object.state, object.why) = (State::Orphan, "its segment is gone".to_string());
    }
    Some(object)
}
