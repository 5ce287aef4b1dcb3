//! The state of enforcement: what `status` shows, put together by the agent or, while it is down, from pins and state file.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policy_common::abi::{HOST_ENTRIES, HostCounts};
use serde::{Deserialize, Serialize};

use crate::agent::hosts::Departed;
use crate::agent::pending::{Pending, RolledBack, Trial};
use crate::agent::{FlagCounts, NameCounts, Quarantined};
use crate::coverage::InterfaceStatus;
use crate::datapath::{self, Counters, Coverage, EarlyPlace, HostCount, Pins, Position, RingUse, State};
use crate::failure::Failure;
use crate::metrics::PortStatus;
use crate::notify::ReceiverStatus;
use crate::policy::compile::Instant;
use crate::policy::{self, InterfaceGlob};
use crate::rights::Rights;
use crate::store::StoreStatus;

/// What is in force, kept in the state directory so that it is known while no agent runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InForce {
    pub policy: String,
    pub revision: String,
    pub mode: String,
    pub file: PathBuf,
    pub since: Timestamp,
    pub interfaces: Vec<Coverage>,
    /// XDP in front of doors, where the policy asks for it.
    #[serde(default)]
    pub early: Vec<EarlyPlace>,
    /// Names and patterns of the policy's inside interfaces.
    #[serde(default)]
    pub inside: Vec<InterfaceGlob>,
    /// The same of its outside interfaces.
    #[serde(default)]
    pub outside: Vec<InterfaceGlob>,
}

/// The answer to `status`; the field names are a contract.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The running agent; none while enforcement goes on without one.
    pub agent: Option<AgentInfo>,
    /// What the agent may do; none while no agent runs.
    pub rights: Option<Rights>,
    pub in_force: Option<InForce>,
    pub coverage: Vec<CoverageStatus>,
    /// Every interface of the machine, covered or not.
    pub interfaces: Vec<InterfaceStatus>,
    pub counters: Vec<datapath::ReasonCount>,
    pub lost_events: u64,
    /// The port for metrics; none where the policy asks for none, or while no agent runs.
    pub metrics: Option<PortStatus>,
    /// The ring buffer of events.
    pub ring: RingUse,
    /// How the block log is; none while no agent runs.
    pub store: Option<StoreStatus>,
    pub hosts: HostsInfo,
    /// Clients in quarantine; none is told while no agent runs.
    pub quarantine: Vec<Quarantined>,
    /// How many hosts are flagged; none is told while no agent runs.
    pub flags: Option<FlagCounts>,
    /// What is known of the names of destinations; none where the policy doesn't ask for it, or no agent runs.
    pub names: Option<NameCounts>,
    /// Who is told of flags and alarms, and how that goes; none is told while no agent runs.
    pub notify: Vec<ReceiverStatus>,
    /// Why the newest reload was refused; none after one that was not.
    pub reload_error: Option<String>,
    /// The revision that the policy file has now; it comes into force only by a reload. None where it can't be read.
    pub file_revision: Option<String>,
    /// A policy in force that waits for `smtpfence confirm`.
    pub pending: Option<Pending>,
    /// A policy that was not confirmed; until the next reload.
    pub rolled_back: Option<RolledBack>,
}

/// The exact accounts of hosts, summed up.
#[derive(Debug, Serialize)]
pub struct HostsInfo {
    /// Addresses with an account of their own.
    pub tracked: usize,
    /// All accounts, also those of MACs and interfaces.
    pub accounts: usize,
    pub capacity: u32,
    pub attempts: u64,
    pub packets: u64,
    /// Attempts without an event, because their host had used up its budget.
    pub unlisted: u64,
    /// Those of `unlisted` that no event has told of yet.
    pub untold: u64,
    /// What is in no account, because the map was full.
    pub overflow_attempts: u64,
    pub overflow_packets: u64,
    /// What was in accounts that have been closed, because they were idle while the map got full.
    pub departed: Departed,
}

