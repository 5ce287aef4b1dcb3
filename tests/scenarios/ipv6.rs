//! IPv6: chains of extension headers and destinations that look inside.

use std::net::Ipv6Addr;

use lab::frame::{Ipv6, Udp, number};

use super::Bare::{self, Drops, Forwards};
use super::parties::{CLIENT, Family::V6, Shot};
use super::table::{DENIED, Part, Table, UNTOUCHED};

const NOT_WALKED: &str = "a filter that does not walk the headers sees no TCP";

pub fn rows(t: &mut Table) {
    single_headers(t);
    chains(t);
    authentication(t);
    cut_off(t);
    lengths(t);
    destinations(t);
}

/// Options of `8 * (units + 1)` bytes that routers skip: of a kind nobody knows, since Linux refuses long padding.
fn options(units: u8) -> Vec<u8> {
    let mut bytes = vec![0, units];
    let mut left = 8 * (usize::from(units) + 1) - 2;
    while left > 0 {
        match left {
            1 => bytes.push(0),
            _ => {
                let data = (left - 2).min(255);
                bytes.extend([0x1e, data as u8]);
                bytes.resize(bytes.len() + data, 0);
            }
        }
        left = 8 * (usize::from(units) + 1) - bytes.len();
    }
    bytes
}

fn single_headers(t: &mut Table) {
    for units in [0, 1, 2, 15, 100, 180, 255] {
        t.trio(&format!("hop-by-hop options, {units} units"), NOT_WALKED, V6, Forwards, |s| {
            s.v6(s.ipv6().extension(number::HOP_BY_HOP, &options(units))).tcp(s.syn())
        });
        t.trio(&format!("destination options, {units} units"), NOT_WALKED, V6, Forwards, |s| {
            s.v6(s.ipv6().destination_options(units)).tcp(s.syn())
        });
    }
    for kind in [0, 2, 3, 4, 253] {
        for left in [0, 1] {
            t.trio(
                &format!("routing header type {kind}, {left} segments left"),
                NOT_WALKED,
                V6,
                Forwards,
                |s| s.v6(s.ipv6().routing(kind, left, &[0; 20])).tcp(s.syn()),
            );
        }
    }
    for (name, header) in
        [("mobility header", number::MOBILITY), ("HIP", number::HIP), ("shim6", number::SHIM6)]
    {
        for units in [0, 4] {
            t.trio(&format!("{name}, {units} units"), NOT_WALKED, V6, Forwards, |s| {
                let mut bytes = vec![0; 8 * (usize::from(units) + 1)];
                bytes[1] = units;
                s.v6(s.ipv6().extension(header, &bytes)).tcp(s.syn())
            });
        }
    }
    t.trio("options that look like TCP to port 443", NOT_WALKED, V6, Forwards, |s| {
        let fake = [0, 2, 0x1e, 20, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        s.v6(s.ipv6().extension(number::DESTINATION_OPTIONS, &fake)).tcp(s.syn())
    });
}

fn chains(t: &mut Table) {
    let many = |s: &Shot, count| (0..count).fold(s.ipv6(), |header, _| header.destination_options(0));
    for count in 2..=16 {
        t.trio(&format!("{count} headers"), NOT_WALKED, V6, Forwards, |s| s.v6(many(s, count)).tcp(s.syn()));
    }
    for count in [17, 18, 40, 180] {
        t.whoever(&format!("{count} headers"), "the limit reached is closed (RFC 9288 lets us)", V6, |s| {
            vec![(s.v6(many(s, count)).tcp(s.syn()).build(), Part::Unreadable, Forwards)]
        });
    }
    t.whoever("16 headers before UDP", "the neighbour: not TCP", V6, |s| {
        vec![(s.v6(many(s, 16)).udp(Udp::new(25, 25, b"x")).build(), Part::Other, Forwards)]
    });
    type Chain = fn(Ipv6) -> Ipv6;
    let mixed: [(&str, Chain, Bare); 6] = [
        (
            "all kinds, in the order of RFC 8200",
            |h| {
                h.hop_by_hop(0)
                    .destination_options(0)
                    .routing(2, 0, &[0; 20])
                    .fragment(0, false, 7)
                    .authentication(4)
                    .destination_options(1)
                    .extension(number::MOBILITY, &[0; 8])
            },
            Forwards,
        ),
        ("hop-by-hop options in second place", |h| h.destination_options(0).hop_by_hop(0), Forwards),
        ("hop-by-hop options twice", |h| h.hop_by_hop(0).hop_by_hop(0), Forwards),
        (
            "routing before destination options",
            |h| h.routing(4, 0, &[0; 20]).destination_options(3),
            Forwards,
        ),
        (
            "AH between options",
            |h| h.destination_options(0).authentication(4).destination_options(0),
            Forwards,
        ),
        (
            "shim6, HIP, mobility",
            |h| {
                h.extension(number::SHIM6, &[0; 8])
                    .extension(number::HIP, &[0; 8])
                    .extension(number::MOBILITY, &[0; 8])
            },
            Forwards,
        ),
    ];
    for (name, chain, bare) in mixed {
        t.trio(name, "any order, any number", V6, bare, |s| s.v6(chain(s.ipv6())).tcp(s.syn()));
    }
    for (name, next) in [
        ("no next header", number::NO_NEXT_HEADER),
        ("ESP", number::ESP),
        ("ICMPv6", number::ICMPV6),
        ("IPv6", 41),
        ("IPv4", 4),
        ("an unknown protocol", 253),
        ("SCTP", 132),
        ("UDP-Lite", 136),
    ] {
        t.whoever(&format!("options before {name}"), "the neighbour: not TCP to anybody outside", V6, |s| {
            let header = s.ipv6().destination_options(0).last_next_header(next);
            vec![(s.v6(header).tcp(s.syn()).build(), Part::Other, Forwards)]
        });
    }
}

fn authentication(t: &mut Table) {
    // RFC 4302 asks for multiples of 8 bytes in IPv6, so odd units are malformed; receivers differ.
    for units in [0, 1, 2, 3, 4, 5, 6, 10, 255] {
        t.trio(
            &format!("AH of {units} units"),
            "its length counts 4-byte units, not 8 (cilium)",
            V6,
            Forwards,
            |s| s.v6(s.ipv6().authentication(units)).tcp(s.syn()),
        );
    }
}

fn cut_off(t: &mut Table) {
    for len in [0, 1, 2, 3] {
        t.whoever(&format!("packet with {len} bytes of TCP"), "TCP, and the port is not there", V6, |s| {
            vec![(s.ip().raw(number::TCP, &s.syn_bytes(0)[..len]).build(), Part::Unreadable, Forwards)]
        });
        t.whoever(&format!("options, then {len} bytes of TCP"), "TCP, and the port is not there", V6, |s| {
            let frame = s.v6(s.ipv6().destination_options(0)).raw(number::TCP, &s.syn_bytes(0)[..len]);
            vec![(frame.build(), Part::Unreadable, Forwards)]
        });
        t.whoever(&format!("packet with {len} bytes of UDP"), "the neighbour: not TCP", V6, |s| {
            vec![(s.ip().raw(number::UDP, &s.syn_bytes(0)[..len]).build(), Part::Other, Forwards)]
        });
    }
    for len in [4, 8, 13, 14, 19] {
        t.trio(&format!("only {len} bytes of TCP"), "the port is there, that is enough", V6, Forwards, |s| {
            s.ip().raw(number::TCP, &s.syn_bytes(0)[..len])
        });
    }
    t.whoever("options longer than the packet", "it may hide TCP", V6, |s| {
        vec![(
            s.v6(s.ipv6().extension(number::DESTINATION_OPTIONS, &[0, 200, 1, 4, 0, 0, 0, 0]))
                .tcp(s.syn())
                .build(),
            Part::Unreadable,
            Forwards,
        )]
    });
    for (name, header) in [
        ("destination options", number::DESTINATION_OPTIONS),
        ("routing header", number::ROUTING),
        ("AH", number::AUTHENTICATION),
        ("mobility header", number::MOBILITY),
    ] {
        for len in [0, 1, 4, 7] {
            t.whoever(&format!("{name} cut off at {len} bytes"), "it may hide TCP", V6, |s| {
                vec![(
                    s.ip().raw(header, &[number::TCP, 0, 0, 0, 0, 0, 0, 0][..len]).build(),
                    Part::Unreadable,
                    Forwards,
                )]
            });
        }
    }
    for len in [15, 20, 37, 53] {
        t.whoever(&format!("IPv6 header cut off at {len} bytes of frame"), "nothing can be read", V6, |s| {
            vec![(s.syn_frame().cut_to(len).build(), Part::Unreadable, Drops)]
        });
    }
}

fn lengths(t: &mut Table) {
    let with_length = |s: &Shot, length| s.v6(s.ipv6().payload_length(length)).tcp(s.syn());
    t.trio("payload length 0", "a GSO packet over 64 KiB has it; the frame counts", V6, Forwards, |s| {
        with_length(s, 0)
    });
    t.trio("jumbo payload option", "RFC 2675", V6, Drops, |s| {
        let option = [0, 0, 0xc2, 4, 0, 0, 0, 28];
        s.v6(s.ipv6().extension(number::HOP_BY_HOP, &option).payload_length(0)).tcp(s.syn())
    });
    t.trio("payload length beyond the frame", "no stack accepts it; the port is there", V6, Drops, |s| {
        with_length(s, 900)
    });
    t.trio("payload length ends behind the ports", "the port is there", V6, Forwards, |s| with_length(s, 4));
    for length in [1, 3] {
        t.whoever(
            &format!("payload length {length}"),
            "the port lies behind the end of the packet",
            V6,
            |s| vec![(with_length(s, length).build(), Part::Unreadable, Forwards)],
        );
    }
    t.whoever("port only in the padding", "the length is the IP header's, not the frame's", V6, |s| {
        let mut frame = s.ip().raw(number::TCP, &s.syn_bytes(0)[..2]).build();
        frame.extend([0x01, 0xbb, 0, 0, 0, 0, 0, 0]);
        vec![(frame, Part::Unreadable, Forwards)]
    });
    t.trio("a kilobyte of padding", "not part of the packet", V6, Forwards, |s| s.syn_frame().pad_to(1024));
    for version in [0, 4, 15] {
        t.whoever(&format!("version {version}"), "no stack accepts it as IPv6", V6, |s| {
            vec![(s.v6(s.ipv6().version(version)).tcp(s.syn()).build(), Part::Other, Drops)]
        });
    }
}

fn destinations(t: &mut Table) {
    const OUTBOUND: &str =
        "to this gateway it is IPv6 that leaves by the outside interface, whatever the address looks like";
    for (name, network, bare) in [
        ("NAT64", "64:ff9b::", Forwards),
        ("local NAT64", "64:ff9b:1::", Forwards),
        ("6to4", "2002:cb00:7119::", Forwards),
        ("Teredo", "2001:0:cb00:7119::", Forwards),
        ("ISATAP", "2001:db8::5efe:0:0", Forwards),
        ("IPv4-mapped", "::ffff:0:0", Forwards),
        ("IPv4-translated", "::ffff:0:0:0", Forwards),
        ("ULA that is not internal", "fd99::", Forwards),
        ("IPv6 whose first bytes are internal IPv4", "a19:1::", Forwards),
        ("global unicast", "2a00::", Forwards),
    ] {
        let network: Ipv6Addr = network.parse().unwrap();
        for (port, expect) in [(25, DENIED), (26, UNTOUCHED)] {
            let mut shot = t.shot(V6, CLIENT, port);
            shot.to6 = Ipv6Addr::from_bits(network.to_bits() | u128::from(t.serial()));
            t.one(
                &format!("{name} destination, port {port}"),
                OUTBOUND,
                &shot,
                shot.syn_frame().build(),
                expect,
                bare,
            );
        }
    }
}
