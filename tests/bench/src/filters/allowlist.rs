//! The designated mail servers, the same ones for every filter.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that may use blocked ports.
pub struct Allowlist {
    numbers: Vec<u32>,
}

/// 10.25.0.25 and fd25::25, which no made packet comes from.
const FIRST: ([u8; 4], u16) = ([10, 25, 0, 25], 0x25);

impl Allowlist {
    /// So many in each family: the lab's mail server, and even addresses all over 10.0.0.0/8, so that every odd one that
    /// asks has neighbours it must be told from.
    pub fn of(entries: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(25);
        let mut numbers = BTreeSet::new();
        while numbers.len() + 1 < entries {
            numbers.insert(0x0a00_0000 | random.u32(..1 << 24) & !1);
        }
        Self { numbers: numbers.into_iter().collect() }
    }

    pub fn ipv4(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(FIRST.0.into()).chain(self.numbers.iter().map(|n| Ipv4Addr::from_bits(*n).into()))
    }

    pub fn ipv6(&self) -> impl Iterator<Item = IpAddr> {
        let of = |n: u32| Ipv6Addr::from_bits(0xfd25 << 112 | u128::from(n)).into();
        std::iter::once(of(FIRST.1.into())).chain(self.numbers.iter().map(move |n| of(*n)))
    }
}
