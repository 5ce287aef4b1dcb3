//! `ports`: which are blocked, and on which staff submit mail.

use policy_common::abi::{MAX_BLOCKED_PORTS, MAX_SUBMISSION_PORTS};

use super::super::file::{self, Written};
use super::super::places::{Span, Spot};
use super::Findings;

/// Of either list; more is a mistake, and the search for duplicates is quadratic.
const MAX_LISTED: usize = 64;

#[derive(Debug)]
pub struct Ports {
    pub blocked: Vec<u16>,
    pub submission: Vec<u16>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { blocked: vec![25], submission: vec![587, 465] }
    }
}

pub fn validate(written: &Written<file::Ports>, root: Spot<'_>, findings: &mut Findings<'_>) -> Ports {
    let Some(section) = findings.optional(written, root, "ports") else {
        return Ports::default();
    };
    let spot = root.key("ports");
    findings.unknown_keys::<file::Ports>(spot);
    let blocked = findings.optional(&section.blocked, spot, "blocked");
    let blocked = blocked.map(|list| ports(list, spot.key("blocked"), "blocked", findings));
    check_number(section, spot, findings);
    if let Written::As(list) = &section.submission {
        check_most(list.len(), MAX_SUBMISSION_PORTS, spot, "submission", findings);
    }
    let submission = findings.optional(&section.submission, spot, "submission");
    let submission = submission.map(|list| ports(list, spot.key("submission"), "submission", findings));
    let defaults = Ports::default();
    let plain = |ports: &Vec<(u16, Span)>| ports.iter().map(|(port, _)| *port).collect();
    let ports = Ports {
        blocked: blocked.as_ref().map_or(defaults.blocked, plain),
        submission: submission.as_ref().map_or(defaults.submission, plain),
    };
    check_apart(&ports, blocked.as_deref(), submission.as_deref(), findings);
    ports
}

/// The ports of a list, each with its place.
pub fn ports(
    list: &[Written<u64>],
    spot: Spot<'_>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Vec<(u16, Span)> {
    if list.len() > MAX_LISTED {
        let message = format!("`{key}` has more than {MAX_LISTED} ports");
        findings.error("too-many-ports", spot.span(), message, "list fewer ports");
        return Vec::new();
    }
    let mut ports: Vec<(u16, Span)> = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(number) = findings.entry(written, spot, key) else { continue };
        let at = spot.span();
        let Some(port) = u16::try_from(*number).ok().filter(|port| *port != 0) else {
            let message = format!("{number} is not a TCP port");
            findings.error("bad-port", at, message, "write a number from 1 to 65535");
            continue;
        };
        match ports.iter().find(|(other, _)| *other == port) {
            None => ports.push((port, at)),
            Some((_, first)) => {
                let message = format!("port {port} is listed twice");
                let first = (*first, "first listed here");
                findings.conflict("duplicate-port", at, message, "remove one of the two", first);
            }
        }
    }
    ports
}

fn check_number(section: &file::Ports, spot: Spot<'_>, findings: &mut Findings<'_>) {
    let Written::As(blocked) = &section.blocked else {
        return;
    };
    let at = spot.key("blocked").span();
    if blocked.is_empty() {
        findings.error(
            "empty-list",
            at,
            "`blocked` is empty: nothing would be blocked",
            "write [25], or leave `blocked` out",
        );
    } else {
        check_most(blocked.len(), MAX_BLOCKED_PORTS, spot, "blocked", findings);
    }
}

/// The kernel has room for so many; lists far too long are reported by `ports`.
pub fn check_most(listed: usize, most: usize, section: Spot<'_>, key: &str, findings: &mut Findings<'_>) {
    if (most + 1..=MAX_LISTED).contains(&listed) {
        let message = format!("`{key}` has {listed} ports, at most {most} are possible");
        findings.error("too-many-ports", section.key(key).span(), message, "list fewer ports");
    }
}

fn check_apart(
    ports: &Ports,
    blocked: Option<&[(u16, Span)]>,
    submission: Option<&[(u16, Span)]>,
    findings: &mut Findings<'_>,
) {
    let (written, other, role) = match (submission, blocked) {
        (Some(written), _) => (written, &ports.blocked, "blocked"),
        (None, Some(written)) => (written, &ports.submission, "submission"),
        (None, None) => return,
    };
    for (port, at) in written.iter().filter(|(port, _)| other.contains(port)) {
        let message =
            format!("port {port} can't be both blocked and a submission port, it is also in `{role}`");
        let help =
            "staff submit mail on the submission ports, so they must stay open; remove it from one list";
        findings.error("port-on-both-lists", *at, message, help);
    }
}
