//! The first page of a region: what it says, and whether that can be true.
//! Never trusts a byte of it: a header is read as a copy, and every number is compared with what the kernel says of the
//! object. Pure. Next: `object.rs`, which reads and writes it.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 4, 4 | format; byte order mark |
//! | 16 | 4, 4, 4, 4 | word size in bytes; page size; C library; machine |
//! | 32 | 4, 4 | state; flags |
//! | 40 | 8, 8, 8, 8 | where the data begins; size (grows, atomically); largest size; generation (counts growths) |
//! | 72 | 8, 4, 4, 48 | layout of the user's type: size, version, alignment, name |
//! | 136 | 4, 4, 8, 8, 8, 8 | creator: pid, user, start time, boot id, pid namespace |
//! | 176 | 8, 4 | time of creation (ns since the epoch); backend |
//! | 256 | 60 times 64 | participants: see `Record` |

use super::failure::{Failure, Outcome};
use crate::checks::words::Label;
use crate::error::Status;

/// Bytes of the header without the participants.
pub const SIZE: usize = 256;
/// Where the size stands, for the word that grows.
pub const SIZE_AT: usize = 48;
/// Where the generation stands.
pub const GENERATION_AT: usize = 64;
/// Where the state stands.
pub const STATE_AT: usize = 32;
/// Bytes of one participant's record.
pub const RECORD_SIZE: usize = 64;
/// Participants that the first page has room for; more than these are counted but not described.
pub const RECORDS: u32 = 60;

const MAGIC: u64 = u64::from_le_bytes(*b"shmkitRG");
const FORMAT: u32 = 1;
const ORDER: u32 = 0x0102_0304;
const NAME_ROOM: usize = 48;

/// Nothing may use it yet.
pub const BUILDING: u32 = 0;
/// Complete.
pub const READY: u32 = 0x7265_6164;

/// Flag: `shmkit_gc` leaves it alone.
pub const PERSISTENT: u32 = 1;
/// Flag: a System V segment that has huge pages, which nothing else tells.
pub const HUGE: u32 = 2;

const MACHINE: u32 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
const C_LIBRARY: u32 = if cfg!(target_env = "gnu") {
    1
} else if cfg!(target_env = "musl") {
    2
} else {
    3
};

/// The type that a region holds, as its makers name it. An empty name fits everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The name, without "struct", cut to its first 47 bytes.
    pub name: [u8; NAME_ROOM],
    /// Its version.
    pub version: u32,
    /// sizeof.
    pub size: u64,
    /// alignof.
    pub alignment: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { name: [0; NAME_ROOM], version: 0, size: 0, alignment: 0 }
    }
}

impl Layout {
    /// The layout of a type; C writes "struct telemetry" where C++ writes "telemetry", and both mean the same.
    pub fn new(name: &[u8], version: u32, size: u64, alignment: u32) -> Layout {
        let name = name.trim_ascii();
        let name =
            [&b"struct "[..], b"union ", b"class "].iter().find_map(|word| name.strip_prefix(*word)).unwrap_or(name);
        let name = name.trim_ascii();
        let mut layout = Layout { name: [0; NAME_ROOM], version, size, alignment };
        let length = name.len().min(NAME_ROOM - 1);
        layout.name[..length].copy_from_slice(&name[..length]);
        layout
    }

    /// Whether no type was named.
    pub fn is_any(&self) -> bool {
        self.name[0] == 0
    }

    /// Compares what this program was built with to what the region was made for.
    pub fn require(&self, found: &Layout) -> Outcome<()> {
        if self.is_any() {
            return Ok(());
        }
        if self.name != found.name {
            let cause = match found.is_any() {
                true => "the region was made without naming a type, and this program expects \"{expected_label}\"",
                false => "the region was made for \"{label}\", and this program expects \"{expected_label}\"",
            };
            let remedy = "open it with the type that it was made for, or use another address";
            return Err(Failure::new(Status::ErrLayout, cause, remedy)
                .with(|figures| (figures.label, figures.expected_label) = (Label(found.name), Label(self.name))));
        }
        let (what, expected, found_value) = if self.version != found.version {
            ("version", u64::from(self.version), u64::from(found.version))
        } else if self.size != found.size {
            ("size in bytes", self.size, found.size)
        } else if self.alignment != found.alignment {
            ("alignment in bytes", u64::from(self.alignment), u64::from(found.alignment))
        } else {
            return Ok(());
        };
        Err(Failure::new(
            Status::ErrLayout,
            "the {what} of \"{label}\" is {found} in the region and {expected} in this program",
            "build both programs from the same definition; give a changed definition a new version",
        )
        .with(|figures| {
            figures.label = Label(found.name);
            (figures.what, figures.expected, figures.found) = (what, expected, found_value);
        }))
    }
}

