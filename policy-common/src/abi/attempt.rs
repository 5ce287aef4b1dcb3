//! How packets are folded into attempts: what tells attempts apart, and the memory of those that were denied.

use crate::flow::{Addr, Flow, tcp_flags};

/// Attempts that the kernel remembers.
pub const ATTEMPT_ENTRIES: u32 = ATTEMPT_SETS * IN_SET as u32;

/// Sets that they are in, each of one cache line: 512 KiB, which fit beside everything else in a processor's cache.
pub const ATTEMPT_SETS: u32 = 1 << SET_BITS;
const SET_BITS: u32 = 13;
const IN_SET: usize = 8;

/// One TCP connection attempt, however many packets it takes.
///
/// Segments without SYN have no initial sequence number: all of a 4-tuple's count as one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptKey {
    words: [u32; WORDS],
}

const WORDS: usize = 12;

impl AttemptKey {
    #[inline(always)]
    pub fn new(flow: &Flow, ifindex: u32) -> Self {
        let syn = flow.tcp_flags & tcp_flags::SYN != 0;
        // Without a branch, which the verifier would follow through everything behind it.
        let isn = flow.seq & 0u32.wrapping_sub(u32::from(syn));
        Self::of(&flow.src, &flow.dst, [flow.src_port, flow.dst_port], Some(isn), ifindex)
    }

    /// From what an event tells of it; `isn` is the sequence number of a SYN.
    #[inline(always)]
    pub fn of(src: &Addr, dst: &Addr, ports: [u16; 2], isn: Option<u32>, ifindex: u32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (src.quarters(), dst.quarters());
        let ports = (u32::from(ports[0]) << 16) | u32::from(ports[1]);
        // The families too: an IPv6 address may have an IPv4 address's bytes.
        let families = (u32::from(src.family()) << 8) | u32::from(dst.family());
        Self { words: [a, b, c, d, e, f, g, h, ports, isn.unwrap_or(0), families, ifindex] }
    }

    /// Where the attempt is remembered.
    #[inline(always)]
    pub fn place(&self, salt: &AttemptSalt) -> Place {
        let mut sum = 0u64;
        // NH (Black et al., "UMAC", 1999): whoever doesn't know the salt finds no two attempts that are taken for one with a
        // better chance than 2^-32, so nobody can hide attempts behind others.
        for (words, salt) in self.words.chunks_exact(2).zip(salt.0.chunks_exact(2)) {
            let pair = [words[0].wrapping_add(salt[0]), words[1].wrapping_add(salt[1])];
            sum = sum.wrapping_add(u64::from(pair[0]) * u64::from(pair[1]));
        }
        // Spreads it over all bits, one to one.
        sum ^= sum >> 32;
        sum = sum.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        sum ^= sum >> 29;
        // Never 0, which is an empty slot.
        Place { set: (sum >> (64 - SET_BITS)) as u32, tag: (sum & TAG_MASK) | 1 }
    }
}

/// Secret of the state maps, drawn once: which attempts share a set is nothing a sender can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct AttemptSalt([u32; WORDS]);

impl AttemptSalt {
    pub const WORDS: usize = WORDS;

    /// From random words.
    pub const fn new(random: [u32; WORDS]) -> Self {
        Self(random)
    }

    /// Whether it was drawn yet.
    pub fn is_drawn(&self) -> bool {
        self.0 != [0; WORDS]
    }
}

/// Where an attempt is remembered: its set, and what tells it from the others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub set: u32,
    tag: u64,
}

/// Upper bits of a slot: tag; lower bits: packets.
const PACKET_BITS: u32 = 24;
const TAG_MASK: u64 = (1 << (64 - PACKET_BITS)) - 1;
const MOST_PACKETS: u64 = (1 << PACKET_BITS) - 1;

/// Eight attempts, the one with the newest packet first: one more pushes out the one that was longest without a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct AttemptSet([u64; IN_SET]);

const _: () = assert!(size_of::<AttemptSet>() == 64);

impl AttemptSet {
    /// Counts a packet; whether it is the first one of its attempt, as far as the set remembers.
    ///
    /// Two processors may count here at once and one of them lose an attempt, which makes a later packet look like a new
    /// attempt. The exact numbers are counters elsewhere.
    #[inline(always)]
    pub fn count(&mut self, place: Place) -> bool {
        let mut newer = (place.tag << PACKET_BITS) | 1;
        for index in 0..IN_SET {
            let slot = self.0[index];
            self.0[index] = newer;
            if slot >> PACKET_BITS == place.tag {
                let more = if slot & MOST_PACKETS == MOST_PACKETS { 0 } else { 1 };
                self.0[0] = slot + more;
                return false;
            }
            newer = slot;
        }
        true
    }

