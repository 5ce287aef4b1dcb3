//! Hosts whose accounts were closed, because the kernel's map got full: their sum, so that totals stay explainable.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::datapath::HostCount;
use crate::status;

/// How often the agent looks whether the map gets full: at 20,000 new hosts a second it is full in less, but then its limits
/// for each MAC and interface hold.
pub const REAP: Duration = Duration::from_secs(10);

/// The sum over closed accounts; the field names are a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departed {
    pub accounts: u64,
    pub attempts: u64,
    pub packets: u64,
    pub unlisted: u64,
    /// Those of `unlisted` that no event will tell of.
    pub untold: u64,
}

impl Departed {
    /// What earlier agents have closed. A missing file is none; a damaged one makes only this sum begin anew.
    pub fn read(state_dir: &Path) -> Self {
        let path = Self::path(state_dir);
        let Ok(text) = fs::read(&path) else { return Self::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            log::error!("{} is damaged ({error}): the sum of departed hosts begins at 0", path.display());
            Self::default()
        })
    }

    /// Adds closed accounts and keeps the sum.
    pub fn add(&mut self, closed: &[HostCount], state_dir: &Path) {
        if closed.is_empty() {
            return;
        }
        for HostCount { counts, .. } in closed {
            self.accounts += 1;
            self.attempts += counts.attempts;
            self.packets += counts.packets;
            self.unlisted += counts.unlisted;
            self.untold += counts.untold;
        }
        if let Err(error) = status::save_json(&Self::path(state_dir), self) {
            log::error!("{error}; the sum of departed hosts is known until the agent stops");
        }
    }

    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("hosts.json")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use policy_common::abi::{HostCounts, HostKey};

    use super::*;

    #[test]
    fn the_sum_outlives_the_agent_and_a_damaged_file_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let counts = HostCounts { packets: 5, attempts: 3, unlisted: 2, untold: 1, ..HostCounts::EMPTY };
        let closed = HostCount { key: HostKey::of_interface(1), counts };
        let mut departed = Departed::read(dir.path());
        departed.add(&[closed, closed], dir.path());
        assert_eq!(departed, Departed { accounts: 2, attempts: 6, packets: 10, unlisted: 4, untold: 2 });
        assert_eq!(Departed::read(dir.path()), departed);
        fs::write(Departed::path(dir.path()), "{").unwrap();
        assert_eq!(Departed::read(dir.path()), Departed::default());
    }
}
