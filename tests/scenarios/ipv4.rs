//! IPv4: options, AH, lengths that lie.

use lab::frame::{Frame, Ipv4, Udp, number};

use super::Bare::{self, Drops, Forwards};
use super::parties::{CLIENT, Family::V4, Shot};
use super::table::{Part, Table, UNTOUCHED};

pub fn rows(t: &mut Table) {
    options(t);
    authentication(t);
    lengths(t);
    odd_headers(t);
}

fn options(t: &mut Table) {
    const FIXED_HEADER: &str = "a fixed 20-byte header misses the port (oryx, ingress-node-firewall)";
    for ihl in 6..=15usize {
        t.trio(&format!("IHL {ihl}"), FIXED_HEADER, V4, Forwards, |s| {
            s.v4(s.ipv4().options(&vec![1; (ihl - 5) * 4])).tcp(s.syn())
        });
    }
    // An option that nobody knows, whose bytes are a TCP header to port 443 for who reads at offset 20.
    t.trio("options that look like TCP to port 443", FIXED_HEADER, V4, Forwards, |s| {
        s.v4(s.ipv4().options(&[0x9e, 20, 0x01, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]))
            .tcp(s.syn())
    });
    for (name, bytes, bare) in [
        ("record route", &[7u8, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0][..], Forwards),
        ("timestamp", &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], Forwards),
        ("router alert", &[148, 4, 0, 0], Forwards),
        ("stream id", &[136, 4, 0, 0], Forwards),
        ("loose source route", &[131, 7, 4, 192, 0, 2, 1], Drops),
        ("strict source route", &[137, 7, 4, 192, 0, 2, 1], Drops),
        ("option longer than the header", &[7, 40, 4, 0], Drops),
        ("option of length 0", &[7, 0, 4, 0], Drops),
    ] {
        t.trio(name, "options only move the port", V4, bare, |s| s.v4(s.ipv4().options(bytes)).tcp(s.syn()));
    }
}

/// An authentication header with this length field, before `next` and `inner`.
pub fn ah(units: u8, next: u8, inner: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * (usize::from(units) + 2)];
    (bytes[0], bytes[1]) = (next, units);
    bytes.extend(inner);
    bytes
}

fn authentication(t: &mut Table) {
    const CLEAR: &str =
        "behind AH the TCP is in clear; its length counts 4-byte units (RFC 4302), not 8 (cilium)";
    for units in [0, 1, 2, 4, 5, 7, 10, 255] {
        t.trio(&format!("AH of {units} units"), CLEAR, V4, Forwards, |s| {
            s.ip().raw(number::AUTHENTICATION, &ah(units, number::TCP, &s.syn_bytes(0)))
        });
    }
    let stack = |s: &Shot, depth: usize| {
        (0..depth).fold((number::TCP, s.syn_bytes(0)), |(next, inner), _| {
            (number::AUTHENTICATION, ah(4, next, &inner))
        })
    };
    for depth in [2, 16] {
        t.trio(&format!("{depth} AH"), CLEAR, V4, Forwards, |s| {
            s.ip().raw(number::AUTHENTICATION, &stack(s, depth).1)
        });
    }
    t.whoever("17 AH", "the limit reached is closed", V4, |s| {
        vec![(s.ip().raw(number::AUTHENTICATION, &stack(s, 17).1).build(), Part::Unreadable, Forwards)]
    });
    for (name, next) in
        [("UDP", number::UDP), ("ESP", number::ESP), ("IPv4", 4), ("IPv6 options", number::HOP_BY_HOP)]
    {
        t.whoever(&format!("AH before {name}"), "the neighbour: not TCP", V4, |s| {
            let inner = ah(4, next, &s.syn_bytes(0));
            vec![(s.ip().raw(number::AUTHENTICATION, &inner).build(), Part::Other, Forwards)]
        });
    }
    let cut = |s: &Shot, len: usize, header: Ipv4| {
        s.v4(header).raw(number::AUTHENTICATION, &ah(4, number::TCP, &s.syn_bytes(0))[..len])
    };
    for len in [0, 4, 8, 24, 27] {
        t.whoever(&format!("AH cut off at {len} bytes"), "it may hide TCP", V4, |s| {
            vec![(cut(s, len, s.ipv4()).build(), Part::Unreadable, Forwards)]
        });
    }
    t.whoever("first fragment that ends in the AH", "the port would be in the second one", V4, |s| {
        vec![(cut(s, 16, s.ipv4().fragment(0, true)).build(), Part::Unreadable, Forwards)]
    });
    for (offset, part) in [
        (8, Part::Ambiguous),
        (24, Part::Ambiguous),
        (56, Part::Ambiguous),
        (64, Part::Later),
        (1480, Part::Later),
    ] {
        t.whoever(
            &format!("AH fragment at {offset}"),
            "behind an AH the ports may lie further back",
            V4,
            |s| vec![(cut(s, 44, s.ipv4().fragment(offset, false)).build(), part, Forwards)],
        );
    }
}

