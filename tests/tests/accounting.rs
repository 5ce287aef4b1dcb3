//! Every denied packet is in exactly one host's account, and every attempt is an event, a lost one, or told of by another.

#[path = "../accounts/mod.rs"]
mod accounts;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use accounts::{Books, POLICY, Sender};
use anyhow::{Context, Result, anyhow, ensure};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use policy_common::abi::{HOST_ENTRIES, HOSTS_PER_INTERFACE, HOSTS_PER_MAC, HostCounts};
use policy_user::datapath::{HostCount, Pins, State, boot_time};
use policy_user::status::host_counts;

/// In ns of the boot clock.
const HOUR: u64 = 3_600 * 1_000_000_000;

#[test]
fn floods_from_many_hosts_and_from_nowhere_add_up_to_the_packet() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    // From two threads, so that two processors count at once.
    std::thread::scope(|scope| -> Result<()> {
        let honest = scope.spawn(|| -> Result<()> {
            let mut sender = Sender::new(&lab, 0)?;
            // Ten attempts each, every SYN sent twice.
            for attempt in (0..10).flat_map(|n| [n, n]) {
                (0..300).try_for_each(|host| sender.send(Some(host), [10, 25, 4, 0], host, attempt))?;
            }
            Ok(())
        });
        let mut spoofer = Sender::new(&lab, 1)?;
        // Made-up sources behind one MAC, then made-up MACs as well.
        (0..2000).try_for_each(|host| spoofer.send(None, [198, 18, 0, 0], host, 0))?;
        (0..500).try_for_each(|host| spoofer.send(Some(0x8000 + host), [198, 19, 0, 0], host, 0))?;
        honest.join().map_err(|_| anyhow!("the honest hosts' thread has failed"))?
    })?;
    let books = settled(&agent)?;
    ensure!((books.packets, books.attempts) == (6000 + 2500, 3000 + 2500), "{books:?}");
    books.agree()?;

    let hosts = pinned_accounts(&lab)?;
    let single: Vec<_> = hosts.iter().filter(|host| host.is_single()).collect();
    ensure!(single.len() == 300, "{} hosts have an account, 300 exist", single.len());
    ensure!(single.iter().all(|host| (host.counts.packets, host.counts.attempts) == (20, 10)), "{single:?}");
    let spoofer = hosts.iter().find(|h| !h.is_single() && h.key.mac() == Some(lab.client(1).mac().0));
    ensure!(spoofer.context("no account of the spoofer's MAC")?.counts.packets == 2000);
    ensure!(hosts.iter().filter(|host| !host.is_single() && host.counts.packets == 1).count() == 500);
    Ok(())
}

#[test]
fn one_flooding_host_silences_nobody_and_is_itself_told_in_full() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let (mut flooder, mut other) = (Sender::new(&lab, 0)?, Sender::new(&lab, 1)?);
    for round in 0..3 {
        (0..2000).try_for_each(|n| flooder.send(None, [10, 25, 4, 1], 0, round * 2000 + n))?;
        other.send(None, [10, 25, 4, 2], 0, round)?;
    }
    let books = settled(&agent)?;
    let of = |client: &str| agent.attempts().iter().filter(|a| a["client"] == client).count() as u64;
    ensure!(of("10.25.4.2") == 3, "the other host has {} events of 3 attempts", of("10.25.4.2"));
    // Its budget, and what grows while it floods.
    let most = HostCounts::BURST + 64;
    ensure!(of("10.25.4.1") <= most, "the flooder has {} events; {most} at most", of("10.25.4.1"));
    ensure!(books.unlisted >= 6000 - most && books.untold > 0, "{books:?}");
    books.agree()?;

    // With the budget grown again, its next events tell of the rest.
    std::thread::sleep(Duration::from_millis(200));
    flooder.send(None, [10, 25, 4, 1], 0, 9000)?;
    let books = settled(&agent)?;
    ensure!(books.told > 0, "no event tells of the attempts without one: {books:?}");
    books.agree()
}

#[test]
fn a_full_ring_loses_events_but_no_count() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(1).build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let mut sender = Sender::new(&lab, 0)?;
    agent.kill9()?;
    // One host over its budget, then so many that the ring is full; then it would tell, but its event is lost.
    (0..1000).try_for_each(|n| sender.send(None, [10, 25, 4, 1], 0, n))?;
    for n in 0..200 {
        (0..250).try_for_each(|host| sender.send(None, [10, 25, 8, 0], host, n))?;
    }
    std::thread::sleep(Duration::from_millis(200));
    (0..4).try_for_each(|n| sender.send(None, [10, 25, 4, 1], 0, 5000 + n))?;
    let away = books_of(&agent)?;
    ensure!(away.packets == 51_004 && away.packets == away.account_packets, "{away:?}");
    ensure!(away.lost > 1000, "the ring was not full: {away:?}");

    agent.run()?;
    let books = settled(&agent)?;
    books.agree()?;
    std::thread::sleep(Duration::from_millis(200));
    sender.send(None, [10, 25, 4, 1], 0, 6000)?;
    let books = settled(&agent)?;
    ensure!(books.told > 0, "the lost event took the number with it: {books:?}");
    books.agree()
}

