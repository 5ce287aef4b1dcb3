//! What `explain` says of random policies and packets, and what the loaded programs do (`BPF_PROG_TEST_RUN`): the same.
//!
//! `EXPLAIN_POLICIES` and `EXPLAIN_PACKETS` (packets a policy) raise the numbers, `EXPLAIN_SEED` makes others.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

mod dice;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use dice::Dice;
use jiff::Timestamp;
use lab::frame::{Frame, Mac, Tcp};
use lab::{Lab, require_root_or_skip};
use policy_common::{LinkType, abi};
use policy_user::datapath::{
    Counters, EarlyDoor, Generation, Hook, Inside, KernelLog, Pins, Refusal, State, TestPacket, attach,
    boot_time,
};
use policy_user::netlink::Interface;
use policy_user::policy::compile::{Instant, compile, inside_settings};
use policy_user::policy::explain::{Examiner, Paper, Question, Sender, SourceMac, Verdict};
use policy_user::policy::{Policy, Revision};

/// A test run puts every packet on the loopback interface, whose index is 1 and whose MAC is zero.
const HERE: (&str, u32) = ("lo", 1);
const ELSEWHERE: (&str, u32) = ("lan0", 99);
const OWN_MAC: Mac = Mac([0; 6]);

/// What the kernel made of a packet: verdict and label of the reason.
fn judged(code: i32, before: &Counters, after: &Counters) -> Result<(Verdict, &'static str)> {
    let before = before.by_reason();
    let mut counted = after.by_reason();
    for count in &mut counted {
        if let Some(known) = before.iter().find(|known| known.reason == count.reason) {
            count.packets -= known.packets;
            count.would_block_packets -= known.would_block_packets;
        }
    }
    counted.retain(|count| count.packets != 0);
    ensure!(counted.len() < 2, "one packet was counted twice: {counted:?}");
    let (reason, would_block) =
        counted.first().map_or(("other-traffic", 0), |count| (count.reason, count.would_block_packets));
    let verdict = match (code, would_block) {
        (-1, 0) => Verdict::Pass,
        (-1, 1) => Verdict::WouldBlock,
        (2, 0) => Verdict::Drop,
        (7, 0) => Verdict::Reject,
        odd => anyhow::bail!("the kernel answers {odd:?}"),
    };
    Ok((verdict, reason))
}

/// One policy, loaded and on paper; returns a line for each packet on which they differ.
struct Bench<'a> {
    pins: &'a Pins,
    now: Timestamp,
    gateway: IpAddr,
    verdicts: BTreeMap<(Verdict, &'static str), usize>,
    wrong: Vec<String>,
}

impl Bench<'_> {
    fn load(&self, policy: &Policy) -> Result<(Generation, State)> {
        let now = Instant { wall: self.now, boot: boot_time() };
        let index = |name: &str| [HERE, ELSEWHERE].iter().find(|known| known.0 == name).map(|known| known.1);
        let tables = compile(policy, Revision([0; 8]), now, index)?;
        let mut generation = Generation::load(self.pins, &tables, KernelLog::Off)?;
        let entry = policy.inside.iter().position(|entry| entry.glob.matches(HERE.0)).context("no lo")?;
        let interface = Interface { name: HERE.0.to_owned(), index: HERE.1, link: Some(LinkType::Ethernet) };
        let inside =
            [Inside { interface, settings: inside_settings(entry) as u32, early: EarlyDoor::Unasked }];
        attach(self.pins, &mut generation, &inside, &[], Refusal::TakeBack)?;
        let mut state = State::open(self.pins)?;
        state.set_gateway_addresses(&[self.gateway.into()])?;
        Ok((generation, state))
    }

    fn ask(
        &mut self,
        policy: &Policy,
        question: &Question,
        examiner: &mut Examiner<'_>,
        (generation, state): &mut (Generation, State),
    ) -> Result<()> {
        let (hook, from) = match question.from {
            Sender::Client(client) => (Hook::Door, client),
            Sender::Gateway => (Hook::Guard, self.gateway_like(question.to)),
        };
        let SourceMac::Is(mac) = question.mac else { return Ok(()) };
        let frame =
            Frame::new(Mac(mac), OWN_MAC).ip(from, question.to).tcp(Tcp::syn(40_000, question.port)).build();
        let scope = question.quarantined.scope(policy);
        let quarantine = scope.map(|it| (from.into(), abi::Quarantine::new(u64::MAX, it.number(), None)));
        state.set_quarantine(&quarantine.into_iter().collect())?;
        let before = state.counters()?;
        let packet = TestPacket { hook, link: LinkType::Ethernet, bytes: &frame, repeat: 1 };
        let code = generation.test_run(&packet)?.code;
        let kernel = judged(code, &before, &state.counters()?)?;
        let explanation = examiner.explain(question);
        let paper = (explanation.verdict, explanation.reason);
        *self.verdicts.entry(kernel).or_default() += 1;
        if paper != kernel || examiner.verdict(question) != kernel {
            self.wrong.push(format!("{question:?}: explain says {paper:?}, the kernel {kernel:?}"));
        }
        if explanation.verdict.denies() && explanation.remedies.is_empty() {
            self.wrong.push(format!("{question:?}: nothing would let it pass"));
        }
        Ok(())
    }

    fn gateway_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv6() { Ipv6Addr::new(0xfd25, 0, 0, 0, 0, 0, 0, 0xff).into() } else { self.gateway }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn compare(pins: &Pins) -> Result<()> {
    let (policies, packets) = (number("EXPLAIN_POLICIES", 100), number("EXPLAIN_PACKETS", 100));
    let mut dice = Dice(number("EXPLAIN_SEED", 0x5eed_0025).max(1));
    let gateway = Ipv4Addr::new(203, 0, 113, 1).into();
    let (now, verdicts) = (Timestamp::now(), BTreeMap::new());
    let mut bench = Bench { pins, now, gateway, verdicts, wrong: Vec::new() };
    for number in 0..policies {
        let policy = if number % 4 == 0 { dice.long_policy(now) } else { dice.policy(now) };
        let paper = Paper::new(&policy, Revision([0; 8]))?;
        let mut examiner = paper.examiner();
        examiner.set_gateway_addresses([gateway]);
        let mut loaded = bench.load(&policy).with_context(|| format!("policy {number}: {policy:?}"))?;
        for _ in 0..packets {
            let question = dice.question(&policy, now);
            bench.ask(&policy, &question, &mut examiner, &mut loaded)?;
        }
        ensure!(bench.wrong.is_empty(), "policy {number}: {policy:#?}\n{}", bench.wrong.join("\n"));
    }
    println!("{policies} policies, {} packets: {:#?}", policies * packets, bench.verdicts);
    // A generator that never reaches a rule proves nothing about it.
    for reason in [
        "other-traffic",
        "internal-destination",
        "gateway-address",
        "mail-server",
        "exception",
        "gateway-mail",
        "not-a-mail-server",
        "unknown-source",
        "destination-not-allowed",
        "spoofed-mail-server",
        "quarantined",
        "local-process",
    ] {
        let met = bench.verdicts.keys().any(|(_, known)| *known == reason);
        ensure!(met || policies < 100, "no packet was decided by {reason}");
    }
    Ok(())
}

#[test]
fn explain_says_what_the_kernel_does() -> Result<()> {
    require_root_or_skip!();
    let lab = Lab::builder().clients(0).build()?;
    let pins = Pins::prepare(&lab.bpffs()?)?;
    // In a namespace of its own: the programs are attached to its loopback interface.
    lab.gateway().run(|| compare(&pins))?
}
