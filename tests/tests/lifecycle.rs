//! Enforcement outlives the agent: killed, restarted, reloaded, detached, with traffic running.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use lab::frame::{Frame, Tcp};
use lab::{Agent, Host, Lab, built_binary, provider, require_root_or_skip};
use policy_common::abi::ABI_VERSION;

const PROVIDER: &str = "203.0.113.25";

const POLICY: &str = r#"version: 1
name: lifecycle
interfaces: { inside: ["lan*"], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, "fd25::/64"]
  internal: [10.0.0.0/8, "fd00::/8"]
mode: enforce
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }
end: true
"#;

/// Sends SYNs to port 25 from a host, each with a source port and sequence number of its own.
fn send_syns(lab: &Lab, from: &Host, count: u32) -> Result<()> {
    let socket = from.raw_socket("eth0")?;
    let gateway = lab.gateway().mac();
    for n in 0..count {
        let port = 20_000 + (n % 40_000) as u16;
        let syn = Tcp::syn(port, 25).sequence(n);
        let frame = Frame::new(from.mac(), gateway).ip(from.addr4().into(), PROVIDER.parse()?).tcp(syn);
        socket.send(&frame.build())?;
    }
    Ok(())
}

/// Frames to port 25 that have come out of the gateway on the outside.
fn arrived(sniffer: &lab::Sniffer) -> usize {
    sniffer.count(|frame| frame.view().is_some_and(|view| view.is_syn_to(25)))
}

#[test]
fn killed_agent_leaves_enforcement_and_the_next_one_adopts_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _provider = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    agent.kill9()?;

    let outside = lab.internet().sniff("wan0")?;
    send_syns(&lab, lab.client(0), 1000)?;
    send_syns(&lab, lab.mail_server(), 1000)?;
    std::thread::sleep(Duration::from_millis(200));
    let passed = arrived(&outside);
    ensure!(passed == 1000, "{passed} SYNs left; the mail server sent 1000, the client 1000");
    ensure!(lab.mail_server().can_connect(provider(25)), "mail stopped with the agent");
    ensure!(!lab.client(0).can_connect(provider(25)), "the client got out while the agent was dead");
    let status = agent.status()?;
    ensure!(status["agent"].is_null() && status["in_force"]["policy"] == "lifecycle", "{status:#}");
    ensure!(
        agent.counted("not-a-mail-server", "packets")? >= 1000,
        "counters stopped with the agent: {status:#}"
    );

    agent.run()?;
    let waiting = agent.wait_for_attempt(|attempt| attempt["client"] == "10.25.0.77")?;
    ensure!(waiting["client_mac"] == lab.client(0).mac().to_string(), "{waiting:#}");
    ensure!(agent.status()?["coverage"][0]["position"] == "first");
    Ok(())
}

#[test]
fn restarts_and_reloads_under_traffic_leak_nothing_and_lose_no_mail() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let audit_of_nothing = POLICY.replace("name: lifecycle", "name: other");
    let outside = lab.internet().sniff("wan0")?;
    let (mut from_client, mut from_mail) = (0, 0);
    let stop = AtomicBool::new(false);
    let flood = |host| -> Result<u32> {
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) && sent < 200_000 {
            send_syns(&lab, host, 50)?;
            sent += 50;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(sent)
    };
    std::thread::scope(|scope| -> Result<()> {
        let client = scope.spawn(|| flood(lab.client(0)));
        let mail = scope.spawn(|| flood(lab.mail_server()));
        let changes = (|| -> Result<()> {
            for round in 0..10 {
                if round % 2 == 0 {
                    agent.kill9()?;
                    agent.run()?;
                } else {
                    agent.write_policy(if round % 4 == 1 { &audit_of_nothing } else { POLICY })?;
                    let (accepted, told) = agent.reload()?;
                    ensure!(accepted, "the reload was refused: {told}");
                }
            }
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        from_client = client.join().expect("the client's thread")?;
        from_mail = mail.join().expect("the mail server's thread")?;
        changes
    })?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(outside.lost()? == 0, "the capture is incomplete");
    let passed = arrived(&outside);
    ensure!(
        passed == from_mail as usize,
        "of {from_client} SYNs of the client and {from_mail} of the mail server {passed} left the gateway"
    );
    Ok(())
}

#[test]
fn pins_of_another_version_enforce_until_this_one_does_and_not_after() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    agent.kill9()?;
    let root = lab.bpffs()?.join("smtpfence");
    let ours = root.join(format!("v{ABI_VERSION}"));
    std::fs::rename(&ours, root.join("v1"))?;
    let outside = lab.internet().sniff("wan0")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let flood = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                send_syns(&lab, lab.client(0), 50)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let started = agent.run();
        stop.store(true, Ordering::Relaxed);
        flood.join().expect("the client's thread")?;
        started
    })?;
    ensure!(arrived(&outside) == 0, "{} SYNs got out during the upgrade", arrived(&outside));
    ensure!(ours.exists() && !root.join("v1").exists(), "the old version's pins are still there");
    let programs = || lab.gateway().run(|| SchedClassifier::query_tcx("lan0", TcAttachType::Ingress));
    let begun = Instant::now();
    // The kernel frees a link some milliseconds after its pin is gone.
    while programs()??.1.len() != 1 {
        ensure!(begun.elapsed() < Duration::from_secs(2), "lan0 does not carry exactly one program");
        std::thread::sleep(Duration::from_millis(10));
    }
    ensure!(agent.status()?["coverage"][0]["position"] == "first");
    Ok(())
}

