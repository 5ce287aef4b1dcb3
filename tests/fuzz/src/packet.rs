//! What must hold for every packet: the product's parser and decision against the second reading and the rules.

use std::net::IpAddr;

use policy_common::decide::{Origin, decide_at_guard};
use policy_common::{Addr, Decision, Flow, LinkType, Payload, Reason, decide, parse};

use crate::policy::evaluate::StatedArrival;
use crate::reference::{self, Frame, Reading, Segment};
use crate::{fixed, reset, rules};

/// Reads `bytes` as an Ethernet frame and as a bare IP packet.
///
/// # Panics
/// If anything doesn't hold.
pub fn check(bytes: &[u8]) {
    check_as(bytes, LinkType::Ethernet);
    check_as(bytes, LinkType::Ip);
}

fn check_as(bytes: &[u8], link: LinkType) {
    let flow = parse(bytes, link);
    let frame = match link {
        LinkType::Ethernet => reference::untag(bytes),
        LinkType::Ip => reference::bare(bytes),
    };
    let reading = reference::read(frame);
    facts(bytes, link, &flow, frame, reading);
    at_the_door(bytes, link, &flow, frame, reading);
    at_the_guard(&flow, frame, reading);
    reset::check(&flow);
}

fn facts(bytes: &[u8], link: LinkType, flow: &Flow, frame: Frame<'_>, reading: Reading) {
    let expected = match reading {
        Reading::Stretched { .. } => flow.payload,
        Reading::Tcp(_) => Payload::Tcp,
        Reading::Hidden => Payload::Unreadable,
        Reading::NearPiece => Payload::AmbiguousFragment,
        Reading::FarPiece => Payload::LaterFragment,
        Reading::NotTcp => Payload::Other,
    };
    assert_eq!(flow.payload, expected, "{link:?}: {reading:?}, but {flow:?}");
    let family = match frame {
        _ if flow.src == Addr::NONE => 0,
        Frame::V4(_) => Addr::IPV4,
        Frame::V6(_) => Addr::IPV6,
        _ => 0,
    };
    assert_eq!((flow.src.family(), flow.dst.family()), (family, family), "{flow:?}");
    assert!(flow.payload_len as usize <= bytes.len(), "more payload than packet: {flow:?}");
    assert!(flow.ip_offset as usize <= bytes.len() || flow.payload != Payload::Tcp, "{flow:?}");
    if let Reading::Tcp(Segment { dst_port, rest, .. }) = reading {
        assert_eq!(flow.dst_port, dst_port, "{flow:?}");
        assert_eq!(flow.complete, rest >= 14, "{flow:?}");
        assert!(flow.payload_len as usize <= rest, "{rest} bytes of TCP, but {flow:?}");
        assert_eq!(ends(frame), flow.src.to_ip().zip(flow.dst.to_ip()));
    }
}

fn at_the_door(bytes: &[u8], link: LinkType, flow: &Flow, frame: Frame<'_>, reading: Reading) {
    let mac = match link {
        LinkType::Ethernet => bytes.get(6..12).and_then(|mac| mac.try_into().ok()),
        LinkType::Ip => None,
    };
    let arrival = StatedArrival { ifindex: 1, src_mac: mac };
    let decision = decide(flow, &arrival, fixed::policy());
    let is_blocked_mail = |segment: Segment| {
        let source_routed = segment.source_routed;
        segment.dst_port == rules::BLOCKED_PORT
            && !ends(frame)
                .is_some_and(|(src, dst)| rules::may_send_mail(&rules::Way { src, dst, mac, source_routed }))
    };
    let must_deny = match reading {
        Reading::Hidden | Reading::NearPiece => true,
        Reading::FarPiece | Reading::NotTcp => false,
        Reading::Tcp(segment) => is_blocked_mail(segment),
        Reading::Stretched { segment } if segment.is_some_and(is_blocked_mail) => true,
        Reading::Stretched { .. } => return,
    };
    assert_eq!(decision.denies(), must_deny, "{reading:?}: {decision:?} for {flow:?}");
}

fn at_the_guard(flow: &Flow, frame: Frame<'_>, reading: Reading) {
    let (hidden, segment) = match reading {
        Reading::Hidden | Reading::NearPiece => (true, None),
        Reading::Tcp(segment) if segment.dst_port == rules::BLOCKED_PORT => (false, Some(segment)),
        Reading::FarPiece | Reading::NotTcp | Reading::Tcp(_) => (false, None),
        Reading::Stretched { .. } => return,
    };
    let internal = |segment: Segment| {
        !segment.source_routed && ends(frame).is_some_and(|(_, dst)| rules::is_internal(dst))
    };
    let outbound_mail = segment.filter(|segment| !internal(*segment));
    for origin in [Origin::Door, Origin::Elsewhere, Origin::Local] {
        for gateway_mail in [false, true] {
            // The gateway's own TCP sends no fragments; what looks so came from somewhere else.
            let permitted = |segment: Segment| origin == Origin::Local && gateway_mail && !segment.more;
            let must_deny =
                origin != Origin::Door && (hidden || outbound_mail.is_some_and(|mail| !permitted(mail)));
            let decision: Decision = decide_at_guard(flow, || origin, gateway_mail, fixed::policy());
            assert_eq!(decision.denies(), must_deny, "{origin:?}, {reading:?}: {decision:?}");
            assert!(Reason::from_number(decision.reason as u8) == Some(decision.reason));
        }
    }
}

fn ends(frame: Frame<'_>) -> Option<(IpAddr, IpAddr)> {
    let datagram = ip_packet(frame).and_then(reference::datagram)?;
    Some((datagram.src, datagram.dst))
}

fn ip_packet(frame: Frame<'_>) -> Option<&[u8]> {
    match frame {
        Frame::V4(packet) | Frame::V6(packet) => Some(packet),
        _ => None,
    }
}
