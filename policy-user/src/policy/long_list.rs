//! What keeps a list of a million addresses as quick to ask as a short one: which entries lie in a hash table instead of the
//! prefix trie, and the sieve in front of it.

use policy_common::Addr;
use policy_common::first_bytes::{self, FirstByte};
use policy_common::sieve::Place;

use super::compile::Prefix;

/// Up to so many single addresses the trie is as quick as anything in front of it.
const SHORT: usize = 64;

/// So few that hardly one address in a hundred gets through the sieve without being listed.
const ADDRESSES_PER_WORD: usize = 4;

/// The single addresses among the prefixes of a policy, if it has many; else it is empty. Networks stay in the trie.
pub struct LongList {
    len: usize,
    sieve: Vec<u64>,
}

impl LongList {
    pub fn of<V>(prefixes: &[Prefix<V>]) -> Self {
        let singles = || prefixes.iter().filter(|prefix| prefix.is_single());
        let len = singles().count();
        if len <= SHORT {
            return Self { len: 0, sieve: Vec::new() };
        }
        let words = len.div_ceil(ADDRESSES_PER_WORD).next_power_of_two();
        let mut list = Self { len, sieve: vec![0; words] };
        for prefix in singles() {
            let Place { word, bits } = Place::of(&prefix.addr, list.words());
            list.sieve[word as usize] |= bits;
        }
        list
    }

    /// Number of addresses.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this prefix of the policy is in the list, and so not in the trie.
    pub const fn holds<V>(&self, prefix: &Prefix<V>) -> bool {
        !self.is_empty() && prefix.is_single()
    }

    /// Which first bytes the prefixes have that are not in the list, as the kernel has them.
    pub fn first_bytes_of_others<V>(&self, prefixes: &[Prefix<V>]) -> [u64; first_bytes::WORDS] {
        let mut words = [0; first_bytes::WORDS];
        for prefix in prefixes.iter().filter(|prefix| !self.holds(prefix)) {
            for FirstByte { word, bit } in FirstByte::of_net(&prefix.addr, prefix.len) {
                words[word as usize] |= bit;
            }
        }
        words
    }

    /// The sieve as the kernel has it; its length is a power of two, or 0 if the list is empty.
    pub fn sieve(&self) -> &[u64] {
        &self.sieve
    }

    /// Words of the sieve.
    pub fn words(&self) -> u32 {
        // A million entries, the most that a policy can have, take 2^18.
        u32::try_from(self.sieve.len()).unwrap_or(1 << 31)
    }

    /// Whether the sieve lets an address through: always if it is listed, and hardly ever if it is not.
    pub fn lets_through(&self, addr: &Addr) -> bool {
        let Place { word, bits } = Place::of(addr, self.words());
        self.sieve.get(word as usize).is_some_and(|word| word & bits == bits)
    }
}
