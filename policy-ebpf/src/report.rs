//! Counting and reporting of decisions: exact counters for every packet, one event for every denied attempt.

use core::ptr::null_mut;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns};
use aya_log_ebpf::warn;
use policy_common::abi::{AttemptKey, Event, EventContext, HostCounts, Macs, counter, verdict};
use policy_common::{Decision, Flow, Reason};

use crate::hosts;
use crate::maps::{ATTEMPT_SALT, ATTEMPTS, COUNTERS, EVENTS, REVISION};

/// Counts one packet that was let through by a rule.
#[inline(always)]
pub fn passed(decision: &Decision) {
    count(counter::packets(decision.reason));
}

/// What is told about one denied packet beside its flow.
pub struct Denial {
    pub reason: Reason,
    pub rule: u32,
    /// Whether the sender's address is one of the policy's or the gateway's.
    pub known: bool,
    /// One of [`policy_common::abi::verdict`].
    pub verdict: u8,
    /// The interface it came in through, or the guard's own for a process of the gateway.
    pub ifindex: u32,
    pub macs: Macs,
    /// VLAN id of a tag that the card or the stack took out of the frame; 0 for none.
    pub vlan: u16,
}

/// Counts one denied packet, and reports it where it begins a new attempt that its host's budget has an event for.
///
/// Calls beside each other: one inside the other would exceed the 512 bytes of stack of a chain of calls.
#[inline(always)]
pub fn denied(ctx: &impl EbpfContext, flow: &Flow, denial: &Denial) {
    let reason = denial.reason;
    count(counter::packets(reason));
    if denial.verdict == verdict::WOULD_BLOCK {
        count(counter::would_block(reason));
    }
    // Before the calls: the verifier would follow them once for each reason that is a number behind them.
    let attempts = slot(counter::attempts(reason));
    let host = hosts::account(flow, denial.known, denial.ifindex, &denial.macs);
    let new = is_new(flow, denial.ifindex);
    if new {
        add_one(attempts);
    }
    if count_on_host(reason, new, host) {
        report(ctx, flow, denial, host);
    }
}

/// Counts a packet, and its attempt if it is the first one of it; whether there is an event to write.
#[inline(always)]
fn count_on_host(reason: Reason, new: bool, host: *mut HostCounts) -> bool {
    // SAFETY: a pointer that a look-up returned stays valid until the program ends, and the value is this processor's own.
    let Some(host) = (unsafe { host.as_mut() }) else {
        count(counter::OVERFLOW_PACKETS);
        if new {
            count(counter::OVERFLOW_ATTEMPTS);
        }
        return new;
    };
    // SAFETY: takes no argument and only reads the clock.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    host.count_packet(now, reason);
    if !new {
        return false;
    }
    let listed = host.count_attempt(now);
    if !listed {
        count(counter::UNLISTED);
    }
    listed
}

/// Writes the event of an attempt.
#[inline(never)]
fn report(ctx: &impl EbpfContext, flow: &Flow, denial: &Denial, host: *mut HostCounts) {
    let Some(mut event) = EVENTS.reserve::<Event>(0) else {
        count(counter::LOST_EVENTS);
        warn!(ctx, "ring buffer full: an attempt has no event (interface index {})", denial.ifindex);
        return;
    };
    // SAFETY: as in `count_on_host`.
    let host = unsafe { host.as_mut() };
    event.write(Event::new(
        flow,
        &EventContext {
            // SAFETY: takes no argument and only reads the clock.
            time: unsafe { bpf_ktime_get_boot_ns() },
            revision: REVISION.load().to_ne_bytes(),
            ifindex: denial.ifindex,
            rule: denial.rule,
            reason: denial.reason,
            verdict: denial.verdict,
            macs: denial.macs,
            vlan: if denial.vlan == 0 { flow.inline_vlan } else { denial.vlan },
            // Only here, where nothing can fail any more: a lost event must not take the number with it.
            unlisted: host.map_or(0, HostCounts::tell),
        },
    ));
    event.submit(0);
}

/// Whether no packet of this attempt was seen before, as far as the kernel remembers; counts the packet on its attempt.
///
/// Not inlined, for its share of the stack.
#[inline(never)]
fn is_new(flow: &Flow, ifindex: u32) -> bool {
    // Look-ups of slots that exist can't fail; an attempt too many would be told rather than one too few.
    let Some(salt) = ATTEMPT_SALT.get(0) else { return true };
    let place = AttemptKey::new(flow, ifindex).place(salt);
    let Some(set) = ATTEMPTS.get_ptr_mut(place.set) else { return true };
    // SAFETY: the value is as aligned as its type in an array map, and any bits are a valid one; what processors do to each
    // other there is told at `AttemptSet::count`.
    unsafe { (*set).count(place) }
}

#[inline(always)]
fn count(counter: u32) {
    add_one(slot(counter));
}

/// Where a counter lies; null is impossible for one that exists, which only the verifier doesn't know.
#[inline(always)]
fn slot(counter: u32) -> *mut u64 {
    COUNTERS.get_ptr_mut(counter).unwrap_or(null_mut())
}

#[inline(always)]
fn add_one(counter: *mut u64) {
    // SAFETY: a per-CPU slot; a classifier is not preempted by another one on the same processor.
    if let Some(counter) = unsafe { counter.as_mut() } {
        *counter += 1;
    }
}
