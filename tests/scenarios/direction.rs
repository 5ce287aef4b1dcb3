//! What is not outbound: the gateway itself, internal hosts, replies, errors about port 25.

use std::net::IpAddr;

use lab::frame::{Frame, Ipv4, Ipv6, Tcp, flags, number};
use policy_common::Reason;

use super::Bare::{Drops, Forwards};
use super::Expect;
use super::parties::{CLIENT, Family, GUEST, MAIL, Party, RELAY, SCANNER, Shot};
use super::policy::GATEWAY_OUTSIDE;
use super::table::{Table, UNTOUCHED};

const INTERNAL: Expect = Expect::Pass(Reason::InternalDestination);

pub fn rows(t: &mut Table) {
    gateway(t);
    loopback(t);
    internal(t);
    replies(t);
    errors(t);
    everybody(t);
    source_routed(t);
}

/// Hosts and routers ignore source routes by default, so a bare router drops these; with `accept_source_route` or
/// `seg6_enabled` it sends them on to where the option says.
fn source_routed(t: &mut Table) {
    const HOP: &str = "the header names a hop, the option where it goes: not a destination rule's business";
    let denied = Expect::Deny(Reason::NotAMailServer);
    let rows = [
        ("client to the gateway", CLIENT, ["10.25.0.1", "fd25::1"], 25, denied),
        ("client to an internal host", CLIENT, ["10.99.3.1", "fd25:99::301"], 25, denied),
        ("client to the gateway, port 26", CLIENT, ["10.25.0.1", "fd25::1"], 26, UNTOUCHED),
        ("scanner to its provider", SCANNER, ["203.0.113.201", "2001:db8:aaaa::301"], 25, denied),
        (
            "relay to its networks",
            RELAY,
            ["198.51.100.201", "2001:db8:bbbb::301"],
            25,
            Expect::Deny(Reason::DestinationNotAllowed),
        ),
        (
            "mail server to anywhere",
            MAIL,
            ["198.18.201.9", "2001:db8:cafe::f301"],
            25,
            Expect::Pass(Reason::MailServer),
        ),
    ];
    for (name, from, [v4, v6], port, expect) in rows {
        for (kind, option) in [("loose", 131), ("strict", 137)] {
            let shot = to(t.shot(Family::V4, from, port), v4);
            let route = [1, option, 7, 4, 198, 18, 200, 1];
            let frame = shot.v4(shot.ipv4().options(&route)).tcp(shot.syn());
            t.one(&format!("v4 {kind} source route, {name}"), HOP, &shot, frame.build(), expect, Drops);
        }
        let shot = to(t.shot(Family::V6, from, port), v6);
        let next_hop = [[0; 4].as_slice(), &shot.to6.octets()].concat();
        let frame = shot.v6(shot.ipv6().routing(4, 1, &next_hop)).tcp(shot.syn());
        // A router looks into the routing header only where it is the hop itself.
        let bare = if v6 == "fd25::1" { Drops } else { Forwards };
        t.one(&format!("v6 routing header, {name}"), HOP, &shot, frame.build(), expect, bare);
    }
    // The neighbours: other options, and a routing header whose hops are all behind it.
    let shot = to(t.shot(Family::V4, CLIENT, 25), "10.99.3.2");
    let frame = shot.v4(shot.ipv4().options(&[148, 4, 0, 0])).tcp(shot.syn());
    t.one(
        "v4 router alert to an internal host",
        "not a source route",
        &shot,
        frame.build(),
        INTERNAL,
        Forwards,
    );
    let shot = to(t.shot(Family::V6, CLIENT, 25), "fd25:99::302");
    let frame = shot.v6(shot.ipv6().routing(4, 0, &[0; 20])).tcp(shot.syn());
    t.one(
        "v6 routing header at its end, to an internal host",
        "no hop to come",
        &shot,
        frame.build(),
        INTERNAL,
        Forwards,
    );
}

