//! What holds for all packets and all policies: no panic, both families alike, no framing that opens the gate, and compiled
//! tables that say what the policy says.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use jiff::SignedDuration;
use policy_common::abi::{Quarantine, Settings};
use policy_common::decide::{Decision, Origin, decide_at_guard};
use policy_common::{Addr, LinkType, Payload, PolicyView, Reason, decide, parse};
use policy_user::policy::compile::{Tables, compile};
use policy_user::policy::evaluate::{HostPolicy, StatedArrival};
use policy_user::policy::{Mode, Policy, Revision};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngSeed, TestRunner};
use scenarios::arbitrary::{self, Probe};
use scenarios::framing::{Framing, framing, roles};
use scenarios::reference::{self, Confined, Surroundings};
use scenarios::{Bytes, Via};

/// The same cases in every run; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` of a longer one take precedence.
fn config(cases: u32) -> ProptestConfig {
    let given = ProptestConfig::default();
    let is_set = |name| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: if is_set("PROPTEST_CASES") { given.cases } else { cases },
        rng_seed: if is_set("PROPTEST_RNG_SEED") { given.rng_seed } else { RngSeed::Fixed(25) },
        failure_persistence: None,
        ..given
    }
}

const NOW: u64 = 1_000_000_000_000_000;

const fn ifindex(via: Via) -> u32 {
    match via {
        Via::Lan => 2,
        Via::Guest => 3,
    }
}

thread_local! {
    static TABLES: Rc<Tables> = Rc::new(scenarios::policy::tables(NOW, ifindex));
    static FRAMES: Rc<Vec<Vec<u8>>> = Rc::new(
        scenarios::all().into_iter().flat_map(|row| row.packets).map(|packet| packet.frame).collect(),
    );
}

