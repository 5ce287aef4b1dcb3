//! What the accounting tests share: a sender of SYNs from made-up hosts, and the books that must agree.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use lab::frame::{Frame, Mac, Tcp};
use lab::{Agent, Lab, RawSocket};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Clients are a whole /16, so that there are enough of them.
pub const POLICY: &str = r#"version: 1
name: accounting
interfaces: { inside: [lan0], outside: [wan0] }
networks: { clients: [10.25.0.0/16], internal: [10.0.0.0/8] }
mode: enforce
mail_servers:
  - { name: mx1, address: 10.25.0.25 }
end: true
"#;

/// Sends from one place on the LAN in the name of many hosts.
pub struct Sender {
    socket: RawSocket,
    own: Mac,
    gateway: Mac,
}

impl Sender {
    /// Keeps the calling thread on one processor: the kernel handles a frame on the one that sends it, and each has a budget
    /// of its own.
    pub fn new(lab: &Lab, client: usize) -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let mut one = CpuSet::new();
        one.set(processors[client % processors.len()]);
        sched_setaffinity(None, &one)?;
        let client = lab.client(client);
        Ok(Self { socket: client.raw_socket("eth0")?, own: client.mac(), gateway: lab.gateway().mac() })
    }

    /// A SYN to port 25 from the host `number` behind `base`, with a made-up MAC or with the sender's own.
    pub fn send(&mut self, mac: Option<u32>, base: [u8; 4], number: u32, attempt: u32) -> Result<()> {
        let source = Ipv4Addr::from_bits(u32::from_be_bytes(base) + number);
        let mac = mac.map_or(self.own, |n| {
            let [a, b, c, d] = n.to_be_bytes();
            Mac([0x06, 0x25, a, b, c, d])
        });
        let port = 20_000 + (attempt % 40_000) as u16;
        let syn = Tcp::syn(port, 25).sequence(attempt + 1);
        let frame = Frame::new(mac, self.gateway).ip(source.into(), [203, 0, 113, 25].into()).tcp(syn);
        self.socket.send(&frame.build())
    }
}

/// The same traffic as the counters, the accounts and the log tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub packets: u64,
    pub attempts: u64,
    pub account_packets: u64,
    pub account_attempts: u64,
    pub overflow: u64,
    pub lost: u64,
    pub unlisted: u64,
    /// Of the unlisted those that no event has told of.
    pub untold: u64,
    pub events: u64,
    /// Unlisted attempts that events tell of.
    pub told: u64,
}

impl Books {
    /// With what the log holds: rows, and attempts that they tell of beside their own.
    pub fn with_log(agent: &Agent<'_>, events: u64, told: u64) -> Result<Self> {
        let status = agent.status()?;
        let denied = |what: &str| -> u64 {
            let counters = status["counters"].as_array().into_iter().flatten();
            counters.filter(|count| count["denies"] == true).filter_map(|count| count[what].as_u64()).sum()
        };
        let of_hosts = |what: &str| status["hosts"][what].as_u64().unwrap_or(u64::MAX);
        Ok(Self {
            packets: denied("packets"),
            attempts: denied("attempts"),
            account_packets: of_hosts("packets"),
            account_attempts: of_hosts("attempts"),
            overflow: of_hosts("overflow_packets"),
            lost: status["lost_events"].as_u64().unwrap_or(u64::MAX),
            unlisted: of_hosts("unlisted"),
            untold: of_hosts("untold"),
            events,
            told,
        })
    }

    /// Every packet is in one account, every attempt is an event or is told of.
    pub fn agree(&self) -> Result<()> {
        ensure!(self.overflow == 0, "some found no account: {self:?}");
        ensure!(
            (self.packets, self.attempts) == (self.account_packets, self.account_attempts),
            "counters and accounts differ: {self:?}"
        );
        ensure!(self.unlisted == self.told + self.untold, "unlisted attempts are missing: {self:?}");
        ensure!(self.attempts == self.events + self.lost + self.unlisted, "attempts are missing: {self:?}");
        Ok(())
    }
}
