//! The sums of one file by client and by destination, so that a listing reads thousands of rows and not millions.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use policy_common::Reason;
use rusqlite::{Connection, Row, params};

use super::context::number_of;
use super::distinct::Distinct;
use super::sums::{self, Side};
use crate::attempt::{Attempt, Mac};

/// Who tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey {
    pub client: Option<IpAddr>,
    pub mac: Option<Mac>,
    pub interface: String,
}

/// Sums over attempts; times in microseconds since 1970, UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Rows and those that have none of their own.
    pub attempts: u64,
    pub would_block: u64,
    pub first: i64,
    pub last: i64,
    /// Bit n: an attempt had the reason of number n.
    pub reasons: u64,
    /// The other side: destinations of a host, hosts of a destination.
    pub others: Distinct,
}

impl Sum {
    pub fn add(&mut self, attempt: &Attempt, other: &[u8]) {
        let attempts = 1 + u64::from(attempt.unlisted);
        let reason = Reason::ALL.into_iter().find(|reason| reason.label() == attempt.reason);
        let would_block = if attempt.verdict == "would_block" { attempts } else { 0 };
        let reasons = reason.map_or(0, |reason| 1 << (reason as u32));
        self.count(attempt.time.as_microsecond(), attempts, would_block, reasons);
        self.others.insert(other);
    }

    /// Counts attempts of one moment.
    pub fn count(&mut self, time: i64, attempts: u64, would_block: u64, reasons: u64) {
        self.add_up(time, time, attempts, would_block, reasons);
    }

    pub fn merge(&mut self, other: &Self) {
        self.add_up(other.first, other.last, other.attempts, other.would_block, other.reasons);
        self.others.merge(&other.others);
    }

    /// Merges a sum as it is kept: `attempts`, `would_block`, `first`, `last`, `reasons` and the sketch.
    pub fn merge_kept(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        self.add_up(row.get(2)?, row.get(3)?, count(0)?, count(1)?, row.get::<_, i64>(4)? as u64);
        self.others.merge_bytes(row.get_ref(5)?.as_blob()?);
        Ok(())
    }

    fn add_up(&mut self, first: i64, last: i64, attempts: u64, would_block: u64, reasons: u64) {
        self.first = if self.attempts == 0 { first } else { self.first.min(first) };
        self.last = if self.attempts == 0 { last } else { self.last.max(last) };
        self.attempts += attempts;
        self.would_block += would_block;
        self.reasons |= reasons;
    }

    /// The labels of the reasons, in the order of their numbers.
    pub fn reason_labels(&self) -> Vec<&'static str> {
        let has = |reason: &Reason| self.reasons >> (*reason as u32) & 1 != 0;
        Reason::ALL.into_iter().filter(has).map(Reason::label).collect()
    }
}

/// The sums of the file that is being written, as they are after its last commit and the rows since.
#[derive(Default)]
pub struct Rollup {
    hosts: HashMap<HostKey, Entry>,
    destinations: HashMap<Option<IpAddr>, Entry>,
    changed_hosts: Vec<HostKey>,
    changed_destinations: Vec<Option<IpAddr>>,
}

struct Entry {
    id: i64,
    sum: Sum,
    changed: bool,
}

impl Rollup {
    pub const SCHEMA: &str = "
        CREATE TABLE hosts (
            id INTEGER PRIMARY KEY, client BLOB, mac INTEGER, interface TEXT NOT NULL, attempts INTEGER NOT NULL,
            would_block INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, reasons INTEGER NOT NULL,
            destinations BLOB NOT NULL
        );
        CREATE TABLE destinations (
            id INTEGER PRIMARY KEY, destination BLOB, attempts INTEGER NOT NULL, would_block INTEGER NOT NULL,
            first INTEGER NOT NULL, last INTEGER NOT NULL, reasons INTEGER NOT NULL, clients BLOB NOT NULL
        );";

    /// What a file that is written further has already.
    pub fn read(file: &Connection) -> rusqlite::Result<Self> {
        let (hosts, destinations) = (entries(file, &sums::HOSTS)?, entries(file, &sums::DESTINATIONS)?);
        Ok(Self { hosts, destinations, ..Self::default() })
    }

    /// Counts an attempt; gives the numbers of its host and of its destination in this file.
    pub fn add(&mut self, attempt: &Attempt) -> (i64, i64) {
        let key =
            HostKey { client: attempt.client, mac: attempt.client_mac, interface: attempt.interface.clone() };
        let (client, destination) = (address_bytes(attempt.client), address_bytes(attempt.destination));
        let next = self.hosts.len() as i64 + 1;
        let host = self.hosts.entry(key.clone()).or_insert_with(|| Entry::new(next));
        host.sum.add(attempt, &destination);
        if !std::mem::replace(&mut host.changed, true) {
            self.changed_hosts.push(key);
        }
        let host = host.id;
        let next = self.destinations.len() as i64 + 1;
        let entry = self.destinations.entry(attempt.destination).or_insert_with(|| Entry::new(next));
        entry.sum.add(attempt, &client);
        if !std::mem::replace(&mut entry.changed, true) {
            self.changed_destinations.push(attempt.destination);
        }
        (host, entry.id)
    }

    /// Writes what has changed since the last time.
    pub fn write(&mut self, file: &Connection) -> rusqlite::Result<()> {
        let mut statement =
            file.prepare_cached("REPLACE INTO hosts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        for key in &self.changed_hosts {
            let Some(Entry { id, sum, .. }) = self.hosts.get(key) else { continue };
            statement.execute(params![
                id,
                key.client.map(|ip| address_bytes(Some(ip))),
                key.mac.map(number_of),
                key.interface,
                sum.attempts as i64,
                sum.would_block as i64,
                sum.first,
                sum.last,
                sum.reasons as i64,
                sum.others.to_bytes()
            ])?;
        }
        let mut statement =
            file.prepare_cached("REPLACE INTO destinations VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
        for key in &self.changed_destinations {
            let Some(Entry { id, sum, .. }) = self.destinations.get(key) else { continue };
            statement.execute(params![
                id,
                address_bytes(*key),
                sum.attempts as i64,
                sum.would_block as i64,
                sum.first,
                sum.last,
                sum.reasons as i64,
                sum.others.to_bytes()
            ])?;
        }
        Ok(())
    }

    /// To be called once what was written is committed.
    pub fn committed(&mut self) {
        for key in self.changed_hosts.drain(..) {
            self.hosts.entry(key).and_modify(|entry| entry.changed = false);
        }
        for key in self.changed_destinations.drain(..) {
            self.destinations.entry(key).and_modify(|entry| entry.changed = false);
        }
    }

    /// Entries in memory: the reason to begin another file.
    pub fn len(&self) -> usize {
        self.hosts.len() + self.destinations.len()
    }
}

impl Entry {
    fn new(id: i64) -> Self {
        Self { id, sum: Sum::default(), changed: false }
    }
}

/// What a table of sums has.
fn entries<K: Hash + Eq>(file: &Connection, side: &Side<K>) -> rusqlite::Result<HashMap<K, Entry>> {
    let mut statement = file.prepare(side.all)?;
    let rows = statement.query_map([], |row| {
        let mut sum = Sum::default();
        sum.merge_kept(row)?;
        Ok(((side.key)(row, 7)?, Entry { id: row.get(6)?, sum, changed: false }))
    })?;
    rows.collect()
}

/// 4 or 16 bytes in network order; none where there is no address.
pub fn address_bytes(address: Option<IpAddr>) -> Vec<u8> {
    match address {
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
        None => Vec::new(),
    }
}

pub fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}
