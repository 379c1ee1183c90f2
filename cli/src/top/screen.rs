//! What is on the screen and what the keys do: the list, the details of one object, the help. Never waits, never asks
//! the system, changes no object. Next: `columns.rs`, and `terminal.rs`, which brings keys and looks here.

use std::sync::Arc;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::machine::Fact;
use crate::objects::{Kind, State};
use crate::output::{Align, Output};
use crate::view;

use super::columns::{self, Column, Layout, Sorting, fit};
use super::looks::{Ask, Details, Look, Tell};
use super::marks::{Item, Key};

/// Below this nothing can be read.
const LEAST: (usize, usize) = (40, 3);

const KINDS: [Kind; 7] = [Kind::Posix, Kind::Sem, Kind::Sysv, Kind::Semset, Kind::Memfd, Kind::File, Kind::Anon];
const STATES: [State; 6] =
    [State::Live, State::Orphan, State::Unlinked, State::Initialising, State::Poisoned, State::Unknown];

const KEYS: &str = "q:quit ?:help Enter:show /:filter <>:sort r:reverse k:kind t:state a:all p:pause";

const HELP: &str = "\
Keys

  arrows, PgUp, PgDn, Home, End   choose a row
  Enter           all that is known of it, as shmkit show prints it
  s or >, <       sort by the next column, by the one before
  r               reverse the order
  /               show only rows with this text in address, owner, kind,
                  state, or in a process that has it; Enter keeps it,
                  Esc drops it
  k, t            show one kind, one state only; again: the next
  a               also what ls shows only with -a: unlinked, of other mount
                  namespaces, only read
  p or space      pause: nothing is looked at until the next p
  Esc, q          back to the list; in the list q quits
  Ctrl-L          draw everything again

No key removes anything: shmkit rm and shmkit gc do.

Changes are marked for two looks: new, gone, size, users, and a state that
was another one. A row that is gone shows what it was. 'v' before a heading:
sorted by it, the largest first; '^': the smallest first.

RESERVED   memory that it has; of System V segments what the kernel promises
USERS      leases of a region, attaches of a segment, processes that have
           anything else; 3+: there may be more
live       somebody has it
orphan     proved that nobody has it: shmkit gc removes it
unlinked   its name is gone; it ends with its last user
initialising, poisoned, unknown   see Enter, which says why
";

/// What the terminal's side has to do after a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    Quit,
    Suspend,
    Redraw,
}

/// Lines that may be more than the screen has.
#[derive(Debug, Default)]
struct Page {
    lines: Vec<String>,
    top: usize,
}

#[derive(Debug)]
enum Mode {
    List,
    /// The text before it is changed.
    Filter(String),
    Details(Key, String, Page, bool),
    Help(Page),
}

/// What is chosen of kinds or states: what the command line says, or one.
#[derive(Debug)]
struct Choice<T: 'static> {
    given: Vec<T>,
    all: &'static [T],
    /// 0: as given.
    at: usize,
}

impl<T: Copy + PartialEq> Choice<T> {
    fn next(&mut self) {
        self.at = (self.at + 1) % (self.all.len() + 1);
    }

    fn wanted(&self) -> Vec<T> {
        if self.at == 0 { self.given.clone() } else { vec![self.all[self.at - 1]] }
    }
}

/// What to begin with.
pub struct Start {
    pub output: Output,
    pub every: String,
    pub all: bool,
    pub kinds: Vec<Kind>,
    pub states: Vec<State>,
    pub sorting: Sorting,
    /// Whether the terminal shows letters beyond ASCII.
    pub utf8: bool,
}

/// Everything that is shown, and what is asked of the thread that looks.
pub struct Screen {
    start: Start,
    mode: Mode,
    look: Option<Arc<Look>>,
    /// Items of the look, in order.
    rows: Vec<usize>,
    /// How many there are without text, kind and state.
    total: usize,
    sorting: Sorting,
    kinds: Choice<Kind>,
    states: Choice<State>,
    all: bool,
    filter: String,
    paused: bool,
    selected: usize,
    /// What is selected stays selected wherever it moves.
    key: Option<Key>,
    top: usize,
    /// Rows and columns of the last drawing.
    height: usize,
    shown: Vec<Column>,
    pub asks: Vec<Ask>,
}

