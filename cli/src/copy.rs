//! `shmkit cp`: copies a file, object, segment or region into another one, by the kernel, from mapping to mapping.
//! Keeps holes; goes on to a new end; a truncation or a full file system is an error and never a signal. The
//! destination is whole or not there: it gets its name last. Next: `source.rs`, what is read; `target.rs`, what is
//! made.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde::Serialize;
use shmkit::error::Errno;
use shmkit::region::header::{self, PERSISTENT};
use shmkit::region::{self, Options, handle, identity};
use shmkit::sys::limits::page_size;
use shmkit::sys::{memory, process};

use crate::exit::{Done, Exit, Failure};
use crate::output::{self, Output};
use crate::refusal;
use crate::source::{Named, Place, Source};
use crate::target::{FileTarget, SegmentTarget};

/// Copy a file, object, segment or region
///
/// Objects and files are copied byte for byte, with their mode and their holes; one that has space reserved for all of
/// it gets that in the copy, too. A region of shmkit's becomes a region again: same data, type and sizes, with this
/// command as its creator and nobody attached. --data copies a region's data alone, without the header. What is copied
/// may be in use: the copy is no snapshot. A growing source is followed to its new end, 8 times at most; one that
/// becomes shorter is an error, and then nothing is made.
///
/// The copy of a region that nobody opened yet is left over in the eyes of gc: see --persistent.
#[derive(clap::Args)]
pub struct Args {
    /// An address, as shmkit ls prints it: posix:/name, sysv:0xKEY, sysv:id=N, sysv:ftok(PATH,ID), file:PATH; or a path
    #[arg(value_name = "SRC")]
    pub source: OsString,
    /// As SRC, but for sysv:id=N; must not exist
    #[arg(value_name = "DST")]
    pub target: OsString,
    /// Replace DST when it exists (never a segment, nor a region that is in use)
    #[arg(short, long)]
    pub force: bool,
    /// Copy only the data of a region, without its header
    #[arg(long)]
    pub data: bool,
    /// Give the copy the owner and group of SRC, too (not a segment)
    #[arg(long)]
    pub owner: bool,
    /// Mark the copy of a region so that gc leaves it alone
    #[arg(long, conflicts_with = "data")]
    pub persistent: bool,
    /// Be done only when file and name are on their device
    #[arg(long)]
    pub sync: bool,
    /// Show no progress and no summary
    #[arg(short, long)]
    pub quiet: bool,
}

/// Bytes that are mapped and copied at once.
const STEP: u64 = 8 << 20;
/// How often a source that grew is followed to its new end.
const FOLLOWED: u32 = 8;

/// Takes bytes for an offset.
type Write<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Failure>;

/// What was done, as JSON has it.
#[derive(Serialize)]
struct Summary {
    source: String,
    destination: String,
    /// As what the copy was made: region, or bytes.
    copied_as: &'static str,
    bytes: u64,
    /// Of these in holes, where nothing was ever written.
    hole_bytes: u64,
    /// What the source had at the beginning.
    bytes_at_start: u64,
    /// Whether it was larger again when this ended.
    still_growing: bool,
    seconds: f64,
}

