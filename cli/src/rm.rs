//! `shmkit rm`: removes the names of objects, each proved to be the one that was looked at: a descriptor keeps its
//! inode from being used again between the look and the removal, and the name is taken aside before it is removed.
//! Regions are removed by the library, under its lock on names. Next: `gather.rs`,
//! `last_look.rs`.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use shmkit::region::access;
use shmkit::region::survey::Content;
use shmkit::sys;

use crate::exit::{Done, Exit, Failure};
use crate::gather;
use crate::last_look::LastLook;
use crate::objects::{Identity, Kind, NO_PERMISSION, Object, Objects, State};
use crate::output::{self, Output};
use crate::printable;
use crate::proc::Status;
use crate::refusal;
use crate::view;

/// Remove objects by their addresses
///
/// Refuses what somebody uses, unless --force is given. Removes what was looked at and nothing else: an object that got
/// the name meanwhile stays.
#[derive(clap::Args)]
pub struct Args {
    /// Addresses, as shmkit ls prints them
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<OsString>,
    /// Ask before each
    #[arg(short, long)]
    interactive: bool,
    /// Remove also what somebody uses
    #[arg(short, long, conflicts_with = "if_unused")]
    force: bool,
    /// Leave what somebody uses, or may use unseen, without calling that a failure
    #[arg(long)]
    if_unused: bool,
}

#[derive(Serialize)]
struct Removed {
    address: String,
    removed: bool,
    /// Why it was left; null when it was removed.
    why: Option<String>,
}

enum Outcome {
    Removed,
    Left(String),
}

pub fn run(args: &Args, output: &Output) -> Done {
    let mut results = Vec::new();
    let mut exit = Exit::Ok;
    let objects = gather::everything_and(&args.addresses)?;
    let mut last = LastLook::new(&args.addresses);
    for address in &args.addresses {
        let looked = look(&objects, address);
        let shown = match &looked {
            Ok(looked) => printable::text(&looked.object.address),
            Err(_) => shown_argument(address),
        };
        let (removed, why) = match looked.and_then(|looked| remove(args, output, &looked, address, &mut last)) {
            Ok(Outcome::Removed) => {
                if !output.json {
                    output.print(&format!("removed {shown}\n"))?;
                }
                (true, None)
            }
            Ok(Outcome::Left(why)) => {
                if !output.json {
                    output.print(&format!("left {shown}: {why}\n"))?;
                }
                (false, Some(why))
            }
            Err(failure) => {
                output::tell(format_args!("shmkit: {failure}\n"));
                if exit == Exit::Ok {
                    exit = failure.exit;
                }
                (false, Some(failure.cause))
            }
        };
        results.push(Removed { address: shown, removed, why });
    }
    if output.json {
        #[derive(Serialize)]
        struct All {
            objects: Vec<Removed>,
        }
        output.json("rm", &All { objects: results })?;
    }
    Ok(exit)
}

/// An object as it was looked at; while this is kept, no other one gets its inode.
struct Looked {
    object: Object,
    path: Option<Vec<u8>>,
    _kept: Option<OwnedFd>,
}

/// An argument that led to nothing, as it was written where that is how the tool would print it.
fn shown_argument(address: &OsStr) -> String {
    let bytes = address.as_bytes();
    printable::text(&printable::bytes(bytes).unwrap_or_else(|| bytes.to_vec()))
}

fn remove(
    args: &Args,
    output: &Output,
    looked: &Looked,
    address: &OsStr,
    last: &mut LastLook,
) -> Result<Outcome, Failure> {
    // Many may have been removed since all were looked at.
    let mut now = last.at(&looked.object, !args.force)?;
    if let Some(left) = refuse_used(args, &now)? {
        return Ok(left);
    }
    if args.interactive {
        if !confirmed(&looked.object, output)? {
            return Ok(Outcome::Left("not confirmed".to_string()));
        }
        // Much may have happened before the answer came.
        let again = look(&gather::everything_and(&args.addresses)?, address).map_err(|failure| match failure.exit {
            Exit::NotFound => vanished(&looked.object),
            _ => failure,
        })?;
        if again.object.identity != looked.object.identity {
            return Err(made_again(&looked.object));
        }
        last.forget();
        now = last.at(&again.object, !args.force)?;
        if let Some(left) = refuse_used(args, &now)? {
            return Ok(left);
        }
    }
    match &looked.path {
        Some(path) => remove_path(&now, path)?,
        None => remove_id(&now)?,
    }
    Ok(Outcome::Removed)
}

