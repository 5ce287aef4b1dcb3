//! Sums over the store: per host, per destination, and the story of one host.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::reader::{Filter, Reader, read};
use super::rollup::{HostKey, Sum, address_bytes};
use super::sums::{self, busiest};
use crate::attempt::Mac;
use crate::failure::Failure;

/// One host's blocked attempts; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostTotal {
    /// None where the packets were too short to say.
    pub client: Option<IpAddr>,
    pub mac: Option<Mac>,
    pub interface: String,
    #[serde(flatten)]
    pub totals: Totals,
    /// Different destinations: exact up to 255, beyond that an estimate within a few per cent.
    pub destinations: u64,
}

/// What was tried at one destination; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DestinationTotal {
    pub destination: Option<IpAddr>,
    #[serde(flatten)]
    pub totals: Totals,
    /// Different clients, counted like [`HostTotal::destinations`].
    pub clients: u64,
}

/// Sums of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Including those that have no row of their own.
    pub attempts: u64,
    /// Of these, what audit mode let go on.
    pub would_block: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    pub reasons: Vec<&'static str>,
}

/// Attempts of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HourCount {
    pub hour: Timestamp,
    pub attempts: u64,
}

/// Attempts with one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonTotal {
    pub reason: String,
    pub attempts: u64,
}

/// All about one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostStory {
    pub client: IpAddr,
    /// One for each MAC and interface that it was seen with.
    pub seen_as: Vec<HostTotal>,
    pub hours: Vec<HourCount>,
    /// The most tried first.
    pub destinations: Vec<DestinationTotal>,
}

impl Reader {
    /// The first `limit` hosts with attempts since then, the busiest first, and how many there are.
    pub fn hosts(&self, since: Timestamp, limit: usize) -> Result<(Vec<HostTotal>, usize), Failure> {
        let (busiest, total) = busiest(&self.files()?, since.as_microsecond(), &sums::HOSTS, limit)?;
        Ok((busiest.into_iter().map(|(key, sum)| host_total(key, &sum)).collect(), total))
    }

    /// The first `limit` destinations that were tried since then, the most tried first, and how many there are.
    pub fn destinations(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<(Vec<DestinationTotal>, usize), Failure> {
        let (busiest, total) = busiest(&self.files()?, since.as_microsecond(), &sums::DESTINATIONS, limit)?;
        Ok((busiest.into_iter().map(destination_total).collect(), total))
    }

    /// What one client did since then; none if nothing.
    pub fn host(&self, client: IpAddr, since: Timestamp) -> Result<Option<HostStory>, Failure> {
        let mut seen_as: HashMap<HostKey, Sum> = HashMap::new();
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        let mut destinations: HashMap<Option<IpAddr>, Sum> = HashMap::new();
        let filter = Filter { host: Some(client), since: Some(since), ..Filter::default() };
        self.for_each(&filter, |row| {
            let attempt = &row.attempt;
            let key = HostKey {
                client: attempt.client,
                mac: attempt.client_mac,
                interface: attempt.interface.clone(),
            };
            seen_as.entry(key).or_default().add(attempt, &address_bytes(attempt.destination));
            *hours.entry(attempt.time.as_second().div_euclid(3600)).or_default() +=
                1 + u64::from(attempt.unlisted);
            destinations.entry(attempt.destination).or_default().add(attempt, &address_bytes(attempt.client));
            true
        })?;
        let mut seen_as: Vec<HostTotal> =
            seen_as.into_iter().map(|(key, sum)| host_total(key, &sum)).collect();
        seen_as.sort_by_key(|seen| std::cmp::Reverse(seen.totals.last));
        let hours = hours
            .into_iter()
            .map(|(hour, attempts)| HourCount { hour: time(hour * 3_600_000_000), attempts });
        let story = HostStory {
            client,
            seen_as,
            hours: hours.collect(),
            destinations: destination_totals(destinations),
        };
        Ok((!story.seen_as.is_empty()).then_some(story))
    }

    /// Attempts by hour, the earliest first; hours without any are left out.
    pub fn hours(&self, since: Timestamp) -> Result<Vec<HourCount>, Failure> {
        const SQL: &str =
            "SELECT a.time / 3600000000, sum(1 + a.unlisted) FROM attempts a WHERE a.time >= ?1 GROUP BY 1";
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        self.count(since, SQL, |row| {
            *hours.entry(row.get(0)?).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
            Ok(())
        })?;
        Ok(hours
            .into_iter()
            .map(|(hour, attempts)| HourCount { hour: time(hour * 3_600_000_000), attempts })
            .collect())
    }

    /// Attempts by reason, the most frequent first.
    pub fn reasons(&self, since: Timestamp) -> Result<Vec<ReasonTotal>, Failure> {
        const SQL: &str = "SELECT c.reason, sum(1 + a.unlisted) FROM attempts a JOIN contexts c ON c.id = a.context \
                           WHERE a.time >= ?1 GROUP BY 1";
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        self.count(since, SQL, |row| {
            *reasons.entry(row.get(0)?).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
            Ok(())
        })?;
        let mut list: Vec<ReasonTotal> =
            reasons.into_iter().map(|(reason, attempts)| ReasonTotal { reason, attempts }).collect();
        list.sort_by_key(|total| std::cmp::Reverse(total.attempts));
        Ok(list)
    }

    fn count(
        &self,
        since: Timestamp,
        sql: &str,
        mut each: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), Failure> {
        for file in self.files()? {
            read(&file, |connection| {
                let mut statement = connection.prepare(sql)?;
                let mut rows = statement.query([since.as_microsecond()])?;
                while let Some(row) = rows.next()? {
                    each(row)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn host_total(key: HostKey, sum: &Sum) -> HostTotal {
    let HostKey { client, mac, interface } = key;
    let destinations = others(sum);
    HostTotal { client, mac, interface, totals: totals(sum), destinations }
}

fn destination_total((destination, sum): (Option<IpAddr>, Sum)) -> DestinationTotal {
    DestinationTotal { destination, totals: totals(&sum), clients: others(&sum) }
}

fn destination_totals(sums: HashMap<Option<IpAddr>, Sum>) -> Vec<DestinationTotal> {
    let mut list: Vec<DestinationTotal> = sums.into_iter().map(destination_total).collect();
    list.sort_by(|a, b| {
        (b.totals.attempts, b.totals.last, a.destination).cmp(&(
            a.totals.attempts,
            a.totals.last,
            b.destination,
        ))
    });
    list
}

/// Each attempt has one end: an estimate above that is wrong.
fn others(sum: &Sum) -> u64 {
    sum.others.count().min(sum.attempts)
}

fn totals(sum: &Sum) -> Totals {
    Totals {
        attempts: sum.attempts,
        would_block: sum.would_block,
        first: time(sum.first),
        last: time(sum.last),
        reasons: sum.reason_labels(),
    }
}

fn time(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}
