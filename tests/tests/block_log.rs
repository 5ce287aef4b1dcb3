//! The block log as an admin reads it: what the agent saw is there, with the agent and without, and harmless.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Tcp};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

fn policy(leases: &str) -> String {
    format!(
        r#"version: 1
name: office
interfaces: {{ inside: [lan0], outside: [wan0] }}
networks: {{ clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8] }}
mode: enforce
on_block: reject
identity: {{ leases: [{leases}] }}
end: true
"#
    )
}

fn attempt(lab: &Lab, destination: [u8; 4]) {
    let _refused = lab.client(0).connect(SocketAddr::from((destination, 25)), Duration::from_millis(300));
}

/// What a verb of the store says; the writer may take a moment.
fn asked(agent: &Agent<'_>, verb: &str, arguments: &[&str], enough: impl Fn(&str) -> bool) -> Result<String> {
    let begun = Instant::now();
    loop {
        let (code, told) = agent.told(verb, arguments)?;
        ensure!(code == Some(0), "{verb} {arguments:?} ended with {code:?}: {told}");
        if enough(&told) {
            return Ok(told);
        }
        ensure!(begun.elapsed() < Duration::from_secs(5), "{verb} {arguments:?} says {told:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn microsecond(time: &Value) -> Result<i64> {
    let time: jiff::Timestamp = time.as_str().context("a time is no text")?.parse()?;
    Ok(time.as_microsecond())
}

fn rows(agent: &Agent<'_>, number: usize) -> Result<Vec<Value>> {
    // Beside the rows there may be a remark on standard error.
    let objects =
        |told: &str| told.lines().filter(|line| line.starts_with('{')).map(str::to_owned).collect::<Vec<_>>();
    let told = asked(agent, "log", &["--format", "json"], |told| objects(told).len() >= number)?;
    objects(&told).iter().map(|line| serde_json::from_str(line).context("a line is no JSON")).collect()
}

#[test]
fn what_was_blocked_is_on_record_with_and_without_an_agent() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(""))?;
    attempt(&lab, [203, 0, 113, 25]);
    attempt(&lab, [203, 0, 113, 26]);
    agent.wait_for_attempt(|attempt| attempt["destination"] == "203.0.113.26")?;
    let printed = agent.attempts();
    let kept = rows(&agent, 2)?;
    for (n, (kept, printed)) in kept.iter().zip(&printed).enumerate() {
        ensure!(kept["sequence"] == n + 1, "{kept}");
        for (field, value) in printed.as_object().context("no object")? {
            // The store keeps microseconds.
            let same = match field.as_str() {
                "time" => microsecond(value)? == microsecond(&kept[field])?,
                _ => kept[field] == *value,
            };
            ensure!(same, "{field}: printed {value}, kept {}", kept[field]);
        }
    }
    agent.kill9()?;
    ensure!(rows(&agent, 2)? == kept, "the record changed with the agent's death");
    // Blocked while no agent runs: waits in the ring for the next one.
    attempt(&lab, [203, 0, 113, 27]);
    agent.run()?;
    let kept = rows(&agent, 3)?;
    ensure!(kept[2]["destination"] == "203.0.113.27" && kept[2]["sequence"] == 3, "{}", kept[2]);
    agent.terminate()?;
    let files = fs::read_dir(agent.state_dir().join("attempts"))?;
    let left: Vec<_> =
        files.map(|file| Ok(file?.file_name().to_string_lossy().into_owned())).collect::<Result<_>>()?;
    ensure!(left.iter().all(|name| name.ends_with(".db")), "an agent that stops seals its file: {left:?}");
    ensure!(rows(&agent, 3)? == kept, "the record changed when it was sealed");
    sums_agree(&agent)
}

fn sums_agree(agent: &Agent<'_>) -> Result<()> {
    let json = |verb: &str, arguments: &[&str]| -> Result<Value> {
        let told = asked(agent, verb, &[arguments, &["--format", "json"]].concat(), |_| true)?;
        Ok(serde_json::from_str(&told)?)
    };
    let hosts = json("hosts", &[])?;
    let host = &hosts[0];
    ensure!(hosts.as_array().is_some_and(|hosts| hosts.len() == 1), "{hosts}");
    ensure!(host["client"] == "10.25.0.77" && host["attempts"] == 3 && host["destinations"] == 3, "{host}");
    ensure!(host["mac"] == "02:00:00:00:00:77" && host["reasons"][0] == "not-a-mail-server", "{host}");
    ensure!(host["identity"]["vendor"] == "locally administered", "{host}");
    ensure!(json("destinations", &[])?.as_array().is_some_and(|to| to.len() == 3));
    let story = json("host", &["10.25.0.77"])?;
    ensure!(story["seen_as"][0]["attempts"] == 3 && story["destinations"][0]["attempts"] == 1, "{story}");
    ensure!(json("host", &["10.25.0.99"])?["seen_as"] == Value::Array(Vec::new()));
    let told = asked(agent, "host", &["10.25.0.77"], |_| true)?;
    for part in ["smtpfence allow --from 10.25.0.77 --to", "smtpfence quarantine 10.25.0.77", "█"] {
        ensure!(told.contains(part), "no {part:?} in {told}");
    }
    Ok(())
}

