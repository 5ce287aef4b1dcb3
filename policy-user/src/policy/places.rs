//! Where everything stands in a policy's text: a second, marked reading of the YAML that also refuses what the language
//! leaves out.

use std::ops::Range;
use std::sync::Arc;

use super::diagnostics::{Diagnostic, Place, Severity, boundary_before};

mod characters;
mod structure;
mod syntax;
mod tree;

pub use structure::{Reading, read, read_parts};
pub use syntax::in_plain_words;

/// Bytes of the text. Policies have at most 16 MiB, so 32 bits are enough and halve the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes of the text that it covers.
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The same bytes of a text that has `by` bytes more in front.
    pub const fn moved(self, by: usize) -> Self {
        Self { start: self.start + by as u32, end: self.end + by as u32 }
    }

    const fn is_empty(self) -> bool {
        self.start >= self.end
    }
}

/// One value of the file.
#[derive(Debug, Default)]
struct Node {
    /// Empty where the value has no text of its own (nothing after the colon, an indented list): then its key is meant.
    span: Span,
    inside: Inside,
}

impl Node {
    fn end(&self) -> u32 {
        let inner = match &self.inside {
            Inside::Scalar => None,
            Inside::List(nodes) => nodes.last().map(Self::end),
            Inside::Map(entries) => entries.last().map(|entry| entry.at.end.max(entry.value.end())),
        };
        self.span.end.max(inner.unwrap_or(0))
    }

    fn move_by(&mut self, by: usize) {
        self.span = self.span.moved(by);
        match &mut self.inside {
            Inside::Scalar => {}
            Inside::List(nodes) => nodes.iter_mut().for_each(|node| node.move_by(by)),
            Inside::Map(entries) => entries.iter_mut().for_each(|entry| {
                entry.at = entry.at.moved(by);
                entry.value.move_by(by);
            }),
        }
    }
}

#[derive(Debug, Default)]
enum Inside {
    #[default]
    Scalar,
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: Box<str>,
    at: Span,
    value: Node,
}

/// All values of a policy's files with their places.
#[derive(Debug)]
pub struct Places<'t> {
    text: &'t str,
    /// One for each file; the policy's own is the first.
    files: Vec<Rooted>,
    /// Byte at which each line starts.
    lines: Vec<u32>,
}

/// The values of one file.
#[derive(Debug, Default)]
struct Rooted {
    name: Option<Arc<str>>,
    /// Byte of the whole text at which the file starts.
    start: u32,
    root: Option<Node>,
}

/// A value, or the place where one is missing.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'p> {
    node: Option<&'p Node>,
    key: Span,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at as u32 + 1)).collect();
        Self { text, files: vec![Rooted::default()], lines }
    }

    /// Whether the policy file holds any value at all.
    pub fn is_empty(&self) -> bool {
        self.files.first().is_none_or(|file| file.root.is_none())
    }

    /// The whole policy. What it lacks is shown at its last key, where it would have to be added.
    pub fn root(&self) -> Spot<'_> {
        self.files.first().map_or(NOWHERE, Rooted::spot)
    }

    /// What the fragments hold.
    pub fn fragments(&self) -> impl Iterator<Item = Spot<'_>> {
        self.files.iter().skip(1).map(Rooted::spot)
    }

    /// Line of a span's first character, from 1, and the fragment that it stands in.
    pub fn line(&self, span: Span) -> (Option<Arc<str>>, usize) {
        let file = self.file(span);
        (file.and_then(|file| file.name.clone()), self.whole_line(span.start) - self.lines_before(file))
    }

    fn file(&self, span: Span) -> Option<&Rooted> {
        self.files.iter().rev().find(|file| file.start <= span.start)
    }

    fn lines_before(&self, file: Option<&Rooted>) -> usize {
        file.map_or(0, |file| self.whole_line(file.start) - 1)
    }

    /// The line among those of all files.
    fn whole_line(&self, byte: u32) -> usize {
        self.lines.partition_point(|start| *start <= byte)
    }

    pub fn place(&self, span: Span) -> Place {
        let (file, line) = self.line(span);
        let line_start = self.lines.get(self.whole_line(span.start) - 1).map_or(0, |start| *start as usize);
        let start = boundary_before(self.text, span.start as usize);
        let before = self.text.get(line_start..start).unwrap_or_default().trim_start_matches('\u{feff}');
        let marked = self.source(span);
        let marked = marked.split(['\r', '\n']).next().unwrap_or_default().trim_end();
        Place { file, line, column: before.chars().count() + 1, bytes: start..start + marked.len() }
    }

    /// A span's text as written, quotes included.
    pub fn source(&self, span: Span) -> &'t str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// An error at a span.
    pub fn error(&self, code: &'static str, span: Span, message: String, help: String) -> Diagnostic {
        let place = Some(self.place(span));
        Diagnostic { severity: Severity::Error, code, message, help, place, related: None }
    }
}

