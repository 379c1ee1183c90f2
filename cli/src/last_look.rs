//! The last look at an object before it is removed: whether it is still the same, and who uses it now. Asks for the one
//! object where the kernel answers that; a walk through /proc serves several objects as long as it is fresh.
//! Never removes. Next: `rm.rs` and `gc.rs`, which do.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use shmkit::region::survey::{self, Answer, Which};
use shmkit::sys::{semset, sysv};

use crate::exit::Failure;
use crate::gather;
use crate::objects::{Identity, NO_PERMISSION, Object};
use crate::proc::{Use, Walk};
use crate::refusal;
use crate::rm::{made_again, path_of, vanished};

/// Who has an object open for this long did not only look at it, as tools like this one do.
const PASSING: Duration = Duration::from_millis(50);
/// For how long a walk through /proc is believed: hundreds of objects are removed in that time.
const FRESH: Duration = Duration::from_millis(20);
/// How often it is looked whether a descriptor stays.
const LOOKS: u32 = 3;

/// The last looks of one command.
pub struct LastLook {
    /// Files whose users are looked for by device and inode.
    files: Vec<Vec<u8>>,
    begun: Instant,
    /// A walk through /proc, and when it ended.
    walked: Option<(Walk, Instant)>,
}

impl LastLook {
    /// For objects that were found just now, and files that arguments name.
    pub fn new(arguments: &[OsString]) -> LastLook {
        LastLook { files: gather::files_named(arguments), begun: Instant::now(), walked: None }
    }

    /// Forgets what was seen: much may have happened.
    pub fn forget(&mut self) {
        self.walked = None;
    }

    /// A walk that has just ended, for one may take as long as hundreds of removals.
    fn walk(&mut self) -> &Walk {
        let fresh = self.walked.take().filter(|(_, ended)| ended.elapsed() <= FRESH).unwrap_or_else(|| {
            let walk = Walk::of_all(&gather::wanted(&self.files));
            (walk, Instant::now())
        });
        &self.walked.insert(fresh).0
    }

    /// Who has a file or POSIX object now; and why there may be more. Descriptors alone are looked at again until one
    /// is seen to stay: to look at an object one has to open it.
    pub fn uses(&mut self, object: &Object) -> (Vec<Use>, Option<&'static str>) {
        let passing = |uses: &[Use]| !uses.is_empty() && uses.iter().all(|one| one.mappings == 0);
        let (mut before, mut at) = (object.uses.clone(), self.begun);
        let mut look = 1;
        loop {
            let age = at.elapsed();
            if passing(&before) && age < PASSING {
                std::thread::sleep(PASSING - age);
                self.forget();
            }
            let walk = self.walk();
            let (now, partial) = (gather::uses_in(walk, object), walk.partial());
            let stays = now.iter().any(|one| before.iter().any(|other| other.pid == one.pid));
            if !passing(&now) || stays || look == LOOKS {
                return (now, partial);
            }
            (before, at) = (now, Instant::now());
            look += 1;
        }
    }

    /// The object as it is now; a failure when it is not the same any more. Who uses a file is not asked in vain.
    pub fn at(&mut self, object: &Object, users_too: bool) -> Result<Object, Failure> {
        match object.identity {
            Identity::Segment(id, changed) => segment(object, id, changed),
            Identity::Set(id) => set(object, id),
            Identity::File(dev, ino) if users_too => self.file(object, (dev, ino)),
            Identity::File(..) => Ok(object.clone()),
        }
    }

    fn file(&mut self, object: &Object, identity: (u64, u64)) -> Result<Object, Failure> {
        let (uses, uses_partial) = self.uses(object);
        let mut now = Object { uses, uses_partial, ..object.clone() };
        // Leases come and go, too.
        let Some(path) = path_of(object) else { return Ok(now) };
        match survey::look_at_file(&path) {
            Ok(found) if (found.dev, found.ino) != identity => return Err(made_again(object)),
            Ok(found) => {
                let found = Object::found(object.kind, object.address.clone(), object.identity, &found);
                let Object { uses, uses_partial, time, creator, .. } = now;
                now = Object { uses, uses_partial, time, creator, ..found };
            }
            Err(failure) if failure.status == shmkit::error::Status::ErrNotFound => return Err(vanished(object)),
            // What it holds may not be looked at; who has it is known.
            Err(_) => {}
        }
        now.decide();
        Ok(now)
    }
}

