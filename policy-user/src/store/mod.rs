//! The block log on disk: SQLite files of an hour each, written by the agent and readable by everybody else meanwhile.
//!
//! The only module that names rusqlite. Why so: one file with indices writes a twentieth of the rows; retention is the
//! removal of a file; a damaged file costs an hour, not the log; and any admin can open one with `sqlite3`.

mod context;
mod distinct;
mod file;
mod files;
mod handle;
mod newest;
mod packets;
mod reader;
mod retention;
mod rollup;
mod summary;
mod sums;
mod writer;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use handle::{Store, StoreStatus, Surroundings};
pub use packets::Count;
pub use reader::{Filter, Reader, Row};
pub use summary::{DestinationTotal, HostStory, HostTotal, HourCount, ReasonTotal, Totals};

/// The store could not do it.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct StoreError {
    path: PathBuf,
    source: rusqlite::Error,
}

impl StoreError {
    fn at(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self { path: path.clone(), source }
    }

    /// Whether the file itself is bad, so that no other try can help.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        matches!(self.source.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
    }
}

impl From<StoreError> for crate::failure::Failure {
    fn from(error: StoreError) -> Self {
        Self::CouldNotRun(format!("the block log can't be read: {error}"))
    }
}
