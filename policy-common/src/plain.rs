//! The parser's short way: the facts of a segment whose headers lie at their usual places, as `parse` would tell them.

use crate::flow::{Flow, Payload};
use crate::packet::{ETH_P_IP, ETH_P_IPV6, IPPROTO_TCP, LinkType, PacketView};

/// Fills in the flow of an untagged, unfragmented TCP segment without IP options or extension headers. `None` says nothing
/// about the packet: `parse` has to look. `flow` comes in as [`Flow::OTHER`].
///
/// In place and in small pieces: whatever a BPF program has in hand beyond its ten registers takes eight bytes of its 512 of
/// stack, for each byte of a header.
#[inline(always)]
pub fn parse_plain(view: &impl PacketView, link: LinkType, flow: &mut Flow) -> Option<()> {
    // The offsets are constants in each arm: the kernel checks an access to a packet by its range.
    match link {
        LinkType::Ethernet => match u16::from_be_bytes(view.load::<2>(12)?) {
            ETH_P_IP => ipv4(view, 14, flow),
            ETH_P_IPV6 => ipv6(view, 14, flow),
            _ => None,
        },
        // Two bytes: of a test for one the verifier learns nothing (`find_good_pkt_pointers`).
        LinkType::Ip => match view.load::<2>(0)?[0] >> 4 {
            4 => ipv4(view, 0, flow),
            6 => ipv6(view, 0, flow),
            _ => None,
        },
    }
}

#[inline(always)]
fn ipv4(view: &impl PacketView, offset: u32, flow: &mut Flow) -> Option<()> {
    let [version, _, len0, len1] = view.load::<4>(offset)?;
    let [frag0, frag1, _, protocol] = view.load::<4>(offset + 6)?;
    // All of the fragment field but the reserved bit and DF.
    if version != 0x45 || frag0 & 0x3f != 0 || frag1 != 0 || protocol != IPPROTO_TCP {
        return None;
    }
    let end = match u16::from_be_bytes([len0, len1]) {
        0 => view.len(),
        total => view.len().min(offset + u32::from(total)),
    };
    flow.src.set_v4(view.load::<4>(offset + 12)?);
    flow.dst.set_v4(view.load::<4>(offset + 16)?);
    flow.ip_offset = offset;
    tcp(view, offset + 20, end, flow)
}

#[inline(always)]
fn ipv6(view: &impl PacketView, offset: u32, flow: &mut Flow) -> Option<()> {
    let [version, _, _, _, len0, len1, next, _] = view.load::<8>(offset)?;
    if version >> 4 != 6 || next != IPPROTO_TCP {
        return None;
    }
    let end = match u16::from_be_bytes([len0, len1]) {
        0 => view.len(),
        payload => view.len().min(offset + 40 + u32::from(payload)),
    };
    // Sixteen bytes at once would be copied by a loop.
    for quarter in 0..4 {
        flow.src.set_v6_quarter(quarter, view.load::<4>(offset + 8 + quarter as u32 * 4)?);
        flow.dst.set_v6_quarter(quarter, view.load::<4>(offset + 24 + quarter as u32 * 4)?);
    }
    flow.ip_offset = offset;
    tcp(view, offset + 40, end, flow)
}

#[inline(always)]
fn tcp(view: &impl PacketView, offset: u32, end: u32, flow: &mut Flow) -> Option<()> {
    if offset + 14 > end {
        return None;
    }
    let [sport0, sport1, dport0, dport1, seq @ ..] = view.load::<8>(offset)?;
    let [ack0, ack1, ack2, ack3, length, flags] = view.load::<6>(offset + 8)?;
    flow.payload = Payload::Tcp;
    flow.src_port = u16::from_be_bytes([sport0, sport1]);
    flow.dst_port = u16::from_be_bytes([dport0, dport1]);
    flow.seq = u32::from_be_bytes(seq);
    flow.ack = u32::from_be_bytes([ack0, ack1, ack2, ack3]);
    flow.tcp_flags = flags;
    flow.payload_len = end.saturating_sub(offset + u32::from(length >> 4) * 4);
    flow.complete = true;
    flow.plain = true;
    Some(())
}
