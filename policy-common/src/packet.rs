//! The parser: from the bytes of a frame to the facts the decision needs, the same code in the kernel and on the host.

use crate::flow::{Addr, Flow, Payload};

/// Bounded reads from one packet, counted from its first byte.
#[expect(clippy::len_without_is_empty, reason = "a packet is never empty, and nobody asks")]
pub trait PacketView {
    /// The `N` bytes at `offset`, or `None` where the packet ends before them.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Length of the packet in bytes, including what is not in the linear part of an skb.
    fn len(&self) -> u32;
}

/// What a packet starts with on its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (`ARPHRD_ETHER` and kin).
    Ethernet,
    /// The IP header: tun, WireGuard, ppp.
    Ip,
}

/// Stacked tags inside a frame that are followed. Linux 6.18 strips eight VLAN-ID-0 tags and routes what is behind them.
pub const MAX_INLINE_TAGS: usize = 8;
/// Extension headers that are followed. Reaching the limit denies, so it only has to be above what honest hosts send.
pub const MAX_HEADERS: usize = 16;

/// Later fragments that begin below this many bytes could rewrite a TCP port behind extension headers; honest ones
/// begin at 552 bytes or more, since that much fits in the smallest first fragment anybody sends.
const AMBIGUOUS_BELOW: u32 = 64;

pub(crate) const ETH_P_IP: u16 = 0x0800;
pub(crate) const ETH_P_IPV6: u16 = 0x86dd;
pub(crate) const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

const IPPROTO_HOPOPTS: u8 = 0;
pub(crate) const IPPROTO_TCP: u8 = 6;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AH: u8 = 51;
const IPPROTO_DSTOPTS: u8 = 60;
const IPPROTO_MOBILITY: u8 = 135;
const IPPROTO_HIP: u8 = 139;
const IPPROTO_SHIM6: u8 = 140;

/// Reads the facts of one packet.
#[inline(always)]
pub fn parse(view: &(impl PacketView + ?Sized), link: LinkType) -> Flow {
    let mut flow = Flow::OTHER;
    flow.payload = parse_into(view, link, &mut flow);
    flow
}

/// The same in place, for the stack of a BPF program: everything but the payload, which it returns, goes into `flow`, which
/// comes in as [`Flow::OTHER`]. Facts are added with `|=`: where the verifier doesn't know the 0 that was there, it doesn't
/// know what they become, and need not follow both.
#[inline(always)]
pub fn parse_into(view: &(impl PacketView + ?Sized), link: LinkType, flow: &mut Flow) -> Payload {
    match link {
        LinkType::Ethernet => ethernet(view, flow),
        LinkType::Ip => match view.load::<1>(0) {
            Some([first]) if first >> 4 == 4 => ipv4(view, 0, flow),
            Some([first]) if first >> 4 == 6 => ipv6(view, 0, flow),
            _ => Payload::Other,
        },
    }
}

#[inline(always)]
fn ethernet(view: &(impl PacketView + ?Sized), flow: &mut Flow) -> Payload {
    // A frame without an EtherType is not IP to anybody.
    let Some(ethertype) = view.load::<2>(12) else { return Payload::Other };
    let mut ethertype = u16::from_be_bytes(ethertype);
    let mut offset = 14;
    for _ in 0..=MAX_INLINE_TAGS {
        match ethertype {
            ETH_P_IP => return ipv4(view, offset, flow),
            ETH_P_IPV6 => return ipv6(view, offset, flow),
            ETH_P_8021Q | ETH_P_8021AD => {}
            _ => return other(flow),
        }
        let Some([tci0, tci1, type0, type1]) = view.load::<4>(offset) else { return other(flow) };
        if flow.inline_vlan == 0 {
            flow.inline_vlan = u16::from_be_bytes([tci0, tci1]) & 0x0fff;
        }
        ethertype = u16::from_be_bytes([type0, type1]);
        offset += 4;
    }
    Payload::Unreadable
}

/// Not IP: nothing is known about it.
#[inline(always)]
fn other(flow: &mut Flow) -> Payload {
    flow.inline_vlan = 0;
    Payload::Other
}

