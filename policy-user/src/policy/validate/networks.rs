//! `networks`, and lists of networks wherever they stand.

use ipnet::IpNet;

use super::super::file::{self, Kind, Written};
use super::super::places::{Span, Spot};
use super::Findings;
use super::address_text::{self, Refusal};
use super::coverage::{Coverage, covered};

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

pub fn validate(written: &Written<file::Networks>, root: Spot<'_>, findings: &mut Findings<'_>) -> Networks {
    const EXAMPLE: &str = "networks: { clients: [10.25.0.0/24] }";
    let Some(section) = findings.require(written, root, "networks", EXAMPLE) else {
        return Networks::default();
    };
    let spot = root.key("networks");
    findings.unknown_keys::<file::Networks>(spot);
    let clients = findings.require(&section.clients, spot, "clients", "clients: [10.25.0.0/24]");
    let clients = clients.map(|list| nets(list, spot.key("clients"), "clients", Role::Sources, findings));
    if matches!(&section.clients, Written::As(list) if list.is_empty()) {
        let message = "`clients` is empty: every host would be an unknown source";
        findings.error(
            "empty-list",
            spot.key("clients").span(),
            message,
            "list your clients' networks, such as [10.25.0.0/24]",
        );
    }
    let internal = findings.optional(&section.internal, spot, "internal");
    let internal =
        internal.map(|list| nets(list, spot.key("internal"), "internal", Role::Internal, findings));
    let (clients, internal) = (clients.unwrap_or_default(), internal.unwrap_or_default());
    warn_of_everything(&clients, findings);
    judge_internal(&internal, findings);
    let plain = |nets: Vec<(IpNet, Span)>| nets.into_iter().map(|(net, _)| net).collect::<Vec<IpNet>>();
    let (clients, internal) = (plain(clients), plain(internal));
    Networks {
        client_coverage: Coverage::of(&clients),
        internal_coverage: Coverage::of(&internal),
        clients,
        internal,
    }
}

/// The networks of a list that can stand in it, each with its place; warns of those that others cover.
pub fn nets(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(IpNet, Span)> {
    let nets = usable(list, spot, key, role, findings);
    let plain: Vec<IpNet> = nets.iter().map(|(net, _)| *net).collect();
    for (inner, outer) in covered(&plain) {
        warn_of_covered(nets[inner], &plain[outer], key, findings);
    }
    nets
}

/// The networks of a list that can stand in it, each with its place.
pub fn usable(
    list: &[Written<String>],
    spot: Spot<'_>,
    key: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(IpNet, Span)> {
    let mut nets = Vec::with_capacity(list.len());
    for (index, written) in list.iter().enumerate() {
        let spot = spot.at(index);
        let Some(net) = parse(written, spot, key, address_text::network, findings) else {
            continue;
        };
        if role != Role::Internal
            && let Some(why) = address_text::unusable(&net)
        {
            let (host, help) = match role {
                Role::Sources => ("no client can send from", "remove it"),
                _ => ("no connection can go to", "remove it"),
            };
            let message = format!("{host} {}: it is {why}", shown(&net));
            findings.error("unusable-address", spot.span(), message, help);
            continue;
        }
        nets.push((net, spot.span()));
    }
    nets
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

/// A network of one is written as people write it: without a prefix.
pub fn shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

pub fn warn_of_covered((inner, at): (IpNet, Span), outer: &IpNet, key: &str, findings: &mut Findings<'_>) {
    let message = if inner == *outer {
        format!("{} stands twice in `{key}`", shown(&inner))
    } else {
        format!("{} is already covered by {} in `{key}`", shown(&inner), shown(outer))
    };
    findings.warn("unreachable-entry", at, message, "remove it, it changes nothing");
}

fn warn_of_everything(clients: &[(IpNet, Span)], findings: &mut Findings<'_>) {
    for (net, at) in clients.iter().filter(|(net, _)| net.prefix_len() == 0) {
        let message = format!("{net} makes every address a client: no source is unknown");
        findings.warn(
            "clients-covers-everything",
            *at,
            message,
            "list your own networks, such as 10.25.0.0/24",
        );
    }
}

fn judge_internal(internal: &[(IpNet, Span)], findings: &mut Findings<'_>) {
    let mut private: Vec<IpNet> = PRIVATE.iter().filter_map(|net| net.parse().ok()).collect();
    private.sort_unstable();
    let private = Coverage::of(&private);
    for (net, at) in internal {
        if net.prefix_len() == 0 {
            let message = format!("{net} makes every destination internal: nothing would ever be blocked");
            findings.error(
                "internal-covers-everything",
                *at,
                message,
                "list your own networks, such as 10.0.0.0/8",
            );
        } else if !private.contains(net) {
            let message = format!("{} has public addresses: nothing sent there is ever blocked", shown(net));
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
