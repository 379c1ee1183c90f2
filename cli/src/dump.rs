//! `shmkit dump`: the bytes of a file, object or segment, as hexdump -C shows them, holes told apart from zeros.
//! Reads only, by the kernel's copies: a truncation is an error and never a signal. Next: `source.rs`.

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use shmkit::region::header::{self, Header, RECORD_SIZE, RECORDS, Record};

use crate::exit::{Done, Exit, Failure};
use crate::machine::parse_size;
use crate::output::{Output, UNKNOWN};
use crate::printable;
use crate::source::{Named, Source};
use crate::view;

/// Show the bytes of a region, object, segment or file
///
/// As hexdump -C; a line of its own says where a hole is: nothing was ever written there, and it reads as zeros. Of a
/// segment the kernel tells no holes. Of a region of shmkit's everything is shown, its header first; --data leaves that
/// out.
#[derive(clap::Args)]
pub struct Args {
    /// An address, as shmkit ls prints it: posix:/name, sysv:0xKEY, sysv:id=N, sysv:ftok(PATH,ID), file:PATH; or a path
    #[arg(value_name = "ADDRESS|PATH")]
    pub address: OsString,
    /// Begin here
    #[arg(short = 's', long, value_name = "SIZE", value_parser = parse_size, default_value = "0")]
    pub offset: u64,
    /// Show so many bytes at most
    #[arg(short = 'n', long, value_name = "SIZE", value_parser = parse_size)]
    pub length: Option<u64>,
    /// Write the bytes themselves
    #[arg(long, conflicts_with_all = ["header", "json"])]
    pub raw: bool,
    /// Show what the header of a region of shmkit's says, instead of bytes
    #[arg(long, conflicts_with_all = ["data", "offset", "length"])]
    pub header: bool,
    /// Show a region's data only; offsets count from there
    #[arg(long)]
    pub data: bool,
}

/// Bytes of a line.
const LINE: u64 = 16;
/// Bytes that are read at once.
const STEP: usize = 1 << 16;
/// The most that is made JSON of: all of it is in memory at once.
const MOST_JSON: u64 = 16 << 20;

pub fn run(args: &Args, output: &Output) -> Done {
    let source = Source::open(&Named::new(&args.address)?, args.data)?;
    if args.header {
        return show_header(&source, output);
    }
    let size = source.size()?;
    if args.offset > size {
        return Err(Failure::new(
            Exit::Failed,
            format!("offset {} lies past the end of {}, which has {size} bytes", args.offset, source.name),
            "use a smaller offset",
        ));
    }
    let end = args.length.map_or(size, |length| args.offset.saturating_add(length).min(size));
    if output.json {
        return json(&source, args.offset, end, size, output);
    }
    let out = BufWriter::with_capacity(STEP, io::stdout().lock());
    let mut dump = Dump { out, raw: args.raw, start: args.offset, last: None, starred: false };
    match walk(&source, args.offset, end, size, &mut dump).and_then(|()| dump.end(end)) {
        Err(Stop::Closed) => Ok(Exit::Ok),
        Err(Stop::Failed(failure)) => {
            // What was shown so far is true.
            let _ = dump.out.flush();
            Err(failure)
        }
        Ok(()) => Ok(Exit::Ok),
    }
}

/// Why a dump ends early.
enum Stop {
    /// Nobody reads on, as after head.
    Closed,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Closed,
            _ => Stop::Failed(Failure::new(Exit::Failed, format!("standard output cannot be written: {error}"), "")),
        }
    }
}

/// Who gets bytes and holes, in their order.
trait Sink {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Stop>;
    fn hole(&mut self, offset: u64, length: u64) -> Result<(), Stop>;
}

/// Shows a range to a sink: holes as such where whole lines of them lie.
fn walk(source: &Source, start: u64, end: u64, size: u64, sink: &mut dyn Sink) -> Result<(), Stop> {
    let mut buffer = vec![0; STEP];
    let mut at = start;
    while at < end {
        let (from, to) = source.data_at(at)?.unwrap_or((end, end));
        if source.size()? < size {
            return Err(source.truncated("dump", size, at - start).into());
        }
        // Lines begin where the dump begins: a hole is shown as whole ones.
        let hole_end = if from >= end { end } else { start + (from - start) / LINE * LINE };
        if hole_end > at {
            sink.hole(at, hole_end - at)?;
            at = hole_end;
        }
        // To the end of the line that the data ends in, of which the rest is zeros.
        let data_end = (start + (to.max(from) - start).next_multiple_of(LINE)).min(end);
        while at < data_end {
            let length = (data_end - at).min(STEP as u64) as usize;
            let count = source.read(at, &mut buffer[..length])?;
            if count < length || source.size()? < size {
                return Err(source.truncated("dump", size, at - start).into());
            }
            sink.bytes(at, &buffer[..length])?;
            at += length as u64;
        }
    }
    Ok(())
}

