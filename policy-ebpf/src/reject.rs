//! Turning a denied segment into the reset that answers it, in place, and sending it back where it came from.

use aya_ebpf::bindings::BPF_F_RECOMPUTE_CSUM;
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use policy_common::decide::Arrival;
use policy_common::reset::{IPV4_LEN, IPV6_LEN, Reset, TCP_CHECKSUM, TCP_LEN};
use policy_common::{Addr, Flow, LinkType};

use crate::skb::Skb;

/// Rewrites the packet and aims it at its sender. `Some` is the code for the kernel; `None` where no answer is possible.
/// The packet may be half rewritten then, so it must be dropped.
///
/// Not inlined, for its share of the stack.
#[inline(never)]
pub fn answer(ctx: &TcContext, skb: &Skb, flow: &Flow) -> Option<i32> {
    // Never to a broadcast: one frame would draw answers from every gateway that hears it.
    if !skb.is_for_us() {
        return None;
    }
    let reset = Reset::answering(flow)?;
    let ip = flow.ip_offset as usize;
    let tcp = match flow.src.family() {
        Addr::IPV4 => ip + IPV4_LEN,
        Addr::IPV6 => ip + IPV6_LEN,
        _ => return None,
    };
    // SAFETY: the context is valid; the kernel makes the packet linear and writable and checks the length.
    if unsafe { bpf_skb_change_tail(ctx.skb.skb, (tcp + TCP_LEN) as u32, 0) } != 0 {
        return None;
    }
    if flow.src.family() == Addr::IPV4 {
        ctx.store(ip, &reset.ipv4_header(), RECOMPUTE).ok()?;
    } else {
        ctx.store(ip, &reset.ipv6_header(), RECOMPUTE).ok()?;
    }
    ctx.store(tcp, &reset.tcp_header(), RECOMPUTE).ok()?;
    let checksum = if is_unfinished(ctx, tcp + TCP_CHECKSUM)? {
        // The card sums from where the old TCP header began, which must be where the new one does.
        if !flow.plain {
            return None;
        }
        reset.unfinished_checksum()
    } else {
        reset.checksum()
    };
    ctx.store(tcp + TCP_CHECKSUM, &checksum, RECOMPUTE).ok()?;
    if skb.link() == LinkType::Ethernet {
        let macs = skb.macs();
        ctx.store(0, &macs.src, RECOMPUTE).ok()?;
        ctx.store(6, &macs.dst, RECOMPUTE).ok()?;
    }
    // Out through the interface it came in through; a tag that the card took out is put back by the kernel.
    // SAFETY: takes two numbers; the kernel looks the interface up when it acts on the returned code.
    Some(unsafe { bpf_redirect(skb.ifindex(), 0) } as i32)
}

/// Keeps the kernel's own sum of a received packet (CHECKSUM_COMPLETE) true while bytes change.
const RECOMPUTE: u64 = BPF_F_RECOMPUTE_CSUM as u64;

/// Whether the checksum at `field`, which must be 0, is left to the network card (CHECKSUM_PARTIAL). The context does not
/// tell, but `bpf_l4_csum_replace` leaves such a field alone unless the pseudo-header changes.
#[inline(always)]
fn is_unfinished(ctx: &TcContext, field: usize) -> Option<bool> {
    const FOUR_BYTES: u64 = 4;
    ctx.l4_csum_replace(field, 0, 1, FOUR_BYTES).ok()?;
    Some(ctx.load::<[u8; 2]>(field).ok()? == [0, 0])
}
