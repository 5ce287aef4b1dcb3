//! Judges one sequence by what came out behind both gateways.

use super::receiver;
use super::sequence::Sequence;
use crate::reference::{self, Frame, Inner};
use crate::rules::BLOCKED_PORT;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Some receiver could get TCP to the blocked port from a sender that may not send mail.
    Leak,
    /// This frame left the bare gateway only, and nothing permits to stop it.
    FalseDrop(Vec<u8>),
    /// This frame left the gateway with smtpfence only: frames were lost, or it made one up.
    Surplus(Vec<u8>),
}

/// Frames that left one gateway for one sequence.
pub type Left = Vec<Vec<u8>>;

pub struct Verdict {
    /// Whether the bare gateway let out what some receiver could take for TCP to the blocked port.
    pub deliverable: bool,
    pub findings: Vec<Finding>,
}

pub fn judge(sequence: &Sequence, bare: &Left, fenced: &Left, nat: bool) -> Verdict {
    let mut findings = if nat { behind_nat(sequence, bare, fenced) } else { routed(sequence, bare, fenced) };
    if !sequence.may_send_mail() && receiver::can_get(&packets(fenced), BLOCKED_PORT) {
        findings.push(Finding::Leak);
    }
    Verdict { deliverable: receiver::can_get(&packets(bare), BLOCKED_PORT), findings }
}

/// Plain routing changes nothing that tells frames apart, so both sides are compared frame by frame.
fn routed(sequence: &Sequence, bare: &Left, fenced: &Left) -> Vec<Finding> {
    let stopped = without(bare, fenced);
    let surplus = without(fenced, bare).into_iter().map(Finding::Surplus);
    let over_tagged = sequence.is_over_tagged();
    let permitted =
        |frame: &Vec<u8>| over_tagged || sequence.may_stop(reference::read(reference::untag(frame)));
    let false_drops = stopped.into_iter().filter(|frame| !permitted(frame)).map(Finding::FalseDrop);
    surplus.chain(false_drops).collect()
}

/// With NAT the kernel reassembles before it routes, so a stopped fragment stops others; where none may be stopped, as much
/// must leave as without smtpfence. Ports, identities and the cuts may differ.
fn behind_nat(sequence: &Sequence, bare: &Left, fenced: &Left) -> Vec<Finding> {
    let may_stop_any = sequence.is_over_tagged()
        || sequence.frames.iter().any(|frame| sequence.may_stop(Sequence::reading(frame)));
    if may_stop_any {
        return Vec::new();
    }
    let sizes = |left: &Left| left.iter().filter(|f| !lost_its_origin(f)).map(Vec::len).collect::<Vec<_>>();
    let (mut wanted, mut got) = (sizes(bare), sizes(fenced));
    wanted.sort_unstable();
    got.sort_unstable();
    match bare.iter().find(|_| wanted != got) {
        Some(frame) => vec![Finding::FalseDrop(frame.clone())],
        None => Vec::new(),
    }
}

/// Permitted mail that Linux has put together and cut again. Cutting IPv6 loses the interface a packet came in through
/// (`ip6_copy_metadata` of Linux 6.18 does not copy `skb_iif`), so the guard takes it for a local process's.
fn lost_its_origin(frame: &[u8]) -> bool {
    let Frame::V6(packet) = reference::untag(frame) else { return false };
    let Some(datagram) = reference::datagram(packet) else { return false };
    let (mut next, mut body) = (datagram.next, datagram.body);
    loop {
        match reference::peel(true, next, body) {
            Inner::Header { next: inner, body: behind, .. } => (next, body) = (inner, behind),
            Inner::Piece { .. } => return true,
            _ => return false,
        }
    }
}

fn packets(frames: &Left) -> Vec<&[u8]> {
    frames.iter().filter_map(|frame| frame.get(14..)).collect()
}

/// The frames of `from` that `other` has not, each as often as it is missing.
fn without(from: &Left, other: &Left) -> Left {
    let mut other: Vec<&Vec<u8>> = other.iter().collect();
    let mut rest = Left::new();
    for frame in from {
        match other.iter().position(|candidate| *candidate == frame) {
            Some(at) => {
                other.swap_remove(at);
            }
            None => rest.push(frame.clone()),
        }
    }
    rest
}