/// A process, as it is recorded: to explain, never to decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id in its own pid namespace.
    pub pid: u32,
    /// Its effective user.
    pub uid: u32,
    /// When it started, in clock ticks since boot (/proc/PID/stat, field 22).
    pub start_time: u64,
    /// The boot that it ran under.
    pub boot: [u64; 2],
    /// The inode of its pid namespace.
    pub namespace: u64,
}

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// BUILDING or READY.
    pub state: u32,
    /// See PERSISTENT.
    pub flags: u32,
    /// Where the data begins.
    pub data_offset: u64,
    /// Bytes of data.
    pub size: u64,
    /// The most that it may grow to.
    pub max_size: u64,
    /// How often it grew.
    pub generation: u64,
    /// The type.
    pub layout: Layout,
    /// Who made it.
    pub creator: Process,
    /// When, in nanoseconds since the epoch.
    pub created: u64,
    /// The kind of memory.
    pub backend: u32,
}

/// One participant: written by the holder of the lease with the same number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who.
    pub process: Process,
}

/// Numbers written one after the other.
struct Put<'a>(&'a mut [u8], usize);

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0[self.1..self.1 + bytes.len()].copy_from_slice(bytes);
        self.1 += bytes.len();
    }

    fn half(&mut self, value: u32) {
        self.bytes(&value.to_ne_bytes());
    }

    fn word(&mut self, value: u64) {
        self.bytes(&value.to_ne_bytes());
    }
}

/// Numbers read one after the other. The array that is read has room for all of them.
struct Get<'a>(&'a [u8], usize);

impl Get<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[self.1..self.1 + N]);
        self.1 += N;
        bytes
    }

    fn half(&mut self) -> u32 {
        u32::from_ne_bytes(self.bytes())
    }

    fn word(&mut self) -> u64 {
        u64::from_ne_bytes(self.bytes())
    }
}

fn put_process(put: &mut Put<'_>, process: &Process) {
    put.half(process.pid);
    put.half(process.uid);
    put.word(process.start_time);
    put.word(process.boot[0]);
    put.word(process.boot[1]);
    put.word(process.namespace);
}

fn get_process(get: &mut Get<'_>) -> Process {
    Process {
        pid: get.half(),
        uid: get.half(),
        start_time: get.word(),
        boot: [get.word(), get.word()],
        namespace: get.word(),
    }
}

impl Record {
    /// As it stands in memory.
    pub fn encode(&self) -> [u8; RECORD_SIZE] {
        let mut bytes = [0; RECORD_SIZE];
        put_process(&mut Put(&mut bytes, 0), &self.process);
        bytes
    }

    /// What stands in memory; any bytes give a record.
    pub fn decode(bytes: &[u8; RECORD_SIZE]) -> Record {
        Record { process: get_process(&mut Get(bytes, 0)) }
    }

    /// Where the record of a lease stands; `None` when there is no room for it.
    pub fn offset(number: u32) -> Option<usize> {
        (number < RECORDS).then(|| SIZE + number as usize * RECORD_SIZE)
    }
}

/// What the kernel says of the object.
#[derive(Clone, Copy)]
pub struct Facts {
    /// Bytes of the object.
    pub object_size: u64,
    /// Bytes of a page.
    pub page_size: u64,
}

impl Header {
    /// As it stands in memory.
    pub fn encode(&self, page_size: u32) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let mut put = Put(&mut bytes, 0);
        put.word(MAGIC);
        put.half(FORMAT);
        put.half(ORDER);
        put.half(size_of::<usize>() as u32);
        put.half(page_size);
        put.half(C_LIBRARY);
        put.half(MACHINE);
        put.half(self.state);
        put.half(self.flags);
        put.word(self.data_offset);
        put.word(self.size);
        put.word(self.max_size);
        put.word(self.generation);
        put.word(self.layout.size);
        put.half(self.layout.version);
        put.half(self.layout.alignment);
        put.bytes(&self.layout.name);
        put_process(&mut put, &self.creator);
        put.word(self.created);
        put.half(self.backend);
        bytes
    }

    /// Whether these bytes claim to be a region at all.
    pub fn is_claimed(bytes: &[u8]) -> bool {
        bytes.get(..8) == Some(&MAGIC.to_ne_bytes()[..])
    }

    /// Reads a header, and believes nothing that the kernel contradicts.
    pub fn decode(bytes: &[u8; SIZE], facts: &Facts) -> Outcome<Header> {
        let mut get = Get(bytes, 0);
        if get.word() != MAGIC {
            return Err(Failure::of(Status::ErrNotARegion));
        }
        let (format, order) = (get.half(), get.half());
        if order != ORDER {
            return Err(differs("byte order mark", u64::from(ORDER), u64::from(order)));
        }
        if format != FORMAT {
            return Err(differs("format version", u64::from(FORMAT), u64::from(format)));
        }
        for (what, expected) in [
            ("word size in bytes", size_of::<usize>() as u64),
            ("page size in bytes", facts.page_size),
            ("C library (1 glibc, 2 musl)", u64::from(C_LIBRARY)),
            ("machine (ELF number)", u64::from(MACHINE)),
        ] {
            let found = u64::from(get.half());
            if found != expected {
                return Err(differs(what, expected, found));
            }
        }
        let mut header = Header {
            state: get.half(),
            flags: get.half(),
            data_offset: get.word(),
            size: get.word(),
            max_size: get.word(),
            generation: get.word(),
            ..Header::default()
        };
        let (size, version, alignment) = (get.word(), get.half(), get.half());
        header.layout = Layout { name: get.bytes(), version, size, alignment };
        header.creator = get_process(&mut get);
        header.created = get.word();
        header.backend = get.half();
        // A C string to whoever prints it.
        header.layout.name[NAME_ROOM - 1] = 0;
        if header.state != READY {
            return Err(Failure::of(Status::ErrUnfinished));
        }
        header.check(facts)?;
        Ok(header)
    }

    fn check(&self, facts: &Facts) -> Outcome<()> {
        if self.data_offset != facts.page_size {
            return Err(lies("beginning of the data", facts.page_size, self.data_offset));
        }
        let room = facts.object_size.saturating_sub(self.data_offset);
        if self.size == 0 || self.size > room {
            return Err(lies("size, for an object with room for that many bytes,", room, self.size));
        }
        if self.max_size < self.size || self.max_size > i64::MAX as u64 / 2 {
            return Err(lies("largest size", self.size, self.max_size));
        }
        Ok(())
    }
}

