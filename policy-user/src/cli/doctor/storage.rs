//! The policy file, the state directory and the block log.

use std::path::Path;

use serde_json::Value;

use super::finding::{Finding, Level};
use crate::policy::{Diagnostic, LoadError, LoadedPolicy};

type Loaded = Result<(LoadedPolicy, Vec<Diagnostic>), LoadError>;

/// Below this a policy can't be replaced safely any more.
const FULL: u64 = 64 << 20;
/// Below this the block log has a bad day soon.
const NEARLY_FULL: u64 = 1 << 30;

pub fn policy_file(path: &Path, loaded: &Loaded) -> Finding {
    let shown = path.display().to_string().escape_debug().to_string();
    let check = format!("smtpfence check {shown}");
    match loaded {
        Ok((policy, warnings)) if warnings.is_empty() => {
            Finding::ok("policy", format!("{shown}: valid, revision {}", policy.revision))
        }
        Ok((policy, warnings)) => {
            let found = format!("{shown}: valid, revision {}, {} warnings", policy.revision, warnings.len());
            Finding::warn("policy", found, format!("{check} shows them"))
        }
        Err(error) => {
            let sentence = error.to_string();
            let first = sentence.lines().next().unwrap_or_default();
            Finding::fail("policy", format!("refused: {first}"), format!("{check} shows all that is wrong"))
        }
    }
}

pub fn examine(state_dir: &Path, status: Option<&Value>) -> Vec<Finding> {
    let mut findings = vec![space(state_dir)];
    findings.extend(status.and_then(|status| block_log(&status["store"])));
    findings
}

fn space(state_dir: &Path) -> Finding {
    let there = state_dir.ancestors().find(|path| path.is_dir()).unwrap_or(state_dir);
    let shown = state_dir.display();
    let Ok(found) = rustix::fs::statvfs(there) else {
        return Finding::warn("disk", format!("{shown} can't be examined"), "run this as root");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let told = format!("{:.1} GiB free for {shown}", free as f64 / (1_u64 << 30) as f64);
    let advice = "make room, or lower log.keep and log.max_size in the policy";
    if found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Finding::fail(
            "disk",
            format!("{shown} lies on a read-only file system"),
            "remount it read-write",
        );
    }
    if free < FULL {
        Finding::fail("disk", told, advice)
    } else if free < NEARLY_FULL {
        Finding::warn("disk", told, advice)
    } else {
        Finding::ok("disk", told)
    }
}

/// Only a running agent tells; without one nothing is written.
fn block_log(store: &Value) -> Option<Finding> {
    if store.is_null() {
        return None;
    }
    if let Some(why) = store["error"].as_str() {
        let found = format!("can't be written: {}", why.escape_debug());
        return Some(Finding {
            level: Level::Fail,
            ..Finding::warn("block-log", found, "make the state directory writable; it resumes by itself")
        });
    }
    let rows = &store["rows"];
    Some(match store["missed"].as_u64() {
        Some(0) | None => {
            Finding::ok("block-log", format!("{rows} attempts written since the agent started"))
        }
        Some(missed) => Finding::warn(
            "block-log",
            format!("{missed} attempts could not be kept since the agent started"),
            "see the agent's log for when and why; the counters have them all",
        ),
    })
}
