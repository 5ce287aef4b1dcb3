//! Sequences of fragments: of one datagram or of two that share an identity, overlapping, reordered, doubled, missing.

use std::net::IpAddr;

use lab::frame::{Ipv4, Ipv6, Udp, number};

use super::random::Random;
use super::sequence::Way;
use super::single;

/// What a receiver may be offered in one sequence; more would take the oracle too long.
const MOST_PIECES: usize = 7;

pub fn frames(random: &mut Random, way: &Way) -> Vec<Vec<u8>> {
    let id = random.next() as u16;
    let stretch = stretch(random);
    let mut frames = datagram(random, way, id, &stretch);
    if random.chance(55) {
        // A second datagram of the same identity: what a receiver makes of both is up to the receiver.
        let again = if random.chance(80) { stretch.clone() } else { twisted(random, &stretch) };
        let mut second = datagram(random, way, id, &again);
        if random.chance(60) {
            second.remove(0);
        }
        frames.extend(second);
    }
    if random.chance(30) {
        for _ in 0..random.within(1, 2) {
            frames.push(stray(random, way, id));
        }
    }
    if random.chance(15) {
        let again = random.below(frames.len());
        frames.push(frames[again].clone());
    }
    if random.chance(20) && frames.len() > 1 {
        frames.remove(random.below(frames.len()));
    }
    if random.chance(50) {
        random.shuffle(&mut frames);
    }
    frames.truncate(MOST_PIECES);
    frames
}

/// A header between the IP header and TCP.
#[derive(Clone, Copy)]
enum Link {
    /// Destination options of so many units of 8 bytes beyond the first.
    Options(u8),
    /// A fragment header inside the fragment.
    Fragment { offset: u16, more: bool },
}

fn stretch(random: &mut Random) -> Vec<Link> {
    match random.below(100) {
        0..40 => Vec::new(),
        40..75 => vec![Link::Options(random.below(4) as u8)],
        75..85 => vec![Link::Options(random.below(24) as u8)],
        _ => (0..random.within(2, 4)).map(|_| link(random)).collect(),
    }
}

/// As long, but with other fragment headers in it.
fn twisted(random: &mut Random, stretch: &[Link]) -> Vec<Link> {
    let twist = |link: &Link| match link {
        Link::Options(0) | Link::Fragment { .. } => {
            Link::Fragment { offset: 8 * random.below(2) as u16, more: random.chance(50) }
        }
        Link::Options(units) => Link::Options(*units),
    };
    stretch.iter().map(twist).collect()
}

fn link(random: &mut Random) -> Link {
    if random.chance(75) {
        return Link::Options(random.below(9) as u8);
    }
    let offset = if random.chance(60) { 0 } else { 8 * random.below(12) as u16 };
    Link::Fragment { offset, more: random.chance(40) }
}

/// One datagram in pieces.
fn datagram(random: &mut Random, way: &Way, id: u16, stretch: &[Link]) -> Vec<Vec<u8>> {
    let frame = single::tagged(random, way);
    let mut in_front = 0;
    let frame = match (way.src, way.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = Ipv4::new(src, dst).id(id);
            if random.chance(30) {
                header = header.options(&single::options(random));
            }
            frame.ipv4(header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = Ipv6::new(src, dst);
            if random.chance(20) {
                header = header.hop_by_hop(random.below(3) as u8);
            }
            if random.chance(15) {
                header = header.routing(4, 0, &random.bytes(4));
            }
            for link in stretch {
                (header, in_front) = match *link {
                    Link::Options(units) => {
                        (header.destination_options(units), in_front + 8 * (usize::from(units) + 1))
                    }
                    Link::Fragment { offset, more } => (header.fragment(offset, more, V6_ID), in_front + 8),
                };
            }
            frame.ipv6(header)
        }
        _ => frame,
    };
    let tcp = single::segment(random).payload(&random.bytes(40));
    let bytes = single::segment_bytes(way, tcp.clone());
    let (frame, length) = match random.below(100) {
        0..80 => (frame.tcp(tcp), bytes.len()),
        80..90 if way.is_v4() => {
            let bytes = single::authenticated(random, number::TCP, &bytes);
            (frame.raw(number::AUTHENTICATION, &bytes), bytes.len())
        }
        _ => (frame.udp(Udp::new(40_000, single::port(random), &random.bytes(40))), 48),
    };
    frame.fragments(&cuts(random, in_front, in_front + length))
}

/// Where to cut `length` bytes: rather near the TCP header, and rather early.
fn cuts(random: &mut Random, header: usize, length: usize) -> Vec<usize> {
    let last = (length - 1) / 8;
    let mut cuts: Vec<usize> = (0..random.within(1, 3))
        .map(|_| {
            let unit = match random.below(10) {
                0..3 => header / 8,
                3..6 => header / 8 + random.within(1, 2),
                6..8 => random.within(1, 8),
                _ => random.within(1, last),
            };
            unit.clamp(1, last) * 8
        })
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// A single piece that looks like something it isn't: TCP to port 25 at an odd place, a fragment in a fragment.
fn stray(random: &mut Random, way: &Way, id: u16) -> Vec<u8> {
    let frame = single::tagged(random, way);
    let offset = 8 * match random.below(10) {
        0..3 => 0,
        3..6 => random.within(1, 9),
        6..9 => random.within(8, 26),
        _ => random.within(64, 8000),
    } as u16;
    let more = random.chance(60);
    let tcp = single::segment(random);
    let mut bytes = single::segment_bytes(way, tcp);
    bytes.truncate(random.within(0, bytes.len()));
    let next = random.pick(&[number::TCP, number::TCP, number::TCP, number::UDP, number::AUTHENTICATION]);
    let frame = match (way.src, way.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => frame.ipv4(Ipv4::new(src, dst).id(id).fragment(offset, more)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = Ipv6::new(src, dst).fragment(offset, more, V6_ID);
            frame.ipv6(match random.below(10) {
                0 => header.fragment(8 * random.within(0, 12) as u16, random.chance(50), V6_ID),
                1 => header.destination_options(random.below(3) as u8),
                _ => header,
            })
        }
        _ => frame,
    };
    frame.raw(next, &bytes).build()
}

/// The identity that the lab's frame builder gives to the pieces of an IPv6 packet.
const V6_ID: u32 = 0x5eed_0001;
