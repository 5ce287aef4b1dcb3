//! The exact account of one host: its key, and what each processor has counted under it.

use super::Macs;
use crate::flow::Addr;
use crate::reason::Reason;

/// Key of the map of hosts: who, as seen at one interface.
///
/// Without an address it stands for everybody with that MAC, without a MAC as well for everybody at that interface, who
/// has no entry of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct HostKey {
    ifindex: [u8; 4],
    mac: [u8; 6],
    has_mac: u8,
    address: Addr,
}

const _: () = assert!(size_of::<HostKey>() == 28);

impl HostKey {
    #[inline(always)]
    pub const fn new(ifindex: u32, macs: &Macs, address: &Addr) -> Self {
        let (mac, [a, b, c, d]) = (&macs.src, address.quarters());
        let words = [
            ifindex.to_be(),
            u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]),
            u32::from_ne_bytes([mac[4], mac[5], macs.known, address.family()]),
            a,
            b,
            c,
            d,
        ];
        // In words: the processor waits where bytes were written one by one and are read in fours, as the kernel's hash does.
        // SAFETY: the same size, no padding, and any bits are a valid key; the test below tells that the order is right.
        unsafe { core::mem::transmute::<[u32; 7], Self>(words) }
    }

    /// Everybody at one interface.
    #[inline(always)]
    pub const fn of_interface(ifindex: u32) -> Self {
        Self::new(ifindex, &Macs::NONE, &Addr::NONE)
    }

    /// Everybody with the same MAC; on an interface without MACs everybody there.
    #[inline(always)]
    pub const fn without_address(mut self) -> Self {
        self.address = Addr::NONE;
        self
    }

    pub const fn ifindex(&self) -> u32 {
        u32::from_be_bytes(self.ifindex)
    }

    #[inline(always)]
    pub const fn mac(&self) -> Option<[u8; 6]> {
        if self.has_mac != 0 { Some(self.mac) } else { None }
    }

    pub const fn address(&self) -> Addr {
        self.address
    }
}

/// Value of the map of hosts, one for each processor, so that none of them waits for another and no count gets lost.
///
/// Numbers are in host order: the kernel adds to them where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HostCounts {
    pub packets: u64,
    pub attempts: u64,
    /// Attempts without an event, because the budget was used up.
    pub unlisted: u64,
    /// Those of `unlisted` that no event has told of yet.
    pub untold: u64,
    /// When the budget is whole again, on the clock of `first_seen`.
    pub budget: u64,
    /// 0 on a processor that has counted nothing. In the map in ns of `CLOCK_MONOTONIC_COARSE`, which costs a packet a tenth of
    /// what the exact clock does; [`HostCounts::after_sleep`] makes it `CLOCK_BOOTTIME`.
    pub first_seen: u64,
    pub last_seen: u64,
    /// Number of the newest packet's [`Reason`].
    pub last_reason: u64,
}

const _: () = assert!(size_of::<HostCounts>() == 64);

impl HostCounts {
    /// Nothing counted yet.
    pub const EMPTY: Self = Self {
        packets: 0,
        attempts: 0,
        unlisted: 0,
        untold: 0,
        budget: 0,
        first_seen: 0,
        last_seen: 0,
        last_reason: 0,
    };

    /// Time in which the budget grows by one event: 32 a second. A bot makes a few attempts a second, so it has an event for
    /// each; a hundred flooding hosts write 3,200 a second, which costs the agent little.
    const EVERY: u64 = 1_000_000_000 / 32;
    /// Events that a rested host has at once; 170 flooding hosts fill the ring while no agent reads it.
    pub const BURST: u64 = 256;

    /// Counts one packet.
    #[inline(always)]
    pub fn count_packet(&mut self, now: u64, reason: Reason) {
        self.packets += 1;
        self.last_seen = now;
        self.last_reason = reason as u64;
        if self.first_seen == 0 {
            self.first_seen = now;
        }
    }

    /// Counts one attempt, and tells whether the budget has an event for it. A token bucket in one number.
    #[inline(always)]
    pub fn count_attempt(&mut self, now: u64) -> bool {
        self.attempts += 1;
        let whole = if self.budget > now { self.budget } else { now };
        if whole - now > Self::EVERY * (Self::BURST - 1) {
            self.unlisted += 1;
            self.untold += 1;
            return false;
        }
        self.budget = whole + Self::EVERY;
        true
    }

