//! The gateway that is measured: the lab's network, with sinks where packets end.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::XdpLink;
use lab::{Host, Lab, Mac};

use crate::programs::{self, Classifier};

/// A gateway with one client and the outside.
pub struct Stage {
    lab: Lab,
    flood: Option<Flood>,
}

/// What a flood of made packets needs beside the lab.
struct Flood {
    /// Ends what the gateway forwards.
    outside: Classifier,
    /// Ends what the gateway answers.
    inside: Classifier,
    _links: [SchedClassifierLink; 2],
    _driver: XdpLink,
}

/// Where packets have ended up so far.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub forwarded: u64,
    pub answered: u64,
    /// Forwarded, but more at once than the processor's queue holds.
    pub overflowed: u64,
}

impl Stage {
    /// For connections between client and outside.
    pub fn for_streams() -> Result<Self> {
        Ok(Self { lab: Lab::builder().build()?, flood: None })
    }

    /// For made packets.
    pub fn for_floods(nat: bool) -> Result<Self> {
        let lab = Lab::builder().nat(nat).build()?;
        let gateway = lab.gateway();
        // Made packets have sources for which there is no route back.
        for interface in ["all", "lan0"] {
            gateway.sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0")?;
        }
        let mac = lab.internet().mac();
        for address in [lab.internet().addr4().to_string(), lab.internet().addr6().to_string()] {
            gateway.ip(&format!("neigh replace {address} lladdr {mac} dev wan0 nud permanent"))?;
        }
        let (mut outside, mut inside) = (Classifier::load("sink")?, Classifier::load("sink")?);
        let links = [outside.attach(lab.internet(), "wan0")?, inside.attach(lab.switch(), "gateway")?];
        let driver = programs::attach_driver(gateway, "lan0")?;
        Ok(Self { lab, flood: Some(Flood { outside, inside, _links: links, _driver: driver }) })
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn gateway(&self) -> &Host {
        self.lab.gateway()
    }

    pub fn client_mac(&self) -> Mac {
        self.lab.client(0).mac()
    }

    pub fn outside4(&self) -> Ipv4Addr {
        self.lab.internet().addr4()
    }

    pub fn outside6(&self) -> Ipv6Addr {
        self.lab.internet().addr6()
    }

    pub fn ends(&self) -> Result<Ends> {
        let flood = self.flood.as_ref().context("this stage has no sinks")?;
        Ok(Ends {
            forwarded: flood.outside.arrived()?,
            answered: flood.inside.arrived()?,
            overflowed: self.gateway().run(|| dropped_by("wan0"))??
                + self.gateway().run(|| dropped_by("lan0"))??,
        })
    }

    /// Waits until no packet is under way any more.
    pub fn settle(&self) -> Result<()> {
        let flood = self.flood.as_ref().context("this stage has no sinks")?;
        let arrived = || -> Result<u64> { Ok(flood.outside.arrived()? + flood.inside.arrived()?) };
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut before = arrived()?;
        loop {
            std::thread::sleep(Duration::from_millis(2));
            let now = arrived()?;
            if now == before || Instant::now() > deadline {
                return Ok(());
            }
            before = now;
        }
    }
}

/// Packets that an interface of the calling thread's namespace could not hand over.
fn dropped_by(interface: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")
        .context("could not read the interfaces' counters")?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
    // Eight columns of what was received come first; the fourth of each side counts drops.
    let column = line.and_then(|line| line.split_whitespace().nth(8 + 3)).context("no such interface")?;
    Ok(column.parse()?)
}
