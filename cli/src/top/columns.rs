//! The columns of the view: which fit a width, what stands in them, how they are sorted. Pure.
//! Next: `marks.rs`, which has what changed, `screen.rs`, which draws.

use std::borrow::Cow;
use std::cmp::Ordering;

use ratatui::text::Span;

use crate::objects::{Creator, Fact};
use crate::output::{Align, Output, UNKNOWN};
use crate::view::{self, Row};

use super::looks::Look;
use super::marks::Item;

/// Columns, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Column {
    State,
    Size,
    Reserved,
    Users,
    Owner,
    Mode,
    Creator,
    Age,
    Kind,
    Change,
    Address,
    Processes,
}

use Column::{Address, Age, Change, Creator as Made, Kind, Mode, Owner, Processes, Reserved, Size, State, Users};

const ORDER: [Column; 12] = [State, Size, Reserved, Users, Owner, Mode, Made, Age, Kind, Change, Address, Processes];
/// Which are taken first where the width does not do for all.
const IMPORTANCE: [Column; 8] = [State, Size, Users, Change, Age, Reserved, Owner, Made];
/// Only where there is plenty.
const PLENTY: [Column; 2] = [Mode, Kind];
/// An address gets no less than this, as long as a column can be left out for it.
const ADDRESS: usize = 16;
/// An address gets no more than this, when the processes can stand beside it then.
const ADDRESS_BESIDE: usize = 48;
/// The processes get no less than this, or are left out.
const PROCESSES: usize = 20;
/// From here on cells are two blanks apart and say also why something is unknown.
pub const WIDE: usize = 120;

impl Column {
    pub const fn name(self) -> &'static str {
        match self {
            State => "state",
            Size => "size",
            Reserved => "reserved",
            Users => "users",
            Owner => "owner",
            Mode => "mode",
            Made => "creator",
            Age => "age",
            Kind => "kind",
            Change => "change",
            Address => "address",
            Processes => "processes",
        }
    }

    pub const fn align(self) -> Align {
        match self {
            Size | Reserved | Users | Age => Align::Right,
            _ => Align::Left,
        }
    }

    /// Whether it begins with the largest when it is chosen.
    pub fn descends(self) -> bool {
        matches!(self, Size | Reserved | Users | Age | Change)
    }

    /// How two rows stand to each other; what is unknown comes last either way.
    fn compare(self, one: &Item, other: &Item, look: &Look, reverse: bool) -> Ordering {
        let turned = |order: Ordering| if reverse { order.reverse() } else { order };
        let numbers = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => turned(one.cmp(&other)),
            (None, None) => Ordering::Equal,
            (None, _) => Ordering::Greater,
            (_, None) => Ordering::Less,
        };
        let (a, b) = (&one.object, &other.object);
        match self {
            State => turned(a.state.name().cmp(b.state.name())),
            Size => numbers(a.size.known(), b.size.known()),
            Reserved => numbers(a.reserved.known(), b.reserved.known()),
            Users => numbers(a.users().0.known(), b.users().0.known()),
            Owner => turned(one.owner.cmp(&other.owner)),
            Mode => numbers(a.mode.known().map(u64::from), b.mode.known().map(u64::from)),
            Made => turned(view::creator_word(a).cmp(&view::creator_word(b))),
            Age => {
                let age = |item: &Item| item.object.time.ns().map(|at| look.now_ns.saturating_sub(at));
                numbers(age(one), age(other))
            }
            Kind => turned(a.kind.cmp(&b.kind)),
            Change => turned(one.rank().cmp(&other.rank())),
            Address => turned(one.address.cmp(&other.address)),
            Processes => numbers(a.uses.first().map(|one| one.pid.into()), b.uses.first().map(|one| one.pid.into())),
        }
    }
}

/// How rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    pub column: Column,
    /// The largest first.
    pub descending: bool,
}

impl Sorting {
    pub fn by(column: Column) -> Sorting {
        Sorting { column, descending: column.descends() }
    }

    /// Sorts rows of a look. Rows that are equal stand by address, so that none moves without a reason.
    pub fn sort(&self, rows: &mut [usize], look: &Look) {
        rows.sort_by(|one, other| {
            let (one, other) = (&look.items[*one], &look.items[*other]);
            let order = self.column.compare(one, other, look, self.descending);
            order
                .then_with(|| one.address.cmp(&other.address))
                .then_with(|| one.object.identity.cmp(&other.object.identity))
        });
    }
}

/// Columns with their widths, and the blanks before each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub columns: Vec<(Column, usize)>,
    pub gap: usize,
    pub wide: bool,
}

fn widest<T: Copy>(rows: &[&Item], fact: impl Fn(&Item) -> Fact<T>, wide: bool) -> usize {
    let of = |item: &&Item| match fact(item) {
        Fact::Known(_) => 0,
        Fact::Unknown(_) if !wide => UNKNOWN.len(),
        Fact::Unknown(why) => view::unknown(why).len(),
    };
    rows.iter().map(of).max().unwrap_or(0)
}

