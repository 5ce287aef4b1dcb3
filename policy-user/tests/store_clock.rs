//! A clock that steps: rows are neither lost nor reordered, and the past is not removed for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attempts;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use attempts::{attempt, files};
use jiff::{SignedDuration, Timestamp};
use policy_user::attempt::Attempt;
use policy_user::policy::Retention;
use policy_user::store::{Filter, Reader, Store, Surroundings};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// Seconds that a store's clock is ahead of the machine's.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicI64>);

impl Ahead {
    fn step_to(&self, seconds: i64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    /// In the microseconds that the store keeps.
    fn now(&self) -> Timestamp {
        let microseconds = Timestamp::now().as_microsecond() + self.0.load(Ordering::Relaxed) * 1_000_000;
        Timestamp::from_microsecond(microseconds).unwrap()
    }

    fn store(&self, dir: &Path, limits: Retention) -> Store {
        let clock = self.clone();
        let surroundings = Surroundings { clock: Box::new(move || clock.now()), ..Surroundings::default() };
        Store::start_in(dir, limits, surroundings)
    }
}

/// Keeps ten attempts of this moment, numbered from `first`.
#[tokio::main]
async fn keep(store: &Store, clock: &Ahead, first: u32) -> Vec<Attempt> {
    let attempts: Vec<Attempt> = (first..first + 10).map(|n| attempt(n, clock.now())).collect();
    store.append(attempts.clone()).await;
    store.flush().await;
    assert_eq!(store.status().error, None);
    attempts
}

fn ids(dir: &Path) -> Vec<(i64, String)> {
    let rows = Reader::open(dir).log(&Filter::default(), usize::MAX).unwrap();
    rows.into_iter().map(|row| (row.sequence, row.attempt.id)).collect()
}

#[test]
fn a_clock_that_steps_by_a_year_while_the_log_is_written_neither_loses_nor_reorders() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Ahead::default();
    let store = clock.store(dir.path(), Retention::default());
    let mut kept = Vec::new();
    for (part, ahead) in [0, YEAR, -YEAR, 0, HOUR, -HOUR].into_iter().enumerate() {
        clock.step_to(ahead);
        kept.extend(keep(&store, &clock, part as u32 * 10));
    }
    let reader = Reader::open(dir.path());
    let rows = reader.log(&Filter::default(), usize::MAX).unwrap();
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
    assert_eq!(rows.into_iter().map(|row| row.attempt).collect::<Vec<_>>(), kept);
    // Times are as the clock told them: what was asked since a moment is what is told of it, wherever it lies.
    for ahead in [-2 * YEAR, -HOUR / 2, YEAR / 2] {
        let since = Timestamp::now() + SignedDuration::from_secs(ahead);
        let counted = |attempt: &&Attempt| attempt.time >= since;
        let wanted: u64 = kept.iter().filter(counted).map(|it| 1 + u64::from(it.unlisted)).sum();
        let (hosts, _) = reader.hosts(since, usize::MAX).unwrap();
        assert_eq!(hosts.iter().map(|host| host.totals.attempts).sum::<u64>(), wanted, "since {since}");
        let found = reader.log(&Filter { since: Some(since), ..Filter::default() }, usize::MAX).unwrap();
        assert_eq!(found.len(), kept.iter().filter(counted).count(), "since {since}");
    }
}

/// Three files; the store is closed.
fn three_files(dir: &Path) {
    let clock = Ahead::default();
    let store = clock.store(dir, Retention::default());
    for part in 0..3 {
        clock.step_to(i64::from(part) * HOUR);
        keep(&store, &clock, part * 10);
    }
    tokio::runtime::Runtime::new().unwrap().block_on(store.close());
    assert_eq!(files(dir, ".db").len(), 3);
}

/// Makes a file look as if it had last been written so long ago.
fn age(file: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    fs::File::options().write(true).open(file).unwrap().set_modified(then).unwrap();
}

/// Opens the store with a clock that is ahead, and writes once more: then it looks for what is past its time.
fn opened_with(dir: &Path, ahead: i64, limits: Retention) -> Vec<(i64, String)> {
    let clock = Ahead::default();
    clock.step_to(ahead);
    let store = clock.store(dir, limits);
    keep(&store, &clock, 30);
    // The next look finds the writer behind the one that has cleaned.
    tokio::runtime::Runtime::new().unwrap().block_on(store.flush());
    ids(dir)
}

#[test]
fn what_is_past_its_time_goes_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    three_files(dir.path());
    let old = files(dir.path(), ".db");
    age(&old[0], 3 * HOUR as u64);
    let keep = Retention { keep: Duration::from_secs(2 * HOUR as u64), ..Retention::default() };
    let left = opened_with(dir.path(), 0, keep);
    assert!(!old[0].exists() && old[1].exists(), "{left:?}");
    assert_eq!(left.first(), Some(&(11, attempt(10, Timestamp::now()).id)));
}

#[test]
fn a_clock_that_is_a_year_ahead_when_the_agent_starts_empties_nothing() {
    let dir = tempfile::tempdir().unwrap();
    three_files(dir.path());
    let keep = Retention { keep: Duration::from_secs(2 * HOUR as u64), ..Retention::default() };
    assert_eq!(opened_with(dir.path(), YEAR, keep).len(), 40);
    // Too much is too much, whatever the clock says.
    let small = Retention { max_size: 1, ..keep };
    assert_eq!(opened_with(dir.path(), YEAR, small).len(), 30);
}
