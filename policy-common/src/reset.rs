//! The TCP reset that answers a rejected segment (RFC 9293 §3.10.7.1), and its checksums.

use crate::flow::{Addr, Flow, Payload, tcp_flags};

/// Length of the answer's IPv4 header: no options.
pub const IPV4_LEN: usize = 20;
/// Length of the answer's IPv6 header.
pub const IPV6_LEN: usize = 40;
/// Length of the answer's TCP header: no options.
pub const TCP_LEN: usize = 20;
/// Offset of the checksum in a TCP header.
pub const TCP_CHECKSUM: usize = 16;

const IPPROTO_TCP: u8 = 6;
/// Hops the answer may take; the client is on our own network.
const TTL: u8 = 64;

/// The answer to one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset<'a> {
    /// The segment that is answered: its source is where the answer goes.
    flow: &'a Flow,
    seq: u32,
    ack: u32,
    flags: u8,
}

impl<'a> Reset<'a> {
    /// The reset that makes the sender of `flow` give up at once; `None` where none may or can be sent: to a reset (two
    /// hosts would answer each other for ever), between addresses that are not of single hosts, to a header that is cut off.
    #[inline(always)]
    pub fn answering(flow: &'a Flow) -> Option<Self> {
        if flow.payload != Payload::Tcp
            || !flow.complete
            || flow.tcp_flags & tcp_flags::RST != 0
            || !is_host(&flow.src)
        {
            return None;
        }
        // A segment that acknowledges is reset where it expects the next byte; any other one is acknowledged as a whole,
        // or a client in SYN-SENT would ignore the reset.
        let (seq, ack, flags) = if flow.tcp_flags & tcp_flags::ACK != 0 {
            (flow.ack, 0, tcp_flags::RST)
        } else {
            let syn = u32::from(flow.tcp_flags & tcp_flags::SYN != 0);
            let fin = u32::from(flow.tcp_flags & tcp_flags::FIN != 0);
            let next = flow.seq.wrapping_add(flow.payload_len).wrapping_add(syn + fin);
            (0, next, tcp_flags::RST | tcp_flags::ACK)
        };
        Some(Self { flow, seq, ack, flags })
    }

    /// The IPv4 header, with its checksum.
    #[inline(always)]
    pub fn ipv4_header(&self) -> [u8; IPV4_LEN] {
        let mut h = [0; IPV4_LEN];
        h[0] = 0x45;
        h[3] = (IPV4_LEN + TCP_LEN) as u8;
        // Don't fragment: then an identification of 0 is fine (RFC 6864).
        h[6] = 0x40;
        h[8] = TTL;
        h[9] = IPPROTO_TCP;
        h[12..16].copy_from_slice(&self.flow.dst.bytes()[..4]);
        h[16..20].copy_from_slice(&self.flow.src.bytes()[..4]);
        let checksum = !fold(sum(&h));
        h[10..12].copy_from_slice(&checksum.to_be_bytes());
        h
    }

    #[inline(always)]
    pub fn ipv6_header(&self) -> [u8; IPV6_LEN] {
        let mut h = [0; IPV6_LEN];
        h[0] = 0x60;
        h[5] = TCP_LEN as u8;
        h[6] = IPPROTO_TCP;
        h[7] = TTL;
        h[8..24].copy_from_slice(self.flow.dst.bytes());
        h[24..40].copy_from_slice(self.flow.src.bytes());
        h
    }

    /// The TCP header with a checksum of 0.
    #[inline(always)]
    pub fn tcp_header(&self) -> [u8; TCP_LEN] {
        let [s0, s1] = self.flow.dst_port.to_be_bytes();
        let [d0, d1] = self.flow.src_port.to_be_bytes();
        let [q0, q1, q2, q3] = self.seq.to_be_bytes();
        let [a0, a1, a2, a3] = self.ack.to_be_bytes();
        let words = (TCP_LEN as u8) << 2;
        [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, words, self.flags, 0, 0, 0, 0, 0, 0]
    }

    /// The checksum as it goes over the wire.
    #[inline(always)]
    pub fn checksum(&self) -> [u8; 2] {
        (!fold(self.pseudo_sum() + sum(&self.tcp_header()))).to_be_bytes()
    }

    /// What stands in the checksum field of a packet whose checksum the network card will finish: the sum of the
    /// pseudo-header, not inverted.
    #[inline(always)]
    pub fn unfinished_checksum(&self) -> [u8; 2] {
        fold(self.pseudo_sum()).to_be_bytes()
    }

    /// RFC 9293 §3.1 and RFC 8200 §8.1: addresses, protocol and length; an IPv4 address is padded with zeros, which add 0.
    #[inline(always)]
    fn pseudo_sum(&self) -> u32 {
        sum(self.flow.src.bytes()) + sum(self.flow.dst.bytes()) + u32::from(IPPROTO_TCP) + TCP_LEN as u32
    }
}

/// Whether this can be the address of one host that an answer may go to.
#[inline(always)]
fn is_host(addr: &Addr) -> bool {
    let b = addr.bytes();
    match addr.family() {
        Addr::IPV4 => b[0] != 0 && b[0] != 127 && b[0] < 224,
        Addr::IPV6 => b[0] != 0xff && *b != [0; 16],
        _ => false,
    }
}

/// Sum of the 16-bit words of an even number of bytes (RFC 1071). 60 bytes stay far below 32 bits.
#[inline(always)]
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = 0;
    let mut i = 0;
    while i + 1 < bytes.len() {
        sum += u32::from(bytes[i]) << 8 | u32::from(bytes[i + 1]);
        i += 2;
    }
    sum
}

/// Folds the carries back in; twice is enough for sums below 32 bits.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
