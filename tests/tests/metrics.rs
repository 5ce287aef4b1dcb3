//! The real agent's metrics on their port, and Prometheus' own judgement of them and of the alerts that ship.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, gate, require_root_or_skip};

const POLICY: &str = r#"version: 1
name: office
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
on_block: reject
metrics: { listen: "127.0.0.1:9725" }
end: true
"#;

/// Asks the port, as a scraper on the gateway does.
fn scrape(lab: &Lab, port: u16) -> Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let answer = lab.gateway().run(|| -> Result<String> {
        let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(body.to_owned())
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        ensure!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn the_port_follows_the_policy_and_tells_what_status_tells() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    lab.gateway().ip("link set lo up")?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let refused =
        lab.client(0).connect(SocketAddr::from(([203, 0, 113, 25], 25)), Duration::from_millis(300));
    ensure!(refused.is_err());
    let has = |text: &str, line: &str| text.lines().any(|found| found == line);
    let mut text = String::new();
    wait_for("the row is counted", || {
        text = scrape(&lab, 9725).unwrap_or_default();
        has(&text, "smtpfence_block_log_rows_total 1")
    })?;
    for line in [
        r#"smtpfence_attempts_total{reason="not-a-mail-server"} 1"#,
        "smtpfence_event_ring_waiting_bytes 0",
        "smtpfence_event_ring_capacity_bytes 4194304",
        "smtpfence_block_log_lag_seconds 0.0",
        r#"smtpfence_flagged_hosts{verdict="infected"} 0"#,
        "smtpfence_detector_hosts 1",
    ] {
        ensure!(has(&text, line), "{line} is not in\n{text}");
    }
    ensure!(!text.contains("10.25.0.77") && !text.contains("203.0.113.25"), "an address is a label:\n{text}");
    judged_by_prometheus(&text)?;
    agent.write_policy(&POLICY.replace(":9725", ":9726"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    wait_for("the new port answers", || scrape(&lab, 9726).is_ok())?;
    ensure!(scrape(&lab, 9725).is_err(), "the old port still answers");
    ensure!(agent.told("status", &[])?.1.contains("http://127.0.0.1:9726/metrics"));
    agent.write_policy(&POLICY.replace("metrics:", "# metrics:"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    wait_for("no port answers", || scrape(&lab, 9726).is_err())?;
    ensure!(agent.status()?["metrics"].is_null());
    Ok(())
}

/// Events that no agent reads: the ring's use is told by who looks, and is nothing once they are read.
#[test]
fn the_rings_use_is_told_with_and_without_an_agent() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    agent.kill9()?;
    for destination in 25..=27 {
        let to = SocketAddr::from(([203, 0, 113, destination], 25));
        ensure!(lab.client(0).connect(to, Duration::from_millis(300)).is_err());
    }
    // Each record has a header of 8 bytes.
    let event = size_of::<policy_common::abi::Event>() as u64 + 8;
    let ring = agent.status()?["ring"].clone();
    ensure!(ring["waiting_bytes"] == 3 * event && ring["capacity_bytes"] == 4 << 20, "{ring}");
    agent.run()?;
    wait_for("the ring is read", || agent.status().is_ok_and(|status| status["ring"]["waiting_bytes"] == 0))
}

fn judged_by_prometheus(text: &str) -> Result<()> {
    if Command::new("promtool").arg("--version").output().is_err() {
        gate::skip("no `promtool`: apt-get install prometheus");
        return Ok(());
    }
    let told = promtool(&["check", "metrics"], &as_plain_text(text))?;
    ensure!(told.is_empty(), "promtool on the metrics: {told}");
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/prometheus-alerts.yaml");
    let rules = fs::read_to_string(&alerts)?.matches("- alert:").count();
    let told = promtool(&["check", "rules", &alerts.to_string_lossy()], "")?;
    ensure!(told.contains(&format!("SUCCESS: {rules} rules found")), "promtool on the alerts: {told}");
    // What it finds nothing wrong with must not be everything.
    ensure!(promtool(&["check", "metrics"], "a b c d\n").is_err());
    Ok(())
}

/// promtool reads only the older format: there the names of types are those of the samples, and an `info` is a gauge.
fn as_plain_text(openmetrics: &str) -> String {
    let suffix = |name: &str| {
        let is = |kind: &str| openmetrics.contains(&format!("# TYPE {name} {kind}\n"));
        if is("counter") {
            "_total"
        } else if is("info") {
            "_info"
        } else {
            ""
        }
    };
    let plain = |line: &str| match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
        ["#", "EOF"] => String::new(),
        ["#", "TYPE", name, "info"] => format!("# TYPE {name}_info gauge\n"),
        ["#", kind, name, rest] => format!("# {kind} {name}{} {rest}\n", suffix(name)),
        _ => format!("{line}\n"),
    };
    openmetrics.lines().map(plain).collect()
}

/// What promtool says to this input; an error where it fails.
fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?} fails: {told}");
    Ok(told)
}
