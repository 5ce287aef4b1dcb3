//! How long hosts have been in quarantine before, which makes the next time longer.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::read_list;
use crate::policy::Quarantine;
use crate::policy::compile::{Instant, boot_time_of};
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
    /// The same on the boot clock, as far as it was noted since the agent's start: that one is never set.
    #[serde(skip)]
    boot: Option<u64>,
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

    /// When a host's last quarantine ends or has ended, on the boot clock; 0 for one that was never in any.
    pub fn last_end(&self, host: &str, now: Instant) -> u64 {
        let last = self.list.iter().find(|it| it.host == host);
        last.map_or(0, |it| it.boot.unwrap_or_else(|| boot_time_of(it.until, now)))
    }

    /// Notes that a host was released before its time.
    pub fn release(&mut self, host: &str, now: Instant) {
        let Some(last) = self.list.iter_mut().find(|it| it.host == host) else { return };
        (last.until, last.boot) = (last.until.min(now.wall), Some(now.boot));
        self.save(host);
    }

    /// Remembers that a host's quarantine has begun.
    pub fn note(&mut self, host: &str, length: SignedDuration, now: Instant) {
        let until = now.wall.checked_add(length).unwrap_or(Timestamp::MAX);
        self.list.retain(|it| it.host != host);
        if self.list.len() >= MOST
            && let Some(oldest) =
                (0..self.list.len()).min_by_key(|index| self.list.get(*index).map(|it| it.until))
        {
            self.list.swap_remove(oldest);
        }
        self.list.push(Offender {
            host: host.to_owned(),
            seconds: length.as_secs(),
            until,
            boot: Some(boot_time_of(until, now)),
        });
        self.save(host);
    }

    fn save(&self, host: &str) {
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

    fn at(second: i64) -> Instant {
        Instant { wall: Timestamp::from_second(second).unwrap(), boot: second as u64 * 1_000_000_000 }
    }

    #[test]
    fn each_time_is_twice_as_long_until_the_longest_and_a_month_later_it_is_the_first_again() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Quarantine {
            first: Duration::from_secs(3600),
            longest: Duration::from_secs(5 * 3600),
            ..Quarantine::default()
        };
        let mut now = 1000;
        let mut lengths = Vec::new();
        for _ in 0..5 {
            let mut offenders = Offenders::read(dir.path());
            let length = offenders.next("bot", &settings, at(now).wall);
            offenders.note("bot", length, at(now));
            lengths.push(length.as_secs() / HOUR);
            now += length.as_secs();
            assert_eq!(offenders.last_end("bot", at(0)), at(now).boot);
        }
        assert_eq!(lengths, [1, 2, 4, 5, 5]);
        let offenders = Offenders::read(dir.path());
        let next = |host, days: i64| offenders.next(host, &settings, at(now + 86_400 * days).wall).as_secs();
        assert_eq!(next("bot", 29), 5 * HOUR);
        assert_eq!(next("bot", 30), HOUR);
        assert_eq!(next("other", 0), HOUR);
        // A policy with other numbers holds at once.
        let longer = Quarantine { first: Duration::from_secs(20 * 3600), ..Quarantine::default() };
        assert_eq!(offenders.next("bot", &longer, at(now).wall).as_secs(), 20 * HOUR);
    }

    #[test]
    fn a_release_is_an_end_and_a_step_of_the_wall_clock_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut offenders = Offenders::read(dir.path());
        assert_eq!(offenders.last_end("bot", at(1)), 0);
        offenders.note("bot", SignedDuration::from_hours(1), at(1000));
        let stepped = Instant { wall: at(500_000).wall, ..at(1001) };
        assert_eq!(offenders.last_end("bot", stepped), at(4600).boot);
        offenders.release("bot", at(1010));
        assert_eq!(offenders.last_end("bot", stepped), at(1010).boot);
        assert_eq!(Offenders::read(dir.path()).last_end("bot", at(2000)), at(1010).boot);
    }

    #[test]
    fn a_full_list_forgets_whose_quarantine_is_longest_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut offenders = Offenders::read(dir.path());
        let known = |n: usize| Offender {
            host: n.to_string(),
            seconds: HOUR,
            until: at((MOST - n) as i64).wall,
            boot: None,
        };
        offenders.list = (0..MOST).map(known).collect();
        offenders.note("one more", SignedDuration::from_hours(1), at(1000));
        assert_eq!(offenders.list.len(), MOST);
        assert_eq!(offenders.last_end(&(MOST - 1).to_string(), at(0)), 0);
        assert!(offenders.last_end("one more", at(0)) > 0);
    }
}
