//! `shmkit top` in a real terminal: tmux shows it at several sizes, types its keys, and tells what is on its screen, while
//! programs of the C library alone make and remove objects. Each test has namespaces of its own: see `room/mod.rs`.

mod room;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::{Duration, Instant};

use room::{TOOL, err, hold, in_a_room, out, text, tool};
use serde_json::Value;

/// What must happen happens in well under a second; a machine that is busy may need longer.
const DEADLINE: Duration = Duration::from_secs(60);

const SHELL: &str = "env -u NO_COLOR LC_ALL=C.UTF-8 PS1='$ ' bash --norc --noprofile";

/// A shell in a terminal of its own tmux server, which ends with it.
struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    fn new(width: u16, height: u16) -> Terminal {
        let folder = tempfile::Builder::new().prefix("shmkit-top-").tempdir().expect("/tmp is writable");
        let terminal = Terminal { folder };
        let (width, height) = (width.to_string(), height.to_string());
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, SHELL]);
        terminal.wait("a prompt", |lines| lines[0].starts_with("$"));
        terminal
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command(args).output().expect("tmux is there: scripts/setup installs it");
        assert!(output.status.success(), "tmux {args:?}: {output:?}");
        out(&output)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // The folder of its socket goes with the test.
        command.env("TMUX_TMPDIR", self.folder.path()).env_remove("TMUX");
        command.args(["-u", "-L", "shmkit-test"]).args(args);
        command
    }

    /// Types keys, by the names that tmux has for them.
    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Types letters and the end of a line.
    fn line(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn top(&self, options: &str) {
        self.line(&format!("{TOOL} top -d 0.3 {options}"));
    }

    fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    fn screen(&self) -> Vec<String> {
        self.tmux(&["capture-pane", "-p"]).lines().map(str::to_string).collect()
    }

    /// A variable of tmux's formats.
    fn value(&self, name: &str) -> String {
        self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_string()
    }

    /// Waits until the screen is so, and gives it.
    #[track_caller]
    fn wait(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let lines = self.screen();
            if !lines.is_empty() && is_so(&lines) {
                return lines;
            }
            assert!(begun.elapsed() < DEADLINE, "{what} did not come: {lines:#?}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The process of the tool.
    fn pid(&self) -> i32 {
        let shell = self.value("pane_pid");
        let children =
            std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).expect("the shell lives");
        children.trim().parse().unwrap_or_else(|_| panic!("one child of the shell: {children:?}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).output();
    }
}

/// The rows of the table: between the heading and the line of keys.
fn rows(lines: &[String]) -> Vec<&str> {
    let Some(heading) = lines.iter().position(|line| line.contains("STATE") && line.contains("ADDRESS")) else {
        return Vec::new();
    };
    let end = lines.iter().position(|line| line.starts_with("q:quit") || line.starts_with('/') && !line.contains("[#"));
    let end = end.filter(|end| *end > heading).unwrap_or(lines.len());
    lines[heading + 1..end].iter().map(String::as_str).filter(|line| !line.trim().is_empty()).collect()
}

fn row<'a>(lines: &'a [String], address: &str) -> Option<&'a str> {
    rows(lines).into_iter().find(|row| row.split_whitespace().any(|word| word == address))
}

fn names(lines: &[String]) -> Vec<&str> {
    rows(lines).into_iter().filter_map(|row| row.split_whitespace().find(|word| word.starts_with("posix:/"))).collect()
}

fn selected(lines: &[String]) -> Option<&str> {
    rows(lines).into_iter().find(|row| row.starts_with('>'))
}

fn shows(lines: &[String], address: &str, word: &str) -> bool {
    row(lines, address).is_some_and(|row| row.contains(word))
}

fn file(name: &str, size: usize) {
    std::fs::write(format!("/dev/shm/{name}"), vec![1; size]).expect("it is writable");
}

fn changes_are_shown(width: u16, height: u16) {
    file("steady", 5000);
    let terminal = Terminal::new(width, height);
    terminal.top("-k posix,sem,sysv");
    let lines = terminal.wait("the first look", |lines| row(lines, "posix:/steady").is_some());
    assert_eq!(lines.len(), usize::from(height));
    assert!(lines.iter().all(|line| line.chars().count() <= usize::from(width)));
    assert!(!shows(&lines, "posix:/steady", "new"), "nothing is new at first: {lines:#?}");
    // What other programs make.
    let mut holder = hold(&["map", "/mapped", "sem", "/jobs", "attach", "0x77"]);
    for address in ["posix:/mapped", "posix:/sem.jobs", "sysv:0x77"] {
        terminal.wait("a new object with its mark", |lines| shows(lines, address, "new"));
    }
    let lines = terminal.wait("the end of the marks", |lines| {
        row(lines, "sysv:0x77").is_some() && !rows(lines).iter().any(|row| row.contains("new"))
    });
    let table = std::fs::read_to_string("/proc/sysvipc/shm").expect("System V is there");
    let segment: Vec<&str> = table.lines().nth(1).expect("one segment").split_whitespace().collect();
    let found: Vec<&str> = row(&lines, "sysv:0x77").expect("it is there").split_whitespace().collect();
    let at = usize::from(found[0] == ">");
    assert_eq!(found[at].trim_start_matches('>'), "live");
    assert_eq!(found[at + 1], "9.8K");
    assert_eq!((segment[3], found[at + 3]), ("10000", segment[6]), "users are attaches: {found:?}");
    assert!(lines.iter().any(|line| line.starts_with("System V  1 of ")), "{lines:#?}");
    // A change of size, and what goes.
    file("steady", 9096);
    terminal.wait("the change of size", |lines| shows(lines, "posix:/steady", "size +4.0K"));
    holder.kill();
    terminal.wait("the last user's end", |lines| shows(lines, "posix:/mapped", "users"));
    std::fs::remove_file("/dev/shm/steady").expect("it is there");
    terminal.wait("that it is gone", |lines| shows(lines, "posix:/steady", "gone"));
    terminal.wait("the end of its row", |lines| row(lines, "posix:/steady").is_none());
}

#[test]
fn changes_of_other_programs_are_marked_at_80x24() {
    in_a_room("changes_of_other_programs_are_marked_at_80x24", || changes_are_shown(80, 24));
}

#[test]
fn changes_of_other_programs_are_marked_at_200x50() {
    in_a_room("changes_of_other_programs_are_marked_at_200x50", || {
        changes_are_shown(200, 50);
        // There is room for who has what.
        let holder = hold(&["map", "/held"]);
        let terminal = Terminal::new(200, 50);
        terminal.top("-k posix");
        let maker = format!("{}/maker", holder.pid());
        terminal.wait("the processes", |lines| shows(lines, "posix:/held", &maker));
    });
}

#[test]
fn the_header_has_the_figures_of_the_machine() {
    in_a_room("the_header_has_the_figures_of_the_machine", || {
        file("big", 128 << 20);
        room::child(|| room::region("posix:/left", false)).kill();
        let _holder = hold(&["segment", "0x1", "segment", "0x2"]);
        let terminal = Terminal::new(80, 24);
        terminal.top("");
        let lines = terminal.wait("the first look", |lines| row(lines, "posix:/big").is_some());
        // The room is 256M, and the region has its bytes.
        let line = lines.iter().find(|line| line.starts_with("/dev/shm  [##########----------]"));
        let line = line.unwrap_or_else(|| panic!("half a bar: {lines:#?}"));
        assert!(line.contains("128.0M of 256.0M used, 50%"), "{line}");
        let shmmni = std::fs::read_to_string("/proc/sys/kernel/shmmni").expect("it is there");
        let line = lines.iter().find(|line| line.starts_with("System V")).expect("a line of System V");
        assert!(line.starts_with(&format!("System V  2 of {} segments", shmmni.trim())), "{line}");
        assert!(line.contains("Shmem of the machine ") && line.contains("orphans 1 ("), "{line}");
        assert!(shows(&lines, "posix:/left", "orphan"), "{lines:#?}");
    });
}

#[test]
fn keys_sort_and_filter_and_remove_nothing() {
    in_a_room("keys_sort_and_filter_and_remove_nothing", || {
        for (name, size) in [("b", 30_000), ("a", 20_000), ("c", 10_000)] {
            file(name, size);
        }
        let _holder = hold(&["map", "/held", "segment", "0x9"]);
        let terminal = Terminal::new(80, 24);
        terminal.top("-k posix,sysv");
        let order = |expected: &'static [&'static str]| {
            move |lines: &[String]| {
                names(lines).iter().map(|name| &name["posix:/".len()..]).eq(expected.iter().copied())
            }
        };
        terminal.wait("the largest first", order(&["b", "a", "held", "c"]));
        terminal.keys(&["r"]);
        terminal.wait("the smallest first", order(&["c", "held", "a", "b"]));
        // From size back by one is the state, and back once more the last column, the address.
        terminal.keys(&["<"]);
        terminal.wait("by state", |lines| lines.iter().any(|line| line.contains("^STATE")));
        terminal.keys(&["<"]);
        terminal.wait("by address", order(&["a", "b", "c", "held"]));
        terminal.keys(&["s", ">"]);
        terminal.wait("by size again", |lines| lines.iter().any(|line| line.contains("vSIZE")));
        terminal.keys(&["k"]);
        terminal.wait("one kind", |lines| row(lines, "sysv:0x9").is_none() && names(lines).len() == 4);
        terminal.keys(&["k", "k"]);
        terminal.wait("the third kind", |lines| lines[0].contains("kind sysv") && names(lines).is_empty());
        terminal.keys(&["k", "k", "k", "k", "k"]);
        terminal.wait("as at first", |lines| row(lines, "sysv:0x9").is_some() && names(lines).len() == 4);
        terminal.keys(&["t"]);
        terminal.wait("one state", |lines| names(lines) == ["posix:/held"] && lines[0].contains("state live"));
        terminal.keys(&["t", "t", "t", "t", "t", "t"]);
        terminal.wait("all states", |lines| names(lines).len() == 4);
        terminal.keys(&["/"]);
        terminal.line("MAKER");
        terminal.wait("what a process of this name has", |lines| names(lines) == ["posix:/held"]);
        terminal.keys(&["/", "x", "Escape"]);
        terminal.wait("what was before", |lines| lines[0].contains("with \"MAKER\""));
        terminal.keys(&["Escape"]);
        let lines = terminal.wait("all of them", |lines| names(lines).len() == 4);
        assert!(selected(&lines).is_some());
        // Every key that a terminal has, but those that end it.
        for letter in (b'!'..=b'~').filter(|letter| !b"q/?h;".contains(letter)) {
            terminal.tmux(&["send-keys", "-l", &char::from(letter).to_string()]);
        }
        terminal.keys(&["DC", "IC", "F1", "F8", "F9", "BSpace", "Tab", "C-d", "C-k", "C-x", "M-d"]);
        terminal.keys(&["?"]);
        terminal.wait("the help", |lines| lines[0].starts_with("Help"));
        assert_eq!(std::fs::read_dir("/dev/shm").expect("it is there").count(), 4);
        assert_eq!(std::fs::read_to_string("/proc/sysvipc/shm").expect("it is there").lines().count(), 2);
    });
}

