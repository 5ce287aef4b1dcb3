//! Who may send where: what sources gain and lose on blocked ports, when it ends, and which machine they must be.

use std::collections::HashMap;

use ipnet::IpNet;
use jiff::Timestamp;
use policy_common::abi::{Net, Permit};

use super::super::explain::{Entry, Paper, mac_text};
use super::ranges::{Range, Ranges, Slice, flattened, joined, overlaid, without};
use super::{Change, Kind, Sign, local_time};

/// One policy as sources see it.
pub struct Side<'a> {
    paper: &'a Paper<'a>,
    /// Instant of the comparison on the clock of the tables.
    now: u64,
    /// Where each scope's permits stand in the table.
    scopes: HashMap<u32, std::ops::Range<usize>>,
    pub nets: Ranges<Net>,
    internal: Ranges<()>,
    clients: Ranges<()>,
}

/// What one source may do: where to, by which permit, and as which machine.
struct Reach<'a> {
    to: Ranges<Permit>,
    mac: Option<[u8; 6]>,
    interface: Option<&'a str>,
}

/// Destinations with the permits of both policies.
type Both = Ranges<(Option<Permit>, Option<Permit>)>;

impl<'a> Side<'a> {
    pub fn new(paper: &'a Paper<'a>, at: Timestamp) -> Self {
        let mut scopes: HashMap<u32, std::ops::Range<usize>> = HashMap::new();
        for (index, (scope, _)) in paper.tables.permits.iter().enumerate() {
            scopes.entry(*scope).or_insert(index..index).end = index + 1;
        }
        let nets = flattened(paper.tables.nets.iter().copied());
        let which = |says: fn(&Net) -> bool| {
            let ranges = joined(nets.iter().filter(|(_, net)| says(net)).map(|(range, _)| *range));
            ranges.into_iter().map(|range| (range, ())).collect()
        };
        let (internal, clients) = (which(Net::is_internal), which(Net::is_client));
        Self { paper, now: paper.boot_time(at), scopes, nets, internal, clients }
    }

    fn reach(&self, net: Net, v6: bool) -> Reach<'a> {
        let index = net.mail_server().map(|index| index as usize);
        let server = index.and_then(|index| self.paper.tables.mail_servers.get(index));
        let Some(server) = server else {
            return Reach { to: self.permits(net.exceptions(), v6), mac: None, interface: None };
        };
        let to = match server.scope() {
            0 => vec![(Range::all(v6), Permit::new(server.rule(), Permit::FOREVER))],
            scope => self.permits(scope, v6),
        };
        let entry = index.and_then(|index| self.paper.policy.mail_servers.get(index));
        Reach { to, mac: server.mac(), interface: entry.and_then(|entry| entry.interface.as_deref()) }
    }

    /// The permits of one family that have not ended.
    fn permits(&self, scope: u32, v6: bool) -> Ranges<Permit> {
        let permits = self.scopes.get(&scope).and_then(|scope| self.paper.tables.permits.get(scope.clone()));
        let flat = flattened(permits.into_iter().flatten().map(|(_, prefix)| *prefix));
        flat.into_iter().filter(|(range, permit)| range.v6 == v6 && permit.until() > self.now).collect()
    }

    /// When a permit ends; never, for a mail server's.
    fn end(&self, permit: Permit) -> Option<Timestamp> {
        (permit.until() != Permit::FOREVER).then(|| self.paper.wall_time(permit.until()))
    }

    fn end_in_words(&self, permit: Permit) -> String {
        self.end(permit).map_or_else(|| "without end".to_owned(), |end| format!("until {}", local_time(end)))
    }
}

/// What a source's networks say about who it is; equal values mean the same within one policy.
type Who = (Option<u32>, u32);

fn as_who(net: Option<Net>) -> Who {
    net.map_or((None, 0), |net| (net.mail_server(), net.exceptions()))
}

