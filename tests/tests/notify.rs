//! Notifications from the running agent: a bot is told of while it sprays, also after the receiver was away.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

const RECEIVER: &str = "127.0.0.1:9000";
const PATIENCE: Duration = Duration::from_secs(20);

fn policy(secret: &std::path::Path) -> String {
    format!(
        "version: 1\nname: notify\ninterfaces: {{ inside: [lan0], outside: [wan0] }}\nnetworks: {{ clients: [10.25.0.0/24, \
         \"fd25::/64\"] }}\nmode: enforce\non_block: reject\nnotify:\n  - name: siem\n    webhook: {{ url: \
         \"http://{RECEIVER}/hook\", secret_file: {} }}\n    group: 1s\nend: true\n",
        secret.display()
    )
}

fn secret(lab: &Lab) -> Result<std::path::PathBuf> {
    let path = lab.dir().join("secret");
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(b"a key of more than sixteen bytes\n")?;
    Ok(path)
}

/// A listener of the gateway itself.
fn listen(lab: &Lab) -> Result<TcpListener> {
    Ok(lab.gateway().run(|| TcpListener::bind(RECEIVER))??)
}

/// The next message that comes; refused if it has none of the headers that make it believable.
fn next(listener: &TcpListener) -> Result<Value> {
    listener.set_nonblocking(true)?;
    let begun = Instant::now();
    let stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(_) => ensure!(begun.elapsed() < PATIENCE, "no message came within {PATIENCE:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(&stream);
    let (mut length, mut signed) = (0, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            Some(("webhook-signature", value)) => signed = value.starts_with("v1,"),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    ensure!(signed, "it is not signed");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    Ok(serde_json::from_slice(&body)?)
}

/// The first message that tells of an infected host: on a slow machine it may have been suspect before.
fn next_infected(listener: &TcpListener) -> Result<(Value, Value)> {
    let begun = Instant::now();
    loop {
        let message = next(listener)?;
        let events = message["events"].as_array().context("no events")?;
        if let Some(told) = events.iter().find(|event| event["event"] == "infected") {
            return Ok((told.clone(), message));
        }
        ensure!(begun.elapsed() < PATIENCE, "no infected host: {message:#}");
    }
}

fn spray(host: &Host) {
    for site in 1..=18 {
        let server = Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + site, 0, 0, 0, 0, 0x25);
        let _refused = host.connect(SocketAddr::from((server, 25)), Duration::from_millis(300));
    }
}

fn count(agent: &Agent<'_>, what: &str) -> Result<Option<u64>> {
    Ok(agent.status()?["notify"][0][what].as_u64())
}

#[test]
fn a_bot_is_told_of_within_seconds() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let receiver = listen(&lab)?;
    let agent = Agent::start(&lab, &built_binary()?, &policy(&secret(&lab)?))?;
    let begun = Instant::now();
    spray(lab.client(0));
    let (told, message) = next_infected(&receiver)?;
    println!("told {:?} after the first attempt", begun.elapsed());
    ensure!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    let mac = lab.client(0).mac().to_string();
    ensure!(told["subject"] == mac && told["flag"]["evidence"]["rule"].is_string(), "{message:#}");
    let begun = Instant::now();
    while count(&agent, "sent")? < Some(1) {
        ensure!(begun.elapsed() < PATIENCE, "it is not counted: {:#}", agent.status()?["notify"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(agent.get("/metrics")?.contains("smtpfence_notify_sent_total{receiver=\"siem\"} "), "no metric");
    // A policy that is refused is an alarm of its own.
    agent.write_policy("version: 1\n")?;
    ensure!(!agent.reload()?.0, "half a policy was accepted");
    let alarm = loop {
        let message = next(&receiver)?;
        if message["counts"]["reload"] == 1 {
            break message;
        }
    };
    let summary = alarm["events"][0]["summary"].as_str().context("no summary")?;
    ensure!(summary.contains("refused") && !summary.contains('\n'), "{alarm:#}");
    ensure!(agent.ask(&["notify"])?.contains("siem"), "{}", agent.ask(&["notify"])?);
    Ok(())
}

#[test]
fn a_receiver_that_was_away_is_told_by_the_next_agent_and_a_test_says_what_is_wrong() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&secret(&lab)?))?;
    spray(lab.client(0));
    let begun = Instant::now();
    while agent.status()?["notify"][0]["failing"]["stage"] != "connect" {
        ensure!(begun.elapsed() < PATIENCE, "nothing fails: {:#}", agent.status()?["notify"]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let told = agent.ask(&["notify", "--test", "siem"])?;
    ensure!(told.contains("NOT DELIVERED") && told.contains("firewall"), "{told}");
    let told = agent.ask(&["notify", "--test", "nobody"])?;
    ensure!(told.contains("no receiver") && told.contains("siem"), "{told}");
    agent.kill9()?;
    let receiver = listen(&lab)?;
    agent.run()?;
    let (_, message) = next_infected(&receiver)?;
    ensure!(message["counts"]["infected"] == 1, "{message:#}");
    Ok(())
}
