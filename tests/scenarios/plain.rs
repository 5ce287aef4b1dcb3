//! Plain packets: the ports and header fields that a port filter sees every second.

use lab::frame::{Ipv4, Ipv6, flags};

use super::Bare::Forwards;
use super::parties::{CLIENT, Family, MAIL};
use super::table::{DENIED, FROM_MAIL_SERVER, Table, UNTOUCHED};

pub fn rows(t: &mut Table) {
    t.both("SYN", "a bot's first packet; IPv6 too, or it is no firewall", Forwards, |s| s.syn_frame());
    t.both(
        "data in mid-stream",
        "no state decides: a session from before the policy ends with it",
        Forwards,
        |s| s.ip().tcp(s.segment(flags::PSH | flags::ACK).acknowledgement(7).payload(b"MAIL FROM:<a@b>\r\n")),
    );
    for family in Family::BOTH {
        for (port, why) in [
            (443, "web"),
            (587, "submission"),
            (465, "submission over TLS"),
            (24, "one below"),
            (2525, "an alternative some providers offer: observed, never blocked"),
            (0, "unused slots of the list of blocked ports hold 0"),
            (0x1900, "25 in the other byte order"),
            (25 + 256, "25 in the low byte"),
            (25 << 1, "nothing special"),
            (65_535, "the highest port"),
        ] {
            let shot = t.shot(family, CLIENT, port);
            let name = format!("{} client to port {port}", family.label());
            t.one(&name, why, &shot, shot.syn_frame().build(), UNTOUCHED, Forwards);
        }
        for (from, expect) in [(CLIENT, DENIED), (MAIL, FROM_MAIL_SERVER)] {
            let shot = t.shot(family, from, 10_025);
            let name = format!("{} {} to the second blocked port", family.label(), from.name);
            t.one(&name, "the whole list counts", &shot, shot.syn_frame().build(), expect, Forwards);
        }
    }

    type Change4 = fn(Ipv4) -> Ipv4;
    let changes: [(&str, Change4); 5] = [
        ("don't fragment", |h| h.dont_fragment()),
        ("reserved bit (RFC 3514)", |h| h.reserved_bit()),
        ("both upper flag bits", |h| h.dont_fragment().reserved_bit()),
        ("TTL 2", |h| h.ttl(2)),
        ("all of TOS", |h| h.tos(0xff)),
    ];
    for (name, change) in changes {
        t.trio(name, "no part of the port", Family::V4, Forwards, |s| s.v4(change(s.ipv4())).tcp(s.syn()));
    }
    t.trio("TTL 1", "expires here; the answer is not ours to give", Family::V4, super::Bare::Drops, |s| {
        s.v4(s.ipv4().ttl(1)).tcp(s.syn())
    });

    type Change6 = fn(Ipv6) -> Ipv6;
    let changes: [(&str, Change6); 3] = [
        ("hop limit 2", |h| h.hop_limit(2)),
        ("all of the traffic class", |h| h.traffic_class(0xff)),
        ("all of the flow label", |h| h.flow_label(0xf_ffff)),
    ];
    for (name, change) in changes {
        t.trio(name, "no part of the port", Family::V6, Forwards, |s| s.v6(change(s.ipv6())).tcp(s.syn()));
    }
}
