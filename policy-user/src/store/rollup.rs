//! The sums of one file by client and by destination, so that a listing reads thousands of rows and not millions.

use std::collections::HashMap;
use std::net::IpAddr;

use policy_common::Reason;
use rusqlite::{Connection, params};

use super::context::{mac_of, number_of};
use super::distinct::Distinct;
use crate::attempt::{Attempt, Mac};

/// Who tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        let time = attempt.time.as_microsecond();
        let attempts = 1 + u64::from(attempt.unlisted);
        let reason = Reason::ALL.into_iter().find(|reason| reason.label() == attempt.reason);
        let would_block = if attempt.verdict == "would_block" { attempts } else { 0 };
        let reasons = reason.map_or(0, |reason| 1 << (reason as u32));
        let others = std::mem::take(&mut self.others);
        self.merge(&Self { attempts, would_block, first: time, last: time, reasons, others });
        self.others.insert(other);
    }

    pub fn merge(&mut self, other: &Self) {
        self.first = if self.attempts == 0 { other.first } else { self.first.min(other.first) };
        self.last = if self.attempts == 0 { other.last } else { self.last.max(other.last) };
        self.attempts += other.attempts;
        self.would_block += other.would_block;
        self.reasons |= other.reasons;
        self.others.merge(&other.others);
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
    destinations: HashMap<Vec<u8>, Entry>,
    changed_hosts: Vec<HostKey>,
    changed_destinations: Vec<Vec<u8>>,
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
        let hosts =
            read_hosts(file)?.into_iter().map(|(id, key, sum)| (key, Entry { id, sum, changed: false }));
        let destinations = read_destinations(file)?;
        let destinations =
            destinations.into_iter().map(|(id, key, sum)| (key, Entry { id, sum, changed: false }));
        Ok(Self { hosts: hosts.collect(), destinations: destinations.collect(), ..Self::default() })
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
        let entry = self.destinations.entry(destination.clone()).or_insert_with(|| Entry::new(next));
        entry.sum.add(attempt, &client);
        if !std::mem::replace(&mut entry.changed, true) {
            self.changed_destinations.push(destination);
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
                key,
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

/// The hosts of a file with their numbers.
pub fn read_hosts(file: &Connection) -> rusqlite::Result<Vec<(i64, HostKey, Sum)>> {
    let mut statement = file.prepare(
        "SELECT id, client, mac, interface, attempts, would_block, first, last, reasons, destinations FROM hosts",
    )?;
    let rows = statement.query_map([], |row| {
        let client: Option<Vec<u8>> = row.get(1)?;
        let key = HostKey {
            client: client.as_deref().and_then(address_of),
            mac: row.get::<_, Option<i64>>(2)?.map(mac_of),
            interface: row.get(3)?,
        };
        Ok((row.get(0)?, key, read_sum(row, 4)?))
    })?;
    rows.collect()
}

/// The destinations of a file with their numbers.
pub fn read_destinations(file: &Connection) -> rusqlite::Result<Vec<(i64, Vec<u8>, Sum)>> {
    let mut statement = file.prepare(
        "SELECT id, destination, attempts, would_block, first, last, reasons, clients FROM destinations",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, read_sum(row, 2)?)))?;
    rows.collect()
}

fn read_sum(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Sum> {
    Ok(Sum {
        attempts: row.get::<_, i64>(first)?.unsigned_abs(),
        would_block: row.get::<_, i64>(first + 1)?.unsigned_abs(),
        first: row.get(first + 2)?,
        last: row.get(first + 3)?,
        reasons: row.get::<_, i64>(first + 4)? as u64,
        others: Distinct::from_bytes(&row.get::<_, Vec<u8>>(first + 5)?),
    })
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