impl Screen {
    pub fn new(start: Start) -> Screen {
        Screen {
            mode: Mode::List,
            look: None,
            rows: Vec::new(),
            total: 0,
            sorting: start.sorting,
            kinds: Choice { given: start.kinds.clone(), all: &KINDS, at: 0 },
            states: Choice { given: start.states.clone(), all: &STATES, at: 0 },
            all: start.all,
            filter: String::new(),
            paused: false,
            selected: 0,
            key: None,
            top: 0,
            height: 1,
            shown: Vec::new(),
            asks: Vec::new(),
            start,
        }
    }

    pub fn tell(&mut self, told: Tell) -> Result<(), crate::exit::Failure> {
        match told {
            Tell::Look(look) => {
                self.look = Some(look);
                self.arrange();
            }
            Tell::Details(Details { key, text }) => {
                if let Mode::Details(shown, old, _, gone) = &mut self.mode
                    && *shown == key
                {
                    *gone = text.is_none();
                    // What was known last stays on the screen.
                    *old = text.unwrap_or_else(|| std::mem::take(old));
                }
            }
            Tell::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Chooses and sorts the rows again, and finds the selected one.
    fn arrange(&mut self) {
        let Some(look) = &self.look else { return };
        let (kinds, states) = (self.kinds.wanted(), self.states.wanted());
        let text = self.filter.to_lowercase();
        self.total = look.items.iter().filter(|item| item.is_wanted(self.all, &[], &[])).count();
        let wanted = |item: &Item| item.is_wanted(self.all, &kinds, &states) && contains(item, look, &text);
        self.rows = (0..look.items.len()).filter(|at| wanted(&look.items[*at])).collect();
        self.sorting.sort(&mut self.rows, look);
        let place = self.key.and_then(|key| self.rows.iter().position(|at| look.items[*at].key == key));
        self.select(place.unwrap_or(self.selected));
    }

    fn select(&mut self, place: usize) {
        self.selected = place.min(self.rows.len().saturating_sub(1));
        let look = self.look.as_ref();
        // An empty list forgets nothing: a filter may be on its way.
        if let (Some(look), Some(at)) = (look, self.rows.get(self.selected)) {
            self.key = Some(look.items[*at].key);
        }
    }

    fn sort_by(&mut self, step: usize) {
        if self.shown.is_empty() {
            return;
        }
        let count = self.shown.len();
        let place = self.shown.iter().position(|column| *column == self.sorting.column);
        let next = place.map_or(0, |place| (place + step) % count);
        self.sorting = Sorting::by(self.shown[next]);
        self.arrange();
        self.select(0);
    }

    pub fn key(&mut self, key: KeyEvent) -> Action {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Action::Quit,
                KeyCode::Char('z') => Action::Suspend,
                KeyCode::Char('l') => Action::Redraw,
                _ => Action::Nothing,
            };
        }
        match &mut self.mode {
            Mode::List => return self.list_key(key.code),
            Mode::Filter(before) => {
                match key.code {
                    KeyCode::Enter => self.mode = Mode::List,
                    KeyCode::Esc => {
                        self.filter = std::mem::take(before);
                        self.mode = Mode::List;
                    }
                    KeyCode::Backspace => drop(self.filter.pop()),
                    KeyCode::Char(letter) if !letter.is_control() => self.filter.push(letter),
                    _ => return Action::Nothing,
                }
                self.arrange();
            }
            Mode::Details(..) | Mode::Help(_) if matches!(key.code, KeyCode::Esc | KeyCode::Char('q')) => {
                self.mode = Mode::List;
                self.asks.push(Ask::Details(None));
            }
            Mode::Details(_, _, page, _) | Mode::Help(page) => {
                let last = page.lines.len().saturating_sub(self.height);
                page.top = moved(key.code, page.top, self.height, last).unwrap_or(page.top);
                if matches!(key.code, KeyCode::Char('p' | ' ')) {
                    self.pause();
                }
            }
        }
        Action::Nothing
    }

    fn pause(&mut self) {
        self.paused = !self.paused;
        self.asks.push(Ask::Pause(self.paused));
    }

