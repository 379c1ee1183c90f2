//! What this thread's last failure was, kept until the next one and put into words when somebody asks.
//! Never allocates; never touched on success. Next: `explain.rs`, which fills it.

use core::cell::RefCell;

use crate::checks::Rule;
use crate::checks::words::{Figures, Invocation, push_call, render};
use crate::error::{Status, errno_name};
use crate::text::Text;

/// A failure, before it is put into words.
#[derive(Clone, Copy)]
pub struct Detail {
    /// The call as it was made.
    pub call: Invocation,
    /// Its live figures.
    pub figures: Figures,
    /// The status code.
    pub status: Status,
    /// The errno that the call gave.
    pub errno: i32,
    /// The rule that explains it, if there is one.
    pub rule: Option<Rule>,
    /// Why, as a template.
    pub cause: &'static str,
    /// What to do, as a template.
    pub remedy: &'static str,
}

/// A failure in words.
pub struct Words {
    /// The call with its arguments.
    pub call: Text<512>,
    /// Why.
    pub cause: Text<768>,
    /// What to do.
    pub remedy: Text<512>,
    /// All of it on one line.
    pub message: Text<2048>,
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl Words {
    /// No words.
    pub const fn new() -> Self {
        Words { call: Text::new(), cause: Text::new(), remedy: Text::new(), message: Text::new() }
    }

    /// Puts a failure into words.
    pub fn fill(&mut self, detail: &Detail) {
        self.call.clear();
        self.cause.clear();
        self.remedy.clear();
        self.message.clear();
        push_call(&detail.call, &mut self.call);
        render(detail.cause, &detail.call, &detail.figures, &mut self.cause);
        render(detail.remedy, &detail.call, &detail.figures, &mut self.remedy);
        self.message.push_bytes(self.call.bytes());
        self.message.push_str(": ");
        self.message.push_str(errno_name(detail.errno));
        if let Some(rule) = detail.rule {
            self.message.push_str(" [");
            self.message.push_str(rule.row().id);
            self.message.push(b']');
        }
        self.message.push_str(": ");
        self.message.push_bytes(self.cause.bytes());
        self.message.push_str("; ");
        self.message.push_bytes(self.remedy.bytes());
        self.call.terminate();
        self.cause.terminate();
        self.remedy.terminate();
        self.message.terminate();
    }
}

struct Last {
    detail: Option<Detail>,
    /// Whether `words` are those of `detail`.
    worded: bool,
}

std::thread_local! {
    // No destructor: reading it is sound at any time of the thread's life, and needs no allocation.
    static LAST: RefCell<Last> = const { RefCell::new(Last { detail: None, worded: false }) };
    // Apart from LAST, so that it is all zeros and takes no room in the library's file.
    static WORDS: RefCell<Words> = const { RefCell::new(Words::new()) };
}

/// Keeps a failure. A signal handler that interrupts this very function keeps nothing.
pub fn keep(detail: &Detail) {
    // Nobody asks the interposer; and storage of a thread's own may be allocated at the first touch.
    if cfg!(interposer) {
        return;
    }
    LAST.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.detail = Some(*detail);
            last.worded = false;
        }
    });
}

/// Forgets this thread's last failure.
pub fn clear() {
    LAST.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.detail = None;
        }
    });
}

/// Shows this thread's last failure, in words, to `reader`; `None` when there is none.
pub fn read<R>(reader: impl FnOnce(&Detail, &Words) -> R) -> Option<R> {
    LAST.with(|last| {
        let mut last = last.try_borrow_mut().ok()?;
        let detail = last.detail?;
        WORDS.with(|words| {
            let mut words = words.try_borrow_mut().ok()?;
            if !last.worded {
                words.fill(&detail);
                last.worded = true;
            }
            Some(reader(&detail, &words))
        })
    })
}

impl Detail {
    /// A failure that a rule explains.
    pub fn of_rule(rule: Rule, errno: i32, call: &Invocation, figures: &Figures) -> Detail {
        let row = rule.row();
        Detail {
            call: *call,
            figures: *figures,
            status: row.status,
            errno,
            rule: Some(rule),
            cause: row.cause,
            remedy: row.remedy,
        }
    }
}
