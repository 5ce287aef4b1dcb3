//! The kernel's accounts of what hosts hand in on submission ports.

use aya::maps::{Map, MapData, MapError, PerCpuHashMap};
use policy_common::abi::{HostKey, SERVER_BITS, Submissions};

use super::error::DatapathError;
use super::pins::Pins;
use super::state;

/// What one host has handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmissionCount {
    pub key: HostKey,
    pub counts: Submissions,
}

impl SubmissionCount {
    /// About how many servers of the newest day the set bits stand for (linear counting: Whang et al., 1990).
    pub fn servers(&self) -> u32 {
        let all = f64::from(SERVER_BITS);
        // With no bit left the number has no upper end; one bit less says "so many at least".
        let free = SERVER_BITS.saturating_sub(self.counts.servers_noted()).max(1);
        (all * (all / f64::from(free)).ln()).round() as u32
    }
}

pub(super) struct SubmissionMap(PerCpuHashMap<MapData, HostKey, Submissions>);

impl SubmissionMap {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let typed = |map| PerCpuHashMap::try_from(Map::PerCpuLruHashMap(map));
        Ok(Self(state::open(pins, "SUBMISSIONS", typed)?))
    }

    /// Every account, summed over the processors.
    pub(super) fn read(&self) -> Result<Vec<SubmissionCount>, DatapathError> {
        let mut found = Vec::new();
        for entry in self.0.iter() {
            match entry {
                Ok((key, parts)) => {
                    found.push(SubmissionCount { key, counts: Submissions::sum(parts.iter().copied()) });
                }
                // It had to make room between two steps.
                Err(MapError::KeyNotFound) => {}
                Err(source) => {
                    return Err(DatapathError::State {
                        doing: "read",
                        map: "SUBMISSIONS",
                        source: Box::new(source),
                    });
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use policy_common::Addr;

    use super::*;

    #[test]
    fn the_estimate_is_near_and_never_beyond_all_bounds() {
        for (servers, least, most) in [(0, 0, 0), (1, 1, 1), (10, 9, 11), (100, 80, 120), (300, 240, 360)] {
            let mut counts = Submissions::EMPTY;
            for n in 0..servers {
                counts.count(1, &Addr::from(IpAddr::from(Ipv4Addr::from(0xc633_6401 + n * 977))));
            }
            let estimate = SubmissionCount { key: HostKey::of_interface(1), counts }.servers();
            assert!((least..=most).contains(&estimate), "{servers}: {estimate}");
        }
        let mut counts = Submissions::EMPTY;
        (0..100_000).for_each(|n: u32| counts.count(1, &Addr::from(IpAddr::from(Ipv4Addr::from(n * 977)))));
        assert_eq!(SubmissionCount { key: HostKey::of_interface(1), counts }.servers(), 1420);
    }
}
