//! Policies on trial, what comes back when nobody confirms, and what is kept to go back to.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Agent, Host, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

const GOOD: &str = r#"# The good one.
version: 1
name: good
interfaces: { inside: ["lan*"], outside: [wan0] }
networks: { clients: [10.25.0.0/24, "fd25::/64"], internal: [10.0.0.0/8, "fd00::/8"] }
mode: enforce
on_block: reject
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"] }
end: true
"#;

/// Somebody has removed the mail server.
fn bad() -> String {
    GOOD.replace("name: good", "name: bad")
        .replace("  - { name: mx1, address: [10.25.0.25, \"fd25::25\"] }\n", "")
        .replace("mail_servers:\n", "")
}

fn provider() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 25], 25))
}

fn can_send(host: &Host) -> bool {
    host.connect(provider(), Duration::from_millis(300)).is_ok()
}

fn in_force(agent: &Agent<'_>) -> Result<String> {
    let status = agent.status()?;
    status["in_force"]["policy"].as_str().map(str::to_owned).context("no policy in force")
}

/// Waits until a policy is in force.
fn wait_for(agent: &Agent<'_>, policy: &str, timeout: Duration) -> Result<Duration> {
    let begun = Instant::now();
    while in_force(agent)? != policy {
        ensure!(begun.elapsed() < timeout, "{policy} does not come into force: {:#}", agent.status()?);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed())
}

/// Starts with the good policy and puts the bad one on trial.
fn on_trial<'lab>(lab: &'lab Lab, time: &str) -> Result<Agent<'lab>> {
    let agent = Agent::start(lab, &built_binary()?, GOOD)?;
    ensure!(can_send(lab.mail_server()), "mail is blocked from the start");
    agent.write_policy(&bad())?;
    let (code, told) = agent.told("reload", &["--confirm", time])?;
    ensure!(
        code == Some(0) && told.contains("rolled back at") && told.contains("smtpfence confirm"),
        "{told}"
    );
    ensure!(!can_send(lab.mail_server()), "the policy on trial is not in force");
    Ok(agent)
}

#[test]
fn what_nobody_confirms_is_rolled_back() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let mut agent = on_trial(&lab, "3s")?;
    let status = agent.status()?;
    ensure!(
        status["pending"]["seconds_left"].as_u64().is_some_and(|left| (1..=3).contains(&left)),
        "{status:#}"
    );
    ensure!(status["pending"]["user"] == "root" && status["pending"]["how"] == "reload", "{status:#}");
    let (_, shown) = agent.told("status", &[])?;
    ensure!(shown.contains("ON TRIAL") && shown.contains("smtpfence confirm"), "{shown}");
    for again in [&[][..], &["--confirm", "1h"]] {
        let (code, told) = agent.told("reload", again)?;
        ensure!(code == Some(1) && told.contains("smtpfence confirm") && told.contains("--cancel"), "{told}");
    }

    wait_for(&agent, "good", Duration::from_secs(5))?;
    ensure!(can_send(lab.mail_server()), "the mail server has not got its mail back");
    agent.process()?.wait_for_line("ROLLED BACK: not confirmed in time", Duration::from_secs(1))?;
    ensure!(fs::read_to_string(agent.policy_file())? == bad(), "the admin's file was touched");
    let status = agent.status()?;
    ensure!(
        status["pending"].is_null() && status["rolled_back"]["why"] == "not confirmed in time",
        "{status:#}"
    );
    ensure!(status["file_revision"] == status["rolled_back"]["revision"], "{status:#}");
    let (_, shown) = agent.told("status", &[])?;
    ensure!(shown.contains("ROLLED BACK") && shown.contains("DIFFERS"), "{shown}");
    for (verb, arguments) in [("confirm", &[][..]), ("reload", &["--cancel"])] {
        let (code, told) = agent.told(verb, arguments)?;
        ensure!(code == Some(1) && told.contains("was rolled back at"), "{verb}: {told}");
    }
    // Who asks for it again gets it.
    ensure!(agent.reload()?.0 && in_force(&agent)? == "bad");
    ensure!(agent.status()?["rolled_back"].is_null());
    Ok(())
}

#[test]
fn a_restart_goes_on_with_the_trial() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let begun = Instant::now();
    let mut agent = on_trial(&lab, "5s")?;
    agent.kill9()?;
    ensure!(agent.status()?["pending"]["revision"].is_string(), "not told without an agent");
    // Not even another edit of the file changes what is on trial.
    agent.write_policy(&GOOD.replace("name: good", "name: third"))?;
    agent.run()?;
    let status = agent.status()?;
    ensure!(status["in_force"]["policy"] == "bad" && status["pending"].is_object(), "{status:#}");
    wait_for(&agent, "good", Duration::from_secs(7))?;
    let elapsed = begun.elapsed();
    ensure!(elapsed > Duration::from_secs(5) && elapsed < Duration::from_secs(8), "after {elapsed:?}");
    ensure!(can_send(lab.mail_server()), "the mail server has not got its mail back");
    Ok(())
}

#[test]
fn a_restart_behind_the_deadline_begins_with_the_policy_before() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let mut agent = on_trial(&lab, "1s")?;
    agent.kill9()?;
    std::thread::sleep(Duration::from_millis(1500));
    ensure!(!can_send(lab.mail_server()), "the kernel rolled back without an agent?");
    agent.run()?;
    ensure!(can_send(lab.mail_server()) && in_force(&agent)? == "good");
    agent.process()?.wait_for_line("ROLLED BACK", Duration::from_secs(1))?;

    // The file still holds what failed: no later start may put it in force by the way.
    agent.terminate()?;
    agent.run()?;
    ensure!(can_send(lab.mail_server()) && in_force(&agent)? == "good");
    ensure!(agent.status()?["rolled_back"].is_object());
    // Another text is another wish.
    agent.terminate()?;
    agent.write_policy(&bad().replace("name: bad", "name: wanted"))?;
    agent.run()?;
    ensure!(in_force(&agent)? == "wanted" && agent.status()?["rolled_back"].is_null());
    Ok(())
}

