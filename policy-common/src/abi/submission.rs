//! What each host hands in on the submission ports: counted, never judged.

use crate::flow::Addr;

/// Hosts whose submissions are counted at once; those silent for longest make room. As much memory as the map of hosts.
pub const SUBMITTERS: u32 = 16_384;

/// Bits in which the servers of a day are noted.
pub const SERVER_BITS: u32 = 256;

const DAY: u64 = 86_400 * 1_000_000_000;

/// Value of the map of submissions, one for each processor; in host order, since the kernel adds to it where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Submissions {
    /// Segments that ask for a connection; a retransmitted one is another.
    pub syns: u64,
    /// In ns of `CLOCK_BOOTTIME`; 0 on a processor that has counted nothing.
    pub first_seen: u64,
    pub last_seen: u64,
    /// Days since the machine's start, which all processors change at the same instant.
    day: u64,
    /// One bit for each server of that day; two servers may share one.
    servers: [u64; 4],
}

const _: () = assert!(size_of::<Submissions>() == 64);

impl Submissions {
    /// Nothing counted yet.
    pub const EMPTY: Self = Self { syns: 0, first_seen: 0, last_seen: 0, day: 0, servers: [0; 4] };

    /// Counts one segment to a server.
    #[inline(always)]
    pub fn count(&mut self, now: u64, server: &Addr) {
        if self.first_seen == 0 {
            self.first_seen = now;
        }
        if self.day != now / DAY {
            self.day = now / DAY;
            self.servers = [0; 4];
        }
        self.syns += 1;
        self.last_seen = now;
        let bit = bit_of(server);
        self.servers[(bit >> 6 & 3) as usize] |= 1 << (bit & 63);
    }

    /// The account over all processors; servers are those of the newest day.
    pub fn sum(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().filter(|part| part.first_seen != 0).fold(Self::EMPTY, Self::plus)
    }

    /// How many of the [`SERVER_BITS`] are set.
    pub fn servers_noted(&self) -> u32 {
        self.servers.iter().map(|word| word.count_ones()).sum()
    }

    fn plus(self, other: Self) -> Self {
        if self.first_seen == 0 {
            return other;
        }
        let mut servers = if self.day >= other.day { self.servers } else { [0; 4] };
        if other.day >= self.day {
            servers.iter_mut().zip(other.servers).for_each(|(word, more)| *word |= more);
        }
        Self {
            syns: self.syns + other.syns,
            first_seen: self.first_seen.min(other.first_seen),
            last_seen: self.last_seen.max(other.last_seen),
            day: self.day.max(other.day),
            servers,
        }
    }
}

/// Spreads addresses over the bits as if by chance, on which the estimate rests; neighbours too (the end of MurmurHash3).
#[inline(always)]
fn bit_of(server: &Addr) -> u32 {
    let b = server.bytes();
    let high = u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    let low = u64::from_be_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]);
    let mut mixed = high ^ low.rotate_left(32);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        mixed = (mixed ^ (mixed >> 33)).wrapping_mul(factor);
    }
    (mixed >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(times: &[(u64, u8)]) -> Submissions {
        let mut counts = Submissions::EMPTY;
        times.iter().for_each(|(now, host)| counts.count(*now, &Addr::v4([198, 51, 100, *host])));
        counts
    }

    #[test]
    fn a_new_day_begins_with_no_servers_and_keeps_the_sum() {
        let counts = counted(&[(5, 1), (6, 1), (7, 2)]);
        assert_eq!((counts.syns, counts.servers_noted()), (3, 2));
        let counts = counted(&[(5, 1), (6, 2), (DAY + 1, 3)]);
        assert_eq!((counts.syns, counts.first_seen, counts.servers_noted()), (3, 5, 1));
    }

    #[test]
    fn processors_are_summed_by_their_newest_day() {
        let (old, new) = (counted(&[(5, 1), (6, 2)]), counted(&[(DAY, 3)]));
        for parts in [[old, new, Submissions::EMPTY], [Submissions::EMPTY, new, old]] {
            let sum = Submissions::sum(parts);
            assert_eq!((sum.syns, sum.first_seen, sum.last_seen, sum.servers_noted()), (3, 5, DAY, 1));
        }
        assert_eq!(Submissions::sum([counted(&[(5, 1)]), counted(&[(6, 2), (7, 1)])]).servers_noted(), 2);
    }

    #[test]
    fn neighbouring_servers_get_bits_of_their_own() {
        let of = |n: u8| bit_of(&Addr::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]));
        let bits: [u32; 64] = core::array::from_fn(|n| of(n as u8));
        let first_of_its_bit = |n: &usize| bits.iter().position(|bit| *bit == bits[*n]) == Some(*n);
        let different = (0..bits.len()).filter(first_of_its_bit).count();
        assert!(different > 50 && bits.iter().all(|bit| *bit < SERVER_BITS), "{bits:?}");
    }
}
