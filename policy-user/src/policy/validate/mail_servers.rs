//! `mail_servers`: who may send, from which machine, to where.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::diagnostics::quoted;
use super::super::file::{self, OneOrMany, Written};
use super::super::model::MailServer;
use super::super::places::{Span, Spot};
use super::interfaces::{self, Interfaces};
use super::networks::{self, Networks, Role};
use super::texts::{self, Names};
use super::{Findings, address_text, hosts};

/// What the entries are judged against.
pub struct Context<'a> {
    pub interfaces: &'a Interfaces,
    pub networks: &'a Networks,
}

/// The entries, and for each address where it is first written.
#[derive(Default)]
pub struct MailServers {
    pub entries: Vec<MailServer>,
    pub addresses: HashMap<IpAddr, Span>,
}

/// Adds what one file lists.
pub fn validate<'f>(
    written: &'f Written<Vec<Written<file::MailServer>>>,
    root: Spot<'_>,
    context: &Context<'_>,
    names: &mut Names<'f>,
    servers: &mut MailServers,
    findings: &mut Findings<'_>,
) {
    let list = findings.optional(written, root, "mail_servers").map_or(&[][..], Vec::as_slice);
    for (index, written) in list.iter().enumerate() {
        let spot = root.key("mail_servers").at(index);
        let Some(entry) = findings.entry(written, spot, "mail_servers") else {
            continue;
        };
        if let Some(server) = mail_server(entry, spot, context, names, &mut servers.addresses, findings) {
            servers.entries.push(server);
        }
    }
}

fn mail_server<'f>(
    entry: &'f file::MailServer,
    spot: Spot<'_>,
    context: &Context<'_>,
    names: &mut Names<'f>,
    taken: &mut HashMap<IpAddr, Span>,
    findings: &mut Findings<'_>,
) -> Option<MailServer> {
    findings.unknown_keys::<file::MailServer>(spot);
    let name = findings.require(&entry.name, spot, "name", "name: mx1");
    if let Some(name) = name {
        names.add(name, spot.key("name"), findings);
    }
    let name = name.and_then(|name| texts::name(name, spot.key("name"), findings));
    let addresses = findings.require(&entry.address, spot, "address", "address: 10.25.0.25");
    let addresses =
        addresses.map(|written| addresses_of(written, spot.key("address"), findings)).unwrap_or_default();
    for (address, at) in &addresses {
        judge_address(*address, *at, context, taken, findings);
    }
    let mac = findings.optional(&entry.mac, spot, "mac");
    let mac = mac.and_then(|text| mac_address(text, spot.key("mac"), findings));
    if matches!(entry.mac, Written::Absent) {
        let message =
            format!("mail server {} has no `mac`", quoted(name.as_deref().unwrap_or("without a name")));
        let help = "add `mac:`, so that no other host can send in its place by taking its address";
        findings.warn("mail-server-without-mac", spot.key("name").span(), message, help);
    }
    let interface = findings.optional(&entry.interface, spot, "interface");
    let interface = interface.and_then(|text| interface_name(text, spot.key("interface"), context, findings));
    let to = findings.optional(&entry.to, spot, "to");
    let to = to.and_then(|written| destinations(written, spot.key("to"), findings));
    let (file, line) = findings.places.line(spot.span());
    let addresses = addresses.into_iter().map(|(address, _)| address).collect();
    Some(MailServer { name: name?, addresses, mac, interface, to, file, line })
}

fn addresses_of(written: &OneOrMany, spot: Spot<'_>, findings: &mut Findings<'_>) -> Vec<(IpAddr, Span)> {
    let list = match written {
        OneOrMany::Many(list) => list,
        OneOrMany::One(text) => {
            let one = Written::As(text.clone());
            let address = networks::parse(&one, spot, "address", address_text::address, findings);
            return address.map(|address| (address, spot.span())).into_iter().collect();
        }
    };
    if list.is_empty() {
        let message = "`address` is empty: the mail server would be nobody";
        findings.error("empty-list", spot.span(), message, "write its address, such as 10.25.0.25");
    }
    let entry = |(index, written)| {
        let spot = spot.at(index);
        let address = networks::parse(written, spot, "address", address_text::address, findings)?;
        Some((address, spot.span()))
    };
    list.iter().enumerate().filter_map(entry).collect()
}

