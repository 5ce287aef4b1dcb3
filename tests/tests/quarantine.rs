//! Quarantine and submission watch, live: who is cut off from what, for how long, and by what it ends.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{Agent, Host, Lab, Listener, built_binary, require_root_or_skip};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_millis(300);
const WEB: u16 = 443;

fn policy(quarantine: &str) -> String {
    format!(
        r#"version: 1
name: quarantine
interfaces: {{ inside: [lan0], outside: [wan0] }}
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
on_block: reject
mail_servers:
  - {{ name: mail, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }}
detection: {{ overrides: {{ minutes: 0 }} }}
quarantine: {{ {quarantine} }}
end: true
"#
    )
}

/// A server outside in both families.
fn outside(port: u16) -> [SocketAddr; 2] {
    [SocketAddr::from(([203, 0, 113, 25], port)), SocketAddr::from((site(1), port))]
}

fn site(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + number, 0, 0, 0, 0, 0x25)
}

fn listen(lab: &Lab, ports: &[u16]) -> Result<Vec<Listener>> {
    let everywhere = |port: &u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
    ports.iter().map(|port| lab.internet().listen(everywhere(port))).collect()
}

/// Tries as many companies as it takes to be called infected.
fn spray(host: &Host) {
    for number in 1..=18 {
        let _refused = host.connect(SocketAddr::from((site(number), 25)), PATIENCE);
    }
}

/// Which of these ports outside a host reaches, in both families alike.
fn reaches(host: &Host, ports: &[u16]) -> Result<Vec<u16>> {
    let mut open = Vec::new();
    for port in ports {
        let [v4, v6] = outside(*port).map(|server| host.can_connect(server));
        ensure!(v4 == v6, "port {port} is open in IPv4: {v4}, in IPv6: {v6}");
        if v4 {
            open.push(*port);
        }
    }
    Ok(open)
}

fn quarantined(agent: &Agent<'_>) -> Result<Vec<Value>> {
    Ok(agent.status()?["quarantine"].as_array().cloned().unwrap_or_default())
}

fn addresses(agent: &Agent<'_>) -> Result<BTreeSet<String>> {
    let list = quarantined(agent)?;
    Ok(list.iter().filter_map(|entry| entry["host"].as_str()).map(str::to_owned).collect())
}

