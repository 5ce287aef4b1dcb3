//! What an entry of a list of networks stands for: an address, a network, or a range, laid out as networks.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};

use super::super::diagnostics::quoted;
use super::address_text::{self, Refusal};

/// A /16 of IPv4: what is wider is a network, or a mistake. Keeps a range below 31 networks.
const MAX_ADDRESSES: u128 = 65_536;
/// A range that is a network of so many addresses was meant as that network; a smaller one may be so by chance.
const MIN_MEANT_NETWORK: u128 = 256;

/// One entry. A million of them are plain networks more often than not, so these need no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    Net(IpNet),
    Range(Box<Range>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
    /// The fewest that make up the range.
    nets: Vec<IpNet>,
}

impl Hosts {
    /// Disjoint, in ascending order, never empty.
    pub fn nets(&self) -> &[IpNet] {
        match self {
            Self::Net(net) => std::slice::from_ref(net),
            Self::Range(range) => &range.nets,
        }
    }

    /// Whether it has more addresses than a network of this prefix length in its family.
    pub fn is_wider_than(&self, v4: u8, v6: u8) -> bool {
        match self {
            Self::Net(IpNet::V4(net)) => net.prefix_len() < v4,
            Self::Net(IpNet::V6(net)) => net.prefix_len() < v6,
            Self::Range(range) => {
                let prefix = if range.first.is_ipv4() { 32 - v4 } else { 128 - v6 };
                number(range.last) - number(range.first) >= 1 << prefix
            }
        }
    }

    /// Whether every address of `other` is one of these.
    pub fn contains(&self, other: &Self) -> bool {
        let (first, last) = self.ends();
        let (other_first, other_last) = other.ends();
        first.is_ipv4() == other_first.is_ipv4() && first <= other_first && other_last <= last
    }

    fn ends(&self) -> (IpAddr, IpAddr) {
        match self {
            Self::Net(net) => (net.network(), net.broadcast()),
            Self::Range(range) => (range.first, range.last),
        }
    }
}

/// As people write it: a single address without a prefix, a range by its ends.
impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(net) => f.write_str(&shown(net)),
            Self::Range(range) => write!(f, "{}-{}", range.first, range.last),
        }
    }
}