    fn list_key(&mut self, code: KeyCode) -> Action {
        match code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => {
                self.mode = Mode::Help(Page { lines: HELP.lines().map(str::to_string).collect(), top: 0 });
            }
            KeyCode::Char('/') => self.mode = Mode::Filter(self.filter.clone()),
            KeyCode::Esc if !self.filter.is_empty() => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char('s' | '>') => self.sort_by(1),
            KeyCode::Char('<') => self.sort_by(self.shown.len().saturating_sub(1)),
            KeyCode::Char('r') => {
                self.sorting.descending = !self.sorting.descending;
                self.arrange();
                self.select(0);
            }
            KeyCode::Char('k') => {
                self.kinds.next();
                self.arrange();
            }
            KeyCode::Char('t') => {
                self.states.next();
                self.arrange();
            }
            KeyCode::Char('a') => {
                self.all = !self.all;
                self.arrange();
            }
            KeyCode::Char('p' | ' ') => self.pause(),
            KeyCode::Enter => {
                if let Some(item) = self.selected_item() {
                    let (key, address) = (item.key, item.address.clone());
                    self.mode = Mode::Details(key, format!("address  {address}\n"), Page::default(), false);
                    self.asks.push(Ask::Details(Some(key)));
                }
            }
            code => {
                let last = self.rows.len().saturating_sub(1);
                if let Some(place) = moved(code, self.selected, self.height, last) {
                    self.select(place);
                }
            }
        }
        Action::Nothing
    }

    fn selected_item(&self) -> Option<&Item> {
        let at = self.rows.get(self.selected)?;
        self.look.as_ref().map(|look| &look.items[*at])
    }

    fn style(&self, style: Style) -> Style {
        if self.start.output.color { style } else { Style { fg: None, bg: None, ..style } }
    }

    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let (width, height) = (usize::from(area.width), usize::from(area.height));
        let lines = if width < LEAST.0 || height < LEAST.1 {
            let text = format!("too small: {width}x{height}, {}x{} needed", LEAST.0, LEAST.1);
            vec![Line::raw(fit(&text, width, Align::Left, false, self.start.utf8))]
        } else {
            match self.mode {
                Mode::List | Mode::Filter(_) => self.list(width, height),
                Mode::Details(..) | Mode::Help(_) => self.page(width, height),
            }
        };
        frame.render_widget(Paragraph::new(lines), area);
        if let Mode::Filter(_) = self.mode
            && width >= LEAST.0
            && height >= LEAST.1
        {
            let column = (1 + columns::text_width(&self.filter)).min(width - 1);
            frame.set_cursor_position((column as u16, area.height - 1));
        }
    }

    /// A page of text, with a line of keys below.
    fn page(&mut self, width: usize, height: usize) -> Vec<Line<'static>> {
        self.height = height - 2;
        let utf8 = self.start.utf8;
        let bold = Style::new().add_modifier(Modifier::REVERSED);
        let (title, page) = match &mut self.mode {
            Mode::Details(_, text, page, gone) => {
                page.lines = text.lines().flat_map(|line| wrapped(line, width, utf8)).collect();
                (if *gone { "It is gone. This is what it was." } else { "Details" }, page)
            }
            Mode::Help(page) => ("Help", page),
            Mode::List | Mode::Filter(_) => return Vec::new(),
        };
        page.top = page.top.min(page.lines.len().saturating_sub(self.height));
        let end = (page.top + self.height).min(page.lines.len());
        let place = match page.lines.len() > self.height {
            true => format!(", lines {} to {end} of {}", page.top + 1, page.lines.len()),
            false => String::new(),
        };
        let paused = if self.paused { ", PAUSED" } else { "" };
        let title = fit(&format!("{title}{place}{paused}"), width, Align::Left, false, utf8);
        let mut lines = vec![Line::styled(title, bold)];
        lines
            .extend(page.lines[page.top..end].iter().map(|line| Line::raw(fit(line, width, Align::Left, false, utf8))));
        lines.resize(height - 1, Line::default());
        lines.push(Line::raw(fit(
            "q or Esc:back arrows, PgUp, PgDn, Home, End:scroll p:pause",
            width,
            Align::Left,
            false,
            utf8,
        )));
        lines
    }

    fn list(&mut self, width: usize, height: usize) -> Vec<Line<'static>> {
        let utf8 = self.start.utf8;
        let plain = |text: &str| Line::raw(fit(text, width, Align::Left, false, utf8));
        let footer = match &self.mode {
            // The end of it is where letters come.
            Mode::Filter(_) => {
                let skip = columns::text_width(&self.filter).saturating_sub(width - 2);
                plain(&format!("/{}", self.filter.chars().skip(skip).collect::<String>()))
            }
            _ => plain(KEYS),
        };
        let Some(look) = self.look.clone() else {
            let mut lines = vec![plain("shmkit top: looking ...")];
            lines.resize(height - 1, Line::default());
            lines.push(footer);
            return lines;
        };
        let head = self.head(&look, width);
        // A small terminal keeps its lines for rows.
        let head_lines = if height >= 10 { head.len() } else { usize::from(height >= 6) };
        self.height = height - 2 - head_lines;
        if self.selected < self.top {
            self.top = self.selected;
        }
        self.top = self.top.max((self.selected + 1).saturating_sub(self.height));
        self.top = self.top.min(self.rows.len().saturating_sub(self.height));
        let mut lines: Vec<Line<'static>> = head.into_iter().take(head_lines).collect();
        let items: Vec<&Item> = self.rows.iter().map(|at| &look.items[*at]).collect();
        let layout = columns::layout(width, &items, &self.start.output);
        self.shown = layout.columns.iter().map(|(column, _)| *column).collect();
        lines.push(self.heading(&layout, width));
        let end = (self.top + self.height).min(items.len());
        for (place, item) in items[self.top..end].iter().enumerate() {
            lines.push(self.row(item, &look, &layout, self.top + place == self.selected));
        }
        if items.is_empty() {
            let why = if self.total == 0 { "there is nothing" } else { "nothing of this filter, kind and state" };
            lines.push(plain(&format!(" ({why})")));
        }
        lines.resize(height - 1, Line::default());
        lines.push(footer);
        lines
    }

    /// What stands above the list. The first line matters most.
    fn head(&self, look: &Look, width: usize) -> Vec<Line<'static>> {
        let output = &self.start.output;
        let mut first = format!("shmkit top: {} of {} objects", self.rows.len(), self.total);
        if self.rows.len() == self.total {
            first = format!("shmkit top: {} object{}", self.total, if self.total == 1 { "" } else { "s" });
        }
        let names = |all: Vec<&'static str>| all.join(",");
        let (kinds, states) = (self.kinds.wanted(), self.states.wanted());
        if !kinds.is_empty() {
            first.push_str(&format!(", kind {}", names(kinds.iter().map(|kind| kind.name()).collect())));
        }
        if !states.is_empty() {
            first.push_str(&format!(", state {}", names(states.iter().map(|state| state.name()).collect())));
        }
        if !self.filter.is_empty() {
            first.push_str(&format!(", with \"{}\"", self.filter));
        }
        if self.all {
            first.push_str(", all");
        }
        let mut right = match self.rows.len() > self.height {
            true => {
                format!("{}-{} of {}  ", self.top + 1, (self.top + self.height).min(self.rows.len()), self.rows.len())
            }
            false => String::new(),
        };
        right.push_str(&if self.paused { "PAUSED".to_string() } else { format!("every {}", self.start.every) });
        if look.took.as_secs() > 0 {
            right.push_str(&format!(", a look takes {:.1}s", look.took.as_secs_f64()));
        }
        let space = width.saturating_sub(right.len() + 1);
        let first = Line::from(vec![
            Span::raw(format!("{} ", fit(&first, space, Align::Left, false, self.start.utf8))),
            Span::styled(right, Style::new().add_modifier(Modifier::BOLD)),
        ]);
        let figures = &look.figures;
        let number = |fact: &Fact<u64>| fact.as_ref().map_or_else(|why| view::unknown(why), u64::to_string);
        let shared = figures.shared.as_ref().map_or_else(|why| view::unknown(why), |bytes| output.size(*bytes));
        let sysv = format!(
            "System V  {} of {} segments   Shmem of the machine {shared}   orphans {}{}",
            number(&figures.segments),
            number(&figures.shmmni),
            figures.orphans,
            if figures.orphans == 0 { String::new() } else { format!(" ({})", output.size(figures.orphan_bytes)) },
        );
        let cut = |text: &str| fit(text, width, Align::Left, false, self.start.utf8);
        let mut lines = vec![first, self.room(look, width), Line::raw(cut(&sysv))];
        if let Some(partial) = view::partial(&look.objects) {
            lines.push(Line::styled(cut(&partial), self.style(Style::new().fg(Color::Yellow))));
        }
        lines
    }

    /// What is used of the file system of objects, with a bar.
    fn room(&self, look: &Look, width: usize) -> Line<'static> {
        let output = &self.start.output;
        let cut = |text: &str, width| fit(text, width, Align::Left, false, self.start.utf8);
        match &look.figures.room {
            Err(why) => Line::raw(cut(&format!("/dev/shm  {}", view::unknown(why)), width)),
            Ok(room) if room.bytes == 0 => Line::raw(cut("/dev/shm  has no bound", width)),
            Ok(room) => {
                let used = room.bytes.saturating_sub(room.free);
                let cells = (width / 4).clamp(8, 50);
                let (bar, percent) = bar(used, room.bytes, cells);
                let color = match percent {
                    90.. => Color::Red,
                    75.. => Color::Yellow,
                    _ => Color::Green,
                };
                let inodes = match room.inodes {
                    0 => String::new(),
                    all => format!("   {} of {all} inodes", all.saturating_sub(room.free_inodes)),
                };
                let (used, all) = (output.size(used), output.size(room.bytes));
                let text = format!("] {used} of {all} used, {percent}%{inodes}");
                Line::from(vec![
                    Span::raw("/dev/shm  ["),
                    Span::styled(bar, self.style(Style::new().fg(color))),
                    Span::raw(cut(&text, width.saturating_sub(11 + cells))),
                ])
            }
        }
    }

    fn heading(&self, layout: &Layout, width: usize) -> Line<'static> {
        let mut text = String::new();
        for (column, cells) in &layout.columns {
            let name = fit(&column.name().to_uppercase(), *cells, column.align(), false, self.start.utf8);
            let mark = match self.sorting.column == *column {
                true if self.sorting.descending => "v",
                true => "^",
                false => " ",
            };
            // The mark stands right before the name, also where that stands at the right.
            let (blanks, name) = name.split_at(name.len() - name.trim_start().len());
            text.push_str(&format!("{:gap$}{blanks}{mark}{name}", "", gap = layout.gap - 1));
        }
        let text = fit(&text, width, Align::Left, false, self.start.utf8);
        Line::styled(text, Style::new().add_modifier(Modifier::REVERSED))
    }

    fn row(&self, item: &Item, look: &Look, layout: &Layout, selected: bool) -> Line<'static> {
        let mut spans = Vec::new();
        let marks = &item.marks;
        for (at, (column, cells)) in layout.columns.iter().enumerate() {
            let text = columns::cell(*column, item, look, layout.wide, *cells, &self.start.output);
            let text = fit(&text, *cells, column.align(), *column == Column::Address, self.start.utf8);
            let before = if at == 0 && selected { ">" } else { " " };
            spans.push(Span::raw(format!("{before:gap$}", gap = layout.gap)));
            let bold = match column {
                Column::Size => marks.size.is_some(),
                Column::Users => marks.users.is_some(),
                Column::State => marks.state.is_some(),
                Column::Change => true,
                _ => marks.new.is_some(),
            };
            let mut style = Style::new();
            if *column == Column::State {
                style = self.style(style.fg(color_of(item.object.state)));
            }
            if bold && marks.gone.is_none() {
                style = style.add_modifier(Modifier::BOLD);
            }
            spans.push(Span::styled(text, style));
        }
        let mut line = Line::from(spans);
        if marks.gone.is_some() {
            line = line.style(Style::new().add_modifier(Modifier::DIM));
        }
        if selected {
            line = line.patch_style(Style::new().add_modifier(Modifier::REVERSED));
        }
        line
    }
}

