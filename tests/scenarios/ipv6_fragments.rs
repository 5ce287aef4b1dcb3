//! IPv6 fragments: atomic, overlapping, nested, and with the port in the second one (RFC 7112).

use lab::frame::{Ipv6, Udp, number};

use super::Bare::Forwards;
use super::parties::{Family::V6, Shot};
use super::table::{Built, Part, Table};

pub fn rows(t: &mut Table) {
    atomic(t);
    whole_chain_first(t);
    chain_split(t);
    ports_within_reach(t);
    later(t);
    overlapping(t);
    nested(t);
}

fn forwarded(packets: impl IntoIterator<Item = (Vec<u8>, Part)>) -> Vec<Built> {
    packets.into_iter().map(|(frame, part)| (frame, part, Forwards)).collect()
}

/// A fragment header with its reserved bits set; `field` is offset, reserved bits and M.
fn odd_fragment(header: Ipv6, reserved: u8, field: u16) -> Ipv6 {
    let [high, low] = field.to_be_bytes();
    header.extension(number::FRAGMENT, &[0, reserved, high, low, 0, 0, 0, 9])
}

fn atomic(t: &mut Table) {
    const ATOMIC: &str = "offset 0 and nothing behind: a whole packet (RFC 6946)";
    t.trio("atomic fragment", ATOMIC, V6, Forwards, |s| s.v6(s.ipv6().fragment(0, false, 1)).tcp(s.syn()));
    t.trio("two atomic fragment headers", ATOMIC, V6, Forwards, |s| {
        s.v6(s.ipv6().fragment(0, false, 1).fragment(0, false, 2)).tcp(s.syn())
    });
    t.trio("atomic between options", ATOMIC, V6, Forwards, |s| {
        s.v6(s.ipv6().destination_options(0).fragment(0, false, 1).destination_options(2)).tcp(s.syn())
    });
    t.trio(
        "atomic with the reserved byte set",
        "a fragment header is 8 bytes, its second one no length",
        V6,
        Forwards,
        |s| s.v6(odd_fragment(s.ipv6(), 7, 0)).tcp(s.syn()),
    );
    t.trio("atomic with the reserved bits set", "they are no part of the offset", V6, Forwards, |s| {
        s.v6(odd_fragment(s.ipv6(), 0, 0b110)).tcp(s.syn())
    });
    t.whoever("atomic fragment of UDP", "the neighbour: not TCP", V6, |s| {
        let frame = s.v6(s.ipv6().fragment(0, false, 1)).udp(Udp::new(25, 25, b"x"));
        forwarded([(frame.build(), Part::Other)])
    });
}

fn whole_chain_first(t: &mut Table) {
    let parts = |frames: Vec<Vec<u8>>| {
        let part = |i| if i == 0 { Part::Readable } else { Part::Later };
        forwarded(frames.into_iter().enumerate().map(|(i, frame)| (frame, part(i))))
    };
    const FIRST_DECIDES: &str = "the first one has the port; without it nobody can reassemble";
    t.trio_of("two fragments", FIRST_DECIDES, V6, |s| {
        parts(s.ip().tcp(s.syn().payload(&[0x41; 1400])).fragments(&[800]))
    });
    t.trio_of("four fragments", FIRST_DECIDES, V6, |s| {
        parts(s.ip().tcp(s.syn().payload(&[0x41; 2000])).fragments(&[552, 1104, 1656]))
    });
    t.trio_of("the last one first", "no state, no order", V6, |s| {
        let mut all = parts(s.ip().tcp(s.syn().payload(&[0x41; 1400])).fragments(&[800]));
        all.reverse();
        all
    });
    let first = t.serial();
    t.trio_of("fragments behind options", FIRST_DECIDES, V6, |s| {
        parts(
            s.v6(s.ipv6().hop_by_hop(0).destination_options(1))
                .tcp(s.syn().payload(&[0x41; 400]))
                .fragments(&[128]),
        )
    });
    // ip6_copy_metadata() leaves out skb_iif, so the guard takes such a fragment for the gateway's own.
    t.keep_from_nat(
        first,
        "Linux cuts them anew and forgets where they came in: the guard drops the mail server's",
    );
    t.trio_of("first fragment of 8 bytes", "the ports are in it; what follows may rewrite it", V6, |s| {
        let frames = s.ip().tcp(s.syn().payload(&[0x41; 80])).fragments(&[8, 56, 64]);
        forwarded(frames.into_iter().zip([Part::Readable, Part::Ambiguous, Part::Ambiguous, Part::Later]))
    });
}

