//! Reading the store, from any process and also while no agent runs: never in the writer's way.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policy_common::Reason;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde::Serialize;

use super::StoreError;
use super::context::{Context, mac_of};
use super::file::SCHEMA_VERSION;
use super::files::{self, DIRECTORY, StoreFile};
use super::rollup::{address_bytes, address_of};
use crate::attempt::{Attempt, Mac};
use crate::failure::Failure;

/// Which attempts; what is `None` is no condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub host: Option<IpAddr>,
    pub to: Option<IpAddr>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    pub interface: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub would_block: bool,
    /// The beginning of the ID, in hexadecimal digits.
    pub id: Option<String>,
    /// Only rows with a higher number.
    pub after: Option<i64>,
}

/// A kept attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Grows with every row, whatever the clock does.
    pub sequence: i64,
    /// What the attempt took at least: as many as were counted when the kernel was asked last.
    pub packets: u64,
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// The store as it is at the moment of each question.
pub struct Reader {
    directory: PathBuf,
}

impl Reader {
    pub fn open(state_dir: &Path) -> Self {
        Self { directory: state_dir.join(DIRECTORY) }
    }

    /// The newest `limit` attempts that fit, the oldest of them first.
    pub fn log(&self, filter: &Filter, limit: usize) -> Result<Vec<Row>, Failure> {
        let mut found = Vec::new();
        for file in self.files()?.into_iter().rev() {
            if filter.after.is_some_and(|after| self.ends_before(&file, after)) || found.len() >= limit {
                break;
            }
            let rows = read(&file, |connection| select(connection, filter, limit - found.len()))?;
            found.extend(rows.unwrap_or_default());
        }
        found.reverse();
        Ok(found)
    }

    /// Calls `visit` for every attempt that fits, the oldest first, until it says to stop.
    pub fn for_each(&self, filter: &Filter, mut visit: impl FnMut(Row) -> bool) -> Result<(), Failure> {
        for file in self.files()? {
            let go_on = read(&file, |connection| walk(connection, filter, &mut visit))?;
            if go_on == Some(false) {
                break;
            }
        }
        Ok(())
    }

    /// The same, but attempts of one file that differ only in time and port come as one: the newest, whose `unlisted`
    /// counts the others.
    pub fn for_each_kind(&self, filter: &Filter, mut visit: impl FnMut(Row) -> bool) -> Result<(), Failure> {
        for file in self.files()? {
            let go_on = read(&file, |connection| walk_kinds(connection, filter, &mut visit))?;
            if go_on == Some(false) {
                break;
            }
        }
        Ok(())
    }

    /// Whether an agent has ever kept a log here.
    pub fn exists(&self) -> bool {
        self.directory.is_dir()
    }

    /// An error where there is no log: "nothing was blocked" would be a lie.
    pub(super) fn files(&self) -> Result<Vec<StoreFile>, Failure> {
        if !self.exists() {
            return Err(Failure::CouldNotRun(format!(
                "there is no block log in {}: no agent has run with this --state-dir, or you may not read it",
                self.directory.display()
            )));
        }
        files::list(&self.directory).map_err(|error| Failure::io("read", &self.directory, &error))
    }

    /// Whether a later file begins before that number, so that this one has none behind it.
    fn ends_before(&self, file: &StoreFile, after: i64) -> bool {
        let files = self.files().unwrap_or_default();
        files.iter().find(|other| other.first > file.first).is_some_and(|next| next.first <= after + 1)
    }
}

