//! Reads YAML events into a tree of places, refusing everything that makes a file read differently from how it looks.

use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::super::bundle::Parts;
use super::super::diagnostics::{Diagnostic, quoted};
use super::characters::{Cursor, odd_characters};
use super::syntax::{in_plain_words, quoted_text};
use super::tree::Tree;
use super::{Places, Rooted, Span};

/// The deepest value of the language is four levels down (`mail_servers`, entry, `to`, network).
const MAX_DEPTH: usize = 8;
/// No mapping of the language has a third of this; the search for duplicates is linear.
const MAX_KEYS: usize = 64;
/// List entries of the whole file; more would not fit the kernel's tables.
const MAX_LIST_ENTRIES: usize = 1_000_000;
/// Values of any kind: room for every list entry beside a hundred thousand exceptions, and a bound for memory.
const MAX_VALUES: usize = 2_000_000;
/// More of one kind of structural error helps nobody.
const MAX_PROBLEMS: usize = 100;

/// The marked reading of a text.
#[derive(Debug)]
pub struct Reading<'t> {
    pub places: Places<'t>,
    pub problems: Vec<Diagnostic>,
    /// Whether the values may be read; not with aliases, tags or a syntax error in it.
    pub readable: bool,
}

/// Reads `text`; stops at the first thing after which nothing more can be said.
pub fn read(text: &str) -> Reading<'_> {
    let mut reader = Reader {
        text,
        places: Places::new(text),
        problems: Vec::new(),
        readable: true,
        tree: Tree::default(),
        documents: 0,
        cursor: Cursor::new(text),
    };
    reader.check_characters();
    if reader.readable && reader.read_events().is_err() {
        reader.readable = false;
    }
    let root = reader.tree.root;
    reader.places.files = vec![Rooted { root, ..Rooted::default() }];
    Reading { places: reader.places, problems: reader.problems, readable: reader.readable }
}

/// Reads a text of several files, each for itself: places are those of the whole text, their lines those of the file.
pub fn read_parts<'t>(text: &'t str, parts: &Parts<'t>) -> Reading<'t> {
    if !parts.complete {
        return read(text);
    }
    let mut whole = Reading { places: Places::new(text), problems: Vec::new(), readable: true };
    whole.places.files.clear();
    for part in &parts.list {
        let name: Option<Arc<str>> = part.file.map(Arc::from);
        let Reading { places, problems, readable } = read(part.text);
        whole.readable &= readable;
        whole.problems.extend(problems.into_iter().map(|problem| problem.moved(part.start, name.as_ref())));
        let mut root = places.files.into_iter().next().and_then(|file| file.root);
        if let Some(root) = &mut root {
            root.move_by(part.start);
        }
        whole.places.files.push(Rooted { name, start: part.start as u32, root });
    }
    whole
}

/// Marks that the reading must end; the reason is in the problems.
struct Stop;

struct Reader<'t> {
    text: &'t str,
    places: Places<'t>,
    problems: Vec<Diagnostic>,
    readable: bool,
    tree: Tree,
    documents: usize,
    cursor: Cursor<'t>,
}

