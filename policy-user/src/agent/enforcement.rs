//! Putting a policy in force: from the file to a generation on every inside interface, at start, on reload and when the
//! network changes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use jiff::Timestamp;
use policy_common::Addr;

use super::Config;
use super::log_writer::LogWriter;
use crate::attempt::Lexicon;
use crate::datapath::{self, EventStream, Generation, Inside, KernelLog, Pins, State};
use crate::failure::Failure;
use crate::netlink::{Changes, Interface, Netlink};
use crate::policy::compile::{Instant, Tables, compile};
use crate::policy::{self, InterfaceGlob, LoadedPolicy, Policy};
use crate::status::{AgentInfo, InForce, Status};

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
    in_force: InForce,
    lexicon: Arc<RwLock<Lexicon>>,
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
    /// Puts `policy` in force for the first time in this process, adopting what an earlier agent has pinned.
    pub async fn start(
        config: &Config,
        policy: LoadedPolicy,
        lexicon: Arc<RwLock<Lexicon>>,
    ) -> Result<(Self, Changes), Failure> {
        let (netlink, changes) = Netlink::connect()?;
        let all = netlink.interfaces().await?;
        let (inside, outside) = named_interfaces(&policy.policy, &all)?;
        let tables = lay_out(&policy, &all)?;
        let pins = Pins::prepare(&config.bpffs)?;
        let mut generation = Generation::load(&pins, &tables, config.kernel_log)?;
        let mut state = State::open(&pins)?;
        // Before the programs run: otherwise mail to the gateway itself would be dropped for an instant.
        state.set_gateway_addresses(&own_addresses(&netlink).await?)?;
        teach(&lexicon, &policy, &tables, &all);
        forward_kernel_log(&mut generation, config.kernel_log)?;
        let coverage = datapath::attach(&pins, &mut generation, &inside, &outside)?;
        let in_force = describe(&policy, coverage);
        let enforcement = Self {
            config: config.clone(),
            pins,
            netlink,
            state,
            generation,
            policy,
            inside,
            outside,
            in_force,
            lexicon,
            reload_error: None,
        };
        enforcement.remember();
        Ok((enforcement, changes))
    }

    /// Reads the policy file again and swaps it in; on any error nothing changes.
    pub async fn reload(&mut self, writer: &LogWriter) -> Result<String, Failure> {
        let result = self.swap_policy().await;
        match &result {
            Ok(_) => writer.set_file(self.log_file()),
            Err(error) => self.reload_error = Some(error.to_string()),
        }
        result
    }

    async fn swap_policy(&mut self) -> Result<String, Failure> {
        let policy = load_policy(&self.config.policy)?;
        let all = self.netlink.interfaces().await?;
        let (inside, outside) = named_interfaces(&policy.policy, &all)?;
        let tables = lay_out(&policy, &all)?;
        let mut generation = Generation::load(&self.pins, &tables, self.config.kernel_log)?;
        teach(&self.lexicon, &policy, &tables, &all);
        forward_kernel_log(&mut generation, self.config.kernel_log)?;
        let coverage = datapath::attach(&self.pins, &mut generation, &inside, &outside)?;
        let before = std::mem::replace(&mut self.in_force, describe(&policy, coverage));
        self.generation = generation;
        self.policy = policy;
        (self.inside, self.outside) = (inside, outside);
        self.reload_error = None;
        self.remember();
        let told = format!(
            "policy {} is in force: revision {} in place of {}",
            self.in_force.policy, self.in_force.revision, before.revision
        );
        log::info!("{told}");
        Ok(told)
    }

    /// Covers interfaces that have appeared and keeps the list of the gateway's own addresses true.
    pub async fn follow_network(&mut self) {
        if let Err(error) = self.try_follow_network().await {
            log::error!("the network has changed, but {error}");
        }
    }

    async fn try_follow_network(&mut self) -> Result<(), Failure> {
        self.state.set_gateway_addresses(&own_addresses(&self.netlink).await?)?;
        let all = self.netlink.interfaces().await?;
        remember_names(&self.lexicon, &all);
        let (inside, outside) = present(&self.policy.policy, &all);
        if inside == self.inside && outside == self.outside {
            return Ok(());
        }
        let coverage = datapath::attach(&self.pins, &mut self.generation, &inside, &outside)?;
        let before = std::mem::replace(&mut self.in_force.interfaces, coverage);
        for gone in before.iter().filter(|old| !self.in_force.interfaces.contains(old)) {
            log::warn!(
                "{} (index {}) is gone or renamed: no {:?} there now",
                gone.interface,
                gone.ifindex,
                gone.hook
            );
        }
        for new in self.in_force.interfaces.iter().filter(|new| !before.contains(new)) {
            log::info!("{} (index {}) is covered: {:?}", new.interface, new.ifindex, new.hook);
        }
        (self.inside, self.outside) = (inside, outside);
        self.remember();
        Ok(())
    }

    pub fn status(&self, agent: &AgentInfo) -> Result<Status, Failure> {
        let mut status = Status::new(&self.pins, Some(self.in_force.clone()), &self.state.counters()?);
        status.agent = Some(agent.clone());
        status.reload_error = self.reload_error.clone();
        Ok(status)
    }

    pub fn events(&self) -> Result<EventStream, Failure> {
        Ok(EventStream::open(&self.pins)?)
    }

    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    pub fn log_file(&self) -> Option<PathBuf> {
        self.policy.policy.log_file.clone()
    }

    /// A full disk must not stop enforcement: then only `status` without an agent knows less.
    fn remember(&self) {
        if let Err(error) = self.in_force.save(&self.config.state_dir) {
            log::error!("{error}");
        }
    }
}

