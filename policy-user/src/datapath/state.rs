//! The pinned state maps: adopted only where their shape is the one this version expects, and read for `status`.

use std::collections::BTreeMap;

use aya::Pod;
use aya::maps::{Array, HashMap, Map, MapData, MapError, MapInfo, PerCpuArray};
use policy_common::abi::{Quarantine, counter, scope};
use policy_common::{Addr, Reason};
use serde::Serialize;

use super::error::DatapathError;
use super::hosts::{HostCount, Hosts};
use super::pins::Pins;
use super::ring::{EventRing, RingUse};
use super::submissions::{SubmissionCount, SubmissionMap};

/// Names of the maps that outlive a generation; everything else belongs to one.
pub(super) const STATE_MAPS: [&str; 10] = [
    "ATTEMPTS",
    "ATTEMPT_SALT",
    "COUNTERS",
    "EVENTS",
    "GATEWAY_ADDRS",
    "HOSTS",
    "HOST_SHARES",
    "QUARANTINE",
    "SUBMISSIONS",
    "WIDEST_SCOPE",
];

/// Drops pins whose map is of another shape than the programs expect, and says so.
///
/// aya 0.14 reopens a pinned map without a look at its shape; a map with shorter keys would then match the wrong hosts.
pub(super) fn drop_misshapen(pins: &Pins, object: &aya_obj::Object) -> Result<(), DatapathError> {
    for name in STATE_MAPS {
        let path = pins.map(name);
        if !path.exists() {
            continue;
        }
        let expected = object
            .maps
            .get(name)
            .ok_or_else(|| DatapathError::Object(format!("the built-in programs have no map {name}")))?;
        let expected = Shape {
            kind: expected.map_type(),
            key: expected.key_size(),
            value: expected.value_size(),
            entries: expected.max_entries(),
            flags: expected.map_flags(),
        };
        let found = Shape::of_pin(&path);
        if found.as_ref() != Ok(&expected) {
            let found = found.map_or_else(|why| why, |shape| format!("{shape:?}"));
            log::warn!(
                "{} is not the map this version expects ({found}; expected {expected:?}): starting a fresh one",
                path.display()
            );
            std::fs::remove_file(&path).map_err(|source| DatapathError::Io {
                doing: "remove",
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Shape {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

impl Shape {
    fn of_pin(path: &std::path::Path) -> Result<Self, String> {
        let info = MapInfo::from_pin(path).map_err(|error| error.to_string())?;
        Ok(Self {
            kind: info.map_type().map_err(|error| error.to_string())? as u32,
            key: info.key_size(),
            value: info.value_size(),
            entries: info.max_entries(),
            flags: info.map_flags(),
        })
    }
}

/// The pinned state maps, open for reading and for what the agent keeps in them.
pub struct State {
    counters: PerCpuArray<MapData, u64>,
    gateway_addresses: HashMap<MapData, Addr, u8>,
    quarantine: HashMap<MapData, Addr, Quarantine>,
    widest_scope: Array<MapData, u32>,
    hosts: Hosts,
    ring: EventRing,
    submissions: SubmissionMap,
}

impl State {
    /// Opens the pins that a generation has made.
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            counters: open(pins, "COUNTERS", |map| PerCpuArray::try_from(Map::PerCpuArray(map)))?,
            gateway_addresses: open(pins, "GATEWAY_ADDRS", hash)?,
            quarantine: open(pins, "QUARANTINE", hash)?,
            widest_scope: open(pins, "WIDEST_SCOPE", |map| Array::try_from(Map::Array(map)))?,
            hosts: Hosts::open(pins)?,
            ring: EventRing::open(pins)?,
            submissions: SubmissionMap::open(pins)?,
        })
    }

    /// Sums every counter over the processors.
    pub fn counters(&self) -> Result<Counters, DatapathError> {
        sum(&self.counters)
    }

    /// How full the ring buffer of events is.
    pub fn ring(&self) -> RingUse {
        self.ring.used()
    }

    /// The exact accounts of hosts.
    pub fn hosts(&self) -> Result<Vec<HostCount>, DatapathError> {
        self.hosts.read()
    }

    /// What hosts have handed in on submission ports.
    pub fn submissions(&self) -> Result<Vec<SubmissionCount>, DatapathError> {
        self.submissions.read()
    }

    /// Removes accounts that have been idle for long, where the map gets full; see [`Hosts::reap`].
    pub fn reap_hosts(&mut self, now: u64) -> Result<Vec<HostCount>, DatapathError> {
        self.hosts.reap(now)
    }

    /// Makes the kernel's list of the gateway's own addresses this one.
    pub fn set_gateway_addresses(&mut self, addresses: &[Addr]) -> Result<(), DatapathError> {
        let wanted = addresses.iter().map(|address| (*address, 1));
        reconcile(&mut self.gateway_addresses, "GATEWAY_ADDRS", &wanted.collect())
    }

    /// Whether the kernel takes this for one of the gateway's own addresses.
    pub fn is_gateway(&self, address: &Addr) -> bool {
        self.gateway_addresses.get(address, 0).is_ok()
    }

    /// The kernel's list of clients in quarantine.
    pub fn quarantine(&self) -> BTreeMap<Addr, Quarantine> {
        self.quarantine.iter().filter_map(Result::ok).collect()
    }

    /// Makes the kernel's list of clients in quarantine this one.
    pub fn set_quarantine(&mut self, clients: &BTreeMap<Addr, Quarantine>) -> Result<(), DatapathError> {
        reconcile(&mut self.quarantine, "QUARANTINE", clients)?;
        let widest = clients.values().map(Quarantine::scope).max().unwrap_or(scope::NONE);
        self.widest_scope.set(0, u32::from(widest), 0).map_err(|source| DatapathError::State {
            doing: "write",
            map: "WIDEST_SCOPE",
            source: Box::new(source),
        })
    }
}

/// First what is new, then what is gone, so that an entry that stays is never missing.
fn reconcile<V: Pod + PartialEq>(
    map: &mut HashMap<MapData, Addr, V>,
    name: &'static str,
    wanted: &BTreeMap<Addr, V>,
) -> Result<(), DatapathError> {
    let failed = |source| DatapathError::State { doing: "write", map: name, source: Box::new(source) };
    for (key, value) in wanted {
        map.insert(key, value, 0).map_err(failed)?;
    }
    let known: Vec<Addr> = map.keys().filter_map(Result::ok).collect();
    for gone in known.iter().filter(|known| !wanted.contains_key(known)) {
        map.remove(gone).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn hash<K: Pod, V: Pod>(map: MapData) -> Result<HashMap<MapData, K, V>, MapError> {
    HashMap::try_from(Map::HashMap(map))
}

/// The counters in a map that is not pinned.
pub(super) fn counters_of(map: &Map) -> Result<Counters, DatapathError> {
    let counters = PerCpuArray::try_from(map).map_err(|source| DatapathError::State {
        doing: "open",
        map: "COUNTERS",
        source: Box::new(source),
    })?;
    sum(&counters)
}

fn sum<T: std::borrow::Borrow<MapData>>(counters: &PerCpuArray<T, u64>) -> Result<Counters, DatapathError> {
    let mut slots = Vec::with_capacity(counter::SLOTS as usize);
    for slot in 0..counter::SLOTS {
        let values = counters.get(&slot, 0).map_err(|source| DatapathError::State {
            doing: "read",
            map: "COUNTERS",
            source: Box::new(source),
        })?;
        slots.push(values.iter().sum());
    }
    Ok(Counters { slots })
}

pub(super) fn open<M>(
    pins: &Pins,
    name: &'static str,
    typed: impl Fn(MapData) -> Result<M, MapError>,
) -> Result<M, DatapathError> {
    let path = pins.map(name);
    if !path.exists() {
        return Err(DatapathError::NothingPinned { path: pins.root().to_owned() });
    }
    MapData::from_pin(&path).and_then(typed).map_err(|source| DatapathError::State {
        doing: "open",
        map: name,
        source: Box::new(source),
    })
}

/// Exact numbers since the state maps were made, over all generations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    slots: Vec<u64>,
}

/// The counters of one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    pub reason: &'static str,
    pub denies: bool,
    pub packets: u64,
    /// 0 for reasons that let packets pass: only denied attempts are folded.
    pub attempts: u64,
    /// Packets of `packets` that audit mode let go on.
    pub would_block_packets: u64,
}

impl Counters {
    /// Every reason that has counted something, in the order of their numbers.
    pub fn by_reason(&self) -> Vec<ReasonCount> {
        Reason::ALL
            .into_iter()
            .map(|reason| ReasonCount {
                reason: reason.label(),
                denies: reason.denies(),
                packets: self.slot(counter::packets(reason)),
                attempts: self.slot(counter::attempts(reason)),
                would_block_packets: self.slot(counter::would_block(reason)),
            })
            .filter(|count| count.packets != 0)
            .collect()
    }

    pub fn packets(&self, reason: Reason) -> u64 {
        self.slot(counter::packets(reason))
    }

    pub fn attempts(&self, reason: Reason) -> u64 {
        self.slot(counter::attempts(reason))
    }

    /// Attempts without an event, because the ring buffer was full.
    pub fn lost_events(&self) -> u64 {
        self.slot(counter::LOST_EVENTS)
    }

    /// Attempts without an event, because their host had used up its budget.
    pub fn unlisted(&self) -> u64 {
        self.slot(counter::UNLISTED)
    }

    /// Packets and attempts that are in no host's account, because the map of hosts was full.
    pub fn overflow(&self) -> (u64, u64) {
        (self.slot(counter::OVERFLOW_PACKETS), self.slot(counter::OVERFLOW_ATTEMPTS))
    }

    fn slot(&self, slot: u32) -> u64 {
        self.slots.get(slot as usize).copied().unwrap_or(0)
    }
}
