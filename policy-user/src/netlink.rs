//! What the machine's network looks like: interfaces and the gateway's own addresses, by rtnetlink, and when that changes.

mod routes;
mod stacking;

use std::net::IpAddr;

use futures_util::{StreamExt as _, TryStreamExt as _};
use policy_common::LinkType;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use rtnetlink::{Handle, MulticastGroup};
use thiserror::Error;
use tokio::sync::mpsc;

pub use stacking::AgainstXdp;

/// A network interface of this machine's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// `None` where packets begin in a way that the kernel programs can't read.
    pub link: Option<LinkType>,
}

/// An interface with what matters beside its packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub interface: Interface,
    pub up: bool,
    /// Index of the bridge or bond that it is a port of.
    pub controller: Option<u32>,
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

/// Tells that interfaces, addresses or default routes have changed; not which, since a missed message must not matter.
pub struct Changes(mpsc::Receiver<()>);

impl Changes {
    /// Waits for the next change; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }

    /// Forgets the changes told so far: one look covers them all.
    pub fn skip_pending(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

impl Netlink {
    /// Connects, and subscribes to changes first, so that none between the first reading and the first waiting is missed.
    pub fn connect() -> Result<(Self, Changes), NetlinkError> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, handle, mut messages) =
            rtnetlink::new_multicast_connection(&groups).map_err(failed("network"))?;
        tokio::spawn(connection);
        let (sender, changes) = mpsc::channel(1);
        // A router may change a million routes at once: they must neither pile up nor wake anybody.
        tokio::spawn(async move {
            while let Some((message, _)) = messages.next().await {
                // Where one waits to be read already, the reader will look anyway.
                if matters(&message.payload) && sender.try_send(()).is_err() && sender.is_closed() {
                    return;
                }
            }
        });
        Ok((Self { handle }, Changes(changes)))
    }

    /// Every interface, in the order of their indices.
    pub async fn interfaces(&self) -> Result<Vec<Interface>, NetlinkError> {
        Ok(self.devices().await?.into_iter().map(|device| device.interface).collect())
    }

    /// The same with their state.
    pub async fn devices(&self) -> Result<Vec<Device>, NetlinkError> {
        let mut found = Vec::new();
        let mut links = self.handle.link().get().execute();
        while let Some(link) = links.try_next().await.map_err(failed("interfaces"))? {
            let (mut name, mut controller) = (None, None);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(it) => name = Some(it),
                    LinkAttribute::Controller(index) => controller = Some(index),
                    _ => {}
                }
            }
            if let Some(name) = name {
                let link_type = link_type(link.header.link_layer_type.into());
                let interface = Interface { name, index: link.header.index, link: link_type };
                found.push(Device { interface, up: link.header.flags.contains(LinkFlags::Up), controller });
            }
        }
        found.sort_by_key(|device| device.interface.index);
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

/// Of routes only the default ones do; what the kernel had no room to tell may have been anything.
fn matters(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    match payload {
        NetlinkPayload::InnerMessage(
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route),
        ) => routes::is_default(route),
        _ => true,
    }
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
