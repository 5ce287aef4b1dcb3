//! The detector in the lab: a spraying host is flagged while it sprays, a printer that tries again gets a ticket, the mail
//! server nothing; and what is known outlives the agent.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

const POLICY: &str = r#"version: 1
name: detect
interfaces: { inside: [lan0], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
on_block: reject
mail_servers:
  - { name: mail, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }
detection: { overrides: { minutes: 0 } }
end: true
"#;

const PATIENCE: Duration = Duration::from_millis(300);

/// One connection to each of so many companies.
fn spray(host: &Host, sites: u16) {
    for site in 1..=sites {
        let server = Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + site, 0, 0, 0, 0, 0x25);
        let _refused = host.connect(SocketAddr::from((server, 25)), PATIENCE);
    }
}

fn flags(agent: &Agent<'_>) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&agent.ask(&["flags", "--format", "json"])?)?)
}

fn verdict(agent: &Agent<'_>, host: &Host) -> Result<Option<String>> {
    let flags = flags(agent)?;
    let flag = flags.iter().find(|flag| flag["host"] == host.mac().to_string());
    Ok(flag.and_then(|flag| flag["verdict"].as_str()).map(str::to_owned))
}

/// Waits until a host is called so.
fn wait_for(agent: &Agent<'_>, host: &Host, wanted: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    while verdict(agent, host)?.as_deref() != wanted {
        ensure!(begun.elapsed() < Duration::from_secs(5), "{wanted:?} is not among {:#?}", flags(agent)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_spraying_host_is_infected_a_printer_gets_a_ticket_and_the_mail_server_nothing() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let (bot, printer) = (lab.client(0), lab.client(1));
    let begun = Instant::now();
    spray(lab.mail_server(), 18);
    for _ in 0..4 {
        let _refused = printer.connect(SocketAddr::from(([203, 0, 113, 25], 25)), PATIENCE);
    }
    spray(bot, 18);
    wait_for(&agent, bot, Some("infected"))?;
    ensure!(begun.elapsed() < Duration::from_secs(60), "it took {:?}", begun.elapsed());
    wait_for(&agent, printer, Some("misconfigured"))?;
    ensure!(verdict(&agent, lab.mail_server())?.is_none(), "the mail server: {:#?}", flags(&agent)?);
    let flag = flags(&agent)?.into_iter().find(|flag| flag["verdict"] == "infected").context("no flag")?;
    let evidence = &flag["evidence"];
    ensure!(evidence["rule"] == "many-new-sites" && evidence["sites_day"] == 12, "{flag:#}");
    let status = agent.status()?;
    ensure!(
        status["flags"]["infected"] == 1 && status["flags"]["misconfigured"] == 1,
        "{:#}",
        status["flags"]
    );
    Ok(())
}

#[test]
fn flags_outlive_the_agent_and_end_by_release() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let bot = lab.client(0);
    let mac = bot.mac().to_string();
    // Half of the evidence before a restart, half of it after.
    spray(bot, 9);
    agent.wait_for_attempt(|attempt| attempt["destination"] == "2001:db8:e009::25")?;
    agent.terminate()?;
    agent.run()?;
    let raised =
        |agent: &mut Agent<'_>| agent.process()?.wait_for_line("\"verdict\":\"infected\"", PATIENCE * 10);
    for site in 10..=18 {
        let server = Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + site, 0, 0, 0, 0, 0x25);
        let _refused = bot.connect(SocketAddr::from((server, 25)), PATIENCE);
    }
    let event: Value = serde_json::from_str(&raised(&mut agent)?)?;
    ensure!(event["event"] == "flag" && event["change"] == "raised" && event["host"] == mac, "{event:#}");
    let told = agent.ask(&["flags", "acknowledge", &bot.addr4().to_string(), "--note", "ticket 4711"])?;
    ensure!(told.contains("not flagged"), "it was seen by IPv6 only: {told}");
    agent.ask(&["flags", "acknowledge", &mac, "--note", "ticket 4711"])?;
    agent.kill9()?;
    // While no agent runs, the listing reads what the last one has kept.
    let told = agent.told("hosts", &["--flagged", "--format", "json"])?.1;
    let hosts: Vec<Value> = serde_json::from_str(&told).context(told)?;
    ensure!(hosts.len() == 1 && hosts[0]["flag"]["verdict"] == "infected", "{hosts:#?}");
    let told = agent.told("host", &[&bot.addr6().to_string()])?.1;
    ensure!(told.contains("infected (acknowledged) since") && told.contains("ticket 4711"), "{told}");
    agent.run()?;
    let flag = flags(&agent)?.pop().context("the flag is gone with the agent")?;
    ensure!(flag["acknowledged"]["text"] == "ticket 4711", "{flag:#}");
    let told = agent.ask(&["flags", "release", &mac])?;
    ensure!(told.contains("is released"), "{told}");
    ensure!(flags(&agent)?.is_empty(), "{:#?}", flags(&agent)?);
    Ok(())
}
