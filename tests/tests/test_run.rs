//! The scenario table through the loaded kernel programs, one packet at a time (`BPF_PROG_TEST_RUN`), and what they count.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use lab::{Lab, require_root_or_skip};
use policy_common::abi::{Net, Quarantine, Settings, action, mode};
use policy_common::plain::parse_plain;
use policy_common::reset::Reset;
use policy_common::{Addr, Flow, LinkType, PolicyView, Reason, decide, parse};
use policy_user::datapath::{Counters, Generation, Hook, KernelLog, Pins, State, TestPacket, boot_time};
use policy_user::policy::Revision;
use policy_user::policy::compile::{Instant, Prefix, Tables, compile};
use policy_user::policy::evaluate::{HostPolicy, StatedArrival};
use proptest::collection;
use proptest::prelude::ProptestConfig;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{RngSeed, TestRunner};
use scenarios::arbitrary;
use scenarios::{Bytes, Expect, Scenario, Via};

const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// A test run puts every packet on the loopback interface, whose index is 1 and whose MAC is zero.
const HERE: u32 = 1;
const ELSEWHERE: u32 = 99;
const OWN_MAC: [u8; 6] = [0; 6];

/// Packets come in through the interface of `via`.
fn ifindex_where(via: Via) -> impl Fn(Via) -> u32 {
    move |other| if other == via { HERE } else { ELSEWHERE }
}

/// Whether the kernel takes it for a test run: a whole Ethernet header, a whole IP header where the EtherType promises
/// one, and at most what fits into one page with its overhead.
fn is_accepted(bytes: &[u8]) -> bool {
    let shortest = match bytes.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => 15,
    };
    (shortest..=3500).contains(&bytes.len())
}

/// Where the policy's single addresses are.
#[derive(Clone, Copy, PartialEq)]
enum List {
    Short,
    Long,
}

/// Adds so many addresses, which no packet has, that the policy's own single ones leave the trie.
fn lengthen(tables: &mut Tables) {
    let far = |n| Addr::v4([192, 88, 99, n]);
    tables.nets.extend((0..=255).map(|n| Prefix { addr: far(n), len: 32, value: Net::default() }));
}

/// The programs with their maps, where the packets of one interface come in.
struct Bench {
    generation: Generation,
    state: State,
    via: Via,
}

impl Bench {
    /// The policy of the scenarios.
    fn new(lab: &Lab, via: Via, settings: Settings, list: List) -> Result<Self> {
        let mut tables = scenarios::policy::tables(boot_time(), ifindex_where(via));
        tables.settings = vec![settings];
        tables.early = true;
        if list == List::Long {
            lengthen(&mut tables);
        }
        let gateway = scenarios::policy::gateway_addresses();
        Self::with(lab, via, &tables, &gateway, &scenarios::policy::quarantine(boot_time()))
    }

    fn with(
        lab: &Lab,
        via: Via,
        tables: &Tables,
        gateway: &[Addr],
        quarantined: &HashMap<Addr, Quarantine>,
    ) -> Result<Self> {
        let pins = Pins::prepare(&lab.bpffs()?)?;
        let generation = Generation::load(&pins, tables, KernelLog::Off)?;
        let mut state = State::open(&pins)?;
        state.set_gateway_addresses(gateway)?;
        state.set_quarantine(&quarantined.iter().map(|(client, it)| (*client, *it)).collect())?;
        Ok(Self { generation, state, via })
    }

    /// The code for one packet, and the reason for which exactly one packet was counted, if there is one.
    fn run(&mut self, hook: Hook, link: LinkType, bytes: &[u8]) -> Result<(i32, Vec<(Reason, u64)>)> {
        let before = self.state.counters()?;
        let code = self.generation.test_run(&TestPacket { hook, link, bytes, repeat: 1 })?.code;
        Ok((code, counted(&before, &self.state.counters()?)))
    }
}

fn counted(before: &Counters, after: &Counters) -> Vec<(Reason, u64)> {
    let counts =
        Reason::ALL.into_iter().map(|reason| (reason, after.packets(reason) - before.packets(reason)));
    counts.filter(|(_, packets)| *packets != 0).collect()
}

/// What must be counted: what passes as other traffic costs nothing, not even that.
fn to_count(expect: Expect) -> Vec<(Reason, u64)> {
    match expect.reason() {
        Reason::OtherTraffic => Vec::new(),
        reason => vec![(reason, 1)],
    }
}

