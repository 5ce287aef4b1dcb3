//! `exceptions`: permits with an end, a reason and somebody who answers for them.

use ipnet::IpNet;

use super::super::file::{self, Written};
use super::super::model::Exception;
use super::super::places::{Span, Spot};
use super::hosts::Hosts;
use super::mail_servers::MailServers;
use super::networks::{self, Networks, Role};
use super::texts::{self, Names};
use super::{Findings, Moment, expiry};

/// A source wider than this is a department, not a device.
const WIDE_V4: u8 = 24;
const WIDE_V6: u8 = 64;

/// What the entries are judged against.
pub struct Context<'a> {
    pub servers: &'a MailServers,
    pub networks: &'a Networks,
    pub moment: &'a Moment,
}

/// What one file lists.
pub fn validate<'f>(
    written: &'f Written<Vec<Written<file::Exception>>>,
    root: Spot<'_>,
    context: &Context<'_>,
    names: &mut Names<'f>,
    findings: &mut Findings<'_>,
) -> Vec<Exception> {
    let list = findings.optional(written, root, "exceptions").map_or(&[][..], Vec::as_slice);
    let entry = |(index, written)| {
        let spot = root.key("exceptions").at(index);
        let entry = findings.entry(written, spot, "exceptions")?;
        exception(entry, spot, context, names, findings)
    };
    list.iter().enumerate().filter_map(entry).collect()
}

fn exception<'f>(
    entry: &'f file::Exception,
    spot: Spot<'_>,
    context: &Context<'_>,
    names: &mut Names<'f>,
    findings: &mut Findings<'_>,
) -> Option<Exception> {
    findings.unknown_keys::<file::Exception>(spot);
    let name = findings.require(&entry.name, spot, "name", "name: scanner-3rd-floor");
    if let Some(name) = name {
        names.add(name, spot.key("name"), findings);
    }
    let name = name.and_then(|name| texts::name(name, spot.key("name"), findings));
    let from = nets(&entry.from, spot, "from", "from: [10.25.0.77]", Role::Sources, findings);
    let to = nets(&entry.to, spot, "to", "to: [203.0.113.25]", Role::Destinations, findings);
    let until = expiry::validate(entry, spot, context.moment, findings);
    let reason = findings.require(&entry.reason, spot, "reason", "reason: legacy scanner, ticket 4711");
    let reason = reason.and_then(|text| texts::line(text, "reason", spot.key("reason"), findings));
    let owner = findings.require(&entry.owner, spot, "owner", "owner: it-ops@example.com");
    let owner = owner.and_then(|text| texts::line(text, "owner", spot.key("owner"), findings));
    judge_sources(&from, context, findings);
    judge_destinations(&to, context.networks, findings);
    let (file, line) = findings.places.line(spot.span());
    let (from, to) = (networks::plain(&from), networks::plain(&to));
    let (name, until, reason, owner) = (name?, until?, reason?, Some(owner?));
    Some(Exception { name, from, to, until, reason, owner, file, line })
}

fn nets(
    written: &Written<Vec<Written<String>>>,
    spot: Spot<'_>,
    key: &str,
    example: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(Hosts, Span)> {
    let Some(list) = findings.require(written, spot, key, example) else {
        return Vec::new();
    };
    if list.is_empty() {
        let message = format!("`{key}` is empty: the exception would permit nothing");
        findings.error(
            "empty-list",
            spot.key(key).span(),
            message,
            format!("write `{example}`, or remove the entry"),
        );
    }
    networks::nets(list, spot.key(key), key, role, findings)
}

fn judge_sources(from: &[(Hosts, Span)], context: &Context<'_>, findings: &mut Findings<'_>) {
    for (hosts, at) in from {
        let server = |net: &IpNet| {
            net.prefix_len() == net.max_prefix_len() && context.servers.addresses.contains_key(&net.addr())
        };
        if hosts.nets().iter().all(server) {
            let message = format!("{hosts} is a mail server, so this exception is never asked");
            let help = "remove it; where the mail server may send is its own `to`";
            findings.warn("unreachable-entry", *at, message, help);
        } else if !context.networks.clients.is_empty()
            && !context.networks.client_coverage.contains_all(hosts.nets())
        {
            let message = format!(
                "{hosts} is not covered by the clients' networks; the exception permits it all the same"
            );
            findings.warn("exception-outside-clients", *at, message, "check it against `networks.clients`");
        }
        if hosts.is_wider_than(WIDE_V4, WIDE_V6) {
            let message = format!("{hosts} lets very many hosts through");
            findings.warn("exception-from-many", *at, message, "name the hosts that need it");
        }
    }
}

fn judge_destinations(to: &[(Hosts, Span)], networks: &Networks, findings: &mut Findings<'_>) {
    for (hosts, at) in to {
        if networks::is_everything(hosts) {
            let message = format!("{hosts} is everywhere: these hosts are mail servers in all but name");
            let help = "name the mail servers they need to reach";
            findings.warn("exception-to-everywhere", *at, message, help);
        } else if networks.internal_coverage.contains_all(hosts.nets()) {
            let message = format!("{hosts} is internal and needs no exception");
            findings.warn("unreachable-entry", *at, message, "remove it, it changes nothing");
        }
    }
}