fn judge_address(
    address: IpAddr,
    at: Span,
    context: &Context<'_>,
    taken: &mut HashMap<IpAddr, Span>,
    findings: &mut Findings<'_>,
) {
    let net = IpNet::from(address);
    if let Some(why) = address_text::unusable(&net) {
        let message = format!("no mail server can send from {address}: it is {why}");
        findings.error("unusable-address", at, message, "write the mail server's own address");
        return;
    }
    if let Some(first) = taken.insert(address, at) {
        let message = format!("{address} is an address of two entries");
        let help = "an address belongs to one mail server; remove it from one of them";
        findings.conflict("duplicate-address", at, message, help, (first, "first written here"));
    } else if !context.networks.clients.is_empty() && !context.networks.client_coverage.contains(&net) {
        let message = format!("{address} is in none of the clients' networks");
        let help = "check the address; if it is right, add its network to `networks.clients`";
        findings.warn("mail-server-outside-clients", at, message, help);
    }
}

fn mac_address(text: &str, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<[u8; 6]> {
    let at = spot.span();
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let bytes = (digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| u64::from_str_radix(&digits, 16).ok())
        .flatten();
    let Some(bytes) = bytes else {
        let help = "write six pairs of hexadecimal digits, such as \"02:00:00:00:00:25\"";
        findings.error("bad-mac", at, format!("{} is not a MAC address", quoted(text)), help);
        return None;
    };
    let [_, _, mac @ ..] = bytes.to_be_bytes();
    let usual = mac.map(|byte| format!("{byte:02x}")).join(":");
    if mac == [0; 6] || mac[0] & 1 != 0 {
        let what = if mac == [0; 6] { "no address at all" } else { "a group address, no host sends from it" };
        let help = "write the mail server's own MAC address; see `ip neighbour`";
        findings.error("bad-mac", at, format!("{usual} is {what}"), help);
        return None;
    }
    if !text.eq_ignore_ascii_case(&usual) {
        findings.error(
            "bad-mac",
            at,
            format!("{} is not written with colons", quoted(text)),
            format!("write \"{usual}\""),
        );
        return None;
    }
    Some(mac)
}

fn interface_name(
    text: &str,
    spot: Spot<'_>,
    context: &Context<'_>,
    findings: &mut Findings<'_>,
) -> Option<String> {
    let at = spot.span();
    if let Some((message, help)) = interfaces::refusal(text) {
        findings.error("bad-interface", at, message, help);
    } else if text.contains(['*', '?']) {
        let message = format!("{} is a pattern, one interface is expected", quoted(text));
        findings.error(
            "bad-interface",
            at,
            message,
            "write the name of the interface it is behind, such as lan0",
        );
    } else if !context.interfaces.inside.is_empty()
        && !context.interfaces.inside.iter().any(|entry| entry.glob.matches(text))
    {
        let message = format!(
            "{} is not an inside interface: nothing the mail server sends comes through it",
            quoted(text)
        );
        findings.error(
            "interface-not-inside",
            at,
            message,
            "write one of `interfaces.inside`, or add it there",
        );
    } else {
        return Some(text.to_owned());
    }
    None
}

/// `None` for anywhere, and after an error.
fn destinations(written: &OneOrMany, spot: Spot<'_>, findings: &mut Findings<'_>) -> Option<Vec<IpNet>> {
    match written {
        OneOrMany::One(text) if text == "any" => None,
        OneOrMany::One(text) => {
            let help = match hosts::read(text) {
                Ok(_) => format!("write a list: [{text}]"),
                Err(_) => "write `any`, or a list of networks such as [203.0.113.0/24]".to_owned(),
            };
            findings.error(
                "bad-destination",
                spot.span(),
                format!("{} is not a list of networks", quoted(text)),
                help,
            );
            None
        }
        OneOrMany::Many(list) => {
            if list.is_empty() {
                let message = "`to` is empty: the mail server could send nowhere";
                findings.error(
                    "empty-list",
                    spot.span(),
                    message,
                    "write `any`, or the networks it may send to",
                );
            }
            let nets = networks::nets(list, spot, "to", Role::Destinations, findings);
            Some(networks::plain(&nets))
        }
    }
}
