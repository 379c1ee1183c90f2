//! docs/rules.md says of each rule what the table says, and its examples do what it says of them.
//! Runs every example in a fresh room under each policy. Never changes a setting of the machine and leaves nothing.

#[path = "support/rules_bench.rs"]
mod bench;
#[path = "support/rules_page.rs"]
mod page;
mod support;

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;

use bench::{Bench, Report, Run};
use page::{Page, Section};
use shmkit::checks::rules::Row;
use shmkit::checks::{Linux, Rule, Verdict};
use shmkit::error::errno_name;

/// Refused under every policy: there is nothing that the call could be passed to.
const ALWAYS_REFUSED: [Rule; 3] = [Rule::ArgPointer, Rule::NameUnterminated, Rule::ConfigUnknown];

/// Found when the process ends, and so never refused.
const AT_EXIT: [Rule; 4] = [Rule::ExitObject, Rule::ExitSegment, Rule::ExitSemaphore, Rule::ExitSemset];

/// Failing examples that break a second rule, as the page says there.
const ALSO_BROKEN: [(Rule, Rule); 1] = [(Rule::OpenModeBits, Rule::OpenNoAccess)];

fn verdict_name(row: &Row) -> &'static str {
    match row.verdict {
        Verdict::Wrong => "wrong",
        Verdict::Hazard => "hazard",
    }
}