fn segment(object: &Object, id: i32, changed: u64) -> Result<Object, Failure> {
    let any = sysv::at_index(id).ok().filter(|(found, _)| *found == id).map(|(_, status)| status);
    let Some(status) = any.or_else(|| sysv::status(id).ok()) else { return Err(gone(object)) };
    if status.changed.max(0) as u64 != changed || gather::segment_address(status.key, id) != object.address {
        return Err(gone(object));
    }
    let mut now = Object { counted: Some(status.attaches), ..object.clone() };
    if status.attaches > 0 {
        now.orphan = Answer::No;
    }
    now.decide();
    Ok(now)
}

fn set(object: &Object, id: i32) -> Result<Object, Failure> {
    let any = semset::at_index(id).ok().filter(|(found, _)| *found == id).map(|(_, status)| status);
    let Some(status) = any.or_else(|| semset::status(id).ok()) else { return Err(gone(object)) };
    let same = gather::set_time(status.changed) == object.time;
    if !same || gather::set_address(status.key, id) != object.address {
        return Err(gone(object));
    }
    // What it is a part of was decided with all others.
    Ok(object.clone())
}

/// What the library would collect, and what of it stays for processes that have it without a lease: the library cannot
/// know of these.
#[derive(Default)]
pub struct LeftOver {
    pub free: Vec<Object>,
    pub mapped: Vec<Object>,
    /// Why POSIX objects could not be listed.
    pub unlisted: Option<&'static str>,
}

const COLLECTED: [Which; 2] =
    [Which { posix: true, sysv: false, mapped: false }, Which { posix: false, sysv: true, mapped: false }];

/// Finds what is left over. `before` is what the tables of System V have.
pub fn left_over(before: &[Object]) -> Result<LeftOver, Failure> {
    let mut left = LeftOver::default();
    left.unlisted = collect(false, &mut |_| true, &mut |found| {
        left.free.extend(gather::collected(found, before));
    })?;
    let mut last = LastLook::new(&[]);
    for mut object in std::mem::take(&mut left.free) {
        if !matches!(object.identity, Identity::File(..)) {
            left.free.push(object);
            continue;
        }
        (object.uses, object.uses_partial) = last.uses(&object);
        object.decide();
        let place = if object.uses.is_empty() { &mut left.free } else { &mut left.mapped };
        place.push(object);
    }
    Ok(left)
}

/// Removes what is left over still of what was found, with every opener locked out; shows it to `each`.
pub fn remove_left_over(free: &[Object], before: &[Object], mut each: impl FnMut(Object)) -> Result<(), Failure> {
    let key = |object: &Object| (object.address.clone(), object.identity);
    let free: HashSet<_> = free.iter().map(key).collect();
    let mut wanted =
        |found: &survey::Object| gather::collected(found, before).is_some_and(|object| free.contains(&key(&object)));
    collect(true, &mut wanted, &mut |found| {
        if let Some(object) = gather::collected(found, before) {
            each(object);
        }
    })
    .map(drop)
}

fn collect(
    remove: bool,
    wanted: &mut dyn FnMut(&survey::Object) -> bool,
    each: &mut dyn FnMut(&survey::Object),
) -> Result<Option<&'static str>, Failure> {
    let mut unlisted = None;
    for which in COLLECTED {
        let told = survey::collect_where(which, remove, wanted, &mut |found| {
            each(found);
            true
        });
        match told {
            Err(failure) if gather::may_not_list(which, &failure) => unlisted = Some(NO_PERMISSION),
            Err(failure) => return Err(refusal::failure(&failure, gather::FOLDER.as_bytes())),
            Ok(_) => {}
        }
    }
    Ok(unlisted)
}

/// Why an id leads to something else, or to nothing.
fn gone(object: &Object) -> Failure {
    let now = gather::tables().unwrap_or_default();
    match now.iter().any(|one| one.kind == object.kind && one.address == object.address) {
        true => made_again(object),
        false => vanished(object),
    }
}
