//! Where reports go when somebody asked for them: a callback, standard error, a file, as text or JSON lines.
//! Never writes unasked, never keeps a descriptor open, never allocates. What nobody takes is given up, and counted.
//! Next: `judge.rs`, which calls it.

use core::ffi::{CStr, c_char, c_void};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::OnceLock;

use super::detail::{Detail, Words};
use super::ledger;
use super::policy::{self, CALLBACK, OBSERVER, TARGET};
use crate::checks::words::{Call, Invocation};
use crate::checks::{Rule, Verdict};
use crate::error::{Errno, errno_name};
use crate::sys::lock::Guarded;
use crate::sys::{self, process};
use crate::text::{Text, Writer, leading_number};

/// What became of the call that is reported.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was passed to the kernel.
    Passed = 0,
    /// shmkit refused it.
    Refused = 1,
    /// The kernel refused it.
    Failed = 2,
}

/// One report, for a callback. The strings are valid until the callback returns.
#[repr(C)]
pub struct Report {
    /// sizeof of this struct, so that it can grow.
    pub struct_size: usize,
    /// The id of the rule, as in docs/rules.md.
    pub rule: *const c_char,
    /// The call with its arguments.
    pub call: *const c_char,
    /// Why.
    pub cause: *const c_char,
    /// What to do.
    pub remedy: *const c_char,
    /// SHMKIT_VERDICT_WRONG or SHMKIT_VERDICT_HAZARD.
    pub verdict: i32,
    /// SHMKIT_OUTCOME_PASSED, SHMKIT_OUTCOME_REFUSED or SHMKIT_OUTCOME_FAILED.
    pub outcome: i32,
    /// The status code that a refusal for this rule has.
    pub code: i32,
    /// The errno that the call gave; 0 when it was passed.
    pub errno_value: i32,
}

/// Hears reports. Called on the thread that made the call, with no lock held; it may make checked calls itself, but
/// is not called for those.
pub type Callback = extern "C" fn(report: *const Report, user: *mut c_void);

/// Sees each report before it is written; says where in the program the call was made, if it knows, and whether the report
/// is written.
pub type Observer = fn(&Detail, Rule, Outcome, site: &mut Writer) -> Repeat;

/// What becomes of a report that is much like others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// It is written.
    Another,
    /// It is written, and says that it is the last one of its kind.
    Last,
    /// It is not written.
    Enough,
}

static OBSERVER_OF_ALL: OnceLock<Observer> = OnceLock::new();

#[derive(Clone, Copy)]
struct Listener {
    callback: Option<Callback>,
    /// An address, kept as a number: only the program gives it a meaning.
    user: usize,
}

/// Where reports are written, and the room in which they are put into words: not on the stack, which may be a small
/// thread's or a signal handler's.
struct Pen {
    /// Terminated; empty for standard error.
    path: Text<4097>,
    /// Device and number of the file at the path; 0 and 0 where any file will do.
    identity: (u64, u64),
    /// Reports go to standard error: to the path, where `shmkit run` gave one, or else to descriptor 2.
    standard: bool,
    /// What descriptor 2 was when this began; 0 and 0 where that does not matter.
    second: (u64, u64),
    json: bool,
    words: Words,
    site: Text<256>,
    line: Text<4096>,
}

static LISTENER: Guarded<Listener> = Guarded::new(Listener { callback: None, user: 0 });
static PEN: Guarded<Pen> = Guarded::new(Pen {
    path: Text::new(),
    identity: (0, 0),
    standard: true,
    second: (0, 0),
    json: false,
    words: Words::new(),
    site: Text::new(),
    line: Text::new(),
});

/// How long a line waits for whoever reads it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A second; and no more than that for all lines until there is room again.
    Bounded,
    /// As long as it takes: for what is worth nothing unless it is whole.
    Endless,
}

/// The last report waited in vain: the next ones do not wait.
static STUCK: AtomicBool = AtomicBool::new(false);
/// Hears of each report that could not be written.
static LOSS: OnceLock<fn()> = OnceLock::new();

