//! The kernel's exact accounts of hosts: read, and kept from filling up.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuHashMap};
use policy_common::abi::{HOST_ENTRIES, HostCounts, HostKey};

use super::error::DatapathError;
use super::machine::asleep;
use super::pins::Pins;
use super::state;

/// An account that counted nothing for so long may be closed.
const IDLE: u64 = 3_600 * 1_000_000_000;

/// The account of one host; of a MAC or of an interface for senders without an account of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCount {
    pub key: HostKey,
    pub counts: HostCounts,
}

impl HostCount {
    /// Whether it is the account of one address, not of all that share a MAC or an interface.
    pub const fn is_single(&self) -> bool {
        self.key.address().family() != 0
    }
}

/// The two maps.
pub(super) struct Hosts {
    accounts: PerCpuHashMap<MapData, HostKey, HostCounts>,
    shares: HashMap<MapData, HostKey, u32>,
}

impl Hosts {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            accounts: state::open(pins, "HOSTS", |map| PerCpuHashMap::try_from(Map::PerCpuHashMap(map)))?,
            shares: state::open(pins, "HOST_SHARES", state::hash)?,
        })
    }

    /// Every account, summed over the processors.
    pub(super) fn read(&self) -> Result<Vec<HostCount>, DatapathError> {
        let (mut hosts, asleep) = (Vec::new(), asleep());
        for entry in self.accounts.iter() {
            match entry {
                Ok((key, parts)) => {
                    let counts = HostCounts::sum(parts.iter().copied()).after_sleep(asleep);
                    hosts.push(HostCount { key, counts });
                }
                // Closed by the agent between two steps.
                Err(MapError::KeyNotFound) => {}
                Err(source) => return Err(failed("read", "HOSTS", source)),
            }
        }
        Ok(hosts)
    }

    /// Where the map is more than half full, closes accounts that were idle for an hour, the longest idle first, until it is
    /// down to a third, and returns them with their final numbers.
    ///
    /// A packet that comes after an hour of silence and in the microsecond between the reading of its account and the
    /// closing is missing from the sum of the accounts; COUNTERS has it.
    pub(super) fn reap(&mut self, now: u64) -> Result<Vec<HostCount>, DatapathError> {
        let hosts = self.read()?;
        let mut closed = Vec::new();
        for key in idle(&hosts, HOST_ENTRIES as usize, now) {
            let Ok(parts) = self.accounts.get(&key, 0) else { continue };
            let counts = HostCounts::sum(parts.iter().copied()).after_sleep(asleep());
            if !is_idle(&counts, now) {
                continue;
            }
            self.accounts.remove(&key).map_err(|source| failed("write", "HOSTS", source))?;
            closed.push(HostCount { key, counts });
        }
        if !closed.is_empty() {
            self.count_shares()?;
        }
        Ok(closed)
    }

    /// Sets the shares to what is in the map. One that the kernel adds to meanwhile may be missed: they are limits.
    fn count_shares(&mut self) -> Result<(), DatapathError> {
        let mut shares = BTreeMap::<HostKey, u32>::new();
        for HostCount { key, .. } in self.read()? {
            *shares.entry(HostKey::of_interface(key.ifindex())).or_default() += 1;
            if key.mac().is_some() && key.address().family() != 0 {
                *shares.entry(key.without_address()).or_default() += 1;
            }
        }
        let failed = |source| failed("write", "HOST_SHARES", source);
        let known: Vec<HostKey> = self.shares.keys().filter_map(Result::ok).collect();
        for gone in known.iter().filter(|key| !shares.contains_key(key)) {
            self.shares.remove(gone).map_err(failed)?;
        }
        for (key, share) in &shares {
            self.shares.insert(key, share, 0).map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(doing: &'static str, map: &'static str, source: MapError) -> DatapathError {
    DatapathError::State { doing, map, source: Box::new(source) }
}

fn is_idle(counts: &HostCounts, now: u64) -> bool {
    now.saturating_sub(counts.last_seen) > IDLE
}

/// Which accounts to close.
fn idle(hosts: &[HostCount], capacity: usize, now: u64) -> Vec<HostKey> {
    if hosts.len() <= capacity / 2 {
        return Vec::new();
    }
    let mut oldest: Vec<&HostCount> = hosts.iter().filter(|host| is_idle(&host.counts, now)).collect();
    oldest.sort_by_key(|host| host.counts.last_seen);
    oldest.iter().take(hosts.len() - capacity / 3).map(|host| host.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600 * 1_000_000_000;

    fn host(ifindex: u32, last_seen: u64) -> HostCount {
        let counts = HostCounts { first_seen: 1, last_seen, ..HostCounts::EMPTY };
        HostCount { key: HostKey::of_interface(ifindex), counts }
    }

    #[test]
    fn the_longest_idle_go_first_and_only_when_it_is_half_full() {
        let hosts: Vec<_> = (0..10).map(|n| host(n, HOUR * u64::from(10 - n))).collect();
        let closed = |capacity, now| -> Vec<u32> {
            idle(&hosts, capacity, now).iter().map(HostKey::ifindex).collect()
        };
        assert_eq!(closed(20, HOUR * 100), Vec::<u32>::new());
        assert_eq!(closed(18, HOUR * 100), [9, 8, 7, 6]);
        // Nobody who was seen in the last hour goes, however full it is.
        assert_eq!(closed(10, HOUR * 4), [9, 8]);
    }
}
