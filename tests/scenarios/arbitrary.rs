//! Random policies and packets over so few addresses that prefixes nest and packets hit them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lab::Mac;
use lab::frame::{Frame, Tcp};
use policy_common::LinkType;
use policy_user::policy::compile::Instant;
use policy_user::policy::{Exception, Group, MailServer, Mode, Policy, Quarantine, Scope, Treatment};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::Via;
use super::policy::TEXT;

/// Most often one that every policy blocks: what matters begins behind that.
const PORTS: [u16; 12] = [25, 25, 25, 25, 25, 26, 443, 465, 587, 8443, 10_025, 0x1900];
const MACS: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0; 6]];

/// An instant on both clocks, far from their ends.
pub fn now() -> Instant {
    Instant { wall: Timestamp::from_second(1_800_000_000).unwrap(), boot: 1_000_000_000_000_000 }
}

/// A packet to judge, with where it comes from.
#[derive(Clone, Debug)]
pub struct Probe {
    pub from: IpAddr,
    pub to: IpAddr,
    pub port: u16,
    pub mac: [u8; 6],
    pub via: Via,
    pub link: LinkType,
}

impl Probe {
    pub fn bytes(&self) -> Vec<u8> {
        let frame = Frame::new(Mac(self.mac), Mac([0; 6])).ip(self.from, self.to).tcp(Tcp::syn(1, self.port));
        match self.link {
            LinkType::Ethernet => frame.build(),
            LinkType::Ip => frame.packet(),
        }
    }

    pub fn src_mac(&self) -> Option<[u8; 6]> {
        (self.link == LinkType::Ethernet).then_some(self.mac)
    }
}

/// Sixteen addresses of IPv4, of IPv6, and of IPv6 whose first bytes are those of the IPv4 ones.
fn address_of(kind: u8, n: u8) -> IpAddr {
    match kind {
        0 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        1 => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n))),
        _ => IpAddr::V6(Ipv6Addr::new(0x0a00, u16::from(n), 0, 0, 0, 0, 0, 0)),
    }
}

pub fn address() -> impl Strategy<Value = IpAddr> {
    (0..3u8, 0..16u8).prop_map(|(kind, n)| address_of(kind, n))
}

fn network() -> impl Strategy<Value = IpNet> {
    (0..3u8, 0..16u8, 0..7usize).prop_map(|(kind, n, len)| {
        let lengths = match kind {
            0 | 2 => [0, 8, 28, 29, 30, 31, 32],
            _ => [0, 8, 124, 125, 126, 127, 128],
        };
        IpNet::new(address_of(kind, n), lengths[len]).unwrap().trunc()
    })
}

fn networks(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<IpNet>> {
    vec(network(), sizes)
}

fn mail_server(template: MailServer) -> impl Strategy<Value = MailServer> {
    (
        vec(address(), 1..3),
        option::of(select(&MACS[..])),
        option::of(select(&["lan0", "guest0"][..])),
        option::of(networks(1..4)),
    )
        .prop_map(move |(addresses, mac, interface, to)| MailServer {
            addresses,
            mac,
            interface: interface.map(str::to_owned),
            to,
            ..template.clone()
        })
}

fn exception(template: Exception) -> impl Strategy<Value = Exception> {
    (networks(1..3), networks(1..4), -3..4i64).prop_map(move |(from, to, hours)| Exception {
        from,
        to,
        until: now().wall + SignedDuration::from_hours(hours),
        ..template.clone()
    })
}

fn treatment() -> impl Strategy<Value = Treatment> {
    option::of(select(&[Mode::Enforce, Mode::Audit][..]))
        .prop_map(|mode| Treatment { mode, ..Treatment::default() })
}

/// Policies as they may come out of validation: an address belongs to one mail server, a network to one group.
pub fn policy() -> impl Strategy<Value = Policy> {
    let (template, _) = policy_user::policy::parse(TEXT, now().wall, &TimeZone::UTC).unwrap();
    let (server, permit) = (template.mail_servers[0].clone(), template.exceptions[0].clone());
    (
        networks(1..4),
        networks(0..3),
        vec(mail_server(server), 0..4),
        vec(exception(permit), 0..6),
        vec((networks(1..3), treatment()), 0..4),
        select(vec![vec![25], vec![25, 10_025], vec![465, 26, 10_025, 25]]),
        (networks(0..2), select(vec![vec![], vec![443], vec![8443, 80]])),
    )
        .prop_map(move |(clients, internal, mail_servers, exceptions, groups, blocked_ports, spared)| {
            let groups = groups.into_iter().map(|(clients, treatment)| Group {
                name: "group".to_owned(),
                clients,
                treatment,
                file: None,
                detection: None,
                line: 1,
            });
            let mut policy = Policy {
                clients,
                internal,
                mail_servers,
                exceptions,
                submission_ports: if blocked_ports.contains(&465) { vec![587] } else { vec![587, 465] },
                blocked_ports,
                quarantine: Quarantine { except: spared.0, except_ports: spared.1, ..Quarantine::default() },
                groups: groups.collect(),
                ..template.clone()
            };
            let mut taken = Vec::new();
            for server in &mut policy.mail_servers {
                server.addresses.retain(|address| !taken.contains(address));
                taken.extend(server.addresses.iter().copied());
                server.addresses.dedup();
            }
            let mut taken = Vec::new();
            for group in &mut policy.groups {
                group.clients.retain(|net| !taken.contains(net));
                taken.extend(group.clients.iter().copied());
            }
            policy
        })
}

/// Hours until it ends, how far it reaches, and the MAC it is bound to.
pub type Quarantined = (i64, Scope, Option<[u8; 6]>);

pub fn quarantined() -> impl Strategy<Value = Quarantined> {
    (-2..3i64, select(vec![Scope::Mail, Scope::All]), option::of(select(&MACS[..])))
}

pub fn probe() -> impl Strategy<Value = Probe> {
    let pair = (0..3u8, 0..16u8, 0..3u8, 0..16u8).prop_map(|(from, f, to, t)| {
        // Source and destination are of one family; IPv6 of either kind may meet.
        let to = if (from == 0) == (to == 0) { to } else { from };
        (address_of(from, f), address_of(to, t))
    });
    (
        pair,
        select(&PORTS[..]),
        select(&MACS[..]),
        any::<bool>(),
        prop_oneof![3 => Just(LinkType::Ethernet), 1 => Just(LinkType::Ip)],
    )
        .prop_map(|((from, to), port, mac, guest, link)| Probe {
            from,
            to,
            port,
            mac,
            via: if guest { Via::Guest } else { Via::Lan },
            link,
        })
}
