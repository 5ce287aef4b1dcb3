//! Sequences of whole packets: every framing of TCP, and protocols that are not TCP.

use std::net::IpAddr;

use lab::frame::{Frame, Ipv4, Ipv6, Tcp, Udp, flags, number};

use super::random::Random;
use super::sequence::Way;

pub fn frames(random: &mut Random, way: &Way) -> Vec<Vec<u8>> {
    (0..random.within(1, 3)).map(|_| one(random, way)).collect()
}

fn one(random: &mut Random, way: &Way) -> Vec<u8> {
    let frame = tagged(random, way);
    let frame = with_header(random, way, frame);
    let frame = match random.below(100) {
        0..80 => frame.tcp(segment(random)),
        80..86 => {
            let data = &random.bytes(8);
            frame.udp(Udp::new(40_000, port(random), data))
        }
        _ => other(random, way, frame),
    };
    frame.pad_to(if random.chance(30) { 60 } else { 0 }).build()
}

/// The Ethernet header with tags that the kernel takes out, and sometimes some that it doesn't.
pub fn tagged(random: &mut Random, way: &Way) -> Frame {
    let mut frame = Frame::new(way.mac, way.gateway);
    let tags = match random.below(100) {
        0..72 => 0,
        72..84 => 1,
        84..94 => random.within(2, 8),
        94..97 => 9,
        _ => random.within(10, 12),
    };
    for _ in 0..tags {
        let priority = (random.below(16) as u16) << 12;
        let id = if random.chance(1) { 5 } else { 0 };
        frame = frame.tag(random.pick(&[number::VLAN, number::QINQ]), priority | id);
    }
    frame
}

/// An IP header with whatever may stand in it.
pub fn with_header(random: &mut Random, way: &Way, frame: Frame) -> Frame {
    match (way.src, way.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frame.ipv4(v4(random, Ipv4::new(src, dst))),
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6::new(src, dst).traffic_class(random.byte()).flow_label(random.next() as u32);
            let header = chain(random, header);
            frame.ipv6(length_v6(random, header))
        }
        _ => frame,
    }
}

fn v4(random: &mut Random, header: Ipv4) -> Ipv4 {
    let mut header = header.tos(random.byte()).id(random.next() as u16);
    if random.chance(40) {
        header = header.options(&options(random));
    }
    if random.chance(5) {
        header = header.reserved_bit();
    }
    if random.chance(25) {
        header = header.dont_fragment();
    }
    if random.chance(5) {
        header = header.total_length(random.within(0, 120) as u16);
    }
    if random.chance(3) {
        header = header.ihl(random.below(16) as u8);
    }
    if random.chance(3) {
        header = header.ttl(random.within(0, 3) as u8);
    }
    header
}

