//! The tables of a generation in memory: the host's side of [`PolicyView`], for tests and for every tool that explains.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use policy_common::abi::{MailServer, Net, Permit, Quarantine, scope};
use policy_common::decide::Arrival;
use policy_common::{Addr, PolicyView};

use super::compile::{Prefix, Tables};

/// A generation's tables with the state that the kernel keeps beside them.
pub struct HostPolicy<'a> {
    tables: &'a Tables,
    nets: PrefixMap<Net>,
    permits: HashMap<u32, PrefixMap<Permit>>,
    /// The gateway's own addresses.
    pub gateway_addresses: HashSet<Addr>,
    /// Client -> its quarantine.
    pub quarantine: HashMap<Addr, Quarantine>,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub now: u64,
}

impl<'a> HostPolicy<'a> {
    pub fn new(tables: &'a Tables, now: u64) -> Self {
        let mut permits: HashMap<u32, PrefixMap<Permit>> = HashMap::new();
        for (scope, prefix) in &tables.permits {
            permits.entry(*scope).or_default().insert(prefix);
        }
        let mut nets = PrefixMap::default();
        tables.nets.iter().for_each(|prefix| nets.insert(prefix));
        Self { tables, nets, permits, gateway_addresses: HashSet::new(), quarantine: HashMap::new(), now }
    }
}

impl PolicyView for HostPolicy<'_> {
    fn is_blocked(&self, port: u16) -> bool {
        port != 0 && self.tables.blocked_ports.contains(&port)
    }

    fn is_submission(&self, port: u16) -> bool {
        port != 0 && self.tables.submission_ports.contains(&port)
    }

    fn is_spared(&self, port: u16) -> bool {
        port != 0 && self.tables.spared_ports.contains(&port)
    }

    fn net(&self, addr: &Addr) -> Option<Net> {
        self.nets.longest(addr)
    }

    fn is_gateway(&self, addr: &Addr) -> bool {
        self.gateway_addresses.contains(addr)
    }

    fn widest_quarantine(&self) -> u8 {
        self.quarantine.values().map(Quarantine::scope).max().unwrap_or(scope::NONE)
    }

    fn quarantine(&self, addr: &Addr) -> Option<Quarantine> {
        self.quarantine.get(addr).copied()
    }

    fn mail_server(&self, index: u32) -> Option<MailServer> {
        self.tables.mail_servers.get(index as usize).copied()
    }

    fn permit(&self, scope: u32, addr: &Addr) -> Option<Permit> {
        self.permits.get(&scope)?.longest(addr)
    }

    fn now(&self) -> u64 {
        self.now
    }
}

/// Where a packet came from, as a tool states it.
#[derive(Clone, Copy, Debug)]
pub struct StatedArrival {
    pub ifindex: u32,
    pub src_mac: Option<[u8; 6]>,
}

impl Arrival for StatedArrival {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn src_mac(&self) -> Option<[u8; 6]> {
        self.src_mac
    }
}

/// Longest-prefix look-up: one hash table for each prefix length in use, longest first.
struct PrefixMap<V>(BTreeMap<Reverse<u8>, HashMap<Addr, V>>);

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Copy> PrefixMap<V> {
    fn insert(&mut self, prefix: &Prefix<V>) {
        self.0.entry(Reverse(prefix.len)).or_default().insert(prefix.addr, prefix.value);
    }

    fn longest(&self, addr: &Addr) -> Option<V> {
        self.0
            .iter()
            .filter(|(Reverse(len), _)| *len <= addr.bits())
            .find_map(|(Reverse(len), table)| table.get(&addr.masked(*len)).copied())
    }
}