/// A SYN that is repeated is no new attempt; its row says how often it came, also where no agent saw it.
#[test]
fn a_row_tells_how_many_packets_its_attempt_took() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy("").replace("reject", "drop"))?;
    let (client, gateway) = (lab.client(0), lab.gateway());
    let socket = client.raw_socket("eth0")?;
    let syn = |port| {
        let to = Frame::new(client.mac(), gateway.mac()).ip(client.addr4().into(), [203, 0, 113, 25].into());
        to.tcp(Tcp::syn(port, 25).sequence(7)).build()
    };
    (0..3).try_for_each(|_| socket.send(&syn(40_001)))?;
    socket.send(&syn(40_002))?;
    let packets = |wanted: [u64; 2]| {
        asked(&agent, "log", &["--format", "json"], |told| {
            let rows = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let packets: Vec<_> = rows.filter_map(|row| row["packets"].as_u64()).collect();
            packets == wanted
        })
    };
    packets([3, 1])?;
    let told = asked(&agent, "log", &[], |_| true)?;
    ensure!(told.matches(", 3 packets\n").count() == 1 && told.matches("packets").count() == 1, "{told}");
    let csv = asked(&agent, "log", &["--format", "csv"], |_| true)?;
    let column = csv.lines().next().and_then(|line| line.split(',').position(|name| name == "packets"));
    let cells: Vec<_> = csv.lines().skip(1).map(|line| line.split(',').nth(column.unwrap_or(0))).collect();
    ensure!(cells == [Some("3"), Some("1")], "{csv}");
    // The last look is when the file is sealed.
    (0..2).try_for_each(|_| socket.send(&syn(40_002)))?;
    agent.terminate()?;
    let told = asked(&agent, "log", &["--format", "json"], |_| true)?;
    let last: Value = serde_json::from_str(told.lines().last().context("no row")?)?;
    ensure!(last["packets"] == 3, "{told}");
    Ok(())
}

/// What was blocked is enough to see what a change would let out, and to make the exception.
#[test]
fn a_kept_attempt_is_asked_again_and_allowed() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy(""))?;
    attempt(&lab, [203, 0, 113, 25]);
    let kept = rows(&agent, 1)?;
    let id = kept[0]["id"].as_str().context("no id")?;
    // The beginning of an ID is enough.
    let rest = ["--for", "14d", "--reason", "ticket 4711", "--owner", "it@example.com", "--yes"];
    let before = fs::read_to_string(agent.policy_file())?;
    let old = lab.dir().join("old.yaml");
    fs::write(&old, &before)?;
    let mut allow = agent.command("allow")?;
    allow.args(["--from-log", &id[..6]]).args(rest);
    let output = allow.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(fs::read_to_string(agent.policy_file())?.contains("203.0.113.25"), "nothing was written");
    let mut diff = lab.gateway().command(&built_binary()?.to_string_lossy());
    diff.arg("diff").arg(&old).arg(agent.policy_file()).args(["--since", "1h", "--format", "json"]);
    let output = diff.arg("--state-dir").arg(agent.state_dir()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["log"]["attempts"] == 1 && told["log"]["changed_attempts"] == 1, "{}", told["log"]);
    Ok(())
}

/// A client chooses its own name, and an interface may be called anything.
#[test]
fn names_from_the_network_are_harmless_in_every_output() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let leases = lab.dir().join("leases");
    let hostile = "\"{\"event\":\"x\"}\u{1b}[2J<b>\r=cmd()";
    fs::write(&leases, format!("1 02:00:00:00:00:77 10.25.0.77 {hostile} *\n"))?;
    let agent = Agent::start(&lab, &built_binary()?, &policy(&leases.to_string_lossy()))?;
    attempt(&lab, [203, 0, 113, 25]);
    rows(&agent, 1)?;
    for (verb, arguments) in [
        ("log", vec![]),
        ("log", vec!["--format", "csv"]),
        ("hosts", vec![]),
        ("host", vec!["10.25.0.77"]),
        ("report", vec![]),
        ("report", vec!["--format", "html"]),
    ] {
        let told = asked(&agent, verb, &arguments, |_| true)?;
        ensure!(!told.chars().any(|c| c.is_control() && c != '\n'), "{verb} {arguments:?}: {told:?}");
    }
    let page = asked(&agent, "report", &["--format", "html"], |_| true)?;
    ensure!(page.contains("&lt;b&gt;") && !page.contains("<b>"), "a name becomes markup: {page}");
    let told = asked(&agent, "hosts", &[], |told| told.contains("event"))?;
    ensure!(told.lines().count() == 2, "a name makes lines: {told}");
    let told = asked(&agent, "hosts", &["--format", "json"], |_| true)?;
    let hosts: Value = serde_json::from_str(&told)?;
    ensure!(hosts[0]["identity"]["name"] == hostile, "{hosts}");
    Ok(())
}
