//! Every interface is told of: covered and by what, or not and why; and a way out without a guard is an alarm.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, provider, require_root_or_skip};
use serde_json::Value;

const POLICY: &str = r#"version: 1
name: coverage
interfaces: { inside: ["lan*", br0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
end: true
"#;

/// How long coverage may take to follow the network.
const A_SECOND: Duration = Duration::from_secs(1);

fn started(lab: &Lab) -> Result<Agent<'_>> {
    let mut agent = Agent::prepare(lab, &built_binary()?, POLICY)?;
    agent.run_with(&["--unattended"])?;
    Ok(agent)
}

/// A new interface of the gateway.
fn plug_in(lab: &Lab, name: &str) -> Result<()> {
    lab.gateway()
        .ip(&format!("link add {name} type veth peer name far netns {}", lab.switch().namespace()))?;
    lab.switch().ip(&format!("link set far name far-{name} up"))?;
    Ok(())
}

/// What status says of an interface; null where it says nothing.
fn told(agent: &Agent<'_>, name: &str) -> Result<Value> {
    let status: Value = serde_json::from_str(&agent.get("/v1/status")?)?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    Ok(all.iter().find(|interface| interface["interface"] == name).cloned().unwrap_or_default())
}

/// Waits until status says of an interface what `holds` wants.
#[track_caller]
fn becomes(agent: &Agent<'_>, name: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let line = std::panic::Location::caller().line();
    let begun = Instant::now();
    loop {
        let now = told(agent, name)?;
        if holds(&now) {
            return Ok(now);
        }
        ensure!(begun.elapsed() < A_SECOND, "line {line}: after a second of {name}: {now:#}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn has_door(interface: &Value) -> bool {
    interface["hooks"] == serde_json::json!(["door"]) && interface["uncovered"].is_null()
}

#[test]
fn every_interface_is_told_of_with_its_reason() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    plug_in(&lab, "dmz0")?;
    let mut agent = started(&lab)?;
    ensure!(has_door(&told(&agent, "lan0")?), "{:#}", told(&agent, "lan0")?);
    let wan = told(&agent, "wan0")?;
    ensure!(wan["hooks"][0] == "guard" && wan["default_route"] == "guarded" && wan["up"] == true, "{wan:#}");
    for (name, why, says) in [
        ("lo", "loopback", "no packet"),
        ("dmz0", "not-named", "stopped at the guard"),
        ("br0", "awaited", "when it appears"),
    ] {
        let interface = told(&agent, name)?;
        ensure!(interface["uncovered"] == why, "{interface:#}");
        ensure!(interface["detail"].as_str().is_some_and(|detail| detail.contains(says)), "{interface:#}");
    }
    let metrics = agent.get("/metrics")?;
    for line in [
        r#"smtpfence_interface_covered{interface="lan0",by="door",why=""} 1"#,
        r#"smtpfence_interface_covered{interface="dmz0",by="",why="not-named"} 0"#,
        r#"smtpfence_default_routes{guard="missing"} 0"#,
    ] {
        ensure!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    // Without an agent the caller looks itself.
    agent.terminate()?;
    plug_in(&lab, "lan8")?;
    let status = agent.status()?;
    let of = |name: &str| status["interfaces"].as_array()?.iter().find(|it| it["interface"] == name).cloned();
    ensure!(of("lan0").is_some_and(|lan| has_door(&lan)), "{status:#}");
    ensure!(of("lan8").is_some_and(|lan| lan["uncovered"] == "no-agent"), "{status:#}");
    let (_, shown) = agent.told("status", &[])?;
    ensure!(shown.contains("lan8") && shown.contains("no agent was there"), "{shown}");
    Ok(())
}

#[test]
fn a_rename_into_the_pattern_covers_and_one_out_of_it_is_an_alarm() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = started(&lab)?;
    plug_in(&lab, "plug0")?;
    becomes(&agent, "plug0", |it| it["uncovered"] == "not-named")?;
    lab.gateway().ip("link set plug0 name lan9")?;
    becomes(&agent, "lan9", has_door)?;
    lab.gateway().ip("link set lan9 name plug1")?;
    becomes(&agent, "plug1", |it| it["uncovered"] == "not-named" && it["hooks"] == serde_json::json!([]))?;
    let alarm = agent.process()?.wait_for_line("covered no more", A_SECOND)?;
    ensure!(alarm.contains("ALARM: lan9 is called plug1 now"), "{alarm}");
    Ok(())
}

#[test]
fn down_is_told_and_up_again_is_covered() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = started(&lab)?;
    lab.gateway().ip("link set lan0 down")?;
    becomes(&agent, "lan0", |it| it["up"] == false && has_door(it))?;
    let (_, shown) = agent.told("status", &[])?;
    ensure!(shown.contains("covered (down)"), "{shown}");
    lab.gateway().ip("link set lan0 up")?;
    becomes(&agent, "lan0", |it| it["up"] == true && has_door(it))?;
    ensure!(!lab.client(0).can_connect(provider(25)));
    Ok(())
}

#[test]
fn a_default_route_without_a_guard_is_an_alarm_until_it_is_guarded() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = started(&lab)?;
    let gateway = lab.gateway();
    plug_in(&lab, "lte0")?;
    gateway.ip("addr add 192.168.77.2/24 dev lte0")?;
    gateway.ip("link set lte0 up")?;
    becomes(&agent, "lte0", |it| it["up"] == true && it["default_route"].is_null())?;
    // As a VPN program would, in a table of its own and in two halves.
    gateway.ip("route add 128.0.0.0/1 via 192.168.77.1 dev lte0 table 77")?;
    becomes(&agent, "lte0", |it| it["default_route"] == "unguarded")?;
    agent.process()?.wait_for_line("ALARM: a default route leaves through lte0", A_SECOND)?;
    let missing = |agent: &Agent<'_>| -> Result<bool> {
        Ok(agent.get("/metrics")?.contains("smtpfence_default_routes{guard=\"missing\"} 1\n"))
    };
    ensure!(missing(&agent)?, "not in the metrics");
    ensure!(agent.told("status", &[])?.1.contains("NOT GUARDED, and a default route leaves here"));

    agent.write_policy(&POLICY.replace("[wan0]", "[wan0, \"lte*\"]").replace(", br0]", "]"))?;
    let (accepted, said) = agent.reload()?;
    ensure!(accepted, "{said}");
    becomes(&agent, "lte0", |it| it["default_route"] == "guarded" && it["hooks"][0] == "guard")?;
    ensure!(!missing(&agent)?, "still in the metrics");
    agent.process()?.wait_for_line("no default route leaves through lte0 unguarded", 3 * A_SECOND)?;
    Ok(())
}

