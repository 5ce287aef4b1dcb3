//! What policies say once: ports, interfaces, the gateway's own mail, the log.

use super::super::model::{InterfaceGlob, Policy, Quarantine};
use super::super::receivers::Receiver;
use super::treatment::{entry_of, globs};
use super::{Change, Kind, Sign};

pub fn differences(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = ports(&old.blocked_ports, &new.blocked_ports);
    changes.extend(gateway_mail(old, new));
    changes.extend(inside(old, new));
    changes.extend(outside(&old.outside, &new.outside));
    let sorted = |ports: &[u16]| {
        let mut ports = ports.to_vec();
        ports.sort_unstable();
        ports.dedup();
        ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
    };
    let (before, after) = (sorted(&old.submission_ports), sorted(&new.submission_ports));
    if before != after {
        changes.push(Change::new(Sign::Change, Kind::Submission).was(before).now(after));
    }
    if old.log_file != new.log_file {
        let shown = |policy: &Policy| {
            let file = policy.log_file.as_ref().map(|file| file.display().to_string());
            file.unwrap_or_else(|| "standard output".to_owned())
        };
        changes.push(Change::new(Sign::Change, Kind::LogFile).was(shown(old)).now(shown(new)));
    }
    if old.log_targets != new.log_targets {
        let shown = |policy: &Policy| {
            let targets: Vec<_> = policy.log_targets.iter().map(ToString::to_string).collect();
            if targets.is_empty() { "nothing".to_owned() } else { targets.join(", ") }
        };
        changes.push(Change::new(Sign::Change, Kind::LogTargets).was(shown(old)).now(shown(new)));
    }
    if old.metrics != new.metrics {
        let shown =
            |policy: &Policy| policy.metrics.map_or("no port".to_owned(), |address| address.to_string());
        changes.push(Change::new(Sign::Change, Kind::Metrics).was(shown(old)).now(shown(new)));
    }
    changes.extend(detection(old, new));
    changes.extend(quarantine(&old.quarantine, &new.quarantine));
    changes.extend(receivers(old, new));
    changes
}

/// Each receiver by its name; how it is told stands in the file.
fn receivers(old: &Policy, new: &Policy) -> Option<Change> {
    let shown = |policy: &Policy| {
        let one = |it: &Receiver| format!("{} ({} to {})", it.name, it.way.label(), it.way);
        let all: Vec<_> = policy.receivers.iter().map(one).collect();
        if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
    };
    let differs = old.receivers != new.receivers;
    let after = |shown: String, before: &str| {
        if shown == before { format!("{shown}, told otherwise") } else { shown }
    };
    differs.then(|| {
        let before = shown(old);
        let after = after(shown(new), &before);
        Change::new(Sign::Change, Kind::Notify).was(before).now(after)
    })
}

/// A note that it differs is enough: the numbers stand in the file.
fn detection(old: &Policy, new: &Policy) -> Option<Change> {
    let own = |policy: &Policy| {
        let groups = policy.groups.iter().filter(|group| group.detection.is_some());
        groups.map(|group| (group.clients.clone(), group.detection)).collect::<Vec<_>>()
    };
    let differs = old.detection != new.detection || own(old) != own(new);
    differs.then(|| Change::new(Sign::Change, Kind::Detection).was("as before").now("by other numbers"))
}

fn quarantine(old: &Quarantine, new: &Quarantine) -> Option<Change> {
    (old != new)
        .then(|| Change::new(Sign::Change, Kind::Quarantine).was(old.to_string()).now(new.to_string()))
}

fn ports(old: &[u16], new: &[u16]) -> Vec<Change> {
    let only = |here: &[u16], there: &[u16]| -> Vec<u16> {
        here.iter().filter(|port| !there.contains(port)).copied().collect()
    };
    let told =
        |sign, port: u16, after| Change::new(sign, Kind::Port).to(vec![format!("port {port}")]).now(after);
    let opened = only(old, new).into_iter();
    let opened = opened.map(|port| told(Sign::Gain, port, "no longer blocked, so open to everybody"));
    let closed = only(new, old).into_iter();
    let closed = closed.map(|port| told(Sign::Loss, port, "blocked: only for designated senders"));
    opened.chain(closed).collect()
}

/// Only a guard obeys it.
fn gateway_mail(old: &Policy, new: &Policy) -> Option<Change> {
    let allowed = |policy: &Policy| policy.gateway_mail || policy.outside.is_empty();
    let label = |policy: &Policy| match (policy.gateway_mail, policy.outside.is_empty()) {
        (_, true) => "not guarded",
        (true, false) => "allow",
        (false, false) => "deny",
    };
    let sign = match (allowed(old), allowed(new)) {
        (false, true) => Sign::Gain,
        (true, false) => Sign::Loss,
        _ => return None,
    };
    Some(Change::new(sign, Kind::GatewayMail).was(label(old)).now(label(new)))
}

fn inside(old: &Policy, new: &Policy) -> Vec<Change> {
    let told = |glob: &str, before, after| Change {
        interface: Some(glob.to_owned()),
        ..Change::new(Sign::Change, Kind::Inside).was(before).now(after)
    };
    let change = |glob: &&str| match (entry_of(old, glob), entry_of(new, glob)) {
        (Some(_), None) => Some(told(glob, "inside", "not inside: all its mail is denied on the way out")),
        (None, Some(_)) => Some(told(glob, "not inside", "inside")),
        (Some(before), Some(after)) => {
            let (before, after) = (old.inside[before].datapath, new.inside[after].datapath);
            (before != after).then(|| told(glob, before.label(), after.label()))
        }
        (None, None) => None,
    };
    globs(old, new).iter().filter_map(change).collect()
}

fn outside(old: &[InterfaceGlob], new: &[InterfaceGlob]) -> Vec<Change> {
    let covered = |list: &[InterfaceGlob], glob: &InterfaceGlob| list.iter().any(|it| it.matches(&glob.0));
    let only = |here: &[InterfaceGlob], there: &[InterfaceGlob], before: &str, after: &str| -> Vec<Change> {
        let only = here.iter().filter(|glob| !covered(there, glob));
        let told = |glob: &InterfaceGlob| Change {
            interface: Some(glob.0.clone()),
            ..Change::new(Sign::Change, Kind::Outside).was(before).now(after)
        };
        only.map(told).collect()
    };
    let mut changes = only(old, new, "guarded", "not guarded");
    changes.extend(only(new, old, "not guarded", "guarded"));
    changes
}
