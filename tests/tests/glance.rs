//! What one look at a frame lets pass, parser and decision would let pass as other traffic: the look is never wrong.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::net::IpAddr;

use lab::Mac;
use lab::frame::{Frame, Tcp};
use policy_common::abi::{Quarantine, scope};
use policy_common::decide::{Origin, decide_at_guard};
use policy_common::glance::{is_other_at_guard, is_other_traffic};
use policy_common::plain::parse_plain;
use policy_common::{Addr, Flow, LinkType, Payload, Reason, decide, parse};
use policy_user::policy::evaluate::{HostPolicy, StatedArrival};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use scenarios::{Bytes, Via};

const NOW: u64 = 1_000_000_000_000_000;

/// Whether the look lets a packet pass.
fn passes_at_once(policy: &HostPolicy<'_>, bytes: &[u8], link: LinkType) -> bool {
    is_other_traffic(&Bytes(bytes), link, policy)
}

/// The flow by the parser's short way.
fn plain(bytes: &[u8], link: LinkType) -> Option<Flow> {
    let mut flow = Flow::OTHER;
    parse_plain(&Bytes(bytes), link, &mut flow).map(|()| flow)
}

/// What is wrong with the look at these bytes or with the short way through them, if anything.
fn mistake(policy: &HostPolicy<'_>, bytes: &[u8], link: LinkType) -> Option<String> {
    let flow = parse(&Bytes(bytes), link);
    if let Some(short) = plain(bytes, link)
        && short != flow
    {
        return Some(format!("{link:?}: {short:?} by the short way, {flow:?} by the long one; {bytes:02x?}"));
    }
    let at_door = decide(&flow, &StatedArrival { ifindex: 2, src_mac: None }, policy);
    let at_guard = decide_at_guard(&flow, || Origin::Local, false, policy);
    let wrong_at_door = passes_at_once(policy, bytes, link) && at_door.reason != Reason::OtherTraffic;
    let wrong_at_guard =
        is_other_at_guard(&Bytes(bytes), link, policy) && at_guard.reason != Reason::OtherTraffic;
    (wrong_at_door || wrong_at_guard)
        .then(|| format!("{link:?}: {at_door:?} at the door, {at_guard:?} at the guard; {bytes:02x?}"))
}

/// Every frame of the scenarios, with and without its Ethernet header.
fn frames() -> Vec<(Vec<u8>, LinkType)> {
    let packets = scenarios::all().into_iter().flat_map(|scenario| scenario.packets);
    packets
        .flat_map(|packet| {
            let bare = packet.without_ethernet().map(|bytes| (bytes.to_vec(), LinkType::Ip));
            [(packet.frame, LinkType::Ethernet)].into_iter().chain(bare)
        })
        .collect()
}

/// The policy of the scenarios while nobody is in quarantine.
fn with_policy(test: impl FnOnce(&HostPolicy<'_>)) {
    let tables = scenarios::policy::tables(NOW, |via| if via == Via::Lan { 2 } else { 3 });
    let mut policy = scenarios::policy::on_host(&tables, NOW);
    policy.quarantine.clear();
    test(&policy);
}

fn each_framing(from: &str, to: &str, segment: Tcp) -> [(Vec<u8>, LinkType); 3] {
    let frame =
        Frame::new(Mac([2; 6]), Mac([4; 6])).ip(from.parse().unwrap(), to.parse().unwrap()).tcp(segment);
    let tagged = frame.clone().vlan(25).build();
    [(frame.build(), LinkType::Ethernet), (tagged, LinkType::Ethernet), (frame.packet(), LinkType::Ip)]
}

const PAIRS: [(&str, &str); 2] = [("10.25.0.77", "203.0.113.25"), ("fd25::77", "2001:db8:ff::25")];

#[test]
fn the_look_agrees_with_the_scenarios() {
    with_policy(|policy| {
        let frames = frames();
        let wrong: Vec<_> = frames.iter().filter_map(|(bytes, link)| mistake(policy, bytes, *link)).collect();
        let at_once = frames.iter().filter(|(bytes, link)| passes_at_once(policy, bytes, *link)).count();
        println!("{} frames, {at_once} of them at once", frames.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn bytes_changed_at_random_do_not_mislead_the_look() {
    let mut random = TestRunner::new(ProptestConfig {
        cases: 20_000,
        rng_seed: RngSeed::Fixed(25),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    with_policy(|policy| {
        let frames = frames();
        let changes = proptest::collection::vec((0..64usize, any::<u8>()), 0..4);
        random
            .run(&(any::<Index>(), changes, proptest::option::of(0..80usize)), |(frame, changes, cut)| {
                let (mut bytes, link) = frame.get(&frames).clone();
                for (at, value) in changes {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = value;
                    }
                }
                bytes.truncate(cut.unwrap_or(usize::MAX));
                let wrong = mistake(policy, &bytes, link);
                prop_assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
                Ok(())
            })
            .unwrap();
    });
}

/// It would be right as well if nothing took it, and useless.
#[test]
fn ordinary_mail_takes_the_short_way() {
    for (from, to) in PAIRS {
        let [untagged, _, bare] = each_framing(from, to, Tcp::syn(40_000, 25).sequence(7).payload(&[0; 5]));
        for (bytes, link) in [untagged, bare] {
            let flow = plain(&bytes, link).unwrap();
            assert_eq!((flow.payload, flow.dst_port, flow.seq, flow.payload_len), (Payload::Tcp, 25, 7, 5));
        }
    }
}

/// It would be right as well if it let nothing pass, and useless. What opens a connection to a submission port is counted
/// further on.
#[test]
fn ordinary_traffic_passes_at_once_and_mail_does_not() {
    const ACK: u8 = 0x10;
    with_policy(|policy| {
        for (from, to) in PAIRS {
            for (port, opening, later) in [
                (443, true, true),
                (587, false, true),
                (24, true, true),
                (25, false, false),
                (10_025, false, false),
            ] {
                for (segment, at_once) in
                    [(Tcp::syn(40_000, port), opening), (Tcp::new(40_000, port, ACK), later)]
                {
                    for (bytes, link) in each_framing(from, to, segment) {
                        assert_eq!(passes_at_once(policy, &bytes, link), at_once, "{port} {link:?}");
                    }
                }
            }
        }
    });
}

#[test]
fn a_quarantine_is_looked_at_as_far_as_it_reaches() {
    const ACK: u8 = 0x10;
    let tables = scenarios::policy::tables(NOW, |via| if via == Via::Lan { 2 } else { 3 });
    let mut policy = scenarios::policy::on_host(&tables, NOW);
    for (widest, web, mail) in [(scope::MAIL, true, false), (scope::ALL, false, false)] {
        policy.quarantine.clear();
        policy
            .quarantine
            .insert(Addr::from(IpAddr::from([10, 25, 0, 66])), Quarantine::new(u64::MAX, widest, None));
        for (from, to) in PAIRS {
            for (port, at_once) in [(443, web), (587, mail), (465, mail)] {
                for (bytes, link) in each_framing(from, to, Tcp::new(40_000, port, ACK)) {
                    assert_eq!(passes_at_once(&policy, &bytes, link), at_once, "{widest} {port} {link:?}");
                }
            }
        }
    }
}