/// A later fragment at offset 64 or behind passes; it must not be able to reach the ports of the first.
fn ports_within_reach(t: &mut Table) {
    const REACH: &str = "a later fragment that passes could overwrite the port";
    let first =
        |s: &Shot, units| s.v6(s.ipv6().fragment(0, true, 9).destination_options(units)).tcp(s.syn()).build();
    t.trio_of("first fragment with 56 bytes of options", REACH, V6, |s| {
        forwarded([(first(s, 6), Part::Readable)])
    });
    for units in [7, 20] {
        let name = format!("first fragment with {} bytes of options", (units + 1) * 8);
        t.whoever(&name, REACH, V6, |s| forwarded([(first(s, units), Part::Ambiguous)]));
    }
}

fn chain_split(t: &mut Table) {
    const RFC7112: &str =
        "a first fragment without the whole chain hides the port in the second (nftables leaks 9 such)";
    for (units, cut, second) in
        [(0, 8, Part::Ambiguous), (7, 64, Part::Later), (20, 64, Part::Later), (20, 168, Part::Later)]
    {
        t.whoever(&format!("port in the second fragment, cut at {cut} of {units} units"), RFC7112, V6, |s| {
            let frames = s.v6(s.ipv6().destination_options(units)).tcp(s.syn()).fragments(&[cut]);
            forwarded(frames.into_iter().zip([Part::Unreadable, second]))
        });
    }
    for len in 0..4usize {
        t.whoever(&format!("first fragment with options and {len} bytes of TCP"), RFC7112, V6, |s| {
            let header = s.ipv6().fragment(0, true, 3).destination_options(0);
            forwarded([(s.v6(header).raw(number::TCP, &s.syn_bytes(0)[..len]).build(), Part::Unreadable)])
        });
    }
    t.whoever("first fragment that ends in the fragment header", RFC7112, V6, |s| {
        forwarded([(s.v6(s.ipv6().fragment(0, true, 3)).raw(number::TCP, &[]).build(), Part::Unreadable)])
    });
    t.whoever("first fragment that ends in the AH", RFC7112, V6, |s| {
        let header = s.ipv6().fragment(0, true, 3).last_next_header(number::AUTHENTICATION);
        forwarded([(
            s.v6(header).raw(number::TCP, &[number::TCP, 4, 0, 0, 0, 0, 0, 0]).build(),
            Part::Unreadable,
        )])
    });
    t.whoever("first fragment of UDP whose chain is whole", "the neighbour: not TCP", V6, |s| {
        let frames = s.v6(s.ipv6().destination_options(0)).udp(Udp::new(25, 25, &[0; 200])).fragments(&[128]);
        forwarded(frames.into_iter().zip([Part::Other, Part::Later]))
    });
}

fn fragment_at(s: &Shot, offset: u16, more: bool, next: u8) -> Vec<u8> {
    s.v6(s.ipv6().fragment(offset, more, 0x51)).raw(next, &s.syn_bytes(28)).build()
}

