//! While the agent reloads, no packet waits for it: one-way times through the gateway with a reload and without one, in turn.
//!
//! `SMTPFENCE_ENTRIES=1000000 SMTPFENCE_RELOADS=5 cargo test --release --test reload_latency -- --nocapture` measures it.

#[path = "../long_policy/mod.rs"]
mod long_policy;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Tcp, flags};
use lab::{Agent, Captured, Lab, Sniffer, built_binary, require_root_or_skip};
use long_policy::{large, number};
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

/// Between two packets.
const EVERY: Duration = Duration::from_millis(1);

/// What no packet may take.
const LATE: Duration = Duration::from_millis(1);

/// The ports of the packets in turn: the mail server's to 25, a client's to 443, and a client's to 25, which must stay inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mail,
    Other,
    Blocked,
}

impl Kind {
    fn of(number: usize) -> Self {
        [Self::Mail, Self::Other, Self::Blocked][number % 3]
    }

    fn frame(self, lab: &Lab, number: usize) -> Result<Vec<u8>> {
        let from = if self == Self::Mail { lab.mail_server() } else { lab.client(0) };
        let port = 20_000 + (number % 40_000) as u16;
        let segment = match self {
            Self::Other => Tcp::new(port, 443, flags::ACK).acknowledgement(1),
            Self::Mail | Self::Blocked => Tcp::syn(port, 25),
        };
        let frame = Frame::new(from.mac(), lab.gateway().mac());
        let frame = frame.ip(from.addr4().into(), "203.0.113.25".parse()?);
        Ok(frame.tcp(segment.sequence(number as u32)).build())
    }
}

/// Keeps the calling thread on one processor, before all others there: it stands for a card, whose interrupts wait for
/// nobody. What the kernel does with its packets it does at the end of `send`, on the same processor.
fn be_a_card() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu)).context("no processor")?;
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one)?;
    let thread = gettid().as_raw_nonzero().to_string();
    let status = Command::new("chrt").args(["--fifo", "--pid", "50", &thread]).status()?;
    ensure!(status.success(), "chrt: {status}");
    Ok(())
}

/// Sends a packet each millisecond until told to stop; returns when each of them was sent.
fn send(lab: &Lab, stop: &AtomicBool) -> Result<Vec<SystemTime>> {
    be_a_card()?;
    let (mail, client) = (lab.mail_server().raw_socket("eth0")?, lab.client(0).raw_socket("eth0")?);
    let mut sent = Vec::new();
    let begun = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let kind = Kind::of(sent.len());
        let frame = kind.frame(lab, sent.len())?;
        let due = EVERY * sent.len() as u32;
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        sent.push(SystemTime::now());
        (if kind == Kind::Mail { &mail } else { &client }).send(&frame)?;
    }
    Ok(sent)
}

/// The number of one of our packets.
fn number_of(frame: &Captured) -> Option<usize> {
    let view = frame.view().filter(|_| !frame.outgoing)?;
    let ours = matches!(view.ports?.1, 25 | 443) && view.source?.is_ipv4();
    ours.then(|| view.tcp.map(|segment| segment.sequence as usize)).flatten()
}

/// A stretch of time with a reload in it, or as long a one without.
struct Phase {
    reload: bool,
    begun: SystemTime,
    ended: SystemTime,
}

impl Phase {
    fn of(reload: bool, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let begun = SystemTime::now();
        work()?;
        Ok(Self { reload, begun, ended: SystemTime::now() })
    }
}

/// How long the packets of some phases took, in order.
struct Times(Vec<Duration>);

impl Times {
    fn of(reload: bool, phases: &[Phase], packets: &[(SystemTime, Duration)]) -> Self {
        let inside = |at: &SystemTime| {
            phases.iter().any(|phase| phase.reload == reload && (phase.begun..phase.ended).contains(at))
        };
        let mut times: Vec<_> = packets.iter().filter(|(at, _)| inside(at)).map(|(_, took)| *took).collect();
        times.sort_unstable();
        Self(times)
    }

