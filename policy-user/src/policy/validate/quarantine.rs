//! `quarantine`: how long infected hosts are cut off, how far, and what stays open to them.

use std::time::Duration;

use policy_common::abi::MAX_SPARED_PORTS;

use super::super::diagnostics::quoted;
use super::super::file::{self, Written};
use super::super::model::{Quarantine, Scope};
use super::super::places::Spot;
use super::networks::{self, Role};
use super::ports::{Ports, check_most};
use super::{Findings, log};

/// What lasts longer is no quarantine but a policy.
const LONGEST: u64 = 366 * 86_400;

pub fn validate(
    written: &Written<file::Quarantine>,
    root: Spot<'_>,
    mail: &Ports,
    findings: &mut Findings<'_>,
) -> Quarantine {
    let mut quarantine = Quarantine::default();
    let Some(section) = findings.optional(written, root, "quarantine") else { return quarantine };
    let spot = root.key("quarantine");
    findings.unknown_keys::<file::Quarantine>(spot);
    let enabled = findings.require(&section.enabled, spot, "enabled", "enabled: true");
    quarantine.enabled = enabled.copied().unwrap_or_default();
    lengths(section, spot, &mut quarantine, findings);
    if let Some(word) = findings.optional(&section.scope, spot, "scope") {
        match Scope::named(word.as_str()) {
            Some(scope) => quarantine.scope = scope,
            None => {
                let message = format!("{} is no scope of a quarantine", quoted(word.as_str()));
                let help = "write `mail` to close the ports for mail, or `all` to close everything outside";
                findings.error("unknown-scope", spot.key("scope").span(), message, help);
            }
        }
    }
    except(section, spot, &mut quarantine, findings);
    except_ports(section, spot, mail, &mut quarantine, findings);
    quarantine
}

fn lengths(
    section: &file::Quarantine,
    spot: Spot<'_>,
    quarantine: &mut Quarantine,
    findings: &mut Findings<'_>,
) {
    let first = length(&section.length, "for", spot, findings);
    let longest = length(&section.longest, "longest", spot, findings);
    if let Some(first) = first {
        quarantine.first = first;
    }
    // Whoever writes only a `for` of two days means no shorter one.
    quarantine.longest = longest.unwrap_or(quarantine.longest.max(quarantine.first));
    if quarantine.longest < quarantine.first {
        let message = "`longest` is shorter than the first time";
        let help = "write a `longest` that is at least as long as `for` (1h where that is left out)";
        findings.error("longest-too-short", spot.key("longest").span(), message, help);
    }
}

fn length(
    written: &Written<String>,
    key: &str,
    spot: Spot<'_>,
    findings: &mut Findings<'_>,
) -> Option<Duration> {
    let text = findings.optional(written, spot, key)?;
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400), ("w", 7 * 86_400)];
    let seconds = log::in_units(text, &units).filter(|seconds| (1..=LONGEST).contains(seconds));
    if seconds.is_none() {
        let message = format!("{} is no time for a quarantine", quoted(text));
        let help = "write a whole number of minutes, hours, days or weeks up to 366 days: 30m, 1h or 2d";
        findings.error("bad-length", spot.key(key).span(), message, help);
    }
    seconds.map(Duration::from_secs)
}

fn except(
    section: &file::Quarantine,
    spot: Spot<'_>,
    quarantine: &mut Quarantine,
    findings: &mut Findings<'_>,
) {
    let Some(list) = findings.optional(&section.except, spot, "except") else { return };
    let entries = networks::nets(list, spot.key("except"), "except", Role::Destinations, findings);
    for (hosts, at) in entries.iter().filter(|(hosts, _)| networks::is_everything(hosts)) {
        let message =
            format!("{hosts} spares every destination: a quarantine would close the blocked ports only");
        let help = "list the few hosts that help to clean a machine, or set `scope: mail`";
        findings.error("except-covers-everything", *at, message, help);
    }
    quarantine.except = networks::plain(&entries);
}

fn except_ports(
    section: &file::Quarantine,
    spot: Spot<'_>,
    mail: &Ports,
    quarantine: &mut Quarantine,
    findings: &mut Findings<'_>,
) {
    let Some(list) = findings.optional(&section.except_ports, spot, "except_ports") else { return };
    check_most(list.len(), MAX_SPARED_PORTS, spot, "except_ports", findings);
    let listed = super::ports::ports(list, spot.key("except_ports"), "except_ports", findings);
    for (port, at) in &listed {
        if mail.blocked.contains(port) || mail.submission.contains(port) {
            let message = format!("port {port} is for mail, which a quarantine always closes");
            let help = "remove it; to keep one server reachable for submission, list its address in `except`";
            findings.error("mail-port-spared", *at, message, help);
        }
    }
    quarantine.except_ports = listed.into_iter().map(|(port, _)| port).collect();
}
