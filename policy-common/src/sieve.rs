//! Where the sieve of a long list, a Bloom filter, keeps what it knows of an address: the same for agent and kernel.

use crate::flow::Addr;

/// The bits of an address: all of one word, so that asking costs one cache line at most. All of them are set if the address
/// is listed; if it is not, they may be set by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub word: u32,
    pub bits: u64,
}

impl Place {
    /// In a sieve of so many words, which is a power of two.
    ///
    /// Who knows this can send from addresses that are never sifted out. They cost one look-up more, and no verdict changes.
    #[inline(always)]
    pub fn of(addr: &Addr, words: u32) -> Self {
        // The upper half of a product depends on every bit of the number, and takes neighbours far apart. Lists that people
        // have (in a row, every second one, the first one of each network) fill the sieve as evenly as random ones do.
        let hash = folded(addr).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let bit = |shift: u32| 1u64 << (hash >> shift & 63);
        Self { word: (hash >> 40) as u32 & words.wrapping_sub(1), bits: bit(34) | bit(28) | bit(22) }
    }
}

/// An address as one number. IPv4 by itself: its 12 zeros are bytes that the kernel would load one by one.
#[inline(always)]
fn folded(addr: &Addr) -> u64 {
    let b = addr.bytes();
    if addr.family() == Addr::IPV4 {
        return u32::from_be_bytes([b[0], b[1], b[2], b[3]]).into();
    }
    let high = u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    let low = u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]);
    high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low
}
