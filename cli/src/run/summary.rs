//! The summary of a run: what was made and left, which rules were broken and where, crashes, injected faults, calls and
//! time. What is left behind is looked up now, by identity: a name that somebody else made since does not count.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::Serialize;
use shmkit::checks::words::Call;
use shmkit::checks::{Rule, Verdict};
use shmkit::error::errno_name;
use shmkit::sys::sysv;

use super::record::{Counter, Event, Kind, Record, state};
use super::source::Sources;
use crate::exit::Failure;
use crate::output::Output;

#[derive(Serialize)]
struct Summary {
    exit_code: Option<i32>,
    signal: Option<i32>,
    processes: Vec<ProcessFacts>,
    processes_not_counted: usize,
    events_not_kept: usize,
    reports_not_written: u32,
    made: Vec<Made>,
    rules: Vec<Broken>,
    crashes: Vec<Crash>,
    injected: Vec<Injected>,
    calls: Vec<Calls>,
}

#[derive(Serialize)]
struct ProcessFacts {
    pid: u32,
    program: String,
    /// exited, replaced (by exec), not followed (replaced by a program without the interposer), or ended without its
    /// exit handlers.
    end: &'static str,
}

#[derive(Serialize)]
struct Made {
    address: String,
    #[serde(skip)]
    identity: (u64, u64),
    #[serde(skip)]
    call: Call,
    size: u64,
    pid: u32,
    program: String,
    /// left_behind, removed, or gone (with its last user).
    state: &'static str,
    /// The process of the run that removed it last.
    removed_by: Option<u32>,
}

#[derive(Serialize)]
struct Broken {
    rule: &'static str,
    verdict: &'static str,
    outcome: &'static str,
    count: u64,
    call: String,
    site: String,
    source: Option<String>,
}

#[derive(Serialize)]
struct Crash {
    pid: u32,
    signal: i32,
    address: u64,
    cause: String,
}

#[derive(Serialize)]
struct Injected {
    pid: u32,
    call: &'static str,
    number: u64,
    errno: Option<&'static str>,
}

#[derive(Serialize)]
struct Calls {
    call: &'static str,
    count: u64,
    failed: u64,
    time_ns: u64,
}

/// Prints the summary to standard error, which is where reports are; JSON to standard output.
pub fn print(record: &Record, status: ExitStatus, output: &Output) -> Result<(), Failure> {
    let summary = Summary {
        exit_code: status.code(),
        signal: status.signal(),
        processes: processes(record),
        processes_not_counted: record.lost_processes,
        events_not_kept: record.lost_events,
        reports_not_written: record.lost_reports,
        made: made(record),
        rules: rules(record),
        crashes: crashes(record),
        injected: injected(record),
        calls: calls(record),
    };
    if output.json {
        return output.json("run", &summary);
    }
    eprint!("{}", in_words(&summary, output));
    Ok(())
}

fn of_kind(record: &Record, kind: Kind) -> impl Iterator<Item = &Event> {
    record.events.iter().filter(move |event| event.kind == kind as u32)
}

fn who(record: &Record, event: &Event) -> (u32, String) {
    record.processes.get(event.process).map_or((0, String::new()), |process| (process.pid, process.program.clone()))
}

fn processes(record: &Record) -> Vec<ProcessFacts> {
    let all = &record.processes;
    let end = |index: usize| match all[index].state {
        state::EXITED => "exited",
        // The next program of the same process has a place of its own.
        state::REPLACED
            if record.lost_processes > 0 || all[index + 1..].iter().any(|other| other.pid == all[index].pid) =>
        {
            "replaced"
        }
        state::REPLACED => "not followed",
        _ => "ended without exit handlers",
    };
    let facts = all.iter().enumerate();
    facts.map(|(index, one)| ProcessFacts { pid: one.pid, program: one.program.clone(), end: end(index) }).collect()
}

/// The address string of what an event made.
fn address(event: &Event) -> String {
    let name = event.subject.trim_start_matches('/');
    match event.call {
        Call::ShmOpen => format!("posix:/{name}"),
        Call::Open => {
            let name = name.strip_prefix("dev/shm/").unwrap_or(name);
            match name.strip_prefix("sem.") {
                Some(name) => format!("semaphore:/{name}"),
                None => format!("posix:/{name}"),
            }
        }
        Call::SemOpen => format!("semaphore:/{name}"),
        Call::MemfdCreate => format!("memfd:{name}"),
        Call::Semget => format!("sysv:0x{:x} (semaphore set {})", event.b as u32, event.a),
        _ => format!("sysv:0x{:x} (segment {})", event.b as u32, event.a),
    }
}

