//! What this process leaves behind when it exits: objects and named semaphores that it made and did not
//! unlink, segments and sets of
//! semaphores not removed.
//! Never runs unless somebody listens to reports; never removes anything. Next: `ledger.rs`, which remembers them.

use super::detail::Detail;
use super::judge::figures;
use super::ledger::{self, Kind, Object, Segment};
use super::policy;
use super::report::{self, Outcome};
use super::{sem, semset};
use crate::checks::Rule;
use crate::checks::words::{Call, Invocation};
use crate::sys::{self, file, process, sysv};
use crate::text::Text;

/// Reports what is left behind. Runs after the program's own exit handlers and destructors; `_exit`, `abort` and
/// signals bypass it, as they bypass every handler.
pub fn report_leftovers() {
    if !policy::attentive() || policy::listening() == 0 {
        return;
    }
    sys::preserving_errno(|| {
        ledger::left_behind(
            |object| {
                if is_own() {
                    object_left(object)
                }
            },
            |segment| {
                if is_own() {
                    segment_left(segment)
                }
            },
            |set| {
                if is_own() {
                    set_left(set)
                }
            },
        )
    });
}

/// Whether the records are this process's: a child made behind the C library's back shares its parent's, but made none of
/// these. Asked only when there are some: a program may have forbidden itself all system calls but its own.
fn is_own() -> bool {
    ledger::process() == process::pid()
}

fn object_left(object: &Object) {
    let semaphore = object.kind == Kind::Semaphore;
    let mut path = Text::<320>::new();
    path.push_bytes(sys::posix::OBJECT_FOLDER.to_bytes());
    path.push(b'/');
    path.push_str(if semaphore { sem::PREFIX } else { "" });
    path.push_bytes(object.name.bytes());
    path.push(0);
    let Ok(path) = core::ffi::CStr::from_bytes_until_nul(path.bytes()) else {
        return;
    };
    let Ok(status) = file::status_at(path) else {
        return;
    };
    // Somebody else may have made another object of the same name since.
    if object.identity != (0, 0) && object.identity != (status.dev, status.ino) {
        return;
    }
    let mut call = Invocation::new(Call::Exit, [0; 6]);
    call.subject.push_str(if semaphore { "/" } else { "posix:/" });
    call.subject.push_printable(object.name.bytes());
    let mut figures = figures(&call);
    figures.size = status.size;
    let rule = if semaphore { Rule::ExitSemaphore } else { Rule::ExitObject };
    report::send(&Detail::of_rule(rule, rule.row().errno, &call, &figures), Outcome::Passed);
}

fn segment_left(segment: &Segment) {
    let Ok(status) = sysv::status(segment.id) else {
        return;
    };
    if status.mode & sysv::SHM_DEST != 0 || status.creator != ledger::process() {
        return;
    }
    let call = Invocation::new(Call::Exit, [0; 6]);
    let mut figures = figures(&call);
    figures.id = segment.id;
    figures.key = status.key as u32;
    figures.size = status.size;
    figures.count = status.attaches;
    report::send(&Detail::of_rule(Rule::ExitSegment, Rule::ExitSegment.row().errno, &call, &figures), Outcome::Passed);
}

fn set_left(id: i32) {
    let call = Invocation::new(Call::Exit, [0; 6]);
    let Some(figures) = semset::left(id, &call) else { return };
    report::send(&Detail::of_rule(Rule::ExitSemset, Rule::ExitSemset.row().errno, &call, &figures), Outcome::Passed);
}
