//! Names and free texts: what may stand in them, and that no name is given twice.

use std::collections::HashMap;

use super::super::diagnostics::quoted;
use super::super::places::{Span, Spot};
use super::Findings;

const MAX_NAME: usize = 64;
const MAX_TEXT: usize = 200;

/// A name goes into log lines, metrics and file names, so it is plain.
pub fn name(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let suggestion: String = text.chars().map(|c| if plain(c) { c } else { '-' }).take(MAX_NAME).collect();
    let help = if suggestion.trim_matches('-').is_empty() {
        format!("use letters, digits, `-`, `_` and `.`, at most {MAX_NAME}")
    } else {
        format!("use letters, digits, `-`, `_` and `.`, at most {MAX_NAME}: {}", quoted(&suggestion))
    };
    findings.error("bad-name", spot.span(), format!("{} can't be a name", quoted(text)), help);
    None
}

/// One line for people.
pub fn line(text: &str, key: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let message = if text.trim().is_empty() {
        format!("`{key}` is blank")
    } else if text.chars().any(char::is_control) {
        format!("`{key}` is more than one line, or has control characters")
    } else if text.chars().count() > MAX_TEXT {
        format!("`{key}` has more than {MAX_TEXT} characters")
    } else {
        return Some(text.to_owned());
    };
    findings.error("bad-text", spot.span(), message, format!("write one line of 1 to {MAX_TEXT} characters"));
    None
}

/// Names given so far: a name is how the log and `explain` say which entry decided.
pub struct Names<'f> {
    given: HashMap<&'f str, Span>,
    /// Whose names they are.
    of: &'static str,
}

impl<'f> Names<'f> {
    pub fn of(of: &'static str) -> Self {
        Self { given: HashMap::new(), of }
    }

    pub fn add(&mut self, name: &'f str, spot: Spot<'_>, findings: &mut Findings<'_>) {
        let at = spot.span();
        if let Some(first) = self.given.insert(name, at) {
            let message = format!("the name {} is given twice", quoted(name));
            let help = format!("give each {} a name of its own", self.of);
            findings.conflict("duplicate-name", at, message, help, (first, "first given here"));
        }
    }
}