/// Runs `test` with the policy of the scenarios.
fn with_policy<T>(test: impl FnOnce(&HostPolicy<'_>) -> T) -> T {
    test(&scenarios::policy::on_host(&TABLES.with(Rc::clone), NOW))
}

fn judged(policy: &HostPolicy<'_>, bytes: &[u8], link: LinkType, via: Via) -> Decision {
    let src_mac = match link {
        LinkType::Ethernet => bytes.get(6..12).and_then(|mac| mac.try_into().ok()),
        LinkType::Ip => None,
    };
    decide(&parse(&Bytes(bytes), link), &StatedArrival { ifindex: ifindex(via), src_mac }, policy)
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn both_families_are_judged_alike(roles in roles()) {
        let plain = Framing::default();
        with_policy(|policy| {
            let v4 = judged(policy, &plain.v4(&roles), LinkType::Ethernet, roles.from.via);
            let v6 = judged(policy, &plain.v6(&roles), LinkType::Ethernet, roles.from.via);
            prop_assert_eq!(v4, v6);
            Ok(())
        })?;
    }

    #[test]
    fn framing_never_opens_the_gate(roles in roles(), framing in framing()) {
        with_policy(|policy| {
            let plain = judged(policy, &Framing::default().v4(&roles), LinkType::Ethernet, roles.from.via);
            for bytes in [framing.v4(&roles), framing.v6(&roles)] {
                let framed = judged(policy, &bytes, LinkType::Ethernet, roles.from.via);
                prop_assert!(!plain.denies() || framed.denies(), "{:?} became {:?}: {:02x?}", plain, framed, bytes);
                if framing.is_source_routed() {
                    // Its destination may be a hop, so what destinations are permitted does not count.
                    continue;
                }
                if framing.is_within_limits() {
                    prop_assert_eq!(plain, framed, "{:02x?}", bytes);
                } else {
                    prop_assert!(framed == plain || framed.reason == Reason::Unreadable, "{:?}", framed);
                }
            }
            Ok(())
        })?;
    }

    /// Cut anywhere, a packet that is denied as a whole may only pass if not even its IP header is left.
    #[test]
    fn cutting_a_packet_never_opens_the_gate(roles in roles(), framing in framing(), at in any::<Index>()) {
        let framing = framing.within_limits();
        with_policy(|policy| {
            for bytes in [framing.v4(&roles), framing.v6(&roles)] {
                let whole = judged(policy, &bytes, LinkType::Ethernet, roles.from.via);
                let cut = &bytes[..at.index(bytes.len())];
                let reason = judged(policy, cut, LinkType::Ethernet, roles.from.via).reason;
                let has_ip = cut.len() >= 14 + 4 * framing.tags();
                prop_assert!(!whole.denies() || reason.denies() || !has_ip, "{:?} passes as {:?}", whole, reason);
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..200), ipv6 in any::<bool>(), kind in 0..4u8) {
        let mut bytes = bytes;
        // Random bytes alone would hardly ever be IP.
        if kind > 0 && bytes.len() > 14 {
            bytes[12..14].copy_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
            bytes[14] = if ipv6 { 0x60 } else { 0x40 | bytes[14] & 15 };
        }
        with_policy(|policy| {
            for link in [LinkType::Ethernet, LinkType::Ip] {
                let bytes = if link == LinkType::Ip && kind > 0 { bytes.get(14..).unwrap_or_default() } else { &bytes };
                let flow = parse(&Bytes(bytes), link);
                let decision = judged(policy, bytes, link, Via::Lan);
                // Nothing but other protocols passes without an entry of the policy.
                prop_assert!(flow.payload != Payload::Unreadable || decision.reason == Reason::Unreadable);
                for origin in [Origin::Door, Origin::Elsewhere, Origin::Local] {
                    decide_at_guard(&flow, || origin, false, policy);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn flipping_bits_of_a_scenario_is_judged_without_panic(row in any::<Index>(), flips in vec((any::<Index>(), 0..8u8), 1..6)) {
        let frames = FRAMES.with(Rc::clone);
        let mut bytes = frames[row.index(frames.len())].clone();
        for (at, bit) in flips.iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        with_policy(|policy| {
            judged(policy, &bytes, LinkType::Ethernet, Via::Lan);
            judged(policy, bytes.get(14..).unwrap_or_default(), LinkType::Ip, Via::Lan);
        });
    }
}

/// What surrounds a policy: gateway addresses, quarantine (hours from now), hours between its compilation and the packets.
type Beside = (Vec<IpAddr>, HashMap<IpAddr, arbitrary::Quarantined>, i64);

#[test]
fn compiled_tables_say_what_the_policy_says() {
    let beside = (
        vec(arbitrary::address(), 0..2),
        hash_map(arbitrary::address(), arbitrary::quarantined(), 0..8),
        0..3i64,
    );
    let cases = (arbitrary::policy(), vec(arbitrary::probe(), 1..60), beside);
    let met = RefCell::new(BTreeMap::new());
    TestRunner::new(config(1500))
        .run(&cases, |(policy, probes, beside)| {
            let reasons = compare_with_reference(&policy, &probes, beside)?;
            reasons.into_iter().for_each(|reason| *met.borrow_mut().entry(reason.label()).or_insert(0) += 1);
            Ok(())
        })
        .unwrap();
    // Agreement about nothing but other traffic would prove little.
    println!("{:#?}", met.borrow());
    let rare: Vec<_> = Reason::ALL
        .iter()
        .filter(|reason| met.borrow().get(reason.label()).is_none_or(|n| *n < 100))
        .collect();
    use Reason::{AmbiguousFragment, GatewayMail, LaterFragment, LocalProcess, UncoveredIngress, Unreadable};
    assert_eq!(
        rare,
        [&LaterFragment, &GatewayMail, &Unreadable, &AmbiguousFragment, &UncoveredIngress, &LocalProcess]
    );
}

fn compare_with_reference(
    policy: &Policy,
    probes: &[Probe],
    beside: Beside,
) -> Result<Vec<Reason>, TestCaseError> {
    let (gateway, quarantine, later) = beside;
    let begun = arbitrary::now();
    let index = |name: &str| Some(ifindex(if name == "lan0" { Via::Lan } else { Via::Guest }));
    let tables = compile(policy, Revision([0; 8]), begun, index).unwrap();
    // The tables are made at one time and asked at another one.
    let boot = |hours: i64| begun.boot.saturating_add_signed(hours * 3_600_000_000_000);
    let wall = |hours| begun.wall + SignedDuration::from_hours(hours);
    let mut host = HostPolicy::new(&tables, boot(later));
    host.gateway_addresses = gateway.iter().map(|address| Addr::from(*address)).collect();
    host.quarantine =
        quarantine.iter().map(|(address, it)| (Addr::from(*address), in_kernel(it, boot(it.0)))).collect();
    let confined = |(hours, scope, mac): &arbitrary::Quarantined| Confined {
        until: wall(*hours),
        scope: *scope,
        mac: *mac,
    };
    let quarantine = quarantine.iter().map(|(address, it)| (*address, confined(it))).collect();
    let around = Surroundings { gateway, quarantine, now: wall(later) };
    let mut reasons = Vec::new();
    for probe in probes {
        let arrival = StatedArrival { ifindex: ifindex(probe.via), src_mac: probe.src_mac() };
        let decision = decide(&parse(&Bytes(&probe.bytes()), probe.link), &arrival, &host);
        let (reason, rules) = reference::judge(policy, &around, probe);
        prop_assert_eq!(decision.reason, reason, "{:?}", probe);
        let rule = decision.rule as usize;
        prop_assert!(
            if rules.is_empty() { rule == 0 } else { rules.contains(&rule) },
            "rule {} of {:?}",
            rule,
            rules
        );
        prop_assert_eq!(is_audit_in_tables(&tables.settings, &host, probe), is_audit(policy, &probe.from));
        reasons.push(reason);
    }
    Ok(reasons)
}

fn in_kernel((_, scope, mac): &arbitrary::Quarantined, until: u64) -> Quarantine {
    Quarantine::new(until, scope.number(), *mac)
}

/// Whether the client's group, else the policy, is in audit mode; the interfaces of these policies have no mode of their own.
fn is_audit(policy: &Policy, client: &IpAddr) -> bool {
    reference::group_treatment(policy, client).and_then(|t| t.mode).unwrap_or(policy.mode) == Mode::Audit
}

fn is_audit_in_tables(settings: &[Settings], host: &HostPolicy<'_>, probe: &Probe) -> bool {
    let group = host.net(&Addr::from(probe.from)).unwrap_or_default().group();
    let group = if group == 0 { Settings::UNSET } else { settings[usize::from(group)] };
    group.within(settings[0]).is_audit()
}
