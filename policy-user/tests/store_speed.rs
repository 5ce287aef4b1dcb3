//! How fast the store writes and answers, and how much room a row takes: a day of a large site, an hour a file.
//!
//! `STORE_ROWS=10000000 cargo test --release --package policy-user --test store_speed -- --ignored --nocapture`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attempts;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use attempts::files;
use jiff::Timestamp;
use policy_user::attempt::{Attempt, Mac};
use policy_user::policy::Retention;
use policy_user::store::{Filter, Reader, Store, Surroundings};

const HOURS: u32 = 24;
const HOSTS: u32 = 5_000;
const DESTINATIONS: u32 = 50_000;

/// Any host tries any destination: numbers that neither repeat soon nor follow each other.
fn attempt(n: u32, time: Timestamp) -> Attempt {
    let random = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (host, destination) = ((random >> 40) as u32 % HOSTS, (random >> 8) as u32 % DESTINATIONS);
    let [_, _, high, low] = host.to_be_bytes();
    Attempt {
        client: Some(client(host)),
        client_mac: Some(Mac([2, 0, 0, 0, high, low])),
        destination: Some(IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + destination))),
        ..attempts::attempt(n, time)
    }
}

fn client(host: u32) -> IpAddr {
    IpAddr::from(Ipv4Addr::from_bits(0x0a19_0000 + host))
}

/// Processor time of this process, which tells more than a clock while others use the machine too.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
#[ignore = "a measurement: takes minutes at its full size"]
fn speed() {
    let rows: u32 = std::env::var("STORE_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    // With a directory of that name the rows are written once, and only asked afterwards.
    let kept = std::env::var_os("STORE_DIR").map(std::path::PathBuf::from);
    let dir = kept.as_deref().unwrap_or(dir.path());
    if files(dir, ".db").is_empty() {
        write(dir, rows);
    }
    let bytes: u64 = files(dir, "").iter().map(|file| fs::metadata(file).map_or(0, |it| it.len())).sum();
    println!("{:.1} bytes a row in {} files", bytes as f64 / f64::from(rows), files(dir, ".db").len());
    ask(&Reader::open(dir));
}

/// A day's rows; the hour goes on with their number.
fn write(dir: &Path, rows: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begin = day().as_second();
    let clock = Arc::new(AtomicI64::new(begin));
    let told = Arc::clone(&clock);
    let now = move || Timestamp::from_second(told.load(Ordering::Relaxed)).unwrap();
    let surroundings = Surroundings { clock: Box::new(now), ..Surroundings::default() };
    let store = Store::start_in(dir, Retention { max_size: u64::MAX, ..Retention::default() }, surroundings);
    let (start, used) = (Instant::now(), processor_time());
    let mut making = Duration::ZERO;
    for hour in 0..HOURS {
        clock.store(begin + i64::from(hour) * 3600, Ordering::Relaxed);
        let (first, end) = (rows / HOURS * hour, rows / HOURS * (hour + 1));
        for from in (first..end).step_by(5000) {
            let begun = Instant::now();
            let time = |n| Timestamp::from_second(begin + i64::from(n) * 86_400 / i64::from(rows)).unwrap();
            let batch = (from..end.min(from + 5000)).map(|n| attempt(n, time(n))).collect();
            making += begun.elapsed();
            runtime.block_on(store.append(batch));
        }
        // The clock must not be ahead of what waits.
        runtime.block_on(store.flush());
    }
    let took = start.elapsed();
    println!(
        "{rows} rows in {:.1} s ({:.1} s of processor time, {:.1} s of it for making them): {:.0}/s",
        took.as_secs_f64(),
        (processor_time() - used).as_secs_f64(),
        making.as_secs_f64(),
        f64::from(rows) / took.as_secs_f64()
    );
}

/// A midnight that is gone.
fn day() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second() / 86_400 * 86_400 - 86_400).unwrap()
}

fn ask(reader: &Reader) {
    let timed = |what: &str, ask: &dyn Fn() -> usize| {
        let once = || {
            let (begun, used) = (Instant::now(), processor_time());
            let found = ask();
            (begun.elapsed(), processor_time() - used, found)
        };
        let (first, _, found) = once();
        let (best, used, _) = (0..5).map(|_| once()).min().unwrap();
        let [first, best, used] = [first, best, used].map(|time| time.as_millis());
        println!("{what}: {found} in {first} ms, at best {best} ms with {used} ms of processor time");
    };
    let all = day();
    // A beginning amid the first hour: one file is read row by row.
    let cut = all + Duration::from_secs(600);
    let host = Filter { host: Some(client(7)), ..Filter::default() };
    timed("log --host", &|| reader.log(&host, 100).unwrap().len());
    let nobody = Filter { host: Some("192.0.2.1".parse().unwrap()), ..Filter::default() };
    timed("log --host (nobody)", &|| reader.log(&nobody, 100).unwrap().len());
    timed("hosts, whole files", &|| reader.hosts(all, 50).unwrap().1);
    timed("hosts --since 24h", &|| reader.hosts(cut, 50).unwrap().1);
    timed("destinations, whole files", &|| reader.destinations(all, 50).unwrap().1);
    timed("destinations --since 24h", &|| reader.destinations(cut, 50).unwrap().1);
    timed("host", &|| reader.host(client(7), cut).unwrap().map_or(0, |story| story.destinations.len()));
}
