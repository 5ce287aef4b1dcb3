//! Unit tests of a policy: connections with the verdict that somebody expects, judged by the kernel's own decision.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_common::Reason;
use serde::Serialize;

use super::diagnostics::{self, Diagnostic};
use super::explain::{Entry, EntryKind, Examiner, Explanation, Paper, Question, Sender, Verdict};
use super::load::{LoadError, load};
use super::model::{Exception, LoadedPolicy};
use super::source::{self, SourceError, Strictness};

mod suite;

use suite::{Suite, Test};

/// What a test expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Exactly(Verdict),
    /// Any verdict but pass, whatever mode and action make of it.
    Deny,
}

impl Expected {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exactly(verdict) => verdict.label(),
            Self::Deny => "deny",
        }
    }

    fn is_met_by(self, verdict: Verdict) -> bool {
        match self {
            Self::Exactly(expected) => expected == verdict,
            Self::Deny => verdict.denies(),
        }
    }
}

/// What came of one test file; the field names are a contract, see `docs/policy-tools.md`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub policy: PathBuf,
    pub revision: String,
    pub tests: Vec<Outcome>,
    /// How many entries the policy has that decide about packets or their treatment.
    pub entries: usize,
    /// Entries that no test touches.
    pub untested: Vec<Entry>,
}

/// What came of one test.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub name: String,
    /// Line of the test in its file, from 1.
    pub line: usize,
    pub passed: bool,
    pub expected: &'static str,
    pub expected_reason: Option<&'static str>,
    pub got: Explanation,
}

/// Why the tests of a file could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    #[error("{}: {error}", path.display())]
    Source { path: PathBuf, error: SourceError },
    #[error("{}", diagnostics::render(diagnostics, &path.display().to_string(), text, false).trim_end())]
    Invalid { path: PathBuf, text: String, diagnostics: Vec<Diagnostic> },
    #[error("the policy of {}:\n{}", path.display(), error.render(false).trim_end())]
    Policy { path: PathBuf, error: LoadError },
    #[error(transparent)]
    Compile(#[from] super::compile::CompileError),
}

impl TestError {
    /// Whether a file was judged and rejected (exit code 1), rather than not read (exit code 2).
    pub const fn is_rejection(&self) -> bool {
        match self {
            Self::Source { error, .. } => !matches!(error, SourceError::Unreadable(_)),
            Self::Invalid { .. } => true,
            Self::Policy { error, .. } => error.is_rejection(),
            Self::Compile(_) => false,
        }
    }
}

/// Runs the tests of one file against the policy it names, or against `policy` instead.
pub fn run(path: &Path, policy: Option<&Path>) -> Result<Report, TestError> {
    let read = source::read(path, Strictness::Advisory);
    let (text, _) = read.map_err(|error| TestError::Source { path: path.to_owned(), error })?;
    let suite = suite::parse(&text, Timestamp::now(), &TimeZone::system()).map_err(|diagnostics| {
        TestError::Invalid { path: path.to_owned(), text: text.clone(), diagnostics }
    })?;
    let named = path.parent().unwrap_or(Path::new("")).join(&suite.policy);
    let loaded = load(policy.unwrap_or(&named), Strictness::Advisory);
    let (loaded, _) = loaded.map_err(|error| TestError::Policy { path: path.to_owned(), error })?;
    judge(&suite, &loaded)
}

fn judge(suite: &Suite, loaded: &LoadedPolicy) -> Result<Report, TestError> {
    let policy = &loaded.policy;
    let paper = Paper::new(policy, loaded.revision)?;
    let mut examiner = paper.examiner();
    examiner.set_gateway_addresses(suite.gateway_addresses.iter().copied());
    // Exceptions come last among the entries.
    let others = policy.groups.len() + policy.mail_servers.len();
    let exception = |index: usize| policy.exceptions.get(index.checked_sub(others)?);
    let all = Entry::all(policy).enumerate().map(|(index, entry)| (entry, exception(index)));
    let mut untested: Vec<(Entry, Option<&Exception>)> = all.collect();
    let entries = untested.len();
    let mut tests = Vec::with_capacity(suite.tests.len());
    for test in &suite.tests {
        let outcome = outcome(test, &mut examiner);
        untested.retain(|(entry, exception)| !touches(entry, *exception, &test.question, &outcome.got));
        tests.push(outcome);
    }
    let untested = untested.into_iter().map(|(entry, _)| entry).collect();
    let (policy, revision) = (loaded.path.clone(), loaded.revision.to_string());
    Ok(Report { policy, revision, tests, entries, untested })
}

fn outcome(test: &Test, examiner: &mut Examiner<'_>) -> Outcome {
    let got = examiner.explain(&test.question);
    let as_reasoned = test.reason.is_none_or(|reason| reason.label() == got.reason);
    Outcome {
        name: test.name.clone(),
        line: test.line,
        passed: test.expected.is_met_by(got.verdict) && as_reasoned,
        expected: test.expected.label(),
        expected_reason: test.reason.map(Reason::label),
        got,
    }
}

/// Whether a test says something about an entry: it decided, or its networks hold both ends though it has ended, or, of a
/// group, it treated the packet.
fn touches(entry: &Entry, exception: Option<&Exception>, question: &Question, got: &Explanation) -> bool {
    let Sender::Client(client) = question.from else { return false };
    let holds = |nets: &[IpNet], address| nets.iter().any(|net| net.contains(&address));
    match (entry.kind, exception) {
        (EntryKind::Group, _) => got.treatment.as_ref().is_some_and(|treatment| {
            let by = format!("group {}", entry.name);
            treatment.mode.by == by || treatment.on_block.by == by
        }),
        (EntryKind::Exception, Some(exception)) if got.verdict.denies() => {
            holds(&exception.from, client) && holds(&exception.to, question.to)
        }
        _ => got.entry.as_ref() == Some(entry),
    }
}
