//! DNS answers on the wire: copied on their way to clients where the policy asks for it, learnt from before the attempt that
//! follows, and never in the way of anything.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, provider, require_root_or_skip};
use serde_json::Value;

#[path = "../../policy-user/tests/dns_message/mod.rs"]
mod dns_message;

use dns_message::{AAAA, MX, address, alias, answer, found, mail_server};

const POLICY: &str = r#"version: 1
name: names
interfaces: { inside: [lan0], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
on_block: reject
mail_servers:
  - { name: mail, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }
detection: { overrides: { minutes: 0 }NAMES }
end: true
"#;

const ON: &str = ", names: { resolvers: [203.0.113.25, \"2001:db8:ff::25\"] }";
const PATIENCE: Duration = Duration::from_millis(300);

fn policy(names: &str) -> String {
    POLICY.replace("NAMES", names)
}

/// A resolver outside and a client that asks it; each answer takes the way that a real one takes.
struct Dns {
    resolver: UdpSocket,
    client: UdpSocket,
}

impl Dns {
    fn new(lab: &Lab, client: &Host, resolver: SocketAddr) -> Result<Self> {
        let bind = |host: &Host, address: SocketAddr| -> Result<UdpSocket> {
            let socket = host.run(|| UdpSocket::bind(address))??;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            Ok(socket)
        };
        let own = SocketAddr::new(client.addr_like(resolver.ip()), 0);
        let dns = Self { resolver: bind(lab.internet(), resolver)?, client: bind(client, own)? };
        dns.client.connect(resolver)?;
        Ok(dns)
    }

    /// Asks anything and gets this answer, unchanged.
    fn get(&self, answer: &[u8]) -> Result<()> {
        let mut buffer = [0; 4096];
        self.client.send(b"?")?;
        let (_, client) = self.resolver.recv_from(&mut buffer).context("the question did not arrive")?;
        self.resolver.send_to(answer, client)?;
        let length = self.client.recv(&mut buffer).context("the answer did not arrive")?;
        ensure!(buffer.get(..length) == Some(answer), "the answer was changed on its way");
        Ok(())
    }
}

/// A server in the n-th network of a company.
fn server(nth: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + nth, 0, 0, 0, 0, 0x25)
}

fn attempt(client: &Host, to: Ipv6Addr) {
    let _refused = client.connect(SocketAddr::from((to, 25)), PATIENCE);
}

fn flag(agent: &Agent<'_>, host: &Host) -> Result<Option<Value>> {
    let flags: Vec<Value> = serde_json::from_str(&agent.ask(&["flags", "--format", "json"])?)?;
    Ok(flags.into_iter().find(|flag| flag["host"] == host.mac().to_string()))
}

