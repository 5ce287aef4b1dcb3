//! A policy in several files on a gateway: the agent reads, keeps and restores it as one.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};

const POLICY: &str = r#"version: 1
name: several
interfaces: { inside: ["lan*"], outside: [wan0] }
networks: { clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8] }
include: policy.d
mode: enforce
on_block: reject
end: true
"#;

const SENDERS: &str = "mail_servers:\n  - { name: mx1, address: [10.25.0.25, \"fd25::25\"] }\nend: true\n";

#[test]
fn a_fragment_opens_the_gate_a_cut_one_changes_nothing_and_a_restore_brings_it_back() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let provider = SocketAddr::from(([203, 0, 113, 25], 25));
    let _listener = lab.internet().listen(provider)?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    let dir = agent.policy_file().with_file_name("policy.d");
    let fragment = dir.join("10-senders.yaml");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    fs::write(&fragment, SENDERS)?;
    agent.run()?;
    let can_send = |host: &Host| host.connect(provider, Duration::from_millis(500)).is_ok();
    ensure!(can_send(lab.mail_server()) && !can_send(lab.client(0)), "the fragment is not in force");
    let revision = agent.status()?["in_force"]["revision"].as_str().unwrap_or_default().to_owned();

    fs::write(&fragment, &SENDERS[..SENDERS.len() - 6])?;
    let (accepted, told) = agent.reload()?;
    ensure!(!accepted && told.contains("policy.d/10-senders.yaml"), "{told}");
    ensure!(can_send(lab.mail_server()), "a refused reload has changed something");

    fs::remove_file(&fragment)?;
    ensure!(agent.status()?["file_revision"] != revision.as_str(), "status does not look at the fragments");
    ensure!(agent.reload()?.0);
    ensure!(!can_send(lab.mail_server()), "the fragment is still in force");

    // Without asking for another file: the agent says which one it reads.
    let (code, told) = agent.told("restore", &[&revision, "--yes"])?;
    ensure!(code == Some(0) && told.contains("10-senders.yaml, new"), "{told}");
    ensure!(fs::read_to_string(&fragment)? == SENDERS);
    ensure!(can_send(lab.mail_server()) && !can_send(lab.client(0)), "not restored");
    ensure!(agent.status()?["in_force"]["revision"] == revision.as_str());

    // A new agent on trial data alone: the tried policy is kept with its fragments.
    fs::remove_file(&fragment)?;
    let (code, told) = agent.told("reload", &["--confirm", "10m"])?;
    ensure!(code == Some(0) && !can_send(lab.mail_server()), "{told}");
    agent.kill9()?;
    agent.run()?;
    ensure!(!can_send(lab.mail_server()), "the trial is forgotten");
    let told = agent.ask(&["reload", "--cancel"])?;
    ensure!(can_send(lab.mail_server()), "the fragment did not come back: {told}");
    Ok(())
}
