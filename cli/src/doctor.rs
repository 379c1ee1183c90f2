//! `shmkit doctor`: what is wrong with this machine's shared memory, or will be, and what to do about it.
//! Every finding has figures that were just read; what could not be read is said. Changes nothing; what is left over is
//! decided by the library. Next: `machine.rs`, where the figures come from.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use serde::Serialize;
use shmkit::sys::limits::{Resource, page_size};

use crate::exit::{Done, Exit, Failure};
use crate::gather;
use crate::last_look;
use crate::machine::{Fact, Machine, OBJECTS, parse_size};
use crate::output::Output;
use crate::printable;

/// Find what is wrong with shared memory here, and say what to do
///
/// Exit status: 0 when there is nothing but notes, 10 with warnings (something will fail sooner or later), 11 with
/// errors (something fails now).
#[derive(clap::Args)]
pub struct Args {
    /// Say whether this much shared memory can be had now, as 4G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub need: Option<u64>,
    /// What --need asks for is to be of huge pages
    #[arg(long, requires = "need")]
    pub huge: bool,
    /// Leave out notes
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
    Note,
}

/// One finding, as JSON has it.
#[derive(Serialize)]
struct Finding {
    id: &'static str,
    severity: Severity,
    cause: String,
    /// Lines to be done one after the other; one that begins with "or: " is another way.
    remedy: String,
    /// The numbers that the cause names.
    figures: BTreeMap<&'static str, u64>,
    /// The objects that it is about.
    objects: Vec<String>,
}

/// What is looked at, and what was found.
struct Doctor<'a> {
    machine: Machine,
    output: &'a Output,
    need: Option<u64>,
    huge: bool,
    findings: Vec<Finding>,
}

/// A pool of anything that this much of is used is nearly used up.
const NEARLY: u64 = 90;
/// The size that containers give /dev/shm unless told otherwise.
const CONTAINER: u64 = 64 << 20;
/// SHMMAX of kernels before 3.16.
const OLD_SHMMAX: u64 = 32 << 20;
/// Semaphores beside a System V region, and the steps of the longest operation on them.
const REGION_SEMAPHORES: u64 = 65;
const REGION_STEPS: u64 = 5;
/// How many objects are named in text.
const NAMED: usize = 4;

pub fn run(args: &Args, output: &Output) -> Done {
    let machine = Machine::new();
    let mut doctor = Doctor { machine, output, need: args.need, huge: args.huge, findings: Vec::new() };
    // First: what no memory is there for is asked of nothing else.
    doctor.needed_memory();
    doctor.folder();
    doctor.system_v();
    doctor.remove_ipc();
    doctor.resources();
    doctor.huge_pages();
    doctor.memory();
    doctor.settings();
    doctor.objects();
    doctor.orphans();
    doctor.proc();
    let mut findings = doctor.findings;
    findings.retain(|finding| !args.quiet || finding.severity != Severity::Note);
    findings.sort_by_key(|finding| finding.severity);
    print(&findings, output)?;
    Ok(match findings.first().map(|finding| finding.severity) {
        Some(Severity::Error) => Exit::Error,
        Some(Severity::Warning) => Exit::Warning,
        Some(Severity::Note) | None => Exit::Ok,
    })
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

fn print(findings: &[Finding], output: &Output) -> Result<(), Failure> {
    let counts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| count(findings, severity));
    let [errors, warnings, notes] = counts;
    if output.json {
        #[derive(Serialize)]
        struct Document<'a> {
            errors: usize,
            warnings: usize,
            notes: usize,
            findings: &'a [Finding],
        }
        return output.json("doctor", &Document { errors, warnings, notes, findings });
    }
    let width = match std::io::stdout().is_terminal() {
        true => ratatui::crossterm::terminal::size().map_or(80, |(width, _)| usize::from(width).clamp(40, 120)),
        false => 80,
    };
    let mut text = String::new();
    for finding in findings {
        let (word, style) = match finding.severity {
            Severity::Error => ("error", anstyle::AnsiColor::Red.on_default().bold()),
            Severity::Warning => ("warning", anstyle::AnsiColor::Yellow.on_default().bold()),
            Severity::Note => ("note", anstyle::Style::new().bold()),
        };
        match output.color {
            true => text += &format!("{style}{word:<9}{style:#}{}\n", finding.id),
            false => text += &format!("{word:<9}{}\n", finding.id),
        }
        text += &wrapped(&finding.cause, width);
        // A line of its own each, never broken: to be pasted.
        for (number, line) in finding.remedy.lines().enumerate() {
            text += &match line.strip_prefix("or: ") {
                Some(other) => format!("         or:  {other}\n"),
                None if number == 0 => format!("         fix: {line}\n"),
                None => format!("              {line}\n"),
            };
        }
    }
    let plural = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    if output.headings {
        text += &match findings.is_empty() {
            true => "nothing found\n".to_string(),
            false => {
                format!("{}, {}, {}\n", plural(errors, "error"), plural(warnings, "warning"), plural(notes, "note"))
            }
        };
    }
    output.print(&text)
}

