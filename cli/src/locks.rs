//! The objects of synchronisation in an object's data, and who holds them: found by their stamps, read by copies, judged by
//! the library. Bounded in what is read and in what is shown. Next: `show.rs`, which prints it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::Serialize;
use shmkit::region::identity;
use shmkit::sync::look::{Found, Life, Lock, Owner, PIECE, Seen, at_place, stamps};

use crate::container;
use crate::objects::Object;
use crate::output::{self, Align, Column, Output};
use crate::picture;
use crate::proc;
use crate::view;

/// So many bytes of data are looked at, at most.
const MOST_BYTES: u64 = 64 << 20;
/// So many locks are shown, at most.
const MOST_LOCKS: usize = 1000;
/// Bytes that are read at once: a multiple of `PIECE`.
const STEP: u64 = 1 << 20;
const _: () = assert!(STEP.is_multiple_of(PIECE as u64));

/// A thread that holds something.
#[derive(Clone, Serialize)]
pub struct Holder {
    /// Its id in its own pid namespace; null where its death took that away.
    tid: Option<u32>,
    /// Its process; null when that cannot be told.
    pid: Option<u32>,
    command: Option<String>,
    /// Null when it cannot be told.
    alive: Option<bool>,
    alive_why: Option<&'static str>,
}

/// What one of them is, and in which state.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Mutex { state: &'static str, owner_died: bool, holder: Option<Holder> },
    Rwlock { state: &'static str, owner_died: bool, holder: Option<Holder>, readers: Vec<Holder> },
    Cond,
    Semaphore { value: u32 },
    RobustSemaphore { permits: u32, free: u32, holders: Vec<Holder> },
    Barrier { needed: u32, arrived: u32, owner_died: bool, broken: bool, waiting: Vec<Holder>, joined: Vec<Holder> },
    Once { state: &'static str, owner_died: bool, holder: Option<Holder> },
    Event,
}

/// One of them.
#[derive(Serialize)]
pub struct Shown {
    /// From the beginning of the data.
    offset: u64,
    #[serde(flatten)]
    what: What,
    /// Somebody sleeps there, or did since it was last given up or notified of.
    awaited: bool,
}

/// What was looked at.
#[derive(Default, Serialize)]
pub struct Looked {
    read: u64,
    /// Bytes of which nothing was ever written, and which were passed by.
    holes: u64,
    /// Bytes behind the place where the look stopped.
    left: u64,
    left_why: Option<String>,
}

impl Looked {
    /// Whether all data was looked at.
    pub fn is_whole(&self) -> bool {
        self.left_why.is_none()
    }
}

/// All that were found, in order.
pub struct Locks {
    pub all: Vec<Shown>,
    pub looked: Looked,
}

/// Looks at the data of an object. The error is why nothing is known.
pub fn look(object: &Object, file: &File) -> Result<Locks, String> {
    let (begin, length) = container::data_of(object, file)?;
    let failed = |error: io::Error| error.to_string();
    let size = file.metadata().map_err(failed)?.len();
    let end = begin.saturating_add(length).min(size);
    let mut search = Search { file, begin, end, names: HashMap::new(), all: Vec::new(), looked: Looked::default() };
    search.run().map_err(failed)?;
    Ok(Locks { all: search.all, looked: search.looked })
}

struct Search<'a> {
    file: &'a File,
    begin: u64,
    /// Of the data, in the file.
    end: u64,
    /// Processes and programs of threads that were met.
    names: HashMap<u32, (Option<u32>, Option<String>)>,
    all: Vec<Shown>,
    looked: Looked,
}