fn color_of(state: State) -> Color {
    match state {
        State::Live => Color::Green,
        State::Orphan => Color::Yellow,
        State::Poisoned => Color::Red,
        State::Unlinked => Color::Cyan,
        State::Initialising => Color::Blue,
        State::Unknown => Color::Reset,
    }
}

/// Where a key of movement leads from a place; `None` for other keys.
fn moved(code: KeyCode, place: usize, page: usize, last: usize) -> Option<usize> {
    let place = match code {
        KeyCode::Up => place.saturating_sub(1),
        KeyCode::Down => place + 1,
        KeyCode::PageUp => place.saturating_sub(page),
        KeyCode::PageDown => place + page,
        KeyCode::Home => 0,
        KeyCode::End => last,
        _ => return None,
    };
    Some(place.min(last))
}

/// Whether a row has this text, which is in small letters.
fn contains(item: &Item, look: &Look, text: &str) -> bool {
    let has = |part: &str| part.to_lowercase().contains(text);
    text.is_empty()
        || has(&item.address)
        || has(&item.owner)
        || has(item.object.kind.name())
        || has(item.object.state.name())
        || item.object.uses.iter().any(|one| one.pid.to_string() == text || has(look.objects.command(one.pid)))
}

/// A bar of so many cells, and what it shows in percent. Full only when it is.
fn bar(used: u64, all: u64, cells: usize) -> (String, u64) {
    let part = |of: u64| (u128::from(used.min(all)) * u128::from(of) / u128::from(all.max(1))) as u64;
    let mut filled = part(cells as u64) as usize;
    if used > 0 && filled == 0 {
        filled = 1;
    }
    (format!("{}{}", "#".repeat(filled), "-".repeat(cells.saturating_sub(filled))), part(100))
}

