//! Collects what is wrong with a file, and the judgements every key shares: missing, empty, of the wrong kind, unknown.

use super::super::diagnostics::{Diagnostic, Severity, quoted};
use super::super::file::{Kind, Section, Shape, Written};
use super::super::places::{Places, Span, Spot};
use super::spelling;

/// A million wrong entries are one mistake; what is not shown is counted.
const MAX_SHOWN: usize = 100;

/// A range is up to 30 networks, so a file of the largest size could fill the memory with them.
const MAX_FROM_RANGES: usize = 262_144;

/// Errors and warnings so far.
pub struct Findings<'p> {
    pub places: &'p Places<'p>,
    errors: Shown,
    warnings: Shown,
    /// Networks that ranges have been laid out as.
    from_ranges: usize,
}

#[derive(Default)]
struct Shown {
    list: Vec<Diagnostic>,
    more: usize,
}

impl Shown {
    /// Makes the diagnostic only if it will be shown: places are searched for, and a file can have a million errors.
    fn push(&mut self, diagnostic: impl FnOnce() -> Diagnostic) {
        if self.list.len() < MAX_SHOWN {
            self.list.push(diagnostic());
        } else {
            self.more += 1;
        }
    }

    fn in_order(mut self, severity: Severity, code: &'static str, what: &str) -> Vec<Diagnostic> {
        self.list.sort_by_key(|diagnostic| diagnostic.place.as_ref().map(|place| place.bytes.start));
        if self.more > 0 {
            let message = format!("{} more {what} are not shown", self.more);
            let help = "correct those shown, then check again".to_owned();
            self.list.push(Diagnostic { severity, code, message, help, place: None, related: None });
        }
        self.list
    }
}

impl<'p> Findings<'p> {
    pub fn new(places: &'p Places<'p>, problems: Vec<Diagnostic>) -> Self {
        let errors = Shown { list: problems, more: 0 };
        Self { places, errors, warnings: Shown::default(), from_ranges: 0 }
    }

    /// Whether a range of so many networks still fits; the first that doesn't is reported.
    pub fn count_range(&mut self, networks: usize, at: Span) -> bool {
        let before = self.from_ranges;
        self.from_ranges = before.saturating_add(networks);
        let fits = self.from_ranges <= MAX_FROM_RANGES;
        if !fits && before <= MAX_FROM_RANGES {
            let message = "the ranges of this file make up more than 262,144 networks";
            self.error(
                "too-many-ranges",
                at,
                message,
                "write networks, such as 10.25.0.0/24, instead of ranges",
            );
        }
        fits
    }

    pub fn error(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let places = self.places;
        self.errors.push(|| places.error(code, at, message.into(), help.into()));
    }

    /// An error that two places make together.
    pub fn conflict(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
        other: (Span, &str),
    ) {
        let places = self.places;
        self.errors.push(|| Diagnostic {
            related: Some((places.place(other.0), other.1.to_owned())),
            ..places.error(code, at, message.into(), help.into())
        });
    }

    pub fn warn(
        &mut self,
        code: &'static str,
        at: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let places = self.places;
        self.warnings.push(|| Diagnostic {
            severity: Severity::Warning,
            ..places.error(code, at, message.into(), help.into())
        });
    }

    pub fn has_errors(&self) -> bool {
        !self.errors.list.is_empty()
    }

    /// Errors and warnings, each in the order of the file.
    pub fn into_lists(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let errors = self.errors.in_order(Severity::Error, "more-errors", "errors");
        (errors, self.warnings.in_order(Severity::Warning, "more-warnings", "warnings"))
    }

    /// The value of a mandatory key; `example` is a line that would do.
    pub fn require<'f, T: Shape>(
        &mut self,
        written: &'f Written<T>,
        parent: Spot<'_>,
        key: &str,
        example: &str,
    ) -> Option<&'f T> {
        let (code, message) = match written {
            Written::As(value) => return Some(value),
            Written::Absent => ("missing-key", format!("`{key}` is missing")),
            Written::Other(Kind::Nothing) => ("empty-value", format!("`{key}` has no value")),
            Written::Other(kind) => {
                self.wrong_kind::<T>(
                    *kind,
                    parent.key(key),
                    &format!("`{key}`"),
                    &format!("write `{example}`"),
                );
                return None;
            }
        };
        self.error(code, parent.key(key).span(), message, format!("write `{example}`"));
        None
    }

    /// The value of a key that may be left out.
    pub fn optional<'f, T: Shape>(
        &mut self,
        written: &'f Written<T>,
        parent: Spot<'_>,
        key: &str,
    ) -> Option<&'f T> {
        self.value(written, parent.key(key), &format!("`{key}`"))
    }

    /// The value of a list entry.
    pub fn entry<'f, T: Shape>(
        &mut self,
        written: &'f Written<T>,
        spot: Spot<'_>,
        key: &str,
    ) -> Option<&'f T> {
        match written {
            Written::As(value) => Some(value),
            _ => self.value(written, spot, &format!("an entry of `{key}`")),
        }
    }

    fn value<'f, T: Shape>(&mut self, written: &'f Written<T>, spot: Spot<'_>, what: &str) -> Option<&'f T> {
        match written {
            Written::Absent => None,
            Written::As(value) => Some(value),
            Written::Other(kind) => {
                self.wrong_kind::<T>(*kind, spot, what, T::ADVICE);
                None
            }
        }
    }

    fn wrong_kind<T: Shape>(&mut self, kind: Kind, spot: Spot<'_>, what: &str, advice: &str) {
        let at = spot.span();
        if kind == Kind::Nothing {
            let help = format!("{advice}, or remove it");
            return self.error("empty-value", at, format!("{what} has no value"), help);
        }
        let source = quoted(self.places.source(at));
        let source = source.trim_matches('`');
        let help = match kind {
            Kind::Number | Kind::Truth if T::accepts(Kind::Text) => format!("put it in quotes: \"{source}\""),
            Kind::Text | Kind::Number if T::accepts(Kind::List) => format!("write a list: [{source}]"),
            Kind::Text if T::accepts(Kind::Number) => "write a number, without quotes".to_owned(),
            _ => advice.to_owned(),
        };
        let message = if kind == Kind::Number && T::accepts(Kind::Number) {
            format!("{what} can't be {source}")
        } else {
            format!("{what} is {} where {} should stand", kind.label(), T::EXPECTED)
        };
        self.error("wrong-type", at, message, help);
    }

    /// Refuses every key that `T` doesn't have.
    pub fn unknown_keys<T: Section>(&mut self, spot: Spot<'_>) {
        for (key, at) in spot.keys() {
            // Merge keys have been refused already.
            if T::KEYS.contains(&key) || key == "<<" {
                continue;
            }
            self.unknown_key::<T>(key, at);
        }
    }

    /// Refuses a key that `T` doesn't have.
    pub fn unknown_key<T: Section>(&mut self, key: &str, at: Span) {
        let help = match spelling::nearest(key, T::KEYS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("the keys here are {}", spelling::listed(T::KEYS)),
        };
        self.error("unknown-key", at, format!("unknown key {}", quoted(key)), help);
    }
}
