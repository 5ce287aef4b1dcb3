//! `networks`, and lists of networks wherever they stand.

use ipnet::IpNet;

use super::super::file::{self, Kind, Written};
use super::super::places::{Span, Spot};
use super::Findings;
use super::address_text::{self, Refusal};
use super::coverage::{Coverage, covered};
use super::hosts::{self, Hosts};
use super::include::Placed;

#[derive(Debug, Default)]
pub struct Networks {
    pub clients: Vec<IpNet>,
    pub internal: Vec<IpNet>,
    pub client_coverage: Coverage,
    pub internal_coverage: Coverage,
}

/// What a list of networks is for; decides what may stand in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Addresses packets come from.
    Sources,
    /// Addresses that packets on their way out go to.
    Destinations,
    /// Addresses that are not outbound, whatever kind they are.
    Internal,
}

/// Judges the lists of all files together.
pub fn validate(
    written: &Written<file::Networks>,
    root: Spot<'_>,
    fragments: &[Placed<'_, '_>],
    findings: &mut Findings<'_>,
) -> Networks {
    const EXAMPLE: &str = "networks: { clients: [10.25.0.0/24] }";
    let (mut clients, mut internal) = (Vec::new(), Vec::new());
    if let Some(section) = findings.require(written, root, "networks", EXAMPLE) {
        let spot = root.key("networks");
        findings.unknown_keys::<file::Networks>(spot);
        if let Some(list) = findings.require(&section.clients, spot, "clients", "clients: [10.25.0.0/24]") {
            clients.extend(usable(list, spot.key("clients"), "clients", Role::Sources, findings));
            refuse_nobody(list, spot.key("clients"), findings);
        }
        if let Some(list) = findings.optional(&section.internal, spot, "internal") {
            internal.extend(usable(list, spot.key("internal"), "internal", Role::Internal, findings));
        }
    }
    for (fragment, root) in fragments {
        let Some(section) = findings.optional(&fragment.networks, *root, "networks") else { continue };
        let spot = root.key("networks");
        findings.unknown_keys::<file::FragmentNetworks>(spot);
        if let Some(list) = findings.optional(&section.clients, spot, "clients") {
            clients.extend(usable(list, spot.key("clients"), "clients", Role::Sources, findings));
        }
        if let Some(list) = findings.optional(&section.internal, spot, "internal") {
            internal.extend(usable(list, spot.key("internal"), "internal", Role::Internal, findings));
        }
    }
    judge(&clients, &internal, findings)
}

fn refuse_nobody(clients: &[Written<String>], spot: Spot<'_>, findings: &mut Findings<'_>) {
    if clients.is_empty() {
        let message = "`clients` is empty: every host would be an unknown source";
        let help = "list your clients' networks, such as [10.25.0.0/24]";
        findings.error("empty-list", spot.span(), message, help);
    }
}

fn judge(clients: &[(Hosts, Span)], internal: &[(Hosts, Span)], findings: &mut Findings<'_>) -> Networks {
    warn_of_superfluous(clients, "clients", findings);
    warn_of_superfluous(internal, "internal", findings);
    warn_of_everything(clients, findings);
    judge_internal(internal, findings);
    let (clients, internal) = (plain(clients), plain(internal));
    Networks {
        client_coverage: Coverage::of(&clients),
        internal_coverage: Coverage::of(&internal),
        clients,
        internal,
    }
}

/// The entries of a list that can stand in it, each with its place; warns of those that others cover.
pub fn nets(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(Hosts, Span)> {
    let entries = usable(list, spot, key, role, findings);
    warn_of_superfluous(&entries, key, findings);
    entries
}

fn warn_of_superfluous(entries: &[(Hosts, Span)], key: &str, findings: &mut Findings<'_>) {
    let (flat, owners) = flat(entries.iter().map(|(hosts, _)| hosts));
    let mut open = Open::of(entries);
    for (inner, outer) in covered(&flat) {
        let (inner, outer) = (owners[inner], owners[outer]);
        if open.close(inner) {
            let (hosts, at) = &entries[inner];
            warn_of_covered((hosts, *at), &entries[outer].0, key, findings);
        }
    }
}

/// The networks of all entries, and of each which entry it belongs to.
pub fn flat<'h>(entries: impl Iterator<Item = &'h Hosts>) -> (Vec<IpNet>, Vec<usize>) {
    let nets =
        entries.enumerate().flat_map(|(index, hosts)| hosts.nets().iter().map(move |net| (*net, index)));
    nets.unzip()
}

