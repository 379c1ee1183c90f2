//! How commands print: columns for people, JSON for programs, sizes, colours. Never asks the system for anything.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::args::Global;
use crate::exit::{Exit, Failure};

/// What could not be found out, in every column: never a blank.
pub const UNKNOWN: &str = "unknown";

/// Says something on standard error. Where that is full or gone nobody can be told, and nothing else changes.
pub fn tell(text: &str) {
    let _nobody = io::stderr().write_all(text.as_bytes());
}

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Output {
    pub json: bool,
    pub bytes: bool,
    pub headings: bool,
    pub color: bool,
}

impl Output {
    pub fn new(global: &Global) -> Output {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = !refused && !global.json && io::stdout().is_terminal();
        Output { json: global.json, bytes: global.bytes, headings: !global.no_headings, color }
    }

    /// A size: 4.0K, or 4096 where bytes were asked for.
    pub fn size(&self, bytes: u64) -> String {
        if self.bytes {
            return bytes.to_string();
        }
        const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];
        let mut value = bytes as f64;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if unit == 0 { bytes.to_string() } else { format!("{value:.1}{}", UNITS[unit]) }
    }

    /// Prints a value as one JSON document: `{"schema": "shmkit.NAME", "version": 1, ...}`. `value` is a struct.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            schema: String,
            version: u32,
            #[serde(flatten)]
            value: &'a T,
        }
        let document = Document { schema: format!("shmkit.{name}"), version: 1, value };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::new(Exit::Failed, format!("this cannot be printed as JSON: {error}"), ""))?;
        self.print(&format!("{text}\n"))
    }

    /// Prints to standard output. A reader that has gone, as `head` does, is no failure.
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(Failure::new(Exit::Failed, format!("standard output cannot be written: {error}"), "")),
            Ok(()) => Ok(()),
        }
    }
}

/// Where a column's text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// One column that a command can print.
pub struct Column<Row> {
    /// As `-o` names it; the heading is the same in capitals.
    pub name: &'static str,
    pub align: Align,
    /// Printed unless `-o` says otherwise.
    pub default: bool,
    pub text: fn(&Row, &Output) -> String,
}

/// The columns of `-o NAME,NAME`; the default ones without it. `+NAME` adds to those.
pub fn choose<'a, Row>(all: &'a [Column<Row>], wanted: Option<&str>) -> Result<Vec<&'a Column<Row>>, Failure> {
    let defaults = all.iter().filter(|column| column.default);
    let Some(wanted) = wanted else { return Ok(defaults.collect()) };
    let (mut chosen, names) = match wanted.strip_prefix('+') {
        Some(more) => (defaults.collect(), more),
        None => (Vec::new(), wanted),
    };
    for name in names.split(',') {
        let found = all.iter().find(|column| column.name.eq_ignore_ascii_case(name.trim()));
        chosen.push(found.ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|column| column.name).collect();
            Failure::new(
                Exit::Usage,
                format!("there is no column {name:?}"),
                format!("columns are {}", known.join(", ")),
            )
        })?);
    }
    Ok(chosen)
}

/// Prints rows in columns as wide as their widest text.
pub fn table<Row>(output: &Output, columns: &[&Column<Row>], rows: &[Row]) -> Result<(), Failure> {
    output.print(&table_text(output, columns, rows))
}

/// What `table` prints.
pub fn table_text<Row>(output: &Output, columns: &[&Column<Row>], rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = Vec::with_capacity(rows.len() + 1);
    if output.headings {
        lines.push(columns.iter().map(|column| column.name.to_uppercase()).collect());
    }
    lines.extend(rows.iter().map(|row| columns.iter().map(|column| (column.text)(row, output)).collect::<Vec<_>>()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let before = text.len();
        for ((cell, column), width) in line.iter().zip(columns).zip(&widths) {
            let gap = " ".repeat(width - cell.chars().count());
            match column.align {
                Align::Left => text.extend([cell.as_str(), &gap, "  "]),
                Align::Right => text.extend([gap.as_str(), cell, "  "]),
            }
        }
        text.truncate(before + text[before..].trim_end().len());
        text.push('\n');
    }
    text
}