#[test]
fn details_are_those_of_show_and_scroll() {
    in_a_room("details_are_those_of_show_and_scroll", || {
        let mut holder = room::child(|| room::region("posix:/telemetry", false));
        file("other", 1 << 20);
        let terminal = Terminal::new(80, 24);
        terminal.top("-k posix");
        terminal.wait("the list", |lines| selected(lines).is_some_and(|row| row.contains("posix:/other")));
        terminal.keys(&["Down"]);
        terminal.wait("the next row", |lines| selected(lines).is_some_and(|row| row.contains("posix:/telemetry")));
        terminal.keys(&["Enter"]);
        // But for its age. Either may be seen by the other while it looks.
        terminal.wait("the details", |lines| {
            let shown = text(&["show", "posix:/telemetry"]);
            let mut rest = shown.lines().filter(|line| !line.starts_with("age"));
            rest.all(|line| {
                let start: String = line.chars().take(60).collect();
                lines.iter().any(|shown| shown.starts_with(start.trim_end()))
            })
        });
        terminal.resize(80, 10);
        terminal.wait("the first lines", |lines| lines[0].contains("lines 1 to 8") && lines[1].starts_with("address"));
        terminal.keys(&["End"]);
        terminal.wait("the last lines", |lines| lines[8].starts_with("locks") && !lines[1].starts_with("address"));
        terminal.keys(&["Home", "Down"]);
        terminal.wait("the second line", |lines| lines[0].contains("lines 2 to 9") && lines[1].starts_with("kind"));
        holder.kill();
        terminal.wait("the new state", |lines| {
            lines.iter().any(|line| line.starts_with("state") && line.contains(" orphan: "))
        });
        assert!(tool(&["rm", "posix:/telemetry"]).status.success());
        terminal.wait("its end", |lines| lines[0].starts_with("It is gone") && lines[1].starts_with("kind"));
        terminal.keys(&["q"]);
        terminal.wait("the list again", |lines| lines[0].starts_with("shmkit top") && !rows(lines).is_empty());
        terminal.keys(&["q"]);
        terminal.wait("the shell", |lines| lines.iter().any(|line| line == "$"));
    });
}

