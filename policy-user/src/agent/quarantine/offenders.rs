//! How long hosts have been in quarantine before, which makes the next time longer.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::read_list;
use crate::policy::Quarantine;
use crate::status;

/// After so long without a quarantine the next one is a first one again.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// As many as can be in quarantine at once; the one whose quarantine is longest over makes room.
const MOST: usize = 16_384;

/// A host's last quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offender {
    host: String,
    seconds: i64,
    until: Timestamp,
}

pub struct Offenders {
    path: PathBuf,
    list: Vec<Offender>,
}

impl Offenders {
    pub fn read(state_dir: &Path) -> Self {
        let path = state_dir.join("offenders.json");
        Self { list: read_list(&path, "everybody's next quarantine is the first"), path }
    }

    /// How long a host's next quarantine lasts: twice as long as its last one, within what the policy says.
    pub fn next(&self, host: &str, settings: &Quarantine, now: Timestamp) -> SignedDuration {
        let [first, longest] = [settings.first, settings.longest]
            .map(|length| SignedDuration::from_secs(i64::try_from(length.as_secs()).unwrap_or(i64::MAX)));
        let recent = |it: &&Offender| it.host == host && now.duration_since(it.until) < REMEMBERED;
        let doubled = self.list.iter().find(recent).map(|last| last.seconds.saturating_mul(2));
        doubled.map_or(first, |seconds| SignedDuration::from_secs(seconds).max(first)).min(longest)
    }

    /// When a host's last quarantine ends or was to end.
    pub fn last_end(&self, host: &str) -> Option<Timestamp> {
        self.list.iter().find(|it| it.host == host).map(|it| it.until)
    }

    /// Remembers that a host's quarantine has begun.
    pub fn note(&mut self, host: &str, length: SignedDuration, until: Timestamp) {
        self.list.retain(|it| it.host != host);
        if self.list.len() >= MOST
            && let Some(oldest) =
                (0..self.list.len()).min_by_key(|index| self.list.get(*index).map(|it| it.until))
        {
            self.list.swap_remove(oldest);
        }
        self.list.push(Offender { host: host.to_owned(), seconds: length.as_secs(), until });
        if let Err(error) = status::save_json(&self.path, &self.list) {
            log::error!("{error}; after a restart the next quarantine of {host} is its first");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::time::Duration;

    use super::*;

    const HOUR: i64 = 3600;

    #[test]
    fn each_time_is_twice_as_long_until_the_longest_and_a_month_later_it_is_the_first_again() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Quarantine {
            first: Duration::from_secs(3600),
            longest: Duration::from_secs(5 * 3600),
            ..Quarantine::default()
        };
        let mut now = Timestamp::UNIX_EPOCH;
        let mut lengths = Vec::new();
        for _ in 0..5 {
            let mut offenders = Offenders::read(dir.path());
            let length = offenders.next("bot", &settings, now);
            offenders.note("bot", length, now + length);
            assert_eq!(offenders.last_end("bot"), Some(now + length));
            lengths.push(length.as_secs() / HOUR);
            now += length;
        }
        assert_eq!(lengths, [1, 2, 4, 5, 5]);
        let offenders = Offenders::read(dir.path());
        let next = |host, days| {
            offenders.next(host, &settings, now + SignedDuration::from_hours(24 * i64::from(days)))
        };
        assert_eq!(next("bot", 29).as_secs(), 5 * HOUR);
        assert_eq!(next("bot", 30).as_secs(), HOUR);
        assert_eq!(next("other", 0).as_secs(), HOUR);
        // A policy with other numbers holds at once.
        let longer = Quarantine { first: Duration::from_secs(20 * 3600), ..Quarantine::default() };
        assert_eq!(offenders.next("bot", &longer, now).as_secs(), 20 * HOUR);
    }

    #[test]
    fn a_full_list_forgets_whose_quarantine_is_longest_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut offenders = Offenders::read(dir.path());
        let until = |n: usize| Timestamp::from_second(n as i64).unwrap();
        offenders.list = (0..MOST)
            .map(|n| Offender { host: n.to_string(), seconds: HOUR, until: until(MOST - n) })
            .collect();
        offenders.note("one more", SignedDuration::from_hours(1), until(MOST + 1));
        assert_eq!(offenders.list.len(), MOST);
        assert_eq!(offenders.last_end(&(MOST - 1).to_string()), None);
        assert!(offenders.last_end("one more").is_some());
    }
}
