//! 5,000 hosts with 20,000 attempts a second: nothing uncounted, and the agent stays small. Three seconds, or as many as
//! `SMTPFENCE_FLOOD_SECONDS` says; its figures are printed.

#[path = "../accounts/mod.rs"]
mod accounts;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use accounts::{Books, POLICY, Sender};
use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

const HOSTS: u32 = 5_000;
const A_SECOND: u32 = 20_000;

#[test]
fn a_flood_is_counted_in_full_by_a_small_agent() -> Result<()> {
    require_root_or_skip!();
    let seconds = match std::env::var("SMTPFENCE_FLOOD_SECONDS") {
        Ok(text) => text.parse().context("SMTPFENCE_FLOOD_SECONDS is no number")?,
        Err(_) => 3,
    };
    let lab = Lab::builder().clients(1).build()?;
    let log = lab.dir().join("attempts.json");
    let policy = POLICY.replace("end: true", &format!("log: {{ file: {} }}\nend: true", log.display()));
    let mut agent = Agent::start(&lab, &built_binary()?, &policy)?;
    let pid = agent.process()?.pid();
    let mut sender = Sender::new(&lab, 0)?;
    let before = processor_time(pid)?;
    let begun = Instant::now();
    let sent = seconds * A_SECOND;
    for n in 0..sent {
        if n % 100 == 0 {
            let due = Duration::from_secs(1) * n / A_SECOND;
            std::thread::sleep(due.saturating_sub(begun.elapsed()));
        }
        sender.send(Some(n % HOSTS), [10, 25, 32, 0], n % HOSTS, n / HOSTS)?;
    }
    let took = begun.elapsed();
    let books = settled(&agent, &log)?;
    let (used, memory) = (processor_time(pid)? - before, memory(pid)?);
    let store = agent.status()?["store"].clone();
    let rate = f64::from(sent) / took.as_secs_f64();
    println!(
        "{sent} attempts in {took:.1?} ({rate:.0}/s), {} events, {} lost, {} unlisted; the agent: at most {memory} KiB, \
         {used:.1?} of processor time; in the block log {} rows, {} missed",
        books.events, books.lost, books.unlisted, store["rows"], store["missed"]
    );
    ensure!(books.packets == u64::from(sent), "{sent} were sent: {books:?}");
    books.agree()?;
    let kept = |what: &str| store[what].as_u64().unwrap_or(u64::MAX);
    ensure!(kept("rows") + kept("missed") == books.events, "events are neither kept nor missed: {store}");
    ensure!(kept("waiting") == 0 && store["error"].is_null(), "{store}");
    if kept("missed") == 0 {
        let seconds = (took + Duration::from_secs(120)).as_secs();
        ensure!(summed(&agent, seconds)? == books.events + books.told, "the sums are not those of the rows");
    }
    ensure!(agent.status()?["hosts"]["tracked"] == HOSTS);
    ensure!(memory < 200 << 10, "the agent took {memory} KiB");
    ensure!(used < took, "the agent took {used:?} of processor time in {took:?}");
    Ok(())
}

/// The books when the log grows no more.
fn settled(agent: &Agent<'_>, log: &Path) -> Result<Books> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut before = 0;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = log.metadata()?.len();
        if now == before || Instant::now() > deadline {
            break;
        }
        before = now;
    }
    let (mut events, mut told) = (0, 0);
    for line in BufReader::new(File::open(log)?).lines() {
        let attempt: Value = serde_json::from_str(&line?)?;
        if attempt["event"] == "attempt" {
            events += 1;
            told += attempt["unlisted"].as_u64().context("no number of unlisted attempts")?;
        }
    }
    Books::with_log(agent, events, told)
}

/// Attempts of all hosts as `hosts` tells them, with those that have no row.
fn summed(agent: &Agent<'_>, seconds: u64) -> Result<u64> {
    let mut hosts = agent.command("hosts")?;
    let since = format!("{}h", seconds.div_ceil(3600));
    let output = hosts.args(["--format", "json", "--limit", "100000", "--since", &since]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hosts: Value = serde_json::from_slice(&output.stdout)?;
    Ok(hosts.as_array().into_iter().flatten().filter_map(|host| host["attempts"].as_u64()).sum())
}

/// The most memory a process had, in KiB.
fn memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(most.trim().trim_end_matches(" kB").parse()?)
}

/// Processor time of a process so far, in user space and in the kernel on its behalf.
fn processor_time(pid: u32) -> Result<Duration> {
    /// `USER_HZ`, the same on every Linux that matters here.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_name = stat.rsplit_once(") ").context("no name")?.1;
    let ticks: u64 = behind_name.split(' ').skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS))
}