std::thread_local! {
    static IN_CALLBACK: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// Sets or clears the callback.
pub fn set_callback(callback: Option<Callback>, user: *mut c_void) {
    LISTENER.with(|listener| *listener = Listener { callback, user: user as usize });
    policy::set_listening(CALLBACK, callback.is_some());
}

/// Sets the observer, once and for all.
pub fn set_observer(observer: Observer) {
    if OBSERVER_OF_ALL.set(observer).is_ok() {
        policy::set_listening(OBSERVER, true);
    }
}

/// Sets who hears of reports that could not be written, once and for all.
pub fn set_loss(heard: fn()) {
    let _ = LOSS.set(heard);
}

fn lost() {
    if let Some(heard) = LOSS.get() {
        heard();
    }
}

/// Sets where reports are written: `stderr`, `FILE`, `json:stderr`, `json:FILE`; `off` or nothing for nowhere.
/// False when the file cannot be written.
pub fn set_target(target: &[u8]) -> bool {
    if target.is_empty() || target == b"off" {
        policy::set_listening(TARGET, false);
        return true;
    }
    let (json, target) = match target.strip_prefix(b"json:") {
        Some(rest) => (true, rest),
        None => (false, target),
    };
    let set = PEN.with(|pen| {
        // The line is free while no report is made: the new path is tried there before it replaces the old one.
        let Pen { path, identity, standard, second, line, .. } = pen;
        line.clear();
        let mut found = (0, 0);
        if target == b"stderr" {
            if cfg!(interposer) {
                (found, *second) = standard_error(line);
            }
        } else {
            if !process::push_absolute(target, line) {
                return false;
            }
            line.push(0);
            let Ok(file) = CStr::from_bytes_until_nul(line.bytes()) else { return false };
            let opened = sys::preserving_errno(|| {
                let fd = sys::file::open_for_report(file, true)?;
                let status = sys::file::status(fd);
                sys::file::close(fd).and(status)
            });
            let Ok(status) = opened else { return false };
            if cfg!(interposer) {
                // After a change of root the path may lead elsewhere.
                found = identity_of(status);
            }
        }
        (*identity, *standard) = (found, target == b"stderr");
        path.clear();
        path.push_bytes(line.bytes());
        pen.json = json;
        true
    });
    if set == Some(true) {
        policy::set_listening(TARGET, true);
    }
    set == Some(true)
}

fn identity_of(status: sys::file::Status) -> (u64, u64) {
    (status.dev, status.ino)
}

/// The standard error of `shmkit run`, as `DEVICE:NUMBER:PATH` in the environment: puts the path into `out`, and gives the
/// identity, and that of descriptor 2 as it is now. A program that was not written for this may give that number to a
/// file of its own.
fn standard_error(out: &mut Writer) -> ((u64, u64), (u64, u64)) {
    let mut found = (0, 0);
    process::environment(c"SHMKIT_STDERR", |value| {
        let mut parts = value.splitn(3, |byte| *byte == b':');
        if let (Some(device), Some(number), Some(path)) = (parts.next(), parts.next(), parts.next()) {
            out.push_bytes(path);
            out.push(0);
            found = (leading_number(device), leading_number(number));
        }
    });
    (found, sys::preserving_errno(|| sys::file::status(2)).map_or((0, 0), identity_of))
}

/// Learns what standard error is, for lines that are written even where reports go nowhere.
pub fn learn_standard_error() {
    PEN.with(|pen| {
        if pen.standard {
            pen.path.clear();
            (pen.identity, pen.second) = standard_error(&mut pen.path);
        }
    });
}

/// A setting of the environment that is not known, to be reported once reports have somewhere to go.
pub type Setting = Text<160>;

/// Puts a setting into words.
pub fn setting(variable: &str, value: &[u8]) -> Setting {
    let mut text = Setting::new();
    text.push_str(variable);
    text.push_printable(value);
    text
}

/// Reports a setting that is not known; the default stands in its place.
pub fn unknown_setting(setting: &Setting) {
    let mut call = Invocation::new(Call::Environment, [0; 6]);
    call.subject.push_bytes(setting.bytes());
    call.named = true;
    let figures = Default::default();
    send(&Detail::of_rule(Rule::ConfigUnknown, libc::EINVAL, &call, &figures), Outcome::Passed);
}

/// Tells everybody who listens. Leaves errno alone.
pub fn send(detail: &Detail, outcome: Outcome) {
    if policy::listening() != 0 {
        send_to_listeners(detail, outcome);
    }
}

/// Apart from `send`, so that a failure that nobody hears of needs little stack.
#[cold]
#[inline(never)]
fn send_to_listeners(detail: &Detail, outcome: Outcome) {
    let Some(rule) = detail.rule else { return };
    sys::preserving_errno(|| {
        process::uncancelled(|| {
            if policy::listening() & CALLBACK != 0 {
                call_back(detail, rule, outcome);
            }
            if policy::listening() & (TARGET | OBSERVER) != 0 {
                write(detail, rule, outcome);
            }
        });
    });
}

/// Takes this file's locks before a fork.
pub fn before_fork() {
    LISTENER.before_fork();
    PEN.before_fork();
}

/// Gives them back, in the parent and in the child.
pub fn after_fork() {
    PEN.after_fork();
    LISTENER.after_fork();
}

#[inline(never)]
fn call_back(detail: &Detail, rule: Rule, outcome: Outcome) {
    let Some(Listener { callback: Some(callback), user }) = LISTENER.with(|listener| *listener) else {
        return;
    };
    if IN_CALLBACK.replace(true) {
        return;
    }
    // On the stack, because no lock may be held while the program's function runs.
    let mut words = Words::new();
    words.fill(detail);
    let mut id = Text::<64>::new();
    id.push_str(rule.row().id);
    id.terminate();
    let text = |text: &[u8]| text.as_ptr().cast::<c_char>();
    let report = Report {
        struct_size: size_of::<Report>(),
        rule: text(id.bytes()),
        call: text(words.call.bytes()),
        cause: text(words.cause.bytes()),
        remedy: text(words.remedy.bytes()),
        verdict: rule.row().verdict as i32,
        outcome: outcome as i32,
        code: rule.row().status as i32,
        errno_value: if outcome == Outcome::Passed { 0 } else { detail.errno },
    };
    callback(&report, user as *mut c_void);
    IN_CALLBACK.set(false);
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Wrong => "wrong",
        Verdict::Hazard => "hazard",
    }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    }
}

