//! Holds docs/layout.md against the source: every offset and number of its tables is that of the constant it names, every
//! offset that the source names is on the page, and what the library writes stands where the page says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use shmkit::capi::{broadcast, cell, queue, ring, sync};
use shmkit::region::header::{self, Header, Layout, Process, Record};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of a table of offsets.
#[derive(Clone, Debug)]
struct Row {
    offset: u64,
    /// `None` where it depends on what it is made as.
    bytes: Option<u64>,
    name: String,
}

/// A section that names a source file.
struct Section {
    source: String,
    rows: Vec<Row>,
    /// The numbers beside the offsets, as they are written.
    numbers: Vec<(String, String)>,
    /// Rows of the table of kinds.
    kinds: Vec<(String, u64)>,
}

impl Section {
    fn at(&self, name: &str) -> &Row {
        let found: Vec<_> = self.rows.iter().filter(|row| row.name == name).collect();
        assert_eq!(found.len(), 1, "{name} in {}", self.source);
        found[0]
    }

    /// The number at a name of the table.
    fn number_in(&self, bytes: &[u8], name: &str) -> u64 {
        let row = self.at(name);
        let (from, size) = (row.offset as usize, row.bytes.expect("it has a size") as usize);
        let mut word = [0; 8];
        word[..size].copy_from_slice(&bytes[from..from + size]);
        u64::from_le_bytes(word)
    }
}

fn bare(cell: &str) -> String {
    cell.trim_matches('`').to_string()
}

fn sections() -> BTreeMap<String, Section> {
    let page = read("docs/layout.md");
    let mut found = BTreeMap::new();
    for part in page.split("\n## ").skip(1) {
        let Some(source) = part.split_once("\nSource: `").map(|(_, rest)| rest.split('`').next().unwrap().to_string())
        else {
            continue;
        };
        let mut section = Section { source: source.clone(), rows: vec![], numbers: vec![], kinds: vec![] };
        let mut table = "";
        for line in part.lines().filter(|line| line.starts_with('|')) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            match cells[0] {
                "offset" | "number" | "kind" => table = cells[0],
                "---" => {}
                _ if table == "offset" => section.rows.push(Row {
                    offset: cells[0].parse().expect("an offset is a number"),
                    bytes: cells[1].parse().ok(),
                    name: bare(cells[2]),
                }),
                _ if table == "number" => section.numbers.push((bare(cells[0]), cells[1].to_string())),
                _ => section.kinds.push((cells[0].to_string(), cells[1].parse().expect("a kind has a number"))),
            }
        }
        assert!(found.insert(source, section).is_none(), "one section a source");
    }
    found
}

// ------------------------------------------------------------------------------------------------ constants of a source

