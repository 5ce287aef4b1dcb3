//! What any receiver could make of the packets that reach it: TCP to a port, by whatever rule it reassembles.
//!
//! Known stacks differ in which of two overlapping fragments wins: the first to arrive, the last, the one that begins
//! lower or higher. Each of these rules ranks the fragments, and the higher rank wins wherever two overlap; so all orders of
//! ranks are tried. A missing rest is no obstacle: the sender can still deliver it. The header that the fragments carry in
//! common counts as the one of the fragment whose first byte wins.

use std::net::IpAddr;

use crate::reference::{self, Inner};

/// What makes fragments belong together: addresses and identity, and in IPv4 the protocol.
type Key = (IpAddr, IpAddr, u32, Option<u8>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    key: Key,
    offset: usize,
    next: u8,
    bytes: Vec<u8>,
}

/// The port can't lie further back: the longest frame is shorter.
const REACH: usize = 1536;
/// 7 fragments can be ranked in 5,040 ways.
const MOST_ORDERS: usize = 6000;
/// Fragments inside fragments are followed this deep.
const DEPTH: usize = 3;

/// Whether some receiver could get a TCP segment to `port` out of these IP packets.
pub fn can_get(packets: &[&[u8]], port: u16) -> bool {
    let mut parts = Vec::new();
    for datagram in packets.iter().filter_map(|packet| reference::datagram(packet)) {
        let (src, dst) = (datagram.src, datagram.dst);
        match datagram.piece {
            Some(piece) => {
                let key = (src, dst, piece.id, Some(datagram.next));
                let (offset, bytes) = (piece.offset, datagram.body.to_vec());
                add(Part { key, offset, next: datagram.next, bytes }, &mut parts);
            }
            None if leads_to(port, (src, dst), datagram.next, datagram.body, &mut parts) => return true,
            None => {}
        }
    }
    for _ in 0..DEPTH {
        let mut inner = Vec::new();
        while let Some(first) = parts.first() {
            let key = first.key;
            let (group, others): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|p| p.key == key);
            if reassembles_to(port, &group, &mut inner) {
                return true;
            }
            parts = others;
        }
        parts = inner;
    }
    false
}

/// A copy changes nothing.
fn add(part: Part, parts: &mut Vec<Part>) {
    if !parts.contains(&part) {
        parts.push(part);
    }
}

/// Follows the headers; fragments on the way are put into `parts`.
fn leads_to(port: u16, ends: (IpAddr, IpAddr), mut next: u8, mut body: &[u8], parts: &mut Vec<Part>) -> bool {
    // Receivers have no limit of headers that could be relied on.
    loop {
        match reference::peel(ends.0.is_ipv6(), next, body) {
            Inner::Tcp([_, _, high, low, ..]) => return u16::from_be_bytes([*high, *low]) == port,
            Inner::Header { next: inner, body: behind, .. } => (next, body) = (inner, behind),
            Inner::Piece { piece, next: inner, body: behind } if piece.offset == 0 && !piece.more => {
                (next, body) = (inner, behind);
            }
            Inner::Piece { piece, next, body } => {
                let key = (ends.0, ends.1, piece.id, None);
                add(Part { key, offset: piece.offset, next, bytes: body.to_vec() }, parts);
                return false;
            }
            Inner::Tcp(_) | Inner::CutOff | Inner::NotTcp => return false,
        }
    }
}

/// Tries every order of ranks.
fn reassembles_to(port: u16, group: &[Part], inner: &mut Vec<Part>) -> bool {
    let parts: Vec<&Part> = group.iter().filter(|p| p.offset < REACH && !p.bytes.is_empty()).collect();
    if !parts.iter().any(|part| part.offset == 0) {
        return false;
    }
    let overlap =
        |a: &Part, b: &Part| a.offset < b.offset + b.bytes.len() && b.offset < a.offset + a.bytes.len();
    let clash = parts.iter().enumerate().any(|(i, a)| parts[..i].iter().any(|b| overlap(a, b)));
    let length = covered(&parts);
    let ranks = ranks(parts.len());
    let mut order = parts;
    if clash {
        permute(&mut order, 0, ranks, &mut |ranked| assembled_to(port, ranked, length, inner))
    } else {
        assembled_to(port, &order, length, inner)
    }
}

/// How far the fragments reach without a gap, whoever wins.
fn covered(parts: &[&Part]) -> usize {
    let mut length = 0;
    while let Some(part) =
        parts.iter().find(|part| part.offset <= length && part.offset + part.bytes.len() > length)
    {
        length = part.offset + part.bytes.len();
    }
    length.min(REACH)
}

/// How many of the highest ranks are tried in all ways. All of them, unless fragments inside fragments make a crowd: there
/// the few on top decide, and the rest only fills what they leave open.
fn ranks(parts: usize) -> usize {
    let mut orders = 1;
    (0..parts)
        .take_while(|taken| {
            orders *= parts - taken;
            orders <= MOST_ORDERS
        })
        .count()
}

/// Calls `found` with every choice of the first ranks until it says yes.
fn permute<'a>(
    order: &mut [&'a Part],
    fixed: usize,
    ranks: usize,
    found: &mut impl FnMut(&[&'a Part]) -> bool,
) -> bool {
    if fixed == ranks {
        return found(order);
    }
    for i in fixed..order.len() {
        order.swap(fixed, i);
        if permute(order, fixed + 1, ranks, found) {
            return true;
        }
        order.swap(fixed, i);
    }
    false
}

/// Lays the fragments over each other, the first one on top, and follows the `length` bytes that are known then.
fn assembled_to(port: u16, ranked: &[&Part], length: usize, inner: &mut Vec<Part>) -> bool {
    let Some(first) = ranked.iter().find(|part| part.offset == 0) else { return false };
    let mut bytes = [0; REACH];
    for part in ranked.iter().rev() {
        let end = (part.offset + part.bytes.len()).min(REACH);
        bytes[part.offset..end].copy_from_slice(&part.bytes[..end - part.offset]);
    }
    leads_to(port, (first.key.0, first.key.1), first.next, &bytes[..length], inner)
}
