//! Two equal labs, one gateway bare and one with smtpfence, fed with the same frames at the same port of the switch.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::frame::{Frame, Udp};
use lab::{Agent, Lab, RawSocket, built_binary};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::judge::Left;
use super::sequence::Sequence;
use crate::reference;
use crate::rules::POLICY;

/// A busy machine may take its time, but nothing here waits for a network.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nobody has these addresses; the last frame of a batch goes there to tell that the others are through.
const MARKS: [&str; 2] = ["198.51.100.1", "2001:db8:ffff::1"];

/// A long run would fill the kernel's tables of fragments and connections, and a full one drops: short lives, much room.
const ROOM: [(&str, &str); 4] = [
    ("ipv4/ipfrag_time", "1"),
    ("ipv6/ip6frag_time", "1"),
    ("ipv4/ipfrag_high_thresh", "268435456"),
    ("ipv6/ip6frag_high_thresh", "268435456"),
];
const ROOM_BEHIND_NAT: [(&str, &str); 15] = [
    ("netfilter/nf_conntrack_frag6_timeout", "1"),
    ("netfilter/nf_conntrack_frag6_high_thresh", "268435456"),
    ("netfilter/nf_conntrack_generic_timeout", "1"),
    ("netfilter/nf_conntrack_icmp_timeout", "1"),
    ("netfilter/nf_conntrack_icmpv6_timeout", "1"),
    ("netfilter/nf_conntrack_udp_timeout", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_syn_sent", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_syn_recv", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_established", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_fin_wait", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_close_wait", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_last_ack", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_close", "1"),
    ("netfilter/nf_conntrack_tcp_timeout_unacknowledged", "1"),
];

pub struct Bench {
    bare: Gate,
    fenced: Gate,
    pub nat: bool,
}

/// What left both gateways: for each sequence of the batch, and what belongs to none.
pub struct Passed {
    pub by_sequence: Vec<(Left, Left)>,
    pub stray: (Left, Left),
}

impl Bench {
    pub fn build(nat: bool) -> Result<Self> {
        let (bare, fenced) = (Gate::build(nat, false)?, Gate::build(nat, true)?);
        Ok(Self { bare, fenced, nat })
    }

    /// Sends all frames through both gateways.
    pub fn pass(&self, batch: &[Sequence]) -> Result<Passed> {
        let frames: Vec<&[u8]> = batch.iter().flat_map(|s| &s.frames).map(Vec::as_slice).collect();
        let (bare, fenced) = std::thread::scope(|scope| {
            let fenced = scope.spawn(|| self.fenced.pass(&frames, 1));
            let bare = scope.spawn(|| self.bare.pass(&frames, 0));
            (bare.join(), fenced.join())
        });
        let failed = |_| anyhow::anyhow!("a sending thread panicked");
        let (bare, fenced) = (bare.map_err(failed)??, fenced.map_err(failed)??);
        let places: HashMap<Mark, usize> = batch.iter().map(|s| mark(s.way.dst)).zip(0..).collect();
        let ((bare, bare_stray), (fenced, fenced_stray)) = (sort(bare, &places), sort(fenced, &places));
        Ok(Passed { by_sequence: bare.into_iter().zip(fenced).collect(), stray: (bare_stray, fenced_stray) })
    }
}

/// What tells a sequence from the others of its batch: its destination; in IPv6 only the end of it, because conntrack of
/// Linux 6.18 writes the number of a header into the first bytes when it takes out an atomic fragment behind an AH.
type Mark = (bool, u32);

fn mark(destination: IpAddr) -> Mark {
    match destination {
        IpAddr::V4(address) => (true, address.to_bits()),
        IpAddr::V6(address) => (false, address.to_bits() as u32),
    }
}

/// By the sequence whose destination it is; the second part belongs to none.
fn sort(frames: Left, places: &HashMap<Mark, usize>) -> (Vec<Left>, Left) {
    let mut sorted = vec![Left::new(); places.len()];
    let mut stray = Left::new();
    for frame in frames {
        let datagram = frame.get(14..).and_then(reference::datagram);
        match datagram.and_then(|d| sorted.get_mut(*places.get(&mark(d.dst))?)) {
            Some(left) => left.push(frame),
            None => stray.push(frame),
        }
    }
    (sorted, stray)
}

/// One lab with the sockets at both ends of its gateway.
struct Gate {
    lab: Lab,
    inside: RawSocket,
    outside: RawSocket,
}

impl Gate {
    fn build(nat: bool, fenced: bool) -> Result<Self> {
        let lab = Lab::builder().nat(nat).build()?;
        let (gateway, internet) = (lab.gateway(), lab.internet());
        for provider in [IpAddr::from(internet.addr4()), internet.addr6().into()] {
            // For ever, so that no packet waits for an answer.
            let mac = internet.mac();
            gateway.ip(&format!("neigh replace {provider} lladdr {mac} dev wan0 nud permanent"))?;
        }
        let behind_nat = if nat { &ROOM_BEHIND_NAT[..] } else { &[] };
        for (key, value) in ROOM.iter().chain(behind_nat) {
            gateway.sysctl(key, value)?;
        }
        if fenced {
            // Enforcement goes on without the agent, and nobody prints a line for each of many thousand attempts.
            Agent::start(&lab, &built_binary()?, POLICY)?.kill9()?;
        }
        let inside = lab.switch().raw_socket("gateway")?;
        let outside = internet.raw_socket("wan0")?;
        Ok(Self { lab, inside, outside })
    }

    /// Sends the frames in order and returns what has come out until the marks came.
    fn pass(&self, frames: &[&[u8]], place: usize) -> Result<Left> {
        stay_on_one_processor(place)?;
        for frame in frames {
            self.inside.send(frame)?;
        }
        let mut left = Left::new();
        for mark in MARKS {
            let mark: IpAddr = mark.parse()?;
            let client = self.lab.client(0);
            let frame = Frame::new(client.mac(), self.lab.gateway().mac()).ip(client.addr_like(mark), mark);
            self.inside.send(&frame.udp(Udp::new(9, 9, b"mark")).build())?;
            let is_mark = |frame: &[u8]| {
                frame.get(14..).and_then(reference::datagram).is_some_and(|datagram| datagram.dst == mark)
            };
            let found = self.outside.receive_matching(
                |frame| {
                    let found = is_mark(&frame.bytes);
                    // The gateway itself speaks to groups (MLD, ND) whenever it likes; what is forwarded has one receiver.
                    let to_group = frame.bytes.first().is_some_and(|byte| byte & 1 != 0);
                    if !found && !to_group {
                        left.push(frame.bytes.clone());
                    }
                    found
                },
                PATIENCE,
            )?;
            ensure!(found.is_some(), "the mark to {mark} did not come out: the lab is broken");
        }
        Ok(left)
    }
}

/// A veth pair keeps the order of frames that one processor sends.
fn stay_on_one_processor(place: usize) -> Result<()> {
    let allowed = sched_getaffinity(None).context("could not ask for our processors")?;
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
    let mut chosen = CpuSet::new();
    chosen.set(usable[place % usable.len()]);
    sched_setaffinity(None, &chosen).context("could not choose a processor")
}
