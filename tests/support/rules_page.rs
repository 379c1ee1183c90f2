//! Reads docs/rules.md: one section a rule, two snippets a section, the list of exceptions.
//! Never judges what is written there; it only says where the page has another shape than this.

use std::path::Path;

/// The heading of the section that lists the exceptions.
const EXCEPTIONS: &str = "Where the checked calls differ from Linux";

/// A fenced example.
#[derive(Clone, Default)]
pub struct Snippet {
    /// The line of the page on which its code begins, from 1.
    pub line: usize,
    /// The body of a function.
    pub code: String,
}

/// What the page says of one rule.
#[derive(Default)]
pub struct Section {
    /// The id in the heading.
    pub id: String,
    /// The line of the heading, from 1.
    pub line: usize,
    /// The line in fixed form below the heading.
    pub facts: String,
    /// The words between that line and the snippets.
    pub words: String,
    /// The snippet that breaks the rule.
    pub fails: Snippet,
    /// The snippet that does not.
    pub mended: Snippet,
    fences: Vec<String>,
}

/// The whole page.
#[derive(Default)]
pub struct Page {
    /// In the order of the page.
    pub sections: Vec<Section>,
    /// The ids in the list of exceptions, in its order.
    pub exceptions: Vec<String>,
    /// The chapters, in the order of the page.
    pub chapters: Vec<String>,
    /// The chapters that the contents lead to.
    pub contents: Vec<String>,
    /// Whether the last section is still being read; it ends where a chapter begins.
    in_section: bool,
}

impl Page {
    /// Reads the page of this repository.
    pub fn read() -> Page {
        Page::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md"))
    }

    /// Reads a page.
    pub fn at(path: &Path) -> Page {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page::parse(&text)
    }

    fn parse(text: &str) -> Page {
        let mut page = Page::default();
        // The info string of the fence that is open.
        let mut fence: Option<String> = None;
        for (index, line) in text.lines().enumerate() {
            match (&fence, line.strip_prefix("```")) {
                (Some(info), None) => page.take_code(info, index + 1, line),
                (Some(_), Some(_)) => fence = None,
                (None, Some(info)) => {
                    fence = Some(info.to_string());
                    if let Some(section) = page.section() {
                        section.fences.push(info.to_string());
                    }
                }
                (None, None) => page.take_words(index + 1, line),
            }
        }
        page
    }

    fn section(&mut self) -> Option<&mut Section> {
        if self.in_section { self.sections.last_mut() } else { None }
    }

    fn take_words(&mut self, line: usize, text: &str) {
        if let Some(title) = text.strip_prefix("## ") {
            self.chapters.push(title.to_string());
            self.in_section = false;
        } else if let Some(id) = text.strip_prefix("### ") {
            self.in_section = true;
            self.sections.push(Section { id: id.to_string(), line, ..Section::default() });
        } else if let Some(section) = self.section() {
            match section.facts.is_empty() {
                true => section.facts.push_str(text),
                false => section.words.extend([text, "\n"]),
            }
        } else if self.chapters.last().is_some_and(|title| title == EXCEPTIONS) {
            let id = text.strip_prefix("* `").and_then(|rest| rest.split_once("`: "));
            self.exceptions.extend(id.map(|(id, _)| id.to_string()));
        } else if let Some((title, _)) = text.strip_prefix("* [").and_then(|rest| rest.split_once("](#")) {
            self.contents.push(title.to_string());
        }
    }

    fn take_code(&mut self, info: &str, line: usize, text: &str) {
        let snippet = match (info, self.section()) {
            ("c fails", Some(section)) => &mut section.fails,
            ("c mended", Some(section)) => &mut section.mended,
            _ => return,
        };
        if snippet.code.is_empty() {
            snippet.line = line;
        }
        snippet.code.extend([text, "\n"]);
    }

    /// Where the page has another shape than one section a rule and two snippets a section.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints: Vec<String> = self.sections.iter().flat_map(Section::complaints).collect();
        // Two chapters come before the contents, and the contents are one.
        let listed = self.chapters.iter().skip_while(|title| *title != "Contents").skip(1);
        if !listed.eq(&self.contents) {
            complaints.push(format!("the contents lead to {:?}, the chapters are {:?}", self.contents, self.chapters));
        }
        complaints
    }
}

impl Section {
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut expect = |good: bool, what: &str| {
            if !good {
                complaints.push(format!("docs/rules.md:{}: {}: {what}", self.line, self.id));
            }
        };
        expect(self.fences == ["c fails", "c mended"], "the snippets are not one that fails and one that is mended");
        for snippet in [&self.fails, &self.mended] {
            expect((1..=10).contains(&snippet.code.lines().count()), "a snippet is empty or longer than ten lines");
            expect(snippet.code.lines().all(|line| line.len() <= 100), "a line of a snippet is longer than 100 bytes");
        }
        expect(self.words.trim().ends_with(['.', ')']), "the words end before their sentence");
        complaints
    }
}