/// Writes the line to where it goes.
fn put(pen: &Pen, patience: u64) -> Result<(), Errno> {
    let path = CStr::from_bytes_until_nul(pen.path.bytes()).ok();
    if let Some(path) = path {
        let result = put_at(path, pen, patience);
        // Waited for in vain, or too much: the other way leads to the same reader.
        if result.is_ok() || !pen.standard || matches!(result, Err(Errno(libc::EAGAIN | libc::EPIPE | libc::EFBIG))) {
            return result;
        }
    }
    // The program may have closed standard error, and an object of its own may have got the number.
    if ledger::object(2, None).is_some() {
        return Err(Errno(libc::EBADF));
    }
    if cfg!(interposer) && sys::file::status(2).map(identity_of) != Ok(pen.second) {
        return Err(Errno(libc::EBADF));
    }
    sys::file::write_report(2, pen.line.bytes(), patience)
}

fn put_at(path: &CStr, pen: &Pen, patience: u64) -> Result<(), Errno> {
    let known = pen.identity != (0, 0);
    // Looked at before it is opened: a path of /proc may be another process's, where /proc is of another namespace.
    if known && identity_of(sys::file::status_behind(path)?) != pen.identity {
        return Err(Errno(libc::ENOENT));
    }
    let fd = sys::file::open_for_report(path, !known)?;
    let result = sys::file::write_report(fd, pen.line.bytes(), patience);
    let _ = sys::file::close(fd);
    result
}