/// A network of one is written as people write it: without a prefix.
pub fn shown(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// Reads an entry.
pub fn read(text: &str) -> Result<Hosts, Refusal> {
    match text.split_once('-').map(|(first, last)| (first.trim_end(), last.trim_start())) {
        // A host's name may have a hyphen; the advice for names is better there.
        Some((first, last)) if is_address(first) || is_address(last) => range(text, first, last),
        _ => address_text::network(text).map(Hosts::Net),
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn range(text: &str, first_text: &str, last_text: &str) -> Result<Hosts, Refusal> {
    let shown = quoted(text);
    let refuse = |message: String, help: String| Err(Refusal::new("bad-range", message, help));
    let first = address_text::address(first_text)?;
    if let Some(last) = completed(first, last_text) {
        return refuse(
            format!("{shown} lacks the beginning of its last address"),
            format!("write {first}-{last}"),
        );
    }
    let last = address_text::address(last_text)?;
    if first.is_ipv4() != last.is_ipv4() {
        let help = "write a range for each family, such as 10.25.0.10-10.25.0.20";
        return refuse(format!("{shown} begins as IPv4 or IPv6 and ends as the other"), help.to_owned());
    }
    if first == last {
        return refuse(format!("{shown} is a range of one address"), format!("write {first}"));
    }
    if last < first {
        let message = format!("{shown} ends before it begins");
        return refuse(message, format!("did you mean {last}-{first}?"));
    }
    if text.contains(char::is_whitespace) {
        return refuse(format!("{shown} has blanks"), format!("write {first}-{last}"));
    }
    let addresses = (number(last) - number(first)).saturating_add(1);
    let nets = networks_of(first, last);
    if let [net] = nets[..]
        && addresses >= MIN_MEANT_NETWORK
    {
        return refuse(format!("{shown} is a whole network"), format!("did you mean {net}?"));
    }
    if addresses > MAX_ADDRESSES {
        let message = format!("{shown} has more than 65,536 addresses");
        return refuse(message, "write it as networks, such as 10.25.0.0/16".to_owned());
    }
    Ok(Hosts::Range(Box::new(Range { first, last, nets })))
}

/// The last address of `10.25.0.10-20`.
fn completed(first: IpAddr, last: &str) -> Option<IpAddr> {
    let (IpAddr::V4(first), Ok(last)) = (first, last.parse::<u8>()) else {
        return None;
    };
    let [a, b, c, _] = first.octets();
    Some([a, b, c, last].into())
}

/// The fewest networks that have exactly these addresses; at most twice the bits of an address.
fn networks_of(first: IpAddr, last: IpAddr) -> Vec<IpNet> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => IpSubnets::from(Ipv4Subnets::new(first, last, 0)).collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => IpSubnets::from(Ipv6Subnets::new(first, last, 0)).collect(),
        _ => Vec::new(),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(text: &str) -> String {
        let hosts = read(text).unwrap();
        assert_eq!(hosts.to_string(), text);
        hosts.nets().iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_range_is_the_fewest_networks() {
        assert_eq!(nets("10.25.0.10-10.25.0.20"), "10.25.0.10/31 10.25.0.12/30 10.25.0.16/30 10.25.0.20");
        assert_eq!(nets("10.25.0.255-10.25.1.0"), "10.25.0.255 10.25.1.0");
        assert_eq!(nets("10.25.0.8-10.25.0.15"), "10.25.0.8/29");
        assert_eq!(nets("fd25::10-fd25::20"), "fd25::10/124 fd25::20");
        assert_eq!(nets("255.255.255.253-255.255.255.255"), "255.255.255.253 255.255.255.254/31");
        assert_eq!(read("10.0.0.1-10.1.0.0").unwrap().nets().len(), 17);
        assert_eq!(read("10.0.0.1-10.0.255.254").unwrap().nets().len(), 30);
    }

    #[test]
    fn every_refused_range_says_what_to_write() {
        for (text, advice) in [
            ("10.25.0.20-10.25.0.10", "bad-range: did you mean 10.25.0.10-10.25.0.20?"),
            ("10.25.0.20-10.25.0.20", "bad-range: write 10.25.0.20"),
            ("10.25.0.0-10.25.0.255", "bad-range: did you mean 10.25.0.0/24?"),
            ("0.0.0.0-255.255.255.255", "bad-range: did you mean 0.0.0.0/0?"),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "bad-range: did you mean ::/0?"),
            ("10.0.0.1-10.1.0.1", "bad-range: write it as networks, such as 10.25.0.0/16"),
            ("::1-ffff::", "bad-range: write it as networks, such as 10.25.0.0/16"),
            ("10.25.0.10-fd25::1", "bad-range: write a range for each family, such as 10.25.0.10-10.25.0.20"),
            ("10.25.0.10-20", "bad-range: write 10.25.0.10-10.25.0.20"),
            ("10.25.0.10 - 10.25.0.20", "bad-range: write 10.25.0.10-10.25.0.20"),
            ("10.25.0.10-", "not-an-address: write an address, such as 10.25.0.25"),
            ("10.25.0.10-10.25.0.256", "not-an-address: write four numbers from 0 to 255"),
            ("10.25.0.10-mx1", "host-name: names are not looked up; write the host's address"),
            ("mx-1.example.com", "host-name: names are not looked up; write the host's address"),
            ("::ffff:10.25.0.1-::ffff:10.25.0.9", "mapped-address: write 10.25.0.1"),
        ] {
            let refusal = read(text).unwrap_err();
            assert_eq!(format!("{}: {}", refusal.code, refusal.help), advice, "{text:?}");
        }
    }

    #[test]
    fn width_counts_addresses() {
        let wide = |text: &str| read(text).unwrap().is_wider_than(24, 64);
        assert!(!wide("10.25.0.128-10.25.1.127") && wide("10.25.0.128-10.25.1.128"));
        assert!(!wide("10.25.0.0/24") && wide("10.25.0.0/23") && !wide("fd25::1-fd25::9"));
    }

    #[test]
    fn what_lies_within_what() {
        let contains = |outer: &str, inner: &str| read(outer).unwrap().contains(&read(inner).unwrap());
        assert!(contains("10.25.0.0/24", "10.25.0.10-10.25.0.20"));
        assert!(contains("10.25.0.10-10.25.0.20", "10.25.0.20"));
        assert!(!contains("10.25.0.10-10.25.0.20", "10.25.0.0/24"));
        assert!(!contains("10.25.0.10-10.25.0.20", "10.25.0.15-10.25.0.21"));
        assert!(!contains("0.0.0.0/0", "fd25::/64"));
    }
}