/// The columns that fit. What depends on the rows follows from few and cheap facts of them: no cell is made here.
pub fn layout(width: usize, rows: &[&Item], output: &Output) -> Layout {
    let wide = width >= WIDE;
    let gap = if wide { 2 } else { 1 };
    let number = if output.bytes { 14 } else { 7 };
    let width_of = |column: Column| -> usize {
        let cells = match column {
            State => rows.iter().map(|item| item.object.state.name().len()).max().unwrap_or(0).max(7),
            Size => widest(rows, |item| item.object.size, false).max(number),
            Reserved => widest(rows, |item| item.object.reserved, false).max(number),
            // Of sets nobody counts them.
            Users => widest(rows, |item| item.object.semaphores.map_or(item.object.users().0, Fact::Known), wide),
            Owner => {
                let longest = rows.iter().map(|item| text_width(&item.owner)).max().unwrap_or(0);
                longest.min(if wide { 24 } else { 8 })
            }
            Mode => 4,
            Made => 7,
            Age => widest(rows, |item| Fact::or_why(item.object.time.ns(), ""), false).max(3),
            Kind => 6,
            Change if wide => 20,
            Change => 12,
            Address => rows.iter().map(|item| text_width(&item.address)).max().unwrap_or(0),
            Processes => PROCESSES,
        };
        cells.max(column.name().len())
    };
    let mut left = width;
    let mut chosen: Vec<(Column, usize)> = Vec::new();
    let mut take = |column: Column, keep: usize, left: &mut usize| {
        let needs = width_of(column) + gap;
        let fits = *left >= needs + keep;
        if fits {
            *left -= needs;
            chosen.push((column, needs - gap));
        }
        fits
    };
    for column in IMPORTANCE {
        if column == Made && !wide || !take(column, ADDRESS + gap, &mut left) {
            break;
        }
    }
    // A longer one is cut where the processes need the room.
    let address = width_of(Address).min(ADDRESS_BESIDE);
    if wide {
        for column in PLENTY {
            take(column, address + gap, &mut left);
        }
    }
    // The address gets what is left; where that is more than it needs, the processes get the rest.
    let rest = left.saturating_sub(gap);
    if rest >= address + gap + PROCESSES {
        chosen.extend([(Address, address), (Processes, rest - address - gap)]);
    } else {
        chosen.push((Address, rest));
    }
    chosen.sort_by_key(|(column, _)| ORDER.iter().position(|one| one == column));
    Layout { columns: chosen, gap, wide }
}

/// How many cells of a terminal a text takes.
pub fn text_width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { Span::raw(text).width() }
}

/// What stands in a cell, before it is cut to its width. `width` chooses between longer and shorter words.
pub fn cell(column: Column, item: &Item, look: &Look, wide: bool, width: usize, output: &Output) -> String {
    let object = &item.object;
    let known = |is_known: bool, text: String| if is_known || wide { text } else { UNKNOWN.to_string() };
    match column {
        State => object.state.name().to_string(),
        Size => match (object.semaphores, object.size.known()) {
            (None, None) => UNKNOWN.to_string(),
            _ => view::size_text(object, output),
        },
        Reserved => match (object.semaphores, object.reserved.known()) {
            (None, None) => UNKNOWN.to_string(),
            _ => view::reserved_text(object, output),
        },
        Users => known(object.users().0.known().is_some() || object.semaphores.is_some(), view::users_text(object)),
        Owner => known(object.uid.known().is_some(), item.owner.clone()),
        Mode => object.mode.known().map_or_else(|| "?".repeat(4), |mode| format!("{mode:04o}")),
        Made => match object.creator {
            Creator::Unknown(_) => UNKNOWN.to_string(),
            Creator::Process { .. } => view::creator_word(object),
        },
        Age => object.time.ns().map_or(UNKNOWN.to_string(), |_| view::age_of(object.time, look.now_ns)),
        Kind => object.kind.name().to_string(),
        Change => {
            let long = item.change(true, output);
            if long.len() <= width { long } else { item.change(false, output) }
        }
        Address => item.address.clone(),
        Processes => view::processes_text(&Row { object, objects: &look.objects, now_ns: look.now_ns }),
    }
}

/// A text as this terminal can show it: without UTF-8 it would show other letters.
pub fn shown(text: &str, utf8: bool) -> Cow<'_, str> {
    if utf8 || text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let escaped = |letter: char| match letter.is_ascii() {
        true => letter.to_string(),
        false => letter.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
    };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// A text in exactly so many cells of the terminal. What is too long loses its end, or, an address, its middle: names
