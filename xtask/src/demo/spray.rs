//! A host that a spam bot has taken: it tries port 25 of many servers at once, in both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use lab::Host;

/// How long the bot waits for each server; shorter than the second after which TCP tries again.
const PATIENCE: Duration = Duration::from_millis(900);

/// Eight IPv4 servers, and sixteen IPv6 servers of sixteen companies.
pub fn destinations() -> Vec<IpAddr> {
    let v4 = (1..=4).flat_map(|i| [Ipv4Addr::new(198, 51, 100, 10 * i), Ipv4Addr::new(192, 0, 2, 20 * i)]);
    let v6 = (1..=16).map(|i| Ipv6Addr::new(0x2001, 0xdb8, 0xe000 + i, 0, 0, 0, 0, 0x25));
    v4.map(IpAddr::from).chain(v6.map(IpAddr::from)).collect()
}

/// Connects to port 25 of every destination at the same time; which of them answered.
pub fn run(host: &Host) -> Result<Vec<IpAddr>> {
    let destinations = destinations();
    std::thread::scope(|scope| {
        let attempts: Vec<_> = destinations
            .iter()
            .map(|to| (*to, scope.spawn(|| host.connect(SocketAddr::new(*to, 25), PATIENCE).is_ok())))
            .collect();
        let answered =
            attempts.into_iter().filter_map(|(to, thread)| matches!(thread.join(), Ok(true)).then_some(to));
        Ok(answered.collect())
    })
}