pub fn run(args: &Args, output: &Output) -> Done {
    let (from, to) = (Named::new(&args.source)?, Named::new(&args.target)?);
    let source = Source::open(&from, args.data)?;
    let is_region = source.header.is_some() && !args.data;
    if let Some(lie) = &source.lie {
        output::tell(format_args!("shmkit: {}; it is copied byte for byte\n", lie.cause));
    }
    if args.persistent && !is_region {
        return Err(Failure::new(
            Exit::Usage,
            format!("{} is no region of shmkit's, and --persistent is a mark of regions", source.name),
            "leave it out: gc never removes other objects",
        ));
    }
    let mut copy = Copy::new(&source, &to.text(), Progress::new(args.quiet || output.json))?;
    match (&to.place, is_region) {
        (Place::Path(path), _) => {
            let target = FileTarget::new(&to, path, source.identity, args.force)?;
            copy.fill_file(&target)?;
            if is_region {
                renew_header(&source, &target, &to, args.persistent)?;
            }
            let owner = args.owner.then_some((source.uid, source.gid));
            copy.progress.clear();
            target.finish(source.mode, owner, args.sync)?;
        }
        (Place::Id(_), _) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} cannot be made: the kernel chooses ids", to.text()),
                "name a key, as sysv:0x344378",
            ));
        }
        (Place::Key(_), _) if args.force => {
            return Err(Failure::new(
                Exit::Usage,
                "a System V segment cannot be replaced: its key leads to nothing for a while".to_string(),
                "remove it first (shmkit rm), and leave --force out",
            ));
        }
        (Place::Key(_), _) if args.owner || args.sync => {
            return Err(Failure::new(
                Exit::Usage,
                "a System V segment is memory, and belongs to who makes it".to_string(),
                "leave --owner and --sync out",
            ));
        }
        (Place::Key(_), true) => copy.make_region(&to, args.persistent)?,
        (Place::Key(key), false) => {
            let target = SegmentTarget::new(&to, *key, copy.end)?;
            copy.fill_writer(&mut |offset, bytes| target.write(offset, bytes))?;
            target.finish(source.mode)?;
        }
    }
    copy.progress.clear();
    let summary = copy.summary(&to, is_region);
    if summary.still_growing {
        output::tell(format_args!(
            "shmkit: {} still grows; the copy has its first {} bytes\n",
            source.name, summary.bytes
        ));
    }
    if output.json {
        output.json("cp", &summary)?;
    } else if !args.quiet {
        let size = |bytes: u64| output.size(bytes);
        let holes = match summary.hole_bytes {
            0 => String::new(),
            holes => format!(", {} of it holes", size(holes)),
        };
        output.print(&format!("{} -> {}: {}{holes}\n", summary.source, summary.destination, size(summary.bytes)))?;
    }
    Ok(Exit::Ok)
}

/// Makes the header of a region's copy true: this command made it, now, and nobody has it open.
fn renew_header(source: &Source, target: &FileTarget, to: &Named, persistent: bool) -> Result<(), Failure> {
    // Once more: the source may have grown while it was copied.
    let header = source.header_now(target.len()?).or(source.header);
    let Some(mut header) = header else { return Ok(()) };
    (header.creator, header.created) = (identity::own(), process::wall_clock_ns());
    (header.backend, header.generation) = (to.backend() as u32, 0);
    // Huge pages are a segment's.
    header.flags = header.flags & PERSISTENT | if persistent { PERSISTENT } else { 0 };
    let mut first = vec![0; header::SIZE + header::RECORDS as usize * header::RECORD_SIZE];
    first[..header::SIZE].copy_from_slice(&header.encode(page_size() as u32));
    target.write(0, &first)
}

/// One copy on its way.
struct Copy<'a> {
    source: &'a Source,
    to: String,
    progress: Progress,
    started: Instant,
    /// What the source had at the beginning.
    first: u64,
    /// Where it ends, as far as is known.
    end: u64,
    done: u64,
    holes: u64,
    /// Whether it was larger again than what was copied.
    still_growing: bool,
    /// Whether all of the copy gets space of its own, holes too, as the source has it: whoever maps it counts on that.
    reserved: bool,
    /// Whether the kernel copies between mappings here; some containers forbid it.
    mapped: bool,
}