const NOWHERE: Spot<'_> = Spot { node: None, key: Span::new(0, 0) };

impl Rooted {
    fn spot(&self) -> Spot<'_> {
        let node = self.root.as_ref();
        let key = match node.map(|node| &node.inside) {
            Some(Inside::Map(entries)) => entries.last().map(|entry| entry.at),
            _ => node.map(|node| node.span),
        };
        Spot { node, key: key.unwrap_or(Span { start: self.start, end: self.start }) }
    }
}

impl<'p> Spot<'p> {
    /// The value at `name`; where the key is missing, the spot of what lacks it.
    pub fn key(self, name: &str) -> Self {
        match self.entries().iter().find(|entry| *entry.key == *name) {
            Some(entry) => Self { node: Some(&entry.value), key: entry.at },
            None => Self { node: None, key: self.span() },
        }
    }

    /// The list entry at `index`, from 0.
    pub fn at(self, index: usize) -> Self {
        match self.node {
            Some(Node { inside: Inside::List(nodes), .. }) => Self { node: nodes.get(index), key: self.key },
            _ => Self { node: None, key: self.span() },
        }
    }

    /// The keys of a mapping, each with its place, in the order of the file.
    pub fn keys(self) -> impl Iterator<Item = (&'p str, Span)> {
        self.entries().iter().map(|entry| (&*entry.key, entry.at))
    }

    /// Where to point: at the value, or at its key where the value has no text of its own.
    pub fn span(self) -> Span {
        match self.node {
            Some(node) if !node.span.is_empty() => node.span,
            _ => self.key,
        }
    }

    /// How many entries the list has.
    pub fn entries_count(self) -> usize {
        match self.node {
            Some(Node { inside: Inside::List(nodes), .. }) => nodes.len(),
            _ => 0,
        }
    }

    /// The bytes from the value's beginning, for an indented list its first `-`, to the end of all that is in it.
    pub fn extent(self) -> Option<Range<usize>> {
        self.node.map(|node| node.span.start as usize..node.end() as usize)
    }

    /// Where the key of this value stands.
    pub fn key_span(self) -> Span {
        self.key
    }

    fn entries(self) -> &'p [Entry] {
        match self.node {
            Some(Node { inside: Inside::Map(entries), .. }) => entries,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, find: impl Fn(Spot<'_>) -> Span) -> (usize, usize, String) {
        let reading = read(text);
        let place = reading.places.place(find(reading.places.root()));
        (place.line, place.column, text[place.bytes].to_owned())
    }

    const TEXT: &str = "a: [é, ü, \"q\" ] # c\r\nb:\r\n  - x: 1\r\n    y:\r\n  - {x: 2}\r\nend: true\r\n";

    #[test]
    fn values_are_found_by_key_and_index() {
        assert_eq!(shown(TEXT, |root| root.key("a").at(1).span()), (1, 8, "ü".into()));
        assert_eq!(shown(TEXT, |root| root.key("a").at(2).span()), (1, 11, "\"q\"".into()));
        assert_eq!(shown(TEXT, |root| root.key("a").span()), (1, 4, "[é, ü, \"q\" ]".into()));
        assert_eq!(shown(TEXT, |root| root.key("b").at(1).key("x").span()), (5, 9, "2".into()));
        assert_eq!(shown(TEXT, |root| root.key("end").span()), (6, 6, "true".into()));
    }

    #[test]
    fn what_has_no_text_is_shown_at_its_key_or_parent() {
        assert_eq!(shown(TEXT, |root| root.key("b").span()), (2, 1, "b".into()));
        assert_eq!(shown(TEXT, |root| root.key("b").at(0).key("y").span()), (4, 5, "y".into()));
        assert_eq!(shown(TEXT, |root| root.key("b").at(0).key("nothing").span()), (3, 5, "x".into()));
        assert_eq!(shown(TEXT, |root| root.key("nothing").span()), (6, 1, "end".into()));
    }

    #[test]
    fn a_byte_order_mark_moves_no_column() {
        assert_eq!(shown("\u{feff}a: b\n", |root| root.key("a").span()), (1, 4, "b".into()));
    }
}
