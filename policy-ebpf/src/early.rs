//! The early door: takes from the stack what the door would drop in silence, with the same decision and the same accounts.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::XdpContext;
use policy_common::abi::verdict;
use policy_common::decide::Arrival as _;
use policy_common::glance::is_other_traffic;
use policy_common::plain::parse_plain;
use policy_common::{Decision, LinkType, decide};

use crate::frame::Frame;
use crate::policy::Maps;
use crate::report::{self, Denial};
use crate::verdict::clear;

/// A frame came in through an inside interface that has XDP in front of its door.
///
/// Whatever is not dropped here meets the door, which judges it anew: so nothing that passes may be counted, and answers,
/// audit and headers in unusual places are the door's alone. Tagged frames are too: they belong to another interface, whose
/// settings and mail servers may be others.
#[inline(always)]
pub fn at_early_door(ctx: &XdpContext) -> u32 {
    let frame = Frame(ctx);
    if is_other_traffic(&frame, LinkType::Ethernet, &Maps) {
        return XDP_PASS;
    }
    let mut place = MaybeUninit::uninit();
    let flow = clear(&mut place, 0u64);
    if parse_plain(&frame, LinkType::Ethernet, flow).is_none() {
        return XDP_PASS;
    }
    let decision = decide(flow, &frame, &Maps);
    if !decision.denies() {
        return XDP_PASS;
    }
    let settings = Maps::settings(&decision.source, frame.ifindex());
    if settings.is_audit() || settings.is_reject() {
        return XDP_PASS;
    }
    let known = decision.source.is_known();
    let Decision { reason, rule, .. } = decision;
    let (ifindex, macs) = (frame.ifindex(), frame.macs());
    report::denied(
        ctx,
        flow,
        &Denial { reason, rule, known, verdict: verdict::DROP, ifindex, macs, vlan: 0 },
    );
    XDP_DROP
}