impl<'a> Copy<'a> {
    fn new(source: &'a Source, to: &str, progress: Progress) -> Result<Copy<'a>, Failure> {
        let end = source.size()?;
        let (to, started, reserved) = (to.to_string(), Instant::now(), source.is_reserved()?);
        Ok(Copy {
            source,
            to,
            progress,
            started,
            first: end,
            end,
            done: 0,
            holes: 0,
            still_growing: false,
            reserved,
            mapped: true,
        })
    }

    fn summary(&self, to: &Named, is_region: bool) -> Summary {
        Summary {
            source: self.source.name.clone(),
            destination: to.text(),
            copied_as: if is_region { "region" } else { "bytes" },
            bytes: self.done,
            hole_bytes: self.holes,
            bytes_at_start: self.first,
            still_growing: self.still_growing,
            seconds: self.started.elapsed().as_secs_f64(),
        }
    }

    /// Nothing was made: says so beside what happened.
    fn failed(&self, failure: Failure) -> Failure {
        Failure { cause: format!("{}; nothing was made at {}", failure.cause, self.to), ..failure }
    }

    fn truncated(&self) -> Failure {
        self.failed(self.source.truncated("copy", self.end, self.done))
    }

    /// A size that was there and is not any more is a truncation, wherever it was.
    fn check(&self) -> Result<(), Failure> {
        if self.source.size()? < self.end { Err(self.truncated()) } else { Ok(()) }
    }

    /// Goes on to the end, over holes, and copies all else by `step`, which says how many bytes became holes. After each the
    /// source must still be as long as it was.
    fn each_step(&mut self, mut step: impl FnMut(&mut Self, u64) -> Result<u64, Failure>) -> Result<(), Failure> {
        while self.done < self.end {
            let (from, to) = self.source.data_at(self.done)?.unwrap_or((self.end, self.end));
            self.check()?;
            let (from, to) = (from.min(self.end), to.min(self.end));
            self.holes += from - self.done;
            self.done = from;
            while self.done < to {
                let length = (to - self.done).min(STEP);
                self.holes += step(self, length)?;
                self.check()?;
                self.done += length;
                self.progress.show(self.done, self.end, self.started);
            }
            self.progress.show(self.done, self.end, self.started);
        }
        self.check()
    }

    fn fill_file(&mut self, target: &FileTarget) -> Result<(), Failure> {
        let mut followed = 0;
        loop {
            target.set_len(self.end).map_err(|failure| self.failed(failure))?;
            if self.reserved && self.done < self.end {
                let left = self.end - self.done;
                target.reserve(self.done, left, left).map_err(|failure| self.failed(failure))?;
            }
            self.each_step(|copy, length| copy.step(target, length))?;
            let now = self.source.size()?;
            self.still_growing = now > self.end;
            if now == self.end || followed == FOLLOWED {
                return Ok(());
            }
            followed += 1;
            self.end = now;
        }
    }

    /// Copies bytes that are no hole; returns how many became one.
    fn step(&mut self, target: &FileTarget, length: u64) -> Result<u64, Failure> {
        // With space of its own, so that a full file system is an error here. Of a segment only what is written gets
        // some.
        if self.source.fd().is_some() {
            target.reserve(self.done, length, self.end - self.done).map_err(|failure| self.failed(failure))?;
        }
        if let Some(fd) = self.source.fd().filter(|_| self.mapped) {
            match between(fd, self.source.base() + self.done, target.file().as_raw_fd(), self.done, length as usize) {
                Ok(()) => return Ok(0),
                // Either end is gone, which reading and writing say in their own words; or this may not be done here.
                Err(Errno(libc::EFAULT)) => {}
                Err(_) => self.mapped = false,
            }
        }
        self.by_reading(length, &mut |offset, bytes| target.write(offset, bytes))
    }

    /// Copies by a buffer; returns how many bytes became holes.
    fn by_reading(&self, length: u64, write: Write<'_>) -> Result<u64, Failure> {
        let mut holes = 0;
        let mut buffer = vec![0; length.min(1 << 20) as usize];
        let mut at = self.done;
        let end = self.done + length;
        while at < end {
            let step = (end - at).min(buffer.len() as u64) as usize;
            if self.source.read(at, &mut buffer[..step])? < step {
                return Err(self.truncated());
            }
            // Of a segment the kernel tells no holes: pages of zeros become some.
            for (number, page) in buffer[..step].chunks(page_size()).enumerate() {
                if self.source.fd().is_some() || page.iter().any(|byte| *byte != 0) {
                    let offset = at + (number * page_size()) as u64;
                    write(offset, page).map_err(|failure| self.failed(failure))?;
                } else {
                    holes += page.len() as u64;
                }
            }
            at += step as u64;
        }
        Ok(holes)
    }

    /// Copies what there was at the beginning: into what cannot grow. Holes stay as they are, untouched.
    fn fill_writer(&mut self, write: Write<'_>) -> Result<(), Failure> {
        self.each_step(|copy, length| copy.by_reading(length, write))?;
        self.still_growing = self.source.size()? > self.end;
        Ok(())
    }

    /// Makes a region by the library, and fills it before anybody sees it.
    fn make_region(&mut self, to: &Named, persistent: bool) -> Result<(), Failure> {
        let Some(header) = self.source.header else { return Ok(()) };
        let mut failure = None;
        // The data begins on the source's first page after the header.
        let (skip, size) = (header.data_offset, header.size);
        self.end = skip + size;
        self.done = skip;
        let (mode, source) = (self.source.mode | 0o600, self.source);
        let persistent = persistent || header.flags & PERSISTENT != 0;
        let mut fill = |address: usize, room: usize| {
            let mut write = |offset: u64, bytes: &[u8]| {
                let at = (offset - skip) as usize;
                // The kernel copies: there is no reference over the region's memory.
                let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= room);
                match fits
                    && memory::copy_within_process(bytes.as_ptr() as usize, address + at, bytes.len())
                        == Ok(bytes.len())
                {
                    true => Ok(()),
                    false => Err(Failure::new(Exit::Failed, "the region's memory cannot be written", "")),
                }
            };
            match self.fill_writer(&mut write) {
                Ok(()) => 0,
                Err(why) => {
                    failure = Some(why);
                    1
                }
            }
        };
        let mut options =
            Options { size, layout: header.layout, mode, init: Some(&mut fill), persistent, ..Options::default() };
        let made = region::create(&to.address, &mut options);
        match (made, failure) {
            (Ok(token), _) => {
                let now = source.header_now(source.size()?);
                self.still_growing = now.is_some_and(|now| now.size > size);
                handle::close(token).map_err(|failure| refusal::failure(&failure, &to.address))
            }
            (Err(_), Some(failure)) => Err(failure),
            (Err(failure), None) => Err(self.failed(refusal::failure(&failure, &to.address))),
        }
    }
}

