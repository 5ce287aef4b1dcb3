//! Puts values together to a tree, as their events come in.

use super::{Entry, Inside, Node, Span};

/// Values so far; the last of `open` is the innermost list or mapping that has not ended.
#[derive(Default)]
pub struct Tree {
    pub root: Option<Node>,
    /// Values of any kind.
    pub values: usize,
    pub list_entries: usize,
    open: Vec<Open>,
}

struct Open {
    span: Span,
    inside: Inside,
    key: Option<(Box<str>, Span)>,
}

impl Tree {
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the next value is a key.
    pub fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { inside: Inside::Map(_), key: None, .. }))
    }

    pub fn keys(&self) -> usize {
        self.entries().len()
    }

    /// Where `key` stands in the innermost mapping.
    pub fn find(&self, key: &str) -> Option<Span> {
        self.entries().iter().find(|entry| *entry.key == *key).map(|entry| entry.at)
    }

    fn entries(&self) -> &[Entry] {
        match self.open.last() {
            Some(Open { inside: Inside::Map(entries), .. }) => entries,
            _ => &[],
        }
    }

    pub fn key(&mut self, key: &str, at: Span) {
        if let Some(open) = self.open.last_mut() {
            open.key = Some((key.into(), at));
        }
    }

    pub fn scalar(&mut self, span: Span) {
        self.value(Node { span, inside: Inside::Scalar });
    }

    pub fn begin_list(&mut self, span: Span) {
        self.open.push(Open { span, inside: Inside::List(Vec::new()), key: None });
    }

    pub fn begin_map(&mut self, span: Span) {
        self.open.push(Open { span, inside: Inside::Map(Vec::new()), key: None });
    }

    pub fn end(&mut self, span: Span) {
        let Some(mut open) = self.open.pop() else { return };
        // A hundred thousand entries of six keys each: room for two more in all of them is a lot.
        match &mut open.inside {
            Inside::List(nodes) => nodes.shrink_to_fit(),
            Inside::Map(entries) => entries.shrink_to_fit(),
            Inside::Scalar => {}
        }
        // Brackets and braces have a text to point at (the parser counts blanks and comments behind them too). An entry
        // with keys is shown at its first one, all else at its key.
        let shown = match &open.inside {
            _ if !open.span.is_empty() => Span { start: open.span.start, end: span.start + 1 },
            Inside::Map(entries) if !self.open.is_empty() => {
                entries.first().map_or(open.span, |entry| entry.at)
            }
            _ => open.span,
        };
        self.value(Node { span: shown, inside: open.inside });
    }

    fn value(&mut self, node: Node) {
        self.values += 1;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { inside: Inside::List(nodes), .. }) => {
                nodes.push(node);
                self.list_entries += 1;
            }
            Some(Open { inside: Inside::Map(entries), key, .. }) => {
                if let Some((key, at)) = key.take() {
                    entries.push(Entry { key, at, value: node });
                }
            }
            Some(_) => {}
        }
    }
}
