//! The lab with its mail servers, and a counter of what leaves the gateway on port 25.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use lab::{Host, Lab, Sniffer};

use super::postfix::Postfix;

/// Everything the scenes are played on. Fields are dropped in this order, the lab last.
pub struct Stage {
    pub company: Postfix,
    pub provider: Postfix,
    outside: Sniffer,
    pub lab: Lab,
}

impl Stage {
    pub fn build() -> Result<Self> {
        let lab = Lab::builder().clients(3).nat(true).build()?;
        let provider = Postfix::provider(lab.internet(), &lab.dir().join("provider"))?;
        let company =
            Postfix::company(lab.mail_server(), &lab.dir().join("company"), lab.internet().addr4())?;
        let outside = lab.gateway().sniff("wan0")?;
        Ok(Self { company, provider, outside, lab })
    }

    /// A well-behaved member of the staff.
    pub fn staff(&self) -> &Host {
        self.lab.client(0)
    }

    /// The desktop that a spam bot has taken.
    pub fn infected(&self) -> &Host {
        self.lab.client(1)
    }

    /// A printer with its factory settings.
    pub fn printer(&self) -> &Host {
        self.lab.client(2)
    }

    pub fn provider_address(&self) -> Ipv4Addr {
        self.lab.internet().addr4()
    }

    pub fn company_address(&self) -> Ipv4Addr {
        self.lab.mail_server().addr4()
    }

    /// Begins to count anew what leaves on port 25.
    pub fn count_from_here(&self) {
        self.outside.clear();
    }

    /// TCP segments to port 25 that left the gateway since then.
    pub fn left(&self) -> Result<usize> {
        ensure!(self.outside.lost()? == 0, "the capture on the gateway's outside missed packets");
        Ok(self.outside.count(|frame| frame.outgoing && frame.view().is_some_and(|v| v.is_tcp_to(25))))
    }
}
