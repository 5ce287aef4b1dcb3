//! Who is treated how: groups and interfaces in audit or reject, exceptions that end, clients in quarantine.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};

fn policy(more: &str) -> String {
    format!(
        r#"version: 1
name: treatment
interfaces: {{ inside: [lan0], outside: [wan0] }}
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
mail_servers:
  - {{ name: mx1, address: [10.25.0.25, "fd25::25"] }}
{more}
end: true
"#
    )
}

fn provider() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 25], 25))
}

fn can_connect(host: &Host) -> bool {
    host.connect(provider(), Duration::from_millis(300)).is_ok()
}

fn why_not(host: &Host) -> Option<ErrorKind> {
    host.connect(provider(), Duration::from_millis(300)).err().map(|error| error.kind())
}

#[test]
fn a_group_is_audited_while_the_others_are_enforced() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(3).build()?;
    let _listener = lab.internet().listen(provider())?;
    let groups = "groups:\n  - { name: pilots, clients: [10.25.0.77], mode: audit }\n  \
                  - { name: impatient, clients: [10.25.0.78], on_block: reject }";
    let agent = Agent::start(&lab, &built_binary()?, &policy(groups))?;
    ensure!(can_connect(lab.client(0)), "the audited group is blocked");
    ensure!(
        why_not(lab.client(1)) == Some(ErrorKind::ConnectionRefused),
        "the group's own action is not used"
    );
    ensure!(why_not(lab.client(2)) == Some(ErrorKind::TimedOut), "the default action is not used");
    for (client, verdict) in [("10.25.0.77", "would_block"), ("10.25.0.78", "reject"), ("10.25.0.79", "drop")]
    {
        let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == client)?;
        ensure!(attempt["verdict"] == verdict, "{attempt:#}");
    }
    Ok(())
}

#[test]
fn an_interface_has_a_treatment_of_its_own_and_a_group_goes_before_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let _listener = lab.internet().listen(provider())?;
    let groups = "groups:\n  - { name: strict, clients: [10.25.0.78], mode: enforce }";
    let policy = policy(groups)
        .replace("inside: [lan0]", "inside: [{ match: \"lan*\", mode: audit, on_block: reject }]");
    let _agent = Agent::start(&lab, &built_binary()?, &policy)?;
    ensure!(can_connect(lab.client(0)), "the audited interface blocks");
    // The group says nothing about the action, so the interface's holds.
    ensure!(
        why_not(lab.client(1)) == Some(ErrorKind::ConnectionRefused),
        "the group does not go before its interface"
    );
    Ok(())
}

#[test]
fn an_exception_ends_on_time_without_an_agent_and_its_sessions_with_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(2).build()?;
    let listener = lab.internet().listen(provider())?;
    let end = SystemTime::now() + Duration::from_secs(4);
    let until = jiff::Timestamp::try_from(end)?;
    let exception = format!(
        "on_block: reject\nexceptions:\n  - {{ name: scanner, from: [10.25.0.77], to: [203.0.113.25], until: \"{until}\", \
         reason: test, owner: test }}"
    );
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(&exception))?;
    ensure!(!can_connect(lab.client(1)), "the exception holds for others");
    let mut session =
        lab.client(0).connect(provider(), Duration::from_secs(1)).context("the exception does not hold")?;
    session.write_all(b"EHLO scanner\r\n")?;
    ensure!(agent.counted("exception", "packets")? > 0);
    agent.kill9()?;
    ensure!(can_connect(lab.client(0)), "the exception ended with the agent");

    std::thread::sleep(
        end.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_millis(100),
    );
    ensure!(!can_connect(lab.client(0)), "the exception has not ended");
    let before = listener.received();
    let ended = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        session.write_all(b"NOOP\r\n").is_err()
    });
    ensure!(ended && listener.received() == before, "the exception's session went on");
    Ok(())
}

