//! The file that is being written: its schema, its rows, and its sealing.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::StoreError;
use super::context::{COLUMNS, Context};
use super::files::StoreFile;
use super::rollup::Rollup;
use crate::attempt::Attempt;

/// Version of the schema, in SQLite's `user_version`.
pub const SCHEMA_VERSION: i64 = 2;

/// Rows of one file: some 250 MB, so that a flood does not make one that no retention can cut.
const MOST_ROWS: i64 = 5_000_000;

/// Hosts and destinations of one file: they are in the agent's memory while it is written, some 300 bytes each.
const MOST_SUMS: usize = 200_000;

const SCHEMA: &str = "
    CREATE TABLE contexts (
        id INTEGER PRIMARY KEY, verdict TEXT NOT NULL, reason TEXT NOT NULL, interface TEXT NOT NULL,
        ifindex INTEGER NOT NULL, vlan INTEGER, destination_port INTEGER NOT NULL, destination_mac INTEGER,
        tcp_flags TEXT NOT NULL, rule TEXT, policy TEXT NOT NULL, revision TEXT NOT NULL
    );
    CREATE TABLE attempts (
        seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, id INTEGER NOT NULL, host INTEGER NOT NULL,
        destination INTEGER NOT NULL, context INTEGER NOT NULL, client_port INTEGER NOT NULL,
        tcp_sequence INTEGER NOT NULL, unlisted INTEGER NOT NULL, packets INTEGER NOT NULL, to_name TEXT
    );";

pub struct OpenFile {
    file: StoreFile,
    connection: Connection,
    hour: i64,
    /// Number of the next row.
    next: i64,
    contexts: HashMap<Context, i64>,
    rollup: Rollup,
}

impl OpenFile {
    /// Begins a file whose first row will have the number `first`.
    pub fn create(dir: &Path, first: i64, now: Timestamp) -> Result<Self, StoreError> {
        let file = StoreFile::new(dir, first, now);
        let failed = StoreError::at(&file.path);
        let connection = Connection::open(&file.path).map_err(&failed)?;
        // Before SQLite makes its files beside it, which get the same mode. The group may read.
        let _ = fs::set_permissions(&file.path, fs::Permissions::from_mode(0o640));
        prepare(&connection).and_then(|()| lay_out(&connection)).map_err(&failed)?;
        let (contexts, rollup) = (HashMap::new(), Rollup::default());
        Ok(Self { file, connection, hour: hour_of(now), next: first, contexts, rollup })
    }

    /// Goes on with a file that an earlier agent, or this one before an error, has begun; `None` if it is of another
    /// schema.
    pub fn resume(file: StoreFile, now: Timestamp) -> Result<Option<Self>, StoreError> {
        let failed = StoreError::at(&file.path);
        let connection = Connection::open(&file.path).map_err(&failed)?;
        prepare(&connection).map_err(&failed)?;
        if is_empty(&connection).map_err(&failed)? {
            // Whoever began it found no room, or no time.
            lay_out(&connection).map_err(&failed)?;
        }
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&failed)?;
        if version != SCHEMA_VERSION {
            return Ok(None);
        }
        let (contexts, next) = read(&connection, file.first).map_err(&failed)?;
        let rollup = Rollup::read(&connection).map_err(&failed)?;
        Ok(Some(Self { file, connection, hour: hour_of(now), next, contexts, rollup }))
    }

    /// Writes and commits, and gives the number of the first row; after an error nothing of it is in the file, and it must
    /// be resumed.
    pub fn write(&mut self, attempts: &[Attempt]) -> Result<i64, StoreError> {
        let failed = StoreError::at(&self.file.path);
        let first = self.next;
        self.try_write(attempts).map_err(failed)?;
        self.rollup.committed();
        Ok(first)
    }

    /// Corrects how many packets the attempts of these rows took.
    pub fn write_packets(&mut self, rows: &[(i64, u64)]) -> Result<(), StoreError> {
        let failed = StoreError::at(&self.file.path);
        let mut write = || -> rusqlite::Result<()> {
            let transaction = self.connection.transaction()?;
            let mut update = transaction.prepare_cached("UPDATE attempts SET packets = ? WHERE seq = ?")?;
            for (row, packets) in rows {
                update.execute(params![i64::try_from(*packets).unwrap_or(i64::MAX), row])?;
            }
            drop(update);
            transaction.commit()
        };
        write().map_err(failed)
    }

    fn try_write(&mut self, attempts: &[Attempt]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?)")?;
            for attempt in attempts {
                let (host, destination) = self.rollup.add(attempt);
                let context = number_of(&mut self.contexts, Context::of(attempt), &transaction)?;
                insert.execute(params![
                    self.next,
                    attempt.time.as_microsecond(),
                    i64::from_str_radix(&attempt.id, 16).unwrap_or(0),
                    host,
                    destination,
                    context,
                    attempt.client_port,
                    attempt.tcp_sequence,
                    attempt.unlisted,
                    attempt.to_name
                ])?;
                self.next += 1;
            }
        }
        self.rollup.write(&transaction)?;
        transaction.commit()
    }

    /// Whether later attempts belong into another file.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.hour != hour_of(now)
            || self.next - self.file.first >= MOST_ROWS
            || self.rollup.len() >= MOST_SUMS
    }

    /// Number of the next row; the next file begins with it.
    pub fn next(&self) -> i64 {
        self.next
    }

    pub fn file(&self) -> &StoreFile {
        &self.file
    }

    /// Ends the file: one without a WAL can be read by who may not write beside it.
    pub fn seal(self) -> Result<(), StoreError> {
        let failed = StoreError::at(&self.file.path);
        self.connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(&failed)?;
        self.connection.close().map_err(|(_, error)| failed(error))
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // Costs nothing at this batch size, and no committed row is lost with the power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A reader in another process must not make a commit fail.
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

fn is_empty(file: &Connection) -> rusqlite::Result<bool> {
    file.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// All at once: a file has every table, or none.
fn lay_out(file: &Connection) -> rusqlite::Result<()> {
    let sums = Rollup::SCHEMA;
    file.execute_batch(&format!("BEGIN; {SCHEMA} {sums} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))
}

fn read(file: &Connection, first: i64) -> rusqlite::Result<(HashMap<Context, i64>, i64)> {
    let mut statement = file.prepare(&format!("SELECT id, {COLUMNS} FROM contexts"))?;
    let contexts = statement.query_map([], |row| Ok((Context::read(row, 1)?, row.get(0)?)))?;
    let last: Option<i64> = file.query_row("SELECT max(seq) FROM attempts", [], |row| row.get(0))?;
    Ok((contexts.collect::<rusqlite::Result<_>>()?, last.map_or(first, |last| last + 1)))
}

fn number_of(
    known: &mut HashMap<Context, i64>,
    context: Context,
    file: &Connection,
) -> rusqlite::Result<i64> {
    if let Some(number) = known.get(&context) {
        return Ok(*number);
    }
    let number = known.len() as i64 + 1;
    let sql = format!("INSERT INTO contexts (id, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    let values: Vec<&dyn rusqlite::ToSql> =
        std::iter::once::<&dyn rusqlite::ToSql>(&number).chain(context.values()).collect();
    file.prepare_cached(&sql)?.execute(values.as_slice())?;
    known.insert(context, number);
    Ok(number)
}

fn hour_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(3600)
}
