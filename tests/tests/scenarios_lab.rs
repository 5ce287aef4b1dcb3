//! The scenario table against the whole agent on a gateway between namespaces: what must not leave does not, everything else
//! arrives. A bare router in the same place says what can arrive at all.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

#[path = "../scenarios/mod.rs"]
mod scenarios;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{Agent, Captured, built_binary, require_root_or_skip};
use policy_common::Reason;
use policy_user::datapath::{Pins, State, boot_time};
use scenarios::stage::{Mark, Stage, WHILE};
use scenarios::{Bare, Expect, Packet, Scenario};

fn rows() -> Vec<Scenario> {
    scenarios::all().into_iter().filter(|row| row.not_in_lab.is_none()).collect()
}

fn start<'lab>(stage: &'lab Stage) -> Result<Agent<'lab>> {
    let agent = Agent::start(&stage.lab, &built_binary()?, scenarios::policy::TEXT)?;
    let mut state = State::open(&Pins::at(&stage.lab.bpffs()?))?;
    state.set_quarantine(&scenarios::policy::quarantine(boot_time()).into_iter().collect())?;
    Ok(agent)
}

/// Compares what came out with what should, packet by packet.
fn compare(rows: &[Scenario], out: &[Captured], leaves: impl Fn(&Packet) -> bool) -> Result<()> {
    let mut arrived: HashMap<Mark, usize> = HashMap::new();
    for frame in out {
        if let Some(mark) = Mark::of(&frame.bytes) {
            *arrived.entry(mark).or_default() += 1;
        }
    }
    let mut wanted: HashMap<Mark, (usize, &Scenario)> = HashMap::new();
    for row in rows {
        for packet in &row.packets {
            if let Some(mark) = Mark::of(&packet.frame) {
                wanted.entry(mark).or_insert((0, row)).0 += usize::from(leaves(packet));
            }
        }
    }
    let mut wrong = Vec::new();
    for (mark, (count, row)) in &wanted {
        let came = arrived.remove(mark).unwrap_or(0);
        if came != *count {
            wrong.push(format!("{}: {came} packets came out, {count} should ({})", row.name, row.why));
        }
    }
    let destinations: HashMap<IpAddr, &Scenario> =
        wanted.into_iter().map(|(mark, (_, row))| (mark.to, row)).collect();
    for mark in arrived.keys() {
        if let Some(row) = destinations.get(&mark.to) {
            wrong.push(format!("{}: a packet came out that did not go in: {mark:02x?}", row.name));
        }
    }
    wrong.sort();
    ensure!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    Ok(())
}

#[test]
fn a_bare_router_forwards_what_the_table_says() -> Result<()> {
    require_root_or_skip!();
    let (stage, rows) = (Stage::new(false)?, rows());
    let out = stage.wires()?.run(&rows)?;
    compare(&rows, &out, |packet| packet.bare == Bare::Forwards)
}

#[test]
fn nothing_denied_leaves_and_everything_else_arrives() -> Result<()> {
    require_root_or_skip!();
    let (stage, rows) = (Stage::new(false)?, rows());
    let agent = start(&stage)?;
    let out = stage.wires()?.run(&rows)?;
    let forwarded = |packet: &&Packet| packet.bare == Bare::Forwards;
    let packets = || rows.iter().flat_map(|row| &row.packets);
    let evasions = packets().filter(|p| p.expect.denies()).filter(forwarded).count();
    let must_arrive = packets().filter(|p| !p.expect.denies()).filter(forwarded).count();
    println!(
        "{} rows: {evasions} denied packets that a bare router forwards, {must_arrive} that must arrive",
        rows.len()
    );
    compare(&rows, &out, |packet| packet.bare == Bare::Forwards && !packet.expect.denies())?;
    check_counters(&agent, &rows)
}