pub fn differences(old: &Side<'_>, new: &Side<'_>) -> Vec<Change> {
    let mut changes = networks(Kind::Internal, &old.internal, &new.internal);
    changes.extend(networks(Kind::Clients, &old.clients, &new.clients));
    // Sources that change alike are told of together; without a change there are no ranges to keep.
    let mut known: HashMap<(Who, Who, bool), Option<usize>> = HashMap::new();
    let mut found: Vec<(Vec<Change>, Vec<Range>)> = Vec::new();
    for (range, (a, b)) in overlaid(&old.nets, &new.nets) {
        let place = *known.entry((as_who(a), as_who(b), range.v6)).or_insert_with(|| {
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            let changes = of_one_source(old, new, (a, b), range.v6);
            if changes.is_empty() {
                return None;
            }
            found.push((changes, Vec::new()));
            Some(found.len() - 1)
        });
        if let Some((_, ranges)) = place.and_then(|place| found.get_mut(place)) {
            ranges.push(range);
        }
    }
    for (of_some, sources) in found {
        let sources = texts(joined(sources));
        changes.extend(of_some.into_iter().map(|change| change.from(sources.clone())));
    }
    changes
}

/// Networks that a list of the policy has won or lost.
fn networks(kind: Kind, old: Slice<'_, ()>, new: Slice<'_, ()>) -> Vec<Change> {
    let both = overlaid(old, new);
    let only = |wanted: (Option<()>, Option<()>)| {
        texts(joined(both.iter().filter(|(_, which)| *which == wanted).map(|(range, _)| *range)))
    };
    let told = |nets: Vec<String>, gains: bool| match (kind, gains) {
        (Kind::Internal, true) => {
            Change::new(Sign::Gain, kind).to(nets).now("internal, so open to everybody")
        }
        (Kind::Internal, false) => {
            Change::new(Sign::Loss, kind).to(nets).now("no longer internal: only for designated senders")
        }
        (_, true) => {
            Change::new(Sign::Change, kind).from(nets).now("not-a-mail-server").was("unknown-source")
        }
        (_, false) => {
            Change::new(Sign::Change, kind).from(nets).now("unknown-source").was("not-a-mail-server")
        }
    };
    let (lost, won) = (only((Some(()), None)), only((None, Some(()))));
    let lost = (!lost.is_empty()).then(|| told(lost, false));
    lost.into_iter().chain((!won.is_empty()).then(|| told(won, true))).collect()
}

/// The changes for a source about which the policies say this.
fn of_one_source(old: &Side<'_>, new: &Side<'_>, (a, b): (Net, Net), v6: bool) -> Vec<Change> {
    let (before, after) = (old.reach(a, v6), new.reach(b, v6));
    let both: Both = overlaid(&before.to, &after.to);
    let mut lost: Ranges<Permit> = Vec::new();
    let mut won: Ranges<Permit> = Vec::new();
    let mut moved: Vec<((Permit, Permit), Vec<Range>)> = Vec::new();
    for (range, permits) in &both {
        match *permits {
            (Some(permit), None) => lost.push((*range, permit)),
            (None, Some(permit)) => won.push((*range, permit)),
            (Some(a), Some(b)) if old.end(a) != new.end(b) => collect(&mut moved, (a, b), *range),
            _ => {}
        }
    }
    let within = [old, new].map(|side| side.internal.as_slice());
    let mut changes = reached(Sign::Loss, old, &lost, (&before.to, &after.to), within);
    changes.extend(reached(Sign::Gain, new, &won, (&after.to, &before.to), within));
    for ((a, b), ranges) in moved {
        let to = if ranges.iter().any(Range::is_all) {
            anywhere_but(&[])
        } else {
            texts(outside(&ranges, within))
        };
        if !to.is_empty() {
            let change = Change::new(Sign::Change, Kind::Until)
                .to(to)
                .was(old.end_in_words(a))
                .now(new.end_in_words(b));
            changes.push(Change { entry: Entry::of_rule(new.paper.policy, b.rule()), ..change });
        }
    }
    let common = both.iter().any(|(_, permits)| matches!(permits, (Some(_), Some(_))));
    if common && (before.mac, before.interface) != (after.mac, after.interface) {
        let change = Change::new(Sign::Change, Kind::Machine).was(before.machine()).now(after.machine());
        let entry = after.to.first().and_then(|(_, permit)| Entry::of_rule(new.paper.policy, permit.rule()));
        changes.push(Change { entry, ..change });
    }
    changes
}