    /// What the event about to be written tells of; the rest, if it exceeds the event's number, waits for the next one.
    #[inline(always)]
    pub fn tell(&mut self) -> u32 {
        let told = if self.untold > u32::MAX as u64 { u32::MAX } else { self.untold as u32 };
        self.untold -= told as u64;
        told
    }

    /// With times of `CLOCK_BOOTTIME`, which counts on while the machine is suspended; `asleep` is for how long it was.
    pub fn after_sleep(self, asleep: u64) -> Self {
        if self.first_seen == 0 {
            return self;
        }
        Self {
            budget: self.budget + asleep,
            first_seen: self.first_seen + asleep,
            last_seen: self.last_seen + asleep,
            ..self
        }
    }

    /// The account over all processors.
    pub fn sum(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().filter(|part| part.first_seen != 0).fold(Self::EMPTY, Self::plus)
    }

    fn plus(self, other: Self) -> Self {
        let newer = if other.last_seen >= self.last_seen { other } else { self };
        Self {
            packets: self.packets + other.packets,
            attempts: self.attempts + other.attempts,
            unlisted: self.unlisted + other.unlisted,
            untold: self.untold + other.untold,
            budget: self.budget.max(other.budget),
            first_seen: if self.first_seen == 0 {
                other.first_seen
            } else {
                self.first_seen.min(other.first_seen)
            },
            last_seen: newer.last_seen,
            last_reason: newer.last_reason,
        }
    }
}

/// How many hosts have an entry of their own. Each takes 100 bytes and 64 more for every processor: 4 MiB with two of them,
/// 18 MiB with sixteen.
pub const HOST_ENTRIES: u32 = 16_384;

/// Entries that may begin at one interface: a flood there leaves a quarter of the map to the others.
pub const HOSTS_PER_INTERFACE: u32 = HOST_ENTRIES / 4 * 3;

/// Addresses with an entry of their own that one MAC may have: a router with a /20 behind it, but no sender that makes up
/// addresses can use up the interface's share.
pub const HOSTS_PER_MAC: u32 = HOST_ENTRIES / 4;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_key_gives_back_what_it_was_made_of() {
        let macs = Macs { known: 1, src: [2, 3, 4, 5, 6, 7], dst: [8; 6] };
        for address in
            [Addr::v4([10, 25, 0, 77]), Addr::v6(core::array::from_fn(|n| n as u8 + 1)), Addr::NONE]
        {
            let key = HostKey::new(0x0102_0304, &macs, &address);
            assert_eq!((key.ifindex(), key.mac(), key.address()), (0x0102_0304, Some(macs.src), address));
        }
        assert_eq!(HostKey::of_interface(7).mac(), None);
    }

    #[test]
    fn the_budget_is_a_burst_and_then_a_rate() {
        let mut host = HostCounts::EMPTY;
        let mut at = |now: u64, times: u64| (0..times).filter(|_| host.count_attempt(now)).count() as u64;
        assert_eq!(at(100 * SECOND, 1000), HostCounts::BURST);
        assert_eq!(at(101 * SECOND, 1000), 32);
        assert_eq!(at(101 * SECOND, 1000), 0);
        // A long rest gives the burst back, and no more.
        assert_eq!(at(9000 * SECOND, 1000), HostCounts::BURST);
        assert_eq!(host.attempts, 4000);
        assert_eq!(host.unlisted, 4000 - 2 * HostCounts::BURST - 32);
    }

    #[test]
    fn what_was_not_listed_is_told_once_and_in_full() {
        let mut host = HostCounts { untold: u64::from(u32::MAX) + 5, ..HostCounts::EMPTY };
        assert_eq!([host.tell(), host.tell(), host.tell()], [u32::MAX, 5, 0]);
    }

    #[test]
    fn processors_add_up_and_those_that_saw_nothing_tell_no_time() {
        let one =
            HostCounts { packets: 3, first_seen: 5, last_seen: 9, last_reason: 16, ..HostCounts::EMPTY };
        let two =
            HostCounts { packets: 1, first_seen: 4, last_seen: 7, last_reason: 17, ..HostCounts::EMPTY };
        let sum = HostCounts::sum([HostCounts::EMPTY, one, two]);
        assert_eq!((sum.packets, sum.first_seen, sum.last_seen, sum.last_reason), (4, 4, 9, 16));
    }
}