/// Denied packets are counted exactly, by reason, whether or not a router would have forwarded them.
fn check_counters(agent: &Agent, rows: &[Scenario]) -> Result<()> {
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for packet in rows.iter().flat_map(|row| &row.packets).filter(|p| p.expect.denies()) {
        *expected.entry(packet.expect.reason().label()).or_default() += 1;
    }
    for reason in Reason::ALL.into_iter().filter(|reason| reason.denies()) {
        let counted = agent.counted(reason.label(), "packets")?;
        let expected = expected.get(reason.label()).copied().unwrap_or(0);
        ensure!(
            counted == expected,
            "{counted} packets are counted as {}, {expected} were sent",
            reason.label()
        );
    }
    check_log(agent)
}

/// Every attempt that is counted is in the log, once.
fn check_log(agent: &Agent) -> Result<()> {
    let denying = Reason::ALL.into_iter().filter(|reason| reason.denies());
    let counted = denying.map(|reason| agent.counted(reason.label(), "attempts")).sum::<Result<u64>>()?;
    let begun = Instant::now();
    while agent.attempts().len() as u64 != counted {
        let logged = agent.attempts().len();
        ensure!(begun.elapsed() < WHILE, "{counted} attempts are counted, {logged} are logged");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn behind_nat_it_is_the_same() -> Result<()> {
    require_root_or_skip!();
    let rows: Vec<_> = rows().into_iter().filter(|row| row.not_behind_nat.is_none()).collect();
    // With connection tracking a router reassembles, and drops some of what it can't follow: it says itself what arrives.
    let bare = Stage::new(true)?;
    let bare = by_destination(bare.wires()?.run(&rows)?);
    let stage = Stage::new(true)?;
    let agent = start(&stage)?;
    let guarded = by_destination(stage.wires()?.run(&rows)?);
    let mut sent: BTreeMap<IpAddr, (Vec<Expect>, &Scenario)> = BTreeMap::new();
    for row in &rows {
        for packet in &row.packets {
            if let Some(mark) = Mark::of(&packet.frame) {
                sent.entry(mark.to).or_insert_with(|| (Vec::new(), row)).0.push(packet.expect);
            }
        }
    }
    let (mut wrong, mut leaks_without, mut must_arrive) = (Vec::new(), 0, 0);
    for (to, (expects, row)) in &sent {
        let frames = |out: &HashMap<IpAddr, Vec<Captured>>| out.get(to).cloned().unwrap_or_default();
        let (before, after) = (frames(&bare), frames(&guarded));
        let denied = expects.iter().filter(|expect| expect.denies()).count();
        let is_right = match expects.len() - denied {
            // Reassembled and cut anew, a packet may come out in other pieces, but it comes out.
            _ if denied == 0 => {
                must_arrive += before.len();
                after.len() == before.len()
            }
            0 => after.is_empty(),
            // What passes of it can't be reassembled to mail, unless a mail server may send it.
            _ => expects.contains(&Expect::Pass(Reason::MailServer)) || !after.iter().any(is_mail),
        };
        leaks_without += if denied > 0 { before.iter().filter(|f| is_mail(f)).count() } else { 0 };
        if !is_right {
            let (before, after) = (before.len(), after.len());
            wrong.push(format!(
                "{}: {after} packets came out, {before} without smtpfence ({})",
                row.name, row.why
            ));
        }
    }
    println!(
        "{leaks_without} segments of denied rows leave without smtpfence, {must_arrive} packets of others"
    );
    ensure!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    check_counters(&agent, &rows)
}

fn is_mail(frame: &Captured) -> bool {
    frame.view().is_some_and(|view| view.is_tcp_to(25) || view.is_tcp_to(10_025))
}

fn by_destination(out: Vec<Captured>) -> HashMap<IpAddr, Vec<Captured>> {
    let mut by: HashMap<IpAddr, Vec<Captured>> = HashMap::new();
    for frame in out {
        if let Some(mark) = Mark::of(&frame.bytes) {
            by.entry(mark.to).or_default().push(frame);
        }
    }
    by
}