fn made(record: &Record) -> Vec<Made> {
    let mut all: Vec<Made> = Vec::new();
    for event in &record.events {
        if event.kind == Kind::Made as u32 {
            let (pid, program) = who(record, event);
            let size = if event.call == Call::Semget { 0 } else { event.c };
            let identity = (event.a, event.b);
            let (address, call, state) = (address(event), event.call, "gone");
            all.push(Made { address, identity, call, size, pid, program, state, removed_by: None });
        } else if event.kind == Kind::Sized as u32 {
            let identity = (event.a, event.b);
            if !all.iter().any(|one| one.identity == identity) {
                let name = format!("posix:/{}", event.subject);
                let new = all.iter_mut().rev().find(|one| one.identity == (0, 0) && one.address == name);
                if let Some(new) = new {
                    new.identity = identity;
                }
            }
            for one in all.iter_mut().filter(|one| one.identity == identity) {
                one.size = one.size.max(event.c);
            }
        }
    }
    // Opened twice with O_CREAT, made once.
    let mut seen = std::collections::HashSet::new();
    all.retain(|one| seen.insert((one.address.clone(), one.identity)));
    let removed: Vec<(String, u32)> =
        of_kind(record, Kind::Removed).map(|event| (address_removed(event), who(record, event).0)).collect();
    for one in &mut all {
        let there = match one.call {
            Call::ShmOpen | Call::Open | Call::SemOpen => {
                let (folder, name) = match one.address.split_once(":/") {
                    Some(("semaphore", name)) => ("/dev/shm/sem.", name),
                    Some((_, name)) => ("/dev/shm/", name),
                    None => continue,
                };
                fs::symlink_metadata(format!("{folder}{name}"))
                    .is_ok_and(|facts| one.identity == (0, 0) || one.identity == (facts.dev(), facts.ino()))
            }
            Call::Shmget => {
                sysv::status(one.identity.0 as i32).is_ok_and(|status| status.key as u32 == one.identity.1 as u32)
            }
            Call::Semget => has_set(one.identity.0),
            _ => false,
        };
        // Ids stand in the address, names are all of it.
        let is_this =
            |address: &str| one.address == address || address.starts_with('(') && one.address.ends_with(address);
        if !there {
            one.removed_by = removed.iter().rev().find(|(address, _)| is_this(address)).map(|(_, pid)| *pid);
        }
        one.state = match (there, one.removed_by.is_some()) {
            (true, _) => "left_behind",
            (false, true) => "removed",
            (false, false) => "gone",
        };
    }
    all
}

/// How a removed thing stands in its address.
fn address_removed(event: &Event) -> String {
    match event.call {
        Call::Shmctl => format!("(segment {})", event.a),
        Call::Semctl => format!("(semaphore set {})", event.a),
        Call::SemUnlink => format!("semaphore:/{}", event.subject.trim_start_matches('/')),
        Call::Remove => match event.subject.trim_start_matches("/dev/shm/").strip_prefix("sem.") {
            Some(name) => format!("semaphore:/{name}"),
            None => format!("posix:/{}", event.subject.trim_start_matches("/dev/shm/")),
        },
        _ => format!("posix:/{}", event.subject.trim_start_matches('/')),
    }
}

fn has_set(id: u64) -> bool {
    let all = fs::read_to_string("/proc/sysvipc/sem").unwrap_or_default();
    all.lines().skip(1).any(|line| line.split_whitespace().nth(1).is_some_and(|field| field == id.to_string()))
}

fn rules(record: &Record) -> Vec<Broken> {
    let mut sources = Sources::default();
    let mut all: BTreeMap<(u32, u32, String), Broken> = BTreeMap::new();
    for event in of_kind(record, Kind::Broken) {
        let Some(rule) = Rule::ALL.get(event.rule as usize) else { continue };
        let entry = all.entry((event.rule, event.outcome, event.site.clone())).or_insert_with(|| Broken {
            rule: rule.row().id,
            verdict: if rule.row().verdict == Verdict::Wrong { "wrong" } else { "hazard" },
            outcome: ["passed", "refused", "failed"].get(event.outcome as usize).copied().unwrap_or("passed"),
            count: 0,
            call: event.subject.clone(),
            site: event.site.clone(),
            source: sources.find(&event.site),
        });
        entry.count += record.spots.get(&event.a).copied().unwrap_or(1);
    }
    all.into_values().collect()
}

fn crashes(record: &Record) -> Vec<Crash> {
    let crash = |event: &Event| Crash {
        pid: who(record, event).0,
        signal: event.errno,
        address: event.a,
        cause: event.subject.clone(),
    };
    of_kind(record, Kind::Crashed).map(crash).collect()
}

fn injected(record: &Record) -> Vec<Injected> {
    let one = |event: &Event| Injected {
        pid: who(record, event).0,
        call: event.call.name(),
        number: event.a,
        errno: if event.errno == 0 { None } else { Some(errno_name(event.errno)) },
    };
    of_kind(record, Kind::Injected).map(one).collect()
}

fn calls(record: &Record) -> Vec<Calls> {
    let sum = |call: Call| {
        let counters = record.processes.iter().filter_map(|process| process.counters.get(call as usize));
        counters.fold(Counter::default(), |all, one| Counter {
            calls: all.calls + one.calls,
            failed: all.failed + one.failed,
            time_ns: all.time_ns + one.time_ns,
        })
    };
    let all = Call::ALL.iter().map(|call| (call.name(), sum(*call))).filter(|(_, sum)| sum.calls > 0);
    let mut all: Vec<_> =
        all.map(|(call, sum)| Calls { call, count: sum.calls, failed: sum.failed, time_ns: sum.time_ns }).collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.time_ns));
    all
}