impl Reader<'_> {
    fn problem(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(self.places.error(code, span, message.into(), help.into()));
        }
    }

    /// A problem after which the values must not be read, though the reading of places can go on.
    fn refuse(&mut self, code: &'static str, span: Span, message: &str, help: &str) {
        self.readable = false;
        self.problem(code, span, message, help);
    }

    fn stop(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: &str,
    ) -> Result<(), Stop> {
        self.problem(code, span, message, help);
        Err(Stop)
    }

    fn check_characters(&mut self) {
        for (span, c) in odd_characters(self.text).take(MAX_PROBLEMS) {
            let message = format!("the character U+{:04X} may not stand in a policy", u32::from(c));
            self.refuse("odd-character", span, &message, "remove it; it is invisible in many editors");
        }
    }

    fn read_events(&mut self) -> Result<(), Stop> {
        for event in Parser::new_from_str(self.text) {
            match event {
                Ok((event, span)) => {
                    let start = self.cursor.byte(span.start.index());
                    let end = self.cursor.byte(span.end.index()).max(start);
                    self.event(event, Span::new(start, end))?;
                }
                Err(error) => self.syntax_error(&error)?,
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) => self.document(span),
            Event::Alias(_) => {
                let message = "YAML aliases are not part of the language";
                self.refuse("alias", span, message, "write the value out");
                self.scalar("", ScalarStyle::Plain, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(anchor, tag.is_some(), span);
                self.scalar(&text, style, span)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_properties(anchor, tag.is_some(), span);
                self.check_nesting(span)?;
                self.tree.begin_list(span);
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.check_properties(anchor, tag.is_some(), span);
                self.check_nesting(span)?;
                self.tree.begin_map(span);
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.tree.end(span);
                self.check_size(span)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, span: Span) -> Result<(), Stop> {
        self.documents += 1;
        if self.documents > 1 {
            let help = "remove the line `---` and merge what follows it, or keep it in a file of its own";
            return self.stop(
                "several-documents",
                span,
                "a file holds one policy, a second one starts here",
                help,
            );
        }
        let before = self.text.get(..span.start as usize).unwrap_or_default();
        let mut lines = before.split_inclusive('\n').scan(0, |at, line| {
            *at += line.len();
            Some((*at - line.len(), line))
        });
        if let Some((at, line)) = lines.find(|(_, line)| line.trim_start_matches('\u{feff}').starts_with('%'))
        {
            let span = Span::new(at, at + line.len());
            self.refuse("directive", span, "YAML directives are not part of the language", "remove the line");
        }
        Ok(())
    }

    fn check_properties(&mut self, anchor: usize, tagged: bool, span: Span) {
        if anchor != 0 {
            let help = "remove the `&…` and write the value out where it is needed";
            self.refuse("anchor", span, "YAML anchors are not part of the language", help);
        }
        if tagged {
            self.refuse("tag", span, "YAML tags are not part of the language", "remove the `!…`");
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Stop> {
        let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        let span = if quoted { quoted_text(self.text, span) } else { span };
        if self.tree.expects_key() {
            self.check_key(text, style, span)?;
            self.tree.key(text, span);
        } else {
            self.tree.scalar(span);
        }
        self.check_size(span)
    }

    fn check_key(&mut self, text: &str, style: ScalarStyle, span: Span) -> Result<(), Stop> {
        if text == "<<" && style == ScalarStyle::Plain {
            self.refuse(
                "merge-key",
                span,
                "YAML merge keys are not part of the language",
                "write the keys out",
            );
            return Ok(());
        }
        if self.tree.keys() == MAX_KEYS {
            let message = format!("more than {MAX_KEYS} keys in one mapping");
            let help = "see policies/README.md for the keys of the language";
            return self.stop("too-many-keys", span, message, help);
        }
        if let Some(first) = self.tree.find(text) {
            let related = (self.places.place(first), "first written here".to_owned());
            let message = format!("the key {} is written twice", quoted(text));
            self.problem("duplicate-key", span, message, "keep one of the two");
            if let Some(problem) = self.problems.last_mut() {
                problem.related = Some(related);
            }
        }
        Ok(())
    }

    fn check_nesting(&mut self, span: Span) -> Result<(), Stop> {
        if self.tree.expects_key() {
            let help = "write a key of the language and a colon";
            return self.stop("key-not-text", span, "a list or mapping can't be a key", help);
        }
        if self.tree.depth() == MAX_DEPTH {
            return self.too_deep(span);
        }
        Ok(())
    }

    fn too_deep(&mut self, span: Span) -> Result<(), Stop> {
        let message = format!("values are nested more than {MAX_DEPTH} deep");
        self.stop("too-deep", span, message, "see policies/README.md for the shape of a policy")
    }

    fn check_size(&mut self, span: Span) -> Result<(), Stop> {
        let (what, most) = if self.tree.list_entries > MAX_LIST_ENTRIES {
            ("list entries", MAX_LIST_ENTRIES)
        } else if self.tree.values > MAX_VALUES {
            ("values", MAX_VALUES)
        } else {
            return Ok(());
        };
        let help = "merge neighbouring networks into larger ones";
        self.stop("too-many-values", span, format!("the file has more than {most} {what}"), help)
    }

    fn syntax_error(&mut self, error: &ScanError) -> Result<(), Stop> {
        let at = self.cursor.byte(error.marker().index());
        if error.info().contains("recursion") {
            return self.too_deep(Span::new(at, at));
        }
        let (span, message, help) = in_plain_words(self.text, at, error.info());
        self.stop("syntax", span, message, help)
    }
}
