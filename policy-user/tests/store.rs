//! The block log on disk: what goes in comes out, whatever happens to process, disk, clock or file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attempts;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use attempts::{attempt, client, files};
use jiff::Timestamp;
use policy_user::attempt::Attempt;
use policy_user::policy::Retention;
use policy_user::store::{Filter, Reader, Store};

/// Now, in the microseconds that the store keeps.
fn now() -> Timestamp {
    Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap()
}

#[tokio::main]
async fn keep(dir: &Path, attempts: Vec<Attempt>) {
    let store = Store::start(dir, Retention::default());
    store.append(attempts).await;
    store.flush().await;
    assert_eq!(store.status().error, None);
}

/// The writer seals its file a moment after its last handle is gone.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_goes_in_comes_out_in_order_and_by_every_filter() {
    let dir = tempfile::tempdir().unwrap();
    let time = now();
    let all: Vec<Attempt> = (0..12_000).map(|n| attempt(n, time)).collect();
    keep(dir.path(), all.clone());
    let reader = Reader::open(dir.path());
    let log = |filter: Filter| -> Vec<Attempt> {
        reader.log(&filter, usize::MAX).unwrap().into_iter().map(|row| row.attempt).collect()
    };
    assert_eq!(log(Filter::default()), all);
    let newest = reader.log(&Filter::default(), 3).unwrap();
    assert_eq!(
        newest.iter().map(|row| &row.attempt).collect::<Vec<_>>(),
        all[11_997..].iter().collect::<Vec<_>>()
    );
    let kept = |holds: fn(&Attempt) -> bool| -> Vec<Attempt> {
        all.iter().filter(|it| holds(it)).cloned().collect()
    };
    let host = Filter { host: Some(client(7)), ..Filter::default() };
    assert_eq!(log(host), kept(|it| it.client == Some(client(7))));
    let to = all[3].destination;
    assert_eq!(
        log(Filter { to, ..Filter::default() }).len(),
        all.iter().filter(|it| it.destination == to).count()
    );
    let reason = Filter { reason: Some("quarantined".to_owned()), ..Filter::default() };
    assert_eq!(log(reason), kept(|it| it.reason == "quarantined"));
    let rule = Filter { rule: Some("scanner".to_owned()), ..Filter::default() };
    assert_eq!(log(rule), kept(|it| it.rule.is_some()));
    assert_eq!(
        log(Filter { would_block: true, ..Filter::default() }),
        kept(|it| it.verdict == "would_block")
    );
    assert_eq!(log(Filter { id: Some(all[99].id.clone()), ..Filter::default() }), [all[99].clone()]);
    for nobody in [
        Filter { host: Some("192.0.2.1".parse().unwrap()), ..Filter::default() },
        Filter { interface: Some("wan0".to_owned()), ..Filter::default() },
        Filter { since: Some(time + Duration::from_secs(1)), ..Filter::default() },
        Filter { until: Some(time - Duration::from_secs(1)), ..Filter::default() },
        Filter { after: Some(12_000), ..Filter::default() },
    ] {
        assert_eq!(log(nobody), []);
    }
}

#[test]
fn attempts_alike_come_as_one_with_the_number_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let time = now();
    let all: Vec<Attempt> =
        (0..6000).map(|n| attempt(n % 300, time + Duration::from_secs(u64::from(n) / 3000))).collect();
    keep(dir.path(), all.clone());
    let (mut kinds, mut attempts) = (0, 0);
    let count = |row: policy_user::store::Row| {
        kinds += 1;
        attempts += 1 + u64::from(row.attempt.unlisted);
        assert_eq!(row.attempt.time, time + Duration::from_secs(1), "the newest stands for all");
        true
    };
    Reader::open(dir.path()).for_each_kind(&Filter::default(), count).unwrap();
    assert_eq!((kinds, attempts), (300, all.iter().map(|it| 1 + u64::from(it.unlisted)).sum()));
}