/// Opens a file and asks it; a file that is damaged or of another version is told and left out.
pub(super) fn read<T>(
    file: &StoreFile,
    ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<Option<T>, Failure> {
    let failed = StoreError::at(&file.path);
    let connection = match open(&file.path) {
        Ok(connection) => connection,
        // Retention was faster.
        Err(_) if !file.path.exists() => return Ok(None),
        Err(error) => return Err(failed(error).into()),
    };
    let answer =
        connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).and_then(|version| {
            if version == SCHEMA_VERSION { ask(&connection).map(Some) } else { Ok(None) }
        });
    match answer.map_err(failed) {
        Ok(answer) => Ok(answer),
        Err(error) if error.is_damage() => {
            log::error!("{error}: it is left out");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

/// The columns that [`row`] reads: the attempt's own, its host's and destination's addresses, its context.
const SELECT: &str = "SELECT a.seq, a.time, a.id, h.client, h.mac, d.destination, a.client_port, a.tcp_sequence, a.unlisted, a.packets, \
    a.to_name";

/// [`SELECT`] for attempts that are summed up: the columns that are no sum are those of the newest.
const SELECT_KINDS: &str = "SELECT max(a.seq), a.time, a.id, h.client, h.mac, d.destination, a.client_port, a.tcp_sequence, \
    min(sum(1 + a.unlisted) - 1, 4294967295), sum(a.packets), a.to_name";

/// What follows either.
const FROM: &str = ", c.verdict, c.reason, c.interface, c.ifindex, c.vlan, c.destination_port, c.destination_mac, c.tcp_flags, \
    c.rule, c.policy, c.revision \
    FROM attempts a JOIN hosts h ON h.id = a.host JOIN destinations d ON d.id = a.destination \
    JOIN contexts c ON c.id = a.context";

fn select(file: &Connection, filter: &Filter, limit: usize) -> rusqlite::Result<Vec<Row>> {
    let Some((conditions, mut values)) = conditions(file, filter)? else { return Ok(Vec::new()) };
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    let mut statement =
        file.prepare(&format!("{SELECT}{FROM} WHERE {conditions} ORDER BY a.seq DESC LIMIT ?"))?;
    statement.query_map(params_from_iter(values), row)?.collect()
}

pub(super) fn walk(
    file: &Connection,
    filter: &Filter,
    visit: &mut impl FnMut(Row) -> bool,
) -> rusqlite::Result<bool> {
    each(file, filter, SELECT, "ORDER BY a.seq", visit)
}

fn walk_kinds(
    file: &Connection,
    filter: &Filter,
    visit: &mut impl FnMut(Row) -> bool,
) -> rusqlite::Result<bool> {
    each(file, filter, SELECT_KINDS, "GROUP BY a.host, a.destination, a.context", visit)
}

/// Tells whether the visitor wants more.
fn each(
    file: &Connection,
    filter: &Filter,
    select: &str,
    order: &str,
    visit: &mut impl FnMut(Row) -> bool,
) -> rusqlite::Result<bool> {
    let Some((conditions, values)) = conditions(file, filter)? else { return Ok(true) };
    let mut statement = file.prepare(&format!("{select}{FROM} WHERE {conditions} {order}"))?;
    for row in statement.query_map(params_from_iter(values), row)? {
        if !visit(row?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a row must fulfil, by the numbers that hosts, destinations and contexts have in this file; `None` if none can.
fn conditions(file: &Connection, filter: &Filter) -> rusqlite::Result<Option<(String, Vec<Value>)>> {
    let blob = |ip: IpAddr| Value::Blob(address_bytes(Some(ip)));
    let text = |text: &String| Value::Text(text.clone());
    let wanted = [
        ("host", "hosts", "client", filter.host.map(blob)),
        ("destination", "destinations", "destination", filter.to.map(blob)),
        ("context", "contexts", "reason", filter.reason.as_ref().map(text)),
        ("context", "contexts", "rule", filter.rule.as_ref().map(text)),
        ("context", "contexts", "interface", filter.interface.as_ref().map(text)),
        ("context", "contexts", "verdict", filter.would_block.then(|| Value::Text("would_block".to_owned()))),
    ];
    let mut sql = vec!["1".to_owned()];
    for (column, table, property, value) in wanted {
        let Some(value) = value else { continue };
        let ids = numbers(file, table, property, value)?;
        if ids.is_empty() {
            return Ok(None);
        }
        // `+` forbids another join order: the rows are read in their own.
        sql.push(format!("+a.{column} IN ({})", ids.join(",")));
    }
    let mut values = Vec::new();
    let mut compare = |condition: &str, value: Option<i64>| {
        if let Some(value) = value {
            sql.push(condition.to_owned());
            values.push(Value::Integer(value));
        }
    };
    compare("a.time >= ?", filter.since.map(Timestamp::as_microsecond));
    compare("a.time <= ?", filter.until.map(Timestamp::as_microsecond));
    compare("a.seq > ?", filter.after);
    let ids = filter.id.as_ref().map(|beginning| ids(beginning));
    compare("a.id >= ?", ids.map(|(first, _)| first));
    compare("a.id <= ?", ids.map(|(_, last)| last));
    Ok(Some((sql.join(" AND "), values)))
}

/// The numbers of the entries of a table that have this property.
fn numbers(file: &Connection, table: &str, property: &str, value: Value) -> rusqlite::Result<Vec<String>> {
    let mut statement = file.prepare(&format!("SELECT id FROM {table} WHERE {property} = ?"))?;
    let ids = statement.query_map([value], |row| row.get::<_, i64>(0))?;
    ids.map(|id| id.map(|id| id.to_string())).collect()
}

/// The first and the last of the IDs of 12 digits that begin so; an empty range where it is no beginning of any.
fn ids(beginning: &str) -> (i64, i64) {
    let bits = 48 - 4 * beginning.len().min(12) as u32;
    match i64::from_str_radix(beginning, 16) {
        Ok(number) if (0..1 << 48).contains(&number) => (number << bits, ((number + 1) << bits) - 1),
        _ => (0, -1),
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let address =
        |column| row.get::<_, Option<Vec<u8>>>(column).map(|bytes| address_of(&bytes.unwrap_or_default()));
    let mac = |number: Option<i64>| -> Option<Mac> { number.map(mac_of) };
    let context = Context::read(row, 11)?;
    let attempt = Attempt {
        boot: 0,
        time: Timestamp::from_microsecond(row.get(1)?).unwrap_or(Timestamp::UNIX_EPOCH),
        id: format!("{:012x}", row.get::<_, i64>(2)?),
        event: "attempt",
        verdict: verdict(&context.verdict),
        reason: Reason::ALL
            .into_iter()
            .map(Reason::label)
            .find(|it| *it == context.reason)
            .unwrap_or("unknown"),
        interface: context.interface,
        ifindex: context.ifindex,
        vlan: context.vlan,
        client: address(3)?,
        client_mac: mac(row.get(4)?),
        client_port: row.get(6)?,
        destination: address(5)?,
        destination_port: context.destination_port,
        to_name: row.get(10)?,
        destination_mac: mac(context.destination_mac),
        tcp_flags: context.tcp_flags,
        tcp_sequence: row.get(7)?,
        unlisted: row.get(8)?,
        rule: context.rule,
        policy: context.policy,
        revision: context.revision,
    };
    Ok(Row { sequence: row.get(0)?, packets: row.get::<_, i64>(9)?.unsigned_abs(), attempt })
}

fn verdict(label: &str) -> &'static str {
    ["drop", "reject", "would_block"].into_iter().find(|known| *known == label).unwrap_or("unknown")
}