/// As many of a kind are shown one by one; more are one line. What was left behind always has a line of its own.
const SHOWN: usize = 3;

/// What is one line: single things, and what a program made many of that came to the same end.
fn groups(made: &[Made]) -> Vec<Vec<&Made>> {
    let mut groups: Vec<Vec<&Made>> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for one in made {
        let scheme = one.address.split(':').next();
        let place = *places.entry((scheme, one.state, &one.program)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(one),
            None => groups.push(vec![one]),
        }
    }
    let is_one_line = |group: &Vec<&Made>| group.len() > SHOWN && group[0].state != "left_behind";
    groups.into_iter().flat_map(|group| if is_one_line(&group) { vec![group] } else { apart(group) }).collect()
}

fn apart(group: Vec<&Made>) -> Vec<Vec<&Made>> {
    group.into_iter().map(|one| vec![one]).collect()
}

fn made_line(one: &Made, output: &Output) -> String {
    let state = if one.state == "left_behind" { "LEFT BEHIND" } else { one.state };
    let remover = match one.removed_by {
        Some(pid) if pid != one.pid => format!(", removed by [{pid}]"),
        _ => String::new(),
    };
    let size = output.size(one.size);
    format!("    {:<36} {size:>8}  {state}  by {}[{}]{remover}\n", one.address, one.program, one.pid)
}

/// `posix:/psm_* (39)`: what their names have in common, how many, the bytes of all, and by how many processes.
fn group_line(group: &[&Made], output: &Output) -> String {
    let first = group[0];
    let common = group.iter().fold(first.address.as_str(), |common, one| {
        let same = common.char_indices().zip(one.address.chars()).find(|((_, a), b)| a != b);
        &common[..same.map_or(common.len().min(one.address.len()), |((at, _), _)| at)]
    });
    let makers: std::collections::HashSet<u32> = group.iter().map(|one| one.pid).collect();
    let makers = match makers.len() {
        1 => format!("[{}]", first.pid),
        count => format!(" ({count} processes)"),
    };
    let (named, size) = (format!("{common}* ({})", group.len()), output.size(group.iter().map(|one| one.size).sum()));
    format!("    {named:<36} {size:>8}  {}  by {}{makers}\n", first.state, first.program)
}

fn in_words(summary: &Summary, output: &Output) -> String {
    let mut text = String::new();
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let total: u64 = summary.calls.iter().map(|calls| calls.count).sum();
    let broken: u64 = summary.rules.iter().map(|broken| broken.count).sum();
    let left = summary.made.iter().filter(|made| made.state == "left_behind").count();
    let _ = writeln!(
        text,
        "shmkit: {}, {total} calls, {}, {}",
        plural(summary.processes.len() + summary.processes_not_counted, "process", "processes"),
        plural(broken as usize, "report", "reports"),
        plural(left, "object left behind", "objects left behind"),
    );
    for one in summary.processes.iter().filter(|one| one.end == "not followed") {
        let _ = writeln!(text, "  not followed: {}[{}] became a program without the interposer", one.program, one.pid);
    }
    if !summary.made.is_empty() {
        text += "  made:\n";
        for group in groups(&summary.made) {
            text += &match group[..] {
                [one] => made_line(one, output),
                _ => group_line(&group, output),
            };
        }
    }
    if !summary.rules.is_empty() {
        text += "  rules broken:\n";
        for one in &summary.rules {
            let place = match (&one.source, one.site.as_str()) {
                (Some(source), _) => format!("  {source}"),
                (None, "") => String::new(),
                (None, site) => format!("  {site}"),
            };
            let _ = writeln!(text, "    {:>5} x {:<24} {:<6} {}{place}", one.count, one.rule, one.verdict, one.outcome);
            let _ = writeln!(text, "            {}", one.call);
        }
    }
    for one in &summary.crashes {
        let signal = if one.signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
        let _ = writeln!(text, "  crashed: [{}] {signal} at 0x{:x}: {}", one.pid, one.address, one.cause);
    }
    if !summary.injected.is_empty() {
        let _ = writeln!(text, "  injected: {}", plural(summary.injected.len(), "fault", "faults"));
    }
    if !summary.calls.is_empty() {
        let _ = writeln!(text, "  {:<16} {:>10} {:>8} {:>12} {:>10}", "call", "count", "failed", "total", "mean");
        for one in &summary.calls {
            let mean = one.time_ns as f64 / one.count as f64 / 1000.0;
            let total = one.time_ns as f64 / 1e6;
            let _ =
                writeln!(text, "  {:<16} {:>10} {:>8} {total:>9.3} ms {mean:>7.2} us", one.call, one.count, one.failed);
        }
    }
    if summary.reports_not_written > 0 {
        let count = plural(summary.reports_not_written as usize, "report", "reports");
        let _ = writeln!(text, "  {count} could not be written");
    }
    if summary.events_not_kept > 0 {
        let _ = writeln!(text, "  {} more events had no room", summary.events_not_kept);
    }
    text
}