fn later(t: &mut Table) {
    const NO_PORT: &str = "no port is in it, whatever its bytes look like";
    for offset in [64, 72, 552, 1232, 1448, 65_528] {
        t.whoever(&format!("fragment at {offset} that looks like port 25"), NO_PORT, V6, |s| {
            forwarded([(fragment_at(s, offset, false, number::TCP), Part::Later)])
        });
    }
    t.whoever("middle fragment", NO_PORT, V6, |s| {
        forwarded([(fragment_at(s, 1232, true, number::TCP), Part::Later)])
    });
    t.whoever("later fragment with the reserved bits set", "they are no part of the offset", V6, |s| {
        let frame = s.v6(odd_fragment(s.ipv6(), 0xff, 1232 | 0b110)).raw(number::TCP, &s.syn_bytes(0));
        forwarded([(frame.build(), Part::Later)])
    });
    t.whoever("later fragment behind options", NO_PORT, V6, |s| {
        let frame =
            s.v6(s.ipv6().destination_options(3).fragment(1232, false, 5)).raw(number::TCP, &s.syn_bytes(0));
        forwarded([(frame.build(), Part::Later)])
    });
    for next in [number::UDP, number::ICMPV6, number::ESP] {
        t.whoever(&format!("later fragment of protocol {next}"), "the neighbour: not TCP", V6, |s| {
            forwarded([(fragment_at(s, 1232, false, next), Part::Later)])
        });
    }
}

fn overlapping(t: &mut Table) {
    const REWRITES: &str = "reassembled, it would rewrite the port behind an options header (RFC 5722)";
    for offset in [8, 16, 24, 32, 40, 48, 56] {
        t.whoever(&format!("fragment at {offset}"), REWRITES, V6, |s| {
            forwarded([(fragment_at(s, offset, false, number::TCP), Part::Ambiguous)])
        });
    }
    for next in [number::UDP, number::NO_NEXT_HEADER, number::DESTINATION_OPTIONS] {
        t.whoever(
            &format!("fragment at 8 that says it is of protocol {next}"),
            "the first one's word counts",
            V6,
            |s| forwarded([(fragment_at(s, 8, false, next), Part::Ambiguous)]),
        );
    }
    t.trio_of("two first fragments, port 443 before", "each is judged by itself", V6, |s| {
        let honest = Shot { port: 443, ..*s };
        let first = |s: &Shot| s.v6(s.ipv6().fragment(0, true, 6)).tcp(s.syn().payload(&[0; 12])).build();
        forwarded([(first(&honest), Part::Other), (first(s), Part::Readable)])
    });
    t.trio_of("port 443 behind options, then rewritten", REWRITES, V6, |s| {
        let honest = Shot { port: 443, ..*s };
        let first = s
            .v6(honest.ipv6().fragment(0, true, 6).destination_options(0))
            .tcp(honest.syn().payload(&[0; 4]));
        let second = s.v6(s.ipv6().fragment(8, false, 6)).raw(number::TCP, &s.syn_bytes(4));
        forwarded([(first.build(), Part::Other), (second.build(), Part::Ambiguous)])
    });
}

fn nested(t: &mut Table) {
    t.whoever("first fragment in a first fragment", "pieces of pieces", V6, |s| {
        let frame = s.v6(s.ipv6().fragment(0, true, 1).fragment(0, true, 2)).tcp(s.syn().payload(&[0; 12]));
        forwarded([(frame.build(), Part::Ambiguous)])
    });
    t.trio("first fragment in an atomic one", "nested fragment headers", V6, Forwards, |s| {
        s.v6(s.ipv6().fragment(0, false, 1).fragment(0, true, 2)).tcp(s.syn().payload(&[0; 12]))
    });
    t.whoever("later fragment in an atomic one", "nested fragment headers", V6, |s| {
        let frame = s.v6(s.ipv6().fragment(0, false, 1).fragment(1232, false, 2)).tcp(s.syn());
        forwarded([(frame.build(), Part::Later)])
    });
    t.whoever("fragment at 8 in an atomic one", "nested fragment headers", V6, |s| {
        let frame = s.v6(s.ipv6().fragment(0, false, 1).fragment(8, false, 2)).tcp(s.syn());
        forwarded([(frame.build(), Part::Ambiguous)])
    });
    t.whoever("17 atomic fragment headers", "the limit reached is closed", V6, |s| {
        let header = (0..17).fold(s.ipv6(), |header, n| header.fragment(0, false, n));
        forwarded([(s.v6(header).tcp(s.syn()).build(), Part::Unreadable)])
    });
}