fn look(objects: &Objects, address: &OsStr) -> Result<Looked, Failure> {
    // What has a name comes first.
    let object = gather::select(objects, address)?.swap_remove(0);
    let shown = printable::text(&object.address);
    if !object.is_named() {
        let (cause, remedy) = match object.kind {
            Kind::Memfd | Kind::Anon => {
                (format!("{shown} has no name to remove"), "it ends with its last user; see shmkit who")
            }
            _ if object.elsewhere => (
                format!("{shown} is a name of another mount namespace"),
                "remove it there: nsenter --target PID --mount",
            ),
            _ => (format!("the name of {shown} was removed already"), "it ends with its last user; see shmkit who"),
        };
        return Err(Failure::new(Exit::Failed, cause, remedy));
    }
    let Some(path) = path_of(&object) else { return Ok(Looked { object, path: None, _kept: None }) };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let kept = rustix::fs::open(OsStr::from_bytes(&path), flags, Mode::empty()).map_err(|_| vanished(&object))?;
    let status = rustix::fs::fstat(&kept).map_err(|_| vanished(&object))?;
    if Identity::File(status.st_dev, status.st_ino) != object.identity {
        return Err(made_again(&object));
    }
    Ok(Looked { object, path: Some(path), _kept: Some(kept) })
}

/// The path of what has one.
pub fn path_of(object: &Object) -> Option<Vec<u8>> {
    match object.kind {
        Kind::Posix | Kind::Sem => Some([gather::FOLDER.as_bytes(), object.address.strip_prefix(b"posix:")?].concat()),
        Kind::File => Some(object.address.strip_prefix(b"file:")?.to_vec()),
        _ => None,
    }
}

/// What has the name is not the object that was looked at.
pub fn made_again(object: &Object) -> Failure {
    Failure::new(
        Exit::Failed,
        format!(
            "{} was removed and made again meanwhile: it is not the object that was looked at, and stays",
            printable::text(&object.address)
        ),
        "look at it, and remove it if it is the one that you mean",
    )
}

/// Nothing has the name any more.
pub fn vanished(object: &Object) -> Failure {
    Failure::new(Exit::NotFound, format!("{} was removed meanwhile", printable::text(&object.address)), "")
}

fn refuse_used(args: &Args, object: &Object) -> Result<Option<Outcome>, Failure> {
    if args.force {
        return Ok(None);
    }
    let shown = printable::text(&object.address);
    let (users, more) = object.users();
    let used = match object.state {
        State::Live | State::Initialising => Some(object.why.clone()),
        // An orphan that a program maps without a lease is still used by it.
        _ if users.known().is_some_and(|count| count > 0) => Some(object.why.clone()),
        _ => object.set_of.map(|key| format!("its semaphores are those of the region sysv:{key:#x}")),
    };
    if let Some(why) = used {
        if args.if_unused {
            return Ok(Some(Outcome::Left(format!("in use: {why}"))));
        }
        return Err(Failure::new(
            Exit::Failed,
            format!("{shown} is in use: {why}"),
            "see shmkit who; --force removes it all the same",
        ));
    }
    if args.if_unused && object.state != State::Orphan && (more || users.known().is_none()) {
        let why = match (object.kind, object.uses_partial) {
            (Kind::Semset, _) => "nothing records who uses a set of semaphores".to_string(),
            (_, why) => format!("not every process can be looked at ({})", why.unwrap_or(NO_PERMISSION)),
        };
        return Ok(Some(Outcome::Left(format!("it cannot be told whether it is in use: {why}"))));
    }
    Ok(None)
}

fn confirmed(object: &Object, output: &Output) -> Result<bool, Failure> {
    let size = view::size_text(object, output);
    let owner = view::owner_text(object.uid);
    output::tell(format_args!(
        "remove {} ({size}, {owner}, {})? [y/N] ",
        printable::text(&object.address),
        object.state.name()
    ));
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(Exit::Failed, format!("the answer cannot be read: {error}"), ""))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn refused(object: &Object, errno: i32) -> Failure {
    let shown = printable::text(&object.address);
    match errno {
        libc::EPERM | libc::EACCES => Failure::new(
            Exit::NotPermitted,
            format!("{shown} belongs to {}, and this user may not remove it", view::owner_text(object.uid)),
            "remove it as its owner or as root",
        ),
        libc::ENOENT | libc::EIDRM | libc::EINVAL => vanished(object),
        _ => Failure::new(
            Exit::Failed,
            format!("{shown} cannot be removed: {}", std::io::Error::from_raw_os_error(errno)),
            "",
        ),
    }
}

fn remove_path(object: &Object, path: &[u8]) -> Result<(), Failure> {
    let Identity::File(dev, ino) = object.identity else { return Err(vanished(object)) };
    if !is_same(object, path)? {
        return Err(made_again(object));
    }
    if object.content == Content::Region {
        return access::unlink_same(&object.address, (dev, ino)).map_err(|failure| match failure.status {
            shmkit::error::Status::ErrRemoved => made_again(object),
            _ => refusal::failure(&failure, &object.address),
        });
    }
    remove_aside(object, path)
}

