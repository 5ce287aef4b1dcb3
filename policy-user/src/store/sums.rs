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
    /// Number, attempts and last time of every entry, then what makes its key.
    listing: &'static str,
    /// Its sums, in the order in which [`Sum::merge_kept`] reads them, then its number and what makes its key.
    pub all: &'static str,
    /// Reads a key from the columns that begin there.
    pub key: fn(&Row<'_>, usize) -> rusqlite::Result<K>,
    /// Numbers and addresses of the other table.
    others: &'static str,
    /// Its own and the other column of a row, then what both sides need.
    rows: &'static str,
}

pub const HOSTS: Side<HostKey> = Side {
    listing: "SELECT id, attempts, last, client, mac, interface FROM hosts",
    all: "SELECT attempts, would_block, first, last, reasons, destinations, id, client, mac, interface FROM hosts",
    key: |row, first| {
        Ok(HostKey {
            client: row.get_ref(first)?.as_blob_or_null()?.and_then(address_of),
            mac: row.get::<_, Option<i64>>(first + 1)?.map(mac_of),
            interface: row.get(first + 2)?,
        })
    },
    others: "SELECT id, destination FROM destinations",
    rows: "SELECT host, destination, context, time, unlisted FROM attempts WHERE time >= ?",
};

pub const DESTINATIONS: Side<Option<IpAddr>> = Side {
    listing: "SELECT id, attempts, last, destination FROM destinations",
    all: "SELECT attempts, would_block, first, last, reasons, clients, id, destination FROM destinations",
    key: |row, first| Ok(row.get_ref(first)?.as_blob_or_null()?.and_then(address_of)),
    others: "SELECT id, client FROM hosts",
    rows: "SELECT destination, host, context, time, unlisted FROM attempts WHERE time >= ?",
};

/// What is known of keys before their sums are read: as much as their order needs. What is touched for each of a million
/// entries is kept small, so that it stays in the processor's caches.
struct Finds<K> {
    numbers: HashMap<K, usize>,
    /// By number: attempts and the last time.
    totals: Vec<(u64, i64)>,
    /// Sums of files that the beginning cuts.
    from_rows: HashMap<usize, Sum>,
    /// Where the rest of the sums are: number, file, number in the file.
    kept: Vec<(usize, usize, i64)>,
}

impl<K> Default for Finds<K> {
    fn default() -> Self {
        let (numbers, from_rows) = (HashMap::new(), HashMap::new());
        Self { numbers, totals: Vec::new(), from_rows, kept: Vec::new() }
    }
}

impl<K: Hash + Eq> Finds<K> {
    fn add(&mut self, key: K, attempts: u64, last: i64) -> usize {
        let number = *self.numbers.entry(key).or_insert(self.totals.len());
        match self.totals.get_mut(number) {
            Some(total) => *total = (total.0 + attempts, total.1.max(last)),
            None => self.totals.push((attempts, last)),
        }
        number
    }

    fn join(&mut self, other: Self) {
        let mut here = vec![0; other.totals.len()];
        for (key, number) in other.numbers {
            let (attempts, last) = other.totals[number];
            here[number] = self.add(key, attempts, last);
        }
        for (number, sum) in other.from_rows {
            self.from_rows.entry(here[number]).or_default().merge(&sum);
        }
        self.kept.extend(other.kept.into_iter().map(|(number, file, id)| (here[number], file, id)));
    }
}

