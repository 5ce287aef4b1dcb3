//! The file that is written further: the newest one, unless it can't be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::StoreError;
use super::file::OpenFile;
use super::files::{self, StoreFile};

/// How many numbers are left free for the rows of a file that can't be read.
const GAP: i64 = 1 << 24;

/// The newest file if it can be written further, else a new one behind it.
pub fn open_newest(directory: &Path, now: Timestamp) -> Result<OpenFile, StoreError> {
    let io = |error: std::io::Error| StoreError {
        path: directory.to_owned(),
        source: rusqlite::Error::ToSqlConversionFailure(error.into()),
    };
    make(directory).map_err(io)?;
    let Some(newest) = files::list(directory).map_err(io)?.pop() else {
        return OpenFile::create(directory, 1, now);
    };
    match OpenFile::resume(newest.clone(), now) {
        Ok(Some(open)) => Ok(open),
        Ok(None) => begin_behind(directory, &newest, "is of another version", now),
        Err(error) if error.is_damage() => begin_behind(directory, &newest, "is damaged", now),
        Err(error) => Err(error),
    }
}

/// Files in it get its group, and nobody else gets in.
pub fn make(directory: &Path) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    let mode = |mode| fs::set_permissions(directory, fs::Permissions::from_mode(mode));
    // A hardened service may not set the bit that hands the group on; its own group is the right one already.
    mode(0o2750).or_else(|_| mode(0o750))
}

fn begin_behind(
    directory: &Path,
    bad: &StoreFile,
    why: &str,
    now: Timestamp,
) -> Result<OpenFile, StoreError> {
    match bad.set_aside() {
        Ok(aside) => log::error!(
            "{} {why}: it is kept as {}, and a new file is begun",
            bad.path.display(),
            aside.display()
        ),
        Err(error) => log::error!("{} {why} and can't be renamed: {error}", bad.path.display()),
    }
    OpenFile::create(directory, bad.first + GAP, now)
}
