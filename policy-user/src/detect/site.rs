//! Mail sites, the unit that is counted: a provider, else the /16 or /48 around the address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Shipped with the program; its first line says as of when.
const SHIPPED: &str = include_str!("../../data/providers.csv");

/// Where mail goes to. Addresses of one site are alike: which of them a client tries is the provider's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site([u8; 7]);

const PROVIDER: u8 = 1;
const IPV4: u8 = 4;
const IPV6: u8 = 6;

/// Networks of providers that spread one service over many addresses.
#[derive(Clone, Debug)]
pub struct Providers {
    names: BTreeMap<Site, String>,
    /// By length, the longest first.
    v4: Vec<Level<u32>>,
    v6: Vec<Level<u128>>,
}

/// The networks of one length, in order, so that one can be searched for.
#[derive(Clone, Debug)]
struct Level<T> {
    mask: T,
    networks: Vec<(T, Site)>,
}

impl Providers {
    /// The shipped table alone.
    pub fn shipped() -> Self {
        // A test reads it, so this default is never met.
        Self::with("").unwrap_or(Self { names: BTreeMap::new(), v4: Vec::new(), v6: Vec::new() })
    }

    /// The shipped table and more lines `prefix,group`; of the same network the later line counts. An error names the line.
    pub fn with(more: &str) -> Result<Self, String> {
        let mut names = BTreeMap::new();
        let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
        for (line, text) in SHIPPED.lines().enumerate().chain(more.lines().enumerate()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') || text == "prefix,group" {
                continue;
            }
            let (network, name) = entry(text).map_err(|why| format!("line {}: {why}", line + 1))?;
            let site = Site::provider(name);
            names.insert(site, name.to_owned());
            match network {
                // Longer networks come first in the order of the keys.
                IpNet::V4(net) => v4.insert((!net.prefix_len(), net.network().to_bits()), site),
                IpNet::V6(net) => v6.insert((!net.prefix_len(), net.network().to_bits()), site),
            };
        }
        Ok(Self { names, v4: levels(v4, mask4), v6: levels(v6, mask6) })
    }

    /// The site of a destination. An IPv4 address in IPv6 clothes is the IPv4 address.
    pub fn site(&self, destination: IpAddr) -> Site {
        match destination.to_canonical() {
            IpAddr::V4(ip) => find(&self.v4, |mask| ip.to_bits() & mask).unwrap_or_else(|| Site::around4(ip)),
            IpAddr::V6(ip) => find(&self.v6, |mask| ip.to_bits() & mask).unwrap_or_else(|| Site::around6(ip)),
        }
    }

    /// How people call a site.
    pub fn name(&self, site: Site) -> String {
        let [kind, a, b, c, d, e, f] = site.0;
        match kind {
            PROVIDER => self.names.get(&site).cloned().unwrap_or_else(|| "a provider".to_owned()),
            IPV4 => format!("{a}.{b}.0.0/16"),
            _ => {
                let [h, i, j] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
                format!("{}/48", Ipv6Addr::new(h, i, j, 0, 0, 0, 0, 0))
            }
        }
    }
}

impl Site {
    /// By name and not by its place in the table, so that a kept state outlives a change of the table.
    fn provider(name: &str) -> Self {
        let [_, _, a, b, c, d, e, f] = spread(fnv(name.as_bytes())).to_be_bytes();
        Self([PROVIDER, a, b, c, d, e, f])
    }

    /// Whether the table of providers knows it, better than any name could.
    pub fn is_provider(self) -> bool {
        self.0[0] == PROVIDER
    }

    fn around4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        Self([IPV4, a, b, 0, 0, 0, 0])
    }

    fn around6(ip: Ipv6Addr) -> Self {
        let [a, b, c, d, e, f, ..] = ip.octets();
        Self([IPV6, a, b, c, d, e, f])
    }

    /// A number for the site of which every bit is as good as any other.
    pub fn spread(self) -> u64 {
        let [a, b, c, d, e, f, g] = self.0;
        spread(u64::from_be_bytes([0, a, b, c, d, e, f, g]))
    }
}

/// The finaliser of MurmurHash3: each bit of the input moves half of the output's.
pub fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

/// FNV-1a.
pub fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn entry(text: &str) -> Result<(IpNet, &str), String> {
    let (network, name) = text.split_once(',').ok_or("write `192.0.2.0/24,name`")?;
    let network: IpNet =
        network.trim().parse().map_err(|_| format!("{:?} is no network in CIDR notation", network.trim()))?;
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    if name.is_empty() || name.len() > 32 || !name.chars().all(plain) {
        return Err("the name of a group has 1 to 32 letters, digits, `-`, `_`, `.` or spaces".to_owned());
    }
    Ok((network.trunc(), name))
}

/// Keys are the inverted length and the network.
fn levels<T: Copy + Eq>(table: BTreeMap<(u8, T), Site>, mask: impl Fn(u8) -> T) -> Vec<Level<T>> {
    let mut levels: Vec<Level<T>> = Vec::new();
    for ((length, network), site) in table {
        let mask = mask(!length);
        match levels.last_mut() {
            Some(level) if level.mask == mask => level.networks.push((network, site)),
            _ => levels.push(Level { mask, networks: vec![(network, site)] }),
        }
    }
    levels
}

fn find<T: Ord + Copy>(levels: &[Level<T>], masked: impl Fn(T) -> T) -> Option<Site> {
    levels.iter().find_map(|level| {
        let wanted = masked(level.mask);
        let at = level.networks.binary_search_by_key(&wanted, |(network, _)| *network).ok()?;
        level.networks.get(at).map(|(_, site)| *site)
    })
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn mask6(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(providers: &Providers, address: &str) -> String {
        providers.name(providers.site(address.parse().unwrap()))
    }

    #[test]
    fn a_site_is_a_provider_or_the_network_around() {
        let providers =
            Providers::with("prefix,group\n198.51.100.0/24,ours\n198.51.0.0/16,theirs\n").unwrap();
        for (address, site) in [
            ("74.125.1.2", "google"),
            ("::ffff:74.125.1.2", "google"),
            ("2a00:1450:4001::1b", "google"),
            ("198.51.100.7", "ours"),
            ("198.51.101.7", "theirs"),
            ("203.0.113.7", "203.0.0.0/16"),
            ("2001:db8:7:8::9", "2001:db8:7::/48"),
        ] {
            assert_eq!(name(&providers, address), site, "{address}");
        }
        assert_ne!(
            providers.site("203.0.0.1".parse().unwrap()),
            providers.site("203.1.0.1".parse().unwrap())
        );
    }

    #[test]
    fn a_line_that_is_wrong_is_told_by_its_number() {
        for (text, said) in [
            ("198.51.100.0/24", "line 1: write"),
            ("# \n198.51.100.0/33,x", "line 2: \"198.51.100.0/33\" is no network"),
            ("198.51.100.0/24,\u{1b}[2J", "line 1: the name"),
        ] {
            let error = Providers::with(text).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
