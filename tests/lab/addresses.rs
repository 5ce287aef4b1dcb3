//! Who has which address in the lab.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::frame::Mac;
use crate::host::{Host, Interface};

/// The last number of the first client's addresses; the next ones count on.
pub(crate) const FIRST_CLIENT: usize = 77;
pub(crate) const MAIL_SERVER: usize = 25;
/// The wan side's default route leads there, so every address that is not on the LAN arrives at `internet`.
pub(crate) const PROVIDER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 25);
pub(crate) const PROVIDER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 0x25);

/// A port of the mail provider outside.
pub fn provider(port: u16) -> SocketAddr {
    SocketAddr::from((PROVIDER4, port))
}

/// Networks of which `internet` answers for every address.
pub(crate) const ANSWERED: [&str; 6] = [
    "198.51.100.0/24",
    "192.0.2.0/24",
    "203.0.113.128/25",
    "2001:db8:aaaa::/48",
    "2001:db8:bbbb::/48",
    // 4096 networks of the size that a company gets.
    "2001:db8:e000::/36",
];

/// The digits of `n` read as hexadecimal ones: 77 gives `fd25::77` and `…:00:77`, as an admin would choose.
pub(crate) fn lan_interface(n: usize) -> Interface {
    let byte = |two_digits: usize| (two_digits / 10 * 16 + two_digits % 10) as u8;
    let (high, low) = (byte(n / 100), byte(n % 100));
    Interface {
        name: "eth0".into(),
        mac: Mac([2, 0, 0, 0, high, low]),
        addr4: Ipv4Addr::new(10, 25, 0, n as u8),
        addr6: Ipv6Addr::new(0xfd25, 0, 0, 0, 0, 0, 0, u16::from_be_bytes([high, low])),
    }
}

pub(crate) fn gateway_interfaces() -> Vec<Interface> {
    let inside = Interface { name: "lan0".into(), mac: Mac([2, 0, 0, 0, 0, 1]), ..lan_interface(1) };
    let outside = Interface {
        name: "wan0".into(),
        mac: Mac([2, 0, 0, 0, 0xff, 1]),
        addr4: Ipv4Addr::new(203, 0, 113, 1),
        addr6: Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1),
    };
    vec![inside, outside]
}

pub(crate) fn internet_interface() -> Interface {
    Interface { name: "wan0".into(), mac: Mac([2, 0, 0, 0, 0xff, 0x25]), addr4: PROVIDER4, addr6: PROVIDER6 }
}

pub(crate) fn bring_up(host: &Host, prefix6: u8) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_string()];
    for Interface { name, addr4, addr6, .. } in host.interfaces() {
        commands.push(format!("link set {name} up"));
        commands.push(format!("addr add {addr4}/24 dev {name}"));
        commands.push(format!("addr add {addr6}/{prefix6} dev {name} nodad"));
    }
    commands
}
