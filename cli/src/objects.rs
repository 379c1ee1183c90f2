//! The one model of shared memory objects over every kind of memory: what each is, who has it, in what state it is.
//! What is alive or left over the library says (`shmkit::region::survey`); what nothing proves is "unknown" here.
//! Never prints. Next: `gather.rs`, which finds them, and `view.rs`, which shows them.

use std::collections::BTreeMap;

use shmkit::region::header::{self, Header};
use shmkit::region::survey::{Answer, Content};

use crate::proc::{Hidden, Status, Use};
use crate::refusal;

/// Why something is not known: this user may not look.
pub const NO_PERMISSION: &str = "no permission";
/// Why something is not known: the system keeps no record of it.
pub const NOT_RECORDED: &str = "not recorded";

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// POSIX shared memory object
    Posix,
    /// Named POSIX semaphore
    Sem,
    /// System V segment
    Sysv,
    /// System V set of semaphores
    Semset,
    /// memfd
    Memfd,
    /// File that processes map shared
    File,
    /// Anonymous shared memory
    Anon,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Posix => "posix",
            Kind::Sem => "sem",
            Kind::Sysv => "sysv",
            Kind::Semset => "semset",
            Kind::Memfd => "memfd",
            Kind::File => "file",
            Kind::Anon => "anon",
        }
    }
}

/// In what state an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum State {
    /// Somebody has it
    Live,
    /// Proved that nobody has it, and that it is left over
    Orphan,
    /// Its name is gone; it ends with its last user
    Unlinked,
    /// Its creator is not done
    Initialising,
    /// Its header cannot be true
    Poisoned,
    /// Nothing proves any of these
    Unknown,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Orphan => "orphan",
            State::Unlinked => "unlinked",
            State::Initialising => "initialising",
            State::Poisoned => "poisoned",
            State::Unknown => "unknown",
        }
    }
}

/// What tells an object from every other one, also from one that gets its name afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// Device and inode.
    File(u64, u64),
    /// The id of a segment, and when it was made or its owner changed, in seconds since the epoch.
    Segment(i32, u64),
    /// The id of a set of semaphores.
    Set(i32),
}

/// Something that may be not known, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    Unknown(&'static str),
}

impl<T: Copy> Fact<T> {
    pub fn known(self) -> Option<T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown(_) => None,
        }
    }

    pub fn or_why(value: Option<T>, why: &'static str) -> Fact<T> {
        value.map_or(Fact::Unknown(why), Fact::Known)
    }
}

/// When something happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// It was created, in nanoseconds since the epoch.
    Created(u64),
    /// It was created, or its owner, mode or size was changed: the kind of memory keeps no more.
    Changed(u64),
    Unknown(&'static str),
}

impl Time {
    pub fn ns(self) -> Option<u64> {
        match self {
            Time::Created(at) | Time::Changed(at) => Some(at),
            Time::Unknown(_) => None,
        }
    }
}

/// Who made an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creator {
    Process { pid: u32, alive: Answer },
    Unknown(&'static str),
}

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    pub kind: Kind,
    /// Its address string, byte for byte as it is named.
    pub address: Vec<u8>,
    pub identity: Identity,
    pub size: Fact<u64>,
    pub reserved: Fact<u64>,
    /// Bytes of System V segments that are in memory, and that are swapped out.
    pub resident: Option<(u64, u64)>,
    pub uid: Fact<u32>,
    pub gid: Fact<u32>,
    pub mode: Fact<u32>,
    pub content: Content,
    pub header: Option<Header>,
    /// Why the header of what claims to be a region is not believed, and the status of that.
    pub doubt: Option<(shmkit::error::Status, String)>,
    /// What the kernel counts: leases of a region, attaches of a segment.
    pub counted: Option<u64>,
    /// Whether the library proved that nobody uses it.
    pub orphan: Answer,
    pub unlinked: bool,
    /// Its name is one of another mount namespace: here it leads to nothing, or to something else.
    pub elsewhere: bool,
    /// The region whose semaphores this set is.
    pub set_of: Option<i32>,
    /// Semaphores of a set.
    pub semaphores: Option<u64>,
    pub creator: Creator,
    pub time: Time,
    /// Processes that have it mapped or open, as far as /proc shows.
    pub uses: Vec<Use>,
    /// Why there may be processes that could not be looked at.
    pub uses_partial: Option<&'static str>,
    pub state: State,
    pub why: String,
}

