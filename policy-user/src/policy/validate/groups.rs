//! `groups`: client networks that are treated in a way of their own.

use ipnet::IpNet;

use super::super::file::{self, Written};
use super::super::model::Group;
use super::super::places::{Span, Spot};
use super::coverage::enclosed;
use super::networks::{self, Networks, Role, shown};
use super::texts::{self, Names};
use super::{Findings, treatment};

/// Each has an entry in the kernel's table of settings, and people have to tell them apart.
const MAX_GROUPS: usize = 256;

/// A network of a group.
struct Member {
    net: IpNet,
    at: Span,
    /// Index of its group in the file.
    group: usize,
}

pub fn validate(
    written: &Written<Vec<Written<file::Group>>>,
    root: Spot<'_>,
    networks: &Networks,
    findings: &mut Findings<'_>,
) -> Vec<Group> {
    let list = findings.optional(written, root, "groups").map_or(&[][..], Vec::as_slice);
    let spot = root.key("groups");
    if list.len() > MAX_GROUPS {
        let message = format!("`groups` has {} entries, at most {MAX_GROUPS} are possible", list.len());
        let help = "put networks that are treated alike into one group";
        findings.error("too-many-groups", spot.span(), message, help);
        return Vec::new();
    }
    let mut names = Names::of("group");
    let mut members = Vec::new();
    let mut groups = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(entry) = findings.entry(written, spot, "groups") else {
            continue;
        };
        let clients = clients(entry, spot, networks, findings);
        groups.extend(group(entry, spot, &clients, &mut names, findings));
        members.extend(clients.into_iter().map(|(net, at)| Member { net, at, group: index }));
    }
    judge_overlaps(&members, findings);
    groups
}

fn group<'f>(
    entry: &'f file::Group,
    spot: Spot<'_>,
    clients: &[(IpNet, Span)],
    names: &mut Names<'f>,
    findings: &mut Findings<'_>,
) -> Option<Group> {
    findings.unknown_keys::<file::Group>(spot);
    let name = findings.require(&entry.name, spot, "name", "name: guests");
    if let Some(name) = name {
        names.add(name, spot.key("name"), findings);
    }
    let name = name.and_then(|name| texts::name(name, spot.key("name"), findings));
    let treatment = treatment::validate(&entry.mode, &entry.on_block, spot, findings);
    if matches!((&entry.mode, &entry.on_block), (Written::Absent, Written::Absent)) {
        let message = "this group has neither `mode` nor `on_block`: it would change nothing";
        let help = "write `mode: audit` or `on_block: reject`, or remove the entry";
        findings.error("group-without-treatment", spot.key("name").span(), message, help);
    }
    if matches!(entry.detection, Written::As(_)) {
        let at = spot.key("detection").span();
        findings.error("not-yet-supported", at, "`detection` is not yet supported", "remove it");
    }
    let line = findings.places.line(spot.span());
    let clients = clients.iter().map(|(net, _)| *net).collect();
    Some(Group { name: name?, clients, treatment, line })
}

fn clients(
    entry: &file::Group,
    spot: Spot<'_>,
    networks: &Networks,
    findings: &mut Findings<'_>,
) -> Vec<(IpNet, Span)> {
    let Some(list) = findings.require(&entry.clients, spot, "clients", "clients: [10.25.9.0/24]") else {
        return Vec::new();
    };
    let spot = spot.key("clients");
    if list.is_empty() {
        let message = "`clients` is empty: the group would be nobody";
        let help = "write `clients: [10.25.9.0/24]`, or remove the entry";
        findings.error("empty-list", spot.span(), message, help);
    }
    let nets = networks::usable(list, spot, "clients", Role::Sources, findings);
    for (net, at) in &nets {
        if !networks.clients.is_empty() && !networks.client_coverage.contains(net) {
            let message = format!(
                "{} is not covered by the clients' networks: hosts in none of them stay unknown sources",
                shown(net)
            );
            let help = "a group makes nobody a client; correct it, or add it to `networks.clients` too";
            findings.warn("group-outside-clients", *at, message, help);
        }
    }
    nets
}

/// The narrowest network around a client says which group it is in. So the same network can't be in two groups, and one
/// says nothing if the next wider one is of the same group; with another group's between them, it does.
fn judge_overlaps(members: &[Member], findings: &mut Findings<'_>) {
    let nets: Vec<IpNet> = members.iter().map(|member| member.net).collect();
    for (inner, outer) in enclosed(&nets) {
        let (inner, outer) = (&members[inner], &members[outer]);
        if inner.group == outer.group {
            networks::warn_of_covered((inner.net, inner.at), &outer.net, "clients", findings);
        } else if inner.net == outer.net {
            let message = format!("{} is in two groups", shown(&inner.net));
            let help = "a client is in one group; remove the network from one of them";
            findings.conflict(
                "network-in-two-groups",
                inner.at,
                message,
                help,
                (outer.at, "first written here"),
            );
        }
    }
}