/// The line in fixed form below the heading of a rule.
fn facts(row: &Row) -> String {
    let linux = match row.linux {
        Linux::Refuses => "refuses",
        Linux::Accepts => "accepts",
    };
    let (verdict, errno) = (verdict_name(row), errno_name(row.errno));
    format!("{verdict} · Linux {linux} · {errno} when refused · source: {}", row.source)
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// The page's sections with their rules, as far as both exist.
fn documented(page: &Page) -> impl Iterator<Item = (&Section, Rule)> {
    page.sections.iter().filter_map(|section| Some((section, Rule::from_id(&section.id)?)))
}

#[test]
fn the_page_has_every_rule_of_the_table_and_says_the_same() {
    let page = Page::read();
    let mut complaints = page.complaints();
    let sections: Vec<&str> = page.sections.iter().map(|section| section.id.as_str()).collect();
    let table: Vec<&str> = Rule::ALL.iter().map(|rule| rule.row().id).collect();
    complaints.extend(table.iter().filter(|id| !sections.contains(id)).map(|id| format!("{id}: no section")));
    complaints.extend(sections.iter().filter(|id| !table.contains(id)).map(|id| format!("{id}: no such rule")));
    if complaints.is_empty() && sections != table {
        let out_of_place = sections.iter().zip(&table).find(|(section, rule)| section != rule);
        complaints.push(format!("the sections are not in the order of the table: {out_of_place:?}"));
    }
    for (section, rule) in documented(&page) {
        let expected = facts(rule.row());
        if section.facts != expected {
            complaints.push(format!("docs/rules.md:{}: the line should be: {expected}", section.line));
        }
    }
    let differs = |rule: &&Rule| rule.row().verdict == Verdict::Wrong && rule.row().linux == Linux::Accepts;
    let expected: Vec<&str> = Rule::ALL.iter().filter(differs).map(|rule| rule.row().id).collect();
    if page.exceptions != expected {
        complaints.push(format!("the exceptions are {:?}, the table has {expected:?}", page.exceptions));
    }
    let text = std::fs::read_to_string(support::root().join("docs/rules.md")).unwrap_or_default();
    let headers: String = bench::HEADERS.iter().map(|header| format!("#include <{header}>\n")).collect();
    if !text.contains(&format!("```c\n{headers}```\n")) {
        complaints.push("the page shows other headers than the examples are compiled with".into());
    }
    assert_none(&complaints);
}

/// What one example came to, against what it should.
struct Examination {
    name: String,
    rule: Rule,
    run: Run,
    complaints: RefCell<Vec<String>>,
}

impl Examination {
    fn expect(&self, good: bool, what: &str) {
        if !good {
            let Run { status, reports, words, .. } = &self.run;
            let shown: Vec<String> =
                reports.iter().map(|report| format!("{} {} {}", report.rule, report.outcome, report.errno)).collect();
            self.complaints.borrow_mut().push(format!("{}: {what}; {status}, reports {shown:?}, {words}", self.name));
        }
    }

    fn own_reports(&self) -> impl Iterator<Item = &Report> {
        self.run.reports.iter().filter(|report| report.rule == self.rule.row().id)
    }

    fn expect_last_errno(&self, errno: i32) {
        let what = format!("the last failure should be {}", if errno == 0 { "none" } else { errno_name(errno) });
        self.expect(self.run.last_errno == Some(errno), &what);
    }

    fn expect_silence(&self) {
        self.expect(self.run.reports.is_empty(), "it should report nothing");
        self.expect_last_errno(0);
        self.expect(self.run.status.success(), "it should end with 0");
    }

    /// Under `check`: this rule and no other, with its verdict, and what is wrong is refused.
    fn expect_check(&self) {
        let row = self.rule.row();
        self.expect(self.run.status.success(), "it should end with 0");
        self.expect(self.own_reports().next().is_some(), "it should report its rule");
        let also =
            |report: &Report| ALSO_BROKEN.iter().any(|(rule, also)| *rule == self.rule && report.rule == also.row().id);
        let strange = self.run.reports.iter().any(|report| report.rule != row.id && !also(report));
        self.expect(!strange, "it should break no other rule");
        let verdict = self.own_reports().all(|report| report.verdict == verdict_name(row));
        self.expect(verdict, "the verdict should be the table's");
        let outcomes: &[&str] = match (row.verdict, row.linux) {
            (Verdict::Hazard, _) => &["passed"],
            (Verdict::Wrong, Linux::Accepts) => &["refused"],
            (Verdict::Wrong, Linux::Refuses) => &["refused", "failed"],
        };
        let outcome = self.own_reports().all(|report| outcomes.contains(&report.outcome.as_str()));
        self.expect(outcome, &format!("the outcome should be one of {outcomes:?}"));
        let errno = if row.verdict == Verdict::Wrong { errno_name(row.errno) } else { "" };
        let errnos = self.own_reports().all(|report| report.errno == errno);
        self.expect(errnos, &format!("the errno should be {errno:?}"));
        self.expect_last_errno(if row.verdict == Verdict::Wrong { row.errno } else { 0 });
    }

    /// Under `enforce`: a hazard is refused with the errno of its rule.
    fn expect_enforce(&self) {
        let row = self.rule.row();
        let errno = errno_name(row.errno);
        let refused = |report: &Report| report.outcome == "refused" && report.errno == errno;
        if AT_EXIT.contains(&self.rule) {
            let passed = self.own_reports().count() == 1 && self.own_reports().all(|report| report.outcome == "passed");
            self.expect(passed, "it should be reported once, and passed");
        } else if row.verdict == Verdict::Hazard {
            let all = self.own_reports().next().is_some() && self.own_reports().all(refused);
            self.expect(all, &format!("every report of it should be refused with {errno}"));
        } else {
            let stopped = self.own_reports().any(|report| report.outcome != "passed" && report.errno == errno);
            self.expect(stopped, &format!("it should be refused or fail with {errno}"));
        }
    }

    /// Under `observe`: the call gets to the kernel, which does what the table says that it does.
    fn expect_observe(&self) {
        let row = self.rule.row();
        let always = ALWAYS_REFUSED.contains(&self.rule);
        self.expect(self.run.status.signal().is_none(), "it should not be killed");
        self.expect(self.own_reports().next().is_some(), "it should report its rule");
        let refused = self.run.reports.iter().any(|report| report.outcome == "refused");
        self.expect(refused == always, if always { "it should be refused" } else { "nothing should be refused" });
        let refuses = always || row.linux == Linux::Refuses;
        self.expect_last_errno(if refuses { row.errno } else { 0 });
    }
}

/// Runs the examples of every rule under a policy, and complains of all that are not as they should be.
fn examine(policy: &str, which: &str, expectation: fn(&Examination)) -> Vec<String> {
    let page = Page::read();
    let bench = Bench::new(&page);
    let mut complaints = Vec::new();
    for (section, rule) in documented(&page) {
        let snippet = if which == "fails" { &section.fails } else { &section.mended };
        let name = format!("docs/rules.md:{}: {} {which} under {policy}", snippet.line, section.id);
        let run = bench.run(&section.id, which, policy);
        let examination = Examination { name, rule, run, complaints: RefCell::default() };
        expectation(&examination);
        complaints.extend(examination.complaints.take());
    }
    complaints
}

#[test]
fn under_check_each_failing_example_breaks_its_rule() {
    assert_none(&examine("check", "fails", Examination::expect_check));
}

#[test]
fn under_check_each_mended_example_is_silent() {
    assert_none(&examine("check", "mended", Examination::expect_silence));
}

#[test]
fn under_enforce_every_hazard_is_refused_and_each_mended_example_is_silent() {
    let mut complaints = examine("enforce", "fails", Examination::expect_enforce);
    complaints.extend(examine("enforce", "mended", Examination::expect_silence));
    assert_none(&complaints);
}

#[test]
fn under_observe_nothing_is_refused_and_linux_does_what_the_table_says() {
    assert_none(&examine("observe", "fails", Examination::expect_observe));
}