/// The constants of a file by name, as they are written.
struct Source<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Source<'a> {
        let constant = regex::Regex::new(r"(?m)^(?:pub )?const ([A-Z_]+): \w+ = ([^;]+);").expect("it is well-formed");
        Source(
            constant
                .captures_iter(text)
                .map(|found| found.extract::<2>().1)
                .map(|[name, as_is]| (name, as_is))
                .collect(),
        )
    }

    fn value(&self, name: &str) -> u64 {
        let text = self.0.get(name).unwrap_or_else(|| panic!("no constant {name}"));
        if let Some(bytes) = text.strip_prefix("u64::from_le_bytes(*b\"") {
            let bytes = bytes.trim_end_matches("\")").replace("\\x01", "\x01").replace("\\x02", "\x02");
            return u64::from_le_bytes(bytes.as_bytes().try_into().expect("eight bytes"));
        }
        let words = regex::Regex::new(r"0x[0-9a-f_]+|[0-9][0-9_]*|[A-Z_]+|<<|[+*/()|-]").expect("it is well-formed");
        let text = text.replace(" as usize", "").replace(" as u64", "");
        let words: Vec<&str> = words.find_iter(&text).map(|word| word.as_str()).collect();
        assert_eq!(words.concat(), text.replace([' ', '\n'], ""), "{name} is an expression that this can read");
        let mut rest = &words[..];
        let value = self.shifted(&mut rest);
        assert!(rest.is_empty(), "{name}: {rest:?}");
        value
    }

    fn shifted(&self, rest: &mut &[&str]) -> u64 {
        let mut value = self.sum(rest);
        while let ["<<", after @ ..] = rest {
            *rest = after;
            value <<= self.sum(rest);
        }
        value
    }

    fn sum(&self, rest: &mut &[&str]) -> u64 {
        let mut value = self.product(rest);
        while let [sign @ ("+" | "-"), after @ ..] = rest {
            *rest = after;
            let other = self.product(rest);
            value = if *sign == "+" { value + other } else { value - other };
        }
        value
    }

    fn product(&self, rest: &mut &[&str]) -> u64 {
        let mut value = self.one(rest);
        while let [sign @ ("*" | "/"), after @ ..] = rest {
            *rest = after;
            let other = self.one(rest);
            value = if *sign == "*" { value * other } else { value / other };
        }
        value
    }

    fn one(&self, rest: &mut &[&str]) -> u64 {
        let (first, after) = rest.split_first().expect("an expression does not end here");
        *rest = after;
        match first.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(&hex.replace('_', ""), 16).expect("it is hexadecimal"),
            None if first.starts_with(|c: char| c.is_ascii_digit()) => {
                first.replace('_', "").parse().expect("a number")
            }
            None if *first == "(" => {
                let value = self.shifted(rest);
                assert_eq!(rest.first(), Some(&")"));
                *rest = &rest[1..];
                value
            }
            None => self.value(first),
        }
    }
}

/// A number as the page writes it: decimal, hexadecimal, or a text with a byte behind it.
fn written(text: &str) -> u64 {
    if let Some(rest) = text.strip_prefix('"') {
        let (letters, format) = rest.split_once('"').expect("a text ends");
        let mut bytes = letters.as_bytes().to_vec();
        bytes.extend(format.trim().parse::<u8>().ok());
        return u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    }
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect("it is hexadecimal"),
        None => text.parse().expect("it is a number"),
    }
}

const SOURCES: [&str; 6] = [
    "src/region/header.rs",
    "src/containers/ring.rs",
    "src/containers/queue.rs",
    "src/containers/broadcast.rs",
    "src/containers/cell.rs",
    "src/sync/object.rs",
];

#[test]
fn every_number_is_that_of_the_source() {
    let sections = sections();
    assert_eq!(sections.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut all = SOURCES;
        all.sort_unstable();
        all
    });
    let mut held = 0;
    for section in sections.values() {
        // What files take from their neighbours by name.
        let text = read(&section.source);
        let neighbour = ["src/containers/members.rs", "src/containers/queue.rs"].map(read).concat();
        let mut source = Source::new(&text);
        for (name, value) in Source::new(&neighbour).0 {
            source.0.entry(name).or_insert(value);
        }
        for row in section.rows.iter().filter(|row| row.name.ends_with("_AT")) {
            assert_eq!(source.value(&row.name), row.offset, "{} in {}", row.name, section.source);
            held += 1;
        }
        for (name, value) in &section.numbers {
            assert_eq!(source.value(name), written(value), "{name} in {}", section.source);
            held += 1;
        }
        // Nothing that the source names is missing, and nothing lies over another.
        for name in Source::new(&text).0.keys().filter(|name| name.ends_with("_AT")) {
            assert!(
                section.rows.iter().any(|row| row.name == *name),
                "{name} of {} is not on the page",
                section.source
            );
        }
        for pair in section.rows.windows(2) {
            let bytes = pair[0].bytes.expect("only the last row has no size");
            assert!(pair[0].offset + bytes <= pair[1].offset, "{pair:?} in {}", section.source);
        }
    }
    assert!(held >= 90, "{held} numbers");
}

