//! IPv4 fragments: which have the port, which have none, which could rewrite it.

use lab::frame::{Ipv4, number};

use super::Bare::Forwards;
use super::parties::{Family::V4, Shot};
use super::table::{Built, Part, Table};

pub fn rows(t: &mut Table) {
    fragments(t);
    first_fragments_without_port(t);
    later_fragments(t);
}

fn fragments(t: &mut Table) {
    let long = |s: &Shot| s.ip().tcp(s.syn().payload(&[0x41; 1600]));
    let parts = |frames: Vec<Vec<u8>>| -> Vec<Built> {
        let part = |i| if i == 0 { Part::Readable } else { Part::Later };
        frames.into_iter().enumerate().map(|(i, frame)| (frame, part(i), Forwards)).collect()
    };
    const PORTS_FIRST: &str =
        "IPv4 ports are always in the fragment at offset 0; without it nobody can reassemble";
    t.trio_of("two fragments", PORTS_FIRST, V4, |s| parts(long(s).fragments(&[800])));
    t.trio_of("four fragments", PORTS_FIRST, V4, |s| parts(long(s).fragments(&[400, 800, 1200])));
    t.trio_of("cut behind the TCP header", PORTS_FIRST, V4, |s| parts(long(s).fragments(&[24])));
    t.trio_of("out of order", "the last one first: no state, no order", V4, |s| {
        let mut all = parts(long(s).fragments(&[400, 800, 1200]));
        all.reverse();
        all
    });
    t.trio_of("every fragment twice", "no state", V4, |s| {
        parts(long(s).fragments(&[800])).into_iter().flat_map(|part| [part.clone(), part]).collect()
    });
    t.trio_of("fragments with options", "IHL counts in fragments too", V4, |s| {
        parts(s.v4(s.ipv4().options(&[1; 12])).tcp(s.syn().payload(&[0x41; 200])).fragments(&[64, 128]))
    });
    t.trio_of(
        "8-byte first fragment",
        "RFC 1858 hides the flags, not the port; offset 8 is RFC 3128",
        V4,
        |s| {
            let frames = s.syn_frame().fragments(&[8, 16]);
            frames
                .into_iter()
                .zip([Part::Readable, Part::Ambiguous, Part::Later])
                .map(|(f, p)| (f, p, Forwards))
                .collect()
        },
    );
    t.trio_of("two first fragments, port 443 before", "each is judged by itself", V4, |s| {
        let honest = Shot { port: 443, ..*s };
        let first = |s: &Shot| s.v4(s.ipv4().fragment(0, true)).tcp(s.syn().payload(&[0; 12])).build();
        vec![(first(&honest), Part::Other, Forwards), (first(s), Part::Readable, Forwards)]
    });
    t.trio_of(
        "same IP ID as a packet to port 443",
        "a verdict cached by ID is the sender's (cilium #46100)",
        V4,
        |s| {
            let honest = Shot { port: 443, ..*s };
            let first =
                |s: &Shot| s.v4(s.ipv4().id(0x4242).fragment(0, true)).tcp(s.syn().payload(&[0; 12])).build();
            let last = s.v4(s.ipv4().id(0x4242).fragment(32, false)).raw(number::TCP, &[0; 16]).build();
            vec![
                (first(&honest), Part::Other, Forwards),
                (first(s), Part::Readable, Forwards),
                (last, Part::Later, Forwards),
            ]
        },
    );
    for (name, header) in [
        ("whole packet with more-fragments set", Ipv4::fragment as fn(Ipv4, u16, bool) -> Ipv4),
        ("the same with reserved bit and DF", |h, o, m| h.fragment(o, m).reserved_bit().dont_fragment()),
    ] {
        t.trio(name, "offset 0 is offset 0", V4, Forwards, |s| {
            s.v4(header(s.ipv4(), 0, true)).tcp(s.syn().payload(&[0; 12]))
        });
    }
}

fn first_fragments_without_port(t: &mut Table) {
    for len in 0..4usize {
        t.whoever(
            &format!("first fragment with {len} bytes of TCP"),
            "TCP, and the port is not there",
            V4,
            |s| {
                let frame = s.v4(s.ipv4().fragment(0, true)).raw(number::TCP, &s.syn_bytes(0)[..len]);
                vec![(frame.build(), Part::Unreadable, Forwards)]
            },
        );
        t.whoever(&format!("packet with {len} bytes of TCP"), "TCP, and the port is not there", V4, |s| {
            let frame = s.ip().raw(number::TCP, &s.syn_bytes(0)[..len]);
            vec![(frame.build(), Part::Unreadable, Forwards)]
        });
        t.whoever(&format!("packet with {len} bytes of UDP"), "the neighbour: not TCP", V4, |s| {
            vec![(s.ip().raw(number::UDP, &s.syn_bytes(0)[..len]).build(), Part::Other, Forwards)]
        });
    }
    for len in [4, 5, 8, 12, 13, 14, 19] {
        t.trio(&format!("only {len} bytes of TCP"), "the port is there, that is enough", V4, Forwards, |s| {
            s.ip().raw(number::TCP, &s.syn_bytes(0)[..len])
        });
    }
    t.whoever(
        "port only in the Ethernet padding",
        "the length is the IP header's, not the frame's",
        V4,
        |s| {
            let mut frame = s.ip().raw(number::TCP, &s.syn_bytes(0)[..2]).build();
            frame.extend([0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2]);
            frame.resize(60, 0);
            vec![(frame, Part::Unreadable, Forwards)]
        },
    );
}

fn later_fragments(t: &mut Table) {
    let later = |s: &Shot, offset, more, protocol| {
        s.v4(s.ipv4().fragment(offset, more)).raw(protocol, &s.syn_bytes(12)).build()
    };
    for offset in [16, 24, 64, 552, 1480, 8192, 65_528] {
        t.whoever(
            &format!("fragment at {offset} that looks like port 25"),
            "no port is in it (nftables without conntrack reads one)",
            V4,
            |s| vec![(later(s, offset, false, number::TCP), Part::Later, Forwards)],
        );
    }
    t.whoever("middle fragment", "as the last one", V4, |s| {
        vec![(later(s, 1480, true, number::TCP), Part::Later, Forwards)]
    });
    for more in [false, true] {
        t.whoever(&format!("TCP fragment at 8, more {more}"), "rewrites the TCP flags (RFC 3128)", V4, |s| {
            vec![(later(s, 8, more, number::TCP), Part::Ambiguous, Forwards)]
        });
    }
    t.whoever("TCP fragment at 8 with DF and the reserved bit", "flag bits are no offset", V4, |s| {
        let header = s.ipv4().fragment(8, false).dont_fragment().reserved_bit();
        vec![(s.v4(header).raw(number::TCP, &s.syn_bytes(12)).build(), Part::Ambiguous, Forwards)]
    });
    for (name, protocol) in [("UDP", number::UDP), ("ICMP", number::ICMP), ("ESP", number::ESP)] {
        t.whoever(&format!("{name} fragment at 8"), "the neighbour: not TCP", V4, |s| {
            // What is no TCP may come in fragments of any size.
            vec![(later(s, 8, false, protocol), Part::Later, Forwards)]
        });
    }
}
