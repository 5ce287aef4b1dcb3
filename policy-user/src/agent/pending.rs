//! A policy on trial: in force until a deadline by which somebody must confirm it, else the one before comes back.
//!
//! All of it lies in one file, so that the next agent goes on where a dead one stopped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::history::Origin;
use crate::failure::Failure;
use crate::policy::LoadedPolicy;
use crate::policy::compile::Instant;
use crate::replace::replace;

/// Longer than this nobody sits in front of it any more.
const LONGEST: i64 = 24 * 3600;

/// A policy as the file keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Text {
    pub revision: String,
    pub text: String,
}

impl From<&LoadedPolicy> for Text {
    fn from(policy: &LoadedPolicy) -> Self {
        Self { revision: policy.revision.to_string(), text: policy.text.clone() }
    }
}

/// A trial; after it failed, the memory of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// The policy file that the tried policy was read from.
    pub file: PathBuf,
    pub tried: Text,
    /// What was in force before and comes back.
    pub previous: Text,
    pub origin: Origin,
    deadline: Deadline,
    /// The file still holds what was rolled back: a restart must not put it in force again.
    pub failed: Option<Failed>,
}

/// How a trial has failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failed {
    pub at: Timestamp,
    pub why: String,
}

/// The end of a trial on the clock of this boot, which no clock step changes, and on the wall clock for the next boot.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Deadline {
    since: Timestamp,
    seconds: i64,
    boot_id: String,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    boot: u64,
}

/// What `status` tells of a trial that runs; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Pending {
    pub revision: String,
    /// The revision that comes back.
    pub previous: String,
    #[serde(flatten)]
    pub origin: Origin,
    pub since: Timestamp,
    pub until: Timestamp,
    pub seconds_left: u64,
}

/// What `status` tells of a trial that has failed; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack {
    /// The revision that was tried.
    pub revision: String,
    pub at: Timestamp,
    pub why: String,
}

impl Trial {
    /// Begins a trial of `tried` now.
    pub fn begin(
        tried: &LoadedPolicy,
        previous: &LoadedPolicy,
        seconds: i64,
        origin: Origin,
        now: Instant,
    ) -> Result<Self, Failure> {
        if !(1..=LONGEST).contains(&seconds) {
            return Err(Failure::Rejected(
                "a confirmation is waited for between a second and a day; `--confirm 5m` is usual".to_owned(),
            ));
        }
        let deadline = Deadline {
            since: now.wall,
            seconds,
            boot_id: boot_id(),
            boot: now.boot.saturating_add(seconds.unsigned_abs().saturating_mul(1_000_000_000)),
        };
        let file = tried.path.clone();
        Ok(Self { file, tried: tried.into(), previous: previous.into(), origin, deadline, failed: None })
    }

    /// How long it still runs; zero once it is over.
    pub fn left(&self, now: Instant) -> Duration {
        self.deadline.left(now, &boot_id())
    }

    /// Moves the end of the trial, because ending it has failed.
    pub fn postpone(&mut self, pause: Duration, now: Instant) {
        let Deadline { boot_id: id, boot, .. } = &mut self.deadline;
        *id = boot_id();
        *boot = now.boot.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn pending(&self, now: Instant) -> Option<Pending> {
        let left = self.left(now);
        self.failed.is_none().then(|| Pending {
            revision: self.tried.revision.clone(),
            previous: self.previous.revision.clone(),
            origin: self.origin.clone(),
            since: self.deadline.since,
            until: now.wall.checked_add(left).unwrap_or(Timestamp::MAX),
            seconds_left: left.as_secs_f64().ceil() as u64,
        })
    }

    pub fn rolled_back(&self) -> Option<RolledBack> {
        let Failed { at, why } = self.failed.clone()?;
        Some(RolledBack { revision: self.tried.revision.clone(), at, why })
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("pending.json")
    }

    /// What the last agent left behind. A damaged file must not stop enforcement: it is told and put aside.
    pub fn read(state_dir: &Path) -> Option<Self> {
        let path = Self::path(state_dir);
        let text = fs::read(&path).ok()?;
        serde_json::from_slice(&text)
            .inspect_err(|error| {
                let aside = path.with_extension("damaged");
                log::error!(
                    "{} is damaged ({error}): no policy is on trial any more, the file is kept as {}",
                    path.display(),
                    aside.display()
                );
                let _ = fs::rename(&path, aside);
            })
            .ok()
    }

    pub fn save(&self, state_dir: &Path) -> Result<(), Failure> {
        let path = Self::path(state_dir);
        let write = || replace(&path, &serde_json::to_vec(self)?, 0o600);
        write().map_err(|error| Failure::io("write", &path, &error))
    }

    /// Removes what is kept of any trial.
    pub fn forget(state_dir: &Path) -> Result<(), Failure> {
        let path = Self::path(state_dir);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::io("remove", &path, &error))
            }
            _ => Ok(()),
        }
    }
}

impl Deadline {
    fn left(&self, now: Instant, boot_id: &str) -> Duration {
        let whole = SignedDuration::from_secs(self.seconds);
        let left = if self.boot_id == boot_id {
            SignedDuration::from_nanos(i64::try_from(self.boot.saturating_sub(now.boot)).unwrap_or(i64::MAX))
        } else {
            whole - now.wall.duration_since(self.since)
        };
        // A machine that starts with its clock years back must not wait for years.
        Duration::try_from(left.clamp(SignedDuration::ZERO, whole)).unwrap_or_default()
    }
}

/// Tells one boot of the machine from another; empty where the kernel doesn't say, and then all are alike.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn instant(wall: &str, boot: u64) -> Instant {
        Instant { wall: wall.parse().unwrap(), boot: boot * SECOND }
    }

    #[test]
    fn the_deadline_holds_through_clock_steps_and_restarts_of_the_machine() {
        let since = "2026-11-24T12:00:00Z".parse().unwrap();
        let deadline = Deadline { since, seconds: 300, boot_id: "this".into(), boot: 1_300 * SECOND };
        for (boot_id, wall, boot, left) in [
            ("this", "2026-11-24T12:01:00Z", 1_060, 240),
            // The clock steps.
            ("this", "2027-11-24T12:01:00Z", 1_060, 240),
            ("this", "1970-01-01T00:00:00Z", 1_060, 240),
            ("this", "2026-11-24T12:09:00Z", 1_540, 0),
            // The machine has started again.
            ("next", "2026-11-24T12:01:00Z", 20, 240),
            ("next", "2026-11-24T12:05:00Z", 20, 0),
            ("next", "1970-01-01T00:00:00Z", 20, 300),
        ] {
            let found = deadline.left(instant(wall, boot), boot_id);
            assert_eq!(found, Duration::from_secs(left), "{boot_id} {wall} {boot}");
        }
    }

    #[test]
    fn a_damaged_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Trial::read(dir.path()).is_none());
        fs::write(dir.path().join("pending.json"), "{").unwrap();
        assert!(Trial::read(dir.path()).is_none());
        assert!(dir.path().join("pending.damaged").exists());
        Trial::forget(dir.path()).unwrap();
    }
}