#[test]
fn what_is_confirmed_stays_also_after_a_restart() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let mut agent = on_trial(&lab, "2s")?;
    let (code, told) = agent.told("confirm", &[])?;
    ensure!(code == Some(0) && told.contains("stays in force"), "{told}");
    std::thread::sleep(Duration::from_millis(2500));
    ensure!(in_force(&agent)? == "bad" && agent.status()?["pending"].is_null());
    agent.kill9()?;
    agent.run()?;
    ensure!(in_force(&agent)? == "bad");
    let (code, told) = agent.told("confirm", &[])?;
    ensure!(code == Some(1) && told.contains("no policy is on trial"), "{told}");
    let (code, told) = agent.told("reload", &["--confirm", "2s"])?;
    ensure!(code == Some(0) && told.contains("nothing to confirm"), "{told}");
    Ok(())
}

#[test]
fn a_trial_is_cancelled_at_once() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let agent = on_trial(&lab, "10m")?;
    let (code, told) = agent.told("reload", &["--cancel"])?;
    ensure!(code == Some(0) && told.contains("cancelled by root"), "{told}");
    ensure!(can_send(lab.mail_server()) && in_force(&agent)? == "good");
    for length in ["0s", "25h"] {
        let (code, told) = agent.told("reload", &["--confirm", length])?;
        ensure!(code == Some(1) && told.contains("between a second and a day"), "{told}");
    }
    Ok(())
}

fn revisions(agent: &Agent<'_>) -> Result<Vec<Value>> {
    let (code, told) = agent.told("history", &["--format", "json"])?;
    ensure!(code == Some(0), "{told}");
    Ok(serde_json::from_str::<Vec<Value>>(&told)?)
}

#[test]
fn policies_are_kept_and_restored_into_the_file_too() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let _listener = lab.internet().listen(provider())?;
    let mut agent = Agent::start(&lab, &built_binary()?, GOOD)?;
    agent.write_policy(&bad())?;
    agent.process()?.signal(rustix::process::Signal::HUP)?;
    wait_for(&agent, "bad", Duration::from_secs(5))?;
    let kept = revisions(&agent)?;
    let told: Vec<_> =
        kept.iter().map(|it| (it["policy"].as_str(), it["how"].as_str(), it["in_force"].as_bool())).collect();
    ensure!(
        told == [(Some("bad"), Some("signal"), Some(true)), (Some("good"), Some("start"), Some(false))],
        "{kept:#?}"
    );
    let good = kept[1]["revision"].as_str().context("no revision")?.to_owned();
    ensure!(agent.told("history", &["--show", &good[..6]])?.1 == GOOD);

    let (code, told) = agent.told("restore", &[&good[..6]])?;
    ensure!(code == Some(2) && told.contains("+mail_servers:") && told.contains("--yes"), "{told}");
    let (code, told) = agent.told("restore", &[&good, "--yes", "--confirm", "10m"])?;
    ensure!(code == Some(0) && told.contains("smtpfence confirm"), "{told}");
    ensure!(can_send(lab.mail_server()) && fs::read_to_string(agent.policy_file())? == GOOD);
    let bad_revision = kept[0]["revision"].as_str().context("no revision")?;
    let backup = agent.policy_file().with_file_name(format!("policy.yaml.bak-{bad_revision}"));
    ensure!(fs::read_to_string(backup)? == bad());
    ensure!(agent.told("confirm", &[])?.0 == Some(0));
    let newest = &revisions(&agent)?[0];
    ensure!(
        newest["policy"] == "good" && newest["how"] == "restore" && newest["user"] == "root",
        "{newest:#}"
    );

    // Without an agent: the list, and a way back from a file that no agent starts with.
    agent.terminate()?;
    agent.write_policy(&GOOD.replace("end: true\n", ""))?;
    let refused = agent.refused()?;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status.code() == Some(1) && told.contains(&format!("smtpfence restore {good}")),
        "{told}"
    );
    ensure!(revisions(&agent)?[0]["in_force"] == true);
    let (code, told) =
        agent.told("restore", &[&good, "--policy", &agent.policy_file().to_string_lossy(), "--yes"])?;
    ensure!(code == Some(0) && told.contains("no agent answers"), "{told}");
    agent.run()?;
    ensure!(in_force(&agent)? == "good");
    Ok(())
}

#[test]
fn a_full_disk_stops_no_reload_but_a_trial_that_could_be_forgotten() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, GOOD)?;
    let state = agent.state_dir().to_owned();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs"])
        .arg(&state)
        .status()?;
    ensure!(mounted.success());
    let _unmount = Unmount(&state);
    agent.run()?;
    // Fails when the disk is full, which is the point.
    let _full = fs::write(state.join("filler"), vec![0; 1 << 20]);
    agent.write_policy(&bad())?;
    let (code, told) = agent.told("reload", &["--confirm", "5m"])?;
    ensure!(
        code == Some(2) && told.contains("nothing was changed") && told.contains("without --confirm"),
        "{told}"
    );
    ensure!(in_force(&agent)? == "good");
    let (accepted, told) = agent.reload()?;
    ensure!(accepted, "{told}");
    ensure!(in_force(&agent)? == "bad");
    agent.process()?.wait_for_line("can't be restored later", Duration::from_secs(1))?;
    Ok(())
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l"]).arg(self.0).status();
    }
}
