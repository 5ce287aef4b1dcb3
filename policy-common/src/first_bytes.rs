//! Which first bytes the addresses of a list have: what tells most of the Internet from a few networks, for agent and kernel
//! alike.

use crate::flow::Addr;

/// Words that hold a bit for each first byte, in each family.
pub const WORDS: usize = 8;

/// Where the bit of an address' first byte is. If it is not set, nothing in the list is, or holds, this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstByte {
    /// Below [`WORDS`].
    pub word: u32,
    pub bit: u64,
}

impl FirstByte {
    #[inline(always)]
    pub fn of(addr: &Addr) -> Self {
        Self::at(addr.family(), addr.bytes()[0])
    }

    /// Those of all addresses in a network: one, or several where its prefix is shorter than a byte.
    pub fn of_net(addr: &Addr, len: u8) -> impl Iterator<Item = Self> + use<> {
        let family = addr.family();
        let free = 0xff >> len.min(8) as u32;
        let first = addr.bytes()[0] & !(free as u8);
        (first..=first | free as u8).map(move |byte| Self::at(family, byte))
    }

    #[inline(always)]
    fn at(family: u8, byte: u8) -> Self {
        let half = if family == Addr::IPV6 { WORDS as u32 / 2 } else { 0 };
        Self { word: half + u32::from(byte >> 6), bit: 1 << (byte & 63) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word_and_bit(addr: &Addr) -> (u32, u32) {
        let FirstByte { word, bit } = FirstByte::of(addr);
        (word, bit.trailing_zeros())
    }

    #[test]
    fn families_and_bytes_have_bits_of_their_own() {
        assert_eq!(word_and_bit(&Addr::v4([10, 25, 0, 77])), (0, 10));
        assert_eq!(word_and_bit(&Addr::v4([203, 0, 113, 25])), (3, 11));
        assert_eq!(word_and_bit(&Addr::v6(core::array::from_fn(|_| 0xfd))), (7, 61));
        assert_eq!(word_and_bit(&Addr::v6([0; 16])), (4, 0));
        for family in [Addr::IPV4, Addr::IPV6] {
            let mut seen = [0u64; WORDS];
            for byte in 0..=255 {
                let FirstByte { word, bit } = FirstByte::at(family, byte);
                assert_eq!(seen[word as usize] & bit, 0);
                seen[word as usize] |= bit;
            }
        }
    }

    #[test]
    fn a_network_has_the_first_bytes_of_all_its_addresses() {
        let of = |addr, len| FirstByte::of_net(&Addr::v4(addr), len).count();
        assert_eq!(of([0; 4], 0), 256);
        assert_eq!(of([172, 16, 0, 0], 12), 1);
        assert_eq!(of([10, 0, 0, 0], 8), 1);
        assert_eq!(of([192, 0, 0, 0], 3), 32);
        let all: [FirstByte; 2] =
            [FirstByte::of(&Addr::v4([198, 1, 2, 3])), FirstByte::of(&Addr::v4([199, 255, 0, 0]))];
        assert!(FirstByte::of_net(&Addr::v4([198, 0, 0, 0]), 7).eq(all));
    }
}