#[test]
fn quarantine_overrules_exceptions_survives_the_agent_and_ends_by_itself() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let exception = "exceptions:\n  - { name: scanner, from: [10.25.0.77], to: [203.0.113.0/24], until: 2999-01-01, \
                     reason: test, owner: test }";
    let mut agent = Agent::start(&lab, &built_binary()?, &policy(exception))?;
    ensure!(can_connect(lab.client(0)));
    let told = agent.ask(&["quarantine", "10.25.0.77", "--for", "4s", "--reason", "sends spam"])?;
    ensure!(told.contains("10.25.0.77") && told.contains("sends spam"), "{told}");
    ensure!(!can_connect(lab.client(0)), "in quarantine, but not blocked");
    let attempt = agent.wait_for_attempt(|attempt| attempt["reason"] == "quarantined")?;
    ensure!(attempt["client"] == "10.25.0.77", "{attempt:#}");
    ensure!(agent.ask(&["quarantine"])?.contains("sends spam"), "not listed");

    agent.kill9()?;
    ensure!(!can_connect(lab.client(0)), "the quarantine ended with the agent");
    agent.run()?;
    ensure!(agent.ask(&["quarantine"])?.contains("sends spam"), "forgotten by the next agent");
    std::thread::sleep(Duration::from_secs(4));
    ensure!(can_connect(lab.client(0)), "the quarantine has not ended");
    ensure!(agent.ask(&["quarantine"])?.contains("nobody"), "still listed");
    Ok(())
}

#[test]
fn quarantine_is_refused_for_mail_servers_and_ended_by_release() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("on_block: reject"))?;
    let refused = agent.ask(&["quarantine", "10.25.0.25", "--for", "1h", "--reason", "by mistake"])?;
    ensure!(refused.contains("mail server mx1"), "{refused}");
    agent.ask(&["quarantine", "fd25::77", "--for", "1h", "--reason", "test"])?;
    ensure!(agent.ask(&["release", "fd25::77"])?.contains("is released"));
    ensure!(agent.ask(&["release", "fd25::77"])?.contains("was not in quarantine"));
    let without_reason = agent.ask(&["quarantine", "10.25.0.77", "--for", "1h"])?;
    ensure!(without_reason.contains("--reason"), "{without_reason}");
    Ok(())
}

#[test]
fn a_mail_server_bound_to_mac_and_destination_is_only_that() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let elsewhere = SocketAddr::from(([198, 51, 100, 25], 25));
    let _other = lab.internet().listen(elsewhere)?;
    let bound = policy("").replace(
        "address: [10.25.0.25, \"fd25::25\"]",
        "address: 10.25.0.25, mac: \"02:00:00:00:00:25\", interface: lan0, to: [203.0.113.0/24]",
    );
    let agent = Agent::start(&lab, &built_binary()?, &bound)?;
    ensure!(can_connect(lab.mail_server()), "the mail server is blocked");
    ensure!(
        lab.mail_server().connect(elsewhere, Duration::from_millis(300)).is_err(),
        "reached what `to` leaves out"
    );
    let attempt = agent.wait_for_attempt(|attempt| attempt["reason"] == "destination-not-allowed")?;
    ensure!(attempt["rule"] == "mx1", "{attempt:#}");
    // Another machine takes the address.
    lab.mail_server().ip("addr del 10.25.0.25/24 dev eth0")?;
    lab.client(0).ip("addr add 10.25.0.25/24 dev eth0")?;
    lab.client(0).ip("route replace default via 10.25.0.1 src 10.25.0.25")?;
    lab.gateway().ip("neigh flush dev lan0")?;
    ensure!(!can_connect(lab.client(0)), "another machine sends as the mail server");
    let attempt = agent.wait_for_attempt(|attempt| attempt["reason"] == "spoofed-mail-server")?;
    ensure!(
        attempt["client_mac"] == lab.client(0).mac().to_string() && attempt["rule"] == "mx1",
        "{attempt:#}"
    );
    Ok(())
}
