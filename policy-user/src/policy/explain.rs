//! What a policy decides about one connection and why: the kernel's own decision over the same tables, told in words.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::bundle::path_of;
use super::model::{Exception, MailServer, Policy, Scope};

mod examiner;
mod question;
mod remedy;
mod steps;
mod treatment;

pub use examiner::{Examiner, Paper};
pub use question::{Asked, Misasked, moment};
pub use remedy::Remedy;
pub use steps::Step;
pub use treatment::{Said, Surroundings, Treated, verdict_at_guard};

/// One TCP connection attempt to be decided about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub from: Sender,
    pub mac: SourceMac,
    /// The interface it comes in through; `None` where that was not said.
    pub interface: Option<String>,
    pub to: IpAddr,
    pub port: u16,
    pub at: Timestamp,
    pub quarantined: InQuarantine,
}

/// Whether the client is in quarantine at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InQuarantine {
    #[default]
    No,
    /// In one as the policy's `quarantine` has it.
    AsThePolicySays,
    Of(Scope),
}

impl InQuarantine {
    /// The scope, if it is in one.
    pub fn scope(self, policy: &Policy) -> Option<Scope> {
        match self {
            Self::No => None,
            Self::AsThePolicySays => Some(policy.quarantine.scope),
            Self::Of(scope) => Some(scope),
        }
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Client(IpAddr),
    /// A process of the gateway itself.
    Gateway,
}

/// The source MAC, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMac {
    /// Not said: the one that the policy binds the sender to is assumed.
    Unstated,
    /// The interface has no link layer.
    Absent,
    Is([u8; 6]),
}

/// What happens to the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Drop,
    Reject,
    /// Denied, and let go on in audit mode.
    WouldBlock,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Pass, Self::Drop, Self::Reject, Self::WouldBlock];

    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::WouldBlock => "would_block",
        }
    }

    pub const fn denies(self) -> bool {
        !matches!(self, Self::Pass)
    }
}

/// Which program decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedAt {
    /// Where it comes in through an inside interface.
    Door,
    /// Where it leaves through an outside interface.
    Guard,
    /// Nowhere: it meets no program of ours.
    Nowhere,
}

/// The answer; its field names are a contract, see `docs/policy-tools.md`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub verdict: Verdict,
    pub decided_at: DecidedAt,
    /// Label of the reason.
    pub reason: &'static str,
    pub sentence: &'static str,
    /// What was not said and therefore taken for granted.
    pub assumed: Vec<String>,
    /// The policy entry that decided, if one did.
    pub entry: Option<Entry>,
    /// How a denied packet is treated; none for one that passes.
    pub treatment: Option<Treated>,
    /// Other inside interfaces where the verdict would differ, if the interface was not said.
    pub elsewhere: Vec<Elsewhere>,
    pub steps: Vec<Step>,
    /// What would let a denied connection pass.
    pub remedies: Vec<Remedy>,
}

/// An entry of the policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Entry {
    pub kind: EntryKind,
    pub name: String,
    /// The fragment it stands in, as seen from the policy's directory; none for the policy file itself.
    pub file: Option<Arc<str>>,
    /// Line of the entry in that file, from 1.
    pub line: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    MailServer,
    Exception,
    Group,
}

impl EntryKind {
    pub const fn label(self) -> &'static str {
        match self {
            Self::MailServer => "mail server",
            Self::Exception => "exception",
            Self::Group => "group",
        }
    }
}

/// The verdict on another interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    /// Name or pattern, as in `interfaces.inside`.
    pub interface: String,
    pub verdict: Verdict,
}

impl Entry {
    /// "mail server mx1 (office.yaml:42)".
    pub fn shown(&self, file: &Path) -> String {
        let file = path_of(file, self.file.as_deref()).display().to_string();
        format!("{} {} ({}:{})", self.kind.label(), self.name, file.escape_debug(), self.line)
    }

    /// The entry that a decision names by its rule number; 0 is none.
    pub fn of_rule(policy: &Policy, rule: u32) -> Option<Self> {
        let index = (rule as usize).checked_sub(1)?;
        // Rules are numbered in this order.
        match index.checked_sub(policy.mail_servers.len()) {
            None => policy.mail_servers.get(index).map(Self::of_server),
            Some(index) => policy.exceptions.get(index).map(Self::of_exception),
        }
    }

    fn of_server(server: &MailServer) -> Self {
        Self {
            kind: EntryKind::MailServer,
            name: server.name.clone(),
            file: server.file.clone(),
            line: server.line,
        }
    }

    fn of_exception(exception: &Exception) -> Self {
        let Exception { name, file, line, .. } = exception;
        Self { kind: EntryKind::Exception, name: name.clone(), file: file.clone(), line: *line }
    }

    /// Every entry of a policy that can decide about a packet or about its treatment.
    pub fn all(policy: &Policy) -> impl Iterator<Item = Self> {
        let groups = policy.groups.iter().map(|group| Self {
            kind: EntryKind::Group,
            name: group.name.clone(),
            file: group.file.clone(),
            line: group.line,
        });
        let servers = policy.mail_servers.iter().map(Self::of_server);
        groups.chain(servers).chain(policy.exceptions.iter().map(Self::of_exception))
    }
}

/// A MAC as people write it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
