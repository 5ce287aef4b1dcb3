//! What the tests of the store share: attempts, and the files that they end up in.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use policy_user::attempt::{Attempt, Mac};

/// An attempt like none with another number.
pub fn attempt(n: u32, time: Timestamp) -> Attempt {
    Attempt {
        boot: 0,
        time,
        id: format!("{n:012x}"),
        event: "attempt",
        verdict: if n.is_multiple_of(7) { "would_block" } else { "drop" },
        reason: if n.is_multiple_of(5) { "quarantined" } else { "not-a-mail-server" },
        interface: "lan0".to_owned(),
        ifindex: 3,
        vlan: (n.is_multiple_of(2)).then_some(7),
        client: Some(client(n)),
        client_mac: Some(Mac([2, 0, 0, 0, 0, (n % 50) as u8])),
        client_port: (n % 60_000) as u16,
        destination: Some(if n.is_multiple_of(3) {
            IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, (n % 1000) as u16])
        } else {
            IpAddr::from(Ipv4Addr::from_bits(0xcb00_7100 + n % 1000))
        }),
        destination_port: 25,
        to_name: n.is_multiple_of(3).then(|| format!("mx{}.example.net", n % 10)),
        destination_mac: Some(Mac([2, 0, 0, 0, 0, 1])),
        tcp_flags: "SYN".to_owned(),
        tcp_sequence: n.wrapping_mul(2_654_435_761),
        unlisted: n % 4,
        rule: (n.is_multiple_of(11)).then(|| "scanner".to_owned()),
        policy: "office".to_owned(),
        revision: "0123456789abcdef".to_owned(),
    }
}

pub fn client(n: u32) -> IpAddr {
    IpAddr::from([10, 25, 0, (n % 50) as u8])
}

/// The files of the store that end so.
pub fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("attempts")).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}
