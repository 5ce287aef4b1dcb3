//! From a blocked attempt to an exception that holds, and back, on a running gateway.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};

const POLICY: &str = r#"# Ask net@example.com first.
version: 1
name: allow
interfaces: { inside: [lan0, "dmz*"], outside: [wan0] }   # two sides
networks: { clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8, "fd00::/8"] }
mode: enforce
on_block: reject
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:99" }   # the wrong card
exceptions: []   # none, and it should stay so

# The file is complete.
end: true
"#;

const REST: [&str; 7] =
    ["--for", "14d", "--reason", "scanner, ticket 4711", "--owner", "it@example.com", "--yes"];

fn provider() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 25], 25))
}

fn can_send(host: &Host) -> bool {
    host.connect(provider(), Duration::from_millis(300)).is_ok()
}

fn allow(agent: &Agent<'_>, which: &[&str], more: &[&str]) -> Result<(Option<i32>, String)> {
    agent.told("allow", &[which, &REST, more].concat())
}

#[test]
fn a_blocked_attempt_becomes_an_exception_and_is_removed_again() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    ensure!(!can_send(lab.client(0)), "the client is not blocked");
    let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == "10.25.0.77")?;
    let id = attempt["id"].as_str().context("the attempt has no id")?.to_owned();
    let captured = lab.dir().join("captured.jsonl");
    fs::write(&captured, agent.process()?.stdout().join("\n"))?;
    let log = captured.to_string_lossy().into_owned();

    let (code, told) = allow(&agent, &["--from-log", &id], &[])?;
    ensure!(code == Some(1) && told.contains("--log FILE"), "{told}");
    let (code, told) = allow(&agent, &["--from-log", &id, "--log", &log], &[])?;
    ensure!(code == Some(0) && told.contains("+  - name: allow-10.25.0.77-to-203.0.113.25"), "{told}");
    ensure!(told.contains("is in force: revision"), "{told}");
    ensure!(can_send(lab.client(0)), "the exception does not hold");
    let text = fs::read_to_string(agent.policy_file())?;
    for kept in [
        "# Ask net@example.com first.\n",
        "   # two sides\n",
        "exceptions:   # none, and it should stay so\n",
        "\n# The file is complete.\nend: true\n",
    ] {
        ensure!(text.contains(kept), "{kept:?} is lost:\n{text}");
    }
    let (_, list) = agent.told("allow", &["--list"])?;
    ensure!(list.contains("allow-10.25.0.77-to-203.0.113.25") && list.contains("in 13 days"), "{list}");
    let (_, history) = agent.told("history", &[])?;
    ensure!(history.contains("allow     root"), "{history}");

    let (code, told) = agent.told("allow", &["--remove", "allow-10.25.0.77-to-203.0.113.25", "--yes"])?;
    ensure!(code == Some(0), "{told}");
    ensure!(!can_send(lab.client(0)), "the exception still holds");
    ensure!(fs::read_to_string(agent.policy_file())? == POLICY, "not as it was");
    // A line of the log is as good as an ID.
    let (code, told) = allow(&agent, &["--from-log", &format!("{log}:2")], &["--name", "by-line"])?;
    ensure!(code == Some(0) && can_send(lab.client(0)), "{told}");
    Ok(())
}

#[test]
fn an_attempt_that_no_exception_can_help_is_refused_with_what_does() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let log = lab.dir().join("attempts.jsonl");
    let policy = POLICY.replace("mode:", &format!("log: {{ file: {} }}\nmode:", log.display()));
    let agent = Agent::start(&lab, &built_binary()?, &policy)?;
    ensure!(!can_send(lab.mail_server()), "another card passes for the mail server's");
    let begun = Instant::now();
    let line = loop {
        if let Some(line) = fs::read_to_string(&log).unwrap_or_default().lines().next() {
            break line.to_owned();
        }
        ensure!(begun.elapsed() < Duration::from_secs(3), "nothing is logged");
        std::thread::sleep(Duration::from_millis(20));
    };
    let attempt: serde_json::Value = serde_json::from_str(&line)?;
    let id = attempt["id"].as_str().context("no id")?;
    let (code, told) = allow(&agent, &["--from-log", &id[..6]], &[])?;
    ensure!(code == Some(1) && told.contains("correct its `mac`") && told.contains("mx1"), "{told}");
    let (code, told) = allow(&agent, &["--from-log", "abcdef123456"], &[])?;
    ensure!(code == Some(1) && told.contains("no attempt with the ID"), "{told}");
    let (code, told) = allow(&agent, &["--from-log", &format!("{}:7", log.display())], &[])?;
    ensure!(code == Some(1) && told.contains("line 7") && told.contains("does not exist"), "{told}");
    ensure!(fs::read_to_string(agent.policy_file())? == policy);
    Ok(())
}

#[test]
fn a_change_puts_nothing_else_in_force_by_the_way() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let which = ["--from", "10.25.0.77", "--to", "203.0.113.25"];
    let half_done = POLICY.replace("mode: enforce", "mode: audit");
    agent.write_policy(&half_done)?;
    let (code, told) = allow(&agent, &which, &[])?;
    ensure!(
        code == Some(1) && told.contains("changes that are not in force") && told.contains("restore"),
        "{told}"
    );
    ensure!(fs::read_to_string(agent.policy_file())? == half_done);
    agent.told("reload", &["--confirm", "10m"])?;
    let (code, told) = allow(&agent, &which, &[])?;
    ensure!(code == Some(1) && told.contains("waits for confirmation"), "{told}");
    agent.told("reload", &["--cancel"])?;
    let (code, told) = allow(&agent, &which, &[])?;
    ensure!(code == Some(1) && told.contains("which was rolled back"), "{told}");
    Ok(())
}

#[test]
fn a_refused_reload_leaves_the_file_as_it_was() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    lab.gateway().ip("link add dmz0 type veth peer name far0")?;
    let policy = POLICY.replace("\"dmz*\"", "dmz0");
    let agent = Agent::start(&lab, &built_binary()?, &policy)?;
    lab.gateway().ip("link del dmz0")?;
    let (code, told) = allow(&agent, &["--from", "10.25.0.77", "--to", "203.0.113.25"], &[])?;
    ensure!(code == Some(2) && told.contains("dmz0") && told.contains("the file is as it was"), "{told}");
    ensure!(fs::read_to_string(agent.policy_file())? == policy);
    ensure!(agent.status()?["file_revision"] == agent.status()?["in_force"]["revision"]);
    Ok(())
}

#[test]
fn a_trial_of_an_exception_ends_by_itself() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let which = ["--from", "10.25.0.77,fd25::77", "--to", "203.0.113.0/24"];
    let (code, told) = allow(&agent, &which, &["--confirm", "2s"])?;
    ensure!(code == Some(0) && told.contains("smtpfence confirm"), "{told}");
    ensure!(can_send(lab.client(0)), "the exception does not hold");
    std::thread::sleep(Duration::from_secs(3));
    ensure!(!can_send(lab.client(0)), "the exception outlives its trial");
    Ok(())
}
