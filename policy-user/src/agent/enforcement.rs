//! Putting a policy in force: from the file to a generation on every inside interface, at start, on reload and when the
//! network changes.

mod network;
mod quarantine;
mod reload;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use policy_common::Addr;

use super::Config;
use super::detection::Detection;
use super::early::refuse_unfit;
use super::history::History;
use super::hosts::Departed;
use super::interfaces::{Absent, attachable, bound_interfaces, index_of};
use super::names::{HandOver, NameCounts, NameWatch};
use super::pending::Trial;
use super::quarantine::Quarantine;
use super::start::First;
use crate::account::Account;
use crate::attempt::Lexicon;
use crate::coverage::{Network, survey};
use crate::datapath::{
    self, Attached, EarlyPlace, EventStream, Generation, Inside, KernelLog, PacketCounts, Pins, State,
};
use crate::failure::Failure;
use crate::netlink::{Changes, Interface, Netlink};
use crate::policy::compile::{Instant, Tables, compile};
use crate::policy::{self, LoadedPolicy, Policy};
use crate::rights::Rights;
use crate::status::{AgentInfo, InForce, Status};

pub use quarantine::Released;
pub use reload::{ReloadRequest, RunningPolicy};

/// The policy in force and what it takes to keep it so.
pub struct Enforcement {
    config: Config,
    pins: Pins,
    netlink: Netlink,
    state: State,
    generation: Generation,
    policy: LoadedPolicy,
    inside: Vec<Inside>,
    outside: Vec<Interface>,
    /// The network as it was when it was last looked at.
    network: Network,
    /// Why interfaces that the policy means are not covered, by name.
    failed: BTreeMap<String, String>,
    /// Indices of the interfaces that mail servers are bound to, as the kernel has them.
    bound: Vec<Option<u32>>,
    in_force: InForce,
    lexicon: Arc<RwLock<Lexicon>>,
    detection: Arc<Detection>,
    names: NameWatch,
    quarantine: Quarantine,
    departed: Departed,
    history: History,
    /// The trial that runs, or that has failed and whose policy the file may still hold.
    trial: Option<Trial>,
    reload_error: Option<String>,
}

/// Reads and judges a policy file; prints its warnings.
pub fn load_policy(path: &Path) -> Result<LoadedPolicy, Failure> {
    let (policy, warnings) = policy::load(path, policy::Strictness::Strict)?;
    for warning in warnings {
        log::warn!("{warning}");
    }
    Ok(policy)
}

/// The time on both clocks.
pub fn now() -> Instant {
    Instant { wall: Timestamp::now(), boot: datapath::boot_time() }
}

impl Enforcement {
    /// Puts a policy in force for the first time in this process, adopting what an earlier agent has pinned.
    pub async fn start(
        config: &Config,
        first: First,
        lexicon: Arc<RwLock<Lexicon>>,
        detection: Arc<Detection>,
    ) -> Result<(Self, Changes, HandOver), Failure> {
        let First { policy, origin, trial, absent, refused } = first;
        let (netlink, changes) = Netlink::connect()?;
        let network = Network::look(&netlink).await?;
        let all = network.interfaces();
        let (inside, outside) = attachable(&policy.policy, &all, absent)?;
        let inside = refuse_unfit(inside, &netlink).await?;
        let tables = lay_out(&policy, &all, absent)?;
        let pins = Pins::prepare(&config.bpffs)?;
        let mut generation = Generation::load(&pins, &tables, config.kernel_log)?;
        let mut state = State::open(&pins)?;
        // Before the programs run: otherwise mail to the gateway itself would be dropped for an instant.
        state.set_gateway_addresses(&own_addresses(&netlink).await?)?;
        let quarantine = Quarantine::read(&config.state_dir, &state, now());
        quarantine.put_in_force(&mut state)?;
        teach(&lexicon, &policy, &tables, &all);
        forward_kernel_log(&mut generation, config.kernel_log)?;
        let Attached { coverage, failed, early } =
            datapath::attach(&pins, &mut generation, &inside, &outside, absent.refusal())?;
        // Only now, where this version enforces: in between both do, and at no time none.
        pins.retire_other_versions()?;
        let in_force = describe(&policy, coverage, told(early));
        let bound = bound_interfaces(&policy.policy, &all);
        let (mut names, answers) = NameWatch::new();
        names.follow(&policy.policy, &inside);
        let enforcement = Self {
            config: config.clone(),
            pins,
            netlink,
            state,
            generation,
            policy,
            inside,
            outside,
            network,
            failed,
            bound,
            in_force,
            lexicon,
            detection,
            names,
            quarantine,
            departed: Departed::read(&config.state_dir),
            history: History::at(&config.state_dir),
            trial,
            reload_error: refused,
        };
        enforcement.remember();
        enforcement.remember_trial();
        enforcement.history.keep(&enforcement.policy, &origin);
        Ok((enforcement, changes, answers))
    }

