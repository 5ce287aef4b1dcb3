//! What each path through the kernel programs costs, beside a program that does nothing: `BPF_PROG_TEST_RUN`, no network.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use lab::frame::{Frame, Mac, Tcp, Udp, flags};
use policy_common::LinkType;
use policy_user::datapath::{Hook, KernelLog, TestPacket};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::filters::{Filter as _, OnDeny, Ours};
use crate::lists::{self, LookUp};
use crate::machine::Machine;
use crate::programs::Classifier;
use crate::results::Spread;
use crate::stage::Stage;

/// The figures of one run, as they are kept in a file.
#[derive(Serialize, Deserialize)]
struct Micro {
    version: u32,
    machine: Machine,
    programs: BTreeMap<String, Size>,
    paths: Vec<Timing>,
    #[serde(default)]
    lists: Vec<LookUp>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Size {
    /// As the verifier leaves them.
    instructions: u32,
    /// How many steps the verifier took, of the 1,000,000 it allows.
    verified: u32,
}

#[derive(Serialize, Deserialize)]
struct Timing {
    path: String,
    ns: f64,
    /// To the program that does nothing, on the same packet.
    ratio: f64,
}

const NEXT: i32 = -1;
const DROP: i32 = 2;
const REDIRECT: i32 = 7;

/// One packet whose way through a program is known by what comes out.
struct Case {
    path: &'static str,
    hook: Hook,
    on_deny: OnDeny,
    bytes: Vec<u8>,
    /// Where each run takes another packet: the one with this number.
    numbered: Option<fn(u32) -> Vec<u8>>,
    code: i32,
}

const ROUNDS: usize = 9;
const REPEAT: u32 = 500_000;
/// Of single runs: an answer turns the packet around, so that the next run would see another one.
const SINGLES: u32 = 20_000;

pub fn run(compare: Option<&Path>, save: Option<&Path>) -> Result<String> {
    let before = compare.map(read).transpose()?;
    let micro = measure()?;
    if let Some(path) = save {
        let text = serde_json::to_string_pretty(&micro)? + "\n";
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(micro.text(before.as_ref()))
}

fn read(path: &Path) -> Result<Micro> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    let micro: Micro = serde_json::from_str(&text)
        .with_context(|| format!("{} is no file of `bench --micro`", path.display()))?;
    ensure!(micro.version == 1, "{} is of another version ({})", path.display(), micro.version);
    Ok(micro)
}

fn cases() -> Result<Vec<Case>> {
    let segment = |port| Tcp::new(40_000, port, flags::ACK).acknowledgement(1).payload(&[0; 10]);
    // A test run puts every packet on the loopback interface, whose MAC is zero.
    let frame = || Frame::new(Mac([2, 0, 0, 0, 0, 0x77]), Mac([0; 6]));
    let (client4, client6) = ("10.25.0.77".parse()?, "fd25::77".parse()?);
    let (outside4, outside6) = ("203.0.113.25".parse()?, "2001:db8:ff::25".parse()?);
    let ipv4 = |port| frame().ip(client4, outside4).tcp(segment(port)).build();
    let fragments = frame().ip(client4, outside4).udp(Udp::new(1, 2, &[0; 64])).fragments(&[64]);
    let tagged = frame().vlan(25).ip(client4, outside4).tcp(segment(443)).build();
    let ipv6 = frame().ip(client6, outside6).tcp(segment(443)).build();
    let mail = frame().ip("10.25.0.25".parse()?, outside4).tcp(segment(25)).build();
    let later = fragments.into_iter().next_back().context("no fragment")?;
    let udp = frame().ip(client4, outside4).udp(Udp::new(1, 53, &[0; 30])).build();
    let denied6 = frame().ip(client6, outside6).tcp(segment(25)).build();
    let case = |path, bytes, code| Case {
        path,
        hook: Hook::Door,
        on_deny: OnDeny::Drop,
        bytes,
        numbered: None,
        code,
    };
    let each = |path, numbered: fn(u32) -> Vec<u8>| Case {
        numbered: Some(numbered),
        ..case(path, numbered(0), DROP)
    };
    Ok(vec![
        case("permit, IPv4, port 443", ipv4(443), NEXT),
        case("permit, IPv6, port 443", ipv6.clone(), NEXT),
        case("permit, VLAN tag, port 443", tagged, NEXT),
        case("permit, IPv4, port 587", ipv4(587), NEXT),
        case("permit, IPv4, UDP", udp, NEXT),
        case("permit, later fragment", later, NEXT),
        case("permit, mail server, port 25", mail, NEXT),
        case("deny again, IPv4", ipv4(25), DROP),
        case("deny again, IPv6", denied6, DROP),
        // Two hundred attempts of each of many hosts, all of one, one of each of many that nobody knows.
        each("deny, new attempt with an event", |n| new_attempt([10, 26, 0, 0], n / 200, n)),
        each("deny, new attempt beyond the budget", |n| new_attempt([10, 25, 0, 99], 0, n)),
        each("deny, made-up source", |n| new_attempt([198, 18, 0, 0], n % 65_536, n)),
        Case { on_deny: OnDeny::Reject, ..case("reject, IPv4", ipv4(25), REDIRECT) },
        Case { hook: Hook::Guard, ..case("guard, IPv4, port 443", ipv4(443), NEXT) },
        Case { hook: Hook::Guard, ..case("guard, IPv6, port 443", ipv6, NEXT) },
    ])
}

/// A SYN to port 25 of the host `number` behind `base`.
fn new_attempt(base: [u8; 4], number: u32, sequence: u32) -> Vec<u8> {
    let source = Ipv4Addr::from_bits(u32::from_be_bytes(base) + number);
    Frame::new(Mac([2, 0, 0, 0, 0, 0x77]), Mac([0; 6]))
        .ip(source.into(), [203, 0, 113, 25].into())
        .tcp(Tcp::syn(40_000, 25).sequence(sequence))
        .build()
}

fn measure() -> Result<Micro> {
    let stage = Stage::for_streams()?;
    let mut dropping = Ours::prepare(&stage, "micro-drop", 1, OnDeny::Drop, KernelLog::Off)?;
    let mut rejecting = Ours::prepare(&stage, "micro-reject", 1, OnDeny::Reject, KernelLog::Off)?;
    dropping.listen()?;
    let mut empty = Classifier::load("empty")?;
    let mut machine = Machine::now();
    let cases = cases()?;
    let mut rounds = vec![(Vec::new(), Vec::new()); cases.len()];
    let clock = Clock::pinned()?;
    for round in 0..ROUNDS {
        for (case, (ours, nothing)) in cases.iter().zip(&mut rounds) {
            let filter = if case.on_deny == OnDeny::Reject { &mut rejecting } else { &mut dropping };
            nothing.push(time(&clock, REPEAT, || empty.test_run(&case.bytes, REPEAT), NEXT)?);
            ours.push(case.time(&clock, filter, &mut empty, round)?);
        }
    }
    let lists = lists::measure(&stage)?;
    machine.finish();
    let paths = cases.iter().zip(&rounds).map(|(case, (ours, nothing))| {
        let ratios: Vec<f64> = ours.iter().zip(nothing).map(|(ours, nothing)| ours / nothing).collect();
        let round = |number: f64| (number * 100.0).round() / 100.0;
        let (ns, ratio) = (round(Spread::of(ours).median), round(Spread::of(&ratios).median));
        Timing { path: case.path.to_owned(), ns, ratio }
    });
    Ok(Micro { version: 1, machine, programs: sizes(&stage, &mut dropping)?, paths: paths.collect(), lists })
}

impl Case {
    /// Nanoseconds of one run.
    fn time(&self, clock: &Clock, filter: &mut Ours, empty: &mut Classifier, round: usize) -> Result<f64> {
        let mut ours = |bytes: &[u8], repeat| -> Result<i32> {
            let packet = TestPacket { hook: self.hook, link: LinkType::Ethernet, bytes, repeat };
            Ok(filter.generation().test_run(&packet)?.code)
        };
        if self.code != REDIRECT && self.numbered.is_none() {
            return time(clock, REPEAT, || ours(&self.bytes, REPEAT), self.code).with_context(|| self.path);
        }
        let packets: Vec<Vec<u8>> = (round as u32 * SINGLES..)
            .take(SINGLES as usize)
            .map(|n| self.numbered.map_or_else(|| self.bytes.clone(), |packet| packet(n)))
            .collect();
        let singles = |run: &mut dyn FnMut(&[u8]) -> Result<i32>| -> Result<i32> {
            let (first, rest) = packets.split_first().context("no packet")?;
            rest.iter().try_fold(
                run(first)?,
                |code, bytes| {
                    if run(bytes)? == code { Ok(code) } else { Ok(i32::MIN) }
                },
            )
        };
        // A system call each: that of the empty program is taken off.
        let call = time(clock, SINGLES, || singles(&mut |bytes| empty.test_run(bytes, 1)), NEXT)?;
        let with_call = time(clock, SINGLES, || singles(&mut |bytes| ours(bytes, 1)), self.code)
            .with_context(|| self.path)?;
        Ok((with_call - call).max(0.0))
    }
}

/// Processor time of one of `repeat` runs, of which each returns `code`.
fn time(clock: &Clock, repeat: u32, run: impl FnOnce() -> Result<i32>, code: i32) -> Result<f64> {
    let begin = clock.now()?;
    let returned = run()?;
    let took = clock.now()? - begin;
    ensure!(returned == code, "the program returned {returned}, not {code}: this is another path");
    Ok(took.as_nanos() as f64 / f64::from(repeat))
}

/// Sizes of the programs, asked where they are attached.
fn sizes(stage: &Stage, ours: &mut Ours) -> Result<BTreeMap<String, Size>> {
    ours.enter(stage)?;
    let of = |interface: &'static str, direction| -> Result<Size> {
        let programs = stage.gateway().run(|| SchedClassifier::query_tcx(interface, direction))??.1;
        let program = programs.first().with_context(|| format!("nothing is attached to {interface}"))?;
        Ok(Size {
            instructions: program.size_translated().unwrap_or(0) / 8,
            verified: program.verified_instruction_count().unwrap_or(0),
        })
    };
    let sizes = [
        ("door".to_owned(), of("lan0", TcAttachType::Ingress)?),
        ("guard".to_owned(), of("wan0", TcAttachType::Egress)?),
    ];
    ours.leave(stage)?;
    Ok(sizes.into())
}

