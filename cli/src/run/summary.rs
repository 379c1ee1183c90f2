//! The summary of a run: what was made and left, which rules were broken and where, crashes, injected faults, calls and
//! time. What is left behind is looked up now, by identity: a name that somebody else made since does not count, and what
//! was renamed does.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use serde::Serialize;
use shmkit::checks::words::Call;
use shmkit::checks::{Rule, Verdict};
use shmkit::error::errno_name;
use shmkit::sys::sysv;

use super::record::{Counter, Event, Kind, Object, Record, state};
use super::source::Sources;
use crate::exit::Failure;
use crate::output::{self, Output};
use crate::printable;

#[derive(Serialize)]
struct Summary {
    exit_code: Option<i32>,
    signal: Option<i32>,
    processes: Vec<ProcessFacts>,
    processes_not_counted: usize,
    events_not_kept: usize,
    objects_not_kept: usize,
    /// Made and removed again, and no longer in the list: others needed the room.
    removed_not_listed: u64,
    reports_not_written: u32,
    made: Vec<Made>,
    rules: Vec<Broken>,
    crashes: Vec<Crash>,
    /// Processes that jumped out of a call, and of which not everything is known.
    ledgers_lost: Vec<u32>,
    injected: Vec<Injected>,
    calls: Vec<Calls>,
}

#[derive(Serialize)]
struct ProcessFacts {
    pid: u32,
    program: String,
    /// still running, exited, replaced (by exec), not followed (replaced by a program without the interposer), or ended without its
    /// exit handlers.
    end: &'static str,
}

#[derive(Serialize)]
struct Made {
    address: String,
    size: u64,
    /// How many times this process made it, and removed it in between.
    times: u64,
    /// Of all those.
    #[serde(skip)]
    bytes: u64,
    pid: u32,
    program: String,
    /// The address that it had when it was made, if it was renamed since.
    made_as: Option<String>,
    /// left_behind, in_use (its process is still running), removed, or gone (with its last user).
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
        objects_not_kept: record.lost_objects,
        removed_not_listed: record.ended,
        reports_not_written: record.lost_reports,
        made: made(record),
        rules: rules(record),
        crashes: crashes(record),
        ledgers_lost: of_kind(record, Kind::Lost).map(|event| event.pid).collect(),
        injected: injected(record),
        calls: calls(record),
    };
    if output.json {
        return output.json("run", &summary);
    }
    output::tell(format_args!("{}", in_words(&summary, output)));
    Ok(())
}

fn of_kind(record: &Record, kind: Kind) -> impl Iterator<Item = &Event> {
    record.events.iter().filter(move |event| event.kind == kind as u32)
}

const STILL_RUNNING: &str = "still running";

fn processes(record: &Record) -> Vec<ProcessFacts> {
    let all = &record.processes;
    let end = |index: usize| match all[index].state {
        state::RUNS if record.running.contains(&all[index].pid) => STILL_RUNNING,
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

/// The name of a file in /dev/shm, from what a call was given.
fn file_name(object: &Object) -> Vec<u8> {
    let slashes = object.subject.iter().take_while(|byte| **byte == b'/').count();
    let name = &object.subject[slashes..];
    match object.call {
        Call::SemOpen => [b"sem.", name].concat(),
        Call::Open => name.strip_prefix(b"dev/shm/").unwrap_or(name).to_vec(),
        _ => name.to_vec(),
    }
}

/// The address string of a file in /dev/shm.
fn file_address(name: &[u8]) -> String {
    match name.strip_prefix(b"sem.") {
        Some(name) => format!("semaphore:/{}", printable::text(name)),
        None => format!("posix:/{}", printable::text(name)),
    }
}

/// The address string of what was made.
fn address(object: &Object) -> String {
    let (id, key) = object.identity;
    match object.call {
        Call::ShmOpen | Call::Open | Call::SemOpen => file_address(&file_name(object)),
        Call::MemfdCreate => format!("memfd:{}", printable::text(&object.subject)),
        Call::Semget => format!("sysv:0x{:x} (semaphore set {id})", key as u32),
        _ => format!("sysv:0x{:x} (segment {id})", key as u32),
    }
}

/// The files of /dev/shm by identity.
fn files() -> HashMap<(u64, u64), Vec<u8>> {
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| {
        let facts = entry.metadata().ok()?;
        Some(((facts.dev(), facts.ino()), entry.file_name().into_vec()))
    });
    files.collect()
}

fn made(record: &Record) -> Vec<Made> {
    let files = std::cell::LazyCell::new(files);
    record.objects.iter().map(|object| made_one(object, record, |identity| files.get(&identity).cloned())).collect()
}

fn made_one(object: &Object, record: &Record, find: impl Fn((u64, u64)) -> Option<Vec<u8>>) -> Made {
    let (name, identity) = (file_name(object), object.identity);
    let is_removed = object.removed_by.is_some();
    let (mut made_as, mut shown) = (None, address(object));
    let there = match object.call {
        Call::ShmOpen | Call::Open | Call::SemOpen => {
            let path = Path::new("/dev/shm").join(OsStr::from_bytes(&name));
            let facts = fs::symlink_metadata(path).ok().map(|facts| (facts.dev(), facts.ino()));
            match facts {
                Some(_) if identity == (0, 0) => !is_removed,
                Some(found) if found == identity => true,
                _ if identity == (0, 0) => false,
                // The name was removed, or is another object's now: this one can have got another name.
                _ => find(identity).is_some_and(|name| {
                    made_as = Some(std::mem::replace(&mut shown, file_address(&name)));
                    true
                }),
            }
        }
        Call::Shmget => {
            !is_removed && sysv::status(identity.0 as i32).is_ok_and(|status| status.key as u32 == identity.1 as u32)
        }
        Call::Semget => !is_removed && has_set(identity.0),
        _ => false,
    };
    Made {
        address: shown,
        size: if object.call == Call::Semget { 0 } else { object.size },
        times: object.times,
        bytes: if object.call == Call::Semget { 0 } else { object.bytes },
        pid: object.pid,
        program: object.program.clone(),
        made_as,
        state: match (there, is_removed) {
            (true, _) if record.running.contains(&object.pid) => "in_use",
            (true, _) => "left_behind",
            (false, true) => "removed",
            (false, false) => "gone",
        },
        removed_by: object.removed_by.filter(|_| !there),
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
            call: event.words(),
            site: event.site.clone(),
            source: sources.find(&event.site).map(|line| printable::text(line.as_bytes())),
        });
        entry.count += record.spots.get(&event.a).copied().unwrap_or(1);
    }
    all.into_values().collect()
}