fn to(mut shot: Shot, address: &str) -> Shot {
    match address.parse().unwrap() {
        IpAddr::V4(a) => shot.to4 = a,
        IpAddr::V6(a) => shot.to6 = a,
    }
    shot
}

fn gateway(t: &mut Table) {
    const SMART_HOST: &str = "mail for a smart host on the gateway is not outbound";
    for (family, address) in Family::BOTH.into_iter().zip(GATEWAY_OUTSIDE) {
        for from in [CLIENT, MAIL, GUEST] {
            let shot = to(t.shot(family, from, 25), address);
            let name = format!("{} {} to the gateway's outside address", family.label(), from.name);
            t.one(
                &name,
                SMART_HOST,
                &shot,
                shot.syn_frame().build(),
                Expect::Pass(Reason::GatewayAddress),
                Drops,
            );
        }
    }
    for (family, address) in [
        (Family::V4, "10.25.0.1"),
        (Family::V6, "fd25::1"),
        (Family::V4, "10.26.0.1"),
        (Family::V6, "fd26::1"),
    ] {
        let shot = to(t.shot(family, CLIENT, 25), address);
        t.one(
            &format!("{} client to {address}", family.label()),
            SMART_HOST,
            &shot,
            shot.syn_frame().build(),
            INTERNAL,
            Drops,
        );
    }
}

fn loopback(t: &mut Table) {
    for (family, address) in [(Family::V4, "127.0.0.1"), (Family::V6, "::1")] {
        let shot = to(t.shot(family, CLIENT, 25), address);
        let name = format!("{} client to {address}", family.label());
        let own = Expect::Pass(Reason::GatewayAddress);
        t.one(&name, "one of the gateway's own addresses", &shot, shot.syn_frame().build(), own, Drops);
    }
}

fn internal(t: &mut Table) {
    const INSIDE: &str = "from one inside network to another is not outbound";
    for family in Family::BOTH {
        for from in [CLIENT, GUEST, MAIL] {
            let mut shot = t.shot(family, from, 25);
            shot.to4 = [10, 77, shot.to4.octets()[2], shot.to4.octets()[3]].into();
            shot.to6 = [0xfd26, 0, 7, 0, 0, 0, 0, shot.to6.segments()[7]].into();
            let name = format!("{} {} to an internal network", family.label(), from.name);
            t.one(&name, INSIDE, &shot, shot.syn_frame().build(), INTERNAL, Forwards);
        }
        let (source, name) = match family {
            Family::V4 => ("192.168.9.9", "v4 unknown source to an internal network"),
            Family::V6 => ("2001:db8:9::9", "v6 unknown source to an internal network"),
        };
        let from = match source.parse().unwrap() {
            IpAddr::V4(a) => CLIENT.at(a, CLIENT.v6),
            IpAddr::V6(a) => CLIENT.at(CLIENT.v4, a),
        };
        let mut shot = t.shot(family, from, 25);
        shot.to4 = [10, 78, shot.to4.octets()[2], shot.to4.octets()[3]].into();
        shot.to6 = [0xfd26, 0, 8, 0, 0, 0, 0, shot.to6.segments()[7]].into();
        t.one(name, INSIDE, &shot, shot.syn_frame().build(), INTERNAL, Forwards);
    }
    // RFC 1918 that the policy does not call internal is as outbound as anything.
    for (address, expect) in [
        ("192.168.7.", Expect::Deny(Reason::NotAMailServer)),
        ("172.16.7.", Expect::Deny(Reason::NotAMailServer)),
    ] {
        let shot = t.shot(Family::V4, CLIENT, 25);
        let shot = to(shot, &format!("{address}{}", shot.to4.octets()[3]));
        t.one(
            &format!("v4 client to {address}x"),
            "private is not internal",
            &shot,
            shot.syn_frame().build(),
            expect,
            Forwards,
        );
    }
}

