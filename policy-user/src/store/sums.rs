//! Sums over many files: of whole files from what they have summed, of one that the beginning cuts from its rows.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use policy_common::Reason;
use rusqlite::{Connection, Row};

use super::context::mac_of;
use super::distinct;
use super::files::StoreFile;
use super::reader::read;
use super::rollup::{HostKey, Sum, address_of};
use crate::failure::Failure;

/// What is summed by: one of the two tables of sums.
pub struct Side<K> {
    /// Its sums, in the order in which [`Sum::merge_kept`] reads them, then its number and what makes its key.
    pub all: &'static str,
    pub key: fn(&Row<'_>) -> rusqlite::Result<K>,
    /// Numbers and addresses of the other table.
    others: &'static str,
    /// Its own and the other column of a row, then what both sides need.
    rows: &'static str,
}

pub const HOSTS: Side<HostKey> = Side {
    all: "SELECT attempts, would_block, first, last, reasons, destinations, id, client, mac, interface FROM hosts",
    key: |row| {
        Ok(HostKey {
            client: row.get_ref(7)?.as_blob_or_null()?.and_then(address_of),
            mac: row.get::<_, Option<i64>>(8)?.map(mac_of),
            interface: row.get(9)?,
        })
    },
    others: "SELECT id, destination FROM destinations",
    rows: "SELECT host, destination, context, time, unlisted FROM attempts WHERE time >= ?",
};

pub const DESTINATIONS: Side<Option<IpAddr>> = Side {
    all: "SELECT attempts, would_block, first, last, reasons, clients, id, destination FROM destinations",
    key: |row| Ok(row.get_ref(7)?.as_blob_or_null()?.and_then(address_of)),
    others: "SELECT id, client FROM hosts",
    rows: "SELECT destination, host, context, time, unlisted FROM attempts WHERE time >= ?",
};

/// Sums of everything since then (microseconds since 1970, UTC). Several files are read at once.
pub fn sums<K: Hash + Eq + Send>(
    files: &[StoreFile],
    since: i64,
    side: &Side<K>,
) -> Result<HashMap<K, Sum>, Failure> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<HashMap<K, Sum>, Failure> {
        let mut sums = HashMap::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            read(file, |connection| add_file(connection, since, side, &mut sums))?;
        }
        Ok(sums)
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..processors.min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut sums = work()?;
        for helper in helpers {
            // A helper that has panicked has said so; what it would have found is missing.
            let found = helper
                .join()
                .map_err(|_| Failure::CouldNotRun("reading the block log failed".to_owned()))??;
            for (key, sum) in found {
                sums.entry(key).or_default().merge(&sum);
            }
        }
        Ok(sums)
    })
}

fn add_file<K: Hash + Eq>(
    file: &Connection,
    since: i64,
    side: &Side<K>,
    sums: &mut HashMap<K, Sum>,
) -> rusqlite::Result<()> {
    let span = file.query_row("SELECT min(first), max(last) FROM hosts", [], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    match span {
        (Some(first), _) if first >= since => add_whole(file, side, sums),
        (_, Some(last)) if last >= since => add_rows(file, since, side, sums),
        _ => Ok(()),
    }
}

fn add_whole<K: Hash + Eq>(
    file: &Connection,
    side: &Side<K>,
    sums: &mut HashMap<K, Sum>,
) -> rusqlite::Result<()> {
    let mut statement = file.prepare(side.all)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sums.entry((side.key)(row)?).or_default().merge_kept(row)?;
    }
    Ok(())
}

/// By their numbers in this file first: names and addresses are looked up once each, not once a row.
fn add_rows<K: Hash + Eq>(
    file: &Connection,
    since: i64,
    side: &Side<K>,
    sums: &mut HashMap<K, Sum>,
) -> rusqlite::Result<()> {
    let contexts = contexts(file)?;
    let others: HashMap<i64, u32> = file
        .prepare(side.others)?
        .query_map([], |row| {
            let address = row.get_ref(1)?.as_blob_or_null()?.unwrap_or_default();
            Ok((row.get(0)?, distinct::hash(address)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut found: HashMap<i64, Sum> = HashMap::new();
    let mut statement = file.prepare(side.rows)?;
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        let (own, other, context): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (reasons, would_block) = contexts.get(&context).copied().unwrap_or_default();
        let (time, attempts) = (row.get(3)?, 1 + row.get::<_, i64>(4)?.unsigned_abs());
        let sum = found.entry(own).or_default();
        sum.count(time, attempts, if would_block { attempts } else { 0 }, reasons);
        if let Some(hash) = others.get(&other) {
            sum.others.insert_hash(*hash);
        }
    }
    let mut statement = file.prepare(side.all)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(sum) = found.get(&row.get(6)?) {
            sums.entry((side.key)(row)?).or_default().merge(sum);
        }
    }
    Ok(())
}

/// Reason, as in [`Sum::reasons`], and whether audit mode let it go on, of each context.
fn contexts(file: &Connection) -> rusqlite::Result<HashMap<i64, (u64, bool)>> {
    let mut statement = file.prepare("SELECT id, reason, verdict = 'would_block' FROM contexts")?;
    let contexts = statement.query_map([], |row| {
        let label: String = row.get(1)?;
        let reason = Reason::ALL.into_iter().find(|reason| reason.label() == label);
        Ok((row.get(0)?, (reason.map_or(0, |reason| 1 << (reason as u32)), row.get(2)?)))
    })?;
    contexts.collect()
}
