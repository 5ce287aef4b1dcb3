//! What is wrong with a policy file and where: the diagnostic itself and its rendering for people.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::{Serialize, Serializer};

use super::bundle;

/// Whether a diagnostic refuses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// A stretch of the policy's text, and its first character's line and column, both from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The fragment that line and column are of, as seen from the policy's directory; none for the policy file itself.
    pub file: Option<Arc<str>>,
    pub line: usize,
    pub column: usize,
    /// Bytes of the text; never goes past the end of its line.
    pub bytes: Range<usize>,
}

/// One thing an admin should know about a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable name, such as `host-bits-set`.
    pub code: &'static str,
    pub message: String,
    /// What to write or do instead.
    pub help: String,
    /// None where the file as a whole is meant.
    pub place: Option<Place>,
    /// A second place that belongs to it, and what stands there.
    pub related: Option<(Place, String)>,
}

impl Diagnostic {
    /// The fragment that it is about; none for the policy file itself.
    pub fn file(&self) -> Option<&str> {
        self.place.as_ref().and_then(|place| place.file.as_deref())
    }

    /// The same about a file that starts at this byte of a text of several.
    pub(super) fn moved(mut self, by: usize, file: Option<&Arc<str>>) -> Self {
        let places = self.place.iter_mut().chain(self.related.iter_mut().map(|(place, _)| place));
        for place in places {
            place.bytes = place.bytes.start + by..place.bytes.end + by;
            place.file = file.cloned();
        }
        self
    }
}

/// One line, for logs.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            let file = place.file.as_ref().map(|file| format!("{file}:")).unwrap_or_default();
            write!(f, "{file}{}:{}: ", place.line, place.column)?;
        }
        let separator = if self.help.is_empty() { "" } else { "; " };
        write!(f, "{}{separator}{} [{}]", self.message, self.help, self.code)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat<'a> {
            code: &'a str,
            file: Option<&'a str>,
            line: Option<usize>,
            column: Option<usize>,
            message: &'a str,
            help: &'a str,
        }
        let place = self.place.as_ref();
        Flat {
            code: self.code,
            file: self.file(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            message: &self.message,
            help: &self.help,
        }
        .serialize(serializer)
    }
}

/// Lines longer than this are shown as an excerpt: a list written on one line may have megabytes.
const SHOWN_LINE: usize = 400;
const SHOWN_AROUND: usize = 60;

/// Renders diagnostics as `file:line:column`, the line itself, a caret and the advice; each ends with an empty line.
pub fn render(diagnostics: &[Diagnostic], path: &str, text: &str, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for diagnostic in diagnostics {
        out.push_str(&render_one(diagnostic, path, text, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn render_one(diagnostic: &Diagnostic, path: &str, text: &str, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()).id(diagnostic.code));
    group = match &diagnostic.place {
        Some(place) => show(group, place, AnnotationKind::Primary, None, path, text),
        None => group.element(Origin::path(path)),
    };
    if let Some((place, label)) = &diagnostic.related {
        group = show(group, place, AnnotationKind::Context, Some(label), path, text);
    }
    if !diagnostic.help.is_empty() {
        group = group.element(Level::HELP.message(diagnostic.help.as_str()));
    }
    renderer.render(&[group])
}

/// Adds the line of `place`; only that line, because the renderer walks through all of what it is given.
fn show<'a>(
    group: Group<'a>,
    place: &Place,
    kind: AnnotationKind,
    label: Option<&'a String>,
    path: &str,
    text: &'a str,
) -> Group<'a> {
    let path = bundle::path_of(Path::new(path), place.file.as_deref()).display().to_string();
    let Some((before, after)) = text.split_at_checked(place.bytes.start) else {
        return group;
    };
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = place.bytes.start + after.find(['\r', '\n']).unwrap_or(after.len());
    let long = end - start > SHOWN_LINE;
    let shown = if long { excerpt(text, start..end, &place.bytes) } else { start..end };
    let last = place.bytes.end.clamp(place.bytes.start, shown.end);
    let mark = (place.bytes.start - shown.start)..(last - shown.start);
    let snippet = Snippet::source(text.get(shown).unwrap_or_default())
        .line_start(place.line)
        .annotation(kind.span(mark).label(label.map(String::as_str)));
    if long {
        // An excerpt's own columns would be wrong, so the place is stated beside it.
        group.element(Origin::path(path).line(place.line).char_column(place.column)).element(snippet)
    } else {
        group.element(snippet.path(path))
    }
}

/// The part of a long line around `marked`, cut at character boundaries.
fn excerpt(text: &str, line: Range<usize>, marked: &Range<usize>) -> Range<usize> {
    let from = boundary_before(text, marked.start.saturating_sub(SHOWN_AROUND)).max(line.start);
    let end = marked.end.min(marked.start + 2 * SHOWN_AROUND) + SHOWN_AROUND;
    from..boundary_before(text, end).clamp(marked.start, line.end)
}

/// The last character boundary at or before `at`.
pub fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A value from the file inside a message: quoted, escaped and cut, whatever somebody wrote there.
pub fn quoted(value: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = value.chars().take(SHOWN).flat_map(escaped).collect();
    if value.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Only what could act on a terminal is escaped; a quote or an umlaut stays readable.
fn escaped(c: char) -> impl Iterator<Item = char> {
    let plain = (!c.is_control() && !is_misleading(c)).then_some(c);
    plain.into_iter().chain(c.escape_default().take(if plain.is_some() { 0 } else { usize::MAX }))
}

/// Characters that make a line read differently from what it says: direction overrides and invisible line breaks.
pub fn is_misleading(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: Range<usize>, line: usize, column: usize) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "host-bits-set",
            message: "10.25.0.1/24 has host bits set".into(),
            help: "write 10.25.0.0/24".into(),
            place: Some(Place { file: None, line, column, bytes }),
            related: None,
        }
    }

    #[test]
    fn shows_the_line_a_caret_and_the_advice() {
        let text = "version: 1\nclients: [10.25.0.1/24]\n";
        let shown = render(&[at(21..33, 2, 11)], "office.yaml", text, false);
        let expected = "\
error[host-bits-set]: 10.25.0.1/24 has host bits set
 --> office.yaml:2:11
  |
2 | clients: [10.25.0.1/24]
  |           ^^^^^^^^^^^^
  |
  = help: write 10.25.0.0/24

";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_long_line_is_shown_as_an_excerpt() {
        let text = format!("clients: [{}10.25.0.1/24]", "ä, ".repeat(1_000_000));
        let start = text.len() - 13;
        let shown = render(&[at(start..start + 12, 1, 3_000_011)], "office.yaml", &text, false);
        assert!(shown.len() < 1_000, "{shown}");
        assert!(shown.contains("office.yaml:1:3000011") && shown.contains("^^^^^^^^^^^^"), "{shown}");
    }

    #[test]
    fn values_cannot_act_on_the_terminal() {
        assert_eq!(quoted("a\u{1b}[31m\u{202e}é"), r"`a\u{1b}[31m\u{202e}é`");
        assert_eq!(quoted(&"x".repeat(1_000)).chars().count(), 63);
    }
}