/// often differ at both ends.
pub fn fit(text: &str, width: usize, align: Align, middle: bool, utf8: bool) -> String {
    let text = &shown(text, utf8)[..];
    let full = text_width(text);
    if full <= width {
        let blanks = " ".repeat(width - full);
        return match align {
            Align::Left => format!("{text}{blanks}"),
            Align::Right => format!("{blanks}{text}"),
        };
    }
    if width == 0 {
        return String::new();
    }
    let mark = if utf8 { '\u{2026}' } else { '~' };
    let tail = if middle { (width - 1) / 2 } else { 0 };
    let head = taken(text.chars(), width - 1 - tail);
    let end: String = taken(text.chars().rev(), tail).chars().rev().collect();
    let cut = format!("{head}{mark}{end}");
    let blanks = width.saturating_sub(text_width(&cut));
    format!("{cut}{}", " ".repeat(blanks))
}

/// As many letters as so many cells hold.
fn taken(letters: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    letters
        .take_while(|letter| {
            let needs = text_width(letter.encode_utf8(&mut [0; 4]));
            let fits = needs <= left;
            left = left.saturating_sub(needs);
            fits
        })
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::objects::{Object, Objects};
    use crate::top::looks::Figures;
    use crate::top::marks::{self, tests::object, tests::output};

    pub fn look(all: Vec<Object>) -> Look {
        Look {
            number: 1,
            items: marks::merge(None, all, 1),
            objects: Objects::default(),
            figures: Figures {
                room: Err("not there".to_string()),
                segments: Ok(1),
                shmmni: Ok(4096),
                shared: Ok(1 << 20),
                orphans: 0,
                orphan_bytes: 0,
            },
            now_ns: 1_000_000_000_000,
            took: std::time::Duration::ZERO,
        }
    }

    fn sorted(look: &Look, column: Column, descending: bool) -> Vec<&str> {
        let mut rows: Vec<usize> = (0..look.items.len()).collect();
        Sorting { column, descending }.sort(&mut rows, look);
        rows.into_iter().map(|at| &look.items[at].address["posix:/".len()..]).collect()
    }

    #[test]
    fn rows_are_sorted_by_every_column_and_unknown_comes_last() {
        let mut unknown = object("b", 9, 0, 0);
        unknown.size = Fact::Unknown("no permission");
        let look = look(vec![object("d", 4, 10, 1), unknown, object("a", 7, 30, 2), object("c", 5, 20, 2)]);
        assert_eq!(sorted(&look, Size, false), ["d", "c", "a", "b"]);
        assert_eq!(sorted(&look, Size, true), ["a", "c", "d", "b"]);
        assert_eq!(sorted(&look, Users, true), ["a", "c", "d", "b"], "equal ones by address");
        assert_eq!(sorted(&look, Age, true), ["d", "c", "a", "b"], "the oldest first");
        assert_eq!(sorted(&look, Address, true), ["d", "c", "b", "a"]);
        assert_eq!(sorted(&look, State, true), ["b", "a", "c", "d"]);
        for column in ORDER {
            let (mut up, mut down) = (sorted(&look, column, false), sorted(&look, column, true));
            up.sort_unstable();
            down.sort_unstable();
            assert_eq!((&up[..], &down[..]), (&["a", "b", "c", "d"][..], &["a", "b", "c", "d"][..]));
        }
    }

    #[test]
    fn columns_fit_every_width_and_the_important_ones_stay() {
        let look = look(vec![object(&"long".repeat(20), 1, 4096, 1)]);
        let rows: Vec<&Item> = look.items.iter().collect();
        for width in 30..400 {
            let layout = layout(width, &rows, &output());
            let used: usize = layout.columns.iter().map(|(_, width)| width + layout.gap).sum();
            assert!(used <= width, "{width}: {layout:?}");
            assert!(layout.columns.iter().any(|(column, width)| *column == Address && *width >= 16), "{layout:?}");
        }
        let names = |width| layout(width, &rows, &output()).columns.iter().map(|one| one.0).collect::<Vec<_>>();
        assert_eq!(names(79), [State, Size, Reserved, Users, Owner, Age, Change, Address]);
        assert_eq!(names(199), ORDER);
        assert_eq!(names(40), [State, Size, Users, Address]);
    }

    #[test]
    fn texts_take_exactly_their_cells() {
        let left = |text, width| fit(text, width, Align::Left, false, true);
        assert_eq!(left("abc", 5), "abc  ");
        assert_eq!(fit("abc", 5, Align::Right, false, true), "  abc");
        assert_eq!(left("abcdef", 4), "abc\u{2026}");
        assert_eq!(fit("abcdef", 4, Align::Left, false, false), "abc~");
        assert_eq!(fit("posix:/abcdef_17", 11, Align::Left, true, true), "posix\u{2026}ef_17");
        assert_eq!(fit("gr\u{fc}n", 20, Align::Left, false, false), "gr\\xc3\\xbcn         ");
        for text in ["\u{65e5}\u{672c}\u{65e5}\u{672c}", "plain text", "a\u{65e5}b\u{672c}c", ""] {
            for width in 0..12 {
                for middle in [false, true] {
                    assert_eq!(text_width(&fit(text, width, Align::Left, middle, true)), width, "{text} {width}");
                }
            }
        }
    }
}