fn until(what: &str, mut reached: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !reached()? {
        ensure!(begun.elapsed() < Duration::from_secs(20), "not reached: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until just these addresses are in quarantine.
fn wait_for(agent: &Agent<'_>, wanted: &[IpAddr]) -> Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
    until("in quarantine", || Ok(addresses(agent)? == wanted))
        .with_context(|| format!("{wanted:?} wanted, {:#?} found", quarantined(agent)))
}

/// How long a host's quarantine lasts in all.
fn seconds(agent: &Agent<'_>) -> Result<i64> {
    let list = quarantined(agent)?;
    let entry = list.first().context("nobody is in quarantine")?;
    let time = |key: &str| entry[key].as_str().context("no time")?.parse::<Timestamp>().context("no time");
    Ok(time("until")?.duration_since(time("since")?).as_secs())
}

#[test]
fn an_infected_host_loses_its_mail_for_a_time_and_for_longer_when_it_goes_on() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let _servers = listen(&lab, &[587, 465, WEB])?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy("enabled: true, for: 6s, longest: 15s"))?;
    let (bot, neighbour) = (lab.client(0), lab.client(1));
    let both = [IpAddr::from(bot.addr4()), IpAddr::from(bot.addr6())];
    ensure!(reaches(bot, &[587, 465, WEB])? == [587, 465, WEB], "closed before it has done anything");
    spray(lab.mail_server());
    spray(bot);
    // It sprayed by IPv6 alone; its IPv4 address is the same machine's.
    wait_for(&agent, &both).context("the first time")?;
    ensure!(reaches(bot, &[587, 465, WEB])? == [WEB], "mail is open, or the web closed");
    ensure!(reaches(neighbour, &[587, 465, WEB])? == [587, 465, WEB], "the neighbour is cut off");
    ensure!(reaches(lab.mail_server(), &[587])? == [587], "the mail server is cut off");
    let list = quarantined(&agent)?;
    let entry = list.first().context("none")?;
    ensure!(entry["scope"] == "mail" && entry["mac"] == bot.mac().to_string(), "{entry:#}");
    ensure!(seconds(&agent)? == 6, "{entry:#}");
    let (_, told) = agent.told("host", &[&bot.addr4().to_string()])?;
    ensure!(told.contains("in quarantine (mail) until"), "{told}");

    // The kernel ends it without an agent.
    agent.kill9()?;
    ensure!(reaches(bot, &[587])?.is_empty(), "it ended with the agent");
    until("the end by time", || Ok(bot.can_connect(outside(587)[0])))?;
    ensure!(reaches(bot, &[587])? == [587], "only one family is free");

    // It is flagged still, but only a new attempt brings it back, for twice as long.
    agent.run()?;
    std::thread::sleep(Duration::from_millis(2500));
    wait_for(&agent, &[])?;
    ensure!(agent.ask(&["flags"])?.contains("infected"), "its flag is gone");
    let _refused = bot.connect(SocketAddr::from((site(1), 25)), PATIENCE);
    wait_for(&agent, &both).context("the second time")?;
    ensure!(seconds(&agent)? == 12, "the second time lasts {} s", seconds(&agent)?);
    let told = agent.ask(&["flags", "release", &bot.mac().to_string()])?;
    ensure!(told.contains("is released"), "{told}");
    ensure!(reaches(bot, &[587])? == [587] && quarantined(&agent)?.is_empty(), "not released with its flag");
    spray(bot);
    wait_for(&agent, &both).context("the third time")?;
    ensure!(seconds(&agent)? == 15, "the third time lasts {} s", seconds(&agent)?);
    Ok(())
}

#[test]
fn scope_all_leaves_the_company_and_what_is_spared_and_follows_new_addresses() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let _servers = listen(&lab, &[587, WEB, 8443])?;
    let _own = lab.gateway().listen(SocketAddr::from((Ipv6Addr::UNSPECIFIED, WEB)))?;
    let spared = "enabled: true, scope: all, except: [198.51.100.7], except_ports: [8443]";
    let agent = Agent::start(&lab, &built_binary()?, &policy(spared))?;
    let (bot, neighbour) = (lab.client(0), lab.client(1));
    // It answered once, so the gateway knows whose the address is.
    ensure!(reaches(bot, &[WEB])? == [WEB], "closed before it has done anything");
    spray(bot);
    wait_for(&agent, &[bot.addr4().into(), bot.addr6().into()])?;
    ensure!(reaches(bot, &[587, WEB, 8443])? == [8443], "not all but the spared port is closed");
    ensure!(bot.can_connect(SocketAddr::from(([198, 51, 100, 7], WEB))), "the spared host is closed");
    ensure!(!bot.can_connect(SocketAddr::from(([198, 51, 100, 8], WEB))), "its neighbour is open");
    ensure!(bot.can_connect(SocketAddr::from(([10, 25, 0, 1], WEB))), "the gateway is closed");
    ensure!(reaches(neighbour, &[587, WEB])? == [587, WEB], "the neighbour is cut off");
    // Denied like this it says nothing about mail.
    agent.wait_for_attempt(|it| it["reason"] == "quarantined" && it["destination_port"] == WEB)?;

    // Another address is no way out, and another machine with the address is somebody else.
    bot.ip("addr add 10.25.0.99/24 dev eth0")?;
    let renamed = SocketAddr::from(([10, 25, 0, 99], 0));
    until("the new address is held too", || {
        Ok(bot.connect_from(renamed, outside(WEB)[0], PATIENCE).is_err())
    })?;
    ensure!(addresses(&agent)?.contains("10.25.0.99"), "{:#?}", quarantined(&agent)?);
    bot.ip("addr del 10.25.0.99/24 dev eth0")?;
    neighbour.ip("addr add 10.25.0.99/24 dev eth0")?;
    lab.gateway().ip("neigh flush dev lan0")?;
    neighbour
        .connect_from(renamed, outside(WEB)[0], PATIENCE)
        .context("the address's next owner is cut off")?;

    // Released by one address it is released as a host, and its flag is taken back.
    let told = agent.ask(&["release", &bot.addr4().to_string()])?;
    ensure!(told.contains("is released"), "{told}");
    ensure!(reaches(bot, &[587, WEB])? == [587, WEB], "still cut off");
    let flags = agent.ask(&["flags"])?;
    ensure!(quarantined(&agent)?.is_empty() && flags.contains("no host is flagged"), "{flags}");
    Ok(())
}