/// The first `limit` by attempts, the most first, of everything since then (microseconds since 1970, UTC), and how many
/// there are in all. Only of those that are returned the sums are read: they are the larger part of a file's tables.
pub fn busiest<K: Hash + Ord + Send>(
    files: &[StoreFile],
    since: i64,
    side: &Side<K>,
    limit: usize,
) -> Result<(Vec<(K, Sum)>, usize), Failure> {
    let finds =
        in_parallel(files, |finds: &mut Finds<K>, number, file| find(file, number, since, side, finds))?;
    let mut all = Finds::default();
    finds.into_iter().for_each(|part| all.join(part));
    let Finds { numbers, totals, mut from_rows, kept } = all;
    let total = totals.len();
    let mut order: Vec<(K, usize)> = numbers.into_iter().collect();
    order.sort_unstable_by(|(a, x), (b, y)| (totals[*y], a).cmp(&(totals[*x], b)));
    order.truncate(limit);
    let ranks: HashMap<usize, usize> =
        order.iter().enumerate().map(|(rank, (_, number))| (*number, rank)).collect();
    // By file, because opening one takes longer than reading a sum from it.
    let mut places: Vec<Vec<(usize, i64)>> = files.iter().map(|_| Vec::new()).collect();
    for (number, file, id) in kept {
        if let Some(rank) = ranks.get(&number) {
            places[file].push((*rank, id));
        }
    }
    let kept = in_parallel(files, |sums: &mut HashMap<usize, Sum>, number, file| {
        read_kept(file, side, &places[number], sums)
    })?;
    let cut = |(key, number)| (key, from_rows.remove(&number).unwrap_or_default());
    let mut list: Vec<(K, Sum)> = order.into_iter().map(cut).collect();
    for (rank, sum) in kept.iter().flatten() {
        list[*rank].1.merge(sum);
    }
    Ok((list, total))
}

/// Reads every file once, several at a time; what each worker has collected is returned.
fn in_parallel<T: Default + Send>(
    files: &[StoreFile],
    add: impl Fn(&mut T, usize, &Connection) -> rusqlite::Result<()> + Sync,
) -> Result<Vec<T>, Failure> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<T, Failure> {
        let mut collected = T::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(number) else { return Ok(collected) };
            read(file, |connection| add(&mut collected, number, connection))?;
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..processors.min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut all = vec![work()?];
        for helper in helpers {
            let failed = |_| Failure::CouldNotRun("reading the block log has failed".to_owned());
            all.push(helper.join().map_err(failed)??);
        }
        Ok(all)
    })
}

fn find<K: Hash + Eq>(
    file: &Connection,
    number: usize,
    since: i64,
    side: &Side<K>,
    finds: &mut Finds<K>,
) -> rusqlite::Result<()> {
    let span = file.query_row("SELECT min(first), max(last) FROM hosts", [], |row| {
        Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
    })?;
    match span {
        (Some(first), _) if first >= since => find_kept(file, number, side, finds),
        (_, Some(last)) if last >= since => find_rows(file, since, side, finds),
        _ => Ok(()),
    }
}

fn find_kept<K: Hash + Eq>(
    file: &Connection,
    number: usize,
    side: &Side<K>,
    finds: &mut Finds<K>,
) -> rusqlite::Result<()> {
    let mut statement = file.prepare(side.listing)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let attempts = row.get::<_, i64>(1)?.unsigned_abs();
        let key = finds.add((side.key)(row, 3)?, attempts, row.get(2)?);
        finds.kept.push((key, number, row.get(0)?));
    }
    Ok(())
}

/// The sums of these numbers, by the rank that each belongs to.
fn read_kept<K>(
    file: &Connection,
    side: &Side<K>,
    places: &[(usize, i64)],
    sums: &mut HashMap<usize, Sum>,
) -> rusqlite::Result<()> {
    let mut statement = file.prepare(&format!("{} WHERE id = ?", side.all))?;
    for (rank, id) in places {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()? {
            sums.entry(*rank).or_default().merge_kept(row)?;
        }
    }
    Ok(())
}

/// By their numbers in this file first: names and addresses are looked up once each, not once a row.
fn find_rows<K: Hash + Eq>(
    file: &Connection,
    since: i64,
    side: &Side<K>,
    finds: &mut Finds<K>,
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
    let mut statement = file.prepare(side.listing)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(sum) = found.get(&row.get(0)?) {
            let key = finds.add((side.key)(row, 3)?, sum.attempts, sum.last);
            finds.from_rows.entry(key).or_default().merge(sum);
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
