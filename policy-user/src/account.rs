//! The account of one host in words and on the wall clock: what `GET /v1/hosts` lists.

use std::net::IpAddr;

use jiff::Timestamp;
use policy_common::Reason;
use serde::Serialize;

use crate::attempt::{Mac, wall_time};
use crate::datapath::HostCount;
use crate::policy::compile::Instant;

/// One account; the field names are a contract.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// Its present name, or the last known one; `#` and the index where none is known.
    pub interface: String,
    pub interface_index: u32,
    /// None on interfaces without MACs, and for the account of a whole interface.
    pub mac: Option<Mac>,
    /// None for the account of all who share the MAC or the interface.
    pub address: Option<IpAddr>,
    pub attempts: u64,
    pub packets: u64,
    pub unlisted: u64,
    pub untold: u64,
    /// None for an account that has counted nothing yet.
    pub first_seen: Option<Timestamp>,
    pub last_seen: Option<Timestamp>,
    pub last_reason: Option<&'static str>,
}

impl Account {
    /// Words an account; `now` relates its times to the wall clock.
    pub fn new(host: &HostCount, interface: String, now: Instant) -> Self {
        let HostCount { key, counts } = host;
        let time = |boot: u64| (counts.first_seen != 0).then(|| wall_time(boot, now));
        let reason = u8::try_from(counts.last_reason).ok().and_then(Reason::from_number);
        Self {
            interface,
            interface_index: key.ifindex(),
            mac: key.mac().map(Mac),
            address: key.address().to_ip(),
            attempts: counts.attempts,
            packets: counts.packets,
            unlisted: counts.unlisted,
            untold: counts.untold,
            first_seen: time(counts.first_seen),
            last_seen: time(counts.last_seen),
            last_reason: reason.filter(|reason| reason.denies()).map(Reason::label),
        }
    }
}
