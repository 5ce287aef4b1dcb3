//! Lease files of DHCP servers: dnsmasq's, Kea's memfile, and ISC dhcpd's, told apart by their first line.

use std::collections::HashMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use crate::attempt::Mac;
use crate::failure::Failure;

/// A client writes its name itself; a longer one than a DNS label is nobody's.
const LONGEST_NAME: usize = 64;

/// 64 MiB are some 600,000 leases; more is no lease file.
const LARGEST: u64 = 64 << 20;

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub mac: Option<Mac>,
    pub name: Option<String>,
}

/// The leases in a file; of several for one address the last is the newest.
pub fn read(path: &Path) -> Result<HashMap<IpAddr, Lease>, Failure> {
    let failed = |error: &std::io::Error| Failure::io("read", path, error);
    let metadata = fs::metadata(path).map_err(|error| failed(&error))?;
    // A FIFO would hold up whoever opens it.
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(Failure::Rejected(format!(
            "{} is not a file of at most 64 MiB: name the lease file of the DHCP server",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(|error| failed(&error))?;
    Ok(parse(&String::from_utf8_lossy(&bytes)).into_iter().collect())
}

fn parse(text: &str) -> Vec<(IpAddr, Lease)> {
    if text.starts_with("address,") {
        text.lines().filter_map(kea).collect()
    } else if text.lines().any(|line| line.starts_with("lease ")) {
        isc(text)
    } else {
        text.lines().filter_map(dnsmasq).collect()
    }
}

/// `expiry mac address name client-id`; for IPv6 the second field is an identity association.
fn dnsmasq(line: &str) -> Option<(IpAddr, Lease)> {
    let mut fields = line.split(' ');
    fields.next()?.parse::<u64>().ok()?;
    let mac = mac(fields.next()?);
    let address = fields.next()?.parse().ok()?;
    Some((address, Lease { mac, name: name(fields.next().unwrap_or_default()) }))
}

/// `address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,…` for IPv4.
fn kea(line: &str) -> Option<(IpAddr, Lease)> {
    let fields: Vec<&str> = line.split(',').collect();
    let address = fields.first()?.parse().ok()?;
    Some((address, Lease { mac: mac(fields.get(1)?), name: name(fields.get(8)?.trim_end_matches('.')) }))
}

/// Blocks of `lease ADDRESS { … hardware ethernet MAC; client-hostname "NAME"; }`.
fn isc(text: &str) -> Vec<(IpAddr, Lease)> {
    let mut found = Vec::new();
    let mut open: Option<(IpAddr, Lease)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("lease ") {
            let address = rest.trim_end_matches('{').trim().parse().ok();
            open = address.map(|address| (address, Lease { mac: None, name: None }));
        } else if line == "}" {
            found.extend(open.take());
        } else if let Some((_, lease)) = &mut open {
            if let Some(text) = line.strip_prefix("hardware ethernet ") {
                lease.mac = mac(text.trim_end_matches(';'));
            } else if let Some(text) = line.strip_prefix("client-hostname ") {
                lease.name = name(text.trim_end_matches(';').trim_matches('"'));
            }
        }
    }
    found
}

fn mac(text: &str) -> Option<Mac> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte =
            parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(Mac(bytes))
}

/// dnsmasq writes `*` where the client gave none.
fn name(text: &str) -> Option<String> {
    let known = !text.is_empty() && text != "*";
    known.then(|| text.chars().take(LONGEST_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTER: Mac = Mac([0, 0xd0, 0xef, 1, 2, 3]);

    fn lease(name: Option<&str>) -> (IpAddr, Lease) {
        let name = name.map(str::to_owned);
        ("10.25.0.77".parse().unwrap(), Lease { mac: Some(PRINTER), name })
    }

    #[test]
    fn three_servers_say_the_same() {
        let dnsmasq = "1764000000 00:d0:ef:01:02:03 10.25.0.77 printer 01:00:d0:ef:01:02:03\n\
            duid 00:01:00:01\n1764000000 5 fd25::77 * 00:01\n";
        let kea = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n\
            10.25.0.77,00:d0:ef:01:02:03,,3600,1764000000,1,0,0,printer.,0,,0\n";
        let isc = "# written by dhcpd\nlease 10.25.0.77 {\n  starts 2 2026/11/24 00:00:00;\n  \
            hardware ethernet 00:d0:ef:01:02:03;\n  client-hostname \"printer\";\n}\n";
        assert_eq!(parse(dnsmasq)[0], lease(Some("printer")));
        assert_eq!(parse(dnsmasq)[1], ("fd25::77".parse().unwrap(), Lease { mac: None, name: None }));
        assert_eq!(parse(kea), [lease(Some("printer"))]);
        assert_eq!(parse(isc), [lease(Some("printer"))]);
    }

    #[test]
    fn broken_lines_are_left_out_and_long_names_cut() {
        let long = "x".repeat(500);
        let text = format!("nonsense\n1 zz 10.25.0.300 a\n5 00:d0:ef:01:02:03 10.25.0.77 {long}\n");
        assert_eq!(parse(&text), [lease(Some(&"x".repeat(64)))]);
    }
}