#[cold]
fn differs(what: &'static str, expected: u64, found: u64) -> Failure {
    Failure::new(
        Status::ErrLayout,
        "the region's {what} is {found}, and this program's is {expected}",
        "use builds for the same machine, C library and version of shmkit on both sides",
    )
    .with(|figures| (figures.what, figures.expected, figures.found) = (what, expected, found))
}

#[cold]
fn lies(what: &'static str, expected: u64, found: u64) -> Failure {
    Failure::new(
        Status::ErrCorrupt,
        "the header cannot be true: its {what} is {found} against {expected}",
        "find out who writes there or made the object shorter; remove it and create it anew",
    )
    .with(|figures| (figures.what, figures.expected, figures.found) = (what, expected, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts { object_size: 12_288, page_size: 4096 };

    fn good() -> Header {
        Header {
            state: READY,
            flags: PERSISTENT,
            data_offset: 4096,
            size: 5000,
            max_size: 8192,
            generation: 3,
            layout: Layout::new(b"struct telemetry", 3, 24, 8),
            creator: Process { pid: 7, uid: 1, start_time: 2, boot: [3, 4], namespace: 5 },
            created: 6,
            backend: 1,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = good().encode(4096);
        assert!(Header::decode(&bytes, &FACTS).is_ok_and(|header| header == good()));
        assert_eq!(u64::from_ne_bytes(bytes[SIZE_AT..SIZE_AT + 8].try_into().expect("eight")), 5000);
        assert_eq!(u64::from_ne_bytes(bytes[GENERATION_AT..GENERATION_AT + 8].try_into().expect("eight")), 3);
        assert_eq!(u32::from_ne_bytes(bytes[STATE_AT..STATE_AT + 4].try_into().expect("four")), READY);
        let record = Record { process: good().creator };
        assert_eq!(Record::decode(&record.encode()), record);
    }

    #[test]
    fn every_lie_is_found() {
        let refused = |header: Header| Header::decode(&header.encode(4096), &FACTS).map(drop).map_err(|f| f.status);
        assert_eq!(refused(Header { state: BUILDING, ..good() }), Err(Status::ErrUnfinished));
        for lie in [
            Header { size: 0, ..good() },
            Header { size: 8193, max_size: 9000, ..good() },
            Header { size: u64::MAX, max_size: u64::MAX, ..good() },
            Header { max_size: 4999, ..good() },
            Header { max_size: u64::MAX - 4096, ..good() },
            Header { data_offset: 0, ..good() },
            Header { data_offset: u64::MAX, ..good() },
        ] {
            assert_eq!(refused(lie), Err(Status::ErrCorrupt), "{lie:?}");
        }
        let other_page = Header::decode(&good().encode(65_536), &FACTS);
        assert_eq!(other_page.map(drop).map_err(|failure| failure.status), Err(Status::ErrLayout));
        assert_eq!(Header::decode(&[0; SIZE], &FACTS).map(drop).map_err(|f| f.status), Err(Status::ErrNotARegion));
    }

    #[test]
    fn layouts_are_compared_part_by_part() {
        let ours = Layout::new(b"telemetry", 3, 24, 8);
        let differs = |other: Layout| ours.require(&other).map_err(|failure| failure.figures.what).err();
        assert_eq!(differs(Layout::new(b"struct telemetry", 3, 24, 8)), None);
        assert_eq!(differs(Layout::new(b"telemetry", 4, 24, 8)), Some("version"));
        assert_eq!(differs(Layout::new(b"telemetry", 3, 32, 8)), Some("size in bytes"));
        assert_eq!(differs(Layout::new(b"telemetry", 3, 24, 4)), Some("alignment in bytes"));
        assert_eq!(differs(Layout::new(b"other", 3, 24, 8)), Some(""));
        assert!(Layout::default().require(&ours).is_ok());
    }
}