/// A line in pieces that fit, broken at blanks where that is possible. Pieces after the first begin below the second
/// column, where the line has one.
fn wrapped(line: &str, width: usize, utf8: bool) -> Vec<String> {
    let line = columns::shown(line, utf8);
    let second = line.find("  ").map_or(0, |gap| gap + line[gap..].len() - line[gap..].trim_start().len());
    let inset = if (1..=16).contains(&second) && line.is_char_boundary(second) { second } else { 4 };
    if columns::text_width(&line) <= width || width <= 2 * inset {
        return vec![line.into_owned()];
    }
    let mut pieces: Vec<String> = Vec::new();
    let mut rest = &line[..];
    while !rest.is_empty() {
        let before = " ".repeat(if pieces.is_empty() { 0 } else { inset });
        let mut cells = width - before.len();
        let over = rest.char_indices().find(|(_, letter)| {
            let needs = columns::text_width(letter.encode_utf8(&mut [0; 4]));
            let over = needs > cells;
            cells = cells.saturating_sub(needs);
            over
        });
        let mut end = over.map_or(rest.len(), |(at, _)| at);
        if over.is_some()
            && let Some(blank) = rest[..end].rfind(' ').filter(|blank| *blank > end / 2)
        {
            end = blank + 1;
        }
        pieces.push(format!("{before}{}", rest[..end].trim_end()));
        rest = rest[end..].trim_start();
    }
    pieces
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::top::columns::tests::look;
    use crate::top::marks::tests::{object, output};

    fn screen(count: u64) -> Screen {
        let mut screen = Screen::new(Start {
            output: output(),
            every: "1s".to_string(),
            all: false,
            kinds: Vec::new(),
            states: Vec::new(),
            sorting: Sorting::by(Column::Address),
            utf8: true,
        });
        let all = (0..count).map(|at| object(&format!("n{at:05}"), at + 1, at, at % 2)).collect();
        screen.tell(Tell::Look(Arc::new(look(all)))).expect("it is a look");
        screen
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it is memory");
        terminal.draw(|frame| screen.draw(frame)).expect("it is memory");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string();
        (0..height).map(line).collect()
    }

    fn press(screen: &mut Screen, code: KeyCode) -> Action {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn selected(lines: &[String]) -> &str {
        let all: Vec<_> = lines.iter().filter(|line| line.starts_with('>')).collect();
        assert_eq!(all.len(), 1, "one row is selected: {lines:#?}");
        all[0].split_whitespace().last().expect("a row has an address")
    }

    #[test]
    fn every_size_can_be_drawn_in_every_mode() {
        for code in [KeyCode::Esc, KeyCode::Char('?'), KeyCode::Enter, KeyCode::Char('/')] {
            let mut screen = screen(30);
            press(&mut screen, code);
            for width in [1, 2, 10, 39, 40, 41, 80, 119, 120, 200, 500] {
                for height in [1, 2, 3, 4, 5, 6, 9, 10, 24, 50] {
                    let lines = drawn(&mut screen, width, height);
                    let small = width < 40 || height < 3;
                    assert_eq!(lines[0].starts_with("too small"), small && width > 9, "{width}x{height}: {lines:#?}");
                }
            }
        }
    }

    #[test]
    fn keys_move_through_ten_thousand_rows() {
        let mut screen = screen(10_000);
        assert_eq!(selected(&drawn(&mut screen, 80, 24)), "posix:/n00000");
        for (code, name) in [
            (KeyCode::Down, "posix:/n00001"),
            (KeyCode::PageDown, "posix:/n00020"),
            (KeyCode::End, "posix:/n09999"),
            (KeyCode::PageDown, "posix:/n09999"),
            (KeyCode::Up, "posix:/n09998"),
            (KeyCode::Home, "posix:/n00000"),
            (KeyCode::PageUp, "posix:/n00000"),
        ] {
            press(&mut screen, code);
            assert_eq!(selected(&drawn(&mut screen, 80, 24)), name, "{code:?}");
        }
        press(&mut screen, KeyCode::End);
        assert_eq!(selected(&drawn(&mut screen, 80, 5)), "posix:/n09999", "also after a resize");
    }

    #[test]
    fn a_selected_object_stays_selected_when_others_come_before_it() {
        let mut screen = screen(5);
        press(&mut screen, KeyCode::Down);
        assert_eq!(selected(&drawn(&mut screen, 80, 24)), "posix:/n00001");
        let more = vec![object("a", 77, 1, 1), object("n00000", 1, 0, 0), object("n00001", 2, 1, 1)];
        screen.tell(Tell::Look(Arc::new(look(more)))).expect("it is a look");
        assert_eq!(selected(&drawn(&mut screen, 80, 24)), "posix:/n00001");
        screen.tell(Tell::Look(Arc::new(look(Vec::new())))).expect("it is a look");
        let lines = drawn(&mut screen, 80, 24);
        assert!(lines.iter().any(|line| line.contains("(there is nothing)")), "{lines:#?}");
    }

    #[test]
    fn text_and_state_choose_rows() {
        let mut screen = screen(20);
        for code in ['/', 'N', '0', '0', '0', '1'] {
            press(&mut screen, KeyCode::Char(code));
        }
        let lines = drawn(&mut screen, 80, 24);
        assert!(lines[0].starts_with("shmkit top: 10 of 20 objects, with \"N0001\""), "{lines:#?}");
        assert_eq!(lines[23], "/N0001");
        press(&mut screen, KeyCode::Enter);
        press(&mut screen, KeyCode::Char('t'));
        assert!(drawn(&mut screen, 80, 24)[0].starts_with("shmkit top: 5 of 20 objects, state live, with"));
        assert_eq!(press(&mut screen, KeyCode::Esc), Action::Nothing);
        assert!(drawn(&mut screen, 80, 24)[0].starts_with("shmkit top: 10 of 20 objects, state live "));
        assert_eq!(press(&mut screen, KeyCode::Char('q')), Action::Quit);
    }

    #[test]
    fn the_bar_is_full_only_when_all_is_used() {
        assert_eq!(bar(0, 100, 10), ("----------".to_string(), 0));
        assert_eq!(bar(1, 1000, 10), ("#---------".to_string(), 0));
        assert_eq!(bar(99, 100, 10), ("#########-".to_string(), 99));
        assert_eq!(bar(100, 100, 10), ("##########".to_string(), 100));
        assert_eq!(bar(u64::MAX, u64::MAX, 10).1, 100);
    }

    #[test]
    fn long_lines_are_wrapped_and_nothing_is_lost() {
        assert_eq!(wrapped("short", 20, true), ["short"]);
        assert_eq!(wrapped("one two three four five six", 16, true), ["one two three", "    four five", "    six"]);
        assert_eq!(wrapped("name  one two three", 14, true), ["name  one two", "      three"]);
        let long = "x".repeat(100);
        let pieces = wrapped(&long, 20, true);
        assert!(pieces.iter().all(|piece| piece.len() <= 20), "{pieces:?}");
        assert_eq!(pieces.iter().map(|piece| piece.trim()).collect::<String>(), long);
        let wide = "\u{65e5}".repeat(30);
        assert_eq!(wrapped(&wide, 21, true).iter().map(|piece| piece.trim()).collect::<String>(), wide);
    }
}
