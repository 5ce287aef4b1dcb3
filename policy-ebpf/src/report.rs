//! Counting and reporting of decisions: exact counters for every packet, one event for every denied attempt.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use aya_log_ebpf::warn;
use policy_common::abi::{AttemptKey, Event, EventContext, HostCounts, Macs, counter, verdict};
use policy_common::{Decision, Flow};

use crate::hosts;
use crate::maps::{ATTEMPTS, COUNTERS, EVENTS, REVISION};

/// Counts one packet that was let through by a rule.
#[inline(always)]
pub fn passed(decision: &Decision) {
    count(counter::packets(decision.reason));
}

/// What is told about one denied packet beside its flow.
pub struct Denial {
    pub decision: Decision,
    /// One of [`policy_common::abi::verdict`].
    pub verdict: u8,
    /// The interface it came in through, or the guard's own for a process of the gateway.
    pub ifindex: u32,
    pub macs: Macs,
    /// VLAN id of a tag that the card or the stack took out of the frame; 0 for none.
    pub vlan: u16,
}

/// Counts one denied packet, and reports it where it begins a new attempt.
///
/// Two calls beside each other: one inside the other would exceed the 512 bytes of stack of a chain of calls.
#[inline(always)]
pub fn denied(ctx: &impl EbpfContext, flow: &Flow, denial: &Denial) {
    let host = hosts::account(&flow.src, denial.ifindex, &denial.macs);
    count_and_report(ctx, flow, denial, host);
}

/// Not inlined: together with the decision it would exceed the 512 bytes of stack that one BPF function has.
#[inline(never)]
fn count_and_report(ctx: &impl EbpfContext, flow: &Flow, denial: &Denial, host: *mut HostCounts) {
    let reason = denial.decision.reason;
    count(counter::packets(reason));
    if denial.verdict == verdict::WOULD_BLOCK {
        count(counter::would_block(reason));
    }
    // SAFETY: takes no argument and only reads the clock.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a pointer that a look-up returned stays valid until the program ends, and the value is this processor's own.
    let mut host = unsafe { host.as_mut() };
    match &mut host {
        Some(host) => host.count_packet(now, reason),
        None => count(counter::OVERFLOW_PACKETS),
    }
    if !is_new(&AttemptKey::new(flow, denial.ifindex)) {
        return;
    }
    count(counter::attempts(reason));
    match &mut host {
        Some(host) => {
            if !host.count_attempt(now) {
                count(counter::UNLISTED);
                return;
            }
        }
        None => count(counter::OVERFLOW_ATTEMPTS),
    }
    let Some(mut event) = EVENTS.reserve::<Event>(0) else {
        count(counter::LOST_EVENTS);
        warn!(ctx, "ring buffer full: an attempt has no event (interface index {})", denial.ifindex);
        return;
    };
    event.write(Event::new(
        flow,
        &EventContext {
            time: now,
            revision: REVISION.load().to_ne_bytes(),
            ifindex: denial.ifindex,
            rule: denial.decision.rule,
            reason,
            verdict: denial.verdict,
            macs: denial.macs,
            vlan: if denial.vlan == 0 { flow.inline_vlan } else { denial.vlan },
            // Only here, where nothing can fail any more: a lost event must not take the number with it.
            unlisted: host.map_or(0, HostCounts::tell),
        },
    ));
    event.submit(0);
}

/// Whether no packet of this attempt was seen before; counts the packet on its attempt.
#[inline(always)]
fn is_new(key: &AttemptKey) -> bool {
    if let Some(packets) = ATTEMPTS.get_ptr_mut(key) {
        // SAFETY: a pointer that a look-up returned stays valid until the program ends. Two processors may count at once
        // and one count get lost: this number is told to people, the exact ones are in COUNTERS.
        unsafe { *packets += 1 };
        return false;
    }
    // Where two processors see the first packet at once, BPF_NOEXIST lets only one of them report it. Any other failure
    // (no memory) must report rather than hide.
    const EEXIST: i32 = -17;
    ATTEMPTS.insert(key, 1, BPF_NOEXIST.into()) != Err(EEXIST)
}

#[inline(always)]
fn count(slot: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(slot) {
        // SAFETY: a per-CPU slot; a classifier is not preempted by another one on the same processor.
        unsafe { *counter += 1 };
    }
}
