//! nftables at the places where an admin may hook it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use super::nflog::NflogReader;
use super::{Allowlist, Filter};
use crate::stage::Stage;

/// How a set keeps its addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    Hash,
    /// As it must be where networks are in it.
    Interval,
}

/// What becomes of a denied packet beside its count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    No,
    /// To a program that has asked for it.
    Group,
    /// To the kernel's log.
    Kernel,
}

/// Group that the benchmark's reader asks for.
const GROUP: u16 = 25;

pub(super) struct Nft {
    family: &'static str,
    hook: &'static str,
    entries: usize,
    set: Set,
    log: Log,
    reader: Option<NflogReader>,
    open_log: Option<OpenLog>,
}

/// While it lives, namespaces may write to the kernel's log: else `log` in one costs next to nothing and says nothing.
struct OpenLog {
    before: String,
}

impl OpenLog {
    const SETTING: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

    fn open() -> Result<Self> {
        let before = std::fs::read_to_string(Self::SETTING)?;
        std::fs::write(Self::SETTING, "1")?;
        Ok(Self { before })
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        let _ = std::fs::write(Self::SETTING, &self.before);
    }
}

impl Nft {
    pub fn forward(entries: usize, set: Set, log: Log) -> Self {
        let hook = "hook forward priority filter";
        Self { family: "inet", hook, entries, set, log, reader: None, open_log: None }
    }

    pub fn raw() -> Self {
        Self { hook: "hook prerouting priority raw", ..Self::forward(1, Set::Hash, Log::No) }
    }

    pub fn netdev() -> Self {
        let hook = "hook ingress device \"lan0\" priority filter";
        Self { family: "netdev", hook, ..Self::forward(1, Set::Hash, Log::No) }
    }

    fn ruleset(&self) -> String {
        let Self { family, hook, .. } = self;
        let flags = if self.set == Set::Interval { "flags interval;" } else { "" };
        let log = match self.log {
            Log::No => String::new(),
            Log::Group => format!("log group {GROUP} "),
            Log::Kernel => "log prefix \"smtp \" ".to_owned(),
        };
        let list = Allowlist::of(self.entries);
        let mut text = format!("table {family} bench {{\ncounter denied {{ }}\n");
        for (name, kind, elements) in [
            ("allowed4", "ipv4_addr", list.ipv4().map(|a| a.to_string()).collect::<Vec<_>>()),
            ("allowed6", "ipv6_addr", list.ipv6().take(1).map(|a| a.to_string()).collect()),
        ] {
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "set {name} {{ type {kind}; {flags} elements = {{ {} }} }}",
                elements.join(", ")
            );
        }
        let from = if *family == "netdev" { "" } else { "iifname \"lan0\" " };
        let _ = writeln!(text, "chain out {{ type filter {hook}; policy accept;");
        for (ip, set) in [("ip", "allowed4"), ("ip6", "allowed6")] {
            let _ = writeln!(text, "{from}tcp dport 25 {ip} saddr != @{set} {log}counter name denied drop");
        }
        text + "}\n}\n"
    }
}

impl Filter for Nft {
    fn enter(&mut self, stage: &Stage) -> Result<()> {
        if self.log == Log::Group {
            self.reader = Some(NflogReader::start(stage, GROUP)?);
        }
        if self.log == Log::Kernel {
            self.open_log = Some(OpenLog::open()?);
        }
        stage.gateway().nft(&self.ruleset())
    }

    fn leave(&mut self, stage: &Stage) -> Result<()> {
        self.open_log = None;
        stage.gateway().nft(&format!("delete table {} bench\n", self.family))?;
        self.reader = None;
        Ok(())
    }

    fn dropped(&self, stage: &Stage) -> Result<Option<u64>> {
        let mut list = stage.gateway().command("nft");
        let output = list.args(["-j", "list", "counter", self.family, "bench", "denied"]).output()?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("nft told no counter")?;
        let items = answer["nftables"].as_array().context("nft told no list")?;
        let packets = items.iter().find_map(|item| item["counter"]["packets"].as_u64());
        Ok(Some(packets.context("nft told no number of packets")?))
    }

    fn audit(&self) -> Result<()> {
        // Some may be lost to a slow reader, which is nflog's nature; but a log without a reader would be no log.
        match &self.reader {
            Some(reader) => reader.must_have_read(),
            None => Ok(()),
        }
    }
}
