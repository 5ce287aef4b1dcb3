//! Quarantine at work: what admins ask for, and what follows from flags.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Enforcement, now};
use crate::agent::detection::{FlagEvent, Flagged};
use crate::agent::quarantine::{Infected, QuarantineRequest, Quarantined};
use crate::attempt::Mac;
use crate::detect::Key;
use crate::failure::Failure;

/// Addresses that were used longer ago may be another host's by now.
const LATELY: u64 = 3_600 * 1_000_000_000;
/// A MAC with more IPv4 addresses is a router's or a repeater's, for the detector too: behind it are others.
const OF_A_MACHINE: usize = 4;

/// What came of a release.
pub struct Released {
    pub was: bool,
    /// The flag that was taken back with it.
    pub flag: Option<FlagEvent>,
}

impl Enforcement {
    /// Puts a client into quarantine.
    pub fn quarantine(&mut self, request: QuarantineRequest) -> Result<Quarantined, Failure> {
        self.quarantine.add(request, &self.policy.policy, &mut self.state, now())
    }

    /// Lets a client out of quarantine. Where it followed from a flag, that is taken back too: else the next attempt would be
    /// judged by what the host did before.
    pub fn release(&mut self, client: IpAddr, user: Option<&str>) -> Result<Released, Failure> {
        let released = self.quarantine.release(client, &mut self.state, now())?;
        let host = released.as_ref().and_then(Option::as_ref);
        // Its flag may have ended before.
        let flag = host.and_then(|host| self.detection.release(host, user).ok());
        Ok(Released { was: released.is_some(), flag })
    }

    /// Takes a host's flag back, and with it the quarantine that followed from it.
    pub fn release_flag(&mut self, host: &str, user: Option<&str>) -> Result<FlagEvent, Failure> {
        let event = self.detection.release(host, user)?;
        self.quarantine.release_host(&event.flagged.host, &mut self.state, now())?;
        Ok(event)
    }

    /// Ends quarantines whose time is over, holds new addresses of hosts that are in one, and begins those of infected hosts.
    pub async fn watch_quarantine(&mut self) {
        if let Err(error) = self.try_watch_quarantine().await {
            log::error!("the quarantine is not up to date: {error}; the next look is in two seconds");
        }
    }

    async fn try_watch_quarantine(&mut self) -> Result<(), Failure> {
        self.quarantine.expire(&mut self.state, now())?;
        let held = self.quarantine.hosts();
        let new = if self.policy().quarantine.enabled { self.newly_infected(&held) } else { Vec::new() };
        if new.is_empty() && held.values().all(Option::is_none) {
            return Ok(());
        }
        let seen = self.seen_as().await?;
        for (host, mac) in &held {
            if let Some(addresses) = mac.as_ref().and_then(|mac| seen.get(mac)) {
                self.quarantine.extend(host, addresses, &self.policy.policy, &mut self.state)?;
            }
        }
        let begins = !new.is_empty();
        for (key, flagged) in new {
            let infected = as_seen(key, flagged, &seen);
            self.quarantine.begin(&infected, &self.policy.policy, &mut self.state, now())?;
        }
        if begins {
            // Whoever is in quarantine must be known as flagged after an accident too.
            let detection = Arc::clone(&self.detection);
            tokio::task::spawn_blocking(move || detection.save());
        }
        Ok(())
    }

    /// Hosts that have acted as infected ones since their last quarantine.
    fn newly_infected(&self, held: &BTreeMap<String, Option<Mac>>) -> Vec<(Key, Flagged)> {
        let now = now();
        let keys = self.detection.infected().into_iter().filter(|key| !held.contains_key(&key.to_string()));
        keys.filter_map(|key| {
            let since = self.quarantine.last_end(&key.to_string(), now);
            Some((key, self.detection.acts_infected(&key, since)?))
        })
        .collect()
    }

    /// The addresses that each MAC has had lately, by the neighbour table and by what was denied; none for a router's.
    async fn seen_as(&self) -> Result<BTreeMap<Mac, BTreeSet<IpAddr>>, Failure> {
        let mut seen: BTreeMap<Mac, BTreeSet<IpAddr>> = BTreeMap::new();
        for (address, mac) in self.netlink.neighbours().await? {
            seen.entry(Mac(mac)).or_default().insert(address);
        }
        let since = now().boot.saturating_sub(LATELY);
        for host in self.state.hosts()?.iter().filter(|host| host.counts.last_seen > since) {
            if let (Some(mac), Some(address)) = (host.key.mac(), host.key.address().to_ip()) {
                seen.entry(Mac(mac)).or_default().insert(address);
            }
        }
        seen.values_mut().for_each(|addresses| addresses.retain(may_leave));
        seen.retain(|_, addresses| addresses.iter().filter(|it| it.is_ipv4()).count() <= OF_A_MACHINE);
        Ok(seen)
    }
}

/// A host behind a router is its address alone; a machine on the link is all its addresses, and nobody else who has them.
fn as_seen(key: Key, flagged: Flagged, seen: &BTreeMap<Mac, BTreeSet<IpAddr>>) -> Infected {
    let mac = match key {
        Key::Mac(mac) => Some(Mac(mac)),
        Key::Address(_) => None,
    };
    let mut addresses = mac.and_then(|mac| seen.get(&mac)).cloned().unwrap_or_default();
    addresses.insert(flagged.client);
    Infected { host: flagged.host, mac, addresses, evidence: flagged.evidence.sentence }
}

/// Whether packets from this address can be routed.
fn may_leave(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !address.is_link_local() && !address.is_multicast() && !address.is_unspecified()
        }
        IpAddr::V6(address) => {
            !address.is_unicast_link_local() && !address.is_multicast() && !address.is_unspecified()
        }
    }
}
