//! The scenario table through `parse()` and `decide()` on the host: no root, no kernel.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::collections::{BTreeMap, HashSet};

use policy_common::abi::Permit;
use policy_common::decide::{Origin, decide_at_guard};
use policy_common::{Flow, LinkType, Payload, Reason, decide, parse};
use policy_user::policy::evaluate::{HostPolicy, StatedArrival};
use scenarios::{Bytes, Expect, Scenario, Via};

const NOW: u64 = 1_000_000_000_000_000;

const fn ifindex(via: Via) -> u32 {
    match via {
        Via::Lan => 2,
        Via::Guest => 3,
    }
}

fn judged(policy: &HostPolicy, bytes: &[u8], link: LinkType, via: Via) -> (Flow, Expect) {
    let flow = parse(&Bytes(bytes), link);
    let src_mac = match link {
        LinkType::Ethernet => bytes.get(6..12).and_then(|mac| mac.try_into().ok()),
        LinkType::Ip => None,
    };
    let decision = decide(&flow, &StatedArrival { ifindex: ifindex(via), src_mac }, policy);
    (flow, if decision.denies() { Expect::Deny(decision.reason) } else { Expect::Pass(decision.reason) })
}

/// Judges every packet in every framing it can have; returns one line for each that is judged wrongly.
fn differences(
    check: impl Fn(&HostPolicy, &[u8], LinkType, Via, Expect) -> Option<String>,
) -> (usize, Vec<String>) {
    let tables = scenarios::policy::tables(NOW, ifindex);
    let policy = scenarios::policy::on_host(&tables, NOW);
    let (mut checked, mut wrong) = (0, Vec::new());
    for Scenario { name, why, via, packets, .. } in &scenarios::all() {
        for (i, packet) in packets.iter().enumerate() {
            let mut check = |bytes: &[u8], link, expect| {
                checked += 1;
                if let Some(got) = check(&policy, bytes, link, *via, expect) {
                    wrong.push(format!(
                        "{name}, packet {i} ({link:?}; {why}): expected {expect:?}, got {got}; {bytes:02x?}"
                    ));
                }
            };
            check(&packet.frame, LinkType::Ethernet, packet.expect);
            if let Some(bytes) = packet.without_ethernet() {
                check(bytes, LinkType::Ip, packet.expect_without_ethernet());
            }
        }
    }
    (checked, wrong)
}

#[test]
fn every_packet_gets_the_decision_of_the_table() {
    let (checked, wrong) = differences(|policy, bytes, link, via, expect| {
        let (_, got) = judged(policy, bytes, link, via);
        (got.reason() != expect.reason() || got.denies() != expect.denies()).then(|| format!("{got:?}"))
    });
    println!("{} scenarios, {checked} packets", scenarios::all().len());
    assert!(wrong.is_empty(), "{} of {checked} packets:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_guard_stops_what_did_not_pass_a_door() {
    for (origin, gateway_mail, mail) in [
        (Origin::Local, false, Expect::Deny(Reason::LocalProcess)),
        (Origin::Local, true, Expect::Pass(Reason::GatewayMail)),
        (Origin::Elsewhere, false, Expect::Deny(Reason::UncoveredIngress)),
        (Origin::Elsewhere, true, Expect::Deny(Reason::UncoveredIngress)),
        (Origin::Door, false, Expect::Pass(Reason::OtherTraffic)),
    ] {
        let (checked, wrong) = differences(|policy, bytes, link, _, expect| {
            let flow = parse(&Bytes(bytes), link);
            let expect = match if origin == Origin::Door { mail } else { expect.at_guard(mail) } {
                // A local TCP sends no fragments; what looks local in fragments came from anywhere.
                Expect::Pass(Reason::GatewayMail) if flow.fragmented => Expect::Deny(Reason::LocalProcess),
                expect => expect,
            };
            let decision = decide_at_guard(&flow, || origin, gateway_mail, policy);
            let as_expected = decision.reason == expect.reason() && decision.denies() == expect.denies();
            (!as_expected).then(|| format!("{:?} at the guard, where {expect:?} is right", decision.reason))
        });
        assert!(wrong.is_empty(), "{origin:?}: {} of {checked} packets:\n{}", wrong.len(), wrong.join("\n"));
    }
}

#[test]
fn every_framing_that_is_denied_passes_to_another_port_and_from_a_mail_server() {
    let rows = scenarios::all();
    let mut framings = 0;
    for framing in rows.iter().filter_map(|row| row.name.strip_suffix(": client to port 25")) {
        framings += 1;
        for neighbour in ["client to port 26", "mail server to port 25"] {
            let name = format!("{framing}: {neighbour}");
            let found = rows.iter().find(|row| row.name == name);
            assert!(
                found.is_some_and(|row| row.packets.iter().any(|p| !p.expect.denies())),
                "no {name} that passes"
            );
        }
    }
    let mut classes: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for row in &rows {
        let class = row.name.split(':').next().unwrap_or_default();
        let denied = row.packets.iter().all(|packet| packet.expect.denies());
        classes.entry(class).or_default()[usize::from(denied)] += 1;
    }
    println!("{framings} framings; rows by class (pass, denied): {classes:#?}");
    assert!(framings > 200 && classes.values().all(|[pass, _]| *pass > 0));
}

#[test]
fn rows_can_be_told_apart() {
    let rows = scenarios::all();
    let mut names = HashSet::new();
    for row in &rows {
        assert!(names.insert(&row.name), "two rows are called {}", row.name);
    }
    let reasons: HashSet<Reason> =
        rows.iter().flat_map(|row| &row.packets).map(|p| p.expect.reason()).collect();
    let at_the_guard = [Reason::GatewayMail, Reason::UncoveredIngress, Reason::LocalProcess];
    let missing: Vec<_> =
        Reason::ALL.into_iter().filter(|r| !reasons.contains(r) && !at_the_guard.contains(r)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn an_exception_ends_at_its_instant() {
    let tables = scenarios::policy::tables(NOW, ifindex);
    let until =
        tables.permits.iter().map(|(_, p)| p.value.until()).filter(|u| *u != Permit::FOREVER).max().unwrap();
    let row =
        scenarios::all().into_iter().find(|row| row.name.contains("v4 scanner to its provider")).unwrap();
    for (now, expect) in [
        (until - 1, Expect::Pass(Reason::Exception)),
        (until, Expect::Deny(Reason::NotAMailServer)),
        (u64::MAX, Expect::Deny(Reason::NotAMailServer)),
    ] {
        let policy = scenarios::policy::on_host(&tables, now);
        let (flow, got) = judged(&policy, &row.packets[0].frame, LinkType::Ethernet, row.via);
        assert_eq!((flow.payload, got), (Payload::Tcp, expect), "at {now}");
    }
}
