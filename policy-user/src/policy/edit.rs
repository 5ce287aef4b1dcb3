//! Edits the exceptions in a policy's text in place. Everything else stays byte for byte: comments, order, line ends.
//!
//! Where to cut follows from the marked parse; whether it was the right place is proved afterwards, by reading the result
//! and comparing all that it means.

mod add;
mod entry;
mod lines;
mod remove;

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bundle::{Part, Parts};
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
    // Into the policy file itself: what owns the fragments, such as configuration management, would undo it there.
    let main = Parts::of(text).list.first().map_or(0..0, Part::range);
    let part = &text[main.clone()];
    let changed = add::add(&places::read(part).places, part, new).ok_or(EditError::Layout)?;
    let edited = read_again(exchanged(text, main, &changed), now, zone)?;
    let is_new = |exception: &&Exception| exception.name == new.name;
    let (added, others): (Vec<_>, Vec<_>) = edited.policy.exceptions.iter().partition(is_new);
    let [last] = added[..] else { return Err(EditError::Layout) };
    let as_wished = last.name == new.name
        && last.reason == new.reason
        && last.owner.as_ref() == Some(&new.owner)
        && (last.from.len(), last.to.len()) == (new.from.len(), new.to.len());
    let kept = before.exceptions.iter().collect::<Vec<_>>();
    if as_wished && same_exceptions(&others, &kept) && same_otherwise(&before, &edited.policy) {
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
    let file = before.exceptions[index].file.as_deref();
    // The exceptions are in the order of the files.
    let index = before.exceptions[..index].iter().filter(|other| other.file.as_deref() == file).count();
    let parts = Parts::of(text);
    let part = parts.list.iter().find(|part| part.file == file).ok_or(EditError::Layout)?;
    let places = places::read(part.text).places;
    let changed = remove::remove(&places, part.text, index).ok_or(EditError::Layout)?;
    let edited = read_again(exchanged(text, part.range(), &changed), now, zone)?;
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

fn exchanged(text: &str, part: Range<usize>, new: &str) -> String {
    [&text[..part.start], new, &text[part.end..]].concat()
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
