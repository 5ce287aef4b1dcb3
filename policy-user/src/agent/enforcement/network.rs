//! Staying in force while the network changes: interfaces that come, go and are renamed, and programs in front of ours.

use std::time::Duration;

use super::{Enforcement, own_addresses, remember_names, told};
use crate::agent::early::refuse_unfit;
use crate::agent::interfaces::{Absent, bound_interfaces, present};
use crate::agent::log_writer::LogWriter;
use crate::coverage::{InterfaceStatus, Network, survey};
use crate::datapath::{self, Attached, Coverage, Inside, Position, Refusal};
use crate::failure::Failure;
use crate::netlink::Interface;
use crate::policy::Topic;

/// The kernel frees a link some milliseconds after its pin is gone, and until then refuses the same program on an interface
/// that has come back from another namespace.
const LET_GO: Duration = Duration::from_millis(100);

impl Enforcement {
    /// Every interface of the machine, covered or not.
    pub fn survey(&self) -> Vec<InterfaceStatus> {
        survey(&self.in_force, &self.network, Some(&self.failed))
    }

    /// Looks whether our programs still stand first at every hook, and puts them there again where they don't: a program
    /// in front of ours can let packets out before ours sees them.
    pub async fn watch_hooks(&mut self, writer: &LogWriter) {
        let lost = |coverage: &&Coverage| {
            matches!(datapath::position(&self.pins, coverage), Position::Behind | Position::Missing)
        };
        let Some(place) = self.in_force.interfaces.iter().find(lost).cloned() else { return };
        let told = format!(
            "another program stands in front of ours on {} ({:?}), or ours is gone: putting ours first again",
            place.interface, place.hook
        );
        log::error!("ALARM: {told}");
        writer.notifier().alarm(Topic::Coverage, &place.interface, &told);
        // The kernel refuses to attach one program twice, so it takes a generation of its own.
        if let Err(error) = self.swap_in(self.policy.clone(), Absent::Waited).await {
            let told = format!("{} is not safe: {error}", place.interface);
            log::error!("ALARM: {told}");
            writer.notifier().alarm(Topic::Coverage, &format!("{} not safe", place.interface), &told);
        }
    }

    /// Tries again where the kernel has refused.
    pub async fn retry_failed(&mut self) {
        if !self.failed.is_empty() {
            self.follow_network().await;
        }
    }

    /// Covers interfaces that have appeared and keeps the list of the gateway's own addresses true.
    pub async fn follow_network(&mut self) {
        if let Err(error) = self.try_follow_network().await {
            log::error!("the network has changed, but {error}");
        }
    }

    async fn try_follow_network(&mut self) -> Result<(), Failure> {
        self.state.set_gateway_addresses(&own_addresses(&self.netlink).await?)?;
        let devices = self.netlink.devices().await?;
        let all: Vec<Interface> = devices.iter().map(|device| device.interface.clone()).collect();
        remember_names(&self.lexicon, &all);
        if bound_interfaces(&self.policy.policy, &all) != self.bound {
            log::info!("an interface that a mail server is bound to has come or gone");
            return self.swap_in(self.policy.clone(), Absent::Waited).await;
        }
        let (inside, outside) = present(&self.policy.policy, &all);
        let inside = refuse_unfit(inside, &self.netlink).await?;
        self.cover((inside.clone(), outside.clone()))?;
        if !self.failed.is_empty() {
            tokio::time::sleep(LET_GO).await;
            self.cover((inside, outside))?;
        }
        // The routes last: a router may have a million.
        self.network = Network { devices, exits: self.netlink.exits().await? };
        Ok(())
    }

    /// Makes the covered interfaces these, if they are not already.
    fn cover(&mut self, (inside, outside): (Vec<Inside>, Vec<Interface>)) -> Result<(), Failure> {
        // One that was in another namespace for a moment comes back with its index, and without our programs.
        let missing = |place| datapath::position(&self.pins, place) == Position::Missing;
        let as_before = inside == self.inside && outside == self.outside && self.failed.is_empty();
        if as_before && !self.in_force.interfaces.iter().any(missing) {
            return Ok(());
        }
        let Attached { coverage, failed, early } =
            datapath::attach(&self.pins, &mut self.generation, &inside, &outside, Refusal::GoOn)?;
        self.failed = failed;
        self.in_force.early = told(early);
        let before = std::mem::replace(&mut self.in_force.interfaces, coverage);
        for gone in before.iter().filter(|old| !self.in_force.interfaces.contains(old)) {
            log::warn!(
                "{} (index {}) is gone or renamed: no {:?} there now",
                gone.interface.escape_debug(),
                gone.ifindex,
                gone.hook
            );
        }
        for new in self.in_force.interfaces.iter().filter(|new| !before.contains(new)) {
            log::info!("{} (index {}) is covered: {:?}", new.interface.escape_debug(), new.ifindex, new.hook);
        }
        self.names.follow(&self.policy.policy, &inside);
        (self.inside, self.outside) = (inside, outside);
        self.remember();
        Ok(())
    }
}