    /// Loads a generation for `policy` and swaps it into every hook; on any error the one before goes on.
    async fn swap_in(&mut self, policy: LoadedPolicy, absent: Absent) -> Result<(), Failure> {
        self.network = Network::look(&self.netlink).await?;
        let all = self.network.interfaces();
        let (inside, outside) = attachable(&policy.policy, &all, absent)?;
        let inside = refuse_unfit(inside, &self.netlink).await?;
        let tables = lay_out(&policy, &all, absent)?;
        let mut generation = Generation::load(&self.pins, &tables, self.config.kernel_log)?;
        teach(&self.lexicon, &policy, &tables, &all);
        forward_kernel_log(&mut generation, self.config.kernel_log)?;
        let Attached { coverage, failed, early } =
            datapath::attach(&self.pins, &mut generation, &inside, &outside, absent.refusal())?;
        self.failed = failed;
        self.in_force = describe(&policy, coverage, told(early));
        self.bound = bound_interfaces(&policy.policy, &all);
        self.detection.set_policy(&policy.policy);
        self.names.follow(&policy.policy, &inside);
        self.generation = generation;
        self.policy = policy;
        (self.inside, self.outside) = (inside, outside);
        self.remember();
        Ok(())
    }

    /// The exact accounts of hosts, worded.
    pub fn hosts(&self) -> Result<Vec<Account>, Failure> {
        let lexicon = self.lexicon.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Account::all(&self.state.hosts()?, &self.state.submissions()?, &lexicon, now()))
    }

    /// Closes accounts of hosts that were idle for long, where the kernel's map gets full.
    pub fn reap_hosts(&mut self) {
        match self.state.reap_hosts(datapath::boot_time()) {
            Ok(closed) => self.departed.add(&closed, &self.config.state_dir),
            Err(error) => log::error!("idle hosts stay in the kernel's map: {error}"),
        }
    }

    pub fn status(&mut self, agent: &AgentInfo) -> Result<Status, Failure> {
        let departed = self.departed.clone();
        let mut status = Status::new(&self.pins, Some(self.in_force.clone()), &self.state, departed)?;
        status.agent = Some(agent.clone());
        status.interfaces = survey(&self.in_force, &self.network, Some(&self.failed));
        status.rights = Rights::read();
        status.quarantine = self.quarantine.list(now().boot);
        status.flags = Some(self.detection.counts());
        status.names = self.names.left_out().and_then(|left_out| {
            let (hosts, addresses) = self.detection.names()?;
            Some(NameCounts { hosts, addresses, left_out })
        });
        status.reload_error = self.reload_error.clone();
        status.tell_trial(self.trial.as_ref());
        Ok(status)
    }

    /// Attempts without an event, because the ring was full; since the state maps were made.
    pub fn lost_events(&self) -> Result<u64, Failure> {
        Ok(self.state.counters()?.lost_events())
    }

    /// Why the newest reload was refused.
    pub fn reload_error(&self) -> Option<&str> {
        self.reload_error.as_deref()
    }

    pub fn events(&self) -> Result<EventStream, Failure> {
        Ok(EventStream::open(&self.pins)?)
    }

    pub fn packet_counts(&self) -> Result<PacketCounts, Failure> {
        Ok(PacketCounts::open(&self.pins)?)
    }

    pub fn detection(&self) -> &Detection {
        &self.detection
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    pub fn policy(&self) -> &Policy {
        &self.policy.policy
    }

    /// A full disk must not stop enforcement: then only `status` without an agent knows less.
    fn remember(&self) {
        if let Err(error) = self.in_force.save(&self.config.state_dir) {
            log::error!("{error}");
        }
    }
}

fn lay_out(policy: &LoadedPolicy, all: &[Interface], absent: Absent) -> Result<Tables, Failure> {
    /// No packet has this index, so a mail server that is bound to it is never believed.
    const NOWHERE: u32 = 0;
    let index = |name: &str| match index_of(name, all) {
        None if absent == Absent::Waited => Some(NOWHERE),
        found => found,
    };
    Ok(compile(&policy.policy, policy.revision, now(), index)?)
}

async fn own_addresses(netlink: &Netlink) -> Result<Vec<Addr>, Failure> {
    Ok(netlink.addresses().await?.into_iter().map(Addr::from).collect())
}

fn forward_kernel_log(generation: &mut Generation, level: KernelLog) -> Result<(), Failure> {
    if level != KernelLog::Off {
        tokio::spawn(datapath::forward_kernel_log(generation)?);
    }
    Ok(())
}

fn teach(lexicon: &RwLock<Lexicon>, policy: &LoadedPolicy, tables: &Tables, all: &[Interface]) {
    if let Ok(mut lexicon) = lexicon.write() {
        lexicon.learn(policy.revision, &policy.policy.name, &tables.rules);
    }
    remember_names(lexicon, all);
}

fn remember_names(lexicon: &RwLock<Lexicon>, all: &[Interface]) {
    if let Ok(mut lexicon) = lexicon.write() {
        lexicon.interfaces.extend(all.iter().map(|i| (i.index, i.name.clone())));
    }
}

/// Warns of early doors that are not there.
fn told(places: Vec<EarlyPlace>) -> Vec<EarlyPlace> {
    for EarlyPlace { interface, refused } in &places {
        if let Some(why) = refused {
            log::warn!("{interface}: no XDP in front of its door: {why}. The door does all of it");
        }
    }
    places
}

fn describe(policy: &LoadedPolicy, interfaces: Vec<datapath::Coverage>, early: Vec<EarlyPlace>) -> InForce {
    InForce {
        policy: policy.policy.name.clone(),
        revision: policy.revision.to_string(),
        mode: policy.policy.mode.label().to_owned(),
        file: policy.path.clone(),
        since: Timestamp::now(),
        interfaces,
        early,
        inside: policy.policy.inside.iter().map(|entry| entry.glob.clone()).collect(),
        outside: policy.policy.outside.clone(),
    }
}
