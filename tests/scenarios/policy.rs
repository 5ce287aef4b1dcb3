//! The policy of the scenarios, as a file, as tables and with the state beside them; the same for every runner.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy_common::Addr;
use policy_common::abi::{Quarantine, scope};
use policy_user::policy::Revision;
use policy_user::policy::compile::{Instant, Tables, compile};
use policy_user::policy::evaluate::HostPolicy;

use super::Via;
use super::parties::{CUT_OFF, MAIL, Party, QUARANTINED, QUARANTINED_SCANNER, RELEASED};

/// Internal networks leave room: 10/8 and two of the ULA networks are inside, fd99::/16 is not.
pub const TEXT: &str = r#"version: 1
name: scenarios
interfaces: { inside: [lan0, guest0], outside: [wan0] }
networks:
  clients: [10.25.0.0/24, 10.26.0.0/24, "fd25::/64", "fd26::/64"]
  internal: [10.0.0.0/8, "fd25::/16", "fd26::/16"]
ports: { blocked: [25, 10025], submission: [587, 465] }
mode: enforce
quarantine: { enabled: false, except: [192.0.2.0/24, "2001:db8:dddd::/48"], except_ports: [8443] }
mail_servers:
  - { name: mx1, address: [10.25.0.25, "fd25::25"], mac: "02:00:00:00:00:25" }
  - { name: relay, address: [10.25.0.30, "fd25::30"], to: [198.51.100.0/24, "2001:db8:bbbb::/48"] }
  - { name: guest-mx, address: [10.26.0.25, "fd26::25"], interface: guest0 }
exceptions:
  - name: scanner
    from: [10.25.0.78, 10.25.0.68, "fd25::78", "fd25::68"]
    to: [203.0.113.128/25, "2001:db8:aaaa::/48"]
    until: 2099-12-31
    reason: legacy scanner
    owner: it-ops@example.com
  - name: fax
    from: [10.25.0.79, "fd25::79"]
    to: [203.0.113.128/25, "2001:db8:aaaa::/48"]
    until: 2020-12-31
    reason: has expired
    owner: it-ops@example.com
end: true
"#;

/// The gateway's own addresses outside, which are not `internal`.
pub const GATEWAY_OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:ff::1"];

const HOUR: u64 = 3_600_000_000_000;

/// The tables for a machine on which these interfaces have these indices.
pub fn tables(boot: u64, ifindex: impl Fn(Via) -> u32) -> Tables {
    let wall = Timestamp::now();
    let (policy, _) = policy_user::policy::parse(TEXT, wall, &TimeZone::UTC).unwrap();
    let index = |name: &str| match name {
        "lan0" => Some(ifindex(Via::Lan)),
        "guest0" => Some(ifindex(Via::Guest)),
        _ => None,
    };
    compile(&policy, Revision::of(TEXT), Instant { wall, boot }, index).unwrap()
}

/// The tables with the state, on the host.
pub fn on_host(tables: &Tables, now: u64) -> HostPolicy<'_> {
    let mut policy = HostPolicy::new(tables, now);
    policy.gateway_addresses.extend(gateway_addresses());
    policy.quarantine = quarantine(now);
    policy
}

pub fn gateway_addresses() -> Vec<Addr> {
    let addresses = ["10.25.0.1", "10.26.0.1", "fd25::1", "fd26::1", "127.0.0.1", "::1"]
        .into_iter()
        .chain(GATEWAY_OUTSIDE);
    addresses.map(|text| Addr::from(text.parse::<IpAddr>().unwrap())).collect()
}

/// Client -> its quarantine.
pub fn quarantine(now: u64) -> HashMap<Addr, Quarantine> {
    let of = |party: Party, until, scope| {
        [IpAddr::from(party.v4), IpAddr::from(party.v6)]
            .map(|address| (Addr::from(address), Quarantine::new(until, scope, None)))
    };
    [
        of(QUARANTINED, now.saturating_add(HOUR), scope::MAIL),
        of(QUARANTINED_SCANNER, now.saturating_add(HOUR), scope::MAIL),
        of(CUT_OFF, now.saturating_add(HOUR), scope::ALL),
        of(RELEASED, now - 1, scope::ALL),
        // Whoever filled the map in error: a mail server never is in quarantine.
        of(MAIL, now.saturating_add(HOUR), scope::ALL),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether the frame claims to be of the mail server that the policy binds to a MAC.
pub fn is_bound_to_mac(frame: &[u8]) -> bool {
    let source = match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(26..30),
        Some([0x86, 0xdd]) => frame.get(22..38),
        _ => None,
    };
    source.is_some_and(|source| source == MAIL.v4.octets() || source == MAIL.v6.octets())
}
