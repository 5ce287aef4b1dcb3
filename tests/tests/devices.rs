//! Mail through kinds of interfaces that not every kernel has: a VLAN device by itself, and a bond. `cargo xtask vm` boots one
//! that has them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, provider, require_root_or_skip};
use serde_json::Value;

const POLICY: &str = r#"version: 1
name: devices
interfaces: { inside: [INSIDE], outside: [wan0] }
networks: { clients: [10.25.0.0/24, 10.26.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
mail_servers:
  - { name: mx1, address: [10.25.0.25, 10.26.0.25] }
end: true
"#;

/// An emulated processor takes its time.
const COVERED_WITHIN: Duration = Duration::from_secs(20);

fn started<'lab>(lab: &'lab Lab, inside: &str) -> Result<Agent<'lab>> {
    let mut agent = Agent::prepare(lab, &built_binary()?, &POLICY.replace("INSIDE", inside))?;
    agent.run_with(&["--unattended"])?;
    Ok(agent)
}

/// What status says of an interface; null where it says nothing.
fn told(agent: &Agent<'_>, name: &str) -> Result<Value> {
    let status: Value = serde_json::from_str(&agent.get("/v1/status")?)?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    Ok(all.iter().find(|interface| interface["interface"] == name).cloned().unwrap_or_default())
}

fn wait_for(agent: &Agent<'_>, name: &str, holds: impl Fn(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let now = told(agent, name)?;
        if holds(&now) {
            return Ok(());
        }
        ensure!(begun.elapsed() < COVERED_WITHIN, "{name} stayed {now:#}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn has_door(interface: &Value) -> bool {
    interface["hooks"] == serde_json::json!(["door"]) && interface["uncovered"].is_null()
}

/// Ports 25 and 587 as a client finds them: closed, and open.
fn only_submission_is_open(client: &Host) -> Result<()> {
    ensure!(client.can_connect(provider(587)), "submission is cut off");
    ensure!(!client.can_connect(provider(25)), "a client got out");
    Ok(())
}

/// A device that a host's other end of the cable has as well.
fn add_vlan(host: &Host, on: &str, address: &str) -> Result<()> {
    host.ip(&format!("link add link {on} name {on}.10 type vlan id 10"))?;
    host.ip(&format!("addr add {address}/24 dev {on}.10"))?;
    host.ip(&format!("link set {on}.10 up"))?;
    Ok(())
}

#[test]
#[ignore = "takes a kernel with 802.1Q: cargo xtask vm"]
fn a_vlan_device_has_its_own_door_each_time_it_appears() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _mail = lab.internet().listen(provider(25))?;
    let _submission = lab.internet().listen(provider(587))?;
    let agent = started(&lab, "\"lan0.*\"")?;
    let (gateway, client, mail_server) = (lab.gateway(), lab.client(0), lab.mail_server());
    for (host, address) in [(client, "10.26.0.77"), (mail_server, "10.26.0.25")] {
        add_vlan(host, "eth0", address)?;
        host.ip("route replace default via 10.26.0.1 dev eth0.10")?;
    }
    for time in 1..=3 {
        add_vlan(gateway, "lan0", "10.26.0.1")?;
        wait_for(&agent, "lan0.10", has_door)?;
        only_submission_is_open(client).with_context(|| format!("time {time}"))?;
        ensure!(mail_server.can_connect(provider(25)), "time {time}: the mail server is cut off");
        gateway.ip("link del lan0.10")?;
        wait_for(&agent, "lan0.10", Value::is_null)?;
    }
    let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == "10.26.0.77")?;
    ensure!(attempt["interface"] == "lan0.10", "{attempt:#}");
    Ok(())
}

#[test]
#[ignore = "takes a kernel with bonding: cargo xtask vm"]
fn a_bond_is_guarded_at_the_bond() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _mail = lab.internet().listen(provider(25))?;
    let _submission = lab.internet().listen(provider(587))?;
    let agent = started(&lab, "bond0")?;
    let gateway = lab.gateway();
    for words in [
        "link add bond0 type bond mode active-backup",
        "link set lan0 down",
        "addr flush dev lan0",
        "link set lan0 master bond0",
        "link set bond0 up",
        "addr add 10.25.0.1/24 dev bond0",
    ] {
        gateway.ip(words)?;
    }
    wait_for(&agent, "bond0", has_door)?;
    only_submission_is_open(lab.client(0))?;
    ensure!(lab.mail_server().can_connect(provider(25)), "the mail server is cut off");
    let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == lab.client(0).addr4().to_string())?;
    ensure!(attempt["interface"] == "bond0", "{attempt:#}");
    Ok(())
}