#[inline(always)]
fn ipv4(view: &(impl PacketView + ?Sized), offset: u32, flow: &mut Flow) -> Payload {
    flow.ip_offset = offset;
    let Some(h) = view.load::<20>(offset) else { return Payload::Unreadable };
    flow.src = Addr::v4([h[12], h[13], h[14], h[15]]);
    flow.dst = Addr::v4([h[16], h[17], h[18], h[19]]);
    let header_len = u32::from(h[0] & 0x0f) * 4;
    if h[0] >> 4 != 4 || header_len < 20 {
        // No IP stack accepts such a header, so it is not blocked mail either.
        return Payload::Other;
    }
    // Ethernet pads short frames, so the end comes from the header. 0 is real: GSO packets above 64 KiB have it.
    let end = match u16::from_be_bytes([h[2], h[3]]) {
        0 => view.len(),
        total => view.len().min(offset + u32::from(total)),
    };
    let protocol = h[9];
    // The reserved bit and DF are no part of the offset (RFC 791, RFC 3514).
    let fragment_offset = u32::from(u16::from_be_bytes([h[6], h[7]]) & 0x1fff) * 8;
    if fragment_offset != 0 {
        // Behind a plain IPv4 header the ports are always in the fragment at offset 0; offset 8 can still overwrite the
        // TCP flags (RFC 3128). Behind an AH of unknown length the ports may lie further back.
        let ambiguous = match protocol {
            IPPROTO_TCP => fragment_offset == 8,
            IPPROTO_AH => fragment_offset < AMBIGUOUS_BELOW,
            _ => false,
        };
        return later(ambiguous);
    }
    flow.plain |= header_len == 20 && protocol == IPPROTO_TCP;
    flow.source_routed |= has_source_route(view, offset, header_len);
    // More fragments follow this one.
    flow.fragmented |= h[6] & 0x20 != 0;
    transport(view, flow, protocol, offset + header_len, end)
}

/// Whether the IPv4 options may hold a source route (RFC 791 §3.1): then the destination in the header is not the last one.
///
/// Looks for the two option types anywhere instead of walking the options: their bytes elsewhere only cost a packet the
/// benefit of an internal destination.
#[inline(always)]
fn has_source_route(view: &(impl PacketView + ?Sized), offset: u32, header_len: u32) -> bool {
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    let mut found = false;
    for word in 5..15 {
        if word * 4 < header_len {
            // Options that can't be read are not trusted either.
            found |= view
                .load::<4>(offset + word * 4)
                .is_none_or(|bytes| bytes.contains(&LOOSE) || bytes.contains(&STRICT));
        }
    }
    found
}

#[inline(always)]
fn ipv6(view: &(impl PacketView + ?Sized), offset: u32, flow: &mut Flow) -> Payload {
    flow.ip_offset = offset;
    let Some([version, _, _, _, len0, len1, next, _]) = view.load::<8>(offset) else {
        return Payload::Unreadable;
    };
    let Some(src) = view.load::<16>(offset + 8) else { return Payload::Unreadable };
    let Some(dst) = view.load::<16>(offset + 24) else { return Payload::Unreadable };
    (flow.src, flow.dst) = (Addr::v6(src), Addr::v6(dst));
    if version >> 4 != 6 {
        return Payload::Other;
    }
    // 0 means a jumbogram or a GSO packet above 64 KiB: the length is the packet's.
    let end = match u16::from_be_bytes([len0, len1]) {
        0 => view.len(),
        payload => view.len().min(offset + 40 + u32::from(payload)),
    };
    flow.plain |= next == IPPROTO_TCP;
    transport(view, flow, next, offset + 40, end)
}

