//! What lies in the hash table of a long list and what is left to the trie say together what all prefixes say.
#![allow(clippy::unwrap_used, reason = "a test may panic, and so may the functions it calls")]

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policy_common::Addr;
use policy_common::first_bytes::{FirstByte, WORDS};
use policy_user::policy::compile::Prefix;
use policy_user::policy::long_list::LongList;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

fn v4(number: u32) -> Addr {
    IpAddr::from(Ipv4Addr::from_bits(number)).into()
}

fn v6(number: u128) -> Addr {
    IpAddr::from(Ipv6Addr::from_bits(number)).into()
}

/// Addresses of both families that differ in any of their bits, or in one only; some of IPv6 look like IPv4.
fn address() -> impl Strategy<Value = Addr> {
    prop_oneof![
        any::<u32>().prop_map(v4),
        (0..4096u32).prop_map(|n| v4(0x0a19_0000 | n)),
        (0..32u32).prop_map(|bit| v4(1 << bit)),
        any::<u128>().prop_map(v6),
        (0..4096u32).prop_map(|n| v6(0xffff_0a19_0000 | u128::from(n))),
        (0..128u32).prop_map(|bit| v6(1 << bit)),
        (any::<u16>(), 0..16u8)
            .prop_map(|(net, host)| v6(0xfd25 << 112 | u128::from(net) << 64 | u128::from(host))),
    ]
}

/// Half of them single addresses, the others of any length; never one of them twice.
fn prefixes() -> impl Strategy<Value = Vec<Prefix<u32>>> {
    vec((address(), prop_oneof![Just(128u8), 0..=128u8]), 1..400).prop_map(|drawn| {
        let unique: BTreeMap<(Addr, u8), ()> = drawn
            .into_iter()
            .map(|(addr, len)| {
                let len = len.min(addr.bits());
                ((addr.masked(len), len), ())
            })
            .collect();
        (0..).zip(unique.into_keys()).map(|(value, (addr, len))| Prefix { addr, len, value }).collect()
    })
}

/// The value of the longest of these prefixes around `addr`.
fn longest<'a>(prefixes: impl Iterator<Item = &'a Prefix<u32>>, addr: &Addr) -> Option<u32> {
    let around = |prefix: &&Prefix<u32>| {
        prefix.addr.family() == addr.family() && addr.masked(prefix.len) == prefix.addr
    };
    prefixes.filter(around).max_by_key(|prefix| prefix.len).map(|prefix| prefix.value)
}

/// As the kernel asks: sieve, hash table, first bytes, trie.
struct Layout<'a> {
    list: LongList,
    listed: HashMap<Addr, u32>,
    first_bytes: [u64; WORDS],
    trie: Vec<&'a Prefix<u32>>,
}

impl<'a> Layout<'a> {
    fn of(prefixes: &'a [Prefix<u32>]) -> Self {
        let list = LongList::of(prefixes);
        let first_bytes = list.first_bytes_of_others(prefixes);
        let (listed, trie): (Vec<&Prefix<u32>>, Vec<_>) =
            prefixes.iter().partition(|prefix| list.holds(prefix));
        let listed = listed.iter().map(|prefix| (prefix.addr, prefix.value)).collect();
        Self { list, listed, first_bytes, trie }
    }

    fn ask(&self, addr: &Addr) -> Option<u32> {
        let listed = if self.list.lets_through(addr) { self.listed.get(addr).copied() } else { None };
        let FirstByte { word, bit } = FirstByte::of(addr);
        let may_be_in_trie = self.first_bytes[word as usize] & bit != 0;
        listed.or_else(|| may_be_in_trie.then(|| longest(self.trie.iter().copied(), addr)).flatten())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        rng_seed: RngSeed::Fixed(25),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_address_gets_the_answer_of_its_longest_prefix(
        prefixes in prefixes(),
        others in vec(address(), 50),
        near in vec((any::<Index>(), 0..129u32), 100),
    ) {
        let layout = Layout::of(&prefixes);
        prop_assert_eq!(layout.list.len(), layout.listed.len());
        let near = near.into_iter().map(|(entry, bit)| {
            let addr = prefixes[entry.index(prefixes.len())].addr;
            match addr.to_ip() {
                Some(IpAddr::V4(a)) if bit == 128 => v6(a.to_ipv6_mapped().to_bits()),
                Some(IpAddr::V4(a)) => v4(a.to_bits() ^ 1 << (bit % 32)),
                Some(IpAddr::V6(a)) => v6(a.to_bits() ^ 1u128.checked_shl(bit).unwrap_or(0)),
                None => addr,
            }
        });
        for addr in prefixes.iter().map(|prefix| prefix.addr).chain(others).chain(near) {
            prop_assert_eq!(layout.ask(&addr), longest(prefixes.iter(), &addr), "{:?}", addr.to_ip());
        }
    }
}

#[test]
fn a_short_list_is_left_to_the_trie() {
    let singles = |n| (0..n).map(|n| Prefix { addr: v4(n), len: 32, value: n }).collect::<Vec<_>>();
    assert_eq!((LongList::of(&singles(64)).len(), LongList::of(&singles(64)).words()), (0, 0));
    assert_eq!((LongList::of(&singles(65)).len(), LongList::of(&singles(65)).words()), (65, 32));
}

/// Lists as people have them, each with 100,000 addresses, and as many others between and behind them.
#[test]
fn the_sieve_lets_every_listed_address_through_and_hardly_any_other() {
    const MANY: u32 = 100_000;
    let spread = |n: u32| n.wrapping_mul(2_654_435_761);
    let lists: [(&str, &dyn Fn(u32) -> Addr); 7] = [
        ("IPv4, one after the other", &|n| v4(0x0a00_0000 + n)),
        ("IPv4, every second one", &|n| v4(0x0a00_0000 + 2 * (n % MANY) + n / MANY)),
        ("IPv4, the first one of each /24", &|n| v4(n << 8 | 1)),
        ("IPv4, anywhere", &|n| v4(spread(n))),
        ("IPv6, one after the other", &|n| v6(0xfd25 << 112 | u128::from(n))),
        ("IPv6, one in each /64", &|n| v6(0xfd25 << 112 | u128::from(n) << 64 | 1)),
        ("IPv6, from the MAC", &|n| {
            v6(0xfd25 << 112 | 0x02_ff_fe << 24 | u128::from(spread(n)) << 32 | u128::from(n & 0xffff))
        }),
    ];
    for (name, address) in lists {
        let prefixes: Vec<_> =
            (0..MANY).map(address).map(|addr| Prefix { addr, len: addr.bits(), value: () }).collect();
        let list = LongList::of(&prefixes);
        assert!(prefixes.iter().all(|prefix| list.lets_through(&prefix.addr)), "{name}: one is missing");
        let through = (MANY..2 * MANY).filter(|n| list.lets_through(&address(*n))).count();
        println!("{name}: {through} of {MANY} others get through");
        assert!(through < MANY as usize / 100, "{name}: {through} of {MANY} others get through");
    }
}
