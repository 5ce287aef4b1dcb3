//! Whether a policy is in force: the agent, the hooks, and what stands beside us there.

use std::path::Path;

use serde_json::Value;

use super::finding::Finding;
use crate::cli::text;
use crate::datapath::{Coverage, programs_at};

pub fn examine(control: &Path, status: Option<&Value>) -> Vec<Finding> {
    let Some(status) = status else {
        return vec![Finding::fail(
            "enforcement",
            "NOTHING is in force: port 25 is open for everybody (or this user may not see it)",
            "systemctl enable --now smtpfence smtpfence-early, or smtpfence run",
        )];
    };
    let mut findings = vec![in_force(status), agent(control, status)];
    findings.extend(rights(&status["rights"]));
    findings.extend(hooks(status));
    findings
}

fn in_force(status: &Value) -> Finding {
    let policy = &status["in_force"];
    let told = format!(
        "policy {}, revision {}, mode {}",
        text(&policy["policy"]),
        text(&policy["revision"]),
        text(&policy["mode"])
    );
    if let Some(why) = status["reload_error"].as_str() {
        let why = why.lines().next().unwrap_or_default().escape_debug().to_string();
        return Finding::fail(
            "enforcement",
            format!("{told}; the policy file was REFUSED: {why}"),
            "correct it, then smtpfence reload",
        );
    }
    let file = &status["file_revision"];
    if file.is_string() && *file != policy["revision"] {
        return Finding::warn(
            "enforcement",
            format!("{told}; the file holds another revision, {}", text(file)),
            "smtpfence diff --running shows the difference, smtpfence reload puts it in force",
        );
    }
    if policy["mode"] == "audit" {
        return Finding::warn(
            "enforcement",
            format!("{told}: it blocks nothing"),
            "set mode: enforce when the log shows only what you want to block",
        );
    }
    Finding::ok("enforcement", told)
}

fn agent(control: &Path, status: &Value) -> Finding {
    match status["agent"]["pid"].as_u64() {
        Some(pid) => Finding::ok("agent", format!("process {pid} answers on {}", control.display())),
        None => Finding::warn(
            "agent",
            "not running: the kernel enforces and counts, but nobody logs, flags, or covers new interfaces",
            "systemctl start smtpfence",
        ),
    }
}

/// None where no agent says what it holds.
fn rights(rights: &Value) -> Option<Finding> {
    let (holding, threads) = (rights["privileged_threads"].as_u64()?, rights["threads"].as_u64()?);
    let told = format!("{holding} of {threads} threads with capabilities");
    Some(match rights["reduced"] == true {
        true => Finding::ok("agent-rights", format!("{told}, all with filtered system calls")),
        false => Finding::warn(
            "agent-rights",
            format!("the agent holds more than it needs: {told}"),
            "its log says what it could not give up; docs/operating.md, Rights",
        ),
    })
}

fn hooks(status: &Value) -> Vec<Finding> {
    let coverage = status["coverage"].as_array().map(Vec::as_slice).unwrap_or_default();
    if coverage.is_empty() {
        return vec![Finding::fail(
            "hooks",
            "no interface is covered",
            "compare `interfaces` in the policy with `ip link`",
        )];
    }
    coverage.iter().map(hook).collect()
}

fn hook(place: &Value) -> Finding {
    let name = format!("{} ({})", text(&place["interface"]), text(&place["hook"]));
    match place["position"].as_str() {
        Some("first") => match beside(place) {
            0 => Finding::ok("hooks", format!("{name}: ours stands first, alone")),
            others => Finding::ok("hooks", format!("{name}: ours stands first, in front of {others} more")),
        },
        Some("behind") => Finding::fail(
            "hooks",
            format!("{name}: another program stands in front of ours and can let packets out"),
            "bpftool net shows it; a running agent takes the first place again within two seconds",
        ),
        Some("missing") => {
            Finding::fail("hooks", format!("{name}: our program is not there"), "systemctl restart smtpfence")
        }
        _ => {
            Finding::warn("hooks", format!("{name}: the kernel does not tell the order"), "run this as root")
        }
    }
}

/// How many programs of others stand at the same hook.
fn beside(place: &Value) -> usize {
    let Ok(coverage) = serde_json::from_value::<Coverage>(place.clone()) else { return 0 };
    programs_at(coverage.ifindex, coverage.hook).map_or(0, |programs| programs.len().saturating_sub(1))
}
