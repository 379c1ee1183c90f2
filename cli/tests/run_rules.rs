//! Every rule of docs/rules.md fires through the interposer: each example of the page as a plain program, without a header
//! or library of shmkit, in a fresh room, under every policy; and under `observe` the program does what it does without.

#[allow(dead_code, reason = "the library's own test uses the rest")]
#[path = "../../tests/support/rules_page.rs"]
mod page;
mod run_support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use page::Page;
use run_support::{Bench, Ran, open_to_all, plain, root, unique};
use shmkit::checks::{Linux, Rule, Verdict};
use shmkit::error::errno_name;

/// Rules that no plain program can break, each with the reason.
const NOT_BY_A_PROGRAM: [(Rule, &str); 1] =
    [(Rule::ConfigUnknown, "it is about the library's own settings, which `shmkit run` makes itself")];

/// Found when the process ends, and so never refused.
const AT_EXIT: [Rule; 4] = [Rule::ExitObject, Rule::ExitSegment, Rule::ExitSemaphore, Rule::ExitSemset];

/// Failing examples that end by a signal: what they pass on leads nowhere.
const ENDS_BY_SIGNAL: [Rule; 1] = [Rule::ArgPointer];

const MAIN: &str = r#"
int main(int count, char **arguments)
{
    for (unsigned i = 0; count == 3 && i < sizeof examples / sizeof *examples; i++) {
        if (strcmp(examples[i].name, arguments[1]) != 0 || strcmp(examples[i].which, arguments[2]) != 0)
            continue;
        errno = 0;
        examples[i].run();
        printf("\nerrno %d\n", errno);
        return 0;
    }
    return 2;
}
"#;

/// All snippets as functions, a table of them, and the main program. Complaints of the compiler name the page.
fn source(page: &Page) -> String {
    let text = fs::read_to_string(root().join("docs/rules.md")).expect("the page is there");
    // The list that the page shows, which tests/rules.rs holds to be the one that the examples need.
    let headers =
        text.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the page shows headers");
    let (mut out, mut table) = (headers.to_owned(), String::new());
    let sections =
        page.sections.iter().filter(|section| !NOT_BY_A_PROGRAM.iter().any(|(rule, _)| rule.row().id == section.id));
    for (index, section) in sections.enumerate() {
        for (which, snippet) in [("fails", &section.fails), ("mended", &section.mended)] {
            let name = format!("example_{index}_{which}");
            write!(out, "\nstatic void {name}(void)\n{{\n#line {} \"docs/rules.md\"\n", snippet.line).expect("room");
            out.extend([&snippet.code, "}\n"]);
            writeln!(table, "    {{ \"{}\", \"{which}\", {name} }},", section.id).expect("room");
        }
    }
    let row = "struct { const char *name, *which; void (*run)(void); }";
    out.extend(["\nstatic const ", row, " examples[] = {\n", &table, "};\n", MAIN]);
    out
}

struct Room {
    bench: Bench,
}

impl Room {
    fn new(page: &Page) -> Room {
        let bench = Bench::new();
        fs::write(bench.path("examples.c"), source(page)).expect("the folder is writable");
        bench.compile(&bench.path("examples.c"), "examples", &[]);
        bench.compile(&root().join("tests/support/rules_room.c"), "room", &[]);
        Room { bench }
    }

