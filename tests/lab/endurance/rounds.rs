//! What happens to the agent: each function does one thing again and again, and returns how long the slowest took.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Binaries;
use super::traffic::Traffic;
use crate::{Agent, Lab};

const ARGUMENTS: [&str; 1] = ["--unattended"];

pub fn kills(agent: &mut Agent<'_>, rounds: u32) -> Result<Duration> {
    slowest(rounds, |_| {
        agent.kill9()?;
        agent.run_with(&ARGUMENTS)
    })
}

/// Half of the rounds end the old agent as a service manager does, the others as an accident would.
pub fn upgrades(lab: &Lab, agent: &mut Agent<'_>, binaries: &Binaries, rounds: u32) -> Result<Duration> {
    let root = lab.bpffs()?.join("smtpfence");
    slowest(2 * rounds, |round| {
        let before = versions(&root)?;
        if round % 4 < 2 {
            agent.terminate()?
        } else {
            agent.kill9()?
        }
        let other = if round % 2 == 0 { binaries.other.as_ref() } else { None };
        agent.set_binary(other.unwrap_or(&binaries.ours));
        if binaries.other.is_none() {
            // A newer version's and an older one's in turn.
            feign_other_version(&root, if round % 2 == 0 { 1 } else { -1 })?;
        }
        agent.run_with(&ARGUMENTS)?;
        let after = versions(&root)?;
        let is_change = before != after || binaries.other.is_none();
        ensure!(after.len() == 1 && is_change, "pins of {before:?} before the change, of {after:?} after it");
        Ok(())
    })
}

/// Moves the pins to where a version this much newer would have them.
fn feign_other_version(root: &Path, newer_by: i64) -> Result<()> {
    let versions = versions(root)?;
    let [ours] = versions.as_slice() else { anyhow::bail!("pins of {versions:?}") };
    let to = root.join(format!("v{}", ours + newer_by));
    std::fs::rename(root.join(format!("v{ours}")), &to)
        .with_context(|| format!("can't make {}", to.display()))
}

fn versions(root: &Path) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix('v').and_then(|number| number.parse().ok());
        found.push(number.with_context(|| format!("{name} among the pins"))?);
    }
    Ok(found)
}

pub fn reloads(agent: &Agent<'_>, policy: &str, rounds: u32) -> Result<Duration> {
    let other = policy.replace("name: endurance", "name: other");
    slowest(rounds, |round| {
        agent.write_policy(if round % 2 == 0 { &other } else { policy })?;
        let (accepted, told) = agent.reload()?;
        ensure!(accepted, "the reload was refused: {told}");
        Ok(())
    })
}

/// The time told is that from the making of the interface until its door is there.
pub fn recreations(lab: &Lab, agent: &Agent<'_>, traffic: &Traffic<'_>, rounds: u32) -> Result<Duration> {
    let (gateway, switch) = (lab.gateway(), lab.switch());
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        gateway.ip("link del lan0")?;
        gateway.ip(&format!(
            "link add lan0 address {} type veth peer name gateway netns {}",
            gateway.mac(),
            switch.namespace()
        ))?;
        let made = Instant::now();
        switch.ip("link set gateway master lan up")?;
        gateway.ip(&format!("addr add {}/24 dev lan0", gateway.addr4()))?;
        gateway.ip("link set lan0 up")?;
        let index = gateway.ifindex("lan0")?;
        while !has_door(agent, index)? {
            ensure!(made.elapsed() < Duration::from_secs(20), "lan0 is not covered: {:#}", agent.status()?);
            std::thread::sleep(Duration::from_millis(5));
        }
        longest = longest.max(made.elapsed());
        traffic.wait_for_mail()?;
    }
    Ok(longest)
}

fn has_door(agent: &Agent<'_>, index: u32) -> Result<bool> {
    let status: serde_json::Value = serde_json::from_str(&agent.get("/v1/status")?)?;
    let mut coverage = status["coverage"].as_array().into_iter().flatten();
    Ok(coverage.any(|place| place["ifindex"] == index && place["position"] == "first"))
}

fn slowest(rounds: u32, mut round: impl FnMut(u32) -> Result<()>) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for number in 0..rounds {
        let begun = Instant::now();
        round(number).with_context(|| format!("in round {}", number + 1))?;
        slowest = slowest.max(begun.elapsed());
    }
    Ok(slowest)
}
