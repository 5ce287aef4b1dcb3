//! Addresses and networks as people write them, and what to write instead of a form that is refused.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::super::diagnostics::quoted;
use super::address_advice;

/// Why a text is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub message: String,
    pub help: String,
}

impl Refusal {
    pub fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), help: help.into() }
    }
}

fn refuse<T>(code: &'static str, message: String, help: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(code, message, help))
}

/// An address, or a network in CIDR notation without host bits; an address alone is a network of one.
pub fn network(text: &str) -> Result<IpNet, Refusal> {
    let Some((address_text, prefix)) = text.split_once('/') else { return address(text).map(IpNet::from) };
    let address: IpAddr =
        address_text.parse().map_err(|_| address_advice::advise(address_text, &format!("/{prefix}")))?;
    let net = prefix_length(prefix).and_then(|prefix| IpNet::new(address, prefix).ok());
    let Some(net) = net else {
        let message = format!("{} has no valid prefix length after the `/`", quoted(text));
        return refuse("bad-prefix-length", message, prefix_advice(address, prefix));
    };
    if let Some(unmapped) = unmapped(address) {
        let v4 = net.prefix_len().checked_sub(96).and_then(|prefix| Ipv4Net::new(unmapped, prefix).ok());
        let help =
            v4.map_or_else(|| "write the IPv4 network".to_owned(), |net| format!("write {}", net.trunc()));
        return refuse(
            "mapped-address",
            format!("{} is an IPv4 network written as IPv6", quoted(text)),
            help,
        );
    }
    if net.trunc() != net {
        let message = format!("{} has host bits set: a network's address ends in zeros", quoted(text));
        let help = format!("did you mean {} (the whole network) or {address} (this one host)?", net.trunc());
        return refuse("host-bits-set", message, help);
    }
    Ok(net)
}

/// A netmask is what many programs want instead.
fn prefix_advice(address: IpAddr, prefix: &str) -> String {
    let mask: Option<Ipv4Addr> = prefix.parse().ok();
    match (mask.and_then(|mask| ipnet::ipv4_mask_to_prefix(mask).ok()), address) {
        (Some(prefix), IpAddr::V4(_)) => format!("write {address}/{prefix}"),
        (None, IpAddr::V4(_)) => format!("write {address}/ and a number from 0 to 32"),
        (_, IpAddr::V6(_)) => format!("write {address}/ and a number from 0 to 128"),
    }
}

/// One address, without a prefix.
pub fn address(text: &str) -> Result<IpAddr, Refusal> {
    if let Some((address, _)) = text.split_once('/') {
        let message = format!("{} is a network, one address is expected", quoted(text));
        return refuse(
            "network-not-address",
            message,
            format!("write {address}, or each address as an entry of its own"),
        );
    }
    let address: IpAddr = text.parse().map_err(|_| address_advice::advise(text, ""))?;
    match unmapped(address) {
        Some(unmapped) => refuse(
            "mapped-address",
            format!("{} is an IPv4 address written as IPv6", quoted(text)),
            format!("write {unmapped}"),
        ),
        None => Ok(address),
    }
}