/// One report, one write: reports of several processes do not mix in a file opened for appending.
fn write_out(pen: &Pen, patience: Patience) {
    const SECOND: u64 = 1_000_000_000;
    let nanoseconds = match patience {
        Patience::Endless => u64::MAX,
        Patience::Bounded if STUCK.load(Relaxed) => 0,
        Patience::Bounded => SECOND,
    };
    let result = put(pen, nanoseconds);
    STUCK.store(result == Err(Errno(libc::EAGAIN)), Relaxed);
    if result.is_err() {
        lost();
    }
}

/// A report from a signal handler that interrupted this very function is lost.
fn write(detail: &Detail, rule: Rule, outcome: Outcome) {
    let done = PEN.with(|pen| {
        pen.site.clear();
        let repeat = match OBSERVER_OF_ALL.get() {
            Some(observer) => observer(detail, rule, outcome, &mut pen.site),
            None => Repeat::Another,
        };
        if policy::listening() & TARGET == 0 || repeat == Repeat::Enough {
            return;
        }
        pen.words.fill(detail);
        pen.line.clear();
        match pen.json {
            true => push_json_line(&pen.words, pen.site.bytes(), &mut pen.line, detail, rule, outcome),
            false => push_text_lines(&pen.words, pen.site.bytes(), &mut pen.line, detail, rule, outcome),
        }
        if repeat == Repeat::Last && !pen.json {
            pen.line.push_str("    more of this rule at this place are only counted\n");
        }
        write_out(pen, Patience::Bounded);
    });
    if done.is_none() {
        lost();
    }
}

/// Writes a line of another kind to where reports go, and to standard error when they go nowhere: `fill` is told whether
/// JSON is wanted.
pub fn write_line(patience: Patience, fill: impl FnOnce(&mut Writer, bool)) {
    let done = PEN.with(|pen| {
        pen.line.clear();
        fill(&mut pen.line, pen.json);
        write_out(pen, patience);
    });
    if done.is_none() {
        lost();
    }
}

fn push_json_line(words: &Words, site: &[u8], line: &mut Writer, detail: &Detail, rule: Rule, outcome: Outcome) {
    line.push_str("{\"schema\":1,\"time_ns\":");
    line.push_number(process::wall_clock_ns());
    line.push_str(",\"pid\":");
    line.push_signed(i64::from(process::pid()));
    line.push_str(",\"tid\":");
    line.push_signed(i64::from(process::tid()));
    for (key, value) in [
        ("rule", rule.row().id.as_bytes()),
        ("verdict", verdict_name(rule.row().verdict).as_bytes()),
        ("outcome", outcome_name(outcome).as_bytes()),
        ("errno", if outcome == Outcome::Passed { b"" } else { errno_name(detail.errno).as_bytes() }),
        ("function", detail.call.call.name().as_bytes()),
        ("call", words.call.bytes()),
        ("cause", words.cause.bytes()),
        ("remedy", words.remedy.bytes()),
    ] {
        line.push_str(",\"");
        line.push_str(key);
        line.push_str("\":");
        line.push_json(value);
    }
    if !site.is_empty() {
        line.push_str(",\"site\":");
        line.push_json(site);
    }
    line.push_str("}\n");
}

fn push_text_lines(words: &Words, site: &[u8], line: &mut Writer, detail: &Detail, rule: Rule, outcome: Outcome) {
    line.push_str("shmkit[");
    line.push_signed(i64::from(process::pid()));
    line.push_str("] ");
    line.push_str(verdict_name(rule.row().verdict));
    line.push(b' ');
    line.push_str(rule.row().id);
    line.push_str(", ");
    line.push_str(outcome_name(outcome));
    line.push_str(": ");
    line.push_bytes(words.call.bytes());
    if outcome != Outcome::Passed {
        line.push_str(" = ");
        line.push_str(errno_name(detail.errno));
    }
    if !site.is_empty() {
        line.push_str("\n    at:  ");
        line.push_bytes(site);
    }
    line.push_str("\n    why: ");
    line.push_bytes(words.cause.bytes());
    line.push_str("\n    fix: ");
    line.push_bytes(words.remedy.bytes());
    line.push(b'\n');
}