impl Object {
    /// An object of which nothing is known but its name and identity.
    pub fn new(kind: Kind, address: Vec<u8>, identity: Identity) -> Object {
        Object {
            kind,
            address,
            identity,
            size: Fact::Unknown(NO_PERMISSION),
            reserved: Fact::Unknown(NO_PERMISSION),
            resident: None,
            uid: Fact::Unknown(NO_PERMISSION),
            gid: Fact::Unknown(NO_PERMISSION),
            mode: Fact::Unknown(NO_PERMISSION),
            content: Content::Unknown,
            header: None,
            doubt: None,
            counted: None,
            orphan: Answer::Unknown,
            unlinked: false,
            elsewhere: false,
            set_of: None,
            semaphores: None,
            creator: Creator::Unknown(NOT_RECORDED),
            time: Time::Unknown(NO_PERMISSION),
            uses: Vec::new(),
            uses_partial: None,
            state: State::Unknown,
            why: String::new(),
        }
    }

    /// As the library's survey found it.
    pub fn found(kind: Kind, address: Vec<u8>, identity: Identity, found: &shmkit::region::survey::Object) -> Object {
        let mut object = Object::new(kind, address, identity);
        (object.size, object.reserved) = (Fact::Known(found.size), Fact::Known(found.reserved));
        (object.uid, object.gid, object.mode) =
            (Fact::Known(found.uid), Fact::Known(found.gid), Fact::Known(found.mode));
        (object.content, object.header, object.orphan) = (found.content, found.header, found.orphan);
        (object.counted, object.unlinked) = (found.users, found.unlinked);
        object.doubt = found.doubt.map(|failure| (failure.status, refusal::cause(&failure, &object.address)));
        object
    }

    /// Takes over what a look at it from outside shows.
    pub fn take_status(&mut self, status: &Status) {
        (self.size, self.reserved) = (Fact::Known(status.size), Fact::Known(status.reserved));
        (self.uid, self.gid) = (Fact::Known(status.uid), Fact::Known(status.gid));
        self.mode = Fact::Known(status.mode & 0o777);
        self.unlinked = status.links == 0 && !matches!(self.kind, Kind::Memfd | Kind::Anon);
        self.time = status.created_ns.map_or(Time::Changed(status.changed_ns), Time::Created);
    }

    /// Whether it has a name by which others find it.
    pub fn is_named(&self) -> bool {
        !self.unlinked && !self.elsewhere && !matches!(self.kind, Kind::Memfd | Kind::Anon)
    }

    /// Whether it is the set of semaphores beside a region that is there: a part of it, not something of its own.
    pub fn is_part_of_region(&self) -> bool {
        self.set_of.is_some() && self.state != State::Unknown
    }

    pub fn is_persistent(&self) -> bool {
        self.header.is_some_and(|header| header.flags & header::PERSISTENT != 0)
    }

    /// Whether processes map it for reading only: fonts and tables of conversions, not what programs talk through.
    pub fn is_only_read(&self) -> bool {
        self.kind == Kind::File && !self.uses.is_empty() && self.uses.iter().all(|one| !one.writable)
    }

    /// How many use it: what the kernel counts, or the processes that can be seen, whichever proves more. The second
    /// part says whether there may be more.
    pub fn users(&self) -> (Fact<u64>, bool) {
        let seen = self.uses.len() as u64;
        match self.counted {
            // Attaches are all there are. Beside leases there may be programs that know none.
            Some(counted) if self.kind == Kind::Sysv => (Fact::Known(counted), false),
            Some(counted) => (Fact::Known(counted.max(seen)), self.uses_partial.is_some()),
            None if self.kind == Kind::Semset => (Fact::Unknown(NOT_RECORDED), false),
            None => match self.uses_partial {
                Some(why) if seen == 0 => (Fact::Unknown(why), false),
                partial => (Fact::Known(seen), partial.is_some()),
            },
        }
    }