/// Whether a path leads to this very object now.
fn is_same(object: &Object, path: &[u8]) -> Result<bool, Failure> {
    match Status::at(path) {
        Ok(status) => Ok(Identity::File(status.dev, status.ino) == object.identity),
        Err(error) => Err(refused(object, error.raw_os_error().unwrap_or(libc::EIO))),
    }
}

/// A name beside another one. Not one of the library's own, which gc would collect: if this program is killed, what has it
/// may be an object that somebody uses. Several, for a tool with the same process id may have been killed over the first.
fn aside_of(path: &[u8], number: u32) -> Vec<u8> {
    let slash = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let more = if number == 0 { String::new() } else { format!("-{number}") };
    [&path[..slash], format!(".rm-{}{more}", std::process::id()).as_bytes()].concat()
}

/// Gives an object the first of the names beside it that is free.
fn take_aside(name: &CStr, path: &[u8]) -> Result<Vec<u8>, i32> {
    const NAMES: u32 = 1000;
    for number in 0..NAMES {
        let aside = aside_of(path, number);
        let aside_name = CString::new(aside.as_slice()).unwrap_or_default();
        match sys::file::rename_exclusively(libc::AT_FDCWD, name, &aside_name) {
            Ok(()) => return Ok(aside),
            Err(errno) if errno.0 == libc::EEXIST => {}
            Err(errno) => return Err(errno.0),
        }
    }
    Err(libc::EEXIST)
}

/// A name can be removed only as a name, and what it leads to may change after every look. So it is given another name
/// first, which nobody else makes, and what has that one is looked at; another object gets its name back.
fn remove_aside(object: &Object, path: &[u8]) -> Result<(), Failure> {
    let c = |path: &[u8]| CString::new(path).unwrap_or_default();
    let name = c(path);
    let aside = take_aside(&name, path).map_err(|errno| refused(object, errno))?;
    let aside_name = c(&aside);
    if is_same(object, &aside)? {
        return sys::file::unlink_at(libc::AT_FDCWD, &aside_name).map_err(|errno| refused(object, errno.0));
    }
    if sys::file::rename_exclusively(libc::AT_FDCWD, &aside_name, &name).is_err() {
        return Err(Failure::new(
            Exit::Failed,
            format!("{} was made again twice meanwhile", printable::text(&object.address)),
            format!("the first of these is at {} now: put it back where it belongs", printable::text(&aside)),
        ));
    }
    Err(made_again(object))
}

/// What has an id was looked at just now. Ids come back only after a table of them was gone through.
fn remove_id(object: &Object) -> Result<(), Failure> {
    match object.identity {
        Identity::Segment(id, _) if object.content == Content::Region => {
            access::unlink_same(&object.address, (0, id as u64))
                .map_err(|failure| refusal::failure(&failure, &object.address))
        }
        Identity::Segment(id, _) => sys::sysv::remove(id).map_err(|errno| refused(object, errno.0)),
        Identity::Set(id) => sys::semset::remove(id).map_err(|errno| refused(object, errno.0)),
        Identity::File(..) => Err(vanished(object)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_aside_is_none_of_the_names_that_gc_collects() {
        for number in [0, 1] {
            let aside = aside_of(b"/dev/shm/object", number);
            let name = aside.strip_prefix(b"/dev/shm/").expect("it is in the same folder");
            assert!(!name.starts_with(shmkit::region::address::OWN_PREFIX), "{}", printable::text(name));
        }
    }

    #[test]
    fn what_got_the_name_after_the_last_look_gets_it_back() {
        let folder = tempfile::tempdir().expect("/tmp is writable");
        let path = folder.path().join("object");
        std::fs::write(&path, "another").expect("the folder is ours");
        let bytes = path.as_os_str().as_bytes();
        let status = Status::at(bytes).expect("it was just made");
        let address = [b"file:", bytes].concat();
        let object = |ino: u64| Object::new(Kind::File, address.clone(), Identity::File(status.dev, ino));
        let failure = remove_aside(&object(status.ino + 1), bytes).expect_err("it is not the one that was looked at");
        assert!(failure.cause.contains("made again"), "{failure}");
        assert_eq!(std::fs::read(&path).expect("it has its name"), b"another");
        assert_eq!(Status::at(bytes).expect("it has its name").ino, status.ino);
        // What a tool of the same process id left stays, and is not in the way.
        let left = aside_of(bytes, 0);
        std::fs::write(OsStr::from_bytes(&left), "left").expect("the folder is ours");
        remove_aside(&object(status.ino), bytes).expect("it is the one");
        assert_eq!(std::fs::read(OsStr::from_bytes(&left)).expect("it stays"), b"left");
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 1);
    }
}
