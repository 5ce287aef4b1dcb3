//! Other protocols: UDP, SCTP, ESP, tunnels. Not SMTP from us, whatever port 25 they mention.

use lab::frame::{Udp, number};

use super::Bare::Forwards;
use super::parties::{Family, Shot};
use super::table::{Part, Table};

pub fn rows(t: &mut Table) {
    for family in Family::BOTH {
        for port in [25, 443, 3544, 4500, 10_025] {
            pass(t, family, &format!("UDP to port {port}"), "not TCP (QUIC, IPsec, Teredo)", |s| {
                s.ip().udp(Udp::new(25, port, b"EHLO")).build()
            });
        }
        for (protocol, name) in [
            (33, "DCCP"),
            (132, "SCTP"),
            (136, "UDP-Lite"),
            (number::ESP, "ESP"),
            (47, "GRE"),
            (89, "OSPF"),
            (94, "IPIP of old"),
            (103, "PIM"),
            (112, "VRRP"),
            (115, "L2TP"),
            (253, "an experiment"),
            (255, "reserved"),
        ] {
            pass(t, family, name, "its first bytes look like TCP to port 25, and it is none", |s| {
                s.ip().raw(protocol, &s.syn_bytes(0)).build()
            });
        }
        for (protocol, inner, name) in [(4, Family::V4, "IPv4"), (41, Family::V6, "IPv6")] {
            pass(t, family, &format!("{name} inside"), "tunnels are outside the promise", |s| {
                let inside = Shot { family: inner, ..*s };
                s.ip().raw(protocol, &inside.syn_frame().packet()).build()
            });
        }
        pass(t, family, "VXLAN with port 25 inside", "tunnels are outside the promise", |s| {
            let inside = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &s.syn_frame().build()].concat();
            s.ip().udp(Udp::new(40_000, 4789, &inside)).build()
        });
    }
    // In IPv4 these numbers are no extension headers: nobody looks for TCP behind them.
    for (protocol, name) in
        [(0, "0"), (43, "43"), (44, "44"), (60, "60"), (135, "135"), (139, "139"), (140, "140"), (59, "59")]
    {
        pass(t, Family::V4, &format!("protocol {name}"), "an extension header of IPv6 alone", |s| {
            s.ip().raw(protocol, &[&[6, 0, 0, 0, 0, 0, 0, 0][..], &s.syn_bytes(0)].concat()).build()
        });
    }
    pass(t, Family::V4, "ICMP echo", "not TCP", |s| {
        s.ip().raw(number::ICMP, &[&[8, 0, 0, 0][..], &s.syn_bytes(0)].concat()).build()
    });
    pass(t, Family::V6, "ICMPv6 echo", "not TCP", |s| {
        s.ip().raw(number::ICMPV6, &[&[128, 0, 0, 0][..], &s.syn_bytes(0)].concat()).build()
    });
}

fn pass(t: &mut Table, family: Family, name: &str, why: &'static str, build: impl Fn(&Shot) -> Vec<u8>) {
    t.whoever(name, why, family, |s| vec![(build(s), Part::Other, Forwards)]);
}
