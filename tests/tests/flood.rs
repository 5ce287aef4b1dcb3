//! Floods: nothing uncounted, the agent stays small, and a real bot among made-up ones is told to the packet.
//!
//! Three seconds each, or as many as `SMTPFENCE_FLOOD_SECONDS` says; `SMTPFENCE_FLOOD_RATE` is how many packets a second bear
//! made-up sources. Figures are printed.

#[path = "../accounts/mod.rs"]
mod accounts;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use accounts::{Books, POLICY, Sender};
use anyhow::{Context, Result, anyhow, ensure};
use lab::frame::{Frame, Tcp};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use policy_user::status::host_counts;
use serde_json::Value;

const HOSTS: u32 = 5_000;
const A_SECOND: u32 = 20_000;

#[test]
fn a_flood_is_counted_in_full_by_a_small_agent() -> Result<()> {
    require_root_or_skip!();
    let seconds = number("SMTPFENCE_FLOOD_SECONDS", 3)?;
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

#[test]
fn a_bot_is_exact_among_made_up_sources_of_nowhere() -> Result<()> {
    require_root_or_skip!();
    a_bot_is_exact_among([198, 18, 0, 0])
}

#[test]
fn a_bot_is_exact_among_made_up_clients() -> Result<()> {
    require_root_or_skip!();
    a_bot_is_exact_among([10, 25, 0, 0])
}

/// Attempts of the bot in a second: fewer than its budget of events allows.
const BOT_A_SECOND: u32 = 10;

/// 65,536 made-up sources behind `base`, all behind one MAC, while a bot tries one site after the other.
fn a_bot_is_exact_among(base: [u8; 4]) -> Result<()> {
    let seconds = number("SMTPFENCE_FLOOD_SECONDS", 3)?;
    let rate = number("SMTPFENCE_FLOOD_RATE", 20_000)?;
    let lab = Lab::builder().clients(2).build()?;
    let log = lab.dir().join("attempts.json");
    let more = format!(
        "log: {{ file: {} }}\ndetection: {{ overrides: {{ minutes: 0 }} }}\nend: true",
        log.display()
    );
    // Bound to its MAC: one of the made-up clients has the mail server's address.
    let bound = POLICY.replace("address: 10.25.0.25", "address: 10.25.0.25, mac: \"02:00:00:00:00:25\"");
    let mut agent = Agent::start(&lab, &built_binary()?, &bound.replace("end: true", &more))?;
    let pid = agent.process()?.pid();
    let before = processor_time(pid)?;
    let begun = Instant::now();
    let tried = seconds * BOT_A_SECOND;
    std::thread::scope(|scope| -> Result<()> {
        let bot = scope.spawn(|| spray(&lab, tried));
        let mut spoofer = Sender::new(&lab, 0)?;
        for n in 0..seconds * rate {
            if n % 100 == 0 {
                let due = Duration::from_secs(1) * n / rate;
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
            }
            // An odd factor: each source comes up once before any comes twice, and far ones follow each other.
            spoofer.send(None, base, n.wrapping_mul(40_503) % 65_536, n)?;
        }
        bot.join().map_err(|_| anyhow!("the bot's thread has failed"))?
    })?;
    let took = begun.elapsed();
    let used = processor_time(pid)? - before;
    let books = settled(&agent, &log)?;
    let share = used.as_secs_f64() / took.as_secs_f64();
    println!(
        "{} packets in {took:.1?} ({:.0}/s), {} events, {} lost; the agent: {:.1} % of a processor, at most {} KiB",
        books.packets,
        books.packets as f64 / took.as_secs_f64(),
        books.events,
        books.lost,
        share * 100.0,
        memory(pid)?
    );
    ensure!(books.packets == u64::from(seconds * rate + tried), "{books:?}");
    books.agree()?;
    bot_is_told_in_full(&agent, &lab, tried, &log)?;
    let most = if cfg!(debug_assertions) { 1.0 } else { 0.15 };
    ensure!(share < most, "the agent took {used:?} of processor time in {took:?}");
    Ok(())
}

/// One SYN to each of so many sites.
fn spray(lab: &Lab, attempts: u32) -> Result<()> {
    let bot = lab.client(1);
    let socket = bot.raw_socket("eth0")?;
    let begun = Instant::now();
    for n in 0..attempts {
        let [.., high, low] = n.to_be_bytes();
        let frame = Frame::new(bot.mac(), lab.gateway().mac());
        let frame = frame.ip(bot.addr4().into(), [45 + high, low, 0, 25].into());
        std::thread::sleep((Duration::from_secs(1) * n / BOT_A_SECOND).saturating_sub(begun.elapsed()));
        socket.send(&frame.tcp(Tcp::syn(20_000 + n as u16, 25).sequence(n)).build())?;
    }
    Ok(())
}

/// Its account, its rows and its flag say what it did, no more and no less.
fn bot_is_told_in_full(agent: &Agent<'_>, lab: &Lab, attempts: u32, log: &Path) -> Result<()> {
    let bot = lab.client(1);
    let mac = bot.mac().to_string();
    let mut rows = Vec::new();
    for line in BufReader::new(File::open(log)?).lines() {
        let row: Value = serde_json::from_str(&line?)?;
        if row["event"] == "attempt" && row["client_mac"] == mac.as_str() {
            ensure!(row["client"] == bot.addr4().to_string() && row["unlisted"] == 0, "{row}");
            rows.push(row["tcp_sequence"].as_u64().context("a row without its number")?);
        }
    }
    rows.sort_unstable();
    ensure!(
        rows == (0..u64::from(attempts)).collect::<Vec<_>>(),
        "{} rows of {attempts} attempts",
        rows.len()
    );
    let hosts: Value =
        serde_json::from_str(&agent.told("hosts", &["--format", "json", "--limit", "100000"])?.1)?;
    let host = hosts.as_array().into_iter().flatten().find(|host| host["mac"] == mac.as_str());
    let host = host.context("the bot is not among the hosts")?;
    ensure!(host["attempts"] == attempts && host["flag"]["verdict"] == "infected", "{host:#}");
    let accounts = host_counts(&lab.bpffs()?).map_err(|error| anyhow!("{error}"))?;
    let own = accounts.iter().find(|account| account.is_single() && account.key.mac() == Some(bot.mac().0));
    let own = own.context("the bot has no account")?.counts;
    ensure!((own.packets, own.attempts) == (attempts.into(), attempts.into()), "{own:?}");
    Ok(())
}

fn number(variable: &str, usual: u32) -> Result<u32> {
    let Ok(text) = std::env::var(variable) else { return Ok(usual) };
    text.parse().with_context(|| format!("{variable} is no number"))
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
