//! From a decision to what the kernel does with the packet: the one place that returns kernel codes.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::tcx_action_base::{TCX_DROP, TCX_NEXT};
use aya_ebpf::programs::TcContext;
use aya_log_ebpf::debug;
use policy_common::abi::{Macs, verdict};
use policy_common::decide::{Arrival, decide_at_guard};
use policy_common::glance::{is_other_at_guard, is_other_traffic};
use policy_common::packet::parse_into;
use policy_common::plain::parse_plain;
use policy_common::{Decision, Flow, LinkType, Payload, PolicyView as _, Reason, decide};

use crate::maps::{GATEWAY_MAIL, ZERO};
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
    let mut place = MaybeUninit::uninit();
    let flow = clear(&mut place, 0u64);
    // Headers almost always lie where it takes no call of the kernel to read them.
    let flow = match parse_plain(&Linear(&skb), link, flow) {
        Some(()) => flow,
        None => read(&skb, link, &mut place),
    };
    let decision = decide(flow, &skb, &Maps);
    carry_out(&ctx, &skb, flow, judge_at_door(&skb, flow, &decision))
}

/// A packet is about to leave through an outside interface.
#[inline(always)]
pub fn at_guard(ctx: TcContext, link: LinkType) -> i32 {
    let skb = Skb::new(&ctx, link);
    if is_other_at_guard(&Linear(&skb), link, &Maps) {
        return TCX_NEXT;
    }
    let mut place = MaybeUninit::uninit();
    let flow = read(&skb, link, &mut place);
    let ingress = skb.ingress_ifindex();
    let decision = decide_at_guard(flow, || Maps::origin(ingress), GATEWAY_MAIL.load() != 0, &Maps);
    carry_out(&ctx, &skb, flow, judge_at_guard(&skb, flow, &decision))
}

/// [`Flow::OTHER`] where `flow` points to, with a zero of the caller's choice.
///
/// Volatile, because the compiler makes a loop over bytes of any filling of memory that it sees through.
#[inline(always)]
pub fn clear<Word: Copy>(flow: &mut MaybeUninit<Flow>, zero: Word) -> &mut Flow {
    let words = flow.as_mut_ptr().cast::<Word>();
    for word in 0..size_of::<Flow>() / size_of::<Word>() {
        // SAFETY: inside the flow, which is aligned to eight bytes.
        unsafe { words.add(word).write_volatile(zero) };
    }
    // SAFETY: all of it was written just now, and 0 is a valid value of each field.
    unsafe { flow.assume_init_mut() }
}

/// Reads the headers wherever they lie.
#[inline(always)]
fn read<'a>(skb: &Skb, link: LinkType, place: &'a mut MaybeUninit<Flow>) -> &'a mut Flow {
    // With constants in it, the verifier would follow everything behind each way through the parser by itself.
    let flow = clear(place, ZERO.get(0).copied().unwrap_or(0) as u16);
    flow.payload = parse_elsewhere(skb, link, flow);
    flow
}

/// Not inlined, for its share of the stack.
#[inline(never)]
fn parse_elsewhere(skb: &Skb, link: LinkType, flow: &mut Flow) -> Payload {
    parse_into(skb, link, flow)
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
fn judge_at_door(skb: &Skb, flow: &Flow, decision: &Decision) -> Action {
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
    note_odd_framing(skb, flow);
    let settings = Maps::settings(&decision.source, skb.ifindex());
    let (action, verdict) = if settings.is_audit() {
        (Action::Pass, verdict::WOULD_BLOCK)
    } else if settings.is_reject() {
        (Action::Reject, verdict::REJECT)
    } else {
        (Action::Drop, verdict::DROP)
    };
    let known = decision.source.is_known();
    let Decision { reason, rule, .. } = *decision;
    let (ifindex, macs, vlan) = (skb.ifindex(), skb.macs(), skb.outer_vlan());
    report::denied(skb.ctx(), flow, &Denial { reason, rule, known, verdict, ifindex, macs, vlan });
    action
}

#[inline(always)]
fn judge_at_guard(skb: &Skb, flow: &Flow, decision: &Decision) -> Action {
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
    let known = Maps::knows(&flow.src);
    let Decision { reason, rule, .. } = *decision;
    let (macs, vlan) = (Macs::NONE, skb.outer_vlan());
    report::denied(skb.ctx(), flow, &Denial { reason, rule, known, verdict, ifindex, macs, vlan });
    action
}

/// Tells a developer with `--kernel-log debug` about framing that honest hosts don't send.
#[inline(always)]
fn note_odd_framing(skb: &Skb, flow: &Flow) {
    match flow.payload {
        Payload::Unreadable => {
            debug!(skb.ctx(), "port hidden or cut off (interface index {})", skb.ifindex())
        }
        Payload::AmbiguousFragment => {
            debug!(skb.ctx(), "ambiguous fragment (interface index {})", skb.ifindex())
        }
        _ => {}
    }
}
