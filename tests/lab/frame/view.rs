//! Takes a captured frame apart. On purpose not the parser of the product: tests compare the two worlds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Mac, checksum, flags, number};

/// What a frame says. Fields behind the point where it stops to make sense are `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub source_mac: Option<Mac>,
    pub destination_mac: Option<Mac>,
    /// TPID and TCI of each tag, the outer one first.
    pub tags: Vec<(u16, u16)>,
    pub ether_type: u16,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// The protocol behind all extension headers.
    pub protocol: Option<u8>,
    /// Offset in bytes, and whether more follow.
    pub fragment: Option<(u16, bool)>,
    /// Source and destination port of TCP and UDP.
    pub ports: Option<(u16, u16)>,
    pub tcp: Option<TcpView>,
}

/// What a TCP segment says.
#[derive(Clone, Debug)]
pub struct TcpView {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub window: u16,
    pub payload: Vec<u8>,
    /// False also for segments whose checksum the sending kernel left to the (virtual) card.
    pub checksum_ok: bool,
}

impl View {
    /// `None` for what is shorter than an Ethernet header.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut view = Self {
            destination_mac: Some(Mac(take(frame, 0)?)),
            source_mac: Some(Mac(take(frame, 6)?)),
            ..Self::default()
        };
        let mut at = 12;
        view.ether_type = u16_at(frame, at)?;
        while matches!(view.ether_type, number::VLAN | number::QINQ) {
            view.tags.push((view.ether_type, u16_at(frame, at + 2)?));
            at += 4;
            view.ether_type = u16_at(frame, at)?;
        }
        let packet = frame.get(at + 2..)?;
        // A packet that ends early leaves the rest of the view empty, which is what it says.
        let _ = match view.ether_type {
            number::IPV4 => view.read_ipv4(packet),
            number::IPV6 => view.read_ipv6(packet),
            _ => None,
        };
        Some(view)
    }

    /// Whether it is a TCP segment to this port.
    pub fn is_tcp_to(&self, port: u16) -> bool {
        self.protocol == Some(number::TCP) && self.ports.is_some_and(|(_, to)| to == port)
    }

    /// Whether it opens a TCP connection to this port.
    pub fn is_syn_to(&self, port: u16) -> bool {
        self.is_tcp_to(port)
            && self.tcp.as_ref().is_some_and(|t| t.flags & (flags::SYN | flags::ACK) == flags::SYN)
    }

    fn read_ipv4(&mut self, packet: &[u8]) -> Option<()> {
        let header = usize::from(packet.first()? & 0x0f) * 4;
        let total = usize::from(u16_at(packet, 2)?);
        self.source = Some(Ipv4Addr::from(take(packet, 12)?).into());
        self.destination = Some(Ipv4Addr::from(take(packet, 16)?).into());
        self.protocol = Some(packet[9]);
        let field = u16_at(packet, 6)?;
        let (offset, more) = ((field & 0x1fff) * 8, field & 0x2000 != 0);
        if offset != 0 || more {
            self.fragment = Some((offset, more));
        }
        // Total length 0 is that of a GSO packet over 64 KiB.
        let end = if total == 0 { packet.len() } else { total.min(packet.len()) };
        if offset == 0 {
            self.read_transport(packet.get(header..end)?)?;
        }
        Some(())
    }

    fn read_ipv6(&mut self, packet: &[u8]) -> Option<()> {
        self.source = Some(Ipv6Addr::from(take::<16>(packet, 8)?).into());
        self.destination = Some(Ipv6Addr::from(take::<16>(packet, 24)?).into());
        let length = usize::from(u16_at(packet, 4)?);
        let end = if length == 0 { packet.len() } else { (40 + length).min(packet.len()) };
        let (mut next, mut at) = (packet[6], 40);
        loop {
            self.protocol = Some(next);
            let units = || Some(usize::from(*packet.get(at + 1)?));
            let size = match next {
                number::HOP_BY_HOP
                | number::ROUTING
                | number::DESTINATION_OPTIONS
                | number::MOBILITY
                | number::HIP
                | number::SHIM6 => 8 * (units()? + 1),
                number::AUTHENTICATION => 4 * (units()? + 2),
                number::FRAGMENT => {
                    let field = u16_at(packet, at + 2)?;
                    self.fragment = Some((field & !7, field & 1 != 0));
                    8
                }
                _ => break,
            };
            next = *packet.get(at)?;
            at += size;
            if self.fragment.is_some_and(|(offset, _)| offset != 0) {
                self.protocol = Some(next);
                return Some(());
            }
        }
        self.read_transport(packet.get(at..end)?)
    }

    fn read_transport(&mut self, segment: &[u8]) -> Option<()> {
        if !matches!(self.protocol?, number::TCP | number::UDP) {
            return None;
        }
        self.ports = Some((u16_at(segment, 0)?, u16_at(segment, 2)?));
        if self.protocol? == number::TCP {
            let header = usize::from(segment.get(12)? >> 4) * 4;
            self.tcp = Some(TcpView {
                sequence: u32::from_be_bytes(take(segment, 4)?),
                acknowledgement: u32::from_be_bytes(take(segment, 8)?),
                flags: *segment.get(13)?,
                window: u16_at(segment, 14)?,
                payload: segment.get(header..)?.to_vec(),
                checksum_ok: checksum::transport(self.source?, self.destination?, number::TCP, segment) == 0,
            });
        }
        Some(())
    }
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    take(bytes, at).map(u16::from_be_bytes)
}