impl HostsInfo {
    fn new(hosts: &[HostCount], counters: &Counters, departed: Departed) -> Self {
        let sum = |of: fn(&HostCounts) -> u64| hosts.iter().map(|host| of(&host.counts)).sum();
        let (overflow_packets, overflow_attempts) = counters.overflow();
        Self {
            tracked: hosts.iter().filter(|host| host.is_single()).count(),
            accounts: hosts.len(),
            capacity: HOST_ENTRIES,
            attempts: sum(|counts| counts.attempts),
            packets: sum(|counts| counts.packets),
            unlisted: counters.unlisted(),
            untold: sum(|counts| counts.untold),
            overflow_attempts,
            overflow_packets,
            departed,
        }
    }
}

/// The exact accounts of hosts, also while no agent runs.
pub fn host_counts(bpffs: &Path) -> Result<Vec<HostCount>, Failure> {
    Ok(State::open(&Pins::at(bpffs))?.hosts()?)
}

#[derive(Clone, Debug, Serialize)]
pub struct AgentInfo {
    pub pid: u32,
    pub version: &'static str,
    pub since: Timestamp,
}

#[derive(Debug, Serialize)]
pub struct CoverageStatus {
    #[serde(flatten)]
    pub coverage: Coverage,
    pub position: Position,
}

impl InForce {
    fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("in-force.json")
    }

    pub fn save(&self, state_dir: &Path) -> Result<(), Failure> {
        save_json(&Self::path(state_dir), self)
    }

    /// What the last agent left behind, if it is there and readable.
    pub fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(state_dir)).ok()?).ok()
    }

    /// Forgets what was in force, after a detach.
    pub fn forget(state_dir: &Path) {
        // Nothing to do if it was never there; a leftover would only be shown beside missing pins.
        let _ = fs::remove_file(Self::path(state_dir));
    }
}

/// Replaces a file as a whole, so that a reader or a crash never meets half of it.
pub fn save_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| Failure::io("write", path, &error))
}

impl Status {
    /// What an agent or a caller without one can tell from the kernel.
    pub fn new(
        pins: &Pins,
        in_force: Option<InForce>,
        state: &State,
        departed: Departed,
    ) -> Result<Self, Failure> {
        // Hosts first: what comes between the two readings is in the counters only, never in the accounts only.
        let hosts = state.hosts()?;
        let counters = state.counters()?;
        let interfaces = in_force.as_ref().map(|in_force| in_force.interfaces.clone()).unwrap_or_default();
        let coverage = interfaces
            .into_iter()
            .map(|coverage| CoverageStatus { position: datapath::position(pins, &coverage), coverage })
            .collect();
        let file = in_force.as_ref().map(|in_force| in_force.file.as_path());
        let file_revision = file.and_then(policy::revision_at).map(|revision| revision.to_string());
        Ok(Self {
            agent: None,
            rights: None,
            in_force,
            coverage,
            interfaces: Vec::new(),
            counters: counters.by_reason(),
            lost_events: counters.lost_events(),
            ring: state.ring(),
            store: None,
            metrics: None,
            hosts: HostsInfo::new(&hosts, &counters, departed),
            quarantine: Vec::new(),
            flags: None,
            names: None,
            notify: Vec::new(),
            reload_error: None,
            file_revision,
            pending: None,
            rolled_back: None,
        })
    }

    /// The status while no agent answers.
    pub fn without_agent(bpffs: &Path, state_dir: &Path) -> Result<Self, Failure> {
        let pins = Pins::at(bpffs);
        let state = State::open(&pins)?;
        let mut status = Self::new(&pins, InForce::read(state_dir), &state, Departed::read(state_dir))?;
        status.tell_trial(Trial::read(state_dir).as_ref());
        Ok(status)
    }

    /// Tells what is known of a trial.
    pub fn tell_trial(&mut self, trial: Option<&Trial>) {
        let now = Instant { wall: Timestamp::now(), boot: datapath::boot_time() };
        self.pending = trial.and_then(|trial| trial.pending(now));
        self.rolled_back = trial.and_then(Trial::rolled_back);
    }
}
