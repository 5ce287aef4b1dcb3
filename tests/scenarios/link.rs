//! The link layer: VLAN tags, other EtherTypes, other destinations, frames that end early.

use lab::Mac;
use lab::frame::{Frame, Udp, number};

use super::Bare::{Drops, Forwards};
use super::parties::{CLIENT, Family, GATEWAY_MAC, Shot};
use super::table::{DENIED, Part, Table, UNTOUCHED};

pub fn rows(t: &mut Table) {
    tags(t);
    foreign_tags(t);
    other_ether_types(t);
    destinations(t);
    cut_frames(t);
    large_frames(t);
}

fn tagged(s: &Shot, tags: &[(u16, u16)]) -> Frame {
    tags.iter().fold(s.syn_frame(), |frame, (tpid, tci)| frame.tag(*tpid, *tci))
}

fn tags(t: &mut Table) {
    const STRIPPED: &str =
        "Linux strips stacked VLAN-ID-0 tags and routes the packet (CERT VU#855201, cilium #40247)";
    for depth in 1..=8 {
        t.both(&format!("{depth} 802.1Q tags"), STRIPPED, Forwards, |s| {
            tagged(s, &vec![(number::VLAN, 0); depth])
        });
    }
    t.both("an 802.1ad tag", STRIPPED, Forwards, |s| tagged(s, &[(number::QINQ, 0)]));
    t.both("802.1ad, then 802.1Q", STRIPPED, Forwards, |s| {
        tagged(s, &[(number::QINQ, 0), (number::VLAN, 0)])
    });
    t.both("802.1Q, then 802.1ad", STRIPPED, Forwards, |s| {
        tagged(s, &[(number::VLAN, 0), (number::QINQ, 0)])
    });
    t.both("eight tags of both kinds in turn", STRIPPED, Forwards, |s| {
        tagged(s, &[(number::QINQ, 0), (number::VLAN, 0)].repeat(4))
    });
    t.both("priority bits and the drop indicator", "VLAN ID 0 whatever the other bits", Forwards, |s| {
        tagged(s, &[(number::VLAN, 0xf000), (number::VLAN, 0xe000)])
    });
    t.trio("tag and IPv4 options", STRIPPED, Family::V4, Forwards, |s| {
        s.v4(s.ipv4().options(&[1; 8])).vlan(0).tcp(s.syn())
    });
    t.trio("tags and extension headers", STRIPPED, Family::V6, Forwards, |s| {
        s.v6(s.ipv6().destination_options(0).fragment(0, false, 4)).vlan(0).vlan(0).tcp(s.syn())
    });
    for family in Family::BOTH {
        let first = t.serial();
        t.whoever("9 tags", "one more than is followed: closed", family, |s| {
            vec![(tagged(s, &[(number::VLAN, 0); 9]).build(), Part::Unreadable, Forwards)]
        });
        t.keep_out_of_lab(
            first,
            "TC ingress finds the outer tag beside the frame, so one more can be followed",
        );
        for depth in [10, 12, 100] {
            t.whoever(&format!("{depth} tags"), "the limit reached is closed", family, |s| {
                vec![(tagged(s, &vec![(number::VLAN, 0); depth]).build(), Part::Unreadable, Forwards)]
            });
        }
        t.whoever("tagged UDP", "the neighbour: not TCP", family, |s| {
            vec![(s.ip().udp(Udp::new(25, 25, b"x")).vlan(0).vlan(0).build(), Part::Other, Forwards)]
        });
    }
}

fn foreign_tags(t: &mut Table) {
    const ELSEWHERE: &str = "this router drops it, a VLAN interface or a bridge would not";
    t.both("VLAN 5", ELSEWHERE, Drops, |s| tagged(s, &[(number::VLAN, 5)]));
    t.both("QinQ 5, 6", ELSEWHERE, Drops, |s| tagged(s, &[(number::QINQ, 5), (number::VLAN, 6)]));
    t.both("VLAN 0, then 5", ELSEWHERE, Drops, |s| tagged(s, &[(number::VLAN, 0), (number::VLAN, 5)]));
    t.both("VLAN 4095", ELSEWHERE, Drops, |s| tagged(s, &[(number::VLAN, 0x0fff)]));
    for family in Family::BOTH {
        for tpid in [0x9100, 0x9200] {
            t.whoever(
                &format!("tag of type {tpid:#x}"),
                "Linux does not strip it: not IP to anybody here",
                family,
                |s| vec![(tagged(s, &[(tpid, 0)]).build(), Part::Other, Drops)],
            );
        }
    }
}

