//! Alarms about interfaces: a way out without a guard, one that could not be covered, one that is covered no more.

use std::collections::{BTreeMap, BTreeSet};

use crate::coverage::{InterfaceStatus, Uncovered};
use crate::status::InForce;

/// What has been told already.
#[derive(Default)]
pub struct Interfaces {
    exits: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    /// Names of covered interfaces by index.
    covered: BTreeMap<u32, String>,
    revision: String,
}

/// Something to tell: what it is about, and the sentence.
pub type Alarm = (String, String);

impl Interfaces {
    /// What is new since the last look.
    pub fn look(&mut self, in_force: &InForce, all: &[InterfaceStatus]) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        self.look_at_exits(in_force, all, &mut alarms);
        self.look_at_failures(all, &mut alarms);
        self.look_at_lost(in_force, all, &mut alarms);
        alarms
    }

    /// Without any outside interface the admin has chosen to have no guard, and was warned when the policy was read.
    fn look_at_exits(&mut self, in_force: &InForce, all: &[InterfaceStatus], alarms: &mut Vec<Alarm>) {
        let wanted = !in_force.outside.is_empty();
        let unguarded = all.iter().filter(|interface| wanted && interface.is_unguarded_exit());
        let now: BTreeSet<String> = unguarded.map(|interface| interface.interface.clone()).collect();
        for name in now.difference(&self.exits) {
            let shown = name.escape_debug();
            let told = format!(
                "a default route leaves through {shown}, where no guard is: processes of the gateway, and hosts behind \
                 interfaces the policy does not name, can reach blocked ports there. Add {shown} to `interfaces.outside` and run \
                 `smtpfence reload`"
            );
            alarms.push((name.clone(), told));
        }
        for name in self.exits.difference(&now) {
            log::info!("no default route leaves through {} unguarded any more", name.escape_debug());
        }
        self.exits = now;
    }

    fn look_at_failures(&mut self, all: &[InterfaceStatus], alarms: &mut Vec<Alarm>) {
        let failed = |interface: &&InterfaceStatus| interface.uncovered == Some(Uncovered::Failed);
        let why = |interface: &InterfaceStatus| interface.detail.clone().unwrap_or_default();
        let now: BTreeMap<String, String> =
            all.iter().filter(failed).map(|it| (it.interface.clone(), why(it))).collect();
        for (name, why) in now.iter().filter(|(name, _)| !self.failed.contains_key(*name)) {
            let told = format!("{} is NOT covered: {why}; tried again", name.escape_debug());
            alarms.push((format!("{name} not covered"), told));
        }
        self.failed = now;
    }

    /// One that is gone can let nothing out, and one that a new policy leaves out was left out on purpose.
    fn look_at_lost(&mut self, in_force: &InForce, all: &[InterfaceStatus], alarms: &mut Vec<Alarm>) {
        let same_policy = self.revision == in_force.revision;
        for interface in all.iter().filter(|interface| same_policy && interface.uncovered.is_some()) {
            let Some(before) = interface.ifindex.and_then(|index| self.covered.get(&index)) else { continue };
            let (before, name) = (before.escape_debug(), interface.interface.escape_debug());
            let told = format!(
                "{before} is called {name} now and is covered no more: {}",
                interface.detail.as_deref().unwrap_or_default()
            );
            alarms.push((interface.interface.clone(), told));
        }
        let covered = all.iter().filter(|interface| !interface.hooks.is_empty());
        self.covered = covered.filter_map(|it| Some((it.ifindex?, it.interface.clone()))).collect();
        self.revision.clone_from(&in_force.revision);
    }
}