/// The inside and outside interfaces that exist; those that the policy names without a wildcard must.
fn named_interfaces(policy: &Policy, all: &[Interface]) -> Result<(Vec<Inside>, Vec<Interface>), Failure> {
    let sides = [("inside", &policy.inside), ("outside", &policy.outside)];
    for (side, glob) in sides.iter().flat_map(|(side, globs)| globs.iter().map(move |glob| (side, glob))) {
        if glob.is_literal() && !all.iter().any(|interface| interface.name == glob.0) {
            return Err(Failure::CouldNotRun(format!(
                "the policy names the {side} interface {:?}, which does not exist; `ip link` lists the interfaces. \
                 Write a pattern such as \"{}*\" for one that appears later",
                glob.0,
                glob.0.trim_end_matches(|c: char| c.is_ascii_digit())
            )));
        }
    }
    let (inside, outside) = present(policy, all);
    if inside.is_empty() {
        log::warn!("no inside interface of the policy exists yet: nothing is covered until one appears");
    }
    if outside.is_empty() {
        log::warn!(
            "no outside interface is guarded: processes of the gateway and interfaces the policy does not name can reach \
             blocked ports; name it in interfaces.outside"
        );
    }
    Ok((inside, outside))
}

fn present(policy: &Policy, all: &[Interface]) -> (Vec<Inside>, Vec<Interface>) {
    let inside = meant(&policy.inside, all).map(|interface| Inside { interface, settings: 0 }).collect();
    (inside, meant(&policy.outside, all).collect())
}

fn meant<'a>(globs: &'a [InterfaceGlob], all: &'a [Interface]) -> impl Iterator<Item = Interface> + 'a {
    let named = |name: &str| globs.iter().any(|glob| glob.0 == name);
    let matched = |name: &str| globs.iter().any(|glob| glob.matches(name));
    // A pattern that happens to match the loopback device, or one that carries no IP, does not mean it.
    let meant =
        move |i: &&Interface| named(&i.name) || (matched(&i.name) && i.name != "lo" && i.link.is_some());
    all.iter().filter(meant).cloned()
}

fn lay_out(policy: &LoadedPolicy, all: &[Interface]) -> Result<Tables, Failure> {
    let indices: HashMap<&str, u32> = all.iter().map(|i| (i.name.as_str(), i.index)).collect();
    Ok(compile(&policy.policy, policy.revision, now(), |name| indices.get(name).copied())?)
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

fn describe(policy: &LoadedPolicy, interfaces: Vec<datapath::Coverage>) -> InForce {
    InForce {
        policy: policy.policy.name.clone(),
        revision: policy.revision.to_string(),
        mode: policy.policy.mode.label().to_owned(),
        file: policy.path.clone(),
        since: Timestamp::now(),
        interfaces,
    }
}