#[test]
fn a_region_header_is_written_so() {
    let sections = sections();
    let section = &sections["src/region/header.rs"];
    let creator = Process { pid: 101, uid: 102, start_time: 103, boot: [104, 105], namespace: 106 };
    let header = Header {
        state: header::READY,
        flags: 107,
        data_offset: 108,
        size: 109,
        max_size: 110,
        generation: 111,
        layout: Layout::new(b"struct telemetry", 112, 113, 114),
        creator,
        created: 115,
        backend: 116,
    };
    let bytes = header.encode(117);
    for (name, value) in [
        ("magic", u64::from_le_bytes(*b"shmkitRG")),
        ("format", 1),
        ("order", 0x0102_0304),
        ("word_size", 8),
        ("page_size", 117),
        ("c_library", if cfg!(target_env = "gnu") { 1 } else { 2 }),
        ("machine", if cfg!(target_arch = "x86_64") { 62 } else { 183 }),
        ("STATE_AT", u64::from(header::READY)),
        ("flags", 107),
        ("data_offset", 108),
        ("SIZE_AT", 109),
        ("max_size", 110),
        ("GENERATION_AT", 111),
        ("layout_version", 112),
        ("layout_size", 113),
        ("layout_alignment", 114),
        ("creator_pid", 101),
        ("creator_uid", 102),
        ("creator_start", 103),
        ("creator_namespace", 106),
        ("created", 115),
        ("backend", 116),
    ] {
        assert_eq!(section.number_in(&bytes, name), value, "{name}");
    }
    let text = |row: &Row| bytes[row.offset as usize..][..row.bytes.unwrap() as usize].to_vec();
    assert_eq!(text(section.at("layout_name")), header.layout.name);
    assert_eq!(text(section.at("creator_boot")), [104u64.to_le_bytes(), 105u64.to_le_bytes()].concat());
    // All 22 numbers, the name and the boot id: no row is left out.
    assert_eq!(section.rows.len(), 24);
    // A record has the form of the creator.
    let from = section.at("creator_pid").offset as usize;
    assert_eq!(Record { process: creator }.encode()[..40], bytes[from..from + 40]);
}

/// Memory for an object.
#[repr(C, align(64))]
struct Memory([u8; 8192]);

/// One byte each: what is looked at here is the first message, whose first byte is this.
const MESSAGE: [u8; 3] = *b"abc";

#[test]
fn rings_and_cells_are_written_so() {
    let sections = sections();
    let mut memory = Box::new(Memory([0xff; 8192]));
    let at = memory.0.as_mut_ptr().cast();
    // SAFETY: the memory is there and of nobody else; the ends lie on the heap, and are not moved.
    unsafe {
        let mut end: Box<ring::shmkit_ring_t> = Box::new(std::mem::zeroed());
        assert_eq!(ring::shmkit_ring_init(at, 8192, std::ptr::null()), 0);
        assert_eq!(ring::shmkit_ring_attach(&mut *end, at, 8192, std::ptr::null(), ring::SHMKIT_RING_PRODUCE), 0);
        assert_eq!(ring::shmkit_ring_write(&mut *end, MESSAGE.as_ptr().cast(), 3, 0), 0);
        assert_eq!(ring::shmkit_ring_close(&mut *end), 0);
    }
    let section = &sections["src/containers/ring.rs"];
    let number = |name| section.number_in(&memory.0, name);
    assert_eq!((number("CAPACITY_AT"), number("TAIL_AT"), number("HEAD_AT")), (4096, 16, 0));
    assert_eq!((number("WRITTEN_AT"), number("STATE_AT"), number("FINGERPRINT_AT")), (1, 1, 0));
    assert_eq!((number("PRODUCER_AT") >> 32, number("CONSUMER_AT")), (u64::from(std::process::id()), 0));
    let data = section.at("DATA_AT").offset as usize;
    assert_eq!(memory.0[data..][..11], *[&(0x7368_6d31_u64 << 32 | 3).to_le_bytes()[..], &MESSAGE].concat());

    let at = memory.0.as_mut_ptr().cast();
    // SAFETY: as above.
    unsafe {
        let mut user: Box<cell::shmkit_cell_t> = Box::new(std::mem::zeroed());
        assert_eq!(cell::shmkit_cell_init(at, 8192, 40, std::ptr::null()), 0);
        assert_eq!(cell::shmkit_cell_attach(&mut *user, at, 8192, std::ptr::null(), cell::SHMKIT_CELL_WRITE), 0);
        assert_eq!(cell::shmkit_cell_write(&mut *user, MESSAGE.as_ptr().cast(), 3), 0);
    }
    let section = &sections["src/containers/cell.rs"];
    let number = |name| section.number_in(&memory.0, name);
    assert_eq!((number("LONGEST_AT"), number("LATEST_AT")), (40, 1));
    assert_eq!(number("WRITER_AT") >> 32, u64::from(std::process::id()));
    // Slot 1: 40 bytes and 16 are 64.
    let slot = section.at("SLOTS_AT").offset as usize + 64;
    let whole = [&2u64.to_le_bytes()[..], &3u64.to_le_bytes(), &MESSAGE].concat();
    assert_eq!(memory.0[slot..][..19], *whole);
}