/// Runs every packet in every framing; `code` tells what must be returned where the table denies or lets pass.
fn run_table(
    settings: Settings,
    list: List,
    hook: Hook,
    expect_at: impl Fn(Expect) -> Expect,
    code: impl Fn(Expect, LinkType, &[u8]) -> i32,
) -> Result<()> {
    let lab = Lab::builder().clients(0).build()?;
    let bench = |via| Bench::new(&lab, via, settings, list);
    let mut benches = [bench(Via::Lan)?, bench(Via::Guest)?];
    let (mut checked, mut left_out, mut wrong) = (0, Vec::new(), Vec::new());
    for Scenario { name, why, via, packets, .. } in &scenarios::all() {
        let bench = benches.iter_mut().find(|bench| bench.via == *via).context("no such interface")?;
        for (i, packet) in packets.iter().enumerate() {
            let mut check = |bytes: &[u8], link, expect: Expect| -> Result<()> {
                if !is_accepted(bytes) {
                    left_out.push(format!("{name} ({} bytes)", bytes.len()));
                    return Ok(());
                }
                checked += 1;
                let mut bytes = bytes.to_vec();
                if link == LinkType::Ethernet {
                    bytes[..6].copy_from_slice(&OWN_MAC);
                }
                let expect = expect_at(expect);
                let wanted = (code(expect, link, &bytes), to_count(expect));
                let got = bench.run(hook, link, &bytes).with_context(|| format!("{name}: {bytes:02x?}"))?;
                if got != wanted {
                    wrong.push(format!(
                        "{name}, packet {i} ({link:?}; {why}): expected {wanted:?}, got {got:?}; {bytes:02x?}"
                    ));
                }
                Ok(())
            };
            check(&packet.frame, LinkType::Ethernet, packet.expect)?;
            if let Some(bytes) = packet.without_ethernet() {
                check(bytes, LinkType::Ip, packet.expect_without_ethernet())?;
            }
        }
    }
    println!("{checked} packets; left to the lab for their size: {left_out:#?}");
    ensure!(left_out.len() * 20 < checked, "too many rows are left out");
    ensure!(wrong.is_empty(), "{} of {checked} packets:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn the_door_drops_and_counts_as_the_table_says() -> Result<()> {
    require_root_or_skip!();
    run_table(
        Settings::new(Some(mode::ENFORCE), Some(action::DROP)),
        List::Short,
        Hook::Door,
        |e| e,
        |expect, _, _| {
            if expect.denies() { DROP } else { NEXT }
        },
    )
}

/// Whatever the door drops in silence the early door may take from it, and nothing else; what it leaves it must not count.
#[test]
fn the_early_door_drops_only_what_the_door_would() -> Result<()> {
    require_root_or_skip!();
    const XDP_DROP: i32 = 1;
    const XDP_PASS: i32 = 2;
    let lab = Lab::builder().clients(0).build()?;
    let settings =
        [action::DROP, action::REJECT].map(|action| Settings::new(Some(mode::ENFORCE), Some(action)));
    let (mut dropped, mut wrong) = (0, Vec::new());
    for via in [Via::Lan, Via::Guest] {
        for settings in settings {
            let mut bench = Bench::new(&lab, via, settings, List::Short)?;
            for Scenario { name, packets, .. } in scenarios::all().iter().filter(|row| row.via == via) {
                for packet in packets.iter().filter(|packet| is_accepted(&packet.frame)) {
                    let mut flow = Flow::OTHER;
                    let plain = parse_plain(&Bytes(&packet.frame), LinkType::Ethernet, &mut flow).is_some();
                    let wanted = if packet.expect.denies() && plain && !settings.is_reject() {
                        dropped += 1;
                        (XDP_DROP, to_count(packet.expect))
                    } else {
                        (XDP_PASS, Vec::new())
                    };
                    let before = bench.state.counters()?;
                    let code = bench.generation.test_run_early(&packet.frame)?;
                    let got = (code, counted(&before, &bench.state.counters()?));
                    if got != wanted {
                        wrong
                            .push(format!("{name}: expected {wanted:?}, got {got:?}; {:02x?}", packet.frame));
                    }
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    ensure!(dropped > 200, "hardly anything to drop: {dropped}");
    Ok(())
}

#[test]
fn a_long_list_changes_no_verdict() -> Result<()> {
    require_root_or_skip!();
    let drop = Settings::new(Some(mode::ENFORCE), Some(action::DROP));
    run_table(drop, List::Long, Hook::Door, |e| e, |expect, _, _| if expect.denies() { DROP } else { NEXT })
}

#[test]
fn the_door_answers_where_it_can_and_lets_nothing_out() -> Result<()> {
    require_root_or_skip!();
    run_table(
        Settings::new(Some(mode::ENFORCE), Some(action::REJECT)),
        List::Short,
        Hook::Door,
        |e| e,
        |expect, link, bytes| {
            // Without Ethernet header a test run can't say that the packet is for us.
            let answerable =
                link == LinkType::Ethernet && Reset::answering(&parse(&Bytes(bytes), link)).is_some();
            match expect.denies() {
                true if answerable => REDIRECT,
                true => DROP,
                false => NEXT,
            }
        },
    )
}

#[test]
fn audit_mode_counts_the_same_and_stops_nothing() -> Result<()> {
    require_root_or_skip!();
    let audit = Settings::new(Some(mode::AUDIT), Some(action::DROP));
    run_table(audit, List::Short, Hook::Door, |e| e, |_, _, _| NEXT)
}

#[test]
fn the_guard_drops_what_a_process_of_the_gateway_sends() -> Result<()> {
    require_root_or_skip!();
    // A test run's packet has come in nowhere, as one of a local process.
    let at_guard = |at_door: Expect| at_door.at_guard(Expect::Deny(Reason::LocalProcess));
    run_table(
        Settings::new(Some(mode::ENFORCE), Some(action::DROP)),
        List::Short,
        Hook::Guard,
        at_guard,
        |expect, _, _| {
            if expect.denies() { DROP } else { NEXT }
        },
    )
}

/// The kernel's prefix look-ups are its own code, so the tables must mean there what they mean on the host.
#[test]
fn random_policies_mean_the_same_in_the_kernel() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(0).build()?;
    let mut random =
        TestRunner::new(ProptestConfig { rng_seed: RngSeed::Fixed(25), ..ProptestConfig::default() });
    let addr = |text: &str| text.parse::<IpAddr>().map(Addr::from);
    let gateway = [addr("10.0.0.1")?, addr("fd00::1")?];
    let (mut checked, mut denied) = (0, 0);
    for round in 0..30 {
        let via = if round % 2 == 0 { Via::Lan } else { Via::Guest };
        let (policy, probes) = (arbitrary::policy(), collection::vec(arbitrary::probe(), 100))
            .new_tree(&mut random)
            .map_err(|error| anyhow::anyhow!("{error}"))?
            .current();
        let now = Instant { wall: arbitrary::now().wall, boot: boot_time() };
        let ifindex = ifindex_where(via);
        let index = |name: &str| Some(ifindex(if name == "lan0" { Via::Lan } else { Via::Guest }));
        let mut tables = compile(&policy, Revision([0; 8]), now, index)?;
        if round % 3 == 0 {
            lengthen(&mut tables);
        }
        let drawn = collection::hash_map(arbitrary::address(), arbitrary::quarantined(), 0..8)
            .new_tree(&mut random)
            .map_err(|error| anyhow::anyhow!("{error}"))?
            .current();
        let quarantine = drawn.into_iter().map(|(address, (hours, scope, mac))| {
            let until = now.boot.saturating_add_signed(hours * 3_600_000_000_000);
            (Addr::from(address), Quarantine::new(until, scope.number(), mac))
        });
        let quarantine: HashMap<_, _> = quarantine.collect();
        let mut bench = Bench::with(&lab, via, &tables, &gateway, &quarantine)?;
        let mut host = HostPolicy::new(&tables, now.boot);
        host.gateway_addresses = gateway.into();
        host.quarantine = quarantine;
        for probe in &probes {
            let bytes = probe.bytes();
            let arrival = StatedArrival { ifindex: HERE, src_mac: probe.src_mac() };
            let decision = decide(&parse(&Bytes(&bytes), probe.link), &arrival, &host);
            let group = host.net(&Addr::from(probe.from)).unwrap_or_default().group();
            let settings = tables.settings[usize::from(group)].within(tables.settings[0]);
            let code = if decision.denies() && !settings.is_audit() { DROP } else { NEXT };
            let expect =
                if decision.denies() { Expect::Deny(decision.reason) } else { Expect::Pass(decision.reason) };
            let got = bench.run(Hook::Door, probe.link, &bytes)?;
            ensure!(
                got == (code, to_count(expect)),
                "{probe:?}: {expect:?} on the host, {got:?} in the kernel; {policy:#?}"
            );
            checked += 1;
            denied += usize::from(decision.denies());
        }
    }
    println!("{checked} packets, {denied} denied");
    ensure!(denied > checked / 10, "hardly anything was denied");
    Ok(())
}