    /// Decides the state, and says why.
    pub fn decide(&mut self) {
        (self.state, self.why) = self.state_and_why();
        if self.elsewhere {
            self.why.push_str(", and its name is one of another mount namespace");
        }
    }

    fn state_and_why(&self) -> (State, String) {
        use shmkit::error::Status::{ErrCorrupt, ErrUnfinished};
        let seen = self.uses.len() as u64;
        let by = |count: u64, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        match &self.doubt {
            Some((ErrCorrupt, why)) => return (State::Poisoned, why.clone()),
            Some((ErrUnfinished, _)) if self.orphan != Answer::Yes => {
                return (State::Initialising, "its header says that its creator is not done".to_string());
            }
            _ => {}
        }
        if self.content == Content::Leftover {
            return match self.orphan {
                Answer::Yes => (State::Orphan, "its creator died on the way to a region".to_string()),
                Answer::No => (State::Initialising, "its creator is building a region".to_string()),
                Answer::Unknown => (State::Unknown, "begun by a creator that may live or not".to_string()),
            };
        }
        if self.unlinked {
            let users = match self.kind {
                Kind::Sysv => by(self.counted.unwrap_or(0), "attach is", "attaches are"),
                _ => by(seen, "process has it", "processes have it"),
            };
            return (
                State::Unlinked,
                format!("its name was removed, and {users}{}", if self.kind == Kind::Sysv { " left" } else { "" }),
            );
        }
        if self.orphan == Answer::Yes {
            let why = match (self.kind, seen) {
                (Kind::Sysv, _) => "no process has it attached".to_string(),
                (_, 0) => "no process holds a lease on it".to_string(),
                (_, seen) => format!("no process holds a lease on it; {} it without one", by(seen, "has", "have")),
            };
            return (State::Orphan, why);
        }
        match (self.counted, self.kind) {
            (Some(count @ 1..), Kind::Sysv) => return (State::Live, by(count, "attach", "attaches")),
            (Some(count @ 1..), _) => return (State::Live, by(count, "lease", "leases")),
            _ => {}
        }
        if seen > 0 {
            return (State::Live, by(seen, "process has it mapped or open", "processes have it mapped or open"));
        }
        let foreign = self.content == Content::Foreign;
        let unseen = self.uses_partial.unwrap_or_default();
        let why = match self.kind {
            Kind::Semset => match self.set_of {
                Some(key) => format!("semaphores of the region sysv:{key:#x}, which is gone: shmkit gc decides"),
                None => "nothing records who uses a set of semaphores".to_string(),
            },
            Kind::Sysv if foreign => "not attached, and no region: nothing proves it left over".to_string(),
            Kind::Sysv => "not attached, and may not be looked into (no permission)".to_string(),
            _ if self.content == Content::Region => {
                "its leases cannot be looked at, so nothing proves whether somebody has it".to_string()
            }
            _ if self.uses_partial.is_some() => {
                format!("no process that can be looked at has it; not all can ({unseen})")
            }
            _ if foreign => "in no process, and no region: nothing proves it left over".to_string(),
            _ => "in no process, and may not be looked into (no permission)".to_string(),
        };
        (State::Unknown, why)
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Sorted by address, then by identity.
    pub all: Vec<Object>,
    /// Processes that this user may not look at.
    pub unseen: usize,
    /// Why there may be processes of which not even the number is known.
    pub hidden: Option<Hidden>,
    /// Why POSIX objects could not be listed.
    pub unlisted: Option<&'static str>,
    /// What each process that has something is called, and whose it is; printable.
    pub processes: BTreeMap<u32, Named>,
}

/// What a process is called, and whose it is.
#[derive(Clone, Debug)]
pub struct Named {
    pub command: Option<String>,
    pub uid: Option<u32>,
}

impl Objects {
    /// Why there may be users that could not be seen.
    pub fn partial(&self) -> Option<&'static str> {
        self.hidden.map(Hidden::why).or((self.unseen > 0).then_some(NO_PERMISSION))
    }

    /// The program of a process, fit to be printed.
    pub fn command(&self, pid: u32) -> &str {
        self.processes.get(&pid).and_then(|named| named.command.as_deref()).unwrap_or("unknown (ended)")
    }
}
