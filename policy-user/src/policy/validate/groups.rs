//! `groups`: client networks that are treated in a way of their own.

use std::collections::BTreeSet;

use super::super::file::{self, Written};
use super::super::model::Group;
use super::super::places::{Span, Spot};
use super::coverage::enclosed;
use super::hosts::{Hosts, shown};
use super::networks::{self, Networks, Open, Role};
use super::texts::{self, Names};
use super::{Findings, detection, treatment};

/// Each has an entry in the kernel's table of settings, and people have to tell them apart.
const MAX_GROUPS: usize = 256;

/// An entry's place and the index of its group in the file.
type Home = (Span, usize);

/// Judges the lists of all files together: a client is in one group, wherever that is written.
pub fn validate<'f>(
    written: impl Iterator<Item = (&'f Written<Vec<Written<file::Group>>>, Spot<'f>)>,
    networks: &Networks,
    findings: &mut Findings<'_>,
) -> Vec<Group> {
    let mut names = Names::of("group");
    let (mut members, mut groups) = (Vec::new(), Vec::new());
    let mut count = 0;
    for (written, root) in written {
        let list = findings.optional(written, root, "groups").map_or(&[][..], Vec::as_slice);
        let spot = root.key("groups");
        if count + list.len() > MAX_GROUPS {
            let message =
                format!("there are {} groups, at most {MAX_GROUPS} are possible", count + list.len());
            let help = "put networks that are treated alike into one group";
            findings.error("too-many-groups", spot.span(), message, help);
            return Vec::new();
        }
        for (index, written) in list.iter().enumerate() {
            let spot = spot.at(index);
            let Some(entry) = findings.entry(written, spot, "groups") else {
                continue;
            };
            let clients = clients(entry, spot, networks, findings);
            groups.extend(group(entry, spot, &clients, &mut names, findings));
            members.extend(clients.into_iter().map(|(hosts, at)| (hosts, (at, count + index))));
        }
        count += list.len();
    }
    judge_overlaps(&members, findings);
    groups
}

fn group<'f>(
    entry: &'f file::Group,
    spot: Spot<'_>,
    clients: &[(Hosts, Span)],
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
    let detection = detection::group(&entry.detection, spot, findings);
    let says = (&entry.mode, &entry.on_block, &entry.detection);
    if matches!(says, (Written::Absent, Written::Absent, Written::Absent)) {
        let message = "this group has none of `mode`, `on_block` and `detection`: it would change nothing";
        let help = "write `mode: audit` or `on_block: reject`, or remove the entry";
        findings.error("group-without-treatment", spot.key("name").span(), message, help);
    }
    let (file, line) = findings.places.line(spot.span());
    Some(Group { name: name?, clients: networks::plain(clients), treatment, detection, file, line })
}

fn clients(
    entry: &file::Group,
    spot: Spot<'_>,
    networks: &Networks,
    findings: &mut Findings<'_>,
) -> Vec<(Hosts, Span)> {
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
    for (hosts, at) in &nets {
        if !networks.clients.is_empty() && !networks.client_coverage.contains_all(hosts.nets()) {
            let message = format!(
                "{hosts} is not covered by the clients' networks: hosts in none of them stay unknown sources"
            );
            let help = "a group makes nobody a client; correct it, or add it to `networks.clients` too";
            findings.warn("group-outside-clients", *at, message, help);
        }
    }
    nets
}

/// The narrowest network around a client says which group it is in. So the same network can't be in two groups, and one
/// says nothing if the next wider one is of the same group; with another group's between them, it does.
fn judge_overlaps(members: &[(Hosts, Home)], findings: &mut Findings<'_>) {
    let (nets, owners) = networks::flat(members.iter().map(|(hosts, _)| hosts));
    let mut open = Open::of(members);
    let mut crossing = BTreeSet::new();
    for (inner, outer) in enclosed(&nets) {
        let (index, net) = (owners[inner], nets[inner]);
        let (hosts, (at, group)) = &members[index];
        let (around, (around_at, around_group)) = &members[owners[outer]];
        let first = (*around_at, "first written here");
        if group == around_group {
            if open.close(index) {
                networks::warn_of_covered((hosts, *at), around, "clients", findings);
            }
        } else if net == nets[outer] {
            let message = format!("{} is in two groups", shown(&net));
            let help = "a client is in one group; remove the network from one of them";
            findings.conflict("network-in-two-groups", *at, message, help, first);
        } else if !around.contains(hosts) && crossing.insert((*at, *around_at)) {
            // Which network of two ranges is the narrower in their overlap is an accident of their ends.
            let message = format!("{hosts} and {around}, of another group, overlap in part");
            let help =
                "let the ranges lie apart, or one within the other, whose clients then are in the inner one";
            findings.conflict("groups-overlap", *at, message, help, first);
        }
    }
}
