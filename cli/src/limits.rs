//! `shmkit limits`: every limit that bounds shared memory here, what is used of it, and how to change it.
//! Reads only; judges nothing. Next: `machine.rs`, where the figures come from, and `doctor.rs`, which judges them.

use std::io::IsTerminal;

use serde::Serialize;
use shmkit::sys::limits::{Resource, page_size};

use crate::exit::{Done, Exit};
use crate::machine::{Fact, Group, Machine, OBJECTS};
use crate::output::{Align, Column, Output, UNKNOWN, choose, table};

/// Show every limit that bounds shared memory here
///
/// Limits of resources (RLIMIT_) are those of this process, which programs started from the same shell have too.
#[derive(clap::Args)]
pub struct Args {
    /// Columns: name, what, value, used, from, change; +NAME adds to the usual ones
    #[arg(short = 'o', long, value_name = "NAME,...")]
    pub columns: Option<String>,
}

/// What a limit is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Bytes,
    Pages,
    Count,
    /// A setting of which each number has a meaning of its own.
    Mode,
}

/// One limit, as JSON has it.
#[derive(Serialize)]
struct Limit {
    name: String,
    what: &'static str,
    unit: Unit,
    value: Option<u64>,
    unlimited: bool,
    /// What a mode means.
    meaning: Option<&'static str>,
    value_why: Option<String>,
    used: Option<u64>,
    used_why: Option<String>,
    from: String,
    change: String,
}

const UNCOUNTED: &str = "not counted";

impl Limit {
    fn new(name: &str, what: &'static str, unit: Unit, value: Fact<Option<u64>>) -> Limit {
        let (value, unlimited, value_why) = match value {
            Ok(Some(value)) => (Some(value), false, None),
            Ok(None) => (None, true, None),
            Err(why) => (None, false, Some(why)),
        };
        Limit {
            name: name.into(),
            what,
            unit,
            value,
            unlimited,
            meaning: None,
            value_why,
            used: None,
            used_why: Some(UNCOUNTED.into()),
            from: String::new(),
            change: String::new(),
        }
    }

    fn used(mut self, used: Fact<u64>) -> Limit {
        (self.used, self.used_why) = match used {
            Ok(used) => (Some(used), None),
            Err(why) => (None, Some(why)),
        };
        self
    }

    fn from(mut self, from: impl Into<String>, change: impl Into<String>) -> Limit {
        (self.from, self.change) = (from.into(), change.into());
        self
    }

    /// A limit that a sysctl sets.
    fn sysctl(self, name: &str, example: &str) -> Limit {
        self.from(format!("sysctl {name}"), format!("sysctl {name}={example}"))
    }

    fn amount(&self, number: u64, output: &Output) -> String {
        match self.unit {
            Unit::Bytes => output.size(number),
            // The kernel's own default is a number for which there are not enough bytes.
            Unit::Pages => match number.checked_mul(page_size() as u64) {
                Some(bytes) => output.size(bytes),
                None => "unlimited".into(),
            },
            Unit::Count => number.to_string(),
            Unit::Mode => self.meaning.map_or(number.to_string(), String::from),
        }
    }

    fn value_text(&self, output: &Output) -> String {
        match (self.value, &self.value_why) {
            (Some(value), _) if self.unit == Unit::Bytes && !output.bytes && value >= u64::MAX - (1 << 24) => {
                "unlimited".into()
            }
            (Some(value), _) => self.amount(value, output),
            (None, None) => "unlimited".into(),
            (None, Some(why)) if why == "not there" => "absent".into(),
            (None, Some(why)) => format!("{UNKNOWN} ({why})"),
        }
    }

    fn used_text(&self, output: &Output) -> String {
        match (self.used, &self.used_why) {
            (Some(used), _) => self.amount(used, output),
            (None, Some(why)) if why == UNCOUNTED => "-".into(),
            (None, why) => format!("{UNKNOWN} ({})", why.as_deref().unwrap_or("not told")),
        }
    }
}

fn column(name: &'static str, align: Align, default: bool, text: fn(&Limit, &Output) -> String) -> Column<Limit> {
    Column { name, align, default, text }
}

fn columns() -> [Column<Limit>; 6] {
    [
        column("name", Align::Left, true, |limit, _| limit.name.clone()),
        column("what", Align::Left, false, |limit, _| limit.what.into()),
        column("value", Align::Right, true, Limit::value_text),
        column("used", Align::Right, true, Limit::used_text),
        column("from", Align::Left, true, |limit, _| limit.from.clone()),
        column("change", Align::Left, true, |limit, _| limit.change.clone()),
    ]
}

/// The columns for a terminal that is too narrow for all: what to change says where the value comes from, too.
const NARROW: &str = "name,value,used,change";
const WIDE_FROM: usize = 112;

