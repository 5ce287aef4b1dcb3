//! What the door can't see: processes of the gateway, interfaces without a door, and programs in front of ours.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, provider, require_root_or_skip};

mod intruder;

const POLICY: &str = r#"version: 1
name: guard
interfaces: { inside: [lan0], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"] }
end: true
"#;

#[test]
fn processes_of_the_gateway_are_blocked_unless_permitted() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let _listeners = [lab.internet().listen(provider(25))?, lab.internet().listen(provider(587))?];
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    ensure!(!lab.gateway().can_connect(provider(25)), "a local process reached port 25");
    ensure!(lab.gateway().can_connect(provider(587)), "a local process can't submit mail");
    let attempt = agent.wait_for_attempt(|attempt| attempt["reason"] == "local-process")?;
    ensure!(attempt["interface"] == "wan0" && attempt["client_mac"].is_null(), "{attempt:#}");

    agent.write_policy(&POLICY.replace("end: true", "gateway_mail: allow\nend: true"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    ensure!(lab.gateway().can_connect(provider(25)), "gateway_mail: allow does not allow");
    ensure!(agent.counted("gateway-mail", "packets")? > 0);
    Ok(())
}

#[test]
fn an_interface_without_a_door_is_blocked_at_the_guard() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let _listeners = [lab.internet().listen(provider(25))?, lab.internet().listen(provider(443))?];
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    // A second LAN that the policy does not name, with a host in the client's namespace.
    let client = lab.client(0);
    lab.gateway().ip(&format!("link add dmz0 type veth peer name dmz0 netns {}", client.namespace()))?;
    lab.gateway().ip("addr add 172.16.9.1/24 dev dmz0")?;
    lab.gateway().ip("link set dmz0 up")?;
    client.ip("addr add 172.16.9.2/24 dev dmz0")?;
    client.ip("link set dmz0 up")?;
    client.ip("route replace default via 172.16.9.1")?;
    ensure!(client.can_connect(provider(443)), "the second LAN does not work at all");
    ensure!(!client.can_connect(provider(25)), "port 25 is open from an interface nobody covers");
    let attempt = agent.wait_for_attempt(|attempt| attempt["reason"] == "uncovered-ingress")?;
    ensure!(attempt["interface"] == "dmz0", "{attempt:#}");
    Ok(())
}

#[test]
fn the_doors_own_traffic_passes_the_guard_behind_nat() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().nat(true).build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    ensure!(lab.mail_server().can_connect(provider(25)), "the guard blocks the mail server");
    agent.kill9()?;
    ensure!(lab.mail_server().can_connect(provider(25)), "the guard blocks the mail server without an agent");
    ensure!(!lab.gateway().can_connect(provider(25)), "the guard ended with the agent");
    Ok(())
}

#[test]
fn deleting_and_making_the_inside_interface_again_leaks_nothing() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let outside = lab.internet().sniff("wan0")?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    // The worst case: no agent that could cover the new interface.
    agent.kill9()?;
    let switch = lab.switch().namespace();
    for _ in 0..3 {
        lab.gateway().ip("link del lan0")?;
        lab.gateway().ip(&format!(
            "link add lan0 address {} type veth peer name gateway netns {switch}",
            lab.gateway().mac()
        ))?;
        lab.switch().ip("link set gateway master lan up")?;
        lab.gateway().ip("addr add 10.25.0.1/24 dev lan0")?;
        lab.gateway().ip("link set lan0 up")?;
        ensure!(!lab.client(0).can_connect(provider(25)));
    }
    let leaked = outside.count(|frame| frame.view().is_some_and(|view| view.is_tcp_to(25)));
    ensure!(leaked == 0, "{leaked} segments left through an interface that was made anew");
    agent.run()?;
    ensure!(agent.status()?["coverage"][0]["position"] == "first");
    Ok(())
}

#[test]
fn a_program_in_front_of_ours_is_an_alarm_and_loses_its_place() -> Result<()> {
    require_root_or_skip!();
    defends_its_place(&[])
}

#[test]
fn the_three_capabilities_of_the_service_are_enough_to_see_it() -> Result<()> {
    require_root_or_skip!();
    defends_its_place(&["setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon", "--no-new-privs"])
}

fn defends_its_place(starter: &[&str]) -> Result<()> {
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    agent.start_by(starter);
    agent.run()?;
    let _intruder = intruder::put_in_front(lab.gateway(), "lan0")?;
    let begun = Instant::now();
    let alarm = agent.process()?.wait_for_line("ALARM", Duration::from_secs(5));
    alarm.context("nobody noticed the program in front of ours")?;
    while agent.status()?["coverage"][0]["position"] != "first" {
        ensure!(begun.elapsed() < Duration::from_secs(6), "still not first: {:#}", agent.status()?);
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(!lab.client(0).can_connect(provider(25)), "the program in front lets port 25 out");
    Ok(())
}
