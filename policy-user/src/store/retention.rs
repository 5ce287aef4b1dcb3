//! What is removed, and when nothing may be: a clock that jumps must not empty the log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::files::{self, StoreFile};
use crate::policy::Retention;
use crate::policy::compile::Instant;

/// A correction of the clock that is larger is a step; daily drift and leap seconds are not.
const STEP: i64 = 3600;

/// How long nothing is removed by age after a step: time enough to set the clock right.
const PAUSE: Duration = Duration::from_secs(86_400);

/// Removes the oldest files, but never the one that is being written.
#[derive(Default)]
pub struct Cleaner {
    /// Wall clock minus boot clock at the last look, seconds.
    offset: Option<i64>,
    /// Boot time in nanoseconds until which nothing is removed by age.
    paused_until: u64,
}

impl Cleaner {
    /// Removes what is too old or too much. `current` is being written.
    pub fn clean(&mut self, dir: &Path, current: &StoreFile, limits: Retention, now: Instant) {
        let Ok(files) = files::list(dir) else { return };
        let sealed: Vec<StoreFile> = files.into_iter().filter(|file| file != current).collect();
        let too_much = over_size(&sealed, current, limits.max_size);
        let mut too_old = sealed.iter().take_while(|file| age(file, now) > limits.keep).count();
        self.notice_steps(now, too_old == sealed.len() && too_old > 1);
        if now.boot < self.paused_until {
            too_old = 0;
        }
        for file in &sealed[..too_much.max(too_old)] {
            if let Err(error) = file.remove() {
                log::error!("{} is past its time but can't be removed: {error}", file.path.display());
                return;
            }
        }
    }

    /// `everything`: all there is would be removed at once, which time itself never brings about.
    fn notice_steps(&mut self, now: Instant, everything: bool) {
        let offset = now.wall.as_second() - (now.boot / 1_000_000_000) as i64;
        let before = self.offset.replace(offset);
        let stepped = before.is_some_and(|before| (offset - before).abs() > STEP);
        let first_look = before.is_none() && everything;
        if stepped || first_look {
            log::warn!("the clock has stepped: for a day nothing is removed from the block log for its age");
            self.paused_until = now.boot.saturating_add(PAUSE.as_nanos() as u64);
        }
    }
}

/// How many of the oldest files it takes to come below the size.
fn over_size(sealed: &[StoreFile], current: &StoreFile, max: u64) -> usize {
    let mut total = current.bytes() + sealed.iter().map(StoreFile::bytes).sum::<u64>();
    let removed = sealed.iter().take_while(|file| {
        let over = total > max;
        total -= file.bytes().min(total);
        over
    });
    removed.count()
}

/// Since its last row was written; zero where the clock says it lies ahead.
fn age(file: &StoreFile, now: Instant) -> Duration {
    let modified = fs::metadata(&file.path).and_then(|metadata| metadata.modified());
    let modified = modified.ok().and_then(|modified| Timestamp::try_from(modified).ok());
    modified.and_then(|modified| now.wall.duration_since(modified).try_into().ok()).unwrap_or_default()
}