pub fn run(args: &Args, output: &Output) -> Done {
    let limits = all(&Machine::new());
    if output.json {
        #[derive(Serialize)]
        struct Document {
            page_size: u64,
            limits: Vec<Limit>,
        }
        output.json("limits", &Document { page_size: page_size() as u64, limits })?;
        return Ok(Exit::Ok);
    }
    let narrow = std::io::stdout().is_terminal()
        && ratatui::crossterm::terminal::size().is_ok_and(|(width, _)| usize::from(width) < WIDE_FROM);
    let columns = columns();
    let wanted = args.columns.as_deref().or(narrow.then_some(NARROW));
    table(output, &choose(&columns, wanted)?, &limits)?;
    Ok(Exit::Ok)
}

/// A bound of 0 on a file system is none.
fn bound(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

fn all(machine: &Machine) -> Vec<Limit> {
    let mut limits = folder(machine);
    limits.extend(system_v(machine));
    limits.extend(resources(machine));
    limits.push(
        Limit::new("max_map_count", "mappings of one process", Unit::Count, sysctl(machine, "vm/max_map_count"))
            .sysctl("vm.max_map_count", "N"),
    );
    limits.extend(pools(machine));
    limits.push(group(machine));
    limits.extend(modes(machine));
    limits
}

fn sysctl(machine: &Machine, name: &str) -> Fact<Option<u64>> {
    machine.number(&format!("/proc/sys/{name}")).map(Some)
}

fn folder(machine: &Machine) -> Vec<Limit> {
    let room = machine.room(OBJECTS);
    let from = match machine.mount_of(OBJECTS) {
        Ok(mount) => format!("{} on {}", mount.kind, mount.point),
        Err(why) => format!("{UNKNOWN} ({why})"),
    };
    let bytes = room.clone().map(|room| bound(room.bytes));
    let used = room.clone().map(|room| room.bytes.saturating_sub(room.free));
    let free = room.clone().map(|room| bound(room.bytes).map(|_| room.free));
    let inodes = room.clone().map(|room| bound(room.inodes));
    let used_inodes = room.map(|room| room.inodes.saturating_sub(room.free_inodes));
    let remount = |option: &str| format!("mount -o remount,{option} {OBJECTS}");
    vec![
        Limit::new("/dev/shm size", "bytes of all POSIX objects", Unit::Bytes, bytes)
            .used(used)
            .from(from.clone(), remount("size=SIZE")),
        Limit::new("/dev/shm free", "what objects can still get", Unit::Bytes, free).from(from.clone(), "shmkit gc"),
        Limit::new("/dev/shm inodes", "POSIX objects and semaphores", Unit::Count, inodes)
            .used(used_inodes)
            .from(from, remount("nr_inodes=N")),
    ]
}

fn system_v(machine: &Machine) -> Vec<Limit> {
    let all = machine.system_v();
    let sem = &all.semaphores;
    let of = |number: fn(&shmkit::sys::semset::Limits) -> u64| sem.as_ref().map(number).map_err(Clone::clone);
    // kernel.sem has four numbers, which are set together.
    let four = |limit: Limit, own: &str| {
        let numbers = match sem {
            Ok(now) => {
                let number = |name: &str, value: u64| if name == own { "N".to_string() } else { value.to_string() };
                [("SEMMSL", now.of_set), ("SEMMNS", now.semaphores), ("SEMOPM", now.of_operation), ("SEMMNI", now.sets)]
                    .map(|(name, value)| number(name, value))
                    .join(" ")
            }
            Err(_) => "SEMMSL SEMMNS SEMOPM SEMMNI".into(),
        };
        limit.from("sysctl kernel.sem", format!("sysctl kernel.sem='{numbers}'"))
    };
    vec![
        Limit::new("SHMMAX", "bytes of one System V segment", Unit::Bytes, all.shmmax.map(Some))
            .sysctl("kernel.shmmax", "BYTES"),
        Limit::new("SHMALL", "all System V segments together", Unit::Pages, all.shmall.map(Some))
            .used(all.pages)
            .sysctl("kernel.shmall", "PAGES"),
        Limit::new("SHMMNI", "System V segments", Unit::Count, all.shmmni.map(Some))
            .used(all.segments)
            .sysctl("kernel.shmmni", "N"),
        four(Limit::new("SEMMSL", "semaphores of one set", Unit::Count, of(|sem| sem.of_set).map(Some)), "SEMMSL"),
        four(
            Limit::new("SEMMNS", "System V semaphores", Unit::Count, of(|sem| sem.semaphores).map(Some))
                .used(of(|sem| sem.used)),
            "SEMMNS",
        ),
        four(Limit::new("SEMOPM", "steps of one semop", Unit::Count, of(|sem| sem.of_operation).map(Some)), "SEMOPM"),
        four(
            Limit::new("SEMMNI", "sets of semaphores", Unit::Count, of(|sem| sem.sets).map(Some))
                .used(of(|sem| sem.used_sets)),
            "SEMMNI",
        ),
    ]
}

fn resources(machine: &Machine) -> Vec<Limit> {
    let rows: [(&str, &str, &'static str, Unit, Resource, &str); 4] = [
        (
            "RLIMIT_MEMLOCK",
            "Max locked memory",
            "locked memory",
            Unit::Bytes,
            Resource::LockedMemory,
            "prlimit -p $$ --memlock=BYTES",
        ),
        (
            "RLIMIT_FSIZE",
            "Max file size",
            "bytes of one object",
            Unit::Bytes,
            Resource::FileSize,
            "prlimit -p $$ --fsize=BYTES",
        ),
        (
            "RLIMIT_NOFILE",
            "Max open files",
            "descriptors",
            Unit::Count,
            Resource::Descriptors,
            "prlimit -p $$ --nofile=N",
        ),
        (
            "RLIMIT_AS",
            "Max address space",
            "address space",
            Unit::Bytes,
            Resource::AddressSpace,
            "prlimit -p $$ --as=BYTES",
        ),
    ];
    let row = |(name, words, what, unit, resource, change)| {
        Limit::new(name, what, unit, machine.resource(words, resource)).from("limit of this process", change)
    };
    rows.map(row).into()
}

fn pools(machine: &Machine) -> Vec<Limit> {
    let pools = machine.pools();
    if pools.is_empty() {
        let none = Limit::new("huge pages", "pool of huge pages", Unit::Count, Err("not there".into()));
        return vec![none.sysctl("vm.nr_hugepages", "N")];
    }
    let usual = machine.memory("Hugepagesize").unwrap_or(2 << 20);
    let one = |pool: crate::machine::Pool| {
        let kilobytes = pool.size / 1024;
        let name = match kilobytes {
            _ if pool.size >= 1 << 30 => format!("huge pages {}G", pool.size >> 30),
            _ if pool.size >= 1 << 20 => format!("huge pages {}M", pool.size >> 20),
            _ => format!("huge pages {kilobytes}K"),
        };
        // A page that is promised is as good as used: nobody else gets it.
        let used = pool.pages.saturating_sub(pool.free).saturating_add(pool.reserved);
        let limit = Limit::new(&name, "pool of huge pages", Unit::Count, Ok(Some(pool.pages))).used(Ok(used));
        if pool.size == usual {
            return limit.sysctl("vm.nr_hugepages", "N");
        }
        // Larger ones than the usual are seldom found in one piece once the machine runs.
        let size = name.trim_start_matches("huge pages ").to_string();
        limit.from(format!("hugepages-{kilobytes}kB"), format!("boot with hugepagesz={size} hugepages=N"))
    };
    pools.into_iter().map(one).collect()
}

fn group(machine: &Machine) -> Limit {
    let what = "memory of this control group";
    match machine.group() {
        Ok(Group { limit, used, file }) => {
            let change = format!("echo BYTES >{file}");
            let version = if file.ends_with("memory.max") { 2 } else { 1 };
            let limit = Limit::new("cgroup memory", what, Unit::Bytes, Ok(limit)).used(used);
            limit.from(format!("control group, version {version}"), change)
        }
        Err(why) => Limit::new("cgroup memory", what, Unit::Bytes, Err(why)).from("/proc/self/cgroup", "-"),
    }
}

fn modes(machine: &Machine) -> Vec<Limit> {
    type Words = fn(u64) -> Option<&'static str>;
    let rows: [(&str, &str, &'static str, Words); 4] = [
        ("overcommit", "vm.overcommit_memory", "whether memory is promised beyond what there is", |mode| match mode {
            0 => Some("heuristic"),
            1 => Some("always"),
            2 => Some("never"),
            _ => None,
        }),
        ("memfd_noexec", "vm.memfd_noexec", "whether memfds may be executed", |mode| match mode {
            0 => Some("as asked"),
            1 => Some("if asked"),
            2 => Some("never"),
            _ => None,
        }),
        (
            "shm_rmid_forced",
            "kernel.shm_rmid_forced",
            "whether segments go with their last process",
            |mode| match mode {
                0 => Some("no"),
                1 => Some("yes"),
                _ => None,
            },
        ),
        ("ptrace_scope", "kernel.yama.ptrace_scope", "whose memory a process may read", |mode| match mode {
            0 => Some("same user"),
            1 => Some("children"),
            2 => Some("root"),
            3 => Some("nobody"),
            _ => None,
        }),
    ];
    rows.map(|(short, name, what, words)| {
        let value = sysctl(machine, &name.replace('.', "/"));
        let meaning = value.as_ref().ok().and_then(|value| words((*value)?));
        Limit { meaning, ..Limit::new(short, what, Unit::Mode, value).sysctl(name, "N") }
    })
    .into()
}
