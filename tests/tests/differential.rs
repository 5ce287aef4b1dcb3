//! Random packet sequences through two gateways, one bare and one with smtpfence: no leak, no false drop.
//!
//! A longer run: `cargo xtask fuzz --target lab --sequences 100000`.
#![allow(clippy::expect_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../differential/mod.rs"]
mod differential;
#[path = "../fuzz/src/fixed.rs"]
mod fixed;
#[path = "../fuzz/src/reference.rs"]
#[expect(dead_code, reason = "packets without Ethernet header do not come here")]
mod reference;
#[path = "../fuzz/src/rules.rs"]
mod rules;

// The fuzz crate compiles the loader as a module of its own; here it comes from the library.
use policy_user::policy;

use anyhow::{Result, ensure};
use differential::bench::Bench;
use differential::receiver;
use differential::run::{Plan, hex, run};
use differential::sequence::{Sequence, at_the_door};
use lab::frame::{Frame, Ipv4, Ipv6, Mac, Tcp};
use lab::require_root_or_skip;
use policy::evaluate::StatedArrival;
use policy_common::{LinkType, decide, parse};

#[test]
fn routed_sequences_leak_nothing_and_lose_nothing() -> Result<()> {
    require_root_or_skip!();
    compare(false, 20_000)
}

#[test]
fn sequences_behind_nat_leak_nothing_and_lose_nothing() -> Result<()> {
    require_root_or_skip!();
    compare(true, 5000)
}

/// The same on the host, with no kernel that would take out what is malformed: every frame that passes counts.
#[test]
fn frames_that_pass_one_by_one_never_add_up_to_mail() -> Result<()> {
    let plan = Plan::from_environment(40_000)?;
    let mut leaks = Vec::new();
    for number in plan.first..plan.first + plan.sequences {
        let sequence = Sequence::generate(plan.seed, number);
        let seen: Vec<Vec<u8>> = sequence.frames.iter().map(|frame| at_the_door(frame)).collect();
        let passed = seen.iter().filter(|frame| passes(&sequence, frame));
        let packets: Vec<&[u8]> = passed.filter_map(|frame| ip_packet(frame)).collect();
        if !sequence.may_send_mail() && receiver::can_get(&packets, rules::BLOCKED_PORT) {
            let packets: Vec<String> = packets.into_iter().map(hex).collect();
            leaks.push(format!("sequence {number} of seed {}:\n  {}", plan.seed, packets.join("\n  ")));
        }
    }
    leaks.truncate(10);
    ensure!(leaks.is_empty(), "some receiver could get TCP to port 25 from these:\n{}", leaks.join("\n"));
    Ok(())
}

fn passes(sequence: &Sequence, frame: &[u8]) -> bool {
    let arrival = StatedArrival { ifindex: 1, src_mac: Some(sequence.way.mac.0) };
    !decide(&parse(frame, LinkType::Ethernet), &arrival, fixed::policy()).denies()
}

fn ip_packet(frame: &[u8]) -> Option<&[u8]> {
    match reference::untag(frame) {
        reference::Frame::V4(packet) | reference::Frame::V6(packet) => Some(packet),
        _ => None,
    }
}

fn compare(nat: bool, sequences: u64) -> Result<()> {
    let plan = Plan::from_environment(sequences)?;
    let bench = Bench::build(nat)?;
    println!("NAT {nat}: seed {}, from sequence {}", plan.seed, plan.first);
    let figures = run(&bench, &plan)?;
    println!("{figures}");
    figures.verdict()
}

const SENDER: Mac = Mac([2, 0, 0, 0, 0, 0x77]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn v4() -> Frame {
    Frame::new(SENDER, GATEWAY).ipv4(Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25]))
}

fn v6(header: impl FnOnce(Ipv6) -> Ipv6) -> Frame {
    let (src, dst) = ([0xfd25, 0, 0, 0, 0, 0, 0, 0x77], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25]);
    Frame::new(SENDER, GATEWAY).ipv6(header(Ipv6::new(src, dst)))
}

/// Whether some receiver could get TCP to port 25 from frames of these numbers.
fn can_get(frames: &[&Vec<u8>]) -> bool {
    receiver::can_get(&frames.iter().map(|frame| &frame[14..]).collect::<Vec<_>>(), 25)
}

#[test]
fn the_oracle_reassembles_as_any_receiver_might() {
    let mail = Tcp::syn(40_000, 25).payload(&[0x41; 40]);
    let web = Tcp::syn(40_000, 443).payload(&[0x41; 40]);
    assert!(can_get(&[&v4().tcp(mail.clone()).build()]));
    assert!(!can_get(&[&v4().tcp(web.clone()).build()]));

    // IPv4: the ports are in the first fragment, and only another one at offset 0 can change them.
    let (mail4, web4) = (v4().tcp(mail.clone()).fragments(&[8]), v4().tcp(web.clone()).fragments(&[8]));
    assert!(can_get(&[&mail4[0]]) && can_get(&[&mail4[1], &web4[0], &mail4[0]]));
    assert!(!can_get(&[&mail4[1], &web4[0]]) && !can_get(&[&mail4[1]]));

    // IPv6: headers may push the port into a later fragment, which two datagrams can contradict each other about.
    let stretched = |segment: Tcp| v6(|h| h.destination_options(8)).tcp(segment).fragments(&[72]);
    let (mail6, web6) = (stretched(mail.clone()), stretched(web.clone()));
    assert!(can_get(&[&mail6[0], &mail6[1]]) && can_get(&[&web6[1], &mail6[1], &web6[0]]));
    assert!(!can_get(&[&mail6[0], &web6[1]]) && !can_get(&[&mail6[1]]) && !can_get(&[&mail6[0]]));
    let whole = v6(|h| h.fragment(0, true, 0x5eed_0001).destination_options(8)).tcp(web).build();
    assert!(can_get(&[&whole, &mail6[1]]) && !can_get(&[&whole]));

    // A fragment inside an atomic one, and behind an authentication header.
    let nested = v6(|h| h.fragment(0, false, 7).authentication(1).fragment(0, true, 8)).tcp(mail).build();
    assert!(can_get(&[&nested]));
}