/// Text, as hexdump -C writes it, or the bytes themselves.
struct Dump<W: Write> {
    out: W,
    raw: bool,
    start: u64,
    /// The line before, when it was a whole one.
    last: Option<[u8; LINE as usize]>,
    starred: bool,
}

impl<W: Write> Dump<W> {
    fn end(&mut self, end: u64) -> Result<(), Stop> {
        if !self.raw && end > self.start {
            writeln!(self.out, "{end:08x}")?;
        }
        Ok(self.out.flush()?)
    }

    fn line(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let whole: Option<[u8; LINE as usize]> = bytes.try_into().ok();
        if whole.is_some() && whole == self.last {
            if !self.starred {
                self.out.write_all(b"*\n")?;
            }
            self.starred = true;
            return Ok(());
        }
        (self.last, self.starred) = (whole, false);
        let mut text = format!("{offset:08x}  ");
        for place in 0..LINE as usize {
            match bytes.get(place) {
                Some(byte) => text += &format!("{byte:02x} "),
                None => text += "   ",
            }
            if place == 7 {
                text.push(' ');
            }
        }
        text += " |";
        let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        text.extend(bytes.iter().map(shown));
        text += "|\n";
        self.out.write_all(text.as_bytes())
    }
}

impl<W: Write> Sink for Dump<W> {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Stop> {
        if self.raw {
            return Ok(self.out.write_all(bytes)?);
        }
        for (number, line) in bytes.chunks(LINE as usize).enumerate() {
            self.line(offset + number as u64 * LINE, line)?;
        }
        Ok(())
    }

    fn hole(&mut self, offset: u64, length: u64) -> Result<(), Stop> {
        if self.raw {
            let zeros = [0; 4096];
            let mut left = length;
            while left > 0 {
                let step = left.min(zeros.len() as u64);
                self.out.write_all(&zeros[..step as usize])?;
                left -= step;
            }
            return Ok(());
        }
        (self.last, self.starred) = (None, false);
        Ok(writeln!(self.out, "{offset:08x}  hole of {length} bytes")?)
    }
}

/// A run of bytes, or a hole, as JSON has it.
#[derive(Serialize)]
struct Part {
    offset: u64,
    length: u64,
    hole: bool,
    /// The bytes, two digits each; null for a hole.
    hex: Option<String>,
}

struct Parts(Vec<Part>);

impl Sink for Parts {
    fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Stop> {
        let mut hex = String::with_capacity(2 * bytes.len());
        for byte in bytes {
            hex.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('?')));
        }
        match self.0.last_mut() {
            Some(Part { hole: false, length, hex: Some(before), .. }) => {
                *length += bytes.len() as u64;
                *before += &hex;
            }
            _ => self.0.push(Part { offset, length: bytes.len() as u64, hole: false, hex: Some(hex) }),
        }
        Ok(())
    }

    fn hole(&mut self, offset: u64, length: u64) -> Result<(), Stop> {
        self.0.push(Part { offset, length, hole: true, hex: None });
        Ok(())
    }
}

fn json(source: &Source, start: u64, end: u64, size: u64, output: &Output) -> Done {
    #[derive(Serialize)]
    struct Document<'a> {
        address: &'a str,
        size: u64,
        offset: u64,
        length: u64,
        parts: Vec<Part>,
    }
    if end - start > MOST_JSON {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} bytes are too many for JSON, which is made in memory", end - start),
            format!("use --length with {MOST_JSON} at most, or --raw"),
        ));
    }
    let mut parts = Parts(Vec::new());
    match walk(source, start, end, size, &mut parts) {
        Err(Stop::Failed(failure)) => return Err(failure),
        Ok(()) | Err(Stop::Closed) => {}
    }
    let document = Document { address: &source.name, size, offset: start, length: end - start, parts: parts.0 };
    output.json("dump", &document)?;
    Ok(Exit::Ok)
}

/// A process as a header names it: to explain, not to decide.
#[derive(Serialize)]
struct Recorded {
    /// Null where it is not recorded.
    pid: Option<u32>,
    uid: u32,
    start_time: u64,
    boot: String,
    pid_namespace: u64,
}