#[test]
fn an_admin_chooses_the_scope_and_neither_mail_server_nor_gateway_is_ever_held() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _servers = listen(&lab, &[587, WEB])?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("enabled: false, except_ports: [8443]"))?;
    let client = lab.client(0);
    let hold = |host: &str, more: &[&str]| {
        let words = ["quarantine", host, "--for", "1h", "--reason", "ticket 4711"];
        agent.ask(&[&words[..], more].concat())
    };
    for (host, why) in [
        ("10.25.0.25", "mail server mail"),
        ("10.25.0.1", "gateway's own address"),
        ("203.0.113.1", "gateway's own address"),
    ] {
        let told = hold(host, &["--scope", "all"])?;
        ensure!(told.contains(why), "{host}: {told}");
    }
    ensure!(quarantined(&agent)?.is_empty(), "{:#?}", quarantined(&agent)?);
    for address in [client.addr4().to_string(), client.addr6().to_string()] {
        hold(&address, &[])?;
    }
    ensure!(reaches(client, &[587, WEB])? == [WEB], "the policy's scope is mail");
    for address in [client.addr4().to_string(), client.addr6().to_string()] {
        hold(&address, &["--scope", "all"])?;
    }
    ensure!(reaches(client, &[587, WEB])?.is_empty(), "scope all leaves something open");
    // Without a flag nobody is held by the agent itself.
    spray(client);
    until("flagged", || Ok(agent.ask(&["flags"])?.contains("infected")))?;
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(quarantined(&agent)?.iter().all(|entry| entry["flagged"].is_null()), "held though not enabled");
    Ok(())
}

#[test]
fn submissions_are_counted_shown_and_never_held_against_anybody() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let _servers = listen(&lab, &[587, 465, WEB])?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("enabled: true"))?;
    let (client, other) = (lab.client(0), lab.client(1));
    for number in 1..=20 {
        let port = if number % 2 == 0 { 587 } else { 465 };
        ensure!(client.can_connect(SocketAddr::from((site(number), port))), "server {number} is closed");
    }
    ensure!(other.can_connect(outside(WEB)[0]), "the web is closed");
    let hosts: Vec<Value> = serde_json::from_str(&agent.get("/v1/hosts")?)?;
    let of = |host: &Host| hosts.iter().find(|it| it["address"] == host.addr6().to_string());
    let account = of(client).context("it has no account")?;
    let submission = &account["submission"];
    ensure!(account["attempts"] == 0 && submission["syns"] == 20, "{account:#}");
    ensure!((17..=23).contains(&submission["servers"].as_u64().unwrap_or(0)), "{account:#}");
    ensure!(account["mac"] == client.mac().to_string() && of(other).is_none(), "{hosts:#?}");
    let (_, told) = agent.told("host", &[&client.addr6().to_string()])?;
    ensure!(told.contains("asked 20 times for a connection to a submission port"), "{told}");
    ensure!(agent.ask(&["flags"])?.contains("no host is flagged"), "flagged for submissions");
    ensure!(agent.counted("not-a-mail-server", "packets")? == 0, "counted as blocked");
    Ok(())
}
