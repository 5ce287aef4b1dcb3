//! The way from a path, or a text, to a valid policy.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::diagnostics::{Diagnostic, Place, Severity};
use super::model::{LoadedPolicy, Policy, Revision};
use super::places;
use super::source::{self, SourceError, Strictness};
use super::validate::{Findings, Moment, WrittenPolicy, validate};
use super::{bundle, diagnostics, file, include};

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{}: {error}", path.display())]
    Source { path: PathBuf, error: SourceError },
    #[error("{}", summary(path, diagnostics))]
    Invalid { path: PathBuf, text: String, diagnostics: Vec<Diagnostic> },
}

impl LoadError {
    /// Whether the file itself was judged and rejected (exit code 1). Otherwise it couldn't be judged, such as for lack
    /// of permission (exit code 2). A missing file, a directory or a pipe are rejected: another attempt finds the same.
    pub const fn is_rejection(&self) -> bool {
        !matches!(self, Self::Source { error: SourceError::Unreadable(_), .. })
    }

    /// All that is wrong, for programs.
    pub fn diagnostics(&self, policy: &Path) -> Vec<Diagnostic> {
        let (path, error) = match self {
            Self::Invalid { diagnostics, .. } => return diagnostics.clone(),
            Self::Source { path, error } => (path, error),
        };
        let sentence = error.to_string();
        let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
        let fragment = path.strip_prefix(policy.with_file_name("")).ok().filter(|_| path != policy);
        let place = fragment.map(|fragment| Place {
            file: Some(fragment.to_string_lossy().into()),
            line: 1,
            column: 1,
            bytes: 0..0,
        });
        vec![Diagnostic { place, ..whole_file(error.code(), message, help) }]
    }

    /// All that is wrong, for people: several lines, ending with a line break.
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Source { path, error } => {
                let path = path.display().to_string().escape_debug().to_string();
                format!("error[{}]: {path}: {error}\n", error.code())
            }
            Self::Invalid { path, text, diagnostics } => {
                diagnostics::render(diagnostics, &path.display().to_string(), text, colour)
            }
        }
    }
}

/// One line: the first error and how many more there are.
fn summary(path: &Path, diagnostics: &[Diagnostic]) -> String {
    let Some(first) = diagnostics.first() else {
        return format!("{}: not valid", path.display());
    };
    let more = match diagnostics.len() - 1 {
        0 => String::new(),
        1 => " (and 1 more error)".to_owned(),
        more => format!(" (and {more} more errors)"),
    };
    // A fragment's diagnostic begins with its path as seen from the policy's directory.
    let path = if first.file().is_some() {
        path.with_file_name("").display().to_string()
    } else {
        format!("{}:", path.display())
    };
    format!("{path}{first}{more}")
}

/// Reads and judges the file and what it includes; the second part of the answer is warnings.
pub fn load(path: &Path, strictness: Strictness) -> Result<(LoadedPolicy, Vec<Diagnostic>), LoadError> {
    let (text, mut warnings) = match include::gather(path, strictness) {
        // A file of the history: to be read and compared, but not to be put in force in the place of its files.
        Err(LoadError::Source { error: SourceError::Bundle { text, .. }, path: of })
            if strictness == Strictness::Advisory && of == path && bundle::Parts::of(&text).complete =>
        {
            (text, Vec::new())
        }
        gathered => gathered?,
    };
    let (policy, more) = load_text(path, text)?;
    warnings.extend(more);
    Ok((policy, warnings))
}

/// Judges a text as if `path` held it.
pub fn load_text(path: &Path, text: String) -> Result<(LoadedPolicy, Vec<Diagnostic>), LoadError> {
    match parse(&text, Timestamp::now(), &TimeZone::system()) {
        Ok((policy, warnings)) => {
            let revision = Revision::of(&text);
            Ok((LoadedPolicy { policy, path: path.to_owned(), text, revision }, warnings))
        }
        Err(diagnostics) => Err(LoadError::Invalid { path: path.to_owned(), text, diagnostics }),
    }
}

