//! The early door: takes from the stack what the door would drop silently, with the same decision and the same accounts.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use policy_common::abi::verdict;
use policy_common::decide::Arrival as _;
use policy_common::glance::is_other_traffic;
use policy_common::{LinkType, PacketView as _, decide, parse};

use crate::frame::{Frame, LinearFrame};
use crate::policy::Maps;
use crate::report::{self, Denial};

/// A frame came in through an inside interface that has XDP in front of its door.
///
/// Whatever is not dropped here meets the door, which judges it anew: so nothing that passes may be counted, and answers and
/// audit are the door's alone.
#[inline(always)]
pub fn at_early_door(ctx: &XdpContext) -> u32 {
    // Tagged frames belong to another interface, whose settings and mail servers may be others.
    if !is_untagged_ip(ctx) || is_other_traffic(&LinearFrame(ctx), LinkType::Ethernet, &Maps) {
        return XDP_PASS;
    }
    let frame = Frame(ctx);
    let flow = parse(&frame, LinkType::Ethernet);
    let decision = decide(&flow, &frame, &Maps);
    if !decision.denies() {
        return XDP_PASS;
    }
    let settings = Maps::settings(&flow.src, frame.ifindex());
    if settings.is_audit() || settings.is_reject() {
        return XDP_PASS;
    }
    let denial =
        Denial { decision, verdict: verdict::DROP, ifindex: frame.ifindex(), macs: frame.macs(), vlan: 0 };
    report::denied(ctx, &flow, &denial);
    XDP_DROP
}

#[inline(always)]
fn is_untagged_ip(ctx: &XdpContext) -> bool {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    LinearFrame(ctx).load::<2>(12).is_some_and(|ethertype| ethertype == IPV4 || ethertype == IPV6)
}