impl Micro {
    fn text(&self, before: Option<&Self>) -> String {
        let mut text = format!("{}\n", self.machine.sentence());
        // Writing to a String can't fail.
        if let Some(before) = before {
            let _ = writeln!(text, "compared with {}", before.machine.sentence());
        }
        let _ = writeln!(text, "\n{:<34} {:>8} {:>7}", "path", "ns", "ratio");
        for Timing { path, ns, ratio } in &self.paths {
            let old = before.and_then(|before| before.paths.iter().find(|timing| timing.path == *path));
            let change = change(old.map(|old| old.ratio), *ratio);
            let _ = writeln!(text, "{path:<34} {ns:>8.1} {ratio:>7.2}{change}");
        }
        let _ = writeln!(text, "\n{:<34} {:>12} {:>9}", "program", "instructions", "verified");
        for (program, Size { instructions, verified }) in &self.programs {
            let old = before.and_then(|before| before.programs.get(program));
            let change = change(old.map(|old| f64::from(old.instructions)), f64::from(*instructions));
            let _ = writeln!(text, "{program:<34} {instructions:>12} {verified:>9}{change}");
        }
        let _ = writeln!(text, "\n{:<34} {:>8} {:>7}", "a look-up: entries, addresses", "ns", "more");
        for LookUp { entries, addresses, program_ns, more_ns } in &self.lists {
            let old = before.and_then(|before| {
                before.lists.iter().find(|old| (old.entries, old.addresses) == (*entries, *addresses))
            });
            let change = change(old.map(|old| old.program_ns), *program_ns);
            let what = format!("{entries}, {addresses}");
            let _ = writeln!(text, "{what:<34} {program_ns:>8.1} {more_ns:>+7.1}{change}");
        }
        text
    }
}

/// In percent of what it was.
fn change(old: Option<f64>, new: f64) -> String {
    old.map_or(String::new(), |old| format!("   {:+.1} %", (new / old - 1.0) * 100.0))
}
