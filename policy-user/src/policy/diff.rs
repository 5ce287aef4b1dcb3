//! The difference between two policies in meaning, not in text: what changes for packets, computed on the tables.
//!
//! Names of entries, reasons, owners, comments, order and layout decide nothing, so they make no difference.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::explain::{Entry, Paper};

mod ranges;
mod reach;
mod replay;
mod settings;
mod treatment;

pub use replay::{Changed, Replay, replay};

use reach::Side;

/// One thing that changes; the field names are a contract, see `docs/policy-tools.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Change {
    pub sign: Sign,
    pub kind: Kind,
    /// Networks whose packets it is about; empty for everybody.
    pub sources: Vec<String>,
    /// The interface they come in through; none for any.
    pub interface: Option<String>,
    /// Networks they are sent to, or "anywhere" with a "not NETWORK" for each that is left out, or "port NUMBER"; empty
    /// where that doesn't matter.
    pub destinations: Vec<String>,
    /// In words, as `after`.
    pub before: Option<String>,
    pub after: Option<String>,
    /// The entry that permits it: of the old policy for a loss, else of the new one.
    pub entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// Something passes that was denied.
    Gain,
    /// Something is denied that passed.
    Loss,
    /// Neither, or both.
    Change,
}

impl Sign {
    pub const fn symbol(self) -> char {
        match self {
            Self::Gain => '+',
            Self::Loss => '-',
            Self::Change => '~',
        }
    }
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A port that is blocked.
    Port,
    /// A destination that is internal: everybody reaches it.
    Internal,
    /// A destination that a source may reach on blocked ports.
    Reach,
    /// The end of a permit.
    Until,
    /// The machine that a mail server must be.
    Machine,
    /// Mail from processes of the gateway.
    GatewayMail,
    /// What becomes of denied packets.
    Treatment,
    /// What becomes of what the guard denies.
    Guard,
    /// A network of clients: the reason of a denial.
    Clients,
    /// An interface that has a door.
    Inside,
    /// An interface that has a guard.
    Outside,
    /// A port that is only counted.
    Submission,
    LogFile,
    LogTargets,
    Metrics,
    /// When hosts are flagged.
    Detection,
    /// What becomes of infected hosts.
    Quarantine,
    /// Who is told.
    Notify,
}

impl Kind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Internal => "internal",
            Self::Reach => "reach",
            Self::Until => "until",
            Self::Machine => "machine",
            Self::GatewayMail => "gateway mail",
            Self::Treatment => "treatment",
            Self::Guard => "guard",
            Self::Clients => "clients",
            Self::Inside => "inside",
            Self::Outside => "outside",
            Self::Submission => "submission",
            Self::LogFile => "log file",
            Self::LogTargets => "log also to",
            Self::Metrics => "metrics",
            Self::Notify => "notify",
            Self::Detection => "detection",
            Self::Quarantine => "quarantine",
        }
    }
}

impl Change {
    fn new(sign: Sign, kind: Kind) -> Self {
        Self {
            sign,
            kind,
            sources: Vec::new(),
            interface: None,
            destinations: Vec::new(),
            before: None,
            after: None,
            entry: None,
        }
    }

    fn from(mut self, sources: Vec<String>) -> Self {
        self.sources = sources;
        self
    }

    fn to(mut self, destinations: Vec<String>) -> Self {
        self.destinations = destinations;
        self
    }

    fn was(mut self, before: impl Into<String>) -> Self {
        self.before = Some(before.into());
        self
    }

    fn now(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }
}

/// Everything that changes from `old` to `new`, as of `at`: a permit that has ended by then is none.
pub fn differences(old: &Paper<'_>, new: &Paper<'_>, at: Timestamp) -> Vec<Change> {
    let (before, after) = (Side::new(old, at), Side::new(new, at));
    let mut changes = settings::differences(old.policy, new.policy);
    changes.extend(reach::differences(&before, &after));
    changes.extend(treatment::differences(old, new, (&before.nets, &after.nets)));
    // Who may send comes first, what is only reported otherwise last.
    changes.sort_by_key(|change| change.kind);
    together(changes)
}

/// Makes one change of those that differ in their sources alone.
fn together(changes: Vec<Change>) -> Vec<Change> {
    let mut places: HashMap<Change, usize> = HashMap::new();
    let mut merged: Vec<Change> = Vec::new();
    for mut change in changes {
        let sources = std::mem::take(&mut change.sources);
        // What is about everybody stays apart from what is about some.
        if sources.is_empty() {
            merged.push(change);
            continue;
        }
        let place = *places.entry(change).or_insert_with_key(|change| {
            merged.push(change.clone());
            merged.len() - 1
        });
        if let Some(change) = merged.get_mut(place) {
            change.sources.extend(sources);
        }
    }
    merged
}

/// An instant where the gateway is.
fn local_time(instant: Timestamp) -> String {
    instant.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}
