//! Builds frames byte by byte, well-formed unless told otherwise, and takes captured ones apart.
//!
//! ```
//! use lab::frame::{Frame, Ipv4, Mac, Tcp};
//! let (client, gateway) = (Mac([2, 0, 0, 0, 0, 0x77]), Mac([2, 0, 0, 0, 0, 1]));
//! let bytes = Frame::new(client, gateway)
//!     .vlan(0)
//!     .ipv4(Ipv4::new([10, 25, 0, 77], [203, 0, 113, 25]).options(&[1; 8]))
//!     .tcp(Tcp::syn(40_000, 25))
//!     .build();
//! assert_eq!(bytes.len(), 14 + 4 + 28 + 20);
//! ```

mod checksum;
mod ipv4;
mod ipv6;
mod mac;
mod transport;
mod view;

use std::net::IpAddr;

pub use ipv4::Ipv4;
pub use ipv6::{Extension, Ipv6};
pub use mac::Mac;
pub use transport::{Tcp, Udp, flags};
pub use view::View;

use transport::Transport;

/// EtherTypes and IP protocol numbers that scenarios speak of.
pub mod number {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const IPV6: u16 = 0x86dd;
    pub const VLAN: u16 = 0x8100;
    pub const QINQ: u16 = 0x88a8;

    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ESP: u8 = 50;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const NO_NEXT_HEADER: u8 = 59;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// An Ethernet frame under construction. Later calls win over earlier ones.
#[derive(Clone, Debug)]
pub struct Frame {
    source: Mac,
    destination: Mac,
    tags: Vec<(u16, u16)>,
    ether_type: Option<u16>,
    network: Network,
    transport: Transport,
    padded_to: usize,
    cut_to: Option<usize>,
}

#[derive(Clone, Debug)]
enum Network {
    None,
    V4(Ipv4),
    V6(Ipv6),
}

impl Frame {
    /// A frame without anything behind the Ethernet header.
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self {
            source,
            destination,
            tags: Vec::new(),
            ether_type: None,
            network: Network::None,
            transport: Transport::Raw { protocol: number::NO_NEXT_HEADER, bytes: Vec::new() },
            padded_to: 0,
            cut_to: None,
        }
    }

    /// Adds an 802.1Q tag with this VLAN ID inside the tags that are there already.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(number::VLAN, id)
    }

    /// Adds any tag inside the tags that are there already.
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    /// Overrides the EtherType behind the tags.
    pub fn ether_type(mut self, ether_type: u16) -> Self {
        self.ether_type = Some(ether_type);
        self
    }

    /// A plain IP header of the addresses' family.
    ///
    /// # Panics
    /// If the families differ.
    pub fn ip(self, source: IpAddr, destination: IpAddr) -> Self {
        match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => self.ipv4(Ipv4::new(s, d)),
            (IpAddr::V6(s), IpAddr::V6(d)) => self.ipv6(Ipv6::new(s, d)),
            _ => panic!("{source} and {destination} are of different families"),
        }
    }

    pub fn ipv4(mut self, header: Ipv4) -> Self {
        self.network = Network::V4(header);
        self
    }

    pub fn ipv6(mut self, header: Ipv6) -> Self {
        self.network = Network::V6(header);
        self
    }

    pub fn tcp(mut self, segment: Tcp) -> Self {
        self.transport = Transport::Tcp(segment);
        self
    }

    pub fn udp(mut self, datagram: Udp) -> Self {
        self.transport = Transport::Udp(datagram);
        self
    }

    /// Any bytes behind the IP header (or, without one, behind the Ethernet header).
    pub fn raw(mut self, protocol: u8, bytes: &[u8]) -> Self {
        self.transport = Transport::Raw { protocol, bytes: bytes.to_vec() };
        self
    }

    /// Appends zero bytes, as Ethernet does, until the frame has this length.
    pub fn pad_to(mut self, length: usize) -> Self {
        self.padded_to = length;
        self
    }

    /// Cuts the frame off at this length; header fields keep speaking of the whole.
    pub fn cut_to(mut self, length: usize) -> Self {
        self.cut_to = Some(length);
        self
    }

    /// The whole frame.
    pub fn build(&self) -> Vec<u8> {
        self.finish(&self.packet())
    }

    /// The IP packet alone, as an interface without Ethernet header carries it.
    pub fn packet(&self) -> Vec<u8> {
        let payload = self.transport_bytes();
        match &self.network {
            Network::None => payload,
            Network::V4(header) => header.build(self.transport.protocol(), &payload),
            Network::V6(header) => header.build(self.transport.protocol(), &payload),
        }
    }

    /// The packet in fragments, each in a frame of its own, with the fragmentable part cut at these offsets
    /// (multiples of 8). For IPv6 that part begins behind hop-by-hop options and routing headers.
    ///
    /// # Panics
    /// If there is no IP header, or an offset lies outside or is no multiple of 8.
    pub fn fragments(&self, cuts: &[usize]) -> Vec<Vec<u8>> {
        let payload = self.transport_bytes();
        let protocol = self.transport.protocol();
        let packets = match &self.network {
            Network::None => panic!("only IP packets can be fragmented"),
            Network::V4(header) => header.fragments(protocol, &payload, cuts),
            Network::V6(header) => header.fragments(protocol, &payload, cuts),
        };
        packets.iter().map(|packet| self.finish(packet)).collect()
    }

    fn transport_bytes(&self) -> Vec<u8> {
        let (source, destination) = match &self.network {
            Network::None => return self.transport.build(None),
            Network::V4(header) => (header.source.into(), header.destination.into()),
            Network::V6(header) => (header.source.into(), header.destination.into()),
        };
        self.transport.build(Some((source, destination)))
    }

    fn finish(&self, packet: &[u8]) -> Vec<u8> {
        let ether_type = self.ether_type.unwrap_or(match self.network {
            Network::V4(_) => number::IPV4,
            Network::V6(_) => number::IPV6,
            Network::None => 0xffff,
        });
        let mut frame = [self.destination.0, self.source.0].concat();
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(ether_type.to_be_bytes());
        frame.extend(packet);
        if frame.len() < self.padded_to {
            frame.resize(self.padded_to, 0);
        }
        frame.truncate(self.cut_to.unwrap_or(usize::MAX));
        frame
    }
}

/// Splits `payload` at `cuts` into (offset, bytes, whether more follow).
fn pieces<'a>(payload: &'a [u8], cuts: &[usize]) -> Vec<(usize, &'a [u8], bool)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for &cut in cuts {
        assert!(cut % 8 == 0 && cut > from && cut < payload.len(), "no fragment can begin at {cut}");
        pieces.push((from, &payload[from..cut], true));
        from = cut;
    }
    pieces.push((from, &payload[from..], false));
    pieces
}