/// The decimal number, without a sign or leading zeros.
fn prefix_length(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// The kernel compares families apart: a mapped entry would never match a packet.
fn unmapped(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

/// Why no client can have addresses of this network, and none can be a destination of TCP; `None` where they can.
pub fn unusable(net: &IpNet) -> Option<&'static str> {
    let within = |outer: [u8; 4], prefix: u8| match (net, Ipv4Net::new(outer.into(), prefix)) {
        (IpNet::V4(net), Ok(outer)) => outer.contains(net),
        _ => false,
    };
    if within([255; 4], 32) {
        Some("the broadcast address")
    } else if within([224, 0, 0, 0], 4) || matches!(net, IpNet::V6(net) if net.addr().is_multicast()) {
        Some("multicast, which TCP doesn't use")
    } else if within([0, 0, 0, 0], 8)
        || matches!(net, IpNet::V6(net) if net.addr().is_unspecified() && net.prefix_len() == 128)
    {
        Some("the unspecified address")
    } else if within([127, 0, 0, 0], 8) || matches!(net, IpNet::V6(net) if net.addr().is_loopback()) {
        Some("loopback, which never leaves its host")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(text: &str) -> String {
        let refusal = network(text).unwrap_err();
        format!("{}: {}", refusal.code, refusal.help)
    }

    #[test]
    fn networks_and_single_addresses_are_read() {
        for (text, meant) in [
            ("10.25.0.0/24", "10.25.0.0/24"),
            ("10.25.0.25", "10.25.0.25/32"),
            ("FD25::25", "fd25::25/128"),
            ("::/0", "::/0"),
            ("10.0.0.0/0", ""),
        ] {
            match network(text) {
                Ok(net) => assert_eq!(net.to_string(), meant),
                Err(refusal) => assert_eq!((meant, refusal.code), ("", "host-bits-set")),
            }
        }
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        let table = [
            (
                "10.25.0.25/24",
                "host-bits-set: did you mean 10.25.0.0/24 (the whole network) or 10.25.0.25 (this one host)?",
            ),
            ("10.25.0.025", "leading-zero: write 10.25.0.25"),
            ("010.25.0.0/16", "leading-zero: write 10.25.0.0/16"),
            ("::ffff:10.25.0.25", "mapped-address: write 10.25.0.25"),
            ("::ffff:10.25.0.0/120", "mapped-address: write 10.25.0.0/24"),
            ("fe80::1%lan0", "zone-id: write fe80::1"),
            ("10.25.0.0/255.255.255.0", "bad-prefix-length: write 10.25.0.0/24"),
            ("10.25.0.0/33", "bad-prefix-length: write 10.25.0.0/ and a number from 0 to 32"),
            ("10.25.0.0/08", "bad-prefix-length: write 10.25.0.0/ and a number from 0 to 32"),
            ("10.25.0.0/", "bad-prefix-length: write 10.25.0.0/ and a number from 0 to 32"),
            ("10.25.0.*", "address-wildcard: write 10.25.0.0/24"),
            ("10.25.0.4-10.25.0.9", "address-range: write each address as an entry of its own"),
            ("10.25/16", "not-an-address: if you mean the network, write 10.25.0.0/16"),
            ("10.25.0", "not-an-address: if you mean the network, write 10.25.0.0/24"),
            ("10.25.0.256", "not-an-address: write four numbers from 0 to 255"),
            ("10.25.0.25:25", "address-with-port: write 10.25.0.25"),
            ("mx.example.com", "host-name: names are not looked up; write the host's address"),
            (
                "10.25.0.1 10.25.0.2",
                "not-an-address: write one entry a line, each after its own `- `, \
                 or separate them with commas in `[ ]`",
            ),
            ("", "not-an-address: write an address, such as 10.25.0.25"),
            ("fd25:::1", "not-an-address: write an address, such as 10.25.0.25 or fd25::25"),
        ];
        for (text, expected) in table {
            assert_eq!(advice(text), expected, "{text:?}");
        }
        assert_eq!(address("10.25.0.0/24").unwrap_err().code, "network-not-address");
    }

    #[test]
    fn what_no_client_can_have() {
        for text in
            ["255.255.255.255", "224.0.0.0/4", "239.1.1.1", "ff02::1", "0.0.0.0", "::", "127.0.0.1", "::1"]
        {
            assert!(unusable(&network(text).unwrap()).is_some(), "{text}");
        }
        for text in [
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/8",
            "fd25::/64",
            "255.255.255.254",
            "223.255.255.255",
            "128.0.0.0/1",
        ] {
            assert!(unusable(&network(text).unwrap()).is_none(), "{text}");
        }
    }
}
