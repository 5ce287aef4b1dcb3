//! The kernel's memory of attempts: its secret, drawn once, and how many packets it has counted on each.

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError};
use policy_common::abi::{AttemptKey, AttemptSalt, AttemptSet};

use super::error::DatapathError;
use super::pins::Pins;
use super::state;

/// The kernel's attempts, for reading.
pub struct PacketCounts {
    salt: AttemptSalt,
    attempts: Array<MapData, AttemptSet>,
}

impl PacketCounts {
    pub fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let salt: Array<_, AttemptSalt> = state::open(pins, SALT, array)?;
        let salt = salt.get(&0, 0).map_err(|source| failed("read", source))?;
        Ok(Self { salt, attempts: state::open(pins, "ATTEMPTS", array)? })
    }

    /// None where the attempt is forgotten.
    pub fn of(&self, attempt: &AttemptKey) -> Option<u64> {
        let place = attempt.place(&self.salt);
        let look = || self.attempts.get(&place.set, 0).ok()?.packets(place);
        // Once more: the kernel moves an attempt within its set when a packet comes.
        look().or_else(look)
    }
}

/// Draws the secret where the state maps are new.
pub(super) fn draw_salt(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    let map = ebpf.map_mut(SALT);
    let map =
        map.ok_or_else(|| DatapathError::Object(format!("the built-in programs have no map {SALT}")))?;
    let mut salt: Array<_, AttemptSalt> = Array::try_from(map).map_err(|source| failed("open", source))?;
    if salt.get(&0, 0).map_err(|source| failed("read", source))?.is_drawn() {
        return Ok(());
    }
    let mut bytes = [[0; 4]; AttemptSalt::WORDS];
    rustix::rand::getrandom(bytes.as_flattened_mut(), rustix::rand::GetRandomFlags::empty())
        .map_err(|error| DatapathError::Random(error.into()))?;
    salt.set(0, AttemptSalt::new(bytes.map(u32::from_ne_bytes)), 0).map_err(|source| failed("write", source))
}

const SALT: &str = "ATTEMPT_SALT";

fn array<V: aya::Pod>(map: MapData) -> Result<Array<MapData, V>, MapError> {
    Array::try_from(Map::Array(map))
}

fn failed(doing: &'static str, source: MapError) -> DatapathError {
    DatapathError::State { doing, map: SALT, source: Box::new(source) }
}
