//! The files of the store: their names, their order, and putting a bad one aside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Name of the directory in the state directory.
pub const DIRECTORY: &str = "attempts";

/// One file: `0000000000004711-2026-11-24T10Z.db`. The number of its first row comes first, so that the order of names is
/// the order of writing whatever the clock did.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreFile {
    pub first: i64,
    pub path: PathBuf,
}

impl StoreFile {
    pub fn new(dir: &Path, first: i64, hour: Timestamp) -> Self {
        let hour = hour.to_zoned_datetime(TimeZone::UTC).strftime("%Y-%m-%dT%HZ").to_string();
        Self { first, path: dir.join(format!("{first:016}-{hour}.db")) }
    }

    fn of(path: PathBuf) -> Option<Self> {
        let first = path.file_name()?.to_str()?.strip_suffix(".db")?.split_once('-')?.0.parse().ok()?;
        Some(Self { first, path })
    }

    /// With what SQLite keeps beside it.
    pub fn bytes(&self) -> u64 {
        let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
        length(&self.path) + length(&self.beside("-wal"))
    }

    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        // Usually there are none; what is left of a crash belongs to no file now.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.beside(suffix));
        }
        Ok(())
    }

    /// Keeps a file that can't be used under another name, for who wants to save what is in it.
    pub fn set_aside(&self) -> io::Result<PathBuf> {
        let aside = self.path.with_extension("damaged");
        fs::rename(&self.path, &aside)?;
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.beside(suffix));
        }
        Ok(aside)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }
}

/// Every file of the store, the oldest first; none where the directory does not exist.
pub fn list(dir: &Path) -> io::Result<Vec<StoreFile>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files: Vec<StoreFile> = entries.filter_map(|entry| StoreFile::of(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}
