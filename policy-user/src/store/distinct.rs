//! How many different things were seen: exact for a few, an estimate for many, in at most a kibibyte.

/// Up to here every hash is kept.
const EXACT: usize = 64;

/// Standard error 1.04 / sqrt(1024) = 3 % (Flajolet et al., HyperLogLog, 2007).
const REGISTERS: usize = 1024;

/// The sketch of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distinct {
    /// The hashes, sorted.
    Few(Vec<u64>),
    /// Per register the most leading zeros seen, plus one.
    Many(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Distinct {
    pub fn insert(&mut self, thing: &[u8]) {
        self.insert_hash(hash(thing));
    }

    fn insert_hash(&mut self, hash: u64) {
        match self {
            Self::Few(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return };
                hashes.insert(place, hash);
                if hashes.len() > EXACT {
                    let mut registers = Box::new([0; REGISTERS]);
                    hashes.iter().for_each(|hash| register(&mut registers, *hash));
                    *self = Self::Many(registers);
                }
            }
            Self::Many(registers) => register(registers, hash),
        }
    }

    /// Adds everything the other has seen.
    pub fn merge(&mut self, other: &Self) {
        match other {
            Self::Few(hashes) => hashes.iter().for_each(|hash| self.insert_hash(*hash)),
            Self::Many(theirs) => {
                let mut merged = theirs.clone();
                match self {
                    Self::Few(hashes) => hashes.iter().for_each(|hash| register(&mut merged, *hash)),
                    Self::Many(ours) => {
                        merged
                            .iter_mut()
                            .zip(ours.iter())
                            .for_each(|(merged, ours)| *merged = (*merged).max(*ours));
                    }
                }
                *self = Self::Many(merged);
            }
        }
    }

    pub fn count(&self) -> u64 {
        match self {
            Self::Few(hashes) => hashes.len() as u64,
            Self::Many(registers) => estimate(registers),
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Few(hashes) => hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect(),
            Self::Many(registers) => registers.to_vec(),
        }
    }

    /// The length tells the two forms apart.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        if let Ok(registers) = <[u8; REGISTERS]>::try_from(bytes) {
            return Self::Many(Box::new(registers));
        }
        let mut few = Self::default();
        for (chunk, _) in bytes.as_chunks::<8>().0.iter().zip(0..=EXACT) {
            few.insert_hash(u64::from_le_bytes(*chunk));
        }
        few
    }
}

fn register(registers: &mut [u8; REGISTERS], hash: u64) {
    let index = (hash % REGISTERS as u64) as usize;
    // The sentinel bit keeps the count within the bits that don't choose the register.
    let zeros = ((hash >> REGISTERS.trailing_zeros()) | 1 << 54).trailing_zeros() as u8;
    registers[index] = registers[index].max(zeros + 1);
}

fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let count = REGISTERS as f64;
    let empty = registers.iter().filter(|register| **register == 0).count();
    // 64 and more: a damaged file must not shift by more bits than there are.
    let sum: f64 = registers.iter().map(|register| 2f64.powi(-i32::from((*register).min(63)))).sum();
    let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
    // Linear counting is better while many registers are empty.
    let estimate = if raw <= 2.5 * count && empty > 0 { count * (count / empty as f64).ln() } else { raw };
    estimate.round() as u64
}

/// FNV-1a with the finalizer of MurmurHash3: stable over versions and machines, because sketches are kept on disk.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: std::ops::Range<u32>) -> Distinct {
        let mut set = Distinct::default();
        range.for_each(|n| set.insert(&n.to_be_bytes()));
        set
    }

    #[test]
    fn few_are_exact_and_many_are_near() {
        assert_eq!(of(0..64).count(), 64);
        for many in [65u32, 300, 1000, 5000, 100_000] {
            let estimate = of(0..many).count() as f64;
            assert!((estimate / f64::from(many) - 1.0).abs() < 0.1, "{many}: {estimate}");
        }
    }

    #[test]
    fn merging_is_as_seeing_both() {
        for (a, b) in
            [(0..10, 5..20), (0..50, 40..90), (0..5000, 10..20), (10..20, 0..5000), (0..4000, 2000..9000)]
        {
            let mut merged = of(a.clone());
            merged.merge(&of(b.clone()));
            let mut both = of(a);
            b.for_each(|n| both.insert(&n.to_be_bytes()));
            assert_eq!(merged, both);
            assert_eq!(Distinct::from_bytes(&both.to_bytes()), both);
        }
    }

    #[test]
    fn damaged_bytes_are_some_set() {
        for length in [0, 7, 1023, 1025, 100_000] {
            Distinct::from_bytes(&vec![0xff; length]).count();
        }
        assert!(Distinct::from_bytes(&[0xff; REGISTERS]).count() > 0);
    }
}