#[test]
fn refused_reload_keeps_the_policy_and_shows_why() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let revision = agent.status()?["in_force"]["revision"].clone();
    agent.write_policy(&POLICY.replace("end: true\n", ""))?;
    let (accepted, told) = agent.reload()?;
    ensure!(!accepted && told.contains("end: true"), "{told}");
    let status = agent.status()?;
    ensure!(status["in_force"]["revision"] == revision, "{status:#}");
    ensure!(status["reload_error"].as_str().is_some_and(|why| why.contains("end")), "{status:#}");
    ensure!(!lab.client(0).can_connect(provider(25)), "a refused reload opened the gate");

    agent.write_policy(&POLICY.replace("mode: enforce", "mode: audit"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    ensure!(agent.status()?["reload_error"].is_null(), "the old error is still shown");
    Ok(())
}

#[test]
fn audit_mode_lets_pass_and_reports() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _provider = lab.internet().listen(provider(25))?;
    let agent = Agent::start(&lab, &built_binary()?, &POLICY.replace("mode: enforce", "mode: audit"))?;
    ensure!(lab.client(0).can_connect(provider(25)), "audit mode blocked");
    let attempt = agent.wait_for_attempt(|attempt| attempt["client"] == "10.25.0.77")?;
    ensure!(attempt["verdict"] == "would_block" && attempt["reason"] == "not-a-mail-server", "{attempt:#}");
    ensure!(agent.counted("not-a-mail-server", "would_block_packets")? > 0);
    Ok(())
}

#[test]
fn one_connect_is_one_attempt_of_several_packets() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    // Long enough for at least one retransmission after a second.
    ensure!(lab.client(0).connect(provider(25), Duration::from_millis(1600)).is_err());
    agent.wait_for_attempt(|attempt| attempt["destination_port"] == 25)?;
    ensure!(agent.attempts().len() == 1, "{:#?}", agent.attempts());
    ensure!(agent.counted("not-a-mail-server", "attempts")? == 1);
    ensure!(agent.counted("not-a-mail-server", "packets")? >= 2);
    Ok(())
}

#[test]
fn detach_ends_enforcement_and_only_detach_does() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _provider = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let refused = agent.detach()?;
    ensure!(refused.status.code() == Some(2), "detach pulled the rug from under a running agent");
    agent.terminate()?;
    ensure!(!lab.client(0).can_connect(provider(25)), "stopping the agent opened the gate");
    ensure!(agent.detach()?.status.success());
    ensure!(lab.client(0).can_connect(provider(25)), "still blocked after detach");
    ensure!(agent.detach()?.status.success(), "a second detach must be fine");
    let status = agent.command("status")?.output()?;
    ensure!(status.status.code() == Some(2), "status found something after detach");
    Ok(())
}

#[test]
fn interface_that_appears_is_covered_within_a_second() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    lab.gateway().ip("link add lan7 type veth peer name far7")?;
    let begun = Instant::now();
    while !agent.status()?["coverage"].as_array().is_some_and(|c| c.iter().any(|c| c["interface"] == "lan7"))
    {
        ensure!(begun.elapsed() < Duration::from_secs(1), "lan7 is not covered: {:#}", agent.status()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    // Deleted and made again, its old link is dead.
    lab.gateway().ip("link del lan7")?;
    lab.gateway().ip("link add lan7 type veth peer name far7")?;
    std::thread::sleep(Duration::from_millis(500));
    let status = agent.status()?;
    let covered: Vec<_> = status["coverage"].as_array().into_iter().flatten().collect();
    let lan7 = covered.iter().filter(|c| c["interface"] == "lan7" && c["position"] == "first").count();
    ensure!(lan7 == 1, "{status:#}");
    Ok(())
}

#[test]
fn mail_to_the_gateway_itself_passes_also_at_an_address_it_gets_later() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    // Without this network being internal, only the list of the gateway's own addresses can tell.
    let policy = POLICY.replace("internal: [10.0.0.0/8, \"fd00::/8\"]", "internal: []");
    let _agent = Agent::start(&lab, &built_binary()?, &policy)?;
    let local: SocketAddr = "10.25.0.1:25".parse()?;
    let _smart_host = lab.gateway().listen(local)?;
    ensure!(lab.client(0).can_connect(local), "the gateway's own port 25 is blocked");
    lab.gateway().ip("addr add 10.25.0.2/24 dev lan0")?;
    let later: SocketAddr = "10.25.0.2:25".parse()?;
    let _second = lab.gateway().listen(later)?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(lab.client(0).can_connect(later), "an address that came later is not known as the gateway's");
    Ok(())
}

#[test]
fn second_agent_is_refused_and_names_the_first() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let pid = agent.process()?.pid();
    let second = agent.refused()?;
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(second.status.code() == Some(2) && told.contains(&pid.to_string()), "{told}");
    Ok(())
}

#[test]
fn connect_timing_out_is_what_drop_looks_like() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _provider = lab.internet().listen(provider(25))?;
    let _agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let error = lab.client(0).connect(provider(25), Duration::from_millis(300)).expect_err("blocked");
    ensure!(error.kind() == ErrorKind::TimedOut, "{error}");
    Ok(())
}