/// Options as routers take them: no-operation, record route, security, stream, or nonsense. No timestamp, which would tell
/// the two gateways apart.
pub fn options(random: &mut Random) -> Vec<u8> {
    let length = random.within(1, 10) * 4;
    let mut options = match random.below(5) {
        0 => vec![1; length],
        1 => vec![7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        2 => vec![130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        3 => vec![136, 4, 0, 25],
        _ => random.bytes(length).into_iter().map(|byte| if byte == 68 { 1 } else { byte }).collect(),
    };
    options.resize(length, 1);
    options
}

fn chain(random: &mut Random, mut header: Ipv6) -> Ipv6 {
    let count = match random.below(100) {
        0..35 => 0,
        35..85 => random.within(1, 5),
        85..95 => random.within(6, 15),
        _ => random.within(16, 19),
    };
    for i in 0..count {
        let units = if random.chance(6) { random.below(24) as u8 } else { random.below(3) as u8 };
        header = match random.below(100) {
            0..15 if i == 0 => header.hop_by_hop(units),
            0..35 => header.destination_options(units),
            35..50 => {
                let data = random.bytes(4 + 8 * usize::from(units));
                header.routing(random.pick(&[0, 2, 3, 4, 253]), random.below(3) as u8, &data)
            }
            50..65 => header.fragment(0, false, random.next() as u32),
            65..80 => header.authentication(units),
            80..97 => {
                let mut bytes = random.bytes(8 * (usize::from(units) + 1));
                bytes[1] = units;
                header.extension(random.pick(&[number::MOBILITY, number::HIP, number::SHIM6]), &bytes)
            }
            _ => header.hop_by_hop(units),
        };
    }
    header
}

fn length_v6(random: &mut Random, header: Ipv6) -> Ipv6 {
    match random.below(100) {
        0..4 => header.payload_length(random.within(0, 100) as u16),
        4..6 => header.hop_limit(random.within(0, 2) as u8),
        _ => header,
    }
}

/// Ports: the blocked one, those beside it and its bytes swapped, submission, web, anything.
pub fn port(random: &mut Random) -> u16 {
    match random.below(100) {
        0..50 => 25,
        50..65 => 443,
        65..75 => 587,
        75..90 => random.pick(&[24, 26, 465, 2525, 6400, 6425, 0, 281]),
        _ => random.next() as u16,
    }
}

pub fn segment(random: &mut Random) -> Tcp {
    let from = if random.chance(80) { random.within(1024, 65535) as u16 } else { port(random) };
    let some = random.byte();
    let bits = random.pick(&[
        flags::SYN,
        flags::SYN,
        flags::SYN,
        flags::ACK,
        flags::RST,
        flags::ACK | flags::PSH,
        some,
    ]);
    let mut tcp = Tcp::new(from, port(random), bits)
        .sequence(random.next() as u32)
        .acknowledgement(random.next() as u32)
        .window(random.next() as u16);
    if random.chance(30) {
        let length = random.within(1, 40);
        tcp = tcp.options(&random.bytes(length));
    }
    if random.chance(40) {
        let length = random.within(1, 120);
        tcp = tcp.payload(&random.bytes(length));
    }
    if random.chance(5) {
        tcp = tcp.data_offset(random.below(16) as u8);
    }
    if random.chance(5) {
        tcp = tcp.checksum(random.next() as u16);
    }
    tcp
}

/// The bytes of a segment with a correct checksum.
pub fn segment_bytes(way: &Way, tcp: Tcp) -> Vec<u8> {
    let header = if way.is_v4() { 20 } else { 40 };
    Frame::new(way.mac, way.gateway).ip(way.src, way.dst).tcp(tcp).packet().split_off(header)
}

/// An authentication header in front of `bytes`.
pub fn authenticated(random: &mut Random, next: u8, bytes: &[u8]) -> Vec<u8> {
    let units = random.within(0, 5) as u8;
    let mut header = vec![next, units, 0, 0];
    header.extend(random.bytes(4 * (usize::from(units) + 1)));
    [&header[..], bytes].concat()
}

/// What is not TCP to anybody outside although bytes of TCP are in it, and TCP behind an authentication header.
fn other(random: &mut Random, way: &Way, frame: Frame) -> Frame {
    let segment = segment(random);
    let segment = segment_bytes(way, segment);
    let quoted = [&[3, 1, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6][..], &segment].concat();
    let icmp = if way.is_v4() { number::ICMP } else { number::ICMPV6 };
    match random.below(10) {
        0..4 => frame.raw(number::AUTHENTICATION, &authenticated(random, number::TCP, &segment)),
        4 => frame.raw(number::ESP, &segment),
        5 => frame.raw(icmp, &quoted),
        6 => frame.raw(number::NO_NEXT_HEADER, &segment),
        // SCTP, UDP-Lite, GRE, IPv4 and IPv6 in IP, experiments.
        7 | 8 => frame.raw(random.pick(&[132, 136, 47, 4, 41, 253]), &segment),
        _ => frame.raw(random.byte(), &segment),
    }
}
