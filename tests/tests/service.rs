//! The agent under a service manager: at boot nobody corrects a mistake, and somebody waits for signs of life.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, provider, require_root_or_skip};

const POLICY: &str = r#"version: 1
name: service
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
end: true
"#;

#[test]
fn a_refused_file_at_boot_is_stood_in_for_by_the_last_good_policy() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    let revision = agent.status()?["in_force"]["revision"].clone();
    agent.terminate()?;
    // As a reboot would: nothing is attached any more.
    ensure!(agent.detach()?.status.success());
    agent.write_policy(&POLICY.replace("mode: enforce", "mode: enfroce"))?;
    ensure!(agent.refused()?.status.code() == Some(1), "an attended start took a bad file");
    ensure!(lab.client(0).can_connect(provider(25)), "the refused start attached something");

    let (code, told) =
        agent.told("apply", &["--policy", &agent.policy_file().to_string_lossy(), "--unattended"])?;
    ensure!(code == Some(0) && told.contains("ALARM") && told.contains("enfroce"), "{told}");
    ensure!(!lab.client(0).can_connect(provider(25)), "port 25 is open after the early start");
    agent.run_with(&["--unattended"])?;
    let status = agent.status()?;
    ensure!(status["in_force"]["revision"] == revision, "{status:#}");
    ensure!(status["reload_error"].as_str().is_some_and(|why| why.contains("enfroce")), "{status:#}");

    agent.write_policy(&POLICY.replace("name: service", "name: corrected"))?;
    let (accepted, told) = agent.reload()?;
    ensure!(accepted && agent.status()?["reload_error"].is_null(), "{told}");
    Ok(())
}

#[test]
fn a_first_boot_with_a_refused_file_attaches_nothing() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let agent = Agent::prepare(&lab, &built_binary()?, &POLICY.replace("end: true", ""))?;
    let (code, told) =
        agent.told("apply", &["--policy", &agent.policy_file().to_string_lossy(), "--unattended"])?;
    ensure!(code == Some(1) && told.contains("end: true"), "{told}");
    ensure!(!lab.bpffs()?.join("smtpfence").exists(), "something is pinned");
    Ok(())
}

#[test]
fn what_apply_has_put_in_force_needs_no_agent_and_the_next_one_adopts_it() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider(25))?;
    // An interface that appears later in the boot.
    let policy = POLICY.replace("[lan0]", "[lan0, lan5]");
    let mut agent = Agent::prepare(&lab, &built_binary()?, &policy)?;
    let file = agent.policy_file().to_string_lossy().into_owned();
    ensure!(
        agent.told("apply", &["--policy", &file])?.0 == Some(2),
        "an attended start has to name what is missing"
    );
    let (code, told) = agent.told("apply", &["--policy", &file, "--unattended"])?;
    ensure!(code == Some(0) && told.contains("lan0") && told.contains("wan0"), "{told}");
    ensure!(!lab.client(0).can_connect(provider(25)), "port 25 is open");
    let counted = agent.counted("not-a-mail-server", "packets")?;
    ensure!(counted > 0 && agent.status()?["agent"].is_null());

    agent.run_with(&["--unattended"])?;
    ensure!(agent.counted("not-a-mail-server", "packets")? >= counted, "the agent began anew");
    lab.gateway().ip("link add lan5 type veth peer name far5")?;
    let begun = Instant::now();
    while !agent.status()?["coverage"].to_string().contains("lan5") {
        ensure!(begun.elapsed() < Duration::from_secs(2), "lan5 is not covered");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (code, told) = agent.told("apply", &["--policy", &file, "--unattended"])?;
    ensure!(code == Some(2) && told.contains("another agent"), "apply took a running agent's place: {told}");
    Ok(())
}

#[test]
fn the_service_manager_hears_ready_and_signs_of_life() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let path = lab.dir().join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    agent.start_by(&["env", &format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=400000"]);
    agent.run()?;
    let hear = || -> Result<String> {
        let mut bytes = [0; 256];
        let length = manager.recv(&mut bytes).context("the service manager heard nothing")?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    ensure!(hear()?.contains("READY=1"));
    let begun = Instant::now();
    for _ in 0..10 {
        ensure!(hear()?.contains("WATCHDOG=1"));
    }
    // Ten at half of 400 ms each; the first comes at once.
    let took = begun.elapsed();
    ensure!(took > Duration::from_millis(1500) && took < Duration::from_secs(8), "ten signs in {took:?}");
    agent.terminate()?;
    ensure!(std::iter::from_fn(|| hear().ok()).take(20).any(|told| told.contains("STOPPING=1")));
    ensure!(fs::exists(agent.state_dir().join("in-force.json"))?);
    Ok(())
}