impl Search<'_> {
    fn run(&mut self) -> io::Result<()> {
        let page = shmkit::sys::limits::page_size() as u64;
        let whole = self.end.next_multiple_of(page);
        let mut buffer = vec![0; STEP as usize];
        let mut at = self.begin;
        while at < self.end {
            let (data, hole) = picture::extent(self.file, at / page * page, whole)?;
            let (data, hole) = (data.clamp(at, self.end), hole.min(self.end));
            self.looked.holes += data - at;
            at = data;
            while at < hole {
                let length = STEP.min(hole - at).min(MOST_BYTES - self.looked.read);
                if length == 0 {
                    return self.stop(at, format!("no more than {MOST_BYTES} bytes are read"));
                }
                let piece = &mut buffer[..length as usize];
                let count = fill(self.file, piece, at)?;
                self.looked.read += count as u64;
                if let Some(next) = self.find_in(&piece[..count], at)? {
                    return self.stop(next, format!("no more than {MOST_LOCKS} locks are shown"));
                }
                if (count as u64) < length {
                    return self.stop(at + count as u64, "it was cut off meanwhile".to_string());
                }
                at += length;
            }
        }
        Ok(())
    }

    fn stop(&mut self, at: u64, why: String) -> io::Result<()> {
        self.looked.left = self.end - at;
        self.looked.left_why = Some(why);
        Ok(())
    }

    /// Where the first one lies that is not shown any more.
    fn find_in(&mut self, bytes: &[u8], at: u64) -> io::Result<Option<u64>> {
        for (place, kind) in stamps(bytes, at - self.begin) {
            let mut failed = None;
            let from = self.begin + place;
            let found = at_place(kind, &mut |room| {
                let fits = from + room.len() as u64 <= self.end;
                fits && match fill(self.file, room, from) {
                    Ok(count) => count == room.len(),
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                }
            });
            if let Some(error) = failed {
                return Err(error);
            }
            if let Some(found) = found {
                if self.all.len() == MOST_LOCKS {
                    return Ok(Some(from));
                }
                let shown = self.shown(place, found);
                self.all.push(shown);
            }
        }
        Ok(None)
    }

    fn holder(&mut self, owner: Owner) -> Holder {
        let (alive, alive_why) = match owner.life {
            Life::Alive => (Some(true), None),
            Life::Dead => (Some(false), None),
            Life::Elsewhere => (None, Some("another pid namespace")),
            Life::Untold => (None, Some("it changed under the look, or there is no /proc")),
        };
        let (pid, command) = match owner.id {
            Some(id) if owner.life == Life::Alive && identity::sees_peers() => {
                let named = self.names.entry(id).or_insert_with(|| {
                    let pid = proc::process_of(id);
                    (pid, pid.and_then(proc::command))
                });
                named.clone()
            }
            _ => (None, None),
        };
        Holder { tid: owner.id, pid, command, alive, alive_why }
    }

    fn holders(&mut self, owners: Vec<Owner>) -> Vec<Holder> {
        owners.into_iter().map(|owner| self.holder(owner)).collect()
    }

    fn held(&mut self, lock: Lock) -> (&'static str, Option<Holder>) {
        let state = match (lock.abandoned, lock.owner) {
            (true, _) => "abandoned",
            (false, Some(_)) => "held",
            (false, None) => "free",
        };
        (state, lock.owner.map(|owner| self.holder(owner)))
    }

    fn shown(&mut self, offset: u64, found: Found) -> Shown {
        let what = match found.seen {
            Seen::Mutex(lock) => {
                let (state, holder) = self.held(lock);
                What::Mutex { state, owner_died: lock.died, holder }
            }
            Seen::RwLock { lock, writing, readers } => {
                let (state, holder) = self.held(lock);
                let state = match (state, writing, readers.is_empty()) {
                    ("abandoned", _, _) => "abandoned",
                    ("held", true, true) => "writing",
                    ("held", true, false) => "draining",
                    (_, _, false) => "reading",
                    (other, _, true) => other,
                };
                What::Rwlock { state, owner_died: lock.died, holder, readers: self.holders(readers) }
            }
            Seen::Cond => What::Cond,
            Seen::Semaphore { value } => What::Semaphore { value },
            Seen::Permits { count, owners } => What::RobustSemaphore {
                permits: count,
                free: count - owners.len() as u32,
                holders: self.holders(owners),
            },
            Seen::Barrier { needed, arrived, joined, died, broken } => What::Barrier {
                needed,
                arrived: arrived.len() as u32,
                owner_died: died,
                broken,
                waiting: self.holders(arrived),
                joined: self.holders(joined),
            },
            Seen::Once { lock, done } => {
                let (state, holder) = self.held(lock);
                let state = match (done, state) {
                    (true, _) => "done",
                    (false, "held") => "running",
                    (false, _) => "not_run",
                };
                What::Once { state, owner_died: lock.died, holder: holder.filter(|_| !done) }
            }
            Seen::Event => What::Event,
        };
        Shown { offset, what, awaited: found.awaited }
    }
}