fn crashes(record: &Record) -> Vec<Crash> {
    let crash = |event: &Event| Crash { pid: event.pid, signal: event.errno, address: event.a, cause: event.words() };
    of_kind(record, Kind::Crashed).map(crash).collect()
}

fn injected(record: &Record) -> Vec<Injected> {
    let one = |event: &Event| Injected {
        pid: event.pid,
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

impl Made {
    fn is_there(&self) -> bool {
        matches!(self.state, "left_behind" | "in_use")
    }
}

/// As many of a kind are shown one by one; more are one line. What was left behind always has a line of its own.
const SHOWN: u64 = 3;

/// As many processes that are still running are named.
const RUNNING_SHOWN: usize = 16;

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
    let is_one_line = |group: &Vec<&Made>| count(group) > SHOWN && !group[0].is_there();
    groups.into_iter().flat_map(|group| if is_one_line(&group) { vec![group] } else { apart(group) }).collect()
}

fn count(group: &[&Made]) -> u64 {
    group.iter().map(|one| one.times).sum()
}

fn apart(group: Vec<&Made>) -> Vec<Vec<&Made>> {
    group.into_iter().map(|one| vec![one]).collect()
}

fn made_line(one: &Made, output: &Output) -> String {
    let state = match one.state {
        "left_behind" => "LEFT BEHIND",
        "in_use" => "in use",
        state => state,
    };
    let made_as = one.made_as.as_ref().map(|address| format!(", made as {address}")).unwrap_or_default();
    let remover = match one.removed_by {
        Some(pid) if pid != one.pid => format!(", removed by [{pid}]"),
        _ => String::new(),
    };
    // What was made again and again is one line, with the bytes of all.
    let (times, size) = if one.times > 1 && !one.is_there() {
        (format!(" ({})", one.times), output.size(one.bytes))
    } else {
        (String::new(), output.size(one.size))
    };
    let named = format!("{}{times}", one.address);
    format!("    {named:<36} {size:>8}  {state}  by {}[{}]{remover}{made_as}\n", one.program, one.pid)
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
    let size = output.size(group.iter().map(|one| one.bytes).sum());
    // Of one name there is nothing to leave out.
    let star = if group.iter().all(|one| one.address == first.address) { "" } else { "*" };
    let named = format!("{common}{star} ({})", count(group));
    format!("    {named:<36} {size:>8}  {}  by {}{makers}\n", first.state, first.program)
}

/// What the numbers before it leave out, in the same line: they must not be taken for all there was.
fn not_counted(summary: &Summary) -> String {
    let left_out = [
        (summary.processes_not_counted, "calls of %", "process", "processes"),
        (summary.objects_not_kept, "%", "object", "objects"),
        (summary.events_not_kept, "%", "event", "events"),
    ];
    let left_out = left_out.into_iter().filter(|(number, ..)| *number > 0);
    let words = left_out.map(|(number, words, one, many)| {
        words.replace('%', &format!("{number} {}", if number == 1 { one } else { many }))
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { String::new() } else { format!("; NOT COUNTED: {}", words.join(", ")) }
}

fn in_words(summary: &Summary, output: &Output) -> String {
    let mut text = String::new();
    let plural = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let total: u64 = summary.calls.iter().map(|calls| calls.count).sum();
    let broken: u64 = summary.rules.iter().map(|broken| broken.count).sum();
    let in_state = |state: &str| summary.made.iter().filter(|made| made.state == state).count();
    let (left, in_use) = (in_state("left_behind"), in_state("in_use"));
    let _ = writeln!(
        text,
        "shmkit: {}, {total} calls, {}, {}{}{}",
        plural(summary.processes.len() + summary.processes_not_counted, "process", "processes"),
        plural(broken as usize, "report", "reports"),
        plural(left, "object left behind", "objects left behind"),
        if in_use > 0 { format!(", {in_use} in use") } else { String::new() },
        not_counted(summary),
    );
    let running = summary.processes.iter().filter(|one| one.end == STILL_RUNNING);
    let running: Vec<String> = running.map(|one| format!("{}[{}]", one.program, one.pid)).collect();
    if !running.is_empty() {
        let more = running.len().saturating_sub(RUNNING_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = running.iter().take(RUNNING_SHOWN).map(String::as_str).collect::<Vec<_>>();
        let _ = writeln!(text, "  still running: {}{more}", shown.join(", "));
    }
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
    if summary.removed_not_listed > 0 {
        let more = plural(summary.removed_not_listed as usize, "object", "objects");
        let _ = writeln!(text, "    {more} more, made and removed again");
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
    for pid in &summary.ledgers_lost {
        let program = summary.processes.iter().find(|one| one.pid == *pid).map_or("", |one| &one.program);
        let _ = writeln!(
            text,
            "  the ledger was lost in {program}[{pid}]: a signal handler jumped out of a call; what it made since is missing"
        );
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
    text
}