    /// What so many of a thousand packets were not above.
    fn quantile(&self, thousandths: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * thousandths / 1000).copied().unwrap_or(Duration::MAX)
    }

    fn late(&self) -> usize {
        self.0.iter().filter(|took| **took > LATE).count()
    }

    fn told(&self) -> String {
        let at = |thousandths| self.quantile(thousandths);
        let (all, late) = (self.0.len(), self.late());
        format!(
            "{all} packets, median {:.1?}, 99 % {:.1?}, 99.9 % {:.1?}, slowest {:.1?}, {late} above {LATE:?}",
            at(500),
            at(990),
            at(999),
            at(1000)
        )
    }
}

#[test]
fn no_packet_waits_for_a_reload() -> Result<()> {
    require_root_or_skip!();
    let (entries, reloads) = (number("SMTPFENCE_ENTRIES", 20_000), number("SMTPFENCE_RELOADS", 5));
    let lab = Lab::builder().build()?;
    let (one, other) = (large(entries), large(entries).replace("name: large", "name: larger"));
    let agent = Agent::start(&lab, &built_binary()?, &one)?;
    let (outside, stop) = (lab.internet().sniff("wan0")?, AtomicBool::new(false));
    let (phases, sent) = std::thread::scope(|scope| -> Result<_> {
        let sender = scope.spawn(|| send(&lab, &stop));
        // Neighbours are found, and the kernel has begun to take the time of packets.
        std::thread::sleep(Duration::from_millis(300));
        let phases = measure(&agent, [&other, &one], reloads);
        stop.store(true, Ordering::Relaxed);
        Ok((phases?, sender.join().expect("the sender")?))
    })?;
    std::thread::sleep(Duration::from_millis(300));
    judge(&phases, &sent, &outside)
}

/// Reloads, and as much time without a reload before each of them.
fn measure(agent: &Agent<'_>, policies: [&str; 2], reloads: usize) -> Result<Vec<Phase>> {
    let mut phases = Vec::new();
    let mut usual = Duration::from_millis(500);
    for round in 0..reloads {
        agent.write_policy(policies[round % 2])?;
        phases.push(Phase::of(false, || {
            std::thread::sleep(usual);
            Ok(())
        })?);
        phases.push(Phase::of(true, || {
            let begun = Instant::now();
            let (accepted, told) = agent.reload()?;
            ensure!(accepted, "{told}");
            usual = begun.elapsed();
            println!("reload {round} took {usual:.2?}");
            Ok(())
        })?);
    }
    Ok(phases)
}

fn judge(phases: &[Phase], sent: &[SystemTime], outside: &Sniffer) -> Result<()> {
    ensure!(outside.lost()? == 0, "the capture is incomplete");
    let mut seen = vec![None; sent.len()];
    for frame in outside.frames() {
        let Some(number) = number_of(&frame) else { continue };
        *seen.get_mut(number).context("a packet that was not sent")? = frame.time;
    }
    let first = phases.first().context("no phase")?.begun;
    let mut packets = Vec::new();
    for (number, (at, seen)) in sent.iter().zip(seen).enumerate().filter(|(_, (at, _))| **at >= first) {
        match (Kind::of(number), seen) {
            (Kind::Blocked, None) => {}
            (Kind::Blocked, Some(_)) => anyhow::bail!("packet {number} has leaked"),
            (kind, None) => anyhow::bail!("packet {number} ({kind:?}) is lost"),
            (_, Some(seen)) => packets.push((*at, seen.duration_since(*at).unwrap_or_default())),
        }
    }
    let (without, with) = (Times::of(false, phases, &packets), Times::of(true, phases, &packets));
    println!("without a reload: {}\nduring a reload:  {}", without.told(), with.told());
    ensure!(without.0.len() > 100 && with.0.len() > 100, "too few packets to tell");
    // A machine takes a processor away from its guests now and then, without a reload as well. Reloads that held packets up
    // would do so each time, and to several in a row.
    let most = without.late() * 2 + with.0.len() / 300;
    ensure!(with.late() <= most, "packets were late, and {most} may be: {}", with.told());
    Ok(())
}
