//! `exceptions`: permits with an end, a reason and somebody who answers for them.

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use super::super::diagnostics::quoted;
use super::super::file::{self, Written};
use super::super::model::Exception;
use super::super::places::{Span, Spot};
use super::mail_servers::MailServers;
use super::networks::{self, Networks, Role, shown};
use super::texts::{self, Names};
use super::{Findings, Moment, until};

const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
const LONG: SignedDuration = SignedDuration::from_hours(2 * 366 * 24);
/// A source wider than this is a department, not a device.
const WIDE_V4: u8 = 24;
const WIDE_V6: u8 = 64;

/// What the entries are judged against.
pub struct Context<'a> {
    pub servers: &'a MailServers,
    pub networks: &'a Networks,
    pub moment: &'a Moment,
}

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
    let until = findings.require(&entry.until, spot, "until", "until: 2026-12-31");
    let until = until.and_then(|text| end(text, spot.key("until"), context.moment, findings));
    let reason = findings.require(&entry.reason, spot, "reason", "reason: legacy scanner, ticket 4711");
    let reason = reason.and_then(|text| texts::line(text, "reason", spot.key("reason"), findings));
    let owner = findings.require(&entry.owner, spot, "owner", "owner: it-ops@example.com");
    let owner = owner.and_then(|text| texts::line(text, "owner", spot.key("owner"), findings));
    judge_sources(&from, context, findings);
    judge_destinations(&to, context.networks, findings);
    let line = findings.places.line(spot.span());
    let plain = |nets: Vec<(IpNet, Span)>| nets.into_iter().map(|(net, _)| net).collect();
    let (from, to) = (plain(from), plain(to));
    Some(Exception { name: name?, from, to, until: until?, reason: reason?, owner: Some(owner?), line })
}

fn nets(
    written: &Written<Vec<Written<String>>>,
    spot: Spot<'_>,
    key: &str,
    example: &str,
    role: Role,
    findings: &mut Findings<'_>,
) -> Vec<(IpNet, Span)> {
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

fn end(text: &str, spot: Spot<'_>, moment: &Moment, findings: &mut Findings<'_>) -> Option<Timestamp> {
    let at = spot.span();
    let until = match until::parse(text, &moment.zone) {
        Ok(until) => until,
        Err(help) => {
            findings.error("bad-date", at, format!("{} is not a date or time", quoted(text)), help);
            return None;
        }
    };
    let left = until.duration_since(moment.now);
    let days = left.as_hours() / 24;
    if !left.is_positive() {
        let message = "this exception has expired and permits nothing any more";
        findings.warn("exception-expired", at, message, "remove the entry, or give it a later date");
    } else if left < SOON {
        let left = match (days, left.as_hours()) {
            (0, hours) => format!("{} h", hours.max(1)),
            (1, _) => "1 day".to_owned(),
            (days, _) => format!("{days} days"),
        };
        let help = "ask its owner whether it is still needed";
        findings.warn("exception-expires-soon", at, format!("this exception ends in {left}"), help);
    } else if left > LONG {
        let message = format!("this exception lasts {} more years", days / 365);
        findings.warn(
            "exception-lasts-long",
            at,
            message,
            "give it an end at which somebody looks at it again",
        );
    }
    Some(until)
}

fn judge_sources(from: &[(IpNet, Span)], context: &Context<'_>, findings: &mut Findings<'_>) {
    for (net, at) in from {
        let single = net.prefix_len() == net.max_prefix_len();
        if single && context.servers.addresses.contains_key(&net.addr()) {
            let message = format!("{} is a mail server, so this exception is never asked", net.addr());
            let help = "remove it; where the mail server may send is its own `to`";
            findings.warn("unreachable-entry", *at, message, help);
        } else if !context.networks.clients.is_empty() && !context.networks.client_coverage.contains(net) {
            let message = format!(
                "{} is not covered by the clients' networks; the exception permits it all the same",
                shown(net)
            );
            findings.warn("exception-outside-clients", *at, message, "check it against `networks.clients`");
        }
        let wide = if net.max_prefix_len() == 32 { WIDE_V4 } else { WIDE_V6 };
        if net.prefix_len() < wide {
            let message = format!("{net} lets very many hosts through");
            findings.warn("exception-from-many", *at, message, "name the hosts that need it");
        }
    }
}

fn judge_destinations(to: &[(IpNet, Span)], networks: &Networks, findings: &mut Findings<'_>) {
    for (net, at) in to {
        if net.prefix_len() == 0 {
            let message = format!("{net} is everywhere: these hosts are mail servers in all but name");
            findings.warn(
                "exception-to-everywhere",
                *at,
                message,
                "name the mail servers they need to reach",
            );
        } else if networks.internal_coverage.contains(net) {
            let message = format!("{} is internal and needs no exception", shown(net));
            findings.warn("unreachable-entry", *at, message, "remove it, it changes nothing");
        }
    }
}