#[test]
fn every_size_is_drawn_at_once() {
    in_a_room("every_size_is_drawn_at_once", || {
        for at in 0..100 {
            file(&format!("number-{at:03}"), 10);
        }
        let terminal = Terminal::new(80, 24);
        terminal.top("--sort address -k posix");
        terminal.wait("the list", |lines| rows(lines).len() >= 18 && lines[0].contains("1-"));
        terminal.keys(&["End"]);
        let last = |lines: &[String]| selected(lines).is_some_and(|row| row.contains("number-099"));
        for (width, height) in [(200, 50), (60, 12), (40, 3), (120, 5), (80, 24)] {
            terminal.resize(width, height);
            // Until it is drawn anew the terminal shows what it had.
            terminal.wait(&format!("the selected row at {width}x{height}"), |lines| {
                let wide = lines.iter().any(|line| line.contains("PROCESSES"));
                lines.len() == usize::from(height) && last(lines) && wide == (width == 200)
            });
        }
        for (width, height) in [(80, 1), (20, 24)] {
            terminal.resize(width, height);
            terminal.wait("the refusal", |lines| lines[0].starts_with(&format!("too small: {width}x{height}")));
        }
        terminal.resize(80, 24);
        terminal.wait("the list again", last);
        assert_eq!(terminal.value("alternate_on"), "1");
    });
}

