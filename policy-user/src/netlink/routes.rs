//! Default routes: the interfaces through which everything leaves that goes nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::{Netlink, NetlinkError, failed};

impl Netlink {
    /// Indices of the interfaces that a default route of any table and family leaves through.
    pub async fn exits(&self) -> Result<Vec<u32>, NetlinkError> {
        let mut found = Vec::new();
        let questions =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        for question in questions {
            let mut routes = self.handle.route().get(question).execute();
            while let Some(route) = routes.try_next().await.map_err(failed("routes"))? {
                if is_default(&route) {
                    found.extend(leaves_through(&route));
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// Whether it takes most of the Internet: also either half of it, as VPN programs write it to override the default route, and
/// all of IPv6 that is given out.
pub fn is_default(route: &RouteMessage) -> bool {
    let header = &route.header;
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::from(*address)),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::from(*address)),
        _ => None,
    });
    let given_out = IpAddr::from([0x2000, 0, 0, 0, 0, 0, 0, 0]);
    let whole = header.destination_prefix_length <= 1
        || (header.destination_prefix_length <= 3 && address == Some(given_out));
    let family = matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6);
    // The others refuse, or lead to the machine itself.
    whole && family && header.kind == RouteType::Unicast
}

fn leaves_through(route: &RouteMessage) -> Vec<u32> {
    let mut found = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(*index),
            RouteAttribute::MultiPath(hops) => found.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(address: [u8; 4], length: u8) -> RouteMessage {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address.into(), length);
        route.output_interface(7).build()
    }

    fn v6(address: &str, length: u8) -> RouteMessage {
        let route = RouteMessageBuilder::<Ipv6Addr>::new();
        route.destination_prefix(address.parse().unwrap(), length).output_interface(8).build()
    }

    #[test]
    fn the_internet_and_its_halves_are_default_routes() {
        for route in [v4([0; 4], 0), v4([128, 0, 0, 0], 1), v6("::", 0), v6("8000::", 1), v6("2000::", 3)] {
            assert!(is_default(&route), "{route:?}");
        }
        for route in [v4([64, 0, 0, 0], 2), v4([10, 0, 0, 0], 8), v6("4000::", 3), v6("2001:db8::", 32)] {
            assert!(!is_default(&route), "{route:?}");
        }
        let mut refuses = v4([0; 4], 0);
        refuses.header.kind = RouteType::Unreachable;
        assert!(!is_default(&refuses));
        assert_eq!(leaves_through(&v6("::", 0)), [8]);
    }
}