    /// Packets of an attempt, at most 16,777,215; none where it is forgotten.
    pub fn packets(&self, place: Place) -> Option<u64> {
        let slot = self.0.iter().find(|slot| **slot >> PACKET_BITS == place.tag)?;
        Some(slot & MOST_PACKETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: AttemptSalt = AttemptSalt::new([
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
    ]);

    fn attempt(n: u32) -> AttemptKey {
        let (src, dst) = (Addr::v4([10, 25, 0, 77]), Addr::v4([203, 0, 113, 25]));
        AttemptKey::of(&src, &dst, [40_000, 25], Some(n), 2)
    }

    fn tag(n: u64) -> Place {
        Place { set: 0, tag: n }
    }

    #[test]
    fn a_packet_is_new_once_and_then_counted() {
        let mut set = AttemptSet([0; IN_SET]);
        assert_eq!(set.packets(tag(1)), None);
        assert_eq!([1, 2, 1, 1, 2].map(|n| set.count(tag(n))), [true, true, false, false, false]);
        assert_eq!([1, 2, 3].map(|n| set.packets(tag(n))), [Some(3), Some(2), None]);
    }

    #[test]
    fn the_one_that_was_longest_without_a_packet_is_forgotten() {
        let mut set = AttemptSet([0; IN_SET]);
        (1..=8).for_each(|n| assert!(set.count(tag(n))));
        assert!(!set.count(tag(1)));
        assert!(set.count(tag(9)));
        assert_eq!(set.packets(tag(1)), Some(2));
        assert_eq!(set.packets(tag(2)), None);
        assert!((3..=9).all(|n| set.packets(tag(n)) == Some(1)));
    }

    #[test]
    fn a_number_of_packets_that_is_full_stays_so() {
        let mut set = AttemptSet([(5 << PACKET_BITS) | MOST_PACKETS, 0, 0, 0, 0, 0, 0, 0]);
        assert!(!set.count(tag(5)));
        assert_eq!(set.packets(tag(5)), Some(MOST_PACKETS));
        assert_eq!(set.packets(tag(6)), None);
    }

    #[test]
    fn everything_that_makes_an_attempt_moves_it() {
        let (a, b) = (Addr::v4([10, 25, 0, 77]), Addr::v4([203, 0, 113, 25]));
        let mapped = Addr::v6([10, 25, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let keys = [
            AttemptKey::of(&a, &b, [40_000, 25], Some(7), 2),
            AttemptKey::of(&b, &a, [40_000, 25], Some(7), 2),
            AttemptKey::of(&mapped, &b, [40_000, 25], Some(7), 2),
            AttemptKey::of(&a, &b, [40_001, 25], Some(7), 2),
            AttemptKey::of(&a, &b, [40_000, 26], Some(7), 2),
            AttemptKey::of(&a, &b, [40_000, 25], Some(8), 2),
            AttemptKey::of(&a, &b, [40_000, 25], None, 2),
            AttemptKey::of(&a, &b, [40_000, 25], Some(7), 3),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(keys[..n].iter().all(|other| other.place(&SALT) != key.place(&SALT)), "{n}");
        }
        let other = AttemptSalt::new([7; WORDS]);
        assert_ne!(keys[0].place(&SALT), keys[0].place(&other));
    }

    #[test]
    fn attempts_spread_over_all_sets_and_none_is_taken_for_another() {
        let mut sets = [AttemptSet([0; IN_SET]); 64];
        let mut taken = [0u32; ATTEMPT_SETS as usize];
        for n in 0..ATTEMPT_ENTRIES {
            let place = attempt(n).place(&SALT);
            taken[place.set as usize] += 1;
            if let Some(set) = sets.get_mut(place.set as usize) {
                assert!(set.count(place), "attempt {n} is taken for another");
            }
        }
        // Eight in each on average; of a Poisson distribution over 8,192 sets the largest is above 30 once in 10,000 draws.
        assert!(taken.iter().all(|n| *n <= 30));
        assert!(taken.iter().filter(|n| **n == 0).count() <= 20);
    }
}