/// The shell is as it was: its screen, its cursor, and what it types.
#[track_caller]
fn is_restored(terminal: &Terminal, before: &[String], code: &str) {
    terminal.wait("the screen of before", |lines| lines.starts_with(before));
    assert_eq!((terminal.value("alternate_on"), terminal.value("cursor_flag")), ("0".to_string(), "1".to_string()));
    terminal.line("echo \"code $?\"; stty -a | grep -c ' icanon.* echo '");
    let lines = terminal.wait("the answer", |lines| lines.iter().any(|line| line == "1" || line == "0"));
    assert!(lines.iter().any(|line| line == "1"), "lines and their echo: {lines:#?}");
    assert!(lines.iter().any(|line| line == code), "{code}: {lines:#?}");
    terminal.line("clear");
}

#[test]
fn whatever_ends_it_gives_the_terminal_back() {
    in_a_room("whatever_ends_it_gives_the_terminal_back", || {
        file("one", 10);
        let started = |terminal: &Terminal| {
            terminal.wait("a clear screen", |lines| lines.iter().filter(|line| !line.is_empty()).count() == 1);
            terminal.line("echo what was here");
            terminal.wait("its answer", |lines| lines[1] == "what was here" && lines[2].starts_with('$'));
            terminal.top("-k posix");
            terminal.wait("the list", |lines| row(lines, "posix:/one").is_some());
            assert_eq!(terminal.value("alternate_on"), "1");
        };
        let before = ["$ echo what was here".to_string(), "what was here".to_string()];
        let terminal = Terminal::new(200, 50);
        for keys in ["q", "C-c"] {
            started(&terminal);
            terminal.keys(&[keys]);
            is_restored(&terminal, &before, "code 0");
        }
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            started(&terminal);
            // SAFETY: takes no pointers; the process is a child of the shell of this test.
            assert_eq!(unsafe { libc::kill(terminal.pid(), signal) }, 0);
            is_restored(&terminal, &before, &format!("code {}", 128 + signal));
        }
        // Stopped, and brought back.
        started(&terminal);
        terminal.keys(&["C-z"]);
        terminal
            .wait("the shell", |lines| lines.starts_with(&before) && lines.iter().any(|line| line.contains("Stopped")));
        assert_eq!(terminal.value("alternate_on"), "0");
        terminal.line("fg");
        terminal.wait("the list again", |lines| row(lines, "posix:/one").is_some());
        terminal.keys(&["q"]);
        terminal.wait("the shell again", |lines| lines.starts_with(&before));
    });
}

#[test]
fn a_pause_stops_the_looks() {
    in_a_room("a_pause_stops_the_looks", || {
        file("before", 10);
        let terminal = Terminal::new(80, 24);
        terminal.top("-k posix");
        terminal.wait("the list", |lines| row(lines, "posix:/before").is_some());
        terminal.keys(&["p"]);
        terminal.wait("the pause", |lines| lines[0].ends_with("PAUSED"));
        // One look may have been on its way.
        std::thread::sleep(Duration::from_millis(1000));
        file("after", 10);
        std::thread::sleep(Duration::from_millis(1500));
        let lines = terminal.screen();
        assert!(row(&lines, "posix:/before").is_some() && row(&lines, "posix:/after").is_none(), "{lines:#?}");
        terminal.keys(&["p"]);
        terminal.wait("what came meanwhile", |lines| shows(lines, "posix:/after", "new"));
    });
}

