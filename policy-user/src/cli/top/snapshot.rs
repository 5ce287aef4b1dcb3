//! What one look at agent, kernel and block log brings to the screen.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::attempt::Mac;
use crate::cli::verdicts::Verdicts;
use crate::cli::{harmless, hosts};
use crate::identity::{Agreement, Identity};
use crate::store::{HostStory, HostTotal, Row};

/// One look.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub time: Timestamp,
    /// On a clock that no step changes, for rates.
    pub moment: Duration,
    pub agent: Agent,
    /// As `GET /v1/status` has it; the reason where neither the agent nor the kernel's maps can be read.
    pub status: Result<Value, String>,
    pub accounts: Arc<Vec<Total>>,
    /// The reason where nobody knows who is flagged.
    pub verdicts: Result<Verdicts, String>,
    /// The last day of the block log, or why it can't be read.
    pub hosts: Result<Arc<Vec<HostLine>>, String>,
    /// Attempts that no earlier look has brought, the newest last.
    pub rows: Vec<Row>,
    /// About the host that the screen asked for.
    pub story: Option<Arc<Story>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    Answers,
    Gone,
    /// Its socket is there, but it does not answer in time.
    Silent,
}

/// The kernel's exact number of attempts of one host.
#[derive(Clone, Debug)]
pub struct Total {
    pub host: HostName,
    pub attempts: u64,
}

/// What tells hosts apart on the screen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostName {
    pub client: Option<IpAddr>,
    pub mac: Option<Mac>,
    pub interface: String,
}

#[derive(Clone, Debug)]
pub struct HostLine {
    pub total: HostTotal,
    pub who: Who,
}

impl HostLine {
    pub fn name(&self) -> HostName {
        let HostTotal { client, mac, interface, .. } = &self.total;
        HostName { client: *client, mac: *mac, interface: interface.clone() }
    }
}

/// Whose machine it is, harmless for a terminal.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Name, maker, and what does not fit together.
    pub long: String,
    /// The most telling of these.
    pub short: String,
}

impl Who {
    pub fn fit(&self, wide: bool) -> &str {
        if wide { &self.long } else { &self.short }
    }

    pub fn of(identity: &Identity) -> Self {
        let best = match identity.neighbour {
            Agreement::Differs => Some("CLAIMED BY TWO"),
            _ => identity.name.as_deref().or(identity.vendor.as_deref()),
        };
        Self { long: hosts::who(identity), short: harmless(best.unwrap_or_default()) }
    }
}

/// All about one host.
#[derive(Clone, Debug)]
pub struct Story {
    pub client: IpAddr,
    pub since: Timestamp,
    pub identity: Identity,
    /// None where nothing of it was blocked; the reason where the log can't be read.
    pub story: Result<Option<HostStory>, String>,
    /// What the policy says about it by name.
    pub entries: Vec<Value>,
    /// Commands to paste.
    pub next: Vec<String>,
    /// Its newest attempts, the newest first.
    pub rows: Vec<Row>,
}