#[test]
fn vlan_devices_and_ports_of_bridges_are_followed() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = started(&lab)?;
    let gateway = lab.gateway();
    if gateway.ip("link add link lan0 name lan0.10 type vlan id 10").is_err() {
        // A kernel without 802.1Q: the other kind of device that stands on top of one.
        gateway.ip("link add link lan0 name lan0.10 type macvlan")?;
    }
    becomes(&agent, "lan0.10", has_door)?;
    gateway.ip("link del lan0.10")?;
    becomes(&agent, "lan0.10", Value::is_null)?;

    gateway.ip("link add br0 type bridge")?;
    becomes(&agent, "br0", has_door)?;
    plug_in(&lab, "port0")?;
    gateway.ip("link set port0 master br0")?;
    let port = becomes(&agent, "port0", |it| it["uncovered"] == "port")?;
    ensure!(port["detail"] == "a port of br0, where the door is", "{port:#}");
    gateway.ip("link del br0")?;
    becomes(&agent, "br0", |it| it["uncovered"] == "awaited")?;
    becomes(&agent, "port0", |it| it["uncovered"] == "not-named")?;
    Ok(())
}

#[test]
fn an_interface_that_can_not_be_covered_keeps_no_other_from_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = started(&lab)?;
    // Named literally, and of a kind that nobody can read (ARPHRD_CAN); one more appears after it.
    let tun = lab.gateway().tun("odd0")?;
    lab.gateway().ip("link set odd0 down")?;
    tun.set_hardware(280)?;
    lab.gateway().ip("link set odd0 name br0")?;
    plug_in(&lab, "lan9")?;
    becomes(&agent, "lan9", has_door)?;
    let refused = becomes(&agent, "br0", |it| it["uncovered"] == "failed")?;
    ensure!(refused["detail"].as_str().is_some_and(|why| why.contains("neither Ethernet")), "{refused:#}");
    agent.process()?.wait_for_line("ALARM: br0 is NOT covered", 3 * A_SECOND)?;
    ensure!(!lab.client(0).can_connect(provider(25)));
    drop(tun);
    lab.gateway().ip("link add br0 type bridge")?;
    becomes(&agent, "br0", has_door)?;
    Ok(())
}

#[test]
fn an_interface_that_was_in_another_namespace_gets_its_door_back() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = started(&lab)?;
    let (gateway, elsewhere) = (lab.gateway(), lab.switch());
    plug_in(&lab, "lan9")?;
    let index = becomes(&agent, "lan9", has_door)?["ifindex"].clone();
    // It may come back with its index or with another one.
    gateway.ip(&format!("link set lan9 netns {}", elsewhere.namespace()))?;
    elsewhere.ip(&format!("link set lan9 netns {}", gateway.namespace()))?;
    let begun = Instant::now();
    loop {
        let status = agent.status()?;
        let places = status["coverage"].as_array().context("no coverage")?;
        let mut here = places.iter().filter(|place| place["interface"] == "lan9");
        if here.any(|place| place["position"] == "first") {
            break;
        }
        ensure!(
            begun.elapsed() < A_SECOND,
            "lan9 (index {index}) has no door: {places:#?}, {:#}, {:#?}",
            told(&agent, "lan9")?,
            agent.process()?.stderr()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
