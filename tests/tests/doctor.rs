//! `smtpfence doctor` on gateways that are well and on gateways that are not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};
use lab::{Agent, Lab, built_binary, require_root_or_skip};
use serde_json::Value;

mod intruder;

const POLICY: &str = r#"version: 1
name: doctor
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/24], internal: [10.0.0.0/8] }
mode: enforce
mail_servers:
  - { name: mx1, address: 10.25.0.25, mac: "02:00:00:00:00:25" }
end: true
"#;

/// Levels of all findings of one check, and the exit code.
struct Examination {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Examination {
    fn of(agent: &Agent) -> Result<Self> {
        let file = agent.policy_file().to_string_lossy().into_owned();
        let output = agent.command("doctor")?.args(["--format", "json", "--policy", &file]).output()?;
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let findings = told["checks"].as_array().context("no checks")?.clone();
        ensure!(told["healthy"] == (output.status.code() == Some(0)), "{told:#}");
        Ok(Self { code: output.status.code(), findings })
    }

    /// The levels that a check ended with.
    fn levels(&self, check: &str) -> Vec<&str> {
        self.findings.iter().filter(|it| it["check"] == check).filter_map(|it| it["level"].as_str()).collect()
    }

    #[track_caller]
    fn fails(&self, check: &str, says: &str) -> Result<()> {
        let at = std::panic::Location::caller().line();
        let found = self.findings.iter().find(|it| it["check"] == check && it["level"] == "fail");
        let found = found.with_context(|| format!("line {at}: {check} is fine: {:#?}", self.findings))?;
        ensure!(found["found"].as_str().is_some_and(|text| text.contains(says)), "line {at}: {found:#}");
        ensure!(
            found["advice"].as_str().is_some_and(|text| text.len() > 5),
            "line {at}: no advice: {found:#}"
        );
        ensure!(self.code == Some(1), "line {at}: ended with {:?}", self.code);
        Ok(())
    }
}

#[test]
fn a_gateway_that_is_well_passes_and_what_breaks_is_named() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::prepare(&lab, &built_binary()?, POLICY)?;
    Examination::of(&agent)?.fails("enforcement", "NOTHING is in force")?;

    agent.run()?;
    let well = Examination::of(&agent)?;
    ensure!(well.code == Some(0), "{:#?}", well.findings);
    for check in [
        "kernel",
        "rights",
        "bpffs",
        "policy",
        "enforcement",
        "agent",
        "agent-rights",
        "interfaces",
        "flowtables",
        "block-log",
    ] {
        ensure!(well.levels(check) == ["ok"], "{check}: {:#?}", well.findings);
    }
    ensure!(well.levels("hooks") == ["ok", "ok"], "{:#?}", well.findings);

    agent.write_policy(&POLICY.replace("mode: enforce", "mode: audit"))?;
    ensure!(
        Examination::of(&agent)?.levels("enforcement") == ["warn"],
        "the file differs from what is in force"
    );
    agent.write_policy(&POLICY.replace("mode", "mood"))?;
    ensure!(!agent.reload()?.0);
    let refused = Examination::of(&agent)?;
    refused.fails("enforcement", "REFUSED")?;
    refused.fails("policy", "mood")?;
    agent.write_policy(POLICY)?;
    fs::set_permissions(agent.policy_file(), fs::Permissions::from_mode(0o666))?;
    Examination::of(&agent)?.fails("policy", "refused")?;
    Ok(())
}

#[test]
fn hooks_are_examined_without_an_agent() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().build()?;
    let mut agent = Agent::start(&lab, &built_binary()?, POLICY)?;
    agent.terminate()?;
    let without = Examination::of(&agent)?;
    ensure!(without.code == Some(0) && without.levels("agent") == ["warn"], "{:#?}", without.findings);
    let intruder = intruder::put_in_front(lab.gateway(), "lan0")?;
    Examination::of(&agent)?.fails("hooks", "lan0 (door): another program stands in front")?;
    drop(intruder);
    fs::remove_file(lab.bpffs()?.join(format!(
        "smtpfence/v{}/links/guard-{}",
        policy_common::abi::ABI_VERSION,
        lab.gateway().ifindex("wan0")?
    )))?;
    Examination::of(&agent)?.fails("hooks", "wan0 (guard): our program is not there")?;
    fs::set_permissions(lab.bpffs()?.join("smtpfence"), fs::Permissions::from_mode(0o777))?;
    Examination::of(&agent)?.fails("bpffs", "lets others write")
}
