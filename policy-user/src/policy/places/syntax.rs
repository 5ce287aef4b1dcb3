//! Says in plain words what is wrong with a text that is no YAML.

use super::Span;

/// Parts of what the parsers say, which is for people who know the YAML specification, and what it means; the first
/// match counts.
const WORDS: [(&[&str], &str, &str); 8] = [
    (&["tab"], "a tab stands where only spaces may", "indent with spaces"),
    (
        &["node content"],
        "no value can begin like this",
        "put it in quotes, as IPv6 addresses in `[ ]` need to be",
    ),
    (
        &["mapping values are not allowed"],
        "a colon stands where no key can be",
        "check the indentation, and put text that contains `: ` in quotes",
    ),
    (
        &["quoted scalar"],
        "a quotation mark is not closed",
        "check the quotation marks here and in the lines before",
    ),
    (&["multiline"], "a value goes on where it should have ended", "begin each list entry with `- `"),
    (
        &["flow"],
        "a list in `[ ]` or a mapping in `{ }` is not closed, or lacks a comma",
        "check brackets and commas here and in the lines before",
    ),
    (
        &["expected key", "expected '-'", "indent", "simple key", "block"],
        "this line doesn't fit the lines above it",
        "check its indentation, its `-` and its colon",
    ),
    (
        &["unexpected character", "cannot start"],
        "no value can begin with this character",
        "put the text in quotes",
    ),
];

/// The parser's words and the byte they are about, as a place, a message and what to do.
pub fn in_plain_words(text: &str, at: usize, info: &str) -> (Span, String, &'static str) {
    let mut at = at;
    let found = WORDS.iter().find(|(parts, ..)| parts.iter().any(|part| info.contains(part)));
    let (message, help) = match found {
        Some((_, message, help)) => ((*message).to_owned(), *help),
        None => {
            (format!("this is not YAML: {info}"), "check the indentation, quotes and brackets here and above")
        }
    };
    if info.contains("tab") {
        // The parser points at the value that the tab ends.
        at += text[at..].find('\t').unwrap_or(0);
    }
    let length = text[at..].chars().next().map_or(0, char::len_utf8);
    (Span::new(at, at + length), message, help)
}

/// The span of a quoted text without the blanks and comments that the parser counts to it.
pub fn quoted_text(text: &str, span: Span) -> Span {
    let start = span.start as usize;
    let Some(source) = text.get(start..span.end as usize) else { return span };
    let Some(quote @ ('"' | '\'')) = source.chars().next() else { return span };
    let mut escaped = false;
    for (at, c) in source.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            return Span::new(start, start + at + 1);
        }
    }
    span
}