/// Waits until a host has made so many attempts by the detector's count.
fn wait_for(agent: &Agent<'_>, host: &Host, attempts: u64) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let flag = flag(agent, host)?;
        match flag {
            Some(flag) if flag["evidence"]["attempts_now"].as_u64() >= Some(attempts) => return Ok(flag),
            flag => ensure!(begun.elapsed() < Duration::from_secs(5), "{attempts} attempts, but {flag:#?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_rotating_provider_is_one_site_a_bot_with_its_own_names_is_found_and_the_log_tells_both() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(ON))?;
    let (honest, bot) = (lab.client(0), lab.client(1));
    let dns = Dns::new(&lab, honest, provider(53))?;
    for nth in 1..=14 {
        let records =
            [alias("smtp.example.com", "pool.example.net"), address("pool.example.net", server(nth).into())];
        dns.get(&answer(nth, ("smtp.example.com", AAAA), &records, &[]))?;
        attempt(honest, server(nth));
    }
    // The attempt comes a moment after the answer, and yet its row has the name.
    let row = agent.wait_for_attempt(|attempt| attempt["destination"] == server(14).to_string())?;
    ensure!(row["to_name"] == "smtp.example.com", "{row:#}");
    let seen = wait_for(&agent, honest, 14)?;
    ensure!(seen["verdict"] == "misconfigured" && seen["evidence"]["sites_now"] == 1, "{seen:#}");
    ensure!(seen["evidence"]["top"][0]["name"] == "smtp.example.com", "{seen:#}");
    drop(dns);

    let dns = Dns::new(&lab, bot, SocketAddr::from((lab.internet().addr6(), 53)))?;
    for nth in 101..=140u16 {
        let domain = format!("victim{nth}.example");
        let glue = [address("mx.evil.example", IpAddr::V6(server(nth)))];
        dns.get(&answer(nth, (&domain, MX), &[mail_server(&domain, "mx.evil.example")], &glue))?;
        attempt(bot, server(nth));
    }
    let found = wait_for(&agent, bot, 40)?;
    ensure!(found["verdict"] == "infected" && found["evidence"]["mx_queries"] == 40, "{found:#}");

    let output = agent.command("host")?.args(["--format", "json", &bot.addr6().to_string()]).output()?;
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["flag"]["evidence"]["mx_queries"] == 40, "{told:#}");
    let status = agent.status()?;
    ensure!(status["names"]["hosts"] == 2 && status["names"]["left_out"] == 0, "{:#}", status["names"]);
    // Also in the store.
    agent.terminate()?;
    let rows =
        agent.command("log")?.args(["--format", "json", "--host", &honest.addr6().to_string()]).output()?;
    let rows = String::from_utf8(rows.stdout)?;
    ensure!(
        rows.lines().filter(|row| row.contains("\"to_name\":\"smtp.example.com\"")).count() == 14,
        "{rows}"
    );
    Ok(())
}

#[test]
fn names_are_off_unless_asked_for_and_a_reload_turns_them_on_and_off() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy(""))?;
    let client = lab.client(0);
    let dns = Dns::new(&lab, client, provider(53))?;
    let named = |agent: &Agent<'_>, nth: u16, to: Ipv6Addr| -> Result<Value> {
        dns.get(&found(&format!("n{nth}.example"), to.into()))?;
        attempt(client, to);
        wait_for_rows(agent, to, 1)
    };
    ensure!(named(&agent, 1, server(1))?["to_name"].is_null() && agent.status()?["names"].is_null());
    ensure!(egress_programs(&lab)?.is_empty(), "a program that nobody asked for");

    agent.write_policy(&policy(ON))?;
    agent.ask(&["reload"])?;
    ensure!(named(&agent, 2, server(2))?["to_name"] == "n2.example");
    ensure!(egress_programs(&lab)? == ["names"], "{:?}", egress_programs(&lab)?);

    // Another resolver's answers are not looked at, and answers to nobody's client neither.
    agent.write_policy(&policy(", names: { resolvers: 203.0.113.53, keep: 2h }"))?;
    agent.ask(&["reload"])?;
    ensure!(named(&agent, 3, server(3))?["to_name"].is_null());
    agent.write_policy(&policy(""))?;
    agent.ask(&["reload"])?;
    attempt(client, server(2));
    ensure!(wait_for_rows(&agent, server(2), 2)?["to_name"].is_null(), "what was learnt is forgotten");
    ensure!(egress_programs(&lab)?.is_empty(), "{:?}", egress_programs(&lab)?);
    Ok(())
}

#[test]
fn the_program_goes_with_the_agent_and_hostile_answers_pass_untouched() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(ON))?;
    let client = lab.client(0);
    let dns = Dns::new(&lab, client, provider(53))?;
    let good = found("out.example.net", server(1).into());
    for length in 0..good.len() {
        dns.get(&good[..length])?;
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        dns.get(&bad)?;
    }
    // Larger than what is handed on, and in fragments.
    for length in [1231, 1232, 1233, 1472, 4000] {
        let mut long = good.clone();
        long.resize(length, 0);
        dns.get(&long)?;
    }
    dns.get(&good)?;
    attempt(client, server(1));
    ensure!(wait_for_rows(&agent, server(1), 1)?["to_name"] == "out.example.net", "it still learns");
    agent.kill9()?;
    let begun = Instant::now();
    while !egress_programs(&lab)?.is_empty() {
        ensure!(begun.elapsed() < Duration::from_secs(5), "{:?} stays", egress_programs(&lab)?);
        std::thread::sleep(Duration::from_millis(20));
    }
    dns.get(&good)?;
    ensure!(!client.can_connect(provider(25)), "enforcement must not end with it");
    Ok(())
}

/// The newest of so many rows of the store for a destination.
fn wait_for_rows(agent: &Agent<'_>, to: Ipv6Addr, rows: usize) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let output = agent.command("log")?.args(["--format", "json", "--to", &to.to_string()]).output()?;
        let found = String::from_utf8(output.stdout)?;
        if found.lines().count() >= rows {
            return Ok(serde_json::from_str(found.lines().last().context("no row")?)?);
        }
        ensure!(begun.elapsed() < Duration::from_secs(5), "{rows} rows for {to}, but:\n{found}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Programs at the egress of the gateway's inside interface.
fn egress_programs(lab: &Lab) -> Result<Vec<String>> {
    let programs = lab.gateway().run(|| {
        let query = aya::programs::SchedClassifier::query_tcx("lan0", aya::programs::TcAttachType::Egress);
        query.map(|(_, programs)| {
            programs.iter().filter_map(|it| it.name_as_str().map(str::to_owned)).collect()
        })
    })??;
    Ok(programs)
}