fn lengths(t: &mut Table) {
    let lying = |t: &mut Table, name: &str, why, total: u16, bare: Bare| {
        t.trio(name, why, V4, bare, |s| s.v4(s.ipv4().total_length(total)).tcp(s.syn()));
    };
    lying(t, "total length 0", "real for GSO packets over 64 KiB; the frame counts", 0, Drops);
    lying(
        t,
        "total length beyond the frame",
        "no stack accepts it; the port is there all the same",
        1000,
        Drops,
    );
    lying(t, "total length ends behind the ports", "the port is there", 24, Forwards);
    for total in [20, 22, 23] {
        t.whoever(&format!("total length {total}"), "the port lies behind the end of the packet", V4, |s| {
            vec![(s.v4(s.ipv4().total_length(total)).tcp(s.syn()).build(), Part::Unreadable, Forwards)]
        });
    }
    t.whoever("total length 19", "shorter than its header", V4, |s| {
        vec![(s.v4(s.ipv4().total_length(19)).tcp(s.syn()).build(), Part::Unreadable, Drops)]
    });
    t.trio("60 bytes of Ethernet padding", "honest short frames have it", V4, Forwards, |s| {
        s.syn_frame().pad_to(60)
    });
    t.trio("a kilobyte of padding", "not part of the packet", V4, Forwards, |s| s.syn_frame().pad_to(1024));
    for len in [15, 24, 33] {
        t.whoever(
            &format!("IPv4 header cut off at {len} bytes of frame"),
            "the protocol can't be read",
            V4,
            |s| vec![(s.syn_frame().cut_to(len).build(), Part::Unreadable, Drops)],
        );
    }
}

fn odd_headers(t: &mut Table) {
    for ihl in 0..5 {
        t.whoever(&format!("IHL {ihl}"), "no stack accepts it: not blocked mail, and no crash", V4, |s| {
            vec![(s.v4(s.ipv4().ihl(ihl)).tcp(s.syn()).build(), Part::Other, Drops)]
        });
    }
    for version in [0, 5, 6, 15] {
        t.whoever(&format!("version {version}"), "no stack accepts it as IPv4", V4, |s| {
            vec![(s.v4(s.ipv4().version(version)).tcp(s.syn()).build(), Part::Other, Drops)]
        });
    }
    t.trio("bad header checksum", "routers drop it; we need not rely on that", V4, Drops, |s| {
        s.v4(s.ipv4().checksum(0xdead)).tcp(s.syn())
    });
    t.whoever("IHL 15 in a packet of 40 bytes", "the header reaches over the end", V4, |s| {
        vec![(s.v4(s.ipv4().ihl(15)).tcp(s.syn()).build(), Part::Unreadable, Drops)]
    });
    let shot = t.shot(V4, CLIENT, 25);
    let udp: Frame = shot.v4(shot.ipv4().options(&[1; 40])).udp(Udp::new(25, 25, b"options and UDP"));
    t.one("v4 UDP with IHL 15", "the neighbour: not TCP", &shot, udp.build(), UNTOUCHED, Forwards);
}
