//! Flagged hosts as the log, the control socket and the verbs show them.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Inner;
use crate::agent::enforcement::now;
use crate::attempt::Mac;
use crate::detect::evidence::Evidence;
use crate::detect::{Change, Kind, Note, Report, Verdict};

/// A flagged host; the field names are a contract, see `docs/events.md`.
#[derive(Clone, Debug, Serialize)]
pub struct Flagged {
    /// What it is told apart by: its MAC, or its address behind a router.
    pub host: String,
    pub client: IpAddr,
    pub client_mac: Option<Mac>,
    pub verdict: Verdict,
    pub since: Timestamp,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub acknowledged: Option<Note>,
    pub evidence: Evidence,
}

/// A line of the log; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct FlagEvent {
    pub time: Timestamp,
    pub event: &'static str,
    pub change: Kind,
    /// Who has released or acknowledged it.
    pub user: Option<String>,
    #[serde(flatten)]
    pub flagged: Flagged,
}

/// How many hosts are flagged; the field names are a contract.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FlagCounts {
    pub infected: usize,
    pub suspect: usize,
    pub misconfigured: usize,
    pub acknowledged: usize,
    /// Hosts that are remembered, flagged or not.
    pub hosts: usize,
    /// Attempts of hosts that there was no room for beside the flagged ones.
    pub untracked: u64,
}

/// What `flags acknowledge` sends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AcknowledgeRequest {
    pub note: String,
}

impl Inner {
    /// Changes as lines of the log; the agent's own log tells them too.
    pub fn tell(&self, changes: impl IntoIterator<Item = Change>) -> Vec<FlagEvent> {
        let event = |Change { kind, report }| {
            let flagged = self.flagged(report);
            let event =
                FlagEvent { time: Timestamp::now(), event: "flag", change: kind, user: None, flagged };
            match event.flagged.verdict {
                Verdict::Misconfigured => log::info!("{event}"),
                _ => log::warn!("{event}"),
            }
            event
        };
        changes.into_iter().map(event).collect()
    }

    pub fn flagged(&self, report: Report) -> Flagged {
        let now = now();
        let present = self.time(now.boot);
        let wall = |time: u32| {
            let ago = SignedDuration::from_secs(i64::from(present) - i64::from(time));
            now.wall.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        Flagged {
            host: report.key.to_string(),
            client: report.address,
            client_mac: report.mac,
            verdict: report.verdict,
            since: wall(report.since),
            first_seen: wall(report.first),
            last_seen: wall(report.last),
            acknowledged: report.note,
            evidence: report.evidence,
        }
    }
}

impl fmt::Display for FlagEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flagged { host, client, verdict, evidence, .. } = &self.flagged;
        match self.change {
            Kind::Raised => {
                write!(f, "host {host} ({client}) is {verdict}: {}. {}", evidence.sentence, evidence.remedy)
            }
            Kind::Ended => write!(f, "host {host} ({client}) was quiet: it is no longer {verdict}"),
            Kind::Released => write!(f, "host {host} ({client}) is released: it is no longer {verdict}"),
            Kind::Acknowledged => write!(f, "host {host} ({client}) stays {verdict}, which is acknowledged"),
        }
    }
}