#[test]
fn a_log_that_is_not_there_is_no_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let reader = Reader::open(dir.path());
    let refusal = reader.log(&Filter::default(), 1).unwrap_err().to_string();
    assert!(refusal.contains("there is no block log in"), "{refusal}");
    assert!(reader.hosts(Timestamp::UNIX_EPOCH, 1).is_err());
    drop(Store::start(dir.path(), Retention::default()));
    assert_eq!(reader.log(&Filter::default(), 1).unwrap(), []);
}

#[test]
fn sums_are_those_of_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (early, late) = (now() - Duration::from_secs(1800), now());
    let all: Vec<Attempt> = (0..6000).map(|n| attempt(n, if n < 3000 { early } else { late })).collect();
    keep(dir.path(), all.clone());
    let reader = Reader::open(dir.path());
    let counted = |since: Timestamp| -> u64 {
        all.iter().filter(|it| it.time >= since).map(|it| 1 + u64::from(it.unlisted)).sum()
    };
    // Once from what the file has summed, once from its rows.
    for since in [early - Duration::from_secs(60), late - Duration::from_secs(60)] {
        let (hosts, number) = reader.hosts(since, usize::MAX).unwrap();
        assert_eq!((hosts.len(), number), (50, 50));
        assert_eq!(reader.hosts(since, 7).unwrap(), (hosts[..7].to_vec(), 50));
        assert_eq!(hosts.iter().map(|host| host.totals.attempts).sum::<u64>(), counted(since));
        let (destinations, number) = reader.destinations(since, usize::MAX).unwrap();
        assert_eq!(reader.destinations(since, 1).unwrap(), (destinations[..1].to_vec(), number));
        assert_eq!(destinations.iter().map(|to| to.totals.attempts).sum::<u64>(), counted(since));
        let busiest = &hosts[0];
        let story = reader.host(busiest.client.unwrap(), since).unwrap().unwrap();
        assert_eq!(story.seen_as, std::slice::from_ref(busiest));
        assert_eq!(story.hours.iter().map(|hour| hour.attempts).sum::<u64>(), busiest.totals.attempts);
        assert_eq!(busiest.destinations, story.destinations.len() as u64);
        assert!(busiest.totals.reasons.contains(&"not-a-mail-server"));
    }
    assert_eq!(reader.host("192.0.2.1".parse().unwrap(), early).unwrap(), None);
}

#[test]
fn the_next_agent_goes_on_in_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let time = now();
    for part in 0..3 {
        keep(dir.path(), (part * 10..part * 10 + 10).map(|n| attempt(n, time)).collect());
        wait_for("the file is sealed", || files(dir.path(), "-wal").is_empty());
    }
    let rows = Reader::open(dir.path()).log(&Filter::default(), 100).unwrap();
    assert_eq!(rows.iter().map(|row| row.sequence).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    // An hour may have ended in between.
    assert!(files(dir.path(), ".db").len() <= 2);
}

#[test]
fn a_damaged_file_costs_itself_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), vec![attempt(1, now())]);
    wait_for("the file is sealed", || files(dir.path(), "-wal").is_empty());
    let file = files(dir.path(), ".db").pop().unwrap();
    fs::write(&file, "this is no database, but it is longer than a page header needs to be: ".repeat(100))
        .unwrap();
    keep(dir.path(), vec![attempt(2, now())]);
    let rows = Reader::open(dir.path()).log(&Filter::default(), 100).unwrap();
    assert_eq!(rows.into_iter().map(|row| row.attempt.id).collect::<Vec<_>>(), [attempt(2, now()).id]);
    assert_eq!(files(dir.path(), ".damaged").len(), 1);
}

#[test]
fn a_step_of_the_clock_neither_loses_nor_reorders() {
    let dir = tempfile::tempdir().unwrap();
    let year = Duration::from_secs(365 * 86_400);
    let times = [now(), now() + year, now() - year, now()];
    let all: Vec<Attempt> = (0..4).map(|n| attempt(n, times[n as usize])).collect();
    for one in &all {
        keep(dir.path(), vec![one.clone()]);
        wait_for("the file is sealed", || files(dir.path(), "-wal").is_empty());
    }
    let rows = Reader::open(dir.path()).log(&Filter::default(), 100).unwrap();
    assert_eq!(rows.into_iter().map(|row| row.attempt).collect::<Vec<_>>(), all);
}

