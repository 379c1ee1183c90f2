//! The last look at an object before it is removed: whether it is still the same, and who uses it now. Asks for the one
//! object where the kernel answers that; a walk through /proc serves several objects as long as it is fresh.
//! Never removes. Next: `rm.rs` and `gc.rs`, which do.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use shmkit::region::survey::{self, Answer};
use shmkit::sys::{semset, sysv};

use crate::exit::Failure;
use crate::gather;
use crate::objects::{Identity, Object};
use crate::proc::{Use, Walk};
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
        match path_of(object).map(|path| survey::look_at_file(&path)) {
            Some(Ok(found)) if (found.dev, found.ino) != identity => return Err(made_again(object)),
            Some(Ok(found)) => {
                let found = Object::found(object.kind, object.address.clone(), object.identity, &found);
                let Object { uses, uses_partial, time, creator, .. } = now;
                now = Object { uses, uses_partial, time, creator, ..found };
            }
            Some(Err(failure)) if failure.errno == libc::ENOENT => return Err(vanished(object)),
            _ => {}
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

/// Why an id leads to something else, or to nothing.
fn gone(object: &Object) -> Failure {
    let now = gather::tables().unwrap_or_default();
    match now.iter().any(|one| one.kind == object.kind && one.address == object.address) {
        true => made_again(object),
        false => vanished(object),
    }
}