    /// One example in a fresh room: under a policy, or without the interposer.
    fn run(&self, rule: &str, which: &str, policy: Option<&str>) -> Ran {
        let folder = self.bench.path(format!("room-{}", unique()));
        fs::create_dir(&folder).expect("the folder is writable");
        open_to_all(&folder, 0o777);
        let reports = folder.join("reports");
        let mut command: Command = plain(self.bench.path("room"));
        command.env_clear().env("PATH", "/usr/bin:/bin").arg(&folder);
        if let Some(policy) = policy {
            command.arg(self.bench.path("shmkit")).args(["run", "--policy", policy, "--report"]);
            command.arg(format!("json:{}", reports.display())).arg("--");
        }
        let output =
            command.arg(self.bench.path("examples")).args([rule, which]).output().expect("it was just compiled");
        Ran::new(output, Path::new(&reports))
    }
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

/// Runs every example, and hears what is wrong with each.
fn examine(which: &str, policy: &str, complain: impl Fn(Rule, &Ran, &Ran) -> Vec<String>) {
    let page = Page::at(&root().join("docs/rules.md"));
    let room = Room::new(&page);
    let mut complaints = Vec::new();
    let mut seen = 0;
    for section in &page.sections {
        let rule = Rule::from_id(&section.id).unwrap_or_else(|| panic!("{}: no such rule", section.id));
        if NOT_BY_A_PROGRAM.iter().any(|(other, _)| *other == rule) {
            continue;
        }
        let bare = room.run(&section.id, which, None);
        let ran = room.run(&section.id, which, Some(policy));
        assert_ne!(bare.code, Some(125), "no room: {bare}");
        seen += 1;
        for what in complain(rule, &bare, &ran) {
            complaints.push(format!("{} {which} under {policy}: {what}\nwithout: {bare}\nwith: {ran}", section.id));
        }
    }
    assert_eq!(seen + NOT_BY_A_PROGRAM.len(), Rule::ALL.len(), "every rule has its example");
    assert_none(&complaints);
}

/// The reports of one rule: outcome and errno.
fn own(rule: Rule, ran: &Ran) -> Vec<(String, String)> {
    let own = ran.reports.iter().filter(|report| report["rule"] == rule.row().id);
    own.map(|report| {
        let text = |key: &str| report[key].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("errno"))
    })
    .collect()
}

fn same(bare: &Ran, ran: &Ran) -> Vec<String> {
    if bare.behaviour() == ran.behaviour() { Vec::new() } else { vec!["it should behave as it does without".into()] }
}

#[test]
fn under_observe_each_failing_example_reports_its_rule_and_behaves_as_without() {
    examine("fails", "observe", |rule, bare, ran| {
        let mut complaints = same(bare, ran);
        let own = own(rule, ran);
        if own.is_empty() {
            complaints.push("its rule should be reported".into());
        }
        if own.iter().any(|(outcome, _)| outcome == "refused") {
            complaints.push("nothing should be refused".into());
        }
        if bare.signal.is_some() != ENDS_BY_SIGNAL.contains(&rule) {
            complaints.push("ends by a signal, or does not, and the list says otherwise".into());
        }
        complaints
    });
}

#[test]
fn under_observe_each_mended_example_is_silent_and_behaves_as_without() {
    examine("mended", "observe", |_, bare, ran| {
        let mut complaints = same(bare, ran);
        if !ran.reports.is_empty() {
            complaints.push("it should be silent".into());
        }
        complaints
    });
}

#[test]
fn under_check_what_is_wrong_is_refused_and_hazards_pass() {
    examine("fails", "check", |rule, _, ran| {
        let row = rule.row();
        let outcomes: &[&str] = match (row.verdict, row.linux) {
            (Verdict::Hazard, _) => &["passed"],
            (Verdict::Wrong, Linux::Accepts) => &["refused"],
            (Verdict::Wrong, Linux::Refuses) => &["refused", "failed"],
        };
        let errno = if row.verdict == Verdict::Wrong { errno_name(row.errno) } else { "" };
        let own = own(rule, ran);
        let good = own.iter().all(|(outcome, found)| outcomes.contains(&outcome.as_str()) && found == errno);
        let expected = format!("reported, with one of {outcomes:?} and {errno:?}");
        if own.is_empty() || !good || ran.code != Some(0) { vec![expected] } else { Vec::new() }
    });
}

#[test]
fn under_enforce_hazards_are_refused_too() {
    examine("fails", "enforce", |rule, _, ran| {
        let row = rule.row();
        let errno = errno_name(row.errno);
        let own = own(rule, ran);
        let good = if AT_EXIT.contains(&rule) {
            own.len() == 1 && own[0].0 == "passed"
        } else if row.verdict == Verdict::Hazard {
            !own.is_empty() && own.iter().all(|(outcome, found)| outcome == "refused" && found == errno)
        } else {
            own.iter().any(|(outcome, found)| outcome != "passed" && found == errno)
        };
        if good { Vec::new() } else { vec![format!("refused with {errno}, but at exit")] }
    });
}

#[test]
fn under_enforce_each_mended_example_is_silent() {
    examine("mended", "enforce", |_, _, ran| {
        if ran.reports.is_empty() && ran.code == Some(0) { Vec::new() } else { vec!["it should be silent".into()] }
    });
}