/// Copies from file to file through mappings; the kernel touches them, and answers EFAULT where there is no memory.
fn between(from: i32, from_at: u64, to: i32, to_at: u64, length: usize) -> Result<(), Errno> {
    let page = page_size() as u64;
    let map = |fd: i32, at: u64, prot: i32| {
        let before = (at % page) as usize;
        let start = memory::mmap(0, before + length, prot, libc::MAP_SHARED, fd, (at - before as u64) as i64)?;
        Ok((start, before))
    };
    let (source, source_before) = map(from, from_at, libc::PROT_READ)?;
    let mapped = map(to, to_at, libc::PROT_READ | libc::PROT_WRITE);
    let result = mapped.and_then(|(target, target_before)| {
        let mut done = 0;
        let mut result = Ok(());
        while done < length && result.is_ok() {
            let (read, write) = (source + source_before + done, target + target_before + done);
            match memory::copy_within_process(read, write, length - done) {
                Ok(0) => result = Err(Errno(libc::EFAULT)),
                Ok(count) => done += count,
                Err(errno) => result = Err(errno),
            }
        }
        let _ = memory::munmap(target, target_before + length);
        result
    });
    let _ = memory::munmap(source, source_before + length);
    result
}

/// A line on standard error that is written over and over, on a terminal only.
struct Progress {
    shown: bool,
    last: Option<Instant>,
    on: bool,
}

impl Progress {
    /// How often it is written.
    const BEAT: Duration = Duration::from_millis(200);

    fn new(quiet: bool) -> Progress {
        Progress { shown: false, last: None, on: !quiet && io::stderr().is_terminal() }
    }

    fn show(&mut self, done: u64, end: u64, started: Instant) {
        // Not for what is done at once.
        if !self.on || self.last.unwrap_or(started).elapsed() < Self::BEAT {
            return;
        }
        self.last = Some(Instant::now());
        self.shown = true;
        let seconds = started.elapsed().as_secs_f64();
        let rate = done as f64 / seconds.max(0.001);
        let left = (end.saturating_sub(done)) as f64 / rate.max(1.0);
        let parts = (done as f64 / end.max(1) as f64).min(1.0);
        let bar = "#".repeat((parts * 30.0) as usize);
        let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
        let line = format!(
            "{:3.0}% [{bar:<30}] {:.0}M of {:.0}M, {:.0}M/s, {left:.0} s left",
            parts * 100.0,
            mebibytes(done as f64),
            mebibytes(end as f64),
            mebibytes(rate)
        );
        let _ = write!(io::stderr(), "\r{line:<79}");
    }

    fn clear(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r{:79}\r", "");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