#[test]
fn queues_broadcasts_and_locks_are_written_so() {
    let sections = sections();
    let mut memory = Box::new(Memory([0xff; 8192]));
    let at = memory.0.as_mut_ptr();
    let options = queue::shmkit_queue_options_t {
        struct_size: size_of::<queue::shmkit_queue_options_t>(),
        messages: 8,
        message_size: 100,
        // SAFETY: all zeros is a layout without a name.
        layout: unsafe { std::mem::zeroed() },
        overflow: queue::SHMKIT_OVERFLOW_DROP,
        delivery: queue::SHMKIT_DELIVERY_AT_MOST_ONCE,
    };
    // SAFETY: the memory and the options are there.
    unsafe { assert_eq!(queue::shmkit_queue_init(at.cast(), 8192, &options), 0) };
    let section = &sections["src/containers/queue.rs"];
    let number = |name| section.number_in(&memory.0, name);
    assert_eq!((number("CELLS_NUMBER_AT"), number("STRIDE_AT"), number("POLICY_AT")), (8, 128, 2 << 8 | 4 | 2));
    // SAFETY: as above.
    unsafe { assert_eq!(broadcast::shmkit_broadcast_init(at.cast(), 8192, 8, 100, std::ptr::null()), 0) };
    let section = &sections["src/containers/broadcast.rs"];
    let number = |name| section.number_in(&memory.0, name);
    assert_eq!((number("CELLS_NUMBER_AT"), number("STRIDE_AT")), (8, 128));

    let section = &sections["src/sync/object.rs"];
    let kinds: BTreeMap<&str, u64> = section.kinds.iter().map(|(name, number)| (name.as_str(), *number)).collect();
    type Init = Box<dyn Fn(*mut u8) -> i32>;
    let inits: [(&str, Init); 8] = [
        ("mutex", Box::new(|at: *mut u8| sync::shmkit_mutex_init(at.cast()))),
        ("readers-writer lock", Box::new(|at: *mut u8| sync::shmkit_rwlock_init(at.cast()))),
        ("condition variable", Box::new(|at: *mut u8| sync::shmkit_cond_init(at.cast()))),
        ("semaphore", Box::new(|at: *mut u8| sync::shmkit_semaphore_init(at.cast(), 3))),
        ("robust semaphore", Box::new(|at: *mut u8| sync::shmkit_robust_sem_init(at.cast(), 3))),
        ("barrier", Box::new(|at: *mut u8| sync::shmkit_barrier_init(at.cast(), 3))),
        ("once", Box::new(|at: *mut u8| sync::shmkit_once_init(at.cast()))),
        ("event count", Box::new(|at: *mut u8| sync::shmkit_event_init(at.cast()))),
    ];
    assert_eq!(kinds.len(), inits.len());
    for (name, init) in inits {
        memory.0.fill(0);
        assert_eq!(init(memory.0.as_mut_ptr()), 0, "{name}");
        let stamp = section.number_in(&memory.0, "STAMP_AT") >> 32;
        assert_eq!((stamp >> 24, stamp >> 16 & 0xff, stamp & 0xff), (u64::from(b'S'), 1, kinds[name]), "{name}");
        let how_many = if matches!(name, "robust semaphore" | "barrier") { 3 } else { 0 };
        assert_eq!(section.number_in(&memory.0, "KIND_AT"), how_many, "{name}");
        assert_eq!(section.number_in(&memory.0, "lock"), if name == "semaphore" { 6 } else { 0 }, "{name}");
    }
}
