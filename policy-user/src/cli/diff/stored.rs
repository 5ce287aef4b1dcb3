//! The attempts of the block log asked again.

use std::io::{self, BufReader, Write as _};
use std::path::Path;

use jiff::Timestamp;

use crate::failure::Failure;
use crate::policy::diff::{self, Replay};
use crate::policy::explain::Paper;
use crate::store::{Filter, Reader, Row};

/// Asks every attempt since then again. Attempts alike come as one, through a pipe and in the form that a log file has: the
/// block log can be larger than memory.
pub fn replay(
    state_dir: &Path,
    since: Timestamp,
    after: &Paper<'_>,
    at: Timestamp,
) -> Result<Replay, Failure> {
    let failed = |error: &io::Error| Failure::CouldNotRun(format!("can't read the block log: {error}"));
    let (read, mut write) = io::pipe().map_err(|error| failed(&error))?;
    let reader = Reader::open(state_dir);
    let feeding = std::thread::spawn(move || {
        let filter = Filter { since: Some(since), ..Filter::default() };
        let mut line = |row: &Row| -> io::Result<()> {
            serde_json::to_writer(&mut write, row)?;
            write.write_all(b"\n")
        };
        reader.for_each_kind(&filter, |row| line(&row).is_ok())
    });
    let replay = diff::replay(&mut after.examiner(), &mut BufReader::new(read), at);
    feeding.join().map_err(|_| failed(&io::ErrorKind::BrokenPipe.into()))??;
    replay.map_err(|error| failed(&error))
}
