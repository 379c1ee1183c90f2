//! Where reports go when somebody asked for them: a callback, standard error, a file, as text or JSON lines.
//! Never writes unasked, never keeps a descriptor open, never allocates. Next: `judge.rs`, which calls it.

use core::ffi::{CStr, c_char, c_void};

use super::detail::{Detail, Words};
use super::policy::{self, CALLBACK, TARGET};
use crate::checks::words::{Call, Invocation};
use crate::checks::{Rule, Verdict};
use crate::error::errno_name;
use crate::sys::lock::Guarded;
use crate::sys::{self, process};
use crate::text::Text;

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

#[derive(Clone, Copy)]
struct Listener {
    callback: Option<Callback>,
    /// An address, kept as a number: only the program gives it a meaning.
    user: usize,
}

#[derive(Clone, Copy)]
struct Target {
    /// Terminated; empty for standard error.
    path: Text<4096>,
    json: bool,
}

static LISTENER: Guarded<Listener> = Guarded::new(Listener { callback: None, user: 0 });
static WHERE: Guarded<Target> = Guarded::new(Target { path: Text::new(), json: false });

std::thread_local! {
    static IN_CALLBACK: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
}

/// Sets or clears the callback.
pub fn set_callback(callback: Option<Callback>, user: *mut c_void) {
    LISTENER.with(|listener| *listener = Listener { callback, user: user as usize });
    policy::set_listening(CALLBACK, callback.is_some());
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
    let mut path = Text::new();
    if target != b"stderr" {
        let mut buffer = [0u8; 4096];
        let Some(length) = process::absolute(target, &mut buffer) else {
            return false;
        };
        path.push_bytes(&buffer[..length]);
        path.push(0);
        if with_path(&path, |path| sys::preserving_errno(|| sys::file::append(path, b""))).is_err() {
            return false;
        }
    }
    WHERE.with(|place| *place = Target { path, json });
    policy::set_listening(TARGET, true);
    true
}

fn with_path<R>(path: &Text<4096>, work: impl FnOnce(Option<&CStr>) -> R) -> R {
    work(CStr::from_bytes_until_nul(path.bytes()).ok())
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

/// Tells everybody who listens. Leaves errno and this thread's last failure as they were.
#[cold]
pub fn send(detail: &Detail, outcome: Outcome) {
    let listening = policy::listening();
    let Some(rule) = detail.rule.filter(|_| listening != 0) else {
        return;
    };
    sys::preserving_errno(|| {
        let mut words = Words { call: Text::new(), cause: Text::new(), remedy: Text::new(), message: Text::new() };
        words.fill(detail);
        if listening & CALLBACK != 0 {
            call_back(detail, &words, rule, outcome);
        }
        if listening & TARGET != 0 {
            write(detail, &words, rule, outcome);
        }
    });
}

fn call_back(detail: &Detail, words: &Words, rule: Rule, outcome: Outcome) {
    let Some(Listener { callback: Some(callback), user }) = LISTENER.with(|listener| *listener) else {
        return;
    };
    if IN_CALLBACK.replace(true) {
        return;
    }
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

/// One report, one write: reports of several processes do not mix in a file opened for appending.
fn write(detail: &Detail, words: &Words, rule: Rule, outcome: Outcome) {
    let Some(Target { path, json }) = WHERE.with(|target| *target) else {
        return;
    };
    let mut line = Text::<4096>::new();
    let (id, verdict) = (rule.row().id, verdict_name(rule.row().verdict));
    if json {
        line.push_str("{\"schema\":1,\"time_ns\":");
        line.push_number(process::wall_clock_ns());
        line.push_str(",\"pid\":");
        line.push_signed(i64::from(process::pid()));
        line.push_str(",\"tid\":");
        line.push_signed(i64::from(process::tid()));
        for (key, value) in [
            ("rule", id.as_bytes()),
            ("verdict", verdict.as_bytes()),
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
        line.push_str("}\n");
    } else {
        line.push_str("shmkit[");
        line.push_signed(i64::from(process::pid()));
        line.push_str("] ");
        line.push_str(verdict);
        line.push(b' ');
        line.push_str(id);
        line.push_str(", ");
        line.push_str(outcome_name(outcome));
        line.push_str(": ");
        line.push_bytes(words.call.bytes());
        if outcome != Outcome::Passed {
            line.push_str(" = ");
            line.push_str(errno_name(detail.errno));
        }
        line.push_str("\n    why: ");
        line.push_bytes(words.cause.bytes());
        line.push_str("\n    fix: ");
        line.push_bytes(words.remedy.bytes());
        line.push(b'\n');
    }
    // A report that cannot be written is lost: there is nobody left to tell.
    let _lost = with_path(&path, |path| sys::file::append(path, line.bytes()));
}