/// Words in lines of this width, each indented.
fn wrapped(words: &str, width: usize) -> String {
    const INDENT: &str = "         ";
    let (mut text, mut line) = (String::new(), String::new());
    for word in words.split(' ') {
        if !line.is_empty() && INDENT.len() + line.chars().count() + 1 + word.chars().count() > width {
            text += &format!("{INDENT}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    text + &format!("{INDENT}{line}\n")
}

/// An object, a segment or a set of semaphores.
struct Thing {
    of: Of,
    uid: u32,
    mode: u32,
    semaphores: bool,
}

enum Of {
    /// The name of what lies in /dev/shm.
    Object(Vec<u8>),
    /// Id and key.
    Segment(u64, u32),
    Set(u64, u32),
}

impl Thing {
    /// As it is told to people.
    fn text(&self) -> String {
        match &self.of {
            Of::Object(name) => printable::text(&path_of(name)),
            Of::Segment(id, key) => format!("segment {id} (key {key:#x})"),
            Of::Set(id, key) => format!("set {id} (key {key:#x})"),
        }
    }
}

fn path_of(name: &[u8]) -> Vec<u8> {
    [OBJECTS.as_bytes(), b"/", name].concat()
}

/// One word for a shell, whatever the bytes are, in letters that move no terminal.
fn quoted(word: &[u8]) -> String {
    match std::str::from_utf8(word) {
        // As it is, but for the quote itself.
        Ok(text) if printable::text(word).replace("\\\\", "\\") == text => {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
        _ => format!("$'{}'", printable::text(word).replace('\'', "\\'")),
    }
}

fn is_nearly(used: u64, all: u64) -> bool {
    all > 0 && u128::from(used) * 100 >= u128::from(all) * u128::from(NEARLY)
}

impl Doctor<'_> {
    fn find(
        &mut self,
        severity: Severity,
        id: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> &mut Finding {
        let (cause, remedy) = (cause.into(), remedy.into());
        self.findings.push(Finding { id, severity, cause, remedy, figures: BTreeMap::new(), objects: Vec::new() });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// What was read; otherwise a note that it could not be.
    fn known<T>(&mut self, what: &str, fact: Fact<T>) -> Option<T> {
        match fact {
            Ok(value) => Some(value),
            Err(why) => {
                self.find(
                    Severity::Note,
                    "unknown",
                    format!("{what}: unknown ({why}), so nothing is said of it"),
                    "run this as root, with /proc and /sys there",
                );
                None
            }
        }
    }

    fn size(&self, bytes: u64) -> String {
        self.output.size(bytes)
    }

    /// Memory and swap of the machine.
    fn whole(&self) -> Fact<u64> {
        Ok(self.machine.memory("MemTotal")?.saturating_add(self.machine.memory("SwapTotal")?))
    }

    /// Whether the machine has as much memory as is needed. When it has not, no setting gives it, and none is advised.
    fn needed_memory(&mut self) {
        let Some(need) = self.need else { return };
        // Huge pages are never swapped out. What is not known is said of /dev/shm.
        let (whole, what) = match self.huge {
            true => (self.machine.memory("MemTotal"), "memory"),
            false => (self.whole(), "memory and swap"),
        };
        let free = self.machine.memory("MemAvailable").and_then(|free| {
            let swap = if self.huge { 0 } else { self.machine.memory("SwapFree")? };
            Ok(free.saturating_add(swap))
        });
        let asked = self.size(need);
        if let Ok(whole) = whole
            && need > whole
        {
            let cause = format!(
                "{asked} are asked for, and the machine has {} of {what}: whatever the limits are, who touches so much is \
                 killed",
                self.size(whole)
            );
            let remedy = "ask for less, or give the machine more memory";
            let figures = [("memory", whole), ("need", need)];
            self.find(Severity::Error, "memory-small", cause, remedy).figures.extend(figures);
            self.need = None;
        } else if let Ok(free) = free
            && need > free
        {
            let cause = format!(
                "{asked} are asked for, and {} of {what} are free or can be freed now: who touches so much may be killed, or \
                 others are",
                self.size(free)
            );
            let remedy = "shmkit gc\nor: end other programs, or give the machine more memory";
            let figures = [("available", free), ("need", need)];
            self.find(Severity::Warning, "memory-small", cause, remedy).figures.extend(figures);
        }
    }

    fn folder(&mut self) {
        let path = self.machine.path(OBJECTS);
        let status = match std::fs::metadata(&path) {
            Ok(status) if status.is_dir() => status,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                self.known("/dev/shm", Err::<(), _>(crate::machine::why(&error)));
                return;
            }
            _ => {
                self.find(
                    Severity::Error,
                    "shm-missing",
                    "/dev/shm is not there, or is no folder: shm_open and sem_open fail",
                    "mkdir -p /dev/shm && mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm",
                );
                return;
            }
        };
        if let Some(mount) = self.known("what /dev/shm is mounted from", self.machine.mount_of(OBJECTS)) {
            if mount.kind != "tmpfs" {
                let cause = format!(
                    "/dev/shm is {} (mounted on {}), not tmpfs: objects share its room, and may be written to a device",
                    mount.kind, mount.point
                );
                let remedy = "mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm";
                self.find(Severity::Warning, "shm-not-tmpfs", cause, remedy);
            }
            if mount.has("ro") {
                let cause = "/dev/shm is mounted for reading only: no object can be made";
                self.find(Severity::Error, "shm-read-only", cause, "mount -o remount,rw /dev/shm");
            }
            if mount.has("noexec") {
                let cause = "/dev/shm is mounted noexec: mmap with PROT_EXEC of an object fails (EPERM), as just-in-time \
                             compilers and some language runtimes do it; data is not concerned";
                self.find(Severity::Note, "shm-noexec", cause, "mount -o remount,exec /dev/shm");
            }
        }
        self.folder_mode(status.mode() & 0o7777, status.uid());
        self.room();
    }

    fn folder_mode(&mut self, mode: u32, uid: u32) {
        if mode & 0o1777 == 0o1777 {
            return;
        }
        let (severity, means) = match (mode & 0o003 == 0o003, mode & 0o1000 != 0) {
            (false, _) => (Severity::Error, "users other than its owner and group cannot make objects (EACCES)"),
            (true, false) => (Severity::Warning, "it is not sticky, so everybody may remove everybody's objects"),
            (true, true) => (Severity::Warning, "it differs from what every program expects"),
        };
        let cause = format!("/dev/shm has mode {mode:04o} and belongs to user {uid}: {means}");
        self.find(severity, "shm-mode", cause, "chmod 1777 /dev/shm").figures.extend([("mode", u64::from(mode))]);
    }

    fn room(&mut self) {
        let Some(room) = self.known("the room on /dev/shm", self.machine.room(OBJECTS)) else { return };
        let need = self.need.filter(|_| !self.huge);
        let used = room.bytes.saturating_sub(room.free);
        let figures = [("capacity", room.bytes), ("used", used), ("free", room.free)];
        let (all, used_text) = (self.size(room.bytes), self.size(used));
        let whole = self.whole();
        let memory = whole.clone().unwrap_or(u64::MAX);
        // Room for what is there and what is asked for; twice as much as now where nothing is. Never more than the
        // machine has memory and swap.
        let larger = |wanted: u64| {
            let enough = if wanted > 0 { wanted.saturating_add(used) } else { room.bytes.saturating_mul(2) };
            let enough = enough.max(memory.min(1 << 30));
            let remount = || format!("mount -o remount,size={}M /dev/shm", (enough >> 20).next_multiple_of(64));
            (enough <= memory).then(remount)
        };
        const CONTAINERS: [&str; 2] =
            ["in Docker or Podman, --shm-size=SIZE", "in Kubernetes, an emptyDir with medium: Memory at /dev/shm"];
        let ways = |first: Option<String>, others: &[String]| {
            first.into_iter().chain(others.iter().cloned()).collect::<Vec<_>>().join("\nor: ")
        };
        // 0 is no bound.
        if room.bytes > 0 {
            let wanted = need.unwrap_or(0);
            let remedy = ways(larger(wanted), &CONTAINERS.map(String::from));
            if wanted > room.bytes {
                let cause = format!(
                    "/dev/shm has {all}, and {} are asked for: ENOSPC, or SIGBUS at a touch",
                    self.size(wanted)
                );
                self.find(Severity::Error, "shm-small", cause, remedy).figures.extend(figures);
            } else if room.bytes <= CONTAINER {
                let cause = format!(
                    "/dev/shm has {all} ({used_text} used): containers give 64M unless told otherwise, and few programs can live with so little"
                );
                self.find(Severity::Warning, "shm-small", cause, remedy).figures.extend(figures);
            }
            let remedy = ways(Some("shmkit gc".into()), larger(wanted).as_slice());
            if room.free < page_size() as u64 {
                let cause = format!(
                    "/dev/shm is full: all of {all} are used; the next page that is touched is a SIGBUS, the next reservation ENOSPC"
                );
                self.find(Severity::Error, "shm-full", cause, remedy).figures.extend(figures);
            } else if wanted > room.free && wanted <= room.bytes {
                let cause = format!(
                    "{} are asked for, and {} of {all} are free on /dev/shm",
                    self.size(wanted),
                    self.size(room.free)
                );
                self.find(Severity::Error, "shm-full", cause, remedy).figures.extend(figures);
            } else if is_nearly(used, room.bytes) {
                let cause = format!(
                    "/dev/shm is nearly full: {used_text} of {all} are used, {} are free",
                    self.size(room.free)
                );
                self.find(Severity::Warning, "shm-full", cause, remedy).figures.extend(figures);
            }
        }
        let used = room.inodes.saturating_sub(room.free_inodes);
        let figures = [("inodes", room.inodes), ("inodes_used", used), ("inodes_free", room.free_inodes)];
        let remedy =
            format!("shmkit gc\nor: mount -o remount,nr_inodes={} /dev/shm", room.inodes.saturating_mul(2).max(65_536));
        if room.inodes > 0 && room.free_inodes == 0 {
            let cause = format!(
                "all {} inodes of /dev/shm are used: no more objects or named semaphores can be made (ENOSPC)",
                room.inodes
            );
            self.find(Severity::Error, "shm-inodes", cause, remedy).figures.extend(figures);
        } else if is_nearly(used, room.inodes) {
            let cause = format!(
                "{used} of {} inodes of /dev/shm are used: each object and named semaphore needs one",
                room.inodes
            );
            self.find(Severity::Warning, "shm-inodes", cause, remedy).figures.extend(figures);
        }
        if let Some(whole) = self.known("the machine's memory", whole)
            && room.bytes > whole
        {
            let cause = format!(
                "/dev/shm may hold {all}, and the machine has {} of memory and swap: who fills it gets processes killed, not ENOSPC",
                self.size(whole)
            );
            let wanted = need.map_or(0, |need| need.saturating_add(used));
            let remedy = format!("mount -o remount,size={}M /dev/shm", (whole / 2).max(wanted).min(whole) >> 20);
            let figures = [("capacity", room.bytes), ("memory", whole)];
            self.find(Severity::Warning, "shm-larger-than-memory", cause, remedy).figures.extend(figures);
        }
    }

    fn system_v(&mut self) {
        let all = self.machine.system_v();
        let page = page_size() as u64;
        let (shmmax, shmall) = (self.known("SHMMAX", all.shmmax), self.known("SHMALL", all.shmall));
        let need = self.need.filter(|_| !self.huge).unwrap_or(0);
        if let Some(shmmax) = shmmax {
            let remedy =
                format!("sysctl -w kernel.shmmax={}", need.max(1 << 30).checked_next_power_of_two().unwrap_or(need));
            if need > shmmax {
                let cause = format!(
                    "SHMMAX is {}, and {} are asked for: shmget fails (EINVAL)",
                    self.size(shmmax),
                    self.size(need)
                );
                self.find(Severity::Error, "sysv-shmmax", cause, remedy)
                    .figures
                    .extend([("shmmax", shmmax), ("need", need)]);
            } else if shmmax <= OLD_SHMMAX {
                let cause = format!("SHMMAX is {}: no System V segment can be larger", self.size(shmmax));
                self.find(Severity::Warning, "sysv-shmmax", cause, remedy).figures.extend([("shmmax", shmmax)]);
            }
        }
        if let (Some(shmall), Some(used)) = (shmall, self.known("what segments use", all.pages)) {
            let (bytes, used_bytes) = (shmall.saturating_mul(page), used.saturating_mul(page));
            let figures = [("shmall_pages", shmall), ("used_pages", used)];
            let wanted = need.max(bytes).saturating_mul(2).max(1 << 30).div_ceil(page);
            let remedy = format!("shmkit gc\nor: sysctl -w kernel.shmall={wanted}");
            let text =
                format!("SHMALL is {shmall} pages ({}), and segments use {}", self.size(bytes), self.size(used_bytes));
            if used >= shmall || need > bytes.saturating_sub(used_bytes) {
                let asked = if need > 0 { format!("; {} are asked for", self.size(need)) } else { String::new() };
                let cause = format!("{text}{asked}: shmget fails (ENOSPC)");
                self.find(Severity::Error, "sysv-shmall", cause, remedy).figures.extend(figures);
            } else if is_nearly(used, shmall) || bytes <= OLD_SHMMAX {
                self.find(Severity::Warning, "sysv-shmall", text, remedy).figures.extend(figures);
            }
        }
        if let (Some(most), Some(used)) =
            (self.known("SHMMNI", all.shmmni), self.known("how many segments there are", all.segments))
        {
            let remedy =
                format!("shmkit gc\nor: sysctl -w kernel.shmmni={}", most.saturating_mul(2).clamp(4096, 32_768));
            let cause = format!("{used} System V segments exist, and SHMMNI allows {most}");
            self.used_up("sysv-shmmni", cause, remedy, used, most);
        }
        self.semaphores(all.semaphores);
    }

    /// An error when all of something is used, a warning when nearly all is.
    fn used_up(&mut self, id: &'static str, cause: String, remedy: String, used: u64, all: u64) {
        let severity = match used >= all {
            true => Severity::Error,
            false if is_nearly(used, all) => Severity::Warning,
            false => return,
        };
        self.find(severity, id, cause, remedy).figures.extend([("limit", all), ("used", used)]);
    }

    fn semaphores(&mut self, limits: Fact<shmkit::sys::semset::Limits>) {
        let Some(now) = self.known("the limits of System V semaphores (kernel.sem)", limits) else { return };
        let set = |of_set: u64, all: u64, steps: u64, sets: u64| {
            format!("sysctl -w kernel.sem='{of_set} {all} {steps} {sets}'")
        };
        let cause = format!("{} System V sets of semaphores exist, and SEMMNI allows {}", now.used_sets, now.sets);
        let remedy = set(now.of_set, now.semaphores, now.of_operation, now.sets.saturating_mul(2).clamp(128, 32_768));
        self.used_up("sysv-semmni", cause, remedy, now.used_sets, now.sets);
        let cause = format!("{} System V semaphores exist, and SEMMNS allows {}", now.used, now.semaphores);
        let remedy = set(now.of_set, now.semaphores.saturating_mul(2).max(32_000), now.of_operation, now.sets);
        self.used_up("sysv-semmns", cause, remedy, now.used, now.semaphores);
        if now.of_set < REGION_SEMAPHORES || now.of_operation < REGION_STEPS {
            let cause = format!(
                "SEMMSL is {} and SEMOPM is {}: a System V region needs {REGION_SEMAPHORES} semaphores in a set and {REGION_STEPS} steps in an operation",
                now.of_set, now.of_operation
            );
            let remedy = set(now.of_set.max(250), now.semaphores, now.of_operation.max(100), now.sets);
            let figures = [("semmsl", now.of_set), ("semopm", now.of_operation)];
            self.find(Severity::Warning, "sysv-sem", cause, remedy).figures.extend(figures);
        }
    }

    /// RemoveIPC of systemd-logind: at the end of a user's last session all of the user's objects go.
    fn remove_ipc(&mut self) {
        let running = self
            .machine
            .names("/proc")
            .iter()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .any(|pid| self.machine.read(&format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd-logind"));
        let hidden = self.hides().is_some();
        let may_run = hidden && self.machine.path("/run/systemd/system").is_dir();
        if !running && !may_run {
            return;
        }
        let (value, from) = self.removes_ipc();
        let (removes, said) = match value {
            Some(value) => (value, format!("RemoveIPC={} in {from}", if value { "yes" } else { "no" })),
            None => (true, "RemoveIPC is set nowhere, and yes is systemd's own default".to_string()),
        };
        if !removes {
            return;
        }
        let (severity, logind) = match running {
            true => (Severity::Warning, "systemd-logind runs"),
            false => (Severity::Note, "systemd-logind may run (other users' processes are hidden)"),
        };
        let cause = format!(
            "{logind} and removes all POSIX objects, segments and semaphores of an ordinary user when the user's last \
             session ends, also under services that run as that user ({said}); system users are spared"
        );
        let remedy = "mkdir -p /etc/systemd/logind.conf.d\n\
                      printf '[Login]\\nRemoveIPC=no\\n' >/etc/systemd/logind.conf.d/ipc.conf\n\
                      systemctl restart systemd-logind";
        self.find(severity, "remove-ipc", cause, remedy);
    }

    /// What the configuration says of RemoveIPC, and where: the first main file counts, then drop-ins in the order of
    /// their names, of which the one in the first of these folders counts. Without a setting: the default that the main
    /// file names in a comment, as it does where a distribution chose another one.
    fn removes_ipc(&self) -> (Option<bool>, String) {
        const FOLDERS: [&str; 4] = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];
        let main = FOLDERS.iter().find_map(|folder| {
            let path = format!("{folder}/logind.conf");
            Some((self.machine.read(&path).ok()?, path))
        });
        let mut drop_ins: BTreeMap<String, String> = BTreeMap::new();
        for folder in FOLDERS {
            let folder = format!("{folder}/logind.conf.d");
            for name in self.machine.names(&folder).into_iter().filter(|name| name.ends_with(".conf")) {
                drop_ins.entry(name.clone()).or_insert(format!("{folder}/{name}"));
            }
        }
        let mut found = (None, String::new());
        let drop_ins = drop_ins.into_values().filter_map(|path| Some((self.machine.read(&path).ok()?, path)));
        for (text, path) in main.clone().into_iter().chain(drop_ins) {
            if let Some(value) = setting(&text, false) {
                found = (Some(value), path);
            }
        }
        match (found, main) {
            ((None, _), Some((text, path))) => match setting(&text, true) {
                Some(value) => (Some(value), format!("a comment of {path} that names the default")),
                None => (None, String::new()),
            },
            (found, _) => found,
        }
    }

    fn resources(&mut self) {
        let memlock = self.machine.resource("Max locked memory", Resource::LockedMemory);
        let need = self.need;
        if let Some(Some(limit)) = self.known("RLIMIT_MEMLOCK", memlock)
            && !self.may(CAP_IPC_LOCK)
            && (limit <= 64 << 10 || need.is_some_and(|need| need > limit))
        {
            let asked = need.map(|need| format!(", and {} are asked for", self.size(need))).unwrap_or_default();
            let cause =
                format!("RLIMIT_MEMLOCK is {}{asked}: mlock, SHM_LOCK and MAP_LOCKED of more fail", self.size(limit));
            let remedy = "ulimit -l unlimited\n\
                          or: in a systemd unit, LimitMEMLOCK=infinity\n\
                          or: for logins, '* - memlock unlimited' in /etc/security/limits.d/memlock.conf";
            self.find(Severity::Note, "memlock", cause, remedy).figures.extend([("limit", limit)]);
        }
        let rows: [(&str, &str, &str, Resource, &str, &str); 2] = [
            (
                "Max file size",
                "RLIMIT_FSIZE",
                "fsize",
                Resource::FileSize,
                "an object or file cannot be larger: SIGXFSZ kills who tries",
                "ulimit -f unlimited",
            ),
            (
                "Max address space",
                "RLIMIT_AS",
                "address-space",
                Resource::AddressSpace,
                "mmap and shmat of more fail (ENOMEM)",
                "ulimit -v unlimited",
            ),
        ];
        for (words, name, id, resource, means, remedy) in rows {
            let limit = self.machine.resource(words, resource);
            let Some(Some(limit)) = self.known(name, limit) else { continue };
            let fails = need.is_some_and(|need| need > limit);
            let asked = need.filter(|_| fails).map(|need| format!(", and {} are asked for", self.size(need)));
            let cause = format!("{name} is {}{}: {means}", self.size(limit), asked.unwrap_or_default());
            let severity = if fails { Severity::Error } else { Severity::Warning };
            self.find(severity, id, cause, remedy).figures.extend([("limit", limit)]);
        }
    }

    /// Whether this process has a capability (the number of its bit).
    fn may(&self, capability: u32) -> bool {
        let status = self.machine.read("/proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set >> capability & 1 == 1)
    }

    fn huge_pages(&mut self) {
        let pools = self.machine.pools();
        let usual = self.machine.memory("Hugepagesize").unwrap_or(2 << 20);
        let pool = pools.iter().find(|pool| pool.size == usual);
        let (pages, free) = pool.map_or((0, 0), |pool| (pool.pages, pool.free.saturating_sub(pool.reserved)));
        let figures = [("page_size", usual), ("pages", pages), ("free", free)];
        let page = self.size(usual);
        if let (true, Some(need)) = (self.huge, self.need) {
            let wanted = need.div_ceil(usual);
            if wanted > free {
                let cause = format!(
                    "{} are asked for in huge pages: {wanted} of {page}, and {free} of {pages} are free (MAP_HUGETLB, SHM_HUGETLB: ENOMEM)",
                    self.size(need)
                );
                let remedy = format!("sysctl -w vm.nr_hugepages={}", pages.saturating_sub(free) + wanted);
                self.find(Severity::Error, "huge-pages", cause, remedy).figures.extend(figures);
                return;
            }
        }
        if let Some((wanted, from)) = self.configured_pages()
            && wanted > pages
        {
            let cause = format!(
                "{from} asks for {wanted} huge pages, and the pool has {pages} of {page}: memory was too fragmented, or it was not applied yet"
            );
            let remedy = format!("echo 1 >/proc/sys/vm/compact_memory; sysctl -w vm.nr_hugepages={wanted}");
            self.find(Severity::Warning, "huge-pages", cause, remedy).figures.extend(figures);
        } else if pages > 0 && free == 0 {
            let cause =
                format!("all {pages} huge pages of {page} are used or promised: whoever asks for more gets ENOMEM");
            let remedy = format!("sysctl -w vm.nr_hugepages={}", pages.saturating_mul(2));
            self.find(Severity::Warning, "huge-pages", cause, remedy).figures.extend(figures);
        }
    }

    /// How many huge pages the configuration asks for, and what says so: the kernel's command line, then sysctl.d in
    /// the order in which it is applied.
    fn configured_pages(&self) -> Option<(u64, String)> {
        let line = self.machine.read("/proc/cmdline").unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        // hugepages= after a hugepagesz= of another size is not of the usual pool.
        let mut found = match words.iter().any(|word| word.starts_with("hugepagesz=")) {
            true => None,
            false => words.iter().find_map(|word| word.strip_prefix("hugepages=")?.parse().ok()),
        }
        .map(|pages: u64| (pages, "/proc/cmdline".to_string()));
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for folder in ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"] {
            for name in self.machine.names(folder).into_iter().filter(|name| name.ends_with(".conf")) {
                files.entry(name.clone()).or_insert(format!("{folder}/{name}"));
            }
        }
        for path in files.into_values().chain(["/etc/sysctl.conf".to_string()]) {
            let text = self.machine.read(&path).unwrap_or_default();
            for line in text.lines() {
                let Some((name, value)) = line.trim().trim_start_matches('-').split_once('=') else { continue };
                if let ("vm.nr_hugepages", Ok(pages)) = (name.trim().replace('/', ".").as_str(), value.trim().parse()) {
                    found = Some((pages, path.clone()));
                }
            }
        }
        found
    }

    /// Control groups, and memory that may be promised.
    fn memory(&mut self) {
        // Where there is no memory controller, there is no limit.
        if let Ok(group) = self.machine.group()
            && let Some(limit) = group.limit
        {
            let set = |bytes: u64| format!("echo {bytes} >{}", group.file);
            if let Ok(room) = self.machine.room(OBJECTS)
                && room.bytes > limit
            {
                let cause = format!(
                    "/dev/shm may hold {}, and the control group may use {} ({}): who fills it is killed before ENOSPC",
                    self.size(room.bytes),
                    self.size(limit),
                    group.file
                );
                let remedy = format!(
                    "mount -o remount,size={}M /dev/shm\nor: {}",
                    (limit / 2).max(1 << 20) >> 20,
                    set(room.bytes.saturating_mul(2))
                );
                self.find(Severity::Warning, "cgroup-smaller", cause, remedy)
                    .figures
                    .extend([("limit", limit), ("capacity", room.bytes)]);
            }
            if let Some(used) = self.known("what the control group uses", group.used.clone()) {
                let free = limit.saturating_sub(used);
                let figures = [("limit", limit), ("used", used)];
                let text =
                    format!("the control group uses {} of {} ({})", self.size(used), self.size(limit), group.file);
                if let Some(need) = self.need.filter(|need| *need > limit) {
                    let cause = format!("{text}, and {} are asked for: who touches them is killed", self.size(need));
                    self.find(Severity::Error, "cgroup-full", cause, set(need.saturating_mul(2)))
                        .figures
                        .extend(figures);
                } else if is_nearly(used, limit) {
                    let cause =
                        format!("{text}: {} are left before caches are dropped and processes killed", self.size(free));
                    self.find(Severity::Warning, "cgroup-full", cause, set(limit.saturating_mul(2)))
                        .figures
                        .extend(figures);
                }
            }
        }
        let promises =
            self.machine.memory("CommitLimit").and_then(|limit| Ok((limit, self.machine.memory("Committed_AS")?)));
        if self.machine.number("/proc/sys/vm/overcommit_memory") == Ok(2)
            && let Some((limit, used)) = self.known("what memory is promised", promises)
            && is_nearly(used, limit)
        {
            let cause = format!(
                "vm.overcommit_memory is 2, and {} of {} are promised: segments and objects fail (ENOMEM) although /dev/shm has room",
                self.size(used),
                self.size(limit)
            );
            let remedy = "sysctl -w vm.overcommit_ratio=80\nor: sysctl -w vm.overcommit_memory=0";
            self.find(Severity::Warning, "overcommit", cause, remedy)
                .figures
                .extend([("limit", limit), ("used", used)]);
        }
    }

    fn settings(&mut self) {
        if self.machine.number("/proc/sys/kernel/shm_rmid_forced") == Ok(1) {
            let cause = "kernel.shm_rmid_forced is 1: a System V segment is removed when the last process detaches it, also one that was to be found again";
            self.find(Severity::Warning, "shm-rmid-forced", cause, "sysctl -w kernel.shm_rmid_forced=0");
        }
        if self.machine.number("/proc/sys/vm/memfd_noexec") == Ok(2) {
            let cause = "vm.memfd_noexec is 2: memfd_create without MFD_NOEXEC_SEAL fails (EACCES), and programs older than Linux 6.3 do not know that flag";
            self.find(Severity::Warning, "memfd-noexec", cause, "sysctl -w vm.memfd_noexec=1");
        }
    }

    /// Objects, segments and semaphores that everybody may write, or whose owner is gone.
    fn objects(&mut self) {
        let mut all: Vec<Thing> = Vec::new();
        if self.machine.path(OBJECTS).is_dir()
            && let Some(objects) = self.known("the objects in /dev/shm", self.machine.objects())
        {
            all.extend(objects.into_iter().map(|(name, status)| {
                let semaphores = name.starts_with(b"sem.");
                Thing { of: Of::Object(name), uid: status.uid(), mode: status.mode(), semaphores }
            }));
        }
        if let Some(segments) = self.known("System V segments", self.machine.segments()) {
            all.extend(segments.iter().map(|one| Thing {
                of: Of::Segment(one.id, one.key),
                uid: one.uid,
                mode: one.mode,
                semaphores: false,
            }));
        }
        if let Some(sets) = self.known("System V sets of semaphores", self.machine.sets()) {
            all.extend(sets.iter().map(|one| Thing {
                of: Of::Set(one.id, one.key),
                uid: one.uid,
                mode: one.mode,
                semaphores: true,
            }));
        }
        let rows = [
            (
                false,
                "world-writable",
                "may be written by everybody: any user can change, fill or shorten them under the others",
            ),
            (
                true,
                "world-writable-semaphores",
                "may be changed by everybody: any user can take or free them under the others",
            ),
        ];
        for (semaphores, id, means) in rows {
            let open: Vec<&Thing> =
                all.iter().filter(|one| one.semaphores == semaphores && one.mode & 0o002 != 0).collect();
            if let Some(first) = open.first() {
                let remedy = match &first.of {
                    Of::Object(name) => format!("chmod o-w {}", quoted(&path_of(name))),
                    _ => "create them without mode 0002 (shmget, semget), or give them to a group".to_string(),
                };
                let names = open.iter().map(|one| one.text()).collect();
                self.listed(Severity::Warning, id, names, means, remedy);
            }
        }
        self.owners(&all);
    }

    fn owners(&mut self, all: &[Thing]) {
        let users: std::collections::BTreeSet<u32> = all.iter().map(|one| one.uid).collect();
        let (mut gone, mut unknown): (Vec<&Thing>, Vec<&Thing>) = (Vec::new(), Vec::new());
        for uid in users {
            let of = all.iter().filter(|one| one.uid == uid);
            match self.has_user(uid) {
                Ok(true) => {}
                Ok(false) => gone.extend(of),
                Err(_) => unknown.extend(of),
            }
        }
        let names = |list: &[&Thing]| list.iter().map(|one| format!("{} (user {})", one.text(), one.uid)).collect();
        if let Some(first) = gone.first() {
            let remedy = match &first.of {
                Of::Segment(id, _) => format!("ipcrm -m {id}"),
                Of::Set(id, _) => format!("ipcrm -s {id}"),
                Of::Object(name) => {
                    // The tool takes addresses as it prints them; rm takes bytes.
                    let address = printable::text(&[b"posix:/", &name[..]].concat());
                    format!("shmkit who {}\nrm {}", quoted(address.as_bytes()), quoted(&path_of(name)))
                }
            };
            let means = "of users who do not exist: nobody but root can remove them, and whoever gets the number next owns them";
            self.listed(Severity::Warning, "owner-gone", names(&gone), means, remedy);
        }
        if !unknown.is_empty() {
            let means = "of users of whom it cannot be told whether they exist (getent is not there, or they are of another user namespace)";
            self.listed(Severity::Note, "owner-unknown", names(&unknown), means, String::new());
        }
    }

    /// Whether there is a user of this number: in the file, or where the system is told to look as well.
    fn has_user(&self, uid: u32) -> Fact<bool> {
        let passwd = self.machine.read("/etc/passwd")?;
        let number = uid.to_string();
        if passwd.lines().any(|line| line.split(':').nth(2) == Some(&number)) {
            return Ok(true);
        }
        // What this user namespace has no number for is shown as this one.
        let map = self.machine.read("/proc/self/uid_map").unwrap_or_default();
        let whole = map.is_empty() || map.split_whitespace().eq(["0", "0", "4294967295"]);
        if !whole {
            return Err("another user namespace".into());
        }
        let switch = self.machine.read("/etc/nsswitch.conf").unwrap_or_default();
        let sources = switch.lines().find_map(|line| line.trim().strip_prefix("passwd:")).unwrap_or("files");
        if sources.split_whitespace().all(|source| matches!(source, "files" | "compat")) {
            return Ok(false);
        }
        if !self.machine.is_real() {
            return Err("other sources".into());
        }
        let told = std::process::Command::new("getent")
            .args(["passwd", &number])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        match told.map(|status| status.code()) {
            Ok(Some(0)) => Ok(true),
            // getent(1): the key was not found.
            Ok(Some(2)) => Ok(false),
            _ => Err("no getent".into()),
        }
    }

    /// A finding about objects, the first of which are named.
    fn listed(&mut self, severity: Severity, id: &'static str, objects: Vec<String>, means: &str, remedy: String) {
        let mut names = objects.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if objects.len() > NAMED {
            names += &format!(" and {} more", objects.len() - NAMED);
        }
        let finding = self.find(severity, id, format!("{names}: {means}"), remedy);
        finding.figures.insert("count", objects.len() as u64);
        finding.objects = objects;
    }

    fn orphans(&mut self) {
        // The library knows this machine only.
        if !self.machine.is_real() {
            return;
        }
        let (mut names, mut bytes) = (Vec::new(), 0u64);
        // What processes have without a lease stays.
        let told = gather::tables().and_then(|before| last_look::left_over(&before));
        let told = told.map_err(|failure| failure.cause).and_then(|left| {
            for object in &left.free {
                names.push(printable::text(&object.address));
                bytes = bytes.saturating_add(object.reserved.known().unwrap_or(0));
            }
            left.unlisted.map_or(Ok(()), |why| Err(why.to_string()))
        });
        self.known("what is left over", told);
        if !names.is_empty() {
            let means = format!("left over: nobody has them open, and they keep {}", self.size(bytes));
            self.listed(Severity::Warning, "orphans", names, &means, "shmkit gc".into());
            if let Some(finding) = self.findings.last_mut() {
                finding.figures.insert("bytes", bytes);
            }
        }
    }

    /// The option by which /proc hides other users' processes from this one.
    fn hides(&self) -> Option<String> {
        let mount = self.machine.mount_of("/proc").ok().filter(|mount| mount.kind == "proc")?;
        let hides = mount.options.iter().find(|option| option.starts_with("hidepid="))?;
        let off = matches!(hides.as_str(), "hidepid=0" | "hidepid=off");
        (!off && !self.may(CAP_SYS_PTRACE)).then(|| hides.clone())
    }

    fn proc(&mut self) {
        if self.machine.names("/proc/self").is_empty() {
            let cause = "/proc is not mounted: who uses what, which creator lives and most limits are unknown, to this tool and to shmkit's own regions";
            self.find(Severity::Warning, "proc-missing", cause, "mount -t proc proc /proc");
        } else if let Some(option) = self.hides() {
            let cause = format!(
                "/proc is mounted with {option}: other users' processes are hidden, so who uses an object is unknown where it is theirs"
            );
            self.find(
                Severity::Note,
                "proc-hidden",
                cause,
                "run this as root, or in the group that the option gid= names",
            );
        }
    }
}

const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_PTRACE: u32 = 19;

/// What a file says of RemoveIPC in its section [Login]; of comments, as they name defaults, when they are wanted.
fn setting(text: &str, commented: bool) -> Option<bool> {
    let mut section = String::new();
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.to_string();
        }
        let line = match commented {
            true => line.strip_prefix('#').unwrap_or_default(),
            false => line,
        };
        if section == "[Login]"
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == "RemoveIPC"
        {
            found = match value.trim().to_ascii_lowercase().as_str() {
                "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
                "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
                // What logind cannot read it ignores.
                _ => found,
            };
        }
    }
    found
}