/// What a header says.
#[derive(Serialize)]
struct Fields<'a> {
    address: &'a str,
    backend: &'static str,
    persistent: bool,
    huge_pages: bool,
    data_offset: u64,
    size: u64,
    max_size: u64,
    generation: u64,
    layout_name: Option<String>,
    layout_version: u32,
    layout_size: u64,
    layout_alignment: u32,
    layout_fingerprint: Option<String>,
    created_ns: u64,
    creator: Recorded,
    /// Records of participants, also of some that are gone: `who` tells who is there.
    records: Vec<Recorded>,
}

fn process(process: &header::Process) -> Recorded {
    Recorded {
        pid: (process.pid != 0).then_some(process.pid),
        uid: process.uid,
        start_time: process.start_time,
        boot: format!("{:016x}{:016x}", process.boot[0], process.boot[1]),
        pid_namespace: process.namespace,
    }
}

fn fields<'a>(source: &'a Source, header: &Header) -> Result<Fields<'a>, Failure> {
    let mut records = Vec::new();
    for number in 0..RECORDS {
        let mut bytes = [0; RECORD_SIZE];
        let Some(offset) = Record::offset(number) else { break };
        if source.read(offset as u64, &mut bytes)? == RECORD_SIZE {
            let record = Record::decode(&bytes).process;
            records.extend((record.pid != 0).then(|| process(&record)));
        }
    }
    let layout = &header.layout;
    let name = layout.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(Fields {
        address: &source.name,
        backend: match header.backend {
            1 => "posix",
            2 => "sysv",
            3 => "file",
            4 => "memfd",
            5 => "anon",
            _ => UNKNOWN,
        },
        persistent: header.flags & header::PERSISTENT != 0,
        huge_pages: header.flags & header::HUGE != 0,
        data_offset: header.data_offset,
        size: header.size,
        max_size: header.max_size,
        generation: header.generation,
        layout_name: (!name.is_empty()).then(|| printable::text(name)),
        layout_version: layout.version,
        layout_size: layout.size,
        layout_alignment: layout.alignment,
        layout_fingerprint: view::fingerprint(layout),
        created_ns: header.created,
        creator: process(&header.creator),
        records,
    })
}

/// Nanoseconds since 1970 as a date of the Gregorian calendar.
fn date(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    let (days, second) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Years begin in March here, so that a leap day is the last of its year; eras have 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3600, second / 60 % 60, second % 60)
}

fn show_header(source: &Source, output: &Output) -> Done {
    let Some(header) = &source.header else {
        return Err(match &source.lie {
            Some(lie) => Failure::new(Exit::Failed, lie.cause.clone(), lie.remedy.clone()),
            None => Failure::new(
                Exit::Failed,
                format!("{} is no region of shmkit's: it has no header", source.name),
                "leave --header out",
            ),
        });
    };
    let fields = fields(source, header)?;
    if output.json {
        output.json("header", &fields)?;
        return Ok(Exit::Ok);
    }
    let yes = |is: bool| if is { "yes" } else { "no" }.to_string();
    let who = |one: &Recorded| match one.pid {
        Some(pid) => format!("pid {pid}, user {}, pid namespace {}", one.uid, one.pid_namespace),
        None => UNKNOWN.to_string(),
    };
    let layout = match &fields.layout_name {
        Some(name) => format!(
            "{name}, version {}, {} bytes, aligned to {}",
            fields.layout_version, fields.layout_size, fields.layout_alignment
        ),
        None => "none named".into(),
    };
    let mut rows = vec![
        ("address", fields.address.to_string()),
        ("kind", fields.backend.to_string()),
        ("data begins at", fields.data_offset.to_string()),
        ("size", format!("{} of at most {}", output.size(fields.size), output.size(fields.max_size))),
        ("grown", format!("{} times", fields.generation)),
        ("layout", layout),
        ("fingerprint", fields.layout_fingerprint.clone().unwrap_or_else(|| "none".into())),
        ("persistent", yes(fields.persistent)),
        ("huge pages", yes(fields.huge_pages)),
        ("created", date(fields.created_ns)),
        ("creator", who(&fields.creator)),
    ];
    rows.extend(fields.records.iter().map(|record| ("record", who(record))));
    let text: String = rows.iter().map(|(name, value)| format!("{name:<15} {value}\n")).collect();
    output.print(&text)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds * 1_000_000_000), text);
        }
    }
}
