//! How many packets the kernel has counted on an attempt, as long as it remembers it.

use aya::maps::{HashMap, Map, MapData};
use policy_common::abi::AttemptKey;

use super::error::DatapathError;
use super::pins::Pins;
use super::state;

/// The kernel's attempts, for reading: looking one up from here does not keep it from being forgotten.
pub struct PacketCounts {
    attempts: HashMap<MapData, AttemptKey, u64>,
}

impl PacketCounts {
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let attempts = state::open(pins, "ATTEMPTS", |map| HashMap::try_from(Map::LruHashMap(map)))?;
        Ok(Self { attempts })
    }

    /// None where the attempt is forgotten.
    pub fn of(&self, attempt: &AttemptKey) -> Option<u64> {
        self.attempts.get(attempt, 0).ok()
    }
}
