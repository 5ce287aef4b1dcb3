//! Edits the exceptions in a policy's text in place. Everything else stays byte for byte: comments, order, line ends.
//!
//! Where to cut follows from the marked parse; whether it was the right place is proved afterwards, by reading the result
//! and comparing all that it means.

mod add;
mod entry;
mod lines;
mod remove;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::diagnostics::Diagnostic;
use super::model::{Exception, Policy};
use super::{parse, places};

/// An exception to be written. Nothing in it is judged before the loader reads the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewException {
    pub name: String,
    pub from: Vec<String>,
    pub to: Vec<String>,
    /// As the language takes it: a date, or a time with its zone.
    pub until: String,
    pub reason: String,
    pub owner: String,
}

/// A text after an edit.
#[derive(Debug)]
pub struct Edited {
    pub text: String,
    pub policy: Policy,
    /// What the loader says about the new text.
    pub warnings: Vec<Diagnostic>,
}

/// Why a text was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("the policy is not valid as it is")]
    InvalidBefore(Vec<Diagnostic>),
    /// The result, and what is wrong with it.
    #[error("the policy would not be valid any more")]
    InvalidAfter(String, Vec<Diagnostic>),
    #[error("no exception has the name {0:?}")]
    Unknown(String),
    #[error("the exceptions are laid out in a way that can't be edited safely")]
    Layout,
}

/// Adds an exception behind the others, in their style.
pub fn add(text: &str, new: &NewException, now: Timestamp, zone: &TimeZone) -> Result<Edited, EditError> {
    let (before, _) = parse(text, now, zone).map_err(EditError::InvalidBefore)?;
    let changed = add::add(&places::read(text).places, text, new).ok_or(EditError::Layout)?;
    let edited = read_again(changed, now, zone)?;
    let (last, others) = edited.policy.exceptions.split_last().ok_or(EditError::Layout)?;
    let as_wished = last.name == new.name
        && last.reason == new.reason
        && last.owner.as_ref() == Some(&new.owner)
        && (last.from.len(), last.to.len()) == (new.from.len(), new.to.len());
    let all = others.iter().collect::<Vec<_>>();
    let kept = before.exceptions.iter().collect::<Vec<_>>();
    if as_wished && same_exceptions(&all, &kept) && same_otherwise(&before, &edited.policy) {
        Ok(edited)
    } else {
        Err(EditError::Layout)
    }
}

/// Removes the lines of an exception.
pub fn remove(text: &str, name: &str, now: Timestamp, zone: &TimeZone) -> Result<Edited, EditError> {
    let (before, _) = parse(text, now, zone).map_err(EditError::InvalidBefore)?;
    let index = before.exceptions.iter().position(|exception| exception.name == name);
    let index = index.ok_or_else(|| EditError::Unknown(name.to_owned()))?;
    let changed = remove::remove(&places::read(text).places, text, index).ok_or(EditError::Layout)?;
    let edited = read_again(changed, now, zone)?;
    let all = edited.policy.exceptions.iter().collect::<Vec<_>>();
    let kept = before.exceptions.iter().filter(|exception| exception.name != name).collect::<Vec<_>>();
    if same_exceptions(&all, &kept) && same_otherwise(&before, &edited.policy) {
        Ok(edited)
    } else {
        Err(EditError::Layout)
    }
}

/// The exception as it would be written into a file that has none, for an admin to do it by hand.
pub fn shown(new: &NewException) -> String {
    entry::block(new, "  ", "  ", "\n")
}

fn read_again(text: String, now: Timestamp, zone: &TimeZone) -> Result<Edited, EditError> {
    match parse(&text, now, zone) {
        Ok((policy, warnings)) => Ok(Edited { text, policy, warnings }),
        Err(errors) => Err(EditError::InvalidAfter(text, errors)),
    }
}

/// Lines move; nothing else may.
fn same_exceptions(a: &[&Exception], b: &[&Exception]) -> bool {
    let same = |(a, b): (&&Exception, &&Exception)| Exception { line: b.line, ..(*a).clone() } == **b;
    a.len() == b.len() && a.iter().zip(b).all(same)
}

fn same_otherwise(before: &Policy, after: &Policy) -> bool {
    let without_places = |policy: &Policy| {
        let mut policy = policy.clone();
        policy.exceptions.clear();
        policy.mail_servers.iter_mut().for_each(|server| server.line = 0);
        policy.groups.iter_mut().for_each(|group| group.line = 0);
        policy
    };
    without_places(before) == without_places(after)
}