#[test]
fn hostile_names_colours_and_terminals_without_utf8() {
    in_a_room("hostile_names_colours_and_terminals_without_utf8", || {
        std::fs::write(OsStr::from_bytes(b"/dev/shm/\x1b[2J\x1b]0;t\x07\nz"), "x").expect("it is writable");
        file("gr\u{fc}n", 10);
        let _holder = hold(&["map", "/held"]);
        let evil = "posix:/\\x1b[2J\\x1b]0;t\\x07\\x0az";
        let terminal = Terminal::new(200, 50);
        let colored = |screen: &str| {
            let color = regex::Regex::new("\x1b\\[([0-9;]*;)?[349][0-8]").expect("it is one");
            color.is_match(screen)
        };
        terminal.top("-k posix");
        terminal.wait("all names", |lines| {
            row(lines, evil).is_some()
                && row(lines, "posix:/gr\u{fc}n").is_some()
                && row(lines, "posix:/held").is_some()
        });
        assert!(colored(&terminal.tmux(&["capture-pane", "-p", "-e"])), "states have colours");
        assert_ne!(terminal.value("pane_title"), "t");
        terminal.keys(&["q"]);
        terminal.wait("the shell", |lines| !lines.iter().any(|line| line.contains("posix:/held")));
        terminal.line(&format!("NO_COLOR=1 LC_ALL=C {TOOL} top -k posix"));
        let lines = terminal.wait("all names", |lines| row(lines, "posix:/gr\\xc3\\xbcn").is_some());
        assert!(lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
        assert!(shows(&lines, "posix:/held", "live") && row(&lines, evil).is_some(), "{lines:#?}");
        assert!(!colored(&terminal.tmux(&["capture-pane", "-p", "-e"])));
    });
}

#[test]
fn ten_thousand_objects_keep_the_keys_quick() {
    in_a_room("ten_thousand_objects_keep_the_keys_quick", || {
        for at in 0..10_000 {
            file(&format!("many-{at:05}"), 1);
        }
        let terminal = Terminal::new(80, 24);
        terminal.top("--sort address -k posix");
        terminal.wait("the list", |lines| lines[0].starts_with("shmkit top: 10000 "));
        for (key, address) in [("End", "posix:/many-09999"), ("PgUp", ""), ("Home", "posix:/many-00000")] {
            terminal.keys(&[key]);
            terminal.wait(key, |lines| selected(lines).is_some_and(|row| row.contains(address)));
        }
        terminal.keys(&["/"]);
        terminal.line("many-0777");
        terminal.wait("ten of them", |lines| names(lines).len() == 10);
    });
}

#[test]
fn without_a_terminal_it_is_refused_or_prints_looks() {
    in_a_room("without_a_terminal_it_is_refused_or_prints_looks", || {
        file("one", 5000);
        let refused = tool(&["top"]);
        assert_eq!((refused.status.code(), out(&refused)), (Some(2), String::new()));
        let said = err(&refused);
        assert!(said.contains("no terminal") && said.contains("shmkit ls") && said.contains("--batch"), "{said}");
        assert_eq!(tool(&["top", "--json"]).status.code(), Some(2));
        for wrong in [["--batch", "0"], ["-d", "0"], ["-d", "x"], ["--sort", "x"]] {
            assert_eq!(tool(&[&["top"][..], &wrong].concat()).status.code(), Some(2), "{wrong:?}");
        }
        let looks = text(&["top", "--batch", "2", "-d", "0.1", "-k", "posix"]);
        assert_eq!(looks.matches("STATE").count(), 2, "{looks}");
        assert_eq!(looks.matches("posix:/one").count(), 2, "{looks}");
        let json: Value = serde_json::from_str(&text(&["top", "--batch", "1", "-k", "posix", "--json"])).expect("JSON");
        assert_eq!((&json["schema"], &json["look"]), (&"shmkit.top".into(), &1.into()));
        let objects = json["objects"].as_array().expect("a list");
        assert_eq!(objects.len(), 1);
        assert_eq!(objects[0]["object"]["address"], "posix:/one");
        assert_eq!((&objects[0]["new"], &objects[0]["size_before"]), (&false.into(), &Value::Null));
        assert_eq!(json["shm_size"], 256u64 << 20);
        assert!(json["shmem"].as_u64().is_some_and(|bytes| bytes > 0), "{json}");
    });
}
