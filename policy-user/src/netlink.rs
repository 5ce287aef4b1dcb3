//! What the machine's network looks like: interfaces and the gateway's own addresses, by rtnetlink, and when that changes.

use std::net::IpAddr;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use policy_common::LinkType;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use rtnetlink::{Handle, MulticastGroup};
use thiserror::Error;

/// A network interface of this machine's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// `None` where packets begin in a way that the kernel programs can't read.
    pub link: Option<LinkType>,
}

/// The kernel did not answer about its network.
#[derive(Debug, Error)]
#[error("can't read this machine's {what} by rtnetlink: {why}")]
pub struct NetlinkError {
    what: &'static str,
    why: String,
}

/// A connection to rtnetlink.
pub struct Netlink {
    handle: Handle,
}

/// Tells that interfaces or addresses have changed; not which, since a missed message must not matter.
pub struct Changes(Box<dyn futures_util::Stream<Item = ()> + Send + Unpin>);

impl Changes {
    /// Waits for the next change; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<()> {
        self.0.next().await
    }

    /// Forgets the changes told so far: one look covers them all.
    pub fn skip_pending(&mut self) {
        while let Some(Some(())) = self.0.next().now_or_never() {}
    }
}

impl Netlink {
    /// Connects, and subscribes to changes first, so that none between the first reading and the first waiting is missed.
    pub fn connect() -> Result<(Self, Changes), NetlinkError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(failed("network"))?;
        tokio::spawn(connection);
        Ok((Self { handle }, Changes(Box::new(messages.map(|_| ())))))
    }

    /// Every interface, in the order of their indices.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        let mut found = Vec::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed("interfaces"))? {
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            if let Some(name) = name {
                let hardware = link.header.link_layer_type.into();
                found.push(Interface { name, index: link.header.index, link: link_type(hardware) });
            }
        }
        found.sort_by_key(|interface| interface.index);
        Ok(found)
    }

    /// The gateway's own addresses on all interfaces.
    pub async fn addresses(&self) -> Result<Vec<IpAddr>, NetlinkError> {
        let mut found = Vec::new();
        let mut addresses = self.handle.address().get().execute();
        while let Some(address) = addresses.try_next().await.map_err(failed("addresses"))? {
            // On a point-to-point link Address is the other end and Local is ours; elsewhere both are ours.
            let mut own = None;
            for attribute in address.attributes {
                match attribute {
                    AddressAttribute::Local(ip) => own = Some(ip),
                    AddressAttribute::Address(ip) if own.is_none() => own = Some(ip),
                    _ => {}
                }
            }
            found.extend(own);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

impl Netlink {
    /// Addresses of the neighbours on all links, with the MAC each answered with.
    pub async fn neighbours(&self) -> Result<Vec<(IpAddr, [u8; 6])>, NetlinkError> {
        let mut found = Vec::new();
        let mut neighbours = self.handle.neighbours().get().execute();
        while let Some(neighbour) = neighbours.try_next().await.map_err(failed("neighbours"))? {
            let (mut address, mut mac) = (None, None);
            for attribute in neighbour.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(ip.into()),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(ip.into()),
                    NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok(),
                    _ => {}
                }
            }
            found.extend(address.zip(mac));
        }
        Ok(found)
    }
}

/// The present name of an interface; `#` and its index where there is none any more.
pub fn present_name(index: u32) -> String {
    name_of(index).unwrap_or_else(|| format!("#{index}"))
}

/// The present name of an interface.
pub fn name_of(index: u32) -> Option<String> {
    let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
    rustix::net::netdevice::index_to_name(socket, index).ok()
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> NetlinkError {
    move |error| NetlinkError { what, why: error.to_string() }
}

/// How an interface's packets begin, by its hardware type (`ARPHRD_*` of `linux/if_arp.h`); `None` for types that carry
/// no IP this program could read.
fn link_type(hardware: u16) -> Option<LinkType> {
    const ETHER: u16 = 1;
    const PPP: u16 = 512;
    const RAWIP: u16 = 519;
    const TUNNEL: u16 = 768;
    const TUNNEL6: u16 = 769;
    const LOOPBACK: u16 = 772;
    const SIT: u16 = 776;
    const IPGRE: u16 = 778;
    const IP6GRE: u16 = 823;
    /// tun and WireGuard.
    const NONE: u16 = 0xfffe;
    match hardware {
        ETHER | LOOPBACK => Some(LinkType::Ethernet),
        PPP | RAWIP | TUNNEL | TUNNEL6 | SIT | IPGRE | IP6GRE | NONE => Some(LinkType::Ip),
        _ => None,
    }
}