fn replies(t: &mut Table) {
    const REPLY: &str = "inbound mail: the reply comes from port 25, it does not go there";
    for family in Family::BOTH {
        for from in [MAIL, CLIENT] {
            for (name, segment) in [
                ("SYN+ACK", Tcp::new(25, 40_000, flags::SYN | flags::ACK).acknowledgement(5)),
                ("greeting", Tcp::new(25, 40_001, flags::PSH | flags::ACK).payload(b"220 mx1\r\n")),
                ("FIN", Tcp::new(25, 40_002, flags::FIN | flags::ACK)),
                ("RST", Tcp::new(25, 40_003, flags::RST)),
            ] {
                let shot = t.shot(family, from, 40_000);
                let frame = shot.ip().tcp(segment).build();
                t.one(
                    &format!("{} {name} from port 25 of the {}", family.label(), from.name),
                    REPLY,
                    &shot,
                    frame,
                    UNTOUCHED,
                    Forwards,
                );
            }
        }
    }
}

fn errors(t: &mut Table) {
    const PMTUD: &str =
        "an ICMP error quotes the segment it is about; path MTU discovery of inbound mail needs it";
    for (name, kind, code) in
        [("port unreachable", 3, 3), ("fragmentation needed", 3, 4), ("time exceeded", 11, 0)]
    {
        error(t, name, PMTUD, Family::V4, number::ICMP, [kind, code]);
    }
    for (name, kind, code) in [("unreachable", 1, 4), ("packet too big", 2, 0), ("time exceeded", 3, 0)] {
        error(t, name, PMTUD, Family::V6, number::ICMPV6, [kind, code]);
    }
}

fn error(t: &mut Table, name: &str, why: &'static str, family: Family, protocol: u8, [kind, code]: [u8; 2]) {
    for from in [CLIENT, MAIL] {
        let shot = t.shot(family, from, 25);
        let mut bytes = vec![kind, code, 0, 0, 0, 0, 5, 0];
        bytes.extend(quoted(&shot, from));
        // The sum of ICMPv4; the router looks at neither.
        let sum: u32 =
            bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        bytes[2..4].copy_from_slice(&(!((sum + (sum >> 16)) as u16)).to_be_bytes());
        let frame = shot.ip().raw(protocol, &bytes).build();
        t.one(
            &format!("{} ICMP {name} that quotes port 25, from the {}", family.label(), from.name),
            why,
            &shot,
            frame,
            UNTOUCHED,
            Forwards,
        );
    }
}

/// A segment from outside to port 25 of `to`, as the other end sent it.
fn quoted(shot: &Shot, to: Party) -> Vec<u8> {
    let frame = Frame::new(shot.from.mac, shot.from.mac);
    let frame = match shot.family {
        Family::V4 => frame.ipv4(Ipv4::new(shot.to4, to.v4)),
        Family::V6 => frame.ipv6(Ipv6::new(shot.to6, to.v6)),
    };
    frame.tcp(Tcp::new(40_000, 25, flags::ACK)).packet()
}

fn everybody(t: &mut Table) {
    for (family, address) in [
        (Family::V4, "255.255.255.255"),
        (Family::V4, "224.0.0.251"),
        (Family::V6, "ff02::1"),
        (Family::V6, "ff0e::25"),
        (Family::V6, "fe80::1"),
    ] {
        for (port, expect) in [(25, Expect::Deny(Reason::NotAMailServer)), (5353, UNTOUCHED)] {
            let shot = to(t.shot(family, CLIENT, port), address);
            let name = format!("{} client to {address}, port {port}", family.label());
            t.one(
                &name,
                "routed nowhere, and no special case either",
                &shot,
                shot.syn_frame().build(),
                expect,
                Drops,
            );
        }
    }
    // Linux forwards it.
    let shot = to(t.shot(Family::V6, CLIENT, 25), "::");
    let denied = Expect::Deny(Reason::NotAMailServer);
    t.one("v6 client to ::", "no special case", &shot, shot.syn_frame().build(), denied, Forwards);
}