fn other_ether_types(t: &mut Table) {
    for (name, ether_type) in [
        ("ARP", number::ARP),
        ("MPLS", 0x8847),
        ("PPPoE session", 0x8864),
        ("LLDP", 0x88cc),
        ("EAPOL", 0x888e),
        ("EtherCAT", 0x88a4),
        ("802.3 length and LLC", 60),
        ("0", 0),
        ("IPX", 0x8137),
        ("0x0801", 0x0801),
    ] {
        t.whoever(&format!("EtherType {name}"), "not IP: not ours", Family::V4, |s| {
            vec![(s.syn_frame().ether_type(ether_type).build(), Part::Other, Drops)]
        });
    }
    t.whoever("LLC/SNAP with IP inside", "Linux does not route it", Family::V4, |s| {
        let inner = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &s.syn_frame().packet()].concat();
        vec![(s.ethernet().ether_type(inner.len() as u16).raw(0, &inner).build(), Part::Other, Drops)]
    });
    t.whoever("IPv6 in a frame that says IPv4", "no stack accepts it", Family::V6, |s| {
        vec![(s.syn_frame().ether_type(number::IPV4).build(), Part::Other, Drops)]
    });
    t.whoever("IPv4 in a frame that says IPv6", "no stack accepts it", Family::V4, |s| {
        vec![(s.syn_frame().ether_type(number::IPV6).build(), Part::Other, Drops)]
    });
}

fn destinations(t: &mut Table) {
    for (name, mac) in [
        ("broadcast", Mac::BROADCAST),
        ("multicast", Mac([1, 0, 0x5e, 0, 0, 1])),
        ("somebody else", Mac([2, 0, 0, 0, 0, 0x99])),
    ] {
        t.both(
            &format!("frame to {name}"),
            "this router drops it; the decision does not depend on that",
            Drops,
            |s| Frame::new(s.from.mac, mac).ip(source(s), destination(s)).tcp(s.syn()),
        );
    }
    let first = t.serial();
    t.both("source MAC of the gateway", "an address is not who sends", Drops, |s| {
        // The mail server's row keeps the MAC that the policy binds it to.
        let mac = if s.from.name == CLIENT.name { GATEWAY_MAC } else { s.from.mac };
        Frame::new(mac, Mac::BROADCAST).ip(source(s), destination(s)).tcp(s.syn())
    });
    t.keep_out_of_lab(first, "the switch would believe it and send the gateway's frames to the client");
}

fn source(s: &Shot) -> std::net::IpAddr {
    match s.family {
        Family::V4 => s.from.v4.into(),
        Family::V6 => s.from.v6.into(),
    }
}

fn destination(s: &Shot) -> std::net::IpAddr {
    match s.family {
        Family::V4 => s.to4.into(),
        Family::V6 => s.to6.into(),
    }
}

fn cut_frames(t: &mut Table) {
    for family in Family::BOTH {
        for len in [14, 18, 30] {
            t.whoever(
                &format!("frame cut off at {len} bytes"),
                "an IP header that is not there hides its port",
                family,
                |s| vec![(s.syn_frame().cut_to(len).build(), Part::Unreadable, Drops)],
            );
        }
        for len in [14, 16, 17] {
            t.whoever(&format!("tag cut off at {len} bytes"), "there is no IP in it", family, |s| {
                vec![(s.syn_frame().vlan(0).cut_to(len).build(), Part::Other, Drops)]
            });
        }
        let first = t.serial();
        t.whoever("tag, then nothing", "an IP header that is not there hides its port", family, |s| {
            vec![(s.syn_frame().vlan(0).cut_to(18).build(), Part::Unreadable, Drops)]
        });
        t.keep_out_of_lab(first, "Linux refuses a tag with nothing behind it");
        // The kernel hands over no such frame; the parser must stand it all the same.
        for len in [0, 6, 12, 13] {
            let first = t.serial();
            let shot = t.shot(family, CLIENT, 25);
            let name = format!("{} frame of {len} bytes", family.label());
            t.one(&name, "not even Ethernet", &shot, shot.syn_frame().cut_to(len).build(), UNTOUCHED, Drops);
            t.keep_out_of_lab(first, "no packet socket sends it");
        }
    }
}

fn large_frames(t: &mut Table) {
    // Frames of a packet socket over a page have only 14 bytes in the linear part.
    const NON_LINEAR: &str = "only part of a buffer is linear: direct access would miss the header";
    for size in [1000, 1446, 4500, 8000] {
        t.both(&format!("{size} bytes of payload"), NON_LINEAR, Forwards, |s| {
            s.ip().tcp(s.syn().payload(&vec![0x41; size]))
        });
    }
    t.trio("8000 bytes with IPv4 options and a tag", NON_LINEAR, Family::V4, Forwards, |s| {
        s.v4(s.ipv4().options(&[1; 40])).vlan(0).tcp(s.syn().payload(&[0x41; 8000]))
    });
    t.trio("options of 6 KB before the port", NON_LINEAR, Family::V6, Forwards, |s| {
        s.v6(s.ipv6().destination_options(255).destination_options(255).destination_options(255)).tcp(s.syn())
    });
    let shot = t.shot(Family::V4, CLIENT, 25);
    let frame = shot.ip().tcp(shot.syn()).pad_to(8000).build();
    t.one("v4 8000 bytes that are almost all padding", NON_LINEAR, &shot, frame, DENIED, Forwards);
}