/// Destinations that only one of the policies permits, by permit; `here` and `there` are all that each permits.
fn reached(
    sign: Sign,
    side: &Side<'_>,
    only: Slice<'_, Permit>,
    (here, there): (Slice<'_, Permit>, Slice<'_, Permit>),
    internal: [Slice<'_, ()>; 2],
) -> Vec<Change> {
    let mut by_permit = Vec::new();
    only.iter().for_each(|(range, permit)| collect(&mut by_permit, *permit, *range));
    let told = by_permit.into_iter().filter_map(|(permit, ranges)| {
        // "Anywhere but …" is read more easily than the networks around it.
        let to = if here.iter().any(|(range, _)| range.is_all()) {
            anywhere_but(&texts(joined(there.iter().map(|(range, _)| *range))))
        } else {
            texts(outside(&ranges, internal))
        };
        let mut change = Change::new(sign, Kind::Reach).to(to);
        change.after =
            (permit.until() != Permit::FOREVER && sign == Sign::Gain).then(|| side.end_in_words(permit));
        change.entry = Entry::of_rule(side.paper.policy, permit.rule());
        (!change.destinations.is_empty()).then_some(change)
    });
    told.collect()
}

impl Reach<'_> {
    fn machine(&self) -> String {
        match (self.mac, self.interface) {
            (None, None) => "any machine".to_owned(),
            (Some(mac), None) => format!("only MAC {}", mac_text(mac)),
            (None, Some(interface)) => format!("only through {interface}"),
            (Some(mac), Some(interface)) => format!("only MAC {} through {interface}", mac_text(mac)),
        }
    }
}

/// Adds a range to those with the same key, of which there are few.
fn collect<K: PartialEq>(groups: &mut Vec<(K, Vec<Range>)>, key: K, range: Range) {
    match groups.iter_mut().find(|(known, _)| *known == key) {
        Some((_, ranges)) => ranges.push(range),
        None => groups.push((key, vec![range])),
    }
}

/// What of the ranges is internal on neither side: the rest is told of for everybody.
fn outside(ranges: &[Range], internal: [Slice<'_, ()>; 2]) -> Vec<Range> {
    let [old, new] = internal;
    let left = joined(ranges.iter().copied()).into_iter().flat_map(|range| without(range, old));
    left.flat_map(|range| without(range, new)).collect()
}

fn anywhere_but(nets: &[String]) -> Vec<String> {
    let but = nets.iter().map(|net| format!("not {net}"));
    ["anywhere".to_owned()].into_iter().chain(but).collect()
}

fn texts(ranges: impl IntoIterator<Item = Range>) -> Vec<String> {
    ranges.into_iter().flat_map(Range::nets).map(|net| shown_net(&net)).collect()
}

fn shown_net(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Which of the ranges are about sources of some group, with both groups' numbers; 0 is none.
pub fn grouped(old: Slice<'_, Net>, new: Slice<'_, Net>) -> Vec<((u16, u16), Vec<String>)> {
    let mut groups: HashMap<(u16, u16), Vec<Range>> = HashMap::new();
    for (range, (a, b)) in overlaid(old, new) {
        let numbers = [a, b].map(|net| net.map_or(0, |net| net.group()));
        if numbers != [0, 0] {
            groups.entry(numbers.into()).or_default().push(range);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().map(|(key, ranges)| (key, texts(joined(ranges)))).collect();
    groups.sort_unstable();
    groups
}