/// What a file and its fragments hold now, as one text; it is not judged.
pub fn read_text(path: &Path, strictness: Strictness) -> Result<String, LoadError> {
    include::gather(path, strictness).map(|(text, _)| text)
}

/// The revision that a file would have, valid or not; none where it can't be read.
pub fn revision_at(path: &Path) -> Option<Revision> {
    read_text(path, Strictness::Advisory).ok().map(|text| Revision::of(&text))
}

/// Judges a text: the policy with its warnings, or all errors in the order of the text. Dates in it are days of `zone`.
pub fn parse(
    text: &str,
    now: Timestamp,
    zone: &TimeZone,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    // Spans have 32 bits; `source` lets nothing near that through.
    if text.len() as u64 > source::MAX_BYTES {
        let error = SourceError::TooLarge(text.len() as u64);
        return Err(vec![whole_file(error.code(), &error.to_string(), "")]);
    }
    let parts = bundle::Parts::of(text);
    let places::Reading { places, problems, readable } = places::read_parts(text, &parts);
    let mut findings = Findings::new(&places, problems);
    if !readable {
        return Err(findings.into_lists().0);
    }
    if places.is_empty() {
        return Err(vec![whole_file(
            "empty-file",
            "the file holds no policy",
            "see policies/README.md for how to write one",
        )]);
    }
    let (main, fragments) = (parts.list.first(), parts.list.get(1..).unwrap_or_default());
    let main = main.and_then(|part| values::<file::File>(part, &mut findings));
    let fragments: Option<Vec<_>> =
        fragments.iter().map(|part| values::<file::Fragment>(part, &mut findings)).collect();
    let moment = Moment { now, zone: zone.clone() };
    let policy = main.zip(fragments).and_then(|(main, fragments)| {
        let written = WrittenPolicy { main, fragments, complete: parts.complete };
        validate(&written, &mut findings, &moment)
    });
    let (errors, warnings) = findings.into_lists();
    match policy {
        Some(policy) if errors.is_empty() => Ok((policy, warnings)),
        _ => Err(errors),
    }
}

/// What one of the files says, kind by kind.
fn values<T: file::Shape>(part: &bundle::Part<'_>, findings: &mut Findings<'_>) -> Option<file::Written<T>> {
    let error = match file::read_as(part.text) {
        Ok(written) => return Some(written),
        Err(error) => error,
    };
    let at = diagnostics::boundary_before(part.text, error.byte);
    let (span, message, help) = places::in_plain_words(part.text, at, &error.message);
    findings.error("syntax", span.moved(part.start), message, help);
    None
}

fn whole_file(code: &'static str, message: &str, help: &str) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code,
        message: message.to_owned(),
        help: help.to_owned(),
        place: None,
        related: None,
    }
}

#[cfg(test)]
mod tests {
    use super::file::{self, Section};

    #[test]
    fn the_readme_names_every_key() {
        let readme = include_str!("../../../policies/README.md");
        let sections = [
            file::File::KEYS,
            file::Fragment::KEYS,
            file::FragmentNetworks::KEYS,
            file::Interfaces::KEYS,
            file::InsideEntry::KEYS,
            file::Group::KEYS,
            file::Networks::KEYS,
            file::Ports::KEYS,
            file::MailServer::KEYS,
            file::Exception::KEYS,
            file::Detection::KEYS,
            file::Quarantine::KEYS,
            file::Log::KEYS,
        ];
        for key in sections.concat() {
            let named = ["`", "."].iter().any(|before| readme.contains(&format!("{before}{key}`")))
                || readme.contains(&format!("`{key}:"))
                || readme.contains(&format!("{{ {key}:"))
                || readme.contains(&format!("`{key}."));
            assert!(named, "{key}");
        }
    }
}
