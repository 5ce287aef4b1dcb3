//! The kinds of made packets, and which contenders are measured with each.

use anyhow::{Result, ensure};

use crate::filters::BASELINE;
use crate::generator::Plan;
use crate::streams;

/// What of all this is measured; an empty list means everything.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub contenders: &'a [String],
    pub scenarios: &'a [String],
}

impl Wanted<'_> {
    pub fn contender(&self, name: &str) -> bool {
        name == BASELINE || is_among(self.contenders, name)
    }

    pub fn scenario(&self, name: &str) -> bool {
        is_among(self.scenarios, name)
    }
}

fn is_among(asked: &[String], name: &str) -> bool {
    asked.is_empty() || asked.iter().any(|asked| asked == name)
}

/// Whether there are such scenarios.
pub fn check(asked: &[String]) -> Result<()> {
    let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).chain(streams::names()).collect();
    for name in asked {
        ensure!(
            known.contains(&name.as_str()),
            "no scenario is called {name}; there are {}",
            known.join(", ")
        );
    }
    Ok(())
}

/// Made packets of one kind, and who is measured with them.
pub struct Scenario {
    pub name: &'static str,
    pub label: &'static str,
    pub plan: Plan,
    /// Whether a quick run has it.
    pub quick: bool,
    pub contenders: &'static [&'static str],
}

/// Inside the clients' 10.26.0.0/15, in IPv6 at fd25::a1a:0.
const CLIENTS: u32 = 0x0a1a_0000;
/// 64.0.0.0/3 less its upper half, which nobody here owns.
const STRANGERS: u32 = 0x4000_0000;

const SYNS: Plan =
    Plan { ipv6: false, first_source: CLIENTS, sources: 128, fresh: true, blocked_every: 1, port: 443 };

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "blocked-few",
        label: "blocked SYNs of 128 hosts",
        plan: SYNS,
        quick: true,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-empty",
            "tcx-drop",
            "ours",
            "ours-1k",
            "ours-100k",
            "ours-1m",
            "ours-reject",
            "ours-audit",
            "nft-forward",
            "nft-interval-100k",
            "nft-hash-100k",
            "nft-nflog",
            "nft-log",
            "nft-raw",
            "nft-netdev",
            "ipset",
            "ours-nat",
            "nft-forward-nat",
        ],
    },
    Scenario {
        name: "blocked-spoofed",
        label: "blocked SYNs of made-up sources",
        plan: Plan { first_source: STRANGERS, sources: 1 << 28, ..SYNS },
        quick: false,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-drop",
            "ours",
            "ours-1m",
            "nft-forward",
            "nft-nflog",
            "nft-netdev",
        ],
    },
    Scenario {
        name: "blocked-ipv6",
        label: "blocked SYNs of 128 hosts, IPv6",
        plan: Plan { ipv6: true, ..SYNS },
        quick: false,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-drop",
            "ours",
            "ours-reject",
            "nft-forward",
            "nft-netdev",
        ],
    },
    Scenario {
        name: "permitted",
        label: "permitted segments (port 443)",
        // No packet is number 2^32 - 1.
        plan: Plan { fresh: false, blocked_every: u32::MAX, ..SYNS },
        quick: true,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-empty",
            "tcx-empty-both",
            "ours",
            "ours-1m",
            "nft-forward",
            "nft-raw",
            "nft-netdev",
            "ipset",
            "forwarding-nat",
            "ours-nat",
            "nft-forward-nat",
        ],
    },
    Scenario {
        name: "permitted-ipv6",
        label: "permitted segments (port 443), IPv6",
        plan: Plan { ipv6: true, fresh: false, blocked_every: u32::MAX, ..SYNS },
        quick: false,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-empty",
            "tcx-empty-both",
            "ours",
            "nft-forward",
            "nft-netdev",
        ],
    },
    Scenario {
        name: "mixed",
        label: "office traffic, 1 % blocked",
        plan: Plan { fresh: false, blocked_every: 100, ..SYNS },
        quick: false,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-empty",
            "tcx-empty-both",
            "ours",
            "nft-forward",
            "nft-netdev",
            "ipset",
        ],
    },
    // Last: it uses up the accounts that one MAC may have, and hosts of a later flood would find none of their own.
    Scenario {
        name: "blocked-many",
        label: "blocked SYNs of 65,536 hosts",
        plan: Plan { sources: 65_536, ..SYNS },
        quick: false,
        contenders: &[
            "forwarding",
            "forwarding-again",
            "tcx-drop",
            "ours",
            "ours-100k",
            "ours-1m",
            "nft-forward",
            "nft-interval-100k",
            "nft-hash-100k",
            "nft-nflog",
            "nft-netdev",
            "ipset",
        ],
    },
];

/// Those that a quick run leaves out: they take seconds to set up, or fill the kernel's log.
pub const SLOW: &[&str] = &["ours-100k", "ours-1m", "nft-interval-100k", "nft-hash-100k", "nft-log"];