/// Reads as much as there is; says how much.
fn fill(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < room.len() {
        match file.read_at(&mut room[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn holder_text(holder: &Holder) -> String {
    let tid = holder.tid.map_or(output::UNKNOWN.to_string(), |tid| tid.to_string());
    let process = match holder.pid {
        Some(pid) if holder.tid != Some(pid) => format!(" of {pid}"),
        _ => String::new(),
    };
    match (holder.alive, &holder.command) {
        (Some(true), Some(command)) => format!("{tid}{process} ({command})"),
        (Some(true), None) => format!("{tid}{process} (alive)"),
        (Some(false), _) => format!("{tid} (dead)"),
        (None, _) => format!("{tid}: {}", view::unknown(holder.alive_why.unwrap_or_default())),
    }
}

fn readers_text(count: usize) -> String {
    format!("{count} reader{}", if count == 1 { "" } else { "s" })
}

fn state_text(shown: &Shown) -> String {
    let after = |state: &str, is_so: bool, what: &str| format!("{state}{}", if is_so { what } else { "" });
    match &shown.what {
        What::Mutex { state, owner_died, .. } => after(state, *owner_died, ", a holder died"),
        What::Rwlock { state, owner_died, readers, .. } => {
            let state = match *state {
                "reading" => readers_text(readers.len()),
                "draining" => format!("{}, a writer waits", readers_text(readers.len())),
                other => other.to_string(),
            };
            after(&state, *owner_died, ", a writer died")
        }
        What::Semaphore { value } => format!("value {value}"),
        What::RobustSemaphore { permits, free, .. } => format!("{free} of {permits} free"),
        What::Barrier { needed, arrived, owner_died, broken, .. } => {
            let state = after(&format!("{arrived} of {needed} have come"), *broken, ", broken");
            after(&state, *owner_died, ", one died")
        }
        What::Once { state, owner_died, .. } => after(&state.replace('_', " "), *owner_died, ", who ran it died"),
        What::Cond | What::Event => "-".to_string(),
    }
}

fn holders_text(shown: &Shown) -> String {
    let all: Vec<&Holder> = match &shown.what {
        What::Mutex { holder, .. } | What::Once { holder, .. } => holder.iter().collect(),
        What::Rwlock { holder, readers, .. } => holder.iter().chain(readers).collect(),
        What::RobustSemaphore { holders, .. } => holders.iter().collect(),
        What::Barrier { waiting, joined, .. } => waiting.iter().chain(joined).collect(),
        What::Cond | What::Semaphore { .. } | What::Event => Vec::new(),
    };
    if all.is_empty() { "-".to_string() } else { all.into_iter().map(holder_text).collect::<Vec<_>>().join(", ") }
}

fn kind_text(what: &What) -> &'static str {
    match what {
        What::Mutex { .. } => "mutex",
        What::Rwlock { .. } => "rwlock",
        What::Cond => "cond",
        What::Semaphore { .. } => "semaphore",
        What::RobustSemaphore { .. } => "robust_semaphore",
        What::Barrier { .. } => "barrier",
        What::Once { .. } => "once",
        What::Event => "event",
    }
}

/// How many, and what was looked at.
pub fn summary(all: &[Shown], looked: &Looked, output: &Output) -> String {
    let count = if all.is_empty() { "none".to_string() } else { all.len().to_string() };
    let left = match &looked.left_why {
        Some(why) => format!("; {} not looked at: {why}", output.size(looked.left)),
        None => String::new(),
    };
    format!("{count} ({} looked at, {} are holes{left})", output.size(looked.read), output.size(looked.holes))
}

/// The table of them; nothing when there are none.
pub fn table(all: &[Shown], output: &Output) -> String {
    if all.is_empty() {
        return String::new();
    }
    type Text = fn(&Shown, &Output) -> String;
    let column = |name, align, text: Text| Column { name, align, default: true, text };
    let columns = [
        column("offset", Align::Right, |shown, _| shown.offset.to_string()),
        column("kind", Align::Left, |shown, _| kind_text(&shown.what).to_string()),
        column("state", Align::Left, |shown, _| state_text(shown)),
        column("waiters", Align::Left, |shown, _| if shown.awaited { "perhaps" } else { "no" }.to_string()),
        column("holders", Align::Left, |shown, _| holders_text(shown)),
    ];
    output::table_text(output, &columns.iter().collect::<Vec<_>>(), all)
}
