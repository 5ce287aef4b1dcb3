//! Who a host is: its MAC on the same link, its address behind a router.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::presets::HostKey;
use crate::attempt::Mac;

/// IPv4 addresses that one MAC has in a day before it is taken for a router. A machine whose lease ends, or that has some
/// addresses of its own, stays below.
const ROUTER: usize = 4;
const DAY: u32 = 86_400;
/// MACs that are watched; the longest known one is forgotten first, and is a machine again.
const WATCHED: usize = 16_384;

/// One host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    Mac([u8; 6]),
    Address(IpAddr),
}

/// Learns which MACs are routers. IPv6 addresses say nothing: one machine has a new one every day.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Keys {
    macs: IndexMap<[u8; 6], Seen>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// IPv4 addresses with the time of their newest attempt; one more than `ROUTER` at most.
    addresses: VecDeque<(Ipv4Addr, u32)>,
    /// Once a router, a router: its clients must not become one host again in a quiet hour.
    router: bool,
}

impl Keys {
    /// The host that an attempt is of.
    pub fn key(&mut self, how: HostKey, mac: Option<Mac>, address: IpAddr, time: u32) -> Key {
        let address = address.to_canonical();
        match (how, mac) {
            (HostKey::Address, _) | (_, None) => Key::Address(address),
            (HostKey::Mac, Some(Mac(mac))) => Key::Mac(mac),
            (HostKey::Auto, Some(Mac(mac))) if self.is_router(mac, address, time) => Key::Address(address),
            (HostKey::Auto, Some(Mac(mac))) => Key::Mac(mac),
        }
    }

    /// The same for somebody who has tried nothing: nothing is learnt of it.
    pub fn known(&self, how: HostKey, mac: Option<Mac>, address: IpAddr) -> Key {
        let is_router = |mac: &[u8; 6]| self.macs.get(mac).is_some_and(|seen| seen.router);
        match (how, mac) {
            (HostKey::Mac, Some(Mac(mac))) => Key::Mac(mac),
            (HostKey::Auto, Some(Mac(mac))) if !is_router(&mac) => Key::Mac(mac),
            _ => Key::Address(address.to_canonical()),
        }
    }

    fn is_router(&mut self, mac: [u8; 6], address: IpAddr, time: u32) -> bool {
        let IpAddr::V4(address) = address else {
            return self.macs.get(&mac).is_some_and(|seen| seen.router);
        };
        if self.macs.len() >= WATCHED && !self.macs.contains_key(&mac) {
            self.macs.swap_remove_index(0);
        }
        let seen = self.macs.entry(mac).or_default();
        if seen.router {
            return true;
        }
        match seen.addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, newest)) => *newest = time,
            None => {
                seen.addresses.retain(|(_, newest)| time.saturating_sub(*newest) < DAY);
                seen.addresses.push_back((address, time));
                seen.router = seen.addresses.len() > ROUTER;
            }
        }
        seen.router
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mac(mac) => Mac(*mac).fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address.to_canonical()));
        }
        let Mac(mac) = text.parse().map_err(|()| {
            format!("{text:?} is no host: write a MAC such as 02:00:00:00:00:77, or an address")
        })?;
        Ok(Self::Mac(mac))
    }
}
