//! What is measured: nothing at all, smtpfence, and what a user would pick instead of it.

mod allowlist;
mod ipset;
mod nflog;
mod nft;
mod ours;
mod tcx;

use anyhow::Result;
use policy_user::datapath::KernelLog;

use crate::stage::Stage;

pub use allowlist::Allowlist;
pub use ours::{OnDeny, Ours};

/// A way of filtering port 25, put in place and taken away again and again.
pub trait Filter {
    fn enter(&mut self, stage: &Stage) -> Result<()>;
    fn leave(&mut self, stage: &Stage) -> Result<()>;
    /// Packets that it has dropped since it was put in place; `None` where it doesn't count.
    fn dropped(&self, stage: &Stage) -> Result<Option<u64>>;

    /// Whether it does with a blocked packet what `Passes` says.
    fn on_blocked(&self) -> Blocked {
        Blocked::Dropped
    }

    /// Checks what it keeps in its own books while it is in place; called when it has gone quiet.
    fn audit(&self) -> Result<()> {
        Ok(())
    }
}

/// What a filter does with a packet to a blocked port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    Dropped,
    /// Dropped, and the sender is told.
    Answered,
    Forwarded,
    /// Whatever the packet is.
    EverythingDropped,
}

/// Nothing.
struct Nothing;

impl Filter for Nothing {
    fn enter(&mut self, _: &Stage) -> Result<()> {
        Ok(())
    }

    fn leave(&mut self, _: &Stage) -> Result<()> {
        Ok(())
    }

    fn dropped(&self, _: &Stage) -> Result<Option<u64>> {
        Ok(None)
    }

    fn on_blocked(&self) -> Blocked {
        Blocked::Forwarded
    }
}

/// Every way by its name, with how much it takes to set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    pub name: &'static str,
    pub label: &'static str,
    /// On a gateway with connection tracking and masquerade.
    pub nat: bool,
}

const fn contender(name: &'static str, label: &'static str) -> Contender {
    Contender { name, label, nat: false }
}

const fn behind_nat(name: &'static str, label: &'static str) -> Contender {
    Contender { name, label, nat: true }
}

/// The one that all others are compared with.
pub const BASELINE: &str = "forwarding";
/// The same once more: how far the two are apart is noise.
pub const AGAIN: &str = "forwarding-again";

pub const CONTENDERS: &[Contender] = &[
    contender(BASELINE, "plain forwarding"),
    contender(AGAIN, "plain forwarding, once more"),
    contender("tcx-empty", "TCX: a program that does nothing"),
    contender("tcx-empty-both", "TCX: the same on both sides, as door and guard"),
    contender("tcx-drop", "TCX: unconditional drop (the floor)"),
    contender("ours", "smtpfence, drop"),
    contender("ours-1k", "smtpfence, drop, 1,000 entries"),
    contender("ours-100k", "smtpfence, drop, 100,000 entries"),
    contender("ours-1m", "smtpfence, drop, 1,000,000 entries"),
    contender("ours-reject", "smtpfence, reject"),
    contender("ours-audit", "smtpfence, audit"),
    contender("nft-forward", "nftables forward"),
    contender("nft-interval-100k", "nftables forward, 100,000 intervals"),
    contender("nft-hash-100k", "nftables forward, 100,000 hashed"),
    contender("nft-nflog", "nftables forward, log group"),
    contender("nft-log", "nftables forward, log"),
    contender("nft-raw", "nftables prerouting, raw"),
    contender("nft-netdev", "nftables netdev ingress"),
    contender("ipset", "iptables + ipset"),
    behind_nat("forwarding-nat", "plain forwarding, NAT"),
    behind_nat("ours-nat", "smtpfence, drop, NAT"),
    behind_nat("nft-forward-nat", "nftables forward, NAT"),
];

impl Contender {
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = CONTENDERS.iter().find(|contender| contender.name == name);
        found.ok_or_else(|| anyhow::anyhow!("no contender is called {name}"))
    }

    /// Makes it ready to be put in place on `stage`.
    pub fn prepare(&self, stage: &Stage) -> Result<Box<dyn Filter>> {
        let ours = |entries, on_deny| -> Result<Box<dyn Filter>> {
            Ok(Box::new(Ours::prepare(stage, self.name, entries, on_deny, KernelLog::Off)?))
        };
        Ok(match self.name {
            "tcx-empty" => Box::new(tcx::Tcx::load("empty", Blocked::Forwarded, tcx::DOOR)?),
            "tcx-empty-both" => Box::new(tcx::Tcx::load("empty", Blocked::Forwarded, tcx::DOOR_AND_GUARD)?),
            "tcx-drop" => Box::new(tcx::Tcx::load("discard", Blocked::EverythingDropped, tcx::DOOR)?),
            "ours" | "ours-nat" => ours(1, OnDeny::Drop)?,
            "ours-1k" => ours(1_000, OnDeny::Drop)?,
            "ours-100k" => ours(100_000, OnDeny::Drop)?,
            "ours-1m" => ours(1_000_000, OnDeny::Drop)?,
            "ours-reject" => ours(1, OnDeny::Reject)?,
            "ours-audit" => ours(1, OnDeny::Audit)?,
            "nft-forward" | "nft-forward-nat" => Box::new(nft::Nft::forward(1, nft::Set::Hash, nft::Log::No)),
            "nft-interval-100k" => Box::new(nft::Nft::forward(100_000, nft::Set::Interval, nft::Log::No)),
            "nft-hash-100k" => Box::new(nft::Nft::forward(100_000, nft::Set::Hash, nft::Log::No)),
            "nft-nflog" => Box::new(nft::Nft::forward(1, nft::Set::Hash, nft::Log::Group)),
            "nft-log" => Box::new(nft::Nft::forward(1, nft::Set::Hash, nft::Log::Kernel)),
            "nft-raw" => Box::new(nft::Nft::raw()),
            "nft-netdev" => Box::new(nft::Nft::netdev()),
            "ipset" => Box::new(ipset::Ipset),
            _ => Box::new(Nothing),
        })
    }
}
