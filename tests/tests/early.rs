//! XDP in front of the door: refused where it would cost or mislead, and otherwise nobody can tell it from the door.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Captured, Host, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

fn policy(datapath: &str) -> String {
    format!(
        r#"version: 1
name: early
interfaces: {{ inside: [{{ match: lan0, datapath: {datapath} }}], outside: [wan0] }}
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
mail_servers:
  - {{ name: mx1, address: [10.25.0.25, "fd25::25"] }}
groups:
  - {{ name: pilots, clients: [10.25.0.78], mode: audit }}
  - {{ name: impatient, clients: [10.25.0.79], on_block: reject }}
end: true
"#
    )
}

fn provider(port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 25], port))
}

fn why_not(host: &Host) -> Option<ErrorKind> {
    host.connect(provider(25), Duration::from_millis(300)).err().map(|error| error.kind())
}

/// Whether an XDP program is on the gateway's LAN interface, as the kernel says.
fn has_xdp(lab: &Lab) -> Result<bool> {
    Ok(lab.gateway().ip("link show lan0")?.contains("xdp"))
}

/// Why there is none, as `status` says; `None` where it is there.
fn refused(agent: &Agent<'_>) -> Result<Option<String>> {
    let status = agent.status()?;
    let place = &status["in_force"]["early"][0];
    ensure!(place["interface"] == "lan0", "{status:#}");
    Ok(place["refused"].as_str().map(str::to_owned))
}

fn soon(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(3);
    while !holds()? {
        ensure!(Instant::now() < deadline, "not within three seconds: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_software_interface_gets_none_and_is_covered_all_the_same() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("xdp"))?;
    let why = refused(&agent)?.context("XDP on a veth")?;
    ensure!(why.contains("no network card") && why.contains("xdp-forced"), "{why}");
    ensure!(agent.ask(&["status"])?.contains("no XDP in front of the door"));
    ensure!(!has_xdp(&lab)?);
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    Ok(())
}

#[test]
fn a_forced_one_takes_drops_from_the_stack_and_leaves_the_same_rows() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(3).build()?;
    let _listeners = [lab.internet().listen(provider(25))?, lab.internet().listen(provider(587))?];
    let agent = Agent::start(&lab, &built_binary()?, &policy("tc"))?;
    let row = |agent: &Agent<'_>, seen: usize| -> Result<Value> {
        let mut rows = Vec::new();
        soon("a row for the attempt", || {
            rows = agent.attempts().into_iter().filter(|row| row["client"] == "10.25.0.77").collect();
            Ok(rows.len() > seen)
        })?;
        Ok(rows.swap_remove(seen))
    };
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    let by_door = row(&agent, 0)?;

    agent.write_policy(&policy("xdp-forced"))?;
    ensure!(agent.reload()?.0);
    ensure!(refused(&agent)?.is_none() && has_xdp(&lab)?, "no XDP: {:?}", refused(&agent)?);
    let counted = agent.counted("not-a-mail-server", "packets")?;
    let tap = lab.gateway().sniff("lan0")?;
    // Untagged IPv4 without options.
    let from_client = |frame: &Captured, port: u16| {
        frame.bytes.get(26..30) == Some(&[10, 25, 0, 77])
            && frame.bytes.get(36..38) == Some(&port.to_be_bytes())
    };
    let before = agent.attempts().iter().filter(|row| row["client"] == "10.25.0.77").count();
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    let early = row(&agent, before)?;
    ensure!(agent.counted("not-a-mail-server", "packets")? > counted, "not counted");
    // The revision is another one, since the text is.
    for field in ["reason", "verdict", "interface", "src_mac", "dst", "dst_port", "policy"] {
        ensure!(early[field] == by_door[field], "{field}: {early:#} instead of {by_door:#}");
    }
    ensure!(lab.client(0).can_connect(provider(587)), "submission is blocked");
    // What comes later on the same interface is seen later.
    let passed = tap.wait_for(|frame| from_client(frame, 587), Duration::from_secs(3));
    passed.context("the tap sees nothing at all")?;
    ensure!(
        tap.count(|frame| from_client(frame, 25)) == 0,
        "the stack has seen what XDP should have dropped"
    );
    ensure!(lab.mail_server().can_connect(provider(25)), "the mail server is blocked");
    ensure!(lab.client(1).can_connect(provider(25)), "the audited group is blocked");
    ensure!(why_not(lab.client(2)) == Some(ErrorKind::ConnectionRefused), "no answer");
    Ok(())
}

#[test]
fn it_outlives_the_agent_is_adopted_and_goes_with_the_policy() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, &policy("xdp-forced"))?;
    agent.kill9()?;
    ensure!(has_xdp(&lab)?, "it ended with the agent");
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    ensure!(lab.mail_server().can_connect(provider(25)));
    agent.run()?;
    ensure!(refused(&agent)?.is_none(), "not adopted: {:?}", refused(&agent)?);

    // A policy that lets the client out must reach both programs.
    agent.write_policy(&policy("xdp-forced").replace("10.25.0.25, ", "10.25.0.77, 10.25.0.25, "))?;
    ensure!(agent.reload()?.0);
    ensure!(lab.client(0).can_connect(provider(25)), "the early door has the policy before");
    agent.write_policy(&policy("tc"))?;
    ensure!(agent.reload()?.0);
    ensure!(!has_xdp(&lab)?, "still there, though the policy asks for none");
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    agent.write_policy(&policy("xdp-forced"))?;
    ensure!(agent.reload()?.0 && has_xdp(&lab)?);
    agent.terminate()?;
    ensure!(has_xdp(&lab)?, "it ended with the agent");
    ensure!(agent.detach()?.status.success());
    ensure!(!has_xdp(&lab)?, "still there after detach");
    ensure!(lab.client(0).can_connect(provider(25)));
    Ok(())
}

#[test]
fn an_interface_built_upon_it_ends_it_and_its_end_brings_it_back() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, &policy("xdp-forced"))?;
    // A MACVLAN, because some kernels have no VLANs; to XDP both are frames of somebody else's door.
    lab.gateway().ip("link add link lan0 name mac0 type macvlan")?;
    soon("XDP gone", || Ok(refused(&agent)?.is_some_and(|why| why.contains("VLAN")) && !has_xdp(&lab)?))?;
    ensure!(why_not(lab.client(0)) == Some(ErrorKind::TimedOut));
    lab.gateway().ip("link del mac0")?;
    soon("XDP back", || Ok(refused(&agent)?.is_none() && has_xdp(&lab)?))
}
