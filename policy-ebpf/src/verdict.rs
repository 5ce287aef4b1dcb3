//! From a decision to what the kernel does with the packet: the one place that returns kernel codes.

use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use policy_common::abi::{Macs, verdict};
use policy_common::decide::{Arrival, decide_at_guard};
use policy_common::glance::is_other_traffic;
use policy_common::{Decision, Flow, LinkType, Payload, PolicyView as _, Reason, decide, parse};

use crate::maps::GATEWAY_MAIL;
use crate::policy::Maps;
use crate::reject;
use crate::report::{self, Denial};
use crate::skb::{Linear, Skb};
use crate::submission;

/// What happens to the packet.
enum Action {
    Pass,
    Drop,
    Reject,
}

/// A packet came in through an inside interface.
#[inline(always)]
pub fn at_door(ctx: TcContext, link: LinkType) -> i32 {
    let skb = Skb::new(&ctx, link);
    if is_other_traffic(&Linear(&skb), link, &Maps) {
        return TCX_NEXT;
    }
    let flow = parse(&skb, link);
    let decision = decide(&flow, &skb, &Maps);
    carry_out(&ctx, &skb, &flow, judge_at_door(&ctx, &skb, &flow, &decision))
}

/// A packet is about to leave through an outside interface.
#[inline(always)]
pub fn at_guard(ctx: TcContext, link: LinkType) -> i32 {
    let skb = Skb::new(&ctx, link);
    if is_other_traffic(&Linear(&skb), link, &Maps) {
        return TCX_NEXT;
    }
    let flow = parse(&skb, link);
    let ingress = skb.ingress_ifindex();
    let decision = decide_at_guard(&flow, || Maps::origin(ingress), GATEWAY_MAIL.load() != 0, &Maps);
    carry_out(&ctx, &skb, &flow, judge_at_guard(&ctx, &skb, &flow, &decision))
}

/// The one exhaustive translation into kernel codes.
#[inline(always)]
fn carry_out(ctx: &TcContext, skb: &Skb, flow: &Flow, action: Action) -> i32 {
    match action {
        // NEXT, never OK: OK would end the chain and skip the programs behind this one.
        Action::Pass => TCX_NEXT,
        Action::Drop => TCX_DROP,
        Action::Reject => reject::answer(ctx, skb, flow).unwrap_or(TCX_DROP),
    }
}

#[inline(always)]
fn judge_at_door(ctx: &TcContext, skb: &Skb, flow: &Flow, decision: &Decision) -> Action {
    if decision.reason == Reason::OtherTraffic {
        if flow.opens() && Maps.is_submission(flow.dst_port) {
            submission::count(flow, skb.ifindex(), &skb.macs());
        }
        return Action::Pass;
    }
    if !decision.denies() {
        report::passed(decision);
        return Action::Pass;
    }
    note_odd_framing(ctx, skb, flow);
    let settings = Maps::settings(&flow.src, skb.ifindex());
    let (action, verdict) = if settings.is_audit() {
        (Action::Pass, verdict::WOULD_BLOCK)
    } else if settings.is_reject() {
        (Action::Reject, verdict::REJECT)
    } else {
        (Action::Drop, verdict::DROP)
    };
    let denial = Denial {
        decision: *decision,
        verdict,
        ifindex: skb.ifindex(),
        macs: skb.macs(),
        vlan: skb.outer_vlan(),
    };
    report::denied(ctx, flow, &denial);
    action
}

#[inline(always)]
fn judge_at_guard(ctx: &TcContext, skb: &Skb, flow: &Flow, decision: &Decision) -> Action {
    if decision.reason == Reason::OtherTraffic {
        return Action::Pass;
    }
    if !decision.denies() {
        report::passed(decision);
        return Action::Pass;
    }
    // The client is not known any more, so only the policy's default applies; there is nobody an answer could go to.
    let (action, verdict) = if Maps::default_settings().is_audit() {
        (Action::Pass, verdict::WOULD_BLOCK)
    } else {
        (Action::Drop, verdict::DROP)
    };
    // The frame is the gateway's own by now: its MACs tell nothing, the interface it came in through does.
    let ifindex = match skb.ingress_ifindex() {
        0 => skb.ifindex(),
        ingress => ingress,
    };
    let denial = Denial { decision: *decision, verdict, ifindex, macs: Macs::NONE, vlan: skb.outer_vlan() };
    report::denied(ctx, flow, &denial);
    action
}

/// Tells a developer with `--kernel-log debug` about framing that honest hosts don't send.
#[inline(always)]
fn note_odd_framing(ctx: &TcContext, skb: &Skb, flow: &Flow) {
    match flow.payload {
        Payload::Unreadable => debug!(ctx, "port hidden or cut off (interface index {})", skb.ifindex()),
        Payload::AmbiguousFragment => debug!(ctx, "ambiguous fragment (interface index {})", skb.ifindex()),
        _ => {}
    }
}