#[test]
fn the_group_may_read_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    keep(dir.path(), vec![attempt(1, now())]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&dir.path().join("attempts")), 0o2750);
    for file in files(dir.path(), "") {
        // SQLite's own file beside it may be gone by now.
        if file.exists() {
            assert_eq!(mode(&file), 0o640, "{}", file.display());
        }
    }
}

#[test]
fn a_directory_that_takes_nothing_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    // A file stands where the directory belongs: as root no permission would keep anything out.
    fs::write(dir.path().join("attempts"), "").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::start(dir.path(), Retention::default());
    runtime.block_on(async {
        store.append((0..500).map(|n| attempt(n, now())).collect()).await;
        store.flush().await;
    });
    let status = store.status();
    assert!(status.error.is_some() && status.waiting == 500 && status.rows == 0, "{status:?}");
    fs::remove_file(dir.path().join("attempts")).unwrap();
    runtime.block_on(store.flush());
    let status = store.status();
    assert!(
        status.error.is_none() && status.waiting == 0 && status.rows == 500 && status.missed == 0,
        "{status:?}"
    );
    assert_eq!(Reader::open(dir.path()).log(&Filter::default(), 1000).unwrap().len(), 500);
}

#[test]
fn what_memory_has_no_room_for_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("attempts"), "").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::start(dir.path(), Retention::default());
    runtime.block_on(async {
        for part in 0..12 {
            store.append((0..10_000).map(|n| attempt(part * 10_000 + n, now())).collect()).await;
        }
        store.flush().await;
    });
    let status = store.status();
    assert_eq!((status.waiting, status.missed), (100_000, 20_000));
}

const WRITER: &str = "SMTPFENCE_TEST_STORE_WRITER";

/// Not a test of its own: the process that the next test kills. Tells each batch once it is on disk.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(WRITER) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::start(Path::new(&dir), Retention::default());
    // The directory stands as soon as the store is started.
    let last = Reader::open(Path::new(&dir)).log(&Filter::default(), 1).unwrap();
    let first = last.first().map_or(0, |row| u32::from_str_radix(&row.attempt.id, 16).unwrap() + 1);
    for batch in 0.. {
        let from = first + batch * 500;
        runtime.block_on(async {
            store.append((from..from + 500).map(|n| attempt(n, now())).collect()).await;
            store.flush().await;
        });
        println!("written {}", from + 500);
    }
}

#[test]
fn no_acknowledged_row_is_lost_to_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..50u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writer_process", "--exact", "--nocapture"])
            .env(WRITER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = |line: String| line.split_once("written ").and_then(|(_, n)| n.parse::<u32>().ok());
        acknowledged = lines.by_ref().find_map(written).expect("the writer writes").max(acknowledged);
        std::thread::sleep(Duration::from_millis(round % 10));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(written).last().unwrap_or(acknowledged);
        let rows = Reader::open(dir.path()).log(&Filter::default(), usize::MAX).unwrap();
        // Every number once and in order: whole batches, the last one perhaps not acknowledged.
        assert!(rows.len() as u32 >= acknowledged, "round {round}: {} of {acknowledged}", rows.len());
        assert!((rows.len() as u32).is_multiple_of(500));
        for (n, row) in rows.iter().enumerate() {
            assert_eq!((row.sequence, &row.attempt.id), (n as i64 + 1, &format!("{n:012x}")));
        }
        let (sums, _) = Reader::open(dir.path()).hosts(Timestamp::UNIX_EPOCH, usize::MAX).unwrap();
        let summed: u64 = sums.iter().map(|host| host.totals.attempts).sum();
        assert_eq!(summed, rows.iter().map(|row| 1 + u64::from(row.attempt.unlisted)).sum::<u64>());
    }
    assert!(acknowledged >= 25_000);
}