/// Walks the headers behind the IP header to the TCP ports.
///
/// `start` is where a fragment's own bytes begin, if it is one of several.
#[inline(always)]
fn transport(view: &(impl PacketView + ?Sized), flow: &mut Flow, first: u8, start: u32, end: u32) -> Payload {
    let ipv6 = flow.src.family() == Addr::IPV6;
    let mut next = first;
    let mut offset = start;
    let mut fragment_start = start;
    // Where the header begins that named `next`; the IP header is in no fragment's own bytes.
    let mut named_at = 0;
    for _ in 0..=MAX_HEADERS {
        if next == IPPROTO_TCP {
            // Later fragments from AMBIGUOUS_BELOW on pass, so none of them may be able to reach the ports.
            let within_reach = flow.fragmented && offset - fragment_start > AMBIGUOUS_BELOW - 4;
            let readable = if within_reach { Payload::AmbiguousFragment } else { Payload::Tcp };
            return tcp(view, flow, readable, offset, end);
        }
        if !may_hide_tcp(next, ipv6) {
            // The same for the header that says it is not TCP.
            let within_reach = flow.fragmented && named_at > fragment_start + AMBIGUOUS_BELOW - 2;
            return if within_reach { Payload::AmbiguousFragment } else { Payload::Other };
        }
        if offset + 8 > end {
            return Payload::Unreadable;
        }
        let Some([following, len, frag0, frag1]) = view.load::<4>(offset) else {
            return Payload::Unreadable;
        };
        named_at = offset;
        offset += match next {
            IPPROTO_FRAGMENT => {
                // A piece of a piece: nobody sends it, and outer pieces that contradict each other about the inner ones
                // would make two datagrams of one.
                if flow.fragmented {
                    return Payload::AmbiguousFragment;
                }
                // RFC 8200 §4.5: the upper 13 bits count 8-byte units, so clearing the lower three gives bytes.
                let fragment_offset = u32::from(u16::from_be_bytes([frag0, frag1]) & 0xfff8);
                if fragment_offset != 0 {
                    return later(fragment_offset < AMBIGUOUS_BELOW);
                }
                // The M bit: more fragments follow. Without it the fragment is "atomic", a whole packet (RFC 6946).
                flow.fragmented |= frag1 & 1 != 0;
                fragment_start = offset + 8;
                8
            }
            IPPROTO_ROUTING => {
                // RFC 8200 §4.4: the fourth byte counts the hops that are still to come.
                flow.source_routed |= frag1 != 0;
                (u32::from(len) + 1) * 8
            }
            // RFC 4302 §2.2: 4-byte units, minus 2.
            IPPROTO_AH => (u32::from(len) + 2) * 4,
            // RFC 8200 §4.2: 8-byte units, not counting the first.
            _ => (u32::from(len) + 1) * 8,
        };
        next = following;
    }
    Payload::Unreadable
}

#[inline(always)]
fn tcp(
    view: &(impl PacketView + ?Sized),
    flow: &mut Flow,
    readable: Payload,
    offset: u32,
    end: u32,
) -> Payload {
    if offset + 4 > end {
        return Payload::Unreadable;
    }
    let Some([sport0, sport1, dport0, dport1]) = view.load::<4>(offset) else { return Payload::Unreadable };
    flow.src_port = u16::from_be_bytes([sport0, sport1]);
    flow.dst_port = u16::from_be_bytes([dport0, dport1]);
    if offset + 14 <= end
        && let Some(h) = view.load::<14>(offset)
    {
        flow.complete = true;
        flow.seq = u32::from_be_bytes([h[4], h[5], h[6], h[7]]);
        flow.ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
        flow.tcp_flags = h[13];
        flow.payload_len = end.saturating_sub(offset + u32::from(h[12] >> 4) * 4);
    }
    readable
}

/// Whether a TCP header may stand behind this one. ESP, tunnels and unknown protocols are not TCP to anybody outside.
#[inline(always)]
pub(crate) fn may_hide_tcp(next: u8, ipv6: bool) -> bool {
    match next {
        IPPROTO_AH => true,
        IPPROTO_HOPOPTS | IPPROTO_ROUTING | IPPROTO_FRAGMENT | IPPROTO_DSTOPTS | IPPROTO_MOBILITY
        | IPPROTO_HIP | IPPROTO_SHIM6 => ipv6,
        _ => false,
    }
}

#[inline(always)]
fn later(ambiguous: bool) -> Payload {
    if ambiguous { Payload::AmbiguousFragment } else { Payload::LaterFragment }
}

impl PacketView for [u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.get(offset as usize..)?.first_chunk().copied()
    }

    fn len(&self) -> u32 {
        // A frame is far below 4 GiB; saturating keeps a caller's mistake from wrapping into a short packet.
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }
}
