//! What must hold for the reset that answers a segment, whatever the segment was.

use policy_common::flow::tcp_flags::{ACK, FIN, RST, SYN};
use policy_common::reset::{Reset, TCP_CHECKSUM};
use policy_common::{Addr, Flow, Payload};

/// # Panics
/// If the answer is not one that the sender's TCP would take, or there is one where there must be none.
pub fn check(flow: &Flow) {
    let Some(reset) = Reset::answering(flow) else {
        let answerable = flow.payload == Payload::Tcp && flow.complete && flow.tcp_flags & RST == 0;
        let between_hosts = is_one_host(&flow.src) && is_one_host(&flow.dst);
        assert!(!answerable || !between_hosts, "no answer to {flow:?}");
        return;
    };
    assert!(flow.complete && flow.payload == Payload::Tcp, "an answer to {flow:?}");
    assert_eq!(flow.tcp_flags & RST, 0, "an answer to a reset: {flow:?}");
    assert!(is_one_host(&flow.src), "an answer to more than one host: {flow:?}");
    let mut tcp = reset.tcp_header();
    let ports = [flow.dst_port.to_be_bytes(), flow.src_port.to_be_bytes()].concat();
    assert_eq!(tcp[..4], ports[..]);
    let number = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    // RFC 9293 §3.10.7.1: SYN and FIN occupy a sequence number each.
    let occupied =
        flow.payload_len + [SYN, FIN].map(|flag| u32::from(flow.tcp_flags & flag != 0)).iter().sum::<u32>();
    if flow.tcp_flags & ACK != 0 {
        assert_eq!((number(4), tcp[13]), (flow.ack, RST));
    } else {
        assert_eq!((number(4), number(8), tcp[13]), (0, flow.seq.wrapping_add(occupied), RST | ACK));
    }
    tcp[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&reset.checksum());
    let width = if flow.src.family() == Addr::IPV4 { 4 } else { 16 };
    let pseudo = [&flow.dst.bytes()[..width], &flow.src.bytes()[..width], &[0, 6, 0, 20]].concat();
    assert_eq!(sum(&[&pseudo[..], &tcp].concat()), 0xffff, "wrong TCP checksum for {flow:?}");
    // A card that finishes the checksum sums the segment over what stands in the field.
    tcp[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&reset.unfinished_checksum());
    assert_eq!((!sum(&tcp)).to_be_bytes(), reset.checksum(), "wrong unfinished checksum for {flow:?}");
    if width == 4 {
        let ip = reset.ipv4_header();
        assert_eq!(sum(&ip), 0xffff, "wrong IPv4 checksum for {flow:?}");
        assert_eq!((&ip[12..16], &ip[16..20]), (&pseudo[..4], &pseudo[4..8]));
    } else {
        let ip = reset.ipv6_header();
        assert_eq!((&ip[8..24], &ip[24..40]), (&pseudo[..16], &pseudo[16..32]));
        assert_eq!(ip[4..7], [0, 20, 6]);
    }
}

fn is_one_host(addr: &Addr) -> bool {
    addr.to_ip().is_some_and(|ip| {
        let reserved = match ip {
            std::net::IpAddr::V4(a) => a.octets()[0] == 0 || a.is_loopback() || a.octets()[0] >= 224,
            std::net::IpAddr::V6(_) => false,
        };
        !reserved && !ip.is_multicast() && !ip.is_unspecified()
    })
}

/// One's-complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, pair| {
        let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
        sum + u16::from(carry)
    })
}
