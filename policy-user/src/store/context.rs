//! What many attempts have in common, kept once a file: why, under which policy, through what.

use rusqlite::{Row, ToSql};

use crate::attempt::{Attempt, Mac};

/// Names, policies and revisions repeat from row to row; the columns of table `contexts`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    pub verdict: String,
    pub reason: String,
    pub interface: String,
    pub ifindex: u32,
    pub vlan: Option<u16>,
    pub destination_port: u16,
    pub destination_mac: Option<i64>,
    pub tcp_flags: String,
    pub rule: Option<String>,
    pub policy: String,
    pub revision: String,
}

/// Columns in the order of [`Context::values`] and [`Context::read`].
pub const COLUMNS: &str = "verdict, reason, interface, ifindex, vlan, destination_port, destination_mac, tcp_flags, rule, \
                           policy, revision";

impl Context {
    pub fn of(attempt: &Attempt) -> Self {
        Self {
            verdict: attempt.verdict.to_owned(),
            reason: attempt.reason.to_owned(),
            interface: attempt.interface.clone(),
            ifindex: attempt.ifindex,
            vlan: attempt.vlan,
            destination_port: attempt.destination_port,
            destination_mac: attempt.destination_mac.map(number_of),
            tcp_flags: attempt.tcp_flags.clone(),
            rule: attempt.rule.clone(),
            policy: attempt.policy.clone(),
            revision: attempt.revision.clone(),
        }
    }

    pub fn values(&self) -> [&dyn ToSql; 11] {
        [
            &self.verdict,
            &self.reason,
            &self.interface,
            &self.ifindex,
            &self.vlan,
            &self.destination_port,
            &self.destination_mac,
            &self.tcp_flags,
            &self.rule,
            &self.policy,
            &self.revision,
        ]
    }

    /// Reads it from the columns that begin at `first`.
    pub fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            verdict: row.get(first)?,
            reason: row.get(first + 1)?,
            interface: row.get(first + 2)?,
            ifindex: row.get(first + 3)?,
            vlan: row.get(first + 4)?,
            destination_port: row.get(first + 5)?,
            destination_mac: row.get(first + 6)?,
            tcp_flags: row.get(first + 7)?,
            rule: row.get(first + 8)?,
            policy: row.get(first + 9)?,
            revision: row.get(first + 10)?,
        })
    }
}

/// A MAC as a number, its first byte the highest of six.
pub fn number_of(mac: Mac) -> i64 {
    mac.0.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
}

pub fn mac_of(number: i64) -> Mac {
    let [_, _, mac @ ..] = number.to_be_bytes();
    Mac(mac)
}
