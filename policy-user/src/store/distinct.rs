//! How many different things were seen: exact for a few, an estimate for many, in at most a kibibyte.

/// Up to here every hash is kept: with 32 bits each, two of a full set are the same once in 130,000 sets.
const EXACT: usize = 255;

/// Standard error 1.04 / sqrt(1024) = 3 % (Flajolet et al., HyperLogLog, 2007).
const REGISTERS: usize = 1024;

/// The sketch of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distinct {
    /// The hashes, sorted.
    Few(Vec<u32>),
    /// Per register the most trailing zeros seen, plus one.
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

    /// For who inserts the same thing into many sets.
    pub fn insert_hash(&mut self, hash: u32) {
        match self {
            Self::Few(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return };
                hashes.insert(place, hash);
                self.shrink();
            }
            Self::Many(registers) => register(registers, hash),
        }
    }

    /// Adds everything the other has seen.
    pub fn merge(&mut self, other: &Self) {
        match other {
            Self::Few(theirs) => self.merge_hashes(theirs.iter().copied()),
            Self::Many(theirs) => self.merge_registers(theirs),
        }
    }

    /// Adds a set as it was kept; its length tells the two forms apart.
    pub fn merge_bytes(&mut self, bytes: &[u8]) {
        match <&[u8; REGISTERS]>::try_from(bytes) {
            Ok(registers) => self.merge_registers(registers),
            Err(_) => self.merge_hashes(hashes(bytes)),
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

    fn merge_hashes(&mut self, theirs: impl Iterator<Item = u32>) {
        match self {
            Self::Few(ours) => {
                ours.extend(theirs);
                // Two sorted runs, which this sort merges in one go.
                ours.sort();
                ours.dedup();
            }
            Self::Many(registers) => return theirs.for_each(|hash| register(registers, hash)),
        }
        self.shrink();
    }

    fn merge_registers(&mut self, theirs: &[u8; REGISTERS]) {
        match self {
            Self::Few(hashes) => {
                let mut merged = Box::new(*theirs);
                hashes.iter().for_each(|hash| register(&mut merged, *hash));
                *self = Self::Many(merged);
            }
            Self::Many(ours) => {
                ours.iter_mut().zip(theirs).for_each(|(ours, theirs)| *ours = (*ours).max(*theirs));
            }
        }
    }

    /// Goes over to the estimate where there are too many hashes.
    fn shrink(&mut self) {
        if let Self::Few(hashes) = self
            && hashes.len() > EXACT
        {
            let mut registers = Box::new([0; REGISTERS]);
            hashes.iter().for_each(|hash| register(&mut registers, *hash));
            *self = Self::Many(registers);
        }
    }
}

/// Stable over versions and machines, because sketches are kept on disk: FNV-1a with the finalizer of MurmurHash3, of which
/// the upper half is taken.
pub fn hash(bytes: &[u8]) -> u32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash >> 32) as u32
}

/// The hashes of a set that was kept; of a damaged one as many as there can be.
fn hashes(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks::<4>().0.iter().take(EXACT).map(|chunk| u32::from_le_bytes(*chunk))
}

fn register(registers: &mut [u8; REGISTERS], hash: u32) {
    let index = hash as usize % REGISTERS;
    // The sentinel bit keeps the count within the bits that don't choose the register.
    let zeros = ((hash >> REGISTERS.trailing_zeros()) | 1 << 22).trailing_zeros() as u8;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: std::ops::Range<u32>) -> Distinct {
        let mut set = Distinct::default();
        range.for_each(|n| set.insert(&n.to_be_bytes()));
        set
    }

    fn kept(bytes: &[u8]) -> Distinct {
        let mut set = Distinct::default();
        set.merge_bytes(bytes);
        set
    }

    #[test]
    fn few_are_exact_and_many_are_near() {
        assert_eq!(of(0..255).count(), 255);
        for many in [256u32, 300, 1000, 5000, 100_000, 1_000_000] {
            let estimate = of(0..many).count() as f64;
            assert!((estimate / f64::from(many) - 1.0).abs() < 0.1, "{many}: {estimate}");
        }
    }

    #[test]
    fn merging_is_as_seeing_both() {
        for (a, b) in [
            (0..0, 5..20),
            (0..10, 5..20),
            (0..200, 150..300),
            (0..5000, 10..20),
            (10..20, 0..5000),
            (0..4000, 2000..9000),
        ] {
            let (mut merged, mut from_bytes) = (of(a.clone()), of(a.clone()));
            merged.merge(&of(b.clone()));
            from_bytes.merge_bytes(&of(b.clone()).to_bytes());
            let mut both = of(a);
            b.for_each(|n| both.insert(&n.to_be_bytes()));
            assert_eq!(merged, both);
            assert_eq!(from_bytes, both);
            assert_eq!(kept(&both.to_bytes()), both);
        }
    }

    #[test]
    fn damaged_bytes_are_some_set() {
        for length in [0, 7, 1023, 1025, 100_000] {
            kept(&vec![0xff; length]).count();
        }
        assert!(kept(&[0xff; REGISTERS]).count() > 0);
    }
}