#[test]
fn a_map_at_its_limits_stays_attributable() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(1).build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let mut sender = Sender::new(&lab, 0)?;
    // Nobody reads: what matters here are the accounts.
    agent.kill9()?;
    let (per_mac, beyond) = (HOSTS_PER_MAC, 500);
    (0..per_mac + beyond).try_for_each(|host| sender.send(None, [10, 25, 32, 0], host, 0))?;
    let hosts = pinned_accounts(&lab)?;
    let mac = Some(lab.client(0).mac().0);
    let single = hosts.iter().filter(|host| host.is_single()).count();
    let of_mac = hosts.iter().find(|host| !host.is_single() && host.key.mac() == mac);
    // Two processors may each miss one that the other takes.
    ensure!(single.abs_diff(per_mac as usize) < 16, "{single} addresses of one MAC have an account");
    let of_mac = of_mac.context("no account of the MAC")?.counts.packets;
    ensure!(single as u64 + of_mac == u64::from(per_mac + beyond), "{single} and {of_mac}");

    // Made-up MACs take what one interface may take; the rest is its own account's, and nothing is in none.
    (0..20_000).try_for_each(|host| sender.send(Some(host), [10, 25, 64, 0], host, 1))?;
    let hosts = pinned_accounts(&lab)?;
    ensure!(hosts.len().abs_diff(HOSTS_PER_INTERFACE as usize) < 32, "{} accounts", hosts.len());
    let of_interface = hosts.iter().find(|host| host.key.mac().is_none()).context("no account of lan0")?;
    ensure!(of_interface.counts.packets > 10_000, "{of_interface:?}");
    let books = books_of(&agent)?;
    ensure!(books.packets == u64::from(per_mac + beyond) + 20_000 && books.overflow == 0, "{books:?}");
    ensure!((books.packets, books.attempts) == (books.account_packets, books.account_attempts), "{books:?}");

    // Hours later the idle ones leave with their numbers, and a new host finds room.
    let mut state = State::open(&Pins::at(&lab.bpffs()?))?;
    ensure!(state.reap_hosts(boot_time())?.is_empty(), "a host left that was seen a moment ago");
    let closed = state.reap_hosts(boot_time() + 2 * HOUR)?;
    let left = state.hosts()?;
    ensure!(left.len() == HOST_ENTRIES as usize / 3, "{} accounts are left", left.len());
    let packets: u64 = closed.iter().chain(&left).map(|host| host.counts.packets).sum();
    ensure!(packets == books.packets, "{packets} packets in closed and open accounts, of {}", books.packets);
    sender.send(Some(50_000), [10, 25, 200, 1], 0, 2)?;
    ensure!(state.hosts()?.iter().filter(|host| host.is_single() && !left.contains(host)).count() == 1);
    Ok(())
}

/// The compiler once had the number of a long list's words and a constant that a map is filled with in one place, so that
/// every interface seemed to have used up its accounts, and all hosts behind it shared one.
#[test]
fn with_a_long_list_each_host_has_its_own_account_all_the_same() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(1).build()?;
    // Long enough that its number of words is above any limit of accounts.
    let listed: Vec<String> =
        (0..40_000u32).map(|n| Ipv4Addr::from_bits(0x0a80_0001 + 2 * n).to_string()).collect();
    let policy = POLICY.replace("10.25.0.25", &format!("[10.25.0.25, {}]", listed.join(", ")));
    let mut agent = Agent::start(&lab, &built_binary()?, &policy)?;
    agent.kill9()?;
    let mut sender = Sender::new(&lab, 0)?;
    (0..300).try_for_each(|host| sender.send(None, [10, 25, 4, 0], host, 0))?;
    let hosts = pinned_accounts(&lab)?;
    let single = hosts.iter().filter(|host| host.is_single()).count();
    ensure!((single, hosts.len()) == (300, 301), "{single} of 300 hosts have an account: {hosts:?}");
    Ok(())
}

#[test]
fn accounts_and_metrics_are_told_on_the_control_socket_and_stay_small() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(1).build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let mut sender = Sender::new(&lab, 0)?;
    sender.send(None, [10, 25, 4, 1], 0, 0)?;
    // Neither made-up sources nor made-up MACs may become labels.
    (0..5000).try_for_each(|host| sender.send(Some(host), [198, 18, 0, 0], host, 0))?;
    let metrics = agent.get("/metrics")?;
    ensure!(metrics.contains("smtpfence_attempts_total{reason=\"not-a-mail-server\"} 1\n"), "{metrics}");
    ensure!(metrics.contains("smtpfence_attempts_total{reason=\"unknown-source\"} 5000\n"), "{metrics}");
    ensure!(metrics.len() < 16 << 10, "{} bytes of metrics", metrics.len());
    let hosts: serde_json::Value = serde_json::from_str(&agent.get("/v1/hosts")?)?;
    let hosts = hosts.as_array().context("no list")?;
    let one = hosts.iter().find(|host| host["address"] == "10.25.4.1").context("the host is not listed")?;
    ensure!(one["mac"] == lab.client(0).mac().to_string() && one["attempts"] == 1, "{one:#}");
    ensure!(one["last_reason"] == "not-a-mail-server" && one["first_seen"].is_string(), "{one:#}");
    ensure!(one["interface"] == "lan0", "{one:#}");
    Ok(())
}

/// Read from the pinned map, as a verb does while no agent runs.
fn pinned_accounts(lab: &Lab) -> Result<Vec<HostCount>> {
    host_counts(&lab.bpffs()?).map_err(|error| anyhow!("{error}"))
}

/// The books with the log on standard output.
fn books_of(agent: &Agent<'_>) -> Result<Books> {
    let attempts = agent.attempts();
    let told = attempts.iter().filter_map(|attempt| attempt["unlisted"].as_u64()).sum();
    Books::with_log(agent, attempts.len() as u64, told)
}

/// The books when nothing moves any more.
fn settled(agent: &Agent<'_>) -> Result<Books> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut before = books_of(agent)?;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
        let now = books_of(agent)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}
