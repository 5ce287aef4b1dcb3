//! Every packet and policy that fuzzing has kept: on the host, and every packet in the kernel, which must decide as the host does.
#![allow(clippy::expect_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../fuzz/src/fixed.rs"]
mod fixed;
#[path = "../fuzz/src/packet.rs"]
mod packet;
#[path = "../fuzz/src/policy_text.rs"]
mod policy_text;
#[path = "../fuzz/src/reference.rs"]
mod reference;
#[path = "../fuzz/src/reset.rs"]
mod reset;
#[path = "../fuzz/src/rules.rs"]
mod rules;

// The fuzz crate compiles the loader as a module of its own; here it comes from the library.
use policy_user::policy;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lab::require_root_or_skip;
use policy::compile::{Instant, Tables, compile};
use policy::evaluate::{HostPolicy, StatedArrival};
use policy::{Revision, parse as parse_policy};
use policy_common::decide::{Origin, decide_at_guard};
use policy_common::reset::Reset;
use policy_common::{Decision, Flow, LinkType, Reason, decide, parse};
use policy_user::datapath::{Counters, Generation, Hook, TestPacket, boot_time};

/// A test run puts every packet on the loopback interface.
const LOOPBACK: u32 = 1;

/// Kernel codes; see `TestResult::code`.
const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// File names with contents, in a fixed order.
fn corpus(kind: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(kind);
    let entries =
        fs::read_dir(&directory).with_context(|| format!("could not read {}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        files.push((path.display().to_string(), fs::read(&path)?));
    }
    files.sort();
    ensure!(files.len() >= 100, "only {} files in {}", files.len(), directory.display());
    Ok(files)
}

#[test]
fn every_kept_packet_is_decided_as_the_second_reading_demands() -> Result<()> {
    for (file, bytes) in corpus("packet")? {
        // The harness shows this only where the check panics.
        println!("{file}");
        packet::check(&bytes);
    }
    Ok(())
}

#[test]
fn every_kept_policy_is_judged_without_harm() -> Result<()> {
    for (file, bytes) in corpus("policy")? {
        println!("{file}");
        if let Ok(text) = std::str::from_utf8(&bytes) {
            policy_text::check(text);
        }
    }
    Ok(())
}

/// What the programs do with a denied packet in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    Drop,
    Reject,
    Audit,
}

impl Treatment {
    fn tables(self) -> Result<Tables> {
        let text = match self {
            Self::Drop => rules::POLICY.to_owned(),
            Self::Reject => rules::POLICY.replace("on_block: drop", "on_block: reject"),
            Self::Audit => rules::POLICY.replace("mode: enforce", "mode: audit"),
        };
        ensure!(self == Self::Drop || text != rules::POLICY, "the fixed policy has changed");
        let now = Instant { wall: Timestamp::now(), boot: boot_time() };
        let (policy, _) = parse_policy(&text, now.wall, &TimeZone::UTC)
            .map_err(|errors| anyhow::anyhow!("the fixed policy is refused: {errors:?}"))?;
        Ok(compile(&policy, Revision::of(&text), now, |_| None)?)
    }

    /// The code for a packet with this decision.
    fn code(self, hook: Hook, decision: &Decision, flow: &Flow, for_us: bool) -> i32 {
        match self {
            _ if !decision.denies() => NEXT,
            Self::Audit => NEXT,
            Self::Reject if hook == Hook::Door && for_us && Reset::answering(flow).is_some() => REDIRECT,
            Self::Drop | Self::Reject => DROP,
        }
    }
}

/// One packet as one program gets it.
struct Case<'a> {
    hook: Hook,
    link: LinkType,
    bytes: &'a [u8],
}

impl Case<'_> {
    /// What the host decides, and the packet's facts.
    fn on_host(&self, policy: &HostPolicy<'_>) -> (Decision, Flow) {
        let flow = parse(self.bytes, self.link);
        let src_mac = match self.link {
            LinkType::Ethernet => self.bytes.get(6..12).and_then(|mac| mac.try_into().ok()),
            LinkType::Ip => None,
        };
        let decision = match self.hook {
            Hook::Door => decide(&flow, &StatedArrival { ifindex: LOOPBACK, src_mac }, policy),
            // A test run's packet came in through no interface.
            Hook::Guard => decide_at_guard(&flow, || Origin::Local, false, policy),
        };
        (decision, flow)
    }

    /// What is different in the kernel, if anything.
    fn difference(
        &self,
        treatment: Treatment,
        policy: &HostPolicy<'_>,
        generation: &mut Generation,
    ) -> Result<Option<String>> {
        let Self { hook, link, bytes } = *self;
        let (decision, flow) = self.on_host(policy);
        // The loopback interface's own MAC is zero.
        let for_us = link == LinkType::Ethernet && bytes[..6] == [0; 6];
        let before = generation.counters()?;
        let code = generation.test_run(&TestPacket { hook, link, bytes, repeat: 1 })?.code;
        let counted = counted(&before, &generation.counters()?);
        let expected = treatment.code(hook, &decision, &flow, for_us);
        // What passes as other traffic costs nothing, not even being counted.
        let reasons = match decision.reason {
            Reason::OtherTraffic => Vec::new(),
            reason => vec![reason],
        };
        let same = code == expected && counted == reasons;
        Ok((!same).then(|| {
            format!(
                "{treatment:?} {hook:?} {link:?}: host {expected} {:?}, kernel {code} {counted:?}: {flow:?}",
                decision.reason
            )
        }))
    }
}

fn counted(before: &Counters, after: &Counters) -> Vec<Reason> {
    Reason::ALL.into_iter().filter(|reason| after.packets(*reason) > before.packets(*reason)).collect()
}

/// Whether the kernel takes it for a test run: more than an Ethernet header, and the fixed part of an IP header where the
/// EtherType promises one. What is shorter exists only on the host, and in the lab's differential run.
fn is_accepted(bytes: &[u8]) -> bool {
    bytes.len()
        >= match bytes.get(12..14) {
            Some([0x08, 0x00]) => 14 + 20,
            Some([0x86, 0xdd]) => 14 + 40,
            _ => 15,
        }
}

#[test]
fn the_kernel_decides_every_kept_packet_as_the_host_does() -> Result<()> {
    require_root_or_skip!();
    let packets = corpus("packet")?;
    let (mut runs, mut refused, mut wrong) = (0, 0, Vec::new());
    for treatment in [Treatment::Drop, Treatment::Reject, Treatment::Audit] {
        let tables = treatment.tables()?;
        let policy = HostPolicy::new(&tables, boot_time());
        let mut generation = Generation::load_unpinned(&tables)?;
        for (file, bytes) in &packets {
            // An answer is given only to what was sent to us alone.
            let mut addressed = bytes.clone();
            addressed.iter_mut().take(6).for_each(|byte| *byte = 0);
            let cases =
                [(LinkType::Ethernet, bytes), (LinkType::Ethernet, &addressed), (LinkType::Ip, bytes)];
            for (link, bytes) in cases {
                if !is_accepted(bytes) {
                    refused += 1;
                    continue;
                }
                for hook in [Hook::Door, Hook::Guard] {
                    runs += 1;
                    let case = Case { hook, link, bytes };
                    let difference = case.difference(treatment, &policy, &mut generation)?;
                    wrong.extend(difference.map(|text| format!("{file}: {text}")));
                }
            }
        }
    }
    println!("{runs} runs in the kernel, {refused} that it takes for too short");
    ensure!(wrong.is_empty(), "{} of {runs} runs differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
