//! All hosts, within a bound: a flood of new ones pushes out the quiet, never the flagged.

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::{Deserialize, Serialize};

use super::host::{Host, WEEK};
use super::key::Key;
use super::verdict::Verdict;

/// Hosts at most; 600 MB if each is remembered in full, 150 MB for as many with one or two sites.
pub const MOST_HOSTS: usize = 1_000_000;
/// Neighbours that are looked at for the one that has been quiet longest.
const CANDIDATES: usize = 16;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    hosts: IndexMap<Key, Host>,
    most: usize,
    /// Where the next host to push out is looked for.
    hand: usize,
    /// Attempts of hosts that there was no room for.
    pub untracked: u64,
}

impl Table {
    pub fn new(most: usize) -> Self {
        Self { hosts: IndexMap::new(), most, hand: 0, untracked: 0 }
    }

    pub fn get(&self, key: &Key) -> Option<&Host> {
        self.hosts.get(key)
    }

    pub fn get_mut(&mut self, key: &Key) -> Option<&mut Host> {
        self.hosts.get_mut(key)
    }

    /// The host, new if need be; none where all room is taken by flagged ones.
    pub fn take(&mut self, key: Key, new: impl FnOnce() -> Host) -> Option<&mut Host> {
        if self.hosts.len() >= self.most && !self.hosts.contains_key(&key) && !self.make_room() {
            self.untracked = self.untracked.saturating_add(1);
            return None;
        }
        Some(match self.hosts.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(new()),
        })
    }

    pub fn forget(&mut self, key: &Key) -> Option<Host> {
        self.hosts.swap_remove(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Host)> {
        self.hosts.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Key, &mut Host)> {
        self.hosts.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Drops hosts of which nothing is to be said any more.
    pub fn forget_quiet(&mut self, now: u32) {
        self.hosts.retain(|_, host| host.flag.is_some() || now.saturating_sub(host.last) < WEEK);
    }

    /// A copy of so many hosts, the flagged and the newest, so that what is written to disk stays small.
    pub fn excerpt(&self, most: usize) -> Self {
        let mut order: Vec<usize> = (0..self.hosts.len()).collect();
        if order.len() > most {
            let rank =
                |index: &usize| self.hosts.get_index(*index).map(|(_, host)| (is_protected(host), host.last));
            order.sort_by_key(|index| std::cmp::Reverse(rank(index)));
            order.truncate(most);
            order.sort_unstable();
        }
        let hosts = order.into_iter().filter_map(|index| self.hosts.get_index(index));
        let hosts = hosts.map(|(key, host)| (*key, host.clone())).collect();
        Self { hosts, most: self.most, hand: 0, untracked: self.untracked }
    }

    fn make_room(&mut self) -> bool {
        let mut oldest: Option<(u32, usize)> = None;
        let mut found = 0;
        for _ in 0..self.hosts.len() {
            self.hand = (self.hand + 1) % self.hosts.len();
            let Some((_, host)) = self.hosts.get_index(self.hand) else { continue };
            if is_protected(host) {
                continue;
            }
            found += 1;
            let this = (host.last, self.hand);
            oldest = Some(oldest.map_or(this, |oldest| oldest.min(this)));
            if found == CANDIDATES {
                break;
            }
        }
        let Some((_, index)) = oldest else { return false };
        self.hosts.swap_remove_index(index).is_some()
    }
}

fn is_protected(host: &Host) -> bool {
    host.flag.as_ref().is_some_and(|flag| flag.verdict >= Verdict::Suspect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::host::Slot;
    use crate::detect::{Detector, Observation, Preset, Rules};

    #[test]
    fn a_host_with_a_full_table_takes_at_most_600_bytes() {
        let mut detector = Detector::new(Rules::of(Preset::Balanced));
        for nth in 0..200u8 {
            detector.observe(&Observation {
                time: u32::from(nth) * 60,
                mac: None,
                source: [10, 25, 0, 77].into(),
                source_port: u16::from(nth),
                destination: [131, nth, 0, 25].into(),
                unlisted: 0,
            });
        }
        let (_, host) = detector.memory.table.iter().next().unwrap();
        assert_eq!(host.slots.len(), super::super::presets::SLOTS);
        // An IndexMap keeps a hash beside each entry, and four bytes of an index that is at most 7/8 full.
        let entry = size_of::<Key>() + size_of::<Host>() + size_of::<u64>() + 5;
        let most = entry + host.slots.capacity() * size_of::<Slot>();
        assert!(most <= 600, "{most} bytes: {} and {} a slot", size_of::<Host>(), size_of::<Slot>());
    }
}