/// How many networks of each entry are still to be covered: a range is superfluous only as a whole.
pub struct Open(Vec<usize>);

impl Open {
    pub fn of<T>(entries: &[(Hosts, T)]) -> Self {
        Self(entries.iter().map(|(hosts, _)| hosts.nets().len()).collect())
    }

    /// Notes that a network of the entry is covered; whether it was the last.
    pub fn close(&mut self, entry: usize) -> bool {
        self.0[entry] -= 1;
        self.0[entry] == 0
    }
}

/// The entries of a list that can stand in it, each with its place.
pub fn usable(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(Hosts, Span)> {
    let mut entries = Vec::with_capacity(list.len());
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(hosts) = parse(written, spot, key, hosts::read, findings) else {
            continue;
        };
        if let Hosts::Range(_) = &hosts
            && !findings.count_range(hosts.nets().len(), spot.span())
        {
            continue;
        }
        let unusable: Option<Vec<&str>> = hosts.nets().iter().map(address_text::unusable).collect();
        if role != Role::Internal
            && let Some(why) = unusable.and_then(|reasons| reasons.first().copied())
        {
            let (host, help) = match role {
                Role::Sources => ("no client can send from", "remove it"),
                _ => ("no connection can go to", "remove it"),
            };
            let message = format!("{host} {hosts}: it is {why}");
            findings.error("unusable-address", spot.span(), message, help);
            continue;
        }
        entries.push((hosts, spot.span()));
    }
    entries
}

/// The networks alone.
pub fn plain(entries: &[(Hosts, Span)]) -> Vec<IpNet> {
    entries.iter().flat_map(|(hosts, _)| hosts.nets()).copied().collect()
}

/// A list entry read by `read`. A number gets the same advice as text: `10.25` is a number to YAML, but an address to
/// its writer.
pub fn parse<T>(
    written: &Written<String>,
    spot: Spot<'_>,
    key: &str,
    read: impl Fn(&str) -> Result<T, Refusal>,
    findings: &mut Findings<'_>,
) -> Option<T> {
    let text = match written {
        Written::Other(Kind::Number) => findings.places.source(spot.span()),
        _ => findings.entry(written, spot, key)?,
    };
    match read(text) {
        Ok(value) => Some(value),
        Err(refusal) => {
            findings.error(refusal.code, spot.span(), refusal.message, refusal.help);
            None
        }
    }
}

pub fn warn_of_covered((inner, at): (&Hosts, Span), outer: &Hosts, key: &str, findings: &mut Findings<'_>) {
    let message = if inner == outer {
        format!("{inner} stands twice in `{key}`")
    } else {
        format!("{inner} is already covered by {outer} in `{key}`")
    };
    findings.warn("unreachable-entry", at, message, "remove it, it changes nothing");
}

fn warn_of_everything(clients: &[(Hosts, Span)], findings: &mut Findings<'_>) {
    for (hosts, at) in clients.iter().filter(|(hosts, _)| is_everything(hosts)) {
        let message = format!("{hosts} makes every address a client: no source is unknown");
        let help = "list your own networks, such as 10.25.0.0/24";
        findings.warn("clients-covers-everything", *at, message, help);
    }
}

pub fn is_everything(hosts: &Hosts) -> bool {
    matches!(hosts, Hosts::Net(net) if net.prefix_len() == 0)
}

fn judge_internal(internal: &[(Hosts, Span)], findings: &mut Findings<'_>) {
    let mut private: Vec<IpNet> = PRIVATE.iter().filter_map(|net| net.parse().ok()).collect();
    private.sort_unstable();
    let private = Coverage::of(&private);
    for (hosts, at) in internal {
        if is_everything(hosts) {
            let message = format!("{hosts} makes every destination internal: nothing would ever be blocked");
            let help = "list your own networks, such as 10.0.0.0/8";
            findings.error("internal-covers-everything", *at, message, help);
        } else if !private.contains_all(hosts.nets()) {
            let message = format!("{hosts} has public addresses: nothing sent there is ever blocked");
            let help = "keep it only if these hosts are yours and can't pass mail on to the outside";
            findings.warn("public-address-inside", *at, message, help);
        }
    }
}

/// Address space that isn't routed on the Internet.
const PRIVATE: [&str; 13] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
    "::1/128",
];
